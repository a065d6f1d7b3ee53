"""The other processes that keep this record: what one of them has changed in the store, all know before it goes on.

Contract: `tell` returns when every process that lives has taken up all that was in the store when it was called; who must be
asked in vain is UpstreamError, and what waited for it does not happen. `follow` calls, for each change of another process,
what `on_news` was given, and only then says that it has been taken up; it belongs in the gateway's TaskGroup. With one process
both do nothing.

`cancel` hands a CancelRequest that is for no session here to the others, and `on_cancel` is told of theirs: a client cannot
know which process has its session. A key is handed on as its hash, and nobody is waited for.

A process that dies is not waited for: its lane is free then. One that hangs holds back what must be known everywhere, and
nothing else.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from hashlib import sha256
from typing import Final, Protocol

from doorward.errors import DoorwardError, UpstreamError
from doorward.guard.recorder import Recorder

LOOK: Final = 0.02  # seconds between two looks at what others say
PATIENCE: Final = 5.0  # seconds that another may take
NEVER: Final = (1 << 64) - 1  # more than anybody will post


class Bulletin(Protocol):
    """What the processes that share a data directory tell each other without a lock: that something has changed in the
    store. Numbers only grow; lanes are counted from 0."""

    def open(self, lane: int) -> None:
        """As that lane. OSError."""
        ...

    def close(self) -> None: ...
    def post(self) -> int:
        """That this lane has changed something; how often it has."""
        ...

    def posted(self) -> list[int]:
        """How often each lane has."""
        ...

    def taken_up(self, posted: list[int]) -> None:
        """That this lane has read the store since `posted` was so."""
        ...

    def read_by(self, lane: int) -> int:
        """How much of what this lane has posted that one has taken up."""
        ...

    def call(self, number: int, digest: bytes) -> None:
        """That this lane was sent a CancelRequest with this number, and a key of this hash (32 bytes)."""
        ...

    def called(self, lane: int) -> int:
        """How many that lane was sent."""
        ...

    def calls(self, lane: int, after: int) -> list[tuple[int, bytes]]:
        """Those of them after so many that are still there."""
        ...


async def nobody() -> None:
    """What there is to do where no other process has to know."""


class Neighbours:
    """One a process. `bulletin` is None where there is only one."""

    def __init__(self, recorder: Recorder, bulletin: Bulletin | None) -> None:
        self._recorder = recorder
        self._bulletin = bulletin
        self._seen: list[int] = []
        self._news: list[Callable[[], Awaitable[object]]] = []
        self._heard: list[int] = []  # CancelRequests, by lane
        self.on_cancel: Callable[[int, bytes], None] = lambda _number, _digest: None

    def on_news(self, take_up: Callable[[], Awaitable[object]]) -> None:
        """Have it called for each change: it reads the store anew. It may raise UpstreamError, and is called again."""
        self._news.append(take_up)

    def open(self) -> None:
        """We have a lane, and serve nobody yet: whoever tells us something need not wait. OSError."""
        if self._bulletin is not None:
            self._bulletin.open(self._recorder.lane_number)
            self._bulletin.taken_up([NEVER] * len(self._bulletin.posted()))

    def begin(self) -> None:
        """From here on we read the store, and what is posted later is news."""
        if self._bulletin is not None:
            self._seen = self._bulletin.posted()
            self._heard = [self._bulletin.called(lane) for lane in range(len(self._recorder.lanes))]
            self._bulletin.taken_up(self._seen)

    def close(self) -> None:
        """Say and hear nothing more."""
        if self._bulletin is not None:
            self._bulletin.close()

    def post(self) -> None:
        """They will know soon."""
        if self._bulletin is not None:
            self._bulletin.post()

    def cancel(self, number: int, key: bytes) -> None:
        """A CancelRequest for a session that is not here: it may be another's."""
        if self._bulletin is not None:
            self._bulletin.call(number, sha256(key).digest())

    async def tell(self) -> None:
        """See the module."""
        if self._bulletin is None:
            return
        number = self._bulletin.post()
        deadline = asyncio.get_running_loop().time() + PATIENCE
        while True:
            behind = [
                lane for lane in range(len(self._recorder.lanes))
                if lane != self._recorder.lane_number and self._bulletin.read_by(lane) < number
            ]  # fmt: skip
            live = await asyncio.to_thread(self._recorder.living, behind)
            if not live:
                return
            if asyncio.get_running_loop().time() > deadline:
                raise UpstreamError(
                    "another process of this gateway does not take up what has changed", hint="look for one that hangs"
                )
            await asyncio.sleep(LOOK / 2)

    async def follow(self) -> None:
        """Until cancelled."""
        if self._bulletin is None:
            return
        while True:
            await asyncio.sleep(LOOK)
            self._listen(self._bulletin)
            await self.look()

    def _listen(self, bulletin: Bulletin) -> None:
        for lane, heard in enumerate(self._heard):
            made = bulletin.called(lane)
            if made != heard and lane != self._recorder.lane_number:
                for number, digest in bulletin.calls(lane, heard):
                    self.on_cancel(number, digest)
            self._heard[lane] = made

    async def look(self) -> None:
        """Take up what others have posted, if they have."""
        if self._bulletin is None:
            return
        posted = self._bulletin.posted()
        own = self._recorder.lane_number
        posted[own] = self._seen[own]
        if posted == self._seen:
            return
        try:
            for take_up in self._news:
                await take_up()
        except DoorwardError:
            return  # whoever waits for us goes on waiting, and we try again
        self._seen = posted
        self._bulletin.taken_up(posted)
