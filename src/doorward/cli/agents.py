"""`doorward agents`: which agents there are, and who answers for them."""

from __future__ import annotations

from typing import Any

from cyclopts import App

from doorward.cli import output
from doorward.cli.gateway import HERE, Connection, GatewayClient
from doorward.cli.options import Json, Many, Wide
from doorward.errors import ConfigError

app = App(name="agents", help="Register agents, each with a living owner; list, show, disable and transfer them.")


@app.command(name="register")
def register_command(
    name: str,
    /,
    *,
    owner: str,
    workload: str,
    bind: Many = (),
    group: Many = (),
    as_json: Json = False,
    connection: Connection = HERE,
) -> int:
    """Register an agent. Needs `administer` on the gateway.

    Parameters
    ----------
    name
        What the agent is called here.
    owner
        The person who answers for it: issuer|subject, as `doorward whoami --json` gives their id. They must have been here.
    workload
        The issuer whose token the agent presents.
    bind
        An immutable id that this token must hold, NAME=VALUE: repository_id=.. and repository_owner_id=.. for GitHub,
        project_id=.. and namespace_id=.. for GitLab, namespace=.. and serviceaccount_uid=.. for Kubernetes, sub=.. otherwise.
    group
        A group that policies know the agent by.
    """
    bound: dict[str, str] = {}
    for each in bind:
        claim, equals, value = each.partition("=")
        if not equals or not claim or not value:
            raise ConfigError(f"--bind {each!r} is not NAME=VALUE", hint="for example repository_id=123456789")
        bound[claim] = value
    with GatewayClient(connection) as gateway:
        made = gateway.post(
            "agents", body={"name": name, "owner": owner, "issuer": workload, "bound": bound, "groups": list(group)}
        )
    name, known_as = output.visible(made["name"]), output.visible(made["id"])
    return _done(made, as_json, f"registered {name}, which policies know as {known_as}")


@app.command(name="list")
def list_command(*, wide: Wide = False, as_json: Json = False, connection: Connection = HERE) -> int:
    """List your own agents; all of them, with `administer`."""
    with GatewayClient(connection) as gateway:
        found = gateway.get("agents")
    return output.listing(
        found,
        ("NAME", "STATE", "REGISTERED", "GROUPS", "OWNER"),
        lambda a: (
            a["name"], _state(a), output.moment(a["registered_at"]), ", ".join(a["groups"]), output.who(a["owner"])
        ),
        none="no agents that you may see", fold=3, wide=wide, as_json=as_json,
    )  # fmt: skip


@app.command(name="show")
def show_command(name: str, /, *, as_json: Json = False, connection: Connection = HERE) -> int:
    """Show one agent.

    Parameters
    ----------
    name
        The agent.
    """
    with GatewayClient(connection) as gateway:
        found = gateway.get("agents", name)
    if as_json:
        output.print_json(found)
        return 0
    see = output.visible
    output.facts([
        ("agent", see(found["name"])),
        ("id", see(found["id"])),
        ("state", output.styled(_state(found))),
        ("owner", see(output.who(found["owner"])) + (f": {see(found['owner_gone'])}" if found["owner_gone"] else "")),
        ("issuer", see(found["issuer"])),
        ("bound by", see(", ".join(f"{name} = {value}" for name, value in sorted(found["bound"].items())))),
        ("groups", see(", ".join(found["groups"]))),
        ("registered", output.moment(found["registered_at"])),
        ("by", see(output.who(found["registered_by"]))),
    ])  # fmt: skip
    return 0


@app.command(name="disable")
def disable_command(name: str, /, *, as_json: Json = False, connection: Connection = HERE) -> int:
    """Let an agent in nowhere, and end its sessions. You may if you own it, or administer the gateway.

    Parameters
    ----------
    name
        The agent.
    """
    return _told(name, "disable", as_json, connection)


@app.command(name="enable")
def enable_command(name: str, /, *, as_json: Json = False, connection: Connection = HERE) -> int:
    """Let an agent in again. Needs `administer` on the gateway.

    Parameters
    ----------
    name
        The agent.
    """
    return _told(name, "enable", as_json, connection)


@app.command(name="transfer")
def transfer_command(name: str, /, *, owner: str, as_json: Json = False, connection: Connection = HERE) -> int:
    """Give an agent another owner. Needs `administer` on the gateway.

    Parameters
    ----------
    name
        The agent.
    owner
        The person who answers for it from now on: issuer|subject. They must have been here.
    """
    with GatewayClient(connection) as gateway:
        found = gateway.post("agents", name, "transfer", body={"owner": owner})
    return _done(found, as_json, f"{output.visible(name)} is {output.visible(output.who(owner))}'s now")


def _told(name: str, what: str, as_json: bool, connection: Connection) -> int:
    with GatewayClient(connection) as gateway:
        return _done(gateway.post("agents", name, what), as_json, f"{what}d {output.visible(name)}")


def _done(found: dict[str, Any], as_json: bool, said: str) -> int:
    if as_json:
        output.print_json(found)
    else:
        print(said)
    return 0


def _state(agent: dict[str, Any]) -> str:
    return "disabled" if not agent["enabled"] else "ownerless" if agent["owner_gone"] else "enabled"
