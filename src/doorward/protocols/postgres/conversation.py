"""One PostgreSQL client and one PostgreSQL server, after both have logged in: what may be forwarded, and when.

Messages are taken in order. Those that cannot do anything by themselves (Describe, Close, Flush, Sync) are forwarded as
they come; Query and Execute are turns that wait for a verdict; Parse is a turn that may be refused but is never held; Bind
waits for its Execute when that one needs a person's approval, because planning can run functions.

Some answers change what later text means (SET, DDL, PREPARE, COPY FROM STDIN). After such a *barrier* nothing is judged
until the server has answered and, where settings may have moved, has said what role and search_path now are: the server is
asked, its state is never simulated.

A refusal happens only when nothing is outstanding (`quiescent`), so the transaction status is known. If a transaction is
open, explicit or implicit, the server is made to abort it with a message that cannot succeed, and the client sees the
refusal in place of that error: nothing forwarded before a refusal commits because of the refusal.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Mapping, Sequence
from functools import partial
from typing import ClassVar, Final

from librt.strings import read_i32_be

from doorward.errors import ProtocolError
from doorward.guard.template import Template
from doorward.guard.turn import Result, Turn
from doorward.masking.statement import mask_statement
from doorward.model import Effect, Permit, Phase, Refusal
from doorward.protocols.conversation import Need
from doorward.protocols.postgres import wire
from doorward.protocols.postgres.answers import UNRESOLVED, Answers, Masks
from doorward.protocols.postgres.cancelled import cancel_first
from doorward.protocols.postgres.copied import CopiedIn
from doorward.protocols.postgres.judge import Judge, PgTemplate
from doorward.protocols.postgres.named import SessionName
from doorward.protocols.postgres.namespace import Entry, Namespace, Portal
from doorward.protocols.postgres.pending import (
    BIND,
    CLOSE,
    DESCRIBE,
    EXECUTE,
    PARSE,
    PLAIN,
    QUERY,
    SYNC,
    Pending,
    Run,
)
from doorward.protocols.postgres.plain import is_batch, is_described, unfold
from doorward.protocols.postgres.wire import Frontend
from doorward.sql.classification import Classification, Copy, Facts

MAX_PENDING: Final = 4096  # unanswered messages; a server answers long before this without being asked to flush
MAX_DEFERRED: Final = 64
LONGEST_NAME: Final = 63  # bytes: NAMEDATALEN - 1. The server takes longer names for the same if they begin the same
COPIED: Final = 4096  # bytes of COPY data that are taken at once
LARGE: Final = 8 * 1024  # bytes of a text that is not judged on the event loop
A_MESSAGE: Final = 64  # bytes that a waiting message costs besides its payload, about
RESERVED: Final = b"_doorward"
FIXED_BY_BIND: Final = frozenset({"SELECT", "INSERT", "UPDATE", "DELETE", "MERGE"})  # the rest looks names up at Execute
UNNAMED: Final = ("P", b"")  # the portal of most batches
MOVED: Final = "what its names stand for has changed since it was prepared"
BORROWED: Final = (
    "application_name tells the target whose session this is, and was changed in this transaction: "
    "end the transaction, or go back to its savepoint, in a statement of its own, then do the rest"
)

# Asked on the session's own connection, because only that one knows its settings and its temporary relations. $1 is the mark
# that its name must begin with, $2 whether it is put back for this transaction only (`named`).
PROBE: Final = (
    "SELECT current_user::pg_catalog.text, session_user::pg_catalog.text, "
    "pg_catalog.array_to_json(pg_catalog.current_schemas(true))::pg_catalog.text, "
    "(SELECT pg_catalog.array_to_json(pg_catalog.array_agg(relname))::pg_catalog.text FROM pg_catalog.pg_class "
    "WHERE relnamespace OPERATOR(pg_catalog.=) pg_catalog.pg_my_temp_schema()), "
    "pg_catalog.current_setting('TimeZone'), "
    "CASE WHEN pg_catalog.left(pg_catalog.current_setting('application_name'), pg_catalog.length($1)) "
    "OPERATOR(pg_catalog.<>) $1 THEN pg_catalog.set_config('application_name', pg_catalog.left(pg_catalog.rtrim("
    "$1 OPERATOR(pg_catalog.||) ' ' OPERATOR(pg_catalog.||) pg_catalog.current_setting('application_name')), 63), "
    "$2::pg_catalog.bool) END"
)

SQLSTATES: Final[Mapping[str, str]] = {
    "denied": "42501",  # insufficient_privilege
    "unclassifiable": "42501",
    "held": "57014",
    "expired": "57014",  # query_canceled
    "voided": "57014",
    "cancelled": "57014",
    "unrecorded": "58030",  # io_error
    "limit": "54000",  # program_limit_exceeded
    "budget": "53400",  # configuration_limit_exceeded
    "protocol": "08P01",
    "syntax": "42601",  # syntax_error
    "setting": "55P02",  # cant_change_runtime_param
}


class PostgresConversation:
    """See `protocols.conversation.Conversation`. `nonce` makes the gateway's own names unguessable to the client."""

    multiplexed: ClassVar[bool] = False

    def __init__(
        self,
        judge: Judge,
        masks: Masks,
        *,
        nonce: str,
        max_message: int,
        max_row: int,
        observe: bool = False,
        rows_recorded: int | None = None,
        name: SessionName | None = None,
    ) -> None:
        self.names = Namespace()
        self.judge = judge
        self.masks = masks
        self.answers = Answers(self.names, masks, max_row=max_row, observe=observe, rows_recorded=rows_recorded)
        self.answers.called(name or SessionName())
        self.answers.labels = judge.labels
        self.answers.deaf = bool(judge.labels)
        self.leaving = False
        self._frames = wire.Frames(
            max_message, frozenset({Frontend.COPY_DATA}), types=wire.FRONTEND_TYPES, piece=COPIED
        )
        self._inbox: deque[tuple[int, bytes]] = deque()
        self._plain = b""  # a batch that may be taken whole, before anything of it is
        self._longest_plain = min(LARGE, max_message)
        self.unjudged = 0  # bytes of complete messages that wait for a verdict or an answer
        self._server: list[bytes] = []
        self._requests: list[bytes] = []
        self._copied: CopiedIn | None = None
        self._turn: Turn | None = None
        self._skipping = False  # a refusal was answered: the client's messages up to Sync are void
        self._discarding: bytes | None = None  # COPY data of a refused COPY; then this is the answer
        self._barrier = False
        self._probe_due = True  # the first look: whose account this is, and where its names lead
        self._planned = False  # what may change settings was bound or begun, and nobody has looked since
        self._probing = False
        self._catalogue_due = ""
        self._moved = False  # settings were changed in the open transaction
        self._borrowed = False  # the session's mark was put back for the open transaction only, or for a part of it
        self._deferred = self.answers.deferred
        self._batch: set[tuple[str, bytes]] = set()  # names (S a statement's, P a portal's) that this batch changed
        self._unsure: set[tuple[str, bytes]] = set()  # and those of batches that the server has yet to answer
        self._flushed = True
        self._fail_name = RESERVED + b".refused." + nonce.encode()
        self._probe_name = RESERVED + b".look." + nonce.encode()
        self._large = b""
        self._tried: bytes | None = None  # a text whose missing relations were already looked for
        self.injected: list[str] = []  # messages of the gateway's own, for the record

    # -- bytes in and out --------------------------------------------------------------------------------------------

    def receive_from_client(self, data: bytes) -> None:
        """Take bytes from the client. Raises ProtocolError; anything complete waits for `next_turn`."""
        if is_batch(data) and not (self._inbox or self._plain or self._frames.buffered) and len(data) <= self._longest_plain:
            self._plain = data
            self.unjudged += A_MESSAGE + len(data)
            return
        if self._plain:
            self._unpack()
        for message in self._frames.feed(data):
            if message[0] == Frontend.TERMINATE:
                self.leaving = True
                return
            self._inbox.append(message)
            self.unjudged += A_MESSAGE + len(message[1])

    def receive_from_server(self, data: bytes) -> Sequence[Result]:
        """Take bytes from the server. Raises ProtocolError; what the client may see of them waits in `to_client`."""
        answers = self.answers
        if self.judge.labels is not answers.labels:  # another catalogue, other labels
            answers.labels = self.judge.labels
            answers.deaf = answers.deaf or bool(answers.labels)
        readies = answers.readies
        results = answers.feed(data)
        if answers.finished:
            for run in answers.finished:
                self._statement_finished(run)
            answers.finished.clear()
        if answers.readies != readies and (self._moved or self.judge.changed) and answers.status == wire.IDLE:
            self._transaction_ended()
        if answers.name.lacking:
            self._probe_due = True
        if self._probing and not any(p.own for p in answers.pending):
            if answers.name.lacking:
                raise ProtocolError("the target does not keep the name that this session has there")
            self._probing = False
            self._learn(answers.probe_rows)
            answers.probe_rows = []
        if self._unsure and not answers.pending:
            self._unsure.clear()
        if len(answers.done) > UNRESOLVED:
            answers.resolve_early(results)
        return results

    def to_server(self) -> bytes:
        if not self._server:
            return b""
        out = self._server[0] if len(self._server) == 1 else b"".join(self._server)
        self._server.clear()
        return out

    def to_client(self) -> bytes:
        return self.answers.take()

    def to_record(self) -> bytes | None:
        return self.answers.take_record()

    def request_data(self) -> list[bytes]:
        """COPY data that was forwarded since the last call, masked, for the recording."""
        if self._copied is not None and self.answers.copying is None:  # it is over, one way or the other
            self._requests.append(self._copied.finish())
            self._copied = None
        if not self._requests:
            return self._requests
        sent, self._requests = [data for data in self._requests if data], []
        return sent

    @property
    def quiescent(self) -> bool:
        return not self.answers.pending

    @property
    def waiting(self) -> int:
        """Bytes of the client that wait for a verdict or an answer, or for the rest of their message."""
        return self.unjudged + self._frames.buffered

    @property
    def in_transaction(self) -> bool:
        return self.answers.status != wire.IDLE or self.answers.unsynced

    def withdraw(self, after: Pending | None) -> Sequence[Result]:
        """What was said after `after` was never sent, and never will be: it did not run."""
        return self.answers.withdraw(after)

    def cancel_unsent(self, after: Pending | None, unsent: bytes) -> tuple[Run, Sequence[Result], bool] | None:
        """The client cancels, and the server has answered all that it was sent, which ended with `after`. The first
        statement of `unsent` will not run; None: there is none. Whether there is a rest, which is then in `to_server`."""
        found = cancel_first(self.answers, after, unsent, fails=self._fail_name)
        if found is None:
            return None
        run, rest, results, injected = found
        if injected:
            self.injected.append("cancel")
        if rest:
            self._server.append(rest)
        return run, results, bool(rest)

    def lost(self) -> Sequence[Result]:
        """Nobody will answer any more; what was forwarded has an unknown outcome."""
        return self.answers.lost()

    def settle_down(self) -> None:
        """Make the server answer what it has: without a Sync it may keep answers back."""
        if self.answers.pending and not self._flushed:
            self._server.append(wire.FLUSH)
            self._flushed = True

    # -- turns -------------------------------------------------------------------------------------------------------

    def next_turn(self) -> Turn | Need | None:
        """The next thing that needs a verdict, or None when the client or the server has to speak first."""
        answers = self.answers
        if self._turn is not None:
            return None
        while True:
            if self._plain and (answers.copying is not None or self._discarding is not None):
                self._unpack()  # it has no place there, which its first message will be told
            if answers.copying is not None:
                if not self._copy_in():
                    return None
                continue
            if self._discarding is not None:
                if not self._discard():
                    return None
                continue
            if self._barrier or self._probe_due or self._catalogue_due:
                if answers.pending:
                    self.settle_down()
                    return None
                self._barrier = False
                self._unsure.clear()
                if self._probe_due and answers.status != wire.FAILED_TRANSACTION and not answers.skipping:
                    self._probe()
                    continue
                if self._catalogue_due:
                    why, self._catalogue_due = self._catalogue_due, ""
                    return Need("definitions", why)
            if self._plain:
                self._turn = self._whole()
                if self._turn is not None:
                    return self._turn
                self._unpack()
            if len(answers.pending) >= MAX_PENDING or not self._inbox:
                return None
            if answers.plain is not None:
                unfold(answers)
            kind, payload = self._next()
            turn = self._take(kind, payload)
            if turn is not None:
                if isinstance(turn, Turn):
                    self._turn = turn
                return turn

    def _unpack(self) -> None:
        """Take the messages of a batch one by one after all."""
        batch, self._plain = self._plain, b""
        self.unjudged -= A_MESSAGE + len(batch)
        for message in self._frames.feed(batch):
            self._inbox.append(message)
            self.unjudged += A_MESSAGE + len(message[1])

    def _whole(self) -> Turn | None:
        """The turn of a whole batch, if the session is at rest and nothing about the statement is in doubt."""
        answers = self.answers
        if (
            answers.pending or answers.skipping or answers.unsynced or answers.differs or answers.status != wire.IDLE
            or self._skipping or self._planned or self._deferred or self._batch or self._moved or self.judge.changed
            or self.names.portals  # a cursor that outlived its transaction; without any, there is room for the portal
        ):  # fmt: skip
            return None
        batch = self._plain
        bind = wire.parse_bind(batch[5 : 1 + read_i32_be(batch, 1)])
        entry = self.names.statements.get(bind.statement)
        if entry is None or entry.inside >= 0 or (entry.shape is None and not is_described(batch)):
            return None
        template = entry.template
        decision = template.decision
        if (
            not template.plain
            or decision is None
            or decision.outcome != "allow"
            or self.judge.kept(entry.text) is not template  # to judge a long text again is not for the event loop
        ):
            return None
        portal = Portal(entry, bind.params, bind.param_formats, bind.result_formats)
        self._plain = b""
        self.unjudged -= A_MESSAGE + len(batch)
        return Turn(
            template, Phase.EXECUTE, portal.params, portal.formats, entry.oids, False, False, None,
            ("plain", batch, portal), None,
        )  # fmt: skip

    def _next(self) -> tuple[int, bytes]:
        message = self._inbox.popleft()
        self.unjudged -= A_MESSAGE + len(message[1])
        return message

    def _put_back(self, kind: int, payload: bytes) -> None:
        self._inbox.appendleft((kind, payload))
        self.unjudged += A_MESSAGE + len(payload)

    def _take(self, kind: int, payload: bytes) -> Turn | Need | None:
        if kind == Frontend.SYNC:
            wire.parse_empty(payload, "Sync")
            if self._deferred and not (self._skipping or self.answers.skipping):
                refused = self._bound_only()
                if refused is not None:
                    self._put_back(kind, payload)
                    return refused
            self._sync()
            return None
        if self._skipping or self.answers.skipping:
            return None  # as a server does, a Query included
        if kind in (Frontend.PARSE, Frontend.BIND, Frontend.QUERY) and self._looks_first(kind, payload):
            return None
        if kind == Frontend.EXECUTE:
            return self._execute(payload)
        if kind == Frontend.BIND:
            return self._bind(payload)
        if kind == Frontend.QUERY:
            return self._query(payload)
        if kind == Frontend.PARSE:
            return self._parse(payload)
        if kind == Frontend.DESCRIBE:
            return self._describe(payload)
        if kind == Frontend.CLOSE:
            return self._close(payload)
        if kind == Frontend.FLUSH:
            wire.parse_empty(payload, "Flush")
            return self._flush()
        if kind == Frontend.FUNCTION_CALL:
            return self._no(
                "protocol",
                "FunctionCall messages are not accepted: they carry no statement to judge",
                "call the function with SELECT",
                part=("query", b"", None),
            )
        if kind in (Frontend.COPY_DATA, Frontend.COPY_DONE, Frontend.COPY_FAIL):
            return None  # a server ignores these outside COPY, for a client that has not seen the error yet
        raise ProtocolError(f"a {wire.FRONTEND_NAMES.get(kind, hex(kind))} message has no place here")

    def _no(
        self,
        code: str,
        reason: str,
        hint: str = "",
        *,
        part: tuple[object, ...] = ("extended",),
        template: PgTemplate | None = None,
    ) -> Turn:
        """A turn that no policy could allow."""
        if code.startswith("missing_") and self._deferred and not self._plans_unasked(None):
            self._release()  # the server would have answered these before it missed anything
        reason = mask_statement(reason, detectors=self.judge.detectors)[0]  # it may quote a name
        refused = template or PgTemplate(
            Classification(effect=Effect.UNKNOWN, reason=reason),
            b"",
            f"[{reason}]",
            self.judge.version,
            self.names.version,
            self.judge.role,
            ",".join(self.judge.search_path),
            detectors=self.judge.detectors,
        )
        return Turn(
            refused,
            Phase.EXECUTE,
            in_transaction=self.in_transaction,
            part=part,
            refusal=Refusal(None, None, code, reason, hint),
        )

    def _query(self, payload: bytes) -> Turn | Need | None:
        text = wire.parse_query(payload)
        if self._deferred:
            refused = self._bound_only()
            if refused is not None:
                self._put_back(Frontend.QUERY, payload)
                return refused
        shared = self.judge.normal(text, self)
        if shared is not None:
            turn = self._proposed(shared[0], Phase.EXECUTE, part=("query", text, None))
            turn.params = shared[1]
            return turn
        template = self._judged(text)
        if template is None:
            self._put_back(Frontend.QUERY, payload)
            return self._need()
        if self._in_doubt(template, Frontend.QUERY, payload):
            return None
        return self._proposed(template, Phase.EXECUTE, part=("query", text, None))

    def _parse(self, payload: bytes) -> Turn | Need | None:
        name, text, oids = wire.parse_parse(payload)
        if len(name) > LONGEST_NAME:
            return self._too_long()
        if name.startswith(RESERVED):
            return self._no("protocol", "statement names beginning with _doorward are the gateway's own")
        template = self._judged(text)
        if template is None:
            self._put_back(Frontend.PARSE, payload)
            return self._need()
        if self._in_doubt(template, Frontend.PARSE, payload):
            return None
        if len(template.statements) > 1:
            return self._no("syntax", "cannot insert multiple commands into a prepared statement")
        entry = Entry(text, template, oids)
        return self._proposed(template, Phase.PREPARE, part=("parse", name, entry))

    def _judged(self, text: bytes) -> PgTemplate | None:
        """The template of a text, or None while something has to be done before it can be had: a long text is judged
        beside the event loop, and a relation that is not known is worth another look at the catalogue."""
        self._large = b""
        if LARGE < len(text) <= self.judge.most and self.judge.kept(text) is None:
            self._large = text
            return None
        template = self.judge.template(text, self)
        if template.misses and self._tried != text:
            self._tried = text
            return None
        self._tried = None
        return template

    def _need(self) -> Need:
        if self._large:
            return Need("classification", "the statement is long")
        return Need("catalogue", "a relation is not known yet")

    def large(self) -> tuple[str, Facts] | None:
        """The text that `Need("classification")` is about, and the facts to judge it by."""
        asked = self.judge.asked(self._large, self)
        if asked is None:
            self.judge.template(self._large, self)  # no text: that is quickly said
        return asked

    def judged(self, facts: Facts, classification: Classification, shown: str) -> None:
        """What came of it. If the facts have moved meanwhile, it will be asked for again."""
        text, self._large = self._large, b""
        self.judge.keep(text, facts, classification, shown, self)

    def _proposed(
        self, template: PgTemplate, phase: Phase, *, part: tuple[object, ...], portal: Portal | None = None
    ) -> Turn:
        refusal: Refusal | None = None
        if template.forbidden:
            refusal = Refusal(None, None, "setting", template.forbidden)
        elif self._borrowed and any(s.transaction for s in template.statements[:-1]):
            # The mark goes with what ends here, and what stands behind it in the same text would run without one.
            refusal = Refusal(None, None, "setting", BORROWED)
        objection = partial(self.masks.copies, template) if template.copies_out and template.labels else None
        if portal is None:
            return Turn(template, phase, (), (), (), False, self.in_transaction, refusal, part, objection)
        return Turn(
            template,
            phase,
            portal.params,
            portal.formats,
            portal.entry.oids,
            portal.started,
            self.in_transaction,
            refusal,
            part,
            objection,
        )

    # -- the extended protocol ---------------------------------------------------------------------------------------

    def _bind(self, payload: bytes) -> Turn | Need | None:
        bind = wire.parse_bind(payload)
        if self._waits_for("S", bind.statement):
            self._put_back(Frontend.BIND, payload)
            return None
        if len(bind.statement) > LONGEST_NAME or len(bind.portal) > LONGEST_NAME:
            return self._too_long()
        entry = self.names.statements.get(bind.statement)
        if entry is None:
            return self._no("missing_statement", f'prepared statement "{_name(bind.statement)}" does not exist')
        if bind.portal.startswith(RESERVED):
            return self._no("protocol", "portal names beginning with _doorward are the gateway's own")
        before = entry.template
        template = self._judged(entry.text)
        if template is not None and entry.inside >= 0:
            template = self._inside(entry)
        if template is None:
            self._put_back(Frontend.BIND, payload)
            return self._need()
        if self._in_doubt(template, Frontend.BIND, payload):
            return None
        if _overtaken(before, template):
            entry.template = before
            return self._no("voided", MOVED, "prepare it again")
        if template is not before and template.named:
            entry.shape, entry.described = None, False  # FETCH and EXECUTE may show something else now
        entry.template = template
        portal = Portal(entry, bind.params, bind.param_formats, bind.result_formats)
        pending = Pending(BIND, name=bind.portal, portal=portal)
        try:
            pending.before = self.names.set_portal(bind.portal, portal)
        except OverflowError as error:
            return self._no("limit", str(error))
        self._batch.add(("P", bind.portal))
        message = wire.message(Frontend.BIND, payload)
        decision = template.decision
        if self._deferred or (template.effect is not Effect.READ and (decision is None or decision.outcome != "allow")):
            # Planning may run functions; a statement that may have to wait for a person is not planned before that.
            if len(self._deferred) >= MAX_DEFERRED:
                return self._no("limit", f"more than {MAX_DEFERRED} statements bound before one that needs approval")
            self._deferred.append((message, pending))
        else:
            self._plans(portal)
            self._forward(message, pending)
        return None

    def _describe(self, payload: bytes) -> Turn | None:
        kind, name = wire.parse_describe(payload)
        if self._waits_for(kind, name):
            self._put_back(Frontend.DESCRIBE, payload)
            return None
        if len(name) > LONGEST_NAME:
            return self._too_long()
        if kind == "S":
            entry = self.names.statements.get(name)
            if entry is None:
                return self._no("missing_statement", f'prepared statement "{_name(name)}" does not exist')
            pending = Pending(DESCRIBE, entry=entry, statement=True)
        else:
            portal = self.names.portals.get(name)
            if portal is None:
                return self._no("missing_portal", f'portal "{_name(name)}" does not exist')
            entry = portal.entry
            pending = Pending(DESCRIBE, entry=entry, portal=portal)
        entry.described = True
        message = wire.message(Frontend.DESCRIBE, payload)
        if self._deferred:
            self._deferred.append((message, pending))
        else:
            self._forward(message, pending)
        return None

    def _close(self, payload: bytes) -> Turn | None:
        kind, name = wire.parse_close(payload)
        if len(name) > LONGEST_NAME:
            return self._too_long()
        self._batch.add((kind, name))
        pending = Pending(CLOSE, name=name, statement=kind == "S")
        if kind == "S":
            pending.before = self.names.set_statement(name, None)
        else:
            pending.before = self.names.set_portal(name, None)
        message = wire.message(Frontend.CLOSE, payload)
        if self._deferred:
            self._deferred.append((message, pending))
        else:
            self._forward(message, pending)
        return None

    def _execute(self, payload: bytes) -> Turn | Need | None:
        name, _ = wire.parse_execute(payload)
        if self._waits_for("P", name):
            self._put_back(Frontend.EXECUTE, payload)
            return None
        if len(name) > LONGEST_NAME:
            return self._too_long()
        portal = self.names.portals.get(name)
        if portal is None:
            return self._no("missing_portal", f'portal "{_name(name)}" does not exist')
        if self._plans_unasked(portal):
            return self._no_bound_only()
        template = portal.template
        fixed = template.fixed_by_bind(FIXED_BY_BIND)
        if not fixed and self._looks_first(Frontend.EXECUTE, payload):
            return None
        if not fixed and (
            template.version != self.judge.version or template.names_version != self.names.version
        ):
            fresh = self._judged(portal.entry.text)
            if fresh is None:
                self._put_back(Frontend.EXECUTE, payload)
                return self._need()
            if portal.entry.inside < 0 and fresh.classification != template.classification:
                return self._no("voided", "what its names stand for has changed since it was bound", "bind it again")
        if self.judge.outdated(template):
            return self._no("voided", "code that ran since it was bound may have changed settings", "bind it again")
        return self._proposed(portal.template, Phase.EXECUTE, part=("execute", payload, portal), portal=portal)

    def _flush(self) -> Turn | None:
        if self._deferred:
            refused = self._bound_only()
            if refused is not None:
                return refused
        self._server.append(wire.FLUSH)
        self._flushed = True
        return None

    def _bound_only(self) -> Turn | None:
        """The client wants an answer to a Bind that was kept back, and has sent no Execute: it goes ahead if planning it
        cannot run anything."""
        if self._plans_unasked(None):
            return self._no_bound_only()
        self._release()
        return None

    def _plans_unasked(self, portal: Portal | None) -> bool:
        """Whether sending what is kept back would plan, besides `portal`, something that may call functions: by name, or
        those of the target's own behind defaults, rules, views and policies, which nobody names."""
        return any(
            (self.judge.has_functions and p.portal.template.fixed_by_bind(FIXED_BY_BIND))
            or any(r.kind == "Function" for r in p.portal.template.resources)
            for _, p in self._deferred
            if p.portal is not None and p.portal is not portal
        )

    def _no_bound_only(self) -> Turn:
        return self._no(
            "held",
            "a statement that may need approval and calls functions was bound without being executed",
            "send Bind and Execute together",
        )

    def _too_long(self) -> Turn:
        return self._no("protocol", f"names of statements and portals cannot be longer than {LONGEST_NAME} bytes")

    def _looks_first(self, kind: int, payload: bytes) -> bool:
        """Put a message back whose names the server is about to look up, if what was planned meanwhile may have changed
        where they lead; the server is asked, and then it comes again."""
        if not self._planned or self.answers.status == wire.FAILED_TRANSACTION:  # in which nothing can run
            return False
        self._put_back(kind, payload)
        self._planned, self._barrier, self._probe_due = False, True, True
        return True

    def _in_doubt(self, template: PgTemplate, kind: int, payload: bytes) -> bool:
        """Put a message back whose text names statements or cursors, while it is not sure what these names stand for."""
        if not (template.named and self._unsure and self.answers.pending):
            return False
        self._put_back(kind, payload)
        self._barrier = True
        return True

    def _waits_for(self, kind: str, name: bytes) -> bool:
        """Whether a name is in doubt: an earlier batch changed it, and the server may yet say that it did not, because an
        error made it skip the change. Within one batch an error would skip the use of the name as well."""
        if (kind, name) not in self._unsure or (kind, name) in self._batch:
            return False
        if not self.answers.pending:
            self._unsure.clear()
            return False
        self._barrier = True
        return True

    def _sync(self) -> None:
        self._drop_deferred()
        self._unsure |= self._batch
        self._batch.clear()
        if self._moved or self.judge.changed:
            self._barrier = True  # an implicit transaction ends here, and settings may go back with it
        self._skipping = False
        self.answers.skipping = False
        self._server.append(wire.SYNC)
        self._flushed = True
        self.answers.pending.append(Pending(SYNC))

    def _forward(self, message: bytes, pending: Pending) -> None:
        self._server.append(message)
        self.answers.pending.append(pending)
        self.answers.unsynced = True
        self._flushed = False

    def _release(self) -> None:
        for message, pending in self._deferred:
            self._plans(pending.portal)
            self._forward(message, pending)
        self._deferred.clear()

    def _plans(self, portal: Portal | None, *, runs: bool = False) -> None:
        """Planning calls functions that are said to be immutable, whatever they do, and a portal need not be run to its end.
        The server plans a query when it is bound; a utility, and what is inside one, not before it runs."""
        if portal is not None and portal.template.barrier and (runs or portal.template.fixed_by_bind(FIXED_BY_BIND)):
            self._planned = self._moved = True
            self._stirs(portal.template)

    def _stirs(self, template: PgTemplate) -> None:
        """Note that code may run that nobody can follow: whatever becomes of it, even if it fails, it may have kept what it
        has changed (CALL may commit)."""
        if template.opaque:
            self.judge.stir()
            self.answers.opaque = True

    def _drop_deferred(self) -> None:
        self.answers.drop_deferred()

    # -- verdicts ----------------------------------------------------------------------------------------------------

    def accept(self, turn: Turn, permit: Permit) -> None:
        """Forward what the turn is about. The caller sends `to_server` on only when the permit's record is durable."""
        if turn is not self._turn:
            raise ValueError("that turn is not the one being judged")
        self._turn = None
        template = turn.template
        assert isinstance(template, PgTemplate)
        what = turn.part[0]
        if what == "parse":
            _, name, entry = turn.part
            pending = Pending(PARSE, name=name, entry=entry)
            try:
                pending.before = self.names.set_statement(name, entry)
            except OverflowError as error:
                raise ProtocolError(str(error)) from error
            self._batch.add(("S", name))
            message = wire.parse(name, entry.text, entry.oids)
            if self._deferred:
                self._deferred.append((message, pending))
            else:
                self._forward(message, pending)
            return
        portal: Portal | None = turn.part[2]
        run = Run(template, permit, portal)
        run.strip = self.masks.strips(template, permit.decision.unmask)
        if template.effect is not Effect.READ:
            self.answers.late = self.answers.late or run.strip
            self.answers.late_kept = self.answers.late_kept or self.masks.strips(template, frozenset())
        elif template.listens and not run.strip:
            self.answers.deaf = False
        if permit.decision.unmask:
            self.answers.unmasks()
        self._stirs(template)
        self.answers.notes(template, turn.params)
        if what == "query":
            self._drop_deferred()
            self._server.append(wire.query(turn.part[1]))
            self.answers.pending.append(Pending(QUERY, run=run))
            self._flushed = True
        elif what == "plain":
            self._send_whole(turn.part[1], run)
        else:
            assert portal is not None
            self._release()
            self._plans(portal, runs=True)
            entry = portal.entry
            if entry.shape is None and not entry.described and any(s.returns_rows for s in template.statements):
                # No RowDescription is on its way: without one its rows could not be masked.
                name = next(n for n, p in self.names.portals.items() if p is portal)
                entry.described = True
                self._forward(wire.describe("P", name), Pending(DESCRIBE, entry=entry, portal=portal, own=True))
            self._forward(wire.message(Frontend.EXECUTE, turn.part[1]), Pending(EXECUTE, run=run))
        if template.barrier or (
            (self._moved or self.judge.changed) and any(s.transaction for s in template.statements)
        ):  # fmt: skip
            self._barrier = True

    def _send_whole(self, batch: bytes, run: Run) -> None:
        answers = self.answers
        assert run.portal is not None
        described = is_described(batch)
        entry = run.portal.entry
        entry.described = entry.described or described
        answers.plain = Pending(PLAIN, entry=entry, run=run, statement=described)
        answers.pending.append(answers.plain)
        answers.unsynced = True
        self._unsure.add(UNNAMED)
        self._server.append(batch)
        self._flushed = True
        if answers.differs:
            unfold(answers)

    def void(self, turn: Turn) -> bool:
        """Whether an error in what was forwarded before this turn makes the server skip to Sync: then it would not have
        looked at the turn, and neither do we. True: the turn is gone, without a word to anybody."""
        if turn is not self._turn or not self.answers.skipping:
            return False
        self._turn = None
        self._drop_deferred()
        return True

    def refuse(self, turn: Turn, refusal: Refusal) -> None:
        """Answer with an error of PostgreSQL's own kind. Nothing may be outstanding."""
        if turn is not self._turn:
            raise ValueError("that turn is not the one being judged")
        if self.answers.pending:
            raise ValueError("a refusal needs a quiescent connection")
        self._turn = None
        template = turn.template
        error = wire.error_response(
            "ERROR",
            self._sqlstate(refusal, template),
            refusal.reason,
            hint=refusal.hint,
            detail=""
            if refusal.decision is None or not refusal.decision.rules
            else "decided by: " + ", ".join(refusal.decision.rules),
        )
        simple = turn.part[0] == "query"
        self._drop_deferred()
        if simple and isinstance(template, PgTemplate) and (template.copies_in or _smells_of_copy(turn.part[1])):
            # psql would run the data that follows as SQL and as its own commands (CVE-2026-6464): swallow it first.
            self.answers.say(wire.copy_in_response(0, 0))
            self._discarding = error
            return
        if turn.part[0] == "plain":
            self._put_back(Frontend.SYNC, b"")  # of the batch, which is all that is left to take of it
        self._answer(error, simple=simple)

    def _answer(self, error: bytes, *, simple: bool) -> None:
        answers = self.answers
        open_transaction = answers.status == wire.IN_TRANSACTION or answers.unsynced
        if simple:
            if open_transaction:
                self.injected.append("abort")
                self._server.append(wire.query(b"doorward refused this statement"))  # a syntax error, by intent
                answers.pending.append(Pending(QUERY, own=True, instead=error))
                self._flushed = True
            else:
                answers.say(error + wire.ready_for_query(answers.status))
            return
        self._skipping = True
        if open_transaction:
            self.injected.append("abort")
            self._server.append(wire.execute(self._fail_name, 0) + wire.FLUSH)  # no such portal, by intent
            answers.pending.append(Pending(EXECUTE, own=True, instead=error))
            self._flushed = True
        else:
            answers.say(error)

    @staticmethod
    def _sqlstate(refusal: Refusal, template: Template) -> str:
        if refusal.code == "missing_statement":
            return "26000"
        if refusal.code == "missing_portal":
            return "34000"
        if refusal.code in ("unclassifiable", "denied") and isinstance(template, PgTemplate) and template.sqlstate:
            return template.sqlstate
        return SQLSTATES.get(refusal.code, "42501")

    # -- COPY --------------------------------------------------------------------------------------------------------

    def _copy_in(self) -> bool:
        """Move COPY data on while the server reads it; True when another message may follow."""
        if not self._inbox:
            return False
        kind, payload = self._next()
        if kind == Frontend.COPY_DATA:
            self._server.append(wire.message(kind, payload))
            if self._copied is None:
                self._copied = CopiedIn(_copy_of(self.answers.copying), self.judge.detectors)
            self._requests.append(self._copied.feed(payload))
        elif kind in (Frontend.COPY_DONE, Frontend.COPY_FAIL):
            self._server.append(wire.message(kind, payload))
            self.answers.copying = None
        elif kind not in (Frontend.SYNC, Frontend.FLUSH):  # which a server ignores while it copies
            raise ProtocolError(f"a {wire.FRONTEND_NAMES.get(kind, hex(kind))} message has no place in COPY data")
        return True

    def _discard(self) -> bool:
        if not self._inbox:
            return False
        kind, _ = self._next()
        if kind in (Frontend.COPY_DONE, Frontend.COPY_FAIL):
            error, self._discarding = self._discarding, None
            assert error is not None
            self._answer(error, simple=True)
        elif kind not in (Frontend.COPY_DATA, Frontend.SYNC, Frontend.FLUSH):
            raise ProtocolError(f"a {wire.FRONTEND_NAMES.get(kind, hex(kind))} message has no place in COPY data")
        return True

    # -- what answers change -----------------------------------------------------------------------------------------

    def _statement_finished(self, run: Run) -> None:
        """A permitted statement completed: the i-th CommandComplete is the i-th statement's."""
        template = run.template
        if template.effect in (Effect.EXECUTE, Effect.UNKNOWN, Effect.CONTROL, Effect.DEFINE):
            self._probe_due = True  # functions may do anything to a session; definitions may be temporary
            self._moved = True  # what a function set for its transaction only goes back when that ends
        index = run.statement - 1
        if index >= len(template.statements):
            return
        statement = template.statements[index]
        if statement.stirs:
            self._probe_due = self._moved = True
        if statement.tag == "DISCARD ALL":  # which no transaction can take back
            self.judge.clear()
            self.answers.opaque = False
        if statement.changes_session:
            self._probe_due = True
            self._moved = True
            self.judge.settle(unsettled=True)
        if statement.transaction and index < len(run.tags) and run.tags[index] == "ROLLBACK":
            self.names.forget_young()
        if statement.transaction and self._moved:
            self._probe_due = True
        if statement.defines:
            self._probe_due = True  # a temporary relation hides others of its name from now on
            self.judge.changed_now(self.judge.changed | frozenset(statement.defines))
        if statement.prepares is not None:
            self.names.set_statement(statement.prepares.encode(), self._made_in_sql(template, index))
        if statement.deallocates is not None:
            if statement.deallocates:
                self.names.set_statement(statement.deallocates.encode(), None)
            else:
                self.names.forget_statements()
        if statement.declares is not None:
            # A cursor must not be known longer than it lives: a function could open another one of its name.
            cursor = Portal(self._made_in_sql(template, index), hold=statement.holds)
            cursor.young = True
            self.names.set_portal(statement.declares.encode(), cursor)
        if statement.closes is not None:
            if statement.closes:
                self.names.set_portal(statement.closes.encode(), None)
            else:
                self.names.keep_portals({n: p for n, p in self.names.portals.items() if p.entry.inside < 0})
                self.names.version += 1

    def _transaction_ended(self) -> None:
        self._borrowed = False
        if self._moved:
            self._probe_due = True
            self._moved = False
            self.judge.settle(unsettled=False)
        if self.judge.changed:
            self._probe_due = True
            if any(schema != "pg_temp" for schema, _ in self.judge.changed):  # which the catalogue leaves out
                self._catalogue_due = "a transaction with definitions ended"
            self.judge.changed_now(frozenset())

    def _probe(self) -> None:
        self._probe_due = self._planned = False
        self._probing = True
        self.injected.append("look")
        name = self._probe_name
        pending = self.answers.pending
        inside = self.answers.unsynced  # a Sync would end the client's implicit transaction
        called = self.answers.name
        called.lacking = False
        passing = b"on" if inside or self.answers.status != wire.IDLE else b"off"
        self._server.append(
            wire.parse(name, PROBE.encode(), ())
            + wire.bind(name, name, (), (called.mark.encode(), passing), (0,))
            + wire.execute(name, 0)
            + wire.close("P", name)
            + wire.close("S", name)
            + (wire.FLUSH if inside else wire.SYNC)
        )
        for kind in (PARSE, BIND, EXECUTE, CLOSE, CLOSE):
            pending.append(Pending(kind, name=name, own=True))
        if not inside:
            pending.append(Pending(SYNC, own=True))
        self._flushed = True
        self._barrier = True

    def _learn(self, rows: Sequence[Sequence[bytes | None]]) -> None:
        """Take over what the server said of this session. A role nobody granted ends it."""
        self.judge.learn(rows)
        if rows[0][5] is not None and self.in_transaction:
            self._borrowed = True
        self.answers.zone((rows[0][4] or b"").decode("utf-8", "replace"))

    # -- names, for classification -----------------------------------------------------------------------------------

    @property
    def version(self) -> int:
        return self.names.version

    def prepared(self, name: str) -> Classification | None:
        """What EXECUTE `name` would run, judged under the present search_path as the server will."""
        entry = self.names.statements.get(name.encode())
        if entry is None:
            return None
        before = entry.template
        now = self._inside(entry) if entry.inside >= 0 else self.judge.template(entry.text, self)
        if _overtaken(before, now):
            entry.template = before
            return None
        return now.classification

    def cursor(self, name: str) -> Classification | None:
        """What FETCH FROM `name` would show: judged when it was declared."""
        portal = self.names.portals.get(name.encode())
        return None if portal is None or self.judge.outdated(portal.template) else portal.template.classification

    def _made_in_sql(self, template: PgTemplate, index: int) -> Entry:
        inner = template.statements[index].inner or Classification(
            effect=Effect.UNKNOWN, reason="its statement is not known"
        )
        return Entry(template.exact, self.judge.inner(template, inner), inside=index)

    def _inside(self, entry: Entry) -> PgTemplate:
        """The template of a statement that SQL itself prepared, judged anew if the facts have moved."""
        if entry.template.version != self.judge.version:
            outer = self.judge.template(entry.text, self)
            inner = outer.statements[entry.inside].inner if entry.inside < len(outer.statements) else None
            entry.template = self.judge.inner(
                outer, inner or Classification(effect=Effect.UNKNOWN, reason="its statement is not known any more")
            )
        return entry.template


def _overtaken(before: PgTemplate, now: PgTemplate) -> bool:
    """Whether a prepared statement's names would lead elsewhere now, though search_path is the same. The server looks them
    up again only when search_path, or what they led to, has changed: it may run either."""
    return (
        before is not now
        and before.search_path == now.search_path
        and {(r.kind, r.name) for r in before.resources} != {(r.kind, r.name) for r in now.resources}
    )


def _copy_of(run: Run | None) -> Copy | None:
    """What a COPY that is reading data said of itself; None: that cannot be told."""
    if run is None or run.statement >= len(run.template.statements):
        return None
    return run.template.statements[run.statement].copy


def _name(raw: bytes) -> str:
    return raw.decode("utf-8", "replace")


def _smells_of_copy(text: bytes) -> bool:
    """Whether a text that was not understood could be a COPY FROM STDIN to the client that sent it."""
    lowered = text.lower()
    return b"copy" in lowered and b"stdin" in lowered
