"""The HTTP API's part that is about targets: what is in them, where labels have got to, and proofs of masking. Every route
needs `administer` there.

What a proof found is put on record whole, with the digest of its canonical form, before what it planted is taken away.
"""

from __future__ import annotations

import hashlib
from collections.abc import Awaitable, Callable, Sequence
from typing import Any, Protocol

import msgspec
from litestar import Request, get, post
from litestar.exceptions import HTTPException, NotFoundException
from litestar.params import FromPath, JSONBody
from litestar.status_codes import HTTP_200_OK, HTTP_409_CONFLICT

from doorward.evidence.reconcile import Seen
from doorward.guard.guard import Guard
from doorward.guard.labels import TargetLabels
from doorward.guard.reconciliation import Source
from doorward.ledger.encoding import canonical
from doorward.model import Identity, Target

MOST_CHANNELS = 500
MOST_LIFTED = 1000
MOST_ROWS = 5000  # of one relation
MOST_CONNECTIONS = 500  # of one part of an account
LONGEST = 48 << 10  # bytes of a report


class Running(Protocol):
    """A proof that has begun."""

    @property
    def id(self) -> str: ...
    @property
    def target(self) -> str: ...
    @property
    def identity(self) -> str: ...


class Proofs(Protocol):
    """`server.proofs.Proofs`. `begin` raises BlockingIOError when somebody else's proof runs there."""

    async def begin(self, target: str, actor: Identity, identity: str) -> Running: ...
    async def plant(self, running: Any, /) -> bool: ...
    def find(self, target: str, proof: str) -> Running | None: ...
    async def end(self, running: Any, /) -> None: ...


class Samples(Protocol):
    """`server.sampling.Samples`. Raises BlockingIOError when the target is being sampled already."""

    async def sample(
        self, target: str, actor: Identity, *, rows: int, schemas: Sequence[str] = (), after: int = 0
    ) -> dict[str, Any]: ...


class Reconciliations(Protocol):
    """`server.reconciling.Reconciliations`."""

    async def activity(self, target: str, *, actor: str = "") -> dict[str, Any]: ...
    async def compare(self, target: str, seen: Sequence[Seen], source: Source, *, actor: str = "") -> dict[str, Any]: ...


class Served(Protocol):
    """What of the gateway these routes serve."""

    guard: Guard
    postgres_port: int

    @property
    def targets(self) -> dict[str, Target]: ...
    @property
    def postgres_tls(self) -> bool: ...
    @property
    def proofs(self) -> Proofs: ...
    @property
    def samples(self) -> Samples: ...
    @property
    def reconciliations(self) -> Reconciliations: ...


Who = Callable[[Request[Any, Any, Any]], Awaitable[Identity]]
Allowed = Callable[[Identity, str, str], bool]


