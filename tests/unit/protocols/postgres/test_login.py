"""Both handshakes as playbooks: what either peer may say, must not say, and what comes of it."""

from __future__ import annotations

import hashlib
import struct
from collections.abc import Callable

import pytest
from hypothesis import given
from hypothesis import strategies as st

from doorward.errors import ProtocolError, UpstreamError
from doorward.protocols.postgres import wire
from doorward.protocols.postgres.login import (
    MAX_PRE_AUTH,
    MAX_TOKEN,
    Cancel,
    ClientLogin,
    Presented,
    Refused,
    ServerLogin,
    StartTls,
    Startup,
    Step,
    is_direct_tls,
)
from doorward.protocols.postgres.wire import Backend, Frames
from tests.unit.protocols.postgres.scram_server import ScramServer

TOKEN = "eyJhbGciOi.eyJzdWIi.c2ln"
STARTUP = wire.startup({"user": "agent", "database": "shop", "application_name": "psql"})
LOGIN = STARTUP + wire.password_message(TOKEN.encode())


def plain() -> ClientLogin:
    return ClientLogin(tls_available=False, plaintext_allowed=True)


def errors(out: bytes) -> list[dict[str, str]]:
    return [wire.parse_error(body) for kind, body in Frames(1 << 20).feed(out) if kind == Backend.ERROR_RESPONSE]


def feed(login: ClientLogin, *chunks: bytes) -> list[Step]:
    return [step for chunk in chunks for step in login.receive(chunk)]


# --- the client leg ----------------------------------------------------------------------------------------------


def test_over_tls_from_the_request_to_ready() -> None:
    """SSLRequest is answered S; inside TLS come start-up, question, token; accept ends with ReadyForQuery."""
    login = ClientLogin()
    assert login.receive(wire.SSL_REQUEST) == [StartTls()]
    assert login.to_client() == b"S"
    assert login.receive(STARTUP) == [Startup("agent", "shop", {"application_name": "psql"}, wire.PROTOCOL_3_0)]
    assert login.to_client() == wire.authentication_cleartext_password()
    assert login.receive(wire.password_message(TOKEN.encode())) == [Presented(TOKEN)]
    assert login.to_client() == b""
    login.accept({"server_version": "15.18", "client_encoding": "UTF8"}, 7, b"abcd")
    assert login.to_client() == (
        wire.authentication_ok()
        + wire.parameter_status("server_version", "15.18")
        + wire.parameter_status("client_encoding", "UTF8")
        + wire.backend_key_data(7, b"abcd")
        + wire.ready_for_query(wire.IDLE)
    )
    assert login.leftover == b""


def test_every_split_gives_the_same_steps() -> None:
    """The client's bytes cut anywhere, or one at a time, give the same steps and answers (PG-27)."""
    whole = plain()
    expected = (feed(whole, LOGIN), whole.to_client())
    for at in range(len(LOGIN)):
        login = plain()
        assert (feed(login, LOGIN[:at], LOGIN[at:]), login.to_client()) == expected
    login = plain()
    assert feed(login, *(LOGIN[at : at + 1] for at in range(len(LOGIN)))) == expected[0]


@given(st.binary(max_size=80) | st.binary(max_size=60).map(lambda body: struct.pack("!i", len(body) + 4) + body))
def test_garbage_from_a_client_is_refused(data: bytes) -> None:
    """Any first bytes give steps or ProtocolError with a FATAL, and nothing else."""
    login = plain()
    try:
        login.receive(data)
    except ProtocolError:
        assert errors(login.to_client())[-1]["S"] == "FATAL"


def test_gss_encryption_is_answered_no_and_tls_may_follow() -> None:
    """libpq asks for GSS first, then for TLS: N, then S (PG-18)."""
    login = ClientLogin()
    assert login.receive(wire.GSSENC_REQUEST) == []
    assert login.to_client() == b"N"
    assert login.receive(wire.SSL_REQUEST) == [StartTls()]
    assert login.to_client() == b"S"


