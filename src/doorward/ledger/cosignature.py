"""Cosignatures: that a witness saw a log only grow (C2SP tlog-cosignature v1.0.1).

A cosignature is a signature line of a checkpoint's note with a time in it. Ed25519 (type 04) is made and checked here;
ML-DSA-44 (type 06), which public witnesses are moving to, is checked. Lines by other keys and of other types are ignored,
as they must be; a wrong signature by a known key makes the note malformed, whatever else it carries.

Does not decide how many witnesses are enough: that is trust.py's.
"""

from __future__ import annotations

from base64 import b64encode
from collections.abc import Iterable
from typing import Final, NamedTuple

from cryptography.exceptions import InvalidSignature, UnsupportedAlgorithm
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey
from cryptography.hazmat.primitives.asymmetric.mldsa import MLDSA44PublicKey

from doorward.errors import IntegrityError
from doorward.ledger.checkpoint import check_name, key_id, parse_text, parse_vkey, split_note

ED25519: Final = b"\x04"
MLDSA44: Final = b"\x06"
_TIME: Final = 8  # bytes of the time before a signature
_ED25519_KEY, _ED25519_SIGNATURE = 32, 64
_MLDSA44_KEY, _MLDSA44_SIGNATURE = 1312, 2420


def message(text: bytes, at: int) -> bytes:
    """What a type 04 cosignature signs: tlog-cosignature, "Ed25519 signed message". `at` is Unix seconds."""
    return b"cosignature/v1\ntime %d\n" % at + text


def subtree_message(cosigner: str, text: bytes, at: int) -> bytes:
    """What a type 06 cosignature of a checkpoint signs: "ML-DSA-44 signed message". IntegrityError: not a checkpoint."""
    origin, size, root = parse_text(text.decode())
    named = [bytes([len(name)]) + name for name in (cosigner.encode(), origin.encode())]
    numbers = [number.to_bytes(8, "big") for number in (at, 0, size)]
    return b"".join([b"subtree/v1\n\0", named[0], numbers[0], named[1], numbers[1], numbers[2], root])


class Cosigner:
    """Cosigns checkpoints as `name`, with an Ed25519 key of its own that signs nothing else."""

    __slots__ = ("_id", "_key", "name", "vkey")

    def __init__(self, name: str, private_key: Ed25519PrivateKey) -> None:
        """ValueError: a name that signed-note does not allow."""
        self.name = check_name(name)
        self._key = private_key
        public = ED25519 + private_key.public_key().public_bytes_raw()
        self._id = key_id(name, public)
        self.vkey = f"{name}+{self._id.hex()}+{b64encode(public).decode()}"

    def cosign(self, text: str, at: int) -> str:
        """The signature line over a checkpoint's text, newline included. `at` is Unix seconds, above 0."""
        signature = self._key.sign(message(text.encode(), at))
        blob = self._id + at.to_bytes(_TIME, "big") + signature
        return f"\u2014 {self.name} {b64encode(blob).decode()}\n"


class CosignatureVerifier:
    """Knows one witness's public key, from its `vkey` line: type 04 or 06. `key` is the key itself, by which two lines can be
    told to be about the same one."""

    __slots__ = ("_public", "id", "key", "name", "vkey")

    def __init__(self, vkey: str) -> None:
        """IntegrityError: not a verifier key of a witness."""
        self.name, self.id, typed = parse_vkey(vkey)
        self.vkey, self.key = vkey, typed[1:]
        self._public: Ed25519PublicKey | MLDSA44PublicKey
        if typed[:1] == ED25519 and len(self.key) == _ED25519_KEY:
            self._public = Ed25519PublicKey.from_public_bytes(self.key)
        elif typed[:1] == MLDSA44 and len(self.key) == _MLDSA44_KEY:
            try:
                self._public = MLDSA44PublicKey.from_public_bytes(self.key)
            except (UnsupportedAlgorithm, ValueError):
                raise IntegrityError(f"the key of witness {self.name} cannot be used here") from None
        else:
            raise IntegrityError("the verifier key is not a witness's: its type is neither 04 (Ed25519) nor 06 (ML-DSA-44)")

    def verify(self, text: bytes, signature: bytes) -> int:
        """When it was made, in Unix seconds. IntegrityError unless it is right, over `text`, and says a time."""
        at = int.from_bytes(signature[:_TIME], "big")
        length = _ED25519_SIGNATURE if isinstance(self._public, Ed25519PublicKey) else _MLDSA44_SIGNATURE
        if len(signature) != _TIME + length or not 0 < at < 2**63:
            raise IntegrityError(f"what {self.name} signed is no cosignature of its key's type")
        try:
            if isinstance(self._public, Ed25519PublicKey):
                self._public.verify(signature[_TIME:], message(text, at))
            else:
                self._public.verify(signature[_TIME:], subtree_message(self.name, text, at))
        except InvalidSignature:
            raise IntegrityError(f"the cosignature by {self.name} is wrong") from None
        return at


class Cosignature(NamedTuple):
    """That a witness cosigned. `at` is Unix seconds, by the witness's clock; `line` is the signature line, without its end."""

    witness: CosignatureVerifier
    at: int
    line: bytes


def cosignatures(note: bytes, witnesses: Iterable[CosignatureVerifier]) -> list[Cosignature]:
    """Those that known witnesses made; the newest, where one made several. IntegrityError: malformed, or a known witness's is
    wrong. Does not look at the log's own signature."""
    text, signatures = split_note(note)
    known = {(witness.name, witness.id): witness for witness in witnesses}
    found: dict[str, Cosignature] = {}
    for each in signatures:
        witness = known.get((each.name, each.id))
        if witness is None:
            continue
        at = witness.verify(text.encode(), each.signature)
        before = found.get(witness.vkey)
        if before is None or at > before.at:
            found[witness.vkey] = Cosignature(witness, at, each.line)
    return list(found.values())
