"""`doorward exchange`: a token of an issuer for a gateway token (RFC 8693)."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Annotated

from cyclopts import Parameter

from doorward.cli import token as tokens
from doorward.cli.bound import GRANT, JWT, Bound, exchanged, new_key, request, write
from doorward.cli.gateway import HERE, Connection, GatewayClient
from doorward.errors import ConfigError


def exchange(
    *,
    actor_token_file: Path | None = None,
    certificate: Path | None = None,
    target: Annotated[tuple[str, ...], Parameter(negative="")] = (),
    as_json: Annotated[bool, Parameter(name="--json", negative="")] = False,
    connection: Connection = HERE,
) -> int:
    """Exchange a token, once, for a gateway token of at most ten minutes, and print it. The token is yours, as every command
    takes it (DOORWARD_TOKEN, --token-file); with an actor's token, the actor acts for whoever yours is about.

    Parameters
    ----------
    actor_token_file
        A file with the token of the agent that is to act.
    certificate
        Bind the token to a client certificate, and write that and its key into this folder: doorward.crt and doorward.key, as
        psql's sslcert and sslkey want them. Without them the token is good for nothing.
    target
        A target that the token is to be good for, and no other. May be given more than once.
    as_json
        Print JSON: the token and how many seconds it lasts.
    """
    with GatewayClient(connection) as gateway:
        form: list[tuple[str, str]] = [
            ("grant_type", GRANT), ("subject_token", gateway.bearer(unspent=True)), ("subject_token_type", JWT),
            *(("audience", name) for name in target),
        ]  # fmt: skip
        if actor_token_file is not None:
            actor = tokens.from_file(actor_token_file)
            if not actor:
                raise ConfigError(f"{actor_token_file} holds no token")
            form += [("actor_token", actor), ("actor_token_type", JWT)]
        key = "" if certificate is None else new_key()
        found = exchanged(gateway.http, [*form, *([("certificate_request", request(key))] if key else [])])
        if certificate is not None:
            write(certificate, Bound(key, "", 0.0, str(found["certificate"])))
    print(json.dumps({"token": found["access_token"], "expires_in": found["expires_in"]}) if as_json else found["access_token"])
    return 0
