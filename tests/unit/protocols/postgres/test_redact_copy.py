"""COPY OUT through its plan: any format, any cut, and what comes out is COPY data again."""

from __future__ import annotations

import csv
import io
import struct
from itertools import pairwise

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from doorward.errors import ProtocolError
from doorward.masking.detect import Detectors
from doorward.masking.plan import Plan, ResultColumn, plan
from doorward.masking.transforms import Transforms
from doorward.protocols.postgres.redact import CopyRedactor, TooLargeError

ALL = Detectors()
QUIET = Detectors(())
SSN = "123-45-6789"


def planned(*labels: str, detectors: Detectors = QUIET, transforms: Transforms | None = None, form: int = 0,
            bare: bool = True) -> Plan:
    """One column a label; "" has none. COPY names no types."""
    return plan(
        [frozenset({label}) if label else frozenset() for label in labels],
        [ResultColumn("", 0, 0, 0, form) for _ in labels],
        lambda oid, number: None,
        frozenset(label for label in labels if label),
        frozenset(),
        transforms or Transforms(),
        detectors,
        bare=bare,
    )


@pytest.mark.parametrize(("style", "null"), [("text", "\\N"), ("csv", "")])
def test_null_tells_nothing_of_what_a_query_computed(style: str, null: str) -> None:
    """Where the columns are a query's, and not a table's own, NULL is masked like any value: nullif() could be why."""
    between = "\t" if style == "text" else ","
    line = f"1{between}{null}{between}{null}\n".encode()
    assert through(CopyRedactor(planned("", "ssn", ""), style), line) == line
    assert through(CopyRedactor(planned("", "ssn", "", bare=False), style), line) == (
        f"1{between}[ssn]{between}{null}\n".encode()
    )


def through(redactor: CopyRedactor, *payloads: bytes) -> bytes:
    return b"".join([redactor.feed(payload) for payload in payloads] + [redactor.finish()])


@pytest.mark.parametrize(
    ("style", "options", "before", "after"),
    [
        ("text", {}, b"1\t123-45-6789\tx\n", b"1\t[ssn]\tx\n"),
        ("text", {}, b"1\t\\N\tx\n", b"1\t\\N\tx\n"),
        ("text", {}, b"1\ta\\tb\\\\\tx\n", b"1\t[ssn]\tx\n"),
        ("text", {"delimiter": "|"}, b"1|a\\|b|x\n", b"1|[ssn]|x\n"),
        ("text", {"delimiter": "["}, b"1[1[x\n", b"1[\\[ssn][x\n"),
        ("text", {"null": "123-45-6789"}, b"1\t123-45-6789\tx\n", b"1\t[ssn]\tx\n"),
        ("text", {"null": "\\0"}, b"1\t\\0\tx\n", b"1\t\\0\tx\n"),
        ("text", {}, b"\\.\n", b"\\.\n"),
        ("csv", {}, b"1,123-45-6789,x\n", b"1,[ssn],x\n"),
        ("csv", {}, b"1,,x\n", b"1,,x\n"),
        ("csv", {}, b'1,"",x\n', b"1,[ssn],x\n"),
        ("csv", {}, b'1,"a\n""b"",c",x\n', b"1,[ssn],x\n"),
        ("csv", {"delimiter": "s"}, b"1s2sx\n", b'1s"[ssn]"sx\n'),
        ("csv", {"quote": "'", "escape": "\\"}, b"1,'a\\',\n\\\\',x\n", b"1,[ssn],x\n"),
        ("csv", {"null": "NULL"}, b'1,NULL,x\n2,"NULL",x\n', b"1,NULL,x\n2,[ssn],x\n"),
        ("csv", {"header": True}, b"id,ssn,name\n1,2,x\n", b"id,ssn,name\n1,[ssn],x\n"),
        ("text", {"header": True}, b"id\tssn\tname\n1\t2\tx\n", b"id\tssn\tname\n1\t[ssn]\tx\n"),
    ],
)
def test_labelled_fields_are_masked(style: str, options: dict[str, object], before: bytes, after: bytes) -> None:
    """One field in every row is replaced and written as this COPY writes fields; NULL and the header pass."""
    labels = ("", "ssn", "")
    assert through(CopyRedactor(planned(*labels), style, **options), before) == after  # type: ignore[arg-type]
    single = CopyRedactor(planned(*labels), style, **options)  # type: ignore[arg-type]
    assert through(single, *(bytes((byte,)) for byte in before)) == after


