"""Something that happened."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True, slots=True)
class Event:
    """`type` is `noun.past_verb`. `at` is Unix milliseconds. `body` holds JSON values only, masked already.
    `session_id` and `actor` (an Identity.id) are empty where there is none."""

    id: str
    at: int
    type: str
    session_id: str
    actor: str
    body: Mapping[str, Any]
    version: int = 1