def test_without_a_certificate_tls_is_answered_no() -> None:
    """A door without TLS says N, and then asks for nothing over plaintext unless the listener allows it."""
    login = ClientLogin(tls_available=False)
    assert login.receive(wire.SSL_REQUEST) == []
    assert login.to_client() == b"N"
    (step,) = login.receive(STARTUP)
    assert isinstance(step, Refused)
    assert errors(login.to_client())[0]["C"] == "28000"


@pytest.mark.parametrize(
    "chunks",
    [
        [wire.SSL_REQUEST + STARTUP],  # CVE-2021-23214 (PG-17)
        [wire.SSL_REQUEST + b"\x16"],
        [wire.GSSENC_REQUEST + STARTUP],
        [wire.SSL_REQUEST, wire.SSL_REQUEST],
        [wire.SSL_REQUEST, wire.GSSENC_REQUEST],
        [wire.GSSENC_REQUEST, wire.GSSENC_REQUEST],
        [b"\0\0\0\x09\x04\xd2\x16\x2fx"],  # a request with something in it
        [b"\0\0\0\x07abc"],
        [b"\0\0\0\0"],
        [b"\xff\xff\xff\xff"],
        [b"\x7f\xff\xff\xff"],
        [b"\0\0\x27\x11"],  # 10,001
        [b"GET / HTTP/1.1\r\n"],
        [b"\x16\x03\x01\x02\x00"],  # TLS, on a listener that did not look
        [STARTUP, wire.query(b"select 1")],
        [STARTUP, b"p\0\0\0\4"],
        [STARTUP, b"p\0\0\0\6ab"],
        [STARTUP, b"p" + struct.pack("!i", MAX_TOKEN + 6)],
        [STARTUP, b"p\xff\xff\xff\xff"],
        [wire.cancel_request(1, b"abcd") + b"x", b"y"],
        [wire.cancel_request(1, b"abcd"), b"y"],
    ],
)
def test_what_a_client_must_not_send(chunks: list[bytes]) -> None:
    """Stuffed, doubled, malformed and oversized packets end the login with ProtocolError."""
    login = ClientLogin(plaintext_allowed=True)
    with pytest.raises(ProtocolError):
        feed(login, *chunks)
    with pytest.raises(ProtocolError):
        login.receive(STARTUP)


def test_the_login_is_bounded_in_bytes() -> None:
    """Whatever a client sends before it is let in stays within 64 KiB, also while its token is looked at."""
    login = plain()
    login.receive(LOGIN)
    with pytest.raises(ProtocolError, match="before authentication"):
        login.receive(b"x" * MAX_PRE_AUTH)


def test_what_is_sent_ahead_is_kept_for_the_conversation() -> None:
    """Bytes that follow the token before its acceptance are handed on, not lost and not read as login."""
    login = plain()
    assert isinstance(login.receive(LOGIN + wire.query(b"select 1"))[-1], Presented)
    assert login.receive(wire.SYNC) == []
    login.accept({}, 1, b"abcd")
    assert login.leftover == wire.query(b"select 1") + wire.SYNC


@pytest.mark.parametrize("secret", [b"abcd", b"s" * 32, b"s" * 256])
def test_a_cancel_request_is_passed_up(secret: bytes) -> None:
    """A CancelRequest, with the long key of protocol 3.2 too, is a step with no answer (PG-24)."""
    login = ClientLogin()
    assert login.receive(wire.cancel_request(-3, secret)) == [Cancel(-3, secret)]
    assert login.to_client() == b""


@pytest.mark.parametrize("size", [0, 3, 257])
def test_a_cancel_key_of_an_impossible_size_is_refused(size: int) -> None:
    """Keys shorter than 4 or longer than 256 bytes do not exist."""
    packet = struct.pack("!iIi", 12 + size, wire.CANCEL_REQUEST_CODE, 1) + b"s" * size
    with pytest.raises(ProtocolError):
        ClientLogin().receive(packet)


