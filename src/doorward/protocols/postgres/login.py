"""Both handshakes of PostgreSQL: in `ClientLogin` the gateway is the server, in `ServerLogin` it is the client.

Contract. Sans-IO: bytes in by `receive`, bytes out by `to_client` / `to_server`. Every chunking gives the same events.
The client never chooses what reaches the target: of its start-up parameters only those that anybody may set go on
(sql/settings.py), written anew; its token goes to an authenticator, never to the target. The target never chooses how
the credential is used: only methods that are allowed, in their order, and none in cleartext without verified TLS. Both
legs are bounded in bytes and messages. Misbehaviour raises `ProtocolError`; a target that refuses raises
`UpstreamError`.

Not here: TLS and sockets (server/tls.py, server/dial.py), who a token belongs to (adapters/identity), the queries after
ReadyForQuery (conversation.py). Source: PostgreSQL 18 documentation, 54.2.1, 54.2.10, 54.2.11; CVE-2021-23214 and
CVE-2021-23222 for bytes sent before the TLS handshake.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Mapping
from enum import Enum
from typing import Final, NamedTuple

from doorward.errors import ProtocolError, UpstreamError
from doorward.model import Effect
from doorward.protocols.postgres import scram, wire
from doorward.protocols.postgres.wire import Auth, Backend, Frontend
from doorward.sql import settings

# The server's own limit for a start-up packet (MAX_STARTUP_PACKET_LENGTH), so that what it would read, we do.
MAX_STARTUP: Final = 10_000
MAX_PRE_AUTH: Final = 64 * 1024
MAX_TOKEN: Final = 16 * 1024

# A target sends about 15 ParameterStatus and, at times, a notice or two (a collation version, a login trigger).
MAX_LOGIN_BYTES: Final = 256 * 1024
MAX_LOGIN_MESSAGES: Final = 256

# What every session at a target runs with, whatever client or role would have it: the text that was classified is then
# the text that is lexed. Start-up settings override those of the role and the database.
PINNED: Final[Mapping[str, str]] = {"client_encoding": "UTF8", "standard_conforming_strings": "on"}


# --- the client leg ----------------------------------------------------------------------------------------------


class StartTls(NamedTuple):
    """The client asked for TLS and will be answered yes: send `to_client()`, then everything is inside TLS."""


class Cancel(NamedTuple):
    """A CancelRequest. Nothing is answered; close when it is dealt with. The key is the gateway's own, or a guess."""

    pid: int
    secret: bytes


class Startup(NamedTuple):
    """Who the client says it is and where it wants to go. `parameters` are allowed ones, their names in lower case."""

    user: str
    database: str
    parameters: Mapping[str, str]
    protocol: int


class Presented(NamedTuple):
    """The token that came as a password. Answer with `accept` or `refuse`."""

    token: str


class Refused(NamedTuple):
    """The login ends here, and `to_client()` holds the FATAL that says why. Send it and close."""

    sqlstate: str
    message: str


Step = StartTls | Cancel | Startup | Presented | Refused


class _Client(Enum):
    FIRST = "first"  # before the start-up packet
    ASKED = "asked"  # for the token
    PRESENTED = "presented"  # the token is being looked at
    ACCEPTED = "accepted"
    OVER = "over"  # cancelled, refused or broken


def is_direct_tls(first: int) -> bool:
    """Whether a connection that begins with this byte begins with TLS at once (libpq's sslnegotiation=direct).

    0x16 is the record type of a ClientHello, and the first byte of no acceptable start-up packet: that would be one of
    over 369 million bytes. Such a connection must negotiate the ALPN protocol "postgresql", as the server demands.
    """
    return first == 0x16


