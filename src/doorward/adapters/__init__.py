"""The outside world behind the guard's ports: one SDK a file. Nothing here decides anything."""
