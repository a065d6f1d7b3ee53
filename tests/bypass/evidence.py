"""One real record, made once, and what an attacker can make of it who has the log's key.

A guard on a memory disk; people with SSH keys and passkeys; grants, broken glass, a death.
"""

from __future__ import annotations

import asyncio
import base64
import functools
import hmac
import json
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from doorward.guard.keyring import Keyring
from doorward.guard.reader import RecordReader
from doorward.guard.turn import Result
from doorward.ledger import checkpoint, tiles, tree
from doorward.ledger.checkpoint import NoteSigner, NoteVerifier
from doorward.ledger.encoding import canonical
from doorward.ledger.verify import Report, verify
from doorward.model import Effect, Permit
from tests.bypass.test_grants import Grants, reviews_of, smashed
from tests.rig.signers import Authenticator, register, sign_and_vote, ssh
from tests.rig.specpack import Evidence, Files, write_pack
from tests.rig.verifier import Folder, spots
from tests.suites.lives import CLOCK, Disk
from tests.unit.guard.test_guard import ADA, DEAN, DORA, SHOP, turn
from tests.unit.ledger.conftest import FilesEvidence

PASSKEY = Authenticator("dean")


async def _sessions(world: Grants) -> None:
    """Two sessions that read, write with an approval (an SSH key; a passkey), are refused, and end; a grant; broken glass."""
    await register(world.approvals.keys, DORA, ssh(DORA.id))
    await world.approvals.keys.register(DEAN, PASSKEY.key(DEAN.id, CLOCK.now()), {})
    for number, voter in enumerate((DORA, DEAN)):
        session = await world.session()
        for _ in range(3):
            read = turn()
            permit = session.admit_now(read)
            assert isinstance(permit, Permit)
            session.settle(Result(read.template, permit, "completed", rows=1, tags=("SELECT 1",)))
        asyncio.get_running_loop().call_soon(session.admit_now, turn(Effect.EXECUTE))  # refused
        gone = asyncio.Event()
        asked = turn(Effect.DEFINE, params=(b"%d" % number,), formats=(0,), oids=(23,))
        assert session.admit_now(asked) is None
        async with asyncio.TaskGroup() as group:
            held = group.create_task(
                session.hold(asked, gone=gone, notify=lambda _: None, preview=_nothing, definitions=_no_definitions)
            )
            approval = await world.waiting()
            if voter is DORA:
                await sign_and_vote(world.approvals, voter, SHOP, approval.id, approve=True, comment="=1+1")
            else:
                request = world.approvals.ballots.request(approval, voter.id, approve=True)
                await world.approvals.vote(
                    voter, SHOP, approval.id, approve=True, request=request.decode(), signature=PASSKEY.vote(request)
                )
        permit = held.result()
        assert isinstance(permit, Permit), permit
        session.settle(Result(asked.template, permit, "completed", tags=("CREATE TABLE",)))
        await session.close("the client left")
    refused = await world.asked()
    await sign_and_vote(world.approvals, DORA, SHOP, refused.id, approve=False, comment="no")
    granted = await world.asked()
    await sign_and_vote(world.approvals, DORA, SHOP, granted.id, approve=True)
    session = await world.session(identity=ADA)
    assert isinstance(await world.run(session, rows=4), Permit)
    await session.close("the client left")
    broken = await smashed(world)
    await world.events()
    request = world.approvals.ballots.request(broken, DORA.id, approve=True, review=True)
    await reviews_of(world).review(
        DORA, SHOP, broken.id, justified=True, request=request.decode(), comment="looked at it",
        signature=ssh(DORA.id).vote(request, world.approvals.keys.gateway),
    )  # fmt: skip


async def _nothing() -> dict[str, Any]:
    return {}


async def _no_definitions() -> str:
    return ""


async def make(directory: Path) -> None:
    """The same record as a data directory, closed."""
    await _make(Disk(directory))


async def _make(disk: Disk) -> tuple[Evidence, bytes]:
    await disk.open()
    world = Grants(disk)
    world.approvals.keys.gateway = world.recorder.gateway
    await world.recorder.start()
    await _sessions(world)
    left_open = await world.session()
    read = turn()
    assert isinstance(left_open.admit_now(read), Permit)
    await world.recorder.wal.flush()
    await world.recorder.fold()
    earlier = world.disk.log.read("checkpoint") or b""
    # It dies here, and starts again: the session that was open is recovered.
    world.recorder.running = False
    for pool in (world.recorder.sealing, world.recorder.wal._pool):
        await asyncio.to_thread(pool.shutdown)
    await world.disk.close()
    world.disk.log.unlock()
    await world.disk.open()
    recorder = world.disk.recorder()
    await recorder.start()
    await recorder.event("policy.changed", {"old": "", "new": ""})
    await recorder.wal.flush()
    await recorder.fold()
    await recorder.stop()
    if world.disk.directory is not None:
        await world.disk.close()
        return Evidence({}), earlier
    keyring = Keyring(world.disk.keys)
    reader = RecordReader(world.disk.store, world.disk.recordings, keyring)
    files: Files = {
        f"log/{path}": octets for path, octets in world.disk.log.files.items() if not path.startswith("staging/")
    }
    keys = {}
    for session, octets in world.disk.recordings.files.items():
        at = int(session.replace("-", "")[:12], 16) // 1000
        files[f"recordings/{_month(at)}/{session}.dwr"] = octets
        key = await reader.key(session)
        assert key is not None
        keys[session] = key
    openings = {opened.index: (opened.record, opened.salt) async for opened in reader.events()}
    return Evidence(files, openings, keys, checkpoint.NoteSigner("doorward.test/log", keyring.log)), earlier


