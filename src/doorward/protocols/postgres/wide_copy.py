"""A line of COPY data too long to be held, as text or CSV, masked while it arrives: what `wide` does for rows.

Contract: that of `wide.WideRow`. A message is one line, as PostgreSQL sends them; so is what comes out. Of a field of at most
WHOLE bytes becomes what becomes of it in any line (`redact_copy`). Of a longer one: a labelled field becomes its constant, or
the redaction, and its bytes are dropped; any other is looked at in windows, as what it says, and written as COPY writes it:
in CSV within quotes, needed or not. Memory: what came last, two windows, and a field of WHOLE bytes, as written and as read.

COPY says no field's length before it, and a character of it may be written as up to four: what is cut waits for its rest. A
message of another form raises ProtocolError. Binary COPY data has no lines: its tuples are rows.

Source: PostgreSQL 18 documentation, COPY, "File Formats"; 54.2.6 "COPY Operations": one CopyData message for each row.
"""

from __future__ import annotations

import re
from typing import Final

from doorward.errors import ProtocolError
from doorward.masking.plan import Action, ColumnPlan, Plan, Reading
from doorward.masking.windows import Seen, Window, Windows, look
from doorward.protocols.postgres.cells import UndecodableError
from doorward.protocols.postgres.looking import LONG, Answer, Question
from doorward.protocols.postgres.redact_copy import CopyRedactor, unescaped
from doorward.protocols.postgres.wide import WHOLE, Aside, Store, asked, changes

_CONSTANT: Final = 4096  # bytes of a field that is replaced whatever it says that are held: it may be NULL
_CUT: Final = "a line of COPY data does not end with its message"

_PASS, _DROP, _HOLD, _LOOK = range(4)  # what is done with the bytes of a field


class Passing(Aside):
    """A message of `length` of which nothing changes."""

    def __init__(self, length: int) -> None:
        super().__init__(b"d", None)
        self._left = length - 4
        self._goes_on(self._left)

    @property
    def whole(self) -> bool:
        """Whether all of it has come."""
        return self._left == 0

    def feed(self, data: bytes, position: int) -> int:
        """Take what of data[position:] belongs to it; returns where that ends."""
        end = min(len(data), position + self._left)
        self._left -= end - position
        self._put(data[position:end])
        return end


