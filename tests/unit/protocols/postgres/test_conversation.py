"""The conversation: what is judged is what runs, refusals leave the server where its own error would, any cut is the same."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from doorward.errors import ProtocolError
from doorward.guard.turn import Turn
from doorward.model import Effect, Permit, Phase, Refusal
from doorward.protocols.postgres import wire
from doorward.protocols.postgres.conversation import MAX_PENDING
from tests.rig.playbook import (
    KNOWN,
    PARSE_ERRORS,
    ModelServer,
    Play,
    Theatre,
    answer,
    conversation,
    messages,
    permit,
    pieces,
    q,
    refusal,
    row_description,
)

FAIL = q("doorward refused this statement")
COMPLETE = {
    "parse": wire.message(wire.Backend.PARSE_COMPLETE, b""),
    "bind": wire.message(wire.Backend.BIND_COMPLETE, b""),
}


def p(text: str, name: bytes = b"") -> bytes:
    return wire.parse(name, text.encode())


def b(portal: bytes = b"", name: bytes = b"") -> bytes:
    return wire.bind(portal, name, (), (), ())


# -- plays ----------------------------------------------------------------------------------------------------------


def test_a_refusal_waits_for_the_answers_before_it() -> None:
    """Pipelined queries answer in order, and the refused one never leaves."""
    (
        Play().client(q("select 1") + q("drop table t"))
        .permit().to_server(q("select 1"))
        .asked(Effect.DEFINE).server(answer()).to_client("T", "D", "C", "ZI")
        .refuse().to_server(b"").to_client("E42501", "ZI")
    )  # fmt: skip


def test_a_refusal_in_a_transaction_makes_the_server_abort_it() -> None:
    """The client sees the refusal in place of the error that aborts, and the server's own status."""
    done = wire.command_complete("BEGIN") + wire.ready_for_query(wire.IN_TRANSACTION)
    failed = wire.error_response("ERROR", "42601", "syntax error") + wire.ready_for_query(wire.FAILED_TRANSACTION)
    (
        Play().client(q("begin")).permit().to_server(q("begin")).server(done).to_client("C", "ZT")
        .client(q("drop table t")).refuse().to_server(FAIL).to_client()
        .server(failed).to_client("E42501", "ZE")
    )  # fmt: skip


def test_an_extended_refusal_skips_to_sync() -> None:
    """What stands between a refusal and Sync is void, a Query included, and Sync gets its ReadyForQuery."""
    (
        Play().client(p("drop table t") + b() + wire.execute(b"") + q("select 1") + wire.SYNC)
        .refuse().to_client("E42501").nothing_asked().to_server(wire.SYNC)
        .server(wire.ready_for_query(wire.IDLE)).to_client("ZI")
    )  # fmt: skip


def test_a_bind_that_may_need_approval_waits_for_its_execute() -> None:
    """Planning may run functions: before the verdict on Execute the server sees neither Bind nor Describe."""
    play = Play().client(p("delete from t") + b() + wire.describe("P", b"")).permit().to_server(p("delete from t"))
    play.nothing_asked().to_server(b"")
    play.client(wire.execute(b"") + wire.SYNC).asked(Effect.WRITE).to_server(b"").permit()
    play.nothing_asked().to_server(b() + wire.describe("P", b"") + wire.execute(b"") + wire.SYNC)


def test_a_write_that_is_bound_and_not_executed_is_answered() -> None:
    """Where planning runs nothing the Bind goes ahead at Sync; where it may, the client is told what to do."""
    play = Play().client(p("delete from t") + b() + wire.SYNC).permit().nothing_asked()
    play.to_server(p("delete from t") + b() + wire.SYNC)
    text = "delete from t where id = current_setting('x')::int + pg_advisory_lock_shared(1)::text::int"
    play = Play().client(p(text) + b() + wire.SYNC).permit().to_server(p(text)).server(COMPLETE["parse"]).to_client("1")
    play.asked()
    assert play.turn is not None
    assert play.turn.refusal is not None
    assert "bound without being executed" in play.turn.refusal.reason


def test_a_query_behind_an_error_is_void_as_it_is_for_the_server() -> None:
    """A refusal that waited for the answers before it is dropped when one of them makes the server skip to Sync."""
    play = Play().client(p("select nothing_there from t") + q("drop table t") + wire.SYNC).permit().asked()
    play.to_server(p("select nothing_there from t")).server(wire.error_response("ERROR", "42703", "no")).to_client("E42703")
    assert play.turn is not None
    assert play.said.void(play.turn)
    play.nothing_asked().to_server(wire.SYNC).server(wire.ready_for_query(wire.IDLE)).to_client("ZI")


