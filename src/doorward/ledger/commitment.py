"""Commitments: a leaf binds a private record and shows nothing of it.

HMAC-SHA256 under a salt of exactly 32 random bytes, one salt for each record: without the salt even a guessable record
(a query with a social security number in it) cannot be confirmed, and one record can be opened without the others.
Destroying the salt makes the leaf say nothing for ever.

Does not make salts: the caller does.
"""

from __future__ import annotations

import hmac
from typing import Final

SALT_SIZE: Final = 32
_DOMAIN: Final = b"doorward/commit/v1\0"


def commit(salt: bytes, type: str, record: bytes) -> bytes:  # noqa: A002 - the field's own name, as in Event.type
    """The 32-byte commitment to `record`, an event of `type` (`noun.past_verb`).

    HMAC-SHA256(salt, "doorward/commit/v1" 00 || type || 00 || record). Raises ValueError unless the salt is 32 bytes
    (HMAC pads a shorter key with zeros, so that two salts could open one commitment) and the type has no zero byte.
    """
    if len(salt) != SALT_SIZE:
        raise ValueError(f"a salt of {len(salt)} bytes, not {SALT_SIZE}")
    if "\0" in type:
        raise ValueError("a zero byte in an event type")
    return hmac.digest(salt, b"".join((_DOMAIN, type.encode(), b"\0", record)), "sha256")


def opens(commitment: bytes, salt: bytes, type: str, record: bytes) -> bool:  # noqa: A002
    """Whether (salt, type, record) opens the commitment. False, never an error, for anything malformed."""
    try:
        return hmac.compare_digest(commit(salt, type, record), commitment)
    except ValueError:
        return False
