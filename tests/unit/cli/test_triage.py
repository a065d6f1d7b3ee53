"""`doorward log fork-triage`: who knows more, and who another history, from files alone."""

from __future__ import annotations

from pathlib import Path

import pytest

from doorward.adapters.blobs.evidence import DirectoryEvidence
from doorward.cli.triage import FITS, MORE, OTHER, SILENT, Seen, Triage, _Local, advice
from doorward.ledger import tree
from doorward.ledger.checkpoint import NoteVerifier, sign_checkpoint
from vectors.make import ORIGIN, OTHER_VKEY, SIGNER, VKEY, leaves, write_record

NODE = tree.nodes([tree.leaf_hash(entry) for entry in leaves()])


@pytest.fixture
def local(tmp_path: Path) -> _Local:
    write_record(tmp_path)
    return _Local(DirectoryEvidence(tmp_path), [NoteVerifier(VKEY)])


@pytest.mark.parametrize(
    ("size", "root", "state"),
    [(7, None, FITS), (3, None, FITS), (0, None, FITS), (9, bytes(32), MORE), (3, bytes(32), OTHER), (7, bytes(32), OTHER)],
)
def test_compared(local: _Local, size: int, root: bytes | None, state: str) -> None:
    """A checkpoint of our key is what is here, or before it, or more, or another."""
    note = sign_checkpoint(ORIGIN, size, tree.root_of(size, NODE) if root is None else root, [SIGNER])
    assert local.note("somebody", note).state == state


def test_what_nobody_signed(local: _Local, tmp_path: Path) -> None:
    """A checkpoint of another key says nothing, and neither does one that is none; a log whose tiles are wrong is named."""
    stranger = _Local(DirectoryEvidence(tmp_path), [NoteVerifier(OTHER_VKEY)])
    assert (stranger.whole, "wrong" in stranger.why or "no known key" in stranger.why) == (False, True)
    assert local.note("somebody", b"x").state == SILENT
    tile = next((tmp_path / "log/tile/0").rglob("7"))
    tile.write_bytes(bytes(len(tile.read_bytes())))
    assert _Local(DirectoryEvidence(tmp_path), [NoteVerifier(VKEY)]).whole is False


@pytest.mark.parametrize(
    ("states", "words", "code"),
    [([FITS, FITS], "Everybody agrees", 0), ([FITS, MORE], "PUT BACK. 5 entries", 1), ([MORE, OTHER], "FORK", 1),
     ([FITS, SILENT], "not everybody", 2)],
)  # fmt: skip
def test_advice(states: list[str], words: str, code: int) -> None:
    """What it comes to, and the exit code."""
    seen = [Seen(state, 12 if state == MORE else 7, "00", state, "down" if state == SILENT else "") for state in states]
    found = Triage(7, seen, 3, 7 if OTHER in states else None)
    assert (words in advice(found), found.exit_code) == (True, code)
