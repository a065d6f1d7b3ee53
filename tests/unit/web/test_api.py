"""The HTTP API: nothing without a token, nothing without the right, and errors that tell what to do and nothing else.

The application is the real one, over a real guard and recorder on a memory disk; tokens here are names of identities.
"""

from __future__ import annotations

import asyncio
import hashlib
import json
import re
from collections.abc import AsyncIterator, Iterator, Sequence
from contextlib import ExitStack
from dataclasses import replace
from typing import Any
from urllib.parse import urlsplit

import httpx2
import pytest

from doorward.adapters.identity.dpop import DpopProofs
from doorward.errors import AuthenticationError, UpstreamError
from doorward.evidence.reconcile import Seen
from doorward.guard.access_reviews import AccessReviews
from doorward.guard.approvals import MOST_WAITING, Approvals
from doorward.guard.approver_keys import ApproverKeys
from doorward.guard.budgets import Budgets
from doorward.guard.export import Exports
from doorward.guard.guard import Guard, GuardedSession
from doorward.guard.keyring import Keyring
from doorward.guard.notifications import Notifications
from doorward.guard.policies import PolicyInForce
from doorward.guard.ports import NOTHING, Shown
from doorward.guard.reader import RecordReader
from doorward.guard.reconciliation import Source
from doorward.guard.retention import Retention
from doorward.guard.reveals import Reveals
from doorward.guard.reviews import Reviews
from doorward.guard.search import Search
from doorward.guard.stamping import Stamping
from doorward.guard.stores import SessionRow
from doorward.guard.template import Template
from doorward.guard.token_vault import TokenVault
from doorward.guard.turn import Turn
from doorward.guard.witnessing import Witnessing
from doorward.ledger import request as requests
from doorward.ledger.encoding import canonical
from doorward.ledger.webauthn import base64url, unbase64url
from doorward.model import Approval, Effect, Identity, Kind, Permit, Phase, Refusal, Resource, Target
from doorward.policy.policies import load
from doorward.web.api import application
from doorward.web.browser import Browsers, SignIn
from tests.memory.files import MemorySearchFiles, MemoryTurn
from tests.rig.identities import Identities
from tests.rig.signers import Authenticator, sign_and_vote, ssh
from tests.suites.lives import CLOCK, Disk

POLICY = """
@id("in") permit (principal, action in [Action::"connect", Action::"read"], resource);
@id("ask") @quorum("1") @approvers("dba") permit (principal, action == Action::"write", resource) when { context.approved };
@id("dba") permit (principal in Group::"dba", action == Action::"approve", resource);
@id("audit") permit (principal in Group::"auditors", action == Action::"replay", resource);
@id("rule") permit (principal in Group::"admins", action == Action::"administer", resource);
"""
ISSUER = "https://idp.test"
SHOP, WARE = (Target(name, "postgres", "127.0.0.1", 5432) for name in ("shop", "ware"))
PEOPLE = {
    name: Identity(name, Kind.HUMAN, ISSUER, groups=frozenset(groups))
    for name, groups in (
        ("ada", ()), ("eve", ()), ("dora", ("dba",)), ("audi", ("auditors",)), ("adam", ("admins",)), ("dead", ()),
    )
}  # fmt: skip


class Place:
    """One proof at `shop`, which plants nothing."""

    def __init__(self) -> None:
        self.id, self.target, self.identity = "p1", "shop", "https://idp.test|bot"
        self.did: list[str] = []

    async def begin(self, target: str, actor: Identity, identity: str) -> Place:
        if actor.subject != "adam":
            raise BlockingIOError("a proof runs there")
        self.did.append(f"begin {identity}")
        return self

    async def plant(self, running: Place) -> bool:
        self.did.append("plant")
        return True

    def find(self, target: str, proof: str) -> Place | None:
        return self if (target, proof) == ("shop", "p1") else None

    async def end(self, running: Place) -> None:
        self.did.append("end")


class Sampler:
    """Says what it was asked."""

    def __init__(self) -> None:
        self.busy = False

    async def sample(
        self, target: str, actor: Identity, *, rows: int, schemas: Sequence[str] = (), after: int = 0
    ) -> dict[str, Any]:
        if self.busy:
            raise BlockingIOError(f"{target} is being sampled already")
        return {"asked": [target, actor.subject, rows, list(schemas), after]}


class Compared:
    """Says what it was given to compare."""

    async def activity(self, target: str, *, actor: str = "") -> dict[str, Any]:
        return {"asked": [target, actor]}

    async def compare(self, target: str, seen: Sequence[Seen], source: Source, *, actor: str = "") -> dict[str, Any]:
        return {"asked": [target, [each.pid for each in seen], source.kind, source.about, source.unread, actor]}


