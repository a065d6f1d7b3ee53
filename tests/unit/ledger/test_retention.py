"""Retention classes: the period is in the name, a month is due together, and no setting has a say."""

from __future__ import annotations

from datetime import UTC, datetime

import pytest
from hypothesis import given
from hypothesis import strategies as st

from doorward.cli.verify_votes import of_a_deleted_month
from doorward.ledger import retention
from doorward.ledger.verify import Report

CLASSES = ("std-13m", "ctl-36m", "min-6m", "phi-6y", "a-1m", "long-999y")


def ms(*when: int) -> int:
    return int(datetime(*when, tzinfo=UTC).timestamp() * 1000)  # type: ignore[misc, arg-type]


@pytest.mark.parametrize(
    ("name", "months"),
    [("std-13m", 13), ("ctl-36m", 36), ("phi-6y", 72), ("a-b-1m", 1), ("std", None), ("std-0m", None), ("std-1000m", None),
     ("std-13", None), ("-13m", None), ("std--13m", None), ("STD-13m", None), ("std-13m ", None), ("13m", None),
     ("x" * 29 + "-13m", None), ("", None), ("std-١m", None)],
)  # fmt: skip
def test_the_period_is_in_the_name(name: str, months: int | None) -> None:
    """Months or years, 1 to 999; whatever else a class is called, it is never due."""
    assert retention.months(name) == months
    assert (retention.due(name, ms(2026, 11, 3)) is None) == (months is None)


@pytest.mark.parametrize(
    ("name", "at", "due"),
    [
        ("std-13m", ms(2026, 11, 1), ms(2028, 1, 1)),
        ("std-13m", ms(2026, 12, 1) - 1, ms(2028, 1, 1)),
        ("std-13m", ms(2026, 12, 1), ms(2028, 2, 1)),
        ("min-6m", ms(2026, 6, 15), ms(2027, 1, 1)),
        ("phi-6y", ms(2024, 2, 29), ms(2030, 3, 1)),
    ],
)
def test_a_month_is_due_together(name: str, at: int, due: int) -> None:
    """The period after the month has ended: what was recorded on its last day is kept as long as its class says."""
    assert retention.due(name, at) == due


def test_what_would_be_due_after_the_calendar_ends_is_never_due() -> None:
    assert retention.due("long-999y", ms(9500, 1, 1)) is None


@given(st.sampled_from(CLASSES), st.integers(0, ms(3000, 1, 1)))
def test_nothing_is_due_before_its_period_is_over(name: str, at: int) -> None:
    """Nor more than a month afterwards; and an epoch is due when each thing in it is."""
    epoch = retention.epoch(name, at)
    class_, begins, ends = retention.split(epoch)
    due = retention.due(name, at)
    assert (class_, retention.is_epoch(epoch)) == (name, True)
    assert begins <= at < ends
    assert due is not None
    assert due == retention.due(name, begins) == retention.due(name, ends - 1)
    assert due - at > (retention.months(name) or 0) * 28 * 86_400_000


@pytest.mark.parametrize(
    "name",
    ["gateway", "std-13m", "std-13m.2026-13", "std-13m.2026-1", "hold.case", "a/b.2026-11", "std-13m.2026-11.new"],
)
def test_what_is_no_epoch(name: str) -> None:
    """Session ids, holds and half-made files are none."""
    assert not retention.is_epoch(name)
    with pytest.raises(ValueError, match="not an epoch"):
        retention.split(name)


@pytest.mark.parametrize(
    ("approval", "gone"),
    [
        ("019a3c8e-7000-7000-8000-000000000000", True), ("01a20748-05e8-707b-b5cd-49c85c9097bf", False), ("none", False),
        ("", False),
    ],
)
def test_a_vote_on_a_request_of_a_deleted_month_is_held_against_nothing(approval: str, gone: bool) -> None:
    """Its request is gone with its month, which is in its id; any other is checked."""
    report = Report(deleted_epochs=["ctl-36m.2025-10", "ctl-36m.2025-11"])
    assert of_a_deleted_month(approval, "ctl-36m", report) is gone
    assert not of_a_deleted_month(approval, "ctl-36m", Report())


@pytest.mark.parametrize(
    ("type", "control"),
    [("operation.permitted", False), ("session.opened", False), ("authentication.refused", False),
     ("transaction.aborted", False), ("approval.voted", True), ("policy.changed", True), ("recording.viewed", True),
     ("token.revealed", True), ("new.thing", True)],
)  # fmt: skip
def test_what_decides_or_proves_is_kept_longer(type: str, control: bool) -> None:  # noqa: A002
    """What was done there is kept with the session; an event of a kind that nobody thought of, with the control records."""
    assert retention.is_control(type) is control
