"""The independent verifier, loaded from its one file as a stranger would have it, and shown files in a folder of its own."""

from __future__ import annotations

import importlib.util
import shutil
import sys
import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path
from types import ModuleType
from typing import Any

PROGRAM = Path(__file__).parents[2] / "verifier" / "doorward_verify.py"


def load() -> ModuleType:
    """The program as a module."""
    spec = importlib.util.spec_from_file_location("doorward_verify", PROGRAM)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules["doorward_verify"] = module
    spec.loader.exec_module(module)
    return module


VERIFIER: Any = load()


class Folder:
    """A folder that is made to hold exactly some files, of which most were in it already."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self._holds: dict[str, bytes] = {}

    def hold(self, files: Mapping[str, bytes]) -> Path:
        for name in set(self._holds) - set(files):
            (self.path / name).unlink()
        for name, octets in files.items():
            if self._holds.get(name) != octets:
                (self.path / name).parent.mkdir(parents=True, exist_ok=True)
                (self.path / name).write_bytes(octets)
        self._holds = dict(files)
        return self.path

    def check(self, files: Mapping[str, bytes], policy: str, *kept: bytes, roots: bytes = b"") -> Any:
        """What the verifier reports of a record or a pack with these files."""
        notes = [(f"kept-{number}", note) for number, note in enumerate(kept)]
        return VERIFIER.check(str(self.hold(files)), policy, notes, roots)

    def clear(self) -> None:
        shutil.rmtree(self.path)
        self.path.mkdir()
        self._holds = {}


def agreed(files: Mapping[str, bytes], ours: Any, policy: str, *kept: bytes, roots: bytes = b"") -> None:
    """That the independent verifier comes to the same result as ours did."""
    with tempfile.TemporaryDirectory() as path:
        theirs = Folder(Path(path)).check(files, policy, *kept, roots=roots)
    assert theirs.code == ours.exit_code, (theirs.faults, theirs.gaps, ours.faults, ours.gaps)


def spots(report: Any) -> Sequence[Any]:
    """Faults, or where there are none, gaps."""
    return report.faults or report.gaps  # type: ignore[no-any-return]
