"""Judging long statements in a process of its own, so that one client's megabyte never delays another's query.

The parser's tree of a long text is turned into Python objects in one piece, during which nothing else in a process can run.
So texts over `protocols.postgres.conversation.LARGE` go to a worker: bounded in time and memory, killed when it exceeds
either, started when it is needed and ended when it is not. It is told first which
detectors look. The answer to a text that was too much is a classification like
any other: unknown, with the reason.

Parent and worker speak in length-prefixed MessagePack over the worker's pipes; both ends are this file. The worker has
parsed hostile text, so its answer is decoded by type: whatever it says, it can only be a classification.
"""

from __future__ import annotations

import asyncio
import resource
import struct
import sys
from contextlib import suppress
from typing import Final

import msgspec

from doorward.masking.defined import Choice
from doorward.masking.statement import mask_statement
from doorward.model import Effect
from doorward.sql.catalogue import Catalogue, Relation
from doorward.sql.classification import Classification, Facts
from doorward.sql.classify import classify

SECONDS: Final = 20.0  # for one text
MEMORY: Final = 2 << 30  # bytes of address space
IDLE: Final = 60.0  # seconds after which a worker that has nothing to do ends
_SIZE: Final = struct.Struct("!I")

MOST: Final = 64 << 20  # bytes of an answer

Judged = tuple[Classification, str]


class _Question(msgspec.Struct, frozen=True):
    """A text, and `Facts` less the namespace: names that only this session knows stay behind, and a long text that
    executes or fetches from one is unknown."""

    text: str
    relations: tuple[Relation, ...]
    functions: dict[str, frozenset[str]]
    operators: dict[str, frozenset[tuple[str, str, str]]]
    schemas: frozenset[str]
    setters: frozenset[str]
    search_path: tuple[str, ...]
    labels: dict[str, str]
    temporary: frozenset[str]
    changed: frozenset[tuple[str, str]]
    pinned: frozenset[str]
    unsettled: bool
    max_bytes: int
    max_statements: int

    @classmethod
    def of(cls, text: str, facts: Facts) -> _Question:
        known = facts.catalogue
        return cls(
            text, known.relations, dict(known.functions), dict(known.operators), known.schemas, known.setters,
            facts.search_path, dict(facts.labels), facts.temporary, facts.changed, facts.pinned, facts.unsettled,
            facts.max_bytes, facts.max_statements,
        )  # fmt: skip

    def facts(self) -> Facts:
        return Facts(
            catalogue=Catalogue(self.relations, self.functions, self.operators, self.schemas, setters=self.setters),
            search_path=self.search_path, labels=self.labels, temporary=self.temporary, changed=self.changed,
            pinned=self.pinned, unsettled=self.unsettled, max_bytes=self.max_bytes, max_statements=self.max_statements,
        )  # fmt: skip


_encode = msgspec.msgpack.Encoder().encode
_question = msgspec.msgpack.Decoder(_Question).decode
_answer = msgspec.msgpack.Decoder(Judged).decode
_choice = msgspec.msgpack.Decoder(Choice).decode


class Worker:
    """Judges one text at a time. Make one for a gateway, and `close` it. `choice`: the detectors that mask what is shown,
    besides those that always look at what goes on record."""

    def __init__(self, choice: Choice) -> None:
        self._told = _encode(choice)
        self._process: asyncio.subprocess.Process | None = None
        self._turn = asyncio.Lock()
        self._idle: asyncio.TimerHandle | None = None

    async def judge(self, text: str, facts: Facts) -> Judged:
        """The classification of a text and how it may be shown. Never raises for what the text is."""
        asked = _encode(_Question.of(text, facts))
        async with self._turn:
            if self._idle is not None:
                self._idle.cancel()
                self._idle = None
            try:
                async with asyncio.timeout(SECONDS):
                    return await self._ask(asked)
            except TimeoutError:
                await self._kill()
                return _too_much(text, f"judging it took longer than {SECONDS:g} s")
            except (OSError, EOFError, asyncio.IncompleteReadError, msgspec.MsgspecError, ValueError):
                await self._kill()
                return _too_much(text, "judging it took more memory than it may")
            except BaseException:
                await self._kill()
                raise
            finally:
                if self._process is not None:
                    self._idle = asyncio.get_running_loop().call_later(IDLE, self._end)

    async def close(self) -> None:
        """End the worker process."""
        if self._idle is not None:
            self._idle.cancel()
        await self._kill()

    async def _ask(self, asked: bytes) -> Judged:
        if self._process is None or self._process.returncode is not None:
            self._process = await asyncio.create_subprocess_exec(
                sys.executable, "-c", "from doorward.server.workers import main; main()",
                stdin=asyncio.subprocess.PIPE, stdout=asyncio.subprocess.PIPE, limit=1 << 26,
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
        answer: Judged = _answer(await self._process.stdout.readexactly(size))
        return answer

    def _end(self) -> None:
        if self._process is not None and self._process.stdin is not None:
            self._process.stdin.close()

    async def _kill(self) -> None:
        process, self._process = self._process, None
        if process is not None:
            with suppress(ProcessLookupError):
                process.kill()
            await process.wait()


def _too_much(text: str, why: str) -> Judged:
    reason = f"the statement cannot be judged: {why}"
    return Classification(effect=Effect.UNKNOWN, reason=reason), f"[{len(text)} characters: {reason}]"


def main() -> None:
    """The worker's own loop, until its input ends."""
    resource.setrlimit(resource.RLIMIT_AS, (MEMORY, MEMORY))
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))  # a core file would hold the statement
    source, sink = sys.stdin.buffer, sys.stdout.buffer
    (size,) = _SIZE.unpack(source.read(_SIZE.size))
    detectors = _choice(source.read(size)).detectors().with_defaults()
    while head := source.read(_SIZE.size):
        question = _question(source.read(_SIZE.unpack(head)[0]))
        answer = _encode((classify(question.text, question.facts()), mask_statement(question.text, detectors=detectors)[0]))
        sink.write(_SIZE.pack(len(answer)) + answer)
        sink.flush()
