"""Who is asking."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from enum import StrEnum


class Kind(StrEnum):
    """What sort of principal an identity is. Only a human may vote on an approval."""

    HUMAN = "human"
    AGENT = "agent"
    SERVICE = "service"


class Assurance(StrEnum):
    """How well somebody has shown who they are. Every record carries it; policies read it as a number, `level`."""

    V0 = "V0"  # a bearer token that lasts longer than an hour: by the time that it is used, anybody may hold it
    V1 = "V1"  # a bearer token of at most an hour: whoever holds it is let in
    V2 = "V2"  # bound to a key, of which the one who presents it has shown possession
    V3 = "V3"  # bound, and an attested workload acts for a person

    @property
    def level(self) -> int:
        """0 to 3."""
        return int(self.value[1])


LONGEST_BEARER = 3700  # seconds that a bearer token may last and be V1: an hour, and what API servers add to it


def assurance(*, lifetime: int, bound: bool = False, attested: bool = False, human: bool = False) -> Assurance:
    """The one place where it is computed. `lifetime` is the token's, in seconds; `attested`: the one who acts is a workload
    whose platform vouches for it by ids that nobody can choose; `human`: there is a person in the chain."""
    if bound:
        return Assurance.V3 if attested and human else Assurance.V2
    return Assurance.V1 if lifetime <= LONGEST_BEARER else Assurance.V0


@dataclass(frozen=True, slots=True)
class Identity:
    """A principal, as its issuer vouches for it.

    `subject` and `issuer` together are the identity; two issuers may use the same subject. Times are Unix
    milliseconds. `on_behalf_of` is the next link of the delegation chain (RFC 8693 `act`, turned so that the one who
    acts comes first): an agent's identity carries the person it acts for. `token_id` is the token's `jti` (or a hash of
    it), kept so that a record can be tied to one token without holding the token. `issued_at` is when that token was made:
    of two, the newer says which groups hold. `audience` are the targets that the token is good for; none: every one.
    `bound_to` is the key of which the bearer has shown possession: `jkt:` and its thumbprint (RFC 7638), or `certificate:`
    and the id of a certificate of the gateway's own; "" for a bearer token.
    """

    subject: str
    kind: Kind
    issuer: str
    groups: frozenset[str] = frozenset()
    claims: Mapping[str, str] = field(default_factory=dict)
    on_behalf_of: Identity | None = None
    authenticated_at: int = 0
    expires_at: int = 0
    assurance: Assurance = Assurance.V1
    token_id: str = ""
    issued_at: int = 0
    audience: tuple[str, ...] = ()
    bound_to: str = ""

    @property
    def id(self) -> str:
        """`issuer|subject`: what two mentions of the same principal have in common."""
        return f"{self.issuer}|{self.subject}"

    def chain(self) -> tuple[Identity, ...]:
        """This identity, then whom it acts for, and so on."""
        links: list[Identity] = []
        link: Identity | None = self
        while link is not None and len(links) < 8:  # a token with a longer chain is refused before it gets here
            links.append(link)
            link = link.on_behalf_of
        return tuple(links)


def bound(identity: Identity, key: str, *, attested: bool) -> Identity:
    """The same, whose bearer has shown possession of a key (as `Identity.bound_to` has it); `attested` as in `assurance`."""
    links = identity.chain()
    level = assurance(lifetime=0, bound=True, attested=attested, human=any(link.kind is Kind.HUMAN for link in links))
    found: Identity | None = None
    for link in reversed(links):
        found = replace(link, on_behalf_of=found, assurance=level)
    assert found is not None
    return replace(found, bound_to=key)
