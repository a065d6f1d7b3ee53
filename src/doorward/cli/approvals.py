"""`doorward approvals`: what waits for a person's yes or no, and saying it.

Everything shown is the gateway's own rendering, made from what will run: detected values masked, control and invisible
characters spelled out. What is approved is bound to exact bytes, which the gateway keeps; nothing here can change them.
"""

from __future__ import annotations

import time
from pathlib import Path
from typing import Annotated, Any

from cyclopts import App, Parameter
from rich.text import Text

from doorward.cli import output
from doorward.cli.gateway import HERE, Connection, GatewayClient
from doorward.cli.options import Json, Wide
from doorward.cli.output import RefusedError
from doorward.errors import IntegrityError
from doorward.guard import blast
from doorward.ledger import request as requests

YES = ("approved", "spent")
OPEN = ("waiting", "parked")
LOOK = 25.0  # seconds that one question to the gateway waits
Flag = Annotated[bool, Parameter(negative="")]
Key = Annotated[Path | None, Parameter(env_var="DOORWARD_KEY")]

app = App(name="approvals", help="See, answer and wait for requests that need a person.")


@app.command(name="list")
def list_command(
    *, state: str = "", limit: int = 100, open_reviews: Flag = False, wide: Wide = False, as_json: Json = False,
    connection: Connection = HERE,
) -> int:  # fmt: skip
    """List the requests that you asked for or may vote on, newest first.

    Parameters
    ----------
    state
        Only those that are waiting, parked, approved, denied, expired, spent or withdrawn.
    limit
        How many at most.
    open_reviews
        Only broken glass that nobody has reviewed, and what of it is late.
    """
    with GatewayClient(connection) as gateway:
        found = gateway.get("reviews") if open_reviews else gateway.get("approvals", state=state, limit=limit)
    if as_json:
        output.print_json(found)
        return 0
    if not found:
        output.note("no reviews are open that you may see" if open_reviews else "no requests that you may see")
        return 0
    if open_reviews:
        _reviews(found, wide=wide)
        return 0
    output.table(
        ("ID", "STATE", "TARGET", "EFFECT", "WHO", "STATEMENT"),
        (
            (a["id"], a["state"], a["target"], a["effect"], output.who(a["requested_by"]), _short(a["text"]))
            for a in found
        ),
        fold=4,
        wide=wide,
    )
    return 0


@app.command(name="show")
def show_command(approval: str, /, *, as_json: Json = False, connection: Connection = HERE) -> int:
    """Show one request as the gateway renders it: what would run, for whom, why it is held, and who has voted.

    Parameters
    ----------
    approval
        The request's id.
    """
    with GatewayClient(connection) as gateway:
        found = gateway.get("approvals", approval)
    _show(found, as_json)
    return 0


@app.command(name="approve")
def approve_command(
    approval: str, /, *, comment: str = "", key: Key = None, as_json: Json = False, connection: Connection = HERE
) -> int:
    """Say yes to a request, once, signed with your SSH key. Exit code 1: the gateway does not take your vote.

    Parameters
    ----------
    approval
        The request's id.
    comment
        Why, for the record.
    key
        The key to sign with, by its .pub file. Default: the first in ~/.ssh that is registered (`doorward keys add`).
    """
    return _vote(connection, approval, True, comment, key, as_json)


@app.command(name="deny")
def deny_command(
    approval: str, /, *, comment: str = "", key: Key = None, as_json: Json = False, connection: Connection = HERE
) -> int:
    """Say no to a request, which is final, signed with your SSH key. Exit code 1: the gateway does not take your vote.

    Parameters
    ----------
    approval
        The request's id.
    comment
        Why, for the record and for who asked.
    key
        The key to sign with, by its .pub file. Default: the first in ~/.ssh that is registered (`doorward keys add`).
    """
    return _vote(connection, approval, False, comment, key, as_json)


@app.command(name="withdraw")
def withdraw_command(approval: str, /, *, as_json: Json = False, connection: Connection = HERE) -> int:
    """Take a request back: your own, one of an agent that acts for you, or any on a target that you administer.
    Exit code 1: it is none of these, or decided already.

    Parameters
    ----------
    approval
        The request's id.
    """
    with GatewayClient(connection) as gateway:
        found = gateway.post("approvals", approval, "withdraw")
    _state(found, as_json)
    return 0


