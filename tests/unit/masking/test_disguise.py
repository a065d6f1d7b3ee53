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
