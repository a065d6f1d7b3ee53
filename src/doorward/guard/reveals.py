"""What a token stands for, for somebody who may know.

Contract: `reveal` asks policy for `unmask` on the token's label, with the reason as `context.purpose`; a value is answered only
after `token.revealed` is durable, and every no is `token.withheld`. No event holds the value. A no is a value, not an
exception, and does not say whether there is such a token to somebody who may not know.

Law, not policy: only people reveal, for themselves; nobody without a reason; nobody more than so many an hour, whatever comes
of it, over restarts (`guard.budgets` counts).
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Final

from doorward.errors import IntegrityError
from doorward.guard.budgets import Budgets, Exhausted
from doorward.guard.policies import PolicyInForce
from doorward.guard.recorder import Recorder
from doorward.guard.token_vault import TokenVault
from doorward.masking.statement import mask_statement
from doorward.model import Budget, Decision, Identity, Kind, Outcome, Target
from doorward.policy.decide import may

LONGEST_REASON: Final = 500  # characters
TOKEN: Final = re.compile(r"([a-z][a-z0-9_-]{0,31})_[a-z2-7]{16}")
_ACCOUNT: Final = "vault reveals"  # no label is called that


@dataclass(frozen=True, slots=True)
class Revealed:
    """What a token stands for. `day`: when it was last shown (Unix day)."""

    token: str
    label: str
    value: str
    day: int


@dataclass(frozen=True, slots=True)
class Withheld:
    """Why not, and what to do."""

    reason: str
    hint: str = ""


class Reveals:
    """One a gateway. `per_hour`: what one identity may ask for."""

    def __init__(
        self, vault: TokenVault, policies: PolicyInForce, recorder: Recorder, budgets: Budgets, *, per_hour: int
    ) -> None:
        self.vault = vault
        self._policies = policies
        self._recorder = recorder
        self._budgets = budgets
        self._per_hour = per_hour

    async def reveal(self, identity: Identity, target: Target, token: str, reason: str) -> Revealed | Withheld:
        """`token` and `reason` have been looked at: `TOKEN` matches, and there is a reason. UpstreamError: it could not be
        put on record, or the store fails."""
        match = TOKEN.fullmatch(token)
        if match is None or not reason.strip():
            raise ValueError("no token, or no reason")
        label = match[1]
        said = {
            "target": target.name, "token": token, "label": label,
            "reason": mask_statement(reason, detectors=self._recorder.detectors)[0],
        }  # fmt: skip
        decision = may(
            self._policies.current, identity, "unmask", target, resource=("Label", label), purpose=reason
        )
        said |= {"rules": list(decision.rules), "policy": decision.policy_hash}
        no = self._refused(identity, label, decision)
        if no is None:
            no = await self._too_many(identity)
        if no is None:
            kept = await self.vault.find(target.name, token)
            if kept is None:
                no = Withheld(
                    f"{token} is not in the vault of {target.name}",
                    f"tokens leave it {self.vault.retention} days after they were last shown, or when they are erased",
                )
            else:
                try:
                    value = self.vault.open(kept)
                except KeyError:
                    no = Withheld(
                        f"{token} was sealed under key {kept.epoch}, which this gateway does not have",
                        "add that key to masking.vault.keys",
                    )
                except IntegrityError as error:
                    no = Withheld(error.message, "the store was changed by somebody, or is damaged")
                else:
                    # On record before anybody knows: if we die between the two, the record says more than happened.
                    await self._recorder.event("token.revealed", {**said, "epoch": kept.epoch}, actor=identity.id)
                    return Revealed(token, label, value, kept.day)
        await self._recorder.event("token.withheld", {**said, "why": no.reason}, actor=identity.id)
        return no

    def _refused(self, identity: Identity, label: str, decision: Decision) -> Withheld | None:
        if any(link.kind is not Kind.HUMAN for link in identity.chain()):
            return Withheld("only people reveal tokens, and only for themselves", "ask somebody who may unmask the label")
        if decision.outcome is Outcome.HOLD:
            return Withheld(
                f"policy wants an approval before you may unmask {label}, and a token cannot wait for one",
                "ask for the value in a statement, which can be held",
            )
        if decision.outcome is not Outcome.ALLOW:
            return Withheld(
                f"no policy lets you unmask {label} for this reason",
                "a policy with the action unmask on the label would; it may look at the reason (context.purpose)",
            )
        return None

    async def _too_many(self, identity: Identity) -> Withheld | None:
        allowance = await self._budgets.reserve([Budget(identity.id, _ACCOUNT, self._per_hour, "")])
        if isinstance(allowance, Exhausted):
            return Withheld(
                f"you have asked for {self._per_hour} tokens within the hour, which is as many as one may",
                "wait, or have masking.vault.reveals_per_hour raised",
            )
        allowance.release()
        return None
