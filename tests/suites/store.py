"""What every store must do: inherit, and give the fixture `store`."""

from __future__ import annotations

import asyncio
from dataclasses import replace
from typing import Any

import pytest

from doorward.errors import IntegrityError
from doorward.guard.outbox import Outgoing
from doorward.guard.stores import (
    Agent,
    Boot,
    Fold,
    Head,
    KeptCount,
    KeptToken,
    OpenOperation,
    Principal,
    Revocation,
    SessionRow,
    Spent,
    StoredEvent,
    Used,
)
from doorward.model import Approval, ApprovalState, Vote

HEAD = Head("log.test", 1, b"r" * 32, b"note 1")
NEXT = Head("log.test", 2, b"s" * 32, b"note 2")
ASKED = Approval(
    "a1", b"digest", "idp|bot", ("idp|dana",), "shop", ("dba", "sec"), 2, ApprovalState.WAITING, 1000, 2000,
)


def event(index: int, **more: Any) -> StoredEvent:
    return replace(StoredEvent(index, "boot", index, "policy.changed", 5, "s1", "idp|bot", "s1", b"sealed"), **more)


def row(number: int, **more: Any) -> SessionRow:
    return replace(SessionRow(f"s{number}", "boot", number, opened=number * 10, identity="idp|bot"), **more)