@app.command(name="wait")
def wait_command(
    approval: str, /, *, timeout: float = 0.0, as_json: Json = False, connection: Connection = HERE
) -> int:
    """Wait until a request is decided. Exit code 0: approved (or used already). 1: denied, expired or withdrawn.
    2: still waiting.

    Parameters
    ----------
    approval
        The request's id.
    timeout
        How many seconds at most; 0 for as long as the request lasts.
    """
    deadline = time.monotonic() + timeout if timeout > 0 else None
    with GatewayClient(connection) as gateway:
        while True:
            left = LOOK if deadline is None else max(0.0, min(LOOK, deadline - time.monotonic()))
            found = gateway.get("approvals", approval, "wait", seconds=left, timeout=left + 30.0)
            if found["state"] not in OPEN or (deadline is not None and time.monotonic() >= deadline):
                break
    _state(found, as_json)
    return 0 if found["state"] in YES else 2 if found["state"] in OPEN else 1


@app.command(name="review")
def review_command(
    approval: str, /, *, comment: str, unjustified: Flag = False, key: Key = None, as_json: Json = False,
    connection: Connection = HERE,
) -> int:  # fmt: skip
    """Review broken glass, once, signed with your SSH key: that what somebody did without approval was justified, or was not.
    Whoever could have approved may. Exit code 1: the gateway does not take your review.

    Parameters
    ----------
    approval
        The request's id (`doorward approvals list --open-reviews`).
    comment
        What you looked at, and what you think of it.
    unjustified
        It was not justified.
    key
        The key to sign with, by its .pub file. Default: the first in ~/.ssh that is registered (`doorward keys add`).
    """
    return _vote(connection, approval, not unjustified, comment, key, as_json, review=True)


def _vote(
    connection: Connection, approval: str, approve: bool, comment: str, key: Path | None, as_json: bool, *,
    review: bool = False,
) -> int:  # fmt: skip
    from doorward.cli import signing  # with the cipher, which nothing else here needs

    with GatewayClient(connection) as gateway:
        shown = gateway.get("approvals", approval)
        me = gateway.get("whoami")["id"]
        wanted = {"approve": approve, **({"review": True} if review else {})}
        ballot = gateway.post("approvals", approval, "ballot", body=wanted)
        text = _checked(ballot, shown, me, approve, review=review)
        if not as_json:
            _show(shown, False)
            output.facts([("you sign", requests.words(requests.challenge(text)))])
        lines = [each["public_key"] for each in gateway.get("keys") if each["method"] == "sshsig" and not each["revoked_at"]]
        path, _ = signing.chosen(key, lines)
        signature = {"method": "sshsig", "signature": signing.sign(path, ballot["ssh_namespace"], text)}
        said = {"comment": comment, "request": ballot["request"], "signature": signature}
        if review:
            done = gateway.post("approvals", approval, "review", body={"justified": approve, **said})
            if as_json:
                output.print_json(done)
            else:
                _reviews([done])
            return 0
        found = gateway.post("approvals", approval, "votes", body={"approve": approve, **said})
    _state(found, as_json)
    return 0


def _checked(ballot: dict[str, Any], shown: dict[str, Any], me: str, approve: bool, *, review: bool = False) -> bytes:
    """The text to sign, once everything in it that can be checked here is what was shown and meant. RefusedError."""
    text = str(ballot["request"]).encode()
    try:
        said = requests.parse(text)
    except IntegrityError as error:
        raise RefusedError(f"the gateway gave no ballot: {error.message}; nothing was signed") from None
    yes, no = (requests.JUSTIFIED, requests.UNJUSTIFIED) if review else (requests.APPROVE, requests.DENY)
    meant = {
        "rid": shown["id"], "decision": yes if approve else no, "approver": me,
        "requester": shown["requested_by"], "act": shown.get("on_behalf_of") or [], "target": shown["target"],
    }  # fmt: skip
    if not review:  # by then it is about what was until when
        meant["exp"] = shown["expires_at"]
    if grant := shown.get("grant"):
        meant |= {name: grant[name] for name in ("actions", "on", "session")}
        meant["limits"] = {name: grant[name] for name in requests.LIMITS}
        meant["typ"] = requests.GRANT
    else:
        meant |= {
            "role": shown.get("role", ""), "search_path": shown.get("search_path", ""), "typ": requests.TYP,
        }  # fmt: skip
    wrong = [name for name, value in meant.items() if said.get(name) != value]
    if wrong or not str(ballot["ssh_namespace"]).startswith("doorward-approval@"):
        raise RefusedError(
            f"the ballot is not about what was shown ({', '.join(wrong) or 'namespace'}); nothing was signed",
            hint="do not vote; tell who runs the gateway",
        )
    return text


