"""All detectors together, as fast as content can be looked at.

Contract: `hit` runs one automaton over raw bytes, protocol framing and all, and never says no where a detector would
find something in a value that lies whole within them. `mask_bytes` and `mask` look exactly, at one value. A value
whose plain reading (`disguise`) holds what its written form does not is masked whole. What comes out is looked at by
the same detectors in tests, and holds nothing.

It deliberately keeps no state between chunks: whoever cuts a stream into chunks cuts it at values.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass

import re2

from doorward.errors import ConfigError
from doorward.masking.detectors import (
    Detector,
    card,
    email,
    iban,
    jwt,
    password,
    phone,
    private_key,
    secret_key,
    ssn,
    url_password,
)
from doorward.masking.disguise import DISGUISES, plain

DETECTORS: tuple[Detector, ...] = tuple(
    module.DETECTOR
    for module in (private_key, jwt, secret_key, url_password, password, card, iban, ssn, email, phone)
)


@dataclass(frozen=True, slots=True)
class Span:
    """Where something confidential is: characters of a text. `whole`: found in the plain reading only."""

    start: int
    end: int
    label: str
    detector: str
    whole: bool = False


def redaction(label: str) -> str:
    """What stands where a confidential value was."""
    return f"[{label}]"


class Detectors:
    """A set of detectors, by name (None: all). Immutable; share one. Unknown names raise ConfigError."""

    __slots__ = ("_match", "_narrowed", "_owners", "detectors", "labels")

    def __init__(self, enabled: Iterable[str] | None = None) -> None:
        if enabled is None:
            chosen = DETECTORS
        else:
            names = set(enabled)
            unknown = names - {detector.name for detector in DETECTORS}
            if unknown:
                raise ConfigError(
                    f"no detector is named {', '.join(sorted(unknown))}",
                    hint="detectors: " + ", ".join(detector.name for detector in DETECTORS),
                )
            chosen = tuple(detector for detector in DETECTORS if detector.name in names)
        self.detectors: tuple[Detector, ...] = chosen
        self.labels: frozenset[str] = frozenset(detector.label for detector in chosen)
        self._narrowed: dict[frozenset[str], Detectors] = {}
        options = re2.Options()
        # A set whose automaton does not fit its memory would silently match nothing.
        options.max_mem = 128 << 20
        options.log_errors = False
        patterns = re2.Set.SearchSet(options)
        self._owners: list[Detector | None] = []
        for detector in chosen:
            for pattern in detector.prefilter:
                patterns.Add(pattern)
                self._owners.append(detector)
        if chosen:
            for pattern in DISGUISES:
                patterns.Add(pattern)
                self._owners.append(None)
            patterns.Compile()
        self._match = patterns.Match

    def without(self, labels: frozenset[str]) -> Detectors:
        """The same detectors, less those of these labels (which somebody may see)."""
        hidden = labels & self.labels
        if not hidden:
            return self
        narrowed = self._narrowed.get(hidden)
        if narrowed is None:
            narrowed = Detectors(detector.name for detector in self.detectors if detector.label not in hidden)
            self._narrowed[hidden] = narrowed
        return narrowed

    def hit(self, chunk: bytes | memoryview) -> bool:
        """Whether anything in these raw bytes deserves an exact look."""
        return bool(self._owners) and self._match(chunk) is not None

    def mask_bytes(self, value: bytes) -> tuple[bytes, Counter[str]] | None:
        """The value with what is confidential replaced, and how often by label; None: nothing to replace."""
        if not self._owners:
            return None
        found, disguised = self._places(value)
        masked = value
        counts: Counter[str] = Counter()
        if found:
            parts: list[bytes] = []
            end = 0
            for start, stop, detector in found:
                parts.append(value[end:start])
                parts.append(redaction(detector.label).encode("ascii"))
                counts[detector.label] += 1
                end = stop
            parts.append(value[end:])
            masked = b"".join(parts)
        if disguised:
            hidden, _ = self._places(plain(masked))
            if hidden:
                counts[hidden[0][2].label] += 1
                return redaction(hidden[0][2].label).encode("ascii"), counts
        return (masked, counts) if found else None

    def mask(self, text: str) -> tuple[str, Counter[str]]:
        """The text as it may be shown, and how often what was replaced, by label."""
        result = self.mask_bytes(text.encode("utf-8", "surrogatepass"))
        if result is None:
            return text, Counter()
        return result[0].decode("utf-8", "surrogatepass"), result[1]

    def spans(self, text: str) -> list[Span]:
        """Where in the text something confidential is, in order, without overlap."""
        if not self._owners:
            return []
        value = text.encode("utf-8", "surrogatepass")
        found, disguised = self._places(value)
        if disguised:
            hidden, _ = self._places(plain(value))
            if len(hidden) > len(found):
                return [Span(0, len(text), hidden[0][2].label, hidden[0][2].name, whole=True)]
        if len(value) == len(text):
            return [Span(start, end, detector.label, detector.name) for start, end, detector in found]
        spans: list[Span] = []
        characters = bytes_seen = 0
        for start, end, detector in found:
            characters += len(value[bytes_seen:start].decode("utf-8", "surrogatepass"))
            size = len(value[start:end].decode("utf-8", "surrogatepass"))
            spans.append(Span(characters, characters + size, detector.label, detector.name))
            characters += size
            bytes_seen = end
        return spans

    def _places(self, value: bytes) -> tuple[list[tuple[int, int, Detector]], bool]:
        """Where, in order and without overlap; and whether the value may mean more than it says."""
        matched = self._match(value)
        if not matched:
            return [], False
        disguised = False
        looked: list[Detector] = []
        found: list[tuple[int, int, Detector]] = []
        for index in matched:
            detector = self._owners[index]
            if detector is None:
                disguised = True
            elif detector not in looked:
                looked.append(detector)
                found.extend((start, end, detector) for start, end in detector.find(value))
        if len(found) > 1:
            found.sort(key=lambda place: (place[0], -place[1]))
            merged = [found[0]]
            for start, end, detector in found[1:]:
                last = merged[-1]
                if start < last[1]:  # overlapping: mask both, under the name of the first and longest
                    merged[-1] = (last[0], max(last[1], end), last[2])
                else:
                    merged.append((start, end, detector))
            found = merged
        return found, disguised