def _month(at: int) -> str:
    return f"{datetime.fromtimestamp(at, UTC):%Y/%m}"


@functools.cache
def evidence() -> tuple[Evidence, bytes]:
    """The record, and a checkpoint of it that was kept elsewhere when it was smaller."""
    return asyncio.run(_make(Disk()))


RECORD, EARLIER = evidence()
assert RECORD.signer is not None
SIGNER: NoteSigner = RECORD.signer
NOW = RECORD.files["log/checkpoint"]
PACK = write_pack(RECORD)
ENTRIES = RECORD.entries
LEAVES = [json.loads(entry) for entry in ENTRIES]
BUNDLE = f"log/tile/entries/000.p/{RECORD.size}"
RECORDINGS = sorted(path for path in RECORD.files if path.startswith("recordings/"))


def ours(files: Files, *kept: bytes) -> Report:
    """What Doorward's own verifier says of a data directory."""
    notes = [(f"kept-{number}", note) for number, note in enumerate(kept)]
    return verify(FilesEvidence(files), [NoteVerifier(SIGNER.vkey)], kept=notes)


def found(folder: Folder, files: Files, *kept: bytes) -> tuple[Any, Any]:
    """The first spot that each verifier names; both must find something, and say the same of whether it is broken."""
    first, second = ours(files, *kept), folder.check(files, SIGNER.vkey, *kept)
    assert first.exit_code == second.code, (first.faults, first.gaps, second.faults, second.gaps)
    assert second.code, "nobody noticed"
    return (first.faults or first.gaps)[0], spots(second)[0]


def found_in_pack(folder: Folder, files: Files, *kept: bytes) -> Any:
    """The first spot that is named in a pack; it must be broken."""
    report = folder.check(files, SIGNER.vkey, *kept)
    assert report.code == 1, (report.faults, report.gaps)
    return report.faults[0]


def flipped(octets: bytes, at: int, bit: int = 0) -> bytes:
    changed = bytearray(octets)
    changed[at] ^= 1 << bit
    return bytes(changed)


def bundle(entries: list[bytes]) -> bytes:
    return b"".join([len(entry).to_bytes(2) + entry for entry in entries])


def chained(leaves: list[dict[str, Any]]) -> list[bytes]:
    """Leaves in this order as entries, each gateway's chain made good: what only who can sign could pass off."""
    entries: list[bytes] = []
    last: dict[str, bytes] = {}
    numbers: dict[tuple[str, str], int] = {}
    for each in leaves:
        at = each["gw"], each["boot"]
        number = numbers[at] = numbers.get(at, -1) + 1
        prev = base64.b64encode(last.get(each["gw"], bytes(32))).decode()
        entries.append(canonical({**each, "seq": number, "prev": prev}))
        last[each["gw"]] = tree.leaf_hash(entries[-1])
    return entries


def signed(entries: list[bytes], rest: Files | None = None) -> Files:
    """A log of these entries under the real key, and the recordings."""

    def read(path: str) -> bytes:
        raise FileNotFoundError(path)

    size, root, written = tiles.grow(0, entries, read)
    files = {
        path: octets for path, octets in (RECORD.files if rest is None else rest).items() if not path.startswith("log/")
    }
    files["log/checkpoint"] = checkpoint.sign_checkpoint(SIGNER.name, size, root, [SIGNER])
    return {**files, **{f"log/{path}": octets for path, octets in written.items()}}


def forged(change: Callable[[int, dict[str, Any]], dict[str, Any] | None], *, drop: tuple[int, ...] = ()) -> Evidence:
    """The record as its owner could have it who changes what events say, or drops them, and commits to it anew.
    `change` gets
    index and event, and returns another event or None."""
    leaves: list[dict[str, Any]] = []
    openings: dict[int, tuple[bytes, bytes]] = {}
    for index, each in enumerate(LEAVES):
        if index in drop:
            continue
        record, salt = RECORD.openings[index]
        event = change(index, json.loads(record))
        if event is not None:
            record = canonical(event)
            text = b"doorward/commit/v1\0" + each["t"].encode() + b"\0" + record
            each = {**each, "at": event["at"], "c": base64.b64encode(hmac.digest(salt, text, "sha256")).decode()}
        openings[len(leaves)] = (record, salt)
        leaves.append(each)
    return Evidence(signed(chained(leaves)), openings, RECORD.keys, SIGNER)


def nth(type_: str, number: int = 0) -> int:
    """The index of the n-th leaf of a type."""
    return [index for index, each in enumerate(LEAVES) if each["t"] == type_][number]


def event(index: int) -> dict[str, Any]:
    return json.loads(RECORD.openings[index][0])  # type: ignore[no-any-return]
