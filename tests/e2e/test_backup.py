"""Backup and restore on real files: one moment of a gateway that runs, whole or not at all, and an old one is no secret."""

from __future__ import annotations

import asyncio
import errno
import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pyrage
import pytest

from doorward.adapters.blobs import backup as backups
from doorward.adapters.blobs.files import turn
from doorward.adapters.clock import SystemClock
from doorward.app import Gateway
from doorward.cli.backup import restore_command
from doorward.cli.main import run
from doorward.cli.output import RefusedError
from doorward.config import load
from doorward.errors import ConfigError, IntegrityError, UpstreamError
from doorward.guard.keyring import Keyring
from doorward.guard.reader import RecordReader
from doorward.ledger.verify import Status
from tests.suites.lives import Disk, a_session
from tests.unit.guard.test_retention import readable, report, session

IDENTITY = pyrage.x25519.Identity.generate()
CONFIG = """
[gateway]
data = "data"
[listen.postgres]
port = 0
plaintext = true
[listen.http]
port = 0
plaintext = true
[[issuers]]
url = "http://127.0.0.1:1"
audience = "doorward"
development = true
[policy]
files = ["policies/*.cedar"]
"""


@pytest.fixture
def place(tmp_path: Path) -> Path:
    """A configuration, a policy and a key to open backups with."""
    (tmp_path / "doorward.toml").write_text(CONFIG)
    (tmp_path / "policies").mkdir()
    (tmp_path / "policies" / "all.cedar").write_text('@id("in") permit (principal, action == Action::"connect", resource);\n')
    (tmp_path / "identity").write_text(f"# a comment\n{IDENTITY}\n")
    return tmp_path


def write(place: Path, out: str = "out.age") -> backups.Backup:
    clock = SystemClock()
    made, _ = backups.write(
        place / "data", place / out, [IDENTITY.to_public()], id_=clock.new_id(), now=clock.now(),
        config=[("doorward.toml", place / "doorward.toml")],
    )  # fmt: skip
    return made


async def restore(place: Path, out: str = "out.age", **more: Any) -> int:
    return await asyncio.to_thread(restore_command, place / out, data=place / "back", identity=place / "identity", **more)


async def test_a_backup_of_a_gateway_that_runs_is_one_moment(place: Path) -> None:
    """Sessions open, close and fold meanwhile; what comes back is sound, each recording in it opens, an open one is cut where
    the log knows of it."""
    disk = Disk(place / "data")
    await disk.open()
    recorder = disk.recorder()
    await recorder.start()
    done, stop = [await session(recorder) for _ in range(3)], asyncio.Event()
    half = await recorder.session(a_session())
    half.response(b"masked answer")
    half.cut()
    while not half._hashes:
        await asyncio.sleep(0.01)
    await recorder.fold()
    empty = await recorder.session(a_session())
    await recorder.fold()

    async def busy() -> None:
        while not stop.is_set():
            await session(recorder)
            half.response(b"later")
            half.cut()
            await asyncio.sleep(0)

    async with asyncio.TaskGroup() as group:
        group.create_task(busy())
        made = await asyncio.to_thread(write, place)
        stop.set()
    await recorder.stop()
    now = await disk.store.head()
    assert now is not None
    assert now.size > made.size
    await disk.close()
    assert await restore(place) == 0
    back = Disk(place / "back")
    await back.open()
    assert report(back).status is Status.SOUND
    assert all([await readable(back, each) for each in (*done, half.session.id)])
    row = await back.store.session(empty.session.id)
    assert row is not None
    assert row.state == "open"
    recorder = back.recorder()
    recovery = await recorder.start()
    assert (recovery.crashed, recovery.sessions) == (True, 2)
    await session(recorder)
    await recorder.stop()
    assert report(back).status is Status.SOUND
    await back.close()
    assert not list(place.glob("data/backup*"))


async def recorded(place: Path, folder: str = "data") -> tuple[Disk, str]:
    disk = Disk(place / folder)
    await disk.open()
    recorder = disk.recorder()
    await recorder.start()
    one = await session(recorder)
    await recorder.stop()
    return disk, one


