"""Get a token from an issuer: the device flow for people (RFC 8628), client credentials for programs.

Contract: speaks to any OpenID provider that its discovery document describes. Polls no faster than the issuer allows
and no longer than the code lives. What the issuer sends is shown to a person, so it is checked first: a page to open
is http or https, and nothing has control characters. Nothing is stored, and no printed form of a result holds a token.

Deliberately not here: keeping what an issuer gives (`cli/logins.py`), and browsers (`code.py`).
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import quote_plus, urlsplit

from doorward.adapters.identity.documents import Documents
from doorward.errors import AuthenticationError, UpstreamError

DEVICE_GRANT = "urn:ietf:params:oauth:grant-type:device_code"
_DEFAULT_INTERVAL = 5  # seconds, RFC 8628 section 3.2
_MOST_SECONDS = 1800
_KNOWN = 300.0  # seconds that a discovery document is believed


@dataclass(frozen=True, slots=True)
class Prompt:
    """What to show to the person who logs in. `complete` is the address with the code in it, if the issuer has one."""

    address: str
    code: str
    complete: str
    seconds: int


@dataclass(frozen=True, slots=True)
class Tokens:
    """What the issuer gave. Empty where it gave none."""

    access_token: str = field(repr=False)
    id_token: str = field(repr=False)
    refresh_token: str = field(default="", repr=False)


class TokenClient:
    """A client of one issuer. `audience` (as Auth0 and Keycloak know it) and `resource` (RFC 8707) ask for tokens that
    are meant for the gateway; which one an issuer wants differs."""

    def __init__(
        self,
        issuer: str,
        client_id: str,
        *,
        client_secret: str = "",
        scope: str = "openid",
        audience: str = "",
        resource: str = "",
        ca_file: str = "",
    ) -> None:
        self._issuer = issuer
        self._client_id = client_id
        self._secret = client_secret
        self._extra = {
            name: value for name, value in (("scope", scope), ("audience", audience), ("resource", resource)) if value
        }
        self._documents = Documents(ca_file=ca_file, development=issuer.startswith("http://"))
        self._known: tuple[float, Mapping[str, Any]] | None = None  # when it was read, and the discovery document

    async def client_credentials(self) -> Tokens:
        """RFC 6749 section 4.4. Raises AuthenticationError when the issuer says no, UpstreamError without one."""
        metadata = await self.metadata()
        form = {"grant_type": "client_credentials"} | self._extra
        status, answer = await self._post(metadata, "token_endpoint", form)
        if status != 200:
            raise _said_no(answer, status)
        return _tokens(answer)

    async def device(
        self,
        show: Callable[[Prompt], None],
        *,
        sleep: Callable[[float], Awaitable[None]] = asyncio.sleep,
        monotonic: Callable[[], float] = time.monotonic,
    ) -> Tokens:
        """Ask for a code, `show` it once, and wait until the person has logged in, refused or let it expire.

        Raises AuthenticationError for the latter two, UpstreamError when the issuer cannot be used.
        """
        metadata = await self.metadata()
        status, answer = await self._post(metadata, "device_authorization_endpoint", dict(self._extra))
        if status != 200:
            raise _said_no(answer, status)
        prompt, device_code = _prompt(answer), _text(answer, "device_code")
        interval = _seconds(answer, "interval", _DEFAULT_INTERVAL)
        show(prompt)
        limit = monotonic() + prompt.seconds
        form = {"grant_type": DEVICE_GRANT, "device_code": device_code} | self._extra
        form.pop("scope", None)  # section 3.4: it was given with the code
        while monotonic() < limit:
            await sleep(interval)
            try:
                status, answer = await self._post(metadata, "token_endpoint", form)
            except UpstreamError:
                interval = min(interval * 2, 60)  # section 3.5: back off when a poll times out
                continue
            if status == 200:
                return _tokens(answer)
            error = answer.get("error")
            if error == "slow_down":
                interval += 5  # section 3.5: by 5 seconds, for this and all later polls
            elif error == "expired_token":
                break
            elif error != "authorization_pending":
                raise _said_no(answer, status)
        raise AuthenticationError("nobody logged in before the code expired", hint="run `doorward token` again")

    async def refresh(self, refresh_token: str) -> Tokens:
        """RFC 6749 section 6. Raises AuthenticationError when the issuer says no, UpstreamError without an answer."""
        form = {"grant_type": "refresh_token", "refresh_token": refresh_token} | self._extra
        form.pop("scope", None)  # the same as before
        return _tokens(await self.grant(form))

    async def grant(self, form: dict[str, str]) -> dict[str, Any]:
        """What the issuer gives for a grant (RFC 6749 sections 4.1.3 and 6). Raises AuthenticationError when it says no,
        UpstreamError without an answer."""
        status, answer = await self._post(await self.metadata(), "token_endpoint", form)
        if status >= 500:
            raise UpstreamError(f"issuer {self._issuer} answered {status}", hint="wait a minute and try again")
        if status != 200:
            raise _said_no(answer, status)
        return answer

    async def metadata(self) -> Mapping[str, Any]:
        """The issuer's discovery document, at most five minutes old. Raises UpstreamError."""
        if self._known is not None and time.monotonic() - self._known[0] < _KNOWN:
            return self._known[1]
        where = self._issuer.removesuffix("/") + "/.well-known/openid-configuration"
        metadata = await self._documents.get(where)
        if metadata.get("issuer") != self._issuer:
            raise UpstreamError(
                f"{where} says its issuer is {ascii(metadata.get('issuer'))[:200]}, not {self._issuer!r}",
                hint="give the issuer exactly, with or without its last slash, as the issuer spells it",
            )
        self._known = time.monotonic(), metadata
        return metadata

    async def _post(
        self, metadata: Mapping[str, Any], endpoint: str, form: dict[str, str]
    ) -> tuple[int, dict[str, Any]]:
        url = metadata.get(endpoint)
        if not isinstance(url, str):
            raise UpstreamError(
                f"issuer {self._issuer} has no {endpoint}",
                hint="enable that flow at the issuer, or get a token another way and use --file or --env",
            )
        if not self._secret:
            return await self._documents.post(url, form | {"client_id": self._client_id})
        methods = metadata.get("token_endpoint_auth_methods_supported", ["client_secret_basic"])
        if isinstance(methods, list) and "client_secret_basic" not in methods and "client_secret_post" in methods:
            return await self._documents.post(
                url, form | {"client_id": self._client_id, "client_secret": self._secret}
            )
        # RFC 6749 section 2.3.1: both are form-encoded before they go into the header
        return await self._documents.post(url, form, basic=(quote_plus(self._client_id), quote_plus(self._secret)))


