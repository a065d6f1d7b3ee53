"""A real process, a real disk, a real SIGKILL: what it was told is durable is there afterwards, once."""

from __future__ import annotations

import asyncio
import os
import random
import subprocess
import sys
from pathlib import Path

import pytest

from tests.suites.lives import Disk, Oracle, judge

ROOT = Path(__file__).resolve().parents[3]


def one_life(directory: Path, life: int, chance: random.Random, oracle: Oracle) -> None:
    with subprocess.Popen(
        [sys.executable, "-W", "error", str(ROOT / "tests/suites/mortal.py"), str(directory), str(life)],
        stdout=subprocess.PIPE, env={**os.environ, "PYTHONPATH": f"{ROOT}{os.pathsep}{ROOT / 'src'}"},
    ) as process:
        assert process.stdout is not None
        lines = chance.randrange(1, 120)  # killed after so many words of it, wherever it then is
        for line in process.stdout:
            hear(line, oracle)
            lines -= 1
            if lines == 0:
                break
        process.kill()
        for line in process.stdout:
            hear(line, oracle)
    assert process.returncode == -9


def hear(line: bytes, oracle: Oracle) -> None:
    if not line.endswith(b"\n"):
        return  # killed in the middle of a word
    kind, _, word = line.decode().strip().partition(" ")
    if kind != "ready":
        {"attempted": oracle.attempted, "durable": oracle.durable, "session": oracle.sessions,
         "approval": oracle.approvals}[kind].add(word)


def rounds(directory: Path, count: int, seed: int) -> None:
    chance = random.Random(seed)  # noqa: S311 - a sample that is the same tomorrow
    oracle = Oracle()
    for life in range(count):
        one_life(directory, life, chance, oracle)
    recovery = asyncio.run(judge(Disk(directory), oracle))
    assert recovery.crashed


def test_killed_a_few_times(tmp_path: Path) -> None:
    """Three lives on one data directory, each killed at another moment."""
    rounds(tmp_path, 3, 1)


@pytest.mark.campaign
@pytest.mark.parametrize("seed", range(20))
def test_killed_many_times(tmp_path: Path, seed: int) -> None:
    """Two hundred and forty lives."""
    rounds(tmp_path, 12, 100 + seed)
