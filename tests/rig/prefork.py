"""Starts `python -m doorward` without importing it anew: a test run starts it by the hundred, at over a second of CPU each.

Contract: `start(arguments, ...)` is `Popen([sys.executable, "-m", "doorward", *arguments], ...)` but for what the process
costs to start. One server a run imports what the gateway needs, of third parties and of Doorward below its command line,
and nothing runs in it; for each start it forks, and the fork becomes the process: its own folder, environment, standard
files. It ends when whoever started it is gone. tests/e2e/test_demo.py and tests/fitness/test_cli.py start the real program.

Where Linux's pidfd is missing there is no such server, and `start` is Popen.
"""

from __future__ import annotations

import array
import gc
import importlib
import json
import os
import runpy
import select
import signal
import socket
import subprocess
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import IO

ROOT = Path(__file__).resolve().parents[2]
# What a process reads from these when it starts, a fork does not.
_AT_START = ("LD_", "PYTHON")
_LARGEST = 1 << 20  # bytes of one request: an environment


class Process:
    """What tests need of a `Popen`."""

    def __init__(self, link: socket.socket, arguments: Sequence[str]) -> None:
        self._link, self.args = link, arguments
        self.pid = int(self._line())
        self.returncode: int | None = None

    def poll(self) -> int | None:
        """Its exit code, or None while it runs."""
        try:
            return self.wait(0)
        except subprocess.TimeoutExpired:
            return None

    def wait(self, timeout: float | None = None) -> int:
        """Its exit code, negative when a signal ended it. Raises subprocess.TimeoutExpired."""
        if self.returncode is None:
            if not select.select([self._link], [], [], timeout)[0]:
                raise subprocess.TimeoutExpired(list(self.args), timeout or 0)
            self.returncode = os.waitstatus_to_exitcode(int(self._line()))
            self._link.close()
        return self.returncode

    def terminate(self) -> None:
        """SIGTERM."""
        self.send_signal(signal.SIGTERM)

    def kill(self) -> None:
        """SIGKILL."""
        self.send_signal(signal.SIGKILL)

    def send_signal(self, number: int) -> None:
        """Nothing, if it has ended: its process id may be somebody else's."""
        if self.poll() is None:
            os.kill(self.pid, number)

    def _line(self) -> str:
        found = b""
        while not found.endswith(b"\n"):
            got = self._link.recv(1)
            if not got:
                raise RuntimeError("the server of tests/rig/prefork.py ended")
            found += got
        return found.decode()


def start(
    arguments: Sequence[str | Path],
    *,
    folder: Path,
    environment: Mapping[str, str],
    output: IO[bytes],
    errors: IO[bytes] | None = None,
) -> Process | subprocess.Popen[bytes]:
    """Start `doorward ARGUMENTS` in `folder`, with nothing on standard input. `errors` as `output` if None."""
    command = [str(argument) for argument in arguments]
    streams = (output, errors or output)
    odd = {key for key in {**environment, **os.environ} if key.startswith(_AT_START)} - {"PYTHONPATH"}
    if not hasattr(os, "pidfd_open") or any(environment.get(key) != os.environ.get(key) for key in odd):
        return subprocess.Popen(
            [sys.executable, "-m", "doorward", *command], cwd=folder, env=dict(environment), stdin=subprocess.DEVNULL,
            stdout=streams[0], stderr=streams[1],
        )  # fmt: skip
    from tests.rig import shared

    where = str(shared.once("prefork", _serving)["socket"])
    link = socket.socket(socket.AF_UNIX)
    link.connect(where)
    request = json.dumps([command, str(folder), dict(environment)]).encode()
    descriptors = array.array("i", [stream.fileno() for stream in streams])
    link.sendmsg([len(request).to_bytes(4, "big")], [(socket.SOL_SOCKET, socket.SCM_RIGHTS, descriptors)])
    link.sendall(request)
    return Process(link, ["doorward", *command])


def _serving(own: Path) -> dict[str, object]:
    from tests.rig import shared

    os.chmod(own, 0o700)
    path = own / "socket"
    log = own / "log"
    shared.spawn("prefork", [sys.executable, __file__, str(path)], log=log)
    while not path.exists():
        if not shared.running("prefork"):
            raise RuntimeError(f"the server of {__file__} did not start:\n{log.read_text(errors='replace')}")
        select.select([], [], [], 0.02)
    return {"socket": str(path)}


def serve(path: str) -> None:
    """Import what takes long, and fork for each connection."""
    sys.path[:0] = [str(ROOT / "src"), str(ROOT)]
    for name in ("aiosqlite", "cyclopts", "doorward.app", "rich.console", "rich.markdown", "rich.table", "uvloop"):
        importlib.import_module(name)
    gc.collect()
    gc.freeze()  # no fork looks at it again
    signal.signal(signal.SIGCHLD, signal.SIG_IGN)  # nobody waits for those that wait
    listener = socket.socket(socket.AF_UNIX)
    listener.bind(path + ".new")
    listener.listen(64)
    os.rename(path + ".new", path)  # whoever sees it can connect
    while True:
        link, _ = listener.accept()
        if os.fork() == 0:
            listener.close()
            _attend(link)
        link.close()


def _attend(link: socket.socket) -> None:
    """Become the parent of one process: say its id, then its status; kill it when nobody is left to hear it."""
    signal.signal(signal.SIGCHLD, signal.SIG_DFL)
    size, ancillary, _, _ = link.recvmsg(4, socket.CMSG_SPACE(8))
    streams = array.array("i", ancillary[0][2])
    with link.makefile("rb") as reader:
        command, folder, environment = json.loads(reader.read(min(int.from_bytes(size, "big"), _LARGEST)))
    pid = os.fork()
    if pid == 0:
        link.close()
        _become(command, folder, environment, *streams)
    for descriptor in streams:
        os.close(descriptor)
    try:
        link.sendall(b"%d\n" % pid)
        ended = os.pidfd_open(pid)
        watched: list[int | socket.socket] = [ended, link]
        if ended not in select.select(watched, [], [])[0]:
            os.kill(pid, signal.SIGKILL)
        link.sendall(b"%d\n" % os.waitpid(pid, 0)[1])
    except BrokenPipeError:
        os.kill(pid, signal.SIGKILL)
    finally:
        os._exit(0)


def _become(command: list[str], folder: str, environment: dict[str, str], output: int, errors: int) -> None:
    """What `python -m doorward` does, from here on."""
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, signal.SIG_DFL if number == signal.SIGTERM else signal.default_int_handler)
    nothing = os.open(os.devnull, os.O_RDONLY)
    for source, wanted in ((nothing, 0), (output, 1), (errors, 2)):
        os.dup2(source, wanted)
        os.close(source)
    os.chdir(folder)
    os.environ.clear()
    os.environ.update(environment)
    sys.argv = ["doorward", *command]
    runpy.run_module("doorward", run_name="__main__", alter_sys=True)


if __name__ == "__main__":
    serve(sys.argv[1])
