"""The archive: a second copy of the evidence, in a bucket that nobody can change it in.

Every sealed recording, every tile and from time to time a signed checkpoint is put there under the path that it has in the data
directory, once, and never written again: with Object Lock, not even whoever runs the gateway can alter or delete it before its
time. The local folder stays what is read. A bucket that has something else under a path is another history, and a trouble.

It follows the log: recordings are copied when their `session.closed` or `session.recovered` is folded, in that order, and
the cursor says how far. If we die between a copy and the cursor, the copy is found to be there, and the same. While the
bucket cannot be reached nothing is lost and nothing waits, for `behind` seconds; after that nothing new may run until it
can.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterator
from typing import Final, Protocol

from doorward.errors import DoorwardError, IntegrityError, in_words
from doorward.guard.ports import LogFiles, Turn
from doorward.guard.recorder import Recorder
from doorward.ledger.checkpoint import NoteVerifier, open_checkpoint
from doorward.ledger.tiles import paths

ENDED: Final = ("session.closed", "session.recovered")
WHAT: Final = "the archive"
PAGE: Final = 100


class Bucket(Protocol):
    """Where the copies go. Methods block. OSError: it cannot be reached, or says no; the same call may be made again.
    IntegrityError: there is something else under that path."""

    def put_recording(self, session_id: str, octets: Iterator[bytes]) -> None: ...
    def put_log(self, path: str, octets: bytes) -> None: ...


class Cursor(Protocol):
    """How far everything has been copied: (leaf, size of the log)."""

    def get(self) -> tuple[int, int]: ...
    def put(self, leaf: int, size: int) -> None: ...


class Archive:
    """See the module. `every` and `behind` in seconds; `behind` 0: nothing ever waits for the archive. `heard` is told
    why it fails, and "" when it works again."""

    def __init__(
        self, recorder: Recorder, log: LogFiles, bucket: Bucket, cursor: Cursor, turn: Turn, *, every: float = 300.0,
        behind: float = 0.0, heard: Callable[[str], None] = lambda why: None,
    ) -> None:  # fmt: skip
        self._recorder, self._log, self._bucket, self._cursor, self._turn = recorder, log, bucket, cursor, turn
        self._every, self._behind, self._heard = every, behind, heard
        self._works_at = 0.0  # monotonic: when it last had everything
        self.failing = ""

    async def follow(self) -> None:
        """Copy until cancelled."""
        self._works_at = self._recorder.clock.monotonic()
        while True:
            await self.once()
            await asyncio.sleep(min(self._every, 10.0) if self.failing else self._every)

    async def once(self) -> bool:
        """Copy what there is. False: it could not be, and `failing` says why."""
        try:
            await self.step()
        except (DoorwardError, OSError) as error:
            why = in_words(error)
            if why != self.failing:
                self._heard(why)
            self.failing = why
            # What is there already and differs does not get better by waiting.
            late = self._recorder.clock.monotonic() - self._works_at > self._behind or isinstance(error, IntegrityError)
            if self._behind and late:
                self._recorder.trouble(WHAT, why)
            return False
        if self.failing:
            self._heard("")
        self.failing = ""
        self._works_at = self._recorder.clock.monotonic()
        self._recorder.relieve(WHAT)
        return True

    async def step(self) -> None:
        """One round. UpstreamError, OSError, IntegrityError."""
        if not await asyncio.to_thread(self._turn.take):
            return  # another process of this gateway is at it
        try:
            await self._step()
        finally:
            self._turn.release()

    async def _step(self) -> None:
        leaf, size = await asyncio.to_thread(self._cursor.get)
        while page := await self._recorder.store.events(types=ENDED, after=leaf, limit=PAGE):
            for event in page:
                await asyncio.to_thread(self._copy, event.session_id)
                leaf = event.index
                await asyncio.to_thread(self._cursor.put, leaf, size)
        size = await asyncio.to_thread(self._copy_log, size)
        await asyncio.to_thread(self._cursor.put, leaf, size)

    def _copy(self, session_id: str) -> None:
        self._bucket.put_recording(session_id, self._recorder.recordings.read(session_id))

    def _copy_log(self, since: int) -> int:
        note, vkey = self._log.read("checkpoint"), self._log.read("vkey")
        if note is None or vkey is None:
            return since
        size = open_checkpoint(note, [NoteVerifier(vkey.decode().strip())]).size
        if size == since:
            return since
        for path in paths(size, since):
            octets = self._log.read(path)
            if octets is None:
                return since  # it has grown meanwhile: the next round takes what there is then
            self._bucket.put_log(path, octets)
        self._bucket.put_log("vkey", vkey)
        # Last: whoever finds it there finds all that it covers.
        self._bucket.put_log(f"checkpoints/{size:015d}", note)
        return size

