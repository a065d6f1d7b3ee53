"""Reviews of broken glass: a business day, and what the log says."""

from __future__ import annotations

from datetime import UTC, datetime

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from doorward.errors import IntegrityError
from doorward.ledger.reviews import DAY, ReviewTrail, business_day_after


def at(text: str) -> int:
    return int(datetime.fromisoformat(text).replace(tzinfo=UTC).timestamp() * 1000)


@pytest.mark.parametrize(
    ("broken", "due"),
    [
        ("2026-11-23T15:00", "2026-11-24T15:00"), ("2026-11-27T15:00", "2026-11-30T15:00"),
        ("2026-11-28T00:00", "2026-12-01T00:00"), ("2026-11-29T23:59", "2026-12-01T00:00"),
        ("2026-11-27T00:00", "2026-11-30T00:00"),
    ],
    ids=["Monday", "Friday", "Saturday", "Sunday", "Friday at midnight"],
)  # fmt: skip
def test_a_business_day(broken: str, due: str) -> None:
    """24 hours that are no weekend's."""
    assert business_day_after(at(broken)) == at(due)


@given(st.integers(0, 1 << 42))
@example(DAY)
def test_a_business_day_is_at_least_a_day_and_at_most_three(moment: int) -> None:
    """Whenever it begins, on a Friday at midnight too; it never ends within a weekend."""
    due = business_day_after(moment)
    assert DAY <= due - moment <= 3 * DAY
    assert datetime.fromtimestamp(due / 1000, UTC).weekday() < 5


def test_what_does_not_fit_is_no_review() -> None:
    """Of glass that nobody broke, by who broke it, or without saying which."""
    trail = ReviewTrail()
    trail.add("break_glass.used", "a|x", 1, {"approval": "1", "target": "t", "reason": "r", "skipped": ["dba"]})
    for actor, body in (("a|y", {"approval": "2"}), ("a|x", {"approval": "1", "justified": True, "comment": ""}), ("a|y", {})):
        with pytest.raises(IntegrityError):
            trail.add("break_glass.reviewed", actor, 2, body)
    assert len(trail.open()) == 1
