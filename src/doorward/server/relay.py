"""The only loop that moves bytes: one client, one target, one conversation between them.

Bytes from the client go into the conversation; turns come out, are judged, and are accepted or refused; what the
conversation then says to send is sent, one write per side per read. Bytes for the target pass the *gate*: they are held
until the log is durable up to the last permit among them. Everything awaited here is somebody's decision or the
catalogue; nothing is awaited on the path of a plain permitted statement.

A connection is a `Door` (the client's protocol) and, once a target has been dialled, an `Inside` (the target's).
"""

from __future__ import annotations

import asyncio
from collections.abc import Mapping, Sequence
from contextlib import suppress
from typing import TYPE_CHECKING, Any, Final, cast

from doorward.errors import DoorwardError, ProtocolError, UpstreamError
from doorward.guard.guard import GuardedSession
from doorward.guard.session_recorder import PRESSURE
from doorward.guard.token_vault import TokenVault
from doorward.guard.turn import Result, Turn
from doorward.ledger.encoding import canonical
from doorward.masking.statement import mask_statement
from doorward.model import Approval, Permit, Refusal
from doorward.protocols.conversation import Need
from doorward.protocols.postgres import wire
from doorward.protocols.postgres.answers import STYLES
from doorward.protocols.postgres.cancelled import DETAIL, MESSAGE
from doorward.protocols.postgres.conversation import PROBE, PostgresConversation
from doorward.protocols.postgres.looking import Question
from doorward.protocols.postgres.pending import Pending
from doorward.server.own import CatalogueHolder
from doorward.server.preview import Given, Previews
from doorward.server.tls import TlsLayer

if TYPE_CHECKING:
    from doorward.server.dial import Upstream
    from doorward.server.listener import Listener

BEHIND_A_HOLD: Final = 1 << 20  # bytes a client may pipeline behind a statement that waits for a person
UNJUDGED: Final = 1 << 20  # bytes of complete messages that wait to be judged before the client is read no further
GATED: Final = 1 << 20  # bytes that wait for the record before the client is read no further
ASKED: Final = "its client asked"
TURN: Final = 0.02  # seconds that one answer is masked for before others have their turn
HEARD: Final = 4096  # bytes of a client that are taken at once, where there are many
STRIDE: Final = 128 << 10  # bytes of an answer that are masked at once, at most,
BEGINNING: Final = 32 << 10  # .. while nobody knows how slow it is,
SHORTEST: Final = 4096  # .. and where it is slow
LAST_WORDS: Final = 30.0  # seconds to learn the outcome of what ran when its client left, or was cancelled


class Inside(asyncio.Protocol):
    """The target's end of a relay."""

    __slots__ = ("relay", "tls", "transport")

    def __init__(self, relay: Relay, tls: TlsLayer | None) -> None:
        self.relay = relay
        self.tls = tls
        self.transport: asyncio.Transport

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport = cast(asyncio.Transport, transport)

    def data_received(self, data: bytes) -> None:
        tls = self.tls
        if tls is not None:
            try:
                data = tls.feed(data)
                if out := tls.outgoing():
                    self.transport.write(out)
            except ProtocolError as error:
                self.relay.broken(error)
                return
        if data:
            self.relay.from_server(data)

    def write(self, data: bytes) -> None:
        tls = self.tls
        if tls is not None:
            tls.write(data)
            data = tls.outgoing()
        self.transport.write(data)

    def pause_writing(self) -> None:
        self.relay.pause_client("target")

    def resume_writing(self) -> None:
        self.relay.resume_client("target")

    def connection_lost(self, exc: Exception | None) -> None:
        self.relay.server_lost(exc)


