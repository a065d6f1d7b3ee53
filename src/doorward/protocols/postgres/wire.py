"""The PostgreSQL frontend/backend protocol, version 3: bytes to messages and messages to bytes.

Contract. `Frames` cuts a stream into (type, payload) pairs, whatever the chunking. A parser takes one payload, reads
*all* of it and returns plain values; a payload with a byte too few or too many is refused, so that what was judged can
never be shorter than what runs. A builder returns one whole message. Both raise `ProtocolError` and nothing else.
Nothing is allocated by a length that a peer declared: only bytes that have arrived are kept, up to the frame limit.

Names and statement texts are bytes, as the peer sent them: what they mean depends on `client_encoding`, which the
conversation knows. Types, counts and object identifiers are ints.

Not here: order and state (conversation.py), start-up and authentication exchanges (login.py), values of rows
(redact.py). Source: PostgreSQL 18 documentation, chapter 54 "Frontend/Backend Protocol", above all 54.7.
"""

from __future__ import annotations

import struct
from collections.abc import Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, Final, NamedTuple

from librt.strings import read_i32_be

from doorward.errors import ProtocolError

if TYPE_CHECKING:
    from mypy_extensions import i64

# What the wire can carry: a length word is a signed 32-bit integer that counts itself, a count is 16 bits.
MAX_LENGTH: Final = 2**31 - 1
MAX_COUNT: Final = 65_535

PROTOCOL_3_0: Final = 3 << 16
PROTOCOL_3_2: Final = 3 << 16 | 2
CANCEL_REQUEST_CODE: Final = 1234 << 16 | 5678
SSL_REQUEST_CODE: Final = 1234 << 16 | 5679
GSSENC_REQUEST_CODE: Final = 1234 << 16 | 5680


class Frontend:
    """Type bytes of messages that a client sends."""

    BIND: Final = 0x42  # B
    CLOSE: Final = 0x43  # C
    COPY_DATA: Final = 0x64  # d
    COPY_DONE: Final = 0x63  # c
    COPY_FAIL: Final = 0x66  # f
    DESCRIBE: Final = 0x44  # D
    EXECUTE: Final = 0x45  # E
    FLUSH: Final = 0x48  # H
    FUNCTION_CALL: Final = 0x46  # F
    PARSE: Final = 0x50  # P
    PASSWORD: Final = 0x70  # p: PasswordMessage, SASLInitialResponse, SASLResponse, GSSResponse
    QUERY: Final = 0x51  # Q
    SYNC: Final = 0x53  # S
    TERMINATE: Final = 0x58  # X


class Backend:
    """Type bytes of messages that a server sends."""

    AUTHENTICATION: Final = 0x52  # R
    BACKEND_KEY_DATA: Final = 0x4B  # K
    BIND_COMPLETE: Final = 0x32  # 2
    CLOSE_COMPLETE: Final = 0x33  # 3
    COMMAND_COMPLETE: Final = 0x43  # C
    COPY_BOTH_RESPONSE: Final = 0x57  # W
    COPY_DATA: Final = 0x64  # d
    COPY_DONE: Final = 0x63  # c
    COPY_IN_RESPONSE: Final = 0x47  # G
    COPY_OUT_RESPONSE: Final = 0x48  # H
    DATA_ROW: Final = 0x44  # D
    EMPTY_QUERY_RESPONSE: Final = 0x49  # I
    ERROR_RESPONSE: Final = 0x45  # E
    FUNCTION_CALL_RESPONSE: Final = 0x56  # V
    NEGOTIATE_PROTOCOL_VERSION: Final = 0x76  # v
    NO_DATA: Final = 0x6E  # n
    NOTICE_RESPONSE: Final = 0x4E  # N
    NOTIFICATION_RESPONSE: Final = 0x41  # A
    PARAMETER_DESCRIPTION: Final = 0x74  # t
    PARAMETER_STATUS: Final = 0x53  # S
    PARSE_COMPLETE: Final = 0x31  # 1
    PORTAL_SUSPENDED: Final = 0x73  # s
    READY_FOR_QUERY: Final = 0x5A  # Z
    ROW_DESCRIPTION: Final = 0x54  # T


class Auth:
    """The codes inside an Authentication message."""

    OK: Final = 0
    CLEARTEXT_PASSWORD: Final = 3
    MD5_PASSWORD: Final = 5
    SASL: Final = 10
    SASL_CONTINUE: Final = 11
    SASL_FINAL: Final = 12


def _names(namespace: type) -> dict[int, str]:
    return {value: name for name, value in vars(namespace).items() if isinstance(value, int)}


