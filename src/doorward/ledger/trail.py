"""What the leaves of a log must say together: the chain of each gateway, and the grammar of each session.

Fed with every leaf in order. A gateway's leaves count up without holes and each names the one before, across boots too;
a session is opened, then its segments are sealed from 0 without holes, then it is closed or recovered, once. The first
leaf that does not fit raises IntegrityError with "expected ..., found ..." in words.

Does not read files, and does not look at recordings: it keeps what they must be (`sessions`).
"""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field
from typing import Final

from doorward.errors import IntegrityError
from doorward.ledger.leaf import FIRST, Leaf, parse

OPENED: Final = "session.opened"
SEALED: Final = "session.sealed"
CLOSED: Final = "session.closed"
RECOVERED: Final = "session.recovered"


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
        self.first_at = 0
        self.last_at = 0
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
            self.sessions[name] = SessionTrail(index, leaf.at, leaf.segment_hash)
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


_STEPS: Final = frozenset((OPENED, SEALED, CLOSED, RECOVERED))


def _unexpected(expected: str, found: str) -> IntegrityError:
    return IntegrityError(f"expected {expected}, found {found}")
