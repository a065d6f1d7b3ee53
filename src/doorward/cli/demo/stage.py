"""Everything that the demonstration needs, running: the shop, the development issuer and the gateway itself.

Contract: `set_up(folder)` yields a Stage and takes everything down again, whatever happens. The gateway is the real
program in a process of its own, started from what `doorward init` writes. Identities exist as tokens in files that only
this user may read, as an agent runtime would mount them.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import signal
import subprocess
import sys
import threading
import time
import urllib.error
import urllib.request
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat

from doorward.adapters.identity.development import DevelopmentIssuer, Person, bind, serve
from doorward.cli.certificate import write_new
from doorward.cli.demo import postgres
from doorward.cli.first_config import CERTIFICATE, Answers, FirstTarget, Issuer, write
from doorward.errors import UpstreamError
from doorward.ledger.sshsig import ed25519
from doorward.model import Kind

AGENT, APPROVER = "refund-bot", "dana"
KEY = f"ssh/{APPROVER}.pub"  # of the approver
LABELS = {"public.customers.ssn": "ssn", "public.customers.card": "card"}
_HOUR = 3600  # a token that lasts longer is good for nothing (the first policy)
_PATIENCE = 40.0


@dataclass(slots=True)
class Stage:
    """Where everything is."""

    folder: Path
    shop: postgres.Shop
    issuer: DevelopmentIssuer
    port: int
    http_port: int
    gateway: Gateway

    @property
    def data(self) -> Path:
        """The gateway's data directory."""
        return self.folder / "data"

    def connection(self) -> dict[str, str]:
        """libpq's keywords for the agent, without its token."""
        return {
            "host": "localhost", "port": str(self.port), "dbname": postgres.DATABASE, "user": AGENT,
            "sslmode": "verify-full", "sslrootcert": CERTIFICATE,
        }  # fmt: skip

    def token(self, name: str) -> str:
        """The token of the agent or of the approver."""
        return (self.folder / "tokens" / name).read_text()

    def doorward(self, *arguments: str, as_: str = "") -> subprocess.CompletedProcess[str]:
        """The command line, in the demonstration's folder, with somebody's token."""
        environment = {**os.environ, "NO_COLOR": "1", "COLUMNS": "100"}
        if as_:
            environment["DOORWARD_TOKEN_FILE"] = f"tokens/{as_}"
        return subprocess.run(
            [sys.executable, "-m", "doorward", *arguments], cwd=self.folder, env=environment, stdin=subprocess.DEVNULL,
            capture_output=True, text=True, errors="replace", timeout=60, check=False,
        )  # fmt: skip


class Gateway:
    """The gateway's process."""

    def __init__(self, folder: Path, http_port: int) -> None:
        self._log = folder / "gateway.log"
        with self._log.open("ab") as sink:
            self._process = subprocess.Popen(
                [sys.executable, "-m", "doorward", "serve", "--config", "doorward.toml"],
                cwd=folder, stdin=subprocess.DEVNULL, stdout=sink, stderr=subprocess.STDOUT, start_new_session=True,
            )  # fmt: skip
        self._ready = f"http://127.0.0.1:{http_port}/readyz"

    @property
    def running(self) -> bool:
        """Whether the process lives."""
        return self._process.poll() is None

    def wait(self) -> None:
        """Until it takes sessions. Raises UpstreamError with the last of its log."""
        limit = time.monotonic() + _PATIENCE
        direct = urllib.request.build_opener(urllib.request.ProxyHandler({}))
        while True:
            with contextlib.suppress(OSError, urllib.error.URLError), direct.open(self._ready, timeout=2):
                return
            if not self.running or time.monotonic() > limit:
                raise UpstreamError("the gateway does not start", hint=self.log_tail())
            time.sleep(0.05)

    def log_tail(self) -> str:
        """The last lines of its log."""
        return "\n".join(self._log.read_text(errors="replace").strip().splitlines()[-8:])

    def stop(self) -> int:
        """SIGTERM, which drains; its exit code."""
        if self.running:
            self._process.send_signal(signal.SIGTERM)
        try:
            return self._process.wait(15)
        except subprocess.TimeoutExpired:
            self._process.kill()
            return self._process.wait()


@contextlib.contextmanager
def set_up(folder: Path, *, ports: Sequence[int] = (0, 0)) -> Iterator[Stage]:
    """Everything running below `folder`, which is empty. `ports` are the gateway's, if they are free."""
    with contextlib.ExitStack() as stack:
        shop = stack.enter_context(postgres.running(folder))
        issuer = stack.enter_context(_issuer())
        port, http_port = (postgres.free_port(wanted) for wanted in ports)
        answers = Answers(
            issuer=Issuer(url=issuer.url, audience=issuer.audience, client_id="doorward", development=True),
            target=FirstTarget(
                name=postgres.DATABASE, host="127.0.0.1", port=shop.port, user=postgres.ROLE, secret="vault:shop",  # noqa: S106  # where it is
                tls="disable", labels=LABELS,
            ),
            port=port, http_port=http_port,
        )  # fmt: skip
        write(folder, answers, password=shop.role_password.encode())
        agent = issuer.issue(AGENT, ["agents"], Kind.AGENT)
        approver = issuer.issue(APPROVER, ["people", "approvers", "admins"])
        for name, token in ((AGENT, agent), (APPROVER, approver)):
            write_new(folder / "tokens" / name, token.encode(), 0o600)
        _make_key(folder / KEY)
        gateway = Gateway(folder, http_port)
        stack.callback(gateway.stop)
        gateway.wait()
        yield Stage(folder, shop, issuer, port, http_port, gateway)


def _make_key(public: Path) -> None:
    """An SSH key of the approver's, as `ssh-keygen -t ed25519` would make it."""
    key = Ed25519PrivateKey.generate()
    write_new(public.with_suffix(""), key.private_bytes(Encoding.PEM, PrivateFormat.OpenSSH, NoEncryption()), 0o600)
    write_new(public, (ed25519(key.public_key().public_bytes_raw()).line + "\n").encode(), 0o644)


@contextlib.contextmanager
def _issuer() -> Iterator[DevelopmentIssuer]:
    """The development issuer, in a thread of this process."""
    listening = bind(0)
    issuer = DevelopmentIssuer(
        f"http://127.0.0.1:{listening.getsockname()[1]}",
        i_know_this_is_a_development_issuer=True,
        people=[Person(APPROVER, ("people", "approvers", "admins")), Person("erin", ("people",))],
        lifetime=_HOUR,
    )
    loop = asyncio.new_event_loop()
    serving = loop.create_task(serve(issuer, listening))

    def run() -> None:
        with contextlib.suppress(asyncio.CancelledError):
            loop.run_until_complete(serving)
        loop.close()

    thread = threading.Thread(target=run, name="issuer")
    thread.start()
    try:
        yield issuer
    finally:
        loop.call_soon_threadsafe(serving.cancel)
        thread.join(10)