FRONTEND_NAMES: Final[Mapping[int, str]] = _names(Frontend)
BACKEND_NAMES: Final[Mapping[int, str]] = _names(Backend)
FRONTEND_TYPES: Final = frozenset(FRONTEND_NAMES)
BACKEND_TYPES: Final = frozenset(BACKEND_NAMES)

# Transaction status bytes of ReadyForQuery.
IDLE: Final = 0x49
IN_TRANSACTION: Final = 0x54
FAILED_TRANSACTION: Final = 0x45

_INT32: Final = struct.Struct("!i")
_UINT32: Final = struct.Struct("!I")
_INT16: Final = struct.Struct("!h")
_UINT16: Final = struct.Struct("!H")
_HEADER: Final = struct.Struct("!Bi")
_COLUMN: Final = struct.Struct("!IhIhih")
_TWO_UINT32: Final = struct.Struct("!II")

_NEAR: Final = 16  # bytes of a string that are looked at one by one: most names end before
_ALL_TEXT: Final = (0,)
_ALL_BINARY: Final = (1,)
_MAX_SHORT: Final = 255  # of messages up to this length the heads are kept: at most 256 x 256 of them
_heads: Final[dict[int, bytes]] = {}


class Column(NamedTuple):
    """One column of a RowDescription. `table_oid` and `attnum` are 0 when the column is not simply a table's column."""

    name: bytes
    table_oid: int
    attnum: int
    type_oid: int
    type_size: int
    typmod: int
    format: int


class Bind:
    """A Bind message. A parameter is None for NULL.

    Formats are 0 (text) or 1 (binary), and there are none (all text), one (for all) or one each.
    """

    __slots__ = ("param_formats", "params", "portal", "result_formats", "statement")

    def __init__(
        self,
        portal: bytes,
        statement: bytes,
        param_formats: tuple[int, ...],
        params: tuple[bytes | None, ...],
        result_formats: tuple[int, ...],
    ) -> None:
        self.portal = portal
        self.statement = statement
        self.param_formats = param_formats
        self.params = params
        self.result_formats = result_formats


# --- cutting the stream ------------------------------------------------------------------------------------------


class Frames:
    """Cuts a stream of typed messages into (type byte, payload) pairs; any chunking gives the same pairs.

    `max_message` bounds the declared length (which counts its own four bytes) of a message. A longer one is refused as
    soon as its length word is there. Of a type in `stream`, what is longer than `piece` is handed over in pieces of so many
    bytes, however long it is, each as if it were a message of its own. That is right for CopyData only, whose boundaries
    carry no meaning. `types`, when given, are the type bytes that exist: another is refused at its first byte, as the
    server does.

    After an error the splitter is spent: every further `feed` raises the same error, for a stream out of step cannot be
    resumed.
    """

    __slots__ = ("_buffer", "_error", "_max", "_need", "_piece", "_rest", "_stream", "_stream_type", "_types")

    def __init__(
        self, max_message: int, stream: frozenset[int] = frozenset(), *, types: frozenset[int] | None = None, piece: int = 0
    ) -> None:
        self._max = max_message
        self._piece = piece or max_message
        self._stream = stream
        self._types = types
        self._buffer = bytearray()
        self._need = 0  # bytes that must be there before it is worth looking again: no quadratic rescans
        self._rest = 0  # bytes still to come of an oversized streamed message
        self._stream_type = 0
        self._error = ""

    @property
    def buffered(self) -> int:
        """Bytes kept because their message is not complete."""
        return len(self._buffer)

    def feed(self, data: bytes) -> list[tuple[int, bytes]]:
        """The messages that `data` completes, in order. Raises ProtocolError on a length or type that cannot be."""
        if self._error:
            raise ProtocolError(self._error)
        buffer = self._buffer
        if buffer:
            buffer += data
            if len(buffer) < self._need:
                return []
            source: bytes = bytes(buffer)
            buffer.clear()
        else:
            source = data
        messages: list[tuple[int, bytes]] = []
        at: i64 = 0
        end: i64 = len(source)
        most: i64 = self._max
        piece: i64 = self._piece
        rest: i64 = self._rest
        types = self._types
        self._need = 0
        while at < end:
            if rest:
                take: i64 = rest if rest < piece else piece
                if end - at < take:
                    self._need = int(take)
                    break
                messages.append((self._stream_type, source[at : at + take]))
                rest -= take
                self._rest = int(rest)
                at += take
                continue
            kind = source[at]
            if types is not None and kind not in types:
                raise self._fail(f"message type 0x{kind:02x} does not exist")
            if end - at < 5:
                self._need = 5
                break
            word: int = read_i32_be(source, at + 1)
            length: i64 = word
            if length < 4:
                raise self._fail(f"message 0x{kind:02x} declares a length of {word}, less than its length word")
            if length > piece and (length > most or kind in self._stream):
                if kind not in self._stream:
                    raise self._fail(f"message 0x{kind:02x} declares {word} bytes; at most {self._max} are accepted")
                self._stream_type = kind
                rest = length - 4
                self._rest = int(rest)
                at += 5
                continue
            if end - at < length + 1:
                self._need = int(length + 1)
                break
            messages.append((kind, source[at + 5 : at + 1 + length]))
            at += length + 1
        if at < end:
            buffer += memoryview(source)[at:]
        return messages

    def _fail(self, message: str) -> ProtocolError:
        self._error = message
        self._buffer.clear()
        return ProtocolError(message)


