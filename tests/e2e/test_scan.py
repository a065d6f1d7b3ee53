"""`doorward scan` over what a real gateway kept: what is there is found wherever it lies, and what is not is not."""

from __future__ import annotations

import base64
import gzip
import io
import json
import shutil
import time
import zipfile
from pathlib import Path
from typing import Any

import pytest
import zstandard

from doorward.cli.main import run
from tests.rig.gateway import Gateway, launch
from tests.rig.issuer import LocalIssuer
from tests.rig.postgres import PostgresServer
from tests.rig.records import sessions

# No detector knows these, and nothing is labelled: so they are on record, in the clear, and sealed.
SAID = "quetzal-0451977310-nest"
CUT = "hoopoe-8829104417-crest"


@pytest.fixture(scope="module")
def kept(tmp_path_factory: pytest.TempPathFactory, postgres: PostgresServer) -> Path:
    """The data directory of a gateway that was killed, so that its write-ahead log is there, too."""
    issuer = LocalIssuer()
    with launch(tmp_path_factory.mktemp("scan") / "gateway", issuer, postgres) as door:
        with door.connect() as connection:
            connection.execute(f"select '{SAID}'")
            connection.execute("select %s::text", (SAID,))
            # rows of one answer, of which some lie across the ends of segments and records
            connection.execute(f"select n, '{CUT}' from generate_series(1, 20000) n")
        _settled(door)
        with door.connect() as connection:
            connection.execute(f"select '{SAID} again'")
            door.kill()
    issuer.down()
    return door.data


def _settled(door: Gateway) -> None:
    """Until the first session is sealed and in the log."""
    limit = time.monotonic() + 20
    while not any(row["closed_at"] for row in sessions(door, "alice")):
        assert time.monotonic() < limit
        time.sleep(0.05)


def scanned(capsys: pytest.CaptureFixture[str], *arguments: str | Path) -> tuple[int, dict[str, Any]]:
    """The exit code and the JSON of `doorward scan`."""
    code = run(["scan", *map(str, arguments), "--json"])
    return code, json.loads(capsys.readouterr().out)


@pytest.fixture
def lines(tmp_path: Path) -> Path:
    path = tmp_path / "canaries.txt"
    path.write_text(f"{SAID}\n\n{CUT}\n")
    return path


def test_what_is_kept_is_found_in_each_place(kept: Path, lines: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """A value in a statement, a parameter and an answer is found in the recording, sealed and compressed as it is, and in the
    write-ahead log; each row of an answer is counted; the value itself is never printed."""
    code, report = scanned(capsys, kept, "--canaries", lines)
    assert (code, report["status"]) == (1, "found")
    files = {entry["file"].partition("/")[0] for entry in report["found"] if entry["canary"] == "on line 1"}
    assert files >= {"recordings", "wal"}
    places = {entry["place"].partition(", ")[2] for entry in report["found"] if entry["canary"] == "on line 1"}
    assert places >= {"statements", "answers", "parameters"}
    # every row, the statement's own text, and neither twice
    assert 20000 <= report["sightings"] - sum(e["canary"] == "on line 1" for e in report["found"]) <= 60010
    assert run(["scan", str(kept), "--canaries", str(lines)]) == 1
    out = capsys.readouterr().out
    assert "FOUND" in out
    assert SAID not in out
    assert CUT not in out


def test_what_is_not_kept_is_not_found(
    kept: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Values that nobody sent: nothing is found. Where everything could be read, that is exit code 0."""
    copy = tmp_path / "data"
    shutil.copytree(kept, copy)
    monkeypatch.setattr("sys.stdin", io.TextIOWrapper(io.BytesIO(b"kingfisher-5512099471-perch\n")))
    code, report = scanned(capsys, copy, "--canaries", "-")
    assert report["unread"] == []
    assert (code, report["status"], report["sightings"]) == (0, "clean", 0)
    read = report["read"]
    assert min(read[what] for what in ("files", "frames", "pieces", "events", "values")) > 0
    assert read["bytes"] > sum(path.stat().st_size for path in copy.rglob("*") if path.is_file())


def test_what_cannot_be_opened_is_said(kept: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Without keys, with a damaged recording, with a link: nothing found is then exit code 2, and each is named with why."""
    (canaries := tmp_path / "c").write_text("kingfisher-5512099471-perch")
    copy = tmp_path / "data"
    shutil.copytree(kept, copy)
    recording = max((copy / "recordings").rglob("*.dwr"), key=lambda path: path.stat().st_size)
    octets = bytearray(recording.read_bytes())
    octets[-200] ^= 1
    recording.write_bytes(octets)
    (copy / "elsewhere").symlink_to("/etc")
    code, report = scanned(capsys, copy, "--canaries", canaries)
    assert (code, report["status"]) == (2, "incomplete")
    assert {entry["file"].rpartition("/")[2] for entry in report["unread"]} == {recording.name, "elsewhere"}
    (copy / "keys" / "kek.key").unlink()
    code, report = scanned(capsys, copy, "--canaries", canaries)
    assert code == 2
    assert "kek.key" in report["unread"][0]["why"]
    assert not (copy / "keys" / "kek.key").exists()  # a scan makes no keys
    assert run(["scan", str(copy), "--canaries", str(canaries)]) == 2
    shown = capsys.readouterr()
    assert "UNREAD" in shown.out
    assert "not everything could be read" in shown.err


@pytest.mark.parametrize("how", ["plain", "cut", "gzip", "zstd", "zip", "base64", "hex"])
def test_other_files_are_read_and_unpacked(
    kept: Path, tmp_path: Path, lines: Path, capsys: pytest.CaptureFixture[str], how: str
) -> None:
    """A log, a pack, a backup: found with file and offset, unpacked where it is packed, also across two pieces."""
    line = f"what was said: {SAID}x\n".encode()
    before = (b"so much for that\n" * 70000)[: (1 << 20) - 25]  # the value lies across the end of the first piece
    path = tmp_path / "other"
    if how == "zip":
        with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
            archive.writestr("inner.log", before + line)
    else:
        path.write_bytes({
            "plain": lambda: line, "cut": lambda: before + line, "gzip": lambda: gzip.compress(before + line),
            "zstd": lambda: zstandard.compress(before + line), "base64": lambda: base64.b64encode(line),
            "hex": lambda: line.hex().encode(),
        }[how]())  # fmt: skip
    empty = tmp_path / "data"
    empty.mkdir()
    code, report = scanned(capsys, empty, path, "--canaries", lines)
    [found] = report["found"]
    spelling = how if how in ("base64", "hex") else "raw"
    assert (code, found["file"], found["canary"], found["spelling"]) == (1, str(path), "on line 1", spelling)
    if spelling == "raw":
        assert found["at"] == (0 if how == "plain" else len(before)) + 15


@pytest.mark.parametrize(
    ("arguments", "code"), [(["{data}"], 3), (["{data}/none"], 3), (["{data}", "{data}/none"], 3), (["--nothing"], 2),
                            (["{data}", "--canaries", "{data}/none"], 3), (["{data}", "--canaries", "/dev/null"], 3)],
)  # fmt: skip
def test_bad_arguments(tmp_path: Path, arguments: list[str], code: int, capsys: pytest.CaptureFixture[str]) -> None:
    """What cannot be meant is an error that says what to do; nothing to look for is one, too."""
    assert run(["scan", *(argument.format(data=tmp_path) for argument in arguments)]) == code
    assert capsys.readouterr().err.count("\n") == 2
