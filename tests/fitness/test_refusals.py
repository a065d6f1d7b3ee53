"""Every SQLSTATE and every code of a refusal that the program can send is in the guide for those who receive it."""

from __future__ import annotations

import ast
import re

import pytest

from doorward.protocols.postgres.conversation import SQLSTATES
from tests.fitness.test_house import ROOT, SOURCE

GUIDE = (ROOT / "docs/guides/errors.md").read_text()
# A SQLSTATE is five capitals and digits; some such texts are something else.
SQLSTATE = re.compile(r"(?:[0-9][0-9A-Z]{4}|XX[0-9]{3})\Z")
ELSE = {"00000"}  # "no error": the SQLSTATE of a notice


def sent() -> set[str]:
    """The SQLSTATEs written in the code that speaks to clients."""
    found = set()
    for folder in ("server", "protocols/postgres", "guard"):
        for path in (SOURCE / "doorward" / folder).glob("*.py"):
            if path.name == "redact_fields.py":  # it lists what PostgreSQL itself may send
                continue
            for node in ast.walk(ast.parse(path.read_text())):
                if isinstance(node, ast.Constant) and isinstance(node.value, str) and SQLSTATE.match(node.value):
                    found.add(node.value)
    return found - ELSE


def codes() -> set[str]:
    """The codes of refusals: those with a SQLSTATE of their own, and those written where a Refusal is made."""
    found = set(SQLSTATES)
    for path in (SOURCE / "doorward").rglob("*.py"):
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.Call) and getattr(node.func, "id", "") == "Refusal" and len(node.args) > 2:
                found |= {
                    each.value
                    for each in ast.walk(node.args[2])
                    if isinstance(each, ast.Constant) and isinstance(each.value, str)
                }
    return found


def test_there_are_some() -> None:
    """The search itself finds what is known to be there."""
    assert {"42501", "57014", "58030", "28P01"} <= sent()
    assert {"denied", "unrecorded", "voided"} <= codes()


@pytest.mark.parametrize("sqlstate", sorted(sent()))
def test_every_sqlstate_is_explained(sqlstate: str) -> None:
    """Somebody who receives it can look it up."""
    assert f"| `{sqlstate}` |" in GUIDE


@pytest.mark.parametrize("code", sorted(codes()))
def test_every_code_of_a_refusal_is_explained(code: str) -> None:
    """Somebody who finds it in a record can look it up."""
    assert f"| `{code}` |" in GUIDE


@pytest.mark.parametrize(("code", "sqlstate"), SQLSTATES.items())
def test_code_and_sqlstate_go_together(code: str, sqlstate: str) -> None:
    """The guide gives each code the SQLSTATE that the program sends with it."""
    assert re.search(rf"^\| `{sqlstate}` \| `{code}` \|", GUIDE, re.MULTILINE)
