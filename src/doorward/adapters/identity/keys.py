"""An issuer's public keys: found by discovery, kept, rotated.

Contract: `IssuerKeys.find` returns the keys that may have signed a token with this key id and algorithm, from the
issuer's own JWK Set and nothing else. Keys are read again when they are older than REFRESH, and at once, but at most
every PAUSE seconds, when a token names a key that is not known: nobody can make the gateway hammer its issuer. While
the issuer cannot be reached, keys that are known go on working until they are `jwks_max_age` old; unknown ones do not.

Not here: what a token says (`jwt`), and who that makes its bearer (`claims`).
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Any

from joserfc.errors import JoseError
from joserfc.jwk import ECKey, OKPKey, RSAKey, import_key

from doorward.adapters.identity.documents import Documents
from doorward.adapters.identity.jwt import Key
from doorward.adapters.identity.settings import ALGORITHMS, IssuerSettings
from doorward.errors import ConfigError, UpstreamError

REFRESH = 300.0  # seconds; how long a key that the issuer withdrew can go on working here
PAUSE = 10.0  # seconds between two attempts, successful or not
_MAX_KEYS = 64
_PRIVATE = frozenset({"d", "p", "q", "dp", "dq", "qi", "oth", "k"})


class IssuerKeys:
    """One issuer's keys. `monotonic` gives seconds that never go back."""

    def __init__(self, settings: IssuerSettings, monotonic: Callable[[], float]) -> None:
        self.settings = settings
        self.trouble = ""  # why the last attempt failed; empty when it did not
        self._documents = Documents(ca_file=settings.ca_file, development=settings.development)
        self._monotonic = monotonic
        self._keys: list[tuple[dict[str, Any], Key]] = []
        self._fetched: float | None = None
        self._tried: float | None = None
        self._reading = asyncio.Lock()

    async def find(self, key_id: str | None, algorithm: str) -> list[Key]:
        """The candidates: none when the issuer has no such key. Raises UpstreamError when there are no keys that may
        still be used and the issuer cannot be reached now."""
        if self._age() > min(REFRESH, self.settings.jwks_max_age / 2):
            # Whoever can be served from what is known does not wait for somebody else's attempt.
            if not (self._reading.locked() and self._usable() and self._fitting(key_id, algorithm)):
                await self._read()
        elif not self._fitting(key_id, algorithm):
            await self._read()
        if not self._usable():
            raise UpstreamError(
                f"the keys of issuer {self.settings.url} are not available ({self.trouble or 'not read yet'})",
                hint="check that the gateway reaches the issuer; `doorward doctor` says what it sees",
            )
        return self._fitting(key_id, algorithm)

    async def refresh(self) -> None:
        """Read the keys now, whatever was read before. Raises UpstreamError, whose hint says what to do."""
        async with self._reading:
            await self._fetch()

    def _age(self) -> float:
        return float("inf") if self._fetched is None else self._monotonic() - self._fetched

    def _usable(self) -> bool:
        return self._age() <= self.settings.jwks_max_age

    def _fitting(self, key_id: str | None, algorithm: str) -> list[Key]:
        key_type, curves = ALGORITHMS[algorithm]
        same = {"EdDSA", "Ed25519", "Ed448"} if key_type == "OKP" else {algorithm}
        fitting = [
            key
            for jwk, key in self._keys
            if (key_id is None or jwk.get("kid") == key_id)
            and key.key_type == key_type
            and (not curves or jwk.get("crv") in curves)
            and jwk.get("alg", algorithm) in same
        ]
        # Without a key id, only an issuer with one key says which (RFC 8725 section 3.1: no guessing around).
        return fitting if key_id is not None or len(fitting) == 1 else []

    async def _read(self) -> None:
        """One attempt, unless one was made just now. Failure is kept in `trouble`, not raised: old keys may do."""
        async with self._reading:
            if self._tried is not None and self._monotonic() - self._tried < PAUSE:
                return
            try:
                await self._fetch()
            except (UpstreamError, ConfigError):
                pass  # said in `trouble`

    async def _fetch(self) -> None:
        self._tried = self._monotonic()
        try:
            await self._discover()
        except (UpstreamError, ConfigError) as error:  # ConfigError: ca_file
            self.trouble = error.message
            raise
        self._fetched = self._monotonic()
        self.trouble = ""

    async def _discover(self) -> None:
        issuer = self.settings.url
        # OpenID Connect Discovery 1.0 section 4: a terminating slash is removed before the path is added.
        where = issuer.removesuffix("/") + "/.well-known/openid-configuration"
        document = await self._documents.get(where)
        # Section 4.3: MUST be identical, or one issuer could speak for another (mix-up).
        if document.get("issuer") != issuer:
            raise UpstreamError(
                f"{where} says its issuer is {ascii(document.get('issuer'))[:200]}, the configuration says {issuer!r}",
                hint="copy the issuer url exactly, with or without its last slash, as the issuer spells it",
            )
        jwks_uri = document.get("jwks_uri")
        if not isinstance(jwks_uri, str):
            raise UpstreamError(f"{where} names no jwks_uri")
        listed = (await self._documents.get(jwks_uri)).get("keys")
        if not isinstance(listed, list) or len(listed) > _MAX_KEYS:
            raise UpstreamError(f"{jwks_uri} is not a JWK Set of at most {_MAX_KEYS} keys")
        keys = [(jwk, key) for jwk in listed if (key := public_key(jwk)) is not None]
        if not keys:
            raise UpstreamError(f"{jwks_uri} has no key for signatures that Doorward accepts")
        self._keys = keys


def public_key(jwk: object) -> Key | None:
    """An asymmetric key for signatures, or None for any other entry, which RFC 7517 section 5 says to ignore.

    A key whose private half is published is no key: everybody can sign with it.
    """
    if not isinstance(jwk, dict) or jwk.get("kty") not in ("RSA", "EC", "OKP") or not _PRIVATE.isdisjoint(jwk):
        return None
    operations = jwk.get("key_ops", ["verify"])
    if jwk.get("use", "sig") != "sig" or not isinstance(operations, list) or "verify" not in operations:
        return None
    if not isinstance(jwk.get("kid", ""), str) or not isinstance(jwk.get("alg", ""), str):
        return None
    numbers = {name: jwk[name] for name in ("kty", "n", "e", "crv", "x", "y") if name in jwk}
    try:
        # RSA of 2048 to 8192 bits, in base64url: less is breakable, more makes verifying a way to use up the processor.
        if jwk["kty"] == "RSA" and not 342 <= len(jwk["n"]) <= 1366:
            return None
        key = import_key(numbers)
        if isinstance(key, RSAKey):
            return key if 2048 <= key.raw_value.key_size <= 8192 else None
        if isinstance(key, ECKey | OKPKey):
            key.get_op_key("verify")  # the point is on its curve, or this raises
            return key
    except (JoseError, ValueError, TypeError, KeyError):
        pass
    return None
