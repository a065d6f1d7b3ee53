"""The target's server log, as csvlog and as jsonlog: connections come out, and no statement."""

from __future__ import annotations

import csv
import io
import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from doorward.protocols.postgres import account
from doorward.protocols.postgres.account import Connection, ServerLog

START, PID = 0x6738A2C1, 0x1F40
SESSION = f"{START:x}.{PID:x}"
AUTHORIZED = "connection authorized: user=app database=shop application_name=first one"
LINE_FROM = {"remote_host": "10.0.0.9", "remote_port": 5000}
LINES: list[dict[str, Any]] = [
    {"message": "connection received: host=10.0.0.9 port=5000", "remote_host": "10.0.0.9", "remote_port": 5000},
    {"user": "app", "dbname": "shop", "message": 'connection authenticated: identity="app" method=scram-sha-256'},
    {"user": "app", "dbname": "shop", "message": f"{AUTHORIZED} SSL enabled (protocol=TLSv1.3)", **LINE_FROM},
    {"user": "app", "dbname": "shop", "message": "statement: SELECT '4111 1111 1111 1111',\n 1", "application_name": "psql"},
    {"user": "app", "dbname": "shop", "message": "execute s1: SELECT 2", "application_name": "doorward x"},
    {"user": "app", "dbname": "shop", "message": "AUDIT: SESSION,1,1,READ,SELECT,,,SELECT 3", "application_name": "psql"},
    {"user": "app", "dbname": "shop", "error_severity": "ERROR", "message": 'relation "x" does not exist'},
]  # fmt: skip
FOUND = Connection(
    PID, START, "app", "shop", "10.0.0.9:5000", ["first one", "psql", "doorward x"], statements=3, admitted=True
)  # fmt: skip


def as_json(lines: list[dict[str, Any]]) -> str:
    return "".join(
        json.dumps({"session_id": SESSION, "error_severity": "LOG", "backend_type": "client backend", **line}) + "\n"
        for line in lines
    )


def as_csv(lines: list[dict[str, Any]], columns: int = 26) -> str:
    out = io.StringIO()
    for said in lines:
        row = [""] * 26
        line = {"session_id": SESSION, "error_severity": "LOG", "backend_type": "client backend", **said}
        row[1], row[2], row[5] = line.get("user", ""), line.get("dbname", ""), line["session_id"]
        row[4] = f"{line['remote_host']}:{line['remote_port']}" if "remote_host" in line else ""
        row[11], row[13] = line["error_severity"], line["message"]
        row[22], row[23] = line.get("application_name", ""), line["backend_type"]
        csv.writer(out).writerow(row[:columns])
    return out.getvalue()


def read(*texts: str) -> ServerLog:
    log = ServerLog()
    for text in texts:
        log.read(io.StringIO(text, newline=""))
    return log


@pytest.mark.parametrize("text", [as_json(LINES), as_csv(LINES), as_csv(LINES, 24)], ids=["json", "csv", "csv of 13"])
def test_a_connection(text: str) -> None:
    """Who, from where, since when, by which process, and how many statements; in either format, over several files."""
    assert read(text).connections == [FOUND]
    assert read("", text, "\n").connections == [FOUND]


@pytest.mark.parametrize("write", [as_json, as_csv])
@pytest.mark.parametrize(
    "lines",
    [
        LINES[:2],
        [*LINES[:2], {"user": "app", "error_severity": "FATAL", "message": "password authentication failed"}],
        [{"message": "checkpoint starting: time", "backend_type": "checkpointer"}],
        [{"user": "rep", "message": "replication", "backend_type": "walsender"}],
    ],
    ids=["not yet", "turned away", "of the server itself", "no client"],
)
def test_who_was_not_let_in_has_no_session(write: Any, lines: list[dict[str, Any]]) -> None:
    """Nor have the server's own processes."""
    assert read(write(lines)).connections == []


def test_there_is_an_end_to_it(monkeypatch: pytest.MonkeyPatch) -> None:
    """A log with more connections than are kept is refused; names are cut."""
    monkeypatch.setattr(account, "MOST_SESSIONS", 1)
    long = {**LINES[2], "user": "u" * 1000, "application_name": "a" * 1000}
    (only,) = read(as_json([long])).connections
    assert (len(only.role), len(only.applications[0])) == (account.LONGEST_NAME, account.LONGEST_NAME)
    with pytest.raises(ValueError, match="more than 1 connections"):
        read(as_json([LINES[2], {**LINES[2], "session_id": "1.2"}]))


@given(st.one_of(st.text(), st.lists(st.text(alphabet='",{}:[]\\ \n0aé')).map("".join), st.text().map(lambda text: "{" + text)))
def test_garbage_is_counted(text: str) -> None:
    """Whatever the file holds: no exception, and lines that are none are counted."""
    log = read(text)
    assert log.connections == []
    assert log.unread <= log.lines
    assert read(text, as_json(LINES)).connections == [FOUND]
