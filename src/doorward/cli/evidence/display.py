"""`doorward evidence show` and `self-test`: controls on the screen, and that their tests can fail."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from doorward.cli import output
from doorward.cli.evidence.gather import Gathered, progress_bar
from doorward.cli.output import RefusedError
from doorward.evidence.controls import CONTROLS, TABLES, TESTS, of_test
from doorward.evidence.examination import Examination, rehearse
from doorward.evidence.prose import state
from doorward.evidence.record import Row, cell, moment
from doorward.evidence.table import Control, Table
from doorward.guard.evidence import examine


def chosen(control: str) -> Sequence[Control]:
    """All controls, or the one that is called so: `A.8.2`, `8.2`. RefusedError."""
    if not control:
        return CONTROLS
    wanted = control.upper().removeprefix("A.")
    found = [each for each in CONTROLS if each.id == f"A.{wanted}"]
    if not found:
        known = ", ".join(each.id for each in CONTROLS)
        raise RefusedError(f"there is no control {output.visible(control)} here", hint=f"there are {known}")
    return found


class Newest:
    """The newest rows of each table. Bounded by `most`."""

    def __init__(self, most: int) -> None:
        self.most = most
        self.rows: dict[str, list[Row]] = {}

    def row(self, table: Table, row: Row) -> None:
        rows = self.rows.setdefault(table.name, [])
        rows.append(row)
        if len(rows) > 2 * self.most:
            del rows[: -self.most]

    def of(self, name: str) -> list[Row]:
        return self.rows.get(name, [])[-self.most :] if self.most else []


async def look(
    gathered: Gathered, since: str, until: str, controls: Sequence[Control], most: int
) -> tuple[Examination, Newest]:
    """Examine the record for these controls."""
    first, end = gathered.period(since, until)
    newest = Newest(most)
    examination = Examination(first, end, newest, controls=controls)
    with progress_bar() as progress:
        await examine(gathered.reader, gathered.source, gathered.checkpoint, examination, progress=progress)
    return examination, newest


def as_json(examination: Examination, newest: Newest, gathered: Gathered) -> dict[str, Any]:
    """All of it, for programs."""
    return {
        "origin": gathered.checkpoint.origin, "size": gathered.checkpoint.size, "from": examination.since,
        "to": examination.until, "from_leaf": examination.from_leaf, "to_leaf": examination.to_leaf,
        "controls": [
            {
                "control": control.id, "title": control.title, "asks": control.asks, "state": state(examination, control),
                "outside": control.outside, "soc2": control.soc2, "pci": control.pci, "nist": control.nist,
                "tables": [
                    {
                        "table": name, "rows": examination.tallies[name].rows, "carried": examination.tallies[name].carried,
                        "newest": [TABLES[name].cells(row) for row in newest.of(name)],
                    }
                    for name in _tables(control)
                ],
                "tests": [
                    each for each in examination.tests()["tests"] if each["test"] in {test.id for test in control.tests}
                ],
                "exceptions": [
                    {
                        "exception": each.id, "test": each.test.id, "severity": each.test.severity,
                        "expected": each.test.expected, "actual": each.actual,
                        "subject": each.subject, "sid": each.sid, "leaf": each.row.ref.leaf,
                        "at": each.row.ref.at,
                    }
                    for each in examination.exceptions if each.test in control.tests
                ],
            }
            for control in examination.controls
        ],
    }  # fmt: skip


def print_all(examination: Examination) -> None:
    """One line a control."""
    rows = []
    for control in examination.controls:
        results = [examination.results[test.id] for test in control.tests]
        rows.append((
            control.id, control.title, str(sum(examination.tallies[name].rows for name in _tables(control))),
            f"{sum(r.population > 0 for r in results)}/{len(results)}", str(sum(r.failed for r in results)),
            state(examination, control),
        ))  # fmt: skip
    output.table(("CONTROL", "TITLE", "ROWS", "TESTS", "EXCEPTIONS", "STATE"), rows, fold=2)


def print_one(examination: Examination, newest: Newest) -> None:
    """One control: what is asked, the tables with their newest rows, tests, exceptions, what is outside."""
    (control,) = examination.controls
    console = output.console()
    console.print(f"{control.id} {control.title}: {state(examination, control)}")
    console.print(f"Asked     {control.asks}")
    period = f"{moment(examination.since)} to before {moment(examination.until)}"
    console.print(f"Period    {period}: leaves {examination.from_leaf:,} to before {examination.to_leaf:,}")
    for name in _tables(control):
        tally, table = examination.tallies[name], TABLES[name]
        console.print(f"\n{name}: {tally.rows:,} rows, {tally.carried:,} from before the period")
        rows = newest.of(name)
        if rows:
            shown = [column for column in table.columns if any(_short(table.cells(row)[column]) for row in rows)][:7]
            output.table(
                ("LEAF", "TIME", *(column.upper() for column in shown)),
                [
                    (str(row.ref.leaf), moment(row.ref.at)[:19], *(_short(table.cells(row)[column]) for column in shown))
                    for row in rows
                ],
                fold=2,
            )  # fmt: skip
    if control.tests:
        console.print("\ntests")
        output.table(
            ("TEST", "SEVERITY", "POPULATION", "FAILED", "EVER FAILED", "EXPECTED"),
            [
                (r.test.id, r.test.severity, str(r.population), str(r.failed), str(r.ever_failed), r.test.expected)
                for r in examination.results.values()
            ],
            fold=2,
        )  # fmt: skip
    if examination.exceptions:
        console.print("\nexceptions")
        output.table(
            ("EXCEPTION", "TEST", "LEAF", "SUBJECT", "FOUND"),
            [(e.id, e.test.id, str(e.row.ref.leaf), e.subject, e.actual) for e in examination.exceptions[-50:]],
            fold=2,
        )
    console.print(f"\nOutside the log: {control.outside}")


def _tables(control: Control) -> list[str]:
    return [*(table.name for table in control.tables), *control.also]


def _short(value: Any) -> str:
    shown = cell(value) if not isinstance(value, str) else value
    shown = shown if shown not in ("[]", "false", "0") else ""
    return shown if len(shown) <= 40 else shown[:39] + "…"


def self_test() -> list[dict[str, Any]]:
    """Each test over the violation that stands with it: whether it was caught."""
    found = []
    for name, test in sorted(TESTS.items()):
        examination = rehearse(test, test.violation)
        caught = examination.results[name].failed > 0
        found.append({
            "test": name, "version": test.version, "control": of_test(name).id, "severity": test.severity, "synthetic": True,
            "caught": caught, "actual": examination.exceptions[0].actual if caught else "",
        })  # fmt: skip
    return found
