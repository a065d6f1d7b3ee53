"""Ballots: what approvers are given to sign, whether a signed one counts, and whether enough of them do.

The terms of a request are derived from what would run; at dispatch they are derived again, from what is about to run, and
every member must be the same. Nothing that a voter sends is trusted: the request that they signed is made here, byte for
byte, from the stored terms, who they are and what they say.

The laws that no policy lifts: an approver is not who asked, nor whom they asked for, nor the owner of an agent that asked, nor
who last edited a deciding policy within a day; agents never vote (`policy.decide`). People are compared by issuer and subject.

It changes no state: that is `approvals`.
"""

from __future__ import annotations

from base64 import b64encode
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from doorward.errors import IntegrityError
from doorward.guard.approver_keys import ApproverKeys, login
from doorward.guard.policies import PolicyInForce
from doorward.guard.ports import Clock
from doorward.guard.recorder import Recorder
from doorward.ledger import request as requests
from doorward.ledger.encoding import canonical, parse
from doorward.model import Approval, Decision, Identity, Operation, Outcome, Session, Target, Vote
from doorward.policy.decide import may_vote

SALTED = ("statement", "parameters", "operation", "display")


@dataclass(frozen=True, slots=True)
class Exact:
    """Exactly what would run: the statement's bytes, and what is bound to it as the client sent it."""

    statement: bytes
    params: Sequence[bytes | None] = ()
    formats: Sequence[int] = ()
    types: Sequence[int] = ()


async def _nobody(_: Sequence[str]) -> Mapping[str, Identity]:
    return {}


