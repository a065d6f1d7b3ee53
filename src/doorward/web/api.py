"""The HTTP API: who am I, approvals, sessions, policy; health and metrics; and the pages, which show what it answers.

Everything below `/api` needs a bearer token of a trusted issuer, or a browser that is signed in (`access`), and each route
asks Cedar for its own right. Answers are JSON; an error is `{"error": ..., "hint": ...}` with a status that
fits. Nothing here can see a statement's unmasked text: the gateway does not keep it.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Annotated, Any, Protocol
from urllib.parse import quote

from litestar import Litestar, MediaType, Request, Response, get, post
from litestar.exceptions import HTTPException, NotFoundException, PermissionDeniedException
from litestar.params import FromPath, FromQuery, QueryParameter
from litestar.status_codes import HTTP_200_OK

from doorward.errors import AuthenticationError, DoorwardError, UpstreamError
from doorward.guard.guard import Guard
from doorward.guard.reader import RecordReader
from doorward.guard.stores import SessionRow
from doorward.model import Assurance, Identity, Kind, Outcome
from doorward.policy.decide import may
from doorward.web import (
    access_reviews,
    agents,
    approvals,
    exports,
    keys,
    log,
    notify,
    oauth,
    recordings,
    retention,
    search,
    targets,
    tokens,
)
from doorward.web.access import WHO, Access, Authenticator, tell
from doorward.web.browser import page
from doorward.web.headers import protection
from doorward.web.pages import sign_in, views

ENDED = "an administrator ended this session"
LONGEST_END = 3600  # seconds that the process which has a session may hang, and finds it ended when it does no more


class Served(
    targets.Served, tokens.Served, approvals.Served, keys.Served, agents.Served, notify.Served, exports.Served, log.Served,
    access_reviews.Served, oauth.Served,
    sign_in.Served, retention.Served, search.Served, Protocol,
):  # fmt: skip
    """What of the gateway the API and the pages serve."""

    guard: Guard

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

    def refused(error: AuthenticationError, request: Request[Any, Any, Any]) -> None:
        gateway.refusals.note(error, listener="http", peer=oauth.peer(request))

    def denied(request: Request[Any, Any, Any], error: HTTPException) -> Response[Any]:
        identity, status = request.scope["state"].get(WHO), error.status_code
        if status == 403 or (status == 404 and identity is not None):  # not there, or not for them: they cannot tell either
            route = str(request.scope.get("path_template", ""))
            gateway.refusals.call(identity or "", status=status, method=request.method, route=route)
        return _answer(request, status, error.detail)

    access = Access(
        gateway.authenticator, gateway.dpop, gateway.browsers, lambda: gateway.url, refused
    )
    who = access.who

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

    def administers(identity: Identity) -> bool:
        return may(gateway.guard.policies.current, identity, "administer", None).outcome is Outcome.ALLOW

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
        """Who the gateway takes whoever shows this token to be, and what would show it better."""
        caller = await who(request)
        return {**_identity(caller), "raised_by": raised_by(caller)}

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
        """One session's line of the index, and on whose behalf it is, as its record says."""
        row = await session_for(await who(request), session_id)
        (line,) = await lines([row])
        line["on_behalf_of"] = []
        async for opened in gateway.reader.events(session_id=session_id, types=("session.opened",)):
            line["on_behalf_of"] = list(opened.event.body.get("on_behalf_of", ()))
        return line

    @post("/api/sessions/{session_id:str}/end", status_code=HTTP_200_OK)
    async def end(request: Request[Any, Any, Any], session_id: FromPath[str]) -> dict[str, Any]:
        """End a live session. Needs `administer` on its target."""
        caller = await who(request)
        live = gateway.guard.sessions.get(session_id)
        row = await gateway.find_session(session_id) if live is None else None
        elsewhere = row is not None and row.state == "open"  # another process has it
        target = live.session.target.name if live is not None else row.target if row is not None and elsewhere else ""
        if not target or not allowed(caller, "administer", target):
            raise NotFoundException(detail=f"there is no live session {session_id} that you may end")
        await gateway.guard.recorder.event(
            "session.ended", {"session": session_id}, session_id=session_id, actor=caller.id
        )
        if live is not None:
            live.end(ENDED)
        else:  # when this returns, whoever has it has ended it
            await gateway.revocations.revoke("session", session_id, actor=caller.id, reason=ENDED, lasts=LONGEST_END)
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

    def failed(request: Request[Any, Any, Any], error: DoorwardError) -> Response[Any]:
        if isinstance(error, AuthenticationError) and "dpop" in request.headers:
            tell(request, gateway.dpop.nonce())
        answer = _doorward(request, error)
        if answer.status_code == 401:
            answer.headers["www-authenticate"] = _challenge(error, " ".join(gateway.dpop.algorithms))
        return answer

    routes: Sequence[Any] = (
        health, readiness, metrics, whoami, sessions, session, end, reload,
        *recordings.routes(gateway, who, session_for, lines, allowed),
        *search.routes(gateway, who, lines, allowed, administers),
        *approvals.routes(gateway, who, allowed), *keys.routes(gateway, who, allowed),
        *targets.routes(gateway, who, allowed), *tokens.routes(gateway, who, allowed),
        *agents.routes(gateway, who, administers), *notify.routes(gateway, who, administers),
        *exports.routes(gateway, who, administers), *access_reviews.routes(gateway, who, administers),
        *log.routes(gateway, who, administers),
        *retention.routes(gateway, who, administers), *oauth.routes(gateway),
    )  # fmt: skip
    answers = {path: each.fn for each in routes if "GET" in each.http_methods for path in each.paths}
    routes = (
        *routes, *sign_in.routes(gateway, access), *views.routes(gateway, access, gateway.guard.clock, answers, allowed)
    )
    return Litestar(
        route_handlers=list(routes), openapi_config=None, before_send=[protection(secure=gateway.browsers.secure)],
        request_max_body_size=64 * 1024, logging_config=None,
        exception_handlers={DoorwardError: failed, HTTPException: denied, RecursionError: _deep, Exception: _unexpected},
    )  # fmt: skip


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


