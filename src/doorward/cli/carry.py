"""A port on this machine that carries one person's identity to one target: for `doorward connect` and `doorward run`.

Contract: whoever connects to the port is logged in at the gateway with a token, and with a certificate where there is one, that
`passes` gives for that connection, and is otherwise let alone: after the login bytes pass both ways as they are. The client
needs no password and no TLS; between here and the gateway there is TLS, unless the gateway is on this machine and has none.
The client's database is the target, whatever it asks for.

Who may connect is decided first: only processes of the same user, by the kernel's own account of who opened the
connection (`/proc/net/tcp`, Linux). Where there is no such account there is no port; a socket in a folder of one's own
serves there.
"""

from __future__ import annotations

import asyncio
import os
import ssl
import struct
from collections.abc import Awaitable, Callable
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from doorward.errors import ConfigError, DoorwardError, ProtocolError, UpstreamError, in_words
from doorward.protocols.postgres import wire
from doorward.protocols.postgres.wire import Auth, Backend

PATIENCE: Final = 30.0  # seconds for one side's part of a login; an identity provider may be asked meanwhile
LONGEST: Final = 64 << 10  # bytes of one message before the login is over
PIECE: Final = 256 << 10
MOST: Final = 200  # connections at once
_TCP: Final = (Path("/proc/net/tcp"), Path("/proc/net/tcp6"))
_OWN: Final = {Backend.NOTICE_RESPONSE, Backend.NEGOTIATE_PROTOCOL_VERSION}


@dataclass(frozen=True, slots=True)
class Place:
    """Where the gateway answers."""

    host: str
    port: int


@dataclass(frozen=True, slots=True)
class Pass:
    """As whom one connection is made: a token, and whom to believe and which certificate to show. `context` None: without TLS,
    on this machine."""

    token: str
    context: ssl.SSLContext | None


