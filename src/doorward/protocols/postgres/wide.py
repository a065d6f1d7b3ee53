"""A row too wide to be held, masked while it arrives: DataRow messages of more than WIDE bytes, or, where detectors look, of
more than NARROW.

Contract: `feed` takes what follows the message's length, in pieces; when `whole`, `pieces` gives the row as the client may see
it, from its head on. A DataRow says its length before its content, and what detectors make of a value is known at its end: so
what may be shown is put aside in a `Store`, outside of memory, until the length is known. Where no column that is still to come
can change, it is known at once, and the rest passes (`direct`): `out` has what may go on.

A value of at most WHOLE bytes is masked as in any row. Of a longer one: a constant stays a constant, and its bytes are dropped;
a transform that would look at it gives way to the redaction; text is looked at in windows (`masking.windows`); JSON in which
something is found becomes its redaction, whole, and a value of any other type NULL. Memory: two windows, and WHOLE bytes.

With `asks`, it does not look closely at a value of more than LONG bytes itself: where the prefilter says that somebody has to,
`question` has what it needs to know then, and `feed` takes nothing until it was `told`.

Of the row itself it reads the framing only; a length that does not fit raises ProtocolError.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from typing import Final, Protocol

from doorward.errors import ProtocolError
from doorward.masking.detect import Detectors
from doorward.masking.detectors import redaction
from doorward.masking.plan import Action, ColumnPlan, Plan, Reading, as_read
from doorward.masking.windows import Seen, Window, Windows, look
from doorward.protocols.postgres.cells import Cells, UndecodableError
from doorward.protocols.postgres.looking import LONG, Answer, Question

WIDE: Final = 1 << 20  # bytes of a row that may be held
WHOLE: Final = 1 << 20  # bytes of one value of a wide row that may be held
_PIECE: Final = 256 << 10
_SMALL: Final = 4096  # bytes that are not worth putting aside
_RECORDED: Final = 16 << 10  # bytes of a row's values that the record keeps, where it differs from what is shown
_SEEN: Final = 64 << 10  # bytes that the prefilter looks at where they are moved
_NULL: Final = b"\xff\xff\xff\xff"

# Readings of which nothing becomes where the prefilter sees nothing in their bytes; others have to hold together.
_WHOLE_TEXTS: Final = frozenset({Reading.TEXT, Reading.JSON, Reading.OPAQUE})

_PASS, _DROP, _HOLD, _LOOK = range(4)  # what is done with the bytes of a value


class Store(Protocol):
    """Where masked bytes wait; what is read is read in order, once."""

    def append(self, data: bytes) -> None: ...
    def size(self) -> int: ...
    def truncate(self, size: int) -> None: ...
    def read(self, size: int) -> bytes: ...
    def close(self) -> None: ...


class Memory:
    """A Store for those who have no other."""

    def __init__(self) -> None:
        self._held = bytearray()
        self._read = 0

    def append(self, data: bytes) -> None:
        self._held += data

    def size(self) -> int:
        return len(self._held)

    def truncate(self, size: int) -> None:
        del self._held[size:]

    def read(self, size: int) -> bytes:
        self._read += size
        return bytes(self._held[self._read - size : self._read])

    def close(self) -> None:
        self._held.clear()


class Aside:
    """A message whose length is not known before all of it is: what of it may be shown is put aside, or goes on at once
    (`direct`, `out`) where that is certain. `question`: what somebody has to say before it goes on. `cells`: how many values
    have changed, by label."""

    def __init__(self, kind: bytes, store: Store | None) -> None:
        self.question: Question | None = None
        self.out: list[bytes] = []
        self.cells: Counter[str] = Counter()
        self.direct = False
        self._kind = kind
        self._store = store
        self._script: list[bytes | int] = []  # the message: bytes, and how many more come from the store
        self._said = 0  # bytes of it

    def pieces(self) -> Iterator[bytes]:
        """A message that is whole, and not direct, as the client may see it."""
        yield self._kind + (4 + self._said).to_bytes(4, "big")
        for part in self._script:
            if isinstance(part, bytes):
                yield part
                continue
            assert self._store is not None
            while part:
                step = min(part, _PIECE)
                part -= step
                yield self._store.read(step)

    def told(self, answer: Answer) -> None:
        """What the question was answered with. UndecodableError: the value cannot be masked."""
        raise ValueError("nothing was asked")

    def close(self) -> None:
        """Nothing more is read of what was put aside."""
        if self._store is not None:
            self._store.close()

    def _put(self, shown: bytes) -> None:
        if self.direct:
            self.out.append(shown)
            return
        self._said += len(shown)
        store = self._store
        if len(shown) <= _SMALL or store is None:
            self._script.append(shown)
        else:
            store.append(shown)
            self._script.append(len(shown))

    def _goes_on(self, left: int) -> None:
        """The `left` bytes that are still to come will not change; so the length is known, unless something is put aside."""
        if not self.direct and all(isinstance(part, bytes) for part in self._script):
            self.direct = True
            self.out.append(self._kind + (4 + self._said + left).to_bytes(4, "big"))
            self.out.extend([part for part in self._script if isinstance(part, bytes)])
            self._script.clear()


def changes(column: ColumnPlan, detectors: Detectors) -> bool:
    """Whether a value of this column may become another one."""
    return column.action >= Action.REPLACE or (column.action == Action.DETECT and bool(detectors.detectors))


def asked(value: bytes, detectors: Detectors) -> bool:
    """Whether somebody else is to look at a long value: anything may be in it, or to see that takes long."""
    return len(value) > _SEEN or detectors.hit(value)


class WideRow(Aside):
    """One row. `length` is what its message says. `store` None: nothing in it changes. `recorded`: `record` is wanted, too.
    A tuple of binary COPY data is a row, too: in a message of another `kind`,
    and the first one behind a `prefix`."""

    def __init__(
        self, plan: Plan, length: int, store: Store | None, *, recorded: bool = False, asks: bool = False,
        kind: bytes = b"D", prefix: bytes = b"",
    ) -> None:  # fmt: skip
        super().__init__(kind, store)
        self._columns = plan.columns
        self._masks = Cells(plan.detectors, plan.transforms, self.cells)
        self._left = length - 4  # bytes of the message that have not come yet
        self._index = -1  # of the column at hand; -1: their number is not known yet
        self._word = b""  # of a length or number that is cut
        self._mode = _PASS
        self._value = 0  # bytes of the value at hand that have not come yet
        self._kept: list[bytes] = []  # of a value that is held
        self._asks = asks
        self._labels = plan.detectors.labels
        self._windows: Windows | None = None  # through which the value at hand is looked at
        self._window: Window | None = None  # that was asked about
        self._began = 0  # where its bytes begin in the store
        # Behind this column nothing changes.
        self._last = -1 if store is None else max((i for i, c in enumerate(self._columns) if self._changes(c)), default=-1)
        self._recorded: list[bytes] | None = [] if recorded else None
        self._room = _RECORDED
        self._original: list[bytes] | None = None  # of the value at hand, for the record
        if prefix:
            self._put(prefix)

    @property
    def whole(self) -> bool:
        """Whether all of the row has come, and is masked."""
        return self._left == 0 and self.question is None

    def _changes(self, column: ColumnPlan) -> bool:
        return changes(column, self._masks.detectors)

    def feed(self, data: bytes, position: int) -> int:
        """Take what of data[position:] belongs to this row; returns where that ends. ProtocolError: it is no row."""
        end = min(len(data), position + self._left)
        while position < end and self.question is None:
            if self._value:
                step = min(self._value, end - position)
                if self._mode == _LOOK and self._windows is not None:
                    step = min(step, self._windows.room)
                self._value -= step
                self._left -= step
                self._content(data[position : position + step])
                position += step
                if self._value == 0 and self.question is None:
                    self._ended()
                continue
            if self._index == len(self._columns):
                raise ProtocolError("a row holds more than its columns")
            step = min((2 if self._index < 0 else 4) - len(self._word), end - position)
            self._word += data[position : position + step]
            self._left -= step
            position += step
            if self._index < 0:
                if len(self._word) == 2:
                    self._counted()
            elif len(self._word) == 4:
                self._measured()
        if self.question is not None:
            return position
        if self._left == 0 and (self._index != len(self._columns) or self._value or self._word):
            raise ProtocolError("a row ends within a column")
        return end

    def told(self, answer: Answer) -> None:
        """What the question was answered with. UndecodableError: the value cannot be masked."""
        question, self.question = self.question, None
        assert question is not None
        if answer.failed:
            raise UndecodableError(answer.failed)
        if self._window is None:
            self.cells.update(answer.found)
            self._field(answer.becomes if answer.changed else question.value)
            self._next()
            return
        window, self._window = self._window, None
        assert self._windows is not None
        self._put_aside(self._windows.seen(window, Seen(answer.becomes or b"", answer.stop, answer.found, answer.over)))
        if window.last:
            self._looked(self._columns[self._index])
            self._next()
        elif self._value == 0:
            self._ended()

    def record(self) -> bytes:
        """The row as it came, but for what is too long for the record: it says how long. To be masked like any row."""
        assert self._recorded is not None
        body = b"".join(self._recorded)
        return b"D" + (6 + len(body)).to_bytes(4, "big") + len(self._columns).to_bytes(2, "big") + body

    # -- columns -----------------------------------------------------------------------------------------------------

    def _counted(self) -> None:
        if int.from_bytes(self._word, "big") != len(self._columns):
            raise ProtocolError("a row has another number of columns than was described")
        self._put(self._word)
        self._word = b""
        self._next()

    def _next(self) -> None:
        self._index += 1
        if self._index > self._last:
            self._goes_on(self._left)

    def _measured(self) -> None:
        """How long the next value is."""
        word, self._word = self._word, b""
        size = int.from_bytes(word, "big", signed=True)
        if size < -1 or size > self._left:
            raise ProtocolError("a column's length does not fit its row")
        column = self._columns[self._index]
        self._remember(column, word, size)
        changes = self._changes(column) and self._store is not None
        if size == -1 and not (changes and column.action == Action.REPLACE and column.nulls):
            self._put(_NULL)
            self._next()
            return
        self._value = max(size, 0)
        if not changes or (column.action == Action.DETECT and size == 0):
            self._mode = _PASS
            self._put(word)
        elif column.action == Action.REPLACE:
            self._mode = _DROP
            self._field(column.replacement)
            self.cells[column.label] += 1
        elif size <= WHOLE:
            self._mode = _HOLD
        elif column.action == Action.TRANSFORM:
            self._mode = _DROP
            self._redacted(column, column.label)
            self.cells[column.label] += 1
        else:
            self._mode = _LOOK
            self._windows = Windows(self._masks.detectors)
            self._script.append(b"")  # its length, once that is known
            assert self._store is not None
            self._began = self._store.size()
        if self._value == 0:
            self._ended()

    def _content(self, piece: bytes) -> None:
        if self._original is not None:
            self._original.append(piece)
        if self._mode == _PASS:
            self._put(piece)
        elif self._mode == _HOLD:
            self._kept.append(piece)
        elif self._mode == _LOOK:
            assert self._windows is not None
            if self._windows.cells and self._columns[self._index].reading != Reading.TEXT:
                return  # it is decided
            self._windows.hold(piece)
            if self._windows.room == 0:
                self._look(last=False)

    def _look(self, *, last: bool) -> None:
        """Look at the window that is due, or ask."""
        windows = self._windows
        assert windows is not None
        window = windows.due(last=last)
        if window is None:
            return
        if self._asks and self._masks.detectors.hit(window.text):
            self._window = window
            self.question = Question(window.text, self._labels, None, window.start, last)
        else:
            self._put_aside(windows.seen(window, look(self._masks.detectors, window)))

    def _put_aside(self, shown: bytes) -> None:
        assert self._store is not None
        self._store.append(shown)

    def _ended(self) -> None:
        """All of a value has come."""
        column = self._columns[self._index]
        if self._original is not None:
            self._record(b"".join(self._original))
            self._original = None
        if self._mode == _HOLD:
            value = b"".join(self._kept)
            self._kept.clear()
            if column.action == Action.TRANSFORM:
                self.cells[column.label] += 1
                self._field(self._masks.transformed(value, column.label, column.reading))
            elif self._asks and len(value) > LONG and (
                column.reading not in _WHOLE_TEXTS or asked(value, self._masks.detectors)
            ):  # fmt: skip
                self.question = Question(value, self._labels, column.reading)
                return
            else:
                becomes = self._masks.masked(value, column.reading)
                self._field(value if becomes is None else becomes[0])
        elif self._mode == _LOOK:
            windows = self._windows
            assert windows is not None
            if not (windows.cells and column.reading != Reading.TEXT):
                self._look(last=True)
                if self.question is not None:
                    return
            self._looked(column)
        self._next()

    def _looked(self, column: ColumnPlan) -> None:
        windows, store = self._windows, self._store
        assert windows is not None
        assert store is not None
        self._windows = None
        found = windows.cells
        self.cells.update(found)
        if found and column.reading != Reading.TEXT:
            store.truncate(self._began)
            self._script.pop()
            if column.reading in (Reading.JSON, Reading.JSONB):
                self._redacted(column, min(found))
            else:
                self._field(None)
            return
        size = store.size() - self._began
        self._script[-1] = size.to_bytes(4, "big")
        self._script.append(size)
        self._said += 4 + size

    def _redacted(self, column: ColumnPlan, label: str) -> None:
        self._field(as_read(redaction(label), column.reading))

    def _field(self, value: bytes | None) -> None:
        if value is None:
            self._put(_NULL)
        else:
            self._put(len(value).to_bytes(4, "big"))
            self._put(value)

    # -- the record --------------------------------------------------------------------------------------------------

    def _remember(self, column: ColumnPlan, word: bytes, size: int) -> None:
        if self._recorded is None:
            return
        if size <= 0:
            self._recorded.append(word)
        elif size <= self._room:
            self._room -= size
            self._original = []
        elif column.reading in (Reading.TEXT, Reading.JSON, Reading.JSONB):
            self._record(as_read(f"[{size} bytes, not recorded]", column.reading))
        else:
            self._recorded.append(_NULL)

    def _record(self, value: bytes) -> None:
        assert self._recorded is not None
        self._recorded.append(len(value).to_bytes(4, "big"))
        self._recorded.append(value)
