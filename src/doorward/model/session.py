"""One identity on one target."""

from __future__ import annotations

from dataclasses import dataclass

from doorward.model.identity import Identity
from doorward.model.target import Target


@dataclass(frozen=True, slots=True)
class Session:
    """From the moment policy lets an identity connect until either side leaves. Times are Unix milliseconds."""

    id: str
    identity: Identity
    target: Target
    client: str = ""  # address and port, as the listener saw them
    purpose: str = ""
    opened_at: int = 0
    application: str = ""  # what the client calls itself; informational
