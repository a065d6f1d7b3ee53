"""The specification of what is recorded names exactly what the code records: members, outcomes and kinds."""

from __future__ import annotations

import ast
import re

from doorward.guard import session_recorder
from doorward.guard.recorder import encode_event
from doorward.ledger import segment
from doorward.ledger.encoding import parse
from doorward.model import Event
from tests.fitness.test_house import ROOT, SOURCE

RECORDING = (ROOT / "docs/spec/recording.md").read_text()
LEDGER = (ROOT / "docs/spec/ledger.md").read_text()
EVENTS = (ROOT / "docs/spec/event.md").read_text()


def section(page: str, heading: str) -> str:
    """The text below a heading, up to the next."""
    return re.split(r"^#{2,3} ", page.partition(f" {heading}\n")[2], maxsplit=1, flags=re.MULTILINE)[0]


def members(text: str) -> set[str]:
    """The names in the first column of the tables of members."""
    rows = re.findall(r"^\| (`[^|]+`) \| (?:required|optional) \|", text, re.MULTILINE)
    return {name for row in rows for name in re.findall(r"`(\w+)`", row)}


def function(path: str, name: str) -> ast.FunctionDef:
    for node in ast.walk(ast.parse((SOURCE / "doorward" / path).read_text())):
        if isinstance(node, ast.FunctionDef) and node.name == name:
            return node
    raise AssertionError(name)


def written(node: ast.AST, variable: str) -> set[str]:
    """The keys that a function gives to a dictionary of that name."""
    found = set()
    for each in ast.walk(node):
        if isinstance(each, ast.Subscript) and isinstance(each.value, ast.Name) and each.value.id == variable:
            assert isinstance(each.slice, ast.Constant)
            found.add(str(each.slice.value))
        if isinstance(each, ast.AnnAssign) and getattr(each.target, "id", "") == variable and isinstance(each.value, ast.Dict):
            found |= {str(key.value) for key in each.value.keys if isinstance(key, ast.Constant)}
    return found


def test_the_members_of_an_outcome() -> None:
    """Of SETTLED, however it is made, and of `operation.settled`."""
    specified = members(section(RECORDING, "4.3 SETTLED"))
    assert specified == written(function("guard/guard.py", "settle"), "body") - {"operation"}
    assert specified >= written(function("guard/guard.py", "_settled"), "body") >= {"outcome", "rows", "sqlstate"}


def test_the_outcomes() -> None:
    """Every word that the code gives an outcome by is explained, and no other is."""
    specified = set(re.findall(r"^\| `(\w+)` \| (?!required|optional)", section(RECORDING, "4.3 SETTLED"), re.MULTILINE))
    source = "".join(
        (SOURCE / "doorward" / path).read_text()
        for path in ("protocols/postgres/answers.py", "guard/guard.py", "guard/recovery.py", "server/own.py")
    )
    used = set(re.findall(r"""outcome\\?"?\]?(?: ==| =|:) ?\\?"([a-z_]+)\\?\"""", source))
    assert specified - {"outcome"} == used - {"allow"}


def test_the_kinds_of_records() -> None:
    """Of a segment and of the write-ahead log, by number and name."""
    row = re.compile(r"^\| (\d) \| ([A-Z_]+) \|", re.MULTILINE)
    kinds = {int(number): name for number, name in row.findall(section(RECORDING, "4. Records"))}
    assert kinds == {getattr(segment, name): name for name in kinds.values()}
    assert len(kinds) == 6
    logged = {int(number): name for number, name in row.findall(LEDGER)}
    assert logged == {getattr(session_recorder, name): name for name in ("EVENT", "TEMPLATE", "RUN", "NOTE", "DECLARED")}


def test_the_members_of_an_event() -> None:
    """As the canonical bytes have them."""
    specified = set(re.findall(r"^\| `(\w+)` \|", EVENTS.partition("## ")[0], re.MULTILINE))
    made: object = parse(encode_event(Event("id", 1, "log.beat", "", "", {})))
    assert isinstance(made, dict)
    assert specified == set(made)
