"""Looking at long values in a process of its own, so that what somebody made to be looked at for seconds delays nobody else.

A value of more than `looking.LONG` bytes goes to a worker with the detectors that are to look, and comes back masked. The
worker is bounded in time and memory, started when it is needed, killed when it exceeds either, and ended when nobody has
asked for a while. There are at most PROCESSES; a question waits for its turn. Whatever goes wrong is an error, and ends
the result.

What is asked and answered is MessagePack, decoded by type.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Final

import msgspec

from doorward.errors import UpstreamError
from doorward.masking.defined import Choice
from doorward.protocols.postgres.looking import Answer, Question, answer
from doorward.server.process import WorkerProcess, serve

SECONDS: Final = 20.0  # for one value of a MiB at most, or one window of a longer one
MEMORY: Final = 1 << 30  # bytes of address space
PROCESSES: Final = 2
MOST: Final = 16 << 20  # bytes of an answer
_MAIN: Final = "from doorward.server.lookers import main; main()"

_encode = msgspec.msgpack.Encoder().encode
_question = msgspec.msgpack.Decoder(Question).decode
_answer = msgspec.msgpack.Decoder(Answer).decode
_choice = msgspec.msgpack.Decoder(Choice).decode


class Lookers:
    """The workers of a gateway. `choice`: the detectors that all its targets have."""

    def __init__(
        self, choice: Choice, *, processes: int = PROCESSES, seconds: float = SECONDS, program: str = _MAIN
    ) -> None:
        told = _encode(choice)
        self.all = [WorkerProcess(program, told, MOST) for _ in range(processes)]
        self._seconds = seconds
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
                return await self._looked(looker, asked), now() - began
            finally:
                self._free.append(looker)

    async def _looked(self, looker: WorkerProcess, asked: bytes) -> Answer:
        try:
            return _answer(await looker.ask(asked, self._seconds))
        except TimeoutError:
            raise UpstreamError(
                f"a result was withheld: looking at one value took longer than {self._seconds:g} s",
                hint="ask for less of it at a time, as in substr()",
            ) from None
        except (OSError, EOFError, msgspec.MsgspecError, ValueError):
            await looker.close()  # what it answered may be nonsense
            raise UpstreamError("a result was withheld: the process that looks at long values ended") from None

    async def close(self) -> None:
        """End the processes."""
        for looker in self.all:
            await looker.close()


def main() -> None:
    """What a worker runs."""
    serve(MEMORY, _looking)


def _looking(told: bytes) -> Callable[[bytes], bytes]:
    detectors = _choice(told).detectors()
    return lambda asked: _encode(answer(detectors, _question(asked)))
