"""Values that are written so that they do not look like what they are."""

from __future__ import annotations

import pytest
import re2
from hypothesis import given, settings
from hypothesis import strategies as st

from doorward.masking.detect import Detectors
from doorward.masking.disguise import COUNTEREXAMPLES, DISGUISES, EXAMPLES, plain

ALL = Detectors()


@pytest.mark.parametrize(("text", "reading"), EXAMPLES)
def test_examples_are_read_and_masked(text: str, reading: str) -> None:
    """The plain reading is what it says, the prefilter looks, and nothing of it is left, alone or among other words."""
    assert plain(text.encode()).decode() == reading
    for around in ("{}", "see {} there", '{{"a": "{}"}}', "x,{},y"):
        written = around.format(text)
        assert ALL.hit(b"\x00\x00\x00\x10" + written.encode() + b"\x00")
        masked, counts = ALL.mask(written)
        assert sum(counts.values()) == 1, written
        assert text not in masked
        assert reading not in plain(masked.encode()).decode()


@pytest.mark.parametrize("around", ["{}", "{{{},\\x00}}", '["\\{}"]', "(1,{},x)"])
@pytest.mark.parametrize("secret", ["4111111111111111", "bob@example.org", "123-45-6789", "4111 1111 1111 1111"])
def test_the_text_in_a_bytea_is_read(secret: str, around: str) -> None:
    """As PostgreSQL writes bytes in hexadecimal, among others that are no text; the whole value is replaced."""
    for octets in (secret.encode(), b"\0\xff" + secret.encode() + b"\x01\x80" * 400, secret.encode("utf-8") + b"\n\xe9"):
        for spelling in (octets.hex(), octets.hex().upper()):
            masked, counts = ALL.mask(around.format(f"\\x{spelling}"))
            assert sum(counts.values()) == 1
            assert masked.startswith("[")
            assert spelling not in masked


@pytest.mark.parametrize("text", COUNTEREXAMPLES)
def test_counterexamples_stay(text: str) -> None:
    """What is written so without hiding anything passes."""
    assert ALL.mask(text) == (text, {})


@settings(max_examples=200, deadline=None)
@given(st.text(st.sampled_from("\\\\uxU{}0041%&#;amp d835udfcf２五\u0301\u20e3\u200b (at)."), max_size=40))
def test_any_text_has_a_reading_that_the_prefilter_foresees(text: str) -> None:
    """No text fails to be read; and where its reading has digits that it has not itself, the prefilter has looked."""
    reading = plain(text.encode()).decode()
    patterns = re2.Set.SearchSet()
    for pattern in DISGUISES:
        patterns.Add(pattern)
    patterns.Compile()
    runs = max((len(run) for run in re2.findall("[0-9]{9,}", reading)), default=0)
    if runs > max((len(run) for run in re2.findall("[0-9]{9,}", text)), default=0):
        assert patterns.Match(text.encode()), reading


@pytest.mark.parametrize(
    "text",
    ["\\" * 300_000 + "%40", "&#" + "1" * 300_000, "&#x" + "1" * 300_000, "&#" + "0" * 300_000 + "64;", "%25" * 100_000],
    ids=["backslashes", "a huge number", "in hexadecimal", "zeros", "percent signs"],
)
def test_no_text_takes_long_or_fails(text: str) -> None:
    """What is written to be read for hours, or to be refused by a library, is read (quadratic work would not end here)."""
    plain(text.encode())
    ALL.mask("x " + text)


def test_zeros_before_a_number_mean_nothing() -> None:
    """As browsers read it."""
    assert plain(b"bob&#000000000000064;example.org") == b"bob@example.org"


@pytest.mark.parametrize("start", ["azurewebsites.net/", "M-", "sk-" + "aB3dE6gH9jK2" * 3 + "-"])
def test_keys_behind_what_could_begin_another_are_found_in_one_pass(start: str) -> None:
    """A megabyte of beginnings that never end, each with a key behind it: none is left, and the search does not start over."""
    key = "ghp_" + "aB3dE6gH9jK2" * 3
    masked, counts = ALL.mask(f"{start}{key}- " * 10_000)
    assert key not in masked
    assert counts["secret"] > 0
