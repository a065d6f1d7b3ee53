"""A development issuer: an OpenID provider for the demo and for trying things out, on loopback only.

Contract: an ASGI application with discovery, JWK Set, and the token endpoint for client credentials (RFC 6749 section
4.4), the authorization code with PKCE (RFC 7636), and the device flow (RFC 8628); their pages let whoever sits at this machine
be anybody on a list. Its key is made
at start and never leaves the process, so a restart makes every token of before worthless. `issue` makes tokens
directly. It refuses to exist unless the caller says, by name, that it knows what this is.

Deliberately not here: passwords, persistence, refresh tokens, consent, and any way to listen beyond loopback.
"""

from __future__ import annotations

import asyncio
import base64
import contextlib
import hashlib
import hmac
import html
import json
import secrets
import socket
import time
from collections.abc import Awaitable, Callable, Iterable, Iterator, Mapping, MutableMapping, Sequence
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import parse_qs, unquote_plus, urlencode, urlsplit

import uvicorn
from joserfc import jwt
from joserfc.jwk import ECKey

from doorward.adapters.identity.settings import IssuerSettings, KindRule, check_url, is_loopback
from doorward.errors import ConfigError
from doorward.model import Kind

Scope = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[MutableMapping[str, Any]]]
Send = Callable[[MutableMapping[str, Any]], Awaitable[None]]

_DEVICE_GRANT = "urn:ietf:params:oauth:grant-type:device_code"
_MAX_BODY = 16 * 1024
_MAX_PENDING = 100
_CODE_LETTERS = "BCDFGHJKLMNPQRSTVWXZ"  # RFC 8628 section 6.1: no vowels, so no words


@dataclass(frozen=True, slots=True)
class Person:
    """Somebody whom the device page offers to be."""

    subject: str
    groups: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Client:
    """A program that gets tokens by its own secret."""

    id: str
    secret: str = field(repr=False)
    groups: tuple[str, ...] = ()
    kind: Kind = Kind.AGENT


@dataclass(slots=True)
class _Pending:
    """A device flow that waits for somebody to say who they are."""

    user_code: str
    client_id: str
    expires: float
    person: Person | None = None
    denied: bool = False


@dataclass(frozen=True, slots=True)
class _Code:
    """An authorization code that was given and not used yet."""

    request: Mapping[str, str]
    person: Person
    expires: float


class _OAuthError(Exception):
    """RFC 6749 section 5.2."""

    def __init__(self, error: str, description: str = "", status: int = 400) -> None:
        super().__init__(error)
        self.body = {"error": error, "error_description": description or error.replace("_", " ")}
        self.status = status