async def test_a_gateway_goes_on_from_an_old_state_only_when_somebody_says_why(
    place: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Until then it does not start; then it says so on record first, with how much is lost."""

    async def life() -> None:
        await Gateway(load(place / "doorward.toml")).run(lambda gateway: gateway.stop(), signals=False)

    await life()
    made = write(place)
    await life()
    latest = place / "latest"
    latest.write_bytes((place / "data" / "log" / "checkpoint").read_bytes())
    assert await restore(place) == 0
    assert "does not start from it until you say why" in capsys.readouterr().err
    (place / "doorward.toml").write_text(CONFIG.replace('"data"', '"back"'))
    with pytest.raises(ConfigError, match="was restored"):
        await life()
    assert restore_command(data=place / "back", declare="the disk died", latest=latest, as_json=True) == 0
    capsys.readouterr()
    await life()
    back = Disk(place / "back")
    await back.open()
    reader = RecordReader(back.store, back.recordings, Keyring(back.keys))
    (said,) = [opened.event.body async for opened in reader.events(types=("backup.restored",))]
    assert (said["backup"], said["size"], said["reason"]) == (made.id, made.size, "the disk died")
    assert said["lost"] > 0
    assert report(back).status is Status.SOUND
    await back.close()
    assert not (place / "back" / backups.MARKER).exists()
    with pytest.raises(RefusedError):
        restore_command(data=place / "back", declare="again")


_ALSO = pytest.mark.campaign


@pytest.mark.parametrize(
    "how", ["cut", "other", *(pytest.param(how, marks=_ALSO) for how in ("flip", "append", "named"))]
)
async def test_what_is_not_the_whole_backup_is_refused(place: Path, how: str) -> None:
    """Altered anywhere, cut, longer, for somebody else, or into a directory that has something: nothing is left."""
    disk, _ = await recorded(place)
    await disk.close()
    write(place)
    out, octets = place / "out.age", (place / "out.age").read_bytes()
    if how == "flip":
        octets = octets[: len(octets) // 2] + bytes((octets[len(octets) // 2] ^ 1,)) + octets[len(octets) // 2 + 1 :]
    elif how == "cut":
        octets = octets[:-100_000]
    elif how == "append":
        octets += b"x"
    elif how == "other":
        (place / "identity").write_text(f"{pyrage.x25519.Identity.generate()}\n")
    else:
        (place / "back").mkdir()
        (place / "back" / "thing").write_text("x")
    out.write_bytes(octets)
    with pytest.raises((IntegrityError, ConfigError)):
        await restore(place)
    assert not (place / "back.restoring").exists()
    assert (place / "back").exists() is (how == "named")


async def test_what_does_not_fit_together_is_refused_and_a_lost_key_is_named(
    place: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """A recording that was cut or a log that was cut back stays out; a month whose key is gone is said by name, and the rest is
    there."""
    disk, one = await recorded(place)
    await disk.close()
    path = next((place / "data" / "recordings").rglob(f"{one}.dwr"))
    whole = path.read_bytes()
    path.write_bytes(whole[:-1])
    write(place, "cut.age")
    with pytest.raises(IntegrityError, match="not sound"):
        await restore(place, "cut.age")
    path.write_bytes(whole)
    (lost,) = (place / "data" / "keys").glob("kek.std-13m.*")
    lost.unlink()
    write(place, "lost.age")
    assert await restore(place, "lost.age", as_json=True) == 1
    assert json.loads(capsys.readouterr().out)["lost_epochs"] == [lost.name.removeprefix("kek.")]


async def test_a_hostile_archive_writes_nowhere_else(place: Path) -> None:
    """Paths that lead out, links, devices, names twice, and a manifest of its own: refused before anything is outside."""
    import io
    import tarfile

    first = json.dumps({
        "id": "x", "version": 1, "made_at": 0, "origin": "o", "size": 0, "root": "", "checkpoint": "",
    }).encode()  # fmt: skip
    for name, kind in (
        ("../outside", tarfile.REGTYPE), ("/tmp/outside", tarfile.REGTYPE), ("a/../../outside", tarfile.REGTYPE),
        ("link", tarfile.SYMTYPE), ("link", tarfile.LNKTYPE), ("dir", tarfile.DIRTYPE), ("fifo", tarfile.FIFOTYPE),
        ("restored.json", tarfile.REGTYPE), ("twice", tarfile.REGTYPE), ("./x", tarfile.REGTYPE),
    ):  # fmt: skip
        packed = io.BytesIO()
        with tarfile.open(fileobj=packed, mode="w") as tar:
            entry = tarfile.TarInfo("backup.json")
            entry.size = len(first)
            tar.addfile(entry, io.BytesIO(first))
            for _ in range(2):
                entry = tarfile.TarInfo(name)
                entry.type, entry.linkname = kind, "/etc/passwd"
                tar.addfile(entry)
        (place / "bad.age").write_bytes(pyrage.encrypt(packed.getvalue(), [IDENTITY.to_public()]))
        with pytest.raises((IntegrityError, OSError)):
            await restore(place, "bad.age")
        assert not (place / "outside").exists()
        assert not (place / "back.restoring").exists()


@pytest.mark.parametrize("at", [2, *(pytest.param(at, marks=_ALSO) for at in (0, 1, 3))])
async def test_a_full_disk_leaves_no_half_backup(place: Path, at: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """Whichever write it is: nothing has the backup's name, nothing is left of the snapshot, and the gateway's lock is free."""
    disk, _ = await recorded(place)
    await disk.close()

    def full(source: Any, sink: Any, recipients: Any) -> None:
        for _ in range(at):
            sink.write(source.read(1 << 16))
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(pyrage, "encrypt_io", full)
    with pytest.raises(OSError, match="No space"):
        write(place)
    monkeypatch.undo()
    assert not list(place.glob("out.age*"))
    assert not (place / "data" / "backup.tmp").exists()
    write(place)
    with pytest.raises(ConfigError, match="there already"):
        write(place)


async def test_a_backup_waits_for_no_half_step_and_no_deletion(place: Path) -> None:
    """While something is deleted, there is none; nor of a log whose last step is not finished."""
    disk, _ = await recorded(place)
    await disk.close()
    deleting = turn(place / "data", backups.DELETING)
    deleting.take()
    with pytest.raises(UpstreamError, match="being deleted"):
        write(place)
    deleting.release()
    checkpoint = place / "data" / "log" / "checkpoint"
    checkpoint.write_bytes(checkpoint.read_bytes() + b"\n")
    with pytest.raises(UpstreamError, match="middle of a step"):
        write(place)


@pytest.mark.campaign
async def test_killed_in_the_middle_it_is_made_anew(place: Path) -> None:
    """kill -9 while it writes: no backup has the name, the next one is whole, and takes no notice of what was left."""
    disk, one = await recorded(place)
    await disk.close()
    os.mkfifo(place / "data" / "keys" / "stuck")  # is not read: no file
    big = place / "data" / "keys" / "big"
    big.write_bytes(bytes(50 << 20))
    big.chmod(0o600)
    key = str(IDENTITY.to_public())
    command = [sys.executable, "-m", "doorward", "backup", "out.age", "--recipient", key]
    process = subprocess.Popen(command, cwd=place, stdout=subprocess.DEVNULL)
    deadline = time.monotonic() + 60
    while not list(place.glob("out.age.partial")) and process.poll() is None and time.monotonic() < deadline:
        await asyncio.sleep(0.005)
    process.send_signal(signal.SIGKILL)
    process.wait()
    assert not (place / "out.age").exists()
    big.unlink()
    (place / "out.age.partial").touch()
    made = write(place)
    assert await restore(place) == 0
    back = Disk(place / "back")
    await back.open()
    assert await readable(back, one)
    await back.close()
    assert made.size > 0


@pytest.mark.campaign  # a passphrase is stretched for a second, three times
async def test_a_passphrase_and_the_commands(place: Path, capsys: pytest.CaptureFixture[str], monkeypatch: Any) -> None:
    """`doorward backup` and `doorward restore`, with a passphrase; configuration and policies are in it."""
    disk, one = await recorded(place)
    await disk.close()
    monkeypatch.chdir(place)
    (place / "words").write_text("four words and more\n")
    (place / "wrong").write_text("some other words\n")
    assert await asyncio.to_thread(run, ["backup", "out.age", "--passphrase-file", "words", "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["size"] > 0
    restored = ["restore", "out.age", "--data", "back", "--json", "--passphrase-file"]
    assert await asyncio.to_thread(run, [*restored, "wrong"]) == 1
    assert await asyncio.to_thread(run, [*restored, "words"]) == 0
    assert json.loads(capsys.readouterr().out)["lost_epochs"] == []
    assert (place / "back" / "config" / "doorward.toml").read_text() == CONFIG
    assert "permit" in (place / "back" / "config" / "policies" / "all.cedar").read_text()
    assert b"SECRET" not in (place / "out.age.key").read_bytes()
    assert oct((place / "out.age").stat().st_mode & 0o777) == "0o600"
    for wrong in (["backup", "x.age"], ["backup", "x.age", "--recipient", "age1x"], ["restore", "--data", "back"]):
        assert await asyncio.to_thread(run, wrong) == 3
    assert one
