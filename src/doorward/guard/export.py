"""Events on their way to others, in the order of the log, at least once, none left out.

Contract: each destination has a cursor, the leaf of the last event that it has taken, which is stored after it took it: who
dies in between sends those again, under the same ids. Only what the log has is sent, and each record is checked against its
leaf: a copy is never other than the original. A destination that takes nothing is tried again, for ever, and nothing is dropped
for it: what waits is in the log, so that nothing grows meanwhile but the distance. Nothing that happens here decides anything,
or delays anybody.

An event whose key has been destroyed is passed over: it has come too late. Of several processes that keep one record, one
sends.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final, Protocol

from doorward.errors import DoorwardError, IntegrityError
from doorward.evidence.outward.facts import Facts, read
from doorward.evidence.record import Record, Ref
from doorward.guard.notifications import UndeliveredError
from doorward.guard.ports import Clock, LogFiles
from doorward.guard.reader import OpenedEvent, RecordReader
from doorward.guard.stores import MarkStore
from doorward.ledger import leaf as leaves
from doorward.ledger import tiles
from doorward.ledger.checkpoint import parse_text, split_note
from doorward.ledger.commitment import opens
from doorward.ledger.tree import leaf_hash

BATCH: Final = 200  # events that are sent at once
POLL: Final = 1.0  # seconds between looks for more
SEND: Final = 30.0  # seconds that one batch may take
FIRST: Final = 1.0  # seconds to the second attempt, twice as long to each further one
LONGEST: Final = 60.0
MOST_SESSIONS: Final = 2000  # of which it is remembered how they were opened


class Lease(Protocol):
    """That this process alone sends to a destination. It ends with the process."""

    def take(self) -> bool:
        """False: another process has it now."""
        ...

    def release(self) -> None: ...


class Destination(Protocol):
    """One way out."""

    @property
    def kind(self) -> str: ...
    async def send(self, events: Sequence[tuple[int, bytes]]) -> None:
        """Deliver (leaf, line without its end); they have arrived when this returns. UndeliveredError, OSError,
        DoorwardError."""
        ...

    async def close(self) -> None: ...


@dataclass(frozen=True, slots=True)
class Export:
    """One destination with what is sent there. `write` makes an event's line; `wanted` says which types (all, if empty)."""

    name: str
    format: str
    destination: Destination
    write: Callable[[Facts], bytes]
    wanted: frozenset[str] = frozenset()
    lease: Lease | None = None


@dataclass
class State:
    """How an export has done in this process. `cursor` is the last leaf that was taken, -1 for none; times are Unix ms."""

    cursor: int = -1
    sent: int = 0
    sent_at: int = 0
    failures: int = 0
    error: str = ""
    ours: bool = False