def _reviews(found: list[dict[str, Any]], *, wide: bool = False) -> None:
    output.table(
        ("ID", "STATE", "TARGET", "WHO", "BROKEN", "DUE", "REASON"),
        (
            (r["approval"], _reviewed(r), r["target"], output.who(r["by"]), output.moment(r["at"]), output.moment(r["due"]),
             _short(r["reason"]))
            for r in found
        ),
        fold=6,
        wide=wide,
    )  # fmt: skip


def _reviewed(review: dict[str, Any]) -> str:
    said = ("justified" if review["justified"] else "unjustified") if review["reviewed_at"] else "open"
    return f"{said}, late" if review["late"] else said


def _state(found: dict[str, Any], as_json: bool) -> None:
    if as_json:
        output.print_json(found)
        return
    line = Text.assemble(output.visible(str(found["id"])), "  ", output.styled(str(found["state"])))
    missing = int(found["quorum"]) - sum(1 for vote in found["votes"] if vote["approve"])
    if found["state"] in OPEN and missing > 0:
        line.append(f"  {missing} more to approve")
    output.console().print(line)


def _short(text: str) -> str:
    one = " ".join(text.split())
    return one if len(one) <= 100 else one[:99] + "…"


def _show(found: dict[str, Any], as_json: bool) -> None:
    if as_json:
        output.print_json(found)
    else:
        show(found)


def show(found: dict[str, Any]) -> None:
    """One request, as people read it."""
    see = output.visible
    decision = found.get("decision") or {}
    left = int(found.get("left_ms", 0))
    votes = found.get("votes") or []
    votes_text = "\n".join(
        f"{'yes' if v['approve'] else 'no'}  {see(output.who(v['voter']))}  {output.moment(v['at'])}"
        + (f"  signed ({v['method']}, {v['tier']})" if v.get("method") else "")
        + (f"  {see(v['comment'])}" if v["comment"] else "")
        for v in votes
    )
    params = found.get("params") or []
    output.facts([
        ("request", see(str(found["id"]))),
        ("state", output.styled(str(found["state"])) + (Text(f", {output.lasting(left)} left") if left else Text())),
        ("asked", output.moment(int(found["requested_at"]))),
        ("who", see(_identity(found))),
        ("on behalf of", see(", ".join(output.who(each) for each in found.get("on_behalf_of") or []))),
        ("purpose", see(str(found.get("purpose", "")))),
        ("target", see(str(found["target"]))),
        ("role", see(str(found.get("role", "")))),
        ("search_path", see(str(found.get("search_path", "")))),
        ("asks for" if found.get("grant") else "statement", see(str(found.get("text", "")), lines=True)),
        ("left", _left(found.get("left"))),
        ("bytes", str(found.get("bytes") or "")),
        ("parameters", "\n".join(
            f"${n} = " + ("NULL" if value is None else see(str(value))) for n, value in enumerate(params, 1)
        )),
        ("action", see(str(found.get("action", "")))),
        ("effect", see(str(found.get("effect", "")))),
        ("touches", "\n".join(see(_resource(r)) for r in found.get("resources") or [])),
        ("labels", see(", ".join(found.get("labels") or []))),
        *blast.facts(found.get("preview") or {}),
        ("asked before", blast.similar(found.get("similar") or {})),
        ("transaction", Text("inside one: it keeps its locks while this waits", style="yellow")
         if found.get("in_transaction") else ""),
        ("held by", see(", ".join(decision.get("rules") or []))),
        ("reason", see(str(decision.get("reason", "")))),
        ("policy", see(str(decision.get("policy", "")))),
        ("approvers", see(" or ".join(found.get("approvers") or ["whoever policy lets approve"]))),
        ("quorum", f"{sum(1 for v in votes if v['approve'])} of {found['quorum']}" + (
            f" ({', '.join(f'{n} of {see(g)}' for g, n in found['seats'].items())})" if found.get("seats") else "")),
        ("votes", votes_text),
        ("you", "may vote" if found.get("you_may_vote") else see(f"may not vote: {found.get('why_not', '')}")),
    ])  # fmt: skip


def _left(left: dict[str, int] | None) -> str:
    return f"{left['statements']} statements, {left['rows']} rows" if left else ""


def _identity(found: dict[str, Any]) -> str:
    identity = found.get("identity") or {}
    kind = f", {identity['kind']}" if identity.get("kind") else ""
    groups = identity.get("groups") or []
    return output.who(found["requested_by"]) + kind + (f", in {', '.join(groups)}" if groups else "")


def _resource(resource: list[str]) -> str:
    kind, name, access = [*resource, "", "", ""][:3]
    return f"{access} {kind} {name or '(all of it)'}"
