"""Detection does not get worse than it was published: a small sample of the corpus of `make quality`."""

from __future__ import annotations

import pytest

from doorward.masking.detect import DETECTORS
from tests.quality.measure import Figures, all_figures


@pytest.fixture(scope="module")
def figures() -> Figures:
    """Sixty texts of a kind."""
    return all_figures(60, seed=1)


def test_every_detector_is_measured(figures: Figures) -> None:
    """Whoever adds a detector adds to the corpus what it is there for."""
    assert set(figures.detector.values()) - {"none"} == {detector.name for detector in DETECTORS}


def test_what_a_detector_is_there_for_is_masked(figures: Figures) -> None:
    """Of every kind at least 98 in a hundred; of the few texts of one country or issuer, all."""
    for kind, owner in figures.detector.items():
        if owner != "none":
            floor = 0.98 if figures.texts[kind] >= 60 else 1
            assert figures.recall(kind) >= floor, [sample.text for sample in figures.missed if sample.kind == kind]


def test_what_is_found_is_confidential(figures: Figures) -> None:
    """Of every detector's findings at least 97 in a hundred."""
    for detector in figures.found:
        assert figures.precision(detector) >= 0.97, [s.text for s, name in figures.false if name == detector]


def test_ordinary_texts_stay_as_they_are(figures: Figures) -> None:
    """Order numbers, identifiers, moments, digests, versions, code, logs, documents and prose pass; of numbers of products
    and parcels, and of what is one digit away from a hit, at least 94 in a hundred."""
    for kind in figures.ordinary:
        allowed = 0.06 if kind in ("near misses", "product and parcel numbers") else 0.02
        assert figures.alarms[kind] / figures.ordinary[kind] <= allowed, [
            s.text for s, _ in figures.false if s.kind == kind
        ]


def test_no_more_is_claimed_than_is_so(figures: Figures) -> None:
    """What is said not to be covered is not: where a detector comes to cover it, the page has to say so."""
    for kind, owner in figures.detector.items():
        if owner == "none":
            assert figures.recall(kind) <= 0.5, kind
