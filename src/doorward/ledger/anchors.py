"""What others have said of a log, and when: cosigned checkpoints, which hold the log to its history and its clock to theirs.

An anchor is a checkpoint that somebody else has seen at a time of theirs. The tree must still have its root (verify.py), and
the leaves' own times must fit: what an anchor covers was not said to happen after it, and what came later not long before.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import Final, NamedTuple

from doorward.errors import IntegrityError
from doorward.ledger.checkpoint import NoteVerifier, open_checkpoint
from doorward.ledger.trust import NONE, TrustPolicy, Witnessed
from doorward.model import Checkpoint

SKEW: Final = 600_000  # ms by which clocks may differ, or an event may reach the log late
TAIL: Final = 120_000  # ms of events that may be waiting for their witnesses

Fault = Callable[[str, str, str, str], None]


class Anchor(NamedTuple):
    """`file` is for people; `since` and `until` are the times between which it was seen, in Unix ms, or both 0."""

    file: str
    checkpoint: Checkpoint
    since: int = 0
    until: int = 0


def witnessed(
    read: Callable[[str], bytes], note: bytes, verifiers: Sequence[NoteVerifier], policy: TrustPolicy | None, fault: Fault
) -> tuple[Witnessed | None, list[Anchor]]:
    """The largest checkpoint of those that a log publishes, `note` and the file `witnessed`, that has a quorum; and both as
    anchors. Faults: one that does not open, and with a `policy`, no quorum at all. OSError."""
    notes = {"log/checkpoint": note}
    try:
        notes["log/witnessed"] = read("witnessed")
    except FileNotFoundError:
        pass
    best: Witnessed | None = None
    found: list[Anchor] = []
    named: set[str] = set()
    for file, each in notes.items():
        try:
            if policy is None:
                found.append(Anchor(file, open_checkpoint(each, verifiers)))
                continue
            opened = policy.open(each, verifiers)
        except IntegrityError as error:
            fault(file, error.spot, "a checkpoint signed by a key you trust, and rightly by your witnesses", error.message)
            return None, []
        times = [cosignature.at * 1000 for cosignature in opened.cosignatures]
        found.append(Anchor(file, opened.checkpoint, min(times, default=0), max(times, default=0)))
        named |= {cosignature.witness.name for cosignature in opened.cosignatures}
        if opened.quorum and (best is None or opened.checkpoint.size >= best.checkpoint.size):
            best = opened
    if policy is not None and best is None:
        file = "log/witnessed" if "log/witnessed" in notes else "log/checkpoint"
        fault(file, "", f"a checkpoint cosigned by the quorum {policy.quorum!a} of your policy",
              f"cosignatures by {', '.join(sorted(named)) or 'none of your witnesses'}")  # fmt: skip
    if policy is None or policy.quorum == NONE:
        best = best if best is not None and best.cosignatures else None
    return best, [anchor for anchor in found if anchor.file != "log/checkpoint" or anchor.until]


class Times:
    """The leaves' times, passed in order, against the anchors'."""

    def __init__(self, anchors: Iterable[Anchor]) -> None:
        self._anchors: dict[int, Anchor] = {}
        for anchor in anchors:
            if anchor.until:
                other = self._anchors.get(anchor.checkpoint.size, anchor)
                since, until = min(anchor.since, other.since), max(anchor.until, other.until)
                self._anchors[anchor.checkpoint.size] = anchor._replace(since=since, until=until)
        self._index = 0
        self._latest = 0
        self._floor = 0
        self._late: tuple[int, int] | None = None
        self._since: dict[int, int] = {}  # by size: when the first leaf behind it happened
        self._tail_from = 0

    def pass_(self, at: int) -> None:
        """One leaf's time, in Unix ms. IntegrityError when it, or one before, is said to be later than an anchor over it."""
        if self._index in self._anchors:
            self._since[self._index] = at
        if at > self._latest:
            self._latest = at
        if at < self._floor and self._late is None:
            self._late = (self._index, at)
        self._index += 1
        anchor = self._anchors.get(self._index)
        if anchor is not None:
            if self._latest > anchor.until + SKEW:
                raise IntegrityError(
                    f"expected no leaf after {anchor.until} ms, when {anchor.file} was seen, found one of {self._latest} ms"
                )
            self._floor = max(self._floor, anchor.since - SKEW)

    def gaps(self, tail: int | None) -> Iterator[tuple[str, str, str]]:
        """(where, expected, found) of what was recorded late, and of a `tail` of leaves that waits too long for witnesses."""
        if self._late is not None:
            index, at = self._late
            yield f"leaf {index}", f"events from {self._floor} ms on, as the checkpoint before was seen then", (
                f"one of {at} ms: recorded late, or back-dated"
            )
        since = self._since.get(self._index - tail) if tail else None
        if since is not None and self._latest - since > TAIL:
            yield f"leaf {self._index - (tail or 0)}", f"witnesses' cosignatures within {TAIL // 1000} s", (
                f"{tail} leaves over {(self._latest - since) // 1000} s that the log alone has signed"
            )
