"""Approvers' keys: who may sign votes with what.

The registry is the log: a key is there because `approver_key.registered` is, and stops voting because
`approver_key.revoked` is. At the start both are read back from the sealed events, so that nobody can add or revive a key by
writing to a table. A key votes only after its registration is durable.

People register keys of their own: with proof that they have the private half, and soon after they logged in, where the
issuer tells when that was. A key belongs to one person for ever; one that was revoked does not come back.
"""

from __future__ import annotations

import secrets
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import replace
from typing import Any, Final

from doorward.errors import DoorwardError, IntegrityError, ProtocolError
from doorward.guard.neighbours import nobody
from doorward.guard.ports import Clock
from doorward.guard.recorder import Recorder
from doorward.ledger import sshsig, votes
from doorward.ledger.encoding import canonical
from doorward.ledger.votes import ApproverKey, key_id
from doorward.model import Event, Identity, Kind

FRESH: Final = 300  # seconds since the login
MOST_KEYS: Final = 10  # of one person
MOST_CHALLENGES: Final = 1000
MOST_NAME: Final = 80
REGISTERED: Final = "approver_key.registered"
REVOKED: Final = "approver_key.revoked"


class KeyRefusedError(Exception):
    """This key cannot be registered or revoked; the message says why and is safe to show to who tried."""


def login(who: Identity) -> dict[str, str]:
    """What somebody's issuer says of how and when they signed in, for the record of what they did then."""
    return {name: value for name, value in who.claims.items() if name in ("auth_time", "acr", "amr")}