class Served:
    """What of a gateway the API serves, on a memory disk."""

    def __init__(self) -> None:
        self.disk = Disk()
        self.recorder = self.disk.recorder()
        self.witnessing: Witnessing | None = None
        self.stamping: Stamping | None = None
        policies = PolicyInForce(load({"policy.cedar": POLICY}))
        keys = ApproverKeys(self.recorder, CLOCK, "doorward")
        self.approvals = Approvals(self.disk.store.approvals, self.recorder, CLOCK, policies, keys)
        self.guard = Guard(policies, self.recorder, self.approvals, CLOCK)
        self.retention = Retention(self.recorder, CLOCK, MemoryTurn())
        self.search = Search(self.recorder, MemorySearchFiles(), MemoryTurn())
        self.reviews = Reviews(self.approvals, self.recorder, CLOCK, lambda: self.reader)
        self.targets = {"shop": SHOP, "ware": WARE}
        self.wrong = self.why = ""
        self.reloads: list[str] = []
        self.fails: Exception | None = None
        self.postgres_port, self.postgres_tls = 7432, True
        self.proofs = Place()
        self.samples = Sampler()
        self.reconciliations = Compared()
        vault = TokenVault(self.disk.store, self.recorder, CLOCK, [bytes(32)], retention=1, most=9)
        self.reveals = Reveals(vault, policies, self.recorder, Budgets(self.disk.store, CLOCK), per_hour=9)
        self.url = "http://gateway"
        self.browsers = Browsers(CLOCK, lasts=3600, idle=600, secure=True)
        self.sign_ins: list[SignIn] = []
        self.identities = Identities(disk=self.disk, verifier=self, guard=self.guard)
        self.own, self.exchange, self.refusals = self.identities.own, self.identities.exchange, self.identities.refusals
        self.dpop = DpopProofs(lambda: [self.url], CLOCK.now)
        self.access_reviews = AccessReviews(
            self.disk.store.identities, self.disk.store, policies, lambda: self.targets, self.recorder, CLOCK, lambda _: ""
        )
        self.agents, self.revocations = self.identities.agents, self.identities.revocations
        self.exports = Exports([], self.disk.store, lambda: self.reader, self.disk.log, CLOCK)
        self.notifications = Notifications(
            [], {}, self.disk.store.outbox, self.approvals, self.recorder, CLOCK, url=lambda: self.url
        )

    @property
    def authenticator(self) -> Served:
        return self

    async def authenticate(self, token: str, shown: Shown = NOTHING) -> Identity:
        if token.startswith("bound-"):  # to whatever key is shown
            if not shown.key:
                raise AuthenticationError("the token was refused: it is bound to a key", code="bound")
            return replace(await self.authenticate(token.removeprefix("bound-")), bound_to=f"jkt:{shown.key}")
        if token == "dead":
            raise UpstreamError("the issuer does not answer", hint="look at the issuer")
        if token not in PEOPLE:
            raise AuthenticationError("the token is not accepted", hint="get another")
        return PEOPLE[token]

    @property
    def reader(self) -> RecordReader:
        return RecordReader(self.disk.store, self.disk.recordings, Keyring(self.disk.keys))

    def ready(self) -> str:
        return self.why

    def metrics_text(self) -> bytes:
        if self.fails is not None:
            raise self.fails
        return b"doorward_record_failed 0\n"

    async def reload(self, *, actor: str = "") -> str:
        self.reloads.append(actor)
        return self.wrong

    async def list_sessions(self, **filters: Any) -> list[SessionRow]:
        return list(await self.disk.store.sessions(**filters))

    async def observed(self, session_ids: Sequence[str]) -> dict[str, int]:
        return dict(await self.disk.store.count_events("operation.observed", session_ids))

    async def find_session(self, session_id: str) -> SessionRow | None:
        found: SessionRow | None = await self.disk.store.session(session_id)
        return found

    # What tests do with it.

    async def session(self, name: str = "ada") -> GuardedSession:
        opened = await self.guard.open(PEOPLE[name], SHOP, client="127.0.0.1:1")
        assert isinstance(opened, GuardedSession)
        return opened

    async def held(self, group: asyncio.TaskGroup, name: str = "ada") -> tuple[Approval, asyncio.Task[Permit | Refusal]]:
        session, asked = await self.session(name), asyncio.Event()
        template = Template(
            action="DELETE", effect=Effect.WRITE, shown="delete from t", exact=b"delete from t",
            resources=(Resource("Table", "public.t", Effect.WRITE),),
        )  # fmt: skip
        turn, found = Turn(template, Phase.EXECUTE), []

        async def nothing() -> dict[str, Any]:
            return {}

        async def definitions() -> str:
            return template.definitions

        def told(approval: Approval) -> None:
            found.append(approval)
            asked.set()

        assert session.admit_now(turn) is None
        task = group.create_task(
            session.hold(turn, gone=asyncio.Event(), notify=told, preview=nothing, definitions=definitions)
        )
        await asyncio.wait_for(asked.wait(), 5)
        return found[0], task

    async def events(self) -> list[Any]:
        await self.recorder.wal.flush()
        await self.recorder.fold()
        return [opened.event async for opened in self.reader.events()]


@pytest.fixture
async def served() -> AsyncIterator[Served]:
    served = Served()
    await served.recorder.start()
    yield served
    await served.recorder.stop()


