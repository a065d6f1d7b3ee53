"""JSON Web Tokens, read strictly: RFC 7515, 7519, 8725 and 9068.

Contract: `parse` takes hostile text and returns an `UnverifiedToken` or raises AuthenticationError; nothing of it may
be believed until `signed_by` said True and `check_claims` returned. Messages never hold the token or any part of its
signature; of its claims only issuer, audience and times, and these only after the signature was checked.

Deliberately not here: encrypted tokens, detached or unencoded payloads (RFC 7797), keys from a token's own header.
"""

from __future__ import annotations

import base64
import hashlib
import json
import re
from dataclasses import dataclass
from typing import Any

from joserfc.errors import JoseError
from joserfc.jwk import ECKey, OKPKey, RSAKey
from joserfc.jws import JWSRegistry

from doorward.adapters.identity.settings import ALGORITHMS, IssuerSettings
from doorward.errors import AuthenticationError
from doorward.guard.ports import NOTHING, Shown

MAX_TOKEN = 16 * 1024  # bytes; the longest real ones (200 groups by UUID) stay below 12 KiB
_MAX_SIGNATURE = 1024  # RSA 8192
SEGMENTS = re.compile(r"([A-Za-z0-9_-]+)\.([A-Za-z0-9_-]+)\.([A-Za-z0-9_-]*)\Z")
_KID = re.compile(r"[\x20-\x7e]{1,256}\Z")
# Keys and where to get them come from the configured issuer, never from the token (RFC 8725 section 3.10); an
# extension that "must be understood" (crit) is not, because none is implemented.
REFUSED_HEADERS = ("jku", "jwk", "x5u", "x5c", "crit", "b64", "zip", "enc")
# RFC 8725 section 3.11: every other type (logout+jwt, dpop+jwt, oauth-id-jag+jwt ...) says something else than "let
# the bearer in", although an issuer signs them with the same keys.
_TYPES = frozenset({"", "jwt", "at+jwt", "application/at+jwt", "application/jwt"})

LOGOUT_TYPES = frozenset({"", "jwt", "logout+jwt", "application/logout+jwt"})
_LOGOUT_EVENT = "http://schemas.openid.net/event/backchannel-logout"

Key = RSAKey | ECKey | OKPKey


@dataclass(frozen=True, slots=True, repr=False)
class UnverifiedToken:
    """A token taken apart. `signing_input` is what the signature is over."""

    algorithm: str
    key_id: str | None
    access_token: bool  # `typ` says RFC 9068
    claims: dict[str, Any]
    signing_input: bytes
    signature: bytes

    @property
    def issuer(self) -> str:
        issuer = self.claims.get("iss")
        return issuer if isinstance(issuer, str) else ""

    @property
    def jti(self) -> str:
        """Its own id, or ""."""
        jti = self.claims.get("jti")
        return jti if isinstance(jti, str) and 0 < len(jti) <= 256 and jti.isprintable() else ""

    @property
    def token_id(self) -> str:
        """`jti`, or else a hash of what was signed (not of the token: an ECDSA signature has two valid forms)."""
        return self.jti or "sha256:" + hashlib.sha256(self.signing_input).hexdigest()


def refused(what: str, hint: str, code: str = "malformed") -> AuthenticationError:
    """An AuthenticationError in the one shape that they all have. The codes are in docs/guides/identity.md."""
    return AuthenticationError(f"the token was refused: {what}", hint=hint, code=code)


