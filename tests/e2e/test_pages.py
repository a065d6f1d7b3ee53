"""The pages in a real Chromium, with a real OpenID provider and a real database.

One gateway for all tests of this file. alice and erin may approve; frank sees and replays; an agent of the test's own issuer
asks. Each test ends with: no script of anybody else's ran, and nothing was blocked that a page needs.
"""

from __future__ import annotations

import json
import re
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import psycopg
import pytest
from playwright.sync_api import Browser, Page, expect

from tests.rig.approvers import call
from tests.rig.browser import Person, chromium, person
from tests.rig.gateway import Gateway, launch
from tests.rig.issuer import LocalIssuer, RealIssuer
from tests.rig.postgres import PostgresServer

__all__ = ["chromium"]

POLICY = """
@id("in") permit (principal, action in [Action::"connect", Action::"read"], resource);
@id("writes-approved") @quorum("1") @approvers("dba") @grantable("1h") @break_glass("30m")
permit (principal, action == Action::"write", resource) when { context.approved };
@id("dba-decides") permit (principal in Group::"dba", action == Action::"approve", resource);
@id("dba-rules") permit (principal in Group::"dba", action == Action::"administer", resource);
@id("staff-replays") permit (principal in Group::"staff", action == Action::"replay", resource);
"""


class Place:
    """The gateway, and an agent at it."""

    def __init__(self, gateway: Gateway, url: str) -> None:
        self.gateway, self.url = gateway, url

    def asks(self, statement: str, params: tuple[Any, ...] = (), **claims: Any) -> Asked:
        """An agent sends a statement, and waits."""
        return Asked(self, statement, params, claims)

    def approvals(self) -> list[Any]:
        """Every request there is, newest first, as an administrator sees them."""
        status, found = call(self.gateway, "/api/approvals?limit=500", sub="root", groups=["dba"])
        assert status == 200
        return list(found)


class Asked(threading.Thread):
    """A statement that is held: its request, and in the end its rows or its error."""

    def __init__(self, place: Place, statement: str, params: tuple[Any, ...], claims: dict[str, Any]) -> None:
        super().__init__(daemon=True)
        self._place, self._statement, self._params = place, statement, params
        self._claims = {"sub": "refund-bot", "groups": ["agents"], **claims}
        self.result: Any = None
        before = {a["id"] for a in place.approvals()}
        self.start()
        limit = time.monotonic() + 20
        while not (new := [a["id"] for a in place.approvals() if a["id"] not in before]):
            assert time.monotonic() < limit, self.result
            time.sleep(0.05)
        [self.id] = new

    def run(self) -> None:
        try:
            with self._place.gateway.connect(**self._claims) as connection:
                self.result = connection.execute(self._statement, self._params or None).rowcount
        except psycopg.Error as error:
            self.result = error

    def done(self) -> Any:
        self.join(20)
        assert not self.is_alive()
        return self.result


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory, postgres: PostgresServer, issuer: RealIssuer) -> Iterator[Place]:
    """One gateway that trusts the real issuer for people and the test's own for agents."""
    own = LocalIssuer()
    issuers = [
        {"url": issuer.url, "audience": "web", "client_id": "web", "scopes": ["openid", "groups"], "development": True},
        {"url": own.url, "audience": "doorward", "development": True, "agents": "issuer",
         "kinds": [{"claim": "groups", "equals": "agents", "kind": "agent"}]},
    ]  # fmt: skip
    with psycopg.connect(postgres.dsn(), autocommit=True) as connection:
        connection.execute("drop table if exists pages_notes")
        connection.execute("create table pages_notes (id int primary key, note text)")
        connection.execute("insert into pages_notes select n, 'note' from generate_series(1, 9) n")
    with launch(tmp_path_factory.mktemp("pages"), own, postgres, issuers=issuers, policy=POLICY) as gateway:
        yield Place(gateway, f"http://localhost:{gateway.http_port}")
    own.down()