async def ask(
    served: Served, path: str, body: Any = None, *, who: str = "", method: str = "", raw: bytes | None = None, **headers: str
) -> httpx2.Response:
    if who:
        headers["authorization"] = f"Bearer {who}"
    transport = httpx2.ASGITransport(app=application(served))  # type: ignore[arg-type]
    async with httpx2.AsyncClient(transport=transport, base_url="http://gateway") as client:
        content = raw if raw is not None else None if body is None else json.dumps(body).encode()
        headers.setdefault("content-type", "application/json")
        verb = method or ("GET" if content is None else "POST")
        return await client.request(verb, path, content=content, headers=headers)


OPEN = {"/healthz", "/readyz", "/metrics"}


def routes() -> Iterator[tuple[str, str]]:
    """Every route of the API and each of its methods, ids filled in. What all routes do is in test_matrix.py."""
    app = application(Served())
    for route in app.routes:
        path = "/".join("01a20748-05e8-707b-b5cd-49c85c9097bf" if "{" in part else part for part in route.path.split("/"))
        for method in sorted(getattr(route, "methods", ())):
            if method != "OPTIONS" and (path.startswith("/api/") or path in OPEN):
                yield method, path + "?seconds=0" * path.endswith("/events")


ROUTES = sorted(routes())


def test_there_are_routes() -> None:
    """The tests below find what is known to be there."""
    assert {("GET", "/api/whoami"), ("POST", "/api/policy/reload"), ("GET", "/metrics")} <= set(ROUTES)
    assert len(ROUTES) >= 14


@pytest.mark.parametrize("header", ["", "Bearer", "Bearer nobody", "Basic ada", "ada", "bearer  "])
@pytest.mark.parametrize(("method", "path"), ROUTES)
async def test_nothing_but_health_is_open_without_a_token(served: Served, method: str, path: str, header: str) -> None:
    """401 and what to do, from every route there is and any that will be; nothing was done."""
    body = b'{"approve": true}' if method == "POST" else None
    answer = await ask(served, path, raw=body, method=method, **({"authorization": header} if header else {}))
    if path in OPEN:
        assert answer.status_code == 200
        return
    assert answer.status_code == 401
    assert set(answer.json()) == {"error", "hint"}
    assert answer.json()["hint"]
    assert served.reloads == []


@pytest.mark.parametrize(("method", "path"), [(m, p) for m, p in ROUTES if p.startswith("/api/")])
async def test_who_has_no_right_learns_and_does_nothing(served: Served, method: str, path: str) -> None:
    """A valid token alone shows its bearer who they are, and empty lists: not whether what they name exists."""
    async with asyncio.TaskGroup() as group:
        approval, task = await served.held(group)
        session = next(iter(served.guard.sessions))
        place = path.replace("01a20748-05e8-707b-b5cd-49c85c9097bf", approval.id if "approvals" in path else session)
        await served.events()
        answer = await ask(served, place, {"approve": True} if method == "POST" else None, who="eve", method=method)
        if path.startswith("/api/approvals/events"):
            assert answer.text == "retry: 2000\n\n"  # that she may listen, and nothing that she hears
        elif path == "/api/whoami":
            assert answer.json()["id"] == f"{ISSUER}|eve"
        elif path in ("/api/approvals", "/api/reviews", "/api/sessions", "/api/keys", "/api/agents") and method == "GET":
            assert (answer.status_code, answer.json()) == (200, [])
        elif path == "/api/approvals":  # it says neither where nor what for
            assert answer.status_code == 400
        elif path.startswith("/api/keys/") and method == "POST":  # about the caller's own keys
            assert answer.status_code in (200, 400)
            assert served.approvals.keys.of(f"{ISSUER}|eve") == []
        elif path == "/api/targets":  # those that this policy lets everybody connect to, and of them not where they are
            assert [set(each) for each in answer.json()] == [{"name", "protocol", "mode", "port", "tls"}] * 2
        elif path == "/api/sessions/search":
            assert answer.status_code == 400  # there is no word in it
        elif path == "/api/sessions/search/rebuild":
            assert answer.status_code == 403
        elif path == "/api/policy/reload":
            assert (answer.status_code, served.reloads) == (403, [])
        elif path.startswith(
            ("/api/revocations", "/api/notifications", "/api/exports", "/api/access", "/api/retention", "/api/holds",
             "/api/log")
        ) or path == "/api/agents" or path.endswith(("/enable", "/transfer")):
            assert answer.status_code == 403
        else:
            missing = await ask(served, path, {"approve": True} if method == "POST" else None, who="eve", method=method)
            assert (answer.status_code, missing.status_code) == (404, 404)
            assert answer.json()["error"].replace(place.split("/")[3], "X") == missing.json()["error"].replace(
                path.split("/")[3], "X"
            )
        assert session in served.guard.sessions
        assert [a.state.value for a in await served.approvals.list()] == ["waiting"]
        task.cancel()


async def ballot(served: Served, approval: Approval, who: str, *, approve: bool = True) -> dict[str, Any]:
    """What somebody signs."""
    answer = await ask(served, f"/api/approvals/{approval.id}/ballot", {"approve": approve}, who=who)
    assert answer.status_code == 200, answer.text
    found: dict[str, Any] = answer.json()
    return found


