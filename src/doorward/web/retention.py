"""The HTTP API's part about what is kept how long: epochs and when they are due, deleting what is due, and legal holds.

All of it needs `administer` on the gateway. A hold is released by two people, each for themselves: no agent, and nobody on
another's behalf.
"""

from __future__ import annotations

import re
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import asdict
from typing import Any, Final, Protocol
from uuid import UUID

from litestar import Request, get, post
from litestar.exceptions import HTTPException, NotFoundException, PermissionDeniedException
from litestar.params import FromPath, JSONBody
from litestar.status_codes import HTTP_200_OK, HTTP_409_CONFLICT

from doorward.guard.guard import Guard
from doorward.guard.holds import Hold
from doorward.guard.retention import MOST_SESSIONS, BusyError, Retention
from doorward.model import Identity, Kind

Who = Callable[[Request[Any, Any, Any]], Awaitable[Identity]]
CASE: Final = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,63}")
LONGEST: Final = 1000  # characters of a reason, an identity or a target


class Served(Protocol):
    """What of the gateway these routes serve."""

    guard: Guard
    retention: Retention


def shown(hold: Hold, held: int) -> dict[str, Any]:
    """A hold as the API shows it."""
    state = "released" if hold.released_at else "release requested" if hold.requested_at else "in force"
    return {**asdict(hold), "sessions": list(hold.sessions), "state": state, "held": held}


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
            raise PermissionDeniedException(detail="holds are for people, each for themselves")
        return caller

    async def find(case: str) -> Hold:
        for hold, _ in await gateway.retention.holds():
            if hold.case == case and not hold.released_at:
                return hold
        raise NotFoundException(detail=f"there is no hold {case[:64]} in force")

    @get("/api/retention")
    async def plan(request: Request[Any, Any, Any]) -> dict[str, Any]:
        """Every epoch of which something is left, and what came of the last run."""
        await administrator(request)
        return {"epochs": [asdict(epoch) for epoch in await gateway.retention.plan()], "last": gateway.retention.last}

    @post("/api/retention/run", status_code=HTTP_200_OK)
    async def run(request: Request[Any, Any, Any]) -> dict[str, Any]:
        """Delete what is due."""
        caller = await administrator(request)
        try:
            return await gateway.retention.run(caller.id)
        except BusyError as error:
            raise HTTPException(status_code=HTTP_409_CONFLICT, detail=str(error)) from None

    @get("/api/holds")
    async def listed(request: Request[Any, Any, Any]) -> list[dict[str, Any]]:
        """Every hold, released ones too, oldest first."""
        await administrator(request)
        return [shown(hold, held) for hold, held in await gateway.retention.holds()]

    @post("/api/holds", status_code=HTTP_200_OK)
    async def apply(request: Request[Any, Any, Any], data: JSONBody[dict[str, Any]]) -> dict[str, Any]:
        """Put a hold in force: {"case", "reason", and "sessions", or "identity", "target", "since", "until"}."""
        caller = await person(request)
        clock = gateway.guard.clock
        hold, held = _hold(data, clock.new_id(), caller.id, clock.now()), 0
        try:
            hold, held = await gateway.retention.apply(hold)
        except KeyError:
            raise HTTPException(
                status_code=HTTP_409_CONFLICT, detail=f"there is a hold {hold.case} in force; give this one another name"
            ) from None
        except BusyError as error:
            raise HTTPException(status_code=HTTP_409_CONFLICT, detail=str(error)) from None
        return shown(hold, held)

    @post("/api/holds/{case:str}/release", status_code=HTTP_200_OK)
    async def release(request: Request[Any, Any, Any], case: FromPath[str]) -> dict[str, Any]:
        """Ask that a hold be released; or, a second person, confirm it."""
        caller = await person(request)
        hold = await find(case)
        try:
            if not hold.requested_at:
                await gateway.retention.request_release(hold, caller.id)
                hold = await find(case)
            else:
                hold = await gateway.retention.release(hold, caller.id)
        except BusyError as error:
            raise HTTPException(status_code=HTTP_409_CONFLICT, detail=str(error)) from None
        except PermissionError:
            raise PermissionDeniedException(detail="you asked for it: somebody else has to confirm") from None
        held = [count for each, count in await gateway.retention.holds() if each.id == hold.id]
        return shown(hold, sum(held))

    return plan, run, listed, apply, release


def _hold(data: dict[str, Any], id_: str, by: str, now: int) -> Hold:
    case, reason, sessions = data.get("case"), data.get("reason"), data.get("sessions", [])
    identity, target, since, until = (data.get(n, d) for n, d in (("identity", ""), ("target", ""), ("since", 0), ("until", 0)))
    texts, times = (identity, target), (since, until)
    if (
        set(data) - {"case", "reason", "sessions", "identity", "target", "since", "until"}
        or not isinstance(case, str) or not CASE.fullmatch(case)
        or not isinstance(reason, str) or not 0 < len(reason) <= LONGEST or not reason.isprintable()
        or not isinstance(sessions, list) or len(sessions) > MOST_SESSIONS or not all(_is_session(each) for each in sessions)
        or not all(isinstance(each, str) and len(each) <= LONGEST for each in texts)
        or not all(type(each) is int and 0 <= each < 1 << 53 for each in times)
        or bool(sessions) == bool(any(texts) or any(times))
    ):  # fmt: skip
        raise HTTPException(
            status_code=400,
            detail='send {"case", "reason", and "sessions" (ids), or "identity", "target", "since", "until" (Unix ms)}',
        )
    return Hold(id_, case, tuple(sessions), *texts, *times, reason, by, now)


def _is_session(text: Any) -> bool:
    try:
        return isinstance(text, str) and str(UUID(text)) == text
    except ValueError:
        return False
