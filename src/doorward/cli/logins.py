"""Logins that outlast a command: what `doorward login` keeps, and a fresh token from it.

Contract: one login for each gateway. It is in the keyring of the operating system where there is one that works, and else
in `$XDG_CONFIG_HOME/doorward/logins/`, a file of mode 0600 in a directory of 0700. `token` answers with one that lives
for a minute more at least; it asks the issuer anew when it must, one process at a time: issuers take a refresh token that
comes twice for a stolen one and end the login (RFC 9700, section 4.14.2).

A login has a key of its own, where the gateway binds it to one (`bound`): then what is presented there is worth nothing
without it.

Nothing here is printed, logged, or put into an environment.
"""

from __future__ import annotations

import asyncio
import contextlib
import fcntl
import hashlib
import json
import os
import time
from collections.abc import Iterator
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from doorward.cli.bound import Bound, bind
from doorward.errors import AuthenticationError, ConfigError

if TYPE_CHECKING:
    import httpx2

    from doorward.adapters.identity.device import Tokens

SERVICE: Final = "doorward"
LEFT: Final = 60.0  # seconds that a token must still be good for
LONGEST: Final = 64 << 10
RENEWED: Final = 3600.0  # seconds that a certificate must still be good for, not to be replaced at the next occasion
AGAIN: Final = "log in again with `doorward login`"


@dataclass(frozen=True, slots=True)
class Login:
    """One person's login at one gateway. `token` is their issuer's, good until `expires_at`, and `spent` once it was exchanged;
    `key` (PEM) is the login's own, "" if the gateway binds nothing to one, and the rest what it has bound to it. Times are Unix
    seconds."""

    gateway: str
    issuer: str
    client_id: str
    ca_file: str = ""
    id_token: bool = False
    refresh_token: str = field(default="", repr=False)
    token: str = field(default="", repr=False)
    expires_at: float = 0.0
    spent: bool = False
    key: str = field(default="", repr=False)
    bound_token: str = field(default="", repr=False)
    bound_until: float = 0.0
    certificate: str = ""
    certificate_until: float = 0.0

    def bound(self) -> Bound:
        """What the gateway gave for its key."""
        return Bound(self.key, self.bound_token, self.bound_until, self.certificate, self.certificate_until)


class Logins:
    """Where logins are kept."""

    def __init__(self, folder: Path | None = None, *, keyring: bool | None = None) -> None:
        """`keyring`: whether to use the operating system's. By default, if it works and DOORWARD_KEYRING is not `file`."""
        base = os.environ.get("XDG_CONFIG_HOME") or str(Path.home() / ".config")
        self._folder = folder or Path(base) / "doorward" / "logins"
        wanted = os.environ.get("DOORWARD_KEYRING", "") != "file" if keyring is None else keyring
        self._keyring = _keyring() if wanted else None

    def get(self, gateway: str) -> Login | None:
        """The login at a gateway; None if there is none that can be read."""
        try:
            raw = self._read(gateway)
            found = json.loads(raw) if raw else None
            return Login(**found) if isinstance(found, dict) else None
        except (ValueError, TypeError):  # another version's, or damaged: a new login mends it
            return None

    def keep(self, login: Login) -> None:
        """Replace the login at its gateway. Raises ConfigError when it can be kept nowhere."""
        text = json.dumps(asdict(login))
        if self._keyring is not None:
            try:
                self._keyring.set_password(SERVICE, login.gateway, text)
                return
            except Exception:  # whatever a keyring raises, there is still the file
                self._keyring = None
        try:
            self._folder.mkdir(mode=0o700, parents=True, exist_ok=True)
            path = self._path(login.gateway)
            beside = path.with_suffix(".new")
            with os.fdopen(os.open(beside, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600), "w") as file:
                file.write(text)
            beside.replace(path)
        except OSError as error:
            raise ConfigError(f"{self._folder} cannot be written ({error.strerror})", hint="check who owns it") from None

    def forget(self, gateway: str) -> bool:
        """Remove the login at a gateway. False: there was none."""
        there = self.get(gateway) is not None
        if self._keyring is not None:
            with contextlib.suppress(Exception):
                self._keyring.delete_password(SERVICE, gateway)
        self._path(gateway).unlink(missing_ok=True)
        return there

    def token(self, gateway: str, *, unspent: bool = False) -> str:
        """The issuer's token for a gateway; "" if nobody is logged in there. `unspent`: one that may be exchanged, which the
        caller is about to do. Raises AuthenticationError when the issuer has ended the login, UpstreamError when it does not
        answer."""
        login = self.get(gateway)
        if login is None:
            return ""
        if login.expires_at - time.time() > LEFT and not unspent:
            return login.token
        with self._alone(gateway):
            login = self.get(gateway)  # another process may have renewed it while we waited
            if login is None:
                return ""
            if login.expires_at - time.time() <= LEFT or (unspent and login.spent):
                login = renewed(login)
                self.keep(login)
            if unspent:
                self.keep(replace(login, spent=True))
            return login.token

    def bound(self, gateway: str, http: httpx2.Client, *, certificate: bool = False) -> Bound | None:
        """What the gateway has bound to the login's key, made anew when its token, or its `certificate` if that is what counts,
        is about to end; None where it binds nothing. Raises as `token` does."""
        login = self.get(gateway)
        if login is None or not login.key:
            return None
        if _lasts(login, certificate):
            return login.bound()
        with self._alone(gateway):
            login = self.get(gateway)
            if login is None or not login.key or _lasts(login, certificate):
                return login.bound() if login is not None and login.key else None
            if login.spent or login.expires_at - time.time() <= LEFT:
                if not login.refresh_token:
                    return None  # what is bound has ended; the token itself may still be good
                login = renewed(login)
                self.keep(login)
            try:
                return self.bind(login, http)
            except AuthenticationError:
                return None  # what the gateway has against it, it says of the token itself

    def bind(self, login: Login, http: httpx2.Client) -> Bound:
        """Have the gateway bind the login to its key, and keep it. AuthenticationError if it will not, UpstreamError without an
        answer."""
        fresh = login.certificate_until - time.time() > RENEWED
        made = bind(http, login.token, login.key, certificate=not fresh)
        if fresh:
            made = replace(made, certificate=login.certificate, certificate_until=login.certificate_until)
        self.keep(replace(
            login, spent=True, bound_token=made.token, bound_until=made.expires_at, certificate=made.certificate,
            certificate_until=made.certificate_until,
        ))  # fmt: skip
        return made

    def _read(self, gateway: str) -> str:
        if self._keyring is not None:
            try:
                found = self._keyring.get_password(SERVICE, gateway)
            except Exception:  # a locked or missing keyring: there may be a file
                found = None
            if found:
                return str(found)
        try:
            path = self._path(gateway)
            with path.open() as file:
                if os.fstat(file.fileno()).st_mode & 0o077:
                    raise ConfigError(f"{path} can be read by others", hint=f"chmod 600 {path}, and log in again")
                return file.read(LONGEST)
        except FileNotFoundError:
            return ""
        except OSError as error:
            raise ConfigError(f"the login cannot be read ({error.strerror})", hint="check who owns it") from None

    def _path(self, gateway: str) -> Path:
        return self._folder / (hashlib.sha256(gateway.encode()).hexdigest()[:32] + ".json")

    @contextlib.contextmanager
    def _alone(self, gateway: str) -> Iterator[None]:
        self._folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        with self._path(gateway).with_suffix(".lock").open("w") as file:
            fcntl.flock(file, fcntl.LOCK_EX)
            yield