# --- reading -----------------------------------------------------------------------------------------------------


def _cstring(payload: bytes, at: int, what: str) -> tuple[bytes, int]:
    size: i64 = len(payload)
    start: i64 = at
    end: i64 = start
    near: i64 = start + _NEAR
    if near > size:
        near = size
    while end < near and payload[end] != 0:
        end += 1
    if end == near:
        end = payload.find(0, end)
        if end < 0:
            raise ProtocolError(f"{what}: a string has no terminator")
    return payload[start:end], int(end + 1)


def _count(payload: bytes, at: int, what: str) -> int:
    p: i64 = at
    if len(payload) - p < 2:
        raise ProtocolError(f"{what}: cut short")
    return (payload[p] << 8) | payload[p + 1]


def _array(payload: bytes, at: int, code: str, size: int, what: str) -> tuple[tuple[int, ...], int]:
    """A 16-bit count and that many integers of `size` bytes. The count is checked against what is there first."""
    count = _count(payload, at, what)
    if count == 0:
        return (), at + 2
    end = at + 2 + count * size
    if end > len(payload):
        raise ProtocolError(f"{what}: {count} values declared, fewer sent")
    return struct.unpack_from(f"!{count}{code}", payload, at + 2), end


def _formats(payload: bytes, at: int, what: str) -> tuple[tuple[int, ...], int]:
    count = _count(payload, at, what)
    if count == 0:
        return (), at + 2
    if count == 1 and at + 4 <= len(payload) and payload[at + 2] == 0 and payload[at + 3] < 2:
        return (_ALL_BINARY if payload[at + 3] else _ALL_TEXT), at + 4
    formats, at = _array(payload, at, "H", 2, what)
    for code in formats:
        if code > 1:
            raise ProtocolError(f"{what}: format code {code} is neither text (0) nor binary (1)")
    return formats, at


def _end(payload: bytes, at: int, what: str) -> None:
    if at != len(payload):
        raise ProtocolError(f"{what}: {len(payload) - at} bytes after its end")


def _only_string(payload: bytes, what: str) -> bytes:
    text, at = _cstring(payload, 0, what)
    _end(payload, at, what)
    return text


def _values(payload: bytes, at: int, what: str) -> tuple[tuple[bytes | None, ...], int]:
    left: i64 = _count(payload, at, what)
    p: i64 = at
    p += 2
    size: i64 = len(payload)
    values: list[bytes | None] = []
    while left > 0:
        left -= 1
        if size - p < 4:
            raise ProtocolError(f"{what}: cut short")
        word: int = read_i32_be(payload, p)
        length: i64 = word
        p += 4
        if length == -1:
            values.append(None)
            continue
        if length < 0 or length > size - p:
            raise ProtocolError(f"{what}: a value declares {word} bytes, {int(size - p)} are left")
        values.append(payload[p : p + length])
        p += length
    return tuple(values), int(p)


def parse_query(payload: bytes) -> bytes:
    """Query: the statement text, without its NUL. The one NUL must be the last byte (server: 08P01)."""
    return _only_string(payload, "Query")


def parse_parse(payload: bytes) -> tuple[bytes, bytes, tuple[int, ...]]:
    """Parse: (statement name, text, parameter type oids; 0 means unspecified)."""
    name, at = _cstring(payload, 0, "Parse")
    text, at = _cstring(payload, at, "Parse")
    oids, at = _array(payload, at, "I", 4, "Parse")
    _end(payload, at, "Parse")
    return name, text, oids


