"""An Adaptive Card to Microsoft Teams, through a workflow ("when a webhook request is received").

Contract: apprise makes the card, since its form is Microsoft's and changes; the facts and the button are added. A TextBlock
knows some Markdown, so everything in one is `harmless` already (`guard.notices`). The button opens the page (`Action.OpenUrl`)
and is nothing else.
"""

from __future__ import annotations

import asyncio
import json
from typing import Any

from doorward.adapters.notify.https import Poster
from doorward.adapters.notify.settings import ChannelSettings, Reveal, checked
from doorward.guard.notices import ADVICE, Notice


class TeamsSender:
    """Satisfies `Sender`. The workflow's address is a secret."""

    kind = "teams"

    def __init__(self, settings: ChannelSettings, reveal: Reveal) -> None:
        self._settings, self._reveal = settings, reveal
        self._poster = Poster(settings.ca)

    async def send(self, notice: Notice) -> str:
        secret = self._settings.secrets[0]
        url = checked((await self._reveal(secret)).decode("utf-8", "replace").strip(), f"what secret {secret} holds")
        message = await asyncio.to_thread(content, notice)
        return await self._poster.post(url, message, {"content-type": "application/json"})


def content(notice: Notice) -> bytes:
    """The message."""
    from apprise.plugins.workflows import NotifyWorkflows  # half a second, when something is to be said

    # It wants to know where to post; it is not asked to.
    maker: Any = NotifyWorkflows
    message = maker(workflow="none", signature="none", include_image=False, host="localhost").gen_payload(ADVICE, notice.title)
    card = message["attachments"][0]["content"]
    facts = [{"title": name, "value": value} for name, value in notice.facts]
    card["body"][1:1] = [{"type": "FactSet", "facts": facts}] if facts else []
    card["actions"] = [{"type": "Action.OpenUrl", "title": "Look and decide", "url": notice.link}]
    return json.dumps(message, separators=(",", ":")).encode("ascii")