def _lasts(login: Login, certificate: bool) -> bool:
    return (login.certificate_until if certificate else login.bound_until) - time.time() > LEFT


def first(gateway: str, issuer: str, client_id: str, ca_file: str, tokens: Tokens) -> Login:
    """The login that an issuer's answer makes. Raises AuthenticationError when none of its tokens is for a gateway."""
    from doorward.cli.token import chosen

    token = chosen(tokens, id_token=False)
    login = Login(gateway, issuer, client_id, ca_file, token == tokens.id_token, tokens.refresh_token)
    return replace(login, token=token, expires_at=expiry(token))


def renewed(login: Login) -> Login:
    """The same login with a new token. Raises AuthenticationError, UpstreamError."""
    from doorward.adapters.identity.device import TokenClient

    if not login.refresh_token and login.spent and login.expires_at > time.time():
        raise AuthenticationError(
            "your login's token was exchanged already, which can be done once, and the issuer gave nothing to renew it with",
            hint="`doorward connect` and `doorward run` go on with what it was exchanged for; for another, log in again",
        )
    if not login.refresh_token:
        raise AuthenticationError("your login has ended, and the issuer gave nothing to renew it with", hint=AGAIN)
    client = TokenClient(login.issuer, login.client_id, ca_file=login.ca_file)
    try:
        tokens = asyncio.run(client.refresh(login.refresh_token))
    except AuthenticationError as error:
        raise AuthenticationError(f"your login has ended: {error.message}", hint=AGAIN) from None
    token = tokens.id_token if login.id_token else tokens.access_token
    if not token:
        raise AuthenticationError("the issuer renewed the login without the token that the gateway takes", hint=AGAIN)
    return replace(
        login, token=token, expires_at=expiry(token), spent=False,
        refresh_token=tokens.refresh_token or login.refresh_token,
    )  # fmt: skip


def expiry(token: str) -> float:
    """Until when a token says that it is good; 0 if it does not say."""
    from doorward.adapters.identity import jwt

    expires = jwt.parse(token).claims.get("exp")
    return float(expires) if isinstance(expires, int | float) else 0.0


def _keyring() -> Any:
    """The operating system's keyring; None if there is none that works."""
    try:
        import keyring
        from keyring.backends.fail import Keyring as Fail

        found = keyring.get_keyring()
        return None if isinstance(found, Fail) or found.priority <= 0 else found
    except Exception:  # a broken backend is no backend
        return None
