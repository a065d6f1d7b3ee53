"""Who can reach what, what they have used of it, and what a person thinks of that.

Contract: rights are asked of the policies in force, for each principal that was ever let in, with the groups that it had
last, and each target: what it may do there by itself (of statements, only that it may connect: what it may run depends on the
statement). What was used is counted in the index of sessions. A review is the list as it was when it was opened, on record;
each decision about a line of it is on record before it counts, by a person, and never about themselves. A decision changes no
right: policies do, and the issuer's groups; it says who found what, and until when the review is due. Times are Unix ms.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from typing import Final

from doorward.guard.policies import PolicyInForce
from doorward.guard.ports import Clock
from doorward.guard.reader import RecordReader
from doorward.guard.recorder import Recorder
from doorward.guard.stores import IdentityStore, Principal, SessionStore
from doorward.ledger.encoding import canonical
from doorward.masking.statement import mask_statement
from doorward.model import Identity, Kind, Outcome, Target
from doorward.policy.decide import may

ACTIONS: Final = ("connect", "approve", "replay", "unmask", "administer")
MOST_PEOPLE: Final = 10_000
MOST_LINES: Final = 50_000
PART: Final = 200  # lines of one event
MOST_REVIEWS: Final = 50  # that are remembered
LONGEST: Final = 1000  # characters of a comment
DAY: Final = 86_400_000
TYPES: Final = ("access_review.opened", "access_review.listed", "access_review.decided", "access_review.closed")


@dataclass(frozen=True, slots=True)
class Right:
    """What one principal may do at one target, "" for the gateway itself, and when they last did (sessions; 0: never)."""

    identity: str
    kind: str
    target: str
    actions: tuple[str, ...]
    sessions: int = 0
    last: int = 0


@dataclass(slots=True)
class Review:
    """One review. `decisions` by (identity, target): keep or revoke, who, when, why."""

    id: str
    by: str
    opened: int
    due: int
    lines: int
    digest: str
    rights: list[Right] = field(default_factory=list)
    decisions: dict[tuple[str, str], tuple[str, str, int, str]] = field(default_factory=dict)
    closed: int = 0


class AccessReviews:
    """All reviews of one gateway."""

    def __init__(
        self,
        identities: IdentityStore,
        sessions: SessionStore,
        policies: PolicyInForce,
        targets: Callable[[], Mapping[str, Target]],
        recorder: Recorder,
        clock: Clock,
        gone: Callable[[Identity], str],
    ) -> None:
        """`gone` says why an identity is let in no longer, "" if it is."""
        self._identities, self._sessions, self._policies, self._targets = identities, sessions, policies, targets
        self._recorder, self._clock, self._gone = recorder, clock, gone
        self._reviews: dict[str, Review] = {}

    async def rights(self, targets: Collection[str] = (), *, days: int = 90) -> list[Right]:
        """Everybody's, at these targets (none: all, and the gateway), with what they used in so many days."""
        now = self._clock.now()
        used = await self._sessions.used(now - days * DAY)
        found = []
        for principal in await self._identities.everybody(MOST_PEOPLE):
            identity = _identity(principal)
            if self._gone(identity):
                continue
            for name, target in (("", None), *sorted(self._targets().items())):
                if targets and name not in targets:
                    continue
                actions = tuple(action for action in ACTIONS if self._may(identity, action, target))
                if actions:
                    sessions, last = used.get((principal.id, name), (0, 0))
                    found.append(Right(principal.id, principal.kind, name, actions, sessions, last))
        return found[:MOST_LINES]

    def _may(self, identity: Identity, action: str, target: Target | None) -> bool:
        if target is None and action != "administer":
            return False
        return may(self._policies.current, identity, action, target).outcome is Outcome.ALLOW

    async def open(self, actor: Identity, targets: Collection[str], *, days: int, due: int) -> Review:
        """A review of what is so now. UpstreamError when it cannot be recorded."""
        rights = await self.rights(targets, days=days)
        rows = [asdict(right) for right in rights]
        review = Review(
            self._clock.new_id(), actor.id, self._clock.now(), due, len(rights), hashlib.sha256(canonical(rows)).hexdigest(),
            rights,
        )  # fmt: skip
        await self._recorder.event(
            "access_review.opened",
            {"review": review.id, "targets": sorted(targets), "days": days, "due": due, "lines": len(rights),
             "digest": review.digest},
            actor=actor.id,
        )  # fmt: skip
        for first in range(0, len(rows), PART):
            await self._recorder.event(
                "access_review.listed",
                {"review": review.id, "first": first, "rights": rows[first : first + PART]}, actor=actor.id,
            )  # fmt: skip
        self._keep(review)
        return review

    async def decide(
        self, actor: Identity, review_id: str, identity: str, target: str, verdict: str, comment: str
    ) -> Review:
        """Keep or revoke. KeyError: there is no such review or line; ValueError: why it may not be decided so."""
        review = self._reviews[review_id]
        if review.closed:
            raise ValueError("this review is closed")
        if not any((right.identity, right.target) == (identity, target) for right in review.rights):
            raise KeyError(identity)
        if actor.kind is not Kind.HUMAN or actor.on_behalf_of is not None:
            raise ValueError("reviews are for people, each for themselves")
        if identity == actor.id:
            raise ValueError("nobody reviews their own access: somebody else has to")
        if verdict not in ("keep", "revoke") or len(comment) > LONGEST:
            raise ValueError(f"a decision is keep or revoke, with a comment of at most {LONGEST} characters")
        said = mask_statement(comment, detectors=self._recorder.detectors)[0]
        await self._recorder.event(
            "access_review.decided",
            {"review": review.id, "identity": identity, "target": target, "verdict": verdict, "comment": said}, actor=actor.id,
        )  # fmt: skip
        review.decisions[identity, target] = (verdict, actor.id, self._clock.now(), said)
        return review

    async def close(self, actor: Identity, review_id: str) -> Review:
        """Whatever is not decided then is `undecided`, and stays so. KeyError, ValueError."""
        review = self._reviews[review_id]
        if review.closed:
            raise ValueError("this review is closed")
        verdicts = [verdict for verdict, *_ in review.decisions.values()]
        body = {
            "review": review.id, "kept": verdicts.count("keep"), "revoked": verdicts.count("revoke"),
            "undecided": review.lines - len(verdicts), "due": review.due,
        }  # fmt: skip
        await self._recorder.event("access_review.closed", body, actor=actor.id)
        review.closed = self._clock.now()
        return review

    def reviews(self) -> Sequence[Review]:
        """Those that are remembered, newest first."""
        return sorted(self._reviews.values(), key=lambda review: review.id, reverse=True)

    async def load(self, reader: RecordReader) -> None:
        """As the record has them."""
        async for opened in reader.events(types=TYPES):
            body, event = opened.event.body, opened.event
            if event.type == "access_review.opened":
                id_, due, lines, digest = str(body["review"]), int(body["due"]), int(body["lines"]), str(body["digest"])
                self._keep(Review(id_, event.actor, event.at, due, lines, digest))
                continue
            review = self._reviews.get(str(body["review"]))
            if review is None:
                continue
            if event.type == "access_review.listed":
                review.rights += [Right(**{**right, "actions": tuple(right["actions"])}) for right in body["rights"]]
            elif event.type == "access_review.decided":
                review.decisions[body["identity"], body["target"]] = (body["verdict"], event.actor, event.at, body["comment"])
            else:
                review.closed = event.at

    def _keep(self, review: Review) -> None:
        self._reviews[review.id] = review
        while len(self._reviews) > MOST_REVIEWS:
            del self._reviews[next(iter(self._reviews))]


def _identity(principal: Principal) -> Identity:
    issuer, _, subject = principal.id.rpartition("|")
    return Identity(subject, Kind(principal.kind), issuer, frozenset(principal.groups), principal.claims)
