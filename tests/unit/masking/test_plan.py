"""Plans: labels only add up, and what is not known is masked."""

from __future__ import annotations

import pytest

from doorward.errors import ProtocolError
from doorward.masking.detect import Detectors
from doorward.masking.plan import INT4, JSON, JSONB, TEXT, Action, ColumnPlan, Plan, Reading, ResultColumn, plan
from doorward.masking.transforms import Transforms

KEY = bytes(32)
NONE: frozenset[str] = frozenset()
SSN = frozenset({"ssn"})
TRANSFORMS = Transforms({"card": "partial", "customer": "token", "salary": "null"}, KEY)


def planned(
    outputs: list[frozenset[str]] | None,
    *columns: ResultColumn,
    stored: dict[tuple[int, int], str] | None = None,
    touched: frozenset[str] = SSN,
    unmask: frozenset[str] = NONE,
    detectors: Detectors | None = None,
) -> Plan:
    facts = stored or {}
    return plan(
        outputs, columns, lambda oid, number: facts.get((oid, number)), touched, unmask, TRANSFORMS,
        detectors or Detectors(()),
    )  # fmt: skip


def text(table: int = 0, number: int = 0, oid: int = TEXT, form: int = 0) -> ResultColumn:
    return ResultColumn("c", table, number, oid, form)


def test_lineage_masks_its_outputs_and_no_other() -> None:
    """An output with a label is replaced; its neighbour passes."""
    result = planned([SSN, NONE], text(), text())
    assert result.columns == (
        ColumnPlan(Action.REPLACE, Reading.TEXT, "ssn", b"[ssn]", nulls=True),
        ColumnPlan(Action.PASS, Reading.TEXT),
    )
    assert result.masked
    assert not result.passes
    assert result.labels == SSN


def test_null_stays_null_only_where_the_stored_column_itself_is() -> None:
    """Whether an expression over a labelled column is NULL says something of its value; that the column is, does not."""
    stored = planned([SSN], text(7, 1), stored={(7, 1): "ssn"})
    assert [column.nulls for column in stored.columns] == [False]
    for computed in (planned([SSN], text()), planned(None, text(7, 1), stored={(7, 1): "ssn"})):
        assert [column.nulls for column in computed.columns] == [True]


@pytest.mark.parametrize("outputs", [None, [NONE], [NONE, NONE, NONE]])
def test_unknown_outputs_are_all_masked(outputs: list[frozenset[str]] | None) -> None:
    """Without lineage, or with another number of outputs than columns, every touched label is on every column."""
    result = planned(outputs, text(), text())
    assert [column.action for column in result.columns] == [Action.REPLACE, Action.REPLACE]


def test_provenance_adds_and_never_removes() -> None:
    """The server's word adds a label; its silence takes none away."""
    result = planned([NONE, SSN], text(5, 2), text(5, 1), stored={(5, 2): "card"})
    assert [column.label for column in result.columns] == ["card", "ssn"]


def test_a_whole_row_has_every_label() -> None:
    """Table OID without attribute number: the row itself."""
    assert planned([NONE], text(5, 0)).columns[0].label == "ssn"


def test_unmask_takes_a_label_away() -> None:
    """What policy lets this identity see stays, of that label only; its detectors are quiet, too."""
    both = frozenset({"ssn", "card"})
    result = planned([both, SSN], text(), text(), touched=both, unmask=SSN, detectors=Detectors())
    assert [column.label for column in result.columns] == ["card", ""]
    assert "ssn" not in result.detectors.labels
    assert "card" in result.detectors.labels


@pytest.mark.parametrize(
    ("oid", "form", "replacement"),
    [
        (TEXT, 0, b"[ssn]"), (TEXT, 1, b"[ssn]"), (JSON, 0, b'"[ssn]"'), (JSONB, 0, b'"[ssn]"'),
        (JSONB, 1, b'\x01"[ssn]"'), (INT4, 0, None), (INT4, 1, None), (1009, 0, None), (99999, 0, None), (0, 0, b"[ssn]"),
    ],
)  # fmt: skip
def test_a_replacement_is_of_its_type(oid: int, form: int, replacement: bytes | None) -> None:
    """Text becomes text, JSON becomes JSON, everything else NULL: a driver can always read it."""
    assert planned([SSN], text(oid=oid, form=form)).columns[0].replacement == replacement


@pytest.mark.parametrize(
    ("outputs", "stored", "action"),
    [
        ([frozenset({"card"})], {(5, 1): "card"}, Action.TRANSFORM),
        ([frozenset({"card"})], {}, Action.REPLACE),
        ([frozenset({"card", "ssn"})], {(5, 1): "card"}, Action.REPLACE),
        (None, {(5, 1): "card"}, Action.REPLACE),
    ],
)
def test_partial_and_token_are_for_the_stored_column_only(
    outputs: list[frozenset[str]] | None, stored: dict[tuple[int, int], str], action: Action
) -> None:
    """An expression over a column is redacted whole: part of a part could be all of it."""
    result = planned(outputs, text(5, 1), stored=stored, touched=frozenset({"card"}))
    assert result.columns[0].action == action


def test_null_applies_to_expressions_too() -> None:
    """The stricter transform is never weakened."""
    salary = frozenset({"salary"})
    assert planned([salary], text(), touched=salary).columns[0] == ColumnPlan(
        Action.REPLACE, Reading.TEXT, "salary", nulls=True
    )


def test_detectors_look_at_what_can_hold_text() -> None:
    """Numbers and times are not looked at; unknown types are."""
    result = planned([NONE] * 4, text(), text(oid=INT4), text(oid=99999), text(oid=99999, form=1), detectors=Detectors())
    assert [column.action for column in result.columns] == [Action.DETECT, Action.PASS, Action.DETECT, Action.DETECT]
    assert [column.reading for column in result.columns][2:] == [Reading.TEXT, Reading.OPAQUE]
    assert planned([NONE], text(), touched=NONE).passes


def test_an_unknown_format_is_refused() -> None:
    """Formats are 0 and 1."""
    with pytest.raises(ProtocolError):
        planned([NONE], text(form=2))
