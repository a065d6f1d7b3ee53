"""Verify identity tokens of the configured OpenID Connect issuers.

Contract: `authenticate(token)` returns an Identity only if the token is a JWS that a key of a configured issuer
signed with an allowed algorithm, is meant for this gateway, is valid now, and says who its bearer is. Everything else
is an AuthenticationError in plain words: what, why, what to do. It never holds the token. Access tokens (RFC 9068)
and ID tokens (OpenID Connect Core section 2) are accepted, and workload tokens of the same shape (Kubernetes, CI).

A token that is bound to a key (`cnf`) is taken only where its bearer has shown that key, and is never degraded to a bearer
token. How a key is shown is for others to say: `dpop` over HTTP, a client certificate at a database's door.

Deliberately not here: opaque tokens and introspection, remembering tokens: a bearer may present one again, as connection
pools do, until it expires.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable

from doorward.adapters.identity import claims, jwt, workloads
from doorward.adapters.identity.keys import IssuerKeys
from doorward.adapters.identity.own import OwnIssuer
from doorward.adapters.identity.settings import ALGORITHMS, DEFAULT_ALGORITHMS, IssuerSettings, KindRule
from doorward.errors import AuthenticationError, ConfigError, UpstreamError
from doorward.guard.ports import NOTHING, Shown, Verified
from doorward.model import Identity, bound

__all__ = ["ALGORITHMS", "DEFAULT_ALGORITHMS", "IssuerSettings", "KindRule", "OidcAuthenticator"]


def _unix_ms() -> int:
    return time.time_ns() // 1_000_000


class OidcAuthenticator:
    """An Authenticator for one or more issuers. Keys are read when the first token needs them, or by `refresh`.

    now        Unix milliseconds
    monotonic  seconds that never go back, for the age of keys
    """

    def __init__(
        self,
        issuers: Iterable[IssuerSettings],
        *,
        own: OwnIssuer | None = None,
        now: Callable[[], int] = _unix_ms,
        monotonic: Callable[[], float] = time.monotonic,
    ) -> None:
        self._now = now
        self._own = own
        self._issuers: dict[str, IssuerKeys | OwnIssuer] = {}
        for settings in issuers:
            if settings.url in self._issuers:
                raise ConfigError(
                    f"issuer {settings.url} is configured twice", hint="merge them; `audience` is a list"
                )
            self._issuers[settings.url] = IssuerKeys(settings, monotonic)
        if not self._issuers:
            raise ConfigError("no issuer is configured, so nobody could log in", hint="add an [[issuers]] section")
        if own is not None:
            if own.url in self._issuers:
                raise ConfigError(
                    f"issuer {own.url} is this gateway itself", hint="give the gateway another listen.http.url"
                )
            self._issuers[own.url] = own

    async def authenticate(self, token: str) -> Identity:
        """Raises AuthenticationError, and nothing else, unless the token proves who its bearer is."""
        return (await self.verify(token)).identity

    async def verify(self, token: str, shown: Shown = NOTHING) -> Verified:
        """The same, and what the exchange has to know of the token itself."""
        unverified = await self.proven(token, shown=shown)
        now, said, token_id = self._now(), unverified.claims, unverified.token_id
        try:
            if self._own is not None and unverified.issuer == self._own.url:
                identity = self._own.identity(said, now=now, token_id=token_id)
            else:
                identity = claims.identity(said, self._issuers[unverified.issuer].settings, now=now, token_id=token_id)
        except AuthenticationError as error:
            raise self._told(error, unverified) from None
        attested = identity.claims.get("workload", "") in workloads.ATTESTED
        if key := jwt.bound_to(said, shown):
            identity = bound(identity, key, attested=attested)
        return Verified(identity, unverified.issuer, unverified.jti, int(said["iat"]), int(said["exp"]), said, attested)

    async def proven(
        self, token: str, settings: IssuerSettings | None = None, *, shown: Shown = NOTHING
    ) -> jwt.UnverifiedToken:
        """The token, once its signature, audience, times and binding are known to be good. `settings` replace those of its
        issuer, which must be theirs. Raises AuthenticationError."""
        unverified = jwt.parse(token)
        try:
            if settings is not None and unverified.issuer != settings.url:
                raise jwt.refused("it is another issuer's", "sign in again", "issuer")
            found = await self._signed(unverified, settings)
            jwt.check_claims(unverified, found, self._now() // 1000, shown)
        except AuthenticationError as error:
            raise self._told(error, unverified) from None
        return unverified

    async def logout(self, token: str) -> Verified | None:
        """A logout token (OpenID Connect Back-Channel Logout 1.0 section 2.6): whom it is about, by the `sub` or `sid` in
        its claims. None where it is about neither. Raises AuthenticationError."""
        unverified = jwt.parse(token, jwt.LOGOUT_TYPES)
        try:
            settings = await self._signed(unverified)
            jwt.check_logout(unverified, settings, self._now() // 1000)
        except AuthenticationError as error:
            raise self._told(error, unverified) from None
        said = unverified.claims
        named = {name: said[name] for name in ("sub", "sid") if isinstance(said.get(name), str) and said[name]}
        if not named:
            return None
        who = Identity(named.get("sub", ""), settings.default_kind, unverified.issuer, claims=named)
        return Verified(who, unverified.issuer, unverified.jti, int(said["iat"]), int(said["exp"]), said)

    def _told(self, error: AuthenticationError, token: jwt.UnverifiedToken) -> AuthenticationError:
        """With what may be recorded of a token that was refused."""
        error.issuer = token.issuer if token.issuer in self._issuers else ""
        error.token = token.token_id
        return error

    async def _signed(self, unverified: jwt.UnverifiedToken, settings: IssuerSettings | None = None) -> IssuerSettings:
        """Check who signed; the settings of that issuer. Raises AuthenticationError."""
        keys = self._issuers.get(unverified.issuer)
        if keys is None:
            known = [url for url in self._issuers if self._own is None or url != self._own.url]
            raise jwt.refused(
                "its issuer is not one that this gateway trusts", f"get a token from {' or '.join(known)}", "issuer"
            )
        settings = settings or keys.settings
        if unverified.algorithm not in settings.algorithms:
            raise jwt.refused(
                f"it is signed with {unverified.algorithm}, and this issuer is configured for "
                f"{', '.join(settings.algorithms)}",
                "add the algorithm to the issuer's `algorithms`, or change what the issuer signs with",
                "algorithm",
            )
        try:
            candidates = await keys.find(unverified.key_id, unverified.algorithm)
        except UpstreamError as error:
            raise AuthenticationError(
                f"the token could not be checked: {error.message}", hint=error.hint, code="unavailable"
            ) from None
        if not candidates:
            raise jwt.refused(
                "the issuer has no such key" + (f" ({keys.trouble})" if keys.trouble else ""),
                "get a new token; if the issuer changed its keys just now, try again in a few seconds",
                "key",
            )
        if not any(jwt.signed_by(unverified, key) for key in candidates):
            raise jwt.refused("its signature is not the issuer's", "get a new token, and present it unchanged", "signature")
        return settings

    async def refresh(self) -> None:
        """Read every issuer's keys now, for start-up and `doorward doctor`. Raises UpstreamError for the first issuer
        that cannot be used, ConfigError for a `ca_file` that cannot be read."""
        for keys in self._issuers.values():
            await keys.refresh()

    def trouble(self) -> dict[str, str]:
        """Issuers whose keys could not be read at the last attempt, and why."""
        return {url: keys.trouble for url, keys in self._issuers.items() if keys.trouble}