def parse_bind(payload: bytes) -> Bind:
    """Bind, whole. The number of parameter formats must be 0, 1 or that of the parameters, as the server requires."""
    portal, at = _cstring(payload, 0, "Bind")
    statement, at = _cstring(payload, at, "Bind")
    param_formats, at = _formats(payload, at, "Bind")
    params, at = _values(payload, at, "Bind")
    if len(param_formats) > 1 and len(param_formats) != len(params):
        raise ProtocolError(f"Bind: {len(param_formats)} parameter formats but {len(params)} parameters")
    result_formats, at = _formats(payload, at, "Bind")
    _end(payload, at, "Bind")
    return Bind(portal, statement, param_formats, params, result_formats)


def _statement_or_portal(payload: bytes, what: str) -> tuple[str, bytes]:
    if not payload or payload[0] not in b"SP":
        raise ProtocolError(f"{what}: neither a statement (S) nor a portal (P)")
    name, at = _cstring(payload, 1, what)
    _end(payload, at, what)
    return chr(payload[0]), name


def parse_describe(payload: bytes) -> tuple[str, bytes]:
    """Describe: ("S" for a statement or "P" for a portal, its name)."""
    return _statement_or_portal(payload, "Describe")


def parse_close(payload: bytes) -> tuple[str, bytes]:
    """Close: ("S" for a statement or "P" for a portal, its name)."""
    return _statement_or_portal(payload, "Close")


def parse_execute(payload: bytes) -> tuple[bytes, int]:
    """Execute: (portal name, row limit; 0 or less means no limit)."""
    name, at = _cstring(payload, 0, "Execute")
    if len(payload) - at != 4:
        raise ProtocolError("Execute: the row limit is not four bytes")
    return name, read_i32_be(payload, at)


def parse_copy_fail(payload: bytes) -> bytes:
    """CopyFail: the client's reason."""
    return _only_string(payload, "CopyFail")


def parse_empty(payload: bytes, what: str) -> None:
    """For messages without content (Sync, Flush, Terminate, CopyDone, ParseComplete ...): refuses any content."""
    _end(payload, 0, what)


def parse_password(payload: bytes) -> bytes:
    """PasswordMessage: the password (or token), without its NUL."""
    return _only_string(payload, "PasswordMessage")


def startup_code(payload: bytes) -> int:
    """The first four bytes of a start-up packet (after its length): a protocol version or a request code."""
    if len(payload) < 4:
        raise ProtocolError("start-up packet: shorter than its version")
    code: int = _UINT32.unpack_from(payload, 0)[0]
    return code


def parse_startup(payload: bytes) -> tuple[int, dict[str, str]]:
    """StartupMessage without its length: (protocol version, parameters).

    A parameter given twice is refused: which one counts would be a matter of opinion.
    """
    protocol = startup_code(payload)
    parameters: dict[str, str] = {}
    at = 4
    while True:
        name, at = _cstring(payload, at, "StartupMessage")
        if not name:
            break
        value, at = _cstring(payload, at, "StartupMessage")
        try:
            key, text = name.decode(), value.decode()
        except UnicodeDecodeError:
            raise ProtocolError("StartupMessage: a parameter is not UTF-8") from None
        if key in parameters:
            raise ProtocolError("StartupMessage: a parameter is given twice")
        parameters[key] = text
    _end(payload, at, "StartupMessage")
    return protocol, parameters


def parse_cancel(payload: bytes) -> tuple[int, bytes]:
    """CancelRequest without its length: (process id, secret of 4 to 256 bytes)."""
    if startup_code(payload) != CANCEL_REQUEST_CODE or not 12 <= len(payload) <= 264:
        raise ProtocolError("CancelRequest: malformed")
    pid: int = _INT32.unpack_from(payload, 4)[0]
    return pid, payload[8:]


def parse_row_description(payload: bytes) -> tuple[Column, ...]:
    """RowDescription: its columns, in order."""
    count = _count(payload, 0, "RowDescription")
    at = 2
    columns: list[Column] = []
    for _ in range(count):
        name, at = _cstring(payload, at, "RowDescription")
        if len(payload) - at < 18:
            raise ProtocolError("RowDescription: cut short")
        table_oid, attnum, type_oid, type_size, typmod, code = _COLUMN.unpack_from(payload, at)
        if code not in (0, 1):
            raise ProtocolError(f"RowDescription: format code {code} is neither text (0) nor binary (1)")
        at += 18
        columns.append(Column(name, table_oid, attnum, type_oid, type_size, typmod, code))
    _end(payload, at, "RowDescription")
    return tuple(columns)


def parse_data_row(payload: bytes) -> tuple[bytes | None, ...]:
    """DataRow: its values; None is NULL. For the gateway's own statements: the client's rows go through redact.py."""
    values, at = _values(payload, 0, "DataRow")
    _end(payload, at, "DataRow")
    return values


