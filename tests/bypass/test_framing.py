"""Section 1.1 of the catalogue (docs/bypasses.md): framing and the state of the protocol.

What must not run is looked for in the server's own log (`seen`), not in the gateway's words.
"""

from __future__ import annotations

import os
import socket
import ssl
import subprocess
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import psycopg
import pytest

from doorward.protocols.postgres import wire
from tests.rig.approvers import vote
from tests.rig.gateway import Gateway
from tests.rig.postgres import PostgresServer
from tests.rig.rawclient import PATIENCE, RawClient, cancel, encrypted, extended
from tests.rig.records import newest

Seen = Callable[[], str]


def count(direct: psycopg.Connection, table: str) -> int:
    row = direct.execute(f"select count(*) from {table}").fetchone()
    assert row is not None
    return int(row[0])


def alive(client: RawClient) -> None:
    """The connection still works, and is in step."""
    assert client.query("select 41 + 1").values == ["42"]


# -- PG-01, PG-02 ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "text",
    [
        "select 1; delete from {t}",
        "delete from {t}; select 1",
        "select 1;;; /* ; */ delete from {t}",
        "begin; select 1; delete from {t}; commit",
        "select ';'; delete from {t} --",
        "select 1;\r\n\tdelete\ffrom {t}",
    ],
)
def test_pg_01_a_query_of_several_statements_is_refused_as_a_whole(
    door: Gateway, direct: psycopg.Connection, table: str, seen: Seen, text: str
) -> None:
    """PG-01: each statement of a Query is judged; one that may not run keeps all of them from the server."""
    with RawClient.to(door, groups=["readers"]) as client:
        reply = client.query(text.format(t=table))
        assert (reply.kinds, reply.sqlstate, reply.status) == ("EZ", "42501", "I")
        alive(client)
    assert count(direct, table) == 2
    assert table not in seen()


def test_pg_01_the_extended_protocol_takes_one_statement_only(door: Gateway, table: str, seen: Seen) -> None:
    """PG-01: two statements in one Parse are refused, as the server would, without asking it."""
    with RawClient.to(door, groups=["anyone"]) as client:
        reply = client.run(f"select 1; delete from {table}")
        assert reply.kinds == "EZ"
        alive(client)
    assert table not in seen()


def test_pg_02_a_commit_inside_a_query_is_told_from_what_was_rolled_back(
    door: Gateway, direct: psycopg.Connection, table: str
) -> None:
    """PG-02: of `insert; commit; insert; select 1/0` the server keeps the first insert, and the record says so."""
    with RawClient.to(door, sub="pg02", groups=["anyone"]) as client:
        reply = client.query(
            f"insert into {table} values (3); commit; insert into {table} values (4); select 1/(id-id) from {table}"
        )
        assert reply.sqlstate == "22012"
        assert reply.status == "I"
    assert {row[0] for row in direct.execute(f"select id from {table}")} == {1, 2, 3}
    settled = [body["statements"] for body in recorded(door, sub="pg02") if body.get("statements")]
    assert [[one["outcome"] for one in statements] for statements in settled] == [
        ["committed", "completed", "rolled_back", "failed"]
    ]


def recorded(door: Gateway, *, sub: str) -> list[dict[str, Any]]:
    """The settlements in the recording of the newest session of `sub`."""
    return newest(door, sub).settled


# -- PG-03, PG-04, PG-06 ---------------------------------------------------------------------------------------------


def test_pg_03_nothing_runs_before_its_verdict_with_flush_and_without_sync(
    door: Gateway, direct: psycopg.Connection, table: str, seen: Seen
) -> None:
    """PG-03: Execute with Flush and no Sync is refused at Execute: the server never hears of it."""
    with RawClient.to(door, groups=["readers"]) as client:
        client.send(extended(f"delete from {table}"), wire.FLUSH)
        reply = client.until("E")
        assert reply.kinds == "E"
        assert client.send(wire.SYNC).ready().kinds == "Z"
        alive(client)
    assert count(direct, table) == 2
    assert table not in seen()


