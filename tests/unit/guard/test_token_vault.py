"""The token vault: what is shown is kept before, sealed, for as long as it may be, and answered to whom it may."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import replace
from typing import Any, cast

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from doorward.errors import ConfigError, IntegrityError, UpstreamError
from doorward.guard import token_vault
from doorward.guard.budgets import Budgets
from doorward.guard.policies import PolicyInForce
from doorward.guard.recorder import Recorder
from doorward.guard.reveals import Revealed, Reveals, Withheld
from doorward.guard.stores import KeptToken
from doorward.guard.token_vault import DAY, LONGEST, Sealing, TokenVault
from doorward.masking.detect import Detectors
from doorward.masking.transforms import Transforms
from doorward.model import Identity, Kind, Target
from doorward.policy import policies
from tests.memory.store import MemoryBudgets, MemoryVault
from tests.unit.guard.test_budgets import Time

KEY, OLD = b"k" * 32, b"o" * 32
TOKEN = "ssn_abcdefghijklmnop"
SHOP = Target(name="shop", protocol="postgres", host="db", port=5432, credential=None)


class Record:
    """A recorder of which only `event` and `detectors` are asked. `sealed`: what the vault held when each event was written."""

    def __init__(self, store: MemoryVault) -> None:
        self.detectors = Detectors()
        self.events: list[tuple[str, Mapping[str, Any], str]] = []
        self.fails = False
        self.held: list[int] = []
        self._store = store

    async def event(self, type: str, body: Mapping[str, Any], *, session_id: str = "", actor: str = "") -> int:  # noqa: A002
        if self.fails:
            raise UpstreamError("no disk")
        self.events.append((type, body, actor))
        self.held.append(len(self._store.tokens))
        return len(self.events)


class Slow(MemoryVault):
    """Writes when it is let, and fails when it is told to."""

    def __init__(self) -> None:
        super().__init__()
        self.let = asyncio.Event()
        self.fails = False
        self.batches: list[int] = []

    async def keep_tokens(self, rows: Sequence[KeptToken]) -> None:
        await self.let.wait()
        if self.fails:
            raise UpstreamError("no space left")
        self.batches.append(len(rows))
        await super().keep_tokens(rows)


def made(
    store: MemoryVault, *, clock: Time | None = None, keys: Sequence[bytes] = (KEY,), most: int = 1000, retention: int = 10
) -> tuple[TokenVault, Record, Time]:
    clock = clock or Time()
    record = Record(store)
    return TokenVault(store, cast(Recorder, record), clock, keys, retention=retention, most=most), record, clock


@asynccontextmanager
async def running(vault: TokenVault) -> AsyncIterator[None]:
    async with asyncio.TaskGroup() as group:
        task = group.create_task(vault.run())
        await asyncio.sleep(0)
        yield
        task.cancel()


async def shown(vault: TokenVault, *values: str, label: str = "ssn") -> list[str]:
    """Mask these as one chunk, and wait until it may be sent."""
    transforms = Transforms({label: "vault"}, bytes(32), keep=vault.keeper("shop"))
    tokens = [transforms.apply(label, value) or "" for value in values]
    owed = vault.owed()
    if (future := vault.wait(owed) if owed else None) is not None:
        await future
    return tokens


async def test_a_chunk_waits_until_its_tokens_are_kept_and_no_longer() -> None:
    """A token that is new has to be written first; what another chunk has written, or is about to, is not written again."""
    store = Slow()
    vault, _, _ = made(store)
    async with running(vault):
        first = asyncio.ensure_future(shown(vault, "one", "two", "one"))
        second = asyncio.ensure_future(shown(vault, "two"))
        await asyncio.sleep(0.05)
        assert not first.done()
        assert not second.done()
        store.let.set()
        tokens = await first
        assert await second == tokens[1:2]
        assert tokens[0] == tokens[2] != tokens[1]
        assert sum(store.batches) == 2
        assert await shown(vault, "one") == tokens[:1]
        assert vault.owed() == 0
        assert sum(store.batches) == 2
        assert [vault.open(store.tokens["shop", token]) for token in tokens] == ["one", "two", "one"]


@pytest.mark.parametrize("how", ["fails", "is full", "is slow", "stops"])
async def test_what_cannot_be_kept_is_not_shown(how: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Whatever keeps a token out of the store ends every chunk's wait for it in an error; the next try is a new one."""
    store = Slow()
    vault, _, _ = made(store, most=1 if how == "is full" else 1000)
    if how == "is slow":
        monkeypatch.setattr(token_vault, "SECONDS", 0.05)
    else:
        store.let.set()
    store.fails = how == "fails"
    async with running(vault):
        if how == "stops":
            store.let.clear()
        chunks = [asyncio.ensure_future(shown(vault, "one", "two")) for _ in range(2)]
        if how == "stops":
            await asyncio.sleep(0.02)
            for task in asyncio.all_tasks():
                if getattr(task.get_coro(), "__name__", "") == "run":
                    task.cancel()
        for chunk in chunks:
            with pytest.raises(UpstreamError, match="could not keep what it must"):
                await chunk
        assert store.tokens == {}
        if how == "fails":
            store.fails = False
            assert len(await shown(vault, "one")) == len(store.tokens) == 1
    if how == "stops":
        with pytest.raises(UpstreamError, match="the gateway is stopping"):
            await shown(vault, "three")


