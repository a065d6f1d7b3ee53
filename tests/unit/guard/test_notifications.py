"""What is told reaches its receiver at least once, whatever dies or refuses; and nothing of it decides, or says too much.

Stores and record are real, on memory or on disk; a channel here is a list.
"""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from doorward.adapters.store.sql import SqlStore
from doorward.errors import ConfigError
from doorward.guard import notices, notifications
from doorward.guard.notices import KINDS, TOLD, Channel, Notice, told
from doorward.guard.notifications import Notifications, UndeliveredError
from doorward.guard.outbox import Outgoing
from doorward.guard.stores import Fold, Head
from doorward.ledger.encoding import canonical
from doorward.model import Approval, ApprovalState, Effect, Event, Vote
from tests.rig.signers import sign_and_vote
from tests.suites.lives import CLOCK
from tests.unit.guard.test_guard import ADA, DORA, SHOP, World, hold, turn

HERE = "https://door.test"
ALL = Channel("ops", frozenset(KINDS))


class Wire:
    """A channel that keeps what it is given, unless it `fails`."""

    kind = "webhook"

    def __init__(self) -> None:
        self.got: list[Notice] = []
        self.fails: Exception | None = None
        self.tried = 0
        self.answer = "200 ok"

    async def send(self, notice: Notice) -> str:
        self.tried += 1
        await asyncio.sleep(0)
        if self.fails is not None:
            raise self.fails
        self.got.append(notice)
        return self.answer


class Place:
    """A gateway that tells, and its channel."""

    def __init__(self, world: World, *channels: Channel, outbox: Any = None) -> None:
        self.world, self.wire = world, Wire()
        self.heard: list[tuple[str, str]] = []
        self.telling = Notifications(
            channels, {channel.name: self.wire for channel in channels}, outbox or world.disk.store.outbox, world.approvals,
            world.recorder, CLOCK, url=lambda: HERE, heard=lambda *said: self.heard.append(said),
        )  # fmt: skip
        world.recorder.telling = self.telling.told

    async def told(self) -> list[str]:
        """Everything that is due, delivered: the types."""
        await self.world.recorder.fold()
        for name in self.telling._channels:
            await self.telling.deliver(name)
        return [notice.type for notice in self.wire.got]

    async def events(self, kind: str) -> list[Any]:
        return [event.body for event in await self.world.events() if event.type == kind]


@pytest.fixture
async def place() -> AsyncIterator[Place]:
    world = World()
    place = Place(world, ALL)
    await world.recorder.start()
    yield place
    await world.recorder.stop()


async def asked(place: Place, group: asyncio.TaskGroup) -> tuple[Approval, asyncio.Task[Any]]:
    """A write of ada's that is held."""
    session = await place.world.session()
    task = group.create_task(hold(session, turn(Effect.WRITE)))
    return await place.world.waiting(), task


async def test_what_waits_is_told_and_what_became_of_it(place: Place) -> None:
    """Once each, with who, what, where and until when; that it was delivered is on record, and nothing is left waiting."""
    async with asyncio.TaskGroup() as group:
        approval, task = await asked(place, group)
        assert await place.told() == ["approval.requested"]
        [notice] = place.wire.got
        facts = dict(notice.facts)
        assert notice.link == f"{HERE}/approvals/{approval.id}"
        assert facts["Asked by"].startswith("ada (")
        assert (facts["Target"], facts["Request"]) == ("shop", approval.id)
        assert await place.told() == ["approval.requested"]
        await sign_and_vote(place.world.approvals, DORA, SHOP, approval.id, approve=False, comment="not on a Friday")
        await task
    assert await place.told() == ["approval.requested", "approval.voted"]
    assert place.wire.got[1].title.endswith(": denied")
    assert place.wire.got[1].more["decision"] == "denied"
    assert await place.world.disk.store.outbox.waiting() == []
    sent = await place.events("notification.sent")
    assert [(e["channel"], e["kind"], e["about"], e["attempts"]) for e in sent] == [
        ("ops", "requests", approval.id, 1), ("ops", "decisions", approval.id, 1)
    ]  # fmt: skip
    said = "".join(str(notice) for notice in place.wire.got)
    assert "Friday" not in said
    assert all(text not in said for text in ("update", "pay", "body"))  # nothing of the statement


