"""What remains."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Recording:
    """The sealed segments of one session: their hashes in order, and the last one, which the closing leaf names."""

    session_id: str
    segments: tuple[bytes, ...]
    root: bytes


@dataclass(frozen=True, slots=True)
class Checkpoint:
    """C2SP tlog-checkpoint: origin, tree size, RFC 6962 root, and the signature lines, raw."""

    origin: str
    size: int
    root: bytes
    signatures: tuple[bytes, ...] = ()
