"""`doorward classify`: have the gateway look into a target's tables, and propose labels to review.

Contract: the gateway samples by its own credential, in a session that can only read, and puts on record who looked into what;
this command asks for a few tables at a time and prints configuration, with a count and a confidence at each line and no
value. Nothing is put in force: a person reads it and copies what is right into [targets.labels]. What is doubtful comes as a
comment, and so does what existing labels are not confirmed, and which cannot hold.
"""

from __future__ import annotations

import sys
from typing import Annotated, Any, Final

from cyclopts import Parameter

from doorward.cli.gateway import HERE, Connection, GatewayClient
from doorward.cli.output import note, print_json, visible
from doorward.errors import ConfigError
from doorward.masking.classify import LIKELY

MOST_ROWS: Final = 5000
PATIENCE: Final = 60.0  # seconds for one answer: a turn of 5, and a table that takes its time


def classify(
    target: str,
    /,
    *,
    schema: Annotated[tuple[str, ...], Parameter(negative="")] = (),
    sample: int = 200,
    as_json: Annotated[bool, Parameter(name="--json", negative="")] = False,
    connection: Connection = HERE,
) -> int:
    """Look into a target's tables, by content and by column names, and propose labels as configuration to review.

    Needs `administer` on the target; who looked into which table is on record. No value is shown or kept.

    Parameters
    ----------
    target
        The target, as clients name it.
    schema
        Only tables of this schema. May be repeated.
    sample
        How many rows of each table to look at, at most.
    as_json
        Print JSON: every column with counts, proposed and existing labels.
    """
    if not 1 <= sample <= MOST_ROWS:
        raise ConfigError(f"--sample {sample} is not allowed; it must be 1 to {MOST_ROWS}")
    relations: list[dict[str, Any]] = []
    faults: list[str] = []
    after = 0
    with GatewayClient(connection) as gateway:
        while True:
            body = {"rows": sample, "schemas": list(schema), "after": after}
            answer = gateway.post("targets", target, "samples", body=body, timeout=PATIENCE)
            relations += answer["relations"]
            faults = answer["faults"]
            if sys.stderr.isatty():
                sys.stderr.write(f"\r\x1b[K{answer['done']:,} of {answer['total']:,} tables")
                sys.stderr.flush()
            after = int(answer["next"])
            if not after:
                break
    if sys.stderr.isatty():
        sys.stderr.write("\r\x1b[K")
    if as_json:
        print_json({"target": target, "relations": relations, "faults": faults})
    else:
        print("\n".join(configuration(target, relations, faults)))
        _notes(relations)
    return 0


def configuration(target: str, relations: list[dict[str, Any]], faults: list[str]) -> list[str]:
    """The proposal as TOML, line by line."""
    columns = [(f"{r['relation']}.{column['column']}", column) for r in relations for column in r["columns"]]
    proposed = [(name, c) for name, c in columns if c["label"] and not c["existing"]]
    rows = sum(int(r["rows"]) for r in relations)
    lines = [
        f"# Proposed for target {visible(target)}, from {rows:,} rows of {len(relations):,} tables.",
        "# Read every line before you use it; what has no form, and no telling name, is not in here.",
        "# These lines go below the [[targets]] of that name.",
        "[targets.labels]",
    ]
    for likely in (True, False):
        chosen = [(name, c) for name, c in proposed if (c["confidence"] >= LIKELY) is likely]
        if chosen and not likely:
            lines += ["", "# Less likely than not:"]
        for name, column in sorted(chosen, key=lambda each: each[0]):
            lines.append(f"{'' if likely else '# '}{_line(name, column['label'])}  # {_why(column)}")
    if not proposed:
        lines.append("# nothing to propose")
    doubted = [(name, c) for name, c in columns if c["existing"] and not c["confirmed"]]
    if doubted:
        lines += ["", "# Labels that are there and that nothing in the sample speaks for. They may be right all the same:"]
        for name, column in sorted(doubted, key=lambda each: each[0]):
            other = f", which looks like {column['label']}: {_why(column)}" if column["label"] else f": {_values(column)}"
            lines.append(f"# {_line(name, column['existing'])}{other}")
    if faults:
        lines += ["", "# Labels that are there and cannot hold:", *(f"# {visible(fault)}" for fault in faults)]
    return lines


def _line(name: str, label: str) -> str:
    return f"{_quoted(name)} = {_quoted(label)}"


def _why(column: dict[str, Any]) -> str:
    hits = int(column["hits"].get(column["label"], 0))
    content = f"{hits:,} of {_values(column)}"
    said = {"both": f"{content}, and its name", "content": content, "name": f"its name; {_values(column)} looked at"}
    others = ", ".join(f"{label} {count:,}" for label, count in column["hits"].items() if label != column["label"])
    return f"{column['confidence']:.2f}: {said.get(column['by'], content)}{f'; also {others}' if others else ''}"


def _values(column: dict[str, Any]) -> str:
    return f"{int(column['values']):,} value{'' if column['values'] == 1 else 's'}"


def _quoted(text: str) -> str:
    """A basic string of TOML. What could act on a terminal is escaped in it."""
    escapes = {'"': '\\"', "\\": "\\\\"}
    return '"' + "".join(
        escapes.get(letter) or (letter if visible(letter) == letter else f"\\U{ord(letter):08x}") for letter in text
    ) + '"'  # fmt: skip


def _notes(relations: list[dict[str, Any]]) -> None:
    for relation in relations:
        if relation["unread"]:
            note(f"{visible(relation['relation'])} could not be read: {visible(relation['unread'])}")
