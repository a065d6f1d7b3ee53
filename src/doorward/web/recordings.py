"""The HTTP API's part that shows recordings: as they were sealed, for programs that replay them, and as statements.

Contract: each route needs `replay` on the recording, and each part of one that is shown is an event (`recording.viewed`) before
it is read. A recording is read a segment at a time, in a thread; of what is read only what one answer shows is kept, and that
is bounded: in statements, in rows of each answer, and in bytes.
"""

from __future__ import annotations

import asyncio
import base64
from collections import deque
from collections.abc import Awaitable, Callable, Iterator, Sequence
from itertools import islice
from typing import Annotated, Any, Final, Protocol

from litestar import Request, get
from litestar.exceptions import HTTPException, NotFoundException, PermissionDeniedException
from litestar.params import FromPath, FromQuery, QueryParameter

from doorward.guard.guard import Guard
from doorward.guard.reader import RecordReader
from doorward.guard.stores import SessionRow
from doorward.model import Identity
from doorward.protocols.postgres.replay import Replay, Statement

MOST_RECORDS: Final = 20_000  # records of a recording that one answer holds
MOST_BYTES: Final = 8 << 20  # and their bytes, about
MOST_STATEMENTS: Final = 200  # in one answer
MOST_ROWS: Final = 500  # of each answer of a statement
MOST_TEXT: Final = 1 << 20  # characters of statements and rows in one answer, about; one statement is shown in any case
MOST_OF_AN_ANSWER: Final = 256 << 10  # bytes of rows, or of COPY data
LAST: Final = 0  # where to begin, for the end of the recording

Record = tuple[int, int, bytes]
Who = Callable[[Request[Any, Any, Any]], Awaitable[Identity]]


class Served(Protocol):
    """What of the gateway these routes serve."""

    guard: Guard

    @property
    def reader(self) -> RecordReader: ...


def routes(
    gateway: Served,
    who: Who,
    session_for: Callable[[Identity, str], Awaitable[SessionRow]],
    lines: Callable[[Sequence[SessionRow]], Awaitable[list[dict[str, Any]]]],
    allowed: Callable[..., bool],
) -> Sequence[Any]:
    """The handlers. `session_for` finds a session that somebody may see, `lines` says what the list of sessions says of it."""

    async def viewed(
        request: Request[Any, Any, Any], session_id: str, **part: int
    ) -> tuple[dict[str, Any], Iterator[Record]]:
        """A session's line and its records, for who may replay it; `part` is what is on record of their having looked."""
        caller = await who(request)
        row = await session_for(caller, session_id)
        if not allowed(caller, "replay", row.target, ("Recording", row.id), (row.identity,)):
            raise PermissionDeniedException(detail="policy does not let you replay this session")
        # Every part that is shown, wherever somebody begins to read.
        await gateway.guard.recorder.event("recording.viewed", {"session": session_id, **part}, actor=caller.id)
        try:
            found = await gateway.reader.recording(session_id)
        except KeyError:
            raise NotFoundException(detail="the key of this recording is not there (any more)") from None
        return (await lines([row]))[0], found

    @get("/api/sessions/{session_id:str}/records")
    async def records(request: Request[Any, Any, Any], session_id: FromPath[str], skip: FromQuery[int] = 0) -> dict[str, Any]:
        """The records of a recording, from number `skip` on. Needs `replay`; that somebody looked is an event."""
        skip = max(0, skip)
        line, found = await viewed(request, session_id, **{"from": skip})
        # Files, ciphers and decompression: in a thread, so that nobody's session waits for it.
        shown, more = await asyncio.to_thread(_page, found, skip)
        return {"session": line, "records": shown, "more": more, "next": skip + len(shown)}

    @get("/api/sessions/{session_id:str}/statements")
    async def statements(
        request: Request[Any, Any, Any], session_id: FromPath[str],
        first: Annotated[int, QueryParameter(name="from")] = 1, limit: FromQuery[int] = 50, rows: FromQuery[int] = 20,
        row: FromQuery[int] = 0,
    ) -> dict[str, Any]:  # fmt: skip
        """The statements of a recording, from number `from` on (0: the last ones), with `rows` rows of each answer after the
        first `row`. Needs `replay`; that somebody looked is an event."""
        if min(first, row, rows) < 0 or max(first, row, rows) >= 1 << 53 or limit < 1:
            raise HTTPException(status_code=400, detail="from, row and rows count from 0, and limit from 1")
        limit, rows = min(limit, MOST_STATEMENTS), min(rows, MOST_ROWS)
        line, found = await viewed(request, session_id, statement=first, row=row)
        return {"session": line, "row": row, **await asyncio.to_thread(window, found, first, limit, rows, row)}

    return (records, statements)