def test_pg_03_what_is_allowed_answers_at_flush(door: Gateway) -> None:
    """PG-03: an allowed statement answers at Flush, as a server does: asking for verdicts changes no timing."""
    with RawClient.to(door, groups=["readers"]) as client:
        client.send(extended("select 7"), wire.FLUSH)
        assert client.until("C").kinds == "12TDC"
        assert client.send(wire.SYNC).ready().kinds == "Z"


def test_pg_03_a_sequence_is_not_advanced_by_what_is_held(door: Gateway, direct: psycopg.Connection) -> None:
    """PG-03: nextval of a held statement does not happen, not even by planning it."""
    direct.execute("create sequence if not exists pg03")
    with RawClient.to(door, groups=["agents"]) as client:
        client.send(extended("select nextval('pg03')"), wire.FLUSH)
        assert client.held().held
        row = direct.execute("select is_called from pg03").fetchone()
        assert row == (False,)
        assert client.quiet(0.2).kinds == ""
    row = direct.execute("select is_called from pg03").fetchone()
    assert row == (False,)


def test_pg_04_a_pipeline_stops_at_what_is_held_and_skips_to_sync(
    door: Gateway, direct: psycopg.Connection, table: str, seen: Seen
) -> None:
    """PG-04: of 100 units 1-49 run; 50 is held and 51-100 are not forwarded; after a no the client gets an error, the
    rest up to Sync is void, and what ran before in the same transaction is not committed."""
    units = [extended(f"select {n} /* unit {n} */", describe=False) for n in range(1, 50)]
    units.append(extended(f"delete from {table}"))
    units += [extended(f"select {n} /* unit {n} */") for n in range(51, 101)]
    with RawClient.to(door, groups=["agents"]) as client:
        client.send(*units, wire.SYNC)
        first = client.held()
        assert len(first.tags) == 49
        assert "unit 49" in seen()
        assert "unit 51" not in seen()
        vote(door, first.held, approve=False)
        rest = client.ready()
        assert (rest.kinds, rest.status) == ("EZ", "I")
        alive(client)
    assert "unit 51" not in seen()
    assert f"\ndelete from {table}" not in seen()  # the gateway's own EXPLAIN of it is another matter
    assert count(direct, table) == 2


@pytest.mark.parametrize("group", ["readers", "writers"])
def test_pg_06_a_query_inside_an_unsynced_pipeline(
    door: Gateway, direct: psycopg.Connection, table: str, group: str
) -> None:
    """PG-06: a Query in the middle of an unsynced pipeline gets its verdict in order, and nobody falls out of step."""
    with RawClient.to(door, groups=[group]) as client:
        client.send(extended("select 1"), wire.query(f"delete from {table} where id = 1".encode()))
        reply = client.ready()
        assert reply.values == ["1"]
        if group == "readers":
            assert reply.sqlstate == "42501"
        else:
            assert reply.tags == ["SELECT 1", "DELETE 1"]
        reply = client.send(wire.SYNC).ready()
        assert reply.kinds == "Z"
        alive(client)
    assert count(direct, table) == (2 if group == "readers" else 1)


def test_pg_06_a_query_behind_an_error_up_to_sync_is_skipped_like_the_rest(
    door: Gateway, direct: psycopg.Connection, table: str
) -> None:
    """PG-06: after a refusal the server would skip a Query too, up to Sync; so it is neither run nor judged."""
    with RawClient.to(door, groups=["writers"]) as client:
        client.send(
            extended("do $$ begin end $$"), wire.query(f"delete from {table}".encode()), extended("select 2"), wire.SYNC
        )
        assert client.ready().kinds == "EZ"
        alive(client)
    assert count(direct, table) == 2


# -- PG-07 to PG-11 --------------------------------------------------------------------------------------------------


def test_pg_07_the_verdict_follows_the_present_definition_of_a_name(
    door: Gateway, direct: psycopg.Connection, table: str
) -> None:
    """PG-07: a statement name that was closed and defined anew is judged by what it means now."""
    with RawClient.to(door, groups=["readers"]) as client:
        client.send(
            wire.parse(b"s1", b"select 1"),
            wire.close("S", b"s1"),
            wire.parse(b"s1", f"delete from {table}".encode()),
            wire.bind(b"", b"s1", (), (), ()),
            wire.execute(b""),
            wire.SYNC,
        )
        assert client.ready().kinds == "13EZ"
        alive(client)
    assert count(direct, table) == 2


