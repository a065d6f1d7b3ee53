"""E-mail addresses (RFC 5322 addr-spec without quoted local parts and domain literals; RFC 6531 letters allowed).

Not addresses: `git@` before a repository's path, `package@1.2.3`, `image@2x.png`, the user and password of a URL (the
password has its own detector).
"""

from __future__ import annotations

from collections.abc import Iterator

import re2

from doorward.masking.detectors import Detector, Place

_ADDRESS = re2.compile(
    r"[A-Za-z0-9._%+&~=/!#$*?^`{|}\x{80}-\x{10ffff}-]*[A-Za-z0-9_+\x{80}-\x{10ffff}-]"
    r"@((?:[A-Za-z0-9\x{80}-\x{10ffff}](?:[A-Za-z0-9\x{80}-\x{10ffff}-]{0,62})\.)+(?:xn--[A-Za-z0-9-]{2,59}|[A-Za-z]{2,24}))"
)
# RFC 5322 allows more in a local part than anybody uses; what is left of such a character is not the address.
_LOCAL = re2.compile(r"[A-Za-z0-9_%+\x{80}-\x{10ffff}-](?:[A-Za-z0-9._%+\x{80}-\x{10ffff}-]*)$")
_NOT_A_DOMAIN = re2.compile(r"^(?:[0-9]+x|[0-9]+\.[0-9]+)[.-]")
_USERINFO = re2.compile(r"[A-Za-z][A-Za-z0-9+.-]*://[^\s/@:'\"]*:[^\s/@'\"]*$")


def _find(value: bytes) -> Iterator[Place]:
    for match in _ADDRESS.finditer(value):
        start, end = match.span()
        at = match.start(1) - 1
        local = _LOCAL.search(value[max(start, at - 320) : at])
        if local is None:
            continue
        start = at - len(local.group())
        if _NOT_A_DOMAIN.search(match.group(1)):
            continue
        if local.group() == b"git" and value[end : end + 1] in {b":", b"/"}:
            continue
        if _USERINFO.search(value[max(0, start - 256) : at]):
            continue
        yield start, end


EXAMPLES: tuple[tuple[str, str], ...] = (
    ("bob@example.org", "bob@example.org"),
    ("Bob <bob.smith+tag@mail.example.co.uk>, hi", "bob.smith+tag@mail.example.co.uk"),
    ("mailto:bob@example.org?subject=x", "bob@example.org"),
    ("{a@example.org}", "a@example.org"),
    ("where email = 'o_b@example.com'", "o_b@example.com"),
    ("müller@example.de", "müller@example.de"),
    ("x@bücher.example", "x@bücher.example"),
    ("x@xn--bcher-kva.example", "x@xn--bcher-kva.example"),
    ("x@example.xn--p1ai", "x@example.xn--p1ai"),
    ("end bob@example.org.", "bob@example.org"),
    ("123@example.com", "123@example.com"),
    ("k=bob@example.org", "bob@example.org"),
    ("https://example.org/?u=bob@example.org", "bob@example.org"),
)
COUNTEREXAMPLES: tuple[str, ...] = (
    "bob@localhost",
    "@example.org",
    "git@github.com:org/repository.git",
    "ssh://git@example.com/x.git",
    "left-pad@1.3.0-beta.rc",
    "logo@2x.png",
    "a @> b",
    "SELECT '{}'::jsonb @> x.y",
    "postgres://app:pw@db.example.org/shop",
    "decorator @property.setter",
    "2024-11-23 06:30:00",
)
DETECTOR = Detector(
    "email",
    "email",
    (r"[A-Za-z0-9_+\x{80}-\x{10ffff}-]@[A-Za-z0-9\x{80}-\x{10ffff}][A-Za-z0-9.\x{80}-\x{10ffff}-]*\.(?:[A-Za-z]{2}|xn--)",),
    _find,
    EXAMPLES,
    COUNTEREXAMPLES,
)