def parse_parameter_description(payload: bytes) -> tuple[int, ...]:
    """ParameterDescription: the type oid of each parameter."""
    oids, at = _array(payload, 0, "I", 4, "ParameterDescription")
    _end(payload, at, "ParameterDescription")
    return oids


def parse_error(payload: bytes) -> dict[str, str]:
    """ErrorResponse or NoticeResponse: field code ("S", "V", "C", "M", "D", "H", "P" ...) to text.

    Any field may be missing, the SQLSTATE ("C") too: a target is not to be trusted with that. Bytes that are not UTF-8
    become U+FFFD. Of a repeated field the last counts, as in libpq.
    """
    fields: dict[str, str] = {}
    at = 0
    while True:
        if at >= len(payload):
            raise ProtocolError("ErrorResponse: no terminator")
        code = payload[at]
        at += 1
        if code == 0:
            break
        text, at = _cstring(payload, at, "ErrorResponse")
        fields[chr(code)] = text.decode("utf-8", "replace")
    _end(payload, at, "ErrorResponse")
    return fields


def parse_command_complete(payload: bytes) -> str:
    """CommandComplete: the tag, such as "INSERT 0 5"."""
    return _only_string(payload, "CommandComplete").decode("utf-8", "replace")


def parse_ready(payload: bytes) -> int:
    """ReadyForQuery: IDLE, IN_TRANSACTION or FAILED_TRANSACTION."""
    if len(payload) != 1 or payload[0] not in b"ITE":
        raise ProtocolError("ReadyForQuery: unknown transaction status")
    return payload[0]


def parse_parameter_status(payload: bytes) -> tuple[str, str]:
    """ParameterStatus: (name, value)."""
    name, at = _cstring(payload, 0, "ParameterStatus")
    value, at = _cstring(payload, at, "ParameterStatus")
    _end(payload, at, "ParameterStatus")
    return name.decode("utf-8", "replace"), value.decode("utf-8", "replace")


def parse_backend_key(payload: bytes) -> tuple[int, bytes]:
    """BackendKeyData: (process id, secret of 4 bytes in protocol 3.0, up to 256 since 3.2)."""
    if not 8 <= len(payload) <= 260:
        raise ProtocolError("BackendKeyData: the secret is not of 4 to 256 bytes")
    pid: int = _INT32.unpack_from(payload, 0)[0]
    return pid, payload[4:]


def parse_notification(payload: bytes) -> tuple[int, bytes, bytes]:
    """NotificationResponse: (process id of the notifier, channel, content)."""
    if len(payload) < 4:
        raise ProtocolError("NotificationResponse: cut short")
    pid: int = _INT32.unpack_from(payload, 0)[0]
    channel, at = _cstring(payload, 4, "NotificationResponse")
    content, at = _cstring(payload, at, "NotificationResponse")
    _end(payload, at, "NotificationResponse")
    return pid, channel, content


def parse_copy_response(payload: bytes) -> tuple[int, tuple[int, ...]]:
    """CopyInResponse, CopyOutResponse or CopyBothResponse: (format, that of each column); 0 text, 1 binary."""
    if not payload or payload[0] > 1:
        raise ProtocolError("CopyResponse: unknown format")
    formats, at = _formats(payload, 1, "CopyResponse")
    _end(payload, at, "CopyResponse")
    return payload[0], formats


def parse_authentication(payload: bytes) -> tuple[int, bytes]:
    """Authentication: (code, see `Auth`; what follows it)."""
    if len(payload) < 4:
        raise ProtocolError("Authentication: cut short")
    code: int = _INT32.unpack_from(payload, 0)[0]
    return code, payload[4:]


def parse_sasl_mechanisms(rest: bytes) -> tuple[str, ...]:
    """The rest of an AuthenticationSASL message: names of mechanisms, the server's favourite first."""
    names: list[str] = []
    at = 0
    while True:
        name, at = _cstring(rest, at, "AuthenticationSASL")
        if not name:
            break
        names.append(name.decode("ascii", "replace"))
    _end(rest, at, "AuthenticationSASL")
    return tuple(names)


def parse_negotiate_protocol_version(payload: bytes) -> tuple[int, tuple[str, ...]]:
    """NegotiateProtocolVersion: (newest version that the server speaks, whole; options it did not recognise)."""
    if len(payload) < 8:
        raise ProtocolError("NegotiateProtocolVersion: cut short")
    version, count = _TWO_UINT32.unpack_from(payload, 0)
    if count > len(payload) - 8:  # each needs at least its NUL
        raise ProtocolError("NegotiateProtocolVersion: cut short")
    names: list[str] = []
    at = 8
    for _ in range(count):
        name, at = _cstring(payload, at, "NegotiateProtocolVersion")
        names.append(name.decode("utf-8", "replace"))
    _end(payload, at, "NegotiateProtocolVersion")
    return version, tuple(names)


