"""Rows through their plan: the same for any chunking, well-formed, and ProtocolError for anything else.

The same tests run over the compiled module: test_redact_compiled.py.
"""

from __future__ import annotations

import json
import os
import random
import struct
import tracemalloc
from collections import Counter
from collections.abc import Sequence
from datetime import date, timedelta
from itertools import pairwise

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from doorward.errors import ProtocolError
from doorward.masking.detect import Detectors
from doorward.masking.plan import DATE, INT4, INT8, JSON, JSONB, NUMERIC, TEXT, UUID, Plan, ResultColumn, plan
from doorward.masking.transforms import Transforms
from doorward.protocols.postgres import redact
from doorward.protocols.postgres.cells import UndecodableError
from doorward.protocols.postgres.redact import RowRedactor, TooLargeError

Values = Sequence[bytes | None]
ALL = Detectors()
QUIET = Detectors(())
SSN = b"123-45-6789"


def test_the_build_under_test_is_the_one_asked_for() -> None:
    """DOORWARD_TEST_COMPILED=1 means that these tests run over the extension, and nothing else does."""
    assert str(redact.__file__).endswith(".so") or os.environ.get("DOORWARD_TEST_COMPILED") != "1"


def row(values: Values) -> bytes:
    body = b"".join(struct.pack("!i", -1) if v is None else struct.pack("!i", len(v)) + v for v in values)
    return b"D" + struct.pack("!iH", 6 + len(body), len(values)) + body


def rows_of(data: bytes) -> list[list[bytes | None]]:
    """Read rows back, strictly."""
    rows: list[list[bytes | None]] = []
    position = 0
    while position < len(data):
        kind, length, count = struct.unpack_from("!ciH", data, position)
        assert kind == b"D"
        end = position + 1 + length
        assert end <= len(data)
        position += 7
        values: list[bytes | None] = []
        for _ in range(count):
            (size,) = struct.unpack_from("!i", data, position)
            position += 4
            values.append(None if size == -1 else data[position : position + size])
            position += max(size, 0)
        assert position == end
        rows.append(values)
    return rows


def planned(
    *columns: tuple[str, int, int],
    detectors: Detectors = QUIET,
    transforms: Transforms | None = None,
    stored: bool = True,
) -> Plan:
    """Columns as (label or "", type OID, format); each labelled one is a stored column, or else computed."""
    labels = frozenset(label for label, _, _ in columns if label)
    names = [label for label, _, _ in columns]
    return plan(
        [frozenset({label}) if label else frozenset() for label, _, _ in columns],
        [ResultColumn("c", 7, index + 1, oid, form) for index, (_, oid, form) in enumerate(columns)],
        lambda _, number: (names[number - 1] or None) if stored else None,
        labels,
        frozenset(),
        transforms or Transforms(),
        detectors,
    )


def redacted(result: RowRedactor, *values: Values) -> list[list[bytes | None]]:
    data = b"".join(map(row, values))
    return rows_of(result.redact(data, 0, len(data)))


def test_labelled_columns_are_replaced() -> None:
    """The labelled column is replaced in every row, NULL stays NULL, the rest is as it was, and cells are counted."""
    redactor = RowRedactor(planned(("", TEXT, 0), ("ssn", TEXT, 0), ("", TEXT, 0)))
    assert redacted(redactor, [b"a", SSN, b"b"], [None, None, b""], [b"c", b"", None]) == [
        [b"a", b"[ssn]", b"b"],
        [None, None, b""],
        [b"c", b"[ssn]", None],
    ]
    assert (redactor.rows, redactor.cells) == (3, {"ssn": 2})


def test_null_tells_nothing_of_what_was_computed() -> None:
    """Where the column is not the stored one, NULL is masked and counted like any value: nullif() could be why."""
    redactor = RowRedactor(planned(("", TEXT, 0), ("ssn", TEXT, 0), ("pay", INT4, 1), ("", TEXT, 0), stored=False))
    assert redacted(redactor, [b"a", SSN, b"\0\0\0\7", b"b"], [None, None, None, None], [b"", None, None, b"c"]) == [
        [b"a", b"[ssn]", None, b"b"],
        [None, b"[ssn]", None, None],
        [b"", b"[ssn]", None, b"c"],
    ]
    assert (redactor.rows, redactor.cells) == (3, {"ssn": 3, "pay": 3})


