"""The write-ahead log: what is not in it has not happened.

Records are appended on the event loop, which costs a list append, and written by one thread: seal, write durably,
everything that gathered meanwhile in one frame (group commit). Somebody who waits makes it write at once; otherwise it
writes after FLUSH_AFTER seconds or FLUSH_BYTES.

A position is the number of bytes of records appended in this boot, across files: `durable` says how far they are on
disk. Each frame names the position it starts at, so that one written twice is read once.

When a write fails, everyone who waits gets UpstreamError, and `failed` stays true until all that is unwritten stands in
a new file: after a failed fsync nothing can be said of the old file's pages, so it is never touched again. Until then
appends are refused, except facts (what has happened already and must not be lost) and the recorder's own, which are
kept and have room of their own (FACT, OWN).

If we die, what was not durable is lost, and nobody was told that it is there.

It does not know what a record means; recorder.py and recovery.py do.
"""

from __future__ import annotations

import asyncio
import secrets
import struct
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Final

from doorward.errors import IntegrityError, UpstreamError, in_words
from doorward.guard.ports import WalFile, WalFiles
from doorward.ledger.seal import WalSealer, iter_frames

FLUSH_AFTER: Final = 0.01  # seconds that a record nobody waits for may stay in memory
FLUSH_BYTES: Final = 128 * 1024
AHEAD_MS: Final = 20  # how far what nobody waits for may run ahead of the disk: a crash loses no more than this
AHEAD_BYTES: Final = 256 * 1024
LIMIT: Final = 4 * 1024 * 1024  # bytes appended and not yet durable
# What an append has a claim to: nothing while the record fails, and LIMIT; that many LIMITs.
INTENT: Final = 0
FACT: Final = 2
OWN: Final = 3
ROTATE: Final = 16 * 1024 * 1024  # a file is closed at this size, so that old ones can be deleted
RETRY: Final = 1.0  # seconds between tries to write again after a failure

HEADER: Final = struct.Struct(">BIII")  # kind, session handle, ms since the frame's base, length of the body
FRAME: Final = struct.Struct(">QQ")  # position of the first record, base in Unix ms
MAX_SPAN: Final = 0xFFFF_FFFF  # ms from a frame's base to its last record


@dataclass(slots=True)
class _Batch:
    start: int
    base: int
    parts: list[bytes]
    end: int

    def plaintext(self) -> bytes:
        return FRAME.pack(self.start, self.base) + b"".join(self.parts)


