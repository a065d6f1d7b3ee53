"""The sequencer: folds durable events into the Merkle tree, each exactly once, and signs the result.

One step, in Sunlight's order:

1. build the leaves, the tiles they change and the signed checkpoint; nothing is written yet;
2. stage all of it in one file (`log/staging/...`), durable;
3. one transaction of the store: compare-and-swap the head, insert the events' private records, advance the boot's
   position in the write-ahead log. This is the moment at which the events are in the log;
4. write the tiles, then the checkpoint; delete the staging file.

If we die before 3, the events are still in the write-ahead log and are folded again (with new salts; the staging file
is thrown away). If we die after 3, the next start finds a staging file that is the head, and finishes 4. The position
in step 3 is what makes it exactly once: entries at or before it are never folded again. After any error in this process
the same path is taken: nothing is assumed, everything is read again.

It refuses to start (IntegrityError) when what is published is newer than the head, or another tree of the same size:
somebody restored an older store or rewrote the log, and only a person can say which. It does not know policy, sessions'
contents or who is asking.
"""

from __future__ import annotations

import asyncio
import secrets
import struct
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, replace
from typing import Any

from cryptography.hazmat.primitives.ciphers.aead import AESGCM

from doorward.errors import IntegrityError, UpstreamError
from doorward.guard.keyring import NO_SESSION, SALT, Keyring, epoch_of, record_cipher
from doorward.guard.outbox import Outgoing
from doorward.guard.ports import LogFiles
from doorward.guard.stores import Boot, Fold, Head, OpenOperation, RecordStore, SessionRow, StoredEvent
from doorward.ledger.checkpoint import NoteSigner, NoteVerifier, open_checkpoint, sign_checkpoint
from doorward.ledger.commitment import commit
from doorward.ledger.handover import FOLDER, Handover, handovers, open_handover, sign_handover
from doorward.ledger.leaf import FIRST, build
from doorward.ledger.retention import CONTROL, LASTING, RECORDS, epoch, epoch_hash, is_control, is_lasting, month
from doorward.ledger.segment import header, header_hash
from doorward.ledger.tiles import grow
from doorward.ledger.tiles import root as root_of
from doorward.ledger.trail import ROTATED, STAMPED
from doorward.ledger.tree import EMPTY_ROOT, leaf_hash
from doorward.ledger.votes import recorded
from doorward.model import Event, Vote

MAX_STEP = 5000  # entries folded at once
PATIENCE = 10.0  # seconds that another process may have the log for itself
RESTORE = "restore the store and the log directory from the same moment; `doorward log fork-triage` shows what each knows"
MAX_KEYS = 20_000  # data keys held unwrapped
FATES = frozenset(("recording.held", "recording.released", "recording.deleted"))
SESSION_STEPS = frozenset(("session.opened", "session.sealed", "session.closed", "session.recovered"))


@dataclass(frozen=True, slots=True)
class Declaration:
    """That a session has this handle in the write-ahead log, and its wrapped key. Not an event: it has no leaf."""

    session_id: str
    handle: int
    created: int
    wrapped: bytes


@dataclass(frozen=True, slots=True)
class Entry:
    """Something of the write-ahead log that the sequencer folds. `position` is where it ends there; `keep_from` where
    the oldest record begins that must not be deleted before this is folded."""

    position: int
    keep_from: int
    declaration: Declaration | None = None
    event: Event | None = None
    record: bytes = b""


