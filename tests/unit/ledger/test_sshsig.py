"""SSH signatures: what ssh-keygen makes holds here, what we make holds there, and hostile bytes are errors of two kinds."""

from __future__ import annotations

import base64
import shutil
import subprocess
from hashlib import sha256
from pathlib import Path
from struct import pack
from typing import Any

import pytest
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.asymmetric.utils import decode_dss_signature
from hypothesis import given
from hypothesis import strategies as st

from doorward.errors import IntegrityError, ProtocolError
from doorward.ledger import sshsig
from tests.rig.signers import ssh

NAMESPACE = "doorward-approval@doorward"
MESSAGE = b'{"decision":"approve"}'
keygen = pytest.mark.skipif(shutil.which("ssh-keygen") is None, reason="OpenSSH is not installed here")


def string(octets: bytes) -> bytes:
    return pack(">I", len(octets)) + octets


def armored(octets: bytes) -> str:
    text = base64.b64encode(octets).decode()
    lines = [text[at : at + 70] for at in range(0, len(text), 70)]
    return "\n".join(("-----BEGIN SSH SIGNATURE-----", *lines, "-----END SSH SIGNATURE-----", ""))


def run(*arguments: str | Path, message: bytes = b"") -> subprocess.CompletedProcess[bytes]:
    return subprocess.run(["ssh-keygen", *map(str, arguments)], input=message, capture_output=True, check=False, timeout=30)


@keygen
@pytest.mark.parametrize("kind", [("ed25519",), ("ecdsa", 256), ("ecdsa", 384), ("ecdsa", 521), ("rsa", 2048)])
@pytest.mark.parametrize("hash_", ["sha512", "sha256"])
def test_what_ssh_keygen_signs_holds(tmp_path: Path, kind: tuple[Any, ...], hash_: str) -> None:
    """Of every plain algorithm and both hashes; not for another message, namespace or key."""
    bits = ("-b", str(kind[1])) if len(kind) > 1 else ()
    assert run("-q", "-t", kind[0], *bits, "-N", "", "-f", tmp_path / "key").returncode == 0
    done = run("-Y", "sign", "-O", f"hashalg={hash_}", "-n", NAMESPACE, "-f", tmp_path / "key", message=MESSAGE)
    signature = done.stdout.decode()
    key = sshsig.public_key((tmp_path / "key.pub").read_text().strip())
    assert sshsig.verify(signature, MESSAGE, NAMESPACE) == (key, 0, 0)
    assert run("-l", "-f", tmp_path / "key.pub").stdout.decode().split()[1] == key.fingerprint
    for message, namespace in ((MESSAGE + b" ", NAMESPACE), (MESSAGE, "doorward-approval@other"), (MESSAGE, "file")):
        with pytest.raises(IntegrityError):
            sshsig.verify(signature, message, namespace)


@keygen
def test_what_we_sign_holds_for_ssh_keygen(tmp_path: Path) -> None:
    """`ssh-keygen -Y verify` takes it for the right message and namespace, and for no other."""
    signer = ssh("dana")
    (tmp_path / "allowed").write_text(f'dana namespaces="{NAMESPACE}" {signer.public.line}\n')
    (tmp_path / "sig").write_text(signer.sign(MESSAGE, NAMESPACE))
    check = ("-Y", "verify", "-f", tmp_path / "allowed", "-I", "dana", "-s", tmp_path / "sig", "-n")
    assert run(*check, NAMESPACE, message=MESSAGE).returncode == 0
    assert run(*check, NAMESPACE, message=MESSAGE + b" ").returncode != 0
    assert run(*check, "doorward-approval@other", message=MESSAGE).returncode != 0


