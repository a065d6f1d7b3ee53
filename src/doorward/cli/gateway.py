"""The commands' side of the gateway's HTTP API: where it is, whose token, and what its answers mean.

Contract: a token never comes from the command line, where every process of the machine could read it, and is never sent
in clear to another machine. Whatever goes wrong becomes one of the five errors, or RefusedError where the gateway
understood and said no.
"""

from __future__ import annotations

import ipaddress
import os
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any
from urllib.parse import quote, urlsplit

import httpx2
from cyclopts import Parameter

from doorward.cli import token as tokens
from doorward.cli.bound import Bound, proof, silent, terms
from doorward.cli.output import RefusedError, note
from doorward.errors import AuthenticationError, ConfigError, UpstreamError

if TYPE_CHECKING:
    from doorward.config import Config

DEFAULT_GATEWAY = "http://127.0.0.1:7480"
TIMEOUT = 30.0  # seconds for one answer
LONGEST = 64 << 20  # bytes of one answer


@Parameter(name="*")
@dataclass(frozen=True, kw_only=True)
class Connection:
    """Which gateway, and as whom.

    Parameters
    ----------
    gateway
        The gateway's HTTP address. Default: what --config says, or http://127.0.0.1:7480.
    token_file
        A file that holds the token. Default: DOORWARD_TOKEN, or what `doorward login` keeps.
    ca
        PEM file of the authorities to trust for the gateway's TLS.
    config
        A configuration to take address and issuer from.
    """

    gateway: Annotated[str, Parameter(env_var="DOORWARD_GATEWAY")] = ""
    token_file: Annotated[Path | None, Parameter(env_var="DOORWARD_TOKEN_FILE")] = None
    ca: Annotated[Path | None, Parameter(env_var="DOORWARD_CA")] = None
    config: Path | None = None


HERE = Connection()


class GatewayClient:
    """One command's conversation with the gateway. Use as a context manager."""

    def __init__(self, connection: Connection) -> None:
        self.settings = settings_of(connection.config)
        self.url = address(connection, self.settings)
        if not connection.gateway and self.settings is None:
            note(f"asking {self.url}: no configuration is here, and neither --gateway nor DOORWARD_GATEWAY names another")
        self._connection = connection
        self._client = http(self.url, connection.ca)
        try:
            held = None if given(connection) else bound(self.url, self._client)
            self._key, self._nonce = ("", "") if held is None else (held.key, "")
            self._token = token_of(connection, self.settings, self.url) if held is None else held.token
        except BaseException:
            self._client.close()
            raise

    def __enter__(self) -> GatewayClient:
        return self

    def __exit__(self, *_: object) -> None:
        self._client.close()

    def get(self, *path: str, timeout: float = TIMEOUT, **query: str | int | float) -> Any:
        """The answer's JSON. `path` is in parts, each quoted as one."""
        return self._ask("GET", path, params={k: v for k, v in query.items() if v != ""}, timeout=timeout)

    def post(self, *path: str, body: dict[str, Any] | None = None, timeout: float = TIMEOUT) -> Any:
        return self._ask("POST", path, json=body or {}, timeout=timeout)

    def delete(self, *path: str, timeout: float = TIMEOUT) -> Any:
        return self._ask("DELETE", path, timeout=timeout)

    def bearer(self, *, unspent: bool = False) -> str:
        """The caller's token as their issuer made it; `unspent`: one to exchange."""
        return token_of(self._connection, self.settings, self.url, unspent=unspent)

    @property
    def http(self) -> httpx2.Client:
        """Of what is not said as somebody."""
        return self._client

    def _ask(self, method: str, path: tuple[str, ...], **how: Any) -> Any:
        return self._place(method, "/api/" + "/".join(quote(part, safe="") for part in path), **how)

    def _place(self, method: str, place: str, **how: Any) -> Any:
        try:
            response = self._said(method, place, **how)
            if self._key and "use_dpop_nonce" in response.headers.get("www-authenticate", ""):
                response = self._said(method, place, **how)
            answer = response.json() if len(response.content) <= LONGEST else None
        except (httpx2.HTTPError, OSError) as error:
            raise silent(self.url, error) from None
        except ValueError:
            answer = None
        if response.status_code in (200, 201) and answer is not None:
            return answer
        said = answer if isinstance(answer, dict) else {}
        message = str(said.get("error") or f"{self.url} answered {response.status_code} and nothing that Doorward says")
        hint = str(said.get("hint") or "")
        match response.status_code:
            case 401:
                raise AuthenticationError(message, hint=hint or "get a token with `doorward token`")
            case 403 | 404 | 409:
                raise RefusedError(message, hint=hint)
            case 400 | 422:
                raise ConfigError(message, hint=hint)
            case _:
                raise UpstreamError(message, hint=hint or "is that the gateway's HTTP address?")


    def _said(self, method: str, place: str, **how: Any) -> httpx2.Response:
        """One request, with a proof of the key if the caller's token is bound to one (RFC 9449)."""
        headers = {"authorization": f"Bearer {self._token}"}
        if self._key:
            made = proof(self._key, method, self.url + place, token=self._token, nonce=self._nonce)
            headers = {"authorization": f"DPoP {self._token}", "dpop": made}
        response = self._client.request(method, place, headers=headers, **how)
        self._nonce = response.headers.get("dpop-nonce", self._nonce)
        return response


