"""What `doorward scan` does beside a gateway that runs; tests/e2e/test_masking_commands.py runs it whole."""

from __future__ import annotations

import asyncio
import os
from pathlib import Path

import pytest

from doorward.adapters.clock import SystemClock
from doorward.cli.scan import key_of
from doorward.guard.keyring import Keyring
from doorward.guard.reader import RecordReader
from doorward.guard.stores import Fold, Head
from tests.suites.lives import Disk


@pytest.mark.parametrize("fresh", [True, False])
async def test_a_recording_may_be_there_before_its_key(fresh: bool, tmp_path: Path) -> None:
    """By as long as a gateway takes to fold. An old one without a key has had it destroyed: nobody waits for that."""
    disk = Disk(tmp_path)
    await disk.open()
    keyring = Keyring(disk.keys)
    session = SystemClock().new_id()
    recording = tmp_path / f"{session}.dwr"
    recording.write_bytes(b"sealed")
    if not fresh:
        os.utime(recording, (1, 1))
    async with asyncio.TaskGroup() as group:
        looking = group.create_task(key_of(RecordReader(disk.store, disk.recordings, keyring), recording))
        await asyncio.sleep(0.15)
        wrapped = keyring.wrap(session, b"k" * 32, "std-13m.2026-11")
        await disk.store.fold(Fold(None, Head("o", 0, b"", b""), keys={session: wrapped}))
    assert looking.result() == (b"k" * 32 if fresh else None)
    await disk.close()
