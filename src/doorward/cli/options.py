"""Options that mean the same in every command."""

from __future__ import annotations

from typing import Annotated

from cyclopts import Parameter

Json = Annotated[bool, Parameter(name="--json", negative="", help="Print JSON.")]
Wide = Annotated[bool, Parameter(negative="", help="A line each, however narrow the terminal is.")]
Many = Annotated[tuple[str, ...], Parameter(negative="")]
TargetName = Annotated[str, Parameter(help="The target, as clients name it.")]
