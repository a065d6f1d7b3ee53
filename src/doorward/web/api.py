"""The HTTP API: who am I, approvals, sessions, policy; health and metrics; and the pages, which show what it answers.

Everything below `/api` needs a bearer token of a trusted issuer, or a browser that is signed in (`access`), and each route
asks Cedar for its own right. A route that
shows a recording writes an event first. Answers are JSON; an error is `{"error": ..., "hint": ...}` with a status that
fits. Nothing here can see a statement's unmasked text: the gateway does not keep it.
"""

from __future__ import annotations

import asyncio
import base64
import json
from collections.abc import Iterator, Sequence
from itertools import islice
from typing import Annotated, Any, Protocol
from urllib.parse import quote

from litestar import Litestar, MediaType, Request, Response, get, post
from litestar.exceptions import HTTPException, NotFoundException, PermissionDeniedException
from litestar.params import FromPath, FromQuery, JSONBody, QueryParameter
from litestar.status_codes import HTTP_200_OK

from doorward.errors import AuthenticationError, DoorwardError, UpstreamError
from doorward.guard.approvals import OPEN, Approvals, VoteRefusedError
from doorward.guard.guard import Guard
from doorward.guard.ports import SessionRow
from doorward.guard.reader import RecordReader
from doorward.model import Approval, ApprovalState, Identity, Outcome, Target
from doorward.policy.decide import may, may_vote
from doorward.web import targets
from doorward.web.access import Access, Authenticator
from doorward.web.browser import page
from doorward.web.headers import protection
from doorward.web.pages import sign_in, views

LONGEST_WAIT = 60.0  # seconds that one request may wait for an answer
MOST_RECORDS = 20_000  # records of a recording that one answer holds
MOST_BYTES = 8 << 20  # and their bytes, about


class Served(targets.Served, sign_in.Served, Protocol):
    """What of the gateway the API and the pages serve."""

    guard: Guard
    approvals: Approvals

    @property
    def authenticator(self) -> Authenticator: ...
    @property
    def reader(self) -> RecordReader: ...
    def ready(self) -> str: ...
    def metrics_text(self) -> bytes: ...
    async def reload(self, *, actor: str = "") -> str: ...
    async def list_sessions(self, **filters: Any) -> list[SessionRow]: ...
    async def observed(self, session_ids: Sequence[str]) -> dict[str, int]: ...
    async def find_session(self, session_id: str) -> SessionRow | None: ...


