"""The exchange, the agents and their owners, and what takes standing away: real tokens, a real store, no sockets."""

from __future__ import annotations

import asyncio
from itertools import count
from typing import Any

import pytest

from doorward.adapters.identity.oidc import KindRule
from doorward.errors import AuthenticationError
from doorward.guard.admission import Admission
from doorward.guard.exchange import Issued
from doorward.model import ApprovalState, Effect, Identity, Kind, Operation, Outcome
from doorward.policy.decide import decide, may
from doorward.policy.policies import load
from tests.rig.identities import ADAM, OWN, SHOP, WARE, Identities
from tests.rig.issuer import LocalIssuer
from tests.unit.adapters.identity.test_workloads import GITHUB, fresh

JOB = {"repository_id": "74", "repository_owner_id": "65"}


@pytest.fixture
def world(identities: Identities) -> Identities:
    return identities


MINTED = count()


def person(issuer: LocalIssuer, **claims: Any) -> str:
    return issuer.mint(**{"sub": "ann", "jti": f"p{next(MINTED)}", **claims})


def job(issuer: LocalIssuer, **claims: Any) -> str:
    return issuer.mint({"typ": "JWT"}, **{**fresh(GITHUB), "jti": f"w{next(MINTED)}", **claims})


async def refused(exchange: Any) -> AuthenticationError:
    with pytest.raises(AuthenticationError) as caught:
        await exchange
    return caught.value


async def whom(world: Identities, issued: Issued) -> Identity:
    return await world.standing.authenticate(issued.token)


# -- the exchange ----------------------------------------------------------------------------------------------------


async def test_a_person_stays_who_they_are(world: Identities, people: LocalIssuer) -> None:
    """Under the id, groups and kind that their issuer gives them, for ten minutes at most; and it is on record."""
    issued = await world.exchange.exchange(person(people, groups=["dba"]))
    found = await whom(world, issued)
    assert (found.id, found.kind, found.groups) == (f"{people.url}|ann", Kind.HUMAN, frozenset({"dba"}))
    assert found.on_behalf_of is None
    assert 590 <= issued.expires_in <= 600
    (event,) = await world.events("token.exchanged")
    assert event.body["identity"]["subject"] == "ann"
    assert event.body["token"] == found.token_id
    assert event.actor == found.id


async def test_a_token_is_exchanged_once(world: Identities, people: LocalIssuer) -> None:
    """Also by twenty at once; also the gateway token that came of it; and not after another process has done it."""
    token = person(people)
    found = await asyncio.gather(*(world.exchange.exchange(token) for _ in range(20)), return_exceptions=True)
    (issued,) = (each for each in found if isinstance(each, Issued))
    assert {each.code for each in found if isinstance(each, AuthenticationError)} == {"replayed"}
    again = await world.exchange.exchange(issued.token)
    assert (await refused(world.exchange.exchange(issued.token))).code == "replayed"
    assert again.expires_in <= issued.expires_in
    other = Identities(people.settings(), disk=world.disk)
    assert (await refused(other.exchange.exchange(token))).code == "replayed"


@pytest.mark.parametrize(
    ("claims", "code"),
    [
        ({"jti": None}, "no_jti"),
        ({"jti": ""}, "no_jti"),
        ({"jti": 7}, "no_jti"),
        ({"exp_in": 3701}, "too_long"),
        ({"exp_in": 86400}, "too_long"),
        ({"aud": "elsewhere"}, "audience"),
        ({"iss": "https://eve.test"}, "issuer"),
        ({"exp_in": -60}, "expired"),
        ({"exp_in": 3}, "expired"),
        ({"cnf": {"jkt": "x"}}, "bound"),
        ({"act": {"sub": "robot"}}, "unregistered"),
        ({"sub": "", "client_id": "c"}, "claims"),
    ],
)
async def test_what_is_not_exchanged(
    world: Identities, people: LocalIssuer, claims: dict[str, Any], code: str
) -> None:
    """Each for its own reason, and nothing is spent by it."""
    import time

    now = int(time.time())
    if "exp_in" in claims:
        lasts = claims.pop("exp_in")
        claims = {**claims, "iat": now if lasts > 0 else now + lasts - 10, "exp": now + lasts}
    token = people.mint({"typ": "JWT"}, **{"jti": f"x{code}", **claims})
    error = await refused(world.exchange.exchange(token))
    assert error.code == code
    assert await world.events("token.exchanged") == []


