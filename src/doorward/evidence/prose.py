"""What a pack says in words: how to read it, by which rules it was computed, and what it cannot show.

Every number here is computed; nothing is asserted that the log does not say. A control without a source is *not evidenced*.
"""

from __future__ import annotations

from typing import Final

from doorward.evidence.controls import of_table
from doorward.evidence.examination import Examination
from doorward.evidence.record import moment
from doorward.evidence.table import Control
from doorward.model import Checkpoint

NOT_EVIDENCED: Final = "not evidenced"

LIMITS: Final = """\
## What this cannot show

- **What did not come through the gateway.** The record says what the gateway saw. That no target is reached around it is for
  the network to enforce and for the target's own account (its server log) to confirm; compare logins there
  with `tables/sessions`.
- **What a gateway that was itself taken over chose not to write, or wrote falsely,** from then on. What stood in the log
  before, under a checkpoint that somebody else keeps, it cannot change.
- **Whether the newest leaves are there.** A log cut back to an earlier signed state verifies, unless a later checkpoint was
  kept elsewhere. Keep `log/checkpoint.end`, and compare it with the next pack.
- **Whether people's reasons are true,** whether a policy is the right one, whether training, contracts and procedures exist.
- **What an approver saw.** A signature covers a commitment to what was shown; an authenticator has no screen of its own.
- **Records whose keys were destroyed** (retention). Their leaves stand, and are in `unopened.jsonl`.
"""


def state(examination: Examination, control: Control) -> str:
    """`evidenced`, `exceptions`, or NOT_EVIDENCED where no table of the control has a row."""
    names = {table.name for table in control.tables} | set(control.also)
    if any(examination.results[test.id].failed for test in control.tests):
        return "exceptions"
    return "evidenced" if any(examination.tallies[name].rows for name in names) else NOT_EVIDENCED


def methodology(examination: Examination, checkpoint: Checkpoint, version: str) -> str:
    """`methodology.md`: information produced by the entity, and how its completeness and accuracy can be checked."""
    lines = [
        "# How this was made\n",
        f"Computed by doorward {version} from the log `{checkpoint.origin}` at size {checkpoint.size} (root "
        f"`{checkpoint.root.hex()}`), for the period from {moment(examination.since)} "
        f"to before {moment(examination.until)}: leaves "
        f"{examination.from_leaf} to before {examination.to_leaf}.\n",
        "**Population.** Every table has all of its population, not a sample. A table is a published rule over the "
        "log's events; the "
        "rules are below, with their hashes in `population.json`. Where a table has one row a leaf, the number of its "
        "rows equals the "
        "number of leaves of that type in the signed tree, less those whose record was destroyed: completeness is "
        "arithmetic that "
        "anybody can repeat from `log/`.\n",
        "**Accuracy.** Each row names the leaves that it rests on. `openings.jsonl` has their private records with "
        "the salts that open "
        "the leaves' commitments, so every value can be followed to a record that was bound when it happened.\n",
        "**Tests.** Each test is a claim about each row of one table; a row that does not bear it out is an "
        "exception. With each test "
        "stands a made-up violation that must fail it (`doorward evidence self-test`), so that no test is one that "
        "cannot fail. An empty "
        "list of exceptions means only that these tests, over these populations, found none.\n",
        "**Sample.** Drawn by a seed that binds a text of the auditor's to the log's last checkpoint (pack.md, "
        "section 8); it is a "
        "re-performance of tests that were run over everything.\n",
        "**Direction.** What is here goes from log to reality. For completeness go the other way too: take logins "
        "from the target's own "
        "log and find them in `tables/sessions`.\n",
        LIMITS,
        "\n## Controls\n",
    ]
    for control in examination.controls:
        lines.append(f"### {control.id} {control.title}\n")
        lines.append(f"State: {state(examination, control)}. Outside the log: {control.outside}\n")
        also = (("SOC 2", control.soc2), ("PCI DSS 4.0.1", control.pci), ("NIST 800-53 r5", control.nist))
        shown = "; ".join(f"{of} {', '.join(ids)}" for of, ids in also if ids)
        if shown:
            lines.append(f"Also speaks to: {shown}.\n")
    lines.append("## Tables\n")
    for name, table in sorted(examination.tables.items()):
        tally = examination.tallies[name]
        serves = ", ".join(control.id for control in of_table(name))
        lines.append(f"### {name}\n")
        lines.append(
            f"{table.rule} {tally.rows} rows, {tally.carried} of them about a leaf before the period. For {serves}.\n"
        )
        if table.reads:
            lines.append(f"Rests on: {', '.join(f'`{each}`' for each in sorted(table.reads))}.\n")
    return "\n".join(lines)


def readme(examination: Examination, checkpoint: Checkpoint, name: str) -> str:
    """`README.md`: where to begin."""
    totals = examination.tests()["totals"]
    rows = "\n".join(
        f"| {control.id} | {control.title} | {state(examination, control)} | "
        f"{', '.join(f'`{each}`' for each in [*(table.name for table in control.tables), *control.also])} |"
        for control in examination.controls
    )
    return f"""# {name}

Evidence from the log `{checkpoint.origin}`,
for the period from {moment(examination.since)} to before {moment(examination.until)}.

| Control | | State | Tables |
|---|---|---|---|
{rows}

{totals["tests"]} tests, {totals["run"]} with a population, {totals["failed"]} failed;
{len(examination.exceptions)} exceptions are in `exceptions.csv`. *{NOT_EVIDENCED.capitalize()}* says that the
log has nothing about it in this period, not that the control fails.

Where to begin: `tables/` has the populations (CSV for spreadsheets, JSONL for programs), `samples/` the rows drawn by the seed
in `samples/sample.json`, `methodology.md` how all of it was computed and what it cannot show.

To check it without trusting whoever gave it to you, get the log's verifier key from somewhere else than here and run the
verifier in `verify/`, or do by hand what section 9 of the specification of packs says. Keep `log/checkpoint.end`: the log of
the next pack must continue it.
"""
