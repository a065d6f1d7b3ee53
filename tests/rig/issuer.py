"""Issuers for tests: one that serves and signs whatever a test wants, and a real one.

`LocalIssuer` is an HTTP server on loopback with a discovery document and a JWK Set that a test may bend, and a
`mint` for tokens that no provider would make. `issuer` is a fixture with panva's oidc-provider under Node; register it
with `from tests.rig.issuer import issuer`.
"""

from __future__ import annotations

import asyncio
import base64
import contextlib
import json
import shutil
import socket
import ssl
import subprocess
import threading
import time
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from fcntl import LOCK_EX, flock
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any
from urllib.parse import parse_qsl

import pytest
from joserfc.jwk import ECKey, Key, OKPKey, RSAKey
from joserfc.jws import JWSRegistry

from doorward.adapters.identity import development
from doorward.adapters.identity.development import Client, DevelopmentIssuer, Person
from doorward.adapters.identity.oidc import IssuerSettings
from tests.rig import shared
from tests.rig.certificates import Pair

AUDIENCE = "doorward"
NODE = Path(__file__).parent.parent / "e2e" / "issuer"


def rsa_key(kid: str = "k1", size: int = 2048) -> RSAKey:
    return RSAKey.generate_key(size, parameters={"kid": kid})


def ec_key(kid: str = "k1") -> ECKey:
    return ECKey.generate_key("P-256", parameters={"kid": kid})


def ed_key(kid: str = "k1") -> OKPKey:
    return OKPKey.generate_key("Ed25519", parameters={"kid": kid})


def b64(value: object) -> str:
    """base64url of bytes, or of a value's JSON."""
    raw = value if isinstance(value, bytes) else json.dumps(value).encode()
    return base64.urlsafe_b64encode(raw).rstrip(b"=").decode()


