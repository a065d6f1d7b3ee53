"""Grants: people agree in advance to what one identity does on one target, for some minutes and within limits.

A grant is a request for approval of another type (`ledger.request.GRANT`): asked, voted on and ended as any other, by
`approvals`. It belongs to an identity with the whole chain of whom it acts for, and not to a session unless it says so:
clients keep several connections and open new ones, and an agent asks before it connects at all.

Contract of `find` and `use`: a statement that policy holds runs under a grant only if everything that holds it was agreed to
(`policy.grants.covers`), it does no more than was agreed to, it is known how many rows that may be, and signatures, keys,
people's standing, policies, time and limits still hold. Its use is counted in the store, for all processes, and on record
with what is left, both durably, before anything is forwarded. If we die between the counting and the statement, the use is
gone. If we die while a statement runs, nobody knows how many rows it touched: its grant ends with the next start, or when
another process finds us dead.

Breaking glass is a grant that its requester signs alone, in person. What approval would unmask stays masked under any grant.
"""

from __future__ import annotations

import asyncio
from collections.abc import Mapping, Sequence
from typing import Any, Final

from doorward.errors import UpstreamError
from doorward.guard.approvals import Approvals
from doorward.guard.ballots import binding, breaks_glass, is_grant, terms_of
from doorward.guard.policies import PolicyInForce
from doorward.guard.ports import Clock
from doorward.guard.reader import RecordReader
from doorward.guard.recorder import Recorder
from doorward.model import (
    Allowance,
    Approval,
    ApprovalState,
    Decision,
    Effect,
    Operation,
    Resource,
    Session,
)
from doorward.policy.grants import covers

SLACK: Final = 1000  # ms before its end at which it is over: what is recorded then must still be within it


class GrantUse:
    """One statement under a grant, from its counting to its outcome. Satisfies `model.Allowance`; `inner` is that of its
    budgets. `settled` says how many rows it touched: without that, none."""

    __slots__ = ("_inner", "_open", "_owner", "_reads", "_reserved", "_seen", "approval", "number", "operation")

    def __init__(
        self, owner: Grants, approval: Approval, operation: Operation, number: int, reserved: int, inner: Allowance | None
    ) -> None:
        self.approval = approval
        self.operation = operation.id
        self.number = number  # which use of its grant it is, from 1
        self._owner, self._inner = owner, inner
        self._reads = operation.effect is Effect.READ
        self._reserved, self._seen = reserved, 0
        self._open = True

    @property
    def exceeded(self) -> str:
        if self._inner is not None and self._inner.exceeded:
            return self._inner.exceeded
        return "this result has more rows than are left of the grant under which it runs, and ends here"

    def take(self, rows: int) -> bool:
        """Rows of a change are told with its outcome: it has happened by then."""
        if self._inner is not None and not self._inner.take(rows):
            return False
        if self._reads:
            self._seen += rows
        return self._seen <= self._reserved or not self._reads

    def settled(self, outcome: str, rows: int) -> None:
        """What became of it. A statement that did not run has touched nothing; of one whose outcome is not known, what was
        foreseen counts, if that is more."""
        if outcome not in ("failed", "not_run"):
            self._seen = max(self._seen, rows, self._reserved if outcome == "unknown" else 0)

    def release(self) -> None:
        if self._inner is not None:
            self._inner.release()
        if self._open:
            self._open = False
            self._owner.settle(self, self._seen)


