"""The compiled module passes the interpreted one's tests."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[4]


@pytest.mark.skipif(shutil.which("cc") is None, reason="no C compiler here: Doorward runs interpreted")
def test_the_same_tests_pass_compiled(tmp_path: Path) -> None:
    """Compile a copy, and run test_redact.py over it."""
    subprocess.run([sys.executable, "scripts/compile.py", "--into", str(tmp_path)], cwd=ROOT, check=True)
    done = subprocess.run(
        [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", "-o", f"pythonpath={tmp_path} .",
         "tests/unit/protocols/postgres/test_redact.py"],
        cwd=ROOT, env={**os.environ, "DOORWARD_TEST_COMPILED": "1"}, capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stdout[-3000:] + done.stderr[-3000:]