class Exports:
    """All exports of one gateway. `heard` is told when one begins to fail, and when it works again (with "")."""

    def __init__(
        self,
        exports: Sequence[Export],
        marks: MarkStore,
        reader: Callable[[], RecordReader],
        log: LogFiles,
        clock: Clock,
        *,
        heard: Callable[[str, str], None] = lambda _name, _why: None,
    ) -> None:
        self._exports = {export.name: export for export in exports}
        self._marks, self._reader, self._log, self._clock = marks, reader, log, clock
        self._heard = heard
        self._opened: dict[str, Mapping[str, Any]] = {}
        self.states = {name: State() for name in self._exports}

    async def run(self) -> None:
        """Send until cancelled."""
        async with asyncio.TaskGroup() as group:
            for name in self._exports:
                group.create_task(self._serve(name))

    async def _serve(self, name: str) -> None:
        export, state = self._exports[name], self.states[name]
        try:
            while True:
                wait = POLL
                try:
                    if export.lease is None or state.ours or export.lease.take():
                        if not state.ours:  # whoever had it before may have gone on
                            state.cursor, state.ours = await self._marks.mark(f"export:{name}") - 1, True
                        if await self.step(name):
                            wait = 0.0
                    self._fared(name, "")
                except (DoorwardError, UndeliveredError, OSError, TimeoutError) as error:
                    self._fared(name, str(getattr(error, "message", "") or error) or "it did not answer in time")
                    asked = getattr(error, "after", 0.0)
                    wait = max(min(FIRST * 2 ** min(state.failures - 1, 10), LONGEST), min(asked, LONGEST))
                await asyncio.sleep(wait)
        finally:
            if export.lease is not None:
                export.lease.release()
            await export.destination.close()

    def _fared(self, name: str, why: str) -> None:
        state = self.states[name]
        if why and not state.failures:
            self._heard(name, why)
        elif not why and state.failures:
            self._heard(name, "")
        state.failures = state.failures + 1 if why else 0
        state.error = why

    async def step(self, name: str) -> bool:
        """One batch, if there is one; whether there may be more. Raises what `Destination.send` raises, IntegrityError,
        UpstreamError."""
        export, state = self._exports[name], self.states[name]
        last = await asyncio.to_thread(self._published) - 1
        if state.cursor >= last:
            return False
        found = await self._batch(state.cursor, last)
        through = found[-1].index if len(found) == BATCH else last
        wanted = [each for each in found if not export.wanted or each.event.type in export.wanted]
        entries = await asyncio.to_thread(self._entries, [each.index for each in wanted])
        facts = [await self._facts(each, entry) for each, entry in zip(wanted, entries, strict=True)]
        if facts:
            lines = [(each.record.ref.leaf, export.write(each)) for each in facts]
            async with asyncio.timeout(SEND):
                await export.destination.send(lines)
            state.sent += len(lines)
            state.sent_at = self._clock.now()
        # If we die here the same batch is sent again, under the same ids.
        await self._marks.keep_mark(f"export:{name}", through + 1)
        state.cursor = through
        return through < last

    async def _batch(self, after: int, last: int) -> list[OpenedEvent]:
        found: list[OpenedEvent] = []
        async for opened in self._reader().events(after=after):
            if opened.index > last or len(found) == BATCH:
                break
            found.append(opened)
        return found

    async def _facts(self, opened: OpenedEvent, entry: bytes) -> Facts:
        event, leaf = opened.event, leaves.parse(entry)
        if not opens(leaf.commitment or b"", opened.salt, leaf.type, opened.record):
            raise IntegrityError("a record is not the one that its leaf commits to", spot=f"store, leaf {opened.index}")
        ref = Ref(opened.index, leaf_hash(entry), leaf.at, leaf.gateway, leaf.boot, leaf.seq, leaf.type, event.session_id)
        return read(Record(ref, event.actor, event.body), await self._session(event.session_id))

    def _published(self) -> int:
        """The size of the published log: what is in its tiles."""
        note = self._log.read("checkpoint")
        return 0 if note is None else parse_text(split_note(note)[0])[1]

    def _entries(self, indices: Sequence[int]) -> list[bytes]:
        """These leaves, ascending, as the log has them. A bundle that is not full is replaced while the log grows: what was the
        widest when its name was made may be gone when it is read."""

        def published(path: str) -> bytes:
            found = self._log.read(path)
            if found is None:
                raise FileNotFoundError(path)
            return found

        bundles: dict[int, list[bytes]] = {}
        for number in sorted({index // tiles.WIDTH for index in indices}):
            for attempt in range(3):
                try:
                    bundles[number] = tiles.read_bundle(number, self._published(), published)
                    break
                except IntegrityError:
                    if attempt == 2:
                        raise
        return [bundles[index // tiles.WIDTH][index % tiles.WIDTH] for index in indices]

    async def _session(self, session_id: str) -> Mapping[str, Any] | None:
        """How a session was opened; None where it has none, or its key is gone."""
        if not session_id:
            return None
        if session_id not in self._opened:
            body: Mapping[str, Any] = {}
            async for opened in self._reader().events(session_id=session_id, types=("session.opened",)):
                body = opened.event.body
            if len(self._opened) >= MOST_SESSIONS:
                del self._opened[next(iter(self._opened))]
            self._opened[session_id] = body
        return self._opened[session_id] or None

    async def state(self) -> list[dict[str, Any]]:
        """Each export for people: where it is, and how far that is from the log's end."""
        size = await asyncio.to_thread(self._published)
        shown = []
        for name, export in self._exports.items():
            state = self.states[name]
            cursor = state.cursor if state.ours else await self._marks.mark(f"export:{name}") - 1
            shown.append(
                {
                    "name": name, "kind": export.destination.kind, "format": export.format, "cursor": cursor,
                    "behind": size - 1 - cursor, "sent": state.sent, "sent_at": state.sent_at, "failures": state.failures,
                    "error": state.error, "here": state.ours,
                }
            )  # fmt: skip
        return shown
