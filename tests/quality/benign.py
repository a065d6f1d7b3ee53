"""The benign corpus: ordinary queries over labelled tables, and how many of their cells are masked that need not be.

Contract: `cases()` reads `benign/*.sql`. Every case says by hand which columns of its result depend on a labelled one; nothing
of Doorward's lineage is asked. `Oracle` holds what was written against two databases that differ in labelled values only: a
column that differs must be marked, one that is marked must differ. `compare` runs a case directly and through a gateway, in
each of its ways, and counts cells.

A file is a family. In it a case begins with a line `--> id name email*`: the names of the result's columns, in order, with
`*` behind those that depend on a labelled column, `*?` where these databases do not show it. What follows is its SQL; all
statements but the last are run first, everything is rolled back. `--$ 7 | paid` gives the parameters of the last; `--v 18`
names the first PostgreSQL that can do it. `--! why` says why cells are masked all the same: such a case must be masked in
part, or the note is stale.
"""

from __future__ import annotations

import contextlib
import csv
import dataclasses
import io
import re
import shlex
import struct
import tomllib
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path

import psycopg
from psycopg import pq

from tests.rig.gateway import ALLOW_ALL, launch, target_of
from tests.rig.issuer import LocalIssuer
from tests.rig.postgres import PostgresServer

FOLDER = Path(__file__).parent / "benign"
SALTS = ("first", "second")
WAYS = ("simple", "text", "binary")
POLICY = ALLOW_ALL + '@id("not-guessed") forbid (principal, action == Action::"infer", resource);'
_SIGNATURE = b"PGCOPY\n\xff\r\n\0"

Cells = list[list[bytes | None]]


@dataclass(frozen=True, slots=True)
class Case:
    """One query. `dependent`: by column, whether it depends on a label; `hidden`: the dependent ones that the two databases
    do not show as such. `before`: statements that come first. `known`: why it is masked all the same, "" if it must not be.
    `since`: the first version of PostgreSQL for it."""

    family: str
    line: int
    names: tuple[str, ...]
    dependent: tuple[bool, ...]
    hidden: frozenset[int]
    before: tuple[str, ...]
    text: str
    parameters: tuple[str | None, ...]
    known: str
    since: int

    @property
    def name(self) -> str:
        """Where it is: family and line."""
        return f"{self.family}:{self.line}"

    @property
    def copies(self) -> bool:
        """Whether its result comes as COPY data."""
        return self.text.lstrip().lower().startswith("copy")

    @property
    def ways(self) -> tuple[str, ...]:
        """COPY has a format of its own, and a query with parameters no simple way."""
        return WAYS[:1] if self.copies else WAYS[1:] if self.parameters else WAYS


@cache
def cases() -> tuple[Case, ...]:
    """All of the corpus. ValueError: a file is not written as it should be."""
    return tuple(case for path in sorted(FOLDER.glob("*.sql")) if path.stem != "schema" for case in _read(path))


def labels() -> dict[str, str]:
    """The labels of the corpus's database."""
    found: dict[str, str] = tomllib.loads((FOLDER / "labels.toml").read_text())
    return found


def _read(path: Path) -> Iterator[Case]:
    for block in re.finditer(r"^-->(.*)\n((?:(?!-->).*\n)*)", path.read_text(), re.M):
        line = path.read_text().count("\n", 0, block.start()) + 1
        marked = shlex.split(block[1])
        sql = "\n".join(text for text in block[2].splitlines() if not text.startswith("--"))
        statements = [text.strip() for text in re.split(r";[ ]*(?:\n|$)", sql) if text.strip()]
        if not statements or not marked:
            raise ValueError(f"{path.name}:{line}: no statement, or no columns")
        notes = {text[:3]: text[3:].strip() for text in block[2].splitlines() if text.startswith(("--$", "--!", "--v"))}
        parameters = [text.strip() for text in notes["--$"].split("|")] if "--$" in notes else []
        yield Case(
            family=path.stem,
            line=line,
            names=tuple(name.removesuffix("?").removesuffix("*") if "*" in name else name for name in marked),
            dependent=tuple(name.endswith(("*", "*?")) for name in marked),
            hidden=frozenset(i for i, name in enumerate(marked) if name.endswith("*?")),
            before=tuple(statements[:-1]),
            text=statements[-1],
            parameters=tuple(None if text == "NULL" else text for text in parameters),
            known=notes.get("--!", ""),
            since=int(notes.get("--v", 15)),
        )


