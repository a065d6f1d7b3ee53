"""Browsers that are signed in: who, since when, and how long still.

Contract: what a browser holds is the name of a session and nothing else; the session, and what the issuer gave for it, stay
here, in memory, bounded, and end when the gateway does. A session ends when it was idle or lasted too long, when it is
signed out, when its issuer no longer vouches for it, or when the same person has signed in too many times since. Who it is
is asked again of the issuer every REFRESH seconds where it gave a refresh token; without one, a session lasts as long as its
ID token. A sign-in under way is remembered by the browser itself, sealed with a key that only this process has, so that
nobody can use up our memory by beginning many.

It deliberately does not decide what anybody may do, and knows no HTTP but cookies.
"""

from __future__ import annotations

import asyncio
import base64
import hashlib
import json
import os
import re
import secrets
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Final, Protocol

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM

from doorward.errors import AuthenticationError, UpstreamError
from doorward.guard.ports import Clock
from doorward.model import Identity

REFRESH: Final = 60.0  # seconds after which the issuer is asked again who it is
MOST: Final = 10_000  # sessions
MOST_EACH: Final = 20  # of one person
PATIENCE: Final = 600_000  # ms in which a sign-in must have come back
LONGEST: Final = 4096  # characters of a cookie

_ID = r"[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}"
# Where a sign-in may lead: pages of our own, one by one, and nothing that could be read as an address elsewhere.
_PAGES: Final = re.compile(rf"/(?:approvals/{_ID}|sessions(?:/{_ID}(?:/statements)?)?|me|keys|agents)?")


def page(wanted: str) -> str:
    """`wanted` if it is a page of ours, else the first one."""
    return wanted if _PAGES.fullmatch(wanted) else "/"


class Begun(Protocol):
    """`adapters.identity.code.Begun`."""

    @property
    def issuer(self) -> str: ...
    @property
    def address(self) -> str: ...
    @property
    def state(self) -> str: ...


class Grant(Protocol):
    """`adapters.identity.code.Grant`."""

    @property
    def identity(self) -> Identity: ...
    @property
    def logged_in_at(self) -> int: ...
    @property
    def until(self) -> int: ...
    @property
    def refresh_token(self) -> str: ...


class SignIn(Protocol):
    """`adapters.identity.code.SignIn`: one issuer at which people sign in."""

    @property
    def issuer(self) -> str: ...
    async def begin(self, redirect_uri: str, *, fresh: bool = False) -> Any: ...
    async def finish(self, begun: Any, answer: Mapping[str, str], redirect_uri: str) -> Any: ...
    async def refresh(self, grant: Any) -> Any: ...
    async def sign_out(self, back: str) -> str: ...
    def remember(self, begun: Any) -> Mapping[str, Any]:
        """What `recall` makes a Begun of again."""
        ...

    def recall(self, kept: Mapping[str, Any]) -> Any: ...


@dataclass(slots=True)
class BrowserSession:
    """One browser that is signed in. `csrf` is what its pages send back with every change."""

    key: bytes
    sign_in: SignIn
    grant: Grant
    csrf: str = field(repr=False)
    leave: str  # the issuer's address at which to sign out there, or ""
    began: float
    used: float
    refreshed: float
    asking: asyncio.Lock = field(default_factory=asyncio.Lock)


