"""SCRAM-SHA-256 and SCRAM-SHA-256-PLUS, client side: how the gateway proves to a target that it knows a password.

Contract. `ScramClient` is fed the server's three answers in order and gives the client's messages. It trusts nothing:
the nonce must extend ours, the iteration count is bounded both ways, and `finish` returns only when the server has
proved that it knows the password too. Whatever does not fit raises `ProtocolError`. The nonce and the channel binding
are passed in; deriving the key is a method of its own, `derive`, because it takes as long as the server says.

Not here: the server side (the gateway's clients present tokens), user names (PostgreSQL takes that of the start-up
message), authorisation identities. Sources: RFC 5802, RFC 7677, RFC 5929 section 4 (tls-server-end-point), RFC 4013.
"""

from __future__ import annotations

import base64
import binascii
import hashlib
import hmac
import stringprep
import unicodedata
from typing import Final

from doorward.errors import ProtocolError

SCRAM_SHA_256: Final = "SCRAM-SHA-256"
SCRAM_SHA_256_PLUS: Final = "SCRAM-SHA-256-PLUS"

# RFC 7677 section 4: at least 4096. A server that asks for less would learn something that is cheap to attack offline.
MIN_ITERATIONS: Final = 4096
# 0.3 s of one core. A hostile server that asks for 10^9 would otherwise keep a core busy for minutes.
MAX_ITERATIONS: Final = 1_000_000
MAX_MESSAGE: Final = 4096

_PROHIBITED: Final = (
    stringprep.in_table_c12,
    stringprep.in_table_c21_c22,
    stringprep.in_table_c3,
    stringprep.in_table_c4,
    stringprep.in_table_c5,
    stringprep.in_table_c6,
    stringprep.in_table_c7,
    stringprep.in_table_c8,
    stringprep.in_table_c9,
)


def prepare(password: bytes) -> bytes:
    """The password as PostgreSQL hashes it: by SASLprep (RFC 4013), or as it is where SASLprep does not apply.

    PostgreSQL does not refuse a password that is not UTF-8, or that SASLprep forbids: it uses the raw bytes, and so
    must a client. Pure ASCII, control characters included, is used as it is.
    """
    if password.isascii():
        return password
    try:
        text = password.decode()
    except UnicodeDecodeError:
        return password
    mapped = "".join(
        " " if stringprep.in_table_c12(char) else char for char in text if not stringprep.in_table_b1(char)
    )
    normal = unicodedata.normalize("NFKC", mapped)
    if not normal:
        return password
    for char in normal:
        if stringprep.in_table_a1(char) or any(prohibited(char) for prohibited in _PROHIBITED):
            return password
    if any(stringprep.in_table_d1(char) for char in normal):
        # RFC 3454 section 6: right-to-left text holds no left-to-right letter, and both begins and ends right-to-left.
        if any(stringprep.in_table_d2(char) for char in normal):
            return password
        if not (stringprep.in_table_d1(normal[0]) and stringprep.in_table_d1(normal[-1])):
            return password
    return normal.encode()


def choose(offered: tuple[str, ...], channel_binding: bytes | None) -> str:
    """The mechanism to use of those offered: -PLUS wherever it can be. Raises ProtocolError when there is none."""
    if channel_binding is not None and SCRAM_SHA_256_PLUS in offered:
        return SCRAM_SHA_256_PLUS
    if SCRAM_SHA_256 in offered:
        return SCRAM_SHA_256
    raise ProtocolError("the server offers no SASL mechanism that the gateway can use")


