"""Requests for a person's yes or no: asked, voted on, waited for, spent once.

A vote is a signature over the request (`ballots`); there is no other kind.

A request is bound to a digest of exactly what would run and for whom. Waiting: the client is there. Parked: it is not, and
nothing runs; the same identity may submit the same digest again until it expires, and then spend the approval once, by
compare-and-swap in the store just before dispatch. Denial, expiry and withdrawal are final.

The store is the truth; what waits in memory is only woken by it. After a crash every waiting request is parked.
"""

from __future__ import annotations

import asyncio
import json
from collections import Counter
from collections.abc import Awaitable, Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import replace
from hashlib import sha256
from typing import Any

from doorward.errors import IntegrityError
from doorward.guard.approver_keys import REGISTERED, REVOKED, ApproverKeys
from doorward.guard.ballots import Asked, Ballots, Exact, binding, breaks_glass, is_grant, terms_of
from doorward.guard.policies import PolicyInForce
from doorward.guard.ports import Clock
from doorward.guard.reader import RecordReader
from doorward.guard.recorder import Recorder
from doorward.guard.stores import ApprovalStore
from doorward.ledger.encoding import canonical
from doorward.model import Approval, ApprovalState, Decision, Identity, Operation, Outcome, Session, Target, Vote

MOST_ALIKE = 100  # earlier requests of the same form that are counted
MOST_LISTENERS = 200  # who follow what changes at once, all together
MOST_LISTENING = 5  # and one identity
MOST_WAITING = 20  # answers that one identity waits for at once, by the API: as many as it may have requests
MOST_WAITERS = 1000  # and everybody together
MOST_NEWS = 1000  # requests that have changed and that a listener has not read of
OPEN = (ApprovalState.WAITING, ApprovalState.PARKED)


async def _never(_: Approval) -> bool:
    return False


class TooManyRequestsError(Exception):
    """One identity has as many requests open as it may."""


class VoteRefusedError(Exception):
    """This vote cannot be cast; the message says why and is safe to show to who tried."""


class News:
    """Requests that have changed, for one listener: each once, however often and however slow it reads."""

    def __init__(self, who: str) -> None:
        self.who = who
        self._changed: dict[str, None] = {}  # in order; as many as there are open requests, which are bounded
        self._flag = asyncio.Event()

    def tell(self, approval_id: str) -> None:
        """It has changed."""
        self._changed[approval_id] = None
        while len(self._changed) > MOST_NEWS:
            del self._changed[next(iter(self._changed))]
        self._flag.set()

    async def next(self, seconds: float) -> list[str]:
        """The ids of what has changed since the last time; nothing, after that long."""
        try:
            await asyncio.wait_for(self._flag.wait(), seconds)
        except TimeoutError:
            return []
        self._flag.clear()
        found, self._changed = list(self._changed), {}
        return found


