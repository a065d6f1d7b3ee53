"""SSH signatures over messages: the SSHSIG format of OpenSSH (PROTOCOL.sshsig), read, checked and composed.

What `ssh-keygen -Y sign` makes is checked here without OpenSSH, and what `compose` makes `ssh-keygen -Y verify` takes.
Keys: ssh-ed25519, ecdsa-sha2-nistp256/384/521, ssh-rsa of 2,048 bits or more with rsa-sha2-256/512 (never SHA-1), and the
security keys sk-ssh-ed25519@openssh.com and sk-ecdsa-sha2-nistp256@openssh.com, whose signature says whether somebody
touched the key (UP) and whether it knew them (UV). Certificates are refused.

Every byte may be hostile: whatever it is, the answer is a value or a ProtocolError (not well formed) or IntegrityError
(a signature that does not hold). Which keys are whose, and whether UP or UV is needed, is for the caller to say.
"""

from __future__ import annotations

from base64 import b64decode, b64encode
from collections.abc import Callable
from hashlib import sha256, sha512
from struct import Struct
from typing import Final, NamedTuple

from cryptography.exceptions import InvalidSignature, UnsupportedAlgorithm
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec, padding, rsa
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey
from cryptography.hazmat.primitives.asymmetric.utils import encode_dss_signature

from doorward.errors import IntegrityError, ProtocolError

MAGIC: Final = b"SSHSIG"
VERSION: Final = 1
PRESENT: Final = 0x01  # UP: somebody touched the security key
VERIFIED: Final = 0x04  # UV: it knew them, by PIN or finger
MAX_SIGNATURE: Final = 16 * 1024  # bytes of an armored signature
MAX_KEY: Final = 4 * 1024  # bytes of a public key's line
SECURITY_KEYS: Final = ("sk-ssh-ed25519@openssh.com", "sk-ecdsa-sha2-nistp256@openssh.com")

_U32: Final = Struct(">I")
_BEGIN: Final = "-----BEGIN SSH SIGNATURE-----"
_END: Final = "-----END SSH SIGNATURE-----"
_HASHES: Final = {b"sha256": sha256, b"sha512": sha512}
_CURVES: Final[dict[bytes, tuple[bytes, ec.EllipticCurve, hashes.HashAlgorithm]]] = {
    b"ecdsa-sha2-nistp256": (b"nistp256", ec.SECP256R1(), hashes.SHA256()),
    b"ecdsa-sha2-nistp384": (b"nistp384", ec.SECP384R1(), hashes.SHA384()),
    b"ecdsa-sha2-nistp521": (b"nistp521", ec.SECP521R1(), hashes.SHA512()),
}
_RSA: Final[dict[bytes, hashes.HashAlgorithm]] = {b"rsa-sha2-256": hashes.SHA256(), b"rsa-sha2-512": hashes.SHA512()}


class PublicKey(NamedTuple):
    """An SSH public key: its algorithm, its wire form, and the application of a security key ("" for others)."""

    algorithm: str
    blob: bytes
    application: str = ""

    @property
    def fingerprint(self) -> str:
        """As `ssh-keygen -l` shows it."""
        return "SHA256:" + b64encode(sha256(self.blob).digest()).decode().rstrip("=")

    @property
    def line(self) -> str:
        """As a `.pub` file has it, without a comment."""
        return f"{self.algorithm} {b64encode(self.blob).decode()}"


class Signature(NamedTuple):
    """An SSHSIG, taken apart; nothing is checked yet."""

    key: PublicKey
    namespace: str
    hash: bytes
    signature: bytes


class Verified(NamedTuple):
    """What a signature that holds says: by which key, and of a security key its flags (0 for others) and counter."""

    key: PublicKey
    flags: int = 0
    counter: int = 0


