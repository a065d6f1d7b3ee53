"""Sign people in at an issuer: OpenID Connect's authorization code flow with PKCE, refresh, and where to sign out.

Contract: `begin` gives an address to send the browser to and what must be remembered until it comes back; `finish` takes
what came back and returns who it is, only if the issuer answered this very request: `state` (RFC 6749 section 10.12), the
code verifier (RFC 7636, S256 only), `iss` (RFC 9207, required where the issuer says that it sends one) and `nonce`
(OpenID Connect Core section 3.1.3.7) all fit, and the ID token is for this client, and as fresh as was asked for. What the
issuer gave stays in `Grant`, whose printed form shows none of it. `refresh` asks again who it is (section 12).

It deliberately does not do: implicit and hybrid flows, `plain` challenges, tokens of another issuer, remembering anybody.
"""

from __future__ import annotations

import base64
import hashlib
import hmac
import secrets
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass, field, replace
from typing import Any
from urllib.parse import urlencode, urlsplit

from doorward.adapters.identity import claims
from doorward.adapters.identity.device import TokenClient
from doorward.adapters.identity.oidc import OidcAuthenticator
from doorward.adapters.identity.settings import IssuerSettings, check_url
from doorward.errors import AuthenticationError, ConfigError, UpstreamError
from doorward.model import Identity, Kind, SecretRef

FRESH = 300  # seconds; a login that is to be fresh is at most this old
_LONGEST = 4096  # characters of a code or of an error
_MOST_TOKEN = 64 * 1024


@dataclass(frozen=True, slots=True)
class Begun:
    """A sign-in that has begun. `address` is the issuer's; the rest is to be remembered, by this browser's leave only."""

    issuer: str
    address: str = field(repr=False)
    state: str = field(repr=False)
    nonce: str = field(repr=False)
    verifier: str = field(repr=False)
    fresh: bool


@dataclass(frozen=True, slots=True)
class Grant:
    """Who signed in. `logged_in_at` is when they last showed it to the issuer, Unix ms, 0 where the issuer does not tell;
    `until` is how long that holds without a refresh."""

    identity: Identity
    logged_in_at: int
    until: int
    refresh_token: str = field(repr=False)


