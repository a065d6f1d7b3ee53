"""Recordings: chained without keys, opened only by their session's key, and bounded whatever the bytes claim."""

from __future__ import annotations

import os

import pytest
import zstandard
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from hypothesis import given, settings
from hypothesis import strategies as st

from doorward.errors import IntegrityError
from doorward.ledger import segment
from doorward.ledger.encoding import canonical

SID, OTHER = "0194f0e0-0000-7000-8000-00000000000a", "0194f0e0-0000-7000-8000-00000000000b"
DEK = bytes(range(32))
HEADER = segment.header(SID, 1_800_000_000_000)
PAYLOADS = [segment.encode_record(segment.RESPONSE, 5, b"row " * n) for n in (1, 100, 5000)]


def sealed(payloads: list[bytes], sid: str = SID) -> bytes:
    sealer = segment.SegmentSealer(sid, DEK, segment.header_hash(HEADER))
    return HEADER + b"".join([sealer.seal(payload)[0] for payload in payloads])


FILE = sealed(PAYLOADS)


@pytest.mark.parametrize("piece", [1, 7, 100, len(FILE)])
def test_round_trip(piece: int) -> None:
    """In whatever pieces a file is read, its segments are the same, chained, and open to what was sealed."""
    segments = segment.iter_segments(FILE[at : at + piece] for at in range(0, len(FILE), piece))
    found = list(segments)
    assert [segment.open_segment(each.raw, SID, DEK) for each in found] == PAYLOADS
    assert [each.number for each in found] == [0, 1, 2]
    assert (segments.torn, segments.end, segments.hash) == (0, len(FILE), found[-1].hash)
    assert segments.header == segment.Header(SID, 1_800_000_000_000, "std", len(HEADER))


def test_continued_after_a_crash() -> None:
    """A sealer made from the last whole segment goes on as the first would have, and never reuses key and nonce: the
    same number over other content has another synthetic IV."""
    first = list(segment.iter_segments(FILE))
    again = segment.SegmentSealer(SID, DEK, first[1].hash, number=2)
    raw, hash_ = again.seal(PAYLOADS[2])
    assert (raw, hash_) == (first[2].raw, first[2].hash)
    different, _ = segment.SegmentSealer(SID, DEK, first[1].hash, number=2).seal(PAYLOADS[2] + PAYLOADS[0])
    assert different[57:73] != raw[57:73]


def test_torn() -> None:
    """A file cut at any byte gives its whole segments and says how much is torn."""
    ends = [len(HEADER), *(each.offset + len(each.raw) for each in segment.iter_segments(FILE))]
    for cut in range(len(HEADER), len(FILE), 11):
        segments = segment.iter_segments(FILE[:cut])
        list(segments)
        assert segments.end == max(end for end in ends if end <= cut)
        assert segments.torn == cut - segments.end


def test_every_byte_of_a_segment() -> None:
    """A flipped bit in a segment changes its hash or breaks the chain there, and it does not open."""
    raw = list(segment.iter_segments(FILE))[1].raw
    for at in range(len(raw)):
        changed = raw[:at] + bytes([raw[at] ^ 4]) + raw[at + 1 :]
        with pytest.raises(IntegrityError):
            segment.open_segment(changed, SID, DEK)
        assert segment.segment_hash(changed) != segment.segment_hash(raw)


@pytest.mark.parametrize(
    "sid",
    ["", "../../etc/passwd", SID.upper(), SID + "\n", SID[:-1] + "é", SID.replace("-", ""), "{" + SID + "}",
     "٠" + SID[1:]],
)  # fmt: skip
def test_session_ids(sid: str) -> None:
    """A session id that is not a UUID in its one spelling is refused, wherever it comes from: it names a file."""
    line = canonical({"codec": "zstd", "created": 1, "retention": "std", "sid": sid, "v": 1})
    for call in (
        lambda: segment.session_bytes(sid),
        lambda: segment.header(sid, 1),
        lambda: segment.parse_header(segment.MAGIC + line + b"\n"),
        lambda: segment.open_segment(FILE, sid, DEK),
    ):
        with pytest.raises(IntegrityError):
            call()


@pytest.mark.parametrize(
    "line",
    [
        b"", b"{}", b"[]", b"1", b"null", HEADER[9:-1] + b" ", HEADER[9:-1].replace(b"zstd", b"gzip"),
        HEADER[9:-1].replace(b'"v":1', b'"v":2'), HEADER[9:-1].replace(b'"v":1', b'"v":1,"w":1'),
        HEADER[9:-1].replace(b'"v":1', b'"v":1,"v":1'), HEADER[9:-1].replace(b"1800000000000", b"-1"),
        HEADER[9:-1].replace(b"1800000000000", b'"x"'), HEADER[9:-1].replace(b'"std"', b"5"),
        HEADER[9:-1].replace(b'"std"', b'"a b"'), HEADER[9:-1].replace(b"1800000000000", b"true"), b" " * 2000,
    ],
)  # fmt: skip
def test_bad_headers(line: bytes) -> None:
    """A header in any other form is an IntegrityError."""
    with pytest.raises(IntegrityError):
        segment.iter_segments(segment.MAGIC + line + b"\n" + FILE[len(HEADER) :])