class ClientLogin:
    """The gateway as server, up to a token, and from its acceptance to ReadyForQuery.

    `tls`: the bytes come out of TLS already (direct TLS). `tls_available`: an SSLRequest may be answered yes.
    `plaintext_allowed`: a token may be asked for without TLS (the listener says so, and the peer is on loopback).
    `max_bytes`: what may be sent before the token is accepted.

    Use: `receive` bytes, act on the steps, send `to_client()`. After `StartTls` feed what comes out of TLS.
    After `accept`, `leftover` holds what the client sent ahead: it belongs to the conversation.
    """

    def __init__(
        self,
        *,
        tls: bool = False,
        tls_available: bool = True,
        plaintext_allowed: bool = False,
        max_bytes: int = MAX_PRE_AUTH,
    ) -> None:
        self._max_bytes = max_bytes
        self.tls = tls  # from the first byte; after an SSLRequest it stays False
        self.protocol = wire.PROTOCOL_3_0
        self._inside_tls = tls
        self._tls_available = tls_available
        self._plaintext_allowed = plaintext_allowed
        self._asked_tls = tls
        self._asked_gss = tls
        self._state = _Client.FIRST
        self._inbox = bytearray()
        self._received = 0
        self._out = bytearray()

    def receive(self, data: bytes) -> list[Step]:
        """What the client said, as steps. Raises ProtocolError (with a FATAL in `to_client()`) on what cannot be."""
        if self._state is _Client.OVER:
            raise ProtocolError("bytes after the end of the login")
        self._received += len(data)
        if self._received > self._max_bytes:
            raise self._broken(f"more than {self._max_bytes} bytes before authentication")
        self._inbox += data
        steps: list[Step] = []
        try:
            while (step := self._next()) is not None:
                steps.append(step)
                if not isinstance(step, Startup):
                    break
        except ProtocolError as error:
            raise self._broken(error.message) from None
        return steps

    def to_client(self) -> bytes:
        """What is to be sent now."""
        out = bytes(self._out)
        self._out.clear()
        return out

    @property
    def leftover(self) -> bytes:
        """After `accept`: bytes that the client sent ahead of ReadyForQuery."""
        return bytes(self._inbox)

    def accept(self, parameters: Mapping[str, str], pid: int, secret: bytes) -> None:
        """Lets the client in, with the target's parameters and the gateway's own cancel key (never the target's).

        In protocol 3.0 `secret` has 4 bytes; in 3.2 up to 256.
        """
        if self._state is not _Client.PRESENTED:
            raise ValueError("nobody has presented a token")
        if self.protocol == wire.PROTOCOL_3_0 and len(secret) != 4:
            raise ValueError("in protocol 3.0 a cancel key has 4 bytes")
        self._out += wire.authentication_ok()
        for name, value in parameters.items():
            self._out += wire.parameter_status(name, value)
        self._out += wire.backend_key_data(pid, secret)
        self._out += wire.ready_for_query(wire.IDLE)
        self._state = _Client.ACCEPTED

    def refuse(self, sqlstate: str, message: str, hint: str = "") -> None:
        """Ends the login with a FATAL. A question that was not sent yet (for the token) is not sent."""
        self._out.clear()
        self._out += wire.error_response("FATAL", sqlstate, message, hint=hint)
        self._inbox.clear()
        self._state = _Client.OVER

    def _broken(self, message: str) -> ProtocolError:
        if self._state is not _Client.OVER:
            self.refuse("08P01", message)
        return ProtocolError(message)

    def _refused(self, sqlstate: str, message: str, hint: str = "") -> Refused:
        self.refuse(sqlstate, message, hint)
        return Refused(sqlstate, message)

    def _next(self) -> Step | None:
        if self._state is _Client.FIRST:
            return self._first()
        if self._state is _Client.ASKED:
            return self._token()
        return None  # while a token is looked at, and after: what comes is kept for the conversation, within the bound

    def _first(self) -> Step | None:
        while True:
            payload = self._packet()
            if payload is None:
                return None
            code = wire.startup_code(payload)
            if code == wire.CANCEL_REQUEST_CODE:
                pid, secret = wire.parse_cancel(payload)
                self._state = _Client.OVER
                return Cancel(pid, secret)
            if code not in (wire.SSL_REQUEST_CODE, wire.GSSENC_REQUEST_CODE):
                return self._startup(*wire.parse_startup(payload))
            if len(payload) != 4:
                raise ProtocolError("encryption request: malformed")
            if self._inbox:
                # Whoever sits in between could have put them there, to be taken for the client's own words inside TLS.
                raise ProtocolError("bytes after an encryption request, before its answer")
            if code == wire.GSSENC_REQUEST_CODE:
                if self._asked_gss:
                    raise ProtocolError("GSS encryption requested twice or inside TLS")
                self._asked_gss = True
                self._out += b"N"
                continue
            if self._asked_tls:
                raise ProtocolError("TLS requested twice or inside TLS")
            self._asked_tls = True
            if self._tls_available:
                self._asked_gss = True
                self._inside_tls = True
                self._out += b"S"
                return StartTls()
            self._out += b"N"

    def _packet(self) -> bytes | None:
        """The next start-up packet, without its length; None when it is not whole yet."""
        if len(self._inbox) < 4:
            return None
        length = int.from_bytes(self._inbox[:4], "big")
        if not 8 <= length <= MAX_STARTUP:
            raise ProtocolError("not a PostgreSQL start-up packet: its length cannot be")
        if len(self._inbox) < length:
            return None
        payload = bytes(self._inbox[4:length])
        del self._inbox[:length]
        return payload

    def _startup(self, protocol: int, sent: dict[str, str]) -> Step:
        major, minor = protocol >> 16, protocol & 0xFFFF
        if major != 3:
            return self._refused(
                "0A000", f"unsupported frontend protocol {major}.{minor}", "Doorward speaks PostgreSQL protocol 3."
            )
        # 3.1 was never given out: who asks for it gets 3.0. A later minor version, the newest we speak.
        self.protocol = wire.PROTOCOL_3_2 if minor >= 2 else wire.PROTOCOL_3_0
        unrecognised = [name for name in sent if name.startswith("_pq_.")]
        user = sent.get("user", "")
        if not user:
            return self._refused("28000", "no PostgreSQL user name specified in the start-up packet")
        if not self._inside_tls and not self._plaintext_allowed:
            return self._refused(
                "28000", "this door opens over TLS only", "Connect with sslmode=require, or better verify-full."
            )
        parameters: dict[str, str] = {}
        for name, value in sent.items():
            setting = name.lower()
            if name in ("user", "database") or name.startswith("_pq_."):
                continue
            if setting in parameters:
                return self._refused(
                    "08P01", f'the start-up parameter "{shown(setting, 63)}" is given twice', "Give it once."
                )
            if setting == "replication":
                return self._refused(
                    "0A000", "replication connections are refused", "Replication would carry data past every decision."
                )
            if setting == "options":
                if value.strip():
                    return self._refused(
                        "0A000",
                        'the start-up parameter "options" is refused',
                        "Send each setting as a start-up parameter of its own, or SET it after connecting.",
                    )
                continue
            if setting == "client_encoding":
                if not _is_utf8(value):
                    return self._refused(
                        "22023", "client_encoding must be UTF8", "Set PGCLIENTENCODING=UTF8, or client_encoding=utf8."
                    )
                continue  # pinned anyway
            verdict = settings.judge(setting, value)
            if verdict is not Effect.READ:
                return self._refused(
                    "0A000",
                    verdict
                    if isinstance(verdict, str)
                    else f'"{shown(name, 63)}" is not a start-up parameter for everybody',
                    "SET it after connecting, where policy decides about it.",
                )
            if setting in PINNED:
                continue
            parameters[setting] = value
        if unrecognised or minor not in (0, 2):
            self._out += wire.negotiate_protocol_version(self.protocol & 0xFFFF, unrecognised)
        self._out += wire.authentication_cleartext_password()
        self._state = _Client.ASKED
        return Startup(user, sent.get("database", "") or user, parameters, self.protocol)

    def _token(self) -> Step | None:
        inbox = self._inbox
        if not inbox:
            return None
        if inbox[0] != Frontend.PASSWORD:
            raise ProtocolError("expected a password message")
        if len(inbox) < 5:
            return None
        length = int.from_bytes(inbox[1:5], "big")
        if not 5 <= length <= MAX_TOKEN + 5:
            raise ProtocolError(f"the password message is empty or longer than {MAX_TOKEN} bytes")
        if len(inbox) < length + 1:
            return None
        password = wire.parse_password(bytes(inbox[5 : length + 1]))
        del inbox[: length + 1]
        if not password:
            return self._refused("28P01", "no token presented", "Pass the identity token as the password.")
        if not password.isascii():
            return self._refused(
                "28P01", "what was presented is not a token", "Pass the identity token as the password."
            )
        self._state = _Client.PRESENTED
        return Presented(password.decode("ascii"))