async def test_what_waits_is_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    """Too much at once is an error, which ends that result; a value too long to be kept is redacted instead."""
    vault, _, _ = made(Slow())
    monkeypatch.setattr(token_vault, "PENDING", 10_000)
    transforms = Transforms({"ssn": "vault"}, bytes(32), keep=vault.keeper("shop"))
    assert transforms.apply("ssn", "x" * (LONGEST + 1)) == "[ssn]"
    assert vault.owed() == 0
    with pytest.raises(OverflowError):
        [transforms.apply("ssn", str(number)) for number in range(100)]


async def test_what_is_remembered_is_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    """More tokens than are remembered: they are written again, and all are kept."""
    monkeypatch.setattr(token_vault, "KNOWN", 64)
    store = MemoryVault()
    vault, _, _ = made(store)
    async with running(vault):
        for _ in range(2):
            for start in range(0, 300, 10):
                await shown(vault, *(str(start + n) for n in range(10)))
        assert len(store.tokens) == 300
        assert len(vault._known) <= 64


async def test_tokens_expire_after_they_were_last_shown() -> None:
    """What is shown again stays; what is not goes, on record before it does, and is not revealed once its days are over, even
    while it is there."""
    store = MemoryVault()
    vault, record, clock = made(store)
    async with running(vault):
        seen, unseen = await shown(vault, "seen", "unseen")
        clock.at += 9 * DAY
        await shown(vault, "seen")
        assert not await vault.tidy()
        assert len(store.tokens) == 2
        clock.at += 2 * DAY
        assert await vault.find("shop", unseen) is None
        assert await vault.find("shop", seen) is not None
        await vault.tidy()
        assert [key[1] for key in store.tokens] == [seen]
        assert [(kind, held) for (kind, _, _), held in zip(record.events, record.held, strict=True)] == [("token.expired", 2)]
        record.fails = True
        clock.at += 20 * DAY
        with pytest.raises(UpstreamError):
            await vault.tidy()
        assert len(store.tokens) == 1


