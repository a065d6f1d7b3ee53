"""Requests to those who watch the log from elsewhere: witnesses and time stamp authorities. What they answer is checked by
signatures, so that what is bounded here is only time and size.
"""

from __future__ import annotations

import asyncio
from urllib.parse import urlsplit

import httpx2

from doorward.adapters.notify.https import context
from doorward.errors import UpstreamError, in_words
from doorward.guard.witnessing import Answered

TIMEOUT = 10.0  # seconds from first to last


class HttpElsewhere:
    """Satisfies `Elsewhere`. `ca`: PEM of the authorities to trust, "" for the system's."""

    def __init__(self, ca: str = "") -> None:
        self._ca = ca
        self._client: httpx2.AsyncClient | None = None

    async def get(self, url: str, *, most: int) -> Answered:
        return await self._send("GET", url, b"", {}, most)

    async def post(self, url: str, body: bytes, type: str, *, most: int) -> Answered:  # noqa: A002
        return await self._send("POST", url, body, {"content-type": type}, most)

    async def close(self) -> None:
        if self._client is not None:
            await self._client.aclose()

    async def _send(self, method: str, url: str, body: bytes, headers: dict[str, str], most: int) -> Answered:
        host = urlsplit(url).hostname or ""
        if self._client is None:
            # No proxy of the environment: what is configured is whom to reach.
            self._client = httpx2.AsyncClient(
                verify=context(self._ca), follow_redirects=False, timeout=TIMEOUT, trust_env=False
            )
        said = bytearray()
        try:
            async with (
                asyncio.timeout(TIMEOUT),
                self._client.stream(
                    method, url, content=body,
                    headers={"accept-encoding": "identity", "user-agent": "doorward", **headers},
                ) as response,
            ):  # fmt: skip
                async for chunk in response.aiter_raw():
                    said += chunk
                    if len(said) > most:
                        raise UpstreamError(f"{host} answered with more than {most} bytes")
        except TimeoutError:
            raise UpstreamError(f"{host} did not answer within {TIMEOUT:.0f} seconds") from None
        except (httpx2.HTTPError, httpx2.InvalidURL, httpx2.StreamError, OSError, ValueError) as error:
            raise UpstreamError(f"{host} cannot be reached: {in_words(error)}") from None
        return Answered(response.status_code, bytes(said))
