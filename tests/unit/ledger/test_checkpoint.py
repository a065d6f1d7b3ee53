"""Signed notes and checkpoints: C2SP's example opens; nothing malformed or wrongly signed does."""

from __future__ import annotations

from base64 import b64encode

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from hypothesis import given
from hypothesis import strategies as st

from doorward.errors import IntegrityError
from doorward.ledger.checkpoint import NoteSigner, NoteVerifier, open_checkpoint, open_note, sign_checkpoint

# The example of C2SP signed-note, and of Go's sumdb/note before it.
EXAMPLE_KEY = "PeterNeumann+c74f20a3+ARpc2QcUPDhMQegwxbzhKqiBfsVkmqq/LDE4izWy10TW"
EXAMPLE = (
    "If you think cryptography is the answer to your problem,\n"
    "then you don't know what your problem is.\n\n"
    "\u2014 PeterNeumann x08go/ZJkuBS9UG/SffcvIAQxVBtiFupLLr8pAcElZInNIuGUgYN1FFYC2pZSNXgKvqfqdngotpRZb6KE6RyyBwJnAM=\n"
).encode()
LOG = NoteSigner("log.example.com/a", Ed25519PrivateKey.from_private_bytes(b"a" * 32))
WITNESS = NoteSigner("witness.example.org", Ed25519PrivateKey.from_private_bytes(b"w" * 32))
ROOT = bytes(range(32))
NOTE = sign_checkpoint(LOG.name, 300, ROOT, [LOG, WITNESS])
KNOWN = [NoteVerifier(LOG.vkey), NoteVerifier(WITNESS.vkey)]


def test_example() -> None:
    """The published example verifies under its published key."""
    text, signed, lines = open_note(EXAMPLE, [NoteVerifier(EXAMPLE_KEY)])
    assert text.endswith("what your problem is.\n")
    assert (signed, len(lines)) == (("PeterNeumann",), 1)


@pytest.mark.parametrize("known", [KNOWN, KNOWN[:1], KNOWN[::-1]])
def test_opens(known: list[NoteVerifier]) -> None:
    """A checkpoint says what was signed; a signature by a key nobody knows is ignored."""
    found = open_checkpoint(NOTE, known)
    assert (found.origin, found.size, found.root, len(found.signatures)) == (LOG.name, 300, ROOT, 2)


@pytest.mark.parametrize("known", [[], KNOWN[1:], [NoteVerifier(EXAMPLE_KEY)]])
def test_unknown(known: list[NoteVerifier]) -> None:
    """Without the origin's own key nothing opens, whoever else signed."""
    with pytest.raises(IntegrityError):
        open_checkpoint(NOTE, known)


def test_every_bit() -> None:
    """Any flipped bit of a note by one key is noticed; base64 has no spare bits to hide one in."""
    note = sign_checkpoint(LOG.name, 300, ROOT, [LOG])
    for at in range(len(note)):
        for bit in range(8):
            with pytest.raises(IntegrityError):
                open_checkpoint(note[:at] + bytes([note[at] ^ 1 << bit]) + note[at + 1 :], KNOWN)


def test_known_but_wrong() -> None:
    """A wrong signature by a known key is an error, though another known key's is right."""
    lines = NOTE.decode().split("\n")
    other = WITNESS.sign("something else\n").removesuffix("\n")
    with pytest.raises(IntegrityError, match=r"witness\.example\.org"):
        open_checkpoint("\n".join([*lines[:5], other, ""]).encode(), KNOWN)


def signed(text: str) -> bytes:
    return (text + "\n" + LOG.sign(text)).encode()


@pytest.mark.parametrize(
    "text",
    [
        f"{LOG.name}\n0300\n{b64encode(ROOT).decode()}\n", f"{LOG.name}\n-1\n{b64encode(ROOT).decode()}\n",
        f"{LOG.name}\n٣\n{b64encode(ROOT).decode()}\n", f"{LOG.name}\n{2**60}\n{b64encode(ROOT).decode()}\n",
        f"{LOG.name}\n3\n{b64encode(ROOT[:31]).decode()}\n", f"{LOG.name}\n3\n{ROOT.hex()}\n", f"{LOG.name}\n3\n",
        f"{LOG.name}\n3\n{b64encode(ROOT).decode()}\nextension\n", f"other\n3\n{b64encode(ROOT).decode()}\n", "x\n",
    ],
)  # fmt: skip
def test_signed_but_no_checkpoint(text: str) -> None:
    """Rightly signed text that is not a checkpoint of this origin is refused."""
    with pytest.raises(IntegrityError):
        open_checkpoint(signed(text), KNOWN)


@pytest.mark.parametrize(
    "note",
    [
        b"", b"\n\n", NOTE[:-1], NOTE + b"\n", NOTE.replace(b"\n\n", b"\n"), NOTE + b"x\n", NOTE + "\u2014 \n".encode(),
        NOTE + "\u2014 a AA==\n".encode(), NOTE + "\u2014 a b\n".encode() * 101, b"\xff" + NOTE, b"\0" + NOTE,
        b"a" * 70_000 + NOTE, NOTE.replace("\u2014".encode(), b"-"),
    ],
)  # fmt: skip
def test_malformed(note: bytes) -> None:
    """A note that is cut, padded, huge or in another encoding is an IntegrityError."""
    with pytest.raises(IntegrityError):
        open_checkpoint(note, KNOWN)


@pytest.mark.parametrize(
    "vkey",
    ["", "a", "a+b", "a+00000000+AAAA", EXAMPLE_KEY.replace("c74f20a3", "C74F20A3"),
     EXAMPLE_KEY.replace("Peter", "Paul"),
     EXAMPLE_KEY + "=", EXAMPLE_KEY[:-4], " " + EXAMPLE_KEY, EXAMPLE_KEY.replace("+AR", "+BR"), EXAMPLE_KEY + "\n"],
)  # fmt: skip
def test_bad_vkey(vkey: str) -> None:
    """A verifier key has one spelling, and its id must fit."""
    with pytest.raises(IntegrityError):
        NoteVerifier(vkey)


@pytest.mark.parametrize("name", ["", "a b", "a+b", "a\nb", "a\u00a0b", "x" * 300])
def test_bad_names(name: str) -> None:
    """Key names have no spaces, plus signs or control characters."""
    with pytest.raises(ValueError):
        NoteSigner(name, Ed25519PrivateKey.from_private_bytes(b"a" * 32))


def test_origin_signs_first() -> None:
    """A checkpoint not signed by its origin is not made."""
    for signers in ([], [WITNESS], [WITNESS, LOG]):
        with pytest.raises(ValueError):
            sign_checkpoint(LOG.name, 0, ROOT, signers)


@given(st.binary(max_size=200) | st.text(alphabet="\u2014 ab\n+=", max_size=60).map(str.encode))
def test_total(note: bytes) -> None:
    """Any bytes that are not a rightly signed note are an IntegrityError, and nothing else."""
    with pytest.raises(IntegrityError):
        open_note(note, KNOWN)
