"""The gateway's own statements at a target: the catalogue, a plan's estimate, a doctor's question.

They are Operations of a service identity over a connection of their own, recorded like any other before they are sent. That
connection sees neither temporary relations nor what an open transaction changed, and nothing here pretends otherwise.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping, Sequence
from contextlib import asynccontextmanager
from typing import Any, Final, Protocol

from doorward.errors import UpstreamError
from doorward.guard.guard import Guard, GuardedSession
from doorward.guard.labels import TargetLabels
from doorward.ledger.encoding import canonical
from doorward.masking.labelling import Labelling
from doorward.masking.statement import mask_statement
from doorward.model import SecretRef, Target
from doorward.server.side import Param, Row, SideConnection
from doorward.sql.catalogue import QUERIES, Catalogue, Relation, build, relations

PATIENCE: Final = 30.0  # seconds for one statement of the catalogue
FRESH: Final = 60.0  # seconds after which a catalogue is read again, in case somebody changed it around the gateway
SHARE: Final = 5  # readings that a client's unknown names cause take at most one fifth of the time
LONGEST: Final = 2.0  # seconds that one such name waits at most before it is looked for
MAX_ROWS: Final = 200_000  # of one answer
MAX_BYTES: Final = 256 << 20
_NONE: Final[Mapping[str, frozenset[str]]] = {}


class Secrets(Protocol):
    """Turns a reference into the secret."""

    async def reveal(self, reference: SecretRef | None) -> bytes: ...


class OwnStatements:
    """One target's side connection, opened when needed, with its own recorded session."""

    def __init__(
        self, guard: Guard, target: Target, secrets: Secrets, *, settings: Mapping[str, str] | None = None
    ) -> None:
        """`settings`: of the connection's start, besides those that every such connection has."""
        self._guard = guard
        self._target = target
        self._secrets = secrets
        self._settings = settings or {}
        self._side: SideConnection | None = None
        self._session: GuardedSession | None = None
        self._turn = asyncio.Lock()

    async def query(
        self,
        name: str,
        text: str,
        params: Sequence[str | None] = (),
        *,
        timeout: float = PATIENCE,  # noqa: ASYNC109
        effect: str = "read",
        max_bytes: int = MAX_BYTES,
    ) -> list[Row]:
        """The rows of one statement. Its record is durable before it is sent; parameters are in no record. `effect` is
        what the record says that it does. Raises UpstreamError."""
        async with self._turn:
            place = await self._open()
            return await self._ask(place, name, text, params, timeout=timeout, effect=effect, max_bytes=max_bytes)

    async def _ask(
        self,
        place: tuple[SideConnection, GuardedSession],
        name: str,
        text: str,
        params: Sequence[Param] = (),
        *,
        oids: Sequence[int] = (),
        formats: Sequence[int] = (),
        timeout: float = PATIENCE,  # noqa: ASYNC109
        effect: str = "read",
        max_bytes: int = MAX_BYTES,
    ) -> list[Row]:
        side, session = place
        number = session.record.template(
            canonical(
                {
                    "action": name,
                    "effect": effect,
                    "text": mask_statement(text, detectors=self._guard.recorder.detectors)[0],
                    "decision": {"outcome": "allow", "rules": ["doorward"]},
                }
            )
        )
        position = session.record.run(number, b"\0\0")
        durable = self._guard.recorder.wait(position)
        if durable is not None:
            await durable
        try:
            rows = await side.query(
                text, params, oids=oids, formats=formats, timeout=timeout, max_rows=MAX_ROWS, max_bytes=max_bytes
            )
        except UpstreamError:
            session.record.settled(b'{"outcome":"failed"}')
            if side.closed:
                await self._drop()
            raise
        session.record.settled(b'{"outcome":"completed","rows":%d}' % len(rows))
        return rows

    @asynccontextmanager
    async def transaction(
        self, name: str, settings: Mapping[str, str], *, read_only: bool = True
    ) -> AsyncIterator[Callable[..., Awaitable[list[Row]]]]:
        """A transaction that is always rolled back: what it gives asks like `query`, without a name. `settings` hold within
        it. Nobody else asks meanwhile. Raises UpstreamError, also when the connection is lost: nothing is ever asked again on
        another one, where it would stand in no transaction."""
        async with self._turn:
            place = await self._open()

            async def ask(text: str, params: Sequence[Param] = (), **how: Any) -> list[Row]:
                return await self._ask(place, name, text, params, **how)

            await ask("BEGIN READ ONLY" if read_only else "BEGIN", effect="read")
            try:
                for setting, value in settings.items():
                    await ask("SELECT pg_catalog.set_config($1, $2, true)", (setting, value))
                yield ask
            finally:
                await ask("ROLLBACK")

    async def _open(self) -> tuple[SideConnection, GuardedSession]:
        if self._side is None or self._session is None or self._side.closed:
            await self._drop()
            session = await self._guard.open_own(self._target)
            try:
                self._side = await SideConnection.open(
                    self._target,
                    await self._secrets.reveal(self._target.credential),
                    # View definitions come out with every name qualified only while nothing but pg_catalog is searched.
                    parameters={
                        **self._settings, "application_name": f"doorward {session.session.id}", "search_path": "pg_catalog",
                    },
                )
            except BaseException:
                await session.close("the target could not be reached")
                raise
            self._session = session
            session.backend = self._side.pid
        return self._side, self._session

    async def _drop(self) -> None:
        side, session = self._side, self._session
        self._side = self._session = None
        if side is not None:
            await side.close()
        if session is not None:
            await session.close("the gateway's own connection ended")

    async def close(self) -> None:
        async with self._turn:
            await self._drop()


