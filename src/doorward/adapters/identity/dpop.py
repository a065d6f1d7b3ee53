"""Demonstrating Proof of Possession over HTTP: RFC 9449.

Contract: `check` turns a hostile header into a `Proof` of one key for one request and one token, or raises AuthenticationError:
`nonce` where the client only has to say it again with the nonce that it gets, anything else is worth a record. `spend` lets
each proof through once. Nothing of a proof is believed that was not signed by its own key with an asymmetric algorithm.

Every proof carries a nonce of this process and its last two minutes, so that none can have been made long before, none is
good after a restart or at another process, and what has to be remembered is bounded by time. It is bounded in number as well,
in all and for one key; what does not fit is refused. Only proofs that came with a sound token are spent, so that a stranger
cannot fill the memory.
"""

from __future__ import annotations

import base64
import hashlib
import hmac
import json
import secrets
from collections import Counter
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Final
from urllib.parse import urlsplit

from doorward.adapters.identity import jwt
from doorward.adapters.identity.keys import public_key
from doorward.adapters.identity.settings import DEFAULT_ALGORITHMS
from doorward.errors import AuthenticationError

ALGORITHMS: Final = DEFAULT_ALGORITHMS
TYPE: Final = "dpop+jwt"
MOST_BYTES: Final = 8 << 10
SLOT: Final = 60  # seconds that one nonce is given out; it is good for one slot more
SKEW: Final = 120  # seconds that the client's clock may differ: what counts is the nonce
MOST: Final = 50_000  # proofs that are remembered
MOST_OF_ONE: Final = 5_000  # of one key
_AGAIN: Final = "make a new proof for each request"


def refused(what: str, hint: str = _AGAIN, code: str = "proof") -> AuthenticationError:
    return AuthenticationError(f"the DPoP proof was refused: {what}", hint=hint, code=code)


@dataclass(frozen=True, slots=True)
class Proof:
    """`key` is the thumbprint of the key that was shown (RFC 7638)."""

    key: str
    slot: int
    unique: bytes


@dataclass(slots=True)
class _Slot:
    """The proofs with the nonce of one slot that were let through."""

    seen: set[bytes] = field(default_factory=set)
    by_key: Counter[str] = field(default_factory=Counter)


