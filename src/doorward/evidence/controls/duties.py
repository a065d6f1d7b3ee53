"""A.5.3: segregation of duties. Every vote, every vote that was refused, and that nobody decided on their own request."""

from __future__ import annotations

from doorward.evidence.controls.privileged import TERMS, asked, ran, spent, voted
from doorward.evidence.record import Record, Value
from doorward.evidence.table import MAJOR, OBSERVATION, Cells, Control, Test, each, names, number, text_of


def _vote(record: Record) -> list[Value]:
    body = record.body
    review = record.ref.type == "break_glass.reviewed"
    yes = body.get("justified" if review else "approve")
    session = body.get("session")
    login = session if isinstance(session, dict) else {}
    said = ("justified" if yes else "unjustified") if review else ("approve" if yes else "deny")
    return [
        str(body.get("approval", "")), "review" if review else "vote", record.actor, said, names(body.get("groups")),
        str(body.get("method", "")), str(body.get("tier", "")), str(body.get("key", "")),
        bool((number(body.get("flags")) or 0) & 4), str(login.get("amr", "")), str(login.get("acr", "")),
        text_of(body, "comment"),
    ]  # fmt: skip


VOTES = each(
    "votes",
    ("rid", "kind", "approver", "decision", "groups", "method", "tier", "key", "verified", "amr", "acr", "comment"),
    {"approval.voted": _vote, "break_glass.reviewed": _vote},
    "Every vote, and every review of broken glass, each signed by the key that it names. verified: the device says "
    "that it verified its "
    "owner (UV). amr, acr: how the approver had logged in, where the issuer says.",
)

REFUSED = each(
    "votes_refused",
    ("rid", "approver", "reason"),
    {"approval.vote_refused": lambda r: (str(r.body.get("approval", "")), r.actor, text_of(r.body, "reason"))},
    "Every vote that did not count: by somebody who may not vote on it, or not signed as asked.",
)


def _own(row: Cells) -> str:
    if row["sod_ok"]:
        return ""
    both = {row["requester"], *row["act_chain"]} & {*row["approved_by"], *row["denied_by"]}
    return f"{', '.join(sorted(both))} voted on their own request"


def _unverified(row: Cells) -> str:
    return (
        ""
        if row["verified"] or row["tier"] == "hardware"
        else f"a {row['tier'] or 'unknown'} key, without verification"
    )


CONTROL = Control(
    "A.5.3",
    "Segregation of duties",
    "That nobody approves what they asked for, nor what an agent asks for on their behalf; that approvals come from "
    "other people.",
    (VOTES, REFUSED),
    "Whether two identities are one person: the issuer knows. Duties outside the gateway.",
    (
        Test(
            "approvals.sod", "approvals", MAJOR, "nobody votes on what they, or somebody acting for them, asked for", _own,
            (asked(), voted(str(TERMS["requester"])), spent(), ran(approval="planted")),
            applies=lambda row: bool(row["approved_by"] or row["denied_by"]),
        ),
        Test(
            "votes.verified", "votes", OBSERVATION, "a vote's device verified its owner, or the key cannot be copied",
            _unverified,
            (voted("https://issuer.example|reviewer"),),
        ),
    ),
    also=("approvals",),
    soc2=("CC6.3", "CC5.1"),
    pci=("7.2.2",),
    nist=("AC-5", "AC-3(2)"),
)  # fmt: skip
