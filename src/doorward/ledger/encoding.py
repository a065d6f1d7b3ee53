"""Canonical JSON: one value, one sequence of bytes.

RFC 8785 (JCS) without floats: UTF-8, no white space, members sorted by UTF-16 code units, integers below 2^53 in size.
`parse` accepts only what `canonical` would have written, so that a text that two parsers could read differently
(duplicate names, odd escapes, trailing bytes) is refused and never interpreted.

Does not hash, and nothing here is used to re-create bytes whose hash matters: stored bytes are hashed as stored.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any, Final, NoReturn, TypeAlias

from doorward.errors import IntegrityError

JSON: TypeAlias = dict[str, Any] | list[Any] | str | int | bool | None

MAX_DEPTH: Final = 64
MAX_INT: Final = 2**53 - 1  # what every JSON implementation can hold (RFC 8785, section 3.2.2.3)


def canonical(value: object) -> bytes:
    """The canonical bytes of `value`: dict (str keys), list or tuple, str, int, bool, None.

    Raises ValueError for anything else: floats, larger integers, lone surrogates, more than MAX_DEPTH levels.
    """
    return json.dumps(_ordered(value, 0), ensure_ascii=False, separators=(",", ":"), check_circular=False).encode()


def parse(text: bytes, *, limit: int = 16 * 1024 * 1024) -> JSON:
    """The value of canonical bytes. Raises IntegrityError for anything `canonical` would not have written."""
    if len(text) > limit:
        raise IntegrityError(f"JSON of {len(text)} bytes, more than {limit}")
    try:
        value: JSON = json.loads(
            text.decode(), object_pairs_hook=_members, parse_float=_no_number, parse_constant=_no_number
        )
        again = canonical(value)
    except (ValueError, RecursionError) as error:
        raise IntegrityError(f"not canonical JSON: {str(error)[:200] or type(error).__name__}") from None
    if again != text:
        raise IntegrityError("not canonical JSON: the same value is written in another way")
    return value


def _ordered(value: object, depth: int) -> object:
    """`value` with members in order, after a check that all of it may be written."""
    if depth > MAX_DEPTH:
        raise ValueError(f"nested deeper than {MAX_DEPTH}")
    if value is None or isinstance(value, (str, bool)):
        # As its own plain type: a StrEnum is a str, but json would ask it how it likes to be written.
        return str.__str__(value) if isinstance(value, str) else value
    if isinstance(value, int):
        if not -MAX_INT <= value <= MAX_INT:
            raise ValueError("an integer of 2^53 or more")
        return int(value)
    if isinstance(value, (list, tuple)):
        return [_ordered(item, depth + 1) for item in value]
    if isinstance(value, Mapping):
        names = list(value)
        if not all(isinstance(name, str) for name in names):
            raise ValueError("a member name that is not text")
        # For ASCII, the order of code points is that of UTF-16 code units.
        names.sort(key=None if all(map(str.isascii, names)) else _utf16)
        return {str.__str__(name): _ordered(value[name], depth + 1) for name in names}
    raise ValueError(f"{type(value).__name__} cannot be written as canonical JSON")


def _utf16(name: str) -> bytes:
    return name.encode("utf-16-be")


def _members(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    members = dict(pairs)
    if len(members) != len(pairs):
        raise ValueError("a member name occurs twice")
    return members


def _no_number(text: str) -> NoReturn:
    raise ValueError("a number that is not an integer")
