"""What was refused to callers, on record, however often they try.

Contract: the first refusal of its sort (all that its event says) in a minute is an event at once; those that follow are
counted, and the count is an event when the minute is over. At most FIRST events at once and MOST sorts are kept apart in a
minute, so a flood of bad tokens can neither fill the log nor the memory; what does not fit is counted by what it was. What is
recorded of a token is a hash of its id. Nobody waits for any of it: nothing runs because of a refusal.
"""

from __future__ import annotations

import asyncio
import hashlib
from collections.abc import Mapping
from typing import Final

from doorward.errors import AuthenticationError, UpstreamError
from doorward.guard.ports import Clock
from doorward.guard.recorder import Recorder

WINDOW: Final = 60_000  # milliseconds
FIRST: Final = 30  # events at once in a window
MOST: Final = 200  # sorts that are counted apart in a window
TOKEN, SIGN_IN, CALL = "authentication.refused", "browser.refused", "authorization.refused"

Sort = tuple[str, tuple[tuple[str, str], ...]]  # the event's type, and its members, the first of which says what it was


class Refusals:
    """One a gateway. Addresses come as address:port, of which the address is kept."""

    def __init__(self, recorder: Recorder, clock: Clock) -> None:
        self._recorder = recorder
        self._clock = clock
        self._began = 0
        self._written = 0
        self._more: dict[Sort, int] = {}

    def note(self, error: AuthenticationError, *, listener: str, peer: str) -> None:
        """A token was."""
        token = hashlib.sha256(error.token.encode()).hexdigest() if error.token else ""
        body = {"code": error.code, "issuer": error.issuer, "listener": listener, "peer": _address(peer)}
        self._keep(TOKEN, body, token)

    def sign_in(self, error: AuthenticationError, *, issuer: str, peer: str) -> None:
        """A sign-in to the pages was."""
        self._keep(SIGN_IN, {"issuer": issuer, "client": _address(peer), "reason": error.message[:500]})

    def call(self, identity: str, *, status: int, method: str, route: str) -> None:
        """A call of the API, or a page, was: somebody (an Identity.id, "" if another site is behind it) may not, or there is no
        such thing that they may see. `route` is the pattern, not what was asked for."""
        self._keep(CALL, {"status": str(status), "identity": identity, "method": method, "route": route})

    def _keep(self, kind: str, body: Mapping[str, str], token: str = "") -> None:
        now = self._clock.now()
        if now - self._began >= WINDOW:
            self.flush()
            self._began, self._written = now, 0
        sort = (kind, tuple(body.items()))
        if sort in self._more:
            self._more[sort] += 1
        elif self._written < FIRST:
            self._written += 1
            self._more[sort] = 0
            self._write(sort, 1, token)
        else:
            if len(self._more) >= MOST:
                first, *others = body.items()
                sort = (kind, (first, *((name, "") for name, _ in others)))
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
        kind, members = sort
        body = {**dict(members), **({"token": token} if kind == TOKEN else {}), "count": count}
        try:
            self._recorder.append_event(kind, body)
        except UpstreamError:
            pass  # nobody was let in, so what is missing hides no action; the failure has an event of its own


def _address(peer: str) -> str:
    return peer.rpartition(":")[0] or peer
