"""The log's key passes to the next: verifiers that know the first follow, and nobody else's note takes them along."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from doorward.cli.evidence.gather import gather
from doorward.errors import IntegrityError, UpstreamError
from doorward.evidence.trust import policy
from doorward.guard.recorder import Recorder
from doorward.ledger.checkpoint import NoteSigner, NoteVerifier, open_checkpoint, sign_checkpoint, split_note
from doorward.ledger.handover import sign_handover
from doorward.ledger.verify import Report, Status, verify
from tests.memory.faults import Fault, Faults, KilledError
from tests.suites.lives import Disk

WEEK = 7 * 86400


async def started(disk: Disk, faults: Faults | None = None) -> Recorder:
    recorder = disk.recorder(faults)
    await recorder.start()
    return recorder


async def beat(recorder: Recorder) -> None:
    await recorder.event("log.beat", {"sessions": 0, "backlog": 0})
    await recorder.fold()


def vkey(disk: Disk) -> str:
    return (disk.log.read("vkey") or b"").decode().strip()


def check(disk: Disk, key: str) -> Report:
    return verify(disk.evidence(), [NoteVerifier(key)])


async def rotated(times: int = 1, overlap: int = WEEK) -> tuple[Disk, list[str]]:
    """A log whose key was changed, and all its verifier keys, the first first."""
    disk = Disk()
    recorder = await started(disk)
    await beat(recorder)
    keys = [vkey(disk)]
    for _ in range(times):
        keys.append(await recorder.rotate_key(overlap, actor="https://idp.test|root"))
        await beat(recorder)
    await recorder.stop()
    return disk, keys


async def test_every_key_leads_to_the_newest() -> None:
    """Whoever was given any key of the log finds it sound, through restarts; the newest key is the one beside the log."""
    disk, keys = await rotated(3)
    recorder = await started(disk)
    await beat(recorder)
    await recorder.stop()
    assert vkey(disk) == keys[-1]
    for key in keys:
        report = check(disk, key)
        assert (report.status, report.faults, report.keys) == (Status.SOUND, [], keys[::-1])
    assert check(disk, keys[0]).types["log.key_rotated"] == 3
    stranger = NoteSigner("doorward.test/log", Ed25519PrivateKey.generate())
    assert check(disk, stranger.vkey).status is Status.BROKEN


async def test_both_sign_for_a_while() -> None:
    """Within the overlap a checkpoint has both signatures, so that a witness which knows only the old key goes on."""
    disk, keys = await rotated()
    lines = split_note(disk.log.read("checkpoint") or b"")[1]
    assert [line.id.hex() for line in lines] == [key.split("+")[1] for key in reversed(keys)]
    disk, keys = await rotated(overlap=-1)
    lines = split_note(disk.log.read("checkpoint") or b"")[1]
    assert [line.id.hex() for line in lines] == [keys[-1].split("+")[1]]
    assert check(disk, keys[0]).status is Status.SOUND


async def test_a_retired_key_signs_nothing_alone() -> None:
    """Who stole the old key cannot go on with the log by it: what comes after the handover is by the new one."""
    disk, keys = await rotated()
    old = NoteSigner("doorward.test/log", recorder_key(disk, "log.key"))
    report = check(disk, keys[0])
    assert report.checkpoint is not None
    forged = sign_checkpoint(old.name, report.checkpoint.size, report.checkpoint.root, [old])
    disk.log.files["checkpoint"] = forged
    report = check(disk, keys[0])
    assert (report.status, report.faults[0].file) == (Status.BROKEN, "log/checkpoint")


def recorder_key(disk: Disk, name: str) -> Ed25519PrivateKey:
    return Ed25519PrivateKey.from_private_bytes(disk.keys.get(name) or b"")


def other(disk: Disk) -> bytes:
    """A handover of the same key to another new one: right in itself, and not what happened."""
    old = NoteSigner("doorward.test/log", recorder_key(disk, "log.key"))
    return sign_handover(old, NoteSigner(old.name, Ed25519PrivateKey.generate()), 2_000_000_000)


@pytest.mark.parametrize(
    "alter",
    [lambda disk, note: None, lambda disk, note: note[:-5], lambda disk, note: note.replace(b"v1", b"v2"),
     lambda disk, note: other(disk), lambda disk, note: note.rpartition("\u2014".encode())[0]],
    ids=["gone", "cut", "changed", "another", "not signed by the new"],
)  # fmt: skip
async def test_altered_notes(alter: Callable[[Disk, bytes], bytes | None]) -> None:
    """A note that is gone, changed, or not the one that the leaf binds: broken, and named, for whoever has the old key."""
    disk, keys = await rotated()
    (path,) = [path for path in disk.log.files if path.startswith("keys/")]
    changed = alter(disk, disk.log.files[path])
    if changed is None:
        del disk.log.files[path]
    else:
        disk.log.files[path] = changed
    report = check(disk, keys[0])
    assert report.status is Status.BROKEN
    assert report.faults[0].file in (f"log/{path}", "log/checkpoint")
    with pytest.raises(IntegrityError):
        await started(disk)


async def test_two_at_once() -> None:
    """Two that make a next key at the same moment: one does, the other is told; the log stays whole."""
    disk = Disk(lanes=2)
    one, two = await started(disk), await started(disk)
    first = vkey(disk)
    note = two.sequencer.handover(2_000_000_000)
    new = await one.rotate_key(WEEK, actor="")
    await two.event("log.key_rotated", {"note": note.decode(), "old": first, "new": new, "until": 0})
    await two.fold()
    again = await two.rotate_key(WEEK, actor="")
    await one.stop()
    await two.stop()
    assert vkey(disk) == again
    report = check(disk, first)
    assert (report.status, report.faults, report.types["log.key_rotated"]) == (Status.SOUND, [], 3)


@pytest.mark.parametrize("fault", [Fault.KILLED, Fault.FINISHED, Fault.FAILED, Fault.PERSISTED])
async def test_dead_at_each_write(fault: Fault) -> None:
    """Killed, or failed, at every write of a change of keys: the next life has the old key or the new one in force, and the log
    is sound for whoever knew the first."""
    for at in range(40):
        disk = Disk()
        recorder = await started(disk)
        await beat(recorder)
        await recorder.stop()
        await disk.close()
        first = vkey(disk)
        faults = Faults()
        recorder = await started(disk, faults)
        await recorder.fold()
        faults.at, faults.fault = len(faults.happened) + at, fault
        done = False
        try:
            await recorder.rotate_key(WEEK, actor="")
            done = len(faults.happened) <= faults.at
        except (KilledError, UpstreamError, OSError):
            pass
        await disk.close()
        disk.log.unlock()
        recorder.sealing.shutdown()
        recorder = await started(disk)
        await beat(recorder)
        await recorder.stop()
        await disk.close()
        report = check(disk, first)
        assert (report.status, report.faults) == (Status.SOUND, []), f"{fault} at {at}"
        assert report.keys[0] == vkey(disk)
        if done:
            assert at > 3
            return
    raise AssertionError("a change of keys has more writes than that")


async def test_packs_are_of_a_log_with_several_keys(tmp_path: Path) -> None:
    """Once only the newest key signs, what gathers evidence signs with it, and opens what the older ones signed."""
    disk = Disk(tmp_path)
    await disk.open()
    recorder = await started(disk)
    await beat(recorder)
    old = (tmp_path / "log/vkey").read_text().strip()
    first = (tmp_path / "log/checkpoint").read_bytes()
    new = await recorder.rotate_key(-1, actor="")
    await beat(recorder)
    await recorder.stop()
    await disk.close()
    async with gather(tmp_path, first) as found:
        assert (found.signer.vkey, [each.vkey for each in found.verifiers]) == (new, [new, old])
        assert found.checkpoint.size == open_checkpoint(first, [NoteVerifier(old)]).size
    assert policy(new, old).decode().count("log ") == 2
