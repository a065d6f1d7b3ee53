"""`doorward init`: a few questions, and a configuration that starts.

Contract: every question has a flag, and without a terminal, or with `--yes`, nothing is asked: what is neither given nor
has a default is a ConfigError that names the flag. A password is read from a terminal without showing it, or from
standard input with `--password-stdin`, and goes into the vault; it is never an argument. Nothing that exists is
overwritten without `--force`.
"""

from __future__ import annotations

import getpass
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Annotated, Literal

from cyclopts import Parameter

from doorward.adapters.identity.settings import is_loopback
from doorward.adapters.secrets.vault import MAX_VALUE
from doorward.cli.first_config import CERTIFICATE, CONFIG, POLICY, Answers, FirstTarget, Groups, Issuer, write
from doorward.errors import ConfigError

Flag = Annotated[bool, Parameter(negative="")]


def init(
    folder: Path = Path("."),
    /,
    *,
    issuer: str = "",
    audience: str = "",
    client_id: str = "",
    groups_claim: str = "",
    development: Flag = False,
    agents: str = "",
    people: str = "",
    approvers: str = "",
    admins: str = "",
    target: str = "",
    host: str = "",
    port: int = 5432,
    database: str = "",
    user: str = "",
    secret: str = "",
    password_stdin: Flag = False,
    target_tls: Literal["disable", "require", "verify-full"] | None = None,
    target_ca: str = "",
    mode: Literal["enforce", "observe"] | None = None,
    label: Annotated[tuple[str, ...], Parameter(negative="")] = (),
    data: str = "data",
    listen: str = "127.0.0.1",
    listen_port: int = 7432,
    http_port: int = 7480,
    tls: Literal["self-signed", "plaintext", "files"] | None = None,
    tls_cert: str = "",
    tls_key: str = "",
    yes: Flag = False,
    force: Flag = False,
) -> int:
    """Write a first configuration: issuer, groups, first target, policy. Asks for what is not given, on a terminal.

    Parameters
    ----------
    folder
        Where to write it.
    issuer
        URL of the OpenID Connect issuer whose tokens are accepted.
    audience
        What the tokens' `aud` must hold. Default: doorward.
    client_id
        This deployment's client at the issuer, for `doorward token`.
    groups_claim
        The claim that lists a principal's groups. Default: groups.
    development
        The issuer is a development issuer, over http on loopback. Never for real.
    agents
        The issuer's group of agents. Default: agents.
    people
        The issuer's group of people who may use targets. Default: people.
    approvers
        The group whose members approve. Default: approvers.
    admins
        The group whose members administer. Default: admins.
    target
        The first target's name: what clients ask for as their database.
    host
        Where it is.
    port
        The port it listens on.
    database
        The database to connect to. Default: the target's name.
    user
        The role that the gateway logs in as.
    secret
        Where its password is: vault:NAME, file:/path, env:NAME. Default: the vault, under the target's name.
    password_stdin
        Read the password for the vault from standard input.
    target_tls
        How to reach it. Default: verify-full.
    target_ca
        Authorities (PEM) to trust for its TLS, instead of the system's.
    mode
        observe records what would have happened and enforces nothing. Default: enforce.
    label
        A confidential column, as schema.table.column=label. May be repeated.
    data
        The data directory, relative to the folder.
    listen
        The address to listen on.
    listen_port
        The port for PostgreSQL clients.
    http_port
        The port for approvals, health and metrics.
    tls
        TLS of the gateway's own listeners. Default: self-signed, for localhost.
    tls_cert
        Certificate chain (PEM), with --tls files.
    tls_key
        Its private key (PEM).
    yes
        Ask nothing, take the defaults.
    force
        Replace a configuration that is there already.
    """
    if not force and any((folder / name).exists() for name in (CONFIG, POLICY)):
        raise ConfigError(
            f"{folder / CONFIG} is there already", hint="say --force to replace it, or choose another folder"
        )
    ask = _asking() if sys.stdin.isatty() and not yes and not password_stdin else _taking
    if tls_cert or tls_key:
        tls = tls or "files"
    said_issuer = ask(issuer, "--issuer", "URL of your OpenID Connect issuer", "")
    if said_issuer.startswith("http://") and not development:
        raise ConfigError(
            f"--issuer {said_issuer} is not https; whoever is on the way could hand out keys of their own",
            hint="use https; --development allows http on loopback, for trying things out only",
        )
    name = ask(target, "--target", "Name of the first target (clients ask for it as their database)", "")
    answers = Answers(
        issuer=Issuer(
            url=said_issuer,
            audience=ask(audience, "--audience", "Audience that its tokens have for this gateway", "doorward"),
            client_id=ask(client_id, "--client-id", "Client id for `doorward token` (may be empty)", " ").strip(),
            groups_claim=ask(groups_claim, "--groups-claim", "Claim that lists groups", "groups"),
            development=development,
        ),
        groups=Groups(
            agents=ask(agents, "--agents", "Group of agents", "agents"),
            people=ask(people, "--people", "Group of people who may use targets", "people"),
            approvers=ask(approvers, "--approvers", "Group of people who approve", "approvers"),
            admins=ask(admins, "--admins", "Group of administrators", "admins"),
        ),
        target=FirstTarget(
            name=name,
            host=ask(host, "--host", f"Host of {name}", ""),
            port=_number(ask(str(port) if port != 5432 else "", "--port", "Its port", "5432")),
            database=ask(database, "--database", "Its database", name),
            user=ask(user, "--user", "Role that the gateway logs in as there", ""),
            secret=ask(secret, "--secret", "Where that role's password is (vault:, file:, env:)", f"vault:{name}"),
            tls=ask(target_tls or "", "--target-tls", "TLS to it (verify-full, require, disable)", "verify-full"),
            tls_ca=target_ca,
            mode=ask(mode or "", "--mode", "Mode (enforce, or observe: only record what would happen)", "enforce"),
            labels=dict(_label(text) for text in label),
        ),
        data=data, address=listen, port=listen_port, http_port=http_port, certificate=tls_cert, key=tls_key,
        tls=tls or "self-signed",
    )  # fmt: skip
    password = _password(answers, password_stdin, asking=ask is not _taking)
    config = write(folder, answers, password=password, force=force)
    _say(config, answers, with_password=bool(password))
    return 0


