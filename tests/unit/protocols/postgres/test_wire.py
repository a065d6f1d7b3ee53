"""The codec on its own: whole messages or a refusal, whatever the chunking, and no other error than ProtocolError."""

from __future__ import annotations

import struct
import tracemalloc
from collections.abc import Callable, Sequence

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from doorward.errors import ProtocolError
from doorward.protocols.postgres import wire
from doorward.protocols.postgres.wire import Backend, Column, Frames, Frontend

PARSERS: list[Callable[[bytes], object]] = [
    wire.parse_query,
    wire.parse_parse,
    wire.parse_bind,
    wire.parse_describe,
    wire.parse_close,
    wire.parse_execute,
    wire.parse_copy_fail,
    wire.parse_password,
    wire.parse_startup,
    wire.parse_cancel,
    wire.parse_row_description,
    wire.parse_data_row,
    wire.parse_parameter_description,
    wire.parse_error,
    wire.parse_command_complete,
    wire.parse_ready,
    wire.parse_parameter_status,
    wire.parse_backend_key,
    wire.parse_notification,
    wire.parse_copy_response,
    wire.parse_authentication,
    wire.parse_sasl_mechanisms,
    wire.parse_negotiate_protocol_version,
]

names = st.binary(max_size=12).map(lambda name: name.replace(b"\0", b"x"))
texts = st.text(max_size=12).map(lambda text: text.replace("\0", "x"))
anything = st.text(st.characters(), max_size=20)
formats = st.lists(st.integers(0, 1), max_size=4)
values = st.lists(st.none() | st.binary(max_size=12), max_size=6)
oids = st.lists(st.integers(0, 2**32 - 1), max_size=5)
columns = st.lists(
    st.builds(
        Column,
        names,
        st.integers(0, 2**32 - 1),
        st.integers(-(2**15), 2**15 - 1),
        st.integers(0, 2**32 - 1),
        st.integers(-(2**15), 2**15 - 1),
        st.integers(-(2**31), 2**31 - 1),
        st.integers(0, 1),
    ),
    max_size=4,
)
# Near-misses: mostly zeros, small counts and lengths get further into a parser than uniform bytes do.
garbage = st.binary(max_size=64) | st.lists(st.sampled_from(b"\0\0\0\1\2\xff\x7fSPa"), max_size=40).map(bytes)


def payload(message: bytes) -> bytes:
    """What is inside one typed message."""
    ((_, inside),) = Frames(1 << 24).feed(message)
    return inside


def outcome(parser: Callable[[bytes], object], body: bytes) -> object:
    """What a parser says, or None when it refuses."""
    try:
        return parser(body)
    except ProtocolError:
        return None


# --- parsers -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("parser", PARSERS, ids=lambda parser: parser.__name__)
@given(body=garbage)
def test_garbage_is_refused_and_nothing_else(parser: Callable[[bytes], object], body: bytes) -> None:
    """On any bytes a parser gives a value or raises ProtocolError."""
    outcome(parser, body)


WHOLE: list[tuple[Callable[[bytes], object], bytes]] = [
    (wire.parse_query, wire.query(b"select 1")),
    (wire.parse_parse, wire.parse(b"s", b"select $1", [23, 25])),
    (wire.parse_bind, wire.bind(b"p", b"s", [0, 1], [b"1", None], [1])),
    (wire.parse_describe, wire.describe("S", b"s")),
    (wire.parse_close, wire.close("P", b"p")),
    (wire.parse_execute, wire.execute(b"p", 10)),
    (wire.parse_copy_fail, wire.copy_fail("no")),
    (wire.parse_password, wire.password_message(b"token")),
    (wire.parse_row_description, wire.row_description([Column(b"a", 1, 1, 25, -1, -1, 0)])),
    (wire.parse_data_row, wire.data_row([b"a", None])),
    (wire.parse_parameter_description, wire.parameter_description([23])),
    (wire.parse_error, wire.error_response("ERROR", "42501", "no", hint="ask", position=3)),
    (wire.parse_command_complete, wire.command_complete("SELECT 1")),
    (wire.parse_ready, wire.ready_for_query(wire.IDLE)),
    (wire.parse_parameter_status, wire.parameter_status("a", "b")),
    (wire.parse_copy_response, wire.copy_in_response(1, 2)),
    (wire.parse_notification, wire.message(Backend.NOTIFICATION_RESPONSE, b"\0\0\0\1ch\0hello\0")),
]


