"""The HTTP API's part about who can reach what, and reviews of that. All of it needs `administer` on the gateway; a review is
opened, decided and closed by people, each for themselves.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Sequence
from dataclasses import asdict
from typing import Any, Final, Protocol

from litestar import Request, get, post
from litestar.exceptions import HTTPException, NotFoundException, PermissionDeniedException
from litestar.params import FromPath, FromQuery, JSONBody
from litestar.status_codes import HTTP_200_OK, HTTP_409_CONFLICT

from doorward.guard.access_reviews import DAY, AccessReviews, Review
from doorward.guard.guard import Guard
from doorward.model import Identity, Kind

Who = Callable[[Request[Any, Any, Any]], Awaitable[Identity]]
MOST_DAYS: Final = 3650


class Served(Protocol):
    """What of the gateway these routes serve."""

    guard: Guard
    access_reviews: AccessReviews


def shown(review: Review, *, whole: bool = True) -> dict[str, Any]:
    """A review as the API shows it."""
    said: dict[str, Any] = {
        "id": review.id, "by": review.by, "opened": review.opened, "due": review.due, "lines": review.lines,
        "decided": len(review.decisions), "closed": review.closed, "digest": review.digest,
    }  # fmt: skip
    if whole:
        said["rights"] = [
            {**asdict(right), **_decision(review.decisions.get((right.identity, right.target)))} for right in review.rights
        ]
    return said


def _decision(found: tuple[str, str, int, str] | None) -> dict[str, Any]:
    verdict, by, at, comment = found or ("", "", 0, "")
    return {"verdict": verdict, "by": by, "at": at, "comment": comment}


def routes(gateway: Served, who: Who, administers: Callable[[Identity], bool]) -> Sequence[Any]:
    """The handlers. `administers` asks policy for `administer` on the gateway itself."""

    async def administrator(request: Request[Any, Any, Any]) -> Identity:
        caller = await who(request)
        if not administers(caller):
            raise PermissionDeniedException(detail="policy does not let you administer this gateway")
        return caller

    async def person(request: Request[Any, Any, Any]) -> Identity:
        caller = await administrator(request)
        if caller.kind is not Kind.HUMAN or caller.on_behalf_of is not None:
            raise PermissionDeniedException(detail="reviews are for people, each for themselves")
        return caller

    def days_of(data: dict[str, Any], name: str, otherwise: int) -> int:
        days = data.get(name, otherwise)
        if type(days) is not int or not 1 <= days <= MOST_DAYS:
            raise HTTPException(status_code=400, detail=f"{name}: a whole number of days, 1 to {MOST_DAYS}")
        return days

    @get("/api/access")
    async def access(
        request: Request[Any, Any, Any], target: FromQuery[str] = "", days: FromQuery[int] = 90
    ) -> list[dict[str, Any]]:
        """Who may do what at which target, and what they used of it in so many days."""
        await administrator(request)
        targets = {target} if target else set()
        rights = await gateway.access_reviews.rights(targets, days=days_of({"days": days}, "days", 90))
        return [asdict(right) for right in rights]

    @get("/api/access-reviews")
    async def reviews(request: Request[Any, Any, Any]) -> list[dict[str, Any]]:
        """The reviews, newest first, without their lines."""
        await administrator(request)
        return [shown(review, whole=False) for review in gateway.access_reviews.reviews()]

    @get("/api/access-reviews/{review:str}")
    async def one(request: Request[Any, Any, Any], review: FromPath[str]) -> dict[str, Any]:
        """One review, with a line for each right and what was decided."""
        await administrator(request)
        for each in gateway.access_reviews.reviews():
            if each.id == review:
                return shown(each)
        raise NotFoundException(detail="there is no such review")

    @post("/api/access-reviews", status_code=HTTP_200_OK)
    async def begin(request: Request[Any, Any, Any], data: JSONBody[dict[str, Any]]) -> dict[str, Any]:
        """Open a review of what is so now: {"targets": [only these], "days": of use, "due": days from now}."""
        caller = await person(request)
        targets = data.get("targets", [])
        if not isinstance(targets, list) or len(targets) > 1000 or not all(isinstance(each, str) for each in targets):
            raise HTTPException(status_code=400, detail="targets: a list of names")
        due = gateway.guard.clock.now() + days_of(data, "due", 14) * DAY
        return shown(await gateway.access_reviews.open(caller, targets, days=days_of(data, "days", 90), due=due))

    @post("/api/access-reviews/{review:str}/decisions", status_code=HTTP_200_OK)
    async def decide(
        request: Request[Any, Any, Any], review: FromPath[str], data: JSONBody[dict[str, Any]]
    ) -> dict[str, Any]:
        """{"identity": ..., "target": ..., "verdict": keep or revoke, "comment": why}."""
        caller = await person(request)
        said = [data.get(name, "") for name in ("identity", "target", "verdict", "comment")]
        if not all(isinstance(each, str) for each in said):
            raise HTTPException(status_code=400, detail="send identity, target, verdict and comment as texts")
        try:
            return shown(await gateway.access_reviews.decide(caller, review, *said), whole=False)
        except KeyError:
            raise NotFoundException(detail="there is no such review, or no such line in it") from None
        except ValueError as error:
            raise HTTPException(status_code=HTTP_409_CONFLICT, detail=str(error)) from None

    @post("/api/access-reviews/{review:str}/close", status_code=HTTP_200_OK)
    async def close(request: Request[Any, Any, Any], review: FromPath[str]) -> dict[str, Any]:
        """End it; what is undecided stays so, on record."""
        caller = await person(request)
        try:
            return shown(await gateway.access_reviews.close(caller, review), whole=False)
        except KeyError:
            raise NotFoundException(detail="there is no such review") from None
        except ValueError as error:
            raise HTTPException(status_code=HTTP_409_CONFLICT, detail=str(error)) from None

    return access, reviews, one, begin, decide, close
