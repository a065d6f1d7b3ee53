"""The target's side of a conversation: which answer belongs to which message, and what of it the client may see.

Everything forwarded leaves a `Pending` behind, in order; each answer takes its own off the front. An answer that nothing
waits for, or that its message cannot have, ends the session: a target that is out of step, or lies, cannot be masked.
Rows are redacted by the run at the front, never by "the last RowDescription". When nothing in a chunk needs a change, the
chunk is passed on as it came.
"""

from __future__ import annotations

import re
from collections import Counter, deque
from collections.abc import Callable, Iterator, Mapping, Sequence
from functools import lru_cache
from typing import Final, Protocol

from librt.strings import read_i32_be

from doorward.errors import ProtocolError
from doorward.guard.turn import Result
from doorward.model import Allowance
from doorward.protocols.postgres import wire
from doorward.protocols.postgres.judge import PgTemplate
from doorward.protocols.postgres.looking import Answer, Question
from doorward.protocols.postgres.named import SETTING, SessionName
from doorward.protocols.postgres.namespace import Entry, Namespace, Portal
from doorward.protocols.postgres.pending import (
    BIND,
    CLOSE,
    DESCRIBE,
    EXECUTE,
    PARSE,
    QUERY,
    SYNC,
    CopyRedactor,
    Pending,
    Redactor,
    Run,
)
from doorward.protocols.postgres.plain import answered, unfold
from doorward.protocols.postgres.redact_copy import BINARY_HEADER, MAX_LINE, TooLargeError
from doorward.protocols.postgres.redact_copy import CopyRedactor as Copier
from doorward.protocols.postgres.redact_fields import said_by_code
from doorward.protocols.postgres.wide import WIDE, Memory, Store, WideRow
from doorward.protocols.postgres.wide_copy import Passing, WideLine
from doorward.protocols.postgres.wire import Backend, Column
from doorward.sql.settings import WAIT, narrow, waiting

_BEGINS: Final = 5 + BINARY_HEADER  # bytes of a long message that have to be there before it can be begun
_MAX_OTHER: Final = 1 << 20  # what is not a row or copy data has no business being longer
STYLES: Final = frozenset({"DateStyle", "IntervalStyle", "TimeZone"})  # they say what a literal means
# Time zones by name or offset: they say little more than where on earth. Anything else may spell out a value.
_ZONE: Final = re.compile(
    r"[A-Za-z_]+(?:[/-][A-Za-z_-]+)*|(?:Etc/)?GMT[+-]?\d{1,2}|(?:EST5E|CST6C|MST7M|PST8P)DT"
    r"|<[+-]\d\d(?::?\d\d)?>[+-]\d{1,2}(?::\d\d)?"
)
_MOST_SEEN: Final = 256  # values of settings that are remembered
MOST: Final = 2048  # bytes that are looked at before others have their turn, unless a row is longer
_TEXTS: Final = frozenset(
    {Backend.ERROR_RESPONSE, Backend.NOTICE_RESPONSE, Backend.NOTIFICATION_RESPONSE, Backend.PARAMETER_STATUS,
     Backend.ROW_DESCRIPTION}
)  # fmt: skip
UNRESOLVED: Final = 256  # finished runs kept until ReadyForQuery says what became of their transaction


def _memory(size: int) -> Store | None:
    return Memory()


class Unread:
    """COPY OUT data that cannot be masked, where that must not stop it: none of it is recorded."""

    def __init__(self) -> None:
        self.rows = 0
        self.cells: Counter[str] = Counter()
        self.looked = 0

    def feed(self, payload: bytes) -> bytes:
        return b""

    def finish(self) -> bytes:
        return b""


Overrides = tuple[tuple[str, str], ...]  # `model.Decision.transforms`


class Masks(Protocol):
    """What the conversation asks of masking; the composition root builds it from labels, transforms and detectors."""

    @property
    def active(self) -> bool: ...

    def rows(
        self, template: PgTemplate, statement: int, shape: Sequence[Column], unmask: frozenset[str], transforms: Overrides
    ) -> Redactor: ...
    def copy(
        self, template: PgTemplate, statement: int, columns: int, form: int, unmask: frozenset[str], transforms: Overrides
    ) -> CopyRedactor: ...
    def copies(self, template: PgTemplate, unmask: frozenset[str]) -> str: ...
    def strips(self, template: PgTemplate, unmask: frozenset[str]) -> bool: ...
    def fields(self, payload: bytes, *, strip: bool) -> bytes: ...
    def text(self, value: str) -> str: ...


