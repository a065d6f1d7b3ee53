"""Write-ahead log frames: readable up to the first torn or altered one, which is told in words."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from doorward.errors import IntegrityError
from doorward.ledger.seal import HEADER_SIZE, MAX_PLAINTEXT, WalSealer, iter_frames

KEY, FILE = b"k" * 32, b"f" * 16


def file_of(*plaintexts: bytes, file_id: bytes = FILE, key: bytes = KEY) -> tuple[bytes, list[int]]:
    sealer = WalSealer(key, file_id)
    octets, ends = sealer.header, []
    for number, plaintext in enumerate(plaintexts):
        octets += sealer.seal(number * 5, plaintext)
        ends.append(len(octets))
    return octets, ends


OCTETS, ENDS = file_of(b"one", b"", b"three" * 50)


def test_round_trip() -> None:
    """Frames come back with their numbers and where they end."""
    frames = iter_frames(OCTETS, KEY)
    assert list(frames) == [(0, b"one", ENDS[0]), (5, b"", ENDS[1]), (10, b"three" * 50, ENDS[2])]
    assert (frames.why, frames.end) == ("", len(OCTETS))


def test_cut_anywhere() -> None:
    """A file cut at any byte gives the whole frames before the cut and says that it is torn there."""
    for cut in range(HEADER_SIZE, len(OCTETS)):
        frames = iter_frames(OCTETS[:cut], KEY)
        whole = [end for end in ENDS if end <= cut]
        assert [end for _, _, end in frames] == whole
        assert frames.end == (whole[-1] if whole else HEADER_SIZE)
        assert frames.why.startswith("torn") == (cut not in (HEADER_SIZE, *ENDS))
        assert list(frames) == []


def test_every_bit() -> None:
    """A flipped bit ends the reading at its frame, or before the first if it is in the header's id."""
    for at in range(HEADER_SIZE, len(OCTETS)):
        for bit in (0, 7):
            frames = iter_frames(OCTETS[:at] + bytes([OCTETS[at] ^ 1 << bit]) + OCTETS[at + 1 :], KEY)
            assert [end for _, _, end in frames] == [end for end in ENDS if end <= at]
            assert frames.why
    assert list(iter_frames(OCTETS[: HEADER_SIZE - 1] + b"!" + OCTETS[HEADER_SIZE:], KEY)) == []


def test_moved_frames() -> None:
    """A frame dropped, repeated, exchanged or carried over from another file does not open."""
    first, second, third = OCTETS[HEADER_SIZE : ENDS[0]], OCTETS[ENDS[0] : ENDS[1]], OCTETS[ENDS[1] :]
    other, _ = file_of(b"one", b"two", file_id=b"g" * 16)
    for tail, good in (
        (second, 0), (first + third, 1), (first + first, 1), (third + second + first, 0), (other[HEADER_SIZE:], 0),
        (first + second + second, 2),
    ):  # fmt: skip
        frames = iter_frames(OCTETS[:HEADER_SIZE] + tail, KEY)
        assert len(list(frames)) == good
        assert "altered" in frames.why
    assert list(iter_frames(OCTETS, b"x" * 32)) == []


@pytest.mark.parametrize("octets", [b"", b"DOORWAL1\n", OCTETS[: HEADER_SIZE - 1], b"X" + OCTETS[1:]])
def test_no_header(octets: bytes) -> None:
    """A file without a whole header is an IntegrityError."""
    with pytest.raises(IntegrityError):
        iter_frames(octets, KEY)


def test_nonce_never_repeats() -> None:
    """A number that is not greater than the last is a ValueError, because it is the nonce."""
    sealer = WalSealer(KEY, FILE)
    sealer.seal(3, b"x")
    for seq in (3, 2, -1, 2**63):
        with pytest.raises(ValueError):
            sealer.seal(seq, b"y")
    with pytest.raises(ValueError):
        sealer.seal(4, bytes(MAX_PLAINTEXT + 1))
    for key, file_id in ((b"k", FILE), (KEY, b"f")):
        with pytest.raises(ValueError):
            WalSealer(key, file_id)


@settings(max_examples=100)
@given(st.binary(max_size=200))
def test_total(tail: bytes) -> None:
    """Any bytes after whole frames are no frame."""
    frames = iter_frames(OCTETS + tail, KEY)
    assert len(list(frames)) == 3
    assert bool(frames.why) == bool(tail)
