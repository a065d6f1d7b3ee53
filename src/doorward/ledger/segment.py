"""Recordings: the sealed segments of a session, and the records inside them.

A recording file is a header line and then segments, each encrypted under the session's own key and each naming the hash
of the one before (the first: of the header), so that none can be dropped, moved or exchanged. The hash is over the
ciphertext: the chain is checked without keys, and still after the key is destroyed. docs/spec/recording.md is the
normative text.

    segment = "DWS1" || session id (16) || u32 number || previous hash (32) || synthetic IV (16) || u32 length || sealed

AES-256-GCM's key and nonce come from the session's key, the number and the synthetic IV, which is a MAC over what is
sealed. So the same nonce never seals two different things: not even when we die in the middle of writing a segment and
seal another with the same number after recovery.

Does no I/O, keeps no keys, decides nothing about when a segment ends.
"""

from __future__ import annotations

import hmac
import re
import struct
from collections.abc import Iterable, Iterator
from hashlib import sha256
from typing import Final, NamedTuple

import zstandard
from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.kdf.hkdf import HKDFExpand

from doorward.errors import IntegrityError
from doorward.ledger.encoding import canonical

MAGIC: Final = b"DOORREC1\n"
MAX_HEADER: Final = 512
MAX_PAYLOAD: Final = 4 * 1024 * 1024  # a segment's records, unpacked; the recorder closes one at 256 KiB
MAX_SEALED: Final = MAX_PAYLOAD + MAX_PAYLOAD // 128 + 1024  # zstd's worst case and the tag
MAX_SEGMENTS: Final = 2**32 - 1
MAX_BODY: Final = 2 * 1024 * 1024  # one record's body
DEK_SIZE: Final = 32
# zstd's. Level 3 makes rows in wire format no smaller, and takes up to half as long again.
_LEVEL: Final = 1

_SEGMENT: Final = struct.Struct(">4s16sI32s16sI")
_RECORD: Final = struct.Struct(">BQI")
_MARK: Final = b"DWS1"
_TAG: Final = 16
_UUID = "[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}"
_SESSION: Final = re.compile(_UUID)
# Canonical JSON with these members only: as with a leaf, the expression is the whole parser.
_HEADER: Final = re.compile(
    b'DOORREC1\n\\{"codec":"zstd","created":(?P<created>0|[1-9][0-9]{0,15}),"retention":"(?P<retention>[a-z0-9-]{1,32})",'
    b'"sid":"(?P<sid>' + _UUID.encode() + b')","v":1\\}\n'
)

EVENT: Final = 1  # canonical JSON of an Event
TEMPLATE: Final = 2  # u32 number, then canonical JSON of an operation
RUN: Final = 3  # u32 template number, u8 flags, masked parameters
RESPONSE: Final = 4  # masked bytes from the target to the client, in its wire format
SETTLED: Final = 5  # canonical JSON of an outcome
REQUEST_DATA: Final = 6  # masked bytes from the client after its request (COPY IN)
KINDS: Final = range(EVENT, REQUEST_DATA + 1)


class Header(NamedTuple):
    """A recording's first line. `created` is Unix milliseconds; `size` is the header's length in bytes."""

    session_id: str
    created: int
    retention: str
    size: int


class Segment(NamedTuple):
    """A whole segment as stored. `hash` is what its leaf and its successor name."""

    number: int
    offset: int
    raw: bytes
    hash: bytes


def session_bytes(session_id: str) -> bytes:
    """The 16 bytes of a session id. IntegrityError unless it is a UUID in its one canonical spelling, so that an id
    from a file can never name a path."""
    if not _SESSION.fullmatch(session_id):
        raise IntegrityError(f"not a session id: {session_id[:80]!r}")
    return bytes.fromhex(session_id.replace("-", ""))


def header(session_id: str, created: int, retention: str = "std") -> bytes:
    """The first bytes of a recording file. ValueError for values that have no place in one."""
    session_bytes(session_id)
    fields = {"codec": "zstd", "created": created, "retention": retention, "sid": session_id, "v": 1}
    line = MAGIC + canonical(fields) + b"\n"
    if not _HEADER.fullmatch(line):
        raise ValueError("a retention class is [a-z0-9-]{1,32} and a time is not negative")
    return line


