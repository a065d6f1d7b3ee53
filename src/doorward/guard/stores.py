"""What the guard keeps, and what it needs from whoever keeps it.

The contract of `guard.ports` holds: what returns is durable, and what raises may be called again. Each store is satisfied by
one class of `adapters/store/` and one of `tests/memory/`; `tests/suites/store.py` holds what both must pass.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Protocol

from doorward.guard.outbox import Outgoing
from doorward.model import Approval, ApprovalState, Vote

if TYPE_CHECKING:
    from doorward.guard.holds import RetentionStore


@dataclass(frozen=True, slots=True)
class Head:
    """The log as the store knows it: what the published checkpoint must equal or be one step behind."""

    origin: str
    size: int
    root: bytes
    checkpoint: bytes


@dataclass(frozen=True, slots=True)
class Boot:
    """One life of the gateway process and how far its write-ahead log has been folded into the tree.

    `position` is the offset in that boot's write-ahead log up to which every event is in the tree, `seq` the number of
    its leaves, `last` the leaf hash of the gateway's latest one. `ended` says that it stopped in good order. `gateway` is the
    name that its leaves have; "" where that is the only one.
    """

    id: str
    ordinal: int
    position: int
    seq: int
    last: bytes
    ended: bool = False
    gateway: str = ""


@dataclass(frozen=True, slots=True)
class StoredEvent:
    """One leaf and its private record: `sealed` is the salt and the record, encrypted under the key of `key_id`."""

    index: int
    boot: str
    seq: int
    type: str
    at: int
    session_id: str
    actor: str
    key_id: str
    sealed: bytes


@dataclass(frozen=True, slots=True)
class SessionRow:
    """A session as the index lists it, folded from its events. Times are Unix ms; `closed` is 0 while it is open.

    `state` is open, closed or recovered. `boot` and `handle` tie it to records of the write-ahead log; `through` is
    the position up to which those are in sealed segments; `last` is the latest segment's hash.
    """

    id: str
    boot: str
    handle: int
    created: int = 0
    retention: str = "std"
    opened: int = 0
    closed: int = 0
    state: str = "open"
    identity: str = ""
    issuer: str = ""
    kind: str = ""
    target: str = ""
    client: str = ""
    purpose: str = ""
    assurance: str = ""
    statements: int = 0
    refused: int = 0
    held: int = 0
    rows: int = 0
    segments: int = 0
    last: bytes = b""
    through: int = 0


@dataclass(frozen=True, slots=True)
class OpenOperation:
    """An operation that was permitted and of whose outcome nothing is recorded yet."""

    id: str
    session_id: str


@dataclass(frozen=True, slots=True)
class Fold:
    """Everything that one step of the sequencer changes in the store, applied in one transaction or not at all."""

    expected: Head | None
    head: Head
    events: Sequence[StoredEvent] = ()
    boots: Sequence[Boot] = ()
    keys: Mapping[str, bytes] | None = None  # id -> wrapped key
    sessions: Sequence[SessionRow] = ()  # inserted or replaced
    permitted: Sequence[OpenOperation] = ()
    settled: Sequence[str] = ()  # operation ids
    parked: Sequence[str] = ()  # approval ids: waiting -> parked
    votes: Sequence[tuple[str, Vote]] = ()  # (approval id, ..), which count unless that voter has one, or it is decided
    outgoing: Sequence[Outgoing] = ()  # those that wait already stay as they are


class EventStore(Protocol):
    """The log's private half: head, folded events, wrapped keys, and what recovery asks for."""

    async def head(self) -> Head | None: ...
    async def boots(self) -> list[Boot]:
        """In the order they happened."""
        ...

    async def fold(self, fold: Fold) -> None:
        """Compare `fold.expected` with the head and swap, with everything else, in one transaction.
        IntegrityError if the head is another: somebody else sequences this log. UpstreamError if the store fails."""
        ...

    async def events(
        self,
        *,
        session_id: str = "",
        types: Sequence[str] = (),
        leaves: Sequence[int] = (),
        after: int = -1,
        limit: int = 1000,
    ) -> list[StoredEvent]:
        """In leaf order, those after leaf `after`; of these `leaves` alone, if there are any (at most 1,000)."""
        ...

    async def count_events(self, type: str, session_ids: Sequence[str]) -> dict[str, int]:  # noqa: A002
        """How many events of a type each of these sessions has; those that have none are left out."""
        ...

    async def wrapped_key(self, key_id: str) -> bytes | None: ...
    async def open_operations(self) -> list[OpenOperation]: ...