@pytest.mark.parametrize(("parser", "message"), WHOLE, ids=lambda value: getattr(value, "__name__", ""))
def test_a_message_is_read_whole_or_not_at_all(parser: Callable[[bytes], object], message: bytes) -> None:
    """Every proper prefix of a payload is refused, and so is the payload with one byte more (PG-22)."""
    body = payload(message)
    assert outcome(parser, body) is not None
    assert [cut for cut in range(len(body)) if outcome(parser, body[:cut]) is not None] == []
    assert outcome(parser, body + b"\0") is None
    assert outcome(parser, body + b"x") is None


@pytest.mark.parametrize("body", [b"", b"select 1", b"select 1\0;drop table t", b"select 1\0drop table t\0", b"a\0\0"])
def test_a_query_ends_with_its_only_nul(body: bytes) -> None:
    """A Query without NUL, or with anything behind one, is refused: the server says 08P01 (PG-22)."""
    with pytest.raises(ProtocolError):
        wire.parse_query(body)


@pytest.mark.parametrize(
    "body",
    [
        b"\0\0\0\2\0\0\0\0\0\1\0\0\0\1a\0\0",  # two formats for one parameter
        b"\0\0\0\1\0\2\0\0\0\0",  # a format that does not exist
        b"\0\0\0\0\0\1\xff\xff\xff\xfe\0\0",  # a length of -2
        b"\0\0\0\0\0\1\x7f\xff\xff\xffa\0\0",  # more than there is
        b"\0\0\0\0\xff\xff\0\0",  # 65,535 parameters and none there
        b"\0\0\0\0\0\0\0\2\0\1",  # two result formats and one there
    ],
)
def test_bind_counts_and_lengths_must_agree(body: bytes) -> None:
    """Counts and lengths that do not fit what is there are refused."""
    with pytest.raises(ProtocolError):
        wire.parse_bind(body)


def test_65535_parameters_are_read() -> None:
    """The count of parameters is unsigned: the server's 65,535 work."""
    bound = wire.parse_bind(payload(wire.bind(b"", b"", [], [None] * 65535, [])))
    assert len(bound.params) == 65535


@pytest.mark.parametrize(
    "body",
    [
        b"\0\3\0\0user\0u\0user\0v\0\0",  # which one?
        b"\0\3\0\0user\0u\0",  # no end
        b"\0\3\0\0user\0u\0\0\0",  # something behind the end
        b"\0\3\0\0user\0\xff\0\0",  # not UTF-8
        b"\0\3\0",
    ],
)
def test_an_ambiguous_startup_is_refused(body: bytes) -> None:
    """A start-up packet that could be read in two ways is refused."""
    with pytest.raises(ProtocolError):
        wire.parse_startup(body)


def test_an_error_without_sqlstate_is_an_error_all_the_same() -> None:
    """A hostile target's error, without SQLSTATE and with bytes that are not UTF-8, is read (PG-26)."""
    assert wire.parse_error(b"Mno \xff way\0\0") == {"M": "no \N{REPLACEMENT CHARACTER} way"}
    assert wire.parse_error(b"\0") == {}


# --- round trips -------------------------------------------------------------------------------------------------


@given(names, names, formats, values, formats)
def test_bind_round_trip(
    portal: bytes, statement: bytes, given_formats: list[int], params: list[bytes | None], results: list[int]
) -> None:
    """What bind writes parse_bind reads, and writing it again gives the same bytes."""
    param_formats = given_formats if len(given_formats) in (0, 1, len(params)) else given_formats[:1]
    written = wire.bind(portal, statement, param_formats, params, results)
    bound = wire.parse_bind(payload(written))
    read = (bound.portal, bound.statement, bound.param_formats, bound.params, bound.result_formats)
    assert read == (portal, statement, tuple(param_formats), tuple(params), tuple(results))
    assert wire.bind(*read) == written


@given(names, names, oids)
def test_parse_round_trip(name: bytes, text: bytes, types: list[int]) -> None:
    """What parse writes parse_parse reads."""
    assert wire.parse_parse(payload(wire.parse(name, text, types))) == (name, text, tuple(types))


@given(columns)
def test_row_description_round_trip(shape: list[Column]) -> None:
    """What row_description writes parse_row_description reads."""
    assert wire.parse_row_description(payload(wire.row_description(shape))) == tuple(shape)


@given(values)
def test_data_row_round_trip(row: list[bytes | None]) -> None:
    """What data_row writes parse_data_row reads: an empty value stays empty, NULL stays NULL."""
    assert wire.parse_data_row(payload(wire.data_row(row))) == tuple(row)