class UnexpectedError(Exception):
    """A statement of a case failed, or gave what a case does not give."""


@dataclass(frozen=True, slots=True)
class Answer:
    """What came of a case: names of columns (of COPY none), their types, and cells. `bytes`: of COPY, all of it."""

    names: tuple[str, ...]
    types: tuple[int, ...]
    cells: Cells
    raw: bytes = b""


def run(connection: psycopg.Connection, case: Case, way: str) -> Answer:
    """Run a case in one way, in a transaction that is rolled back. UnexpectedError: something fails."""
    link = connection.pgconn
    try:
        for statement in ("begin", *case.before):
            _done(link.exec_(statement.encode()))
        if case.copies:
            return _copied(link, case.text)
        if way == "simple":
            result = link.exec_(case.text.encode())
        else:
            values = [None if value is None else value.encode() for value in case.parameters]
            result = link.exec_params(case.text.encode(), values, result_format=int(way == "binary"))
        _done(result)
        return Answer(
            tuple((result.fname(i) or b"").decode() for i in range(result.nfields)),
            tuple(result.ftype(i) for i in range(result.nfields)),
            [[result.get_value(row, i) for i in range(result.nfields)] for row in range(result.ntuples)],
        )
    finally:
        link.exec_(b"rollback")


def _done(result: pq.abc.PGresult) -> None:
    if result.status not in (pq.ExecStatus.COMMAND_OK, pq.ExecStatus.TUPLES_OK):
        raise UnexpectedError(result.error_message.decode(errors="replace").strip() or str(result.status))


def _copied(link: pq.abc.PGconn, text: str) -> Answer:
    result = link.exec_(text.encode())
    if result.status != pq.ExecStatus.COPY_OUT:
        raise UnexpectedError(result.error_message.decode(errors="replace").strip() or str(result.status))
    raw = bytearray()
    while True:
        length, chunk = link.get_copy_data(0)
        if length < 0:
            break
        raw += chunk
    while (last := link.get_result()) is not None:
        _done(last)
    return Answer((), (), _table(bytes(raw), text.lower()), bytes(raw))


def _table(raw: bytes, text: str) -> Cells:
    """The cells of COPY data. A null and an empty string are one in CSV; that is enough to compare."""
    if "binary" in text:
        if not raw.startswith(_SIGNATURE):
            raise UnexpectedError("no signature of binary COPY")
        cells, at = [], len(_SIGNATURE) + 8
        while (width := struct.unpack_from("!h", raw, at)[0]) >= 0:
            at += 2
            row: list[bytes | None] = []
            for _ in range(width):
                length = struct.unpack_from("!i", raw, at)[0]
                at += 4
                row.append(raw[at : at + length] if length >= 0 else None)
                at += max(length, 0)
            cells.append(row)
        return cells
    found = re.search(r"delimiter\s+'(.)'", text)
    if "csv" in text:
        quote = "'" if "quote ''''" in text else '"'
        reader = csv.reader(io.StringIO(raw.decode(), newline=""), delimiter=found[1] if found else ",", quotechar=quote)
        return [[cell.encode() for cell in row] for row in reader]
    delimiter = found[1].encode() if found else b"\t"
    return [list(line.split(delimiter)) for line in raw.split(b"\n")[:-1]]


