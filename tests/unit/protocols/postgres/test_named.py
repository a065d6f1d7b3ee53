"""What a session is called at its target, and what its client is told."""

from __future__ import annotations

import pytest

from doorward.errors import ProtocolError
from doorward.protocols.postgres import wire
from doorward.protocols.postgres.named import KEPT, SessionName
from tests.rig.playbook import conversation

MARK = "doorward 01890000-0000-7000-8000-000000000000"


def name(client: str = "psql") -> SessionName:
    made = SessionName(MARK.partition(" ")[2], client)
    made.began(made.at_start)
    return made


@pytest.mark.parametrize("client", ["", "psql", "a name of more than seventeen letters", "é" * 40])
def test_the_target_hears_the_mark_first_and_the_client_its_own_name(client: str) -> None:
    """Whatever fits of the client's name follows the mark; after a return to it, the client hears it in full."""
    one = name(client)
    assert one.at_start.startswith(MARK)
    assert len(one.at_start.encode()) <= KEPT
    assert one.says(one.at_start) is None
    assert one.says("other") == "other"
    assert one.says(one.at_start) == client


def test_a_name_without_the_mark_is_told_and_put_right() -> None:
    """The client hears its new name once: neither its putting right nor its coming back is news."""
    one = name()
    assert (one.says("dba"), one.lacking) == ("dba", True)
    assert (one.says(f"{MARK} dba"), one.lacking) == (None, False)
    assert (one.says("dba"), one.lacking) == (None, True)  # the end of a transaction that it was put right for
    assert (one.says(MARK + "x"), one.lacking) == (MARK + "x", True)  # which only begins like it


def test_what_is_remembered_is_bounded() -> None:
    """A client that renames itself for ever costs no memory; its first name is never forgotten."""
    one = name("a name of more than seventeen letters")
    for number in range(1000):
        one.says(f"{number:040}")
    assert len(one._full) <= 64
    assert one.says(one.at_start) == "a name of more than seventeen letters"


def test_without_a_session_the_name_is_the_clients() -> None:
    """Nothing is added, and nothing missed."""
    one = SessionName("", "psql")
    assert (one.at_start, one.says("x"), one.lacking) == ("psql", "x", False)


def test_a_target_that_does_not_keep_the_mark_ends_the_session() -> None:
    """It was asked to put it back, and says that it has not: it is not asked for ever."""
    talk = conversation(name=name())
    assert talk.next_turn() is None
    assert MARK.encode() in talk.to_server()
    row = wire.data_row([b"app", b"app", b'["pg_catalog"]', None, b"UTC", None])
    looked = b"".join(wire.message(kind, b"") for kind in (wire.Backend.PARSE_COMPLETE, wire.Backend.BIND_COMPLETE))
    looked += row + wire.command_complete("SELECT 1") + wire.message(wire.Backend.CLOSE_COMPLETE, b"") * 2
    with pytest.raises(ProtocolError, match="does not keep the name"):
        talk.receive_from_server(looked + wire.parameter_status("application_name", "evil") + wire.ready_for_query(wire.IDLE))