def test_nothing_to_change_is_the_same_object() -> None:
    """Without a mask and without a hit the very bytes come back."""
    data = row([b"a", b"b"]) * 3
    for redactor in (
        RowRedactor(planned(("", TEXT, 0), ("", TEXT, 0))),
        RowRedactor(planned(("", TEXT, 0), ("", TEXT, 0), detectors=ALL)),
        RowRedactor(planned(("ssn", TEXT, 0), ("", TEXT, 0))),
    ):
        given_data = row([None, b"b"]) * 3 if redactor.plan.masked else data
        assert redactor.redact(given_data, 0, len(given_data)) is given_data
        assert redactor.rows == 3


def test_a_part_of_a_chunk() -> None:
    """Only data[start:end] is read and returned."""
    data = b"Z\x00\x00\x00\x05I" + row([SSN]) + b"C\x00\x00"
    for detectors, label in ((QUIET, "ssn"), (ALL, "")):
        redactor = RowRedactor(planned((label, TEXT, 0), detectors=detectors))
        assert rows_of(redactor.redact(data, 6, len(data) - 3)) == [[b"[ssn]"]]


def test_row_one_million_and_one() -> None:
    """There is no row after which masking stops."""
    redactor = RowRedactor(planned(("", TEXT, 0), detectors=ALL))
    plain = row([b"x"]) * 10_000
    for _ in range(100):
        assert redactor.redact(plain, 0, len(plain)) is plain
    assert redacted(redactor, [SSN]) == [[b"[ssn]"]]
    assert redactor.rows == 1_000_001


@pytest.mark.parametrize(
    ("oid", "form", "value", "shown"),
    [
        (TEXT, 0, b"to bob@example.org", b"to [email]"),
        (TEXT, 1, b"to bob@example.org", b"to [email]"),
        (INT4, 1, b"\x00\x00\x00\x01", b"\x00\x00\x00\x01"),
        (JSON, 0, b'{"a":"123-45-6789"}', b'{"a":"[ssn]"}'),
        (JSON, 0, b'{"a":4111111111111111}', b'"[card]"'),
        (JSON, 1, b'{"a":4111111111111111}', b'"[card]"'),
        (JSONB, 1, b'\x01{"a":"123-45-6789"}', b'\x01{"a":"[ssn]"}'),
        (JSONB, 1, b"\x01[4111111111111111]", b'\x01"[card]"'),
        (1009, 0, b"{123-45-6789,x}", b"{[ssn],x}"),
        (99999, 0, b"(1,123-45-6789)", b"(1,[ssn])"),
        (99999, 1, b"123-45-6789", b"[ssn]"),
        (99999, 1, b"\x00\x00\x00\x0b123-45-6789", None),
        (17, 1, b"\xff 123-45-6789", None),
        (17, 1, b"\xff\x00\x01\x02", b"\xff\x00\x01\x02"),
        (TEXT, 0, "１２３-45-6789".encode(), b"[ssn]"),
        (TEXT, 0, b"\xff 123-45-6789", b"\xff [ssn]"),
    ],
)
def test_detectors_look_at_every_kind_of_value(oid: int, form: int, value: bytes, shown: bytes | None) -> None:
    """Text and binary, JSON that stays JSON, and NULL where nothing else is well-formed."""
    redactor = RowRedactor(planned(("", oid, form), ("", INT4, 0), detectors=ALL))
    assert redacted(redactor, [value, b"4111111111111111"]) == [[shown, b"4111111111111111"]]
    if shown is not None and oid in (JSON, JSONB):
        json.loads(shown.lstrip(b"\x01"))


def array(*elements: bytes | None, oid: int = TEXT) -> bytes:
    body = b"".join(struct.pack("!i", -1) if e is None else struct.pack("!i", len(e)) + e for e in elements)
    return struct.pack("!iiiii", 1, int(None in elements), oid, len(elements), 1) + body


