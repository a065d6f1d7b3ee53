"""Batches taken whole: nothing is different but the price."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from doorward.errors import ProtocolError
from doorward.guard.turn import Result, Turn
from doorward.protocols.conversation import Need
from doorward.protocols.postgres import wire
from doorward.protocols.postgres.conversation import LARGE, PostgresConversation
from doorward.protocols.postgres.namespace import MAX_NAMES, Portal
from doorward.protocols.postgres.plain import is_batch
from doorward.sql.classify import classify
from tests.rig.playbook import ModelServer, Play, conversation, messages, permit, q

TEXTS = {b"one": "select 1", b"rows": "select v from t", b"ssn": "select ssn from people", b"fails": "select 1 / 0"}
PREPARE = b"".join(wire.parse(name, text.encode()) for name, text in TEXTS.items()) + wire.SYNC


def batch(name: bytes, *, described: bool = True, portal: bytes = b"", rows: int = 0) -> bytes:
    describe = wire.describe("P", portal) if described else b""
    return wire.bind(portal, name, (), (), ()) + describe + wire.execute(portal, rows) + wire.SYNC


class Side:
    """A conversation and its server, with the network between them in the test's hands."""

    def __init__(self, *, whole: bool) -> None:
        self.said: PostgresConversation = conversation()
        if not whole:
            self.said._longest_plain = 0  # every message by itself
        self.server = ModelServer()
        self.coming = b""
        self.results: list[Result] = []
        self.refused: Turn | None = None  # which waits until nothing is outstanding
        self.taken = 0  # batches that were a turn as a whole
        self.step()
        self.answer(1 << 20)
        self.client(PREPARE)
        self.answer(1 << 20)

    def step(self) -> tuple[bytes, bytes]:
        while True:
            if self.refused is not None:
                if not self.said.quiescent:
                    self.said.settle_down()
                    break
                turn, self.refused = self.refused, None
                assert turn.refusal is not None
                if not self.said.void(turn):
                    self.said.refuse(turn, turn.refusal)
            step = self.said.next_turn()
            if not isinstance(step, Turn):
                break
            if step.refusal is not None:
                self.refused = step
                continue
            verdict = permit(step.template, step.phase)
            step.template.decision = verdict.decision
            self.taken += step.part[0] == "plain"
            self.said.accept(step, verdict)
        sent = self.said.to_server()
        self.coming += self.server.feed(sent)
        return sent, self.said.to_client()

    def client(self, octets: bytes) -> tuple[bytes, bytes]:
        self.said.receive_from_client(octets)
        return self.step()

    def answer(self, size: int) -> tuple[bytes, bytes]:
        now, self.coming = self.coming[:size], self.coming[size:]
        if now:
            self.results += self.said.receive_from_server(now)
        return self.step()

    def play(self, script: list[tuple[bytes, int]]) -> Iterator[object]:
        """What happens, in order, up to the end or the first broken rule."""
        try:
            for octets, size in script:
                yield self.client(octets)
                yield self.answer(size)
                yield self.said.in_transaction
            while self.coming:
                yield self.answer(1 << 20)
            yield self.state()
        except ProtocolError as error:
            yield error.message

    def state(self) -> object:
        said, names = self.said, self.said.names
        return (
            said.quiescent, said.in_transaction, said.waiting, said.answers.status,
            {n: e.text for n, e in names.statements.items()},
            {n: p.entry.text for n, p in names.portals.items()} if said.quiescent else None,
            [(r.template.exact, r.outcome, r.rows, r.tags, r.sqlstate, dict(r.masked), r.shape) for r in self.results],
            self.server.ran, self.server.committed,
        )  # fmt: skip


