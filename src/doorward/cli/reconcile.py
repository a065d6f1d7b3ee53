"""`doorward reconcile`: who was connected to a target without coming through the gateway.

Contract: without a file the gateway asks the target who is connected now. With files of the target's server log (csvlog or
jsonlog; `-` is standard input) they are read here; connections are sent to the gateway, and no statement is. What was compared
and what was found is on record, whoever asked. Exit code 1 when anybody came another way who is not expected to.
"""

from __future__ import annotations

import hashlib
import io
import sys
from datetime import UTC, datetime
from pathlib import Path
from typing import Annotated, Any, BinaryIO, Final

from cyclopts import Parameter

from doorward.cli import output
from doorward.cli.gateway import HERE, Connection, GatewayClient
from doorward.cli.options import Json
from doorward.cli.output import visible
from doorward.errors import ConfigError
from doorward.protocols.postgres.account import Connection as Account
from doorward.protocols.postgres.account import ServerLog

PART: Final = 100  # connections that are sent at once
PATIENCE: Final = 60.0  # seconds for one answer


def reconcile(
    target: str,
    /,
    *,
    log: Annotated[tuple[Path, ...], Parameter(negative="")] = (),
    since: str = "",
    as_json: Json = False,
    connection: Connection = HERE,
) -> int:
    """Hold what a target says of its connections against the record, and name who did not come through the gateway.

    Needs `administer` on the target. What was compared, and every finding, is on record.

    Parameters
    ----------
    target
        The target, as clients name it.
    log
        A file of its server log, in csvlog or jsonlog format; `-` for standard input. May be repeated. Without one, the target
        is asked who is connected now.
    since
        Leave out of a log what began before then: 2027-03-01, or 2027-03-01T09:30 (UTC).
    """
    earliest = _moment(since) if since else 0
    with GatewayClient(connection) as gateway:
        if log:
            found = _from_log(gateway, target, log, earliest)
        else:
            if earliest:
                raise ConfigError("--since is about a log", hint="give --log FILE, or leave --since out")
            found = gateway.post("targets", target, "reconciliations", timeout=PATIENCE)
    if as_json:
        output.print_json(found)
    else:
        _show(target, found)
    return 1 if found["findings"] else 0


def _from_log(gateway: GatewayClient, target: str, paths: tuple[Path, ...], earliest: int) -> dict[str, Any]:
    account = ServerLog()
    marks = []
    for path in paths:
        try:
            with sys.stdin.buffer if str(path) == "-" else path.open("rb") as file:
                digest = _Digest(file)
                account.read(io.TextIOWrapper(io.BufferedReader(digest), "utf-8", "replace", newline=""))
        except OSError as error:
            raise ConfigError(f"{path}: {error.strerror}", hint="give a file of the server's log, or - to pipe it in") from None
        except ValueError as error:
            raise ConfigError(f"{path}: {error}", hint="give fewer files at once") from None
        marks.append(f"{path.name} sha256 {digest.sha256.hexdigest()[:16]}")
    if account.lines and account.unread == account.lines:
        raise ConfigError(
            f"nothing in {', '.join(map(str, paths))} is a line of csvlog or jsonlog",
            hint="set log_destination = 'jsonlog' (PostgreSQL 15 and newer) or 'csvlog' at the server",
        )
    chosen = [each for each in account.connections if each.started * 1000 >= earliest]
    if not chosen:
        output.note("the log has no connection of a client that was let in: is log_connections on?")
    total: dict[str, Any] = {}
    for first in range(0, max(1, len(chosen)), PART):
        part = chosen[first : first + PART]
        if sys.stderr.isatty():
            sys.stderr.write(f"\r\x1b[K{first:,} of {len(chosen):,} connections")
            sys.stderr.flush()
        body = {
            "connections": [_sent(each) for each in part], "about": "; ".join(marks)[:500],
            "unread": 0 if first else account.unread,
        }  # fmt: skip
        _add(total, gateway.post("targets", target, "reconciliations", body=body, timeout=PATIENCE))
    if sys.stderr.isatty():
        sys.stderr.write("\r\x1b[K")
    return total


def _sent(each: Account) -> dict[str, Any]:
    return {
        "pid": each.pid, "started": each.started * 1000, "role": each.role, "database": each.database, "client": each.client,
        "applications": each.applications, "statements": each.statements,
    }  # fmt: skip


def _add(total: dict[str, Any], part: dict[str, Any]) -> None:
    """What was found in all parts together."""
    for name, value in part.items():
        if name in ("first", "last") and name in total:
            choose = min if name == "first" else max
            total[name] = choose(filter(None, (total[name], value)), default=0)
        elif isinstance(value, int | list) and name in total:
            total[name] += value
        else:
            total[name] = value


class _Digest(io.RawIOBase):
    """Bytes on their way, and their SHA-256."""

    def __init__(self, file: BinaryIO) -> None:
        self._file = file
        self.sha256 = hashlib.sha256()

    def readable(self) -> bool:
        return True

    def readinto(self, into: Any) -> int:
        read = self._file.read(len(into))
        self.sha256.update(read)
        into[: len(read)] = read
        return len(read)


def _show(target: str, found: dict[str, Any]) -> None:
    where = "are connected now" if found["source"] == "activity" else f"are in {visible(found['about'])}"
    print(f"{found['seen']:,} connections to {visible(target)} {where}: {found['ours']:,} came through the gateway, "
          f"{found['expected']:,} are of roles that are expected to come another way.")  # fmt: skip
    if found["unread"] and found["source"] == "activity":
        output.note(
            f"of {found['unread']:,} only the role is known: grant pg_read_all_stats to the role that the gateway logs in as"
        )
    elif found["unread"]:
        output.note(f"{found['unread']:,} lines of the log could not be read")
    if not found["findings"]:
        print("Nobody came another way.")
        return
    output.table(
        ("ROLE", "DATABASE", "FROM", "SINCE", "PID", "WHY", "AS"),
        (
            (
                each["role"], each["database"], each["client"], output.moment(each["started"]), str(each["pid"]),
                "not on record" if each["verdict"] == "bypass" else "not whose name it bears", ", ".join(each["applications"]),
            )
            for each in found["findings"]
        ),
        fold=3,
    )  # fmt: skip
    print(f"{len(found['findings']):,} did not come through the gateway; {found['new']:,} of them are new on record.")


def _moment(text: str) -> int:
    """Unix ms of an ISO 8601 time, UTC unless it says otherwise."""
    try:
        when = datetime.fromisoformat(text)
    except ValueError:
        raise ConfigError(f"--since {text} is no time", hint="give it as 2027-03-01 or 2027-03-01T09:30") from None
    return int((when if when.tzinfo else when.replace(tzinfo=UTC)).timestamp() * 1000)
