"""A value's plain reading: what it says once width variants, look-alike separators and common escapes are undone.

Contract: `DISGUISES` are RE2 patterns, one of which matches any bytes whose plain reading differs in a way that could
hide a detectable value. `plain` gives the reading. Positions are not kept: when only the plain reading holds something
confidential, the whole value is masked.

Undone, up to three deep: JSON and JavaScript escapes (`\\u0031`, surrogate pairs, `\\u{31}`, `\\x31\\x32`), URL escapes
(`%31`, `%u0031`), HTML character references, digits of every script, width and style variants (NFKC), combining marks
on digits, invisible characters, separators of all kinds and widths, digits one by one, Chinese numerals, `(at)` and
`[dot]`. The text in the bytes of a `bytea`, as PostgreSQL writes it in hexadecimal, is read as well.

It deliberately does not undo what a program would have to be told to undo (base64, other hexadecimal, compression, ciphers,
digits as words): lineage and labels answer for those. Nor does it join what stands on several lines.
"""

from __future__ import annotations

import html
import re
import unicodedata

# Decimal digits of other scripts and width variants, superscripts, circled digits; full-width and mathematical letters.
_DIGIT_CODES = tuple(
    code
    for code in (*range(0xB2, 0x3100), *range(0xA620, 0xAC00), *range(0xFF10, 0xFF1A), *range(0x104A0, 0x1FBFA))
    if unicodedata.digit(chr(code), None) is not None
)
_DIGITS = "".join(re.escape(chr(code)) for code in _DIGIT_CODES)
_LETTERS = "\uff21-\uff3a\uff41-\uff5a\uff20\ufe6b\uff0b\U0001d400-\U0001d7ff"
_INVISIBLE = "\u00ad\u034f\u061c\u180e\u200b-\u200f\u202a-\u202e\u2060-\u2064\u2066-\u206f\ufe00-\ufe0f\ufeff"
_MARKS = "\u0300-\u036f\u20d0-\u20ff\ufe00-\ufe0f"
_SPACES = "\u00a0\u1680\u2000-\u200a\u202f\u205f\u3000"
_DASHES = "\u2010-\u2015\u2043\u2212\ufe58\ufe63\uff0d\u30fc"
_POINTS = "\uff0e\u2024\ufe52\u3002\uff61\u00b7"
_CHINESE = "〇零一二三四五六七八九"
# \u escapes of all these: by the first three hexadecimal digits. Surrogate pairs of styled digits are apart.
_ESCAPES = "|".join(sorted({f"{code:04x}"[:3] for code in _DIGIT_CODES if 0x100 <= code <= 0xFFFF}))

DISGUISES: tuple[str, ...] = (
    f"[{_DIGITS}{_LETTERS}]",
    f"[0-9A-Za-z@.+-](?:[{_INVISIBLE}{_SPACES}{_DASHES}{_POINTS}])+[0-9A-Za-z@.]|[0-9][{_MARKS}]|[{_CHINESE}]{{6}}",
    rf"\\u(?i:00[2-7ab]|ff[0-5]|20[0-6]|fe[56]|221|{_ESCAPES})[0-9A-Fa-f]|\\u(?i:d835|d801|d83c\\udd)|\\u\{{[0-9A-Fa-f]{{2,6}}\}}",
    r"\\x[2-7][0-9A-Fa-f]\\x[2-7]|\\U000[01][0-9A-Fa-f]",
    r"%(?:40|3[0-9]|2[05bBdDeEfF]|[46][1-9a-fA-F]|[57][0-9aA]|u00[2-7])",
    r"&#[xX]?[0-9A-Fa-f]{2,8}|&(?:commat|period|plus|lowbar|nbsp|hyphen|dash|colon|sol|amp;#)",
    r"[0-9][ ._-]{2,4}[0-9]{2}",
    r"[0-9](?:[ ._-][0-9]){8}",
    r"(?i)[\[({](?:at|dot)[\])}]",
    r"\\x[0-9A-Fa-f]{16}",
)

