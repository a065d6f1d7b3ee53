"""Time stamps: an authority that is nobody of ours says that the log was there, once an hour and on demand.

What is stamped is the newest checkpoint that witnesses cosigned, or else the newest. A stamp is verified before it is kept. Its
two files are durable before the event `log.stamped` is: if we die between the two, they say something true that no leaf names.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from hashlib import sha256
from typing import Any

from doorward.errors import IntegrityError, UpstreamError
from doorward.guard.ports import Clock, LogFiles
from doorward.guard.recorder import Recorder
from doorward.guard.witnessing import Elsewhere, Turn
from doorward.ledger.checkpoint import open_checkpoint
from doorward.ledger.stamps import FOLDER, MAX_RESPONSE, NAME, QUERY, STAMPED, Authorities, ask, open_stamp


class Stamping:
    """One a process. `every` is in seconds; `heard` is told when an authority fails or answers again."""

    def __init__(
        self, urls: Sequence[str], trusted: Authorities, elsewhere: Elsewhere, log: LogFiles, turn: Turn, recorder: Recorder,
        clock: Clock, *, every: float, heard: Callable[[str, str], None] = lambda url, why: None,
    ) -> None:  # fmt: skip
        self._urls, self._trusted, self._elsewhere, self._log, self._turn = urls, trusted, elsewhere, log, turn
        self._recorder, self._clock, self._every, self._heard = recorder, clock, every, heard
        self._why = dict.fromkeys(urls, "")
        self._one = asyncio.Lock()
        self.size = 0  # of the newest that was stamped
        self.at = 0  # and when, in Unix ms

    async def run(self) -> None:
        """Until cancelled."""
        due = self._clock.monotonic()
        try:
            while True:
                there = self._clock.monotonic() >= due and await asyncio.to_thread(self._newest) is not None
                if there and self._turn.take():
                    try:
                        await self.stamp()
                        due = self._clock.monotonic() + self._every
                    except UpstreamError:
                        due = self._clock.monotonic() + min(60.0, self._every)  # named already; sooner than an hour
                    finally:
                        self._turn.release()
                await asyncio.sleep(1.0)
        finally:
            self._turn.release()

    async def stamp(self, *, actor: str = "") -> list[dict[str, Any]]:
        """Have the log stamped by each authority now. UpstreamError when none does, or it cannot be recorded."""
        async with self._one:
            note = await asyncio.to_thread(self._newest)
            if note is None:
                raise UpstreamError("there is nothing to stamp yet", hint="try again in a second")
            size = open_checkpoint(note, self._recorder.sequencer.verifiers).size
            found, wrong = [], []
            for url in self._urls:
                try:
                    found.append(await self._ask(url, note, size, actor))
                    why = ""
                except (UpstreamError, IntegrityError) as error:
                    why = error.message
                    wrong.append(f"{url}: {why}")
                if why != self._why[url]:
                    self._heard(url, why)
                self._why[url] = why
            if not found:
                raise UpstreamError(f"no authority stamped the log: {'; '.join(wrong)}", hint="it is tried again in a minute")
            return found

    async def _ask(self, url: str, note: bytes, size: int, actor: str) -> dict[str, Any]:
        request = ask(note)
        said = await self._elsewhere.post(url, request.as_bytes(), QUERY, most=MAX_RESPONSE)
        if said.status != 200:
            raise UpstreamError(f"it answered {said.status}")
        stamp = open_stamp(said.body, note, self._trusted, request.nonce)
        number = await asyncio.to_thread(self._keep, size, note, said.body)
        body = {
            "size": size, "number": number, "sha256": sha256(said.body).hexdigest(), "stamped_at": stamp.at, "authority": url,
            "policy": stamp.policy, "serial": format(stamp.serial, "x"),
        }  # fmt: skip
        await self._recorder.event(STAMPED, body, actor=actor)
        self.size, self.at = size, stamp.at
        return body

    def _newest(self) -> bytes | None:
        verifiers = self._recorder.sequencer.verifiers
        note = self._log.read("witnessed")
        if note is not None:
            try:
                open_checkpoint(note, verifiers)
            except IntegrityError:
                note = None
        return note or self._log.read("checkpoint")

    def _keep(self, size: int, note: bytes, tsr: bytes) -> int:
        taken = [int(match.group(2)) for name in self._log.names(FOLDER)
                 if (match := NAME.fullmatch(name)) is not None and int(match.group(1)) == size]  # fmt: skip
        number = max(taken, default=-1) + 1
        self._log.write(f"{FOLDER}/{size}-{number}.note", note)
        self._log.write(f"{FOLDER}/{size}-{number}.tsr", tsr)
        return number
