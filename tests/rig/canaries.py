"""Planted values, and how to find them in whatever spelling they come out.

Contract: `spellings(value)` is every reversible encoding of a text that PostgreSQL's own functions make of it and that can
be looked for as bytes; `leaks(haystack, values)` names what of it is there. A canary is a text that stands nowhere else, of
at least sixteen characters, so that no spelling is there by chance.
"""

from __future__ import annotations

import base64
import hashlib
import json
import urllib.parse
from functools import cache

import re2

_WIDE = {code: code + 0xFEE0 for code in range(0x21, 0x7F)}  # full-width forms of ASCII
_FOLDED = frozenset({"raw", "url", "reversed", "spaced", "full-width"})


@cache
def spellings(value: str) -> dict[str, bytes]:
    """A value as it might come out all the same."""
    raw = value.encode()
    # base64 of a longer text shows three different faces of what it contains
    faces = {f"base64+{skip}": base64.b64encode(b"\0" * skip + raw)[4 if skip else 0 : -4] for skip in range(3)}
    letters = list(value)
    codes = [str(ord(letter)) for letter in letters]
    return {
        "raw": raw,
        "hex": raw.hex().encode(),
        "HEX": raw.hex().upper().encode(),
        "reversed": raw[::-1],
        "reversed hex": raw[::-1].hex().encode(),
        "utf-16": value.encode("utf-16-le"),
        "utf-16-be": value.encode("utf-16-be"),
        "url": urllib.parse.quote(value, safe="").encode(),
        "url, all of it": "".join(f"%{byte:02x}" for byte in raw).encode(),
        "json, escaped": "".join(f"\\u{ord(letter):04x}" for letter in letters).encode(),
        "octal": "".join(f"\\{byte:03o}" for byte in raw).encode(),
        "entities": "".join(f"&#{code};" for code in codes).encode(),
        "full-width": value.translate(_WIDE).encode(),
        "spaced": " ".join(letters).encode(),
        "one a line": "\n".join(letters).encode(),
        "array": ",".join(letters).encode(),
        "json array": json.dumps(letters).encode()[1:-1],
        "json array, tight": json.dumps(letters, separators=(",", ":")).encode()[1:-1],
        "binary array": b"".join(b"\0\0\0\1" + letter.encode() for letter in letters),
        "codes": " ".join(codes).encode(),
        "codes in an array": ",".join(codes).encode(),
        "bits": "".join(f"{byte:08b}" for byte in raw).encode(),
        "md5": hashlib.md5(raw, usedforsecurity=False).hexdigest().encode(),
        "md5 as bytes": hashlib.md5(raw, usedforsecurity=False).digest(),
        "sha256": hashlib.sha256(raw).hexdigest().encode(),
        "sha256 as bytes": hashlib.sha256(raw).digest(),
        "rot13": value.translate(_ROT13).encode(),
        **{name: face.rstrip(b"=") for name, face in faces.items()},
    }


@cache
def _any(values: tuple[str, ...]) -> re2._Regexp[bytes]:
    """Every spelling of every value at once: one look at each byte, however many there are."""
    options = re2.Options()
    options.max_mem = 1 << 29
    options.encoding = re2.Options.Encoding.LATIN1
    needles = [
        (b"(?i:%s)" if how in _FOLDED else b"%s") % re2.escape(needle)
        for value in values
        for how, needle in spellings(value).items()
    ]
    return re2.compile(b"|".join(needles), options)


_ROT13 = {
    ord(base) + place: ord(base) + (place + 13) % 26 for base in "aA" for place in range(26)
}  # what translate() does for whoever wants to be clever


def leaks(haystack: bytes, values: dict[str, str]) -> list[str]:
    """What of `values` (name: value) is in these bytes, and how it is spelt there."""
    if not _any(tuple(values.values())).search(haystack):
        return []
    folded = haystack.lower()
    return [
        f"{name} as {how}"
        for name, value in values.items()
        for how, needle in spellings(value).items()
        if (needle.lower() in folded if how in _FOLDED else needle in haystack)
    ]
