"""Samples that can be drawn again, by a seed that the auditee cannot choose (docs/spec/pack.md, section 8).

The seed binds a text of the auditor's, given when the checkpoint stands, that checkpoint,
and a time stamp over it; a row's rank is
a hash of the seed and of its leaf. Whoever has the pack draws the same rows; whoever wrote the log could not know which.
"""

from __future__ import annotations

from bisect import insort
from hashlib import sha256
from typing import NamedTuple

from doorward.evidence.record import Row

DOMAIN = b"doorward/sample/v1\0"


def seed(auditor: str, checkpoint: bytes, stamp: bytes = b"") -> bytes:
    """The 32-byte seed. `checkpoint` and `stamp` are the bytes of their files."""
    said = auditor.encode()
    return sha256(
        DOMAIN + len(said).to_bytes(4, "big") + said + sha256(checkpoint).digest() + sha256(stamp).digest()
    ).digest()


def rank(seed_: bytes, leaf_hash: bytes) -> bytes:
    return sha256(seed_ + leaf_hash).digest()


class Drawn(NamedTuple):
    """A row of the sample: by rank, then leaf, then place in its table."""

    rank: bytes
    leaf: int
    place: int
    row: Row


class Sampler:
    """The `k` rows of lowest rank of one table, as they come. Bounded by `k`."""

    def __init__(self, seed_: bytes, k: int) -> None:
        self._seed, self.k = seed_, k
        self.population = 0
        self.drawn: list[Drawn] = []

    def add(self, row: Row) -> None:
        place = self.population
        self.population += 1
        found = rank(self._seed, row.ref.hash)
        drawn = self.drawn
        if len(drawn) == self.k and (not self.k or found > drawn[-1].rank):
            return
        insort(drawn, Drawn(found, row.ref.leaf, place, row), key=lambda each: each[:3])
        del drawn[self.k :]
