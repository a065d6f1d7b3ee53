"""The plan for one result shape: what happens to each of its columns.

Contract: labels only ever add up. A column has the labels that lineage gives its output, and those of the stored
column that the server names in RowDescription; when lineage does not know the outputs, or counts them differently than
the server, every column has every label that the statement touches. Labels in `unmask` are then taken away, and what
is left decides: a text column becomes what the label's transform makes of it, any other column becomes NULL.

A transform that looks at the value (partial, token, date_shift ...) lets a part, an order or an equality through. It
applies only where the column *is* the stored one, said by both lineage and server; an expression over it
(`substr(ssn, 1, 1)`) is redacted whole, and where it is NULL, too: `nullif(ssn, 'a guess')` would tell who guessed right.

A date that moves with its subject needs that in the same row of the same relation: `subjects` says where that is certain. Where
it is not among the result's columns, or of a type whose text and binary forms nobody compares, the date becomes NULL.

It deliberately does not read rows: `protocols/*/redact.py` does, over what is planned here.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from enum import IntEnum
from typing import NamedTuple

from doorward.errors import ProtocolError
from doorward.masking.detect import Detectors
from doorward.masking.detectors import redaction
from doorward.masking.transforms import BY_VALUE, Transforms

BOOL, BYTEA, CHAR, NAME, INT8, INT2, INT4, TEXT, OID = 16, 17, 18, 19, 20, 21, 23, 25, 26
JSON, XML, FLOAT4, FLOAT8, UNKNOWN, BPCHAR, VARCHAR = 114, 142, 700, 701, 705, 1042, 1043
DATE, TIME, TIMESTAMP, TIMESTAMPTZ, INTERVAL, TIMETZ, NUMERIC, UUID, JSONB = (
    1082, 1083, 1114, 1184, 1186, 1266, 1700, 2950, 3802,
)  # fmt: skip

# Types whose values, in text and in binary, are their own text (pg_type.dat; typcategory S, and json, jsonb, xml).
TEXT_TYPES = frozenset({TEXT, VARCHAR, BPCHAR, NAME, UNKNOWN, JSON, JSONB, XML})
# Types that cannot hold free text. tid, xid, cid, money, pg_lsn, bit and varbit, inet and its kin, geometry and ranges
# of numbers and times are not here: rare enough to be looked at.
PLAIN_TYPES = frozenset(
    {BOOL, INT8, INT2, INT4, OID, FLOAT4, FLOAT8, DATE, TIME, TIMESTAMP, TIMESTAMPTZ, INTERVAL, TIMETZ, NUMERIC, UUID}
)
# Types that date_shift moves within; timetz and interval are not dates.
_DATES = frozenset({DATE, TIMESTAMP, TIMESTAMPTZ})
# Types of what says whose a date is: their text and binary forms name the same subject (`cells.named`).
WHOLE = frozenset({INT2, INT4, INT8})
SUBJECTS = WHOLE | {TEXT, VARCHAR, BPCHAR, UUID}
# Arrays of text: their binary form is rewritten element by element.
TEXT_ARRAYS = frozenset({1002, 1003, 1009, 1014, 1015, 199, 3807, 143})


class ResultColumn(NamedTuple):
    """One column as the server's RowDescription describes it. type_oid 0: not said (COPY). format: 0 text, 1 binary."""

    name: str
    table_oid: int
    attnum: int
    type_oid: int
    format: int


class Action(IntEnum):
    """PASS: spliced. DETECT: content is looked at, too. REPLACE: by `replacement` (None: NULL). TRANSFORM: value by
    value."""

    PASS = 0
    DETECT = 1
    REPLACE = 2
    TRANSFORM = 3


class Reading(IntEnum):
    """How a column's bytes are to be read: as text; as JSON; as jsonb with its version byte; as an array of text in
    binary; as bytes of a type nobody told us about; as a date or time, in text or in binary, that is to be moved."""

    TEXT = 0
    JSON = 1
    JSONB = 2
    ARRAY = 3
    OPAQUE = 4
    DATE = 5
    DATE_BINARY = 6


@dataclass(frozen=True, slots=True)
class ColumnPlan:
    """What happens to one column. `label` is what masked cells are counted under. `nulls`: where it is NULL, too. `subject`:
    the column that a date moves with, -1: with none; `subject_type` is that one's type where it is in binary, 0 in text."""

    action: Action
    reading: Reading = Reading.TEXT
    label: str = ""
    replacement: bytes | None = None
    nulls: bool = False
    subject: int = -1
    subject_type: int = 0


@dataclass(frozen=True, slots=True)
class Plan:
    """What happens to every column. `masked`: some column is replaced or transformed. `detectors` has nothing in it
    when nobody is to look at content."""

    columns: tuple[ColumnPlan, ...]
    detectors: Detectors
    transforms: Transforms
    masked: bool
    labels: frozenset[str]  # that stay masked, in any column

    @property
    def passes(self) -> bool:
        """Whether results may be spliced without looking at them."""
        return not self.masked and not self.detectors.detectors


