"""Tokens that were refused, on record, however many there are.

Contract: the first refusal of its sort (code, issuer, listener, address) in a minute is an event at once; those that follow
are counted, and the count is an event when the minute is over. At most FIRST events at once and MOST sorts are kept apart
in a minute, so a flood of bad tokens can neither fill the log nor the memory; what does not fit is counted by its code. What
is recorded of a token is a hash of its id. Nobody waits for any of it: nothing runs because of a refusal.
"""

from __future__ import annotations

import asyncio
import hashlib
from typing import Final

from doorward.errors import AuthenticationError, UpstreamError
from doorward.guard.ports import Clock
from doorward.guard.recorder import Recorder

WINDOW: Final = 60_000  # milliseconds
FIRST: Final = 30  # events at once in a window
MOST: Final = 200  # sorts that are counted apart in a window

Sort = tuple[str, str, str, str]  # code, issuer, listener, address


class Refusals:
    """One a gateway."""

    def __init__(self, recorder: Recorder, clock: Clock) -> None:
        self._recorder = recorder
        self._clock = clock
        self._began = 0
        self._written = 0
        self._more: dict[Sort, int] = {}

    def note(self, error: AuthenticationError, *, listener: str, peer: str) -> None:
        """Keep one refusal. `peer` is address:port, of which the address is kept."""
        now = self._clock.now()
        if now - self._began >= WINDOW:
            self.flush()
            self._began, self._written = now, 0
        sort = (error.code, error.issuer, listener, peer.rpartition(":")[0] or peer)
        if sort in self._more:
            self._more[sort] += 1
        elif self._written < FIRST:
            self._written += 1
            self._more[sort] = 0
            token = hashlib.sha256(error.token.encode()).hexdigest() if error.token else ""
            self._write(sort, 1, token)
        else:
            if len(self._more) >= MOST:
                sort = (error.code, "", "", "")
            self._more[sort] = self._more.get(sort, 0) + 1

    def flush(self) -> None:
        """Write down what was only counted."""
        more, self._more = self._more, {}
        for sort, count in more.items():
            if count:
                self._write(sort, count, "")

    async def run(self) -> None:
        """Flush each minute. Until cancelled."""
        while True:
            await asyncio.sleep(WINDOW / 1000)
            self.flush()
            self._began, self._written = self._clock.now(), 0

    def _write(self, sort: Sort, count: int, token: str) -> None:
        code, issuer, listener, peer = sort
        try:
            self._recorder.append_event(
                "authentication.refused",
                {"code": code, "issuer": issuer, "listener": listener, "peer": peer, "token": token, "count": count},
            )
        except UpstreamError:
            pass  # nobody was let in, so what is missing hides no action; the failure has an event of its own
