"""A pack over a long log: in bounded memory, and in a time that is known."""

from __future__ import annotations

import asyncio
import json
import resource
import subprocess
import sys
import time
from pathlib import Path

import pytest

from tests.rig.history import long_record


@pytest.mark.parametrize("leaves", [1_000_000], ids="{:,}".format)
@pytest.mark.campaign
def test_a_pack_over_a_million_events(leaves: int, tmp_path: Path) -> None:
    """Half a million operations and their outcomes in some five thousand sessions: memory does not grow with them."""
    data = tmp_path / "data"
    data.mkdir(mode=0o700)
    asyncio.run(long_record(data, leaves))
    began = time.monotonic()
    done = subprocess.run(
        [sys.executable, "-m", "doorward", "evidence", "pack", str(data), "--out", str(tmp_path / "out"), "--json"],
        capture_output=True, check=True,
    )  # fmt: skip
    took = time.monotonic() - began
    said = json.loads(done.stdout)
    peak = resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss / 1024
    print(f"{said['size']:,} leaves, {took:.1f} s, {peak:.0f} MiB at most")
    assert said["size"] >= leaves
    assert peak < 600
