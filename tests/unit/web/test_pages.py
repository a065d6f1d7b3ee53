"""The pages without a browser: who gets a session and how, what a browser is told to forbid, and what is escaped."""

from __future__ import annotations

import asyncio
import re
from collections.abc import AsyncIterator, Mapping
from dataclasses import dataclass, field, replace
from html.parser import HTMLParser
from typing import Any

import httpx2
import pytest

from doorward.errors import AuthenticationError, UpstreamError
from doorward.web.access import origin_of
from doorward.web.api import application
from doorward.web.browser import Browsers
from doorward.web.pages.render import render, static
from tests.suites.lives import CLOCK
from tests.unit.web.test_api import PEOPLE, Served

HERE = "https://gateway.test"


@dataclass(frozen=True)
class Begun:
    """What the issuer below remembers of a sign-in."""

    issuer: str
    address: str
    state: str
    fresh: bool = False


@dataclass(frozen=True)
class Grant:
    """What the issuer below gives."""

    identity: Any
    logged_in_at: int = 0
    until: int = 1 << 50
    refresh_token: str = ""


class Idp:
    """Lets in whoever the code names, if the state fits."""

    def __init__(self, issuer: str = "https://idp.test") -> None:
        self.issuer = issuer
        self.begun = 0
        self.fails: Exception | None = None
        self.leave = ""

    async def begin(self, redirect_uri: str, *, fresh: bool = False) -> Begun:
        if self.fails is not None:
            raise self.fails
        self.begun += 1
        return Begun(self.issuer, f"{self.issuer}/authorize?to={redirect_uri}", f"state{self.begun}", fresh)

    async def finish(self, begun: Begun, answer: Mapping[str, str], redirect_uri: str) -> Grant:
        if answer.get("state") != begun.state or redirect_uri != f"{HERE}/sign-in/callback":
            raise AuthenticationError("nobody was signed in: the answer belongs to another sign-in", hint="sign in again")
        return Grant(PEOPLE[answer["code"]])

    async def refresh(self, grant: Grant) -> Grant:
        return grant

    async def sign_out(self, back: str) -> str:
        return self.leave

    def remember(self, begun: Begun) -> dict[str, Any]:
        return {"issuer": begun.issuer, "state": begun.state, "fresh": begun.fresh}

    def recall(self, kept: Mapping[str, Any]) -> Begun:
        return Begun(kept["issuer"], "", kept["state"], kept["fresh"])


@dataclass
class Door:
    """A gateway with an issuer, and a browser before it."""

    served: Served
    idp: Idp
    client: httpx2.AsyncClient
    cookies: dict[str, str] = field(default_factory=dict)

    async def ask(self, path: str, method: str = "GET", **more: Any) -> httpx2.Response:
        headers = more.pop("headers", {})
        if self.cookies:
            headers = {"cookie": "; ".join(f"{name}={value}" for name, value in self.cookies.items()), **headers}
        answer = await self.client.request(method, path, headers=headers, **more)
        for line in answer.headers.get_list("set-cookie"):
            name, _, rest = line.partition("=")
            value = rest.partition(";")[0].strip('"')
            if "Max-Age=0" in line:
                self.cookies.pop(name, None)
            else:
                self.cookies[name] = value
        return answer

    async def sign_in(self, who: str = "dora", to: str = "/") -> httpx2.Response:
        await self.ask(f"/sign-in/begin?issuer=0&to={to}")
        return await self.ask(f"/sign-in/callback?code={who}&state=state{self.idp.begun}")

    @property
    def csrf(self) -> str:
        session = self.served.browsers.find(self.cookies["__Host-doorward"])
        assert session is not None
        return session.csrf


@pytest.fixture
async def door() -> AsyncIterator[Door]:
    served, idp = Served(), Idp()
    served.url, served.sign_ins = HERE, [idp]
    served.browsers = Browsers(CLOCK, lasts=3600, idle=600, secure=True)
    await served.recorder.start()
    transport = httpx2.ASGITransport(app=application(served))  # type: ignore[arg-type]
    async with httpx2.AsyncClient(transport=transport, base_url=HERE) as client:
        yield Door(served, idp, client)
    await served.recorder.stop()