class Oracle:
    """Two databases that differ in labelled values only."""

    def __init__(self, first: psycopg.Connection, second: psycopg.Connection) -> None:
        self.first, self.second = first, second

    def differing(self, case: Case) -> list[bool]:
        """Which columns of the case differ between the two. UnexpectedError: the number of rows does."""
        way = case.ways[0]
        one, two = run(self.first, case, way), run(self.second, case, way)
        if len(one.cells) != len(two.cells) or {len(row) for row in one.cells + two.cells} != {len(case.names)}:
            raise UnexpectedError(f"{len(one.cells)} rows and {len(two.cells)}, of {len(case.names)} columns")
        if not case.copies and one.names != case.names:
            raise UnexpectedError(f"the columns are {' '.join(one.names)}")
        return [
            any(a[i] != b[i] for a, b in zip(one.cells, two.cells, strict=True)) for i in range(len(case.names))
        ]

    def faults(self, case: Case) -> list[str]:
        """What is wrong with what the case says of itself."""
        try:
            differing = self.differing(case)
        except UnexpectedError as why:
            return [f"{case.name}: {why}"]
        found = []
        for i, (name, marked, differs) in enumerate(zip(case.names, case.dependent, differing, strict=True)):
            if differs and not marked:
                found.append(f"{case.name}: {name} depends on a label and is not marked")
            if marked and differs == (i in case.hidden):
                found.append(f"{case.name}: {name} is marked, and {'differs after all' if differs else 'does not differ'}")
        return found


@dataclass(slots=True)
class Count:
    """Cells of one family or way. `free`: those that need not be masked; `masked`: those of them that did not come unchanged
    (all, where the query was refused); `confidential`: the others."""

    cases: int = 0
    queries: int = 0
    free: int = 0
    masked: int = 0
    confidential: int = 0

    @property
    def rate(self) -> float:
        """The over-masking rate."""
        return self.masked / self.free if self.free else 0.0


@dataclass(slots=True)
class Figures:
    """All that was counted. `known` are the counts of the cases with a note, which are in no other."""

    families: dict[str, Count] = field(default_factory=dict)
    ways: dict[str, Count] = field(default_factory=dict)
    known: dict[str, Count] = field(default_factory=dict)
    faults: list[str] = field(default_factory=list)
    seen: set[str] = field(default_factory=set)

    def first(self, case: Case) -> bool:
        """Whether this case has not been counted yet, on any server."""
        new = case.name not in self.seen
        self.seen.add(case.name)
        return new

    def total(self, counts: Iterable[Count] | None = None) -> Count:
        """The sum over families, with the known."""
        found = Count()
        for count in [*self.families.values(), *self.known.values()] if counts is None else counts:
            found.cases += count.cases
            found.queries += count.queries
            found.free += count.free
            found.masked += count.masked
            found.confidential += count.confidential
        return found


def compare(case: Case, way: str, direct: psycopg.Connection, door: psycopg.Connection, figures: Figures) -> int:
    """Run a case directly and through the gateway, and count. How many cells were masked that need not be."""
    expected = run(direct, case, way)
    cells: Cells | None = None
    fault = ""
    try:
        answer = run(door, case, way)
    except UnexpectedError as why:
        fault = str(why)
    else:
        if (answer.names, answer.types) != (expected.names, expected.types):
            fault = f"columns {answer.names} of types {answer.types}"
        elif [len(row) for row in answer.cells] != [len(row) for row in expected.cells]:
            fault = f"{len(answer.cells)} rows instead of {len(expected.cells)}, or of another width"
        else:
            cells = answer.cells
    masked = free = 0
    for i, row in enumerate(expected.cells):
        for j in (j for j, dependent in enumerate(case.dependent) if not dependent):
            free += 1
            if cells is None or cells[i][j] != row[j]:
                masked += 1
                fault = fault or f"row {i + 1}, {case.names[j]}: {row[j]!r} came as {cells and cells[i][j]!r}"
    counts = [figures.known.setdefault(case.known, Count())] if case.known else [
        figures.families.setdefault(case.family, Count()), figures.ways.setdefault("copy" if case.copies else way, Count())
    ]
    new = figures.first(case)
    for count in counts:
        count.cases += new
        count.queries += 1
        count.free += free
        count.masked += masked
        count.confidential += len(expected.cells) * sum(case.dependent)
    if bool(fault) != bool(case.known):
        figures.faults.append(f"{case.name} {way}: {fault or 'nothing is masked, although it is noted: ' + case.known}")
    return masked


