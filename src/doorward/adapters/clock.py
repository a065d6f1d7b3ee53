"""The one real clock: the only file that reads the time or makes identifiers.

UUIDv7 after RFC 9562, section 5.7 with method 1 of 6.2: 48 bits of Unix ms, then a counter in `rand_a` that starts
afresh each millisecond, then 62 random bits. A clock that steps back keeps the last millisecond, so identifiers of one
process always sort in the order they were made. It does not correct the system's clock.
"""

from __future__ import annotations

import secrets
import threading
import time


class SystemClock:
    """Satisfies `guard.ports.Clock`. Safe to use from any thread."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._last = 0
        self._counter = 0

    def now(self) -> int:
        return time.time_ns() // 1_000_000

    def monotonic(self) -> float:
        return time.monotonic()

    def new_id(self) -> str:
        with self._lock:
            at = max(self.now(), self._last)
            if at > self._last:
                self._counter = secrets.randbits(8)  # leaves room to count 3,840 more in this millisecond
            else:
                self._counter += 1
                if self._counter > 0xFFF:  # more in one millisecond than fit: borrow the next
                    at, self._counter = at + 1, 0
            self._last = at
            counter = self._counter
        tail = 0x8000_0000_0000_0000 | secrets.randbits(62)
        digits = f"{at & 0xFFFF_FFFF_FFFF:012x}7{counter:03x}{tail:016x}"
        return f"{digits[:8]}-{digits[8:12]}-{digits[12:16]}-{digits[16:20]}-{digits[20:]}"
