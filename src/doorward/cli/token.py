"""`doorward token`: get an identity token, to be used where a password goes.

For people: the device flow, with the address and the code on standard error. For programs: `--client-credentials`,
or a token that is there already, in a file (`--file`, Kubernetes) or an environment variable (`--env`, CI). The token
goes to standard output and nowhere else, so that `PGPASSWORD=$(doorward token) psql ...` works.

Every command that talks to the gateway reads tokens through here, so what only a log-in needs is imported for a log-in.
"""

from __future__ import annotations

import json
import os
import sys
import time
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

from cyclopts import App, Parameter

from doorward.errors import AuthenticationError, ConfigError

if TYPE_CHECKING:
    from doorward.adapters.identity.device import Prompt, TokenClient, Tokens
    from doorward.adapters.identity.jwt import UnverifiedToken
    from doorward.config import Config

DEFAULT_CONFIG = Path("doorward.toml")
DEFAULT_CLIENT_SECRET = "env:DOORWARD_CLIENT_SECRET"  # noqa: S105  # where it is
_MOST = 64 << 10  # bytes of a file with a token; a gateway takes a quarter of that
_YEAR_9999 = 253_402_300_800

app = App(name="token", help="Get an identity token and print it, to be used where a password goes.")


@app.default
def token_command(
    *,
    issuer: str = "",
    client_id: str = "",
    client_credentials: Annotated[bool, Parameter(negative="")] = False,
    client_secret: str = DEFAULT_CLIENT_SECRET,
    scope: str = "openid",
    audience: str = "",
    resource: str = "",
    ca: Path | None = None,
    file: Path | None = None,
    env: str = "",
    id_token: Annotated[bool, Parameter(negative="")] = False,
    as_json: Annotated[bool, Parameter(name="--json", negative="")] = False,
    config: Path | None = None,
) -> int:
    """Get an identity token and print it.

    Parameters
    ----------
    issuer
        The issuer's URL. Default: the first [[issuers]] of the configuration, with its client_id and ca.
    client_id
        Which client of the issuer to be.
    client_credentials
        Log in as the client itself, a program, with its secret.
    client_secret
        Where that secret is: env:NAME, file:/path. Never the secret itself.
    scope
        Scopes to ask for, separated by spaces.
    audience
        Ask for a token for this audience, as Auth0 and others understand it.
    resource
        Ask for a token for this resource (RFC 8707).
    ca
        PEM file of the authorities to trust for the issuer's TLS.
    file
        Print the token in this file, as Kubernetes projects one.
    env
        Print the token in this environment variable, as CI systems set one.
    id_token
        Print the ID token, not the access token.
    as_json
        Print JSON: the token, and what it says of issuer, subject, audience and expiry.
    config
        The configuration file to take the issuer from.
    """
    from doorward.adapters.identity import jwt

    if file is not None or env:
        if file is not None and env:
            raise ConfigError("--file and --env are both given", hint="give one of them")
        token = from_file(file) if file is not None else os.environ.get(env, "").strip()
        if not token:
            raise ConfigError(f"{file or env} holds no token", hint="check its name, and that the job may have a token")
    else:
        import asyncio

        client = _client(issuer, client_id, client_credentials, client_secret, scope, audience, resource, ca, config)
        tokens = asyncio.run(client.client_credentials() if client_credentials else client.device(show))
        token = chosen(tokens, id_token)
    parsed = jwt.parse(token)
    expires = parsed.claims.get("exp")
    if isinstance(expires, int | float) and expires <= time.time():
        raise AuthenticationError("the token has expired already", hint="get a new one from where this one came from")
    print(_as_json(token, parsed) if as_json else token)
    return 0


