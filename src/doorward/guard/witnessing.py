"""Witnesses: whoever keeps watch over the log from elsewhere is shown that it only grows, and what they cosign is published.

    start()   asks each witness what it knows of our log, before anything may connect
    run()     shows them what is published, every few seconds; belongs in the gateway's TaskGroup
    overdue   why what needs a person's yes may not run now, or ""

Nothing else waits for any of it: statements are recorded and folded whether witnesses answer or not. What a witness knows is
believed only as far as our own signature is under it. Where that shows a log that is larger than ours, or another of ours, the
store and the log were put back to an older state, or somebody else signs with our key: IntegrityError, and nothing is ever
repaired here (`doorward log fork-triage`).

Of several processes that keep one record, one asks (`turn`), and all of them see what became of it.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from typing import Any, Final, NamedTuple, Protocol

from doorward.errors import ConfigError, IntegrityError, UpstreamError, in_words
from doorward.guard.ports import Clock, LogFiles
from doorward.guard.recorder import Recorder
from doorward.ledger import tiles
from doorward.ledger.checkpoint import NoteVerifier, open_checkpoint
from doorward.ledger.cosignature import Cosignature
from doorward.ledger.tree import consistency_proof, root_of
from doorward.ledger.trust import TrustPolicy, Witness
from doorward.ledger.witness import conflicting_size, origin_hash, parse_cosignatures, request, with_cosignatures
from doorward.model import Checkpoint

OVERDUE: Final = 120.0  # seconds that a leaf may wait for its witnesses
TRIES: Final = 3  # requests to one witness in a round: the first may not know how far it is
SAMPLES: Final = 256
LARGEST: Final = 64 * 1024  # bytes of an answer that are read
TRIAGE: Final = (
    "was a backup of the store and the log restored, or does somebody else sign with this key? `doorward log fork-triage` "
    "shows what everybody knows, and says what to do"
)


class Answered(NamedTuple):
    """What came back, whatever its status."""

    status: int
    body: bytes


class Elsewhere(Protocol):
    """Reaches witnesses and time stamp authorities. UpstreamError when there is no answer, or one of more than `most` bytes."""

    async def get(self, url: str, *, most: int) -> Answered: ...
    async def post(self, url: str, body: bytes, type: str, *, most: int) -> Answered: ...  # noqa: A002


class Turn(Protocol):
    """Whoever has it asks; who dies lets go of it."""

    def take(self) -> bool: ...
    def release(self) -> None: ...


@dataclass(slots=True)
class _Known:
    """What is known of a witness. `why` is what is wrong with it, or ""."""

    witness: Witness
    size: int = 0
    why: str = "it was not asked yet"
    compared: bool = False  # whether what it knows was seen to fit since we started


class Witnessing:
    """One a process. `policy` has a witness with an url, at least; `heard` is told when a witness fails or answers again."""

    def __init__(
        self, policy: TrustPolicy, elsewhere: Elsewhere, log: LogFiles, turn: Turn, recorder: Recorder, clock: Clock, *,
        every: float, heard: Callable[[str, str], None] = lambda name, why: None,
    ) -> None:  # fmt: skip
        self._policy, self._elsewhere, self._log, self._turn = policy, elsewhere, log, turn
        self._recorder, self._clock, self._every, self._heard = recorder, clock, every, heard
        self._known = [_Known(witness) for witness in policy.witnesses.values() if witness.url]
        self._waiting: deque[tuple[int, float]] = deque()  # sizes that are published and not witnessed, and since when
        self._asking = False
        self._told = False
        self._last = 0.0
        self._newest: Checkpoint | None = None
        self.size = 0  # of the newest checkpoint that a quorum cosigned
        self.published = 0

    # What others ask -------------------------------------------------------------------------------------------------

    @property
    def waiting(self) -> float:
        """Seconds for which the oldest leaf has been waiting for a quorum."""
        return self._clock.monotonic() - self._waiting[0][1] if self._waiting else 0.0

    def overdue(self) -> str:
        """ "" or why nothing that needs a person's yes may run."""
        if self.waiting <= OVERDUE:
            return ""
        return f"the log has been without its witnesses for {self.waiting:.0f} s"

    def state(self) -> list[dict[str, Any]]:
        """Each witness, for people."""
        return [
            {"name": each.witness.name, "url": each.witness.url, "size": each.size, "wrong": each.why} for each in self._known
        ]

    # Life -------------------------------------------------------------------------------------------------------------

    async def start(self) -> None:
        """Hear what each witness knows of our log. IntegrityError: one knows more of it, or another. ConfigError: the policy is
        about another log. Witnesses that do not answer are asked again later."""
        mine = {verifier.vkey for verifier in self._verifiers()}
        if self._policy.logs and not mine & {log.verifier.vkey for log in self._policy.logs}:
            raise ConfigError(
                "the trust policy of ledger.witnesses names logs, and none of them is this one",
                hint=f"add: log {self._verifiers()[0].vkey}",
            )
        await asyncio.to_thread(self._look)
        await self._each(self._compare)

    async def run(self) -> None:
        """Until cancelled. IntegrityError as in `start`."""
        try:
            while True:
                await asyncio.sleep(min(1.0, self._every))
                await asyncio.to_thread(self._look)
                await self._round()
        finally:
            if self._asking:
                self._turn.release()

    async def _round(self) -> None:
        if not self._asking:
            self._asking = self._turn.take()
        due = self._clock.monotonic() >= self._last + self._every
        if self._asking and due and self.published > self.size:
            self._last = self._clock.monotonic()
            note = await asyncio.to_thread(self._log.read, "checkpoint")
            if note is not None:
                await self._ask(note)
        if self._asking:
            await self._tell()

    async def _ask(self, note: bytes) -> None:
        checkpoint = open_checkpoint(note, self._verifiers())
        found: list[Cosignature] = []

        async def one(known: _Known) -> None:
            if not known.compared:
                await self._compare(known)
            cosignature = await self._cosigned(known, checkpoint, note)
            if cosignature is None:
                return
            found.append(cosignature)
            # As each answers: one that is slow keeps none from being published.
            if self._policy.enough(found):
                await asyncio.to_thread(self._publish, with_cosignatures(note, found), checkpoint.size)

        await self._each(one)

    async def _each(self, ask: Callable[[_Known], Any]) -> None:
        """One question to all of them at once. A witness that fails is named, and keeps nobody; IntegrityError comes first."""

        async def asked(known: _Known) -> IntegrityError | None:
            try:
                await ask(known)
                why = ""
            except UpstreamError as error:
                why = error.message
            except IntegrityError as error:
                return error
            except OSError as error:
                why = f"the log cannot be read: {in_words(error)}"
            if why != known.why and not (why == "" and known.why == "it was not asked yet"):
                self._heard(known.witness.name, why)
            known.why = why
            return None

        async with asyncio.TaskGroup() as group:
            tasks = [group.create_task(asked(known)) for known in self._known]
        for task in tasks:
            if (error := task.result()) is not None:
                raise error

    async def _cosigned(self, known: _Known, checkpoint: Checkpoint, note: bytes) -> Cosignature | None:
        """Its cosignature; None if it knows a newer one, which another process of ours showed it. UpstreamError; IntegrityError
        as in `start`."""
        url = f"{known.witness.url}/add-checkpoint"
        for _ in range(TRIES):
            if known.size > checkpoint.size:
                await self._compare(known)
                return None
            proof = await asyncio.to_thread(self._proof, known.size, checkpoint.size)
            said = await self._elsewhere.post(
                url, request(known.size, proof, note), "text/plain; charset=utf-8", most=LARGEST
            )
            try:
                if said.status == 200:
                    cosignature = parse_cosignatures(said.body, note, known.witness.verifier)
                    known.size = checkpoint.size
                    return cosignature
                if said.status == 409:
                    known.size = conflicting_size(said.body)
                    continue
            except IntegrityError as error:
                raise UpstreamError(f"witness {known.witness.name} answers wrongly: {error.message}") from None
            if said.status == 422:
                known.size = 0
                await self._compare(known)
            raise UpstreamError(f"witness {known.witness.name} refuses: {said.status} {_words(said.body)}")
        raise UpstreamError(f"witness {known.witness.name} does not say what it knows")

    async def _compare(self, known: _Known) -> None:
        """Hold what a witness publishes of our log to what we have. IntegrityError: our own signature says that it is another,
        or larger. UpstreamError: it says nothing, or nothing that we signed."""
        name = known.witness.name
        origin = self._verifiers()[0].name
        said = await self._elsewhere.get(f"{known.witness.url}/{origin_hash(origin)}/checkpoint", most=LARGEST)
        if said.status == 404:
            known.compared = True
            return
        if said.status != 200:
            raise UpstreamError(f"witness {name} does not say what it knows: {said.status} {_words(said.body)}")
        try:
            theirs = open_checkpoint(said.body, self._verifiers())
        except IntegrityError as error:
            raise UpstreamError(f"witness {name} publishes what this log never signed: {error.message}") from None
        if theirs.origin != origin:
            raise UpstreamError(f"witness {name} publishes a checkpoint of {theirs.origin} as one of {origin}")
        # Ours is read after theirs, so that nothing which was published meanwhile looks like less than they know.
        await asyncio.to_thread(self._fits, name, theirs)
        known.size, known.compared = theirs.size, True

    # Files, in threads --------------------------------------------------------------------------------------------------

    def _verifiers(self) -> list[NoteVerifier]:
        return self._recorder.sequencer.verifiers

    def _look(self) -> None:
        """What is published, and how far it is witnessed."""
        verifiers, now = self._verifiers(), self._clock.monotonic()
        note = self._log.read("checkpoint")
        if note is not None:
            ours = open_checkpoint(note, verifiers)
            if ours.size > self.published:
                self.published = ours.size
                if len(self._waiting) < SAMPLES:  # the oldest is what counts
                    self._waiting.append((ours.size, now))
        witnessed = self._log.read("witnessed")
        if witnessed is not None:
            try:
                opened = self._policy.open(witnessed, verifiers)
            except IntegrityError:  # spoilt, or of before the policy changed: it counts for nothing, and is written anew
                return
            if opened.quorum and opened.checkpoint.origin == verifiers[0].name:
                self._reached(opened.checkpoint)

    def _reached(self, checkpoint: Checkpoint) -> None:
        if self._newest is None or checkpoint.size > self._newest.size:
            self._newest = checkpoint
            self._fits("log/witnessed", checkpoint)
        self.size = max(self.size, checkpoint.size)
        while self._waiting and self._waiting[0][0] <= self.size:
            self._waiting.popleft()

    def _fits(self, whose: str, theirs: Checkpoint) -> None:
        """IntegrityError unless our log is theirs, or continues it."""
        note = self._log.read("checkpoint")
        size = 0 if note is None else open_checkpoint(note, self._verifiers()).size
        if theirs.size > size:
            raise IntegrityError(
                f"{whose} has seen {theirs.size} leaves of this log, signed with its key, and here there are {size}: the store "
                "and the log were put back to an older state, or another log is signed with this key",
                spot="log/checkpoint", hint=TRIAGE,
            )  # fmt: skip
        if self._root(theirs.size, size) != theirs.root:
            raise IntegrityError(
                f"{whose} has seen another log of {theirs.size} leaves, signed with this key: history was rewritten, here or "
                "there",
                spot=f"log/checkpoint, size {theirs.size}", hint=TRIAGE,
            )  # fmt: skip

    def _root(self, size: int, published: int) -> bytes:
        return root_of(size, tiles.TileNodes(published, self._read))

    def _proof(self, old: int, size: int) -> list[bytes]:
        return consistency_proof(old, size, tiles.TileNodes(size, self._read))

    def _publish(self, note: bytes, size: int) -> None:
        self._log.write("witnessed", note)
        self.size = max(self.size, size)
        while self._waiting and self._waiting[0][0] <= self.size:
            self._waiting.popleft()

    def _read(self, path: str) -> bytes:
        found = self._log.read(path)
        if found is None:
            raise FileNotFoundError(path)
        return found

    async def _tell(self) -> None:
        """Put on record that witnesses are missing, or there again."""
        late = bool(self.overdue())
        if late == self._told:
            return
        body: dict[str, Any] = {"size": self.size, "published": self.published}
        if late:
            body["witnesses"] = {each.witness.name: each.why[:500] for each in self._known if each.why}
        with suppress(UpstreamError):  # the record itself fails: it is tried again in a second
            await self._recorder.event("log.unwitnessed" if late else "log.witnessed", body)
            self._told = late


def _words(body: bytes) -> str:
    return "".join(letter for letter in body[:200].decode("utf-8", "replace") if letter.isprintable()).strip()
