"""The compiled modules pass the interpreted one's tests."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
WIRE = "tests/unit/protocols/postgres/test_wire.py"


@pytest.mark.skipif(shutil.which("cc") is None, reason="no C compiler here: Doorward runs interpreted")
def test_the_same_tests_pass_compiled(tmp_path: Path) -> None:
    """Compile a copy, and run the protocol's tests over it."""
    subprocess.run([sys.executable, "scripts/compile.py", "--quick", "--into", str(tmp_path)], cwd=ROOT, check=True)
    done = subprocess.run(
        [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", "-o", f"pythonpath={tmp_path} .",
         # These two lie about `len`, which compiled code does not ask; the length writer is the same C function.
         "--deselect", f"{WIRE}::test_a_length_that_wraps_is_never_written",
         "--deselect", f"{WIRE}::test_the_largest_length_is_written",
         "tests/unit/protocols/postgres", "tests/unit/masking/test_scan.py"],
        cwd=ROOT, env={"DOORWARD_PROFILE": "again", **os.environ, "DOORWARD_TEST_COMPILED": "1"}, capture_output=True,
        text=True, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stdout[-3000:] + done.stderr[-3000:]
