"""The HTTP API's part that is about reviewing broken glass: what is open, and saying what one thinks of it, signed."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Sequence
from dataclasses import asdict
from typing import Any

from litestar import Request, get, post
from litestar.exceptions import HTTPException, NotFoundException, PermissionDeniedException
from litestar.params import FromPath, FromQuery, JSONBody
from litestar.status_codes import HTTP_200_OK

from doorward.guard.approvals import VoteRefusedError
from doorward.guard.ports import Clock
from doorward.guard.reviews import Reviews
from doorward.ledger.reviews import Review
from doorward.model import Approval, Identity, Target
from doorward.web.targets import Who

Found = Callable[[Identity, str], Awaitable[Approval]]


def shown(review: Review, now: int) -> dict[str, Any]:
    """A review as the API shows it."""
    said = asdict(review)
    del said["told"]
    return {**said, "skipped": list(review.skipped), "late": review.late(now)}


def routes(
    reviews: Reviews, clock: Clock, targets: Callable[[], dict[str, Target]], who: Who, found: Found
) -> Sequence[Any]:
    """The handlers. `found` is a request that somebody may see; NotFoundException."""

    @get("/api/reviews")
    async def listed(request: Request[Any, Any, Any], everything: FromQuery[bool] = False) -> list[dict[str, Any]]:
        """Broken glass that the caller may see and that nobody has reviewed; with `everything` that too which somebody has."""
        identity = await who(request)
        trail = await reviews.trail()
        lines = []
        for review in list(trail.reviews.values())[-1000:]:
            if review.reviewed_at and not everything:
                continue
            try:
                await found(identity, review.approval)
            except NotFoundException:
                continue
            lines.append(shown(review, clock.now()))
        return lines

    @post("/api/approvals/{approval_id:str}/review", status_code=HTTP_200_OK)
    async def review(
        request: Request[Any, Any, Any], approval_id: FromPath[str], data: JSONBody[dict[str, Any]]
    ) -> dict[str, Any]:
        """Review broken glass: {"justified", "comment", "request", "signature"}, of a ballot with `review`."""
        identity = await who(request)
        asked = await found(identity, approval_id)
        signature, comment = data.get("signature"), data.get("comment")
        if (
            set(data) != {"justified", "comment", "request", "signature"} or not isinstance(data["justified"], bool)
            or not isinstance(comment, str) or not isinstance(data["request"], str) or not isinstance(signature, dict)
            or signature.get("method") not in ("sshsig", "webauthn")
        ):  # fmt: skip
            raise HTTPException(status_code=400, detail='send {"justified", "comment", "request", "signature"}')
        target = targets().get(asked.target)
        if target is None:
            raise NotFoundException(detail=f"there is no target {asked.target}")
        try:
            done = await reviews.review(
                identity, target, approval_id, justified=data["justified"], request=data["request"], signature=signature,
                comment=comment,
            )  # fmt: skip
        except VoteRefusedError as error:
            raise PermissionDeniedException(detail=str(error)) from None
        return shown(done, clock.now())

    return listed, review
