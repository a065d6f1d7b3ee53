"""The log as plain files: C2SP tlog-tiles.

A tile of level L holds up to 256 hashes, each the root of 256^L leaves; an entry bundle holds up to 256 leaves, each a
big-endian u16 length and the bytes. What is not full yet has its width in its name (`tile/0/001.p/7`), so that no file
is ever changed once written. Paths are relative to the log's directory.

`grow` says which files a batch of new leaves adds; it does not write them, and it does not sign the root.
Bundles are stored as they are, not compressed: the verifier hashes stored bytes.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Sequence
from hashlib import sha256
from typing import Final, NamedTuple

from doorward.errors import IntegrityError
from doorward.ledger.tree import HASH_SIZE, leaf_hash, root_of
from doorward.ledger.tree import MAX_SIZE as MAX_TREE

WIDTH: Final = 256
MAX_ENTRY: Final = 4096  # tlog-tiles allows 65,535; our leaves are at most 1,024
MAX_BUNDLE: Final = WIDTH * (2 + MAX_ENTRY)
MAX_LEVEL: Final = 5  # 256^6 leaves are all that a tree may have
_PATH: Final = re.compile(r"tile/(entries|[0-5])/((?:x[0-9]{3}/){0,4}[0-9]{3})(?:\.p/([1-9][0-9]{0,2}))?")

Read = Callable[[str], bytes]


class TilePath(NamedTuple):
    """What a path names: `level` is -1 for an entry bundle; `width` is 256 for a full one."""

    level: int
    number: int
    width: int


def tile_path(level: int, index: int, width: int = WIDTH) -> str:
    """`tile/<level>/<index>` with the index in groups of three digits, and `.p/<width>` for a partial tile."""
    if not 0 <= level <= MAX_LEVEL:
        raise ValueError(f"no tile level {level}")
    return f"tile/{level}/{_number(index)}{_partial(width)}"


def bundle_path(index: int, width: int = WIDTH) -> str:
    """`tile/entries/<index>`, and `.p/<width>` for a partial bundle."""
    return f"tile/entries/{_number(index)}{_partial(width)}"


def parse_path(path: str) -> TilePath:
    """The reverse of `tile_path` and `bundle_path`. IntegrityError for every other path."""
    match = _PATH.fullmatch(path)
    if match is not None:
        kind, number, width = match.groups()
        found = TilePath(
            -1 if kind == "entries" else int(kind),
            int(number.replace("x", "").replace("/", "")),
            WIDTH if width is None else int(width),
        )
        again = bundle_path(found.number, min(found.width, WIDTH))
        if found.level >= 0:
            again = tile_path(found.level, found.number, min(found.width, WIDTH))
        if again == path:
            return found
    raise IntegrityError("not the path of a tile", spot=path[:200])


def encode_bundle(entries: Sequence[bytes]) -> bytes:
    """ValueError: no entries, more than 256, or one that is empty or over MAX_ENTRY."""
    if not 1 <= len(entries) <= WIDTH:
        raise ValueError(f"a bundle of {len(entries)} entries")
    parts: list[bytes] = []
    for entry in entries:
        if not 1 <= len(entry) <= MAX_ENTRY:
            raise ValueError(f"an entry of {len(entry)} bytes")
        parts.append(len(entry).to_bytes(2, "big"))
        parts.append(entry)
    return b"".join(parts)


def parse_bundle(bundle: bytes) -> list[bytes]:
    """The entries. IntegrityError (`spot` names the offset) when it is cut, too long, or holds an entry of a length
    that no log of ours has."""
    entries: list[bytes] = []
    start, size = 0, len(bundle)
    while start < size:
        end = start + 2 + (bundle[start] << 8 | bundle[start + 1] if start + 2 <= size else size)
        if end > size:
            raise IntegrityError(f"entry {len(entries)} is cut off", spot=f"byte {start}")
        if not 2 < end - start <= 2 + MAX_ENTRY:
            raise IntegrityError(f"entry {len(entries)} is {end - start - 2} bytes long", spot=f"byte {start}")
        if len(entries) == WIDTH:
            raise IntegrityError(f"more than {WIDTH} entries", spot=f"byte {start}")
        entries.append(bundle[start + 2 : end])
        start = end
    if not entries:
        raise IntegrityError("an entry bundle without entries", spot="byte 0")
    return entries


def tile_root(hashes: bytes) -> bytes:
    """The root of a complete subtree given its 2^k hashes, joined. For a full tile: its entry in the level above."""
    joined, digest = hashes, sha256
    while len(joined) > HASH_SIZE:
        joined = b"".join([digest(b"\x01" + joined[at : at + 64]).digest() for at in range(0, len(joined), 64)])
    return joined


def width_at(level: int, index: int, size: int) -> int:
    """How many hashes tile `index` of `level` has in a log of `size` leaves: 0 (no such tile) to 256."""
    return max(0, min(WIDTH, (size >> 8 * level) - index * WIDTH))


class TileNodes:
    """A tree.Node over the tiles of a log of `size` leaves: for roots and proofs. Raises IntegrityError for a tile
    that is missing or not as long as its name says. `read` raises FileNotFoundError for what is not there."""

    def __init__(self, size: int, read: Read) -> None:
        self._size = size
        self._read = read
        self._tiles: dict[tuple[int, int], bytes] = {}

    def __call__(self, level: int, index: int) -> bytes:
        tile_level, height = divmod(level, 8)
        tile, first = divmod(index << height, WIDTH)
        hashes = self.tile(tile_level, tile)
        node = hashes[first * HASH_SIZE : (first + (1 << height)) * HASH_SIZE]
        if len(node) != HASH_SIZE << height:
            raise IntegrityError(f"a log of {self._size} leaves has no node {level}/{index}")
        return tile_root(node)

    def tile(self, level: int, index: int) -> bytes:
        """The hashes of a tile, joined, as far as this log's size goes."""
        found = self._tiles.get((level, index))
        if found is None:
            if len(self._tiles) >= 64:
                self._tiles.clear()
            found = self._tiles[level, index] = read_tile(level, index, self._size, self._read)
        return found


