"""The command line's reference page is the command line's tree: nothing missing, nothing that is not there."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

from doorward.cli.main import app
from tests.fitness.test_documentation import commands
from tests.fitness.test_house import ROOT

PAGE = (ROOT / "docs/guides/cli.md").read_text()


def test_the_page_lists_every_command_and_no_other() -> None:
    """The table of commands in docs/guides/cli.md has exactly the program's commands."""
    listed = re.findall(r"^\| `doorward ([^`]+)` \|", PAGE, re.MULTILINE)
    assert len(listed) == len(set(listed))
    assert set(listed) == commands(app)


@pytest.mark.parametrize("group", ["approvals", "sessions", "policy", "whoami"])
def test_commands_that_ask_the_gateway_take_no_token_on_the_command_line(group: str) -> None:
    """No option is a token, which every process of the machine could read there."""
    resolved = app[group]
    names = [name for sub in (resolved, *(resolved[n] for n in resolved if not n.startswith("-")))
             if sub.default_command for argument in sub.assemble_argument_collection() for name in argument.names]  # fmt: skip
    assert "--gateway" in names
    assert "--token" not in names


# What a gateway is made of. A command that needs one of these imports it; the others do not wait for it.
GATEWAY = {
    "alembic", "cedarpy", "cryptography", "doorward.app", "doorward.config", "joserfc", "litestar", "phonenumbers", "postgast",
    "prometheus_client", "re2", "sqlalchemy", "stdnum", "structlog", "uvicorn", "uvloop",
}  # fmt: skip


@pytest.mark.parametrize(
    ("arguments", "more"),
    [
        (["--help"], {"asyncio", "httpx2"}),
        (["sessions", "list"], set()),
        (["approvals", "list"], set()),
        (["whoami"], set()),
    ],
)
def test_a_command_imports_only_what_it_needs(arguments: list[str], more: set[str], tmp_path: Path) -> None:
    """Somebody who approves a statement does not wait for the modules of a gateway to be read from disk."""
    asked = (
        "import json, sys; from doorward.cli.main import run; "
        f"code = run({arguments!r}); print(json.dumps([code, *sys.modules]), file=sys.stderr)"
    )
    done = subprocess.run(
        [sys.executable, "-c", asked],
        cwd=tmp_path,  # without a configuration, whose checks need every detector
        env={
            **os.environ,
            "PYTHONPATH": str(ROOT / "src"),
            "DOORWARD_TOKEN": "a",
            "DOORWARD_GATEWAY": "http://127.0.0.1:1",
        },
        capture_output=True,
        text=True,
        check=True,
    )
    code, *modules = json.loads(done.stderr.splitlines()[-1])
    assert code == (0 if arguments == ["--help"] else 6)  # 6: it came as far as asking, and nobody is there
    assert not set(modules) & (GATEWAY | more)