def test_pg_07_a_definition_that_the_server_threw_away_is_thrown_away_here_too(
    door: Gateway, direct: psycopg.Connection, table: str
) -> None:
    """PG-07: Close of a name behind an error is void: the name still means what it meant."""
    with RawClient.to(door, groups=["writers"]) as client:
        assert client.send(wire.parse(b"s1", f"delete from {table}".encode()), wire.SYNC).ready().kinds == "1Z"
    with RawClient.to(door, groups=["readers"]) as client:
        client.send(wire.parse(b"s1", b"select id from " + table.encode() + b" where id = $1"), wire.SYNC)
        assert client.ready().kinds == "1Z"
        # 1/0 fails at the server; Close and Parse behind it never happen there, nor may they here.
        client.send(
            extended("select 1 / (length($1) - length($1))", [b"x"], describe=False),
            wire.close("S", b"s1"),
            wire.parse(b"s1", b"select 'other'"),
            wire.SYNC,
        )
        assert client.ready().sqlstate == "22012"
        client.send(wire.bind(b"", b"s1", (), (b"2",), ()), wire.execute(b""), wire.SYNC)
        reply = client.ready()
        assert reply.values == ["2"]


def test_pg_07_the_unnamed_statement_is_replaced_by_each_parse(
    door: Gateway, direct: psycopg.Connection, table: str
) -> None:
    """PG-07: an unnamed statement that was refused leaves nothing behind to bind."""
    with RawClient.to(door, groups=["readers"]) as client:
        client.send(wire.parse(b"", b"select 1"), wire.parse(b"", f"delete from {table}".encode()), wire.SYNC)
        assert client.ready().kinds == "1EZ"
        client.send(wire.bind(b"", b"", (), (), ()), wire.execute(b""), wire.SYNC)
        reply = client.ready()
        assert reply.tags in ([], ["SELECT 1"])
    assert count(direct, table) == 2


@pytest.mark.parametrize("group", ["readers", "callers"])
def test_pg_08_a_statement_prepared_in_sql_is_judged_when_the_protocol_binds_it(
    door: Gateway, direct: psycopg.Connection, table: str, group: str
) -> None:
    """PG-08: SQL PREPARE and protocol Bind share one namespace: the delete is judged wherever it is prepared."""
    with RawClient.to(door, groups=[group]) as client:
        client.query(f"prepare s1 as delete from {table}")
        client.send(wire.bind(b"", b"s1", (), (), ()), wire.execute(b""), wire.SYNC)
        assert client.ready().errors
        alive(client)
    assert count(direct, table) == 2


def test_pg_08_and_works_for_who_may(door: Gateway, direct: psycopg.Connection, table: str) -> None:
    """PG-08: the same works for somebody who may delete."""
    with RawClient.to(door, groups=["writers"]) as client:
        assert client.query(f"prepare s1 (int) as delete from {table} where id = $1").tags == ["PREPARE"]
        client.send(wire.bind(b"", b"s1", (), (b"1",), ()), wire.execute(b""), wire.SYNC)
        assert client.ready().tags == ["DELETE 1"]
    assert count(direct, table) == 1


def test_pg_09_execute_in_sql_runs_what_the_protocol_prepared(
    door: Gateway, direct: psycopg.Connection, table: str, seen: Seen
) -> None:
    """PG-09: `EXECUTE s2` is judged by what Parse said s2 is; also when the policy holds deletes."""
    with RawClient.to(door, groups=["agents"]) as client:
        assert client.send(wire.parse(b"s2", f"delete from {table}".encode()), wire.SYNC).ready().kinds == "1Z"
        client.send(wire.query(b"execute s2"))
        assert client.held().held
        assert client.quiet(0.2).kinds == ""
    assert count(direct, table) == 2
    assert "execute s2" not in seen()


