"""Browsers that are signed in: bounded, for a while, and only as long as somebody vouches for them."""

from __future__ import annotations

import asyncio
import base64
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from doorward.errors import AuthenticationError, UpstreamError
from doorward.model import Identity, Kind
from doorward.web import browser
from doorward.web.browser import Browsers, page


class Now:
    """A clock that a test turns."""

    def __init__(self) -> None:
        self.ms = 1_000_000

    def now(self) -> int:
        return self.ms

    def monotonic(self) -> float:
        return self.ms / 1000

    def new_id(self) -> str:
        return "id"


@dataclass(frozen=True)
class Given:
    """What an issuer gave."""

    identity: Identity
    logged_in_at: int = 0
    until: int = 1 << 50
    refresh_token: str = ""


def given_to(name: str = "ada", **more: Any) -> Given:
    return Given(Identity(name, Kind.HUMAN, "https://idp.test"), **more)


class Issuer:
    """Says `next` when it is asked again."""

    issuer = "https://idp.test"

    def __init__(self) -> None:
        self.asked = 0
        self.next: Given | Exception = AuthenticationError("no")

    async def begin(self, redirect_uri: str, *, fresh: bool = False) -> Any: ...
    async def finish(self, begun: Any, answer: Mapping[str, str], redirect_uri: str) -> Any: ...
    async def sign_out(self, back: str) -> str:
        return ""

    async def refresh(self, grant: Any) -> Any:
        self.asked += 1
        await asyncio.sleep(0)
        if isinstance(self.next, Exception):
            raise self.next
        return self.next

    def remember(self, begun: Any) -> Mapping[str, Any]:
        return {"issuer": self.issuer, "state": begun.state}

    def recall(self, kept: Mapping[str, Any]) -> Any:
        return kept["state"]


@dataclass(frozen=True)
class Begun:
    """A sign-in that has begun."""

    state: str
    issuer: str = Issuer.issuer
    address: str = "https://idp.test/authorize"


@pytest.fixture
def clock() -> Now:
    return Now()


@pytest.fixture
def browsers(clock: Now) -> Browsers:
    return Browsers(clock, lasts=3600, idle=600, secure=True)


PAGES = ["/", "/me", "/keys", "/agents", "/sessions", "/approvals/01a2092a-c4c0-7042-8bed-99b7c15152af"]
ELSEWHERE = [
    "", "//evil.test", "https://evil.test", "/\\evil.test", "\\\\evil.test", "/me/../..//evil.test", "/me?x=1", "/me#x",
    "/%2fevil.test", "javascript:alert(1)", "/sign-out", "/api/whoami", "/approvals/x", "/static/x.js", " /me", "/me ", "/ME",
    "/approvals/01a2092a-c4c0-7042-8bed-99b7c15152af/votes", "/\t/evil.test", "me", "/me\n",
]  # fmt: skip


@pytest.mark.parametrize("where", PAGES)
def test_a_sign_in_leads_to_pages(where: str) -> None:
    """Of ours."""
    assert page(where) == where


@pytest.mark.parametrize("where", ELSEWHERE)
def test_and_nowhere_else(where: str) -> None:
    """Nothing that some reader could take for an address elsewhere, and nothing that does something."""
    assert page(where) == "/"


@given(st.text(max_size=40))
def test_whatever_is_asked_for_is_a_page_or_the_first_one(where: str) -> None:
    """The answer has no scheme, no host, no query and no control character."""
    assert page(where) in ("/", where)
    assert page(where).startswith("/")
    assert not set(page(where)) & set("\\:?#%\n\r\t ")
    assert "//" not in page(where)


def test_names_of_cookies(clock: Now) -> None:
    """Over TLS they can be set by this very host only; without, browsers would not take such a name."""
    plain = Browsers(clock, lasts=1, idle=1, secure=False)
    assert (plain.cookie, plain.beginning) == ("doorward", "doorward-sign-in")
    safe = Browsers(clock, lasts=1, idle=1, secure=True)
    assert (safe.cookie, safe.beginning) == ("__Host-doorward", "__Host-doorward-sign-in")


def test_a_sign_in_is_remembered_by_its_browser_only(browsers: Browsers, clock: Now) -> None:
    """Sealed: nothing of it can be read, changed, made up, used by another process, or used too late. It takes no memory."""
    kept = browsers.remember(Issuer(), Begun("st4te"), "/me")
    assert "st4te" not in kept
    assert b"st4te" not in base64.urlsafe_b64decode(kept)
    assert browsers.recall(kept) == {"issuer": Issuer.issuer, "state": "st4te", "to": "/me", "until": clock.ms + 600_000}
    assert browsers.remember(Issuer(), Begun("st4te"), "/me") != kept
    assert Browsers(clock, lasts=1, idle=1, secure=True).recall(kept) is None
    for place in range(0, len(kept), 7):
        assert browsers.recall(kept[:place] + ("A" if kept[place] != "A" else "B") + kept[place + 1 :]) is None
    for wrong in ("", "x", kept[:-4], kept + "AAAA", "é" * 40, "A" * 5000):
        assert browsers.recall(wrong) is None
    assert (browsers.recall(browsers.remember(Issuer(), Begun("s"), "//evil.test")) or {})["to"] == "/"
    clock.ms += 600_000
    assert browsers.recall(kept) is None
    assert len(browsers) == 0


