"""How a replayed session is printed: as psql would have shown it, with what the gateway decided beside it."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from rich.text import Text

from doorward.cli import output
from doorward.protocols.postgres.replay import Answer, Statement

COPIED = 2000  # characters of COPY data that are shown
_WOULD_BE = {"hold": "held", "deny": "refused"}
_NUMBERS = frozenset({20, 21, 23, 26, 700, 701, 790, 1700})  # types that psql aligns to the right


def head(session: Mapping[str, Any], opened: Mapping[str, Any]) -> None:
    """Who, where and when, and under which terms it was recorded."""
    see = output.visible
    line = f"session {see(str(session['id']))}  {see(output.who(session['identity']))}, {see(str(session['kind']))}"
    out = output.console()
    out.print(Text(line, style="bold"))
    terms = [f"target {session['target']}", f"opened {output.moment(session['opened_at'])}"]
    if opened.get("mode") == "observe":
        terms.append("OBSERVE MODE: nothing was refused, held or masked")
    if opened.get("record") not in (None, "full"):
        terms.append(f"record = {opened['record']}")
    for name in ("client", "application", "purpose"):
        if opened.get(name):
            terms.append(f"{name} {opened[name]}")
    out.print(Text("  " + see(", ".join(terms)), style="dim"))


def show(statement: Statement, *, rows: bool) -> None:
    """One statement."""
    see = output.visible
    out = output.console()
    out.print()
    first = Text(f"{output.precise(statement.at)}  #{statement.number}  ", style="dim")
    first.append_text(_verdict(statement))
    out.print(first)
    if statement.text:
        out.print(Text(see(statement.text, lines=True), style="bold"))
    for number, value in enumerate(statement.params, 1):
        out.print(f"  ${number} = " + ("NULL" if value is None else see(value)))
    for answer in statement.answers:
        _answer(answer, statement, rows=rows)
    out.print(_outcome(statement))


def _verdict(statement: Statement) -> Text:
    see = output.visible
    if not statement.verdict:
        return Text(see(statement.note), style="red")
    line = output.styled(statement.verdict).copy()
    if statement.verdict == "approved":
        line = Text("approved", style="green")
    rules = ", ".join(str(rule) for rule in statement.decision.get("rules") or [])
    line.append(f" by {see(rules)}" if rules and statement.verdict != "refused" else "", style="dim")
    if statement.by:
        line.append(" (the gateway's own question)", style="dim")
    if statement.verdict == "observed":
        outcome = str(statement.decision.get("outcome", ""))
        line.append(f": would have been {_WOULD_BE.get(outcome) or see(outcome)}", style="yellow")
    if statement.verdict == "refused":
        line.append(f" ({see(statement.code)})" if statement.code else "")
        line.append(f" by {see(rules)}" if rules else "", style="dim")
        line.append(f": {see(statement.reason)}", style="red")
    if statement.approval:
        line.append(f", request {see(statement.approval)}", style="dim")
        people = ", ".join(output.who(each) for each in statement.approved_by)
        line.append(f", said yes: {see(people)}" if people else "", style="dim")
        line.append(f", held for {output.lasting(statement.held_ms)}", style="dim")
    return line


def _answer(answer: Answer, statement: Statement, *, rows: bool) -> None:
    see = output.visible
    out = output.console()
    for notice in answer.notices:
        out.print(Text(see(notice), style="dim"))
    if answer.copy:
        _copied(answer, rows=rows)
    if rows and (answer.shape or answer.kept):
        _table(answer)
    if answer.kind == "error":
        fields = answer.error
        out.print(Text(f"{see(fields.get('S', 'ERROR'))}:  {see(fields.get('M', ''))}", style="red"))
        for code, name in (("D", "DETAIL"), ("H", "HINT"), ("W", "CONTEXT")):
            if fields.get(code):
                out.print(f"{name}:  {see(fields[code])}")
        return
    if answer.kind in ("rows", "suspended") or answer.rows:
        whole = statement.rows if len(statement.answers) == 1 and statement.rows > answer.rows else answer.rows
        count = f"({whole} {'row' if whole == 1 else 'rows'})"
        missing = whole - len(answer.kept)
        out.print(count + (f", {len(answer.kept)} shown" if rows and missing > 0 else ""))
    if answer.tag:
        out.print(Text(see(answer.tag)))


def _copied(answer: Answer, *, rows: bool) -> None:
    way = "from the client" if answer.copy == "in" else "to the client"
    out = output.console()
    out.print(f"COPY data {way}: {answer.copied_bytes} bytes")
    if rows and answer.copied:
        text = answer.copied[: COPIED * 4].decode("utf-8", "replace")[:COPIED]
        out.print(output.visible(text, lines=True).rstrip("\n"))
        if answer.copied_bytes > len(text.encode()):
            out.print(Text("...", style="dim"))


def _table(answer: Answer) -> None:
    names = [output.visible(name) for name in answer.columns()]
    cells = [["" if value is None else output.visible(value) for value in row] for row in answer.table()]
    widths = [
        max(len(names[n]) if n < len(names) else 0, *(len(row[n]) for row in cells if n < len(row)), 0)
        for n in range(len(names))
    ]
    right = [n < len(answer.shape or ()) and (answer.shape or ())[n][1] in _NUMBERS for n in range(len(names))]
    out = output.console()
    out.print(Text(" " + " | ".join(n.center(w) for n, w in zip(names, widths, strict=True)).rstrip(), style="bold"))
    out.print("-" + "-+-".join("-" * width for width in widths) + "-")
    for row in cells:
        drawn = [c.rjust(w) if r else c.ljust(w) for c, w, r in zip(row, widths, right, strict=False)]
        out.print((" " + " | ".join(drawn)).rstrip())


def _outcome(statement: Statement) -> Text:
    line = Text("  ", style="dim")
    parts: list[Text] = []
    if statement.outcome:
        parts.append(output.styled(statement.outcome.replace("not_run", "did not run")))
    elif statement.verdict == "refused":
        parts.append(Text("nothing reached the target"))
    if statement.sqlstate:
        parts.append(Text(f"SQLSTATE {output.visible(statement.sqlstate)}"))
    if statement.masked:
        cells = ", ".join(f"{output.visible(label)} {count}" for label, count in sorted(statement.masked.items()))
        parts.append(Text(f"masked: {cells}"))
    if statement.in_transaction:
        parts.append(Text("in a transaction"))
    if statement.duration_ms is not None:
        parts.append(Text(output.lasting(statement.duration_ms)))
    if statement.note and statement.verdict:
        parts.append(Text(output.visible(statement.note)))
    line.append_text(Text(" · ").join(parts))
    return line