class DpopProofs:
    """One a gateway. `origins` are the schemes and authorities that it is reached by; `now` gives Unix milliseconds."""

    def __init__(
        self,
        origins: Callable[[], Collection[str]],
        now: Callable[[], int],
        *,
        most: int = MOST,
        most_of_one: int = MOST_OF_ONE,
    ) -> None:
        self.algorithms: tuple[str, ...] = ALGORITHMS
        self._origins = origins
        self._now = now
        self._most = most
        self._most_of_one = most_of_one
        self._secret = secrets.token_bytes(32)
        self._slots: dict[int, _Slot] = {}

    def nonce(self) -> str:
        """What the next proof must carry (RFC 9449 section 8)."""
        return self._nonce(self._slot())

    def check(self, presented: Sequence[str], method: str, path: str, token: str = "") -> Proof:
        """The proof that came with a request, of whose headers `presented` are those by the name DPoP; `path` is the request's
        as it was sent, without its query. `token` is what the proof must be about. AuthenticationError."""
        if len(presented) != 1:
            raise refused("there is none" if not presented else "there is more than one")
        header, said, signing_input, signature = _parts(presented[0])
        algorithm, kind = header.get("alg"), header.get("typ")
        if not isinstance(algorithm, str) or algorithm not in ALGORITHMS:
            raise refused("its signature algorithm is not one that Doorward accepts", "sign it with ES256", "algorithm")
        if kind != TYPE:
            raise refused(f"its type is not {TYPE}")
        if any(name in header for name in jwt.REFUSED_HEADERS if name != "jwk"):
            raise refused("its header asks for more than a proof needs")
        key = public_key(header.get("jwk"))
        if key is None:
            raise refused("its 'jwk' is not one public key for signatures", "send the public half of an EC key on P-256")
        token_like = jwt.UnverifiedToken(algorithm, None, False, said, signing_input, signature)
        if not jwt.signed_by(token_like, key):
            raise refused("its signature is not its own key's")
        jti, issued = said.get("jti"), said.get("iat")
        if not isinstance(jti, str) or not 0 < len(jti) <= 256:
            raise refused("it has no 'jti'")
        if said.get("htm") != method:
            raise refused("it is for another method")
        self._is_here(said.get("htu"), path)
        now = self._now() // 1000
        if isinstance(issued, bool) or not isinstance(issued, int | float) or not now - SKEW <= issued <= now + SKEW:
            raise refused("it was not made just now", "compare the clocks of this machine and of the gateway")
        if token and said.get("ath") != _hash(token):
            raise refused("it is for another token")
        slot = self._given(said.get("nonce"))
        thumbprint = key.thumbprint()
        unique = hashlib.sha256(f"{thumbprint} {jti}".encode("utf-8", "surrogatepass")).digest()
        return Proof(thumbprint, slot, unique)

    def spend(self, proof: Proof) -> None:
        """Let it through, once. AuthenticationError, also when there is no room to remember it."""
        now = self._slot()
        self._slots = {number: slot for number, slot in self._slots.items() if number >= now - 1}
        if proof.slot < now - 1:  # its nonce has expired while its token was looked at
            raise refused("its nonce has expired", "make a new one with the nonce of this answer", "nonce")
        slot = self._slots.setdefault(proof.slot, _Slot())
        if proof.unique in slot.seen:
            raise refused("it was used before", code="replayed")
        if (
            sum(len(each.seen) for each in self._slots.values()) >= self._most
            or sum(each.by_key[proof.key] for each in self._slots.values()) >= self._most_of_one
        ):
            raise refused("too many are being sent", "try again in two minutes", "unavailable")
        slot.seen.add(proof.unique)
        slot.by_key[proof.key] += 1

    def _is_here(self, htu: object, path: str) -> None:
        """RFC 9449 section 4.3, check 9. The request's own Host header says nothing: whoever replays a proof writes it."""
        try:
            parts = urlsplit(htu) if isinstance(htu, str) and len(htu) <= 4096 else None
            if parts is not None and not parts.query and not parts.fragment and (parts.path or "/") == path:
                port = {"https": 443, "http": 80}.get(parts.scheme) if parts.port is None else parts.port
                if _origin(parts.scheme, parts.hostname or "", port) in {_normal(origin) for origin in self._origins()}:
                    return
        except ValueError:
            pass
        raise refused("it is for another address", f"reach the gateway as {min(self._origins(), key=len)}")

    def _slot(self) -> int:
        return self._now() // 1000 // SLOT

    def _nonce(self, slot: int) -> str:
        made = hmac.new(self._secret, b"dpop nonce %d" % slot, hashlib.sha256).digest()[:18]
        return base64.urlsafe_b64encode(made).decode()

    def _given(self, nonce: object) -> int:
        now = self._slot()
        for slot in (now, now - 1):
            if isinstance(nonce, str) and nonce.isascii() and hmac.compare_digest(nonce, self._nonce(slot)):
                return slot
        raise refused("it has no nonce of this gateway, or an old one", "make a new one with the nonce of this answer", "nonce")


def make(key: Any, method: str, url: str, *, issued: int, token: str = "", nonce: str = "") -> str:
    """A client's proof for one request. `key` is joserfc's and private, `issued` in Unix seconds."""
    from joserfc import jws

    parts = urlsplit(url)
    claims: dict[str, Any] = {
        "jti": secrets.token_urlsafe(16), "htm": method, "htu": f"{parts.scheme}://{parts.netloc}{parts.path or '/'}",
        "iat": issued,
    }  # fmt: skip
    claims |= {"ath": _hash(token)} if token else {}
    claims |= {"nonce": nonce} if nonce else {}
    algorithm = {"EC": "ES256", "OKP": "Ed25519", "RSA": "PS256"}[key.key_type]
    header = {"typ": TYPE, "alg": algorithm, "jwk": key.as_dict(private=False)}
    return jws.serialize_compact(header, json.dumps(claims, separators=(",", ":")), key, algorithms=[algorithm])


def _parts(proof: str) -> tuple[Mapping[str, Any], dict[str, Any], bytes, bytes]:
    """Header, claims, what was signed, and the signature."""
    match = jwt.SEGMENTS.match(proof) if len(proof) <= MOST_BYTES else None
    if match is None:
        raise refused("it is not a signed JWT")
    try:
        header = jwt.json_object(jwt.base64url_decode(match[1], ""), "header", "")
        said = jwt.json_object(jwt.base64url_decode(match[2], ""), "payload", "")
        signature = jwt.base64url_decode(match[3], "")
    except AuthenticationError as error:
        raise refused(error.message.removeprefix("the token was refused: ")) from None
    return header, said, f"{match[1]}.{match[2]}".encode("ascii"), signature


def _hash(token: str) -> str:
    return base64.urlsafe_b64encode(hashlib.sha256(token.encode()).digest()).rstrip(b"=").decode()


def _origin(scheme: str, host: str, port: int | None) -> str:
    return f"{scheme.lower()}://{host.lower()}:{port}"


def _normal(origin: str) -> str:
    parts = urlsplit(origin)
    return _origin(parts.scheme, parts.hostname or "", parts.port or {"https": 443, "http": 80}.get(parts.scheme))
