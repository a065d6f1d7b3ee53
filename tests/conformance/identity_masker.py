"""A gateway whose masker masks nothing, and touches everything: `python -m tests.conformance.identity_masker serve ...`.

Every column of every result is planned as masked, and its transform gives back the value it got. So each row is taken
apart and put together again, as it would be if something were masked in it; a client must not be able to tell. This is the
product's own code but for two functions, replaced here, in the test, so that the product needs no switch for it. For
that the modules must be interpreted: a compiled class cannot be given another method.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Sequence
from importlib.machinery import FileFinder, SourceFileLoader
from pathlib import Path
from typing import Any

SOURCE = str(Path(__file__).resolve().parents[2] / "src")


def interpret() -> None:
    """Import doorward from its sources, whether it has been compiled or not."""
    from_source = FileFinder.path_hook((SourceFileLoader, [".py"]))

    def hook(path: str) -> Any:
        if not path.startswith(SOURCE):
            raise ImportError
        return from_source(path)

    sys.path_hooks.insert(0, hook)
    sys.path_importer_cache.clear()


def replace() -> None:
    """Put the two functions in place, before anybody has imported them."""
    from doorward.masking import plan as planning
    from doorward.protocols.postgres import cells

    real: Callable[..., planning.Plan] = planning.plan

    def plan_everything(
        outputs: Any, shape: Sequence[planning.ResultColumn], *rest: Any, **named: Any
    ) -> planning.Plan:
        found = real(outputs, shape, *rest, **named)
        columns = tuple(
            planning.ColumnPlan(planning.Action.TRANSFORM, column.reading, "identity") for column in found.columns
        )
        return planning.Plan(columns, found.detectors, found.transforms, bool(columns), frozenset({"identity"}))

    def transformed(
        self: cells.Cells, value: bytes, label: str, reading: planning.Reading, subject: str | None = None
    ) -> bytes | None:
        return value.decode("latin-1").encode("latin-1")

    planning.plan = plan_everything
    cells.Cells.transformed = transformed  # type: ignore[method-assign]


if __name__ == "__main__":
    interpret()
    replace()
    from doorward.__main__ import main

    sys.argv[0] = "doorward"
    main()