def application(gateway: Served) -> Litestar:
    """The ASGI application."""

    access = Access(gateway.authenticator, gateway.browsers, lambda: gateway.url)
    who = access.who

    def target_of(name: str) -> Target:
        target = gateway.targets.get(name)
        if target is None:
            raise NotFoundException(detail=f"there is no target {name}")
        return target

    def allowed(
        identity: Identity,
        action: str,
        target: str,
        resource: tuple[str, str] | None = None,
        owners: tuple[str, ...] = (),
    ) -> bool:
        found = gateway.targets.get(target)
        return (
            found is not None
            and may(gateway.guard.policies.current, identity, action, found, resource=resource, owners=owners).outcome
            is Outcome.ALLOW
        )

    def sees(identity: Identity, approval: Approval) -> bool:
        target = gateway.targets.get(approval.target)
        return _asked(identity, approval) or (target is not None and (
            may_vote(gateway.guard.policies.current, identity, approval, target).outcome is Outcome.ALLOW
            or allowed(identity, "administer", approval.target)
        ))  # fmt: skip

    async def approval_for(identity: Identity, approval_id: str) -> Approval:
        approval = await gateway.approvals.get(approval_id)
        if approval is None or not sees(identity, approval):
            raise NotFoundException(detail=f"there is no request {approval_id} that you may see")
        return approval

    async def rendered(identity: Identity, approval: Approval) -> dict[str, Any]:
        body = await gateway.approvals.body(approval.id)
        shown: dict[str, Any] = json.loads(body) if body else {}
        shown.update(_state(approval))
        shown["requested_by"], shown["on_behalf_of"] = approval.requested_by, list(approval.on_behalf_of)
        shown["target"] = approval.target
        open_still = approval.state in (*OPEN, ApprovalState.APPROVED)
        # By the gateway's clock, which is the one that counts: the caller's may be off.
        shown["left_ms"] = max(0, approval.expires_at - gateway.guard.clock.now()) if open_still else 0
        target = gateway.targets.get(approval.target)
        vote = None if target is None else may_vote(gateway.guard.policies.current, identity, approval, target)
        shown["you_may_vote"] = vote is not None and vote.outcome is Outcome.ALLOW
        if vote is not None and vote.outcome is not Outcome.ALLOW:
            shown["why_not"] = vote.reason
        if not shown["you_may_vote"]:
            shown.pop("preview", None)  # a number of rows tells something of the data
        return shown

    @get("/healthz", media_type=MediaType.TEXT)
    async def health() -> str:
        """The process answers."""
        return "ok"

    @get("/readyz", media_type=MediaType.TEXT)
    async def readiness() -> Response[str]:
        """New sessions are welcome: 200; else 503 and why."""
        why = gateway.ready()
        return Response(why or "ready", status_code=503 if why else 200, media_type=MediaType.TEXT)

    @get("/metrics")
    async def metrics() -> Response[bytes]:
        """Prometheus exposition."""
        return Response(gateway.metrics_text(), media_type="text/plain; version=0.0.4; charset=utf-8")

    @get("/api/whoami")
    async def whoami(request: Request[Any, Any, Any]) -> dict[str, Any]:
        """Who the gateway takes the bearer of this token to be."""
        return _identity(await who(request))

    @get("/api/approvals")
    async def approvals(
        request: Request[Any, Any, Any],
        in_state: Annotated[str, QueryParameter(name="state")] = "",
        limit: FromQuery[int] = 100,
    ) -> list[dict[str, Any]]:
        """Requests that the caller asked for or may vote on."""
        identity = await who(request)
        try:
            wanted = ApprovalState(in_state) if in_state else None
        except ValueError:
            raise HTTPException(status_code=400, detail=f"state must be one of {', '.join(ApprovalState)}") from None
        found = await gateway.approvals.list(wanted, limit=max(1, min(limit, 1000)))
        shown = []
        for approval in found:
            if not sees(identity, approval):
                continue
            body = json.loads(await gateway.approvals.body(approval.id) or b"{}")
            shown.append({
                **_state(approval), "target": approval.target, "requested_by": approval.requested_by,
                "on_behalf_of": list(approval.on_behalf_of), "action": body.get("action", ""),
                "effect": body.get("effect", ""), "text": str(body.get("text", ""))[:400],
            })  # fmt: skip
        return shown

    @get("/api/approvals/{approval_id:str}")
    async def approval(request: Request[Any, Any, Any], approval_id: FromPath[str]) -> dict[str, Any]:
        """One request, as the gateway renders it."""
        identity = await who(request)
        return await rendered(identity, await approval_for(identity, approval_id))

    @get("/api/approvals/{approval_id:str}/wait")
    async def wait(
        request: Request[Any, Any, Any], approval_id: FromPath[str], seconds: FromQuery[float] = 30.0
    ) -> dict[str, Any]:
        """The request once it is decided, or as it stands when the time is over."""
        identity = await who(request)
        await approval_for(identity, approval_id)
        decided = await gateway.approvals.wait(approval_id, max(0.0, min(seconds, LONGEST_WAIT)))
        if decided is None:
            raise NotFoundException(detail=f"there is no request {approval_id}")
        return await rendered(identity, decided)

    @post("/api/approvals/{approval_id:str}/votes", status_code=HTTP_200_OK)
    async def vote(
        request: Request[Any, Any, Any], approval_id: FromPath[str], data: JSONBody[dict[str, Any]]
    ) -> dict[str, Any]:
        """Cast the caller's vote: {"approve": true|false, "comment": "..."}."""
        identity = await who(request)
        if not isinstance(data.get("approve"), bool) or set(data) - {"approve", "comment"}:
            raise HTTPException(status_code=400, detail='send {"approve": true or false, "comment": "..."}')
        asked = await approval_for(identity, approval_id)
        try:
            voted = await gateway.approvals.vote(
                identity,
                target_of(asked.target),
                approval_id,
                approve=data["approve"],
                comment=str(data.get("comment", "")),
            )
        except VoteRefusedError as error:
            raise PermissionDeniedException(detail=str(error)) from None
        return await rendered(identity, voted)

    @post("/api/approvals/{approval_id:str}/withdraw", status_code=HTTP_200_OK)
    async def withdraw(request: Request[Any, Any, Any], approval_id: FromPath[str]) -> dict[str, Any]:
        """Take a request back: one's own, that of an agent acting for the caller, or any, with `administer`."""
        identity = await who(request)
        asked = await approval_for(identity, approval_id)
        if not _asked(identity, asked) and not allowed(identity, "administer", asked.target):
            raise PermissionDeniedException(
                detail="only who asked, or whom they asked for, or an administrator can withdraw a request"
            )
        if not await gateway.approvals.end(
            approval_id, ApprovalState.WITHDRAWN, reason="withdrawn", actor=identity.id
        ):
            raise PermissionDeniedException(detail=f"request {approval_id} is {asked.state} already")
        return await rendered(identity, await approval_for(identity, approval_id))

    @get("/api/sessions")
    async def sessions(
        request: Request[Any, Any, Any], identity: FromQuery[str] = "", target: FromQuery[str] = "",
        in_state: Annotated[str, QueryParameter(name="state")] = "", since: FromQuery[int] = 0,
        before: FromQuery[str] = "", limit: FromQuery[int] = 50,
    ) -> list[dict[str, Any]]:  # fmt: skip
        """Sessions that the caller may replay or end, and the caller's own, newest first."""
        caller = await who(request)
        found = await gateway.list_sessions(
            identity=identity, target=target, state=in_state, since=since, before=before, limit=max(1, min(limit, 500))
        )
        return await lines([row for row in found if _may_see(caller, row)])

    def _may_see(caller: Identity, row: SessionRow) -> bool:
        return (
            row.identity == caller.id
            or allowed(caller, "replay", row.target, ("Recording", row.id), (row.identity,))
            or allowed(caller, "administer", row.target)  # who may end it must find it
        )

    async def lines(rows: Sequence[SessionRow]) -> list[dict[str, Any]]:
        observed = await gateway.observed([row.id for row in rows])
        return [_session(row, observed.get(row.id, 0)) for row in rows]

    async def session_for(caller: Identity, session_id: str) -> SessionRow:
        row = await gateway.find_session(session_id)
        if row is None or not _may_see(caller, row):
            raise NotFoundException(detail=f"there is no session {session_id} that you may see")
        return row

    @get("/api/sessions/{session_id:str}")
    async def session(request: Request[Any, Any, Any], session_id: FromPath[str]) -> dict[str, Any]:
        """One session's line of the index."""
        row = await session_for(await who(request), session_id)
        return (await lines([row]))[0]

    @get("/api/sessions/{session_id:str}/records")
    async def records(request: Request[Any, Any, Any], session_id: FromPath[str], skip: FromQuery[int] = 0) -> dict[str, Any]:
        """The records of a recording, from number `skip` on. Needs `replay`; that somebody looked is an event."""
        caller = await who(request)
        row = await session_for(caller, session_id)
        if not allowed(caller, "replay", row.target, ("Recording", row.id), (row.identity,)):
            raise PermissionDeniedException(detail="policy does not let you replay this session")
        if skip == 0:
            await gateway.guard.recorder.event("recording.viewed", {"session": session_id}, actor=caller.id)
        try:
            found = await gateway.reader.recording(session_id)
        except KeyError:
            raise NotFoundException(detail="the key of this recording is not there (any more)") from None
        # Files, ciphers and decompression: in a thread, so that nobody's session waits for it.
        shown, more = await asyncio.to_thread(_page, found, skip)
        (line,) = await lines([row])
        return {"session": line, "records": shown, "more": more, "next": skip + len(shown)}

    @post("/api/sessions/{session_id:str}/end", status_code=HTTP_200_OK)
    async def end(request: Request[Any, Any, Any], session_id: FromPath[str]) -> dict[str, Any]:
        """End a live session. Needs `administer` on its target."""
        caller = await who(request)
        live = gateway.guard.sessions.get(session_id)
        if live is None or not allowed(caller, "administer", live.session.target.name):
            raise NotFoundException(detail=f"there is no live session {session_id} that you may end")
        await gateway.guard.recorder.event(
            "session.ended", {"session": session_id}, session_id=session_id, actor=caller.id
        )
        live.end("an administrator ended this session")
        return {"session": session_id, "ended": True}

    @post("/api/policy/reload", status_code=HTTP_200_OK)
    async def reload(request: Request[Any, Any, Any]) -> dict[str, Any]:
        """Read the policy files again. Needs `administer` on every target."""
        caller = await who(request)
        if not all(allowed(caller, "administer", name) for name in gateway.targets):
            raise PermissionDeniedException(detail="only who administers every target may reload the policies")
        wrong = await gateway.reload(actor=caller.id)
        if wrong:
            raise HTTPException(status_code=422, detail=wrong)
        return {"policy": gateway.guard.policies.current.hash}

    routes: Sequence[Any] = (
        health, readiness, metrics, whoami, approvals, approval, wait, vote, withdraw, sessions, session, records, end, reload,
        *targets.routes(gateway, who, allowed),
    )  # fmt: skip
    answers = {path: each.fn for each in routes if "GET" in each.http_methods for path in each.paths}
    routes = (
        *routes, *sign_in.routes(gateway, access), *views.routes(gateway, access, gateway.guard.clock, answers, allowed)
    )
    return Litestar(
        route_handlers=list(routes), openapi_config=None, before_send=[protection(secure=gateway.browsers.secure)],
        request_max_body_size=64 * 1024, logging_config=None,
        exception_handlers={DoorwardError: _doorward, HTTPException: _http, RecursionError: _deep, Exception: _unexpected},
    )  # fmt: skip


