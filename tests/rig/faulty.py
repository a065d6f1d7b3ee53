"""The gateway with faults that a test switches on while it runs: `python -m tests.rig.faulty serve ...`.

Give it as `program=FAULTY`, with `environment={"FAULTS": folder}`. A fault is a file in that folder, and lasts as
long as the file does; what the file holds says which:

    wal, recording, store   enospc, eio, short (half of it is written) or stall, for every write there
    die-before, die-after   kill -9 when the write-ahead log is about to hold, or durably holds, these words
    die-spent               kill -9 when an approval has been spent in the store, and nobody knows it yet
    die-voted               kill -9 when a vote is in the store, and not counted
    later                   so many seconds have gone by

The ports that fail are the real ones; nothing else of the gateway is changed.
"""

from __future__ import annotations

import asyncio
import errno
import os
import signal
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

from sqlalchemy.ext.asyncio import AsyncConnection

from doorward.__main__ import main
from doorward.adapters.blobs.files import LocalRecordingFiles, LocalWalFile
from doorward.adapters.clock import SystemClock
from doorward.adapters.store.approvals import SqlApprovals
from doorward.adapters.store.sql import SqlStore
from doorward.errors import UpstreamError
from doorward.guard.wal import WriteAheadLog

FAULTY = ("-m", "tests.rig.faulty")
FOLDER = Path(os.environ.get("FAULTS", "/nonexistent"))


def fault(name: str) -> str:
    """What the file of a fault holds; "" when there is none."""
    try:
        return (FOLDER / name).read_text()
    except FileNotFoundError:
        return ""


def fail(kind: str) -> None:
    if kind == "enospc":
        raise OSError(errno.ENOSPC, "No space left on device")
    if kind in ("eio", "short"):
        raise OSError(errno.EIO, "Input/output error")


def stall(name: str) -> None:
    while fault(name) == "stall":
        time.sleep(0.02)


def die() -> None:
    os.kill(os.getpid(), signal.SIGKILL)
    signal.pause()


def patch() -> None:
    """Put the faults under the adapters."""
    append, write, log = LocalWalFile.append, LocalRecordingFiles.write, WriteAheadLog._write
    monotonic = SystemClock.monotonic
    transaction, spend, vote = SqlStore.transaction, SqlApprovals.spend, SqlApprovals.vote

    def faulty_append(self: LocalWalFile, frame: bytes) -> None:
        stall("wal")
        if fault("wal") == "short":
            os.write(self._descriptor, frame[: len(frame) // 2])
        fail(fault("wal"))
        append(self, frame)

    def faulty_write(self: LocalRecordingFiles, session_id: str, offset: int, octets: bytes) -> None:
        stall("recording")
        if fault("recording") == "short":
            write(self, session_id, offset, octets[: len(octets) // 2])
        fail(fault("recording"))
        write(self, session_id, offset, octets)

    def mortal_log(self: WriteAheadLog, batches: Any) -> None:
        def holds(words: str) -> bool:
            return bool(words) and any(words.encode() in part for batch in batches for part in batch.parts)

        if holds(fault("die-before")):
            die()
        log(self, batches)
        if holds(fault("die-after")):
            die()

    @asynccontextmanager
    async def faulty_transaction(self: SqlStore) -> AsyncIterator[AsyncConnection]:
        while fault("store") == "stall":
            await asyncio.sleep(0.02)
        if fault("store"):
            raise UpstreamError("the store: disk I/O error")
        async with transaction(self) as connection:
            yield connection

    async def mortal_spend(self: SqlApprovals, approval_id: str, digest: bytes, now: int) -> bool:
        spent = await spend(self, approval_id, digest, now)
        if spent and fault("die-spent"):
            die()
        return spent

    async def mortal_vote(self: SqlApprovals, approval_id: str, ballot: Any) -> bool:
        cast = await vote(self, approval_id, ballot)
        if fault("die-voted"):
            die()
        return cast

    def later(self: SystemClock) -> float:
        return monotonic(self) + float(fault("later") or 0)

    for owner, name, changed in (
        (LocalWalFile, "append", faulty_append),
        (LocalRecordingFiles, "write", faulty_write),
        (WriteAheadLog, "_write", mortal_log),
        (SystemClock, "monotonic", later),
        (SqlStore, "transaction", faulty_transaction),
        (SqlApprovals, "spend", mortal_spend),
        (SqlApprovals, "vote", mortal_vote),
    ):
        setattr(owner, name, changed)


if __name__ == "__main__":
    patch()
    main()
