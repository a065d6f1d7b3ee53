"""`doorward evidence`: what the record says to an auditor, as a pack that can be checked alone, or one control on the screen.

gather   a data directory, opened to be examined
writing  the folder and the zip
display  controls on the screen, and the tests' own test
"""

from __future__ import annotations

import asyncio
import re
from pathlib import Path
from typing import Annotated

from cyclopts import App, Parameter

from doorward.cli import output
from doorward.errors import ConfigError

app = App(name="evidence", help="Make a pack of evidence for an auditor, or show one control.")

_Json = Annotated[bool, Parameter(name="--json", negative="")]
_From = Annotated[str, Parameter(name="--from")]
_To = Annotated[str, Parameter(name="--to")]


@app.command
def pack(
    data: Path | None = None,
    /,
    *,
    since: _From = "",
    until: _To = "",
    out: Path = Path("."),
    auditor: str = "",
    sample: int = 25,
    recordings: Annotated[bool, Parameter(negative="")] = False,
    archive: Annotated[bool, Parameter(name="--zip", negative="--no-zip")] = True,
    pdf: Annotated[bool, Parameter(negative="--no-pdf")] = True,
    checkpoint: Path | None = None,
    start_checkpoint: Path | None = None,
    as_json: _Json = False,
    config: Path | None = None,
) -> int:
    """Write a pack: the log, every population, exceptions, samples, and what it takes to check them alone.

    Reads the record beside a running gateway, as the gateway's own user; writes nothing into it. Exceptions are part of what a
    pack says: they do not change the exit code.

    Parameters
    ----------
    data
        The data directory. Default: what the configuration says.
    since
        The first day of the period (UTC), or its first moment. Default: the log's first leaf.
    until
        The last day of the period, whole, or the moment before which it ends. Default: the log's last leaf.
    out
        The folder to write it in. The pack has a name of its own.
    auditor
        A text of the auditor's own, given once the checkpoint stands: it makes the sample theirs.
    sample
        How many rows of each table to draw.
    recordings
        Put the recordings of the sampled sessions in, with their keys: whoever has the pack can read them.
    archive
        Write it as a zip too.
    pdf
        Set a summary of each control as a PDF (PDF/A-2b).
    checkpoint
        Make it at this earlier checkpoint of the log instead of the newest: the same pack comes out again.
    start_checkpoint
        A checkpoint kept elsewhere before the period, which the log must continue: the pack has both.
    as_json
        Print JSON.
    config
        The configuration whose data directory to read. Default: doorward.toml.
    """
    from doorward.cli.evidence.gather import gather, progress_bar
    from doorward.cli.evidence.writing import Made, Wanted, write_pack

    if not 0 <= sample <= 1000:
        raise ConfigError("--sample is 0 to 1000")
    at, start = _kept(checkpoint), _kept(start_checkpoint)
    snapshots, trust = _snapshots(config, data)

    async def write() -> Made:
        async with gather(_data(data, config), at) as gathered:
            first, end = gathered.period(since, until)
            wanted = Wanted(first, end, auditor, sample, recordings, start, snapshots, trust, pdf)
            with progress_bar() as progress:
                return await write_pack(gathered, out, wanted, zipped=archive, progress=progress)

    made = asyncio.run(write())
    totals = made.examination.tests()["totals"]
    if as_json:
        output.print_json({
            "pack": str(made.folder), "zip": str(made.zip) if made.zip else None, "files": made.files,
            "size": made.checkpoint.size, "from_leaf": made.examination.from_leaf, "to_leaf": made.examination.to_leaf,
            "tests": totals, "exceptions": len(made.examination.exceptions),
        })  # fmt: skip
    else:
        console = output.console()
        console.print(f"Pack      {output.visible(str(made.folder))}")
        if made.zip:
            console.print(f"Zip       {output.visible(str(made.zip))}")
        console.print(f"Log       {output.visible(made.checkpoint.origin)}, {made.checkpoint.size:,} leaves")
        first, end = made.examination.from_leaf, made.examination.to_leaf
        console.print(f"Period    leaves {first:,} to before {end:,}")
        console.print(f"Tests     {totals['tests']}, {totals['run']} with a population, {totals['failed']} failed")
        console.print(f"Exceptions {len(made.examination.exceptions):,}")
    return 0


