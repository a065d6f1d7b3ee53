"""Whether a refusal of a token is explained in docs/guides/identity.md."""

from __future__ import annotations

import re
from functools import cache
from pathlib import Path

_GUIDE = Path(__file__).parents[2] / "docs" / "guides" / "identity.md"


@cache
def _explained() -> tuple[re.Pattern[str], ...]:
    messages = re.findall(r"^\| `([^`]+)` \|", _GUIDE.read_text(encoding="utf-8"), re.M)
    return tuple(re.compile(re.escape(message).replace("…", ".*") + r"\Z", re.S) for message in messages)


def documented(message: str) -> bool:
    """Whether some row of the guide's table is this message, `…` standing for anything."""
    return any(pattern.match(message) for pattern in _explained())
