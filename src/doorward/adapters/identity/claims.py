"""From a verified token's claims to an Identity.

Contract: pure, and total over JSON: any verified claims give an Identity or an AuthenticationError. Who acts comes
first: with `act` (RFC 8693 section 4.1) the Identity is the actor, an agent, and `on_behalf_of` is the token's
subject. Only configuration can make an actor anything else, and nothing makes it human. Earlier actors (an `act` in
an `act`) are kept as a claim for the record; RFC 8693 forbids deciding by them.

Kinds, in this order: the first matching kind rule; `act`; a shape that only machines have (`_machine`); the issuer's
default, which is human unless configured. Only a human may approve, so an issuer of machine tokens should say so.
"""

from __future__ import annotations

from typing import Any

from doorward.adapters.identity import workloads
from doorward.adapters.identity.jwt import refused as malformed
from doorward.adapters.identity.settings import IssuerSettings
from doorward.errors import AuthenticationError
from doorward.model import Identity, Kind, assurance

_MAX_TEXT = 512
_MAX_GROUPS = 1000
_MAX_ACTORS = 4
_MAX_DEPTH = 8  # dots in a configured path


def refused(what: str, hint: str) -> AuthenticationError:
    """The token is sound, and what it says is not."""
    return malformed(what, hint, "claims")


def find(claims: object, path: str, depth: int = _MAX_DEPTH) -> object:
    """The value at a dotted path, or None. A name that itself has dots (`kubernetes.io`, `https://example.com/groups`)
    wins over a walk, and the shortest first step wins over a longer one."""
    if not isinstance(claims, dict):
        return None
    if path in claims:
        return claims[path]
    at = path.find(".")
    while at >= 0 and depth > 0:
        value = find(claims.get(path[:at]), path[at + 1 :], depth - 1)
        if value is not None:
            return value
        at = path.find(".", at + 1)
    return None


def identity(claims: dict[str, Any], settings: IssuerSettings, *, now: int, token_id: str) -> Identity:
    """Who the claims, already verified, are about. `now` is Unix milliseconds. Raises AuthenticationError."""
    expires, issued = int(claims["exp"]), int(claims["iat"])
    times: dict[str, Any] = {
        "authenticated_at": now, "expires_at": expires * 1000, "issued_at": issued * 1000, "token_id": token_id,
        "assurance": assurance(lifetime=expires - issued),
    }  # fmt: skip
    kept, name = _kept(claims, settings), _subject(claims, "sub")
    if settings.workload:
        name, ids = workloads.read(settings.workload, claims, find)
        kept |= ids
    subject = Identity(
        subject=name,
        kind=_kind(claims, settings),
        issuer=settings.url,
        groups=_groups(claims, settings),
        claims=kept,
        **times,
    )
    if "act" not in claims:
        return subject
    actors = _actors(claims["act"], settings)
    current = actors[0]
    kept = _kept(current, settings)
    if len(actors) > 1:
        kept["prior_actors"] = " < ".join(_subject(actor, "act.sub") for actor in actors[1:])
    ruled = _ruled(current, settings)
    return Identity(
        subject=_subject(current, "act.sub"),
        kind=ruled if ruled is Kind.SERVICE else Kind.AGENT,
        issuer=settings.url,
        groups=_groups(current, settings) | frozenset(settings.agent_groups),
        claims=kept,
        on_behalf_of=subject,
        **times,
    )


def _actors(act: object, settings: IssuerSettings) -> list[dict[str, Any]]:
    """The current actor, then earlier ones."""
    actors: list[dict[str, Any]] = []
    while act is not None:
        if not isinstance(act, dict):
            raise refused("its 'act' is not an object", "have the issuer follow RFC 8693 section 4.1")
        if len(actors) == _MAX_ACTORS:
            raise refused(f"more than {_MAX_ACTORS} actors stand in it", "shorten the chain of delegation")
        if act.get("iss", settings.url) != settings.url:
            # One issuer must not speak for another one's agents: a policy that names them trusts the other one.
            raise refused("it names an actor of another issuer", "have the actor's own issuer make the token")
        actors.append(act)
        act = act.get("act")
    if not actors:
        raise refused("its 'act' is empty", "have the issuer follow RFC 8693 section 4.1")
    return actors


