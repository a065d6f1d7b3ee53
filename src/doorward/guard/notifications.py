"""Telling people, at least once and not for ever; nothing that happens here decides anything.

What is to be told is written with its event, in one transaction of the store (`told`, called in the fold), so that neither a
crash nor kill -9 comes between. From there each channel delivers on its own, one message at a time, and a channel that hangs
keeps back no other. Taking an attempt sets when the next one may be, by compare-and-swap: of two gateways over one store one
sends, and whoever dies while sending is followed by the next attempt, which has the same id. What nobody has taken when its
time is over is dropped, and so is the oldest of a kind beyond MOST; both are on record.

A receiver that says that it is gone (410) is sent nothing any more until the gateway starts anew, or a test of the channel
arrives: what waits for it is dropped, on record.

Contract: `send` of a Sender is bounded in time and bytes, and goes only where the configuration says. Failures are kept in
words that hold no secret. It knows no protocol of a channel: that is `adapters.notify`.
"""

from __future__ import annotations

import asyncio
import json
import random
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final, Protocol

from doorward.errors import DoorwardError, UpstreamError
from doorward.guard import notices
from doorward.guard.approvals import OPEN, Approvals
from doorward.guard.notices import Channel, Notice
from doorward.guard.outbox import OutboxStore, Outgoing
from doorward.guard.ports import Clock
from doorward.guard.recorder import Recorder
from doorward.model import ApprovalState, Event

POLL: Final = 1.0  # seconds between looks into the outbox
TIDY: Final = 15.0  # and between looks for what is over
SEND: Final = 15.0  # seconds that one attempt may take
FIRST: Final = 20.0  # seconds to the second attempt, twice as long to each further one; longer than SEND, or two would overlap
LONGEST: Final = 300.0
MOST: Final = 500  # of one kind that wait for one channel
AT_ONCE: Final = 20


class UndeliveredError(Exception):
    """It did not arrive; the message says why, and holds no secret. `after`: seconds that the receiver asked to wait. `gone`:
    it wants no message any more."""

    def __init__(self, message: str, *, after: float = 0.0, gone: bool = False) -> None:
        super().__init__(message)
        self.after = after
        self.gone = gone


class Sender(Protocol):
    """One channel's way of delivering."""

    @property
    def kind(self) -> str: ...
    async def send(self, notice: Notice) -> str:
        """Deliver it; what came back, in words. Raises UndeliveredError, or DoorwardError for a secret that is not there."""
        ...


@dataclass
class Tally:
    """How a channel has done in this process. Times are Unix ms, 0 for never; `error` is of the latest attempt."""

    sent: int = 0
    failed: int = 0
    sent_at: int = 0
    failed_at: int = 0
    error: str = ""
    paused: float = 0.0  # monotonic: no attempt before
    failures: int = 0  # one after the other
    gone: bool = False  # the receiver wants nothing any more


