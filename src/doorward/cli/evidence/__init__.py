"""`doorward evidence`: what the record says to an auditor, as a pack that can be checked alone, or one control on the screen.

gather  a data directory, opened to be examined
pack    the folder and the zip
"""

from __future__ import annotations

import asyncio
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
    from doorward.cli.evidence.pack import Made, Wanted, write_pack

    if not 0 <= sample <= 1000:
        raise ConfigError("--sample is 0 to 1000")
    at, start = _kept(checkpoint), _kept(start_checkpoint)

    async def write() -> Made:
        async with gather(_data(data, config), at) as gathered:
            first, end = gathered.period(since, until)
            wanted = Wanted(first, end, auditor, sample, recordings, start)
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


def _kept(checkpoint: Path | None) -> bytes:
    if checkpoint is None:
        return b""
    try:
        return checkpoint.read_bytes()
    except OSError as error:
        raise ConfigError(
            f"the checkpoint {checkpoint} cannot be read ({error.strerror})", hint="give a copy of log/checkpoint"
        ) from None


def _data(data: Path | None, config: Path | None) -> Path:
    if data is None:
        from doorward.config import load

        data = load(config or Path("doorward.toml")).gateway.data
    if not data.is_dir():
        raise ConfigError(f"{data} is not a directory", hint="give the data directory")
    return data
