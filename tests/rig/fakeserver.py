"""A target that lies: it passes a real PostgreSQL's words on until it is time to say something else.

Contract: `FakeServer(real)` listens on loopback without TLS. A connection whose start-up message asks for a database that
is a key of `at_login` is answered by that function alone. Any other goes to the real server; its stream from the client
is watched for a text `lie:NAME`, and the message that holds it is not passed on: it is answered with `answers[NAME]`,
bytes or a function that writes to the socket. `heard` is every byte that clients sent: a test looks there for secrets.
"""

from __future__ import annotations

import contextlib
import re
import socket
import threading
from collections.abc import Callable, Mapping

from doorward.protocols.postgres import wire
from tests.rig.postgres import PostgresServer

Answer = bytes | Callable[[socket.socket], None]
_LIE = re.compile(rb"lie:(\w+)")


class FakeServer:
    """Use it in a `with`: it stops, and its connections end."""

    def __init__(
        self, real: PostgresServer, *, at_login: Mapping[str, Answer] | None = None, answers: Mapping[str, Answer]
    ) -> None:
        self.real = real
        self.at_login = dict(at_login or {})
        self.answers = dict(answers)
        self.heard = bytearray()
        self._open: list[socket.socket] = []
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.port: int = self._listener.getsockname()[1]
        threading.Thread(target=self._accept, daemon=True).start()

    def __enter__(self) -> FakeServer:
        return self

    def __exit__(self, *_: object) -> None:
        for sock in (self._listener, *self._open):
            with contextlib.suppress(OSError):
                sock.shutdown(socket.SHUT_RDWR)
            sock.close()

    def _accept(self) -> None:
        while True:
            try:
                client, _ = self._listener.accept()
            except OSError:
                return
            self._open.append(client)
            threading.Thread(target=self._quietly, args=(self._serve, client), daemon=True).start()

    @staticmethod
    def _quietly(work: Callable[..., None], *arguments: object) -> None:
        with contextlib.suppress(OSError):
            work(*arguments)

    def _serve(self, client: socket.socket) -> None:
        first = _packet(client)
        if first is None:
            return
        self.heard += first
        if wire.startup_code(first[4:]) == wire.CANCEL_REQUEST_CODE:
            client.close()
            return
        _, parameters = wire.parse_startup(first[4:])
        lie = self.at_login.get(parameters.get("database", ""))
        if lie is not None:
            self._say(client, lie)
            while data := client.recv(1 << 16):
                self.heard += data
            return
        server = socket.create_connection((self.real.host, self.real.port), timeout=30)
        self._open.append(server)
        server.sendall(first)
        threading.Thread(target=self._quietly, args=(self._back, server, client), daemon=True).start()
        buffer = bytearray()
        while data := client.recv(1 << 16):
            self.heard += data
            buffer += data
            while len(buffer) >= 5:
                size = 1 + int.from_bytes(buffer[1:5], "big")
                if len(buffer) < size:
                    break
                message = bytes(buffer[:size])
                del buffer[:size]
                found = _LIE.search(message) if message[:1] in (b"Q", b"P") else None
                answer = self.answers.get(found[1].decode()) if found is not None else None
                if answer is None:
                    server.sendall(message)
                else:
                    self._say(client, answer)
        server.close()

    @staticmethod
    def _back(server: socket.socket, client: socket.socket) -> None:
        while data := server.recv(1 << 16):
            client.sendall(data)
        client.close()

    @staticmethod
    def _say(client: socket.socket, answer: Answer) -> None:
        if isinstance(answer, bytes):
            client.sendall(answer)
        else:
            answer(client)


def _packet(client: socket.socket) -> bytes | None:
    data = b""
    while len(data) < 4 or len(data) < int.from_bytes(data[:4], "big"):
        more = client.recv(1 << 16)
        if not more:
            return None
        data += more
    return data
