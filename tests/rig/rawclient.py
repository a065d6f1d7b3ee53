"""A PostgreSQL client that sends what it is told to, well formed or not, and shows every message of the answer.

Contract: `RawClient.to(gateway, ...)` connects, does TLS and logs in with a token; `send` writes bytes as they are;
`until` reads messages up to one of the given types, the end of the stream or the deadline, and never waits longer. `query`
and `run` are the two everyday forms. It keeps no state of the protocol's, so a test can break the protocol where it likes.
"""

from __future__ import annotations

import socket
import ssl
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from doorward.protocols.postgres import wire

if TYPE_CHECKING:
    from tests.rig.gateway import Gateway

PATIENCE = 15.0  # seconds a test waits for an answer before it says that there is none


@dataclass
class Reply:
    """What came back. `closed`: the peer ended the stream; `silent`: the deadline came first."""

    messages: list[tuple[str, bytes]] = field(default_factory=list)
    closed: bool = False
    silent: bool = False

    @property
    def kinds(self) -> str:
        """The type bytes in order, notices and parameter reports left out."""
        return "".join(kind for kind, _ in self.messages if kind not in "NSA")

    @property
    def rows(self) -> list[tuple[bytes | None, ...]]:
        return [wire.parse_data_row(payload) for kind, payload in self.messages if kind == "D"]

    @property
    def values(self) -> list[str | None]:
        """The first column of every row, as text."""
        return [None if row[0] is None else row[0].decode("utf-8", "replace") for row in self.rows]

    @property
    def errors(self) -> list[dict[str, str]]:
        return [wire.parse_error(payload) for kind, payload in self.messages if kind == "E"]

    @property
    def notices(self) -> list[dict[str, str]]:
        return [wire.parse_error(payload) for kind, payload in self.messages if kind == "N"]

    @property
    def sqlstate(self) -> str:
        """Of the first error; "" when there was none."""
        return self.errors[0].get("C", "") if self.errors else ""

    @property
    def tags(self) -> list[str]:
        return [wire.parse_command_complete(payload) for kind, payload in self.messages if kind == "C"]

    @property
    def status(self) -> str:
        """The transaction status of the last ReadyForQuery: I, T or E; "" when none came."""
        found = [chr(wire.parse_ready(payload)) for kind, payload in self.messages if kind == "Z"]
        return found[-1] if found else ""

    @property
    def held(self) -> str:
        """The id of the request for approval that a notice announced; "" if none did."""
        for notice in self.notices:
            words = notice.get("M", "").split()
            if words[:2] == ["held:", "request"]:
                return words[2]
        return ""

    def __add__(self, other: Reply) -> Reply:
        return Reply(self.messages + other.messages, other.closed, other.silent)


