"""A record on disk with a history of one's choosing, made by the real recorder: for tests of what is computed from a record."""

from __future__ import annotations

import secrets
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from doorward.adapters.blobs.files import LocalKeyFiles
from doorward.evidence.table import Planted
from doorward.guard.keyring import Keyring
from doorward.guard.recorder import encode_event
from doorward.guard.stores import Fold, Head, StoredEvent
from doorward.ledger import tiles
from doorward.ledger.checkpoint import NoteSigner, sign_checkpoint
from doorward.ledger.commitment import commit
from doorward.ledger.leaf import FIRST, build
from doorward.ledger.segment import header, header_hash
from doorward.ledger.tree import leaf_hash
from doorward.model import Event
from tests.suites.lives import Disk, a_session


async def recorded(directory: Path, events: Sequence[Planted], *, sessions: int = 1) -> None:
    """A stopped gateway's data directory. The events happen now, in their order, while `sessions` sessions are open; those
    that say `session` belong to the first of them."""
    disk = Disk(directory)
    await disk.open()
    try:
        recorder = disk.recorder()
        await recorder.start()
        opened = [await recorder.session(a_session()) for _ in range(sessions)]
        for event in events:
            if event.session:
                opened[0].event(event.type, event.body)
            else:
                await recorder.event(event.type, event.body, actor=event.actor)
        for each in opened:
            await each.close({"reason": "the client went away"})
        await recorder.stop()
    finally:
        await disk.close()


async def long_record(directory: Path, leaves: int, *, operations: int = 100) -> None:
    """A stopped gateway's data directory with at least so many leaves, of sessions with `operations` writes each, made without
    the waits of a gateway: the formats are the real ones, the times are a year's."""
    disk = Disk(directory)
    await disk.open()
    try:
        keyring = Keyring(LocalKeyFiles(directory))
        signer = NoteSigner(ORIGIN, keyring.log)
        disk.log.write("vkey", signer.vkey.encode() + b"\n")
        head: Head | None = None
        made = _Made(keyring, leaves, operations)
        size, files = 0, dict[str, bytes]()  # the right edge, and what stands above it
        while made.size < leaves:
            entries, events, keys = made.batch()
            size, root, written = tiles.grow(size, entries, files.__getitem__)
            for path, octets in written.items():
                disk.log.write(path, octets)
            files = {p: o for p, o in {**files, **written}.items() if tiles.parse_path(p).width < tiles.WIDTH} | {
                p: o for p, o in written.items() if tiles.parse_path(p).level > 0
            }
            note = sign_checkpoint(ORIGIN, size, root, [signer])
            after = Head(ORIGIN, size, root, note)
            await disk.store.fold(Fold(head, after, events, keys=keys))
            head = after
        disk.log.write("checkpoint", note)
    finally:
        await disk.close()


class _Made:
    def __init__(self, keyring: Keyring, leaves: int, operations: int) -> None:
        self.size, self._keyring, self._operations = 0, keyring, operations
        self._prev, self._at, self._sessions = FIRST, 1_767_225_600_000, 0
        self._step = max(1, 31_000_000_000 // leaves)
        self._epoch = "std-13m.2026-01"

    def batch(self) -> tuple[list[bytes], list[StoredEvent], dict[str, bytes]]:
        """Some hundred sessions."""
        entries: list[bytes] = []
        events: list[StoredEvent] = []
        keys: dict[str, bytes] = {}
        for _ in range(100):
            self._sessions += 1
            sid, dek = f"00000000-0000-7000-8000-{self._sessions:012x}", secrets.token_bytes(32)
            keys[sid] = self._keyring.wrap(sid, dek, self._epoch)
            root = header_hash(header(sid, self._at))
            self._add(entries, events, sid, dek, "session.opened", _OPENED, segment_hash=root)
            for number in range(self._operations):
                operation = f"{self._sessions}-{number}"
                self._add(entries, events, sid, dek, "operation.permitted", {**_OPERATION, "operation": operation})
                settled = {"operation": operation, "outcome": "completed", "rows": 1}
                self._add(entries, events, sid, dek, "operation.settled", settled)
            counts = {"held": 0, "refused": 0, "rows": self._operations, "statements": self._operations, "number": 0}
            self._add(
                entries, events, sid, dek, "session.closed", {**counts, "segment_hash": root.hex(), "reason": "left"},
                segment_hash=root, number=0,
            )  # fmt: skip
        return entries, events, keys

    def _add(
        self, entries: list[bytes], events: list[StoredEvent], sid: str, dek: bytes, kind: str, body: Mapping[str, Any],
        *, segment_hash: bytes | None = None, number: int | None = None,
    ) -> None:  # fmt: skip
        self._at += self._step
        record = encode_event(Event(f"{self.size:032x}", self._at, kind, sid, WHO, body))
        salt = secrets.token_bytes(32)
        entry = build(
            kind, gateway="gw-1", boot="0" * 32, seq=self.size, prev=self._prev, at=self._at,
            commitment=commit(salt, kind, record), segment_hash=segment_hash, number=number, retention="std-13m",
            session=sid if segment_hash is not None else None,
        )  # fmt: skip
        self._prev = leaf_hash(entry)
        sealed = self._keyring.seal_record(dek, "0" * 32, self.size, salt, record)
        events.append(StoredEvent(self.size, "0" * 32, self.size, kind, self._at, sid, WHO, sid, sealed))
        entries.append(entry)
        self.size += 1


ORIGIN = "doorward.test/long"
WHO = "https://idp.test|bot"
_OPENED = {
    "identity": WHO, "kind": "agent", "on_behalf_of": ["https://idp.test|alice"], "assurance": "V2", "target": "shop",
    "issuer": "https://idp.test", "subject": "bot", "protocol": "postgres", "mode": "enforce", "client": "192.0.2.7:4000",
    "purpose": "nightly clean-up", "application": "psycopg", "record": "full", "database": "shop",
}  # fmt: skip
_OPERATION = {
    "action": "UPDATE", "effect": "write", "text": "update public.customers set seen = now() where id = $1", "params": ["17"],
    "resources": [["table", "shop.public.customers", "write"], ["table", "shop.public.customers", "read"]], "labels": ["email"],
    "role": "app", "search_path": "public", "assurance": "V2", "in_transaction": False,
    "decision": {"outcome": "allow", "rules": ["agents-write"], "reason": "", "unmask": [], "policy": "ab" * 32},
    "exact": {"salt": "00" * 32, "commitment": "11" * 32, "bytes": 51},
}  # fmt: skip
