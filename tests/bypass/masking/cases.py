"""The cases, as the files in cases/ say them.

A file is a family. A line is a statement; its first word says what must come of it:

    masked    it is answered, and nothing in the answer depends on a labelled value
    stripped  it fails at the target, and the client learns no more of the error than its kind
    refused   the gateway does not let it through
    held      it waits for somebody's yes
    given     it only prepares the statement below; there may be several

`#` begins a comment. Behind the first word, `18` is for statements that PostgreSQL 15 does not know, `15` for what our
PostgreSQL 18 is built without, and `quiet` for those whose answer past the gateway is the same in both worlds: what they
try is not a value that comes back.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path

OUTCOMES = frozenset({"masked", "stripped", "refused", "held"})


@dataclass(frozen=True)
class Case:
    """One way to get at a planted value. `quiet`: past the gateway, too, it shows nothing that differs."""

    family: str
    number: int
    outcome: str
    steps: tuple[str, ...]
    versions: frozenset[int] = frozenset((15, 18))
    quiet: bool = False

    @property
    def id(self) -> str:
        words = re.sub(r"\W+", "-", self.steps[-1])[:48].strip("-")
        return f"{self.family}-{self.number:02}-{words}"


def read(folder: Path) -> list[Case]:
    """Every case of every family. ValueError: a line that says nothing."""
    found = []
    for path in sorted(folder.glob("*.txt")):
        given: list[str] = []
        number = 0
        for line in path.read_text().splitlines():
            if not line.strip() or line.startswith("#"):
                continue
            words = re.match(r"(\w+)((?:\s+(?:15|18|quiet)\b)*)\s+(\S.*)", line)
            if words is None or words[1] not in OUTCOMES | {"given"}:
                raise ValueError(f"{path.name}: {line}")
            if words[1] == "given":
                given.append(words[3])
                continue
            number += 1
            marks = words[2].split()
            steps = (*given, words[3])
            given = []
            versions = frozenset(int(mark) for mark in marks if mark.isdigit()) or frozenset((15, 18))
            found.append(Case(path.stem, number, words[1], steps, versions, "quiet" in marks))
        if given:
            raise ValueError(f"{path.name} ends with what only prepares something")
    return found


CASES = read(Path(__file__).with_name("cases"))
