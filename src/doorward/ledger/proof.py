"""A proof that one leaf is in the log, in one file that can be checked offline: C2SP tlog-proof v1.

The file carries the leaf itself as `extra`, which the format leaves unauthenticated: whoever checks it hashes the leaf again,
and the inclusion proof binds that hash to the root that the log signed and its witnesses cosigned.
"""

from __future__ import annotations

import re
from base64 import b64encode
from collections.abc import Sequence
from typing import Final, NamedTuple

from doorward.errors import IntegrityError
from doorward.ledger.checkpoint import MAX_NOTE, NoteVerifier, split_note, unbase64
from doorward.ledger.leaf import MAX_SIZE as MAX_LEAF
from doorward.ledger.leaf import Leaf, parse
from doorward.ledger.tree import HASH_SIZE, leaf_hash, verify_inclusion
from doorward.ledger.trust import TrustPolicy, Witnessed

HEADER: Final = "c2sp.org/tlog-proof@v1"
MAX_HASHES: Final = 63
MAX_FILE: Final = MAX_NOTE + 64 * 64 + 2 * MAX_LEAF + 4096
_INDEX: Final = re.compile(r"index (0|[1-9][0-9]{0,15})")


class Proof(NamedTuple):
    """`leaf` is its index; `extra` is None where the file has none; `note` is the checkpoint, verbatim."""

    leaf: int
    hashes: tuple[bytes, ...]
    note: bytes
    extra: bytes | None = None


def encode_proof(index: int, hashes: Sequence[bytes], note: bytes, extra: bytes | None = None) -> bytes:
    """The file's bytes."""
    lines = [HEADER]
    if extra is not None:
        lines.append(f"extra {b64encode(extra).decode()}")
    lines.append(f"index {index:d}")
    lines += [b64encode(each).decode() for each in hashes]
    return "\n".join([*lines, "", ""]).encode() + note


def parse_proof(octets: bytes) -> Proof:
    """The reverse. Nothing in it is verified. IntegrityError for anything that tlog-proof does not allow, and for more than 63
    hashes."""
    if len(octets) > MAX_FILE:
        raise IntegrityError(f"a proof of more than {MAX_FILE} bytes")
    head, separator, note = octets.partition(b"\n\n")
    try:
        lines = head.decode("ascii").split("\n")
    except ValueError:
        raise IntegrityError("not a proof: its lines before the checkpoint are not ASCII") from None
    if not separator or lines[0] != HEADER:
        raise IntegrityError(f"not a proof: its first line is not {HEADER}")
    rest = lines[1:]
    extra = None
    if rest and rest[0].startswith("extra "):
        extra = unbase64(rest[0].removeprefix("extra "), "the extra line")
        rest = rest[1:]
    match = _INDEX.fullmatch(rest[0]) if rest else None
    if match is None:
        raise IntegrityError("a proof without an index line")
    if len(rest) - 1 > MAX_HASHES:
        raise IntegrityError(f"a proof of more than {MAX_HASHES} hashes")
    hashes = tuple(unbase64(line, "a hash of the proof") for line in rest[1:])
    if any(len(each) != HASH_SIZE for each in hashes):
        raise IntegrityError("a hash of the proof is not 32 bytes")
    split_note(note)
    return Proof(int(match.group(1)), hashes, note, extra)


class Proven(NamedTuple):
    """What a proof shows: this leaf is number `place` of the log that `witnessed.checkpoint` is of."""

    place: int
    leaf: Leaf
    witnessed: Witnessed


def check_proof(octets: bytes, policy: TrustPolicy, more: Sequence[NoteVerifier] = ()) -> Proven:
    """What a proof file shows to who believes `policy`, and keys of logs `more`. IntegrityError unless its leaf is in a
    checkpoint that a log signed and the policy's quorum cosigned."""
    found = parse_proof(octets)
    if found.extra is None:
        raise IntegrityError("the proof does not carry the leaf that it is about", hint="`doorward log proof` writes such ones")
    stated = parse(found.extra)
    witnessed = policy.open(found.note, more)
    checkpoint = witnessed.checkpoint
    verify_inclusion(leaf_hash(found.extra), found.leaf, checkpoint.size, found.hashes, checkpoint.root)
    if not witnessed.quorum:
        who = ", ".join(each.witness.name for each in witnessed.cosignatures) or "none of your witnesses"
        raise IntegrityError(
            f"the checkpoint is cosigned by {who}, which is not the quorum {policy.quorum!a} of your policy",
            hint="make the proof again when the leaf is in log/witnessed",
        )
    return Proven(found.leaf, stated, witnessed)
