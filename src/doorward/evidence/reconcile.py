"""Reality against the record: which connections of a target did not come through the gateway.

Contract: `examine` compares what a target says of its connections with the sessions on record. A connection is accounted for
when a session of ours had that very process of the target at that time; when it bears the id of a session of ours (the gateway
puts it first into `application_name`) of which no process is known, because it still runs at another process or because the
gateway died in it; or when its role is one that is expected to come another way. Everything else is a finding. A name is not
enough where the process is known: anybody can call themselves by the id of a session that they have seen.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import Final

LEEWAY: Final = 10_000  # ms by which two machines' clocks may differ
DIALLED: Final = 60_000  # ms after a session is opened within which it has its connection
_OURS: Final = re.compile(r"(?:doorward )?([0-9a-f]{8}(?:-[0-9a-f]{4}){3}-[0-9a-f]{12})(?![0-9a-f])", re.ASCII)


@dataclass(frozen=True, slots=True)
class Seen:
    """A connection, as the target knows it: its process there, and since when (Unix ms; 0 where the target does not say)."""

    pid: int
    started: int
    role: str = ""
    database: str = ""
    client: str = ""
    applications: tuple[str, ...] = ()
    statements: int = 0

    @property
    def session(self) -> str:
        """The id of the session whose name it bears, "" if none."""
        for name in self.applications:
            if found := _OURS.match(name):
                return found[1]
        return ""


@dataclass(frozen=True, slots=True)
class OnRecord:
    """A session of ours at that target. `backend` is the target's process, 0 where nothing says which; times are Unix ms,
    `closed` 0 while it is open."""

    id: str
    backend: int
    opened: int
    closed: int = 0

    def had(self, seen: Seen) -> bool:
        """Whether its time is the connection's: a session is opened, and then its target dialled."""
        if not seen.started:  # it is there now
            return not self.closed
        return self.opened - LEEWAY <= seen.started <= self.opened + DIALLED + LEEWAY


class Verdict(StrEnum):
    """What was found of one connection."""

    OURS = "ours"
    EXPECTED = "expected"
    BYPASS = "bypass"
    IMPOSTOR = "impostor"


WHY: Final[Mapping[Verdict, str]] = {
    Verdict.BYPASS: "no session on record had this connection",
    Verdict.IMPOSTOR: "it bears the name of a session that had another connection, or that is not on record here",
}


def examine(
    seen: Sequence[Seen], record: Sequence[OnRecord], expected: Sequence[str] = ()
) -> list[tuple[Seen, Verdict]]:
    """Each connection with what it is taken for. `expected` are roles."""
    by_id = {each.id: each for each in record}
    by_backend: dict[int, list[OnRecord]] = {}
    for each in record:
        by_backend.setdefault(each.backend, []).append(each)
    return [(each, _verdict(each, by_id, by_backend, expected)) for each in seen]


def _verdict(
    seen: Seen, by_id: Mapping[str, OnRecord], by_backend: Mapping[int, Sequence[OnRecord]], expected: Sequence[str]
) -> Verdict:
    if any(ours.had(seen) for ours in by_backend.get(seen.pid, ()) if seen.pid):
        return Verdict.OURS
    named = by_id.get(seen.session)
    if named is not None and not named.backend and named.had(seen):
        return Verdict.OURS
    if seen.role in expected:
        return Verdict.EXPECTED
    return Verdict.IMPOSTOR if seen.session else Verdict.BYPASS
