"""What is reached."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum


class Mode(StrEnum):
    """ENFORCE does what policy says; OBSERVE records what it would have done, and does nothing."""

    ENFORCE = "enforce"
    OBSERVE = "observe"


@dataclass(frozen=True, slots=True)
class SecretRef:
    """Where a secret is, never the secret: `env:NAME`, `file:/path`, or `vault:name` (the local encrypted vault)."""

    scheme: str
    name: str

    def __str__(self) -> str:
        return f"{self.scheme}:{self.name}"


@dataclass(frozen=True, slots=True)
class Target:
    """A registered system. The gateway dials nothing else.

    `labels` maps a column, `schema.table.column`, to the label of the data in it. `options` is what only its protocol
    understands (for PostgreSQL: tls, tls_ca, auth methods, database and user at the target).
    """

    name: str
    protocol: str
    host: str
    port: int
    credential: SecretRef | None = None
    user: str = ""
    database: str = ""
    mode: Mode = Mode.ENFORCE
    durability: str = "before-forward"  # or "batched": plain allowed reads may be recorded up to 20 ms late
    record: str = "full"  # or "sample" (the first rows), or "shape" (no rows)
    retention: str = ""  # the class that recordings of its sessions are kept for; "": the gateway's
    detect: bool = True  # content detectors over results
    tenant: str = ""  # within which equal values have equal tokens, hashes and shifts
    labels: Mapping[str, str] = field(default_factory=dict)
    options: Mapping[str, str] = field(default_factory=dict)