async def add_key(served: Served, who: str, name: str = "") -> httpx2.Response:
    """Register somebody's SSH key."""
    signer = ssh(name or who)
    asked = (await ask(served, "/api/keys/ssh/options", {"public_key": signer.public.line}, who=who)).json()
    proof = signer.sign(asked["challenge"].encode(), asked["namespace"])
    return await ask(served, "/api/keys/ssh", {"public_key": signer.public.line, "name": "laptop", "proof": proof}, who=who)


async def test_a_vote_is_one_persons_signed_and_in_one_form(served: Served) -> None:
    """Not the requester's, not twice, not unsigned, and in no other form; then the statement is permitted."""
    async with asyncio.TaskGroup() as group:
        approval, task = await served.held(group)
        place = f"/api/approvals/{approval.id}/votes"
        assert (await ask(served, f"/api/approvals/{approval.id}/ballot", {"approve": True}, who="ada")).status_code == 403
        for unsigned in ({"approve": True}, {"approve": True, "comment": "x"}, {"approve": False, "request": "{}"}):
            assert (await ask(served, place, unsigned, who="dora")).status_code == 403
        paper = await ballot(served, approval, "dora")
        assert paper["webauthn"] is None
        assert paper["ssh_namespace"] == "doorward-approval@doorward"
        assert paper["digest"] == requests.challenge(paper["request"].encode()).hex()
        assert paper["words"] == requests.words(bytes.fromhex(paper["digest"]))
        text = paper["request"]
        signature = ssh("dora").vote(text.encode())
        body = {"approve": True, "comment": "fine", "request": text, "signature": signature}
        early = await ask(served, place, body, who="dora")
        assert (early.status_code, early.json()["error"]) == (
            403, "this vote is signed by a key that is not registered as yours"
        )  # fmt: skip
        assert (await add_key(served, "dora")).status_code == 200
        wrong: list[Any] = [
            {}, {**body, "approve": "yes"}, {**body, "approve": 1}, {**body, "voter": "eve"}, [], "x", None,
            {**body, "signature": {**signature, "method": "none"}}, {**body, "comment": 5},
        ]  # fmt: skip
        for each in wrong:
            answer = await ask(served, place, raw=json.dumps(each).encode(), who="dora")
            assert answer.status_code == 400, each
        assert (await ask(served, place, raw=b"{", who="dora")).status_code == 400
        assert (await ask(served, place, raw=b"[" * 60_000, who="dora")).status_code == 400
        assert (await ask(served, place, raw=b" " * 70_000, who="dora")).status_code == 413
        flipped = await ask(served, place, {**body, "approve": False}, who="dora")
        assert (flipped.status_code, "`decision` differs" in flipped.json()["error"]) == (403, True)
        assert not task.done()
        answer = await ask(served, place, body, who="dora")
        assert (answer.status_code, answer.json()["state"]) == (200, "approved")
        assert answer.json()["votes"][0]["method"] == "sshsig"
        assert (await ask(served, place, body, who="dora")).status_code == 403
        assert isinstance(await task, Permit)


async def test_a_key_is_its_owners_and_is_revoked_by_them_or_an_administrator(served: Served) -> None:
    """Registered with proof, listed, not by a second person, revoked once; each is an event that says who."""
    added = (await add_key(served, "dora")).json()
    assert [(key["id"], key["tier"]) for key in (await ask(served, "/api/keys", who="dora")).json()] == [
        (added["id"], "software")
    ]
    assert (await add_key(served, "eve", "dora")).status_code == 403
    assert (await ask(served, f"/api/keys/{added['id']}", who="eve", method="DELETE")).status_code == 404
    stolen = (await ask(served, "/api/keys/ssh/options", {"public_key": ssh("ada").public.line}, who="eve")).json()
    proof = ssh("eve").sign(stolen["challenge"].encode(), stolen["namespace"])
    body = {"public_key": ssh("ada").public.line, "proof": proof}
    assert (await ask(served, "/api/keys/ssh", body, who="eve")).status_code == 403
    assert (await ask(served, "/api/keys/ssh", body, who="eve")).status_code == 403, "a challenge is answered once"
    for bad in ({"public_key": "ssh-dss AAAA"}, {"public_key": "x"}, {"public_key": 5}, {"key": "x"}):
        assert (await ask(served, "/api/keys/ssh/options", bad, who="eve")).status_code == 400
    assert (await ask(served, f"/api/keys/{added['id']}", who="adam", method="DELETE")).status_code == 200
    assert (await ask(served, f"/api/keys/{added['id']}", who="dora", method="DELETE")).status_code == 404
    assert (await add_key(served, "dora")).status_code == 403, "a revoked key does not come back"
    found = [event for event in await served.events() if event.type.startswith("approver_key.")]
    assert [(event.type, event.actor) for event in found] == [
        ("approver_key.registered", f"{ISSUER}|dora"), ("approver_key.revoked", f"{ISSUER}|adam"),
    ]  # fmt: skip
    again = ApproverKeys(served.recorder, CLOCK, "doorward")
    async for opened in served.reader.events():
        again.take_up(opened.event)
    assert [(key.id, bool(key.revoked_at)) for key in again.of(f"{ISSUER}|dora")] == [(added["id"], True)]


