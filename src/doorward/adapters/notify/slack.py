"""A message to Slack, through an incoming webhook of an app of yours.

Contract: names are in `plain_text` objects, where Slack makes neither formatting nor mentions of anything; the text that is
shown where blocks are not has its `&<>` escaped (Slack, "Formatting text"). The button opens the page and is nothing else:
whatever Slack sends anywhere when it is pressed, nobody here listens.
"""

from __future__ import annotations

import json

from doorward.adapters.notify.chat import ChatSender
from doorward.guard.notices import ADVICE, Notice

_FIELDS = 10  # that one section may have
_LONGEST = {"header": 150, "field": 2000, "url": 3000}


class SlackSender(ChatSender):
    """See the module."""

    kind = "slack"

    @staticmethod
    def content(notice: Notice) -> bytes:
        """The message."""
        # The library knows what blocks look like and how long they may be; it is read from disk when something is to be said.
        from slack_sdk.models.blocks import (
            ActionsBlock,
            Block,
            ContextBlock,
            HeaderBlock,
            LinkButtonElement,
            PlainTextObject,
            SectionBlock,
        )

        def words(text: str, kind: str = "field") -> PlainTextObject:
            return PlainTextObject(text=text[: _LONGEST[kind]], emoji=False)

        blocks: list[Block] = [HeaderBlock(text=words(notice.title, "header"))]
        if notice.facts:
            blocks.append(SectionBlock(fields=[words(f"{name}\n{value}") for name, value in notice.facts[:_FIELDS]]))
        blocks.append(ActionsBlock(elements=[LinkButtonElement(text=words("Look and decide"), url=notice.link)]))
        blocks.append(ContextBlock(elements=[words(ADVICE)]))
        for block in blocks:
            block.validate_json()
        shown = notice.title.replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;")
        message = {
            "text": shown, "mrkdwn": False, "unfurl_links": False, "unfurl_media": False,
            "blocks": [block.to_dict() for block in blocks],
        }  # fmt: skip
        return json.dumps(message, separators=(",", ":")).encode("ascii")
