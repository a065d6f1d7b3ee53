"""Recordings decoded: which answer belongs to which statement, whatever the chunking, and never a failure for bad bytes."""

from __future__ import annotations

import struct

import pytest
from hypothesis import given
from hypothesis import strategies as st

from doorward.errors import IntegrityError
from doorward.ledger.encoding import canonical
from doorward.ledger.segment import EVENT, REQUEST_DATA, RESPONSE, RUN, SETTLED, TEMPLATE
from doorward.protocols.postgres import wire
from doorward.protocols.postgres.replay import Replay, Statement

NO_PARAMS = b"\0\0"
READY = wire.ready_for_query(wire.IDLE)
ERROR = wire.error_response("ERROR", "22012", "division by zero")


def template(number: int, text: str, **more: object) -> tuple[int, bytes]:
    body = {"action": "SELECT", "effect": "read", "text": text, "decision": {"outcome": "allow", "rules": ["r"]}, **more}
    return TEMPLATE, struct.pack(">I", number) + canonical(body)


def run(number: int, params: bytes = NO_PARAMS) -> tuple[int, bytes]:
    return RUN, struct.pack(">IB", number, 0) + params


def settled(outcome: str, *tags: str, **more: object) -> tuple[int, bytes]:
    return SETTLED, canonical({"outcome": outcome, "rows": len(tags), **({"tags": list(tags)} if tags else {}), **more})


def event(kind: str, **body: object) -> tuple[int, bytes]:
    return EVENT, canonical({"type": kind, "at": 5, "body": body, "id": "e", "session": "s", "actor": "a", "v": 1})


def result(name: str, value: str) -> bytes:
    return (
        wire.row_description([wire.Column(name.encode(), 0, 0, 25, -1, -1, 0)])
        + wire.data_row([value.encode()])
        + wire.command_complete("SELECT 1")
    )


def replay(*records: tuple[int, bytes]) -> list[Statement]:
    reader = Replay()
    found = [statement for at, (kind, body) in enumerate(records) for statement in reader.feed(kind, at + 1, body)]
    return found + reader.finish()


def shape(statements: list[Statement]) -> list[tuple[str, str, list[object]]]:
    return [
        (s.text, s.outcome, [a.table() if a.kept else a.error.get("M", a.tag) for a in s.answers]) for s in statements
    ]


def test_a_query_of_several_statements_takes_all_their_answers() -> None:
    """One turn with two answers, then one with one: tags tell where the first ends."""
    found = replay(
        template(0, "two"), template(1, "one"), run(0), run(1), settled("completed", "SELECT 1", "SELECT 1"),
        (RESPONSE, result("a", "1") + result("b", "2") + READY), settled("completed", "SELECT 1"),
        (RESPONSE, result("c", "3") + READY),
    )  # fmt: skip
    assert shape(found) == [("two", "completed", [[["1"]], [["2"]]]), ("one", "completed", [[["3"]]])]


def test_what_an_error_made_the_target_skip_has_no_answer() -> None:
    """After an error in a pipeline, the statements behind it did not run, and later ones keep their own answers."""
    found = replay(
        template(0, "bad"), template(1, "skipped"), template(2, "later"), run(0), run(1), run(2),
        settled("failed", sqlstate="22012"), settled("not_run"), (RESPONSE, ERROR + READY),
        settled("completed", "SELECT 1"), (RESPONSE, result("x", "9") + READY),
    )  # fmt: skip
    assert shape(found) == [
        ("bad", "failed", ["division by zero"]), ("skipped", "not_run", []), ("later", "completed", [[["9"]]]),
    ]  # fmt: skip


def test_a_refusal_has_the_gateways_error_and_a_parse_error_has_no_statement() -> None:
    """An error that no turn had (Parse) is shown by itself, before the refusal whose error follows."""
    refused = wire.error_response("ERROR", "42501", "policy does not allow this")
    found = replay(
        event("operation.refused", operation="o", text="drop", reason="policy does not allow this", code="denied"),
        (RESPONSE, ERROR + READY + refused + READY),
    )
    assert [(s.text, s.verdict, s.answers[0].error["M"]) for s in found] == [
        ("", "", "division by zero"), ("drop", "refused", "policy does not allow this"),
    ]  # fmt: skip


