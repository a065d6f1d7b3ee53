"""What every test may ask for: real servers (`tests/rig`), and the seed profile of Hypothesis."""

from __future__ import annotations

import os

import pytest
from hypothesis import settings

from tests.rig import shared
from tests.rig.gateway import gateway
from tests.rig.issuer import issuer, local_issuer
from tests.rig.postgres import database, postgres, postgres18

__all__ = ["database", "gateway", "issuer", "local_issuer", "postgres", "postgres18"]

# `make test` must be the same today and tomorrow; `make campaign` looks for what nobody has seen yet.
settings.register_profile("test", derandomize=True, deadline=None, max_examples=30)
settings.register_profile("again", derandomize=True, deadline=None, max_examples=8)  # of what has run already, interpreted
settings.register_profile("campaign", derandomize=False, deadline=None, max_examples=5000)
settings.load_profile(os.environ.get("DOORWARD_PROFILE", "test"))


def pytest_configure(config: pytest.Config) -> None:
    """Open the run's folder, in the process that owns the run: not in a worker of pytest-xdist."""
    if not hasattr(config, "workerinput"):
        shared.begin()


def pytest_unconfigure(config: pytest.Config) -> None:
    """End every server of the run, however the run ended."""
    if not hasattr(config, "workerinput"):
        shared.finish()


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Leave out what is marked `campaign`, unless this is the campaign: `make campaign` runs all of it. The longest test goes
    first, so that at the end no worker is left alone with it."""
    items.sort(key=lambda item: item.path.name != "test_compiled.py")
    if os.environ.get("DOORWARD_PROFILE") == "campaign":
        return
    chosen = [item for item in items if "campaign" not in item.keywords]
    if len(chosen) < len(items):
        config.hook.pytest_deselected(items=[item for item in items if "campaign" in item.keywords])
        items[:] = chosen
