"""`doorward whoami`: who the gateway takes the bearer of a token to be."""

from __future__ import annotations

from typing import Annotated, Any

from cyclopts import Parameter

from doorward.cli import output
from doorward.cli.gateway import HERE, Connection, GatewayClient


def whoami(
    *, as_json: Annotated[bool, Parameter(name="--json", negative="")] = False, connection: Connection = HERE
) -> int:
    """Say who the gateway takes you to be: kind, groups, whom you act for, and until when.

    Parameters
    ----------
    as_json
        Print JSON.
    """
    with GatewayClient(connection) as gateway:
        found = gateway.get("whoami")
    if as_json:
        output.print_json(found)
        return 0
    see = output.visible
    output.facts([
        ("subject", see(found["subject"])),
        ("issuer", see(found["issuer"])),
        ("kind", see(found["kind"])),
        ("groups", see(", ".join(found["groups"]))),
        ("assurance", see(found["assurance"])),
        ("could be", see(found.get("raised_by", ""))),
        ("expires", output.moment(found["expires_at"])),
        ("on behalf of", see(" for ".join(_chain(found.get("on_behalf_of"))))),
    ])  # fmt: skip
    return 0


def _chain(identity: dict[str, Any] | None) -> list[str]:
    if identity is None:
        return []
    return [f"{identity['subject']} ({identity['issuer']})", *_chain(identity.get("on_behalf_of"))]
