"""Connecting to a PostgreSQL target: TCP, TLS, login; and carrying a CancelRequest to it.

Contract. `dial` gives an `Upstream` that is logged in and silent, or raises: `UpstreamError` when the target is not
there or refuses, `ProtocolError` when it misbehaves. Every step has a deadline and a bound. The credential goes only
where the target's own settings say: `tls` (disable, require, verify-full; the default is verify-full), `tls_ca` (a PEM
file) and `auth` (libpq's require_auth words, separated by commas; the default is scram-sha-256).

An `Upstream` keeps what arrives until somebody takes it: with `receive`, or for good with `hand_over`, which installs a
protocol on the transport and gives it everything that came before, an end of the connection included.

Not here: which target (the registry), the credential (guard), what is sent after login (relay, side).
"""

from __future__ import annotations

import asyncio
import base64
import contextlib
import secrets
import socket
import ssl
from collections.abc import Mapping
from pathlib import Path
from typing import Final, cast

from doorward.errors import ConfigError, DoorwardError, ProtocolError, UpstreamError
from doorward.model.target import Target
from doorward.protocols.postgres import wire
from doorward.protocols.postgres.login import ServerLogin
from doorward.server import tls

CONNECT_TIMEOUT: Final = 10.0  # seconds, for TCP
CLOSE_TIMEOUT: Final = 2.0
LOGIN_TIMEOUT: Final = 20.0  # seconds, for TLS and authentication together

AUTH_METHODS: Final = frozenset({"scram-sha-256", "md5", "cleartext", "none"})
_UNREAD: Final = 256 * 1024  # bytes that may wait for their reader before the socket is no longer read

# Reading a certificate authority's file for every connection would cost more than the handshake.
_contexts: dict[tuple[str, str, int], ssl.SSLContext] = {}


class Upstream(asyncio.Protocol):
    """A connection to a target. After `dial` it is logged in; its attributes are those of `ServerLogin`, and `lost`."""

    def __init__(self) -> None:
        self.transport: asyncio.Transport
        self.tls: tls.TlsLayer | None = None
        self.parameters: Mapping[str, str] = {}
        self.pid = 0
        self.secret = b""
        self.protocol = wire.PROTOCOL_3_0
        self.method = ""
        self._unread = bytearray()
        self._paused = False
        self._handed_over = False
        self.lost = False
        self._why: Exception | None = None
        self._waiter: asyncio.Future[None] | None = None
        self._writable: asyncio.Future[None] | None = None

    # What the transport calls.

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport = cast(asyncio.Transport, transport)

    def data_received(self, data: bytes) -> None:
        self._unread += data
        if len(self._unread) > _UNREAD and not self._paused:
            self._paused = True
            self.transport.pause_reading()
        self._wake()

    def connection_lost(self, exc: Exception | None) -> None:
        self.lost = True
        self._why = exc
        self._wake()
        self.resume_writing()

    def pause_writing(self) -> None:
        if self._writable is None:
            self._writable = asyncio.get_running_loop().create_future()

    def resume_writing(self) -> None:
        if self._writable is not None:
            if not self._writable.done():
                self._writable.set_result(None)
            self._writable = None

    def _wake(self) -> None:
        if self._waiter is not None and not self._waiter.done():
            self._waiter.set_result(None)

    # What its owner calls.

    async def send(self, plaintext: bytes) -> None:
        """Sends, through TLS if there is one. Waits while the target does not read."""
        if self.tls is not None:
            self.tls.write(plaintext)
            self.transport.write(self.tls.outgoing())
        else:
            self.transport.write(plaintext)
        if self._writable is not None:
            await asyncio.shield(self._writable)

    async def receive(self) -> bytes:
        """The next plaintext, never empty. Raises UpstreamError when the connection has ended."""
        while True:
            data = await self._raw()
            if self.tls is None:
                return data
            plaintext = self.tls.feed(data)
            if out := self.tls.outgoing():
                self.transport.write(out)
            if plaintext:
                return plaintext
            if self.tls.closed:
                raise UpstreamError("the target closed the connection")

    def hand_over(self, protocol: asyncio.Protocol) -> None:
        """Gives the connection to `protocol`, with all that was not read yet (ciphertext under TLS) and its end.

        From here on the transport talks to `protocol` alone; the `tls` layer goes with it. One turn of the event loop:
        nothing can arrive in between.
        """
        self._handed_over = True
        if self.lost:
            protocol.connection_made(self.transport)
            if self._unread:
                protocol.data_received(self._take())
            protocol.connection_lost(self._why)
            return
        self.transport.set_protocol(protocol)
        protocol.connection_made(self.transport)
        if self._unread:
            protocol.data_received(self._take())
        self._resume()

    def abort(self) -> None:
        """Ends the connection at once."""
        self.transport.abort()

    async def close(self) -> None:
        """Takes leave: Terminate, close_notify, end; waits a moment for what is written to go out. Never raises."""
        with contextlib.suppress(ProtocolError, ValueError):
            if not self.transport.is_closing():
                if self.tls is not None:
                    self.tls.write(wire.TERMINATE)
                    self.tls.close()
                    self.transport.write(self.tls.outgoing())
                else:
                    self.transport.write(wire.TERMINATE)
        self.transport.close()
        if not self._handed_over:
            try:
                async with asyncio.timeout(CLOSE_TIMEOUT):
                    await self.ended()
            except TimeoutError:
                self.abort()

    async def ended(self) -> None:
        """Waits until the target has closed the connection; what it still sends is thrown away."""
        while not self.lost:
            await self._raw_or_end()
            self._take()

    async def _raw(self) -> bytes:
        await self._raw_or_end()
        if not self._unread:
            raise UpstreamError(
                "the target closed the connection"
                if self._why is None
                else f"the connection to the target broke: {_why(self._why)}"
            )
        return self._take()

    async def _raw_or_end(self) -> None:
        if self._unread or self.lost:
            return
        self._waiter = asyncio.get_running_loop().create_future()
        try:
            await self._waiter
        finally:
            self._waiter = None

    def _take(self) -> bytes:
        data = bytes(self._unread)
        self._unread.clear()
        self._resume()
        return data

    def _resume(self) -> None:
        if self._paused and not self.lost:
            self._paused = False
            self.transport.resume_reading()

    async def _exactly_one(self) -> bytes:
        """One byte, and nothing behind it."""
        data = await self._raw()
        if len(data) != 1:
            # CVE-2021-23222: what comes before the handshake could be anybody's, and would be taken for the target's.
            raise ProtocolError("the target sent more than its answer to the TLS request before the handshake")
        return data

    async def _handshake(self, layer: tls.TlsLayer) -> None:
        while not layer.established:
            if out := layer.outgoing():
                self.transport.write(out)
            try:
                if layer.feed(await self._raw()):
                    raise ProtocolError("the target speaks before it is asked")
            except ProtocolError:
                self.transport.write(layer.outgoing())  # the alert
                raise
        if out := layer.outgoing():
            self.transport.write(out)
        self.tls = layer