def _client(
    issuer: str,
    client_id: str,
    with_secret: bool,
    client_secret: str,
    scope: str,
    audience: str,
    resource: str,
    ca: Path | None,
    config: Path | None,
) -> TokenClient:
    from doorward.adapters.identity.device import TokenClient
    from doorward.adapters.identity.settings import check_url
    from doorward.adapters.secrets.sources import SecretSources
    from doorward.config import load
    from doorward.model import SecretRef

    ca_file = str(ca) if ca else ""
    if not issuer:
        if config is None and not DEFAULT_CONFIG.exists():
            raise ConfigError("no issuer is given", hint="say --issuer URL --client-id ID, or --config FILE")
        first = load(config or DEFAULT_CONFIG).issuers[0]
        issuer, client_id, ca_file = first.url, client_id or first.client_id, ca_file or first.ca_file
    if not client_id:
        raise ConfigError(
            "no client id is given", hint="say --client-id ID, or set client_id in the issuer's [[issuers]]"
        )
    check_url(issuer, development=True, what="--issuer")
    secret = ""
    if with_secret:
        scheme, _, name = client_secret.partition(":")
        if scheme not in ("env", "file"):
            raise ConfigError("--client-secret says where the secret is, not what it is", hint="env:NAME or file:/path")
        secret = SecretSources(Path()).get(SecretRef(scheme, name)).decode("utf-8", "surrogateescape")
    return TokenClient(
        issuer, client_id, client_secret=secret, ca_file=ca_file, audience=audience, resource=resource,
        # A program has no ID token to ask for, and some issuers refuse the scope that means one.
        scope="" if with_secret and scope == "openid" else scope,
    )  # fmt: skip


def log_in(settings: Config) -> str:
    """A person's token from the first issuer of a configuration, by the device flow. AuthenticationError, UpstreamError."""
    import asyncio

    from doorward.adapters.identity.device import TokenClient

    first = settings.issuers[0]
    client = TokenClient(first.url, first.client_id, ca_file=first.ca_file, scope="openid")
    return chosen(asyncio.run(client.device(show)), id_token=False)


def show(prompt: Prompt) -> None:
    """Tell a person where to log in, on standard error."""
    lines = [f"Open {prompt.address} and type the code {prompt.code}"]
    if prompt.complete:
        lines.append(f"  or open {prompt.complete} and check that it shows {prompt.code}")
    print(*lines, f"Waiting for {prompt.seconds // 60 or 1} minutes at most.", sep="\n", file=sys.stderr, flush=True)


def chosen(tokens: Tokens, id_token: bool) -> str:
    """The token for a gateway, of those that the issuer gave. Raises AuthenticationError when there is none."""
    if id_token:
        if not tokens.id_token:
            raise AuthenticationError("the issuer gave no ID token", hint="ask for scope openid")
        return tokens.id_token
    if tokens.access_token.count(".") == 2:
        return tokens.access_token
    if tokens.id_token:  # the access token is opaque: for the issuer's own pages, not for a gateway
        return tokens.id_token
    raise AuthenticationError(
        "the issuer's access token is opaque, and only the issuer can read it",
        hint="ask for one that is meant for the gateway (--audience or --resource), or for scope openid",
    )


def from_file(path: Path) -> str:
    """The token in a file; "" if it is empty. ConfigError if it cannot be read."""
    try:
        with path.open("rb") as opened:
            raw = opened.read(_MOST)
    except OSError as error:
        raise ConfigError(f"{path} cannot be read ({error.strerror})", hint="check the path") from None
    return raw.decode("utf-8", "replace").strip()


def _as_json(token: str, parsed: UnverifiedToken) -> str:
    claims = parsed.claims
    expires = claims.get("exp")
    if not isinstance(expires, int | float) or not 0 <= expires < _YEAR_9999:
        expires = None
    return json.dumps(
        {
            "token": token,
            "issuer": claims.get("iss"),
            "subject": claims.get("sub"),
            "audience": claims.get("aud"),
            "expires_at": None if expires is None else datetime.fromtimestamp(expires, UTC).isoformat(),
        }
    )