async def test_a_passkey_is_registered_and_votes(served: Served) -> None:
    """With the options that the gateway gives, from its own origin, its user verified, bound to the request."""
    passkey = Authenticator("dora", rp_id=urlsplit(served.url).hostname or "", origin=served.url)
    options = (await ask(served, "/api/keys/webauthn/options", {}, who="dora")).json()
    assert options["authenticatorSelection"]["userVerification"] == "required"
    challenge = unbase64url(options["challenge"], "challenge")
    for changes in ({"flags": 0x41}, {"origin": "http://evil"}):
        credential = passkey.attestation(challenge, **changes)
        answer = await ask(served, "/api/keys/webauthn", {"name": "yubi", "credential": credential}, who="dora")
        assert answer.status_code == 403, answer.text
        challenge = unbase64url(
            (await ask(served, "/api/keys/webauthn/options", {}, who="dora")).json()["challenge"], "challenge"
        )
    for bad in ({}, {"id": "x"}, {"id": "x", "response": {}}, {"id": 5, "response": {"attestationObject": 1}}):
        answer = await ask(served, "/api/keys/webauthn", {"name": "", "credential": bad}, who="dora")
        assert answer.status_code == 403, answer.text
        challenge = unbase64url(
            (await ask(served, "/api/keys/webauthn/options", {}, who="dora")).json()["challenge"], "challenge"
        )
    body = {"name": "yubi", "credential": passkey.attestation(challenge)}
    added = await ask(served, "/api/keys/webauthn", body, who="dora")
    assert (added.status_code, added.json()["tier"]) == (200, "hardware")
    async with asyncio.TaskGroup() as group:
        approval, task = await served.held(group)
        paper = await ballot(served, approval, "dora")
        assert [each["id"] for each in paper["webauthn"]["allowCredentials"]] == [body["credential"]["id"]]  # type: ignore[index]
        assert paper["webauthn"]["challenge"] == base64url(bytes.fromhex(paper["digest"]))
        text = paper["request"].encode()
        said = {"approve": True, "request": paper["request"]}
        place = f"/api/approvals/{approval.id}/votes"
        for wrong in ({"flags": 0x01}, {"origin": "http://evil"}, {"rp_id": "evil"}, {"crossOrigin": True}):
            signature = passkey.vote(text, **wrong)
            assert (await ask(served, place, {**said, "signature": signature}, who="dora")).status_code == 403
        answer = await ask(served, place, {**said, "signature": passkey.vote(text)}, who="dora")
        assert (answer.status_code, answer.json()["state"]) == (200, "approved")
        assert isinstance(await task, Permit)


def heard(text: str) -> list[tuple[str, dict[str, Any]]]:
    """The events of a stream: name and JSON."""
    found = re.findall(r"^event: (\w+)\ndata: (.*)$", text, re.MULTILINE)
    return [(name, json.loads(said)) for name, said in found]


async def test_whoever_may_see_a_request_hears_of_it_as_it_changes(served: Served) -> None:
    """One request's stream begins with its state and ends with its end; a stranger hears nothing of it, and nobody listens
    more often than they may."""
    async with asyncio.TaskGroup() as group:
        every = group.create_task(ask(served, "/api/approvals/events?seconds=1", who="dora"))
        stranger = group.create_task(ask(served, "/api/approvals/events?seconds=1", who="eve"))
        await asyncio.sleep(0.05)
        approval, task = await served.held(group)
        one = group.create_task(ask(served, f"/api/approvals/{approval.id}/events", who="dora"))
        await asyncio.sleep(0.05)
        await sign_and_vote(served.approvals, PEOPLE["dora"], SHOP, approval.id, approve=True)
        assert isinstance(await task, Permit)
    assert one.result().headers["content-type"].startswith("text/event-stream")
    names = [name for name, said in heard(one.result().text) if said["id"] == approval.id]
    assert (names[0], names[-1]) == ("waiting", "spent")
    assert [name for name, _ in heard(every.result().text)][-1] == "spent"
    assert heard(stranger.result().text) == []
    with ExitStack() as stack:
        for _ in range(5):
            stack.enter_context(served.approvals.following(PEOPLE["dora"].id))
        assert (await ask(served, "/api/approvals/events?seconds=0", who="dora")).status_code == 429
        assert (await ask(served, "/api/approvals/events?seconds=0", who="eve")).status_code == 200
    assert (await ask(served, "/api/approvals/events?seconds=0", who="dora")).status_code == 200