def _prompt(answer: Mapping[str, Any]) -> Prompt:
    complete = answer.get("verification_uri_complete")
    return Prompt(
        address=_page(_text(answer, "verification_uri")),
        code=_text(answer, "user_code"),
        complete=_page(complete) if isinstance(complete, str) and complete else "",
        seconds=min(_seconds(answer, "expires_in", 600), _MOST_SECONDS),
    )


def _page(url: str) -> str:
    try:
        if url.isprintable() and " " not in url and len(url) <= 2048 and urlsplit(url).scheme in ("https", "http"):
            return url
    except ValueError:
        pass
    raise UpstreamError("the issuer names a page to log in at that is not an address of the web")


def _text(answer: Mapping[str, Any], name: str) -> str:
    value = answer.get(name)
    if not isinstance(value, str) or not 0 < len(value) <= 2048 or not value.isprintable():
        raise UpstreamError(f"the issuer's answer has no {name!r} that can be used")
    return value


def _seconds(answer: Mapping[str, Any], name: str, default: int) -> int:
    value = answer.get(name, default)
    return value if isinstance(value, int) and not isinstance(value, bool) and 0 < value < 1 << 31 else default


def _tokens(answer: Mapping[str, Any]) -> Tokens:
    access, identity = answer.get("access_token"), answer.get("id_token")
    refresh = answer.get("refresh_token")
    tokens = Tokens(
        access_token=access if isinstance(access, str) else "", id_token=identity if isinstance(identity, str) else "",
        refresh_token=refresh if isinstance(refresh, str) and len(refresh) <= 16384 else "",
    )  # fmt: skip
    if not tokens.access_token and not tokens.id_token:
        raise UpstreamError("the issuer said yes and gave no token")
    return tokens


def _said_no(answer: Mapping[str, Any], status: int) -> AuthenticationError:
    """The issuer's own words (RFC 6749 section 5.2), made fit for a terminal."""
    words = [answer[name] for name in ("error", "error_description") if isinstance(answer.get(name), str)]
    said = ": ".join("".join(letter if letter.isprintable() else "?" for letter in word[:200]) for word in words)
    return AuthenticationError(
        f"the issuer gave no token ({said or f'status {status}'})",
        hint="check client id, secret and scope, and that the issuer allows this client that flow",
    )