def parse_header(start: bytes) -> Header:
    """The header at the start of a file. IntegrityError when it is anything but what `header` writes."""
    match = _HEADER.match(start)
    if match is None or int(match["created"]) >= 2**53:
        raise IntegrityError("not a recording of version 1, or its header is torn", spot="byte 0")
    return Header(match["sid"].decode(), int(match["created"]), match["retention"].decode(), match.end())


def header_hash(header_bytes: bytes) -> bytes:
    """What the first segment names as its predecessor, and `session.opened` as its segment hash. It is also the root
    of a recording without segments."""
    return sha256(b"doorward/rechead/v1\0" + header_bytes).digest()


def segment_hash(segment: bytes) -> bytes:
    """SHA-256("doorward/seghash/v1" 00 || the segment as stored)."""
    return sha256(b"doorward/seghash/v1\0" + segment).digest()


def _expand(key: bytes, info: bytes, length: int) -> bytes:
    return HKDFExpand(SHA256(), length, info).derive(key)


class SegmentSealer:
    """Seals one recording's segments, in order.

    `previous` is `header_hash` of the file's header, or, to go on after a crash, the hash of the last whole segment
    with `number` being the next one's. `hash` is the recording's root so far.
    """

    __slots__ = ("_dek", "_mac_key", "_sid", "hash", "number")

    def __init__(self, session_id: str, dek: bytes, previous: bytes, number: int = 0) -> None:
        if len(dek) != DEK_SIZE or len(previous) != 32 or not 0 <= number <= MAX_SEGMENTS:
            raise ValueError("a session's key and a hash are 32 bytes")
        self._sid = session_bytes(session_id)
        self._dek = dek
        self._mac_key = _expand(dek, b"doorward/siv/v1\0" + self._sid, 32)
        self.hash = previous
        self.number = number

    def seal(self, payload: bytes) -> tuple[bytes, bytes]:
        """The next segment and its hash. ValueError: an empty payload or one over MAX_PAYLOAD."""
        if not 0 < len(payload) <= MAX_PAYLOAD or self.number >= MAX_SEGMENTS:
            raise ValueError(f"a segment of {len(payload)} bytes")
        packed = zstandard.compress(payload, _LEVEL)
        number = self.number.to_bytes(4, "big")
        iv = hmac.digest(self._mac_key, number + self.hash + packed, "sha256")[:16]
        start = _SEGMENT.pack(_MARK, self._sid, self.number, self.hash, iv, len(packed) + _TAG)
        key, nonce = _segment_key(self._dek, self._sid, self.number, iv)
        raw = start + AESGCM(key).encrypt(nonce, packed, start)
        self.hash = segment_hash(raw)
        self.number += 1
        return raw, self.hash


def _segment_key(dek: bytes, sid: bytes, number: int, iv: bytes) -> tuple[bytes, bytes]:
    derived = _expand(dek, b"doorward/seg/v1\0" + sid + number.to_bytes(4, "big") + iv, 44)
    return derived[:32], derived[32:]


def open_segment(raw: bytes, session_id: str, dek: bytes) -> bytes:
    """The payload of one whole segment. IntegrityError when it does not open under this session's key, or unpacks to
    more than MAX_PAYLOAD (which is known before it is unpacked)."""
    sid = session_bytes(session_id)
    if len(dek) != DEK_SIZE:
        raise ValueError("a session's key is 32 bytes")
    if len(raw) < _SEGMENT.size:
        raise IntegrityError("a segment is cut off in its header")
    mark, found, number, _, iv, length = _SEGMENT.unpack_from(raw)
    if mark != _MARK or found != sid or len(raw) != _SEGMENT.size + length or length > MAX_SEALED:
        raise IntegrityError("not a whole segment of this session")
    key, nonce = _segment_key(dek, sid, number, iv)
    try:
        packed = AESGCM(key).decrypt(nonce, raw[_SEGMENT.size :], raw[: _SEGMENT.size])
    except InvalidTag:
        raise IntegrityError(f"segment {number} does not open under this session's key") from None
    try:
        # zstandard allocates what the frame header claims: so it is read and bounded first.
        size = zstandard.frame_content_size(packed)
        if not 0 < size <= MAX_PAYLOAD:
            raise IntegrityError(f"segment {number} would unpack to {size} bytes, not 1 to {MAX_PAYLOAD}")
        return zstandard.ZstdDecompressor(max_window_size=2 * MAX_PAYLOAD).decompress(packed, allow_extra_data=False)
    except zstandard.ZstdError as error:
        raise IntegrityError(f"segment {number} does not unpack: {error}") from None


