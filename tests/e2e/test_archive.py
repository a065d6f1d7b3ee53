"""Copies of the evidence in a real S3 with Object Lock: each made once, verifiable by itself, and nobody's to change; without
the bucket the gateway works for as long as it was told, and no longer."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Any

import obstore
import pytest

from doorward.adapters.blobs.bucket import AT_ONCE, LocalCursor, S3Bucket
from doorward.adapters.blobs.evidence import DirectoryEvidence
from doorward.app import running
from doorward.config import load
from doorward.errors import ConfigError, IntegrityError, UpstreamError
from doorward.guard.archive import Archive
from doorward.guard.recorder import Recorder
from doorward.ledger.checkpoint import NoteVerifier
from doorward.ledger.verify import Status, verify
from tests.e2e.test_backup import CONFIG
from tests.memory.files import MemoryTurn
from tests.rig.seaweed import ID, KEY, REGION, Seaweed
from tests.suites.lives import CLOCK, Disk, a_session
from tests.unit.guard.test_retention import session

pytestmark = pytest.mark.campaign  # the server takes seconds to start


@pytest.fixture(scope="module")
def seaweed() -> Seaweed:
    return Seaweed()


@pytest.fixture
def url(seaweed: Seaweed) -> str:
    name = f"evidence-{CLOCK.new_id()}"
    seaweed.bucket(name)
    return f"s3://{name}/gw-1"


def bucket(seaweed: Seaweed, url: str) -> S3Bucket:
    return S3Bucket(url, endpoint=seaweed.url, region=REGION, access_key=ID, secret_key=KEY)


def archive(recorder: Recorder, disk: Disk, to: Any, tmp_path: Path, **more: Any) -> Archive:
    return Archive(recorder, disk.log, to, LocalCursor(tmp_path), MemoryTurn(), **more)


def fetched(to: S3Bucket, folder: Path) -> dict[str, Any]:
    """Everything in the bucket, as files; by path, what the bucket says of it."""
    found = {}
    for page in obstore.list(to._store):
        for each in page:
            path = folder / each["path"]
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(bytes(obstore.get(to._store, each["path"]).bytes()))
            found[each["path"]] = each
    return found


async def test_what_is_sealed_is_copied_once_and_nobody_changes_it(seaweed: Seaweed, url: str, tmp_path: Path) -> None:
    """The copy verifies by itself; a second round, and one that has forgotten how far it was, change nothing; what is there is
    deleted and written over by nobody, and something else under a path is a trouble."""
    disk, to = Disk(tmp_path / "data"), bucket(seaweed, url)
    await disk.open()
    recorder = disk.recorder()
    await recorder.start()
    copies = archive(recorder, disk, to, tmp_path)
    one = await session(recorder)
    assert await copies.once()
    still = await recorder.session(a_session())
    two = await session(recorder)
    for _ in range(300):
        recorder.append_event("policy.changed", {})
    await recorder.wal.flush()
    await recorder.fold()
    assert await copies.once()
    await still.close({"reason": "done"})
    await recorder.fold()
    assert await copies.once()
    found = fetched(to, tmp_path / "copy")
    assert {Path(path).stem for path in found if path.endswith(".dwr")} == {one, two, still.session.id}
    checkpoints = sorted((tmp_path / "copy" / "log" / "checkpoints").iterdir())
    assert len(checkpoints) == 3
    (tmp_path / "copy" / "log" / "checkpoint").write_bytes(checkpoints[-1].read_bytes())
    source = DirectoryEvidence(tmp_path / "copy")
    assert verify(source, [NoteVerifier(source.vkey() or "")]).status is Status.SOUND
    (tmp_path / "archived.json").unlink()
    assert await copies.once()
    assert await copies.once()
    again = fetched(to, tmp_path / "again")
    assert {path: each["version"] for path, each in again.items()} == {path: each["version"] for path, each in found.items()}
    path = next(path for path in found if path.endswith(f"{one}.dwr"))
    name = url.removeprefix("s3://").partition("/")[0]
    version = obstore.head(to._store, path)["version"]
    assert seaweed.call("DELETE", f"/{name}/gw-1/{path}", f"versionId={version}") == 403
    assert seaweed.call(
        "DELETE", f"/{name}/gw-1/{path}", f"versionId={version}", x_amz_bypass_governance_retention="true"
    ) == 403
    with pytest.raises(IntegrityError, match="something else"):
        to.put_recording(one, iter((b"another",)))
    await recorder.stop()
    await disk.close()


async def test_a_large_recording_goes_in_parts(seaweed: Seaweed, url: str) -> None:
    """In bounded memory; a second time it is compared."""
    to, name = bucket(seaweed, url), CLOCK.new_id()

    def pieces(last: bytes) -> Any:
        for _ in range(AT_ONCE // (1 << 20) + 5):
            yield bytes(1 << 20)
        yield last

    to.put_recording(name, pieces(b"x"))
    to.put_recording(name, pieces(b"x"))
    with pytest.raises(IntegrityError):
        to.put_recording(name, pieces(b"y"))


async def test_without_the_bucket_it_works_for_a_while(seaweed: Seaweed, url: str, tmp_path: Path) -> None:
    """Nothing is lost meanwhile; when it has been away for too long nothing new may run, and when it is back all goes on."""
    disk = Disk(tmp_path / "data")
    await disk.open()
    recorder = disk.recorder()
    await recorder.start()
    heard: list[str] = []
    away = S3Bucket("s3://evidence-none/x", endpoint="http://127.0.0.1:1", region=REGION, access_key=ID, secret_key=KEY)
    copies = archive(recorder, disk, away, tmp_path, behind=3600.0, heard=heard.append)
    copies._works_at = CLOCK.monotonic()
    await session(recorder)
    assert not await copies.once()
    assert recorder.healthy() is None
    await session(recorder)
    copies._works_at -= 7200
    assert not await copies.once()
    assert bool(recorder.failed) is True
    assert "the archive" in (recorder.healthy() or "")
    with pytest.raises(UpstreamError):
        await session(recorder)
    copies._bucket = bucket(seaweed, url)
    assert await copies.once()
    assert (recorder.failed, recorder.healthy(), heard[-1]) == (False, None, "")
    await session(recorder)
    assert await copies.once()
    assert len([path for path in fetched(bucket(seaweed, url), tmp_path / "copy") if path.endswith(".dwr")]) == 3
    await recorder.stop()
    await disk.close()


def test_what_is_no_bucket() -> None:
    with pytest.raises(ConfigError):
        S3Bucket("https://example.com")


async def test_a_gateway_with_an_archive(
    seaweed: Seaweed, url: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It copies what it records as it goes, with keys from where the configuration says."""
    monkeypatch.setenv("ARCHIVE_ID", ID)
    monkeypatch.setenv("ARCHIVE_KEY", KEY)
    said = f'[archive]\nurl = "{url}"\nendpoint = "{seaweed.url}"\nevery = "1s"\nbehind = "1h"\n'
    said += 'access_key = "env:ARCHIVE_ID"\nsecret_key = "env:ARCHIVE_KEY"\n'
    (tmp_path / "doorward.toml").write_text(CONFIG + said)
    (tmp_path / "policies").mkdir()
    (tmp_path / "policies" / "all.cedar").write_text('@id("in") permit (principal, action == Action::"connect", resource);\n')
    async with running(load(tmp_path / "doorward.toml")):
        async with asyncio.timeout(60):
            while LocalCursor(tmp_path / "data").get()[1] == 0:
                await asyncio.sleep(0.05)
    assert "log/vkey" in fetched(bucket(seaweed, url), tmp_path / "copy")