@pytest.mark.parametrize(
    ("parameters", "allowed"),
    [
        ({"client_encoding": "'utf-8'"}, {}),  # asyncpg
        ({"client_encoding": "UTF8"}, {}),
        ({"client_encoding": "UNICODE"}, {}),
        ({"client_encoding": "SQL_ASCII"}, {}),  # psql in the C locale
        ({"options": " "}, {}),
        ({"standard_conforming_strings": "on"}, {}),
        (  # JDBC
            {"DateStyle": "ISO", "TimeZone": "Europe/Berlin", "extra_float_digits": "2"},
            {"datestyle": "ISO", "timezone": "Europe/Berlin", "extra_float_digits": "2"},
        ),
        ({"fallback_application_name": "x"}, None),
        ({"search_path": "public"}, {"search_path": "public"}),
        ({"statement_timeout": "5000"}, {"statement_timeout": "5000"}),
        ({"replication": "database"}, None),  # PG-14
        ({"replication": "true"}, None),
        ({"replication": "off"}, None),
        ({"Replication": "on"}, None),
        ({"options": "-c role=postgres"}, None),  # PG-15
        ({"options": "--standard_conforming_strings=off"}, None),
        ({"Options": "-crole=postgres"}, None),
        ({"role": "postgres"}, None),
        ({"session_authorization": "postgres"}, None),
        ({"session_replication_role": "replica"}, None),
        ({"standard_conforming_strings": "off"}, None),
        ({"client_encoding": "LATIN1"}, None),
        ({"client_encoding": "SJIS"}, None),
        ({"client_encoding": ""}, None),
        ({"local_preload_libraries": "x"}, None),
        ({"work_mem": "1GB"}, None),
        ({"no_such_setting": "1"}, None),
        ({"TimeZone": "UTC", "timezone": "PST"}, None),  # which one?
        ({"User": "postgres"}, None),
    ],
)
def test_startup_parameters_by_allow_list(parameters: dict[str, str], allowed: dict[str, str] | None) -> None:
    """What is on the list goes on, by its lower-case name; encoding is pinned; everything else is a FATAL."""
    login = plain()
    (step,) = login.receive(wire.startup({"user": "u", **parameters}))
    if allowed is None:
        assert isinstance(step, Refused)
        (fatal,) = errors(login.to_client())
        assert fatal["S"] == "FATAL"
        assert fatal["H"]
    else:
        assert step == Startup("u", "u", allowed, wire.PROTOCOL_3_0)


def test_without_a_user_there_is_no_login() -> None:
    """A start-up packet without a user is refused as PostgreSQL refuses it."""
    (step,) = plain().receive(wire.startup({"database": "shop"}))
    assert isinstance(step, Refused)
    assert step.sqlstate == "28000"


@pytest.mark.parametrize(
    ("asked", "options", "spoken", "negotiated"),
    [
        (3 << 16, [], wire.PROTOCOL_3_0, None),
        (3 << 16 | 2, [], wire.PROTOCOL_3_2, None),
        (3 << 16 | 1, [], wire.PROTOCOL_3_0, (wire.PROTOCOL_3_0, ())),
        (3 << 16 | 9999, [], wire.PROTOCOL_3_2, (wire.PROTOCOL_3_2, ())),
        (3 << 16, ["_pq_.x"], wire.PROTOCOL_3_0, (wire.PROTOCOL_3_0, ("_pq_.x",))),
        (3 << 16 | 2, ["_pq_.x", "_pq_.y"], wire.PROTOCOL_3_2, (wire.PROTOCOL_3_2, ("_pq_.x", "_pq_.y"))),
    ],
)
def test_protocol_versions(
    asked: int, options: list[str], spoken: int, negotiated: tuple[int, tuple[str, ...]] | None
) -> None:
    """3.0 and 3.2 are spoken; newer versions and unknown options are negotiated by the gateway itself (PG-16)."""
    login = plain()
    (step,) = login.receive(wire.startup({"user": "u", **dict.fromkeys(options, "1")}, asked))
    assert isinstance(step, Startup)
    assert step.protocol == login.protocol == spoken
    assert step.parameters == {}
    messages = Frames(10000).feed(login.to_client())
    found = [
        wire.parse_negotiate_protocol_version(body)
        for kind, body in messages
        if kind == Backend.NEGOTIATE_PROTOCOL_VERSION
    ]
    assert found == ([] if negotiated is None else [negotiated])
    assert messages[-1][0] == Backend.AUTHENTICATION