class SignIn:
    """One issuer at which people sign in. `longest` is how many seconds ago they may have logged in there at most;
    `arrived` is told who did, and may raise AuthenticationError."""

    def __init__(
        self,
        settings: IssuerSettings,
        authenticator: OidcAuthenticator,
        reveal: Callable[[SecretRef | None], Awaitable[bytes]],
        now: Callable[[], int],
        longest: int = 12 * 3600,
        arrived: Callable[[Identity], Awaitable[object]] | None = None,
    ) -> None:
        self.settings = settings
        self._longest = longest
        self._arrived = arrived
        self._authenticator = authenticator
        self._reveal = reveal
        self._now = now
        self._made: tuple[str, TokenClient] | None = None

    @property
    def issuer(self) -> str:
        """Its URL."""
        return self.settings.url

    async def begin(self, redirect_uri: str, *, fresh: bool = False) -> Begun:
        """A new sign-in; `fresh`: whoever it is shows it anew. Raises UpstreamError."""
        metadata = await (await self._client()).metadata()
        endpoint = _endpoint(metadata, "authorization_endpoint", self.settings)
        state, nonce, verifier = (secrets.token_urlsafe(32) for _ in range(3))
        challenge = base64.urlsafe_b64encode(hashlib.sha256(verifier.encode()).digest()).rstrip(b"=").decode()
        asked = {
            "response_type": "code", "client_id": self.settings.client_id, "redirect_uri": redirect_uri,
            "scope": " ".join(self.settings.scopes), "state": state, "nonce": nonce,
            "code_challenge": challenge, "code_challenge_method": "S256",
            # With it, an issuer has to say when it was (OpenID Connect Core section 3.1.2.1).
            "max_age": "0" if fresh else str(self._longest),
        }  # fmt: skip
        if fresh:
            asked["prompt"] = "login"
        joint = "&" if urlsplit(endpoint).query else "?"
        return Begun(self.issuer, f"{endpoint}{joint}{urlencode(asked)}", state, nonce, verifier, fresh)

    async def finish(self, begun: Begun, answer: Mapping[str, str], redirect_uri: str) -> Grant:
        """Who came back. `answer` is the query of the redirect, each name once. Raises AuthenticationError,
        UpstreamError."""
        if not hmac.compare_digest(answer.get("state", "").encode(), begun.state.encode()):
            raise _again("the answer belongs to another sign-in")
        client = await self._client()
        metadata = await client.metadata()
        # RFC 9207 section 2.4: first of all, or a mix-up makes us send one issuer's code to another one.
        said = answer.get("iss")
        promised = metadata.get("authorization_response_iss_parameter_supported") is True
        if said != self.issuer and (said is not None or promised):
            raise _again("the answer is another issuer's")
        if "error" in answer:
            # The issuer's words may be anybody's, for the address is: known codes only.
            error = answer["error"] if answer["error"] in _ERRORS else "error"
            raise AuthenticationError(f"the issuer did not sign you in ({error})", hint=_ERRORS.get(error, "try again"))
        code = answer.get("code", "")
        if not 0 < len(code) <= _LONGEST:
            raise _again("the answer has no code")
        form = {"grant_type": "authorization_code", "code": code, "redirect_uri": redirect_uri, "code_verifier": begun.verifier}
        given = await client.grant(form)
        grant = await self._grant(given, nonce=begun.nonce)
        oldest = self._now() - ((FRESH if begun.fresh else self._longest) + self.settings.skew_seconds) * 1000
        if grant.logged_in_at < oldest and (begun.fresh or grant.logged_in_at):
            raise AuthenticationError(
                "the issuer does not say that you logged in lately",
                hint="log out at the issuer and try again; the issuer must put `auth_time` into its ID tokens",
            )
        return grant

    async def refresh(self, grant: Grant) -> Grant:
        """Who it is now. Raises AuthenticationError when the issuer no longer vouches, UpstreamError without an answer."""
        client = await self._client()
        given = await client.grant({"grant_type": "refresh_token", "refresh_token": grant.refresh_token})
        given.setdefault("refresh_token", grant.refresh_token)
        if "id_token" not in given:  # OpenID Connect Core section 12.2 does not require one
            if grant.until <= self._now():
                raise _again("the issuer says no longer who you are")
            return replace(grant, refresh_token=_token(given, "refresh_token"))
        fresh = await self._grant(given, nonce=None)
        if fresh.identity.id != grant.identity.id:  # section 12.2: the same sub and iss
            raise _again("the issuer says that you are somebody else now")
        return replace(fresh, logged_in_at=grant.logged_in_at)

    def remember(self, begun: Begun) -> dict[str, Any]:
        """What `recall` makes the same of again."""
        return {
            "issuer": begun.issuer, "state": begun.state, "nonce": begun.nonce, "verifier": begun.verifier,
            "fresh": begun.fresh,
        }  # fmt: skip

    def recall(self, kept: Mapping[str, Any]) -> Begun:
        """The sign-in that `remember` was told of."""
        return Begun(self.issuer, "", kept["state"], kept["nonce"], kept["verifier"], kept["fresh"])

    async def sign_out(self, back: str) -> str:
        """The issuer's address at which to sign out there (OpenID Connect RP-Initiated Logout 1.0), or "". No token is in
        it: the browser would see it."""
        try:
            metadata = await (await self._client()).metadata()
            endpoint = _endpoint(metadata, "end_session_endpoint", self.settings)
        except UpstreamError:
            return ""
        joint = "&" if urlsplit(endpoint).query else "?"
        return endpoint + joint + urlencode({"client_id": self.settings.client_id, "post_logout_redirect_uri": back})

    async def _client(self) -> TokenClient:
        secret = (await self._reveal(self.settings.client_secret)).decode()
        if self._made is None or self._made[0] != secret:  # it may be another one since the last time
            self._made = secret, TokenClient(
                self.issuer, self.settings.client_id, client_secret=secret, scope="", ca_file=self.settings.ca_file
            )
        return self._made[1]

    async def _grant(self, given: Mapping[str, Any], *, nonce: str | None) -> Grant:
        proven = await self._authenticator.proven(
            _token(given, "id_token"), replace(self.settings, audience=(self.settings.client_id,))
        )
        said = proven.claims
        if proven.access_token:
            raise _again("the issuer gave an access token where an ID token belongs")
        if nonce is not None and not hmac.compare_digest(str(said.get("nonce", "")).encode(), nonce.encode()):
            raise _again("the ID token was made for another sign-in")
        audience = said.get("aud")
        if said.get("azp", self.settings.client_id) != self.settings.client_id or (
            isinstance(audience, list) and len(audience) > 1 and "azp" not in said
        ):  # section 3.1.3.7, 4 and 5
            raise _again("the ID token is for another client")
        now = self._now()
        who = claims.identity(said, self.settings, now=now, token_id=proven.token_id)
        if who.kind is not Kind.HUMAN or who.on_behalf_of is not None:
            raise AuthenticationError(
                "only people sign in here", hint="programs use the API with a token; `kinds` of the issuer says who is what"
            )
        logged_in = said.get("auth_time")
        moment = int(logged_in) * 1000 if isinstance(logged_in, int | float) and 0 < logged_in < 1 << 40 else 0
        if moment:  # whoever asks for a fresh login looks here
            who = replace(who, claims={**who.claims, "auth_time": str(moment // 1000)})
        if self._arrived is not None:
            await self._arrived(who)
        return Grant(who, min(moment, now), who.expires_at, _token(given, "refresh_token", required=False))


_ERRORS = {
    "access_denied": "you, or the issuer, said no; try again, or ask who runs the issuer",
    "login_required": "try again",
    "interaction_required": "try again",
    "consent_required": "ask who runs the issuer to allow this client",
    "temporarily_unavailable": "wait a minute and try again",
    "server_error": "wait a minute and try again; the issuer's own log says more",
    "invalid_scope": "the issuer does not know a scope in `scopes` of its configuration here",
    "unauthorized_client": "the issuer must allow this client the authorization code flow",
    "invalid_request": "the issuer must know this client with this redirect URI",
}


def _again(what: str) -> AuthenticationError:
    return AuthenticationError(f"nobody was signed in: {what}", hint="sign in again")


def _token(given: Mapping[str, Any], name: str, *, required: bool = True) -> str:
    token = given.get(name)
    if isinstance(token, str) and 0 < len(token) <= _MOST_TOKEN:
        return token
    if not required:
        return ""
    raise UpstreamError(f"the issuer gave no {name.replace('_', ' ')}", hint="the client's scopes must hold `openid`")


def _endpoint(metadata: Mapping[str, Any], name: str, settings: IssuerSettings) -> str:
    """An address of the issuer's document to which a browser may be sent."""
    address = metadata.get(name)
    if not isinstance(address, str) or not address.isascii() or " " in address:
        raise UpstreamError(f"issuer {settings.url} names no {name}", hint="people can sign in with another issuer")
    try:
        check_url(address.partition("?")[0], development=settings.development, what=name)
    except ConfigError as error:
        raise UpstreamError(error.message, hint=error.hint) from None
    return address