def parse(token: str, types: frozenset[str] = _TYPES) -> UnverifiedToken:
    """Take a compact JWS apart. Raises AuthenticationError for anything that is not one, or that asks for trouble. `types` are
    what its header may call it."""
    fresh = "get a new one from your issuer, for example with `doorward token`"
    if not token:
        raise AuthenticationError(
            "no token was presented", hint="put an identity token where the password goes", code="missing"
        )
    if len(token) > MAX_TOKEN:
        raise refused(
            f"it is longer than {MAX_TOKEN // 1024} KiB", "have the issuer put fewer groups or claims into the token"
        )
    match = SEGMENTS.match(token)
    if match is None:
        raise refused(
            "it is not a signed JWT (three parts joined by dots)",
            "present the token itself as the password; database passwords are not accepted here",
            "static",
        )
    header = json_object(base64url_decode(match[1], fresh), "header", fresh)
    claims = json_object(base64url_decode(match[2], fresh), "payload", fresh)
    algorithm = header.get("alg")
    if not isinstance(algorithm, str) or algorithm not in ALGORITHMS:
        raise refused(
            "its signature algorithm is not one that Doorward accepts", "have the issuer use RS256 or ES256", "algorithm"
        )
    if not match[3]:
        raise refused("it is not signed", "present a token that your issuer signed", "algorithm")
    for name in REFUSED_HEADERS:
        if name in header:
            raise refused(f"its header has {name!r}, and keys come from the issuer only", fresh, "header")
    key_id = header.get("kid")
    if key_id is not None and (not isinstance(key_id, str) or not _KID.match(key_id)):
        raise refused("its key id is not a short printable text", fresh, "header")
    kind = header.get("typ", "")
    if not isinstance(kind, str) or kind.lower() not in types:
        raise refused("its type says that it is neither an access token nor an ID token", fresh, "type")
    signature = base64url_decode(match[3], fresh)
    if len(signature) > _MAX_SIGNATURE:
        raise refused("its signature is too long", fresh)
    return UnverifiedToken(
        algorithm=algorithm,
        key_id=key_id,
        access_token=kind.lower().endswith("at+jwt"),
        claims=claims,
        signing_input=f"{match[1]}.{match[2]}".encode("ascii"),
        signature=signature,
    )


def signed_by(token: UnverifiedToken, key: Key) -> bool:
    """Whether `key` made the signature. The key decides what it may verify, not only the header: a public RSA key can
    never be an HMAC secret, because HMAC is not among ALGORITHMS."""
    key_type, curves = ALGORITHMS[token.algorithm]
    if key.key_type != key_type or (curves and key.curve_name not in curves):  # type: ignore[union-attr]  # not RSA
        return False
    try:
        return JWSRegistry.algorithms[token.algorithm].verify(token.signing_input, token.signature, key)
    except (JoseError, ValueError, TypeError):  # a signature of the wrong length, a key that cannot verify
        return False


def check_claims(token: UnverifiedToken, settings: IssuerSettings, now: int, shown: Shown = NOTHING) -> None:
    """Check who a verified token is for and when, and that the key it is bound to was shown. `settings` are those that `iss`
    chose, `now` is Unix seconds. Raises AuthenticationError."""
    again = "get a new one, for example with `doorward token`"
    claims = token.claims
    _for_us_now(token, settings.audience, settings, now)
    bound_to(claims, shown)
    if "events" in claims:
        raise refused("it is a security event, not a login", again, "type")
    if token.access_token:
        for name in ("sub", "client_id", "jti"):  # RFC 9068 section 2.2
            if not isinstance(claims.get(name), str):
                raise refused(
                    f"it says it is an RFC 9068 access token and has no {name!r}", "have the issuer add it", "claims"
                )


def bound_to(claims: dict[str, Any], shown: Shown) -> str:
    """The key that a token is bound to (`cnf`, RFC 7800), as `Identity.bound_to` has it; "" for a bearer token. Raises
    AuthenticationError if it was not shown: taking the token all the same would make a bearer token of it."""
    if "cnf" not in claims:
        return ""
    cnf = claims["cnf"]
    if not isinstance(cnf, dict) or not cnf or not cnf.keys() <= {"jkt", "x5t#S256"}:
        raise refused(
            "it is bound to a key in a way that is not known here (cnf)", "ask for one that is bound by DPoP", "bound"
        )
    if shown.key and cnf.get("jkt") == shown.key:
        return f"jkt:{shown.key}"
    if shown.certificate is not None and cnf.get("x5t#S256") == shown.certificate.thumbprint:
        return f"certificate:{shown.certificate.id}"
    if shown != NOTHING:
        raise refused(
            "it is bound to another key than the one that you have shown (cnf)", "show the key that it came with", "bound"
        )
    raise refused(
        "it is bound to a key (cnf), and nothing here proves that you hold it",
        "over HTTP send a DPoP proof, to a database the client certificate that it came with", "bound",
    )  # fmt: skip


