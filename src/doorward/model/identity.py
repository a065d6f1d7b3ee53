"""Who is asking."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum


class Kind(StrEnum):
    """What sort of principal an identity is. Only a human may vote on an approval."""

    HUMAN = "human"
    AGENT = "agent"
    SERVICE = "service"


@dataclass(frozen=True, slots=True)
class Identity:
    """A principal, as its issuer vouches for it.

    `subject` and `issuer` together are the identity; two issuers may use the same subject. Times are Unix
    milliseconds. `on_behalf_of` is the next link of the delegation chain (RFC 8693 `act`, turned so that the one who
    acts comes first): an agent's identity carries the person it acts for. `token_id` is the token's `jti` (or a hash of
    it), kept so that a record can be tied to one token without holding the token.
    """

    subject: str
    kind: Kind
    issuer: str
    groups: frozenset[str] = frozenset()
    claims: Mapping[str, str] = field(default_factory=dict)
    on_behalf_of: Identity | None = None
    authenticated_at: int = 0
    expires_at: int = 0
    assurance: int = 1
    token_id: str = ""

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
