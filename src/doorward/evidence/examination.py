"""One pass over a log: every table computed, every test run, every population counted.

Fed with each leaf in order,
and after it with its opened record where some table reads its type. Rows go to a sink as they are
complete; what is kept is what is open, the exceptions, and counters. Tables are computed from the log's first leaf on,
so that
what was open or in force when the period began is there, and so that it is known which tests have ever failed.

A row is of the period where the leaf that it is about is before the period's end, and it rests on a leaf of the period or is
still open at its end. Does not read, open or write anything.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from hashlib import sha256
from typing import Any, Final, Protocol, cast

from doorward.evidence.controls import CONTROLS, of_table, of_test
from doorward.evidence.record import Record, Ref, Row, Value, moment
from doorward.evidence.sample import Sampler
from doorward.evidence.table import Control, Fold, LeafFold, Planted, Table, Test
from doorward.ledger.encoding import canonical

MOST_EXCEPTIONS: Final = 100_000  # that a pack lists one by one; beyond them they are counted

EXCEPTIONS: Final = (
    "exception_id", "control_ids", "test_id", "test_version", "severity", "synthetic", "detected_ts", "detected_by",
    "subject",
    "sid", "expected", "actual", "window_start", "window_end", "sla", "sla_breach_by", "affected_population_count", "rate",
    "root_cause", "compensating_control", "risk_owner", "acceptance_ref", "remediation", "due", "closed_ts", "retest_pack_id",
    "evidence_refs", "recurrence_of", "status",
)  # fmt: skip


class Sink(Protocol):
    """Where rows of the period go."""

    def row(self, table: Table, row: Row) -> None: ...


class Nowhere:
    """For who wants the counts alone."""

    def row(self, table: Table, row: Row) -> None:
        pass


@dataclass(slots=True)
class Tally:
    """Of one table: rows of the period; those about a leaf before it; and rows about leaves of the period, by type."""

    rows: int = 0
    carried: int = 0
    by_type: Counter[str] = field(default_factory=Counter)


@dataclass(slots=True)
class Result:
    """Of one test."""

    test: Test
    population: int = 0
    failed: int = 0
    ever_run: int = 0
    ever_failed: int = 0
    synthetic_failed: int = 0
    unlisted: int = 0

    @property
    def status(self) -> str:
        return "failed" if self.failed else "passed" if self.population else "no population"


@dataclass(frozen=True, slots=True)
class Finding:
    """A row that does not bear out its test."""

    test: Test
    row: Row
    subject: str
    sid: str
    actual: str
    detected_at: int
    synthetic: bool = False

    @property
    def id(self) -> str:
        said = f"{self.test.id}\0".encode() + self.row.ref.hash + b"\0" + self.actual.encode()
        return f"EX-{sha256(said).hexdigest()[:12]}"


class Examination:
    """`since` and `until` are the period `[since, until)` in Unix ms. `samplers`, by table, draw from its rows."""

    def __init__(
        self,
        since: int,
        until: int,
        sink: Sink | None = None,
        *,
        controls: Sequence[Control] = CONTROLS,
        samplers: Mapping[str, Sampler] | None = None,
    ) -> None:
        self.since, self.until = since, until
        self.controls = controls
        self._sink = sink or Nowhere()
        self.samplers = samplers or {}
        self.tables = {table.name: table for control in controls for table in control.tables}
        for name in [name for control in controls for name in control.also if name not in self.tables]:
            self.tables[name] = _every()[name]
        self.tallies = {name: Tally() for name in self.tables}
        self.results = {test.id: Result(test) for control in controls for test in control.tests}
        self.exceptions: list[Finding] = []
        self.size = 0
        self.at = 0  # of the newest leaf
        self.leaves: Counter[str] = Counter()  # of the period, by type
        self.unopened: Counter[str] = Counter()  # of those, by type
        self.named: set[int] = set()  # leaves outside the period that rows of it rest on
        self._from: int | None = None
        self._to: int | None = None
        self._tests: dict[str, list[Result]] = {}
        for result in self.results.values():
            if result.test.table not in self.tables:
                self.tables[result.test.table] = _every()[result.test.table]
                self.tallies[result.test.table] = Tally()
            self._tests.setdefault(result.test.table, []).append(result)
        self._folds: dict[str, list[tuple[Table, Fold]]] = {}
        self._all: list[tuple[Table, Fold]] = []
        self._each_leaf: list[tuple[Table, LeafFold]] = []
        for table in self.tables.values():
            fold = table.fold()
            self._all.append((table, fold))
            if table.every_leaf:
                self._each_leaf.append((table, cast("LeafFold", fold)))
            for type_ in table.reads:
                self._folds.setdefault(type_, []).append((table, fold))

    @property
    def reads(self) -> frozenset[str]:
        """The event types whose records are to be opened."""
        return frozenset(self._folds)

    @property
    def from_leaf(self) -> int:
        """The period's first leaf: the first with a time in it or later."""
        return self.size if self._from is None else self._from

    @property
    def to_leaf(self) -> int:
        return self.size if self._to is None else self._to

    @property
    def inside(self) -> bool:
        """Whether the newest leaf is one of the period."""
        return self._from is not None and self._to is None

    def leaf(self, ref: Ref) -> None:
        """The next leaf of the log."""
        self.size, self.at = ref.leaf + 1, max(self.at, ref.at)
        if self._from is None and ref.at >= self.since:
            self._from = ref.leaf
        if self._from is not None and self._to is None and ref.at >= self.until:
            self._to = ref.leaf
        if self._from is not None and self._to is None:
            self.leaves[ref.type] += 1
        for table, fold in self._each_leaf:
            for row in fold.leaf(ref):
                self._emit(table, row)

    def record(self, record: Record) -> None:
        """The record of the newest leaf."""
        for table, fold in self._folds.get(record.ref.type, ()):
            for row in fold.add(record):
                self._emit(table, row)

    def missing(self, ref: Ref) -> None:
        """The newest leaf is of a type that is read, and its record does not open (any more)."""
        if self.inside:
            self.unopened[ref.type] += 1

    def end(self) -> None:
        """After the last leaf."""
        for table, fold in self._all:
            for row in fold.end(self.at):
                self._emit(table, row)

    def _emit(self, table: Table, row: Row) -> None:
        first = self._from
        of_period = (
            first is not None and (self._to is None or row.ref.leaf < self._to) and (row.open or row.last() >= first)
        )
        tests = self._tests.get(table.name)
        if tests:
            self._test(tests, table.cells(row), row, of_period)
        if not of_period:
            return
        assert first is not None
        tally = self.tallies[table.name]
        tally.rows += 1
        if row.ref.leaf < first:
            tally.carried += 1
            self.named.add(row.ref.leaf)
        else:
            tally.by_type[row.ref.type] += 1
        for leaf in row.leaves:
            if isinstance(leaf, int) and (leaf < first or (self._to is not None and leaf >= self._to)):
                self.named.add(leaf)
        sampler = self.samplers.get(table.name)
        if sampler is not None:
            sampler.add(row)
        self._sink.row(table, row)

    def _test(self, results: Iterable[Result], cells: Mapping[str, Any], row: Row, of_period: bool) -> None:
        for result in results:
            test = result.test
            if not test.applies(cells):
                continue
            actual = test.check(cells)
            result.ever_run += 1
            result.ever_failed += bool(actual)
            if not of_period:
                continue
            result.population += 1
            if actual:
                result.failed += 1
                if len(self.exceptions) < MOST_EXCEPTIONS:
                    subject, sid = str(cells.get("subject", "")), str(cells.get("sid", ""))
                    self.exceptions.append(Finding(test, row, subject, sid, actual, self.at))
                else:
                    result.unlisted += 1

    # What it found, for the pack ------------------------------------------------------------------------------------

    def population(self) -> dict[str, Any]:
        """`population.json`."""
        return {
            "from_leaf": self.from_leaf, "to_leaf": self.to_leaf, "leaves": dict(sorted(self.leaves.items())),
            "tables": [self._population(table) for _, table in sorted(self.tables.items())],
        }  # fmt: skip

    def _population(self, table: Table) -> dict[str, Any]:
        tally = self.tallies[table.name]
        reconcile = {}
        for type_ in sorted(table.counts):
            leaves, rows, unopened = self.leaves[type_], tally.by_type[type_], self.unopened[type_]
            reconcile[type_] = {"leaves": leaves, "rows": rows, "unopened": unopened, "ok": leaves == rows + unopened}
        rule = {
            "table": table.name,
            "version": table.version,
            "columns": list(table.columns),
            "reads": sorted(table.reads),
        }
        return {
            "table": table.name, "version": table.version, "controls": [control.id for control in of_table(table.name)],
            "rows": tally.rows, "carried": tally.carried, "reconcile": reconcile, "rule": table.rule,
            "rule_sha256": sha256(canonical(rule)).hexdigest(),
        }  # fmt: skip

    def tests(self) -> dict[str, Any]:
        """`tests.json`."""
        shown = [
            {
                "test": result.test.id, "version": result.test.version, "controls": [of_test(result.test.id).id],
                "table": result.test.table, "severity": result.test.severity, "expected": result.test.expected,
                "population": result.population, "failed": result.failed, "unlisted": result.unlisted,
                "ever_run": result.ever_run, "ever_failed": result.ever_failed,
                "synthetic_failed": result.synthetic_failed, "status": result.status,
            }
            for _, result in sorted(self.results.items())
        ]  # fmt: skip
        results = self.results.values()
        totals = {
            "tests": len(results), "run": sum(r.population > 0 for r in results),
            "failed": sum(r.failed > 0 for r in results),
            "ever_failed": sum(r.ever_failed > 0 for r in results),
            "synthetic_failed": sum(r.synthetic_failed > 0 for r in results),
        }  # fmt: skip
        return {"tests": shown, "totals": totals}

    def rehearse(self) -> None:
        """Show each test the violation that stands with it: `synthetic_failed` says how many exceptions that made."""
        for result in self.results.values():
            result.synthetic_failed = rehearse(result.test, result.test.violation).results[result.test.id].failed

    def exception_rows(self) -> list[Row]:
        """The rows of `exceptions`."""
        return [Row(each.row.ref, self._exception(each), each.row.leaves) for each in self.exceptions]

    def _exception(self, found: Finding) -> list[Value]:
        test, result, ref = found.test, self.results[found.test.id], found.row.ref
        population = result.population
        return [
            found.id, [of_test(test.id).id], test.id, test.version, test.severity, found.synthetic, moment(found.detected_at),
            "doorward", found.subject, found.sid, test.expected, found.actual, moment(ref.at), moment(found.detected_at),
            test.sla,
            "", population, f"{result.failed} of {population}", "", "", "", "", "", "", "", "",
            [f"tables/{test.table}.csv", f"leaf {ref.leaf}"], "", "open",
        ]  # fmt: skip


def _every() -> dict[str, Table]:
    return {table.name: table for control in CONTROLS for table in control.tables}


def rehearse(test: Test, events: Sequence[Planted], controls: Sequence[Control] = CONTROLS) -> Examination:
    """The examination of a small made-up history: how it is shown that a test can fail. Its leaves are made up too."""
    table = next(table for control in controls for table in control.tables if table.name == test.table)
    shown = Control("", "", "", (table,), "", (test,))
    examination = Examination(0, 2**53, controls=(shown,))
    for index, event in enumerate(events):
        ref = Ref(
            index,
            sha256(f"{test.id}/{index}".encode()).digest(),
            event.at,
            "planted",
            "0" * 16,
            index,
            event.type,
            event.session,
        )
        examination.leaf(ref)
        if event.type in table.reads:
            examination.record(Record(ref, event.actor, event.body))
    examination.end()
    return examination