def test_a_utility_that_was_bound_runs_only_after_a_look_at_what_was_planned_since() -> None:
    """A utility looks its names up when it runs, and a query that calls functions runs them when it is planned: between the
    two the session says where names lead now. A utility by itself is planned nowhere, and waits for nothing."""
    setter = "select set_config('application_name', 'x', false)"
    bound, planned, run = b(b"u", b"s"), b(b"f", b"f"), wire.execute(b"u")
    play = Play()
    for text, name in (("create table u (a int)", b"s"), (setter, b"f")):
        play.client(p(text, name)).asked()
        assert play.turn is not None
        play.turn.template.decision = permit(play.turn.template).decision
        play.permit().to_server(p(text, name)).server(COMPLETE["parse"])
    play.client(bound).nothing_asked().to_server(bound).server(COMPLETE["bind"])
    play.client(planned + run + wire.SYNC).nothing_asked().to_server(planned + wire.FLUSH)
    play.server(COMPLETE["bind"]).nothing_asked()
    looked = play.said.to_server()
    assert [kind for kind, _ in messages(looked)] == ["P", "B", "E", "C", "C", "H"]
    play.server(ModelServer().feed(looked)).permit().to_server(run)


def test_nothing_is_judged_behind_a_barrier() -> None:
    """What a SET changes decides what later text means: the next statement is judged after its answer."""
    play = Play().client(q("set search_path = public") + q("select v from t")).permit()
    play.to_server(q("set search_path = public")).nothing_asked()
    play.server(wire.command_complete("SET") + wire.ready_for_query(wire.IDLE)).nothing_asked()
    looked = ModelServer().feed(play.said.to_server())
    play.server(looked).asked(Effect.READ)


@pytest.mark.parametrize(
    ("text", "tag", "read_again"),
    [
        ("create table u (a int)", "CREATE TABLE", True),
        ("create temporary table u (a int)", "CREATE TABLE", False),
        ("create table pg_temp.u (a int)", "CREATE TABLE", False),
        ("create temporary table u (a int); drop table t", "DROP TABLE", True),
    ],
)
def test_the_catalogue_is_read_again_after_definitions_that_it_can_see(text: str, tag: str, read_again: bool) -> None:
    """A permanent definition makes the next statement wait for the catalogue; a temporary one is asked of the session."""
    play = Play().client(q(text)).permit().to_server(q(text))
    done = [wire.command_complete("CREATE TABLE")] * text.count(";") + [wire.command_complete(tag)]
    play.server(b"".join(done) + wire.ready_for_query(wire.IDLE)).client(q("select 1")).nothing_asked()
    play.server(ModelServer().feed(play.said.to_server()))
    assert (getattr(play.said.next_turn(), "what", "") == "definitions") is read_again


def test_a_refused_copy_swallows_its_data() -> None:
    """psql would run the data as SQL: the client is let into COPY, and nothing of it is forwarded."""
    (
        Play().client(q("copy t from stdin")).refuse().to_client("G").to_server(b"")
        .client(wire.copy_data(b"1\tx\n") + wire.message(wire.Frontend.COPY_DONE, b""))
        .nothing_asked().to_server(b"").to_client("E42501", "ZI")
    )  # fmt: skip


@pytest.mark.parametrize(
    "octets",
    [
        wire.bind(b"p", b"missing", (), (), ()),
        wire.execute(b"missing"),
        wire.describe("S", b"missing"),
        wire.describe("P", b"missing"),
        wire.parse(b"_doorward.look.n", b"select 1"),
    ],
)
def test_what_the_gateway_does_not_know_is_not_forwarded(octets: bytes) -> None:
    """No text stands behind the name, so nothing can be judged."""
    play = Play().client(octets).asked()
    assert play.turn is not None
    assert play.turn.refusal is not None
    play.to_server(b"")


def test_too_many_unanswered_messages_stop_the_conversation() -> None:
    """A server that does not answer leaves what follows unjudged, in the bounded inbox."""
    said = Play().said
    said.receive_from_client(wire.SYNC * (MAX_PENDING + 100))
    while said.next_turn() is not None:
        pass
    assert len(said.answers.pending) == MAX_PENDING
    assert said.unjudged > 0


def test_what_waits_is_counted_to_the_byte() -> None:
    """`unjudged` returns to zero when everything has been taken."""
    said = Play().said
    said.receive_from_client(q("select 1") * 10 + p("select 1") + wire.SYNC)
    assert said.unjudged > 100
    while isinstance(step := said.next_turn(), Turn):
        said.accept(step, permit(step.template, step.phase))
    assert said.unjudged == 0