@pytest.fixture
def alice(chromium: Browser, place: Place) -> Iterator[Person]:
    """Signed in, with a passkey."""
    with person(chromium, place.url, viewport={"width": 1000, "height": 700}) as somebody:
        yield somebody
        assert somebody.troubles == []


def with_passkey(somebody: Person, name: str) -> None:
    """Sign in, and register a passkey, for which the issuer asks again who it is."""
    somebody.sign_in(name, "/keys")
    somebody.passkeys()
    somebody.page.click("text=log in anew")
    somebody.log_in(name)
    somebody.page.wait_for_url(somebody.url + "/keys")
    somebody.page.fill("#key-name", "laptop")
    somebody.page.click("#register-passkey")
    expect(somebody.page.locator("#said")).to_have_text("The passkey laptop can sign your votes now")
    expect(somebody.page.locator("b", has_text="laptop").first).to_be_visible()


LONG = "\n".join(["update pages_notes set note = 'seen' where id = 1", *("  -- and on" for _ in range(198)), "  and id < 5"])


def test_a_person_signs_in_reads_and_approves(alice: Person, place: Place) -> None:
    """From the issuer's login to a signed yes: a held UPDATE comes up by itself, Approve works once all of it was on the
    screen, the passkey signs, it runs, and the page says so."""
    with_passkey(alice, "alice")
    page = alice.page
    page.goto("/")
    expect(page.locator("h1")).to_have_text("Requests")
    asked = place.asks(LONG)
    page.click(f"#r-{asked.id}", timeout=15_000)  # it came up by itself
    expect(page.locator("#statement li")).to_have_count(200)
    approve = page.locator("#approve")
    expect(approve).to_be_disabled()
    expect(page.locator("#deny")).to_be_enabled()
    page.keyboard.press("End")
    page.wait_for_timeout(500)
    expect(approve).to_be_disabled()  # the end was seen, and not what is before it
    assert re.search(r"\d+ of 201 parts", page.locator("#unread-count").inner_text())
    page.keyboard.press("Home")
    for _ in range(40):
        page.keyboard.press("PageDown")
        page.wait_for_timeout(60)
        if approve.is_enabled():
            break
    expect(approve).to_be_enabled()
    page.fill("#comment", "looks <b>right</b>")
    approve.click()
    expect(page.locator("#words")).to_have_text(re.compile(r"^(\w+[ -]){5}\w+$"))
    page.click("#sign")
    expect(page.locator("#said")).to_contain_text("Your yes is on record", timeout=15_000)
    assert asked.done() == 1
    expect(page.locator("#decide")).to_have_count(0)
    expect(page.locator(".votes")).to_contain_text("looks <b>right</b>")
    [vote] = next(a for a in place.approvals() if a["id"] == asked.id)["votes"]
    assert (vote["approve"], vote["voter"].rpartition("|")[2], vote["comment"]) == (True, "alice", "looks <b>right</b>")


def sign(page: Page, button: str, comment: str = "") -> None:
    """Look at all of it, decide, and touch the passkey."""
    for _ in range(10):
        if page.locator(button).is_enabled():
            break
        page.keyboard.press("PageDown")
        page.wait_for_timeout(100)
    page.fill("#comment", comment)
    page.click(button)
    page.click("#sign")


