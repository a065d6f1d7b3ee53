"""Wide rows become what any row becomes, without being held."""

from __future__ import annotations

import struct
import tracemalloc
from collections.abc import Sequence
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from doorward.errors import ProtocolError
from doorward.masking.detect import Detectors, Suspects
from doorward.masking.plan import JSON, JSONB, TEXT, Plan, Reading
from doorward.masking.transforms import Transforms
from doorward.protocols.postgres.cells import Cells
from doorward.protocols.postgres.looking import LONG as LOOKED
from doorward.protocols.postgres.looking import Question, answer
from doorward.protocols.postgres.redact import RowRedactor
from doorward.protocols.postgres.wide import WHOLE, Memory, WideRow
from tests.unit.protocols.postgres.test_redact import ALL, QUIET, SSN, planned, row, rows_of

BYTEA, TEXTS = 17, 1009
CARD = b"4111 1111 1111 1111"
LONG = WHOLE + 1


def shown(plan: Plan, values: Sequence[bytes | None], size: int = 65_536, *, recorded: bool = False) -> tuple[bytes, WideRow]:
    """The row as the client sees it, fed in pieces of this size."""
    message = row(values)
    wide = WideRow(plan, len(message) - 1, Memory(), recorded=recorded)
    out: list[bytes] = []
    position = 5
    while not wide.whole:
        piece = message[position : position + size] + (b"more" if position + size >= len(message) else b"")
        taken = wide.feed(piece, 0)
        assert piece[taken:] in (b"", b"more")
        position += taken
        out += wide.out
        wide.out.clear()
    return b"".join(out if wide.direct else wide.pieces()), wide


VALUE = st.one_of(
    st.none(),
    st.binary(max_size=30),
    st.sampled_from([b"", SSN, CARD, b"to bob@example.org", b'{"a":"123-45-6789"}', b"x" * 5000]),
)
COLUMN = st.sampled_from([("", TEXT, 0), ("ssn", TEXT, 0), ("pay", 23, 1), ("", 23, 1), ("email", TEXT, 1), ("", JSON, 0)])


@settings(max_examples=300)
@given(
    st.lists(st.tuples(COLUMN, VALUE), min_size=1, max_size=6), st.integers(1, 64), st.booleans(), st.booleans(),
    st.sampled_from([{}, {"email": "hash"}, {"email": "partial"}, {"ssn": "null"}]),
)  # fmt: skip
def test_as_any_row(
    cells: list[tuple[tuple[str, int, int], bytes | None]], size: int, looks: bool, stored: bool, transforms: dict[str, str]
) -> None:
    """The same bytes and counts as the redactor of rows that are held gives, however the row is cut."""
    plan = planned(
        *(column for column, _ in cells), detectors=ALL if looks else QUIET, stored=stored,
        transforms=Transforms(transforms, b"k" * 32),
    )  # fmt: skip
    values = [value for _, value in cells]
    redactor = RowRedactor(plan)
    message = row(values)
    try:
        expected = redactor.redact(message, 0, len(message))
    except ValueError as error:
        with pytest.raises(type(error)):
            shown(plan, values, size)
        return
    out, wide = shown(plan, values, size)
    assert out == expected
    assert wide.cells == redactor.cells


@pytest.mark.parametrize("place", [0, 1, 65_530, 262_130, 262_144 + 65_530, 500_000, WHOLE])
def test_long_text(place: int) -> None:
    """A card is found wherever it stands in a long value, and the length says what is left."""
    value = b"a" * place + b" " + CARD + b" " + b"b" * LONG
    out, wide = shown(planned(("", TEXT, 0), ("", TEXT, 0), detectors=ALL), [value, SSN])
    assert rows_of(out) == [[value.replace(CARD, b"[card]"), b"[ssn]"]]
    assert wide.cells == {"card": 1, "ssn": 1}


