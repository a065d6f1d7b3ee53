"""Plays for a conversation: what the client says, what the guard says, and what must come out at either end.

    Play().client(q("select 1") + q("drop table t")).permit().to_server(q("select 1")).server(done("1"))
        .to_client(done("1")).refuse("no").to_client(error("42501") ...)

`ModelServer` is a PostgreSQL in miniature that answers what a conversation forwards: statements, portals, transactions,
errors that make it skip to Sync. It knows a few texts by heart; `ran` lists what it executed, in order. `Theatre` joins
a conversation, a guard of the test's and a model server, and can cut both streams anywhere.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

from doorward.guard.template import Template
from doorward.guard.turn import Result, Turn
from doorward.masking.detect import Detectors
from doorward.masking.transforms import Transforms
from doorward.model import Decision, Effect, Operation, Outcome, Permit, Phase, Refusal
from doorward.protocols.conversation import Need
from doorward.protocols.postgres import wire
from doorward.protocols.postgres.conversation import PROBE, PostgresConversation
from doorward.protocols.postgres.judge import Judge
from doorward.protocols.postgres.masks import PostgresMasks
from doorward.protocols.postgres.wire import Frontend
from doorward.sql.catalogue import Catalogue, Column, Relation

TEXT = 25
SHOP = Catalogue(
    relations=(
        Relation(16400, "public", "t", "r", (Column("id", 1, 23), Column("v", 2, TEXT))),
        Relation(16401, "public", "people", "r", (Column("id", 1, 23), Column("ssn", 2, TEXT))),
    ),
    schemas=frozenset({"pg_catalog", "public", "information_schema"}),
)
LABELS = {"public.people.ssn": "ssn"}


class Source:
    """A catalogue that does not change."""

    catalogue = SHOP
    labels = LABELS
    copied: Mapping[str, frozenset[str]] = {}


def conversation(**changes: Any) -> PostgresConversation:
    """One before SHOP, labelled, without detectors."""
    masks = PostgresMasks(Source(), Transforms({}, b""), Detectors(()), max_row=1 << 20)
    judge = Judge(Source(), max_statement=1 << 16, detectors=Detectors())
    return PostgresConversation(judge, masks, **{"nonce": "n", "max_message": 1 << 20, "max_row": 1 << 20, **changes})


def permit(template: Template, phase: Phase = Phase.EXECUTE, unmask: frozenset[str] = frozenset()) -> Permit:
    """As the guard makes them: tests have no guard here."""
    operation: Operation = template.operation(id="op", session_id="s", phase=phase)
    return Permit(operation, Decision(Outcome.ALLOW, ("test",), unmask=unmask), None, -1)  # the tests' own


def refusal(reason: str = "no", code: str = "denied") -> Refusal:
    return Refusal(None, None, code, reason)


def q(text: str) -> bytes:
    return wire.query(text.encode())


def row_description(name: str = "v") -> bytes:
    return wire.row_description([wire.Column(name.encode(), 0, 0, TEXT, -1, -1, 0)])


def answer(value: str = "1", status: int = wire.IDLE) -> bytes:
    """A whole answer to a simple SELECT of one value."""
    return (
        row_description() + wire.data_row([value.encode()]) + wire.command_complete("SELECT 1")
        + wire.ready_for_query(status)
    )  # fmt: skip


def messages(octets: bytes) -> list[tuple[str, bytes]]:
    """The messages of a stream that must consist of whole ones."""
    frames = wire.Frames(1 << 24)
    found = [(chr(kind), payload) for kind, payload in frames.feed(octets)]
    assert not frames.buffered
    return found


# What the model server knows: text -> (columns, rows, tag), or the SQLSTATE it fails with.
KNOWN: dict[str, tuple[int, list[str], str] | str] = {
    "select 1": (1, ["1"], "SELECT 1"),
    "select v from t": (1, ["a", "b", "c"], "SELECT 3"),
    "select ssn from people": (1, ["603-38-1615"], "SELECT 1"),
    "insert into t values (1, 'x')": (0, [], "INSERT 0 1"),
    "delete from t": (0, [], "DELETE 2"),
    "drop table t": (0, [], "DROP TABLE"),
    "select 1 / 0": "22012",
    "begin": (0, [], "BEGIN"),
    "commit": (0, [], "COMMIT"),
    "rollback": (0, [], "ROLLBACK"),
    "": (0, [], ""),
}
PARSE_ERRORS = {"select nothing_there from t": "42703"}


class ModelServer:
    """See the module. `feed` takes what reaches the server and returns what it answers."""

    def __init__(self) -> None:
        self.statements: dict[bytes, str] = {}
        self.portals: dict[bytes, list[Any]] = {}  # [text, rows already given]
        self.status = wire.IDLE
        self.implicit = False
        self.skipping = False
        self.ran: list[str] = []
        self.committed: list[str] = []
        self.open: list[str] = []  # ran in the transaction that is open
        self._frames = wire.Frames(1 << 20)

    def feed(self, octets: bytes) -> bytes:
        return b"".join(self._answers(octets))

    def _answers(self, octets: bytes) -> Iterator[bytes]:
        for kind, payload in self._frames.feed(octets):
            if kind == Frontend.SYNC:
                self.skipping = False
                self._end_implicit()
                yield wire.ready_for_query(self.status)
            elif self.skipping:
                continue
            elif kind == Frontend.QUERY:
                self.statements.pop(b"", None)
                yield from self._query(payload[:-1].decode("utf-8", "replace"))
            elif kind not in (Frontend.FLUSH, Frontend.TERMINATE):
                try:
                    yield from self._extended(kind, payload)
                except LookupError as error:
                    yield self._fail(str(error.args[0]))
                    self.skipping = True

    def _fail(self, sqlstate: str) -> bytes:
        if self.status == wire.IN_TRANSACTION:
            self.status = wire.FAILED_TRANSACTION
        self.open.clear()
        if self.status == wire.IDLE:
            self.portals.clear()
        return wire.error_response("ERROR", sqlstate, f"failed with {sqlstate}")

    def _end_implicit(self) -> None:
        if self.status == wire.IDLE:
            self.committed += self.open
            self.open.clear()
            self.portals.clear()

    def _query(self, text: str) -> Iterator[bytes]:
        if text not in KNOWN and text not in PARSE_ERRORS:
            yield self._fail("42601")
        else:
            try:
                columns, rows, tag = self._execute(text)
                if columns:
                    yield row_description()
                yield from (wire.data_row([row.encode()]) for row in rows)
                yield wire.command_complete(tag) if tag else wire.message(wire.Backend.EMPTY_QUERY_RESPONSE, b"")
            except LookupError as error:
                yield self._fail(str(error.args[0]))
        self._end_implicit()
        yield wire.ready_for_query(self.status)

    def _execute(self, text: str) -> tuple[int, list[str], str]:
        if text in PARSE_ERRORS:
            raise LookupError(PARSE_ERRORS[text])
        if self.status == wire.FAILED_TRANSACTION and text not in ("commit", "rollback"):
            raise LookupError("25P02")
        found = KNOWN[text]
        self.ran.append(text)
        if isinstance(found, str):
            raise LookupError(found)
        if text == "begin":
            self.status = wire.IN_TRANSACTION
        elif text in ("commit", "rollback"):
            if text == "commit" and self.status != wire.FAILED_TRANSACTION:
                self.committed += self.open
            self.open.clear()
            self.portals.clear()
            failed, self.status = self.status == wire.FAILED_TRANSACTION, wire.IDLE
            return 0, [], "ROLLBACK" if failed else found[2]
        else:
            self.open.append(text)
        return found

    def _extended(self, kind: int, payload: bytes) -> Iterator[bytes]:
        if kind == Frontend.PARSE:
            name, raw, _ = wire.parse_parse(payload)
            text = raw.decode("utf-8", "replace")
            if name in self.statements and name:
                raise LookupError("42P05")
            self.statements.pop(b"", None) if not name else None
            if text != PROBE and text not in KNOWN:
                raise LookupError(PARSE_ERRORS.get(text, "42601"))
            self.statements[name] = text
            yield wire.message(wire.Backend.PARSE_COMPLETE, b"")
        elif kind == Frontend.BIND:
            bind = wire.parse_bind(payload)
            if bind.statement not in self.statements:
                raise LookupError("26000")
            if bind.portal in self.portals and bind.portal:
                raise LookupError("42P03")
            self.portals[bind.portal] = [self.statements[bind.statement], 0]
            yield wire.message(wire.Backend.BIND_COMPLETE, b"")
        elif kind == Frontend.DESCRIBE:
            what, name = wire.parse_describe(payload)
            if what == "S":
                if name not in self.statements:
                    raise LookupError("26000")
                text = self.statements[name]
                yield wire.parameter_description(())
            else:
                if name not in self.portals:
                    raise LookupError("34000")
                text = self.portals[name][0]
            found = KNOWN[text]
            columns = 1 if isinstance(found, str) else found[0]
            yield row_description() if columns else wire.message(wire.Backend.NO_DATA, b"")
        elif kind == Frontend.CLOSE:
            what, name = wire.parse_close(payload)
            if what == "S":
                self.statements.pop(name, None)
            else:
                self.portals.pop(name, None)
            yield wire.message(wire.Backend.CLOSE_COMPLETE, b"")
        elif kind == Frontend.EXECUTE:
            yield from self._portal(*wire.parse_execute(payload))

    def _portal(self, name: bytes, most: int) -> Iterator[bytes]:
        if name not in self.portals:
            raise LookupError("34000")
        portal = self.portals[name]
        text, given = portal
        if text == PROBE:
            yield wire.data_row([b"app", b"app", b'["pg_catalog","public"]', None, b"UTC", None])
            yield wire.command_complete("SELECT 1")
            return
        if given:
            found = KNOWN[text]
            assert not isinstance(found, str)  # it would have failed before
            columns, rows, tag = found
        else:
            columns, rows, tag = self._execute(text)
        left = rows[given:]
        if most and len(left) >= most and columns:
            portal[1] += most
            yield from (wire.data_row([row.encode()]) for row in left[:most])
            yield wire.message(wire.Backend.PORTAL_SUSPENDED, b"")
            return
        yield from (wire.data_row([row.encode()]) for row in left)
        yield wire.command_complete(tag) if tag else wire.message(wire.Backend.EMPTY_QUERY_RESPONSE, b"")


Verdict = Callable[[Turn], "Permit | Refusal"]


class Theatre:
    """A conversation between a client's bytes and a model server, as a relay leads it. `permitted` counts the texts of
    Permits that were given for execution."""

    def __init__(self, verdict: Verdict = lambda turn: permit(turn.template, turn.phase)) -> None:
        self.conversation = conversation()
        self.server = ModelServer()
        self.verdict = verdict
        self.permitted: Counter[str] = Counter()
        self.results: list[Result] = []
        self.turns = 0
        self.shown = bytearray()
        self._cuts: Iterator[int] | None = None
        self._waiting: tuple[Turn, Refusal] | None = None
        self._must_abort = False
        self._run()

    def client(self, octets: bytes, *, cuts: Sequence[int] = (), server_cuts: Sequence[int] = ()) -> bytes:
        """Send `octets` in pieces; the server's answers come in pieces too. Returns all that the client has seen so far."""
        self._cuts = iter(server_cuts)
        for piece in pieces(octets, iter(cuts)):
            self.conversation.receive_from_client(piece)
            self._run()
        return bytes(self.shown)

    def _run(self) -> None:
        said = self.conversation
        while True:
            self._judge()
            out = said.to_server()
            self.shown += said.to_client()
            if not out:
                return
            answered = self.server.feed(out)
            # Nothing forwarded before a refusal commits because of it.
            assert not (self._must_abort and self.server.open)
            self._must_abort = False
            for piece in pieces(answered, self._cuts or iter(())):
                self.results += said.receive_from_server(piece)
                self._judge()

    def _judge(self) -> None:
        said = self.conversation
        while True:
            if self._waiting is not None:
                if not said.quiescent:
                    said.settle_down()
                    return
                turn, refused = self._waiting
                self._waiting = None
                if not said.void(turn):
                    self._must_abort = bool(self.server.open)
                    said.refuse(turn, refused)
                continue
            step = said.next_turn()
            if step is None:
                return
            if isinstance(step, Need):
                continue  # the catalogue is what it was
            self.turns += 1
            verdict = step.refusal or self.verdict(step)
            if isinstance(verdict, Permit):
                if step.phase is Phase.EXECUTE and not step.continues:
                    self.permitted[text_of(step)] += 1
                said.accept(step, verdict)
            else:
                self._waiting = step, verdict


