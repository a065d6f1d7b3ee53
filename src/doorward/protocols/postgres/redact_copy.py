"""COPY OUT on its way to the client, as its plan lets it see it.

Contract: `feed` takes the payloads of CopyData messages, cut anywhere, and returns payload bytes that are whole rows
of the same format; `finish`, at CopyDone, what is left. Labelled columns are masked field by field; the detectors look
at what every other field *says*, escapes undone. A header line passes. A row with another number of fields than the
plan raises ProtocolError; a row beyond the limit raises TooLargeError (a ValueError).

Binary data with a masked column is refused when the redactor is built (ValueError): CopyOutResponse names no types.
So is an encoding whose characters can hold ASCII bytes (SJIS, BIG5, GBK, ...), and any format not known here.

Source: PostgreSQL 18 documentation, COPY, "File Formats".
"""

from __future__ import annotations

import re
from collections import Counter
from struct import Struct
from typing import Final

from doorward.errors import ProtocolError
from doorward.masking.detectors import redaction
from doorward.masking.plan import Action, ColumnPlan, Plan, as_read
from doorward.protocols.postgres.cells import Cells

MAX_LINE: Final = 16 << 20
BINARY_HEADER: Final = 19  # bytes before the first tuple
_SIGNATURE: Final = b"PGCOPY\n\xff\r\n\x00"
_INT: Final = Struct("!i")
_SHORT: Final = Struct("!h")
_ENCODINGS: Final = re.compile(
    r"|UTF_?8|UNICODE|SQL_ASCII|LATIN[0-9]{1,2}|ISO_?8859_?[0-9]{1,2}|WIN(?:DOWS)?_?[0-9]{3,4}|KOI8[RU]?|EUC_.*"
)
# What is written as its number, or stands for itself.
_ESCAPE: Final = re.compile(rb"\\(?:x([0-9A-Fa-f]{1,2})|([0-7]{1,3})|(.))", re.DOTALL)
_LETTERS: Final = tuple((b"\\" + letter, character) for letter, character in (
    (b"b", b"\b"), (b"f", b"\f"), (b"n", b"\n"), (b"r", b"\r"), (b"t", b"\t"), (b"v", b"\v"),
))  # fmt: skip


class TooLargeError(ValueError):
    """A row or line is larger than may be held while it is masked. Its result ends with an error."""


