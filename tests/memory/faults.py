"""Ports that fail on purpose: every change that goes through them is counted, and chosen ones go wrong.

FAILED     nothing happened, and the caller is told so.
PERSISTED  it happened, and the caller is told that it did not.
TORN       half of it happened, and the caller is told so. (Where there is no half, it is FAILED.)
KILLED     nothing happened, and the process is dead: nothing changes after that.
FINISHED   it happened, and the process is dead.
"""

from __future__ import annotations

import inspect
import threading
from collections.abc import Callable
from enum import StrEnum
from typing import Any

from doorward.errors import UpstreamError


class Fault(StrEnum):
    FAILED = "failed"
    PERSISTED = "persisted"
    TORN = "torn"
    KILLED = "killed"
    FINISHED = "finished"


class KilledError(Exception):
    """The process is dead: whatever still runs of it changes nothing."""


CHANGES = frozenset((
    "get_or_create", "create", "append", "write", "delete", "quarantine", "fold", "keep_hold", "keep_held", "drop_held",
    "erase_sessions", "erase_epoch", "resealed", "request_release", "compact",
))
PORTS = frozenset(("retention",))  # of a port


class Faults:
    """Counts changes from 0; the `errors` from number `at` on suffer `fault`, and the one numbered `then` kills.
    `happened` lists them by name."""

    def __init__(self, at: int = -1, fault: Fault = Fault.FAILED, *, errors: int = 1, then: int = -1) -> None:
        self.at, self.fault, self._errors, self.then = at, fault, errors, then
        self.happened: list[str] = []
        self.dead = threading.Event()
        self.on_death: Callable[[], None] = lambda: None
        self._lock = threading.Lock()

    def _next(self, name: str) -> Fault | None:
        with self._lock:
            if self.dead.is_set():
                raise KilledError
            number = len(self.happened)
            self.happened.append(name)
            fault = self.fault if 0 <= self.at <= number < self.at + self._errors else None
            if number == self.then:
                fault = Fault.KILLED
            if fault in (Fault.KILLED, Fault.FINISHED):
                self.dead.set()
        return fault

    def die(self) -> None:
        self.on_death()
        raise KilledError

    def wrap(self, port: Any) -> Any:
        return _Faulty(port, self)


class _Faulty:
    def __init__(self, port: Any, faults: Faults) -> None:
        self._port, self._faults = port, faults

    def __getattr__(self, name: str) -> Any:
        found = getattr(self._port, name)
        if name in PORTS:
            return _Faulty(found, self._faults)
        if name not in CHANGES:
            return found
        if inspect.iscoroutinefunction(found):
            return self._change_async(name, found)
        return self._change(name, found)

    def _change(self, name: str, change: Callable[..., Any]) -> Callable[..., Any]:
        faults = self._faults

        def changed(*args: Any, **named: Any) -> Any:
            fault = faults._next(f"{type(self._port).__name__}.{name}")
            if fault is Fault.KILLED:
                faults.die()
            if fault is Fault.TORN and type(self._port).__name__.endswith(("WalFile", "RecordingFiles")):
                change(*args[:-1], args[-1][: len(args[-1]) // 2])
            if fault in (Fault.FAILED, Fault.TORN):
                raise OSError(28, "No space left on device")
            done = change(*args, **named)
            if fault is Fault.FINISHED:
                faults.die()
            if fault is Fault.PERSISTED:
                raise OSError(5, "Input/output error")
            return _Faulty(done, faults) if name == "create" else done

        return changed

    def _change_async(self, name: str, change: Callable[..., Any]) -> Callable[..., Any]:
        faults = self._faults

        async def changed(*args: Any, **named: Any) -> Any:
            fault = faults._next(f"{type(self._port).__name__}.{name}")
            if fault is Fault.KILLED:
                faults.die()
            if fault in (Fault.FAILED, Fault.TORN):
                raise UpstreamError("the store fails")
            done = await change(*args, **named)
            if fault is Fault.FINISHED:
                faults.die()
            if fault is Fault.PERSISTED:
                raise UpstreamError("the store fails after all")
            return done

        return changed
