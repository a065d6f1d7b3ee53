"""The independent verifier is independent: one file, of the standard library and `cryptography` alone, that one can read."""

from __future__ import annotations

import ast
import sys

import pytest

from tests.fitness.test_house import ROOT

PROGRAM = ROOT / "verifier" / "doorward_verify.py"
TREE = ast.parse(PROGRAM.read_text(), feature_version=(3, 9))


def test_it_is_one_file() -> None:
    """A stranger copies one file."""
    assert sorted(path.name for path in PROGRAM.parent.iterdir() if path.name != "__pycache__") == ["README.md", PROGRAM.name]


def test_it_imports_the_standard_library_and_cryptography() -> None:
    """Nothing of Doorward; `zstandard` only where it is there, to unpack recordings."""
    found = {alias.name for node in ast.walk(TREE) if isinstance(node, ast.Import) for alias in node.names}
    found |= {node.module or "" for node in ast.walk(TREE) if isinstance(node, ast.ImportFrom)}
    tops = {name.partition(".")[0] for name in found} - set(sys.stdlib_module_names)
    assert tops == {"cryptography", "zstandard"}
    optional = [node for node in TREE.body if isinstance(node, ast.Try)]
    assert len(optional) == 1
    assert "zstandard" in ast.unparse(optional[0].body[0])


@pytest.mark.parametrize("word", ["exec", "eval", "compile", "pickle", "socket", "urllib", "subprocess", "extractall"])
def test_it_runs_and_reaches_nothing(word: str) -> None:
    """No code from evidence, no network, no process, nothing unpacked onto the disk."""
    names = {node.id for node in ast.walk(TREE) if isinstance(node, ast.Name)}
    names |= {node.attr for node in ast.walk(TREE) if isinstance(node, ast.Attribute) and node.attr != "compile"}
    names |= {alias.name for node in ast.walk(TREE) if isinstance(node, ast.Import) for alias in node.names}
    assert word not in names


def test_it_writes_nothing() -> None:
    """Files are opened to be read."""
    opened = [node for node in ast.walk(TREE) if isinstance(node, ast.Call) and ast.unparse(node.func) == "open"]
    assert opened
    assert {ast.unparse(node.args[1]) for node in opened} == {"'rb'"}


def test_it_can_be_read_in_one_sitting() -> None:
    """It does not grow: what is added has to be worth what it takes to read."""
    assert len(PROGRAM.read_text().splitlines()) <= LINES
    assert [line for line in PROGRAM.read_text().splitlines() if len(line) > 140] == []


LINES = 1260