def routes(gateway: Served, who: Who, allowed: Allowed) -> Sequence[Any]:
    """The handlers. `allowed` asks policy: identity, action, target."""

    async def administrator(request: Request[Any, Any, Any], target: str) -> Identity:
        caller = await who(request)
        if target not in gateway.targets or not allowed(caller, "administer", target):
            raise NotFoundException(detail=f"there is no target {target} that you may administer")
        return caller

    @post("/api/targets/{target:str}/samples", status_code=HTTP_200_OK)
    async def sample(
        request: Request[Any, Any, Any], target: FromPath[str], data: JSONBody[dict[str, Any]]
    ) -> dict[str, Any]:
        """Look into the target's tables for a while: {"rows": of each, "schemas": [only these], "after": where the last answer
        said `next`}. Gives counts and labels to propose, and no value."""
        caller = await administrator(request, target)
        rows, schemas, after = data.get("rows", 200), data.get("schemas", []), data.get("after", 0)
        if (
            type(rows) is not int or not 1 <= rows <= MOST_ROWS or type(after) is not int or not 0 <= after < 1 << 32
            or not isinstance(schemas, list) or not all(isinstance(each, str) for each in schemas)
            or set(data) - {"rows", "schemas", "after"}
        ):  # fmt: skip
            raise HTTPException(
                status_code=400, detail=f'send {{"rows": 1 to {MOST_ROWS}, "schemas": [names], "after": the last next}}'
            )
        try:
            return await gateway.samples.sample(target, caller, rows=rows, schemas=schemas, after=after)
        except BlockingIOError as error:
            raise HTTPException(status_code=HTTP_409_CONFLICT, detail=str(error)) from None

    @post("/api/targets/{target:str}/proofs", status_code=HTTP_200_OK)
    async def begin(
        request: Request[Any, Any, Any], target: FromPath[str], data: JSONBody[dict[str, Any]]
    ) -> dict[str, Any]:
        """Begin a proof: {"identity": "issuer|subject" who will try}. Nothing is planted yet."""
        caller = await administrator(request, target)
        identity = data.get("identity")
        if not isinstance(identity, str) or not identity or len(identity) > 1000 or set(data) != {"identity"}:
            raise HTTPException(status_code=400, detail='send {"identity": "issuer|subject"}')
        try:
            begun = await gateway.proofs.begin(target, caller, identity)
        except BlockingIOError as error:
            raise HTTPException(status_code=HTTP_409_CONFLICT, detail=str(error)) from None
        return {
            "proof": begun.id, "target": target, "port": gateway.postgres_port, "tls": gateway.postgres_tls,
            "detect": gateway.targets[target].detect, "mode": str(gateway.targets[target].mode),
        }  # fmt: skip

    def running(target: str, proof: str) -> Running:
        found = gateway.proofs.find(target, proof)
        if found is None:
            raise NotFoundException(detail=f"proof {proof} does not run at {target} (any more): another took its place")
        return found

    @post("/api/targets/{target:str}/proofs/{proof:str}/plant", status_code=HTTP_200_OK)
    async def plant(request: Request[Any, Any, Any], target: FromPath[str], proof: FromPath[str]) -> dict[str, Any]:
        """Plant what the proof looks for."""
        await administrator(request, target)
        if not await gateway.proofs.plant(running(target, proof)):
            raise NotFoundException(detail=f"another proof took the place of {proof} at {target}")
        return {"proof": proof}

    @post("/api/targets/{target:str}/proofs/{proof:str}", status_code=HTTP_200_OK)
    async def end(
        request: Request[Any, Any, Any], target: FromPath[str], proof: FromPath[str], data: JSONBody[dict[str, Any]]
    ) -> dict[str, Any]:
        """Put a proof's report on record, if there is one, and take away what it planted: {"report": {...} or null}."""
        caller = await administrator(request, target)
        report = data.get("report")
        if set(data) != {"report"} or not (report is None or _sane(report, target, proof)):
            raise HTTPException(status_code=400, detail="that is no report of this proof")
        ending = running(target, proof)
        digest = await recorded(ending, report, caller) if report is not None else ""
        await gateway.proofs.end(ending)
        return {"proof": proof, "digest": digest}

    @get("/api/targets/{target:str}/labels/copied")
    async def copied(request: Request[Any, Any, Any], target: FromPath[str]) -> list[dict[str, Any]]:
        """The columns that have labels because statements copied labelled data there: {"column", "labels"}. A column of ""
        stands for those that are not there any more."""
        await administrator(request, target)
        found = labels_of(target).copies()
        return [{"column": column, "labels": sorted(found[column])} for column in sorted(found)]

    @post("/api/targets/{target:str}/labels/lift", status_code=HTTP_200_OK)
    async def lift(
        request: Request[Any, Any, Any], target: FromPath[str], data: JSONBody[dict[str, Any]]
    ) -> dict[str, Any]:
        """Lift the labels that statements have brought to columns: {"columns": ["schema.table.column", ...]}. From then on what
        is in there is shown."""
        caller = await administrator(request, target)
        columns = data.get("columns")
        if (
            not isinstance(columns, list) or not 0 < len(columns) <= MOST_LIFTED or set(data) != {"columns"}
            or not all(isinstance(each, str) for each in columns)
        ):  # fmt: skip
            raise HTTPException(
                status_code=400, detail=f'send {{"columns": ["schema.table.column", ...]}}, at most {MOST_LIFTED} at a time'
            )
        labels = labels_of(target)
        there = labels.copies()
        if missing := [column for column in columns if column not in there]:
            raise NotFoundException(detail=f"nothing was copied into {missing[0]}, so there is no label to lift")
        lifted = [[column, label] for column in sorted(set(columns)) for label in sorted(there[column])]
        # On record before anybody sees more. If we die in between, the labels stay, and can be lifted again.
        await gateway.guard.recorder.event("label.lifted", {"target": target, "columns": lifted}, actor=caller.id)
        await labels.forget(columns)
        return {"lifted": [{"column": column, "label": label} for column, label in lifted]}

    def labels_of(target: str) -> TargetLabels:
        found = gateway.guard.labels.get(target)
        if found is None:
            raise NotFoundException(detail=f"nothing keeps labels of {target}")
        return found

    async def recorded(proof: Running, report: dict[str, Any], caller: Identity) -> str:
        """Put a report on record; its digest."""
        try:
            exact = canonical(report)
        except (TypeError, ValueError):
            exact = b""
        if not 0 < len(exact) <= LONGEST:
            raise HTTPException(status_code=400, detail=f"that is no report, or one longer than {LONGEST} bytes")
        digest = hashlib.sha256(exact).hexdigest()
        channels = report["channels"]
        await gateway.guard.recorder.event(
            "masking.proved",
            {"proof": proof.id, "target": proof.target, "identity": proof.identity, "digest": digest,
             "channels": len(channels), "leaks": sum(not channel["pass"] for channel in channels), "report": report},
            actor=caller.id,
        )  # fmt: skip
        return digest

    @post("/api/targets/{target:str}/reconciliations", status_code=HTTP_200_OK)
    async def reconcile(
        request: Request[Any, Any, Any], target: FromPath[str], data: JSONBody[dict[str, Any]]
    ) -> dict[str, Any]:
        """Hold who was connected to the target against the record: who is connected now, or, with {"connections": [...],
        "about": where they are from, "unread": lines that could not be read}, whom its log has."""
        caller = await administrator(request, target)
        if not data:
            return await gateway.reconciliations.activity(target, actor=caller.id)
        seen = _connections(data.get("connections"))
        about, unread = data.get("about", ""), data.get("unread", 0)
        if (
            seen is None or not isinstance(about, str) or len(about) > 500 or type(unread) is not int or unread < 0
            or set(data) - {"connections", "about", "unread"}
        ):  # fmt: skip
            raise HTTPException(
                status_code=400, detail=f"send nothing, or at most {MOST_CONNECTIONS} connections as `doorward reconcile` does"
            )
        return await gateway.reconciliations.compare(target, seen, Source("log", about, unread), actor=caller.id)

    @get("/api/targets")
    async def listing(request: Request[Any, Any, Any]) -> list[dict[str, Any]]:
        """The targets that the caller may connect to, and where the door to them is."""
        caller = await who(request)
        return [
            {"name": name, "protocol": target.protocol, "mode": str(target.mode), "port": gateway.postgres_port,
             "tls": gateway.postgres_tls}
            for name, target in sorted(gateway.targets.items()) if allowed(caller, "connect", name)
        ]  # fmt: skip

    return listing, sample, begin, plant, end, copied, lift, reconcile


def _connections(said: Any) -> list[Seen] | None:
    """An account as it is sent; None if it is none."""
    if not isinstance(said, list) or len(said) > MOST_CONNECTIONS:
        return None
    found = []
    for each in said:
        try:
            seen = msgspec.convert(each, Seen)
        except msgspec.ValidationError:
            return None
        if not all(0 <= number < 1 << 53 for number in (seen.pid, seen.started, seen.statements)):
            return None
        texts = (seen.role, seen.database, seen.client, *seen.applications)
        if len(texts) > 23 or any(len(text) > 256 for text in texts):
            return None
        found.append(seen)
    return found


def _sane(report: Any, target: str, proof: str) -> bool:
    """Whether this is a report of that proof: what its event says of it must be true of it."""
    if not isinstance(report, dict) or report.get("target") != target or report.get("proof") != proof:
        return False
    channels = report.get("channels")
    return (
        isinstance(channels, list)
        and len(channels) <= MOST_CHANNELS
        and all(isinstance(channel, dict) and isinstance(channel.get("pass"), bool) for channel in channels)
    )
