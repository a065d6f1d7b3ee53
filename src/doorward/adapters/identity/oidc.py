"""Verify identity tokens of the configured OpenID Connect issuers.

Contract: `authenticate(token)` returns an Identity only if the token is a JWS that a key of a configured issuer
signed with an allowed algorithm, is meant for this gateway, is valid now, and says who its bearer is. Everything else
is an AuthenticationError in plain words: what, why, what to do. It never holds the token. Access tokens (RFC 9068)
and ID tokens (OpenID Connect Core section 2) are accepted, and workload tokens of the same shape (Kubernetes, CI).

Deliberately not here: opaque tokens and introspection, sender-constrained tokens (refused, not degraded to bearer),
remembering tokens: a bearer may present one again, as connection pools do, until it expires.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable

from doorward.adapters.identity import claims, jwt
from doorward.adapters.identity.keys import IssuerKeys
from doorward.adapters.identity.settings import ALGORITHMS, DEFAULT_ALGORITHMS, IssuerSettings, KindRule
from doorward.errors import AuthenticationError, ConfigError, UpstreamError
from doorward.model import Identity

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
        now: Callable[[], int] = _unix_ms,
        monotonic: Callable[[], float] = time.monotonic,
    ) -> None:
        self._now = now
        self._issuers: dict[str, IssuerKeys] = {}
        for settings in issuers:
            if settings.url in self._issuers:
                raise ConfigError(
                    f"issuer {settings.url} is configured twice", hint="merge them; `audience` is a list"
                )
            self._issuers[settings.url] = IssuerKeys(settings, monotonic)
        if not self._issuers:
            raise ConfigError("no issuer is configured, so nobody could log in", hint="add an [[issuers]] section")

    async def authenticate(self, token: str) -> Identity:
        """Raises AuthenticationError, and nothing else, unless the token proves who its bearer is."""
        proven = await self.proven(token)
        settings = self._issuers[proven.issuer].settings
        return claims.identity(proven.claims, settings, now=self._now(), token_id=proven.token_id)

    async def proven(self, token: str, settings: IssuerSettings | None = None) -> jwt.UnverifiedToken:
        """The token, once its signature, audience and times are known to be good. `settings` replace those of its issuer,
        which must be theirs. Raises AuthenticationError."""
        unverified = jwt.parse(token)
        if settings is not None and unverified.issuer != settings.url:
            raise jwt.refused("it is another issuer's", "sign in again")
        keys = self._issuers.get(unverified.issuer)
        if keys is None:
            raise jwt.refused(
                "its issuer is not one that this gateway trusts",
                f"get a token from {' or '.join(self._issuers)}",
            )
        settings = settings or keys.settings
        if unverified.algorithm not in settings.algorithms:
            raise jwt.refused(
                f"it is signed with {unverified.algorithm}, and this issuer is configured for "
                f"{', '.join(settings.algorithms)}",
                "add the algorithm to the issuer's `algorithms`, or change what the issuer signs with",
            )
        try:
            candidates = await keys.find(unverified.key_id, unverified.algorithm)
        except UpstreamError as error:
            raise AuthenticationError(f"the token could not be checked: {error.message}", hint=error.hint) from None
        if not candidates:
            raise jwt.refused(
                "the issuer has no such key" + (f" ({keys.trouble})" if keys.trouble else ""),
                "get a new token; if the issuer changed its keys just now, try again in a few seconds",
            )
        if not any(jwt.signed_by(unverified, key) for key in candidates):
            raise jwt.refused("its signature is not the issuer's", "get a new token, and present it unchanged")
        jwt.check_claims(unverified, settings, self._now() // 1000)
        return unverified

    async def refresh(self) -> None:
        """Read every issuer's keys now, for start-up and `doorward doctor`. Raises UpstreamError for the first issuer
        that cannot be used, ConfigError for a `ca_file` that cannot be read."""
        for keys in self._issuers.values():
            await keys.refresh()

    def trouble(self) -> dict[str, str]:
        """Issuers whose keys could not be read at the last attempt, and why."""
        return {url: keys.trouble for url, keys in self._issuers.items() if keys.trouble}
