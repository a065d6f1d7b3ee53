"""The comparison behind `make conformance`: it sees every difference, and excuses none that has no reason."""

from __future__ import annotations

import pytest

from tests.conformance.__main__ import reasons
from tests.conformance.compare import Ran, Reason, all_differences, differences, page, stale
from tests.conformance.suites import ASYNCPG, SQLALCHEMY, SUITES

REASON = Reason("s", "t.py::refused[*", "by design", ())


@pytest.mark.parametrize(
    ("direct", "through", "differs"),
    [
        ("passed", "passed", False),
        ("passed", "failed", True),
        ("passed", "skipped", True),
        ("passed", "missing", True),
        ("skipped", "passed", False),
        ("skipped", "failed", True),
        ("xfailed", "failed", True),
        ("failed", "failed", False),
        ("failed", "passed", False),
    ],
)
def test_what_was_good_directly_must_be_good_through_the_gateway(direct: str, through: str, differs: bool) -> None:
    """A test differs when it was good directly and is not any more, or is not there any more."""
    after = {} if through == "missing" else {"t": (through, "")}
    assert bool(differences("s", "forward", {"t": (direct, "")}, after, [])) is differs


def test_a_reason_covers_the_tests_it_names_and_no_others() -> None:
    """Brackets of parametrized tests are themselves; a reason of another suite or way does not count."""
    assert REASON.covers("s", "forward", "t.py::refused[a-1]")
    assert not REASON.covers("s", "forward", "t.py::refused")
    assert not REASON.covers("other", "forward", "t.py::refused[a-1]")
    assert not Reason("s", "*", "", ("identity",)).covers("s", "forward", "t.py::refused[a-1]")


def test_a_reason_that_no_test_needs_is_stale() -> None:
    """The published list is never longer than the truth; a suite that was not run says nothing about its reasons."""
    assert stale([REASON], [], [("s", "forward")]) == [REASON]
    assert stale([REASON], [], [("other", "forward")]) == []
    found = differences("s", "forward", {"t.py::refused[1]": ("passed", "")}, {}, [REASON])
    assert found[0].reason == "by design"
    assert stale([REASON], found, [("s", "forward")]) == []


def test_the_page_says_what_differs_and_whether_anybody_knows_why() -> None:
    """Each test that differs is on the page once, below its reason, with the way if it is not both."""
    direct = {"t.py::refused[1]": ("passed", ""), "t.py::puzzling": ("passed", ""), "t.py::broken": ("failed", "")}
    after = {**direct, "t.py::refused[1]": ("failed", "no")}
    results = {
        ("s", "direct"): Ran(direct, 60.0),
        ("s", "forward"): Ran(after, 60.0),
        ("s", "identity"): Ran({**after, "t.py::puzzling": ("failed", "ValueError: 7")}, 60.0),
    }
    text = page(results, all_differences(results, [REASON]), versions={"s": "1.0"})
    assert "s: by design.\n\n- `t.py::refused[1]`\n" in text
    assert "s: **No reason yet**: ValueError: 7.\n\n- `t.py::puzzling` (identity only)\n" in text
    assert "| s | identity | 0 | 0 | 3 | 2 | 1 | 1.0 |" in text
    assert text.count("t.py::broken") == 1


def test_what_was_kept_is_what_ran() -> None:
    """Outcomes come back from their file as they were."""
    ran = Ran({"t.py::a": ("failed", "why")}, 1.5)
    assert Ran.read(ran.text()) == ran


@pytest.mark.parametrize(
    ("test", "selected"),
    [
        ("t.py::MiscBackendTest_postgresql+psycopg_15_18::test_one", "t.py::MiscBackendTest::test_one"),
        ("t.py::MiscBackendTest_postgresql+asyncpg_async_15_18::test_one[a::b ]", "t.py::MiscBackendTest::test_one"),
        ("t.py::PlainTest::test_one[1]", "t.py::PlainTest::test_one[1]"),
    ],
)
def test_a_test_can_be_run_by_the_id_it_is_reported_under(test: str, selected: str) -> None:
    """SQLAlchemy's plugin reports classes under names that pytest does not find them by."""
    assert SQLALCHEMY.selected([test]) == [selected]
    assert ASYNCPG.selected([test]) == [test]


@pytest.mark.parametrize("reason", reasons(), ids=lambda reason: reason.pattern)
def test_every_reason_can_be_read(reason: Reason) -> None:
    """An entry of expected.toml names a suite that there is, says why in a sentence, and is not for everything."""
    assert reason.suite in {suite.project for suite in SUITES}
    assert len(reason.text) > 20
    assert "::" in reason.pattern
