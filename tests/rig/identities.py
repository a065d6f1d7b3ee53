"""Everything between a token and an identity that is let in, on a memory disk: what a gateway has, without its sockets."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from doorward.adapters.identity.clients import ClientAuthority
from doorward.adapters.identity.oidc import IssuerSettings, OidcAuthenticator
from doorward.adapters.identity.own import OwnIssuer
from doorward.adapters.identity.workloads import PLATFORMS
from doorward.guard.admission import Admission
from doorward.guard.agents import Agents
from doorward.guard.approvals import Approvals
from doorward.guard.approver_keys import ApproverKeys
from doorward.guard.exchange import Exchange
from doorward.guard.guard import Guard, GuardedSession
from doorward.guard.keyring import Keyring
from doorward.guard.policies import PolicyInForce
from doorward.guard.ports import Verified
from doorward.guard.reader import RecordReader
from doorward.guard.refusals import Refusals
from doorward.guard.revocation import Revocations
from doorward.guard.stores import Agent
from doorward.model import Identity, Kind, Target
from doorward.policy.policies import load
from tests.suites.lives import CLOCK, Disk

OWN = "https://door.test"
SHOP, WARE = (Target(name, "postgres", "127.0.0.1", 5432) for name in ("shop", "ware"))
POLICY = """
@id("in") permit (principal, action in [Action::"connect", Action::"read"], resource);
@id("out") forbid (principal in Group::"banned", action == Action::"connect", resource);
@id("ask") @quorum("1") @approvers("dba") permit (principal, action == Action::"write", resource) when { context.approved };
@id("rule") permit (principal in Group::"admins", action == Action::"administer", resource);
"""
ADAM = Identity("adam", Kind.HUMAN, "https://idp.test", groups=frozenset({"admins"}))


class Clock:
    """The system's, some milliseconds on."""

    def __init__(self) -> None:
        self.ahead = 0

    def now(self) -> int:
        return CLOCK.now() + self.ahead

    def monotonic(self) -> float:
        return CLOCK.monotonic() + self.ahead / 1000

    def new_id(self) -> str:
        return CLOCK.new_id()


class Identities:
    """`disk` may be another's: then this is a second process on the same store. `guard`: around one that is there."""

    def __init__(
        self, *issuers: IssuerSettings, disk: Disk | None = None, verifier: Any = None, guard: Guard | None = None
    ) -> None:
        self.clock = Clock()
        self.disk = disk or Disk()
        if guard is None:
            recorder = self.disk.recorder()
            policies = PolicyInForce(load({"policy.cedar": POLICY}))
            keys = ApproverKeys(recorder, self.clock, "doorward")
            approvals = Approvals(self.disk.store.approvals, recorder, self.clock, policies, keys)
            guard = Guard(policies, recorder, approvals, self.clock)
        self.guard, self.recorder, self.approvals = guard, guard.recorder, guard.approvals
        store = self.disk.store.identities
        self.own = OwnIssuer(OWN, ("shop", "ware"), self.disk.keys, self.clock.now)
        self.verifier = verifier or OidcAuthenticator(issuers, own=self.own, now=self.clock.now)
        self.standing = Admission(
            self.verifier, store, self.guard, url=OWN, owner_absence=90 * 86400,
            trusted=[issuer.url for issuer in issuers if issuer.agents == "issuer"],
        )  # fmt: skip
        self.agents = Agents(
            store, self.standing, self.recorder, self.clock,
            must_bind={issuer.url: PLATFORMS[issuer.workload or "oidc"].must_bind for issuer in issuers},
        )  # fmt: skip
        self.revocations = Revocations(store, self.standing, self.approvals, self.recorder, self.clock)
        self.clients = ClientAuthority(OWN, self.disk.keys, self.clock.now)
        self.exchange = Exchange(
            self.standing, store, self.own, self.recorder, self.clock, ("shop", "ware"), certificates=self.clients
        )
        self.refusals = Refusals(self.recorder, self.clock)

    async def start(self) -> None:
        await self.recorder.start()
        await self.standing.reload()

    async def stop(self) -> None:
        for session in list(self.guard.sessions.values()):
            await session.close("the test is over")
        await self.recorder.stop()

    async def owner(self, issuer: str, name: str = "olga", kind: Kind = Kind.HUMAN) -> str:
        """Somebody who was here."""
        who = Identity(name, kind, issuer, issued_at=self.clock.now(), expires_at=self.clock.now() + 600_000)
        await self.standing.admitted(Verified(who, issuer, "j", 0, 0, {}))
        return who.id

    async def agent(
        self, issuer: str, name: str = "bot", *, groups: Sequence[str] = ("agents",), owner: str = "", **bound: str
    ) -> Agent:
        """A registered one, with a living owner."""
        owner = owner or await self.owner(issuer)
        return await self.agents.register(ADAM, name, owner=owner, issuer=issuer, bound=bound, groups=groups)

    async def session(self, identity: Identity, target: Target = SHOP) -> GuardedSession:
        opened = await self.guard.open(identity, target, client="127.0.0.1:1")
        assert isinstance(opened, GuardedSession)
        return opened

    async def events(self, type_: str = "") -> list[Any]:
        await self.recorder.wal.flush()
        await self.recorder.fold()
        reader = RecordReader(self.disk.store, self.disk.recordings, Keyring(self.disk.keys))
        return [opened.event async for opened in reader.events() if type_ in ("", opened.event.type)]