def plan(
    outputs: Sequence[frozenset[str]] | None,
    shape: Sequence[ResultColumn],
    provenance: Callable[[int, int], str | None],
    labels_touched: frozenset[str],
    unmask: frozenset[str],
    transforms: Transforms,
    detectors: Detectors,
    text_types: frozenset[int] = frozenset(),
    *,
    bare: bool = False,
    subjects: Callable[[str, int], int] | None = None,
) -> Plan:
    """Plan one result shape.

    `outputs`: labels by output column, None: lineage does not know. `provenance`: the label of the stored column that
    (table OID, attribute number) names, None: it has none; for a view, only where its column is a stored column
    unchanged. `text_types`: OIDs of further types whose binary form is their text (citext). `bare`: every column is a
    stored one, though the server does not say which (COPY of a table). `subjects`: the attribute number, by label and table
    OID, of what says whose a date is, 0: there is none; None: a row may be of several rows. ProtocolError: a column has a
    format other than 0 and 1.
    """
    traced = outputs is not None and len(outputs) == len(shape)
    looking = detectors.without(unmask)
    columns: list[ColumnPlan] = []
    remaining: set[str] = set()
    for index, column in enumerate(shape):
        if column.format not in (0, 1):
            raise ProtocolError(f"column {index + 1} has format {column.format}")
        labels = set(outputs[index]) if traced and outputs is not None else set(labels_touched)
        stored: str | None = None
        if column.table_oid and column.attnum:
            stored = provenance(column.table_oid, column.attnum)
            if stored is not None:
                labels.add(stored)
        elif column.table_oid:
            labels |= labels_touched  # a whole row: attribute number 0
        labels -= unmask
        remaining |= labels
        reading = _reading(column, text_types)
        if not labels:
            quiet = column.type_oid in PLAIN_TYPES or not looking.detectors
            columns.append(ColumnPlan(Action.PASS if quiet else Action.DETECT, reading))
            continue
        label = ",".join(sorted(labels))
        direct = traced and stored is not None and labels == {stored} and len(outputs[index]) <= 1  # type: ignore[index]
        if direct and label in transforms.subjects and transforms.name(label) == "date_shift":
            columns.append(_moved(column, label, shape, subjects))
        else:
            columns.append(_masked(column, reading, label, direct, bare, transforms, text_types))
    return Plan(
        columns=tuple(columns),
        detectors=looking,
        transforms=transforms,
        masked=any(column.action >= Action.REPLACE for column in columns),
        labels=frozenset(remaining) | (labels_touched - unmask if not traced else frozenset()),
    )


def _reading(column: ResultColumn, text_types: frozenset[int]) -> Reading:
    if column.type_oid == JSONB:
        return Reading.JSONB if column.format else Reading.JSON
    if column.type_oid == JSON:
        return Reading.JSON
    if column.format == 0 or column.type_oid in TEXT_TYPES or column.type_oid in text_types:
        return Reading.TEXT
    return Reading.ARRAY if column.type_oid in TEXT_ARRAYS else Reading.OPAQUE


def _masked(
    column: ResultColumn,
    reading: Reading,
    label: str,
    direct: bool,
    bare: bool,
    transforms: Transforms,
    text_types: frozenset[int],
) -> ColumnPlan:
    textual = column.type_oid in TEXT_TYPES or column.type_oid in text_types or (
        column.type_oid == 0 and column.format == 0
    )
    nulls = not (direct or bare)
    name = transforms.name(label) if direct else ("null" if transforms.name(label) == "null" else "redact")
    if name == "date_shift" and column.type_oid in _DATES:
        return ColumnPlan(Action.TRANSFORM, Reading.DATE_BINARY if column.format else Reading.DATE, label)
    if not textual or name == "null":
        return ColumnPlan(Action.REPLACE, reading, label, None, nulls)
    if name in BY_VALUE:
        return ColumnPlan(Action.TRANSFORM, reading, label)
    return ColumnPlan(Action.REPLACE, reading, label, as_read(redaction(label), reading), nulls)


def _moved(
    column: ResultColumn, label: str, shape: Sequence[ResultColumn], subjects: Callable[[str, int], int] | None
) -> ColumnPlan:
    """A date that moves with its subject, if that is in the row."""
    attnum = subjects(label, column.table_oid) if subjects is not None else 0
    dated = column.type_oid in _DATES
    if attnum and (dated or column.type_oid in (TEXT, VARCHAR, BPCHAR)):
        for index, other in enumerate(shape):
            if other.table_oid == column.table_oid and other.attnum == attnum and other.type_oid in SUBJECTS:
                reading = Reading.DATE_BINARY if column.format and dated else Reading.DATE
                binary = other.type_oid if other.format and other.type_oid not in TEXT_TYPES else 0
                return ColumnPlan(Action.TRANSFORM, reading, label, subject=index, subject_type=binary)
    return ColumnPlan(Action.REPLACE, Reading.OPAQUE, label)


def as_read(text: str, reading: Reading) -> bytes:
    """A replacement as the bytes of a value of that reading. Replacements hold nothing that JSON would escape."""
    if reading is Reading.JSONB:
        return b'\x01"' + text.encode() + b'"'
    return b'"' + text.encode() + b'"' if reading is Reading.JSON else text.encode()
