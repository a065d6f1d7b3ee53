"""The composition root: a Config in, a running gateway out. The only file that knows every class."""

from __future__ import annotations

import asyncio
import os
import resource
import signal
import socket
import ssl
import weakref
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import AsyncExitStack, asynccontextmanager, suppress
from dataclasses import asdict
from pathlib import Path
from typing import Any

from doorward import __version__
from doorward import config as configuration
from doorward.adapters.blobs.backup import DELETING, check_declared, on_record
from doorward.adapters.blobs.bucket import LocalCursor, S3Bucket
from doorward.adapters.blobs.bulletin import LocalBulletin
from doorward.adapters.blobs.files import LocalKeyFiles, LocalLogFiles, LocalRecordingFiles, LocalWalFiles, Lock, turn
from doorward.adapters.clock import SystemClock
from doorward.adapters.elsewhere import HttpElsewhere
from doorward.adapters.export import destination
from doorward.adapters.identity.clients import ClientAuthority
from doorward.adapters.identity.code import SignIn
from doorward.adapters.identity.dpop import DpopProofs
from doorward.adapters.identity.oidc import OidcAuthenticator
from doorward.adapters.identity.own import OwnIssuer
from doorward.adapters.identity.settings import is_loopback
from doorward.adapters.identity.workloads import PLATFORMS
from doorward.adapters.notify.mail import MailSender
from doorward.adapters.notify.settings import EMAIL, SLACK, TEAMS
from doorward.adapters.notify.slack import SlackSender
from doorward.adapters.notify.teams import TeamsSender
from doorward.adapters.notify.webhook import WebhookSender
from doorward.adapters.secrets.sources import SecretSources
from doorward.adapters.store.search import SqliteSearch
from doorward.adapters.store.sql import SqlStore
from doorward.adapters.telemetry.logs import configure
from doorward.adapters.telemetry.metrics import GatewayMetrics
from doorward.config import Config
from doorward.errors import ConfigError, DoorwardError
from doorward.evidence.outward import writer
from doorward.guard.access_reviews import AccessReviews
from doorward.guard.admission import Admission
from doorward.guard.agents import Agents
from doorward.guard.approvals import Approvals
from doorward.guard.approver_keys import ApproverKeys
from doorward.guard.archive import Archive
from doorward.guard.budgets import Budgets
from doorward.guard.exchange import Exchange
from doorward.guard.export import Export, Exports
from doorward.guard.guard import Guard
from doorward.guard.labels import TargetLabels
from doorward.guard.neighbours import Neighbours
from doorward.guard.notifications import Notifications, Sender
from doorward.guard.policies import PolicyInForce
from doorward.guard.reader import RecordReader
from doorward.guard.reconciliation import Reconciliation
from doorward.guard.recorder import Recorder
from doorward.guard.refusals import Refusals
from doorward.guard.retention import Retention
from doorward.guard.reveals import Reveals
from doorward.guard.reviews import Reviews
from doorward.guard.revocation import Revocations
from doorward.guard.search import Search
from doorward.guard.stamping import Stamping
from doorward.guard.stores import SessionRow
from doorward.guard.token_vault import TokenVault
from doorward.guard.witnessing import Witnessing
from doorward.masking.detect import Detectors
from doorward.masking.labelling import Labelling, labelling
from doorward.masking.transforms import Transforms, keep_nothing
from doorward.model import Identity, Mode, SecretRef, Target
from doorward.protocols.postgres.judge import CatalogueSource
from doorward.protocols.postgres.masks import PostgresMasks
from doorward.server.listener import Listener
from doorward.server.own import CatalogueHolder, OwnStatements
from doorward.server.preview import Previews
from doorward.server.proofs import Proofs
from doorward.server.reach import Limits, Reach
from doorward.server.reconciling import Reconciliations
from doorward.server.sampling import Samples
from doorward.server.spool import Spools
from doorward.server.tls import server_context
from doorward.sql.catalogue import Catalogue
from doorward.web.api import application
from doorward.web.browser import Browsers
from doorward.web.serve import WebServer, bound


