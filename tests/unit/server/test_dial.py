"""Dialling real PostgreSQL servers, and servers that lie, over real sockets."""

from __future__ import annotations

import asyncio
import functools
import inspect
import ssl
from collections.abc import Callable, Coroutine
from pathlib import Path

import pytest
import uvloop

from doorward.config.settings import AUTHENTICATION
from doorward.errors import ConfigError, ProtocolError, UpstreamError
from doorward.model.target import Target
from doorward.protocols.postgres import wire
from doorward.server import dial as dial_module
from doorward.server import tls
from doorward.server.dial import Upstream, auth_methods, cancel, dial
from tests.rig.certificates import Authority
from tests.rig.postgres import ROLES, PostgresServer
from tests.unit.server.liar import liar


def on_both_loops(test: Callable[..., Coroutine[None, None, None]]) -> Callable[..., None]:
    """Runs a test on asyncio's loop and on uvloop: they differ in how a transport changes hands."""

    @functools.wraps(test)
    def run(loop: Callable[[], asyncio.AbstractEventLoop], **fixtures: object) -> None:
        with asyncio.Runner(loop_factory=loop) as runner:
            runner.run(test(**fixtures))

    signature = inspect.signature(test)
    loop = inspect.Parameter("loop", inspect.Parameter.KEYWORD_ONLY)
    run.__signature__ = signature.replace(parameters=[*signature.parameters.values(), loop])  # type: ignore[attr-defined]
    loops = [pytest.param(asyncio.new_event_loop, id="asyncio"), pytest.param(uvloop.new_event_loop, id="uvloop")]
    parametrised: Callable[..., None] = pytest.mark.parametrize("loop", loops)(run)
    return parametrised


def target(server: PostgresServer, role: str = "app_scram", **options: str) -> Target:
    """`server` as a target, over verify-full where it speaks TLS."""
    secure = {"tls": "verify-full", "tls_ca": server.ca} if server.ca else {"tls": "disable"}
    return Target(
        name="shop",
        protocol="postgres",
        host="localhost",
        port=server.port,
        user=role,
        database=server.database,
        options={**secure, **options},
    )


def secret(role: str) -> bytes:
    return ROLES[role][0].encode()


async def ask(upstream: Upstream, text: bytes) -> list[tuple[int, bytes]]:
    """The answers to one Query."""
    await upstream.send(wire.query(text))
    frames = wire.Frames(1 << 20)
    answers: list[tuple[int, bytes]] = []
    while not answers or answers[-1][0] != wire.Backend.READY_FOR_QUERY:
        answers += frames.feed(await upstream.receive())
    return answers


def value(answers: list[tuple[int, bytes]]) -> bytes | None:
    return next(wire.parse_data_row(payload)[0] for kind, payload in answers if kind == wire.Backend.DATA_ROW)


# --- the real ones -----------------------------------------------------------------------------------------------


@on_both_loops
async def test_verify_full_with_channel_binding(postgres: PostgresServer) -> None:
    """Over verify-full TLS the gateway logs in by SCRAM, bound to the channel, and the server agrees about both."""
    upstream = await dial(target(postgres), secret("app_scram"))
    assert upstream.tls is not None
    assert upstream.method == "SCRAM-SHA-256-PLUS"
    assert upstream.tls.version == "TLSv1.3"
    assert upstream.parameters["server_version"].startswith(str(postgres.version))
    assert upstream.parameters["client_encoding"] == "UTF8"
    assert len(upstream.secret) == 4
    seen = await ask(upstream, b"select ssl from pg_stat_ssl where pid = pg_backend_pid()")
    assert value(seen) == b"t"
    await upstream.close()


@pytest.mark.parametrize("method", AUTHENTICATION)
def test_what_a_configuration_may_name_is_known_here(method: str) -> None:
    """A target whose configuration loads can be dialled."""
    assert auth_methods(Target("shop", "postgres", "localhost", 5432, options={"auth": method})) == {method}


@pytest.mark.parametrize(
    ("role", "options"),
    [
        ("app_scram", {"tls": "require", "tls_ca": ""}),
        ("app_scram", {"tls": "require"}),
        ("app_scram", {"tls": "disable"}),
        ("app_tls_only", {}),
        ("app_md5", {"auth": "md5"}),
        ("app_md5", {"tls": "disable", "auth": "md5,scram-sha-256"}),
        ("app_cleartext", {"auth": "cleartext"}),
        ("app_trust", {"auth": "none"}),
    ],
)
async def test_every_allowed_method_logs_in(postgres: PostgresServer, role: str, options: dict[str, str]) -> None:
    """Each method that the target allows works against the real server, over each TLS mode that it may have."""
    upstream = await dial(target(postgres, role, **options), secret(role))
    assert value(await ask(upstream, b"select current_user")) == role.encode()
    await upstream.close()


