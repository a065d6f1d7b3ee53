"""The reference of all settings, in Markdown, as it stands in docs/guides/configuration.md.

`python -m doorward.config.reference docs/guides/configuration.md` puts the present one between the marks in that file.
A test compares the two, so that no setting is undocumented.
"""

from __future__ import annotations

import sys
from collections.abc import Iterator
from dataclasses import MISSING, Field, fields
from pathlib import Path
from typing import Any

from doorward.config.reading import Kind
from doorward.config.settings import Settings

BEGIN = "<!-- reference: made by doorward.config.reference -->\n"
END = "<!-- end of reference -->\n"
_TIMES = (("d", 86400), ("h", 3600), ("m", 60), ("s", 1))
_SIZES = (("MiB", 1 << 20), ("KiB", 1 << 10), ("", 1))


def reference() -> str:
    """Every section and setting."""
    return "\n".join(_section(Settings, "", many=False))


def replaced(page: str) -> str:
    """A page with the text between its marks made anew. Raises ValueError if it has no marks."""
    before, _, rest = page.partition(BEGIN)
    _, mark, after = rest.partition(END)
    if not mark:
        raise ValueError("the page has no marks for the reference")
    return f"{before}{BEGIN}\n{reference()}\n{END}{after}"


def _section(cls: type[Any], path: str, *, many: bool) -> Iterator[str]:
    plain = [f for f in fields(cls) if f.metadata["kind"].section is None]
    if plain:
        yield f"### `{'[[' if many else '['}{path}{']]' if many else ']'}`\n"
        yield f"{cls.__doc__}\n"
        yield "| Setting | What it is | Allowed | Default |\n|---|---|---|---|"
        for spec in plain:
            kind: Kind = spec.metadata["kind"]
            cells = (f"`{spec.name.rstrip('_')}`", spec.metadata["doc"], kind.allowed, _default(spec))
            yield "| " + " | ".join(cell.replace("|", "\\|") for cell in cells) + " |"
        yield ""
    for spec in fields(cls):
        below: Kind = spec.metadata["kind"]
        if below.section is not None:
            yield from _section(below.section, f"{path}.{spec.name}".lstrip("."), many=below.many)


def _default(spec: Field[Any]) -> str:
    value = spec.default if spec.default_factory is MISSING else spec.default_factory()
    if value is MISSING:
        return "**required**"
    if value is None or value in ("", (), {}):
        return "none"
    return f"`{_written(value, spec.metadata['kind'])}`"


def _written(value: Any, kind: Kind) -> str:
    if isinstance(value, bool):
        return str(value).lower()
    for what, units in (("a time", _TIMES), ("a size", _SIZES)):
        if isinstance(value, int) and kind.allowed.startswith(what):
            unit, worth = next((u, w) for u, w in units if w == 1 or (value and value % w == 0))
            return f'"{value // worth}{unit}"'
    if isinstance(value, tuple):
        return "[" + ", ".join(f'"{item}"' for item in value) + "]"
    if isinstance(value, dict):
        return "{" + ", ".join(f'{key} = "{item}"' for key, item in value.items()) + "}"
    return str(value) if isinstance(value, int) else f'"{value}"'


if __name__ == "__main__":
    target = Path(sys.argv[1])
    target.write_text(replaced(target.read_text(encoding="utf-8")), encoding="utf-8")
