"""One session's record: requests into the write-ahead log, and everything into the recording.

The methods that the data path calls are synchronous and cheap: they append to lists. Joining, compressing, sealing and
writing a segment happen in a thread, one segment of a session at a time and in order; what waits for that is counted in
`pressure`, and whoever feeds the session stops reading while it is over PRESSURE.

A segment ends at SEGMENT_BYTES of payload (at SEGMENT_MOST while another is written), SEGMENT_SECONDS after its first record,
or when asked. It is durable in its
file before `session.sealed` says so, and the write-ahead log keeps a session's requests until that event is in the
tree: so if we die anywhere here, recovery.py finds each request in the log, in a segment, or in both.

When a segment cannot be written the recorder refuses new operations, keeps the segment, and tries again until it can.
"""

from __future__ import annotations

import asyncio
import struct
from collections import deque
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

from doorward.errors import UpstreamError, in_words
from doorward.guard.wal import RETRY
from doorward.ledger.segment import (
    EVENT,
    MAX_BODY,
    REQUEST_DATA,
    RESPONSE,
    RUN,
    SETTLED,
    TEMPLATE,
    SegmentSealer,
    encode_record,
)
from doorward.model import Recording, Session

if TYPE_CHECKING:
    from doorward.guard.recorder import Recorder

SEGMENT_BYTES: Final = 256 * 1024
SEGMENT_MOST: Final = 1024 * 1024  # while another is being written: a bulk read makes fewer, and syncs less often
SEGMENT_SECONDS: Final = 5.0
PRESSURE: Final = 4 * 1024 * 1024  # bytes not yet sealed at which the feeder must stop
RELIEVED: Final = 2 * 1024 * 1024  # and at which it may go on
OVERHEAD: Final = 13  # bytes of a record besides its body, in the log and in a segment
CHUNK: Final = 1024 * 1024  # a longer response is cut into records of this size

_RUN: Final = struct.Struct(">IB")
_NUMBER: Final = struct.Struct(">I")


@dataclass(slots=True)
class _Job:
    """A segment on its way. `first` and `through` are where its requests begin and end in the write-ahead log."""

    records: list[tuple[int, int, bytes]]
    size: int
    first: int
    through: int
    counts: dict[str, int]
    raw: bytes = b""
    hash: bytes = b""


