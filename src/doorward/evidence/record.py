"""An opened event in its place in the log, and how a row that rests on it is written.

Does not open events and does not check them against their leaves: `guard.evidence` does, before it makes a Record.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from functools import lru_cache
from typing import Any, Final, NamedTuple, TypeAlias

import msgspec

Value: TypeAlias = str | int | bool | Sequence[str | int] | None

COMMON: Final = ("leaf_index", "leaf_hash", "ts_utc", "gw_id", "boot_id", "gw_seq")
LAST: Final = "leaves"
MOST_TEXT: Final = 500  # characters of a statement, comment or reason that a table repeats; the opening has all of it
_FORMULA: Final = "=+-@\t\r"
_QUOTED: Final = re.compile('[,"\r\n]')
_ENCODE: Final = msgspec.json.Encoder().encode


class Ref(NamedTuple):
    """A leaf: where it stands and what it says in public. `at` is Unix ms; `hash` is the 32-byte leaf hash."""

    leaf: int
    hash: bytes
    at: int
    gateway: str
    boot: str
    seq: int
    type: str
    session: str


class Record(NamedTuple):
    """A leaf with its private record opened. `actor` is `issuer|subject`, "" for the gateway."""

    ref: Ref
    actor: str
    body: Mapping[str, Any]


class Row(NamedTuple):
    """One member of a population. `ref` is the leaf that it is about, `leaves` the others that it rests on: indices, or
    spans `first-last`. `open`: what it tells of goes on beyond the last leaf."""

    ref: Ref
    values: Sequence[Value]
    leaves: Sequence[int | str] = ()
    open: bool = False

    def last(self) -> int:
        """The latest leaf that it rests on."""
        return max(self.ref.leaf, *(_end(leaf) for leaf in self.leaves)) if self.leaves else self.ref.leaf


def _end(leaf: int | str) -> int:
    return leaf if isinstance(leaf, int) else int(leaf.rpartition("-")[2])


def moment(at: int) -> str:
    """Unix milliseconds as RFC 3339 in UTC with three decimals; "" for 0, which is how records say `not yet`."""
    if not 0 < at < 253_402_300_800_000:  # the year 10000
        return "" if not at else f"{at} ms"
    days, ms = divmod(at, 86_400_000)
    seconds, ms = divmod(ms, 1000)
    minutes, seconds = divmod(seconds, 60)
    hours, minutes = divmod(minutes, 60)
    return f"{_day(days)}T{hours:02d}:{minutes:02d}:{seconds:02d}.{ms:03d}Z"


def day(at: int) -> str:
    """The UTC day of a time."""
    return _day(at // 86_400_000) if 0 < at < 253_402_300_800_000 else moment(at)[:10]


@lru_cache(512)
def _day(days: int) -> str:
    return f"{datetime.fromtimestamp(days * 86_400, UTC):%Y-%m-%d}"


def text(value: object, most: int = MOST_TEXT) -> str:
    """A text of an event for a table: cut, with a mark where it is."""
    shown = value if isinstance(value, str) else "" if value is None else str(value)
    return shown if len(shown) <= most else shown[: most - 1] + "…"


def common(ref: Ref) -> tuple[Value, ...]:
    """The first six columns."""
    return (ref.leaf, ref.hash.hex(), moment(ref.at), ref.gateway, ref.boot, ref.seq)


def jsonl(columns: Sequence[str], row: Row) -> bytes:
    """A row as its line of JSONL."""
    values = (*common(row.ref), *row.values, row.leaves)
    return _ENCODE(dict(zip((*COMMON, *columns, LAST), values, strict=True))) + b"\n"


def csv_header(columns: Sequence[str]) -> bytes:
    return ",".join((*COMMON, *columns, LAST)).encode() + b"\r\n"


def csv(row: Row) -> bytes:
    """A row as its line of CSV (RFC 4180). Text that a spreadsheet would take for a formula has `'` before it."""
    ref = row.ref
    cells = [f"{ref.leaf},{ref.hash.hex()},{moment(ref.at)},{ref.gateway},{ref.boot},{ref.seq}"]
    cells += [cell(value) for value in row.values]
    cells.append(cell(row.leaves))
    return ",".join(cells).encode("utf-8", "surrogatepass") + b"\r\n"


def cell(value: Value) -> str:
    if isinstance(value, str):
        if not value:
            return value
        shown = "'" + value if value[0] in _FORMULA else value
    elif value is None:
        return ""
    elif isinstance(value, bool):
        return "true" if value else "false"
    elif isinstance(value, int):
        return str(value)
    else:
        if not value:
            return "[]"
        shown = _ENCODE(value).decode()
    if _QUOTED.search(shown) is None:
        return shown
    return '"' + shown.replace('"', '""') + '"'
