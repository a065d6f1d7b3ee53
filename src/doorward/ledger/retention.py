"""How long what is recorded is kept: retention classes, the months that are deleted together, and when they are due.

A class says its period in its name, `std-13m` or `phi-6y`, and stands in every leaf: so how long something is to be kept was
fixed when it was recorded, and whoever has the leaf knows it without any setting. What a class recorded in one calendar month
(UTC) is an *epoch*, `std-13m.2026-11`: it is sealed under one key, and is due together, the period after that month has ended.
A class that names no period (`std`) is never due.

Pure: the verifier asks the same functions as the gateway that deletes.
"""

from __future__ import annotations

import re
from datetime import UTC, datetime
from hashlib import sha256
from typing import Final

RECORDS: Final = "std-13m"  # recordings, and what else was done: one surveillance cycle, and the month in which it is looked at
LASTING: Final = "log"  # what later records rest on, as long as there is a log: which keys approvers had
CONTROL: Final = "ctl-36m"  # who may do what, who decided, what became of the record: the three years of a certificate

# Events of these nouns are of the class of their session; with no session, of RECORDS. All others decide or prove something.
_RECORDED: Final = frozenset((
    "authentication", "authorization", "browser", "login", "notification", "operation", "session", "transaction",
))
_CLASS: Final = re.compile(r"[a-z0-9]+(?:-[a-z0-9]+)*-([1-9][0-9]{0,2})([my])")
_EPOCH: Final = re.compile(r"([a-z0-9-]{1,32})\.([0-9]{4})-(0[1-9]|1[0-2])")
_LAST: Final = 9999 * 12


def is_lasting(type: str) -> bool:  # noqa: A002 - the field's own name
    """Whether events of a type are kept as long as the log."""
    return type.startswith("approver_key.")


def is_control(type: str) -> bool:  # noqa: A002 - the field's own name
    """Whether events of a type are kept as control records, whatever session they are of."""
    return type.partition(".")[0] not in _RECORDED


def months(retention: str) -> int | None:
    """The period of a class; None if its name has none, or is over 32 characters long."""
    match = _CLASS.fullmatch(retention) if len(retention) <= 32 else None
    return None if match is None else int(match[1]) * (12 if match[2] == "y" else 1)


def epoch(retention: str, at: int) -> str:
    """The epoch of what is recorded in a class at a time (Unix ms). ValueError for a time that no calendar has."""
    moment = datetime.fromtimestamp(at / 1000, UTC)
    return f"{retention}.{moment.year:04d}-{moment.month:02d}"


def is_epoch(name: str) -> bool:
    return _EPOCH.fullmatch(name) is not None


def split(name: str) -> tuple[str, int, int]:
    """An epoch's class, and when its month begins and ends (Unix ms). ValueError if it is none."""
    match = _EPOCH.fullmatch(name)
    if match is None:
        raise ValueError(f"not an epoch: {name[:80]!r}")
    month = int(match[2]) * 12 + int(match[3]) - 1
    return match[1], _begins(month), _begins(month + 1)


def month(name: str) -> int:
    """The month of an epoch as a number, 202611. ValueError if it is none."""
    split(name)
    return int(name[-7:-3]) * 100 + int(name[-2:])


def named(retention: str, number: int) -> str:
    """The epoch of a class whose month is that number; "" if there is none."""
    name = f"{retention}.{number // 100:04d}-{number % 100:02d}"
    return name if is_epoch(name) else ""


def epoch_hash(name: str) -> bytes:
    """What stands for an epoch in a leaf."""
    return sha256(b"doorward/epoch/v1\0" + name.encode()).digest()


def due(retention: str, at: int) -> int | None:
    """From when on (Unix ms) what was recorded in a class at a time may be deleted, and should be; None: never."""
    period = months(retention)
    if period is None:
        return None
    moment = datetime.fromtimestamp(at / 1000, UTC)
    month = moment.year * 12 + moment.month + period
    return _begins(month) if month < _LAST else None


def _begins(month: int) -> int:
    return int(datetime(month // 12, month % 12 + 1, 1, tzinfo=UTC).timestamp()) * 1000
