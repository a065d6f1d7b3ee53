"""PostgreSQL's own grammar (version 18) over a statement's text.

Contract: `parse` returns the raw statements of a text as libpg_query's JSON tree, or raises Unparsable, and nothing
else, for any str, in time and memory bounded by the caps. It calls the shared library that the postgast wheel bundles,
by ctypes, at its JSON entry: that is ten times faster than the wheel's protobuf entry, and has no protobuf depth limit
that would refuse two hundred chained operators.

Two traps of that library are closed here. It reads a C string, so a NUL would hide what follows it: a NUL is refused.
And it writes its tree out by recursion without watching the C stack, so that 130,000 chained operators end the process
(measured: 8,000 levels fit in 1 MiB of stack): texts that could nest so deep are counted first, and refused.

It does not look at what the statements mean, and keeps nothing between calls.
"""

from __future__ import annotations

import ctypes
import re
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import msgspec

MAX_BYTES = 1 << 20
MAX_STATEMENTS = 1000
MAX_CHAIN = 4000  # tokens of one statement that could each nest one level deeper
MAX_TREE = 32 << 20  # bytes of the tree's JSON

_STATEMENT = b'{"stmt":{'  # cannot be in a string of the tree, where quotes are escaped
_SHORT = 2 * MAX_CHAIN  # a text no longer than this cannot hold MAX_CHAIN levels: each takes an operator and an operand
_NAMES = {"darwin": "libpg_query.dylib", "win32": "pg_query.dll"}

# Tokens of libpg_query's scanner (its protobuf enum): these never nest.
_SEMICOLON = 59
_FLAT = frozenset({40, 41, 44, 46, _SEMICOLON})
_LEVEL = frozenset({b"null", b"true", b"false", b"default", b"and", b"or"})  # chains of AND, of OR, are one list


class Unparsable(ValueError):  # noqa: N818 - it is what the text is, and a caller reads better for it
    """The text is not one that can be judged. `position` is a byte offset into it, -1 when there is none."""

    def __init__(self, reason: str, position: int = -1) -> None:
        super().__init__(reason)
        self.reason = reason
        self.position = position


@dataclass(frozen=True, slots=True)
class Raw:
    """One statement: `tag` is its node's name ("SelectStmt"), `body` that node's fields. Offsets are in UTF-8 bytes."""

    tag: str
    body: dict[str, Any]
    offset: int
    length: int


class _Error(ctypes.Structure):
    _fields_ = (
        ("message", ctypes.c_char_p),
        ("funcname", ctypes.c_char_p),
        ("filename", ctypes.c_char_p),
        ("lineno", ctypes.c_int),
        ("cursorpos", ctypes.c_int),
        ("context", ctypes.c_char_p),
    )


class _ParseResult(ctypes.Structure):
    _fields_ = (
        ("parse_tree", ctypes.c_char_p),
        ("stderr_buffer", ctypes.c_char_p),
        ("error", ctypes.POINTER(_Error)),
    )


class _Protobuf(ctypes.Structure):
    _fields_ = (("len", ctypes.c_size_t), ("data", ctypes.c_void_p))


class _ScanResult(ctypes.Structure):
    _fields_ = (
        ("pbuf", _Protobuf),
        ("stderr_buffer", ctypes.c_char_p),
        ("error", ctypes.POINTER(_Error)),
    )


class _FingerprintResult(ctypes.Structure):
    _fields_ = (
        ("fingerprint", ctypes.c_uint64),
        ("fingerprint_str", ctypes.c_char_p),
        ("stderr_buffer", ctypes.c_char_p),
        ("error", ctypes.POINTER(_Error)),
    )


def _load() -> ctypes.CDLL:
    """The bundled library, without importing postgast itself (which pulls protobuf in)."""
    spec = find_spec("postgast")
    if spec is None or not spec.submodule_search_locations:
        raise ImportError("postgast is not installed")
    path = Path(spec.submodule_search_locations[0]) / _NAMES.get(sys.platform, "libpg_query.so")
    library = ctypes.CDLL(str(path))
    library.pg_query_parse.argtypes = [ctypes.c_char_p]
    library.pg_query_parse.restype = _ParseResult
    library.pg_query_free_parse_result.argtypes = [_ParseResult]
    library.pg_query_free_parse_result.restype = None
    library.pg_query_fingerprint.argtypes = [ctypes.c_char_p]
    library.pg_query_fingerprint.restype = _FingerprintResult
    library.pg_query_free_fingerprint_result.argtypes = [_FingerprintResult]
    library.pg_query_free_fingerprint_result.restype = None
    library.pg_query_scan.argtypes = [ctypes.c_char_p]
    library.pg_query_scan.restype = _ScanResult
    library.pg_query_free_scan_result.argtypes = [_ScanResult]
    library.pg_query_free_scan_result.restype = None
    return library


_LIBRARY = _load()
_parse = _LIBRARY.pg_query_parse
_free_parse = _LIBRARY.pg_query_free_parse_result
_decode = msgspec.json.Decoder().decode

# Anything that is not a blank, a digit, a quote or flat punctuation starts a token that might nest. Matches inside
# strings and comments too, so the count is an upper bound.
_TOKENISH = re.compile(rb"[A-Za-z_\x80-\xff][\w$\x80-\xff]*|[^\w\s,().;'\"\x80-\xff]")


# libpg_query's scanner (like the server's) reads a run of operator characters to its end at each comment it opens in it.
_RUN = re.compile(rb"[~!@#^&|`?+*/%<>=-]{1000}")