class WideLine(Aside):
    """One line, in a message of `length`. `cells`: how many fields have changed, by label."""

    def __init__(self, copy: CopyRedactor, length: int, store: Store, *, asks: bool = False) -> None:
        super().__init__(b"d", store)
        plan: Plan = copy.plan
        self._copy = copy
        self._columns = plan.columns
        self._detectors = plan.detectors
        self._asks = asks
        self._left = length - 4  # bytes of the message that have not come yet
        self._input = b""  # what came last, read up to `_at`
        self._at = 0
        self._over = False  # the line has ended
        self._index = 0
        self._mode = _PASS
        self._raw: list[bytes] = []  # of a field that is held, as written
        self._value: list[bytes] = []  # .. and what that says
        self._size = 0
        self._behind = b""  # the delimiter or line end that came behind the field at hand
        self._inside = False  # csv: within quotes
        self._windows: Windows | None = None  # through which the field at hand is looked at
        self._window: Window | None = None  # that was asked about
        self._due = b""  # what of it did not fit into one
        self._last = max((i for i, c in enumerate(self._columns) if changes(c, plan.detectors)), default=-1)
        delimiter, quote, escape = (re.escape(one) for one in (copy.delimiter, copy.quote, copy.escape))
        if not copy.csv:
            # An escape is taken with what could belong to it; at the end of the message nothing more can.
            self._run = re.compile(rb"(?:[^\\\n" + delimiter + rb"]++|\\[^\n](?=[\s\S]{2}))*+")
            self._end = re.compile(rb"(?:[^\\\n" + delimiter + rb"]++|\\[^\n]|\\(?=\n))*+")
        else:
            self._run = self._end = re.compile(rb"[^\n" + delimiter + quote + rb"]*+")
            pair = quote + quote if copy.quote == copy.escape else escape + rb"[\s\S]"
            self._within = re.compile(rb"(?:[^" + quote + escape + rb"]++|" + pair + rb")*+")
            self._pair = re.compile(escape + rb"([" + quote + escape + rb"])")
        self._begin()

    @property
    def whole(self) -> bool:
        """Whether all of the line has come, and is masked."""
        return self._left == 0 and self.question is None and self._over

    def feed(self, data: bytes, position: int) -> int:
        """Take what of data[position:] belongs to this line; returns where that ends. ProtocolError: it is no line."""
        end = min(len(data), position + self._left)
        if position < end:
            self._left -= end - position
            self._input = self._input[self._at :] + data[position:end]
            self._at = 0
        while self.question is None:
            if self._due or (self._behind and self._mode == _LOOK):
                self._drain()
            elif self._behind:
                self._ended()
            elif self._at == len(self._input) or not self._read():
                break
        if self._left == 0 and self.question is None and not self._over:
            raise ProtocolError(_CUT)
        return end

    def told(self, answer: Answer) -> None:
        """What the question was answered with. UndecodableError: the value cannot be masked."""
        question, self.question = self.question, None
        assert question is not None
        if answer.failed:
            raise UndecodableError(answer.failed)
        if self._window is None:
            self.cells.update(answer.found)
            self._put(self._copy.written(answer.becomes) if answer.changed else b"".join(self._raw))
            self._next()
            return
        window, self._window = self._window, None
        self._seen(window, Seen(answer.becomes or b"", answer.stop, answer.found, answer.over))

    # -- reading -----------------------------------------------------------------------------------------------------

    def _read(self) -> bool:
        """Read on, as far as can be told; False: the rest has to come first."""
        if self._over:
            raise ProtocolError("a message of COPY data holds more than one line")
        if self._inside:
            return self._read_within()
        source, at = self._input, self._at
        found = (self._run if self._left else self._end).match(source, at)
        assert found is not None
        stop = found.end()
        if stop > at:
            piece = source[at:stop]
            self._at = stop
            self._content(piece, piece if self._copy.csv or self._mode in (_PASS, _DROP) else unescaped(piece))
            return True
        here = source[at : at + 1]
        if here == b"\\" and not self._copy.csv:  # of an escape, or before the line end: one more byte tells which
            if source[at + 1 : at + 2] == b"\n":
                self._at += 1
                self._content(here, here)
                return True
            return False
        self._at += 1
        if here == b"\n" or here == self._copy.delimiter:
            self._behind = here
        else:
            self._inside = True
            self._content(here, b"")
        return True

    def _read_within(self) -> bool:
        """Within quotes."""
        source, at, copy = self._input, self._at, self._copy
        found = self._within.match(source, at)
        assert found is not None
        stop = found.end()
        if stop > at:
            piece = source[at:stop]
            self._at = stop
            self._content(piece, piece.replace(copy.quote * 2, copy.quote) if copy.quote == copy.escape
                          else self._pair.sub(rb"\1", piece))  # fmt: skip
            return True
        if self._left and at + 1 == len(source):
            return False  # one more byte tells whether it is a pair
        if source[at : at + 1] != copy.quote:
            raise ProtocolError(_CUT)  # an escape, and nothing behind it
        self._inside = False
        self._at += 1
        self._content(copy.quote, b"")
        return True

    def _content(self, raw: bytes, value: bytes) -> None:
        """A part of the field at hand, as written, and what it says."""
        if self._mode == _PASS:
            self._put(raw)
        elif self._mode == _LOOK:
            self._due = self._due + value if self._due else value
        elif self._mode == _HOLD:
            self._raw.append(raw)
            self._size += len(raw)
            column = self._columns[self._index]
            if column.action != Action.REPLACE:
                self._value.append(value)
            if self._size > (_CONSTANT if column.action == Action.REPLACE else WHOLE):
                self._outgrown(column)

    # -- fields ------------------------------------------------------------------------------------------------------

    def _begin(self) -> None:
        """A field begins."""
        if self._index == len(self._columns):
            raise ProtocolError("a row of COPY data has another number of fields than was announced")
        self._mode = _HOLD if changes(self._columns[self._index], self._detectors) else _PASS
        if self._index > self._last:
            self._goes_on(self._left + len(self._input) - self._at)

    def _outgrown(self, column: ColumnPlan) -> None:
        """A field is longer than may be held."""
        if column.action == Action.DETECT:
            self._mode = _LOOK
            self._windows = Windows(self._detectors)
            self._due = b"".join(self._value)
            if self._copy.csv:
                self._put(self._copy.quote)
        else:
            self._mode = _DROP
            self._put(self._copy.replaced(column))
        self._raw.clear()
        self._value.clear()

    def _drain(self) -> None:
        """Look at as much of a long field as makes a window."""
        windows = self._windows
        assert windows is not None
        if self._due:
            room = windows.room
            windows.hold(self._due[:room])
            self._due = self._due[room:]
        last = bool(self._behind) and not self._due
        if windows.room and not last:
            return
        window = windows.due(last=last)
        if window is None:
            if last:
                self._looked()
        elif self._asks and self._detectors.hit(window.text):
            self._window = window
            self.question = Question(window.text, self._detectors.labels, None, window.start, last)
        else:
            self._seen(window, look(self._detectors, window))

    def _seen(self, window: Window, seen: Seen) -> None:
        windows = self._windows
        assert windows is not None
        self._put(self._copy.escaped(windows.seen(window, seen)))
        if window.last:
            self._looked()

    def _looked(self) -> None:
        """All of a long field has been looked at."""
        assert self._windows is not None
        self.cells.update(self._windows.cells)
        self._windows = None
        if self._copy.csv:
            self._put(self._copy.quote)
        self._next()

    def _ended(self) -> None:
        """All of a field has come that was not too long."""
        column = self._columns[self._index]
        if self._mode == _HOLD:
            raw = b"".join(self._raw)
            value = b"".join(self._value)
            if (
                self._asks and column.action == Action.DETECT and len(value) > LONG
                and not self._copy.stays(raw, column) and asked(value, self._detectors)
            ):  # fmt: skip
                self.question = Question(value, self._detectors.labels, Reading.TEXT)
                return
            becomes = self._copy.field(raw, column, True, value)
            self._put(raw if becomes is None else becomes)
        self._next()

    def _next(self) -> None:
        """Behind a field."""
        behind, self._behind = self._behind, b""
        self._raw.clear()
        self._value.clear()
        self._size = 0
        self._put(behind)
        self._index += 1
        if behind != b"\n":
            self._begin()
            return
        if self._index != len(self._columns):
            raise ProtocolError("a row of COPY data has another number of fields than was announced")
        self._over = True
        if self._at < len(self._input) or self._left:
            raise ProtocolError("a message of COPY data holds more than one line")
