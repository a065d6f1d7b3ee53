"""A first configuration: answers in, a folder that `doorward serve` starts from.

Contract: `write` leaves `doorward.toml`, a policy, a data directory and, if asked for, a certificate, all of which load;
or it raises and leaves nothing that it made. What is in the files is then the operator's: nothing reads the answers again.
"""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path

from doorward import config as configuration
from doorward.adapters.identity.settings import is_loopback
from doorward.adapters.secrets.vault import Vault
from doorward.cli.certificate import self_signed, write_new
from doorward.errors import ConfigError
from doorward.policy.starter import starter

CONFIG = "doorward.toml"
POLICY = "policies/starter.cedar"
CERTIFICATE, KEY = "tls/localhost.crt", "tls/localhost.key"


@dataclass(frozen=True, kw_only=True)
class Issuer:
    """Who says who somebody is."""

    url: str
    audience: str = "doorward"
    client_id: str = ""
    groups_claim: str = "groups"
    development: bool = False


@dataclass(frozen=True, kw_only=True)
class Groups:
    """Which of the issuer's groups mean what."""

    agents: str = "agents"
    people: str = "people"
    approvers: str = "approvers"
    admins: str = "admins"


@dataclass(frozen=True, kw_only=True)
class FirstTarget:
    """The first database. `secret` is where its password is; "" for a target that asks for none."""

    name: str
    host: str
    user: str
    port: int = 5432
    database: str = ""
    secret: str = ""
    tls: str = "verify-full"
    tls_ca: str = ""
    mode: str = "enforce"
    labels: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True, kw_only=True)
class Answers:
    """Everything that a first configuration depends on. Ports of the gateway's own listeners; `tls` is "self-signed",
    "plaintext" (loopback only) or "files", then with `certificate` and `key`."""

    issuer: Issuer
    target: FirstTarget
    groups: Groups = field(default_factory=Groups)
    data: str = "data"
    address: str = "127.0.0.1"
    port: int = 7432
    http_port: int = 7480
    tls: str = "self-signed"
    certificate: str = ""
    key: str = ""
    log_format: str = "json"


def write(folder: Path, answers: Answers, *, password: bytes = b"", force: bool = False) -> Path:
    """Write the configuration into `folder` and return its path. `password` goes into the vault when the target's secret is
    there. With `force` the configuration and the policy are replaced; a certificate, the vault and the data stay.

    Raises ConfigError, also for answers that the configuration itself would not accept.
    """
    config, policy = folder / CONFIG, folder / POLICY
    kept: dict[Path, bytes] = {}
    for path in (config, policy):
        if path.exists():
            if not force:
                raise ConfigError(
                    f"{path} is there already", hint="say --force to replace it, or choose another folder"
                )
            kept[path] = path.read_bytes()
    made: list[Path] = []
    try:
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        data = folder / answers.data
        if not data.exists():
            data.mkdir(mode=0o700, parents=True)
            made.append(data)
        if answers.tls == "self-signed" and not (folder / CERTIFICATE).exists():
            self_signed(folder / CERTIFICATE, folder / KEY)
            made += [folder / CERTIFICATE, folder / KEY]
        for path, text in ((policy, _policy(answers)), (config, toml(answers))):
            path.unlink(missing_ok=True)
            write_new(path, text.encode(), 0o600)
            made.append(path)
        loaded = configuration.load(config)
        configuration.load_policies(loaded)
        scheme, _, name = answers.target.secret.partition(":")
        if scheme == "vault" and password:
            Vault(data).set(name, password)
    except (OSError, ValueError, ConfigError) as error:
        _undo(made, kept)
        if isinstance(error, OSError):
            raise ConfigError(
                f"{error.filename or folder} cannot be written ({error.strerror})", hint="choose another folder"
            ) from None
        if isinstance(error, ValueError):
            raise ConfigError(str(error)) from None
        raise
    return config