def _challenge(error: DoorwardError, algorithms: str) -> str:
    """RFC 6750 section 3 and RFC 9449 section 7.1."""
    code = getattr(error, "code", "")
    if code == "nonce":
        return f'DPoP error="use_dpop_nonce", algs="{algorithms}"'
    if code == "proof":
        return f'DPoP error="invalid_dpop_proof", algs="{algorithms}"'
    return f'Bearer, DPoP algs="{algorithms}"'


def _deep(request: Request[Any, Any, Any], _error: RecursionError) -> Response[Any]:
    return _answer(request, 400, "the body is nested too deeply")


def _unexpected(request: Request[Any, Any, Any], error: Exception) -> Response[Any]:
    # What went wrong may quote what was asked: the caller learns only that it did.
    return _answer(request, 500, f"something went wrong inside the gateway ({type(error).__name__})")


def _identity(identity: Identity) -> dict[str, Any]:
    shown: dict[str, Any] = {
        "id": identity.id, "subject": identity.subject, "issuer": identity.issuer, "kind": identity.kind.value,
        "groups": sorted(identity.groups), "assurance": str(identity.assurance), "bound_to": identity.bound_to,
        "expires_at": identity.expires_at,
    }  # fmt: skip
    if identity.on_behalf_of is not None:
        shown["on_behalf_of"] = _identity(identity.on_behalf_of)
    return shown


def raised_by(identity: Identity) -> str:
    """What somebody can do to be known better, or ""."""
    if identity.assurance is Assurance.V3:
        return ""
    if identity.assurance is Assurance.V2:
        return "" if identity.kind is Kind.HUMAN else "V3: an attested workload that acts for a person (actor_token)"
    if identity.kind is Kind.HUMAN:
        return "V2: `doorward login` binds your login to a key of this machine"
    return "V2: `doorward run` and `doorward exchange --certificate FOLDER` bind the token to a key"


def _session(row: SessionRow, observed: int) -> dict[str, Any]:
    """`observed` statements ran, only because their target was in observe mode."""
    return {
        "id": row.id, "state": row.state, "identity": row.identity, "kind": row.kind, "target": row.target,
        "client": row.client, "purpose": row.purpose, "assurance": row.assurance,
        "opened_at": row.opened, "closed_at": row.closed, "statements": row.statements, "refused": row.refused,
        "held": row.held, "observed": observed, "rows": row.rows, "segments": row.segments,
    }  # fmt: skip

