"""`doorward access`: who can reach what, what they used of it, and reviews of that."""

from __future__ import annotations

from typing import Annotated, Any

from cyclopts import App, Parameter

from doorward.cli import output
from doorward.cli.gateway import HERE, Connection, GatewayClient
from doorward.cli.options import Json, Wide

app = App(name="access", help="See who can reach what and what they used, and review it.")


@app.command(name="list")
def list_command(
    target: str = "", /, *, days: int = 90, wide: Wide = False, as_json: Json = False, connection: Connection = HERE
) -> int:
    """List who may do what at which target, and when they last did. Needs `administer` on the gateway.

    Parameters
    ----------
    target
        Only at this target.
    days
        Count what was used in so many days.
    """
    with GatewayClient(connection) as gateway:
        found = gateway.get("access", target=target, days=days)
    return output.listing(
        found, ("WHO", "KIND", "TARGET", "MAY", "SESSIONS", "LAST USED"), _line,
        none="nobody who was ever let in may do anything here", fold=1, wide=wide, as_json=as_json,
    )  # fmt: skip


@app.command(name="reviews")
def reviews_command(*, wide: Wide = False, as_json: Json = False, connection: Connection = HERE) -> int:
    """List the reviews, newest first."""
    with GatewayClient(connection) as gateway:
        found = gateway.get("access-reviews")
    return output.listing(
        found, ("ID", "OPENED", "DUE", "LINES", "DECIDED", "CLOSED", "BY"),
        lambda r: (
            r["id"], output.moment(r["opened"]), output.moment(r["due"]), str(r["lines"]), str(r["decided"]),
            output.moment(r["closed"]) if r["closed"] else "", output.who(r["by"]),
        ),
        none="no access was ever reviewed: `doorward access review`", fold=1, wide=wide, as_json=as_json,
    )  # fmt: skip


@app.command(name="review")
def review_command(
    *,
    target: Annotated[tuple[str, ...], Parameter(negative="")] = (),
    days: int = 90,
    due: int = 14,
    as_json: Json = False,
    connection: Connection = HERE,
) -> int:
    """Open a review of what is so now. For people; needs `administer` on the gateway.

    Parameters
    ----------
    target
        Only of this target. May be repeated; none: of all, and of the gateway.
    days
        Count what was used in so many days.
    due
        In how many days it is to be done.
    """
    with GatewayClient(connection) as gateway:
        found = gateway.post("access-reviews", body={"targets": list(target), "days": days, "due": due})
    return _show(found, as_json)


@app.command(name="show")
def show_command(review: str, /, *, as_json: Json = False, connection: Connection = HERE) -> int:
    """Show a review: each line, and what was decided.

    Parameters
    ----------
    review
        The review.
    """
    with GatewayClient(connection) as gateway:
        found = gateway.get("access-reviews", review)
    return _show(found, as_json)


@app.command(name="decide")
def decide_command(
    review: str, identity: str, verdict: str, /, *, target: str = "", comment: str = "", as_json: Json = False,
    connection: Connection = HERE,
) -> int:  # fmt: skip
    """Say of a line whether it is right. It changes no right: policies do, and the issuer's groups.

    Parameters
    ----------
    review
        The review.
    identity
        Whose access, as the listing's JSON gives it: issuer|subject.
    verdict
        keep or revoke.
    target
        At which target; none: the gateway itself.
    comment
        Why.
    """
    body = {"identity": identity, "target": target, "verdict": verdict, "comment": comment}
    with GatewayClient(connection) as gateway:
        found = gateway.post("access-reviews", review, "decisions", body=body)
    if as_json:
        output.print_json(found)
    else:
        print(f"{found['decided']} of {found['lines']} decided")
    return 0


@app.command(name="close")
def close_command(review: str, /, *, as_json: Json = False, connection: Connection = HERE) -> int:
    """End a review. What is undecided stays so, on record.

    Parameters
    ----------
    review
        The review.
    """
    with GatewayClient(connection) as gateway:
        found = gateway.post("access-reviews", review, "close")
    if as_json:
        output.print_json(found)
    else:
        print(f"closed; {found['decided']} of {found['lines']} decided")
    return 0


def _line(right: dict[str, Any]) -> tuple[str, ...]:
    return (
        output.who(right["identity"]), right["kind"], right["target"] or "(the gateway)", ", ".join(right["actions"]),
        str(right["sessions"]), output.moment(right["last"]) if right["last"] else "never",
    )  # fmt: skip


def _show(found: dict[str, Any], as_json: bool) -> int:
    if as_json:
        output.print_json(found)
        return 0
    print(f"review {found['id']}, due {output.moment(found['due'])}: {found['decided']} of {found['lines']} decided")
    output.table(
        ("WHO", "KIND", "TARGET", "MAY", "SESSIONS", "LAST USED", "VERDICT", "BY"),
        ((*_line(right), right["verdict"], output.who(right["by"])) for right in found["rights"]), fold=1,
    )  # fmt: skip
    return 0