class Answers:
    """Reads the server's stream. The conversation owns one and looks at its state between turns."""

    def __init__(
        self, namespace: Namespace, masks: Masks, *, max_row: int, observe: bool, rows_recorded: int | None
    ) -> None:
        self.names = namespace
        self.masks = masks
        self.max_row = max_row
        self.observe = observe
        self.rows_recorded = rows_recorded  # None: all of them
        self.name = SessionName()
        self.pending: deque[Pending] = deque()
        self.plain: Pending | None = None  # the front, while it stands for a whole batch
        self.deferred: list[tuple[bytes, Pending]] = []  # what the conversation keeps back; it is projected all the same
        self.readies = 0
        self.labels: frozenset[str] = frozenset()  # all that this target has
        self.opaque = False  # code has run that nobody could follow: a setting may hold anything
        self._seen: set[str] = set()  # what the client has set, or the target had when it began
        self.wait: float | None = None  # seconds that the client will wait for people, as it has said (doorward.wait)
        self.deaf = False  # payloads of notifications are kept from this client: nobody knows what is in them
        # Something labelled was written in this transaction: constraints and triggers may look at it as late as at its end.
        self.late = False  # .. which this client may not see
        self.late_kept = False  # .. which the record may not hold
        self._error_kept = False  # the record keeps no more of the error at hand than its SQLSTATE
        self._descriptions: dict[bytes, bytes] = {}
        self.status = wire.IDLE
        self.skipping = False  # the server discards everything until Sync
        self.copying: Run | None = None  # the server reads COPY data
        self.copy_out: Run | None = None
        self.done: list[Run] = []
        self.failed = False  # since the last ReadyForQuery
        self.finished: list[Run] = []  # completed statements whose effect on the session the conversation must look at
        self.probe_rows: list[tuple[bytes | None, ...]] = []
        self.unsynced = False  # something was forwarded since the last Sync
        self.fatal = False
        self.overdrawn = False  # a budget ended a result, and with it the session
        self.styles: dict[str, str] = {}  # STYLES as the target last said
        self.stripped = False  # since the last ReadyForQuery something touched what stays masked
        self.pids: Mapping[int, int] = {}  # the target's process ids of the gateway's sessions, to the gateway's own
        self.stores: Callable[[int], Store | None] = _memory  # for a row of so many bytes; None: not now
        self.crowded = False  # it waits for a store
        self.held = WIDE  # bytes of a row that is masked in one go
        self._more = False  # what was kept can go on
        self._worked = 0  # bytes that were looked at in this turn
        self._stop = 0  # where the rows end that were masked last
        self.asks = False  # somebody answers questions about long values
        self._wide: WideRow | WideLine | Passing | None = None  # the row, or line, at hand
        self._pieces: Iterator[bytes] | None = None  # .. that is whole, and goes on
        self._later: list[bytes] = []  # what came behind it
        self._parts: list[bytes] = []
        self._have = 0
        self._need = 0
        self._out: list[bytes] = []
        self._kept: list[bytes] = []  # for the record, where it differs
        self._differs = observe or rows_recorded is not None  # or once somebody has seen more than is recorded
        self._was_idle = True  # status before the batch that is being answered
        self._shape: tuple[Column, ...] | None = None  # of the last result, and how the record shows it
        self._shown_shape: tuple[tuple[str, int, int], ...] = ()

    def called(self, name: SessionName) -> None:
        """What the session is called at the target, and the client by itself."""
        self.name = name
        self._see(name.client)

    @property
    def differs(self) -> bool:
        """Whether the record is not simply what the client sees."""
        return self._differs

    def unmasks(self) -> None:
        """From here on the client may see what the record may not: keep them apart."""
        if not self._differs:
            self._differs = True
            self._kept = list(self._out)

    # -- output ------------------------------------------------------------------------------------------------------

    def say(self, data: bytes) -> None:
        """Queue bytes of the gateway's own for the client."""
        self._out.append(data)
        if self._differs:
            self._kept.append(data)

    def tell(self, *parts: bytes) -> None:
        """Queue what the target said, masked, where client and record see the same."""
        self._out.extend(parts)

    def take(self) -> bytes:
        if not self._out:
            return b""
        out = self._out[0] if len(self._out) == 1 else b"".join(self._out)
        self._out.clear()
        return out

    def take_record(self) -> bytes | None:
        """What the recording keeps of what `take` gave; None when that is the same."""
        if not self._differs:
            return None
        kept = b"".join(self._kept)
        self._kept.clear()
        return kept

    # -- input -------------------------------------------------------------------------------------------------------

    @property
    def behind(self) -> bool:
        """Whether there is more to say than was said: `feed` wants to be called again, with nothing."""
        return self._pieces is not None or self.crowded or self._more or self.question is not None

    @property
    def question(self) -> Question | None:
        """What has to be known of a value before its row goes on: `told` wants to be called, then `feed`, with nothing."""
        return None if self._wide is None else self._wide.question

    def told(self, answer: Answer) -> None:
        """The answer to `question`. ValueError: the value cannot be masked."""
        if self._wide is not None:  # the session may have ended meanwhile
            self._wide.told(answer)
            self._more = True

    def abandon(self) -> None:
        """Nobody hears the rest."""
        if self._wide is not None:
            self._wide.close()
        self._wide = self._pieces = None

    def feed(self, data: bytes) -> list[Result]:
        """Read what the server sent; returns what is now known of permitted runs. Raises ProtocolError. While `behind`, what
        comes is kept, and nothing (b"") makes the next piece."""
        if self.behind:
            if data:
                self._later.append(data)
                return []
            if self.question is not None:
                return []
            if self._pieces is not None:
                piece = next(self._pieces, None)
                if piece is not None:
                    self._out.append(piece)
                    return []
                self.abandon()
            self.crowded = self._more = False
            later, self._later = self._later, []
            data = b"".join(later)
        if self._wide is not None:
            data = self._widen(self._wide, data, 0)
        return self._read(data) if data else []

    def _read(self, data: bytes) -> list[Result]:
        """`feed`, where a message begins, or goes on. What takes long is kept for another turn."""
        self._worked = 0
        plain = self.plain
        if plain is not None:
            try:
                result = None if self._parts else answered(self, plain, data)
            except TooLargeError as error:
                raise _too_large(error) from None
            if result is not None:
                return [result]
            unfold(self)
        if self._parts:
            self._parts.append(data)
            self._have += len(data)
            if self._have < self._need:
                return []
            data = b"".join(self._parts)
            self._parts = []
        results: list[Result] = []
        position, start, size = 0, 0, len(data)  # [start, position) is read and goes to the client unchanged
        while size - position >= 5:
            kind = data[position]
            length: int = read_i32_be(data, position + 1)
            end = position + 1 + length
            if kind == Backend.DATA_ROW and self._whole() < length <= self.max_row:
                self._pass(data, start, position)
                rest = self._begin_wide(data, position, length)
                return [*results, *self._read(rest)] if rest else results
            if kind == Backend.COPY_DATA and self._whole() < length <= self.max_row and self._lengthy():
                if size - position < _BEGINS:
                    break
                self._pass(data, start, position)
                rest = self._begin_line(data, position, length)
                return [*results, *self._read(rest)] if rest else results
            if length < 4 or length > (
                self.max_row if kind == Backend.DATA_ROW
                else min(self.max_row, MAX_LINE) if kind == Backend.COPY_DATA else _MAX_OTHER
            ):
                raise ProtocolError(
                    f"the target sent a {wire.BACKEND_NAMES.get(kind, 'unknown')} message of {length} bytes",
                    hint="raise limits.row_bytes if values of this size are expected",
                )
            if end > size:
                break
            if kind == Backend.DATA_ROW:
                self._stop = stop = self.extent(data, position, size)
                try:
                    changed = self._rows(data, position, stop)
                except TooLargeError as error:
                    raise _too_large(error) from None
                if changed is not None:
                    self._pass(data, start, position)
                    self._out.append(changed)
                    start = self._stop
                position = self._stop
                if position < stop:
                    break
                continue
            try:
                replaced = self._message(kind, data, position, end, results)
            except TooLargeError as error:
                raise _too_large(error) from None
            if replaced is not None:
                self._pass(data, start, position)
                if replaced:
                    self._out.append(replaced)
                    if self._differs and kind != Backend.COPY_DATA and kind != Backend.COPY_DONE:
                        self._kept.append(self._recorded(kind, replaced))
                start = end
            elif self._differs:
                self._kept.append(self._recorded(kind, data[position:end]))
            position = end
            if self._worked > MOST:
                break
        if start < position:
            self._pass(data, start, position)
        if position < size:
            rest = data[position:] if position else data
            if self._worked > MOST:
                self._later = [rest, *self._later]
                self._more = True
                return results
            self._parts = [rest]
            self._have = len(rest)
            self._need = 5 if self._have < 5 else 1 + read_i32_be(rest, 1)
            if self._have < _BEGINS and self._need > _BEGINS:
                self._need = _BEGINS  # it may be one that is masked while it arrives
        return results

    def _recorded(self, kind: int, message: bytes) -> bytes:
        """A message as the record keeps it: always masked, whoever may see what, and in observe mode too."""
        if kind in (Backend.ERROR_RESPONSE, Backend.NOTICE_RESPONSE):
            strip = self._error_kept if kind == Backend.ERROR_RESPONSE else self._strips_front() or self.late_kept
            strip = strip or (bool(self.labels) and said_by_code(wire.parse_error(message[5:])))
            return wire.message(kind, self.masks.fields(message[5:], strip=strip))
        if kind == Backend.ROW_DESCRIPTION:
            return wire.message(kind, self._described_as(message[5:]))
        if kind == Backend.NOTIFICATION_RESPONSE or kind == Backend.PARAMETER_STATUS:
            return wire.message(kind, self._masked_text(kind, message[5:], deaf=bool(self.labels)))
        if kind in (Backend.COPY_DATA, Backend.COPY_DONE):
            return b""  # kept by `_copied`, which holds lines back
        return message

    def _described_as(self, payload: bytes) -> bytes:
        """A RowDescription with the names of columns masked: a statement may name a column by anything."""
        if not self.masks.active:
            return payload
        shown = self._descriptions.get(payload)
        if shown is None:
            columns = wire.parse_row_description(payload)
            masked = [c._replace(name=self.masks.text(c.name.decode("utf-8", "replace")).encode()) for c in columns]
            changed = any(a.name != b.name and b.name != a.name.decode("utf-8", "replace").encode()
                          for a, b in zip(columns, masked, strict=True))
            shown = wire.row_description(masked)[5:] if changed else payload
            if len(self._descriptions) >= 256:
                self._descriptions.clear()
            self._descriptions[payload] = shown
        return shown

    def _masked_text(self, kind: int, payload: bytes, *, deaf: bool) -> bytes:
        if kind == Backend.PARAMETER_STATUS:
            name, value = wire.parse_parameter_status(payload)
            return wire.parameter_status(name, self.masks.text(value))[5:]
        pid, channel, extra = wire.parse_notification(payload)
        said = b"[masked]" if deaf and extra else self.masks.text(extra.decode("utf-8", "replace")).encode()
        pid = self.pids.get(pid, pid)  # clients know each other's sessions by the gateway's numbers
        return pid.to_bytes(4, "big", signed=True) + channel + b"\0" + said + b"\0"

    def _pass(self, data: bytes, start: int, end: int) -> None:
        if start < end:
            self._out.append(data if start == 0 and end == len(data) else data[start:end])

    def _whole(self) -> int:
        """Bytes of a row, of those that come now, that is masked in one go."""
        return WIDE if self.pending and self.pending[0].own else self.held

    def extent(self, data: bytes, position: int, size: int) -> int:
        """The end of the run of complete DataRow messages that starts at `position`, and are masked in one go."""
        longest = self._whole()
        while size - position >= 5 and data[position] == 0x44:
            length: int = read_i32_be(data, position + 1)
            if length < 6 or length > longest or position + 1 + length > size:
                if length < 6:
                    raise ProtocolError("the target sent a DataRow that is too short to hold its column count")
                break
            position += 1 + length
        return position

    def ended_plainly(self) -> None:
        """The batch at the front was all there was, and its transaction has ended well."""
        self.pending.popleft()
        self.plain = None
        self.readies += 1
        self.unsynced = False
        self._was_idle = True

    # -- rows --------------------------------------------------------------------------------------------------------

    def _begin_wide(self, data: bytes, position: int, length: int) -> bytes:
        """A row that is not held begins at data[position:]; returns what comes behind it."""
        run = self._of_rows()
        if run is None:
            raise ProtocolError("the target answered the gateway's own question with too long a row")
        redactor = run.redactor
        assert redactor is not None
        passes = self.observe or redactor.plan.passes
        store = None if passes else Memory() if length <= WIDE else self.stores(length)
        if store is None and not passes:
            self.crowded = True
            self._later = [data[position:]]
            return b""
        if run.permit.allowance is not None:
            self._count_on(run.permit.allowance, 1)
        self._wide = WideRow(redactor.plan, length, store, recorded=self._differs, asks=self.asks)
        return self._widen(self._wide, data, position + 5)

    def _lengthy(self) -> bool:
        """Whether a long message of COPY data is a line, or tuple, by itself, and can be masked while it arrives."""
        run = self.copy_out
        return run is not None and (not isinstance(run.copier, Copier) or run.copier.between)

    def _begin_line(self, data: bytes, position: int, length: int) -> bytes:
        """A line of COPY data that is not held begins at data[position:]; returns what comes behind it."""
        run = self.copy_out
        assert run is not None
        copier, recording = run.copier, run.recording
        masks = isinstance(copier, Copier) and not self.observe and not copier.plan.passes
        store = None if not masks else Memory() if length <= WIDE else self.stores(length)
        if store is None and masks:
            self.crowded = True
            self._later = [data[position:]]
            return b""
        if run.permit.allowance is not None:
            self._count_on(run.permit.allowance, 1)
        position += 5
        prefix = b""
        if isinstance(copier, Copier) and copier.binary and not copier.headed:
            prefix = data[position : position + BINARY_HEADER]
            copier.feed(prefix)
            if not copier.headed:
                raise ProtocolError("binary COPY data has a header that is not known")
        if isinstance(recording, Copier):
            stub = recording.stub(length)
            if recording.binary:
                stub = recording.feed((b"" if recording.headed else data[position : position + BINARY_HEADER]) + stub)
            else:
                recording.rows += 1
            self._keep_copy(run, stub)
        if store is None or not isinstance(copier, Copier):
            self._wide = Passing(length)
        elif copier.binary:
            position += len(prefix)
            self._wide = WideRow(copier.plan, length - len(prefix), store, asks=self.asks, kind=b"d", prefix=prefix)
        else:
            self._wide = WideLine(copier, length, store, asks=self.asks)
        return self._widen(self._wide, data, position)

    def _widen(self, row: WideRow | WideLine | Passing, data: bytes, position: int) -> bytes:
        """More of a wide row; returns what comes behind it."""
        end = row.feed(data, position)
        self._out.extend(row.out)
        row.out.clear()
        if row.question is not None:
            self._later = [data[end:], *self._later] if end < len(data) else self._later
            return b""
        if not row.whole:
            return b""
        copy = self.copy_out
        if copy is not None and copy.copier is not None:
            copy.copier.rows += 1
            copy.copier.cells.update(row.cells)
        else:
            assert isinstance(row, WideRow)
            self._count_wide(row)
        rest = data[end:]
        if row.direct:
            self.abandon()
            return rest
        self._pieces = row.pieces()
        self._later = [rest] if rest else []
        return b""

    def _count_wide(self, row: WideRow) -> None:
        """A wide row is whole: it counts, and is recorded."""
        run = self._of_rows()
        assert run is not None
        redactor = run.redactor
        assert redactor is not None
        if self._differs:
            record = row.record()
            before, cells = redactor.rows, redactor.cells.copy()
            kept = self._recorder(run, redactor).redact(record, 0, len(record))
            redactor.rows = before  # it may be the same one
            redactor.cells.clear()
            redactor.cells.update(cells)
            self._keep_rows(kept, run.rows + before, 1)
        redactor.rows += 1
        redactor.cells.update(row.cells)

    def _of_rows(self) -> Run | None:
        """What the rows that come now answer, with its redactor; None: a question of the gateway's own."""
        if not self.pending:
            raise ProtocolError("the target sent rows that nobody asked for")
        front = self.pending[0]
        if front.own:
            return None
        run = front.run
        if run is None or front.kind not in (EXECUTE, QUERY):
            raise ProtocolError("the target sent rows out of turn")
        if run.redactor is None:
            run.redactor = self.redactor(front, run, run.permit.decision.unmask)
        return run

    def _recorder(self, run: Run, redactor: Redactor) -> Redactor:
        """What masks for the record."""
        if not run.permit.decision.unmask:
            return redactor
        if run.recorder is None:
            run.recorder = self.redactor(self.pending[0], run, frozenset())
        return run.recorder

    def _rows(self, data: bytes, start: int, end: int) -> bytes | None:
        """Redact complete rows; None means: they may go as they are."""
        run = self._of_rows()
        if run is None:
            position = start
            while position < end:
                length: int = read_i32_be(data, position + 1)
                self.probe_rows.append(wire.parse_data_row(data[position + 5 : position + 1 + length]))
                if len(self.probe_rows) > 10_000:
                    raise ProtocolError("the target answered the gateway's own question with too many rows")
                position += 1 + length
            return b""
        redactor = run.redactor
        assert redactor is not None
        before = redactor.rows
        recorder = self._recorder(run, redactor) if self._differs else redactor
        kept = b""
        if recorder is not redactor:  # which looks at all that the other does
            kept = recorder.some(data, start, end, MOST)
            end = recorder.stop
            redacted = redactor.redact(data, start, end)
        else:
            kept = redacted = redactor.some(data, start, end, MOST)
            end = redactor.stop
        if end < self._stop:
            self._stop = end
            self._worked = MOST + 1
        if run.permit.allowance is not None:
            self._count_on(run.permit.allowance, redactor.rows - before)
        if self._differs:
            self._keep_rows(kept, run.rows + before, redactor.rows - before)
            if self.observe:
                return None
        return None if len(redacted) == end - start and data.startswith(redacted, start) else redacted

    def _count_on(self, allowance: Allowance, rows: int) -> None:
        """Rows are about to be shown that a budget bounds. The one that is too many ends the session: what the client was
        told so far would read like a whole result."""
        if not allowance.take(rows):
            self.overdrawn = True
            raise ProtocolError(allowance.exceeded, hint="ask for fewer rows, or for more of them to be allowed")

    def _keep_rows(self, redacted: bytes, already: int, count: int) -> None:
        limit = self.rows_recorded
        if limit is None or already + count <= limit:
            self._kept.append(redacted)
            return
        position = 0
        for _ in range(max(0, limit - already)):
            position += 1 + read_i32_be(redacted, position + 1)
        self._kept.append(redacted[:position])

    def redactor(self, front: Pending, run: Run, unmask: frozenset[str]) -> Redactor:
        shape = run.shape
        if shape is None:
            portal = run.portal
            shape = portal.entry.shape if portal is not None else None
            if shape is None:
                raise ProtocolError("the target sent rows without having described them")
            if portal is not None and portal.results:
                formats = portal.results
                if len(formats) == 1:
                    formats = formats * len(shape)
                if len(formats) != len(shape):
                    raise ProtocolError("the result formats of a portal do not fit its columns")
                known = portal.entry.formatted
                if known is not None and known[0] is shape and known[1] == formats:
                    shape = known[2]
                else:
                    formatted = tuple([c._replace(format=f) for c, f in zip(shape, formats, strict=True)])
                    portal.entry.formatted = (shape, formats, formatted)
                    shape = formatted
            run.shape = shape
        statements, number = run.template.statements, run.statement
        if run.uncalled or (number < len(statements) and not statements[number].returns_rows):
            number = len(statements)  # nobody has traced these: they are masked as what may depend on anything
        return self.masks.rows(run.template, number, shape, unmask, run.permit.decision.transforms)

    # -- everything else ---------------------------------------------------------------------------------------------

    def _message(self, kind: int, data: bytes, start: int, end: int, results: list[Result]) -> bytes | None:
        """One complete message that is not a row. None: pass it on; bytes: say this instead (b"" for nothing)."""
        pending = self.pending
        if kind in _TEXTS:
            self._worked += end - start
        if kind == Backend.READY_FOR_QUERY:
            return self._ready(data[start + 5 : end], results)
        if kind == Backend.ERROR_RESPONSE:
            return self._error(data[start + 5 : end])
        if kind == Backend.NOTICE_RESPONSE or kind == Backend.NOTIFICATION_RESPONSE:
            return self._aside(kind, data[start + 5 : end])
        if kind == Backend.PARAMETER_STATUS:
            return self._parameter(data[start + 5 : end])
        if not pending:
            raise ProtocolError(f"the target sent {wire.BACKEND_NAMES.get(kind, hex(kind))} when nothing was asked")
        front = pending[0]
        swallow = b"" if front.own else None
        expected = front.kind
        if kind == Backend.PARSE_COMPLETE and expected == PARSE:
            pending.popleft()
            return swallow
        if kind == Backend.BIND_COMPLETE and expected == BIND:
            pending.popleft()
            return swallow
        if kind == Backend.CLOSE_COMPLETE and expected == CLOSE:
            pending.popleft()
            return swallow
        if expected == DESCRIBE:
            return self._described(kind, front, data[start + 5 : end], swallow)
        if expected in (EXECUTE, QUERY):
            return self._executed(kind, front, data[start + 5 : end])
        raise ProtocolError(f"the target sent {wire.BACKEND_NAMES.get(kind, hex(kind))} out of turn")

    def _described(self, kind: int, front: Pending, payload: bytes, swallow: bytes | None) -> bytes | None:
        if kind == Backend.PARAMETER_DESCRIPTION and front.statement:
            oids = wire.parse_parameter_description(payload)
            if front.entry is not None:
                front.entry.oids = oids
            return swallow
        if kind == Backend.ROW_DESCRIPTION:
            entry = front.entry
            if entry is None:
                wire.parse_row_description(payload)
            elif entry.shape is None or entry.payload != payload:
                columns = wire.parse_row_description(self._described_as(payload))
                # The formats of one portal say nothing about the next: `redactor` takes each one's from its own Bind.
                entry.shape = tuple([c._replace(format=0) if c.format else c for c in columns])
                entry.payload = payload
            self.pending.popleft()
            if swallow is not None:
                return swallow
            shown = self._as_shown(payload)
            if entry is not None:
                entry.shown = shown is None
            return shown
        if kind == Backend.NO_DATA:
            if front.entry is not None:
                front.entry.shape = ()
            self.pending.popleft()
            return swallow
        raise ProtocolError("the target answered a Describe with something else")

    def _as_shown(self, payload: bytes) -> bytes | None:
        shown = payload if self.observe else self._described_as(payload)
        return None if shown is payload else wire.message(Backend.ROW_DESCRIPTION, shown)

    def _executed(self, kind: int, front: Pending, payload: bytes) -> bytes | None:
        run = front.run
        if run is None:  # the gateway's own question
            if kind in (Backend.COMMAND_COMPLETE, Backend.EMPTY_QUERY_RESPONSE):
                self.pending.popleft()
                return b""
            raise ProtocolError("the target answered the gateway's own question in a way it cannot have")
        simple = front.kind == QUERY
        if kind == Backend.COMMAND_COMPLETE:
            if self.copy_out is not None:
                raise ProtocolError("the target ended a COPY without CopyDone")
            self.copying = None
            tag = wire.parse_command_complete(payload)
            self._completed(run, tag)
            if not simple:
                self.pending.popleft()
                self._finish(run)
            return None
        if kind == Backend.ROW_DESCRIPTION and simple:
            if run.redactor is not None:
                self.count(run)
            run.uncalled = run.shape is not None
            known = run.template.shapes.get(run.statement)
            if known is None or known[0] != payload:
                shape = wire.parse_row_description(self._described_as(payload))
                known = run.template.shapes[run.statement] = payload, shape
            run.shape = known[1]
            return self._as_shown(payload)
        if kind == Backend.EMPTY_QUERY_RESPONSE:
            run.tags.append("")
            if not simple:
                self.pending.popleft()
                self._finish(run)
            return None
        if kind == Backend.PORTAL_SUSPENDED and not simple:
            run.suspended = True
            if run.portal is not None:
                run.portal.started = True
            self.pending.popleft()
            self.count(run)
            self._finish(run)
            return None
        return self._copied(kind, run, payload)

    def _copied(self, kind: int, run: Run, payload: bytes) -> bytes | None:
        """COPY's own messages."""
        statement = run.template.statements[run.statement] if run.statement < len(run.template.statements) else None
        if kind == Backend.COPY_IN_RESPONSE:
            if statement is None or statement.copy is None or statement.copy.direction != "in":
                raise ProtocolError("the target asks for COPY data that no permitted statement announced")
            wire.parse_copy_response(payload)
            self.copying = run
            return None
        if kind == Backend.COPY_OUT_RESPONSE:
            if statement is None or statement.copy is None or statement.copy.direction != "out":
                raise ProtocolError("the target sends COPY data that no permitted statement announced")
            form, columns = wire.parse_copy_response(payload)
            self.copy_out = run
            try:
                decision = run.permit.decision
                run.copier = self.masks.copy(
                    run.template, run.statement, len(columns), form, decision.unmask, decision.transforms
                )
            except ProtocolError:
                if not self.observe:
                    raise
                run.copier = Unread()
            if self._differs:
                try:
                    run.recording = self.masks.copy(
                        run.template, run.statement, len(columns), form, frozenset(), run.permit.decision.transforms
                    )
                except ProtocolError:
                    run.recording = Unread()
            return None
        if kind == Backend.COPY_DATA and self.copy_out is run and run.copier is not None:
            looked = run.copier.looked
            if run.recording is not None:
                looked += run.recording.looked
                self._keep_copy(run, run.recording.feed(payload))
                looked -= run.recording.looked
            before = run.copier.rows
            redacted = run.copier.feed(payload)
            self._worked += run.copier.looked - looked
            if run.permit.allowance is not None:
                self._count_on(run.permit.allowance, run.copier.rows - before)
            if self.observe or redacted == payload:
                return None
            return wire.message(Backend.COPY_DATA, redacted) if redacted else b""
        if kind == Backend.COPY_DONE and self.copy_out is run and run.copier is not None:
            if run.recording is not None:
                self._keep_copy(run, run.recording.finish())
                self._kept.append(wire.message(Backend.COPY_DONE, b""))
            rest = run.copier.finish()
            run.rows += run.copier.rows
            run.cells = Counter(run.copier.cells) + Counter(run.cells)
            self.copy_out = run.copier = run.recording = None
            done = wire.message(Backend.COPY_DONE, b"")
            return wire.message(Backend.COPY_DATA, rest) + done if rest and not self.observe else None
        raise ProtocolError(f"the target sent {wire.BACKEND_NAMES.get(kind, hex(kind))} out of turn")

    def _keep_copy(self, run: Run, redacted: bytes) -> None:
        limit = self.rows_recorded
        if redacted and run.recording is not None and (limit is None or run.recording.rows <= limit):
            self._kept.append(wire.message(Backend.COPY_DATA, redacted))

    def _completed(self, run: Run, tag: str) -> None:
        self.count(run)
        run.tags.append(tag)
        if run.portal is None:
            run.shape = None  # each statement of a Query has its own description
            run.uncalled = False
        run.statement += 1
        if not run.template.plain:
            self.finished.append(run)

    @staticmethod
    def count(run: Run) -> None:
        redactor = run.redactor
        if run.recorder is not None:
            run.recorder.rows = 0  # it serves another run, too
            run.recorder.cells.clear()
        if redactor is not None:
            run.rows += redactor.rows
            redactor.rows = 0  # it serves the next run of the same shape
            if redactor.cells:
                run.cells = Counter(redactor.cells) + Counter(run.cells)
                redactor.cells.clear()
            run.redactor = run.recorder = None

    def _finish(self, run: Run) -> None:
        self.stripped = self.stripped or run.strip
        self.done.append(run)

    def _error(self, payload: bytes) -> bytes | None:
        fields = wire.parse_error(payload)
        sqlstate = fields.get("C", "")
        self.failed = True
        self.copying = None
        self.copy_out = None
        last = fields.get("V") in ("FATAL", "PANIC")
        if not self.pending or (last and self.pending[0].own):
            # Outside any question an error is the server's last word (57P01 and its kin): the client may hear it.
            self.fatal = self._error_kept = True
            return wire.message(Backend.ERROR_RESPONSE, self.masks.fields(payload, strip=True))
        self.fatal = self.fatal or last
        front = self.pending[0]
        if front.own and not front.instead and front.kind != DESCRIBE:  # which fails as the Execute behind it would
            raise ProtocolError(f"the target refused a question of the gateway's own ({sqlstate})")
        run = front.run
        strip = self.late or (run is not None and run.strip) or self._may_quote(run, fields)
        self._error_kept = self.late_kept or self._strips_front()
        if run is not None:
            self.count(run)
            run.failed = True
            run.sqlstate = sqlstate
        if front.kind == QUERY:
            return front.instead or self._masked_error(payload, strip)
        answer = front.instead or self._masked_error(payload, strip or (run is None and self._strips_front()))
        if run is not None:
            self._finish(run)
        self._discard_to_sync(sqlstate)
        return answer

    def _may_quote(self, run: Run | None, fields: Mapping[str, str]) -> bool:
        """Whether code of the database's own said this (a trigger, a default, a check ...): it may have read anything,
        whatever the statement itself touches."""
        return not self.labels <= (run.permit.decision.unmask if run is not None else frozenset()) and said_by_code(fields)

    def _strips_front(self) -> bool:
        """Whether what is being answered touches any label. An error in Parse or Bind may quote values too (constant
        folding): judge by what would have run."""
        if not self.pending:
            return False
        front = self.pending[0]
        of = front.run or front.portal or front.entry
        return of is not None and self.masks.strips(of.template, frozenset())

    def _masked_error(self, payload: bytes, strip: bool) -> bytes | None:
        if self.observe:
            return None
        masked = self.masks.fields(payload, strip=strip)
        return None if masked == payload else wire.message(Backend.ERROR_RESPONSE, masked)

    def take_back(self) -> list[Result]:
        """The Query at the front, or what stands there up to its Sync, was never sent: nothing of it ran."""
        front = self.pending[0]
        if front.kind == QUERY and front.run is not None:
            self.pending.popleft()
            front.run.discarded = True
            self.done.append(front.run)
        else:
            self._discard_to_sync("", sent=False)
        done, self.done = self.done, []
        return [self.result(run, wire.IDLE, failed=False, implicit=False) for run in done]

    def _discard_to_sync(self, sqlstate: str, *, sent: bool = True) -> None:
        """The server ignores what follows an error up to Sync: take it back, newest first. A permitted execution among
        it did not run, which is an outcome too; it failed if the error was about its own statement or portal."""
        dropped: list[Pending] = []
        while self.pending and self.pending[0].kind != SYNC:
            dropped.append(self.pending.popleft())
        culprit = dropped[0] if sent and dropped and dropped[0].run is None else None
        for gone in dropped[1:] if sent else dropped:
            run = gone.run
            if run is None:
                continue
            portal = run.portal
            if culprit is not None and portal is not None and (
                culprit.portal is portal or (culprit.portal is None and culprit.entry is portal.entry)
            ):  # fmt: skip
                run.failed, run.sqlstate, culprit = True, sqlstate, None
            else:
                run.discarded = True
            self._finish(run)
        if not self.pending:  # the server skips what is kept back, too
            self.drop_deferred()
        # Later batches have been projected on top of this one: take them off, and put them back on what is left of it.
        later = [*self.pending, *(pending for _, pending in self.deferred)]
        for other in reversed(later):
            self._take_back(other)
        for gone in reversed(dropped):
            self._drop(gone)
        for other in later:
            self._project(other)
        if not self.pending:
            self.skipping = True

    def drop_deferred(self) -> None:
        """What was kept back is not going to be sent."""
        for _, pending in reversed(self.deferred):
            self._drop(pending)
        self.deferred.clear()

    def _drop(self, gone: Pending) -> None:
        """A message will have no answer."""
        self._take_back(gone)
        if gone.kind == DESCRIBE and gone.entry is not None and gone.entry.shape is None:
            gone.entry.described = False

    def _take_back(self, gone: Pending) -> None:
        """Undo what a message that the server does not act on would have done to a name."""
        if gone.own:
            return
        if gone.kind == PARSE or (gone.kind == CLOSE and gone.statement):
            self.names.set_statement(gone.name, gone.before if isinstance(gone.before, Entry) else None)
        elif gone.kind in (BIND, CLOSE):
            self.names.set_portal(gone.name, gone.before if isinstance(gone.before, Portal) else None)

    def _project(self, coming: Pending) -> None:
        """Do it again, after what came before has changed."""
        if coming.own:
            return
        try:
            if coming.kind == PARSE or (coming.kind == CLOSE and coming.statement):
                coming.before = self.names.set_statement(coming.name, coming.entry if coming.kind == PARSE else None)
            elif coming.kind in (BIND, CLOSE):
                coming.before = self.names.set_portal(coming.name, coming.portal if coming.kind == BIND else None)
        except OverflowError as error:
            raise ProtocolError(str(error)) from None

    def _ready(self, payload: bytes, results: list[Result]) -> bytes | None:
        status = wire.parse_ready(payload)
        self.readies += 1
        front = self.pending.popleft() if self.pending else None
        if front is None or front.kind not in (SYNC, QUERY):
            raise ProtocolError("the target says it is ready while it still owes an answer")
        if front.kind == QUERY and front.run is not None:
            self.count(front.run)
            self._finish(front.run)
        if self.copy_out is not None:
            raise ProtocolError("the target says it is ready in the middle of a COPY")
        self.copying = None
        self.stripped = False
        failed = self.failed
        self._settle(status, results)
        self._was_idle = status == wire.IDLE
        self.status = status
        if status == wire.IDLE and not self.pending:
            if failed:
                self.names.forget_young()
            self.names.end_transaction()
            self.late = self.late_kept = False
        if not self.pending:
            self.unsynced = False
        return b"" if front.own and not front.instead else None

    def _settle(self, status: int, results: list[Result]) -> None:
        failed, self.failed = self.failed, False
        if not self.done:
            return
        implicit = self._was_idle
        for run in self.done:
            results.append(self.result(run, status, failed=failed, implicit=implicit))
        self.done.clear()

    def withdraw(self, after: Pending | None) -> list[Result]:
        """What was forwarded after `after` never left the gateway: it did not run. For a session that ends."""
        unsent: list[Run] = []
        while self.pending and self.pending[-1] is not after:
            run = self.pending.pop().run
            if run is not None:
                run.discarded = True
                unsent.append(run)
        return [self.result(run, wire.IDLE, failed=False, implicit=False) for run in reversed(unsent)]

    def lost(self) -> list[Result]:
        """The target is gone: what it had not answered may or may not have happened."""
        runs = [*self.done, *(p.run for p in self.pending if p.run is not None)]
        self.done.clear()
        self.pending.clear()
        results = []
        for run in runs:
            self.count(run)
            result = self.result(run, wire.IDLE, failed=False, implicit=False)
            if result.outcome not in ("failed", "not_run"):
                result.outcome = "unknown"
            results.append(result)
        return results

    def resolve_early(self, results: list[Result]) -> None:
        """Too many finished runs wait for one ReadyForQuery (executemany): report them as executed, keep memory flat."""
        for run in self.done:
            results.append(self.result(run, wire.IN_TRANSACTION, failed=False, implicit=False, early=True))
        self.done.clear()

    def result(self, run: Run, status: int, *, failed: bool, implicit: bool, early: bool = False) -> Result:
        template = run.template
        statements: Sequence[Mapping[str, object]] = ()
        if run.failed:
            outcome = "failed"
        elif run.discarded:
            outcome = "not_run"
        elif early:
            outcome = "executed"
        elif run.suspended:
            outcome = "suspended"
        elif failed and implicit:
            outcome = "rolled_back"
        else:
            outcome = "completed"
        if len(template.statements) > 1:
            statements = _fates(run, implicit=implicit, failed=run.failed)
        elif not run.failed and outcome == "rolled_back" and run.tags and run.tags[0] in ("COMMIT", "ROLLBACK"):
            outcome = "completed"
        shape = run.shape
        if shape is not self._shape:  # the same few come again and again
            self._shape = shape
            self._shown_shape = () if shape is None else _shape(shape)
        return Result(
            template,
            run.permit,
            outcome,
            run.rows,
            tuple(run.tags),
            run.sqlstate,
            status != wire.IDLE,
            run.cells,
            self._shown_shape,
            statements,
        )

    # -- what may come at any time -----------------------------------------------------------------------------------

    def _aside(self, kind: int, payload: bytes) -> bytes | None:
        if self.observe:
            return None
        if kind == Backend.NOTICE_RESPONSE:
            if self.pending and self.pending[0].own:
                return b""  # of the gateway's own question, at client_min_messages = log or below
            run = self.pending[0].run if self.pending else None
            strip = self.late or (run.strip if run is not None else self._strips_front())
            strip = strip or self._may_quote(run, wire.parse_error(payload))
            masked = self.masks.fields(payload, strip=strip)
            return None if masked == payload else wire.message(Backend.NOTICE_RESPONSE, masked)
        shown = self._masked_text(kind, payload, deaf=self.deaf)
        return None if shown == payload else wire.message(kind, shown)

    def _parameter(self, payload: bytes) -> bytes | None:
        name, value = wire.parse_parameter_status(payload)
        if name == "standard_conforming_strings" and value != "on":
            raise ProtocolError(
                "the target turned standard_conforming_strings off: statements could no longer be judged"
            )
        if name == "client_encoding" and value.upper().replace("-", "") not in ("UTF8", "UNICODE"):
            raise ProtocolError(f"the target changed client_encoding to {value}: statements could no longer be judged")
        if name == "session_authorization":
            return b""  # whose account this is at the target is not the client's business
        if name in STYLES:
            self.styles[name] = value
        shown = value
        if name == SETTING:
            told = self.name.says(value)
            if told is None:
                return b""
            shown = told
        if self.labels and not self.observe and not narrow(name):  # PostgreSQL 16 reports a number, too
            if name == "TimeZone":
                self.zone(value)
            run = self.pending[0].run if self.pending else None
            if self.opaque or self.stripped or (run is not None and run.strip):
                if shown not in self._seen:
                    if name == SETTING:
                        self.name.told = None
                    return b""  # set_config(name, column, ..) would answer with the column here
            else:
                self._see(shown)
        masked = self.masks.text(shown)
        return None if masked == value else wire.parameter_status(name, masked)

    def _see(self, value: str) -> None:
        if len(self._seen) < _MOST_SEEN:
            self._seen.add(value)

    def notes(self, template: PgTemplate, params: Sequence[bytes | None]) -> None:
        """Values that the client itself gives to settings, in plain sight: it may hear of them again."""
        for statement in template.statements:
            for name, value, _ in statement.settings:
                if name in (WAIT, "all"):
                    self.wait = None if value is None else waiting(value)
                if value is not None and value[:1] == "$":
                    for param in params:
                        self._see((param or b"").decode("utf-8", "replace"))
                elif value:
                    self._see(value)

    def zone(self, name: str) -> None:
        """Take note of the session's time zone: its name is in how every time is shown, and may be any text. ProtocolError:
        code has changed it to one that is no name and no offset, and that the client has never said."""
        if not self.opaque:
            self._see(name)
        elif self.labels and not self.observe and name not in self._seen and _ZONE.fullmatch(name) is None:
            raise ProtocolError("code that ran in this session made a time zone of its own; times cannot be shown under it")


