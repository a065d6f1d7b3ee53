"""Where a SecretRef leads.

sources      every source behind one door
environment  env:NAME
file         file:/path, private files only
vault        vault:name, one sealed file under the data directory
secret       bytes that do not show themselves
"""