class Sequencer:
    """Owns the head of one log, while it has the log's lock: processes that share a log take turns, and each has a gateway
    name, and so a chain, of its own. Not safe for concurrent use; the recorder calls one method at a time. `telling` says
    whom an event is to be told to, in the same transaction."""

    def __init__(
        self, *, store: RecordStore, log: LogFiles, keyring: Keyring, origin: str, gateway: str, records: str = RECORDS,
        control: str = CONTROL, telling: Callable[[Event], Sequence[Outgoing]] = lambda _: (), shared: bool = False,
    ) -> None:
        self._shared = shared  # other processes may move the head; else whoever does is nobody of ours
        self._telling = telling
        self._store, self._log, self._keyring = store, log, keyring
        self._origin, self._gateway, self._records, self._control = origin, gateway, records, control
        self._signers = [NoteSigner(origin, keyring.log)]  # the one that signs now is first
        self._handovers: list[Handover] = []
        self._unsure = True
        self._stored: set[str] = set()  # boots
        self._last: dict[str, bytes] = {}  # by gateway
        self._sessions: dict[str, SessionRow] = {}  # those that are open, as the store will have them
        self._deks: dict[str, tuple[str, bytes]] = {}  # with the class that each is kept for
        self.head: Head | None = None
        self.boots: dict[str, Boot] = {}
        self.folded = 0  # leaves, in this process

    async def open(self) -> None:
        """Find out where the log stands, finish what an earlier life left half done. IntegrityError, UpstreamError."""
        async with self._alone():
            await self._open()

    async def _open(self) -> None:
        self.head = await self._store.head()
        boots = await self._store.boots()
        # Those of which nothing is folded yet are known only here.
        self.boots = {**{boot.id: boot for boot in boots}, **{b.id: b for b in self.boots.values() if b.id not in self._stored}}
        self._stored = {boot.id for boot in boots}
        self._last = {self.name(boot): boot.last for boot in boots if boot.seq}
        self._sessions.clear()
        await asyncio.to_thread(self._settle_files)
        self._unsure = False

    @asynccontextmanager
    async def _alone(self) -> AsyncIterator[None]:
        """With the log's lock. A process that dies loses it; one that hangs keeps the others from the log, not from their
        write-ahead logs. UpstreamError."""
        deadline = asyncio.get_running_loop().time() + PATIENCE
        while not self._log.lock():
            if asyncio.get_running_loop().time() > deadline:
                raise UpstreamError("another process of this gateway does not let go of the log")
            await asyncio.sleep(0.005)
        try:
            yield
        finally:
            self._log.unlock()

    @property
    def verifiers(self) -> list[NoteVerifier]:
        """Of the keys that sign this log."""
        return [*(each.new for each in reversed(self._handovers)), self._first]

    @property
    def _first(self) -> NoteVerifier:
        return self._handovers[0].old if self._handovers else NoteVerifier(self._signers[0].vkey)

    def handover(self, until: int) -> bytes:
        """A note by which the key that signs now hands over to a fresh one. Nothing changes until it is folded, as the body of
        `log.key_rotated`. Blocks. OSError."""
        fresh = self._keyring.make_log_key(len(self._handovers) + 1)
        return sign_handover(self._signers[0], NoteSigner(self._origin, fresh), until)

    def _load_keys(self) -> None:
        """Who signs, by the handovers that are published."""
        keys = [NoteSigner(self._origin, key) for key in self._keyring.log_keys()]
        self._handovers, self._signers = [], keys[:1]
        names = self._log.names(FOLDER)
        if not names:
            return
        self._handovers = handovers(names, self._read, [NoteVerifier(keys[0].vkey)])
        known = {signer.vkey: signer for signer in keys}
        chain = [each.vkey for each in self.verifiers]
        if chain[0] not in known:
            raise IntegrityError(
                "the key that signs the log now is not in keys/", spot=f"log/{FOLDER}",
                hint="restore keys/log.*.key from a backup",
            )
        self._signers = [known[vkey] for vkey in chain if vkey in known]

    def _signing(self, at: int) -> list[NoteSigner]:
        """Who signs a checkpoint at a time (Unix ms): the key in force, and those before it for as long as they said."""
        until = {each.old.vkey: each.until * 1000 for each in self._handovers}
        return [signer for n, signer in enumerate(self._signers) if n == 0 or at < until.get(signer.vkey, 0)]

    def name(self, boot: Boot) -> str:
        """Of the gateway in a boot's leaves."""
        return boot.gateway or self._gateway

    def last(self, gateway: str) -> bytes:
        """The hash of its last leaf."""
        return self._last.get(gateway, FIRST)

    def _settle_files(self) -> None:
        head = self.head
        for path in self._log.staged():
            files = _unpack(self._log.read(path) or b"")
            if head is not None and files.get("checkpoint") == head.checkpoint:
                self._publish(files)
            self._log.delete(path)
        self._load_keys()
        stored, vkey = self._log.read("vkey"), (self._signers[0].vkey + "\n").encode()
        if stored is None and head is None:
            self._log.write("vkey", vkey)
        elif stored != vkey:
            raise IntegrityError(
                "log/vkey is not the public half of the key in keys/ for this origin", spot="log/vkey",
                hint="restore the key, or use a new data directory for a new log",
            )
        note = self._log.read("checkpoint")
        if note is None and head is None:
            return
        size, root = 0, EMPTY_ROOT
        if note is not None:
            published = open_checkpoint(note, self.verifiers)
            size, root = published.size, published.root
        expected = head or Head(self._origin, 0, EMPTY_ROOT, b"")
        if size > expected.size:
            raise IntegrityError(
                f"the published checkpoint has {size} leaves and the store's head {expected.size}: the store was "
                "rolled back",
                spot="log/checkpoint", hint=RESTORE,
            )
        if size < expected.size or root != expected.root:
            raise IntegrityError(
                f"the published checkpoint ({size} leaves) is not the store's head ({expected.size} leaves)",
                spot="log/checkpoint", hint=RESTORE,
            )
        if root_of(size, self._read) != root:
            raise IntegrityError("the log's tiles do not have the root of its checkpoint", spot="log/tile")

    def _read(self, path: str) -> bytes:
        found = self._log.read(path)
        if found is None:
            raise FileNotFoundError(path)
        return found

    def _publish(self, files: dict[str, bytes]) -> None:
        # Tiles first: whoever sees the checkpoint can read all that it covers.
        for path, octets in files.items():
            if path != "checkpoint":
                self._log.write(path, octets)
        self._log.write("checkpoint", files["checkpoint"])
        for path in files:
            if path != "checkpoint" and ".p/" not in path:
                self._log.delete(path + ".p")  # narrower versions of a tile that is full now

    def began(self, boot: Boot) -> None:
        """A new life of a gateway: its leaves continue the chain from `last`."""
        self.boots[boot.id] = boot

    async def fold(self, boot_id: str, entries: Sequence[Entry], *, ended: bool = False) -> int:
        """Put `entries` of that boot, which are durable, into the log; returns the boot's position after it. Entries
        that are in it already are skipped. IntegrityError: the log is not ours any more. UpstreamError, OSError: this
        may or may not have happened; call it again."""
        async with self._alone():
            if self._unsure or (self._shared and await self._store.head() != self.head):
                await self._open()
            boot = self.boots[boot_id]
            if boot_id not in self._stored:  # others may have begun meanwhile
                ordinal = max((b.ordinal for b in self.boots.values() if b.id in self._stored), default=0) + 1
                boot = replace(boot, ordinal=ordinal, last=self.last(self.name(boot)))
            fresh = [entry for entry in entries if entry.position > boot.position]
            for start in range(0, len(fresh), MAX_STEP):
                step = fresh[start : start + MAX_STEP]
                boot = await self._step(boot, step, ended and start + MAX_STEP >= len(fresh))
            return boot.position

    async def _step(self, boot: Boot, entries: Sequence[Entry], ended: bool) -> Boot:
        changes = _Changes()
        for entry in entries:
            await self._project(boot.id, entry, changes)
        self._unsure = True  # until all of this has gone well
        fold, files, boot = await asyncio.to_thread(self._build, boot, entries, changes, ended)
        staging = f"staging/{fold.head.size:015d}-{fold.head.root.hex()[:16]}"
        await asyncio.to_thread(self._log.write, staging, _pack(files))
        await self._store.fold(fold)
        self.head, self.boots[boot.id], self._last[self.name(boot)] = fold.head, boot, boot.last
        self._stored.add(boot.id)
        await asyncio.to_thread(self._publish, files)
        await asyncio.to_thread(self._log.delete, staging)
        self.folded += len(fold.events)
        for row in changes.sessions.values():
            if row.state == "open":
                self._sessions[row.id] = row
            else:
                self._sessions.pop(row.id, None)
                self._deks.pop(row.id, None)
        self._unsure = False
        return boot

    def _build(
        self, boot: Boot, entries: Sequence[Entry], changes: _Changes, ended: bool
    ) -> tuple[Fold, dict[str, bytes], Boot]:
        head = self.head or Head(self._origin, 0, EMPTY_ROOT, b"")
        leaves: list[bytes] = []
        stored: list[StoredEvent] = []
        gateway = self.name(boot)
        seq, last = boot.seq, self.last(gateway)
        more: dict[str, bytes] = {}
        for entry in entries:
            event = entry.event
            if event is None:
                continue
            salt = secrets.token_bytes(SALT)
            key_id, retention, cipher = self._sealed_under(event, changes)
            public = _public(event)
            if event.type == ROTATED and (digest := self._hand_over(event, head.size + len(leaves), more)):
                public = {"segment_hash": digest}
            leaf = build(
                event.type, gateway=gateway, boot=boot.id, seq=seq, prev=last, at=event.at,
                commitment=commit(salt, event.type, entry.record), retention=retention, **public,
            )
            sealed = self._keyring.seal_record(cipher, boot.id, seq, salt, entry.record)
            stored.append(
                StoredEvent(
                    head.size + len(leaves), boot.id, seq, event.type, event.at, event.session_id, event.actor, key_id,
                    sealed,
                )
            )
            leaves.append(leaf)
            last = leaf_hash(leaf)
            seq += 1
        size, root, files = grow(head.size, leaves, self._read, old_root=head.root)
        at = max((entry.event.at for entry in entries if entry.event is not None), default=0)
        note = sign_checkpoint(self._origin, size, root, self._signing(at))
        files |= {**more, "checkpoint": note}
        after = replace(boot, position=entries[-1].position, seq=seq, last=last, ended=ended)
        fold = Fold(
            self.head, Head(self._origin, size, root, note), stored, (after,), changes.keys,
            tuple(changes.sessions.values()), tuple(changes.permitted.values()), tuple(changes.settled),
            tuple(changes.parked), tuple(changes.votes), tuple(changes.outgoing),
        )
        return fold, files, after

    def _hand_over(self, event: Event, place: int, files: dict[str, bytes]) -> bytes:
        """Have the next key sign from this checkpoint on; the hash of the note that says so. Nothing changes, and b"", where
        the note is not by the key that signs now: somebody else was faster."""
        note = str(event.body["note"]).encode()
        try:
            found = open_handover(note, self.verifiers[0], place)
        except IntegrityError:
            return b""
        signers = {each.vkey: each for each in [NoteSigner(self._origin, key) for key in self._keyring.log_keys()]}
        if found.new.vkey not in signers:
            return b""
        self._handovers.append(found)
        self._signers.insert(0, signers[found.new.vkey])
        files |= {f"{FOLDER}/{place}": note, "vkey": f"{found.new.vkey}\n".encode()}
        return found.digest

    def _sealed_under(self, event: Event, changes: _Changes) -> tuple[str, str, AESGCM]:
        """The id of the key of an event's record, its retention class, and what seals under it."""
        control = is_control(event.type)
        found = None if control else changes.deks.get(event.session_id)
        if is_lasting(event.type):
            key_id, retention, key = NO_SESSION, LASTING, None
        elif found is not None:
            key_id, (retention, key) = event.session_id, found
        else:
            retention, key = self._control if control else self._records, None
            key_id = epoch(retention, event.at)
        cipher = changes.ciphers.get(key_id)
        if cipher is None:  # of a step's thousands of events most are under a few keys, and deriving costs as much as sealing
            if key is None and key_id != NO_SESSION:
                self._keyring.make(key_id)
            key = self._keyring.of_events(key_id) if key is None else key
            if key is None:
                raise OSError(f"the key of {key_id} was destroyed while it was in use")
            cipher = changes.ciphers[key_id] = record_cipher(key)
        return key_id, retention, cipher

    async def _project(self, boot_id: str, entry: Entry, changes: _Changes) -> None:
        """What an entry changes in the store's tables, besides its own row."""
        declared, event = entry.declaration, entry.event
        if declared is not None:
            self._unwrap(declared.session_id, declared.wrapped)
            changes.sessions[declared.session_id] = SessionRow(
                declared.session_id, boot_id, declared.handle, declared.created, _class_of(declared.wrapped), declared.created
            )
            changes.keys[declared.session_id] = declared.wrapped
        if event is None:
            return
        if event.session_id and event.session_id not in changes.deks:
            dek = await self._dek(event.session_id)
            if dek is not None:
                changes.deks[event.session_id] = dek
        body = event.body
        changes.outgoing += self._telling(event)
        if event.type in ("operation.permitted", "operation.observed"):
            operation = str(body.get("operation", ""))
            if operation and body.get("effect") != "read":  # a read's outcome stands in the recording
                changes.permitted[operation] = OpenOperation(operation, event.session_id)
        elif event.type == "operation.settled":
            operation = str(body.get("operation", ""))
            if changes.permitted.pop(operation, None) is None:
                changes.settled.append(operation)
        elif event.type == "approval.parked" and body.get("recovered"):
            changes.parked.append(str(body["approval"]))
        elif event.type == "approval.voted":
            # In the log and in the store at one moment: of two votes of one person, cast at two processes of which one has
            # died, both have the same one first, and that one counts.
            vote = recorded(event.actor, event.at, body)
            if vote is not None:
                changes.votes.append((str(body["approval"]), vote))
        elif event.type in SESSION_STEPS:
            row = changes.sessions.get(event.session_id) or self._sessions.get(event.session_id)
            row = row or await self._store.session(event.session_id)
            if row is not None:
                changes.sessions[row.id] = _session_after(row, event)

    def _unwrap(self, session_id: str, wrapped: bytes) -> None:
        dek = self._keyring.unwrap(session_id, wrapped)
        if dek is not None:
            self._deks[session_id] = _class_of(wrapped), dek

    async def _dek(self, session_id: str) -> tuple[str, bytes] | None:
        if session_id not in self._deks:
            wrapped = await self._store.wrapped_key(session_id)
            if wrapped is None:
                return None
            if len(self._deks) > MAX_KEYS:  # of sessions that closed, and of which something was heard afterwards
                self._deks.clear()
            self._unwrap(session_id, wrapped)
        return self._deks.get(session_id)