@pytest.mark.parametrize(
    ("value", "shown"),
    [
        (array(b"a", b"123-45-6789", None), array(b"a", b"[ssn]", None)),
        (array(b"a", None), array(b"a", None)),
        (array(b'\x01["123-45-6789"]', oid=JSONB), array(b'\x01["[ssn]"]', oid=JSONB)),
    ],
)
def test_binary_arrays_keep_their_framing(value: bytes, shown: bytes | None) -> None:
    """Elements are rewritten one by one."""
    redactor = RowRedactor(planned(("", 1009, 1), detectors=ALL))
    assert redacted(redactor, [value]) == [[shown]]


@pytest.mark.parametrize(
    ("oid", "form", "value", "label"),
    [
        (1009, 1, array(b"x 123-45-6789")[:-2] + b"89 and", ""),
        (1009, 1, b"123-45-6789", ""),
        (1009, 1, struct.pack("!iii", 9, 0, 25) + b"\x00 123-45-6789", ""),
        (1009, 1, array(b"123-45-6789", b"x")[:-3], ""),
        (JSONB, 1, b"\x02 123-45-6789", ""),
        (TEXT, 0, b"\xff 123-45-6789", "card"),
        (TEXT, 1, b"4111 1111 \xc3", "card"),
    ],
)
def test_a_value_that_cannot_be_decoded_ends_its_result(oid: int, form: int, value: bytes, label: str) -> None:
    """An array that does not hold together, a jsonb of another version, a labelled text that is none: nothing of the chunk
    comes back."""
    redactor = RowRedactor(
        planned((label, oid, form), ("", TEXT, 0), detectors=ALL, transforms=Transforms({"card": "partial"}, bytes(32)))
    )
    with pytest.raises(UndecodableError):
        redacted(redactor, [value if not label else b"4111111111111111", b"x 123-45-6789"], [value, b"x"])


def test_transforms_by_value() -> None:
    """Partial and token work on each value."""
    transforms = Transforms({"card": "partial", "ssn": "token"}, bytes(32))
    redactor = RowRedactor(planned(("card", TEXT, 0), ("ssn", TEXT, 1), transforms=transforms))
    token = transforms.token("ssn", "123-45-6789").encode()
    assert redacted(redactor, [b"4111111111111111", SSN], [b"x", None]) == [
        [b"411111******1111", token],
        [b"[card]", None],
    ]
    assert redactor.cells == {"card": 2, "ssn": 1}


def test_labels_come_before_detectors() -> None:
    """What a label hides is counted under the label, once."""
    redactor = RowRedactor(planned(("tax", TEXT, 0), ("", TEXT, 0), detectors=ALL))
    assert redacted(redactor, [SSN, SSN]) == [[b"[tax]", b"[ssn]"]]
    assert redactor.cells == {"tax": 1, "ssn": 1}


@pytest.mark.parametrize("label", ["ssn", ""])
@pytest.mark.parametrize(
    "data",
    [
        row([SSN]),
        row([SSN] * 3),
        row([SSN, SSN])[:-1],
        row([SSN, SSN])[:3],
        b"T" + row([SSN, SSN])[1:],
        b"D\x00\x00\x00\x05\x00\x02",
        b"D\xff\xff\xff\xff\x00\x02",
        b"D\x00\x00\x00\x11\x00\x02\x00\x00\x00\x63123-45-6789",
        b"D\x00\x00\x00\x1b\x00\x02\xff\xff\xff\xf0\x00\x00\x00\x0b123-45-6789\x00\x00",
        row([SSN, SSN])[:1] + struct.pack("!i", 41) + row([SSN, SSN])[5:] + b"xxxxx",
    ],
)
def test_rows_that_do_not_fit_are_refused(label: str, data: bytes) -> None:
    """Wider, narrower, cut, overlong and negative: ProtocolError, and no row comes back."""
    redactor = RowRedactor(planned((label, TEXT, 0), ("", TEXT, 0), detectors=ALL))
    with pytest.raises(ProtocolError):
        redactor.redact(data, 0, len(data))


