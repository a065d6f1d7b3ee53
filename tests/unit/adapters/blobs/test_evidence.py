"""A directory as evidence: only regular files inside it are read, and never more than they may hold."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from doorward.adapters.blobs.evidence import DirectoryEvidence
from doorward.ledger.checkpoint import MAX_NOTE

SID = "0194f0e0-0000-7000-8000-00000000000a"


@pytest.fixture
def directory(tmp_path: Path) -> Path:
    (tmp_path / "log/tile/0/000.p").mkdir(parents=True)
    (tmp_path / "log/tile/0/000.p/3").write_bytes(b"hashes")
    (tmp_path / "log/checkpoint").write_bytes(b"note")
    (tmp_path / "log/vkey").write_bytes(b"key\n")
    (tmp_path / "recordings/2025/02").mkdir(parents=True)
    (tmp_path / f"recordings/2025/02/{SID}.dwr").write_bytes(b"x" * 600_000)
    (tmp_path / "recordings/2025/02/notes.txt").write_bytes(b"")
    return tmp_path


def test_reads(directory: Path) -> None:
    """Checkpoint, key, tiles and recordings are found where a gateway keeps them."""
    source = DirectoryEvidence(directory)
    assert (source.checkpoint(), source.vkey(), source.read("tile/0/000.p/3")) == (b"note", "key", b"hashes")
    assert list(source.paths()) == ["tile/0/000.p/3"]
    (recording,) = source.recordings()
    assert (recording.session_id, recording.path) == (SID, f"recordings/2025/02/{SID}.dwr")
    assert b"".join(recording.chunks) == b"x" * 600_000


def test_nothing_there(tmp_path: Path) -> None:
    """An empty directory has no checkpoint, no key, no tiles and no recordings."""
    source = DirectoryEvidence(tmp_path)
    assert (source.vkey(), list(source.paths()), list(source.recordings())) == (None, [], [])
    with pytest.raises(FileNotFoundError):
        source.checkpoint()


@pytest.mark.parametrize("path", ["../../etc/passwd", "/etc/passwd", "tile/0/../../vkey", "vkey", ""])
def test_only_tiles(directory: Path, path: str) -> None:
    """A path that is no tile's reads nothing."""
    with pytest.raises(FileNotFoundError):
        DirectoryEvidence(directory).read(path)


def test_no_links_or_pipes(directory: Path) -> None:
    """A link or a pipe in the place of a file is an error, at once."""
    (directory / "log/checkpoint").unlink()
    (directory / "log/checkpoint").symlink_to("/etc/passwd")
    os.mkfifo(directory / "log/tile/0/000.p/4")
    os.mkfifo(directory / f"recordings/2025/02/{SID[:-1]}b.dwr")
    source = DirectoryEvidence(directory)
    with pytest.raises(OSError):
        source.checkpoint()
    with pytest.raises(OSError, match="not a regular file"):
        source.read("tile/0/000.p/4")
    with pytest.raises(OSError, match="not a regular file"):
        [list(recording.chunks) for recording in source.recordings()]


def test_bounded(directory: Path) -> None:
    """A huge file is read only as far as shows that it is too long."""
    with (directory / "log/checkpoint").open("wb") as file:
        file.truncate(2**40)
    assert len(DirectoryEvidence(directory).checkpoint()) == MAX_NOTE + 1
