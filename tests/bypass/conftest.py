"""One gateway for all of the corpus (one a worker), before a database of its own.

Who may do what, by group: `readers` read; `writers` read, write, define and change settings; `callers` read and execute;
`agents` read, and do the rest of what is classified once approved; `anyone` does everything, but sees nothing unmasked;
`fraud` sees everything unmasked. `dba` approves. All of them may filter and sort by what they see masked, except `guarded`,
who read, write and define, and `thrifty`, who read, and infer five answers an hour.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterator
from pathlib import Path

import psycopg
import pytest

from tests.rig.faults import copy_of_shop
from tests.rig.gateway import Gateway, launch, target_of
from tests.rig.issuer import LocalIssuer
from tests.rig.postgres import PostgresServer

LABELS = {"public.customers.ssn": "ssn", "public.customers.card": "card", "public.customers.notes": "notes"}

POLICY = """
@id("come-in") permit (principal, action == Action::"connect", resource);
@id("read") permit (principal in Group::"readers", action == Action::"read", resource);
@id("write") permit (principal in Group::"writers",
    action in [Action::"read", Action::"write", Action::"define", Action::"control"], resource);
@id("call") permit (principal in Group::"callers", action in [Action::"read", Action::"execute"], resource);
@id("agents-read") permit (principal in Group::"agents", action == Action::"read", resource);
@id("agents-ask") @quorum("1") @approvers("dba") permit (principal in Group::"agents",
    action in [Action::"write", Action::"define", Action::"control", Action::"execute"], resource)
    when { context.approved };
@id("brief-ask") @quorum("1") @approvers("dba") @expires("2s") permit (principal in Group::"hasty",
    action in [Action::"write", Action::"define"], resource) when { context.approved };
@id("anyone") permit (principal in Group::"anyone",
    action in [Action::"read", Action::"write", Action::"define", Action::"control", Action::"execute"], resource);
@id("anyone-unknown") permit (principal in Group::"anyone", action == Action::"unknown", resource);
@id("walk") permit (principal in Group::"walkers", action == Action::"read", resource);
@id("walk-a1") permit (principal in Group::"walkers", action == Action::"write", resource in Schema::"shop.a1");
@id("sand") permit (principal in Group::"sandboxed", action in [Action::"read", Action::"write"], resource)
    when { context.approved };
@id("sand-read") permit (principal in Group::"sandboxed", action == Action::"read", resource);
@id("sand-a1") permit (principal in Group::"sandboxed", action == Action::"write", resource in Schema::"shop.a1");
@id("infer") permit (principal, action == Action::"infer", resource)
    unless { principal in Group::"guarded" || principal in Group::"thrifty" };
@id("guarded") permit (principal in Group::"guarded",
    action in [Action::"read", Action::"write", Action::"define"], resource);
@id("thrifty") permit (principal in Group::"thrifty", action == Action::"read", resource);
@id("thrifty-infer") @budget("5") permit (principal in Group::"thrifty", action == Action::"infer", resource);
@id("unmask") permit (principal in Group::"fraud", action == Action::"unmask", resource);
@id("approve") permit (principal in Group::"dba", action == Action::"approve", resource);
@id("look") permit (principal in Group::"auditors", action in [Action::"replay", Action::"administer"], resource);
"""


@pytest.fixture(scope="session")
def corpus_issuer() -> Iterator[LocalIssuer]:
    issuer = LocalIssuer()
    yield issuer
    issuer.down()


@pytest.fixture(scope="session")
def server(postgres: PostgresServer) -> PostgresServer:
    """The PostgreSQL 15 behind `door`, with a database of this worker's own."""
    return copy_of_shop(postgres, "corpus")


@pytest.fixture(scope="session")
def door(
    tmp_path_factory: pytest.TempPathFactory,
    server: PostgresServer,
    postgres18: PostgresServer,
    corpus_issuer: LocalIssuer,
) -> Iterator[Gateway]:
    """The gateway of the corpus. Targets: `shop`, PostgreSQL 15; `timed`, the same with a statement_timeout of one second;
    `shop18`, PostgreSQL 18."""
    folder = tmp_path_factory.mktemp("door")
    folder.chmod(0o700)
    with launch(
        folder,
        corpus_issuer,
        server,
        policy=POLICY,
        targets=[
            target_of(server, folder, labels=LABELS),
            target_of(server, folder, name="timed", labels=LABELS, statement_timeout="1s"),
            target_of(postgres18, folder, name="shop18", labels=LABELS),
        ],
        issuers=[
            {
                "url": corpus_issuer.url, "audience": "doorward", "development": True, "agents": "issuer",
                "agent_groups": ["agents"],
                "kinds": [{"claim": "kind", "equals": "agent", "kind": "agent"}],
            }
        ],
        limits={"connections_per_identity": 200, "approvals_per_identity": 100, "hold_in_transaction": "2s"},
    ) as running:  # fmt: skip
        yield running


_numbers = itertools.count(1)


@pytest.fixture
def table(server: PostgresServer, door: Gateway) -> Iterator[str]:
    """A table of this test's own: `id integer primary key, v text`, holding (1, 'one') and (2, 'two')."""
    name = f"corpus_t{next(_numbers)}"
    with server.connect() as connection:
        connection.execute(f"create table {name} (id integer primary key, v text)")
        connection.execute(f"insert into {name} values (1, 'one'), (2, 'two')")
    yield name
    with server.connect() as connection:
        connection.execute("set lock_timeout = '5s'")
        connection.execute(f"drop table if exists {name} cascade")


@pytest.fixture
def direct(server: PostgresServer) -> Iterator[psycopg.Connection]:
    """A connection past the gateway: to see what is true."""
    with server.connect(application_name="rig") as connection:
        yield connection


@pytest.fixture
def seen(server: PostgresServer) -> Callable[[], str]:
    """Everything that reached the server since the test began, except what `direct` sent, as one text."""
    begun = server.position()
    return lambda: "\n".join(server.statements(since=begun, besides="rig"))


@pytest.fixture
def scratch(tmp_path: Path) -> Path:
    return tmp_path