def _subject(claims: dict[str, Any], name: str) -> str:
    subject = claims.get("sub")
    if not isinstance(subject, str) or not 0 < len(subject) <= _MAX_TEXT or not subject.isprintable():
        raise refused(
            f"its {name!r} is not a printable text of at most {_MAX_TEXT} characters", "have the issuer set it"
        )
    return subject


def _groups(claims: dict[str, Any], settings: IssuerSettings) -> frozenset[str]:
    path = settings.groups_claim
    elsewhere = claims.get("_claim_names")  # OpenID Connect Core section 5.6.2; Entra's "groups overage"
    if isinstance(elsewhere, dict) and path in elsewhere:
        # Absent groups would quietly lift every forbid that names one.
        raise refused(
            f"it has too many groups to hold, and says where to fetch {path!r} instead",
            "have the issuer send only the groups assigned to this application",
        )
    value = find(claims, path)
    if value is None:
        return frozenset()
    listed = [value] if isinstance(value, str) else value
    if (
        not isinstance(listed, list)
        or len(listed) > _MAX_GROUPS
        or not all(isinstance(name, str) and 0 < len(name) <= _MAX_TEXT and name.isprintable() for name in listed)
    ):
        raise refused(
            f"its {path!r} is not a list of at most {_MAX_GROUPS} group names",
            "check groups_claim, and what the issuer puts there",
        )
    return frozenset(listed)


def _kept(claims: dict[str, Any], settings: IssuerSettings) -> dict[str, str]:
    """The configured claims that are there and are text, numbers or yes and no. Anything else is left out, because
    a policy could not read it."""
    kept: dict[str, str] = {}
    for name, path in settings.claims.items():
        value = find(claims, path)
        if isinstance(value, bool):
            kept[name] = "true" if value else "false"
        elif isinstance(value, str | int) and (text := str(value)).isprintable() and len(text) <= _MAX_TEXT:
            kept[name] = text
    # How somebody signed in: the one list of texts that records want whole. RFC 8176: none of them has a space.
    said = claims.get("amr")
    if isinstance(said, list) and said and all(isinstance(each, str) and each.isprintable() for each in said):
        methods = " ".join(sorted({each for each in said if each and " " not in each}))
        if methods and len(methods) <= _MAX_TEXT:
            kept["amr"] = methods
    return kept


def _ruled(claims: dict[str, Any], settings: IssuerSettings) -> Kind | None:
    for rule in settings.kind_rules:
        if (value := find(claims, rule.claim)) is not None and rule.matches(value):
            return rule.kind
    return None


def _kind(claims: dict[str, Any], settings: IssuerSettings) -> Kind:
    ruled = _ruled(claims, settings)
    if ruled is None:
        ruled = Kind.SERVICE if _machine(claims) else settings.default_kind
    return Kind.SERVICE if settings.workload and ruled is Kind.HUMAN else ruled  # no rule makes a job a person


def _machine(claims: dict[str, Any]) -> bool:
    """Shapes that issuers give to machines only, so that a forgotten rule does not make a pipeline a person."""
    subject = str(claims.get("sub", ""))
    return (
        subject.startswith(("system:serviceaccount:", "spiffe://", "repo:", "project_path:"))  # Kubernetes, CI
        or subject in (claims.get("client_id"), claims.get("azp"), claims.get("cid"), claims.get("appid"))
        or subject.endswith("@clients")  # Auth0
        or claims.get("gty") == "client-credentials"
        or claims.get("idtyp") == "app"  # Entra
        or "kubernetes.io" in claims
        or str(claims.get("preferred_username", "")).startswith("service-account-")  # Keycloak
    )
