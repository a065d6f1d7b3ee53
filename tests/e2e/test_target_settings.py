"""What the operator sets for a target's sessions holds, whatever a client asks for; and what is wrong is said at the start."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator

import asyncpg
import psycopg
import pytest

from tests.rig.gateway import Gateway, launch
from tests.rig.issuer import LocalIssuer
from tests.rig.postgres import PostgresServer


@pytest.fixture(scope="module")
def door(tmp_path_factory: pytest.TempPathFactory, postgres: PostgresServer) -> Iterator[Gateway]:
    """Before a target with a timeout and a setting, and a label that is mistyped."""
    target = {
        "statement_timeout": "1s",
        "options": {"work_mem": "7MB", "TimeZone": "Asia/Tokyo"},
        "labels": {"public.customers.ssn": "ssn", "public.customers.sssn": "ssn"},
    }
    issuer = LocalIssuer()
    with launch(tmp_path_factory.mktemp("door") / "gateway", issuer, postgres, target=target) as door:
        yield door
    issuer.down()


async def test_a_clients_start_up_settings_do_not_override_the_operators(door: Gateway) -> None:
    """A client that asks for other values at its start gets the operator's; what the operator left open it may choose."""
    connection = await asyncpg.connect(
        host="127.0.0.1", port=door.port, user="whoever", password=door.token(), database="shop", ssl="require",
        server_settings={"statement_timeout": "0", "timezone": "UTC", "extra_float_digits": "1"},
    )  # fmt: skip
    try:
        shown = {
            name: await connection.fetchval(f"show {name}")
            for name in ("statement_timeout", "work_mem", "timezone", "extra_float_digits")
        }
    finally:
        await connection.close()
    assert shown == {
        "statement_timeout": "1s", "work_mem": "7MB", "timezone": "Asia/Tokyo", "extra_float_digits": "1"
    }  # fmt: skip


@pytest.mark.parametrize(
    "attempt",
    [
        "set statement_timeout = 0",
        "set local statement_timeout to 0",
        "select set_config('statement_timeout', '0', false)",
    ],
)
def test_a_client_cannot_lift_the_timeout(door: Gateway, attempt: str) -> None:
    """However it is spelled, the timeout stays and ends what takes too long; a reset goes back to the operator's value."""
    with door.connect() as connection:
        with pytest.raises(psycopg.errors.CantChangeRuntimeParam):
            connection.execute(attempt)
        connection.execute("reset statement_timeout")
        connection.execute("discard all")
        assert connection.execute("show statement_timeout").fetchone() == ("1s",)
        with pytest.raises(psycopg.errors.QueryCanceled):
            connection.execute("select pg_sleep(60)")


def test_a_label_that_names_no_column_is_said_at_the_start(door: Gateway) -> None:
    """The log names the column before any client connects; a label that fits is not mentioned."""
    limit = time.monotonic() + 20
    while not (said := [event["column"] for event in door.events() if event.get("event") == "label.unmatched"]):
        assert time.monotonic() < limit
        time.sleep(0.05)
    assert said == ["public.customers.sssn"]


def test_a_target_that_is_down_is_said_at_the_start_and_delays_nobody(gateway: Callable[..., Gateway]) -> None:
    """A gateway whose target does not answer starts, says so, and stops when it is told to."""
    door = gateway(target={"port": 1})
    limit = time.monotonic() + 20
    while not any(event.get("event") == "target.unreachable" for event in door.events()):
        assert time.monotonic() < limit
        time.sleep(0.05)
    assert door.stop(patience=10) == 0
