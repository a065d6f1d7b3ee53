"""A witness's state and its answers over ASGI: what leaves it is durable, and it never cosigns two histories."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Any

import pytest

from doorward.adapters.blobs.witness import WitnessState
from doorward.errors import ConfigError
from doorward.ledger import tree, witness
from doorward.ledger.checkpoint import NoteVerifier, sign_checkpoint
from doorward.web.witness import WitnessService, witness_application
from vectors.make import ORIGIN, SIGNER, VKEY

LEAVES = [bytes([number]) * 32 for number in range(20)]
AT = 1_800_000_000_000


def submission(old: int, size: int, leaves: list[bytes] = LEAVES) -> bytes:
    node = tree.nodes(leaves)
    note = sign_checkpoint(ORIGIN, size, tree.root_of(size, node), [SIGNER])
    return witness.request(old, tree.consistency_proof(old, size, node), note)


@pytest.fixture
def state(tmp_path: Path) -> WitnessState:
    return WitnessState(tmp_path / "witness")


def service(state: WitnessState) -> WitnessService:
    return WitnessService(state, state.cosigner("w.example.org/1"), [NoteVerifier(VKEY)], lambda: AT)


def call(served: WitnessService, method: str, path: str, body: bytes = b"") -> tuple[int, str, bytes]:
    sent: list[dict[str, Any]] = []
    parts = [body[at : at + 1000] for at in range(0, len(body), 1000)] or [b""]

    async def receive() -> dict[str, Any]:
        part = parts.pop(0)
        return {"type": "http.request", "body": part, "more_body": bool(parts)}

    async def send(message: dict[str, Any]) -> None:
        sent.append(message)

    asyncio.run(witness_application(served)({"method": method, "path": path}, receive, send))
    return sent[0]["status"], dict(sent[0]["headers"])[b"content-type"].decode(), sent[1]["body"]


def test_over_http(state: WitnessState) -> None:
    """What tlog-witness asks for, to the letter: statuses, types, and the published checkpoint."""
    served = service(state)
    path = f"/{witness.origin_hash(ORIGIN)}/checkpoint"
    assert call(served, "GET", path)[0] == 404
    status, _, line = call(served, "POST", "/add-checkpoint", submission(0, 7))
    assert (status, line.startswith("\u2014 w.example.org/1 ".encode())) == (200, True)
    assert call(served, "POST", "/add-checkpoint", submission(3, 9)) == (409, "text/x.tlog.size", b"7\n")
    assert call(served, "POST", "/add-checkpoint", b"x" * 200_000)[0] == 413
    status, _, published = call(served, "GET", path)
    assert (status, published.endswith(line), published.startswith(f"{ORIGIN}\n7\n".encode())) == (200, True, True)
    for other in ("/", "/add-checkpoint", "/../checkpoint", "/%2e%2e/checkpoint", path.upper(), path + "/"):
        assert call(served, "GET", other)[0] == 404


def test_state_outlives_the_process(state: WitnessState) -> None:
    """Started again, it has the key, the name and the checkpoint; a log cut back meanwhile is refused, and so is a fork."""
    first = service(state)
    assert first.add(submission(0, 12)).status == 200
    again = service(WitnessState(state.directory))
    assert again.add(submission(0, 9)).body == b"12\n"
    forked = [*LEAVES[:8], *reversed(LEAVES[8:])]
    assert again.add(submission(12, 15, forked)).status == 422
    assert again.add(submission(12, 15)).status == 200
    assert WitnessState(state.directory).cosigner().vkey == state.cosigner("w.example.org/1").vkey


def test_no_signature_leaves_before_the_state_is_durable(state: WitnessState) -> None:
    """Where the state cannot be written the answer is an error without a signature."""

    class Full(WitnessState):
        def write(self, origin: str, note: bytes) -> None:
            raise OSError("no space left")

    heard: list[int] = []
    served = WitnessService(
        Full(state.directory), state.cosigner("w.example.org/1"), [NoteVerifier(VKEY)], lambda: AT,
        lambda status, origin, said: heard.append(status),
    )  # fmt: skip
    said = served.add(submission(0, 7))
    assert (said.status, b"\xe2\x80\x94" in said.body, heard) == (500, False, [500])
    state.write(ORIGIN, b"not a note")
    assert service(state).add(submission(0, 7)).status == 500


def test_names_and_locks(state: WitnessState, tmp_path: Path) -> None:
    """A name at the first start, no other later; one process at a time."""
    with pytest.raises(ConfigError, match="no name"):
        state.cosigner()
    with pytest.raises(ConfigError, match="--name"):
        state.cosigner("two words")
    state.cosigner("w.example.org/1")
    with pytest.raises(ConfigError, match=r"called w\.example"):
        state.cosigner("w.example.org/2")
    state.lock()
    with pytest.raises(ConfigError, match="another witness"):
        WitnessState(state.directory).lock()
    state.unlock()
    assert (state.directory / "keys" / "witness.key").stat().st_mode & 0o077 == 0
