"""A running gateway for tests: the real program, `doorward serve`, in a process of its own (see prefork.py).

Contract: `launch(...)` is a context manager that writes a configuration, starts the gateway, waits until it listens and
ends it, also when the test fails; fixture `gateway` gives the same as a factory that belongs to one test. By default
there is one target, `shop`, which is the database of the server it is given, reached over verified TLS; one issuer, the
test's own; and a policy that allows everything but unmasking (`ALLOW_ALL`). Anything in the configuration can be replaced:

    door = gateway(policy=READ_ONLY, target={"detect": False, "labels": {"public.customers.ssn": "ssn"}})
    with psycopg.connect(door.dsn(sub="alice", groups=["agents"])) as connection: ...

`Gateway.stop` is SIGTERM, `Gateway.kill` is kill -9, `Gateway.start` may be called again on the same folder.
"""

from __future__ import annotations

import contextlib
import dataclasses
import json
import os
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import psycopg
import pytest

from tests.rig import prefork
from tests.rig.certificates import Authority, Pair
from tests.rig.issuer import AUDIENCE, LocalIssuer
from tests.rig.postgres import PostgresServer

ROOT = Path(__file__).resolve().parents[2]

DOORWARD = ("-m", "doorward")

# Everything goes through, and what is labelled or detected is masked all the same.
ALLOW_ALL = """
@id("all") permit (principal, action, resource);
@id("unknown-too") permit (principal, action == Action::"unknown", resource);
@id("masked") forbid (principal, action == Action::"unmask", resource);
"""

Table = Mapping[str, Any]


def toml(table: Table, path: tuple[str, ...] = ()) -> str:
    """A configuration as TOML: plain values first, then tables and lists of tables."""
    plain = {key: value for key, value in table.items() if not _is_table(value) and not _is_list(value)}
    lines = [f"{json.dumps(key)} = {_value(value)}" for key, value in plain.items() if value is not None]
    for key, value in table.items():
        name = ".".join(json.dumps(part) for part in (*path, key))
        if _is_table(value):
            lines += [f"\n[{name}]", toml(value, (*path, key))]
        elif _is_list(value):
            for entry in value:
                lines += [f"\n[[{name}]]", toml(entry, (*path, key))]
    return "\n".join(lines)


def _is_table(value: object) -> bool:
    return isinstance(value, Mapping)


def _is_list(value: object) -> bool:
    return isinstance(value, Sequence) and not isinstance(value, str) and bool(value) and all(map(_is_table, value))


def _value(value: object) -> str:
    return json.dumps(str(value) if isinstance(value, Path) else value)


def target_of(server: PostgresServer, folder: Path, **changes: Any) -> dict[str, Any]:
    """The table of a target `shop` that is `server`, with its password in a file of `folder`."""
    secret = folder / f"password-{server.port}"
    if not secret.exists():
        with os.fdopen(os.open(secret, os.O_WRONLY | os.O_CREAT, 0o600), "w") as file:
            file.write(server.password)
    table = {
        "name": "shop",
        "host": server.host,
        "port": server.port,
        "user": server.user,
        "database": server.database,
        "secret": f"file:{secret}",
        **({"tls": "verify-full", "tls_ca": server.ca} if server.ca else {"tls": "disable"}),
    }
    return {**table, **changes}