class LocalIssuer:
    """An issuer on loopback, with TLS if there is a certificate for it. `keys` are what its JWK Set holds; `discovery`
    and `jwks`, if set, are served instead of what belongs there; `status` other than 200 is the answer to everything;
    `requests` counts paths. `token_answer` is what the token endpoint says, and `forms` what it was asked."""

    def __init__(self, tls: Pair | None = None) -> None:
        self._tls = tls
        self.since = int(time.time())
        self.keys: list[Key] = [ec_key()]
        self.discovery: dict[str, Any] | bytes | None = None
        self.jwks: dict[str, Any] | bytes | None = None
        self.status = 200
        self.delay = 0.0
        self.requests: Counter[str] = Counter()
        self.token_answer: tuple[int, dict[str, Any]] = (400, {"error": "invalid_grant"})
        self.forms: list[dict[str, str]] = []
        self.authorizations: list[str] = []
        self._server: ThreadingHTTPServer | None = None
        self._port = 0
        self.up()

    def up(self) -> None:
        issuer = self

        class Handler(BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                issuer.requests[self.path] += 1
                time.sleep(issuer.delay)
                body = issuer.answer(self.path)
                self.send_response(issuer.status)
                if issuer.status == 302:
                    self.send_header("location", f"{issuer.url}/jwks")
                self.send_header("content-type", "application/json")
                self.send_header("content-length", str(len(body)))
                self.end_headers()
                with contextlib.suppress(ConnectionError):  # whoever asked may be dead by now
                    self.wfile.write(body)

            def do_POST(self) -> None:
                form = self.rfile.read(int(self.headers["content-length"])).decode()
                issuer.forms.append(dict(parse_qsl(form)))
                if self.headers["authorization"]:
                    issuer.authorizations.append(self.headers["authorization"])
                status, given = issuer.token_answer
                body = json.dumps(given).encode()
                self.send_response(status)
                self.send_header("content-type", "application/json")
                self.send_header("content-length", str(len(body)))
                self.end_headers()
                self.wfile.write(body)

            def log_message(self, *_: object) -> None:
                """Silence."""

        self._server = ThreadingHTTPServer(("127.0.0.1", self._port), Handler)
        self._port = self._server.server_address[1]
        if self._tls is not None:
            terms = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
            terms.load_cert_chain(self._tls.certificate, self._tls.key)
            self._server.socket = terms.wrap_socket(self._server.socket, server_side=True)
        threading.Thread(target=self._server.serve_forever, args=(0.02,), daemon=True).start()

    def down(self) -> None:
        if self._server is not None:
            self._server.shutdown()
            self._server.server_close()
            self._server = None

    @property
    def url(self) -> str:
        return f"{'https' if self._tls else 'http'}://127.0.0.1:{self._port}"

    @property
    def fetches(self) -> int:
        return self.requests["/jwks"]

    def answer(self, path: str) -> bytes:
        document: dict[str, Any] | bytes
        if path == "/.well-known/openid-configuration":
            document = self.discovery or {"issuer": self.url, "jwks_uri": f"{self.url}/jwks"}
        else:
            document = self.jwks or {"keys": [key.as_dict(private=False) for key in self.keys]}
        return document if isinstance(document, bytes) else json.dumps(document).encode()

    def settings(self, **changes: Any) -> IssuerSettings:
        return IssuerSettings(**{"url": self.url, "audience": (AUDIENCE,), "development": True, **changes})

    def claims(self, **changes: Any) -> dict[str, Any]:
        """Sound claims of an access token, with `changes`; a change to None takes the claim away."""
        now = int(time.time())
        claims = {
            "iss": self.url,
            "aud": AUDIENCE,
            "sub": "alice",
            "client_id": "cli",
            "jti": "token-1",
            "iat": self.since,  # one moment for all: of two tokens of one second apart the newer would be believed
            "exp": now + 600,
            **changes,
        }
        return {name: value for name, value in claims.items() if value is not None}

    def mint(
        self, header: dict[str, Any] | None = None, *, key: Key | None = None, raw: bytes | None = None, **changes: Any
    ) -> str:
        """A token. `header` changes its header (None takes away), `changes` its claims; `raw` is another payload."""
        key = key or self.keys[0]
        algorithm = {"RSA": "RS256", "EC": "ES256", "OKP": "Ed25519", "oct": "HS256"}[key.key_type]
        full = {"alg": algorithm, "typ": "at+jwt", "kid": key.kid, **(header or {})}
        full = {name: value for name, value in full.items() if value is not None}
        payload = raw if raw is not None else json.dumps(self.claims(**changes)).encode()
        # joserfc's own serializer would refuse some of these headers
        signing_input = f"{b64(full)}.{b64(payload)}"
        return f"{signing_input}.{b64(JWSRegistry.algorithms[full['alg']].sign(signing_input.encode(), key))}"


@pytest.fixture
def local_issuer() -> Iterator[LocalIssuer]:
    local = LocalIssuer()
    yield local
    local.down()


@pytest.fixture
def development_issuer() -> Iterator[DevelopmentIssuer]:
    """The built-in development issuer, served as it is for the demo, in a thread of its own."""
    listening = development.bind()
    served = DevelopmentIssuer(
        f"http://127.0.0.1:{listening.getsockname()[1]}",
        i_know_this_is_a_development_issuer=True,
        people=[Person("alice", ("dba", "staff")), Person("bob")],
        clients=[Client("robot", "robot-secret", ("agents",))],
    )
    loop = asyncio.new_event_loop()
    task = loop.create_task(development.serve(served, listening))

    def run() -> None:
        with contextlib.suppress(asyncio.CancelledError):
            loop.run_until_complete(task)
        loop.run_until_complete(loop.shutdown_asyncgens())
        loop.close()

    thread = threading.Thread(target=run)
    thread.start()
    limit = time.monotonic() + 10
    while True:
        try:
            socket.create_connection(listening.getsockname()[:2], timeout=1).close()
            break
        except OSError:
            assert time.monotonic() < limit
            time.sleep(0.01)
    yield served
    loop.call_soon_threadsafe(task.cancel)
    thread.join(10)
    assert not thread.is_alive()


@dataclass(frozen=True, slots=True)
class RealIssuer:
    """A running oidc-provider. Its client `agent` (secret below) has client credentials; `cli` is public and has the
    device flow; `web` is public and has the code flow, at any port of localhost; `short` is like `agent` with tokens that
    live one second; logins are by any name, with any password, and the groups of `alice` and `erin` are dba and staff."""

    url: str

    AGENT_SECRET = "agent-secret-agent-secret-agent-secret"  # of a provider that lives for one test run

    def settings(self, **changes: Any) -> IssuerSettings:
        return IssuerSettings(**{"url": self.url, "audience": (AUDIENCE,), "development": True, **changes})


def install() -> Path:
    """oidc-provider's modules, by `npm ci` from the lock file, once for each state of that file."""
    node, npm = shutil.which("node"), shutil.which("npm")
    if node is None or npm is None:
        pytest.fail("these tests need Node 20 or newer and npm: apt-get install nodejs npm")
    modules, lock_file = NODE / "node_modules", NODE / "package-lock.json"
    wanted = lock_file.read_bytes()
    done = modules / ".doorward-lock"
    cache = NODE.parents[2] / ".cache"
    cache.mkdir(exist_ok=True)
    with (cache / "issuer.lock").open("w") as lock:
        flock(lock, LOCK_EX)  # test processes side by side install once
        if not done.exists() or done.read_bytes() != wanted:
            subprocess.run(
                [npm, "ci", "--prefix", str(NODE), "--no-audit", "--no-fund", "--ignore-scripts"],
                check=True,
                timeout=300,
                capture_output=True,
            )
            done.write_bytes(wanted)
    return NODE


@pytest.fixture(scope="session")
def issuer() -> RealIssuer:
    """panva's oidc-provider on a free port of 127.0.0.1, one for the whole run."""
    return RealIssuer(str(shared.once("issuer", _start)["url"]))


def _start(own: Path) -> dict[str, object]:
    directory = install()
    port = shared.free_port()
    log = own / "log"
    shared.spawn(
        "issuer", ["node", directory / "op.mjs", str(port), AUDIENCE, RealIssuer.AGENT_SECRET], log=log, user=""
    )
    url = f"http://127.0.0.1:{port}"
    limit = time.monotonic() + 30
    while f"listening {url}" not in log.read_text(errors="replace"):
        if time.monotonic() > limit or not shared.running("issuer"):
            raise RuntimeError(f"oidc-provider did not start: {log.read_text(errors='replace')[-2000:]}")
        time.sleep(0.05)
    return {"url": url}
