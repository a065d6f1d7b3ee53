"""The ledger: what makes a record that a stranger can check.

Leaf         one small public statement that something happened; the entries of the log are leaves.
Tree         the RFC 6962 Merkle tree over the leaves.
Tile         the tree and the leaves as plain files (C2SP tlog-tiles).
Checkpoint   the signed size and root of the tree (C2SP tlog-checkpoint and signed-note).
Commitment   a salted hash in a leaf, which binds the private record without showing anything of it.
Seal         the frames of the write-ahead log: encrypted, chained, and torn-tail safe.
Segment      a sealed piece of a session's recording; each names the hash of the one before.
Trail        what the leaves must say together: the chain of each gateway, the grammar of each session.
Verify       the check of all of the above, with public keys only.

Everything here is a pure function or a small state machine over bytes: no files, no clock, no randomness. Keys, salts
and file identifiers come from the caller. Every parser raises IntegrityError and nothing else, whatever it is fed.
docs/spec/ledger.md and docs/spec/recording.md are the normative texts.
"""
