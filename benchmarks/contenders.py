"""What is measured side by side: nothing in between, a TCP relay, a pooler, and Doorward in its settings.

Contract: a `Contender` is started once, in a process of its own, and measured through `port` with `user`, `password` and
`database`; `pid` is the process whose CPU and memory count (0: there is none). All speak plaintext on loopback: TLS
would cost each of them the same, and would hide what differs. All run with one worker.
"""

from __future__ import annotations

import contextlib
import os
import shutil
import socket
import subprocess
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from doorward.masking.detect import DETECTORS
from tests.rig import gateway, shared
from tests.rig.issuer import LocalIssuer
from tests.rig.postgres import PostgresServer

USER = "app_trust"
# Reading, and nothing unmasked: what is measured is what an agent gets.
READERS = """
@id("connect") permit (principal in Group::"agents", action == Action::"connect", resource);
@id("read") permit (principal in Group::"agents", action == Action::"read", resource);
"""
_PATH = os.environ.get("PATH", os.defpath) + ":/usr/sbin:/sbin"


@dataclass
class Contender:
    """Directly to the server: the base of the others."""

    name: str
    server: PostgresServer
    folder: Path
    port: int = 0
    pid: int = 0
    user: str = USER
    password: str = ""
    database: str = "bench"

    @contextlib.contextmanager
    def running(self) -> Iterator[None]:
        """Start it, and end it."""
        self.port = self.server.port
        yield

    def refresh(self) -> None:
        """Called before each measurement: what expires is renewed."""


class Relay(Contender):
    """haproxy in TCP mode: what it costs to have any process in between."""

    @contextlib.contextmanager
    def running(self) -> Iterator[None]:
        """Start haproxy."""
        self.port = shared.free_port()
        self.folder.mkdir(parents=True)
        config = self.folder / "haproxy.cfg"
        config.write_text(
            "global\n  nbthread 1\n  maxconn 4000\n"
            "defaults\n  mode tcp\n  timeout connect 5s\n  timeout client 1h\n  timeout server 1h\n"
            f"listen postgres\n  bind 127.0.0.1:{self.port}\n  option tcp-smart-accept\n"
            f"  server one 127.0.0.1:{self.server.port}\n"
        )
        with _process(self, [_program("haproxy"), "-db", "-f", config]):
            yield


class Pooler(Contender):
    """pgbouncer with session pooling: the only mode that keeps every feature, as Doorward does."""

    @contextlib.contextmanager
    def running(self) -> Iterator[None]:
        """Start pgbouncer, which refuses to be root."""
        self.port = shared.free_port()
        self.folder.mkdir(parents=True, mode=0o755)
        config, users = self.folder / "pgbouncer.ini", self.folder / "users.txt"
        users.write_text(f'"{self.user}" ""\n')
        config.write_text(
            f"[databases]\nbench = host=127.0.0.1 port={self.server.port} dbname=bench\n"
            f"[pgbouncer]\nlisten_addr = 127.0.0.1\nlisten_port = {self.port}\nunix_socket_dir =\n"
            f"auth_type = trust\nauth_file = {users}\npool_mode = session\nmax_client_conn = 4000\n"
            "default_pool_size = 2000\nserver_reset_query =\nlog_connections = 0\nlog_disconnections = 0\n"
            "listen_backlog = 2048\n"
        )
        user = shared.unprivileged()
        with _process(self, [_program("pgbouncer"), *(["-u", user] if user else []), config]):
            yield


@dataclass
class Doorward(Contender):
    """The gateway as a user would run it: identity, policy, classification, masking with every detector, and record,
    all on.

    `target` changes the target's table, as in `durability`; `issuer` signs the clients' tokens; `compiled` is where the
    package stands with its hot modules compiled (None: it runs interpreted).
    """

    issuer: LocalIssuer | None = None
    target: dict[str, Any] = field(default_factory=dict)
    policy: str = READERS
    compiled: Path | None = None

    @contextlib.contextmanager
    def running(self) -> Iterator[None]:
        """Start the gateway."""
        assert self.issuer is not None
        self.folder.mkdir(parents=True, mode=0o700)
        table = gateway.target_of(self.server, self.folder, name="bench", database="bench", **self.target)
        door = gateway.prepare(
            self.folder,
            self.issuer,
            [table],
            policy=self.policy,
            masking={"detectors": [detector.name for detector in DETECTORS]},
            environment={"PYTHONPATH": os.pathsep.join([str(self.compiled), str(gateway.ROOT)])} if self.compiled else {},
            listen={"postgres": {"port": 0, "plaintext": True}, "http": {"port": 0, "plaintext": True}},
            limits={"connections": 4000, "connections_per_target": 4000, "connections_per_identity": 4000},
        )
        try:
            door.start()
            self.port, self.pid = door.port, door.pid
            yield
            if (code := door.stop()) != 0:
                raise RuntimeError(f"{self.name} ended with {code}: {door.log.read_text(errors='replace')[-2000:]}")
        finally:
            door.kill()

    def refresh(self) -> None:
        """A token lives for ten minutes, a session longer."""
        assert self.issuer is not None
        self.password = self.issuer.mint(sub="bench", groups=["agents"])


def _program(name: str) -> str:
    found = shutil.which(name, path=_PATH)
    if found is None:
        raise SystemExit(f"missing: {name} (on Debian: apt install {name}; `make bench` does, where it may)")
    return found


@contextlib.contextmanager
def _process(contender: Contender, command: list[str | Path]) -> Iterator[None]:
    with (contender.folder / "log").open("wb") as sink:
        process = subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=sink, stderr=subprocess.STDOUT)
    contender.pid = process.pid
    try:
        limit = time.monotonic() + 10
        while True:
            try:
                socket.create_connection(("127.0.0.1", contender.port), timeout=1).close()
                break
            except OSError:
                if process.poll() is not None or time.monotonic() > limit:
                    log = (contender.folder / "log").read_text(errors="replace")
                    raise RuntimeError(f"{contender.name} did not start: {log[-2000:]}") from None
                time.sleep(0.05)
        yield
    finally:
        process.terminate()
        try:
            process.wait(5)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()
