"""Targets that are not there, die or lie: every outcome is on record as what is known of it, and nothing is retried."""

from __future__ import annotations

import socket
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager

import psycopg
import pytest

from doorward.protocols.postgres import wire
from tests.rig.faults import POLICY, Faults, Stage, fresh, until
from tests.rig.gateway import launch
from tests.rig.issuer import LocalIssuer
from tests.rig.postgres import PostgresServer
from tests.rig.rawclient import RawClient, cancel, extended


@pytest.mark.parametrize(("target", "says"), [("nowhere", "refused|reach"), ("no such target", "there is no target")])
def test_a_target_that_is_not_there(stage: Stage, target: str, says: str) -> None:
    """The client is told so at login, and everybody else is served."""
    with pytest.raises(psycopg.OperationalError, match=says):
        stage.door.connect(target)
    assert stage.works()


def test_a_target_that_dies_in_mid_statement(stage: Stage) -> None:
    """Whoever waits hears the target's last words, or else that the outcome is not known; the record says the same, and
    the statement is not sent again."""
    since, word = stage.database.position(), fresh()
    with RawClient.to(stage.door, sub=word) as client:
        client.query("select 1")
        client.send(wire.query(f"insert into marks (what) select '{word}' from (select pg_sleep(30)) s".encode()))
        until(lambda: bool(stage.seen(word, since)))
        with stage.database.connect() as connection:
            connection.execute(
                "select pg_terminate_backend(pid) from pg_stat_activity where state = 'active' and query like %s"
                " and pid <> pg_backend_pid()",
                (f"insert%{word}%",),
            )
        answer = client.until("Z")
        assert answer.closed
        assert [error["C"] for error in answer.errors] == ["57P01"]
        assert "terminating connection" in answer.errors[0]["M"]
    assert len(stage.seen(word, since)) == 1
    until(lambda: [e.body["outcome"] for e in stage.events("operation.settled", subject=word)] in (["failed"], ["unknown"]))
    assert stage.works()


class Middleman:
    """A TCP relay before PostgreSQL, which a test may cut, stop or make lie."""

    def __init__(self, server: PostgresServer) -> None:
        self._server = server
        self._listening = socket.create_server(("127.0.0.1", 0))
        self.port: int = self._listening.getsockname()[1]
        self.pairs: list[tuple[socket.socket, socket.socket]] = []
        self.deaf = threading.Event()
        threading.Thread(target=self._accept, daemon=True).start()

    def _accept(self) -> None:
        while True:
            try:
                inward, _ = self._listening.accept()
            except OSError:
                return
            outward = socket.create_connection((self._server.host, self._server.port))
            self.pairs.append((inward, outward))
            for one, other in ((inward, outward), (outward, inward)):
                threading.Thread(target=self._pump, args=(one, other), daemon=True).start()

    def _pump(self, one: socket.socket, other: socket.socket) -> None:
        try:
            while data := one.recv(65536):
                while self.deaf.is_set():
                    time.sleep(0.02)
                other.sendall(data)
        except OSError:
            pass
        for each in (one, other):
            with socket_errors():
                each.shutdown(socket.SHUT_RDWR)

    def cut(self) -> None:
        """Every connection, without a word."""
        for pair in self.pairs:
            for each in pair:
                with socket_errors():
                    each.shutdown(socket.SHUT_RDWR)

    def say(self, octets: bytes) -> None:
        """To every gateway connection, as if the target had."""
        for inward, _ in self.pairs:
            with socket_errors():
                inward.sendall(octets)

    def close(self) -> None:
        self._listening.close()
        self.deaf.clear()
        self.cut()
        for pair in self.pairs:
            for each in pair:
                each.close()


@contextmanager
def socket_errors() -> Iterator[None]:
    try:
        yield
    except OSError:
        pass


@pytest.fixture(scope="module")
def middle(shared_stage: Stage) -> Iterator[Middleman]:
    found = Middleman(shared_stage.database)
    yield found
    found.close()


@pytest.fixture(scope="module")
def behind(
    middle: Middleman, shared_stage: Stage, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Stage]:
    """A gateway whose target is reached through `middle`, in the clear; statements may take 2 seconds."""
    folder = tmp_path_factory.mktemp("behind")
    issuer = LocalIssuer()
    with launch(
        folder / "door", issuer, shared_stage.database, policy=POLICY, limits={"statement": "2s"},
        target={"port": middle.port, "tls": "disable", "tls_ca": None},
    ) as door:  # fmt: skip
        yield Stage(door, Faults(folder / "none"), shared_stage.database)
    issuer.down()


def outcomes(stage: Stage, word: str) -> list[str]:
    return [e.body["outcome"] for e in stage.events("operation.settled", subject=word)]