class ApproverKeys:
    """Every key that was ever registered. `gateway` is its name."""

    def __init__(
        self, recorder: Recorder, clock: Clock, gateway: str, tell: Callable[[], Awaitable[None]] = nobody
    ) -> None:
        self._tell = tell
        self.gateway = gateway
        self._recorder, self._clock = recorder, clock
        self._keys: dict[str, ApproverKey] = {}
        self._asked: dict[tuple[str, str], tuple[int, Any]] = {}  # (owner, what) -> until, challenge

    def take_up(self, event: Event) -> None:
        """What the log says, event after event: of an earlier life, of another process, or of this one once more."""
        body = event.body
        if event.type == REGISTERED:
            key = ApproverKey.of(body)
            first = self._keys.setdefault(key.id, key)
            if first.owner != key.owner:  # registered at two processes in one moment: then neither has it alone
                self._keys[key.id] = replace(first, revoked_at=first.revoked_at or event.at)
        elif event.type == REVOKED and (known := self._keys.get(body["key"])) is not None and not known.revoked_at:
            self._keys[known.id] = replace(known, revoked_at=event.at)

    def find(self, id_: str) -> ApproverKey | None:
        """By its id, revoked or not."""
        return self._keys.get(id_)

    def of(self, owner: str) -> list[ApproverKey]:
        """Somebody's keys, revoked ones too, oldest first."""
        return [key for key in self._keys.values() if key.owner == owner]

    def voting(self, owner: str) -> list[ApproverKey]:
        """Those that may vote."""
        return [key for key in self.of(owner) if not key.revoked_at]

    # Registering ---------------------------------------------------------------------------------------------------

    def check_who(self, who: Identity) -> None:
        """Whether somebody may register keys now. Raises KeyRefusedError."""
        if who.kind is not Kind.HUMAN or who.on_behalf_of is not None:
            raise KeyRefusedError("only people have keys to approve with, and only their own")
        at = who.claims.get("auth_time", "")
        if at.isdigit() and self._clock.now() - int(at) * 1000 > FRESH * 1000:
            raise KeyRefusedError(f"you logged in more than {FRESH // 60} minutes ago: log in again, then register the key")
        if len(self.voting(who.id)) >= MOST_KEYS:
            raise KeyRefusedError(f"you have {MOST_KEYS} keys already: revoke one first")

    def remember(self, owner: str, what: str, challenge: Any) -> None:
        """Keep a challenge that was given to somebody, for a few minutes and one answer."""
        now = self._clock.now()
        if len(self._asked) >= MOST_CHALLENGES:
            self._asked = {key: value for key, value in self._asked.items() if value[0] > now}
            if len(self._asked) >= MOST_CHALLENGES:
                raise KeyRefusedError("too many keys are being registered at once: try again in a minute")
        self._asked[owner, what] = now + FRESH * 1000, challenge

    def answered(self, owner: str, what: str) -> Any:
        """The challenge, once. Raises KeyRefusedError if there is none, or none any more."""
        until, challenge = self._asked.pop((owner, what), (0, None))
        if until <= self._clock.now():
            raise KeyRefusedError("nothing is being registered, or it took longer than five minutes: begin again")
        return challenge

    def ssh_challenge(self, who: Identity, line: str) -> str:
        """What the owner of an SSH key signs to register it, in namespace `doorward-key@<gateway>`. Raises
        KeyRefusedError, ProtocolError."""
        self.check_who(who)
        key = sshsig.public_key(line)
        challenge = {
            "exp": self._clock.now() + FRESH * 1000, "fingerprint": key.fingerprint, "gateway": self.gateway,
            "nonce": secrets.token_hex(32), "owner": who.id, "typ": "doorward.key", "v": 1,
        }  # fmt: skip
        self.remember(who.id, key.line, challenge)
        return canonical(challenge).decode()

    async def register_ssh(self, who: Identity, line: str, name: str, proof: str) -> ApproverKey:
        """Register the SSH key, once its owner has signed the challenge. Raises KeyRefusedError, ProtocolError."""
        key = sshsig.public_key(line)
        challenge = self.answered(who.id, key.line)
        try:
            verified = sshsig.verify(proof, canonical(challenge), votes.key_namespace(self.gateway))
        except IntegrityError as error:
            raise KeyRefusedError(error.message) from None
        if verified.key != key:
            raise KeyRefusedError("the proof is signed by another key")
        if key.application and not verified.flags & sshsig.PRESENT:
            raise KeyRefusedError("nobody touched the security key")
        found = ApproverKey(
            key_id(votes.SSHSIG, key.line), who.id, name or key.fingerprint, votes.SSHSIG, key.line, votes.ssh_tier(key),
            self._clock.now(),
        )  # fmt: skip
        return await self.register(who, found, {"proof": {"challenge": challenge, "signature": proof}})

    async def register(self, who: Identity, key: ApproverKey, more: Mapping[str, Any]) -> ApproverKey:
        """Register a key whose owner has proved to have it. Durable when this returns. Raises KeyRefusedError."""
        self.check_who(who)
        if not key.name.isprintable() or len(key.name) > MOST_NAME:
            raise KeyRefusedError(f"a key's name is one printable line of at most {MOST_NAME} characters")
        known = self._keys.get(key.id)
        if known is not None:
            if known.owner != who.id or known.revoked_at:
                raise KeyRefusedError("this key was revoked, or is another person's: make a new one")
            return known
        # Taken before it is on record, so that no two people can register one key at once; voting only after.
        self._keys[key.id] = replace(key, revoked_at=1)
        try:
            body = {**key.body(), **more, "session": {**login(who), "token": who.token_id}}
            await self._recorder.event(REGISTERED, body, actor=who.id)
        except DoorwardError:
            del self._keys[key.id]
            raise
        self._keys[key.id] = key
        await self._published()
        return key

    async def revoke(self, id_: str, *, actor: str) -> ApproverKey:
        """No vote with it counts from here on, nor one that is not spent yet. LookupError if there is no such key."""
        key = self._keys.get(id_)
        if key is None or key.revoked_at:
            raise LookupError(id_)
        gone = replace(key, revoked_at=self._clock.now())
        self._keys[id_] = gone  # at once: if it cannot be recorded, the caller is told, and until the next start it is gone
        await self._recorder.event(REVOKED, {"key": id_, "owner": key.owner, "name": key.name}, actor=actor)
        await self._published()
        return gone

    async def _published(self) -> None:
        """Every process knows. UpstreamError: it is on record, and one of them may not know yet."""
        await self._recorder.publish()
        await self._tell()

    def signed(self, id_: str, owner: str, request: bytes, signature: Mapping[str, Any]) -> tuple[ApproverKey, int]:
        """The key and the flags of a vote by `owner`. Raises IntegrityError for anything else, in words for people."""
        key = self._keys.get(id_)
        if key is None or key.owner != owner:
            raise IntegrityError("this vote is signed by a key that is not registered as yours")
        if key.revoked_at:
            raise IntegrityError("this vote is signed by a key that was revoked")
        try:
            return key, votes.check(key, request, signature, self.gateway)
        except ProtocolError as error:
            raise IntegrityError(error.message) from None

    def signer(self, owner: str, signature: Mapping[str, Any]) -> str:
        """The id of the key that a signature says it is by; "" if that is none of `owner`'s."""
        for key in self.of(owner):
            if key.method == votes.SSHSIG == signature.get("method"):
                try:
                    if sshsig.parse(str(signature.get("signature"))).key.line == key.public_key:
                        return key.id
                except ProtocolError:
                    return ""
            elif key.method == votes.WEBAUTHN == signature.get("method"):
                credential = signature.get("credential")
                if isinstance(credential, Mapping) and credential.get("id") == key.credential:
                    return key.id
        return ""