CHUNKS = st.sampled_from([
    *(batch(name, described=described) for name in (*TEXTS, b"nobody") for described in (True, False)),
    batch(b"rows", rows=1), batch(b"rows", portal=b"p"), batch(b"rows")[:-5], batch(b"rows")[:7], batch(b"one") * 2,
    wire.describe("P", b"") + wire.SYNC, wire.execute(b"", 0) + wire.SYNC, wire.close("S", b"rows") + wire.SYNC, wire.FLUSH,
    wire.SYNC, wire.parse(b"one", b"select 1"), wire.parse(b"rows", b"select v from t") + wire.SYNC,
    q("begin"), q("commit"), q("rollback"), q("select v from t"), q("insert into t values (1, 'x')"), q("select 1 / 0"),
])  # fmt: skip
SCRIPTS = st.lists(st.tuples(CHUNKS, st.sampled_from([0, 3, 5, 30, 1 << 20, 1 << 20])), max_size=12)


@given(SCRIPTS)
def test_taken_whole_or_one_by_one_is_the_same(script: list[tuple[bytes, int]]) -> None:
    """The same bytes at the same time for either side, the same names, the same outcomes; however much the client sends
    before it has its answers, and however these are cut."""
    whole, single = Side(whole=True), Side(whole=False)
    assert list(whole.play(script)) == list(single.play(script))
    assert single.taken == 0


def test_what_drivers_send_is_taken_whole() -> None:
    """From the second time on, when the shape of the answer is known."""
    side = Side(whole=True)
    for _ in range(3):
        for name in TEXTS:
            side.client(batch(name))
            side.answer(1 << 20)
    assert side.taken >= 8
    assert side.said.answers.plain is None
    assert b"603-38" not in b"".join(value for _, value in messages(side.client(batch(b"ssn"))[1] + side.answer(1 << 20)[1]))


def prepared() -> tuple[Play, Side]:
    side = Side(whole=True)
    for _ in range(2):
        side.client(batch(b"rows"))
        side.answer(1 << 20)
    play = Play.__new__(Play)
    play.said, play.turn, play.results = side.said, None, []
    return play, side


def test_a_batch_that_is_refused_after_all_is_an_error_and_its_sync() -> None:
    """Policy can change between two executions: then nothing of the batch is sent but its Sync."""
    play, _ = prepared()
    play.client(batch(b"rows")).refuse().to_client("E42501").nothing_asked().to_server(wire.SYNC)
    play.server(wire.ready_for_query(wire.IDLE)).to_client("ZI")
    play.client(batch(b"one")).permit().to_server(batch(b"one"))


def test_an_answer_of_another_kind_is_read_message_by_message() -> None:
    """Another shape, a notice, an error, a setting, a status that is not idle."""
    for wrong in (
        wire.error_response("ERROR", "40001", "no"),
        wire.notice_response("NOTICE", "00000", "n"),
        wire.parameter_status("application_name", "x"),
    ):
        play, _ = prepared()
        play.client(batch(b"rows")).permit().to_server(batch(b"rows")).server(wrong)
        assert play.said.answers.plain is None
        assert [each.kind for each in play.said.answers.pending][-1] == 5


@given(st.binary(max_size=60), st.integers(0, 80))
def test_garbage_is_no_batch_and_no_answer(octets: bytes, at: int) -> None:
    """Whatever passes for one has the same framing as its messages, one by one."""
    sound = batch(b"rows")
    damaged = sound[:at] + octets + sound[at + len(octets) :]
    for data in (octets, damaged):
        if is_batch(data):
            assert [kind for kind, _ in messages(data)] in (list("BDES"), list("BES"))


def test_what_more_is_shown_than_recorded_is_not_taken_whole() -> None:
    """Where the record differs from what the client sees, each message is looked at."""
    play, _ = prepared()
    play.client(batch(b"rows")).asked()
    turn = play.turn
    assert turn is not None
    assert turn.part[0] == "plain"
    granted = permit(turn.template)
    play.said.accept(turn, replace(granted, decision=replace(granted.decision, unmask=frozenset({"ssn"}))))
    assert play.said.answers.plain is None
    play.to_server(batch(b"rows"))
    assert play.said.answers.differs