@pytest.mark.parametrize("token", ["", "hunter2", "sk_live_51H8xJ", "a.b.c", "eyJhbGciOiJub25lIn0.e30."])
async def test_a_static_key_is_no_token(world: Identities, token: str) -> None:
    """Nor is one that nobody signed."""
    assert (await refused(world.exchange.exchange(token))).code in {"missing", "static", "malformed", "algorithm"}


async def test_a_token_is_narrowed_and_never_widened(world: Identities, people: LocalIssuer) -> None:
    """To the targets asked for, by name or resource; then it is good for nothing else, whatever policy says."""
    issued = await world.exchange.exchange(person(people, groups=["admins"]), audience=["shop"])
    found = await whom(world, issued)
    assert found.audience == issued.audience == ("shop",)
    everything = load({"p": '@id("a") permit (principal, action, resource);'})
    read = Operation("o", "s", "SELECT", Effect.READ, "x")
    assert may(everything, found, "connect", SHOP).outcome is Outcome.ALLOW
    assert decide(everything, found, SHOP, read).outcome is Outcome.ALLOW
    assert may(everything, found, "connect", WARE).outcome is Outcome.DENY
    assert decide(everything, found, WARE, read).outcome is Outcome.DENY
    assert may(everything, found, "administer", None).outcome is Outcome.DENY
    both = await world.exchange.exchange(person(people, groups=["admins"]), audience=[f"{OWN}/targets/ware", "shop", OWN])
    assert (await whom(world, both)).audience == ("ware", "shop")
    assert (await refused(world.exchange.exchange(issued.token, audience=["ware"]))).code == "target"
    assert (await refused(world.exchange.exchange(person(people, groups=["admins"]), audience=["nowhere"]))).code == "target"
    assert (await whom(world, await world.exchange.exchange(issued.token))).audience == ("shop",)


# -- agents and delegation -------------------------------------------------------------------------------------------


async def test_a_registered_workload_is_its_agent(world: Identities, jobs: LocalIssuer, people: LocalIssuer) -> None:
    """By the ids of its registration, with the groups that it gives, attested; another repository is a service."""
    owner = await world.owner(people.url)
    await world.agent(jobs.url, owner=owner, **JOB)
    found = await whom(world, await world.exchange.exchange(job(jobs)))
    assert (found.id, found.kind, found.groups) == (f"{OWN}|bot", Kind.AGENT, frozenset({"agents"}))
    assert found.claims["workload_subject"] == "repository:65/74"
    assert (world.standing.owner_of(found.id), world.standing.owner_of(owner)) == (owner, "")  # who may not vote for it
    assert found.claims["run_id"] == "4242"
    other = await whom(world, await world.exchange.exchange(job(jobs, repository_id="75")))
    assert (other.kind, other.subject) == (Kind.SERVICE, "repository:65/75")
    renamed = await whom(world, await world.exchange.exchange(job(jobs, sub="repo:new/name:x", repository="new/name")))
    assert renamed.id == found.id
    direct = await world.standing.authenticate(job(jobs))  # at a listener, without an exchange, it is the same
    assert direct.id == found.id


