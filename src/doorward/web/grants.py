"""The HTTP API's part that asks for grants: more than one statement, agreed to in advance, or broken glass.

Whoever may connect to a target may ask, agents too, each for themselves; what may be asked for, and who answers, is policy's
to say (`policy.grants`).
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Sequence
from typing import Any, Final

from litestar import Request, post
from litestar.exceptions import HTTPException, NotFoundException, PermissionDeniedException
from litestar.params import JSONBody
from litestar.status_codes import HTTP_200_OK

from doorward.guard.approvals import TooManyRequestsError
from doorward.guard.ballots import Asked, binding
from doorward.guard.guard import Guard
from doorward.model import Approval, Identity, Refusal, Target, identifiers
from doorward.policy.grants import ACTIONS
from doorward.policy.policies import LONGEST_GRANT
from doorward.web.targets import Who

MOST_STATEMENTS: Final = 10_000
MOST_ROWS: Final = 1_000_000
MOST_PLACES: Final = 20
LONGEST_REASON: Final = 500
_FIELDS: Final = frozenset(
    ("target", "actions", "minutes", "statements", "rows", "reason", "on", "session", "break_glass")
)
_KINDS: Final = {1: "Schema", 2: "Table"}

Rendered = Callable[[Identity, Approval], Awaitable[dict[str, Any]]]


def routes(
    guard: Guard, targets: Callable[[], dict[str, Target]], who: Who, rendered: Rendered
) -> Sequence[Any]:
    """The handlers. `rendered` is a request as the API shows it."""

    @post("/api/approvals", status_code=HTTP_200_OK)
    async def ask(request: Request[Any, Any, Any], data: JSONBody[dict[str, Any]]) -> dict[str, Any]:
        """Ask for a grant, for oneself: {"target", "actions", "minutes", "statements", "rows", "reason"}, and optionally "on"
        (schemas and tables), "session", "break_glass"."""
        identity = await who(request)
        asked, reason = _asked(data)
        target = targets().get(str(data["target"]))
        if target is None:
            raise NotFoundException(detail=f"there is no target {str(data['target'])[:80]} that you may use")
        if asked.session:
            live = guard.sessions.get(asked.session)
            if live is None or binding(live.session.identity, live.session.target) != binding(identity, target):
                raise NotFoundException(detail=f"there is no session {asked.session[:80]} of yours on {target.name}")
        client = request.client.host if request.client else ""
        try:
            found = await guard.ask_in_advance(identity, target, asked, reason=reason, client=client)
        except TooManyRequestsError as error:
            raise HTTPException(status_code=429, detail=str(error)) from None
        if isinstance(found, Refusal):
            raise PermissionDeniedException(detail=found.reason + (f". {found.hint}" if found.hint else ""))
        return await rendered(identity, found)

    return (ask,)


def _asked(data: dict[str, Any]) -> tuple[Asked, str]:
    """What is asked for, and why. Raises HTTPException for what is none."""

    def wrong(what: str) -> HTTPException:
        return HTTPException(status_code=400, detail=what)

    def number(name: str, most: int) -> int:
        value = data.get(name)
        if type(value) is not int or not 0 < value <= most:
            raise wrong(f"`{name}` is a number from 1 to {most:,}")
        return value

    if set(data) - _FIELDS or not isinstance(data.get("target"), str):
        raise wrong(f"send {', '.join(sorted(_FIELDS))}; on, session and break_glass may be left out")
    actions, on, session = data.get("actions"), data.get("on", []), data.get("session", "")
    if not isinstance(actions, list) or not actions or any(action not in ACTIONS for action in actions):
        raise wrong(f"`actions` is a list of {', '.join(ACTIONS)}: what functions do cannot be counted by rows")
    reason = data.get("reason")
    if not isinstance(reason, str) or not reason.strip() or not reason.isprintable() or len(reason) > LONGEST_REASON:
        raise wrong(f"`reason` is one printable line of at most {LONGEST_REASON} characters: approvers read it")
    if not isinstance(session, str) or not isinstance(data.get("break_glass", False), bool):
        raise wrong("`session` is the id of a session, `break_glass` true or false")
    if not isinstance(on, list) or len(on) > MOST_PLACES or not all(isinstance(each, str) for each in on):
        raise wrong(f"`on` is a list of at most {MOST_PLACES} schemas and tables, as in public or public.orders")
    places = []
    for each in on:
        try:
            places.append((_KINDS[len(identifiers(each))], each))
        except (ValueError, KeyError):
            raise wrong(f"{each[:80]!r} is no schema and no table: write public or public.orders") from None
    return Asked(
        actions=tuple(dict.fromkeys(actions)), minutes=number("minutes", LONGEST_GRANT // 60),
        statements=number("statements", MOST_STATEMENTS), rows=number("rows", MOST_ROWS),
        on=tuple(dict.fromkeys(places)), session=session, break_glass=data.get("break_glass", False),
    ), reason.strip()  # fmt: skip