class WriteAheadLog:
    """One boot's log. `on_restored(failed_at, why)` is called when writing works again after a failure."""

    def __init__(
        self,
        files: WalFiles,
        key: bytes,
        boot: str,
        ordinal: int,
        now: Callable[[], int],
        on_restored: Callable[[int, str], None],
    ) -> None:
        self._files, self._key, self._boot, self._ordinal = files, key, boot, ordinal
        self._now, self._on_restored = now, on_restored
        self._loop = asyncio.get_running_loop()
        self._pool = ThreadPoolExecutor(1, "doorward-wal")
        self._parts: list[bytes] = []
        self._base = 0
        self._start = 0  # position of the first record in _parts
        self._flying: _Batch | None = None
        self._retained: list[_Batch] = []  # what a failed write may or may not have left on disk
        self._waiters: list[tuple[int, asyncio.Future[None]]] = []
        self._timer: asyncio.TimerHandle | None = None
        self._kick_scheduled = False
        self._closed = False
        # Of the writing thread:
        self._file: WalFile | None = None
        self._sealer: WalSealer | None = None
        self._seq = 0
        self._size = 0
        self._written: list[tuple[str, int]] = []  # (file, position at which it ends), the last being open

        self.appended = 0
        self.durable = 0
        self.failed = ""  # why, while it is
        self.failed_at = 0
        self.blocked = ""  # why the recorder takes no more than facts, while writing works
        self.syncs = 0

    # On the event loop ---------------------------------------------------------------------------------------------

    def behind(self, now: int) -> bool:
        """Whether the disk is so far behind (`now` in Unix ms) that nothing may go ahead of it any more."""
        if self.appended - self.durable > AHEAD_BYTES:
            return True
        if self._flying is not None:
            return now - self._flying.base > AHEAD_MS
        return bool(self._parts) and now - self._base > AHEAD_MS

    @property
    def unwritten(self) -> int:
        return self.appended - self.durable

    def append(self, kind: int, handle: int, at: int, body: bytes, claim: int = INTENT) -> int:
        """Buffer a record; returns the position after it. `at` is Unix ms. UpstreamError when it cannot be kept."""
        appended = self.appended + 13 + len(body)
        if (
            (claim == INTENT and (self.failed or self.blocked))
            or (appended - self.durable > LIMIT and (claim == INTENT or appended - self.durable > claim * LIMIT))
            or self._closed
        ):
            self._refuse(appended)
        if not self._parts:
            self._base = at
            self._start = self.appended
        span = at - self._base  # a clock that steps back, or stands in a debugger for 49 days, is clamped
        self._parts.append(HEADER.pack(kind, handle, span if 0 <= span <= MAX_SPAN else 0, len(body)) + body)
        self.appended = appended
        if self._timer is None:
            self._timer = self._loop.call_later(FLUSH_AFTER, self._flush_late)
        if appended - self._start >= FLUSH_BYTES and not self._kick_scheduled:
            self._kick_soon()
        return appended

    def check(self, size: int) -> None:
        """UpstreamError unless intents of `size` bytes together would be taken now."""
        if self.failed or self.blocked or self._closed or self.unwritten + size > LIMIT:
            self._refuse(self.appended + size)

    def _refuse(self, appended: int) -> None:
        if self._closed:
            raise UpstreamError("the record is closed: the gateway is stopping")
        if self.failed or self.blocked:
            raise UpstreamError(
                f"the record cannot be written: {self.failed or self.blocked}",
                hint="look at the disk that holds the data directory",
            )
        raise UpstreamError(f"the record is {appended - self.durable} bytes behind: the disk is too slow")

    def wait(self, position: int) -> asyncio.Future[None] | None:
        """None if everything up to `position` is durable; else a future that ends when it is, or in UpstreamError."""
        if position <= self.durable:
            return None
        future: asyncio.Future[None] = self._loop.create_future()
        if self.failed:
            future.set_exception(UpstreamError(f"the record cannot be written: {self.failed}"))
            future.exception()  # the caller may have gone: then nobody needs to hear of it
            return future
        self._waiters.append((position, future))
        if not self._kick_scheduled and self._flying is None:
            self._kick_soon()
        return future

    def _kick_soon(self) -> None:
        self._kick_scheduled = True
        self._loop.call_soon(self._kick)  # what else is appended in this turn of the loop goes into the same frame

    def _flush_late(self) -> None:
        self._timer = None
        self._kick()

    def _kick(self) -> None:
        self._kick_scheduled = False
        if self._flying is not None or self.failed or not self._parts:
            return
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        self._flying = _Batch(self._start, self._base, self._parts, self.appended)
        self._parts = []
        self._loop.run_in_executor(self._pool, self._write, (self._flying,)).add_done_callback(self._done)

    def _done(self, outcome: asyncio.Future[None]) -> None:
        flying, self._flying = self._flying, None
        assert flying is not None
        error = outcome.exception()
        if error is not None:
            self._retained = [flying]
            self._fail(error)
            return
        self._advance(flying.end)
        late = self._timer is None  # it went off while we were writing
        if self._parts and (late or self._waiters or self.appended - self._start >= FLUSH_BYTES):
            self._kick()

    def _advance(self, position: int) -> None:
        self.durable = position
        self.syncs += 1
        if not self._waiters:
            return
        waiting = []
        for each in self._waiters:
            if each[0] > position:
                waiting.append(each)
            elif not each[1].done():
                each[1].set_result(None)
        self._waiters = waiting

    def _fail(self, error: BaseException) -> None:
        if not self.failed:
            self.failed_at = self._now()
        self.failed = in_words(error)
        waiters, self._waiters = self._waiters, []
        for _, future in waiters:
            if not future.done():
                future.set_exception(UpstreamError(f"the record cannot be written: {self.failed}"))
                future.exception()
        if not self._closed:
            self._loop.call_later(RETRY, self._retry)

    def _retry(self) -> None:
        if self._closed:
            return
        if self._parts:
            self._retained.append(_Batch(self._start, self._base, self._parts, self.appended))
            self._parts = []
        batches = tuple(self._retained)
        self._loop.run_in_executor(self._pool, self._write_anew, batches).add_done_callback(self._retried)

    def _retried(self, outcome: asyncio.Future[None]) -> None:
        error = outcome.exception()
        if error is not None:
            self._fail(error)
            return
        end, self._retained = self._retained[-1].end, []
        why, self.failed = self.failed, ""
        self._advance(end)
        self._on_restored(self.failed_at, why)
        if self._parts:
            self._kick()

    async def flush(self) -> None:
        """Return when all that was appended is durable. UpstreamError."""
        waiter = self.wait(self.appended)
        if waiter is not None:
            await waiter

    async def close(self) -> None:
        """Write what is left and close the file. UpstreamError when that fails; it is closed then too."""
        try:
            await self.flush()
        finally:
            self._closed = True
            if self._timer is not None:
                self._timer.cancel()
                self._timer = None
            await self._loop.run_in_executor(self._pool, self._close_file)
            self._pool.shutdown(wait=False)

    async def trim(self, position: int) -> list[str]:
        """Delete the files whose records all stand before `position`; returns their names."""
        return await self._loop.run_in_executor(self._pool, self._trim, position)

    # In the writing thread -----------------------------------------------------------------------------------------

    def _write(self, batches: tuple[_Batch, ...]) -> None:
        if self._file is not None and self._size >= ROTATE:
            self._close_file()
        if self._file is None:
            self._open_file()
        assert self._file is not None
        assert self._sealer is not None
        for batch in batches:
            frame = self._sealer.seal(self._seq, batch.plaintext())
            if self._size == 0:
                frame = self._sealer.header + frame
            self._file.append(frame)
            self._seq += 1
            self._size += len(frame)
        self._written[-1] = (self._written[-1][0], batches[-1].end)

    def _open_file(self) -> None:
        name = file_name(self._ordinal, self._boot)
        self._ordinal += 1
        self._file = self._files.create(name)
        self._sealer = WalSealer(self._key, secrets.token_bytes(16))
        self._seq = self._size = 0
        self._written.append((name, self._written[-1][1] if self._written else 0))

    def _write_anew(self, batches: tuple[_Batch, ...]) -> None:
        # If we die in here, the new file repeats positions of the old one, and is read once.
        self._close_file()
        self._write(batches)

    def _close_file(self) -> None:
        if self._file is not None:
            try:
                self._file.close()
            except OSError:
                pass  # what was durable stays so; the rest has been reported
            self._file = None

    def _trim(self, position: int) -> list[str]:
        names = []
        while len(self._written) > 1 and self._written[0][1] <= position:
            self._files.delete(self._written[0][0])
            names.append(self._written.pop(0)[0])
        return names


