"""Everything of a record that is kept under a key, opened: for who has to know what is in there (`doorward scan`).

Contract: each function yields `Opened` pieces, and `Unopened` for what it could not open, with the reason; neither stops
at the first fault. Pieces of one `stream` follow one another without a gap, so that what is cut between two of them can
be found. A piece is bounded by what the formats allow (a segment's payload, a frame). Reads only; safe beside a running
gateway when asked in the order log, recordings, events: what leaves one place is in the next by then.

Whether what is opened is what was signed is `ledger.verify`'s to say.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterable, Iterator
from dataclasses import dataclass
from typing import Final

from doorward.errors import IntegrityError
from doorward.guard.keyring import Keyring, is_session
from doorward.guard.ports import WalFiles
from doorward.guard.stores import RecordStore
from doorward.ledger.seal import iter_frames
from doorward.ledger.segment import (
    EVENT,
    REQUEST_DATA,
    RESPONSE,
    RUN,
    SETTLED,
    TEMPLATE,
    iter_records,
    iter_segments,
    open_segment,
)

WHAT: Final = {
    EVENT: "events", TEMPLATE: "statements", RUN: "parameters", RESPONSE: "answers", SETTLED: "outcomes",
    REQUEST_DATA: "data sent",
}  # fmt: skip


@dataclass(frozen=True, slots=True)
class Opened:
    """`file` is relative to the data directory; `stream` says which pieces follow one another; `place` is for people."""

    file: str
    stream: str
    place: str
    octets: bytes


@dataclass(frozen=True, slots=True)
class Unopened:
    """What nobody has looked into, and why."""

    file: str
    place: str
    why: str


def log_frames(files: WalFiles, keyring: Keyring) -> Iterator[Opened | Unopened]:
    """The write-ahead log's frames. A file that is gone when its turn comes has been folded into the store."""
    for name in files.names():
        file = f"{files.folder}/{name}"
        try:
            octets = files.read(name)
        except FileNotFoundError:
            continue
        except OSError as error:
            yield Unopened(file, "", error.strerror or "it cannot be read")
            continue
        if not octets:
            continue
        try:
            frames = iter_frames(octets, keyring.wal)
        except IntegrityError as error:
            yield Unopened(file, "", error.message)
            continue
        for number, plaintext, _ in frames:
            yield Opened(file, f"frame {number}", f"frame {number}", plaintext)
        if frames.end < len(octets):
            yield Unopened(file, f"from byte {frames.end}", frames.why)


def recording(file: str, session_id: str, dek: bytes, chunks: Iterable[bytes]) -> Iterator[Opened | Unopened]:
    """One recording's contents, those of one kind together: an answer may be cut anywhere."""
    segments = None
    try:
        segments = iter_segments(chunks)
        for segment in segments:
            bodies: dict[int, list[bytes]] = {}
            for kind, _at, body in iter_records(open_segment(segment.raw, session_id, dek)):
                bodies.setdefault(kind, []).append(body)
            for kind, parts in bodies.items():
                yield Opened(file, WHAT[kind], f"segment {segment.number}, {WHAT[kind]}", b"".join(parts))
    except (IntegrityError, OSError) as error:
        number = 0 if segments is None else segments.number
        yield Unopened(file, f"from segment {number}", getattr(error, "message", "") or str(error))
        return
    if segments.torn:
        yield Unopened(file, f"from byte {segments.end}", "the last segment is not whole")


async def events(store: RecordStore, keyring: Keyring, file: str) -> AsyncIterator[Opened | Unopened]:
    """The private record of every event in the store."""
    after = -1
    held: dict[str, bytes | None] = {}
    while page := await store.events(after=after):
        for stored in page:
            after = stored.index
            place = f"event {stored.index}"
            try:
                if stored.key_id not in held:
                    if len(held) > 1000:
                        held.clear()
                    if is_session(stored.key_id):
                        wrapped = await store.wrapped_key(stored.key_id)
                        held[stored.key_id] = None if wrapped is None else keyring.unwrap(stored.key_id, wrapped)
                    else:
                        held[stored.key_id] = keyring.of_events(stored.key_id)
                key = held[stored.key_id]
                if key is None:
                    yield Unopened(file, place, "its key is not there (any more)")
                    continue
                _, record = keyring.open_record(key, stored.boot, stored.seq, stored.sealed)
                yield Opened(file, place, place, record)
            except IntegrityError as error:
                yield Unopened(file, place, error.message)