@pytest.mark.parametrize("major", [0, 1, 2, 4, 255, 1234])
def test_other_majors_are_refused(major: int) -> None:
    """Protocols 1, 2 and 4 do not exist here."""
    (step,) = plain().receive(wire.startup({"user": "u"}, major << 16))
    assert isinstance(step, Refused)
    assert step.sqlstate == "0A000"


def test_the_cancel_key_fits_the_protocol() -> None:
    """A key of 32 bytes is for protocol 3.2; in 3.0 it would be read as something else."""
    login = ClientLogin(tls=True)
    login.receive(wire.startup({"user": "u"}, wire.PROTOCOL_3_2) + wire.password_message(b"t"))
    login.accept({}, 1, b"s" * 32)
    old = plain()
    old.receive(LOGIN)
    with pytest.raises(ValueError, match="4 bytes"):
        old.accept({}, 1, b"s" * 32)


def test_nobody_is_let_in_without_a_token() -> None:
    """accept before a token was presented is a mistake of the caller, and says so."""
    login = plain()
    with pytest.raises(ValueError, match="presented"):
        login.accept({}, 1, b"abcd")
    login.receive(STARTUP)
    with pytest.raises(ValueError, match="presented"):
        login.accept({}, 1, b"abcd")


def test_refusing_takes_back_the_question() -> None:
    """A login refused at start-up (no such target) does not ask for the token first."""
    login = plain()
    login.receive(STARTUP)
    login.refuse("3D000", "no such target", "ask your administrator")
    (kind, body), *rest = Frames(1000).feed(login.to_client())
    assert kind == Backend.ERROR_RESPONSE
    assert not rest
    assert wire.parse_error(body)["H"] == "ask your administrator"
    with pytest.raises(ProtocolError):
        login.receive(b"x")


@pytest.mark.parametrize("token", [b"", b"\xff\xfe", "gehe\u00efm".encode()])
def test_what_cannot_be_a_token_is_refused(token: bytes) -> None:
    """No token, or one that is not ASCII, is 28P01 with a hint, and its bytes are not repeated."""
    login = plain()
    login.receive(STARTUP)
    login.to_client()
    (step,) = login.receive(wire.password_message(token))
    assert isinstance(step, Refused)
    assert step.sqlstate == "28P01"
    out = login.to_client()
    assert not token or token not in out


def test_direct_tls_is_known_by_its_first_byte() -> None:
    """A ClientHello begins with 0x16, which no acceptable start-up packet does."""
    assert is_direct_tls(0x16)
    assert not any(is_direct_tls(packet[0]) for packet in (STARTUP, wire.SSL_REQUEST, wire.cancel_request(1, b"abcd")))


# --- the server leg ----------------------------------------------------------------------------------------------

PASSWORD = b"pencil"


def md5_hex(text: bytes) -> bytes:
    return hashlib.md5(text, usedforsecurity=False).hexdigest().encode()


STATUS = wire.parameter_status("client_encoding", "UTF8") + wire.parameter_status("standard_conforming_strings", "on")
READY = STATUS + wire.backend_key_data(9, b"abcd") + wire.ready_for_query(wire.IDLE)
OK = wire.authentication_ok()


def server_login(
    *auth: str,
    tls: bool = False,
    verified: bool = False,
    binding: bytes | None = None,
    protocol: int = wire.PROTOCOL_3_0,
) -> ServerLogin:
    allowed = frozenset(auth or ("scram-sha-256",))
    return ServerLogin(
        "app", "shop", PASSWORD, {"application_name": "doorward"}, allowed, tls, verified, binding, "nonce",
        protocol=protocol,
    )  # fmt: skip