@pytest.mark.parametrize(
    ("column", "value", "becomes"),
    [
        (("ssn", TEXT, 0), b"x" * LONG, b"[ssn]"),
        (("ssn", BYTEA, 1), b"x" * LONG, None),
        (("email", TEXT, 0), b"x" * LONG, b"[email]"),
        (("", JSON, 0), b'"' + b"x" * LONG + b' 123-45-6789"', b'"[ssn]"'),
        (("", JSONB, 1), b'\x01"' + b"x" * LONG + b' 123-45-6789"', b'\x01"[ssn]"'),
        (("", JSON, 0), b'"' + b"x" * LONG + b'"', b'"' + b"x" * LONG + b'"'),
        (("", BYTEA, 1), b"\xff" * LONG + SSN, None),
        (("", TEXTS, 1), bytes(12) + b"x" * LONG + b" " + SSN, None),
        (("", BYTEA, 1), b"\xff" * LONG, b"\xff" * LONG),
    ],
)
def test_long_values_of_every_kind(column: tuple[str, int, int], value: bytes, becomes: bytes | None) -> None:
    """A constant, a transform that does not look, a whole document, or NULL; and unchanged, where nothing is in it."""
    plan = planned(column, ("", TEXT, 0), ("ssn", TEXT, 0), detectors=ALL, transforms=Transforms({"email": "hash"}, b"k" * 32))
    out, _ = shown(plan, [value, b"beside", SSN])
    assert rows_of(out) == [[becomes, b"beside", b"[ssn]"]]


def test_what_cannot_change_goes_on_at_once() -> None:
    """Behind the last column that is masked, a row passes as it comes: nothing of it is put aside."""

    class Refusing(Memory):
        def append(self, data: bytes) -> None:
            raise AssertionError("nothing should be put aside")

    message = row([SSN, b"x" * LONG, b"y" * LONG])
    wide = WideRow(planned(("ssn", TEXT, 0), ("", TEXT, 0), ("", TEXT, 0)), len(message) - 1, Refusing())
    tracemalloc.start()
    out = 0
    for position in range(5, len(message), 65_536):
        wide.feed(message[position : position + 65_536], 0)
        out += sum(map(len, wide.out))
        wide.out.clear()
    assert tracemalloc.get_traced_memory()[1] < 1 << 20
    tracemalloc.stop()
    assert wide.direct
    assert out == len(row([b"[ssn]", b"x" * LONG, b"y" * LONG]))


def test_little_is_held() -> None:
    """Of a value of 32 MiB that is looked at, less than 3 MiB are in memory at any time, besides the store."""

    class Counting(Memory):
        length = 0

        def append(self, data: bytes) -> None:
            self.length += len(data)

        def size(self) -> int:
            return self.length

    wide = WideRow(planned(("", TEXT, 0), detectors=ALL), 4 + 2 + 4 + (32 << 20), Counting())
    wide.feed(struct.pack("!Hi", 1, 32 << 20), 0)
    piece = (b"nothing to see " * 5000)[: 1 << 16]
    tracemalloc.start()
    for _ in range(512):
        wide.feed(piece, 0)
    assert tracemalloc.get_traced_memory()[1] < 3 << 20
    tracemalloc.stop()
    assert wide.whole


def test_the_record_says_how_long_it_was() -> None:
    """Where the record is not what is shown, it has short values, and of long ones their length, to be masked."""
    plan = planned(("", TEXT, 0), ("", TEXT, 0), ("", JSON, 0), ("", BYTEA, 1), detectors=Detectors(()))
    _, wide = shown(plan, [SSN, b"x" * LONG, b'"' + b"y" * LONG + b'"', b"z" * LONG], recorded=True)
    assert rows_of(wide.record()) == [
        [SSN, f"[{LONG} bytes, not recorded]".encode(), f'"[{LONG + 2} bytes, not recorded]"'.encode(), None]
    ]