def security_key(kind: str, flags: int = 1, *, application: bytes = b"ssh:", message: bytes = MESSAGE) -> tuple[bytes, str]:
    """The blob of a security key and what it signs (PROTOCOL.u2f), made in software."""
    payload = sshsig.signed(NAMESPACE, b"sha512", message)
    data = sha256(application).digest() + bytes([flags]) + pack(">I", 7) + sha256(payload).digest()
    if kind == "sk-ssh-ed25519@openssh.com":
        private = Ed25519PrivateKey.from_private_bytes(bytes(32))
        blob = string(kind.encode()) + string(private.public_key().public_bytes_raw()) + string(application)
        raw = private.sign(data)
    else:
        curve = ec.derive_private_key(5, ec.SECP256R1())
        numbers = curve.public_key().public_numbers()
        point = b"\x04" + numbers.x.to_bytes(32) + numbers.y.to_bytes(32)
        blob = string(kind.encode()) + string(b"nistp256") + string(point) + string(application)
        r, s = decode_dss_signature(curve.sign(data, ec.ECDSA(hashes.SHA256())))
        raw = b"".join(string(n.to_bytes(n.bit_length() // 8 + 1)) for n in (r, s))
    signature = string(kind.encode()) + string(raw) + bytes([flags]) + pack(">I", 7)
    parts = (blob, NAMESPACE.encode(), b"", b"sha512", signature)
    return blob, armored(b"SSHSIG" + pack(">I", 1) + b"".join(map(string, parts)))


@pytest.mark.parametrize("kind", sshsig.SECURITY_KEYS)
@pytest.mark.parametrize("flags", [0, 1, 5])
def test_a_security_key_says_what_its_owner_did(kind: str, flags: int) -> None:
    """Flags and counter are under the signature; a changed one is an error."""
    blob, signature = security_key(kind, flags)
    found = sshsig.verify(signature, MESSAGE, NAMESPACE)
    assert (found.key.blob, found.flags, found.counter, found.key.application) == (blob, flags, 7, "ssh:")
    octets = bytearray(base64.b64decode("".join(signature.splitlines()[1:-1])))
    octets[-5] ^= 4
    with pytest.raises(IntegrityError):
        sshsig.verify(armored(bytes(octets)), MESSAGE, NAMESPACE)


def test_a_security_key_of_something_else_is_none() -> None:
    """One made for a web site cannot vote."""
    with pytest.raises(ProtocolError):
        sshsig.verify(security_key(sshsig.SECURITY_KEYS[0], application=b"https://evil")[1], MESSAGE, NAMESPACE)


WEAK_RSA = string(b"ssh-rsa") + string(b"\1\0\1") + string(b"\0" + b"\xff" * 128)


@pytest.mark.parametrize(
    "blob",
    [
        b"", b"\0", string(b"ssh-ed25519"), string(b"ssh-ed25519") + string(bytes(31)), string(b"ssh-dss") + string(b"x"),
        string(b"ssh-ed25519-cert-v01@openssh.com") + string(bytes(32)), ssh("dana").public.blob + b"\0", WEAK_RSA,
        string(b"ecdsa-sha2-nistp256") + string(b"nistp384") + string(b"\4" + bytes(64)),
        string(b"ecdsa-sha2-nistp256") + string(b"nistp256") + string(b"\4" + bytes(64)), b"\xff\xff\xff\xff",
    ],
)  # fmt: skip
def test_what_is_no_key_is_refused(blob: bytes) -> None:
    """Other algorithms, certificates, short RSA, points off their curve, bytes missing or over."""
    with pytest.raises(ProtocolError):
        sshsig.key_of(blob)


@given(st.binary(max_size=300))
def test_hostile_bytes_are_a_protocol_error(octets: bytes) -> None:
    """As a key, as a signature, as the inside of one: nothing else is ever raised."""
    for attempt in (octets, b"SSHSIG" + pack(">I", 1) + octets):
        with pytest.raises((ProtocolError, IntegrityError)):
            sshsig.verify(armored(attempt), MESSAGE, NAMESPACE)
    with pytest.raises(ProtocolError):
        sshsig.verify(octets.decode("latin-1"), MESSAGE, NAMESPACE)
    with pytest.raises(ProtocolError):
        sshsig.key_of(string(b"ssh-ed25519") + octets[:31])
    with pytest.raises(ProtocolError):
        sshsig.public_key(octets.decode("latin-1"))


@given(st.data())
def test_no_bit_of_a_signature_is_spare(data: st.DataObject) -> None:
    """Any flipped bit of an armored signature's bytes is an error, and never another answer."""
    octets = bytearray(base64.b64decode("".join(ssh("dana").sign(MESSAGE, NAMESPACE).splitlines()[1:-1])))
    bit = data.draw(st.integers(0, len(octets) * 8 - 1))
    octets[bit // 8] ^= 1 << bit % 8
    with pytest.raises((ProtocolError, IntegrityError)):
        sshsig.verify(armored(bytes(octets)), MESSAGE, NAMESPACE)
