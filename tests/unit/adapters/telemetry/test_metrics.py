"""Metrics: exactly the series that the guide promises, and none that names a person or a value."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path

import pytest
from prometheus_client.parser import text_string_to_metric_families

from doorward.adapters.telemetry.metrics import GatewayMetrics

GUIDE = (Path(__file__).parents[4] / "docs/guides/operation.md").read_text()
DOCUMENTED = set(re.findall(r"^\| `(doorward_\w+)` \|", GUIDE, re.MULTILINE))


def used() -> GatewayMetrics:
    metrics = GatewayMetrics()
    for target in ("shop", "shop", "ware house\"\n"):
        metrics.connection_opened(target)
    metrics.connection_closed("shop")
    metrics.login_failed("token")
    metrics.login_failed("token")
    metrics.count("doorward_statements", "..", "outcome", lambda: {"permitted": 7, "held": 0})
    metrics.watch("doorward_record_backlog_bytes", "..", lambda: 1.5)
    metrics.watch("doorward_record_failed", "..", lambda: 0.0)
    metrics.count("doorward_notifications", "..", "outcome", lambda: {"sent": 2})
    metrics.watch("doorward_notifications_waiting", "..", lambda: 3.0)
    metrics.watch("doorward_log_unwitnessed_seconds", "..", lambda: 0.5)
    return metrics


def samples(metrics: GatewayMetrics) -> dict[tuple[str, str], float]:
    def found() -> Iterator[tuple[tuple[str, str], float]]:
        for family in text_string_to_metric_families(metrics.text().decode()):
            for sample in family.samples:
                yield (sample.name, ",".join(sample.labels.values())), sample.value

    return dict(found())


def test_what_happened_is_what_is_exposed() -> None:
    """Counters only count up, the gauge of connections goes down again, and a label's text cannot break a line."""
    assert samples(used()) == {
        ("doorward_connections", "shop"): 1.0,
        ("doorward_connections", 'ware house"\n'): 1.0,
        ("doorward_sessions_total", "shop"): 2.0,
        ("doorward_sessions_total", 'ware house"\n'): 1.0,
        ("doorward_logins_failed_total", "token"): 2.0,
        ("doorward_statements_total", "permitted"): 7.0,
        ("doorward_statements_total", "held"): 0.0,
        ("doorward_record_backlog_bytes", ""): 1.5,
        ("doorward_record_failed", ""): 0.0,
        ("doorward_notifications_total", "sent"): 2.0,
        ("doorward_notifications_waiting", ""): 3.0,
        ("doorward_log_unwitnessed_seconds", ""): 0.5,
    }


def test_every_series_is_documented_and_there_is_no_other() -> None:
    """No `_created`, and nothing about the process that nobody asked for."""
    assert {name for name, _ in samples(used())} == DOCUMENTED


def test_two_gateways_of_one_process_do_not_count_together() -> None:
    """Each has a registry of its own."""
    one, other = used(), GatewayMetrics()
    other.connection_opened("shop")
    assert samples(one)["doorward_connections", "shop"] == 1.0
    assert samples(other) == {("doorward_connections", "shop"): 1.0, ("doorward_sessions_total", "shop"): 1.0}


def test_a_value_that_cannot_be_read_is_an_error_and_not_a_zero() -> None:
    """A scrape that fails is noticed; a record that would look healthy because nobody could ask is not."""
    metrics = GatewayMetrics()
    metrics.watch("doorward_record_failed", "..", lambda: 1 / 0)
    with pytest.raises(ZeroDivisionError):
        metrics.text()