@given(st.dictionaries(texts.filter(bool), texts, max_size=4), st.sampled_from([0, 2, 9999]))
def test_startup_round_trip(parameters: dict[str, str], minor: int) -> None:
    """What startup writes parse_startup reads, and its length counts itself."""
    written = wire.startup(parameters, 3 << 16 | minor)
    assert int.from_bytes(written[:4], "big") == len(written)
    assert wire.parse_startup(written[4:]) == (3 << 16 | minor, parameters)


@given(anything, anything, anything)
def test_prose_is_always_sendable(text: str, detail: str, hint: str) -> None:
    """Any text, NUL and lone surrogates included, makes a well-formed ErrorResponse with the fields it should have."""
    fields = wire.parse_error(payload(wire.error_response("ERROR", "42501", text, detail=detail, hint=hint)))
    assert fields["S"] == fields["V"] == "ERROR"
    assert fields["C"] == "42501"
    assert fields["M"] == text.encode("utf-8", "replace").decode().replace("\0", "?")
    assert set(fields) <= set("SVCMDH")


@given(st.dictionaries(st.sampled_from("SVCMDHPpqWsctdFLR"), texts))
def test_error_fields_round_trip(fields: dict[str, str]) -> None:
    """An error can be rebuilt from its fields."""
    assert wire.parse_error(payload(wire.error_fields(fields))) == fields


def test_small_round_trips() -> None:
    """Each remaining builder is read back by its parser."""
    assert wire.parse_describe(payload(wire.describe("S", b"x"))) == ("S", b"x")
    assert wire.parse_close(payload(wire.close("P", b""))) == ("P", b"")
    assert wire.parse_execute(payload(wire.execute(b"p", 7))) == (b"p", 7)
    assert wire.parse_query(payload(wire.query(b"select 1"))) == b"select 1"
    assert wire.parse_copy_response(payload(wire.copy_in_response(0, 3))) == (0, (0, 0, 0))
    assert wire.parse_backend_key(payload(wire.backend_key_data(-5, b"s" * 32))) == (-5, b"s" * 32)
    assert wire.parse_cancel(wire.cancel_request(9, b"abcd")[4:]) == (9, b"abcd")
    assert wire.parse_parameter_status(payload(wire.parameter_status("TimeZone", "UTC"))) == ("TimeZone", "UTC")
    assert wire.parse_parameter_description(payload(wire.parameter_description([1, 2**32 - 1]))) == (1, 2**32 - 1)
    assert wire.parse_negotiate_protocol_version(payload(wire.negotiate_protocol_version(2, ["_pq_.a"]))) == (
        wire.PROTOCOL_3_2,
        ("_pq_.a",),
    )
    code, rest = wire.parse_authentication(payload(wire.authentication_sasl(["A", "B"])))
    assert (code, wire.parse_sasl_mechanisms(rest)) == (wire.Auth.SASL, ("A", "B"))


@pytest.mark.parametrize(
    ("built", "expected"),
    [
        (wire.SYNC, b"S\0\0\0\4"),
        (wire.FLUSH, b"H\0\0\0\4"),
        (wire.TERMINATE, b"X\0\0\0\4"),
        (wire.SSL_REQUEST, b"\0\0\0\x08\x04\xd2\x16\x2f"),
        (wire.GSSENC_REQUEST, b"\0\0\0\x08\x04\xd2\x16\x30"),
        (wire.cancel_request(1, b"abcd"), b"\0\0\0\x10\x04\xd2\x16\x2e\0\0\0\1abcd"),
        (wire.query(b"q"), b"Q\0\0\0\6q\0"),
        (wire.authentication_cleartext_password(), b"R\0\0\0\x08\0\0\0\3"),
        (wire.ready_for_query(wire.FAILED_TRANSACTION), b"Z\0\0\0\5E"),
    ],
)
def test_the_bytes_of_the_documentation(built: bytes, expected: bytes) -> None:
    """Messages have exactly the bytes that chapter 54.7 gives them."""
    assert built == expected


# --- what cannot be written --------------------------------------------------------------------------------------


class Huge(bytes):
    """Bytes that claim a length which nobody has the memory for."""

    size: int

    def __len__(self) -> int:
        return self.size


def huge(size: int) -> Huge:
    made = Huge(b"x")
    made.size = size
    return made


@pytest.mark.parametrize("size", [2**31 - 4, 2**32 - 4, 2**32, 2**32 + 100])
def test_a_length_that_wraps_is_never_written(size: int) -> None:
    """A message of 2 GiB or more is refused, not written with the length that is left of it (PG-20)."""
    with pytest.raises(ProtocolError, match="does not fit"):
        wire.message(Backend.DATA_ROW, huge(size))
    if size > wire.MAX_LENGTH:
        with pytest.raises(ProtocolError, match="does not fit"):
            wire.data_row([huge(size)])