def _bound_runs(encoded: bytes) -> None:
    found = _RUN.search(encoded)
    if found is not None:
        raise Unparsable("a run of more than 1000 operator characters cannot be judged", found.start())


def parse(text: str, *, max_bytes: int = MAX_BYTES, max_statements: int = MAX_STATEMENTS) -> list[Raw]:
    """The statements of `text` in order; an empty text has none. Raises Unparsable."""
    encoded = encode(text, max_bytes)
    if len(encoded) > _SHORT:
        _bound_runs(encoded)
        _bound_nesting(encoded)
    result = _parse(encoded)
    try:
        error = result.error
        tree = b"" if error else result.parse_tree
        message, position = (_words(error.contents.message), error.contents.cursorpos - 1) if error else ("", -1)
    finally:
        _free_parse(result)
    if error:
        raise Unparsable(message, position)
    if tree.count(_STATEMENT) > max_statements:
        raise Unparsable(f"more than {max_statements} statements in one text")
    if len(tree) > MAX_TREE:
        raise Unparsable("the statement is too large to be judged")
    try:
        statements = _decode(tree).get("stmts", ())
    except RecursionError:
        raise Unparsable("the statement is nested too deeply to be judged") from None
    except (msgspec.DecodeError, UnicodeDecodeError):  # not seen; a tree that cannot be read is not judged
        raise Unparsable("the statement's tree cannot be read") from None
    parsed: list[Raw] = []
    for statement in statements:
        offset = statement.get("stmt_location", 0)
        length = statement.get("stmt_len", 0) or len(encoded) - offset
        for tag, body in statement["stmt"].items():
            parsed.append(Raw(tag, body, offset, length))
    return parsed


def fingerprint(text: str) -> str:
    """What a statement has in common with others of its form, without its values: 16 hexadecimal digits; "" if it has none.
    Different statements may share it, so it tells people what is alike, and decides nothing."""
    try:
        encoded = encode(text)
        if len(encoded) > _SHORT:
            _bound_runs(encoded)
            _bound_nesting(encoded)
    except Unparsable:
        return ""
    result = _LIBRARY.pg_query_fingerprint(encoded)
    try:
        return "" if result.error or not result.fingerprint_str else result.fingerprint_str.decode()
    finally:
        _LIBRARY.pg_query_free_fingerprint_result(result)


def encode(text: str, max_bytes: int = MAX_BYTES) -> bytes:
    """The text's UTF-8 bytes, once it is known that the library may be handed them. Raises Unparsable."""
    if len(text) > max_bytes:
        raise Unparsable(f"the text is longer than {max_bytes} bytes")
    try:
        encoded = text.encode()
    except UnicodeEncodeError:
        raise Unparsable("the text is not valid Unicode") from None
    if len(encoded) > max_bytes:
        raise Unparsable(f"the text is longer than {max_bytes} bytes")
    nul = encoded.find(b"\0")
    if nul >= 0:
        raise Unparsable("the text holds a NUL byte", nul)
    return encoded


def scan(encoded: bytes) -> Iterator[tuple[int, int, int, int]]:
    """The tokens of UTF-8 text as (start, end, token, keyword kind), comments among them.

    Raises Unparsable where the scanner does, and for a NUL. Not recursive, so safe on any depth.
    """
    if b"\0" in encoded:
        raise Unparsable("the text holds a NUL byte", encoded.find(b"\0"))
    _bound_runs(encoded)
    result = _LIBRARY.pg_query_scan(encoded)
    try:
        error = result.error
        if error:
            raise Unparsable(_words(error.contents.message), error.contents.cursorpos - 1)
        packed = ctypes.string_at(result.pbuf.data, result.pbuf.len) if result.pbuf.len else b""
    finally:
        _LIBRARY.pg_query_free_scan_result(result)
    return _tokens(packed)


def _tokens(packed: bytes) -> Iterator[tuple[int, int, int, int]]:
    """ScanResult{version=1, tokens=2 repeated ScanToken{start=1, end=2, token=4, keyword_kind=5}}, all varints."""
    position, size = 0, len(packed)
    while position < size:
        key, position = _varint(packed, position)
        value, position = _varint(packed, position)
        if key != 0x12:  # the version
            continue
        end = position + value
        fields = [0, 0, 0, 0, 0, 0]
        while position < end:
            key, position = _varint(packed, position)
            value, position = _varint(packed, position)
            fields[key >> 3] = value
        yield fields[1], fields[2], fields[4], fields[5]


def _varint(packed: bytes, position: int) -> tuple[int, int]:
    byte = packed[position]
    if byte < 0x80:
        return byte, position + 1
    value, shift = byte & 0x7F, 7
    while True:
        position += 1
        byte = packed[position]
        value |= (byte & 0x7F) << shift
        if byte < 0x80:
            return value, position + 1
        shift += 7


def _bound_nesting(encoded: bytes) -> None:
    """Refuses a text that could nest deeper than the library's recursion may go. If this let one through, the process
    would die on its C stack."""
    if len(_TOKENISH.findall(encoded)) <= MAX_CHAIN:
        return
    chain = 0
    for start, end, token, keyword in scan(encoded):
        if token == _SEMICOLON:
            chain = 0
        elif token < 256:
            chain += token not in _FLAT
        elif keyword or encoded[start : start + 1] in b"+-*/<>=~!@#%^&|`?:":
            chain += encoded[start:end].lower() not in _LEVEL
        if chain > MAX_CHAIN:
            raise Unparsable("the statement is nested too deeply, or has too many operators, to be judged", start)


def _words(message: bytes | None) -> str:
    return (message or b"the statement cannot be parsed").decode("utf-8", "replace")[:500]
