"""What the leaves of a log must say together: the chain of each gateway, and the grammar of each session.

Fed with every leaf in order. What is deleted was due, by the class in its own leaf, and not held. A gateway's leaves
count up without holes and each names the one before, across boots too; a session is opened, then its segments are
sealed from 0 without holes, then it is closed or recovered, once. The first leaf that does not fit raises
IntegrityError with "expected ..., found ..." in words.

Does not read files, and does not look at recordings: it keeps what they must be (`sessions`).
"""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field
from typing import Final

from doorward.errors import IntegrityError
from doorward.ledger.leaf import FIRST, Leaf, parse
from doorward.ledger.retention import due, epoch, epoch_hash, named, split

OPENED: Final = "session.opened"
SEALED: Final = "session.sealed"
CLOSED: Final = "session.closed"
RECOVERED: Final = "session.recovered"
HELD: Final = "recording.held"
RELEASED: Final = "recording.released"
DELETED: Final = "recording.deleted"
EPOCH_DELETED: Final = "retention.deleted"
COUNTED: Final = frozenset(("approval.voted", "break_glass.reviewed"))  # of which every record must be there, or deleted
STAMPED: Final = "log.stamped"
ROTATED: Final = "log.key_rotated"


@dataclass(slots=True)
class SessionTrail:
    """What the leaves say of one session. `hashes` holds 32 bytes for each sealed segment; `root` is None while the
    session is open; `header` is None where its first leaf does not bind the recording's header."""

    opened_leaf: int
    opened_at: int
    header: bytes | None
    hashes: bytearray = field(default_factory=bytearray)
    leaves: list[int] = field(default_factory=list)
    root: bytes | None = None
    ended: str = ""
    retention: str = "std"
    held: bool = False
    deleted: int = -1  # the leaf that says that it is deleted

    @property
    def segments(self) -> int:
        return len(self.leaves)

    def hash(self, number: int) -> bytes:
        return bytes(self.hashes[number * 32 : number * 32 + 32])


@dataclass(slots=True)
class _Chain:
    boot: str
    seq: int
    last: bytes