async def test_keys_are_rotated() -> None:
    """A new key in front seals, what the old one sealed is sealed anew, and then the old one may go; an entry that does not
    open stays, and keeps nobody busy. A key that nobody has opens nothing."""
    store = MemoryVault()
    before, _, clock = made(store, keys=[OLD])
    async with running(before):
        tokens = await shown(before, "one", "two", "broken")
    spoiled = store.tokens["shop", tokens[2]]
    store.tokens["shop", tokens[2]] = replace(spoiled, sealed=spoiled.sealed[:-1] + b"\0")
    after, record, _ = made(store, clock=clock, keys=[KEY, OLD])
    assert after.open(store.tokens["shop", tokens[0]]) == "one"
    assert not await after.tidy()
    assert [kind for kind, _, _ in record.events] == ["token.resealed"]
    assert not await after.tidy()
    assert len(record.events) == 1
    alone, _, _ = made(store, clock=clock, keys=[KEY])
    assert [alone.open(store.tokens["shop", token]) for token in tokens[:2]] == ["one", "two"]
    with pytest.raises(KeyError):
        alone.open(store.tokens["shop", tokens[2]])


async def test_many_are_sealed_anew_in_portions(monkeypatch: pytest.MonkeyPatch) -> None:
    """Portion by portion, in the background, until none is left."""
    monkeypatch.setattr(token_vault, "RESEALED", 10)
    store = MemoryVault()
    before, _, clock = made(store, keys=[OLD])
    async with running(before):
        await shown(before, *map(str, range(35)))
    after, _, _ = made(store, clock=clock, keys=[KEY, OLD])
    async with running(after):
        while any(row.epoch != after.epochs[0] for row in store.tokens.values()):
            await asyncio.sleep(0.01)


async def test_erased_tokens_are_gone_until_they_are_shown_again() -> None:
    """By token and by label; the next chunk that shows one keeps it anew, though it was written today already."""
    store = MemoryVault()
    vault, _, _ = made(store)
    async with running(vault):
        one, two = await shown(vault, "one", "two")
        await shown(vault, "one", label="card")
        assert await vault.forget("shop", tokens=[one]) == 1
        assert await vault.find("shop", one) is None
        assert await vault.find("shop", two) is not None
        assert await vault.forget("shop", label="card") == 1
        assert [count.label for count in await vault.counts("shop")] == ["ssn"]
        assert await shown(vault, "one") == [one]
        assert await vault.find("shop", one) is not None


def test_short_keys_are_refused() -> None:
    """A key that could be guessed is none."""
    with pytest.raises(ConfigError, match="shorter than 32 bytes"):
        Sealing([b"x" * 31])


@settings(max_examples=50, deadline=None)
@given(value=st.binary(max_size=300), day=st.integers(0, 1 << 20))
def test_what_is_sealed_opens_in_its_place_only(value: bytes, day: int) -> None:
    """Any value; never in the clear; nowhere but in the row it was sealed for, and not when a bit of it has changed; its length
    says it to 32 bytes."""
    sealing = Sealing([KEY])
    kept = sealing.seal("shop", "ssn", TOKEN, day, value)
    assert sealing.open(kept) == value
    assert len(value) < 4 or value not in kept.sealed
    assert (len(kept.sealed) - 28) % 32 == 0
    for moved in (
        replace(kept, target="other"), replace(kept, token=TOKEN[:-1] + "q"), replace(kept, label="card"),
        replace(kept, day=day + 1), replace(kept, sealed=bytes((kept.sealed[0] ^ 1,)) + kept.sealed[1:]),
    ):  # fmt: skip
        with pytest.raises(IntegrityError):
            sealing.open(moved)


POLICY = """
@id("fraud") permit (principal in Group::"fraud", action == Action::"unmask", resource == Label::"ssn")
  when { context.purpose like "chargeback*" && context.target == Target::"shop" };
@id("asked") permit (principal in Group::"careful", action == Action::"unmask", resource) when { context.approved };
"""


def identity(name: str, *groups: str, kind: Kind = Kind.HUMAN, behalf: Identity | None = None) -> Identity:
    return Identity(
        subject=name, kind=kind, issuer="idp", groups=frozenset(groups), claims={}, on_behalf_of=behalf,
        authenticated_at=0, expires_at=1 << 50,
    )  # fmt: skip


ANN = identity("ann", "fraud")


