"""What real clients send on their own account is a read; and what is called a read, a read-only transaction lets through."""

from __future__ import annotations

import json
from typing import Any

import psycopg
import pytest

from doorward.model import Effect
from doorward.sql.classify import Classification, Facts, classify
from tests.unit.sql.conftest import CORPUS, LABELS, load

CLIENTS = sorted(path.stem for path in CORPUS.glob("*.json"))


class Names:
    """The prepared statements of one session."""

    def __init__(self) -> None:
        self.statements: dict[str, Classification] = {}

    def prepared(self, name: str) -> Classification | None:
        return self.statements.get(name)

    def cursor(self, name: str) -> Classification | None:
        return None


def _judge(texts: list[str], facts: Facts) -> list[tuple[str, Classification]]:
    names = facts.namespace
    assert isinstance(names, Names)
    told = []
    for text in texts:
        classification = classify(text, facts)
        for statement in classification.statements:
            if statement.prepares is not None and statement.inner is not None:
                names.statements[statement.prepares] = statement.inner
        told.append((text, classification))
    return told


@pytest.mark.parametrize("client", CLIENTS)
@pytest.mark.parametrize("server", ["shop15", "shop18"])
def test_clients_own_queries_are_reads(client: str, server: str, request: pytest.FixtureRequest) -> None:
    """No false alarm: every statement of the corpus is `read`, and infers nothing, on a catalogue of either server."""
    connection: psycopg.Connection = request.getfixturevalue(server)
    facts = Facts(load(connection), labels=LABELS, namespace=Names())
    texts: list[str] = json.loads((CORPUS / f"{client}.json").read_text())
    assert len(texts) >= 8
    wrong: list[Any] = []
    for text, told in _judge(texts, facts):
        elsewhere = all(_is_other_versions(miss) for miss in told.misses) and told.misses
        if (told.effect is not Effect.READ or told.forbidden) and not elsewhere:
            wrong.append((text[:200], told.reason, [r for r in told.resources if r.access is not Effect.READ]))
        if told.inferred and not elsewhere:
            wrong.append((text[:200], "infers", told.inferred))
    assert wrong == []


def _is_other_versions(name: str) -> bool:
    """psql 18 and pg_dump 18 ask an 18 server for what a 15 does not have, and the reverse."""
    return name in {"pg_catalog.pg_parameter_acl", "pg_parameter_acl"}


@pytest.mark.parametrize("client", CLIENTS)
def test_reads_run_in_a_read_only_transaction(client: str, shop15: psycopg.Connection, facts: Facts) -> None:
    """PostgreSQL agrees: no statement classified `read` fails with 25006 (read_only_sql_transaction)."""
    ran = 0
    session = Facts(facts.catalogue, labels=facts.labels, namespace=Names())
    for text, told in _judge(json.loads((CORPUS / f"{client}.json").read_text()), session):
        if told.effect is not Effect.READ or "$1" in text or any(s.transaction for s in told.statements):
            continue
        refused = ""
        try:
            with shop15.transaction(force_rollback=True):
                shop15.execute(b"SET TRANSACTION READ ONLY")
                shop15.execute(b"SET LOCAL statement_timeout = '5s'")
                if told.statements and told.statements[-1].copy:
                    with shop15.cursor().copy(text.encode()) as rows:
                        assert all(len(row) for row in rows)
                else:
                    shop15.execute(text.encode())
            ran += 1
        except psycopg.Error as error:
            refused = error.sqlstate or ""
        assert refused != "25006", text
    assert ran >= 1
