"""Signed notes and checkpoints: C2SP signed-note and tlog-checkpoint, with Ed25519.

A checkpoint is the text "origin / size / base64 root", each ended by a newline, an empty line, and signature lines. A
verifier key (`vkey`) is one line, `name+hex(key id)+base64(01 || public key)`: all that a verifier needs.

The reader is stricter than the C2SP documents where a second spelling of the same thing could hide a changed byte:
base64 and hex must be canonical, sizes have no leading zeros, extension lines are refused. Signatures by unknown keys
are ignored, as they must be; a wrong signature by a known key is an error even where another one is right.
"""

from __future__ import annotations

import re
import unicodedata
from base64 import b64decode, b64encode
from collections.abc import Iterable, Sequence
from hashlib import sha256
from typing import Final, NamedTuple, Protocol

from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey

from doorward.errors import IntegrityError
from doorward.ledger.tree import HASH_SIZE
from doorward.ledger.tree import MAX_SIZE as MAX_TREE
from doorward.model import Checkpoint

MAX_NOTE: Final = 64 * 1024
MAX_SIGNATURES: Final = 100
_ED25519: Final = b"\x01"
_DASH: Final = "\u2014 "
_DECIMAL: Final = re.compile(r"0|[1-9][0-9]{0,15}")


def check_name(name: str) -> str:
    """A key's name, as signed-note allows it. ValueError."""
    if not 0 < len(name) <= 255 or any(_spaced(letter) for letter in name):
        raise ValueError(f"a key's name has no spaces, control characters or '+': {name[:80]!r}")
    return name


def _spaced(letter: str) -> bool:
    return letter == "+" or letter.isspace() or unicodedata.category(letter) in ("Cc", "Cs", "Zs", "Zl", "Zp")


def key_id(name: str, key: bytes) -> bytes:
    """signed-note: SHA-256(name || 0A || signature type || public key), first four bytes. `key` has the type."""
    return sha256(name.encode() + b"\n" + key).digest()[:4]


def unbase64(text: str, what: str) -> bytes:
    """IntegrityError. Canonical base64 only: spare bits must be zero, or a flipped bit would go unseen."""
    try:
        value = b64decode(text, validate=True)
    except ValueError:
        value = b""
    if b64encode(value).decode() != text:
        raise IntegrityError(f"{what} is not base64")
    return value


def parse_vkey(vkey: str) -> tuple[str, bytes, bytes]:
    """A verifier key's name, its id, and the signature type with the public key. IntegrityError: not a verifier key, or its
    key id does not fit."""
    # A name has no "+", but base64 may.
    name, _, rest = vkey.partition("+")
    number, _, encoded = rest.partition("+")
    try:
        check_name(name)
    except ValueError as error:
        raise IntegrityError(f"not a verifier key: {error}") from None
    key = unbase64(encoded, "the verifier key")
    identifier = key_id(name, key)
    if number != identifier.hex():
        raise IntegrityError("the verifier key's id does not fit its name and key")
    return name, identifier, key


class NoteSigner:
    """Signs notes as `name` with an Ed25519 key."""

    __slots__ = ("_id", "_key", "name", "vkey")

    def __init__(self, name: str, private_key: Ed25519PrivateKey) -> None:
        """ValueError: a name that signed-note does not allow."""
        self.name = check_name(name)
        self._key = private_key
        public = _ED25519 + private_key.public_key().public_bytes_raw()
        self._id = key_id(name, public)
        self.vkey = f"{name}+{self._id.hex()}+{b64encode(public).decode()}"

    def sign(self, text: str) -> str:
        """The signature line over `text` (which ends with a newline), newline included."""
        _check_text(text)
        return f"{_DASH}{self.name} {b64encode(self._id + self._key.sign(text.encode())).decode()}\n"


class NoteVerifier:
    """Knows one public key, from its `vkey` line."""

    __slots__ = ("_key", "id", "name", "vkey")

    def __init__(self, vkey: str) -> None:
        """IntegrityError: not a verifier key, or its key id does not fit."""
        self.name, self.id, key = parse_vkey(vkey)
        if len(key) != 33 or key[:1] != _ED25519:
            raise IntegrityError("the verifier key is not an Ed25519 key")
        self.vkey = vkey
        self._key = Ed25519PublicKey.from_public_bytes(key[1:])

    def verify(self, text: bytes, signature: bytes) -> None:
        """Returns for a right signature over `text`; IntegrityError otherwise."""
        try:
            self._key.verify(signature, text)
        except InvalidSignature:
            raise IntegrityError(f"the signature by {self.name} is wrong") from None


class Verifier(Protocol):
    """Knows one public key: a NoteVerifier, or whatever signs otherwise (`ledger.cosignature`)."""

    name: str
    id: bytes

    def verify(self, text: bytes, signature: bytes) -> object:
        """Returns for a right signature over `text`; IntegrityError otherwise."""
        ...