@pytest.mark.parametrize("label", ["ssn", ""])
def test_a_row_beyond_the_limit_ends_the_result(label: str) -> None:
    """The limit holds wherever somebody looks, and only there; the error is a ValueError, not the peer's fault."""
    redactor = RowRedactor(planned((label, TEXT, 0), detectors=QUIET if label else ALL), max_row=100)
    data = row([b"x" * 50]) + row([b"x" * 100])
    assert RowRedactor(planned(("", TEXT, 0)), max_row=100).redact(data, 0, len(data)) is data
    with pytest.raises(TooLargeError):
        redactor.redact(data, 0, len(data))
    assert issubclass(TooLargeError, ValueError)


TEXTS = st.one_of(
    st.none(),
    st.text(max_size=12).map(str.encode),
    st.sampled_from([SSN, b"bob@example.org", b"4111111111111111", b"x bob@example.org y", b"", b"\\N", "１２".encode()]),
)
VALUES = TEXTS | st.binary(max_size=12)
PLANS = {
    "mask": planned(("", TEXT, 0), ("ssn", TEXT, 0), ("", INT4, 0)),
    "detect": planned(("", TEXT, 0), ("", JSON, 0), ("", 99999, 1), detectors=ALL),
    "both": planned(
        ("card", TEXT, 0), ("", TEXT, 1), ("ssn", INT4, 1),
        detectors=ALL, transforms=Transforms({"card": "token"}, bytes(32)),
    ),
}  # fmt: skip


@pytest.mark.parametrize("name", PLANS)
@settings(max_examples=60, deadline=None)
@given(st.lists(st.tuples(TEXTS, VALUES, VALUES), max_size=12), st.lists(st.integers(0, 12), max_size=4))
def test_any_chunking_gives_the_same_rows(name: str, values: list[tuple[bytes | None, ...]], cuts: list[int]) -> None:
    """Output, counts and well-formedness do not depend on where the stream was cut, and it shows nothing again."""
    whole = RowRedactor(PLANS[name])
    data = b"".join(map(row, values))
    expected = whole.redact(data, 0, len(data))
    pieces = RowRedactor(PLANS[name])
    marks = [0, *sorted(min(cut, len(values)) for cut in cuts), len(values)]
    out = b""
    for start, end in pairwise(marks):
        chunk = b"".join(map(row, values[start:end]))
        out += pieces.redact(chunk, 0, len(chunk))
    assert out == expected
    assert (pieces.rows, pieces.cells) == (whole.rows, whole.cells) == (len(values), whole.cells)
    for before, after in zip(values, rows_of(out), strict=True):
        assert len(after) == 3
        for index, column in enumerate(PLANS[name].columns):
            if column.label:
                assert after[index] is None or before[index] is not None
                assert after[index] in (None, b"[ssn]", b"[card]") or (after[index] or b"").startswith(b"card_")
    again = RowRedactor(PLANS[name])
    again.redact(out, 0, len(out))
    if name == "detect":
        assert again.cells == {}


@settings(max_examples=200, deadline=None)
@given(
    st.one_of(
        st.binary(max_size=80),
        st.binary(max_size=60).map(lambda b: b"D" + struct.pack("!i", len(b) + 4) + b),
        st.binary(max_size=60).map(lambda b: b"D" + struct.pack("!iH", len(b) + 6, 3) + b),
    )
)
def test_garbage_raises_protocol_error_only(data: bytes) -> None:
    """Whatever the bytes: rows, or ProtocolError."""
    for one in PLANS.values():
        try:
            RowRedactor(one).redact(data, 0, len(data))
        except ProtocolError:
            pass


CELLS = st.one_of(
    st.none(),
    st.sampled_from(
        [
            b"4111111111111111", b"paid with 5555-5555-5555-4444.", b"bob@example.org", b"+1 202-456-1111", b"123-45-6789",
            b"DE89370400440532013000", b"bob@example.org, 123-45-6789", b"pwd=hunter2", b"4\xe2\x80\x8b111111111111111",
            b"PESEL: 44051401359", b"54362315K", b"2026-11-23 06:30:00", b"", b"12345678", b"nothing", "\uff11".encode(),
        ]
    ),
    st.binary(max_size=12),
)  # fmt: skip


