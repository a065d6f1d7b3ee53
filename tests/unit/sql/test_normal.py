"""Literals and comments are found where the server's scanner finds them."""

from __future__ import annotations

import pytest

from doorward.sql.normal import literals
from doorward.sql.parse import Unparsable


@pytest.mark.parametrize(
    ("text", "found"),
    [
        (
            "select 'a''b', E'x\\'y', 12, 1.5",
            [("string", "'a''b'"), ("string", "E'x\\'y'"), ("number", "12"), ("number", "1.5")],
        ),
        ("select $t$ ' $t$, b'01', \"not one\"", [("string", "$t$ ' $t$"), ("bits", "b'01'")]),
        ("select 'é', 'x' -- 'c'", [("string", "'é'"), ("string", "'x'"), ("comment", "-- 'c'")]),
        ("select 'a'\n 'b' /* 'c' /* */ */", [("string", "'a'\n 'b'"), ("comment", "/* 'c' /* */ */")]),
        ("select $1, null, true", []),
    ],
)
def test_literals(text: str, found: list[tuple[str, str]]) -> None:
    """Offsets are in bytes of UTF-8, and cut the literal out exactly."""
    encoded = text.encode()
    assert [(each.kind, encoded[each.offset : each.offset + each.length].decode()) for each in literals(text)] == found


@pytest.mark.parametrize("text", ["select 'x", "select /* x", "select 1\0"])
def test_unscannable(text: str) -> None:
    """A text without a certain end of its literals is refused."""
    with pytest.raises(Unparsable):
        literals(text)
