"""PG-26: a target that lies, in its login and in every kind of answer. The session ends with an error, the gateway goes on
serving others, and the credential is never said in the clear."""

from __future__ import annotations

import socket
import time
from collections.abc import Iterator

import pytest

from doorward.protocols.postgres import wire
from doorward.protocols.postgres.wire import Column
from tests.bypass.conftest import LABELS, POLICY
from tests.bypass.test_framing import rss
from tests.rig.fakeserver import Answer, FakeServer
from tests.rig.faults import copy_of_shop
from tests.rig.gateway import Gateway, launch, target_of
from tests.rig.issuer import LocalIssuer
from tests.rig.postgres import PASSWORD, PostgresServer
from tests.rig.rawclient import RawClient

READY = wire.ready_for_query(wire.IDLE)
DONE = wire.command_complete("SELECT 1") + READY
ONE = wire.row_description([Column(b"id", 0, 0, 23, 4, -1, 0)])
TWO = wire.row_description([Column(b"id", 0, 0, 23, 4, -1, 0), Column(b"x", 0, 0, 25, -1, -1, 0)])
SSN = b"603-38-1615"


def _iterations(sock: socket.socket) -> None:
    """SCRAM with as many iterations as would keep a client busy for an hour."""
    sock.sendall(wire.authentication_sasl(["SCRAM-SHA-256"]))
    first = sock.recv(4096)
    nonce = first.rpartition(b"r=")[2]
    sock.sendall(wire.authentication_sasl_continue(b"r=" + nonce + b"x,s=c2FsdHNhbHQ=,i=1000000000"))


def _unproved(sock: socket.socket) -> None:
    """AuthenticationOk in the middle of SCRAM: the server has not shown that it knows the password."""
    sock.sendall(wire.authentication_sasl(["SCRAM-SHA-256"]))
    sock.recv(4096)
    sock.sendall(wire.authentication_ok() + READY)


def _endless(message: bytes) -> Answer:
    def say(sock: socket.socket) -> None:
        chunk = message * 200
        for _ in range(2000):
            sock.sendall(chunk)

    return say


def _dribbled(sock: socket.socket) -> None:
    sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    text = ONE + wire.data_row([b"17"]) + wire.notice_response("NOTICE", "00000", "slow") + DONE
    for at in range(len(text)):
        sock.sendall(text[at : at + 1])
        time.sleep(0.001)


LOGIN_LIES: dict[str, Answer] = {
    "cleartext": wire.authentication_cleartext_password(),
    "md5": wire.authentication_md5_password(b"salt"),
    "no_authentication": wire.authentication_ok() + READY,
    "iterations": _iterations,
    "unproved": _unproved,
    "truncated_sasl": b"R\0\0\0\x0a\0\0\0\x0aSC",
    "unknown_method": wire.message(ord("R"), (7).to_bytes(4, "big")),
    "error_without_sqlstate": wire.message(ord("E"), b"SFATAL\0Mgo away\0\0"),
    "empty_error": wire.message(ord("E"), b"\0"),
    "unterminated_error": wire.message(ord("E"), b"SFATAL"),
    "endless_parameters": _endless(wire.parameter_status("x", "y" * 100)),
    "endless_notices": _endless(wire.message(ord("N"), b"SNOTICE\0C00000\0Mhello\0\0")),
    "early_rows": wire.data_row([b"1"]),
    "early_copy": wire.copy_in_response(0, 1),
    "garbage": bytes(range(256)) * 4,
    "huge": b"R\x7f\xff\xff\xff" + b"x" * 1000,
    "negative": b"R\xff\xff\xff\xff",
    "hang_up": lambda sock: sock.close(),
}

SESSION_LIES: dict[str, Answer] = {
    "wider": ONE + wire.data_row([b"1", SSN]) + DONE,
    "narrower": TWO + wire.data_row([b"1"]) + DONE,
    "undescribed": wire.data_row([SSN]) + DONE,
    "copy_in": wire.copy_in_response(0, 1),
    "copy_out": wire.message(ord("H"), b"\0\0\1\0\0") + wire.copy_data(SSN + b"\n") + wire.COPY_DONE + DONE,
    "copy_both": wire.message(ord("W"), b"\0\0\0"),
    "copy_data": wire.copy_data(SSN) + DONE,
    "parse_complete": wire.PARSE_COMPLETE + DONE,
    "function_result": wire.message(ord("V"), b"\0\0\0\x0b" + SSN) + READY,
    "key_again": wire.backend_key_data(1, b"abcd") + DONE,
    "keys_again": wire.backend_key_data(1, b"abcd") * 10_000,
    "login_again": wire.authentication_cleartext_password(),
    "negotiate": wire.negotiate_protocol_version(0, ["_pq_.x"]),
    "ready_for_what": wire.message(ord("Z"), b"C"),
    "unknown_type": b"~\0\0\0\4" + DONE,
    "length_0": b"D\0\0\0\0" + DONE,
    "length_negative": b"D\xff\xff\xff\xff" + DONE,
    "length_huge": b"D\x7f\xff\xff\xff" + b"x" * 1000,
    "notice_huge": b"N\x7f\xff\xff\xff" + b"x" * 1000,
    "value_too_long": ONE + wire.message(ord("D"), b"\0\1\x7f\xff\xff\xff1") + DONE,
    "value_negative": ONE + wire.message(ord("D"), b"\0\1\xff\xff\xff\xfe") + DONE,
    "row_with_more": ONE + wire.message(ord("D"), b"\0\1\0\0\0\1" + b"1" + SSN) + DONE,
    "strings_off": wire.parameter_status("standard_conforming_strings", "off") + DONE,
    "encoding": wire.parameter_status("client_encoding", "SJIS") + DONE,
    "portal_suspended": ONE + wire.PORTAL_SUSPENDED + READY,
    "complete_without_nul": wire.message(ord("C"), b"SELECT 1"),
    "unterminated_error": wire.message(ord("E"), b"SERROR\0C42501") + READY,
    "hang_up": lambda sock: sock.close(),
}

