"""Proofs in a file: C2SP tlog-proof."""

from __future__ import annotations

import pytest

from doorward.errors import IntegrityError
from doorward.ledger.proof import encode_proof, parse_proof
from vectors.make import cosigned

HASHES = [bytes([number]) * 32 for number in range(3)]
FILE = encode_proof(5, HASHES, cosigned(), b"a leaf")


def test_round_trip() -> None:
    """What is written is read, with and without extra data; C2SP's example has the same lines before its checkpoint."""
    assert parse_proof(FILE) == (5, tuple(HASHES), cosigned(), b"a leaf")
    bare = parse_proof(encode_proof(0, [], cosigned()))
    assert (bare.leaf, bare.hashes, bare.extra) == (0, (), None)
    example = (
        b"c2sp.org/tlog-proof@v1\nextra YWdlLXYxLjIuMS1kYXJ3aW4tYXJtNjQudGFyLmd6kYXJ3aW4tYXJ\nindex 73894\n"
        b"gSKyXoYZUgZ6jduWYrkDOARinOMGJveXjgMkBTcdPlQ=\nB95lDa8R83lS8n0eG+o0buTxRKQTYFi//1U8anccXmA=\n"
        b"EKNzoDWG8LGC0Yp9o+sv3qllpMP9uHQ9B20KNL+Q1zs=\nRoopEkOdqkYqMB4MJXrbt/hMjOxsVn0IrWjpz1ZMMes=\n"
        b"AHCioX9nLjsrse6YhjRRmk1WUEirVOLLRoOQ6vfO5vk=\n\n"
    )
    found = parse_proof(example + cosigned())
    assert (found.leaf, len(found.hashes)) == (73894, 5)


@pytest.mark.parametrize(
    ("old", "new"),
    [(b"proof@v1", b"proof@v2"), (b"index 5", b"index 05"), (b"index 5\n", b""), (b"index", b"Index"), (b"extra ", b"extra  "),
     (b"AAAA=\n", b"AAAB=\n"), (b"AAAA=\n", b"AA==\n"), (b"AAAA=\n", b"AAAA=\r\n"), (b"\n\n", b"\n"), (b"index", b"\xffndex"),
     (b"index 5\n", b"index 5\n" + (b"A" * 43 + b"=\n") * 64), (b"\n\n", b"\n\n" + b"x" * 100_000)],
)  # fmt: skip
def test_proofs_that_are_none(old: bytes, new: bytes) -> None:
    """Every other spelling is refused, and more than 63 hashes are."""
    changed = FILE.replace(old, new, 1)
    assert changed != FILE
    with pytest.raises(IntegrityError):
        parse_proof(changed)


def test_every_cut() -> None:
    """No prefix of a proof is one, but for whole signature lines at its end."""
    whole = {FILE.rindex("\u2014".encode())}
    for end in range(len(FILE)):
        if end not in whole:
            with pytest.raises(IntegrityError):
                parse_proof(FILE[:end])
