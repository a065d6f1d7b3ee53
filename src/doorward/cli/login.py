"""`doorward login`, `doorward logout`: log in once, for all commands and for `doorward connect` and `run`."""

from __future__ import annotations

import asyncio
from dataclasses import replace
from pathlib import Path
from typing import Annotated

from cyclopts import Parameter

from doorward.cli import output, token
from doorward.cli.bound import Bound, new_key, write
from doorward.cli.gateway import HERE, Connection, address, http, settings_of
from doorward.cli.logins import Logins, first
from doorward.errors import AuthenticationError, ConfigError, UpstreamError


def login(
    *,
    issuer: str = "",
    client_id: str = "",
    scope: str = "openid offline_access",
    audience: str = "",
    resource: str = "",
    issuer_ca: Path | None = None,
    certificate: Path | None = None,
    connection: Connection = HERE,
) -> int:
    """Log in at a gateway's issuer, and stay logged in.

    The login is bound to a key of this machine: a copy of what it presents is worth nothing. What keeps it is in the keyring
    of the operating system, or in a file that only you can read.

    Parameters
    ----------
    issuer
        The issuer's URL. Default: the first [[issuers]] of the configuration.
    client_id
        Which client of the issuer to be. Default: that issuer's client_id.
    scope
        Scopes to ask for, separated by spaces. offline_access is what most issuers want for a login that lasts.
    audience
        Ask for a token for this audience, as Auth0 and others understand it.
    resource
        Ask for a token for this resource (RFC 8707).
    issuer_ca
        PEM file of the authorities to trust for the issuer's TLS.
    certificate
        Also write the login's client certificate and its key into this folder: doorward.crt and doorward.key, as psql's sslcert
        and sslkey want them.
    """
    from doorward.adapters.identity.device import TokenClient
    from doorward.adapters.identity.settings import check_url

    settings = settings_of(connection.config)
    gateway = address(connection, settings)
    ca_file = str(issuer_ca) if issuer_ca else ""
    if not issuer and settings is not None:
        known = settings.issuers[0]
        issuer, client_id, ca_file = known.url, client_id or known.client_id, ca_file or known.ca_file
    if not issuer or not client_id:
        raise ConfigError("no issuer is given", hint="say --issuer URL --client-id ID, or --config FILE")
    check_url(issuer, development=True, what="--issuer")
    client = TokenClient(issuer, client_id, ca_file=ca_file, scope=scope, audience=audience, resource=resource)
    made = first(gateway, issuer, client_id, ca_file, asyncio.run(client.device(token.show)))
    made = replace(made, key=new_key())
    held: Bound | None = None
    why = ""
    with http(gateway, connection.ca) as there:
        try:
            held = Logins().bind(made, there)
        except UpstreamError as error:
            why = error.message
            Logins().keep(made)  # it is bound when it is first used
        except AuthenticationError as error:
            why = error.message
            Logins().keep(replace(made, key=""))
    if held is None:
        output.note(f"The login is bound to no key ({output.visible(why)}): whoever copies its token can use it.")
    elif certificate is not None:
        write(certificate, held)
    lasting = "and stay so" if made.refresh_token else "until your token expires: the issuer gave nothing to renew it with"
    output.console().print(f"You are logged in at {output.visible(gateway)}, {lasting}.")
    return 0


def logout(*, connection: Connection = HERE, as_json: Annotated[bool, Parameter(name="--json", negative="")] = False) -> int:
    """Forget the login at a gateway. What the issuer gave stays good until it expires or is revoked there."""
    gateway = address(connection, settings_of(connection.config))
    there = Logins().forget(gateway)
    if as_json:
        output.print_json({"gateway": gateway, "logged_in": False, "was": there})
    else:
        output.console().print(f"{'Forgotten' if there else 'There was no login'}: {output.visible(gateway)}.")
    return 0
