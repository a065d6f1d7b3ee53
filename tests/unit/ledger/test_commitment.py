"""Commitments bind type and record, under a salt of exactly 32 bytes."""

from __future__ import annotations

import hashlib
import hmac

import pytest

from doorward.ledger.commitment import commit, opens

SALT = bytes(range(32))


def test_definition() -> None:
    """HMAC-SHA256 under the salt over domain, type, zero byte and record."""
    expected = hmac.new(SALT, b"doorward/commit/v1\0policy.changed\0{}", hashlib.sha256).digest()
    assert commit(SALT, "policy.changed", b"{}") == expected
    assert opens(expected, SALT, "policy.changed", b"{}")


@pytest.mark.parametrize(
    ("salt", "kind", "record"),
    [
        (SALT[::-1], "policy.changed", b"{}"), (SALT, "policy.chang", b"ed\0{}"), (SALT, "policy.changed", b"{} "),
        (SALT[:31], "policy.changed", b"{}"), (SALT + b"\0", "policy.changed", b"{}"), (SALT, "policy\0changed", b"{}"),
    ],
)  # fmt: skip
def test_nothing_else_opens(salt: bytes, kind: str, record: bytes) -> None:
    """Another salt, type or record does not open it."""
    assert not opens(commit(SALT, "policy.changed", b"{}"), salt, kind, record)


@pytest.mark.parametrize("size", [0, 16, 31, 33, 64])
def test_salt_size(size: int) -> None:
    """Another size of salt is a ValueError: HMAC would pad it."""
    with pytest.raises(ValueError):
        commit(bytes(size), "a.b", b"")
