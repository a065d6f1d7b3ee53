"""What people are told of an event, which channels tell it, and in which words.

Contract: pure. A notice says who asked, on whose behalf, what kind of thing, of which target, until when, and where to decide.
It holds no statement, no parameter, no comment and no reason, masked or not: whoever may see those opens the page. It carries
no authority: what it links to asks who it is. Names in its words are `harmless`; programs get them as they are.

It deliberately does not decide who may do what: a channel's groups only say whom it reaches.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from fnmatch import fnmatchcase
from typing import Any, Final
from urllib.parse import quote

from doorward.guard.outbox import Outgoing
from doorward.ledger.encoding import canonical, parse
from doorward.model import Approval, ApprovalState, Event
from doorward.model.visible import harmless, moment

REQUESTS, DECISIONS, BREAK_GLASS, REVIEWS, TEST = "requests", "decisions", "break-glass", "reviews", "test"
KINDS: Final = (REQUESTS, DECISIONS, BREAK_GLASS, REVIEWS)
# Event type -> the kind of notice that it makes.
TOLD: Final[Mapping[str, str]] = {
    "approval.requested": REQUESTS, "approval.voted": DECISIONS, "approval.expired": DECISIONS,
    "approval.withdrawn": DECISIONS, "break_glass.used": BREAK_GLASS, "break_glass.review_due": REVIEWS,
}  # fmt: skip
_DAY: Final = 86_400_000
LASTS: Final[Mapping[str, int]] = {REQUESTS: _DAY, DECISIONS: _DAY, BREAK_GLASS: 3 * _DAY, REVIEWS: 3 * _DAY}  # ms
_FINAL: Final = (
    ApprovalState.APPROVED, ApprovalState.SPENT, ApprovalState.DENIED, ApprovalState.EXPIRED, ApprovalState.WITHDRAWN,
)  # fmt: skip
MOST_NAMES: Final = 10  # groups or links of a chain that a notice names
_KEPT: Final = ("approval", "due", "skipped", "target", "until")  # of a body of break-glass


@dataclass(frozen=True, slots=True)
class Channel:
    """What one channel tells. `groups`: only what these may answer or were passed over in; none: everything. `about`: only
    decisions on what these asked for, as patterns of Identity.ids; none: all."""

    name: str
    tell: frozenset[str]
    groups: frozenset[str] = frozenset()
    about: tuple[str, ...] = ()

    def reaches(self, groups: Iterable[str]) -> bool:
        """Whether a notice for these groups goes here. Where nobody is named, everybody may be meant."""
        wanted = set(groups)
        return not self.groups or not wanted or bool(self.groups & wanted)


@dataclass(frozen=True, slots=True)
class Notice:
    """One message. `id` is the same at every attempt; `type` an event's, or `notification.tested`; `facts` are words for
    people, each name harmless; `link` is a page of the gateway; `more` is for programs, names as they are. `at` is Unix ms."""

    id: str
    type: str
    at: int
    title: str
    facts: tuple[tuple[str, str], ...] = ()
    link: str = ""
    more: Mapping[str, Any] = field(default_factory=dict)


def told(event: Event, channels: Sequence[Channel]) -> list[Outgoing]:
    """The notifications of an event, one for each channel that tells it."""
    kind = TOLD.get(event.type)
    body = event.body
    grant = body.get("grant")
    if kind is None or (kind == REQUESTS and isinstance(grant, Mapping) and grant.get("break_glass")):
        return []  # whoever breaks glass signs it themselves; once they have, everybody is told
    groups = _names(body.get("skipped") or body.get("approvers"))
    about = str(body.get("approval", ""))
    until = event.at + LASTS[kind]
    if kind == REQUESTS and isinstance(body.get("expires_at"), int):
        until = min(until, body["expires_at"])  # nobody can answer it then
    kept = {name: body[name] for name in _KEPT if name in body} if kind in (BREAK_GLASS, REVIEWS) else {}
    said = canonical({"actor": event.actor, "type": event.type, **kept})
    return [
        Outgoing(f"{event.id}.{channel.name}", channel.name, kind, about, event.at, until, said, next_at=event.at)
        for channel in channels
        if kind in channel.tell and (kind == DECISIONS or channel.reaches(groups))
    ]


def asks(outgoing: Outgoing, approval: Approval, rendering: Mapping[str, Any], url: str) -> Notice | None:
    """That a request waits; None if it waits no longer."""
    if approval.state in _FINAL:
        return None
    title = f"{_what(approval, rendering)} waits for approval"
    who = [*_facts(approval, rendering), ("Who may answer", _listed(approval.approvers))]
    return _of(outgoing, title, (*who, ("Until", moment(approval.expires_at))), approval, rendering, url)


def decides(
    outgoing: Outgoing, channel: Channel, approval: Approval, rendering: Mapping[str, Any], url: str
) -> Notice | None:
    """What became of a request; None where it is not this channel's to tell, or another vote decided it."""
    asked = (approval.requested_by, *approval.on_behalf_of)
    if channel.about and not any(fnmatchcase(link, pattern) for link in asked for pattern in channel.about):
        return None
    body = _parsed(outgoing)
    if body.get("type") == "approval.voted":
        decided = approval.state in (ApprovalState.APPROVED, ApprovalState.SPENT, ApprovalState.DENIED)
        if not decided or not approval.votes or approval.votes[-1].voter != body.get("actor"):
            return None
        said = "denied" if approval.state is ApprovalState.DENIED else "approved"
    else:
        said = str(body.get("type", "")).removeprefix("approval.")
    title = f"{_what(approval, rendering)}: {said}"
    return _of(outgoing, title, tuple(_facts(approval, rendering)), approval, rendering, url, decision=said)


