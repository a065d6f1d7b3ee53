"""`[[export]]`: what each kind of way out needs, and does not use."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from urllib.parse import urlsplit

from doorward.adapters.export.settings import FILE, NATS, SYSLOG, WEBHOOK
from doorward.adapters.export.settings import ExportSettings as Checked
from doorward.adapters.identity.settings import is_loopback
from doorward.adapters.notify.settings import checked
from doorward.config.settings import ExportSettings
from doorward.errors import ConfigError

_USES = {
    FILE: {"path"}, SYSLOG: {"host", "port", "ca", "tls_cert", "tls_key"}, WEBHOOK: {"url", "secret", "ca"},
    NATS: {"url", "subject", "secret", "ca"},
}  # fmt: skip
_NEEDS = {FILE: ("path",), SYSLOG: ("host",), WEBHOOK: ("url", "secret"), NATS: ("url", "subject")}
_ALL = sorted(set().union(*_USES.values()) - {"port"})


def ways_out(said: Sequence[ExportSettings], wrong: list[str]) -> tuple[Checked, ...]:
    """Each as its adapter takes it; what is wrong is added to `wrong`."""
    names = [each.name for each in said]
    twice = sorted({name for name in names if names.count(name) > 1})
    wrong += [f"export.{name}: there is another export of that name" for name in twice]
    for each in said:
        wrong += [f"export.{each.name}.{fault}" for fault in _unfit(each)]
    return tuple(
        Checked(
            e.name, e.kind, e.format, path=e.path, url=e.url, host=e.host, port=e.port, subject=e.subject, secrets=e.secret,
            events=frozenset(e.events), ca=str(e.ca) if e.ca else "",
            client=(str(e.tls_cert), str(e.tls_key)) if e.tls_cert and e.tls_key else None,
        )
        for e in said
    )  # fmt: skip


def _unfit(said: ExportSettings) -> Iterator[str]:
    yield from (f"{name}: it is missing" for name in _NEEDS[said.kind] if not getattr(said, name))
    yield from (
        f"{name}: it means nothing to {said.kind}"
        for name in _ALL if name not in _USES[said.kind] and getattr(said, name)
    )  # fmt: skip
    if said.kind == WEBHOOK:
        if len(said.secret) > 2:
            yield "secret: write the key that signs, or two while you change it"
        try:
            checked(said.url, "it")
        except ConfigError as error:
            yield f"url: {error.message}"
    if said.kind == NATS:
        if len(said.secret) > 1:
            yield "secret: write one, the token"
        parts = urlsplit(said.url)
        if parts.scheme not in ("tls", "nats") or not parts.hostname or parts.username is not None or parts.path:
            yield "url: it is not tls://host:port, or nats://host:port on loopback"
        elif parts.scheme == "nats" and not is_loopback(parts.hostname):
            yield "url: events go over TLS only; write tls://"
    if bool(said.tls_cert) != bool(said.tls_key):
        yield f"{'tls_key' if said.tls_cert else 'tls_cert'}: it is missing"
