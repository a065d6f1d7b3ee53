"""Identifiers sort in the order they were made, and are what RFC 9562 says a UUIDv7 is."""

from __future__ import annotations

import time
from uuid import UUID

import pytest

from doorward.adapters.clock import SystemClock


def test_identifiers_sort() -> None:
    """Ten thousand in a row are in order and all different."""
    clock = SystemClock()
    made = [clock.new_id() for _ in range(10_000)]
    assert made == sorted(set(made))


def test_they_are_uuid_7() -> None:
    """Version 7, variant 10, lower case, and the time of their making."""
    clock = SystemClock()
    before = clock.now()
    identifier = UUID(clock.new_id())
    assert identifier.version == 7
    assert identifier.variant == "specified in RFC 4122"
    assert before <= identifier.int >> 80 <= clock.now()


def test_a_clock_that_steps_back(monkeypatch: pytest.MonkeyPatch) -> None:
    """Later identifiers sort later even then."""
    clock = SystemClock()
    first = clock.new_id()
    monkeypatch.setattr(time, "time_ns", lambda: 1_000_000_000_000_000_000)
    assert clock.new_id() > first
