"""Spools: what goes in comes out, nobody else can read it, and together they keep within their bound."""

from __future__ import annotations

import os
import random
import tempfile
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from doorward.server.spool import Spools

STEP = st.one_of(
    st.tuples(st.just("append"), st.integers(0, 300_000)), st.tuples(st.just("truncate"), st.floats(0, 1))
)


@settings(max_examples=40, deadline=None)
@given(st.lists(STEP, max_size=12), st.lists(st.integers(1, 400_000), min_size=1, max_size=3))
def test_what_goes_in_comes_out(steps: list[tuple[str, float]], reads: list[int]) -> None:
    """Appended and cut back anywhere, in any order, then read in any pieces."""
    spool = Spools(Path(tempfile.gettempdir()), 1 << 30).open(1 << 20)
    assert spool is not None
    expected = b""
    for kind, much in steps:
        if kind == "append":
            data = random.Random(much).randbytes(int(much))  # noqa: S311  a sample, not a secret
            spool.append(data)
            expected += data
        else:
            expected = expected[: int(len(expected) * much)]
            spool.truncate(len(expected))
        assert spool.size() == len(expected)
    out = b""
    while len(out) < len(expected):
        out += spool.read(min(reads[len(out) % len(reads)], len(expected) - len(out)))
    assert out == expected
    with pytest.raises(ValueError, match="no more"):
        spool.read(1)
    spool.close()


def test_the_disk_has_no_name_and_no_text(tmp_path: Path) -> None:
    """The folder stays empty, and the file behind the descriptor does not hold what was put into it."""
    spool = Spools(tmp_path, 1 << 30).open(1 << 20)
    assert spool is not None
    spool.append(b"canary " * 100_000)
    assert list(tmp_path.iterdir()) == []
    held = os.pread(spool._file.fileno(), 1 << 20, 0)
    assert len(held) > 500_000
    assert b"canary" not in held
    spool.close()


def test_rows_wait_for_room() -> None:
    """What does not fit is told when something was given back; what is larger than all there is has it alone."""
    spools = Spools(Path(tempfile.gettempdir()), 100)
    told: list[int] = []
    first, second = spools.open(60), spools.open(40)
    assert first is not None
    assert second is not None
    assert spools.open(1) is None
    spools.when_free(lambda: told.append(1))
    first.close()
    first.close()
    assert told == [1]
    assert spools.open(61) is None
    second.close()
    alone = spools.open(1000)
    assert alone is not None
    assert spools.open(1) is None
    alone.close()
    assert spools.used == 0
