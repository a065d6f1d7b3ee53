"""Time stamps over checkpoints: RFC 3161, by authorities that the verifier names.

A stamp says that a checkpoint's note, to the byte, existed at a time. It is two files, `tsr/<size>-<n>.note` and `.tsr`, and
the leaf `log.stamped` says which: `n` is the size, `sh` the SHA-256 of the response.

Chains are checked as they were at the time of the stamp, as RFC 3161 (appendix B) has it: a certificate that has ended since
takes nothing back. Revocation is not looked at. The library is imported when a stamp is, since few commands meet one.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from hashlib import sha256
from typing import TYPE_CHECKING, Final, NamedTuple

from cryptography.x509 import Certificate, ObjectIdentifier, load_pem_x509_certificates

from doorward.errors import IntegrityError
from doorward.ledger.anchors import Anchor, Fault
from doorward.ledger.checkpoint import NoteVerifier, open_checkpoint
from doorward.ledger.trail import STAMPED as STAMPED

if TYPE_CHECKING:
    from rfc3161_client import TimeStampRequest, TimeStampResponse

FOLDER: Final = "tsr"
MAX_RESPONSE: Final = 64 * 1024
QUERY: Final = "application/timestamp-query"
NAME: Final = re.compile(r"(0|[1-9][0-9]{0,15})-(0|[1-9][0-9]{0,3})\.(tsr|note)")
_SHA256: Final = ObjectIdentifier("2.16.840.1.101.3.4.2.1")


@dataclass(frozen=True, slots=True)
class Authorities:
    """Whose stamps are believed: `roots`, and if it is not "", only under this policy (a dotted OID)."""

    roots: tuple[Certificate, ...]
    policy: str = ""


class Stamp(NamedTuple):
    """`at` is the authority's time, in Unix ms; `policy` a dotted OID; `serial` tells its stamps apart."""

    at: int
    policy: str
    serial: int


def authorities(pem: bytes, policy: str = "") -> Authorities:
    """Of a file of certificates. IntegrityError: it is none, or the policy is no OID."""
    try:
        roots = tuple(load_pem_x509_certificates(pem))
        if policy:
            ObjectIdentifier(policy)
    except ValueError as error:
        raise IntegrityError(f"not certificates (PEM), or no policy: {error}") from None
    return Authorities(roots, policy)


def ask(note: bytes) -> TimeStampRequest:
    """A request for a stamp over `note`: SHA-256, with a nonce, and with the authority's certificate. `as_bytes()` is sent."""
    from rfc3161_client import HashAlgorithm, TimestampRequestBuilder

    return TimestampRequestBuilder(data=note, hash_algorithm=HashAlgorithm.SHA256, nonce=True, cert_req=True).build()


def open_stamp(tsr: bytes, note: bytes, trusted: Authorities | None, nonce: int | None = None) -> Stamp:
    """What a response says of `note`. IntegrityError unless it is granted, over just these bytes by SHA-256, answers `nonce`
    where one is given, and its chain leads to `trusted`; without them only what it says of itself is read."""
    from rfc3161_client import VerificationError, VerifierBuilder

    response = _decode(tsr)
    try:
        info = response.tst_info
        imprint = info.message_imprint
        if imprint.hash_algorithm != _SHA256 or imprint.message != sha256(note).digest():
            raise IntegrityError("the stamp is over other bytes")
        if trusted is not None:
            policy = ObjectIdentifier(trusted.policy) if trusted.policy else None
            VerifierBuilder(policy_id=policy, nonce=nonce, roots=list(trusted.roots)).build().verify(response, imprint.message)
        return Stamp(int(info.gen_time.timestamp() * 1000), info.policy.dotted_string, info.serial_number)
    except (VerificationError, ValueError) as error:
        raise IntegrityError(f"the stamp does not hold: {error}") from None


def _decode(tsr: bytes) -> TimeStampResponse:
    from rfc3161_client import decode_timestamp_response

    if len(tsr) > MAX_RESPONSE:
        raise IntegrityError(f"a time stamp of more than {MAX_RESPONSE} bytes")
    try:
        return decode_timestamp_response(tsr)
    except ValueError as error:
        raise IntegrityError(f"not a time stamp response: {error}") from None


def stamped(
    names: Iterable[str], read: Callable[[str], bytes], verifiers: Iterable[NoteVerifier], trusted: Authorities | None,
    fault: Fault,
) -> tuple[list[Anchor], dict[bytes, int]]:
    """The stamps of a log, as anchors, and the size that each response, by its SHA-256, is over. Without `trusted` they say no
    time. Faults: one that does not hold. OSError."""
    anchors: list[Anchor] = []
    known: dict[bytes, int] = {}
    verifiers = list(verifiers)
    for name in sorted(names):
        match = NAME.fullmatch(name)
        if match is None or match.group(3) != "tsr":
            continue
        file = f"log/{FOLDER}/{name}"
        try:
            tsr = read(f"{FOLDER}/{name}")
            note = read(f"{FOLDER}/{name.removesuffix('tsr')}note")
            checkpoint = open_checkpoint(note, verifiers)
            if checkpoint.size != int(match.group(1)):
                raise IntegrityError(f"it is over {checkpoint.size} leaves")
            stamp = open_stamp(tsr, note, trusted)
        except IntegrityError as error:
            fault(file, error.spot, "a time stamp over a checkpoint of this log", error.message)
            continue
        except FileNotFoundError:
            fault(file, "", "the note that it is over, beside it", "no such file")
            continue
        at = stamp.at if trusted is not None else 0
        anchors.append(Anchor(file, checkpoint, at, at))
        known[sha256(tsr).digest()] = checkpoint.size
    return anchors, known