Ask = Callable[[str, str, str, str], str]


def _taking(given: str, flag: str, _question: str, default: str) -> str:
    if not (given or default):
        raise ConfigError(f"{flag} is missing", hint="there is nobody to ask: give every flag that has no default")
    return given or default


def _asking() -> Ask:
    print("A first configuration for Doorward. Enter takes what is in [brackets].\n", file=sys.stderr)

    def ask(given: str, _flag: str, question: str, default: str) -> str:
        while not given:
            shown = f" [{default}]" if default.strip() else ""
            try:
                print(f"{question}{shown}: ", end="", file=sys.stderr, flush=True)
                given = input().strip() or default
            except EOFError:
                raise ConfigError("the answers ended early", hint="nothing was written") from None
        return given

    return ask


def _number(text: str) -> int:
    if not (text.isascii() and text.isdigit()):
        raise ConfigError(f"{text[:40]!r} is no port", hint="a port is a whole number from 1 to 65535")
    return int(text)


def _label(text: str) -> tuple[str, str]:
    column, equals, label = text.partition("=")
    if not equals:
        raise ConfigError(f"--label {text}: it names no label", hint="write it as public.customers.ssn=ssn")
    return column, label


def _password(answers: Answers, from_stdin: bool, *, asking: bool) -> bytes:
    """What goes into the vault; empty if the secret is elsewhere or will be stored later."""
    if not answers.target.secret.startswith("vault:"):
        return b""
    if from_stdin:
        return sys.stdin.buffer.read(MAX_VALUE + 2).removesuffix(b"\n").removesuffix(b"\r")
    if asking:
        return getpass.getpass(f"Password of {answers.target.user} (kept in the vault; empty: later): ").encode()
    return b""


def _say(config: Path, answers: Answers, *, with_password: bool) -> None:
    place = "" if config == Path(CONFIG) else f" --config {config}"
    lines = [f"{config} is written, and so is {config.parent / POLICY}: what is allowed to whom. Read it."]
    if answers.tls == "self-signed":
        lines.append(
            f"{config.parent / CERTIFICATE} is a self-signed certificate, good for localhost only: clients on this machine\n"
            "verify it with sslrootcert. Others need one of your own authority (listen.postgres.tls_cert)."
        )
    if answers.tls == "plaintext" or (answers.tls == "self-signed" and is_loopback(answers.address)):
        what = "Both listeners speak" if answers.tls == "plaintext" else "The HTTP listener speaks"
        lines.append(f"{what} plaintext, which is accepted on a loopback address only.")
    if answers.target.mode == "observe":
        lines.append(f"OBSERVE MODE: nothing is refused, held or masked at {answers.target.name}; it is only recorded.")
    if not answers.target.labels:
        lines.append("No column is labelled yet: [targets.labels]. Until then only detected values are masked.")
    lines += ["", "Next:"]
    scheme, _, name = answers.target.secret.partition(":")
    if scheme == "vault" and not with_password:
        lines.append(f"  doorward secrets set {name}{place}")
    lines += [f"  doorward doctor{place}", f"  doorward serve{place}"]
    connection = f"host=localhost port={answers.port} dbname={answers.target.name} user=me"
    connection += {
        "self-signed": f" sslmode=verify-full sslrootcert={config.parent / CERTIFICATE}", "files": " sslmode=verify-full"
    }.get(answers.tls, " sslmode=disable")  # fmt: skip
    lines.append(f'  PGPASSWORD=$(doorward token{place}) psql "{connection}"')
    print("\n".join(lines))
