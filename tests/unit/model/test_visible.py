"""What a person decides by is what is there."""

from __future__ import annotations

import sys
import unicodedata

import pytest
from hypothesis import given
from hypothesis import strategies as st

from doorward.model.visible import harmless, named, pieces, visible

SPELLED = [
    ("a\rb", r"a\rb"), ("a\x1b[2Kb", r"a\x1b[2Kb"), ("a\x00b", r"a\x00b"), ("a\u202eb", r"a\u202eb"), ("a\u2066b", r"a\u2066b"),
    ("a\u200bb", r"a\u200bb"), ("a\u200db", r"a\u200db"), ("a\ufeffb", r"a\ufeffb"), ("a\u00a0b", r"a\xa0b"),
    ("a\u3000b", r"a\u3000b"), ("a\u2028b", r"a\u2028b"), ("a\u0085b", r"a\x85b"), ("a\u115fb", r"a\u115fb"),
    ("a\U000e0041b", r"a\U000e0041b"), ("a\ud800b", r"a\ud800b"), ("a\ue000b", r"a\ue000b"), ("a\u00adb", r"a\xadb"),
    ("a\u061cb", r"a\u061cb"), ("a\u0336b", r"a\u0336b"), ("a\u20ddb", r"a\u20ddb"), ("a\u2800b", r"a\u2800b"),
    ("a\x9b31mb", r"a\x9b31mb"),
]  # fmt: skip


@pytest.mark.parametrize(("text", "shown"), SPELLED)
def test_what_is_not_seen_as_itself_is_spelled(text: str, shown: str) -> None:
    """Control, direction, zero-width, blank, private, unpaired and overlaid characters, each by its escape; set apart."""
    assert visible(text) == visible(text, lines=True) == shown
    assert [piece.kind for piece in pieces(text) if piece.text not in ("a", "b", "[2Kb", "31mb")] == ["spelled"]


def test_lines_stay_lines_where_a_statement_is_shown() -> None:
    """Newlines and tabs, and no other break."""
    assert visible("a\n\tb\r\nc", lines=True) == "a\n\tb\\r\nc"
    assert visible("a\n\tb") == r"a\n\tb"


@pytest.mark.parametrize(
    ("text", "alike"),
    [
        ("customers", []), ("straße naïve Łódź", []), ("東京 δοκιμή привет", []), ("κόσμος", []),
        ("сustomers", ["с"]), ("orders_аrchive", ["а"]), ("ѕсоре", ["ѕсоре"]), ("ｄｒｏｐ", ["ｄｒｏｐ"]), ("𝐝rop", ["𝐝"]),
        ("a\u037e b", ["\u037e"]), ("it\u2019s", ["\u2019"]), ("a \u2212\u2212 b", ["\u2212\u2212"]), ("`a`", []),
        ("οrders", ["ο"]), ("paypaӏ", ["ӏ"]), ("１０", ["１０"]),
    ],
)  # fmt: skip
def test_what_looks_like_something_else_is_marked(text: str, alike: list[str]) -> None:
    """A letter of another script in a Latin word, a whole word that imitates one, punctuation that is not SQL's; and no
    word that is honestly of another language."""
    assert [piece.text for piece in pieces(text) if piece.kind == "alike"] == alike


@given(st.text(st.characters(codec=None)), st.booleans())
def test_any_text_is_shown_whole_and_harmless(text: str, lines: bool) -> None:
    """Pieces join to what `visible` gives; nothing in it is of a spelled category; and it is not shorter."""
    shown = visible(text, lines=lines)
    assert "".join(piece.text for piece in pieces(text, lines=lines)) == shown
    left = {c for c in shown if unicodedata.category(c) in ("Cc", "Cf", "Cs", "Co", "Cn", "Zl", "Zp")}
    assert left <= ({"\n", "\t"} if lines else set())
    assert len(shown) >= len(text)


def test_every_code_point_has_an_appearance() -> None:
    """None raises, and each is itself or an escape."""
    for code in range(sys.maxunicode + 1):
        shown = visible(chr(code))
        assert shown == chr(code) or shown.startswith("\\")


def test_a_character_has_a_name() -> None:
    """For the page's titles."""
    assert named("а") == "U+0430 CYRILLIC SMALL LETTER A"
    assert named("\x1b") == "U+001B"


NAMES = [
    ("alice@example.com", "alice@example.com"), ("system:serviceaccount:ns:svc_orders", "system:serviceaccount:ns:svc_orders"),
    ("repo:acme/shop:ref:refs/heads/main", "repo:acme/shop:ref:refs/heads/main"), ("v1.2.3", "v1.2.3"), ("`x`", r"\x60x\x60"),
    ("<at>all</at>", r"\x3cat\x3eall\x3c/at\x3e"), ("@here", r"\x40here"), ("<@U123>", r"\x3c\x40U123\x3e"),
    ("*b* ~~s~~", r"\x2ab\x2a \x7e\x7es\x7e\x7e"), ("<!channel> a", r"\x3c!channel\x3e a"), ("&lt;", r"\x26lt;"),
    ("[ok](https://evil.test)", r"\x5bok\x5d(https\x3a//evil\x2etest)"), ("www.evil.test", r"www\x2eevil\x2etest"),
    ("_it_ a_b", r"\x5fit\x5f a_b"), ("\u0430lice", r"\u0430lice"), ("a\u202eb\nc\r\x1b", r"a\u202eb\nc\r\x1b"),
    (r"\x2a", r"\x5cx2a"), ("a@evil.test/approve", r"a@evil\x2etest/approve"), ("# big", r"\x23 big"),
    ("\uff1c!here\uff1e", r"\uff1c!here\uff1e"),
]  # fmt: skip


@pytest.mark.parametrize(("text", "shown"), NAMES)
def test_a_name_in_a_message_is_nothing_but_a_name(text: str, shown: str) -> None:
    """No mention, link, emphasis, entity or heading; what looks like something else, or like nothing, is spelled."""
    assert harmless(text) == shown


@given(st.text(st.characters(codec=None)))
def test_any_name_in_a_message_is_harmless(text: str) -> None:
    """On one line, bounded, of letters that are themselves; and none of the characters that a message is made of."""
    shown = harmless(text, 40)
    assert len(shown) <= 40 * 10 + 3
    assert visible(shown) == shown
    assert not set("<>[]*~`&#\n\r") & set(shown)
    assert not any(piece.kind for piece in pieces(shown))
    assert "://" not in shown
