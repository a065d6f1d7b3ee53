"""Which columns of a target have got data of a label, besides those that the configuration names; kept in the store.

Contract: `keep` is durable when it returns, and every judgement from then on knows; `follow` writes down what a new catalogue
shows before anybody judges by it. Places are only ever added, until an administrator has labels lifted (`forget`). What
people want without a label in spite of what gets into it they say in the configuration, with the label `none`.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Collection, Iterable, Mapping
from typing import Final

from doorward.guard.neighbours import nobody
from doorward.guard.stores import LabelStore
from doorward.masking.labelling import NONE
from doorward.model import Target
from doorward.sql.catalogue import Catalogue
from doorward.sql.labelling import Place, copied, found, name_of

MOST: Final = 100_000  # places of one target; statements stop at a tenth of that


class TooManyPlacesError(Exception):
    """More columns have got labelled data than are kept track of."""


class TargetLabels:
    """The places of one target. `tell` returns when all processes that share the store know what is in it now."""

    def __init__(self, store: LabelStore, target: Target, tell: Callable[[], Awaitable[None]] = nobody) -> None:
        self._tell = tell
        self._store = store
        self._target = target
        self._plain = frozenset(column for column, label in target.labels.items() if label == NONE)
        self._kept: frozenset[Place] = frozenset()
        self._turn = asyncio.Lock()
        self._of: tuple[Catalogue | None, Mapping[str, str], frozenset[Place]] = (None, {}, frozenset())
        self._copied: Mapping[str, frozenset[str]] = {}

    async def load(self) -> None:
        """Read what was kept, by this process or another."""
        async with self._turn:
            kept = frozenset(Place(*row) for row in await self._store.places(self._target.name))
            if kept != self._kept:
                self._kept = kept

    def wants(self, copies: Collection[tuple[str, str, str, str]]) -> list[Place]:
        """Which places of a statement's `copies` are new."""
        places = {Place(f"{schema}.{name}.{column}", 0, 0, f"={label}") for schema, name, column, label in copies}
        return sorted(place for place in places - self._kept if place.name not in self._plain)

    async def keep(self, places: Iterable[Place], *, most: int = MOST // 10) -> None:
        """Raises TooManyPlacesError; UpstreamError when it cannot be written down: then nothing may get there.

        What a name stands for is kept besides, with its partitions and children: before anybody renames or detaches them."""
        async with self._turn:
            new = frozenset(places) - self._kept
            catalogue, labels, _ = self._of
            if catalogue is not None and any(not place.oid for place in new):
                new |= found(catalogue, labels, self._kept | new, self._target.labels) - self._kept
            if len(self._kept) + len(new) > most:
                raise TooManyPlacesError
            if new:
                await self._store.keep_places(self._target.name, sorted(new))
                self._kept |= new
        if new:
            await self._tell()  # not in our turn: another may be telling us, and wait for it

    def copies(self) -> dict[str, frozenset[str]]:
        """The columns that have labels because statements copied labelled data there, under the names that they have now;
        those that are gone under ""."""
        catalogue, labels, _ = self._of
        found: dict[str, frozenset[str]] = {}
        for place in self._kept:
            if place.source.startswith("="):
                name = place.name if catalogue is None else name_of(place, catalogue)
                if labels.get(name) != place.source[1:]:  # which it has for its name, or by the configuration
                    found[name] = found.get(name, frozenset()) | {place.source[1:]}
        return found

    async def forget(self, columns: Collection[str]) -> None:
        """Lift the labels that statements have brought to these columns. What lineage finds there comes back by itself."""
        async with self._turn:
            catalogue = self._of[0]
            gone = {
                place for place in self._kept
                if place.source.startswith("=")
                and (place.name if catalogue is None else name_of(place, catalogue)) in columns
            }  # fmt: skip
            if gone:
                await self._store.forget_places(self._target.name, sorted(gone))
                self._kept -= gone
        if gone:
            await self._tell()

    async def follow(self, catalogue: Catalogue, labels: Mapping[str, str]) -> None:
        """Keep every place that a catalogue shows; `labels` are those in force."""
        if labels or self._kept:
            try:
                await self.keep(found(catalogue, labels, self._kept, self._target.labels), most=MOST)
            except TooManyPlacesError:
                pass  # they have their labels for as long as lineage finds them, that is: until they are moved

    def copied(self, catalogue: Catalogue, labels: Mapping[str, str]) -> Mapping[str, frozenset[str]]:
        """`Facts.copied`; the same object until something changes."""
        if self._of[0] is not catalogue or self._of[1] is not labels or self._of[2] is not self._kept:
            fresh = copied(catalogue, labels, self._kept, self._plain)
            self._of = catalogue, labels, self._kept
            if fresh != self._copied:
                self._copied = fresh
        return self._copied
