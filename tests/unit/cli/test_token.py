"""`doorward token`: where tokens come from, what is printed where, and what is refused."""

from __future__ import annotations

import json
import threading
from pathlib import Path
from types import SimpleNamespace
from typing import cast

import httpx2
import pytest

from doorward.adapters.identity.development import DevelopmentIssuer
from doorward.adapters.identity.device import Prompt, TokenClient
from doorward.cli import gateway
from doorward.cli import token as module
from doorward.cli.token import app
from doorward.config import Config
from doorward.errors import AuthenticationError, ConfigError, UpstreamError
from tests.rig.issuer import development_issuer

__all__ = ["development_issuer"]


def run(*arguments: str) -> int:
    """The command as the shell would give it, with errors as exceptions."""
    _, bound, _ = app.parse_args(list(arguments), exit_on_error=False, print_error=False)
    return module.token_command(*bound.args, **bound.kwargs)


def test_a_token_in_a_file(
    development_issuer: DevelopmentIssuer, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """--file prints the file's token, trimmed, and nothing else."""
    token = development_issuer.issue("ci")
    (tmp_path / "token").write_text(token + "\n")
    assert run("--file", str(tmp_path / "token")) == 0
    assert capsys.readouterr() == (token + "\n", "")


def test_a_token_in_the_environment(
    development_issuer: DevelopmentIssuer, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """--env prints the variable's token; --json adds what it says of itself."""
    monkeypatch.setenv("CI_JOB_TOKEN", development_issuer.issue("ci"))
    assert run("--env", "CI_JOB_TOKEN", "--json") == 0
    printed = json.loads(capsys.readouterr().out)
    assert (printed["issuer"], printed["subject"], printed["audience"]) == (development_issuer.url, "ci", "doorward")
    assert printed["token"].count(".") == 2
    assert printed["expires_at"].endswith("+00:00")


def test_client_credentials(
    development_issuer: DevelopmentIssuer, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """The client's secret comes from the environment, and a token of the issuer is printed."""
    monkeypatch.setenv("DOORWARD_CLIENT_SECRET", "robot-secret")
    assert run("--issuer", development_issuer.url, "--client-id", "robot", "--client-credentials", "--json") == 0
    assert json.loads(capsys.readouterr().out)["subject"] == "robot"


def test_device_flow(
    development_issuer: DevelopmentIssuer, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """Address and code go to standard error, the token alone to standard output."""
    shown: list[Prompt] = []
    show = module.show

    def login(prompt: Prompt) -> None:
        shown.append(prompt)
        show(prompt)
        form = {"user_code": prompt.code, "subject": "alice", "answer": "yes"}
        threading.Thread(target=httpx2.post, args=(prompt.address,), kwargs={"data": form, "trust_env": False}).start()

    monkeypatch.setattr(module, "show", login)
    assert run("--issuer", development_issuer.url, "--client-id", "cli") == 0
    out, err = capsys.readouterr()
    assert out.count("\n") == 1
    assert out.count(".") == 2
    assert shown[0].code in err
    assert shown[0].address in err
    assert out.strip() not in err


def test_the_issuer_of_the_configuration(
    development_issuer: DevelopmentIssuer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Without --issuer the first one of doorward.toml is asked, with its client id."""
    asked: list[tuple[str, str]] = []
    monkeypatch.setenv("DOORWARD_CLIENT_SECRET", "x")
    monkeypatch.chdir(tmp_path)
    with pytest.raises(ConfigError, match="no issuer is given"):
        run("--client-credentials")

    class Asked(TokenClient):
        def __init__(self, issuer: str, client_id: str, **_: object) -> None:
            asked.append((issuer, client_id))
            raise UpstreamError("enough")

    class Loaded:
        issuers = (development_issuer.settings(),)

    monkeypatch.setattr("doorward.config.load", lambda _: Loaded)
    monkeypatch.setattr("doorward.adapters.identity.device.TokenClient", Asked)
    (tmp_path / "doorward.toml").touch()
    with pytest.raises(UpstreamError, match="enough"):
        run("--client-credentials")
    assert asked == [(development_issuer.url, "doorward")]


@pytest.mark.parametrize(
    ("arguments", "error", "message"),
    [
        (["--file", "/nowhere"], ConfigError, "cannot be read"),
        (["--env", "NOT_SET"], ConfigError, "NOT_SET holds no token"),
        (["--env", "A", "--file", "/b"], ConfigError, "both"),
        (["--issuer", "https://issuer.example"], ConfigError, "no client id"),
        (["--issuer", "http://issuer.example", "--client-id", "x"], ConfigError, "loopback only"),
        (
            ["--issuer", "https://issuer.example", "--client-id", "x", "--client-credentials", "--client-secret", "hunter2"],
            ConfigError,
            "where the secret is",
        ),
        (["--env", "PASSWORD"], AuthenticationError, "not a signed JWT"),
        (["--env", "EXPIRED"], AuthenticationError, "expired already"),
    ],
)
def test_refused(
    arguments: list[str],
    error: type[Exception],
    message: str,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    """Each is one clear error, nothing is printed, and no secret is in what is said."""
    monkeypatch.setenv("PASSWORD", "hunter2")
    # {"alg":"ES256"}.{"exp":1}
    monkeypatch.setenv("EXPIRED", "eyJhbGciOiJFUzI1NiJ9.eyJleHAiOjF9.AAAA")
    with pytest.raises(error, match=message) as caught:
        run(*arguments)
    assert "hunter2" not in str(caught.value)
    assert capsys.readouterr().out == ""


@pytest.mark.parametrize("reads", [True, False])
def test_a_login_is_asked_for_only_where_somebody_reads_the_question(monkeypatch: pytest.MonkeyPatch, *, reads: bool) -> None:
    """A job without a token is told what to set, at once; a person at a terminal is asked to log in."""
    monkeypatch.delenv("DOORWARD_TOKEN", raising=False)
    monkeypatch.setattr("sys.stderr.isatty", lambda: reads, raising=False)
    monkeypatch.setattr("doorward.cli.token.log_in", lambda _: "a.b.c")
    settings = cast(Config, SimpleNamespace(issuers=(SimpleNamespace(client_id="doorward"),)))
    if reads:
        assert gateway.token_of(gateway.Connection(), settings, "http://127.0.0.1:1") == "a.b.c"
    else:
        with pytest.raises(AuthenticationError) as refused:
            gateway.token_of(gateway.Connection(), settings, "http://127.0.0.1:1")
        assert "DOORWARD_TOKEN_FILE" in refused.value.hint