class Grants:
    """One a process; the store counts for all of them."""

    def __init__(self, approvals: Approvals, recorder: Recorder, clock: Clock, policies: PolicyInForce) -> None:
        self._approvals = approvals
        self._recorder, self._clock, self._policies = recorder, clock, policies
        self._numbers: dict[str, int] = {}  # of the last use that is on record: a store that counts fewer is not believed
        self._settled: dict[str, int] = {}  # operation -> rows, not in the store yet
        self._something = asyncio.Event()
        self._flushing = asyncio.Lock()
        approvals.exhausted = self.exhausted
        recorder.adopted = self.orphaned

    async def load(self, reader: RecordReader) -> None:
        """Find out how often grants that still hold were used; end those under which something ran when we died."""
        going = {a.id for a in await self._approvals.list(ApprovalState.APPROVED, limit=10_000) if is_grant(a)}
        if not going:
            return
        async for opened in reader.events(types=("grant.used",)):
            body = opened.event.body
            if body["approval"] in going:
                self._numbers[body["approval"]] = max(body["statement"], self._numbers.get(body["approval"], 0))
        await self.orphaned([self._recorder.lane, *self._recorder.inherited])

    async def orphaned(self, lanes: Sequence[str]) -> None:
        """End the grants under which something ran in these lanes when their process died."""
        for lane in lanes:
            for id_ in await self._approvals.store.unsettled(lane, self._recorder.boot):
                why = "the gateway died while a statement ran under it: how many rows that touched is not known"
                await self._approvals.end(id_, ApprovalState.WITHDRAWN, reason=why)

    async def run(self) -> None:
        """Write down what statements touched, once they have. Ends when it is cancelled."""
        while True:
            await self._something.wait()
            self._something.clear()
            try:
                await self.flush()
            except UpstreamError:
                await asyncio.sleep(1)  # what was reserved stays so meanwhile, which is safe
                self._something.set()

    async def flush(self) -> None:
        """Write it down now. Raises UpstreamError."""
        async with self._flushing:
            if self._settled:
                settled = dict(self._settled)
                await self._approvals.store.settle(settled)
                for operation in settled:
                    del self._settled[operation]

    # What is left ---------------------------------------------------------------------------------------------------

    async def left(self, approval: Approval) -> dict[str, int]:
        """Statements and rows that a grant is still good for. Rows that running statements may touch are not."""
        await self.flush()
        limits = terms_of(approval)["limits"]
        used = await self._approvals.store.used(approval.id)
        statements = max(used.statements, self._numbers.get(approval.id, 0))
        return {"statements": max(0, limits["statements"] - statements), "rows": max(0, limits["rows"] - used.rows)}

    async def exhausted(self, approval: Approval) -> bool:
        """Whether nothing is left of it, and nothing that runs may give something back."""
        left = await self.left(approval)
        return not left["statements"] or (
            not left["rows"] and not (await self._approvals.store.used(approval.id)).running
        )

    # Using ----------------------------------------------------------------------------------------------------------

    async def find(
        self, session: Session, operation: Operation, decision: Decision, preview: Mapping[str, Any]
    ) -> tuple[Approval, int] | None:
        """A grant under which this may run, and the rows that are foreseen; None: people have to be asked."""
        rows = foreseen(operation, preview)
        if rows is None:
            return None
        digest = binding(session.identity, session.target)
        for found in await self._approvals.store.approved(session.identity.id, digest):
            if not is_grant(found):
                continue
            enough, missing = await self._approvals.ballots.count(found, session.target)
            if not enough:  # what was approved is so no more, and will not be again: a key that is revoked stays so
                await self._approvals.end(found.id, ApprovalState.WITHDRAWN, reason=missing)
            elif await self.exhausted(found):
                await self._approvals.finish(found.id)
            elif not await self._unfit(found, session, operation, decision, rows):
                return found, rows
        return None

    async def use(
        self, found: Approval, session: Session, operation: Operation, decision: Decision, rows: int, inner: Allowance | None
    ) -> GrantUse | None:
        """Count it, on record. None: it no longer holds. Raises UpstreamError when it cannot be recorded: then it is counted
        all the same, and must not run."""
        async with self._approvals.using:  # this process ends no grant between the look at it and the record of its use
            fresh = await self._approvals.stored(found.id)
            if (
                fresh is None
                or fresh.terms != found.terms
                or not (await self._approvals.ballots.count(fresh, session.target))[0]
                or await self._unfit(fresh, session, operation, decision, rows)
            ):
                return None
            limits = terms_of(fresh)["limits"]
            if operation.effect is Effect.READ:  # nobody foresees what a read returns: it may have all that is left
                rows = (await self.left(fresh))["rows"]
            at = self._clock.now()
            # One statement of the store's language: of two sessions that want the last use, in whichever process, one gets it.
            number = await self._approvals.store.use(
                fresh.id, operation.id, self._recorder.lane, self._recorder.boot, rows, limits["statements"], limits["rows"]
            )
            if number <= self._numbers.get(fresh.id, 0):
                return None
            self._numbers[fresh.id] = number
            left = await self.left(fresh)
            await self._recorder.event(
                "grant.used",
                {"approval": fresh.id, "operation": operation.id, "statement": number, "reserved": rows, "counted_at": at,
                 "left": left, "break_glass": breaks_glass(fresh)},
                session_id=session.id, actor=session.identity.id,
            )  # fmt: skip
            if not left["statements"]:
                await self._approvals.finish(fresh.id)
        return GrantUse(self, fresh, operation, number, rows, inner)

    def settle(self, use: GrantUse, rows: int) -> None:
        """Count what was touched instead of what was reserved."""
        try:
            self._recorder.append_event(
                "grant.settled",
                {"approval": use.approval.id, "operation": use.operation, "rows": rows},
                actor=use.approval.requested_by,
            )
        except UpstreamError:
            self._numbers[use.approval.id] = 1 << 53  # nothing is left of it here; the next start finds it running, and ends it
            return
        self._settled[use.operation] = rows
        self._something.set()

    async def _unfit(
        self, approval: Approval, session: Session, operation: Operation, decision: Decision, rows: int
    ) -> str:
        """Why a statement cannot run under it, its votes aside, or ""."""
        now = self._clock.now()
        if approval.state is not ApprovalState.APPROVED or self._approvals.ballots.ends(approval) <= now + SLACK:
            return "it is over"
        terms = terms_of(approval)
        rendering = await self._approvals.body(approval.id)
        differs = self._differs(approval, terms, session, rendering)
        if differs:
            return f"what it was given for has changed (`{differs}`)"
        if not covers(
            self._policies.current, decision, terms["policy"]["rules"], break_glass=terms["skips"] is not None
        ):
            return "policy holds this statement by other rules"
        if not within(operation, terms["actions"], [(kind, name) for kind, name in terms["on"]]):
            return "it was given for something else"
        left = await self.left(approval)
        enough = left["statements"] >= 1 and left["rows"] >= max(rows, operation.effect is Effect.READ)
        return "" if enough and not await self.exhausted(approval) else "too little is left of it"

    def _differs(self, approval: Approval, terms: Mapping[str, Any], session: Session, rendering: bytes) -> str:
        ballots, identity, policy = self._approvals.ballots, session.identity, terms["policy"]
        salted = ballots.salted(approval.id, rendering)
        found = {
            "act": [link.id for link in identity.chain()[1:]],
            "kinds": [link.kind.value for link in identity.chain()],
            "policy": {"rules": policy["rules"], "sha256": self._policies.current.hash},
            "requester": identity.id,
            "rid": approval.id,
            "session": terms["session"] and session.id,
            "target": session.target.name,
            **salted,
        }
        return next((name for name in sorted(found) if found[name] != terms.get(name)), "")


