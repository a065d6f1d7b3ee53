"""A database with every kind of relation in it, on each real server, and its catalogue as Doorward reads it."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

import psycopg
import pytest

from doorward.sql.catalogue import QUERIES, Catalogue, build, relations
from doorward.sql.classify import Facts
from tests.rig.postgres import PostgresServer

CORPUS = Path(__file__).parent / "corpus"
DATABASE = "sql_corpus_" + os.environ.get("PYTEST_XDIST_WORKER", "alone")  # workers share the server
LABELS = {"public.customers.ssn": "ssn", "public.secrets.card": "card", "public.part.ssn": "ssn"}


def load(connection: psycopg.Connection) -> Catalogue:
    """The catalogue by the published queries, in one transaction."""
    with connection.transaction():
        connection.execute(b"SELECT set_config('search_path', 'pg_catalog', true)")
        rows = {name: connection.execute(query.encode()).fetchall() for name, query in QUERIES.items()}
    found = relations([*rows["system relations"], *rows["relations"]], [*rows["system columns"], *rows["columns"]])
    return build(found, rows["names"], rows["marks"][0][2])


def _filled(server: PostgresServer) -> Iterator[psycopg.Connection]:
    with server.connect() as connection:
        connection.execute(f"DROP DATABASE IF EXISTS {DATABASE}".encode())
        connection.execute(f"CREATE DATABASE {DATABASE}".encode())
    with server.connect(dbname=DATABASE) as connection:
        connection.execute((CORPUS / "shop.sql").read_bytes())
        yield connection
    with server.connect() as connection:
        connection.execute(f"DROP DATABASE {DATABASE} WITH (FORCE)".encode())


@pytest.fixture(scope="module")
def shop15(postgres: PostgresServer) -> Iterator[psycopg.Connection]:
    yield from _filled(postgres)


@pytest.fixture(scope="module")
def shop18(postgres18: PostgresServer) -> Iterator[psycopg.Connection]:
    yield from _filled(postgres18)


@pytest.fixture(scope="module")
def facts(shop15: psycopg.Connection) -> Facts:
    return Facts(load(shop15), labels=LABELS)