def sasl_body(message: bytes, *, first: bool) -> tuple[str, bytes]:
    """Mechanism and response of a SASLInitialResponse, or the response of a SASLResponse."""
    ((_, body),) = Frames(10000).feed(message)
    if not first:
        return "", body
    mechanism, _, rest = body.partition(b"\0")
    return mechanism.decode(), rest[4:]


def scram_until_proof(login: ServerLogin, server: ScramServer, *mechanisms: str) -> tuple[str, bytes]:
    """Plays SCRAM up to the client's proof: the mechanism, and the server's signature."""
    login.to_server()
    login.receive(wire.authentication_sasl(mechanisms or ("SCRAM-SHA-256",)))
    mechanism, first = sasl_body(login.to_server(), first=True)
    login.receive(wire.authentication_sasl_continue(server.challenge(first)))
    assert login.to_server() == b""
    work = login.pending_work
    assert work is not None
    work()
    login.receive(b"")
    return mechanism, server.finish(sasl_body(login.to_server(), first=False)[1])


def test_the_startup_message_pins_what_must_not_vary() -> None:
    """User, database and settings go out; encoding and string syntax are the gateway's, whoever says otherwise."""
    login = ServerLogin(
        "app", "shop", b"", {"standard_conforming_strings": "off", "a": "b"}, frozenset(), False, False, None, "n"
    )
    assert wire.parse_startup(login.to_server()[4:]) == (
        wire.PROTOCOL_3_0,
        {
            "user": "app",
            "database": "shop",
            "standard_conforming_strings": "on",
            "a": "b",
            "client_encoding": "UTF8",
        },
    )
    assert login.to_server() == b""


def test_scram_to_ready() -> None:
    """SCRAM, the server's signature, parameters, key, ReadyForQuery: done, with all that the relay needs."""
    login = server_login()
    _, signature = scram_until_proof(login, ScramServer(PASSWORD))
    login.receive(wire.authentication_sasl_final(signature) + OK + READY)
    assert login.done
    assert login.parameters == {"client_encoding": "UTF8", "standard_conforming_strings": "on"}
    assert (login.pid, login.secret, login.method) == (9, b"abcd", "SCRAM-SHA-256")


def test_every_split_of_the_servers_answers() -> None:
    """The server's bytes one at a time give the same login (PG-27)."""
    login = server_login()
    _, signature = scram_until_proof(login, ScramServer(PASSWORD))
    for byte in wire.authentication_sasl_final(signature) + OK + READY:
        assert not login.done
        login.receive(bytes((byte,)))
    assert login.done


@pytest.mark.parametrize(
    ("binding", "offered", "chosen"),
    [
        (b"hash", ("SCRAM-SHA-256-PLUS", "SCRAM-SHA-256"), "SCRAM-SHA-256-PLUS"),
        (b"hash", ("SCRAM-SHA-256",), "SCRAM-SHA-256"),
        (None, ("SCRAM-SHA-256",), "SCRAM-SHA-256"),
    ],
)
def test_the_channel_is_bound_where_it_can_be(binding: bytes | None, offered: tuple[str, ...], chosen: str) -> None:
    """With a certificate's hash -PLUS is taken when offered."""
    login = server_login(tls=True, verified=True, binding=binding)
    mechanism, signature = scram_until_proof(login, ScramServer(PASSWORD), *offered)
    login.receive(wire.authentication_sasl_final(signature) + OK + READY)
    assert login.done
    assert login.method == mechanism == chosen