_ESCAPED = re.compile(r"(?<!\\)\\+(?:u([0-9A-Fa-f]{4})|u\{([0-9A-Fa-f]{2,6})\}|x([0-9A-Fa-f]{2})|U([0-9A-Fa-f]{8}))")
_PERCENT = re.compile(r"(?:%[0-9A-Fa-f]{2})+|%u([0-9A-Fa-f]{4})")
_ZEROS = re.compile(r"&#0+(?=[0-9])")
_TOO_LARGE = re.compile(r"&#[0-9]{8,};?")
_DROP = re.compile(f"(?<=[0-9])[{_MARKS}{_INVISIBLE}]+|[{_INVISIBLE}]")
_SPACE = re.compile(f"[{_SPACES}]")
_DASH = re.compile(f"[{_DASHES}]")
_POINT = re.compile(f"[{_POINTS}]")
_WIDE = re.compile(r"(?<=[0-9])\s*([ ._-])[ ._-]{1,3}(?=[0-9])")
_SINGLE = re.compile(r"(?<![0-9A-Za-z])[0-9](?:([ ._-])[0-9](?![0-9A-Za-z]))(?:\1[0-9](?![0-9A-Za-z])){7,40}")
_SAID = re.compile(r"(?i)\s{0,2}[\[({](at|dot)[\])}]\s{0,2}")
_NOT_ASCII = re.compile(r"[^\x00-\x7f]")
_OCTETS = re.compile(rb"\\x((?:[0-9A-Fa-f]{2}){8,})")
_READABLE = re.compile(rb"(?:[\x20-\x7e]|[\xc2-\xdf][\x80-\xbf]|[\xe0-\xef][\x80-\xbf]{2}){6,}")
_AN_ESCAPE = 64  # hexadecimal digits; more behind one \\x are octets, and not an escape with digits behind it
_HAN = re.compile(f"[{_CHINESE}]{{6,}}")
_HAN_DIGITS = {ord(character): digit for character, digit in zip(_CHINESE, "00123456789", strict=True)}
_DEEP = 3


def plain(value: bytes) -> bytes:
    """The plain reading of a value, as UTF-8. Bytes that are not UTF-8 become U+FFFD."""
    written = ""
    if b"\\x" in value:
        lines: list[str] = []
        value = _OCTETS.sub(lambda match: _octets(match, lines), value)
        written = "".join(lines)
    text = value.decode("utf-8", "replace")
    for _ in range(_DEEP):
        before = text
        if "\\" in text:
            text = _ESCAPED.sub(_unescaped, text)
            # Surrogate pairs, written as two escapes, are one character.
            text = text.encode("utf-16-le", "surrogatepass").decode("utf-16-le", "replace")
        if "%" in text:
            text = _PERCENT.sub(_unquoted, text)
        if "&" in text:
            # Zeros in front mean nothing, and no character has a number of more than seven digits: unescape would try.
            text = html.unescape(_TOO_LARGE.sub("\ufffd", _ZEROS.sub("&#", text)))
        if text == before:
            break
    text += written
    if not text.isascii():
        text = _SPACE.sub(" ", text)
        text = _DASH.sub("-", text)
        text = _POINT.sub(".", text)
        text = unicodedata.normalize("NFKC", text)
        text = _NOT_ASCII.sub(_digit, text)
        text = _DROP.sub("", text)
        text = _HAN.sub(lambda match: match[0].translate(_HAN_DIGITS), text)
    text = _WIDE.sub(lambda match: match[1], text)
    text = _SINGLE.sub(lambda match: match[0].replace(match[1], ""), text)
    text = _SAID.sub(lambda match: "@" if match[1].lower() == "at" else ".", text)
    return text.encode("utf-8", "replace")


def _octets(match: re.Match[bytes], lines: list[str]) -> bytes:
    """What can be read in the octets of a bytea goes to `lines`, and what else its text may be stays in place."""
    lines += ["\n\n" + run.decode("utf-8", "replace") for run in _READABLE.findall(bytes.fromhex(match[1].decode("ascii")))]
    return match[0] if len(match[1]) <= _AN_ESCAPE else b""


def _unescaped(match: re.Match[str]) -> str:
    code = int(match[1] or match[2] or match[3] or match[4], 16)
    return chr(code) if code < 0x110000 else "\ufffd"


def _unquoted(match: re.Match[str]) -> str:
    if match[1]:
        return chr(int(match[1], 16))
    return bytes.fromhex(match[0].replace("%", "")).decode("utf-8", "replace")


def _digit(match: re.Match[str]) -> str:
    number = unicodedata.digit(match[0], None)
    return match[0] if number is None else str(number)


