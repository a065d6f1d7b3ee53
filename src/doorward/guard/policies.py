"""The policy in force: replaced whole, never in part; every holder of a decision can tell that it is stale.

It also knows who edited which policy last, as far as that is known: who has just written a rule does not decide on what it
holds back. `policy.changed` has both, so that a start knows them again.
"""

from __future__ import annotations

from typing import Final

from doorward.policy.policies import PolicySet

EDITED: Final = 24 * 3600 * 1000  # ms for which an editor does not decide by what they wrote


class PolicyInForce:
    """`epoch` changes with every replacement; a decision is good for the epoch it was made in."""

    def __init__(self, policies: PolicySet) -> None:
        self.current = policies
        self.epoch = 0
        self._edited: dict[str, tuple[str, int]] = {}  # rule id -> who (Identity.id), when (Unix ms)

    def replace(self, policies: PolicySet) -> tuple[str, str]:
        """Put another set in force at once; returns the old and the new hash."""
        old = self.current.hash
        self.current = policies
        self.epoch += 1
        return old, policies.hash

    def changes(self, policies: PolicySet) -> list[str]:
        """The ids of the rules that are not in force as `policies` has them: new, gone, or worded otherwise."""
        before, after = self.current.rules, policies.rules
        return sorted(
            name for name in before.keys() | after.keys()
            if name not in before or name not in after or before[name].text != after[name].text
        )  # fmt: skip

    def edited(self, rules: list[str], actor: str, at: int) -> None:
        """Somebody changed these rules. Nobody ("") stands for whoever can write the files, and for no one we know."""
        for rule in rules:
            if at >= self._edited.get(rule, ("", 0))[1]:
                self._edited[rule] = actor, at

    def editors(self, rules: list[str], now: int) -> set[str]:
        """Who was the last to change one of these rules, within a day of `now` (Unix ms)."""
        return {
            actor for rule in rules for actor, at in [self._edited.get(rule, ("", 0))] if actor and now - at < EDITED
        }
