"""The gateway as an authorization server: its metadata (RFC 8414), its keys, the token exchange (RFC 8693) and the issuer's
back channel for logouts.

These routes need no bearer token: what is presented is in the form. Errors are those of RFC 6749 section 5.2, every refused
token is noted, and no answer is kept by anybody on the way.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Protocol
from urllib.parse import parse_qsl

from litestar import MediaType, Request, Response, get, post
from litestar.status_codes import HTTP_200_OK

from doorward.errors import AuthenticationError, UpstreamError
from doorward.guard.exchange import Exchange
from doorward.guard.refusals import Refusals
from doorward.guard.revocation import Revocations
from doorward.web.access import Proofs, presented, tell

GRANT = "urn:ietf:params:oauth:grant-type:token-exchange"
ACCESS_TOKEN = "urn:ietf:params:oauth:token-type:access_token"  # noqa: S105  # what kind of token
_KINDS = frozenset({
    ACCESS_TOKEN, "urn:ietf:params:oauth:token-type:jwt", "urn:ietf:params:oauth:token-type:id_token",
})  # fmt: skip
_REPEATED = frozenset({"resource", "audience"})  # RFC 8693 section 2.1; anything else at most once (RFC 6749 section 3.2)
_MOST_FIELDS = 50
_NO_STORE = {"cache-control": "no-store", "pragma": "no-cache"}


class OwnIssuer(Protocol):
    """`adapters.identity.own.OwnIssuer`."""

    url: str

    def jwks(self) -> dict[str, Any]: ...


class Served(Protocol):
    """What of the gateway these routes serve. `url` is where its HTTP listener is."""

    exchange: Exchange
    revocations: Revocations
    refusals: Refusals

    @property
    def own(self) -> OwnIssuer: ...
    @property
    def dpop(self) -> Proofs: ...
    @property
    def url(self) -> str: ...


class FormError(Exception):
    """RFC 6749 section 5.2: a code and a description."""

    def __init__(self, error: str, description: str) -> None:
        super().__init__(description)
        self.error = error


def routes(gateway: Served) -> Sequence[Any]:
    """The handlers."""

    @get("/.well-known/oauth-authorization-server")
    async def metadata() -> dict[str, Any]:
        """RFC 8414."""
        return {
            "issuer": gateway.own.url,
            "token_endpoint": f"{gateway.url}/oauth/token",
            "jwks_uri": f"{gateway.url}/oauth/jwks",
            "grant_types_supported": [GRANT],
            "response_types_supported": [],
            "token_endpoint_auth_methods_supported": ["none"],
            "dpop_signing_alg_values_supported": list(gateway.dpop.algorithms),
            "tls_client_certificate_bound_access_tokens": True,
        }

    @get("/oauth/jwks")
    async def jwks() -> dict[str, Any]:
        """The keys of gateway tokens (RFC 7517)."""
        return gateway.own.jwks()

    @post("/oauth/token", status_code=HTTP_200_OK)
    async def token(request: Request[Any, Any, Any]) -> Response[dict[str, Any]]:
        """RFC 8693. With a DPoP proof (RFC 9449 section 5) the token is bound to its key; with `certificate_request`, an
        extension of ours, to the certificate that comes with it (RFC 8705 section 3)."""
        proofs, method, path = presented(request)
        try:
            form = await _form(request)
            subject, actor, audience = _asked(form)
            proof = gateway.dpop.check(proofs, method, path) if proofs else None
            issued = await gateway.exchange.exchange(
                subject, actor, audience=audience, key=proof.key if proof else "",
                request=form.get("certificate_request", [""])[0],
                proven=lambda: gateway.dpop.spend(proof) if proof else None,
            )  # fmt: skip
        except FormError as error:
            return _refused(error.error, str(error))
        except AuthenticationError as error:
            if proofs:
                tell(request, gateway.dpop.nonce())
            if error.code == "nonce":
                return _refused("use_dpop_nonce", f"{error.message}. {error.hint}")
            gateway.refusals.note(error, listener="exchange", peer=peer(request))
            status = 503 if error.code == "unavailable" else 400
            # RFC 8693 section 2.2.2: whatever is wrong with a presented token is an invalid request.
            code = {
                "target": "invalid_target", "unavailable": "temporarily_unavailable", "proof": "invalid_dpop_proof",
            }.get(error.code, "invalid_request")  # fmt: skip
            return _refused(code, f"{error.message}. {error.hint}", status)
        except UpstreamError as error:
            return _refused("temporarily_unavailable", error.message, 503)
        body: dict[str, Any] = {
            "access_token": issued.token, "issued_token_type": ACCESS_TOKEN,
            "token_type": "DPoP" if issued.key else "Bearer", "expires_in": issued.expires_in,
        }  # fmt: skip
        if issued.certificate:
            body["certificate"] = issued.certificate
        if proofs:
            tell(request, gateway.dpop.nonce())
        return Response(body, headers=_NO_STORE, media_type=MediaType.JSON)

    @post("/oauth/backchannel-logout", status_code=HTTP_200_OK)
    async def logout(request: Request[Any, Any, Any]) -> Response[dict[str, Any]]:
        """OpenID Connect Back-Channel Logout 1.0."""
        try:
            form = await _form(request)
            await gateway.revocations.logged_out(form.get("logout_token", [""])[0])
        except FormError as error:
            return _refused(error.error, str(error))
        except AuthenticationError as error:
            gateway.refusals.note(error, listener="logout", peer=peer(request))
            return _refused("invalid_request", f"{error.message}. {error.hint}")
        except UpstreamError as error:
            return _refused("temporarily_unavailable", error.message, 503)
        return Response({}, headers=_NO_STORE, media_type=MediaType.JSON)

    return (metadata, jwks, token, logout)


async def _form(request: Request[Any, Any, Any]) -> Mapping[str, list[str]]:
    kind = request.headers.get("content-type", "").partition(";")[0].strip().lower()
    if kind != "application/x-www-form-urlencoded":
        raise FormError("invalid_request", "send a form: application/x-www-form-urlencoded")
    try:
        body = (await request.body()).decode("ascii")
        pairs = parse_qsl(body, keep_blank_values=True, strict_parsing=True, max_num_fields=_MOST_FIELDS, errors="strict")
    except (ValueError, UnicodeError):
        raise FormError("invalid_request", "the form cannot be read") from None
    found: dict[str, list[str]] = {}
    for name, value in pairs:
        if name in found and name not in _REPEATED:
            raise FormError("invalid_request", "a field is there twice")
        if value:  # RFC 6749 section 3.2: without a value it is as if it were not there
            found.setdefault(name, []).append(value)
    return found


def _asked(form: Mapping[str, list[str]]) -> tuple[str, str, list[str]]:
    """The subject's token, the actor's or "", and the audience."""
    fields = {name: values[0] for name, values in form.items()}
    if "grant_type" not in fields:
        raise FormError("invalid_request", "grant_type is missing")
    if fields["grant_type"] != GRANT:
        raise FormError("unsupported_grant_type", f"the only one is {GRANT}")
    for name in ("subject_token", "subject_token_type"):
        if name not in fields:
            raise FormError("invalid_request", f"{name} is missing")
    if ("actor_token" in fields) != ("actor_token_type" in fields):
        raise FormError("invalid_request", "actor_token and actor_token_type go together")
    for name in ("subject_token_type", "actor_token_type"):
        if fields.get(name, ACCESS_TOKEN) not in _KINDS:
            raise FormError("invalid_request", f"{name} is none of {', '.join(sorted(_KINDS))}")
    if fields.get("requested_token_type", ACCESS_TOKEN) not in (ACCESS_TOKEN, "urn:ietf:params:oauth:token-type:jwt"):
        raise FormError("invalid_request", f"requested_token_type can be {ACCESS_TOKEN} only")
    return fields["subject_token"], fields.get("actor_token", ""), [*form.get("audience", []), *form.get("resource", [])]


def _refused(error: str, description: str, status: int = 400) -> Response[dict[str, Any]]:
    # RFC 6749 section 5.2 leaves few characters for a description.
    said = "".join(c if " " <= c <= "~" and c not in '"\\' else "'" for c in description[:500])
    return Response(
        {"error": error, "error_description": said}, status_code=status, headers=_NO_STORE, media_type=MediaType.JSON
    )


def peer(request: Request[Any, Any, Any]) -> str:
    """Where a request comes from."""
    return f"{request.client.host}:{request.client.port}" if request.client else ""
