"""Servers that all workers of one test run share, and that end with it.

Contract: `once(name, start)` gives every caller in the run the same JSON description of a server, and calls `start`
for the first of them only, under a file lock. `spawn` starts a server under the keeper. `begin` and `finish` are called
by `conftest.py` in the process that owns the run. Nothing outlives the run: `finish` ends the servers, and when there
is no `finish` (kill -9) the keeper notices.
"""

from __future__ import annotations

import fcntl
import json
import os
import pwd
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from pathlib import Path

from tests.rig import keeper

_FOLDER = "DOORWARD_RIG_FOLDER"
_OWNER = "DOORWARD_RIG_OWNER"


def begin() -> None:
    """Make the run's folder. Workers find it through the environment that they inherit; so does a pytest that a test starts,
    which shares the servers of its run."""
    if _FOLDER in os.environ:
        return
    folder = tempfile.mkdtemp(prefix="doorward-rig-")
    os.chmod(folder, 0o711)  # noqa: S103  servers run as an unprivileged user and must reach their own folder below it
    os.environ[_FOLDER] = folder
    os.environ[_OWNER] = str(os.getpid())
    # Whoever sets this lets every process that a test starts compile all that it imports again: seconds for a gateway.
    os.environ.pop("PYTHONDONTWRITEBYTECODE", None)
    # SIGTERM unwinds the stack as Ctrl-C does, so that whoever started something ends it.
    signal.signal(signal.SIGTERM, lambda number, frame: sys.exit(128 + number))


def finish() -> None:
    """End every shared server of this run and remove its folder, if this process began it."""
    if os.environ[_OWNER] != str(os.getpid()):
        return
    folder = Path(os.environ.pop(_FOLDER))
    keepers = [int(path.read_text()) for path in folder.glob("*.pid")]
    for pid in keepers:
        try:
            os.kill(pid, signal.SIGTERM)
        except ProcessLookupError:
            pass
    limit = time.monotonic() + keeper.PATIENCE + 5
    while any(keeper.alive(pid) for pid in keepers) and time.monotonic() < limit:
        time.sleep(0.02)
    shutil.rmtree(folder, ignore_errors=True)


def folder() -> Path:
    """The folder of this run."""
    return Path(os.environ[_FOLDER])


def once(name: str, start: Callable[[Path], dict[str, object]]) -> dict[str, object]:
    """What `start` returned for the first caller in this run. `start` gets a folder of its own."""
    base = folder()
    answer = base / f"{name}.json"
    with (base / f"{name}.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not answer.exists():
            own = base / name
            shutil.rmtree(own, ignore_errors=True)  # a first attempt may have failed half way
            own.mkdir(mode=0o711)
            answer.write_text(json.dumps(start(own)))
        found: dict[str, object] = json.loads(answer.read_text())
        return found


def spawn(name: str, command: Sequence[str | Path], *, log: Path, user: str = "", ending: str = "SIGTERM") -> None:
    """Start a server that lives until the run ends. Returns when its keeper runs, not when the server answers."""
    pidfile = folder() / f"{name}.pid"
    pidfile.unlink(missing_ok=True)
    subprocess.run(
        [sys.executable, keeper.__file__, pidfile, os.environ[_OWNER], user, ending, log, "--", *command], check=True
    )
    limit = time.monotonic() + 10
    while not pidfile.exists():
        if time.monotonic() > limit:
            raise RuntimeError(f"{name} did not start: {log.read_text(errors='replace')[-2000:]}")
        time.sleep(0.01)


def running(name: str) -> bool:
    """Whether the keeper of server `name` still runs."""
    try:
        return keeper.alive(int((folder() / f"{name}.pid").read_text()))
    except FileNotFoundError:
        return False


def unprivileged() -> str:
    """The user that servers run as which refuse to run as root: "" when we are not root anyway."""
    if os.geteuid() != 0:
        return ""
    for name in ("postgres", "nobody"):
        try:
            pwd.getpwnam(name)
        except KeyError:
            continue
        return name
    raise RuntimeError("running as root, and there is neither a user postgres nor nobody to run a server as")


def free_port(host: str = "127.0.0.1") -> int:
    """A TCP port that nobody listens on at this moment."""
    with socket.socket() as probe:
        probe.bind((host, 0))
        port: int = probe.getsockname()[1]
        return port