def flags(answer: httpx2.Response, name: str) -> set[str]:
    """The attributes of a cookie that an answer sets."""
    [line] = [line for line in answer.headers.get_list("set-cookie") if line.startswith(f"{name}=")]
    return {part.strip().lower() for part in line.split(";")[1:]}


# Signing in ------------------------------------------------------------------------------------------------------------


async def test_a_person_signs_in_and_out(door: Door) -> None:
    """From a page to the issuer and back to that page; the session's name is in a cookie that only this host sets and no script
    reads; who came in and left is on record; afterwards the old cookie is nobody's."""
    first = await door.ask("/me")
    assert (first.status_code, first.headers["location"]) == (303, "/sign-in?to=/me")
    page = await door.ask(first.headers["location"])
    assert (page.status_code, door.idp.begun) == (200, 0)  # nobody is sent away who did not choose to go
    away = await door.ask("/sign-in/begin?issuer=0&amp;to=/me".replace("&amp;", "&"))
    assert "/sign-in/begin?issuer=0&amp;to=/me" in page.text
    assert (away.status_code, away.headers["location"]) == (303, f"https://idp.test/authorize?to={HERE}/sign-in/callback")
    assert flags(away, "__Host-doorward-sign-in") == {"path=/", "secure", "httponly", "samesite=lax", "max-age=600"}
    back = await door.ask("/sign-in/callback?code=dora&state=state1")
    assert (back.status_code, back.headers["location"]) == (303, "/me")
    assert flags(back, "__Host-doorward") == {"path=/", "secure", "httponly", "samesite=lax"}
    assert set(door.cookies) == {"__Host-doorward"}
    page = await door.ask("/me")
    assert (page.status_code, "dora" in page.text) == (200, True)
    before = dict(door.cookies)
    out = await door.ask("/sign-out", "POST", data={"csrf": door.csrf}, headers={"origin": HERE})
    assert (out.status_code, out.headers["location"], door.cookies) == (303, "/signed-out", {})
    door.cookies = before
    assert (await door.ask("/me")).status_code == 303
    assert (await door.ask("/api/whoami")).status_code == 401
    types = [(e.type, e.actor) for e in await door.served.events() if e.type.startswith("browser.")]
    assert types == [("browser.signed_in", "https://idp.test|dora"), ("browser.signed_out", "https://idp.test|dora")]


async def test_signing_out_ends_at_the_issuer(door: Door) -> None:
    """Where it has a place for that; the page's policy lets its form be sent on there, and nowhere else."""
    door.idp.leave = "https://idp.test/leave?client_id=web"
    await door.sign_in()
    policy = (await door.ask("/me")).headers["content-security-policy"]
    assert "form-action 'self' https://idp.test;" in policy
    said = {"origin": "null", "sec-fetch-site": "same-origin"}  # what browsers say of a form under no-referrer
    out = await door.ask("/sign-out", "POST", data={"csrf": door.csrf}, headers=said)
    assert out.headers["location"] == "https://idp.test/leave?client_id=web"
    assert len(door.served.browsers) == 0


async def test_a_person_signs_out_everywhere(door: Door) -> None:
    """Every browser of theirs, and nobody else's; how many there are is on their page."""
    names = []
    for who in ("dora", "dora", "eve"):
        door.cookies = {}
        await door.sign_in(who)
        names.append(door.cookies["__Host-doorward"])
    door.cookies = {"__Host-doorward": names[0]}
    assert "signed in with 2 browsers" in (await door.ask("/me")).text
    await door.ask("/sign-out", "POST", data={"csrf": door.csrf, "everywhere": "yes"}, headers={"origin": HERE})
    found = []
    for name in names:
        door.cookies = {"__Host-doorward": name}
        found.append((await door.ask("/api/whoami")).status_code)
    assert found == [401, 401, 200]


