"""`doorward init`: what it writes starts, and it asks, refuses and overwrites only as it says."""

from __future__ import annotations

import socket
import ssl
import stat
import subprocess
import sys
import tomllib
from pathlib import Path
from typing import Any

import pytest

from doorward import config
from doorward.adapters.secrets.vault import Vault
from doorward.app import Gateway, running
from doorward.cli.first_config import CERTIFICATE, KEY, Answers, FirstTarget, Groups, Issuer, toml, write
from doorward.cli.init import init
from doorward.config import load_policies
from doorward.errors import ConfigError
from doorward.model import Identity, Kind, Mode, Outcome, SecretRef
from doorward.policy.decide import may

ISSUER = Issuer(url="https://id.example.com")
TARGET = FirstTarget(name="shop", host="db.example.com", user="app", secret="vault:shop")
FLAGS: dict[str, Any] = {"issuer": "https://id.example.com", "target": "shop", "host": "db.example.com", "user": "app"}


class NoTerminal:
    """Standard input of a program that nobody sits at."""

    def __init__(self, octets: bytes = b"") -> None:
        self.buffer = self
        self._octets = octets

    def isatty(self) -> bool:
        return False

    def read(self, _most: int) -> bytes:
        return self._octets


@pytest.fixture(autouse=True)
def nobody_there(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "stdin", NoTerminal())


async def test_what_it_writes_starts(tmp_path: Path) -> None:
    """A gateway starts from the answers alone, listens with TLS, and is ready; the target need not be there yet."""
    path = write(tmp_path / "new", Answers(issuer=ISSUER, target=TARGET, port=0, http_port=0), password=b"secret")
    async with running(config.load(path)) as gateway:
        assert isinstance(gateway, Gateway)
        assert gateway.ready() == ""
        assert gateway.postgres_port
        assert gateway.own.url == gateway.url == f"http://localhost:{gateway.http_port}"  # tokens bear the real one
        assert gateway.http_port


async def test_a_gateway_that_cannot_listen_says_so_in_one_line(tmp_path: Path) -> None:
    """What keeps it from starting arrives as the one error that it is, not wrapped by the tasks around it."""
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]
        path = write(tmp_path / "new", Answers(issuer=ISSUER, target=TARGET, port=port, http_port=0))
        with pytest.raises(ConfigError, match="cannot listen on"):
            await Gateway(config.load(path)).run(signals=False)


def test_the_folder_is_private_and_the_password_is_in_the_vault_only(tmp_path: Path) -> None:
    """Nobody else may open what was made, and no file holds the password in clear."""
    folder = tmp_path / "new"
    write(folder, Answers(issuer=ISSUER, target=TARGET), password=b"hunter2-hunter2")
    assert stat.S_IMODE(folder.stat().st_mode) == 0o700
    assert stat.S_IMODE((folder / KEY).stat().st_mode) == 0o600
    assert stat.S_IMODE((folder / "doorward.toml").stat().st_mode) == 0o600
    assert Vault(folder / "data").get(SecretRef("vault", "shop")) == b"hunter2-hunter2"
    for path in folder.rglob("*"):
        assert path.is_dir() or b"hunter2" not in path.read_bytes(), path


def test_the_certificate_is_good_for_this_machine(tmp_path: Path) -> None:
    """The self-signed certificate verifies in full for localhost and loopback, trusted by itself, and for nothing else."""
    write(tmp_path, Answers(issuer=ISSUER, target=TARGET))
    server = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    server.load_cert_chain(tmp_path / CERTIFICATE, tmp_path / KEY)
    client = ssl.create_default_context(cafile=str(tmp_path / CERTIFICATE))
    for name in ("localhost", "127.0.0.1", "::1"):
        assert handshake(client, server, name)
    with pytest.raises(ssl.SSLCertVerificationError):
        handshake(client, server, "db.example.com")


def handshake(client: ssl.SSLContext, server: ssl.SSLContext, name: str) -> bool:
    """Whether the two agree, over memory."""
    to_server, to_client = ssl.MemoryBIO(), ssl.MemoryBIO()
    ends = [
        client.wrap_bio(to_client, to_server, server_hostname=name),
        server.wrap_bio(to_server, to_client, server_side=True),
    ]
    for _ in range(6):
        for end in ends:
            try:
                end.do_handshake()
            except ssl.SSLWantReadError:
                continue
    return ends[0].version() is not None


def test_the_groups_mean_what_was_said(tmp_path: Path) -> None:
    """Agents may connect and may not approve; approvers approve; administrators administer; a stranger may nothing."""
    groups = Groups(agents="bots", people="staff", approvers="dba", admins="root-ish")
    loaded = config.load(write(tmp_path, Answers(issuer=ISSUER, target=TARGET, groups=groups)))
    policies, target = load_policies(loaded), loaded.targets["shop"]

    def allowed(kind: Kind, group: str, action: str) -> bool:
        who = Identity("somebody", kind, ISSUER.url, frozenset({group}))
        resource = ("Approval", "a") if action == "approve" else None
        return may(policies, who, action, target, resource=resource).outcome is Outcome.ALLOW

    assert allowed(Kind.AGENT, "bots", "connect")
    assert not allowed(Kind.AGENT, "bots", "approve")
    assert allowed(Kind.HUMAN, "dba", "approve")
    assert allowed(Kind.HUMAN, "root-ish", "administer")
    assert not allowed(Kind.HUMAN, "agents", "connect")
    assert loaded.issuers[0].kind_rules[0].values == ("bots",)


