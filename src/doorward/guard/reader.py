"""Reading the record back: for people who list, show and replay, and for packs.

Needs the keys (`Keyring`) and checks what it opens: a recording's chain and seals, an event's place. Whether the record
is the one that was signed is `ledger.verify`'s to say, without keys. Reads only; safe beside a running gateway, whose
last second may not be there yet.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterator, Sequence
from dataclasses import dataclass

from cryptography.hazmat.primitives.ciphers.aead import AESGCM

from doorward.errors import IntegrityError
from doorward.guard.keyring import Keyring, is_session, record_cipher
from doorward.guard.ports import RecordingFiles
from doorward.guard.recovery import decode_event
from doorward.guard.stores import RecordStore, StoredEvent
from doorward.ledger.segment import iter_records, iter_segments, open_segment
from doorward.model import Event

MOST_KEYS = 1024
PAGE = 4000  # events that are in memory at once


@dataclass(frozen=True, slots=True)
class OpenedEvent:
    """An event with what opens its leaf's commitment: `salt` and the exact `record` bytes. `index` is its leaf."""

    index: int
    event: Event
    salt: bytes
    record: bytes


class RecordReader:
    """IntegrityError from any method: something is not what was sealed."""

    def __init__(self, store: RecordStore, recordings: RecordingFiles, keyring: Keyring) -> None:
        self._store, self._recordings, self._keyring = store, recordings, keyring
        # A session's events come close together: of those that were read last, keys are unwrapped once.
        self._keys: dict[str, AESGCM] = {}

    async def key(self, session_id: str) -> bytes | None:
        """A session's data key; None if there is none (any more)."""
        wrapped = await self._store.wrapped_key(session_id)
        key = None if wrapped is None else self._keyring.unwrap(session_id, wrapped)
        if key is None:  # its epoch is gone: a legal hold may have kept it
            for held in await self._store.retention.held_keys(session_id):
                key = key or self._keyring.unwrap(session_id, held)
        return key

    async def _record_key(self, key_id: str) -> bytes | None:
        """What an event's record is sealed under; None if it is gone."""
        return self._keyring.of_events(key_id) if not is_session(key_id) else await self.key(key_id)

    async def recording(self, session_id: str) -> Iterator[tuple[int, int, bytes]]:
        """The records of a recording as (kind, Unix ms, body), a segment in memory at a time. KeyError: no such
        session, or its key has been destroyed."""
        dek = await self.key(session_id)
        if dek is None:
            raise KeyError(session_id)
        return self.with_key(self._recordings, session_id, dek)

    @staticmethod
    def with_key(recordings: RecordingFiles, session_id: str, dek: bytes) -> Iterator[tuple[int, int, bytes]]:
        """The same, for who has the session's data key already."""
        chunks = recordings.read(session_id)
        first = next(chunks, b"")
        if not first:
            return  # opened, and nothing sealed yet

        def all_of_it() -> Iterator[bytes]:
            yield first
            yield from chunks

        for segment in iter_segments(all_of_it()):
            yield from iter_records(open_segment(segment.raw, session_id, dek))

    async def events(
        self, *, session_id: str = "", types: Sequence[str] = (), after: int = -1
    ) -> AsyncIterator[OpenedEvent]:
        """Events in leaf order. Those whose key has been destroyed are left out."""
        while page := await self._store.events(session_id=session_id, types=types, after=after):
            for stored in page:
                after = stored.index
                opened = await self._unseal(stored)
                if opened is None:
                    continue
                salt, record = opened
                event = decode_event(record)
                if event.type != stored.type:
                    raise IntegrityError("an event is filed under another type", spot=f"events: leaf {stored.index}")
                yield OpenedEvent(stored.index, event, salt, record)

    async def unsealed(
        self, *, types: Sequence[str] = (), leaves: Sequence[int] = (), after: int = -1
    ) -> AsyncIterator[tuple[int, tuple[bytes, bytes] | None]]:
        """Events in leaf order as (leaf, (salt, exact record)), those with `None` whose key has been destroyed; of these
        `leaves` alone, if there are any. The caller compares each with what its leaf commits to."""
        while page := await self._store.events(types=types, leaves=leaves, after=after, limit=PAGE):
            for stored in page:
                after = stored.index
                yield stored.index, await self._unseal(stored)

    async def _unseal(self, stored: StoredEvent) -> tuple[bytes, bytes] | None:
        key_id = stored.key_id
        cipher = self._keys.get(key_id)
        if cipher is None:
            key = await self._record_key(key_id)
            if key is None:
                return None
            if len(self._keys) >= MOST_KEYS:
                del self._keys[next(iter(self._keys))]
            self._keys[key_id] = cipher = record_cipher(key)
        return self._keyring.open_record(cipher, stored.boot, stored.seq, stored.sealed)
