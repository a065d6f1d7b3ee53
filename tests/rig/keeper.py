"""Keeps one server of the test rig alive exactly as long as the test run that asked for it.

Contract: `python keeper.py PIDFILE OWNER USER SIGNAL LOG -- COMMAND...` detaches, starts COMMAND as USER in a session
of its own with its output in LOG, writes its own process id to PIDFILE, and ends COMMAND when it gets SIGTERM itself or
when process OWNER is gone, also when that was by kill -9. A worker of pytest-xdist may come and go meanwhile: the
server belongs to the run, not to the worker that happened to need it first.

It imports only the standard library, and nothing of Doorward.
"""

from __future__ import annotations

import os
import pathlib
import shutil
import signal
import subprocess
import sys
import time

PATIENCE = 10.0  # seconds a server gets to end by itself


def alive(pid: int) -> bool:
    """Whether process `pid` exists, a zombie included."""
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        return True
    return True


def main(arguments: list[str]) -> int:
    """Detach, run the command, and end it when its owner ends."""
    pidfile, owner, user, ending, log, dashes, *command = arguments
    if dashes != "--" or not command:
        raise SystemExit("usage: keeper.py PIDFILE OWNER USER SIGNAL LOG -- COMMAND...")
    if os.fork():
        return 0  # the caller's child ends here, so that nobody has to wait for the keeper
    os.setsid()
    asked_to_end = False

    def end(number: int, frame: object) -> None:
        nonlocal asked_to_end
        asked_to_end = True

    signal.signal(signal.SIGTERM, end)
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C belongs to pytest; it tells us when it is done
    with pathlib.Path(log).open("ab") as sink:
        os.dup2(sink.fileno(), 1)
        os.dup2(sink.fileno(), 2)
        child = subprocess.Popen(
            command,
            stdin=subprocess.DEVNULL,
            start_new_session=True,
            cwd=pathlib.Path(log).parent,
            user=user or None,
            group=user or None,
            extra_groups=[] if user else None,
        )
    temporary = pathlib.Path(pidfile + ".new")
    temporary.write_text(str(os.getpid()))
    temporary.replace(pidfile)
    while child.poll() is None and not asked_to_end and alive(int(owner)):
        time.sleep(0.1)
    if child.poll() is None:
        child.send_signal(getattr(signal, ending))
        try:
            child.wait(PATIENCE)
        except subprocess.TimeoutExpired:
            os.killpg(child.pid, signal.SIGKILL)
            child.wait()
    try:
        os.killpg(child.pid, signal.SIGKILL)  # whatever it left behind in its session
    except ProcessLookupError:
        pass
    if not alive(int(owner)):
        shutil.rmtree(pathlib.Path(pidfile).parent, ignore_errors=True)  # nobody else is left to do it
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
