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
from typing import Any, Final
from uuid import UUID

import re2

from doorward.errors import ConfigError
from doorward.masking.detectors.card import luhn

LEAST: Final = 6  # letters and digits: fewer are everywhere
LONGEST: Final = 512  # bytes of one canary
MOST: Final = 1000  # canaries at once
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
    """Looks for values by their names. ConfigError: too short or long to look for, or too many of them.

    First, plain readings of the bytes are asked whether any canary could be in them, by one automaton each: letters and
    digits alone, base 64 without line ends, both again with escapes undone, and the bytes themselves. Only where one says
    so are the exact patterns tried: they know the place and the spelling, and cost a hundred times as much.
    """

    __slots__ = ("_digits64", "_exact", "_folded", "_needles", "_plain", "_slow", "_values", "names", "reach")

    def __init__(self, values: Mapping[str, str]) -> None:
        if len(values) > MOST:
            raise ConfigError(f"there are {len(values)} canaries; at most {MOST} are looked for at once")
        for name, value in values.items():
            if sum(character.isalnum() for character in value) < LEAST or len(value.encode()) > LONGEST:
                raise ConfigError(
                    f"canary {name} has fewer than {LEAST} letters and digits, or more than {LONGEST} bytes",
                    hint="a short value is in every file: plant longer ones",
                )
        self.names = tuple(values)
        self._values = dict(values)
        self._exact: dict[str, _Exact] = {}
        self.reach = max((_longest(value) for value in values.values()), default=1)
        self._needles = {name: _Needles.of(value) for name, value in values.items()}
        # Of scripts that leave no letter in ASCII: nothing cheap can be asked.
        self._slow = frozenset(name for name, needles in self._needles.items() if not needles.folded)
        self._folded = _any_of({needle for needles in self._needles.values() for needle in needles.folded})
        self._digits64 = _any_of({needle for needles in self._needles.values() for needle in needles.digits64})
        self._plain = _any_of({needle for needles in self._needles.values() for needle in needles.plain})

    def find(self, octets: bytes) -> Iterator[Sighting]:
        """Where they are, by start within each canary."""
        if not self._slow and not self._suspects(_Readings(octets)):
            return
        step, size = _WINDOW, len(octets)
        for first in range(0, max(size, 1), step):
            last = first + step >= size
            window = octets[first : first + step + self.reach]
            readings = _Readings(window)
            if not self._slow and not self._suspects(readings):
                continue
            for name, needles in self._needles.items():
                if name in self._slow or needles.within(readings):
                    if name not in self._exact:
                        self._exact[name] = _Exact(self._values[name])
                    for spelling, start, end in self._exact[name].find(window, self.reach):
                        if last or start < step:  # else it is the next window's
                            yield Sighting(name, spelling, first + start, first + end)
            if last:
                return

    def _suspects(self, readings: _Readings) -> bool:
        return (
            _hits(self._folded, readings.folded)
            or _hits(self._folded, readings.unescaped)
            or _hits(self._digits64, readings.digits64)
            or _hits(self._digits64, readings.digits64_unescaped)
            or _hits(self._plain, readings.octets)
        )


_WINDOW: Final = 1 << 14
# The class in front lets `re` run over what cannot begin one.
_ESCAPES: Final = re.compile(
    rb"[%&\\](?:(?<=%)[0-9A-Fa-f]{2}|(?<=&)#(?:[0-9]{1,7}|[xX][0-9A-Fa-f]{1,6});"
    rb"|(?<=\\)\\{0,7}(?:u[0-9A-Fa-f]{4}|x[0-9A-Fa-f]{2}|[0-3][0-7]{2}|[nrtbf/\"]))"
)
_OTHERS: Final = bytes(octet for octet in range(256) if not (octet < 128 and chr(octet).isalnum()))
_LOWER: Final = bytes(ord(chr(octet).lower()) if octet < 128 else octet for octet in range(256))
_STANDARD64: Final = bytes.maketrans(b"-_", b"+/")


def _folding(octets: bytes) -> bytes:
    """Letters and digits of ASCII, in lower case."""
    return octets.translate(_LOWER, _OTHERS)


def _undone(match: re.Match[bytes]) -> bytes:
    said = match[0].lstrip(b"\\") if match[0].startswith(b"\\") else match[0]
    if said.startswith(b"&#"):
        code = int(said[3:-1], 16) if said[2:3] in b"xX" else int(said[2:-1])
    elif said[:1] in b"%ux":
        code = int(said[1:], 16)
        if said.startswith((b"%", b"x")):
            return bytes((code,))
    elif said[:1] in b"0123":
        return bytes((int(said, 8),))
    else:
        return {b"n": b"\n", b"r": b"\r", b"t": b"\t", b"b": b"\b", b"f": b"\f"}.get(said, said)
    return chr(code).encode("utf-8", "replace") if code < 0x110000 else b""


class _Readings:
    """The plain readings of some bytes."""

    __slots__ = ("digits64", "digits64_unescaped", "folded", "octets", "unescaped")

    def __init__(self, octets: bytes) -> None:
        self.octets = octets
        self.folded = _folding(octets)
        self.digits64 = octets.translate(_STANDARD64, b"\r\n")
        undone = _ESCAPES.sub(_undone, octets)
        self.unescaped = _folding(undone) if undone != octets else b""
        self.digits64_unescaped = undone.translate(_STANDARD64, b"\r\n") if undone != octets else b""


