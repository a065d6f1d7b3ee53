"""`doorward request`: ask people, in advance, to agree to more than one statement; or break glass.

What is granted belongs to whoever asks, in any session of theirs unless one is named, and ends by time, use, withdrawal, or
a changed policy.
"""

from __future__ import annotations

from typing import Annotated, Any

from cyclopts import Parameter

from doorward.cli import output
from doorward.cli.approvals import show
from doorward.cli.gateway import HERE, Connection, GatewayClient
from doorward.cli.options import Json

Flag = Annotated[bool, Parameter(negative="")]
Some = Annotated[list[str] | None, Parameter(negative="", consume_multiple=True)]


def request(
    target: str, /, *, actions: Annotated[list[str], Parameter(negative="", consume_multiple=True)], minutes: int,
    statements: int, rows: int, reason: str, on: Some = None, session: str = "", break_glass: Flag = False,
    as_json: Json = False, connection: Connection = HERE,
) -> int:  # fmt: skip
    """Ask to be let run several statements that policy holds, for some minutes and within limits. Approvers see them all;
    follow with `doorward approvals wait`. Exit code 1: policy does not let anybody grant this.

    Parameters
    ----------
    target
        Where.
    actions
        What: read, write, define or control; several with commas or spaces.
    minutes
        For how long, from the approval on.
    statements
        How many at most.
    rows
        How many rows at most, returned or changed, in all of them.
    reason
        Why, for who decides and for the record.
    on
        Only these schemas and tables: public, public.orders. Default: the whole target.
    session
        Only in this session of yours. Default: in all of them, also those that you open later.
    break_glass
        Go on without the people whom policy wants, where it lets you: signed by yourself, in person, with
        `doorward approvals approve`. They are told, and somebody reviews it.
    """
    body: dict[str, Any] = {
        "target": target, "actions": _parts(actions), "minutes": minutes, "statements": statements, "rows": rows,
        "reason": reason, "on": _parts(on or []), "session": session, "break_glass": break_glass,
    }  # fmt: skip
    with GatewayClient(connection) as gateway:
        found = gateway.post("approvals", body=body)
    if as_json:
        output.print_json(found)
        return 0
    show(found)
    if break_glass:
        output.note(f"sign it to break the glass: doorward approvals approve {found['id']}")
    else:
        output.note(f"wait for the answer: doorward approvals wait {found['id']}")
    return 0


def _parts(said: list[str]) -> list[str]:
    return [part.strip() for each in said for part in each.split(",") if part.strip()]