async def test_a_recording_is_shown_to_who_may_replay_it_and_that_is_on_record(served: Served) -> None:
    """The owner sees that the session was, not what it did; an auditor sees it, and each part shown is an event."""
    session = await served.session()
    session.record.response(b"masked answer")
    await session.close("done")
    before = len(await served.events())
    place = f"/api/sessions/{session.session.id}"
    assert (await ask(served, place, who="ada")).json()["closed_at"] > 0
    assert (await ask(served, f"{place}/records", who="ada")).status_code == 403
    assert "recording.viewed" not in [event.type for event in (await served.events())[before:]]
    shown = (await ask(served, f"{place}/records", who="audi")).json()
    assert (shown["more"], shown["next"]) == (False, len(shown["records"]))
    assert [record["kind"] for record in shown["records"]] == [1, 4]
    assert (await ask(served, f"{place}/records?skip=1", who="audi")).json()["records"] == shown["records"][1:]
    found = [event for event in await served.events() if event.type == "recording.viewed"]
    who, what = f"{ISSUER}|audi", session.session.id
    assert [(event.actor, event.body) for event in found] == [(who, {"session": what, "from": n}) for n in (0, 1)]


async def test_what_is_due_is_deleted_and_what_a_case_needs_is_held(served: Served) -> None:
    """By administrators who are people; a hold is asked for by one, and released by another."""
    PEOPLE["alma"] = Identity("alma", Kind.HUMAN, ISSUER, groups=frozenset(("admins",)))
    PEOPLE["abot"] = Identity("abot", Kind.AGENT, ISSUER, groups=frozenset(("admins",)), on_behalf_of=PEOPLE["adam"])
    session = await served.session()
    session.record.response(b"masked answer")
    await session.close("done")
    await served.events()
    one = session.session.id
    case = {"case": "case-1", "reason": "litigation", "sessions": [one]}
    assert (await ask(served, "/api/holds", case, who="abot")).status_code == 403
    wrong: dict[str, Any]
    for wrong in ({"case": "../x"}, {"reason": ""}, {"sessions": ["x"]}, {"target": "shop"}, {"sessions": []}, {"since": -1}):
        assert (await ask(served, "/api/holds", {**case, **wrong}, who="adam")).status_code == 400
    held = (await ask(served, "/api/holds", case, who="adam")).json()
    assert (held["state"], held["held"], held["applied_by"]) == ("in force", 1, f"{ISSUER}|adam")
    assert (await ask(served, "/api/holds", case, who="adam")).status_code == 409
    epochs = (await ask(served, "/api/retention", who="adam")).json()["epochs"]
    assert {each["state"] for each in epochs} == {"kept"}
    assert [each["held"] for each in epochs if each["sessions"]] == [1]
    assert (await ask(served, "/api/retention/run", {}, who="adam")).json()["deleted"] == []
    place = "/api/holds/case-1/release"
    assert (await ask(served, place, {}, who="adam")).json()["state"] == "release requested"
    assert (await ask(served, place, {}, who="adam")).status_code == 403
    assert (await ask(served, place, {}, who="abot")).status_code == 403
    assert (await ask(served, place, {}, who="alma")).json()["state"] == "released"
    assert (await ask(served, place, {}, who="alma")).status_code == 404
    assert [each["state"] for each in (await ask(served, "/api/holds", who="adam")).json()] == ["released"]
    served.retention._turn.take()
    assert (await ask(served, "/api/retention/run", {}, who="adam")).status_code == 409


async def test_an_administrator_ends_a_session_and_reloads_policies(served: Served) -> None:
    """Both are recorded with who did it; broken policies are the caller's fault, and say what is wrong."""
    session = await served.session()
    answer = await ask(served, f"/api/sessions/{session.session.id}/end", {}, who="adam")
    assert (answer.status_code, session.ended) == (200, "an administrator ended this session")
    assert [e.actor for e in await served.events() if e.type == "session.ended"] == [f"{ISSUER}|adam"]
    assert (await ask(served, "/api/policy/reload", {}, who="adam")).status_code == 200
    served.wrong = "policy.cedar:3: no such action"
    answer = await ask(served, "/api/policy/reload", {}, who="adam")
    assert (answer.status_code, answer.json()["error"]) == (422, "policy.cedar:3: no such action")
    assert served.reloads == [f"{ISSUER}|adam"] * 2


async def test_a_gateway_that_cannot_serve_says_why(served: Served) -> None:
    """503 from /readyz for what stands before it; /healthz says only that the process answers."""
    assert ((await ask(served, "/readyz")).status_code, (await ask(served, "/healthz")).text) == (200, "ok")
    served.why = "the store: disk I/O error"
    answer = await ask(served, "/readyz")
    assert (answer.status_code, answer.text) == (503, "the store: disk I/O error")
    assert (await ask(served, "/healthz")).status_code == 200


async def test_what_goes_wrong_inside_stays_inside(served: Served) -> None:
    """An issuer that is down is 503 with a hint; a mistake of ours is 500 with its kind, and not what it says."""
    answer = await ask(served, "/api/whoami", who="dead")
    assert (answer.status_code, answer.json()["hint"]) == (503, "look at the issuer")
    served.fails = ValueError("quotes 457-55-5462")
    answer = await ask(served, "/metrics")
    assert (answer.status_code, "ValueError" in answer.text, "457" in answer.text) == (500, True, False)