@dataclass(frozen=True, slots=True)
class Stage:
    """The corpus on one server: both databases, and the first of them through a gateway as target `name`."""

    name: str
    version: int
    first: psycopg.Connection
    second: psycopg.Connection
    door: psycopg.Connection

    def measure(self, chosen: Iterable[Case], figures: Figures) -> None:
        """Compare cases in all their ways, those that this version can do."""
        for case in chosen:
            for way in case.ways if case.since <= self.version else ():
                compare(case, way, self.first, self.door, figures)

    def faults(self, chosen: Iterable[Case]) -> list[str]:
        """What the oracle has against these cases."""
        oracle = Oracle(self.first, self.second)
        return [fault for case in chosen if case.since <= self.version for fault in oracle.faults(case)]


@contextlib.contextmanager
def stages(folder: Path, issuer: LocalIssuer, servers: Sequence[PostgresServer], name: str) -> Iterator[list[Stage]]:
    """The corpus on each of these servers, in databases `name`_first and `name`_second, behind one gateway with every detector
    that is on by default and a policy that unmasks nothing and lets nobody infer."""
    with contextlib.ExitStack() as stack:
        links = []
        for server in servers:
            stack.callback(_drop, server, name)
            links.append([stack.enter_context(_filled(server, f"{name}_{salt}", salt)) for salt in SALTS])
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        targets = []
        for server in servers:
            place = dataclasses.replace(server, database=f"{name}_{SALTS[0]}")
            targets.append(target_of(place, folder, name=f"pg{server.version}", labels=labels()))
        door = stack.enter_context(launch(folder, issuer, servers[0], targets=targets, policy=POLICY))
        yield [
            Stage(target["name"], server.version, first, second, stack.enter_context(door.connect(target["name"])))
            for server, target, (first, second) in zip(servers, targets, links, strict=True)
        ]


def _drop(server: PostgresServer, name: str) -> None:
    with server.connect(dbname="postgres") as admin:
        for salt in SALTS:
            admin.execute(f'drop database if exists "{name}_{salt}" with (force)'.encode())


def _filled(server: PostgresServer, database: str, salt: str) -> psycopg.Connection:
    with server.connect(dbname="postgres") as admin:
        admin.execute(f'create database "{database}"'.encode())
        admin.execute(f"alter database \"{database}\" set benign.salt = '{salt}'".encode())
    connection = server.connect(dbname=database)
    connection.execute((FOLDER / "schema.sql").read_bytes())
    return connection


def section(figures: Figures) -> Iterator[str]:
    """What docs/quality.md says of it."""
    total = figures.total()
    free = figures.total(figures.families.values())
    yield "## Over-masking\n"
    yield (
        f"{total.cases} ordinary queries over labelled tables, run directly and through the gateway in each of their ways "
        "(simple, extended in text and in binary, COPY), on PostgreSQL 15 and 18, and compared cell by cell. Which columns "
        "depend on a labelled one is written down for every query by hand, and held against two databases that differ in "
        "labelled values only (`tests/quality/benign`). Detectors were on, and to infer from a label was denied. A query that "
        "is refused counts as masked wholly.\n"
    )
    yield (
        f"**Over-masking rate: {total.rate:.3%}**: of {total.free:,} cells that need not be masked, {total.masked:,} were. "
        f"Of those of the {free.cases} queries that are not listed as known, {free.masked:,} were: {free.rate:.3%}. "
        f"{total.confidential:,} cells depended on a label.\n"
    )
    yield "| Family | Queries | Cells that need not be masked | Masked | Rate |\n|---|--:|--:|--:|--:|"
    for name, count in figures.families.items():
        yield f"| {name} | {count.cases} | {count.free:,} | {count.masked:,} | {count.rate:.2%} |"
    yield "\n| Way | Runs | Cells that need not be masked | Masked | Rate |\n|---|--:|--:|--:|--:|"
    for name, count in figures.ways.items():
        yield f"| {name} | {count.queries} | {count.free:,} | {count.masked:,} | {count.rate:.2%} |"
    if figures.known:
        yield "\nKnown, and counted in the rate:\n"
        yield "| Masked because | Queries | Cells that need not be masked | Masked |\n|---|--:|--:|--:|"
        for name, count in figures.known.items():
            yield f"| {name} | {count.cases} | {count.free:,} | {count.masked:,} |"
    yield ""
