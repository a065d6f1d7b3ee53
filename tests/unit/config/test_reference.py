"""The reference of settings."""

from __future__ import annotations

from dataclasses import fields
from pathlib import Path

from doorward.config.reference import reference, replaced
from doorward.config.settings import Limits

PAGE = Path(__file__).parents[3] / "docs" / "guides" / "configuration.md"


def test_every_setting_is_documented_as_it_is() -> None:
    """docs/guides/configuration.md holds what the code says; `python -m doorward.config.reference` mends it."""
    page = PAGE.read_text(encoding="utf-8")
    assert replaced(page) == page


def test_the_reference_names_settings_with_their_defaults() -> None:
    """Not an empty table that equals another empty table."""
    text = reference()
    assert '| `session` | How long a session may last. | a time from "1m" to "30d" (s, m, h, d) | `"8h"` |' in text
    assert all(f"| `{spec.name}` |" in text for spec in fields(Limits))
    assert "### `[[issuers.kinds]]`" in text
    assert "| `in` |" in text
