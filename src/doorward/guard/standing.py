"""What is known last of who somebody is: their groups by the newest token that the gateway has seen.

A vote counts when it is cast and once more when it is used. Between the two its owner may have left the group that made
the vote count; whoever was seen since without it has no standing any more. It is memory: after a start, what a vote was
cast with is the latest that is known.
"""

from __future__ import annotations

from collections import OrderedDict
from typing import Final

from doorward.model import Identity

MOST: Final = 20_000  # people remembered


class Standing:
    """By Identity.id, for those who act for themselves."""

    def __init__(self) -> None:
        self._known: OrderedDict[str, Identity] = OrderedDict()

    def seen(self, identity: Identity) -> None:
        """Somebody has just shown who they are."""
        known = self._known.get(identity.id)
        if known is not None and known.issued_at > identity.issued_at > 0:
            return  # an older token than the newest says nothing new, though it is still good
        if identity.on_behalf_of is None:
            self._known[identity.id] = identity
            self._known.move_to_end(identity.id)
            if len(self._known) > MOST:
                self._known.popitem(last=False)

    def latest(self, id_: str) -> Identity | None:
        """As they were seen last; None if not since the start."""
        return self._known.get(id_)