class Browsers:
    """Every browser that is signed in. `lasts` and `idle` are seconds; `secure` says that it is reached over TLS;
    `revoked` says why an identity is let in no longer, or nothing."""

    def __init__(
        self,
        clock: Clock,
        *,
        lasts: float,
        idle: float,
        secure: bool,
        revoked: Callable[[Identity], str] = lambda _: "",
    ) -> None:
        self._clock, self._lasts, self._idle, self._revoked = clock, lasts, idle, revoked
        self.secure = secure
        # A name with __Host- can be set by this very origin only, over TLS. Without TLS browsers refuse the name.
        self.cookie = "__Host-doorward" if secure else "doorward"
        self.beginning = f"{self.cookie}-sign-in"
        self._sessions: dict[bytes, BrowserSession] = {}
        self._seal = AESGCM(AESGCM.generate_key(bit_length=256))

    def __len__(self) -> int:
        return len(self._sessions)

    # A sign-in under way -----------------------------------------------------------------------------------------------

    def remember(self, sign_in: SignIn, begun: Begun, to: str) -> str:
        """What the browser keeps until it comes back from the issuer."""
        kept = {**sign_in.remember(begun), "to": page(to), "until": self._clock.now() + PATIENCE}
        nonce = os.urandom(12)
        sealed = self._seal.encrypt(nonce, json.dumps(kept).encode(), b"doorward sign-in")
        return base64.urlsafe_b64encode(nonce + sealed).decode()

    def recall(self, value: str) -> dict[str, Any] | None:
        """What `remember` was told, if it was this process and not long ago."""
        if not 0 < len(value) <= LONGEST:
            return None
        try:
            raw = base64.b64decode(value, altchars=b"-_", validate=True)
            kept: dict[str, Any] = json.loads(self._seal.decrypt(raw[:12], raw[12:], b"doorward sign-in"))
        except (ValueError, InvalidTag):
            return None
        return kept if kept["until"] > self._clock.now() else None

    # Sessions ----------------------------------------------------------------------------------------------------------

    def begin(self, sign_in: SignIn, grant: Grant, leave: str = "") -> str:
        """A new session, and the name of it that only its browser gets."""
        name = secrets.token_urlsafe(32)
        now = self._clock.monotonic()
        session = BrowserSession(
            _key(name), sign_in, grant, csrf=secrets.token_urlsafe(32), leave=leave, began=now, used=now, refreshed=now
        )
        own = self.of(grant.identity)
        for old in sorted(own, key=lambda s: s.used)[: max(0, len(own) - MOST_EACH + 1)]:
            self.end(old)
        if len(self._sessions) >= MOST:
            self.end(min(self._sessions.values(), key=lambda s: s.used))
        self._sessions[session.key] = session
        return name

    def find(self, name: str) -> BrowserSession | None:
        """The session of this name, if it goes on."""
        session = self._sessions.get(_key(name)) if 0 < len(name) <= 200 else None
        if session is None or not self._over(session):
            return session
        self.end(session)
        return None

    def touch(self, session: BrowserSession) -> None:
        """Somebody used it: not merely a page that looks for news."""
        session.used = self._clock.monotonic()

    def end(self, session: BrowserSession) -> None:
        """Sign it out here."""
        self._sessions.pop(session.key, None)

    def of(self, who: Identity) -> list[BrowserSession]:
        """Every session of this person that goes on."""
        self._sweep()
        return [session for session in self._sessions.values() if session.grant.identity.id == who.id]

    async def identity(self, session: BrowserSession) -> Identity:
        """Who it is, by now. Raises AuthenticationError when nobody vouches for it any more; the session has ended then."""
        if self._due(session):
            async with session.asking:
                if self._due(session):
                    await self._refresh(session)
        why = self._revoked(session.grant.identity)
        if not why and session.grant.until <= self._clock.now():
            why = "your sign-in is over"
        if why or session.key not in self._sessions:
            self.end(session)
            raise AuthenticationError(why or "your sign-in is over", hint="sign in again")
        return session.grant.identity

    def _due(self, session: BrowserSession) -> bool:
        return bool(session.grant.refresh_token) and (
            self._clock.monotonic() - session.refreshed >= REFRESH or session.grant.until <= self._clock.now()
        )

    async def _refresh(self, session: BrowserSession) -> None:
        try:
            session.grant = await session.sign_in.refresh(session.grant)
        except AuthenticationError:
            self.end(session)
            raise
        except UpstreamError:
            pass  # the issuer is away: what it said holds until its time is over, and not longer
        session.refreshed = self._clock.monotonic()

    def _over(self, session: BrowserSession) -> bool:
        now = self._clock.monotonic()
        return now - session.began >= self._lasts or now - session.used >= self._idle

    def _sweep(self) -> None:
        for session in [s for s in self._sessions.values() if self._over(s)]:
            self.end(session)


class WithBrowsers(Protocol):
    """What of the gateway needs every page: who is signed in, where people sign in, and where they reach it."""

    @property
    def browsers(self) -> Browsers: ...
    @property
    def sign_ins(self) -> Sequence[SignIn]: ...
    @property
    def url(self) -> str: ...


def _key(name: str) -> bytes:
    # Whoever could read a table of sessions could not use what is in it.
    return hashlib.sha256(name.encode("utf-8", "replace")).digest()
