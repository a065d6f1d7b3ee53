"""The controls that packs speak of, in the order of ISO/IEC 27001:2022 Annex A. One file a control."""

from __future__ import annotations

from typing import Final

from doorward.evidence.controls import logging, privileged, restriction
from doorward.evidence.table import Control, Table, Test

CONTROLS: Final[tuple[Control, ...]] = (
    privileged.CONTROL,
    restriction.CONTROL,
    logging.CONTROL,
)
TABLES: Final[dict[str, Table]] = {table.name: table for control in CONTROLS for table in control.tables}
TESTS: Final[dict[str, Test]] = {test.id: test for control in CONTROLS for test in control.tests}


def of_table(name: str) -> list[Control]:
    """The controls that a table serves."""
    return [control for control in CONTROLS if name in control.also or any(t.name == name for t in control.tables)]


def of_test(id_: str) -> Control:
    return next(control for control in CONTROLS if any(test.id == id_ for test in control.tests))