@settings(max_examples=300)
@given(st.lists(st.tuples(CELLS, CELLS, CELLS), min_size=1, max_size=60), st.randoms(use_true_random=False), st.booleans())
def test_any_split_into_rows_is_what_each_value_is_alone(rows: list[Values], chosen: random.Random, warm: bool) -> None:
    """However the rows are cut into chunks, whatever was seen before and whatever stands beside it, a cell becomes what the
    detectors themselves make of it, and is counted once."""

    def alone(value: bytes | None) -> bytes | None:
        suspects = ALL.suspects(value) if value else None
        found = ALL.mask_exactly(value, suspects) if value and suspects is not None else None
        if found is None:
            return value
        counts.update(found[1])
        return found[0]

    counts: Counter[str] = Counter()
    expected = [[alone(value) for value in values] for values in rows]
    redactor = RowRedactor(planned(("", TEXT, 0), ("", TEXT, 0), ("", TEXT, 0), detectors=ALL))
    if warm:
        redacted(redactor, [SSN, b"", None])
        redactor.cells.clear()
    encoded = [row(values) for values in rows]
    shown = b""
    while encoded:
        count = chosen.randint(1, len(encoded))
        chunk, encoded = b"Z" + b"".join(encoded[:count]) + b"\0", encoded[count:]
        shown += redactor.redact(chunk, 1, len(chunk) - 1)
    assert rows_of(shown) == expected
    assert (redactor.rows, redactor.cells) == (len(rows) + warm, counts)


@settings(max_examples=200)
@given(
    st.lists(st.tuples(TEXTS, CELLS, CELLS), min_size=1, max_size=60), st.sampled_from(sorted(PLANS)), st.integers(1, 300)
)
def test_some_rows_and_then_the_others(rows: list[Values], name: str, most: int) -> None:
    """Taken a few rows at a time, by what looking at them takes, all of them become what they become at once, counted once."""
    data = b"".join(row(values) for values in rows)
    whole, parts = RowRedactor(PLANS[name]), RowRedactor(PLANS[name])
    expected = whole.redact(data, 0, len(data))
    position, out = 0, []
    while position < len(data):
        before = parts.rows
        out.append(parts.some(data, position, len(data), most))
        assert parts.stop > position
        assert parts.rows - before == len(rows_of(data[position : parts.stop]))
        position = parts.stop
    assert b"".join(out) == expected
    assert (parts.rows, +parts.cells) == (whole.rows, +whole.cells)


def test_memory_does_not_grow_with_rows() -> None:
    """Neither with rows of which each has a hit, nor with how many chunks there were: what is held is what one chunk needs."""
    redactor = RowRedactor(planned(("", TEXT, 0), ("", TEXT, 0), detectors=ALL))
    chunk = row([b"to bob@example.org", b"4111111111111111"]) * 100

    def most(chunks: int) -> int:
        tracemalloc.reset_peak()
        before = tracemalloc.get_traced_memory()[0]
        for _ in range(chunks):
            redactor.redact(chunk, 0, len(chunk))
        return tracemalloc.get_traced_memory()[1] - before

    tracemalloc.start()
    try:
        most(2)
        few, many = most(2), most(12)
    finally:
        tracemalloc.stop()
    assert many < few + len(chunk)
    assert few < 40 * len(chunk)


