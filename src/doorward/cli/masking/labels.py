"""Where labels have got to: the columns that statements have copied labelled data into.

`copied` lists them, `lift` takes such labels away, on record. What lineage finds anew comes back by itself.
"""

from __future__ import annotations

from doorward.cli.gateway import HERE, Connection, GatewayClient
from doorward.cli.options import Json, TargetName
from doorward.cli.output import note, print_json, table, visible
from doorward.errors import ConfigError


def copied(
    target: TargetName,
    /,
    *,
    as_json: Json = False,
    connection: Connection = HERE,
) -> int:
    """List the columns that have labels because statements copied labelled data there. Needs `administer` on the target."""
    with GatewayClient(connection) as gateway:
        found = gateway.get("targets", target, "labels", "copied")
    if as_json:
        print_json(found)
        return 0
    there = [row for row in found if row["column"]]
    if not there:
        note("no labelled data was copied anywhere")
        return 0
    table(["COLUMN", "LABELS"], [[row["column"], ", ".join(row["labels"])] for row in there], fold=1)
    return 0


def lift(
    target: TargetName,
    /,
    *columns: str,
    as_json: Json = False,
    connection: Connection = HERE,
) -> int:
    """Lift the labels that statements have brought to columns, once what was copied there is gone. On record.

    From then on what is in there is shown to whoever may read it. Needs `administer` on the target. A column that gets labelled
    data for good reasons, and needs no label, is better given the label `none` in the configuration.

    Parameters
    ----------
    columns
        Columns as `doorward masking copied` lists them: schema.table.column. Those of partitions and children are their own.
    """
    if not columns:
        raise ConfigError("no column is named", hint=f"doorward masking copied {visible(target)} lists them")
    with GatewayClient(connection) as gateway:
        answer = gateway.post("targets", target, "labels", "lift", body={"columns": list(columns)})
    if as_json:
        print_json(answer["lifted"])
    else:
        for row in answer["lifted"]:
            note(f"{visible(row['column'])}: no longer {visible(row['label'])}")
    return 0
