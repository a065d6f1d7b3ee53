"""ClientLogin and TlsLayer under real clients: psql, psycopg (a newer libpq), asyncpg."""

from __future__ import annotations

import asyncio
import os
import ssl
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import asyncpg
import psycopg
import pytest

from doorward.errors import ProtocolError
from doorward.protocols.postgres import wire
from doorward.protocols.postgres.login import (
    Cancel,
    ClientLogin,
    Presented,
    Refused,
    StartTls,
    Startup,
    Step,
    is_direct_tls,
)
from doorward.server import tls
from doorward.server.tls import TlsLayer
from tests.rig.certificates import Authority

TOKEN = "eyJhbGciOiJFZERTQSJ9." + "x" * 2000 + ".c2ln"
REPORTED = {
    "server_version": "15.18",
    "client_encoding": "UTF8",
    "server_encoding": "UTF8",
    "standard_conforming_strings": "on",
    "integer_datetimes": "on",
    "TimeZone": "UTC",
    "DateStyle": "ISO, MDY",
}


class Door(asyncio.Protocol):
    """The least that a door can be: it lets in whoever presents TOKEN, and answers every message with an empty query."""

    def __init__(self, context: ssl.SSLContext | None, steps: list[Step]) -> None:
        self.context = context
        self.steps = steps
        self.login: ClientLogin | None = None
        self.layer: TlsLayer | None = None
        self.frames = wire.Frames(1 << 20, types=wire.FRONTEND_TYPES)
        self.inside = False

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, asyncio.Transport)
        self.transport = transport

    def send(self, data: bytes) -> None:
        if self.layer is not None:
            self.layer.write(data)
            data = self.layer.outgoing()
        self.transport.write(data)

    def data_received(self, data: bytes) -> None:
        try:
            if self.login is None:
                direct = is_direct_tls(data[0]) and self.context is not None
                if direct and self.context is not None:
                    self.layer = TlsLayer(self.context, server_side=True)
                self.login = ClientLogin(
                    tls=direct, tls_available=self.context is not None, plaintext_allowed=self.context is None
                )
            if self.layer is not None:
                data = self.layer.feed(data)
                self.transport.write(self.layer.outgoing())
                if self.login.tls and self.layer.established:
                    assert self.layer.alpn == tls.ALPN
            if data:
                self.serve(data) if self.inside else self.sign_in(self.login, data)
        except ProtocolError:
            if self.layer is not None:
                self.transport.write(self.layer.outgoing())
            self.transport.close()

    def sign_in(self, login: ClientLogin, data: bytes) -> None:
        for step in login.receive(data):
            self.steps.append(step)
            if isinstance(step, Presented):
                if step.token == TOKEN:
                    login.accept(REPORTED, 42, b"s" * (4 if login.protocol == wire.PROTOCOL_3_0 else 32))
                    self.inside = True
                else:
                    login.refuse("28P01", "this token is not known", "get one with doorward token")
        if (out := login.to_client()) == b"S":
            self.transport.write(out)
            assert self.context is not None
            self.layer = TlsLayer(self.context, server_side=True)
        else:
            self.send(out)
        if self.steps and isinstance(self.steps[-1], Refused | Cancel):
            if self.layer is not None:
                self.layer.close()  # libpq 17 takes a cancel over TLS that ends without it for a failed one
                self.transport.write(self.layer.outgoing())
            self.transport.close()

    def serve(self, data: bytes) -> None:
        for kind, _ in self.frames.feed(data):
            if kind == wire.Frontend.TERMINATE:
                self.transport.close()
            elif kind == wire.Frontend.QUERY:
                self.send(wire.EMPTY_QUERY_RESPONSE + wire.ready_for_query(wire.IDLE))


@pytest.fixture(scope="module")
def authority(tmp_path_factory: pytest.TempPathFactory) -> Authority:
    """An authority whose certificate the door has."""
    made = Authority(tmp_path_factory.mktemp("door"))
    made.issue("door")
    return made


@asynccontextmanager
async def door(authority: Authority | None, steps: list[Step]) -> AsyncIterator[int]:
    """A door, with TLS when there is an authority; its port."""
    context = None
    if authority is not None:
        context = tls.server_context(authority.folder / "door.crt", authority.folder / "door.key")
    server = await asyncio.get_running_loop().create_server(lambda: Door(context, steps), "127.0.0.1", 0)
    try:
        yield server.sockets[0].getsockname()[1]
    finally:
        server.close()


def startup_of(steps: list[Step]) -> Startup:
    (found,) = (step for step in steps if isinstance(step, Startup))
    return found


async def psql(port: int, conninfo: str, *, token: str = TOKEN) -> tuple[int, str]:
    """psql's exit code and what it said to `\\conninfo`."""
    environment = {**os.environ, "PGPASSWORD": token, "PGCONNECT_TIMEOUT": "5", "LC_ALL": "C"}
    child = await asyncio.create_subprocess_exec(
        "psql", "-X", "-w", f"host=localhost port={port} user=agent dbname=shop {conninfo}", "-c", r"\conninfo",
        env=environment, stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.STDOUT,
    )  # fmt: skip
    said, _ = await child.communicate()
    return child.returncode or 0, said.decode()


