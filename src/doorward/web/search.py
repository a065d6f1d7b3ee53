"""The HTTP API's part that finds sessions by words.

Contract: what is found is what the caller may `replay`, and each is asked of policy by itself; that somebody searched is an
event (`recording.searched`) before they are told anything. What they searched for is not in it: it may be what must not be
recorded.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from typing import Any, Final, Protocol

from litestar import Request, get, post
from litestar.exceptions import HTTPException, PermissionDeniedException
from litestar.params import FromQuery
from litestar.status_codes import HTTP_200_OK

from doorward.guard.guard import Guard
from doorward.guard.search import Search
from doorward.guard.stores import SessionRow
from doorward.model import Identity

MOST_LOOKED_AT: Final = 1000  # sessions that have the words, of which policy is asked
MOST_FOUND: Final = 200
LONGEST: Final = 1000  # characters of a question

Who = Callable[[Request[Any, Any, Any]], Awaitable[Identity]]


class Served(Protocol):
    """What of the gateway these routes serve."""

    guard: Guard
    search: Search

    async def find_session(self, session_id: str) -> SessionRow | None: ...


def routes(
    gateway: Served,
    who: Who,
    lines: Callable[[Sequence[SessionRow]], Awaitable[list[dict[str, Any]]]],
    allowed: Callable[..., bool],
    administers: Callable[[Identity], bool],
) -> Sequence[Any]:
    """The handlers. `lines` says what the list of sessions says of some."""

    @get("/api/sessions/search")
    async def search(request: Request[Any, Any, Any], words: FromQuery[str] = "", limit: FromQuery[int] = 50) -> dict[str, Any]:
        """Ended sessions that have all the words and that the caller may replay, the latest first. `more`: there are others.
        `behind`: the index cannot be built now, so that what ended lately may be missing."""
        caller = await who(request)
        if len(words) > LONGEST or limit < 1:
            raise HTTPException(status_code=400, detail=f"ask at most {LONGEST} characters, and for at least one session")
        found: list[SessionRow] = []
        looked_at, more = 0, False
        try:
            async for session in gateway.search.find(words):
                if looked_at >= MOST_LOOKED_AT or len(found) >= min(limit, MOST_FOUND):
                    more = True
                    break
                looked_at += 1
                row = await gateway.find_session(session)
                if row is not None and allowed(caller, "replay", row.target, ("Recording", row.id), (row.identity,)):
                    found.append(row)
        except ValueError as error:
            raise HTTPException(status_code=400, detail=str(error)) from None
        await gateway.guard.recorder.event(
            "recording.searched", {"words": len(words.split()), "found": len(found)}, actor=caller.id
        )
        return {"sessions": await lines(found), "more": more, "behind": bool(gateway.search.failed)}

    @post("/api/sessions/search/rebuild", status_code=HTTP_200_OK)
    async def rebuild(request: Request[Any, Any, Any]) -> dict[str, Any]:
        """Make the index again from the recordings. Needs `administer` on the gateway. 409: somebody is at it."""
        if not administers(await who(request)):
            raise PermissionDeniedException(detail="policy does not let you administer this gateway")
        try:
            return {"sessions": await asyncio.shield(gateway.search.rebuild())}
        except BlockingIOError as error:
            raise HTTPException(status_code=409, detail=str(error)) from None

    return (search, rebuild)