@pytest.mark.parametrize("method", ["TRACE", "OPTIONS", "PUT", "PATCH", "DELETE", "CONNECT"])
async def test_there_is_no_trace(door: Door, method: str) -> None:
    """Nor any method that a route does not name; none says what was sent."""
    answer = await door.ask("/me", method, headers={"x-told": "s3cret"})
    assert answer.status_code in (204, 405)
    assert "s3cret" not in answer.text + repr(answer.headers)


async def test_a_session_is_never_one_that_somebody_chose(door: Door) -> None:
    """Whatever name the browser came with, it leaves with a new one, and the one before is over (session fixation)."""
    door.cookies["__Host-doorward"] = "chosen-by-mallory"
    await door.sign_in("eve")
    eves = door.cookies["__Host-doorward"]
    assert eves != "chosen-by-mallory"
    await door.sign_in("dora")
    assert door.cookies["__Host-doorward"] not in (eves, "chosen-by-mallory")
    assert (await door.ask("/api/whoami")).json()["subject"] == "dora"
    door.cookies["__Host-doorward"] = eves
    assert (await door.ask("/api/whoami")).status_code == 401


@pytest.mark.parametrize(
    "path",
    ["?code=dora&state=state1", "?code=dora&state=state1&state=state1", "?code=eve&code=dora&state=state1", "?code=dora", "?",
     "?code=dora&state=x", "?" + "&".join(f"a{n}=1" for n in range(30))],
)  # fmt: skip
@pytest.mark.parametrize("cookie", ["none", "another browser's", "made up"])
async def test_another_browsers_sign_in_is_not_this_ones(door: Door, path: str, cookie: str) -> None:
    """Login CSRF: an answer of the issuer that this browser did not ask for lets nobody in here."""
    if cookie == "another browser's" and path == "?code=dora&state=state1":
        await door.ask("/sign-in/begin")  # of this browser: state1
        await door.ask("/sign-in/begin")  # and anew: state2
    elif cookie == "made up":
        door.cookies["__Host-doorward-sign-in"] = "x" * 300
    answer = await door.ask(f"/sign-in/callback{path}")
    assert answer.status_code in (400, 403)
    assert "__Host-doorward" not in door.cookies
    assert len(door.served.browsers) == 0


async def test_refused_sign_ins_do_not_fill_the_record(door: Door) -> None:
    """The first is an event at once, the rest of its minute is counted; all of them are refused."""
    for _ in range(35):
        await door.ask("/sign-in/begin")
        assert (await door.ask("/sign-in/callback?code=dora&state=guessed")).status_code == 403
    events = [event for event in await door.served.events() if event.type == "browser.refused"]
    assert [event.body["count"] for event in events] == [1]
    door.served.refusals.flush()
    events = [event for event in await door.served.events() if event.type == "browser.refused"]
    assert [event.body["count"] for event in events] == [1, 34]
    assert events[0].body["issuer"] == "https://idp.test"
    assert "guessed" not in repr(events[0].body)


@pytest.mark.parametrize(
    "to", ["//evil.test", "https://evil.test", "/\\evil.test", "/sign-out", "/api/whoami", "/me%0d%0aset-cookie:x=y"]
)
async def test_a_sign_in_leads_to_pages_of_ours_only(door: Door, to: str) -> None:
    """No open redirect, by neither way to begin."""
    page = await door.ask(f"/sign-in?to={to}")
    assert 'href="/sign-in/begin?issuer=0&amp;to=/"' in page.text
    await door.ask(f"/sign-in/begin?issuer=0&to={to}")
    back = await door.ask(f"/sign-in/callback?code=dora&state=state{door.idp.begun}")
    assert back.headers["location"] == "/"
    assert back.headers.get("set-cookie", "").count("x=y") == 0


