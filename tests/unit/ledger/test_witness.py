"""Witnesses: cosignatures, the protocol of tlog-witness, trust policies; with C2SP's own examples where they can be checked."""

from __future__ import annotations

from base64 import b64decode, b64encode
from collections.abc import Sequence
from hashlib import sha256

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.asymmetric.mldsa import MLDSA44PrivateKey
from hypothesis import given
from hypothesis import strategies as st

from doorward.errors import IntegrityError
from doorward.ledger import tree, witness
from doorward.ledger.checkpoint import NoteSigner, NoteVerifier, key_id, open_checkpoint, sign_checkpoint, split_note
from doorward.ledger.cosignature import (
    MLDSA44,
    CosignatureVerifier,
    Cosigner,
    cosignatures,
    message,
    subtree_message,
)
from doorward.ledger.trust import TrustPolicy, parse_policy

# C2SP tlog-cosignature and tlog-witness print these without the keys that made them: they fix the framing.
EXAMPLE = (
    "example.com/behind-the-sofa\n20852163\nCsUYapGGPo4dkMgIAUqom/Xajj7h2fB2MPA3j2jxq2I=\n\n"
    "\u2014 example.com/behind-the-sofa "
    "Az3grlgtzPICa5OS8npVmf1Myq/5IZniMp+ZJurmRDeOoRDe4URYN7u5/Zhcyv2q1gGzGku9nTo+zyWE+xeMcTOAYQ8=\n"
    "\u2014 witness.example.com/w1 "
    "jWbPPwAAAABkGFDLEZMHwSRaJNiIDoe9DYn/zXcrtPHeolMI5OWXEhZCB9dlrDJsX3b2oyin1nPZqhf5nNo0xUe+mbIUBkBIfZ+qnA==\n"
).encode()
MESSAGE = (
    b"cosignature/v1\ntime 1679315147\nexample.com/behind-the-sofa\n20852163\nCsUYapGGPo4dkMgIAUqom/Xajj7h2fB2MPA3j2jxq2I=\n"
)
REQUEST = (
    b"old 20852014\nPlRNCrwHpqhGrupue0L7gxbjbMiKA9temvuZZDDpkaw=\njrJZDmY8Y7SyJE0MWLpLozkIVMSMZcD5kvuKxPC3swk=\n"
    b"5+pKlUdi2LeF/BcMHBn+Ku6yhPGNCswZZD1X/6QgPd8=\n/6WVhPs2CwSsb5rYBH5cjHV/wSmA79abXAwhXw3Kj/0=\n\n"
) + EXAMPLE

ORIGIN = "log.example.com/a"
LOG = NoteSigner(ORIGIN, Ed25519PrivateKey.from_private_bytes(b"a" * 32))
NEXT = NoteSigner(ORIGIN, Ed25519PrivateKey.from_private_bytes(b"b" * 32))
W = [Cosigner(f"w{n}.example.org", Ed25519PrivateKey.from_private_bytes(bytes([n]) * 32)) for n in range(6)]
LEAVES = [sha256(b"%d" % number).digest() for number in range(40)]
FORKED = [*LEAVES[:10], *(sha256(leaf).digest() for leaf in LEAVES[10:])]
TRUSTED = [NoteVerifier(LOG.vkey)]
AT = 1_800_000_000


def note(size: int, leaves: Sequence[bytes] = LEAVES, signers: Sequence[NoteSigner] = (LOG,)) -> bytes:
    return sign_checkpoint(ORIGIN, size, tree.root_of(size, tree.nodes(leaves)), signers)


def ask(old: int, size: int, known: bytes | None, leaves: Sequence[bytes] = LEAVES) -> witness.Answer:
    proof = tree.consistency_proof(old, size, tree.nodes(leaves))
    return witness.answer(witness.request(old, proof, note(size, leaves)), known, TRUSTED, W[0], AT)