async def test_an_agent_acts_for_a_person_and_keeps_both(
    world: Identities, jobs: LocalIssuer, people: LocalIssuer
) -> None:
    """The agent is who acts, the person for whom; a second agent adds itself; each token is good once as a subject."""
    owner = await world.owner(people.url)
    await world.agent(jobs.url, owner=owner, **JOB)
    await world.agent(jobs.url, "helper", owner=owner, repository_id="75", repository_owner_id="65")
    bot = await world.exchange.exchange(job(jobs))
    for _ in range(2):  # an agent's own gateway token says who acts as often as it likes
        issued = await world.exchange.exchange(person(people, groups=["dba"]), bot.token)
    found = await whom(world, issued)
    assert [link.id for link in found.chain()] == [f"{OWN}|bot", f"{people.url}|ann"]
    assert [sorted(link.groups) for link in found.chain()] == [["agents"], ["dba"]]
    deeper = await whom(world, await world.exchange.exchange(issued.token, job(jobs, repository_id="75")))
    assert [link.subject for link in deeper.chain()] == ["helper", "bot", "ann"]
    assert (await refused(world.exchange.exchange(issued.token, job(jobs, repository_id="75")))).code == "replayed"


async def test_rights_are_those_that_all_of_a_chain_have(world: Identities) -> None:
    """Each link is asked; what one may not do, nobody in front of it may do for them."""
    policies = load({"p": """
        @id("a") permit (principal in Group::"agents", action in [Action::"read", Action::"write"], resource);
        @id("p") permit (principal in Group::"people", action == Action::"read", resource);
    """})
    ann = Identity("ann", Kind.HUMAN, "i", frozenset({"people"}))
    eve = Identity("eve", Kind.HUMAN, "i")
    for chain, expected in (
        ((("bot", "agents"),), (True, True)), ((("bot", "agents"), ann), (True, False)),
        ((("bot", "agents"), eve), (False, False)), ((("bot", ""), ann), (False, False)),
        ((("top", "agents"), ("mid", "agents"), ann), (True, False)), ((("top", "agents"), ("mid", ""), ann), (False, False)),
    ):  # fmt: skip
        found: Identity | None = None
        for link in reversed(chain):
            if isinstance(link, Identity):
                found = link
            else:
                found = Identity(link[0], Kind.AGENT, OWN, frozenset({link[1]} - {""}), on_behalf_of=found)
        assert found is not None
        allowed = [
            decide(policies, found, SHOP, Operation("o", "s", "X", effect, "x")).outcome is Outcome.ALLOW
            for effect in (Effect.READ, Effect.WRITE)
        ]
        assert tuple(allowed) == expected, chain


async def test_who_may_not_act(world: Identities, jobs: LocalIssuer, people: LocalIssuer) -> None:
    """A person, a service, an agent that acts for somebody already, the same agent twice, or another than `may_act` names."""
    owner = await world.owner(people.url)
    await world.agent(jobs.url, owner=owner, **JOB)
    bot = (await world.exchange.exchange(job(jobs))).token
    for actor, code in ((person(people, sub="eve"), "unregistered"), (job(jobs, repository_id="9"), "unregistered")):
        assert (await refused(world.exchange.exchange(person(people), actor))).code == code
    acting = (await world.exchange.exchange(person(people), bot)).token
    assert (await refused(world.exchange.exchange(person(people), acting))).code == "actor"
    assert (await refused(world.exchange.exchange(acting, bot))).code == "actor"
    for may_act, allowed in (
        ({"sub": "someone"}, False), ({"sub": f"{OWN}|bot"}, True), ("bot", False), ({}, False),
        ({"sub": f"{OWN}|bot", "iss": "https://eve.test"}, False),
    ):  # fmt: skip
        exchange = world.exchange.exchange(person(people, may_act=may_act), bot)
        if allowed:
            await exchange
        else:
            assert (await refused(exchange)).code == "actor"


async def test_an_agent_is_nobody_else(world: Identities, people: LocalIssuer) -> None:
    """A person's token that was given to an agent's client is good only together with the agent's own: at the exchange and at
    every listener. The client's own token is the agent."""
    await world.agent(people.url, client_id="agent-app")
    held = person(people, client_id="agent-app")
    for attempt in (world.exchange.exchange(held), world.standing.authenticate(held)):
        assert (await refused(attempt)).code == "impersonation"
    own = person(people, sub="agent-app", client_id="agent-app")
    assert (await world.standing.authenticate(own)).id == f"{OWN}|bot"
    found = await whom(world, await world.exchange.exchange(held, own))
    assert [link.subject for link in found.chain()] == ["bot", "ann"]