def test_the_largest_length_is_written() -> None:
    """The bound itself is allowed: 2^31 - 1 with the length word."""
    assert wire.message(Backend.DATA_ROW, huge(2**31 - 5))[:5] == b"D\x7f\xff\xff\xff"


@pytest.mark.parametrize(
    "build",
    [
        lambda: wire.bind(b"", b"", [], [None] * 65536, []),
        lambda: wire.bind(b"", b"", [0] * 65536, [], []),
        lambda: wire.bind(b"", b"", [], [], [0] * 65536),
        lambda: wire.parse(b"", b"", [0] * 65536),
        lambda: wire.data_row([None] * 65536),
        lambda: wire.row_description([Column(b"", 0, 0, 0, 0, 0, 0)] * 65536),
        lambda: wire.copy_in_response(0, 65536),
    ],
)
def test_a_count_that_wraps_is_never_written(build: Callable[[], bytes]) -> None:
    """65,536 of anything is refused, not written as none (PG-21)."""
    with pytest.raises(ProtocolError, match="do not fit"):
        build()


@pytest.mark.parametrize(
    "build",
    [
        lambda: wire.query(b"a\0b"),
        lambda: wire.parse(b"a\0b", b""),
        lambda: wire.parse(b"", b"a\0b"),
        lambda: wire.bind(b"a\0", b"", [], [], []),
        lambda: wire.describe("S", b"a\0"),
        lambda: wire.describe("X", b"a"),
        lambda: wire.password_message(b"a\0"),
        lambda: wire.parameter_status("a\0", "b"),
        lambda: wire.parameter_status("a", "\ud800"),
        lambda: wire.command_complete("a\0"),
        lambda: wire.startup({"a": "b\0replication\0true"}),
        lambda: wire.startup({"": "b"}),
        lambda: wire.row_description([Column(b"a\0", 0, 0, 0, 0, 0, 0)]),
        lambda: wire.row_description([Column(b"a", 0, 2**15, 0, 0, 0, 0)]),
        lambda: wire.parse(b"", b"", [2**32]),
        lambda: wire.execute(b"", 2**31),
        lambda: wire.backend_key_data(2**31, b"abcd"),
        lambda: wire.backend_key_data(1, b"abc"),
        lambda: wire.ready_for_query(0x58),
        lambda: wire.copy_in_response(2, 1),
    ],
)
def test_what_would_say_something_else_is_never_written(build: Callable[[], bytes]) -> None:
    """A NUL inside a string, a number too large and an unknown kind are refused."""
    with pytest.raises(ProtocolError):
        build()


# --- cutting the stream ------------------------------------------------------------------------------------------

STREAM = b"".join(message for _, message in WHOLE) + wire.SYNC + wire.copy_data(b"y" * 700) + wire.FLUSH
CUT = Frames(1 << 16).feed(STREAM)


def fed(frames: Frames, chunks: Sequence[bytes]) -> list[tuple[int, bytes]]:
    return [message for chunk in chunks for message in frames.feed(chunk)]


def test_every_split_gives_the_same_messages() -> None:
    """A stream cut in two at any byte, or into single bytes, gives the same messages (PG-27)."""
    for at in range(len(STREAM) + 1):
        frames = Frames(1 << 16)
        assert fed(frames, [STREAM[:at], STREAM[at:]]) == CUT
        assert frames.buffered == 0
    assert fed(Frames(1 << 16), [STREAM[at : at + 1] for at in range(len(STREAM))]) == CUT


@given(
    st.lists(st.tuples(st.sampled_from(b"dQS"), st.binary(max_size=60)), max_size=8),
    st.lists(st.integers(1, 90), max_size=40),
    st.integers(8, 40),
)
def test_any_chunking_gives_the_same_verdict(messages: list[tuple[int, bytes]], sizes: list[int], most: int) -> None:
    """However a stream is chunked, streamed and refused messages in it too, what comes of it is the same."""
    stream = b"".join(wire.message(kind, body) for kind, body in messages)
    streamed = frozenset({Frontend.COPY_DATA})

    def run(chunks: list[bytes]) -> tuple[bool, bytes]:
        frames = Frames(most, streamed)
        copied = b""
        try:
            for chunk in chunks:
                for kind, body in frames.feed(chunk):
                    assert len(body) <= most
                    if kind == Frontend.COPY_DATA:
                        copied += body
        except ProtocolError:
            return False, b""
        return True, copied

    chunks, at = [], 0
    for size in sizes:
        chunks.append(stream[at : at + size])
        at += size
    chunks.append(stream[at:])
    refused = any(kind != Frontend.COPY_DATA and len(body) + 4 > most for kind, body in messages)
    expected = b"".join(body for kind, body in messages if kind == Frontend.COPY_DATA)
    assert run(chunks) == run([stream]) == ((False, b"") if refused else (True, expected))


