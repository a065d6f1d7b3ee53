"""`doorward sessions`: who was here, what they did, and ending it.

`replay` reads a recording through the gateway, which asks policy and records that somebody looked; or, with `--data`, from
a data directory with its keys, which only the gateway's own user can open. It shows what the recording has: masked text,
masked parameters, masked rows.
"""

from __future__ import annotations

import asyncio
import base64
import time
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Annotated, Any

from cyclopts import App, Parameter

from doorward.adapters.blobs.files import LocalKeyFiles, LocalRecordingFiles
from doorward.adapters.store.sql import SqlStore
from doorward.cli import output, timeline
from doorward.cli.gateway import HERE, Connection, GatewayClient
from doorward.cli.output import RefusedError
from doorward.errors import ConfigError
from doorward.guard.keyring import Keyring
from doorward.guard.ports import SessionRow
from doorward.guard.reader import RecordReader
from doorward.protocols.postgres.replay import Replay, Statement

LONGEST_PAUSE = 5.0  # seconds that a replay at some speed waits between two statements
Json = Annotated[bool, Parameter(name="--json", negative="")]
Wide = Annotated[bool, Parameter(negative="")]
Record = tuple[int, int, bytes]

app = App(name="sessions", help="List, show, replay and end sessions.")


@app.command(name="list")
def list_command(
    *,
    identity: str = "",
    target: str = "",
    state: str = "",
    since: int = 0,
    before: str = "",
    limit: int = 50,
    wide: Wide = False,
    as_json: Json = False,
    connection: Connection = HERE,
) -> int:
    """List your own sessions and those that you may replay, newest first.

    Parameters
    ----------
    identity
        Only those of this identity, as `whoami` and the listing's JSON give it: issuer|subject.
    target
        Only those at this target.
    state
        Only those that are open, closed or recovered.
    since
        Only those opened since, in Unix milliseconds.
    before
        Only those older than this session: the next page.
    limit
        How many at most.
    wide
        A line each, however narrow the terminal is.
    as_json
        Print JSON.
    """
    with GatewayClient(connection) as gateway:
        found = gateway.get(
            "sessions", identity=identity, target=target, state=state, since=since, before=before, limit=limit
        )
    if as_json:
        output.print_json(found)
        return 0
    if not found:
        output.note("no sessions that you may see")
        return 0
    counts = ["statements", "refused", "held", "rows"]
    if any(s["observed"] for s in found):  # of targets in observe mode, which are few and should stay so
        counts.insert(3, "observed")
    output.table(
        ("ID", "STATE", "OPENED", "TARGET", "KIND", *("RUN" if c == "statements" else c.upper() for c in counts), "WHO"),
        (
            (
                s["id"], s["state"], output.moment(s["opened_at"]), s["target"], s["kind"],
                *(str(s[count]) for count in counts), output.who(s["identity"]),
            )
            for s in found
        ),
        fold=3,
        wide=wide,
    )  # fmt: skip
    if "observed" in counts:
        output.note("OBSERVED ran only because their target is in observe mode: they would have been refused or held")
    return 0


@app.command(name="show")
def show_command(session: str, /, *, as_json: Json = False, connection: Connection = HERE) -> int:
    """Show one session: who, where, when, and how much it did.

    Parameters
    ----------
    session
        The session's id.
    as_json
        Print JSON.
    """
    with GatewayClient(connection) as gateway:
        found = gateway.get("sessions", session)
    if as_json:
        output.print_json(found)
        return 0
    see = output.visible
    lasted = found["closed_at"] - found["opened_at"] if found["closed_at"] else 0
    output.facts([
        ("session", see(found["id"])),
        ("state", output.styled(found["state"])),
        ("who", see(f"{output.who(found['identity'])}, {found['kind']}")),
        ("target", see(found["target"])),
        ("client", see(found["client"])),
        ("purpose", see(found["purpose"])),
        ("opened", output.moment(found["opened_at"])),
        ("closed", output.moment(found["closed_at"]) + (f", after {output.lasting(lasted)}" if lasted else "")),
        ("statements", str(found["statements"])),
        ("refused", str(found["refused"])),
        ("held", str(found["held"])),
        ("observed", f"{found['observed']} ran that would have been refused or held" if found["observed"] else ""),
        ("rows", str(found["rows"])),
        ("segments", str(found["segments"])),
    ])  # fmt: skip
    return 0


@app.command(name="end")
def end_command(session: str, /, *, as_json: Json = False, connection: Connection = HERE) -> int:
    """End a live session. Needs `administer` on its target.

    Parameters
    ----------
    session
        The session's id.
    as_json
        Print JSON.
    """
    with GatewayClient(connection) as gateway:
        found = gateway.post("sessions", session, "end")
    if as_json:
        output.print_json(found)
    else:
        print(f"ended {output.visible(found['session'])}")
    return 0


@app.command(name="replay")
def replay_command(
    session: str,
    /,
    *,
    limit: int = 50,
    rows: Annotated[bool, Parameter(negative="--no-rows")] = True,
    speed: float = 0.0,
    own: Annotated[bool, Parameter(name="--all", negative="")] = False,
    data: Path | None = None,
    as_json: Json = False,
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
        row, records = _offline(data, session)
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
    replay: Replay, records: Iterable[Record], session: dict[str, Any], *, as_json: bool, rows: bool, speed: float, own: bool
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
            output.print_json_line(timeline.as_json(statement, replay.record, rows=rows))
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


def _offline(data: Path, session: str) -> tuple[dict[str, Any], Iterator[Record]]:
    """The session's line of the index and its records. Reads only, but for the key files that must be there already."""
    if not (data / "store.sqlite").is_file() or not (data / "keys" / "kek.key").is_file():
        raise ConfigError(
            f"{data} is no data directory with its keys",
            hint="give the directory that [gateway] data names, as the user that the gateway runs as",
        )
    row, key = asyncio.run(_looked_up(data, session))
    if row is None:
        raise RefusedError(f"there is no session {session} in {data}")
    if key is None:
        raise RefusedError(f"the key of session {session} is not there (any more), so its recording cannot be read")
    records = RecordReader.with_key(LocalRecordingFiles(data), session, key)
    shown = {
        "id": row.id, "state": row.state, "identity": row.identity, "kind": row.kind, "target": row.target,
        "client": row.client, "purpose": row.purpose, "opened_at": row.opened, "closed_at": row.closed,
    }  # fmt: skip
    return shown, records


async def _looked_up(data: Path, session: str) -> tuple[SessionRow | None, bytes | None]:
    store = SqlStore(data / "store.sqlite")
    await store.open()
    try:
        reader = RecordReader(store, LocalRecordingFiles(data), Keyring(LocalKeyFiles(data)))
        return await store.session(session), await reader.key(session)
    finally:
        await store.close()
