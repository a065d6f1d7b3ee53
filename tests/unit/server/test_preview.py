"""What a target says of a plan."""

from __future__ import annotations

import pytest

from doorward.server.preview import planned


@pytest.mark.parametrize(
    ("plan", "rows"),
    [
        ('[{"Plan": {"Node Type": "Seq Scan", "Plan Rows": 12}}]', 12),
        ('[{"Plan": {"Operation": "Delete", "Plan Rows": 0, "Plans": [{"Plan Rows": 7}]}}]', 7),
        ('[{"Plan": {"Operation": "Insert", "Plan Rows": 1}}]', 1),
        ("", None),
        ("[]", None),
        ("{}", None),
        ('[{"Plan": []}]', None),
        ('[{"Plan": {"Plan Rows": "12"}}]', None),
        ('[{"Plan": {"Plan Rows": Infinity}}]', None),
        ('[{"Plan": {"Plan Rows": -1}}]', None),
        ('[{"Plan": {"Plan Rows": 9007199254740992}}]', None),
        ('[{"Plan": {"Operation": "Delete", "Plans": {"0": 1}}}]', None),
        ("[" * 100_000, None),
    ],
)
def test_a_plan_says_how_many_rows_or_nothing(plan: str, rows: int | None) -> None:
    """Whatever a target answers to EXPLAIN, the approver sees a number that a record can hold, or none."""
    assert planned(plan)[0] == rows