def test_pg_09_an_unknown_name_is_not_forwarded(door: Gateway, seen: Seen) -> None:
    """PG-09: EXECUTE, Bind and Describe of names that nobody defined go no further."""
    with RawClient.to(door, groups=["readers"]) as client:
        assert client.query("execute nobody_knows_me").errors
        for message in (
            wire.bind(b"", b"nobody_knows_me", (), (), ()),
            wire.describe("S", b"nobody_knows_me"),
            wire.describe("P", b"nobody_knows_me"),
            wire.execute(b"nobody_knows_me"),
        ):
            reply = client.send(message, wire.SYNC).ready()
            assert (reply.kinds, reply.sqlstate) == (
                "EZ",
                "26000" if b"\0n" in message or message[5:6] == b"S" else "34000",
            )
        alive(client)
    assert "nobody_knows_me" not in seen()


@pytest.mark.parametrize("results", [(), (1,)])
def test_pg_11_rows_without_a_describe_are_masked_all_the_same(door: Gateway, results: tuple[int, ...]) -> None:
    """PG-11: Execute without Describe gives rows without a RowDescription; the gateway asks for one itself."""
    with RawClient.to(door, groups=["readers"]) as client:
        client.send(
            wire.parse(b"", b"select ssn, id::text from customers c order by c.id limit 3"),
            wire.bind(b"", b"", (), (), results),
            wire.execute(b""),
            wire.SYNC,
        )
        reply = client.ready()
        assert reply.kinds == "12DDDCZ"
        assert [row[1] for row in reply.rows] == [b"1", b"2", b"3"]
        assert b"603-38-1615" not in client.received
        assert all(row[0] is None or b"-" not in row[0] for row in reply.rows)


# -- PG-13 to PG-18 --------------------------------------------------------------------------------------------------


def test_pg_13_function_calls_are_refused(door: Gateway, server: PostgresServer, seen: Seen) -> None:
    """PG-13: FunctionCall has neither text nor RowDescription: refused for everybody, and the connection works on."""
    body = b"\0\0\x0b\x49" + b"\0\0" + b"\0\1" + b"\0\0\0\4" + b"text" + b"\0\0"
    with RawClient.to(door, groups=["anyone"]) as client:
        reply = client.send(wire.message(wire.Frontend.FUNCTION_CALL, body)).ready()
        assert (reply.kinds, reply.sqlstate, reply.status) == ("EZ", "08P01", "I")
        alive(client)
        client.query("begin")
        reply = client.send(wire.message(wire.Frontend.FUNCTION_CALL, body)).ready()
        assert (reply.kinds, reply.status) == ("EZ", "E")
    assert "fastpath" not in seen()


@pytest.mark.parametrize(
    ("name", "value"),
    [
        *(("replication", value) for value in ("true", "on", "yes", "1", "database", "t", "TRUE", "off", "0")),
        ("REPLICATION", "database"),
        ("Replication", "true"),
        ("options", "-c replication=database"),
        ("options", "-c standard_conforming_strings=off -c search_path=evil -c role=postgres"),
        ("options", "--search_path=evil"),
        ("role", "postgres"),
        ("ROLE", "postgres"),
        ("session_authorization", "postgres"),
        ("standard_conforming_strings", "off"),
        ("Standard_Conforming_Strings", "0"),
        ("client_encoding", "SJIS"),
        ("session_replication_role", "replica"),
        ("backslash_quote", "on"),
        ("local_preload_libraries", "evil"),
        ("session_preload_libraries", "evil"),
        ("log_statement", "none"),
        ("allow_system_table_mods", "on"),
        ("dynamic_library_path", "/tmp"),
        ("no.such", "thing"),
    ],
)
def test_pg_14_15_start_up_parameters_that_move_the_ground_are_refused(door: Gateway, name: str, value: str) -> None:
    """PG-14, PG-15: replication in every spelling, raw options, and settings of identity or lexing end the login."""
    with pytest.raises(RuntimeError):
        RawClient.to(door, parameters={name: value}, groups=["anyone"])


