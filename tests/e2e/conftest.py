"""The stage, for tests of faults and of operation."""

from __future__ import annotations

from tests.rig.faults import shared_stage, stage

__all__ = ["shared_stage", "stage"]
