"""`doorward sessions replay`: a recording, statement by statement.

It is read through the gateway, which asks policy and records that somebody looked; or, with `--data`, from a data
directory with its keys, which only the gateway's own user can open. It shows what the recording has: masked text, masked
parameters, masked rows.
"""

from __future__ import annotations

import base64
import time
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Annotated, Any

from cyclopts import Parameter

from doorward.cli import output, timeline
from doorward.cli.gateway import HERE, Connection, GatewayClient
from doorward.errors import ConfigError
from doorward.protocols.postgres.replay import Replay, Statement

LONGEST_PAUSE = 5.0  # seconds that a replay at some speed waits between two statements
Record = tuple[int, int, bytes]


def replay_command(
    session: str,
    /,
    *,
    limit: int = 50,
    rows: Annotated[bool, Parameter(negative="--no-rows")] = True,
    speed: float = 0.0,
    own: Annotated[bool, Parameter(name="--all", negative="")] = False,
    data: Path | None = None,
    as_json: Annotated[bool, Parameter(name="--json", negative="")] = False,
    connection: Connection = HERE,
) -> int:
    """Replay a recording: each statement with its time, verdict, masked answer and outcome. Needs `replay`; that you
    looked is recorded.

    Parameters
    ----------
    session
        The session's id.
    limit
        How many rows of each answer to show.
    rows
        Show rows at all.
    speed
        Let time pass between statements as it did, this many times faster; a pause is 5 seconds at most. 0: do not wait.
    own
        Show the gateway's own questions in the session too.
    data
        Read this data directory with the keys in it, without a gateway.
    as_json
        Print JSON, one object a line for each statement.
    """
    if limit < 0 or speed < 0:
        raise ConfigError("--limit and --speed cannot be less than 0")
    replay = Replay(max_rows=limit if rows else 0)
    if data is not None:
        from doorward.cli.offline import recorded  # a database's worth of modules, which no other command here needs

        row, records = recorded(data, session)
        _print(replay, records, row, as_json=as_json, rows=rows, speed=speed, own=own)
        return 0
    with GatewayClient(connection) as gateway:
        first = gateway.get("sessions", session, "records")
        _print(
            replay, _paged(gateway, session, first), first["session"],
            as_json=as_json, rows=rows, speed=speed, own=own,
        )  # fmt: skip
    return 0


def _print(
    replay: Replay,
    records: Iterable[Record],
    session: dict[str, Any],
    *,
    as_json: bool,
    rows: bool,
    speed: float,
    own: bool,
) -> None:
    shown = False
    last = 0
    for statement in _statements(replay, records):
        if statement.by and not own:
            continue
        if not shown and not as_json:
            timeline.head(session, replay.opened)
        shown = True
        if speed and last and statement.at > last:
            time.sleep(min((statement.at - last) / 1000 / speed, LONGEST_PAUSE))
        last = statement.at or last
        if as_json:
            output.print_json_line(statement.as_json(replay.record, rows=rows))
        else:
            timeline.show(statement, rows=rows)
    if not shown and not as_json:
        timeline.head(session, replay.opened)
        output.note("nothing was executed, or nothing is sealed yet")
    if replay.record != "full":
        output.note(
            "the record keeps only the first rows of each answer (record = sample)"
            if replay.record == "sample"
            else "the record keeps no rows, only their shape and number (record = shape)"
        )
    if replay.trouble:
        output.note(output.visible(replay.trouble))
    if session["state"] == "open":
        output.note("this session is open: its last seconds are not in the recording yet, which is sealed in segments")


def _statements(replay: Replay, records: Iterable[Record]) -> Iterator[Statement]:
    for kind, at, body in records:
        yield from replay.feed(kind, at, body)
    yield from replay.finish()


def _paged(gateway: GatewayClient, session: str, page: dict[str, Any]) -> Iterator[Record]:
    while True:
        for record in page["records"]:
            yield int(record["kind"]), int(record["at"]), base64.b64decode(record["body"])
        if not page["more"]:
            return
        page = gateway.get("sessions", session, "records", skip=page["next"])
