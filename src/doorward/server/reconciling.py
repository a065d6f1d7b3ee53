"""Asking targets who is connected to them, now and then, and holding it against the record: for `doorward reconcile`.

Contract: the question is one of the gateway's own statements, in its own session, on record like any other. Connections
younger than a few seconds are left for the next time: they may be ours, and not on record here yet. Without
`pg_read_all_stats` a target shows other roles' connections without their beginning or address; those are counted as `unread`
and compared all the same.
"""

from __future__ import annotations

import asyncio
from collections.abc import Mapping, Sequence
from typing import Any, Final, Protocol

from doorward.errors import DoorwardError, UpstreamError
from doorward.evidence.reconcile import Seen
from doorward.guard.reconciliation import Reconciliation, Source
from doorward.model import Target
from doorward.server.own import OwnStatements
from doorward.server.reach import Log

YOUNG: Final = 5  # seconds
TICK: Final = 5.0  # seconds between looks at what is due
PATIENCE: Final = 10.0  # seconds
MOST_BYTES: Final = 8 << 20
# A NULL backend_type is that of a role whose statistics we may not read.
_ACTIVITY: Final = """
SELECT pid::int8, (extract(epoch FROM backend_start) * 1000)::int8, usename::text, datname::text, application_name,
       host(client_addr) || ':' || client_port
  FROM pg_catalog.pg_stat_activity
 WHERE usesysid IS NOT NULL AND (backend_type = 'client backend' OR backend_type IS NULL)
   AND (backend_start IS NULL OR backend_start < clock_timestamp() - make_interval(secs => $1::int4))
 ORDER BY backend_start, pid"""


class Place(Protocol):
    """What of `reach.Reach` this needs."""

    target: Target
    own: OwnStatements


class Reconciliations:
    """All comparisons of one gateway. A target's options say how often (`reconcile`, in seconds) and which roles are expected
    to come another way (`expected_roles`)."""

    def __init__(self, reconciliation: Reconciliation, reach: Mapping[str, Place], log: Log) -> None:
        self._reconciliation, self._reach, self._log = reconciliation, reach, log

    async def activity(self, target: str, *, actor: str = "") -> dict[str, Any]:
        """Who is connected now. UpstreamError when the target does not say, or nothing can be recorded."""
        rows = await self._reach[target].own.query(
            "reconcile: who is connected", _ACTIVITY, (str(YOUNG),), timeout=PATIENCE, max_bytes=MOST_BYTES
        )
        try:
            seen = [
                Seen(int(pid or 0), int(started or 0), role or "", database or "", client or "", (name,) if name else ())
                for pid, started, role, database, name, client in rows
            ]
        except ValueError as error:
            raise UpstreamError(f"the target's pg_stat_activity is not what it should be: {error}") from error
        return await self.compare(target, seen, Source("activity", unread=sum(not one.started for one in seen)), actor=actor)

    async def compare(self, target: str, seen: Sequence[Seen], source: Source, *, actor: str = "") -> dict[str, Any]:
        """An account that somebody has brought, or that was asked for."""
        place = self._reach[target].target
        beside = [
            name for name, other in self._reach.items()
            if (other.target.host, other.target.port) == (place.host, place.port) and name != target
        ]  # fmt: skip
        expected = place.options.get("expected_roles", "").split(",")
        return await self._reconciliation.examine(place, seen, source, beside=beside, expected=expected, actor=actor)

    async def run(self) -> None:
        """Compare when it is due, until cancelled. A target that cannot be asked is asked again, and holds up no other."""
        clock = asyncio.get_running_loop().time
        every = {name: int(place.target.options.get("reconcile", "0")) for name, place in self._reach.items()}
        due = {name: clock() + seconds for name, seconds in every.items() if seconds}
        while True:
            await asyncio.sleep(TICK)
            for target in [name for name, when in due.items() if clock() >= when]:
                due[target] = clock() + every[target]
                await self._once(target)

    async def _once(self, target: str) -> None:
        try:
            found = await self.activity(target)
        except DoorwardError as error:
            self._log.warning("target.not_reconciled", target=target, reason=error.message)
            return
        if found["new"]:
            self._log.warning("bypass.found", target=target, connections=found["new"])