class Gateway:
    """Everything that runs, for whoever serves it (web, doctor, tests)."""

    def __init__(self, config: Config, *, log: Any = None) -> None:
        self.config = config
        recorded = config.detectors.with_defaults()  # the record is masked whatever is looked for in results
        self.log = log or configure(config.log.level, config.log.format, recorded)
        self.clock = SystemClock()
        self.metrics = GatewayMetrics()
        data = config.gateway.data
        self.store = SqlStore(data / "store.sqlite")
        self.recorder = Recorder(
            clock=self.clock,
            store=self.store,
            wal=[LocalWalFiles(data, lane) for lane in range(config.gateway.processes)],
            recordings=LocalRecordingFiles(data),
            log=LocalLogFiles(data),
            keys=LocalKeyFiles(data),
            detectors=recorded,
            gateway=config.gateway.name,
            origin=f"doorward/{config.gateway.name}",
            records=config.retention.records,
            control=config.retention.control,
        )
        shared = config.gateway.processes > 1
        self.neighbours = Neighbours(self.recorder, LocalBulletin(data) if shared else None)
        self.secrets = SecretsAside(SecretSources(data))
        self.postgres_port = 0
        http = config.listen.http
        self._http: socket.socket | None = None
        if not http.port and not http.url:  # its port is part of the gateway's name, which tokens bear
            self._http = bound(http.address, 0)
            weakref.finalize(self, self._http.close)
        self.http_port = http.port if self._http is None else int(self._http.getsockname()[1])
        self.own = OwnIssuer(self.url, config.targets, LocalKeyFiles(data), self.clock.now)
        self.clients = ClientAuthority(self.url, LocalKeyFiles(data), self.clock.now)
        self.dpop = DpopProofs(self._origins, self.clock.now)
        self.verifier = OidcAuthenticator(config.issuers, own=self.own)
        self.sign_ins = [
            SignIn(
                issuer, self.verifier, self.secrets.reveal, self.clock.now, longest=config.limits.sign_in,
                arrived=self._arrived,
            )
            for issuer in config.issuers
            if issuer.client_id
        ]
        self.browsers = Browsers(
            self.clock, lasts=config.limits.sign_in, idle=config.limits.sign_in_idle,
            secure=http.tls_cert is not None or http.url.startswith("https:"), revoked=self._refusal,
        )  # fmt: skip
        self.policies = PolicyInForce(configuration.load_policies(config))
        self.approvals = Approvals(
            self.store.approvals,
            self.recorder,
            self.clock,
            self.policies,
            ApproverKeys(self.recorder, self.clock, config.gateway.name, self.neighbours.tell),
            most_open=config.limits.approvals_per_identity,
            changed=self.neighbours.post,
        )
        self.notifications = self._notifications()
        self.recorder.telling = self.notifications.told
        self.exports = self._exports()
        self.budgets = Budgets(self.store, self.clock, lambda: self.recorder.lane_number)
        self.guard = Guard(
            self.policies, self.recorder, self.approvals, self.clock, budgets=self.budgets,
            hold_in_transaction=config.limits.hold_in_transaction, longest_hold=config.limits.hold,
        )  # fmt: skip
        found = SqliteSearch(data)
        self.search = Search(self.recorder, found, turn(data, "search"))
        self.retention = Retention(
            self.recorder, self.clock, turn(data, DELETING), every=float(config.retention.every), forget=found.delete
        )
        self.archive = self._archive()
        self.reviews = Reviews(self.approvals, self.recorder, self.clock, lambda: self.reader)
        self.reveals = self._reveals()
        self.guard.vault = None if self.reveals is None else self.reveals.vault
        identities = self.store.identities
        self.authenticator = Admission(
            self.verifier, identities, self.guard, url=self.own.url, owner_absence=config.gateway.owner_absence,
            trusted=[issuer.url for issuer in config.issuers if issuer.agents == "issuer"], tell=self.neighbours.tell,
        )  # fmt: skip
        self.approvals.ballots.owner_of = self.authenticator.owner_of
        self.approvals.ballots.revoked = self.authenticator.gone
        self.approvals.ballots.people = self.authenticator.people
        self.agents = Agents(
            identities, self.authenticator, self.recorder, self.clock,
            must_bind={i.url: PLATFORMS[i.workload or "oidc"].must_bind for i in config.issuers},
        )  # fmt: skip
        self.access_reviews = AccessReviews(
            identities, self.store, self.policies, lambda: self.targets, self.recorder, self.clock, self.authenticator.refusal,
        )  # fmt: skip
        self.revocations = Revocations(identities, self.authenticator, self.approvals, self.recorder, self.clock)
        self.exchange = Exchange(
            self.authenticator, identities, self.own, self.recorder, self.clock, config.targets,
            certificates=self.clients, login=config.limits.sign_in,
        )  # fmt: skip
        self.refusals = Refusals(self.recorder, self.clock)
        self.elsewhere = HttpElsewhere(str(config.ledger.ca or ""))
        self.witnessing = self._witnessing()
        self.stamping = self._stamping()
        self.detectors = config.detectors
        self.guard.detected_labels = self.detectors.labels
        self.reach: dict[str, Reach] = {}
        self.proofs = Proofs(self.guard, self.reach, self.secrets)
        self.samples = Samples(self.guard, self.reach, self.secrets, self.detectors.with_defaults())
        self.reconciliations = Reconciliations(
            Reconciliation(self.guard, self.store, lambda: self.reader), self.reach, self.log
        )  # fmt: skip
        self.listener: Listener | None = None
        self.draining = False
        self._stop = asyncio.Event()
        self._reloading = asyncio.Lock()
        self._broken: tuple[tuple[str, int, int], ...] | None = None  # policy files that were refused, and said so

    async def _arrived(self, identity: Identity) -> None:
        await self.authenticator.arrived(identity)

    def _refusal(self, identity: Identity) -> str:
        return self.authenticator.refusal(identity)

    def ready(self) -> str:
        """ "" when new sessions are welcome; else why not."""
        if self.draining or self.listener is None:
            return "the gateway is starting or shutting down"
        return self.recorder.healthy() or ""

    def stop(self) -> None:
        """Drain and end."""
        self._stop.set()

    async def reload(self, *, actor: str = "") -> str:
        """Read the policy files again and put them in force, whole or not at all. Returns what is wrong with them, or ""."""
        async with self._reloading:  # a signal, a changed file and the API may ask at once
            return await self._reload(actor)

    async def _reload(self, actor: str) -> str:
        stamp = await asyncio.to_thread(_stamp, self.config)
        try:
            policies = await asyncio.to_thread(configuration.load_policies, self.config)
        except ConfigError as error:
            if actor or stamp != self._broken:  # one broken change is one event, however many noticed it
                self.log.error("policy.kept", reason=error.message)
                await self.recorder.event(
                    "policy.kept", {"reason": error.message[:2000], "policy": self.policies.current.hash}, actor=actor
                )
            self._broken = stamp
            return error.message
        self._broken = None
        if policies.hash != self.policies.current.hash:
            await self.guard.replace_policies(policies, actor=actor)
            self.log.info("policy.changed", policy=policies.hash)
        return ""

    async def run(self, started: Callable[[Gateway], None] | None = None, *, signals: bool = True) -> None:
        """Serve until `stop` or SIGTERM. Raises ConfigError, UpstreamError or IntegrityError when it cannot start."""
        try:
            await self._run(started, signals=signals)
        except BaseExceptionGroup as group:  # of tasks; whoever started us needs the one reason in it
            reason: BaseException | None = group.subgroup(DoorwardError)
            while isinstance(reason, BaseExceptionGroup):
                reason = reason.exceptions[0]
            raise reason or group from None

    async def _run(self, started: Callable[[Gateway], None] | None, *, signals: bool) -> None:
        _allow_files(2 * self.config.limits.connections + 1000)
        async with AsyncExitStack() as stack:
            restored = await asyncio.to_thread(check_declared, self.config.gateway.data)
            await self.store.open()
            stack.push_async_callback(self.store.close)
            if self.reveals is not None:
                await self.reveals.vault.load()
            recovery = await self.recorder.start(self.neighbours.open)
            stack.callback(self.neighbours.close)
            stack.push_async_callback(self.recorder.stop)
            if restored is not None:
                await self.recorder.event("backup.restored", restored)
                await self.recorder.fold()
                await asyncio.to_thread(on_record, self.config.gateway.data)  # if we die before, it is said once more
            self.neighbours.begin()
            stack.push_async_callback(self.elsewhere.close)
            if self.witnessing is not None:
                await self.witnessing.start()
            await self.budgets.load()
            stack.push_async_callback(self.budgets.flush)
            self.neighbours.on_news(self.approvals.look_again)
            self.neighbours.on_news(self.authenticator.look_again)
            await self.approvals.load(self.reader)
            await self.access_reviews.load(self.reader)
            await self.guard.grants.load(self.reader)
            stack.push_async_callback(self.guard.grants.flush)
            stack.callback(self.refusals.flush)
            await self.authenticator.reload()
            self.log.info("gateway.started", gateway=self.config.gateway.name, recovered=asdict(recovery))
            for target in self.config.targets.values():
                labels = self.guard.labels[target.name] = TargetLabels(self.store, target, self.neighbours.tell)
                await labels.load()
                self.neighbours.on_news(labels.load)
                self.reach[target.name] = self._reach(target)
            async with asyncio.TaskGroup() as group:
                listener = await self._listen(group)
                background = [
                    group.create_task(listener.sweep()),
                    group.create_task(self.recorder.run()),
                    group.create_task(self.budgets.run()),
                    group.create_task(self.guard.grants.run()),
                    group.create_task(self.reviews.run()),
                    group.create_task(self.reconciliations.run()),
                    group.create_task(self.retention.follow()),
                    group.create_task(self.search.follow()),
                    group.create_task(self.authenticator.run()),
                    group.create_task(self.refusals.run()),
                    group.create_task(self.notifications.run()),
                    group.create_task(self.exports.run()),
                    group.create_task(self.neighbours.follow()),
                ]
                if self.witnessing is not None:
                    background.append(group.create_task(self.witnessing.run()))
                if self.stamping is not None:
                    background.append(group.create_task(self.stamping.run()))
                if self.archive is not None:
                    background.append(group.create_task(self.archive.follow()))
                if self.reveals is not None:
                    background.append(group.create_task(self.reveals.vault.run()))
                web = await self._serve_web(group)
                background.append(group.create_task(self._watch_policies()))
                looking = [listener.start(self._look_at(reach)) for reach in self.reach.values()]
                if signals:
                    loop = asyncio.get_running_loop()
                    for number in (signal.SIGTERM, signal.SIGINT):
                        loop.add_signal_handler(number, self.stop)
                    loop.add_signal_handler(signal.SIGHUP, lambda: listener.start(self._reloaded()))
                if started is not None:
                    started(self)
                await self._stop.wait()
                self.draining = True
                self.log.info("gateway.draining", sessions=len(listener.relays))
                for task in looking:
                    task.cancel()
                await listener.drain(self.config.gateway.drain)
                for task in background:
                    task.cancel()
                web.stop()
        self.log.info("gateway.stopped")

    async def _reloaded(self) -> None:
        with suppress(DoorwardError):
            await self.reload()

    def _reach(self, target: Target) -> Reach:
        own = OwnStatements(self.guard, target, self.secrets)
        key = b""
        if self.config.masking.token_key is not None:
            key = bytes(SecretSources(self.config.gateway.data).get(self.config.masking.token_key))
        keep = None
        if self.reveals is not None:  # who only observes sends values as they are, and puts none into a vault
            keep = keep_nothing if target.mode is Mode.OBSERVE else self.reveals.vault.keeper(target.name)
        transforms = Transforms(
            self.config.masking.transforms, key, tenant=target.tenant, keep=keep, subjects=self.config.masking.date_shift
        )
        detectors = self.detectors if target.detect else Detectors(())

        def masks(catalogue: CatalogueSource) -> PostgresMasks:
            return PostgresMasks(
                catalogue, transforms, detectors, max_row=self.config.limits.row_bytes,
                observe=target.mode is Mode.OBSERVE,
            )  # fmt: skip

        def labels(catalogue: Catalogue) -> Labelling:
            return labelling(catalogue, target.labels, transforms, by_name=self.config.masking.column_names)

        catalogue = CatalogueHolder(own, labels, self.guard.labels[target.name])
        return Reach(target, own, Previews(self.guard, target, self.secrets, catalogue), catalogue, masks)

    def _exports(self) -> Exports:
        origin, data = f"doorward/{self.config.gateway.name}", self.config.gateway.data
        exports = [
            Export(
                said.name, said.format, destination(said, origin, self.secrets.reveal, self.clock.now),
                writer(said.format, origin, __version__), said.events, Lock(data / f"export-{said.name}.lock"),
            )
            for said in self.config.exports
        ]  # fmt: skip

        def heard(name: str, why: str) -> None:
            (self.log.warning if why else self.log.info)("export.failed" if why else "export.restored", export=name, reason=why)

        return Exports(exports, self.store, lambda: self.reader, LocalLogFiles(data), self.clock, heard=heard)

    def _notifications(self) -> Notifications:
        senders: dict[str, Sender] = {}
        for said in self.config.senders:
            if said.kind == SLACK:
                senders[said.name] = SlackSender(said, self.secrets.reveal)
            elif said.kind == TEAMS:
                senders[said.name] = TeamsSender(said, self.secrets.reveal)
            elif said.kind == EMAIL:
                senders[said.name] = MailSender(said, self.secrets.reveal, self.clock.now)
            else:
                senders[said.name] = WebhookSender(said, self.secrets.reveal, self.clock.now)

        def heard(channel: str, why: str) -> None:
            if why:
                self.log.warning("notification.failed", channel=channel, reason=why)
            else:
                self.log.info("notification.restored", channel=channel)

        return Notifications(
            self.config.channels, senders, self.store.outbox, self.approvals, self.recorder, self.clock,
            url=lambda: self.url, heard=heard,
        )  # fmt: skip

    def _witnessing(self) -> Witnessing | None:
        said = self.config.ledger
        if self.config.trust is None:
            return None

        def heard(name: str, why: str) -> None:
            if why:
                self.log.warning("witness.failed", witness=name, reason=why)
            else:
                self.log.info("witness.restored", witness=name)

        data = self.config.gateway.data
        witnessing = Witnessing(
            self.config.trust, self.elsewhere, LocalLogFiles(data), turn(data, "witness"), self.recorder, self.clock,
            every=said.witness_every, heard=heard,
        )  # fmt: skip
        if said.overdue == "refuse":
            self.guard.overdue = witnessing.overdue
        self.metrics.watch(
            "doorward_log_unwitnessed_seconds", "How long the oldest entry has been waiting for its witnesses.",
            lambda: witnessing.waiting,
        )  # fmt: skip
        return witnessing

    def _stamping(self) -> Stamping | None:
        said = self.config.ledger.timestamps
        if self.config.authorities is None:
            return None

        def heard(url: str, why: str) -> None:
            if why:
                self.log.warning("timestamp.failed", authority=url, reason=why)
            else:
                self.log.info("timestamp.restored", authority=url)

        data = self.config.gateway.data
        return Stamping(
            said.urls, self.config.authorities, self.elsewhere, LocalLogFiles(data), turn(data, "timestamp"), self.recorder,
            self.clock, every=said.every, heard=heard,
        )  # fmt: skip

    def _archive(self) -> Archive | None:
        said, data = self.config.archive, self.config.gateway.data
        if not said.url:
            return None
        sources = SecretSources(data)
        access, key = (bytes(sources.get(ref)).decode() if ref else "" for ref in (said.access_key, said.secret_key))
        bucket = S3Bucket(said.url, endpoint=said.endpoint, region=said.region, access_key=access, secret_key=key)

        def heard(why: str) -> None:
            if why:
                self.log.warning("archive.failed", reason=why)
            else:
                self.log.info("archive.restored")

        return Archive(
            self.recorder, LocalLogFiles(data), bucket, LocalCursor(data), turn(data, "archive"), every=float(said.every),
            behind=float(said.behind), heard=heard,
        )  # fmt: skip

    def _reveals(self) -> Reveals | None:
        said = self.config.masking.vault
        if not said.keys:
            return None
        sources = SecretSources(self.config.gateway.data)
        vault = TokenVault(
            self.store, self.recorder, self.clock, [bytes(sources.get(key)) for key in said.keys],
            retention=said.retention // 86400, most=said.entries,
        )  # fmt: skip
        return Reveals(vault, self.policies, self.recorder, self.budgets, per_hour=said.reveals_per_hour)

    async def _look_at(self, reach: Reach) -> None:
        """Say at the start what is wrong with a target, before its first client does."""
        try:
            await reach.catalogue.refresh()
        except DoorwardError as error:
            self.log.warning("target.unreachable", target=reach.target.name, reason=error.message, hint=error.hint)
            return
        found = reach.catalogue.labelling
        observed = reach.target.mode is Mode.OBSERVE
        hint = "it will be closed once it enforces" if observed else "nobody is let in until it is corrected"
        for fault in found.faults:
            self.log.error("masking.unfit", target=reach.target.name, reason=fault, hint=hint)
        if found.named:
            by = "labels.named" if self.config.masking.column_names == "mask" else "labels.proposed"
            self.log.info(by, target=reach.target.name, columns=[f"{c} = {label}" for c, label in found.named.items()][:200])

    async def _listen(self, group: asyncio.TaskGroup) -> Listener:
        said = self.config.listen.postgres
        limits = self.config.limits
        context: ssl.SSLContext | None = None
        if said.tls_cert is not None and said.tls_key is not None:
            context = server_context(said.tls_cert, said.tls_key, clients=self.clients.pem())
        listener = Listener(
            self.guard, self.authenticator, self.refusals, self.secrets, self.reach, group=group, log=self.log,
            metrics=self.metrics,
            limits=Limits(
                pre_auth_seconds=limits.pre_auth, pre_auth_bytes=limits.pre_auth_bytes, statement_bytes=limits.statement_bytes,
                message_bytes=limits.message_bytes, row_bytes=limits.row_bytes, connections=limits.connections,
                connections_per_identity=limits.connections_per_identity,
                connections_per_target=limits.connections_per_target, session_seconds=limits.session,
                idle_seconds=limits.idle, statement_seconds=limits.statement,
                masking_seconds=limits.masking,
            ),
            context=context, plaintext=said.plaintext, choice=self.config.choice,
            spools=Spools(self.config.gateway.data, limits.spool_bytes), clients=self.clients,
            pass_on=self.neighbours.cancel,
        )  # fmt: skip
        self.neighbours.on_cancel = listener.cancel_passed_on
        self.postgres_port = await listener.open(said.address, said.port)
        self.listener = listener
        self.metrics.count("doorward_statements", "Statements judged, by outcome.", "outcome", self.guard.counted)
        self.metrics.watch(
            "doorward_record_backlog_bytes",
            "Bytes not yet durable or not yet in the log.",
            lambda: float(self.recorder.backlog),
        )
        self.metrics.watch(
            "doorward_record_failed",
            "1 while nothing can be recorded, so nothing runs.",
            lambda: float(self.recorder.failed),
        )
        if self.config.channels:
            self.metrics.count(
                "doorward_notifications", "Notifications, by outcome.", "outcome", lambda: self.notifications.outcomes
            )
            self.metrics.watch(
                "doorward_notifications_waiting", "Notifications that wait.", lambda: float(self.notifications.backlog)
            )
        self.log.info("listener.opened", protocol="postgres", address=said.address, port=self.postgres_port)
        return listener

    async def _serve_web(self, group: asyncio.TaskGroup) -> WebServer:
        said = self.config.listen.http
        web = WebServer(
            application(self), self._http or bound(said.address, said.port), certificate=said.tls_cert, key=said.tls_key
        )
        self.http_port = web.port
        group.create_task(web.run())
        self.log.info("listener.opened", protocol="http", address=said.address, port=self.http_port, url=self.url)
        return web

    # What the API serves.

    @property
    def postgres_tls(self) -> bool:
        return self.config.listen.postgres.tls_cert is not None

    @property
    def url(self) -> str:
        """What people type to get to the pages; its host is the name that passkeys are bound to."""
        said = self.config.listen.http
        if said.url:
            return said.url
        host = "localhost" if is_loopback(said.address) else f"[{said.address}]" if ":" in said.address else said.address
        return f"{'http' if said.tls_cert is None else 'https'}://{host}:{self.http_port}"

    def _origins(self) -> list[str]:
        """Where requests may say that they are meant for us: the gateway's url, and on this machine any name of it."""
        said = self.config.listen.http
        scheme = "http" if said.tls_cert is None else "https"
        here = [f"{scheme}://{host}:{self.http_port}" for host in ("localhost", "127.0.0.1", "[::1]")]
        return [self.url, *(here if is_loopback(said.address) else [])]

    @property
    def targets(self) -> dict[str, Target]:
        return dict(self.config.targets)

    @property
    def reader(self) -> RecordReader:
        return RecordReader(self.store, self.recorder.recordings, self.recorder.keyring)

    def metrics_text(self) -> bytes:
        return self.metrics.text()

    async def list_sessions(self, **filters: Any) -> list[SessionRow]:
        return await self.store.sessions(**filters)

    async def observed(self, session_ids: Sequence[str]) -> dict[str, int]:
        return await self.store.count_events("operation.observed", session_ids)

    async def find_session(self, session_id: str) -> SessionRow | None:
        return await self.store.session(session_id)

    async def _watch_policies(self) -> None:
        """Reload when a policy file changes, without a signal."""
        seen = _stamp(self.config)
        while True:
            await asyncio.sleep(1.0)
            now = await asyncio.to_thread(_stamp, self.config)
            if now != seen:
                with suppress(DoorwardError):  # it could not be recorded, so it is not in force: try again
                    await self.reload()
                    seen = now


