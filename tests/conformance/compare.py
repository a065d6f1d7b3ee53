"""Compares the outcomes of one suite on its way directly and through a gateway. Pure: dicts in, rows and text out.

Contract: a test *differs* when it passed (or was skipped) directly and did not through the gateway. Each difference has
a reason in expected.toml, or it is unexpected and the comparison fails; a reason for a test that does not differ any more
is stale and fails it as well, so that the published list is never longer than the truth.
"""

from __future__ import annotations

import fnmatch
import re
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

Outcomes = Mapping[str, tuple[str, str]]


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


def summary(results: Mapping[tuple[str, str], tuple[Outcomes, float]], found: Sequence[Difference]) -> str:
    """The table of suites and ways."""
    lines = ["| Suite | Way | Passed | Failed | Skipped | Differ from direct | Of these unexplained | Seconds |"]
    lines.append("|---|---|---|---|---|---|---|---|")
    for (suite, way), (outcomes, seconds) in results.items():
        own = [each for each in found if (each.suite, each.way) == (suite, way)]
        total = counts(outcomes)
        lines.append(
            f"| {suite} | {way} | {total['passed']} | {total['failed']} | {total['skipped'] + total['xfailed']} "
            f"| {len(own) if way != 'direct' else ''} "
            f"| {sum(not each.reason for each in own) if way != 'direct' else ''} | {seconds:.0f} |"
        )
    return "\n".join(lines) + "\n"


def listing(found: Sequence[Difference]) -> str:
    """The tests that differ, each once, with the reason."""
    ways: dict[tuple[str, str, str], list[str]] = {}
    for each in found:
        ways.setdefault((each.suite, each.test, each.reason or f"**unexplained**: {each.message}"), []).append(each.way)
    lines = ["| Suite | Test | Way | Why |", "|---|---|---|---|"]
    for (suite, test, why), where in sorted(ways.items()):
        lines.append(f"| {suite} | `{test.replace('|', chr(92) + '|')}` | {', '.join(where)} | {why.replace('|', ' ')} |")
    return "\n".join(lines) + "\n" if ways else "None.\n"