def test_what_comes_while_the_key_is_derived_waits() -> None:
    """Bytes that arrive while a thread derives the key are looked at afterwards."""
    login = server_login()
    login.to_server()
    login.receive(wire.authentication_sasl(["SCRAM-SHA-256"]))
    _, first = sasl_body(login.to_server(), first=True)
    login.receive(wire.authentication_sasl_continue(ScramServer(PASSWORD).challenge(first)))
    login.receive(wire.error_response("FATAL", "57P01", "going down"))
    work = login.pending_work
    assert work is not None
    work()
    with pytest.raises(UpstreamError, match="57P01"):
        login.receive(b"")


@pytest.mark.parametrize(
    ("allowed", "verified", "asked", "sent"),
    [
        ("cleartext", True, wire.authentication_cleartext_password(), wire.password_message(PASSWORD)),
        (
            "md5",
            False,
            wire.authentication_md5_password(b"salt"),
            wire.password_message(b"md5" + md5_hex(md5_hex(PASSWORD + b"app") + b"salt")),
        ),
    ],
)
def test_weaker_methods_where_allowed(allowed: str, verified: bool, asked: bytes, sent: bytes) -> None:
    """md5 and cleartext answer what they must, and are then complete."""
    login = server_login(allowed, tls=verified, verified=verified)
    login.to_server()
    login.receive(asked)
    assert login.to_server() == sent
    login.receive(OK + READY)
    assert login.done
    assert login.method == allowed


@pytest.mark.parametrize(
    ("auth", "tls", "asked"),
    [
        (("scram-sha-256",), False, wire.authentication_cleartext_password()),  # a downgrade (PG-26)
        (("scram-sha-256", "md5"), True, wire.authentication_cleartext_password()),
        (("cleartext",), False, wire.authentication_cleartext_password()),
        (("cleartext",), True, wire.authentication_cleartext_password()),  # TLS, but to whom?
        (("scram-sha-256",), False, wire.authentication_md5_password(b"salt")),
        (("scram-sha-256",), False, OK),
        (("md5",), False, wire.authentication_sasl(["SCRAM-SHA-256"])),
    ],
)
def test_a_downgrade_gets_nothing(auth: tuple[str, ...], tls: bool, asked: bytes) -> None:
    """A method that this target may not ask for ends the login before a byte is answered."""
    login = server_login(*auth, tls=tls)
    login.to_server()
    with pytest.raises(UpstreamError) as caught:
        login.receive(asked)
    assert login.to_server() == b""
    assert PASSWORD.decode() not in str(caught.value) + caught.value.hint


def hostile(name: str, *script: bytes) -> object:
    return pytest.param(script, id=name)


def listen(login: ServerLogin, script: tuple[bytes, ...]) -> None:
    for data in script:
        login.receive(data)


NOTICE = wire.notice_response("NOTICE", "00000", "again")


