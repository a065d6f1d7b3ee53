"""WebAuthn assertions checked offline: bytes in, yes or an error out (Web Authentication Level 3, section 7.2).

What an authenticator signs is `authenticatorData || SHA-256(clientDataJSON)`; the client data names the challenge and the
origin. Public keys are COSE keys (RFC 9052, section 7): ES256 on P-256, EdDSA on Ed25519, RS256. The counter of signatures
is a matter for whoever sees votes in time, and not checked here. Attestation is checked once, at registration, elsewhere.

Every byte may be hostile: ProtocolError (not well formed) or IntegrityError (does not hold), nothing else.
"""

from __future__ import annotations

import json
from base64 import urlsafe_b64decode, urlsafe_b64encode
from collections.abc import Collection, Mapping
from hashlib import sha256
from typing import Any, Final, NamedTuple

import cbor2
from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec, padding, rsa
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey

from doorward.errors import IntegrityError, ProtocolError

PRESENT: Final = 0x01  # UP
VERIFIED: Final = 0x04  # UV
ELIGIBLE: Final = 0x08  # BE: the key may be copied to other devices
BACKED_UP: Final = 0x10  # BS: it has been
MAX_COSE: Final = 4 * 1024
MAX_PART: Final = 16 * 1024
_PARTS: Final = ("authenticatorData", "clientDataJSON", "signature")

Key = Ed25519PublicKey | ec.EllipticCurvePublicKey | rsa.RSAPublicKey


class Assertion(NamedTuple):
    """What `navigator.credentials.get` gave, decoded; nothing is checked yet."""

    credential_id: bytes
    authenticator: bytes
    client: bytes
    signature: bytes


class Checked(NamedTuple):
    """What an assertion that holds says: flags and the counter of signatures."""

    flags: int
    counter: int


def base64url(octets: bytes) -> str:
    return urlsafe_b64encode(octets).decode().rstrip("=")


def unbase64url(text: object, what: str) -> bytes:
    """ProtocolError unless it is base64url without padding, spare bits zero."""
    if isinstance(text, str) and len(text) <= MAX_PART * 2:
        try:
            octets = urlsafe_b64decode(text + "=" * (-len(text) % 4))
        except ValueError:
            octets = b""
        if base64url(octets) == text:
            return octets
    raise ProtocolError(f"{what} is not base64url")


def parse(credential: object) -> Assertion:
    """A PublicKeyCredential as JSON (its `toJSON()`), of which only what is signed and by which key is used."""
    if not isinstance(credential, Mapping) or not isinstance(credential.get("response"), Mapping):
        raise ProtocolError("not a credential as the browser gives it")
    response = credential["response"]
    authenticator, client, signature = (unbase64url(response.get(name), name) for name in _PARTS)
    found = Assertion(unbase64url(credential.get("id"), "the credential's id"), authenticator, client, signature)
    if not found.credential_id or len(found.credential_id) > 1023:
        raise ProtocolError("a credential id has 1 to 1,023 bytes")
    return found


def public_key(cose: bytes) -> Key:
    """The key of a COSE_Key. ProtocolError unless it is ES256 on P-256, EdDSA on Ed25519 or RS256 of 2,048 bits or more."""
    if len(cose) > MAX_COSE:
        raise ProtocolError(f"a COSE key of more than {MAX_COSE} bytes")
    try:
        members = cbor2.loads(cose)
        if not isinstance(members, dict) or cbor2.dumps(members, canonical=False) != cose:
            raise ProtocolError("not a COSE key in its one form")
        match (members.get(1), members.get(3)):
            case (2, -7) if members.get(-1) == 1:
                x, y = _octets(members.get(-2), 32), _octets(members.get(-3), 32)
                return ec.EllipticCurvePublicKey.from_encoded_point(ec.SECP256R1(), b"\x04" + x + y)
            case (1, -8) if members.get(-1) == 6:
                return Ed25519PublicKey.from_public_bytes(_octets(members.get(-2), 32))
            case (3, -257):
                modulus, exponent = members.get(-1), members.get(-2)
                if not isinstance(modulus, bytes) or not isinstance(exponent, bytes) or len(exponent) > 8:
                    raise ProtocolError("a COSE key without its numbers")
                if not 2048 <= int.from_bytes(modulus).bit_length() <= 16384:
                    raise ProtocolError("an RSA key of less than 2,048 bits, or of more than 16,384")
                return rsa.RSAPublicNumbers(int.from_bytes(exponent), int.from_bytes(modulus)).public_key()
            case _:
                raise ProtocolError("a COSE key that is neither ES256, EdDSA nor RS256")
    except ProtocolError:
        raise
    except Exception:  # whatever a decoder makes of hostile bytes
        raise ProtocolError("a COSE key that is none") from None


def _octets(value: object, size: int) -> bytes:
    if not isinstance(value, bytes) or len(value) != size:
        raise ProtocolError("a COSE key without its numbers")
    return value


def check(
    assertion: Assertion, cose: bytes, *, challenge: bytes, rp_id: str, origins: Collection[str], verified: bool = True
) -> Checked:
    """Whether the owner of a COSE key said yes to exactly this challenge, here. ProtocolError, IntegrityError.

    `origins` are those from which pages of ours may ask. `verified`: the authenticator must have known its user (UV).
    """
    client = _client(assertion.client)
    if client.get("type") != "webauthn.get":
        raise IntegrityError("the assertion is of another ceremony")
    if client.get("challenge") != base64url(challenge):
        raise IntegrityError("the assertion is about another request: its challenge differs")
    if client.get("origin") not in origins:
        raise IntegrityError("the assertion was made on a page of another origin")
    if client.get("crossOrigin", False) is not False or "topOrigin" in client:
        raise IntegrityError("the assertion was made inside a page of another origin")
    data = assertion.authenticator
    # Section 6.1: 32 bytes of the hash, one of flags, four of the counter; behind them only extensions, which we ask none of.
    if len(data) < 37:
        raise ProtocolError("authenticator data of less than 37 bytes")
    flags, counter = data[32], int.from_bytes(data[33:37])
    if data[:32] != sha256(rp_id.encode()).digest():
        raise IntegrityError("the assertion was made for another site: the hash of its RP ID differs")
    if not flags & PRESENT or (verified and not flags & VERIFIED):
        raise IntegrityError("the authenticator did not verify its user")
    if flags & BACKED_UP and not flags & ELIGIBLE:
        raise ProtocolError("authenticator data that contradict themselves")
    payload = data + sha256(assertion.client).digest()
    key = public_key(cose)
    try:
        if isinstance(key, Ed25519PublicKey):
            key.verify(assertion.signature, payload)
        elif isinstance(key, rsa.RSAPublicKey):
            key.verify(assertion.signature, payload, padding.PKCS1v15(), hashes.SHA256())
        else:
            key.verify(assertion.signature, payload, ec.ECDSA(hashes.SHA256()))
    except (InvalidSignature, ValueError):
        raise IntegrityError("the signature does not hold: something else was signed, or by another key") from None
    return Checked(flags, counter)


def _client(octets: bytes) -> dict[str, Any]:
    try:
        client = json.loads(octets.decode(), object_pairs_hook=_members)
    except (ValueError, RecursionError):
        raise ProtocolError("client data that are not JSON") from None
    if not isinstance(client, dict):
        raise ProtocolError("client data that are no object")
    return client


def _members(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    members = dict(pairs)
    if len(members) != len(pairs):
        raise ValueError("a member name occurs twice")
    return members