@pytest.mark.parametrize(
    "path",
    ["/x", "/api", "/schema", "/api/../metrics/x", "/api/approvals/%2e%2e/%2e%2e", "/api/sessions/a/b/c", "//api/whoami"],
)
async def test_there_is_nothing_else(served: Served, path: str) -> None:
    """No documentation pages of the framework's, no file, and no way around by spelling."""
    assert (await ask(served, path, who="adam")).status_code in (404, 405)


@pytest.mark.parametrize("query", ["limit=0", "limit=-5", "limit=100000", "since=-1"])
async def test_limits_are_bounded_whatever_is_asked(served: Served, query: str) -> None:
    """Numbers out of range are taken as the nearest that is in it."""
    await (await served.session()).close("done")
    await served.events()
    answer = await ask(served, f"/api/sessions?{query}", who="ada")
    assert (answer.status_code, len(answer.json())) == (200, 1)


@pytest.mark.parametrize("path", ["/api/sessions?limit=x", "/api/approvals?state=odd", "/api/sessions?since=soon"])
async def test_a_query_that_cannot_be_is_the_callers_fault(served: Served, path: str) -> None:
    """400 in the API's own form."""
    answer = await ask(served, path, who="ada")
    assert answer.status_code == 400
    assert set(answer.json()) == {"error", "hint"}


REPORT = {"proof": "p1", "target": "shop", "channels": [{"pass": True}, {"pass": False}], "leaks": 1}


async def test_a_proof_begins_plants_and_ends_on_record(served: Served) -> None:
    """Who administers the target begins, plants and ends; the report is an event, whole, with the digest of its canonical form,
    and is there before what was planted is taken away."""
    answer = await ask(served, "/api/targets/shop/proofs", {"identity": "https://idp.test|bot"}, who="adam")
    assert (answer.status_code, answer.json()["port"], answer.json()["tls"]) == (200, 7432, True)
    assert (await ask(served, "/api/targets/shop/proofs/p1/plant", {}, who="adam")).status_code == 200
    answer = await ask(served, "/api/targets/shop/proofs/p1", {"report": REPORT}, who="adam")
    [event] = [event for event in await served.events() if event.type == "masking.proved"]
    assert answer.json() == {"proof": "p1", "digest": hashlib.sha256(canonical(REPORT)).hexdigest()}
    assert (event.body["digest"], event.body["report"]) == (answer.json()["digest"], REPORT)
    assert (event.body["channels"], event.body["leaks"], event.actor) == (2, 1, f"{ISSUER}|adam")
    assert served.proofs.did == ["begin https://idp.test|bot", "plant", "end"]


@pytest.mark.parametrize(
    ("path", "body", "status"),
    [
        ("shop/proofs", {}, 400), ("shop/proofs", {"identity": 5}, 400), ("shop/proofs", {"identity": ""}, 400),
        ("shop/proofs", {"identity": "x", "more": 1}, 400), ("nowhere/proofs", {"identity": "x"}, 404),
        ("shop/proofs/p2/plant", {}, 404), ("shop/proofs/p2", {"report": None}, 404), ("ware/proofs/p1", {"report": None}, 404),
        ("shop/proofs/p1", {}, 400), ("shop/proofs/p1", {"report": 5}, 400), ("shop/proofs/p1", {"report": {}}, 400),
        ("shop/proofs/p1", {"report": {**REPORT, "proof": "p2"}}, 400),
        ("shop/proofs/p1", {"report": {**REPORT, "target": "ware"}}, 400),
        ("shop/proofs/p1", {"report": {**REPORT, "channels": [{}]}}, 400),
        ("shop/proofs/p1", {"report": {**REPORT, "channels": [{"pass": True}] * 501}}, 400),
        ("shop/proofs/p1", {"report": {**REPORT, "number": 1.5}}, 400),
        ("shop/proofs/p1", {"report": {**REPORT, "more": "x" * 50_000}}, 400),
    ],
)  # fmt: skip
async def test_what_is_no_proof_does_nothing(served: Served, path: str, body: Any, status: int) -> None:
    """A body or a place that does not fit is an error; nothing is planted, taken away or recorded."""
    answer = await ask(served, f"/api/targets/{path}", body, who="adam")
    assert (answer.status_code, served.proofs.did) == (status, [])
    assert answer.json()["error"]
    assert not [event for event in await served.events() if event.type.startswith("masking.")]


@pytest.mark.parametrize(
    ("body", "status"),
    [
        ({}, 200), ({"rows": 5000, "schemas": ["public"], "after": 4294967295}, 200), ({"rows": 0}, 400), ({"rows": 5001}, 400),
        ({"rows": True}, 400), ({"rows": "5"}, 400), ({"schemas": "public"}, 400), ({"schemas": [1]}, 400),
        ({"after": -1}, 400), ({"after": 1 << 32}, 400), ({"more": 1}, 400),
    ],
)  # fmt: skip
async def test_sampling_takes_what_makes_sense(served: Served, body: dict[str, Any], status: int) -> None:
    """Rows, schemas and a place to go on from, bounded; one at a time."""
    answer = await ask(served, "/api/targets/shop/samples", body, who="adam")
    assert answer.status_code == status
    if status == 200:
        asked = ["shop", "adam", body.get("rows", 200), body.get("schemas", []), body.get("after", 0)]
        assert answer.json() == {"asked": asked}
        served.samples.busy = True
        assert (await ask(served, "/api/targets/shop/samples", body, who="adam")).status_code == 409


