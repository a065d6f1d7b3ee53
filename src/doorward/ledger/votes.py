"""Votes that nobody can dispute: approvers' keys, a vote's signature, and what a log's votes must say together.

A vote is a canonical request (request.py) and a signature over it: an SSHSIG of exactly its bytes, or a WebAuthn assertion
whose challenge is its digest. `check` is what the gateway asks when a vote is cast and again just before it is spent, and
what `VoteTrail` asks years later of the events alone.

`VoteTrail` is fed with the opened events of a log in order: a key is registered before it votes and not revoked when it
does; what was signed is what was asked; nothing is spent without enough people, after a no, too late, or twice.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from hashlib import sha256
from typing import Any, Final

from doorward.errors import IntegrityError, ProtocolError
from doorward.ledger import request as requests
from doorward.ledger import sshsig, webauthn
from doorward.ledger.encoding import canonical
from doorward.model import Vote

SSHSIG: Final = "sshsig"
WEBAUTHN: Final = "webauthn"
EVIDENCE: Final = ("flags", "groups", "key", "method", "request", "session", "signature", "tier")  # of a vote, in its event
HARDWARE, PASSKEY, SOFTWARE = TIERS = ("hardware", "passkey", "software")


def namespace(gateway: str) -> str:
    """Of the SSH signatures of votes at a gateway."""
    return f"doorward-approval@{gateway}"


def key_namespace(gateway: str) -> str:
    """Of the SSH signatures by which a key is registered there."""
    return f"doorward-key@{gateway}"


@dataclass(frozen=True, slots=True)
class ApproverKey:
    """A public key and whose it is. `public_key` is a line of SSH, or a COSE key in base64url. `tier` is hardware (cannot
    leave its device), passkey (may be copied between its owner's devices) or software. Times are Unix ms; `revoked_at` is 0
    while it may vote. `credential`, `rp_id` and `origins` are those of a WebAuthn key."""

    id: str
    owner: str  # Identity.id
    name: str
    method: str
    public_key: str
    tier: str
    registered_at: int
    revoked_at: int = 0
    credential: str = ""
    rp_id: str = ""
    origins: tuple[str, ...] = ()
    aaguid: str = ""

    def body(self) -> dict[str, Any]:
        """As the event of its registration has it."""
        return {
            "key": self.id, "owner": self.owner, "name": self.name, "method": self.method, "public_key": self.public_key,
            "tier": self.tier, "registered_at": self.registered_at, "credential": self.credential, "rp_id": self.rp_id,
            "origins": list(self.origins), "aaguid": self.aaguid,
        }  # fmt: skip

    @classmethod
    def of(cls, body: Mapping[str, Any]) -> ApproverKey:
        """The key of such an event. IntegrityError if its id is not that of the key."""
        try:
            found = cls(
                body["key"], body["owner"], body["name"], body["method"], body["public_key"], body["tier"],
                body["registered_at"], 0, body["credential"], body["rp_id"], tuple(body["origins"]), body["aaguid"],
            )  # fmt: skip
            sound = found.id == key_id(found.method, found.public_key)
        except (KeyError, TypeError, AttributeError):
            sound = False
        if not sound:
            raise IntegrityError("the registration of a key that does not fit together")
        return found


def key_id(method: str, public_key: str) -> str:
    """What a key is called: 32 hexadecimal digits of the hash of what it is."""
    return sha256(f"doorward/key/v1\0{method}\0{public_key}".encode()).hexdigest()[:32]


def ssh_tier(key: sshsig.PublicKey) -> str:
    """Of an SSH key: a security key cannot leave its device."""
    return HARDWARE if key.application else SOFTWARE


def check(key: ApproverKey, request: bytes, signature: Mapping[str, Any], gateway: str) -> int:
    """The flags (UP 1, UV 4; 0 of plain SSH keys) of a signature by this key over this request. ProtocolError,
    IntegrityError. Whether the key may vote, and on this, is for the caller to say."""
    if signature.get("method") != key.method:
        raise IntegrityError("the signature is not by this key: it is of another kind")
    if key.method == SSHSIG:
        armored = signature.get("signature")
        if not isinstance(armored, str):
            raise ProtocolError("a vote's `signature` is the text that `ssh-keygen -Y sign` wrote")
        verified = sshsig.verify(armored, request, namespace(gateway))
        if verified.key.line != key.public_key:
            raise IntegrityError("the signature is by another key")
        if verified.key.application and not verified.flags & sshsig.PRESENT:
            raise IntegrityError("nobody touched the security key")
        return verified.flags
    assertion = webauthn.parse(signature.get("credential"))
    if webauthn.base64url(assertion.credential_id) != key.credential:
        raise IntegrityError("the assertion is by another key")
    cose = webauthn.unbase64url(key.public_key, "the public key")
    return webauthn.check(
        assertion, cose, challenge=requests.challenge(request), rp_id=key.rp_id, origins=key.origins
    ).flags


def recorded(actor: str, at: int, body: Mapping[str, Any]) -> Vote | None:
    """The vote that an `approval.voted` event is the record of, as a store keeps it. None: of before votes were signed."""
    if "key" not in body:
        return None
    evidence = canonical({name: body[name] for name in EVIDENCE})
    return Vote(actor, body["approve"], at, body["comment"], body["key"], evidence)


VERIFIED: Final = 4  # the flag UV: a person was verified, by a finger or a number, on the device that signed


def check_verified(key: ApproverKey, flags: int) -> None:
    """Whether a signature shows its owner in person, as breaking glass needs. IntegrityError."""
    if key.method == SSHSIG and key.tier != HARDWARE:
        raise IntegrityError("to break glass takes a passkey or a security key: a key in a file is not you in person")
    if not flags & VERIFIED:
        raise IntegrityError(
            "the security key did not verify you in person: use a passkey, or one made with `ssh-keygen -O verify-required`"
        )


_SHOWN: Final = ("text", "params", "role", "search_path")


def _shown(body: Mapping[str, Any]) -> tuple[Any, ...]:
    """What a person saw of an operation, and what ran."""
    return tuple([body.get(name) for name in _SHOWN])


def _preview(body: Mapping[str, Any]) -> str:
    return sha256(canonical(body["preview"])).hexdigest() if body.get("preview") else ""


@dataclass(slots=True)
class _Asked:
    terms: dict[str, Any] | None  # None: asked before votes were signed
    shown: tuple[Any, ...] = ()  # of the operation: `_SHOWN`
    votes: dict[str, tuple[bool, frozenset[str], str]] = field(default_factory=dict)  # approver -> yes, groups, key
    spent: str = ""  # the operation
    ran: bool = False
    over: int = 0  # when it was withdrawn or expired, Unix ms
    last: int = 0  # when the last vote was cast
    uses: dict[str, bool] = field(default_factory=dict)  # of a grant: operation -> it ran
    newest: int = 0  # when it was last counted that it is used

    @property
    def grant(self) -> bool:
        return self.terms is not None and self.terms.get("typ") == requests.GRANT


class VoteTrail:
    """What the opened events of a log say of keys and votes. `add` raises IntegrityError for what does not fit."""

    TYPES: Final = (
        "approver_key.registered", "approver_key.revoked", "approval.requested", "approval.voted", "approval.spent",
        "approval.withdrawn", "approval.expired", "grant.used", "grant.settled", "break_glass.reviewed", "operation.permitted",
    )

    def __init__(self, gateway: str) -> None:
        self.keys: dict[str, ApproverKey] = {}
        self.votes = 0  # whose signature was checked
        self.unsigned = 0  # from before votes were signed
        self.spent = 0
        self.used = 0  # statements that ran under grants
        self._gateway = gateway
        self._asked: dict[str, _Asked] = {}

    def add(self, type_: str, actor: str, at: int, body: Mapping[str, Any]) -> None:
        """The next event of one of `TYPES`. `at` is Unix ms."""
        try:
            match type_:
                case "approver_key.registered":
                    self._register(actor, body)
                case "approver_key.revoked":
                    key = self._key(body["key"])
                    self.keys[key.id] = replace(key, revoked_at=at)
                case "approval.requested":
                    terms = body.get("terms")
                    if terms is not None and terms.get("preview", _preview(body)) != _preview(body):
                        raise IntegrityError(f"request {body['approval']} shows another preview than its terms")
                    self._asked.setdefault(body["approval"], _Asked(terms, _shown(body)))
                case "approval.voted":
                    self._vote(actor, at, body)
                case "approval.spent":
                    self._spend(at, body)
                case "approval.withdrawn" | "approval.expired":
                    if (ended := self._asked.get(body["approval"])) is not None:
                        ended.over = ended.over or at
                        if ended.newest > at:
                            raise IntegrityError(f"grant {body['approval']} was used after its end")
                case "break_glass.reviewed":
                    self._review(actor, body)
                case "grant.used":
                    self._use(actor, at, body)
                case "grant.settled":
                    if body["operation"] not in self._request(body["approval"]).uses or body["rows"] < 0:
                        raise IntegrityError(f"grant {body['approval']} has the outcome of an operation that did not use it")
                case "operation.permitted" if body.get("approval"):
                    asked = self._request(body["approval"])
                    if asked.grant:
                        self._ran(asked, body)
                    elif asked.ran or asked.spent != body["operation"]:
                        raise IntegrityError(f"request {body['approval']} let an operation run that it was not spent for")
                    elif asked.terms is not None and asked.shown != _shown(body):
                        raise IntegrityError(f"request {body['approval']} let another operation run than the one it shows")
                    else:
                        asked.ran = True
        except (KeyError, TypeError, AttributeError, ValueError, ProtocolError) as error:
            what = error.message if isinstance(error, ProtocolError) else "a member is missing, or of another kind"
            raise IntegrityError(f"{type_}: {what}") from None

    def _request(self, rid: str) -> _Asked:
        asked = self._asked.get(rid)
        if asked is None:
            raise IntegrityError(f"request {rid} was never asked")
        return asked

    def _key(self, id_: str) -> ApproverKey:
        key = self.keys.get(id_)
        if key is None:
            raise IntegrityError(f"key {id_} was never registered")
        return key

    def _register(self, actor: str, body: Mapping[str, Any]) -> None:
        key = ApproverKey.of(body)
        if key.id in self.keys or key.owner != actor:
            raise IntegrityError(f"key {key.id} is registered twice, or by another than its owner")
        if key.method == SSHSIG:
            proof = body["proof"]
            said = canonical(proof["challenge"])
            verified = sshsig.verify(proof["signature"], said, key_namespace(self._gateway))
            if verified.key.line != key.public_key or proof["challenge"]["owner"] != key.owner:
                raise IntegrityError(f"key {key.id} was registered without proof that its owner has it")
        self.keys[key.id] = key

    def _vote(self, actor: str, at: int, body: Mapping[str, Any]) -> None:
        asked = self._request(body["approval"])
        if asked.terms is None:
            self.unsigned += 1
            return
        said = requests.request(asked.terms, actor, approve=body["approve"])
        if said != body["request"].encode():
            raise IntegrityError(f"what {actor} signed is not what request {body['approval']} asked")
        requests.parse(said)
        key = self._key(body["key"])
        if key.owner != actor or key.revoked_at:
            raise IntegrityError(f"key {key.id} was revoked, or is not {actor}'s")
        flags = check(key, said, body["signature"], self._gateway)
        alone = asked.grant and asked.terms["skips"] is not None
        if not alone and actor in (asked.terms["requester"], *asked.terms["act"]):
            raise IntegrityError(f"{actor} voted on a request of their own")
        if alone and body["approve"]:
            check_verified(key, flags)
            if actor != asked.terms["requester"]:
                raise IntegrityError(f"{actor} broke glass for somebody else")
        self.votes += 1
        if actor not in asked.votes:
            asked.last = at
        # Two of one person: the gateway had put the first on record and died, or could not say so, and it was cast again,
        # perhaps at another process. What comes first in the log counts, which is what its store has, too.
        asked.votes.setdefault(actor, (body["approve"], frozenset(body["groups"]), key.id))

    def _review(self, actor: str, body: Mapping[str, Any]) -> None:
        terms = self._request(body["approval"]).terms
        if terms is None or terms.get("skips") is None or actor in (terms["requester"], *terms["act"]):
            raise IntegrityError(f"{actor} reviewed what was not theirs to review")
        said = requests.request(terms, actor, approve=body["justified"], review=True)
        key = self._key(body["key"])
        if said != body["request"].encode() or key.owner != actor or key.revoked_at:
            raise IntegrityError(f"what {actor} signed is no review of request {body['approval']}, or not by a key of theirs")
        check(key, said, body["signature"], self._gateway)
        self.votes += 1

    def _use(self, actor: str, at: int, body: Mapping[str, Any]) -> None:
        rid, operation = body["approval"], body["operation"]
        asked = self._request(rid)
        terms = asked.terms
        if terms is None or not asked.grant:
            raise IntegrityError(f"request {rid} was used as a grant, and is none")
        counted = body["counted_at"]
        if (asked.over and counted > asked.over) or counted > at or operation in asked.uses or actor != terms["requester"]:
            raise IntegrityError(f"grant {rid} was used by another, twice for one operation, or after its end")
        self._enough(rid, asked, terms)
        limits = terms["limits"]
        if counted >= min(asked.last, terms["exp"]) + limits["minutes"] * 60_000:
            raise IntegrityError(f"grant {rid} was used after its time")
        asked.uses[operation] = False
        asked.newest = max(asked.newest, counted)
        if len(asked.uses) > limits["statements"] or not 0 <= body["reserved"] <= limits["rows"]:
            raise IntegrityError(f"grant {rid} was used for more than it allows")

    def _ran(self, asked: _Asked, body: Mapping[str, Any]) -> None:
        terms = asked.terms
        assert terms is not None
        decision = body["decision"]
        accesses = {access for _, _, access in body["resources"]} | {body["effect"]}
        if (
            asked.uses.get(body["operation"]) is not False
            or decision["policy"] != terms["policy"]["sha256"]
            or not set(decision["rules"]) <= set(terms["policy"]["rules"])
            or not accesses <= {*terms["actions"], "read"}
        ):
            raise IntegrityError(f"grant {terms['rid']} let an operation run that it was not given for")
        asked.uses[body["operation"]] = True
        self.used += 1

    def _enough(self, rid: str, asked: _Asked, terms: Mapping[str, Any]) -> None:
        quorum = terms["quorum"]
        yes = [groups for approve, groups, key in asked.votes.values() if approve and not self.keys[key].revoked_at]
        if len(yes) != len(asked.votes):
            raise IntegrityError(f"request {rid} was spent after a no, or with a key that was revoked")
        if not requests.seats_met(yes, quorum["k"], quorum["seats"]):
            raise IntegrityError(f"request {rid} was spent with fewer people than it takes")

    def _spend(self, at: int, body: Mapping[str, Any]) -> None:
        rid = body["approval"]
        asked = self._request(rid)
        if asked.spent:
            raise IntegrityError(f"request {rid} was spent twice")
        asked.spent = body["operation"]
        self.spent += 1
        if asked.terms is None:
            return
        if asked.grant:
            raise IntegrityError(f"grant {rid} was spent as if it were for one statement")
        self._enough(rid, asked, asked.terms)
        if at >= asked.terms["exp"]:
            raise IntegrityError(f"request {rid} was spent after its time")