class Relay:
    """Between the two ends, from a session's opening to its close."""

    __slots__ = (
        "_asking",
        "_behind",
        "_busy",
        "_cancelled",
        "_client_behind",
        "_client_paused",
        "_closed",
        "_closing",
        "_front",
        "_front_cancelled",
        "_front_since",
        "_gate",
        "_gated",
        "_gated_size",
        "_gone",
        "_holding",
        "_keeping",
        "_look",
        "_looked_at",
        "_looked_for",
        "_lost",
        "_sent",
        "_server_paused",
        "_stride",
        "_unheard",
        "_unread",
        "_unsent",
        "_vault",
        "_verdict",
        "_waiting",
        "active_at",
        "catalogue",
        "client_gone",
        "conversation",
        "door",
        "guarded",
        "inside",
        "key",
        "listener",
        "previews",
        "started_at",
        "upstream",
    )

    def __init__(
        self,
        listener: Listener,
        door: Any,
        guarded: GuardedSession,
        conversation: PostgresConversation,
        upstream: Upstream,
        previews: Previews,
        catalogue: CatalogueHolder,
        key: tuple[int, bytes],
    ) -> None:
        self.listener = listener
        self.door = door
        self.guarded = guarded
        self.conversation = conversation
        self.upstream = upstream
        self.previews = previews
        self.catalogue = catalogue
        self.key = key
        self.inside = Inside(self, upstream.tls)
        self.client_gone = False
        self.started_at = self.active_at = listener.monotonic()
        self._busy = False  # something is awaited before the next turn
        self._holding = False
        self._cancelled = False  # its client cancelled the next turn before it could be judged
        self._gone: asyncio.Event | None = None
        self._waiting: Turn | None = None  # judged, but its refusal or hold needs quiescence
        self._verdict: Refusal | None = None
        self._gate = -1
        self._gated: list[tuple[int, bytes, Pending | None]] = []
        self._gated_size = 0
        self._sent: Pending | None = None  # the last message that went to the target
        self._unsent: list[Result] = []  # withdrawn, and not on record yet: outcomes stand in the order of their turns
        self._front: Pending | None = None  # what the target is at, since when, and whether it was told to stop
        self._front_since = self.started_at
        self._front_cancelled = False
        self._client_paused: set[str] = set()
        self._server_paused: set[str] = set()
        self._closing = False
        self._closed = False
        self._look = -1
        self._looked_at: Pending | None = None  # the answer that was masked last, and the seconds that this took
        self._looked_for = 0.0
        self._vault = guarded.guard.vault
        self._keeping = 0  # chunks of answers whose tokens are not in the vault yet: nothing goes to the client
        self._asking = False  # somebody else looks at a long value
        self._behind = False  # some of what the target sent waits for its turn
        self._unread: list[bytes] = []
        self._client_behind = False  # some of what the client sent waits for its turn
        self._unheard: list[bytes] = []
        self._stride = BEGINNING
        self._lost = False  # the target is gone, but not all that it said was read
        guarded.on_end = self._ended

    # -- client ------------------------------------------------------------------------------------------------------

    def from_client(self, data: bytes) -> None:
        """Plain bytes from the client."""
        if self._client_behind:
            self._unheard.append(data)
        elif len(data) <= HEARD:
            self._heard(data)
        else:
            self._hear(data)

    def _hear(self, data: bytes) -> None:
        """Take a lot that the client sent, for a turn at a time."""
        began = self.listener.monotonic()
        position = 0
        while position < len(data) and not self._closing:
            if position and self.listener.monotonic() - began > TURN:
                self._unheard.insert(0, data[position:])
                self._client_behind = True
                self.pause_client("behind")
                asyncio.get_running_loop().call_soon(self._hear_on)
                return
            self._heard(data[position : position + HEARD])
            position += HEARD

    def _hear_on(self) -> None:
        """Others had their turn."""
        self._client_behind = False
        unheard, self._unheard = b"".join(self._unheard), []
        self._hear(unheard)
        if not self._client_behind:
            self.resume_client("behind")

    def _heard(self, data: bytes) -> None:
        """A piece of what the client sent."""
        if self._closing:
            return
        conversation = self.conversation
        try:
            conversation.receive_from_client(data)
            if self._holding:
                if conversation.leaving:
                    self.leave()
                elif conversation.waiting > BEHIND_A_HOLD:
                    self._give_up("too much was sent behind a statement that waits for approval")
                return
            self.advance()
            if conversation.unjudged > UNJUDGED:
                self.pause_client("unjudged")
        except ProtocolError as error:
            self.broken(error, client=True)
        except UpstreamError as error:
            self.broken(error)

    def leave(self) -> None:
        """The client went: whatever is held is parked, what runs is let finish, nothing new starts."""
        if self.client_gone:
            return
        self.client_gone = True
        self._unheard.clear()
        if self._gone is not None:
            self._gone.set()
        self._withdraw()
        if not self._holding:
            self._wind_up()

    def _withdraw(self) -> None:
        """What waits at the gate was not sent, so it never is, and never ran."""
        if self._gated:
            self._gated.clear()
            self._gated_size = 0
            self._unsent.extend(self.conversation.withdraw(self._sent))  # on record after what was sent before it

    def _wind_up(self) -> None:
        """Say good-bye to the target; keep listening for what became of the last statement."""
        if self._closing:
            return
        self._closing = True
        self._say(wire.TERMINATE)
        if self.conversation.quiescent:
            self.inside.transport.close()
        else:
            self._resume_server_all()
            asyncio.get_running_loop().call_later(LAST_WORDS, self.inside.transport.abort)

    def cancel(self) -> None:
        """A CancelRequest with this session's key."""
        if self._closing:
            return
        pending = self.conversation.answers.pending
        front = pending[0] if pending else None
        sent = front is not None and (not self._gated or any(each is self._sent for each in pending))
        try:
            if self._holding and self._gone is not None:
                self._gone.set()
            elif sent and front is not None and not front.own:
                self._cancel_running(ASKED)
            elif sent or not self._gated or not self._cancel_gated():
                self._cancelled = self.conversation.unjudged > 0  # what waits for an answer to the gateway itself
        except ProtocolError as error:
            self.broken(error, client=True)
        except UpstreamError as error:
            self.broken(error)

    def _cancel_gated(self) -> bool:
        """Nothing but what waits at the gate is unanswered: the first statement of it does not run. False: there is none."""
        conversation = self.conversation
        unsent = b"".join(out for _, out, _ in self._gated)
        cancelled = conversation.cancel_unsent(self._sent, unsent)
        if cancelled is None:
            return False
        run, results, rest = cancelled
        self.guarded.record.event(
            "operation.cancelled", {"operation": run.permit.operation.id, "reason": f"{ASKED}, before it was sent"}
        )
        for result in results:
            self.guarded.settle(result)
        if rest:
            self._gate = max(self._gate, *(position for position, _, _ in self._gated))
        self._gated.clear()
        self._gated_size = 0
        self.resume_client("gate")
        if conversation.injected:
            self._record_injected()
        self.advance()
        return True

    def _cancel_running(self, why: str) -> None:
        pending = self.conversation.answers.pending
        run = pending[0].run if pending else None
        operation = None if run is None else run.permit.operation.id
        # Why may quote the target, which may quote the client.
        shown = mask_statement(why, detectors=self.guarded.guard.recorder.detectors)[0]
        with suppress(UpstreamError):  # a cancellation that is not on record does less harm than none
            self.guarded.record.event("operation.cancelled", {"operation": operation or "", "reason": shown})
        self.listener.start(self.listener.cancel_upstream(self))

    @property
    def idle(self) -> bool:
        """Whether nothing runs and nothing is held."""
        return not self._busy and not self._keeping and self.conversation.quiescent

    def check_statement(self, now: float, limit: float) -> None:
        """Once a second: cancel what the target has been at for more than `limit` seconds, once; if the target does not
        stop, the session ends."""
        pending = self.conversation.answers.pending
        front = pending[0] if pending else None
        if front is not self._front or front is None or self._gated:
            self._front, self._front_since, self._front_cancelled = front, now, False
        elif now - self._front_since > limit + LAST_WORDS:
            self.guarded.end(f"a statement passed its limit of {limit:g} s, and the target did not stop it")
        elif now - self._front_since > limit and not self._front_cancelled:
            self._front_cancelled = True
            self._cancel_running(f"it passed its limit of {limit:g} s")

    # -- the loop ----------------------------------------------------------------------------------------------------

    def advance(self) -> None:
        """Judge and forward as much as can be judged now."""
        conversation = self.conversation
        if self._busy or self._closing:
            self._flush()
            return
        guarded = self.guarded
        while True:
            if self._waiting is not None:
                if not conversation.quiescent:
                    conversation.settle_down()
                    break
                turn, self._waiting = self._waiting, None
                verdict: Permit | Refusal | None
                verdict, self._verdict = self._verdict, None
                if conversation.void(turn):
                    continue
                if verdict is None:
                    self._hold(turn)
                    break
                conversation.refuse(turn, verdict)
                continue
            step = conversation.next_turn()
            if step is None:
                break
            if isinstance(step, Need):
                self._busy = True
                self.listener.start(self._fetch(step))
                break
            if self._cancelled:
                self._cancelled, step.refusal = False, Refusal(None, None, "cancelled", MESSAGE, DETAIL)
            verdict = guarded.admit_now(step)
            if type(verdict) is Permit:
                if verdict.position > self._gate:
                    self._gate = verdict.position
                conversation.accept(step, verdict)
            else:
                self._waiting, self._verdict = step, cast("Refusal | None", verdict)
        if self._cancelled and not conversation.unjudged:
            self._cancelled = False
        if conversation.injected:
            self._record_injected()
        self._flush()
        if "unjudged" in self._client_paused and conversation.unjudged <= UNJUDGED // 2:
            self.resume_client("unjudged")
        if conversation.leaving and not self._busy and self._waiting is None:
            self.leave()

    def _flush(self) -> None:
        conversation = self.conversation
        out = conversation.to_server()
        if out:
            if self._gate >= 0:
                durable = self.guarded.guard.recorder.wait(self._gate)
                if durable is not None or self._gated:
                    self._hold_back(self._gate, out)
                    if durable is not None:
                        durable.add_done_callback(self._durable)
                else:
                    self._say(out)
                self._gate = -1
            elif self._gated:
                self._hold_back(-1, out)
            else:
                self._say(out)
        for sent in conversation.request_data():
            self.guarded.record.request_data(sent)
        self._to_client()

    def _to_client(self) -> None:
        if self._keeping:
            return
        conversation = self.conversation
        out = conversation.to_client()
        if out:
            record = conversation.to_record()
            if record is None or record:
                self.guarded.record.response(out if record is None else record)
            if not self.client_gone:
                self.door.send(out)
        if self.guarded.record.pressure > PRESSURE:
            self._wait_for_recorder()

    def _say(self, out: bytes) -> None:
        pending = self.conversation.answers.pending
        self._sent = pending[-1] if pending else None
        if not self._closed:
            self.inside.write(out)

    def _hold_back(self, position: int, out: bytes) -> None:
        pending = self.conversation.answers.pending
        self._gated.append((position, out, pending[-1] if pending else None))
        self._gated_size += len(out)
        if self._gated_size > GATED:
            self.pause_client("gate")

    def _durable(self, future: asyncio.Future[None]) -> None:
        """The log is durable further on: let through what waited for it, in order."""
        if future.cancelled() or future.exception() is not None:
            self._withdraw()
            self.broken(UpstreamError("the record could not be written, so nothing was done"))
            return
        recorder = self.guarded.guard.recorder
        while self._gated:
            position, out, last = self._gated[0]
            if position >= 0 and recorder.wait(position) is not None:
                return
            self._gated.pop(0)
            self._gated_size -= len(out)
            self._say(out)
            self._sent = last
        self.resume_client("gate")

    def _record_injected(self) -> None:
        conversation = self.conversation
        record = self.guarded.record
        for what in conversation.injected:
            if what == "look":
                if self._look < 0:
                    self._look = record.template(_LOOK)
                self._gate = max(self._gate, record.run(self._look, b"\0\0"))
            else:
                why = "a refusal" if what == "abort" else "a cancellation"
                self._gate = max(self._gate, record.event("transaction.aborted", {"by": "doorward", "why": why}))
        conversation.injected.clear()

    # -- what is awaited ---------------------------------------------------------------------------------------------

    async def _fetch(self, need: Need) -> None:
        try:
            if need.what == "classification":
                asked = self.conversation.large()
                if asked is not None:
                    text, facts = asked
                    self.conversation.judged(facts, *await self.listener.worker.judge(text, facts))
            elif need.what == "definitions":  # what was judged by the old ones must not run: no pacing here
                await self.catalogue.refresh()
            else:
                await self.catalogue.look_for()
        except DoorwardError as error:
            self.broken(error)
            return
        except Exception as error:
            self._failed(error)
            raise
        finally:
            self._busy = False
        self._again()

    def _again(self) -> None:
        try:
            if self.client_gone and not self._closing:
                self._wind_up()
            else:
                self.advance()
        except ProtocolError as error:
            self.broken(error, client=True)
        except UpstreamError as error:
            self.broken(error)

    def _failed(self, error: Exception) -> None:
        """A mistake of ours: this session ends, and `Listener.start` writes it down."""
        self.broken(UpstreamError(f"the gateway failed ({type(error).__name__}); its log says more"))

    def _hold(self, turn: Turn) -> None:
        if self.conversation.waiting > BEHIND_A_HOLD:
            self._give_up("too much was sent behind a statement that waits for approval")
            return
        self.resume_client("unjudged")  # or its departure would not be seen
        self._busy = self._holding = True
        self._gone = asyncio.Event()
        if self.client_gone or self.conversation.leaving:
            self._gone.set()
        self.listener.start(self._held(turn, self._gone))

    async def _held(self, turn: Turn, gone: asyncio.Event) -> None:
        try:
            verdict = await self.guarded.hold(
                turn, gone=gone, notify=self._notify, preview=lambda: self._preview(turn),
                definitions=lambda: self._definitions(turn), most=self.conversation.answers.wait,
            )  # fmt: skip
        except DoorwardError as error:
            self.broken(error)
            return
        except Exception as error:
            self._failed(error)
            raise
        finally:
            self._busy = self._holding = False
            self._gone = None
        try:
            over = self._closing or self._closed or self.client_gone
            if over and isinstance(verdict, Permit) and verdict.allowance is not None:
                verdict.allowance.release()
            if self._closing or self._closed:
                return
            if isinstance(verdict, Permit):
                if self.client_gone:
                    # It left between the spending of its approval and here; the guard saw to the record.
                    self._wind_up()
                    return
                self._gate = max(self._gate, verdict.position)
                self.conversation.accept(turn, verdict)
            elif not self.client_gone:
                self.conversation.refuse(turn, verdict)
        except ProtocolError as error:
            self.broken(error)
            return
        self._again()

    def _notify(self, approval: Approval) -> None:
        if not self.client_gone:
            seconds = max(0, approval.expires_at - self.guarded.guard.clock.now()) // 1000
            self.conversation.answers.say(
                wire.notice_response(
                    "NOTICE",
                    "00000",
                    f"held: request {approval.id} waits for approval"
                    + (f" by {' or '.join(sorted(approval.approvers))}" if approval.approvers else ""),
                    hint=f"an approver decides after: doorward approvals show {approval.id}. The request stands for "
                    f"{seconds // 60} min {seconds % 60} s; cancelling only ends the waiting, and the same statement sent "
                    "again goes on with it",
                )
            )
            self._to_client()

    async def _definitions(self, turn: Turn) -> str:
        """What the names in a held statement stand for now, looked up anew."""
        await self.catalogue.refresh()
        return self.conversation.judge.definitions(turn.template.resources)

    async def _preview(self, turn: Turn) -> Mapping[str, Any]:
        """What an approver sees beside the text."""
        template = cast(Any, turn.template)
        return await self.previews.of(
            template.exact.decode("utf-8", "replace"), template.statements, Given(turn.params, turn.formats, turn.oids),
            {**{name: self.upstream.parameters[name] for name in STYLES if name in self.upstream.parameters},
             **self.conversation.answers.styles},
            self.conversation.judge.search_path,
        )  # fmt: skip

    # -- server ------------------------------------------------------------------------------------------------------

    def from_server(self, data: bytes) -> None:
        """Plain bytes from the target."""
        if self._behind:
            self._unread.append(data)
        else:
            self._in_turns(data)

    def _in_turns(self, data: bytes) -> None:
        """Mask and pass on what the target sent, or (b"") what waits in the conversation; what takes longer than a turn, or has
        nowhere to go yet, goes on in `_continue`."""
        answers = self.conversation.answers
        began = last = self.listener.monotonic()
        position, size = 0, len(data)
        while True:
            if position == 0 and size <= self._stride:
                self._answered(data)
                position = size
            else:
                self._answered(data[position : position + self._stride])
                position = min(position + self._stride, size)
            if self._closed:
                return
            now = self.listener.monotonic()
            if now - last > TURN / 2:
                self._stride = max(SHORTEST, self._stride // 2)
            elif now - last < TURN / 8 and self._stride < STRIDE:
                self._stride *= 2
            last = now
            if position == size and not answers.behind:
                return
            if answers.behind or self._keeping or now - began > TURN:
                break
        if position < size:
            self._unread.insert(0, data[position:])
        self._behind = True
        self.pause_server("behind")
        if answers.question is not None:
            if not self._asking:
                self._asking = True
                self.listener.start(self._ask(answers.question))
        elif answers.crowded:
            self.listener.spools.when_free(self._soon)
        else:
            self._soon()

    async def _ask(self, question: Question) -> None:
        """Have somebody look at a long value, and go on with what is left of it."""
        pending = self.conversation.answers.pending
        front = pending[0] if pending else None
        try:
            answer, seconds = await self.listener.lookers.ask(question)
            self._looked_for += seconds
            if not self._closed:
                self.conversation.answers.told(answer)
        except Exception as error:  # whatever it is, nothing of this row has been sent, and nothing will be
            if not self._closed:
                self.listener.log.error("masking.failed", error=type(error).__name__)
                said = error.message.partition(": ")[2] if isinstance(error, UpstreamError) else ""
                self._unmasked(front, said or f"masking it failed ({type(error).__name__})")
            return
        finally:
            self._asking = False
        self._soon()

    def _soon(self) -> None:
        if self._behind and not self._asking and self._server_paused <= {"behind"}:
            asyncio.get_running_loop().call_soon(self._continue)

    def _continue(self) -> None:
        """Others had their turn, and the client took what there was."""
        if not self._behind or self._asking or self._closed or not self._server_paused <= {"behind"}:
            return
        self._behind = False
        if self.conversation.answers.behind:
            self._in_turns(b"")
        elif self._unread:
            unread, self._unread = b"".join(self._unread), []
            self._in_turns(unread)
        if self._behind or self._closed:
            return
        if self._unread:
            self._behind = True
            self._soon()
            return
        self.resume_server("behind")
        if self._lost:
            self.server_lost(None)

    def _answered(self, data: bytes) -> None:
        """A piece of what the target sent."""
        conversation = self.conversation
        pending = conversation.answers.pending
        front = pending[0] if pending else None
        began = self.listener.monotonic()
        try:
            results: Sequence[Result] = conversation.receive_from_server(data)
            if front is not self._looked_at:
                self._looked_at, self._looked_for = front, 0.0
            self._looked_for += self.listener.monotonic() - began
            if self._looked_for > self.listener.limits.masking_seconds:
                self._unmasked(front, f"masking it took longer than {self.listener.limits.masking_seconds:g} s")
                return
            if self._vault is not None:
                self._keep(self._vault, front)
            for result in results:
                self.guarded.settle(result)
            if self._closing:
                conversation.to_client()
                conversation.to_record()
                if conversation.quiescent:
                    self.inside.transport.close()
                return
            self.active_at = self.listener.monotonic()
            if self._busy:
                self._flush()
            else:
                self.advance()
        except ProtocolError as error:
            self.broken(error)
        except UpstreamError as error:
            self.broken(error)
        except Exception as error:  # whatever it is, nothing of this answer has been sent, and nothing will be
            where = error.__traceback__
            while where is not None and where.tb_next is not None:
                where = where.tb_next
            place = "" if where is None else f" at {where.tb_frame.f_code.co_filename}:{where.tb_lineno}"
            # Its message may hold a value.
            self.listener.log.error("masking.failed", error=type(error).__name__ + place)
            self._unmasked(front, f"masking it failed ({type(error).__name__}); the gateway's log says where")

    def _keep(self, vault: TokenVault, front: Pending | None) -> None:
        """Hold back what goes to the client until the vault has the tokens in it: both directions wait meanwhile."""
        position = vault.owed()
        future = vault.wait(position) if position else None
        if future is None:
            return
        self._keeping += 1
        self.pause_server("vault")
        self.pause_client("vault")

        def kept(future: asyncio.Future[None]) -> None:
            self._keeping -= 1
            error = None if future.cancelled() else future.exception()
            if self._closed:
                return
            if future.cancelled() or error is not None:
                self._unmasked(front, error.message if isinstance(error, DoorwardError) else "the gateway is stopping")
            elif not self._keeping:
                self.resume_server("vault")
                self.resume_client("vault")
                self._to_client()

        future.add_done_callback(kept)

    def _unmasked(self, front: Pending | None, why: str) -> None:
        """An answer could not be masked, so none of it goes on: the session ends, and the record says why."""
        operation = "" if front is None or front.run is None else front.run.permit.operation.id
        with suppress(UpstreamError):
            self.guarded.record.event("masking.failed", {"operation": operation, "reason": why})
        hint = "ask for less of it at a time; limits.masking is the bound" if "longer" in why else ""
        self.broken(UpstreamError(f"a result was withheld: {why}", hint=hint))

    def server_lost(self, exc: Exception | None) -> None:
        """The target is gone; what was running has an unknown outcome, and is not tried again."""
        if self._closed:
            return
        if self._behind:
            self._lost = True  # what it said before is heard first
            return
        self._settle_lost()
        if not self._closing and not self.conversation.answers.fatal:
            self.door.fatal(
                "08006", "the target closed the connection", "reconnect; check whether the last statement took effect"
            )
        self._finish("the client left" if self.client_gone else "the target closed the connection")

    # -- the end -----------------------------------------------------------------------------------------------------

    def broken(self, error: DoorwardError, *, client: bool = False) -> None:
        """Somebody broke the rules, or the record failed: end it, saying why."""
        if self._closed:
            return
        self.listener.log.warning(
            "session.broken", session=self.guarded.session.id, error=type(error).__name__, reason=error.message
        )
        code = "08P01" if isinstance(error, ProtocolError) else "58030"
        if self.conversation.answers.overdrawn:
            code = "53400"
        self.door.fatal(code, error.message, error.hint)
        if self._gone is not None:
            self._gone.set()
        self._finish(error.message)

    def _give_up(self, reason: str) -> None:
        self.broken(ProtocolError(reason, hint="send a statement that needs approval by itself"), client=True)

    def _ended(self, reason: str) -> None:
        if self._gone is not None:
            self._gone.set()
        self.door.fatal("57P01", reason, "sign in again if you still may")
        self._finish(reason)

    def drain(self) -> bool:
        """Close if nothing is going on; False: something is."""
        if self._holding and self._gone is not None:
            self._gone.set()  # parked: it can be continued at another gateway
            return False
        if self.idle and not self.conversation.in_transaction:
            self._ended("the gateway is shutting down")
            return True
        return False

    def _finish(self, reason: str) -> None:
        if self._closed:
            return
        self._withdraw()
        if not self.conversation.quiescent:
            # A server does not notice while it works that nobody listens any more.
            self._cancel_running(reason)
            self._settle_lost()
        else:
            self._settle_unsent()
        self._closed = self._closing = True
        self._unread.clear()
        self.conversation.answers.abandon()
        self.inside.transport.abort()
        self.door.close()
        self.listener.forget(self)
        self.listener.start(self._seal(reason))

    def _settle_lost(self) -> None:
        """Nobody will hear what became of what was running."""
        self._withdraw()
        with suppress(UpstreamError):
            for result in self.conversation.lost():
                self.guarded.settle(result)
        self._settle_unsent()

    def _settle_unsent(self) -> None:
        unsent, self._unsent = self._unsent, []
        with suppress(UpstreamError):
            for result in unsent:
                self.guarded.settle(result)

    async def _seal(self, reason: str) -> None:
        try:
            await self.guarded.close(reason)
        except DoorwardError as error:
            self.listener.log.error("session.unsealed", session=self.guarded.session.id, reason=error.message)

    # -- flow --------------------------------------------------------------------------------------------------------

    def pause_client(self, why: str) -> None:
        if not self._client_paused:
            self.door.pause()
        self._client_paused.add(why)

    def resume_client(self, why: str) -> None:
        self._client_paused.discard(why)
        if not self._client_paused:
            self.door.resume()

    def pause_server(self, why: str) -> None:
        if not self._server_paused and not self._closed:
            self.inside.transport.pause_reading()
        self._server_paused.add(why)

    def resume_server(self, why: str) -> None:
        if why in self._server_paused:
            self._server_paused.discard(why)
            if not self._server_paused and not self._closed:
                self.inside.transport.resume_reading()
            self._soon()

    def _resume_server_all(self) -> None:
        for why in list(self._server_paused):
            self.resume_server(why)

    def _wait_for_recorder(self) -> None:
        if "recorder" not in self._server_paused:
            self.pause_server("recorder")
            self.pause_client("recorder")
            self.guarded.record.when_relieved(self._recorder_relieved)

    def _recorder_relieved(self) -> None:
        if not self._closed:
            self.resume_server("recorder")
            self.resume_client("recorder")


_LOOK: Final = canonical(
    {
        "action": "look at the session",
        "effect": "read",
        "by": "doorward",
        "text": PROBE,
        "decision": {"outcome": "allow", "rules": ["doorward"]},
    }
)
