"""All detectors together, as fast as content can be looked at.

Contract: `hit` runs one automaton over raw bytes, protocol framing and all, and never says no where a detector would
find something in a value that lies whole within them. `mask_bytes` and `mask` look exactly, at one value. A value
whose plain reading (`disguise`) holds what its written form does not is masked whole. What comes out is looked at by
the same detectors in tests, and holds nothing.

It deliberately keeps no state between chunks: whoever cuts a stream into chunks cuts it at values.
"""

from __future__ import annotations

import functools
import operator
from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass
from typing import TYPE_CHECKING

import re2

from doorward.errors import ConfigError
from doorward.masking import scan
from doorward.masking.detectors import (
    Detector,
    card,
    email,
    iban,
    ip,
    jwt,
    national_id,
    national_number,
    password,
    phone,
    private_key,
    redaction,
    secret_key,
    ssn,
    url_password,
)
from doorward.masking.disguise import DISGUISES, plain

if TYPE_CHECKING:
    from mypy_extensions import i64

DETECTORS: tuple[Detector, ...] = tuple(
    module.DETECTOR
    for module in (
        private_key, jwt, secret_key, url_password, password, card, iban, ssn, national_id, national_number, email,
        phone, ip,
    )
)  # fmt: skip
_NAMES = frozenset(detector.name for detector in DETECTORS)
# Those that run where nobody says which.
DEFAULT: tuple[str, ...] = tuple(detector.name for detector in DETECTORS if detector is not ip.DETECTOR)
Places = list[tuple[int, int, Detector]]  # start and end, in bytes, and who found it
_ROUNDS = 4
_MEMORY = 48 << 20  # bytes of the prefilter's automaton


@dataclass(frozen=True, slots=True)
class Span:
    """Where something confidential is: characters of a text. `whole`: found in the plain reading only."""

    start: int
    end: int
    label: str
    detector: str
    whole: bool = False


@dataclass(frozen=True, slots=True)
class Suspects:
    """What the prefilter says of some bytes: which detectors want to look, whether a value in them may mean more than
    it says, and, if `scan` knows all that they could find, which bits of it; else 0."""

    detectors: tuple[Detector, ...]
    disguised: bool
    plain: int = 0


