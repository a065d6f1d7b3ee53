"""What a channel is told by the configuration, checked."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from urllib.parse import urlsplit

from doorward.errors import ConfigError
from doorward.model import SecretRef

Reveal = Callable[[SecretRef | None], Awaitable[bytes]]
SLACK, TEAMS, EMAIL, WEBHOOK = "slack", "teams", "email", "webhook"
TYPES = (SLACK, TEAMS, EMAIL, WEBHOOK)
STARTTLS, IMPLICIT = "starttls", "implicit"
PORTS = {STARTTLS: 587, IMPLICIT: 465}


@dataclass(frozen=True, slots=True)
class ChannelSettings:
    """One `[[notify]]`. `secrets`: of slack and teams the address to post to; of a webhook its signing keys, all of which sign;
    of e-mail the password. `ca`: PEM of the authorities to trust, "" for the system's."""

    name: str
    kind: str
    secrets: tuple[SecretRef, ...] = ()
    url: str = ""
    host: str = ""
    port: int = 0
    tls: str = STARTTLS
    user: str = ""
    sender: str = ""
    to: Sequence[str] = ()
    ca: str = ""


def checked(url: str, what: str) -> str:
    """`url`, if messages may go there: https and a host, without a name or password in it. ConfigError that does not quote it:
    it may be a secret."""
    try:
        parts = urlsplit(url)
        _ = parts.port
    except ValueError:
        raise ConfigError(f"{what} is not a URL") from None
    if parts.scheme != "https" or not parts.hostname or parts.username is not None or not url.isprintable() or " " in url:
        raise ConfigError(f"{what} is not an https URL of host and path", hint="messages go over TLS only")
    return url
