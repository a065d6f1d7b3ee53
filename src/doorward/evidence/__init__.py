"""What is shown to those who were not there: packs and reports made of records. Pure."""
