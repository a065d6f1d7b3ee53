"""Issuers, and everything that knows identities, for the tests that ask for them by name."""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterator

import pytest

from tests.rig.identities import Identities
from tests.rig.issuer import LocalIssuer


@pytest.fixture
def people() -> Iterator[LocalIssuer]:
    """Whose tokens people have."""
    issuer = LocalIssuer()
    yield issuer
    issuer.down()


@pytest.fixture
def jobs() -> Iterator[LocalIssuer]:
    """Whose tokens jobs have."""
    issuer = LocalIssuer()
    yield issuer
    issuer.down()


@pytest.fixture
async def identities(people: LocalIssuer, jobs: LocalIssuer) -> AsyncIterator[Identities]:
    """All of it, in memory."""
    identities = Identities(people.settings(), jobs.settings(workload="github"))
    await identities.start()
    yield identities
    await identities.stop()