async def test_several_issuers_are_a_choice(door: Door) -> None:
    """And one that is not there is none."""
    other = Idp("https://other.test")
    door.served.sign_ins = [door.idp, other]
    page = await door.ask("/sign-in?to=/keys")
    assert page.status_code == 200
    assert re.findall(r'href="(/sign-in/begin[^"]*)"', page.text) == [
        "/sign-in/begin?issuer=0&amp;to=/keys", "/sign-in/begin?issuer=1&amp;to=/keys",
    ]  # fmt: skip
    assert (await door.ask("/sign-in/begin?issuer=1")).headers["location"].startswith("https://other.test/")
    # Mix-up: the answer of one issuer is not the other one's.
    assert (await door.ask("/sign-in/callback?code=dora&state=state9")).status_code == 403
    for number in ("2", "-1", "x", ""):
        assert (await door.ask(f"/sign-in/begin?issuer={number}")).status_code in (400, 404)
    door.served.sign_ins = []
    assert "client_id" in (await door.ask("/sign-in")).text


async def test_an_issuer_that_is_away_is_said(door: Door) -> None:
    """503, why, and the way to try again."""
    door.idp.fails = UpstreamError("the issuer <b>away</b>", hint="wait")
    answer = await door.ask("/sign-in/begin?to=/me")
    assert (answer.status_code, "&lt;b&gt;away" in answer.text, "/sign-in?to=/me" in answer.text) == (503, True, True)


async def test_what_an_issuer_gave_never_reaches_the_browser(door: Door) -> None:
    """Neither in a page, nor in the API, nor in a header."""
    door.idp.finish = lambda *_: asyncio.sleep(0, Grant(PEOPLE["dora"], refresh_token="r3fresh-t0ken"))  # type: ignore[method-assign]
    await door.sign_in()
    for path in ("/", "/me", "/sessions", "/api/whoami"):
        answer = await door.ask(path)
        assert answer.status_code == 200
        assert "r3fresh" not in answer.text + repr(answer.headers)


# Changing something ----------------------------------------------------------------------------------------------------

TRICKS: list[dict[str, str | None]] = [
    {"x-doorward-csrf": None}, {"x-doorward-csrf": ""}, {"x-doorward-csrf": "another"}, {"x-doorward-csrf": "é"},
    {"origin": None}, {"origin": "null"}, {"origin": "https://evil.test"}, {"origin": HERE + ".evil.test"},
    {"origin": "http://gateway.test"}, {"origin": HERE + ":8443"}, {"origin": "https://gateway.test:443"},
    {"sec-fetch-site": "cross-site"}, {"sec-fetch-site": "same-site"}, {"sec-fetch-site": "none"},
]  # fmt: skip


async def test_another_site_changes_nothing(door: Door) -> None:
    """With the cookie alone, or with anything but this session's token from this origin, nothing is done (CSRF)."""
    await door.sign_in("adam")
    sound = {"x-doorward-csrf": door.csrf, "origin": HERE, "sec-fetch-site": "same-origin"}
    for trick in TRICKS:
        sent = {name: value.encode("latin-1") for name, value in {**sound, **trick}.items() if value is not None}
        refused = await door.ask("/api/policy/reload", "POST", headers=sent, json={})
        assert (refused.status_code, door.served.reloads) == (403, []), trick
    assert (await door.ask("/api/policy/reload", "POST", headers=sound, json={})).status_code == 200


@pytest.mark.parametrize("site", ["cross-site", "same-site"])
async def test_another_site_asks_the_api_nothing(door: Door, site: str) -> None:
    """Not even by a GET, which may put on record that somebody looked; a page, to which a link may lead, is shown."""
    await door.sign_in("dora")
    assert (await door.ask("/api/whoami", headers={"sec-fetch-site": site})).status_code == 403
    assert (await door.ask("/me", headers={"sec-fetch-site": site})).status_code == 200


@pytest.mark.parametrize(
    ("url", "origin"),
    [("https://door.example", "https://door.example"), ("https://Door.example:443", "https://door.example"),
     ("https://door.example:8443", "https://door.example:8443"), ("http://localhost:80", "http://localhost"),
     ("http://[::1]:7480", "http://[::1]:7480")],
)  # fmt: skip
def test_an_origin_is_as_browsers_write_it(url: str, origin: str) -> None:
    """However the configuration does."""
    assert origin_of(url) == origin


