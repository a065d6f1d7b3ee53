"""The guide to identity says what is true: its examples load, and every refusal is in its table."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from doorward.config import load
from tests.rig.refusals import documented

GUIDE = Path(__file__).parents[4] / "docs" / "guides" / "identity.md"
EXAMPLES = re.findall(r"^```toml\n(.*?)^```", GUIDE.read_text(), re.M | re.S)
REST = """
[gateway]
data = "data"
[listen.postgres]
plaintext = true
[listen.http]
plaintext = true
[policy]
files = ["*.cedar"]
"""


def test_there_are_examples() -> None:
    """Keycloak, Entra, Okta, GitHub Actions and Kubernetes."""
    assert len(EXAMPLES) == 5


@pytest.mark.parametrize("example", EXAMPLES)
def test_examples_load(example: str, tmp_path: Path) -> None:
    """Each example is a configuration that is accepted, with the authority's file put where it can be."""
    (tmp_path / "ca.crt").write_text("")
    example = re.sub(r'ca = "[^"]*"', 'ca = "ca.crt"', example)
    (tmp_path / "doorward.toml").write_text(example + REST)
    issuer = load(tmp_path / "doorward.toml").issuers[0]
    assert issuer.audience
    assert not issuer.development


def test_the_table_can_fail() -> None:
    """A message that is not in the table is not taken for one that is."""
    assert not documented("the token was refused: because")
    assert documented("the token was refused: it expired 12 seconds ago")
