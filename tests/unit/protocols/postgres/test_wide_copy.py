"""Long lines of COPY become what any line becomes, without being held."""

from __future__ import annotations

import csv
import io
import re
import tracemalloc
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from doorward.errors import ProtocolError
from doorward.masking.plan import Plan
from doorward.masking.transforms import Transforms
from doorward.protocols.postgres.looking import Question, answer
from doorward.protocols.postgres.redact_copy import CopyRedactor, unescaped
from doorward.protocols.postgres.wide import WHOLE, Memory
from doorward.protocols.postgres.wide_copy import Passing, WideLine
from tests.unit.protocols.postgres.test_redact_copy import ALL, QUIET, planned, through

CARD = b"4111 1111 1111 1111"
LONG = WHOLE + 1


def shown(copy: CopyRedactor, line: bytes, size: int = 65_536, *, asks: bool = False) -> tuple[bytes, WideLine]:
    """The line as the client sees it, fed in pieces of this size; its message says how long it is."""
    wide = WideLine(copy, len(line) + 4, Memory(), asks=asks)
    out: list[bytes] = []
    position = 0
    while not wide.whole:
        taken = wide.feed(line[position : position + size], 0)
        position += taken
        while wide.question is not None:
            asked = wide.question
            assert isinstance(asked, Question)
            wide.told(answer(copy.plan.detectors, asked))
            wide.feed(b"", 0)
        out += wide.out
        wide.out.clear()
    message = b"".join(out if wide.direct else wide.pieces())
    assert message[:1] == b"d"
    assert int.from_bytes(message[1:5], "big") == len(message) - 1
    return message[5:], wide


STYLES: tuple[dict[str, Any], ...] = (
    {"style": "text"}, {"style": "text", "delimiter": "|"}, {"style": "text", "delimiter": "-", "null": "a"},
    {"style": "csv"}, {"style": "csv", "delimiter": ";", "quote": "'", "escape": "\\"}, {"style": "csv", "null": "\\N"},
    {"style": "csv", "quote": "-"}, {"style": "csv", "escape": "@"}, {"style": "csv", "delimiter": "]", "quote": "["},
)  # fmt: skip
FIELD = st.one_of(
    st.text(alphabet="a\\nx41,\"';|-@[]7", max_size=8).map(str.encode),
    st.sampled_from([
        b"", b"\\N", b"123-45-6789", b"123\\-45\\-6789", b"\\x31\\x32\\x33-45-6789", b"\\61\\62\\63-45-6789",
        b"to bob@example.org",
        b'"bob@example.org"', b'"a ""b"" 123-45-6789"', b'"a\n,b 4111 1111 1111 1111"', b"'it\\'s 123-45-6789'", b"x" * 9000,
        b"y " * 5000 + b"123-45-6789", b'"' + b'""' * 6000 + b'123-45-6789"', b"\\\\" * 5000 + b" 123-45-6789",
    ]),
)  # fmt: skip
LABEL = st.sampled_from(["", "", "ssn", "email"])


@settings(max_examples=400)
@given(
    st.lists(st.tuples(LABEL, FIELD), min_size=1, max_size=5), st.integers(1, 64), st.booleans(), st.booleans(), st.booleans(),
    st.sampled_from(STYLES), st.sampled_from([{}, {"email": "hash"}, {"email": "partial"}, {"ssn": "null"}]),
)  # fmt: skip
def test_as_any_line(
    cells: list[tuple[str, bytes]], size: int, looks: bool, bare: bool, asks: bool, style: dict[str, Any],
    transforms: dict[str, str],
) -> None:  # fmt: skip
    """The same bytes and counts as of a line that is held, however it is cut; and the same refusals."""
    plan = planned(
        *(label for label, _ in cells), detectors=ALL if looks else QUIET, bare=bare,
        transforms=Transforms(transforms, b"k" * 32),
    )  # fmt: skip
    held, wide = CopyRedactor(plan, **style), CopyRedactor(plan, **style)
    line = held.delimiter.join(field for _, field in cells) + b"\n"
    try:
        expected = through(held, line)
        if held.rows != 1:
            raise ProtocolError("more than one line")
    except ProtocolError:
        with pytest.raises(ProtocolError):
            shown(wide, line, size, asks=asks)
        return
    try:
        out, row = shown(wide, line, size if len(line) < 1000 else size * 997, asks=asks)
    except ProtocolError:
        assert expected == line  # where nothing is seen, nobody counts the fields of a line that is held
        assert not plan.masked
        return
    assert out == expected
    assert wide.cells + row.cells == held.cells


@settings(max_examples=300)
@given(st.text(alphabet="\\x4178nba\n-", max_size=12).map(str.encode))
def test_escapes_read_the_same_at_once_as_one_by_one(raw: bytes) -> None:
    """`unescaped` replaces what is common in bulk; PostgreSQL's rules, applied escape by escape, say the same."""
    letters = {b"b": b"\b", b"f": b"\f", b"n": b"\n", b"r": b"\r", b"t": b"\t", b"v": b"\v"}

    def one(match: re.Match[bytes]) -> bytes:
        if match[1]:
            return bytes((int(match[1], 16),))
        return bytes((int(match[2], 8) & 255,)) if match[2] else letters.get(match[3], match[3])

    assert unescaped(raw) == re.sub(rb"\\(?:x([0-9A-Fa-f]{1,2})|([0-7]{1,3})|([\s\S]))", one, raw)


