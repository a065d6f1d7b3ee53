"""The HTTP API's part that is about approvers' keys: one's own, by SSH or as a passkey.

Registering takes two calls: `options` gives a challenge, the other takes the proof that its owner has the private half.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import Any, NoReturn, Protocol
from urllib.parse import urlsplit

from litestar import Request, delete, get, post
from litestar.exceptions import HTTPException, NotFoundException, PermissionDeniedException
from litestar.params import FromPath, JSONBody
from litestar.status_codes import HTTP_200_OK

from doorward.errors import ProtocolError
from doorward.guard.approvals import Approvals
from doorward.guard.approver_keys import KeyRefusedError
from doorward.guard.guard import Guard
from doorward.ledger import votes, webauthn
from doorward.ledger.votes import ApproverKey, key_id
from doorward.model import Identity, Target
from doorward.web.approvals import Allowed
from doorward.web.targets import Who

PASSKEY = "webauthn"  # under which a passkey's challenge is remembered: one at a time


class Served(Protocol):
    """What of the gateway these routes serve."""

    approvals: Approvals
    guard: Guard

    @property
    def targets(self) -> dict[str, Target]: ...
    @property
    def url(self) -> str:
        """Where people's browsers find the gateway."""
        ...


def routes(gateway: Served, who: Who, allowed: Allowed) -> Sequence[Any]:
    """The handlers. `allowed` asks policy: identity, action, target."""
    registry = gateway.approvals.keys

    def texts(given: dict[str, Any], *names: str) -> list[str]:
        if set(given) - set(names) or not all(isinstance(given.get(name, ""), str) for name in names):
            raise HTTPException(status_code=400, detail=f"send an object of texts: {', '.join(names)}")
        return [given.get(name, "") for name in names]

    def refuse(error: Exception) -> NoReturn:
        if isinstance(error, ProtocolError):
            raise HTTPException(status_code=400, detail=error.message) from None
        raise PermissionDeniedException(detail=str(error)) from None

    async def holder(request: Request[Any, Any, Any]) -> Identity:
        """Whoever asks, with a login: a token for some targets only makes nobody an approver."""
        identity = await who(request)
        if any(link.audience for link in identity.chain()):
            raise PermissionDeniedException(detail="this token is good for its targets only: keys are for whoever logs in")
        return identity

    @get("/api/keys")
    async def own(request: Request[Any, Any, Any]) -> list[dict[str, Any]]:
        """The caller's keys, revoked ones too."""
        identity = await holder(request)
        return [_shown(key) for key in registry.of(identity.id)]

    @post("/api/keys/ssh/options", status_code=HTTP_200_OK)
    async def ssh_options(request: Request[Any, Any, Any], data: JSONBody[dict[str, Any]]) -> dict[str, Any]:
        """What to sign to register an SSH key: {"public_key"}. `challenge` is the exact text."""
        identity = await holder(request)
        (line,) = texts(data, "public_key")
        try:
            challenge = registry.ssh_challenge(identity, line)
        except (KeyRefusedError, ProtocolError) as error:
            refuse(error)
        return {"challenge": challenge, "namespace": votes.key_namespace(registry.gateway)}

    @post("/api/keys/ssh", status_code=HTTP_200_OK)
    async def ssh(request: Request[Any, Any, Any], data: JSONBody[dict[str, Any]]) -> dict[str, Any]:
        """Register an SSH key: {"public_key", "name", "proof": the signature over the challenge, armored}."""
        identity = await holder(request)
        line, name, proof = texts(data, "public_key", "name", "proof")
        try:
            return _shown(await registry.register_ssh(identity, line, name, proof))
        except (KeyRefusedError, ProtocolError) as error:
            refuse(error)

    @post("/api/keys/webauthn/options", status_code=HTTP_200_OK)
    async def passkey_options(request: Request[Any, Any, Any]) -> dict[str, Any]:
        """PublicKeyCredentialCreationOptions, as JSON, for a passkey of the caller."""
        from webauthn import generate_registration_options, options_to_json
        from webauthn.helpers.structs import (
            AuthenticatorSelectionCriteria,
            PublicKeyCredentialDescriptor,
            ResidentKeyRequirement,
            UserVerificationRequirement,
        )

        identity = await holder(request)
        try:
            registry.check_who(identity)
            known = [key for key in registry.of(identity.id) if key.credential]
            options = generate_registration_options(
                rp_id=_host(gateway.url), rp_name=f"Doorward {registry.gateway}", user_name=identity.subject,
                user_display_name=identity.claims.get("name", identity.subject),
                user_id=bytes.fromhex(key_id("user", identity.id)),
                authenticator_selection=AuthenticatorSelectionCriteria(
                    resident_key=ResidentKeyRequirement.PREFERRED, user_verification=UserVerificationRequirement.REQUIRED
                ),
                exclude_credentials=[
                    PublicKeyCredentialDescriptor(webauthn.unbase64url(key.credential, "a credential")) for key in known
                ],
            )  # fmt: skip
            registry.remember(identity.id, PASSKEY, options.challenge)
        except KeyRefusedError as error:
            refuse(error)
        shown: dict[str, Any] = json.loads(options_to_json(options))
        return shown

    @post("/api/keys/webauthn", status_code=HTTP_200_OK)
    async def passkey(request: Request[Any, Any, Any], data: JSONBody[dict[str, Any]]) -> dict[str, Any]:
        """Register a passkey: {"name", "credential": as `navigator.credentials.create` gives it, by `toJSON()`}."""
        from webauthn import verify_registration_response
        from webauthn.helpers.exceptions import WebAuthnException
        from webauthn.helpers.structs import AttestationFormat

        identity = await holder(request)
        credential = data.get("credential")
        if not isinstance(credential, dict):
            raise HTTPException(status_code=400, detail='send {"name": "...", "credential": {...}}')
        (name,) = texts({k: v for k, v in data.items() if k != "credential"}, "name")
        try:
            challenge = registry.answered(identity.id, PASSKEY)
            verified = verify_registration_response(
                credential=credential, expected_challenge=challenge, expected_rp_id=_host(gateway.url),
                expected_origin=_origin(gateway.url), require_user_verification=True,
            )  # fmt: skip
            cose = verified.credential_public_key
            webauthn.public_key(cose)
        except KeyRefusedError as error:
            refuse(error)
        except ProtocolError as error:
            refuse(error)
        except (WebAuthnException, ValueError, KeyError, TypeError, AttributeError) as error:
            # Whatever the library makes of bytes that are no registration.
            said = str(error) if isinstance(error, WebAuthnException) else "it is not what a browser gives"
            raise PermissionDeniedException(detail=f"the passkey is not accepted: {said[:200]}") from None
        copied = str(verified.credential_device_type.value) == "multi_device"
        key = ApproverKey(
            key_id(votes.WEBAUTHN, webauthn.base64url(cose)), identity.id, name or "passkey", votes.WEBAUTHN,
            webauthn.base64url(cose), votes.PASSKEY if copied else votes.HARDWARE, gateway.guard.clock.now(),
            credential=webauthn.base64url(verified.credential_id), rp_id=_host(gateway.url), origins=(_origin(gateway.url),),
            aaguid=verified.aaguid,
        )  # fmt: skip
        response = credential["response"]
        raw = {
            "attestation": str(response["attestationObject"]), "client": str(response["clientDataJSON"]),
            "format": AttestationFormat(verified.fmt).value,
        }  # fmt: skip
        try:
            return _shown(await registry.register(identity, key, {"registration": raw}))
        except KeyRefusedError as error:
            refuse(error)

    @delete("/api/keys/{key:str}", status_code=HTTP_200_OK)
    async def revoke(request: Request[Any, Any, Any], key: FromPath[str]) -> dict[str, Any]:
        """Revoke a key: one's own, or anybody's, with `administer` on every target. What it signed and is not used yet
        counts no more."""
        identity = await holder(request)
        found = registry.find(key)
        if found is None or found.revoked_at or not (found.owner == identity.id or _rules(identity)):
            raise NotFoundException(detail=f"there is no key {key} that you may revoke")
        return _shown(await registry.revoke(key, actor=identity.id))

    def _rules(identity: Identity) -> bool:
        return bool(gateway.targets) and all(allowed(identity, "administer", name) for name in gateway.targets)

    return own, ssh_options, ssh, passkey_options, passkey, revoke


def _host(url: str) -> str:
    return urlsplit(url).hostname or ""


def _origin(url: str) -> str:
    """As browsers write it: without the port that goes without saying (RFC 6454, section 6.2)."""
    parts = urlsplit(url)
    usual = {"https": 443, "http": 80}.get(parts.scheme)
    return url.removesuffix(f":{usual}") if parts.port == usual else url


def _shown(key: ApproverKey) -> dict[str, Any]:
    return {
        "id": key.id, "name": key.name, "method": key.method, "tier": key.tier, "public_key": key.public_key,
        "registered_at": key.registered_at, "revoked_at": key.revoked_at, "owner": key.owner,
    }  # fmt: skip
