"""A large log verifies in bounded time and memory: the whole of it with the `campaign` marker, a smaller one always."""

from __future__ import annotations

import resource
import subprocess
import sys
from pathlib import Path

import pytest

from benchmarks.ledger import SIGNER, write_log


@pytest.mark.parametrize("leaves", [3000, pytest.param(1_000_000, marks=pytest.mark.campaign)])
def test_large(tmp_path: Path, leaves: int) -> None:
    """15 microseconds of CPU a leaf at most, on top of the start of a command, and never more than 256 MiB."""
    write_log(tmp_path, leaves)
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    done = subprocess.run(
        [sys.executable, "-m", "doorward", "verify", str(tmp_path), "--vkey", SIGNER.vkey, "--json"],
        check=False, capture_output=True, text=True,
    )  # fmt: skip
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    assert done.returncode == 0, done.stdout + done.stderr
    assert f'"leaves": {leaves}' in done.stdout
    used = after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime
    assert used < 5 + leaves * 15e-6
    assert after.ru_maxrss <= max(before.ru_maxrss, 256 * 1024)