@pytest.mark.parametrize(
    ("who", "token", "reason", "why"),
    [
        (identity("bob"), "", "chargeback 1", "no policy lets you unmask ssn"),
        (ANN, "", "curious", "no policy lets you unmask ssn"),
        (ANN, "card_abcdefghijklmnop", "chargeback 1", "no policy lets you unmask card"),
        (identity("cat", "careful"), "", "chargeback 1", "policy wants an approval"),
        (identity("bot", "fraud", kind=Kind.AGENT), "", "chargeback 1", "only people reveal"),
        (identity("job", "fraud", kind=Kind.SERVICE), "", "chargeback 1", "only people reveal"),
        (identity("bot", "fraud", kind=Kind.AGENT, behalf=ANN), "", "chargeback 1", "only people reveal"),
        (identity("ann", "fraud", behalf=identity("bot", "fraud", kind=Kind.AGENT)), "", "chargeback 1", "only people"),
        (ANN, "ssn_aaaaaaaaaaaaaaaa", "chargeback 1", "is not in the vault"),
    ],
)
async def test_a_token_is_withheld(who: Identity, token: str, reason: str, why: str) -> None:
    """From whom policy does not let, for another reason than it allows, from agents whoever they act for; and one that is
    not there. Each no is on record, with who and why."""
    vault, record, clock = made(MemoryVault())
    reveals = revealing(vault, record, clock)
    async with running(vault):
        (there,) = await shown(vault, "078-05-1120")
    answer = await reveals.reveal(who, SHOP, token or there, reason)
    assert isinstance(answer, Withheld)
    assert why in answer.reason
    ((kind, body, actor),) = record.events
    assert (kind, actor, body["reason"], body["why"]) == ("token.withheld", who.id, reason, answer.reason)


def revealing(vault: TokenVault, record: Record, clock: Time, per_hour: int = 3) -> Reveals:
    in_force = PolicyInForce(policies.load({"p.cedar": POLICY}))
    return Reveals(vault, in_force, cast(Recorder, record), Budgets(MemoryBudgets(), clock), per_hour=per_hour)


async def test_a_token_is_revealed_once_that_is_on_record() -> None:
    """To whom policy lets, for the reason it allows; the event has all but the value, and is there first: where it cannot be
    written, nothing is answered. What a reason quotes is masked on record."""
    vault, record, clock = made(MemoryVault())
    reveals = revealing(vault, record, clock)
    async with running(vault):
        (token,) = await shown(vault, "078-05-1120")
    answer = await reveals.reveal(ANN, SHOP, token, "chargeback of card 4111111111111111")
    assert answer == Revealed(token, "ssn", "078-05-1120", clock.at // DAY)
    ((kind, body, actor),) = record.events
    assert (kind, actor) == ("token.revealed", "idp|ann")
    assert {"target": "shop", "token": token, "label": "ssn", "rules": ["fraud"]}.items() <= body.items()
    assert "078-05" not in str(record.events)
    assert "4111" not in str(record.events)
    record.fails = True
    with pytest.raises(UpstreamError):
        await reveals.reveal(ANN, SHOP, token, "chargeback 2")


async def test_nobody_reveals_more_than_so_many_an_hour() -> None:
    """Whatever came of each, also when the gateway was started again; in another hour there is room again."""
    vault, record, clock = made(MemoryVault())
    reveals = revealing(vault, record, clock)
    async with running(vault):
        (token,) = await shown(vault, "078-05-1120")
    for asked in (token, "ssn_aaaaaaaaaaaaaaaa", token):
        await reveals.reveal(ANN, SHOP, asked, "chargeback 1")
    answer = await reveals.reveal(ANN, SHOP, token, "chargeback 1")
    assert isinstance(answer, Withheld)
    assert "as many as one may" in answer.reason
    assert record.events[-1][0] == "token.withheld"
    clock.at += 2 * 3_600_000
    assert isinstance(await reveals.reveal(ANN, SHOP, token, "chargeback 1"), Revealed)
