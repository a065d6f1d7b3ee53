"""`doorward holds`: what must not be deleted although it is due."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Annotated

from cyclopts import App, Parameter

from doorward.cli import output
from doorward.cli.gateway import HERE, Connection, GatewayClient
from doorward.cli.options import Json, Wide
from doorward.errors import ConfigError

app = App(name="holds", help="Keep recordings from being deleted while a case needs them; released by two people.")


@app.command(name="apply")
def apply_command(
    case: str,
    /,
    *,
    reason: str,
    session: Annotated[tuple[str, ...], Parameter(negative="")] = (),
    identity: str = "",
    target: str = "",
    since: Annotated[str, Parameter(name="--from")] = "",
    until: Annotated[str, Parameter(name="--to")] = "",
    as_json: Json = False,
    connection: Connection = HERE,
) -> int:
    """Put recordings under a legal hold. Needs `administer` on the gateway, as a person.

    Parameters
    ----------
    case
        What to call it: letters, digits, dots, - and _.
    reason
        Why, for the record.
    session
        A session's id. May be repeated.
    identity
        All sessions of this identity, as `sessions list --json` gives it; those that begin later, too.
    target
        All sessions at this target; those that begin later, too.
    since
        Only those that began on this day (2026-11-30) or later, in UTC.
    until
        Only those that began before this day, in UTC.
    """
    body = {"case": case, "reason": reason}
    chosen = {
        "sessions": list(session), "identity": identity, "target": target, "since": _day("--from", since),
        "until": _day("--to", until),
    }  # fmt: skip
    with GatewayClient(connection) as gateway:
        found = gateway.post("holds", body={**body, **{name: value for name, value in chosen.items() if value}})
    if as_json:
        output.print_json(found)
    else:
        print(f"{output.visible(found['case'])} is in force: {found['held']:,} recordings are held")
    return 0


@app.command(name="list")
def list_command(*, wide: Wide = False, as_json: Json = False, connection: Connection = HERE) -> int:
    """List holds, released ones too. Needs `administer` on the gateway."""
    with GatewayClient(connection) as gateway:
        found = gateway.get("holds")
    return output.listing(
        found,
        ("CASE", "STATE", "HELD", "SINCE", "BY", "RELEASE ASKED BY", "REASON"),
        lambda h: (
            h["case"], h["state"], str(h["held"]), output.moment(h["applied_at"]), output.who(h["applied_by"]),
            output.who(h["requested_by"]) if h["requested_by"] else "", output.visible(h["reason"]),
        ),
        none="nothing is held",
        fold=6, wide=wide, as_json=as_json,
    )  # fmt: skip


@app.command(name="release")
def release_command(case: str, /, *, as_json: Json = False, connection: Connection = HERE) -> int:
    """Ask that a hold be released; or, as a second person, confirm it. What it alone kept is then due at once. Needs
    `administer` on the gateway, as a person.

    Parameters
    ----------
    case
        The hold's case.
    """
    with GatewayClient(connection) as gateway:
        found = gateway.post("holds", case, "release")
    if as_json:
        output.print_json(found)
    elif found["state"] == "released":
        print(f"{output.visible(found['case'])} is released")
    else:
        print(f"asked for; {output.visible(found['case'])} is in force until a second person says the same")
    return 0


def _day(option: str, text: str) -> int:
    try:
        return int(datetime.strptime(text, "%Y-%m-%d").replace(tzinfo=UTC).timestamp()) * 1000 if text else 0
    except ValueError:
        raise ConfigError(f"{option} {text}: this is no day", hint="write it as in 2026-11-30") from None
