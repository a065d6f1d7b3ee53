"""Judging long statements in a process of its own, so that one client's megabyte never delays another's query.

The parser's tree of a long text is turned into Python objects in one piece, during which nothing else in a process can run.
So texts over `protocols.postgres.conversation.LARGE` go to a worker: bounded in time and memory, killed when it exceeds
either, started when it is needed and ended when it is not. It is told first which
detectors look. The answer to a text that was too much is a classification like
any other: unknown, with the reason.

What is asked and answered is MessagePack. The worker has parsed hostile text, so its answer is decoded by type: whatever it
says, it can only be a classification.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Final

import msgspec

from doorward.masking.defined import Choice
from doorward.masking.statement import mask_statement
from doorward.model import Effect
from doorward.server.process import WorkerProcess, serve
from doorward.sql.catalogue import Catalogue, Relation
from doorward.sql.classification import Classification, Facts
from doorward.sql.classify import classify

SECONDS: Final = 20.0  # for one text
MEMORY: Final = 2 << 30  # bytes of address space
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
    copied: dict[str, frozenset[str]]
    temporary: frozenset[str]
    changed: frozenset[tuple[str, str]]
    pinned: frozenset[str]
    unsettled: bool
    opaque: bool
    max_bytes: int
    max_statements: int

    @classmethod
    def of(cls, text: str, facts: Facts) -> _Question:
        known = facts.catalogue
        return cls(
            text, known.relations, dict(known.functions), dict(known.operators), known.schemas, known.setters,
            facts.search_path, dict(facts.labels), dict(facts.copied), facts.temporary, facts.changed, facts.pinned,
            facts.unsettled, facts.opaque, facts.max_bytes, facts.max_statements,
        )  # fmt: skip

    def facts(self) -> Facts:
        return Facts(
            catalogue=Catalogue(self.relations, self.functions, self.operators, self.schemas, setters=self.setters),
            search_path=self.search_path, labels=self.labels, copied=self.copied, temporary=self.temporary,
            changed=self.changed, pinned=self.pinned, unsettled=self.unsettled, opaque=self.opaque,
            max_bytes=self.max_bytes, max_statements=self.max_statements,
        )  # fmt: skip


_encode = msgspec.msgpack.Encoder().encode
_question = msgspec.msgpack.Decoder(_Question).decode
_answer = msgspec.msgpack.Decoder(Judged).decode
_choice = msgspec.msgpack.Decoder(Choice).decode


class Worker:
    """Judges one text at a time. Make one for a gateway, and `close` it. `choice`: the detectors that mask what is shown,
    besides those that always look at what goes on record."""

    def __init__(self, choice: Choice) -> None:
        self._process = WorkerProcess("from doorward.server.workers import main; main()", _encode(choice), MOST)
        self._turn = asyncio.Lock()

    async def judge(self, text: str, facts: Facts) -> Judged:
        """The classification of a text and how it may be shown. Never raises for what the text is."""
        asked = _encode(_Question.of(text, facts))
        async with self._turn:
            try:
                answer: Judged = _answer(await self._process.ask(asked, SECONDS))
            except TimeoutError:
                return _too_much(text, f"judging it took longer than {SECONDS:g} s")
            except (OSError, EOFError, msgspec.MsgspecError, ValueError):
                await self._process.close()  # what it answered may be nonsense
                return _too_much(text, "judging it took more memory than it may")
            return answer

    async def close(self) -> None:
        """End the worker process."""
        await self._process.close()


def _too_much(text: str, why: str) -> Judged:
    reason = f"the statement cannot be judged: {why}"
    return Classification(effect=Effect.UNKNOWN, reason=reason), f"[{len(text)} characters: {reason}]"


def main() -> None:
    """What the worker runs."""
    serve(MEMORY, _judging)


def _judging(told: bytes) -> Callable[[bytes], bytes]:
    detectors = _choice(told).detectors().with_defaults()

    def judge(asked: bytes) -> bytes:
        question = _question(asked)
        return _encode((classify(question.text, question.facts()), mask_statement(question.text, detectors=detectors)[0]))

    return judge