async def test_an_agent_needs_a_living_owner(world: Identities, jobs: LocalIssuer, people: LocalIssuer) -> None:
    """Known, a person, not revoked, seen within ninety days; without, it is let in nowhere, and its sessions end."""
    for owner, said in (
        (f"{people.url}|nobody", "nobody of that name"), (await world.owner(people.url, "cron", Kind.SERVICE), "not a person"),
    ):  # fmt: skip
        with pytest.raises(ValueError, match=said):
            await world.agent(jobs.url, owner=owner, **JOB)
    owner = await world.owner(people.url)
    await world.agent(jobs.url, owner=owner, **JOB)
    session = await world.session(await world.standing.authenticate(job(jobs)))
    world.clock.ahead = 91 * 86_400_000
    assert "not seen for 90 days" in world.standing.owner_gone(owner)
    world.standing.sweep()
    assert "no owner who answers" in session.ended
    await world.owner(people.url)  # they come back
    assert world.standing.owner_gone(owner) == ""
    await world.revocations.revoke("subject", owner, actor=ADAM.id)
    world.clock.ahead = 0
    assert (await refused(world.standing.authenticate(job(jobs)))).code == "owner"
    other = await world.owner(people.url, "otto")
    await world.agents.transfer(ADAM, "bot", other)
    await world.standing.authenticate(job(jobs))
    assert [e.type for e in await world.events() if e.type.startswith("agent.")] == [
        "agent.registered", "agent.owner_changed",
    ]  # fmt: skip


async def test_a_disabled_agent_is_let_in_nowhere(world: Identities, jobs: LocalIssuer, people: LocalIssuer) -> None:
    """At once, with the gateway tokens that it has; its sessions end; and again when it is enabled."""
    owner = await world.owner(people.url)
    await world.agent(jobs.url, owner=owner, **JOB)
    issued = await world.exchange.exchange(job(jobs))
    session = await world.session(await whom(world, issued))
    await world.agents.enable(ADAM, "bot", enabled=False)
    assert "is disabled" in session.ended
    for attempt in (whom(world, issued), world.exchange.exchange(job(jobs)), world.exchange.exchange(issued.token)):
        assert (await refused(attempt)).code == "disabled"
    await world.agents.enable(ADAM, "bot", enabled=True)
    await whom(world, issued)
    with pytest.raises(LookupError):
        await world.agents.enable(ADAM, "bat", enabled=False)


@pytest.mark.parametrize(
    ("name", "changes", "said"),
    [
        ("a b", {}, "an agent's name is"),
        ("bot", {"issuer": "https://eve.test"}, "not an issuer that this gateway trusts"),
        ("bot", {"bound": {"repository_id": "74"}}, "repository_owner_id is missing"),
        ("bot", {"bound": {"repository": "octo-org/octo-repo"}}, "repository_id is missing"),
        ("bot", {"bound": {**JOB, "environment": ""}}, "printable texts"),
        ("bot", {"bound": {**JOB, **{f"c{n}": "x" for n in range(20)}}}, "at most 16 claims"),
        ("bot", {"groups": ["a\nb"]}, "printable texts"),
    ],
)
async def test_what_cannot_be_registered(
    world: Identities, jobs: LocalIssuer, people: LocalIssuer, name: str, changes: dict[str, Any], said: str
) -> None:
    """It is bound by ids that nobody can choose, or not at all."""
    owner = await world.owner(people.url)
    asked = {"owner": owner, "issuer": jobs.url, "bound": JOB, "groups": [], **changes}
    with pytest.raises(ValueError, match=said):
        await world.agents.register(ADAM, name, **asked)
    await world.agents.register(ADAM, "first", owner=owner, issuer=jobs.url, bound=JOB)
    for other in (JOB, {**JOB, "environment": "prod"}):
        with pytest.raises(ValueError, match="bound to the same workload"):
            await world.agents.register(ADAM, "second", owner=owner, issuer=jobs.url, bound=other)


