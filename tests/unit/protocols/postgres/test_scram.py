"""SCRAM against the vectors of the RFCs, SASLprep against PostgreSQL's rules, and servers that lie."""

from __future__ import annotations

import base64
import hmac
import time

import pytest
from hypothesis import given
from hypothesis import strategies as st

from doorward.errors import ProtocolError
from doorward.protocols.postgres import scram
from doorward.protocols.postgres.scram import SCRAM_SHA_256, SCRAM_SHA_256_PLUS, ScramClient
from tests.unit.protocols.postgres.scram_server import ScramServer

# RFC 7677 section 3: user "user", password "pencil".
NONCE = "rOprNGfwEbeRWgbNEkqO"
CHALLENGE = b"r=rOprNGfwEbeRWgbNEkqO%hvYDpWUa2RaTCAfuxFIlj)hNlF$k0,s=W22ZaJ0SNY7soEsUEjb6gQ==,i=4096"
FINAL = b"c=biws,r=rOprNGfwEbeRWgbNEkqO%hvYDpWUa2RaTCAfuxFIlj)hNlF$k0,p=dHzbZapWIk4jUhN+Ute9ytag9zjfMHgsqmmiz7AndVQ="
SIGNATURE = b"v=6rriTRBi23WpRR/wtup+mMhUZUn/dB5nLTJRsjl95G4="


def client() -> ScramClient:
    return ScramClient(SCRAM_SHA_256, b"pencil", NONCE, None, user="user")


def test_the_vector_of_rfc_7677() -> None:
    """The exchange of RFC 7677 section 3, byte for byte."""
    exchange = client()
    assert exchange.first() == b"n,,n=user,r=rOprNGfwEbeRWgbNEkqO"
    exchange.challenge(CHALLENGE)
    exchange.derive()
    assert exchange.final() == FINAL
    exchange.finish(SIGNATURE)


@pytest.mark.parametrize(
    "challenge",
    [
        CHALLENGE.replace(b"r=rOpr", b"r=xOpr"),  # a nonce that is not ours
        b"r=rOprNGfwEbeRWgbNEkqO,s=W22ZaJ0SNY7soEsUEjb6gQ==,i=4096",  # ours and nothing more: a replay
        CHALLENGE.replace(b"i=4096", b"i=4095"),
        CHALLENGE.replace(b"i=4096", b"i=1"),
        CHALLENGE.replace(b"i=4096", b"i=1000001"),
        CHALLENGE.replace(b"i=4096", b"i=1000000000"),  # hours (PG-26)
        CHALLENGE.replace(b"i=4096", b"i=-4096"),
        CHALLENGE.replace(b"i=4096", b"i=04096"),
        CHALLENGE.replace(b"i=4096", b"i=+4096"),
        CHALLENGE.replace(b"i=4096", b"i=" + b"9" * 3000),
        CHALLENGE.replace(b"i=4096", b"i="),
        CHALLENGE.replace(b"s=W22ZaJ0SNY7soEsUEjb6gQ==", b"s="),
        CHALLENGE.replace(b"s=W22ZaJ0SNY7soEsUEjb6gQ==", b"s=W22Za*0"),
        b"m=must," + CHALLENGE,
        CHALLENGE + b",x=1",
        b"",
        CHALLENGE[:30],  # truncated (PG-26)
        b"r=" + NONCE.encode() + b"\x01,s=c2FsdA==,i=4096",
        b"x" * 5000,
    ],
)
def test_a_challenge_that_cannot_be_is_refused_before_any_work(challenge: bytes) -> None:
    """A foreign nonce, too few or too many iterations, extensions and cut messages are refused, and at once."""
    started = time.perf_counter()
    with pytest.raises(ProtocolError):
        client().challenge(challenge)
    assert time.perf_counter() - started < 0.1


@pytest.mark.parametrize(
    "answer",
    [
        b"v=" + base64.b64encode(bytes(32)),
        b"v=",
        b"e=invalid-proof",
        SIGNATURE[:-8],
        SIGNATURE + b",x=1",
        b"",
        b"v=%%%",
    ],
)
def test_a_server_that_does_not_know_the_password_is_refused(answer: bytes) -> None:
    """Without the right signature the exchange fails, whatever else the server says."""
    exchange = client()
    exchange.challenge(CHALLENGE)
    exchange.derive()
    exchange.final()
    with pytest.raises(ProtocolError):
        exchange.finish(answer)


