"""uvicorn in the gateway's own event loop; signals stay with the gateway."""

from __future__ import annotations

import asyncio
import contextlib
import socket
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Final

import uvicorn
from uvicorn.protocols.http.h11_impl import H11Protocol

from doorward.errors import ConfigError

PATIENCE: Final = 10.0  # seconds in which a client must have sent the head of its first request


class _Impatient(H11Protocol):
    """Lets go of a client that connects and says nothing: otherwise a few hundred of them keep approvers out."""

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        super().connection_made(transport)
        self._deadline = self.loop.call_later(PATIENCE, self._silent)

    def connection_lost(self, exc: Exception | None) -> None:
        self._deadline.cancel()
        super().connection_lost(exc)

    def _silent(self) -> None:
        if not self.cycle:  # set with the head of the first request
            self.transport.abort()


class _Server(uvicorn.Server):
    @contextlib.contextmanager
    def capture_signals(self) -> Iterator[None]:
        yield


def bound(address: str, port: int) -> socket.socket:
    """A socket at which nobody answers yet. Raises ConfigError when the address cannot be had."""
    found = socket.socket(socket.AF_INET6 if ":" in address else socket.AF_INET, socket.SOCK_STREAM)
    found.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    try:
        found.bind((address, port))
    except OSError as error:
        found.close()
        raise ConfigError(
            f"cannot listen on {address}:{port}: {error.strerror}", hint="choose another port, or stop what uses it"
        ) from error
    return found


class WebServer:
    """One HTTP listener, which takes the socket over."""

    def __init__(
        self, application: Any, bound_to: socket.socket, *, certificate: Path | None, key: Path | None
    ) -> None:
        self._socket = bound_to
        self.port = int(self._socket.getsockname()[1])
        self._server = _Server(uvicorn.Config(
            application, log_level="error", access_log=False, lifespan="off", timeout_keep_alive=5, server_header=False,
            http=_Impatient, h11_max_incomplete_event_size=64 * 1024, limit_concurrency=500, timeout_graceful_shutdown=2,
            ssl_certfile=certificate, ssl_keyfile=key,
        ))  # fmt: skip

    async def run(self) -> None:
        """Serve until `stop`."""
        try:
            await self._server.serve(sockets=[self._socket])
        finally:
            self._socket.close()

    def stop(self) -> None:
        """Answer what is being answered, then end."""
        self._server.should_exit = True
