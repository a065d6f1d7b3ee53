"""`doorward exports`: how far events have got that leave the gateway."""

from __future__ import annotations

from doorward.cli import output
from doorward.cli.gateway import HERE, Connection, GatewayClient
from doorward.cli.options import Json, Wide


def exports(*, wide: Wide = False, as_json: Json = False, connection: Connection = HERE) -> int:
    """List the exports: where each has got to in the log, how far that is behind, and how its last attempt went.

    Needs `administer` on the gateway.
    """
    with GatewayClient(connection) as gateway:
        found = gateway.get("exports")
    return output.listing(
        found,
        ("EXPORT", "KIND", "FORMAT", "LEAF", "BEHIND", "SENT", "LAST SENT", "ERROR"),
        lambda e: (
            e["name"], e["kind"], e["format"], str(e["cursor"]), str(e["behind"]), str(e["sent"]), output.moment(e["sent_at"]),
            e["error"],
        ),
        none="no export is configured: write an [[export]] into the gateway's configuration",
        fold=3, wide=wide, as_json=as_json,
    )  # fmt: skip