@lru_cache(256)
def _shape(columns: tuple[Column, ...]) -> tuple[tuple[str, int, int], ...]:
    return tuple((c.name.decode("utf-8", "replace"), c.type_oid, c.format) for c in columns)


def _too_large(error: TooLargeError) -> ProtocolError:
    return ProtocolError(str(error), hint="raise limits.row_bytes if rows of this size are expected")


def _fates(run: Run, *, implicit: bool, failed: bool) -> list[Mapping[str, object]]:
    """What became of each statement of one Query: a COMMIT inside it makes what stands before it durable."""
    fates: list[dict[str, object]] = []
    pending: list[dict[str, object]] = []
    explicit = not implicit
    for tag in run.tags:
        fate: dict[str, object] = {"tag": tag, "outcome": "completed"}
        fates.append(fate)
        if tag.startswith("ROLLBACK"):
            for earlier in pending:
                earlier["outcome"] = "rolled_back"
            pending.clear()
            explicit = False
        elif tag == "COMMIT":
            for earlier in pending:
                earlier["outcome"] = "committed"
            pending.clear()
            explicit = False
        elif tag == "BEGIN":
            explicit = True
        else:
            pending.append(fate)
    if failed:
        for earlier in pending:
            earlier["outcome"] = "rolled_back"
        fates.append({"tag": "", "outcome": "failed", "sqlstate": run.sqlstate})
        for _ in range(len(run.template.statements) - len(fates)):
            fates.append({"tag": "", "outcome": "not_run"})
    elif not explicit:
        for earlier in pending:
            earlier["outcome"] = "committed"
    return list(fates)
