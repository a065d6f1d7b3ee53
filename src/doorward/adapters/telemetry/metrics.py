"""Prometheus metrics. Labels are target names and fixed words only: never an identity, a statement or a value."""

from __future__ import annotations

from collections import Counter as Tally
from collections.abc import Callable, Iterable, Mapping

from prometheus_client import CollectorRegistry, Gauge
from prometheus_client.core import CounterMetricFamily
from prometheus_client.exposition import generate_latest
from prometheus_client.registry import Collector


class _Counted(Collector):
    def __init__(self, name: str, help_text: str, label: str, values: Callable[[], Mapping[str, int]]) -> None:
        self._name, self._help, self._label, self._values = name, help_text, label, values

    def collect(self) -> Iterable[CounterMetricFamily]:
        family = CounterMetricFamily(self._name, self._help, labels=[self._label])
        for value, count in self._values().items():
            family.add_metric([value], count)
        yield family


class GatewayMetrics:
    """One registry a gateway, so that two in one process do not mix."""

    def __init__(self) -> None:
        self.registry = CollectorRegistry()
        self._connections = Gauge(
            "doorward_connections", "Client connections that are logged in.", ["target"], registry=self.registry
        )
        # Not prometheus_client's Counter: it would add a series `_created` to each, or for the whole process to none.
        self._opened: Tally[str] = Tally()
        self._logins: Tally[str] = Tally()
        self.count("doorward_sessions", "Sessions opened.", "target", lambda: self._opened)
        self.count("doorward_logins_failed", "Logins that were refused, by why.", "why", lambda: self._logins)

    def connection_opened(self, target: str) -> None:
        self._connections.labels(target).inc()
        self._opened[target] += 1

    def connection_closed(self, target: str) -> None:
        self._connections.labels(target).dec()

    def login_failed(self, why: str) -> None:
        self._logins[why] += 1

    def watch(self, name: str, help_text: str, value: Callable[[], float]) -> None:
        """A gauge that is read when somebody asks."""
        Gauge(name, help_text, registry=self.registry).set_function(value)

    def count(self, name: str, help_text: str, label: str, values: Callable[[], Mapping[str, int]]) -> None:
        """A counter that is kept elsewhere, on a path where counting twice would cost, and read when somebody asks."""
        self.registry.register(_Counted(name, help_text, label, values))

    def text(self) -> bytes:
        """The exposition format."""
        return generate_latest(self.registry)
