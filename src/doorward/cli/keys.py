"""`doorward keys`: the keys that one approves with.

Registering signs a challenge of the gateway's, so that nobody registers a key that is not theirs. The private half stays
where it is: in the agent, in its file, on its security key.
"""

from __future__ import annotations

import json
from pathlib import Path

from cyclopts import App

from doorward.cli import output, signing
from doorward.cli.gateway import HERE, Connection, GatewayClient
from doorward.cli.options import Json
from doorward.cli.output import RefusedError
from doorward.errors import ConfigError
from doorward.ledger.sshsig import PublicKey

app = App(name="keys", help="Register, list and revoke the keys that you approve with.")


@app.command(name="add")
def add_command(
    key: Path | None = None, /, *, name: str = "", as_json: Json = False, connection: Connection = HERE
) -> int:
    """Register an SSH key of yours to sign votes with. A security key (ssh-keygen -t ed25519-sk) is best: nobody can copy it.

    Parameters
    ----------
    key
        The key's .pub file. Default: the first in ~/.ssh, security keys before others.
    name
        What to call it. Default: its fingerprint.
    """
    if key is None:
        key = next(iter(signing.usual()), None)
        if key is None:
            raise ConfigError("there is no key in ~/.ssh", hint="make one: ssh-keygen -t ed25519-sk, or -t ed25519")
    public = signing.public_half(key)
    with GatewayClient(connection) as gateway:
        asked = gateway.post("keys", "ssh", "options", body={"public_key": public.line})
        _check(asked, public, gateway.get("whoami")["id"])
        proof = signing.sign(key, asked["namespace"], asked["challenge"].encode())
        found = gateway.post("keys", "ssh", body={"public_key": public.line, "name": name, "proof": proof})
    if as_json:
        output.print_json(found)
    else:
        output.facts([("key", found["id"]), ("name", output.visible(found["name"])), ("tier", found["tier"]),
                      ("fingerprint", public.fingerprint)])  # fmt: skip
    return 0


def _check(asked: dict[str, str], public: PublicKey, me: str) -> None:
    """Sign nothing but what registers this key for oneself."""
    try:
        said = json.loads(asked["challenge"])
        right = (said["typ"], said["owner"], said["fingerprint"]) == ("doorward.key", me, public.fingerprint)
    except (ValueError, KeyError, TypeError):
        right = False
    if not right or not asked["namespace"].startswith("doorward-key@"):
        raise RefusedError("the gateway asks for a signature that would not register this key as yours; nothing was signed")


@app.command(name="list")
def list_command(*, as_json: Json = False, connection: Connection = HERE) -> int:
    """List your keys, revoked ones too."""
    with GatewayClient(connection) as gateway:
        found = gateway.get("keys")
    if as_json:
        output.print_json(found)
    elif not found:
        output.note("no key of yours is registered: doorward keys add")
    else:
        output.table(
            ("ID", "NAME", "METHOD", "TIER", "REGISTERED", "REVOKED"),
            (
                (key["id"], key["name"], key["method"], key["tier"], output.moment(key["registered_at"]),
                 output.moment(key["revoked_at"]) if key["revoked_at"] else "")
                for key in found
            ),
            fold=1,
        )  # fmt: skip
    return 0


@app.command(name="revoke")
def revoke_command(key: str, /, *, as_json: Json = False, connection: Connection = HERE) -> int:
    """Revoke a key: one of yours, or anybody's, if you administer every target. It does not come back.

    Parameters
    ----------
    key
        The key's id.
    """
    with GatewayClient(connection) as gateway:
        found = gateway.delete("keys", key)
    if as_json:
        output.print_json(found)
    else:
        output.note(f"key {found['id']} is revoked: no vote with it counts from here on")
    return 0