def test_what_was_never_sent_did_not_run() -> None:
    """Withdrawn messages settle as not_run; what was sent before them keeps its own outcome."""
    said = Play().client(q("select 1")).permit().said
    sent = said.answers.pending[-1]
    said.receive_from_client(q("delete from t"))
    turn = said.next_turn()
    assert isinstance(turn, Turn)
    said.accept(turn, permit(turn.template))
    assert [r.outcome for r in said.withdraw(sent)] == ["not_run"]
    assert [r.outcome for r in said.lost()] == ["unknown"]
    assert said.quiescent


# -- a model ---------------------------------------------------------------------------------------------------------

NAMES = st.sampled_from([b"", b"a", b"b"])
TEXTS = st.sampled_from([*KNOWN, *PARSE_ERRORS])
STEPS = st.one_of(
    TEXTS.map(q),
    st.builds(p, TEXTS, NAMES),
    st.builds(b, NAMES, NAMES),
    st.builds(wire.execute, NAMES, st.sampled_from([0, 0, 1, 2])),
    st.builds(wire.describe, st.sampled_from(["S", "P"]), NAMES),
    st.builds(wire.close, st.sampled_from(["S", "P"]), NAMES),
    st.just(wire.SYNC),
    st.just(wire.SYNC),
    st.just(wire.FLUSH),
    st.builds(lambda text, name: p(text, name) + b(b"", name) + wire.execute(b"") + wire.SYNC, TEXTS, NAMES),
)
SCRIPTS = st.lists(STEPS, max_size=25).map(lambda steps: b"".join(steps) + wire.SYNC)
CUTS = st.lists(st.integers(1, 40), max_size=60)


def seen(octets: bytes) -> list[str]:
    """What a client makes of a stream; texts of errors are the server's or the gateway's."""
    return [
        "E" + wire.parse_error(payload)["C"] if kind == "E" else kind + repr(payload) for kind, payload in messages(octets)
    ]


@given(SCRIPTS)
def test_a_permitted_client_cannot_tell_the_gateway_from_the_server(script: bytes) -> None:
    """Through an allow-all gateway the same messages run and the same answers come as from the server itself, but for what
    is masked; afterwards every name that the server knows stands for the same text here."""
    direct = ModelServer()
    expected = direct.feed(script)
    theatre = Theatre()
    shown = theatre.client(script)
    masked = expected.replace(wire.data_row([b"603-38-1615"]), b"") if b"603-38" in expected else expected
    unmasked = b"".join(wire.message(ord(k), v) for k, v in messages(shown) if b"[ssn]" not in v and b"***" not in v)
    if masked is expected:
        assert seen(shown) == seen(expected)
    else:
        assert b"603-38" not in shown
        assert len(messages(unmasked)) <= len(messages(shown))
    assert theatre.server.ran == direct.ran
    assert theatre.server.committed == direct.committed
    names = theatre.conversation.names
    for name, text in direct.statements.items():
        assert names.statements[name].text.decode() == text
    for name, portal in direct.portals.items():
        assert names.portals[name].entry.text.decode() == portal[0]
    assert theatre.conversation.quiescent


@given(SCRIPTS, CUTS, CUTS)
def test_any_cut_of_both_streams_is_the_same_chunk_for_chunk(script: bytes, cuts: list[int], server_cuts: list[int]) -> None:
    """The client sees the same messages, the server runs the same statements, the same outcomes are settled. (Whose words
    an error has, and whether what an error voids was judged before, depends on who noticed first.)"""

    def verdict(turn: Turn) -> Permit | Refusal:
        return refusal() if turn.template.effect is Effect.DEFINE else permit(turn.template, turn.phase)

    whole, cut = Theatre(verdict), Theatre(verdict)
    assert seen(whole.client(script)) == seen(cut.client(script, cuts=cuts, server_cuts=server_cuts))
    assert whole.server.ran == cut.server.ran
    assert whole.server.committed == cut.server.committed
    ran = ("completed", "rolled_back", "suspended", "executed")
    assert [(r.template.exact, r.outcome, r.rows) for r in whole.results if r.outcome in ran] == [
        (r.template.exact, r.outcome, r.rows) for r in cut.results if r.outcome in ran
    ]


