"""Taking away what a token gave: at once for new sessions, and within seconds for those that are open, in every process.

Contract: a revocation is on record, then durable, then in force; when `revoke` returns, no session of this process that it
is about goes on, what runs is cancelled at its target, and what was held for them is void. Other processes that share the
store see it within a second (`standing`). It stands until somebody lifts it, or until its own time is over.

If we die between record and store the record says that it was ordered, and it is not in force: order it again.
"""

from __future__ import annotations

from typing import Any, Final

from doorward.guard.admission import Admission
from doorward.guard.approvals import OPEN, Approvals
from doorward.guard.ports import Clock
from doorward.guard.recorder import Recorder
from doorward.guard.stores import IdentityStore, Revocation
from doorward.model import ApprovalState

KINDS: Final = ("subject", "agent", "jti", "session")
MOST_TEXT: Final = 1024
REMEMBERED: Final = 7 * 86400  # seconds that a logout is; tokens that were made before it have long expired then
_MOST_HELD: Final = 1000


class Revocations:
    """What people and issuers revoke."""

    def __init__(
        self, store: IdentityStore, standing: Admission, approvals: Approvals, recorder: Recorder, clock: Clock
    ) -> None:
        self._store = store
        self._standing = standing
        self._approvals = approvals
        self._recorder = recorder
        self._clock = clock

    def list(self) -> list[Revocation]:
        """Those in force, oldest first."""
        now = self._clock.now()
        return [each for each in self._standing.revocations if not each.until or each.until > now]

    async def revoke(
        self, kind: str, value: str, *, actor: str, reason: str = "", lasts: int = 0, before: int = 0
    ) -> Revocation:
        """`lasts` is seconds, 0: until it is lifted; `before` as in `Revocation`. ValueError for what cannot be revoked."""
        if not 0 < len(value) <= MOST_TEXT or not value.isprintable() or lasts < 0:
            raise ValueError(f"what is revoked is a printable text of at most {MOST_TEXT} characters")
        if kind == "agent" and "|" not in value:
            value = f"{self._standing.url}|{value}"
        if kind == "subject" and "|" not in value:
            raise ValueError("a subject is its issuer, a bar and its name, as `doorward whoami --json` gives it")
        now = self._clock.now()
        reason = self._recorder.detectors.mask(reason[:MOST_TEXT])[0]
        made = Revocation(
            self._clock.new_id(), kind, value, now, actor, reason, before, now + lasts * 1000 if lasts else 0
        )
        await self._recorder.event("identity.revoked", describe(made), actor=actor)
        await self._store.revoke(made)
        if kind == "jti":  # and every gateway token that came of it
            for each in await self._store.made_from(value):
                child = Revocation(self._clock.new_id(), "jti", each, now, actor, reason, 0, made.until)
                await self._store.revoke(child)
        await self._standing.changed()
        if not before:
            await self._void(made)
        return made

    async def logged_out(self, token: str) -> bool:
        """An issuer says that somebody has logged out (OpenID Connect Back-Channel Logout 1.0): their sessions end, and tokens
        that were made until then are good for nothing. False if it said so before. AuthenticationError."""
        verified = await self._standing.logout(token)
        now = self._clock.now()
        if verified is None:
            return False
        if not await self._store.exchange([(verified.issuer, f"logout {verified.jti}")], now + REMEMBERED * 1000, "", now):
            return False
        said = verified.claims
        kind, name = ("login", said["sid"]) if isinstance(said.get("sid"), str) else ("subject", said["sub"])
        await self.revoke(
            kind, f"{verified.issuer}|{name}", actor=verified.issuer, reason="signed out at the issuer", lasts=REMEMBERED,
            before=verified.issued * 1000 + 999,
        )  # fmt: skip
        return True

    async def lift(self, revocation_id: str, *, actor: str) -> bool:
        """False if there is none of that id."""
        found = next((each for each in self.list() if each.id == revocation_id), None)
        if found is None:
            return False
        await self._recorder.event("revocation.lifted", describe(found), actor=actor)
        done = await self._store.lift(revocation_id)
        await self._standing.changed()
        return done

    async def _void(self, made: Revocation) -> None:
        """Nobody's yes may be used for somebody who is revoked, nor for their agents."""
        whose = {made.value}
        if made.kind == "subject":
            whose |= {
                f"{self._standing.url}|{agent.name}" for agent in self._standing.agents.values() if agent.owner == made.value
            }
        elif made.kind != "agent":
            return
        for state in (*OPEN, ApprovalState.APPROVED):
            for approval in await self._approvals.list(state, limit=_MOST_HELD):
                if whose & {approval.requested_by, *approval.on_behalf_of}:
                    await self._approvals.end(
                        approval.id, ApprovalState.WITHDRAWN, reason="whoever asked, or whom they act for, is revoked",
                        actor=made.by,
                    )  # fmt: skip


def describe(revocation: Revocation) -> dict[str, Any]:
    """As events and the API show it."""
    return {
        "revocation": revocation.id, "kind": revocation.kind, "value": revocation.value, "at": revocation.at,
        "by": revocation.by, "reason": revocation.reason, "before": revocation.before, "until": revocation.until,
    }  # fmt: skip