# A card, an e-mail address, a social security number as they are hidden, and their plain reading.
EXAMPLES: tuple[tuple[str, str], ...] = (
    ("４１１１１１１１１１１１１１１１", "4111111111111111"),
    ("٤١١١١١١١١١١١١١١١", "4111111111111111"),
    ("𝟒𝟏𝟏𝟏𝟏𝟏𝟏𝟏𝟏𝟏𝟏𝟏𝟏𝟏𝟏𝟏", "4111111111111111"),
    ("④①①①①①①①①①①①①①①①", "4111111111111111"),
    ("⁴¹¹¹¹¹¹¹¹¹¹¹¹¹¹¹", "4111111111111111"),
    ("4\ufe0f\u20e31\ufe0f\u20e31\ufe0f\u20e31\ufe0f\u20e3111111111111", "4111111111111111"),
    ("4̶1̶1̶1̶1̶1̶1̶1̶1̶1̶1̶1̶1̶1̶1̶1̶", "4111111111111111"),
    ("四一一一一一一一一一一一一一一一", "4111111111111111"),
    ("4111\u00a01111\u202f1111\u30001111", "4111 1111 1111 1111"),
    ("4111\u20101111\u22121111\uff0d1111", "4111-1111-1111-1111"),
    ("4111\u200b1111\u2060\u20601111\ufeff1111", "4111111111111111"),
    ("4111 - 1111 - 1111 - 1111", "4111-1111-1111-1111"),
    ("4111  1111   1111  1111", "4111 1111 1111 1111"),
    ("4 1 1 1 1 1 1 1 1 1 1 1 1 1 1 1", "4111111111111111"),
    ("4-1-1-1-1-1-1-1-1-1-1-1-1-1-1-1", "4111111111111111"),
    (r"\u0034\u0031\u0031\u0031111111111111", "4111111111111111"),
    (r"\ud835\udfd2\ud835\udfcf\ud835\udfcf\ud835\udfcf111111111111", "4111111111111111"),
    (r"\u0664\u0661\u0661\u0661111111111111", "4111111111111111"),
    (r"\uff14\uff11\uff11\uff11111111111111", "4111111111111111"),
    (r"\x34\x31\x31\x31111111111111", "4111111111111111"),
    (r"\u{34}\u{31}\u{31}\u{31}111111111111", "4111111111111111"),
    (r"4111\u00201111\u00201111\u00201111", "4111 1111 1111 1111"),
    (r"4111\u00a01111\u00a01111\u00a01111", "4111 1111 1111 1111"),
    (r"4111\u20131111\u20131111\u20131111", "4111-1111-1111-1111"),
    ("%34%31%31%31111111111111", "4111111111111111"),
    ("4111%201111%201111%201111", "4111 1111 1111 1111"),
    ("%u0034%u0031%u0031%u0031111111111111", "4111111111111111"),
    ("&#52;&#49;&#49;&#49;111111111111", "4111111111111111"),
    ("&#x34;&#x31;&#x0031;&#x31;111111111111", "4111111111111111"),
    ("4111&nbsp;1111&nbsp;1111&nbsp;1111", "4111 1111 1111 1111"),
    ("bob%40example.org", "bob@example.org"),
    ("bob%2540example.org", "bob@example.org"),
    (r"bob\u0040example.org", "bob@example.org"),
    (r"bob\\u0040example.org", "bob@example.org"),
    ("bob&#64;example&period;org", "bob@example.org"),
    ("bob&amp;#64;example.org", "bob@example.org"),
    ("bob&commat;example.org", "bob@example.org"),
    ("ｂｏｂ＠ｅｘａｍｐｌｅ．ｏｒｇ", "bob@example.org"),
    ("b\u00adob@exa\u200bmple.org", "bob@example.org"),
    ("bob (at) example [dot] org", "bob@example.org"),
    ("bob{AT}example.org", "bob@example.org"),
    ("𝐛𝐨𝐛@𝐞𝐱𝐚𝐦𝐩𝐥𝐞.𝐨𝐫𝐠", "bob@example.org"),
    ("123‑45‑6789", "123-45-6789"),
    ("१२३-४५-६७८९", "123-45-6789"),
)
# What is written so without hiding anything.
COUNTEREXAMPLES: tuple[str, ...] = (
    "naïve café — “quoted” … m² ½ no. 5",
    "100% of 20% is 5%",
    r"\u043f\u0440\u0438\u0432\u0435\u0442",
    r"C:\users\x31\new",
    r"\xdeadbeef00112233445566778899aabbccddeeff",
    r"\x4e6f7468696e6720746f2073656520686572652e",
    "a=1&b=2&c=3",
    "&lt;b&gt; R&amp;D",
    "https://example.org/a%2Fb?q=%D0%BF%D1%80",
    "1 - 2 - 3",
    "1 2 3 4 5 6 7 8 9 10 11 12",
    "二〇二六年十一月二十三日",
    "2026  11  23",
    "7-1-1-1 formation",
    "look (at) this [dot]",
)
