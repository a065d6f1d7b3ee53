"""The store: what must be asked for by name, kept in SQL.

head        where the log stands; changed only by compare-and-swap.
boots       how far each life of the gateway has been folded into the log.
events      one row a leaf: its private record, sealed. Append-only.
keys        the data keys of sessions, wrapped. Destroying a row destroys what it opens.
sessions    the index of sessions, folded from their events.
operations  those permitted and not yet settled, so that a crash can say what it does not know.
approvals   requests for a person's yes or no; votes are append-only.
outbox      notifications that wait to be delivered, written with the events that they tell of.
vault       what tokens stand for, sealed under keys that the store does not have (`guard.token_vault`).

`tables.py` is the schema, `migrations/` how it came to be, `sql.py` the one class that speaks SQL.
"""
