"""A client cancels what was permitted and has not left the gateway yet: it never runs, and is answered as a server would.

Where the server need not know, the client has its answer at once. Where a transaction is open, or could be, the server is
made to abort it in the statement's place, as after a refusal, and the client sees 57014 in place of that error.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

from doorward.errors import ProtocolError
from doorward.guard.turn import Result
from doorward.protocols.postgres import wire
from doorward.protocols.postgres.answers import Answers
from doorward.protocols.postgres.pending import EXECUTE, PLAIN, QUERY, SYNC, Pending, Run
from doorward.protocols.postgres.plain import unfold
from doorward.protocols.postgres.wire import Frontend

MESSAGE: Final = "canceling statement due to user request"  # PostgreSQL's own words, which clients look for
DETAIL: Final = "it had not been sent to the target: nothing of it ran"
ANSWER: Final = wire.error_response("ERROR", "57014", MESSAGE, detail=DETAIL)
ANSWERED: Final = frozenset({  # the messages that leave a Pending behind
    Frontend.PARSE, Frontend.BIND, Frontend.DESCRIBE, Frontend.CLOSE, Frontend.EXECUTE, Frontend.SYNC, Frontend.QUERY,
})  # fmt: skip


def cancel_first(
    answers: Answers, after: Pending | None, unsent: bytes, *, fails: bytes
) -> tuple[Run, bytes, Sequence[Result], bool] | None:
    """Take back the first statement of `unsent`: messages that no server has seen, which every Pending of `answers` is
    about, and the last one before which was `after`. None: there is no statement in it.

    Returns the run, what to send now, what is known of runs already, and whether a message of the gateway's own, `fails`
    being the name of a portal that does not exist, is among it.
    """
    if answers.plain is not None:
        unfold(answers)
    pending = answers.pending
    place = next((n for n, each in enumerate(pending) if each.run is not None), -1)
    if place < 0:
        return None
    front = pending[place]
    run = front.run
    assert run is not None
    before = list(pending)[:place]
    between = (
        after is not None
        and after.kind in (SYNC, QUERY, PLAIN)
        and answers.status == wire.IDLE
        and not any(each.own or each.kind in (SYNC, QUERY) for each in before)
        and (front.kind == EXECUTE or not before)
    )
    frames = wire.Frames(wire.MAX_LENGTH).feed(unsent)
    if between:
        results = answers.take_back()
        answers.unsynced = False
        if front.kind == QUERY:
            answers.say(ANSWER + wire.ready_for_query(wire.IDLE))
            return run, _after(frames, Frontend.QUERY), results, False
        answers.say(ANSWER)
        if answers.pending:  # its Sync, which nobody else has to answer now
            answers.pending.popleft()
            answers.unsynced = bool(answers.pending)
            answers.say(wire.ready_for_query(wire.IDLE))
        return run, _after(frames, Frontend.SYNC), results, False
    front.run, front.own, front.instead = None, True, ANSWER
    run.discarded = True
    answers.done.append(run)
    answered = [n for n, (kind, _) in enumerate(frames) if kind in ANSWERED]
    if len(answered) < len(pending):
        raise ProtocolError("what waits to be sent is not what waits to be answered")
    # An error may have dropped the first of them, which the server will skip: count from the end.
    index = answered[len(answered) - len(pending) + place]
    parts = [wire.message(kind, payload) for kind, payload in frames]
    parts[index] = (
        wire.query(b"doorward cancelled this statement")  # a syntax error, by intent
        if front.kind == QUERY
        else wire.execute(fails, 0) + wire.FLUSH  # no such portal, by intent
    )
    return run, b"".join(parts), [], True


def _after(frames: list[tuple[int, bytes]], last: int) -> bytes:
    """What stands after the first message of a type; nothing if there is none."""
    for n, (kind, _) in enumerate(frames):
        if kind == last:
            return b"".join([wire.message(*frame) for frame in frames[n + 1 :]])
    return b""