@pytest.mark.parametrize(
    "script",
    [
        hostile("ok in the middle of SCRAM", wire.authentication_sasl(["SCRAM-SHA-256"]), OK),
        hostile("asks twice", wire.authentication_sasl(["SCRAM-SHA-256"]) * 2),
        hostile("truncated SASL", wire.message(Backend.AUTHENTICATION, b"\0\0\0\x0aSCRAM-SHA-256")),
        hostile("no mechanism", wire.authentication_sasl([])),
        hostile("continue before start", wire.authentication_sasl_continue(b"r=x,s=eA==,i=4096")),
        hostile("final before start", wire.authentication_sasl_final(b"v=eA==")),
        hostile(
            "truncated challenge", wire.authentication_sasl(["SCRAM-SHA-256"]), wire.authentication_sasl_continue(b"r=")
        ),
        hostile(
            "a thousand million iterations",
            wire.authentication_sasl(["SCRAM-SHA-256"]),
            wire.authentication_sasl_continue(b"r=nonceX,s=c2FsdA==,i=1000000000"),
        ),
        hostile("Kerberos", wire.message(Backend.AUTHENTICATION, b"\0\0\0\2")),
        hostile("GSS", wire.message(Backend.AUTHENTICATION, b"\0\0\0\7")),
        hostile("no code", wire.message(Backend.AUTHENTICATION, b"\0")),
        hostile("md5 with a short salt", wire.message(Backend.AUTHENTICATION, b"\0\0\0\5abc")),
        hostile("parameters first", STATUS),
        hostile("a key first", wire.backend_key_data(1, b"abcd")),
        hostile("ready at once", wire.ready_for_query(wire.IDLE)),
        hostile("rows at once", wire.data_row([b"x"])),
        hostile("notices without end", NOTICE * 300),
        hostile("notices that are huge", wire.notice_response("NOTICE", "00000", "x" * 100_000) * 3),
        hostile("a negotiation nobody asked for", wire.negotiate_protocol_version(0, [])),
        hostile("an unknown type", b"\x01\0\0\0\4"),
        hostile("a malformed error", wire.message(Backend.ERROR_RESPONSE, b"Mx")),
        hostile("a huge length", b"R\x7f\xff\xff\xff"),
        hostile("a length of three", b"R\0\0\0\3"),
        hostile("HTTP", b"HTTP/1.1 400 Bad Request\r\n\r\n"),
    ],
)
def test_a_hostile_server_before_authentication(script: tuple[bytes, ...]) -> None:
    """Whatever a server does out of order ends the login with ProtocolError, and it stays ended (PG-26)."""
    login = server_login("scram-sha-256", "md5")
    login.to_server()
    with pytest.raises(ProtocolError):
        listen(login, script)
    with pytest.raises(ProtocolError):
        login.receive(OK + READY)
    assert not login.done


@pytest.mark.parametrize(
    "script",
    [
        hostile("no authentication at all", OK),
        hostile("a signature of nobody", wire.authentication_sasl_final(b"v=" + b"A" * 43 + b"="), OK),
        hostile("no signature", wire.authentication_sasl_final(b""), OK),
    ],
)
def test_a_server_that_does_not_know_the_password(script: tuple[bytes, ...]) -> None:
    """SCRAM is mutual: AuthenticationOk without the server's own proof is refused."""
    login = server_login()
    scram_until_proof(login, ScramServer(PASSWORD))
    with pytest.raises(ProtocolError):
        listen(login, script)


@pytest.mark.parametrize(
    "script",
    [
        hostile("parameters without end", wire.parameter_status("a", "b") * 300),
        hostile("keys without end", wire.backend_key_data(1, b"abcd") * 2),
        hostile("a long key in protocol 3.0", wire.backend_key_data(1, b"abcdefgh")),
        hostile("a key too long", wire.message(Backend.BACKEND_KEY_DATA, b"k" * 261)),
        hostile("ok twice", OK),
        hostile("asks again", wire.authentication_cleartext_password()),
        hostile("rows", wire.data_row([b"x"])),
        hostile("an unsolicited CopyIn", wire.copy_in_response(0, 1)),
        hostile("a notification", wire.message(Backend.NOTIFICATION_RESPONSE, b"\0\0\0\1c\0p\0")),
        hostile("inside a transaction", STATUS + wire.ready_for_query(wire.IN_TRANSACTION)),
        hostile("a status that does not exist", STATUS + wire.message(Backend.READY_FOR_QUERY, b"X")),
        hostile("more behind ready", READY + NOTICE),
        hostile("a piece more behind ready", READY + b"N"),
        hostile("more after ready", READY, NOTICE),
        hostile("negotiates late", wire.negotiate_protocol_version(0, [])),
    ],
)
def test_a_hostile_server_after_authentication(script: tuple[bytes, ...]) -> None:
    """Between AuthenticationOk and ReadyForQuery only parameters, one key and a few notices may come."""
    login = server_login("none")
    login.to_server()
    login.receive(OK)
    with pytest.raises(ProtocolError):
        listen(login, script)


