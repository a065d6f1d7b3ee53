"""Rows on their way to the client, as its plan lets it see them.

Contract: `RowRedactor.redact` takes complete DataRow messages and returns complete DataRow messages. Where nothing has
to change it returns the very bytes it was given. A row that does not fit its shape raises ProtocolError, a row beyond
the limit TooLargeError (a ValueError): in both cases none of these rows has been returned. Columns behind the last
masked one are not measured when no detector saw anything: they go as they came, whatever they are.

The order matters: labelled columns are replaced first, detectors look at what is left. So what is masked already costs
no second look, and nothing that a label hides is counted under a detector's name.

This module is compiled by mypyc where there is a C compiler, and runs unchanged where there is none: the annotations
`i64` are for that. It deliberately holds no partial row: who cuts the stream cuts it at messages.

Source: PostgreSQL 18 documentation, 54.7 "Message Formats", DataRow.
"""

from __future__ import annotations

from collections import Counter
from typing import TYPE_CHECKING, Final

from librt.strings import read_i32_be

from doorward.errors import ProtocolError
from doorward.masking.detect import Suspects
from doorward.masking.plan import Action, Plan, Reading
from doorward.protocols.postgres.cells import Cells
from doorward.protocols.postgres.redact_copy import CopyRedactor as CopyRedactor
from doorward.protocols.postgres.redact_copy import TooLargeError as TooLargeError
from doorward.protocols.postgres.redact_fields import redact_fields as redact_fields

if TYPE_CHECKING:
    from mypy_extensions import i64

MAX_ROW: Final = 16 << 20  # bytes of one row that may be held while a mask is active
_GROUP: Final = 4096  # bytes of rows that are looked at together once a chunk has shown something
_NULL: Final = b"\xff\xff\xff\xff"
_MAX_HEADS: Final = 4096

_KEEP: Final = 0
_CONSTANT: Final = 1
_COMPUTED: Final = 2


