"""An answer that is slow to mask is masked in turns: nobody else waits for all of it."""

from __future__ import annotations

import asyncio
from types import SimpleNamespace
from typing import Any, cast

import pytest

from doorward.server.relay import BEGINNING, HEARD, SHORTEST, TURN, Relay


class Paced(Relay):
    """A relay whose masking takes so many seconds a byte, by a clock that only masking moves."""

    __slots__ = ("clock", "gone", "pauses", "pieces", "speed", "turns")

    def __init__(self, speed: float) -> None:
        self.clock = 0.0
        self.speed = speed
        self.pieces: list[bytes] = []
        self.turns: list[float] = []
        self.pauses: list[str] = []
        self.gone: list[str] = []
        transport = SimpleNamespace(
            pause_reading=lambda: self.pauses.append("pause"), resume_reading=lambda: self.pauses.append("resume")
        )
        self.listener = cast("Any", SimpleNamespace(monotonic=lambda: self.clock))
        self.conversation = cast("Any", SimpleNamespace(answers=SimpleNamespace(behind=False, crowded=False, question=None)))
        self.inside = cast("Any", SimpleNamespace(transport=transport))
        self._asking = self._behind = self._closed = self._lost = False
        self._keeping = 0
        self._unread = []
        self._stride = BEGINNING
        self._server_paused = set()
        self._client_paused = set()
        self._client_behind = self._closing = False
        self._unheard = []
        pause, resume = transport.pause_reading, transport.resume_reading
        self.door = cast("Any", SimpleNamespace(pause=pause, resume=resume))

    def _heard(self, data: bytes) -> None:
        self._answered(data)

    def _hear(self, data: bytes) -> None:
        before = self.clock
        super()._hear(data)
        self.turns.append(self.clock - before)

    def _answered(self, data: bytes) -> None:
        self.pieces.append(data)
        self.clock += len(data) * self.speed

    def _settle_lost(self) -> None:
        self.gone.append("settled")

    def _finish(self, reason: str) -> None:
        self.gone.append(reason)

    def _in_turns(self, data: bytes) -> None:
        before = self.clock
        super()._in_turns(data)
        self.turns.append(self.clock - before)


@pytest.mark.parametrize("speed", [1e-9, 1e-7, 1e-6, 1e-5])
async def test_slow_answers_take_turns(speed: float) -> None:
    """Whatever a byte costs, others have their turn after 50 ms, once that is known; and every byte is masked, in order."""
    relay = Paced(speed)
    sent = [bytes([number]) * (200 << 10) for number in range(4)]
    for data in sent:
        relay.from_server(data)
    for _ in range(10_000):
        if not relay._behind:
            break
        await asyncio.sleep(0)
    assert b"".join(relay.pieces) == b"".join(sent)
    assert not relay._behind
    assert relay.pauses.count("pause") == relay.pauses.count("resume")
    later = relay.turns[5:]
    assert max(later, default=0) <= max(2.5 * TURN, 2 * SHORTEST * speed)


async def test_what_comes_meanwhile_waits_and_a_lost_target_is_heard_out() -> None:
    """While an answer is behind, what the target sends is kept in order, and its going is noticed after its last word."""
    relay = Paced(1e-6)
    relay.from_server(b"a" * 100_000)
    assert relay._behind
    relay.from_server(b"b" * 10)
    relay.server_lost(None)
    assert relay._lost
    relay._closing = relay.client_gone = True
    assert relay.gone == []
    for _ in range(1000):
        await asyncio.sleep(0)
    assert b"".join(relay.pieces) == b"a" * 100_000 + b"b" * 10
    assert relay.gone == ["settled", "the client left"]


@pytest.mark.parametrize("speed", [1e-9, 1e-6, 1e-5])
async def test_what_a_client_sends_takes_turns(speed: float) -> None:
    """A client's bytes are taken a few at a time, in order, and the client is not read meanwhile: others have their turn."""
    relay = Paced(speed)
    sent = [bytes([number]) * (100 << 10) for number in range(3)] + [b"short"]
    for data in sent:
        relay.from_client(data)
    for _ in range(10_000):
        if not relay._client_behind:
            break
        await asyncio.sleep(0)
    assert b"".join(relay.pieces) == b"".join(sent)
    assert max(map(len, relay.pieces)) <= HEARD
    assert relay.pauses.count("pause") == relay.pauses.count("resume")
    assert relay._client_paused == set()
    assert max(relay.turns) <= TURN + HEARD * speed