def test_a_grant_is_signed_and_used_up(alice: Person, place: Place) -> None:
    """An agent asks in advance; the page shows the limits; a passkey signs; two statements run without waiting, in two
    connections, the third waits; the page says what is left, and the record proves all of it."""
    with_passkey(alice, "alice")
    bot: dict[str, Any] = {"sub": "tax-bot", "groups": ["agents"]}
    wanted = {"target": "shop", "actions": ["write"], "minutes": 20, "statements": 2, "rows": 6, "reason": "new tax rates",
              "on": ["public.pages_notes"]}  # fmt: skip
    status, grant = call(place.gateway, "/api/approvals", wanted, **bot)
    assert (status, grant["state"]) == (200, "waiting"), grant
    page = alice.page
    page.goto("/")
    expect(page.locator(f"#r-{grant['id']} .why")).to_have_text("new tax rates")
    page.click(f"#r-{grant['id']}")
    expect(page.locator(".limits")).to_contain_text("2 statements, 6 rows")
    sign(page, "#approve")
    expect(page.locator("#said")).to_contain_text("approved", timeout=15_000)
    for number in (5, 6):
        with place.gateway.connect(**bot) as connection:
            assert connection.execute("update pages_notes set note = 'tax' where id = %s", (number,)).rowcount == 1
        page.goto(f"/approvals/{grant['id']}")
    expect(page.locator(".lead")).to_contain_text("spent")
    asked = place.asks("update pages_notes set note = 'tax' where id = 7", **bot)
    call(place.gateway, f"/api/approvals/{asked.id}/withdraw", {}, sub="root", groups=["dba"])
    asked.done()
    limit = time.monotonic() + 15
    while '"grant.settled": 2' not in (said := place.gateway.cli("verify", place.gateway.data, "--json").stdout):
        assert time.monotonic() < limit, said
        time.sleep(0.5)
    assert json.loads(said)["faults"] == []


def test_broken_glass_is_reviewed(alice: Person, place: Place, chromium: Browser) -> None:
    """Signed by oneself with a passkey; another approver finds it to be reviewed, signs the review, and it is open no more."""
    with_passkey(alice, "alice")
    page = alice.page
    made = page.evaluate(
        """async () => (await (await fetch('/api/approvals', {method: 'POST', body: JSON.stringify({target: 'shop', actions:
        ['write'], minutes: 5, statements: 1, rows: 1, reason: 'INC-77', break_glass: true}), headers: {'content-type':
        'application/json', 'x-doorward-csrf': document.querySelector('meta[name=csrf]').content}})).json())"""
    )
    page.goto(f"/approvals/{made['id']}")
    expect(page.locator(".warn").first).to_contain_text("breaks glass. alice goes on without dba, whom policy wants")
    expect(page.locator(".limits div").first).to_contain_text("INC-77")
    expect(page.locator("#deny")).to_have_text("Do not break it")
    sign(page, "#approve")
    expect(page.locator("#said")).to_contain_text("approved", timeout=15_000)
    expect(page.locator("#decide")).to_have_count(0)
    with person(chromium, place.url, viewport={"width": 1000, "height": 700}) as erin:
        with_passkey(erin, "erin")
        erin.page.goto("/")
        limit = time.monotonic() + 10
        while not erin.page.locator(f"#v-{made['id']}").count():  # the log is a second behind
            assert time.monotonic() < limit
            erin.page.reload()
        erin.page.click(f"#v-{made['id']}")
        expect(erin.page.locator("#decide-title")).to_have_text("Your review")
        sign(erin.page, "#approve", "one order, as the ticket says")
        expect(erin.page.locator("#said")).to_contain_text("Your review is on record", timeout=15_000)
        expect(erin.page.locator(".votes").last).to_contain_text("one order, as the ticket says")
        erin.page.goto("/")
        expect(erin.page.locator(f"#v-{made['id']}")).to_have_count(0)
        assert erin.troubles == []


