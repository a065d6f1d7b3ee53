"""The target's own account of who was connected: PostgreSQL's server log, as csvlog or jsonlog writes it.

Contract: lines go in, connections come out: who, from where, by which process, from when to when, and how many statements of
theirs the log has (of `log_statement`, of `log_min_duration_statement`, or of pgaudit). No statement comes out, and nothing
else that a client could put a value into but its role, its database and the name that it gave itself. Connections that did not
get past authentication are left out: they are not sessions. What is no line of such a log is counted and left out.

Source: PostgreSQL 18, 19.8.4 "Using CSV-Format Log Output", 19.8.5 "Using JSON-Format Log Output"; pgaudit, "Format".
"""

from __future__ import annotations

import csv
import json
import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from typing import Final

MOST_SESSIONS: Final = 1_000_000
LONGEST_NAME: Final = 256  # characters of a role, a database, an address or an application
MOST_NAMES: Final = 20  # that one connection gave itself
LONGEST_LINE: Final = 32 << 20  # characters; a statement may be as long as a message

_SESSION: Final = re.compile(r"([0-9a-f]{1,16})\.([0-9a-f]{1,8})", re.ASCII)
_STATEMENT: Final = re.compile(r"statement: |execute [^:]*: |duration: [0-9.]+ ms  (?:statement|execute)|AUDIT: ", re.ASCII)
_AUTHORIZED: Final = re.compile(r"connection authorized: .*? application_name=(.*?)(?: SSL enabled \(.*| GSS \(.*)?", re.S)
_EARLY: Final = ("connection received:", "connection authenticated:")  # said of who may yet be turned away
_COLUMNS: Final = 24  # of csvlog, in PostgreSQL 13; later ones have more


@dataclass(slots=True)
class Connection:
    """One backend process of the target. Times are Unix seconds; `last` is that of the last line about it, as far as its time
    could be read, else `started`. `applications` are the names that the client gave itself, in their order."""

    pid: int
    started: int
    role: str = ""
    database: str = ""
    client: str = ""
    applications: list[str] = field(default_factory=list)
    statements: int = 0
    admitted: bool = False


class ServerLog:
    """Feed lines; ask for `connections` then. ValueError when there are more than `MOST_SESSIONS`."""

    def __init__(self) -> None:
        self._found: dict[str, Connection] = {}
        self.lines = 0
        self.unread = 0

    def read(self, lines: Iterable[str]) -> None:
        """One file, from its beginning: its first character says which of the two formats it has."""
        lines = iter(lines)
        first = next(lines, "")
        if first.lstrip().startswith("{"):
            self._json(first)
            for line in lines:
                self._json(line)
            return
        csv.field_size_limit(LONGEST_LINE)
        rows = csv.reader(_chain(first, lines), strict=True)
        while True:
            try:
                row = next(rows)
            except StopIteration:
                return
            except csv.Error:
                self.lines += 1
                self.unread += 1
                continue
            if row:
                self._csv(row)

    @property
    def connections(self) -> list[Connection]:
        """Those of clients that were let in, by when they began."""
        return sorted((each for each in self._found.values() if each.admitted), key=lambda each: (each.started, each.pid))

    def _json(self, line: str) -> None:
        if not line.strip():
            return
        self.lines += 1
        try:
            said = json.loads(line)
        except (ValueError, RecursionError):
            said = None
        if not isinstance(said, dict):
            self.unread += 1
            return
        host, port = said.get("remote_host"), said.get("remote_port")
        self._line(
            str(said.get("session_id", "")), str(said.get("user") or ""), str(said.get("dbname") or ""),
            f"{host}:{port}" if host and port else str(host or ""), str(said.get("error_severity", "")),
            str(said.get("message", "")), str(said.get("application_name") or ""), str(said.get("backend_type") or ""),
        )  # fmt: skip

    def _csv(self, row: list[str]) -> None:
        self.lines += 1
        if len(row) < _COLUMNS:
            self.unread += 1
            return
        self._line(row[5], row[1], row[2], row[4], row[11], row[13], row[22], row[23])

    def _line(
        self, session: str, role: str, database: str, client: str, severity: str, message: str, application: str, kind: str
    ) -> None:
        matched = _SESSION.fullmatch(session)
        if matched is None:
            self.unread += 1
            return
        if not role or kind not in ("", "client backend"):
            return  # of the server itself, or of somebody who has not said who they are
        known = self._found.get(session)
        if known is None:
            if len(self._found) >= MOST_SESSIONS:
                raise ValueError(f"the log has more than {MOST_SESSIONS:,} connections: give it in parts")
            known = self._found[session] = Connection(int(matched[2], 16), int(matched[1], 16))
        known.role, known.database = role[:LONGEST_NAME], database[:LONGEST_NAME]
        known.client = client[:LONGEST_NAME] or known.client
        if severity not in ("FATAL", "PANIC") and not message.startswith(_EARLY):
            known.admitted = True
        if _STATEMENT.match(message):
            known.statements += 1
        names = [application, matched[1]] if (matched := _AUTHORIZED.fullmatch(message)) else [application]
        for name in (each[:LONGEST_NAME] for each in names):
            if name and name not in known.applications and len(known.applications) < MOST_NAMES and name != "[unknown]":
                known.applications.append(name)


def _chain(first: str, rest: Iterator[str]) -> Iterator[str]:
    yield first
    yield from rest
