"""Clients that are silent, slow, greedy or hostile, and tokens that are not what they seem: over the wire."""

from __future__ import annotations

import hmac
import os
import random
import socket
import time
from typing import Any

import psycopg
import pytest
from joserfc.jwk import ECKey

from doorward.protocols.postgres import wire
from tests.rig.faults import Stage, fresh, until
from tests.rig.issuer import b64, ec_key
from tests.rig.rawclient import RawClient, encrypted, extended


def clients(stage: Stage, since: int) -> list[str]:
    """What reached the target; the gateway's own statements, which it may make at any time, name pg_catalog."""
    return [text for text in stage.database.statements(since=since) if "pg_catalog" not in text]


# -- tokens ---------------------------------------------------------------------------------------------------------


def unsigned(stage: Stage) -> str:
    return f"{b64({'alg': 'none', 'typ': 'at+jwt'})}.{b64(stage.door.issuer.claims())}."


def confused(stage: Stage) -> str:
    """Signed by HMAC with what everybody knows: the issuer's public key."""
    key = stage.door.issuer.keys[0]
    assert isinstance(key, ECKey)
    signed = f"{b64({'alg': 'HS256', 'typ': 'at+jwt', 'kid': key.kid})}.{b64(stage.door.issuer.claims())}"
    return f"{signed}.{b64(hmac.digest(key.as_pem(private=False), signed.encode(), 'sha256'))}"


def stolen_signature(stage: Stage) -> str:
    """Somebody else's claims under a signature that was made for others."""
    header, _, signature = stage.door.token().split(".")
    return f"{header}.{b64(stage.door.issuer.claims(sub='root', groups=['dba']))}.{signature}"


TOKENS: dict[str, Any] = {
    "expired": lambda s: s.door.token(exp=int(time.time()) - 3600),
    "not yet valid": lambda s: s.door.token(nbf=int(time.time()) + 3600),
    "for another audience": lambda s: s.door.token(aud="somebody-else"),
    "from another issuer": lambda s: s.door.token(iss="https://evil.example"),
    "without a subject": lambda s: s.door.token(sub=None),
    "unsigned": unsigned,
    "signed with the public key": confused,
    "signed with a key of nobody's": lambda s: s.door.issuer.mint(key=ec_key(str(s.door.issuer.keys[0].kid))),
    "with a stolen signature": stolen_signature,
    "no token at all": lambda _: "hunter2",
    "three empty parts": lambda _: "..",
    "too long": lambda _: "x" * 20_000,
}


@pytest.mark.parametrize("kind", TOKENS)
def test_a_token_that_is_not_good_lets_nobody_in(stage: Stage, kind: str) -> None:
    """Refused at login with a reason, before any connection to the target; the token itself is written nowhere."""
    since = stage.database.position()
    token = TOKENS[kind](stage)
    with pytest.raises(psycopg.OperationalError) as refused:
        stage.door.connect(token=token)
    assert "Traceback" not in str(refused.value)
    assert clients(stage, since) == []
    if len(token) > 10:
        assert token not in stage.door.log.read_text()
        assert token not in str(refused.value)


# -- bytes ----------------------------------------------------------------------------------------------------------

STARTUP = wire.startup({"user": "u", "database": "shop"})
BEFORE_LOGIN = {
    "nothing of PostgreSQL's": b"GET / HTTP/1.1\r\nHost: x\r\n\r\n",
    "a length of 2 GB": b"\x7f\xff\xff\xff\0\3\0\0",
    "a negative length": b"\xff\xff\xff\xff\0\3\0\0",
    "a start-up of zero bytes": b"\0\0\0\0",
    "an unknown version": b"\0\0\0\x08\0\x09\0\0",
    "a query before logging in": STARTUP + wire.query(b"select 1"),
    "a start-up without its end": STARTUP[:-1],
    "a start-up that asks for replication": wire.startup({"user": "u", "database": "shop", "replication": "database"}),
    "raw options": wire.startup({"user": "u", "database": "shop", "options": "-c role=admin"}),
    "a password of 1 MB": STARTUP + b"p\0\x10\0\0" + b"x" * 100_000,
}


@pytest.mark.parametrize("kind", BEFORE_LOGIN)
def test_bytes_before_login_that_cannot_be(stage: Stage, kind: str) -> None:
    """Refused or cut off, at the latest when the time for logging in is over; nothing reaches the target."""
    since = stage.database.position()
    with encrypted(stage.door) as sock:
        client = RawClient(sock)
        client.send(BEFORE_LOGIN[kind])
        answer = client.until("Z", seconds=8)
        assert answer.closed
        assert answer.status == ""
    assert clients(stage, since) == []


@pytest.mark.parametrize("seed", range(12))
def test_garbage_ends_one_session_and_no_other(stage: Stage, seed: int) -> None:
    """Random bytes, cut, doubled and flipped messages, in TLS or not: no answer but errors, and the gateway goes on."""
    chance = random.Random(seed)  # noqa: S311 - the same each time
    with RawClient.to(stage.door) as client:
        sound = [
            wire.query(b"select 1"), extended("select $1::int", [b"1"]), wire.SYNC, wire.FLUSH, wire.describe("S", b"x"),
            wire.close("P", b"p"), wire.execute(b"q"), wire.copy_data(b"x"), wire.copy_fail("no"),
        ]  # fmt: skip
        octets = bytearray(b"".join(chance.choices(sound, k=20)))
        for _ in range(chance.randrange(1, 6)):
            octets[chance.randrange(len(octets))] = chance.randrange(256)
        if seed % 3 == 0:
            octets[chance.randrange(len(octets)) :] = os.urandom(200)
        client.send(bytes(octets))
        client.until("nothing", seconds=0.3)
    with socket.create_connection(("127.0.0.1", stage.door.port)) as plain:
        plain.sendall(bytes(octets))
    assert stage.works()