# --- writing -----------------------------------------------------------------------------------------------------


def message(kind: int, payload: bytes) -> bytes:
    """One typed message. Refuses a payload whose length does not fit the wire: a wrapped length is an injection."""
    length = len(payload) + 4
    if length > MAX_LENGTH:
        raise ProtocolError(f"a message of {length} bytes does not fit the wire (at most {MAX_LENGTH})")
    if length <= _MAX_SHORT:
        key = kind << 16 | length
        head = _heads.get(key)
        if head is None:
            head = _heads[key] = _HEADER.pack(kind, length)
        return head + payload
    return _HEADER.pack(kind, length) + payload


def _untyped(payload: bytes) -> bytes:
    length = len(payload) + 4
    if length > MAX_LENGTH:
        raise ProtocolError(f"a message of {length} bytes does not fit the wire (at most {MAX_LENGTH})")
    return _INT32.pack(length) + payload


def _z(text: bytes, what: str) -> bytes:
    """A string and its terminator. A NUL inside would end it early and let the rest speak for itself."""
    if 0 in text:
        raise ProtocolError(f"{what}: a string holds a NUL")
    return text + b"\0"


def _zs(text: str, what: str) -> bytes:
    try:
        return _z(text.encode(), what)
    except UnicodeEncodeError:
        raise ProtocolError(f"{what}: a string is not Unicode") from None


def _prose(text: str) -> bytes:
    """Human-readable text. It is shown, not obeyed, so that what cannot be sent is replaced rather than refused."""
    return text.encode("utf-8", "replace").replace(b"\0", b"?") + b"\0"


def _pack_count(count: int, what: str) -> bytes:
    if count > MAX_COUNT:
        raise ProtocolError(f"{what}: {count} items do not fit the wire (at most {MAX_COUNT})")
    return _UINT16.pack(count)


def _pack_array(values: Sequence[int], code: str, what: str) -> bytes:
    head = _pack_count(len(values), what)
    try:
        return head + struct.pack(f"!{len(values)}{code}", *values)
    except struct.error:
        raise ProtocolError(f"{what}: a number does not fit the wire") from None


def _pack_values(values: Sequence[bytes | None], what: str) -> list[bytes]:
    parts = [_pack_count(len(values), what)]
    for value in values:
        if value is None:
            parts.append(b"\xff\xff\xff\xff")
        else:
            size = len(value)
            if size > MAX_LENGTH:
                raise ProtocolError(f"{what}: a value of {size} bytes does not fit the wire")
            parts.append(_INT32.pack(size))
            parts.append(value)
    return parts


def _joined(kind: int, parts: Iterable[bytes]) -> bytes:
    return message(kind, b"".join(parts))


def _pack_int32(number: int, what: str) -> bytes:
    if not -(2**31) <= number < 2**31:
        raise ProtocolError(f"{what}: {number} does not fit 32 bits")
    return _INT32.pack(number)


def _report(kind: int, severity: str, sqlstate: str, text: str, detail: str, hint: str, position: int | None) -> bytes:
    parts = [b"S" + _prose(severity), b"V" + _prose(severity), b"C" + _prose(sqlstate), b"M" + _prose(text)]
    if detail:
        parts.append(b"D" + _prose(detail))
    if hint:
        parts.append(b"H" + _prose(hint))
    if position is not None:
        parts.append(b"P" + _prose(str(position)))
    parts.append(b"\0")
    return _joined(kind, parts)


def error_response(
    severity: str, sqlstate: str, message: str, *, detail: str = "", hint: str = "", position: int | None = None
) -> bytes:
    """ErrorResponse. `severity` is ERROR, FATAL or PANIC; `position` counts characters of the statement from 1."""
    return _report(Backend.ERROR_RESPONSE, severity, sqlstate, message, detail, hint, position)


def notice_response(
    severity: str, sqlstate: str, message: str, *, detail: str = "", hint: str = "", position: int | None = None
) -> bytes:
    """NoticeResponse. `severity` is WARNING, NOTICE, INFO, LOG or DEBUG."""
    return _report(Backend.NOTICE_RESPONSE, severity, sqlstate, message, detail, hint, position)


