"""A PostgreSQL client that keeps every byte it gets: what a proof looks through.

Contract: connects to the gateway as any driver would (TLS, start-up message, the token as password), sends what a channel
says, and reads until the server is ready again. `received` is every byte after login. Each answer has a deadline; a
statement that waits for a person's approval is not waited for: the connection is dropped, and `held` names the request.
It trusts nothing that it reads, and speaks the protocol with `protocols.postgres.wire`, like the gateway itself.
"""

from __future__ import annotations

import contextlib
import socket
import ssl
import time
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

from doorward.errors import AuthenticationError, ProtocolError, UpstreamError
from doorward.protocols.postgres import wire
from doorward.protocols.postgres.wire import Auth, Backend

PATIENCE: Final = 20.0  # seconds for one answer
MOST: Final = 64 << 20  # bytes of one message, and of what one channel may receive
TEXT, BINARY = 0, 1


@dataclass(frozen=True, slots=True)
class Door:
    """Where the gateway listens for PostgreSQL clients. `ca` None: the system's authorities."""

    host: str
    port: int
    tls: bool
    ca: Path | None


@dataclass(slots=True)
class Heard:
    """What one channel got back."""

    received: bytearray = field(default_factory=bytearray)
    rows: int = 0
    errors: list[str] = field(default_factory=list)  # SQLSTATEs
    held: str = ""  # the request for approval that it waits for


class Client:
    """One connection. Use it in a `with`. `heard` is what came since it was last replaced."""

    def __init__(self, door: Door, target: str, token: str) -> None:
        self.heard = Heard()
        self._frames = wire.Frames(MOST, types=wire.BACKEND_TYPES)
        try:
            plain = socket.create_connection((door.host, door.port), PATIENCE)
            plain.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            self._socket = _secured(plain, door) if door.tls else plain
        except OSError as error:
            raise UpstreamError(
                f"the gateway's PostgreSQL port {door.host}:{door.port} cannot be used: {error.strerror or error}",
                hint="say where it is with --door HOST:PORT, by the name in its certificate, and whom to trust with --ca",
            ) from None
        try:
            self._log_in(target, token)
        except BaseException:
            self._socket.close()
            raise

    def __enter__(self) -> Client:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """Take leave."""
        with contextlib.suppress(OSError):
            self._socket.sendall(wire.TERMINATE)
        self._socket.close()

    def begin(self) -> None:
        """Forget what came before."""
        self.heard = Heard()

    # -- what a channel does ------------------------------------------------------------------------------------------

    def simple(self, text: str) -> None:
        """Simple protocol."""
        self._send(wire.query(text.encode()))
        self._until_ready()

    def extended(self, text: str, *, form: int = TEXT, name: str = "", portions: int = 0, again: int = 1) -> None:
        """Extended protocol: results in text or binary; as a named statement; in portions of so many rows; again and again."""
        parts = [wire.parse(name.encode(), text.encode()), wire.describe("S", name.encode())]
        for _ in range(again):
            parts += [wire.bind(b"", name.encode(), (), (), (form,)), wire.describe("P", b"")]
            parts += [wire.execute(b"", portions)] * (4 if portions else 0)
            parts.append(wire.execute(b"", 0))
        self._send(*parts, wire.SYNC)
        self._until_ready()

    # -- bytes --------------------------------------------------------------------------------------------------------

    def _send(self, *parts: bytes) -> None:
        try:
            self._socket.sendall(b"".join(parts))
        except OSError as error:
            raise UpstreamError(f"the connection to the gateway broke: {error.strerror or error}") from None

    def _messages(self, limit: float) -> list[tuple[int, bytes]]:
        self._socket.settimeout(max(0.01, limit - time.monotonic()))
        try:
            octets = self._socket.recv(1 << 18)
        except TimeoutError:
            raise UpstreamError(f"the gateway did not answer in {PATIENCE:g} s") from None
        except OSError as error:
            raise UpstreamError(f"the connection to the gateway broke: {error.strerror or error}") from None
        if not octets:
            raise UpstreamError("the gateway ended the connection")
        if len(self.heard.received) + len(octets) > MOST:
            raise UpstreamError(f"one answer has more than {MOST} bytes")
        self.heard.received += octets
        return self._frames.feed(octets)

    def _until_ready(self) -> None:
        limit = time.monotonic() + PATIENCE
        while True:
            for kind, payload in self._messages(limit):
                if kind == Backend.DATA_ROW or kind == Backend.COPY_DATA:
                    self.heard.rows += 1
                elif kind == Backend.ERROR_RESPONSE:
                    self.heard.errors.append(wire.parse_error(payload).get("C", "")[:5])
                elif kind == Backend.NOTICE_RESPONSE:
                    words = wire.parse_error(payload).get("M", "").split()
                    if words[:2] == ["held:", "request"] and len(words) > 2:
                        self.heard.held = words[2]
                        self._socket.close()
                        return
                elif kind == Backend.COPY_IN_RESPONSE:
                    self._send(wire.copy_fail("a proof sends nothing"))
                elif kind == Backend.READY_FOR_QUERY:
                    return

    def _log_in(self, target: str, token: str) -> None:
        self._send(wire.startup({"user": "doorward", "database": target, "application_name": "doorward masking prove"}))
        limit = time.monotonic() + PATIENCE
        while True:
            for kind, payload in self._messages(limit):
                if kind == Backend.AUTHENTICATION:
                    code, _ = wire.parse_authentication(payload)
                    if code == Auth.CLEARTEXT_PASSWORD:
                        self._send(wire.password_message(token.encode()))
                    elif code != Auth.OK:
                        raise ProtocolError("what answers is not the gateway: it asks for another kind of password")
                elif kind == Backend.ERROR_RESPONSE:
                    said = wire.parse_error(payload)
                    raise AuthenticationError(
                        f"the gateway does not let this identity in: {said.get('M', '')}", hint=said.get("H", "")
                    )
                elif kind == Backend.READY_FOR_QUERY:
                    self.heard = Heard()
                    return


def _secured(plain: socket.socket, door: Door) -> ssl.SSLSocket:
    context = ssl.create_default_context(cafile=None if door.ca is None else str(door.ca))
    plain.sendall(wire.SSL_REQUEST)
    if plain.recv(1) != b"S":
        raise OSError("it does not speak TLS")
    return context.wrap_socket(plain, server_hostname=door.host)
