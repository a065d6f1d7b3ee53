"""Looking at long values somewhere else: what is asked about one, and what the answer is.

A value of more than LONG bytes can cost a detector seconds, if somebody made it for that. So whoever masks a row (`wide`) asks
a Question, and goes on with its Answer; who answers it, and where, is the server's (`server.lookers`). `answer` is a pure
function: in another process it says the same as here.
"""

from __future__ import annotations

from collections import Counter
from typing import Final, NamedTuple

from doorward.masking.detect import Detectors
from doorward.masking.plan import Reading
from doorward.masking.transforms import Transforms
from doorward.masking.windows import Window, look
from doorward.protocols.postgres.cells import Cells

LONG: Final = 4 << 10  # bytes of a value that is looked at where the bytes are moved
NARROW: Final = 6 << 10  # bytes of a row whose values are
_UNTOUCHED: Final = Transforms()


class Question(NamedTuple):
    """A value, or a window of one (`reading` None; from `start` on it was not given out yet, and it may be the `last`).
    `labels`: whose detectors are to look."""

    value: bytes
    labels: frozenset[str]
    reading: int | None
    start: int = 0
    last: bool = True


class Answer(NamedTuple):
    """`changed`: the value becomes `becomes` (None: NULL). Of a window, `becomes` is what may be shown of it up to `stop`;
    `over`: something began whose end nobody has seen. `found`: how often, by label. `failed`: why it cannot be masked."""

    becomes: bytes | None
    changed: bool
    found: dict[str, int]
    stop: int = 0
    over: bool = False
    failed: str = ""


def answer(every: Detectors, question: Question) -> Answer:
    """What `every`, less the labels that are not asked about, says."""
    detectors = every.without(every.labels - question.labels)
    if question.reading is None:
        seen = look(detectors, Window(question.value, question.start, question.last))
        return Answer(seen.shown, True, dict(seen.found), seen.stop, seen.over)
    found: Counter[str] = Counter()
    try:
        becomes = Cells(detectors, _UNTOUCHED, found).masked(question.value, Reading(question.reading))
    except ValueError as error:
        return Answer(None, False, {}, failed=str(error))
    return Answer(None if becomes is None else becomes[0], becomes is not None, dict(found))