async def test_a_request_that_waits_no_longer_is_not_told(place: Place) -> None:
    """A channel that was down while it was answered asks nobody for an answer."""
    async with asyncio.TaskGroup() as group:
        approval, task = await asked(place, group)
        await sign_and_vote(place.world.approvals, DORA, SHOP, approval.id, approve=False)
        await task
    assert await place.told() == ["approval.voted"]


async def test_a_vote_that_is_not_stored_yet_is_told_later(place: Place) -> None:
    """Its event comes first; what it decided is known when it is counted."""
    async with asyncio.TaskGroup() as group:
        approval, task = await asked(place, group)
        await place.told()
        voted = said("approval.voted", DORA.id)
        row = Outgoing("v.ops", "ops", "decisions", approval.id, CLOCK.now(), CLOCK.now() + 60_000, voted)
        head = await place.world.disk.store.head()
        await place.world.disk.store.fold(Fold(head, head, outgoing=[row]))
        assert await place.told() == ["approval.requested"]
        assert [each.id for each in await place.world.disk.store.outbox.waiting()] == ["v.ops"]
        task.cancel()


def said(kind: str, actor: str = "", **more: Any) -> bytes:
    return canonical({"actor": actor, "type": kind, **more})


async def test_what_fails_is_tried_again_later(place: Place) -> None:
    """With the same id, not before its time, and nothing else of that channel is tried meanwhile; it is said once that it
    fails and once that it works again."""
    async with asyncio.TaskGroup() as group:
        _, task = await asked(place, group)
        place.wire.fails = UndeliveredError("503", after=0.05)
        assert await place.told() == []
        [row] = await place.world.disk.store.outbox.waiting()
        assert (row.attempts, row.error) == (1, "503")
        assert row.next_at - CLOCK.now() > (notifications.FIRST - 1) * 1000
        assert notifications.FIRST > notifications.SEND  # two attempts do not overlap
        row = replace(row, next_at=0)
        place.world.disk.store.outbox.rows[row.id] = row
        assert await place.told() == []
        assert place.wire.tried == 1  # the channel pauses
        place.telling._tallies["ops"].paused = 0.0  # the pause is over
        place.wire.fails = None
        assert await place.told() == ["approval.requested"]
        assert (place.wire.tried, place.wire.got[0].id) == (2, row.id)
        assert place.heard == [("ops", "503"), ("ops", "")]
        task.cancel()
    [state] = await place.telling.state()
    assert (state["sent"], state["failed"], state["waiting"], state["error"]) == (1, 1, 0, "")


async def test_a_receiver_that_is_gone_is_sent_nothing_more(place: Place) -> None:
    """410: what waits is dropped, on record, and not tried again; it is said once. A test that arrives takes it up again."""
    place.wire.fails = UndeliveredError("localhost answered 410", gone=True)
    for number in range(3):
        session = await place.world.session()
        await hold(session, turn(Effect.WRITE, params=(b"%d" % number,)), over())
        await place.told()
    assert place.wire.tried == 1
    assert await place.telling._outbox.waiting() == []
    assert [name for name, why in place.heard if why] == ["ops"]
    dropped = await place.events("notification.dropped")
    assert {(each["channel"], each["reason"], each["count"]) for each in dropped} == {("ops", "gone", 1)}
    assert len(dropped) == place.telling.outcomes["dropped"] >= 3
    place.wire.fails = None
    assert (await place.telling.test("ops", DORA.id))["delivered"]
    await hold(await place.world.session(identity=replace(ADA, subject="new")), turn(Effect.WRITE), over())
    assert "approval.requested" in await place.told()


def over() -> asyncio.Event:
    """The client goes at once: its request is parked."""
    gone = asyncio.Event()
    asyncio.get_running_loop().call_later(0.01, gone.set)
    return gone


