"""The demonstration, as `make demo` runs it: it tells its story, in time, without a question, and leaves nothing behind."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from doorward.cli.demo import _make
from doorward.errors import ConfigError

ROOT = Path(__file__).resolve().parents[2]


def command(folder: Path, *more: str) -> list[str]:
    return [sys.executable, "-m", "doorward", "demo", "--folder", str(folder), *more]


def left_behind(folder: Path) -> list[str]:
    """Processes whose command line names the folder."""
    found = []
    for path in Path("/proc").glob("[0-9]*/cmdline"):
        try:
            line = path.read_bytes().replace(b"\0", b" ").decode(errors="replace")
        except OSError:
            continue
        if str(folder) in line:
            found.append(line)
    return found


def test_the_story_comes_true(tmp_path: Path) -> None:
    """Every step does what it says: masked, held, approved, run once, verified, and tampering found. No colour without a
    terminal, no prompt, no process and no file afterwards."""
    folder = tmp_path / "demo"
    began = time.monotonic()
    done = subprocess.run(
        command(folder),
        cwd=tmp_path,
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=180,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    for words in (
        "[ssn]", "NOTICE: held: request", "would delete 100 rows", "cannot approve its own request", "DELETE 100",
        "SOUND", "BROKEN", "doorward_verify.py pack-doorward", "Every step did what it says",
    ):  # fmt: skip
        assert words in done.stdout, done.stdout
    assert "\x1b" not in done.stdout
    assert "✗" not in done.stdout
    assert time.monotonic() - began < 120  # 20 s alone; other tests run beside this one
    assert not folder.exists()
    assert left_behind(folder) == []


def test_a_step_that_does_not_come_true_fails_the_demonstration(tmp_path: Path) -> None:
    """With a psql that shows other rows than the database holds, the first step fails, and so does the whole."""
    programs = tmp_path / "bin"
    programs.mkdir()
    (programs / "psql").write_text("#!/bin/sh\necho ' 1 | Ada Lovelace | ada.lovelace@example.com'\n")
    (programs / "psql").chmod(0o755)
    folder = tmp_path / "demo"
    done = subprocess.run(
        command(folder), cwd=tmp_path, stdin=subprocess.DEVNULL, capture_output=True, text=True, timeout=120, check=False,
        env={**os.environ, "PATH": f"{programs}:{os.environ['PATH']}"},
    )  # fmt: skip
    assert done.returncode == 1
    assert "✗" in done.stdout
    assert "the demonstration failed" in done.stderr
    assert not folder.exists()
    assert left_behind(folder) == []


def test_left_running_it_says_what_to_paste_and_ends_when_told(tmp_path: Path) -> None:
    """`--interactive` prints lines that work as they are, and Ctrl-C, which everything that runs in the terminal gets, ends
    and cleans up everything."""
    folder = tmp_path / "demo"
    with subprocess.Popen(
        command(folder, "--interactive"), cwd=tmp_path, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, text=True,
        env={**os.environ, "PYTHONUNBUFFERED": "1"}, start_new_session=True,
    ) as process:  # fmt: skip
        try:
            assert process.stdout is not None
            said = []
            for line in process.stdout:
                said.append(line)
                if "Ctrl-C here" in line:
                    break
            paste = next(line for line in said if line.startswith("PGPASSWORD="))
            query = subprocess.run(
                ["sh", "-c", paste.strip() + " -tAc 'select ssn from customers limit 1'"],
                cwd=folder, stdin=subprocess.DEVNULL, capture_output=True, text=True, timeout=30, check=False,
            )  # fmt: skip
            assert (query.stdout, query.stderr) == ("[ssn]\n", "")
            os.killpg(process.pid, signal.SIGINT)
            assert process.wait(30) == 0
        finally:
            process.kill()
    assert not folder.exists()
    assert left_behind(folder) == []


def test_told_to_end_while_it_starts_it_leaves_nothing(tmp_path: Path) -> None:
    """SIGTERM in the middle of setting up."""
    folder = tmp_path / "demo"
    with subprocess.Popen(
        command(folder), cwd=tmp_path, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, text=True,
        env={**os.environ, "PYTHONUNBUFFERED": "1"},
    ) as process:  # fmt: skip
        try:
            assert process.stdout is not None
            for line in process.stdout:
                if "Starting" in line:
                    break
            time.sleep(0.5)
            process.send_signal(signal.SIGTERM)
            assert process.wait(30) == 130
        finally:
            process.kill()
    assert not folder.exists()
    assert left_behind(folder) == []


def test_a_folder_of_somebody_else_is_left_alone(tmp_path: Path) -> None:
    """A folder with files that no demonstration made is refused, untouched."""
    (tmp_path / "thesis.txt").write_text("years of work")
    done = subprocess.run(
        command(tmp_path), stdin=subprocess.DEVNULL, capture_output=True, text=True, timeout=60, check=False
    )
    assert done.returncode == 3
    assert "is no demonstration's" in done.stderr
    assert (tmp_path / "thesis.txt").read_text() == "years of work"


@pytest.mark.parametrize("target", ["demo", "demo INTERACTIVE=1"])
def test_make_runs_it(target: str) -> None:
    """`make demo` and `make demo INTERACTIVE=1` are this command."""
    done = subprocess.run(
        ["make", "-n", *target.split()], cwd=ROOT, capture_output=True, text=True, check=True, stdin=subprocess.DEVNULL,
        env={k: v for k, v in os.environ.items() if not k.startswith(("MAKE", "MFLAGS"))},  # not as a part of `make test`
    )
    last = done.stdout.strip().splitlines()[-1]
    assert "-m doorward demo" in last
    assert ("--interactive" in last) is ("INTERACTIVE" in target)


def test_two_do_not_share_a_folder(tmp_path: Path) -> None:
    """A second one ends before it touches what the first has; when the first is over, or was killed, the folder is free."""
    folder = tmp_path / "demo"
    running = _make(folder)
    (folder / "precious").touch()
    with pytest.raises(ConfigError, match="is running in"):
        _make(folder)
    assert (folder / "precious").exists()
    running.close()
    _make(folder).close()
    assert not (folder / "precious").exists()