def error_fields(fields: Mapping[str, str], *, notice: bool = False) -> bytes:
    """ErrorResponse (or NoticeResponse) from fields as `parse_error` gives them: for passing on a judged copy."""
    parts = [code.encode("latin-1", "replace")[:1] + _prose(text) for code, text in fields.items() if code > "\0"]
    return _joined(Backend.NOTICE_RESPONSE if notice else Backend.ERROR_RESPONSE, [*parts, b"\0"])


def ready_for_query(status: int) -> bytes:
    """ReadyForQuery with IDLE, IN_TRANSACTION or FAILED_TRANSACTION."""
    if status not in b"ITE":
        raise ProtocolError("ReadyForQuery: unknown transaction status")
    return message(Backend.READY_FOR_QUERY, bytes((status,)))


def command_complete(tag: str) -> bytes:
    """CommandComplete."""
    return message(Backend.COMMAND_COMPLETE, _zs(tag, "CommandComplete"))


def parameter_status(name: str, value: str) -> bytes:
    """ParameterStatus."""
    return message(Backend.PARAMETER_STATUS, _zs(name, "ParameterStatus") + _zs(value, "ParameterStatus"))


def backend_key_data(pid: int, secret: bytes) -> bytes:
    """BackendKeyData. `secret` has 4 bytes in protocol 3.0, 4 to 256 since 3.2."""
    if not 4 <= len(secret) <= 256:
        raise ProtocolError("BackendKeyData: the secret is not of 4 to 256 bytes")
    return message(Backend.BACKEND_KEY_DATA, _pack_int32(pid, "BackendKeyData") + secret)


def _authentication(code: int, rest: bytes = b"") -> bytes:
    return message(Backend.AUTHENTICATION, _INT32.pack(code) + rest)


def authentication_ok() -> bytes:
    """AuthenticationOk."""
    return _authentication(Auth.OK)


def authentication_cleartext_password() -> bytes:
    """AuthenticationCleartextPassword: asks for a PasswordMessage."""
    return _authentication(Auth.CLEARTEXT_PASSWORD)


def authentication_md5_password(salt: bytes) -> bytes:
    """AuthenticationMD5Password with its four bytes of salt."""
    return _authentication(Auth.MD5_PASSWORD, salt)


def authentication_sasl(mechanisms: Sequence[str]) -> bytes:
    """AuthenticationSASL: the mechanisms offered, favourite first."""
    names = b"".join(_zs(name, "AuthenticationSASL") for name in mechanisms)
    return _authentication(Auth.SASL, names + b"\0")


def authentication_sasl_continue(challenge: bytes) -> bytes:
    """AuthenticationSASLContinue."""
    return _authentication(Auth.SASL_CONTINUE, challenge)


def authentication_sasl_final(outcome: bytes) -> bytes:
    """AuthenticationSASLFinal."""
    return _authentication(Auth.SASL_FINAL, outcome)


def negotiate_protocol_version(minor: int, unrecognised: Sequence[str]) -> bytes:
    """NegotiateProtocolVersion: we speak 3.`minor` and did not know these options.

    The documentation says that the number is the minor version; servers send, and libpq expects, the whole version.
    """
    parts = [_TWO_UINT32.pack(3 << 16 | minor, len(unrecognised))]
    parts += [_zs(name, "NegotiateProtocolVersion") for name in unrecognised]
    return _joined(Backend.NEGOTIATE_PROTOCOL_VERSION, parts)


def row_description(columns: Sequence[Column]) -> bytes:
    """RowDescription."""
    parts = [_pack_count(len(columns), "RowDescription")]
    for column in columns:
        parts.append(_z(column.name, "RowDescription"))
        try:
            parts.append(_COLUMN.pack(*column[1:]))
        except struct.error:
            raise ProtocolError("RowDescription: a number does not fit the wire") from None
    return _joined(Backend.ROW_DESCRIPTION, parts)


def parameter_description(oids: Sequence[int]) -> bytes:
    """ParameterDescription."""
    return message(Backend.PARAMETER_DESCRIPTION, _pack_array(oids, "I", "ParameterDescription"))


def data_row(values: Sequence[bytes | None]) -> bytes:
    """DataRow."""
    return _joined(Backend.DATA_ROW, _pack_values(values, "DataRow"))


def copy_in_response(format: int, ncols: int) -> bytes:  # noqa: A002 - the protocol's own word
    """CopyInResponse, every column in the overall format (0 text, 1 binary)."""
    if format not in (0, 1):
        raise ProtocolError("CopyInResponse: unknown format")
    return message(Backend.COPY_IN_RESPONSE, bytes((format,)) + _pack_array([format] * ncols, "H", "CopyInResponse"))


