"""What a gateway recorded, decrypted with its own keys: for tests that ask what is on record."""

from __future__ import annotations

import asyncio
import json
import time
from dataclasses import dataclass, field
from typing import Any

from doorward.adapters.blobs.files import LocalKeyFiles, LocalRecordingFiles
from doorward.adapters.store.sql import SqlStore
from doorward.guard.keyring import Keyring
from doorward.guard.reader import RecordReader
from tests.rig.approvers import call
from tests.rig.gateway import Gateway

EVENT, TEMPLATE, RUN, RESPONSE, SETTLED, REQUEST_DATA = range(1, 7)


@dataclass
class Recorded:
    """One session's recording."""

    id: str
    records: list[tuple[int, int, bytes]] = field(default_factory=list)

    def bodies(self, kind: int) -> list[bytes]:
        return [body for found, _, body in self.records if found == kind]

    @property
    def settled(self) -> list[dict[str, Any]]:
        """What became of each operation, reads and others alike, in order."""
        found = []
        for kind, _, body in self.records:
            if kind == SETTLED:
                found.append(json.loads(body))
            elif kind == EVENT and (event := json.loads(body))["type"] == "operation.settled":
                found.append(event["body"])
        return found

    @property
    def events(self) -> list[dict[str, Any]]:
        return [json.loads(body) for body in self.bodies(EVENT)]

    @property
    def response(self) -> bytes:
        return b"".join(self.bodies(RESPONSE))


def sessions(gateway: Gateway, sub: str) -> list[dict[str, Any]]:
    """The sessions of `sub`, newest first, as the API lists them."""
    _, found = call(gateway, "/api/sessions?limit=500", sub="auditor", groups=["auditors"])
    return [row for row in found if row["identity"].endswith(f"|{sub}")]


def newest(gateway: Gateway, sub: str, *, seconds: float = 15.0) -> Recorded:
    """The recording of the newest session of `sub`, once it is closed."""
    limit = time.monotonic() + seconds
    while True:
        rows = sessions(gateway, sub)
        if rows and rows[0]["closed_at"]:
            return asyncio.run(_read(gateway, [rows[0]["id"]]))[0]
        if time.monotonic() > limit:
            raise AssertionError(f"no closed session of {sub}: {rows[:1]}")
        time.sleep(0.05)


def everything(gateway: Gateway, ids: list[str]) -> list[Recorded]:
    """The recordings of these sessions."""
    return asyncio.run(_read(gateway, ids))


async def _read(gateway: Gateway, ids: list[str]) -> list[Recorded]:
    store, reader = await _reader(gateway)
    try:
        return [Recorded(one, list(await reader.recording(one))) for one in ids]
    finally:
        await store.close()


def events(gateway: Gateway) -> list[tuple[str, bytes]]:
    """Every event in the store, opened: type and exact record."""

    async def read() -> list[tuple[str, bytes]]:
        store, reader = await _reader(gateway)
        try:
            return [(opened.event.type, opened.record) async for opened in reader.events()]
        finally:
            await store.close()

    return asyncio.run(read())


async def _reader(gateway: Gateway) -> tuple[SqlStore, RecordReader]:
    store = SqlStore(gateway.data / "store.sqlite")
    await store.open()
    keyring = Keyring(LocalKeyFiles(gateway.data))
    return store, RecordReader(store, LocalRecordingFiles(gateway.data), keyring)
