"""The documentation says what the program does: found by looking into the program, so that it cannot fall behind."""

from __future__ import annotations

import ast
import re
from pathlib import Path

import pytest
from cyclopts import App

from doorward import errors
from doorward.cli.main import app
from tests.fitness.test_house import ROOT, SOURCE, tracked

PAGES = sorted(path for path in tracked() if path.suffix == ".md")
REFERENCE = "\n".join(page.read_text() for page in PAGES if not page.name.startswith("CHANGELOG"))

LINK = re.compile(r"(?<!!)\[[^\]\n]*\]\(([^)\s]+)\)|!\[[^\]\n]*\]\(([^)\s]+)\)")
# Where somebody's machine or a package index shows through; spelled in parts, for this file is looked at as well.
FORBIDDEN = [
    "/" + "work" + "/",
    "/root" + "/",
    "/home" + "/",
    "pypi" + ".org",
    "pythonhosted" + ".org",
    "registry" + ".npmjs",
    "/opt/" + "pypi",
    "/opt/" + "wheels",
]


def headings(page: Path) -> set[str]:
    """The anchors of a page's headings, as GitHub makes them."""
    found = re.findall(r"^#+ +(.+?) *$", page.read_text(), re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in found}


def documented(name: str) -> bool:
    """Whether some page has `name` as code: in backticks, alone or with arguments, or in a block of code."""
    quoted = rf"`(?:[^`\n]*[^\w.`-])?{re.escape(name)}(?:[^\w.`-][^`\n]*)?`"
    block = rf"^(?:    |\$ |)\S*{re.escape(name)}\b"
    return bool(re.search(quoted, REFERENCE) or re.search(block, REFERENCE, re.MULTILINE))


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_every_link_leads_somewhere(page: Path) -> None:
    """A relative link names a file of the repository, and its anchor a heading of that file."""
    broken = []
    for match in LINK.finditer(re.sub(r"```.*?```", "", page.read_text(), flags=re.DOTALL)):
        link = match[1] or match[2]
        if re.match(r"[a-z]+:", link):
            continue
        place, _, anchor = link.partition("#")
        target = (page.parent / place).resolve() if place else page
        if not target.exists() or (anchor and target.suffix == ".md" and anchor not in headings(target)):
            broken.append(link)
    assert broken == []


@pytest.mark.parametrize("forbidden", FORBIDDEN)
def test_no_file_names_somebodys_machine_or_an_index(forbidden: str) -> None:
    """No path of a developer's machine and no host of a package registry is in any file of the repository."""
    named = [
        str(path.relative_to(ROOT))
        for path in tracked()
        if path.is_file() and forbidden in path.read_bytes().decode("utf-8", "replace")
    ]
    assert named == []


def test_there_is_a_changelog() -> None:
    """CHANGELOG.md begins with what has not been released."""
    assert re.search(r"^## \[?Unreleased", (ROOT / "CHANGELOG.md").read_text(), re.MULTILINE)


@pytest.mark.parametrize("name", ["CONTRIBUTING.md", "SECURITY.md", "CHANGELOG.md", "LICENSE"])
def test_the_usual_files_are_there(name: str) -> None:
    """A newcomer finds the files that every project has."""
    assert (ROOT / name).stat().st_size > 200


EVENT = re.compile(r"^[a-z][a-z_]*\.[a-z_]+$")


def constants(tree: ast.Module) -> dict[str, str]:
    """What a module calls event types: its own names for texts of that form."""
    found = {}
    for node in tree.body:
        if not isinstance(node, ast.Assign | ast.AnnAssign):
            continue
        for target in node.targets if isinstance(node, ast.Assign) else [node.target]:
            pairs: list[tuple[ast.expr, ast.expr | None]] = [(target, node.value)]
            if isinstance(target, ast.Tuple) and isinstance(node.value, ast.Tuple):
                pairs = [*zip(target.elts, node.value.elts, strict=False)]
            for name, value in pairs:
                if isinstance(name, ast.Name) and isinstance(value, ast.Constant) and EVENT.match(str(value.value)):
                    found[name.id] = str(value.value)
    return found


def recorded(*names: str) -> set[str]:
    """The event types that src/ hands to a function or method called one of `names`: as they are, or by a name of their own."""
    types = set()
    for path in SOURCE.rglob("*.py"):
        tree = ast.parse(path.read_text())
        known = constants(tree)
        for node in ast.walk(tree):
            if isinstance(node, ast.Call) and getattr(node.func, "attr", getattr(node.func, "id", "")) in names:
                for argument in ast.walk(ast.Tuple(elts=node.args[:1])):
                    if isinstance(argument, ast.Constant) and EVENT.match(str(argument.value)):
                        types.add(str(argument.value))
                    elif isinstance(argument, ast.Name) and argument.id in known:
                        types.add(known[argument.id])
    return types


RECORDED = sorted(recorded("event", "append_event", "_event", "record", "_record", "_keep"))


def test_event_types_are_found_by_name_too() -> None:
    """Those of refusals and of approvers' keys are constants of their modules."""
    assert {"authentication.refused", "browser.refused", "authorization.refused", "approver_key.registered",
            "approver_key.revoked", "approval.voted", "notification.dropped"} <= set(RECORDED)  # fmt: skip


@pytest.mark.parametrize("kind", RECORDED)
def test_every_event_type_is_documented(kind: str) -> None:
    """What the record may hold, the reference explains."""
    assert documented(kind)


def error_classes() -> list[str]:
    """The names of the errors that Doorward adds to Python's."""
    return sorted(
        name
        for name, value in vars(errors).items()
        if isinstance(value, type) and issubclass(value, errors.DoorwardError) and value is not errors.DoorwardError
    )


@pytest.mark.parametrize("name", error_classes())
def test_every_error_is_documented(name: str) -> None:
    """Each error is in the reference, with its exit code in the same line."""
    code = getattr(errors, name).exit_code
    assert re.search(rf"`{name}`.*\b{code}\b|\b{code}\b.*`{name}`", REFERENCE)


def commands(app: App, prefix: tuple[str, ...] = ()) -> set[str]:
    """The full names of all commands below `app`."""
    found = set()
    for name in app:
        if name.startswith("-"):
            continue
        path = (*prefix, name)
        inner = commands(app[name], path)
        found |= inner or {" ".join(path)}
    return found


def test_every_command_is_documented() -> None:
    """Each command is in the reference as somebody would type it, and the reference names no other."""
    offered = commands(app)
    named = set(re.findall(r"^\| `doorward ([a-z ]+)` \|", REFERENCE, re.MULTILINE))
    assert named - offered == set()
    assert sorted(command for command in offered if not documented(f"doorward {command}")) == []


def metrics() -> list[str]:
    """The names of the metrics that src/ makes, as Prometheus shows them."""
    found = set()
    for path in SOURCE.rglob("*.py"):
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.Call) and node.args:
                called = getattr(node.func, "attr", getattr(node.func, "id", ""))
                first = node.args[0]
                if called in ("Counter", "Gauge", "Histogram", "Summary", "watch") and isinstance(first, ast.Constant):
                    found.add(str(first.value) + ("_total" if called == "Counter" else ""))
    return sorted(found)


@pytest.mark.parametrize("name", metrics())
def test_every_metric_is_documented(name: str) -> None:
    """Each metric is in the reference by the name that Prometheus shows."""
    assert documented(name)