class Ballots:
    """`owner_of` says whose agent an Identity.id is: the Identity.id of its owner, "" if it has none. `revoked` says why
    somebody is no longer let in, "" if they are. `people` are those of some Identity.ids who were ever here, as their newest
    tokens say: a vote's owner may have left, since it was cast, the group that made it count."""

    def __init__(self, recorder: Recorder, clock: Clock, policies: PolicyInForce, keys: ApproverKeys) -> None:
        self.keys = keys
        self.owner_of: Callable[[str], str] = lambda _: ""
        self.revoked: Callable[[str], str] = lambda _: ""
        self.people: Callable[[Sequence[str]], Awaitable[Mapping[str, Identity]]] = _nobody
        self._recorder, self._clock, self._policies = recorder, clock, policies

    # Terms ---------------------------------------------------------------------------------------------------------

    def checkpoint(self) -> dict[str, Any]:
        """How far the log has got, as it is signed and published: a vote on this came after it."""
        head = self._recorder.sequencer.head
        if head is None:
            return {"origin": "", "size": 0, "root": ""}
        return {"origin": head.origin, "size": head.size, "root": b64encode(head.root).decode()}

    def salts(self, rid: str) -> dict[str, str]:
        """What opens the commitments of a request's terms, for its sealed event."""
        return {name: self._salt(rid, name).hex() for name in SALTED}

    def _salt(self, rid: str, name: str) -> bytes:
        return self._recorder.keyring.salt(f"approval/{rid}/{name}")

    def terms(
        self, approval: Approval, session: Session, operation: Operation, decision: Decision, exact: Exact,
        rendering: bytes, *, log: Mapping[str, Any], preview: str = "",
    ) -> dict[str, Any]:  # fmt: skip
        """The terms of the request for this operation in this session."""
        rid = approval.id
        return {
            "act": [link.id for link in session.identity.chain()[1:]],
            "display_commit": requests.display_commitment(self._salt(rid, "display"), rendering),
            "exp": approval.expires_at,
            "limits": {},
            "log": dict(log),
            "nbf": approval.requested_at,
            "nonce": self._salt(rid, "nonce").hex(),
            "operation_commit": requests.operation_commitment(self._salt(rid, "operation"), operation.digest),
            "params_commit": requests.parameters_commitment(
                self._salt(rid, "parameters"), exact.params, exact.formats, exact.types
            ),
            "policy": {"rules": list(decision.rules), "sha256": decision.policy_hash},
            "preview": preview,
            "quorum": {"k": decision.quorum, "of": sorted(decision.approvers), "seats": dict(decision.seats)},
            "requester": session.identity.id,
            "rid": rid,
            "role": operation.role,
            "search_path": operation.search_path,
            "stmt_commit": requests.statement_commitment(self._salt(rid, "statement"), exact.statement),
            "target": session.target.name,
            "typ": requests.TYP,
            "uses": 1,
            "v": requests.VERSION,
        }

    def unfit(
        self, approval: Approval, session: Session, operation: Operation, decision: Decision, exact: Exact, rendering: bytes
    ) -> str:
        """"" if what is about to run is what the terms say; else the name of the first member that differs."""
        given = _terms(approval)
        found = self.terms(
            approval, session, operation, decision, exact, rendering, log=given["log"], preview=given["preview"]
        )
        if decision.outcome is not Outcome.HOLD:  # allowed by now, under the same policies: then the terms bind as they were
            found["quorum"] = given["quorum"]
            found["policy"]["rules"] = given["policy"]["rules"]
        return next((name for name in sorted({*found, *given}) if found.get(name) != given.get(name)), "")

    # Votes ---------------------------------------------------------------------------------------------------------

    def request(self, approval: Approval, approver: str, *, approve: bool) -> bytes:
        """What `approver` signs. IntegrityError if this was asked before votes were signed."""
        if not approval.terms:
            raise IntegrityError("this was asked before votes were signed: have the statement submitted again")
        return requests.request(_terms(approval), approver, approve=approve)

    def objection(self, approval: Approval, voter: str) -> str:
        """Which law keeps somebody (an Identity.id) from deciding on this; "" if none does."""
        chain = (approval.requested_by, *approval.on_behalf_of)
        if voter in chain:
            return "nobody decides on what they, or an agent acting for them, asked for"
        if any(self.owner_of(link) == voter for link in chain):
            return "nobody decides on what an agent of theirs asked for"
        rules = _terms(approval)["policy"]["rules"] if approval.terms else []
        if voter in self._policies.editors(rules, self._clock.now()):
            return "you changed the policy that holds this within the last day: somebody else decides"
        return ""

    def refusal(self, approval: Approval, voter: Identity, target: Target) -> Decision:
        """Whether somebody may vote on this: policy, under the laws."""
        said = self.objection(approval, voter.id)
        if said:
            return Decision(Outcome.DENY, reason=said, policy_hash=self._policies.current.hash)
        return may_vote(self._policies.current, voter, approval, target)

    def cast(
        self, approval: Approval, voter: Identity, *, approve: bool, request: str, signature: Mapping[str, Any], comment: str
    ) -> tuple[Vote, dict[str, Any]]:
        """The vote, and what its event says of the signature. Raises IntegrityError, in words for people, unless what was
        signed is exactly this request, by a key of theirs."""
        ours = self.request(approval, voter.id, approve=approve)
        differs = requests.difference(ours, request.encode("utf-8", "surrogatepass"))
        if differs:
            raise IntegrityError(f"what you signed is not what was asked: its `{differs}` differs", spot=differs)
        key_id = self.keys.signer(voter.id, signature)
        if not key_id:
            raise IntegrityError("this vote is signed by a key that is not registered as yours")
        key, flags = self.keys.signed(key_id, voter.id, ours, signature)
        evidence = {
            "flags": flags, "groups": sorted(voter.groups)[:100], "key": key.id, "method": key.method, "request": ours.decode(),
            "session": {**login(voter), "authenticated_at": voter.authenticated_at, "token": voter.token_id},
            "signature": _kept(signature), "tier": key.tier,
        }  # fmt: skip
        return Vote(voter.id, approve, self._clock.now(), comment, key.id, canonical(evidence)), evidence

    async def count(self, approval: Approval, target: Target | None = None) -> tuple[bool, str]:
        """(whether enough different people say yes and nobody no, what is missing). Each vote is proved again: its bytes, its
        signature, its key, its owner's groups; with `target`, their right to vote too. UpstreamError: nobody can tell."""
        known = await self.people([vote.voter for vote in approval.votes])
        people: list[frozenset[str]] = []
        missing = ""
        for vote in approval.votes:
            try:
                groups = self._proved(approval, vote, target, known.get(vote.voter))
            except IntegrityError as error:
                missing = f"the vote of {vote.voter.rpartition('|')[2]} does not count: {error.message}"
                continue
            if not vote.approve:
                return False, "somebody said no"
            people.append(groups)
        if people:
            quorum = _terms(approval)["quorum"]  # signed, and not what a column of the store says
            if requests.seats_met(people, quorum["k"], quorum["seats"]):
                return True, ""
        return False, missing or "not enough people said yes"

    def denied(self, approval: Approval) -> bool:
        """Whether somebody said no. A no needs no proof to be final: nothing runs that should not."""
        return any(not vote.approve for vote in approval.votes)

    def _proved(
        self, approval: Approval, vote: Vote, target: Target | None, latest: Identity | None
    ) -> frozenset[str]:
        if not vote.evidence:
            raise IntegrityError("it is not signed")
        evidence = parse(vote.evidence)
        ours = self.request(approval, vote.voter, approve=vote.approve)
        if not isinstance(evidence, dict) or evidence.get("request") != ours.decode():
            raise IntegrityError("what was signed is not what was asked")
        self.keys.signed(vote.key, vote.voter, ours, evidence["signature"])
        objection = self.revoked(vote.voter) or self.objection(approval, vote.voter)
        if objection:
            raise IntegrityError(objection)
        groups = frozenset(evidence["groups"]) if latest is None else latest.groups
        if approval.approvers and not groups & set(approval.approvers):
            raise IntegrityError("they are in none of the groups any more that may decide")
        if latest is not None and target is not None:
            decision = may_vote(self._policies.current, latest, approval, target)
            if decision.outcome is not Outcome.ALLOW:
                raise IntegrityError(decision.reason or "policy does not let them vote any more")
        return groups


def _terms(approval: Approval) -> dict[str, Any]:
    terms = parse(approval.terms)
    assert isinstance(terms, dict)
    return terms


def _kept(signature: Mapping[str, Any]) -> dict[str, Any]:
    """A signature without what a browser adds and nobody checks."""
    if signature.get("method") != "webauthn":
        return {"method": signature["method"], "signature": signature["signature"]}
    credential = signature["credential"]
    names = ("authenticatorData", "clientDataJSON", "signature", "userHandle")
    response = {name: credential["response"][name] for name in names if isinstance(credential["response"].get(name), str)}
    return {"method": "webauthn", "credential": {"id": credential["id"], "response": response}}
