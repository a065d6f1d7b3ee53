"""`make conformance`: the suites of asyncpg and SQLAlchemy, directly, through a gateway, and with every row re-encoded.

Contract: three ways, each with a PostgreSQL of its own that nobody has touched: `direct`; `forward`, through a gateway that
allows everything; `identity`, through one whose masker takes every row apart and puts it together again
(`identity_masker`). A test that is good directly must be good both other ways, unless expected.toml says why not. A test that
failed or differs is run once more by itself first: the suites have tests that depend on time. Exit code 1 when there is a
difference without a reason, or a reason without a difference.

ARGS: `--suites asyncpg`, `--ways forward`, `--tests ID ...` choose; `--reuse` takes what was kept of suites that ran whole
before; `--write` writes docs/conformance.md, for which everything must have run whole.
"""

from __future__ import annotations

import argparse
import contextlib
import importlib.metadata
import itertools
import os
import platform
import subprocess
import sys
import tempfile
import tomllib
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from tests.conformance import compare, suites
from tests.conformance.compare import Ran
from tests.conformance.suites import SUITES, Endpoint, Suite
from tests.rig import gateway, postgres, shared
from tests.rig.issuer import LocalIssuer

ROOT = Path(__file__).resolve().parents[2]
WAYS = ("direct", "forward", "identity")
MOST_AGAIN = 200  # tests that are run once more: so many do not fail by chance
_NUMBERS = itertools.count()
EXPECTED = Path(__file__).with_name("expected.toml")
ALLOW_ALL = """
@id("all") permit (principal, action, resource);
@id("unknown-too") permit (principal, action == Action::"unknown", resource);
"""


def reasons(path: Path = EXPECTED) -> list[compare.Reason]:
    """What expected.toml says."""
    found = []
    for entry in tomllib.loads(path.read_text()).get("refused", []):
        for pattern in entry["tests"]:
            found.append(compare.Reason(entry["suite"], pattern, entry["reason"], tuple(entry.get("ways", ()))))
    return found


@contextlib.contextmanager
def endpoint(way: str, suite: Suite, issuer: LocalIssuer) -> Iterator[Endpoint]:
    """A fresh server with the suite's database, and what is in front of it."""
    name = f"{suite.project}-{way}-{next(_NUMBERS)}"
    binaries = postgres.system_binaries()
    if binaries is None:
        raise SystemExit("missing: PostgreSQL (on Debian: apt install postgresql)")
    own = shared.folder() / name
    own.mkdir(mode=0o711)
    server = postgres.start(name, binaries, own, tls=True, settings={"log_statement": "none"})
    if suite.database != "postgres":
        with server.connect(dbname="postgres") as connection:
            connection.execute(f'create database "{suite.database}"'.encode())
    with server.connect(dbname=suite.database) as connection:
        for statement in suite.prepare:
            connection.execute(statement.encode())
    if way == "direct":
        yield Endpoint(server.host, server.port, server.user, server.password, suite.database, server.ca)
        return
    with tempfile.TemporaryDirectory(prefix="doorward-conformance-") as temporary:
        program = ("-m", "tests.conformance.identity_masker") if way == "identity" else ("-m", "doorward")
        target = {"name": suite.database, "database": suite.database, "detect": False}
        folder = Path(temporary) / "gateway"
        with gateway.launch(
            folder,
            issuer,
            server,
            target=target,
            policy=ALLOW_ALL,
            program=program,
            limits={"connections_per_identity": 1000},
        ) as door:
            token = issuer.mint(sub="conformance", groups=["agents"], exp=4102444800)
            yield Endpoint("127.0.0.1", door.port, server.user, token, suite.database, str(door.ca))
            (suites.CACHE / f"{name}.gateway.log").write_bytes(door.log.read_bytes())


