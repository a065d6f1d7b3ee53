"""A recording, read back: records in, statements out, each with its verdict, its masked answer and its outcome.

Contract: `Replay` takes the records of one recording in order (`feed`) and returns statements as they become complete;
`finish` returns what never did. Memory is bounded by what is asked to be kept (`max_rows`, MAX_BYTES). It never fails
for the sake of what a target sent: where the wire stream cannot be read, statements are returned without their answers and
`trouble` says why. A record that is not what its kind says raises IntegrityError.

How answers find their statements: turns are recorded in the order in which they were judged, outcomes come one a turn in
that order, and so do answers. An outcome says how many answers its turn had (a tag each, an error, a suspension).
An error that no turn had is about a message which is not recorded by itself (a Parse that the target refused).

Not here: files, keys, and how people are shown any of it.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from struct import Struct
from struct import error as StructError  # noqa: N812 - as a class is called
from typing import Any, Final

from doorward.errors import IntegrityError, ProtocolError
from doorward.ledger.encoding import parse
from doorward.ledger.segment import EVENT, REQUEST_DATA, RESPONSE, RUN, SETTLED, TEMPLATE
from doorward.protocols.postgres import wire
from doorward.protocols.postgres.values import shown
from doorward.protocols.postgres.wire import Backend

MAX_BYTES: Final = 4 << 20  # of rows or COPY data kept of one answer
MAX_MESSAGE: Final = 1 << 30  # the relay had a bound of its own when it recorded this
MAX_NOTICES: Final = 100
_MOST_TAGS: Final = 1000  # the guard records no more of one Query
_RUN: Final = Struct(">IB")
_COUNT: Final = Struct("!H")
_SIZE: Final = Struct("!i")

Shape = tuple[tuple[str, int, int], ...]  # name, type, format


@dataclass(slots=True)
class Answer:
    """One answer of the target, or the gateway's own error. `kind`: rows, command, empty, suspended, error."""

    kind: str = ""
    shape: Shape | None = None
    rows: int = 0  # how many the recording has
    tag: str = ""
    error: Mapping[str, str] = field(default_factory=dict)
    notices: list[str] = field(default_factory=list)
    copy: str = ""  # "in" or "out"
    copied: bytes = b""  # the beginning of its data
    copied_bytes: int = 0
    kept: list[bytes] = field(default_factory=list)  # DataRow payloads
    kept_bytes: int = 0

    def table(self) -> list[list[str | None]]:
        """The rows that were kept, as text."""
        shape = self.shape or ()
        rows: list[list[str | None]] = []
        for payload in self.kept:
            values = wire.parse_data_row(payload)
            rows.append([
                shown(value, *(shape[n][1:] if n < len(shape) else (0, 0))) for n, value in enumerate(values)
            ])  # fmt: skip
        return rows

    def columns(self) -> list[str]:
        """The columns' names; "?" where the recording does not have them."""
        if self.shape is not None:
            return [name for name, _, _ in self.shape]
        return ["?"] * len(wire.parse_data_row(self.kept[0])) if self.kept else []

    def as_json(self, *, rows: bool = True) -> dict[str, Any]:
        """For programs. NULL is null."""
        shown: dict[str, Any] = {"kind": self.kind, "tag": self.tag, "rows_recorded": self.rows}
        if self.shape is not None:
            shown["columns"] = [{"name": name, "type": oid} for name, oid, _ in self.shape]
        if rows and self.kept:
            shown["rows"] = self.table()
        if self.error:
            shown["error"] = dict(self.error)
        if self.notices:
            shown["notices"] = list(self.notices)
        if self.copy:
            shown["copy"] = {"direction": self.copy, "bytes": self.copied_bytes}
            if rows:
                shown["copy"]["text"] = self.copied.decode("utf-8", "replace")
        return shown


