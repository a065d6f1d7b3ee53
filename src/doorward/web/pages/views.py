"""The pages themselves: requests and one request, sessions and one session, who am I, my keys, agents.

Contract: each page asks the API's own handlers, with the browser's own request, and shows their answers. What is not there, or
not for this person, is the API's answer too.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping, Sequence
from typing import Annotated, Any, Final
from urllib.parse import quote, urlsplit

from litestar import Request, Response, get
from litestar.exceptions import HTTPException, NotFoundException
from litestar.params import FromPath, FromQuery, QueryParameter
from litestar.status_codes import HTTP_400_BAD_REQUEST

from doorward.guard import blast
from doorward.guard.ports import Clock
from doorward.model import Identity
from doorward.web.access import Access
from doorward.web.browser import BrowserSession, WithBrowsers
from doorward.web.headers import CACHED, page_policy
from doorward.web.pages.render import render, static

OPEN: Final = ("waiting", "parked")
LATELY: Final = 20  # decided requests that the first page shows
MOST: Final = 200  # requests or sessions on one page
STATEMENTS: Final = 50  # of a recording on one page
ROWS: Final = 20  # of an answer, there
ROWS_OF_ONE: Final = 200  # where its statement is alone on a page

Answer = Callable[..., Awaitable[Any]]
Allowed = Callable[[Identity, str, str], bool]


def routes(
    gateway: WithBrowsers, access: Access, clock: Clock, answers: Mapping[str, Answer], allowed: Allowed
) -> Sequence[Any]:
    """The handlers. `answers` are the API's own for GET, by their paths; `allowed` asks policy."""
    nav = [("/", "Requests"), ("/sessions", "Sessions")]
    nav += [("/keys", "Keys")] if "/api/keys" in answers else []
    nav += [("/agents", "Agents")] if "/api/agents" in answers else []

    async def shown(request: Request[Any, Any, Any], template: str, here: str, **more: Any) -> Response[Any]:
        session = access.session(request)
        return Response(
            render(
                template, who=await access.who(request), session=session, here=here, nav=nav, now=clock.now(), **more
            ),
            media_type="text/html",
            headers={"content-security-policy": page_policy(session.leave if session else "")},
        )

    def elsewhere(request: Request[Any, Any, Any]) -> Response[Any] | None:
        """This machine has many names, and a sign-in holds for one: send whoever typed another one there."""
        wanted = urlsplit(gateway.url)
        host = request.headers.get("host", "")
        name, _, port = host.rpartition(":")
        if wanted.hostname == "localhost" and name in ("127.0.0.1", "[::1]") and port == str(wanted.port):
            return Response(None, status_code=307, headers={"location": gateway.url + request.url.path})
        return None

    async def searched(request: Request[Any, Any, Any], words: str) -> dict[str, Any]:
        try:
            return {**await answers["/api/sessions/search"](request, words=words, limit=MOST), "wrong": ""}
        except HTTPException as error:
            if error.status_code != HTTP_400_BAD_REQUEST:
                raise
            return {"sessions": [], "more": False, "behind": False, "wrong": error.detail}

    def fresh(session: BrowserSession | None, to: str) -> str:
        """Where to log in anew for what needs that."""
        issuers = [each.issuer for each in gateway.sign_ins]
        number = issuers.index(session.sign_in.issuer) if session and session.sign_in.issuer in issuers else 0
        return f"/sign-in/begin?issuer={number}&fresh=true&to={quote(to, safe='/')}"

    @get("/")
    async def inbox(request: Request[Any, Any, Any]) -> Response[Any]:
        """Requests that this person may vote on, that they asked for, and that were decided lately."""
        if (moved := elsewhere(request)) is not None:
            return moved
        who = await access.who(request)
        found = await answers["/api/approvals"](request, in_state="", limit=MOST)
        mine = [a for a in found if who.id in (a["requested_by"], *a["on_behalf_of"])]
        waiting = [a for a in found if a["state"] in OPEN and a not in mine]
        reviews = await answers["/api/reviews"](request, everything=False)
        return await shown(
            request, "inbox.html", "/", reviews=reviews, yours=waiting,
            mine=[a for a in mine if a["state"] in (*OPEN, "approved")],
            decided=[a for a in found if a["state"] not in OPEN and not (a in mine and a["state"] == "approved")][:LATELY],
            news=" ".join(f"{a['id']}:{a['state']}:{len(a['votes'])}" for a in found),
        )  # fmt: skip

    @get("/approvals/{approval_id:str}")
    async def approval(request: Request[Any, Any, Any], approval_id: FromPath[str]) -> Response[Any]:
        """One request, and the vote on it."""
        found = await answers["/api/approvals/{approval_id:str}"](request, approval_id=approval_id)
        return await shown(
            request, "approval.html", "/", a=found, similar=blast.similar(found.get("similar") or {}),
            radius=[each for each in blast.facts(found.get("preview") or {}) if each[1]], open=found["state"] in OPEN,
        )  # fmt: skip

    @get("/sessions")
    async def sessions(request: Request[Any, Any, Any], words: FromQuery[str] = "") -> Response[Any]:
        """Sessions that go on, and past ones; or those that have some words."""
        if words.strip():
            return await shown(request, "found.html", "/sessions", words=words, **await searched(request, words))
        who = await access.who(request)
        ask = answers["/api/sessions"]
        going = await ask(request, identity="", target="", in_state="open", since=0, before="", limit=MOST)
        past = await ask(request, identity="", target="", in_state="closed", since=0, before="", limit=50)
        return await shown(
            request, "sessions.html", "/sessions", going=going, past=past,
            may_end={name: allowed(who, "administer", name) for name in {s["target"] for s in going}},
            news=" ".join(s["id"] for s in going),
        )  # fmt: skip

    @get("/sessions/{session_id:str}")
    async def session(request: Request[Any, Any, Any], session_id: FromPath[str]) -> Response[Any]:
        """One session's line."""
        found = await answers["/api/sessions/{session_id:str}"](request, session_id=session_id)
        may_end = found["state"] == "open" and allowed(await access.who(request), "administer", found["target"])
        return await shown(request, "session.html", "/sessions", s=found, may_end=may_end)

    @get("/sessions/{session_id:str}/statements")
    async def statements(
        request: Request[Any, Any, Any], session_id: FromPath[str],
        first: Annotated[int, QueryParameter(name="from")] = 1,
        only: Annotated[int, QueryParameter(name="statement")] = 0, row: FromQuery[int] = 0,
    ) -> Response[Any]:  # fmt: skip
        """Its recording on a timeline, from one statement on; of 0, the end; or one statement alone. That somebody looked is
        on record."""
        found = await answers["/api/sessions/{session_id:str}/statements"](
            request, session_id=session_id, first=only or first, limit=1 if only else STATEMENTS,
            rows=ROWS_OF_ONE if only else ROWS, row=row if only else 0,
        )  # fmt: skip
        s = found["session"]
        may_end = s["state"] == "open" and allowed(await access.who(request), "administer", s["target"])
        return await shown(
            request, "replay.html", "/sessions", s=s, may_end=may_end, only=only, found=found,
            live=s["state"] == "open" and not only and not found["next"],
        )  # fmt: skip

    @get("/me")
    async def me(request: Request[Any, Any, Any]) -> Response[Any]:
        """Who the gateway takes this browser to be."""
        found = await answers["/api/whoami"](request)
        who = await access.who(request)
        return await shown(
            request, "me.html", "/me", identity=found, signed_in=len(gateway.browsers.of(who)),
            fresh=fresh(access.session(request), "/me"),
            claims={name: value for name, value in who.claims.items() if name != "auth_time"},  # said below, as a time
        )  # fmt: skip

    @get("/keys")
    async def keys(request: Request[Any, Any, Any]) -> Response[Any]:
        """The keys with which this person signs votes."""
        found = await answers["/api/keys"](request)
        return await shown(request, "keys.html", "/keys", keys=found, fresh=fresh(access.session(request), "/keys"))

    @get("/agents")
    async def agents(request: Request[Any, Any, Any]) -> Response[Any]:
        """Agents, and who answers for them."""
        return await shown(request, "agents.html", "/agents", agents=await answers["/api/agents"](request))

    @get("/static/{name:str}")
    async def file(name: FromPath[str]) -> Response[bytes]:
        """Style, script and drawing, by a name that holds their hash."""
        if name not in static():
            raise NotFoundException(detail="there is no such file")
        kind, body = static()[name]
        return Response(body, media_type=kind, headers={"cache-control": CACHED})

    found: list[Any] = [inbox, approval, sessions, session, statements, me, file]
    found += [keys] if "/api/keys" in answers else []
    found += [agents] if "/api/agents" in answers else []
    return found


def failed(status: int, what: str, hint: str = "") -> Response[str]:
    """A page that says what went wrong."""
    return Response(
        render("error.html", session=None, who=None, here="", nav=(), what=what, hint=hint, to="/", again=False),
        status_code=status, media_type="text/html", headers={"content-security-policy": page_policy()},
    )  # fmt: skip