@pytest.mark.parametrize(
    ("style", "options", "before", "after"),
    [
        ("text", {}, b"a 123-45-6789\tx\n", b"a [ssn]\tx\n"),
        ("text", {"delimiter": "-"}, b"123\\-45\\-6789-x\n", b"[ssn]-x\n"),
        ("text", {"delimiter": "@"}, b"bob\\@example.org@x\n", b"[email]@x\n"),
        ("text", {}, b"\\x31\\x32\\x33-45-6789\tx\n", b"[ssn]\tx\n"),
        ("text", {}, b"a\\\\b 123-45-6789\tx\\n\n", b"a\\\\b [ssn]\tx\\n\n"),
        ("csv", {}, b'"a,123-45-6789",x\n', b'"a,[ssn]",x\n'),
        ("csv", {"quote": "-"}, b"-123--45--6789-,x\n", b"[ssn],x\n"),
        ("csv", {"quote": "@"}, b"@bob@@example.org@,x\n", b"[email],x\n"),
        ("csv", {"escape": "@"}, b'"bob@@example.org ""","x"\n'.replace(b'""', b'@"'), b'"[email] @"","x"\n'),
        ("csv", {}, b'"password=""hunter2""",x\n', b'"password=""[password]""",x\n'),
        ("text", {}, b"123\t45\n", b"123\t45\n"),
        ("text", {"delimiter": "-"}, b"123-45\n", b"123-45\n"),
    ],
)
def test_detectors_read_what_fields_say(style: str, options: dict[str, object], before: bytes, after: bytes) -> None:
    """Escapes and quotes do not hide a value; neighbouring fields do not make one."""
    assert through(CopyRedactor(planned("", "", detectors=ALL), style, **options), before) == after  # type: ignore[arg-type]


def test_nothing_to_change_is_the_same_object() -> None:
    """Rows in which nothing is seen come back as they are, and are counted."""
    for style, block in (("text", b"a\tb\nc\td\n"), ("csv", b'a,"b\n"\nc,d\n')):
        redactor = CopyRedactor(planned("", "", detectors=ALL), style)
        assert redactor.feed(block) is block
        assert redactor.rows == 2


def test_what_is_not_utf8_is_redacted_unread() -> None:
    """A transform reads UTF-8; in COPY's other encodings nothing depends on what the value is."""
    redactor = CopyRedactor(planned("card", "", transforms=Transforms({"card": "partial"})), encoding="latin1")
    assert redactor.feed(b"4111111111111111\t\xe9\n\xe9\tx\n") + redactor.finish() == b"[card]\t\xe9\n[card]\tx\n"


def test_partial_and_counts() -> None:
    """Labels are counted; an expression's transform is redaction, since COPY names no stored column."""
    redactor = CopyRedactor(planned("card", "", transforms=Transforms({"card": "partial"}), detectors=ALL))
    assert through(redactor, b"4111111111111111\tbob@example.org\n") == b"[card]\t[email]\n"
    assert (redactor.rows, redactor.cells) == (1, {"card": 1, "email": 1})


@pytest.mark.parametrize(
    ("style", "data"),
    [("text", b"1\n"), ("text", b"1\t2\t3\n"), ("csv", b"1\n"), ("csv", b"1,2,3\n"), ("csv", b'1,"2\n')],
)
def test_rows_that_do_not_fit_are_refused(style: str, data: bytes) -> None:
    """Too few fields, too many, and an end within quotes."""
    with pytest.raises(ProtocolError):
        through(CopyRedactor(planned("", "ssn"), style), data)


@pytest.mark.parametrize("style", ["text", "csv", "binary"])
def test_what_is_held_has_a_bound(style: str) -> None:
    """A row beyond the limit ends the result, cut or whole."""
    redactor = CopyRedactor(planned("", detectors=ALL, form=int(style == "binary")), style, max_line=1000)
    if style == "binary":
        redactor.feed(b"PGCOPY\n\xff\r\n\x00" + bytes(8) + struct.pack("!hi", 1, 1 << 30))
    for _ in range(240):
        redactor.feed(b"xxxx")
    with pytest.raises(TooLargeError):
        redactor.feed(b"x" * 41)
    if style != "binary":
        with pytest.raises(TooLargeError):
            CopyRedactor(planned("", detectors=ALL), style, max_line=1000).feed(b"x" * 1200 + b"\n")