async def dial(
    target: Target,
    password: bytes,
    *,
    user: str = "",
    database: str = "",
    parameters: Mapping[str, str] | None = None,
    protocol: int = wire.PROTOCOL_3_0,
    connect_timeout: float = CONNECT_TIMEOUT,
    login_timeout: float = LOGIN_TIMEOUT,
) -> Upstream:
    """Connects and logs in. `user` and `database` default to the target's; `parameters` are start-up settings.

    Raises UpstreamError (with a hint), ProtocolError, or ConfigError when the target's options make no sense.
    """
    allowed = auth_methods(target)
    if 0 in password:
        raise ConfigError(f'target "{target.name}": its credential holds a NUL byte', hint="store the password as text")
    upstream = await _connect(target, connect_timeout)
    try:
        async with asyncio.timeout(login_timeout):
            await _secure(upstream, target)
            layer = upstream.tls
            login = ServerLogin(
                user or target.user,
                database or target.database,
                password,
                parameters or {},
                allowed,
                layer is not None,
                _tls_mode(target) == "verify-full",
                layer.server_end_point() if layer is not None else None,
                base64.b64encode(secrets.token_bytes(24)).decode("ascii"),
                protocol=protocol,
            )
            while not login.done:
                if out := login.to_server():
                    await upstream.send(out)
                if login.pending_work is not None:
                    # The target says how long this takes: not on the event loop. hashlib releases the GIL.
                    await asyncio.to_thread(login.pending_work)
                    login.receive(b"")
                else:
                    login.receive(await upstream.receive())
    except TimeoutError:
        upstream.abort()
        raise UpstreamError(
            f'target "{target.name}" did not complete the login in {login_timeout:g} s',
            hint="check that a PostgreSQL server answers there, and its load",
        ) from None
    except DoorwardError as error:
        upstream.transport.close()  # what is written, a TLS alert, still goes out
        raise _named(target, error) from None
    except BaseException:
        upstream.abort()
        raise
    upstream.parameters = login.parameters
    upstream.pid, upstream.secret = login.pid, login.secret
    upstream.protocol, upstream.method = login.protocol, login.method
    return upstream


