"""One real record, made once: a guard on a memory disk, people with SSH keys and passkeys, grants, broken glass, a death."""

from __future__ import annotations

import asyncio
import functools
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from doorward.guard.keyring import Keyring
from doorward.guard.reader import RecordReader
from doorward.guard.turn import Result
from doorward.ledger import checkpoint
from doorward.model import Effect, Permit
from tests.bypass.test_grants import Grants, reviews_of, smashed
from tests.rig.signers import Authenticator, register, sign_and_vote, ssh
from tests.rig.specpack import Evidence, Files
from tests.suites.lives import CLOCK, Disk
from tests.unit.guard.test_guard import ADA, DEAN, DORA, SHOP, turn

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