@dataclasses.dataclass
class Gateway:
    """One gateway: its folder, its process and what clients need to reach it."""

    folder: Path
    issuer: LocalIssuer
    ca: Path
    environment: dict[str, str]
    program: tuple[str, ...] = DOORWARD
    port: int = 0
    _process: subprocess.Popen[bytes] | prefork.Process | None = None
    _begun: int = 0  # where in the log the present process begins

    @property
    def config(self) -> Path:
        """Its configuration file."""
        return self.folder / "doorward.toml"

    @property
    def data(self) -> Path:
        """Its data directory."""
        return self.folder / "data"

    @property
    def log(self) -> Path:
        """What it wrote on standard output and error."""
        return self.folder / "gateway.log"

    @property
    def pid(self) -> int:
        """The process."""
        assert self._process is not None
        return self._process.pid

    @property
    def http_port(self) -> int:
        """Where its HTTP listener is."""
        return self._listening("http")

    def start(self, *, patience: float = 30.0) -> Gateway:
        """Start it and wait until it takes connections. RuntimeError with its log if it does not."""
        self._begun = self.log.stat().st_size if self.log.exists() else 0
        with self.log.open("ab") as sink:
            arguments = ("serve", "--config", self.config)
            if self.program == DOORWARD:
                self._process = prefork.start(arguments, folder=self.folder, environment=self.environment, output=sink)
            else:
                self._process = subprocess.Popen(
                    [sys.executable, *self.program, *arguments], cwd=self.folder, env=self.environment,
                    stdin=subprocess.DEVNULL, stdout=sink, stderr=subprocess.STDOUT,
                )  # fmt: skip
        limit = time.monotonic() + patience
        while not (self._listening("postgres") and self._listening("http")):
            if self._process.poll() is not None or time.monotonic() > limit:
                self.kill()
                raise RuntimeError(f"the gateway did not start:\n{self.log.read_text(errors='replace')[-4000:]}")
            time.sleep(0.02)
        self.port = self._listening("postgres")
        while True:  # its HTTP port is known a moment before anybody answers there
            with contextlib.suppress(OSError), socket.create_connection(("127.0.0.1", self.http_port), timeout=5):
                return self
            if time.monotonic() > limit:
                raise RuntimeError(f"nobody answers at its HTTP port:\n{self.log.read_text(errors='replace')[-4000:]}")
            time.sleep(0.01)

    def stop(self, *, patience: float = 40.0) -> int:
        """SIGTERM; its exit code. Killed if it does not end."""
        if self._process is None:
            return 0
        self._process.terminate()
        try:
            return self._process.wait(patience)
        except subprocess.TimeoutExpired:
            self.kill()
            raise

    def kill(self) -> None:
        """kill -9."""
        if self._process is not None:
            self._process.kill()
            self._process.wait()

    def reload(self) -> None:
        """SIGHUP: read the policies again."""
        os.kill(self.pid, signal.SIGHUP)

    def events(self) -> list[dict[str, Any]]:
        """The lines of its log, of all its lives."""
        found = []
        for line in self.log.read_text(errors="replace").splitlines():
            with contextlib.suppress(ValueError):
                entry = json.loads(line)
                if isinstance(entry, dict):
                    found.append(entry)
        return found

    def cli(self, *arguments: str | Path, token: str = "") -> subprocess.CompletedProcess[str]:
        """`doorward ARGUMENTS --config ...`, with `token` where the command looks for one."""
        command = [*arguments, "--config", self.config]
        environment = {**self.environment, **({"DOORWARD_TOKEN": token} if token else {})}
        with tempfile.TemporaryFile() as output, tempfile.TemporaryFile() as errors:
            process = prefork.start(command, folder=self.folder, environment=environment, output=output, errors=errors)
            try:
                code = process.wait(60)
            finally:
                process.kill()
            said = []
            for stream in (output, errors):
                stream.seek(0)
                said.append(stream.read().decode())
            return subprocess.CompletedProcess(command, code, *said)

    def token(self, **claims: Any) -> str:
        """A token of the test's issuer: subject alice unless `sub` says otherwise, `groups` and other claims as given."""
        return self.issuer.mint(**claims)

    def keywords(self, target: str = "shop", *, token: str = "", **claims: Any) -> dict[str, str]:
        """libpq's connection keywords for an identity with these claims (or this token)."""
        return {
            "host": "localhost",
            "hostaddr": "127.0.0.1",
            "port": str(self.port),
            "user": "whoever",
            "password": token or self.token(**claims),
            "dbname": target,
            "sslmode": "verify-full",
            "sslrootcert": str(self.ca),
            "connect_timeout": "20",
        }

    def dsn(self, target: str = "shop", *, token: str = "", **claims: Any) -> str:
        """The same as a connection string of libpq."""
        return psycopg.conninfo.make_conninfo(**self.keywords(target, token=token, **claims))

    def connect(self, target: str = "shop", *, token: str = "", **claims: Any) -> psycopg.Connection:
        """A connection of psycopg in autocommit mode."""
        return psycopg.connect(self.dsn(target, token=token, **claims), autocommit=True)

    def _listening(self, protocol: str) -> int:
        with self.log.open("rb") as log:
            log.seek(self._begun)
            for line in log.read().splitlines():
                if b"listener.opened" in line:
                    with contextlib.suppress(ValueError):
                        entry = json.loads(line)
                        if entry.get("event") == "listener.opened" and entry.get("protocol") == protocol:
                            return int(entry["port"])
        return 0