def copy_data(payload: bytes) -> bytes:
    """CopyData."""
    return message(Frontend.COPY_DATA, payload)


def copy_fail(reason: str) -> bytes:
    """CopyFail: the server ends the COPY with an error that quotes the reason."""
    return message(Frontend.COPY_FAIL, _prose(reason))


def query(text: bytes) -> bytes:
    """Query."""
    return message(Frontend.QUERY, _z(text, "Query"))


def parse(name: bytes, text: bytes, oids: Sequence[int] = ()) -> bytes:
    """Parse."""
    return message(Frontend.PARSE, _z(name, "Parse") + _z(text, "Parse") + _pack_array(oids, "I", "Parse"))


def bind(
    portal: bytes,
    statement: bytes,
    param_formats: Sequence[int],
    params: Sequence[bytes | None],
    result_formats: Sequence[int],
) -> bytes:
    """Bind. Refuses more than 65,535 parameters and any value whose length does not fit."""
    parts = [_z(portal, "Bind"), _z(statement, "Bind"), _pack_array(param_formats, "H", "Bind")]
    parts += _pack_values(params, "Bind")
    parts.append(_pack_array(result_formats, "H", "Bind"))
    return _joined(Frontend.BIND, parts)


def _kind_and_name(kind: str, name: bytes, what: str) -> bytes:
    if kind not in ("S", "P"):
        raise ProtocolError(f"{what}: neither a statement (S) nor a portal (P)")
    return kind.encode() + _z(name, what)


def describe(kind: str, name: bytes) -> bytes:
    """Describe a statement ("S") or a portal ("P")."""
    return message(Frontend.DESCRIBE, _kind_and_name(kind, name, "Describe"))


def close(kind: str, name: bytes) -> bytes:
    """Close a statement ("S") or a portal ("P")."""
    return message(Frontend.CLOSE, _kind_and_name(kind, name, "Close"))


def execute(portal: bytes, max_rows: int = 0) -> bytes:
    """Execute a portal for at most `max_rows` rows; 0 means all."""
    return message(Frontend.EXECUTE, _z(portal, "Execute") + _pack_int32(max_rows, "Execute"))


def password_message(password: bytes) -> bytes:
    """PasswordMessage."""
    return message(Frontend.PASSWORD, _z(password, "PasswordMessage"))


def sasl_initial_response(mechanism: str, response: bytes) -> bytes:
    """SASLInitialResponse."""
    parts = [_zs(mechanism, "SASLInitialResponse"), _pack_int32(len(response), "SASLInitialResponse"), response]
    return _joined(Frontend.PASSWORD, parts)


def sasl_response(response: bytes) -> bytes:
    """SASLResponse."""
    return message(Frontend.PASSWORD, response)


def startup(parameters: Mapping[str, str], protocol: int = PROTOCOL_3_0) -> bytes:
    """StartupMessage."""
    parts = [_UINT32.pack(protocol)]
    for name, value in parameters.items():
        if not name:
            raise ProtocolError("StartupMessage: a parameter has no name")
        parts.append(_zs(name, "StartupMessage"))
        parts.append(_zs(value, "StartupMessage"))
    return _untyped(b"".join([*parts, b"\0"]))


def cancel_request(pid: int, secret: bytes) -> bytes:
    """CancelRequest, on a connection of its own."""
    if not 4 <= len(secret) <= 256:
        raise ProtocolError("CancelRequest: the secret is not of 4 to 256 bytes")
    return _untyped(_UINT32.pack(CANCEL_REQUEST_CODE) + _pack_int32(pid, "CancelRequest") + secret)


SSL_REQUEST: Final = _untyped(_UINT32.pack(SSL_REQUEST_CODE))
GSSENC_REQUEST: Final = _untyped(_UINT32.pack(GSSENC_REQUEST_CODE))
SYNC: Final = message(Frontend.SYNC, b"")
FLUSH: Final = message(Frontend.FLUSH, b"")
TERMINATE: Final = message(Frontend.TERMINATE, b"")
COPY_DONE: Final = message(Frontend.COPY_DONE, b"")
PARSE_COMPLETE: Final = message(Backend.PARSE_COMPLETE, b"")
BIND_COMPLETE: Final = message(Backend.BIND_COMPLETE, b"")
CLOSE_COMPLETE: Final = message(Backend.CLOSE_COMPLETE, b"")
EMPTY_QUERY_RESPONSE: Final = message(Backend.EMPTY_QUERY_RESPONSE, b"")
NO_DATA: Final = message(Backend.NO_DATA, b"")
PORTAL_SUSPENDED: Final = message(Backend.PORTAL_SUSPENDED, b"")
