"""A value too long to be held, looked at through windows that overlap: as much of it at a time as detectors need to see.

Contract: `feed` takes the value in pieces and returns what of it may be shown so far, `finish` the rest. What the detectors
would find in the whole value is masked, if it and what they look at beside it take no more than REACH bytes: any such place
lies whole within one window, and where it stands in two it is found in both. What is longer, but found from where it begins
to the end of a window (a private key without its last line), hides all that follows it. Where only the plain reading of a
window says something, the whole window is replaced, as a short value would be. A longer match of any other form is not seen:
a token of more than REACH bytes, or what a pattern of one's own finds only by its end.

A Windows keeps what has come, and says when a window is due; `look` is a pure function of that window, so that it can be
called anywhere, and `seen` takes what it said. Memory: two windows. It deliberately knows nothing of what a value is: a
document that must stay well-formed is its caller's.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from typing import Final, NamedTuple

from doorward.masking.detect import Detectors, Places, Suspects
from doorward.masking.detectors import redaction

WINDOW: Final = 128 << 10  # bytes that are looked at anew each time
REACH: Final = 32 << 10  # bytes before and behind them that are looked at, too
# What `scan` knows is short: in a window, who finds it looks only where the prefilter saw something, and at what is beside it.
BLOCK: Final = 16 << 10
BESIDE: Final = 3 << 10
_ROUNDS: Final = 4


class Window(NamedTuple):
    """What is looked at together. From `start` on it was not given out yet; `last`: the value ends with it."""

    text: bytes
    start: int
    last: bool


class Seen(NamedTuple):
    """What may be `shown` of a window up to `stop`, and what was `found`, by label. `over`: something began whose end nobody
    has seen, and nothing more is shown."""

    shown: bytes
    stop: int
    found: Mapping[str, int]
    over: bool = False


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

    @property
    def room(self) -> int:
        """How many more bytes are taken before a window is due; 0: one is."""
        return self._window if self._over else max(0, self._window + self._reach - (self._size - self._start))

    def hold(self, piece: bytes) -> None:
        """Take more of the value, `room` bytes at most."""
        if not self._over:
            self._held.append(piece)
            self._size += len(piece)

    def due(self, *, last: bool) -> Window | None:
        """The window that is to be looked at; None: nothing more is shown, whatever comes."""
        return None if self._over else Window(b"".join(self._held), self._start, last)

    def seen(self, window: Window, seen: Seen) -> bytes:
        """What may be shown, now that the window that was due has been looked at."""
        self.cells.update(seen.found)
        if seen.over:
            self._over = True
            self._held.clear()
            return seen.shown
        kept = max(0, seen.stop - self._reach)
        self._held = [window.text[kept:]]
        self._size = len(window.text) - kept
        self._start = seen.stop - kept
        return seen.shown

    def feed(self, piece: bytes) -> bytes:
        """What may be shown, now that this is known, too; looked at here."""
        out: list[bytes] = []
        position = 0
        while position < len(piece):
            step = self.room
            self.hold(piece[position : position + step])
            position += step
            if self.room == 0:
                out.append(self._look(last=False))
        return b"".join(out)

    def finish(self) -> bytes:
        """The end of the value."""
        return self._look(last=True)

    def _look(self, *, last: bool) -> bytes:
        window = self.due(last=last)
        if window is None:
            return b""
        seen = look(self._detectors, window, reach=self._reach, block=self._block, beside=self._beside)
        return self.seen(window, seen)


def look(detectors: Detectors, window: Window, *, reach: int = REACH, block: int = BLOCK, beside: int = BESIDE) -> Seen:
    """What may be shown of a window."""
    text, start, last = window
    stop = len(text) if last else len(text) - reach
    suspects = detectors.suspects(text)
    if suspects is None:
        return Seen(text[start:stop], stop, {})
    found = _places(detectors, text, suspects, block, beside)
    for begin, end, detector in found:
        if last or not begin < stop < end:
            continue
        if begin > start:
            stop = begin  # it is seen again, whole
        elif end < len(text):
            stop = end
        else:
            return Seen(redaction(detector.label).encode(), len(text), {detector.label: 1}, over=True)
        break
    counts: Counter[str] = Counter()
    shown = text
    first, behind = start, stop
    # All of the window is masked, as `Detectors.mask_exactly` does with a value.
    for _ in range(_ROUNDS):
        if found:
            shown, first, behind = _replaced(shown, first, behind, found, counts)
        if suspects.disguised and (label := detectors.hidden(shown)):
            return Seen(redaction(label).encode(), stop, {label: 1})
        if not found:
            break
        left = detectors.suspects(shown)
        if left is None:
            break
        suspects, found = left, _places(detectors, shown, left, block, beside)
    else:
        label = found[0][2].label if found else min(counts)
        return Seen(redaction(label).encode(), stop, {label: 1})
    return Seen(shown[first:behind], stop, counts)


def _places(detectors: Detectors, window: bytes, suspects: Suspects, block: int, beside: int) -> Places:
    """Where in the window something is."""
    if not suspects.plain or len(window) <= block:
        return detectors.places(window, suspects)
    found: Places = []
    done = 0
    for start in range(0, len(window), block):
        first = max(0, start - beside)
        part = window[first : start + block + beside]
        seen = detectors.suspects(part)
        for begin, end, detector in [] if seen is None else detectors.places(part, seen):
            if first + end > max(done, start) and first + begin < start + block:
                found.append((max(first + begin, done), first + end, detector))
                done = first + end
    return found


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