@pytest.mark.parametrize(
    ("error", "words"),
    [
        (ConfigError("secret env:SLACK is not there"), "secret env:SLACK is not there"),
        (KeyError("https://hooks.test/services/hush"), "it could not be sent (KeyError)"),
        (TimeoutError(), "within 15 seconds"), (UndeliveredError("500 card 4111 1111 1111 1111"), "500 card [card]"),
    ],
)  # fmt: skip
async def test_whatever_goes_wrong_is_said_without_a_secret(place: Place, error: Exception, words: str) -> None:
    """A secret that is not there, a library that fails; the gateway goes on."""
    place.wire.fails = error
    found = await place.telling.test("ops", "idp|adam")
    assert not found["delivered"]
    assert words in found["answer"]
    assert "hush" not in json.dumps(await place.telling.state())
    [tested] = await place.events("notification.tested")
    assert tested == found


async def test_a_test_is_a_test(place: Place) -> None:
    """It says so, and what came back, with what is confidential in it masked; no channel of another name is tried."""
    place.wire.answer = "200 ok, 123-45-6789"
    found = await place.telling.test("ops", "idp|adam")
    assert found == {"channel": "ops", "delivered": True, "answer": "200 ok, [ssn]"}
    assert place.wire.got[0].title == "A test of this channel: nothing is waiting"
    with pytest.raises(LookupError):
        await place.telling.test("other", "idp|adam")


async def test_of_two_gateways_over_one_store_one_sends(tmp_path: Path) -> None:
    """Forty messages, two processes' worth of senders at once: each message once."""
    worlds, stores = (World(), World()), [SqlStore(tmp_path / "store.sqlite") for _ in range(2)]
    places = []
    for world, store in zip(worlds, stores, strict=True):
        await store.open()
        places.append(Place(world, ALL, outbox=store.outbox))
        await world.recorder.start()
    rows = [Outgoing(f"n{n:02}", "ops", "break-glass", "s", 0, 1 << 45, said("break_glass.used")) for n in range(40)]
    head = Head("log.test", 1, b"r" * 32, b"note")
    await stores[0].fold(Fold(None, head, outgoing=rows))
    await asyncio.gather(*(place.telling.deliver("ops") for place in places for _ in range(2)))
    got = sorted(notice.id for place in places for notice in place.wire.got)
    assert got == [row.id for row in rows]
    assert await stores[0].outbox.waiting() == []
    for world, store in zip(worlds, stores, strict=True):
        await world.recorder.stop()
        await store.close()


async def test_who_dies_while_sending_is_followed_by_another_attempt(place: Place) -> None:
    """What was claimed and neither delivered nor failed is due again, under its own id."""
    outbox = place.world.disk.store.outbox
    row = Outgoing("g.ops", "ops", "break-glass", "s", 0, 1 << 45, said("break_glass.used", target="shop"))
    outbox.rows[row.id] = row
    assert await outbox.claim(row, CLOCK.now() + 20_000)  # and died
    assert await place.told() == []
    outbox.rows[row.id] = replace(outbox.rows[row.id], next_at=CLOCK.now())
    assert await place.told() == ["break_glass.used"]
    assert (await place.events("notification.sent"))[0]["attempts"] == 2


async def test_what_is_over_or_too_much_is_dropped_and_on_record(place: Place, monkeypatch: pytest.MonkeyPatch) -> None:
    """By channel and kind, so that no flood of requests drives out break-glass; a request that nobody looks at expires."""
    monkeypatch.setattr(notifications, "MOST", 2)
    outbox = place.world.disk.store.outbox
    for n in range(5):
        outbox.rows[f"r{n}"] = Outgoing(f"r{n}", "ops", "requests", "a", n, 1 << 45)
    outbox.rows["g"] = Outgoing("g", "ops", "break-glass", "s", 0, 1 << 45, said("break_glass.used"))
    outbox.rows["x"] = Outgoing("x", "gone", "reviews", "s", 0, 1)
    await place.telling.tidy()
    assert sorted(outbox.rows) == ["g", "r3", "r4"]
    assert await place.events("notification.dropped") == [
        {"channel": "gone", "kind": "reviews", "reason": "expired", "count": 1},
        {"channel": "ops", "kind": "requests", "reason": "full", "count": 3},
    ]
    assert place.telling.outcomes["dropped"] == 4


