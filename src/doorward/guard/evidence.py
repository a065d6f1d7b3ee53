"""Reading the record for evidence: every leaf up to a checkpoint, and the private records that tables rest on.

The log is checked on the way: the root of its leaves must be the checkpoint's, each gateway's chain and each session's grammar
must hold, and each opened record must be the one that its leaf commits to. IntegrityError otherwise: nothing is computed from a
record that does not hold. Reads only, and safe beside a running gateway; memory is bounded by what is open.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable, Sequence
from typing import Protocol

import msgspec

from doorward.errors import IntegrityError
from doorward.evidence.examination import Examination
from doorward.evidence.record import Record, Ref
from doorward.guard.reader import RecordReader
from doorward.ledger import tiles
from doorward.ledger.commitment import opens
from doorward.ledger.leaf import Leaf
from doorward.ledger.trail import Trail
from doorward.ledger.tree import Tree, leaf_hash
from doorward.ledger.verify import EvidenceSource
from doorward.ledger.votes import VoteTrail
from doorward.model import Checkpoint

Progress = Callable[[str, int, int], None]
_DECODER = msgspec.json.Decoder(dict)


class Openings(Protocol):
    """Who is told of the log and of what was opened, in the order of the log."""

    def bundle(self, entries: Sequence[bytes], hashes: Sequence[bytes]) -> None:
        """The next leaves, up to 256."""
        ...

    def opened(self, ref: Ref, record: Record, exact: bytes, salt: bytes, *, inside: bool) -> None:
        """A record of a type that is read. `exact` are its bytes, `inside` whether it is of the period."""
        ...

    def unopened(self, ref: Ref, why: str, *, inside: bool) -> None:
        """A record of such a type that does not open: `destroyed` or `missing`."""
        ...


class Unheard:
    """For who needs no copy."""

    def bundle(self, entries: Sequence[bytes], hashes: Sequence[bytes]) -> None:
        pass

    def opened(self, ref: Ref, record: Record, exact: bytes, salt: bytes, *, inside: bool) -> None:
        pass

    def unopened(self, ref: Ref, why: str, *, inside: bool) -> None:
        pass


async def examine(
    reader: RecordReader,
    source: EvidenceSource,
    checkpoint: Checkpoint,
    examination: Examination,
    openings: Openings | None = None,
    *,
    progress: Progress = lambda stage, done, total: None,
) -> Trail:
    """Feed all leaves up to `checkpoint`, which the caller has verified. Raises IntegrityError, OSError, UpstreamError."""
    told = openings or Unheard()
    size, trail, tree = checkpoint.size, Trail(), Tree()
    reads = examination.reads
    stored = _Stored(reader, sorted(reads | set(VoteTrail.TYPES)))
    index = 0
    for number in range((size + tiles.WIDTH - 1) // tiles.WIDTH):
        entries = tiles.read_bundle(number, size, source.read)
        hashes = [leaf_hash(entry) for entry in entries]
        tree.extend(hashes)
        told.bundle(entries, hashes)
        for entry, hash_ in zip(entries, hashes, strict=True):
            try:
                leaf = trail.add(index, entry, hash_)
            except IntegrityError as error:
                raise IntegrityError(error.message, spot=f"log/, leaf {index}") from None
            ref = Ref(index, hash_, leaf.at, leaf.gateway, leaf.boot, leaf.seq, leaf.type, leaf.session or "")
            examination.leaf(ref)
            if leaf.type in stored.types:
                await _open(stored, ref, leaf, examination, told)
            index += 1
        if number % 4 == 0:
            progress("events", index, size)
    progress("events", size, size)
    if tree.root() != checkpoint.root:
        raise IntegrityError("the leaves do not have the root of the checkpoint", spot=f"log/checkpoint, size {size}")
    examination.end()
    return trail


async def _open(stored: _Stored, ref: Ref, leaf: Leaf, examination: Examination, told: Openings) -> None:
    found = await stored.at(ref.leaf)
    if found is None or found[0] is None:
        told.unopened(ref, "missing" if found is None else "destroyed", inside=examination.inside)
        if leaf.type in examination.reads:
            examination.missing(ref)
        return
    salt, exact = found[0]
    if not opens(leaf.commitment or b"", salt, leaf.type, exact):
        raise IntegrityError("a record is not the one that its leaf commits to", spot=f"store, leaf {ref.leaf}")
    fields = _DECODER.decode(exact)
    record = Record(ref._replace(session=str(fields.get("session", ""))), str(fields["actor"]), fields["body"])
    told.opened(ref, record, exact, salt, inside=examination.inside)
    if leaf.type in examination.reads:
        examination.record(record)


class _Stored:
    """The store's events in the order of the log, one looked at a time."""

    def __init__(self, reader: RecordReader, types: Sequence[str]) -> None:
        self.types = frozenset(types)
        self._events = reader.unsealed(types=types)
        self._next: tuple[int, tuple[bytes, bytes] | None] | None = None
        self._more = True

    async def at(self, index: int) -> tuple[tuple[bytes, bytes] | None] | None:
        """(salt, record), or (None,) where its key is gone; None where there is no such event."""
        while self._more and (self._next is None or self._next[0] < index):
            self._next = await anext(self._events, None)
            self._more = self._next is not None
        if self._next is None or self._next[0] != index:
            return None
        return (self._next[1],)


async def openings_of(reader: RecordReader, leaves: Sequence[int]) -> AsyncIterator[tuple[int, bytes, bytes]]:
    """(leaf, salt, record) of these leaves, ascending, as far as their records open. What they are was checked before."""
    for start in range(0, len(leaves), 500):
        async for leaf, found in reader.unsealed(leaves=leaves[start : start + 500]):
            if found is not None:
                yield leaf, found[0], found[1]
