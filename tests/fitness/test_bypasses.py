"""docs/bypasses.md and the corpus say the same: every row has its tests, every test of the corpus its row."""

from __future__ import annotations

import ast
import re

import pytest

from tests.fitness.test_house import ROOT

ROWS = {
    match[1]: re.findall(r"`(test_\w+)`", match[0])
    for match in re.finditer(r"^\| ([A-Z]{2}-\d+) \|.*$", (ROOT / "docs/bypasses.md").read_text(), re.MULTILINE)
}
PLACES = [
    *sorted((ROOT / "tests/bypass").rglob("test_*.py")),
    *sorted((ROOT / "tests/unit/web").glob("test_*.py")),
    *sorted((ROOT / "tests/unit/adapters/identity").glob("test_*.py")),
    *(ROOT / "tests" / name for name in (
        "unit/protocols/postgres/test_wire.py", "unit/model/test_visible.py", "unit/guard/test_guard.py", "e2e/test_pages.py",
        "unit/masking/test_scan.py", "unit/masking/test_detectors.py", "unit/protocols/postgres/test_wide.py",
        "unit/server/test_lookers.py", "unit/adapters/test_store.py", "unit/protocols/postgres/test_copied.py",
    )),
]  # fmt: skip
TESTS = {
    node.name: ast.get_docstring(node) or ""
    for place in PLACES
    for node in ast.walk(ast.parse(place.read_text()))
    if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef) and node.name.startswith("test_")
}
CORPUS = {name: said for name, said in TESTS.items() if re.match(r"(?:PG|HD|DW|CN|AT|MK|SA|TK|MC|GR|RC)-\d+", said)}
FIRST = {
    f"PG-{number:02}"
    for numbers in (
        (1, 2, 3, 4, 6, 7, 8, 9, 11, *range(13, 23), 24, 26, 27, 28, 29),
        (*range(40, 47), 48, 49, *range(51, 55)),
    )
    for number in numbers
}


@pytest.mark.parametrize("row", ROWS)
def test_every_row_has_its_tests(row: str) -> None:
    """A row of the table names tests, and they are there."""
    assert ROWS[row]
    assert [name for name in ROWS[row] if name not in TESTS] == []


@pytest.mark.parametrize("name", CORPUS)
def test_every_test_of_the_corpus_has_its_row(name: str) -> None:
    """A test says in its docstring which rows it is of, and they name it."""
    for row in re.findall(r"(?:PG|HD|DW|CN|AT|MK|SA|TK|MC|GR|RC)-\d+", CORPUS[name].partition(":")[0]):
        assert name in ROWS.get(row, ()), row


def test_the_corpus_only_grows() -> None:
    """What the table began with is in it still."""
    assert FIRST - set(ROWS) == set()
