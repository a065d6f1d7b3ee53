"""Evidence: what the record says to an auditor, and how it is put so that it can be checked.

Control      a question of ISO/IEC 27001 Annex A, with the tables and tests that answer it, and what is outside the record.
Table        a full population: name, columns, the event types it rests on, and how its rows follow from them.
Row          one member of a population; it names every leaf that it rests on.
Test         a claim that every row of a table must bear out; the rows that do not are exceptions.
Examination  one pass over the log that computes every table and runs every test.
Sample       rows chosen by a seed that the auditee cannot choose.
Pack         all of it as files under one signature; docs/spec/pack.md is the normative text.

Everything here is a pure function or a small state machine: no files, no clock, no keys. What is read and written is the
business of guard, adapters and cli. Nothing here decides anything about an operation.
"""
