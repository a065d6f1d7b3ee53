"""A signed POST of a batch, one event a line: Standard Webhooks 1.0.0, as notifications are signed (docs/spec/webhook.md).

Contract: what counts as taken is a 2xx. A batch that is sent again has the same `webhook-id`, its first and last leaf.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

from doorward.adapters.export.settings import Reveal
from doorward.adapters.notify.https import Poster
from doorward.adapters.notify.webhook import key_of, signed
from doorward.model import SecretRef


class WebhookDestination:
    """Satisfies `Destination`. `now` is Unix ms."""

    kind = "webhook"

    def __init__(
        self, name: str, url: str, secrets: Sequence[SecretRef], reveal: Reveal, now: Callable[[], int], *, ca: str = ""
    ) -> None:
        self._name, self._url, self._secrets, self._reveal, self._now = name, url, secrets, reveal, now
        self._poster = Poster(ca)

    async def send(self, events: Sequence[tuple[int, bytes]]) -> None:
        keys = [key_of(await self._reveal(reference), str(reference)) for reference in self._secrets]
        body = b"".join(line + b"\n" for _, line in events)
        mark = f"{self._name}-{events[0][0]}-{events[-1][0]}"
        headers = {**signed(mark, self._now() // 1000, body, keys), "content-type": "application/x-ndjson"}
        await self._poster.post(self._url, body, headers)

    async def close(self) -> None:
        pass