def file_name(ordinal: int, boot: str) -> str:
    """Names sort in the order files were made, over all boots."""
    return f"{ordinal:012d}-{boot}.wal"


def parse_name(name: str) -> tuple[int, str] | None:
    """(ordinal, boot), or None for a file that is none of ours."""
    ordinal, dash, boot = name.removesuffix(".wal").partition("-")
    return (int(ordinal), boot) if dash and boot and name.endswith(".wal") and ordinal.isdigit() else None


@dataclass(frozen=True, slots=True)
class WalRecord:
    """A record as read back: `position` is the one after it."""

    position: int
    kind: int
    handle: int
    at: int
    body: bytes


class WalReader:
    """Reads one boot's files, in order, each record once.

    `torn` counts bytes that could not be read, by file; `lost` counts bytes of records that are missing between two
    that are there (a torn tail loses none that was durable; anything here means a damaged disk).
    """

    def __init__(self, key: bytes) -> None:
        self._key = key
        self._position = 0
        self._first = True
        self.torn: dict[str, bytes] = {}
        self.lost = 0

    def read(self, name: str, octets: bytes) -> Iterator[WalRecord]:
        try:
            frames = iter_frames(octets, self._key)
        except IntegrityError:  # died while making the file
            if octets:
                self.torn[name] = octets
            return
        for _, plaintext, _ in frames:
            yield from self._records(plaintext)
        if frames.why.startswith("altered"):  # its checksum is right: no crash leaves that
            raise IntegrityError(
                f"the write-ahead log: {frames.why}", spot=f"wal/{name}, byte {frames.end}",
                hint="restore keys/wal.key; if it is the right one, somebody changed the file: keep it, and ask who",
            )
        if frames.end < len(octets):
            self.torn[name] = bytes(octets[frames.end :])

    def _records(self, plaintext: bytes) -> Iterator[WalRecord]:
        start, base = FRAME.unpack_from(plaintext)
        if self._first:
            self._position, self._first = start, False  # earlier files were folded and deleted
        if start > self._position:
            self.lost += start - self._position
            self._position = start
        at = FRAME.size + (self._position - start)  # what an earlier frame has told already is skipped
        while at < len(plaintext):
            kind, handle, span, length = HEADER.unpack_from(plaintext, at)
            body = plaintext[at + 13 : at + 13 + length]
            at += 13 + length
            self._position += 13 + length
            yield WalRecord(self._position, kind, handle, base + span, body)