def test_a_no_is_final_and_a_stale_tab_says_so(alice: Person, place: Place, chromium: Browser) -> None:
    """Denied in one tab, the other loses its buttons by itself; and if it had kept them, the gateway refuses."""
    with_passkey(alice, "alice")
    asked = place.asks("delete from pages_notes where id = 2")
    page = alice.page
    page.goto(f"/approvals/{asked.id}")
    other = alice.context.new_page()
    alice.watch(other)
    other.goto(f"/approvals/{asked.id}")
    expect(other.locator("#approve")).to_be_enabled()
    page.click("#deny")
    page.click("#sign")
    expect(page.locator("#said")).to_contain_text("Your no is on record", timeout=15_000)
    expect(other.locator("#decide")).to_have_count(0, timeout=15_000)
    expect(other.locator(".lead")).to_contain_text("denied")
    assert "denied" in str(asked.done())
    refused = other.evaluate(
        """async (id) => (await fetch(`/api/approvals/${id}/ballot`, {method: 'POST', body: '{"approve": true}', headers: {
        'content-type': 'application/json', 'x-doorward-csrf': document.querySelector('meta[name=csrf]').content}})).status""",
        asked.id,
    )
    assert refused == 403
    alice.troubles = [said for said in alice.troubles if "403" not in said]  # the browser notes what this test provoked


def test_signing_out_ends_it_here_and_at_the_issuer(alice: Person, place: Place) -> None:
    """Its cookie is worth nothing afterwards, wherever it was kept."""
    alice.sign_in("erin", "/me")
    expect(alice.page.locator("dl").first).to_contain_text("dba, staff")
    [cookie] = [c for c in alice.context.cookies(place.url) if c["name"] == "doorward"]
    assert (cookie["httpOnly"], cookie["sameSite"], cookie["path"]) == (True, "Lax", "/")
    assert alice.page.evaluate("document.cookie") == ""
    alice.page.click("text=Sign out")
    alice.page.wait_for_url("**/session/end**")
    alice.page.click("button[value=yes]")
    alice.page.wait_for_url(place.url + "/signed-out")
    expect(alice.page.locator("h1")).to_have_text("Signed out")
    alice.context.add_cookies([{"name": "doorward", "value": cookie["value"], "url": place.url}])
    alice.page.goto("/me")
    expect(alice.page.locator("h1")).to_have_text("Sign in")
    alice.page.click("text=Sign in at")
    alice.page.wait_for_url("**/interaction/**")  # the issuer, too, asks anew who it is
    assert alice.page.locator("input[name=login]").count() == 1


PAYLOADS = [
    "<script>alert(1)</script>", "<img src=x onerror=alert(1)>", "<svg/onload=alert(1)>", "javascript:alert(1)",
    "\"><iframe srcdoc='<script>alert(1)</script>'>", "</code><style>*{display:none}</style>",
    "{{constructor.constructor('alert(1)')()}}",
    "\u202egnirts\u202c\u200b\ufeff", "<base href=//evil.test>", "<meta http-equiv=refresh content=0;url=//evil.test>",
]  # fmt: skip


def test_what_others_wrote_does_nothing(alice: Person, place: Place) -> None:
    """Payloads in a statement, a bind value, a column's name, a subject, a group, a replayed answer: no script ran, no dialog
    came, no policy was violated, no address elsewhere was asked for, and the text is there."""
    alice.sign_in("alice")
    page = alice.page
    asked_for: list[str] = []
    page.on("request", lambda request: asked_for.append(request.url))
    gone = []
    every = " ".join(PAYLOADS)
    quoted = every.replace("'", "''")
    names = ", ".join('1 as "{}"'.format(payload.replace('"', "'")) for payload in PAYLOADS)
    for subject in [payload for payload in PAYLOADS if payload.isprintable()][:3]:
        held = place.asks(
            f"update pages_notes set note = %s where note = '{quoted}' /* {quoted} */", (every,), sub=subject,
            groups=["agents", subject],
        )  # fmt: skip
        gone.append(held)
        page.goto(f"/approvals/{held.id}")
        shown = page.locator("#statement").inner_text()
        assert all(payload.replace("'", "''") in shown for payload in PAYLOADS if payload.isprintable())
        assert "\\u202egnirts\\u202c\\u200b\\ufeff" in shown
        with place.gateway.connect(sub=subject, groups=["agents"]) as connection:
            connection.execute(f"select {names}, '{quoted}'")
    page.goto("/")
    assert page.locator("a.row").count() >= len(gone)
    time.sleep(1.5)  # a step of the sequencer: closed sessions are listed
    page.goto("/sessions")
    links = page.eval_on_selector_all("a.row", "rows => rows.map((row) => row.getAttribute('href'))")
    for link in links[: 2 * len(gone) + 2]:
        page.goto(f"{link}/statements")
        assert page.locator("h1").count() == 1
    for held in gone:
        assert call(place.gateway, f"/api/approvals/{held.id}/withdraw", {}, sub="root", groups=["dba"])[0] == 200
        held.done()
    page.goto("/")
    assert {url for url in asked_for if not url.startswith((place.url, "data:"))} == set()


