"""NATS JetStream: a message an event, acknowledged by the stream.

Contract: each message has the id `<log>#<leaf>` (`Nats-Msg-Id`), by which a stream drops what it has had already within its
`duplicate_window`. What counts as taken is the stream's acknowledgement of every message of a batch. TLS is required, but on
loopback.
"""

from __future__ import annotations

import asyncio
import ssl
from collections.abc import Sequence
from typing import Any, Final

from doorward.adapters.export.settings import Reveal
from doorward.guard.notifications import UndeliveredError
from doorward.model import SecretRef

PATIENCE: Final = 10.0  # seconds for connecting, and for one acknowledgement


class NatsDestination:
    """Satisfies `Destination`. `url` is nats://host:port or tls://host:port; `token` the secret to log in with, if any."""

    kind = "nats"

    def __init__(
        self, url: str, subject: str, origin: str, *, reveal: Reveal, token: SecretRef | None = None, ca: str = ""
    ) -> None:
        self._url, self._subject, self._origin, self._reveal = url, subject, origin, reveal
        self._token, self._ca = token, ca
        self._client: Any = None

    async def send(self, events: Sequence[tuple[int, bytes]]) -> None:
        import nats.errors  # of those who use it

        try:
            stream = (await self._open()).jetstream(timeout=PATIENCE)
            for leaf, line in events:
                await stream.publish(self._subject, line, headers={"Nats-Msg-Id": f"{self._origin}#{leaf}"})
        except (nats.errors.Error, OSError, TimeoutError, asyncio.CancelledError) as error:
            await self.close()
            if isinstance(error, asyncio.CancelledError):
                raise
            raise UndeliveredError(f"{self._url} does not take it: {str(error) or type(error).__name__}") from None

    async def _open(self) -> Any:
        from nats.aio.client import Client

        if self._client is None or not self._client.is_connected:
            await self.close()
            token = (await self._reveal(self._token)).decode().strip() if self._token is not None else None
            context = ssl.create_default_context(cafile=self._ca or None) if self._url.startswith("tls:") else None
            self._client = Client()  # kept before it is connected, so that one that fails is closed, too
            await self._client.connect(
                self._url, token=token, tls=context, connect_timeout=int(PATIENCE), max_reconnect_attempts=0,
                allow_reconnect=False, error_cb=_nothing,
            )  # fmt: skip
        return self._client

    async def close(self) -> None:
        client, self._client = self._client, None
        if client is not None:
            await client.close()


async def _nothing(_error: Exception) -> None:
    """What fails is raised where it is called, too."""
