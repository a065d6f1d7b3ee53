"""The HTTP API's part that is about the token vault: what a token stands for, what is kept, and erasing it.

Whoever reveals needs `unmask` on the token's label (`guard.reveals`); the rest needs `administer` on the target. That somebody
had tokens erased is an event before they are.
"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from typing import Any, Protocol

from litestar import Request, Response, get, post
from litestar.exceptions import HTTPException, NotFoundException
from litestar.params import FromPath, JSONBody
from litestar.status_codes import HTTP_200_OK

from doorward.guard.guard import Guard
from doorward.guard.reveals import LONGEST_REASON, TOKEN, Reveals, Withheld
from doorward.masking.statement import mask_statement
from doorward.model import Target
from doorward.web.targets import Allowed, Who

MOST_TOKENS = 500  # that one request erases
_WHAT = 'send {"tokens": [at most 500], "reason": ".."} or {"label": "..", "reason": ".."}'


class Served(Protocol):
    """What of the gateway these routes serve."""

    guard: Guard

    @property
    def targets(self) -> dict[str, Target]: ...
    @property
    def reveals(self) -> Reveals | None: ...


def routes(gateway: Served, who: Who, allowed: Allowed) -> Sequence[Any]:
    """The handlers. `allowed` asks policy: identity, action, target."""

    def vault() -> Reveals:
        if gateway.reveals is None:
            raise NotFoundException(detail="this gateway has no token vault: masking.vault.keys is not set")
        return gateway.reveals

    @post("/api/targets/{target:str}/reveals", status_code=HTTP_200_OK)
    async def reveal(
        request: Request[Any, Any, Any], target: FromPath[str], data: JSONBody[dict[str, Any]]
    ) -> Response[dict[str, Any]]:
        """What a token stands for: {"token": "..", "reason": ".."}."""
        caller = await who(request)
        found = gateway.targets.get(target)
        if found is None:
            raise NotFoundException(detail=f"there is no target {target}")
        token, reason = data.get("token"), data.get("reason")
        if (
            set(data) != {"token", "reason"} or not isinstance(token, str) or not TOKEN.fullmatch(token)
            or not _is_reason(reason)
        ):  # fmt: skip
            raise HTTPException(
                status_code=400, detail=f'send {{"token": "label_..", "reason": "of at most {LONGEST_REASON} characters"}}'
            )
        answer = await vault().reveal(caller, found, token, str(reason))
        if isinstance(answer, Withheld):
            return Response({"error": answer.reason, "hint": answer.hint}, status_code=403)
        return Response(
            {"target": target, "token": answer.token, "label": answer.label, "value": answer.value, "shown": _date(answer.day)}
        )

    async def administrator(request: Request[Any, Any, Any], target: str) -> str:
        caller = await who(request)
        if target not in gateway.targets or not allowed(caller, "administer", target):
            raise NotFoundException(detail=f"there is no target {target} that you may administer")
        return caller.id

    @get("/api/targets/{target:str}/tokens")
    async def kept(request: Request[Any, Any, Any], target: FromPath[str]) -> dict[str, Any]:
        """How many tokens are kept, by label and key."""
        await administrator(request, target)
        found = vault().vault
        return {
            "target": target, "keys": list(found.epochs), "retention_days": found.retention,
            "kept": [
                {"label": count.label, "key": count.epoch, "tokens": count.tokens, "first": _date(count.first),
                 "last": _date(count.last)}
                for count in sorted(await found.counts(target), key=lambda count: (count.label, count.epoch))
            ],
        }  # fmt: skip

    @post("/api/targets/{target:str}/tokens/forget", status_code=HTTP_200_OK)
    async def forget(
        request: Request[Any, Any, Any], target: FromPath[str], data: JSONBody[dict[str, Any]]
    ) -> dict[str, Any]:
        """Erase tokens, or all of a label. Nobody can have back what they stand for, until they are shown again."""
        caller = await administrator(request, target)
        tokens, label, reason = data.get("tokens", []), data.get("label", ""), data.get("reason")
        if (
            set(data) - {"tokens", "label", "reason"} or not _is_reason(reason) or not isinstance(label, str)
            or not isinstance(tokens, list) or len(tokens) > MOST_TOKENS or bool(label) == bool(tokens)
            or len(label) > 32 or not all(isinstance(each, str) and TOKEN.fullmatch(each) for each in tokens)
        ):  # fmt: skip
            raise HTTPException(status_code=400, detail=_WHAT)
        found = vault().vault
        recorder = gateway.guard.recorder
        shown = mask_statement(str(reason), detectors=recorder.detectors)[0]
        said = {"target": target, "label": label, "tokens": tokens, "reason": shown}
        await recorder.event("token.forgotten", said, actor=caller)
        return {"target": target, "forgotten": await found.forget(target, tokens=tokens, label=label)}

    return reveal, kept, forget


def _is_reason(reason: object) -> bool:
    return isinstance(reason, str) and bool(reason.strip()) and reason.isprintable() and len(reason) <= LONGEST_REASON


def _date(day: int) -> str:
    """A Unix day, as ISO 8601 writes it."""
    return (datetime(1970, 1, 1, tzinfo=UTC) + timedelta(days=day)).date().isoformat()
