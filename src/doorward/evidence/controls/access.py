"""A.5.15: access control. Which policies were in force, who changed them, and what they decided."""

from __future__ import annotations

from collections.abc import Iterable

from doorward.evidence.daily import daily
from doorward.evidence.record import Record, Value, text
from doorward.evidence.table import OBSERVATION, Control, Planted, Sessions, Test, decided, each, names, text_of

CHANGES = each(
    "policy_changes",
    ("kind", "author", "old", "new", "policies", "changed", "reason"),
    {
        "policy.changed": lambda r: (
            "changed", r.actor, str(r.body.get("old", "")), str(r.body.get("new", "")), names(r.body.get("policies"), 500),
            names(r.body.get("changed"), 500), "",
        ),
        "policy.kept": lambda r: (
            "refused: broken", r.actor, str(r.body.get("policy", "")), "", [], [], text_of(r.body, "reason"),
        ),
    },
    "Every change of the policies in force, by the hash of all of them, with the ids of those that are new, gone or "
    "worded otherwise; "
    "and every set that was broken and not taken. An author is known where the change came through the API; \"\" "
    "means that the files "
    "changed and the gateway read them.",
)  # fmt: skip

_OUTCOMES = {
    "operation.permitted": "allow", "operation.refused": "deny", "operation.held": "hold", "operation.observed": "observe",
    "session.refused": "deny",
}  # fmt: skip


def _decisions(record: Record, sessions: Sessions) -> Iterable[tuple[tuple[Value, ...], tuple[int, ...]]]:
    verdict = decided(record.body)
    rules = text(" ".join(names(verdict.get("rules"))))
    yield (_OUTCOMES[record.ref.type], rules, str(verdict.get("policy", "")), record.ref.type), (1,)


DECISIONS = daily(
    "decisions",
    ("outcome", "rules", "policy", "event"),
    ("count",),
    _OUTCOMES,
    _decisions,
    "What the policies decided, by deciding rules and policy hash, of everything but plain allowed reads (those are "
    "in recordings).",
)

CONTROL = Control(
    "A.5.15",
    "Access control",
    "The policy that is approved and the policy that is enforced; who changed it, when; what it decided.",
    (CHANGES, DECISIONS),
    "Who approved a change of the policy files before they were put in force: that is in your version control. The "
    "texts in force "
    "when the pack was made are in `snapshots/`.",
    (
        Test(
            "policy.author", "policy_changes", OBSERVATION, "who changed the policies is on record",
            lambda row: "" if row["author"] else "the files changed; the log does not know by whom",
            (Planted("policy.changed", {"old": "a", "new": "b", "policies": [], "changed": []}),),
            applies=lambda row: row["kind"] == "changed",
        ),
    ),
    soc2=("CC6.2", "CC6.3"),
    pci=("7.2.1", "7.2.5"),
    nist=("AC-1", "AC-2", "AC-3"),
)  # fmt: skip