@dataclass(slots=True)
class Statement:
    """One turn: what was asked, decided, answered, and what became of it. Times are Unix ms.

    `verdict`: allowed, approved, observed (it would have been held or refused), refused; "" for an error that belongs to no
    statement. `by` is "doorward" for the gateway's own. `outcome` is "" while nobody knows.
    """

    number: int
    at: int
    verdict: str = ""
    text: str = ""
    params: Sequence[str | None] = ()
    action: str = ""
    effect: str = ""
    resources: Sequence[Sequence[str]] = ()
    labels: Sequence[str] = ()
    role: str = ""
    search_path: str = ""
    decision: Mapping[str, Any] = field(default_factory=dict)
    by: str = ""
    operation: str = ""
    approval: str = ""
    approved_by: Sequence[str] = ()
    held_ms: int = 0
    code: str = ""  # of a refusal
    reason: str = ""
    answers: list[Answer] = field(default_factory=list)
    outcome: str = ""
    rows: int = 0
    sqlstate: str = ""
    masked: Mapping[str, int] = field(default_factory=dict)
    fates: Sequence[Mapping[str, Any]] = ()
    in_transaction: bool = False
    settled_at: int = 0
    note: str = ""
    tags: Sequence[str] = ()
    template: int = -1
    expected: int | None = None  # answers; None while not known, -1 for "up to ReadyForQuery"

    @property
    def duration_ms(self) -> int | None:
        """From the verdict to the outcome; None without one."""
        return max(0, self.settled_at - self.at) if self.settled_at else None

    def as_json(self, record: str, *, rows: bool = True) -> dict[str, Any]:
        """For programs. Times are Unix ms; NULL is null. `record`: how much of results there is (`Replay.record`)."""
        shown: dict[str, Any] = {
            "number": self.number, "at": self.at, "verdict": self.verdict, "text": self.text,
            "params": list(self.params), "action": self.action, "effect": self.effect,
            "resources": [list(resource) for resource in self.resources], "labels": list(self.labels),
            "role": self.role, "search_path": self.search_path, "decision": dict(self.decision),
            "outcome": self.outcome, "rows": self.rows, "sqlstate": self.sqlstate,
            "masked": dict(self.masked), "statements": [dict(fate) for fate in self.fates],
            "in_transaction": self.in_transaction, "duration_ms": self.duration_ms, "record": record,
            "answers": [answer.as_json(rows=rows) for answer in self.answers],
        }  # fmt: skip
        for name in ("by", "operation", "approval", "code", "reason", "note"):
            if value := getattr(self, name):
                shown[name] = value
        if self.approval:
            shown["approved_by"], shown["held_ms"] = list(self.approved_by), self.held_ms
        return shown


_READY: Final = Answer("ready")