@pytest.mark.parametrize(
    "status",
    [
        b"",
        wire.parameter_status("client_encoding", "UTF8"),
        wire.parameter_status("client_encoding", "UTF8") + wire.parameter_status("standard_conforming_strings", "off"),
        STATUS + wire.parameter_status("client_encoding", "SJIS"),
    ],
)
def test_a_server_that_lexes_otherwise_is_refused(status: bytes) -> None:
    """When the server does not run with the pinned settings, what was judged is not what would run."""
    login = server_login("none")
    with pytest.raises(UpstreamError, match="must be"):
        login.receive(OK + status + wire.ready_for_query(wire.IDLE))


@pytest.mark.parametrize(
    ("body", "words"),
    [
        (b"SFATAL\0C28P01\0Mpassword authentication failed\0\0", "28P01.*password authentication failed"),
        (b"\0", "no SQLSTATE.*no reason"),
        (b"M\x1b[2Jgone\xff\0\0", "gone"),
        (b"C" + b"9" * 500 + b"\0M" + b"x" * 5000 + b"\0\0", "xxx"),
    ],
)
def test_a_refusal_is_safe_to_show(body: bytes, words: str) -> None:
    """A server's error becomes one short line without control characters, whatever is in it or missing."""
    login = server_login()
    with pytest.raises(UpstreamError, match=words) as caught:
        login.receive(wire.message(Backend.ERROR_RESPONSE, body))
    assert len(caught.value.message) < 400
    assert caught.value.message.isprintable()


def test_versions_are_negotiated_down_only() -> None:
    """Asked for 3.2, a server may say 3.0; it may not say 3.9, nor 2.0, nor name options that were not sent."""
    login = server_login("none", protocol=wire.PROTOCOL_3_2)
    assert wire.parse_startup(login.to_server()[4:])[0] == wire.PROTOCOL_3_2
    login.receive(wire.negotiate_protocol_version(0, []) + OK + READY)
    assert login.done
    assert login.protocol == wire.PROTOCOL_3_0
    for body in (struct.pack("!II", 3 << 16 | 9, 0), struct.pack("!II", 2 << 16, 0)):
        with pytest.raises(ProtocolError):
            server_login(protocol=wire.PROTOCOL_3_2).receive(wire.message(Backend.NEGOTIATE_PROTOCOL_VERSION, body))
    with pytest.raises(ProtocolError):
        server_login(protocol=wire.PROTOCOL_3_2).receive(wire.negotiate_protocol_version(0, ["_pq_.x"]))


def test_a_long_key_of_protocol_3_2() -> None:
    """Spoken 3.2, the key has up to 256 bytes."""
    login = server_login("none", protocol=wire.PROTOCOL_3_2)
    login.receive(OK + STATUS + wire.backend_key_data(1, b"k" * 256) + wire.ready_for_query(wire.IDLE))
    assert login.secret == b"k" * 256


def forgotten(play: Callable[[ServerLogin], None]) -> bool:
    login = server_login("cleartext", tls=True, verified=True)
    login.to_server()
    try:
        play(login)
    except (ProtocolError, UpstreamError):
        pass
    return PASSWORD not in [getattr(login, name) for name in vars(login)]


@pytest.mark.parametrize(
    "play",
    [
        lambda login: login.receive(wire.authentication_cleartext_password() + OK),
        lambda login: login.receive(wire.error_response("FATAL", "28P01", "no")),
        lambda login: login.receive(b"garbage"),
    ],
)
def test_the_password_is_kept_no_longer_than_needed(play: Callable[[ServerLogin], None]) -> None:
    """After success and after failure the login no longer holds the credential."""
    assert forgotten(play)


@pytest.mark.parametrize("protocol", [wire.PROTOCOL_3_0, wire.PROTOCOL_3_2])
@given(data=st.lists(st.binary(max_size=40), max_size=4))
def test_garbage_from_a_server_is_refused(protocol: int, data: list[bytes]) -> None:
    """Any bytes from a target raise ProtocolError or UpstreamError, or wait for more, and never log in."""
    login = server_login("none", "md5", protocol=protocol)
    try:
        for chunk in data:
            login.receive(chunk)
    except (ProtocolError, UpstreamError):
        pass
    assert not login.done
