"""The log's files as a pack has them: of just one size, whatever the log has grown to, and no others.

Every file is made from the leaves, not copied: so the copy is whole, and the root that comes out is the one of these leaves.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from doorward.ledger import tiles
from doorward.ledger.tree import HASH_SIZE


class LogCopy:
    """Fed with bundles in order; gives (path, bytes) below `log/`."""

    def __init__(self) -> None:
        self._levels = [bytearray() for _ in range(tiles.MAX_LEVEL + 1)]  # hashes of the tile that is not full yet
        self._numbers = [0] * (tiles.MAX_LEVEL + 1)
        self._bundles = 0

    def bundle(self, entries: Sequence[bytes], hashes: Sequence[bytes]) -> Iterator[tuple[str, bytes]]:
        """The next (up to) 256 leaves. Only the last bundle may have fewer."""
        yield tiles.bundle_path(self._bundles, len(entries)), tiles.encode_bundle(entries)
        self._bundles += 1
        yield from self._add(0, b"".join(hashes))

    def _add(self, level: int, hashes: bytes) -> Iterator[tuple[str, bytes]]:
        tile = self._levels[level]
        tile += hashes
        if len(tile) == tiles.WIDTH * HASH_SIZE:
            full = bytes(tile)
            yield tiles.tile_path(level, self._numbers[level]), full
            self._numbers[level] += 1
            tile.clear()
            if level < tiles.MAX_LEVEL:
                yield from self._add(level + 1, tiles.tile_root(full))

    def end(self) -> Iterator[tuple[str, bytes]]:
        """The partial tiles at the right edge."""
        for level, tile in enumerate(self._levels):
            if tile:
                yield tiles.tile_path(level, self._numbers[level], len(tile) // HASH_SIZE), bytes(tile)