async def test_a_token_counts_before_a_cookie(door: Door) -> None:
    """Whoever sends both is the token's bearer; a bad token is not made good by a cookie."""
    await door.sign_in("dora")
    assert (await door.ask("/api/whoami", headers={"authorization": "Bearer adam"})).json()["subject"] == "adam"
    for header in ("Bearer nobody", "Bearer", "Basic dora", ""):
        assert (await door.ask("/api/whoami", headers={"authorization": header})).status_code == 401


async def test_looking_for_news_keeps_nobody_signed_in(door: Door) -> None:
    """A page that asks by itself is not somebody at the keyboard."""
    await door.sign_in("dora")
    session = door.served.browsers.find(door.cookies["__Host-doorward"])
    assert session is not None
    session.used -= 100
    used = session.used
    await door.ask("/api/approvals", headers={"x-doorward-live": "1"})
    assert session.used == used
    await door.ask("/api/approvals")
    assert session.used > used


async def test_a_vote_of_a_browser_is_a_vote(door: Door) -> None:
    """The same route as a token's, under the same laws."""
    async with asyncio.TaskGroup() as group:
        approval, task = await door.served.held(group)
        await door.sign_in("ada")
        sound = {"x-doorward-csrf": door.csrf, "origin": HERE}
        answer = await door.ask(f"/api/approvals/{approval.id}/votes", "POST", headers=sound, json={"approve": True})
        assert answer.status_code in (400, 403)
        assert not task.done()
        task.cancel()


# What a browser is told --------------------------------------------------------------------------------------------------

POLICY = {
    "default-src": "'none'", "script-src": "'self'", "style-src": "'self'", "img-src": "'self' data:", "connect-src": "'self'",
    "form-action": "'self'", "frame-ancestors": "'none'", "base-uri": "'none'", "require-trusted-types-for": "'script'",
    "trusted-types": "'none'",
}  # fmt: skip
EVERYWHERE = {
    "x-content-type-options": "nosniff", "x-frame-options": "DENY", "referrer-policy": "no-referrer",
    "cross-origin-opener-policy": "same-origin", "cross-origin-resource-policy": "same-origin",
    "strict-transport-security": "max-age=63072000; includeSubDomains",
}  # fmt: skip


def directives(policy: str) -> dict[str, str]:
    return {name: value for name, _, value in (part.strip().partition(" ") for part in policy.split(";"))}


PLACES = [
    "/", "/me", "/sessions", "/approvals/01a20748-05e8-707b-b5cd-49c85c9097bf", "/nowhere", "/sign-in", "/signed-out",
    "/api/whoami", "/api/nowhere", "/healthz", "/metrics", "/sign-in/callback", "/sign-in/begin?issuer=x"
]  # fmt: skip


@pytest.mark.parametrize("signed_in", [True, False])
async def test_every_answer_forbids_what_it_does_not_need(door: Door, signed_in: bool) -> None:
    """Pages: scripts and styles of ours only, nothing inline, no frame, Trusted Types; everything else: nothing at all."""
    if signed_in:
        await door.sign_in("dora")
    for path in PLACES:
        answer = await door.ask(path)
        assert {name: answer.headers.get(name) for name in EVERYWHERE} == EVERYWHERE
        assert "access-control-allow-origin" not in answer.headers
        assert "camera=()" in answer.headers["permissions-policy"]
        assert answer.headers["cache-control"] == "no-store"
        found = directives(answer.headers["content-security-policy"])
        if answer.headers.get("content-type", "").startswith("text/html"):
            assert found == POLICY
            assert "<script>" not in answer.text
            assert not re.search(r"\son\w+=|style=|<style|javascript:", answer.text)
        else:
            assert found == dict.fromkeys(("default-src", "frame-ancestors", "base-uri", "form-action"), "'none'")