def http(url: str, ca: Path | None) -> httpx2.Client:
    """To a gateway at this address."""
    return httpx2.Client(
        base_url=url,
        headers={"accept": "application/json"},
        verify=terms(ca) if url.startswith("https:") else False,
        timeout=TIMEOUT,
        # A proxy of the environment must not see traffic that is meant for loopback.
        trust_env=not loopback(urlsplit(url).hostname or ""),
    )


def settings_of(config: Path | None) -> Config | None:
    """The configuration that a command is given, or that lies where it is called; None without one."""
    if config is None:
        if not tokens.DEFAULT_CONFIG.is_file():
            return None
        config = tokens.DEFAULT_CONFIG
    from doorward.config import load  # with every detector: an agent's machine has no configuration, and need not wait

    return load(config)


def address(connection: Connection, settings: Config | None) -> str:
    """The gateway's HTTP address. Raises ConfigError for one that would not keep a token from others."""
    url = connection.gateway.rstrip("/")
    if not url and settings is not None and settings.listen.http.port:
        said = settings.listen.http
        host = said.address if said.address not in ("", "0.0.0.0", "::") else "127.0.0.1"  # noqa: S104 - not to bind to
        url = f"{'https' if said.tls_cert else 'http'}://{f'[{host}]' if ':' in host else host}:{said.port}"
    url = url or DEFAULT_GATEWAY
    parts = urlsplit(url)
    if parts.scheme not in ("http", "https") or not parts.hostname or parts.path or parts.query or parts.username:
        raise ConfigError(f"{url} is no address of a gateway", hint="write it as https://host:port")
    if parts.scheme == "http" and not loopback(parts.hostname):
        raise ConfigError(
            f"{url} would send your token in clear to another machine", hint="give the gateway TLS and use https://"
        )
    return url


def loopback(host: str) -> bool:
    """Whether a host is this machine."""
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"


def given(connection: Connection) -> bool:
    """Whether a token is given, in a file or the environment: that goes before a kept login."""
    return connection.token_file is not None or bool(os.environ.get("DOORWARD_TOKEN", "").strip())


def kept(gateway: str, *, unspent: bool = False) -> str:
    """The token of a kept login; "" without one."""
    from doorward.cli.logins import Logins  # may ask a keyring, and that takes its time

    return Logins().token(gateway, unspent=unspent)


def bound(gateway: str, client: httpx2.Client, *, certificate: bool = False) -> Bound | None:
    """What the gateway has bound to a kept login's key; None without one. See `Logins.bound`."""
    from doorward.cli.logins import Logins

    return Logins().bound(gateway, client, certificate=certificate)


def token_of(connection: Connection, settings: Config | None, gateway: str, *, unspent: bool = False) -> str:
    """The caller's token: of a file, the environment, a kept login, or a login now, if somebody is there to log in."""
    if connection.token_file is not None:
        token = tokens.from_file(connection.token_file)
        if not token:
            raise ConfigError(f"{connection.token_file} holds no token")
    else:
        token = os.environ.get("DOORWARD_TOKEN", "").strip() or kept(gateway, unspent=unspent)
    if not token and settings is not None and settings.issuers[0].client_id and sys.stderr.isatty():
        token = tokens.log_in(settings)  # by somebody who reads what it asks for; a job would wait for nobody
    if not token:
        raise AuthenticationError(
            "this needs your token",
            hint="log in with `doorward login`, set DOORWARD_TOKEN=$(doorward token), or give --token-file "
            "(DOORWARD_TOKEN_FILE); it is never taken from the command line",
        )
    if not token.isascii() or not token.isprintable() or " " in token:
        raise AuthenticationError("what is given as the token is none", hint="get one with `doorward token`")
    return token