class RawClient:
    """One connection. Use it in a `with`."""

    def __init__(self, sock: socket.socket) -> None:
        self.sock = sock
        self.pid = 0
        self.secret = b""
        self.received = bytearray()  # every byte after login, as it came
        self._buffer = bytearray()
        self._ended = False

    @classmethod
    def to(
        cls,
        gateway: Gateway,
        target: str = "shop",
        *,
        token: str = "",
        protocol: int = wire.PROTOCOL_3_0,
        parameters: Mapping[str, str] | None = None,
        **claims: object,
    ) -> RawClient:
        """Logged in at a gateway. RuntimeError with the gateway's words if it does not let this client in."""
        client = cls(encrypted(gateway))
        client.send(wire.startup({"user": "whoever", "database": target, **(parameters or {})}, protocol))
        asked = client.until("R", "E")
        if asked.kinds != "R":
            client.close()
            raise RuntimeError(asked.errors[0].get("M", "") if asked.errors else "no answer")
        client.send(wire.password_message((token or gateway.token(**claims)).encode()))
        return client._logged_in(client.until("Z", "E"))

    def _logged_in(self, answer: Reply) -> RawClient:
        if answer.status == "":
            self.close()
            raise RuntimeError(answer.errors[0].get("M", "") if answer.errors else "no answer")
        for kind, payload in answer.messages:
            if kind == "K":
                self.pid, self.secret = wire.parse_backend_key(payload)
        self.received.clear()
        return self

    def __enter__(self) -> RawClient:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """Drop the connection without a word."""
        self.sock.close()

    def vanish(self) -> None:
        """Drop it with a reset: not even TLS says good-bye."""
        self.sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, b"\1\0\0\0\0\0\0\0")
        self.sock.close()

    # -- bytes -------------------------------------------------------------------------------------------------------

    def send(self, *parts: bytes) -> RawClient:
        """Write bytes, all in one piece. A peer that has hung up is noticed when reading."""
        try:
            self.sock.sendall(b"".join(parts))
        except OSError:
            self._ended = True
        return self

    def dribble(self, data: bytes, size: int = 1) -> RawClient:
        """Write bytes `size` at a time, each in a TLS record of its own."""
        for at in range(0, len(data), size):
            self.send(data[at : at + size])
        return self

    def until(self, *kinds: str, seconds: float = PATIENCE, count: int = 1) -> Reply:
        """Messages up to the `count`-th of one of `kinds` (inclusive), the end, or the deadline."""
        return self._read(lambda kind: kind in kinds, seconds, count)

    def ready(self, count: int = 1, *, seconds: float = PATIENCE) -> Reply:
        """Messages up to the `count`-th ReadyForQuery."""
        return self.until("Z", seconds=seconds, count=count)

    def held(self, *, seconds: float = PATIENCE) -> Reply:
        """Messages up to the notice that something is held (or up to ReadyForQuery, when nothing is)."""
        reply = Reply()
        limit = time.monotonic() + seconds
        while not reply.held and not reply.status and not reply.closed and not reply.silent:
            reply += self.until("N", "Z", seconds=limit - time.monotonic())
        return reply

    def quiet(self, seconds: float = 0.3) -> Reply:
        """Whatever comes within `seconds`."""
        return self._read(lambda _: False, seconds, 1)

    def _read(self, wanted: Callable[[str], bool], seconds: float, count: int) -> Reply:
        reply = Reply()
        limit = time.monotonic() + seconds
        while True:
            buffer = self._buffer
            while len(buffer) >= 5:
                size = 1 + int.from_bytes(buffer[1:5], "big")
                if len(buffer) < size:
                    break
                kind, payload = chr(buffer[0]), bytes(buffer[5:size])
                del buffer[:size]
                reply.messages.append((kind, payload))
                if wanted(kind):
                    count -= 1
                    if count == 0:
                        return reply
            left = limit - time.monotonic()
            if left <= 0:
                reply.silent = True
                return reply
            self.sock.settimeout(left)
            try:
                data = self.sock.recv(1 << 16)
            except TimeoutError:
                continue
            except OSError:
                data = b""
            if not data:
                reply.closed = True
                return reply
            self.received += data
            buffer += data

    # -- everyday forms ----------------------------------------------------------------------------------------------

    def query(self, text: str | bytes, *, seconds: float = PATIENCE) -> Reply:
        """A Query, and everything up to ReadyForQuery."""
        self.send(wire.query(text if isinstance(text, bytes) else text.encode()))
        return self.ready(seconds=seconds)

    def run(
        self,
        text: str,
        params: Sequence[bytes | None] = (),
        *,
        formats: Sequence[int] = (),
        results: Sequence[int] = (),
        seconds: float = PATIENCE,
    ) -> Reply:
        """Parse, Bind, Describe, Execute, Sync."""
        self.send(extended(text, params, formats=formats, results=results), wire.SYNC)
        return self.ready(seconds=seconds)


def extended(
    text: str,
    params: Sequence[bytes | None] = (),
    *,
    formats: Sequence[int] = (),
    results: Sequence[int] = (),
    describe: bool = True,
    rows: int = 0,
    name: bytes = b"",
    portal: bytes = b"",
) -> bytes:
    """Parse, Bind, Describe (if asked), Execute: no Sync."""
    return b"".join(
        [
            wire.parse(name, text.encode()),
            wire.bind(portal, name, formats, params, results),
            wire.describe("P", portal) if describe else b"",
            wire.execute(portal, rows),
        ]
    )


def encrypted(gateway: Gateway) -> socket.socket:
    """A TLS connection to a gateway's PostgreSQL port, before the start-up message."""
    sock = socket.create_connection(("127.0.0.1", gateway.port), timeout=PATIENCE)
    sock.sendall(wire.SSL_REQUEST)
    if sock.recv(1) != b"S":
        raise RuntimeError("the gateway does not speak TLS")
    context = ssl.create_default_context(cafile=gateway.ca)
    return context.wrap_socket(sock, server_hostname="localhost", suppress_ragged_eofs=True)


def cancel(gateway: Gateway, pid: int, secret: bytes) -> None:
    """A CancelRequest on a connection of its own; nobody answers one."""
    with encrypted(gateway) as sock:
        sock.sendall(wire.cancel_request(pid, secret))
        sock.settimeout(PATIENCE)
        try:
            while sock.recv(1024):
                pass
        except OSError:
            pass
