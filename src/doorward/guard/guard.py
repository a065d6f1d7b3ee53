"""The guard: opens sessions, turns Operations into Permits or Refusals, settles them, closes sessions.

Nothing reaches a target without a Permit, and Permits are made here only. A Permit carries the position of its record in
the write-ahead log; whoever forwards bytes under it waits until the log is durable up to that position (plain allowed
reads of a target set to `batched` excepted). A refusal is recorded as well, but nobody has to wait for that.

The guard does not know any protocol. It is given a Template (what all executions of a text have in common) and what this
execution adds, and says what may happen.
"""

from __future__ import annotations

import asyncio
import hashlib
import os
from collections import Counter
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import replace
from functools import lru_cache
from struct import Struct
from typing import Any, Final

from doorward.errors import DoorwardError, UpstreamError
from doorward.guard.approvals import Approvals, TooManyRequestsError
from doorward.guard.ballots import Asked, Exact
from doorward.guard.budgets import Budgets, Exhausted
from doorward.guard.describe import circumstances, describe_decision, describe_identity
from doorward.guard.grants import Grants, GrantUse
from doorward.guard.labels import TargetLabels, TooManyPlacesError
from doorward.guard.policies import PolicyInForce
from doorward.guard.ports import Clock
from doorward.guard.recorder import Recorder, SessionRecorder
from doorward.guard.template import Template
from doorward.guard.token_vault import TokenVault
from doorward.guard.turn import Result, Turn
from doorward.ledger.commitment import commit
from doorward.ledger.encoding import canonical
from doorward.masking.statement import mask_params, mask_statement
from doorward.model import (
    Allowance,
    Approval,
    ApprovalState,
    Assurance,
    Decision,
    Effect,
    Identity,
    Kind,
    Mode,
    Operation,
    Outcome,
    Permit,
    Phase,
    Refusal,
    Session,
    Target,
)
from doorward.policy.decide import decide, may
from doorward.policy.grants import asked as grantable

_COUNT: Final = Struct("!H").pack
_SIZE: Final = Struct("!i").pack
_NONE: Final = _SIZE(-1)
_EMPTY_PARAMS: Final = _COUNT(0)
OWN: Final = "doorward"  # subject and issuer of the gateway itself
SHORT: Final = 7  # digits
HOLD_IN_TRANSACTION: Final = 300  # seconds; a held statement keeps the locks of its transaction


class _Free:
    """The allowance of what no budget bounds."""

    exceeded = ""

    def settled(self, outcome: str, rows: int) -> None:
        pass

    def take(self, rows: int) -> bool:
        return True

    def release(self) -> None:
        pass


FREE: Final = _Free()


