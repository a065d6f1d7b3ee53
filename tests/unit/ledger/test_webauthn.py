"""WebAuthn assertions, offline: the right one holds, every other one does not, and hostile bytes are errors of two kinds."""

from __future__ import annotations

import json
from hashlib import sha256
from typing import Any

import cbor2
import pytest
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec, padding, rsa
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from hypothesis import given
from hypothesis import strategies as st
from webauthn import verify_authentication_response

from doorward.errors import IntegrityError, ProtocolError
from doorward.ledger import webauthn
from tests.rig.signers import Authenticator, b64

CHALLENGE = sha256(b"what is approved").digest()
KEY = Authenticator("dana", rp_id="door.example", origin="https://door.example")
ORIGINS = ("https://door.example",)


def check(credential: object, cose: bytes = KEY.cose, **changes: Any) -> webauthn.Checked:
    said = {"challenge": CHALLENGE, "rp_id": "door.example", "origins": ORIGINS, **changes}
    return webauthn.check(webauthn.parse(credential), cose, **said)


def test_an_assertion_that_holds_holds_for_the_library_too() -> None:
    """The same bytes, by our checks and by an independent implementation."""
    credential = KEY.assertion(CHALLENGE)
    assert check(credential) == (0x05, 7)
    verify_authentication_response(
        credential={**credential, "rawId": credential["id"]}, expected_challenge=CHALLENGE, expected_rp_id="door.example",
        expected_origin=ORIGINS[0], credential_public_key=KEY.cose, credential_current_sign_count=0,
        require_user_verification=True,
    )  # fmt: skip


@pytest.mark.parametrize(
    "changes",
    [
        {"flags": 0x04}, {"flags": 0x01}, {"flags": 0}, {"flags": 0x15}, {"rp_id": "evil.example"}, {"kind": "webauthn.create"},
        {"origin": "https://evil.example"}, {"origin": "https://door.example."}, {"origin": None}, {"crossOrigin": True},
        {"crossOrigin": "false"}, {"topOrigin": "https://door.example"}, {"challenge": b64(CHALLENGE[::-1])},
        {"challenge": b64(CHALLENGE) + "="}, {"type": None},
    ],
)  # fmt: skip
def test_an_assertion_about_something_else_does_not_hold(changes: dict[str, Any]) -> None:
    """Rightly signed each: without touch or without verification, of another site, page, ceremony or request."""
    with pytest.raises((IntegrityError, ProtocolError)):
        check(KEY.assertion(CHALLENGE, **changes))


def test_what_is_asked_decides() -> None:
    """Another challenge, RP ID, origin or key than the caller expects."""
    credential = KEY.assertion(CHALLENGE)
    for changes in ({"challenge": bytes(32)}, {"rp_id": "example"}, {"origins": ("https://x.example",)}):
        with pytest.raises(IntegrityError):
            check(credential, **changes)
    with pytest.raises(IntegrityError):
        check(credential, Authenticator("eve").cose)


def signed(private: Any, cose: bytes) -> webauthn.Checked:
    client = KEY.client("webauthn.get", CHALLENGE)
    data = sha256(b"door.example").digest() + b"\x05" + bytes(4)
    payload = data + sha256(client).digest()
    if isinstance(private, Ed25519PrivateKey):
        signature = private.sign(payload)
    elif isinstance(private, rsa.RSAPrivateKey):
        signature = private.sign(payload, padding.PKCS1v15(), hashes.SHA256())
    else:
        signature = private.sign(payload, ec.ECDSA(hashes.SHA256()))
    parts = {"authenticatorData": b64(data), "clientDataJSON": b64(client), "signature": b64(signature)}
    return check({"id": "AA", "response": parts}, cose)


def test_the_three_algorithms() -> None:
    """ES256, EdDSA, RS256; each only with a key of its own kind and of enough bits."""
    okp = Ed25519PrivateKey.from_private_bytes(bytes(32))
    okp_key = cbor2.dumps({1: 1, 3: -8, -1: 6, -2: okp.public_key().public_bytes_raw()})
    assert signed(okp, okp_key).flags == 5
    big = rsa.generate_private_key(65537, 2048)
    numbers = big.public_key().public_numbers()
    rsa_key = cbor2.dumps({1: 3, 3: -257, -1: numbers.n.to_bytes(256), -2: b"\1\0\1"})
    assert signed(big, rsa_key).flags == 5
    with pytest.raises(IntegrityError):
        signed(okp, rsa_key)


@pytest.mark.parametrize(
    "cose",
    [
        b"", b"\xa0", b"\x01", cbor2.dumps({1: 2, 3: -7, -1: 2, -2: bytes(32), -3: bytes(32)}),
        cbor2.dumps({1: 2, 3: -7, -1: 1, -2: bytes(32), -3: bytes(32)}), cbor2.dumps({1: 2, 3: -35, -1: 1}),
        cbor2.dumps({1: 3, 3: -257, -1: b"\xff" * 128, -2: b"\1\0\1"}), cbor2.dumps({1: 1, 3: -8, -1: 6, -2: bytes(31)}),
        KEY.cose + b"\0", cbor2.dumps({1: 3, 3: -65535, -1: b"\xff" * 256, -2: b"\1\0\1"}), b"\xa1\x01" * 400, b"\x9f" * 3000,
    ],
)  # fmt: skip
def test_what_is_no_key_is_refused(cose: bytes) -> None:
    """Other curves and algorithms (SHA-1 among them), points off the curve, short RSA, bytes behind the end."""
    with pytest.raises(ProtocolError):
        webauthn.public_key(cose)


@given(st.binary(max_size=200))
def test_hostile_bytes_are_a_protocol_error_or_do_not_hold(octets: bytes) -> None:
    """In each place where bytes can be; nothing else is ever raised."""
    good = KEY.assertion(CHALLENGE)
    for name in ("authenticatorData", "clientDataJSON", "signature"):
        with pytest.raises((ProtocolError, IntegrityError)):
            check({**good, "response": {**good["response"], name: b64(octets)}})
    with pytest.raises(ProtocolError):
        webauthn.public_key(octets)
    with pytest.raises((ProtocolError, IntegrityError)):
        check({"id": octets.decode("latin-1"), "response": {}})


NAMES = st.sampled_from(["id", "response", "signature"])


@given(st.recursive(st.none() | st.booleans() | st.integers() | st.text(max_size=5), lambda v: st.dictionaries(NAMES, v)))
def test_hostile_json_is_a_protocol_error(value: object) -> None:
    """Whatever a caller sends as a credential."""
    with pytest.raises(ProtocolError):
        webauthn.parse(value)


def test_client_data_with_a_name_twice_are_refused() -> None:
    """Two readers could take two origins from them."""
    client = KEY.client("webauthn.get", CHALLENGE)
    double = client[:-1] + b',"origin":' + json.dumps(ORIGINS[0]).encode() + b"}"
    credential = KEY.assertion(CHALLENGE)
    with pytest.raises(ProtocolError):
        check({**credential, "response": {**credential["response"], "clientDataJSON": b64(double)}})
