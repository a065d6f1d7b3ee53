"""The nouns. Everything else in Doorward is a verb over these.

Identity     who is asking, as the identity provider says, and on whose behalf.
Target       a system that is reached through Doorward; it names its credential, and never holds it.
Session      one identity on one target, from its opening to its close.
Operation    one unit of admission: what would happen, to which resources, with which exact text and parameters.
Decision     what policy says of an Operation: allow, hold or deny, why, and with which obligations.
Permit       the only thing that lets an Operation's bytes continue; its record is durable before it exists.
Refusal      the opposite: a value that each protocol words as its own native error.
Approval     a held Operation's request for a person's yes or no.
Finding      that something confidential was seen and what was done about it. Never the value.
Event        something that happened and must be on record.
Recording    the sealed segments of one Session.
Checkpoint   a signed statement of the log's size and root.
"""

from doorward.model.approval import Approval, ApprovalState, Vote
from doorward.model.event import Event
from doorward.model.identity import LONGEST_BEARER, Assurance, Identity, Kind, assurance, bound
from doorward.model.operation import (
    ACCESSES,
    TRANSFORMS,
    Allowance,
    Budget,
    Decision,
    Effect,
    Finding,
    Operation,
    Outcome,
    Permit,
    Phase,
    Refusal,
    Resource,
    dotted,
    identifiers,
)
from doorward.model.record import Checkpoint, Recording
from doorward.model.session import Session
from doorward.model.target import Mode, SecretRef, Target

__all__ = [
    "ACCESSES", "LONGEST_BEARER", "TRANSFORMS", "Allowance", "Approval", "ApprovalState", "Assurance", "Budget", "Checkpoint",
    "Decision", "Effect", "Event", "Finding", "Identity", "Kind", "Mode", "Operation", "Outcome", "Permit", "Phase",
    "Recording", "Refusal", "Resource", "SecretRef", "Session", "Target", "Vote", "assurance", "bound", "dotted", "identifiers",
]