class Segments(Iterator[Segment]):
    """The whole segments of a recording, in order, without keys and in bounded memory.

    Raises IntegrityError, with the offset as `spot`, where the chain breaks: a header of another session, a number out
    of turn, a hash that is not the predecessor's. Iteration ends with the data; `torn` then says how many bytes of an
    unfinished segment follow (we died while writing it, or somebody cut the file), and `end` where they begin.
    """

    __slots__ = ("_buffer", "_chunks", "end", "hash", "header", "number", "torn")

    def __init__(self, data: bytes | Iterable[bytes]) -> None:
        self._chunks = iter((data,) if isinstance(data, (bytes, bytearray, memoryview)) else data)
        self._buffer = bytearray()
        self._fill(MAX_HEADER)
        start = bytes(self._buffer[:MAX_HEADER])
        self.header = parse_header(start)
        del self._buffer[: self.header.size]
        self.hash = header_hash(start[: self.header.size])
        self.number = 0
        self.end = self.header.size
        self.torn = 0

    def _fill(self, size: int) -> bool:
        """Reads until `size` bytes are there. False: the data ended before."""
        while len(self._buffer) < size:
            chunk = next(self._chunks, None)
            if chunk is None:
                return False
            self._buffer += chunk
        return True

    def __next__(self) -> Segment:
        if not self._fill(_SEGMENT.size):
            return self._finish()
        mark, sid, number, previous, _, length = _SEGMENT.unpack_from(self._buffer)
        spot = f"byte {self.end}"
        if mark != _MARK:
            raise IntegrityError(f"expected segment {self.number} here, found something else", spot=spot)
        if sid != session_bytes(self.header.session_id):
            raise IntegrityError(f"segment {number} here is of another session", spot=spot)
        if number != self.number:
            raise IntegrityError(f"expected segment {self.number} here, found segment {number}", spot=spot)
        if previous != self.hash:
            raise IntegrityError(
                f"segment {number} names predecessor {previous.hex()}, but that is {self.hash.hex()}", spot=spot
            )
        if not _TAG < length <= MAX_SEALED:
            raise IntegrityError(f"segment {number} cannot be {length} bytes long", spot=spot)
        if not self._fill(_SEGMENT.size + length):
            return self._finish()
        raw = bytes(self._buffer[: _SEGMENT.size + length])
        del self._buffer[: len(raw)]
        segment = Segment(number, self.end, raw, segment_hash(raw))
        self.number, self.end, self.hash = number + 1, self.end + len(raw), segment.hash
        return segment

    def _finish(self) -> Segment:
        self.torn = len(self._buffer)
        raise StopIteration


def iter_segments(data: bytes | Iterable[bytes]) -> Segments:
    """Iterates over a recording's whole segments. IntegrityError at once when the header is not one."""
    return Segments(data)


def encode_record(kind: int, at_ms: int, body: bytes) -> bytes:
    """One record: u8 kind, u64 Unix milliseconds, u32 length, body. ValueError: unknown kind, body over MAX_BODY."""
    if kind not in KINDS or len(body) > MAX_BODY or not 0 <= at_ms < 2**53:
        raise ValueError(f"a record of kind {kind} and {len(body)} bytes at {at_ms}")
    return _RECORD.pack(kind, at_ms, len(body)) + body


def iter_records(payload: bytes) -> Iterator[tuple[int, int, bytes]]:
    """The records of an opened segment, as (kind, at_ms, body). IntegrityError, with the offset as `spot`, when one is
    cut, over MAX_BODY, or of an unknown kind."""
    start, size = 0, len(payload)
    while start < size:
        body = start + _RECORD.size
        if body > size:
            raise IntegrityError("a record is cut off in its header", spot=f"byte {start}")
        kind, at_ms, length = _RECORD.unpack_from(payload, start)
        if kind not in KINDS or at_ms >= 2**53 or length > MAX_BODY:
            raise IntegrityError(f"not a record: kind {kind}, {length} bytes", spot=f"byte {start}")
        end = body + length
        if end > size:
            raise IntegrityError(f"a record of kind {kind} is cut off", spot=f"byte {start}")
        yield kind, at_ms, payload[body:end]
        start = end
