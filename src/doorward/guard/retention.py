"""Retention: what is due is deleted, on record first; what is held is kept; what is neither stays.

    plan()      every epoch that there is, and what may be done about it; reads only
    run(by)     finishes what an earlier run left half done, puts new sessions under the holds that cover them, and deletes
                every epoch that is due
    apply, request or confirm a release     legal holds

An epoch (`ledger.retention`) is deleted in this order:

1. `recording.deleted` for each recording in it that is not held, then `retention.deleted`: durable, and in the log;
2. its key is destroyed. From here on nobody can read what was sealed under it, whatever else is left;
3. the recordings' files, then their rows of the store and the records of their events; `key_epoch.destroyed`.

If we die before the end of 1, nothing is gone, and the next run says it again. If we die after it, the next run finds what is
on record as deleted and is still there, and goes on; the verifier calls it incomplete meanwhile. Nothing is deleted of what is
held: before an epoch's key is destroyed, the keys of those have been wrapped under the hold's.

It never changes when something is due: that is in the leaves.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Sequence
from dataclasses import dataclass, replace
from hashlib import sha256
from typing import Any, Final

from doorward.errors import DoorwardError, in_words
from doorward.guard.holds import Hold
from doorward.guard.keyring import Keyring, epoch_of, hold_key
from doorward.guard.ports import Clock, Turn
from doorward.guard.reader import RecordReader
from doorward.guard.recorder import Recorder
from doorward.guard.stores import SessionRow
from doorward.ledger.retention import due, is_epoch, split

PAGE: Final = 500
DAY: Final = 86_400_000  # ms
LATE: Final = 31 * DAY  # ms after it was due that an epoch is late: a month, as long as one lasts
MOST_SESSIONS: Final = 1000  # that one hold names


@dataclass(frozen=True, slots=True)
class Epoch:
    """What a class recorded in a month. `state`: kept (not due), due, late, open (due, and a session of it has not ended), held
    (due, and all that is left of it is held), lost (its key is gone, and nobody deleted it), forever (its class has no period).
    `due` in Unix ms, 0: never. `events`: those of no session."""

    name: str
    retention: str
    due: int
    state: str
    sessions: int = 0
    held: int = 0
    events: int = 0
    key: bool = True


class BusyError(Exception):
    """Somebody else is at it."""


class Retention:
    """See the module. Methods raise UpstreamError when the record, the store or the disk do not work; what was begun is then
    finished by the next run."""

    def __init__(
        self, recorder: Recorder, clock: Clock, turn: Turn, *, every: float = 0.0,
        forget: Callable[[str], None] | None = None,
    ) -> None:  # fmt: skip
        self._recorder, self._clock, self._turn = recorder, clock, turn
        self._every, self._forget = every, forget
        self.last: dict[str, Any] = {}  # what came of the last run here

    @property
    def _store(self) -> Any:
        return self._recorder.store

    # What there is ---------------------------------------------------------------------------------------------------

    async def plan(self) -> list[Epoch]:
        """Every epoch of which something is left, oldest first."""
        now, ring = self._clock.now(), self._recorder.keyring
        await asyncio.to_thread(ring.refresh)
        sessions: dict[str, tuple[int, int]] = {}
        for retention, month, count, open_ in await self._store.retention.months():
            sessions[f"{retention}.{month}"] = count, open_
        found = []
        lost = await self._lost()
        names = {*sessions, *lost, *ring.epochs}
        for name in sorted((each for each in names if is_epoch(each)), key=lambda each: (each[-7:], each)):
            retention, begins, ends = split(name)
            count, open_ = sessions.get(name, (0, 0))
            when = due(retention, begins)
            held = await self._count_held(retention, begins, ends) if count else 0
            key = ring.has(name)
            is_due = when is not None and now >= when
            events = await self._store.retention.sealed_under(name) if is_due and key else 0
            state = "kept"
            if is_due:
                left = held == count > 0 and not key
                state = "open" if open_ else "held" if left else "late" if now - (when or 0) > LATE else "due"
            elif name in lost:
                state = "lost"
            elif when is None:
                state = "forever"
            found.append(Epoch(name, retention, when or 0, state, count, held, events, key))
        return found

    async def _count_held(self, retention: str, begins: int, ends: int) -> int:
        holds = [hold for hold in await self._store.retention.holds() if not hold.released_at]
        if not holds:
            return 0
        pages = self._pages(retention, begins, ends)
        return sum([any(hold.covers(row) for hold in holds) async for page in pages for row in page])

    async def _lost(self) -> set[str]:
        ring = self._recorder.keyring
        return await lost_epochs(RecordReader(self._store, self._recorder.recordings, ring), ring)

    async def _pages(self, retention: str, begins: int, ends: int) -> AsyncIterator[list[SessionRow]]:
        """The sessions of an epoch, newest first. `created` decides, which is also when they were opened."""
        before = ""
        # A day more on both sides: sessions from before there were epochs were opened some time after they were made.
        while page := await self._store.sessions(since=max(begins - DAY, 1), until=ends + DAY, before=before, limit=PAGE):
            before = page[-1].id
            yield [row for row in page if row.retention == retention and begins <= row.created < ends]

    # Deleting --------------------------------------------------------------------------------------------------------

    async def run(self, by: str) -> dict[str, Any]:
        """One run, for whoever `by` is ("": the schedule). What was deleted, what was refused and why. BusyError."""
        if not await asyncio.to_thread(self._turn.take):
            raise BusyError("another run, or a change to a hold, is under way")
        try:
            return await self._run(by)
        finally:
            self._turn.release()

    async def _run(self, by: str) -> dict[str, Any]:
        finished = await self._finish()
        await self._tell_of_holds()
        await self._extend_holds()
        deleted, refused = [], []
        for epoch in await self.plan():
            if epoch.state in ("due", "late"):
                deleted.append(await self._delete(epoch, by))
            elif epoch.state in ("open", "held"):
                refused.append({"epoch": epoch.name, "why": epoch.state, "due": epoch.due, "sessions": epoch.sessions})
        await self._tidy_holds()
        await self._store.retention.compact()
        self.last = {"at": self._clock.now(), "deleted": deleted, "refused": refused, "finished": finished}
        return self.last

    async def _delete(self, epoch: Epoch, by: str) -> dict[str, Any]:
        retention, begins, ends = split(epoch.name)
        holds = [hold for hold in await self._store.retention.holds() if not hold.released_at]
        count, items, digest = 0, 0, sha256()
        async for page in self._pages(retention, begins, ends):
            count += len(page)
            for session in (row.id for row in page if not any(hold.covers(row) for hold in holds)):
                items += 1
                digest.update(session.encode() + b"\n")
                self._recorder.append_event(
                    "recording.deleted", {"epoch": epoch.name, "due": epoch.due}, session_id=session, actor=by
                )
            await self._recorder.wal.flush()
            await self._recorder.fold()
        body = {
            "epoch": epoch.name, "class": retention, "due": epoch.due, "late": epoch.state == "late",
            "recordings": items, "held": count - items, "events": epoch.events, "items": digest.hexdigest(),
            "method": "the epoch's key was destroyed" if epoch.key else "keys that a hold had kept",
        }  # fmt: skip
        await self._recorder.event("retention.deleted", body, actor=by)
        # In the log, not only on its way there: whoever reads the log from here on knows why the content is not there.
        await self._recorder.fold()
        await self._carry_out(epoch.name, by)
        return {key: body[key] for key in ("epoch", "due", "late", "recordings", "held", "events")}

    async def _carry_out(self, name: str, by: str) -> int:
        """What `retention.deleted` says of an epoch; how many recordings. Can be done again."""
        await self._destroy(name)
        if self._forget is not None:  # what is derived from the epoch's content, and kept beside it
            await asyncio.to_thread(self._forget, name)
        count = 0
        async for page in self._pages(*split(name)):
            sessions = await self._store.retention.deleted([row.id for row in page])
            for session in sessions:
                await asyncio.to_thread(self._recorder.recordings.delete, session)
            # The files first: their names are in the rows, so that no file is left that nobody knows of.
            await self._store.retention.erase_sessions(sessions)
            count += len(sessions)
        retention, begins, ends = split(name)
        control = retention == self._recorder.control
        events = await self._store.retention.erase_epoch(name, begins, ends, control=control)
        await self._recorder.event("key_epoch.destroyed", {"epoch": name, "events": events}, actor=by)
        await self._recorder.fold()
        return count

    async def _destroy(self, name: str) -> None:
        """The key of an epoch; what holds keep of its events is sealed anew before."""
        ring = self._recorder.keyring
        if not ring.has(name):
            return
        for hold in await self._store.retention.holds():
            if not hold.released_at:
                for session in await self._store.retention.held(hold.id):
                    await self._reseal(session, name, hold)
        await asyncio.to_thread(ring.destroy, name)

    async def _reseal(self, session: str, name: str, hold: Hold) -> None:
        """A held session's events that are sealed under an epoch's key, under the hold's."""
        ring, key_id = self._recorder.keyring, hold_key(hold.id)
        rows = await self._store.retention.reseal(session, name)
        old, new = ring.of_events(name), ring.of_events(key_id)
        if not rows or old is None or new is None:
            return
        sealed = {}
        for index, boot, seq, octets in rows:
            salt, record = ring.open_record(old, boot, seq, octets)
            sealed[index] = ring.seal_record(new, boot, seq, salt, record)
        await self._store.retention.resealed(key_id, sealed)

    async def _finish(self) -> int:
        """What an earlier run put on record and did not finish; how many recordings."""
        return sum([await self._carry_out(name, "") for name in await self._unfinished()])

    async def _unfinished(self) -> list[str]:
        """Epochs of which the log says that they are deleted, and not that their key is destroyed."""
        names: dict[str, bool] = {}
        reader = RecordReader(self._store, self._recorder.recordings, self._recorder.keyring)
        async for opened in reader.events(types=("retention.deleted", "key_epoch.destroyed")):
            names[str(opened.event.body["epoch"])] = opened.event.type == "retention.deleted"
        return [name for name, open_ in names.items() if open_]

    async def follow(self) -> None:
        """Run on a schedule until cancelled."""
        while self._every:
            await asyncio.sleep(min(self._every, 300.0) if not self.last else self._every)
            try:
                await self.run("")
            except BusyError:
                pass  # it is being done
            except (DoorwardError, OSError) as error:
                self.last = {"at": self._clock.now(), "failed": in_words(error)}

    # Holds -----------------------------------------------------------------------------------------------------------

    async def holds(self) -> list[tuple[Hold, int]]:
        """All, oldest first, each with how many sessions it keeps."""
        return [(hold, len(await self._store.retention.held(hold.id))) for hold in await self._store.retention.holds()]

    async def apply(self, hold: Hold) -> tuple[Hold, int]:
        """Put a hold in force: kept before it is told, so that from its first moment nothing that it covers is deleted. Returns
        it, and how many sessions it covers now. BusyError. KeyError: there is a hold of that case in force."""
        if not await asyncio.to_thread(self._turn.take):
            raise BusyError("a deletion is under way")
        try:
            if any(each.case == hold.case and not each.released_at for each in await self._store.retention.holds()):
                raise KeyError(hold.case)
            await self._finish()  # what is on record as deleted is no longer there to be held
            await asyncio.to_thread(self._recorder.keyring.make, hold_key(hold.id))
            await self._store.retention.keep_hold(hold)
            await self._tell_of_holds()
            await self._extend_holds()
        finally:
            self._turn.release()
        return hold, len(await self._store.retention.held(hold.id))

    async def _tell_of_holds(self) -> None:
        for hold in await self._store.retention.holds():
            if not hold.told:
                await self._recorder.event("hold.applied", _told(hold), actor=hold.applied_by)
                await self._store.retention.keep_hold(replace(hold, told=True))

    async def _extend_holds(self) -> None:
        """Wrap the key of every session that a hold covers and has not, then say so."""
        for hold in await self._store.retention.holds():
            if hold.released_at:
                continue
            await asyncio.to_thread(self._recorder.keyring.make, hold_key(hold.id))
            before = ""
            while page := await self._store.sessions(
                identity=hold.identity, target=hold.target, since=hold.since, until=hold.until, before=before, limit=PAGE
            ):
                before = page[-1].id
                await self._hold(hold, [row for row in page if hold.covers(row)])

    async def _hold(self, hold: Hold, rows: Sequence[SessionRow]) -> None:
        if not rows:
            return
        retention, ring = self._store.retention, self._recorder.keyring
        reader = RecordReader(self._store, self._recorder.recordings, ring)
        have = set(await retention.held(hold.id, [row.id for row in rows]))
        wrapped = {}
        for row in rows:
            if row.id not in have and row.state != "open":  # one that is open is far from due, and is held when it has ended
                dek = await reader.key(row.id)
                if dek is not None:
                    wrapped[row.id] = ring.wrap(row.id, dek, hold_key(hold.id))
        if not wrapped:
            return
        for session in wrapped:  # on record before the row that keeps us from saying it again
            self._recorder.append_event(
                "recording.held", {"hold": hold.id, "case": hold.case}, session_id=session, actor=hold.applied_by
            )
        await self._recorder.wal.flush()
        await self._recorder.fold()
        await retention.keep_held(hold.id, wrapped)

    async def request_release(self, hold: Hold, by: str) -> bool:
        """Somebody asks that a hold be released, and says so on record; False if somebody has already."""
        body = {"hold": hold.id, "case": hold.case}
        if hold.requested_at or hold.released_at:
            return False
        await self._recorder.event("hold.release_requested", body, actor=by)
        return bool(await self._store.retention.request_release(hold.id, by, self._clock.now()))

    async def release(self, hold: Hold, by: str) -> Hold:
        """A second person confirms. The hold ends; what it alone had kept is deleted by the next run. BusyError;
        PermissionError if nobody asked, or the same person did."""
        if not await asyncio.to_thread(self._turn.take):
            raise BusyError("a deletion is under way")
        try:
            hold = next(each for each in await self._store.retention.holds() if each.id == hold.id)
            if not hold.requested_by or hold.requested_by == by or hold.released_at:
                raise PermissionError("a hold is released by a second person, after a first has asked for it")
            await self._recorder.event(
                "hold.released", {"hold": hold.id, "case": hold.case, "requested_by": hold.requested_by}, actor=by
            )
            others = [
                each for each in await self._store.retention.holds() if each.id != hold.id and not each.released_at
            ]
            for session in await self._store.retention.held(hold.id):
                row = await self._store.session(session)
                if row is not None and not any(other.covers(row) for other in others):
                    self._recorder.append_event(
                        "recording.released", {"hold": hold.id, "case": hold.case}, session_id=session, actor=by
                    )
            await self._recorder.wal.flush()
            await self._recorder.fold()
            # Last: if we died before, it is still in force, whatever is on record, and is to be confirmed again.
            hold = replace(hold, released_by=by, released_at=self._clock.now())
            await self._store.retention.keep_hold(hold)
            await self._tidy_holds()
        finally:
            self._turn.release()
        return hold

    async def _tidy_holds(self) -> None:
        """Of holds that are released: copies of keys whose epoch is there, and the hold's key when there are no others."""
        ring, retention = self._recorder.keyring, self._store.retention
        for hold in await retention.holds():
            if not hold.released_at or not ring.has(hold_key(hold.id)):
                continue
            sessions = await retention.held(hold.id)
            spare = []
            for session in sessions:
                wrapped = await self._store.wrapped_key(session)
                if wrapped is not None and (not (name := epoch_of(wrapped)) or ring.has(name)):
                    spare.append(session)
            await retention.drop_held(hold.id, spare)
            if len(spare) == len(sessions):
                name = hold_key(hold.id)
                events = await retention.erase_epoch(name, 0, 0, control=False)
                await self._recorder.event("key_epoch.destroyed", {"epoch": name, "events": events})
                await asyncio.to_thread(ring.destroy, name)  # last: while it is here, the next run comes by again


async def lost_epochs(reader: RecordReader, ring: Keyring) -> set[str]:
    """Epochs whose key should be in the ring, as the log has it, and is not, or is another. Whoever replaces a key cannot hide
    that: what was sealed under the old one does not open."""
    made: dict[str, str] = {}
    async for opened in reader.events(types=("key_epoch.created", "key_epoch.destroyed")):
        body = opened.event.body
        if opened.event.type == "key_epoch.created":
            made[str(body["epoch"])] = str(body["check"])
        else:
            made.pop(str(body["epoch"]), None)
    return {name for name, check in made.items() if not ring.has(name) or ring.check(name) != check}


def _told(hold: Hold) -> dict[str, Any]:
    return {
        "hold": hold.id, "case": hold.case, "reason": hold.reason, "sessions": list(hold.sessions), "identity": hold.identity,
        "target": hold.target, "since": hold.since, "until": hold.until,
    }  # fmt: skip