def paths(size: int, since: int = 0) -> Iterator[str]:
    """Every tile and bundle of a log of that size that is not of the log of size `since`, or was narrower then."""
    for level in range(-1, MAX_LEVEL + 1):
        number = since >> 8 * (max(level, 0) + 1)
        while width := width_at(max(level, 0), number, size):
            yield bundle_path(number, width) if level < 0 else tile_path(level, number, width)
            number += 1


def read_tile(level: int, index: int, size: int, read: Read) -> bytes:
    """A tile of a log of `size` leaves: the partial file of just that width, or else the full one, of which the first
    hashes are the same. IntegrityError, with the path as `spot`, when neither is there or its length is wrong."""
    width = width_at(level, index, size)
    path = tile_path(level, index, max(width, 1))
    try:
        hashes, expected = read(path), width
    except FileNotFoundError:
        try:
            hashes, expected = read(tile_path(level, index)), WIDTH
        except FileNotFoundError:
            raise IntegrityError("the tile is missing", spot=path) from None
    if len(hashes) != expected * HASH_SIZE:
        raise IntegrityError(f"a tile of {len(hashes)} bytes, not {expected * HASH_SIZE}", spot=path)
    return hashes[: width * HASH_SIZE]


def read_bundle(index: int, size: int, read: Read) -> list[bytes]:
    """The entries of bundle `index` in a log of `size` leaves. Errors as in `read_tile`."""
    width = width_at(0, index, size)
    path = bundle_path(index, max(width, 1))
    expected = width
    try:
        bundle = read(path)
    except FileNotFoundError:
        path, expected = bundle_path(index), WIDTH
        try:
            bundle = read(path)
        except FileNotFoundError:
            raise IntegrityError("the entry bundle is missing", spot=bundle_path(index, max(width, 1))) from None
    try:
        entries = parse_bundle(bundle)
    except IntegrityError as error:
        raise IntegrityError(f"{error.message} ({error.spot})", spot=path) from None
    if len(entries) != expected:
        raise IntegrityError(f"a bundle of {len(entries)} entries, not {expected}", spot=path)
    return entries[:width]


def root(size: int, read: Read) -> bytes:
    """The root of a log of `size` leaves, as its tiles have it."""
    return root_of(size, TileNodes(size, read))


def grow(
    old_size: int, new_entries: Sequence[bytes], read: Read, *, old_root: bytes | None = None
) -> tuple[int, bytes, dict[str, bytes]]:
    """Adds leaves to a log of `old_size`: the new size, the new root, and the files to write, by path.

    `read` is asked only for the tiles and the bundle at the right edge. With `old_root` they are checked against it
    first. Raises IntegrityError when what is there does not fit, ValueError for an entry that no log may have. Every
    path returned is new or has the same bytes as before, so that a crash between two writes harms nothing.
    """
    new_size = old_size + len(new_entries)
    if not 0 <= old_size <= new_size < MAX_TREE:
        raise ValueError(f"a log cannot have {new_size} leaves")
    if old_root is not None and root(old_size, read) != old_root:
        raise IntegrityError("the log's tiles do not have the root of its checkpoint", spot=f"size {old_size}")
    written: dict[str, bytes] = {}

    first, width = divmod(old_size, WIDTH)
    entries = list(new_entries)
    if new_entries:
        if width:  # the partial bundle is written again as part of a wider one: so it must be what the tree has
            edge = read_bundle(first, old_size, read)
            if b"".join(map(leaf_hash, edge)) != read_tile(0, first, old_size, read):
                raise IntegrityError("the entries are not those of the tile", spot=bundle_path(first, width))
            entries = edge + entries
        for number in range(0, len(entries), WIDTH):
            part = entries[number : number + WIDTH]
            written[bundle_path(first + number // WIDTH, len(part))] = encode_bundle(part)

    added = b"".join([leaf_hash(entry) for entry in new_entries])
    level, before = 0, old_size
    while added:
        first, width = divmod(before, WIDTH)
        hashes = (read_tile(level, first, old_size, read) if width else b"") + added
        above: list[bytes] = []
        for start in range(0, len(hashes), WIDTH * HASH_SIZE):
            tile = hashes[start : start + WIDTH * HASH_SIZE]
            number = first + start // (WIDTH * HASH_SIZE)
            written[tile_path(level, number, len(tile) // HASH_SIZE)] = tile
            if len(tile) == WIDTH * HASH_SIZE:
                above.append(tile_root(tile))
        added = b"".join(above)
        before //= WIDTH
        level += 1

    def overlaid(path: str) -> bytes:
        return written[path] if path in written else read(path)

    return new_size, root(new_size, overlaid), written


def _number(index: int) -> str:
    if not 0 <= index < MAX_TREE:
        raise ValueError(f"no tile {index}")
    groups: list[str] = []
    while True:
        index, low = divmod(index, 1000)
        groups.append(f"{low:03d}")
        if index == 0:
            break
    return "/".join(["x" + group for group in reversed(groups[1:])] + groups[:1])


def _partial(width: int) -> str:
    if not 1 <= width <= WIDTH:
        raise ValueError(f"a tile of {width} hashes")
    return "" if width == WIDTH else f".p/{width}"