@pytest.mark.parametrize("agents", ["registered", "issuer"])
async def test_an_issuers_word_makes_an_agent_where_that_is_configured(people: LocalIssuer, agents: str) -> None:
    """As it did before there was a register: at the listeners, and never at the exchange."""
    world = Identities(people.settings(agents=agents, kind_rules=(KindRule("robot", ("true",), Kind.AGENT),)))
    await world.start()
    try:
        for claims in ({"act": {"sub": "robot"}}, {"robot": True}):
            if agents == "issuer":
                assert (await world.standing.authenticate(person(people, **claims))).kind is Kind.AGENT
            else:
                assert (await refused(world.standing.authenticate(person(people, **claims)))).code == "unregistered"
            assert (await refused(world.exchange.exchange(person(people, **claims)))).code == "unregistered"
    finally:
        await world.stop()


# -- standing --------------------------------------------------------------------------------------------------------


async def test_a_newer_token_takes_groups_away(world: Identities, people: LocalIssuer) -> None:
    """From sessions that are open, which end if they may no longer connect; and older tokens are good for nothing more."""
    import time

    now = int(time.time())
    old = person(people, groups=["dba"], iat=now - 60)
    session = await world.session(await world.standing.authenticate(old))
    other = await world.session(await world.standing.authenticate(person(people, sub="bob", iat=now - 60)))
    await world.standing.authenticate(person(people, groups=["staff"], iat=now - 30))
    assert session.session.identity.groups == {"staff"}
    assert not session.ended
    assert (await refused(world.standing.authenticate(old))).code == "stale"
    await world.standing.authenticate(person(people, groups=["banned"], iat=now))
    assert session.ended.startswith("your groups or claims changed")
    assert not other.ended


async def test_what_a_token_leaves_out_is_no_contradiction(world: Identities, people: LocalIssuer) -> None:
    """An ID token says more of a person than an access token does; another address is one."""
    import time

    now = int(time.time())
    brief = person(people, iat=now - 60)
    await world.standing.authenticate(brief)
    await world.standing.authenticate(person(people, email="a@x", name="Ann", sid="s", acr="2", iat=now - 50))
    await world.standing.authenticate(brief)
    full = person(people, email="a@x", iat=now - 50)
    await world.standing.authenticate(full)
    await world.standing.authenticate(person(people, email="b@x", iat=now))
    assert (await refused(world.standing.authenticate(full))).code == "stale"


@pytest.mark.parametrize("kind", ["subject", "jti", "session", "agent"])
async def test_what_is_revoked_ends_and_stays_out(
    world: Identities, jobs: LocalIssuer, people: LocalIssuer, kind: str
) -> None:
    """A principal with the agents that act for it, a token with what came of it, a session, an agent; nobody else."""
    owner = await world.owner(people.url)
    await world.agent(jobs.url, owner=owner, **JOB)
    token = person(people)
    first = await world.standing.authenticate(token)
    issued = await world.exchange.exchange(token, (await world.exchange.exchange(job(jobs))).token)
    acting = await world.session(await whom(world, issued))
    alone = await world.session(first)
    bystander = await world.session(await world.standing.authenticate(person(people, sub="bob")))
    value, ends, stays = {
        "subject": (first.id, (acting, alone), (bystander,)),
        "jti": (first.token_id, (acting, alone), (bystander,)),
        "session": (acting.session.id, (acting,), (alone, bystander)),
        "agent": ("bot", (acting,), (alone, bystander)),
    }[kind]
    made = await world.revocations.revoke(kind, value, actor=ADAM.id, reason="stolen laptop")
    assert all("revoked: stolen laptop" in each.ended for each in ends)
    assert not any(each.ended for each in stays)
    if kind != "session":
        assert (await refused(whom(world, issued))).code == "revoked"
    if kind in ("subject", "jti"):
        assert (await refused(world.standing.authenticate(token))).code == "revoked"
    assert world.revocations.list()[0].id == made.id
    (event, *_) = await world.events("identity.revoked")
    assert (event.body["kind"], event.body["reason"], event.actor) == (kind, "stolen laptop", ADAM.id)
    for each in world.revocations.list():
        assert await world.revocations.lift(each.id, actor=ADAM.id)
    if kind != "session":
        await whom(world, issued)