class StoreSuite:
    async def test_what_was_used(self, store: Any) -> None:
        """By identity and target: sessions opened since, and the last one ever."""
        rows = [row(1, target="shop"), row(2, target="shop"), row(3, target="ware"), row(4, identity="idp|eve", target="shop")]
        await store.fold(Fold(None, HEAD, sessions=rows))
        assert await store.used(20) == {
            ("idp|bot", "shop"): (1, 20), ("idp|bot", "ware"): (1, 30), ("idp|eve", "shop"): (1, 40),
        }  # fmt: skip
        assert (await store.used(100))["idp|bot", "shop"] == (0, 20)

    async def test_marks(self, store: Any) -> None:
        """0 until one is kept; the latest is what counts; names are apart."""
        assert await store.mark("export:siem") == 0
        for value in (7, 5, 1 << 40):
            await store.keep_mark("export:siem", value)
        assert (await store.mark("export:siem"), await store.mark("export:file")) == (1 << 40, 0)

    async def test_a_new_store_is_empty(self, store: Any) -> None:
        """Nothing is there before something is folded."""
        assert await store.head() is None
        assert await store.boots() == []
        assert await store.events() == []
        assert await store.sessions() == []
        assert await store.open_operations() == []
        assert await store.wrapped_key("s1") is None
        assert await store.session("s1") is None

    async def test_places_are_kept_by_target(self, store: Any) -> None:
        """What is there already may be kept again; one target's places are not another's."""
        assert await store.places("shop") == []
        await store.keep_places("shop", [("public.t.a", 0, 0, "=ssn"), ("", 16400, 2, "public.c.ssn")])
        await store.keep_places("shop", [("public.t.a", 0, 0, "=ssn"), ("public.t.a", 0, 0, "=card")])
        assert sorted(await store.places("shop")) == [
            ("", 16400, 2, "public.c.ssn"), ("public.t.a", 0, 0, "=card"), ("public.t.a", 0, 0, "=ssn"),
        ]  # fmt: skip
        assert await store.places("other") == []
        await store.forget_places("other", [("public.t.a", 0, 0, "=ssn")])
        await store.forget_places("shop", [("public.t.a", 0, 0, "=ssn"), ("", 16400, 2, "public.c.ssn"), ("x", 0, 0, "=y")])
        assert await store.places("shop") == [("public.t.a", 0, 0, "=card")]

    async def test_tokens_are_kept_by_target_until_they_are_erased(self, store: Any) -> None:
        """A token shown again replaces its entry; one target's are not another's; erasing says how many there were."""
        one = KeptToken("shop", "ssn_a", "ssn", "e1", 7, b"one")
        other = KeptToken("other", "ssn_a", "ssn", "e1", 7, b"other")
        await store.keep_tokens([one, other, KeptToken("shop", "card_b", "card", "e1", 8, b"b")])
        await store.keep_tokens([replace(one, epoch="e2", day=9, sealed=b"again")])
        assert await store.kept_token("shop", "ssn_a") == replace(one, epoch="e2", day=9, sealed=b"again")
        assert await store.kept_token("other", "ssn_a") == other
        assert await store.kept_token("shop", "ssn_b") is None
        assert sorted(await store.kept_counts("shop"), key=str) == [
            KeptCount("card", "e1", 1, 8, 8), KeptCount("ssn", "e2", 1, 9, 9),
        ]  # fmt: skip
        assert sum(count.tokens for count in await store.kept_counts()) == 3
        assert {row.target for row in await store.kept_under(["e1"], 10)} == {"shop", "other"}
        assert len(await store.kept_under(["e1"], 1)) == 1
        assert await store.expire_tokens(8) == 1
        assert await store.kept_token("other", "ssn_a") is None
        assert await store.forget_tokens("shop", tokens=["ssn_a", "ssn_z"]) == 1
        assert await store.forget_tokens("other", label="card") == 0
        assert await store.forget_tokens("shop", label="card") == 1
        assert await store.kept_counts() == []

    async def test_what_was_spent_is_kept_by_slot(self, store: Any) -> None:
        """A slot's answers are replaced, not added to; slots that are over go."""
        assert await store.spent(0) == []
        await store.keep_spent([Spent("idp|bot", "ssn", 7, 3), Spent("idp|bot", "card", 8, 1)], 0)
        await store.keep_spent([Spent("idp|bot", "ssn", 7, 2)], 0)
        assert sorted(await store.spent(0), key=str) == [Spent("idp|bot", "card", 8, 1), Spent("idp|bot", "ssn", 7, 2)]
        assert await store.spent(8) == [Spent("idp|bot", "card", 8, 1)]
        await store.keep_spent([], 8)
        assert await store.spent(0) == [Spent("idp|bot", "card", 8, 1)]

    async def test_a_fold_is_all_there(self, store: Any) -> None:
        """Everything that a fold names is there afterwards, as it was given."""
        boot = Boot("boot", 1, 100, 2, b"l" * 32)
        await store.fold(Fold(None, HEAD, [event(0), event(1, type="session.opened", session_id="s2")], [boot],
                              {"s1": b"wrapped"}, [row(1)], [OpenOperation("o1", "s1"), OpenOperation("o2", "s1")]))
        assert await store.head() == HEAD
        assert await store.boots() == [boot]
        assert [each.index for each in await store.events()] == [0, 1]
        assert await store.events(session_id="s1") == [event(0)]
        assert [each.index for each in await store.events(types=["session.opened"])] == [1]
        assert [each.index for each in await store.events(after=0)] == [1]
        assert [each.index for each in await store.events(limit=1)] == [0]
        assert await store.count_events("session.opened", ["s1", "s2", "s3"]) == {"s2": 1}
        assert await store.count_events("session.opened", []) == {}
        assert await store.wrapped_key("s1") == b"wrapped"
        assert await store.session("s1") == row(1)
        await store.fold(Fold(HEAD, NEXT, boots=[replace(boot, position=200, ended=True)], settled=["o1"],
                              sessions=[row(1, state="closed", segments=3)]))
        assert (await store.boots())[0].ended
        assert await store.open_operations() == [OpenOperation("o2", "s1")]
        assert (await store.session("s1")).segments == 3

    async def test_what_waits_to_be_told_comes_with_its_event(self, store: Any) -> None:
        """In the same fold or not at all; one that waits already stays as it is; an attempt is one caller's."""
        note = Outgoing("e1.ops", "ops", "requests", "a1", 10, 1000, b'{"target":"shop"}', next_at=10)
        other = replace(note, id="e1.dba", channel="dba")
        await store.fold(Fold(None, HEAD, outgoing=[note, other]))
        assert await store.outbox.due("ops", 9, 5) == []
        assert await store.outbox.due("ops", 1000, 5) == []  # its time is over
        assert await store.outbox.due("ops", 10, 5) == [note]
        assert await store.outbox.claim(note, 500)
        assert not await store.outbox.claim(note, 500)
        await store.fold(Fold(HEAD, NEXT, outgoing=[note]))
        assert await store.outbox.due("ops", 499, 5) == []
        await store.outbox.postpone("e1.ops", "503", 400)
        taken = replace(note, attempts=1, next_at=500, error="503")
        assert await store.outbox.due("ops", 500, 5) == [taken]
        await store.outbox.postpone("e1.ops", "429", 600)
        assert [each.next_at for each in await store.outbox.waiting()] == [10, 600]
        await store.outbox.delivered("e1.dba")
        await store.outbox.delivered("e1.dba")
        assert [each.id for each in await store.outbox.waiting()] == ["e1.ops"]
        with pytest.raises(IntegrityError):
            await store.fold(Fold(HEAD, NEXT, outgoing=[other]))
        assert len(await store.outbox.waiting()) == 1

    async def test_what_waits_is_bounded_by_time_and_number(self, store: Any) -> None:
        """The oldest of a channel's kind go when there are too many, and what is over goes; each is said once."""
        notes = [Outgoing(f"n{n}", "ops", "requests", "a", n, 100 + n) for n in range(6)]
        others = [Outgoing("g", "ops", "break-glass", "s", 0, 900), Outgoing("d", "dba", "requests", "a", 0, 900)]
        await store.fold(Fold(None, HEAD, outgoing=[*notes, *others]))
        assert await store.outbox.prune(101, 3) == [("ops", "requests", "expired", 2), ("ops", "requests", "full", 1)]
        assert await store.outbox.prune(101, 3) == []
        assert sorted(each.id for each in await store.outbox.waiting()) == ["d", "g", "n3", "n4", "n5"]

    @pytest.mark.parametrize("expected", [None, NEXT, replace(HEAD, size=9), replace(HEAD, root=b"x" * 32)])
    async def test_a_fold_from_another_head_changes_nothing(self, store: Any, expected: Head | None) -> None:
        """Who does not know the head cannot move it, and nothing else of that fold happens."""
        await store.fold(Fold(None, HEAD))
        with pytest.raises(IntegrityError):
            await store.fold(Fold(expected, NEXT, [event(0)], sessions=[row(1)]))
        assert await store.head() == HEAD
        assert await store.events() == []
        assert await store.sessions() == []

    async def test_sessions_are_filtered_and_paged(self, store: Any) -> None:
        """Newest first; each filter narrows; `before` goes on where the last page ended."""
        rows = [row(n, state="closed" if n % 2 else "open", target=f"t{n % 3}") for n in range(1, 8)]
        await store.fold(Fold(None, HEAD, sessions=[*rows, row(8, identity="idp|eve")]))

        async def ids(**filters: Any) -> list[str]:
            return [found.id for found in await store.sessions(**filters)]

        assert await ids(limit=3) == ["s8", "s7", "s6"]
        assert await ids(limit=3, before="s6") == ["s5", "s4", "s3"]
        assert await ids(identity="idp|eve") == ["s8"]
        assert await ids(state="closed") == ["s7", "s5", "s3", "s1"]
        assert await ids(target="t0") == ["s6", "s3"]
        assert await ids(since=30, until=50) == ["s4", "s3"]

    async def test_an_approval_comes_back_as_it_was(self, store: Any) -> None:
        """Create, get, list; an id is used once."""
        await store.approvals.create(ASKED, b"rendering")
        assert await store.approvals.get("a1") == ASKED
        assert await store.approvals.body("a1") == b"rendering"
        assert await store.approvals.get("a2") is None
        assert await store.approvals.list() == [ASKED]
        assert await store.approvals.list(ApprovalState.WAITING) == [ASKED]
        assert await store.approvals.list(ApprovalState.SPENT) == []
        with pytest.raises(ValueError, match="a1"):
            await store.approvals.create(ASKED)

    async def test_one_vote_a_voter(self, store: Any) -> None:
        """A second vote of the same person does not count, nor one when there is nothing to vote on."""
        await store.approvals.create(ASKED)
        assert await store.approvals.vote("a1", Vote("idp|dana", True, 1100))
        assert not await store.approvals.vote("a1", Vote("idp|dana", False, 1200))
        assert await store.approvals.vote("a1", Vote("idp|kim", False, 1300, "no"))
        assert not await store.approvals.vote("a2", Vote("idp|dana", True, 1100))
        assert (await store.approvals.get("a1")).votes == (Vote("idp|dana", True, 1100), Vote("idp|kim", False, 1300, "no"))
        assert await store.approvals.set_state("a1", ApprovalState.WAITING, ApprovalState.DENIED)
        assert not await store.approvals.vote("a1", Vote("idp|lee", True, 1400))

    async def test_spent_once(self, store: Any) -> None:
        """Of many that try at once, one spends an approval; not before it is given, not for another digest, not late."""
        approvals = store.approvals
        await approvals.create(ASKED)
        assert not await approvals.spend("a1", b"digest", 1500)
        assert await approvals.set_state("a1", ApprovalState.WAITING, ApprovalState.APPROVED)
        assert not await approvals.set_state("a1", ApprovalState.WAITING, ApprovalState.APPROVED)
        assert not await approvals.spend("a1", b"another", 1500)
        assert not await approvals.spend("a1", b"digest", 2000)
        assert sorted(await asyncio.gather(*(approvals.spend("a1", b"digest", 1500) for _ in range(5)))) == [False] * 4 + [True]
        assert (await approvals.get("a1")).state is ApprovalState.SPENT
        assert (await approvals.get("a1")).uses == 1

    async def test_reusable(self, store: Any) -> None:
        """The same identity and digest find a request that waits, is parked or approved, until it expires."""
        approvals = store.approvals
        await approvals.create(ASKED)
        assert (await approvals.find_reusable("idp|bot", b"digest", 1500)).id == "a1"
        assert await approvals.find_reusable("idp|eve", b"digest", 1500) is None
        assert await approvals.find_reusable("idp|bot", b"other", 1500) is None
        assert await approvals.find_reusable("idp|bot", b"digest", 2000) is None
        await approvals.set_state("a1", ApprovalState.WAITING, ApprovalState.DENIED)
        assert await approvals.find_reusable("idp|bot", b"digest", 1500) is None

    async def test_uses_of_a_grant_are_counted_within_its_limits(self, store: Any) -> None:
        """Of many at once as many as there are uses left, numbered; rows bind too; settled ones give back, or take; none
        before it is approved or after its end."""
        approvals = store.approvals
        await approvals.create(ASKED)
        assert await approvals.use("a1", "o0", "lane", "boot", 1, 3, 10) == 0
        await approvals.set_state("a1", ApprovalState.WAITING, ApprovalState.APPROVED)
        assert [found.id for found in await approvals.approved("idp|bot", b"digest")] == ["a1"]
        assert not await approvals.approved("idp|bot", b"other")
        assert await approvals.use("a1", "o1", "lane", "boot", 11, 3, 10) == 0
        numbers = await asyncio.gather(*(approvals.use("a1", f"p{n}", "lane", "boot", 3, 3, 10) for n in range(6)))
        assert sorted(numbers) == [0, 0, 0, 1, 2, 3]
        assert await approvals.used("a1") == Used(3, 9, 3)
        assert await approvals.used("a2") == Used()
        assert list(await approvals.unsettled("lane", "boot")) == []
        assert list(await approvals.unsettled("lane", "next")) == ["a1"]
        assert list(await approvals.unsettled("other", "next")) == []
        await approvals.settle({f"p{n}": 1 for n, number in enumerate(numbers) if number})
        assert await approvals.used("a1") == Used(3, 3, 0)
        assert list(await approvals.unsettled("lane", "next")) == []
        assert await approvals.use("a1", "o2", "lane", "boot", 7, 4, 10) == 4
        await approvals.set_state("a1", ApprovalState.APPROVED, ApprovalState.WITHDRAWN)
        assert await approvals.use("a1", "o3", "lane", "boot", 0, 9, 10) == 0

    async def test_requests_of_one_form_are_found(self, store: Any) -> None:
        """Newest first, no more than asked for; without a form none is like another's."""
        for number in range(4):
            await store.approvals.create(replace(ASKED, id=f"a{number}"), b"", "shop f" if number else "")
        assert [found.id for found in await store.approvals.alike("shop f", limit=2)] == ["a3", "a2"]
        assert list(await store.approvals.alike("other", limit=9)) == []

    async def test_a_fold_parks_what_waits(self, store: Any) -> None:
        """Recovery parks an approval in the same transaction as its event, and only one that waits."""
        await store.approvals.create(ASKED)
        await store.approvals.create(replace(ASKED, id="a2", state=ApprovalState.APPROVED))
        await store.fold(Fold(None, HEAD, parked=["a1", "a2"]))
        assert (await store.approvals.get("a1")).state is ApprovalState.PARKED
        assert (await store.approvals.get("a2")).state is ApprovalState.APPROVED

    async def test_a_fold_stores_votes_that_count(self, store: Any) -> None:
        """The first of each voter, on what is not decided yet; the rest of the fold is there all the same."""
        await store.approvals.create(ASKED)
        await store.approvals.create(replace(ASKED, id="a2", state=ApprovalState.APPROVED))
        yes, no = Vote("idp|dana", True, 1100), Vote("idp|dana", False, 1200)
        await store.fold(Fold(None, HEAD, [event(0)], votes=[("a1", yes), ("a1", no), ("a2", no), ("a3", no)]))
        assert (await store.approvals.get("a1")).votes == (yes,)
        assert (await store.approvals.get("a2")).votes == ()
        await store.fold(Fold(HEAD, NEXT, votes=[("a1", no)]))
        assert (await store.approvals.get("a1")).votes == (yes,)
        assert [found.index for found in await store.events()] == [0]


