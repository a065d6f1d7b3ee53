"""docs/asvs.md says of every requirement what is true, as far as a machine can tell."""

from __future__ import annotations

import ast
from collections import Counter

from tests.fitness.asvs import MEANING, lines, page, wanted
from tests.fitness.test_house import ROOT, tracked

TESTS = {
    node.name
    for path in tracked()
    if path.suffix == ".py" and "tests" in path.relative_to(ROOT).parts[:1]
    for node in ast.walk(ast.parse(path.read_text()))
    if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef) and node.name.startswith("test_")
}


def test_every_requirement_has_one_line() -> None:
    """And no line is about one that is not there, or not of these levels."""
    found = Counter(number for line in lines() for number in line["ids"])
    assert found == Counter(wanted())


def test_every_line_has_its_test_or_its_reason() -> None:
    """Tests that are named exist; whatever is not shown by a test says why."""
    assert {line["state"] for line in lines()} <= set(MEANING)
    missing = {name for line in lines() for name in line.get("tests", ()) if name not in TESTS}
    assert missing == set()
    for line in lines():
        assert line.get("tests") if line["state"] == "tested" else line.get("why"), line["ids"]


def test_the_page_is_made_from_the_table() -> None:
    """`python -m tests.fitness.asvs` writes it."""
    assert (ROOT / "docs/asvs.md").read_text() == page()
