"""A signed POST to a program of yours: Standard Webhooks 1.0.0, symmetric signatures (docs/spec/webhook.md).

Contract: the body is `{"type", "timestamp", "data"}` in ASCII; `webhook-id` is the same at every attempt of one message,
`webhook-timestamp` is the attempt's, and `webhook-signature` holds one HMAC-SHA256 for each key, so that a receiver may change
to a new key while both are configured.
"""

from __future__ import annotations

import base64
import binascii
import hmac
import json
from collections.abc import Callable, Sequence
from typing import Final

from doorward.adapters.notify.https import Poster
from doorward.adapters.notify.settings import ChannelSettings, Reveal
from doorward.errors import ConfigError
from doorward.guard.notices import Notice, instant

PREFIX: Final = "whsec_"
LEAST, MOST = 24, 64  # bytes of a key, as the standard has it


class WebhookSender:
    """Satisfies `Sender`. `now` is Unix ms."""

    kind = "webhook"

    def __init__(self, settings: ChannelSettings, reveal: Reveal, now: Callable[[], int]) -> None:
        self._settings, self._reveal, self._now = settings, reveal, now
        self._poster = Poster(settings.ca)

    async def send(self, notice: Notice) -> str:
        keys = [key_of(await self._reveal(reference), str(reference)) for reference in self._settings.secrets]
        body = content(notice)
        return await self._poster.post(self._settings.url, body, signed(notice.id, self._now() // 1000, body, keys))


def content(notice: Notice) -> bytes:
    """The body: ASCII, so that no name in it does anything to whoever looks at it."""
    data = {**notice.more, "title": notice.title, "url": notice.link}
    body = {"type": notice.type, "timestamp": instant(notice.at), "data": data}
    return json.dumps(body, separators=(",", ":"), sort_keys=True).encode("ascii")


def signed(message: str, at: int, body: bytes, keys: Sequence[bytes]) -> dict[str, str]:
    """The headers. `at` is Unix seconds."""
    signing = f"{message}.{at}.".encode() + body
    marks = [base64.b64encode(hmac.digest(key, signing, "sha256")).decode() for key in keys]
    return {
        "content-type": "application/json", "webhook-id": message, "webhook-timestamp": str(at),
        "webhook-signature": " ".join(f"v1,{mark}" for mark in marks),
    }  # fmt: skip


def key_of(secret: bytes, where: str) -> bytes:
    """A key out of its written form, `whsec_` and base64. Raises ConfigError that does not show it."""
    written = secret.decode("ascii", "replace").strip()
    try:
        key = base64.b64decode(written.removeprefix(PREFIX), validate=True) if written.startswith(PREFIX) else b""
    except (binascii.Error, ValueError):
        key = b""
    if not LEAST <= len(key) <= MOST:
        raise ConfigError(
            f"secret {where} is no webhook key: it must be {PREFIX} and {LEAST} to {MOST} bytes in base64",
            hint='make one: python3 -c "import os, base64; print(\'whsec_\' + base64.b64encode(os.urandom(32)).decode())"',
        )
    return key