@given(garbage)
@example(b"Q\0\0\0\3")
def test_garbage_never_escapes_the_splitter(body: bytes) -> None:
    """Any bytes give messages or ProtocolError, and after an error nothing more."""
    frames = Frames(1000, types=wire.FRONTEND_TYPES)
    try:
        frames.feed(body)
    except ProtocolError:
        with pytest.raises(ProtocolError):
            frames.feed(wire.SYNC)


@pytest.mark.parametrize("length", [3, 0, -1, -(2**31), 2**31 - 1, 1 << 30, 1005])
def test_a_length_that_cannot_be_is_refused_at_once(length: int) -> None:
    """Lengths below four or above the limit are refused with the length word; nothing is allocated (PG-19)."""
    tracemalloc.start()
    try:
        frames = Frames(1004)
        with pytest.raises(ProtocolError, match="declare"):
            frames.feed(b"Q" + struct.pack("!i", length))
        assert tracemalloc.get_traced_memory()[1] < 100_000
        assert frames.buffered == 0
    finally:
        tracemalloc.stop()


def test_what_is_declared_is_not_allocated() -> None:
    """A message that declares 100 MB within the limit costs only the bytes that came."""
    tracemalloc.start()
    try:
        frames = Frames(200 << 20)
        assert frames.feed(b"Q" + struct.pack("!i", 100 << 20) + b"x" * 10) == []
        assert frames.buffered == 15
        assert tracemalloc.get_traced_memory()[1] < 100_000
    finally:
        tracemalloc.stop()


def test_an_unknown_type_is_refused_at_its_first_byte() -> None:
    """With `types` given, a type byte that does not exist is refused before its length is believed (PG-22)."""
    with pytest.raises(ProtocolError, match="0x7a does not exist"):
        Frames(1000, types=wire.FRONTEND_TYPES).feed(b"z")


def test_an_oversized_stream_message_comes_in_pieces() -> None:
    """CopyData above the limit is handed over in pieces of the limit, the same whatever the chunking."""
    frames = Frames(100, frozenset({Frontend.COPY_DATA}))
    stream = wire.copy_data(bytes(range(250))) + wire.SYNC
    pieces = fed(frames, [stream[at : at + 7] for at in range(0, len(stream), 7)])
    assert [len(body) for _, body in pieces] == [100, 100, 50, 0]
    assert b"".join(body for _, body in pieces) == bytes(range(250))
    assert pieces[-1] == (Frontend.SYNC, b"")


def test_single_bytes_of_a_large_message_cost_linear_time() -> None:
    """A message that dribbles in is not looked at again for every byte of it."""
    frames = Frames(1 << 20)
    body = b"x" * 200_000
    message = wire.message(Frontend.COPY_DATA, body)
    assert fed(frames, [message[at : at + 1] for at in range(len(message))]) == [(Frontend.COPY_DATA, body)]


def test_every_type_byte_has_its_name() -> None:
    """Names for diagnostics cover every message type of both sides, each once."""
    assert len(wire.FRONTEND_NAMES) == 14
    assert len(wire.BACKEND_NAMES) == 24
    assert wire.FRONTEND_NAMES[ord("Q")] == "QUERY"
    assert wire.BACKEND_NAMES[ord("Z")] == "READY_FOR_QUERY"


@pytest.mark.parametrize("size", [1, 7, 50, 4096])
def test_long_copy_data_is_handed_over_in_pieces(size: int) -> None:
    """What is longer than a piece comes in pieces, before all of it is there; what is shorter, or another message, whole."""
    frames = Frames(1 << 10, frozenset({0x64}), piece=100)
    copied = b"".join(wire.copy_data(data) for data in (b"a" * 250, b"b" * 90, b"c" * 5000))
    stream = copied + wire.query(b"select 1" + b" " * 500)
    taken = [message for at in range(0, len(stream), size) for message in frames.feed(stream[at : at + size])]
    assert max(len(payload) for kind, payload in taken if kind == 0x64) <= 100
    assert b"".join(payload for kind, payload in taken if kind == 0x64) == b"a" * 250 + b"b" * 90 + b"c" * 5000
    assert (0x64, b"b" * 90) in taken
    assert taken[-1] == (0x51, b"select 1" + b" " * 500 + b"\0")
    with pytest.raises(ProtocolError):
        frames.feed(wire.query(b" " * 1100))