def _undo(made: list[Path], kept: Mapping[Path, bytes]) -> None:
    for path in reversed(made):
        remove: Callable[[Path], object] = shutil.rmtree if path.is_dir() else Path.unlink
        remove(path)
    for path, content in kept.items():
        path.unlink(missing_ok=True)
        write_new(path, content, 0o600)


def _policy(answers: Answers) -> str:
    groups = answers.groups
    return starter(
        agents=groups.agents, people=groups.people, approvers=groups.approvers, admins=groups.admins,
        development=answers.issuer.development,
    )  # fmt: skip


def toml(answers: Answers) -> str:
    """The configuration's text."""
    issuer, target = answers.issuer, answers.target
    lines = [
        "# Doorward's configuration. Every setting: docs/guides/configuration.md. Paths are relative to this file.",
        "# Try all of it: doorward doctor. Start it: doorward serve.",
        "",
        "[gateway]",
        _line("data", answers.data),
        "",
        "# PostgreSQL clients connect here; their password is an identity token, their database the name of a target.",
        "[listen.postgres]",
        _line("address", answers.address),
        _line("port", answers.port),
        *_tls(answers, answers.address),
        "",
        "# Approvals, sessions, health and metrics.",
        "[listen.http]",
        _line("address", answers.address),
        _line("port", answers.http_port),
        *_tls(answers, answers.address, loopback_plain=answers.tls != "files"),
        "",
        "# Who says who somebody is.",
        "[[issuers]]",
        _line("url", issuer.url),
        _line("audience", issuer.audience),
        _line("groups_claim", issuer.groups_claim),
    ]
    lines += [_line("client_id", issuer.client_id)] if issuer.client_id else []
    if issuer.development:
        lines += ["development = true     # anybody at this machine can be anybody: never for real"]
        lines += [_line("algorithms", ["ES256"])]
        lines += ['agents = "issuer"      # its word makes an agent; for real: doorward agents register']
    lines += [
        "",
        "# Whoever is in this group is a program. Only people can approve.",
        "[[issuers.kinds]]",
        _line("claim", issuer.groups_claim),
        _line("equals", answers.groups.agents),
        _line("kind", "agent"),
        "",
        "[policy]",
        _line("files", ["policies/*.cedar"]),
        "",
        "[[targets]]",
        _line("name", target.name),
        _line("host", target.host),
        _line("port", target.port),
        _line("database", target.database or target.name),
        _line("user", target.user),
    ]
    if target.secret:
        lines += [_line("secret", target.secret)]
    lines += [_line("tls", target.tls)]
    if target.tls_ca:
        lines += [_line("tls_ca", target.tls_ca)]
    if target.mode == "observe":
        lines += ["# OBSERVE: what would be refused, held or masked is only recorded. NOTHING IS ENFORCED."]
    lines += [_line("mode", target.mode), ""]
    lines += ["# Which columns hold what. A labelled column, and whatever is made from it, comes back masked."]
    lines += ["[targets.labels]"]
    if target.labels:
        lines += [f"{json.dumps(column)} = {json.dumps(label)}" for column, label in target.labels.items()]
    else:
        lines += ['# "public.customers.ssn" = "ssn"']
    lines += ["", "[log]", _line("format", answers.log_format), ""]
    return "\n".join(lines)


def _tls(answers: Answers, address: str, *, loopback_plain: bool = False) -> list[str]:
    if answers.tls == "plaintext" or (loopback_plain and is_loopback(address)):
        return ["plaintext = true     # on a loopback address only"]
    if answers.tls == "files":
        return [_line("tls_cert", answers.certificate), _line("tls_key", answers.key)]
    return [_line("tls_cert", CERTIFICATE), _line("tls_key", KEY)]


def _line(name: str, value: str | int | list[str]) -> str:
    # JSON's texts, numbers and lists are TOML's as well, but for one character.
    return f"{name} = {json.dumps(value, ensure_ascii=False)}".replace("\x7f", "\\u007f")
