"""What did not come through the gateway: a target's account of its connections, held against the record.

Contract: `examine` puts on record that somebody (or the schedule) compared, what was compared, and each connection that the
record does not explain, once: `bypass.found` is an exception until a person has explained it. Nothing is ended, and nobody is
refused: who is connected past the gateway is out of its reach, and that is what is said.

It works from what the target says of itself. Who may write there may lie; a server that logs to a place of its own, and the
network that lets nobody else in, are what make this worth more (docs/guides/reconcile.md).
"""

from __future__ import annotations

import hashlib
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from typing import Any, Final

from doorward.evidence.reconcile import DIALLED, LEEWAY, WHY, OnRecord, Seen, Verdict, examine
from doorward.guard.guard import Guard
from doorward.guard.reader import RecordReader
from doorward.guard.stores import SessionRow, SessionStore
from doorward.masking.statement import mask_statement
from doorward.model import Target

MOST_FOUND: Final = 1000  # findings of one comparison that are events of their own
MOST_KNOWN: Final = 100_000  # findings that are remembered, so that each is said once
_PAGE: Final = 500


@dataclass(frozen=True, slots=True)
class Source:
    """Where an account comes from: `kind` is activity (what the target says is connected now) or log. `about` says more for
    people: names and hashes of files; `unread` counts what could not be read in them."""

    kind: str
    about: str = ""
    unread: int = 0


class Reconciliation:
    """All comparisons of one gateway."""

    def __init__(self, guard: Guard, store: SessionStore, reader: Callable[[], RecordReader]) -> None:
        self._guard, self._store, self._reader = guard, store, reader
        self._known: dict[str, None] | None = None

    async def examine(
        self, target: Target, seen: Sequence[Seen], source: Source, *, beside: Sequence[str] = (), expected: Sequence[str] = (),
        actor: str = "",
    ) -> dict[str, Any]:
        """Compare, record, and say what was found. `beside` are other targets on the same server, `expected` roles that come
        another way. UpstreamError when nothing can be recorded."""
        record = await self._on_record({target.name, *beside}, seen)
        judged = examine(seen, record, expected)
        counts = Counter(verdict for _, verdict in judged)
        findings = [self._finding(target, one, verdict, source) for one, verdict in judged if verdict in WHY]
        known = await self._remembered()
        fresh = [finding for finding in findings if finding["finding"] not in known]
        began = [one.started for one in seen if one.started]
        summary = {
            "target": target.name, "source": source.kind, "about": source.about, "unread": source.unread, "seen": len(seen),
            **{str(verdict): counts[verdict] for verdict in Verdict}, "new": len(fresh),
            "first": min(began, default=0), "last": max(began, default=0),
        }  # fmt: skip
        for finding in fresh[:MOST_FOUND]:
            await self._guard.recorder.event("bypass.found", finding, actor=actor)
            known[finding["finding"]] = None
        while len(known) > MOST_KNOWN:
            del known[next(iter(known))]
        await self._guard.recorder.event("target.reconciled", summary, actor=actor)
        return {**summary, "findings": findings}

    def _finding(self, target: Target, seen: Seen, verdict: Verdict, source: Source) -> dict[str, Any]:
        """Whatever whoever connected could choose may hold anything: it is masked."""

        def masked(text: str) -> str:
            return mask_statement(text, detectors=self._guard.recorder.detectors)[0]

        said = asdict(seen)
        said["applications"] = [masked(name) for name in seen.applications]
        said["role"], said["database"] = masked(seen.role), masked(seen.database)
        mark = hashlib.sha256(f"{target.name}\0{seen.pid}\0{seen.started // 1000}\0{seen.role}".encode()).hexdigest()[:16]
        return {
            "finding": mark, "target": target.name, "source": source.kind, "verdict": str(verdict), "why": WHY[verdict], **said,
        }  # fmt: skip

    async def _remembered(self) -> dict[str, None]:
        if self._known is None:
            known: dict[str, None] = {}
            async for opened in self._reader().events(types=("bypass.found",)):
                known[str(opened.event.body.get("finding", ""))] = None
                if len(known) > MOST_KNOWN:
                    del known[next(iter(known))]
            self._known = known
        return self._known

    async def _on_record(self, targets: set[str], seen: Sequence[Seen]) -> list[OnRecord]:
        """The sessions that may explain these connections: those that run here, and of the record those that began when one of
        them did, or whose name one of them bears."""
        found = {
            each.session.id: OnRecord(each.session.id, each.backend, each.session.opened_at)
            for each in self._guard.sessions.values() if each.session.target.name in targets
        }  # fmt: skip
        rows: dict[str, SessionRow] = {}
        times = [one.started for one in seen if one.started]
        if times:
            since, until, before = max(1, min(times) - DIALLED - LEEWAY), max(times) + LEEWAY, ""
            while page := await self._store.sessions(since=since, until=until, before=before, limit=_PAGE):
                rows.update((row.id, row) for row in page if row.target in targets)
                before = page[-1].id
        for named in {one.session for one in seen} - {""} - rows.keys() - found.keys():
            if (row := await self._store.session(named)) is not None and row.target in targets:
                rows[named] = row
        for row in rows.values():
            if row.id not in found:
                found[row.id] = OnRecord(row.id, await self._backend(row), row.opened, row.closed)
        return list(found.values())

    async def _backend(self, row: SessionRow) -> int:
        if row.closed:
            async for opened in self._reader().events(session_id=row.id, types=("session.closed",)):
                return int(opened.event.body.get("backend", 0))
        return 0