def _is_utf8(value: str) -> bool:
    """Whether a client_encoding means UTF-8, however spelled; asyncpg sends it in quotes.

    SQL_ASCII means "do not convert": what interactive psql sends in the C locale. The client is told UTF8 and no
    conversion takes place, so that is what it gets.
    """
    plain = "".join(char for char in value.lower() if char.isalnum())
    return plain in ("utf8", "unicode", "sqlascii")


def shown(text: str, limit: int) -> str:
    """Text from a peer that may be shown: no control characters, no more than `limit` characters."""
    shown = "".join(char if char.isprintable() else "\N{REPLACEMENT CHARACTER}" for char in text[: limit + 1])
    return shown if len(shown) <= limit else shown[: limit - 1] + "\N{HORIZONTAL ELLIPSIS}"


# --- the server leg ----------------------------------------------------------------------------------------------


class _Server(Enum):
    AUTHENTICATING = "authenticating"  # nothing proved yet
    SASL_STARTED = "sasl started"
    DERIVING = "deriving"
    SASL_PROVED = "sasl proved"  # our proof is out; theirs has to come
    ANSWERED = "answered"  # all that the method asks for is done: AuthenticationOk may come
    AUTHENTICATED = "authenticated"
    READY = "ready"
    BROKEN = "broken"


