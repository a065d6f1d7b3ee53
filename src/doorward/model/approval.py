"""A held operation's request for a yes or a no."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum


class ApprovalState(StrEnum):
    """WAITING: the client is there. PARKED: it is not, and nothing runs. APPROVED: enough people said yes, and it may
    be spent once. SPENT, DENIED, EXPIRED, WITHDRAWN are final."""

    WAITING = "waiting"
    PARKED = "parked"
    APPROVED = "approved"
    SPENT = "spent"
    DENIED = "denied"
    EXPIRED = "expired"
    WITHDRAWN = "withdrawn"


@dataclass(frozen=True, slots=True)
class Vote:
    """One person's word on one request. `at` is Unix milliseconds. `evidence` is canonical JSON of what proves it: the
    exact request that they signed, the signature, their groups then; `key` the id of the key that signed."""

    voter: str  # Identity.id
    approve: bool
    at: int
    comment: str = ""
    key: str = ""
    evidence: bytes = b""


@dataclass(frozen=True, slots=True)
class Approval:
    """`digest` is of exactly what was asked for; only that can spend it, once, before `expires_at` (Unix ms). `terms` are
    those of the canonical request that approvers sign (`ledger.request`), as canonical JSON."""

    id: str
    digest: bytes
    requested_by: str  # Identity.id
    on_behalf_of: tuple[str, ...]  # the Identity.ids of the delegation chain
    target: str
    approvers: tuple[str, ...]  # groups
    quorum: int
    state: ApprovalState
    requested_at: int
    expires_at: int
    votes: tuple[Vote, ...] = ()
    uses: int = 0
    terms: bytes = b""
