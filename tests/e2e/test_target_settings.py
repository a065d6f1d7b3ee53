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
    """Before a target with a timeout and a setting."""
    target = {
        "statement_timeout": "1s",
        "options": {"work_mem": "7MB", "TimeZone": "Asia/Tokyo"},
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


def test_masking_that_cannot_hold_closes_its_target(gateway: Callable[..., Gateway]) -> None:
    """A label on a column that is not there, or a transform that can do nothing with the column's type: the log says so at
    the start, and clients are told why nobody gets in."""
    labels = {"public.customers.ssn": "ssn", "public.customers.sssn": "ssn", "public.orders.quantity": "day"}
    masking = {"transforms": {"day": "date_shift"}, "token_key": "env:KEY"}
    door = gateway(target={"labels": labels}, masking=masking, environment={"KEY": "k" * 32})
    with pytest.raises(psycopg.OperationalError, match="is closed, because its masking cannot hold") as refused:
        door.connect()
    assert "there is no column public.customers.sssn, which has the label ssn; and 1 more" in str(refused.value)
    limit = time.monotonic() + 20
    while len(faults := [event["reason"] for event in door.events() if event.get("event") == "masking.unfit"]) < 2:
        assert time.monotonic() < limit
        time.sleep(0.05)
    assert faults[1].startswith("column public.orders.quantity is of a type with which date_shift")


def test_a_target_opens_when_its_table_is_mended(gateway: Callable[..., Gateway], postgres: PostgresServer) -> None:
    """The column comes to be: nobody restarts the gateway."""
    with postgres.connect() as direct:
        direct.execute("create table mended (id integer)")
        try:
            door = gateway(target={"labels": {"public.mended.ssn": "ssn"}})
            with pytest.raises(psycopg.OperationalError, match=r"public\.mended\.ssn"):
                door.connect()
            direct.execute("alter table mended add ssn text; insert into mended values (1, 'a value')")
            with door.connect() as connection:
                assert connection.execute("select * from mended").fetchall() == [(1, "[ssn]")]
        finally:
            direct.execute("drop table mended")


def test_columns_are_masked_for_what_their_names_say(gateway: Callable[..., Gateway], postgres: PostgresServer) -> None:
    """Unless somebody says otherwise: a first name, a street and a date of birth are traced and masked like labelled columns,
    also one that comes while the gateway runs; what is labelled `none` is shown, and so is what has no such name."""
    with postgres.connect() as direct:
        direct.execute(
            "create table people (id integer, first_name text, street text, dob date, is_email boolean, city text);"
            "insert into people values (1, 'Ottilie', 'Lange Reihe 7', '1961-05-04', true, 'Hamburg')"
        )
        try:
            door = gateway(target={"labels": {"public.people.street": "none"}}, masking={"column_names": "mask"})
            with door.connect() as connection:
                (row,) = connection.execute("select * from people").fetchall()
                assert row == (1, "[name]", "Lange Reihe 7", None, True, "Hamburg")
                (row,) = connection.execute("select upper(first_name), left(street, 5), dob::text from people").fetchall()
                assert row == ("[name]", "Lange", "[date_of_birth]")
                connection.execute("alter table people add surname text default 'Ohlsen'")
                assert connection.execute("select surname from people").fetchone() == ("[name]",)
        finally:
            direct.execute("drop table people")


def test_a_target_that_is_down_is_said_at_the_start_and_delays_nobody(gateway: Callable[..., Gateway]) -> None:
    """A gateway whose target does not answer starts, says so, and stops when it is told to."""
    door = gateway(target={"port": 1})
    limit = time.monotonic() + 20
    while not any(event.get("event") == "target.unreachable" for event in door.events()):
        assert time.monotonic() < limit
        time.sleep(0.05)
    assert door.stop(patience=10) == 0