SEEN = """() => {
  const wide = [...document.querySelectorAll('body *')].filter((e) => {
    const box = e.getBoundingClientRect();
    return box.width && box.right > innerWidth + 1 && !e.closest('.scroll, .skip, .row code');
  });
  const named = (e) => e.getAttribute('aria-label') || e.innerText.trim() || e.querySelector('img[alt]')?.alt
    || (e.id && document.querySelector(`label[for="${e.id}"]`)?.innerText) || e.type === 'hidden';
  const levels = [...document.querySelectorAll('h1, h2, h3')].map((h) => Number(h.tagName[1]));
  return {
    across: document.documentElement.scrollWidth > innerWidth, wide: wide.map((e) => e.outerHTML.slice(0, 80)).slice(0, 3),
    nameless: [...document.querySelectorAll('a, button, input, select, textarea')].filter((e) => !named(e))
      .map((e) => e.outerHTML.slice(0, 80)),
    ids: [...document.querySelectorAll('[id]')].map((e) => e.id).filter((id, n, all) => all.indexOf(id) !== n),
    refs: [...document.querySelectorAll('[aria-labelledby], [aria-describedby]')]
      .flatMap((e) => [e.getAttribute('aria-labelledby'), e.getAttribute('aria-describedby')])
      .filter((id) => id && !document.getElementById(id)),
    h1: levels.filter((level) => level === 1).length, leaps: levels.some((level, n) => n && level > levels[n - 1] + 1),
    lang: document.documentElement.lang, title: document.title, main: document.querySelectorAll('main').length,
    tabbed: [...document.querySelectorAll('[tabindex]')].filter((e) => e.tabIndex > 0).length,
  };
}"""


def test_every_page_can_be_used_by_everybody(alice: Person, place: Place) -> None:
    """At 360 pixels nothing is off the screen; every control has a name, every page one heading and one title; ids are unique;
    the keyboard reaches the decision, and shows where it is; the first thing that it reaches leads past the header."""
    alice.sign_in("alice")
    page = alice.page
    asked = place.asks("update pages_notes set note = '" + "x" * 900 + "' where id = 3")
    with place.gateway.connect(sub="refund-bot", groups=["agents"]) as connection:
        connection.execute("select *, repeat('wide ', 40) from pages_notes")
    time.sleep(1.5)
    page.goto("/sessions")
    last = page.locator("a.row[href^='/sessions/']").last.get_attribute("href") or ""
    for width in (360, 1280):
        page.set_viewport_size({"width": width, "height": 740})
        for path in (
            "/", f"/approvals/{asked.id}", "/sessions", last, f"{last}/statements", "/me", "/keys", "/agents", "/signed-out",
        ):  # fmt: skip
            page.goto(path)
            found = page.evaluate(SEEN)
            assert found.pop("title").endswith("Doorward"), path
            assert found == {
                "across": False, "wide": [], "nameless": [], "ids": [], "refs": [], "h1": 1, "leaps": False, "lang": "en",
                "main": 1, "tabbed": 0,
            }, (path, width)  # fmt: skip
    page.goto(f"/approvals/{asked.id}")
    expect(page.locator("#deny")).to_be_enabled()
    reached = keyboard(page)
    assert reached[0] == "Skip to the content"
    assert reached.index("Comment, for the record") < reached.index("Deny")
    call(place.gateway, f"/api/approvals/{asked.id}/withdraw", {}, sub="root", groups=["dba"])
    asked.done()


