"""JSON Web Tokens in compact form (RFC 7519 over RFC 7515 and RFC 7516): a header that begins with a JSON object."""

from __future__ import annotations

from collections.abc import Iterator

import re2

from doorward.masking.detectors import Detector, Place

_TOKEN = re2.compile(r"ey[IJ][A-Za-z0-9_-]{8,}\.[A-Za-z0-9_-]{2,}\.[A-Za-z0-9_-]*(?:\.[A-Za-z0-9_-]+){0,2}")


def _find(value: bytes) -> Iterator[Place]:
    for match in _TOKEN.finditer(value):
        yield match.span()


_SAMPLE = "eyJ" + "hbGciOiJIUzI1NiIsInR5cCI6IkpXVCJ9.eyJzdWIiOiIxMjM0NTY3ODkwIn0.dozjgNryP4J3jVmNHl0w5N_XgL0n3I9P"
_UNSIGNED = "eyJ" + "hbGciOiJub25lIn0.eyJzdWIiOiJib2IifQ."
EXAMPLES: tuple[tuple[str, str], ...] = (
    (_SAMPLE, _SAMPLE),
    (f"Authorization: Bearer {_SAMPLE}", _SAMPLE),
    (_UNSIGNED, _UNSIGNED),
)
COUNTEREXAMPLES: tuple[str, ...] = (
    "eyJhbGciOiJub25lIn0",
    "eyJ.eyJ.x",
    "keys.of.the.house",
    "some.dotted.name",
)
DETECTOR = Detector(
    "jwt",
    "jwt",
    (r"ey[IJ][A-Za-z0-9_-]{8,}\.[A-Za-z0-9_-]{2,}\.",),
    _find,
    EXAMPLES,
    COUNTEREXAMPLES,
    needs=b"ey",
)
