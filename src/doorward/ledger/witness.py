"""A witness: cosigns what a log publishes as long as it only grows (C2SP tlog-witness v1.0.0), without any I/O.

`answer` is the whole protocol: a request's body and what the witness remembers in, a status, an answer and what it must
remember out. What is to be remembered must be durable before the answer is sent: a witness that forgets can be made to cosign
two histories.

The other side is here too: `request` writes what a log asks, `parse_cosignatures` reads what it gets.
"""

from __future__ import annotations

import re
from base64 import b64encode
from collections.abc import Iterable, Sequence
from hashlib import sha256
from typing import Final, NamedTuple

from doorward.errors import IntegrityError
from doorward.ledger.checkpoint import (
    MAX_NOTE,
    NoteVerifier,
    SignatureLine,
    open_checkpoint,
    parse_signature,
    parse_text,
    split_note,
    unbase64,
)
from doorward.ledger.cosignature import Cosignature, CosignatureVerifier, Cosigner
from doorward.ledger.tree import EMPTY_ROOT, HASH_SIZE, verify_consistency
from doorward.model import Checkpoint

MAX_HASHES: Final = 63
MAX_REQUEST: Final = MAX_NOTE + 64 * 64 + 64
SIZE: Final = "text/x.tlog.size"  # the type of a 409
TEXT: Final = "text/plain; charset=utf-8"
_OLD: Final = re.compile(r"old (0|[1-9][0-9]{0,15})")
_SIZE: Final = re.compile(rb"(0|[1-9][0-9]{0,15})\n")


class Answer(NamedTuple):
    """What to send. `remember` is the cosigned checkpoint that must be durable first; None: nothing changes."""

    status: int
    body: bytes
    type: str = TEXT
    remember: bytes | None = None


class Submission(NamedTuple):
    """A request, parsed: nothing in it is verified."""

    old: int
    proof: tuple[bytes, ...]
    note: bytes


def origin_hash(origin: str) -> str:
    """The name under which a witness publishes what it knows of a log: `<prefix>/<this>/checkpoint`."""
    return sha256(origin.encode()).hexdigest()


def parse_request(body: bytes) -> Submission:
    """The parts of an add-checkpoint request. IntegrityError when it is not one."""
    if len(body) > MAX_REQUEST:
        raise IntegrityError(f"a request of more than {MAX_REQUEST} bytes")
    head, separator, note = body.partition(b"\n\n")
    lines = head.decode("ascii", "replace").split("\n")
    match = _OLD.fullmatch(lines[0])
    if not separator or match is None:
        raise IntegrityError("a request begins with `old <size>`, hashes, and an empty line")
    if len(lines) - 1 > MAX_HASHES:
        raise IntegrityError(f"a proof of more than {MAX_HASHES} hashes")
    proof = tuple(unbase64(line, "a line of the proof") for line in lines[1:])
    if any(len(each) != HASH_SIZE for each in proof):
        raise IntegrityError("a hash of the proof is not 32 bytes")
    return Submission(int(match.group(1)), proof, note)


def request(old: int, proof: Sequence[bytes], note: bytes) -> bytes:
    """The body of an add-checkpoint request."""
    return "\n".join([f"old {old:d}", *(b64encode(each).decode() for each in proof), "", ""]).encode() + note


def origin_of(note: bytes) -> str:
    """The origin that a checkpoint claims, unverified. IntegrityError: it is not one."""
    return parse_text(split_note(note)[0])[0]


def answer(body: bytes, known: bytes | None, logs: Iterable[NoteVerifier], cosigner: Cosigner, at: int) -> Answer:
    """What a witness says to an add-checkpoint request.

    `known` is the checkpoint of that origin that it cosigned last, `logs` the keys of that origin that it trusts (none: the
    origin is unknown to it), `at` Unix seconds. IntegrityError: `known` is not what this witness would have kept.
    """
    try:
        submitted = parse_request(body)
        text, signatures = split_note(submitted.note)
        origin, size, _ = parse_text(text)
    except IntegrityError as error:
        return _refused(400, error.message)
    trusted = [log for log in logs if log.name == origin]
    if not trusted:
        return _refused(404, "this witness does not know that log")
    try:
        checkpoint = open_checkpoint(submitted.note, trusted)
    except IntegrityError as error:
        return _refused(403, error.message)
    if submitted.old > size:
        return _refused(400, f"old {submitted.old} is above the checkpoint's {size}")
    last = Checkpoint(origin, 0, EMPTY_ROOT, ()) if known is None else _kept(known, origin)
    if submitted.old != last.size:
        return Answer(409, b"%d\n" % last.size, SIZE)
    try:
        if size == 0 and checkpoint.root != EMPTY_ROOT:
            raise IntegrityError("a checkpoint of no leaves does not have the root of the empty tree")
        verify_consistency(last.size, size, last.root, checkpoint.root, submitted.proof)
    except IntegrityError as error:
        return _refused(422, error.message)
    line = cosigner.cosign(text, max(at, 1))
    keys = {(log.name, log.id) for log in trusted}
    signed = [each for each in signatures if (each.name, each.id) in keys]
    return Answer(200, line.encode(), remember=_note(text, signed) + line.encode())


def _kept(known: bytes, origin: str) -> Checkpoint:
    """What was kept was verified when it was; whoever can change it can take the key, too."""
    name, size, root = parse_text(split_note(known)[0])
    if name != origin:
        raise IntegrityError(f"the checkpoint kept for {origin} is one of {name}")
    return Checkpoint(origin, size, root, ())


def _note(text: str, signatures: Iterable[SignatureLine]) -> bytes:
    return text.encode() + b"\n" + b"".join([each.line + b"\n" for each in signatures])


def _refused(status: int, why: str) -> Answer:
    return Answer(status, why.encode("utf-8", "replace") + b"\n")


def conflicting_size(body: bytes) -> int:
    """The size in a 409 answer. IntegrityError."""
    match = _SIZE.fullmatch(body[:32])
    if match is None:
        raise IntegrityError("a conflict without the size that the witness knows")
    return int(match.group(1))


def parse_cosignatures(body: bytes, note: bytes, witness: CosignatureVerifier) -> Cosignature:
    """The witness's own cosignature of `note` in its answer; lines by other keys are ignored. IntegrityError when there is
    none, or it is wrong."""
    try:
        lines = body.decode().split("\n")
    except ValueError:
        lines = []
    if len(lines) < 2 or lines[-1] or len(lines) > 101:
        raise IntegrityError("the witness did not answer with signature lines")
    text = split_note(note)[0].encode()
    for line in lines[:-1]:
        found = parse_signature(line)
        if (found.name, found.id) == (witness.name, witness.id):
            return Cosignature(witness, witness.verify(text, found.signature), found.line)
    raise IntegrityError(f"the witness answered without a signature by {witness.name}")


def with_cosignatures(note: bytes, found: Iterable[Cosignature]) -> bytes:
    """The checkpoint with these cosignatures behind its own signatures."""
    return note + b"".join([each.line + b"\n" for each in found])
