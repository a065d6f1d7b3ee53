"""The `doorward` command, one file a command group. Nothing here decides; it asks the gateway, or reads its files."""
