"""COPY data on its way to the target, as the record keeps it: whole lines, masked.

A value that detectors would find may be split between two CopyData messages; each half alone looks harmless. So what is
recorded is cut at line ends only. A line that is too long to be held is recorded as its length, and binary data, whose
values cannot be told apart here, as its length too.

What a line says is not always what it looks like: text has escapes (`\\064` is a 4), CSV has quotes in the middle of a
value. A line in which detectors find something only so, as the server reads it, is recorded as its length.
"""

from __future__ import annotations

from typing import Final

from doorward.masking.detect import Detectors
from doorward.protocols.postgres.redact_copy import unescaped
from doorward.sql.classification import Copy

LONGEST: Final = 64 * 1024  # bytes of a line that is held
LINES: Final = 12 << 10  # bytes that are looked at together


class CopiedIn:
    """One COPY FROM STDIN, as its statement said that it would be; None, or binary, has no lines."""

    __slots__ = ("_binary", "_detectors", "_dropped", "_marks", "_tail")

    def __init__(self, copy: Copy | None, detectors: Detectors) -> None:
        self._binary = copy is None or copy.format == "binary"
        self._marks = b""  # of CSV: what stands around values, and before what belongs to one
        if copy is not None and copy.format == "csv":
            self._marks = ((copy.quote or '"') + (copy.escape or copy.quote or '"')).encode()
        self._detectors = detectors
        self._tail = b""
        self._dropped = 0

    def feed(self, payload: bytes) -> bytes:
        """What of the data so far can be recorded now."""
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
        return said + self._masked(held[:cut])

    def finish(self) -> bytes:
        """The rest, at the end of the data."""
        if self._binary:
            return b"[%d bytes of binary COPY data]" % self._dropped
        if self._dropped:
            return b"[a line of %d bytes]" % self._dropped
        return self._masked(self._tail)

    def _masked(self, lines: bytes) -> bytes:
        detectors = self._detectors
        if len(lines) > LINES and (detectors.hit(lines) or detectors.hit(self._says(lines))):
            # At the end of a long line somebody may have to look for long.
            return b"[%d bytes, withheld]\n" % len(lines)
        masked = detectors.mask_bytes(lines)
        kept = lines if masked is None else masked[0]
        if self._harmless(kept):
            return kept
        return b"".join(
            line if self._harmless(line) else b"[a line of %d bytes]\n" % len(line) for line in kept.splitlines(keepends=True)
        )

    def _harmless(self, kept: bytes) -> bool:
        """Whether what is to be recorded holds nothing, read as the server reads it."""
        says = self._says(kept)
        return says is kept or self._detectors.mask_bytes(says) is None

    def _says(self, raw: bytes) -> bytes:
        """Fields as they are meant; `raw` itself where they are written so."""
        if not self._marks:
            return unescaped(raw)
        plain = raw.translate(None, self._marks)
        return raw if len(plain) == len(raw) else plain
