"""The policy in force: replaced whole, never in part; every holder of a decision can tell that it is stale."""

from __future__ import annotations

from doorward.policy.policies import PolicySet


class PolicyInForce:
    """`epoch` changes with every replacement; a decision is good for the epoch it was made in."""

    def __init__(self, policies: PolicySet) -> None:
        self.current = policies
        self.epoch = 0

    def replace(self, policies: PolicySet) -> tuple[str, str]:
        """Put another set in force at once; returns the old and the new hash."""
        old = self.current.hash
        self.current = policies
        self.epoch += 1
        return old, policies.hash