async def test_an_owner_who_is_revoked_takes_their_agents_along(
    world: Identities, jobs: LocalIssuer, people: LocalIssuer
) -> None:
    """Also those that act for somebody else just then."""
    owner = await world.owner(people.url)
    await world.agent(jobs.url, owner=owner, **JOB)
    session = await world.session(await whom(world, await world.exchange.exchange(person(people), job(jobs))))
    await world.revocations.revoke("subject", owner, actor=ADAM.id)
    assert session.ended
    assert (await refused(world.exchange.exchange(job(jobs)))).code == "owner"


async def test_another_process_sees_it_within_two_seconds(world: Identities, people: LocalIssuer) -> None:
    """A session there ends by the store alone."""
    from tests.suites.lives import Disk

    disk = Disk()
    disk.store.identities = world.disk.store.identities
    there = Identities(people.settings(), disk=disk)
    await there.start()
    async with asyncio.TaskGroup() as group:
        watching = group.create_task(there.standing.run())
        session = await there.session(await there.standing.authenticate(person(people)))
        ended = asyncio.Event()
        session.on_end = lambda _: ended.set()
        await world.revocations.revoke("subject", f"{people.url}|ann", actor=ADAM.id)
        await asyncio.wait_for(ended.wait(), 2)
        assert (await refused(there.standing.authenticate(person(people)))).code == "revoked"
        watching.cancel()
    await there.stop()


async def test_who_is_let_in_while_it_is_being_revoked_does_not_stay(world: Identities, people: LocalIssuer) -> None:
    """Between the token and the session there is time."""
    identity = await world.standing.authenticate(person(people))
    await world.revocations.revoke("subject", identity.id, actor=ADAM.id)
    session = await world.session(identity)
    ended = asyncio.Event()
    session.on_end = lambda _: ended.set()
    async with asyncio.TaskGroup() as group:
        watching = group.create_task(world.standing.run())
        await asyncio.wait_for(ended.wait(), 3)
        watching.cancel()
    assert "revoked" in session.ended


async def test_a_revocation_for_a_time_ends_by_itself(world: Identities, people: LocalIssuer) -> None:
    """And then lets in again."""
    await world.revocations.revoke("subject", f"{people.url}|ann", actor=ADAM.id, lasts=60)
    assert (await refused(world.standing.authenticate(person(people)))).code == "revoked"
    world.clock.ahead = 61_000
    await world.standing.authenticate(person(people))
    assert world.revocations.list() == []


async def test_what_is_held_for_whoever_is_revoked_is_void(world: Identities, people: LocalIssuer) -> None:
    """Asked by them or for them; what somebody else asked for goes on waiting."""
    from doorward.model import Approval

    ann, bob = f"{people.url}|ann", f"{people.url}|bob"
    for name, asked, behalf in (("1", ann, ()), ("2", f"{OWN}|bot", (ann,)), ("3", bob, ()), ("4", ann, ())):
        state = ApprovalState.APPROVED if name == "4" else ApprovalState.WAITING
        await world.disk.store.approvals.create(
            Approval(name, b"d", asked, behalf, "shop", ("dba",), 1, state, 0, world.clock.now() + 60_000)
        )
    await world.revocations.revoke("subject", ann, actor=ADAM.id)
    states = {a.id: a.state for a in await world.approvals.list()}
    assert {name for name, state in states.items() if state is ApprovalState.WITHDRAWN} == {"1", "2", "4"}


@pytest.mark.parametrize(("kind", "value"), [("subject", "ann"), ("jti", ""), ("jti", "a\nb"), ("subject", "x|" + "y" * 2000)])
async def test_what_cannot_be_revoked(world: Identities, kind: str, value: str) -> None:
    """A subject without its issuer could be anybody's."""
    with pytest.raises(ValueError, match="is"):
        await world.revocations.revoke(kind, value, actor=ADAM.id)


