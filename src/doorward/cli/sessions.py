"""`doorward sessions`: who was here, what they did, and ending it.

`replay` is in a file of its own.
"""

from __future__ import annotations

from typing import Annotated

from cyclopts import App, Parameter

from doorward.cli import output
from doorward.cli.gateway import HERE, Connection, GatewayClient
from doorward.cli.options import Json, Wide

app = App(name="sessions", help="List, show, replay and end sessions.")
app.command(
    "doorward.cli.replay:replay_command",
    name="replay",
    help="Replay a recording: each statement with its time, verdict, masked answer and outcome. "
    "Needs `replay`; that you looked is recorded.",
)


@app.command(name="list")
def list_command(
    *,
    identity: str = "",
    target: str = "",
    state: str = "",
    since: int = 0,
    before: str = "",
    limit: int = 50,
    wide: Wide = False,
    as_json: Json = False,
    connection: Connection = HERE,
) -> int:
    """List your own sessions and those that you may replay, newest first.

    Parameters
    ----------
    identity
        Only those of this identity, as `whoami` and the listing's JSON give it: issuer|subject.
    target
        Only those at this target.
    state
        Only those that are open, closed or recovered.
    since
        Only those opened since, in Unix milliseconds.
    before
        Only those older than this session: the next page.
    limit
        How many at most.
    """
    with GatewayClient(connection) as gateway:
        found = gateway.get(
            "sessions", identity=identity, target=target, state=state, since=since, before=before, limit=limit
        )
    if as_json:
        output.print_json(found)
        return 0
    if not found:
        output.note("no sessions that you may see")
        return 0
    counts = ["statements", "refused", "held", "rows"]
    if any(s["observed"] for s in found):  # of targets in observe mode, which are few and should stay so
        counts.insert(3, "observed")
    heads = ["RUN" if c == "statements" else c.upper() for c in counts]
    output.table(
        ("ID", "STATE", "OPENED", "TARGET", "KIND", "LEVEL", *heads, "WHO"),
        (
            (
                s["id"], s["state"], output.moment(s["opened_at"]), s["target"], s["kind"], s["assurance"],
                *(str(s[count]) for count in counts), output.who(s["identity"]),
            )
            for s in found
        ),
        fold=3,
        wide=wide,
    )  # fmt: skip
    if "observed" in counts:
        output.note("OBSERVED ran only because their target is in observe mode: they would have been refused or held")
    return 0


@app.command(name="search")
def search_command(
    *words: str, limit: int = 50, rebuild: Annotated[bool, Parameter(negative="")] = False, wide: Wide = False,
    as_json: Json = False, connection: Connection = HERE,
) -> int:  # fmt: skip
    """Find ended sessions that you may replay by words of their statements (masked), and by who:, target:, label:,
    decision: and action:. All the words must be there. That you searched is recorded. Exit code 1: there is none.

    Parameters
    ----------
    words
        `refunds who:ada label:email decision:refused`. Whole words; capitals do not matter.
    limit
        How many at most.
    rebuild
        Make the index again from the recordings first. Needs `administer` on the gateway.
    """
    with GatewayClient(connection) as gateway:
        if rebuild:
            count = gateway.post("sessions", "search", "rebuild")["sessions"]
            output.note(f"{count} sessions are in the index")
            if not words:
                return 0
        found = gateway.get("sessions", "search", words=" ".join(words), limit=limit)
    if as_json:
        output.print_json(found)
        return 0 if found["sessions"] else 1
    output.listing(
        found["sessions"],
        ("ID", "OPENED", "TARGET", "KIND", "RUN", "REFUSED", "HELD", "ROWS", "WHO"),
        lambda s: (
            s["id"], output.moment(s["opened_at"]), s["target"], s["kind"], str(s["statements"]), str(s["refused"]),
            str(s["held"]), str(s["rows"]), output.who(s["identity"]),
        ),
        none="no session that you may replay has all of these words",
        fold=2, wide=wide, as_json=False,
    )  # fmt: skip
    if found["behind"]:
        output.note("the index cannot be built at present: what ended lately may be missing")
    if found["more"]:
        output.note("there are more: add words, or raise --limit")
    return 0 if found["sessions"] else 1


@app.command(name="show")
def show_command(session: str, /, *, as_json: Json = False, connection: Connection = HERE) -> int:
    """Show one session: who, where, when, and how much it did.

    Parameters
    ----------
    session
        The session's id.
    """
    with GatewayClient(connection) as gateway:
        found = gateway.get("sessions", session)
    if as_json:
        output.print_json(found)
        return 0
    see = output.visible
    lasted = found["closed_at"] - found["opened_at"] if found["closed_at"] else 0
    output.facts([
        ("session", see(found["id"])),
        ("state", output.styled(found["state"])),
        ("who", see(f"{output.who(found['identity'])}, {found['kind']}")),
        ("for", ", for ".join(see(output.who(each)) for each in found["on_behalf_of"])),
        ("assurance", see(found["assurance"])),
        ("target", see(found["target"])),
        ("client", see(found["client"])),
        ("purpose", see(found["purpose"])),
        ("opened", output.moment(found["opened_at"])),
        ("closed", output.moment(found["closed_at"]) + (f", after {output.lasting(lasted)}" if lasted else "")),
        ("statements", str(found["statements"])),
        ("refused", str(found["refused"])),
        ("held", str(found["held"])),
        ("observed", f"{found['observed']} ran that would have been refused or held" if found["observed"] else ""),
        ("rows", str(found["rows"])),
        ("segments", str(found["segments"])),
    ])  # fmt: skip
    return 0


@app.command(name="end")
def end_command(session: str, /, *, as_json: Json = False, connection: Connection = HERE) -> int:
    """End a live session. Needs `administer` on its target.

    Parameters
    ----------
    session
        The session's id.
    """
    with GatewayClient(connection) as gateway:
        found = gateway.post("sessions", session, "end")
    if as_json:
        output.print_json(found)
    else:
        print(f"ended {output.visible(found['session'])}")
    return 0