class DevelopmentIssuer:
    """`url` is where it listens, http and loopback; `audience` what its tokens are for. Raises ConfigError for any
    other address, and unless `i_know_this_is_a_development_issuer` is True."""

    def __init__(
        self,
        url: str,
        *,
        i_know_this_is_a_development_issuer: bool = False,
        audience: str = "doorward",
        people: Iterable[Person] = (),
        clients: Iterable[Client] = (),
        lifetime: int = 3600,
    ) -> None:
        if i_know_this_is_a_development_issuer is not True:
            raise ConfigError(
                "the development issuer lets anybody at this machine be anybody, and was not asked for by name",
                hint="connect a real issuer (docs/guides/identity.md), or say that you know what this is",
            )
        check_url(url, development=True, what="development issuer url")
        parts = urlsplit(url)
        if parts.scheme != "http" or not is_loopback(parts.hostname or "") or parts.path:
            raise ConfigError(f"the development issuer listens on loopback only, and {url!r} is not that")
        self.url = url
        self.audience = audience
        self._host = parts.netloc
        self._lifetime = lifetime
        self._people = {person.subject: person for person in people}
        self._clients = {client.id: client for client in clients}
        self._pending: dict[str, _Pending] = {}
        self._codes: dict[str, _Code] = {}
        self._key = ECKey.generate_key("P-256", parameters={"use": "sig", "alg": "ES256"}, auto_kid=True)

    def settings(self) -> IssuerSettings:
        """What makes a gateway trust this issuer."""
        kinds = tuple(KindRule(claim="kind", values=(kind.value,), kind=kind) for kind in Kind)
        return IssuerSettings(
            url=self.url,
            audience=(self.audience,),
            algorithms=("ES256",),
            kind_rules=kinds,
            client_id="doorward",
            development=True,
        )

    def issue(
        self,
        subject: str,
        groups: Sequence[str] = (),
        kind: Kind = Kind.HUMAN,
        *,
        act: Mapping[str, Any] | None = None,
        lifetime: int | None = None,
        claims: Mapping[str, Any] | None = None,
        typ: str = "at+jwt",
    ) -> str:
        """An RFC 9068 access token.

        act       who acts for `subject`: {"sub": ..., "groups": [...]} (RFC 8693)
        lifetime  seconds; negative for a token that expired already
        claims    more claims, which win over the usual ones
        typ       "JWT" for an ID token
        """
        now = int(time.time())
        body: dict[str, Any] = {
            "iss": self.url,
            "aud": self.audience,
            "sub": subject,
            "client_id": "doorward",
            "groups": list(groups),
            "kind": kind.value,
            "jti": secrets.token_urlsafe(12),
            # A token that is to have expired was also issued before that, or its times would contradict each other.
            "iat": now if lifetime is None or lifetime > 0 else now + lifetime - 1,
            "exp": now + (self._lifetime if lifetime is None else lifetime),
        }
        if act is not None:
            body["act"] = dict(act)
        body.update(claims or {})
        header = {"alg": "ES256", "typ": typ, "kid": self._key.kid}
        return jwt.encode(header, body, self._key, algorithms=["ES256"])

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """ASGI 3."""
        if scope["type"] != "http":
            return
        headers = {name.decode("latin-1").lower(): value.decode("latin-1") for name, value in scope["headers"]}
        sent_to = ""
        try:
            status, kind, body = await self._answer(scope, headers, receive)
            if status == 303:
                sent_to, body = body, ""
        except _OAuthError as error:
            status, kind, body = error.status, "application/json", json.dumps(error.body)
        await send(
            {
                "type": "http.response.start",
                "status": status,
                "headers": [
                    (b"content-type", kind.encode()),
                    (b"cache-control", b"no-store"),
                    # The code flow's form is sent on to whoever asked, which is on this machine.
                    (
                        b"content-security-policy",
                        b"default-src 'none'; form-action 'self' http://localhost:* http://127.0.0.1:*; frame-ancestors 'none'",
                    ),
                    (b"x-content-type-options", b"nosniff"),
                    *([(b"location", sent_to.encode())] if sent_to else []),
                ],
            }
        )
        await send({"type": "http.response.body", "body": body.encode()})

    async def _answer(self, scope: Scope, headers: Mapping[str, str], receive: Receive) -> tuple[int, str, str]:
        client = scope.get("client")
        if not client or not is_loopback(client[0]):
            raise _OAuthError("access_denied", "the development issuer answers loopback only", 403)
        if headers.get("host") != self._host:  # a page that rebound its name to 127.0.0.1 has another Host
            raise _OAuthError("access_denied", f"the development issuer is {self.url}", 403)
        path, post = scope["path"], scope["method"] == "POST"
        if path == "/.well-known/openid-configuration":
            return _json(self._discovery())
        if path == "/jwks":
            return _json({"keys": [self._key.as_dict(private=False)]})
        if path == "/device" and not post:
            query = _form(scope["query_string"])
            return 200, "text/html; charset=utf-8", self._page(query.get("user_code", ""))
        if path == "/authorize" and not post:
            return 200, "text/html; charset=utf-8", self._ask(_form(scope["query_string"]))
        if not post or path not in ("/token", "/device_authorization", "/device", "/authorize"):
            raise _OAuthError("not_found", "there is no such page", 404)
        form = _form(await _body(receive))
        if path == "/token":
            return _json(self._token(form, headers))
        if path == "/device_authorization":
            return _json(self._device_authorization(form))
        if headers.get("origin", self.url) != self.url:  # another site's form must not log anybody in
            raise _OAuthError("access_denied", "the form was sent from another site", 403)
        if path == "/authorize":
            return 303, "text/html; charset=utf-8", self._authorize(form)
        return 200, "text/html; charset=utf-8", self._decide(form)

    def _discovery(self) -> dict[str, Any]:
        return {
            "issuer": self.url,
            "jwks_uri": f"{self.url}/jwks",
            "token_endpoint": f"{self.url}/token",
            "authorization_endpoint": f"{self.url}/authorize",
            "authorization_response_iss_parameter_supported": True,
            "code_challenge_methods_supported": ["S256"],
            "device_authorization_endpoint": f"{self.url}/device_authorization",
            "grant_types_supported": ["authorization_code", "client_credentials", _DEVICE_GRANT],
            "id_token_signing_alg_values_supported": ["ES256"],
            "subject_types_supported": ["public"],
            "response_types_supported": ["code"],
        }

    def _token(self, form: Mapping[str, str], headers: Mapping[str, str]) -> dict[str, Any]:
        grant = form.get("grant_type")
        if grant == "client_credentials":
            client = self._client(form, headers)
            token = self.issue(client.id, client.groups, client.kind, claims={"client_id": client.id})
        elif grant == _DEVICE_GRANT:
            person = self._finished(form)
            token = self.issue(person.subject, person.groups)
        elif grant == "authorization_code":
            return self._redeemed(form)
        else:
            raise _OAuthError("unsupported_grant_type")
        return {"access_token": token, "token_type": "Bearer", "expires_in": self._lifetime}

    def _client(self, form: Mapping[str, str], headers: Mapping[str, str]) -> Client:
        name, secret = form.get("client_id", ""), form.get("client_secret", "")
        scheme, _, credentials = headers.get("authorization", "").partition(" ")
        if scheme.lower() == "basic":
            try:
                pair = base64.b64decode(credentials, validate=True).decode("utf-8")
            except ValueError:
                raise _OAuthError("invalid_client", status=401) from None
            name, _, secret = (unquote_plus(part) for part in pair.partition(":"))
        client = self._clients.get(name)
        if client is None or not hmac.compare_digest(client.secret.encode(), secret.encode()):
            raise _OAuthError("invalid_client", "no such client, or not its secret", 401)
        return client

    def _device_authorization(self, form: Mapping[str, str]) -> dict[str, Any]:
        if not form.get("client_id"):
            raise _OAuthError("invalid_request", "client_id is missing")
        self._forget_expired()
        if len(self._pending) >= _MAX_PENDING:
            raise _OAuthError("temporarily_unavailable", "too many logins wait already", 503)
        letters = "".join(secrets.choice(_CODE_LETTERS) for _ in range(8))
        device_code, user_code = secrets.token_urlsafe(32), f"{letters[:4]}-{letters[4:]}"
        self._pending[device_code] = _Pending(user_code, form["client_id"], time.monotonic() + 600)
        return {
            "device_code": device_code,
            "user_code": user_code,
            "verification_uri": f"{self.url}/device",
            "verification_uri_complete": f"{self.url}/device?user_code={user_code}",
            "expires_in": 600,
            "interval": 1,
        }

    def _finished(self, form: Mapping[str, str]) -> Person:
        self._forget_expired()
        pending = self._pending.get(form.get("device_code", ""))
        if pending is None or pending.client_id != form.get("client_id"):
            raise _OAuthError("expired_token")
        if pending.denied:
            raise _OAuthError("access_denied")
        if pending.person is None:
            raise _OAuthError("authorization_pending")
        del self._pending[form["device_code"]]
        return pending.person

    def _asked(self, form: Mapping[str, str]) -> dict[str, str]:
        """An authorization request that may be answered: PKCE, and a program on this machine to answer to."""
        asked = {name: form.get(name, "") for name in ("client_id", "redirect_uri", "state", "nonce", "code_challenge")}
        to = urlsplit(asked["redirect_uri"])
        if to.scheme != "http" or not is_loopback(to.hostname or "") or to.fragment or not asked["redirect_uri"].isprintable():
            raise _OAuthError("invalid_request", "the redirect_uri is not on this machine")
        if (
            form.get("response_type") != "code" or form.get("code_challenge_method") != "S256"
            or len(asked["code_challenge"]) != 43 or not asked["client_id"]
        ):  # fmt: skip
            raise _OAuthError("invalid_request", "ask for a code, with an S256 challenge")
        return asked

    def _ask(self, query: Mapping[str, str]) -> str:
        kept = {**self._asked(query), "response_type": "code", "code_challenge_method": "S256"}
        hidden = "".join(f"<input type=hidden name={name} value='{html.escape(value)}'>" for name, value in kept.items())
        return self._choose("/authorize", hidden, "")

    def _authorize(self, form: Mapping[str, str]) -> str:
        """Where the browser goes with its answer (RFC 6749 section 4.1.2, RFC 9207)."""
        asked = self._asked(form)
        person = self._people.get(form.get("subject", ""))
        answer = {"state": asked["state"], "iss": self.url}
        if form.get("answer") != "yes" or person is None:
            answer["error"] = "access_denied"
        else:
            self._forget_expired()
            if len(self._codes) >= _MAX_PENDING:
                raise _OAuthError("temporarily_unavailable", "too many logins wait already", 503)
            answer["code"] = secrets.token_urlsafe(32)
            self._codes[answer["code"]] = _Code(asked, person, time.monotonic() + 60)
        joint = "&" if urlsplit(asked["redirect_uri"]).query else "?"
        return f"{asked['redirect_uri']}{joint}{urlencode(answer)}"

    def _redeemed(self, form: Mapping[str, str]) -> dict[str, Any]:
        self._forget_expired()
        code = self._codes.pop(form.get("code", ""), None)
        challenge = base64.urlsafe_b64encode(hashlib.sha256(form.get("code_verifier", "").encode()).digest()).rstrip(b"=")
        if (
            code is None or code.request["client_id"] != form.get("client_id")
            or code.request["redirect_uri"] != form.get("redirect_uri")
            or not hmac.compare_digest(code.request["code_challenge"].encode(), challenge)
        ):  # fmt: skip
            raise _OAuthError("invalid_grant")
        now = int(time.time())
        said = {"aud": code.request["client_id"], "nonce": code.request["nonce"], "auth_time": now}
        person = code.person
        return {
            "access_token": self.issue(person.subject, person.groups), "token_type": "Bearer", "expires_in": self._lifetime,
            "id_token": self.issue(person.subject, person.groups, claims=said, typ="JWT"),
        }  # fmt: skip

    def _forget_expired(self) -> None:
        now = time.monotonic()
        self._codes = {code: given for code, given in self._codes.items() if given.expires > now}
        self._pending = {code: pending for code, pending in self._pending.items() if pending.expires > now}

    def _page(self, user_code: str, said: str = "") -> str:
        code = f"<p><label>Code <input name=user_code required value='{html.escape(user_code)}'></label></p>"
        return self._choose("/device", code, said)

    def _choose(self, action: str, fields: str, said: str) -> str:
        options = "".join(
            f"<option value='{html.escape(person.subject)}'>{html.escape(person.subject)} "
            f"({html.escape(', '.join(person.groups) or 'no groups')})</option>"
            for person in self._people.values()
        )
        return (
            "<!doctype html><html lang=en><meta charset=utf-8><title>Doorward development issuer</title>"
            "<h1>Doorward development issuer</h1><p>For trying things out: whoever sits here can be anybody.</p>"
            f"<p role=status>{html.escape(said)}</p><form method=post action={action}>{fields}"
            f"<p><label>Be <select name=subject>{options}</select></label></p>"
            "<p><button name=answer value=yes>Log in</button> <button name=answer value=no>Refuse</button></p></form>"
        )

    def _decide(self, form: Mapping[str, str]) -> str:
        self._forget_expired()
        code = form.get("user_code", "").strip().upper()
        waiting = [pending for pending in self._pending.values() if pending.user_code == code and not pending.person]
        person = self._people.get(form.get("subject", ""))
        if not waiting or person is None:
            return self._page(code, "There is no login with that code, or nobody of that name.")
        if form.get("answer") != "yes":
            waiting[0].denied = True
            return self._page("", "Refused.")
        waiting[0].person = person
        return self._page("", f"Done: {person.subject} is logged in. You can close this page.")


