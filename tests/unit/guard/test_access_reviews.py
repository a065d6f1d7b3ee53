"""Who can reach what, what they used, and what people think of it: on record, and again after a start."""

from __future__ import annotations

import pytest

from doorward.guard.access_reviews import DAY, AccessReviews, Right
from doorward.guard.keyring import Keyring
from doorward.guard.policies import PolicyInForce
from doorward.guard.reader import RecordReader
from doorward.guard.stores import Principal
from doorward.model import Identity, Kind, Target
from doorward.policy.policies import load
from tests.suites.lives import CLOCK, Disk, a_session

POLICY = """
@id("people-connect") permit (principal in Group::"devs", action == Action::"connect", resource);
@id("admins") permit (principal in Group::"admins", action in [Action::"administer", Action::"replay"], resource);
"""
ISSUER = "https://idp.test"
SHOP, WARE = Target("shop", "postgres", "h", 5432), Target("ware", "postgres", "h", 5433)
ADAM = Identity("adam", Kind.HUMAN, ISSUER, frozenset({"admins"}))
CARD = "4111 1111 1111 1111"


class World:
    def __init__(self) -> None:
        self.disk = Disk()
        self.recorder = self.disk.recorder()
        self.gone: set[str] = set()

    async def start(self) -> AccessReviews:
        await self.recorder.start()
        for name, kind, groups in (("adam", "human", ("admins",)), ("bot", "agent", ("devs",)), ("eve", "human", ())):
            await self.disk.store.identities.keep_principal(Principal(f"{ISSUER}|{name}", kind, groups, {}, issued_at=1))
        return self.reviews()

    def reviews(self) -> AccessReviews:
        return AccessReviews(
            self.disk.store.identities, self.disk.store, PolicyInForce(load({"p.cedar": POLICY})),
            lambda: {"shop": SHOP, "ware": WARE}, self.recorder, CLOCK, lambda who: "gone" if who.id in self.gone else "",
        )  # fmt: skip

    def reader(self) -> RecordReader:
        return RecordReader(self.disk.store, self.disk.recordings, Keyring(self.disk.keys))


@pytest.fixture
def world() -> World:
    return World()


async def test_who_can_reach_what(world: World) -> None:
    """What policy lets each do by themselves at each target, and the gateway; what they used; nobody who is let in nowhere, and
    nobody who may do nothing."""
    reviews = await world.start()
    session = await world.recorder.session(a_session())  # bot, at shop
    await session.close({"reason": "done"})
    await world.recorder.stop()
    found = await reviews.rights()
    assert [(right.identity, right.target, right.actions) for right in found] == [
        (f"{ISSUER}|adam", "", ("administer",)),
        (f"{ISSUER}|adam", "shop", ("replay", "administer")),
        (f"{ISSUER}|adam", "ware", ("replay", "administer")),
        (f"{ISSUER}|bot", "shop", ("connect",)),
        (f"{ISSUER}|bot", "ware", ("connect",)),
    ]
    used = await reviews.rights({"shop"}, days=1)
    assert [(right.sessions, right.last > 0) for right in used] == [(0, False), (1, True)]
    assert (await reviews.rights({"ware"}))[1] == Right(f"{ISSUER}|bot", "agent", "ware", ("connect",))
    world.gone.add(f"{ISSUER}|bot")
    assert {right.identity for right in await reviews.rights()} == {f"{ISSUER}|adam"}


async def test_a_review(world: World) -> None:
    """Its lines are what was so when it was opened, whatever changes; decisions are on record, masked, and there again after a
    start; what is undecided stays so."""
    reviews = await world.start()
    review = await reviews.open(ADAM, ["shop"], days=90, due=CLOCK.now() + DAY)
    bot = f"{ISSUER}|bot"
    world.gone.add(bot)
    await reviews.decide(ADAM, review.id, bot, "shop", "revoke", f"left, card {CARD}")
    await reviews.close(ADAM, review.id)
    await world.recorder.stop()
    again = world.reviews()
    await again.load(world.reader())
    (found,) = again.reviews()
    assert (found.rights, found.lines, found.closed > 0) == (review.rights, 2, True)
    (verdict,) = found.decisions.values()
    assert (verdict[0], verdict[1], CARD in verdict[3]) == ("revoke", ADAM.id, False)
    closed = [e.event.body async for e in world.reader().events(types=("access_review.closed",))]
    assert [(body["kept"], body["revoked"], body["undecided"]) for body in closed] == [(0, 1, 1)]


@pytest.mark.parametrize(
    ("who", "identity", "verdict", "error"),
    [
        (ADAM, ADAM.id, "keep", "their own access"),
        (Identity("bot", Kind.AGENT, ISSUER), ADAM.id, "keep", "people"),
        (Identity("dora", Kind.HUMAN, ISSUER, on_behalf_of=ADAM), ADAM.id, "keep", "people"),
        (Identity("dora", Kind.HUMAN, ISSUER), ADAM.id, "maybe", "keep or revoke"),
    ],
)
async def test_who_may_not_decide(world: World, who: Identity, identity: str, verdict: str, error: str) -> None:
    """Nobody about themselves, no agent, nobody for somebody else; and there are two answers."""
    reviews = await world.start()
    review = await reviews.open(ADAM, [], days=90, due=CLOCK.now() + DAY)
    with pytest.raises(ValueError, match=error):
        await reviews.decide(who, review.id, identity, "shop", verdict, "")
    with pytest.raises(KeyError):
        await reviews.decide(who, review.id, "x|y", "shop", "keep", "")
    assert not review.decisions
    await world.recorder.stop()