class Replay:
    """Reads one recording. Of each answer at most `max_rows` rows and `max_bytes` are kept, after the first `skip_rows`."""

    def __init__(self, *, max_rows: int = 100, skip_rows: int = 0, max_bytes: int = MAX_BYTES) -> None:
        self.opened: Mapping[str, Any] = {}
        self.trouble = ""
        self._max_rows, self._skip_rows, self._max_bytes = max_rows, skip_rows, max_bytes
        self._frames = wire.Frames(MAX_MESSAGE, frozenset({Backend.COPY_DATA}))
        self._number = 0
        self._templates: dict[int, Mapping[str, Any]] = {}
        self._shapes: dict[int, Shape] = {}
        self._held: dict[str, tuple[str, int]] = {}
        self._open: deque[Statement] = deque()  # their answers are not complete
        self._unsettled: deque[Statement] = deque()
        self._answers: deque[Answer] = deque()  # complete, and not yet anybody's
        self._answer = Answer()
        self._asides: list[str] = []
        self._own = False

    @property
    def record(self) -> str:
        """How much of results the target's record keeps: full, sample or shape."""
        return str(self.opened.get("record", "full"))

    def feed(self, kind: int, at: int, body: bytes) -> list[Statement]:
        """One record. Returns the statements that it completes, in order."""
        if kind == RESPONSE:
            self._response(body)
        elif kind == RUN:
            self._run(at, body)
        elif kind == SETTLED:
            self._settled(_object(body), at)
        elif kind == TEMPLATE:
            if len(body) < 4:
                raise IntegrityError("a template without its number")
            number = int.from_bytes(body[:4], "big")
            self._templates[number] = _object(body[4:])
            self._shapes.pop(number, None)
        elif kind == EVENT:
            self._event(_object(body))
        elif kind == REQUEST_DATA:
            self._copied(self._answer, body)
        else:
            raise IntegrityError(f"a record of unknown kind {kind}")
        return self._complete()

    def finish(self) -> list[Statement]:
        """The statements that the recording ends without having completed."""
        done = self._complete()
        while self._open:
            statement = self._open.popleft()
            last = not self._open
            while self._answers and (last or len(statement.answers) < abs(statement.expected or 1)):
                answer = self._answers.popleft()
                if answer is not _READY:
                    self._give(statement, answer)
            if last and (self._answer.kept or self._answer.copy):
                self._give(statement, self._answer)
                self._answer = Answer()
            if not statement.outcome and statement.verdict != "refused" and not statement.by:
                statement.note = statement.note or "the recording ends before its outcome"
            done.append(statement)
        return done + [stray for answer in self._answers if (stray := self._stray(answer))]

    # -- turns -------------------------------------------------------------------------------------------------------

    def _new(self, at: int, **what: Any) -> Statement:
        self._number += 1
        statement = Statement(self._number, at, **what)
        self._open.append(statement)
        return statement

    def _run(self, at: int, body: bytes) -> None:
        if len(body) < 5:
            raise IntegrityError("a run without its template")
        number, _ = _RUN.unpack_from(body)
        template = self._templates.get(number)
        if template is None:
            raise IntegrityError(f"a run of template {number}, which is not in the recording")
        statement = self._new(at, verdict="allowed", params=_params(body[5:]), template=number, **_judged(template))
        statement.by = str(template.get("by", ""))
        outcome = statement.decision.get("outcome")
        if outcome not in ("allow", None):
            statement.verdict = "observed"
        if statement.by:
            statement.expected = 0  # the client never saw its answer, and the question has no outcome of its own
        else:
            self._unsettled.append(statement)

    def _event(self, event: Mapping[str, Any]) -> None:
        kind, at, body = event.get("type"), event.get("at", 0), event.get("body")
        if not isinstance(body, dict) or not isinstance(at, int):
            raise IntegrityError("an event without a body or a time")
        if kind == "session.opened":
            self.opened = body
            self._own = body.get("issuer") == "doorward"
        elif kind == "operation.held":
            if len(self._held) < 1000:
                self._held[str(body.get("operation"))] = str(body.get("approval", "")), at
        elif kind in ("operation.permitted", "operation.observed", "operation.refused"):
            self._operation(kind, at, body)
        elif kind == "operation.settled":
            self._settled(body, at)
        elif kind == "transaction.aborted":
            self._aside("doorward made the target abort the transaction, so that nothing before the error commits")

    def _operation(self, kind: str, at: int, body: Mapping[str, Any]) -> None:
        operation = str(body.get("operation", ""))
        approval, held_at = self._held.pop(operation, ("", at))
        statement = self._new(at, operation=operation, params=tuple(body.get("params") or ()), **_judged(body))
        statement.approval = str(body.get("approval", "")) or approval
        statement.approved_by = tuple(body.get("approved_by") or ())
        statement.held_ms = at - held_at
        if kind == "operation.refused":
            statement.verdict, statement.expected = "refused", 1
            statement.code, statement.reason = str(body.get("code", "")), str(body.get("reason", ""))
            return
        statement.verdict = (
            "observed" if kind == "operation.observed" else "approved" if statement.approval else "allowed"
        )
        self._unsettled.append(statement)

    def _settled(self, body: Mapping[str, Any], at: int) -> None:
        operation = body.get("operation")
        if not self._unsettled:
            raise IntegrityError("an outcome of nothing")
        statement = self._unsettled.popleft()
        if operation and statement.operation and operation != statement.operation:
            raise IntegrityError(f"an outcome of {operation}, when {statement.operation} is due")
        statement.outcome, statement.settled_at = str(body.get("outcome", "")), at
        statement.rows, statement.sqlstate = int(body.get("rows", 0)), str(body.get("sqlstate", ""))
        statement.masked, statement.fates = body.get("masked") or {}, body.get("statements") or ()
        statement.in_transaction = bool(body.get("in_transaction"))
        statement.tags = tuple(str(tag) for tag in body.get("tags") or ())
        shape = body.get("shape")
        if isinstance(shape, list):
            self._shapes[statement.template] = tuple((str(n), int(o), int(f)) for n, o, f in shape)
        if len(statement.tags) >= _MOST_TAGS:
            statement.expected = -1
        else:
            statement.expected = len(statement.tags) + (statement.outcome in ("failed", "suspended"))
        if self._own or self.trouble:
            statement.expected = 0

    def _complete(self) -> list[Statement]:
        """Hand answers to the statements in front, and return those that have all of theirs."""
        done: list[Statement] = []
        while self._open:
            statement = self._open[0]
            expected = statement.expected
            if expected is None:
                break
            while self._answers and (expected < 0 or len(statement.answers) < expected):
                answer = self._answers.popleft()
                if answer is _READY:
                    expected = len(statement.answers) if expected < 0 else expected
                elif self._fits(statement, answer):
                    self._give(statement, answer)
                elif (stray := self._stray(answer)) is not None:
                    done.append(stray)
            if expected < 0 or (len(statement.answers) < expected and not self.trouble):
                break
            done.append(self._open.popleft())
        if not self._open and not self._unsettled:
            done += [stray for answer in self._answers if (stray := self._stray(answer))]
            self._answers.clear()
        return done

    def _fits(self, statement: Statement, answer: Answer) -> bool:
        if statement.verdict == "refused":
            return answer.kind == "error" and answer.error.get("M", "")[:60] == statement.reason[:60]
        if answer.kind != "error":
            return True
        return statement.outcome == "failed" and len(statement.answers) >= len(statement.tags)

    def _give(self, statement: Statement, answer: Answer) -> None:
        if answer.shape is None and answer.kept:
            answer.shape = self._shapes.get(statement.template)
        statement.answers.append(answer)

    def _stray(self, answer: Answer) -> Statement | None:
        """An answer to nothing that is recorded by itself: an error of the target's at Parse or Bind."""
        if answer.kind != "error":
            return None
        self._number += 1
        return Statement(
            self._number, 0, answers=[answer], outcome="failed", sqlstate=answer.error.get("C", ""),
            note="an error before anything was executed",
        )  # fmt: skip

    # -- answers -----------------------------------------------------------------------------------------------------

    def _response(self, data: bytes) -> None:
        if self.trouble:
            return
        try:
            for kind, payload in self._frames.feed(data):
                self._message(kind, payload)
        except ProtocolError as error:
            self.trouble = f"the answers cannot be read from here on: {error.message}"
            for statement in self._open:
                if statement.expected is not None:
                    statement.expected = len(statement.answers)

    def _message(self, kind: int, payload: bytes) -> None:
        answer = self._answer
        if kind == Backend.DATA_ROW:
            # What is kept is one run of rows: after one that is too large, none is.
            wanted = answer.rows == self._skip_rows + len(answer.kept) and len(answer.kept) < self._max_rows
            answer.rows += 1
            if wanted and answer.kept_bytes + len(payload) <= self._max_bytes:
                wire.parse_data_row(payload)
                answer.kept.append(payload)
                answer.kept_bytes += len(payload)
        elif kind == Backend.COMMAND_COMPLETE:
            answer.tag = wire.parse_command_complete(payload)
            self._end("rows" if answer.shape is not None or answer.rows else "command")
        elif kind == Backend.ROW_DESCRIPTION:
            columns = wire.parse_row_description(payload)
            answer.shape = tuple((c.name.decode("utf-8", "replace"), c.type_oid, c.format) for c in columns)
        elif kind in (Backend.PARSE_COMPLETE, Backend.BIND_COMPLETE, Backend.NO_DATA):
            if not answer.rows:
                answer.shape = None  # what was described before is another's
        elif kind == Backend.ERROR_RESPONSE:
            answer.error = wire.parse_error(payload)
            self._end("error")
        elif kind == Backend.READY_FOR_QUERY:
            if not answer.rows and not answer.copy:
                answer.shape = None
            self._answers.append(_READY)
        elif kind == Backend.PORTAL_SUSPENDED:
            self._end("suspended")
        elif kind == Backend.EMPTY_QUERY_RESPONSE:
            self._end("empty")
        elif kind in (Backend.COPY_OUT_RESPONSE, Backend.COPY_IN_RESPONSE):
            answer.copy = "out" if kind == Backend.COPY_OUT_RESPONSE else "in"
        elif kind == Backend.COPY_DATA:
            self._copied(answer, payload)
        elif kind == Backend.NOTICE_RESPONSE:
            fields = wire.parse_error(payload)
            self._aside(f"{fields.get('S', 'NOTICE')}: {fields.get('M', '')}")
        elif kind == Backend.NOTIFICATION_RESPONSE:
            _, channel, extra = wire.parse_notification(payload)
            self._aside(f"notification on {channel.decode('utf-8', 'replace')}: {extra.decode('utf-8', 'replace')}")

    def _aside(self, text: str) -> None:
        if len(self._answer.notices) < MAX_NOTICES:
            self._answer.notices.append(text)

    def _copied(self, answer: Answer, payload: bytes) -> None:
        answer.copied_bytes += len(payload)
        if len(answer.copied) < self._max_bytes:
            answer.copied += payload[: self._max_bytes - len(answer.copied)]

    def _end(self, kind: str) -> None:
        self._answer.kind = kind
        self._answers.append(self._answer)
        self._answer = Answer()


