"""The leanest PostgreSQL client there is: logs in, sends one query, and reads the answer without looking at it.

Contract: the same for every contender, so that what is measured is what is in between. Speaks protocol 3.0 in
plaintext to loopback; understands trust and cleartext passwords only, which is what the contenders are set up to ask for.
"""

from __future__ import annotations

import socket
import struct
import time

_READY = b"Z\0\0\0\x05"


def connect(port: int, user: str, password: str, database: str) -> socket.socket:
    """A connection that is ready for a query. RuntimeError with the server's words if it is refused."""
    client = socket.create_connection(("127.0.0.1", port))
    client.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    body = b"".join(part.encode() + b"\0" for part in ("user", user, "database", database)) + b"\0"
    client.sendall(struct.pack(">II", len(body) + 8, 196608) + body)
    buffer = b""
    while True:
        while len(buffer) < 5 or len(buffer) < 1 + struct.unpack_from(">I", buffer, 1)[0]:
            received = client.recv(65536)
            if not received:
                raise RuntimeError("the server closed the connection while we logged in")
            buffer += received
        size = 1 + struct.unpack_from(">I", buffer, 1)[0]
        kind, message, buffer = buffer[:1], buffer[5:size], buffer[size:]
        if kind == b"E":
            raise RuntimeError(message.replace(b"\0", b" ").decode("utf-8", "replace"))
        if kind == b"Z":
            return client
        if kind == b"R" and struct.unpack_from(">I", message)[0] == 3:
            secret = password.encode() + b"\0"
            client.sendall(b"p" + struct.pack(">I", len(secret) + 4) + secret)
        elif kind == b"R" and struct.unpack_from(">I", message)[0] != 0:
            raise RuntimeError("the server asks for another authentication than trust or a cleartext password")


def drain(client: socket.socket, query: str) -> tuple[float, int]:
    """Send `query` and read to its end: seconds, and bytes of the answer."""
    text = query.encode() + b"\0"
    buffer = bytearray(1 << 20)
    view = memoryview(buffer)
    begun = time.perf_counter()
    client.sendall(b"Q" + struct.pack(">I", len(text) + 4) + text)
    total = 0
    tail = b""
    while True:
        count = client.recv_into(buffer)
        if count == 0:
            raise RuntimeError(f"the connection was closed after {total} bytes")
        total += count
        tail = (tail + bytes(view[max(0, count - 6) : count]))[-6:]
        if tail[:5] == _READY:
            return time.perf_counter() - begun, total
