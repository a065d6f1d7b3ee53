"""Sampling a target's tables, to see what is in their columns: for `doorward classify`.

Contract: `sample` reads at most so many rows of some relations, by the gateway's own credential, in a session of its own that
can only read and whose statements end after a few seconds. Each relation that is read is an event first: who, and which; of
the values there is nothing anywhere but in memory, for as long as it takes to count. Large tables are sampled by page.
Views are left out, since labels follow through their definitions; foreign tables, since they are somewhere else; partitions,
since their table is read. One at a time at each target.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from typing import Any, Final, Protocol

from doorward.errors import UpstreamError
from doorward.guard.guard import Guard
from doorward.masking.classify import UNREAD, examine
from doorward.masking.detect import Detectors
from doorward.model import Identity, Target
from doorward.server.own import CatalogueHolder, OwnStatements, Secrets
from doorward.server.side import Row
from doorward.sql.catalogue import SYSTEM, Catalogue, Relation

MOST_ROWS: Final = 5000
MOST_CHARACTERS: Final = 2000  # of one value
MOST_BYTES: Final = 32 << 20  # of one relation's sample
PATIENCE: Final = 5.0  # seconds for one relation
TURN: Final = 5.0  # seconds after which an answer is given, and the caller asks for the rest
LARGE: Final = 1000  # pages: below, reading from the front costs no more than a sample
_SIZES: Final = """
SELECT c.oid::int8, c.reltuples::int8, c.relpages::int8
  FROM pg_catalog.pg_class c WHERE c.oid = ANY ($1::oid[])"""
_KINDS: Final = ("r", "p", "m")


class Place(Protocol):
    """What of `listener.Reach` sampling needs."""

    target: Target
    catalogue: CatalogueHolder


class Samples:
    """All sampling of one gateway."""

    def __init__(self, guard: Guard, reach: Mapping[str, Place], secrets: Secrets, detectors: Detectors) -> None:
        self._guard, self._reach, self._secrets, self._detectors = guard, reach, secrets, detectors
        self._turns: dict[str, asyncio.Lock] = {}

    async def sample(
        self, target: str, actor: Identity, *, rows: int, schemas: Sequence[str] = (), after: int = 0
    ) -> dict[str, Any]:
        """Sample the relations behind `after` (an oid; 0: all) until TURN is over. Raises BlockingIOError when somebody
        samples there already; UpstreamError."""
        place = self._reach[target]
        turn = self._turns.setdefault(target, asyncio.Lock())
        if turn.locked():
            raise BlockingIOError(f"{target} is being sampled already")
        async with turn:
            catalogue = await place.catalogue.refresh()
            wanted = _readable(catalogue, schemas)
            left = [relation for relation in wanted if relation.oid > after]
            own = OwnStatements(
                self._guard, place.target, self._secrets,
                settings={"default_transaction_read_only": "on", "statement_timeout": str(int(PATIENCE * 1000))},
            )  # fmt: skip
            shown: list[dict[str, Any]] = []
            limit = time.monotonic() + TURN
            try:
                while left and (not shown or time.monotonic() < limit):
                    shown.append(await self._relation(own, place.target, left.pop(0), actor, rows))
            finally:
                await own.close()
        return {
            "relations": shown, "next": shown[-1]["oid"] if left else 0, "done": len(wanted) - len(left), "total": len(wanted),
            "faults": list(place.catalogue.labelling.faults),
        }  # fmt: skip

    async def _relation(
        self, own: OwnStatements, target: Target, relation: Relation, actor: Identity, rows: int
    ) -> dict[str, Any]:
        name = f"{relation.schema}.{relation.name}"
        await self._guard.recorder.event(
            "target.sampled", {"target": target.name, "relation": name, "rows": rows}, actor=actor.id
        )
        columns = [column for column in relation.columns if column.type_oid not in UNREAD]
        found: list[Row] = []
        why = ""
        try:
            if columns:
                found = await self._rows(own, relation, [column.name for column in columns], rows)
        except UpstreamError as error:
            why = error.message
        # Counting takes a while, and nobody's session should wait for it.
        findings = await asyncio.to_thread(self._examined, relation, [column.name for column in columns], found, target)
        return {"oid": relation.oid, "relation": name, "rows": len(found), "unread": why, "columns": findings}

    def _examined(
        self, relation: Relation, read: Sequence[str], rows: Sequence[Row], target: Target
    ) -> list[dict[str, Any]]:
        places = {column: number for number, column in enumerate(read)}
        findings = []
        for column in relation.columns:
            existing = target.labels.get(f"{relation.schema}.{relation.name}.{column.name}", "")
            values = [row[places[column.name]] for row in rows] if column.name in places else []
            finding = examine(column.name, values, self._detectors, existing)
            if finding.label or existing:
                findings.append(asdict(finding))
        return findings

    async def _rows(self, own: OwnStatements, relation: Relation, columns: Sequence[str], rows: int) -> list[Row]:
        # format() uses the output functions of types, where a cast could be anybody's function.
        shown = ", ".join(
            f"CASE WHEN {name} IS NOT NULL THEN pg_catalog.left(pg_catalog.format('%s', {name}), {MOST_CHARACTERS}) END"
            for name in map(_quoted, columns)
        )
        source = f"{_quoted(relation.schema)}.{_quoted(relation.name)}"
        sizes = await own.query("sample: size", _SIZES, (f"{{{relation.oid}}}",), timeout=PATIENCE + 1)
        tuples, pages = (int(sizes[0][1] or 0), int(sizes[0][2] or 0)) if sizes else (0, 0)
        if pages > LARGE and tuples > 10 * rows:
            share = min(100.0, max(100.0 / pages, 300.0 * rows / tuples))  # three times what is wanted, and one page at least
            text = f"SELECT {shown} FROM {source} TABLESAMPLE SYSTEM ({share:.6f}) LIMIT {rows}"  # noqa: S608 - quoted
            if found := await own.query("sample: pages", text, timeout=PATIENCE + 1, max_bytes=MOST_BYTES):
                return found
        text = f"SELECT {shown} FROM {source} LIMIT {rows}"  # noqa: S608 - quoted
        return await own.query("sample: rows", text, timeout=PATIENCE + 1, max_bytes=MOST_BYTES)


def _readable(catalogue: Catalogue, schemas: Sequence[str]) -> list[Relation]:
    """What is sampled, in the order of oids."""
    found = []
    for relation in catalogue.relations:
        if relation.schema in SYSTEM or relation.kind not in _KINDS or (schemas and relation.schema not in schemas):
            continue
        parents = [catalogue.by_oid(oid) for oid in relation.parents]
        if not any(parent is not None and parent.kind == "p" for parent in parents):
            found.append(relation)
    return sorted(found, key=lambda relation: relation.oid)


def _quoted(name: str) -> str:
    return '"' + name.replace('"', '""') + '"'