def foreseen(operation: Operation, preview: Mapping[str, Any]) -> int | None:
    """How many rows a statement may touch, as far as the target could tell (`server/preview.py`); None where it could not, and
    of what cannot be counted by rows. What a read returns is counted while it does."""
    accesses = {operation.effect, *(resource.access for resource in operation.resources)}
    if accesses & {Effect.EXECUTE, Effect.UNKNOWN}:
        return None
    if Effect.WRITE not in accesses:
        return 0
    numbers = [preview.get(name) for name in ("rows", "rows_at_most")]
    exact = next((number for number in numbers if type(number) is int), None)
    if exact is not None:
        return max(0, exact)
    over, guess = preview.get("rows_at_least"), preview.get("estimated_rows")
    if type(guess) is not int:
        return None
    return max(guess, over + 1 if type(over) is int else 0, 0)


def within(operation: Operation, actions: list[str], on: list[tuple[str, str]]) -> bool:
    """Whether a statement does only what was asked for, and only there. What it reads besides is for policy, which holds it if
    reading must be approved."""
    changes = [resource for resource in operation.resources if resource.access is not Effect.READ]
    if {operation.effect.value, *(resource.access.value for resource in changes)} - {"read", *actions}:
        return False
    if operation.effect is Effect.READ and "read" not in actions:
        return False
    if not on:
        return True
    touched = changes or list(operation.resources)
    return bool(touched) and all(any(_in(resource, kind, name) for kind, name in on) for resource in touched)


def _in(resource: Resource, kind: str, name: str) -> bool:
    if kind == "Schema":
        return resource.name.startswith(name + ".") or (resource.kind == "Schema" and resource.name == name)
    return (resource.kind, resource.name) == (kind, name)
