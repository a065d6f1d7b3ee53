"""COPY data on its way to the target, as the record keeps it: whole lines, so that no confidential value is cut in two.

A value that detectors would find may be split between two CopyData messages; each half alone looks harmless. So what is
recorded is cut at line ends only. A line that is too long to be held is recorded as its length, and binary data, whose
values cannot be told apart here, as its length too.
"""

from __future__ import annotations

from typing import Final

LONGEST: Final = 64 * 1024  # bytes of a line that is held


class CopiedIn:
    """One COPY FROM STDIN. `binary` data has no lines."""

    __slots__ = ("_binary", "_dropped", "_tail")

    def __init__(self, *, binary: bool) -> None:
        self._binary = binary
        self._tail = b""
        self._dropped = 0

    def feed(self, payload: bytes) -> bytes:
        """What of the data so far can be recorded now; the caller masks it."""
        if self._binary:
            self._dropped += len(payload)
            return b""
        said = b""
        if self._dropped:
            end = payload.find(b"\n")
            if end < 0:
                self._dropped += len(payload)
                return b""
            said = b"[a line of %d bytes]\n" % (self._dropped + end)
            self._dropped = 0
            payload = payload[end + 1 :]
        held = self._tail + payload
        cut = held.rfind(b"\n") + 1
        self._tail = held[cut:]
        if len(self._tail) > LONGEST:
            self._dropped, self._tail = len(self._tail), b""
        return said + held[:cut]

    def finish(self) -> bytes:
        """The rest, at the end of the data."""
        if self._binary:
            return b"[%d bytes of binary COPY data]" % self._dropped
        if self._dropped:
            return b"[a line of %d bytes]" % self._dropped
        return self._tail
