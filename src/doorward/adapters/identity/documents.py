"""Fetch one JSON document from an issuer, within bounds.

Contract: at most LIMIT bytes, at most TIMEOUT seconds from first to last, no redirects, no cookies, no decompression
(a small body must not become a large one), strict JSON. Whatever goes wrong is an UpstreamError whose message names
the URL and the cause and never a request's body.

Not here: caching (`keys`), and what the documents mean.
"""

from __future__ import annotations

import asyncio
import json
import ssl
from collections.abc import Mapping
from typing import Any

import httpx2

from doorward.adapters.identity.settings import check_url
from doorward.errors import ConfigError, UpstreamError

LIMIT = 256 * 1024
TIMEOUT = 5.0


class Documents:
    """A small HTTP client for one issuer. `ca_file`: PEM of the authorities to trust, empty for the system's."""

    def __init__(self, *, ca_file: str = "", development: bool = False) -> None:
        self._ca_file = ca_file
        self._development = development
        self._tls: ssl.SSLContext | None = None

    async def get(self, url: str) -> dict[str, Any]:
        """Raises UpstreamError unless the answer is 200 with one JSON object."""
        status, document = await self._request("GET", url, None)
        if status != 200:
            raise UpstreamError(f"{url} answered {status}, not 200")
        return document

    async def post(
        self, url: str, form: Mapping[str, str], *, basic: tuple[str, str] | None = None
    ) -> tuple[int, dict[str, Any]]:
        """Post a form, with HTTP Basic credentials if there are any; returns the status and the JSON object, whatever
        the status. Raises UpstreamError."""
        return await self._request("POST", url, form, basic)

    def _context(self) -> ssl.SSLContext:
        if self._tls is None:
            try:
                self._tls = ssl.create_default_context(cafile=self._ca_file or None)
            except (OSError, ssl.SSLError) as error:
                raise ConfigError(
                    f"ca_file {self._ca_file!r} cannot be read as PEM certificates ({error})",
                    hint="name a readable file with the certificate of the authority that signed the issuer's",
                ) from None
        return self._tls

    async def _request(
        self, method: str, url: str, form: Mapping[str, str] | None, basic: tuple[str, str] | None = None
    ) -> tuple[int, dict[str, Any]]:
        try:
            check_url(url, development=self._development, what="the issuer's address")
        except ConfigError as error:  # the URL may come from the issuer's own document
            raise UpstreamError(error.message, hint=error.hint) from None
        body = bytearray()
        try:
            async with (
                asyncio.timeout(TIMEOUT),
                # A proxy of the environment must not see traffic that is meant for loopback.
                httpx2.AsyncClient(verify=self._context(), trust_env=not self._development, timeout=TIMEOUT) as client,
                client.stream(
                    method,
                    url,
                    data=form,
                    auth=basic,
                    headers={"accept": "application/json", "accept-encoding": "identity"},
                ) as response,
            ):
                async for chunk in response.aiter_raw():
                    body += chunk
                    if len(body) > LIMIT:
                        raise UpstreamError(f"{url} sent more than {LIMIT // 1024} KiB")
                status = response.status_code
        except TimeoutError:
            raise UpstreamError(f"{url} did not answer within {TIMEOUT:.0f} seconds") from None
        except (httpx2.HTTPError, httpx2.InvalidURL, httpx2.StreamError, OSError) as error:
            raise UpstreamError(f"{url} cannot be reached: {_cause(error)}") from None
        try:
            document = json.loads(bytes(body))
        except (ValueError, RecursionError):
            raise UpstreamError(f"{url} answered {status} with something that is not JSON") from None
        if not isinstance(document, dict):
            raise UpstreamError(f"{url} answered {status} with JSON that is not an object")
        return status, document


def _cause(error: BaseException) -> str:
    """The innermost explanation ("certificate verify failed ...", "Connection refused"), on one line."""
    while error.__cause__ is not None or error.__context__ is not None:
        error = error.__cause__ or error.__context__  # type: ignore[assignment]  # the loop's condition says not None
    return " ".join(str(error).split())[:200] or type(error).__name__