async def test_psql_over_verified_tls(authority: Authority) -> None:
    """psql with verify-full gets in with a token of two kilobytes, and says that it is encrypted."""
    steps: list[Step] = []
    async with door(authority, steps) as port:
        code, said = await psql(port, f"sslmode=verify-full sslrootcert={authority.ca}")
    assert code == 0, said
    assert "TLSv1.3" in said
    assert [type(step) for step in steps] == [StartTls, Startup, Presented]
    assert startup_of(steps).parameters == {"application_name": "psql"}


async def test_psql_without_tls_where_it_may() -> None:
    """A plaintext door answers N to the TLS request; sslmode=prefer goes on, require does not."""
    steps: list[Step] = []
    async with door(None, steps) as port:
        assert (await psql(port, "sslmode=prefer"))[0] == 0
        code, said = await psql(port, "sslmode=require")
    assert code == 2
    assert "does not support SSL" in said
    assert [type(step) for step in steps] == [Startup, Presented]


async def test_psql_is_told_why_not(authority: Authority) -> None:
    """A refusal is shown with its hint; so is the one for coming without TLS, and for options."""
    steps: list[Step] = []
    async with door(authority, steps) as port:
        code, said = await psql(port, "sslmode=require", token="wrong")
        assert code == 2
        assert "this token is not known" in said
        assert "get one with doorward token" in said
        assert "over TLS only" in (await psql(port, "sslmode=disable"))[1]
        assert "options" in (await psql(port, "sslmode=require options='-c role=postgres'"))[1]
        assert "replication" in (await psql(port, "sslmode=require replication=database"))[1]


@pytest.mark.parametrize(
    ("options", "protocol"),
    [
        ({"sslmode": "require"}, wire.PROTOCOL_3_0),
        ({"sslmode": "verify-full", "sslnegotiation": "direct"}, wire.PROTOCOL_3_0),
        ({"sslmode": "require", "max_protocol_version": "3.2"}, wire.PROTOCOL_3_2),
        ({"sslmode": "require", "max_protocol_version": "latest", "min_protocol_version": "3.2"}, wire.PROTOCOL_3_2),
    ],
)
async def test_psycopg(authority: Authority, options: dict[str, str], protocol: int) -> None:
    """A libpq of today comes in, by SSLRequest and by direct TLS, in protocol 3.0 and 3.2, and can cancel."""
    if psycopg.pq.version() < 180000 and "max_protocol_version" in options:
        pytest.fail("the pinned psycopg carries libpq 18")
    steps: list[Step] = []
    async with door(authority, steps) as port:
        conninfo = psycopg.conninfo.make_conninfo(
            host="localhost",
            port=port,
            user="agent",
            dbname="shop",
            password=TOKEN,
            sslrootcert=str(authority.ca),
            connect_timeout=5,
            **options,
        )
        connection = await psycopg.AsyncConnection.connect(conninfo)
        try:
            assert connection.info.parameter_status("server_version") == "15.18"
            assert connection.info.backend_pid == 42
            await connection.cancel_safe(timeout=5)
        finally:
            await connection.close()
        await asyncio.sleep(0.05)
    assert startup_of(steps).protocol == protocol
    (cancelled,) = (step for step in steps if isinstance(step, Cancel))
    assert cancelled == Cancel(42, b"s" * (4 if protocol == wire.PROTOCOL_3_0 else 32))


async def test_asyncpg(authority: Authority) -> None:
    """asyncpg comes in, with its quoted client_encoding and its server settings."""
    steps: list[Step] = []
    context = ssl.create_default_context(cafile=str(authority.ca))
    async with door(authority, steps) as port:
        connection = await asyncpg.connect(
            host="localhost", port=port, user="agent", database="shop", password=TOKEN, ssl=context, timeout=5,
            server_settings={"application_name": "agent", "jit": "off", "search_path": "public"},
        )  # fmt: skip
        assert connection.get_server_pid() == 42
        await connection.close()
    assert startup_of(steps).parameters == {"application_name": "agent", "jit": "off", "search_path": "public"}


async def test_bytes_stuffed_before_the_handshake_get_nothing(authority: Authority) -> None:
    """A start-up message glued to the SSLRequest is never read, not even after a handshake (CVE-2021-23214)."""
    steps: list[Step] = []
    async with door(authority, steps) as port:
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
        writer.write(wire.SSL_REQUEST + wire.startup({"user": "mallory"}))
        assert await asyncio.wait_for(reader.read(), 5) == b""
        writer.close()
    assert steps == []


def test_the_tests_have_their_psql() -> None:
    """psql is there: without it half of this file would prove nothing."""
    assert any((Path(folder) / "psql").exists() for folder in os.environ["PATH"].split(":"))
