"""A gateway's record in a process of its own, that somebody kills: `python mortal.py <data directory> <life>`.

Tells on standard output, a line each, what it is about to do and what it has been told is durable.
"""

from __future__ import annotations

import asyncio
import os
import sys
from pathlib import Path

from tests.suites.lives import Disk, Oracle, workload


class Told(set[str]):
    """A set whose every new member is told to the parent first."""

    def __init__(self, kind: str) -> None:
        self._kind = kind

    def add(self, member: str) -> None:
        if member not in self:
            os.write(1, f"{self._kind} {member}\n".encode())
            super().add(member)

    def update(self, *members: object) -> None:
        for each in members:
            for member in each:  # type: ignore[attr-defined]
                self.add(member)


async def main(directory: Path, life: int) -> None:
    disk = Disk(directory)
    await disk.open()
    recorder = disk.recorder()
    recovery = await recorder.start()
    oracle = Oracle(Told("attempted"), Told("durable"), Told("session"), Told("approval"), number=life * 100_000)
    os.write(1, f"ready {recovery.sessions}\n".encode())
    async with asyncio.TaskGroup() as group:
        group.create_task(recorder.run())
        while True:
            await workload(recorder, oracle, disk)


if __name__ == "__main__":
    asyncio.run(main(Path(sys.argv[1]), int(sys.argv[2])))
