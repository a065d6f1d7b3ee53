"""The command line's reference page is the command line's tree: nothing missing, nothing that is not there."""

from __future__ import annotations

import re

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