def test_what_is_cancelled_before_it_is_sent_never_runs() -> None:
    """57014 and the end of the batch, without a word to the server, which has answered the batch before; the next one runs."""
    play, side = prepared()
    for said in (b"rows", b"one"):
        sent = play.client(batch(said)).permit().said.answers.pending[-1]
        play.server(side.server.feed(play.said.to_server())).said.to_client()
        ran = list(side.server.ran)
        unsent = play.client(batch(b"rows")).permit().said.to_server()
        found = play.said.cancel_unsent(sent, unsent)
        assert found is not None
        assert (found[0].discarded, found[2]) == (True, False)
        assert (play.said.to_server(), side.server.ran) == (b"", ran)
        play.to_client("E57014", "ZI")


def test_a_long_text_is_not_judged_again_on_the_event_loop() -> None:
    """When facts have moved, the batch waits for a worker, as its messages would one by one."""
    play = Play()
    text = b"select 1" + b" " * LARGE
    asked = play.client(wire.parse(b"long", text) + wire.SYNC).said.next_turn()
    while isinstance(asked, Need):
        said = play.said.large()
        assert said is not None
        play.said.judged(said[1], classify(*said), "")
        asked = play.said.next_turn()
    assert isinstance(asked, Turn)
    verdict = permit(asked.template, asked.phase)
    asked.template.decision = verdict.decision
    play.said.accept(asked, verdict)
    play.nothing_asked().server(wire.message(wire.Backend.PARSE_COMPLETE, b"") + wire.ready_for_query(wire.IDLE))
    play.said.judge.version += 1
    assert isinstance(play.client(batch(b"long")).said.next_turn(), Need)


@pytest.mark.parametrize("refused", [False, True])
def test_a_batch_among_the_data_of_a_copy_is_out_of_place(refused: bool) -> None:
    """And is not kept for later without a word, whether the server reads the data or the gateway swallows it."""
    play = Play().client(q("copy t from stdin")).asked()
    if refused:
        play.client(batch(b"rows")).refuse()
    else:
        play.permit().client(batch(b"rows")).server(wire.copy_in_response(0, 2))
    with pytest.raises(ProtocolError, match="no place in COPY data"):
        play.said.next_turn()


def test_an_answer_in_the_middle_of_a_message_is_none() -> None:
    """What the target began before the batch is its first message still, whatever the rest of it looks like."""
    play, side = prepared()
    play.server(b"A\0\0\0\x20").client(batch(b"rows")).permit()
    answered = side.server.feed(play.said.to_server())
    with pytest.raises(ProtocolError):
        play.server(answered)
    assert play.said.to_client() == b""


def test_a_batch_finds_no_more_room_than_its_messages() -> None:
    """With as many cursors open as a session may have, the next portal is refused, and nothing breaks."""
    play, _ = prepared()
    entry = play.said.names.statements[b"rows"]
    for number in range(MAX_NAMES):
        play.said.names.set_portal(b"c%d" % number, Portal(entry, hold=True))
    play.client(batch(b"rows")).asked()
    assert play.turn is not None
    assert play.turn.refusal is not None
    assert play.turn.refusal.code == "limit"


def test_the_formats_of_one_portal_are_not_those_of_the_next() -> None:
    """A portal is described in binary; the next one, which nobody describes, is text."""
    play, _ = prepared()
    column = wire.Column(b"v", 0, 0, 3802, -1, -1, 1)
    for formats, described, value in (((1,), True, b'\x01{"a": 1}'), ((), False, b'{"a": 1}')):
        said = wire.describe("P", b"") if described else b""
        whole = wire.bind(b"", b"rows", (), (), formats) + said + wire.execute(b"", 0) + wire.SYNC
        play.client(whole).permit().to_server(whole).server(
            wire.message(wire.Backend.BIND_COMPLETE, b"")
            + (wire.row_description([column]) if described else b"")
            + wire.data_row([value]) + wire.command_complete("SELECT 1") + wire.ready_for_query(wire.IDLE)
        )  # fmt: skip
        assert [form for _, _, form in play.results[-1].shape] == [1 if formats else 0]