@pytest.mark.parametrize("asks", [False, True])
@pytest.mark.parametrize("place", [0, 1, 65_530, 262_130, 500_000, WHOLE])
@pytest.mark.parametrize("style", ["text", "csv", "quoted"])
def test_long_fields(style: str, place: int, asks: bool) -> None:
    """A card is found wherever it stands in a long field, behind escapes of every kind; what is beside it stays."""
    before, after = b"a" * place + b" ", b" " + b"b\t\"\\,\n" * (LONG // 6)
    said = before + CARD + after
    if style == "text":
        copy = CopyRedactor(planned("", "", detectors=ALL))
        line = b"\t".join([copy.escaped(said), b"123-45-6789"]) + b"\n"
    else:
        copy = CopyRedactor(planned("", "", detectors=ALL), "csv", escape="\\" if style == "quoted" else "")
        line = b'"' + copy.escaped(said) + b'",123-45-6789\n'
    out, row = shown(copy, line, asks=asks)
    assert out == line.replace(CARD, b"[card]").replace(b"123-45-6789", b"[ssn]")
    assert copy.cells + row.cells == {"card": 1, "ssn": 1}


def test_a_card_that_escapes_cut_in_two() -> None:
    """What a long field says is looked at, not how it is written: digits as octal numbers are digits."""
    copy = CopyRedactor(planned("", detectors=ALL))
    digits = b"".join(b"\\%03o" % digit for digit in CARD.replace(b" ", b""))
    for size in (1, 3, 1000, 65_536):
        out, _ = shown(copy, b"x" * LONG + b" " + digits + b" y\n", 65_536 if size < 10 else size)
        assert out == b"x" * LONG + b" [card] y\n"


def test_long_labelled_fields_are_dropped_as_they_come() -> None:
    """A constant stays one; a transform that looks at the value gives way to the redaction; NULL stays NULL."""
    transforms = Transforms({"email": "hash", "pay": "null"}, b"k" * 32)
    copy = CopyRedactor(planned("ssn", "email", "pay", "ssn", "", transforms=transforms))
    line = b"\t".join([b"s" * LONG, b"e" * LONG, b"p" * LONG, b"\\N", b"beside"]) + b"\n"
    out, wide = shown(copy, line)
    assert out == b"[ssn]\t[email]\t\\N\t\\N\tbeside\n"
    assert copy.cells == {"ssn": 1, "email": 1, "pay": 1}
    assert wide.direct


def test_csv_still_reads_as_csv() -> None:
    """Whatever was found in a long field, a CSV reader sees the fields that there were."""
    written = io.StringIO()
    values = ["x" * LONG + " 4111 1111 1111 1111", "plain,\"quoted\"\n" * 80_000, "end"]
    csv.writer(written, lineterminator="\n").writerow(values)
    copy = CopyRedactor(planned("", "", "", detectors=ALL), "csv")
    csv.field_size_limit(4 * LONG)
    out, _ = shown(copy, written.getvalue().encode())
    assert next(csv.reader(io.StringIO(out.decode(), newline=""))) == ["x" * LONG + " [card]", *values[1:]]


@pytest.mark.parametrize(
    ("style", "line"),
    [
        ("text", b"a\tb"), ("text", b"a\n"), ("text", b"a\tb\tc\n"), ("text", b"a\tb\nc\td\n"), ("text", b"a\tb\\"),
        ("csv", b'a,"b\n'), ("csv", b"a,b,c\n"), ("csv", b"a,b\nc,d\n"), ("csv", b'a,"b"'),
    ],
)  # fmt: skip
def test_what_is_no_line_is_refused(style: str, line: bytes) -> None:
    """A line that its message cuts, another number of fields, or two lines in one message."""
    with pytest.raises(ProtocolError):
        shown(CopyRedactor(planned("", "ssn", detectors=ALL), style), line, 3)


@pytest.mark.parametrize(("style", "plan"), [("text", planned("", detectors=ALL)), ("csv", planned("ssn"))])
def test_little_is_held(style: str, plan: Plan) -> None:
    """Of a line of 32 MiB less than 5 MiB are in memory at any time, besides the store."""

    class Counting(Memory):
        length = 0

        def append(self, data: bytes) -> None:
            self.length += len(data)

    wide = WideLine(CopyRedactor(plan, style), 4 + (32 << 20) + 1, Counting())
    piece = (b"nothing to see " * 5000)[: 1 << 16]
    tracemalloc.start()
    for _ in range(512):
        wide.feed(piece, 0)
    wide.feed(b"\n", 0)
    assert tracemalloc.get_traced_memory()[1] < 5 << 20
    tracemalloc.stop()
    assert wide.whole


def test_what_passes_passes() -> None:
    """Where nothing changes, a message goes on as it comes."""
    wide = Passing(4 + 10)
    taken = [(wide.feed(data, position), wide.whole) for data, position in ((b"abcdef", 0), (b"xghijrest", 1))]
    assert taken == [(6, False), (5, True)]
    assert b"".join(wide.out) == b"d\0\0\0\x0eabcdefghij"