async def test_a_request_that_nobody_answered_is_told_to_have_expired(place: Place) -> None:
    """Though nobody looked at it."""
    async with asyncio.TaskGroup() as group:
        approval, task = await asked(place, group)
        await place.told()
        rows = place.world.disk.store.approvals.rows
        task.cancel()
        await asyncio.sleep(0)
        rows[approval.id] = replace(rows[approval.id], expires_at=CLOCK.now() - 1)
    await place.telling.tidy()
    await place.told()
    assert [notice.title.rpartition(" ")[2] for notice in place.wire.got] == ["approval", "expired"]


ASKED = {"approval": "a1", "approvers": ["dba"], "expires_at": 9000}
ROUTES = [
    ("approval.requested", ASKED, Channel("c", frozenset({"requests"})), True),
    ("approval.requested", ASKED, Channel("c", frozenset({"requests"}), frozenset({"dba", "x"})), True),
    ("approval.requested", ASKED, Channel("c", frozenset({"requests"}), frozenset({"security"})), False),
    ("approval.requested", {**ASKED, "approvers": []}, Channel("c", frozenset({"requests"}), frozenset({"dba"})), True),
    ("approval.requested", ASKED, Channel("c", frozenset({"decisions", "reviews"})), False),
    ("approval.voted", {"approval": "a1"}, Channel("c", frozenset({"decisions"}), frozenset({"x"})), True),
    ("approval.expired", {"approval": "a1"}, Channel("c", frozenset({"decisions"})), True),
    ("approval.spent", {"approval": "a1"}, Channel("c", frozenset(KINDS)), False),
    ("break_glass.used", {"skipped": ["dba"]}, Channel("c", frozenset({"break-glass"}), frozenset({"dba"})), True),
    ("break_glass.used", {"skipped": ["dba"]}, Channel("c", frozenset({"break-glass"}), frozenset({"x"})), False),
    ("break_glass.used", {}, Channel("c", frozenset({"break-glass"}), frozenset({"x"})), True),
    ("session.opened", {"groups": ["dba"]}, Channel("c", frozenset(KINDS)), False),
    ("notification.sent", {}, Channel("c", frozenset(KINDS)), False),
]  # fmt: skip


@pytest.mark.parametrize(("kind", "body", "channel", "tells"), ROUTES)
def test_whom_an_event_is_told_to(kind: str, body: dict[str, Any], channel: Channel, tells: bool) -> None:
    """A channel's groups are those who may answer, or were passed over; where nobody is named, everybody may be meant."""
    found = told(Event("e1", 1000, kind, "", "idp|bot", body), [channel])
    assert [row.id for row in found] == (["e1.c"] if tells else [])
    for row in found:
        assert row.kind == TOLD[kind]
        assert 1000 < row.expires_at <= (9000 if kind == "approval.requested" else 1 << 45)


SHELL = Approval(
    "a1", b"", "https://idp|\u0430da<!channel>", ("https://idp|[x](https://evil.test)",), "shop", ("d*b*a",), 1,
    ApprovalState.DENIED, 0, 9000, votes=(Vote("https://idp|dora", False, 5),),
)  # fmt: skip
VOTED = Outgoing("v", "c", "decisions", "a1", 0, 1, said("approval.voted", "https://idp|dora"))
ABOUT = [
    ((), VOTED, True), (("https://idp|*",), VOTED, True), (("https://other|*",), VOTED, False),
    (("https://idp|[[]x]*",), VOTED, True), ((), replace(VOTED, body=said("approval.voted", "https://idp|dean")), False),
]  # fmt: skip


