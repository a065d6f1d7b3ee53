"""Grants: people agree in advance to what one identity does on one target, for some minutes and within limits.

A grant is a request for approval of another type (`ledger.request.GRANT`): asked, voted on and ended as any other, by
`approvals`. It belongs to an identity with the whole chain of whom it acts for, and not to a session unless it says so:
clients keep several connections and open new ones, and an agent asks before it connects at all.

Contract of `find` and `use`: a statement that policy holds runs under a grant only if everything that holds it was agreed to
(`policy.grants.covers`), it does no more than was agreed to, it is known how many rows that may be, and signatures, keys,
people's standing, policies, time and limits still hold. Its use is on record, durably and with what is left, before anything
is forwarded; that record is what is counted, also after a start: nobody can give uses back by writing to a table. If we
die between the record and the statement, the use is gone. If we die while a statement runs, nobody knows how many rows it
touched, and its grant ends.

Breaking glass is a grant that its requester signs alone, in person. What approval would unmask stays masked under any grant.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
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
_USED: Final = ("grant.used", "grant.settled")


@dataclass(slots=True)
class _Account:
    """What has been used of a grant. `running`: operation -> rows that are reserved for it."""

    statements: int = 0
    rows: int = 0
    running: dict[str, int] = field(default_factory=dict)
    lost: bool = False  # something could not be written down


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
        if not self._reads:
            return True
        self._seen += rows
        if self._seen > self._reserved:
            more = self._seen - self._reserved
            if not self._owner.reserve(self, more):
                return False
            self._reserved = self._seen
        return True

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
    """One a gateway."""

    def __init__(self, approvals: Approvals, recorder: Recorder, clock: Clock, policies: PolicyInForce) -> None:
        self._approvals = approvals
        self._recorder, self._clock, self._policies = recorder, clock, policies
        self._accounts: dict[str, _Account] = {}
        approvals.exhausted = self.exhausted

    async def load(self, reader: RecordReader) -> None:
        """Count again what is on record of grants that still hold; end those under which something ran when we died."""
        going = {a.id: a for a in await self._approvals.list(ApprovalState.APPROVED, limit=10_000) if is_grant(a)}
        if not going:
            return
        async for opened in reader.events(types=_USED):
            body = opened.event.body
            if body["approval"] not in going:
                continue
            account = self._accounts.setdefault(body["approval"], _Account())
            if opened.event.type == "grant.used":
                account.statements += 1
                account.rows += body["reserved"]
                account.running[body["operation"]] = body["reserved"]
            else:
                account.rows += body["rows"] - account.running.pop(body["operation"], 0)
        for id_, account in self._accounts.items():
            if account.running:
                why = "the gateway died while a statement ran under it: how many rows that touched is not known"
                await self._approvals.end(id_, ApprovalState.WITHDRAWN, reason=why)

    # What is left ---------------------------------------------------------------------------------------------------

    def left(self, approval: Approval) -> dict[str, int]:
        """Statements and rows that a grant is still good for."""
        limits = terms_of(approval)["limits"]
        account = self._accounts.get(approval.id, _Account())
        if account.lost:
            return {"statements": 0, "rows": 0}
        return {
            "statements": max(0, limits["statements"] - account.statements), "rows": max(0, limits["rows"] - account.rows)
        }

    def exhausted(self, approval: Approval) -> bool:
        """Whether nothing is left of it, and nothing that runs may give something back."""
        account = self._accounts.get(approval.id)
        if account is None:
            return False
        left = self.left(approval)
        return account.lost or not left["statements"] or (not left["rows"] and not account.running)

    # Using ----------------------------------------------------------------------------------------------------------

    async def find(
        self, session: Session, operation: Operation, decision: Decision, preview: Mapping[str, Any]
    ) -> tuple[Approval, int] | None:
        """A grant under which this may run, and the rows to reserve; None: people have to be asked."""
        rows = foreseen(operation, preview)
        if rows is None:
            return None
        digest = binding(session.identity, session.target)
        for found in await self._approvals.approved(session.identity.id, digest):
            if not is_grant(found):
                continue
            if self.exhausted(found):
                await self._approvals.finish(found.id)
                continue
            enough, missing = self._approvals.ballots.count(found, session.target)
            if not enough:  # what was approved is so no more, and will not be again: a key that is revoked stays so
                await self._approvals.end(found.id, ApprovalState.WITHDRAWN, reason=missing)
            elif not await self._unfit(found, session, operation, decision, rows):
                return found, rows
        return None

    async def use(
        self, found: Approval, session: Session, operation: Operation, decision: Decision, rows: int, inner: Allowance | None
    ) -> GrantUse | None:
        """Count it, on record. None: it no longer holds. Raises UpstreamError when it cannot be recorded: then it is counted
        all the same, and must not run."""
        async with self._approvals.using:  # nothing ends a grant between the look at it and the record of its use
            fresh = await self._approvals.stored(found.id)
            if (
                fresh is None or fresh.terms != found.terms or not self._approvals.ballots.count(fresh, session.target)[0]
                or await self._unfit(fresh, session, operation, decision, rows)
            ):  # fmt: skip
                return None
            account = self._accounts.setdefault(fresh.id, _Account())
            # One at a time comes here: of two that want the last, one gets it.
            account.statements += 1
            account.rows += rows
            account.running[operation.id] = rows
            number = account.statements
            await self._recorder.event(
                "grant.used",
                {"approval": fresh.id, "operation": operation.id, "statement": number, "reserved": rows,
                 "left": self.left(fresh), "break_glass": breaks_glass(fresh)},
                session_id=session.id, actor=session.identity.id,
            )  # fmt: skip
            if self.exhausted(fresh):
                await self._approvals.finish(fresh.id)
        return GrantUse(self, fresh, operation, number, rows, inner)

    def reserve(self, use: GrantUse, more: int) -> bool:
        """More rows than were foreseen, while they arrive. In memory: if we die now, the grant ends."""
        account = self._accounts[use.approval.id]
        if self.left(use.approval)["rows"] < more:
            return False
        account.rows += more
        account.running[use.operation] += more
        return True

    def settle(self, use: GrantUse, rows: int) -> None:
        """Count what was touched instead of what was reserved."""
        account = self._accounts[use.approval.id]
        account.rows += rows - account.running.pop(use.operation)
        try:
            self._recorder.append_event(
                "grant.settled",
                {"approval": use.approval.id, "operation": use.operation, "rows": rows, "left": self.left(use.approval)},
                actor=use.approval.requested_by,
            )
        except UpstreamError:
            account.lost = True  # the next start finds it running, and ends it; until then nothing uses it

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
        left = self.left(approval)
        enough = left["statements"] >= 1 and left["rows"] >= rows and not self.exhausted(approval)
        return "" if enough else "too little is left of it"

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
