"""`make conformance`: the suites of asyncpg and SQLAlchemy, directly, through a gateway, and with every row re-encoded.

Contract: three ways, each with a PostgreSQL of its own that nobody has touched: `direct`; `forward`, through a gateway that
allows everything; `identity`, through one whose masker takes every row apart and puts it together again
(`identity_masker`). A test that is good directly must be good both other ways, unless expected.toml says why not. A test that
differs is run once more by itself first: the suites have tests that depend on time. Writes docs/conformance.md; exit code 1
when there is a difference without a reason, or a reason without a difference.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import sys
import tempfile
import tomllib
from collections.abc import Iterator, Sequence
from pathlib import Path

from tests.conformance import compare, suites
from tests.conformance.suites import SUITES, Endpoint, Suite
from tests.rig import gateway, postgres, shared
from tests.rig.issuer import LocalIssuer

ROOT = Path(__file__).resolve().parents[2]
WAYS = ("direct", "forward", "identity")
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
    number = len(list(shared.folder().glob(f"{suite.project}-{way}-*")))
    name = f"{suite.project}-{way}-{number}"
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


def run(way: str, suite: Suite, selection: Sequence[str], issuer: LocalIssuer) -> tuple[compare.Outcomes, float]:
    """One suite one way."""
    with endpoint(way, suite, issuer) as place:
        return suite.run(place, selection)


def again(
    way: str, suite: Suite, issuer: LocalIssuer, direct: compare.Outcomes, through: compare.Outcomes
) -> compare.Outcomes:
    """`through`, with the tests that differ run once more by themselves: what depends on time gets a second chance."""
    differ = [each.test for each in compare.differences(suite.project, way, direct, through, ())]
    if not differ or len(differ) > 200:
        return through
    second, _ = run(way, suite, differ, issuer)
    return {**through, **{test: outcome for test, outcome in second.items() if test in through or test in direct}}


def main(arguments: Sequence[str] | None = None) -> int:
    """Run, compare, write."""
    options = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    options.add_argument("--suites", nargs="+", default=[suite.project for suite in SUITES])
    options.add_argument("--ways", nargs="+", choices=WAYS, default=list(WAYS))
    options.add_argument("--tests", nargs="+", default=[], help="test ids, else all")
    options.add_argument("--reuse-direct", action="store_true", help="take what the last run found directly")
    chosen = options.parse_args(arguments)
    shared.begin()
    issuer = LocalIssuer()
    expected = reasons()
    results: dict[tuple[str, str], tuple[compare.Outcomes, float]] = {}
    found: list[compare.Difference] = []
    try:
        for suite in SUITES:
            if suite.project not in chosen.suites:
                continue
            suite.fetch()
            kept = suites.CACHE / f"{suite.project}-{suite.version}-direct.json"
            for way in chosen.ways:
                if way == "direct" and chosen.reuse_direct and kept.exists():
                    outcomes, seconds = json.loads(kept.read_text())
                else:
                    outcomes, seconds = run(way, suite, chosen.tests, issuer)
                if way == "direct":
                    direct = outcomes
                    kept.write_text(json.dumps([outcomes, seconds]))
                else:
                    if chosen.tests:
                        direct = {test: outcome for test, outcome in direct.items() if test in outcomes}
                    outcomes = again(way, suite, issuer, direct, outcomes)
                    found += compare.differences(suite.project, way, direct, outcomes, expected)
                results[suite.project, way] = (outcomes, seconds)
                sys.stderr.write(f"{suite.project} {way}: {dict(compare.counts(outcomes))} in {seconds:.0f} s\n")
    finally:
        issuer.down()
        shared.finish()
    unneeded = [] if chosen.tests else compare.stale(expected, found, results)
    page = _PAGE.format(
        versions=", ".join(f"{suite.project} {suite.version}" for suite in SUITES),
        summary=compare.summary(results, found),
        listing=compare.listing(found),
    )
    if not chosen.tests and set(results) == {(suite.project, way) for suite in SUITES for way in WAYS}:
        (ROOT / "docs/conformance.md").write_text(page)
    sys.stdout.write(page)
    for reason in unneeded:
        sys.stdout.write(f"expected.toml: no test needs {reason.suite} {reason.pattern} any more\n")
    return 1 if unneeded or any(not each.reason for each in found) else 0


_PAGE = """# Conformance

Unmodified clients must not notice the gateway, until it refuses. `make conformance` runs the test suites that drivers
publish for themselves ({versions}) against PostgreSQL 15 over verified TLS, three ways: *direct*; *forward*,
through a gateway that allows everything; and *identity*, through one whose masker takes every row apart and puts it together
again. A test that passes directly must pass the other ways, or be in the list below, with the reason. What fails directly
as well is not Doorward's: tests that start a server of their own, for instance.

{summary}
## What differs, and why

{listing}"""


if __name__ == "__main__":
    sys.exit(main())