async def test_without_tls_there_is_no_promise_of_tls(door: Door) -> None:
    """On loopback, for trying things out: no HSTS, and a cookie without the prefix."""
    door.served.browsers = Browsers(CLOCK, lasts=3600, idle=600, secure=False)
    transport = httpx2.ASGITransport(app=application(door.served))  # type: ignore[arg-type]
    async with httpx2.AsyncClient(transport=transport, base_url=HERE) as client:
        answer = await client.get("/sign-in/begin")
    assert "strict-transport-security" not in answer.headers
    assert "secure" not in flags(answer, "doorward-sign-in")


async def test_static_files_have_their_hash_in_their_name(door: Door) -> None:
    """They may be kept for ever; what is not one of them is not there, however it is spelled."""
    page = (await door.ask("/sign-in/callback")).text
    names = set(re.findall(r'(?:src|href)="(/static/[^"]+)"', page))
    assert {name.rpartition(".")[2] for name in names} == {"css", "js", "svg"}
    for name in names:
        answer = await door.ask(name)
        assert (answer.status_code, answer.headers["cache-control"]) == (200, "public, max-age=31536000, immutable")
        assert answer.headers["content-type"].partition(";")[0] in ("text/css", "text/javascript", "image/svg+xml")
        assert answer.content == static()[name.removeprefix("/static/")][1]
    for path in ("doorward.css", "..%2f..%2fapi.py", "../headers.py", "%2e%2e/headers.py", "x", "doorward.0000.css"):
        assert (await door.ask(f"/static/{path}")).status_code == 404


async def test_this_machine_has_one_name(door: Door) -> None:
    """Who types 127.0.0.1 is sent to the name that sign-ins hold for, and only there."""
    door.served.url = "http://localhost:7480"
    moved = await door.ask("/", headers={"host": "127.0.0.1:7480"})
    assert (moved.status_code, moved.headers["location"]) == (307, "http://localhost:7480/")
    for host in ("evil.test", "127.0.0.1:80", "localhost:7480"):
        assert (await door.ask("/", headers={"host": host})).status_code == 303


# What others wrote -----------------------------------------------------------------------------------------------------

HOSTILE = [
    "<script>alert(1)</script>", "\"><img src=x onerror=alert(1)>", "{{ 7*7 }}", "';alert(1)//",
    "</title><svg onload=alert(1)>", "--><!--",
    "<a href=javascript:alert(1)>", "&lt;script&gt;", "\x1b]52;c;AAAA\x07", "\u202e<b>\u2066", "x\r\nset-cookie: a=b",
]  # fmt: skip


