"""Payment card numbers (ISO/IEC 7812): an issuer's range, a length that it uses, and the Luhn check digit.

Digits may stand together or in one of the usual groupings. Numbers of issuers that no
card scheme publishes are not cards; neither are the digits of floats, UUIDs and longer numbers.
"""

from __future__ import annotations

import re
from collections.abc import Iterator

from doorward.masking.detectors import LONG_NUMBER, Detector, Place, continues_number, stands_alone

_RUN = re.compile(rb"[0-9](?:[ ._/-]?[0-9]){12,}")
_GROUPS = re.compile(rb"[0-9]+")

# First digits (at most four) as a range, and the lengths that the scheme uses with them.
RANGES: tuple[tuple[int, int, frozenset[int]], ...] = (
    (4, 4, frozenset({13, 16, 19})),  # Visa
    (51, 55, frozenset({16})),  # Mastercard
    (2221, 2720, frozenset({16})),  # Mastercard
    (34, 34, frozenset({15})),  # American Express
    (37, 37, frozenset({15})),
    (300, 305, frozenset({14, 16})),  # Diners Club
    (3095, 3095, frozenset({14, 16})),
    (36, 36, frozenset({14, 16})),
    (38, 39, frozenset({14, 16})),
    (6011, 6011, frozenset({16, 19})),  # Discover
    (644, 649, frozenset({16, 19})),
    (65, 65, frozenset({16, 19})),
    (3528, 3589, frozenset({16, 19})),  # JCB
    (62, 62, frozenset({16, 17, 18, 19})),  # UnionPay
    (5018, 5018, frozenset({13, 15, 16, 18, 19})),  # Maestro
    (5020, 5020, frozenset({13, 15, 16, 18, 19})),
    (5038, 5038, frozenset({13, 15, 16, 18, 19})),
    (5893, 5893, frozenset({13, 15, 16, 18, 19})),
    (6304, 6304, frozenset({13, 15, 16, 18, 19})),
    (6759, 6763, frozenset({13, 15, 16, 18, 19})),
    (2200, 2204, frozenset({16, 17, 18, 19})),  # Mir
    (508, 508, frozenset({16})),  # RuPay
    (60, 60, frozenset({16})),
    (81, 82, frozenset({16})),
    (9792, 9792, frozenset({16})),  # Troy
    (5019, 5019, frozenset({16})),  # Dankort
    (5060, 5061, frozenset({16, 18, 19})),  # Verve
    (5066, 5067, frozenset({16})),  # Elo
    (509, 509, frozenset({16})),
    (636, 636, frozenset({16, 17, 18, 19})),  # Elo, InterPayment
    (637, 639, frozenset({16})),  # InstaPayment
)
LAYOUTS = frozenset(
    {(4, 4, 4, 4), (4, 4, 4, 4, 3), (4, 6, 5), (4, 6, 4), (4, 4, 4, 1), (4, 4, 5), (6, 10), (6, 13), (8, 8), (4, 12)}
)


def _schemes() -> bytes:
    """By the first four digits: which lengths a card of that scheme has, from bit 0 for 13."""
    lengths = bytearray(10_000)
    for first, last, sizes in RANGES:
        unit = 10 ** (4 - len(str(first)))
        for number in range(first * unit, (last + 1) * unit):
            for size in sizes:
                lengths[number] |= 1 << (size - 13)
    return bytes(lengths)


SCHEMES: bytes = _schemes()


def luhn(digits: str) -> bool:
    """ISO/IEC 7812-1 Annex B."""
    total = 0
    for place, digit in enumerate(reversed(digits)):
        number = ord(digit) - 48
        if place & 1:
            number = number * 2 - 9 if number > 4 else number * 2
        total += number
    return total % 10 == 0


def is_card(digits: str) -> bool:
    """Whether these ASCII digits are a card number of a known scheme."""
    size = len(digits)
    if size < 13 or size > 19 or not SCHEMES[int(digits[:4])] >> (size - 13) & 1:
        return False
    return len(set(digits)) > 1 and luhn(digits) and not (size == 13 and _is_barcode(digits))


def _is_barcode(digits: str) -> bool:
    """Whether 13 digits are an EAN-13 by their check digit (GS1 General Specifications, 7.9). Goods of a whole country begin
    with 40 to 44 or 49; cards have not been issued with 13 digits for a generation, and one in ten of those is lost."""
    return sum(int(digit) * (3 if place & 1 else 1) for place, digit in enumerate(digits)) % 10 == 0


def _find(value: bytes) -> Iterator[Place]:
    for run in _RUN.finditer(value):
        groups: list[Place] = [(run.start() + g.start(), run.start() + g.end()) for g in _GROUPS.finditer(run.group())]
        first = 0
        while first < len(groups):
            found = 0
            for count in range(min(5, len(groups) - first), 0, -1):
                window = groups[first : first + count]
                start, end = window[0][0], window[-1][1]
                sizes = tuple([b - a for a, b in window])
                if sum(sizes) < 13 or (count > 1 and sizes not in LAYOUTS):
                    continue
                digits = b"".join(value[a:b] for a, b in window).decode("ascii")
                if not is_card(digits) or not stands_alone(value, start, end) or continues_number(value, start, end):
                    continue
                yield start, end
                found = count
                break
            first += found or 1


EXAMPLES: tuple[tuple[str, str], ...] = (
    ("4111111111111111", "4111111111111111"),
    ("card 4111 1111 1111 1111 thanks", "4111 1111 1111 1111"),
    ("5555-5555-5555-4444", "5555-5555-5555-4444"),
    ("2223003122003222", "2223003122003222"),
    ("(378282246310005)", "378282246310005"),
    ("3782 822463 10005", "3782 822463 10005"),
    ("6011111111111117.", "6011111111111117"),
    ("3530111333300000", "3530111333300000"),
    ("30569309025904", "30569309025904"),
    ("6200000000000005", "6200000000000005"),
    ("no 17 4242 4242 4242 4242", "4242 4242 4242 4242"),
    ('{"pan":4012888888881881,"cvv":1}', "4012888888881881"),
    ("4111.1111.1111.1111", "4111.1111.1111.1111"),
    ("{4111111111111111,7}", "4111111111111111"),
    ("elo 6362 9700 0045 7013", "6362 9700 0045 7013"),
    ("5067310000000010", "5067310000000010"),
    ("5019717010103742", "5019717010103742"),
    ("5060990580000217499", "5060990580000217499"),
    ("4222222222222", "4222222222222"),
)
COUNTEREXAMPLES: tuple[str, ...] = (
    "4111111111111112",
    "4006381333924",
    "1732353600000",
    "1732353600000000",
    "20241123063000",
    "2024-11-23 06:30:00.123456+00",
    "0.4111111111111111",
    "4111111111111111.5",
    "41111111-1111-4111-8111-111111111111",
    "00000000-0000-0000-0000-000000000000",
    "4444444444444444",
    "0000000000000000",
    "a4111111111111111b",
    "3f786850e387550fdab836ed7e6dc881de23001b",
    "411111111111111111111111111111111111111111",
    "192.168.100.101 192.168.100.102",
    "9223372036854775807",
    "3.141592653589793238",
)
DETECTOR = Detector("card", "card", (LONG_NUMBER,), _find, EXAMPLES, COUNTEREXAMPLES, 13)
