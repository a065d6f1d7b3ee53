"""Precision and recall of every detector over the corpus.

Recall of a kind: of its texts, those in which every character of the confidential part is masked, by whichever
detector. Precision of a detector: of what it finds in all texts, what is confidential. All detectors run, together, as
they do in the gateway.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass, field

from doorward.masking.detect import DETECTORS, Detectors
from tests.quality.corpus import Sample, confidential, ordinary_texts, uncovered

SEED = 20261123


@dataclass
class Figures:
    """Texts and those masked, by kind; findings and true ones, by detector; ordinary texts and those changed, by kind."""

    texts: Counter[str] = field(default_factory=Counter)
    masked: Counter[str] = field(default_factory=Counter)
    detector: dict[str, str] = field(default_factory=dict)
    found: Counter[str] = field(default_factory=Counter)
    true: Counter[str] = field(default_factory=Counter)
    ordinary: Counter[str] = field(default_factory=Counter)
    alarms: Counter[str] = field(default_factory=Counter)
    missed: list[Sample] = field(default_factory=list)
    false: list[tuple[Sample, str]] = field(default_factory=list)

    def recall(self, kind: str) -> float:
        return self.masked[kind] / self.texts[kind]

    def precision(self, detector: str) -> float:
        return self.true[detector] / self.found[detector] if self.found[detector] else 1.0


def measured(samples: Iterable[Sample]) -> Figures:
    """Ask the detectors about every text."""
    detectors = Detectors(detector.name for detector in DETECTORS)
    figures = Figures()
    for sample in samples:
        spans = detectors.spans(sample.text)
        covered = {place for span in spans for place in range(span.start, span.end)}
        for span in spans:
            figures.found[span.detector] += 1
            if span.start < sample.end and span.end > sample.start:
                figures.true[span.detector] += 1
            else:
                figures.false.append((sample, span.detector))
        if sample.detector:
            figures.texts[sample.kind] += 1
            figures.detector[sample.kind] = sample.detector
            if covered.issuperset(range(sample.start, sample.end)):
                figures.masked[sample.kind] += 1
            else:
                figures.missed.append(sample)
        else:
            figures.ordinary[sample.kind] += 1
            figures.alarms[sample.kind] += bool(spans)
    return figures


def all_figures(each: int, seed: int = SEED) -> Figures:
    """Over a corpus of `each` texts of a kind."""
    return measured((*confidential(seed, each), *ordinary_texts(seed, each), *uncovered(seed, each // 5)))
