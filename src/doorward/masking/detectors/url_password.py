"""The password in a URL's user information (RFC 3986 section 3.2.1), as in connection strings. Only the password is
marked: who and where stay readable."""

from __future__ import annotations

from collections.abc import Iterator

import re2

from doorward.masking.detectors import Detector, Place

_URL = re2.compile(r"[A-Za-z][A-Za-z0-9+.-]{0,31}://[^\s:/@'\"<>\x00-\x1f]*:([^\s/'\"<>\x00-\x1f]+)@")
_STAND_INS = frozenset({b"[password]", b"***", b"****", b"xxx", b"%s", b"?"})


def _find(value: bytes) -> Iterator[Place]:
    for match in _URL.finditer(value):
        if match.group(1) not in _STAND_INS:
            yield match.span(1)


EXAMPLES: tuple[tuple[str, str], ...] = (
    ("postgres://app:hunter2@db.example.org:5432/shop", "hunter2"),
    ("redis://:s3cret@cache/0", "s3cret"),
    ("amqp+ssl://svc:p%40ss@mq:5671", "p%40ss"),
    ("x postgresql://u:a:b@h", "a:b"),
    ("mongodb+srv://u:p@ss@h", "p@ss"),
)
COUNTEREXAMPLES: tuple[str, ...] = (
    "https://example.org:8080/@home",
    "postgres://app@db.example.org/shop",
    "postgres://app:***@db/shop",
    "a://b:c",
    "time 12:30 @ noon",
)
DETECTOR = Detector(
    "url_password",
    "password",
    (r"://[^\s:/@'\"<>\x00-\x1f]*:[^\s/'\"<>\x00-\x1f]+@",),
    _find,
    EXAMPLES,
    COUNTEREXAMPLES,
    needs=b"://",
)
