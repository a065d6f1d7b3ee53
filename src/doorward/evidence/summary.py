"""A control on paper: what is asked, how many, what failed, what is outside; as the source of a typst document.

Nothing rests on it: every number is one of `population.json` and `tests.json`. Texts from the record are put in as strings,
never as markup, so that none of them is read as a command.
"""

from __future__ import annotations

import json
from typing import Final

from doorward.evidence.controls import TABLES
from doorward.evidence.examination import Examination
from doorward.evidence.prose import state
from doorward.evidence.record import moment
from doorward.evidence.table import Control
from doorward.model import Checkpoint

MOST: Final = 40  # exceptions that a page lists; all of them are in exceptions.csv
_HEAD: Final = """\
#set page(paper: "a4", margin: 2cm, footer: context [#text(8pt)[#footer #h(1fr) #counter(page).display("1 / 1", both: true)]])
#set text(10pt, lang: "en")
#set par(justify: false)
#show heading: set block(above: 1.2em, below: 0.6em)
#set table(stroke: 0.4pt + luma(160), inset: 4pt)
#show table: set text(8pt)
"""


def summary(examination: Examination, control: Control, checkpoint: Checkpoint) -> str:
    """The typst source of one control's page."""
    results = [examination.results[test.id] for test in control.tests]
    found = [each for each in examination.exceptions if each.test in control.tests]
    names = [*(table.name for table in control.tables), *control.also]
    title = f"{control.id} {control.title}"
    footer = f"{checkpoint.origin}, {checkpoint.size} leaves, root {checkpoint.root.hex()[:32]}…"
    period = (
        f"{moment(examination.since)} to before {moment(examination.until)}: leaves {examination.from_leaf} to before "
        f"{examination.to_leaf}."
    )
    lines = [
        f"#set document(title: {_text(title)}, author: {_text('Doorward')})", f"#let footer = {_text(footer)}", _HEAD,
        f"= #{_text(title)}", _line("State", state(examination, control)), _line("Period", period),
        _line("Asked", control.asks), "== Populations",
        _table(
            ("Table", "Rows", "Before the period", "What a row is"),
            [
                (name, str(examination.tallies[name].rows), str(examination.tallies[name].carried), TABLES[name].rule)
                for name in names
            ],
            "(auto, auto, auto, 1fr)",
        ),
    ]  # fmt: skip
    if results:
        lines += ["== Tests", _table(
            ("Test", "Severity", "Population", "Failed", "Ever failed", "Expected"),
            [
                (r.test.id, r.test.severity, str(r.population), str(r.failed), str(r.ever_failed), r.test.expected)
                for r in results
            ],
            "(auto, auto, auto, auto, auto, 1fr)",
        )]  # fmt: skip
    if found:
        lines += [f"== Exceptions ({len(found)})", _table(
            ("Exception", "Test", "Leaf", "Subject", "Found"),
            [(e.id, e.test.id, str(e.row.ref.leaf), e.subject[:60], e.actual[:200]) for e in found[:MOST]],
            "(auto, auto, auto, 1fr, 1.5fr)",
        )]  # fmt: skip
        if len(found) > MOST:
            lines.append(f"#{_text(f'{len(found) - MOST} more are in exceptions.csv.')}")
    cross = f"SOC 2 {', '.join(control.soc2)}; PCI DSS 4.0.1 {', '.join(control.pci)}; NIST 800-53 r5 {', '.join(control.nist)}"
    lines += ["== Outside the log", f"#{_text(control.outside)}", _line("Also speaks to", cross)]
    return "\n\n".join(lines) + "\n"


def _text(value: str) -> str:
    """A typst string: JSON's escapes, but for characters that it names by another escape."""
    plain = "".join(letter if letter.isprintable() else " " for letter in value)
    return json.dumps(plain, ensure_ascii=False)


def _line(name: str, value: str) -> str:
    return f"*#{_text(name)}:* #{_text(value)}"


def _table(heads: tuple[str, ...], rows: list[tuple[str, ...]], columns: str) -> str:
    head = ", ".join(f"[*#{_text(each)}*]" for each in heads)
    cells = [", ".join(f"[#{_text(each)}]" for each in row) for row in rows]
    return f"#table(columns: {columns}, table.header({head}),\n  " + ",\n  ".join(cells) + ")"
