"""Receivers of notifications: an HTTPS server that does what its path says, and a mail server.

Contract: `Receiver` keeps every request (path, headers, body) in `got` and answers by its path: `/ok`, `/status/<n>`,
`/redirect/<port>` (to `/ok` there), `/later/<n>` (429, with that Retry-After), `/hang`, `/drip` (a byte at a time, for ever),
`/flood` (an answer without end), `/by/<name>` (200 once `let` holds the name, before that 503). `mailbox` is a real SMTP
server, aiosmtpd, with STARTTLS or implicit TLS, that keeps what it took.
"""

from __future__ import annotations

import contextlib
import http.server
import socket
import ssl
import threading
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

from aiosmtpd.controller import Controller
from aiosmtpd.smtp import SMTP, AuthResult, Envelope, LoginPassword, Session

from tests.rig.certificates import Pair


@dataclass(frozen=True)
class Got:
    """One request."""

    path: str
    headers: dict[str, str]
    body: bytes


class Receiver:
    """Use as a context manager; `url(path)` is an address at it."""

    def __init__(self, pair: Pair, *, name: str = "localhost") -> None:
        self.got: list[Got] = []
        self.let: set[str] = set()
        self.over = threading.Event()
        receiver = self

        class Handler(http.server.BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def do_POST(self) -> None:
                body = self.rfile.read(int(self.headers.get("content-length", 0)))
                receiver.got.append(Got(self.path, {k.lower(): v for k, v in self.headers.items()}, body))
                with contextlib.suppress(OSError):
                    receiver.answer(self)

            def do_GET(self) -> None:  # what a redirect that was followed would become
                self.do_POST()

            def log_message(self, *_: object) -> None:
                pass

        class Server(http.server.ThreadingHTTPServer):
            daemon_threads = True

            def handle_error(self, *_: object) -> None:
                pass  # a client that does not like the certificate, or our answer, goes

        self._server = Server(("127.0.0.1", 0), Handler)
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(pair.certificate, pair.key)
        # In the handler's thread, so that one client's handshake keeps back no other's.
        self._server.socket = context.wrap_socket(self._server.socket, server_side=True, do_handshake_on_connect=False)
        self.port: int = self._server.server_address[1]
        self._name = name
        self._thread = threading.Thread(target=self._server.serve_forever, args=(0.02,), daemon=True)

    def __enter__(self) -> Receiver:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.over.set()
        self._server.shutdown()
        self._server.server_close()

    def url(self, path: str) -> str:
        """An address at it."""
        return f"https://{self._name}:{self.port}{path}"

    def answer(self, request: http.server.BaseHTTPRequestHandler) -> None:
        """What its path says."""
        kind, _, what = request.path.partition("?")[0].strip("/").partition("/")
        status, headers, body = 200, {}, b"ok"
        if kind == "status":
            status, body = int(what), b"no <b>thanks</b>\r\x1b[2K"
        elif kind == "redirect":
            status, headers = 307, {"location": f"https://localhost:{what}/ok"}
        elif kind == "later":
            status, headers = 429, {"retry-after": what}
        elif kind == "by" and what not in self.let:
            status = 503
        elif kind == "hang":
            self.over.wait(60)
            return
        request.send_response(status)
        for name, value in headers.items():
            request.send_header(name, value)
        if kind in ("drip", "flood"):
            request.end_headers()
            while not self.over.wait(0.05 if kind == "drip" else 0):
                request.wfile.write(b"x" if kind == "drip" else b"x" * 65536)
            return
        request.send_header("content-length", str(len(body)))
        request.end_headers()
        request.wfile.write(body)


@dataclass
class Mailbox:
    """A mail server: where it is, and what it took. `refuse`: addresses that it does not know."""

    port: int = 0
    took: list[Envelope] = field(default_factory=list)
    logins: list[tuple[str, str]] = field(default_factory=list)
    refuse: set[str] = field(default_factory=set)

    async def handle_RCPT(  # noqa: N802 - aiosmtpd's name
        self, server: SMTP, session: Session, envelope: Envelope, address: str, options: list[str]
    ) -> str:
        if address in self.refuse:
            return "550 5.1.1 nobody <here> is called that"
        envelope.rcpt_tos.append(address)
        return "250 OK"

    async def handle_DATA(self, server: SMTP, session: Session, envelope: Envelope) -> str:  # noqa: N802
        self.took.append(envelope)
        return "250 OK"


@contextlib.contextmanager
def mailbox(pair: Pair, *, implicit: bool = False, password: str = "") -> Iterator[Mailbox]:
    """A running one. With `password`, whoever does not log in with it gives no mail; after STARTTLS only,
    since aiosmtpd does not take implicit TLS for TLS there."""
    box = Mailbox()
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(pair.certificate, pair.key)

    def authenticate(server: SMTP, session: Session, envelope: Envelope, mechanism: str, data: Any) -> AuthResult:
        assert isinstance(data, LoginPassword)
        box.logins.append((data.login.decode(), data.password.decode()))
        return AuthResult(success=data.password.decode() == password, handled=False)

    more: dict[str, Any] = {"ssl_context": context} if implicit else {"tls_context": context, "require_starttls": True}
    if password:
        more |= {"authenticator": authenticate, "auth_required": True}
    box.port = _free()
    controller = Controller(box, hostname="127.0.0.1", port=box.port, **more)
    controller.start()
    try:
        yield box
    finally:
        controller.stop()


def _free() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port
