"""The controls that packs speak of, in the order of ISO/IEC 27001:2022 Annex A. What belongs together shares a file."""

from __future__ import annotations

from typing import Final

from doorward.evidence.controls import (
    access,
    authentication,
    disclosure,
    duties,
    identities,
    logging,
    operations,
    privileged,
    records,
    restriction,
)
from doorward.evidence.table import Control, Table, Test

CONTROLS: Final[tuple[Control, ...]] = (
    duties.CONTROL,  # A.5.3
    access.CONTROL,  # A.5.15
    identities.IDENTITY,  # A.5.16
    authentication.INFORMATION,  # A.5.17
    identities.RIGHTS,  # A.5.18
    records.EVIDENCE,  # A.5.28
    records.RECORDS,  # A.5.33
    disclosure.PRIVACY,  # A.5.34
    privileged.CONTROL,  # A.8.2
    restriction.CONTROL,  # A.8.3
    authentication.SECURE,  # A.8.5
    disclosure.MASKING,  # A.8.11
    disclosure.LEAKAGE,  # A.8.12
    logging.CONTROL,  # A.8.15
    operations.MONITORING,  # A.8.16
    operations.CLOCK,  # A.8.17
    operations.PROGRAMS,  # A.8.18
    records.CRYPTO,  # A.8.24
    operations.CHANGE,  # A.8.32
)
TABLES: Final[dict[str, Table]] = {table.name: table for control in CONTROLS for table in control.tables}
TESTS: Final[dict[str, Test]] = {test.id: test for control in CONTROLS for test in control.tests}


def of_table(name: str) -> list[Control]:
    """The controls that a table serves: first the one that declares it."""
    own = [control for control in CONTROLS if any(table.name == name for table in control.tables)]
    return own + [control for control in CONTROLS if name in control.also]


def of_test(id_: str) -> Control:
    return next(control for control in CONTROLS if any(test.id == id_ for test in control.tests))
