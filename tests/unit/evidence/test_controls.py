"""Controls are whole: every test can fail and can pass, every table is reached, no name is used twice."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from doorward.evidence import table
from doorward.evidence.controls import CONTROLS, TABLES, TESTS
from doorward.evidence.examination import rehearse

NAMES = sorted(TESTS)
ASKED = (3, 15, 16, 17, 18, 28, 33, 34), (2, 3, 5, 11, 12, 15, 16, 17, 18, 24, 32)  # of A.5, of A.8


@pytest.mark.parametrize("name", NAMES)
def test_a_violation_makes_an_exception(name: str) -> None:
    """Each test fails on the violation that stands with it, and the exception says what was found, of which leaf."""
    test = TESTS[name]
    examination = rehearse(test, test.violation)
    (result,) = examination.results.values()
    assert result.failed >= 1, (result, test.violation)
    (finding, *_) = examination.exceptions
    assert finding.actual
    assert finding.actual != test.expected
    assert finding.row.ref.leaf < len(test.violation)
    assert re.fullmatch(r"EX-[0-9a-f]{12}", finding.id)


def test_controls_are_named_once() -> None:
    """Controls, tables and tests have names of their own; whatever is named is there."""
    assert [control.id for control in CONTROLS] == [
        f"A.{part}.{number}" for part, numbers in zip((5, 8), ASKED, strict=True) for number in numbers
    ]
    assert sum(len(control.tables) for control in CONTROLS) == len(TABLES)
    assert sum(len(control.tests) for control in CONTROLS) == len(TESTS)
    for control in CONTROLS:
        assert set(control.also) <= set(TABLES)
        assert control.asks
        assert control.outside
        assert control.soc2
        assert control.pci
        assert control.nist
        assert control.tables or control.also


@pytest.mark.parametrize("test", TESTS.values(), ids=list(TESTS))
def test_tests_say_what_they_expect(test: table.Test) -> None:
    """Severity, table and words."""
    assert test.severity in table.SEVERITIES
    assert test.table in TABLES
    assert test.expected


def test_columns_are_named_once() -> None:
    """No table has a column twice, nor one of those that all have."""
    for each in TABLES.values():
        names = ["leaf_index", "leaf_hash", "ts_utc", "gw_id", "boot_id", "gw_seq", *each.columns, "leaves"]
        assert len(set(names)) == len(names), each.name
        assert each.counts <= each.reads


GUIDE = (Path(__file__).parents[3] / "docs/guides/audit.md").read_text()


@pytest.mark.parametrize("control", CONTROLS, ids=lambda control: control.id)
def test_the_guide_answers_for_each_control(control: table.Control) -> None:
    """What is asked, the command, each table with its rule, each test, and what is outside the log, as the code has them."""
    section = " ".join(GUIDE.partition(f"### {control.id} {control.title}\n")[2].partition("\n### ")[0].split())
    assert control.asks in section
    assert f"doorward evidence show {control.id} " in section
    assert control.outside in section
    for each in control.tables:
        assert f"| `tables/{each.name}` | {each.rule.replace('|', chr(92) + '|')} |" in section
    for name in control.also:
        assert f"`tables/{name}`" in section
    for test in control.tests:
        assert f"| `{test.id}` | {test.severity} | {test.expected} |" in section
