"""The HTTP API's part about who may act: agents and their owners, and revocations.

Registering, transferring, enabling and revoking need `administer` on the gateway. An owner sees their agents, and may
disable them: whoever answers for a program must be able to stop it.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Sequence
from typing import Any, Protocol

from litestar import Request, delete, get, post
from litestar.exceptions import HTTPException, NotFoundException, PermissionDeniedException
from litestar.params import FromPath, JSONBody
from litestar.status_codes import HTTP_200_OK, HTTP_201_CREATED

from doorward.guard.agents import Agents
from doorward.guard.guard import Guard
from doorward.guard.revocation import KINDS, Revocations, describe
from doorward.guard.stores import Agent, SessionRow
from doorward.model import Identity

Who = Callable[[Request[Any, Any, Any]], Awaitable[Identity]]
Administers = Callable[[Identity], bool]
_MOST_LASTING = 365 * 86400


class Served(Protocol):
    """What of the gateway these routes serve."""

    agents: Agents
    revocations: Revocations
    guard: Guard

    async def find_session(self, session_id: str) -> SessionRow | None: ...


def routes(gateway: Served, who: Who, administers: Administers) -> Sequence[Any]:
    """The handlers. `administers` asks policy for `administer` on the gateway itself."""

    async def administrator(request: Request[Any, Any, Any]) -> Identity:
        caller = await who(request)
        if not administers(caller):
            raise PermissionDeniedException(detail="policy does not let you administer this gateway")
        return caller

    def owns(caller: Identity, agent: Agent) -> bool:
        return caller.on_behalf_of is None and caller.id == agent.owner

    async def visible(request: Request[Any, Any, Any], name: str) -> tuple[Identity, Agent]:
        caller = await who(request)
        agent = gateway.agents.get(name)
        if agent is None or not (owns(caller, agent) or administers(caller)):
            raise NotFoundException(detail=f"there is no agent {name} that you may see")
        return caller, agent

    @get("/api/agents")
    async def agents(request: Request[Any, Any, Any]) -> list[dict[str, Any]]:
        """The caller's own agents; all, with `administer`."""
        caller = await who(request)
        every = administers(caller)
        return [gateway.agents.describe(each) for each in gateway.agents.list() if every or owns(caller, each)]

    @get("/api/agents/{name:str}")
    async def agent(request: Request[Any, Any, Any], name: FromPath[str]) -> dict[str, Any]:
        """One agent."""
        return gateway.agents.describe((await visible(request, name))[1])

    @post("/api/agents", status_code=HTTP_201_CREATED)
    async def register(request: Request[Any, Any, Any], data: JSONBody[dict[str, Any]]) -> dict[str, Any]:
        """Register one: {"name", "owner", "issuer", "bound": {claim: value}, "groups": [...]}."""
        caller = await administrator(request)
        bound, groups = data.get("bound"), data.get("groups", [])
        if (
            set(data) - {"name", "owner", "issuer", "bound", "groups"}
            or not all(isinstance(data.get(name), str) for name in ("name", "owner", "issuer"))
            or not isinstance(bound, dict)
            or not isinstance(groups, list)
            or not all(isinstance(text, str) for text in (*bound, *bound.values(), *groups))
        ):
            raise HTTPException(
                status_code=400, detail='send {"name", "owner", "issuer", "bound": {claim: value}, "groups": [..]}'
            )
        try:
            made = await gateway.agents.register(
                caller, data["name"], owner=data["owner"], issuer=data["issuer"], bound=bound, groups=groups
            )
        except ValueError as error:
            raise HTTPException(status_code=422, detail=str(error)) from None
        return gateway.agents.describe(made)

    @post("/api/agents/{name:str}/disable", status_code=HTTP_200_OK)
    async def disable(request: Request[Any, Any, Any], name: FromPath[str]) -> dict[str, Any]:
        """Let it in nowhere, and end its sessions. Its owner may, and an administrator."""
        caller, _ = await visible(request, name)
        return await changed(gateway.agents.enable(caller, name, enabled=False))

    @post("/api/agents/{name:str}/enable", status_code=HTTP_200_OK)
    async def enable(request: Request[Any, Any, Any], name: FromPath[str]) -> dict[str, Any]:
        """Let it in again."""
        caller = await administrator(request)
        return await changed(gateway.agents.enable(caller, name, enabled=True))

    @post("/api/agents/{name:str}/transfer", status_code=HTTP_200_OK)
    async def transfer(
        request: Request[Any, Any, Any], name: FromPath[str], data: JSONBody[dict[str, Any]]
    ) -> dict[str, Any]:
        """Give it another owner: {"owner": "issuer|subject"}."""
        caller = await administrator(request)
        if set(data) != {"owner"} or not isinstance(data["owner"], str):
            raise HTTPException(status_code=400, detail='send {"owner": "issuer|subject"}')
        return await changed(gateway.agents.transfer(caller, name, data["owner"]))

    async def changed(change: Awaitable[Agent]) -> dict[str, Any]:
        try:
            return gateway.agents.describe(await change)
        except LookupError as error:
            raise NotFoundException(detail=str(error.args[0])) from None
        except ValueError as error:
            raise HTTPException(status_code=422, detail=str(error)) from None

    @get("/api/revocations")
    async def revocations(request: Request[Any, Any, Any]) -> list[dict[str, Any]]:
        """Those in force."""
        await administrator(request)
        return [describe(each) for each in gateway.revocations.list()]

    @post("/api/revocations", status_code=HTTP_201_CREATED)
    async def revoke(request: Request[Any, Any, Any], data: JSONBody[dict[str, Any]]) -> dict[str, Any]:
        """Revoke: {"kind": "subject|agent|jti|session", "value": "...", "reason": "...", "seconds": 0}."""
        caller = await administrator(request)
        lasts = data.get("seconds", 0)
        if (
            set(data) - {"kind", "value", "reason", "seconds"}
            or data.get("kind") not in KINDS
            or not isinstance(data.get("value"), str)
            or not isinstance(data.get("reason", ""), str)
            or not (isinstance(lasts, int) and not isinstance(lasts, bool) and 0 <= lasts <= _MOST_LASTING)
        ):
            raise HTTPException(
                status_code=400, detail='send {"kind": "subject, agent, jti or session", "value": "..", "reason": ".."}'
            )
        kind, value = data["kind"], data["value"]
        # A name that nobody has is a slip of the pen, and who believes that somebody is locked out is worse off than before.
        if kind == "agent" and "|" not in value and gateway.agents.get(value) is None:
            raise HTTPException(status_code=422, detail=f"there is no agent {value[:64]}: see `doorward agents list`")
        if kind == "session" and value not in gateway.guard.sessions and await gateway.find_session(value) is None:
            raise HTTPException(status_code=422, detail=f"there is no session {value[:64]}: see `doorward sessions list`")
        try:
            made = await gateway.revocations.revoke(
                kind, value, actor=caller.id, reason=data.get("reason", ""), lasts=lasts
            )
        except ValueError as error:
            raise HTTPException(status_code=422, detail=str(error)) from None
        return describe(made)

    @delete("/api/revocations/{revocation_id:str}", status_code=HTTP_200_OK)
    async def lift(request: Request[Any, Any, Any], revocation_id: FromPath[str]) -> dict[str, Any]:
        """Let in again."""
        caller = await administrator(request)
        if not await gateway.revocations.lift(revocation_id, actor=caller.id):
            raise NotFoundException(detail=f"there is no revocation {revocation_id}")
        return {"revocation": revocation_id, "lifted": True}

    return (agents, agent, register, disable, enable, transfer, revocations, revoke, lift)
