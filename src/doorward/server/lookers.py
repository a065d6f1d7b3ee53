"""Looking at long values in a process of its own, so that what somebody made to be looked at for seconds delays nobody else.

A value of more than `looking.LONG` bytes goes to a worker with the detectors that are to look, and comes back masked. The
worker is bounded in time and memory, started when it is needed, killed when it exceeds either, and ended when nobody has
asked for a while. There are at most PROCESSES; a question waits for its turn. Whatever goes wrong is an error, and ends
the result.

Parent and worker speak length-prefixed MessagePack over the worker's pipes; both ends are this file. What it says is
decoded by type.
"""

from __future__ import annotations

import asyncio
import resource
import struct
import sys
from contextlib import suppress
from typing import Final

import msgspec

from doorward.errors import UpstreamError
from doorward.masking.defined import Choice
from doorward.protocols.postgres.looking import Answer, Question, answer

SECONDS: Final = 20.0  # for one value of a MiB at most, or one window of a longer one
MEMORY: Final = 1 << 30  # bytes of address space
IDLE: Final = 60.0  # seconds after which a worker that has nothing to do ends
PROCESSES: Final = 2
MOST: Final = 16 << 20  # bytes of an answer
_SIZE: Final = struct.Struct("!I")
_MAIN: Final = "from doorward.server.lookers import main; main()"

_encode = msgspec.msgpack.Encoder().encode
_question = msgspec.msgpack.Decoder(Question).decode
_answer = msgspec.msgpack.Decoder(Answer).decode
_choice = msgspec.msgpack.Decoder(Choice).decode


class Looker:
    """One worker, one question at a time."""

    def __init__(self, told: bytes, seconds: float, program: str) -> None:
        self.asked = 0
        self._told = told
        self._seconds = seconds
        self._program = program
        self._process: asyncio.subprocess.Process | None = None
        self._idle: asyncio.TimerHandle | None = None

    async def ask(self, asked: bytes) -> Answer:
        """The answer. Raises UpstreamError: the worker did not give one, and is no more."""
        if self._idle is not None:
            self._idle.cancel()
            self._idle = None
        try:
            async with asyncio.timeout(self._seconds):
                return await self._exchange(asked)
        except TimeoutError:
            await self.close()
            raise UpstreamError(
                f"a result was withheld: looking at one value took longer than {self._seconds:g} s",
                hint="ask for less of it at a time, as in substr()",
            ) from None
        except (OSError, EOFError, msgspec.MsgspecError, ValueError):
            await self.close()
            raise UpstreamError("a result was withheld: the process that looks at long values ended") from None
        except BaseException:
            await self.close()
            raise
        finally:
            if self._process is not None:
                self._idle = asyncio.get_running_loop().call_later(IDLE, self._end)

    async def _exchange(self, asked: bytes) -> Answer:
        self.asked += 1
        if self._process is None or self._process.returncode is not None:
            self._process = await asyncio.create_subprocess_exec(
                sys.executable, "-c", self._program,
                stdin=asyncio.subprocess.PIPE, stdout=asyncio.subprocess.PIPE, limit=1 << 18,
            )  # fmt: skip
            assert self._process.stdin is not None
            self._process.stdin.write(_SIZE.pack(len(self._told)) + self._told)
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        self._process.stdin.write(_SIZE.pack(len(asked)) + asked)
        await self._process.stdin.drain()
        (size,) = _SIZE.unpack(await self._process.stdout.readexactly(_SIZE.size))
        if size > MOST:
            raise ValueError("the worker's answer is too long")
        return _answer(await self._process.stdout.readexactly(size))

    def _end(self) -> None:
        if self._process is not None and self._process.stdin is not None:
            self._process.stdin.close()

    async def close(self) -> None:
        if self._idle is not None:
            self._idle.cancel()
            self._idle = None
        process, self._process = self._process, None
        if process is not None:
            with suppress(ProcessLookupError):
                process.kill()
            await process.wait()


class Lookers:
    """The workers of a gateway. `choice`: the detectors that all its targets have."""

    def __init__(
        self, choice: Choice, *, processes: int = PROCESSES, seconds: float = SECONDS, program: str = _MAIN
    ) -> None:
        told = _encode(choice)
        self.all = [Looker(told, seconds, program) for _ in range(processes)]
        self._free = list(self.all)
        self._turns = asyncio.Semaphore(processes)

    async def ask(self, question: Question) -> tuple[Answer, float]:
        """What somebody says who looked, and the seconds that this took. Raises UpstreamError: nobody could."""
        asked = _encode(question)
        async with self._turns:
            looker = self._free.pop()
            now = asyncio.get_running_loop().time
            began = now()
            try:
                return await looker.ask(asked), now() - began
            finally:
                self._free.append(looker)

    async def close(self) -> None:
        """End the processes."""
        for looker in self.all:
            await looker.close()


def main() -> None:
    """The worker's own loop, until its input ends."""
    resource.setrlimit(resource.RLIMIT_AS, (MEMORY, MEMORY))
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))  # a core file would hold the value
    source, sink = sys.stdin.buffer, sys.stdout.buffer
    (size,) = _SIZE.unpack(source.read(_SIZE.size))
    detectors = _choice(source.read(size)).detectors()
    while head := source.read(_SIZE.size):
        said = _encode(answer(detectors, _question(source.read(_SIZE.unpack(head)[0]))))
        sink.write(_SIZE.pack(len(said)) + said)
        sink.flush()