@pytest.mark.parametrize(("about", "row", "tells"), ABOUT)
def test_whose_decisions_are_told(about: tuple[str, ...], row: Outgoing, tells: bool) -> None:
    """Of those who asked, or for whom an agent did, as far as the channel wants; by the vote that decided, and no other."""
    channel = Channel("c", frozenset({"decisions"}), about=about)
    assert (notices.decides(row, channel, SHELL, {"action": "UPDATE"}, HERE) is not None) is tells


def test_names_of_others_do_nothing_in_a_message() -> None:
    """Neither in a title nor in a fact; programs get them as they are."""
    waiting = replace(SHELL, state=ApprovalState.WAITING, votes=())
    row = Outgoing("r", "c", "requests", "a1", 0, 1, said("approval.requested"))
    notice = notices.asks(row, waiting, {"action": "<b>", "effect": "write", "text": "select 'hush'"}, HERE)
    assert notice is not None
    drawn = notices.plain(replace(notice, link=""))
    assert not set("<>[]*`~&#") & set(drawn)
    assert "\\u0430da\\x3c!channel\\x3e" in drawn
    assert "://" not in drawn
    assert "hush" not in str(notice)
    assert notice.more["requested_by"] == SHELL.requested_by
    assert notices.asks(row, SHELL, {}, HERE) is None
    grant = notices.asks(row, waiting, {"action": "grant", "grant": {"actions": ["read", "write"]}}, HERE)
    assert grant is not None
    assert grant.title == "A grant to read and write on shop waits for approval"


@pytest.mark.parametrize("kind", ["break_glass.used", "break_glass.review_due"])
def test_break_glass_is_told_with_who_was_passed_over(kind: str) -> None:
    """Who, where, until when, and the page of the request; not the reason that they gave."""
    event = Event("e", 5, kind, "", "https://idp|\u0430da", {
        "approval": "a1", "target": "shop", "skipped": ["dba"], "reason": "hush", "until": 60_000, "due": 90_000,
    })  # fmt: skip
    [row] = told(event, [Channel("c", frozenset(KINDS), frozenset({"dba"}))])
    notice = notices.happened(row, HERE)
    assert notice.link == f"{HERE}/approvals/a1"
    assert ("By", r"\u0430da (idp)") in notice.facts
    assert ("Passed over", "dba") in notice.facts
    assert notice.more["skipped"] == ["dba"]
    assert "hush" not in str(notice) + row.body.decode()


@pytest.mark.parametrize("kind", sorted(TOLD))
@pytest.mark.parametrize("value", [None, 7, "x", [1, None], {"a": []}, [["b"]], True])
def test_no_event_keeps_the_log_from_going_on(kind: str, value: Any) -> None:
    """Whatever is where something else is expected: it is told as far as it can be, or counted as dropped."""
    names = ("approval", "approvers", "skipped", "expires_at", "target", "until", "due", "grant")
    telling = Notifications(
        [ALL], {}, World().disk.store.outbox, World().approvals, World().recorder, CLOCK, url=lambda: HERE
    )
    rows = telling.told(Event("e", 5, kind, "", "who", dict.fromkeys(names, value)))
    assert len(rows) + telling.outcomes["dropped"] == 1
    for row in rows:
        if row.kind in ("break-glass", "reviews"):
            assert notices.happened(row, HERE).title


async def test_a_fault_of_ours_ends_nothing(place: Place, monkeypatch: pytest.MonkeyPatch) -> None:
    """A message that cannot be made is said to be so, waits for its next attempt, and the gateway goes on."""
    monkeypatch.setattr(notifications, "POLL", 0.01)

    async def broken(_approval: str) -> bytes:
        return b"[not JSON"

    async with asyncio.TaskGroup() as group:
        _, task = await asked(place, group)
        await place.world.recorder.fold()
        monkeypatch.setattr(place.telling._approvals, "body", broken)
        running = group.create_task(place.telling.run())
        for _ in range(300):
            await asyncio.sleep(0.01)
            if place.heard:
                break
        assert place.heard == [("ops", "a message could not be made (JSONDecodeError)")]
        assert not running.done()
        assert len(await place.world.disk.store.outbox.waiting()) == 1
        running.cancel()
        task.cancel()