def test_pg_15_what_is_harmless_arrives(door: Gateway) -> None:
    """PG-15: the parameters that drivers send are passed on; search_path among them is known to the judge."""
    sent = {"application_name": "corpus", "extra_float_digits": "3", "DateStyle": "ISO", "search_path": "pg_catalog"}
    with RawClient.to(door, parameters=sent, groups=["readers"]) as client:
        assert client.query("show extra_float_digits").values == ["3"]
        assert client.query("select id from customers").errors


@pytest.mark.parametrize(
    ("protocol", "parameters", "minor", "unknown"),
    [
        (wire.PROTOCOL_3_0, {"_pq_.x": "1"}, 0, ("_pq_.x",)),
        (wire.PROTOCOL_3_2, {}, None, ()),
        (3 << 16 | 9999, {}, 2, ()),
        (3 << 16 | 9999, {"_pq_.y": "1"}, 2, ("_pq_.y",)),
    ],
)
def test_pg_16_versions_and_options_of_the_protocol_are_negotiated_here(
    door: Gateway, protocol: int, parameters: dict[str, str], minor: int | None, unknown: tuple[str, ...]
) -> None:
    """PG-16: the gateway itself answers NegotiateProtocolVersion; nothing of it is forwarded."""
    sock = encrypted(door)
    client = RawClient(sock)
    with client:
        client.send(wire.startup({"user": "x", "database": "shop", **parameters}, protocol))
        asked = client.until("R", "E")
        negotiated = [wire.parse_negotiate_protocol_version(payload) for kind, payload in asked.messages if kind == "v"]
        assert negotiated == ([] if minor is None else [(minor, unknown)]) or (
            negotiated and negotiated[0][0] & 0xFFFF == minor and negotiated[0][1] == unknown
        )
        client.send(wire.password_message(door.token(groups=["readers"]).encode()))
        assert client.ready().status == "I"
        assert len(client.secret) in (0, 4, 32)


@pytest.mark.parametrize("request_", [wire.SSL_REQUEST, wire.GSSENC_REQUEST])
def test_pg_17_bytes_before_the_handshake_end_the_connection(door: Gateway, request_: bytes) -> None:
    """PG-17: what is stuffed behind SSLRequest or GSSENCRequest is never read as if it had come encrypted."""
    stuffed = wire.startup({"user": "mallory", "database": "shop"})
    with socket.create_connection(("127.0.0.1", door.port), timeout=PATIENCE) as sock:
        sock.sendall(request_ + stuffed)
        answer = b""
        while data := _recv(sock):
            answer += data
        assert answer[:1] in (b"", b"E", b"N", b"S")
        assert b"R\0\0\0" not in answer


def _recv(sock: socket.socket) -> bytes:
    try:
        return sock.recv(4096)
    except OSError:
        return b""


def test_pg_18_gss_encryption_is_declined_and_tls_still_works(door: Gateway) -> None:
    """PG-18: GSSENCRequest is answered N; then the same connection may do TLS."""
    sock = socket.create_connection(("127.0.0.1", door.port), timeout=PATIENCE)
    sock.sendall(wire.GSSENC_REQUEST)
    assert sock.recv(1) == b"N"
    sock.sendall(wire.SSL_REQUEST)
    assert sock.recv(1) == b"S"
    context = ssl.create_default_context(cafile=door.ca)
    client = RawClient(context.wrap_socket(sock, server_hostname="localhost"))
    with client:
        client.send(wire.startup({"user": "x", "database": "shop"}))
        assert client.until("R").kinds == "R"
        client.send(wire.password_message(door.token(groups=["readers"]).encode()))
        assert client.ready().status == "I"


# -- PG-19, PG-22 ----------------------------------------------------------------------------------------------------