class Detectors:
    """A set of detectors: those of these names (None: DEFAULT), and `more` of one's own (`defined`). Immutable; share
    one. `region`: whose telephone numbers are looked for without a plus sign. Unknown names raise ConfigError."""

    __slots__ = (
        "_bits", "_closed", "_confirms", "_familiar", "_match", "_narrowed", "_owners", "_redactions", "_strange", "_suspects",
        "defined", "detectors", "labels",
    )  # fmt: skip

    def __init__(
        self, enabled: Iterable[str] | None = None, *, more: Iterable[Detector] = (), region: str = "US"
    ) -> None:
        names = set(DEFAULT if enabled is None else enabled)
        unknown = names - {detector.name for detector in DETECTORS}
        if unknown:
            raise ConfigError(
                f"no detector is named {', '.join(sorted(unknown))}",
                hint="detectors: " + ", ".join(detector.name for detector in DETECTORS),
            )
        chosen = (
            *(
                phone.detector(region) if detector is phone.DETECTOR and region != "US" else detector
                for detector in DETECTORS
                if detector.name in names
            ),
            *more,
        )
        self.detectors: tuple[Detector, ...] = chosen
        # Whether any of them is the operator's own, about whose findings nothing is known beforehand.
        self.defined: bool = any(detector.name not in _NAMES for detector in chosen)
        self.labels: frozenset[str] = frozenset(detector.label for detector in chosen)
        self._redactions = {label: redaction(label).encode("ascii") for label in self.labels}
        self._narrowed: dict[frozenset[str], Detectors] = {}
        options = re2.Options()
        # A set whose automaton does not fit its memory would silently match nothing.
        options.max_mem = _MEMORY
        options.log_errors = False
        patterns = re2.Set.SearchSet(options)
        # Who wants to look, by pattern; None: it may be disguised. Equal patterns are one, for all who have it.
        owners: dict[str, list[Detector | None]] = {}
        for detector in chosen:
            for pattern in detector.prefilter:
                owners.setdefault(pattern, []).append(detector)
        if chosen:
            for pattern in DISGUISES:
                owners.setdefault(pattern, []).append(None)
        self._owners: tuple[list[Detector | None], ...] = tuple(owners.values())
        self._bits: tuple[int, ...] = tuple([scan.known(pattern, whose) for pattern, whose in owners.items()])
        strange = re2.Set.SearchSet(options)
        for pattern, bit in zip(owners, self._bits, strict=True):
            patterns.Add(pattern)
            if not bit:
                strange.Add(pattern)
        if chosen:
            try:
                patterns.Compile()
                strange.Compile()
            except re2.error:
                raise ConfigError("the detectors' patterns are too large together") from None
        # What is put in place of a value could be a part of what a detector of one's own finds.
        self._closed = all(detector in DETECTORS or detector.confirms is not None for detector in chosen)
        self._confirms = next((detector.confirms for detector in chosen if detector.confirms is not None), None)
        self._match = patterns.Match
        self._strange = strange.Match
        known = functools.reduce(operator.or_, self._bits, 0) if self._closed else 0
        owning = [owner for bit, whose in zip(self._bits, self._owners, strict=True) if bit for owner in whose]
        # Of bytes in which no pattern matches that `scan` does not know.
        self._familiar = Suspects(tuple(detector for detector in chosen if detector in owning), False, known)
        self._suspects: dict[tuple[int, ...], Suspects] = {}
        for detector in chosen[-1:]:
            if detector.examples and self.suspects(detector.examples[0][0].encode("utf-8", "surrogatepass")) is None:
                raise ConfigError("the detectors' patterns are too large together")

    def without(self, labels: frozenset[str]) -> Detectors:
        """The same detectors, less those of these labels (which somebody may see)."""
        hidden = labels & self.labels
        if not hidden:
            return self
        narrowed = self._narrowed.get(hidden)
        if narrowed is None:
            narrowed = Detectors((), more=(detector for detector in self.detectors if detector.label not in hidden))
            self._narrowed[hidden] = narrowed
        return narrowed

    def with_defaults(self) -> Detectors:
        """These, and whatever runs by default: what goes on record is masked whatever is looked for in results."""
        names = {detector.name for detector in self.detectors}
        missing = [one for one in DETECTORS if one.name in DEFAULT and one.name not in names]
        return Detectors((), more=(*self.detectors, *missing)) if missing else self

    def hit(self, chunk: bytes | memoryview) -> bool:
        """Whether anything in these raw bytes deserves an exact look."""
        return bool(self._owners) and self._match(chunk) is not None

    def suspects(self, chunk: bytes) -> Suspects | None:
        """Who wants an exact look at the values in these raw bytes; None: nobody."""
        if not self._owners:
            return None
        matched = self._match(chunk)
        if not matched:
            return None
        key = tuple(matched)
        suspects = self._suspects.get(key)
        if suspects is None:
            owners = [owner for index in matched for owner in self._owners[index]]
            bits = [self._bits[index] for index in matched]
            suspects = Suspects(
                detectors=tuple(detector for detector in self.detectors if detector in owners),
                disguised=None in owners,
                plain=functools.reduce(operator.or_, bits) if self._closed and 0 not in bits else 0,
            )
            if len(self._suspects) < 1024:
                self._suspects[key] = suspects
        return suspects

    def familiar(self, chunk: bytes) -> Suspects | None:
        """What may want an exact look in raw bytes in which something will: all that `scan` knows. None: ask `suspects`. Where
        much is found this costs less than to say what."""
        if not self._familiar.plain or self._strange(chunk):
            return None
        return self._familiar

    def mask_bytes(self, value: bytes, suspects: Suspects | None = None) -> tuple[bytes, Counter[str]] | None:
        """The value with what is confidential replaced, and how often by label; None: nothing to replace.

        `suspects`: of a chunk that holds this value, where they are known already."""
        known: Suspects | None = suspects
        while True:
            fresh = known is None
            if known is None:
                known = self.suspects(value)
                if known is None:
                    return None
            if known.plain:
                place: int = self.place(value, 0, len(value), known.plain)
                if place == scan.NOTHING:
                    return None
                if place != scan.UNSURE:
                    label = scan.LABELS[place & 0xFF]
                    start = place >> 8 & 0xFFFFFFF
                    return value[:start] + self._redactions[label] + value[place >> 36 :], Counter({label: 1})
            # What is suspected in a row is, most often, of interest to one value of it.
            if fresh or (not known.disguised and len(known.detectors) == 1):
                return self.mask_exactly(value, known)
            known = None

    def place(self, data: bytes, start: i64, end: i64, plain: i64) -> i64:
        """What `scan.look` says of the value data[start:end], of which the prefilter has said `plain`; but a number that
        does not exist is nothing."""
        found: i64 = scan.look(data, start, end, plain)
        if found & 0xFF == scan.PHONE and found != scan.UNSURE:
            confirms = self._confirms
            first: i64 = start + (found >> 8 & 0xFFFFFFF)
            last: i64 = start + (found >> 36)
            if confirms is None:
                return scan.UNSURE
            if not confirms(data[first:last]):
                return scan.NOTHING
        return found

    def mask_exactly(self, value: bytes, suspects: Suspects) -> tuple[bytes, Counter[str]] | None:
        """`mask_bytes` by the detectors themselves: what `scan` is held to, and is asked where it is not sure."""
        found = _places(value, suspects.detectors)
        if not found and not suspects.disguised:
            return None
        counts: Counter[str] = Counter()
        masked = value
        # What replaces one value can end the word that hid the next, so what comes out is looked at again.
        for _ in range(_ROUNDS):
            if found:
                masked = self._replaced(masked, found, counts)
            if suspects.disguised and (hidden := self._hidden(masked)):
                counts[hidden[0][2].label] += 1
                return self._redactions[hidden[0][2].label], counts
            if not found:
                break
            left = self.suspects(masked)
            if left is None:
                break
            suspects = left
            found = _places(masked, suspects.detectors)
        else:
            return self._redactions[min(counts)], counts
        return (masked, counts) if counts else None

    def mask(self, text: str) -> tuple[str, Counter[str]]:
        """The text as it may be shown, and how often what was replaced, by label."""
        result = self.mask_bytes(text.encode("utf-8", "surrogatepass"))
        if result is None:
            return text, Counter()
        return result[0].decode("utf-8", "surrogatepass"), result[1]

    def spans(self, text: str) -> list[Span]:
        """Where in the text something confidential is, in order, without overlap."""
        value = text.encode("utf-8", "surrogatepass")
        suspects = self.suspects(value)
        if suspects is None:
            return []
        found = _places(value, suspects.detectors)
        if suspects.disguised:
            hidden = self._hidden(value)
            if len(hidden) > len(found):
                return [Span(0, len(text), hidden[0][2].label, hidden[0][2].name, whole=True)]
        spans: list[Span] = []
        characters = seen = 0
        for start, end, detector in found:
            characters += len(value[seen:start].decode("utf-8", "surrogatepass"))
            size = len(value[start:end].decode("utf-8", "surrogatepass"))
            spans.append(Span(characters, characters + size, detector.label, detector.name))
            characters += size
            seen = end
        return spans

    def places(self, value: bytes, suspects: Suspects) -> Places:
        """Where something confidential is in a value, in order and without overlap."""
        return _places(value, suspects.detectors)

    def hidden(self, value: bytes) -> str:
        """The label of what only the plain reading of a masked value holds; "" if there is nothing."""
        found = self._hidden(value)
        return found[0][2].label if found else ""

    def _hidden(self, value: bytes) -> list[tuple[int, int, Detector]]:
        """What the plain reading of a value holds."""
        reading = plain(value)
        suspects = self.suspects(reading)
        return [] if suspects is None else _places(reading, suspects.detectors)

    def _replaced(self, value: bytes, found: list[tuple[int, int, Detector]], counts: Counter[str]) -> bytes:
        parts: list[bytes] = []
        end = 0
        for start, stop, detector in found:
            parts.append(value[end:start])
            parts.append(self._redactions[detector.label])
            counts[detector.label] += 1
            end = stop
        parts.append(value[end:])
        return b"".join(parts)


def _places(value: bytes, detectors: tuple[Detector, ...]) -> list[tuple[int, int, Detector]]:
    """Where something confidential is, in order and without overlap."""
    found: list[tuple[int, int, Detector]] = []
    size = len(value)
    for detector in detectors:
        if size >= detector.least and (not detector.needs or detector.needs in value):
            for start, end in detector.find(value):
                found.append((start, end, detector))
    if len(found) < 2:
        return found
    found.sort(key=lambda place: (place[0], -place[1]))
    merged = [found[0]]
    for start, end, detector in found[1:]:
        last = merged[-1]
        if start < last[1]:  # overlapping: mask both, under the name of the first and longest
            merged[-1] = (last[0], max(last[1], end), last[2])
        else:
            merged.append((start, end, detector))
    return merged
