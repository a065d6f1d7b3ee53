"""Private keys in PEM (RFC 7468, OpenSSH, OpenPGP): from the BEGIN line to the END line, or to the end of the value."""

from __future__ import annotations

from collections.abc import Iterator

import re2

from doorward.masking.detectors import Detector, Place

_BEGIN = r"-----BEGIN (?:[A-Z0-9]+ ){0,4}PRIVATE KEY(?: BLOCK)?-----"
_BLOCK = re2.compile(rf"(?s){_BEGIN}(?:.*?-----END (?:[A-Z0-9]+ ){{0,4}}PRIVATE KEY(?: BLOCK)?-----|.*)")


def _find(value: bytes) -> Iterator[Place]:
    for match in _BLOCK.finditer(value):
        yield match.span()


_KEY = "-----BEGIN " + "PRIVATE KEY-----\nMC4CAQAwBQYDK2VwBCIEIAAB\n-----END PRIVATE KEY-----"
_OPENSSH = "-----BEGIN " + "OPENSSH PRIVATE KEY-----\nb3BlbnNzaC1rZXktdjEAAAAA"
EXAMPLES: tuple[tuple[str, str], ...] = (
    (_KEY, _KEY),
    (f"key: {_KEY} end", _KEY),
    (_OPENSSH, _OPENSSH),
    (_KEY.replace("PRIVATE", "RSA PRIVATE"), _KEY.replace("PRIVATE", "RSA PRIVATE")),
)
COUNTEREXAMPLES: tuple[str, ...] = (
    "-----BEGIN PUBLIC KEY-----\nMCowBQYDK2VwAyEA\n-----END PUBLIC KEY-----",
    "-----BEGIN CERTIFICATE-----",
    "PRIVATE KEY",
)
DETECTOR = Detector(
    "private_key", "private_key", (_BEGIN,), _find, EXAMPLES, COUNTEREXAMPLES, needs=b"PRIVATE KEY"
)
