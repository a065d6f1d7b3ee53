"""Syslog over TLS: RFC 5424 messages, counted octets (RFC 5425, section 4.3.1).

Contract: the server's certificate and name are verified. Syslog has no answer, so a batch counts as taken when the receiver's
own kernel has acknowledged all of it and the connection still stands: what a receiver loses after that, nobody can know. Each
message names the log and the leaf, so that a gap can be seen there.
"""

from __future__ import annotations

import array
import asyncio
import fcntl
import socket
import ssl
import termios
from collections.abc import Sequence
from datetime import UTC, datetime
from typing import Final

from doorward.errors import in_words
from doorward.guard.notifications import UndeliveredError

PRIORITY: Final = 13 * 8 + 5  # "log audit", "notice"
CONNECT: Final = 10.0  # seconds
ACKNOWLEDGE: Final = 10.0
LOOK: Final = 0.01


class SyslogDestination:
    """Satisfies `Destination`. `host_name` is what messages say that they are from; `client`: certificate and key to show."""

    kind = "syslog"

    def __init__(
        self, host: str, port: int, *, host_name: str, ca: str = "", client: tuple[str, str] | None = None
    ) -> None:
        self._host, self._port, self._host_name, self._ca, self._client = host, port, host_name, ca, client
        self._reader: asyncio.StreamReader | None = None
        self._writer: asyncio.StreamWriter | None = None

    async def send(self, events: Sequence[tuple[int, bytes]]) -> None:
        try:
            writer = await self._open()
            for leaf, line in events:
                message = framed(leaf, line, self._host_name)
                writer.write(b"%d %b" % (len(message), message))
                await writer.drain()
            await self._acknowledged(writer)
        except (OSError, ssl.SSLError, asyncio.IncompleteReadError) as error:
            await self.close()
            raise UndeliveredError(f"{self._host}:{self._port} cannot be reached: {in_words(error)}") from None
        except BaseException:
            await self.close()
            raise

    async def _open(self) -> asyncio.StreamWriter:
        if self._reader is not None and self._reader.at_eof():
            await self.close()
        if self._writer is None:
            context = ssl.create_default_context(cafile=self._ca or None)
            if self._client is not None:
                context.load_cert_chain(*self._client)
            async with asyncio.timeout(CONNECT):
                self._reader, self._writer = await asyncio.open_connection(
                    self._host, self._port, ssl=context, server_hostname=self._host
                )
        return self._writer

    async def _acknowledged(self, writer: asyncio.StreamWriter) -> None:
        """Wait until nothing that was written waits here any more: neither in the process, nor unacknowledged in the kernel."""
        connection: socket.socket = writer.get_extra_info("socket")
        left = array.array("i", [0])
        async with asyncio.timeout(ACKNOWLEDGE):
            while not writer.is_closing():
                fcntl.ioctl(connection.fileno(), termios.TIOCOUTQ, left)
                if not left[0] and not writer.transport.get_write_buffer_size():
                    break
                await asyncio.sleep(LOOK)
        if self._reader is None or self._reader.at_eof() or writer.is_closing():
            raise ConnectionResetError("the receiver has closed the connection")

    async def close(self) -> None:
        writer, self._reader, self._writer = self._writer, None, None
        if writer is not None:
            writer.transport.abort()


def framed(leaf: int, line: bytes, host_name: str) -> bytes:
    """One message, without its count. UTF-8, and says so with a byte order mark (RFC 5424, section 6.4)."""
    now = datetime.now(UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")
    return f"<{PRIORITY}>1 {now} {host_name} doorward - leaf-{leaf} - \ufeff".encode() + line
