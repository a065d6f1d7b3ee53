"""The gateway's side of witnessing, over memory: cosigned checkpoints are published, and who knows better stops us."""

from __future__ import annotations

import copy
from collections.abc import Callable
from typing import Any

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from doorward.errors import ConfigError, IntegrityError, UpstreamError
from doorward.guard.recorder import Recorder
from doorward.guard.witnessing import Answered, Witnessing
from doorward.ledger.checkpoint import NoteSigner, NoteVerifier, split_note
from doorward.ledger.cosignature import Cosigner
from doorward.ledger.trust import parse_policy
from doorward.ledger.verify import Status, verify
from doorward.ledger.witness import origin_hash
from doorward.web.witness import WitnessService
from tests.suites.lives import CLOCK, Disk

ORIGIN = "doorward.test/log"
NAMES = ("a", "b", "c")


class Memory:
    """A witness's state."""

    def __init__(self) -> None:
        self.notes: dict[str, bytes] = {}

    def read(self, origin: str) -> bytes | None:
        return self.notes.get(origin_hash(origin))

    def published(self, hashed: str) -> bytes | None:
        return self.notes.get(hashed)

    def write(self, origin: str, note: bytes) -> None:
        self.notes[origin_hash(origin)] = note


class Network:
    """Three witnesses, reached without a network. `lies` replaces answers: (name, url's end) -> answer."""

    def __init__(self) -> None:
        self.cosigners = {
            name: Cosigner(f"{name}.example.org", Ed25519PrivateKey.from_private_bytes(name.encode() * 32)) for name in NAMES
        }
        self.states = {name: Memory() for name in NAMES}
        self.vkey = ""
        self.down: set[str] = set()
        self.lies: Callable[[str, str, Answered], Answered] = lambda name, path, answer: answer

    def policy(self, quorum: str = "group q 2 a b c") -> str:
        lines = [f"witness {name} {self.cosigners[name].vkey} http://{name}" for name in NAMES]
        return "\n".join([*lines, quorum, "quorum q"])

    def _answer(self, url: str, body: bytes | None) -> Answered:
        name, _, path = url.removeprefix("http://").partition("/")
        if name in self.down:
            raise UpstreamError(f"{name} cannot be reached")
        service = WitnessService(self.states[name], self.cosigners[name], [NoteVerifier(self.vkey)], CLOCK.now)
        if body is not None:
            said = service.add(body)
            answer = Answered(said.status, said.body)
        else:
            found = service.published(path.split("/")[0])
            answer = Answered(404, b"") if found is None else Answered(200, found)
        return self.lies(name, path, answer)

    async def get(self, url: str, *, most: int) -> Answered:
        return self._answer(url, None)

    async def post(self, url: str, body: bytes, type: str, *, most: int) -> Answered:  # noqa: A002
        return self._answer(url, body)


class Turn:
    def take(self) -> bool:
        return True

    def release(self) -> None:
        pass


class Clock:
    """Time that a test moves."""

    def __init__(self) -> None:
        self.seconds = 1000.0

    now = staticmethod(CLOCK.now)
    new_id = staticmethod(CLOCK.new_id)

    def monotonic(self) -> float:
        return self.seconds


class World:
    def __init__(self) -> None:
        self.disk = Disk()
        self.network = Network()
        self.clock = Clock()
        self.heard: list[tuple[str, str]] = []
        self.recorder: Recorder

    async def start(self, policy: str = "") -> Witnessing:
        self.recorder = self.disk.recorder()
        await self.recorder.start()
        self.network.vkey = (self.disk.log.read("vkey") or b"").decode().strip()
        witnessing = Witnessing(
            parse_policy((policy or self.network.policy()).encode()), self.network, self.disk.log, Turn(), self.recorder,
            self.clock, every=5, heard=lambda name, why: self.heard.append((name, why)),
        )  # fmt: skip
        await witnessing.start()
        return witnessing

    async def grow(self, count: int = 3) -> None:
        for _ in range(count):
            await self.recorder.event("log.beat", {"sessions": 0, "backlog": 0})
        await self.recorder.fold()

    async def turn(self, witnessing: Witnessing, seconds: float = 6) -> None:
        """What `run` does each second."""
        self.clock.seconds += seconds
        witnessing._look()
        await witnessing._round()

    def report(self) -> Any:
        policy = f"log {self.network.vkey}\n{self.network.policy()}"
        return verify(self.disk.evidence(), [], policy=parse_policy(policy.encode()))


@pytest.fixture
def world() -> World:
    return World()


async def test_published(world: World) -> None:
    """Round after round, what is published is cosigned by all, and the record verifies against the policy."""
    witnessing = await world.start()
    for _ in range(3):
        await world.grow()
        await world.turn(witnessing)
        assert witnessing.size == witnessing.published
    await world.recorder.stop()
    report = world.report()
    assert report.status is Status.SOUND
    assert [each.witness.name[0] for each in report.witnessed.cosignatures] == ["a", "b", "c"]
    assert report.tail == 1  # gateway.stopped
    assert all(each["wrong"] == "" for each in witnessing.state())