class CopyRedactor:
    """Rewrites one COPY OUT. `rows`: how many rows have passed; `cells`: how many fields changed, by label. A line that is too
    long for it is for `wide_copy`, which asks it what this COPY's fields say and how they are written."""

    def __init__(
        self,
        plan: Plan,
        style: str = "text",
        *,
        delimiter: str = "",
        null: str | None = None,
        header: bool = False,
        quote: str = "",
        escape: str = "",
        encoding: str = "",
        max_line: int = MAX_LINE,
    ) -> None:
        """`style` is COPY's FORMAT: text, csv or binary. Empty options mean COPY's own defaults."""
        if style not in ("text", "csv", "binary"):
            raise ValueError(f"COPY format {style} cannot be masked")
        if style == "binary" and plan.masked:
            raise ValueError("COPY in binary format cannot be masked: use text or csv, or leave the masked columns out")
        if not _ENCODINGS.fullmatch(encoding.strip().upper().replace("-", "_")):
            raise ValueError(f"COPY in encoding {encoding} cannot be masked: use UTF8")
        self.rows: int = 0
        self.cells: Counter[str] = Counter()
        self.plan = plan
        self._detectors = plan.detectors
        self._looks = bool(plan.detectors.detectors)
        self._cells = Cells(plan.detectors, plan.transforms, self.cells)
        # Transforms read UTF-8. What is written in another encoding is not looked at, so that nothing depends on it.
        self._foreign = encoding.strip().upper().replace("-", "").replace("_", "") not in ("", "UTF8", "UNICODE")
        self.csv = style == "csv"
        self.binary = style == "binary"
        self.delimiter = delimiter.encode() or (b"," if self.csv else b"\t")
        self.null = (null if null is not None else "" if self.csv else "\\N").encode()
        # In text format a null string without a backslash cannot be told from a value that reads the same. Passing it
        # on would tell a client that guessed a value whether it was right; so labelled fields are then never NULL.
        self._ambiguous = style == "text" and b"\\" not in self.null
        self.quote = quote.encode() or b'"'
        self.escape = escape.encode() or self.quote
        if len(self.delimiter) != 1 or len(self.quote) != 1 or len(self.escape) != 1:
            raise ValueError("COPY's delimiter, quote and escape are one byte each")
        # With quoting characters that can stand within what detectors look for, the raw line may hide it.
        self._spread = self.csv and (self.quote not in b"\"'" or self.escape not in b"\"'\\")
        self._header = header
        self._limit = max_line
        self._held: list[bytes] = []
        self._size = 0
        self._inside = False  # csv: within quotes, at the end of what is held
        self._escaped = False  # csv: the byte before was an unspent escape
        self._started = False  # binary: the file header has passed
        self._ended = False  # binary: the trailer has passed
        self._split = 0  # what telling fields apart took

    def feed(self, payload: bytes) -> bytes:
        """The rows that this payload completes, as the client may see them."""
        if self.binary:
            return self._tuples(payload)
        cut = self._last_end(payload)
        if cut == 0:
            self._hold(payload)
            return b""
        if cut < len(payload):
            block = payload[:cut]
        else:
            block = payload
        if self._held:
            self._hold(block)
            block = b"".join(self._held)
            self._held.clear()
            self._size = 0
        elif len(block) > self._limit and self._longest(block) > self._limit:
            raise TooLargeError("a row of COPY data is larger than may be held")
        if cut < len(payload):
            self._hold(payload[cut:])
        return self._lines(block)

    @property
    def looked(self) -> int:
        """For how many bytes, about, it has been at work."""
        return self._cells.looked + self._split

    @property
    def between(self) -> bool:
        """Whether a row begins with what comes next."""
        return not self._held and not self._header and not self._ended

    def stub(self, length: int) -> bytes:
        """What stands on record for a line, or tuple, in a message of so many bytes: nothing of what it says."""
        if self.binary:
            return _SHORT.pack(len(self.plan.columns)) + _INT.pack(-1) * len(self.plan.columns)
        return b"[a line of %d bytes]\n" % (length - 5)

    @property
    def headed(self) -> bool:
        """Whether the header of a binary COPY has passed."""
        return self._started

    def finish(self) -> bytes:
        """What is left at the end: a last line without its end. ProtocolError: the data ends within a row."""
        if self.binary:
            if self._held or not self._ended:
                raise ProtocolError("binary COPY data ends before its trailer")
            return b""
        if self._inside:
            raise ProtocolError("COPY data ends within a quoted field")
        block = b"".join(self._held)
        self._held.clear()
        self._size = 0
        return self._lines(block) if block else b""

    def _hold(self, piece: bytes) -> None:
        if not piece:
            return
        self._held.append(piece)
        self._size += len(piece)
        if self._size > self._limit:
            raise TooLargeError("a row of COPY data is larger than may be held")

    def _longest(self, block: bytes) -> int:
        return max(map(len, block.split(b"\n"))) if not self.csv else len(block)

    # -- lines -------------------------------------------------------------------------------------------------------

    def _last_end(self, payload: bytes) -> int:
        """The offset behind the last line end of the payload that ends a row; 0: there is none."""
        if not self.csv:
            return payload.rfind(b"\n") + 1
        if not self._inside and self.quote not in payload:
            self._escaped = False
            return payload.rfind(b"\n") + 1
        if self.escape == self.quote:
            return self._last_end_doubled(payload)
        return self._last_end_escaped(payload)

    def _last_end_doubled(self, payload: bytes) -> int:
        """A quote within quotes is written twice, so a line end outside quotes is one behind an even number."""
        cut = position = 0
        inside = self._inside
        while (end := payload.find(b"\n", position)) >= 0:
            if payload.count(self.quote, position, end) & 1:
                inside = not inside
            if not inside:
                cut = end + 1
            position = end + 1
        if payload.count(self.quote, position) & 1:
            inside = not inside
        self._inside = inside
        return cut

    def _last_end_escaped(self, payload: bytes) -> int:
        quote, escape = self.quote[0], self.escape[0]
        inside, escaped = self._inside, self._escaped
        cut = 0
        for place, byte in enumerate(payload):
            if inside and byte == escape:
                escaped = not escaped
                continue
            if byte == quote and not escaped:
                inside = not inside
            elif byte == 10 and not inside:
                cut = place + 1
            escaped = False
        self._inside, self._escaped = inside, escaped
        return cut

    def _lines(self, block: bytes) -> bytes:
        """Whole rows, masked."""
        if not self._header and not self.plan.masked and not self._suspicious(block):
            self.rows += self._number(block)
            return block
        out: list[bytes] = []
        for line in self._split_lines(block):
            if self._header:
                self._header = False
                out.append(line)
                continue
            out.append(self._line(line))
        return b"".join(out)

    def _number(self, block: bytes) -> int:
        if self.csv and self.quote in block:
            return len(self._split_lines(block))
        return block.count(b"\n") + (not block.endswith(b"\n"))

    def _split_lines(self, block: bytes) -> list[bytes]:
        lines = block.split(b"\n")
        last = lines.pop()
        lines = [line + b"\n" for line in lines]
        if last:
            lines.append(last)
        if not self.csv or self.quote not in block:
            return lines
        rows: list[bytes] = []
        pending: list[bytes] = []
        inside = False
        for line in lines:
            pending.append(line)
            inside = self._leaves_inside(line, inside)
            if not inside:
                rows.append(b"".join(pending))
                pending = []
        if pending:
            rows.append(b"".join(pending))
        return rows

    def _leaves_inside(self, line: bytes, inside: bool) -> bool:
        if self.escape == self.quote:
            return inside ^ bool(line.count(self.quote) & 1)
        escaped = False
        for byte in line:
            if inside and byte == self.escape[0]:
                escaped = not escaped
                continue
            if byte == self.quote[0] and not escaped:
                inside = not inside
            escaped = False
        return inside

    def _suspicious(self, block: bytes) -> bool:
        """Whether any field of these rows deserves an exact look."""
        if not self._looks:
            return False
        if self._spread or self._detectors.hit(block):
            return True
        if self.csv:
            return self.quote * 2 in block and self._detectors.hit(block.replace(self.quote * 2, self.quote))
        return b"\\" in block and self._detectors.hit(unescaped(block))

    def _line(self, line: bytes) -> bytes:
        self.rows += 1
        ending = b"\n" if line.endswith(b"\n") else b""
        body = line[: len(line) - len(ending)]
        if body == b"\\." and not self.csv:
            self.rows -= 1  # the old end-of-data marker: not a row
            return line
        columns = self.plan.columns
        if not columns and not body:
            return line
        fields = self._split_csv(body) if self.csv else self._split_text(body)
        self._split += len(fields) + (len(body) >> 4)
        if len(fields) != len(columns):
            raise ProtocolError("a row of COPY data has another number of fields than was announced")
        looking = self._suspicious(line)
        changed = False
        for index, column in enumerate(columns):
            becomes = self.field(fields[index], column, looking)
            if becomes is not None:
                fields[index] = becomes
                changed = True
        return self.delimiter.join(fields) + ending if changed else line

    def field(self, raw: bytes, column: ColumnPlan, looking: bool, said: bytes | None = None) -> bytes | None:
        """What a field becomes, as COPY writes it; None: it stays. `said`: its value, where that is known."""
        if self.stays(raw, column):
            return None
        if column.action == Action.DETECT:
            if not looking:
                return None
            found = self._cells.masked(self._says(raw) if said is None else said, column.reading)
            return None if found is None else self.written(found[0])
        if column.action == Action.TRANSFORM and not self._foreign:
            self.cells[column.label] += 1
            value = self._says(raw) if said is None else said
            return self.written(self._cells.transformed(value, column.label, column.reading))
        return self.replaced(column)

    def stays(self, raw: bytes, column: ColumnPlan) -> bool:
        """Whether a field is as it may be shown, whatever it says: nothing becomes of it, or of NULL."""
        if column.action == Action.PASS:
            return True
        return raw == self.null and (column.action == Action.DETECT or not (column.nulls or self._ambiguous))

    def replaced(self, column: ColumnPlan) -> bytes:
        """What a labelled field becomes that nobody reads."""
        self.cells[column.label] += 1
        if column.action == Action.REPLACE:
            return self.written(column.replacement)
        return self.written(as_read(redaction(column.label), column.reading))

    # -- fields ------------------------------------------------------------------------------------------------------

    def _split_text(self, body: bytes) -> list[bytes]:
        """Fields as written. A delimiter behind an odd number of backslashes belongs to its field."""
        pieces = body.split(self.delimiter)
        if b"\\" not in body:
            return pieces
        fields: list[bytes] = []
        open_field: list[bytes] = []
        for piece in pieces:
            open_field.append(piece)
            if (len(piece) - len(piece.rstrip(b"\\"))) & 1:
                continue
            fields.append(self.delimiter.join(open_field))
            open_field = []
        if open_field:
            fields.append(self.delimiter.join(open_field))
        return fields

    def _split_csv(self, body: bytes) -> list[bytes]:
        if self.quote not in body:
            return body.split(self.delimiter)
        quote, escape, delimiter = self.quote[0], self.escape[0], self.delimiter[0]
        doubled = quote == escape
        fields: list[bytes] = []
        start = 0
        inside = escaped = False
        for place, byte in enumerate(body):
            if inside and byte == escape and not doubled:
                escaped = not escaped
                continue
            if byte == quote and not escaped:
                inside = not inside
            elif byte == delimiter and not inside:
                fields.append(body[start:place])
                start = place + 1
            escaped = False
        fields.append(body[start:])
        return fields

    def _says(self, raw: bytes) -> bytes:
        """A field's value."""
        if not self.csv:
            return unescaped(raw)
        if self.quote not in raw:
            return raw
        quote, escape = self.quote[0], self.escape[0]
        value = bytearray()
        inside = False
        place, size = 0, len(raw)
        while place < size:
            byte = raw[place]
            if inside and byte == escape and place + 1 < size and raw[place + 1] in (quote, escape):
                value.append(raw[place + 1])
                place += 2
                continue
            if byte == quote:
                inside = not inside
            else:
                value.append(byte)
            place += 1
        return bytes(value)

    def written(self, value: bytes | None) -> bytes:
        """A value as this COPY writes it."""
        if value is None:
            return self.null
        if not self.csv:
            return self.escaped(value)
        special = (self.quote, self.delimiter, b"\n", b"\r")
        if value and value != self.null and value != b"\\." and not any(one in value for one in special):
            return value
        return self.quote + self.escaped(value) + self.quote

    def escaped(self, value: bytes) -> bytes:
        """A value, or a part of one, as this COPY writes it; CSV within quotes. As PostgreSQL does (CopyAttributeOutText)."""
        if self.csv:
            if self.escape != self.quote:
                value = value.replace(self.escape, self.escape * 2)
            return value.replace(self.quote, self.escape + self.quote)
        value = value.replace(b"\\", b"\\\\")
        for escape, character in _LETTERS:
            value = value.replace(character, escape)
        return value if self.delimiter == b"\t" else value.replace(self.delimiter, b"\\" + self.delimiter)

    # -- binary ------------------------------------------------------------------------------------------------------

    def _tuples(self, payload: bytes) -> bytes:
        """Whole tuples of the binary format."""
        if self._held:
            self._hold(payload)
            payload = b"".join(self._held)
            self._held.clear()
            self._size = 0
        size = len(payload)
        position = 0
        if not self._started:
            if payload[:11] != _SIGNATURE[: min(11, size)]:
                raise ProtocolError("binary COPY data does not begin with its signature")
            if size >= 19:
                flags: int = _INT.unpack_from(payload, 11)[0]
                extension: int = _INT.unpack_from(payload, 15)[0]
                if flags & 0xFFFF0000 or extension < 0:
                    raise ProtocolError("binary COPY data has a header that is not known")
                if size >= 19 + extension:
                    position = 19 + extension
                    self._started = True
        out: list[bytes] = [payload[:position]]
        while self._started and position < size:
            end = self._tuple_end(payload, position)
            if end == 0:
                break
            out.append(self._tuple(payload[position:end]))
            position = end
        self._hold(payload[position:])
        return b"".join(out)

    def _tuple_end(self, payload: bytes, position: int) -> int:
        """The offset behind the tuple that begins here; 0: it is not whole."""
        size = len(payload)
        if self._ended:
            raise ProtocolError("binary COPY data goes on behind its trailer")
        if position + 2 > size:
            return 0
        count: int = _SHORT.unpack_from(payload, position)[0]
        position += 2
        if count == -1:
            self._ended = True
            return position
        if count != len(self.plan.columns):
            raise ProtocolError("a row of COPY data has another number of fields than was announced")
        for _ in range(count):
            if position + 4 > size:
                return 0
            length: int = _INT.unpack_from(payload, position)[0]
            if length < -1:
                raise ProtocolError("a field's length is negative")
            position += 4 + max(length, 0)
            if position > size:
                return 0
        return position

    def _tuple(self, row: bytes) -> bytes:
        if len(row) == 2 and row == b"\xff\xff":
            return row
        self.rows += 1
        if not self._looks or not self._detectors.hit(row):
            return row
        parts: list[bytes] = [row[:2]]
        position = 2
        for column in self.plan.columns:
            length: int = _INT.unpack_from(row, position)[0]
            behind = position + 4 + max(length, 0)
            field = row[position:behind]
            if length > 0 and column.action == Action.DETECT:
                found = self._cells.masked(field[4:], column.reading)
                if found is not None:
                    value = found[0]
                    field = _INT.pack(-1) if value is None else _INT.pack(len(value)) + value
            parts.append(field)
            position = behind
        return b"".join(parts)


def unescaped(raw: bytes) -> bytes:
    """What a field of the text format says, or a block of them (for the prefilter)."""
    if b"\\" not in raw:
        return raw
    # Between backslashes that stand for one, each begins an escape; a call for each would cost seconds.
    return b"\\".join([_without_pairs(part) for part in raw.split(b"\\\\")])


def _without_pairs(raw: bytes) -> bytes:
    if b"\\" not in raw:
        return raw
    for escape, character in _LETTERS:
        raw = raw.replace(escape, character)
    return _ESCAPE.sub(_escape, raw) if b"\\" in raw else raw


def _escape(match: re.Match[bytes]) -> bytes:
    hexadecimal, octal, other = match.groups()
    if hexadecimal is not None:
        return bytes((int(hexadecimal, 16),))
    if octal is not None:
        return bytes((int(octal, 8) & 255,))
    return other
