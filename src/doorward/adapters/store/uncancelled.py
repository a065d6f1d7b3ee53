"""Calls of the store run to their end, whoever stops waiting for them.

A transaction that is cancelled in its middle is not over: the driver goes on in a thread of its own, and what it began
there keeps the lock of the whole file until somebody collects the connection. Nobody could write meanwhile, and so nothing
would run: a client that goes away at the right moment must not be able to do that.
"""

from __future__ import annotations

import asyncio
import functools
import inspect
from collections.abc import Callable
from typing import Any, Final, TypeVar

T = TypeVar("T")
_running: Final[set[asyncio.Task[Any]]] = set()  # the loop alone would forget a task that nobody waits for


def uncancelled(cls: type[T]) -> type[T]:
    """Each public coroutine method of the class, made so: cancelling its caller ends the waiting, not the call."""
    for name, method in vars(cls).copy().items():
        if inspect.iscoroutinefunction(method) and not name.startswith("_"):
            setattr(cls, name, _in_a_task(method))
    return cls


def _in_a_task(method: Callable[..., Any]) -> Callable[..., Any]:
    @functools.wraps(method)
    async def call(*args: Any, **kwargs: Any) -> Any:
        task = asyncio.ensure_future(method(*args, **kwargs))
        _running.add(task)
        task.add_done_callback(_ended)
        return await asyncio.shield(task)

    return call


def _ended(task: asyncio.Task[Any]) -> None:
    _running.discard(task)
    if not task.cancelled():
        task.exception()  # whoever still waits has it, too; of a call that nobody waits for it is of no use


async def others_ended() -> None:
    """Until every call on this loop but the one that asks has ended."""
    asking = asyncio.current_task()
    assert asking is not None
    while others := [task for task in _running if task is not asking and task.get_loop() is asking.get_loop()]:
        await asyncio.wait(others)