class IdentitiesSuite:
    """Give the fixture `identities`."""

    async def test_the_newest_token_says_who_somebody_is(self, identities: Any) -> None:
        """What an older one says changes nothing but when they were seen; only other rights are another version."""
        ann = Principal("idp|ann", "human", ("dba",), {"email": "a@x"}, issued_at=10, seen_at=100)
        await identities.keep_principal(ann)
        first = await identities.version()
        await identities.keep_principal(replace(ann, issued_at=20, seen_at=200))
        assert await identities.version() == first
        assert await identities.everybody(10) == await identities.principals(["idp|ann"])
        assert await identities.everybody(0) == []
        assert await identities.principals(["idp|ann", "idp|bob"]) == [replace(ann, issued_at=20, seen_at=200)]
        await identities.keep_principal(replace(ann, groups=("old",), issued_at=15, seen_at=300))
        assert await identities.principals(["idp|ann"]) == [replace(ann, issued_at=20, seen_at=300)]
        assert await identities.version() == first
        await identities.keep_principal(replace(ann, groups=(), issued_at=30, seen_at=400))
        assert await identities.version() != first
        (found,) = await identities.principals(["idp|ann"])
        assert (found.groups, found.issued_at) == ((), 30)

    async def test_an_agent_is_changed_by_compare_and_swap(self, identities: Any) -> None:
        """One of a name; a change to what it is no longer is refused."""
        bot = Agent("bot", "idp|ann", "https://ci", {"repository_id": "1"}, ("agents",), True, 5, "idp|adm")
        assert await identities.add_agent(bot)
        assert not await identities.add_agent(replace(bot, owner="idp|eve"))
        before = await identities.version()
        assert await identities.change_agent(bot, replace(bot, enabled=False))
        assert await identities.version() != before
        assert not await identities.change_agent(bot, replace(bot, owner="idp|eve"))
        assert await identities.agents() == [replace(bot, enabled=False)]

    async def test_a_revocation_stands_until_it_is_lifted_or_over(self, identities: Any) -> None:
        """Oldest first; each change is another version."""
        seen = {await identities.version()}
        one = Revocation("r1", "subject", "idp|ann", 10, "idp|adm", "left")
        two = Revocation("r2", "jti", "t-1", 5, until=100)
        for each in (one, two):
            await identities.revoke(each)
            seen.add(await identities.version())
        with pytest.raises(ValueError, match="r1"):
            await identities.revoke(one)
        assert await identities.revocations(50) == [two, one]
        assert await identities.revocations(100) == [one]
        assert await identities.lift("r1")
        assert not await identities.lift("r1")
        seen.add(await identities.version())
        assert await identities.revocations(100) == []
        assert len(seen) == 4

    async def test_a_token_is_exchanged_once(self, identities: Any) -> None:
        """All of them or none; the same jti of another issuer is another token; what is over is forgotten."""
        assert await identities.exchange([("a", "1")], 100, "m1", 0)
        assert not await identities.exchange([("a", "1")], 100, "m2", 0)
        assert not await identities.exchange([("b", "1"), ("a", "1")], 100, "m3", 0)
        assert await identities.exchange([("b", "1"), ("a", "2")], 100, "m4", 0)
        assert not await identities.exchange([("c", "1"), ("c", "1")], 100, "m5", 0)
        assert await identities.exchange([("gw", "m4")], 100, "m6", 0)
        assert await identities.made_from("2") == ["m4", "m6"]
        assert await identities.made_from("9") == []
        assert await identities.exchange([("a", "1")], 300, "m7", 100)

    async def test_of_many_at_once_one_exchanges(self, identities: Any) -> None:
        """The store decides, not who asks."""
        won = await asyncio.gather(*(identities.exchange([("a", "1")], 100, f"m{n}", 0) for n in range(20)))
        assert won.count(True) == 1
