"""Prometheus metrics. Labels are target names and fixed words only: never an identity, a statement or a value."""

from __future__ import annotations

from collections.abc import Callable

from prometheus_client import CollectorRegistry, Counter, Gauge
from prometheus_client.exposition import generate_latest


class GatewayMetrics:
    """One registry a gateway, so that two in one process do not mix."""

    def __init__(self) -> None:
        self.registry = CollectorRegistry()
        self._connections = Gauge(
            "doorward_connections", "Client connections that are logged in.", ["target"], registry=self.registry
        )
        self._opened = Counter("doorward_sessions", "Sessions opened.", ["target"], registry=self.registry)
        self._logins = Counter(
            "doorward_logins_failed", "Logins that were refused, by where.", ["why"], registry=self.registry
        )
        self.statements = Counter(
            "doorward_statements", "Statements judged, by outcome.", ["outcome"], registry=self.registry
        )

    def connection_opened(self, target: str) -> None:
        self._connections.labels(target).inc()
        self._opened.labels(target).inc()

    def connection_closed(self, target: str) -> None:
        self._connections.labels(target).dec()

    def login_failed(self, why: str) -> None:
        self._logins.labels(why).inc()

    def watch(self, name: str, help_text: str, value: Callable[[], float]) -> None:
        """A gauge that is read when somebody asks."""
        Gauge(name, help_text, registry=self.registry).set_function(value)

    def text(self) -> bytes:
        """The exposition format."""
        return generate_latest(self.registry)