@pytest.mark.parametrize(
    ("length", "body"),
    [
        (20, struct.pack("!Hi", 2, 4) + b"abcd" + bytes(6)), (20, struct.pack("!Hi", 1, 11) + bytes(10)),
        (20, struct.pack("!Hi", 1, -2) + bytes(10)), (20, struct.pack("!Hi", 1, 9) + bytes(10)), (7, b"\0\1\0"), (5, b"\0"),
        (20, struct.pack("!Hi", 1, -1) + bytes(10)),
    ],
)  # fmt: skip
@pytest.mark.parametrize("size", [1, 100])
def test_what_is_no_row(length: int, body: bytes, size: int) -> None:
    """A length that does not fit is an error, and nothing else is raised."""
    wide = WideRow(planned(("", TEXT, 0), detectors=ALL), length, Memory())

    def feed() -> None:
        for position in range(0, len(body), size):
            wide.feed(body[position : position + size], 0)

    with pytest.raises(ProtocolError):
        feed()


def asked(plan: Plan, values: Sequence[bytes | None], size: int) -> tuple[bytes, WideRow, list[Question]]:
    """The row as the client sees it, when somebody else looks at what is long; and what was asked."""
    message = row(values)
    wide = WideRow(plan, len(message) - 1, Memory(), asks=True)
    out: list[bytes] = []
    questions: list[Question] = []
    position = 5
    while not wide.whole:
        position += wide.feed(message[position : position + size], 0)
        while wide.question is not None:
            questions.append(wide.question)
            assert wide.feed(b"more", 0) == 0
            wide.told(answer(ALL, wide.question))
            wide.feed(b"", 0)
        out += wide.out
        wide.out.clear()
    return b"".join(out if wide.direct else wide.pieces()), wide, questions


HOSTILE = (
    b"4111 1111 1111 1112 ", b"bob@example.org ", b"a@b.cc@", b"+999999999 ", b"eyJhbGciOiJub25lIn0.eyJzdWIiOiJib2IifQ.xx ",
    b"QUtJQUlPU0ZPRE5ON0VYQU1QTEU", b"AB12", b"password='", b"1 ", b"\\u0031",
)  # fmt: skip


@pytest.mark.parametrize(
    ("unit", "length"), [*((unit, LOOKED + 9) for unit in HOSTILE), (b"bob@example.org " + b"lorem " * 800, LONG)]
)
def test_what_is_long_is_looked_at_elsewhere(unit: bytes, length: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """AT-25: where bytes are moved, detectors look at no value of a long row that has more than 4 KiB; and the row becomes what
    it would become there, with the same counts."""
    value = (unit * (length // len(unit) + 1))[:length]
    values = [value, b"to bob@example.org", b'{"a": 1}', value]
    plan = planned(("", TEXT, 0), ("", TEXT, 0), ("ssn", TEXT, 0), ("", JSON, 0), detectors=ALL)
    here, one = shown(plan, values, 70_000)
    seen: list[int] = []
    look = Cells.masked

    def masked(self: Cells, text: bytes, reading: Reading, suspects: Suspects | None = None) -> Any:
        if self.transforms is plan.transforms:
            seen.append(len(text))
        return look(self, text, reading, suspects)

    monkeypatch.setattr(Cells, "masked", masked)
    there, other, questions = asked(plan, values, 70_000)
    assert (there, other.cells) == (here, one.cells)
    if ALL.hit(value):
        assert sum(len(question.value) for question in questions) >= length
        assert seen == [18]
    else:
        assert questions == []  # where nothing can be, there is nothing to ask


def test_what_cannot_be_masked_elsewhere_ends_its_row() -> None:
    """AT-25: an answer that says that a value is not what its type says is an error."""
    plan = planned(("", JSONB, 1), detectors=ALL)
    with pytest.raises(ValueError, match="jsonb"):
        asked(plan, [b"\x02" + b"4111 1111 1111 1111 " * 1000], 70_000)
