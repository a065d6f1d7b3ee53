"""The gateway's own statements, against a real server, and against one that lies."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator

import pytest

from doorward.errors import DoorwardError, ProtocolError, UpstreamError
from doorward.model.target import Target
from doorward.protocols.postgres import wire
from doorward.protocols.postgres.wire import Backend
from doorward.server.side import MAX_NOTICES, SideConnection
from tests.rig.postgres import ROLES, PostgresServer
from tests.unit.server.liar import liar


@pytest.fixture
async def side(postgres: PostgresServer) -> AsyncIterator[SideConnection]:
    """A connection of the gateway's own to the shop."""
    there = Target(
        name="shop",
        protocol="postgres",
        host="localhost",
        port=postgres.port,
        user="app_scram",
        database="shop",
        options={"tls": "verify-full", "tls_ca": postgres.ca},
    )
    connection = await SideConnection.open(there, ROLES["app_scram"][0].encode())
    yield connection
    await connection.close()


async def test_rows_are_text(side: SideConnection) -> None:
    """Values come as text, NULL as None, and parameters go apart from the statement."""
    rows = await side.query("select $1::text, $2::int + 1, null, '', true", ["it's; drop table t", "41"])
    assert rows == [("it's; drop table t", "42", None, "", "t")]
    assert await side.query("select $1::text is null", [None]) == [("t",)]


async def test_statements_without_rows(side: SideConnection) -> None:
    """A statement that gives no rows gives an empty list; so does an empty one."""
    assert await side.query("set statement_timeout = '9s'") == []
    assert await side.query("") == []
    assert await side.query("show statement_timeout") == [("9s",)]


async def test_a_plan_can_be_asked_for(side: SideConnection) -> None:
    """EXPLAIN's plan comes back as rows: what approvals show."""
    (row,) = await side.query("explain (format json) select * from customers")
    assert row[0] is not None
    assert "Plan Rows" in row[0]


async def test_two_statements_are_not_one(side: SideConnection) -> None:
    """A text with a second statement in it is refused by the server: the extended protocol takes one."""
    with pytest.raises(UpstreamError, match="42601"):
        await side.query("select 1; select 2")


async def test_an_error_names_its_sqlstate_and_the_connection_goes_on(side: SideConnection) -> None:
    """A failing statement is an UpstreamError that begins with the SQLSTATE."""
    with pytest.raises(UpstreamError, match=r"^42P01: relation .* does not exist"):
        await side.query("select * from nowhere")
    with pytest.raises(UpstreamError, match=r"^22012"):
        await side.query("select 1 / (5 - n) from generate_series(1, 5) n")
    assert await side.query("select 1") == [("1",)]
    assert not side.closed


async def test_statements_take_turns(side: SideConnection) -> None:
    """Many at once get their own answers."""
    answers = await asyncio.gather(*(side.query("select $1::text", [str(number)]) for number in range(20)))
    assert answers == [[(str(number),)] for number in range(20)]


async def test_rows_are_bounded(side: SideConnection) -> None:
    """More rows than allowed is an error, the server stops sending, and the connection goes on."""
    assert len(await side.query("select generate_series(1, 10)", max_rows=10)) == 10
    with pytest.raises(UpstreamError, match="more than 10 rows"):
        await side.query("select generate_series(1, 10000000)", max_rows=10)
    assert await side.query("select 1") == [("1",)]


async def test_bytes_are_bounded(side: SideConnection) -> None:
    """More bytes than allowed ends the connection: what is still on its way is not read."""
    with pytest.raises(UpstreamError, match="more than 1000 bytes"):
        await side.query("select repeat('x', 100) from generate_series(1, 100000)", max_bytes=1000)
    assert side.closed
    with pytest.raises(UpstreamError, match="has ended"):
        await side.query("select 1")


async def stopped(postgres: PostgresServer, mark: str) -> bool:
    """Whether no statement with `mark` in it runs at the server any more, after a moment."""
    query = "select count(*) from pg_stat_activity where state = 'active' and pid <> pg_backend_pid() and query like %s"
    with postgres.connect() as connection:
        for _ in range(100):
            if connection.execute(query, [f"%{mark}%"]).fetchall() == [(0,)]:
                return True
            await asyncio.sleep(0.02)
    return False