def uncounted(outgoing: Outgoing, approval: Approval) -> bool:
    """Whether a notice is of a vote that is on record and not stored with its request yet."""
    body = _parsed(outgoing)
    voted = body.get("type") == "approval.voted" and approval.state not in _FINAL
    return voted and all(vote.voter != body.get("actor") for vote in approval.votes)


def happened(outgoing: Outgoing, url: str) -> Notice:
    """Break-glass, and what is left to do after it."""
    body = _parsed(outgoing)
    target = harmless(str(body.get("target", "")) or "a target")
    review = outgoing.kind == REVIEWS
    facts = [("By", _who(str(body.get("actor", ""))))] if body.get("actor") else []
    skipped = _names(body.get("skipped"))
    if skipped:
        facts.append(("Passed over", _listed(skipped)))
    facts += [
        (words, moment(body[name])) for words, name in (("Until", "until"), ("Review due", "due"))
        if isinstance(body.get(name), int)
    ]  # fmt: skip
    more = {name: body[name] for name in ("actor", *_KEPT) if body.get(name)}
    return Notice(
        outgoing.id, str(body.get("type", "")), outgoing.at,
        f"Break-glass on {target} still waits for its review" if review else f"Break-glass was used on {target}",
        (*facts, ("Request", harmless(outgoing.about))), f"{url}/approvals/{quote(outgoing.about, safe='')}", more,
    )  # fmt: skip


def trial(notice_id: str, at: int, gateway: str, channel: str, url: str) -> Notice:
    """What `doorward notify test` sends."""
    return Notice(
        notice_id, "notification.tested", at, "A test of this channel: nothing is waiting",
        (("Gateway", harmless(gateway)), ("Channel", harmless(channel))), url, {"channel": channel, "gateway": gateway},
    )  # fmt: skip


def plain(notice: Notice) -> str:
    """The words of a notice, one fact a line."""
    lines = [notice.title, "", *(f"{name}: {value}" for name, value in notice.facts)]
    return "\n".join([*lines, "", f"Look and decide: {notice.link}", "", ADVICE])


ADVICE: Final = (
    "The page asks who you are, and what you decide there is signed with your own key. Answering this message does nothing."
)


def instant(at: int) -> str:
    """Unix ms as RFC 3339."""
    return datetime.fromtimestamp(at / 1000, UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")


def _of(
    outgoing: Outgoing, title: str, facts: tuple[tuple[str, str], ...], approval: Approval, rendering: Mapping[str, Any],
    url: str, **more: str,
) -> Notice:  # fmt: skip
    link = f"{url}/approvals/{quote(approval.id, safe='')}"
    return Notice(
        outgoing.id, str(_parsed(outgoing).get("type", "")), outgoing.at, title, (*facts, ("Request", approval.id)), link,
        {
            "approval": approval.id, "action": str(rendering.get("action", "")), "effect": str(rendering.get("effect", "")),
            "target": approval.target, "requested_by": approval.requested_by, "on_behalf_of": list(approval.on_behalf_of),
            "approvers": list(approval.approvers), "quorum": approval.quorum, "state": approval.state.value,
            "requested_at": instant(approval.requested_at), "expires_at": instant(approval.expires_at), "url": link, **more,
        },
    )  # fmt: skip


def _what(approval: Approval, rendering: Mapping[str, Any]) -> str:
    action = harmless(str(rendering.get("action", "")), 40) or "A statement"
    grant = rendering.get("grant")
    if isinstance(grant, Mapping):  # more than one statement, agreed to in advance
        action = f"A grant to {' and '.join(map(harmless, _names(grant.get('actions')))) or 'act'}"
    return f"{action} on {harmless(approval.target)}"


def _facts(approval: Approval, rendering: Mapping[str, Any]) -> list[tuple[str, str]]:
    facts = [("Asked by", _who(approval.requested_by))]
    if approval.on_behalf_of:
        facts.append(("On behalf of", _cut([_who(link) for link in approval.on_behalf_of])))
    return [*facts, ("Target", harmless(approval.target)), ("Effect", harmless(str(rendering.get("effect", "")), 40))]


def _who(identity: str) -> str:
    """issuer|subject: the subject, and the issuer without its scheme, which would make a link of it."""
    issuer, bar, subject = identity.rpartition("|")
    place = issuer.partition("://")[2] or issuer
    return f"{harmless(subject)} ({harmless(place)})" if bar else harmless(subject)


def _listed(groups: Sequence[str]) -> str:
    return _cut([harmless(group, 60) for group in groups]) or "whoever policy lets approve"


def _cut(names: Sequence[str]) -> str:
    shown = ", ".join(names[:MOST_NAMES])
    return shown if len(names) <= MOST_NAMES else f"{shown} and {len(names) - MOST_NAMES} more"


def _names(found: object) -> tuple[str, ...]:
    return tuple(each for each in found if isinstance(each, str)) if isinstance(found, list | tuple) else ()


def _parsed(outgoing: Outgoing) -> dict[str, Any]:
    found = parse(outgoing.body)
    assert isinstance(found, dict)
    return found
