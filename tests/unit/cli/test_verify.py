"""`doorward verify` over a directory: exit codes, what is printed, and whose key is believed."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from doorward.cli.verify import verify_command
from doorward.errors import ConfigError
from vectors.make import OTHER_VKEY, VKEY, write_record


@pytest.fixture
def data(tmp_path: Path) -> Path:
    write_record(tmp_path / "data")
    return tmp_path / "data"


def flip(path: Path, at: int) -> None:
    octets = bytearray(path.read_bytes())
    octets[at] ^= 1
    path.write_bytes(octets)


def test_sound(data: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """A sound record: exit 0, with the key given as a line, as a file, or taken from beside the log (and said so)."""
    key = data.parent / "published"
    key.write_text(VKEY + "\n")
    for vkey in (VKEY, str(key)):
        assert verify_command(data, vkey, False, None) == 0
        assert "as given" in capsys.readouterr().out
    assert verify_command(data, None, False, data / "log/checkpoint") == 0
    out = capsys.readouterr().out
    assert "SOUND" in out
    assert "give --vkey" in out
    assert "kept elsewhere" in out


def test_broken(data: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """A flipped byte: exit 1, and the file and the place are printed, for people and as JSON."""
    recording = sorted((data / "recordings").rglob("*.dwr"))[0]
    flip(recording, recording.stat().st_size - 5)
    shown = recording.relative_to(data).as_posix()
    assert verify_command(data, VKEY, False, None) == 1
    out = capsys.readouterr().out
    assert "BROKEN" in out
    assert shown in out
    assert "segment" in out
    assert verify_command(data, VKEY, True, None) == 1
    report = json.loads(capsys.readouterr().out)
    assert (report["status"], report["faults"][0]["file"]) == ("broken", shown)


def test_every_byte_of_the_key(data: Path) -> None:
    """A flipped byte in the key beside the log is found, with or without a key given."""
    path = data / "log/vkey"
    good = path.read_bytes()
    for at in range(len(good)):
        flip(path, at)
        assert verify_command(data, VKEY, True, None) == 1
        assert verify_command(data, None, True, None) == 1
        path.write_bytes(good)


def test_another_key(data: Path) -> None:
    """A record signed by another key than the one given is broken, whatever key lies beside it."""
    assert verify_command(data, OTHER_VKEY, True, None) == 1
    (data / "log/vkey").unlink()
    assert verify_command(data, OTHER_VKEY, True, None) == 1
    assert verify_command(data, VKEY, True, None) == 0


def test_incomplete(data: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """No key, no checkpoint, an unreadable file: exit 2, never 0."""
    (data / "log/vkey").unlink()
    assert verify_command(data, None, False, None) == 2
    (data / "log/checkpoint").unlink()
    assert verify_command(data, VKEY, False, None) == 2
    (data / "log/checkpoint").symlink_to("/dev/zero")
    assert verify_command(data, VKEY, False, None) == 2
    (tmp_path / "empty").mkdir()
    assert verify_command(tmp_path / "empty", VKEY, False, None) == 2
    assert capsys.readouterr().out.count("INCOMPLETE") == 4


def test_bad_arguments(data: Path) -> None:
    """An argument that names nothing usable is a ConfigError with a word of help."""
    for vkey, directory, kept in (
        ("nonsense", data, None), (VKEY[:-5], data, None), (VKEY, data / "absent", None), (VKEY, data, data / "absent"),
    ):  # fmt: skip
        with pytest.raises(ConfigError):
            verify_command(directory, vkey, False, kept)


def test_hostile_names(data: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """A file's name cannot send control sequences to the terminal."""
    (data / "recordings" / "\x1b[2J.dwr").write_bytes(b"")
    assert verify_command(data, VKEY, False, None) == 1
    assert "\x1b" not in capsys.readouterr().out