@pytest.mark.parametrize("mode", ["enforce", "observe"])
def test_the_mode_is_what_was_asked_for(tmp_path: Path, mode: Any) -> None:
    """`--mode observe` is written, loudly; without it the target enforces."""
    assert init(tmp_path, **FLAGS, mode=mode) == 0
    assert config.load(tmp_path / "doorward.toml").targets["shop"].mode is Mode(mode)
    assert ("NOTHING IS ENFORCED" in (tmp_path / "doorward.toml").read_text()) is (mode == "observe")


def test_it_says_what_to_do_next(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """The end names the next commands, what is self-signed, and what is not labelled yet."""
    assert init(tmp_path, **FLAGS) == 0
    said = capsys.readouterr().out
    for words in (
        "doorward secrets set shop",
        "doorward doctor",
        "doorward serve",
        "self-signed",
        "No column is labelled",
    ):
        assert words in said


def test_without_a_terminal_nothing_is_asked(tmp_path: Path) -> None:
    """What has no default must be a flag; the complaint names it, and nothing is written."""
    with pytest.raises(ConfigError, match="--host is missing"):
        init(tmp_path / "new", **{**FLAGS, "host": ""})
    assert not (tmp_path / "new").exists()


def test_nothing_is_overwritten_without_force(tmp_path: Path) -> None:
    """A second run refuses; with --force configuration and policy are new, certificate and vault are kept."""
    assert init(tmp_path, **FLAGS) == 0
    before = (tmp_path / CERTIFICATE).read_bytes()
    Vault(tmp_path / "data").set("shop", b"kept")
    with pytest.raises(ConfigError, match="is there already"):
        init(tmp_path, **{**FLAGS, "user": "other"})
    assert config.load(tmp_path / "doorward.toml").targets["shop"].user == "app"
    assert init(tmp_path, **{**FLAGS, "user": "other"}, force=True) == 0
    assert config.load(tmp_path / "doorward.toml").targets["shop"].user == "other"
    assert (tmp_path / CERTIFICATE).read_bytes() == before
    assert Vault(tmp_path / "data").names() == ["shop"]


@pytest.mark.parametrize(
    ("changes", "complaint"),
    [
        ({"target": "sh op"}, "targets.sh op.name"),
        ({"issuer": "http://id.example.com"}, "--issuer"), ({"issuer": "ftp://id.example.com"}, "issuers"),
        ({"agents": 'a"; permit (principal, action, resource);'}, "cannot be the group"),
        ({"listen": "0.0.0.0", "tls": "plaintext"}, "plaintext"),
        ({"secret": "hunter2"}, "secret"),
        ({"label": ("public.customers.ssn",)}, "names no label"),
    ],
)
def test_answers_that_cannot_be_leave_nothing(tmp_path: Path, changes: dict[str, Any], complaint: str) -> None:
    """What the configuration would not accept is refused here, with its own words, and no file stays behind; with
    --force, what was there is there again."""
    folder = tmp_path / "new"
    with pytest.raises(ConfigError, match=complaint):
        init(folder, **{**FLAGS, **changes})
    assert [path for path in folder.rglob("*") if path.is_file()] == []
    assert init(folder, **FLAGS) == 0
    text = (folder / "doorward.toml").read_text()
    with pytest.raises(ConfigError, match=complaint):
        init(folder, **{**FLAGS, **changes}, force=True)
    assert (folder / "doorward.toml").read_text() == text


def test_a_password_comes_from_standard_input(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """`--password-stdin` puts what is piped into the vault, without the newline of echo."""
    monkeypatch.setattr(sys, "stdin", NoTerminal(b"from a pipe\n"))
    assert init(tmp_path, **FLAGS, password_stdin=True) == 0
    assert Vault(tmp_path / "data").get(SecretRef("vault", "shop")) == b"from a pipe"


@pytest.mark.parametrize("text", ['a"b', "a\\b", "a\x7fb", "a\u2028b", "a\tb", "ü"])
def test_any_text_survives_being_written(text: str) -> None:
    """Whatever an answer holds is read back from the TOML as it was."""
    answers = Answers(issuer=ISSUER, target=FirstTarget(name="shop", host="h", user=text, database=text))
    target = tomllib.loads(toml(answers))["targets"][0]
    assert (target["user"], target["database"]) == (text, text)


def test_the_command_line_takes_the_flags(tmp_path: Path) -> None:
    """The real command, as a script would run it."""
    arguments = [f"--{name}={value}" for name, value in FLAGS.items()]
    done = subprocess.run(
        [sys.executable, "-m", "doorward", "init", tmp_path / "new", *arguments, "--label", "public.customers.ssn=ssn"],
        stdin=subprocess.DEVNULL, capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert (done.returncode, done.stderr) == (0, "")
    assert config.load(tmp_path / "new/doorward.toml").targets["shop"].labels == {"public.customers.ssn": "ssn"}
