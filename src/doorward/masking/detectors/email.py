"""E-mail addresses (RFC 5322 addr-spec without quoted local parts and domain literals; RFC 6531 letters allowed).

Not addresses: `git@` before a repository's path, `package@1.2.3`, `image@2x.png`, the user and password of a URL (the
password has its own detector).
"""

from __future__ import annotations

import re
from collections.abc import Iterator

from doorward.masking.detectors import Detector, Place

_AT = re.compile(rb"[A-Za-z0-9_%+\x80-\xff-]@(?=[A-Za-z0-9\x80-\xff])")
# RFC 5322 allows more in a local part than anybody uses; what stands before is not the address then, the rest is.
_LOCAL = bytes(byte for byte in range(256) if byte >= 0x80 or chr(byte).isalnum() or byte in b"._%+-")
_DOMAIN = re.compile(
    rb"(?:[A-Za-z0-9\x80-\xff][A-Za-z0-9\x80-\xff-]{0,62}\.){1,40}(?:xn--[A-Za-z0-9-]{2,59}|[A-Za-z]{2,24})"
)
_NOT_A_DOMAIN = re.compile(rb"(?:[0-9]+x|[0-9]+\.[0-9]+)[.-]")
# Whom to log in as, not whom to write to. Any other scheme does not make an address less of one.
_USER = re.compile(
    rb"(?i)(?:postgres(?:ql)?|mysql|mariadb|mongodb(?:\+srv)?|rediss?|amqps?|ldaps?|ssh|sftp|ftps?|git(?:\+ssh)?|svn(?:\+ssh)?)://$"
)
_USERINFO = re.compile(rb"://[^\s/@:'\"]*:[^\s/@'\"]*$")


def _find(value: bytes) -> Iterator[Place]:
    done = 0
    for candidate in _AT.finditer(value):
        at = candidate.end() - 1
        if at < done:
            continue
        domain = _DOMAIN.match(value, at + 1)
        if domain is None or _NOT_A_DOMAIN.match(value, at + 1):
            continue
        before = value[max(done, at - 320) : at]
        local = before[len(before.rstrip(_LOCAL)) :].lstrip(b".")
        if not local:
            continue
        end = domain.end()
        if local == b"git" and value[end : end + 1] in (b":", b"/"):
            continue
        if b"://" in before and (_USERINFO.search(before) or _USER.search(before[: len(before) - len(local)])):
            continue
        yield at - len(local), end
        done = end


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
    ("x://bob@example.org", "bob@example.org"),
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
    "postgres://app@db.example.org/shop",
    "git+ssh://deploy@git.example.org/x",
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
    needs=b"@",
)