class Trail:
    """Everything the leaves so far have said."""

    def __init__(self) -> None:
        self.sessions: dict[str, SessionTrail] = {}
        self.types: Counter[str] = Counter()
        self.boots: set[tuple[str, str]] = set()
        self.deleted_epochs: set[str] = set()
        self.control: Counter[tuple[str, str, int]] = Counter()  # of types in COUNTED: type, class, day
        self._classes: dict[str, str] = {}
        self.first_at = 0
        self.last_at = 0
        self.rotated: dict[int, bytes] = {}  # by leaf: SHA-256 of the note by which the log's key hands over
        self.stamped: list[tuple[int, int, bytes]] = []  # (leaf, size, SHA-256 of the time stamp's response)
        self._chains: dict[str, _Chain] = {}

    @property
    def gateways(self) -> int:
        return len(self._chains)

    def add(self, index: int, entry: bytes, hash_: bytes) -> Leaf:
        """Takes leaf `index`, its stored bytes and its leaf hash. IntegrityError when it does not fit."""
        leaf = parse(entry)
        self._link(leaf, hash_)
        self.types[leaf.type] += 1
        self.first_at = self.first_at or leaf.at
        self.last_at = leaf.at
        if leaf.type in _STEPS:
            self._step(index, leaf)
        elif leaf.type in _FATES:
            self._fate(index, leaf)
        elif leaf.type == ROTATED and leaf.segment_hash is not None:
            self.rotated[index] = leaf.segment_hash
        elif leaf.type == STAMPED and leaf.number is not None and leaf.segment_hash is not None:
            self.stamped.append((index, leaf.number, leaf.segment_hash))
        elif leaf.type in COUNTED:
            self.control[leaf.type, leaf.retention, leaf.at // DAY] += 1
        if leaf.retention not in self._classes:
            self._classes[leaf.retention] = leaf.retention
        return leaf

    def _link(self, leaf: Leaf, hash_: bytes) -> None:
        chain = self._chains.get(leaf.gateway)
        if chain is None:
            expected_seq, previous = 0, FIRST
        elif chain.boot == leaf.boot:
            expected_seq, previous = chain.seq + 1, chain.last
        else:
            expected_seq, previous = 0, chain.last
        if leaf.seq != expected_seq:
            raise _unexpected(
                f"leaf {expected_seq} of gateway {leaf.gateway}, boot {leaf.boot}", f"its leaf {leaf.seq}"
            )
        if leaf.prev != previous:
            raise _unexpected(
                f"gateway {leaf.gateway}'s leaf to follow {previous.hex()}", f"one that follows {leaf.prev.hex()}"
            )
        if chain is None or chain.boot != leaf.boot:
            if (leaf.gateway, leaf.boot) in self.boots:
                raise _unexpected(f"a new boot of gateway {leaf.gateway}", f"boot {leaf.boot} again")
            self.boots.add((leaf.gateway, leaf.boot))
            self._chains[leaf.gateway] = _Chain(leaf.boot, leaf.seq, hash_)
        else:
            chain.seq, chain.last = leaf.seq, hash_

    def _step(self, index: int, leaf: Leaf) -> None:
        name = leaf.session
        if name is None:
            raise _unexpected(f"a session id in {leaf.type}", "none")
        session = self.sessions.get(name)
        if leaf.type == OPENED:
            if session is not None:
                raise _unexpected(f"session {name} to be opened once, by leaf {session.opened_leaf}", f"{OPENED} again")
            retention = self._classes.get(leaf.retention, leaf.retention)
            self.sessions[name] = SessionTrail(index, leaf.at, leaf.segment_hash, retention=retention)
            return
        if session is None:
            raise _unexpected(f"{OPENED} of session {name}", f"{leaf.type} without it")
        if session.ended:
            raise _unexpected(f"nothing after {session.ended} of session {name}", leaf.type)
        if leaf.number is None or leaf.segment_hash is None:
            raise _unexpected(f"a number and a segment hash in {leaf.type}", "a leaf without")
        if leaf.number != session.segments:
            what = "segment" if leaf.type == SEALED else "segment count"
            raise _unexpected(f"{what} {session.segments} of session {name}", f"{what} {leaf.number}")
        if leaf.type == SEALED:
            session.hashes += leaf.segment_hash
            session.leaves.append(index)
            return
        if session.segments and leaf.segment_hash != session.hash(session.segments - 1):
            raise _unexpected(
                f"{leaf.type} to name the last segment, {session.hash(session.segments - 1).hex()}",
                leaf.segment_hash.hex(),
            )
        session.root, session.ended = leaf.segment_hash, leaf.type


    def _fate(self, index: int, leaf: Leaf) -> None:
        """What becomes of recordings after they ended, and of what a class recorded in a month."""
        if leaf.type == EPOCH_DELETED:
            number, hash_ = leaf.number, leaf.segment_hash
            found = [name for each in self._classes if (name := named(each, number or 0)) and epoch_hash(name) == hash_]
            if not found:
                raise _unexpected(f"{EPOCH_DELETED} to name an epoch of this log", f"{number}")
            retention, begins, _ = split(found[0])
            self._check_due(leaf, found[0], retention, begins)
            self.deleted_epochs.add(found[0])
            return
        session = self.sessions.get(leaf.session or "")
        if session is None:
            raise _unexpected(f"the session of {leaf.type} to have been opened", str(leaf.session))
        if leaf.type != DELETED:
            session.held = leaf.type == HELD
            return
        if not session.ended:
            raise _unexpected(f"session {leaf.session} to have ended before its recording is deleted", "that it is open")
        if session.held:
            raise _unexpected(f"the recording of session {leaf.session} to be kept, which is held", "that it is deleted")
        self._check_due(leaf, f"the recording of session {leaf.session}", session.retention, session.opened_at)
        session.deleted = index

    def _check_due(self, leaf: Leaf, what: str, retention: str, since: int) -> None:
        when = due(retention, since)
        if when is None:
            raise _unexpected(f"{what} to be kept, of class {retention}", "that it is deleted")
        if leaf.at < when:
            raise _unexpected(f"{what} to be kept until {when} ms", f"that it is deleted at {leaf.at} ms")

    def gone(self, type: str) -> int:  # noqa: A002 - the field's own name
        """How many leaves of a type in COUNTED are of epochs that are deleted."""
        return sum(
            count for (name, retention, day), count in self.control.items()
            if name == type and epoch(retention, day * DAY) in self.deleted_epochs
        )  # fmt: skip


DAY: Final = 86_400_000  # ms; every month begins with a day
_STEPS: Final = frozenset((OPENED, SEALED, CLOSED, RECOVERED))
_FATES: Final = frozenset((HELD, RELEASED, DELETED, EPOCH_DELETED))


def _unexpected(expected: str, found: str) -> IntegrityError:
    return IntegrityError(f"expected {expected}, found {found}")