class Guard:
    """Opens sessions. One a gateway."""

    def __init__(
        self,
        policies: PolicyInForce,
        recorder: Recorder,
        approvals: Approvals,
        clock: Clock,
        *,
        hold_in_transaction: int = HOLD_IN_TRANSACTION,
        longest_hold: int = 3600,
        budgets: Budgets | None = None,
    ) -> None:
        self.policies = policies
        self.recorder = recorder
        self.approvals = approvals
        self.clock = clock
        self.budgets = budgets
        self.grants = Grants(approvals, recorder, clock, policies)
        self.labels: dict[str, TargetLabels] = {}  # by target
        self.hold_in_transaction = hold_in_transaction
        self.longest_hold = longest_hold
        self.detected_labels: frozenset[str] = frozenset()  # of the detectors in use
        self.vault: TokenVault | None = None  # where tokens go before they are shown
        self.overdue: Callable[[], str] = str  # why nothing that needs a person's yes may run, or ""
        self.sessions: dict[str, GuardedSession] = {}
        self._closed: Counter[str] = Counter()  # what closed sessions counted

    def closed(self, guarded: GuardedSession) -> None:
        """Keep what a session counted."""
        self._closed.update(guarded.counts())

    def counted(self) -> dict[str, int]:
        """Statements judged since the start: permitted, refused, held."""
        counts = Counter(self._closed)
        for guarded in self.sessions.values():
            counts.update(guarded.counts())
        return {outcome: counts[outcome] for outcome in ("permitted", "refused", "held")}

    async def open(
        self, identity: Identity, target: Target, *, client: str, purpose: str = "", application: str = ""
    ) -> GuardedSession | Refusal:
        """Let an identity in, or not. The session's opening is durable when this returns."""
        decision = may(
            self.policies.current, identity, "connect", target, purpose=purpose,
            extra=circumstances(self.clock.now(), client, application),
        )  # fmt: skip
        if decision.outcome is not Outcome.ALLOW and target.mode is Mode.ENFORCE:
            await self.recorder.event(
                "session.refused",
                {
                    "identity": describe_identity(identity),
                    "target": target.name,
                    "client": client,
                    "decision": describe_decision(decision),
                },
                actor=identity.id,
            )
            return Refusal(
                None, decision, "denied", decision.reason or "policy does not let you connect to this target"
            )
        session = Session(
            id=self.clock.new_id(),
            identity=identity,
            target=target,
            client=client,
            purpose=purpose,
            opened_at=self.clock.now(),
            application=application,
        )
        record = await self.recorder.session(session)
        guarded = GuardedSession(self, session, record, decision)
        self.sessions[session.id] = guarded
        return guarded

    async def open_own(self, target: Target) -> GuardedSession:
        """A session of the gateway itself, for its own statements. No policy decides it; its record is like any other."""
        identity = Identity(OWN, Kind.SERVICE, OWN, assurance=Assurance.V2)
        session = Session(
            id=self.clock.new_id(),
            identity=identity,
            target=target,
            purpose="the gateway's own statements",
            opened_at=self.clock.now(),
            application="doorward",
        )
        record = await self.recorder.session(session)
        guarded = GuardedSession(self, session, record, Decision(Outcome.ALLOW, ("doorward",)))
        self.sessions[session.id] = guarded
        return guarded

    async def replace_policies(self, policies: Any, *, actor: str = "") -> None:
        """Put a policy set in force. Sessions whose right to connect it takes away are ended."""
        # On record first. If that fails, or we die here, the old policy stays; the caller tries again.
        await self.recorder.event(
            "policy.changed",
            {
                "old": self.policies.current.hash, "new": policies.hash, "policies": sorted(policies.ids),
                "changed": self.policies.changes(policies),
            },
            actor=actor,
        )  # fmt: skip
        self.policies.edited(self.policies.changes(policies), actor, self.clock.now())
        self.policies.replace(policies)
        for guarded in list(self.sessions.values()):
            self.recheck(guarded, "the policy changed")
        await self.approvals.policies_changed()

    async def ask_in_advance(
        self, identity: Identity, target: Target, asked: Asked, *, reason: str, client: str
    ) -> Approval | Refusal:
        """Ask people to agree to more than one statement of somebody's (`grants`), or to let them go on without people.
        Raises TooManyRequestsError."""
        extra = circumstances(self.clock.now(), client, "")
        reach = may(self.policies.current, identity, "connect", target, purpose=reason, extra=extra)
        if reach.outcome is not Outcome.ALLOW:
            why = reach.reason or "policy does not let you connect to this target"
            return Refusal(None, reach, "denied", why)
        decision = grantable(
            self.policies.current, identity, target, asked.actions, asked.on, seconds=asked.minutes * 60,
            break_glass=asked.break_glass, purpose=reason, extra=extra,
        )  # fmt: skip
        if decision.outcome is not Outcome.HOLD:
            return Refusal(None, decision, "denied", decision.reason or "policy does not allow this", decision.hint)
        body = {
            "action": "BREAK GLASS" if asked.break_glass else "GRANT",
            "effect": ", ".join(sorted(asked.actions)),
            "text": asked.words,
            "grant": {
                "actions": sorted(asked.actions), "on": [list(each) for each in asked.on], "minutes": asked.minutes,
                "statements": asked.statements, "rows": asked.rows, "session": asked.session,
                "break_glass": asked.break_glass,
            },
            "decision": describe_decision(replace(decision, unmask=frozenset())),
            "assurance": str(identity.assurance),
            "identity": describe_identity(identity),
            "target": target.name,
            "purpose": self.recorder.detectors.mask(reason)[0],
        }  # fmt: skip
        lasts = min(decision.expires, self.longest_hold)
        return await self.approvals.ask_in_advance(identity, target, asked, decision, body, lasts=lasts)

    def recheck(self, guarded: GuardedSession, why: str) -> None:
        """End a session that may no longer connect."""
        session = guarded.session
        if session.identity.issuer == OWN:
            return
        decision = may(
            self.policies.current, session.identity, "connect", session.target, purpose=session.purpose,
            extra=circumstances(self.clock.now(), session.client, session.application),
        )  # fmt: skip
        if decision.outcome is not Outcome.ALLOW and session.target.mode is Mode.ENFORCE:
            guarded.end(f"{why}: {decision.reason or 'connecting is no longer allowed'}")