def test_the_published_examples_have_our_framing() -> None:
    """A cosignature of C2SP is a key id, the time that it prints and 64 bytes; its request has the parts that it names."""
    text, lines = split_note(EXAMPLE)
    assert (len(lines[1].signature), int.from_bytes(lines[1].signature[:8], "big")) == (72, 1679315147)
    assert message(text.encode(), 1679315147) == MESSAGE
    found = witness.parse_request(REQUEST)
    assert (found.old, len(found.proof), found.note) == (20852014, 4, EXAMPLE)
    assert witness.request(found.old, found.proof, found.note) == REQUEST
    assert witness.origin_of(found.note) == "example.com/behind-the-sofa"


def test_cosignature() -> None:
    """A cosignature verifies under its own key and says when; unknown keys and types are ignored, a changed bit is not."""
    text = split_note(note(7))[0]
    unknown = f"\u2014 w9.example.org {b64encode(key_id('w9.example.org', MLDSA44 + bytes(1312)) + bytes(2428)).decode()}\n"
    cosigned = note(7) + W[0].cosign(text, AT).encode() + unknown.encode() + W[0].cosign(text, AT + 5).encode()
    mine, other = CosignatureVerifier(W[0].vkey), CosignatureVerifier(W[1].vkey)
    (found,) = cosignatures(cosigned, [mine, other])
    assert (found.witness.name, found.at) == ("w0.example.org", AT + 5)
    assert cosignatures(cosigned, [other]) == []
    blob = bytearray(split_note(cosigned)[1][1].signature)
    for at in range(len(blob)):
        changed = bytes(blob[:at] + bytes([blob[at] ^ 1]) + blob[at + 1 :])
        with pytest.raises(IntegrityError):
            mine.verify(text.encode(), changed)


def test_a_log_key_is_no_witness_key_and_a_cosignature_no_log_signature() -> None:
    """The types keep apart what an Ed25519 key signs: neither passes for the other, whoever names their key alike."""
    same = Cosigner(ORIGIN, Ed25519PrivateKey.from_private_bytes(b"a" * 32))
    text = split_note(note(7))[0]
    with pytest.raises(IntegrityError, match="type is neither"):
        CosignatureVerifier(LOG.vkey)
    with pytest.raises(IntegrityError):
        NoteVerifier(same.vkey)
    with pytest.raises(IntegrityError, match="no known key"):
        open_checkpoint((text + "\n" + same.cosign(text, AT)).encode(), TRUSTED)


def test_mldsa_cosignature() -> None:
    """An ML-DSA-44 cosignature (type 06) verifies over the structure of tlog-cosignature, and binds the witness's name."""
    key = MLDSA44PrivateKey.generate()
    public = MLDSA44 + key.public_key().public_bytes_raw()

    def vkey(name: str) -> str:
        return f"{name}+{key_id(name, public).hex()}+{b64encode(public).decode()}"

    text = split_note(note(7))[0].encode()
    signed = subtree_message("pq.example.org", text, AT)
    root = b64decode(text.split(b"\n")[2])
    assert signed == (
        b"subtree/v1\n\0" + b"\x0epq.example.org" + AT.to_bytes(8, "big") + b"\x11" + ORIGIN.encode()
        + bytes(8) + (7).to_bytes(8, "big") + root
    )  # fmt: skip
    blob = AT.to_bytes(8, "big") + key.sign(signed)
    assert CosignatureVerifier(vkey("pq.example.org")).verify(text, blob) == AT
    with pytest.raises(IntegrityError, match="wrong"):
        CosignatureVerifier(vkey("qq.example.org")).verify(text, blob)
    with pytest.raises(IntegrityError, match="no cosignature"):
        CosignatureVerifier(vkey("pq.example.org")).verify(text, blob[:-1])


def test_a_witness_follows_a_log_that_grows() -> None:
    """First contact, growth, the same checkpoint again: each is cosigned, and what it must remember is what it answered."""
    known = None
    for old, size in ((0, 0), (0, 1), (1, 7), (7, 7), (7, 8), (8, 40)):
        said = ask(old, size, known)
        assert said.status == 200, said.body
        found = witness.parse_cosignatures(said.body, note(size), CosignatureVerifier(W[0].vkey))
        assert found.at == AT
        known = said.remember
        assert known == witness.with_cosignatures(note(size), [found])
        assert open_checkpoint(known, TRUSTED).size == size


