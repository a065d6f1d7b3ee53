"""Reviews of broken glass: a second person looks at what somebody did without the people whom policy wants, and signs what they
think of it.

What is open is read from the log each time it is asked (`ledger.reviews`): the log lags by a second, and every process sees
the same. A review is signed like a vote, once, by somebody who could have approved.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping
from typing import Any, Final

from doorward.errors import DoorwardError, IntegrityError
from doorward.guard.approvals import Approvals, VoteRefusedError
from doorward.guard.ports import Clock
from doorward.guard.reader import RecordReader
from doorward.guard.recorder import Recorder
from doorward.ledger.reviews import Review, ReviewTrail
from doorward.model import Identity, Target

LOOK: Final = 60.0  # seconds between two looks for reviews that are late


class Reviews:
    """One a process. `reader` reads the log as it is now."""

    def __init__(self, approvals: Approvals, recorder: Recorder, clock: Clock, reader: Callable[[], RecordReader]) -> None:
        self._approvals, self._recorder, self._clock, self._reader = approvals, recorder, clock, reader
        self._done: dict[str, Review] = {}  # on record, perhaps not in the log yet
        self._reviewing = asyncio.Lock()

    async def trail(self) -> ReviewTrail:
        """What the log says, and what this process has just put into it."""
        found = ReviewTrail()
        async for opened in self._reader().events(types=ReviewTrail.TYPES):
            event = opened.event
            found.add(event.type, event.actor, event.at, event.body)
        for id_, review in self._done.items():
            if id_ in found.reviews and not found.reviews[id_].reviewed_at:
                found.reviews[id_] = review
        return found

    async def find(self, approval_id: str) -> Review | None:
        """Of one request; None if no glass was broken with it."""
        return (await self.trail()).reviews.get(approval_id)

    async def review(
        self, reviewer: Identity, target: Target, approval_id: str, *, justified: bool, request: str,
        signature: Mapping[str, Any], comment: str,
    ) -> Review:  # fmt: skip
        """Put a signed review on record. Raises VoteRefusedError; LookupError if there is no such request."""
        async with self._reviewing:
            approval = await self._approvals.get(approval_id)
            if approval is None:
                raise LookupError(f"there is no request {approval_id}")
            why = self._approvals.ballots.review_refusal(approval, reviewer, target)
            if why:
                raise VoteRefusedError(why)
            comment = self._recorder.detectors.mask(comment[:1000])[0]
            if not comment.strip():
                raise VoteRefusedError("say in a comment what you looked at, and what you think of it")
            known = await self.find(approval_id)
            if known is None:
                raise VoteRefusedError("it is not in the log yet: try again in a second")
            if known.reviewed_at:
                raise VoteRefusedError("it was reviewed already")
            try:
                vote, evidence = self._approvals.ballots.cast(
                    approval, reviewer, approve=justified, request=request, signature=signature, comment=comment,
                    review=True,
                )  # fmt: skip
            except IntegrityError as error:
                raise VoteRefusedError(error.message) from None
            body = {"approval": approval_id, "justified": justified, "comment": comment, **evidence}
            await self._recorder.event("break_glass.reviewed", body, actor=reviewer.id)
            trail = ReviewTrail()
            trail.reviews[approval_id] = known
            trail.add("break_glass.reviewed", reviewer.id, vote.at, body)
            self._done[approval_id] = trail.reviews[approval_id]
            if len(self._done) > 1000:
                del self._done[next(iter(self._done))]
            return trail.reviews[approval_id]

    async def run(self) -> None:
        """Say of each review that is late that it is, once. Ends when it is cancelled."""
        while True:
            await asyncio.sleep(LOOK)
            if self._recorder.lane != self._recorder.gateway:
                continue  # one process says it
            try:
                await self.look()
            except DoorwardError:
                pass  # it is still late the next time

    async def look(self) -> None:
        """Put on record what is late and was not said to be."""
        now = self._clock.now()
        for review in (await self.trail()).open():
            if review.late(now) and not review.told:
                await self._recorder.event(
                    "break_glass.review_due",
                    {"approval": review.approval, "target": review.target, "due": review.due, "skipped": list(review.skipped)},
                    actor=review.by,
                )