class GuardedSession:
    """One open session's verdicts and record."""

    def __init__(self, guard: Guard, session: Session, record: SessionRecorder, opened_by: Decision) -> None:
        self.guard = guard
        self.session = session
        self.record = record
        self.opened_by = opened_by
        self.ended = ""  # why it must end; set once
        self.on_end: Callable[[str], None] | None = None
        self.backend = 0  # the target's own name for the connection, where it has one: a process id
        self._observe = session.target.mode is Mode.OBSERVE
        self._batched = session.target.durability == "batched"
        self._detectors = guard.recorder.detectors
        self._short = -1 if self._detectors.defined else SHORT  # a pattern of the operator's own may be of any length
        self._seen: tuple[int, frozenset[str]] = (-1, frozenset())
        self._suspended: dict[Template, GrantUse] = {}  # portals that were opened under a grant
        self._reassessed = 0  # how often its identity has changed
        self.statements = 0
        self.refused = 0
        self.held = 0
        self.rows = 0

    def end(self, reason: str) -> None:
        """This session has no right to go on."""
        if not self.ended:
            self.ended = reason
            if self.on_end is not None:
                self.on_end(reason)

    @property
    def epoch(self) -> int:
        """What every verdict of this session is kept under: another policy or another identity judges anew."""
        return self.guard.policies.epoch + (self._reassessed << 32)

    def reassess(self, identity: Identity) -> None:
        """The same principal, with the groups and claims that its issuer gives it now. Ends, if it may no longer connect."""
        self.session = replace(self.session, identity=identity)
        self._reassessed += 1
        self.guard.recheck(self, "your groups or claims changed")

    # -- verdicts ----------------------------------------------------------------------------------------------------

    def admit_now(self, turn: Turn) -> Permit | Refusal | None:
        """The verdict, if neither people nor a budget have to be asked; None: call `hold`. Raises UpstreamError when it
        cannot be recorded."""
        template = turn.template
        if template.epoch != self.epoch or not (template.decision and template.decision.cacheable):
            self._judge(template, in_transaction=turn.in_transaction)
        decision = template.decision
        assert decision is not None
        if turn.refusal is not None:
            return self._refuse(turn, turn.refusal, decision)
        if turn.objection is not None and not self._observe and (why := turn.objection(decision.unmask)):
            return self._refuse(turn, Refusal(None, decision, "denied", why, "use text or csv format"), decision)
        if template.escapes and not self._observe:
            return self._refuse(turn, self._escaping(template, decision), decision)
        if turn.phase is Phase.PREPARE:
            if decision.outcome is Outcome.DENY and not self._observe:
                return self._refuse(turn, None, decision)
            return template.permit or self._permit(turn, decision, position=-1)
        if turn.continues:  # no second approval, but a right that is gone is gone
            if decision.outcome is Outcome.DENY and not self._observe:
                return self._refuse(turn, None, decision)
            if self._waits(turn, decision):
                return None
            self.record.run(self._number(template), self._params(turn))
            return self._permit(turn, self._masked(decision, turn), position=-1, allowance=self._suspended.pop(template, None))
        if self._waits(turn, decision) and (decision.outcome is Outcome.ALLOW or self._observe):
            return None
        if decision.outcome is Outcome.ALLOW and template.effect is Effect.READ:
            self.statements += 1
            position = self.record.run(self._number(template), self._params(turn))
            if self._batched and not self.guard.recorder.behind():
                if template.permit is None:
                    template.permit = self._permit(turn, decision, position=-1)
                return template.permit
            return self._permit(turn, decision, position=position)
        if decision.outcome is Outcome.DENY and not self._observe:
            return self._refuse(turn, None, decision)
        if decision.outcome is Outcome.HOLD and not self._observe:
            return None
        operation = self._operation(turn)
        self.statements += 1
        position = self.record.event(
            "operation.observed" if decision.outcome is not Outcome.ALLOW else "operation.permitted",
            self._body(operation, decision, turn),
        )
        return self._permit(turn, decision, position=position, operation=operation)

    def _waits(self, turn: Turn, decision: Decision) -> bool:
        """Whether something must be written down first: what it takes from budgets, or where it copies labelled data."""
        if decision.budgets and not self._observe:
            return True
        copies = turn.template.copies
        return bool(copies) and bool(self._labels().wants(copies))

    def _labels(self) -> TargetLabels:
        labels = self.guard.labels.get(self.session.target.name)
        if labels is None:
            raise UpstreamError("there is nothing to keep labels in, so nothing that copies labelled data may run")
        return labels

    @staticmethod
    def _escaping(template: Template, decision: Decision) -> Refusal:
        label, where = template.escapes[0]
        return Refusal(
            None, decision, "denied",
            f"data labelled {label} would get into {where}, where its label cannot follow it",
            "copy it into a column of a table: that then has the label; or do it past the gateway",
        )  # fmt: skip

    async def _follow(self, turn: Turn, decision: Decision) -> Refusal | None:
        """Label what the statement copies labelled data into, before it does. If we die here, or it fails, the label stays."""
        template = turn.template
        if not template.copies:
            return None
        labels = self._labels()
        new = labels.wants(template.copies)
        if new:
            try:
                await labels.keep(new)
            except TooManyPlacesError:
                return self._refuse(
                    turn,
                    Refusal(None, decision, "limit", "labelled data has been copied into more columns than are kept track of",
                            "have columns that need none labelled `none` in the configuration"),
                    decision,
                )  # fmt: skip
            self.record.event(
                "label.followed",
                {"target": self.session.target.name, "columns": [[place.name, place.source[1:]] for place in new[:1000]]},
            )
        return None

    async def hold(
        self,
        turn: Turn,
        *,
        gone: asyncio.Event,
        notify: Callable[[Approval], None],
        preview: Callable[[], Awaitable[Mapping[str, Any]]],
        definitions: Callable[[], Awaitable[str]],
        most: float | None = None,
    ) -> Permit | Refusal:
        """Wait for people, or for a budget. `gone` is set when the client leaves or cancels; then nothing runs, whatever
        they say; it may have said how long it waits at `most`, in seconds. `definitions` looks up what the statement's names
        stand for (`Template.definitions`): before people are asked, and again before their yes is used, for a function may be
        replaced while they think."""
        template = turn.template
        decision = template.decision
        assert decision is not None
        guard = self.guard
        if decision.outcome is Outcome.ALLOW or turn.continues or self._observe:
            return await self._prepared(turn, gone)
        operation = self._operation(turn)
        if late := guard.overdue():
            return self._refuse(turn, _unwitnessed(operation, decision, late), decision)
        if await definitions() != template.definitions:
            return self._moved(turn, operation, decision)
        facts = dict(await preview())
        under = await self._granted(turn, operation, decision, facts, gone, definitions)
        if under is not None:
            return under
        self.held += 1
        lasts = min(decision.expires, guard.longest_hold)
        body = {
            **self._body(operation, decision, turn),
            "identity": describe_identity(self.session.identity),
            "target": self.session.target.name,
            "purpose": mask_statement(self.session.purpose, detectors=self._detectors)[0],
            "preview": facts,
            "in_transaction": turn.in_transaction,
        }
        try:
            approval = await guard.approvals.ask(
                self.session, operation, decision, body, _exact(turn), lasts=lasts, likeness=template.likeness()
            )
        except TooManyRequestsError as error:
            return self._refuse(
                turn, Refusal(operation, decision, "limit", str(error), "wait for an answer, or withdraw one"), decision
            )
        self.record.event("operation.held", {"operation": operation.id, "approval": approval.id})
        notify(approval)
        patience = float(min(lasts, guard.hold_in_transaction) if turn.in_transaction else lasts)
        if most is not None:
            patience = min(patience, most)
        state = await self._answer(approval.id, gone, patience)
        if gone.is_set() or state in (ApprovalState.WAITING, ApprovalState.PARKED):
            await guard.approvals.park(approval.id)
            why = "the client went away or cancelled" if gone.is_set() else f"nobody answered within {patience:g} s"
            return self._refuse(
                turn,
                Refusal(
                    operation,
                    decision,
                    "held",
                    f"request {approval.id} is parked: {why}",
                    "submit the same statement again to go on waiting, or to use its approval once it has one",
                ),
                decision,
            )
        if state is not ApprovalState.APPROVED:
            code, hint = {
                ApprovalState.EXPIRED: ("expired", "submit it again, when an approver is there"),
                ApprovalState.WITHDRAWN: ("cancelled", "submit it again if it should run after all"),
            }.get(state, ("denied", "ask the approvers why"))
            return self._refuse(
                turn, Refusal(operation, decision, code, f"request {approval.id} was {state}", hint), decision
            )
        if await definitions() != template.definitions:
            return self._moved(turn, operation, decision)
        return await self._dispatch(turn, operation, approval, gone)

    async def _granted(
        self, turn: Turn, operation: Operation, decision: Decision, preview: Mapping[str, Any], gone: asyncio.Event,
        definitions: Callable[[], Awaitable[str]],
    ) -> Permit | Refusal | None:  # fmt: skip
        """The verdict, if people have agreed in advance to statements like this one; None: they have to be asked."""
        grants, template = self.guard.grants, turn.template
        found = await grants.find(self.session, operation, decision, preview)
        if found is None:
            return None
        if await definitions() != template.definitions:
            return self._moved(turn, operation, decision)
        self._judge(template, in_transaction=turn.in_transaction)
        assert template.decision is not None
        decision = template.decision
        if decision.outcome is Outcome.DENY or self.ended:
            return self._refuse(turn, None, decision)
        if gone.is_set():
            return self._refuse(turn, Refusal(operation, decision, "held", "the client went away"), decision)
        masked = self._masked(decision, turn, granted=True)
        if turn.objection is not None and turn.objection(masked.unmask):
            return None  # it cannot be masked on its way: people have to look at it
        inner = await self._accounted(turn, decision)
        if isinstance(inner, Refusal):
            return inner
        try:
            use = await grants.use(found[0], self.session, operation, decision, found[1], inner)
        except BaseException:
            if inner is not None:
                inner.release()
            raise
        if use is None:
            if inner is not None:
                inner.release()
            return None
        # From here it is counted. If we die before the next record is durable, nothing has been forwarded: the grant has one
        # use less, and the next start ends it.
        try:
            self.statements += 1
            body = {**self._body(operation, masked, turn), "approval": use.approval.id, "use": use.number}
            position = self.record.event("operation.permitted", body)
            durable = self.guard.recorder.wait(position)
            if durable is not None:
                await durable
        except BaseException:
            use.release()
            raise
        if gone.is_set():
            self.record.event("operation.settled", {"operation": operation.id, "outcome": "not_run"})
            use.release()
            return self._refuse(turn, Refusal(operation, decision, "held", "the client went away"), decision)
        return self._permit(
            turn, masked, position=position, operation=operation, approval=use.approval, allowance=use
        )

    def _masked(self, decision: Decision, turn: Turn, *, granted: bool = False) -> Decision:
        """A decision without what only approval of this very statement unmasks, if it runs under a grant."""
        if not decision.unmask or not (granted or turn.template in self._suspended):
            return decision
        session = self.session
        shown = frozenset(
            label for label in decision.unmask
            if may(
                self.guard.policies.current, session.identity, "unmask", session.target, resource=("Label", label),
                purpose=session.purpose, extra=self._circumstances(),
            ).outcome is Outcome.ALLOW
        )  # fmt: skip
        return replace(decision, unmask=shown)

    async def _prepared(self, turn: Turn, gone: asyncio.Event) -> Permit | Refusal:
        """Write down what must be written first of a statement that needs no approval; then record and permit it."""
        template = turn.template
        decision = template.decision
        assert decision is not None
        refused = await self._follow(turn, decision)
        if refused is not None:
            return refused
        counted = None if self._observe or not decision.budgets else await self._reserve(turn, decision)
        if isinstance(counted, Refusal):
            return counted
        allowance = counted or FREE
        try:
            if template.epoch != self.epoch:  # while we wrote
                self._judge(template, in_transaction=turn.in_transaction)
                if template.decision != decision:
                    decision = template.decision
                    assert decision is not None
                    allowance.release()
                    return self._refuse(
                        turn,
                        Refusal(None, decision, "voided", "the policy changed while this was being decided",
                                "submit the statement again"),
                        decision,
                    )  # fmt: skip
            if gone.is_set() or self.ended:
                allowance.release()
                return self._refuse(turn, Refusal(None, decision, "held", "the client went away or cancelled"), decision)
            if turn.continues:
                self.record.run(self._number(template), self._params(turn))
                return self._permit(turn, decision, position=-1, allowance=allowance)
            self.statements += 1
            if template.effect is Effect.READ and decision.outcome is Outcome.ALLOW:
                position = self.record.run(self._number(template), self._params(turn))
                return self._permit(turn, decision, position=position, allowance=allowance)
            operation = self._operation(turn)
            position = self.record.event(
                "operation.observed" if decision.outcome is not Outcome.ALLOW else "operation.permitted",
                self._body(operation, decision, turn),
            )
            return self._permit(turn, decision, position=position, operation=operation, allowance=allowance)
        except BaseException:
            allowance.release()
            raise

    async def _accounted(self, turn: Turn, decision: Decision) -> Allowance | Refusal | None:
        """What stands before the use of any yes: labels follow what the statement copies, and budgets have room for it."""
        refused = await self._follow(turn, decision)
        return refused if refused is not None or not decision.budgets else await self._reserve(turn, decision)

    async def _reserve(self, turn: Turn, decision: Decision) -> Allowance | Refusal:
        budgets = self.guard.budgets
        if budgets is None:
            raise UpstreamError("there is nothing to keep budgets in, so nothing that has one may run")
        found = await budgets.reserve(decision.budgets)
        if not isinstance(found, Exhausted):
            return found
        spent = found.budget
        minutes = max(1, -(-(found.until - self.guard.clock.now()) // 60_000))
        return self._refuse(
            turn,
            Refusal(
                None, decision, "budget",
                f"{spent.identity.rpartition('|')[2]} has had all {spent.answers} answers an hour that may be inferred from "
                f"data labelled {spent.label} ({spent.rule})",
                f"the first of them come back in {minutes} min; select the column without conditions, joins, order, groups, "
                "CASE or casts on it, or ask for a larger @budget",
            ),
            decision,
        )  # fmt: skip

    def _moved(self, turn: Turn, operation: Operation, decision: Decision) -> Refusal:
        refusal = Refusal(
            operation, decision, "voided",
            "functions, views, triggers or tables of this target changed since the statement was judged",
            "submit it again: it will be judged, and asked about, as it is now",
        )  # fmt: skip
        return self._refuse(turn, refusal, decision)

    async def _answer(self, approval_id: str, gone: asyncio.Event, patience: float) -> ApprovalState:
        """Race the people's answer against the client's departure. Raises UpstreamError when the store fails."""
        async with asyncio.TaskGroup() as group:
            answer = group.create_task(self._wait(approval_id, patience))
            left = group.create_task(gone.wait())
            await asyncio.wait({answer, left}, return_when=asyncio.FIRST_COMPLETED)
            answer.cancel()
            left.cancel()
        if answer.cancelled():
            return ApprovalState.WAITING
        outcome = answer.result()
        if isinstance(outcome, DoorwardError):  # a group would wrap it
            raise outcome
        return ApprovalState.WITHDRAWN if outcome is None else outcome.state

    async def _wait(self, approval_id: str, patience: float) -> Approval | DoorwardError | None:
        try:
            return await self.guard.approvals.wait(approval_id, patience)
        except DoorwardError as error:
            return error

    async def _dispatch(
        self, turn: Turn, operation: Operation, approval: Approval, gone: asyncio.Event
    ) -> Permit | Refusal:
        """Judge again what was approved, spend the approval, record, and only then permit."""
        guard = self.guard
        template = turn.template
        self._judge(template, in_transaction=turn.in_transaction)
        decision = template.decision
        assert decision is not None
        if decision.outcome is Outcome.DENY or self.ended:
            return self._refuse(turn, None, decision)
        if self._digest(turn) != approval.digest:
            return self._refuse(
                turn,
                Refusal(
                    operation,
                    decision,
                    "voided",
                    f"request {approval.id} no longer fits: what it was given for has changed",
                    "submit the statement again",
                ),
                decision,
            )
        if gone.is_set():
            return self._refuse(turn, Refusal(operation, decision, "held", "the client went away"), decision)
        if late := guard.overdue():  # the approval is not spent, and stands until it expires
            return self._refuse(turn, _unwitnessed(operation, decision, late), decision)
        allowance = await self._accounted(turn, decision)
        if isinstance(allowance, Refusal):
            return allowance
        why = await guard.approvals.spend(approval.id, self.session, operation, decision, _exact(turn))
        if why:
            if allowance is not None:
                allowance.release()
            return self._refuse(
                turn,
                Refusal(
                    operation,
                    decision,
                    "voided",
                    f"request {approval.id} can no longer be used: {why}",
                    "submit the statement again",
                ),
                decision,
            )
        # From here the approval is spent. If we die before the next record is durable, nothing has been forwarded, and
        # the statement needs a new approval: it may be asked for twice, and never runs twice.
        fresh = await guard.approvals.get(approval.id) or approval
        self.statements += 1
        body = {
            **self._body(operation, decision, turn),
            "approval": approval.id,
            "approved_by": [vote.voter for vote in fresh.votes if vote.approve],
        }
        position = self.record.event("operation.permitted", body)
        durable = guard.recorder.wait(position)
        if durable is not None:
            await durable
        if gone.is_set():  # it went while we wrote: the record says permitted, the outcome says why nothing ran
            self.record.event("operation.settled", {"operation": operation.id, "outcome": "not_run"})
            if allowance is not None:
                allowance.release()
            return self._refuse(turn, Refusal(operation, decision, "held", "the client went away"), decision)
        return self._permit(turn, decision, position=position, operation=operation, approval=fresh, allowance=allowance)

    # -- outcome -----------------------------------------------------------------------------------------------------

    def settle(self, result: Result) -> None:
        """Record what became of a permitted operation."""
        self.rows += result.rows
        if result.permit.allowance is not None:
            result.permit.allowance.settled(result.outcome, _touched(result))
            if result.outcome == "suspended" and isinstance(result.permit.allowance, GrantUse):
                self._suspend(result.template, result.permit.allowance)  # more of it may be fetched
            else:
                result.permit.allowance.release()
        operation = result.permit.operation
        template = result.template
        reads = operation.effect is Effect.READ
        shape = result.shape
        described = bool(shape) and (not reads or (shape is not template.described and shape != template.described))
        tags = result.tags
        if reads and not (described or result.masked or result.statements or len(tags) > 1):
            tag = tags[0] if tags else None
            self.record.settled(_settled(result.outcome, result.rows, tag, result.sqlstate, result.in_transaction))
            return
        body: dict[str, Any] = {"outcome": result.outcome, "rows": result.rows}
        if described:  # a reader keeps a template's shape until another is given
            body["shape"] = [list(column) for column in result.shape]
            template.described = result.shape
        if result.tags:
            body["tags"] = list(result.tags[:1000])
        if result.sqlstate:
            body["sqlstate"] = result.sqlstate
        if result.in_transaction:
            body["in_transaction"] = True
        if result.masked:
            body["masked"] = dict(result.masked)
        if result.statements:
            body["statements"] = [dict(s) for s in result.statements[:1000]]
        if reads:
            self.record.settled(canonical(body))
        else:
            body["operation"] = operation.id
            self.record.event("operation.settled", body)

    def _suspend(self, template: Template, use: GrantUse) -> None:
        earlier = self._suspended.get(template)
        if earlier is not None and earlier is not use:
            earlier.release()
        self._suspended[template] = use

    def counts(self) -> dict[str, int]:
        """Statements judged, by what came of it first."""
        return {"permitted": self.statements, "refused": self.refused, "held": self.held}

    async def close(self, reason: str) -> None:
        """Seal the recording. Safe to call twice."""
        if self.guard.sessions.pop(self.session.id, None) is None:
            return
        self.guard.closed(self)
        for use in self._suspended.values():
            use.release()
        await self.record.close(
            {
                # It may quote the target, which may quote the client.
                "reason": mask_statement(reason, detectors=self._detectors)[0],
                "statements": self.statements,
                "refused": self.refused,
                "held": self.held,
                "rows": self.rows,
                **({"backend": self.backend} if self.backend else {}),
            }
        )

    # -- parts -------------------------------------------------------------------------------------------------------

    def _judge(self, template: Template, *, in_transaction: bool = False) -> None:
        operation = template.operation(
            id="", session_id=self.session.id, phase=Phase.EXECUTE, in_transaction=in_transaction
        )
        template.decision = decide(
            self.guard.policies.current,
            self.session.identity,
            self.session.target,
            operation,
            purpose=self.session.purpose,
            extra=self._circumstances(),
        )
        seen = self._detected_labels_seen()
        if seen:
            template.decision = replace(template.decision, unmask=template.decision.unmask | seen)
        template.epoch = self.epoch
        template.permit = None
        template.number = -1
        template.described = ()

    def _detected_labels_seen(self) -> frozenset[str]:
        """Labels of detectors that this identity may see in the clear, wherever they are found."""
        epoch = self.epoch
        if self._seen[0] != epoch:
            session = self.session
            extra = self._circumstances()
            self._seen = epoch, frozenset(
                label
                for label in self.guard.detected_labels
                if may(
                    self.guard.policies.current, session.identity, "unmask", session.target,
                    resource=("Label", label), purpose=session.purpose, extra=extra,
                ).outcome is Outcome.ALLOW
            )  # fmt: skip
        return self._seen[1]

    def _circumstances(self) -> dict[str, Any]:
        return circumstances(self.guard.clock.now(), self.session.client, self.session.application)

    def _number(self, template: Template) -> int:
        """The recording's number for this text and this decision; its first use writes both down."""
        if template.number < 0:
            assert template.decision is not None
            template.number = self.record.template(
                canonical(
                    {
                        "action": template.action,
                        "effect": template.effect,
                        "text": template.shown,
                        "resources": [[r.kind, r.name, r.access] for r in template.resources],
                        "labels": sorted(template.labels),
                        **({"inferred": sorted(template.inferred)} if template.inferred else {}),
                        "role": template.role,
                        "search_path": template.search_path,
                        "decision": describe_decision(template.decision),
                        "assurance": str(self.session.identity.assurance),
                    }
                )
            )
        return template.number

    def _operation(self, turn: Turn) -> Operation:
        return turn.template.operation(
            id=self.guard.clock.new_id(),
            session_id=self.session.id,
            phase=turn.phase,
            params=mask_params(turn.params, turn.formats, turn.oids, detectors=self._detectors),
            digest=self._digest(turn),
            in_transaction=turn.in_transaction,
        )

    def _params(self, turn: Turn) -> bytes:
        """Masked parameters as a RUN record holds them: u16 count, then i32 length (-1 for NULL) and text each."""
        if not turn.params:
            return _EMPTY_PARAMS
        if len(turn.params) == 1 and not turn.formats:
            only = turn.params[0]
            # The common case of one short number: nothing that any detector of ours looks for fits into it.
            if only is not None and len(only) <= self._short and only.isdigit():
                return b"\0\1" + _SIZE(len(only)) + only
        parts = [_COUNT(len(turn.params))]
        for value in mask_params(turn.params, turn.formats, turn.oids, detectors=self._detectors):
            if value is None:
                parts.append(_NONE)
            else:
                encoded = value.encode("utf-8", "replace")
                parts += (_SIZE(len(encoded)), encoded)
        return b"".join(parts)

    def _digest(self, turn: Turn) -> bytes:
        """Everything a verdict is bound to; the session is not part of it, so that a new one may continue a request."""
        template = turn.template
        session = self.session
        parts: list[bytes] = [b"doorward/operation/v1"]
        for link in session.identity.chain():
            parts += [link.id.encode(), link.kind.encode()]
        parts += [
            session.target.name.encode(),
            session.purpose.encode(),
            template.role.encode(),
            template.search_path.encode(),
            template.definitions.encode(),
            self.guard.policies.current.hash.encode(),
            template.exact,
        ]
        for value in turn.params:
            parts.append(b"\0" if value is None else b"\1" + value)
        parts += [b",".join(b"%d" % n for n in turn.formats), b",".join(b"%d" % n for n in turn.oids)]
        digest = hashlib.sha256()
        for part in parts:
            digest.update(len(part).to_bytes(8, "big"))
            digest.update(part)
        return digest.digest()

    def _body(self, operation: Operation, decision: Decision, turn: Turn) -> dict[str, Any]:
        salt = os.urandom(32)
        return {
            "operation": operation.id,
            "action": operation.action,
            "effect": str(operation.effect),
            "text": operation.text,
            "params": list(operation.params),
            "resources": [[r.kind, r.name, str(r.access)] for r in operation.resources],
            "labels": sorted(operation.labels),
            **({"inferred": sorted(operation.inferred)} if operation.inferred else {}),
            "role": operation.role,
            "search_path": operation.search_path,
            "decision": describe_decision(decision),
            "assurance": str(self.session.identity.assurance),
            "in_transaction": operation.in_transaction,
            # Whoever has the exact bytes can show, with the salt, that these and no others were judged.
            "exact": {
                "salt": salt.hex(),
                "commitment": commit(salt, "operation", operation.digest).hex(),
                "bytes": len(turn.template.exact),
            },
        }

    def _permit(
        self,
        turn: Turn,
        decision: Decision,
        *,
        position: int,
        operation: Operation | None = None,
        approval: Approval | None = None,
        allowance: Allowance | None = None,
    ) -> Permit:
        return Permit(
            operation or turn.template.operation(id="", session_id=self.session.id, phase=turn.phase),
            decision,
            approval,
            position,
            allowance=None if allowance is FREE else allowance,
        )

    def _refuse(self, turn: Turn, refusal: Refusal | None, decision: Decision) -> Refusal:
        template = turn.template
        self.refused += 1
        operation = self._operation(turn)
        if refusal is None:
            reason = template.reason if template.refused_as == "unclassifiable" and template.reason else decision.reason
            refusal = Refusal(
                operation, decision, template.refused_as, reason or "policy does not allow this", decision.hint
            )
        elif refusal.operation is None:
            refusal = Refusal(operation, refusal.decision, refusal.code, refusal.reason, refusal.hint)
        body = {
            **self._body(operation, decision, turn),
            "code": refusal.code,
            "reason": refusal.reason,
            "phase": str(turn.phase),
        }
        try:
            self.record.event("operation.refused", body)
        except UpstreamError:
            pass  # nothing is going to run, so the missing record hides no action; the failure has its own event
        return refusal


def _unwitnessed(operation: Operation, decision: Decision, why: str) -> Refusal:
    return Refusal(operation, decision, "unrecorded", why, "whoever runs the gateway has an alert; submit it again later")


def _touched(result: Result) -> int:
    """Rows that it returned, or changed: the target says of each statement how many (`UPDATE 5`)."""
    changed = 0
    for tag in result.tags:
        last = tag.rpartition(" ")[2]
        if last.isdigit():
            changed += int(last)
    return max(result.rows, changed)


def _exact(turn: Turn) -> Exact:
    return Exact(turn.template.exact, turn.params, turn.formats, turn.oids)


@lru_cache(1024)
def _settled(outcome: str, rows: int, tag: str | None, sqlstate: str, in_transaction: bool) -> bytes:
    """The plain outcome of a read: the same bytes again and again."""
    body: dict[str, Any] = {"outcome": outcome, "rows": rows}
    if tag is not None:
        body["tags"] = [tag]
    if sqlstate:
        body["sqlstate"] = sqlstate
    if in_transaction:
        body["in_transaction"] = True
    return canonical(body)
