"""IP addresses: version 4 (RFC 791, dotted decimal) and version 6 (RFC 4291 section 2.2), with or without a prefix length.

Off unless it is asked for: to most agents an address names a machine and is what they work with, and a version of four
numbers cannot be told from one. Where addresses are of people (GDPR recital 30), switch it on. Loopback, unspecified
and documentation addresses, masks and networks of a whole class say nothing of anybody and are left alone.
"""

from __future__ import annotations

import ipaddress
import re
from collections.abc import Iterator

from doorward.masking.detectors import WORD, Detector, Place

_V4 = re.compile(rb"[0-9]{1,3}(?:\.[0-9]{1,3}){3}(?:/[0-9]{1,2})?")
_V6 = re.compile(rb"(?:[0-9A-Fa-f]{1,4}:){1,7}[0-9A-Fa-f:.]{1,30}|::[0-9A-Fa-f:.]{1,30}")
_DIGIT = re.compile(r"[0-9]")  # a::b is C++ sooner than an address
_VERSION_BEFORE = re.compile(rb"(?i)(?:\b(?:v|ver|version|release|rev|build)[ .:=]{0,3}|[a-z/_-])$")
_QUIET = tuple(
    ipaddress.ip_network(said)
    for said in (
        "0.0.0.0/8", "127.0.0.0/8", "255.0.0.0/8", "192.0.2.0/24", "198.51.100.0/24", "203.0.113.0/24", "::/127",
        "2001:db8::/32", "fe80::/10",
    )
)  # fmt: skip


def _find(value: bytes) -> Iterator[Place]:
    for pattern in (_V4, _V6):
        for match in pattern.finditer(value):
            start, end = match.span()
            text = match.group().decode("ascii").rstrip(":.")
            end = start + len(text)
            if not _alone(value, start, end) or not _DIGIT.search(text):
                continue
            try:
                address = ipaddress.ip_address(text.partition("/")[0])
            except ValueError:
                continue
            if any(address in network for network in _QUIET):
                continue
            if pattern is _V4 and _VERSION_BEFORE.search(value[max(0, start - 12) : start]):
                continue
            yield start, end


def _alone(value: bytes, start: int, end: int) -> bool:
    if start > 0 and (value[start - 1] in WORD or value[start - 1] in b".:"):
        return False
    return not (end < len(value) and (value[end] in WORD or (value[end] in b".:-" and value[end + 1 : end + 2].isalnum())))


EXAMPLES: tuple[tuple[str, str], ...] = (
    ("10.20.30.40", "10.20.30.40"),
    ("from 82.165.8.211 port", "82.165.8.211"),
    ("82.165.8.211.", "82.165.8.211"),
    ("172.16.0.0/12", "172.16.0.0/12"),
    ("2a02:8071:2cb::17", "2a02:8071:2cb::17"),
    ("[2a02:8071:2cb:0:1:2:3:4]", "2a02:8071:2cb:0:1:2:3:4"),
    ("ip=::ffff:82.165.8.211", "::ffff:82.165.8.211"),
)
COUNTEREXAMPLES: tuple[str, ...] = (
    "127.0.0.1",
    "0.0.0.0/0",
    "255.255.255.0",
    "1.2.3",
    "1.2.3.4.5",
    "v1.2.3.4",
    "version 10.0.19041.1",
    "300.1.2.3",
    "2001:db8::1",
    "06:30:00",
    "00:1b:44:11:3a:b7",
    "x::text",
    "a::b",
    "2024-11-23T06:30:00",
    "std::string",
)
DETECTOR = Detector(
    "ip",
    "ip",
    (r"[0-9]\.[0-9]{1,3}\.[0-9]{1,3}\.[0-9]", r"::[0-9A-Fa-f]|:[0-9A-Fa-f]{1,4}:[0-9A-Fa-f]{1,4}:[0-9A-Fa-f]{0,4}:"),
    _find,
    EXAMPLES,
    COUNTEREXAMPLES,
    3,
)