def _asked(identity: Identity, approval: Approval) -> bool:
    """Whether a request is this very identity's, acting for the same people, or was made for it. An agent has no part in
    what its principal, or another agent of its principal's, asked for."""
    chain = tuple(link.id for link in identity.chain())
    asked = (approval.requested_by, *approval.on_behalf_of)
    return len(chain) <= len(asked) and chain == asked[-len(chain) :]  # the same people, from here on


def _page(found: Iterator[tuple[int, int, bytes]], skip: int) -> tuple[list[dict[str, Any]], bool]:
    """The records from number `skip` on that fit one answer, and whether there are more."""
    shown: list[dict[str, Any]] = []
    size = 0
    for kind, at, body in islice(found, skip, None):
        if len(shown) >= MOST_RECORDS or size > MOST_BYTES:
            return shown, True
        size += len(body)
        shown.append({"kind": kind, "at": at, "body": base64.b64encode(body).decode()})
    return shown, False


def _answer(request: Request[Any, Any, Any], status: int, error: str, hint: str = "") -> Response[Any]:
    path = request.url.path
    if not path.startswith(("/api/", "/healthz", "/readyz", "/metrics", "/oauth/")):
        if status == 401 and request.method == "GET":
            return Response(None, status_code=303, headers={"location": f"/sign-in?to={quote(page(path), safe='/')}"})
        return views.failed(status, error, hint)
    return Response({"error": error, "hint": hint}, status_code=status, media_type=MediaType.JSON)


