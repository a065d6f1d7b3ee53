"""The house rules that a machine can check: layers, where permits are made, what may be imported, how long files are."""

from __future__ import annotations

import ast
import functools
import importlib
import os
import stat
import subprocess
import sys
import tomllib
from collections.abc import Mapping
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
SOURCE = ROOT / "src"
MODULES = sorted(
    ".".join(path.relative_to(SOURCE).with_suffix("").parts).removesuffix(".__init__")
    for path in SOURCE.rglob("*.py")
    # alembic loads what lies in a folder of migrations itself, and only while it migrates
    if not {"migrations", "versions"} & set(path.parts)
)

# Longer than "not much past 500 lines", each with the reason. An entry whose file has shrunk is an error, too.
LONG = {
    "src/doorward/protocols/postgres/wire.py": "one module knows every message, and mypyc compiles it as one",
    "src/doorward/protocols/postgres/conversation.py": "one state machine; cut in two, its halves would share all state",
    "src/doorward/protocols/postgres/answers.py": "the same for the server's side",
    "src/doorward/guard/guard.py": "the one place where permits are made, and what they rest on",
    "src/doorward/app.py": "the composition root: the only file that knows every class",
    "src/doorward/server/relay.py": "the only loop that moves bytes",
}
LIMIT = 600


@functools.cache
def tracked() -> tuple[Path, ...]:
    """The files that belong to the repository, as git tells; it must be there, for a clone cannot be had without it."""
    listed = subprocess.run(["git", "ls-files", "-z"], cwd=ROOT, capture_output=True, check=True).stdout
    return tuple(ROOT / os.fsdecode(name) for name in listed.split(b"\0") if name and (ROOT / os.fsdecode(name)).exists())


@functools.cache
def parsed() -> Mapping[Path, ast.Module]:
    """The modules of src/."""
    return {path: ast.parse(path.read_text()) for path in SOURCE.rglob("*.py")}


def calls(name: str) -> list[str]:
    """Where in src/ something called `name` is called, as path:line."""
    found = []
    for path, module in parsed().items():
        for node in ast.walk(module):
            if isinstance(node, ast.Call):
                called = node.func
                if getattr(called, "id", getattr(called, "attr", None)) == name:
                    found.append(f"{path.relative_to(SOURCE)}:{node.lineno}")
    return found


def test_the_import_contracts_hold() -> None:
    """`lint-imports` finds every layer below those that use it, and no I/O in the pure packages."""
    program = Path(sys.executable).with_name("lint-imports")
    done = subprocess.run([program, "--no-cache"], cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout


@pytest.mark.parametrize("module", MODULES)
def test_every_module_can_be_imported(module: str) -> None:
    """No module fails, warns or starts anything when it is imported."""
    importlib.import_module(module)


def test_a_permit_is_made_in_one_place() -> None:
    """Only guard/guard.py calls `Permit(`: what has not been decided and recorded there cannot go on."""
    assert {place.partition(":")[0] for place in calls("Permit")} <= {"doorward/guard/guard.py"}


def test_no_module_evaluates_text_or_unpickles() -> None:
    """Nothing in src/ calls eval, exec or pickle: bytes from outside never become code."""
    # re.compile is another compile; the built-in one is useless without the other two
    assert not calls("eval") + calls("exec")
    for path, module in parsed().items():
        names = {
            alias.name
            for node in ast.walk(module)
            if isinstance(node, ast.Import)
            for alias in node.names
        }
        assert not names & {"pickle", "marshal", "shelve", "dill"}, path


def test_files_stay_short_enough_to_read() -> None:
    """No file of ours grows far past 500 lines, but for those of which `LONG` says why."""
    lengths = {
        str(path.relative_to(ROOT)): len(path.read_text().splitlines())
        for path in tracked()
        if path.suffix == ".py" and {"src", "scripts", "benchmarks"} & set(path.relative_to(ROOT).parts[:1])
    }
    assert {name for name, length in lengths.items() if length > LIMIT} == set(LONG)


def test_modules_say_what_they_are_for() -> None:
    """Every module of src/ begins with a docstring."""
    silent = [path for path in SOURCE.rglob("*.py") if not ast.get_docstring(ast.parse(path.read_text()))]
    assert silent == []


def test_continuous_integration_is_what_a_developer_runs() -> None:
    """.ci/run may be executed and calls `make test`."""
    script = ROOT / ".ci/run"
    assert script.stat().st_mode & stat.S_IXUSR
    assert "make --no-print-directory test" in script.read_text()


@pytest.mark.parametrize("name", ["bootstrap", "runtime", "demo", "dev"])
def test_requirements_are_pinned_by_hash(name: str) -> None:
    """Every requirement has one exact version and at least one hash, and no file names an index."""
    text = (ROOT / "requirements" / f"{name}.txt").read_text()
    blocks = [block for block in text.replace("\\\n", " ").splitlines() if block and not block.lstrip().startswith("#")]
    assert blocks
    for block in blocks:
        assert "==" in block.split()[0], block[:80]
        assert "--hash=sha256:" in block, block[:80]
    assert "--index" not in text
    assert "://" not in text


def test_what_is_imported_is_required() -> None:
    """What pyproject.toml declares is what runtime.txt pins: every name of runtime.in has its pin."""
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())
    assert project["tool"]["setuptools"]["dynamic"]["dependencies"]["file"] == ["requirements/runtime.in"]
    lines = (ROOT / "requirements/runtime.txt").read_text().splitlines()
    pinned = {line.partition("==")[0].partition("[")[0] for line in lines}
    for line in (ROOT / "requirements/runtime.in").read_text().splitlines():
        name = line.partition("#")[0].partition(">")[0].partition("[")[0].strip()
        assert not name or name in pinned, name
