"""A record on disk with a history of one's choosing, made by the real recorder: for tests of what is computed from a record."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from doorward.evidence.table import Planted
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