def _doorward(request: Request[Any, Any, Any], error: DoorwardError) -> Response[Any]:
    status = 401 if isinstance(error, AuthenticationError) else 503 if isinstance(error, UpstreamError) else 500
    return _answer(request, status, error.message, error.hint)


def _http(request: Request[Any, Any, Any], error: HTTPException) -> Response[Any]:
    return _answer(request, error.status_code, error.detail)


def _deep(request: Request[Any, Any, Any], _error: RecursionError) -> Response[Any]:
    return _answer(request, 400, "the body is nested too deeply")


def _unexpected(request: Request[Any, Any, Any], error: Exception) -> Response[Any]:
    # What went wrong may quote what was asked: the caller learns only that it did.
    return _answer(request, 500, f"something went wrong inside the gateway ({type(error).__name__})")


def _identity(identity: Identity) -> dict[str, Any]:
    shown: dict[str, Any] = {
        "id": identity.id, "subject": identity.subject, "issuer": identity.issuer, "kind": identity.kind.value,
        "groups": sorted(identity.groups), "assurance": str(identity.assurance), "expires_at": identity.expires_at,
    }  # fmt: skip
    if identity.on_behalf_of is not None:
        shown["on_behalf_of"] = _identity(identity.on_behalf_of)
    return shown


def _state(approval: Approval) -> dict[str, Any]:
    return {
        "id": approval.id, "state": approval.state.value, "requested_at": approval.requested_at,
        "expires_at": approval.expires_at, "quorum": approval.quorum, "approvers": sorted(approval.approvers),
        "votes": [{"voter": v.voter, "approve": v.approve, "at": v.at, "comment": v.comment} for v in approval.votes],
    }  # fmt: skip


def _session(row: SessionRow, observed: int) -> dict[str, Any]:
    """`observed` statements ran, only because their target was in observe mode."""
    return {
        "id": row.id, "state": row.state, "identity": row.identity, "kind": row.kind, "target": row.target,
        "client": row.client, "purpose": row.purpose, "assurance": row.assurance,
        "opened_at": row.opened, "closed_at": row.closed, "statements": row.statements, "refused": row.refused,
        "held": row.held, "observed": observed, "rows": row.rows, "segments": row.segments,
    }  # fmt: skip

