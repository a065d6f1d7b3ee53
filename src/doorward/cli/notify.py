"""`doorward notify`: the channels on which people are told that something waits."""

from __future__ import annotations

from cyclopts import App

from doorward.cli import output
from doorward.cli.gateway import HERE, Connection, GatewayClient
from doorward.cli.options import Json, Wide
from doorward.cli.output import RefusedError

app = App(name="notify", help="See how the channels do that tell people what waits, and test one.")


@app.command(name="list")
def list_command(*, wide: Wide = False, as_json: Json = False, connection: Connection = HERE) -> int:
    """List the channels, what waits for each, and how its last attempt went. Needs `administer` on the gateway."""
    with GatewayClient(connection) as gateway:
        found = gateway.get("notifications")
    return output.listing(
        found,
        ("CHANNEL", "KIND", "TELLS", "WAITING", "SENT", "FAILED", "LAST SENT", "ERROR"),
        lambda c: (
            c["channel"], c["kind"], ", ".join(c["tell"]), str(c["waiting"]), str(c["sent"]), str(c["failed"]),
            output.moment(c["sent_at"]), c["error"],
        ),
        none="no channel is configured: write a [[notify]] into the gateway's configuration",
        fold=3, wide=wide, as_json=as_json,
    )  # fmt: skip


@app.command(name="test")
def try_command(channel: str, /, *, as_json: Json = False, connection: Connection = HERE) -> int:
    """Send a message that says that it is a test, and say what came back. Needs `administer` on the gateway.

    Parameters
    ----------
    channel
        The channel.
    """
    with GatewayClient(connection) as gateway:
        found = gateway.post("notifications", channel, "test")
    if as_json:
        output.print_json(found)
        return 0 if found["delivered"] else 1
    if not found["delivered"]:
        raise RefusedError(f"{channel} did not take it: {found['answer']}", hint="mend [[notify]] or what it leads to")
    print(f"delivered; what came back: {output.visible(found['answer'])}")
    return 0
