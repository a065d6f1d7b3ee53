"""A value's plain reading: what it says once width variants, look-alike separators and common escapes are undone.

Contract: `DISGUISES` are RE2 patterns, one of which matches any bytes whose plain reading differs in a way that could
hide a detectable value. `plain` gives the reading. Positions are not kept: when only the plain reading holds something
confidential, the whole value is masked.

It deliberately does not undo what a program would have to be told to undo (base64, compression, ciphers): lineage and
labels answer for those.
"""

from __future__ import annotations

import html
import re
import unicodedata

# Decimal digits of other scripts and width variants, superscripts, circled digits; full-width and mathematical letters.
_DIGITS = "".join(
    re.escape(chr(code))
    for code in (*range(0xB2, 0x3100), *range(0xA620, 0xAC00), *range(0xFF10, 0xFF1A), *range(0x104A0, 0x1FBFA))
    if unicodedata.digit(chr(code), None) is not None
)
_LETTERS = "\uff21-\uff3a\uff41-\uff5a\uff20\ufe6b\uff0b\U0001d400-\U0001d7ff"
_INVISIBLE = "\u00ad\u034f\u061c\u180e\u200b-\u200f\u202a-\u202e\u2060-\u2064\u2066-\u206f\ufe00-\ufe0f\ufeff"
_SPACES = "\u00a0\u1680\u2000-\u200a\u202f\u205f\u3000"
_DASHES = "\u2010-\u2015\u2043\u2212\ufe58\ufe63\uff0d\u30fc"
_POINTS = "\uff0e\u2024\ufe52\u3002\uff61\u00b7"

DISGUISES: tuple[str, ...] = (
    f"[{_DIGITS}{_LETTERS}]",
    f"[0-9A-Za-z@.+-](?:[{_INVISIBLE}{_SPACES}{_DASHES}{_POINTS}])+[0-9A-Za-z@.]",
    r"\\u00[2-7][0-9A-Fa-f]|\\u(?:ff[0-5]|20[0-6]|00[aA])",
    r"%(?:40|3[0-9]|2[0bBdDeEfF]|[46][1-9a-fA-F]|[57][0-9aA])",
    r"&#[xX]?[0-9A-Fa-f]{2,6};|&(?:commat|period|plus|lowbar|nbsp|hyphen|dash);",
    r"[0-9][ ._-]{2,4}[0-9]{2}",
)

_ESCAPED = re.compile(r"\\u([0-9A-Fa-f]{4})")
_PERCENT = re.compile(r"(?:%[0-9A-Fa-f]{2})+")
_DROP = re.compile(f"[{_INVISIBLE}]")
_SPACE = re.compile(f"[{_SPACES}]")
_DASH = re.compile(f"[{_DASHES}]")
_POINT = re.compile(f"[{_POINTS}]")
_WIDE = re.compile(r"(?<=[0-9])\s*([ ._-])[ ._-]{1,3}(?=[0-9])")
_NOT_ASCII = re.compile(r"[^\x00-\x7f]")


def plain(value: bytes) -> bytes:
    """The plain reading of a value, as UTF-8. Bytes that are not UTF-8 become U+FFFD."""
    text = value.decode("utf-8", "replace")
    if "\\u" in text:
        text = _ESCAPED.sub(lambda match: chr(int(match[1], 16)), text)
    if "%" in text:
        text = _PERCENT.sub(lambda match: bytes.fromhex(match[0].replace("%", "")).decode("utf-8", "replace"), text)
    if "&" in text:
        text = html.unescape(text)
    if not text.isascii():
        text = _DROP.sub("", text)
        text = _SPACE.sub(" ", text)
        text = _DASH.sub("-", text)
        text = _POINT.sub(".", text)
        text = unicodedata.normalize("NFKC", text)
        text = _NOT_ASCII.sub(_digit, text)
    text = _WIDE.sub(lambda match: match[1], text)
    return text.encode("utf-8", "replace")


def _digit(match: re.Match[str]) -> str:
    number = unicodedata.digit(match[0], None)
    return match[0] if number is None else str(number)
