"""What a process and its descendants have used, as Linux tells in /proc."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterator
from pathlib import Path

_TICKS = os.sysconf("SC_CLK_TCK")


def parent(pid: int) -> int:
    """Who started a process. OSError if it has ended."""
    return int(Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[1])


def family(pid: int) -> list[int]:
    """The process and everything it started that still runs."""
    found = [pid]
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit():
            try:
                begun_by = parent(int(entry.name))
            except (OSError, ValueError, IndexError):
                continue  # it ended while we looked
            if begun_by == pid:
                found += family(int(entry.name))
    return found


def cpu_seconds(pid: int) -> float:
    """CPU that the process, all its threads, and its descendants have used, user and system."""
    ticks = 0
    for member in family(pid):
        try:
            fields = Path(f"/proc/{member}/stat").read_text().rpartition(")")[2].split()
        except OSError:
            continue
        ticks += int(fields[11]) + int(fields[12])
        if member == pid:
            ticks += int(fields[13]) + int(fields[14])  # children that have ended
    return ticks / _TICKS


@contextlib.contextmanager
def apart(pid: int, server: int) -> Iterator[None]:
    """Meanwhile `pid` and what it started have one core for themselves; `server`, and clients that this process starts, have
    the others. With one core, or no `pid`, nobody is moved."""
    cores = os.sched_getaffinity(0)
    if len(cores) < 2 or not pid:
        yield
        return
    own = {max(cores)}
    _pin(pid, own)
    _pin(server, cores - own)
    os.sched_setaffinity(0, cores - own)
    try:
        yield
    finally:
        os.sched_setaffinity(0, cores)
        _pin(pid, cores)
        _pin(server, cores)


def _pin(pid: int, cores: set[int]) -> None:
    for member in family(pid):
        for thread in Path(f"/proc/{member}/task").glob("*"):
            with contextlib.suppress(OSError):  # it has ended
                os.sched_setaffinity(int(thread.name), cores)


def resident_bytes(pid: int) -> int:
    """Resident memory of the process and its descendants."""
    return _status_bytes(pid, "VmRSS:")


def _status_bytes(pid: int, figure: str) -> int:
    total = 0
    for member in family(pid):
        try:
            status = Path(f"/proc/{member}/status").read_text()
        except OSError:
            continue
        total += sum(int(line.split()[1]) << 10 for line in status.splitlines() if line.startswith(figure))
    return total


def forget_peak(pid: int) -> int:
    """Let `peak_bytes` begin anew; returns what is resident now."""
    for member in family(pid):
        with contextlib.suppress(OSError):
            Path(f"/proc/{member}/clear_refs").write_text("5")
    return resident_bytes(pid)


def peak_bytes(pid: int) -> int:
    """The most that was resident since `forget_peak`, of the process and its descendants, each at its own time."""
    return _status_bytes(pid, "VmHWM:")
