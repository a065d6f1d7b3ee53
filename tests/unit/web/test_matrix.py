"""Every route x who asks x what they show: made from the route table, so that a route without a line here fails.

`TABLE` says for each route what each role gets that shows a sound credential, `expected` what becomes of it where the
credential is not sound. The application is the real one, over a real guard on a memory disk; one request waits and one session
is open, and neither is touched by who may not.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import time
from collections.abc import AsyncIterator, Iterator
from typing import Any

import httpx2
import pytest

from doorward.adapters.identity import dpop
from doorward.guard.ports import NOTHING, Shown
from doorward.model import Identity, Kind
from doorward.web.api import application
from doorward.web.browser import Browsers
from tests.rig.issuer import ec_key
from tests.rig.signers import ssh
from tests.suites.lives import CLOCK
from tests.unit.web.test_api import ISSUER, PEOPLE, Served
from tests.unit.web.test_pages import Grant, Idp

HERE = "https://gateway.test"

# Who asks. The request that waits was made by `bot`, an agent that acts for ada.
AGENT = Identity("bot", Kind.AGENT, ISSUER, on_behalf_of=PEOPLE["ada"])
ROLES: dict[str, Identity | None] = {
    "nobody": None, "agent": AGENT, "stranger": PEOPLE["eve"], "requester": PEOPLE["ada"], "approver": PEOPLE["dora"],
    "auditor": PEOPLE["audi"], "administrator": PEOPLE["adam"],
}  # fmt: skip
CREDENTIALS = ("none", "bearer", "bound", "bound without proof", "cookie", "cookie without token", "foreign origin")
KEY = ec_key()

OK, FORM, NO, GONE, LEAVE = 200, 400, 403, 404, 303
EVERYBODY = dict.fromkeys(ROLES, OK)
ANYONE = {"nobody": 401, **dict.fromkeys(list(ROLES)[1:], OK)}  # whoever is somebody


def only(status: int, *roles: str, others: int = GONE) -> dict[str, int]:
    """These get `status`, everybody else does not learn whether there is such a thing."""
    return {role: 401 if role == "nobody" else status if role in roles else others for role in ROLES}


SEES_REQUEST = ("agent", "requester", "approver", "administrator")
SEES_SESSION = ("agent", "auditor", "administrator")
PUBLIC = {
    ("GET", "/healthz"), ("GET", "/readyz"), ("GET", "/metrics"), ("GET", "/sign-in"), ("GET", "/sign-in/begin"),
    ("GET", "/sign-in/callback"), ("GET", "/signed-out"), ("GET", "/static/{name:str}"), ("POST", "/sign-out"),
    ("GET", "/.well-known/oauth-authorization-server"), ("GET", "/oauth/jwks"), ("POST", "/oauth/token"),
    ("POST", "/oauth/backchannel-logout"),
}  # fmt: skip
TABLE: dict[tuple[str, str], dict[str, int]] = {
    ("GET", "/healthz"): EVERYBODY,
    ("GET", "/readyz"): EVERYBODY,
    ("GET", "/metrics"): EVERYBODY,
    ("GET", "/sign-in"): EVERYBODY,
    ("GET", "/sign-in/begin"): dict.fromkeys(ROLES, LEAVE),
    ("GET", "/sign-in/callback"): dict.fromkeys(ROLES, FORM),  # nothing was begun
    ("GET", "/signed-out"): EVERYBODY,
    ("GET", "/static/{name:str}"): dict.fromkeys(ROLES, GONE),
    ("GET", "/.well-known/oauth-authorization-server"): EVERYBODY,
    ("GET", "/oauth/jwks"): EVERYBODY,
    ("POST", "/oauth/token"): dict.fromkeys(ROLES, FORM),  # what is presented there is in the form, and nothing is
    ("POST", "/oauth/backchannel-logout"): dict.fromkeys(ROLES, FORM),
    ("GET", "/api/agents"): ANYONE,
    ("POST", "/api/agents"): only(FORM, "administrator", others=NO),
    ("GET", "/api/agents/{name:str}"): only(GONE),
    ("POST", "/api/agents/{name:str}/disable"): only(GONE),
    ("POST", "/api/agents/{name:str}/enable"): only(GONE, "administrator", others=NO),
    ("POST", "/api/agents/{name:str}/transfer"): only(FORM, "administrator", others=NO),
    ("GET", "/api/revocations"): only(OK, "administrator", others=NO),
    ("POST", "/api/revocations"): only(FORM, "administrator", others=NO),
    ("DELETE", "/api/revocations/{revocation_id:str}"): only(GONE, "administrator", others=NO),
    ("GET", "/api/retention"): only(OK, "administrator", others=NO),
    ("POST", "/api/retention/run"): only(OK, "administrator", others=NO),
    ("GET", "/api/holds"): only(OK, "administrator", others=NO),
    ("POST", "/api/holds"): only(FORM, "administrator", others=NO),
    ("POST", "/api/holds/{case:str}/release"): only(GONE, "administrator", others=NO),
    ("GET", "/api/notifications"): only(OK, "administrator", others=NO),
    ("GET", "/api/access"): only(OK, "administrator", others=NO),
    ("GET", "/api/access-reviews"): only(OK, "administrator", others=NO),
    ("GET", "/api/access-reviews/{review:str}"): only(GONE, "administrator", others=NO),
    ("POST", "/api/access-reviews"): only(OK, "administrator", others=NO),
    ("POST", "/api/access-reviews/{review:str}/decisions"): only(GONE, "administrator", others=NO),
    ("POST", "/api/access-reviews/{review:str}/close"): only(GONE, "administrator", others=NO),
    ("GET", "/api/exports"): only(OK, "administrator", others=NO),
    ("POST", "/api/notifications/{name:str}/test"): only(GONE, "administrator", others=NO),
    ("GET", "/api/log"): only(OK, "administrator", others=NO),
    ("POST", "/api/log/rotate-key"): only(OK, "administrator", others=NO),
    ("POST", "/api/log/stamp"): only(GONE, "administrator", others=NO),
    ("GET", "/api/whoami"): ANYONE,
    ("GET", "/api/approvals"): ANYONE,
    ("POST", "/api/approvals"): only(FORM, others=FORM),  # whoever asks rightly is asked for what, where and why
    ("GET", "/api/approvals/{approval_id:str}"): only(OK, *SEES_REQUEST),
    ("GET", "/api/approvals/{approval_id:str}/wait"): only(OK, *SEES_REQUEST),
    ("GET", "/api/approvals/events"): ANYONE,
    ("GET", "/api/approvals/{approval_id:str}/events"): only(OK, *SEES_REQUEST),
    ("POST", "/api/approvals/{approval_id:str}/votes"): only(NO, *SEES_REQUEST),  # it is not signed
    ("POST", "/api/approvals/{approval_id:str}/ballot"): only(NO, "agent", "requester", "administrator") | {"approver": OK},
    ("POST", "/api/approvals/{approval_id:str}/withdraw"): only(OK, "agent", "requester", "administrator") | {"approver": NO},
    ("POST", "/api/approvals/{approval_id:str}/review"): only(FORM, *SEES_REQUEST),
    ("GET", "/api/reviews"): ANYONE,
    ("GET", "/api/keys"): ANYONE,
    ("POST", "/api/keys/ssh/options"): only(NO, "agent", others=FORM),
    ("POST", "/api/keys/ssh"): only(FORM, others=FORM),
    ("POST", "/api/keys/webauthn/options"): only(NO, "agent", others=OK),
    ("POST", "/api/keys/webauthn"): only(FORM, others=FORM),
    ("DELETE", "/api/keys/{key:str}"): only(GONE),
    ("GET", "/api/sessions"): ANYONE,
    ("GET", "/api/sessions/search"): only(FORM, others=FORM),  # whoever asks rightly says at least one word
    ("POST", "/api/sessions/search/rebuild"): only(OK, "administrator", others=NO),
    ("GET", "/api/sessions/{session_id:str}"): only(OK, *SEES_SESSION),
    ("GET", "/api/sessions/{session_id:str}/records"): only(OK, "auditor") | {"agent": NO, "administrator": NO},
    ("GET", "/api/sessions/{session_id:str}/statements"): only(OK, "auditor") | {"agent": NO, "administrator": NO},
    ("POST", "/api/sessions/{session_id:str}/end"): only(OK, "administrator"),
    ("POST", "/api/policy/reload"): only(OK, "administrator", others=NO),
    ("GET", "/api/targets"): ANYONE,
    ("GET", "/api/targets/{target:str}/labels/copied"): only(GONE, "administrator"),
    ("POST", "/api/targets/{target:str}/labels/lift"): only(FORM, "administrator"),
    ("POST", "/api/targets/{target:str}/samples"): only(OK, "administrator"),
    ("POST", "/api/targets/{target:str}/reconciliations"): only(OK, "administrator"),
    ("POST", "/api/targets/{target:str}/proofs"): only(FORM, "administrator"),
    ("POST", "/api/targets/{target:str}/proofs/{proof:str}"): only(FORM, "administrator"),
    ("POST", "/api/targets/{target:str}/proofs/{proof:str}/plant"): only(GONE, "administrator"),
    ("POST", "/api/targets/{target:str}/reveals"): only(FORM, others=FORM),  # whoever asks rightly is asked for a reason
    ("GET", "/api/targets/{target:str}/tokens"): only(OK, "administrator"),
    ("POST", "/api/targets/{target:str}/tokens/forget"): only(FORM, "administrator"),
    ("GET", "/"): ANYONE,
    ("GET", "/approvals/{approval_id:str}"): only(OK, *SEES_REQUEST),
    ("GET", "/sessions"): ANYONE,
    ("GET", "/sessions/{session_id:str}"): only(OK, *SEES_SESSION),
    ("GET", "/sessions/{session_id:str}/statements"): only(OK, "auditor") | {"agent": NO, "administrator": NO},
    ("GET", "/me"): ANYONE,
    ("GET", "/keys"): ANYONE,
    ("GET", "/agents"): ANYONE,
    ("POST", "/sign-out"): dict.fromkeys(ROLES, LEAVE),
}


BODIES: dict[str, Any] = {
    "/api/approvals/{approval_id:str}/votes": {"approve": True},
    "/api/approvals/{approval_id:str}/ballot": {"approve": True},
    "/api/keys/ssh/options": {"public_key": ssh("ada").public.line[:-1]},
}


def table() -> Iterator[tuple[str, str]]:
    """Every route of the application and each of its methods."""
    for route in application(Served()).routes:
        for method in sorted(getattr(route, "methods", ())):
            if method != "OPTIONS":
                yield method, route.path_format if "{" not in route.path else route.path


ROUTES = sorted(table())


def test_every_route_has_its_line() -> None:
    """And every line its route."""
    assert set(TABLE) == set(ROUTES)
    assert all(set(line) == set(ROLES) for line in TABLE.values())


def expected(method: str, path: str, role: str, credential: str) -> int:
    """Of a sound credential, what the table says. Of none: 401, or the way to sign in where people look. Of a cookie that
    another site may have sent: 403 where something would change or the API is asked, and a page where a link may lead."""
    line = TABLE[method, path][role]
    if path == "/sign-out":  # a token, or nothing, has nothing to sign out of
        return NO if role != "nobody" and credential in ("cookie without token", "foreign origin") else LEAVE
    if (method, path) in PUBLIC:
        return line
    if role == "nobody" or credential in ("none", "bound without proof"):
        return 401 if path.startswith("/api/") else LEAVE
    if credential == "foreign origin" and (method != "GET" or path.startswith("/api/")):
        return NO
    if credential == "cookie without token" and method != "GET":
        return NO
    return line


class Held(Served):
    """A gateway at which a request of `bot` waits and a session of it is open. Tokens are names of roles."""

    def __init__(self) -> None:
        super().__init__()
        self.url, self.sign_ins = HERE, [Idp()]
        self.browsers = Browsers(CLOCK, lasts=1 << 30, idle=1 << 30, secure=True)

    async def authenticate(self, token: str, shown: Shown = NOTHING) -> Identity:
        found = ROLES.get(token)
        return found if found is not None else await super().authenticate(token, shown)


@contextlib.asynccontextmanager
async def door() -> AsyncIterator[tuple[Held, dict[str, str], httpx2.AsyncClient]]:
    """Such a gateway, the names of what is at it, and a client of its application."""
    served = Held()
    PEOPLE["bot"] = AGENT
    await served.recorder.start()
    try:
        async with asyncio.TaskGroup() as group:
            approval, task = await served.held(group, "bot")
            await served.events()
            names = {
                "approval_id": approval.id, "session_id": next(iter(served.guard.sessions)), "target": "shop", "proof": "p2",
                "name": "x", "case": "x", "key": "x", "revocation_id": "x", "review": "x",
            }  # fmt: skip
            transport = httpx2.ASGITransport(app=application(served))  # type: ignore[arg-type]
            async with httpx2.AsyncClient(transport=transport, base_url=HERE) as client:
                yield served, names, client
            task.cancel()
    finally:
        del PEOPLE["bot"]
        await served.recorder.stop()


@pytest.mark.parametrize(("method", "path"), ROUTES)
async def test_each_role_gets_what_the_table_says(method: str, path: str) -> None:
    """By bearer token, by bound token with its proof and by cookie alike; by none of them, by a bound token without proof, and
    by a cookie that another site sent, nothing that it guards."""
    found, wanted = {}, {}
    asked = [
        (role, credential) for role in ROLES for credential in CREDENTIALS
        if "bound" not in credential or role in ("agent", "administrator")  # what a role may do, bearer tokens show
    ]  # fmt: skip
    while asked:
        async with door() as (served, names, client):  # anew where the one before was changed
            while asked:
                role, credential = asked.pop(0)
                status = await ask(served, names, client, method, path, role, credential)
                found[role, credential], wanted[role, credential] = status, expected(method, path, role, credential)
                if method != "GET" and status in (OK, LEAVE):
                    break
                assert served.reloads == []
                assert [a.state.value for a in await served.approvals.list()] == ["waiting"]
                assert names["session_id"] in served.guard.sessions
    assert found == wanted


async def ask(
    served: Held, names: dict[str, str], client: httpx2.AsyncClient, method: str, path: str, role: str, credential: str
) -> int:
    """The status that somebody gets who shows this."""
    who = ROLES[role]
    place = "/".join(names[part[1:].partition(":")[0]] if part.startswith("{") else part for part in path.split("/"))
    headers = {"content-type": "application/json"}
    csrf = ""
    if who is not None and credential == "bearer":
        headers["authorization"] = f"Bearer {role}"
    elif who is not None and credential == "bound":
        headers["authorization"] = f"DPoP bound-{role}"
        headers["dpop"] = dpop.make(
            KEY, method, f"{HERE}{place}", issued=int(time.time()), token=f"bound-{role}", nonce=served.dpop.nonce()
        )
    elif who is not None and credential == "bound without proof":
        headers["authorization"] = f"Bearer bound-{role}"
    elif who is not None and credential != "none":
        name = served.browsers.begin(served.sign_ins[0], Grant(who))
        session = served.browsers.find(name)
        assert session is not None
        headers |= {"cookie": f"__Host-doorward={name}", "origin": HERE, "sec-fetch-site": "same-origin"}
        csrf = headers["x-doorward-csrf"] = session.csrf
        if credential == "cookie without token":
            del headers["x-doorward-csrf"]
            csrf = ""
        if credential == "foreign origin":
            headers |= {"origin": "https://evil.test", "sec-fetch-site": "cross-site"}
    content: str | None = None
    if path == "/sign-out":
        headers["content-type"] = "application/x-www-form-urlencoded"
        content = f"csrf={csrf}"
    elif method != "GET":
        content = json.dumps(BODIES.get(path, {}))
    if path.endswith(("/wait", "/events")):
        place += "?seconds=0"
    return (await client.request(method, place, headers=headers, content=content)).status_code
