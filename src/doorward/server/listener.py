"""Where PostgreSQL clients knock: accepts, lets log in, and starts a relay; knows every live one.

The accept loop never waits for a client. Before its token is verified a client has a deadline and 64 KiB; nothing it sent is
forwarded, and no connection to a target exists. A CancelRequest is answered by nobody and reaches only the session whose
key it carries, whichever process of the gateway has it.
"""

from __future__ import annotations

import asyncio
import hmac
import secrets
import ssl
from collections.abc import Callable, Coroutine, Mapping
from contextlib import suppress
from hashlib import sha256
from typing import Any, Final

from doorward.errors import AuthenticationError, ConfigError, DoorwardError, ProtocolError, UpstreamError
from doorward.guard.guard import Guard
from doorward.guard.refusals import Refusals
from doorward.masking.defined import Choice
from doorward.masking.statement import mask_statement
from doorward.model import Identity, Mode, Refusal
from doorward.protocols.postgres.conversation import PostgresConversation
from doorward.protocols.postgres.judge import CatalogueSource, Judge
from doorward.protocols.postgres.login import Startup
from doorward.protocols.postgres.looking import NARROW
from doorward.protocols.postgres.named import SETTING, SessionName
from doorward.server import dial
from doorward.server.door import Door
from doorward.server.lookers import Lookers
from doorward.server.own import CatalogueHolder, Secrets, WithLabels
from doorward.server.reach import Authenticator, Clients, Limits, Log, Metrics, Reach
from doorward.server.relay import Relay
from doorward.server.spool import Spools
from doorward.server.workers import Worker
from doorward.sql.settings import WAIT, waiting

CANCELS_PER_SECOND: Final = 50
LONGEST_NAME: Final = 200  # characters of a target's name that nobody is served under, as far as it is kept
# What the target reports of itself that a client may hear at login; the rest stays inside.
REPORTED: Final = frozenset({
    "server_version", "server_encoding", "client_encoding", "DateStyle", "IntervalStyle", "TimeZone", "integer_datetimes",
    "standard_conforming_strings", "application_name", "in_hot_standby", "default_transaction_read_only",
    "is_superuser", "scram_iterations", "search_path",
})  # fmt: skip


class NoTargetError(UpstreamError):
    """Somebody who is known asks for what is not there."""


class FullError(UpstreamError):
    """There are as many connections as there may be."""