@pytest.mark.parametrize("place", [1, 3])
@pytest.mark.parametrize("form", [0, 1])
@pytest.mark.parametrize(
    ("oid", "texts", "binary"),
    [
        (INT4, [b"1", b"-7"], [b"\0\0\0\1", b"\xff\xff\xff\xf9"]),
        (INT8, [b"1", b"-7"], [bytes(7) + b"\1", b"\xff" * 7 + b"\xf9"]),
        (TEXT, [b"ada", "\u00fc".encode()], [b"ada", "\u00fc".encode()]),
        (UUID, [b"0188c0f3-0000-7000-8000-000000000001", b"0188c0f3-0000-7000-8000-000000000002"],
         [bytes.fromhex("0188c0f3000070008000000000000001"), bytes.fromhex("0188c0f3000070008000000000000002")]),
    ],
)  # fmt: skip
def test_dates_move_with_the_subject_of_their_row(
    oid: int, texts: Values, binary: Values, form: int, place: int
) -> None:
    """The same in text and in binary, whether the subject stands before the date or behind it; without one in the row, NULL."""
    transforms = Transforms({"born": "date_shift"}, bytes(32), subjects={"born": "id"})
    days = [(transforms.shifted("born", bytes(4), binary=True, subject=text.decode()) or b"") for text in texts if text]
    assert days[0] != days[1]
    dates = days if form else [str(date(2000, 1, 1) + timedelta(int.from_bytes(d, "big", signed=True))).encode() for d in days]
    zero = bytes(4) if form else b"2000-01-01"
    shape = [ResultColumn("c", 7, number, DATE if number == 2 else oid if number == place else TEXT, form)
             for number in (1, 2, 3)]  # fmt: skip
    made = plan([frozenset(), frozenset({"born"}), frozenset()], shape, lambda _, n: "born" if n == 2 else None,
                frozenset({"born"}), frozenset(), transforms, QUIET, subjects=lambda label, table: place)  # fmt: skip
    rows = [[named if place == n else zero if n == 2 else b"x" for n in (1, 2, 3)] for named in (binary if form else texts)]
    rows += [[None if place == n else zero if n == 2 else b"x" for n in (1, 2, 3)]]
    redactor = RowRedactor(made)
    assert [shown[1] for shown in redacted(redactor, *rows)] == [*dates, None]
    assert redactor.cells == {"born": 3}


@pytest.mark.parametrize(
    "why", ["two rows in one", "no such column", "not in the result", "another table's", "no name", "text"]
)
def test_a_date_whose_subject_is_not_in_its_row_is_not_shown(why: str) -> None:
    """Not by the constant of its label, either."""
    transforms = Transforms({"born": "date_shift"}, bytes(32), subjects={"born": "id"})
    who = ResultColumn("id", 8 if why == "another table's" else 7, 3 if why == "not in the result" else 1,
                       NUMERIC if why == "no name" else INT4, 0)  # fmt: skip
    shape = [who, ResultColumn("born", 7, 2, JSON if why == "text" else DATE, 0)]
    found = None if why == "two rows in one" else (lambda label, table: 0 if why == "no such column" else 1)
    made = plan([frozenset(), frozenset({"born"})], shape, lambda _, n: "born" if n == 2 else None, frozenset({"born"}),
                frozenset(), transforms, QUIET, subjects=found)  # fmt: skip
    assert redacted(RowRedactor(made), [b"1", b"2000-01-01"]) == [[b"1", None]]


@pytest.mark.parametrize("row", [b"\0\0\0\4\0\0\0\1", b"\0\0\0\2ab\0\0\0\x09a", b"\0\0\0\1a\xff\xff\xff\xfe", b""])
def test_a_row_that_ends_before_its_subject_is_none(row: bytes) -> None:
    """Lengths that do not fit are an error behind the date, too, where nothing else looks."""
    transforms = Transforms({"born": "date_shift"}, bytes(32), subjects={"born": "id"})
    shape = [ResultColumn("born", 7, 1, DATE, 1), ResultColumn("x", 7, 2, TEXT, 1), ResultColumn("id", 7, 3, INT4, 1)]
    made = plan([frozenset({"born"}), frozenset(), frozenset()], shape, lambda _, n: "born" if n == 1 else None,
                frozenset({"born"}), frozenset(), transforms, QUIET, subjects=lambda label, table: 3)  # fmt: skip
    body = (3).to_bytes(2, "big") + b"\0\0\0\4\0\0\0\0" + row
    data = b"D" + (4 + len(body)).to_bytes(4, "big") + body
    with pytest.raises(ProtocolError):
        RowRedactor(made).redact(data, 0, len(data))