def test_no_signature_is_right_before_the_key_is_derived() -> None:
    """An exchange without a key accepts nothing: the HMAC of an empty key is known to everybody."""
    exchange = client()
    exchange.challenge(CHALLENGE)
    empty = hmac.digest(hmac.digest(b"", b"Server Key", "sha256"), b"", "sha256")
    with pytest.raises(ProtocolError):
        exchange.finish(b"v=" + base64.b64encode(empty))


@pytest.mark.parametrize(
    ("mechanism", "binding", "header", "bound"),
    [
        (SCRAM_SHA_256_PLUS, b"hash of it", b"p=tls-server-end-point,,", b"p=tls-server-end-point,,hash of it"),
        (SCRAM_SHA_256, b"hash of it", b"y,,", b"y,,"),
        (SCRAM_SHA_256, None, b"n,,", b"n,,"),
    ],
)
def test_the_channel_is_bound_or_said_not_to_be(
    mechanism: str, binding: bytes | None, header: bytes, bound: bytes
) -> None:
    """-PLUS binds the certificate; without it the client says whether it could have, and signs that (RFC 5802, 6)."""
    exchange = ScramClient(mechanism, b"pencil", NONCE, binding)
    server = ScramServer(b"pencil")
    assert exchange.first().startswith(header)
    exchange.challenge(server.challenge(exchange.first()))
    exchange.derive()
    final = exchange.final()
    assert final.startswith(b"c=" + base64.b64encode(bound) + b",")
    exchange.finish(server.finish(final))


@pytest.mark.parametrize(
    ("offered", "binding", "chosen"),
    [
        ((SCRAM_SHA_256_PLUS, SCRAM_SHA_256), b"hash", SCRAM_SHA_256_PLUS),
        ((SCRAM_SHA_256, SCRAM_SHA_256_PLUS), b"hash", SCRAM_SHA_256_PLUS),
        ((SCRAM_SHA_256_PLUS, SCRAM_SHA_256), None, SCRAM_SHA_256),
        ((SCRAM_SHA_256,), b"hash", SCRAM_SHA_256),
    ],
)
def test_the_strongest_mechanism_is_chosen(offered: tuple[str, ...], binding: bytes | None, chosen: str) -> None:
    """-PLUS wherever the server offers it and the channel can be bound, in whatever order it is offered."""
    assert scram.choose(offered, binding) == chosen


@pytest.mark.parametrize("offered", [(), ("SCRAM-SHA-1",), ("PLAIN", "OAUTHBEARER"), (SCRAM_SHA_256_PLUS,)])
def test_no_mechanism_in_common_is_refused(offered: tuple[str, ...]) -> None:
    """Nothing weaker is fallen back to."""
    with pytest.raises(ProtocolError):
        scram.choose(offered, None)


@pytest.mark.parametrize(
    ("raw", "prepared"),
    [
        ("I\u00adX", "IX"),  # RFC 4013 section 3: a soft hyphen is nothing
        ("user", "user"),
        ("USER", "USER"),
        ("\u00aa", "a"),
        ("\u2168", "IX"),
        ("a\u00a0b", "a b"),
        ("\u0627\u0628", "\u0627\u0628"),
    ],
)
def test_saslprep(raw: str, prepared: str) -> None:
    """The examples of RFC 4013, and a right-to-left word."""
    assert scram.prepare(raw.encode()) == prepared.encode()


@pytest.mark.parametrize(
    "raw",
    [
        b"\x07",  # ASCII is used as it is, a control character too
        "\u0627\u0031".encode(),  # RFC 4013: right-to-left that does not end so
        "\u0627a\u0628".encode(),  # both directions
        "a\u0080".encode(),  # prohibited
        "a\u0221".encode(),  # unassigned in Unicode 3.2
        b"\xff\xfe",  # not UTF-8
        "\u00ad".encode(),  # nothing would be left
        b"",
    ],
)
def test_where_saslprep_fails_the_raw_bytes_are_used(raw: bytes) -> None:
    """PostgreSQL hashes the raw bytes of a password that SASLprep forbids; so do we, or nobody could log in."""
    assert scram.prepare(raw) == raw


@given(st.binary(max_size=40) | st.text(max_size=20).map(lambda text: text.encode("utf-8", "surrogatepass")))
def test_preparing_never_fails(raw: bytes) -> None:
    """Any password at all can be used."""
    assert isinstance(scram.prepare(raw), bytes)


@given(st.binary(max_size=60))
def test_garbage_is_refused(message: bytes) -> None:
    """Any bytes in any place raise ProtocolError and nothing else."""
    with pytest.raises(ProtocolError):
        client().challenge(message)
    exchange = client()
    exchange.challenge(CHALLENGE)
    exchange.derive()
    with pytest.raises(ProtocolError):
        exchange.finish(message)