class SessionStore(Protocol):
    """The index of sessions. It lags the sessions themselves by up to one step of the sequencer."""

    async def session(self, session_id: str) -> SessionRow | None: ...
    async def sessions(
        self,
        *,
        identity: str = "",
        target: str = "",
        state: str = "",
        since: int = 0,
        until: int = 0,
        before: str = "",
        limit: int = 50,
    ) -> list[SessionRow]:
        """Newest first. `identity` is an Identity.id; `since` <= opened < `until` (Unix ms, 0 for no bound);
        `before` is the id of the last session of the page before this one."""
        ...

    async def used(self, since: int) -> dict[tuple[str, str], tuple[int, int]]:
        """By identity and target: how many sessions were opened since, and when the last was, ever (Unix ms)."""
        ...


@dataclass(frozen=True, slots=True)
class Used:
    """What has been used of a grant: statements, rows that they touched or may still touch, and how many of them run."""

    statements: int = 0
    rows: int = 0
    running: int = 0


class ApprovalStore(Protocol):
    """Requests for a person's yes or no. Every change is durable when the call returns."""

    async def create(self, approval: Approval, body: bytes = b"", likeness: str = "") -> None:
        """`body` is the guard's own rendering of the request, masked. ValueError if the id exists."""
        ...

    async def alike(self, likeness: str, *, limit: int) -> Sequence[Approval]:
        """Those that were created with this likeness, newest first."""
        ...

    async def get(self, approval_id: str) -> Approval | None: ...
    async def body(self, approval_id: str) -> bytes: ...
    async def list(self, state: ApprovalState | None = None, *, limit: int = 100) -> list[Approval]:
        """Newest first."""
        ...

    async def vote(self, approval_id: str, vote: Vote) -> bool:
        """Of one process, ahead of its fold. False if that voter has voted on it, or if it is neither waiting nor parked."""
        ...

    async def set_state(self, approval_id: str, expected: ApprovalState, state: ApprovalState) -> bool:
        """Compare and swap. False if the state was another."""
        ...

    async def spend(self, approval_id: str, digest: bytes, now: int) -> bool:
        """approved -> spent, if the digest is that one and `now` (Unix ms) is before its expiry. True once, ever."""
        ...

    async def find_reusable(self, requester: str, digest: bytes, now: int) -> Approval | None:
        """The newest waiting, parked or approved request of that Identity.id for that digest, not yet expired."""
        ...

    # Uses of grants, counted for all processes.

    async def use(
        self, approval_id: str, operation: str, lane: str, boot: str, rows: int, statements: int, most: int
    ) -> int:
        """Count one more use of an approved grant, if with it there are at most `statements` uses, of at most `most` rows in
        all. Which use it is, from 1; 0 if there would be more, or it is not approved any more."""
        ...

    async def settle(self, rows: Mapping[str, int]) -> None:
        """How many rows these operations touched, instead of what was counted for them."""
        ...

    async def used(self, approval_id: str) -> Used: ...
    async def unsettled(self, lane: str, boot: str) -> Sequence[str]:
        """Grants with a use that another boot of this lane has counted and that was never settled."""
        ...

    async def approved(self, requester: str, digest: bytes, *, limit: int = 20) -> Sequence[Approval]:
        """The approved requests of that Identity.id with that digest, newest first, whenever they expire."""
        ...


@dataclass(frozen=True, slots=True)
class Principal:
    """Somebody whose token was accepted, as the newest token of theirs says. `id` is an Identity.id; times are Unix ms:
    `issued_at` of that token, `seen_at` of the last time that any was accepted, as far as it is written down."""

    id: str
    kind: str
    groups: tuple[str, ...] = ()
    claims: Mapping[str, str] = field(default_factory=dict)
    issued_at: int = 0
    seen_at: int = 0


@dataclass(frozen=True, slots=True)
class Agent:
    """A program that decides for itself, and the living person who answers for it.

    It is whoever presents a token of `issuer` that holds everything in `bound`: immutable ids by the names that
    `Identity.claims` gives them, or `sub`. `groups` are what policies know it by. `owner` is an Identity.id.
    """

    name: str
    owner: str
    issuer: str
    bound: Mapping[str, str]
    groups: tuple[str, ...] = ()
    enabled: bool = True
    registered_at: int = 0
    registered_by: str = ""


@dataclass(frozen=True, slots=True)
class Revocation:
    """Whom or what the gateway no longer lets in. `kind` is subject or agent (an Identity.id), jti, session, or login (an
    issuer, a bar, and the issuer's `sid`). Of a subject or login with `before`, only tokens issued until then (Unix ms).
    `until` is when it ends by itself; 0: when somebody lifts it."""

    id: str
    kind: str
    value: str
    at: int
    by: str = ""
    reason: str = ""
    before: int = 0
    until: int = 0


