"""Passwords behind a name that says so: SQL (`PASSWORD 'x'`, `IDENTIFIED BY 'x'`), libpq's `password=x`, JSON.

Only the value is marked. A placeholder (`$1`, `%s`, `?`, `:name`), NULL and a masked value are not passwords.
"""

from __future__ import annotations

from collections.abc import Iterator

import re2

from doorward.masking.detectors import Detector, Place

NAMES = (
    r"(?:passwords?|passwd|passphrase|pgpassword|pwd|identified by|secret|client[_-]?secret|secret[_-]?key|"
    r"api[_-]?key|access[_-]?token|auth[_-]?token|refresh[_-]?token|private[_-]?token)"
)
_LINK = r"[\"']?\s{0,8}(?:(?:=>|:=|==|=|:|\bis\b|\bto\b|\bthen\b)\s{0,8}|\s)(?:\(\s{0,4})?(?:crypt\s{0,4}\(\s{0,4})?"
_QUOTED = r"[eEnN]?'((?:[^']|'')+)(?:'|\z)|\"([^\"]+)(?:\"|\z)"
_ASSIGNED = re2.compile(rf"(?is){NAMES}{_LINK}(?:{_QUOTED})")
_BARE = re2.compile(rf"(?i){NAMES}=([^\s'\",;&()\[\]{{}}$%?:][^\s'\",;&()]{{2,}})")
_MASKED = re2.compile(r"^\s*(?:\[[a-z_,|]{2,64}\]|\*{3,}|null|none|true|false|required|optional|)\s*$")
AFTER_NAME = re2.compile(rf"(?is){NAMES}{_LINK}$")


def _find(value: bytes) -> Iterator[Place]:
    for match in _ASSIGNED.finditer(value):
        group = 1 if match.start(1) >= 0 else 2
        if not _MASKED.search(match.group(group).lower()):
            yield match.span(group)
    for match in _BARE.finditer(value):
        if not _MASKED.search(match.group(1).lower()):
            yield match.span(1)


EXAMPLES: tuple[tuple[str, str], ...] = (
    ("CREATE ROLE bob LOGIN PASSWORD 'hunter2'", "hunter2"),
    ("alter user bob encrypted password 'it''s'", "it''s"),
    ("update u set password = 'hunter2' where id = 1", "hunter2"),
    ("host=db user=app password=hunter2 dbname=shop", "hunter2"),
    ("OPTIONS (user 'x', password 'hunter2')", "hunter2"),
    ('{"api_key": "0123abc"}', "0123abc"),
    ("{'client_secret': 'abc def'}", "abc def"),
    ("PGPASSWORD=hunter2 psql", "hunter2"),
    ("set password = crypt('hunter2', gen_salt('bf'))", "hunter2"),
    ("PASSWORD E'hunter2'", "hunter2"),
)
COUNTEREXAMPLES: tuple[str, ...] = (
    "select password from accounts",
    "where password = $1",
    "password = %s",
    "ALTER ROLE bob PASSWORD NULL",
    "password='[password]'",
    "password_hash text",
    "forgot your password? ask",
    "secretary='x'",
)
DETECTOR = Detector(
    "password",
    "password",
    (rf"(?i){NAMES}{_LINK}[en]?['\"]", rf"(?i){NAMES}=[^\s'\",;&()\[\]{{}}$%?:]"),
    _find,
    EXAMPLES,
    COUNTEREXAMPLES,
)
