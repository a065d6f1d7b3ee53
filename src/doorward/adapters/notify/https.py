"""One POST to an address of the configuration, within bounds.

Contract: TLS with a certificate that is verified; no redirect is followed, since it could lead anywhere; no cookies; at most
TIMEOUT seconds from first to last; of the answer at most LIMIT bytes are read, and shown only as far as they are text. Whatever
goes wrong is an UndeliveredError that names neither path nor query, which are often the secret.
"""

from __future__ import annotations

import asyncio
import ssl
from collections.abc import Mapping
from urllib.parse import urlsplit

import httpx2

from doorward.errors import ConfigError, in_words
from doorward.guard.notifications import UndeliveredError
from doorward.model.visible import visible

LIMIT = 4096  # bytes of an answer that are read
GONE = 410  # Standard Webhooks: the receiver is to be disabled
SHOWN = 200  # characters of it that are kept
TIMEOUT = 10.0
LONGEST_WAIT = 300.0  # seconds that a receiver may ask to wait


class Poster:
    """What one channel posts with. `ca`: PEM of the authorities to trust, "" for the system's."""

    def __init__(self, ca: str = "") -> None:
        self._ca = ca
        self._tls: ssl.SSLContext | None = None

    async def post(self, url: str, body: bytes, headers: Mapping[str, str]) -> str:
        """What came back, as status and text. Raises UndeliveredError unless the status is 2xx; ConfigError."""
        host = urlsplit(url).hostname or ""
        said = bytearray()
        try:
            async with (
                asyncio.timeout(TIMEOUT),
                httpx2.AsyncClient(
                    verify=self._context(), follow_redirects=False, timeout=TIMEOUT,
                    # A proxy of the environment must not see traffic that is meant for this machine.
                    trust_env=host not in ("localhost", "127.0.0.1", "::1"),
                ) as client,
                client.stream(
                    "POST", url, content=body,
                    headers={"accept-encoding": "identity", "user-agent": "doorward", **headers},
                ) as response,
            ):  # fmt: skip
                async for chunk in response.aiter_raw():
                    said += chunk
                    if len(said) > LIMIT:
                        break
        except TimeoutError:
            raise UndeliveredError(f"{host} did not answer within {TIMEOUT:.0f} seconds") from None
        except (httpx2.HTTPError, httpx2.InvalidURL, httpx2.StreamError, OSError) as error:
            raise UndeliveredError(f"{host} cannot be reached: {_cause(error, url)}") from None
        text = visible(bytes(said[:LIMIT]).decode("utf-8", "replace").strip())[:SHOWN]
        answer = f"{response.status_code} {text}".strip()
        if response.is_success:
            return answer
        why = f"{host} answered {answer}"
        if 300 <= response.status_code < 400:
            why = f"{host} answered {response.status_code}, and redirects are not followed: configure the address itself"
        if response.status_code == GONE:
            why = f"{why}: nothing more is sent there until the gateway starts again, or a test of the channel arrives"
            raise UndeliveredError(why, gone=True)
        raise UndeliveredError(why, after=_after(response.headers.get("retry-after", "")))

    def _context(self) -> ssl.SSLContext:
        if self._tls is None:
            self._tls = context(self._ca)
        return self._tls


def context(ca: str) -> ssl.SSLContext:
    """What verifies a receiver's certificate and name. Raises ConfigError."""
    try:
        return ssl.create_default_context(cafile=ca or None)
    except (OSError, ssl.SSLError) as error:
        raise ConfigError(f"ca {ca!r} cannot be read as PEM certificates ({error})") from None


def _after(value: str) -> float:
    """`Retry-After` in seconds (RFC 9110, section 10.2.3); a date, which a clock could make long, is left aside."""
    return min(float(value), LONGEST_WAIT) if value.isascii() and value.isdigit() and len(value) < 10 else 0.0


def _cause(error: BaseException, url: str) -> str:
    """The innermost explanation, on one line, without the address."""
    while error.__cause__ is not None or error.__context__ is not None:
        error = error.__cause__ or error.__context__  # type: ignore[assignment]  # the loop's condition says not None
    said = in_words(error) if isinstance(error, OSError) else str(error)
    parts = urlsplit(url)
    for secret in (url, parts.path, parts.query):
        if len(secret) > 1:
            said = said.replace(secret, "...")
    return " ".join(said.split())[:SHOWN] or type(error).__name__
