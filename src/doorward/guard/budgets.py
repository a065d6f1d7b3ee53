"""Budgets of inference: how many answers one identity has had from one label in the last hour.

Contract: `reserve` counts a statement before it runs, and what is left of each of its budgets is durably reserved when it
returns; `Allowance.take` counts rows before they are shown, and says no at the one that would be too many; `release` ends it.
All sessions of this process count on the same accounts, in one event loop, so that no two of them can spend the same answer.
Each process has accounts of its own; a reservation, in one transaction, is of what all of them have left, so that while a
statement runs at one of them, another has nothing left to give.

An answer is a row; a statement that returns none counts as one. The hour slides in steps of five minutes. If we die while a
statement runs, its reservation stays: what it took is not known, so it counts as all that was left, until its hour is over.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Final

from doorward.errors import UpstreamError
from doorward.guard.ports import Clock
from doorward.guard.stores import BudgetStore, Reservation, Spent
from doorward.model import Budget

SLOT: Final = 300_000  # milliseconds
SLOTS: Final = 12  # the hour, besides the slot that is not over
LAG: Final = 1.0  # seconds after which what was spent of a reservation is written down


@dataclass(frozen=True, slots=True)
class Exhausted:
    """A budget that has nothing left. `until`: Unix milliseconds when it will have something again."""

    budget: Budget
    until: int


class _Account:
    """What one identity had from one label, by slot."""

    __slots__ = ("running", "slots")

    def __init__(self) -> None:
        self.slots: dict[int, int] = {}
        self.running = 0

    def used(self, slot: int) -> int:
        for old in [number for number in self.slots if number < slot - SLOTS]:
            del self.slots[old]
        return sum(self.slots.values())

    def add(self, slot: int, answers: int) -> None:
        self.slots[slot] = self.slots.get(slot, 0) + answers


class StatementAllowance:
    """Satisfies `model.Allowance`."""

    __slots__ = ("_accounts", "_budgets", "_elsewhere", "_open", "_owner", "_rows", "overdrawn")

    def __init__(self, owner: Budgets, budgets: Sequence[Budget], accounts: Sequence[_Account]) -> None:
        self._elsewhere: Sequence[int] = [0] * len(budgets)  # what other processes have had
        self._owner = owner
        self._budgets = budgets
        self._accounts = accounts
        self._rows = 0
        self._open = True
        self.overdrawn: Budget | None = None

    @property
    def exceeded(self) -> str:
        if self.overdrawn is None:
            return ""
        return "this result has more rows than may still be inferred from confidential data this hour, and ends here"

    def settled(self, outcome: str, rows: int) -> None:
        """It was counted while it was shown."""

    def take(self, rows: int) -> bool:
        """The first row is paid for by the statement itself."""
        more = max(0, self._rows + rows - 1) - max(0, self._rows - 1)
        self._rows += rows
        slot = self._owner.slot()
        for budget, account, elsewhere in zip(self._budgets, self._accounts, self._elsewhere, strict=True):
            if account.used(slot) + elsewhere + more > budget.answers:
                self.overdrawn = budget
        if self.overdrawn is None:
            for account in self._accounts:
                account.add(slot, more)
        return self.overdrawn is None

    def elsewhere(self, answers: Sequence[int]) -> None:
        """What other processes have had of each budget, and while this runs have no more of."""
        self._elsewhere = answers

    def release(self) -> None:
        if self._open:
            self._open = False
            for budget, account in zip(self._budgets, self._accounts, strict=True):
                account.running -= 1
                self._owner.changed(budget.identity, budget.label)


def _exhausted(budget: Budget, account: _Account, slot: int) -> Exhausted:
    return Exhausted(budget, (min(account.slots, default=slot) + SLOTS + 1) * SLOT)


class Budgets:
    """The accounts. One a gateway."""

    def __init__(self, store: BudgetStore, clock: Clock, lane: Callable[[], int] = lambda: 0) -> None:
        self._lane = lane
        self._store = store
        self._clock = clock
        self._accounts: dict[tuple[str, str], _Account] = {}
        self._changed: set[tuple[str, str]] = set()
        self._something = asyncio.Event()
        self._turn = asyncio.Lock()

    def slot(self) -> int:
        return self._clock.now() // SLOT

    async def load(self) -> None:
        """Read what is still of this hour; forget the rest."""
        for spent in await self._store.spent(self.slot() - SLOTS):
            if spent.lane == self._lane():
                self._account(spent.identity, spent.label).slots[spent.slot] = spent.answers

    async def reserve(self, budgets: Sequence[Budget]) -> StatementAllowance | Exhausted:
        """Count one statement. Raises UpstreamError when that cannot be written down: then it must not run."""
        async with self._turn:  # what is written must not overtake what was counted later
            slot = self.slot()
            for budget in budgets:
                account = self._account(budget.identity, budget.label)
                if account.used(slot) + 1 > budget.answers:
                    return _exhausted(budget, account, slot)
            accounts = [self._account(budget.identity, budget.label) for budget in budgets]
            for account in accounts:
                account.add(slot, 1)
                account.running += 1
            allowance = StatementAllowance(self, budgets, accounts)
            try:
                others = await self._store.reserve(
                    [
                        Reservation(b.identity, b.label, slot, account.slots[slot], account.used(slot), b.answers, self._lane())
                        for b, account in zip(budgets, accounts, strict=True)
                    ],
                    slot - SLOTS,
                )
            except BaseException:
                allowance.release()
                raise
            for budget, account, elsewhere in zip(budgets, accounts, others, strict=True):
                if account.used(slot) + elsewhere > budget.answers:
                    for each in accounts:
                        each.add(slot, -1)
                    allowance.release()
                    return _exhausted(budget, account, slot)
            allowance.elsewhere(others)
            return allowance

    def changed(self, identity: str, label: str) -> None:
        """One statement less runs on this account."""
        self._changed.add((identity, label))
        self._something.set()

    async def run(self) -> None:
        """Write down what was really spent, soon after it was. Ends when it is cancelled."""
        while True:
            await self._something.wait()
            await asyncio.sleep(LAG)
            try:
                await self.flush()
            except UpstreamError:
                pass  # the reservation stands, which is safe; it is tried again with the next

    async def flush(self) -> None:
        """Write down every account on which nothing runs any more. Raises UpstreamError."""
        async with self._turn:
            self._something.clear()
            slot = self.slot()
            still = [key for key in self._changed if self._accounts[key].running == 0]
            rows: list[Spent] = []
            for identity, label in still:
                account = self._accounts[identity, label]
                account.used(slot)
                rows += [
                    Spent(identity, label, number, answers, self._lane()) for number, answers in account.slots.items()
                ]
            if rows:
                await self._store.keep_spent(rows, slot - SLOTS)
            for key in still:
                if self._accounts[key].running == 0:
                    self._changed.discard(key)
                    if not self._accounts[key].slots:
                        del self._accounts[key]

    def _account(self, identity: str, label: str) -> _Account:
        return self._accounts.setdefault((identity, label), _Account())
