"""What every detector must pass: whoever adds one, adds its file and nothing here."""

from __future__ import annotations

import re2

from doorward.masking.detect import Detectors
from doorward.masking.detectors import Detector

ALL = Detectors()

# Surroundings that values really have: protocol bytes, arrays, composites, JSON, CSV, prose.
SURROUNDINGS = ("{}", "{{{}}}", "({},x)", '{{"k":"{}"}}', 'x,"{}",y', "see {} ,", "a: {}\nb", "\t{}\t")


def finds_its_examples(detector: Detector, text: str, secret: str) -> None:
    """An example's confidential part is found, that alone, and what replaces it is not found again."""
    value = text.encode()
    places = list(detector.find(value))
    assert [value[start:end].decode() for start, end in places] == [secret]
    masked, counts = Detectors([detector.name]).mask(text)
    assert counts == {detector.label: 1}
    assert secret not in masked
    assert ALL.mask(masked) == (masked, {})


def prefilter_sees(detector: Detector, text: str) -> None:
    """The prefilter says yes to any bytes that hold an example, between whatever bytes it stands."""
    prefilter = re2.Set.SearchSet()
    for pattern in detector.prefilter:
        prefilter.Add(pattern)
    prefilter.Compile()
    for before, after in ((b"", b""), (b"D\x00\x00\x001\x00\x01\x00\x00\x00A", b"9\xff\xff"), (b"\xff\xfe7", b"\x00a")):
        assert prefilter.Match(before + text.encode() + after)


def finds_in_surroundings(detector: Detector, text: str, secret: str) -> None:
    """An example that is nothing but the value is found wherever values stand."""
    if text != secret or '"' in text or "\n" in text:
        return
    detectors = Detectors([detector.name])
    for surrounding in SURROUNDINGS:
        shown, counts = detectors.mask(surrounding.format(text))
        assert shown == surrounding.format(f"[{detector.label}]"), surrounding
        assert counts == {detector.label: 1}


def leaves_counterexamples(detector: Detector, text: str) -> None:
    """Nothing is found in a counterexample."""
    assert list(detector.find(text.encode())) == []
    assert Detectors([detector.name]).mask(text) == (text, {})
