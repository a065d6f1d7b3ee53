"""What may happen to a request between the yes and its use, by whoever can: approvals and grants are tried with the same."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Sequence
from typing import Any

from doorward.ledger.encoding import canonical
from doorward.model import Approval, Identity
from tests.unit.guard.test_guard import DORA, World
from tests.unit.ledger.test_request import changed


def row(world: World, approval: Approval, **changes: Any) -> None:
    """Write into the store, as who administers it could."""
    rows = world.disk.store.approvals.rows
    rows[approval.id] = dataclasses.replace(rows[approval.id], **changes)


def other_terms(world: World, approval: Approval, name: str) -> None:
    """Another value of one of its terms, in the store."""
    terms = json.loads(world.disk.store.approvals.rows[approval.id].terms)
    row(world, approval, terms=canonical({**terms, name: changed(terms[name])}))


async def revoked(world: World, _: Approval) -> None:
    """DORA's key."""
    await world.approvals.keys.revoke(world.approvals.keys.of(DORA.id)[0].id, actor=DORA.id)


def knows(world: World, somebody: Identity) -> None:
    """The newest token of somebody's says this of them."""

    async def people(_: Sequence[str]) -> dict[str, Identity]:
        return {somebody.id: somebody}

    world.approvals.ballots.people = people