class SessionRecorder:
    """Made by `Recorder.session`. Not thread-safe: the event loop's. Methods raise UpstreamError when the record cannot
    take what they are given, and then nothing may be done that it would have recorded."""

    def __init__(
        self, recorder: Recorder, session: Session, handle: int, dek: bytes, header: bytes, previous: bytes
    ) -> None:
        self.session = session
        self.handle = handle
        self.pressure = 0
        self.statements = 0
        self.refused = 0
        self.held = 0
        self.rows = 0
        self._recorder = recorder
        self._loop = asyncio.get_running_loop()
        self._wal_append = recorder.wal.append
        self._now = recorder.clock.now
        self._sealer = SegmentSealer(session.id, dek, previous)
        self._header = header
        self._offset = 0
        self._templates = 0
        self._records: list[tuple[int, int, bytes]] = []
        self._size = 0
        self._first = -1  # where the first request of _records begins in the write-ahead log
        self._through = 0  # where the last one ends
        self._timer: asyncio.TimerHandle | None = None
        self._jobs: deque[_Job] = deque()
        self._hashes: list[bytes] = []
        self._root = previous
        self._when_relieved: list[Callable[[], None]] = []
        self._closing: Mapping[str, Any] | None = None
        self._closed: asyncio.Future[Recording] | None = None
        self._failing = False
        self._opened_at = 0  # position of session.opened in the write-ahead log

    # What the data path calls --------------------------------------------------------------------------------------

    def template(self, body: bytes) -> int:
        """Write a statement's template down, once; returns the number that `run` takes."""
        self._fits(body)
        number = self._templates
        numbered = _NUMBER.pack(number) + body
        now = self._now()
        self._logged(self._wal_append(TEMPLATE, self.handle, now, numbered), numbered)
        self._templates = number + 1
        self._keep(TEMPLATE, now, numbered)
        return number

    def run(self, template: int, params: bytes, flags: int = 0) -> int:
        """An allowed read is about to run. `params` are masked. Returns its position in the write-ahead log."""
        now = self._now()
        body = _RUN.pack(template, flags) + params
        size = len(body) + OVERHEAD
        if size > MAX_BODY:
            self._fits(body)
        position = self._wal_append(RUN, self.handle, now, body)
        if self._first < 0:
            self._first = position - size
        self._through = position
        self.statements += 1
        self._records.append((RUN, now, body))
        self.pressure += size
        self._size += size
        if self._timer is None:
            self._timer = self._loop.call_later(SEGMENT_SECONDS, self.cut)
        if self._size >= SEGMENT_BYTES and (not self._jobs or self._size >= SEGMENT_MOST):
            self.cut()
        return position

    def opened(self, body: Mapping[str, Any], at: int) -> int:
        """The first event, of when its key was made (Unix ms): the month in its leaf is that of its key's epoch. The recorder
        has made sure that there is room."""
        event, record, position = self._recorder.log_event(
            EVENT, self.handle, "session.opened", body, self.session.id, self.session.identity.id, own=True, at=at
        )
        self._logged(position, record)
        self._keep(EVENT, event.at, record)
        self._opened_at = position
        return position

    def event(self, type: str, body: Mapping[str, Any]) -> int:  # noqa: A002 - the field's own name
        """Something with a leaf of its own, in the recording too. Returns its position in the write-ahead log."""
        event, record, position = self._recorder.log_event(
            EVENT, self.handle, type, body, self.session.id, self.session.identity.id
        )
        self._logged(position, record)
        if type in ("operation.permitted", "operation.observed"):
            self.statements += 1
        elif type == "operation.refused":
            self.refused += 1
        elif type == "operation.held":
            self.held += 1
        rows = body.get("rows") if type == "operation.settled" else None
        if isinstance(rows, int):
            self.rows += rows
        self._keep(EVENT, event.at, record)
        return position

    def response(self, chunk: bytes) -> None:
        """Masked bytes on their way to the client. `chunk` must not change afterwards."""
        if len(chunk) > CHUNK:
            for start in range(0, len(chunk), CHUNK):
                self._keep(RESPONSE, self._now(), chunk[start : start + CHUNK])
            return
        size = len(chunk) + OVERHEAD
        self._records.append((RESPONSE, self._now(), chunk))
        self.pressure += size
        self._size += size
        if self._timer is None:
            self._timer = self._loop.call_later(SEGMENT_SECONDS, self.cut)
        if self._size >= SEGMENT_BYTES and (not self._jobs or self._size >= SEGMENT_MOST):
            self.cut()

    def settled(self, body: bytes, rows: int = 0) -> None:
        """What became of a read."""
        self._fits(body)
        self.rows += rows
        self._keep(SETTLED, self._now(), body)

    def request_data(self, chunk: bytes) -> None:
        """Masked bytes that follow a request (COPY IN)."""
        for start in range(0, len(chunk), CHUNK):
            self._keep(REQUEST_DATA, self._now(), chunk[start : start + CHUNK])

    def when_relieved(self, callback: Callable[[], None]) -> None:
        """Call `callback` once, on the event loop, when `pressure` has fallen below RELIEVED (perhaps at once)."""
        if self.pressure <= RELIEVED:
            self._loop.call_soon(callback)
        else:
            self._when_relieved.append(callback)

    async def relieved(self) -> None:
        """Return when the feeder may go on."""
        if self.pressure <= RELIEVED:
            return
        future: asyncio.Future[None] = self._loop.create_future()
        self._when_relieved.append(lambda: None if future.done() else future.set_result(None))
        await future

    def cut(self) -> None:
        """End the segment here."""
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        if not self._records:
            return
        self._jobs.append(_Job(self._records, self._size, self._first, self._through, self.counts()))
        self._records, self._size, self._first = [], 0, -1
        if len(self._jobs) == 1:
            self._seal_next()

    async def close(self, body: Mapping[str, Any]) -> Recording:
        """Seal what is left and write `session.closed`, durable. UpstreamError when that cannot be done now: it is
        then done as soon as it can be. A second call waits for the first."""
        if self._closed is None:
            self._closed = self._loop.create_future()
            self._closing = body
            self.cut()
            if self._failing:
                self._give_up(UpstreamError("the recording cannot be written"))
            elif not self._jobs:
                self._finish()
        recording = await asyncio.shield(self._closed)
        waiter = self._recorder.wal.wait(self._through)
        if waiter is not None:
            await waiter
        return recording

    def abandon(self) -> None:
        """Close without waiting, now or as soon as the record works again."""
        if self._closing is None and self._closed is None:
            self._closing = {"reason": "it could not be recorded, so it was not let in"}
            self.cut()

    # Behind it -----------------------------------------------------------------------------------------------------

    def counts(self) -> dict[str, int]:
        return {"held": self.held, "refused": self.refused, "rows": self.rows, "statements": self.statements}

    def keep_from(self) -> int | None:
        """Where the oldest request begins in the write-ahead log that is in no segment yet; None: all are."""
        for job in self._jobs:
            if job.first >= 0:
                return job.first
        return self._first if self._first >= 0 else None

    def _fits(self, body: bytes) -> None:
        if len(body) + OVERHEAD > MAX_BODY:
            raise UpstreamError(f"{len(body)} bytes are too many for one record", hint="send less in one statement")

    def _logged(self, position: int, body: bytes) -> None:
        if self._first < 0:
            self._first = position - OVERHEAD - len(body)
        self._through = position

    def _keep(self, kind: int, at: int, body: bytes) -> None:
        size = len(body) + OVERHEAD
        self._records.append((kind, at, body))
        self.pressure += size
        self._size += size
        if self._timer is None:
            self._timer = self._loop.call_later(SEGMENT_SECONDS, self.cut)
        if self._size >= SEGMENT_BYTES and (not self._jobs or self._size >= SEGMENT_MOST):
            self.cut()

    def _seal_next(self) -> None:
        if self._recorder.wal.durable < self._opened_at:
            # No file before its session is on record: if we died now, nobody could say whose it is.
            self._loop.call_later(RETRY, self._retry)
            return
        job = self._jobs[0]
        self._loop.run_in_executor(self._recorder.sealing, self._seal, job).add_done_callback(self._sealed)

    def _seal(self, job: _Job) -> None:
        """In the sealing thread. After an OSError the same bytes are written again at the same place."""
        if not job.raw:
            payload = b"".join([encode_record(kind, at, body) for kind, at, body in job.records])
            job.raw, job.hash = self._sealer.seal(payload)
            job.records = []
        start = self._header if self._offset == 0 else b""
        self._recorder.recordings.write(self.session.id, self._offset, start + job.raw)

    def _sealed(self, outcome: asyncio.Future[None]) -> None:
        error = outcome.exception()
        if not self._recorder.running:
            return  # the next start finds what was written
        if error is not None:
            self._failing = True
            self._recorder.sealing_failed(self.session.id, str(error) or type(error).__name__)
            self._give_up(UpstreamError(f"the recording cannot be written: {in_words(error)}"))
            self._loop.call_later(RETRY, self._retry)
            return
        if self._failing:
            self._failing = False
            self._recorder.sealing_works(self.session.id)
        job = self._jobs.popleft()
        self._offset += len(job.raw) + (len(self._header) if self._offset == 0 else 0)
        # If we die here, recovery finds the segment in the file, opens it, and writes this event in our place.
        self._recorder.log_event(
            NOTE, self.handle, "session.sealed",
            {
                "number": len(self._hashes), "segment_hash": job.hash.hex(), "bytes": len(job.raw),
                "through": job.through, **job.counts,
            },
            self.session.id, self.session.identity.id, keep_from=job.first, own=True,
        )
        self._hashes.append(job.hash)
        self._root = job.hash
        self.pressure -= job.size
        if self.pressure <= RELIEVED and self._when_relieved:
            callbacks, self._when_relieved = self._when_relieved, []
            for callback in callbacks:
                callback()
        if self._jobs:
            self._seal_next()
        elif self._closing is not None:
            self._finish()
        elif self._size >= SEGMENT_BYTES:
            self.cut()

    def _retry(self) -> None:
        if self._recorder.running:
            self._seal_next()

    def _finish(self) -> None:
        assert self._closing is not None
        body = {
            **self.counts(), **self._closing, "number": len(self._hashes), "segment_hash": self._root.hex(),
        }
        _, _, self._through = self._recorder.log_event(
            NOTE, self.handle, "session.closed", body, self.session.id, self.session.identity.id, own=True
        )
        self._closing = None
        self._recorder.forget(self)
        if self._closed is not None and not self._closed.done():
            self._closed.set_result(Recording(self.session.id, tuple(self._hashes), self._root))

    def _give_up(self, error: UpstreamError) -> None:
        """Tell who waits for the close; the close itself goes on."""
        if self._closed is not None and not self._closed.done():
            self._closed.set_exception(error)
            self._closed.exception()


NOTE: Final = 7  # in the write-ahead log: an event that is not in the recording
DECLARED: Final = 8  # in the write-ahead log: a session's handle and wrapped key
