"""Who sends a request: the one place that knows, for programs with a token and for browsers that are signed in.

Contract: `who` returns an Identity or raises. A token is what counts where there is one: a bearer token by itself, one that is
bound to a key with a proof of that key for this request (DPoP, RFC 9449), and neither in the other's place. A cookie counts
only where no other site can have made the browser send it: anything but a GET needs the session's own CSRF token, an `Origin`
of ours and, where the browser says so, a same-origin request (Fetch Metadata); a GET of the API must not come from another
site either. What an identity may do is not decided here.
"""

from __future__ import annotations

import hmac
from collections.abc import Callable, Sequence
from typing import Any, Final, Protocol
from urllib.parse import urlsplit

from litestar import Request
from litestar.exceptions import PermissionDeniedException

from doorward.errors import AuthenticationError
from doorward.guard.ports import NOTHING, Shown
from doorward.model import Identity
from doorward.web.browser import Browsers, BrowserSession

CSRF: Final = "x-doorward-csrf"
LIVE: Final = "x-doorward-live"  # a page looks for news by itself: nobody is at the keyboard for that
SAFE: Final = ("GET", "HEAD")
NONCE: Final = "dpop_nonce"
PROVEN: Final = "dpop_identity"
WHO: Final = "identity_id"  # in a request's state, once it is known


class Authenticator(Protocol):
    async def authenticate(self, token: str, shown: Shown = NOTHING) -> Identity: ...


class Proof(Protocol):
    """That whoever sends a request holds a key; `key` is its thumbprint."""

    @property
    def key(self) -> str: ...


class Proofs(Protocol):
    """`adapters.identity.dpop.DpopProofs`."""

    algorithms: tuple[str, ...]

    def nonce(self) -> str: ...
    def check(self, presented: Sequence[str], method: str, path: str, token: str = "") -> Proof: ...
    def spend(self, proof: Any) -> None: ...


class Access:
    """`url` is where people reach the gateway; `refused` is told of tokens that were."""

    def __init__(
        self,
        authenticator: Authenticator,
        proofs: Proofs,
        browsers: Browsers,
        url: Callable[[], str],
        refused: Callable[[AuthenticationError, Request[Any, Any, Any]], None] = lambda _, __: None,
    ) -> None:
        self._authenticator, self._browsers, self._url, self._refused = authenticator, browsers, url, refused
        self._proofs = proofs

    async def who(self, request: Request[Any, Any, Any]) -> Identity:
        """Who sends this. Raises AuthenticationError, or PermissionDeniedException where another site may be behind it."""
        identity = await self._who(request)
        request.scope["state"][WHO] = identity.id
        return identity

    async def _who(self, request: Request[Any, Any, Any]) -> Identity:
        said = request.headers.get("authorization")
        if said is not None:
            scheme, _, token = said.partition(" ")
            try:
                if scheme.lower() == "bearer" and token.strip():
                    return await self._authenticator.authenticate(token.strip())
                if scheme.lower() == "dpop" and token.strip():
                    return await self._proven(request, token.strip())
            except AuthenticationError as error:
                if error.code != "nonce":  # which every client is told once a minute
                    self._refused(error, request)
                raise
            raise AuthenticationError("that is no token", hint="send `Authorization: Bearer ...` or `DPoP ...`")
        session = self.session(request)
        if session is None:
            raise AuthenticationError(
                "this needs a token",
                hint="send it as `Authorization: Bearer ...`; get one with `doorward token`, or sign in with a browser",
            )
        if request.method not in SAFE:
            self.ours(request, session, request.headers.get(CSRF, ""))
        elif request.url.path.startswith("/api/") and _site(request) not in ("", "same-origin", "none"):
            raise PermissionDeniedException(detail="another site sent your browser here")
        identity = await self._browsers.identity(session)
        if LIVE not in request.headers:
            self._browsers.touch(session)
        return identity

    async def _proven(self, request: Request[Any, Any, Any], token: str) -> Identity:
        """Whoever sends a bound token with a proof of its key."""
        known: Identity | None = request.scope["state"].get(PROVEN)  # a page asks more than once
        if known is not None:
            return known
        proof = self._proofs.check(*presented(request), token)
        identity = await self._authenticator.authenticate(token, Shown(key=proof.key))
        if identity.bound_to != f"jkt:{proof.key}":  # RFC 9449 section 7.1
            raise AuthenticationError(
                "the token was refused: it is bound to no key", hint="send it as `Authorization: Bearer ...`", code="proof"
            )
        self._proofs.spend(proof)
        tell(request, self._proofs.nonce())
        request.scope["state"][PROVEN] = identity
        return identity

    def session(self, request: Request[Any, Any, Any]) -> BrowserSession | None:
        """The browser's session, whatever it is used for."""
        return self._browsers.find(request.cookies.get(self._browsers.cookie, ""))

    def ours(self, request: Request[Any, Any, Any], session: BrowserSession, token: str, *, form: bool = False) -> None:
        """Raise PermissionDeniedException unless a page of ours, in this session, sent it. `form`: by a form, whose Origin is
        `null` under our own Referrer-Policy (Fetch, section 3.2); then Fetch Metadata must say the same."""
        origin, site = request.headers.get("origin", ""), _site(request)
        known = origin == origin_of(self._url()) or (form and origin == "null" and site == "same-origin")
        if not known or site not in ("", "same-origin"):
            raise PermissionDeniedException(detail="this was not sent by a page of this gateway")
        if not hmac.compare_digest(token.encode(), session.csrf.encode()):
            raise PermissionDeniedException(detail="the page is out of date: load it again")


def tell(request: Request[Any, Any, Any], nonce: str) -> None:
    """Have the answer say which nonce the next proof must carry (RFC 9449 section 8.2); `headers` puts it there."""
    request.scope["state"][NONCE] = nonce


def presented(request: Request[Any, Any, Any]) -> tuple[list[str], str, str]:
    """The proofs that came with a request, and what they must be for: its method, and its path as it was sent."""
    path = request.scope.get("raw_path") or request.url.path.encode()
    return request.headers.getall("dpop", []), str(request.method), path.decode("latin-1").partition("?")[0]


def origin_of(url: str) -> str:
    """As browsers write it: without the port that goes without saying (RFC 6454, section 6.2), in small letters."""
    parts = urlsplit(url)
    host = parts.netloc.removesuffix({"https": ":443", "http": ":80"}.get(parts.scheme, ":"))
    return f"{parts.scheme}://{host}".lower()


def _site(request: Request[Any, Any, Any]) -> str:
    return str(request.headers.get("sec-fetch-site", "")).lower()