class IdentityStore(Protocol):
    """Who is known, which agents there are, what is revoked, and which tokens were exchanged. Every change is durable when
    the call returns, and another process that has this store open finds it by `version`."""

    async def version(self) -> int:
        """Another number after every change to a principal's rights, an agent or a revocation."""
        ...

    async def principals(self, ids: Sequence[str]) -> list[Principal]:
        """Those of them that are known."""
        ...

    async def everybody(self, limit: int) -> list[Principal]:
        """All that are known, by id."""
        ...

    async def keep_principal(self, principal: Principal) -> None:
        """Insert, or replace one that an older or the same token spoke for; what a newer one said stays. Only other rights
        of somebody who was known are another version."""
        ...

    async def agents(self) -> list[Agent]:
        """All, by name."""
        ...

    async def add_agent(self, agent: Agent) -> bool:
        """False if there is one of that name."""
        ...

    async def change_agent(self, before: Agent, after: Agent) -> bool:
        """Compare and swap. False if it is not (any more) what it was."""
        ...

    async def revocations(self, now: int) -> list[Revocation]:
        """Those in force, oldest first."""
        ...

    async def revoke(self, revocation: Revocation) -> None:
        """ValueError if the id exists."""
        ...

    async def lift(self, revocation_id: str) -> bool:
        """False if there is none of that id."""
        ...

    async def exchange(self, tokens: Sequence[tuple[str, str]], until: int, made: str, now: int) -> bool:
        """Spend these tokens (issuer, jti) for the token whose jti is `made`, all or none: True once, ever, as long as
        `until` (Unix ms) is not over; afterwards they have expired and may be forgotten."""
        ...

    async def made_from(self, jti: str) -> list[str]:
        """The jtis of the tokens that one was exchanged for, and that those were."""
        ...


@dataclass(frozen=True, slots=True)
class Spent:
    """Answers that one identity had from one label in one slot of time (`guard.budgets`), at the process of one lane."""

    identity: str
    label: str
    slot: int
    answers: int
    lane: int = 0


@dataclass(frozen=True, slots=True)
class Reservation:
    """All that is left of a budget of `most` answers, for a statement that this lane is to run: it has had `used` in the hour,
    of them `here` in slot `slot`, this statement's first among them."""

    identity: str
    label: str
    slot: int
    here: int
    used: int
    most: int
    lane: int = 0


class BudgetStore(Protocol):
    """What was spent of the budgets of inference."""

    async def spent(self, since: int) -> list[Spent]:
        """Of slot `since` and later."""
        ...

    async def keep_spent(self, rows: Sequence[Spent], since: int) -> None:
        """Insert or replace, all or none; slots before `since` may go."""
        ...

    async def reserve(self, wanted: Sequence[Reservation], since: int) -> list[int]:
        """What other lanes have had of each, or have reserved, from slot `since` on. If there is room in all of them, they are
        reserved, in the same transaction; else nothing is."""
        ...


class LabelStore(Protocol):
    """Where labelled data has got to (`guard.labels`): (name, oid, attnum, source), by target."""

    async def places(self, target: str) -> list[tuple[str, int, int, str]]: ...
    async def keep_places(self, target: str, places: Sequence[tuple[str, int, int, str]]) -> None:
        """All or none; those that are there already stay."""
        ...

    async def forget_places(self, target: str, places: Sequence[tuple[str, int, int, str]]) -> None:
        """All or none; those that are not there are not missed."""
        ...


@dataclass(frozen=True, slots=True)
class KeptToken:
    """A token that was shown at a target, and what it stands for, sealed under the key of `epoch` for `day`: the Unix day on
    which it was last shown (`guard.token_vault`)."""

    target: str
    token: str
    label: str
    epoch: str
    day: int
    sealed: bytes


@dataclass(frozen=True, slots=True)
class KeptCount:
    """How many tokens of a label are kept under a key, last shown from `first` to `last` (Unix days)."""

    label: str
    epoch: str
    tokens: int
    first: int
    last: int


class VaultStore(Protocol):
    """What the vault keeps."""

    async def keep_tokens(self, rows: Sequence[KeptToken]) -> None:
        """Insert or replace, all or none."""
        ...

    async def kept_token(self, target: str, token: str) -> KeptToken | None: ...
    async def kept_counts(self, target: str = "") -> list[KeptCount]:
        """By label and epoch; of every target, if none is named."""
        ...

    async def kept_under(self, epochs: Sequence[str], limit: int) -> list[KeptToken]:
        """Some of the tokens that are sealed under these keys."""
        ...

    async def forget_tokens(self, target: str, *, tokens: Sequence[str] = (), label: str = "") -> int:
        """Erase these, or all of a label; how many there were. Neither their rows nor copies of them in the store's own
        journal are left."""
        ...

    async def expire_tokens(self, before: int) -> int:
        """Erase what was last shown before that day; how many there were."""
        ...


class MarkStore(Protocol):
    """How far something has got, by name."""

    async def mark(self, name: str) -> int:
        """0 where nothing was kept."""
        ...

    async def keep_mark(self, name: str, value: int) -> None: ...


class RecordStore(EventStore, SessionStore, Protocol):
    """The whole store, as the recorder uses it."""

    @property
    def retention(self) -> RetentionStore: ...

    @property
    def approvals(self) -> ApprovalStore: ...