def keyboard(page: Page) -> list[str]:
    """What the Tab key reaches, in order; each must show that it has the focus."""
    page.evaluate("document.activeElement.blur(); window.scrollTo(0, 0)")
    reached = []
    for _ in range(30):
        page.keyboard.press("Tab")
        found = page.evaluate(
            """() => { const e = document.activeElement; const s = getComputedStyle(e);
            const label = document.querySelector(`label[for="${e.id}"]`);
            return [e === document.body ? '' : (label?.innerText || e.innerText || e.alt),
                    s.outlineStyle !== 'none' && parseFloat(s.outlineWidth) > 0]; }"""
        )
        if not found[0]:
            break
        assert found[1], f"no focus ring on {found[0]}"
        reached.append(found[0].strip())
    return reached


def test_without_scripts_a_page_says_why_nobody_can_vote(chromium: Browser, place: Place) -> None:
    """Everything can be read; the buttons do nothing, and the page says what to do instead."""
    asked = place.asks("update pages_notes set note = 'quiet' where id = 4")
    with person(chromium, place.url, java_script_enabled=False) as somebody:
        somebody.sign_in("erin", f"/approvals/{asked.id}")
        expect(somebody.page.locator("noscript p")).to_contain_text("Voting needs JavaScript")
        assert somebody.page.locator("#approve").is_disabled()
        assert somebody.page.locator("#deny").is_disabled()
        assert "update pages_notes" in somebody.page.locator("#statement").inner_text()
        assert somebody.troubles == []
    call(place.gateway, f"/api/approvals/{asked.id}/withdraw", {}, sub="root", groups=["dba"])
    asked.done()


def test_a_session_is_ended_from_its_line(alice: Person, place: Place) -> None:
    """By who administers its target, after a second click; the client's connection is gone."""
    alice.sign_in("alice", "/sessions")
    connection = place.gateway.connect(sub="long-runner", groups=["agents"])
    connection.execute("select 1")
    page = alice.page
    button = page.get_by_label("End the session of long-runner on shop")
    button.click(timeout=20_000)
    expect(button).to_have_text("Really end it?")
    button.click()
    expect(button).to_have_count(0, timeout=15_000)
    with pytest.raises(psycopg.OperationalError):
        connection.execute("select 1")
    connection.close()


