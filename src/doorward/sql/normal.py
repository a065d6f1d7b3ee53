"""Where the literals and comments of a text are, so that what is confidential in them can be masked exactly.

Contract: `literals` returns every constant and comment in order, by PostgreSQL's own scanner, as byte offsets into the
text's UTF-8; the rest of the text is names, keywords and punctuation. A string that is continued on another line is one
literal, with what lies between; so is a function's body between dollar signs. A text that the scanner refuses raises
Unparsable: mask such a text whole.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

from doorward.sql.parse import MAX_BYTES, encode, scan

# The scanner's tokens (libpg_query's protobuf enum).
_KINDS: Final = {261: "string", 262: "string", 263: "bits", 264: "bits", 266: "number", 260: "number",
                 275: "comment", 276: "comment"}


@dataclass(frozen=True, slots=True)
class Literal:
    """`kind` is string, number, bits or comment. The quotes, prefixes and comment marks are within it."""

    offset: int
    length: int
    kind: str


def literals(text: str, *, max_bytes: int = MAX_BYTES) -> tuple[Literal, ...]:
    """The literals and comments of `text`. Raises Unparsable."""
    encoded = encode(text, max_bytes)
    return tuple(
        Literal(start, end - start, _KINDS[token]) for start, end, token, _ in scan(encoded) if token in _KINDS
    )