class SignatureLine(NamedTuple):
    """One signature of a note, unchecked: the key's name and id, what follows the id, and the line without its end."""

    name: str
    id: bytes
    signature: bytes
    line: bytes


def parse_signature(line: str) -> SignatureLine:
    """A signature line, without its end. IntegrityError."""
    if not line.startswith(_DASH):
        raise IntegrityError("a signature line that does not begin with an em dash and a space")
    name, _, encoded = line.removeprefix(_DASH).partition(" ")
    try:
        check_name(name)
    except ValueError as error:
        raise IntegrityError(f"a signature line: {error}") from None
    blob = unbase64(encoded, "a signature")
    if len(blob) < 5:
        raise IntegrityError("a signature of less than five bytes")
    return SignatureLine(name, blob[:4], blob[4:], line.encode())


def split_note(note: bytes) -> tuple[str, list[SignatureLine]]:
    """The text of a signed note, its last newline with it, and its signatures, unchecked. IntegrityError: malformed."""
    if len(note) > MAX_NOTE:
        raise IntegrityError(f"a signed note of {len(note)} bytes, more than {MAX_NOTE}")
    body, separator, tail = note.rpartition(b"\n\n")
    if not separator or not tail.endswith(b"\n"):
        raise IntegrityError("not a signed note: no signatures after an empty line")
    try:
        text, lines = body.decode() + "\n", tail.decode().split("\n")[:-1]
        _check_text(text)
    except ValueError as error:
        raise IntegrityError(f"not a signed note: {error}") from None
    if len(lines) > MAX_SIGNATURES:
        raise IntegrityError(f"more than {MAX_SIGNATURES} signatures")
    return text, [parse_signature(line) for line in lines]


def open_note(note: bytes, verifiers: Iterable[Verifier]) -> tuple[str, tuple[str, ...], tuple[bytes, ...]]:
    """The text of a signed note, the names of the known keys that signed it, and the raw signature lines.

    Raises IntegrityError when the note is malformed, when a known key's signature is wrong, or when no known
    key signed it.
    """
    text, signatures = split_note(note)
    body = text.encode()
    known = {(verifier.name, verifier.id): verifier for verifier in verifiers}
    signed: dict[str, None] = {}
    for each in signatures:
        verifier = known.get((each.name, each.id))
        if verifier is not None:
            verifier.verify(body, each.signature)
            signed[each.name] = None
    if not signed:
        raise IntegrityError("no known key signed this note")
    return text, tuple(signed), tuple(each.line for each in signatures)


def checkpoint_text(origin: str, size: int, root: bytes) -> str:
    """The signed part of a checkpoint. ValueError for values that cannot be one."""
    check_name(origin)
    if not 0 <= size < MAX_TREE or len(root) != HASH_SIZE:
        raise ValueError("a checkpoint has a size and a root of 32 bytes")
    return f"{origin}\n{size}\n{b64encode(root).decode()}\n"


def sign_checkpoint(origin: str, size: int, root: bytes, signers: Sequence[NoteSigner]) -> bytes:
    """The checkpoint as a signed note. The first signer is the log's own: its name is the origin (ValueError)."""
    text = checkpoint_text(origin, size, root)
    if not signers or signers[0].name != origin:
        raise ValueError("a checkpoint is signed first by the key named as its origin")
    return (text + "\n" + "".join([signer.sign(text) for signer in signers])).encode()


def open_checkpoint(note: bytes, verifiers: Iterable[NoteVerifier]) -> Checkpoint:
    """The checkpoint, once its signature by the key named as its origin holds. IntegrityError otherwise."""
    text, signed, signatures = open_note(note, verifiers)
    origin, size, root = parse_text(text)
    if origin not in signed:
        raise IntegrityError(f"no known key named as the origin {origin[:80]!r} signed this checkpoint")
    return Checkpoint(origin, size, root, signatures)


def parse_text(text: str) -> tuple[str, int, bytes]:
    """Origin, size and root of a checkpoint's signed part. IntegrityError."""
    lines = text.split("\n")
    if len(lines) != 4:
        raise IntegrityError(f"a checkpoint has three lines, not {len(lines) - 1}")
    origin, decimal, encoded, _ = lines
    if not _DECIMAL.fullmatch(decimal) or int(decimal) >= MAX_TREE:
        raise IntegrityError("the checkpoint's size is not a number")
    root = unbase64(encoded, "the checkpoint's root")
    if len(root) != HASH_SIZE:
        raise IntegrityError("the checkpoint's root is not 32 bytes")
    return origin, int(decimal), root


def _check_text(text: str) -> None:
    """signed-note: UTF-8 that ends with a newline, without control characters other than newline."""
    if not text.endswith("\n") or text == "\n":
        raise ValueError("the text does not end with a newline")
    if any(letter < " " and letter != "\n" for letter in text):
        raise ValueError("the text has a control character")
