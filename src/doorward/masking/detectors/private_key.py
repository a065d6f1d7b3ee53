"""Private keys: PEM (RFC 7468, OpenSSH, OpenPGP), SSH2 (RFC 4716) and PuTTY, from their first line to their last, or to
the end of the value; PEM in base 64, as Kubernetes keeps it; the private part of a JSON Web Key (RFC 7517)."""

from __future__ import annotations

from collections.abc import Iterator

import re2

from doorward.masking.detectors import Detector, Place

_BEGIN = r"-----BEGIN (?:[A-Z0-9]+ ){0,4}PRIVATE KEY(?: BLOCK)?-----"
_BLOCK = re2.compile(rf"(?s){_BEGIN}(?:.*?-----END (?:[A-Z0-9]+ ){{0,4}}PRIVATE KEY(?: BLOCK)?-----|.*)")
_SSH2 = re2.compile(r"(?s)---- BEGIN SSH2 (?:ENCRYPTED )?PRIVATE KEY ----(?:.*?---- END SSH2 [A-Z ]{0,10}PRIVATE KEY ----|.*)")
_PUTTY = re2.compile(r"(?s)PuTTY-User-Key-File-[123]: .*?Private-(?:MAC|Hash): [0-9a-f]*|PuTTY-User-Key-File-[123]: .*")
# "-----BEGIN " and what may follow, from where base 64 is in step again.
_BASE64_KINDS = "QUklWQVRFIEtFW|SU0EgUFJJVkFURS|FQyBQUklWQVRF|EU0EgUFJJVkFURS|PUEVOU1NIIFBSSVZBVE|FTkNSWVBURUQgUFJJVkFURS"
_BASE64 = re2.compile(rf"LS0tLS1CRUdJTiB(?:{_BASE64_KINDS})[A-Za-z0-9+/\s]*={{0,2}}")
_JWK = re2.compile(r'"kty"\s*:[^{}]*?"(?:d|k)"\s*:\s*"([A-Za-z0-9_-]{16,})"|"d"\s*:\s*"([A-Za-z0-9_-]{16,})"[^{}]*"kty"\s*:')


def _find(value: bytes) -> Iterator[Place]:
    if b"PRIVATE KEY-" in value or b"PRIVATE KEY " in value:
        for pattern in (_BLOCK, _SSH2):
            for match in pattern.finditer(value):
                yield match.span()
    for pattern in (_PUTTY, _BASE64):
        for match in pattern.finditer(value):
            yield match.span()
    for match in _JWK.finditer(value):
        yield match.span(1 if match.start(1) >= 0 else 2)


_KEY = "-----BEGIN " + "PRIVATE KEY-----\nMC4CAQAwBQYDK2VwBCIEIAAB\n-----END PRIVATE KEY-----"
_OPENSSH = "-----BEGIN " + "OPENSSH PRIVATE KEY-----\nb3BlbnNzaC1rZXktdjEAAAAA"
_SSH2_KEY = "---- BEGIN SSH2 ENCRYPTED " + "PRIVATE KEY ----\nP2/56wAAA\n---- END SSH2 ENCRYPTED PRIVATE KEY ----"
_PUTTY_KEY = "PuTTY-User-" + "Key-File-2: ssh-ed25519\nEncryption: none\nPrivate-Lines: 1\nAAAAIA==\nPrivate-MAC: 0a1b"
_BASE64_KEY = "LS0tLS1CRUdJTiB" + "SU0EgUFJJVkFURSBLRVktLS0tLQpNSUlFcEFJQkFB"
EXAMPLES: tuple[tuple[str, str], ...] = (
    (_KEY, _KEY),
    (f"key: {_KEY} end", _KEY),
    (_OPENSSH, _OPENSSH),
    (_SSH2_KEY, _SSH2_KEY),
    (_PUTTY_KEY, _PUTTY_KEY),
    (f"tls.key: {_BASE64_KEY}", _BASE64_KEY),
    ('{"kty":"OKP","crv":"Ed25519","d":"nWGxne_9WmC6hEr0kuwsxERJxWl7","x":"11qYAYK"}', "nWGxne_9WmC6hEr0kuwsxERJxWl7"),
    (_KEY.replace("PRIVATE", "RSA PRIVATE"), _KEY.replace("PRIVATE", "RSA PRIVATE")),
)
COUNTEREXAMPLES: tuple[str, ...] = (
    "-----BEGIN PUBLIC KEY-----\nMCowBQYDK2VwAyEA\n-----END PUBLIC KEY-----",
    "-----BEGIN CERTIFICATE-----",
    "PRIVATE KEY",
    '{"kty":"OKP","crv":"Ed25519","x":"11qYAYKxCrfVS_7TyWQHOg"}',
    "LS0tLS1CRUdJTiBDRVJUSUZJQ0FURS0tLS0tCk1JSUM",
    '{"d":"2024-11-23T06:30:00Z","e":1}',
)
DETECTOR = Detector(
    "private_key",
    "private_key",
    (rf"{_BEGIN}|---- BEGIN SSH2 |PuTTY-User-Key-File-|LS0tLS1CRUdJTiB(?:{_BASE64_KINDS})", r'"kty"\s*:'),
    _find,
    EXAMPLES,
    COUNTEREXAMPLES,
    16,
)
