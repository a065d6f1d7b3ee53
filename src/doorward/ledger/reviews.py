"""Reviews of broken glass: what the events of a log say of who broke it, who has looked at it since, and what is late.

Pure: `ReviewTrail` is fed with the events of a log in order, and asked at any moment. A review is late, an exception, if it was
not there one business day after the glass was broken: 24 hours that are no Saturday's and no Sunday's, in UTC.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any, Final

from doorward.errors import IntegrityError

DAY: Final = 86_400_000  # milliseconds


@dataclass(frozen=True, slots=True)
class Review:
    """Glass that was broken. Times are Unix ms; `reviewed_at` is 0 while nobody has looked at it. `by` and `reviewer` are
    Identity.ids; `told` says that it is on record that it is late."""

    approval: str
    by: str
    target: str
    reason: str
    at: int
    due: int
    skipped: tuple[str, ...] = ()
    reviewer: str = ""
    reviewed_at: int = 0
    justified: bool = False
    comment: str = ""
    told: bool = False

    def late(self, now: int) -> bool:
        """Whether it is an exception: not reviewed in time, by now or when it was."""
        return (self.reviewed_at or now) > self.due


class ReviewTrail:
    """`add` raises IntegrityError for what does not fit."""

    TYPES: Final = ("break_glass.used", "break_glass.reviewed", "break_glass.review_due")

    def __init__(self) -> None:
        self.reviews: dict[str, Review] = {}  # by approval, in order

    def add(self, type_: str, actor: str, at: int, body: Mapping[str, Any]) -> None:
        """The next event of one of `TYPES`. `at` is Unix ms."""
        try:
            id_ = body["approval"]
            if type_ == "break_glass.used":
                skipped = tuple(str(group) for group in body["skipped"])
                fresh = Review(id_, actor, body["target"], body["reason"], at, business_day_after(at), skipped)
                self.reviews.setdefault(id_, fresh)
                return
            known = self.reviews[id_]
            if type_ == "break_glass.review_due":
                self.reviews[id_] = replace(known, told=True)
            elif not known.reviewed_at:
                if actor == known.by:
                    raise IntegrityError(f"{actor} reviewed glass that they broke themselves")
                self.reviews[id_] = replace(
                    known, reviewer=actor, reviewed_at=at, justified=bool(body["justified"]), comment=str(body["comment"])
                )
        except (KeyError, TypeError):
            raise IntegrityError(f"{type_}: a member is missing, or it is of glass that nobody broke") from None

    def open(self) -> list[Review]:
        """Those that nobody has reviewed, oldest first."""
        return [review for review in self.reviews.values() if not review.reviewed_at]

    def exceptions(self, now: int) -> list[Review]:
        """Those that were, or are, not reviewed in time."""
        return [review for review in self.reviews.values() if review.late(now)]


def business_day_after(at: int) -> int:
    """When 24 hours have passed since `at` (Unix ms) that are no weekend's, in UTC."""
    if _weekend(at // DAY):
        at -= at % DAY
        while _weekend(at // DAY):
            at += DAY
        return at + DAY
    due = at + DAY
    while _weekend(due // DAY):
        due += DAY
    return due


def _weekend(day: int) -> bool:
    """Of days since 1970-01-01, a Thursday."""
    return (day + 3) % 7 >= 5
