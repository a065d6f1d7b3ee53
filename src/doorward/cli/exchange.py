"""`doorward exchange`: a token of an issuer for a gateway token (RFC 8693)."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Annotated

from cyclopts import Parameter

from doorward.cli import token as tokens
from doorward.cli.gateway import HERE, Connection, GatewayClient
from doorward.errors import ConfigError

_GRANT = "urn:ietf:params:oauth:grant-type:token-exchange"
_JWT = "urn:ietf:params:oauth:token-type:jwt"


def exchange(
    *,
    actor_token_file: Path | None = None,
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
    target
        A target that the token is to be good for, and no other. May be given more than once.
    as_json
        Print JSON: the token and how many seconds it lasts.
    """
    with GatewayClient(connection) as gateway:
        form: list[tuple[str, str]] = [
            ("grant_type", _GRANT), ("subject_token", gateway.token), ("subject_token_type", _JWT),
            *(("audience", name) for name in target),
        ]  # fmt: skip
        if actor_token_file is not None:
            actor = tokens.from_file(actor_token_file)
            if not actor:
                raise ConfigError(f"{actor_token_file} holds no token")
            form += [("actor_token", actor), ("actor_token_type", _JWT)]
        found = gateway.exchange(form)
    print(json.dumps({"token": found["access_token"], "expires_in": found["expires_in"]}) if as_json else found["access_token"])
    return 0