@pytest.mark.parametrize(
    ("role", "options", "words"),
    [
        ("app_md5", {}, "MD5 password"),
        ("app_cleartext", {}, "cleartext"),
        ("app_cleartext", {"tls": "require", "auth": "cleartext"}, "without verified TLS"),
        ("app_cleartext", {"tls": "disable", "auth": "cleartext"}, "without verified TLS"),
        ("app_trust", {}, "without any authentication"),
        ("app_scram", {"auth": "md5,cleartext,none"}, "asks for SCRAM"),
        ("app_tls_only", {"tls": "disable"}, "28000"),
    ],
)
async def test_what_is_not_allowed_does_not_log_in(
    postgres: PostgresServer, role: str, options: dict[str, str], words: str
) -> None:
    """A method outside the target's settings, or cleartext without verified TLS, ends the dial with a reason."""
    with pytest.raises(UpstreamError, match=words):
        await dial(target(postgres, role, **options), secret(role))


async def test_wrong_password_says_so_without_the_password(postgres: PostgresServer) -> None:
    """The server's refusal comes through with its SQLSTATE and a hint; the credential is not in it."""
    with pytest.raises(UpstreamError, match="28P01") as caught:
        await dial(target(postgres), b"CANARY-not-the-password")
    assert "CANARY" not in str(caught.value) + caught.value.hint
    assert "credential" in caught.value.hint


async def test_unknown_database_is_named(postgres: PostgresServer) -> None:
    """A database that is not there is an error with its SQLSTATE."""
    with pytest.raises(UpstreamError, match="3D000"):
        await dial(target(postgres), secret("app_scram"), database="nowhere")


@pytest.mark.parametrize(
    ("setting", "newest"), [(wire.PROTOCOL_3_0, wire.PROTOCOL_3_0), (wire.PROTOCOL_3_2, wire.PROTOCOL_3_2)]
)
async def test_protocol_of_postgres_18(postgres18: PostgresServer, setting: int, newest: int) -> None:
    """PostgreSQL 18 speaks 3.0 and 3.2, the latter with a longer cancel key."""
    upstream = await dial(target(postgres18), secret("app_scram"), protocol=setting)
    assert upstream.protocol == newest
    assert len(upstream.secret) == (4 if newest == wire.PROTOCOL_3_0 else 32)
    await upstream.close()


async def test_an_old_server_negotiates_down(postgres: PostgresServer) -> None:
    """PostgreSQL 15 answers a request for 3.2 with 3.0, and that is what is spoken."""
    upstream = await dial(target(postgres), secret("app_scram"), protocol=wire.PROTOCOL_3_2)
    assert upstream.protocol == wire.PROTOCOL_3_0
    await upstream.close()


async def test_a_server_without_tls_is_refused(postgres18: PostgresServer) -> None:
    """`require` does not fall back to plaintext when the server answers N."""
    with pytest.raises(UpstreamError, match="does not speak TLS"):
        await dial(target(postgres18, tls="require"), secret("app_scram"))


async def test_a_certificate_of_a_stranger_is_refused(postgres: PostgresServer, tmp_path: Path) -> None:
    """verify-full trusts the target's authority only; nothing of the login is sent to anybody else."""
    other = Authority(tmp_path)
    with pytest.raises(UpstreamError, match="certificate is not accepted"):
        await dial(target(postgres, tls_ca=str(other.ca)), secret("app_scram"))


async def test_pinned_settings_override_those_of_the_role(database: PostgresServer) -> None:
    """A role that was given standard_conforming_strings = off does not change how statements are lexed."""
    with database.connect() as connection:
        connection.execute(
            f"alter role app_scram in database {database.database} set standard_conforming_strings = off"
        )
    upstream = await dial(target(database), secret("app_scram"), parameters={"standard_conforming_strings": "off"})
    assert value(await ask(upstream, b"show standard_conforming_strings")) == b"on"
    await upstream.close()


async def test_startup_parameters_arrive(postgres: PostgresServer) -> None:
    """Settings given to dial hold in the session."""
    upstream = await dial(target(postgres), secret("app_scram"), parameters={"statement_timeout": "1234"})
    assert value(await ask(upstream, b"show statement_timeout")) == b"1234ms"
    await upstream.close()


@pytest.mark.parametrize("options", [{}, {"tls": "require"}, {"tls": "disable"}])
async def test_cancel_stops_a_statement(postgres: PostgresServer, options: dict[str, str]) -> None:
    """A cancel over the target's TLS mode ends the running statement with 57014, and the connection goes on."""
    there = target(postgres, **options)
    upstream = await dial(there, secret("app_scram"))
    async with asyncio.TaskGroup() as group:
        running = group.create_task(ask(upstream, b"select pg_sleep(30)"))
        await asyncio.sleep(0.1)
        await cancel(there, upstream.pid, upstream.secret)
    errors = [wire.parse_error(payload) for kind, payload in running.result() if kind == wire.Backend.ERROR_RESPONSE]
    assert errors[0]["C"] == "57014"
    assert value(await ask(upstream, b"select 1")) == b"1"
    await upstream.close()