def bomb(packed: bytes) -> bytes:
    """A rightly sealed segment around any compressed bytes, as only somebody with the key can make."""
    sid, iv = segment.session_bytes(SID), b"i" * 16
    head = segment._SEGMENT.pack(b"DWS1", sid, 0, bytes(32), iv, len(packed) + 16)
    key, nonce = segment._segment_key(DEK, sid, 0, iv)
    return head + AESGCM(key).encrypt(nonce, packed, head)


@pytest.mark.parametrize(
    "packed",
    [
        zstandard.compress(bytes(segment.MAX_PAYLOAD + 1)), zstandard.compress(bytes(200_000_000)),
        zstandard.ZstdCompressor(write_content_size=False).compress(bytes(200_000_000)), b"", b"plain", os.urandom(50),
        zstandard.compress(b"x") + b"more", zstandard.compress(b"x") * 2, zstandard.compress(b"x")[:-1],
        zstandard.compress(b""),
    ],
    ids=["one over", "bomb", "size not said", "empty", "plain", "noise", "tail", "two", "cut", "nothing"],
)  # fmt: skip
def test_bombs(packed: bytes) -> None:
    """What would unpack to more than the cap, to nothing, or to something doubtful is refused before it is unpacked."""
    with pytest.raises(IntegrityError):
        segment.open_segment(bomb(packed), SID, DEK)


def test_wrong_key() -> None:
    """Another session's key or id opens nothing."""
    raw = next(segment.iter_segments(FILE)).raw
    for sid, dek in ((SID, DEK[::-1]), (OTHER, DEK)):
        with pytest.raises(IntegrityError):
            segment.open_segment(raw, sid, dek)
    with pytest.raises(ValueError):
        segment.open_segment(raw, SID, DEK[:16])


@pytest.mark.parametrize("payload", [b"", bytes(segment.MAX_PAYLOAD + 1)])
def test_unsealable(payload: bytes) -> None:
    """Nothing, and too much, are not sealed."""
    with pytest.raises(ValueError):
        segment.SegmentSealer(SID, DEK, bytes(32)).seal(payload)


def test_incompressible_fits() -> None:
    """The largest payload fits though it cannot be compressed."""
    payload = os.urandom(segment.MAX_PAYLOAD)
    raw, _ = segment.SegmentSealer(SID, DEK, segment.header_hash(HEADER)).seal(payload)
    (found,) = segment.iter_segments(HEADER + raw)
    assert segment.open_segment(found.raw, SID, DEK) == payload


records = st.tuples(st.sampled_from(segment.KINDS), st.integers(0, 2**53 - 1), st.binary(max_size=40))


@given(st.lists(records, max_size=10))
def test_records_round_trip(many: list[tuple[int, int, bytes]]) -> None:
    """Records come back as they were written."""
    payload = b"".join([segment.encode_record(*each) for each in many])
    assert list(segment.iter_records(payload)) == many


@given(st.binary(max_size=100))
def test_records_total(payload: bytes) -> None:
    """Any bytes are either records in their one spelling or an IntegrityError."""
    try:
        found = list(segment.iter_records(payload))
    except IntegrityError:
        return
    assert b"".join([segment.encode_record(*each) for each in found]) == payload


@pytest.mark.parametrize(
    ("kind", "at", "body"),
    [(0, 0, b""), (7, 0, b""), (1, -1, b""), (1, 2**53, b""), (1, 0, bytes(segment.MAX_BODY + 1))],
)
def test_no_records(kind: int, at: int, body: bytes) -> None:
    """Unknown kinds, times out of range and bodies over the cap are not written, and not read."""
    with pytest.raises(ValueError):
        segment.encode_record(kind, at, body)
    if at >= 0:
        with pytest.raises(IntegrityError):
            list(segment.iter_records(segment._RECORD.pack(kind, at, len(body)) + body))


@settings(max_examples=150, deadline=None)
@given(st.integers(0, len(FILE)), st.binary(max_size=30), st.integers(0, 40))
def test_total(at: int, garbage: bytes, cut: int) -> None:
    """An altered file raises IntegrityError or gives segments whose chain ends in another hash, or is torn."""
    changed = FILE[:at] + garbage + FILE[at + cut :]
    try:
        segments = segment.iter_segments(changed)
        list(segments)
    except IntegrityError:
        return
    original = segment.iter_segments(FILE)
    list(original)
    assert changed == FILE or segments.torn or segments.hash != original.hash