def prepare(
    folder: Path,
    issuer: LocalIssuer,
    targets: Sequence[Table],
    *,
    policy: str = ALLOW_ALL,
    certificate: Pair | None = None,
    ca: Path | None = None,
    environment: Mapping[str, str] | None = None,
    program: tuple[str, ...] = DOORWARD,
    **sections: Table,
) -> Gateway:
    """Write a gateway's folder; `sections` replace or extend tables of its configuration (`limits={"hold": "1m"}`)."""
    folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    if certificate is None or ca is None:
        authority = Authority(folder)
        certificate, ca = authority.issue("gateway"), authority.ca
    (folder / "policy.cedar").write_text(policy)
    tables: dict[str, Any] = {
        "gateway": {"data": "data", "drain": "5s"},
        "listen": {
            "postgres": {"port": 0, "tls_cert": certificate.certificate, "tls_key": certificate.key},
            "http": {"port": 0, "plaintext": True},
        },
        "issuers": [{"url": issuer.url, "audience": AUDIENCE, "development": True, "agents": "issuer"}],
        "policy": {"files": ["policy.cedar"]},
        "targets": list(targets),
        # Tests say which columns are labelled; what names say is tried where that is the question.
        "masking": {"column_names": "propose"},
    }
    for name, section in sections.items():
        before = tables.get(name)
        tables[name] = {**before, **section} if isinstance(before, dict) else section
    (folder / "doorward.toml").write_text(toml(tables) + "\n")
    base = {key: value for key, value in os.environ.items() if not key.startswith("DOORWARD_")}
    return Gateway(
        folder,
        issuer,
        ca,
        {**base, "PYTHONPATH": os.pathsep.join([str(ROOT / "src"), str(ROOT)]), **(environment or {})},
        program,
    )


@contextlib.contextmanager
def launch(
    folder: Path,
    issuer: LocalIssuer,
    server: PostgresServer,
    *,
    target: Table | None = None,
    targets: Sequence[Table] | None = None,
    **rest: Any,
) -> Iterator[Gateway]:
    """A running gateway before `server`. `target` changes the one target; `targets` replaces all of them."""
    folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    wanted = targets if targets is not None else [target_of(server, folder, **(target or {}))]
    door = prepare(folder, issuer, wanted, **rest)
    try:
        yield door.start()
    finally:
        door.kill()


@pytest.fixture
def gateway(tmp_path: Path, postgres: PostgresServer, local_issuer: LocalIssuer) -> Iterator[Callable[..., Gateway]]:
    """A factory of running gateways before the shared PostgreSQL (or `server=`); they end with the test."""
    with contextlib.ExitStack() as stack:
        count = 0

        def make(server: PostgresServer = postgres, **rest: Any) -> Gateway:
            nonlocal count
            count += 1
            return stack.enter_context(launch(tmp_path / f"gateway{count}", local_issuer, server, **rest))

        yield make