class ServerLogin:
    """The gateway as client of a target, from StartupMessage to ReadyForQuery.

    `allowed_auth` holds what the target may ask for: "scram-sha-256", "md5", "cleartext", "none" (libpq's require_auth
    calls the third "password"). `tls` and `verified_tls` say what the connection is; "cleartext" needs `verified_tls` as well.
    `channel_binding` is the tls-server-end-point hash, None when there is none. `nonce` is fresh and random.

    Use: send `to_server()`; `receive` until `done`. When `pending_work` is there, call it, in a thread if you like
    (it takes as long as the server's iteration count says), and then `receive(b"")`.

    When `done`: `parameters` (as the server reported them), `pid` and `secret` (for a CancelRequest; 0 and empty when
    the server gave none), `protocol`, and `method`: how the gateway authenticated, such as "SCRAM-SHA-256-PLUS".
    """

    def __init__(
        self,
        user: str,
        database: str,
        password: bytes,
        parameters: Mapping[str, str],
        allowed_auth: frozenset[str],
        tls: bool,
        verified_tls: bool,
        channel_binding: bytes | None,
        nonce: str,
        *,
        protocol: int = wire.PROTOCOL_3_0,
    ) -> None:
        if 0 in password:
            raise ValueError("a password cannot hold a NUL")
        if verified_tls and not tls:
            raise ValueError("verified TLS is TLS")
        self.parameters: dict[str, str] = {}
        self.pid = 0
        self.secret = b""
        self.protocol = protocol
        self.method = ""
        self.done = False
        self.pending_work: Callable[[], None] | None = None
        self._user = user
        self._password = password
        self._allowed = allowed_auth
        self._verified_tls = verified_tls
        self._channel_binding = channel_binding if tls else None
        self._nonce = nonce
        self._scram: scram.ScramClient | None = None
        self._state = _Server.AUTHENTICATING
        self._negotiated = False
        self._keyed = False
        self._bytes = 0
        self._messages = 0
        self._frames = wire.Frames(MAX_LOGIN_BYTES, types=wire.BACKEND_TYPES)
        self._queue: list[tuple[int, bytes]] = []
        sent = {"user": user, "database": database, **parameters, **PINNED}
        self._out = wire.startup(sent, protocol)

    def to_server(self) -> bytes:
        """What is to be sent now."""
        out, self._out = self._out, b""
        return out

    def receive(self, data: bytes) -> None:
        """Takes what the target sent. Raises UpstreamError when it refuses, ProtocolError when it misbehaves."""
        if self._state is _Server.BROKEN:
            raise ProtocolError("this login has failed")
        try:
            self._bytes += len(data)
            if self._bytes > MAX_LOGIN_BYTES:
                raise ProtocolError(f"the target sent more than {MAX_LOGIN_BYTES} bytes before it was ready")
            messages = self._frames.feed(data)
            self._messages += len(messages)
            if self._messages > MAX_LOGIN_MESSAGES:
                raise ProtocolError(f"the target sent more than {MAX_LOGIN_MESSAGES} messages before it was ready")
            self._queue += messages
            self._advance()
        except (ProtocolError, UpstreamError):
            self._state = _Server.BROKEN
            self._forget()
            raise

    def _advance(self) -> None:
        if self._state is _Server.DERIVING:
            assert self._scram is not None
            if not self._scram.derived:
                return  # the thread is still at it
            self.pending_work = None
            self._out += wire.sasl_response(self._scram.final())
            self._state = _Server.SASL_PROVED
        queue, self._queue = self._queue, []
        for number, (kind, payload) in enumerate(queue):
            if self.done:
                raise ProtocolError("the target speaks before it is asked")
            self._take(kind, payload)
            if self._state is _Server.DERIVING:
                self._queue = queue[number + 1 :]
                return
        if self.done and self._frames.buffered:
            raise ProtocolError("the target speaks before it is asked")

    def _take(self, kind: int, payload: bytes) -> None:
        if kind == Backend.ERROR_RESPONSE:
            raise _login_failed(wire.parse_error(payload))
        if kind == Backend.NOTICE_RESPONSE:
            wire.parse_error(payload)
        elif kind == Backend.AUTHENTICATION:
            self._authentication(*wire.parse_authentication(payload))
        elif kind == Backend.NEGOTIATE_PROTOCOL_VERSION:
            self._negotiate(payload)
        elif self._state is not _Server.AUTHENTICATED:
            raise ProtocolError(f"the target sent {wire.BACKEND_NAMES[kind]} before authentication was complete")
        elif kind == Backend.PARAMETER_STATUS:
            name, value = wire.parse_parameter_status(payload)
            self.parameters[name] = value
        elif kind == Backend.BACKEND_KEY_DATA:
            if self._keyed:
                raise ProtocolError("the target sent BackendKeyData twice")
            self._keyed = True
            self.pid, self.secret = wire.parse_backend_key(payload)
            if self.protocol == wire.PROTOCOL_3_0 and len(self.secret) != 4:
                raise ProtocolError("the target sent a cancel key that protocol 3.0 does not have")
        elif kind == Backend.READY_FOR_QUERY:
            if wire.parse_ready(payload) != wire.IDLE:
                raise ProtocolError("the target begins inside a transaction")
            self._check_pinned()
            self._state = _Server.READY
            self.done = True
        else:
            raise ProtocolError(f"the target sent {wire.BACKEND_NAMES[kind]} during login")

    def _authentication(self, code: int, rest: bytes) -> None:
        if code == Auth.OK:
            wire.parse_empty(rest, "AuthenticationOk")
            if self._state is _Server.AUTHENTICATING:
                self._require("none", "lets the gateway in without any authentication")
                self.method = "none"
            elif self._state is not _Server.ANSWERED:
                # Mid-SCRAM this would be a server that has not proved that it knows the password.
                raise ProtocolError("the target ends authentication before it is complete")
            self._forget()
            self._state = _Server.AUTHENTICATED
        elif code == Auth.CLEARTEXT_PASSWORD:
            self._start(rest, 0, "cleartext", "asks for the password in cleartext")
            if not self._verified_tls:
                raise UpstreamError(
                    "the target asks for the password in cleartext on a connection without verified TLS",
                    hint="use scram-sha-256 at the target, or tls = verify-full",
                )
            self._out += wire.password_message(self._password)
            self._state = _Server.ANSWERED
        elif code == Auth.MD5_PASSWORD:
            self._start(rest, 4, "md5", "asks for an MD5 password")
            inner = _md5_hex(self._password + self._user.encode())
            self._out += wire.password_message(b"md5" + _md5_hex(inner + rest))
            self._state = _Server.ANSWERED
        elif code == Auth.SASL:
            self._start(b"", 0, "scram-sha-256", "asks for SCRAM")
            mechanism = scram.choose(wire.parse_sasl_mechanisms(rest), self._channel_binding)
            self._scram = scram.ScramClient(mechanism, self._password, self._nonce, self._channel_binding)
            self._out += wire.sasl_initial_response(mechanism, self._scram.first())
            self.method = mechanism
            self._state = _Server.SASL_STARTED
        elif code == Auth.SASL_CONTINUE and self._scram is not None and self._state is _Server.SASL_STARTED:
            self._scram.challenge(rest)
            self.pending_work = self._scram.derive
            self._state = _Server.DERIVING
        elif code == Auth.SASL_FINAL and self._scram is not None and self._state is _Server.SASL_PROVED:
            self._scram.finish(rest)
            self._state = _Server.ANSWERED
        else:
            raise ProtocolError(f"the target sent authentication request {code}, unknown or out of order")

    def _start(self, rest: bytes, size: int, method: str, what: str) -> None:
        if self._state is not _Server.AUTHENTICATING:
            raise ProtocolError("the target asks for authentication twice")
        if len(rest) != size:
            raise ProtocolError("Authentication: malformed")
        self._require(method, what)
        self.method = method

    def _require(self, method: str, what: str) -> None:
        if method not in self._allowed:
            allowed = ", ".join(sorted(self._allowed)) or "nothing"
            raise UpstreamError(
                f"the target {what}; this target is set to allow {allowed}",
                hint=f'if that is meant, add "{method}" to the target\'s auth methods',
            )

    def _negotiate(self, payload: bytes) -> None:
        if self._negotiated or self._state is not _Server.AUTHENTICATING:
            raise ProtocolError("the target negotiates the protocol version twice or too late")
        version, unrecognised = wire.parse_negotiate_protocol_version(payload)
        if unrecognised or not wire.PROTOCOL_3_0 <= version < self.protocol:
            raise ProtocolError("the target negotiates what was not asked for")
        self._negotiated = True
        self.protocol = version

    def _check_pinned(self) -> None:
        for name, value in PINNED.items():
            reported = self.parameters.get(name, "")
            if reported != value:
                raise UpstreamError(
                    f'the target runs with {name} = "{shown(reported, 63)}", and it must be "{value}"',
                    hint="Doorward judges statements as text under these settings; the target must honour them",
                )

    def _forget(self) -> None:
        """Keeps the credential no longer than it is needed."""
        self._password = b""
        self._scram = None
        self.pending_work = None


def _md5_hex(text: bytes) -> bytes:
    return hashlib.md5(text, usedforsecurity=False).hexdigest().encode()


def _login_failed(fields: Mapping[str, str]) -> UpstreamError:
    sqlstate = shown(fields.get("C", ""), 5) or "no SQLSTATE"
    text = shown(fields.get("M", ""), 300) or "no reason given"
    hint = "check the target's user, database and credential" if sqlstate[:2] in ("28", "3D") else ""
    return UpstreamError(f"the target refused the login ({sqlstate}): {text}", hint=hint)
