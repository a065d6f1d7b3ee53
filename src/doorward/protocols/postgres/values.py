"""Result values for people: text as it is, the common types' binary format as PostgreSQL would print them.

Contract: `shown(value, type_oid, format)` returns text, never raises for the sake of a value's content, and shows what it
cannot read as `\\x...`. It is for looking at records: nothing that decides or masks depends on it.
Source: the types' send functions in PostgreSQL 18, and pg_type for the numbers.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from datetime import date, datetime, timedelta
from struct import Struct
from struct import error as StructError  # noqa: N812 - as a class is called
from typing import Final
from uuid import UUID

_EPOCH: Final = datetime(2000, 1, 1)  # noqa: DTZ001 - a timestamp has no zone, and a timestamptz is printed in UTC
_MOST: Final = 4096  # digits of one number, elements of one array
_INT16, _INT32, _INT64 = Struct("!h"), Struct("!i"), Struct("!q")
_FLOAT4, _FLOAT8 = Struct("!f"), Struct("!d")
_NUMERIC = Struct("!hhHH")
_ARRAY = Struct("!iiI")


def shown(value: bytes | None, type_oid: int, code: int) -> str | None:
    """One value as text; None is NULL. `code` is the result format: 0 text, 1 binary."""
    if value is None:
        return None
    if code == 0:
        return value.decode("utf-8", "replace")
    try:
        decoder = _DECODERS.get(type_oid)
        if decoder is not None:
            return decoder(value)
        if type_oid in _ARRAYS:
            return _array(value)
    except (ValueError, IndexError, OverflowError, ArithmeticError, KeyError, StructError):
        pass
    return "\\x" + value.hex()


def _text(value: bytes) -> str:
    return value.decode("utf-8")


def _jsonb(value: bytes) -> str:
    if value[:1] != b"\x01":
        raise ValueError("another version of jsonb")
    return value[1:].decode("utf-8")


def _timestamp(value: bytes) -> str:
    number = _INT64.unpack(value)[0]
    if number in (2**63 - 1, -(2**63)):
        return "infinity" if number > 0 else "-infinity"
    return _trimmed(str(_EPOCH + timedelta(microseconds=number)))


def _date(value: bytes) -> str:
    number = _INT32.unpack(value)[0]
    if number in (2**31 - 1, -(2**31)):
        return "infinity" if number > 0 else "-infinity"
    return str(date(2000, 1, 1) + timedelta(days=number))


def _time(value: bytes) -> str:
    return _trimmed(str((_EPOCH + timedelta(microseconds=_INT64.unpack(value)[0])).time()))


def _trimmed(text: str) -> str:
    return text.rstrip("0") if "." in text else text


def _numeric(value: bytes) -> str:
    count, weight, sign, scale = _NUMERIC.unpack_from(value)
    special = {0xC000: "NaN", 0xD000: "Infinity", 0xF000: "-Infinity"}.get(sign)
    if special:
        return special
    if not 0 <= count <= _MOST or not -_MOST <= weight <= _MOST or scale > 4 * _MOST or len(value) != 8 + 2 * count:
        raise ValueError("a number out of all bounds")
    digits = [_INT16.unpack_from(value, 8 + 2 * n)[0] for n in range(count)]

    def group(exponent: int) -> int:
        place = weight - exponent
        return digits[place] if 0 <= place < count else 0

    whole = "".join(f"{group(exponent):04d}" for exponent in range(weight, -1, -1)).lstrip("0") or "0"
    fraction = "".join(f"{group(exponent):04d}" for exponent in range(-1, -(scale + 3) // 4 - 1, -1))[:scale]
    return ("-" if sign == 0x4000 else "") + whole + ("." + fraction if scale else "")


def _array(value: bytes) -> str:
    dimensions, _, element = _ARRAY.unpack_from(value)
    if dimensions == 0:
        return "{}"
    if dimensions != 1:
        raise ValueError("an array of more than one dimension")
    count = _INT32.unpack_from(value, 12)[0]
    if not 0 <= count <= _MOST or element in _ARRAYS:
        raise ValueError("an array out of all bounds")
    at, parts = 20, []
    for _ in range(count):
        length = _INT32.unpack_from(value, at)[0]
        at += 4
        if length < 0:
            parts.append("NULL")
            continue
        if at + length > len(value):
            raise ValueError("an array that is cut")
        text = shown(value[at : at + length], element, 1) or ""
        at += length
        plain = text and text.upper() != "NULL" and not any(c in '{},"\\' or c.isspace() for c in text)
        parts.append(text if plain else '"' + text.replace("\\", "\\\\").replace('"', '\\"') + '"')
    return "{" + ",".join(parts) + "}"


def _number(form: Struct) -> Callable[[bytes], str]:
    return lambda value: str(form.unpack(value)[0])


def _float(form: Struct, digits: int) -> Callable[[bytes], str]:
    return lambda value: f"{form.unpack(value)[0]:.{digits}g}"


_DECODERS: Final[Mapping[int, Callable[[bytes], str]]] = {
    16: lambda value: "t" if value == b"\x01" else "f",
    20: _number(_INT64), 21: _number(_INT16), 23: _number(_INT32), 26: _number(Struct("!I")),
    700: _float(_FLOAT4, 9), 701: _float(_FLOAT8, 17),
    18: _text, 19: _text, 25: _text, 114: _text, 142: _text, 705: _text, 1042: _text, 1043: _text, 2278: _text,
    3802: _jsonb, 1082: _date, 1083: _time, 1114: _timestamp, 1184: lambda value: _timestamp(value) + "+00",
    1700: _numeric, 2950: lambda value: str(UUID(bytes=value)),
}  # fmt: skip
_ARRAYS: Final = frozenset((1000, 1005, 1007, 1016, 1009, 1015, 1014, 1002, 1003, 1021, 1022, 1231, 2951, 199, 3807,
                            1115, 1185, 1182, 1028))  # fmt: skip
