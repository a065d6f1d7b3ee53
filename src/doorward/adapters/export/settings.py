"""What an export is told by the configuration, checked."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from pathlib import Path

from doorward.model import SecretRef

Reveal = Callable[[SecretRef | None], Awaitable[bytes]]
FILE, SYSLOG, WEBHOOK, NATS = "file", "syslog", "webhook", "nats"
TYPES = (FILE, SYSLOG, WEBHOOK, NATS)
FORMATS = ("ocsf", "ecs", "cef", "doorward")


@dataclass(frozen=True, slots=True)
class ExportSettings:
    """One `[[export]]`. `secrets`: of a webhook its signing keys, of nats the token. `ca`: PEM of the authorities to trust, ""
    for the system's; `client`: the certificate and key (PEM) to show, if any."""

    name: str
    kind: str
    format: str
    path: Path | None = None
    url: str = ""
    host: str = ""
    port: int = 6514
    subject: str = ""
    secrets: tuple[SecretRef, ...] = ()
    events: frozenset[str] = frozenset()
    ca: str = ""
    client: tuple[str, str] | None = None