@pytest.mark.parametrize(
    ("old", "size", "leaves", "status"),
    [(7, 20, LEAVES, 409), (0, 20, LEAVES, 409), (20, 12, LEAVES, 400), (20, 30, FORKED, 422), (20, 20, FORKED, 422)],
    ids=["older", "zero", "shrunk", "fork", "fork of one size"],
)
def test_a_witness_refuses_what_does_not_continue(old: int, size: int, leaves: list[bytes], status: int) -> None:
    """Sizes that it does not know get the one it knows; a log cut back or forked with its own key gets no cosignature."""
    proof = tree.consistency_proof(min(old, size), size, tree.nodes(leaves))
    known = ask(0, 20, None).remember
    said = witness.answer(witness.request(old, proof, note(size, leaves)), known, TRUSTED, W[0], AT)
    assert (said.status, said.remember) == (status, None)
    if status == 409:
        assert (said.type, said.body, witness.conflicting_size(said.body)) == ("text/x.tlog.size", b"20\n", 20)


def test_who_is_believed() -> None:
    """404 for an origin nobody named, 403 for a signature that is missing or wrong; either of two keys of a log will do."""
    stranger = NoteSigner("log.example.com/b", Ed25519PrivateKey.from_private_bytes(b"c" * 32))
    root = tree.root_of(7, tree.nodes(LEAVES))
    both = [NoteVerifier(LOG.vkey), NoteVerifier(NEXT.vkey)]

    def status(signed: bytes, trusted: list[NoteVerifier]) -> int:
        return witness.answer(witness.request(0, [], signed), None, trusted, W[0], AT).status

    assert status(sign_checkpoint(stranger.name, 7, root, [stranger]), TRUSTED) == 404
    assert status(note(7, signers=[NEXT]), TRUSTED) == 403
    wrong = note(7).replace(b"\n7\n", b"\n8\n")
    assert status(wrong, TRUSTED) == 403
    assert status(note(7, signers=[NEXT]), both) == 200
    assert status(note(7, signers=[NEXT, LOG]), TRUSTED) == 200


@pytest.mark.parametrize(
    "body",
    [
        b"", b"old 0\n", b"old 00\n\n" + note(3), b"old -1\n\n" + note(3), b"old 0\n" + note(3), b"old 0\nAAAA\n\n" + note(3),
        b"old 0\n" + b64encode(bytes(32)) + b" \n\n" + note(3), b"old 0\n\n" + note(3)[:-1], b"old 0\n\n" + b"x" * 100_000,
        b"old 0\n" + (b64encode(bytes(32)) + b"\n") * 64 + b"\n" + note(3),
    ],
    ids=["empty", "no checkpoint", "zeros", "negative", "no empty line", "short hash", "spaces", "cut", "long", "64 hashes"],
)  # fmt: skip
def test_requests_that_are_none(body: bytes) -> None:
    """What is not a request is a 400, and changes nothing."""
    said = witness.answer(body, None, TRUSTED, W[0], AT)
    assert (said.status, said.remember) == (400, None)


def test_a_proof_where_none_is_needed() -> None:
    """From nothing, the proof must be empty; of nothing, the root is fixed."""
    assert witness.answer(witness.request(0, [bytes(32)], note(3)), None, TRUSTED, W[0], AT).status == 422
    empty = sign_checkpoint(ORIGIN, 0, bytes(32), [LOG])
    assert witness.answer(witness.request(0, [], empty), None, TRUSTED, W[0], AT).status == 422


@given(body=st.binary(max_size=300) | st.binary(max_size=100).map(lambda tail: b"old 0\n\n" + note(3)[:-1] + tail))
def test_no_body_is_an_error(body: bytes) -> None:
    """Whatever is sent, the answer is an answer."""
    assert witness.answer(body, None, TRUSTED, W[0], AT).status in (200, 400, 403, 404)