def test_a_session_has_a_name_of_its_own(browsers: Browsers) -> None:
    """Names are long and never the same, and what is kept here is not the name."""
    names = [browsers.begin(Issuer(), given_to()) for _ in range(10)]
    assert len(set(names)) == 10
    assert min(map(len, names)) >= 43
    session = browsers.find(names[0])
    assert session is not None
    assert names[0].encode() not in session.key
    assert session.csrf not in repr(session)
    for wrong in ("", "x", names[0][:-1], names[0] + "A", "x" * 10_000, "\ud800"):
        assert browsers.find(wrong) is None


@pytest.mark.parametrize(("step", "times", "used", "goes_on"), [
    (599, 1, False, True), (600, 1, False, False), (599, 6, True, True), (599, 7, True, False),
])  # fmt: skip
def test_a_session_ends(browsers: Browsers, clock: Now, step: int, times: int, used: bool, goes_on: bool) -> None:
    """When nobody used it for a while, and in the end however much it is used."""
    name = browsers.begin(Issuer(), given_to())
    for _ in range(times):
        clock.ms += step * 1000
        session = browsers.find(name)
        if session is not None and used:
            browsers.touch(session)
    assert (browsers.find(name) is not None) is goes_on


def test_sessions_are_bounded(browsers: Browsers, clock: Now, monkeypatch: pytest.MonkeyPatch) -> None:
    """Each person has so many, and all together; the one unused for longest goes. What is over is not kept."""
    monkeypatch.setattr(browser, "MOST_EACH", 3)
    monkeypatch.setattr(browser, "MOST", 5)
    names = []
    for _ in range(5):
        clock.ms += 1
        names.append(browsers.begin(Issuer(), given_to()))
    assert [browsers.find(name) is not None for name in names] == [False, False, True, True, True]
    for number in range(5):
        clock.ms += 1
        browsers.begin(Issuer(), given_to(f"p{number}"))
    assert len(browsers) == 5
    clock.ms += 3_600_000
    browsers.begin(Issuer(), given_to())
    assert len(browsers) == 1


async def test_who_it_is_is_asked_again(browsers: Browsers, clock: Now) -> None:
    """Once a minute, once for many at once; groups hold from the answer on; a no ends it; an issuer that is away changes
    nothing until what it said is over."""
    issuer = Issuer()
    first = given_to(refresh_token="r", until=clock.ms + 300_000)
    session = browsers.find(browsers.begin(issuer, first))
    assert session is not None
    assert (await browsers.identity(session), issuer.asked) == (first.identity, 0)
    clock.ms += 60_000
    issuer.next = replace(first, identity=replace(first.identity, groups=frozenset({"dba"})))
    found = await asyncio.gather(*(browsers.identity(session) for _ in range(5)))
    assert ({i.groups for i in found}, issuer.asked) == ({frozenset({"dba"})}, 1)
    clock.ms += 60_000
    issuer.next = UpstreamError("away")
    assert (await browsers.identity(session)).groups == {"dba"}
    clock.ms += 180_000
    with pytest.raises(AuthenticationError, match="over"):
        await browsers.identity(session)
    assert len(browsers) == 0


async def test_a_no_of_the_issuer_ends_it(browsers: Browsers, clock: Now) -> None:
    """At once, and for good."""
    issuer = Issuer()
    name = browsers.begin(issuer, given_to(refresh_token="r"))
    session = browsers.find(name)
    assert session is not None
    clock.ms += 60_000
    with pytest.raises(AuthenticationError):
        await browsers.identity(session)
    issuer.next = given_to()
    assert browsers.find(name) is None


async def test_without_a_refresh_token_it_lasts_as_long_as_its_token(browsers: Browsers, clock: Now) -> None:
    """And no longer."""
    session = browsers.find(browsers.begin(Issuer(), given_to(until=clock.ms + 1000)))
    assert session is not None
    assert (await browsers.identity(session)).subject == "ada"
    clock.ms += 1000
    with pytest.raises(AuthenticationError, match="over"):
        await browsers.identity(session)


async def test_who_is_revoked_is_out(clock: Now) -> None:
    """With the next request."""
    out: set[str] = set()
    browsers = Browsers(clock, lasts=9, idle=9, secure=True, revoked=lambda who: "revoked" if who.subject in out else "")
    session = browsers.find(browsers.begin(Issuer(), given_to()))
    assert session is not None
    await browsers.identity(session)
    out.add("ada")
    with pytest.raises(AuthenticationError, match="revoked"):
        await browsers.identity(session)
    assert len(browsers) == 0