@on_both_loops
async def test_cancel_with_a_long_key(postgres18: PostgresServer) -> None:
    """The 32-byte key of protocol 3.2 cancels too."""
    there = target(postgres18)
    upstream = await dial(there, secret("app_scram"), protocol=wire.PROTOCOL_3_2)
    async with asyncio.TaskGroup() as group:
        running = group.create_task(ask(upstream, b"select pg_sleep(30)"))
        await asyncio.sleep(0.1)
        await cancel(there, upstream.pid, upstream.secret)
    assert any(kind == wire.Backend.ERROR_RESPONSE for kind, _ in running.result())
    await upstream.close()


class Collector(asyncio.Protocol):
    """Keeps what it is given, deciphered."""

    def __init__(self, layer: tls.TlsLayer | None) -> None:
        self.layer = layer
        self.plain = bytearray()
        self.lost = asyncio.get_running_loop().create_future()
        self.transport: asyncio.BaseTransport | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport = transport

    def data_received(self, data: bytes) -> None:
        self.plain += self.layer.feed(data) if self.layer else data

    def connection_lost(self, exc: Exception | None) -> None:
        self.lost.set_result(exc)


@on_both_loops
@pytest.mark.parametrize("options", [{}, {"tls": "disable"}])
@pytest.mark.parametrize("wait", [0.0, 0.3], ids=["before it arrives", "after it arrived"])
async def test_hand_over_loses_nothing(postgres: PostgresServer, options: dict[str, str], wait: float) -> None:
    """Bytes that arrive before, while and after the connection changes hands all reach the new owner, in order."""
    upstream = await dial(target(postgres, **options), secret("app_scram"))
    await upstream.send(wire.query(b"select repeat('x', 100) from generate_series(1, 20000)"))
    await asyncio.sleep(wait)
    collector = Collector(upstream.tls)
    upstream.hand_over(collector)
    async with asyncio.timeout(10):
        while not collector.plain.endswith(wire.ready_for_query(wire.IDLE)):
            await asyncio.sleep(0.01)
    messages = wire.Frames(1 << 20).feed(bytes(collector.plain))
    assert sum(kind == wire.Backend.DATA_ROW for kind, _ in messages) == 20000
    assert collector.transport is upstream.transport
    await upstream.close()
    await asyncio.wait_for(collector.lost, 5)


@on_both_loops
async def test_hand_over_of_a_dead_connection_tells_its_end(postgres: PostgresServer) -> None:
    """A target that dies between dial and hand-over is seen by the new owner, with what it said last."""
    upstream = await dial(target(postgres, tls="disable"), secret("app_scram"))
    with postgres.connect() as connection:
        connection.execute("select pg_terminate_backend(%s)", [upstream.pid])
    await asyncio.sleep(0.3)
    collector = Collector(None)
    upstream.hand_over(collector)
    await asyncio.wait_for(collector.lost, 5)
    assert wire.parse_error(wire.Frames(1 << 16).feed(bytes(collector.plain))[0][1])["C"] == "57P01"


# --- the ones that lie -------------------------------------------------------------------------------------------


def at(port: int, **options: str) -> Target:
    return Target(
        name="liar",
        protocol="postgres",
        host="127.0.0.1",
        port=port,
        user="u",
        database="d",
        options={"tls": "disable", **options},
    )


