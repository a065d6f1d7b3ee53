"""A batch that is as plain as can be, taken whole: Bind, Describe, Execute and Sync of the unnamed portal in one piece.

That is how drivers run what they have prepared. While nothing else is going on, such a batch is one turn, its bytes go on
as they came, and it leaves one Pending behind. An answer that is as plain (BindComplete, the known RowDescription, rows,
CommandComplete, ReadyForQuery, in one piece) is read whole as well. Whatever else happens meanwhile (another message of the
client, a cancellation, an answer of any other form), the batch is *unfolded* first: into exactly what its four messages
would have left, had they been taken one by one. So there is nothing that only a plain batch can do, and nothing that it
can do differently.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from librt.strings import read_i32_be

from doorward.guard.turn import Result
from doorward.protocols.postgres import wire
from doorward.protocols.postgres.pending import BIND, DESCRIBE, EXECUTE, SYNC, Pending

if TYPE_CHECKING:
    from doorward.protocols.postgres.answers import Answers

_RUN: Final = wire.execute(b"", 0) + wire.SYNC
_DESCRIBED: Final = wire.describe("P", b"") + _RUN
_SHORTEST: Final = 5 + 8 + len(_RUN)  # Bind of two empty names and three empty lists
_LONGEST: Final = 8 << 10  # bytes of an answer that is read, and looked at, in one piece
_BOUND: Final = b"2\0\0\0\x04"
_READY: Final = b"Z\0\0\0\x05I"


def is_batch(data: bytes) -> bool:
    """Whether these bytes are a Bind of the unnamed portal, at most a Describe of it, its Execute and Sync, and no more."""
    size = len(data)
    if size < _SHORTEST or data[0] != 66 or data[5] != 0 or not data.endswith(_RUN):
        return False
    bound: int = 1 + read_i32_be(data, 1)
    return size - bound == len(_RUN) or (size - bound == len(_DESCRIBED) and data.endswith(_DESCRIBED))


def is_described(batch: bytes) -> bool:
    """Whether such a batch has a Describe."""
    return len(batch) - 1 - read_i32_be(batch, 1) == len(_DESCRIBED)


def unfold(answers: Answers) -> None:
    """Make of the whole batch at the front what its messages would have left. The Pending itself becomes its Sync."""
    whole = answers.plain
    assert whole is not None
    answers.plain = None
    run = whole.run
    assert run is not None
    portal = run.portal
    assert portal is not None
    bind = Pending(BIND, portal=portal)
    bind.before = answers.names.set_portal(b"", portal)
    messages = [bind]
    if whole.statement:
        messages.append(Pending(DESCRIBE, entry=portal.entry, portal=portal))
    messages.append(Pending(EXECUTE, run=run))
    whole.kind, whole.run, whole.entry, whole.statement = SYNC, None, None, False
    answers.pending.extendleft(reversed(messages))


def answered(answers: Answers, whole: Pending, data: bytes) -> Result | None:
    """Read a plain answer to a plain batch. None: it is none, and nothing has been read. Raises ProtocolError, ValueError."""
    run, entry = whole.run, whole.entry
    assert run is not None
    assert entry is not None
    size = len(data)
    if not data.startswith(_BOUND) or not data.endswith(_READY) or size > _LONGEST:
        return None
    start = 5
    if whole.statement:
        described = len(entry.payload)
        start += 5 + described
        if (
            not entry.shown or size - start < 6 or data[5] != 84 or read_i32_be(data, 6) != described + 4
            or not data.startswith(entry.payload, 10)
        ):  # fmt: skip
            return None
    stop = answers.extent(data, start, size)
    if size - stop < 5 or data[stop] != 67 or stop + 1 + read_i32_be(data, stop + 1) != size - len(_READY):
        return None
    redacted = b""
    changed = False
    if stop > start:
        run.redactor = answers.redactor(whole, run, run.permit.decision.unmask)
        redacted = run.redactor.redact(data, start, stop)
        changed = not (len(redacted) == stop - start and data.startswith(redacted, start))
    run.tags.append(wire.parse_command_complete(data[stop + 5 : size - len(_READY)]))
    run.statement += 1
    answers.count(run)
    answers.ended_plainly()
    if changed:
        answers.tell(data[:start], redacted, data[stop:])
    else:
        answers.tell(data)
    return answers.result(run, wire.IDLE, failed=False, implicit=True)
