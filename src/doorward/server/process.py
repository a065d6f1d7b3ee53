"""A worker process that answers one question at a time: started when it is needed, killed when it takes too long or breaks,
and ended when nobody has asked for a while.

Parent and worker speak length-prefixed messages over the worker's pipes; both ends are this file. What is in them is for those
who use it to encode, and to decode by type: a worker that has been taken over can answer anything.
"""

from __future__ import annotations

import asyncio
import resource
import struct
import sys
from collections.abc import Callable
from contextlib import suppress
from typing import Final

IDLE: Final = 60.0  # seconds after which a worker that has nothing to do ends
_SIZE: Final = struct.Struct("!I")


class WorkerProcess:
    """`program` is what Python runs, and ends in `serve`; `told` is what it hears first, once; an answer has at most `most`
    bytes. Ask one question at a time, and `close` it. `asked`: questions so far."""

    def __init__(self, program: str, told: bytes, most: int) -> None:
        self.asked = 0
        self._program = program
        self._told = told
        self._most = most
        self._process: asyncio.subprocess.Process | None = None
        self._idle: asyncio.TimerHandle | None = None

    async def ask(self, question: bytes, seconds: float) -> bytes:
        """The answer, within so long. Raises TimeoutError, OSError, EOFError or ValueError when there is none: then the worker
        is no more."""
        self._stay()
        self.asked += 1
        try:
            async with asyncio.timeout(seconds):
                return await self._exchange(question)
        except BaseException:
            await self.close()
            raise
        finally:
            if self._process is not None:
                self._idle = asyncio.get_running_loop().call_later(IDLE, self._end)

    async def close(self) -> None:
        """End the process."""
        self._stay()
        process, self._process = self._process, None
        if process is not None:
            with suppress(ProcessLookupError):
                process.kill()
            await process.wait()

    async def _exchange(self, question: bytes) -> bytes:
        process = self._process
        if process is None or process.returncode is not None:
            process = self._process = await asyncio.create_subprocess_exec(
                sys.executable, "-c", self._program,
                stdin=asyncio.subprocess.PIPE, stdout=asyncio.subprocess.PIPE, limit=1 << 18,
            )  # fmt: skip
            assert process.stdin is not None
            process.stdin.write(_SIZE.pack(len(self._told)) + self._told)
        assert process.stdin is not None
        assert process.stdout is not None
        process.stdin.write(_SIZE.pack(len(question)) + question)
        await process.stdin.drain()
        (size,) = _SIZE.unpack(await process.stdout.readexactly(_SIZE.size))
        if size > self._most:
            raise ValueError("the worker's answer is too long")
        return await process.stdout.readexactly(size)

    def _stay(self) -> None:
        if self._idle is not None:
            self._idle.cancel()
            self._idle = None

    def _end(self) -> None:
        if self._process is not None and self._process.stdin is not None:
            self._process.stdin.close()


def serve(memory: int, prepare: Callable[[bytes], Callable[[bytes], bytes]]) -> None:
    """The worker's own loop, until its input ends. `memory` is bytes of address space; `prepare` makes, of what is told first,
    what answers a question."""
    resource.setrlimit(resource.RLIMIT_AS, (memory, memory))
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))  # a core file would hold what was asked
    source, sink = sys.stdin.buffer, sys.stdout.buffer
    (size,) = _SIZE.unpack(source.read(_SIZE.size))
    answer = prepare(source.read(size))
    while head := source.read(_SIZE.size):
        said = answer(source.read(_SIZE.unpack(head)[0]))
        sink.write(_SIZE.pack(len(said)) + said)
        sink.flush()
