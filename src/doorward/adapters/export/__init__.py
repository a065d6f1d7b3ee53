"""Where events go that leave the gateway: one file a way out."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from doorward.adapters.export.file import FileDestination
from doorward.adapters.export.nats import NatsDestination
from doorward.adapters.export.settings import FILE, NATS, SYSLOG, ExportSettings, Reveal
from doorward.adapters.export.syslog import SyslogDestination
from doorward.adapters.export.webhook import WebhookDestination
from doorward.guard.export import Destination


def destination(said: ExportSettings, origin: str, reveal: Reveal, now: Callable[[], int]) -> Destination:
    """The way out that a checked configuration says. `origin` is the log's; `now` is Unix ms."""
    if said.kind == FILE:
        return FileDestination(said.path or Path())
    if said.kind == SYSLOG:
        return SyslogDestination(said.host, said.port, host_name=origin, ca=said.ca, client=said.client)
    if said.kind == NATS:
        token = said.secrets[0] if said.secrets else None
        return NatsDestination(said.url, said.subject, origin, reveal=reveal, token=token, ca=said.ca)
    return WebhookDestination(said.name, said.url, said.secrets, reveal, now, ca=said.ca)