@pytest.mark.parametrize(
    ("method", "path"), [(m, p) for m, p in ROUTES if p.startswith("/api/keys")], ids=str
)
async def test_a_token_for_some_targets_makes_nobody_an_approver(served: Served, method: str, path: str) -> None:
    """TK-08: what was exchanged for one target registers, shows and revokes no key."""
    PEOPLE["narrow"] = replace(PEOPLE["dora"], audience=("shop",))
    try:
        answer = await ask(served, path, {} if method == "POST" else None, who="narrow", method=method)
    finally:
        del PEOPLE["narrow"]
    assert (answer.status_code, "good for its targets only" in answer.json()["error"]) == (403, True)


@pytest.mark.parametrize(("kind", "value", "status"), [
    ("agent", "nosuch", 422), ("session", "01a20748-05e8-707b-b5cd-49c85c9097bf", 422),
    ("subject", f"{ISSUER}|nobody yet", 201), ("jti", "of a token", 201),
])  # fmt: skip
async def test_what_is_not_there_is_not_revoked(served: Served, kind: str, value: str, status: int) -> None:
    """A slip in an agent's name or a session's id is an error; whoever was never here may be kept out all the same."""
    answer = await ask(served, "/api/revocations", {"kind": kind, "value": value}, who="adam")
    assert answer.status_code == status, answer.text


ACCOUNT = {"pid": 7, "started": 1000, "role": "app"}


@pytest.mark.parametrize(
    ("body", "status"),
    [
        ({}, 200), ({"connections": []}, 200), ({"connections": [ACCOUNT] * 500, "about": "a.csv", "unread": 3}, 200),
        ({"connections": [ACCOUNT] * 501}, 400), ({"connections": ACCOUNT}, 400), ({"connections": [{"pid": "7"}]}, 400),
        ({"connections": [{**ACCOUNT, "pid": -1}]}, 400), ({"connections": [{**ACCOUNT, "role": "x" * 257}]}, 400),
        ({"connections": [{**ACCOUNT, "applications": ["x"] * 21}]}, 400), ({"about": "a.csv"}, 400),
        ({"connections": [], "unread": -1}, 400), ({"connections": [], "about": 1}, 400), ({"connections": [], "more": 1}, 400),
    ],
)  # fmt: skip
async def test_an_account_is_compared_if_it_is_one(served: Served, body: dict[str, Any], status: int) -> None:
    """Nothing asks the target; connections, bounded, are compared as somebody's log has them."""
    answer = await ask(served, "/api/targets/shop/reconciliations", body, who="adam")
    assert answer.status_code == status
    if status == 200:
        pids = [each["pid"] for each in body.get("connections", [])]
        log = ["shop", pids, "log", body.get("about", ""), body.get("unread", 0), PEOPLE["adam"].id]
        assert answer.json() == {"asked": log if body else ["shop", PEOPLE["adam"].id]}


async def test_one_person_waits_for_so_many_answers_and_no_more(served: Served) -> None:
    """Each holds a connection; who waits for less, or somebody else, still may, and a place that is free again is had."""
    async with asyncio.TaskGroup() as group:
        approval, task = await served.held(group)
        wait = f"/api/approvals/{approval.id}/wait?seconds=0"
        with ExitStack() as stack:
            for _ in range(MOST_WAITING):
                stack.enter_context(served.approvals.waiting(PEOPLE["dora"].id))
            assert (await ask(served, wait, who="dora")).status_code == 429
            assert (await ask(served, wait, who="ada")).status_code == 200
        assert (await ask(served, wait, who="dora")).status_code == 200
        assert not served.approvals._waiters
        task.cancel()


async def test_a_call_that_somebody_may_not_make_is_on_record(served: Served) -> None:
    """Who, and which route, and not what they asked for; counted when they go on; what they may do is no such event."""
    for _ in range(3):
        assert (await ask(served, "/api/policy/reload", {}, who="eve", method="POST")).status_code == 403
    assert (await ask(served, "/api/sessions/guess-hush", who="eve")).status_code == 404
    assert (await ask(served, "/api/whoami", who="eve")).status_code == 200
    assert (await ask(served, "/api/nothing", who="eve")).status_code == 404
    served.refusals.flush()
    found = [event.body for event in await served.events() if event.type == "authorization.refused"]
    reload = {"status": "403", "identity": f"{ISSUER}|eve", "method": "POST", "route": "/api/policy/reload"}
    asked = {"status": "404", "identity": f"{ISSUER}|eve", "method": "GET", "route": "/api/sessions/{session_id}"}
    assert found == [{**reload, "count": 1}, {**asked, "count": 1}, {**reload, "count": 2}]