@dataclass(frozen=True, slots=True)
class _Needles:
    """What one of the readings must hold if a value is in the bytes: letters and digits; base 64; the bytes themselves."""

    folded: frozenset[bytes]
    digits64: frozenset[bytes]
    plain: frozenset[bytes]

    @classmethod
    def of(cls, value: str) -> _Needles:
        raw = value.encode("utf-8")
        forms = [raw, raw[::-1], value[::-1].encode(), *_wide(value)]
        octets = [b"%02x" % octet for octet in raw]
        forms += [glue.join(octets) for glue in (b"", b"x", b"0x")]
        folded = {_folding(form) for form in forms}
        digits64 = {face.translate(_STANDARD64) for face in (_face(raw, skip) for skip in range(3))}
        if min(map(len, folded)) < LEAST:
            return cls(frozenset(), frozenset(), frozenset())
        return cls(frozenset(folded), frozenset(digits64), frozenset(_binary(value)))

    def within(self, readings: _Readings) -> bool:
        """Whether a value may be there."""
        return (
            any(needle in readings.folded or needle in readings.unescaped for needle in self.folded)
            or any(needle in readings.digits64 or needle in readings.digits64_unescaped for needle in self.digits64)
            or any(needle in readings.octets for needle in self.plain)
        )


class _Exact:
    """One value's patterns."""

    __slots__ = ("_each", "_together")

    def __init__(self, value: str) -> None:
        patterns = list(_patterns(value))
        self._each = [(spelling, _compiled(pattern)) for spelling, pattern in patterns]
        self._together = _compiled(b"|".join(b"(?:%s)" % pattern for _, pattern in patterns))

    def find(self, octets: bytes, reach: int) -> Iterator[tuple[str, int, int]]:
        """Spelling, start and end."""
        for match in self._together.finditer(octets):
            start, end = match.span()
            here = octets[start : start + reach]
            for spelling, pattern in self._each:
                if pattern.match(here) is not None:
                    yield spelling, start, end
                    break


def _compiled(pattern: bytes) -> Any:
    options = re2.Options()
    options.encoding = re2.Options.Encoding.LATIN1  # bytes are bytes
    options.max_mem = _MEMORY
    options.log_errors = False
    try:
        return re2.compile(pattern, options)
    except re2.error:
        raise ConfigError("the canaries are too long together", hint="look for fewer of them at once") from None


def _any_of(needles: set[bytes]) -> Any:
    return _compiled(b"|".join(re.escape(needle) for needle in sorted(needles))) if needles else None


def _hits(needles: Any, reading: bytes) -> bool:
    return bool(reading) and needles is not None and needles.search(reading) is not None


def _wide(value: str) -> list[bytes]:
    return [value.encode(code) for code in ("utf-16-le", "utf-16-be", "utf-32-le", "utf-32-be")]


def _longest(value: str) -> int:
    """Bytes that the longest spelling takes."""
    raw = len(value.encode())
    return max(sum(_escaped(character)[1] for character in value), 8 * raw)


def _patterns(value: str) -> Iterator[tuple[str, bytes]]:
    """Spelling, and an RE2 pattern over bytes."""
    raw = value.encode("utf-8")
    yield "raw", b"(?i:%s)" % re.escape(raw)
    yield "escaped", b"(?i:%s)" % b"".join(_escaped(character)[0] for character in value)
    yield "hex", b"(?i:%s)" % rb"(?:[ :-]|\\{1,2}x|0x|, ?0x)?".join(b"%02x" % octet for octet in raw)
    faces = [_face(raw, skip) for skip in range(3)]
    turns = [rb"(?:\r?\n|\\r\\n|\\n)?".join(_digit64(digit) for digit in face) for face in faces]
    yield "base64", b"(?:%s)" % b"|".join(turns)
    yield "utf-16", b"(?i:%s)" % b"|".join(re.escape(form) for form in _wide(value))
    yield "reversed", b"(?i:%s|%s)" % (re.escape(raw[::-1]), re.escape(value[::-1].encode()))
    parts = [re.escape(character.encode()) for character in value if character.isalnum()]
    yield "separated", b"(?i:%s)" % b"[^0-9A-Za-z]{0,3}".join(parts)
    if binary := list(_binary(value)):
        yield "binary", b"(?:%s)" % b"|".join(re.escape(form) for form in binary)


_SHORT: Final = {'"': b'"', "\\": b"\\", "/": b"/", "\n": b"n", "\r": b"r", "\t": b"t", "\b": b"b", "\f": b"f"}


def _escaped(character: str) -> tuple[bytes, int]:
    """One character, as it is or escaped, and how many bytes that takes at most."""
    raw = character.encode("utf-8")
    forms = [re.escape(raw), b"".join(b"%%%02x" % octet for octet in raw), rb"&#0{0,2}%d;" % ord(character)]
    forms.append(rb"&#x0{0,2}%x;" % ord(character))
    units = character.encode("utf-16-be")
    forms.append(b"".join(rb"\\{1,4}u%s" % units[n : n + 2].hex().encode() for n in range(0, len(units), 2)))
    forms.append(b"".join(rb"\\{1,4}x%02x" % octet for octet in raw))
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
# By names that say nothing: what is in them is for detectors to see.
DETECTED: Final = ("cardlike", "ibanlike", "emaillike")


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
        "cardlike": number + next(check for check in "0123456789" if luhn(number + check)),
        "ibanlike": f"DE{check:02d}{account}",
        "emaillike": f"canary.{digits('email', 12)}@example.org",
    }


SCHEMA: Final = "doorward_canary"
TABLE: Final = f"{SCHEMA}.canaries"
LABEL: Final = "canary"
PLAIN: Final = "plain"  # the column whose values nobody masks: where they come through, something was tried


def plain(run: str) -> str:
    """What the proof plants where nothing is confidential."""
    return "sighted-" + hashlib.sha256(f"doorward/control/v1\0{run}".encode()).hexdigest()[:16]


def labels() -> dict[str, str]:
    """What is labelled while a proof runs."""
    return {f"{TABLE}.{column}": LABEL for column in LABELLED}