class Approvals:
    """The one place where the state of a request changes."""

    def __init__(
        self,
        store: ApprovalStore,
        recorder: Recorder,
        clock: Clock,
        policies: PolicyInForce,
        keys: ApproverKeys,
        *,
        most_open: int = 20,
        changed: Callable[[], None] = lambda: None,
    ) -> None:
        self._tell = changed  # other processes, that the state of a request is another
        self.store = store
        self._recorder = recorder
        self._clock = clock
        self._policies = policies
        self._most_open = most_open
        self._changed: dict[str, set[asyncio.Event]] = {}
        self._told: set[str] = set()  # of whom it is on record that they broke glass
        self._news: set[News] = set()
        self._waiters: Counter[str] = Counter()
        self.keys = keys
        self.ballots = Ballots(recorder, clock, policies, keys)
        self.using = asyncio.Lock()  # of grants: none ends between the look at it and the record of its use
        self.exhausted: Callable[[Approval], Awaitable[bool]] = _never
        self._reader: RecordReader | None = None
        self._read_to = -1  # leaf
        self._following = asyncio.Lock()
        self._voting = asyncio.Lock()  # one vote at a time: none is on record that another of the same person came before
        self._asking = asyncio.Lock()  # many at once would each find nothing to reuse, and room for one more

    async def load(self, reader: RecordReader) -> None:
        """Take up what an earlier life left: keys, and who edited policies."""
        self._reader = reader
        await self.follow()

    async def follow(self) -> None:
        """Take up what has come into the log since: keys, and who edited policies. UpstreamError."""
        assert self._reader is not None
        async with self._following:
            head = await self._recorder.store.head()
            async for opened in self._reader.events(types=(REGISTERED, REVOKED, "policy.changed"), after=self._read_to):
                event = opened.event
                if event.type == "policy.changed":
                    self._policies.edited(list(event.body.get("changed", [])), event.actor, event.at)
                else:
                    self.keys.take_up(event)
                self._read_to = opened.index
            self._read_to = max(self._read_to, (head.size if head is not None else 0) - 1)

    async def look_again(self) -> None:
        """Another process has changed something: whoever waits here looks what it was."""
        await self.follow()
        for flags in self._changed.values():
            for flag in flags:
                flag.set()
        if self._news:
            for approval in await self.store.list(limit=100):
                for news in self._news:
                    news.tell(approval.id)

    async def ask(
        self,
        session: Session,
        operation: Operation,
        decision: Decision,
        body: Mapping[str, Any],
        exact: Exact,
        *,
        lasts: int,
        likeness: str = "",
    ) -> Approval:
        """The open request for this digest, or a new one. `lasts` is seconds; `likeness` what it has in common with others of
        its form. Raises TooManyRequestsError."""
        async with self._asking:
            return await self._ask(session, operation, decision, body, exact, lasts, likeness)

    async def _ask(
        self, session: Session, operation: Operation, decision: Decision, body: Mapping[str, Any], exact: Exact, lasts: int,
        likeness: str,
    ) -> Approval:  # fmt: skip
        now = self._clock.now()
        who = session.identity
        found = await self.store.find_reusable(who.id, operation.digest, now)
        if found is not None and not found.terms:  # of before votes were signed: nobody can answer it
            await self.end(found.id, ApprovalState.WITHDRAWN, reason="asked before votes were signed")
            found = None
        if found is not None:
            if found.state is ApprovalState.PARKED and await self.store.set_state(
                found.id, ApprovalState.PARKED, ApprovalState.WAITING
            ):
                await self._recorder.event(
                    "approval.resumed",
                    {"approval": found.id, "session": session.id},
                    session_id=session.id,
                    actor=who.id,
                )
            fresh = await self.store.get(found.id)
            assert fresh is not None
            return fresh
        await self._room(who)
        approval = Approval(
            id=self._clock.new_id(),
            digest=operation.digest,
            requested_by=who.id,
            on_behalf_of=tuple(link.id for link in who.chain()[1:]),
            target=session.target.name,
            approvers=decision.approvers,
            quorum=decision.quorum,
            state=ApprovalState.WAITING,
            requested_at=now,
            expires_at=now + lasts * 1000,
        )
        shown: dict[str, Any] = {
            **body,
            "approval": approval.id,
            "quorum": approval.quorum,
            "approvers": sorted(approval.approvers),
            "requested_at": now,
            "expires_at": approval.expires_at,
        }
        alike = f"{session.target.name} {likeness}" if likeness else ""
        if alike:
            shown["similar"] = await self._similar(alike)
        # The salt of the exact bytes stays in the sealed event: with it, what is masked here could be guessed.
        sealed = shown.get("exact", {})
        public = {k: v for k, v in shown.items() if k != "exact"}
        rendering = canonical({**public, "bytes": sealed.get("bytes", 0)})
        terms = self.ballots.terms(
            approval, session, operation, decision, exact, rendering, log=self.ballots.checkpoint(),
            preview=sha256(canonical(body["preview"])).hexdigest() if body.get("preview") else "",
        )  # fmt: skip
        salts = self.ballots.salts(approval.id)
        return await self._create(
            approval, {**shown, "terms": terms, "salts": salts}, rendering, session_id=session.id, likeness=alike
        )

    async def ask_in_advance(
        self, identity: Identity, target: Target, asked: Asked, decision: Decision, body: Mapping[str, Any], *, lasts: int
    ) -> Approval:
        """A request for a grant. `lasts` is how many seconds people have to answer. Raises TooManyRequestsError."""
        async with self._asking:
            await self._room(identity)
            now = self._clock.now()
            approval = Approval(
                id=self._clock.new_id(), digest=binding(identity, target), requested_by=identity.id,
                on_behalf_of=tuple(link.id for link in identity.chain()[1:]), target=target.name,
                approvers=() if asked.break_glass else decision.approvers,
                quorum=1 if asked.break_glass else decision.quorum,
                state=ApprovalState.WAITING, requested_at=now, expires_at=now + lasts * 1000,
            )  # fmt: skip
            shown = {
                **body, "approval": approval.id, "quorum": approval.quorum, "approvers": sorted(approval.approvers),
                "requested_at": now, "expires_at": approval.expires_at,
            }  # fmt: skip
            rendering = canonical(shown)
            terms = self.ballots.grant_terms(
                approval, identity, asked, decision, rendering, log=self.ballots.checkpoint()
            )
            salts = {"display": self.ballots.salts(approval.id)["display"]}
            approval = replace(approval, terms=canonical(terms))
            return await self._create(approval, {**shown, "terms": terms, "salts": salts}, rendering)

    async def _similar(self, likeness: str) -> dict[str, Any]:
        """What became of earlier requests of the same form on the same target, of the newest that are looked at."""
        found = await self.store.alike(likeness, limit=MOST_ALIKE)
        allowed = [a for a in found if a.state in (ApprovalState.APPROVED, ApprovalState.SPENT)]
        denied = [a for a in found if a.state is ApprovalState.DENIED]
        shown: dict[str, Any] = {"asked": len(found), "allowed": len(allowed), "denied": len(denied)}
        decided = [a for a in found if a.votes and (a in allowed or a in denied)]
        if decided:
            last = decided[0].votes[-1]
            shown["last"] = {"allowed": decided[0] in allowed, "by": last.voter, "at": last.at}
        return shown

    async def _room(self, who: Identity) -> None:
        """Whether somebody may ask for one more. Raises TooManyRequestsError."""
        now = self._clock.now()
        mine = [
            a
            for state in OPEN
            for a in await self.store.list(state, limit=1000)
            if a.requested_by == who.id and a.expires_at > now
        ]
        if len(mine) >= self._most_open:
            raise TooManyRequestsError(f"{len(mine)} requests of yours wait for an answer already")

    async def _create(
        self, approval: Approval, body: Mapping[str, Any], rendering: bytes, *, session_id: str = "", likeness: str = ""
    ) -> Approval:
        approval = replace(approval, terms=canonical(body["terms"]))
        # The record comes first: a request that nobody can find later must not be answerable.
        await self._recorder.event("approval.requested", body, session_id=session_id, actor=approval.requested_by)
        await self._recorder.publish()
        await self.store.create(approval, rendering, likeness)
        self._wake(approval.id)
        return approval

    async def get(self, approval_id: str) -> Approval | None:
        """The request as it stands; one whose time is over is expired on the way."""
        approval = await self.store.get(approval_id)
        if (
            approval is not None
            and approval.state in (*OPEN, ApprovalState.APPROVED)
            and (self.ballots.ends(approval) <= self._clock.now())
        ):
            over = approval.state is ApprovalState.APPROVED and is_grant(approval)
            await self.end(
                approval.id, ApprovalState.EXPIRED, reason="its time is over" if over else "nobody answered in time"
            )
            approval = await self.store.get(approval_id)
        if approval is not None and approval.state is ApprovalState.APPROVED and is_grant(approval) and (
            await self.exhausted(approval)
        ):
            await self.finish(approval_id)
            approval = await self.store.get(approval_id)
        if approval is not None and approval.votes and (
            approval.state in OPEN or (approval.state is ApprovalState.APPROVED and self.ballots.denied(approval))
        ):
            return await self._count(approval_id)  # a vote was cast, and we died before it was counted
        return approval

    async def stored(self, approval_id: str) -> Approval | None:
        """The request as the store has it; nothing changes by looking."""
        return await self.store.get(approval_id)

    async def body(self, approval_id: str) -> bytes:
        """The gateway's rendering of the request, canonical JSON, masked."""
        return await self.store.body(approval_id)

    async def list(self, state: ApprovalState | None = None, *, limit: int = 100) -> list[Approval]:
        """Newest first."""
        return await self.store.list(state, limit=limit)

    async def vote(
        self,
        voter: Identity,
        target: Target,
        approval_id: str,
        *,
        approve: bool,
        request: str,
        signature: Mapping[str, Any],
        comment: str = "",
    ) -> Approval:
        """Cast one person's signed vote. Raises VoteRefusedError; LookupError if there is no such request."""
        comment = self._recorder.detectors.mask(comment[:1000])[0]
        async with self._voting:
            approval = await self.get(approval_id)
            if approval is None:
                raise LookupError(f"there is no request {approval_id}")
            if approval.state not in OPEN:
                raise VoteRefusedError(f"request {approval_id} is {approval.state} already")
            decision = self.ballots.refusal(approval, voter, target)
            if decision.outcome is not Outcome.ALLOW:
                await self._refused(approval_id, voter, decision.reason)
                raise VoteRefusedError(decision.reason)
            if any(vote.voter == voter.id for vote in approval.votes):
                raise VoteRefusedError("you have voted on this request already")
            try:
                vote, evidence = self.ballots.cast(
                    approval, voter, approve=approve, request=request, signature=signature, comment=comment
                )
            except IntegrityError as error:
                await self._refused(approval_id, voter, error.message)
                raise VoteRefusedError(error.message) from None
            await self._recorder.event(
                "approval.voted",
                {
                    "approval": approval_id,
                    "approve": approve,
                    "comment": comment,
                    "rules": list(decision.rules),
                    "policy": decision.policy_hash,
                    **evidence,
                },
                actor=voter.id,
            )
            await self._recorder.publish()
            # If we die here, the vote is on record and perhaps not in the store: with its folding, by whomever, it is.
            if not await self.store.vote(approval_id, vote) and not await self._counts(approval_id, vote):
                raise VoteRefusedError("you have voted on this request already, or it was decided meanwhile")
        return await self._count(approval_id)

    async def _counts(self, approval_id: str, vote: Vote) -> bool:
        """Whether this vote is its voter's in the store: its folding may have put it there."""
        approval = await self.store.get(approval_id)
        return approval is not None and any(
            (cast.voter, cast.approve, cast.evidence) == (vote.voter, vote.approve, vote.evidence) for cast in approval.votes
        )

    async def _refused(self, approval_id: str, voter: Identity, reason: str) -> None:
        await self._recorder.event("approval.vote_refused", {"approval": approval_id, "reason": reason}, actor=voter.id)

    async def _count(self, approval_id: str) -> Approval:
        """Turn votes into a state: any no is final; enough different people saying yes approve."""
        for _ in range(4):  # the client may park or resume the request while we look
            approval = await self.store.get(approval_id)
            assert approval is not None
            if approval.state not in OPEN:
                # A no that was stored after the last look and before the swap to approved: still a no.
                if approval.state is ApprovalState.APPROVED and self.ballots.denied(approval):
                    await self.store.set_state(approval_id, ApprovalState.APPROVED, ApprovalState.DENIED)
                break
            if self.ballots.denied(approval):
                wanted = ApprovalState.DENIED
            elif (await self.ballots.count(approval))[0]:
                wanted = ApprovalState.APPROVED
            else:
                break
            if wanted is ApprovalState.APPROVED and breaks_glass(approval):
                await self._broken(approval)
            if await self.store.set_state(approval_id, approval.state, wanted) and wanted is ApprovalState.DENIED:
                break
        fresh = await self.store.get(approval_id)
        assert fresh is not None
        self._wake(approval_id)
        return fresh

    async def _broken(self, approval: Approval) -> None:
        """Somebody breaks glass: on record, for everybody who was not asked to be told, before it holds."""
        if approval.id in self._told:
            return
        self._told.add(approval.id)
        terms = terms_of(approval)
        await self._recorder.event(
            "break_glass.used",
            {
                "approval": approval.id, "target": approval.target, "reason": json.loads(
                    await self.store.body(approval.id) or b"{}"
                ).get("purpose", ""),
                "actions": terms["actions"], "limits": terms["limits"], "rules": terms["policy"]["rules"],
                "wanted": terms["skips"], "skipped": terms["skips"]["of"],
                "until": self._clock.now() + terms["limits"]["minutes"] * 60_000,
            },
            actor=approval.requested_by,
        )  # fmt: skip

    async def wait(self, approval_id: str, seconds: float) -> Approval | None:
        """Until the state is no longer waiting or parked, or `seconds` are over; then the request as it stands."""
        flag = asyncio.Event()
        self._changed.setdefault(approval_id, set()).add(flag)
        deadline = self._clock.monotonic() + seconds
        try:
            while True:
                approval = await self.get(approval_id)
                left = deadline - self._clock.monotonic()
                if approval is None or approval.state not in OPEN or left <= 0:
                    return approval
                flag.clear()
                try:
                    # Another process may have changed the store: look now and then even when nobody wakes us.
                    await asyncio.wait_for(
                        flag.wait(), min(left, 2.0, max(0.05, (approval.expires_at - self._clock.now()) / 1000))
                    )
                except TimeoutError:
                    continue
        finally:
            flags = self._changed.get(approval_id)
            if flags is not None:
                flags.discard(flag)
                if not flags:
                    del self._changed[approval_id]

    async def park(self, approval_id: str) -> None:
        """The client went or gave up waiting; nothing runs until it comes back with the same."""
        if await self.store.set_state(approval_id, ApprovalState.WAITING, ApprovalState.PARKED):
            self._wake(approval_id)
            await self._recorder.event("approval.parked", {"approval": approval_id})

    async def end(self, approval_id: str, state: ApprovalState, *, reason: str, actor: str = "") -> bool:
        """Withdraw or expire what is not decided yet. False if it was decided meanwhile."""
        async with self.using:
            for before in (ApprovalState.WAITING, ApprovalState.PARKED, ApprovalState.APPROVED):
                if await self.store.set_state(approval_id, before, state):
                    await self._recorder.event(
                        f"approval.{state.value}", {"approval": approval_id, "reason": reason}, actor=actor
                    )
                    self._wake(approval_id)
                    return True
        return False

    async def finish(self, approval_id: str) -> None:
        """Nothing is left of a grant: the record of its last use says so."""
        await self.store.set_state(approval_id, ApprovalState.APPROVED, ApprovalState.SPENT)
        self._wake(approval_id)

    async def policies_changed(self) -> None:
        """End every grant that was asked for under other policies. A statement's request is looked at when it is used."""
        for state in (*OPEN, ApprovalState.APPROVED):
            for approval in await self.store.list(state, limit=10_000):
                if is_grant(approval) and terms_of(approval)["policy"]["sha256"] != self._policies.current.hash:
                    await self.end(approval.id, ApprovalState.WITHDRAWN, reason="the policies changed")

    async def spend(
        self, approval_id: str, session: Session, operation: Operation, decision: Decision, exact: Exact
    ) -> str:
        """Use an approval, once, for exactly what it was given for. Returns "", or why it cannot be used, in words."""
        approval = await self.store.get(approval_id)
        if approval is None or approval.state is not ApprovalState.APPROVED or not approval.terms:
            return "it was used, withdrawn or expired meanwhile"
        differs = self.ballots.unfit(
            approval, session, operation, decision, exact, await self.store.body(approval_id)
        )
        if differs:
            return f"what it was given for has changed (`{differs}`)"
        enough, missing = await self.ballots.count(approval, session.target)
        if not enough:
            # What was approved is so no more, and will not be again: a key that is revoked stays so.
            await self.end(approval_id, ApprovalState.WITHDRAWN, reason=missing)
            return missing
        if not await self.store.spend(approval_id, operation.digest, self._clock.now()):
            return "it was used, withdrawn or expired meanwhile"
        await self._recorder.event(
            "approval.spent",
            {"approval": approval_id, "operation": operation.id},
            session_id=operation.session_id,
            actor=approval.requested_by,
        )
        self._wake(approval_id)
        return ""

    @contextmanager
    def following(self, who: str) -> Iterator[News]:
        """What changes from here on, for one listener. Raises TooManyRequestsError: somebody (an Identity.id) listens as
        often as they may, or everybody together does."""
        mine = sum(1 for news in self._news if news.who == who)
        if mine >= MOST_LISTENING or len(self._news) >= MOST_LISTENERS:
            raise TooManyRequestsError("too many listen for news of requests already; ask for a request's state instead")
        news = News(who)
        self._news.add(news)
        try:
            yield news
        finally:
            self._news.discard(news)

    @contextmanager
    def waiting(self, who: str) -> Iterator[None]:
        """Somebody (an Identity.id) waits for an answer, holding a connection. Raises TooManyRequestsError."""
        if self._waiters[who] >= MOST_WAITING or self._waiters.total() >= MOST_WAITERS:
            raise TooManyRequestsError("too many wait for answers already; ask for a request's state instead")
        self._waiters[who] += 1
        try:
            yield
        finally:
            self._waiters[who] -= 1
            if not self._waiters[who]:
                del self._waiters[who]

    def _wake(self, approval_id: str) -> None:
        self._tell()
        for flag in self._changed.get(approval_id, ()):
            flag.set()
        for news in self._news:
            news.tell(approval_id)