OVERSIZE = {
    "a message over its limit": b"Q\x7f\xff\xff\xff",
    "a negative length": b"Q\xff\xff\xff\xff",
    "a length of zero": b"Q\0\0\0\0",
    "an unknown type": b"\x01\0\0\0\x04",
}


@pytest.mark.parametrize("kind", OVERSIZE)
def test_a_message_that_cannot_be_ends_its_session_with_an_error(stage: Stage, kind: str) -> None:
    """08P01 as PostgreSQL says it, and the connection is closed."""
    with RawClient.to(stage.door) as client:
        client.query("select 1")
        client.send(OVERSIZE[kind])
        answer = client.until("Z")
        assert (answer.closed, answer.sqlstate) == (True, "08P01")


@pytest.mark.parametrize(
    ("text", "sqlstate"),
    [(b"select 1 /* " + b"x" * (1 << 20) + b" */", "54000|42501"), (b"selec 1", "42601"), (b"select '\xff'", "42501|22021")],
    ids=["over its cap", "not SQL", "not UTF-8"],
)
def test_a_statement_that_cannot_be_judged_is_refused_and_the_connection_works(
    stage: Stage, text: bytes, sqlstate: str
) -> None:
    """An error of PostgreSQL's own kind; nothing of the statement reaches the target."""
    since = stage.database.position()
    with RawClient.to(stage.door) as client:
        answer = client.query(text)
        assert answer.sqlstate in sqlstate.split("|")
        assert answer.status == "I"
        assert client.query("select 41 + 1").values == ["42"]
    assert [s for s in stage.database.statements(since=since) if "/* xx" in s or "selec 1" in s] == []


# -- time and memory ------------------------------------------------------------------------------------------------


def test_a_thousand_silent_connections_delay_nobody(stage: Stage) -> None:
    """They are cut off when the time for logging in is over; meanwhile others sign in and work as usual."""
    begun = time.monotonic()
    assert stage.works()
    usual = time.monotonic() - begun
    silent = [socket.create_connection(("127.0.0.1", stage.door.port)) for _ in range(1000)]
    try:
        for each in silent[::2]:
            each.sendall(wire.SSL_REQUEST)
        begun = time.monotonic()
        assert stage.works()
        assert time.monotonic() - begun < usual + 2.0
        limit = time.monotonic() + 20  # pre_auth is 5 s here
        for each in silent:
            each.settimeout(max(0.1, limit - time.monotonic()))
            received = b"?"
            while received:
                received = each.recv(4096)
    finally:
        for each in silent:
            each.close()


def test_a_client_that_dribbles_its_login_is_cut_off(stage: Stage) -> None:
    """A byte now and then does not extend the time for logging in."""
    begun = time.monotonic()
    with encrypted(stage.door) as sock:
        client = RawClient(sock)
        for octet in STARTUP * 100:
            if client.send(bytes([octet])).quiet(0.2).closed:
                break
    assert time.monotonic() - begun < 10


def test_a_client_that_does_not_read_costs_bounded_memory(stage: Stage) -> None:
    """The gateway stops reading the target; 400 MB of an answer do not pile up, and others are served."""
    with RawClient.to(stage.door) as client:
        client.query("select 1")
        before = stage.rss()
        client.send(wire.query(b"select repeat('x', 100000) from generate_series(1, 4000)"))
        time.sleep(3)
        assert stage.works()
        assert stage.rss() - before < 64 << 20


def test_a_client_that_pipelines_behind_a_barrier_costs_bounded_memory(stage: Stage) -> None:
    """What cannot be judged yet is kept up to a bound; then the client is read no further."""
    with RawClient.to(stage.door) as client:
        client.query("select 1")
        before = stage.rss()
        client.send(wire.query(b"create table if not exists slow as select pg_sleep(3)::text as slept"))
        client.sock.settimeout(1.0)
        statement = wire.query(b"select 1 /* " + b"x" * 500_000 + b" */")
        try:
            for _ in range(200):
                client.sock.sendall(statement)
        except TimeoutError:
            pass
        else:
            pytest.fail("the gateway read 100 MB that it could not judge")
        assert stage.rss() - before < 64 << 20


def test_a_client_that_leaves_in_mid_statement_lets_it_finish(stage: Stage) -> None:
    """What runs is not torn down by a lost client, and its outcome is on record."""
    word = fresh()
    client = RawClient.to(stage.door, sub=word)
    client.query("select 1")
    client.send(wire.query(f"insert into marks (what) select '{word}' from (select pg_sleep(1)) s".encode()))
    until(lambda: bool(stage.seen(word, 0)))
    client.vanish()
    until(lambda: [e.body["outcome"] for e in stage.events("operation.settled", subject=word)] == ["completed"])
    with stage.database.connect() as connection:
        assert connection.execute("select count(*) from marks where what = %s", (word,)).fetchall() == [(1,)]


def test_a_held_statement_does_not_run_for_a_client_that_has_gone(stage: Stage) -> None:
    """Its request is parked; an approval that comes later runs nothing by itself."""
    word = fresh()
    client = RawClient.to(stage.door, sub=word, groups=["asking"])
    client.send(wire.query(f"insert into marks (what) values ('{word}')".encode()))
    approval = client.held().held
    client.vanish()
    until(lambda: approval in [e.body["approval"] for e in stage.events("approval.parked")])
    stage.approve(approval)
    time.sleep(1)
    assert stage.seen(word, 0) == []