class Listener:
    """One listening port. `context` None: no TLS, and only a loopback listener may say so."""

    def __init__(
        self,
        guard: Guard,
        authenticator: Authenticator,
        refusals: Refusals,
        secrets_: Secrets,
        reach: Mapping[str, Reach],
        *,
        group: asyncio.TaskGroup,
        log: Log,
        metrics: Metrics,
        limits: Limits,
        context: ssl.SSLContext | None,
        plaintext: bool,
        choice: Choice,
        spools: Spools,
        clients: Clients,
        pass_on: Callable[[int, bytes], None] = lambda _pid, _secret: None,
    ) -> None:
        self._pass_on = pass_on  # a CancelRequest for no session of ours
        self.guard = guard
        self.authenticator = authenticator
        self.refusals = refusals
        self.secrets = secrets_
        self.reach = dict(reach)
        self.log = log
        self.metrics = metrics
        self.limits = limits
        self.context = context
        self.clients = clients
        self._trusted = clients.pem()  # what `context` was made to believe
        self.plaintext = plaintext
        self.monotonic = guard.clock.monotonic
        self.spools = spools
        self.worker = Worker(choice)
        self.lookers = Lookers(choice)
        self.relays: dict[int, Relay] = {}
        self.doors: set[Door] = set()
        self.strangers: dict[Door, None] = {}  # in the order of their arrival
        self._entering: list[tuple[str, str]] = []  # (identity, target) of those who are being let in
        self._refreshing: set[int] = set()
        self.draining = False
        self._group = group
        self._server: Any = None  # uvloop's: not of asyncio's class, and its sockets are a list
        self._pid = secrets.randbelow(1 << 20)
        self._cancels = 0

    async def open(self, address: str, port: int) -> int:
        """Listen; returns the port. Raises ConfigError when that cannot be had."""
        loop = asyncio.get_running_loop()
        try:
            self._server = await loop.create_server(lambda: Door(self), address, port, backlog=1024)
        except OSError as error:
            raise ConfigError(
                f"cannot listen on {address}:{port}: {error.strerror}", hint="choose another port, or stop what uses it"
            ) from error
        return int(self._server.sockets[0].getsockname()[1])

    def start(self, work: Coroutine[Any, Any, None]) -> asyncio.Task[None]:
        """Run something beside the connections. It should handle its own errors: what it does not handle is written down,
        and ends neither the gateway nor anybody else's session."""
        return self._group.create_task(self._contained(work))

    async def _contained(self, work: Coroutine[Any, Any, None]) -> None:
        try:
            await work
        except Exception as error:
            self.log.error("task.failed", work=getattr(work, "__qualname__", ""), error=repr(error), exc_info=True)

    async def sweep(self) -> None:
        """Once a second: end what has lasted too long. Runs until cancelled."""
        while True:
            await asyncio.sleep(1.0)
            self._cancels = 0
            if self.context is not None and (pem := self.clients.pem()) != self._trusted:
                self.context.load_verify_locations(cadata=pem)  # the authority's key is about to change
                self._trusted = pem
            now = self.monotonic()
            limits = self.limits
            for relay in list(self.relays.values()):
                if limits.session_seconds and now - relay.started_at > limits.session_seconds:
                    relay.guarded.end("this session has reached its longest duration")
                elif limits.idle_seconds and relay.idle and now - relay.active_at > limits.idle_seconds:
                    relay.guarded.end("this session was idle for too long")
                elif limits.statement_seconds:
                    relay.check_statement(now, limits.statement_seconds)
            if self.relays:
                for holder in {id(r.catalogue): r.catalogue for r in self.reach.values()}.values():
                    if holder.stale and id(holder) not in self._refreshing:
                        self._refreshing.add(id(holder))
                        self.start(self._refresh(holder))

    async def _refresh(self, holder: CatalogueHolder) -> None:
        """Beside the sweep: one target that does not answer delays nobody else."""
        try:
            await holder.refresh()
        except DoorwardError as error:
            self.log.warning("catalogue.stale", reason=error.message)
        finally:
            self._refreshing.discard(id(holder))

    async def drain(self, seconds: float) -> None:
        """Stop accepting; close sessions as they fall idle; after `seconds` close the rest."""
        self.draining = True
        if self._server is not None:
            self._server.close()
        deadline = self.monotonic() + seconds
        while self.relays and self.monotonic() < deadline:
            for relay in list(self.relays.values()):
                relay.drain()
            await asyncio.sleep(0.05)
        for relay in list(self.relays.values()):
            relay.guarded.end("the gateway is shutting down")
        for door in list(self.doors):
            door.close()
        for reach in self.reach.values():
            await reach.own.close()
            await reach.previews.close()
        await self.worker.close()
        await self.lookers.close()

    # -- sessions ----------------------------------------------------------------------------------------------------

    def next_pid(self) -> int:
        while True:
            self._pid = (self._pid + 1) & 0x7FFFFFFF
            if self._pid and self._pid not in self.relays:
                return self._pid

    def forget(self, relay: Relay) -> None:
        reach = self.reach.get(relay.guarded.session.target.name)
        if reach is not None and reach.pids.get(relay.upstream.pid) == relay.key[0]:
            del reach.pids[relay.upstream.pid]
        if self.relays.pop(relay.key[0], None) is not None:
            self.metrics.connection_closed(relay.guarded.session.target.name)

    def cancel(self, pid: int, secret: bytes) -> None:
        """A CancelRequest: only the right key does anything, and only so many are looked at each second."""
        self._cancels += 1
        if self._cancels > CANCELS_PER_SECOND:
            return
        relay = self.relays.get(pid)
        if relay is not None and hmac.compare_digest(relay.key[1], secret):
            relay.cancel()
        else:
            self._pass_on(pid, secret)

    def cancel_passed_on(self, pid: int, digest: bytes) -> None:
        """A CancelRequest that another process was sent; of its key, the SHA-256."""
        relay = self.relays.get(pid)
        if relay is not None and hmac.compare_digest(sha256(relay.key[1]).digest(), digest):
            relay.cancel()

    async def cancel_upstream(self, relay: Relay) -> None:
        """Carry a cancellation to the target, under the target's own key."""
        try:
            await dial.cancel(relay.guarded.session.target, relay.upstream.pid, relay.upstream.secret)
        except DoorwardError as error:
            self.log.warning("cancel.failed", session=relay.guarded.session.id, reason=error.message)

    async def let_in(self, door: Door, startup: Startup, token: str) -> None:
        """Verify, decide, dial: from a token to a relay."""
        try:
            async with asyncio.timeout(60.0):
                await self._let_in(door, startup, token)
        except AuthenticationError as error:
            self.metrics.login_failed("token")
            self.refusals.note(error, listener="postgres", peer=door.peer)
            door.refuse("28000", error.message, error.hint)
        except NoTargetError as error:
            self.metrics.login_failed("target")
            # Both are the client's own words, or quote them.
            detectors = self.guard.recorder.detectors
            target = mask_statement(startup.database[:LONGEST_NAME], detectors=detectors)[0]
            reason = mask_statement(error.message, detectors=detectors)[0]
            with suppress(DoorwardError):
                await self.guard.recorder.event(
                    "login.refused", {"target": target, "client": door.peer, "reason": reason}
                )
            door.refuse("28000", error.message, error.hint)
        except FullError as error:
            self.metrics.login_failed("limit")
            self.log.warning("login.failed", target=startup.database, reason=error.message)
            door.refuse("53300", error.message, error.hint)
        except (UpstreamError, ConfigError, ProtocolError) as error:
            self.metrics.login_failed("upstream")
            self.log.warning("login.failed", target=startup.database, reason=error.message)
            door.refuse("08001", error.message, error.hint)
        except TimeoutError:
            door.refuse("08001", "signing in took too long", "try again; see the gateway's log if it goes on")
        except Exception:
            door.refuse("58000", "the gateway failed; its log says more")
            raise

    async def _let_in(self, door: Door, startup: Startup, token: str) -> None:
        identity = await self.authenticator.authenticate(token, door.shown())
        reach = self.reach.get(startup.database)
        if reach is None:
            # Known identities learn that a target does not exist; they do not learn which do.
            raise NoTargetError(
                f'there is no target "{startup.database}"',
                hint="the database name chooses the target: ask which you may use",
            )
        limits = self.limits
        here = (identity.id, reach.target.name)
        there = [(r.guarded.session.identity.id, r.guarded.session.target.name) for r in self.relays.values()]
        there += self._entering
        mine, name = sum(1 for who, _ in there if who == here[0]), reach.target.name
        if len(there) >= limits.connections:
            raise FullError(f"the gateway serves {limits.connections} connections already", hint="try again later")
        if mine >= limits.connections_per_identity:
            raise FullError(f"you have {mine} connections open already", hint="close some, or pool them")
        if sum(1 for _, where in there if where == name) >= limits.connections_per_target:
            raise FullError(f'"{name}" has {limits.connections_per_target} connections open already', hint="try again later")
        self._entering.append(here)  # counted while it waits for policy, record and target, or many at once would pass
        try:
            await self._let_through(door, startup, identity, reach)
        finally:
            self._entering.remove(here)

    async def _let_through(self, door: Door, startup: Startup, identity: Identity, reach: Reach) -> None:
        limits = self.limits
        application = startup.parameters.get(SETTING, "")
        opened = await self.guard.open(identity, reach.target, client=door.peer, application=application[:64])
        if isinstance(opened, Refusal):
            self.metrics.login_failed("policy")
            door.refuse("28000", opened.reason, opened.hint)
            return
        try:
            if reach.catalogue.stale:
                await reach.catalogue.refresh()
            await _fits(reach)
            parameters = {k: v for k, v in startup.parameters.items() if k not in ("client_encoding", WAIT)}
            parameters.update(dial.settings(reach.target))  # what the operator says wins
            name = SessionName(opened.session.id, parameters.get(SETTING, ""))
            parameters[SETTING] = name.at_start
            upstream = await dial.dial(
                reach.target, await self.secrets.reveal(reach.target.credential), parameters=parameters
            )
        except BaseException as error:
            await opened.close(getattr(error, "message", "") or "signing in did not complete")
            raise
        if self.draining:
            door.refuse("57P03", "the gateway is shutting down")
        if door.closed or self.draining:
            upstream.abort()
            await opened.close("the client left")
            return
        if opened.ended:
            upstream.abort()
            door.refuse("57P01", opened.ended)
            await opened.close(opened.ended)
            return
        name.began(upstream.parameters.get(SETTING, ""))
        target = reach.target
        planted = reach.planted.get(identity.id)
        source: CatalogueSource = reach.catalogue if planted is None else WithLabels(reach.catalogue, planted)
        masks = reach.masks(source)
        conversation = PostgresConversation(
            Judge(
                source, max_statement=limits.statement_bytes, detectors=self.guard.recorder.detectors,
                pinned=frozenset({"statement_timeout"} & target.options.keys()),
            ),
            masks,
            nonce=secrets.token_hex(8),
            max_message=limits.message_bytes,
            max_row=limits.row_bytes,
            observe=target.mode is Mode.OBSERVE,
            rows_recorded={"sample": limits.sample_rows, "shape": 0}.get(target.record),
            name=name,
        )
        conversation.answers.wait = waiting(startup.parameters.get(WAIT, ""))
        key = (self.next_pid(), secrets.token_bytes(4 if door.login_protocol == 3 << 16 else 32))
        relay = Relay(self, door, opened, conversation, upstream, reach.previews, reach.catalogue, key)
        self.relays[key[0]] = relay
        conversation.answers.pids = reach.pids
        conversation.answers.stores = self.spools.open
        if conversation.answers.masks.active:
            conversation.answers.held, conversation.answers.asks = NARROW, True
        reach.pids[upstream.pid] = key[0]
        opened.backend = upstream.pid
        self.metrics.connection_opened(target.name)
        reported = {k: v for k, v in upstream.parameters.items() if k in REPORTED}
        reported["session_authorization"] = startup.user
        reported[SETTING] = name.client
        notices = ""
        if target.mode is Mode.OBSERVE:
            notices = f'target "{target.name}" is in observe mode: nothing is refused, held or masked'
        door.welcome(relay, reported, key, notices)
        upstream.hand_over(relay.inside)
        door.go_on()


async def _fits(reach: Reach) -> None:
    """Whether the target's labels fit its tables; if not, nobody is let in, for something that was to be masked might be
    shown. Sessions that are open go on: a label whose column is gone masks all of its table. ConfigError."""
    if reach.catalogue.labelling.faults and reach.target.mode is Mode.ENFORCE:
        await reach.catalogue.refresh()  # it may have been mended there
        if faults := reach.catalogue.labelling.faults:
            raise ConfigError(
                f'target "{reach.target.name}" is closed, because its masking cannot hold: {faults[0]}'
                + (f"; and {len(faults) - 1} more" if len(faults) > 1 else ""),
                hint="whoever runs the gateway: correct [targets.labels] or masking.transforms; `doorward doctor` tells all",
            )
