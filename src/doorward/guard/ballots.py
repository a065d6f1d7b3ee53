"""Ballots: what approvers are given to sign, whether a signed one counts, and whether enough of them do.

The terms of a request are derived from what would run; at dispatch they are derived again, from what is about to run, and
every member must be the same. Nothing that a voter sends is trusted: the request that they signed is made here, byte for
byte, from the stored terms, who they are and what they say.

The laws that no policy lifts: an approver is not who asked, nor whom they asked for, nor the owner of an agent that asked, nor
who last edited a deciding policy within a day; agents never vote (`policy.decide`). People are compared by issuer and subject.

It changes no state: that is `approvals`.
"""

from __future__ import annotations

import hashlib
from base64 import b64encode
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import lru_cache
from typing import Any

from doorward.errors import IntegrityError
from doorward.guard.approver_keys import ApproverKeys, login
from doorward.guard.policies import PolicyInForce
from doorward.guard.ports import Clock
from doorward.guard.recorder import Recorder
from doorward.ledger import request as requests
from doorward.ledger.encoding import canonical, parse
from doorward.ledger.votes import check_verified
from doorward.model import Approval, ApprovalState, Decision, Identity, Kind, Operation, Outcome, Session, Target, Vote
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


@dataclass(frozen=True, slots=True)
class Asked:
    """What a grant is asked for. `actions` are of `policy.grants.ACTIONS`; `on` are resources (kind, name) of the target,
    none: all of it; `session` the id of the one session that it is for, "": any of the identity's."""

    actions: tuple[str, ...]
    minutes: int
    statements: int
    rows: int
    on: tuple[tuple[str, str], ...] = ()
    session: str = ""
    break_glass: bool = False

    @property
    def words(self) -> str:
        """In a line for people."""
        many = "1 statement" if self.statements == 1 else f"{self.statements} statements"
        rows = "1 row" if self.rows == 1 else f"{self.rows} rows"
        where = " on " + ", ".join(name for _, name in self.on) if self.on else ""
        whose = f" in session {self.session}" if self.session else ""
        return f"{', '.join(sorted(self.actions))}{where}{whose}, for {self.minutes} min: at most {many}, {rows}"


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

    def salted(self, rid: str, rendering: bytes) -> dict[str, str]:
        """The members of a grant's terms that come of the gateway's key and what was shown."""
        return {
            "display_commit": requests.display_commitment(self._salt(rid, "display"), rendering),
            "nonce": self._salt(rid, "nonce").hex(),
        }

    def grant_terms(
        self, approval: Approval, identity: Identity, asked: Asked, decision: Decision, rendering: bytes, *,
        log: Mapping[str, Any],
    ) -> dict[str, Any]:  # fmt: skip
        """The terms of a request for a grant."""
        rid = approval.id
        held = {"k": decision.quorum, "of": sorted(decision.approvers), "seats": dict(decision.seats)}
        return {
            "act": [link.id for link in identity.chain()[1:]],
            "actions": sorted(asked.actions),
            "exp": approval.expires_at,
            "kinds": [link.kind.value for link in identity.chain()],
            "limits": {"minutes": asked.minutes, "rows": asked.rows, "statements": asked.statements},
            "log": dict(log),
            "nbf": approval.requested_at,
            "on": [list(each) for each in asked.on],
            "policy": {"rules": list(decision.rules), "sha256": decision.policy_hash},
            "quorum": {"k": 1, "of": [], "seats": {}} if asked.break_glass else held,
            "requester": identity.id,
            "rid": rid,
            "session": asked.session,
            "skips": held if asked.break_glass else None,
            "target": approval.target,
            "typ": requests.GRANT,
            "v": requests.VERSION,
            **self.salted(rid, rendering),
        }

    def ends(self, approval: Approval) -> int:
        """When it is over, Unix ms. A grant that is approved lasts its minutes, from the vote that made it so; what was signed
        bounds that, whatever a store says of when votes were cast."""
        if approval.state is not ApprovalState.APPROVED or not is_grant(approval) or not approval.votes:
            return approval.expires_at
        terms = terms_of(approval)
        begun = min(max(vote.at for vote in approval.votes), int(terms["exp"]))
        return begun + int(terms["limits"]["minutes"]) * 60_000

    def unfit(
        self, approval: Approval, session: Session, operation: Operation, decision: Decision, exact: Exact, rendering: bytes
    ) -> str:
        """"" if what is about to run is what the terms say; else the name of the first member that differs."""
        given = terms_of(approval)
        if given["typ"] != requests.TYP:
            return "typ"
        found = self.terms(
            approval, session, operation, decision, exact, rendering, log=given["log"], preview=given["preview"]
        )
        if decision.outcome is not Outcome.HOLD:  # allowed by now, under the same policies: then the terms bind as they were
            found["quorum"] = given["quorum"]
            found["policy"]["rules"] = given["policy"]["rules"]
        return next((name for name in sorted({*found, *given}) if found.get(name) != given.get(name)), "")

    # Votes ---------------------------------------------------------------------------------------------------------

    def request(self, approval: Approval, approver: str, *, approve: bool, review: bool = False) -> bytes:
        """What `approver` signs. IntegrityError if this was asked before votes were signed."""
        if not approval.terms:
            raise IntegrityError("this was asked before votes were signed: have the statement submitted again")
        return requests.request(terms_of(approval), approver, approve=approve, review=review)

    def objection(self, approval: Approval, voter: str, *, review: bool = False) -> str:
        """Which law keeps somebody (an Identity.id) from deciding on this, or from reviewing it; "" if none does."""
        if breaks_glass(approval) and not review:
            return "" if voter == approval.requested_by else "only who breaks the glass signs that; others review it afterwards"
        chain = (approval.requested_by, *approval.on_behalf_of)
        if voter in chain:
            return "nobody decides on what they, or an agent acting for them, asked for"
        if any(self.owner_of(link) == voter for link in chain):
            return "nobody decides on what an agent of theirs asked for"
        rules = terms_of(approval)["policy"]["rules"] if approval.terms else []
        if voter in self._policies.editors(rules, self._clock.now()):
            return "you changed the policy that holds this within the last day: somebody else decides"
        return ""

    def refusal(self, approval: Approval, voter: Identity, target: Target) -> Decision:
        """Whether somebody may vote on this: policy, under the laws."""
        said = self.objection(approval, voter.id)
        if said:
            return Decision(Outcome.DENY, reason=said, policy_hash=self._policies.current.hash)
        if breaks_glass(approval):  # policy has said that they may, or there would be no such request
            fits = voter.kind is Kind.HUMAN and voter.on_behalf_of is None
            return Decision(
                Outcome.ALLOW if fits else Outcome.DENY, reason="" if fits else "only people break glass",
                policy_hash=self._policies.current.hash,
            )  # fmt: skip
        return may_vote(self._policies.current, voter, approval, target)

    def review_refusal(self, approval: Approval, reviewer: Identity, target: Target) -> str:
        """Why somebody may not review broken glass, or "": they could have approved what was done without them."""
        if not breaks_glass(approval) or not any(vote.approve for vote in approval.votes):
            return "there is nothing to review: no glass was broken"
        wanted = replace(approval, approvers=tuple(terms_of(approval)["skips"]["of"]))
        said = self.objection(approval, reviewer.id, review=True)
        decision = may_vote(self._policies.current, reviewer, wanted, target)
        return said or ("" if decision.outcome is Outcome.ALLOW else decision.reason or "policy does not let you")

    def cast(
        self, approval: Approval, voter: Identity, *, approve: bool, request: str, signature: Mapping[str, Any], comment: str,
        review: bool = False,
    ) -> tuple[Vote, dict[str, Any]]:
        """The vote, and what its event says of the signature. Raises IntegrityError, in words for people, unless what was
        signed is exactly this request, by a key of theirs."""
        ours = self.request(approval, voter.id, approve=approve, review=review)
        differs = requests.difference(ours, request.encode("utf-8", "surrogatepass"))
        if differs:
            raise IntegrityError(f"what you signed is not what was asked: its `{differs}` differs", spot=differs)
        key_id = self.keys.signer(voter.id, signature)
        if not key_id:
            raise IntegrityError("this vote is signed by a key that is not registered as yours")
        key, flags = self.keys.signed(key_id, voter.id, ours, signature)
        if breaks_glass(approval) and approve and not review:
            check_verified(key, flags)
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
            quorum = terms_of(approval)["quorum"]  # signed, and not what a column of the store says
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
        key, flags = self.keys.signed(vote.key, vote.voter, ours, evidence["signature"])
        if breaks_glass(approval) and vote.approve:
            check_verified(key, flags)
        objection = self.revoked(vote.voter) or self.objection(approval, vote.voter)
        if objection:
            raise IntegrityError(objection)
        groups = frozenset(evidence["groups"]) if latest is None else latest.groups
        if breaks_glass(approval):
            return groups
        if approval.approvers and not groups & set(approval.approvers):
            raise IntegrityError("they are in none of the groups any more that may decide")
        if latest is not None and target is not None:
            decision = may_vote(self._policies.current, latest, approval, target)
            if decision.outcome is not Outcome.ALLOW:
                raise IntegrityError(decision.reason or "policy does not let them vote any more")
        return groups