def logout(issuer: LocalIssuer, **claims: Any) -> str:
    events: dict[str, Any] = {"http://schemas.openid.net/event/backchannel-logout": {}}
    return issuer.mint({"typ": "logout+jwt"}, **{"events": events, "client_id": None, "jti": "l1", "sub": None, **claims})


@pytest.mark.parametrize("claims", [{"sub": "ann"}, {"sid": "s1"}, {"sub": "ann", "sid": "s1"}])
async def test_the_issuer_logs_somebody_out(world: Identities, people: LocalIssuer, claims: dict[str, Any]) -> None:
    """Their sessions end and their tokens of until then are refused; a later sign-in is welcome, the same message is not."""
    import time

    now = int(time.time())
    token = person(people, sid="s1", iat=now - 30)
    session = await world.session(await world.standing.authenticate(token))
    other = await world.session(await world.standing.authenticate(person(people, sub="bob", sid="s2", iat=now - 30)))
    said = logout(people, iat=now - 10, **claims)
    assert await world.revocations.logged_out(said)
    assert "signed out at the issuer" in session.ended
    assert not other.ended
    assert (await refused(world.standing.authenticate(token))).code == "revoked"
    await world.standing.authenticate(person(people, sid="s1", iat=now))
    assert not await world.revocations.logged_out(said)


@pytest.mark.parametrize(
    "claims",
    [
        {"sub": "ann", "nonce": "n"}, {"sub": "ann", "events": {}}, {"sub": "ann", "jti": None}, {"sub": "ann", "aud": "other"},
        {"sub": "ann", "events": {"http://schemas.openid.net/event/backchannel-logout": True}},
        {"sub": "ann", "iss": "https://eve.test"}, {"sub": "ann", "exp": 5, "iat": 1},
    ],
)  # fmt: skip
async def test_what_is_no_logout(world: Identities, people: LocalIssuer, claims: dict[str, Any]) -> None:
    """Back-Channel Logout 1.0 section 2.6, point by point; and a logout token logs nobody in."""
    await refused(world.revocations.logged_out(logout(people, **claims)))
    await refused(world.standing.authenticate(logout(people, sub="ann")))
    await refused(world.revocations.logged_out(person(people)))
    assert world.revocations.list() == []


async def test_a_flood_of_bad_tokens_does_not_fill_the_log(world: Identities) -> None:
    """The first of a sort is an event at once, the rest a number a minute later; sorts are bounded, too."""
    for number in range(5000):
        error = AuthenticationError("no", code="static")
        error.token = f"t{number}"
        world.refusals.note(error, listener="postgres", peer=f"10.0.{number % 40}.1:{number}")
    world.clock.ahead += 61_000
    world.refusals.note(AuthenticationError("no", code="expired"), listener="http", peer="[::1]:5")
    events = await world.events("authentication.refused")
    assert len(events) < 80
    assert sum(event.body["count"] for event in events) == 5001
    assert {event.body["code"] for event in events} == {"static", "expired"}
    assert events[0].body["peer"] == "10.0.0.1"
    assert len(events[0].body["token"]) == 64
    for number in range(100_000):
        world.refusals.note(AuthenticationError("no", code="static"), listener="postgres", peer=f"10.{number}.0.1:1")
    world.refusals.flush()
    assert len(await world.events("authentication.refused")) < 400


async def test_a_store_that_fails_lets_nobody_in(world: Identities, people: LocalIssuer) -> None:
    """It says that it cannot tell, and why."""
    from doorward.errors import UpstreamError

    class Broken:
        def __getattr__(self, _name: str) -> Any:
            async def fails(*_: Any) -> Any:
                raise UpstreamError("the disk is gone")

            return fails

    standing = Admission(world.verifier, Broken(), world.guard, url=OWN)
    error = await refused(standing.authenticate(person(people)))
    assert (error.code, error.exit_code) == ("unavailable", 4)

