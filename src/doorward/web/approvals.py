"""The HTTP API's part that is about requests for approval: seeing them, waiting, and signed votes.

A vote takes two calls: `ballot` gives the exact text to sign, `votes` takes it back with the signature. The gateway makes
the text again and compares every byte; what a caller sends is never interpreted.
"""

from __future__ import annotations

import json
from collections.abc import AsyncIterator, Callable, Sequence
from typing import Annotated, Any, Protocol

from litestar import Request, get, post
from litestar.exceptions import HTTPException, NotFoundException, PermissionDeniedException
from litestar.params import FromPath, FromQuery, JSONBody, QueryParameter
from litestar.response import Stream
from litestar.status_codes import HTTP_200_OK

from doorward.errors import IntegrityError
from doorward.guard.approvals import OPEN, Approvals, TooManyRequestsError, VoteRefusedError
from doorward.guard.ballots import breaks_glass, is_grant, terms_of
from doorward.guard.guard import Guard
from doorward.guard.reviews import Reviews
from doorward.ledger import request as requests
from doorward.ledger.votes import WEBAUTHN, namespace
from doorward.ledger.webauthn import base64url
from doorward.model import Approval, ApprovalState, Identity, Outcome, Target
from doorward.web import grants
from doorward.web.reviews import routes as review_routes
from doorward.web.reviews import shown as as_shown
from doorward.web.targets import Who

LONGEST_STREAM = 900.0  # seconds of server-sent events; then the listener asks anew, and is judged anew
HEARTBEAT = 15.0
LONGEST_WAIT = 60.0  # seconds that one request may wait for an answer
VOTE = '{"approve": true or false, "comment": "...", "request": "...", "signature": {"method": "sshsig" or "webauthn", ...}}'


class Served(Protocol):
    """What of the gateway these routes serve."""

    guard: Guard
    approvals: Approvals
    reviews: Reviews

    @property
    def targets(self) -> dict[str, Target]: ...


Allowed = Callable[[Identity, str, str], bool]