# Odd, and yet an answer: the client hears it, masked where it must be.
ANSWERS: dict[str, Answer] = {
    "described_twice": ONE + wire.data_row([b"1"]) + TWO + wire.data_row([b"1", SSN]) + DONE,  # a rule may do this
    "error_without_sqlstate": wire.message(ord("E"), b"SERROR\0Mno code " + SSN + b"\0\0") + READY,
    "empty_error": wire.message(ord("E"), b"\0") + READY,
    "many_notices": wire.notice_response("NOTICE", "00000", "n") * 30_000 + ONE + wire.data_row([b"1"]) + DONE,
    "unlabelled": wire.row_description([Column(b"innocent", 0, 0, 25, -1, -1, 0)]) + wire.data_row([SSN]) + DONE,
}


@pytest.fixture(scope="module")
def fake(postgres: PostgresServer) -> Iterator[FakeServer]:
    with FakeServer(
        postgres, at_login=LOGIN_LIES, answers={**SESSION_LIES, **ANSWERS, "dribbled": _dribbled}
    ) as server:
        yield server


@pytest.fixture(scope="module")
def liars(
    tmp_path_factory: pytest.TempPathFactory, fake: FakeServer, postgres: PostgresServer, corpus_issuer: LocalIssuer
) -> Iterator[Gateway]:
    """A gateway whose every target is the liar: `shop` logs in, the others are lied to before that."""
    folder = tmp_path_factory.mktemp("liars")
    own = copy_of_shop(postgres, "liars")
    shop = target_of(
        own, folder, host="127.0.0.1", port=fake.port, tls="disable", tls_ca=None, labels=LABELS, detect=False
    )
    others = [{**shop, "name": name.replace("_", "-"), "database": name} for name in LOGIN_LIES]
    with launch(folder, corpus_issuer, postgres, targets=[shop, *others], policy=POLICY) as running:
        yield running


def serves(gateway: Gateway) -> None:
    with RawClient.to(gateway, groups=["readers"]) as client:
        assert client.query("select 41 + 1").values == ["42"]


@pytest.mark.parametrize("lie", LOGIN_LIES)
def test_pg_26_lies_at_login(liars: Gateway, fake: FakeServer, lie: str) -> None:
    """PG-26: a target that misbehaves before it is logged in gets no session and no password, and costs little."""
    serves(liars)
    before = rss(liars.pid)
    begun = time.monotonic()
    with pytest.raises(RuntimeError):
        RawClient.to(liars, lie.replace("_", "-"), groups=["readers"])
    assert time.monotonic() - begun < 10
    assert PASSWORD.encode() not in fake.heard
    serves(liars)
    assert rss(liars.pid) - before < 32 << 20


@pytest.mark.parametrize("extended", [False, True], ids=["simple", "extended"])
@pytest.mark.parametrize("lie", SESSION_LIES)
def test_pg_26_lies_in_answers(liars: Gateway, fake: FakeServer, lie: str, extended: bool) -> None:
    """PG-26: an answer that its question cannot have ends the session with an error; no unmasked value gets through."""
    with RawClient.to(liars, groups=["readers"]) as client:
        text = f"select id, ssn from customers /* lie:{lie} */"
        reply = client.run(text, seconds=5) if extended else client.query(text, seconds=5)
        assert reply.closed
        assert reply.sqlstate in ("08P01", "08006")
        assert SSN not in client.received
    assert PASSWORD.encode() not in fake.heard
    serves(liars)


def test_pg_26_odd_answers_are_still_answers(liars: Gateway) -> None:
    """PG-26: an error without SQLSTATE, many notices, a column that says it comes from nowhere: masked, and in step."""
    with RawClient.to(liars, groups=["readers"]) as client:
        for name in ANSWERS:
            reply = client.query(f"select ssn from customers /* lie:{name} */")
            assert reply.status == "I", name
            assert client.query("select 7").values == ["7"]
        assert SSN not in client.received


def test_pg_26_a_target_that_goes_away_in_mid_statement(liars: Gateway) -> None:
    """PG-26: the client is told, and told to check; nothing is tried again."""
    with RawClient.to(liars, groups=["anyone"]) as client:
        reply = client.query("delete from orders /* lie:hang_up */", seconds=5)
        assert reply.closed
        assert reply.sqlstate == "08006"


def test_pg_27_an_answer_that_comes_byte_by_byte_is_the_same_answer(liars: Gateway) -> None:
    """PG-27: the other direction: a target that sends one byte at a time is understood, and masked, all the same."""
    with RawClient.to(liars, groups=["readers"]) as client:
        reply = client.query("select id from orders /* lie:dribbled */")
        assert reply.kinds == "TDCZ"
        assert reply.values == ["17"]
        assert reply.notices[0]["M"] == "slow"
        assert client.query("select 7").values == ["7"]
