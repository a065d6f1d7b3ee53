"""A witness over HTTP: C2SP tlog-witness, `add-checkpoint` and what monitors read.

Nobody has to show who they are: what is asked for is a signature over a checkpoint that a trusted log signed, and it is given
at most once for each history. One request at a time is judged; its state is durable before its signature leaves.
"""

from __future__ import annotations

import threading
from collections.abc import Awaitable, Callable, Coroutine, Sequence
from typing import Any, Protocol

from doorward.errors import IntegrityError
from doorward.ledger.checkpoint import NoteVerifier
from doorward.ledger.cosignature import Cosigner
from doorward.ledger.witness import MAX_REQUEST, Answer, answer, origin_of, parse_request

Scope = dict[str, Any]
Receive = Callable[[], Awaitable[dict[str, Any]]]
Send = Callable[[dict[str, Any]], Awaitable[None]]
Application = Callable[[Scope, Receive, Send], Coroutine[Any, Any, None]]


class State(Protocol):
    """What a witness keeps (adapters/blobs/witness.py). OSError."""

    def read(self, origin: str) -> bytes | None: ...
    def published(self, hashed: str) -> bytes | None: ...
    def write(self, origin: str, note: bytes) -> None:
        """Durable when it returns."""
        ...


class WitnessService:
    """`now` is Unix ms; `heard` is told of every answer: status, origin and size."""

    def __init__(
        self, state: State, cosigner: Cosigner, logs: Sequence[NoteVerifier], now: Callable[[], int],
        heard: Callable[[int, str, str], None] = lambda status, origin, said: None,
    ) -> None:  # fmt: skip
        self._state, self._cosigner, self._logs, self._now, self._heard = state, cosigner, logs, now, heard
        self._turn = threading.Lock()

    def add(self, body: bytes) -> Answer:
        """Judge one submission. If we die before the answer is sent, the log asks again and gets another for it."""
        try:
            origin = origin_of(parse_request(body).note)
        except IntegrityError:
            origin = ""
        known = [log for log in self._logs if log.name == origin]
        with self._turn:
            try:
                said = answer(
                    body, self._state.read(origin) if known else None, known, self._cosigner, self._now() // 1000
                )
                if said.remember is not None:
                    self._state.write(origin, said.remember)
            except (IntegrityError, OSError) as error:
                said = Answer(500, b"this witness cannot keep its state\n")
                self._heard(500, origin if known else "", str(error))
                return said
        words = said.body.decode("utf-8", "replace").strip() if said.status != 200 else ""
        self._heard(said.status, origin if known else "", words)
        return said

    def published(self, hashed: str) -> bytes | None:
        return self._state.published(hashed)


def witness_application(service: WitnessService) -> Application:
    """The ASGI application. Bare, because tlog-witness wants its content types to the letter."""

    async def application(scope: Scope, receive: Receive, send: Send) -> None:
        method, parts = scope["method"], scope["path"].split("/")[1:]
        if (method, parts) == ("POST", ["add-checkpoint"]):
            body = await _body(receive)
            # On the loop: judging takes a millisecond, and one at a time is the point.
            said = Answer(413, b"more than a request may have\n") if body is None else service.add(body)
        elif method == "GET" and len(parts) == 2 and parts[1] == "checkpoint":
            found = service.published(parts[0])
            said = (
                Answer(404, b"no checkpoint of that log was cosigned here\n") if found is None else Answer(200, found)
            )
        else:
            said = Answer(404, b"a witness has add-checkpoint, and <SHA-256 of an origin>/checkpoint\n")
        headers = [(b"content-type", said.type.encode()), (b"content-length", b"%d" % len(said.body))]
        await send({"type": "http.response.start", "status": said.status, "headers": headers})
        await send({"type": "http.response.body", "body": said.body})

    return application


async def _body(receive: Receive) -> bytes | None:
    """All of a request's body; None if it is longer than any that means something."""
    body = bytearray()
    while True:
        part = await receive()
        body += part.get("body", b"")
        if len(body) > MAX_REQUEST:
            return None
        if not part.get("more_body"):
            return bytes(body)