@app.command
def show(
    control: str = "",
    /,
    *,
    data: Path | None = None,
    since: _From = "",
    until: _To = "",
    rows: int = 5,
    as_json: _Json = False,
    config: Path | None = None,
) -> int:
    """Show one control, or all of them in a line each: rows, tests, exceptions, and what the log cannot say.

    Exit code 0: no test failed in the period. 1: there are exceptions.

    Parameters
    ----------
    control
        A control of ISO/IEC 27001:2022 Annex A, such as A.8.2. Default: all, one a line.
    data
        The data directory. Default: what the configuration says.
    since
        The first day of the period (UTC), or its first moment. Default: the log's first leaf.
    until
        The last day of the period, whole, or the moment before which it ends. Default: the log's last leaf.
    rows
        How many of the newest rows of each table to show.
    as_json
        Print JSON.
    config
        The configuration whose data directory to read. Default: doorward.toml.
    """
    from doorward.cli.evidence import display
    from doorward.cli.evidence.gather import gather

    if not 0 <= rows <= 1000:
        raise ConfigError("--rows is 0 to 1000")
    controls = display.chosen(control)

    async def look() -> bool:
        async with gather(_data(data, config)) as gathered:
            examination, newest = await display.look(gathered, since, until, controls, rows)
        if as_json:
            output.print_json(display.as_json(examination, newest, gathered))
        elif control:
            display.print_one(examination, newest)
        else:
            display.print_all(examination)
        return bool(examination.exceptions)

    return 1 if asyncio.run(look()) else 0


@app.command(name="self-test")
def self_test(*, as_json: _Json = False) -> int:
    """Show each test a made-up violation that it must catch, so that none is a test that cannot fail.

    Touches no record. Exit code 0: every violation was caught. 1: one was not.

    Parameters
    ----------
    as_json
        Print JSON.
    """
    from doorward.cli.evidence.display import self_test as rehearsed

    found = rehearsed()
    missed = [each for each in found if not each["caught"]]
    if as_json:
        output.print_json(found)
    else:
        output.table(
            ("TEST", "CONTROL", "SEVERITY", "CAUGHT", "FOUND"),
            [
                (each["test"], each["control"], each["severity"], "yes" if each["caught"] else "NO", each["actual"])
                for each in found
            ],
            fold=2,
        )
        output.note(f"{len(found) - len(missed)} of {len(found)} made-up violations were caught")
    return 1 if missed else 0


def _kept(checkpoint: Path | None) -> bytes:
    if checkpoint is None:
        return b""
    try:
        return checkpoint.read_bytes()
    except OSError as error:
        raise ConfigError(
            f"the checkpoint {checkpoint} cannot be read ({error.strerror})", hint="give a copy of log/checkpoint"
        ) from None


def _snapshots(config: Path | None, data: Path | None) -> tuple[dict[str, bytes], bytes]:
    """The configuration and the policies that it names, and the trust policy, where it is known which. They name secrets and
    hold none."""
    if config is None and data is not None:
        return {}, b""
    from doorward.config import load, read_policies

    found = load(config or Path("doorward.toml"))
    texts = read_policies(found)
    shown = {"snapshots/doorward.toml": found.path.read_bytes()}
    for number, (name, policy) in enumerate(sorted(texts.items()), 1):
        shown[f"snapshots/policies/{number}-{re.sub(r'[^A-Za-z0-9._-]', '_', Path(name).name)}"] = policy.encode()
    witnesses = found.ledger.witnesses if found.trust is not None else None
    return shown, witnesses.read_bytes() if witnesses is not None else b""


def _data(data: Path | None, config: Path | None) -> Path:
    if data is None:
        from doorward.config import load

        data = load(config or Path("doorward.toml")).gateway.data
    if not data.is_dir():
        raise ConfigError(f"{data} is not a directory", hint="give the data directory")
    return data
