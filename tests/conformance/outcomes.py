"""A pytest plugin that writes the outcome of every test to a JSON file, for the suites of other projects.

Contract: loaded with `-p tests.conformance.outcomes`, it writes {test id: [outcome, first line of the failure]} to the
file that DOORWARD_OUTCOMES names. Outcomes are passed, failed, skipped, xfailed and xpassed; an error in set-up or
tear-down is a failure.
"""

from __future__ import annotations

import json
import os
from pathlib import Path

import pytest

_found: dict[str, tuple[str, str]] = {}


def _name(report: pytest.TestReport) -> str:
    expected = hasattr(report, "wasxfail")
    if report.passed:
        return "xpassed" if expected else "passed"
    if report.skipped:
        return "xfailed" if expected else "skipped"
    return "failed"


def _line(report: pytest.TestReport) -> str:
    """The line that says what went wrong: the last one that begins a message, in a traceback."""
    text = report.longreprtext.strip().splitlines()
    errors = [line for line in text if line and not line[0].isspace() and ("Error" in line or "Exception" in line)]
    return (errors or text or [""])[-1][:300]


def pytest_runtest_logreport(report: pytest.TestReport) -> None:
    """The body decides; set-up and tear-down only when they did not pass."""
    outcome = _name(report)
    if report.when == "call" or outcome != "passed":
        before = _found.get(report.nodeid, ("", ""))[0]
        if before != "failed":
            _found[report.nodeid] = (outcome, "" if outcome == "passed" else _line(report))


def pytest_collectreport(report: pytest.CollectReport) -> None:
    """A file that cannot be collected counts as one failed test: it must not just vanish from the comparison."""
    if report.failed:
        _found[report.nodeid] = ("failed", report.longreprtext.strip().splitlines()[-1][:300])


def pytest_sessionfinish() -> None:
    """Write what was found, in the process that ran the tests."""
    Path(os.environ["DOORWARD_OUTCOMES"]).write_text(json.dumps(_found, indent=0, sort_keys=True))
