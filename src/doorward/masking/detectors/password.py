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
_BRACED = re2.compile(rf"(?i){NAMES}=\{{([^{{}}]{{1,256}})\}}")  # ODBC
_SPOKEN = re2.compile(rf"(?i)(?:{NAMES}:\s{{0,4}}|--{NAMES}\s{{1,4}})([^\s'\",;&()\[\]{{}}$%?:<>]{{6,}})")  # YAML, options
AFTER_NAME = re2.compile(rf"(?is){NAMES}{_LINK}$")


def _find(value: bytes) -> Iterator[Place]:
    for match in _ASSIGNED.finditer(value):
        group = 1 if match.start(1) >= 0 else 2
        if not _MASKED.search(match.group(group).lower()):
            yield match.span(group)
    for pattern in (_BARE, _BRACED):
        for match in pattern.finditer(value):
            if not _MASKED.search(match.group(1).lower()):
                yield match.span(1)
    for match in _SPOKEN.finditer(value):
        if _chosen(match.group(1)):
            yield match.span(1)


def _chosen(word: bytes) -> bool:
    """Where nothing but a colon or a space tells a password from the next word of a sentence: digits and letters."""
    return any(0x30 <= byte <= 0x39 for byte in word) and any(byte > 0x40 for byte in word)


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
    ("Server=db;Uid=app;Pwd=hunter2;Database=shop", "hunter2"),
    ("Driver=x;UID=app;PWD={hunter;2};", "hunter;2"),
    ("jdbc:mysql://db/shop?user=app&password=hunter2&useSSL=true", "hunter2"),
    ("db:\n  password: hunter22\n", "hunter22"),
    ("mysqldump --password hunter22 shop", "hunter22"),
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
    "password: required",
    "--password prompt",
    "password=***",
    "password: ${DB_PASSWORD}",
)
DETECTOR = Detector(
    "password",
    "password",
    (rf"(?i){NAMES}{_LINK}[en]?['\"]", rf"(?i){NAMES}=[^\s'\",;&()\[\]$%?:]",
     rf"(?i)(?:{NAMES}:\s{{0,4}}|--{NAMES}\s{{1,4}})[^\s'\",;&()\[\]{{}}$%?:<>]{{6}}"),
    _find,
    EXAMPLES,
    COUNTEREXAMPLES,
)