class ScramClient:
    """One exchange: `first`, then `challenge` with the server's first answer, `derive`, `final`, and `finish`.

    `nonce` is printable ASCII without a comma, of at least 18 random bytes' worth. `channel_binding` is the
    tls-server-end-point hash of the server's certificate, None without TLS or when the certificate has none. `user` is
    empty for PostgreSQL, which takes the name from the start-up message.
    """

    __slots__ = (
        "_auth_message",
        "_binding",
        "_bound",
        "_client_first_bare",
        "_gs2",
        "_iterations",
        "_nonce",
        "_password",
        "_salt",
        "_salted",
        "mechanism",
    )

    def __init__(
        self, mechanism: str, password: bytes, nonce: str, channel_binding: bytes | None, *, user: str = ""
    ) -> None:
        self.mechanism = mechanism
        self._password = password
        self._nonce = nonce.encode("ascii")
        if not self._nonce or b"," in self._nonce:
            raise ValueError("a nonce is printable ASCII without a comma")
        if mechanism == SCRAM_SHA_256_PLUS:
            if channel_binding is None:
                raise ValueError("SCRAM-SHA-256-PLUS needs a channel binding")
            self._gs2, self._binding = b"p=tls-server-end-point,,", channel_binding
        elif channel_binding is not None:
            # "y": we could have bound the channel, but saw no -PLUS offered. If the server did offer it, somebody in
            # between took it out, and the server, which sees this signed, refuses (RFC 5802 section 6).
            self._gs2, self._binding = b"y,,", b""
        else:
            self._gs2, self._binding = b"n,,", b""
        self._client_first_bare = b"n=" + user.encode() + b",r=" + self._nonce
        self._auth_message = b""
        self._bound = b""
        self._salt = b""
        self._iterations = 0
        self._salted = b""

    def first(self) -> bytes:
        """The client's first message."""
        return self._gs2 + self._client_first_bare

    def challenge(self, message: bytes) -> None:
        """Takes the server's first message: nonce, salt, iteration count."""
        nonce, salt, count = _attributes(message, b"r", b"s", b"i")
        if not nonce.startswith(self._nonce) or len(nonce) == len(self._nonce):
            raise ProtocolError("SCRAM: the server's nonce does not extend ours")
        if any(not 0x21 <= byte <= 0x7E for byte in nonce):
            raise ProtocolError("SCRAM: the server's nonce is not printable")
        if not count.isdigit() or len(count) > 10 or count.startswith(b"0"):
            raise ProtocolError("SCRAM: the iteration count is not a number")
        self._iterations = int(count)
        if not MIN_ITERATIONS <= self._iterations <= MAX_ITERATIONS:
            raise ProtocolError(
                f"SCRAM: the server asks for {self._iterations} iterations; "
                f"{MIN_ITERATIONS} to {MAX_ITERATIONS} are accepted"
            )
        self._salt = _base64(salt)
        if not self._salt:
            raise ProtocolError("SCRAM: the salt is empty")
        self._bound = b"c=" + base64.b64encode(self._gs2 + self._binding) + b",r=" + nonce
        self._auth_message = b",".join((self._client_first_bare, message, self._bound))

    def derive(self) -> None:
        """The slow step: PBKDF2 with the server's iteration count. Releases the GIL; may run in a thread."""
        self._salted = hashlib.pbkdf2_hmac("sha256", prepare(self._password), self._salt, self._iterations)
        self._password = b""

    @property
    def derived(self) -> bool:
        """Whether `derive` has run."""
        return bool(self._salted)

    def final(self) -> bytes:
        """The client's final message, with the proof. After `derive`."""
        if not self._salted:
            raise ValueError("derive first")
        client_key = _hmac(self._salted, b"Client Key")
        signature = _hmac(hashlib.sha256(client_key).digest(), self._auth_message)
        proof = bytes(key ^ sign for key, sign in zip(client_key, signature, strict=True))
        return self._bound + b",p=" + base64.b64encode(proof)

    def finish(self, message: bytes) -> None:
        """Takes the server's final message, and raises unless the server has proved that it knows the password."""
        if message.startswith(b"e="):
            raise ProtocolError("SCRAM: the server reports an error instead of its signature")
        (signature,) = _attributes(message, b"v")
        expected = _hmac(_hmac(self._salted, b"Server Key"), self._auth_message)
        if not self._salted or not hmac.compare_digest(_base64(signature), expected):
            raise ProtocolError("SCRAM: the server does not know the password: its signature is wrong")


def _hmac(key: bytes, message: bytes) -> bytes:
    return hmac.digest(key, message, "sha256")


def _attributes(message: bytes, *names: bytes) -> tuple[bytes, ...]:
    """The values of exactly these attributes in exactly this order. Extensions are not understood, so refused."""
    if len(message) > MAX_MESSAGE:
        raise ProtocolError("SCRAM: a message is too long")
    parts = message.split(b",")
    if len(parts) != len(names):
        raise ProtocolError("SCRAM: a message does not have the attributes it must have")
    values = []
    for name, part in zip(names, parts, strict=True):
        if part[:2] != name + b"=":
            raise ProtocolError("SCRAM: a message does not have the attributes it must have")
        values.append(part[2:])
    return tuple(values)


def _base64(text: bytes) -> bytes:
    try:
        return base64.b64decode(text, validate=True)
    except (binascii.Error, ValueError):
        raise ProtocolError("SCRAM: a value is not base64") from None