def test_a_session_is_watched_and_ended(alice: Person, place: Place) -> None:
    """Its timeline follows it by itself, with pauses, verdicts, masked answers; page by page and row by row; each look is on
    record; End, from there, ends it."""
    alice.sign_in("alice", "/sessions")
    page = alice.page
    with place.gateway.connect(sub="watched", groups=["agents"], autocommit=True) as connection:
        connection.execute("select id, note from pages_notes where id < %s", (3,))
        link = page.locator("a.row", has_text="watched")
        link.click(timeout=20_000)
        page.click("text=Watch it live")
        items = page.locator(".timeline > li[id]")
        expect(items).to_have_count(1, timeout=20_000)
        expect(items.first).to_contain_text("select id, note from pages_notes")
        expect(items.first.locator("tbody tr")).to_have_count(2)
        with pytest.raises(psycopg.errors.InsufficientPrivilege):
            connection.execute("drop table pages_notes")
        connection.execute("select n from generate_series(1, 450) n")
        expect(items).to_have_count(3, timeout=20_000)  # nobody touched the page
        expect(items.nth(1)).to_contain_text("refused")
        assert page.locator(".gap").count() == 2
        for number in range(60):
            connection.execute(f"select {number} as pages_{number}")
        expect(items.last).to_contain_text("pages_59", timeout=20_000)
        assert items.count() == 50
        page.click("text=Beginning >> nth=0")
        expect(items).to_have_count(50)
        page.click("text=Later >> nth=0")
        expect(items.last).to_contain_text("pages_59")
        page.click("text=Beginning >> nth=0")
        items.nth(2).locator("text=More rows").click()
        expect(page.locator("tbody tr")).to_have_count(200)
        page.click("text=Further rows")
        page.click("text=Further rows")
        expect(page.locator("tbody tr")).to_have_count(50)
        expect(page.locator("tbody tr").last).to_have_text("450")
        page.click("text=Replay")
        page.click("text=End >> nth=0")
        page.click("text=End this session")
        page.click("text=Really end it?")
        expect(page.locator(".lead")).to_contain_text("closed", timeout=20_000)
        with pytest.raises(psycopg.OperationalError):
            connection.execute("select 1")
    limit = time.monotonic() + 30
    while page.locator("a.row").count() != 1:  # the index is some seconds behind
        assert time.monotonic() < limit, page.locator("main").inner_text()
        page.goto("/sessions?words=Pages_59+who:watched+target:shop+decision:refused")
    expect(page.locator("a.row")).to_contain_text("watched")
    token = place.gateway.token(sub="frank", groups=["staff"])
    for words, code, count in (("pages_59 who:watched", 0, 1), ("pages_59 who:nobody", 1, 0)):
        asked = place.gateway.cli("sessions", "search", *words.split(), "--json", "--gateway", place.url, token=token)
        assert (asked.returncode, len(json.loads(asked.stdout)["sessions"])) == (code, count), asked.stderr
    page.goto("/sessions")
    page.fill("#words-asked", "pages_59 label:nothing")
    page.keyboard.press("Enter")
    expect(page.locator("main .none")).to_contain_text("No ended session")
    page.fill("#words-asked", "colour:red")
    page.click("text=Search")
    expect(page.locator("main .bad")).to_contain_text("there is no field colour")
    viewed = json.loads(place.gateway.cli("verify", place.gateway.data, "--json").stdout)
    assert viewed["faults"] == []


# Contrast ----------------------------------------------------------------------------------------------------------------

CSS = Path(__file__).resolve().parents[2] / "src/doorward/web/static/doorward.css"
PAIRS = [  # text, what is behind it
    ("ink", "ground"), ("ink", "panel"), ("muted", "ground"), ("muted", "panel"), ("accent", "ground"), ("accent", "panel"),
    ("on-accent", "accent"), ("good", "ground"), ("good", "panel"), ("bad", "ground"), ("bad", "panel"), ("warn", "ground"),
    ("warn", "panel"), ("on-mark", "mark"), ("on-alike", "alike"), ("ground", "ink"),
]  # fmt: skip


def luminance(colour: str) -> float:
    """WCAG 2.2, relative luminance."""
    parts = [int(colour[at : at + 2], 16) / 255 for at in (1, 3, 5)]
    red, green, blue = (p / 12.92 if p <= 0.04045 else ((p + 0.055) / 1.055) ** 2.4 for p in parts)
    return 0.2126 * red + 0.7152 * green + 0.0722 * blue


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_text_can_be_read(scheme: str) -> None:
    """Every pair of colours that text is drawn in has at least the contrast of WCAG 2.2 AA, in light and in dark."""
    blocks = re.findall(r":root \{(.*?)\}", CSS.read_text(), re.S)
    variables = dict(re.findall(r"--([a-z-]+): (#[0-9a-f]{6})", blocks[0 if scheme == "light" else 1]))
    worst = {}
    for text, behind in PAIRS:
        one, two = sorted((luminance(variables[text]), luminance(variables[behind])), reverse=True)
        worst[text, behind] = round((one + 0.05) / (two + 0.05), 2)
    assert {pair: ratio for pair, ratio in worst.items() if ratio < 4.5} == {}
