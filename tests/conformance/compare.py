"""Compares the outcomes of suites directly and through gateways, and writes the page about it. Pure: dicts in, text out.

Contract: a test *differs* when it passed (or was skipped) directly and did not through the gateway. Each difference has
a reason in expected.toml, or it is unexpected and the comparison fails; a reason for a test that does not differ any more
is stale and fails it as well, so that the published list is never longer than the truth.
"""

from __future__ import annotations

import fnmatch
import json
import re
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

Outcomes = Mapping[str, tuple[str, str]]


@dataclass(frozen=True, slots=True)
class Ran:
    """What came of one suite on one way: {test: (outcome, message)}, and how long it took."""

    outcomes: Outcomes
    seconds: float

    def text(self) -> str:
        """As JSON, for the next time."""
        return json.dumps([self.outcomes, self.seconds])

    @classmethod
    def read(cls, text: str) -> Ran:
        """What `text` gave."""
        outcomes, seconds = json.loads(text)
        return cls({test: (outcome, message) for test, (outcome, message) in outcomes.items()}, seconds)


Results = dict[tuple[str, str], Ran]  # by suite and way


@dataclass(frozen=True, slots=True)
class Reason:
    """Why tests whose id matches `pattern` (a shell pattern) ask for what Doorward refuses. `ways`: where it applies."""

    suite: str
    pattern: str
    text: str
    ways: tuple[str, ...]

    def covers(self, suite: str, way: str, test: str) -> bool:
        """Whether this is the reason for that test."""
        # SQLAlchemy's ids hold brackets, which a shell pattern would read as a set of characters
        pattern = re.sub(r"\[", "[[]", self.pattern)
        return suite == self.suite and (not self.ways or way in self.ways) and fnmatch.fnmatchcase(test, pattern)


@dataclass(frozen=True, slots=True)
class Difference:
    """One test that does otherwise through the gateway. `reason` is "" where nobody has given one."""

    suite: str
    way: str
    test: str
    direct: str
    through: str
    message: str
    reason: str


def good(outcome: str) -> bool:
    """Whether a test with this outcome has nothing against the server. A test that is not there is not good."""
    return outcome in ("passed", "skipped", "xfailed")


def differences(
    suite: str, way: str, direct: Outcomes, through: Outcomes, reasons: Sequence[Reason]
) -> list[Difference]:
    """The tests that were good directly and are not through the gateway, and those that vanished."""
    found = []
    for test, (before, _) in sorted(direct.items()):
        after, message = through.get(test, ("missing", ""))
        if good(before) and not (good(after) and (after == before or before != "passed")):
            reason = next((reason.text for reason in reasons if reason.covers(suite, way, test)), "")
            found.append(Difference(suite, way, test, before, after, message, reason))
    return found


def stale(reasons: Iterable[Reason], found: Sequence[Difference], run: Iterable[tuple[str, str]]) -> list[Reason]:
    """Reasons of suites and ways that were run, and that no difference needs."""
    ran = set(run)
    return [
        reason
        for reason in reasons
        if any(reason.suite == suite and (not reason.ways or way in reason.ways) for suite, way in ran)
        and not any(reason.covers(each.suite, each.way, each.test) for each in found)
    ]


def counts(outcomes: Outcomes) -> Counter[str]:
    """How many tests have each outcome."""
    return Counter(outcome for outcome, _ in outcomes.values())


def all_differences(results: Results, reasons: Sequence[Reason]) -> list[Difference]:
    """Every way against the direct one of its suite."""
    return [
        difference
        for (suite, way), ran in results.items()
        if way != "direct"
        for difference in differences(suite, way, results[suite, "direct"].outcomes, ran.outcomes, reasons)
    ]


def page(results: Results, found: Sequence[Difference], *, versions: Mapping[str, str]) -> str:
    """The page that is published."""
    return _PAGE.format(
        versions=", ".join(f"{name} {version}" for name, version in versions.items()),
        summary=_summary(results, found),
        listing=_listing(found),
        failing=_failing(results),
    )


def _summary(results: Results, found: Sequence[Difference]) -> str:
    lines = ["| Suite | Way | Passed | Skipped | Failed | Differ from direct | Without a reason | Minutes |"]
    lines.append("|---|---|---|---|---|---|---|---|")
    for (suite, way), ran in results.items():
        own = [each for each in found if (each.suite, each.way) == (suite, way)]
        total = counts(ran.outcomes)
        differ = ("", "") if way == "direct" else (str(len(own)), str(sum(not each.reason for each in own)))
        lines.append(
            f"| {suite} | {way} | {total['passed'] + total['xpassed']:,} | {total['skipped'] + total['xfailed']:,} "
            f"| {total['failed']:,} | {differ[0]} | {differ[1]} | {ran.seconds / 60:.1f} |"
        )
    return "\n".join(lines)


def _listing(found: Sequence[Difference]) -> str:
    """The tests that differ, each once, below their reason."""
    ways: dict[tuple[str, str, str], list[str]] = {}
    for each in found:
        reason = each.reason or f"**No reason yet**: {each.message}"
        ways.setdefault((each.suite, reason, each.test), []).append(each.way)
    below: dict[tuple[str, str], list[str]] = {}
    for (suite, reason, test), where in sorted(ways.items()):
        only = "" if len(where) > 1 else f" ({where[0]} only)"
        below.setdefault((suite, reason), []).append(f"- `{test}`{only}")
    return (
        "\n\n".join(f"{suite}: {reason}.\n\n" + "\n".join(tests) for (suite, reason), tests in below.items()) or "None."
    )


def _failing(results: Results) -> str:
    found = sorted(
        f"- {suite}: `{test}`"
        for (suite, way), ran in results.items()
        if way == "direct"
        for test, (outcome, _) in ran.outcomes.items()
        if not good(outcome)
    )
    return "\n".join(found) or "None."


_PAGE = """# Conformance

Unmodified clients must not notice the gateway, until it refuses. So the test suites that drivers publish for themselves are
run, unchanged, three ways over verified TLS:

- *direct*: against PostgreSQL itself;
- *forward*: through a gateway whose policy allows everything;
- *identity*: the same, with a masker that takes every row of every result apart and puts it together again, as it would if
  something were masked in it.

Of asyncpg it is the whole suite but the linting of its own sources, of SQLAlchemy the tests of its PostgreSQL dialect and the
suite for dialects, with its drivers asyncpg and psycopg. A test that is good directly must be good the other ways, or be in the
list below, test by test, with the reason; `make conformance` fails when one is not, and when a reason is not needed any more.
What failed or differed is run once more by itself before it counts.

## Results

With {versions}.
Every statement is judged, and on record before it is forwarded, as always; detectors are off.

{summary}

Skipped are tests that the suite skips directly as well. Minutes are those of two runs side by side on two cores that had
other work too.

## What differs, and why

{listing}

## What fails directly as well

This is not Doorward's: tests that start a server of their own or expect one at port 5432, that look for what the garbage
collector left, or that build a URL by replacing letters, those in the password included.

{failing}

## How to run it

    make conformance                                          # everything, and compare
    make conformance ARGS="--suites asyncpg --ways forward"   # one suite, one way, against direct
    make conformance ARGS="--suites asyncpg --tests tests/test_pool.py"
    make conformance ARGS="--reuse --write"                   # this page, from the last whole runs

It needs PostgreSQL, as `make test` does, and fetches the suites in the versions that `requirements/dev.txt` pins. The reasons
are in `tests/conformance/expected.toml`.
"""