def run(way: str, suite: Suite, selection: Sequence[str], issuer: LocalIssuer) -> Ran:
    """One suite one way, and what failed once more."""
    with endpoint(way, suite, issuer) as place:
        outcomes, seconds = suite.run(place, selection)
    failed = [test for test, (outcome, _) in outcomes.items() if not compare.good(outcome)]
    if 0 < len(failed) <= MOST_AGAIN:
        with endpoint(way, suite, issuer) as place:
            second, _ = suite.run(place, failed)
        outcomes.update({test: second[test] for test in failed if test in second})
    sys.stderr.write(f"{suite.project} {way}: {dict(compare.counts(outcomes))} in {seconds:.0f} s\n")
    return Ran(outcomes, seconds)


def kept(suite: Suite, way: str) -> Path:
    """Where the outcomes of a whole suite are, if it ran."""
    return suites.CACHE / f"{suite.project}-{suite.version}-{way}.json"


def measure(
    wanted: Sequence[tuple[Suite, str]], selection: Sequence[str], *, reuse: bool, jobs: int
) -> compare.Results:
    """Run the suites, several at a time, the longest first."""
    shared.begin()
    issuer = LocalIssuer()
    try:
        found: compare.Results = {}
        with ThreadPoolExecutor(jobs) as workers:
            started = {}
            for suite, way in sorted(wanted, key=lambda each: (each[0].project != "sqlalchemy", each[1] == "direct")):
                if reuse and kept(suite, way).exists():
                    found[suite.project, way] = Ran.read(kept(suite, way).read_text())
                else:
                    started[suite, way] = workers.submit(run, way, suite, selection, issuer)
            for (suite, way), running in started.items():
                found[suite.project, way] = ran = running.result()
                if not selection:
                    kept(suite, way).write_text(ran.text())
        return {(suite.project, way): found[suite.project, way] for suite, way in wanted}
    finally:
        issuer.down()
        shared.finish()


def main(arguments: Sequence[str] | None = None) -> int:
    """Run, compare, write."""
    options = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    options.add_argument("--suites", nargs="+", default=[suite.project for suite in SUITES])
    options.add_argument("--ways", nargs="+", choices=WAYS, default=list(WAYS), help="direct is always among them")
    options.add_argument("--tests", nargs="+", default=[], help="test ids, else all")
    options.add_argument("--jobs", type=int, default=min(os.cpu_count() or 1, 4), help="runs at a time")
    options.add_argument("--reuse", action="store_true", help="do not run again what was run whole before")
    options.add_argument("--write", action="store_true", help="write docs/conformance.md")
    chosen = options.parse_args(arguments)
    if chosen.tests and (chosen.reuse or chosen.write):
        options.error("--tests goes with neither --reuse nor --write")
    wanted = [
        (suite, way)
        for suite in SUITES
        if suite.project in chosen.suites
        for way in WAYS
        if way == "direct" or way in chosen.ways
    ]
    if chosen.write and len(wanted) < len(SUITES) * len(WAYS):
        options.error("--write goes with all suites, all ways")
    for suite in {suite for suite, _ in wanted}:
        suite.fetch()
    results = measure(wanted, chosen.tests, reuse=chosen.reuse, jobs=chosen.jobs)
    expected = reasons()
    found = compare.all_differences(results, expected)
    page = compare.page(results, found, versions=versions())
    if chosen.write:
        (ROOT / "docs/conformance.md").write_text(page)
    sys.stdout.write(page)
    unneeded = [] if chosen.tests else compare.stale(expected, found, results)
    for reason in unneeded:
        sys.stdout.write(f"expected.toml: no test needs {reason.suite} {reason.pattern} any more\n")
    return 1 if unneeded or any(not each.reason for each in found) else 0


def versions() -> dict[str, str]:
    """Of what is compared and what it is compared with."""
    binaries = postgres.system_binaries()
    assert binaries is not None
    server = subprocess.run([binaries / "postgres", "--version"], check=True, capture_output=True, text=True)
    return {
        **{suite.project: suite.version for suite in SUITES},
        "psycopg": importlib.metadata.version("psycopg"),
        "PostgreSQL": server.stdout.split()[2],
        "Python": platform.python_version(),
    }


if __name__ == "__main__":
    sys.exit(main())
