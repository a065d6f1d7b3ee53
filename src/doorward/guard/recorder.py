"""The recorder: nothing happens unless it is on record first.

One for a gateway. It owns the write-ahead log, makes a SessionRecorder for each session, keeps durable events until the
sequencer has folded them, and says (`failed`, `healthy`) when it cannot do its duty; then nothing may run.

    start()    recovers what an earlier life left (recovery.py), before anything may connect
    run()      folds each second, writes a beat each minute, deletes what is folded; belongs in the gateway's TaskGroup
    adopt()    recovers what another process left that has died since
    stop()     writes and folds all there is, and says that this life ended in good order

An event is durable when `wait(position)` says so, and in the log up to a second later. Memory is bounded: events not
yet folded by BACKLOG, records not yet durable by wal.LIMIT, segments by what each session's feeder honours (PRESSURE).

Several processes may keep one record: each takes a lane of the write-ahead log and a gateway name of its own (`gateway`, then
`gateway.1`, `gateway.2`, ...), and they take turns at the tree. Whoever finds a lane that nobody has recovers it.

It decides nothing and knows no protocol.
"""

from __future__ import annotations

import asyncio
import secrets
from collections import deque
from collections.abc import Awaitable, Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any, Final

from doorward.errors import ConfigError, IntegrityError, UpstreamError, in_words
from doorward.guard.keyring import Keyring, is_hold
from doorward.guard.outbox import Outgoing
from doorward.guard.ports import Clock, KeyFiles, LogFiles, RecordingFiles, WalFiles
from doorward.guard.reader import RecordReader
from doorward.guard.recovery import Recovery, recover
from doorward.guard.sequencer import Declaration, Entry, Sequencer
from doorward.guard.session_recorder import DECLARED, NOTE, OVERHEAD, SessionRecorder
from doorward.guard.stores import Boot, RecordStore
from doorward.guard.wal import FACT, INTENT, OWN, WriteAheadLog, parse_name
from doorward.ledger.encoding import canonical
from doorward.ledger.retention import CONTROL, RECORDS, due, split
from doorward.ledger.retention import epoch as epoch_at
from doorward.ledger.segment import DEK_SIZE, header, header_hash
from doorward.masking.detect import Detectors
from doorward.masking.statement import mask_statement
from doorward.model import Event, Session

TICK: Final = 1.0  # seconds between steps of the sequencer
BEAT: Final = 60.0  # seconds between beats: an empty minute looks different from a cut log
BACKLOG: Final = 64 * 1024 * 1024  # bytes of durable events that the store would not take yet
MEND: Final = "run the gateway as the user who owns gateway.data, and look at its disk; nothing is lost meanwhile"
MAX_OPENED: Final = 64 * 1024  # bytes of what is told of an identity and its session

# What has happened already: kept even while the record fails, because it is the truth and there is no taking it back.
FACTS: Final = frozenset((
    "operation.settled", "operation.refused", "session.sealed", "session.closed", "record.failed", "record.restored",
    "approval.parked", "gateway.stopped",
))


