"""The command line's own words: usage errors name what was written, errors of the system say what to do."""

from __future__ import annotations

import errno
import os
from pathlib import Path

import pytest

from doorward.cli.gateway import Connection, GatewayClient
from doorward.cli.main import run
from doorward.errors import in_words


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        ("approvals show", "`doorward approvals show` needs APPROVAL"),
        ("sessions end", "`doorward sessions end` needs SESSION"),
        ("policy explain", "`doorward policy explain` needs --identity"),
        ("completion", "`doorward completion` needs SHELL"),
        ("approvals list extra more", "extra more: more than `doorward approvals list` takes"),
        ("approvals list --bogus", "--bogus: `doorward approvals list` has no such option"),
        ("approvals list --limit x", "--limit"),
        ("approvals list --limit", "--limit"),
        ("init --mode maybe", "enforce"),
        ("bogus", "bogus"),
    ],
)
def test_a_usage_error_says_what_is_wrong_in_the_words_it_was_written_in(
    capsys: pytest.CaptureFixture[str], arguments: str, words: str
) -> None:
    """Exit code 2, one sentence and one hint on standard error; no list of tokens, no option that nobody would write."""
    assert run(arguments.split()) == 2
    said = capsys.readouterr()
    assert said.out == ""
    assert words in said.err
    assert "--help` says what there is" in said.err
    assert not any(odd in said.err for odd in ("--approval", "--session", "['", "Traceback", "╭"))


@pytest.mark.parametrize("command", ["init", "verify", "approvals show", "secrets set", "sessions replay"])
def test_help_offers_nothing_that_nobody_would_write(capsys: pytest.CaptureFixture[str], command: str) -> None:
    """No empty choice, no option for what is given by its place, none that empties a list."""
    assert run([*command.split(), "--help"]) == 0
    shown = capsys.readouterr().out
    for odd in (", ]", "--empty", "--folder", "--approval", "--session ", "--name"):
        assert odd not in shown


def test_an_error_of_the_system_is_a_sentence() -> None:
    """What happened and to which file; the number means nothing to anybody."""
    assert in_words(OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), "/var/x")) == "No space left on device: /var/x"
    assert in_words(PermissionError(errno.EACCES, "Permission denied")) == "Permission denied"
    assert in_words(OSError("the file system took no bytes")) == "the file system took no bytes"
    assert in_words(TimeoutError()) == "TimeoutError"


def test_a_system_error_that_nobody_expected_is_no_traceback(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Exit code 6, what happened, and where to look."""

    def fails(*_: object, **__: object) -> int:
        raise OSError(errno.EIO, os.strerror(errno.EIO), "/data/wal")

    monkeypatch.setattr("doorward.cli.main.app", fails)
    assert run(["serve"]) == 6
    said = capsys.readouterr().err
    assert said.startswith("doorward: Input/output error: /data/wal\n  ")
    assert "Errno" not in said


def test_a_command_says_which_gateway_it_asks_where_nothing_does(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """Without a configuration, an option and a variable; and not where somebody has said which."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("DOORWARD_TOKEN", "x.y.z")
    with GatewayClient(Connection()) as gateway:
        assert gateway.url in capsys.readouterr().err
    with GatewayClient(Connection(gateway="http://127.0.0.1:1")):
        assert capsys.readouterr().err == ""
