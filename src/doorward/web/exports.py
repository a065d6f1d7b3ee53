"""The HTTP API's part about exports: how far each has got. Needs `administer` on the gateway."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Sequence
from typing import Any, Protocol

from litestar import Request, get
from litestar.exceptions import PermissionDeniedException

from doorward.guard.export import Exports
from doorward.model import Identity

Who = Callable[[Request[Any, Any, Any]], Awaitable[Identity]]


class Served(Protocol):
    """What of the gateway these routes serve."""

    exports: Exports


def routes(gateway: Served, who: Who, administers: Callable[[Identity], bool]) -> Sequence[Any]:
    """The handlers. `administers` asks policy for `administer` on the gateway itself."""

    @get("/api/exports")
    async def exports(request: Request[Any, Any, Any]) -> list[dict[str, Any]]:
        """Each export: the last leaf that it has taken, how many are behind that, and how its last attempt went."""
        if not administers(await who(request)):
            raise PermissionDeniedException(detail="policy does not let you administer this gateway")
        return await gateway.exports.state()

    return (exports,)
