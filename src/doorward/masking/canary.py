r"""Canaries: values that are planted to see where they come out, and every spelling in which they might.

Contract: `Canaries` finds given values in any bytes, as they are or in a reversible spelling (`SPELLINGS`); `marks`
gives the values that one proof plants. Those follow from the proof's id, so that whoever has the id can look for them
later and nobody has to keep them. Sightings name a canary and a place, never the value.

What stands in several pieces is found when whoever calls hands over the pieces together: `reach` is how many bytes a
sighting takes at most. Not undone: compression and encryption, which are for whoever has the key to undo.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Final
from uuid import UUID

import re2

from doorward.errors import ConfigError
from doorward.masking.detectors.card import luhn

LEAST: Final = 6  # letters and digits: fewer are everywhere
LONGEST: Final = 512  # bytes of one canary
MOST: Final = 1000  # canaries at once
_TOGETHER: Final = 24  # canaries in one automaton
_MEMORY: Final = 64 << 20

# What a value may look like and still be it, in the order in which a sighting is given its name.
SPELLINGS: Final[Mapping[str, str]] = {
    "raw": "as it is, in any case of letters",
    "escaped": r"escapes of JSON, URLs, HTML and C, for some of its characters or all: \u0041, %41, &#65;, \x41",
    "hex": "hexadecimal, also with separators",
    "base64": "base 64 at each of three offsets, in both alphabets, over several lines, too",
    "utf-16": "UTF-16 and UTF-32, in both byte orders",
    "reversed": "backwards",
    "separated": "its letters and digits with up to three other characters between any two of them",
    "binary": "a number as PostgreSQL sends int8 and numeric, a UUID as its 16 bytes",
}


@dataclass(frozen=True, slots=True)
class Sighting:
    """A canary by its name, how it was spelt, and the bytes where it stands."""

    canary: str
    spelling: str
    start: int
    end: int


class Canaries:
    """Looks for values by their names. ConfigError: too short or long to look for, or too many. Immutable."""

    __slots__ = ("_groups", "names", "reach")

    def __init__(self, values: Mapping[str, str]) -> None:
        if len(values) > MOST:
            raise ConfigError(f"there are {len(values)} canaries; at most {MOST} are looked for at once")
        found: list[tuple[str, str, bytes, int]] = []
        for name, value in values.items():
            if sum(character.isalnum() for character in value) < LEAST or len(value.encode()) > LONGEST:
                raise ConfigError(
                    f"canary {name} has fewer than {LEAST} letters and digits, or more than {LONGEST} bytes",
                    hint="a short value is in every file: plant longer ones",
                )
            found += [(name, spelling, pattern, size) for spelling, pattern, size in _patterns(value)]
        self.names = tuple(values)
        self.reach = max((size for *_, size in found), default=1)
        options = re2.Options()
        options.encoding = re2.Options.Encoding.LATIN1  # bytes are bytes
        options.max_mem = _MEMORY
        options.log_errors = False
        groups = []
        for first in range(0, len(self.names), _TOGETHER):
            names = frozenset(self.names[first : first + _TOGETHER])
            members = [entry for entry in found if entry[0] in names]
            members.sort(key=lambda entry: list(SPELLINGS).index(entry[1]))
            try:
                together = re2.compile(b"|".join(b"(?:%s)" % pattern for _, _, pattern, _ in members), options)
                each = [(name, spelling, re2.compile(pattern, options)) for name, spelling, pattern, _ in members]
            except re2.error:
                raise ConfigError("the canaries are too long together", hint="look for fewer of them at once") from None
            groups.append((together, each))
        self._groups = tuple(groups)

    def find(self, octets: bytes) -> Iterator[Sighting]:
        """Where they are, without overlap for those that are looked for together."""
        for together, each in self._groups:
            for match in together.finditer(octets):
                start, end = match.span()
                here = octets[start : start + self.reach]
                for name, spelling, pattern in each:
                    if pattern.match(here) is not None:
                        yield Sighting(name, spelling, start, end)
                        break


def _patterns(value: str) -> Iterator[tuple[str, bytes, int]]:
    """Spelling, RE2 pattern over bytes, longest match."""
    raw = value.encode("utf-8")
    yield "raw", b"(?i:%s)" % re.escape(raw), len(raw)
    escaped = [_escaped(character) for character in value]
    yield "escaped", b"(?i:%s)" % b"".join(pattern for pattern, _ in escaped), sum(size for _, size in escaped)
    yield "hex", b"(?i:%s)" % rb"(?:[ :-]|\\{1,2}x|0x|, ?0x)?".join(b"%02x" % octet for octet in raw), 6 * len(raw)
    faces = [_face(raw, skip) for skip in range(3)]
    turns = [rb"(?:\r?\n|\\r\\n|\\n)?".join(_digit64(digit) for digit in face) for face in faces]
    yield "base64", b"(?:%s)" % b"|".join(turns), 5 * max(map(len, faces))
    wide = [value.encode(code) for code in ("utf-16-le", "utf-16-be", "utf-32-le", "utf-32-be")]
    yield "utf-16", b"(?i:%s)" % b"|".join(re.escape(form) for form in wide), 4 * len(value)
    yield "reversed", b"(?i:%s|%s)" % (re.escape(raw[::-1]), re.escape(value[::-1].encode())), len(raw)
    parts = [re.escape(character.encode()) for character in value if character.isalnum()]
    yield "separated", b"(?i:%s)" % b"[^0-9A-Za-z]{0,3}".join(parts), 4 * len(parts) + len(raw)
    if binary := list(_binary(value)):
        yield "binary", b"(?:%s)" % b"|".join(re.escape(form) for form in binary), max(map(len, binary))


_SHORT: Final = {'"': b'"', "\\": b"\\", "/": b"/", "\n": b"n", "\r": b"r", "\t": b"t", "\b": b"b", "\f": b"f"}


def _escaped(character: str) -> tuple[bytes, int]:
    """One character, as it is or escaped, and how many bytes that takes at most."""
    raw = character.encode("utf-8")
    forms = [re.escape(raw), b"".join(b"%%%02x" % octet for octet in raw), rb"&#0{0,2}%d;?" % ord(character)]
    forms.append(rb"&#x0{0,2}%x;?" % ord(character))
    units = character.encode("utf-16-be")
    forms.append(b"".join(rb"\\{1,4}u%s" % units[n : n + 2].hex().encode() for n in range(0, len(units), 2)))
    forms.append(b"".join(rb"\\{1,4}x?%02x" % octet for octet in raw))
    forms.append(b"".join(rb"\\{1,4}%03o" % octet for octet in raw))
    if character in _SHORT:
        forms.append(rb"\\{1,4}" + re.escape(_SHORT[character]))
    return b"(?:%s)" % b"|".join(forms), 8 * len(units)


def _face(raw: bytes, skip: int) -> bytes:
    """The digits of base 64 that say this value and nothing of its neighbours, where `skip` bytes of a group stand before."""
    whole = _base64(b"\0" * skip + raw)
    return whole[(8 * skip + 5) // 6 : 8 * (skip + len(raw)) // 6]


def _base64(octets: bytes) -> bytes:
    bits = int.from_bytes(octets + bytes(-len(octets) % 3), "big")
    count = (len(octets) + 2) // 3 * 4
    return bytes(_ALPHABET[bits >> 6 * (count - 1 - n) & 63] for n in range(count))


_ALPHABET: Final = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/"


def _digit64(digit: int) -> bytes:
    return {0x2B: b"[+-]", 0x2F: b"(?:[/_]|\\\\/)"}.get(digit, bytes((digit,)))


def _binary(value: str) -> Iterator[bytes]:
    digits = re.sub(r"[ ._/-]", "", value)
    if digits.isascii() and digits.isdigit() and 9 <= len(digits) <= 100:
        if 1 << 16 < int(digits) < 1 << 63:
            yield int(digits).to_bytes(8, "big")
        padded = digits.lstrip("0").rjust(-len(digits.lstrip("0")) % 4 + len(digits.lstrip("0")), "0")
        groups = [int(padded[n : n + 4]).to_bytes(2, "big") for n in range(0, len(padded), 4)]
        while len(groups) > 2 and groups[-1] == b"\0\0":  # numeric leaves trailing zeros out
            groups.pop()
        if len(groups) > 2:
            yield b"".join(groups)
    try:
        yield UUID(value).bytes
    except ValueError:
        pass


# What a proof plants -------------------------------------------------------------------------------------------------

LABELLED: Final = ("text", "number", "amount", "document", "bytes", "list", "uuid", "long")
DETECTED: Final = ("card", "iban", "email")


def marks(run: str) -> dict[str, str]:
    """The values that the proof `run` plants, by the column that each is in. Made up: a card of a range for tests, a bank
    that does not exist, an address at example.org."""

    def digits(what: str, count: int) -> str:
        seed = hashlib.sha256(f"doorward/canary/v1\0{run}\0{what}".encode()).digest()
        return str(int.from_bytes(seed, "big"))[-count:].replace("0", "7")

    number = "400000" + digits("card", 9)
    account = "00000000" + digits("iban", 10)  # of Germany: eight digits of a bank, ten of an account
    check = 98 - int(account + "131400") % 97
    return {
        "text": f"CANARY-{digits('text', 12)}-text",
        "number": digits("number", 16),
        "amount": digits("amount", 20),
        "document": f"CANARY-{digits('document', 12)}-document",
        "bytes": f"CANARY-{digits('bytes', 12)}-bytes",
        "list": f"CANARY-{digits('list', 12)}-list",
        "uuid": str(UUID(hex=hashlib.sha256(f"doorward/canary/v1\0{run}\0uuid".encode()).hexdigest()[:32], version=4)),
        "long": f"CANARY-{digits('long', 12)}-long",
        "card": number + next(check for check in "0123456789" if luhn(number + check)),
        "iban": f"DE{check:02d}{account}",
        "email": f"canary.{digits('email', 12)}@example.org",
    }
