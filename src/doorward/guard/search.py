"""Finding sessions by words: of statements as they were recorded (masked), of who, where, which labels, what was decided.

An index is one file for each key epoch (`keyring`). It has no word in it: a word is a token, HMAC-SHA256 under a key that is
derived from the epoch's, and cut to 8 bytes. Who has the file and not the key sees that sessions have words in common, and
no more; when the epoch's key is destroyed the file is noise, and it is deleted.

Built from recordings whose session has ended, in the order of the log, outside the event loop. `progress` is the leaf up to
which that is done, kept after the files: if we die in between, the same sessions come again and are known. Two processes take
turns. The index is no record: it can be lost, and is made again by `rebuild`.

A word has a field: `who:`, `target:`, `label:`, `decision:`, `action:`; without one it is looked for everywhere. There is
nothing to rank and no beginning of a word to look for: tokens of what is alike are not alike.
"""

from __future__ import annotations

import asyncio
import hashlib
import hmac
import re
import unicodedata
from collections.abc import AsyncIterator, Iterable, Iterator, Mapping, Sequence
from typing import Any, Final, Protocol

from doorward.errors import DoorwardError, IntegrityError, in_words
from doorward.guard.keyring import epoch_of
from doorward.guard.ports import Turn
from doorward.guard.reader import RecordReader
from doorward.guard.recorder import Recorder
from doorward.guard.stores import SessionRow
from doorward.ledger.encoding import parse
from doorward.ledger.retention import is_epoch
from doorward.ledger.segment import EVENT, TEMPLATE

FIELDS: Final = ("who", "target", "label", "decision", "action")
MOST_WORDS: Final = 20_000  # of a session; what comes after them is not found
MOST_ASKED: Final = 16  # words of a question
LONGEST: Final = 128  # characters of a word that count
BATCH: Final = 200  # sessions between two notes of how far we are
_WORD: Final = re.compile(r"\w+")
_ENDED: Final = ("session.closed", "session.recovered")
_VERDICTS: Final = {"operation.refused": "refused", "operation.held": "held", "operation.observed": "observed"}

Token = bytes


class SearchFiles(Protocol):
    """The index files: `<data>/search/<epoch>`. Threads may share it. OSError from any method."""

    def names(self) -> list[str]:
        """Epochs that have one."""
        ...

    def add(self, epoch: str, sessions: Sequence[tuple[str, Sequence[Token]]]) -> None:
        """Sessions and their tokens, durably. One that is there already stays as it is."""
        ...

    def find(self, epoch: str, tokens: Sequence[Token], before: int, limit: int) -> list[tuple[int, str]]:
        """At most `limit` sessions that have all of these, last added first, each with its number; of those with a number
        below `before`, if that is not 0."""
        ...

    def delete(self, epoch: str) -> None:
        """No error if there is none."""
        ...

    def progress(self) -> int:
        """The leaf up to which sessions were added, -1 for none."""
        ...

    def keep_progress(self, leaf: int) -> None: ...


class Search:
    """See the module."""

    def __init__(self, recorder: Recorder, files: SearchFiles, turn: Turn, *, every: float = 5.0) -> None:
        self._recorder, self._files, self._turn, self._every = recorder, files, turn, every
        self.failed = ""  # why the last round did not work

    # Building --------------------------------------------------------------------------------------------------------

    async def follow(self) -> None:
        """Take up what has ended, until cancelled."""
        while True:
            try:
                await self.catch_up()
                self.failed = ""
            except (DoorwardError, OSError) as error:
                self.failed = in_words(error)
            await asyncio.sleep(self._every)

    async def catch_up(self) -> int:
        """Take up every session that has ended since; how many. Somebody else at it: 0. OSError, DoorwardError."""
        if not await asyncio.to_thread(self._turn.take):
            return 0
        try:
            return await self._catch_up()
        finally:
            self._turn.release()

    async def rebuild(self) -> int:
        """Forget everything and begin again; how many sessions. BlockingIOError: somebody is at it."""
        if not await asyncio.to_thread(self._turn.take):
            raise BlockingIOError("the index is being built")
        try:
            for epoch in await asyncio.to_thread(self._files.names):
                await asyncio.to_thread(self._files.delete, epoch)
            await asyncio.to_thread(self._files.keep_progress, -1)
            return await self._catch_up()
        finally:
            self._turn.release()

    async def _catch_up(self) -> int:
        await asyncio.to_thread(self._sweep)
        after, count = await asyncio.to_thread(self._files.progress), 0
        while page := await self._recorder.store.events(types=_ENDED, after=after, limit=BATCH):
            found: dict[str, list[tuple[str, Sequence[Token]]]] = {}
            for event in page:
                try:
                    epoch, session = await self._taken_up(event.session_id)
                except IntegrityError:
                    continue  # verify says so; what is behind it must be found nevertheless
                if epoch:
                    found.setdefault(epoch, []).append(session)
                    count += 1
            for epoch, sessions in found.items():
                await asyncio.to_thread(self._files.add, epoch, sessions)
            after = page[-1].index
            await asyncio.to_thread(self._files.keep_progress, after)
        return count

    async def _taken_up(self, session_id: str) -> tuple[str, tuple[str, Sequence[Token]]]:
        """A session's epoch and its tokens; "" if its key is gone, or of the time before there were epochs. IntegrityError."""
        wrapped = await self._recorder.store.wrapped_key(session_id)
        epoch = "" if wrapped is None else epoch_of(wrapped)
        key = self._recorder.keyring.of_search(epoch) if epoch else None
        row = await self._recorder.store.session(session_id)
        if key is None or row is None:
            return "", (session_id, ())
        return epoch, (session_id, await self._tokens(row, key))

    async def _tokens(self, row: SessionRow, key: bytes) -> list[Token]:
        reader = RecordReader(self._recorder.store, self._recorder.recordings, self._recorder.keyring)
        try:
            records = await reader.recording(row.id)
        except KeyError:
            records = iter(())

        def made() -> list[Token]:
            found: set[tuple[str, str]] = set(of_session(row))
            try:
                for each in of_recording(records):
                    if len(found) >= MOST_WORDS:
                        break
                    found.add(each)
            except (IntegrityError, ValueError, TypeError):
                pass  # it is not what was sealed, and verify says so; what could be read of it can be found
            return tokens(key, found)

        return await asyncio.to_thread(made)

    def _sweep(self) -> None:
        """Files of epochs whose key is gone: a deletion that died half done, or another process did it."""
        for epoch in self._files.names():
            if not self._recorder.keyring.has(epoch):
                self._files.delete(epoch)

    # Asking ----------------------------------------------------------------------------------------------------------

    async def find(self, question: str) -> AsyncIterator[str]:
        """Sessions that have all the words, the latest month first. ValueError: it has none, too many, or an unknown field."""
        wanted = asked(question)
        names = [name for name in await asyncio.to_thread(self._files.names) if is_epoch(name)]
        for epoch in sorted(names, key=lambda name: name[-7:], reverse=True):
            key = self._recorder.keyring.of_search(epoch)
            if key is None:
                continue
            looked_for, before = tokens(key, wanted), 0
            while page := await asyncio.to_thread(self._files.find, epoch, looked_for, before, BATCH):
                before = page[-1][0]
                for _, session in page:
                    yield session


