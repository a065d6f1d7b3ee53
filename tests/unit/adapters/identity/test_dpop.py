"""DPoP proofs: one request, one token, one key, once."""

from __future__ import annotations

import base64
import hashlib
import json
from typing import Any

import pytest
from joserfc.jwk import ECKey, Key, OctKey, OKPKey
from joserfc.jws import JWSRegistry

from doorward.adapters.identity import dpop
from doorward.adapters.identity.dpop import SLOT, DpopProofs, Proof
from doorward.errors import AuthenticationError
from tests.rig.issuer import b64, ec_key, rsa_key

NOW = 1_800_000_000
HERE = "https://door.test/api/whoami"
KEY = ec_key()
TOKEN = "header.payload.signature"


class Time:
    seconds = NOW

    def now(self) -> int:
        return self.seconds * 1000


def proofs(time: Time | None = None, **bounds: int) -> DpopProofs:
    return DpopProofs(lambda: ["https://door.test", "http://127.0.0.1:7480"], (time or Time()).now, **bounds)


def made(
    door: DpopProofs, header: dict[str, Any] | None = None, *, key: Key = KEY, at: int = NOW, **changes: Any
) -> str:
    """A sound proof but for the changes; a change to None takes a member away."""
    algorithm = {"RSA": "RS256", "EC": "ES256", "OKP": "Ed25519", "oct": "HS256"}[key.key_type]
    full = {"typ": "dpop+jwt", "alg": algorithm, "jwk": key.as_dict(private=key.key_type == "oct"), **(header or {})}
    ath = base64.urlsafe_b64encode(hashlib.sha256(TOKEN.encode()).digest()).rstrip(b"=").decode()
    said = {"jti": "j", "htm": "GET", "htu": HERE, "iat": at, "ath": ath, "nonce": door.nonce(), **changes}
    full, said = ({name: value for name, value in each.items() if value is not None} for each in (full, said))
    signed = f"{b64(full)}.{b64(said)}"
    signer = JWSRegistry.algorithms["ES384" if full.get("alg") == "ES384" else algorithm]
    return f"{signed}.{b64(signer.sign(signed.encode(), key))}"


def checked(door: DpopProofs, *presented: str, method: str = "GET", path: str = "/api/whoami", token: str = TOKEN) -> Proof:
    return door.check(presented, method, path, token)


def refused(door: DpopProofs, *presented: str, **how: str) -> str:
    with pytest.raises(AuthenticationError) as caught:
        checked(door, *presented, **how)
    assert caught.value.hint
    return caught.value.code


@pytest.mark.parametrize("key", [KEY, ECKey.generate_key("P-384"), OKPKey.generate_key("Ed25519"), rsa_key()])
def test_a_proof_shows_its_key(key: Key) -> None:
    """By its thumbprint, whatever else the key says of itself."""
    door = proofs()
    header = {"alg": "ES384"} if getattr(key, "curve_name", "") == "P-384" else None
    assert checked(door, made(door, header, key=key)).key == key.thumbprint()


@pytest.mark.parametrize("key", [KEY, OKPKey.generate_key("Ed25519"), rsa_key()])
def test_what_clients_make_is_sound(key: Any) -> None:
    """`make` is what the commands send."""
    door = proofs()
    proof = dpop.make(key, "GET", HERE + "?a=b", issued=NOW, token=TOKEN, nonce=door.nonce())
    assert checked(door, proof).key == key.thumbprint()
    exchange = dpop.make(key, "POST", "https://door.test/oauth/token", issued=NOW, nonce=door.nonce())
    assert door.check([exchange], "POST", "/oauth/token").key == key.thumbprint()


