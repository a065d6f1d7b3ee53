"""The HTTP API's part about the channels on which people are told: how they do, and a test of one.

Both need `administer` on the gateway. Nothing comes in here from a channel: there is no address for Slack or anybody else to
call back, so that nothing that is pressed or answered elsewhere can decide.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Sequence
from typing import Any, Protocol

from litestar import Request, get, post
from litestar.exceptions import NotFoundException, PermissionDeniedException
from litestar.params import FromPath
from litestar.status_codes import HTTP_200_OK

from doorward.guard.notifications import Notifications
from doorward.model import Identity

Who = Callable[[Request[Any, Any, Any]], Awaitable[Identity]]


class Served(Protocol):
    """What of the gateway these routes serve."""

    notifications: Notifications


def routes(gateway: Served, who: Who, administers: Callable[[Identity], bool]) -> Sequence[Any]:
    """The handlers. `administers` asks policy for `administer` on the gateway itself."""

    async def administrator(request: Request[Any, Any, Any]) -> Identity:
        caller = await who(request)
        if not administers(caller):
            raise PermissionDeniedException(detail="policy does not let you administer this gateway")
        return caller

    @get("/api/notifications")
    async def channels(request: Request[Any, Any, Any]) -> list[dict[str, Any]]:
        """Each channel, what waits for it, and how the last attempts went."""
        await administrator(request)
        return await gateway.notifications.state()

    @post("/api/notifications/{name:str}/test", status_code=HTTP_200_OK)
    async def test(request: Request[Any, Any, Any], name: FromPath[str]) -> dict[str, Any]:
        """Send a message that says that it is a test, and say what came back."""
        caller = await administrator(request)
        try:
            return await gateway.notifications.test(name, caller.id)
        except LookupError:
            raise NotFoundException(detail=f"there is no channel {name}") from None

    return channels, test