def asked(question: str) -> set[tuple[str, str]]:
    """The words of a question, with their fields. ValueError."""
    found: set[tuple[str, str]] = set()
    for part in question.split():
        field, colon, rest = part.partition(":")
        if not colon or not field.isalpha():
            field, rest = "", part
        elif field not in FIELDS:
            raise ValueError(f"there is no field {field}: one of {', '.join(FIELDS)}")
        found.update((field, word) for word in split(rest))
    if not found:
        raise ValueError("say at least one word")
    if len(found) > MOST_ASKED:
        raise ValueError(f"at most {MOST_ASKED} words")
    return found


def split(text: str) -> Iterator[str]:
    """Words as they are compared: of letters, digits and underscores, in one case."""
    for found in _WORD.finditer(unicodedata.normalize("NFKC", text)):
        yield found[0].casefold()[:LONGEST]


def tokens(key: bytes, found: Iterable[tuple[str, str]]) -> list[Token]:
    """What stands for words, under the key of an epoch."""
    return sorted(hmac.digest(key, f"{field}\0{word}".encode(), hashlib.sha256)[:8] for field, word in found)


def of_session(row: SessionRow) -> Iterator[tuple[str, str]]:
    """The words of a session's own line."""
    for field, text in (("who", row.identity), ("who", row.kind), ("target", row.target), ("", row.purpose)):
        yield from _fielded(field, text)


def of_recording(records: Iterator[tuple[int, int, bytes]]) -> Iterator[tuple[str, str]]:
    """The words of what was asked and decided, not those of answers nor of values bound to statements. IntegrityError."""
    for kind, _, body in records:
        if kind == TEMPLATE:
            said = parse(body[4:])
            if isinstance(said, dict) and not said.get("by"):
                yield from _fielded("decision", "allowed")
                yield from _judged(said)
        elif kind == EVENT:
            event = parse(body)
            said = event.get("body") if isinstance(event, dict) else None
            if not isinstance(event, dict) or not isinstance(said, dict):
                continue
            what = str(event.get("type", ""))
            if what == "session.opened":
                yield from _fielded("who", *_identities(said))
            elif what.startswith("operation."):
                if what == "operation.permitted":
                    yield from _fielded("decision", "approved" if said.get("approval") else "allowed")
                yield from _fielded("decision", _VERDICTS.get(what, ""), str(said.get("code", "")))
                yield from _judged(said)


def _judged(said: Mapping[str, Any]) -> Iterator[tuple[str, str]]:
    decision = said.get("decision")
    rules = decision.get("rules") or () if isinstance(decision, dict) else ()
    yield from _fielded("", str(said.get("text", "")))
    yield from _fielded("", *(str(part[1]) for part in said.get("resources") or () if isinstance(part, list) and len(part) > 1))
    yield from _fielded("label", *map(str, said.get("labels") or ()))
    yield from _fielded("decision", *map(str, rules))
    yield from _fielded("action", str(said.get("action", "")))


def _identities(said: Mapping[str, Any]) -> Iterator[str]:
    """Of whoever opened a session, and those on whose behalf."""
    for _ in range(8):
        yield from (str(said.get(name, "")) for name in ("identity", "subject", "issuer"))
        chain = said.get("on_behalf_of")
        if isinstance(chain, list):
            yield from map(str, chain[:8])
        if not isinstance(chain, dict):
            return
        said = chain


def _fielded(field: str, *texts: str) -> Iterator[tuple[str, str]]:
    for text in texts:
        for word in split(text):
            yield field, word
            if field:
                yield "", word
