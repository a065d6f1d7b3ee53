"""What is looked at in windows is masked as if it had been looked at whole."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from doorward.masking.detect import DETECTORS, Detectors
from doorward.masking.windows import BESIDE, BLOCK, REACH, WINDOW, Windows

ALL = Detectors([detector.name for detector in DETECTORS])
# Found in any surroundings of words, and within the reach of the small windows here.
PLANTED = (
    "4111111111111111", "4111 1111 1111 1111", "123-45-6789", "bob.smith@mail.example.org", "DE89370400440532013000",
    "(202) 456-1111", "+442079460958", "postgres://app:hunter2@db/shop", "AKIA" + "IOSFODNN7EXAMPLE",
)  # fmt: skip
DISGUISED = (
    "４１１１１１１１１１１１１１１１", r"\u0034\u0031\u0031\u0031111111111111", "bob (at) example [dot] org",
    "bob%40example.org",
)  # fmt: skip
WORDS = ("nothing", "to", "see", "here,", "and", "no. 7", "line\n", "ende")


def through(
    value: bytes, sizes: list[int], *, window: int, reach: int, block: int = BLOCK, beside: int = BESIDE
) -> tuple[bytes, Windows]:
    """The value through windows, in pieces of these sizes, over and over."""
    windows = Windows(ALL, window=window, reach=reach, block=block, beside=beside)
    out: list[bytes] = []
    position = number = 0
    while position < len(value):
        out.append(windows.feed(value[position : position + sizes[number % len(sizes)]]))
        position += sizes[number % len(sizes)]
        number += 1
    return b"".join([*out, windows.finish()]), windows


@settings(max_examples=300, deadline=None)
@given(
    st.lists(st.one_of(st.sampled_from(WORDS), st.sampled_from(PLANTED)), min_size=20, max_size=120),
    st.lists(st.integers(1, 500), min_size=1, max_size=4), st.integers(100, 400), st.integers(10, 200),
)  # fmt: skip
def test_as_if_it_were_whole(words: list[str], sizes: list[int], window: int, block: int) -> None:
    """Wherever windows and pieces are cut, what comes out is what comes out of the whole value, and so are the counts."""
    value = " and so ".join(words).encode()
    shown, windows = through(value, sizes, window=window, reach=100, block=block, beside=80)
    whole = ALL.mask_bytes(value)
    assert (shown, windows.cells) == (whole if whole is not None else (value, {}))


@settings(max_examples=100, deadline=None)
@given(st.integers(0, 1500), st.sampled_from(DISGUISED), st.integers(1, 700))
def test_what_is_disguised_hides_its_window(before: int, disguised: str, size: int) -> None:
    """Where only the plain reading says something, nothing of it is shown; what is far from it is."""
    value = b"a b " * (before // 4) + disguised.encode() + b" c d" * 700
    shown, windows = through(value, [size], window=200, reach=100)
    assert disguised.encode() not in shown
    assert ALL.mask_bytes(shown) is None
    assert len(value) - len(shown) < 900
    assert windows.cells


def test_a_key_without_an_end_hides_the_rest() -> None:
    """What begins and goes on for longer than a window can hold is not shown to its end."""
    key = b"-----BEGIN " + b"RSA PRIVATE KEY-----\n" + b"MIIEpAIBAAKCAQEA\n" * 200
    shown, windows = through(b"before " * 100 + key + b"after, if anybody knew", [77], window=400, reach=100)
    assert shown == b"before " * 100 + b"[private_key]"
    assert windows.cells == {"private_key": 1}


def test_a_key_of_the_usual_length_is_replaced_alone() -> None:
    """With its last line in reach of its first, the text behind a key is shown."""
    key = b"-----BEGIN " + b"PRIVATE KEY-----\n" + b"MIIEpAIBAAKCAQEA\n" * 50 + b"-----END PRIVATE KEY-----"
    for before in range(0, 2 * WINDOW + REACH, 30_011):
        value = b"x " * (before // 2) + key + b" y" * (WINDOW + REACH)
        shown, _ = through(value, [65_000], window=WINDOW, reach=REACH)
        assert shown == value.replace(key, b"[private_key]")


@pytest.mark.parametrize("size", [1, 100, WINDOW, 3 * WINDOW + 5])
def test_nothing_found_is_unchanged(size: int) -> None:
    """Bytes in which nothing is come out as they went in, text or not."""
    value = (b"\xff\xfe\x00 nothing " * (size // 11 + 1))[:size]
    assert through(value, [70_001], window=WINDOW, reach=REACH)[0] == value