@pytest.mark.parametrize(
    ("style", "options", "labels"),
    [
        ("binary", {}, ("", "ssn")),
        ("json", {}, ("",)),
        ("text", {"encoding": "SJIS"}, ("",)),
        ("csv", {"encoding": "GBK"}, ("",)),
        ("text", {"delimiter": "ab"}, ("",)),
        ("csv", {"quote": "é"}, ("",)),
    ],
)
def test_what_cannot_be_masked_is_refused_when_planned(
    style: str, options: dict[str, object], labels: tuple[str, ...]
) -> None:
    """Binary with a label, unknown formats, encodings that hide ASCII, separators of more than a byte."""
    with pytest.raises(ValueError):
        CopyRedactor(planned(*labels), style, **options)  # type: ignore[arg-type]


HEAD = b"PGCOPY\n\xff\r\n\x00" + bytes(8)


def binary(*rows: list[bytes | None]) -> bytes:
    out = HEAD
    for values in rows:
        out += struct.pack("!h", len(values))
        for value in values:
            out += struct.pack("!i", -1) if value is None else struct.pack("!i", len(value)) + value
    return out + b"\xff\xff"


def test_binary_without_labels_goes_through_detectors() -> None:
    """Framing is kept, whatever the cut; a field that is not text and holds something becomes NULL."""
    data = binary([b"123-45-6789", None], [b"\x00\x00\x00\x07", b"\x00 123-45-6789"], [b"", b"x"])
    expected = binary([b"[ssn]", None], [b"\x00\x00\x00\x07", None], [b"", b"x"])
    columns = planned("", "", detectors=ALL, form=1)
    assert through(CopyRedactor(columns, "binary"), data) == expected
    assert through(CopyRedactor(columns, "binary"), *(bytes((byte,)) for byte in data)) == expected


@settings(max_examples=150, deadline=None)
@given(st.binary(max_size=60), st.booleans(), st.sampled_from(["text", "csv", "binary"]))
def test_garbage_raises_protocol_error_only(data: bytes, headed: bool, style: str) -> None:
    """Whatever the bytes: rows, or ProtocolError."""
    columns = planned("", "", detectors=ALL, form=int(style == "binary")) if style == "binary" else planned("ssn", "")
    try:
        through(CopyRedactor(columns, style), HEAD + data if headed else data)
    except ProtocolError:
        pass


VALUES = st.one_of(
    st.text(alphabet="ab,\"'\\\n\r\t|1", max_size=8),
    st.sampled_from([SSN, "bob@example.org", "x 4111111111111111", "\\N", "[ssn]", ""]),
)


@settings(max_examples=150, deadline=None)
@given(st.lists(st.tuples(VALUES, VALUES, VALUES), min_size=1, max_size=5), st.lists(st.integers(0, 200), max_size=5))
def test_csv_reads_back(rows: list[tuple[str, str, str]], cuts: list[int]) -> None:
    """A CSV reader sees each labelled field masked and every other field as it was, wherever it was cut."""
    written = io.StringIO()
    csv.writer(written, lineterminator="\n", quoting=csv.QUOTE_ALL).writerows(rows)
    data = written.getvalue().encode()
    marks = [0, *sorted(min(cut, len(data)) for cut in cuts), len(data)]
    pieces = [data[start:end] for start, end in pairwise(marks)]
    redactor = CopyRedactor(planned("", "ssn", ""), "csv")
    out = through(redactor, *pieces).decode()
    assert list(csv.reader(io.StringIO(out, newline=""))) == [[a, "[ssn]", c] for a, _, c in rows]
    assert redactor.rows == len(rows)
    masked = through(CopyRedactor(planned("", "", "", detectors=ALL), "csv"), *pieces).decode()
    for before, after in zip(rows, csv.reader(io.StringIO(masked, newline="")), strict=True):
        assert after == [ALL.mask(value)[0] for value in before]