class Recorder:
    """See the module. Every method belongs to the event loop that called `start`."""

    def __init__(
        self,
        *,
        clock: Clock,
        store: RecordStore,
        wal: Sequence[WalFiles],
        recordings: RecordingFiles,
        log: LogFiles,
        keys: KeyFiles,
        detectors: Detectors,
        gateway: str,
        origin: str,
        records: str = RECORDS,
        control: str = CONTROL,
    ) -> None:
        self.clock = clock
        self.store = store
        self.recordings = recordings
        self.lanes = {gateway if number == 0 else f"{gateway}.{number}": lane for number, lane in enumerate(wal)}
        self.gateway = gateway
        self.lane = ""  # its own
        self.records, self.control = records, control  # retention classes
        self.detectors = detectors  # what goes on record is masked by these, and so is what is said elsewhere
        self.telling: Callable[[Event], Sequence[Outgoing]] = _nobody  # whom to tell of an event; set before the start
        self.adopted: Callable[[Sequence[str]], Awaitable[None]] = _nothing  # told of the lanes that `adopt` has recovered
        self.inherited: Sequence[str] = ()  # the lanes besides its own that `start` has recovered
        self.boot = ""
        self.running = False
        self._log, self._keys, self._origin = log, keys, origin
        self._sessions: dict[str, SessionRecorder] = {}
        self._handles = 0
        self._entries: deque[Entry] = deque()
        self._entries_size = 0
        self._troubles: dict[str, tuple[str, bool]] = {}  # what -> (why, whether nothing may run meanwhile)
        self._folding = asyncio.Lock()
        self._beat_at = 0.0

    # Life ----------------------------------------------------------------------------------------------------------

    async def start(self, taken: Callable[[], None] = lambda: None) -> Recovery:
        """Recover, and begin a new boot; `taken` is called once this process has its lane. IntegrityError: the log is not what
        was published, and nothing may run. ConfigError: others have this data directory. UpstreamError: disk or store do not
        work."""
        loop = asyncio.get_running_loop()
        try:
            self.lane = await asyncio.to_thread(self._take)
            self.wal_files = self.lanes[self.lane]
            taken()
            self.keyring = await asyncio.to_thread(Keyring, self._keys)
            for retention in (self.control, self.records):
                await asyncio.to_thread(self.keyring.make, epoch_at(retention, self.clock.now()))
        except OSError as error:
            raise UpstreamError(f"the data directory cannot be used: {in_words(error)}", hint=MEND) from error
        self.sequencer = Sequencer(
            store=self.store, log=self._log, keyring=self.keyring, origin=self._origin, gateway=self.gateway,
            records=self.records, control=self.control, telling=self.telling, shared=len(self.lanes) > 1,
        )
        self.sealing = ThreadPoolExecutor(1, "doorward-seal")
        self.running = True
        self.inherited, live = await asyncio.to_thread(self._others)
        try:
            await self.sequencer.open()
            self.boot = self.clock.new_id()
            plan = await recover(self, [self.lane, *self.inherited], alone=not live)
            self.wal = WriteAheadLog(
                self.wal_files, self.keyring.wal, self.boot, plan.ordinal, self.clock.now, self._restored
            )
            self._loop = loop
            self.sequencer.began(Boot(self.boot, 0, 0, 0, self.sequencer.last(self.lane), gateway=self.lane))
            await plan.finish(self, started=True)
            self._tell_of_epochs(await self._told_epochs())
        except OSError as error:
            raise UpstreamError(f"recovery cannot go on: {in_words(error)}", hint=MEND) from error
        finally:
            self._let_go(self.inherited)
        self._beat_at = self.clock.monotonic() + BEAT
        return plan.recovery

    async def _told_epochs(self) -> set[str]:
        """The epochs of which the log says that they were made."""
        reader = RecordReader(self.store, self.recordings, self.keyring)
        return {str(found.event.body["epoch"]) async for found in reader.events(types=("key_epoch.created",))}

    def _tell_of_epochs(self, told: set[str] | None = None) -> None:
        """Put on record which epochs were made. `told`: those that are on record, at the start, where an earlier life may have
        died between making one and saying so."""
        if told is not None:
            self.keyring.made = [epoch for epoch in self.keyring.epochs if not is_hold(epoch) and epoch not in told]
        while self.keyring.made:
            epoch = self.keyring.made[0]
            retention, _, until = split(epoch)
            self.append_event(
                "key_epoch.created",
                {"epoch": epoch, "class": retention, "due": due(retention, until - 1) or 0, "check": self.keyring.check(epoch)},
            )
            self.keyring.made.pop(0)

    async def adopt(self) -> Recovery | None:
        """Recover the lanes of processes that have died since; None if there is none. UpstreamError: tried again later."""
        dead, _ = await asyncio.to_thread(self._others)
        if not dead:
            return None
        try:
            async with self._folding:
                await self.sequencer.open()
                plan = await recover(self, dead, alone=False)
            await plan.finish(self, started=False)
            await self.adopted(dead)
        except OSError as error:
            raise UpstreamError(f"recovery cannot go on: {in_words(error)}", hint=MEND) from error
        finally:
            self._let_go(dead)
        return plan.recovery

    def _take(self) -> str:
        """The first lane that nobody has. ConfigError if there is none."""
        for name, files in self.lanes.items():
            try:
                files.lock()
            except ConfigError as error:
                taken = error
            else:
                return name
        raise taken

    @property
    def lane_number(self) -> int:
        """The place of its own lane among `lanes`."""
        return list(self.lanes).index(self.lane)

    def living(self, numbers: Sequence[int]) -> list[int]:
        """Which of these lanes a process has."""
        lanes = list(self.lanes.values())
        found = []
        for number in numbers:
            if _free(lanes[number]):
                lanes[number].unlock()
            else:
                found.append(number)
        return found

    def _others(self) -> tuple[list[str], list[str]]:
        """The lanes in which something stands and that nobody has, which are ours now until they are let go; and those that
        somebody has."""
        dead, live = [], []
        for name, files in self.lanes.items():
            if name == self.lane:
                continue
            if not _free(files):
                live.append(name)
            elif files.names():
                dead.append(name)
            else:
                files.unlock()
        return dead, live

    def _let_go(self, lanes: Sequence[str]) -> None:
        for name in lanes:
            self.lanes[name].unlock()

    async def run(self) -> None:
        """Sequence until cancelled. IntegrityError when the log is no longer ours: the gateway must stop."""
        spent = 0.0
        while True:
            await asyncio.sleep(max(0.05, TICK - spent))  # under load the next step follows at once
            began = self.clock.monotonic()
            if self.clock.monotonic() >= self._beat_at and not self.failed:
                self._beat_at = self.clock.monotonic() + BEAT
                try:
                    self.append_event("log.beat", {"sessions": len(self._sessions), "backlog": self.backlog})
                    await self.adopt()
                    await asyncio.to_thread(self.keyring.refresh)
                except (UpstreamError, OSError):
                    pass  # the failure has an event of its own
            try:
                await self.fold()
                self._tell_of_epochs()
            except (UpstreamError, OSError):
                pass  # named in `healthy`; the entries are kept, and the next second tries again
            spent = self.clock.monotonic() - began

    async def rotate_key(self, overlap: int, *, actor: str) -> str:
        """Have a fresh key sign the log from now on, and the old one beside it for `overlap` seconds more; its verifier key.
        UpstreamError when it cannot be recorded, or somebody else did the same at the same moment."""
        before = self.sequencer.verifiers[0].vkey
        try:
            note = await asyncio.to_thread(self.sequencer.handover, self.clock.now() // 1000 + overlap)
        except OSError as error:
            raise UpstreamError(f"the new key cannot be kept: {in_words(error)}", hint=MEND) from error
        _, old, new, until, *_ = note.decode().split("\n")
        await self.event(
            "log.key_rotated", {"note": note.decode(), "old": old, "new": new, "until": int(until) * 1000}, actor=actor
        )
        await self.fold()
        if self.sequencer.verifiers[0].vkey != new:
            raise UpstreamError(
                f"the log is not signed by the new key, but by {before} or one that somebody else made",
                hint="look at `doorward log status`, and try again",
            )
        return new

    async def stop(self) -> None:
        """Close sessions' segments, write and fold everything, say goodbye. UpstreamError when that does not work; the
        next start then recovers as after a crash."""
        try:
            closes = [session.close({"reason": "the gateway stopped"}) for session in self._sessions.values()]
            for outcome in await asyncio.gather(*closes, return_exceptions=True):
                if isinstance(outcome, BaseException):
                    raise outcome
            self.append_event("gateway.stopped", {"boot": self.boot})
            await self.wal.flush()
            await self.fold(ended=True)
        finally:
            self.running = False
            try:
                await self.wal.close()
            finally:
                self.sealing.shutdown(wait=True)
                self.wal_files.unlock()
        if self._entries:
            return  # appended while we were stopping: the next start folds them
        for name in await asyncio.to_thread(self.wal_files.names):
            if parse_name(name) is not None:
                await asyncio.to_thread(self.wal_files.delete, name)  # all of it is in the log now

    # Events --------------------------------------------------------------------------------------------------------

    async def session(self, session: Session) -> SessionRecorder:
        """Begin a session's record: durable when this returns. UpstreamError when that cannot be."""
        self._handles += 1
        handle = self._handles
        dek = secrets.token_bytes(DEK_SIZE)
        created = self.clock.now()
        retention = session.target.retention or self.records
        epoch = epoch_at(retention, created)
        if epoch not in self.keyring.epochs:
            try:
                await asyncio.to_thread(self.keyring.make, epoch)
            except OSError as error:
                raise UpstreamError(f"there is no key for {epoch}: {in_words(error)}", hint=MEND) from error
            self._tell_of_epochs()
        head = header(session.id, created, retention)
        recorder = SessionRecorder(self, session, handle, dek, head, header_hash(head))
        declared = Declaration(session.id, handle, created, self.keyring.wrap(session.id, dek, epoch))
        body = canonical({"created": created, "session": session.id, "wrapped": declared.wrapped.hex()})
        # In one turn of the loop, so in one frame: a handle is never without its session, nor the other way round.
        told = _opened(session, created, retention, self.detectors)
        size = len(canonical(told))
        if size > MAX_OPENED:
            raise UpstreamError(f"an identity of {size} bytes is too large to record")
        self.wal.check(size + MAX_OPENED)
        position = self.wal.append(DECLARED, handle, created, body)
        self._entries.append(Entry(position, position - OVERHEAD - len(body), declared))
        opened = recorder.opened(told, created)
        self._sessions[session.id] = recorder
        try:
            waiter = self.wal.wait(opened)
            if waiter is not None:
                await waiter
        except BaseException:  # cancelled, too: nobody will close a session that nobody was given
            recorder.abandon()
            raise
        return recorder

    async def event(self, type: str, body: Mapping[str, Any], *, session_id: str = "", actor: str = "") -> int:  # noqa: A002
        """Record something, durable when this returns, and give it a leaf. Returns its position. UpstreamError."""
        position = self.append_event(type, body, session_id=session_id, actor=actor)
        waiter = self.wal.wait(position)
        if waiter is not None:
            await waiter
        return position

    async def publish(self) -> None:
        """Where several processes keep this record: have what is durable in the log when it returns. Otherwise another's answer
        to it could stand there first. UpstreamError."""
        if len(self.lanes) > 1:
            try:
                await self.fold()
            except OSError as error:
                raise UpstreamError(f"the log cannot be written: {in_words(error)}", hint=MEND) from error

    def append_event(self, type: str, body: Mapping[str, Any], *, session_id: str = "", actor: str = "") -> int:  # noqa: A002
        """The same, buffered: `wait(position)` says when it is durable."""
        return self.log_event(NOTE, 0, type, body, session_id, actor)[2]

    def wait(self, position: int) -> asyncio.Future[None] | None:
        """None: durable already. Else a future that ends when it is, or in UpstreamError."""
        return self.wal.wait(position)

    @property
    def durable(self) -> int:
        return self.wal.durable

    def behind(self) -> bool:
        """Whether what may run ahead of its record has run ahead as far as it may."""
        return self.wal.behind(self.clock.now())

    @property
    def failed(self) -> bool:
        """Whether nothing new may run."""
        return bool(self.wal.failed or self.wal.blocked)

    @property
    def backlog(self) -> int:
        """Bytes that are not yet durable, or not yet in the log."""
        return self.wal.unwritten + self._entries_size

    def healthy(self) -> str | None:
        """None, or what is wrong, in words for `/readyz` and `doctor`."""
        if self.wal.failed:
            return f"the write-ahead log cannot be written: {self.wal.failed}"
        return next((f"{what}: {why}" for what, (why, _) in self._troubles.items()), None)

    # For the sequencer ---------------------------------------------------------------------------------------------

    async def fold(self, *, ended: bool = False) -> None:
        """One step: put all durable events into the log and delete what is no longer needed."""
        async with self._folding:
            entries = []
            for entry in self._entries:
                if entry.position > self.wal.durable:
                    break
                entries.append(entry)
            if not entries and not ended:
                return
            try:
                position = await self.sequencer.fold(self.boot, entries, ended=ended)
            except IntegrityError as error:
                self.trouble("the log", f"{error.message} ({error.spot})")
                raise
            except (UpstreamError, OSError) as error:
                # Until the backlog is full, events wait in the write-ahead log and in memory: nothing need stop.
                self.trouble("the store", in_words(error), blocks=self._entries_size > BACKLOG)
                raise
            self.relieve("the store")
            while self._entries and self._entries[0].position <= position:
                entry = self._entries.popleft()
                self._entries_size -= len(entry.record)
            await self.wal.trim(self._keep_from(position))

    def _keep_from(self, folded: int) -> int:
        """Everything before this position of the write-ahead log is in the log or in segments that it names."""
        keep = [entry.keep_from for entry in self._entries if entry.keep_from >= 0]
        keep += [first for session in self._sessions.values() if (first := session.keep_from()) is not None]
        return min(keep, default=folded)

    # For sessions and recovery -------------------------------------------------------------------------------------

    def log_event(
        self,
        kind: int,
        handle: int,
        type: str,  # noqa: A002 - the field's own name
        body: Mapping[str, Any],
        session_id: str,
        actor: str,
        *,
        keep_from: int = -1,
        own: bool = False,
        at: int | None = None,
    ) -> tuple[Event, bytes, int]:
        """Append an event; `own` ones are the recorder's and are never refused. Returns it, its bytes, its position."""
        event = Event(self.clock.new_id(), self.clock.now() if at is None else at, type, session_id, actor, body)
        record = encode_event(event)
        claim = OWN if own else FACT if type in FACTS else INTENT
        if len(record) > MAX_EVENT:
            raise UpstreamError(f"an event of {len(record)} bytes is too large to record")
        if self._entries_size > BACKLOG and claim == INTENT:
            raise UpstreamError("the log is too far behind: the store takes no events")
        position = self.wal.append(kind, handle, event.at, record, claim)
        start = position - OVERHEAD - len(record)
        self._entries.append(Entry(position, keep_from if keep_from >= 0 else start, None, event, record))
        self._entries_size += len(record)
        return event, record, position

    def forget(self, session: SessionRecorder) -> None:
        self._sessions.pop(session.session.id, None)

    def sealing_failed(self, session_id: str, why: str) -> None:
        self.trouble(f"the recording of {session_id}", why)

    def sealing_works(self, session_id: str) -> None:
        self.relieve(f"the recording of {session_id}")

    def trouble(self, what: str, why: str, *, blocks: bool = True) -> None:
        """Something that the record needs does not work; with `blocks`, nothing new may run until it does."""
        self._troubles[what] = (why, blocks)
        self._block()

    def relieve(self, what: str) -> None:
        if self._troubles.pop(what, None) is not None:
            self._block()

    def _block(self) -> None:
        self.wal.blocked = next((f"{what}: {why}" for what, (why, blocks) in self._troubles.items() if blocks), "")

    def _restored(self, failed_at: int, why: str) -> None:
        self.append_event("record.failed", {"failed_at": failed_at, "reason": why})
        self.append_event("record.restored", {"failed_at": failed_at, "restored_at": self.clock.now()})


def _free(lane: WalFiles) -> bool:
    """Whether nobody has a lane; then it is locked, and ours until it is let go."""
    try:
        lane.lock()
    except ConfigError:
        return False
    return True


async def _nothing(_: Sequence[str]) -> None:
    """Nobody else has to know."""


def _nobody(_: Event) -> Sequence[Outgoing]:
    return ()


MAX_EVENT: Final = 2 * 1024 * 1024 - OVERHEAD


def encode_event(event: Event) -> bytes:
    """The canonical bytes that a leaf commits to and that a recording and the store keep."""
    return canonical({
        "actor": event.actor, "at": event.at, "body": event.body, "id": event.id, "session": event.session_id,
        "type": event.type, "v": event.version,
    })


def _opened(session: Session, created: int, retention: str, detectors: Detectors) -> dict[str, Any]:
    identity, target = session.identity, session.target
    return {
        "created": created, "retention": retention, "identity": identity.id, "subject": identity.subject,
        "issuer": identity.issuer, "kind": identity.kind.value, "groups": sorted(identity.groups)[:100],
        "assurance": str(identity.assurance), "token": identity.token_id, "bound_to": identity.bound_to,
        "on_behalf_of": [link.id for link in identity.chain()[1:]], "target": target.name,
        "protocol": target.protocol, "database": target.database, "mode": target.mode.value, "record": target.record,
        "durability": target.durability, "client": session.client,
        # A client says these of itself, in any words: policy reads them as they are, the record keeps them masked.
        "purpose": mask_statement(session.purpose, detectors=detectors)[0],
        "application": mask_statement(session.application, detectors=detectors)[0],
    }


__all__ = ["Recorder", "Recovery", "SessionRecorder", "encode_event"]