def rss(pid: int) -> int:
    """Resident bytes of a process."""
    return int(Path(f"/proc/{pid}/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE")


LENGTHS = [0, 1, 2, 3, -1, -(2**31), 2**31 - 1, (1 << 30) + 1, 1 << 24]


@pytest.mark.parametrize("length", LENGTHS)
def test_pg_19_impossible_lengths_before_login_end_the_connection(door: Gateway, length: int) -> None:
    """PG-19: a start-up packet of an impossible length ends the connection; nothing is allocated by what it says."""
    with socket.create_connection(("127.0.0.1", door.port), timeout=PATIENCE) as sock:
        sock.sendall(length.to_bytes(4, "big", signed=True) + b"\0\3\0\0" + b"x" * 64)
        while _recv(sock):
            pass


def test_pg_19_memory_stays_flat_before_login(door: Gateway) -> None:
    """PG-19: fifty clients that each announce 2 GiB cost no more than fifty TLS sessions."""
    with RawClient.to(door, groups=["readers"]):  # warm
        pass
    before = rss(door.pid)
    socks = []
    for _ in range(50):
        sock = encrypted(door)
        sock.sendall((2**31 - 1).to_bytes(4, "big") + b"\0\3\0\0user")
        socks.append(sock)
    time.sleep(0.2)
    grown = rss(door.pid) - before
    for sock in socks:
        sock.close()
    assert grown < 16 << 20


@pytest.mark.parametrize(
    ("kind", "length"),
    [
        *((kind, length) for kind in "QPBDEXS" for length in (3, 0, -1, 2**31 - 1, (1 << 30) + 5)),
        *(("d", length) for length in (3, 0, -1)),  # CopyData of any other length is taken in pieces
    ],
)
def test_pg_19_impossible_lengths_after_login_end_the_session(door: Gateway, kind: str, length: int) -> None:
    """PG-19: the same for messages of a session. CopyData alone may be long: it is taken in pieces."""
    with RawClient.to(door, groups=["anyone"]) as client:
        client.send(kind.encode() + length.to_bytes(4, "big", signed=True) + b"select 1\0")
        reply = client.ready(seconds=5)
        assert reply.closed
        assert reply.sqlstate == "08P01"


@pytest.mark.parametrize(
    "raw",
    [
        wire.message(ord("Q"), b"select 1\0; delete from {t}\0"),
        wire.message(ord("Q"), b"delete from {t}"),
        wire.message(ord("Q"), b""),
        wire.message(ord("P"), b"s\0delete from {t}\0"),
        wire.message(ord("P"), b"s\0select 1\0\0\0delete from {t}\0"),
        wire.message(ord("P"), b"s\0select 1\0\0\1"),
        wire.message(ord("B"), b"\0\0\0\0\0\0\0\0 and more"),
        wire.message(ord("E"), b"\0\0\0\0"),
        wire.message(ord("D"), b"X\0"),
        wire.message(ord("C"), b"\0"),
        wire.message(ord("S"), b"x"),
        wire.message(ord("H"), b"x"),
        b"z\0\0\0\4",
        b"\0\0\0\0\4",
        wire.message(ord("p"), b"password\0"),
        wire.startup({"user": "again", "database": "shop"}),
    ],
    ids=range(16),
)
def test_pg_22_malformed_messages_end_the_session(door: Gateway, table: str, seen: Seen, raw: bytes) -> None:
    """PG-22: bytes after a NUL, none where one must be, unknown types: protocol error, as the server says; nothing of
    it is judged in part, nothing is forwarded."""
    with RawClient.to(door, groups=["anyone"]) as client:
        client.send(raw.replace(b"{t}", table.encode()) if b"{t}" not in raw else _resized(raw, table))
        reply = client.ready(seconds=5)
        assert reply.closed
        assert reply.sqlstate in ("08P01", "")
        assert reply.rows == []
    assert table not in seen()


def _resized(raw: bytes, table: str) -> bytes:
    return wire.message(raw[0], raw[5:].replace(b"{t}", table.encode()))


# -- PG-24 -----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("protocol", "size"), [(wire.PROTOCOL_3_0, 4), (wire.PROTOCOL_3_2, 32)])
def test_pg_24_a_session_is_cancelled_with_its_own_key_only(door: Gateway, protocol: int, size: int) -> None:
    """PG-24: the key is the gateway's own; another secret, another pid, a key cut short or made longer do nothing."""
    with RawClient.to(door, groups=["anyone"], protocol=protocol) as client:
        assert len(client.secret) == size
        own = client.query("select pg_backend_pid()").values
        assert own != [str(client.pid)]
        with RawClient.to(door, groups=["readers"], protocol=protocol) as other:
            client.send(wire.query(b"select pg_sleep(1.5)"))
            time.sleep(0.2)
            for pid, secret in [
                (client.pid, other.secret),
                (other.pid, client.secret),
                (client.pid, bytes(size)),
                (client.pid, client.secret[:-1] + bytes([client.secret[-1] ^ 1])),
                (client.pid, client.secret + b"x"),
                (client.pid + 1, client.secret),
                (-client.pid, client.secret),
                (0, client.secret),
            ]:
                cancel(door, pid, secret)
            reply = client.ready()
            assert reply.sqlstate == ""
            client.send(wire.query(b"select pg_sleep(10)"))
            time.sleep(0.3)
            begun = time.monotonic()
            cancel(door, client.pid, client.secret)
            assert client.ready().sqlstate == "57014"
            assert time.monotonic() - begun < 5
            alive(client)
            alive(other)


def test_pg_24_the_key_of_a_session_that_is_over_cancels_nothing(door: Gateway) -> None:
    """PG-24: replaying the key of a finished session does nothing to anybody; nor does it when nothing runs."""
    with RawClient.to(door, groups=["anyone"]) as gone:
        key = gone.pid, gone.secret
    with RawClient.to(door, groups=["anyone"]) as client:
        client.send(wire.query(b"select pg_sleep(0.8)"))
        time.sleep(0.2)
        cancel(door, *key)
        assert client.ready().sqlstate == ""
        cancel(door, client.pid, client.secret)  # idle: it must not hit the next statement
        time.sleep(0.2)
        alive(client)


def test_pg_24_guessing_is_rate_limited_and_harmless(door: Gateway) -> None:
    """PG-24: guesses (more of them would take the same path) hit nobody and leave the gateway serving."""
    with RawClient.to(door, groups=["anyone"]) as client:
        client.send(wire.query(b"select pg_sleep(1.0)"))
        for guess in range(500):
            with socket.create_connection(("127.0.0.1", door.port), timeout=PATIENCE) as sock:
                sock.sendall(wire.cancel_request(client.pid, guess.to_bytes(4, "big")))
        assert client.ready().sqlstate == ""
        time.sleep(1.1)  # the flood is forgotten after a second
        client.send(wire.query(b"select pg_sleep(10)"))
        time.sleep(0.3)
        cancel(door, client.pid, client.secret)
        assert client.ready().sqlstate == "57014"


# -- PG-27 -----------------------------------------------------------------------------------------------------------


def conversation(table: str) -> bytes:
    """One of each kind of message, with a refusal in the middle."""
    return b"".join(
        [
            wire.query(b"select id, v from " + table.encode() + b" order by id"),
            wire.parse(b"a", b"select ssn, $1::text from customers where id = 1", (25,)),
            wire.describe("S", b"a"),
            wire.bind(b"p", b"a", (0,), (b"x",), ()),
            wire.describe("P", b"p"),
            wire.execute(b"p", 1),
            wire.FLUSH,
            wire.close("P", b"p"),
            wire.SYNC,
            wire.query(b"delete from " + table.encode()),
            extended(f"delete from {table}"),
            wire.SYNC,
            wire.query(b"copy (select id from " + table.encode() + b" order by id) to stdout"),
            wire.query(b"select 'end'"),
        ]
    )


def test_pg_27_any_split_of_the_stream_gives_the_same_answer(door: Gateway, table: str) -> None:
    """PG-27: one byte a segment, and cuts at many places, give what the whole gives: same messages, same verdicts."""
    whole = conversation(table)
    with RawClient.to(door, groups=["readers"]) as client:
        expected = client.send(whole).ready(6).messages
    assert [kind for kind, _ in expected].count("E") == 2
    with RawClient.to(door, groups=["readers"]) as client:
        assert client.dribble(whole).ready(6).messages == expected
    for cut in range(1, len(whole), 23):
        with RawClient.to(door, groups=["readers"]) as client:
            client.send(whole[:cut])
            time.sleep(0.002)
            assert client.send(whole[cut:]).ready(6).messages == expected, cut


@pytest.mark.campaign
def test_pg_27_every_split_of_the_stream(door: Gateway, table: str) -> None:
    """PG-27: the whole matrix, one cut at every byte."""
    whole = conversation(table)
    with RawClient.to(door, groups=["readers"]) as client:
        expected = client.send(whole).ready(6).messages
    for cut in range(1, len(whole)):
        with RawClient.to(door, groups=["readers"]) as client:
            client.send(whole[:cut])
            time.sleep(0.002)
            assert client.send(whole[cut:]).ready(6).messages == expected, cut


# -- PG-28, PG-29 ----------------------------------------------------------------------------------------------------


def test_pg_28_nothing_of_one_session_is_left_for_the_next(door: Gateway, table: str) -> None:
    """PG-28: temporary tables, listeners, prepared statements, settings and advisory locks end with their session."""
    with RawClient.to(door, groups=["anyone"]) as one:
        for text in (
            "create temp table mine (x int)",
            "listen corpus",
            "prepare leftover as select 1",
            "set search_path = pg_catalog",
            "select pg_advisory_lock(4711)",
        ):
            assert not one.query(text).errors, text
        mine = one.query("select pg_backend_pid()").values
    with RawClient.to(door, groups=["anyone"]) as two:
        assert two.query("select pg_backend_pid()").values != mine
        assert two.query("show search_path").values == ['"$user", public']
        assert two.query("select * from mine").sqlstate == "42P01"
        assert two.query("execute leftover").errors
        assert two.query("select pg_listening_channels()").values == []
        limit = time.monotonic() + 5
        while two.query("select pg_try_advisory_lock(4711)").values != ["t"]:
            assert time.monotonic() < limit
            time.sleep(0.05)


def test_pg_29_a_refused_copy_swallows_its_data(
    door: Gateway, direct: psycopg.Connection, table: str, scratch: Path
) -> None:
    """PG-29: psql 15, refused a COPY FROM STDIN too early, would run the rows that follow as SQL and as its own
    commands, on the agent's machine. The rows here would create a file and drop a table."""
    proof = scratch / "pwned"
    script = scratch / "load.sql"
    script.write_text(
        f"copy {table} from stdin;\n3\tthree\n\\! touch {proof}\ndelete from {table};\n\\.\nselect 'after' as reached;\n"
    )
    done = psql(door, "-f", str(script), groups=["readers"])
    assert done.stdout == "after\n"
    assert "may not" in done.stderr
    assert not proof.exists()
    assert count(direct, table) == 2


def test_pg_29_a_refused_copy_among_other_statements(door: Gateway, direct: psycopg.Connection, table: str) -> None:
    """PG-29: the same over the raw wire, with what cannot be parsed, and with the extended protocol."""
    with RawClient.to(door, groups=["readers"]) as client:
        for text in (
            f"copy {table} from stdin",
            f"select 1; copy {table} from stdin",
            f"coopy {table} from stdin copy",
        ):
            client.send(wire.query(text.encode()))
            assert client.until("G", "Z").kinds == "G"
            client.send(wire.copy_data(b"3\tx\n"), wire.query(b"")[:0], wire.COPY_DONE)
            reply = client.ready()
            assert (reply.kinds, reply.status) == ("EZ", "I")
            alive(client)
        client.send(
            extended(f"copy {table} from stdin"), wire.SYNC, wire.copy_data(b"3\tx\n"), wire.COPY_DONE, wire.SYNC
        )
        reply = client.ready(2)
        assert "G" not in reply.kinds
        alive(client)
    assert count(direct, table) == 2


def psql(door: Gateway, *arguments: str, **claims: Any) -> subprocess.CompletedProcess[str]:
    """psql through the gateway."""
    return subprocess.run(
        ["psql", "-X", "-q", "-A", "-t", "-d", door.dsn(**claims), *arguments],
        capture_output=True, text=True, timeout=60, check=False,
        env={**os.environ, "PGOPTIONS": "", "PSQL_HISTORY": "/dev/null"},
    )  # fmt: skip
