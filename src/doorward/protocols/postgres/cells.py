"""One value of a result, looked at and rewritten: the slow path, for values in which a prefilter saw something.

Contract: `masked` returns None (leave it), or what the cell becomes, itself as `bytes` or NULL. What comes out is a
well-formed value of the same reading: JSON stays JSON, an array of text in binary keeps its framing. Of a type that nobody
told us about, a value that is not text and holds something confidential becomes NULL. UndecodableError: a value is not of the
form that its column's type has; its result ends there. Nothing else is raised for the sake of a value's content.
"""

from __future__ import annotations

import json
import uuid
from collections import Counter
from struct import Struct
from typing import Final

from doorward.masking.detect import Detectors, Suspects
from doorward.masking.detectors import redaction
from doorward.masking.plan import JSON, JSONB, UUID, WHOLE, Reading, as_read
from doorward.masking.transforms import Transforms

_INT: Final = Struct("!i")
COMPUTED: Final = 32  # bytes that could be looked at while a value is transformed
_UNFRAMED: Final = "an array of text does not hold together"
_ARRAY_HEAD: Final = Struct("!iii")  # dimensions, has NULLs, element type


class UndecodableError(ValueError):
    """A value is not what its column's type says, so that nobody can mask what is in it."""


class Cells:
    """The detectors and transforms of one result, and how many cells they have changed, by label. `looked`: for how many bytes,
    about, they have been at work; a byte may take microseconds, if somebody made it for that."""

    def __init__(self, detectors: Detectors, transforms: Transforms, counts: Counter[str]) -> None:
        self.detectors = detectors
        self.transforms = transforms
        self.counts = counts
        self.looked: int = 0

    def transformed(self, value: bytes, label: str, reading: Reading, subject: str | None = None) -> bytes | None:
        """What a labelled value becomes; None is NULL. UndecodableError: it is not UTF-8."""
        self.looked += COMPUTED
        if reading == Reading.DATE or reading == Reading.DATE_BINARY:
            return self.transforms.shifted(label, value, binary=reading == Reading.DATE_BINARY, subject=subject)
        if reading == Reading.JSONB:  # the version is not part of the value
            value = value[1:] if value[:1] == b"\x01" else b"\xff"
        try:
            text = value.decode("utf-8")
        except UnicodeDecodeError:
            raise UndecodableError(f"a value labelled {label} is not UTF-8") from None
        becomes = self.transforms.apply(label, text)
        return None if becomes is None else as_read(becomes, reading)

    def masked(
        self, value: bytes, reading: Reading, suspects: Suspects | None = None
    ) -> tuple[bytes | None] | None:
        """None: the value may go as it is. Otherwise what it becomes, in a tuple; None in it is NULL.

        `suspects`: of the row, where they are known already."""
        self.looked += len(value)
        if reading == Reading.TEXT:
            result = self.detectors.mask_bytes(value, suspects)
            if result is None:
                return None
            self._add(result[1])
            return (result[0],)
        if reading == Reading.JSON:
            return self._json(value, Reading.JSON, b"")
        if reading == Reading.JSONB:
            if value[:1] == b"\x01":
                return self._json(value[1:], Reading.JSONB, b"\x01")
            raise UndecodableError("a value of type jsonb is of a version that is not known")
        if reading == Reading.ARRAY:
            return self._array(value)
        return self._opaque(value)

    def _add(self, found: Counter[str]) -> None:
        counts = self.counts
        for label in found:
            counts[label] += found[label]

    def _json(self, value: bytes, reading: Reading, version: bytes) -> tuple[bytes | None] | None:
        result = self.detectors.mask_bytes(value)
        if result is None:
            return None
        self._add(result[1])
        try:
            json.loads(result[0])
        except (ValueError, RecursionError):  # a number or a whole document was replaced: say so in JSON
            return (as_read(redaction(min(result[1])), reading),)
        return (version + result[0],)

    def _opaque(self, value: bytes) -> tuple[bytes | None] | None:
        """Bytes of a type nobody told us about: text if they read as text, else NULL if something is in them."""
        result = self.detectors.mask_bytes(value)
        if result is None:
            return None
        self._add(result[1])
        return (result[0],) if _reads_as_text(value) else (None,)

    def _array(self, value: bytes) -> tuple[bytes | None] | None:
        """An array of text in binary (array_send): each element for itself."""
        size = len(value)
        if size < 12:
            raise UndecodableError(_UNFRAMED)
        dimensions, _, element_type = _ARRAY_HEAD.unpack_from(value, 0)
        position = 12 + 8 * dimensions
        if not 0 <= dimensions <= 6 or position > size:
            raise UndecodableError(_UNFRAMED)
        reading = Reading.JSONB if element_type == JSONB else Reading.JSON if element_type == JSON else Reading.TEXT
        parts: list[bytes] = [value[:position]]
        changed = has_null = False
        while position < size:
            if position + 4 > size:
                raise UndecodableError(_UNFRAMED)
            length: int = _INT.unpack_from(value, position)[0]
            position += 4
            if length < 0:
                has_null = True
                parts.append(value[position - 4 : position])
                continue
            if position + length > size:
                raise UndecodableError(_UNFRAMED)
            element = value[position : position + length]
            position += length
            becomes = self.masked(element, reading)
            if becomes is None:
                parts.append(_INT.pack(length))
                parts.append(element)
                continue
            changed = True
            replaced = becomes[0]
            if replaced is None:
                has_null = True
                parts.append(_INT.pack(-1))
            else:
                parts.append(_INT.pack(len(replaced)))
                parts.append(replaced)
        if not changed:
            return None
        parts[0] = _ARRAY_HEAD.pack(dimensions, int(has_null), element_type) + value[12 : 12 + 8 * dimensions]
        return (b"".join(parts),)


def _reads_as_text(value: bytes) -> bool:
    try:
        text = value.decode("utf-8")
    except UnicodeDecodeError:
        return False
    return all(character >= " " or character in "\t\n\r" for character in text)


def named(value: bytes, type_oid: int) -> str | None:
    """What a row says of whose it is: the same in text (`type_oid` 0) and in binary. None: it cannot be told."""
    if type_oid in WHOLE:
        return str(int.from_bytes(value, "big", signed=True))
    if type_oid == UUID:
        return str(uuid.UUID(bytes=value)) if len(value) == 16 else None
    try:
        return value.decode("utf-8")
    except UnicodeDecodeError:
        return None
