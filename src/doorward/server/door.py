"""The client's end of a connection: TLS and login first, then a relay.

What a client sends before its token is verified is bounded, in bytes and in time, by `Listener`'s limits, and goes nowhere.
"""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from typing import TYPE_CHECKING, Final, cast

from doorward.errors import AuthenticationError, ProtocolError
from doorward.guard.ports import NOTHING, Shown
from doorward.protocols.postgres.login import Cancel, ClientLogin, Presented, Refused, StartTls, Startup, is_direct_tls
from doorward.server.relay import Relay
from doorward.server.tls import ALPN, CertificateError, TlsLayer

if TYPE_CHECKING:
    from doorward.server.listener import Listener

STRANGERS: Final = 500  # connections beyond `limits.connections`, for those who have not signed in yet
LINGER: Final = 5.0  # seconds that a closed connection's last bytes may take


class Door(asyncio.Protocol):
    """The client's end: TLS and login first, then a relay."""

    __slots__ = (
        "_deadline",
        "_early",
        "_login",
        "_paused",
        "_startup",
        "_tls",
        "closed",
        "listener",
        "login_protocol",
        "peer",
        "relay",
        "transport",
    )

    def __init__(self, listener: Listener) -> None:
        self.listener = listener
        self.transport: asyncio.Transport
        self.relay: Relay | None = None
        self.closed = False
        self.peer = ""
        self.login_protocol = 3 << 16
        self._tls: TlsLayer | None = None
        self._login: ClientLogin | None = None
        self._startup: Startup | None = None
        self._deadline: asyncio.TimerHandle | None = None
        self._early = b""
        self._paused = False

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport = cast(asyncio.Transport, transport)
        listener = self.listener
        peer = transport.get_extra_info("peername") or ("", 0)
        self.peer = f"{peer[0]}:{peer[1]}"
        listener.doors.add(self)
        loop = asyncio.get_running_loop()
        self._deadline = loop.call_later(listener.limits.pre_auth_seconds, self._too_slow)
        listener.strangers[self] = None
        if listener.draining:
            self.close()
        elif len(listener.doors) > listener.limits.connections + STRANGERS:
            next(iter(listener.strangers)).close()  # silence must not keep anybody else out

    def data_received(self, data: bytes) -> None:
        try:
            if self._tls is None and self._login is None:
                if is_direct_tls(data[0]) and self.listener.context is not None:
                    self._tls = TlsLayer(self.listener.context, server_side=True)
                self._login = ClientLogin(
                    tls=self._tls is not None,
                    tls_available=self.listener.context is not None,
                    plaintext_allowed=self.listener.plaintext,
                    max_bytes=self.listener.limits.pre_auth_bytes,
                )
                if self._tls is not None and not self._tls.established:
                    pass  # ALPN is checked when the handshake is done
            tls = self._tls
            if tls is not None:
                data = tls.feed(data)
                if out := tls.outgoing():
                    self.transport.write(out)
                if self._login is not None and self._login.tls and tls.established and tls.alpn != ALPN:
                    raise ProtocolError("a connection that begins with TLS must negotiate the protocol postgresql")
                if tls.closed and not data:
                    self.close()
                    return
            if not data:
                return
            relay = self.relay
            if relay is not None:
                relay.from_client(data)
            else:
                self._log_in(data)
        except ProtocolError as error:
            if self._tls is not None and (out := self._tls.outgoing()):
                self.transport.write(out)
            if self._login is not None and self.relay is None and (out := self._login.to_client()):
                self._write(out)
            if isinstance(error, CertificateError):
                code = "expired" if error.expired else "certificate"
                self.listener.refusals.note(AuthenticationError(error.message, code=code), listener="postgres", peer=self.peer)
            self.listener.log.info("login.broken", client=self.peer, reason=error.message)
            self.close()

    def _log_in(self, data: bytes) -> None:
        login = self._login
        if login is None:  # its token is being looked at
            self._early += data
            if len(self._early) > 65536:
                self.close()
            return
        for step in login.receive(data):
            if isinstance(step, Startup):
                self._startup = step
                self.login_protocol = step.protocol
            elif isinstance(step, Cancel):
                self.listener.cancel(step.pid, step.secret)
                self.close()
                return
            elif isinstance(step, StartTls):
                self._write(login.to_client())
                assert self.listener.context is not None
                self._tls = TlsLayer(self.listener.context, server_side=True)
                return
            elif isinstance(step, Presented):
                assert self._startup is not None
                self.transport.pause_reading()
                self._paused = True
                self.listener.start(self.listener.let_in(self, self._startup, step.token))
            elif isinstance(step, Refused):
                self._write(login.to_client())
                self.close()
                return
        if out := login.to_client():
            self._write(out)

    def shown(self) -> Shown:
        """What the client has shown in the handshake. AuthenticationError for a certificate that is not the gateway's own:
        that TLS has verified it says by whom, for what and until when it is; whom it names is read here."""
        der = None if self._tls is None else self._tls.peer_certificate()
        return NOTHING if der is None else Shown(certificate=self.listener.clients.read(der))

    # -- what the listener and the relay call ------------------------------------------------------------------------

    def welcome(self, relay: Relay, parameters: Mapping[str, str], key: tuple[int, bytes], notice: str) -> None:
        """Log the client in; from here its bytes go to the relay."""
        login = self._login
        assert login is not None
        if self._deadline is not None:
            self._deadline.cancel()
            self._deadline = None
        self.listener.strangers.pop(self, None)
        login.accept(parameters, *key)
        out = login.to_client()
        self._early = login.leftover
        self._login = None
        self._startup = None
        self.relay = relay
        if notice:
            from doorward.protocols.postgres import wire

            out = out[:-6] + wire.notice_response("WARNING", "01000", notice) + out[-6:]
        self._write(out)

    def go_on(self) -> None:
        """Read on, beginning with what the client sent ahead."""
        early, self._early = self._early, b""
        if early and self.relay is not None:
            self.relay.from_client(early)
        self.resume()

    def refuse(self, sqlstate: str, message: str, hint: str = "") -> None:
        """Say no to a login, and close."""
        if self.closed:
            return
        if self._login is not None:
            self._login.refuse(sqlstate, message, hint)
            self._write(self._login.to_client())
        self.close()

    def fatal(self, sqlstate: str, message: str, hint: str = "") -> None:
        """A last word to a client that is logged in."""
        if not self.closed:
            from doorward.protocols.postgres import wire

            self._write(wire.error_response("FATAL", sqlstate, message, hint=hint))

    def send(self, data: bytes) -> None:
        self._write(data)

    def _write(self, data: bytes) -> None:
        if self.closed:
            return
        tls = self._tls
        if tls is not None:
            if not tls.established:
                return
            tls.write(data)
            data = tls.outgoing()
        self.transport.write(data)

    def pause(self) -> None:
        if not self._paused and not self.closed:
            self._paused = True
            self.transport.pause_reading()

    def resume(self) -> None:
        if self._paused and not self.closed:
            self._paused = False
            self.transport.resume_reading()

    def close(self) -> None:
        if not self.closed:
            self.closed = True
            self.listener.doors.discard(self)
            if self._deadline is not None:
                self._deadline.cancel()
            tls = self._tls
            if tls is not None and tls.established and not self.transport.is_closing():
                tls.close()  # without close_notify a client cannot tell an end from a cut
                self.transport.write(tls.outgoing())
            self.listener.strangers.pop(self, None)
            self.transport.close()
            # A client that does not read would keep what is left for it, and this connection, for ever.
            asyncio.get_running_loop().call_later(LINGER, self.transport.abort)

    def _too_slow(self) -> None:
        if self.relay is None:
            self.refuse("57014", "signing in took too long", "send the start-up message and the token at once")
            self.transport.abort()

    # -- what the transport calls ------------------------------------------------------------------------------------

    def pause_writing(self) -> None:
        if self.relay is not None:
            self.relay.pause_server("client")

    def resume_writing(self) -> None:
        if self.relay is not None:
            self.relay.resume_server("client")

    def eof_received(self) -> bool:
        if self.relay is not None:
            self.relay.leave()
        return False

    def connection_lost(self, exc: Exception | None) -> None:
        self.close()
        if self.relay is not None:
            self.relay.leave()
