"""A leaf: the public statement that something happened.

Canonical JSON of at most 1,024 bytes with a fixed set of members, none of which holds a name, an address or a word of
SQL: a leaf may be published. What it is about is bound by `commitment` (an event's record) or `segment_hash` (a
recording). `seq` and `prev` chain the leaves of one gateway, so that a leaf dropped on the way to the tree leaves a
hole. The first leaf of a boot has seq 0, and its `prev` is the last leaf of the boot before (32 zero bytes for a
gateway's very first).

The grammar is so narrow that one regular expression is the whole parser: what it matches is canonical, has no duplicate
members and no escapes. It also makes checking a million leaves a matter of seconds.

Does not decide what happens: event types are the recorder's. Grammar across leaves is verify.py's.
"""

from __future__ import annotations

import re
from base64 import b64encode
from binascii import a2b_base64
from typing import Final, NamedTuple

from doorward.errors import IntegrityError

MAX_SIZE: Final = 1024
FIRST: Final = bytes(32)  # `prev` of a gateway's very first leaf
VERSION: Final = 1
_MAX_INT: Final = 2**53 - 1

# 32 bytes in base64 are 43 characters and "="; the last of them carries four bits, so only 16 of the 64 are canonical.
_HASH = rb"[A-Za-z0-9+/]{42}[AEIMQUYcgkosw048]="
_INT = rb"0|[1-9][0-9]{0,15}"
_LEAF: Final = re.compile(
    rb'\{"at":(?P<at>' + _INT + rb')'
    rb',"boot":"(?P<boot>[0-9a-f-]{16,36})"'
    rb'(?:,"c":"(?P<c>' + _HASH + rb')")?'
    rb',"gw":"(?P<gw>[A-Za-z0-9][A-Za-z0-9._-]{0,62})"'
    rb'(?:,"n":(?P<n>' + _INT + rb'))?'
    rb',"prev":"(?P<prev>' + _HASH + rb')"'
    rb',"rc":"(?P<rc>[a-z0-9-]{1,32})"'
    rb',"seq":(?P<seq>' + _INT + rb')'
    rb'(?:,"sh":"(?P<sh>' + _HASH + rb')")?'
    rb'(?:,"sid":"(?P<sid>[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12})")?'
    rb',"t":"(?P<t>[a-z][a-z_]{0,31}\.[a-z][a-z_]{0,31})"'
    rb',"v":1\}'
)


class Leaf(NamedTuple):
    """A parsed leaf. `at` is Unix milliseconds; hashes are 32 bytes; `session` is a UUID; `number` counts segments."""

    type: str
    gateway: str
    boot: str
    seq: int
    prev: bytes
    at: int
    commitment: bytes | None = None
    segment_hash: bytes | None = None
    session: str | None = None
    number: int | None = None
    retention: str = "std"


def build(
    type: str,  # noqa: A002 - the field's own name, as in Event.type
    *,
    gateway: str,
    boot: str,
    seq: int,
    prev: bytes,
    at: int,
    commitment: bytes | None = None,
    segment_hash: bytes | None = None,
    session: str | None = None,
    number: int | None = None,
    retention: str = "std",
) -> bytes:
    """The leaf's bytes, as they are hashed and stored. Raises ValueError for a value outside the grammar."""
    parts = [f'{{"at":{at:d},"boot":"{boot}"']
    if commitment is not None:
        parts.append(f',"c":"{_b64(commitment)}"')
    parts.append(f',"gw":"{gateway}"')
    if number is not None:
        parts.append(f',"n":{number:d}')
    parts.append(f',"prev":"{_b64(prev)}","rc":"{retention}","seq":{seq:d}')
    if segment_hash is not None:
        parts.append(f',"sh":"{_b64(segment_hash)}"')
    if session is not None:
        parts.append(f',"sid":"{session}"')
    parts.append(f',"t":"{type}","v":{VERSION}}}')
    entry = "".join(parts).encode()
    try:
        parse(entry)
    except IntegrityError as error:
        raise ValueError(f"{error.message}: {entry[:200]!r}") from None
    return entry


def parse(entry: bytes) -> Leaf:
    """The leaf of stored bytes. Raises IntegrityError for anything `build` would not have written."""
    match = _LEAF.fullmatch(entry) if len(entry) <= MAX_SIZE else None
    if match is None:
        raise IntegrityError("not a leaf of version 1" if len(entry) <= MAX_SIZE else f"a leaf over {MAX_SIZE} bytes")
    at, boot, commitment, gateway, number, prev, retention, seq, segment, session, kind = match.groups()
    leaf = Leaf(
        kind.decode(),
        gateway.decode(),
        boot.decode(),
        int(seq),
        a2b_base64(prev),
        int(at),
        None if commitment is None else a2b_base64(commitment),
        None if segment is None else a2b_base64(segment),
        None if session is None else session.decode(),
        None if number is None else int(number),
        retention.decode(),
    )
    if leaf.at > _MAX_INT or leaf.seq > _MAX_INT or (leaf.number or 0) > _MAX_INT:
        raise IntegrityError("an integer of 2^53 or more in a leaf")
    return leaf


def _b64(value: bytes) -> str:
    if len(value) != 32:
        raise ValueError(f"a hash of {len(value)} bytes, not 32")
    return b64encode(value).decode()
