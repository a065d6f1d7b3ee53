"""Who may be let in now: registered agents and their owners, revocations, and what each principal's newest token says.

Contract: `admit` turns the identity that a sound token proves into the one that this gateway knows, or raises
AuthenticationError: an agent is the registered one, enabled, with a living owner; nobody in its chain is revoked; and no
newer token says otherwise. `run` looks at the store once a second and ends the sessions that have lost their standing, also
when another process took it from them; `reload` does it at once. What is looked at is a copy in memory: a login waits for
the store only when it brings something new.

Not here: how agents are registered (`agents`), what revokes (`revocation`), whether a token is sound (an adapter).
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Collection, Mapping, Sequence
from dataclasses import replace
from typing import Final

from doorward.errors import AuthenticationError, UpstreamError
from doorward.guard.guard import OWN, Guard
from doorward.guard.neighbours import nobody
from doorward.guard.ports import NOTHING, ClientCertificate, Shown, Verified, Verifier
from doorward.guard.stores import Agent, IdentityStore, Principal, Revocation
from doorward.model import Identity, Kind, bound

TICK: Final = 1.0  # seconds between two looks at the store
SEEN: Final = 3_600_000  # milliseconds after which it is written down again that somebody was here
MOST_KNOWN: Final = 10_000  # principals that are kept in memory
_PAGE: Final = 500
_ANYWAY: Final = 60  # ticks after which the store is read even though nothing says that it changed
_LATELY: Final = 120_000  # milliseconds; longer than a login may take
_NEVER: Final = 1 << 62  # later than any `before`


def refused(what: str, hint: str, code: str) -> AuthenticationError:
    return AuthenticationError(f"the token was refused: {what}", hint=hint, code=code)


class Admission:
    """One a gateway. `url` is the gateway as an issuer; `trusted` are issuers whose word makes an agent;
    `owner_absence` is seconds."""

    def __init__(
        self,
        verifier: Verifier,
        store: IdentityStore,
        guard: Guard,
        *,
        url: str,
        trusted: Collection[str] = (),
        owner_absence: int = 90 * 86400,
        tell: Callable[[], Awaitable[None]] = nobody,
    ) -> None:
        self._tell = tell
        self.url = url
        self._verifier = verifier
        self._store = store
        self._guard = guard
        self._trusted = frozenset(trusted)
        self._absence = owner_absence * 1000
        self._version = -1
        self._known: dict[str, Principal] = {}
        self._owners: dict[str, Principal] = {}
        self._turn = asyncio.Lock()
        self.agents: Mapping[str, Agent] = {}
        self._by_issuer: dict[str, list[Agent]] = {}
        self.revocations: tuple[Revocation, ...] = ()
        self._revoked: dict[tuple[str, str], Revocation] = {}

    # -- tokens ------------------------------------------------------------------------------------------------------

    async def authenticate(self, token: str, shown: Shown = NOTHING) -> Identity:
        """A token in, somebody who may be let in out. Raises AuthenticationError, also when nobody can tell now."""
        verified = await self.verify(token, shown)
        identity = await self.admitted(verified)
        if shown.certificate is not None:
            try:
                identity = self._held(identity, shown.certificate, verified)
            except AuthenticationError as error:
                error.issuer, error.token = verified.issuer, identity.token_id
                raise
        return identity

    async def verify(self, token: str, shown: Shown = NOTHING) -> Verified:
        """Only whether it is sound."""
        return await self._verifier.verify(token, shown)

    def _held(self, identity: Identity, certificate: ClientCertificate, verified: Verified) -> Identity:
        """Of somebody who has shown a certificate: theirs, and in force. It makes of a bearer token one that nobody else could
        have presented like this."""
        if certificate.identity != identity.id:
            raise refused("the certificate is somebody else's", "use the one that you logged in with", "certificate")
        if not identity.bound_to:
            identity = bound(identity, f"certificate:{certificate.id}", attested=verified.attested)
            self._check(identity)  # the certificate may be revoked
        return identity

    async def logout(self, token: str) -> Verified | None:
        """Whom an issuer has logged out."""
        return await self._verifier.logout(token)

    async def admitted(self, verified: Verified, *, delegating: bool = False) -> Identity:
        """`admit`, with what the token says of its principals taken note of. `delegating`: an agent presents it together with
        its own, which is how an agent may hold a person's token."""
        try:
            await self._load([link.id for link in verified.identity.chain() if link.id not in self._known])
            identity = self.admit(verified.identity, delegating=delegating)
            if verified.issuer != self.url:
                await self._note(verified.identity)
                identity = self.admit(verified.identity, delegating=delegating)  # what it brought may be news
        except AuthenticationError as error:
            error.issuer, error.token = verified.issuer, verified.identity.token_id
            raise
        except UpstreamError as error:
            raise AuthenticationError(
                f"who you are cannot be looked up now: {error.message}", hint=error.hint, code="unavailable"
            ) from error
        return identity

    async def arrived(self, identity: Identity) -> Identity:
        """`admit`, of somebody who came in another way than by presenting a token here: through a browser."""
        return await self.admitted(
            Verified(identity, identity.issuer, identity.token_id, identity.issued_at // 1000, identity.expires_at // 1000, {})
        )

    def refusal(self, identity: Identity) -> str:
        """Why somebody who was let in may not be any longer, or ""."""
        try:
            self.admit(identity)
        except AuthenticationError as error:
            return error.message
        return ""

    def admit(self, identity: Identity, *, delegating: bool = False) -> Identity:
        """See the module. Raises AuthenticationError."""
        links = list(identity.chain())
        for place, link in enumerate(links):
            links[place] = self._resolved(link, delegating=delegating or place > 0)
        found = _chained(links)
        self._check(found)
        for link in links:
            newest = self._known.get(link.id)
            if newest is not None and newest.issued_at > link.issued_at and _differs(newest, link):
                raise refused(
                    "a newer token of yours names other groups or other claims",
                    "get a new one; issuers must say the same in all tokens for one person", "stale",
                )  # fmt: skip
        return found

    def _resolved(self, link: Identity, *, delegating: bool) -> Identity:
        if link.issuer == self.url:
            agent = self.agents.get(link.subject)
            if agent is None:
                raise refused("it is of an agent that is not registered", "have it registered", "unregistered")
            return self._answered_for(agent, link)
        agent = self._bound(link)
        if agent is not None:
            return self._answered_for(agent, link)
        if link.kind is Kind.HUMAN and not delegating and (agent := self._client_of(link)) is not None:
            raise refused(
                f"it was given to the agent {agent.name}, which would act as the person and not for them",
                "have the agent exchange it together with its own token (actor_token)", "impersonation",
            )  # fmt: skip
        if link.kind is Kind.AGENT and link.issuer not in self._trusted:
            raise refused(
                "it is of an agent that is not registered",
                "have an administrator register it: doorward agents register", "unregistered",
            )  # fmt: skip
        return link

    def _bound(self, link: Identity) -> Agent | None:
        """The agent whose registration fits. A person is never one."""
        if link.kind is Kind.HUMAN:
            return None
        for agent in self._by_issuer.get(link.issuer, ()):
            if all(_says(link, name) == value for name, value in agent.bound.items()):
                return agent
        return None

    def _client_of(self, link: Identity) -> Agent | None:
        clients = {link.claims.get("client_id"), link.claims.get("azp")} - {None}
        for agent in self._by_issuer.get(link.issuer, ()):
            if agent.bound.get("client_id") in clients:
                return agent
        return None

    def _answered_for(self, agent: Agent, link: Identity) -> Identity:
        """A registered agent, as it is known here. AuthenticationError unless somebody alive answers for it."""
        if not agent.enabled:
            raise refused(f"the agent {agent.name} is disabled", "ask its owner", "disabled")
        why = self.owner_gone(agent.owner)
        if why:
            raise refused(
                f"the agent {agent.name} has no owner who answers for it: {why}",
                "have the owner sign in, or an administrator transfer it: doorward agents transfer", "owner",
            )  # fmt: skip
        if link.issuer == self.url:
            return replace(link, kind=Kind.AGENT, groups=frozenset(agent.groups))
        return replace(
            link, subject=agent.name, issuer=self.url, kind=Kind.AGENT, groups=frozenset(agent.groups),
            claims={**link.claims, "workload_issuer": link.issuer, "workload_subject": link.subject},
        )  # fmt: skip

    def owner_gone(self, owner: str) -> str:
        """Why an owner does not count as alive, or ""."""
        known = self._owners.get(owner)
        if known is None:
            return "nobody of that name was ever here"
        if known.kind != Kind.HUMAN:
            return "it is not a person"
        if gone := self.gone(owner):
            return gone
        if self._guard.clock.now() - known.seen_at > self._absence:
            return f"they were not seen for {self._absence // 86_400_000} days"
        return ""

    def owner_of(self, who: str) -> str:
        """The Identity.id of a registered agent's owner; "" for whoever is none."""
        issuer, _, name = who.rpartition("|")
        agent = self.agents.get(name) if issuer == self.url else None
        return "" if agent is None else agent.owner

    def gone(self, who: str) -> str:
        """Why a person is no longer let in at all, or "". Who only logged out is still there."""
        revocation = self.revoked("subject", who)
        return "" if revocation is None or revocation.before else "they are revoked"

    async def people(self, ids: Sequence[str]) -> dict[str, Identity]:
        """Those of them who were ever here, as their newest tokens say, wherever they showed them. UpstreamError."""
        found = {}
        for id_, each in (await self._read(list(ids))).items():
            issuer, _, subject = id_.partition("|")  # a subject may have one too, a URL not
            found[id_] = Identity(
                subject, Kind(each.kind), issuer, frozenset(each.groups), each.claims, issued_at=each.issued_at
            )
        return found

    async def know_owner(self, owner: str) -> None:
        """Read of somebody who is to answer for an agent. UpstreamError."""
        self._owners |= await self._read([owner])

    # -- standing ----------------------------------------------------------------------------------------------------

    def _check(self, identity: Identity, session: str = "") -> None:
        revocation = self._revocation(identity, session)
        if revocation is not None:
            why = f": {revocation.reason}" if revocation.reason else ""
            raise refused(
                f"{_WHAT[revocation.kind]} revoked{why}",
                "sign in again" if revocation.before else "ask an administrator", "revoked",
            )  # fmt: skip

    def _revocation(self, identity: Identity, session: str = "") -> Revocation | None:
        """What is revoked of it: the session, its token, or anybody in its chain, or who answers for one of them."""
        asked: list[tuple[str, str, int]] = [("session", session, 0), ("jti", identity.token_id, 0)]
        key, _, certificate = identity.bound_to.partition(":")
        if key == "certificate":
            asked.append(("jti", certificate, 0))
        for link in identity.chain():
            asked += [("subject", link.id, link.issued_at), ("agent", link.id, link.issued_at)]
            if "sid" in link.claims:
                asked.append(("login", f"{link.issuer}|{link.claims['sid']}", link.issued_at))
            agent = self.agents.get(link.subject) if link.issuer == self.url else None
            if agent is not None:
                asked.append(("subject", agent.owner, _NEVER))
        for kind, value, issued in asked:
            found = self.revoked(kind, value)
            if found is not None and (not found.before or issued <= found.before):
                return found
        return None

    def revoked(self, kind: str, value: str) -> Revocation | None:
        """The revocation of it that is in force."""
        found = self._revoked.get((kind, value))
        return None if found is not None and found.until and found.until <= self._guard.clock.now() else found

    def lost(self, identity: Identity, session: str) -> str:
        """Why a session that is open must end, or ""."""
        try:
            self._check(identity, session)
            for link in identity.chain():
                if link.issuer == self.url:
                    self._resolved(link, delegating=True)
        except AuthenticationError as error:
            return error.message.removeprefix("the token was refused: ")
        return ""

    def sweep(self, since: int = 0) -> None:
        """End every session of this process, opened since (Unix ms), that has lost its standing; judge anew those whose
        principal's groups changed."""
        for guarded in list(self._guard.sessions.values()):
            identity = guarded.session.identity
            if identity.issuer == OWN or guarded.ended or guarded.session.opened_at < since:
                continue
            if why := self.lost(identity, guarded.session.id):
                guarded.end(why)
                continue
            fresh = self._refreshed(identity)
            if fresh != identity:
                guarded.reassess(fresh)

    def _refreshed(self, identity: Identity) -> Identity:
        links = list(identity.chain())
        for place, link in enumerate(links):
            if link.issuer == self.url:
                agent = self.agents.get(link.subject)
                groups = frozenset(agent.groups) if agent is not None else link.groups
                links[place] = replace(link, groups=groups)
                continue
            newest = self._known.get(link.id)
            if newest is None or newest.issued_at <= link.issued_at or not _differs(newest, link):
                continue
            links[place] = replace(
                link, groups=frozenset(newest.groups), claims=dict(newest.claims), issued_at=newest.issued_at
            )
        return _chained(links)

    # -- the store ---------------------------------------------------------------------------------------------------

    async def reload(self) -> None:
        """Read what is in the store now, and act on it. UpstreamError."""
        async with self._turn:
            version = await self._store.version()
            agents = await self._store.agents()
            revocations = await self._store.revocations(self._guard.clock.now())
            owners = {agent.owner for agent in agents}
            live = {link.id for each in self._guard.sessions.values() for link in each.session.identity.chain()}
            known = await self._read(sorted(owners | live))
            self.agents = {agent.name: agent for agent in agents}
            self._by_issuer = {}
            for agent in agents:
                self._by_issuer.setdefault(agent.issuer, []).append(agent)
            self.revocations = tuple(revocations)
            # Of two of one thing the stricter counts: one without `before` outlasts every new login.
            self._revoked = {}
            for each in sorted(revocations, key=lambda r: (r.before == 0, r.until == 0, r.before, r.until)):
                self._revoked[each.kind, each.value] = each
            self._owners = {each: known[each] for each in owners if each in known}
            self._known = dict(known)  # of the others another process may know more: they are read when they come
            self._version = version
        self.sweep()

    async def changed(self) -> None:
        """`reload`, here and in every other process, after something was changed in the store. UpstreamError: one of them may
        not know yet."""
        await self.reload()
        await self._tell()

    async def look_again(self) -> bool:
        """`reload`, if somebody has changed something since. UpstreamError."""
        if await self._store.version() == self._version:
            return False
        await self.reload()
        return True

    async def run(self) -> None:
        """Until cancelled. While the store fails, what is known goes on holding."""
        ticks = 0
        while True:
            await asyncio.sleep(TICK)
            ticks += 1
            try:
                if ticks % _ANYWAY == 0:
                    await self.reload()
                elif not await self.look_again():  # who was let in while it was being revoked
                    self.sweep(self._guard.clock.now() - _LATELY)
            except UpstreamError:
                pass  # the recorder says so, and nothing runs meanwhile

    async def _read(self, ids: list[str]) -> dict[str, Principal]:
        found: dict[str, Principal] = {}
        for start in range(0, len(ids), _PAGE):
            found |= {each.id: each for each in await self._store.principals(ids[start : start + _PAGE])}
        return found

    async def _load(self, ids: list[str]) -> None:
        for each in (await self._read(ids)).values():
            self._keep(each)

    async def _note(self, identity: Identity) -> None:
        """Keep what a token of an issuer says of its principals, if it is news or was not said for an hour. A job's token says
        something of that job only, and whoever may start jobs at a platform should not fill our store."""
        now = self._guard.clock.now()
        changed = False
        for link in identity.chain():
            known = self._known.get(link.id)
            if "workload" in link.claims or (known is not None and known.issued_at > link.issued_at):
                continue
            if known is not None and known.kind == Kind.HUMAN and link.kind is not Kind.HUMAN:
                continue  # an issuer may call an agent as it calls a person; that makes no agent of the person
            news = known is None or known.kind != link.kind or _differs(known, link)
            # What an ID token says and an access token leaves out stays known.
            claims = {**({} if known is None or news else known.claims), **link.claims}
            fresh = Principal(link.id, link.kind.value, tuple(sorted(link.groups)), claims, link.issued_at, now)
            if known is not None and not news and known.claims.keys() == claims.keys() and now - known.seen_at < SEEN:
                self._keep(replace(known, issued_at=link.issued_at))
                continue
            await self._store.keep_principal(fresh)
            changed |= news and known is not None
            self._keep(fresh)
        if changed:
            await self.changed()

    def _keep(self, principal: Principal) -> None:
        self._known.pop(principal.id, None)
        self._known[principal.id] = principal
        if principal.id in self._owners:
            self._owners[principal.id] = principal
        while len(self._known) > MOST_KNOWN:
            oldest = next(iter(self._known))
            del self._known[oldest]


def _chained(links: Sequence[Identity]) -> Identity:
    """The first, on behalf of the second, and so on."""
    found: Identity | None = None
    for link in reversed(links):
        found = replace(link, on_behalf_of=found)
    assert found is not None
    return found


_WHAT: Final = {
    "subject": "whoever it is about, or who answers for them, is", "agent": "its agent is", "jti": "it is",
    "session": "the session is", "login": "the sign-in that it is of is",
}  # fmt: skip
# Of one sign-in, and not of who somebody is: other values of these are no other rights.
_PASSING: Final = frozenset({"sid", "auth_time", "scope", "acr", "amr", "client_id", "azp", "prior_actors"})


def _differs(known: Principal, link: Identity) -> bool:
    """Whether two tokens give somebody other rights. An issuer's ID tokens and access tokens say different things of one
    person, so what only one of them says is no contradiction, unless it is the groups."""
    if "workload" in link.claims:
        return False
    return known.kind == link.kind and (
        frozenset(known.groups) != link.groups
        or any(link.claims.get(name, value) != value for name, value in known.claims.items() if name not in _PASSING)
    )


def _says(link: Identity, name: str) -> str | None:
    if name == "sub":
        return link.subject
    if name == "client_id":
        return link.claims.get("client_id") or link.claims.get("azp")
    return link.claims.get(name)
