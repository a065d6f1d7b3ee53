"""What a stopped gateway's data directory says: its events, its recordings, and what a stranger's verification finds.

Opened with the gateway's own keys, by the project's own reader; the verification uses the public key alone. Call these
only when no gateway is running on the directory.
"""

from __future__ import annotations

import asyncio
from pathlib import Path

from doorward.adapters.blobs.evidence import DirectoryEvidence
from doorward.adapters.blobs.files import LocalKeyFiles, LocalRecordingFiles
from doorward.adapters.store.sql import SqlStore
from doorward.guard.keyring import Keyring
from doorward.guard.reader import RecordReader
from doorward.ledger.checkpoint import NoteVerifier
from doorward.ledger.verify import Report, verify
from doorward.model import Event


async def _events(directory: Path) -> list[Event]:
    store = SqlStore(directory / "store.sqlite")
    await store.open()
    try:
        reader = RecordReader(store, LocalRecordingFiles(directory), Keyring(LocalKeyFiles(directory)))
        return [opened.event async for opened in reader.events()]
    finally:
        await store.close()


async def _recording(directory: Path, session_id: str) -> list[tuple[int, int, bytes]]:
    store = SqlStore(directory / "store.sqlite")
    await store.open()
    try:
        reader = RecordReader(store, LocalRecordingFiles(directory), Keyring(LocalKeyFiles(directory)))
        return list(await reader.recording(session_id))
    finally:
        await store.close()


def events(directory: Path, kind: str = "") -> list[Event]:
    """All events, or those of one type, in the order of the log."""
    return [event for event in asyncio.run(_events(directory)) if kind in ("", event.type)]


def recording(directory: Path, session_id: str) -> list[tuple[int, int, bytes]]:
    """A session's records as (kind, Unix ms, body)."""
    return asyncio.run(_recording(directory, session_id))


def verdict(directory: Path) -> Report:
    """What `doorward verify` says."""
    vkey = (directory / "log" / "vkey").read_text().strip()
    return verify(DirectoryEvidence(directory), [NoteVerifier(vkey)])
