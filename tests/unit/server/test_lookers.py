"""Those who look at long values, in processes of their own."""

from __future__ import annotations

import pytest

from doorward.errors import UpstreamError
from doorward.masking.defined import Choice, Pattern
from doorward.masking.plan import Reading
from doorward.protocols.postgres.looking import Question, answer
from doorward.server.lookers import Lookers

EMPLOYEE = Pattern("employee", "employee_no", "EMP-[0-9]{6}", ("EMP-123456",))
CHOICE = Choice(("email", "card"), (EMPLOYEE,))
LABELS = frozenset({"email", "card", "employee_no"})


async def test_a_worker_says_what_would_be_said_here() -> None:
    """Same value, same labels, same answer: whole values of every reading, and windows; and one process does all of it."""
    lookers = Lookers(CHOICE, processes=1)
    every = CHOICE.detectors()
    value = b"to bob@example.org, badge EMP-471147, 4111 1111 1111 1111. " * 300
    try:
        for question in (
            Question(value, LABELS, Reading.TEXT), Question(value, frozenset({"email"}), Reading.TEXT),
            Question(b'{"a": "%s"}' % value, LABELS, Reading.JSON), Question(value, LABELS, Reading.OPAQUE),
            Question(b"nothing " * 3000, LABELS, Reading.TEXT), Question(value, LABELS, Reading.JSONB),
            Question(value, LABELS, None, 100, False), Question(value, LABELS, None, 0, True),
        ):  # fmt: skip
            said, seconds = await lookers.ask(question)
            assert said == answer(every, question)
            assert seconds > 0
        assert lookers.all[0].asked == 8
    finally:
        await lookers.close()


@pytest.mark.parametrize(
    ("program", "said"),
    [("import time; time.sleep(60)", "took longer"), ("raise SystemExit(1)", "ended"), ("print('x' * 5000)", "ended")],
)
async def test_a_worker_that_fails_says_nothing(program: str, said: str) -> None:
    """AT-25: one that hangs, dies or answers nonsense is an error, and the next question has a new process."""
    lookers = Lookers(CHOICE, processes=1, seconds=1.0, program=program)
    try:
        for _ in range(2):
            with pytest.raises(UpstreamError, match=said):
                await lookers.ask(Question(b"x" * 10_000, LABELS, Reading.TEXT))
    finally:
        await lookers.close()
