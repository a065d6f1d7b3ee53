"""What Slack and Teams have in common: messages go to an address that is a secret."""

from __future__ import annotations

import asyncio
from abc import ABC, abstractmethod

from doorward.adapters.notify.https import Poster
from doorward.adapters.notify.settings import ChannelSettings, Reveal, checked
from doorward.guard.notices import Notice


class ChatSender(ABC):
    """Satisfies `Sender`."""

    kind: str

    def __init__(self, settings: ChannelSettings, reveal: Reveal) -> None:
        self._settings, self._reveal = settings, reveal
        self._poster = Poster(settings.ca)

    @staticmethod
    @abstractmethod
    def content(notice: Notice) -> bytes:
        """The message, as the vendor wants it: JSON in ASCII."""

    async def send(self, notice: Notice) -> str:
        secret = self._settings.secrets[0]
        url = checked((await self._reveal(secret)).decode("utf-8", "replace").strip(), f"what secret {secret} holds")
        message = await asyncio.to_thread(self.content, notice)  # a vendor's library takes its time when it is first needed
        return await self._poster.post(url, message, {"content-type": "application/json"})
