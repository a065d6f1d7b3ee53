"""An Adaptive Card to Microsoft Teams, through a workflow ("when a webhook request is received").

Contract: apprise makes the card, since its form is Microsoft's and changes; the facts and the button are added. A TextBlock
knows some Markdown, so everything in one is `harmless` already (`guard.notices`). The button opens the page (`Action.OpenUrl`)
and is nothing else.
"""

from __future__ import annotations

import json
from typing import Any

from doorward.adapters.notify.chat import ChatSender
from doorward.guard.notices import ADVICE, Notice


class TeamsSender(ChatSender):
    """See the module."""

    kind = "teams"

    @staticmethod
    def content(notice: Notice) -> bytes:
        """The message."""
        from apprise.plugins.workflows import NotifyWorkflows  # half a second, when something is to be said

        # It wants to know where to post; it is not asked to.
        maker: Any = NotifyWorkflows
        made = maker(workflow="none", signature="none", include_image=False, host="localhost")
        message = made.gen_payload(ADVICE, notice.title)
        card = message["attachments"][0]["content"]
        facts = [{"title": name, "value": value} for name, value in notice.facts]
        card["body"][1:1] = [{"type": "FactSet", "facts": facts}] if facts else []
        card["actions"] = [{"type": "Action.OpenUrl", "title": "Look and decide", "url": notice.link}]
        return json.dumps(message, separators=(",", ":")).encode("ascii")
