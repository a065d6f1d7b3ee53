"""`doorward secrets`: values come in unseen and never come out."""

from __future__ import annotations

import io
import json
import os
import pty
import subprocess
import sys
import time
from pathlib import Path

import pytest

from doorward.adapters.secrets.vault import Vault
from doorward.cli.secrets import list_command, remove_command, set_command
from doorward.errors import ConfigError
from doorward.model import SecretRef


class Piped(io.TextIOWrapper):
    """Standard input that is a pipe with these bytes."""

    def __init__(self, content: bytes) -> None:
        super().__init__(io.BytesIO(content))


@pytest.mark.parametrize(
    ("piped", "kept"), [(b"hunter2", b"hunter2"), (b"hunter2\n", b"hunter2"), (b"a\nb\n", b"a\nb"), (b"\xff\n", b"\xff")]
)
def test_set_from_standard_input(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], piped: bytes, kept: bytes
) -> None:
    """A piped value is kept without its last newline, and is not printed."""
    monkeypatch.setattr(sys, "stdin", Piped(piped))
    assert set_command("shop", data=tmp_path) == 0
    assert Vault(tmp_path).get(SecretRef("vault", "shop")) == kept
    out, err = capsys.readouterr()
    assert (out, err) == ("", "kept; use it as vault:shop\n")


@pytest.mark.parametrize("piped", [b"", b"\n", b"x" * 70000])
def test_values_that_cannot_be_kept(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, piped: bytes) -> None:
    """Nothing, or too much, is an error and leaves no vault."""
    monkeypatch.setattr(sys, "stdin", Piped(piped))
    with pytest.raises(ConfigError, match="1 to 65536 bytes"):
        set_command("shop", data=tmp_path)
    assert Vault(tmp_path).names() == []


def test_list_and_remove(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Names are listed as text and as JSON; a name that is not there cannot be removed."""
    assert list_command(data=tmp_path) == 0
    assert capsys.readouterr().out == ""
    Vault(tmp_path).set("shop", b"hunter2")
    Vault(tmp_path).set("crm", b"hunter3")
    assert list_command(data=tmp_path) == 0
    assert capsys.readouterr().out == "crm\nshop\n"
    assert list_command(data=tmp_path, as_json=True) == 0
    assert json.loads(capsys.readouterr().out) == {"secrets": ["crm", "shop"]}
    assert remove_command("shop", data=tmp_path) == 0
    with pytest.raises(ConfigError, match="no secret 'shop'"):
        remove_command("shop", data=tmp_path)


def test_set_from_a_terminal(tmp_path: Path) -> None:
    """On a real terminal the value is asked for twice and never echoed."""
    child = "import sys; from doorward.cli.secrets import app; app(['set', 'shop', '--data', sys.argv[1]])"
    leader, follower = pty.openpty()
    process = subprocess.Popen(
        [sys.executable, "-c", child, str(tmp_path)], stdin=follower, stdout=follower, stderr=follower,
        start_new_session=True,
    )  # fmt: skip
    os.close(follower)
    shown = b""
    try:
        for prompt in (b"Value of shop: ", b"Once more: "):
            shown += _until(leader, prompt)
            os.write(leader, b"correct horse\n")
        shown += _until(leader, b"vault:shop")
        assert process.wait(20) == 0
    finally:
        process.kill()
        process.wait()
        os.close(leader)
    assert b"correct" not in shown
    assert Vault(tmp_path).get(SecretRef("vault", "shop")) == b"correct horse"


def _until(descriptor: int, wanted: bytes) -> bytes:
    seen = b""
    limit = time.monotonic() + 20
    while wanted not in seen:
        assert time.monotonic() < limit, seen
        seen += os.read(descriptor, 4096)
    return seen
