"""Budgets of inference: counted before, exact while, written down after."""

from __future__ import annotations

import asyncio

import pytest

from doorward.errors import UpstreamError
from doorward.guard.budgets import SLOT, SLOTS, Budgets, Exhausted, StatementAllowance
from doorward.guard.stores import Spent
from doorward.model import Budget
from tests.memory.store import MemoryBudgets

TEN = Budget("idp|bot", "ssn", 10, "ten")
THREE = Budget("idp|ann", "ssn", 3, "three")


class Time:
    """A clock that is set."""

    def __init__(self) -> None:
        self.at = 1000 * SLOT

    def now(self) -> int:
        return self.at

    def monotonic(self) -> float:
        return self.at / 1000

    def new_id(self) -> str:
        raise AssertionError


class Broken(MemoryBudgets):
    async def keep_spent(self, rows: object, since: int) -> None:
        raise UpstreamError("no disk")


async def reserved(budgets: Budgets, *each: Budget) -> StatementAllowance:
    found = await budgets.reserve(each)
    assert isinstance(found, StatementAllowance)
    return found


async def test_rows_are_answers_and_a_statement_without_any_is_one() -> None:
    """The first row is the statement's own; the one that is too many is not taken, nor any after it."""
    budgets = Budgets(MemoryBudgets(), Time())
    for _ in range(2):
        (await reserved(budgets, TEN)).release()
    one = await reserved(budgets, TEN)
    assert [one.take(rows) for rows in (1, 0, 4, 3)] == [True, True, True, True]  # 8, and 2 before
    assert not one.take(1)
    assert isinstance(await budgets.reserve((TEN,)), Exhausted)
    assert not one.take(1)


async def test_the_tightest_of_several_holds_and_nothing_is_counted_in_vain() -> None:
    """What one budget refuses is not taken from the other."""
    budgets = Budgets(MemoryBudgets(), Time())
    for _ in range(3):
        await reserved(budgets, TEN, THREE)
    found = await budgets.reserve((TEN, THREE))
    assert isinstance(found, Exhausted)
    assert found.budget == THREE
    one = await reserved(budgets, TEN)
    assert one.take(7)
    assert not one.take(1)


async def test_two_that_run_at_once_share_what_is_left() -> None:
    """Each sees what the other took, row by row."""
    budgets = Budgets(MemoryBudgets(), Time())
    one, two = await asyncio.gather(reserved(budgets, TEN), reserved(budgets, TEN))
    assert one.take(5)
    assert two.take(5)
    assert not one.take(1)
    assert not two.take(1)


async def test_an_hour_slides() -> None:
    """What was spent comes back after an hour, in steps of five minutes; Exhausted says when."""
    clock = Time()
    budgets = Budgets(MemoryBudgets(), clock)
    assert (await reserved(budgets, TEN)).take(6)
    clock.at += SLOT
    assert (await reserved(budgets, TEN)).take(4)
    found = await budgets.reserve((TEN,))
    assert isinstance(found, Exhausted)
    clock.at = found.until - 1
    assert isinstance(await budgets.reserve((TEN,)), Exhausted)
    clock.at = found.until
    one = await reserved(budgets, TEN)
    assert one.take(6)
    assert not one.take(1)
    assert found.until == (1000 + SLOTS + 1) * SLOT


async def test_what_is_left_is_reserved_while_it_runs_and_given_back_after() -> None:
    """A gateway that is killed finds nothing left; one that was not finds what was not spent."""
    store, clock = MemoryBudgets(), Time()
    budgets = Budgets(store, clock)
    one = await reserved(budgets, TEN)
    assert one.take(3)
    killed = Budgets(store, clock)
    await killed.load()
    assert isinstance(await killed.reserve((TEN,)), Exhausted)
    one.release()
    one.release()  # once is enough
    await budgets.flush()
    assert list(store.rows.values()) == [Spent("idp|bot", "ssn", 1000, 3)]
    stopped = Budgets(store, clock)
    await stopped.load()
    assert (await reserved(stopped, TEN)).take(7)


async def test_what_still_runs_stays_reserved() -> None:
    """The end of one statement gives back nothing that another may be taking."""
    store = MemoryBudgets()
    budgets = Budgets(store, Time())
    one, two = await reserved(budgets, TEN), await reserved(budgets, TEN)
    one.release()
    await budgets.flush()
    assert [row.answers for row in store.rows.values()] == [10]
    two.release()
    await budgets.flush()
    assert [row.answers for row in store.rows.values()] == [2]


async def test_what_cannot_be_written_down_does_not_run() -> None:
    """The store's failure is the caller's to report."""
    budgets = Budgets(Broken(), Time())
    with pytest.raises(UpstreamError):
        await budgets.reserve((TEN,))