class _Reader:
    """RFC 4251, section 5: strings with a length before them."""

    def __init__(self, octets: bytes) -> None:
        self._octets = octets
        self._at = 0

    def take(self, count: int) -> bytes:
        end = self._at + count
        if end > len(self._octets):
            raise ProtocolError("an SSH key or signature that ends too early")
        taken = self._octets[self._at : end]
        self._at = end
        return taken

    def number(self) -> int:
        value: int = _U32.unpack(self.take(4))[0]
        return value

    def string(self) -> bytes:
        return self.take(self.number())

    def positive(self) -> int:
        """A multiple-precision integer, shortest form, not negative."""
        octets = self.string()
        if octets[:1] >= b"\x80" or (octets[:1] == b"\0" and octets[1:2] < b"\x80"):
            raise ProtocolError("an SSH key or signature with a number in another than its shortest form")
        return int.from_bytes(octets)

    def end(self) -> None:
        if self._at != len(self._octets):
            raise ProtocolError("an SSH key or signature with bytes behind its end")


def _string(octets: bytes) -> bytes:
    return _U32.pack(len(octets)) + octets


def public_key(line: str) -> PublicKey:
    """The key of a `.pub` file's line, with or without its comment. ProtocolError if it is none that may sign."""
    words = line.split()
    if len(line) > MAX_KEY or len(words) < 2 or not line.isprintable():
        raise ProtocolError("not an SSH public key", hint="give the line of a .pub file")
    found = key_of(_unbase64(words[1]))
    if found.algorithm != words[0]:
        raise ProtocolError("the SSH public key's name and bytes differ")
    return found


def key_of(blob: bytes) -> PublicKey:
    """The key of its wire form. ProtocolError if it is malformed, too weak, or of an algorithm not accepted."""
    _, name, application = _load(blob)
    return PublicKey(name, blob, application)


def _load(blob: bytes) -> tuple[Ed25519PublicKey | ec.EllipticCurvePublicKey | rsa.RSAPublicKey, str, str]:
    reader = _Reader(blob)
    name = reader.string()
    key: Ed25519PublicKey | ec.EllipticCurvePublicKey | rsa.RSAPublicKey
    application = ""
    try:
        if name in (b"ssh-ed25519", b"sk-ssh-ed25519@openssh.com"):
            key = Ed25519PublicKey.from_public_bytes(reader.string())
        elif name in _CURVES or name == b"sk-ecdsa-sha2-nistp256@openssh.com":
            curve_name, curve, _ = _CURVES[name if name in _CURVES else b"ecdsa-sha2-nistp256"]
            if reader.string() != curve_name:
                raise ProtocolError("an SSH key whose name and curve differ")
            point = reader.string()
            if point[:1] != b"\x04":
                raise ProtocolError("an SSH key whose point is not in its long form")
            key = ec.EllipticCurvePublicKey.from_encoded_point(curve, point)
        elif name == b"ssh-rsa":
            exponent, modulus = reader.positive(), reader.positive()
            if not 2048 <= modulus.bit_length() <= 16384:
                raise ProtocolError("an RSA key of less than 2,048 bits, or of more than 16,384")
            key = rsa.RSAPublicNumbers(exponent, modulus).public_key()
        else:
            raise ProtocolError(
                "an SSH key of an algorithm that is not accepted",
                hint="use ssh-ed25519, ecdsa, rsa, or better a security key: ssh-keygen -t ed25519-sk",
            )
        if name.startswith(b"sk-"):
            application = reader.string().decode()
            if not application.startswith("ssh:"):
                raise ProtocolError("a security key that was made for something else than SSH")
    except (ValueError, UnsupportedAlgorithm):
        raise ProtocolError("an SSH key that is none") from None
    reader.end()
    return key, name.decode(), application


