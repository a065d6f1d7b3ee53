"""`doorward doctor`: try every part that the gateway needs, and say what to mend.

Contract: one line for each thing that was tried: ok, warn or fail, and after it what to do. Exit code 0 unless something
fails. It changes nothing, but for a file that it writes, syncs and deletes in the data directory. It logs in to each target
as the gateway would, under the name `doorward doctor`, and reads the catalogue there and no data; no secret is shown.

Deliberately not here: whether policies say what somebody meant (`doorward policy explain`), whether the record is sound
(`doorward verify`).
"""

from __future__ import annotations

import asyncio
import json
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated

from cyclopts import Parameter
from rich.text import Text

from doorward import config as configuration
from doorward.cli import diagnosis, diagnosis_remote
from doorward.cli.diagnosis import Finding, Verdict
from doorward.cli.output import console, visible
from doorward.errors import ConfigError

DEFAULT_CONFIG = Path("doorward.toml")
_STYLES = {Verdict.OK: "green", Verdict.WARN: "yellow", Verdict.FAIL: "bold red"}


def doctor(
    *,
    config: Path = DEFAULT_CONFIG,
    as_json: Annotated[bool, Parameter(name="--json", negative="")] = False,
) -> int:
    """Try configuration, policy, data directory, keys, vault, listeners, issuers and targets; say what to mend.

    Parameters
    ----------
    config
        The configuration file.
    as_json
        Print JSON: a list of findings (part, verdict, text, hint).
    """
    findings = asyncio.run(examine(config))
    if as_json:
        print(json.dumps([finding.as_json() for finding in findings], indent=2))
    else:
        _show(findings)
    return 1 if any(finding.verdict is Verdict.FAIL for finding in findings) else 0


async def examine(path: Path) -> list[Finding]:
    """Everything, in the order in which a gateway would need it. Without a configuration there is nothing else to try."""
    try:
        config = configuration.load(path)
    except ConfigError as error:
        return [Finding("configuration", Verdict.FAIL, line, error.hint) for line in error.message.splitlines()]
    findings = [Finding("configuration", Verdict.OK, f"{path}: {len(config.targets)} target(s)")]
    findings += diagnosis.policy(config)
    findings += diagnosis.data_directory(config.gateway.data)
    findings += diagnosis.secrets(config)
    findings += await diagnosis_remote.listeners(config)
    for part in await asyncio.gather(
        *(diagnosis_remote.issuer(settings) for settings in config.issuers),
        *(diagnosis_remote.target(config, target) for target in config.targets.values()),
    ):
        findings += part
    return findings


def _show(findings: Sequence[Finding]) -> None:
    out = console()
    width = max(len(visible(finding.part)) for finding in findings)
    for finding in findings:
        line = Text.assemble(
            (f"{finding.verdict.value:<5}", _STYLES[finding.verdict]), (f"{visible(finding.part):<{width}}  ", "bold"),
            visible(finding.text),
        )  # fmt: skip
        out.print(line)
        if finding.hint:
            out.print(Text(" " * (width + 7) + "→ " + visible(finding.hint), style="dim"))
    counts = Counter(finding.verdict for finding in findings)
    worst = next(verdict for verdict in (Verdict.FAIL, Verdict.WARN, Verdict.OK) if counts[verdict])
    said = {
        Verdict.OK: "All is well.",
        Verdict.WARN: f"It will run; {counts[Verdict.WARN]} thing(s) to look at.",
        Verdict.FAIL: f"{counts[Verdict.FAIL]} thing(s) to mend.",
    }
    out.print()
    out.print(Text(said[worst], style=_STYLES[worst]))