def routes(gateway: Served, who: Who, allowed: Allowed) -> Sequence[Any]:
    """The handlers. `allowed` asks policy: identity, action, target."""

    def refusal(identity: Identity, approval: Approval) -> str | None:
        """None: may vote. Else why not."""
        target = gateway.targets.get(approval.target)
        if target is None:
            return f"there is no target {approval.target} any more"
        decision = gateway.approvals.ballots.refusal(approval, identity, target)
        return None if decision.outcome is Outcome.ALLOW else decision.reason

    def sees(identity: Identity, approval: Approval) -> bool:
        return (
            _asked(identity, approval)
            or refusal(identity, approval) is None
            or reviews(identity, approval)
            or allowed(identity, "administer", approval.target)
        )

    def reviews(identity: Identity, approval: Approval) -> bool:
        """Whether somebody may look into glass that was broken."""
        target = gateway.targets.get(approval.target)
        return target is not None and not gateway.approvals.ballots.review_refusal(approval, identity, target)

    async def approval_for(identity: Identity, approval_id: str) -> Approval:
        approval = await gateway.approvals.get(approval_id)
        if approval is None or not sees(identity, approval):
            raise NotFoundException(detail=f"there is no request {approval_id} that you may see")
        return approval

    def state(approval: Approval) -> dict[str, Any]:
        return {**_state(approval), "expires_at": gateway.approvals.ballots.ends(approval)}

    async def rendered(identity: Identity, approval: Approval) -> dict[str, Any]:
        body = await gateway.approvals.body(approval.id)
        shown: dict[str, Any] = json.loads(body) if body else {}
        shown.update(state(approval))
        if is_grant(approval):
            shown["left"] = await gateway.guard.grants.left(approval)
        shown["requested_by"], shown["on_behalf_of"] = approval.requested_by, list(approval.on_behalf_of)
        shown["target"] = approval.target
        open_still = approval.state in (*OPEN, ApprovalState.APPROVED)
        # By the gateway's clock, which is the one that counts: the caller's may be off.
        shown["left_ms"] = max(0, shown["expires_at"] - gateway.guard.clock.now()) if open_still else 0
        shown["seats"] = json.loads(approval.terms)["quorum"]["seats"] if approval.terms else {}
        if breaks_glass(approval):
            shown["skips"] = terms_of(approval)["skips"]["of"]
        if breaks_glass(approval) and any(vote.approve for vote in approval.votes):
            found = await gateway.reviews.find(approval.id)
            shown["review"] = found and as_shown(found, gateway.guard.clock.now())
            shown["you_may_review"] = reviews(identity, approval)
        why_not = refusal(identity, approval)
        shown["you_may_vote"] = why_not is None
        if why_not is not None:
            shown["why_not"] = why_not
            shown.pop("preview", None)  # a number of rows tells something of the data
            shown.pop("similar", None)  # and this of what others asked for
        return shown

    @get("/api/approvals")
    async def approvals(
        request: Request[Any, Any, Any],
        in_state: Annotated[str, QueryParameter(name="state")] = "",
        limit: FromQuery[int] = 100,
    ) -> list[dict[str, Any]]:
        """Requests that the caller asked for or may vote on."""
        identity = await who(request)
        try:
            wanted = ApprovalState(in_state) if in_state else None
        except ValueError:
            raise HTTPException(status_code=400, detail=f"state must be one of {', '.join(ApprovalState)}") from None
        found = await gateway.approvals.list(wanted, limit=max(1, min(limit, 1000)))
        shown = []
        for approval in found:
            if not sees(identity, approval):
                continue
            body = json.loads(await gateway.approvals.body(approval.id) or b"{}")
            shown.append({
                **state(approval), "target": approval.target, "requested_by": approval.requested_by,
                "on_behalf_of": list(approval.on_behalf_of), "action": body.get("action", ""),
                "effect": body.get("effect", ""), "text": str(body.get("text", ""))[:400],
                **({"purpose": str(body.get("purpose", ""))[:400]} if is_grant(approval) else {}),
            })  # fmt: skip
        return shown

    @get("/api/approvals/{approval_id:str}")
    async def approval(request: Request[Any, Any, Any], approval_id: FromPath[str]) -> dict[str, Any]:
        """One request, as the gateway renders it."""
        identity = await who(request)
        return await rendered(identity, await approval_for(identity, approval_id))

    @get("/api/approvals/{approval_id:str}/wait")
    async def wait(
        request: Request[Any, Any, Any], approval_id: FromPath[str], seconds: FromQuery[float] = 30.0
    ) -> dict[str, Any]:
        """The request once it is decided, or as it stands when the time is over."""
        identity = await who(request)
        await approval_for(identity, approval_id)
        try:
            with gateway.approvals.waiting(identity.id):
                decided = await gateway.approvals.wait(approval_id, max(0.0, min(seconds, LONGEST_WAIT)))
        except TooManyRequestsError as error:
            raise HTTPException(status_code=429, detail=str(error)) from None
        if decided is None:
            raise NotFoundException(detail=f"there is no request {approval_id}")
        return await rendered(identity, decided)

    async def told(identity: Identity, only: str, seconds: float) -> AsyncIterator[bytes]:
        """Server-sent events: a request's state whenever it has changed; of one, first as it stands, until its end. A
        stream ends with the right to listen: with the token, or after `seconds`."""
        clock = gateway.guard.clock
        until = clock.monotonic() + max(0.0, min(seconds, LONGEST_STREAM))
        if identity.expires_at:
            until = min(until, clock.monotonic() + (identity.expires_at - clock.now()) / 1000)
        with gateway.approvals.following(identity.id) as news:
            yield b"retry: 2000\n\n"
            changed = [only] if only else []
            while True:
                for approval_id in changed:
                    found = await gateway.approvals.get(approval_id)
                    if found is None or (only and approval_id != only) or not sees(identity, found):
                        continue
                    told_of = {**state(found), "target": found.target, "requested_by": found.requested_by}
                    yield f"event: {found.state}\ndata: {json.dumps(told_of)}\n\n".encode()
                    if only and found.state not in (*OPEN, ApprovalState.APPROVED):
                        return
                left = until - clock.monotonic()
                if left <= 0:
                    return
                changed = await news.next(min(left, HEARTBEAT))
                if not changed:
                    yield b": still here\n\n"

    def stream(identity: Identity, only: str, seconds: float) -> Stream:
        try:
            with gateway.approvals.following(identity.id):  # refused before the answer has begun
                pass
        except TooManyRequestsError as error:
            raise HTTPException(status_code=429, detail=str(error)) from None
        return Stream(told(identity, only, seconds), media_type="text/event-stream", headers={"cache-control": "no-store"})

    @get("/api/approvals/events")
    async def events(request: Request[Any, Any, Any], seconds: FromQuery[float] = LONGEST_STREAM) -> Stream:
        """Server-sent events of every request that the caller may see, as they change. `event` is the new state."""
        return stream(await who(request), "", seconds)

    @get("/api/approvals/{approval_id:str}/events")
    async def events_of(
        request: Request[Any, Any, Any], approval_id: FromPath[str], seconds: FromQuery[float] = LONGEST_STREAM
    ) -> Stream:
        """The same of one request, first as it stands; the stream ends once nothing can change any more."""
        identity = await who(request)
        await approval_for(identity, approval_id)
        return stream(identity, approval_id, seconds)

    @post("/api/approvals/{approval_id:str}/ballot", status_code=HTTP_200_OK)
    async def ballot(
        request: Request[Any, Any, Any], approval_id: FromPath[str], data: JSONBody[dict[str, Any]]
    ) -> dict[str, Any]:
        """What the caller signs to vote: {"approve": true|false}; with "review": true, to review broken glass. `request` is the
        exact text."""
        identity = await who(request)
        review = data.get("review", False)
        if not isinstance(data.get("approve"), bool) or set(data) - {"approve", "review"} or not isinstance(review, bool):
            raise HTTPException(status_code=400, detail='send {"approve": true or false}')
        asked = await approval_for(identity, approval_id)
        if review and not reviews(identity, asked):
            target = gateway.targets[asked.target]
            raise PermissionDeniedException(detail=gateway.approvals.ballots.review_refusal(asked, identity, target))
        why_not = None if review else refusal(identity, asked)
        if why_not is not None:
            raise PermissionDeniedException(detail=why_not)
        if not review and asked.state not in OPEN:
            raise PermissionDeniedException(detail=f"request {approval_id} is {asked.state} already")
        try:
            text = gateway.approvals.ballots.request(asked, identity.id, approve=data["approve"], review=review)
        except IntegrityError as error:
            raise PermissionDeniedException(detail=error.message) from None
        challenge = requests.challenge(text)
        passkeys = [key for key in gateway.approvals.keys.voting(identity.id) if key.method == WEBAUTHN]
        return {
            "request": text.decode(),
            "digest": challenge.hex(),
            "words": requests.words(challenge),
            "ssh_namespace": namespace(gateway.approvals.keys.gateway),
            "webauthn": {
                "challenge": base64url(challenge), "rpId": passkeys[0].rp_id, "timeout": 300_000,
                "userVerification": "required",
                "allowCredentials": [{"type": "public-key", "id": key.credential} for key in passkeys],
            } if passkeys else None,
        }  # fmt: skip

    @post("/api/approvals/{approval_id:str}/votes", status_code=HTTP_200_OK)
    async def vote(
        request: Request[Any, Any, Any], approval_id: FromPath[str], data: JSONBody[dict[str, Any]]
    ) -> dict[str, Any]:
        """Cast the caller's vote: the text of the ballot and its signature."""
        identity = await who(request)
        signature, comment = data.get("signature"), data.get("comment", "")
        if (
            not isinstance(data.get("approve"), bool) or set(data) - {"approve", "comment", "request", "signature"}
            or not isinstance(comment, str)
        ):  # fmt: skip
            raise HTTPException(status_code=400, detail=f"send {VOTE}")
        asked = await approval_for(identity, approval_id)
        if not isinstance(data.get("request"), str) or not isinstance(signature, dict):
            raise PermissionDeniedException(
                detail="a vote counts only signed: get the text from `ballot` and send it back with its `signature`; "
                "`doorward approvals approve` does both"
            )
        if signature.get("method") not in ("sshsig", "webauthn"):
            raise HTTPException(status_code=400, detail=f"send {VOTE}")
        target = gateway.targets.get(asked.target)
        if target is None:
            raise NotFoundException(detail=f"there is no target {asked.target}")
        try:
            voted = await gateway.approvals.vote(
                identity, target, approval_id, approve=data["approve"], request=data["request"], signature=signature,
                comment=comment,
            )  # fmt: skip
        except VoteRefusedError as error:
            raise PermissionDeniedException(detail=str(error)) from None
        return await rendered(identity, voted)

    @post("/api/approvals/{approval_id:str}/withdraw", status_code=HTTP_200_OK)
    async def withdraw(request: Request[Any, Any, Any], approval_id: FromPath[str]) -> dict[str, Any]:
        """Take a request back: one's own, that of an agent acting for the caller, or any, with `administer`; a grant also by
        whoever may vote on it."""
        identity = await who(request)
        asked = await approval_for(identity, approval_id)
        # Who could have said no to a grant may still end it.
        may_end = reviews(identity, asked) or (
            is_grant(asked) and not breaks_glass(asked) and refusal(identity, asked) is None
        )
        if not _asked(identity, asked) and not may_end and not allowed(identity, "administer", asked.target):
            raise PermissionDeniedException(
                detail="only who asked, or whom they asked for, or an administrator can withdraw a request"
            )
        if not await gateway.approvals.end(
            approval_id, ApprovalState.WITHDRAWN, reason="withdrawn", actor=identity.id
        ):
            raise PermissionDeniedException(detail=f"request {approval_id} is {asked.state} already")
        return await rendered(identity, await approval_for(identity, approval_id))

    asking = grants.routes(gateway.guard, lambda: gateway.targets, who, rendered)
    reviewing = review_routes(gateway.reviews, gateway.guard.clock, lambda: gateway.targets, who, approval_for)
    return approvals, events, events_of, approval, wait, ballot, vote, withdraw, *asking, *reviewing


def _asked(identity: Identity, approval: Approval) -> bool:
    """Whether a request is this very identity's, acting for the same people, or was made for it. An agent has no part in
    what its principal, or another agent of its principal's, asked for."""
    chain = tuple(link.id for link in identity.chain())
    asked = (approval.requested_by, *approval.on_behalf_of)
    return len(chain) <= len(asked) and chain == asked[-len(chain) :]  # the same people, from here on


def _state(approval: Approval) -> dict[str, Any]:
    return {
        "id": approval.id, "state": approval.state.value, "requested_at": approval.requested_at,
        "expires_at": approval.expires_at, "quorum": approval.quorum, "approvers": sorted(approval.approvers),
        "votes": [
            {"voter": v.voter, "approve": v.approve, "at": v.at, "comment": v.comment, "key": v.key, **_signed(v.evidence)}
            for v in approval.votes
        ],
    }  # fmt: skip


def _signed(evidence: bytes) -> dict[str, str]:
    found = json.loads(evidence) if evidence else {}
    return {name: str(found.get(name, "")) for name in ("method", "tier")}
