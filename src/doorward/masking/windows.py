"""A value too long to be held, looked at through windows that overlap: as much of it at a time as detectors need to see.

Contract: `feed` takes the value in pieces and returns what of it may be shown so far, `finish` the rest. What the detectors
would find in the whole value is masked, if it and what they look at beside it take no more than REACH bytes: any such place
lies whole within one window, and where it stands in two it is found in both. What is longer, but found from where it begins
to the end of a window (a private key without its last line), hides all that follows it. Where only the plain reading of a
window says something, the whole window is replaced, as a short value would be. A longer match of any other form is not seen:
a token of more than REACH bytes, or what a pattern of one's own finds only by its end.

Memory: two windows. It deliberately knows nothing of what a value is: a document that must stay well-formed is its caller's.
"""

from __future__ import annotations

from collections import Counter
from typing import Final

from doorward.masking.detect import Detectors, Places, Suspects
from doorward.masking.detectors import redaction

WINDOW: Final = 128 << 10  # bytes that are looked at anew each time
REACH: Final = 32 << 10  # bytes before and behind them that are looked at, too
# What `scan` knows is short: in a window, who finds it looks only where the prefilter saw something, and at what is beside it.
BLOCK: Final = 16 << 10
BESIDE: Final = 3 << 10
_ROUNDS: Final = 4


class Windows:
    """One value on its way. `cells`: what was found, by label."""

    def __init__(
        self, detectors: Detectors, *, window: int = WINDOW, reach: int = REACH, block: int = BLOCK, beside: int = BESIDE
    ) -> None:
        self.cells: Counter[str] = Counter()
        self._detectors = detectors
        self._window = window
        self._reach = reach
        self._block = block
        self._beside = beside
        self._held: list[bytes] = []
        self._size = 0
        self._start = 0  # where in what is held that begins which was not given out yet
        self._over = False  # something began whose end nobody has seen: nothing more is shown

    def feed(self, piece: bytes) -> bytes:
        """What may be shown, now that this is known."""
        if self._over:
            return b""
        out: list[bytes] = []
        for first in range(0, len(piece), self._window):
            part = piece[first : first + self._window]
            self._held.append(part)
            self._size += len(part)
            if self._size - self._start >= self._window + self._reach and not self._over:
                out.append(self._look(last=False))
        return b"".join(out)

    def finish(self) -> bytes:
        """The end of the value."""
        return b"" if self._over else self._look(last=True)

    def _look(self, *, last: bool) -> bytes:
        window = b"".join(self._held)
        start = self._start
        stop = len(window) if last else len(window) - self._reach
        suspects = self._detectors.suspects(window)
        if suspects is None:
            shown = window[start:stop]
        else:
            found = self._places(window, suspects)
            for begin, end, detector in found:
                if last or not begin < stop < end:
                    continue
                if begin > start:
                    stop = begin  # it is seen again, whole
                elif end < len(window):
                    stop = end
                else:
                    self._over = True
                    self._held.clear()
                    self.cells[detector.label] += 1
                    return redaction(detector.label).encode()
                break
            shown = self._shown(window, start, stop, suspects, found)
        kept = max(0, stop - self._reach)
        self._held = [window[kept:]]
        self._size = len(window) - kept
        self._start = stop - kept
        return shown

    def _places(self, window: bytes, suspects: Suspects) -> Places:
        """Where in the window something is."""
        detectors = self._detectors
        if not suspects.plain or len(window) <= self._block:
            return detectors.places(window, suspects)
        found: Places = []
        done = 0
        for start in range(0, len(window), self._block):
            first = max(0, start - self._beside)
            block = window[first : start + self._block + self._beside]
            seen = detectors.suspects(block)
            for begin, end, detector in [] if seen is None else detectors.places(block, seen):
                if first + end > max(done, start) and first + begin < start + self._block:
                    found.append((max(first + begin, done), first + end, detector))
                    done = first + end
        return found

    def _shown(self, text: bytes, start: int, stop: int, suspects: Suspects, found: Places) -> bytes:
        """What window[start:stop] becomes. All of the window is masked, as `Detectors.mask_exactly` does with a value."""
        detectors = self._detectors
        counts: Counter[str] = Counter()
        for _ in range(_ROUNDS):
            if found:
                text, start, stop = _replaced(text, start, stop, found, counts)
            if suspects.disguised and (label := detectors.hidden(text)):
                self.cells[label] += 1
                return redaction(label).encode()
            if not found:
                break
            left = detectors.suspects(text)
            if left is None:
                break
            suspects, found = left, self._places(text, left)
        else:
            label = found[0][2].label if found else min(counts)
            self.cells[label] += 1
            return redaction(label).encode()
        self.cells.update(counts)
        return text[start:stop]


def _replaced(text: bytes, start: int, stop: int, found: Places, counts: Counter[str]) -> tuple[bytes, int, int]:
    """The text with every place replaced, and where text[start:stop] now is; what is partly in it is within it."""
    parts: tuple[list[bytes], list[bytes], list[bytes]] = ([], [], [])
    bounds = ((0, start), (start, stop), (stop, len(text)))
    done = 0
    for begin, end, detector in [*found, (len(text), len(text), None)]:
        for part, (low, high) in zip(parts, bounds, strict=True):
            if max(done, low) < min(begin, high):
                part.append(text[max(done, low) : min(begin, high)])
        if detector is not None:
            where = 0 if end <= start else 1 if begin < stop else 2
            parts[where].append(redaction(detector.label).encode())
            if where == 1:
                counts[detector.label] += 1
        done = end
    before, within, behind = (b"".join(part) for part in parts)
    return before + within + behind, len(before), len(before) + len(within)