def test_an_approved_write_says_who_and_how_long() -> None:
    """held, permitted and settled events of one operation become one statement."""
    [found] = replay(
        event("operation.held", operation="o", approval="q"),
        event("operation.permitted", operation="o", approval="q", approved_by=["dana"], text="delete", params=[None]),
        event("operation.settled", operation="o", outcome="completed", rows=3, tags=["DELETE 3"]),
        (RESPONSE, wire.command_complete("DELETE 3") + READY),
    )
    assert (found.verdict, found.approval, found.approved_by, found.rows) == ("approved", "q", ("dana",), 3)
    assert found.params == (None,)


def test_shapes_are_kept_for_a_templates_next_runs() -> None:
    """Rows without a description take the shape that an earlier outcome of the same template had, binary too."""
    row = wire.data_row([struct.pack("!i", 7)]) + wire.command_complete("SELECT 1") + READY
    found = replay(
        template(0, "n"), run(0), settled("completed", "SELECT 1", shape=[["n", 23, 1]]), (RESPONSE, row),
        run(0), settled("completed", "SELECT 1"), (RESPONSE, row),
    )  # fmt: skip
    assert [(s.answers[0].columns(), s.answers[0].table()) for s in found] == [(["n"], [["7"]])] * 2


def test_copy_data_of_the_client_is_its_statements() -> None:
    """COPY IN: what the client sent stands with the statement that asked for it."""
    [found] = replay(
        event("operation.permitted", operation="o", text="copy"), (RESPONSE, wire.copy_in_response(0, 1)),
        (REQUEST_DATA, b"one\n"), (REQUEST_DATA, b"two\n"),
        event("operation.settled", operation="o", outcome="completed", rows=0, tags=["COPY 2"]),
        (RESPONSE, wire.command_complete("COPY 2") + READY),
    )  # fmt: skip
    assert (found.answers[0].copy, found.answers[0].copied) == ("in", b"one\ntwo\n")


def test_a_recording_that_ends_early_says_so() -> None:
    """A statement without an outcome is returned with what there is."""
    [found] = replay(template(0, "t"), run(0), (RESPONSE, result("a", "1")))
    assert (found.outcome, found.note) == ("", "the recording ends before its outcome")
    assert found.answers[0].table() == [["1"]]


def test_the_gateways_own_questions_take_nobodys_answer() -> None:
    """A run of the gateway's own has no answer in the recording and does not shift those of others."""
    found = replay(
        template(0, "look", by="doorward"), run(0), template(1, "t"), run(1), settled("completed", "SELECT 1"),
        (RESPONSE, result("a", "1") + READY),
    )  # fmt: skip
    assert [(s.by, len(s.answers)) for s in found] == [("doorward", 0), ("", 1)]


@given(st.lists(st.integers(1, 12), min_size=1, max_size=200))
def test_any_chunking_gives_the_same_statements(sizes: list[int]) -> None:
    """However the answer was cut into records, the statements are the same."""
    answer = result("a", "1") + result("b", "2") + READY + result("c", "3") + READY
    pieces, at = [], 0
    for size in sizes:
        pieces.append((RESPONSE, answer[at : at + size]))
        at += size
    pieces.append((RESPONSE, answer[at:]))
    head = [template(0, "two"), run(0), template(1, "one"), run(1)]
    tail = [settled("completed", "SELECT 1", "SELECT 1"), settled("completed", "SELECT 1")]
    wanted = [("two", "completed", [[["1"]], [["2"]]]), ("one", "completed", [[["3"]]])]
    assert shape(replay(*head, *pieces, *tail)) == wanted
    assert shape(replay(*head, *tail, *pieces)) == wanted


@given(st.binary(max_size=200))
def test_garbage_in_answers_never_fails(garbage: bytes) -> None:
    """Bytes that cannot be read cost their answers, never the statements."""
    found = replay(template(0, "t"), run(0), (RESPONSE, garbage), settled("completed", "SELECT 1"))
    assert [s.outcome for s in found if s.text] == ["completed"]


@pytest.mark.parametrize(
    "record", [(RUN, b"\0"), (RUN, b"\0\0\0\x07\0\0\0"), (SETTLED, b"{}"), (TEMPLATE, b"\0"), (EVENT, b"[]"), (99, b"")]
)
def test_a_record_that_is_not_what_its_kind_says_is_named(record: tuple[int, bytes]) -> None:
    """IntegrityError, and nothing else, for records that nobody wrote."""
    with pytest.raises(IntegrityError):
        replay(record)
