"""Signing in at an issuer, signing in again where a fresh login is asked for, and signing out.

Contract: after the issuer has vouched for a person, and that is on record, the browser gets a new session and none of what
the issuer gave; whatever session it had before is over. A sign-in leads only to pages of our own. Signing out ends the session
here first, and then goes to the issuer, where that has a place for it.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Annotated, Any, Protocol
from urllib.parse import quote

from litestar import Request, Response, get, post
from litestar.datastructures import Cookie
from litestar.enums import RequestEncodingType
from litestar.exceptions import HTTPException
from litestar.params import Body, FromQuery
from litestar.status_codes import HTTP_303_SEE_OTHER

from doorward.errors import AuthenticationError, DoorwardError
from doorward.guard.guard import Guard
from doorward.guard.refusals import Refusals
from doorward.web.access import Access
from doorward.web.browser import BrowserSession, WithBrowsers, page
from doorward.web.headers import page_policy
from doorward.web.pages.render import render

CALLBACK = "/sign-in/callback"
SIGNED_OUT = "/signed-out"
_MOST_FIELDS = 20
_TWICE = AuthenticationError("the issuer's answer has a field twice, or too many", hint="sign in again")


class Served(WithBrowsers, Protocol):
    """What of the gateway these pages serve."""

    guard: Guard
    refusals: Refusals


def routes(gateway: Served, access: Access) -> Sequence[Any]:
    """The handlers."""
    browsers = gateway.browsers

    def cookie(name: str, value: str, *, lasts: int | None = None) -> Cookie:
        return Cookie(
            key=name, value=value, path="/", httponly=True, secure=browsers.secure, samesite="lax", max_age=lasts
        )

    def gone(name: str) -> Cookie:
        return cookie(name, "", lasts=0)

    def shown(template: str, status: int = 200, **more: Any) -> Response[str]:
        return Response(
            render(template, session=None, who=None, here="", nav=(), **more), status_code=status, media_type="text/html",
            headers={"content-security-policy": page_policy()},
        )  # fmt: skip

    def wrong(error: DoorwardError, to: str, status: int) -> Response[str]:
        answer = shown("error.html", status, what=error.message, hint=error.hint, to=page(to), again=True)
        answer.set_cookie(gone(browsers.beginning))
        return answer

    def back() -> str:
        return gateway.url + CALLBACK

    async def begun(number: int, to: str, *, fresh: bool) -> Response[Any]:
        if not 0 <= number < len(gateway.sign_ins):
            raise HTTPException(status_code=404, detail="there is no such issuer to sign in at")
        sign_in = gateway.sign_ins[number]
        try:
            begun = await sign_in.begin(back(), fresh=fresh)
        except DoorwardError as error:
            return wrong(error, to, 503)
        kept = cookie(browsers.beginning, browsers.remember(sign_in, begun, to), lasts=600)
        return Response(None, status_code=HTTP_303_SEE_OTHER, headers={"location": begun.address}, cookies=[kept])

    @get("/sign-in")
    async def choose(to: FromQuery[str] = "/") -> Response[Any]:
        """Where to sign in: nobody is signed in who did not choose to be."""
        return shown("sign_in.html", issuers=[each.issuer for each in gateway.sign_ins], to=quote(page(to), safe="/"))

    @get("/sign-in/begin")
    async def begin(issuer: FromQuery[int] = 0, to: FromQuery[str] = "/", fresh: FromQuery[bool] = False) -> Response[Any]:
        """On the way to an issuer; `fresh`: to show anew who it is."""
        return await begun(issuer, to, fresh=fresh)

    @get(CALLBACK)
    async def callback(request: Request[Any, Any, Any]) -> Response[Any]:
        """Back from the issuer."""
        kept = browsers.recall(request.cookies.get(browsers.beginning, ""))
        sign_in = next((each for each in gateway.sign_ins if kept and each.issuer == kept["issuer"]), None)
        if kept is None or sign_in is None:
            error = AuthenticationError(
                "this browser has begun no sign-in, or too long ago", hint="sign in again, and stay in one tab for that"
            )
            return wrong(error, "/", 400)
        answer: dict[str, str] = {}
        for name, value in request.query_params.multi_items():
            if name in answer or len(answer) >= _MOST_FIELDS:
                return wrong(_TWICE, kept["to"], 400)
            answer[name] = str(value)
        try:
            grant = await sign_in.finish(sign_in.recall(kept), answer, back())
        except AuthenticationError as error:
            gateway.refusals.sign_in(error, issuer=sign_in.issuer, peer=_client(request))
            return wrong(error, kept["to"], 403)
        except DoorwardError as error:
            return wrong(error, kept["to"], 503)
        # Who is in is on record before they are.
        await gateway.guard.recorder.event(
            "browser.signed_in",
            {"issuer": sign_in.issuer, "client": _client(request), "groups": sorted(grant.identity.groups)[:100],
             "fresh": bool(kept["fresh"])},
            actor=grant.identity.id,
        )  # fmt: skip
        before = access.session(request)
        if before is not None:
            browsers.end(before)
        name = browsers.begin(sign_in, grant, await sign_in.sign_out(gateway.url + SIGNED_OUT))
        return Response(
            None, status_code=HTTP_303_SEE_OTHER, headers={"location": page(kept["to"])},
            cookies=[cookie(browsers.cookie, name), gone(browsers.beginning)],
        )  # fmt: skip

    @post("/sign-out", status_code=HTTP_303_SEE_OTHER)
    async def sign_out(
        request: Request[Any, Any, Any],
        data: Annotated[dict[str, str], Body(media_type=RequestEncodingType.URL_ENCODED)],
    ) -> Response[Any]:
        """Sign out here, and at the issuer; with `everywhere`, every browser of this person."""
        session: BrowserSession | None = access.session(request)
        where = SIGNED_OUT
        if session is not None:
            access.ours(request, session, str(data.get("csrf", "")), form=True)
            everywhere = data.get("everywhere") == "yes"
            for each in browsers.of(session.grant.identity) if everywhere else (session,):
                browsers.end(each)
            await gateway.guard.recorder.event(
                "browser.signed_out", {"everywhere": everywhere}, actor=session.grant.identity.id
            )
            where = session.leave or where
        return Response(
            None, status_code=HTTP_303_SEE_OTHER, headers={"location": where}, cookies=[gone(browsers.cookie)]
        )

    @get(SIGNED_OUT)
    async def signed_out() -> Response[str]:
        """Nobody is signed in here any more."""
        return shown("signed_out.html")

    return choose, begin, callback, sign_out, signed_out


def _client(request: Request[Any, Any, Any]) -> str:
    return f"{request.client.host}:{request.client.port}" if request.client else ""