def _object(body: bytes) -> dict[str, Any]:
    value = parse(body)
    if not isinstance(value, dict):
        raise IntegrityError("a record that is not a JSON object")
    return value


def _judged(body: Mapping[str, Any]) -> dict[str, Any]:
    """What a TEMPLATE and the events of an operation have in common."""
    return {
        "text": str(body.get("text", "")), "action": str(body.get("action", "")), "effect": str(body.get("effect", "")),
        "resources": tuple(body.get("resources") or ()), "labels": tuple(body.get("labels") or ()),
        "role": str(body.get("role", "")), "search_path": str(body.get("search_path", "")),
        "decision": body.get("decision") or {},
    }  # fmt: skip


def _params(body: bytes) -> tuple[str | None, ...]:
    """The masked parameters of a RUN: u16 count, then i32 length (-1 for NULL) and text each."""
    try:
        (count,) = _COUNT.unpack_from(body)
        at = 2
        values: list[str | None] = []
        for _ in range(count):
            (length,) = _SIZE.unpack_from(body, at)
            at += 4
            if length < 0:
                values.append(None)
                continue
            if at + length > len(body):
                raise IntegrityError("a run's parameters are cut")
            values.append(body[at : at + length].decode("utf-8", "replace"))
            at += length
    except StructError:
        raise IntegrityError("a run's parameters are cut") from None
    return tuple(values)
