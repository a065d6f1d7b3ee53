"""The rig itself: the servers that other tests rely on are what they say they are."""

from __future__ import annotations

from collections.abc import Callable

import psycopg
import pytest

from tests.rig.gateway import Gateway
from tests.rig.postgres import ROLES, PostgresServer


def test_the_system_server_speaks_tls_and_holds_the_shop(postgres: PostgresServer) -> None:
    """The shared server is a real PostgreSQL 15 or newer, reached over verified TLS, with the sample shop in it."""
    with postgres.connect() as connection:
        assert connection.info.server_version >= 150000
        assert connection.execute("select ssl from pg_stat_ssl where pid = pg_backend_pid()").fetchone() == (True,)
        assert connection.execute("select count(*) from customers").fetchone() == (26,)
        assert connection.execute("select count(*) from orders").fetchone() == (400,)


def test_the_server_of_the_wheel_is_eighteen_without_tls(postgres18: PostgresServer) -> None:
    """The second server is PostgreSQL 18 with the same shop, in plaintext."""
    with postgres18.connect() as connection:
        assert connection.info.server_version >= 180000
        assert connection.execute("select count(*) from customers").fetchone() == (26,)


@pytest.mark.parametrize("role", ROLES)
def test_every_role_logs_in_over_tls(postgres: PostgresServer, role: str) -> None:
    """Each authentication method of the server works with its own role."""
    with postgres.connect(user=role) as connection:
        assert connection.execute("select current_user").fetchone() == (role,)


def test_a_role_for_tls_is_turned_away_without(postgres: PostgresServer) -> None:
    """The role `app_tls_only` cannot log in in plaintext."""
    with pytest.raises(psycopg.OperationalError, match="rejects connection"):
        postgres.connect(user="app_tls_only", sslmode="disable")


def test_a_database_of_ones_own_leaves_the_shop_alone(postgres: PostgresServer, database: PostgresServer) -> None:
    """What a test does to its own copy of the shop is not seen in the shared one."""
    with database.connect() as connection:
        connection.execute("delete from orders")
    with postgres.connect() as connection:
        assert connection.execute("select count(*) from orders").fetchone() == (400,)


def test_the_server_tells_what_reached_it(database: PostgresServer) -> None:
    """`statements` gives simple and extended statements as the target itself saw them."""
    before = database.position()
    with database.connect() as connection:
        connection.execute("select 1\n  as one")
        connection.execute("select %s::int", (2,))
    assert database.statements(since=before) == ["select 1\n  as one", "select $1::int"]


def test_a_gateway_runs_before_the_server(gateway: Callable[..., Gateway]) -> None:
    """The gateway of the rig lets a client with a token read the shop over TLS, and ends when it is asked to."""
    door = gateway()
    with door.connect(sub="alice") as connection:
        assert connection.execute("select count(*) from customers").fetchone() == (26,)
    assert door.stop() == 0
