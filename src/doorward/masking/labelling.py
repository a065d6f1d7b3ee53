"""Which columns of a target are labelled, and what of that cannot hold.

Contract: `labelling` takes the labels that the configuration gives and the target's catalogue, adds those that column
names give where that is wanted, and says every fault: a label on a column that is not there, a transform that can make
nothing of the column's type. What the configuration says of a column wins; `none` says that it holds nothing
confidential, whatever it is called. A label whose column is not there is kept: lineage then masks all of its table.

It deliberately decides nothing about faults: who opens sessions closes a target that has some (`server.listener`).
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field

from doorward.masking.names import suggested
from doorward.masking.plan import BOOL, BPCHAR, BYTEA, DATE, SUBJECTS, TEXT, TEXT_TYPES, TIMESTAMP, TIMESTAMPTZ, VARCHAR
from doorward.masking.transforms import BY_VALUE, Transforms
from doorward.sql.catalogue import SYSTEM, Catalogue

NONE = "none"  # the label of what is not confidential
_OWN = 16384  # types from here on were made in this database: a domain over anything, an enumeration, citext
_SHIFTED = frozenset({DATE, TIMESTAMP, TIMESTAMPTZ, TEXT, VARCHAR, BPCHAR})
_HOLDING = frozenset("rpvmf")  # kinds of relations that hold, or show, data


@dataclass(frozen=True, slots=True)
class Labelling:
    """`labels`: every label in force, by `schema.table.column`. `named`: those that the columns' names gave, or would
    give. `faults`: why the configuration does not fit, one sentence each."""

    labels: Mapping[str, str] = field(default_factory=dict)
    named: Mapping[str, str] = field(default_factory=dict)
    faults: tuple[str, ...] = ()


def labelling(
    catalogue: Catalogue, configured: Mapping[str, str], transforms: Transforms, *, by_name: str = "mask"
) -> Labelling:
    """The labels of one target. `by_name` is `masking.column_names`: mask, propose or off."""
    labels = {column: label for column, label in configured.items() if label != NONE}
    named: dict[str, str] = {}
    if by_name != "off":
        named = suggested(_columns(catalogue), configured)
        if by_name == "mask":
            labels.update(named)
    return Labelling(labels, named, tuple(_faults(catalogue, configured, transforms)))


def _columns(catalogue: Catalogue) -> Iterator[tuple[str, str, str, bool]]:
    """Schema, relation and column of all that may hold people's data, and whether it could hold a text."""
    for relation in catalogue.relations:
        if relation.kind in _HOLDING and relation.schema not in SYSTEM:
            for column in relation.columns:
                if column.type_oid != BOOL:  # a flag is about a value
                    worded = column.type_oid in TEXT_TYPES or column.type_oid == BYTEA or column.type_oid >= _OWN
                    yield relation.schema, relation.name, column.name, worded or column.type_oid in _ARRAYS


_ARRAYS = frozenset({1002, 1009, 1014, 1015})  # of characters and texts


def _faults(catalogue: Catalogue, configured: Mapping[str, str], transforms: Transforms) -> Iterator[str]:
    there = {
        f"{relation.schema}.{relation.name}.{column.name}": column.type_oid
        for relation in catalogue.relations
        for column in relation.columns
    }
    for column, label in sorted(configured.items()):
        type_oid = there.get(column)
        if type_oid is None:
            yield f"there is no column {column}, which has the label {label}"
            continue
        name = transforms.name(label)
        if label != NONE and type_oid < _OWN and name in BY_VALUE and not _fits(name, type_oid):
            yield (
                f"column {column} is of a type with which {name}, the transform of {label}, can do nothing: "
                "it would always be NULL"
            )
        elif fault := _subject_fault(there, column, label, transforms, type_oid):
            yield fault


def _subject_fault(
    there: Mapping[str, int], column: str, label: str, transforms: Transforms, type_oid: int
) -> str:
    wanted = transforms.subjects.get(label, "")
    if not wanted or transforms.name(label) != "date_shift" or type_oid >= _OWN:
        return ""
    subject = f"{column.rpartition('.')[0]}.{wanted}"
    if there.get(subject) in SUBJECTS:
        return ""
    said = "is of a type that names nobody" if subject in there else "is not there"
    return f"column {column} moves with {subject} (masking.date_shift), which {said}: it would always be NULL"


def _fits(transform: str, type_oid: int) -> bool:
    return type_oid in (_SHIFTED if transform == "date_shift" else TEXT_TYPES)