class RowRedactor:
    """Rewrites the rows of one result. `rows`: how many have passed; `cells`: how many cells changed, by label."""

    def __init__(self, plan: Plan, max_row: int = MAX_ROW) -> None:
        self.rows: int = 0
        self.cells: Counter[str] = Counter()
        self.plan = plan
        self._limit = (1 << 31) if plan.passes else max_row  # nothing is held for a plan that passes
        self._masked = plan.masked
        self._detectors = plan.detectors
        self._looks = any(column.action == Action.DETECT for column in plan.columns)
        self._warm = False  # whether the last chunk had something for the detectors
        self._cells = Cells(plan.detectors, plan.transforms, self.cells)
        self._width = len(plan.columns)
        self._kinds: list[int] = []  # by column, up to the last masked one
        self._fields: list[bytes] = []  # length word and value that a masked column becomes
        self._labels: list[str] = []
        self._readings: list[Reading] = []
        self._looked_at: list[bool] = []
        reach = 0
        for index, column in enumerate(plan.columns):
            kind = _KEEP
            field = _NULL
            if column.action == Action.REPLACE:
                kind = _CONSTANT
                if column.replacement is not None:
                    field = len(column.replacement).to_bytes(4, "big") + column.replacement
            elif column.action == Action.TRANSFORM:
                kind = _COMPUTED
            if kind != _KEEP:
                reach = index + 1
            self._kinds.append(kind)
            self._fields.append(field)
            self._labels.append(column.label)
            self._readings.append(column.reading)
            self._looked_at.append(column.action == Action.DETECT)
        self._kinds = self._kinds[:reach]
        self._constant_cells: list[int] = [0] * reach
        self._heads: dict[int, bytes] = {}

    def redact(self, data: bytes, start: int, end: int) -> bytes:
        """The complete DataRow messages of data[start:end], as the client may see them."""
        if self._masked:
            data = self._replaced(data, start, end)
            start = 0
            end = len(data)
        else:
            self._count(data, start, end)
            if start != 0 or end != len(data):
                data = data[start:end]
                start = 0
                end = len(data)
        # Where the last chunk had something, this one will: it is looked at in groups at once, and not twice.
        if self._looks and (self._warm or self._detectors.hit(data)):
            return self._detected(data, end)
        return data

    def _count(self, data: bytes, first: int, stop: int) -> None:
        """Count rows, and see that they are rows."""
        pos: i64 = first
        end: i64 = stop
        limit: i64 = self._limit
        rows: i64 = 0
        while pos < end:
            if end - pos < 7 or data[pos] != 68:
                raise ProtocolError("this is not a row")
            word: int = read_i32_be(data, pos + 1)
            length: i64 = word
            pos += length + 1
            if length < 6 or pos > end:
                raise ProtocolError("a row's length does not fit")
            if length > limit:
                raise TooLargeError("a row is larger than may be held")
            rows += 1
        self.rows += rows

    def _head(self, length: int) -> bytes:
        """The beginning of a row of our shape and this length: type, length, column count."""
        head = b"D" + length.to_bytes(4, "big") + self._width.to_bytes(2, "big")
        if len(self._heads) < _MAX_HEADS:
            self._heads[length] = head
        return head

    def _replaced(self, data: bytes, first: int, stop: int) -> bytes:
        """All rows, with labelled columns replaced."""
        out: list[bytes] = []
        kinds = self._kinds
        fields = self._fields
        heads = self._heads
        width: i64 = self._width
        reach: i64 = len(kinds)
        limit: i64 = self._limit
        pos: i64 = first
        end: i64 = stop
        last: i64 = pos  # everything before this is in `out`
        rows: i64 = 0
        cells: list[int] = [0] * len(kinds)
        while pos < end:
            if end - pos < 7 or data[pos] != 68:
                raise ProtocolError("this is not a row")
            word: int = read_i32_be(data, pos + 1)
            length: i64 = word
            after: i64 = pos + 1 + length
            if length < 6 or after > end:
                raise ProtocolError("a row's length does not fit")
            if length > limit:
                raise TooLargeError("a row is larger than may be held")
            if (data[pos + 5] << 8) | data[pos + 6] != width:
                raise ProtocolError("a row has another number of columns than was described")
            rows += 1
            p: i64 = pos + 7
            since: i64 = p  # what of this row is not yet in `out`
            growth: i64 = 0
            slot = -1
            i: i64 = 0
            while i < reach:
                if p + 4 > after:
                    raise ProtocolError("a row ends within a column")
                word = read_i32_be(data, p)
                size: i64 = word
                if size < 0:
                    if size != -1:
                        raise ProtocolError("a column's length is negative")
                    p += 4
                    i += 1
                    continue
                behind: i64 = p + 4 + size
                if behind > after:
                    raise ProtocolError("a column's length does not fit its row")
                kind = kinds[i]
                if kind != _KEEP:
                    field = fields[i]
                    if kind == _COMPUTED:
                        field = self._computed(data[p + 4 : behind], i)
                    cells[i] += 1
                    if slot < 0:
                        if last < pos:
                            out.append(data[last:pos])
                        slot = len(out)
                        out.append(_NULL)  # its head, once its length is known
                    if since < p:
                        out.append(data[since:p])
                    out.append(field)
                    growth += len(field) - 4 - size
                    since = behind
                p = behind
                i += 1
            if p != after and reach == width:
                raise ProtocolError("a row holds more than its columns")
            if slot >= 0:
                total: int = length + growth
                head = heads.get(total)
                if head is None:
                    head = self._head(total)
                out[slot] = head
                last = since
            pos = after
        self.rows += rows
        for index, number in enumerate(cells):
            if number:
                self.cells[self._labels[index]] += number
        if not out:
            return data if first == 0 and stop == len(data) else data[first:stop]
        if last < end:
            out.append(data[last:end])
        return b"".join(out)

    def _computed(self, value: bytes, index: int) -> bytes:
        becomes = self._cells.transformed(value, self._labels[index], self._readings[index])
        return _NULL if becomes is None else len(becomes).to_bytes(4, "big") + becomes

    def _detected(self, data: bytes, stop: int) -> bytes:
        """All rows, with what detectors find replaced. Narrows down: groups of rows, rows, values."""
        out: list[bytes] = []
        warm = False
        pos: i64 = 0
        end: i64 = stop
        last: i64 = 0
        while pos < end:
            ahead: i64 = pos
            while ahead < end and ahead - pos < _GROUP:
                word: int = read_i32_be(data, ahead + 1)
                step: i64 = word
                ahead += 1 + step
            if self._detectors.hit(data[pos:ahead]):
                warm = True
                while pos < ahead:
                    word = read_i32_be(data, pos + 1)
                    length: i64 = word
                    after: i64 = pos + 1 + length
                    row = data[pos:after]
                    suspects = self._detectors.suspects(row)
                    if suspects is not None:
                        rewritten = self._row(row, suspects)
                        if rewritten is not None:
                            if last < pos:
                                out.append(data[last:pos])
                            out.append(rewritten)
                            last = after
                    pos = after
            pos = ahead
        self._warm = warm
        if not out:
            return data
        if last < end:
            out.append(data[last:end])
        return b"".join(out)

    def _row(self, row: bytes, suspects: Suspects) -> bytes | None:
        """One row in which something was seen, rewritten; None: it may go as it is."""
        end: i64 = len(row)
        width: i64 = self._width
        if (row[5] << 8) | row[6] != width:
            raise ProtocolError("a row has another number of columns than was described")
        parts: list[bytes] = []
        p: i64 = 7
        since: i64 = 7
        i: i64 = 0
        while i < width:
            if p + 4 > end:
                raise ProtocolError("a row ends within a column")
            word: int = read_i32_be(row, p)
            size: i64 = word
            behind: i64 = p + 4
            if size >= 0:
                behind += size
                if behind > end:
                    raise ProtocolError("a column's length does not fit its row")
                if size > 0 and self._looked_at[i]:
                    becomes = self._cells.masked(row[p + 4 : behind], self._readings[i], suspects)
                    if becomes is not None:
                        if since < p:
                            parts.append(row[since:p])
                        value = becomes[0]
                        parts.append(_NULL if value is None else len(value).to_bytes(4, "big") + value)
                        since = behind
            elif size != -1:
                raise ProtocolError("a column's length is negative")
            p = behind
            i += 1
        if p != end:
            raise ProtocolError("a row holds more than its columns")
        if not parts:
            return None
        if since < end:
            parts.append(row[since:end])
        body = b"".join(parts)
        return b"".join((b"D", (len(body) + 6).to_bytes(4, "big"), row[5:7], body))