@pytest.mark.parametrize("text", HOSTILE)
def test_what_others_wrote_is_text(text: str) -> None:
    """In every place where a page shows it: nothing of it is markup, and nothing that is not seen as itself is left."""
    one = {
        "id": "01a2", "state": "waiting", "requested_at": 1, "expires_at": 2, "quorum": 2, "approvers": [text], "votes": [
            {"voter": text, "approve": True, "at": 1, "comment": text}], "target": text, "requested_by": f"{text}|{text}",
        "on_behalf_of": [text], "action": text, "effect": text, "text": text, "params": [text, None], "why_not": text,
        "resources": [[text, text, text]], "labels": [text], "role": text, "search_path": text, "purpose": text,
        "decision": {"rules": [text], "reason": text, "policy": text}, "in_transaction": True, "bytes": 5, "left_ms": 5,
        "identity": {"kind": text, "groups": [text], "assurance": text}, "you_may_vote": True,
    }  # fmt: skip
    who = replace(PEOPLE["dora"], subject=text, claims={"name": text})
    row = {
        "id": "01a2", "state": "open", "identity": text, "kind": text, "target": text, "client": text, "purpose": text,
        "opened_at": 1, "closed_at": 2, "statements": 1, "refused": 1, "held": 1, "observed": 1, "rows": 1,
    }  # fmt: skip
    common = {"who": who, "session": None, "here": "/", "nav": (), "now": 0, "fresh": "/"}
    known = {"subject": text, "kind": text, "issuer": text, "groups": [text], "assurance": text, "expires_at": 5}
    agent = {
        "name": "refund-bot", "owner": text, "issuer": text, "bound": {text: text}, "groups": [text], "registered_at": 5,
        "registered_by": text,
    }  # fmt: skip
    broken = {"approval": "01a2", "by": text, "target": text, "reason": text, "at": 1, "due": 2, "late": True}
    review = {"reviewed_at": 3, "justified": False, "reviewer": text, "comment": text, "late": True, "due": 2}
    grant = {
        "actions": [text], "on": [[text, text]], "minutes": 5, "statements": 2, "rows": 3, "session": text, "break_glass": True,
    }  # fmt: skip
    granted = {**one, "grant": grant, "review": review, "state": "approved", "left": {"statements": 1, "rows": 1}}
    pages = [
        render("inbox.html", yours=[one], mine=[one], decided=[one], reviews=[broken], news="01a2:waiting:1", **common),
        render("approval.html", a=one, radius=[(text, text)], similar=text, open=True, **common),
        render("approval.html", a={**one, "you_may_vote": False}, radius=[], similar="", open=True, **common),
        render("approval.html", a=granted, radius=[], similar="", open=False, **common),
        render("sessions.html", going=[row], past=[row], may_end={text: True}, news="01a2:waiting:1", **common),
        render("session.html", s=row, may_end=True, **common),
        render("found.html", sessions=[row], words=text, wrong="", more=True, behind=True, **common),
        render("found.html", sessions=[], words=text, wrong=text, more=False, behind=False, **common),
        render("me.html", identity={**known, "on_behalf_of": known}, claims={text: text}, **common),
        render("keys.html", keys=[{"id": "k1", "name": text, "fingerprint": text, "method": text}], **common),
        render("agents.html", agents=[{**agent, "enabled": on, "owner_gone": on} for on in (True, False)], **common),
        render("error.html", what=text, hint=text, to="/", again=False, **common),
    ]
    for page in pages:
        elements = Elements()
        elements.feed(page)
        assert set(elements.tags) <= KNOWN
        assert elements.tags.count("script") == 1
        assert elements.tags.count("title") == 1
        assert not [name for name, _ in elements.attributes if name.startswith("on") or name == "style"]
        assert all(value.startswith(("/", "#")) for name, value in elements.attributes if name in ("href", "src", "action"))
        assert not set(elements.text + "".join(value for _, value in elements.attributes)) & set("\x1b\x07\r\u202e\u2066")


KNOWN = {
    "html", "head", "meta", "title", "link", "script", "body", "a", "header", "img", "nav", "div", "form", "input", "button",
    "main", "h1", "h2", "h3", "p", "span", "b", "i", "small", "code", "time", "ul", "ol", "li", "section", "article", "dl",
    "dt", "dd", "table", "thead", "tbody", "tr", "th", "td", "q", "mark", "noscript", "label",
}  # fmt: skip


class Elements(HTMLParser):
    """What a page is made of, as a parser of HTML sees it."""

    def __init__(self) -> None:
        super().__init__()
        self.tags: list[str] = []
        self.attributes: list[tuple[str, str]] = []
        self.text = ""

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append(tag)
        self.attributes += [(name, value or "") for name, value in attrs]

    def handle_data(self, data: str) -> None:
        self.text += data


def test_the_package_has_what_the_pages_need() -> None:
    """Templates and static files are declared as the package's."""
    import tomllib
    from pathlib import Path

    root = Path(__file__).resolve().parents[3]
    declared = tomllib.loads((root / "pyproject.toml").read_text())["tool"]["setuptools"]["package-data"]["doorward"]
    suffixes = {p.suffix for d in ("templates", "static") for p in (root / "src/doorward/web" / d).iterdir()}
    assert {f"**/*{suffix}" for suffix in suffixes} <= set(declared)