@pytest.mark.parametrize(
    "body",
    [b"", b"yes\n", W[1].cosign(split_note(note(7))[0], AT).encode(), W[0].cosign(split_note(note(8))[0], AT).encode(),
     W[0].cosign(split_note(note(7))[0], AT).encode()[:-1], "\u2014 w0.example.org AAAA\n".encode(), b"\xff\n"],
    ids=["nothing", "words", "another witness", "another checkpoint", "cut", "short", "not text"],
)  # fmt: skip
def test_a_witness_that_lies_is_found(body: bytes) -> None:
    """An answer without a right cosignature of just this checkpoint is an error."""
    with pytest.raises(IntegrityError):
        witness.parse_cosignatures(body, note(7), CosignatureVerifier(W[0].vkey))


# Trust policies


POLICY = f"""
# C2SP tlog-policy's example: two of three, and any of three
log {LOG.vkey}
witness X1 {W[0].vkey} https://x1.example.org/
\twitness X2 {W[1].vkey}
witness X3 {W[2].vkey}
group X-witnesses 2 X1 X2 X3

witness Y1 {W[3].vkey}
witness Y2 {W[4].vkey}
witness Y3 {W[5].vkey}
group Y-witnesses any Y1 Y2 Y3

group X-and-Y all X-witnesses Y-witnesses
quorum X-and-Y
"""


@pytest.mark.parametrize(
    ("who", "enough"),
    [("", False), ("X1 X2", False), ("X1 X2 Y2", True), ("X1 Y1 Y2 Y3", False), ("X1 X2 X3", False), ("X2 X3 Y3", True)],
)
def test_the_published_policy(who: str, enough: bool) -> None:
    """C2SP's example of a quorum with two levels of groups means what its text says."""
    policy = parse_policy(POLICY.encode())
    assert policy.met(who.split()) is enough
    assert policy.witnesses["X1"].url == "https://x1.example.org"
    text = split_note(note(7))[0]
    cosigned = note(7) + b"".join([
        W[list(policy.witnesses).index(name)].cosign(text, AT + number).encode() for number, name in enumerate(who.split())
    ])  # fmt: skip
    opened = policy.open(cosigned)
    assert (opened.checkpoint.size, opened.quorum, len(opened.cosignatures)) == (7, enough, len(who.split()))
    assert opened.at == (AT if who else 0)


@pytest.mark.parametrize(
    ("file", "why"),
    [
        ("", "no quorum"), ("quorum X1", "no witness or group"), ("quorum none\nquorum none", "second"),
        (f"log {LOG.vkey}\nlog {LOG.vkey}\nquorum none", "already"), (f"log {W[0].vkey}\nquorum none", "not an Ed25519"),
        (f"witness none {W[0].vkey}\nquorum none", "taken"), (f"witness a {LOG.vkey}\nquorum a", "neither 04"),
        (f"witness a {W[0].vkey}\nwitness b {W[0].vkey}\nquorum a", "already"),
        (f"witness a {W[0].vkey}\ngroup g 2 a\nquorum g", "cannot be"),
        (f"witness a {W[0].vkey}\ngroup g 0 a\nquorum g", "cannot be"),
        (f"witness a {W[0].vkey}\ngroup g all a a\nquorum g", "twice"),
        (f"witness a {W[0].vkey}\ngroup g all\nquorum g", "neither"),
        (f"witness a {W[0].vkey}\ngroup g all a\ngroup h all a\nquorum g", "twice"),
        ("group g any b\nquorum g", "before this"), ("logs x\nquorum none", "neither"), ("quorum none\r", "control"),
        (f"witness a {W[0].vkey} ftp://x\nquorum a", "https"), ("# " + "x" * 70_000, "more than"),
    ],
)  # fmt: skip
def test_policies_that_are_none(file: str, why: str) -> None:
    """What tlog-policy does not allow is refused, with the line named."""
    with pytest.raises(IntegrityError, match=why):
        parse_policy(file.encode())


def test_names_are_octets() -> None:
    """A K is not a Kelvin sign, and bytes that are no UTF-8 are a name like any other."""
    policy: TrustPolicy = parse_policy(
        b"witness K %s\nwitness \xe2\x84\xaa %s\nwitness \xff %s\ngroup g 2 \xe2\x84\xaa \xff\nquorum g"
        % tuple(each.vkey.encode() for each in W[:3])
    )
    assert (policy.met(["K", "\u212a"]), policy.met(["\udcff", "\u212a"])) == (False, True)