async def test_time_is_bounded_and_the_server_stops(side: SideConnection, postgres: PostgresServer) -> None:
    """A statement out of time is cancelled at the server too, not only given up."""
    with pytest.raises(UpstreamError, match="longer than"):
        await side.query("select pg_sleep(60), 'side-out-of-time'", timeout=0.2)
    assert side.closed
    assert await stopped(postgres, "side-out-of-time")


async def test_copy_is_not_spoken(side: SideConnection) -> None:
    """A COPY, which nobody should send here, ends the connection instead of hanging it."""
    with pytest.raises(DoorwardError):
        await side.query("copy customers to stdout", timeout=5)
    assert side.closed


async def test_a_caller_that_is_cancelled_leaves_nothing_behind(side: SideConnection, postgres: PostgresServer) -> None:
    """When the caller is gone the statement stops, and its answer can never be taken for another's."""
    waiting = asyncio.ensure_future(side.query("select pg_sleep(60), 'side-cancelled'"))
    await asyncio.sleep(0.1)
    waiting.cancel()
    with pytest.raises(asyncio.CancelledError):
        await waiting
    assert side.closed
    assert await stopped(postgres, "side-cancelled")


async def test_the_end_of_the_connection_is_noticed(side: SideConnection, postgres: PostgresServer) -> None:
    """A connection that the server ends, in a statement or between two, says why or that it is closed."""
    with pytest.raises(UpstreamError, match="57P01"):
        await side.query("select pg_terminate_backend(pg_backend_pid())")
    assert side.closed
    with pytest.raises(UpstreamError, match="has ended"):
        await side.query("select 1")


async def test_an_idle_connection_that_ends_is_closed(side: SideConnection, postgres: PostgresServer) -> None:
    """When the server goes away between statements, `closed` says so before the next one is tried."""
    ((pid,),) = await side.query("select pg_backend_pid()")
    with postgres.connect() as connection:
        connection.execute("select pg_terminate_backend(%s::int)", [pid])
    for _ in range(100):
        if side.closed:
            return
        await asyncio.sleep(0.02)
    pytest.fail("the end went unnoticed")


OPENED = (
    wire.authentication_ok()
    + wire.parameter_status("client_encoding", "UTF8")
    + wire.parameter_status("standard_conforming_strings", "on")
    + wire.ready_for_query(wire.IDLE)
)
HEAD = wire.PARSE_COMPLETE + wire.BIND_COMPLETE
READY = wire.ready_for_query(wire.IDLE)
DONE = wire.command_complete("SELECT 1")


@pytest.mark.parametrize(
    "answer",
    [
        pytest.param(READY, id="ready without an answer"),
        pytest.param(HEAD + READY, id="no completion"),
        pytest.param(wire.BIND_COMPLETE + wire.PARSE_COMPLETE + DONE + READY, id="out of order"),
        pytest.param(wire.data_row([b"x"]) + HEAD + DONE + READY, id="rows too early"),
        pytest.param(HEAD + DONE + wire.data_row([b"x"]) + READY, id="rows too late"),
        pytest.param(HEAD + DONE + DONE + READY, id="completed twice"),
        pytest.param(HEAD + wire.copy_in_response(0, 1), id="an unsolicited CopyIn"),
        pytest.param(HEAD + wire.message(Backend.DATA_ROW, b"\xff\xff"), id="a row that is cut"),
        pytest.param(HEAD + DONE + READY + wire.data_row([b"x"]), id="more behind ready"),
        pytest.param(
            wire.error_response("ERROR", "42501", "no") + wire.data_row([b"x"]) + READY, id="rows after an error"
        ),
        pytest.param(wire.notice_response("NOTICE", "00000", "x") * (MAX_NOTICES + 1), id="notices without end"),
        pytest.param(b"\0\0\0\0\0\0", id="garbage"),
        pytest.param(b"D\x7f\xff\xff\xff", id="a huge length"),
    ],
)
async def test_a_lying_server_ends_the_connection(answer: bytes) -> None:
    """Answers that do not belong to the question are ProtocolError, and the connection is over."""

    async def script(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.read(4096)
        writer.write(OPENED)
        await reader.read(4096)
        writer.write(answer)
        await reader.read()

    async with liar(script) as port:
        there = Target(
            name="liar",
            protocol="postgres",
            host="127.0.0.1",
            port=port,
            user="u",
            database="d",
            options={"tls": "disable", "auth": "none"},
        )
        connection = await SideConnection.open(there, b"")
        with pytest.raises(ProtocolError):
            await connection.query("select 1", timeout=5)
        assert connection.closed