def bind(port: int = 0) -> socket.socket:
    """A listening socket on 127.0.0.1; port 0 picks a free one. Raises OSError when it is taken."""
    listening = socket.socket(socket.AF_INET, socket.SOCK_STREAM)
    listening.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    try:
        listening.bind(("127.0.0.1", port))
    except OSError:
        listening.close()
        raise
    return listening


class _Server(uvicorn.Server):
    """Leaves signals to the program that it runs in."""

    @contextlib.contextmanager
    def capture_signals(self) -> Iterator[None]:
        yield


async def serve(issuer: DevelopmentIssuer, listening: socket.socket) -> None:
    """Serve until cancelled. Raises ConfigError for a socket that is not on loopback."""
    if not is_loopback(listening.getsockname()[0]):
        raise ConfigError("the development issuer listens on loopback only")
    config = uvicorn.Config(issuer, log_level="error", access_log=False, lifespan="off", timeout_keep_alive=1)
    server = _Server(config)
    serving = asyncio.ensure_future(server.serve(sockets=[listening]))
    try:
        await asyncio.shield(serving)
    except asyncio.CancelledError:
        server.should_exit = True  # uvicorn closes what it opened only when it ends in its own way
        await serving
        raise
    finally:
        listening.close()


def _json(value: dict[str, Any]) -> tuple[int, str, str]:
    return 200, "application/json", json.dumps(value)


def _form(raw: bytes) -> dict[str, str]:
    """application/x-www-form-urlencoded; a name that is there twice is refused (RFC 6749 section 3.2)."""
    try:
        parsed = parse_qs(raw.decode("utf-8"), keep_blank_values=True, max_num_fields=50)
    except ValueError:
        raise _OAuthError("invalid_request", "the form cannot be read") from None
    if any(len(values) > 1 for values in parsed.values()):
        raise _OAuthError("invalid_request", "a field is there twice")
    return {name: values[0] for name, values in parsed.items()}


async def _body(receive: Receive) -> bytes:
    body = bytearray()
    while True:
        message = await receive()
        body += message.get("body", b"")
        if len(body) > _MAX_BODY:
            raise _OAuthError("invalid_request", "the form is too long", 413)
        if not message.get("more_body"):
            return bytes(body)
