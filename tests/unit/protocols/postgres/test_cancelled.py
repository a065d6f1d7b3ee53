"""A cancelled statement that waits at the gate is the one that does not run, whatever the target has dropped before it."""

from __future__ import annotations

import pytest

from doorward.guard.turn import Turn
from doorward.protocols.postgres import wire
from doorward.protocols.postgres.conversation import PostgresConversation
from tests.rig import playbook

AGAIN = wire.bind(b"", b"", (), (), (0,)) + wire.execute(b"", 0)


def once(text: str) -> bytes:
    return wire.parse(b"", text.encode(), ()) + AGAIN


def judged(talk: PostgresConversation, octets: bytes) -> bytes:
    """All of it permitted; what would go to the target."""
    talk.receive_from_client(octets)
    while (turn := talk.next_turn()) is not None:
        assert isinstance(turn, Turn)
        talk.accept(turn, playbook.permit(turn.template, turn.phase))
    return talk.to_server()


@pytest.mark.parametrize("dropped", [0, 1, 2, 3])
@pytest.mark.parametrize("last", [once("delete from t") + wire.SYNC, playbook.q("delete from t")], ids=["extended", "query"])
def test_what_an_error_dropped_does_not_shift_what_is_cancelled(dropped: int, last: bytes) -> None:
    """The first part of a batch fails while the rest, and a statement behind it, wait at the gate; then comes a cancel."""
    talk, server = playbook.conversation(), playbook.ModelServer()
    out = judged(talk, playbook.q("select 1"))
    while out:
        talk.receive_from_server(server.feed(out))
        out = judged(talk, b"")
    first = judged(talk, once("select 1 / 0") + wire.FLUSH)
    sent = talk.answers.pending[-1]
    gated = judged(talk, AGAIN * dropped + wire.SYNC + last)
    talk.receive_from_server(server.feed(first))
    cancelled = talk.cancel_unsent(sent, gated)
    assert cancelled is not None
    run, results, _ = cancelled
    assert run.template.shown == "delete from t"
    outcomes = [(result.template.shown, result.outcome) for result in results]
    out = talk.to_server()
    while out:
        outcomes += [(r.template.shown, r.outcome) for r in talk.receive_from_server(server.feed(out))]
        out = judged(talk, b"")
    assert not any("delete" in text for text in server.ran)
    assert outcomes[-1] == ("delete from t", "not_run")
    assert talk.quiescent