class Notifications:
    """One a gateway. `channels` and `senders` are by the same names; `url` is where people find the pages; `heard` is told when
    a channel begins to fail, and when it works again (with "")."""

    def __init__(
        self,
        channels: Sequence[Channel],
        senders: Mapping[str, Sender],
        outbox: OutboxStore,
        approvals: Approvals,
        recorder: Recorder,
        clock: Clock,
        *,
        url: Callable[[], str],
        heard: Callable[[str, str], None] = lambda _channel, _why: None,
    ) -> None:
        self._channels = {channel.name: channel for channel in channels}
        self._senders, self._outbox, self._approvals = senders, outbox, approvals
        self._recorder, self._clock, self._url, self._heard = recorder, clock, url, heard
        self._tallies = {name: Tally() for name in self._channels}
        self._turns = {name: asyncio.Lock() for name in self._channels}
        self.outcomes: Counter[str] = Counter({"sent": 0, "failed": 0, "dropped": 0})
        self.backlog = 0  # as of the last look

    def told(self, event: Event) -> Sequence[Outgoing]:
        """What is to be told of an event, for its fold."""
        if event.type not in notices.TOLD:
            return ()
        try:
            return notices.told(event, list(self._channels.values()))
        except (ValueError, TypeError, KeyError, AttributeError):  # the log must go on, whatever somebody put into an event
            self.outcomes["dropped"] += len(self._channels)
            return ()

    async def run(self) -> None:
        """Deliver until cancelled. While the store fails, what is in it waits."""
        if not self._channels:
            return
        async with asyncio.TaskGroup() as group:
            group.create_task(self._tidy())
            for name in self._channels:
                group.create_task(self._serve(name))

    async def _serve(self, name: str) -> None:
        while True:
            await asyncio.sleep(POLL)
            try:
                await self.deliver(name)
            except UpstreamError:
                pass  # the recorder says so; what waits goes on waiting
            except Exception as error:  # of ours: nobody's session may end because somebody could not be told
                self._heard(name, f"a message could not be made ({type(error).__name__})")

    async def _tidy(self) -> None:
        while True:
            try:
                await self.tidy()
            except DoorwardError:
                pass  # what could not be looked at now is looked at again
            await asyncio.sleep(TIDY)

    async def deliver(self, name: str) -> None:
        """Try what is due for a channel, until one attempt fails. UpstreamError."""
        async with self._turns[name]:
            tally = self._tallies[name]
            if self._clock.monotonic() < tally.paused:
                return
            for outgoing in await self._outbox.due(name, self._clock.now(), AT_ONCE):
                if tally.gone:
                    await self._drop(outgoing)
                    continue
                wait = min(LONGEST, FIRST * 2.0 ** min(outgoing.attempts, 10)) * _jitter()
                if not await self._outbox.claim(outgoing, self._clock.now() + int(wait * 1000)):
                    continue  # another gateway has it
                # If we die from here on, the next attempt follows: it may then arrive twice, with one id.
                if not await self._try(outgoing, tally):
                    return

    async def _try(self, outgoing: Outgoing, tally: Tally) -> bool:
        try:
            notice = await self._notice(outgoing)
        except LookupError:
            return True  # its event came first, and what it is about is not stored yet: the next attempt finds it
        if notice is None:
            await self._outbox.delivered(outgoing.id)
            return True
        try:
            answer = await self._send(outgoing.channel, notice)
        except UndeliveredError as error:
            if error.gone:
                await self._drop(outgoing)
                return True
            tally.paused = self._clock.monotonic() + max(error.after, min(60.0, 2.0 ** tally.failures) * _jitter())
            after = self._clock.now() + int(min(error.after, LONGEST) * 1000)
            await self._outbox.postpone(outgoing.id, str(error), after)
            return False
        self._record(
            "notification.sent",
            {"notification": notice.id, "channel": outgoing.channel, "kind": outgoing.kind, "about": outgoing.about,
             "attempts": outgoing.attempts + 1, "answer": answer},
        )  # fmt: skip
        await self._outbox.delivered(outgoing.id)
        return True

    async def _drop(self, outgoing: Outgoing) -> None:
        """Nobody is there to be told. If we die in between, its next attempt says so again."""
        self.outcomes["dropped"] += 1
        body = {"channel": outgoing.channel, "kind": outgoing.kind, "reason": "gone", "count": 1}
        self._record("notification.dropped", body)
        await self._outbox.delivered(outgoing.id)

    async def _notice(self, outgoing: Outgoing) -> Notice | None:
        """The message as things are now; None where there is nothing to tell any more. LookupError: not yet."""
        if outgoing.kind not in (notices.REQUESTS, notices.DECISIONS):
            return notices.happened(outgoing, self._url())
        approval = await self._approvals.get(outgoing.about)
        if approval is None or notices.uncounted(outgoing, approval):
            raise LookupError(outgoing.about)
        rendering = json.loads(await self._approvals.body(approval.id) or b"{}")
        if outgoing.kind == notices.REQUESTS:
            return notices.asks(outgoing, approval, rendering, self._url())
        return notices.decides(outgoing, self._channels[outgoing.channel], approval, rendering, self._url())

    async def _send(self, name: str, notice: Notice) -> str:
        """One attempt, counted. Raises UndeliveredError whatever goes wrong."""
        tally = self._tallies[name]
        failure: UndeliveredError
        try:
            async with asyncio.timeout(SEND):
                answer = self._masked(await self._senders[name].send(notice))
        except UndeliveredError as error:
            failure = UndeliveredError(self._masked(str(error)), after=error.after, gone=error.gone)
        except DoorwardError as error:
            failure = UndeliveredError(" ".join(error.message.split())[:300])
        except TimeoutError:
            failure = UndeliveredError(f"nothing came back within {SEND:.0f} seconds")
        except Exception as error:  # of a library: its words may hold the address, which may be a secret
            failure = UndeliveredError(f"it could not be sent ({type(error).__name__})")
        else:
            if tally.failures:
                self._heard(name, "")
            tally.sent, tally.sent_at, tally.failures, tally.error = tally.sent + 1, self._clock.now(), 0, ""
            tally.gone = False
            self.outcomes["sent"] += 1
            return answer
        if not tally.failures or (failure.gone and not tally.gone):
            self._heard(name, str(failure))
        tally.gone = failure.gone
        tally.failed, tally.failed_at, tally.failures = tally.failed + 1, self._clock.now(), tally.failures + 1
        tally.error = str(failure)
        self.outcomes["failed"] += 1
        raise failure

    def _masked(self, text: str) -> str:
        """What a receiver said, fit for the record: it may say anything."""
        return self._recorder.detectors.mask(text)[0]

    async def tidy(self) -> None:
        """Forget what is over or too much, and say so; let requests expire that nobody looks at. UpstreamError."""
        for channel, kind, why, count in await self._outbox.prune(self._clock.now(), MOST):
            self.outcomes["dropped"] += count
            self._record("notification.dropped", {"channel": channel, "kind": kind, "reason": why, "count": count})
        self.backlog = len(await self._outbox.waiting())
        if any(notices.DECISIONS in channel.tell for channel in self._channels.values()):
            for state in (*OPEN, ApprovalState.APPROVED):
                for approval in await self._approvals.list(state, limit=1000):
                    if approval.expires_at <= self._clock.now():
                        await self._approvals.get(approval.id)

    async def test(self, name: str, actor: str) -> dict[str, Any]:
        """Send a message that says it is a test, at once; what came of it. LookupError: there is no such channel."""
        if name not in self._channels:
            raise LookupError(f"there is no channel {name}")
        notice = notices.trial(self._clock.new_id(), self._clock.now(), self._recorder.gateway, name, self._url())
        async with self._turns[name]:
            try:
                found = {"channel": name, "delivered": True, "answer": await self._send(name, notice)}
            except UndeliveredError as error:
                found = {"channel": name, "delivered": False, "answer": str(error)}
        await self._recorder.event("notification.tested", found, actor=actor)
        return found

    async def state(self) -> list[dict[str, Any]]:
        """Each channel and what waits for it, as `doorward notify list` shows it. UpstreamError."""
        waiting = await self._outbox.waiting()
        return [
            {
                "channel": name, "kind": self._senders[name].kind, "tell": sorted(channel.tell),
                "groups": sorted(channel.groups), "about": list(channel.about),
                "waiting": sum(1 for each in waiting if each.channel == name),
                "oldest": min((each.at for each in waiting if each.channel == name), default=0),
                "next_at": min((each.next_at for each in waiting if each.channel == name), default=0),
                "sent": tally.sent, "failed": tally.failed, "sent_at": tally.sent_at, "failed_at": tally.failed_at,
                "error": tally.error or next((each.error for each in waiting if each.channel == name and each.error), ""),
            }
            for name, channel in self._channels.items()
            for tally in (self._tallies[name],)
        ]  # fmt: skip

    def _record(self, type: str, body: Mapping[str, Any]) -> None:  # noqa: A002 - the field's own name
        try:
            self._recorder.append_event(type, body)
        except UpstreamError:
            pass  # nothing was decided, so what is missing hides no action; the failure has an event of its own


def _jitter() -> float:
    return random.uniform(1.0, 1.5)  # noqa: S311 - so that what failed together is not tried together
