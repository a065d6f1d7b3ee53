"""Gateway tokens: made by the gateway itself, for at most ten minutes, and accepted as any issuer's are.

Contract: `make` signs an RFC 9068 access token with a key of `<data>/keys` that leaves this process as a signature only;
`identity` reads one back whole, delegation chain and groups included. `sub` and each `act.sub` are an Identity's id
(`issuer|subject`): two issuers may know the same subject, and exchanging a token must not make another person of anybody.

A key signs for PERIOD and verifies for another one, so the JWK Set holds two; then its file is removed. Removing a key's
file and starting the gateway again makes every token under it worthless.
"""

from __future__ import annotations

import re
import secrets
from collections.abc import Callable, Iterable, Mapping
from typing import Any

from joserfc import jwt as joserfc_jwt
from joserfc.jwk import OKPKey

from doorward.adapters.identity.jwt import MAX_TOKEN, Key, refused
from doorward.adapters.identity.settings import IssuerSettings, is_loopback
from doorward.guard.ports import KeyFiles
from doorward.model import Assurance, Identity, Kind, assurance

PERIOD = 30 * 86400  # seconds that a key signs
_MOST_LINKS = 8


class OwnIssuer:
    """The gateway as an issuer. `url` is what its tokens name, `targets` what they may be narrowed to; `now` gives Unix
    milliseconds. Has what `IssuerKeys` has, so that its tokens take the same way through `OidcAuthenticator`."""

    def __init__(self, url: str, targets: Iterable[str], files: KeyFiles, now: Callable[[], int]) -> None:
        self.url = url
        self.trouble = ""
        self._files = files
        self._now = now
        self._keys: dict[int, OKPKey] = {}
        self._tidied = -1  # the period in which keys that nobody needs any more were removed last
        self._targets = {self.resource(name): name for name in targets}
        self.settings = IssuerSettings(
            url=url, audience=(url, *self._targets), algorithms=("Ed25519",), skew_seconds=5, development=_plain(url)
        )

    def resource(self, target: str) -> str:
        """What a token that is good for one target has as its audience (RFC 8707)."""
        return f"{self.url}/targets/{target}"

    async def find(self, key_id: str | None, algorithm: str) -> list[Key]:
        """The key of that id, if it may still have signed what is not over yet."""
        return [key for key in self._current() if key_id is not None and key.kid == key_id and algorithm == "Ed25519"]

    async def refresh(self) -> None:
        """Its keys are at hand."""

    def jwks(self) -> dict[str, Any]:
        """The JWK Set: the key that signs now, then the one before."""
        return {"keys": [{**key.as_dict(private=False), "use": "sig", "alg": "Ed25519"} for key in self._current()]}

    def make(self, identity: Identity, *, jti: str, issued: int, expires: int, more: Mapping[str, Any]) -> str:
        """See `TokenMaker`."""
        chain = identity.chain()
        act: dict[str, Any] | None = None
        for link in reversed(chain[:-1]):  # RFC 8693 section 4.1: who acts now is outermost
            act = {**_described(link), **({} if act is None else {"act": act})}
        audience = [self.resource(name) for name in identity.audience] or [self.url]
        body = {
            **more,
            "iss": self.url,
            "aud": audience if len(audience) > 1 else audience[0],
            **_described(chain[-1]),
            **({} if act is None else {"act": act}),
            "jti": jti,
            "iat": issued,
            "exp": expires,
        }
        key = self._current()[0]
        token = joserfc_jwt.encode({"alg": "Ed25519", "typ": "at+jwt", "kid": key.kid}, body, key, algorithms=["Ed25519"])
        if len(token) > MAX_TOKEN:
            raise refused(
                "what the gateway's own would have to say of you is too long", "have your issuer send fewer groups", "malformed"
            )
        return token

    def identity(self, claims: Mapping[str, Any], *, now: int, token_id: str) -> Identity:
        """Whom a verified token of ours is about. AuthenticationError for what no `make` has made."""
        try:
            return self._identity(claims, now, token_id)
        except (KeyError, TypeError, ValueError, AttributeError):
            raise refused("it is not one that this gateway makes", "get a new one", "claims") from None

    def _identity(self, claims: Mapping[str, Any], now: int, token_id: str) -> Identity:
        acting: list[Mapping[str, Any]] = []
        act = claims.get("act")
        while act is not None:
            acting.append(act)
            act = act.get("act")
            if len(acting) >= _MOST_LINKS:
                raise ValueError("too long a chain")
        links = [*acting, claims]
        level = assurance(lifetime=claims["exp"] - claims["iat"])
        listed = claims["aud"] if isinstance(claims["aud"], list) else [claims["aud"]]
        audience = () if self.url in listed else tuple(self._targets[name] for name in listed if name in self._targets)
        found: Identity | None = None
        for link in reversed(links):
            found = self._link(link, found, level, now, int(claims["exp"]) * 1000, token_id, audience)
        assert found is not None
        return found

    def _link(
        self, link: Mapping[str, Any], principal: Identity | None, level: Assurance, now: int, expires: int, token_id: str,
        audience: tuple[str, ...],
    ) -> Identity:  # fmt: skip
        issuer, bar, subject = link["sub"].partition("|")
        if not (issuer and bar and subject):
            raise ValueError("no id")
        return Identity(
            subject=subject, kind=Kind(link["kind"]), issuer=issuer, groups=frozenset(link["groups"]),
            claims=dict(link["claims"]), on_behalf_of=principal, authenticated_at=now, expires_at=expires,
            assurance=level, token_id=token_id, issued_at=int(link["said_at"]), audience=audience,
        )  # fmt: skip

    def _current(self) -> list[OKPKey]:
        period = self._now() // 1000 // PERIOD
        for number in (period, period - 1):
            if number not in self._keys:
                self._keys[number] = self._key(number)
        if len(self._keys) > 2 or period != self._tidied:
            self._keys = {number: self._keys[number] for number in (period, period - 1)}
            forget_before(self._files, "token", period - 1)
            self._tidied = period
        return list(self._keys.values())

    def _key(self, period: int) -> OKPKey:
        # The one before is made as well where there is none: nothing was signed with it, and the set always holds two.
        from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
        from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat

        seed = self._files.get_or_create(f"token-{period}.key", secrets.token_bytes(32))
        pem = Ed25519PrivateKey.from_private_bytes(seed).private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
        key = OKPKey.import_key(pem)
        key.ensure_kid()  # RFC 7638
        return key


def forget_before(files: KeyFiles, kind: str, period: int) -> None:
    """Remove the keys of a kind that signed before a period: nothing under them can still be valid."""
    for name in files.names():
        found = re.fullmatch(rf"{kind}-(\d{{1,6}})\.key", name)
        if found and int(found[1]) < period:
            files.delete(name)


def _described(link: Identity) -> dict[str, Any]:
    """`said_at`: when the issuer's token was made that said so, in Unix milliseconds."""
    return {
        "sub": link.id, "kind": link.kind.value, "groups": sorted(link.groups), "claims": dict(link.claims),
        "said_at": link.issued_at,
    }  # fmt: skip


def _plain(url: str) -> bool:
    scheme, _, rest = url.partition("://")
    return scheme == "http" and is_loopback(rest.rpartition(":")[0].strip("[]") if ":" in rest.rpartition("]")[2] else rest)
