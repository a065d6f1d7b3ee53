"""The password in a URL's user information (RFC 3986 section 3.2.1) and in the connection strings that are nearly URLs:
Oracle's JDBC and Easy Connect, Go's MySQL. Only the password is marked: who and where stay readable."""

from __future__ import annotations

from collections.abc import Iterator

import re2

from doorward.masking.detectors import Detector, Place

_URL = re2.compile(r"[A-Za-z][A-Za-z0-9+.-]{0,31}://[^\s:/@'\"<>\x00-\x1f]*:([^\s/'\"<>\x00-\x1f]+)@")
_ORACLE = re2.compile(
    r"(?i)(?:jdbc:oracle:[a-z0-9]{1,10}:|sqlplus\s{1,4}(?:-[a-z]\s{1,4}){0,3})[^\s/@:'\"]{1,128}/([^\s@'\"]{1,256})@"
)
_GO = re2.compile(r"[A-Za-z0-9_.-]{1,64}:([^\s@/'\"()]{1,256})@(?:tcp6?|unix)\(")
_STAND_INS = frozenset({b"[password]", b"***", b"****", b"xxx", b"%s", b"?"})


def _find(value: bytes) -> Iterator[Place]:
    for pattern in (_URL, _ORACLE, _GO):
        for match in pattern.finditer(value):
            if match.group(1) not in _STAND_INS:
                yield match.span(1)


EXAMPLES: tuple[tuple[str, str], ...] = (
    ("postgres://app:hunter2@db.example.org:5432/shop", "hunter2"),
    ("redis://:s3cret@cache/0", "s3cret"),
    ("amqp+ssl://svc:p%40ss@mq:5671", "p%40ss"),
    ("x postgresql://u:a:b@h", "a:b"),
    ("jdbc:oracle:thin:scott/tiger@db.example.org:1521:orcl", "tiger"),
    ("jdbc:postgresql://app:hunter2@db/shop", "hunter2"),
    ("app:hunter2@tcp(db:3306)/shop?parseTime=true", "hunter2"),
    ("mongodb+srv://u:p@ss@h", "p@ss"),
)
COUNTEREXAMPLES: tuple[str, ...] = (
    "https://example.org:8080/@home",
    "postgres://app@db.example.org/shop",
    "postgres://app:***@db/shop",
    "a://b:c",
    "jdbc:oracle:thin:@db.example.org:1521:orcl",
    "dial tcp(10.0.0.1)",
    "time 12:30 @ noon",
)
DETECTOR = Detector(
    "url_password",
    "password",
    (r"://[^\s:/@'\"<>\x00-\x1f]*:[^\s/'\"<>\x00-\x1f]+@", r"(?i)jdbc:oracle:|sqlplus\s|@(?:tcp6?|unix)\("),
    _find,
    EXAMPLES,
    COUNTEREXAMPLES,
    needs=b"@",
)
