"""Tiles: paths as C2SP names them, bundles that cannot be misread, and growth in any steps to the same tree."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from doorward.errors import IntegrityError
from doorward.ledger import tiles
from doorward.ledger.tree import (
    EMPTY_ROOT,
    Tree,
    consistency_proof,
    inclusion_proof,
    leaf_hash,
    verify_consistency,
    verify_inclusion,
)


class Log:
    """A log's files, in memory."""

    def __init__(self) -> None:
        self.files: dict[str, bytes] = {}
        self.size, self.root = 0, EMPTY_ROOT

    def read(self, path: str) -> bytes:
        try:
            return self.files[path]
        except KeyError:
            raise FileNotFoundError(path) from None

    def add(self, count: int) -> dict[str, bytes]:
        entries = [b"entry %d" % number for number in range(self.size, self.size + count)]
        self.size, self.root, written = tiles.grow(self.size, entries, self.read, old_root=self.root)
        for path, octets in written.items():
            assert self.files.setdefault(path, octets) == octets, "a file was changed"
        return written


@pytest.mark.parametrize(
    ("path", "level", "index", "width"),
    [
        ("tile/0/000", 0, 0, 256), ("tile/0/x001/x234/067", 0, 1234067, 256), ("tile/2/999.p/1", 2, 999, 1),
        ("tile/1/x001/000.p/255", 1, 1000, 255), ("tile/entries/x001/x234/067.p/8", -1, 1234067, 8),
        ("tile/entries/000", -1, 0, 256),
    ],
)  # fmt: skip
def test_paths(path: str, level: int, index: int, width: int) -> None:
    """Paths are those of tlog-tiles, both ways."""
    assert tiles.parse_path(path) == (level, index, width)
    assert (tiles.bundle_path(index, width) if level < 0 else tiles.tile_path(level, index, width)) == path


@pytest.mark.parametrize(
    "path",
    ["", "tile/0/0", "tile/0/x000/001", "tile/0/000.p/0", "tile/0/000.p/256", "tile/0/000.p/01", "tile/9/000",
     "tile/0/../000", "../tile/0/000", "tile/0/000/",
     "tile/0/001/002", "tile/entries/x001", "tile/0/٠٠٠", "tile/0/000\n"],
)  # fmt: skip
def test_no_paths(path: str) -> None:
    """Nothing else is the path of a tile."""
    with pytest.raises(IntegrityError):
        tiles.parse_path(path)


@settings(max_examples=40, deadline=None)
@given(st.lists(st.integers(0, 700), max_size=6))
def test_growth(steps: list[int]) -> None:
    """However a log grew, its root is the tree's, no file ever changed, and its tiles prove everything."""
    log, tree, earlier = Log(), Tree(), []
    for step in steps:
        tree.extend(leaf_hash(b"entry %d" % number) for number in range(log.size, log.size + step))
        log.add(step)
        assert (log.size, log.root) == (tree.size, tree.root())
        earlier.append((log.size, log.root))
    nodes = tiles.TileNodes(log.size, log.read)
    for size, root in earlier:
        verify_consistency(size, log.size, root, log.root, consistency_proof(size, log.size, nodes))
        for index in {0, size // 2, size - 1} if size else ():
            proof = inclusion_proof(index, log.size, nodes)
            verify_inclusion(leaf_hash(b"entry %d" % index), index, log.size, proof, log.root)


def test_third_level() -> None:
    """65,536 leaves fill a tile of level 1 and begin level 2."""
    log = Log()
    log.add(65_500)
    written = log.add(40)
    assert {"tile/0/255", "tile/0/256.p/4", "tile/1/000", "tile/2/000.p/1"} <= set(written)
    assert tiles.parse_bundle(log.files["tile/entries/256.p/4"])[-1] == b"entry 65539"
    assert tiles.root(log.size, log.read) == log.root


@pytest.mark.parametrize("path", ["tile/entries/001.p/44", "tile/0/001.p/44", "tile/1/000.p/1"])
def test_damaged_edge(path: str) -> None:
    """A log whose right edge is missing, cut or altered does not grow."""
    log = Log()
    log.add(300)
    good = log.files[path]
    altered = good[:-1] + bytes([good[-1] ^ 1])
    damages: list[bytes | None] = [None, good[:-1], good + b"\0" * 32, altered]
    for damage in damages:
        log.files.pop(path)
        if damage is not None:
            log.files[path] = damage
        with pytest.raises(IntegrityError):
            log.add(1)
        log.files[path] = good
    log.add(1)


@given(st.lists(st.binary(min_size=1, max_size=50), min_size=1, max_size=256))
def test_bundle_round_trip(entries: list[bytes]) -> None:
    """A bundle says exactly its entries."""
    assert tiles.parse_bundle(tiles.encode_bundle(entries)) == entries


@pytest.mark.parametrize(
    "bundle",
    [b"", b"\0", b"\0\0", b"\0\5abcd", b"\x10\x01" + b"x" * 4097, b"\xff\xff" + b"x" * 65535, b"\0\1x" * 257,
     b"\0\1x\0"],
)  # fmt: skip
def test_bad_bundles(bundle: bytes) -> None:
    """A bundle that is cut, empty, too long, or holds an entry no log may have is an IntegrityError."""
    with pytest.raises(IntegrityError):
        tiles.parse_bundle(bundle)


@given(st.binary(max_size=300))
def test_bundle_total(bundle: bytes) -> None:
    """Any bytes are either a bundle's only spelling or an IntegrityError."""
    try:
        entries = tiles.parse_bundle(bundle)
    except IntegrityError:
        return
    assert tiles.encode_bundle(entries) == bundle


@pytest.mark.parametrize("entries", [[], [b""], [b"x" * 4097], [b"x"] * 257])
def test_no_bundle(entries: list[bytes]) -> None:
    """Nor is one written."""
    with pytest.raises(ValueError):
        tiles.encode_bundle(entries)
