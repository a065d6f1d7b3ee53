"""What a listener is given: who knows its clients, everything that there is to a target, and bounds."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, Protocol

from doorward.guard.ports import NOTHING, ClientCertificate, Shown
from doorward.model import Identity, Target
from doorward.protocols.postgres.judge import CatalogueSource
from doorward.protocols.postgres.masks import PostgresMasks
from doorward.server.own import CatalogueHolder, OwnStatements
from doorward.server.preview import Previews


class Authenticator(Protocol):
    """Turns a token into an Identity, or raises AuthenticationError."""

    async def authenticate(self, token: str, shown: Shown = NOTHING) -> Identity: ...


class Clients(Protocol):
    """The authority for client certificates: `adapters.identity.clients.ClientAuthority`."""

    def pem(self) -> str: ...
    def read(self, der: bytes) -> ClientCertificate: ...


class Log(Protocol):
    """A structured log (structlog's bound logger)."""

    def info(self, event: str, **facts: Any) -> Any: ...
    def warning(self, event: str, **facts: Any) -> Any: ...
    def error(self, event: str, **facts: Any) -> Any: ...


class Metrics(Protocol):
    """What the listener counts."""

    def connection_opened(self, target: str) -> None: ...
    def connection_closed(self, target: str) -> None: ...
    def login_failed(self, why: str) -> None: ...


@dataclass(frozen=True, slots=True)
class Limits:
    """Bounds of the PostgreSQL listener. Seconds and bytes."""

    pre_auth_seconds: float = 10.0
    pre_auth_bytes: int = 65536
    statement_bytes: int = 1 << 20
    message_bytes: int = 64 << 20
    row_bytes: int = 64 << 20
    connections: int = 2000
    connections_per_identity: int = 200
    connections_per_target: int = 2000
    session_seconds: float = 8 * 3600.0
    idle_seconds: float = 0.0
    statement_seconds: float = 0.0
    sample_rows: int = 20
    masking_seconds: float = 3600.0


@dataclass(slots=True)
class Reach:
    """Everything there is to one target."""

    target: Target
    own: OwnStatements
    previews: Previews
    catalogue: CatalogueHolder
    masks: Callable[[CatalogueSource], PostgresMasks]
    planted: dict[str, Mapping[str, str]] = field(default_factory=dict)  # Identity.id -> labels of a proof's scratch table
    pids: dict[int, int] = field(default_factory=dict)  # the target's process ids of open sessions, to our own