class Carrier:
    """One port, or socket, for one target."""

    def __init__(
        self, target: str, place: Place, passes: Callable[[], Awaitable[Pass]], *, said: Callable[[str], None]
    ) -> None:
        """`said` is told what a person should know; it gets no token and no value."""
        self.target = target
        self._place = place
        self._passes = passes
        self._said = said
        self._open: set[asyncio.Task[None]] = set()
        self._server: asyncio.Server | None = None

    async def listen(self, port: int = 0) -> int:
        """Open a port of 127.0.0.1; returns it. Raises ConfigError."""
        if not _TCP[0].exists():
            raise ConfigError(
                "this system does not say who opens a connection, so a port would be anybody's",
                hint="use --socket FOLDER: only you can open what is in it",
            )
        try:
            self._server = await asyncio.start_server(self._met, "127.0.0.1", port, backlog=64)
        except OSError as error:
            raise ConfigError(f"port {port} cannot be opened ({error.strerror})", hint="choose another one") from None
        return int(self._server.sockets[0].getsockname()[1])

    async def listen_in(self, folder: Path) -> Path:
        """Open PostgreSQL's socket in a folder that is made, or must be, one's own. Raises ConfigError."""
        path = _folder(folder) / ".s.PGSQL.5432"
        try:
            self._server = await asyncio.start_unix_server(self._met, str(path))
        except OSError as error:
            raise ConfigError(f"{path} cannot be opened ({error.strerror})", hint="choose a shorter path") from None
        return path

    async def close(self) -> None:
        """Close the port and every connection that came through it."""
        if self._server is not None:
            self._server.close()
        for task in list(self._open):
            task.cancel()
        await asyncio.gather(*self._open, return_exceptions=True)

    async def _met(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        if task is None or len(self._open) >= MOST or not _ours(writer):
            writer.close()  # not a word: it is not for whoever this is
            return
        self._open.add(task)
        try:
            await self._carry(reader, writer)
        except DoorwardError as error:
            self._said(error.message)
            with suppress(OSError):
                writer.write(wire.error_response("FATAL", "08006", error.message, hint=error.hint))
                await writer.drain()
        except (OSError, asyncio.IncompleteReadError, TimeoutError):
            pass
        except asyncio.CancelledError:
            pass  # by `close`, which waits for it; asyncio would print it as an error of its own
        finally:
            self._open.discard(task)
            writer.close()

    async def _carry(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        async with asyncio.timeout(PATIENCE):
            first = await _first(reader, writer)
        async with asyncio.timeout(PATIENCE):
            shown = await self._passes()
        there, back = await self._dial(shown.context)
        try:
            if wire.startup_code(first) == wire.CANCEL_REQUEST_CODE:
                back.write(_untyped(first))
                await back.drain()
                return
            protocol, parameters = wire.parse_startup(first)
            parameters["database"] = self.target
            parameters.setdefault("user", "doorward")
            back.write(wire.startup(parameters, protocol))
            async with asyncio.timeout(PATIENCE):
                if not await self._log_in(shown.token, there, back, writer):
                    return
            await _both(reader, writer, there, back)
        finally:
            back.close()

    async def _dial(self, context: ssl.SSLContext | None) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
        place = self._place
        try:
            async with asyncio.timeout(PATIENCE):
                there, back = await asyncio.open_connection(place.host, place.port)
                if context is not None:
                    back.write(wire.SSL_REQUEST)
                    if await there.readexactly(1) != b"S":
                        raise UpstreamError(f"{place.host}:{place.port} has no TLS", hint="is that the gateway's port?")
                    await back.start_tls(context, server_hostname=place.host)
                return there, back
        except (OSError, ssl.SSLError, asyncio.IncompleteReadError, TimeoutError) as error:
            raise UpstreamError(
                f"no gateway answers at {place.host}:{place.port} ({in_words(error)})", hint="is it running, and is --ca right?"
            ) from None

    async def _log_in(
        self, token: str, there: asyncio.StreamReader, back: asyncio.StreamWriter, writer: asyncio.StreamWriter
    ) -> bool:
        """Answer the gateway's question, and pass on what it says. False: it did not let us in."""
        while True:
            kind, payload = await _message(there)
            if kind == Backend.AUTHENTICATION:
                code, _ = wire.parse_authentication(payload)
                if code == Auth.OK:
                    writer.write(wire.message(kind, payload))
                    return True
                if code != Auth.CLEARTEXT_PASSWORD:
                    raise ProtocolError("the gateway asks for something other than a token")
                back.write(wire.password_message(token.encode()))
                await back.drain()
            elif kind == Backend.ERROR_RESPONSE:
                writer.write(wire.message(kind, payload))
                await writer.drain()
                self._said(f"the gateway refused: {wire.parse_error(payload).get('M', '')}")
                return False
            elif kind in _OWN:
                writer.write(wire.message(kind, payload))
            else:
                raise ProtocolError("what answers is not a gateway")


def _folder(folder: Path) -> Path:
    """A folder that nobody else may enter, without an older socket in it."""
    folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    state = folder.stat()
    if state.st_uid != os.getuid() or state.st_mode & 0o077:
        raise ConfigError(f"others may enter {folder}", hint=f"chmod 700 {folder}, or name another one")
    (folder / ".s.PGSQL.5432").unlink(missing_ok=True)
    return folder


async def _first(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> bytes:
    """The start-up message or CancelRequest. Encryption is offered none: the port is on this machine."""
    for _ in range(3):
        (length,) = struct.unpack("!I", await reader.readexactly(4))
        if not 8 <= length <= LONGEST:
            raise ProtocolError("that is no client of PostgreSQL")
        payload = await reader.readexactly(length - 4)
        if wire.startup_code(payload) not in (wire.SSL_REQUEST_CODE, wire.GSSENC_REQUEST_CODE):
            return payload
        writer.write(b"N")
    raise ProtocolError("the client asks for encryption again and again")


def _untyped(payload: bytes) -> bytes:
    return struct.pack("!I", len(payload) + 4) + payload


async def _message(reader: asyncio.StreamReader) -> tuple[int, bytes]:
    kind, length = struct.unpack("!BI", await reader.readexactly(5))
    if not 4 <= length <= LONGEST:
        raise ProtocolError("what answers is not a gateway")
    return kind, await reader.readexactly(length - 4)


async def _both(
    reader: asyncio.StreamReader, writer: asyncio.StreamWriter, there: asyncio.StreamReader, back: asyncio.StreamWriter
) -> None:
    """Bytes both ways until both sides have ended; a slow one is waited for."""

    async def one(source: asyncio.StreamReader, sink: asyncio.StreamWriter) -> None:
        with suppress(OSError):
            while piece := await source.read(PIECE):
                sink.write(piece)
                await sink.drain()
        sink.close()  # and so the other way ends, too

    async with asyncio.TaskGroup() as ways:
        ways.create_task(one(reader, back))
        ways.create_task(one(there, writer))


def _ours(writer: asyncio.StreamWriter) -> bool:
    """Whether the other end of a connection is a process of this user, or of the superuser."""
    peer, here = writer.get_extra_info("peername"), writer.get_extra_info("sockname")
    if not isinstance(peer, tuple) or not isinstance(here, tuple):
        return True  # a socket in a folder that nobody else may enter
    wanted = (peer[1], here[1])
    for path in _TCP:
        with suppress(OSError, ValueError, IndexError):
            for line in path.read_text().splitlines()[1:]:
                fields = line.split()
                ports = int(fields[1].rpartition(":")[2], 16), int(fields[2].rpartition(":")[2], 16)
                if ports == wanted and _loopback(fields[1]):
                    return int(fields[7]) in (os.getuid(), 0)
    return False


def _loopback(field: str) -> bool:
    """Whether an address of /proc/net/tcp is 127.0.0.1, which is written in the machine's own order of bytes."""
    return field.partition(":")[0].upper().endswith(struct.pack("=I", 0x0100007F).hex().upper()) or field.startswith("0100007F")
