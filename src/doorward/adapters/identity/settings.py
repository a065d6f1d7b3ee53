"""What an operator says about one issuer.

Contract: an `IssuerSettings` that exists is safe to use. Everything that would weaken verification (an algorithm that
is not asymmetric, an issuer reached in the clear, no audience) is refused when it is made, with the setting's name.

Not here: reading config.toml (`doorward.config` maps it to these), and anything that talks to the issuer.
"""

from __future__ import annotations

import ipaddress
from collections.abc import Mapping
from dataclasses import dataclass, field
from fnmatch import fnmatchcase
from urllib.parse import urlsplit

from doorward.errors import ConfigError
from doorward.model import Kind, SecretRef

# JWS algorithm -> (JWK key type, curves or none). Only asymmetric ones exist here, so that no setting, header or key
# can bring `none` or HMAC back (RFC 8725 section 3.1). EdDSA is RFC 8037's name, Ed25519 and Ed448 RFC 9864's.
ALGORITHMS: Mapping[str, tuple[str, frozenset[str]]] = {
    **{name: ("RSA", frozenset()) for name in ("RS256", "RS384", "RS512", "PS256", "PS384", "PS512")},
    "ES256": ("EC", frozenset({"P-256"})),
    "ES384": ("EC", frozenset({"P-384"})),
    "ES512": ("EC", frozenset({"P-521"})),
    "EdDSA": ("OKP", frozenset({"Ed25519", "Ed448"})),
    "Ed25519": ("OKP", frozenset({"Ed25519"})),
    "Ed448": ("OKP", frozenset({"Ed448"})),
}

DEFAULT_ALGORITHMS = ("RS256", "PS256", "ES256", "ES384", "EdDSA", "Ed25519")

# name in Identity.claims -> path in the token
DEFAULT_CLAIMS: Mapping[str, str] = {
    "name": "name",
    "email": "email",
    "preferred_username": "preferred_username",
    "client_id": "client_id",
    "azp": "azp",
    "acr": "acr",
    "auth_time": "auth_time",
    "sid": "sid",
    "scope": "scope",
}


@dataclass(frozen=True, slots=True)
class KindRule:
    """`claim` (a dotted path) is, or is a list holding, something that matches one of `values` (shell patterns, case
    matters): then the principal is a `kind`. The first rule that matches decides."""

    claim: str
    values: tuple[str, ...]
    kind: Kind

    def __post_init__(self) -> None:
        if not self.claim or not self.values:
            raise ConfigError("a kind rule needs a claim and at least one value", hint="see docs/guides/identity.md")

    def matches(self, value: object) -> bool:
        """Whether a claim's value, of any JSON type, satisfies this rule."""
        texts = value if isinstance(value, list) else [value]
        return any(
            fnmatchcase("true" if text is True else "false" if text is False else str(text), pattern)
            for text in texts
            if isinstance(text, str | int)
            for pattern in self.values
        )