@pytest.mark.parametrize(
    ("header", "changes", "code"),
    [
        ({"alg": "none"}, {}, "algorithm"),
        ({"alg": "HS256"}, {}, "algorithm"),
        ({"alg": None}, {}, "algorithm"),
        ({"alg": ["ES256"]}, {}, "algorithm"),
        ({"alg": "PS256"}, {}, "proof"),
        ({"typ": "JWT"}, {}, "proof"),
        ({"typ": None}, {}, "proof"),
        ({"jwk": None}, {}, "proof"),
        ({"jwk": "https://evil.test/jwk"}, {}, "proof"),
        ({"jwk": KEY.as_dict(private=True)}, {}, "proof"),
        ({"jwk": ec_key().as_dict(private=False)}, {}, "proof"),
        ({"jwk": OctKey.generate_key(256).as_dict(private=True)}, {}, "proof"),
        ({"jwk": {**KEY.as_dict(private=False), "y": b64(b"1" * 32)}}, {}, "proof"),
        ({"jwk": {"kty": "RSA", "n": b64(b"\xc1" * 128), "e": "AQAB"}, "alg": "RS256"}, {}, "proof"),
        ({"crit": ["b64"], "b64": False}, {}, "proof"),
        ({"jku": "https://evil.test"}, {}, "proof"),
        ({}, {"jti": None}, "proof"),
        ({}, {"jti": ""}, "proof"),
        ({}, {"jti": "x" * 257}, "proof"),
        ({}, {"jti": 7}, "proof"),
        ({}, {"htm": "POST"}, "proof"),
        ({}, {"htm": None}, "proof"),
        ({}, {"htu": "https://door.test/api/sessions"}, "proof"),
        ({}, {"htu": "https://other.test/api/whoami"}, "proof"),
        ({}, {"htu": "http://door.test/api/whoami"}, "proof"),
        ({}, {"htu": "https://door.test:444/api/whoami"}, "proof"),
        ({}, {"htu": HERE + "?x"}, "proof"),
        ({}, {"htu": HERE + "#x"}, "proof"),
        ({}, {"htu": "/api/whoami"}, "proof"),
        ({}, {"htu": "https://[door/api/whoami"}, "proof"),
        ({}, {"htu": ["x"]}, "proof"),
        ({}, {"iat": NOW - 121}, "proof"),
        ({}, {"iat": NOW + 121}, "proof"),
        ({}, {"iat": True}, "proof"),
        ({}, {"iat": 10**400}, "proof"),
        ({}, {"iat": None}, "proof"),
        ({}, {"ath": None}, "proof"),
        ({}, {"ath": b64(hashlib.sha256(b"another").digest())}, "proof"),
        ({}, {"nonce": None}, "nonce"),
        ({}, {"nonce": "guessed"}, "nonce"),
        ({}, {"nonce": "\u00e9"}, "nonce"),
        ({}, {"nonce": 5}, "nonce"),
    ],
)
def test_what_is_no_proof(header: dict[str, Any], changes: dict[str, Any], code: str) -> None:
    """Each change to a sound proof refuses it."""
    door = proofs()
    assert refused(door, made(door, header, **changes)) == code


def test_what_is_signed_by_another_key_or_by_none() -> None:
    """HMAC with the public key as its secret among them; a changed payload; no signature; more than one proof, or none."""
    door = proofs()
    sound = made(door)
    head, body, signature = sound.split(".")
    secret = OctKey.import_key(json.dumps(KEY.as_dict(private=False)).encode())
    assert refused(door, made(door, {"jwk": KEY.as_dict(private=False)}, key=secret)) == "algorithm"
    assert refused(door, f"{head}.{made(door, jti='other').split('.')[1]}.{signature}") == "proof"
    assert refused(door, f"{head}.{body}.") == "proof"
    assert refused(door, f"{head}.{body}.{signature}=") == "proof"
    assert refused(door, sound, sound) == "proof"
    assert refused(door) == "proof"
    assert refused(door, made(door, pad="x" * 9000)) == "proof"


@pytest.mark.parametrize("where", ["http://127.0.0.1:7480/api/whoami", "HTTPS://DOOR.test:443/api/whoami"])
def test_every_address_of_the_gateway_is_its_own(where: str) -> None:
    """As it is spelled by a client; never one that only the request's Host header names."""
    door = proofs()
    assert checked(door, made(door, htu=where))
    assert refused(door, made(door), path="/api/sessions") == "proof"
    assert refused(door, made(door), method="POST") == "proof"
    assert refused(door, made(door), token="another") == "proof"


def test_a_proof_is_let_through_once() -> None:
    """Another one of the same key is, and another key's of the same id."""
    door = proofs()
    door.spend(checked(door, made(door)))
    with pytest.raises(AuthenticationError, match="used before") as caught:
        door.spend(checked(door, made(door)))
    assert caught.value.code == "replayed"
    door.spend(checked(door, made(door, jti="k")))
    door.spend(checked(door, made(door, key=ec_key())))


def test_a_nonce_is_good_for_two_minutes_at_its_own_gateway() -> None:
    """And what was used with it is remembered for as long; not after a restart, nor at another process."""
    time = Time()
    door = proofs(time)
    time.seconds = NOW // SLOT * SLOT
    sound = made(door, at=time.seconds)
    proof = checked(door, sound)
    door.spend(proof)
    time.seconds += 2 * SLOT - 1
    with pytest.raises(AuthenticationError, match="used before"):
        door.spend(checked(door, sound))
    time.seconds += 1
    assert refused(door, sound) == "nonce"
    with pytest.raises(AuthenticationError, match="expired"):  # its token was looked at for that long
        door.spend(proof)
    assert not door._slots
    assert refused(proofs(time), made(door, at=time.seconds)) == "nonce"


def test_what_cannot_be_remembered_is_refused() -> None:
    """One key cannot keep others out; all together are bounded; and room comes back."""
    time = Time()
    time.seconds = NOW // SLOT * SLOT
    door = proofs(time, most=5, most_of_one=3)
    other, third = ec_key(), ec_key()

    def spend(jti: str, key: Key = KEY) -> str:
        try:
            door.spend(checked(door, made(door, jti=jti, key=key, at=time.seconds)))
        except AuthenticationError as error:
            return error.code
        return ""

    assert [spend(str(n)) for n in range(4)] == ["", "", "", "unavailable"]
    assert [spend(str(n), other) for n in range(3)] == ["", "", "unavailable"]
    assert spend("0", third) == "unavailable"
    assert spend("0") == "replayed"  # what is remembered stays so
    time.seconds += 2 * SLOT
    assert spend("0", third) == ""