class CatalogueHolder:
    """The current catalogue of one target. Everybody who judges looks here; replacing it makes verdicts stale."""

    def __init__(
        self,
        own: OwnStatements,
        labelling: Callable[[Catalogue], Labelling] = lambda _: Labelling(),
        places: TargetLabels | None = None,
    ) -> None:
        self._own = own
        self._label = labelling
        self._places = places
        self.labelling = Labelling()  # of the current catalogue
        self._catalogue: Catalogue | None = None
        self._system: tuple[Relation, ...] = ()
        self._marks: Row = ()
        self._read_at = 0.0
        self._took = 0.0
        self._turn = asyncio.Lock()
        self._version = 0

    @property
    def catalogue(self) -> Catalogue:
        if self._catalogue is None:
            raise RuntimeError("the catalogue has not been read yet")
        return self._catalogue

    @property
    def labels(self) -> Mapping[str, str]:
        """The label of each labelled column, as far as this catalogue has it."""
        return self.labelling.labels

    @property
    def copied(self) -> Mapping[str, frozenset[str]]:
        """`Facts.copied`: what labels have followed their data into other columns."""
        return _NONE if self._places is None else self._places.copied(self.catalogue, self.labels)

    @property
    def stale(self) -> bool:
        return self._catalogue is None or time.monotonic() - self._read_at > FRESH

    async def refresh(self, *, since: float | None = None) -> Catalogue:
        """Read it again, unless somebody did after `since` (monotonic seconds; default: now). Raises UpstreamError."""
        asked = time.monotonic() if since is None else since
        async with self._turn:
            if self._catalogue is not None and self._read_at > asked:
                return self._catalogue
            started = time.monotonic()
            found = await self._read()
            if self._catalogue is None or not same(found, self._catalogue):
                labelling = self._label(found)
                if self._places is not None:  # before anybody judges by it: what has moved keeps its labels
                    await self._places.follow(found, labelling.labels)
                self._version += 1
                self._catalogue, self.labelling = found, labelling
            self._read_at, self._took = started, time.monotonic() - started
            return self._catalogue

    async def look_for(self) -> Catalogue:
        """A client named something unknown: read again. Who comes too soon after the last reading waits for the next one,
        which all who wait share: names can be made up faster than catalogues can be read."""
        asked = time.monotonic()
        await asyncio.sleep(max(0.0, min(self._read_at + SHARE * self._took - asked, LONGEST)))
        return await self.refresh(since=asked)

    async def _read(self) -> Catalogue:
        """Every fact that classification and lineage need. The marks come first: what changes while the rest is read has
        then another mark at the next reading, and is read again."""
        try:
            (marks,) = await self._rows("marks")
            if self._catalogue is not None and marks == self._marks:
                return self._catalogue
            if self._catalogue is None or marks[0] != self._marks[0]:
                self._system = relations(await self._rows("system relations"), await self._rows("system columns"))
            found = relations(await self._rows("relations"), await self._rows("columns"))
            made = build((*self._system, *found), await self._rows("names"), marks[2] or "", version=self._version + 1)
        except (ValueError, IndexError) as error:
            raise UpstreamError(f"the target's catalogue is not what it should be: {error}") from error
        self._marks = marks
        return made

    async def _rows(self, name: str) -> list[Row]:
        return await self._own.query(f"catalogue: {name}", QUERIES[name])


class WithLabels:
    """A target's catalogue for sessions in which more is labelled than in others: those of a proof."""

    def __init__(self, holder: CatalogueHolder, more: Mapping[str, str]) -> None:
        self._holder = holder
        self._more = more
        self._base: Mapping[str, str] = {}
        self._labels: Mapping[str, str] = dict(more)

    @property
    def catalogue(self) -> Catalogue:
        return self._holder.catalogue

    @property
    def labels(self) -> Mapping[str, str]:
        if self._holder.labels is not self._base:
            self._base = self._holder.labels
            self._labels = {**self._base, **self._more}
        return self._labels

    @property
    def copied(self) -> Mapping[str, frozenset[str]]:
        return self._holder.copied


def same(one: Catalogue, other: Catalogue) -> bool:
    """Whether two catalogues say the same, whatever their version: then verdicts need not be made again."""
    return (
        one.relations == other.relations
        and one.functions == other.functions
        and one.operators == other.operators
        and one.schemas == other.schemas
        and one.definitions == other.definitions
        and one.setters == other.setters
    )