@dataclass(frozen=True, slots=True)
class IssuerSettings:
    """One issuer whose tokens are accepted.

    url            the issuer, exactly as in the `iss` claim: compared as text, never normalised
    audience       the values of `aud` that mean this gateway; a token must carry one of them, exactly
    algorithms     signature algorithms accepted, each one of ALGORITHMS
    groups_claim   dotted path of the claim that lists the principal's groups (`realm_access.roles`)
    agent_groups   groups of every actor that a token of this issuer names in `act`
    skew_seconds   how far the issuer's clock and ours may differ
    kind_rules     who is a human, an agent or a service; `default_kind` where no rule and no known shape says
    claims         which other claims are kept, {name here: dotted path in the token}; they reach policies and records
    ca_file        PEM file of the authorities trusted for this issuer's TLS; empty: the system's
    client_id      this deployment's client at the issuer, for `doorward token` and for signing in to the pages
    client_secret  where that client's secret is; none for a public client
    scopes         what the pages ask for at sign-in
    development    allow http:// on loopback, for the built-in development issuer and for tests
    workload       the platform whose jobs its tokens are about (`workloads.PLATFORMS`); empty for an issuer of people
    agents         "registered": agents of this issuer are let in if they are registered; "issuer": its word is enough
    jwks_max_age   seconds that fetched keys may be used while the issuer cannot be reached
    """

    url: str
    audience: tuple[str, ...]
    algorithms: tuple[str, ...] = DEFAULT_ALGORITHMS
    groups_claim: str = "groups"
    agent_groups: tuple[str, ...] = ()
    skew_seconds: int = 30
    kind_rules: tuple[KindRule, ...] = ()
    default_kind: Kind = Kind.HUMAN
    claims: Mapping[str, str] = field(default_factory=lambda: DEFAULT_CLAIMS)
    ca_file: str = ""
    client_id: str = ""
    client_secret: SecretRef | None = None
    scopes: tuple[str, ...] = ("openid", "profile", "email")
    development: bool = False
    jwks_max_age: int = 24 * 3600
    workload: str = ""
    agents: str = "registered"

    def __post_init__(self) -> None:
        check_url(self.url, development=self.development, what="issuer url")
        if "|" in self.url:
            raise ConfigError(f"issuer url {self.url!r} holds a '|', which separates issuer and subject in records")
        if not self.audience or not all(self.audience):
            raise ConfigError(
                f"issuer {self.url} has no audience, so any of its tokens would do",
                hint='set audience = ["doorward"], or whatever `aud` your issuer puts into tokens for this gateway',
            )
        if not self.algorithms:
            raise ConfigError(f"issuer {self.url} has no algorithms", hint="leave `algorithms` out for the defaults")
        for name in self.algorithms:
            if name not in ALGORITHMS:
                raise ConfigError(
                    f"issuer {self.url}: algorithm {name!r} is not accepted; Doorward takes asymmetric signatures only",
                    hint=f"choose among {', '.join(ALGORITHMS)}",
                )
        if "openid" not in self.scopes:
            raise ConfigError(f"issuer {self.url}: scopes has no \"openid\", so that nobody could sign in with it")
        if "workload" in self.claims:
            raise ConfigError(
                f"issuer {self.url}: claims.workload is the gateway's own name for the platform", hint="choose another name"
            )
        if not 0 <= self.skew_seconds <= 300:
            raise ConfigError(f"issuer {self.url}: skew_seconds is {self.skew_seconds}, not within 0 and 300")
        if not 60 <= self.jwks_max_age <= 7 * 24 * 3600:
            raise ConfigError(f"issuer {self.url}: jwks_max_age is {self.jwks_max_age}, not within a minute and a week")


def check_url(url: str, *, development: bool, what: str) -> None:
    """Refuse what would be reached without TLS, but for loopback where `development` says so.

    Raises ConfigError with `what` naming the setting or the document the URL came from.
    """
    try:
        parts = urlsplit(url)
        host = parts.hostname or ""
        _ = parts.port  # raises ValueError when it is no port
    except ValueError:
        raise ConfigError(f"{what} {url[:200]!r} is not a URL") from None
    if not host or parts.username is not None or parts.query or parts.fragment or not url.isprintable():
        raise ConfigError(f"{what} {url[:200]!r} is not a plain URL of scheme, host, port and path")
    if parts.scheme == "https":
        return
    if parts.scheme != "http":
        raise ConfigError(f"{what} {url[:200]!r} is neither https nor http")
    if not development:
        raise ConfigError(
            f"{what} {url!r} is not https; whoever is on the way could hand out keys of their own",
            hint="use https; `development = true` allows http on loopback, for trying things out only",
        )
    if not is_loopback(host):
        raise ConfigError(f"{what} {url!r}: even in development, http is for loopback only", hint="use https")


def is_loopback(host: str) -> bool:
    """Whether a host name or literal address means this machine."""
    if host == "localhost":
        return True
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False