@given(SCRIPTS, CUTS, st.integers(0, (1 << 60) - 1))
def test_nothing_reaches_the_server_without_a_permit(script: bytes, cuts: list[int], allowed: int) -> None:
    """Whatever the client sends and whatever the guard says: each statement that ran was permitted, once for each time it
    ran, and what ran before a refusal in the same implicit transaction did not commit."""
    coins = (bool(allowed >> n & 1) for n in range(60))
    refused: set[str] = set()

    def verdict(turn: Turn) -> Permit | Refusal:
        if next(coins, True):
            return permit(turn.template, turn.phase)
        refused.add(turn.template.action)
        return refusal()

    theatre = Theatre(verdict)
    shown = theatre.client(script, cuts=cuts)
    for text in set(theatre.server.ran):
        assert theatre.server.ran.count(text) <= theatre.permitted[text], text
    messages(shown)  # whole ones
    assert theatre.conversation.quiescent
    outcomes = [r.outcome for r in theatre.results]
    assert len(outcomes) <= theatre.turns
    assert set(outcomes) <= {"completed", "failed", "rolled_back", "suspended", "not_run", "executed"}


@given(st.binary(max_size=300), CUTS)
def test_garbage_from_a_client_is_a_protocol_error_or_nothing(octets: bytes, cuts: list[int]) -> None:
    """ProtocolError and nothing else; nothing runs that was not permitted."""
    theatre = Theatre()
    try:
        theatre.client(octets, cuts=cuts)
    except ProtocolError:
        pass
    assert len(theatre.server.ran) <= theatre.permitted.total()


@given(SCRIPTS, st.integers(0, 5000), st.integers(1, 255), CUTS)
def test_damaged_messages_of_a_client_are_a_protocol_error_or_judged(
    script: bytes, at: int, flip: int, cuts: list[int]
) -> None:
    """One flipped byte in a sound script."""
    damaged = bytearray(script)
    damaged[at % len(damaged)] ^= flip
    theatre = Theatre()
    try:
        theatre.client(bytes(damaged), cuts=cuts)
    except ProtocolError:
        pass
    for text in set(theatre.server.ran):
        assert theatre.server.ran.count(text) <= theatre.permitted[text]


BACKEND = st.sampled_from([
    wire.ready_for_query(wire.IDLE), wire.ready_for_query(wire.IN_TRANSACTION), wire.command_complete("SELECT 1"),
    row_description(), wire.data_row([b"x"]), wire.data_row([b"x", None]), wire.error_response("ERROR", "XX000", "x"),
    wire.copy_in_response(0, 1), wire.copy_data(b"x\n"), COMPLETE["parse"], COMPLETE["bind"], b"\xff\0\0\0\x04",
    wire.message(wire.Backend.NO_DATA, b""), wire.message(wire.Backend.PORTAL_SUSPENDED, b""), b"D\x7f\xff\xff\xff",
    wire.parameter_status("standard_conforming_strings", "off"), wire.notice_response("NOTICE", "00000", "n"),
    wire.message(wire.Backend.COPY_OUT_RESPONSE, b"\0\0\1\0\0"), wire.message(wire.Backend.COPY_DONE, b""),
])  # fmt: skip


@given(st.lists(st.one_of(BACKEND, st.binary(max_size=20)), max_size=12), CUTS)
def test_garbage_from_a_server_is_a_protocol_error_and_shows_no_row_unasked(parts: list[bytes], cuts: list[int]) -> None:
    """A server that is out of step ends the session; rows reach the client only as the answer to a statement."""
    play = Play().client(p("select ssn from people") + b() + wire.execute(b"") + wire.SYNC)
    said = play.said
    while isinstance(step := said.next_turn(), Turn):
        said.accept(step, permit(step.template, step.phase))
    said.to_server()
    try:
        for piece in pieces(b"".join(parts), iter(cuts)):
            said.receive_from_server(piece)
    except ProtocolError:
        pass
    shown = said.to_client()
    assert b"603-38" not in shown


def test_a_suspended_portal_that_may_not_be_read_any_more() -> None:
    """`continues` says that no second approval is needed; the guard sees each of them all the same."""
    theatre = Theatre()
    theatre.client(p("select v from t") + b() + wire.execute(b"", 1) + wire.FLUSH)
    before = theatre.turns
    theatre.verdict = lambda turn: refusal() if turn.continues else permit(turn.template, turn.phase)
    shown = theatre.client(wire.execute(b"", 1) + wire.SYNC)
    assert theatre.turns == before + 1
    assert seen(shown)[-2:] == ["E42501", "Zb'I'"]
    assert Phase.EXECUTE


def test_buffers_of_a_conversation_are_bounded() -> None:
    """A message over its limit is refused at its length word, from either side."""
    with pytest.raises(ProtocolError):
        conversation(max_message=1000).receive_from_client(b"Q\0\1\0\0")
    with pytest.raises(ProtocolError):
        Play(conversation(max_row=1000)).client(q("select 1")).permit().server(row_description() + b"D\0\0\x10\0")
