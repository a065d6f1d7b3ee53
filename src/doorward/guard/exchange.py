"""A token for a gateway token (RFC 8693): once, for at most ten minutes, by whoever it is about or an agent acting for them.

Contract: `exchange` returns a token that says no more than what was presented says, or raises AuthenticationError. Every
issuer's token is spent by it, durably, until it expires; so is a gateway token that is the subject. A gateway token that
says who acts is not: within its ten minutes an agent may act for several people. The result lives no longer than any of
them, and is good for no target that one of them is not good for.

The token is bound to the key that whoever asks has shown (DPoP, RFC 9449), and to the certificate that they get here, if they
ask for one (RFC 8705): for an agent it lasts as long as the token, for a person as long as a login, and is good for nothing
without a token of theirs. What is bound can be exchanged by whoever holds its key, and comes out bound.

Delegation keeps both: `subject_token` is for whom, `actor_token` who acts. There is no impersonation: an agent's result
names the agent, and only a registered agent acts for anybody.

If we die between spending and answering, a token was spent for nothing: get a new one from the issuer.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass, replace
from typing import Any, Final

from doorward.errors import AuthenticationError
from doorward.guard.admission import Admission, refused
from doorward.guard.describe import describe_identity
from doorward.guard.ports import NOTHING, CertificateMaker, Clock, Shown, TokenMaker, Verified
from doorward.guard.recorder import Recorder
from doorward.guard.stores import IdentityStore
from doorward.model import LONGEST_BEARER, Identity, Kind

LIFETIME: Final = 600  # seconds
LONGEST_LOGIN: Final = 12 * 3600  # seconds that a person's certificate lasts at most
SHORTEST: Final = 5  # what is over before that is not worth having
MOST_LINKS: Final = 5
_SLACK: Final = 600  # seconds that a spent token is remembered beyond its end: clocks differ


@dataclass(frozen=True, slots=True)
class Issued:
    """A gateway token, how many seconds it lasts, and the thumbprint of the key that it is to be used with, if it is bound to
    one that signs proofs. `certificate` (PEM) is there if one was asked for."""

    token: str
    expires_in: int
    audience: tuple[str, ...]
    key: str = ""
    certificate: str = ""


class Exchange:
    """The token endpoint's whole mind. `targets` are the names that a token may be narrowed to."""

    def __init__(
        self,
        standing: Admission,
        store: IdentityStore,
        maker: TokenMaker,
        recorder: Recorder,
        clock: Clock,
        targets: Collection[str],
        *,
        certificates: CertificateMaker,
        login: int = LONGEST_LOGIN,
    ) -> None:
        """`login` is how many seconds a person's certificate lasts, LONGEST_LOGIN at most."""
        self._standing = standing
        self._store = store
        self._maker = maker
        self._recorder = recorder
        self._clock = clock
        self._targets = frozenset(targets)
        self._certificates = certificates
        self._login = min(login, LONGEST_LOGIN)

    async def exchange(
        self,
        subject_token: str,
        actor_token: str = "",
        *,
        audience: Sequence[str] = (),
        key: str = "",
        request: str = "",
        proven: Callable[[], None] = lambda: None,
    ) -> Issued:
        """`audience` are names of targets, their resources (RFC 8707), or the gateway's own url. `key` is the thumbprint of the
        key that whoever asks has shown; `request` asks for a certificate (PKCS#10, PEM); the token is bound to both. `proven`
        is called once the tokens are known to be sound, and may object. AuthenticationError, with the code `target` where only
        the audience is wrong; UpstreamError."""
        shown = Shown(key=key)
        # Who presents them is whoever acts. What the others have bound to keys of theirs is not theirs to hand on.
        subject = await self._presented(subject_token, NOTHING if actor_token else shown)
        actor = await self._presented(actor_token, shown) if actor_token else None
        proven()
        try:
            return await self._exchange(subject, actor, audience, key, request)
        except AuthenticationError as error:
            error.issuer = error.issuer or subject.issuer
            error.token = error.token or subject.identity.token_id
            raise

    async def _presented(self, token: str, shown: Shown) -> Verified:
        verified = await self._standing.verify(token, shown)
        try:
            if not verified.jti:
                raise refused(
                    "it has no 'jti', so nobody could tell whether it was used before", "have the issuer add it", "no_jti"
                )
            if verified.expires - verified.issued > LONGEST_BEARER:
                raise refused("it lasts longer than an hour", "have the issuer make shorter ones", "too_long")
        except AuthenticationError as error:
            error.issuer, error.token = verified.issuer, verified.identity.token_id
            raise
        return verified

    async def _exchange(
        self, subject: Verified, actor: Verified | None, audience: Sequence[str], key: str, request: str
    ) -> Issued:
        presenting = subject if actor is None else actor
        if (key or request) and presenting.issuer == self._maker.url and not presenting.identity.bound_to:
            raise refused(
                "it is a gateway token that is bound to no key, and stays so: whoever copied it could bind it to theirs",
                "bind your issuer's token instead", "bound",
            )  # fmt: skip
        identity = await self._standing.admitted(subject, delegating=actor is not None)
        if actor is not None:
            acting = await self._standing.admitted(actor)
            self._may_act(subject, actor, acting, identity)
            identity = replace(
                acting, on_behalf_of=identity, audience=_both(acting.audience, identity.audience)
            )
        self._registered(identity)
        narrowed = self._narrowed(audience)
        if narrowed and identity.audience and not set(narrowed) <= set(identity.audience):
            raise refused("it is not good for that target", "ask for one that it is good for", "target")
        identity = replace(identity, audience=narrowed or identity.audience)
        now = self._clock.now() // 1000
        presented = [subject] if actor is None else [subject, actor]
        expires = min([now + LIFETIME, *(each.expires for each in presented)])
        if expires - now < SHORTEST:
            raise refused("it is about to expire", "get a new one", "expired")
        jti = self._clock.new_id()
        cnf = {"jkt": key} if key else {}
        certificate, pem = None, ""
        if request:
            person = identity.kind is Kind.HUMAN and identity.on_behalf_of is None
            until = now + self._login if person else expires
            pem, certificate = self._certificates.issue(request, identity.id, id=jti, issued=now, expires=until)
            cnf["x5t#S256"] = certificate.thumbprint
        txn = subject.claims.get("txn") if subject.issuer == self._maker.url else None
        token = self._maker.make(
            identity, jti=jti, issued=now, expires=expires,
            more={**_more(subject, identity, str(txn or self._clock.new_id())), **({"cnf": cnf} if cnf else {})},
        )  # fmt: skip
        spent = [(subject.issuer, subject.jti)]
        if actor is not None and actor.issuer != self._maker.url:
            spent.append((actor.issuer, actor.jti))
        until = (max(each.expires for each in presented) + _SLACK) * 1000
        if not await self._store.exchange(spent, until, jti, now * 1000):
            raise refused("it was exchanged before, and a token is exchanged once", "get a new one", "replayed")
        await self._recorder.event(
            "token.exchanged",
            {
                "identity": describe_identity(identity), "token": jti, "expires_at": expires * 1000,
                "from": [[issuer, used] for issuer, used in spent], "audience": list(identity.audience), "cnf": cnf,
            },
            actor=identity.id,
        )  # fmt: skip
        if certificate is not None:
            await self._recorder.event(
                "certificate.issued",
                {
                    "identity": describe_identity(identity), "certificate": certificate.id,
                    "thumbprint": certificate.thumbprint, "expires_at": certificate.expires * 1000,
                },
                actor=identity.id,
            )  # fmt: skip
        return Issued(token, expires - now, identity.audience, key, pem)

    def _registered(self, identity: Identity) -> None:
        if any(link.kind is Kind.AGENT and link.issuer != self._maker.url for link in identity.chain()):
            raise refused(
                "it is of an agent that is not registered", "have an administrator register it: doorward agents register",
                "unregistered",
            )  # fmt: skip

    def _may_act(self, subject: Verified, actor: Verified, acting: Identity, principal: Identity) -> None:
        if acting.kind is not Kind.AGENT or acting.issuer != self._maker.url:
            raise refused(
                "the one who would act is not a registered agent",
                "have an administrator register it: doorward agents register", "unregistered",
            )  # fmt: skip
        if acting.on_behalf_of is not None:
            raise refused(
                "the actor's token says for whom it acts already", "present the actor's own token as actor_token", "actor"
            )
        chain = principal.chain()
        if acting.id in {link.id for link in chain}:
            raise refused("the agent acts in it already", "present the token that was given to you", "actor")
        if len(chain) >= MOST_LINKS:
            raise refused(f"more than {MOST_LINKS} would stand in its chain", "shorten the chain of delegation", "actor")
        allowed = subject.claims.get("may_act")  # RFC 8693 section 4.4
        if allowed is not None and not (
            isinstance(allowed, dict)
            and allowed.get("sub") in (actor.claims.get("sub"), acting.id)
            and allowed.get("iss", actor.issuer) == actor.issuer
        ):
            raise refused("its 'may_act' names somebody else", "have the issuer name this actor", "actor")

    def _narrowed(self, audience: Sequence[str]) -> tuple[str, ...]:
        found: list[str] = []
        for each in audience:
            if each == self._maker.url:
                continue
            name = each.removeprefix(f"{self._maker.url}/targets/")
            if name not in self._targets:
                # RFC 8707 section 2. Whoever asks has shown nothing yet, and does not learn which targets there are.
                raise refused("it cannot be good for what was asked for", "name a target that you may use", "target")
            found.append(name)
        return tuple(dict.fromkeys(found))


def _both(one: tuple[str, ...], other: tuple[str, ...]) -> tuple[str, ...]:
    """What both are good for; empty means everything."""
    if not one or not other:
        return one or other
    shared = tuple(name for name in one if name in other)
    if not shared:
        raise refused("there is no target that both tokens are good for", "narrow them alike", "target")
    return shared


def _more(subject: Verified, identity: Identity, txn: str) -> dict[str, Any]:
    """What else is known of how the subject signed in. RFC 9068 section 2.2.1."""
    said = {name: subject.claims[name] for name in ("amr", "acr", "auth_time") if name in subject.claims}
    client = next((c for c in (subject.claims.get("client_id"), subject.claims.get("azp")) if isinstance(c, str)), "")
    client = identity.subject if identity.kind is Kind.AGENT else client or identity.subject
    return {**said, "client_id": client, "azp": client, "txn": txn}