async def cancel(
    target: Target,
    pid: int,
    secret: bytes,
    *,
    connect_timeout: float = CONNECT_TIMEOUT,
    login_timeout: float = LOGIN_TIMEOUT,
) -> None:
    """Asks the target to cancel what the connection with this key runs, over the target's TLS mode.

    Returns when the target has taken the request; whether it had an effect nobody is told. Raises like `dial`.
    """
    upstream = await _connect(target, connect_timeout)
    try:
        async with asyncio.timeout(login_timeout):
            await _secure(upstream, target)
            await upstream.send(wire.cancel_request(pid, secret))
            # The server closes when it has passed the request on: after that it cannot hit a later statement.
            await upstream.ended()
    except TimeoutError:
        raise UpstreamError(f'target "{target.name}" did not answer a cancel request') from None
    except DoorwardError as error:
        raise _named(target, error) from None
    finally:
        upstream.transport.close()


def settings(target: Target) -> dict[str, str]:
    """The start-up settings that the operator gives every session at this target, their names in lower case."""
    found = {name.removeprefix("set.").lower(): v for name, v in target.options.items() if name.startswith("set.")}
    timeout = target.options.get("statement_timeout")
    return {**found, **({"statement_timeout": timeout} if timeout else {})}


def auth_methods(target: Target) -> frozenset[str]:
    """How this target may ask for the credential. Raises ConfigError on a method that does not exist."""
    words = [word.strip() for word in target.options.get("auth", "scram-sha-256").split(",")]
    for word in words:
        if word not in AUTH_METHODS:
            raise ConfigError(
                f'target "{target.name}": unknown auth method "{word}"',
                hint=f"use one or more of {', '.join(sorted(AUTH_METHODS))}, separated by commas",
            )
    return frozenset(words)


def _tls_mode(target: Target) -> str:
    mode = target.options.get("tls", "verify-full")
    if mode not in ("disable", "require", "verify-full"):
        raise ConfigError(
            f'target "{target.name}": unknown TLS mode "{mode}"', hint="use disable, require or verify-full"
        )
    return mode


async def _connect(target: Target, timeout: float) -> Upstream:  # noqa: ASYNC109 - the callers name theirs
    _tls_mode(target)
    loop = asyncio.get_running_loop()
    where = f'target "{target.name}" at {target.host}:{target.port}'
    try:
        async with asyncio.timeout(timeout):
            transport, upstream = await loop.create_connection(Upstream, target.host, target.port)
    except TimeoutError:
        raise UpstreamError(
            f"{where} did not answer in {timeout:g} s", hint="check the address, and that a firewall lets it through"
        ) from None
    except OSError as error:
        raise UpstreamError(
            f"cannot connect to {where}: {_why(error)}", hint="check the address, and that the server is up"
        ) from None
    if (connection := transport.get_extra_info("socket")) is not None:
        connection.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
    return upstream


async def _secure(upstream: Upstream, target: Target) -> None:
    mode = _tls_mode(target)
    if mode == "disable":
        return
    context = _context(mode, target.options.get("tls_ca", ""))
    upstream.transport.write(wire.SSL_REQUEST)
    answer = await upstream._exactly_one()
    if answer == b"N":
        raise UpstreamError(
            "the target does not speak TLS",
            hint=f'its tls setting is "{mode}": turn on ssl at the target; tls = "disable" only where nobody is on the way',
        )
    if answer != b"S":
        raise ProtocolError("the target answers the TLS request with neither yes nor no")
    try:
        await upstream._handshake(tls.TlsLayer(context, server_hostname=target.host))
    except ProtocolError as error:
        raise UpstreamError(
            error.message, hint="check tls_ca, and that the certificate names the address the target is dialled at"
        ) from None


def _context(mode: str, ca_file: str) -> ssl.SSLContext:
    stamp = 0
    if ca_file:
        try:
            stamp = Path(ca_file).stat().st_mtime_ns  # a renewed file counts at once
        except OSError:
            stamp = 0  # client_context says what is wrong with it
    key = (mode, ca_file, stamp)
    found = _contexts.get(key)
    if found is None:
        found = tls.client_context(mode, ca_file or None)
        for stale in [other for other in _contexts if other[:2] == key[:2]]:
            del _contexts[stale]
        _contexts[key] = found
    return found


def _named(target: Target, error: DoorwardError) -> DoorwardError:
    """The same error, saying which target."""
    return type(error)(f'target "{target.name}": {error.message}', hint=error.hint)


def _why(error: Exception) -> str:
    return (getattr(error, "strerror", None) or str(error) or type(error).__name__).lower()