class SecretsAside:
    """SecretSources, off the event loop: a vault may stretch a passphrase."""

    def __init__(self, sources: SecretSources) -> None:
        self._sources = sources

    async def reveal(self, reference: SecretRef | None) -> bytes:
        if reference is None:
            return b""
        return bytes(await asyncio.to_thread(self._sources.get, reference))


def _allow_files(wanted: int) -> None:
    """Room for two sockets a session: a gateway that runs out of descriptors cannot write its record either."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    most = wanted if hard == resource.RLIM_INFINITY else min(wanted, hard)
    if soft != resource.RLIM_INFINITY and soft < most:
        with suppress(OSError, ValueError):
            resource.setrlimit(resource.RLIMIT_NOFILE, (most, hard))


def _stamp(config: Config) -> tuple[tuple[str, int, int], ...]:
    found: list[tuple[str, int, int]] = []
    base = config.path.parent
    for pattern in config.policy_files:
        path = Path(pattern)
        for match in sorted(
            Path(path.anchor).glob(str(path.relative_to(path.anchor))) if path.anchor else base.glob(pattern)
        ):
            with suppress(OSError):
                status = os.stat(match)
                found.append((str(match), status.st_mtime_ns, status.st_size))
    return tuple(found)


@asynccontextmanager
async def running(config: Config, *, log: Any = None) -> AsyncIterator[Gateway]:
    """A gateway in this process, for tests and the demo."""
    gateway = Gateway(config, log=log)
    up = asyncio.Event()
    async with asyncio.TaskGroup() as group:
        task = group.create_task(gateway.run(lambda _: up.set(), signals=False))
        waiter = group.create_task(up.wait())
        await asyncio.wait({task, waiter}, return_when=asyncio.FIRST_COMPLETED)
        if task.done():
            waiter.cancel()
            await task
        try:
            yield gateway
        finally:
            gateway.stop()