async def test_one_is_down(world: World) -> None:
    """A quorum is enough; who is missing is named once, and once more when it is there again, and catches up."""
    world.network.down = {"b"}
    witnessing = await world.start()
    for _ in range(2):
        await world.grow()
        await world.turn(witnessing)
    assert witnessing.size == witnessing.published
    assert world.heard == [("b", "b cannot be reached")]
    world.network.down = set()
    await world.grow()
    await world.turn(witnessing)
    assert world.heard[1:] == [("b", "")]
    lines = split_note(world.disk.log.read("witnessed") or b"")[1]
    assert len(lines) == 4


async def test_overdue(world: World) -> None:
    """Without a quorum for two minutes what needs a person's yes is refused, on record; and no longer once it is back."""
    world.network.down = {"a", "b"}
    witnessing = await world.start()
    await world.grow()
    await world.turn(witnessing)
    await world.turn(witnessing, 113)
    assert (witnessing.overdue(), round(witnessing.waiting)) == ("", 119)
    await world.turn(witnessing, 2)
    assert "121 s" in witnessing.overdue()
    await world.grow()
    world.network.down = set()
    await world.turn(witnessing)
    assert witnessing.overdue() == ""
    await world.recorder.stop()
    assert (world.report().types["log.unwitnessed"], world.report().types["log.witnessed"]) == (1, 1)


def rolled_back(world: World, before: Any) -> None:
    world.disk.log.files = copy.deepcopy(before[0])
    world.disk.store = before[1]


async def test_rolled_back(world: World) -> None:
    """Store and log put back together to an older state: nothing here can tell, one witness can, and it does not start."""
    witnessing = await world.start()
    await world.grow()
    await world.recorder.stop()
    before = copy.deepcopy(world.disk.log.files), copy.deepcopy(world.disk.store)
    witnessing = await world.start()
    await world.grow(5)
    await world.turn(witnessing)
    await world.recorder.stop()
    rolled_back(world, before)
    world.network.down = {"a", "b"}
    with pytest.raises(IntegrityError, match="older state") as caught:
        await world.start()
    assert "fork-triage" in caught.value.hint
    assert caught.value.spot == "log/checkpoint"


async def test_forked(world: World) -> None:
    """The same after which the log went on: another history under the same key. Also when the witness was away at the start."""
    await world.start()
    await world.recorder.stop()
    before = copy.deepcopy(world.disk.log.files), copy.deepcopy(world.disk.store)
    witnessing = await world.start()
    await world.grow(5)
    await world.turn(witnessing)
    await world.recorder.stop()
    rolled_back(world, before)
    world.network.down = set(NAMES)
    witnessing = await world.start()
    await world.grow(40)
    world.network.down = set()
    with pytest.raises(IntegrityError, match="rewritten") as caught:
        await world.turn(witnessing)
    assert "size" in caught.value.spot
    with pytest.raises(IntegrityError, match="rewritten"):
        await witnessing.start()


@pytest.mark.parametrize("kind", ["signature", "size", "nothing", "history", "another"])
async def test_a_witness_that_lies(world: World, kind: str) -> None:
    """Wrong signatures, sizes that it cannot show, histories that we never signed: it is named, and does not count."""

    def lie(name: str, path: str, answer: Answered) -> Answered:
        if name != "a":
            return answer
        if path == "add-checkpoint":
            return {
                "signature": Answered(200, answer.body[:-10] + b"AAAAAAAA=\n"), "size": Answered(409, b"999\n"),
                "nothing": Answered(200, b""), "history": Answered(422, b"no\n"),
                "another": Answered(200, world.network.cosigners["b"].cosign("x\n", 1).encode()),
            }[kind]  # fmt: skip
        stranger = f"{ORIGIN}\n999\n{'A' * 43}=\n\n\u2014 {ORIGIN} {'A' * 91}=\n"
        return Answered(200, stranger.encode()) if kind in ("size", "history") else answer

    world.network.lies = lie
    witnessing = await world.start()
    await world.grow()
    await world.turn(witnessing)
    assert witnessing.size == witnessing.published
    assert [name for name, _ in world.heard] == ["a"]
    assert next(each["wrong"] for each in witnessing.state() if each["name"] == "a")
    assert len(split_note(world.disk.log.read("witnessed") or b"")[1]) == 3


async def test_spoilt_file(world: World) -> None:
    """What is in the place of log/witnessed counts for nothing unless the quorum signed it, and is written anew; a right one
    that is larger than the log stops the gateway."""
    witnessing = await world.start()
    await world.grow()
    await world.turn(witnessing)
    good = world.disk.log.read("witnessed") or b""
    await world.recorder.stop()
    world.disk.log.files["witnessed"] = good[:-30]
    witnessing = await world.start()
    assert witnessing.size == 0
    await world.turn(witnessing)
    assert witnessing.size == witnessing.published
    await world.recorder.stop()


async def test_policy_of_another_log(world: World) -> None:
    """A policy that names logs, and not this one, is a mistake that is said at the start."""
    log = NoteSigner(ORIGIN, Ed25519PrivateKey.from_private_bytes(b"x" * 32))
    with pytest.raises(ConfigError, match="none of them is this one") as caught:
        await world.start(f"log {log.vkey}\n{world.network.policy()}")
    assert world.network.vkey in caught.value.hint
    await world.recorder.stop()