def parse(armored: str) -> Signature:
    """A signature as `ssh-keygen -Y sign` writes it. ProtocolError if it is anything else."""
    lines = armored.strip().splitlines()
    if len(armored) > MAX_SIGNATURE or len(lines) < 3 or lines[0] != _BEGIN or lines[-1] != _END:
        raise ProtocolError("not an SSH signature", hint="send what `ssh-keygen -Y sign` wrote, whole")
    reader = _Reader(_unbase64("".join(lines[1:-1])))
    if reader.take(len(MAGIC)) != MAGIC or reader.number() != VERSION:
        raise ProtocolError("not an SSH signature of version 1")
    key = key_of(reader.string())
    namespace, reserved, hash_, signature = reader.string(), reader.string(), reader.string(), reader.string()
    reader.end()
    if not namespace or reserved or hash_ not in _HASHES:
        raise ProtocolError("an SSH signature without a namespace, with more than we know, or of another hash")
    try:
        return Signature(key, namespace.decode(), hash_, signature)
    except UnicodeDecodeError:
        raise ProtocolError("an SSH signature whose namespace is not text") from None


def signed(namespace: str, hash_: bytes, message: bytes) -> bytes:
    """The bytes that the key signs (PROTOCOL.sshsig, section 3)."""
    return MAGIC + b"".join(map(_string, (namespace.encode(), b"", hash_, _HASHES[hash_](message).digest())))


def verify(armored: str, message: bytes, namespace: str) -> Verified:
    """Who signed `message` in `namespace`. ProtocolError: not a signature. IntegrityError: it does not hold."""
    found = parse(armored)
    if found.namespace != namespace:
        raise IntegrityError("the signature was made for another purpose or another gateway: its namespace differs")
    key, name, application = _load(found.key.blob)
    reader = _Reader(found.signature)
    algorithm, signature = reader.string(), reader.string()
    payload = signed(namespace, found.hash, message)
    flags = counter = 0
    if application:
        flags, counter = reader.take(1)[0], reader.number()
        # PROTOCOL.u2f: what a security key signs is not the message but what the browser's would, without a challenge.
        payload = (
            sha256(application.encode()).digest() + bytes([flags]) + _U32.pack(counter) + sha256(payload).digest()
        )
    reader.end()
    try:
        if isinstance(key, rsa.RSAPublicKey):
            hash_ = _RSA.get(algorithm)
            if hash_ is None:
                raise ProtocolError("an RSA signature with another hash than SHA-256 or SHA-512")
            if len(signature) != (key.key_size + 7) // 8:
                raise ProtocolError("an RSA signature of another length than its key")
            key.verify(signature, payload, padding.PKCS1v15(), hash_)
        elif algorithm != name.encode():
            raise ProtocolError("a signature of another algorithm than its key")
        elif isinstance(key, Ed25519PublicKey):
            key.verify(signature, payload)
        else:
            numbers = _Reader(signature)
            r, s = numbers.positive(), numbers.positive()
            numbers.end()
            curve_hash = _CURVES.get(algorithm, _CURVES[b"ecdsa-sha2-nistp256"])[2]
            key.verify(encode_dss_signature(r, s), payload, ec.ECDSA(curve_hash))
    except (InvalidSignature, ValueError):
        raise IntegrityError("the SSH signature does not hold: something else was signed, or by another key") from None
    return Verified(found.key, flags, counter)


def compose(key: PublicKey, namespace: str, message: bytes, sign: Callable[[bytes], bytes]) -> str:
    """The armored signature of a plain ssh-ed25519 key, for where there is no OpenSSH. `sign` signs with Ed25519."""
    if key.algorithm != "ssh-ed25519":
        raise ValueError(key.algorithm)
    signature = _string(b"ssh-ed25519") + _string(sign(signed(namespace, b"sha512", message)))
    parts = (key.blob, namespace.encode(), b"", b"sha512", signature)
    text = b64encode(MAGIC + _U32.pack(VERSION) + b"".join(map(_string, parts))).decode()
    return "\n".join((_BEGIN, *(text[at : at + 70] for at in range(0, len(text), 70)), _END, ""))


def ed25519(public: bytes) -> PublicKey:
    """The SSH public key of 32 bytes of an Ed25519 public key."""
    return key_of(_string(b"ssh-ed25519") + _string(public))


def _unbase64(text: str) -> bytes:
    try:
        return b64decode(text, validate=True)
    except ValueError:
        raise ProtocolError("an SSH key or signature that is not base64") from None