class _Changes:
    def __init__(self) -> None:
        self.sessions: dict[str, SessionRow] = {}
        self.keys: dict[str, bytes] = {}
        self.ciphers: dict[str, AESGCM] = {}  # by the id of a record's key
        self.deks: dict[str, tuple[str, bytes]] = {}
        self.permitted: dict[str, OpenOperation] = {}
        self.settled: list[str] = []
        self.parked: list[str] = []
        self.votes: list[tuple[str, Vote]] = []
        self.outgoing: list[Outgoing] = []


def _class_of(wrapped: bytes) -> str:
    """The class that a session with this key is kept for."""
    return epoch_of(wrapped).rpartition(".")[0] or "std"


def _public(event: Event) -> dict[str, Any]:
    """What of an event stands in the leaf, so that anybody can check the grammar of a recording, what was deleted, and what
    else of the log has files."""
    if event.type in FATES:
        return {"session": event.session_id}
    if event.type == "retention.deleted":
        name = str(event.body["epoch"])
        return {"number": month(name), "segment_hash": epoch_hash(name)}
    if event.type == STAMPED:
        return {"number": event.body["size"], "segment_hash": bytes.fromhex(event.body["sha256"])}
    if event.type not in SESSION_STEPS:
        return {}
    public: dict[str, Any] = {"session": event.session_id}
    body = event.body
    if event.type == "session.opened":
        public["segment_hash"] = header_hash(header(event.session_id, body["created"], body["retention"]))
    else:
        public["segment_hash"] = bytes.fromhex(body["segment_hash"])
        public["number"] = body["number"]
    return public


def _session_after(row: SessionRow, event: Event) -> SessionRow:
    body = event.body
    if event.type == "session.opened":
        return replace(
            row, opened=event.at, assurance=str(body["assurance"]),
            **{name: body[name] for name in ("retention", "identity", "issuer", "kind", "target", "client", "purpose")},
        )
    counts = {name: body[name] for name in ("statements", "refused", "held", "rows")}
    if event.type == "session.sealed":
        return replace(
            row, segments=body["number"] + 1, last=bytes.fromhex(body["segment_hash"]), through=body["through"],
            **counts,
        )
    return replace(row, state=event.type.removeprefix("session."), closed=event.at, **counts)


_FILE = struct.Struct(">HI")


def _pack(files: dict[str, bytes]) -> bytes:
    return b"".join(_FILE.pack(len(path), len(octets)) + path.encode() + octets for path, octets in files.items())


def _unpack(staged: bytes) -> dict[str, bytes]:
    files: dict[str, bytes] = {}
    at = 0
    while at < len(staged):  # written whole or not at all
        path, octets = _FILE.unpack_from(staged, at)
        at += _FILE.size
        files[staged[at : at + path].decode()] = staged[at + path : at + path + octets]
        at += path + octets
    return files
