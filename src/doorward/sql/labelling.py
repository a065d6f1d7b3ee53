"""Where labelled data has got to: how labels follow what they are about.

The configuration names columns. Names move: a column, a table or a schema is renamed, a partition detached, a generated
column turned into a plain one, a view replaced whose rows a materialised view still holds; and statements copy data. So what
was once known to hold data of a label is kept as *places*, by relation and attribute number where they are known, else by name.

Contract: a place is never taken away here. `found` gives every place that the catalogue at hand shows; `copied` turns places
into labels by column name, for `Facts.copied`. A place follows a *source*: the configured column that its data came from,
so that it loses its label when the configuration takes it from that column; or, of data that a statement copied, or whose
column had its label for its name, "=" and the label.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping
from typing import Final, NamedTuple

from doorward.sql.catalogue import SYSTEM, Catalogue, Relation
from doorward.sql.classification import Facts
from doorward.sql.definitions import Definitions

_STORED: Final = "rpmf"  # the kinds of relations that hold rows, or stand for another system's


class Place(NamedTuple):
    """Where data from `source` is: in column `name` ("schema.relation.column", or "schema.relation.*") whatever relation
    that is now, or, if `oid` is not 0, in that relation's attribute `attnum`, whatever it is called now."""

    name: str
    oid: int
    attnum: int
    source: str


def label_of(source: str, labels: Mapping[str, str]) -> str | None:
    """The label that data from `source` has under this configuration; None: none any more."""
    return source[1:] if source.startswith("=") else labels.get(source)


def found(
    catalogue: Catalogue, labels: Mapping[str, str], kept: Iterable[Place], configured: Collection[str]
) -> set[Place]:
    """Every stored column in which lineage finds data of a label. Of `labels`, those in force, `configured` are columns that
    the configuration names; the others have theirs for their names."""
    sources = {
        column: frozenset((column if column in configured else f"={label}",)) for column, label in labels.items()
    }
    for name, more in _named(catalogue, kept).items():
        sources[name] = sources.get(name, frozenset()) | more
    walk = Definitions(Facts(catalogue, ("pg_catalog",), copied=sources))
    places: set[Place] = set()
    for relation in catalogue.relations:
        if relation.kind in _STORED and relation.schema not in SYSTEM:
            for column, col in zip(relation.columns, walk.shape(relation)[0], strict=True):
                places.update(Place("", relation.oid, column.attnum, source) for source in col.labels)
    return places


def copied(
    catalogue: Catalogue, labels: Mapping[str, str], kept: Iterable[Place], plain: Collection[str] = ()
) -> dict[str, frozenset[str]]:
    """The labels of columns beyond those that the configuration names. `plain` are columns that have none, whatever got
    into them."""
    result: dict[str, frozenset[str]] = {}
    for name, sources in _named(catalogue, kept).items():
        having = {label for source in sources if (label := label_of(source, labels)) is not None}
        having.discard(labels.get(name, ""))
        if having and name not in plain:
            if name.endswith(".*"):
                relation = catalogue.find(*name.split(".", 2)[:2])
                if relation is not None:
                    for column in _columns(relation):
                        if column not in plain:
                            result[column] = result.get(column, frozenset()) | having
                    continue
            result[name] = result.get(name, frozenset()) | having
    return result


def name_of(place: Place, catalogue: Catalogue) -> str:
    """The column that a place is now, as "schema.relation.column"; "" for one that is not there any more."""
    if not place.oid:
        return place.name
    relation = catalogue.by_oid(place.oid)
    column = next((c.name for c in relation.columns if c.attnum == place.attnum), "") if relation else ""
    return f"{relation.schema}.{relation.name}.{column}" if relation is not None and column else ""


def _named(catalogue: Catalogue, kept: Iterable[Place]) -> dict[str, frozenset[str]]:
    """Sources by the names that their places have now. What is not there any more has none."""
    by_name: dict[str, set[str]] = {}
    for place in kept:
        name = name_of(place, catalogue)
        if name:
            by_name.setdefault(name, set()).add(place.source)
    return {name: frozenset(sources) for name, sources in by_name.items()}


def _columns(relation: Relation) -> list[str]:
    return [f"{relation.schema}.{relation.name}.{column.name}" for column in relation.columns]