def binding(identity: Identity, target: Target) -> bytes:
    """Whose a grant is and where: what it is found by."""
    digest = hashlib.sha256(b"doorward/grant/v1\0")
    for part in (target.name, *(text for link in identity.chain() for text in (link.id, link.kind.value))):
        encoded = part.encode()
        digest.update(len(encoded).to_bytes(8, "big") + encoded)
    return digest.digest()


def is_grant(approval: Approval) -> bool:
    """Whether it is about more than one statement."""
    return bool(approval.terms) and terms_of(approval).get("typ") == requests.GRANT


def breaks_glass(approval: Approval) -> bool:
    """Whether its requester goes on without the people whom policy wants."""
    return is_grant(approval) and terms_of(approval)["skips"] is not None


def terms_of(approval: Approval) -> dict[str, Any]:
    """What its approvers sign, without who signs and what they say. To be read only."""
    return _parsed(approval.terms)


@lru_cache(512)
def _parsed(terms: bytes) -> dict[str, Any]:
    found = parse(terms)
    assert isinstance(found, dict)
    return found


def _kept(signature: Mapping[str, Any]) -> dict[str, Any]:
    """A signature without what a browser adds and nobody checks."""
    if signature.get("method") != "webauthn":
        return {"method": signature["method"], "signature": signature["signature"]}
    credential = signature["credential"]
    names = ("authenticatorData", "clientDataJSON", "signature", "userHandle")
    response = {name: credential["response"][name] for name in names if isinstance(credential["response"].get(name), str)}
    return {"method": "webauthn", "credential": {"id": credential["id"], "response": response}}
