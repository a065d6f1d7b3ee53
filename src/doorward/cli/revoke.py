"""`doorward revoke` and `doorward revocations`: taking away what a token gave, and giving it back."""

from __future__ import annotations

from cyclopts import App

from doorward.cli import output
from doorward.cli.gateway import HERE, Connection, GatewayClient
from doorward.cli.options import Json, Wide
from doorward.errors import ConfigError

app = App(name="revocations", help="List what is revoked, and lift it.")


def revoke(
    *,
    subject: str = "",
    agent: str = "",
    jti: str = "",
    session: str = "",
    reason: str = "",
    seconds: int = 0,
    as_json: Json = False,
    connection: Connection = HERE,
) -> int:
    """Let somebody in no longer: end their sessions, cancel what runs, void what is held. Needs `administer` on the gateway.

    Parameters
    ----------
    subject
        A person or service and every agent that acts for them or is theirs: issuer|subject, as `whoami --json` gives it.
    agent
        An agent, by its name here; or issuer|subject, of one that is not registered.
    jti
        One token and every gateway token that came of it.
    session
        One session.
    reason
        Why; whoever is stopped sees it.
    seconds
        For how long. Default: until somebody lifts it.
    """
    asked = {"subject": subject, "agent": agent, "jti": jti, "session": session}
    given = [(kind, value) for kind, value in asked.items() if value]
    if len(given) != 1:
        raise ConfigError(
            "say one of --subject, --agent, --jti and --session", hint="`doorward revoke --help` says what each is"
        )
    kind, value = given[0]
    with GatewayClient(connection) as gateway:
        made = gateway.post("revocations", body={"kind": kind, "value": value, "reason": reason, "seconds": seconds})
    if as_json:
        output.print_json(made)
    else:
        print(f"revoked; to lift it: doorward revocations lift {output.visible(made['revocation'])}")
    return 0


@app.command(name="list")
def list_command(*, wide: Wide = False, as_json: Json = False, connection: Connection = HERE) -> int:
    """List what is revoked. Needs `administer` on the gateway."""
    with GatewayClient(connection) as gateway:
        found = gateway.get("revocations")
    return output.listing(
        found,
        ("ID", "KIND", "WHAT", "SINCE", "UNTIL", "BY", "REASON"),
        lambda r: (
            r["revocation"], r["kind"], r["value"], output.moment(r["at"]), output.moment(r["until"]),
            output.who(r["by"]), r["reason"],
        ),
        none="nothing is revoked", fold=3, wide=wide, as_json=as_json,
    )  # fmt: skip


@app.command(name="lift")
def lift_command(revocation: str, /, *, as_json: Json = False, connection: Connection = HERE) -> int:
    """Let somebody in again. Needs `administer` on the gateway.

    Parameters
    ----------
    revocation
        The revocation's id.
    """
    with GatewayClient(connection) as gateway:
        found = gateway.delete("revocations", revocation)
    if as_json:
        output.print_json(found)
    else:
        print(f"lifted {output.visible(revocation)}")
    return 0
