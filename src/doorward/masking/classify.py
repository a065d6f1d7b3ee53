"""What a sample of a column's values, and its name, say of what is in it: labels to propose, and labels to doubt.

Contract: `examine` looks at one column and gives counts and a confidence between 0 and 1, and no value. It proposes; a
person decides (`doorward classify`). Digits that only a word in front tells for what they are (identity, telephone and bank
numbers) are read behind the column's name, as a person would.

The confidence of content is the share of values in which the label was found, less for few values: n values at most
n / (n + 2). That of a name alone is NAME. Where both say the same, the doubt that is left is the product of both doubts.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

from doorward.masking.detect import Detectors
from doorward.masking.labelling import NONE
from doorward.masking.names import suggest, words
from doorward.masking.plan import BOOL, BYTEA, FLOAT4, FLOAT8, INT2, INT4, INT8, NUMERIC, OID, PLAIN_TYPES

NAME: Final = 0.6
LIKELY: Final = 0.5  # from here on a proposal is more likely right than wrong
LEAST: Final = 0.02  # of the values: less is what detectors find by chance
# What is not worth reading: no detector finds anything in it. A name may tell all the same.
UNREAD: Final = (PLAIN_TYPES - {INT8, NUMERIC}) | {BOOL, BYTEA, FLOAT4, FLOAT8, INT2, INT4, OID}
_BEHIND_A_WORD: Final = frozenset({"national_id", "phone", "ssn", "iban"})


@dataclass(frozen=True, slots=True)
class Finding:
    """`label` "": nothing to propose. `by`: content, name, or both. `values` looked at that are not NULL; `hits` of them by
    label. `existing`: the label it has; `confirmed`: whether something speaks for that."""

    column: str
    label: str
    confidence: float
    by: str
    values: int
    hits: dict[str, int]
    existing: str = ""
    confirmed: bool = False


def examine(column: str, values: Sequence[str | None], detectors: Detectors, existing: str = "") -> Finding:
    """One column. `values` is empty where its type is not worth reading."""
    front = words(column)
    hits: Counter[str] = Counter()
    present = [value for value in values if value]
    for value in present:
        found = {span.label for span in detectors.spans(value)}
        if front and not found:
            start = len(front) + 2
            found = {
                span.label
                for span in detectors.spans(f"{front}: {value}")
                if span.label in _BEHIND_A_WORD and (span.whole or span.end > start)
            }
        hits.update(found)
    count = len(present)
    named = suggest(column) or ""
    content, number = min(hits.items(), key=lambda item: (-item[1], item[0]), default=("", 0))
    share = number / count if count else 0.0
    sure = share * count / (count + 2) if share >= LEAST else 0.0
    if sure and (not named or content == named or sure >= NAME):
        both = content == named
        label, confidence, by = content, 1 - (1 - sure) * (1 - NAME) if both else sure, "both" if both else "content"
    elif named:
        label, confidence, by = named, NAME, "name"
    else:
        label, confidence, by = "", 0.0, ""
    return Finding(
        column, label, round(confidence, 2), by, count, dict(sorted(hits.items())), existing,
        bool(existing) and (existing in (named, *hits) or (existing == NONE and not hits)),
    )  # fmt: skip
