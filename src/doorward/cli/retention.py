"""`doorward retention`: what is kept, until when, and deleting what is due."""

from __future__ import annotations

from typing import Any

from cyclopts import App

from doorward.cli import output
from doorward.cli.gateway import HERE, Connection, GatewayClient
from doorward.cli.options import Json, Wide

app = App(name="retention", help="See what is kept until when, and delete what is due.")
FAULTY = ("late", "lost")


@app.command(name="list")
def list_command(*, wide: Wide = False, as_json: Json = False, connection: Connection = HERE) -> int:
    """List what each class recorded in each month, and until when it is kept. Needs `administer` on the gateway."""
    return _list(connection, wide=wide, as_json=as_json, all_=True)


@app.command(name="plan")
def plan_command(*, wide: Wide = False, as_json: Json = False, connection: Connection = HERE) -> int:
    """List what the next run would delete, what it would refuse, and what is late or lost. Exit code 1: something is. Needs
    `administer` on the gateway."""
    return _list(connection, wide=wide, as_json=as_json, all_=False)


def _list(connection: Connection, *, wide: bool, as_json: bool, all_: bool) -> int:
    with GatewayClient(connection) as gateway:
        found: list[dict[str, Any]] = gateway.get("retention")["epochs"]
    if not all_:
        found = [each for each in found if each["state"] not in ("kept", "forever")]
    output.listing(
        found,
        ("EPOCH", "STATE", "DUE", "SESSIONS", "HELD", "KEY"),
        lambda e: (
            e["name"], e["state"], output.moment(e["due"]) if e["due"] else "never", str(e["sessions"]), str(e["held"]),
            "there" if e["key"] else "gone",
        ),
        none="nothing is recorded yet" if all_ else "nothing is due",
        fold=0, wide=wide, as_json=as_json,
    )  # fmt: skip
    lost = [each["name"] for each in found if each["state"] == "lost"]
    if lost and not as_json:
        output.note(f"what was sealed under a lost key cannot be read: restore {', '.join(lost)} from a backup")
    return 0 if all_ else int(any(each["state"] in FAULTY for each in found))


@app.command(name="run")
def run_command(*, as_json: Json = False, connection: Connection = HERE) -> int:
    """Delete what is due: on record first, then the month's key, then all that was sealed under it. What is early, open or held
    is refused. Exit code 1: something is due and was refused. Needs `administer` on the gateway."""
    with GatewayClient(connection) as gateway:
        done = gateway.post("retention", "run")
    if as_json:
        output.print_json(done)
    else:
        for each in done["deleted"]:
            held = f"; {each['held']:,} are held and stay" if each["held"] else ""
            late = ", late" if each["late"] else ""
            print(
                f"deleted {output.visible(each['epoch'])}: {each['recordings']:,} recordings, {each['events']:,} other records"
                f" (due {output.moment(each['due'])}{late}){held}"
            )
        for each in done["refused"]:
            print(f"refused {output.visible(each['epoch'])}: {_WHY[each['why']]}")
        if not done["deleted"] and not done["refused"]:
            output.note("nothing is due")
    return int(bool(done["refused"]))


_WHY = {"open": "a session of it has not ended", "held": "all that is left of it is held"}