def test_a_connection_to_the_target_that_breaks_in_mid_statement(behind: Stage, middle: Middleman) -> None:
    """The client hears 08006 with what to check; the outcome is `unknown`, because the target may have finished it."""
    since, word = behind.database.position(), fresh()
    with RawClient.to(behind.door, sub=word) as client:
        client.query("select 1")
        client.send(wire.query(f"insert into marks (what) select '{word}' from (select pg_sleep(1)) s".encode()))
        until(lambda: bool(behind.seen(word, since)))
        middle.cut()
        answer = client.until("Z")
        assert (answer.closed, answer.sqlstate) == (True, "08006")
    until(lambda: outcomes(behind, word) == ["unknown"])
    assert len(behind.seen(word, since)) == 1
    until(behind.works)


LIES = {
    "garbage": b"\xff\xff\xff\xff\xff\xff\xff\xff",
    "http": b"HTTP/1.1 200 OK\r\n\r\n",
    "rows nobody asked for": wire.data_row([b"1"]),
    "a result out of turn": wire.row_description([wire.Column(b"x", 0, 0, 25, -1, -1, 0)]),
    "an authentication request": wire.authentication_ok(),
    "a message of 2 GB": b"D\x7f\xff\xff\xff",
    "a length of zero": b"C\0\0\0\0",
    "copy data wanted": wire.copy_in_response(0, 1),
    "strings read otherwise": wire.parameter_status("standard_conforming_strings", "off"),
    "another encoding": wire.parameter_status("client_encoding", "SJIS"),
    "ready for what": wire.ready_for_query(wire.IDLE),
}


@pytest.mark.parametrize("lie", LIES)
def test_a_target_that_lies_ends_its_session_and_no_other(behind: Stage, middle: Middleman, lie: str) -> None:
    """Out of turn, oversize, unknown or dangerous: the session ends with an error of the gateway's, the gateway goes on."""
    with RawClient.to(behind.door) as client:
        client.query("select 1")
        middle.say(LIES[lie])
        answer = client.until("Z", seconds=10)
        assert answer.closed
        assert answer.sqlstate == "08P01"
        assert answer.rows == []
    until(behind.works)


def test_a_statement_past_its_limit_is_cancelled_once_and_on_record(behind: Stage) -> None:
    """The client gets 57014 and its connection works; the record holds one cancellation, with the reason."""
    word = fresh()
    with RawClient.to(behind.door, sub=word) as client:
        answer = client.query(f"insert into marks (what) select '{word}' from (select pg_sleep(60)) s", seconds=20)
        assert (answer.sqlstate, answer.status) == ("57014", "I")
        assert client.query("select 41 + 1").values == ["42"]
        # Rows that keep coming do not make a statement young again.
        answer = client.query("select pg_sleep(0.1), 'row' from generate_series(1, 100)", seconds=20)
        assert answer.sqlstate == "57014"
        assert client.query("select 41 + 1").values == ["42"]
    until(lambda: len(behind.events("operation.cancelled", subject=word)) >= 2)
    found = behind.events("operation.cancelled", subject=word)
    assert len(found) == 2
    assert all("limit of 2 s" in e.body["reason"] for e in found)
    assert outcomes(behind, word)[:1] == ["failed"]


def test_a_cancellation_reaches_only_its_own_session(stage: Stage) -> None:
    """The right key cancels the statement that runs; a wrong one does nothing."""
    word = fresh()
    with RawClient.to(stage.door, sub=word) as client:
        client.query("select 1")
        client.send(wire.query(f"select pg_sleep(20), '{word}'".encode()))
        until(lambda: bool(stage.seen(word, 0)))
        cancel(stage.door, client.pid, bytes(len(client.secret)))
        cancel(stage.door, client.pid + 1, client.secret)
        assert client.until("Z", seconds=0.7).silent
        cancel(stage.door, client.pid, client.secret)
        answer = client.until("Z")
        assert (answer.sqlstate, answer.status) == ("57014", "I")
    until(lambda: [e.body["reason"] for e in stage.events("operation.cancelled", subject=word)] == ["its client asked"])


def test_a_target_that_does_not_answer_delays_nobody_else(behind: Stage, middle: Middleman, stage: Stage) -> None:
    """Logins to a target that has gone silent time out by themselves; statements to it are cancelled or ended."""
    middle.deaf.set()
    try:
        with pytest.raises(psycopg.OperationalError):
            psycopg.connect(behind.door.dsn() + " connect_timeout=3")
        begun = time.monotonic()
        assert stage.works()
        assert time.monotonic() - begun < 5
    finally:
        middle.deaf.clear()
        middle.cut()
    until(behind.works)


def test_a_refusal_in_the_middle_of_a_pipeline_leaves_nothing_behind(stage: Stage) -> None:
    """What was permitted before a refusal in the same implicit transaction does not commit."""
    word = fresh()
    with RawClient.to(stage.door) as client:
        client.send(
            extended(f"insert into marks (what) values ('{word}')"), extended("set standard_conforming_strings = off"),
            extended(f"insert into marks (what) values ('{word}')"), wire.SYNC,
        )  # fmt: skip
        answer = client.ready()
        assert answer.errors
        assert answer.status == "I"
        assert client.query("select 41 + 1").values == ["42"]
    with stage.database.connect() as connection:
        assert connection.execute("select count(*) from marks where what = %s", (word,)).fetchall() == [(0,)]