def check_logout(token: UnverifiedToken, settings: IssuerSettings, now: int) -> None:
    """The same of a logout token, whose audience is the client (OpenID Connect Back-Channel Logout 1.0 section 2.4)."""
    claims = token.claims
    client = (settings.client_id,) if settings.client_id else ()
    _for_us_now(token, (*settings.audience, *client), settings, now)
    events = claims.get("events")
    if not isinstance(events, dict) or not isinstance(events.get(_LOGOUT_EVENT), dict) or "nonce" in claims:
        raise refused("it is not a logout token", "have the issuer follow Back-Channel Logout 1.0", "type")
    if not token.jti:
        raise refused("it has no 'jti'", "have the issuer follow Back-Channel Logout 1.0", "no_jti")


def _for_us_now(token: UnverifiedToken, audience: tuple[str, ...], settings: IssuerSettings, now: int) -> None:
    claims = token.claims
    again = "get a new one, for example with `doorward token`"
    audiences = claims.get("aud")
    listed = [audiences] if isinstance(audiences, str) else audiences if isinstance(audiences, list) else []
    wanted = " or ".join(audience)
    if not any(isinstance(value, str) and value in audience for value in listed):
        raise refused(
            f"it is meant for {_shown(listed)}, not for this gateway ({wanted})",
            f"ask your issuer for a token with audience {wanted}",
            "audience",
        )
    expires = _time(claims, "exp", required=True)
    issued = _time(claims, "iat", required=True)
    starts = _time(claims, "nbf", required=False)
    if now >= expires + settings.skew_seconds:
        raise refused(f"it expired {_span(now - expires)} ago", again, "expired")
    clocks = "compare the clocks of the issuer and of this gateway (`doorward doctor` does)"
    if starts > now + settings.skew_seconds:
        raise refused(f"it is not valid before {_span(starts - now)} from now", clocks, "times")
    if issued > now + settings.skew_seconds:
        raise refused(f"it was issued {_span(issued - now)} in the future", clocks, "times")
    if expires <= issued:
        raise refused("it expires before it was issued", "have the issuer's clock and token lifetime looked at", "times")


def base64url_decode(segment: str, hint: str) -> bytes:
    """base64url without padding, in its only spelling (RFC 7515 section 2)."""
    try:
        raw = base64.urlsafe_b64decode(segment + "=" * (-len(segment) % 4))
    except ValueError:
        raise refused("a part of it is not base64url", hint) from None
    if base64.urlsafe_b64encode(raw).rstrip(b"=").decode("ascii") != segment:
        raise refused("a part of it is not base64url in its only spelling", hint)
    return raw


def json_object(raw: bytes, part: str, hint: str) -> dict[str, Any]:
    try:
        value = json.loads(raw.decode("utf-8"), object_pairs_hook=_unique, parse_constant=_no_constant)
    except (ValueError, RecursionError):
        raise refused(f"its {part} is not JSON with each name once", hint) from None
    if not isinstance(value, dict):
        raise refused(f"its {part} is not a JSON object", hint)
    return value


def _unique(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) != len(pairs):  # two parsers might believe different ones
        raise ValueError("duplicate name")
    return found


def _no_constant(name: str) -> Any:
    raise ValueError(f"{name} is not JSON")


def _time(claims: dict[str, Any], name: str, *, required: bool) -> int:
    """A NumericDate (RFC 7519 section 2) in whole seconds; 0 where it is not there and need not be."""
    value = claims.get(name)
    if value is None and not required and name not in claims:
        return 0
    if isinstance(value, bool) or not isinstance(value, int | float):
        raise refused(
            f"it has no {name!r} that is a time" if name in claims else f"it has no {name!r}",
            "have the issuer put `exp` and `iat` into its tokens",
            "times",
        )
    if not 0 <= value < 1 << 40:  # also 1e999, which JSON's grammar allows and which is infinite
        raise refused(f"its {name!r} is not a time", "have the issuer's clock looked at", "times")
    return int(value)


def _shown(audiences: list[Any]) -> str:
    """Audiences as the issuer signed them, for a message: short, printable, at most four."""
    shown = [ascii(value[:100]) for value in audiences[:4] if isinstance(value, str)]
    return ", ".join(shown) or "nobody"


def _span(seconds: int) -> str:
    if seconds < 120:
        return f"{max(seconds, 0)} seconds"
    return f"{seconds // 60} minutes" if seconds < 7200 else f"{seconds // 3600} hours"