def text_of(turn: Turn) -> str:
    """The exact text that a turn executes."""
    part = turn.part
    if part[0] == "query":
        return str(part[1].decode("utf-8", "replace"))
    if part[0] == "execute":
        return str(part[2].entry.text.decode("utf-8", "replace"))
    return str(part[2].text.decode("utf-8", "replace"))


def pieces(octets: bytes, cuts: Iterator[int]) -> Iterator[bytes]:
    """`octets` in pieces of the lengths of `cuts`, and the rest."""
    at = 0
    while at < len(octets):
        size = next(cuts, 0) or len(octets) - at
        yield octets[at : at + size]
        at += size


class Play:
    """A conversation step by step; see the module."""

    def __init__(self, said: PostgresConversation | None = None) -> None:
        self.said = said or conversation()
        self.turn: Turn | None = None
        self.results: list[Result] = []
        self._looked()

    def _looked(self) -> None:
        """The first look at the session's role and search_path."""
        assert self.said.next_turn() is None
        server = ModelServer()
        self.results += self.said.receive_from_server(server.feed(self.said.to_server()))
        assert self.said.to_client() == b""

    def client(self, octets: bytes) -> Play:
        self.said.receive_from_client(octets)
        return self

    def asked(self, effect: Effect | None = None) -> Play:
        """The next thing is a turn (of that effect)."""
        step = self.said.next_turn()
        assert isinstance(step, Turn), step
        assert effect is None or step.template.effect is effect
        self.turn = step
        return self

    def nothing_asked(self) -> Play:
        assert self.said.next_turn() is None
        return self

    def permit(self) -> Play:
        if self.turn is None:
            self.asked()
        assert self.turn is not None
        turn, self.turn = self.turn, None
        self.said.accept(turn, permit(turn.template, turn.phase))
        return self

    def refuse(self, reason: str = "no", code: str = "denied") -> Play:
        if self.turn is None:
            self.asked()
        assert self.turn is not None
        turn, self.turn = self.turn, None
        self.said.refuse(turn, refusal(reason, code))
        return self

    def server(self, octets: bytes) -> Play:
        self.results += self.said.receive_from_server(octets)
        return self

    def to_server(self, octets: bytes) -> Play:
        """Exactly these bytes go to the target now."""
        found = self.said.to_server()
        assert messages(found) == messages(octets)
        return self

    def to_client(self, *kinds: str) -> Play:
        """Exactly messages of these types go to the client now; of an error, `E` and its SQLSTATE."""
        found = [
            "E" + wire.parse_error(payload)["C"] if kind == "E" else "Z" + chr(payload[0]) if kind == "Z" else kind
            for kind, payload in messages(self.said.to_client())
        ]
        assert found == list(kinds)
        return self
