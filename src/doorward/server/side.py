"""The gateway's own statements: a connection to a target beside those of its clients.

Contract. `query` runs one statement by the extended protocol, so that it cannot become two, with parameters apart from
the text, and gives its rows as text. Time, rows and bytes are bounded; one statement runs at a time. A statement that
fails raises `UpstreamError` with the SQLSTATE first in its message, and the connection goes on. Whatever leaves doubt
about the connection (time run out, a message out of turn, too many bytes) ends it: `closed` is then true.

These are Operations like any other: whoever calls this has had them admitted and recorded. Not here: which statements
(sql/catalogue.py, the approvals), when (the relay), admission (guard).
"""

from __future__ import annotations

import asyncio
from collections.abc import Mapping, Sequence
from typing import Final

from doorward.errors import ProtocolError, UpstreamError
from doorward.model.target import Target
from doorward.protocols.postgres import wire
from doorward.protocols.postgres.login import shown
from doorward.protocols.postgres.wire import Backend
from doorward.server.dial import Upstream, cancel, dial

Row = tuple[str | None, ...]
Param = str | bytes | None

MAX_MESSAGE: Final = 16 * 1024 * 1024
MAX_NOTICES: Final = 1000


class SideConnection:
    """One connection for statements of the gateway itself. Make it with `open`."""

    def __init__(self, target: Target, upstream: Upstream) -> None:
        self._closed = False
        self._target = target
        self._upstream = upstream
        self._frames = wire.Frames(MAX_MESSAGE, types=wire.BACKEND_TYPES)
        self._turn = asyncio.Lock()

    @classmethod
    async def open(
        cls,
        target: Target,
        password: bytes,
        *,
        user: str = "",
        database: str = "",
        parameters: Mapping[str, str] | None = None,
    ) -> SideConnection:
        """Connects like `dial`, and raises like it."""
        settings = {"application_name": "doorward", **(parameters or {})}
        return cls(target, await dial(target, password, user=user, database=database, parameters=settings))

    @property
    def closed(self) -> bool:
        """Whether it is over: open another."""
        return self._closed or self._upstream.lost

    @property
    def pid(self) -> int:
        """The target's process that serves it."""
        return self._upstream.pid

    @property
    def parameters(self) -> Mapping[str, str]:
        """What the server reported at login."""
        return self._upstream.parameters

    async def query(
        self,
        text: str,
        params: Sequence[Param] = (),
        *,
        oids: Sequence[int] = (),
        formats: Sequence[int] = (),
        timeout: float = 10.0,  # noqa: ASYNC109 - it covers the wait for the turn and cleaning up after itself
        max_rows: int = 100_000,
        max_bytes: int = MAX_MESSAGE,
    ) -> list[Row]:
        """The rows of one statement; values are text, None is NULL. `timeout` is in seconds. `oids` and `formats` are those
        of the parameters, as in Parse and Bind; by default the server infers the types, and the values are text.

        Raises UpstreamError: with the SQLSTATE when the statement fails, and when a bound is passed.
        """
        request = b"".join(
            (
                wire.parse(b"", text.encode(), oids),
                wire.bind(b"", b"", formats, [v.encode() if isinstance(v, str) else v for v in params], ()),
                wire.execute(b"", max_rows + 1),
                wire.SYNC,
            )
        )
        try:
            async with asyncio.timeout(timeout), self._turn:
                if self.closed:
                    raise UpstreamError("the gateway's own connection to the target has ended")
                try:
                    await self._upstream.send(request)
                    rows, failure = await self._answer(max_bytes)
                except BaseException:
                    # Cancelled, out of time or out of step: nobody knows what would come next.
                    await self._give_up()
                    raise
        except TimeoutError:
            raise UpstreamError(f"the gateway's own statement took longer than {timeout:g} s") from None
        if failure is not None:
            raise failure
        if len(rows) > max_rows:
            raise UpstreamError(f"the gateway's own statement gave more than {max_rows} rows")
        return rows

    async def close(self) -> None:
        """Ends the connection. Never raises."""
        if not self._closed:
            self._closed = True
            await self._upstream.close()

    async def _answer(self, max_bytes: int) -> tuple[list[Row], UpstreamError | None]:
        rows: list[Row] = []
        failure: UpstreamError | None = None
        expected = [Backend.PARSE_COMPLETE, Backend.BIND_COMPLETE]
        finished = False
        size = asides = 0
        while True:
            try:
                messages = self._frames.feed(await self._upstream.receive())
            except UpstreamError:
                raise failure or UpstreamError("the target ended the gateway's own connection") from None
            for number, (kind, payload) in enumerate(messages):
                if kind in (Backend.NOTICE_RESPONSE, Backend.PARAMETER_STATUS, Backend.NOTIFICATION_RESPONSE):
                    asides += 1
                    if asides > MAX_NOTICES:
                        raise ProtocolError("the target sends notices without end")
                elif kind == Backend.READY_FOR_QUERY and (finished or failure is not None):
                    wire.parse_ready(payload)
                    if number + 1 < len(messages) or self._frames.buffered:
                        raise ProtocolError("the target speaks before it is asked")
                    return rows, failure
                elif failure is not None:
                    raise ProtocolError("the target goes on after an error")
                elif kind == Backend.ERROR_RESPONSE:
                    failure = statement_failed(wire.parse_error(payload))
                elif expected:
                    if kind != expected.pop(0) or payload:
                        raise ProtocolError("the target answers out of order")
                elif kind == Backend.DATA_ROW and not finished:
                    size += len(payload)
                    if size > max_bytes:
                        raise UpstreamError(f"the gateway's own statement gave more than {max_bytes} bytes")
                    rows.append(
                        tuple(
                            None if value is None else value.decode("utf-8", "replace")
                            for value in wire.parse_data_row(payload)
                        )
                    )
                elif (
                    kind in (Backend.COMMAND_COMPLETE, Backend.PORTAL_SUSPENDED, Backend.EMPTY_QUERY_RESPONSE)
                    and not finished
                ):
                    finished = True
                else:
                    raise ProtocolError("the target answers out of order")

    async def _give_up(self) -> None:
        """Ends the connection, and what still runs on it at the target: a server does not notice a client that left."""
        self._closed = True
        self._upstream.abort()
        if self._upstream.secret:
            try:
                await cancel(
                    self._target, self._upstream.pid, self._upstream.secret, login_timeout=2, connect_timeout=2
                )
            except (UpstreamError, ProtocolError):
                pass  # the target is lost too, or ends the statement by its own statement_timeout


def statement_failed(fields: Mapping[str, str]) -> UpstreamError:
    """An ErrorResponse as an error: the SQLSTATE (or XX000 when the target names none), then what it says."""
    sqlstate = shown(fields.get("C", ""), 5) or "XX000"
    return UpstreamError(f"{sqlstate}: {shown(fields.get('M', ''), 300) or 'no reason given'}")
