"""Rows on their way to the client, as its plan lets it see them.

Contract: `RowRedactor.redact` takes complete DataRow messages and returns complete DataRow messages. Where nothing has
to change it returns the very bytes it was given. A row that does not fit its shape raises ProtocolError, a row beyond
the limit TooLargeError (a ValueError): in both cases none of these rows has been returned. Columns behind the last
masked one are not measured when no detector saw anything: they go as they came, whatever they are.

`some` is for those who have other things to do: it stops behind the row with which it has looked for long enough.

The order matters: labelled columns are replaced first, detectors look at what is left. So what is masked already costs
no second look, and nothing that a label hides is counted under a detector's name.

This module is compiled by mypyc where there is a C compiler, and runs unchanged where there is none: the annotations
`i64` are for that. It deliberately holds no partial row: who cuts the stream cuts it at messages.

Source: PostgreSQL 18 documentation, 54.7 "Message Formats", DataRow.
"""

from __future__ import annotations

from collections import Counter
from typing import TYPE_CHECKING, Final

from librt.strings import BytesWriter, read_i32_be, write_i32_be

from doorward.errors import ProtocolError
from doorward.masking import scan
from doorward.masking.detect import Suspects
from doorward.masking.detectors import redaction
from doorward.masking.plan import Action, Plan, Reading
from doorward.protocols.postgres.cells import Cells, named
from doorward.protocols.postgres.redact_copy import CopyRedactor as CopyRedactor
from doorward.protocols.postgres.redact_copy import TooLargeError as TooLargeError
from doorward.protocols.postgres.redact_fields import redact_fields as redact_fields

if TYPE_CHECKING:
    from mypy_extensions import i64

MAX_ROW: Final = 16 << 20  # bytes of one row that may be held while a mask is active
_GROUP: Final = 4096  # bytes of rows that are looked at together once a chunk has shown something
_PREFILTERED: Final = 16  # bytes that the prefilter has looked at are as much work as one that detectors have
_FEW: Final = 2048  # bytes of rows that are looked at together where that is slow
_SHORT: Final = 24  # bytes that are copied one by one
_NULL: Final = b"\xff\xff\xff\xff"
_MAX_HEADS: Final = 4096
_ENDLESS: Final = 1 << 62
_COMPILED: Final = not __file__.endswith(".py")

_KEEP: Final = 0
_CONSTANT: Final = 1
_COMPUTED: Final = 2
_ALWAYS: Final = 3  # a constant in place of NULL, too
_MOVED: Final = 4  # computed with another column of its row


