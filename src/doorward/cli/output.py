"""How commands print: text for people, JSON for programs, nothing that a stranger wrote unescaped.

Contract: results go to standard output, everything else to standard error. Colours only on a terminal, and never with
NO_COLOR. Whatever came from a client or a target passes `visible` before it is printed: control characters, which could
move the cursor and rewrite what an approver has read, and invisible or direction-changing ones are spelled out.
"""

from __future__ import annotations

import json
import os
import shutil
import sys
from collections.abc import Callable, Iterable, Sequence
from datetime import UTC, datetime
from typing import Any

from rich.console import Console
from rich.text import Text

from doorward.model.visible import lasting as lasting  # what commands print with
from doorward.model.visible import moment as moment
from doorward.model.visible import visible as visible

STATES = {
    "approved": "green", "spent": "green", "completed": "green", "committed": "green", "allowed": "green", "open": "green",
    "waiting": "yellow", "parked": "yellow", "observed": "yellow", "suspended": "yellow", "rolled_back": "yellow",
    "denied": "red", "expired": "red", "withdrawn": "red", "refused": "red", "failed": "red", "unknown": "red",
    "ok": "green", "LEAK": "red",
}  # fmt: skip


FOLDED = 24  # columns that a cell on a second line takes at most, unless it is the last


class RefusedError(Exception):
    """The answer is no, or there is no such thing. Exit code 1."""

    def __init__(self, message: str, *, hint: str = "") -> None:
        super().__init__(message)
        self.message = message
        self.hint = hint


def console(*, error: bool = False) -> Console:
    """A console that adds nothing of its own: no markup, no highlighting, no wrapping."""
    return Console(stderr=error, markup=False, highlight=False, soft_wrap=True, emoji=False)


def print_json(value: object) -> None:
    """JSON for programs, ASCII only, so that what is in it cannot act on a terminal either."""
    print(json.dumps(value, indent=2))


def print_json_line(value: object) -> None:
    print(json.dumps(value, separators=(",", ":")), flush=True)


def styled(text: str) -> Text:
    """A state in its colour."""
    return Text(text, style=STATES.get(text, ""))


def width() -> int:
    """How many columns a line may take; 0: as many as it likes, because no terminal shows it and COLUMNS does not say."""
    said = os.environ.get("COLUMNS", "")
    if said.isdigit():
        return int(said)
    return shutil.get_terminal_size().columns if sys.stdout.isatty() else 0


def table(
    heads: Sequence[str], rows: Iterable[Sequence[str]], *, fold: int, wide: bool = False, states: str = "STATE"
) -> None:
    """Aligned columns, a row a line. Where that is wider than the terminal, and not `wide`, a row takes two lines: its first
    `fold` columns, whole, since a listing is for copying ids out of; and below them the rest, cut where it has to be."""
    shown = [list(heads), *([visible(cell) for cell in row] for row in rows)]
    widths = [max(len(row[n]) for row in shown) for n in range(len(heads))]
    limit = 0 if wide else width()
    lines = [range(len(heads))]
    if limit and sum(widths) + 2 * len(widths) - 2 > limit:
        lines = [range(fold), range(fold, len(heads))]
        widths = [w if n < fold else min(w, FOLDED) for n, w in enumerate(widths)]
    out = console()
    for number, row in enumerate(shown):
        for line, columns in enumerate(lines):
            text = Text("  " if line else "", style="" if number else "bold")
            for n in columns:
                cell = row[n]
                if line:
                    room = max(1, limit - len(text)) if n == columns[-1] else widths[n]
                    cell = cell if len(cell) <= room else cell[: room - 1] + "…"
                if n < columns[-1]:
                    cell = cell.ljust(widths[n]) + "  "
                text.append(cell, style=STATES.get(row[n], "") if number and heads[n] == states else "")
            text.rstrip()
            out.print(text)


def listing(
    found: Sequence[Any], heads: Sequence[str], row: Callable[[Any], Sequence[str]], *, none: str, fold: int, wide: bool,
    as_json: bool,
) -> int:  # fmt: skip
    """What a command that lists prints: JSON, or a table of a row each, or what it means that there is `none`. Its exit
    code."""
    if as_json:
        print_json(found)
    elif found:
        table(heads, map(row, found), fold=fold, wide=wide)
    else:
        note(none)
    return 0


def facts(pairs: Iterable[tuple[str, str | Text]]) -> None:
    """One fact a line, names aligned. Text values are printed as they are: they must have passed `visible`."""
    kept = [(name, value) for name, value in pairs if str(value)]
    width = max((len(name) for name, _ in kept), default=0)
    out = console()
    for name, value in kept:
        line = Text(f"{name:<{width}}  ", style="bold")
        body = value if isinstance(value, Text) else Text(value)
        body.style = body.style or "not bold"
        rest = body.split("\n")
        line.append_text(rest[0])
        for more in rest[1:]:
            line.append("\n" + " " * (width + 2))
            line.append_text(more)
        out.print(line)


def note(text: str) -> None:
    """Something to know that is not the result."""
    console(error=True).print(Text(text, style="dim"))


def precise(at: int) -> str:
    """Unix ms as UTC time of day, to the millisecond."""
    return datetime.fromtimestamp(at / 1000, UTC).strftime("%H:%M:%S.%f")[:-3] if at else "--:--:--.---"


def failed(message: str, hint: str = "") -> None:
    """What happened and what to do next, on standard error."""
    print(f"doorward: {visible(message, lines=True)}", file=sys.stderr)
    if hint:
        print(f"  {visible(hint, lines=True)}", file=sys.stderr)


def who(identity: Any) -> str:
    """An identity's id, which is issuer|subject, with the subject first."""
    issuer, bar, subject = str(identity).partition("|")
    return f"{subject} ({issuer})" if bar else issuer
