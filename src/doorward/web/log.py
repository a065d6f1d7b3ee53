"""The HTTP API's part about the log: how far it is, who watches it, a time stamp on demand, the next key. With `administer`."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Sequence
from typing import Any, Protocol

from litestar import Request, get, post
from litestar.exceptions import HTTPException, NotFoundException, PermissionDeniedException
from litestar.status_codes import HTTP_200_OK

from doorward.guard.recorder import Recorder
from doorward.guard.stamping import Stamping
from doorward.guard.witnessing import Witnessing
from doorward.model import Identity

OVERLAP = 7  # days for which the key before signs as well, if nothing else is asked for

Who = Callable[[Request[Any, Any, Any]], Awaitable[Identity]]


class Served(Protocol):
    """What of the gateway these routes serve."""

    recorder: Recorder
    witnessing: Witnessing | None
    stamping: Stamping | None


def routes(gateway: Served, who: Who, administers: Callable[[Identity], bool]) -> Sequence[Any]:
    """The handlers. `administers` asks policy for `administer` on the gateway itself."""

    async def administrator(request: Request[Any, Any, Any]) -> Identity:
        caller = await who(request)
        if not administers(caller):
            raise PermissionDeniedException(detail="policy does not let you administer this gateway")
        return caller

    @get("/api/log")
    async def status(request: Request[Any, Any, Any]) -> dict[str, Any]:
        """Where the log stands, and what its witnesses have seen."""
        await administrator(request)
        sequencer, witnessing, stamping = gateway.recorder.sequencer, gateway.witnessing, gateway.stamping
        head = sequencer.head
        found: dict[str, Any] = {
            "keys": [verifier.vkey for verifier in sequencer.verifiers],
            "origin": sequencer.verifiers[0].name,
            "size": 0 if head is None else head.size,
            "root": "" if head is None else head.root.hex(),
            "witnesses": [],
        }
        if witnessing is not None:
            found |= {
                "witnesses": witnessing.state(), "witnessed": witnessing.size, "waiting": round(witnessing.waiting, 1),
                "overdue": witnessing.overdue(),
            }  # fmt: skip
        if stamping is not None:
            found |= {"stamped": stamping.size, "stamped_at": stamping.at}
        return found

    @post("/api/log/stamp", status_code=HTTP_200_OK)
    async def stamp(request: Request[Any, Any, Any]) -> list[dict[str, Any]]:
        """Have the log stamped now, by every authority that is configured."""
        caller = await administrator(request)
        if gateway.stamping is None:
            raise NotFoundException(detail="no time stamp authority is configured (ledger.timestamps)")
        return await gateway.stamping.stamp(actor=caller.id)

    @post("/api/log/rotate-key", status_code=HTTP_200_OK)
    async def rotate(request: Request[Any, Any, Any]) -> dict[str, Any]:
        """Have a fresh key sign the log. `days` is how long the old one signs as well."""
        caller = await administrator(request)
        said = await request.json() if await request.body() else {}
        days = said.get("days", OVERLAP) if isinstance(said, dict) else None
        if not isinstance(days, int) or isinstance(days, bool) or not 1 <= days <= 90:
            raise HTTPException(status_code=400, detail="days is a number from 1 to 90")
        old = gateway.recorder.sequencer.verifiers[0].vkey
        return {"old": old, "new": await gateway.recorder.rotate_key(days * 86400, actor=caller.id), "days": days}

    return status, stamp, rotate
