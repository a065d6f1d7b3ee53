"""Makes the virtual environment `.venv` from the hash-pinned requirements, for `make`.

Contract: `python3 scripts/environment.py demo|dev` leaves `.venv` with what requirements/NAME.txt pins and Doorward
itself installed in place, and touches `.venv/.NAME`; any failure is one line that says what to do. It needs Python 3.11
with venv, and no root. Every file is checked against its pinned hash, whatever index it came from: which index that is,
is the business of pip's and uv's own environment variables and files. uv installs, because it is ten times as fast;
where it cannot (an index only pip is configured for, a platform without uv) pip does.

It imports only the standard library, because nothing else is there yet.
"""

from __future__ import annotations

import os
import subprocess
import sys
import venv
from pathlib import Path
from typing import TypeAlias

ROOT = Path(__file__).resolve().parent.parent
VENV = ROOT / ".venv"
PYTHON = VENV / "bin" / "python"
UV = VENV / "bin" / "uv"

Command: TypeAlias = list[str | Path]


def main(names: list[str]) -> int:
    """Bring the environment up to date for each of `names`."""
    if sys.version_info < (3, 11):  # noqa: UP036  the point is to say so to somebody who runs an older one
        version = ".".join(str(part) for part in sys.version_info[:3])
        raise SystemExit(f"Doorward needs Python 3.11 or newer, this is {version}: make PYTHON=/path/to/python3.11 ...")
    pip = create()
    complaint = "pip cannot install requirements/bootstrap.txt: is there a way to a package index?"
    bootstrap: Command = ["install", "--quiet", "--require-hashes", "-r", ROOT / "requirements/bootstrap.txt"]
    quietly([*pip, *bootstrap], complaint)
    for name in names:
        install(pip, ROOT / "requirements" / f"{name}.txt")
    in_place: Command = ["install", "--quiet", "--no-deps", "--no-build-isolation", "--no-index", "-e", ROOT]
    quietly([*pip, *in_place], "Doorward itself does not install")
    for name in names:
        (VENV / f".{name}").touch()
    return 0


def create() -> Command:
    """Make `.venv` unless it is there and works, and say how to call a pip that installs into it."""
    if not works(PYTHON, "-c", "pass"):  # also when the Python it was made from has been removed
        try:
            venv.create(VENV, clear=VENV.exists(), symlinks=True, with_pip=False)
        except OSError as error:
            raise SystemExit(f"cannot make {VENV}: {error}") from error
    if works(PYTHON, "-m", "pip", "--version") or works(PYTHON, "-m", "ensurepip"):
        return [PYTHON, "-m", "pip"]
    # Debian keeps ensurepip in a package of its own; a pip outside can still install inside.
    outside: Command = [sys.executable, "-m", "pip", "--python", PYTHON]
    if works(*outside, "--version"):
        return outside
    raise SystemExit("this Python has neither ensurepip nor pip (on Debian: apt install python3-venv)")


def install(pip: Command, requirements: Path) -> None:
    """Install exactly what `requirements` pins: with uv, else with pip."""
    say(f"installing {requirements.relative_to(ROOT)} into .venv")
    arguments: Command = ["install", "--quiet", "--require-hashes", "-r", requirements]
    if works(UV, "pip", *arguments, "--python", PYTHON):
        return
    quietly([*pip, *arguments], f"neither uv nor pip can install {requirements.relative_to(ROOT)}")


def works(*command: str | Path) -> bool:
    """Whether the command ends with 0. What it prints is lost: there is another way if it fails."""
    try:
        return subprocess.run(command, cwd=ROOT, capture_output=True, check=False, env=environment()).returncode == 0
    except OSError:
        return False


def quietly(command: Command, complaint: str) -> None:
    """Run the command; when it fails show what it said, and one line on top of that."""
    done = subprocess.run(
        command, cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, check=False, env=environment()
    )
    if done.returncode:
        sys.stderr.write(done.stdout)
        raise SystemExit(complaint)


def environment() -> dict[str, str]:
    """Our own environment, without an active virtual environment of somebody else's."""
    kept = {key: value for key, value in os.environ.items() if key not in ("VIRTUAL_ENV", "PYTHONHOME", "PYTHONPATH")}
    return {**kept, "PIP_DISABLE_PIP_VERSION_CHECK": "1", "PIP_ROOT_USER_ACTION": "ignore"}


def say(text: str) -> None:
    """Tell the person who waits."""
    sys.stdout.write(text + "\n")
    sys.stdout.flush()


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:] or ["dev"]))