@pytest.mark.parametrize("answer", [b"Sx", b"S\x16\x03\x01", b"NE\0\0\0\5\0", b"E", b"G"])
async def test_bytes_around_the_tls_answer_are_refused(answer: bytes) -> None:
    """More than one byte, or another byte than S or N, ends the dial before anything else is sent (CVE-2021-23222)."""
    heard = bytearray()

    async def script(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        heard.extend(await reader.readexactly(8))
        writer.write(answer)
        heard.extend(await reader.read())

    async with liar(script) as port:
        with pytest.raises(ProtocolError, match="TLS request"):
            await dial(at(port, tls="require"), b"CANARY")
        await asyncio.sleep(0.05)
    assert bytes(heard) == wire.SSL_REQUEST


@on_both_loops
async def test_a_silent_target_is_given_up() -> None:
    """A target that accepts and says nothing costs the login timeout, not a connection for ever."""

    async def script(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.read()

    async with liar(script) as port:
        with pytest.raises(UpstreamError, match="did not complete the login"):
            await dial(at(port), b"x", login_timeout=0.2)


@on_both_loops
async def test_a_closed_port_is_named() -> None:
    """A target that is down is an error with its address, at once."""
    with pytest.raises(UpstreamError, match="cannot connect to target"):
        await dial(at(1), b"x")


@pytest.mark.parametrize(
    ("flood", "words"),
    [
        (wire.notice_response("NOTICE", "00000", "again"), "messages before it was ready"),
        (wire.notice_response("NOTICE", "00000", "x" * 60000), "bytes before it was ready"),
        (b"\0" * 100, "does not exist"),
        (b"R\x7f\xff\xff\xff", "declares"),
    ],
    ids=["notices", "huge notices", "garbage", "a huge length"],
)
async def test_a_flooding_target_is_bounded(flood: bytes, words: str) -> None:
    """Notices without end, garbage and huge lengths end the dial within its bounds."""

    async def script(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.read(1)
        while True:
            writer.write(flood * (1 + 4096 // len(flood)))
            await writer.drain()

    async with liar(script) as port:
        with pytest.raises(ProtocolError, match=words):
            await dial(at(port), b"x", login_timeout=5)


async def test_a_target_that_asks_for_cleartext_gets_nothing() -> None:
    """The credential never leaves in cleartext without verified TLS, though the target's settings allow the method."""
    heard = bytearray()

    async def script(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.read(4096)
        writer.write(wire.authentication_cleartext_password())
        heard.extend(await reader.read())

    async with liar(script) as port:
        with pytest.raises(UpstreamError, match="cleartext"):
            await dial(at(port, auth="cleartext"), b"CANARY")
        await asyncio.sleep(0.05)
    assert bytes(heard) == b""


async def test_a_target_that_hangs_up_is_an_error() -> None:
    """A connection that ends in the middle of the login is said to have ended."""

    async def script(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.read(10)

    async with liar(script) as port:
        with pytest.raises(UpstreamError, match=r"closed|broke"):
            await dial(at(port), b"x")


async def test_a_slow_key_does_not_stop_the_loop() -> None:
    """A target that demands the most iterations allowed keeps a thread busy, not the event loop."""
    turns = 0

    async def script(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.read(4096)
        writer.write(wire.authentication_sasl(["SCRAM-SHA-256"]))
        first = await reader.read(4096)
        nonce = first.rsplit(b"r=", 1)[1]
        writer.write(wire.authentication_sasl_continue(b"r=" + nonce + b"x,s=c2FsdA==,i=1000000"))
        await reader.read(4096)

    async def watch() -> None:
        nonlocal turns
        while True:
            await asyncio.sleep(0.001)
            turns += 1

    async with liar(script) as port:
        watching = asyncio.ensure_future(watch())
        with pytest.raises(UpstreamError, match="closed"):
            await dial(at(port), b"x")
        watching.cancel()
    assert turns > 20  # 0.4 s of work on the loop would leave a handful


async def test_a_broken_handshake_is_an_error(tmp_path: Path) -> None:
    """A target that speaks no TLS after its yes is an error of the target, with a hint."""

    async def script(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readexactly(8)
        writer.write(b"S")
        await reader.read(4096)
        writer.write(b"HTTP/1.1 400 Bad Request\r\n\r\n")
        await reader.read()

    async with liar(script) as port:
        with pytest.raises(UpstreamError, match="handshake failed"):
            await dial(at(port, tls="require"), b"x")


@pytest.mark.parametrize(
    "options",
    [{"tls": "prefer"}, {"tls": ""}, {"auth": "scram"}, {"auth": ""}, {"tls": "verify-full", "tls_ca": "/no"}],
)
async def test_options_that_make_no_sense_are_named(options: dict[str, str]) -> None:
    """A mode or method that does not exist is a ConfigError, never a weaker default."""

    async def script(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.read()

    async with liar(script) as port:
        with pytest.raises(ConfigError):
            await dial(at(port, **options), b"x")


async def test_a_credential_with_a_nul_is_named() -> None:
    """A NUL would end the password early on the wire: it is a mistake in the store, said without the secret."""
    with pytest.raises(ConfigError, match="NUL") as caught:
        await dial(at(1), b"CANARY\0x")
    assert "CANARY" not in str(caught.value)


def test_the_default_is_the_strictest() -> None:
    """A target without options is dialled with verify-full and SCRAM only."""
    plain = Target(name="t", protocol="postgres", host="h", port=1)
    assert auth_methods(plain) == {"scram-sha-256"}
    assert dial_module._tls_mode(plain) == "verify-full"


def test_a_context_is_made_once_and_anew_for_a_new_file(tmp_path: Path) -> None:
    """The authority's file is read once, and again when it changes."""
    authority = Authority(tmp_path)
    first = dial_module._context("verify-full", str(authority.ca))
    assert dial_module._context("verify-full", str(authority.ca)) is first
    Authority(tmp_path)
    second = dial_module._context("verify-full", str(authority.ca))
    assert isinstance(second, ssl.SSLContext)
    assert second is not first