def window(records: Iterator[Record], first: int, limit: int, rows: int = 20, row: int = 0) -> dict[str, Any]:
    """At most `limit` statements from number `first` on, or the last ones. `gap_ms` is how long after the one before it a
    statement was asked. `next` is where to go on, 0 at the end; `before` whether there is anything before.

    What the gateway asked for itself is left out, and its number with it. IntegrityError.
    """
    replay = Replay(max_rows=rows, skip_rows=row, max_bytes=MOST_OF_AN_ANSWER)
    shown: deque[tuple[dict[str, Any], int]] = deque()
    size = after = skipped = 0
    previous = 0
    for statement in _statements(replay, records):
        if statement.by:
            continue
        gap = statement.at - previous if previous and statement.at else 0
        previous = statement.at or previous
        if statement.number < first:
            skipped += 1
            continue
        if first != LAST and shown and (len(shown) >= limit or size >= MOST_TEXT):
            after = statement.number
            break
        described = statement.as_json(replay.record)
        described["gap_ms"] = max(0, gap)
        described["more_rows"] = _cut(described["answers"], row) if rows else 0
        weight = _weight(described)
        shown.append((described, weight))
        size += weight
        while first == LAST and len(shown) > 1 and (len(shown) > limit or size > MOST_TEXT):
            skipped, size = skipped + 1, size - shown.popleft()[1]
    return {
        "statements": [each for each, _ in shown], "next": after, "before": skipped > 0, "trouble": replay.trouble,
        "record": replay.record, "mode": str(replay.opened.get("mode", "")),
    }  # fmt: skip


def _statements(replay: Replay, records: Iterator[Record]) -> Iterator[Statement]:
    for kind, at, body in records:
        yield from replay.feed(kind, at, body)
    yield from replay.finish()


def _cut(answers: list[dict[str, Any]], row: int) -> int:
    """Leave as many rows as fit, of all of a statement's answers; returns the row to go on from, 0 if there is none."""
    left, after = MOST_TEXT, 0
    for answer in answers:
        kept = answer.get("rows", [])
        if row >= answer["rows_recorded"]:
            continue
        for number, each in enumerate(kept):
            left -= sum(len(value or "") for value in each) + 4 * len(each)
            if left < 0 and number:
                del kept[number:]
                break
        reached = row + max(1, len(kept))  # past one that is too large to be shown
        if reached < answer["rows_recorded"]:
            after = min(after or reached, reached)
    return after


def _weight(described: dict[str, Any]) -> int:
    """About as many characters as a statement takes."""
    size = len(described["text"]) + sum(len(value or "") for value in described["params"])
    for answer in described["answers"]:
        size += sum(len(value or "") + 4 for each in answer.get("rows", ()) for value in each)
        size += len(answer.get("copy", {}).get("text", "")) + sum(map(len, answer.get("notices", ())))
    return size


def _page(found: Iterator[Record], skip: int) -> tuple[list[dict[str, Any]], bool]:
    """The records from number `skip` on that fit one answer, and whether there are more."""
    shown: list[dict[str, Any]] = []
    size = 0
    for kind, at, body in islice(found, skip, None):
        if len(shown) >= MOST_RECORDS or size > MOST_BYTES:
            return shown, True
        size += len(body)
        shown.append({"kind": kind, "at": at, "body": base64.b64encode(body).decode()})
    return shown, False