class RowRedactor:
    """Rewrites the rows of one result. `rows`: how many have passed; `cells`: how many cells changed, by label; `stop`: where
    what `some` returned ends in what it was given."""

    def __init__(self, plan: Plan, max_row: int = MAX_ROW) -> None:
        self.stop: int = 0
        self._bound: int = _ENDLESS  # of `looked`, behind which no further row is begun
        self._stopped: int = -1  # where that was
        self._heavy = any(column.action == Action.TRANSFORM for column in plan.columns)
        self._slow = self._heavy  # whether much was looked at last time
        self.rows: int = 0
        self.cells: Counter[str] = Counter()
        self.plan = plan
        self._limit = (1 << 31) if plan.passes else max_row  # nothing is held for a plan that passes
        self._masked = plan.masked
        self._detectors = plan.detectors
        self._looks = any(column.action == Action.DETECT for column in plan.columns)
        self._warm = False  # whether the last chunk had something for the detectors, all of it known to `scan`
        self._at = -1  # where in the chunk at hand the next `@` is
        self._cells = Cells(plan.detectors, plan.transforms, self.cells)
        self._width = len(plan.columns)
        self._kinds: list[int] = []  # by column, up to the last masked one
        self._fields: list[bytes] = []  # length word and value that a masked column becomes
        self._labels: list[str] = []
        self._readings: list[Reading] = []
        self._looked_at: list[bool] = []
        self._texts: list[bool] = []  # whose reading is their text
        reach = 0
        for index, column in enumerate(plan.columns):
            kind = _KEEP
            field = _NULL
            if column.action == Action.REPLACE:
                kind = _ALWAYS if column.nulls else _CONSTANT
                if column.replacement is not None:
                    field = len(column.replacement).to_bytes(4, "big") + column.replacement
            elif column.action == Action.TRANSFORM:
                kind = _COMPUTED if column.subject < 0 else _MOVED
            if kind != _KEEP:
                reach = index + 1
            self._kinds.append(kind)
            self._fields.append(field)
            self._labels.append(column.label)
            self._readings.append(column.reading)
            self._looked_at.append(column.action == Action.DETECT)
            self._texts.append(column.reading == Reading.TEXT)
        self._kinds = self._kinds[:reach]
        self._done: int = 0  # rows before `_stopped`
        self._constant_cells: list[int] = [0] * reach
        self._heads: dict[int, bytes] = {}
        # What `scan` finds becomes, and how many of it there were, by kind.
        self._kinds_found = list(scan.LABELS)
        self._found: list[int] = [0] * (scan.PHONE + 1)
        self._shown: list[bytes] = [b""] * (scan.PHONE + 1)
        for kind in self._kinds_found:
            self._shown[kind] = redaction(scan.LABELS[kind]).encode("ascii")

    def some(self, data: bytes, start: int, end: int, most: int) -> bytes:
        """`redact` of the first of these rows: no further one is begun once `most` bytes have been looked at."""
        if self._slow:
            end = self._ahead(data, start, end)
        before = self._cells.looked
        self._bound = before + most
        self._stopped = -1
        try:
            shown = self.redact(data, start, end)
        finally:
            self._bound = _ENDLESS
        self._slow = self._heavy or self._cells.looked - before > most // 2
        if self._stopped < 0:
            self.stop = end
            return shown
        self.stop = self._behind(data, start, end)
        return shown

    def _ahead(self, data: bytes, start: int, end: int) -> int:
        """The end of the first few of these rows."""
        pos: i64 = start
        stop: i64 = end
        most: i64 = pos + _FEW
        while pos < stop and pos < most and stop - pos >= 7:
            word: int = read_i32_be(data, pos + 1)
            length: i64 = word
            if length < 6 or length >= stop - pos:
                break  # it will be refused
            pos += 1 + length
        return pos if pos > start else end

    def _behind(self, data: bytes, start: int, end: int) -> int:
        """Where the rows end that were looked at; those behind them were counted, and are not any more."""
        pos: i64 = start
        left: i64 = self._done
        while left > 0:
            word: int = read_i32_be(data, pos + 1)
            length: i64 = word
            pos += 1 + length
            left -= 1
        rows, cells = self.rows, self.cells.copy()
        if self._masked:
            self._replaced(data, pos, end)
        else:
            self._count(data, pos, end)
        self.rows = 2 * rows - self.rows
        for label in list(self.cells):
            self.cells[label] = 2 * cells[label] - self.cells[label]
        return pos

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
        if self._looks:
            # Where the last chunk had something, this one will.
            suspects = self._detectors.familiar(data) if self._warm else None
            self._warm = False
            if suspects is None:
                suspects = self._detectors.suspects(data)
            if suspects is not None:
                return self._detected(data, end, suspects)
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
                    if kinds[i] != _ALWAYS:
                        p += 4
                        i += 1
                        continue
                    size = 0
                behind: i64 = p + 4 + size
                if behind > after:
                    raise ProtocolError("a column's length does not fit its row")
                kind = kinds[i]
                if kind != _KEEP:
                    field = fields[i]
                    if kind == _COMPUTED:
                        field = self._computed(data[p + 4 : behind], i)
                    elif kind == _MOVED:
                        field = self._moved(data[p + 4 : behind], i, data[pos + 7 : after])
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

    def _moved(self, value: bytes, index: int, row: bytes) -> bytes:
        """A date, moved with the subject that another column of its row names."""
        column = self.plan.columns[index]
        place = size = 0
        for number in range(column.subject + 1):
            if place + 4 > len(row):
                raise ProtocolError("a row ends within a column")
            size = read_i32_be(row, place)
            place += 4
            if size < -1 or place + size > len(row):
                raise ProtocolError("a column's length does not fit its row")
            if number < column.subject:
                place += max(0, size)
        subject = None if size < 0 else named(row[place : place + size], column.subject_type)
        becomes = self._cells.transformed(value, column.label, column.reading, subject)
        return _NULL if becomes is None else len(becomes).to_bytes(4, "big") + becomes

    def _detected(self, data: bytes, stop: int, suspects: Suspects) -> bytes:
        """All rows, with what detectors find replaced. Where `scan` does not know all that is suspected, narrows down:
        groups of rows, rows, values."""
        out = BytesWriter()
        self._at = -1
        if suspects.plain and _COMPILED:
            last = self._group(data, 0, stop, 0, suspects, out)
        else:
            last = 0
            pos: i64 = 0
            end: i64 = stop
            while pos < end:
                ahead: i64 = pos
                while ahead < end and ahead - pos < _GROUP:
                    word: int = read_i32_be(data, ahead + 1)
                    step: i64 = word
                    ahead += 1 + step
                known = self._detectors.suspects(data[pos:ahead])
                if known is not None:
                    last = self._group(data, pos, ahead, last, known, out)
                self._cells.looked += (ahead - pos) // _PREFILTERED
                pos = ahead
                if self._stopped < 0 and self._cells.looked > self._bound and pos < end:
                    self._stopped = ahead
                if self._stopped >= 0:
                    break
        if self._stopped >= 0:
            stop = self._stopped
            self._done = self._number(data, stop)
        for kind in self._kinds_found:
            if self._found[kind]:
                self.cells[scan.LABELS[kind]] += self._found[kind]
                self._found[kind] = 0
        if last == 0:
            return data if stop == len(data) else data[:stop]
        self._warm = suspects.plain != 0 and _COMPILED
        if last < stop:
            out.write(data[last:stop])
        return out.getvalue()

    def _number(self, data: bytes, stop: int) -> int:
        """How many rows data[:stop] holds."""
        pos: i64 = 0
        end: i64 = stop
        rows: i64 = 0
        while pos < end:
            word: int = read_i32_be(data, pos + 1)
            length: i64 = word
            pos += 1 + length
            rows += 1
        return rows

    def _group(self, data: bytes, pos: i64, end: i64, last: i64, suspects: Suspects, out: BytesWriter) -> i64:
        """The rows data[pos:end], in some of which something was seen; `last` as with `_row`."""
        # What `scan` knows is told faster than the prefilter would say in which row it is.
        known: Suspects | None = suspects if suspects.plain and _COMPILED else None
        while pos < end:
            word: int = read_i32_be(data, pos + 1)
            length: i64 = word
            after: i64 = pos + 1 + length
            row = known
            if row is None:
                row = self._detectors.suspects(data[pos:after])
                self._cells.looked += 1 + (after - pos) // _PREFILTERED
            if row is not None:
                last = self._row(data, pos, after, last, row, out)
            pos = after
            if self._cells.looked > self._bound and pos < len(data):
                self._stopped = pos
                break
        return last

    def _row(self, data: bytes, pos: i64, end: i64, last: i64, suspects: Suspects, out: BytesWriter) -> i64:
        """The row data[pos:end], in which something was seen. If something in it has to change, everything from `last`
        is put into `out`, up to the position that is returned; else nothing is, and that is `last`."""
        width: i64 = self._width
        if (data[pos + 5] << 8) | data[pos + 6] != width:
            raise ProtocolError("a row has another number of columns than was described")
        detectors = self._detectors
        plain: i64 = suspects.plain
        looked_at = self._looked_at
        texts = self._texts
        at: i64 = self._at  # where the next `@` is, from the value at hand on
        p: i64 = pos + 7
        since: i64 = p  # what of this row is not yet in `out`
        growth: i64 = 0
        head: i64 = -1  # where in `out` its head is, once it has one
        i: i64 = 0
        while i < width:
            if p + 4 > end:
                raise ProtocolError("a row ends within a column")
            word: int = read_i32_be(data, p)
            size: i64 = word
            start: i64 = p + 4
            behind: i64 = start
            if size >= 0:
                behind += size
                if behind > end:
                    raise ProtocolError("a column's length does not fit its row")
                if size > 0 and looked_at[i]:
                    found: i64 = scan.UNSURE
                    if plain != 0 and texts[i]:
                        if at < start:
                            at = data.find(b"@", start)
                            if at < 0:
                                at = len(data)
                            self._at = at
                        if at >= behind and scan.quiet(data, start, behind, plain):
                            found = scan.NOTHING
                        else:
                            found = detectors.place(data, start, behind, plain)
                    if found != scan.NOTHING:
                        value: bytes | None
                        stop: i64 = behind  # of what is replaced
                        before: i64 = 0
                        if found != scan.UNSURE:
                            kind: i64 = found & 0xFF
                            stop = start + (found >> 36)
                            value = self._shown[kind]
                            before = (found >> 8) & 0xFFFFFFF
                            self._found[kind] += 1
                        else:
                            # Of several suspected in a row, most values are of interest to none.
                            becomes = self._cells.masked(data[start:behind], self._readings[i], None if plain else suspects)
                            if becomes is None:
                                p = behind
                                i += 1
                                continue
                            value = becomes[0]
                        if head < 0:
                            _copy(out, data, last, pos)
                            head = len(out)
                            _copy(out, data, pos, pos + 7)
                        _copy(out, data, since, p)
                        if value is None:
                            out.write(_NULL)
                            growth -= size
                        else:
                            becoming: i64 = before + len(value) + behind - stop
                            new: int = becoming
                            write_i32_be(out, new)
                            _copy(out, data, start, start + before)
                            out.write(value)
                            growth += becoming - size
                        since = stop
            elif size != -1:
                raise ProtocolError("a column's length is negative")
            p = behind
            i += 1
        if p != end:
            raise ProtocolError("a row holds more than its columns")
        if head < 0:
            return last
        _copy(out, data, since, end)
        total: int = end - pos - 1 + growth
        out[head + 1] = (total >> 24) & 255
        out[head + 2] = (total >> 16) & 255
        out[head + 3] = (total >> 8) & 255
        out[head + 4] = total & 255
        return end


def _copy(out: BytesWriter, data: bytes, start: i64, end: i64) -> None:
    """data[start:end] to the end of `out`. A short piece costs less byte by byte than as an object."""
    if end - start > _SHORT:
        out.write(data[start:end])
        return
    while start < end:
        out.append(data[start])
        start += 1
