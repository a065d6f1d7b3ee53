"""The store's ports in memory: what `tests/suites/store.py` says of SQL holds for this too."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import replace

from doorward.errors import IntegrityError
from doorward.guard.outbox import Outgoing
from doorward.guard.stores import (
    Agent,
    Boot,
    Fold,
    Head,
    KeptCount,
    KeptToken,
    OpenOperation,
    Principal,
    Reservation,
    Revocation,
    SessionRow,
    Spent,
    StoredEvent,
    Used,
)
from doorward.model import Approval, ApprovalState, Vote
from tests.memory.retention import MemoryRetention

VOTABLE = (ApprovalState.WAITING, ApprovalState.PARKED)


class MemoryBudgets:
    def __init__(self) -> None:
        self.rows: dict[tuple[str, str, int, int], Spent] = {}

    async def spent(self, since: int) -> list[Spent]:
        return [row for row in self.rows.values() if row.slot >= since]

    async def keep_spent(self, rows: Sequence[Spent], since: int) -> None:
        self.rows = {key: row for key, row in self.rows.items() if row.slot >= since}
        self.rows |= {(row.identity, row.label, row.slot, row.lane): row for row in rows}

    async def reserve(self, wanted: Sequence[Reservation], since: int) -> list[int]:
        others = [
            sum(
                row.answers for row in self.rows.values()
                if (row.identity, row.label) == (w.identity, w.label) and row.lane != w.lane and row.slot >= since
            )
            for w in wanted
        ]  # fmt: skip
        if all(w.used + elsewhere <= w.most for w, elsewhere in zip(wanted, others, strict=True)):
            await self.keep_spent(
                [
                    Spent(w.identity, w.label, w.slot, w.here + w.most - w.used - elsewhere, w.lane)
                    for w, elsewhere in zip(wanted, others, strict=True)
                ],
                since,
            )
        return others


class MemoryLabels:
    def __init__(self) -> None:
        self.kept: dict[str, set[tuple[str, int, int, str]]] = {}

    async def places(self, target: str) -> list[tuple[str, int, int, str]]:
        return sorted(self.kept.get(target, set()))

    async def keep_places(self, target: str, places: Sequence[tuple[str, int, int, str]]) -> None:
        self.kept.setdefault(target, set()).update(places)

    async def forget_places(self, target: str, places: Sequence[tuple[str, int, int, str]]) -> None:
        self.kept.setdefault(target, set()).difference_update(places)


class MemoryVault:
    def __init__(self) -> None:
        self.tokens: dict[tuple[str, str], KeptToken] = {}

    async def keep_tokens(self, rows: Sequence[KeptToken]) -> None:
        self.tokens |= {(row.target, row.token): row for row in rows}

    async def kept_token(self, target: str, token: str) -> KeptToken | None:
        return self.tokens.get((target, token))

    async def kept_counts(self, target: str = "") -> list[KeptCount]:
        days: dict[tuple[str, str], list[int]] = {}
        for row in self.tokens.values():
            if target in ("", row.target):
                days.setdefault((row.label, row.epoch), []).append(row.day)
        return [KeptCount(*key, len(found), min(found), max(found)) for key, found in days.items()]

    async def kept_under(self, epochs: Sequence[str], limit: int) -> list[KeptToken]:
        return [row for row in self.tokens.values() if row.epoch in epochs][:limit]

    async def forget_tokens(self, target: str, *, tokens: Sequence[str] = (), label: str = "") -> int:
        return self._erase([
            key for key, row in self.tokens.items()
            if row.target == target and (row.label == label if label else row.token in tokens)
        ])  # fmt: skip

    async def expire_tokens(self, before: int) -> int:
        return self._erase([key for key, row in self.tokens.items() if row.day < before])

    def _erase(self, keys: Sequence[tuple[str, str]]) -> int:
        for key in keys:
            del self.tokens[key]
        return len(keys)


class MemoryApprovals:
    def __init__(self) -> None:
        self.rows: dict[str, Approval] = {}
        self.bodies: dict[str, bytes] = {}
        self.likeness: dict[str, str] = {}
        self.uses: dict[str, tuple[str, str, str, int, int]] = {}  # operation -> approval, lane, boot, rows, running

    async def alike(self, likeness: str, *, limit: int) -> Sequence[Approval]:
        found = [self.rows[id_] for id_, of in self.likeness.items() if of == likeness]
        return sorted(found, key=lambda row: row.id, reverse=True)[:limit]

    async def create(self, approval: Approval, body: bytes = b"", likeness: str = "") -> None:
        if approval.id in self.rows:
            raise ValueError(approval.id)
        self.rows[approval.id], self.bodies[approval.id], self.likeness[approval.id] = approval, body, likeness

    async def get(self, approval_id: str) -> Approval | None:
        return self.rows.get(approval_id)

    async def body(self, approval_id: str) -> bytes:
        return self.bodies.get(approval_id, b"")

    async def list(self, state: ApprovalState | None = None, *, limit: int = 100) -> list[Approval]:
        found = [row for row in self.rows.values() if state in (None, row.state)]
        return sorted(found, key=lambda row: row.id, reverse=True)[:limit]

    async def vote(self, approval_id: str, vote: Vote) -> bool:
        row = self.rows.get(approval_id)
        if row is None or row.state not in VOTABLE or any(cast.voter == vote.voter for cast in row.votes):
            return False
        self.rows[approval_id] = replace(row, votes=tuple(sorted((*row.votes, vote), key=lambda v: (v.at, v.voter))))
        return True

    async def set_state(self, approval_id: str, expected: ApprovalState, state: ApprovalState) -> bool:
        row = self.rows.get(approval_id)
        if row is None or row.state is not expected:
            return False
        self.rows[approval_id] = replace(row, state=state)
        return True

    async def spend(self, approval_id: str, digest: bytes, now: int) -> bool:
        row = self.rows.get(approval_id)
        if (
            row is None or row.state is not ApprovalState.APPROVED or row.digest != digest or row.uses
            or row.expires_at <= now
        ):
            return False
        self.rows[approval_id] = replace(row, state=ApprovalState.SPENT, uses=1)
        return True

    async def find_reusable(self, requester: str, digest: bytes, now: int) -> Approval | None:
        found = [
            row for row in self.rows.values()
            if row.requested_by == requester and row.digest == digest and row.expires_at > now
            and row.state in (*VOTABLE, ApprovalState.APPROVED)
        ]
        return max(found, key=lambda row: row.id, default=None)

    async def use(
        self, approval_id: str, operation: str, lane: str, boot: str, rows: int, statements: int, most: int
    ) -> int:
        used = await self.used(approval_id)
        row = self.rows.get(approval_id)
        if (
            row is None or row.state is not ApprovalState.APPROVED or used.statements >= statements or used.rows + rows > most
        ):
            return 0
        self.uses[operation] = (approval_id, lane, boot, rows, 1)
        return used.statements + 1

    async def settle(self, rows: Mapping[str, int]) -> None:
        for operation, touched in rows.items():
            self.uses[operation] = (*self.uses[operation][:3], touched, 0)

    async def used(self, approval_id: str) -> Used:
        mine = [(rows, running) for id_, _, _, rows, running in self.uses.values() if id_ == approval_id]
        return Used(len(mine), sum(rows for rows, _ in mine), sum(running for _, running in mine))

    async def unsettled(self, lane: str, boot: str) -> Sequence[str]:
        return sorted({
            id_ for id_, its, of, _, running in self.uses.values() if running and its == lane and of != boot
        })  # fmt: skip

    async def approved(self, requester: str, digest: bytes, *, limit: int = 20) -> Sequence[Approval]:
        found = [
            row for row in self.rows.values()
            if row.requested_by == requester and row.digest == digest and row.state is ApprovalState.APPROVED
        ]
        return sorted(found, key=lambda row: row.id, reverse=True)[:limit]


class MemoryIdentities:
    def __init__(self) -> None:
        self._version = 0
        self._principals: dict[str, Principal] = {}
        self._agents: dict[str, Agent] = {}
        self._revocations: dict[str, Revocation] = {}
        self._exchanged: dict[tuple[str, str], tuple[int, str]] = {}

    async def version(self) -> int:
        return self._version

    async def principals(self, ids: Sequence[str]) -> list[Principal]:
        return [self._principals[each] for each in ids if each in self._principals]

    async def everybody(self, limit: int) -> list[Principal]:
        return [self._principals[each] for each in sorted(self._principals)][:limit]

    async def keep_principal(self, principal: Principal) -> None:
        old = self._principals.get(principal.id)
        if old is None:
            self._principals[principal.id] = principal
        elif (
            old.issued_at <= principal.issued_at
            and (old.groups, old.claims, old.kind) != (principal.groups, principal.claims, principal.kind)
        ):
            self._principals[principal.id] = principal
            self._version += 1
        else:
            self._principals[principal.id] = replace(
                old, seen_at=principal.seen_at, issued_at=max(old.issued_at, principal.issued_at)
            )

    async def agents(self) -> list[Agent]:
        return sorted(self._agents.values(), key=lambda agent: agent.name)

    async def add_agent(self, agent: Agent) -> bool:
        if agent.name in self._agents:
            return False
        self._agents[agent.name] = agent
        self._version += 1
        return True

    async def change_agent(self, before: Agent, after: Agent) -> bool:
        if self._agents.get(before.name) != before:
            return False
        self._agents[before.name] = after
        self._version += 1
        return True

    async def revocations(self, now: int) -> list[Revocation]:
        found = [each for each in self._revocations.values() if not each.until or each.until > now]
        return sorted(found, key=lambda each: (each.at, each.id))

    async def revoke(self, revocation: Revocation) -> None:
        if revocation.id in self._revocations:
            raise ValueError(revocation.id)
        self._revocations[revocation.id] = revocation
        self._version += 1

    async def lift(self, revocation_id: str) -> bool:
        self._version += 1
        return self._revocations.pop(revocation_id, None) is not None

    async def exchange(self, tokens: Sequence[tuple[str, str]], until: int, made: str, now: int) -> bool:
        self._exchanged = {key: value for key, value in self._exchanged.items() if value[0] > now}
        if any(token in self._exchanged for token in tokens) or len(set(tokens)) < len(tokens):
            return False
        self._exchanged |= dict.fromkeys(tokens, (until, made))
        return True

    async def made_from(self, jti: str) -> list[str]:
        found, wanted = set[str](), {jti}
        while wanted:
            wanted = {made for (_, old), (_, made) in self._exchanged.items() if old in wanted} - found
            found |= wanted
        return sorted(found)


class MemoryOutbox:
    def __init__(self) -> None:
        self.rows: dict[str, Outgoing] = {}

    def _sorted(self) -> list[Outgoing]:
        return sorted(self.rows.values(), key=lambda row: (row.at, row.id))

    async def due(self, channel: str, now: int, limit: int) -> list[Outgoing]:
        found = [row for row in self._sorted() if row.channel == channel and row.next_at <= now < row.expires_at]
        return sorted(found, key=lambda row: row.next_at)[:limit]

    async def claim(self, outgoing: Outgoing, next_at: int) -> bool:
        row = self.rows.get(outgoing.id)
        if row is None or row.attempts != outgoing.attempts:
            return False
        self.rows[row.id] = replace(row, attempts=row.attempts + 1, next_at=next_at)
        return True

    async def postpone(self, outgoing_id: str, error: str, next_at: int) -> None:
        row = self.rows[outgoing_id]
        self.rows[outgoing_id] = replace(row, error=error, next_at=max(row.next_at, next_at))

    async def delivered(self, outgoing_id: str) -> None:
        self.rows.pop(outgoing_id, None)

    async def prune(self, now: int, most: int) -> list[tuple[str, str, str, int]]:
        forgotten: Counter[tuple[str, str, str]] = Counter()
        kept: Counter[tuple[str, str]] = Counter()
        for row in reversed(self._sorted()):
            over = row.expires_at <= now
            kept[row.channel, row.kind] += not over
            if over or kept[row.channel, row.kind] > most:
                forgotten[row.channel, row.kind, "expired" if over else "full"] += 1
                del self.rows[row.id]
        return [(*key, count) for key, count in sorted(forgotten.items())]

    async def waiting(self) -> list[Outgoing]:
        return self._sorted()


class MemoryStore(MemoryBudgets, MemoryLabels, MemoryVault):
    def __init__(self) -> None:
        MemoryBudgets.__init__(self)
        MemoryLabels.__init__(self)
        MemoryVault.__init__(self)
        self._marks: dict[str, int] = {}
        self._head: Head | None = None
        self._boots: dict[str, Boot] = {}
        self._events: list[StoredEvent] = []
        self._keys: dict[str, bytes] = {}
        self._sessions: dict[str, SessionRow] = {}
        self._operations: dict[str, OpenOperation] = {}
        self._approvals = MemoryApprovals()
        self.identities = MemoryIdentities()
        self.outbox = MemoryOutbox()
        self.retention = MemoryRetention(self)

    @property
    def approvals(self) -> MemoryApprovals:
        return self._approvals

    async def used(self, since: int) -> dict[tuple[str, str], tuple[int, int]]:
        found: dict[tuple[str, str], tuple[int, int]] = {}
        for row in self._sessions.values():
            count, last = found.get((row.identity, row.target), (0, 0))
            found[row.identity, row.target] = (count + (row.opened >= since), max(last, row.opened))
        return found

    async def mark(self, name: str) -> int:
        return self._marks.get(name, 0)

    async def keep_mark(self, name: str, value: int) -> None:
        self._marks[name] = value

    async def head(self) -> Head | None:
        return self._head

    async def boots(self) -> list[Boot]:
        return sorted(self._boots.values(), key=lambda boot: boot.ordinal)

    async def fold(self, fold: Fold) -> None:
        if fold.expected != self._head:
            raise IntegrityError("the head is another", spot="store: head")
        self._head = fold.head
        self._events += fold.events
        self._boots.update({boot.id: boot for boot in fold.boots})
        self._keys.update(fold.keys or {})
        self._sessions.update({row.id: row for row in fold.sessions})
        self._operations.update({operation.id: operation for operation in fold.permitted})
        for operation in fold.settled:
            self._operations.pop(operation, None)
        for approval in fold.parked:
            await self._approvals.set_state(approval, ApprovalState.WAITING, ApprovalState.PARKED)
        for approval, vote in fold.votes:
            await self._approvals.vote(approval, vote)
        for each in fold.outgoing:
            self.outbox.rows.setdefault(each.id, each)

    async def events(
        self,
        *,
        session_id: str = "",
        types: Sequence[str] = (),
        leaves: Sequence[int] = (),
        after: int = -1,
        limit: int = 1000,
    ) -> list[StoredEvent]:
        found = [
            event for event in self._events
            if event.index > after and session_id in ("", event.session_id) and (not types or event.type in types)
            and (not leaves or event.index in leaves)
        ]
        return found[:limit]

    async def count_events(self, type: str, session_ids: Sequence[str]) -> dict[str, int]:  # noqa: A002
        return dict(Counter(e.session_id for e in self._events if e.type == type and e.session_id in session_ids))

    async def wrapped_key(self, key_id: str) -> bytes | None:
        return self._keys.get(key_id)

    async def open_operations(self) -> list[OpenOperation]:
        return sorted(self._operations.values(), key=lambda operation: operation.id)

    async def session(self, session_id: str) -> SessionRow | None:
        return self._sessions.get(session_id)

    async def sessions(
        self, *, identity: str = "", target: str = "", state: str = "", since: int = 0, until: int = 0,
        before: str = "", limit: int = 50,
    ) -> list[SessionRow]:
        found = [
            row for row in self._sessions.values()
            if identity in ("", row.identity) and target in ("", row.target) and state in ("", row.state)
            and row.opened >= since and (not until or row.opened < until) and (not before or row.id < before)
        ]
        return sorted(found, key=lambda row: row.id, reverse=True)[:limit]
