"""What cannot be said as one statement: results of any length, values of any size, and names that change their meaning."""

from __future__ import annotations

import re
from collections.abc import Iterator

import pytest

from doorward.protocols.postgres import wire
from tests.bypass.masking.arena import CANARIES, DETECTABLE, Arena
from tests.rig.canaries import leaks
from tests.rig.rawclient import RawClient, extended


@pytest.fixture
def client(arena: Arena) -> Iterator[RawClient]:
    """A session of one test's own, that may do everything and see nothing."""
    with RawClient.to(arena.door, arena.targets["a"], sub="corpus-anyone", groups=["anyone"]) as found:
        yield found


def last(client: RawClient, text: str, *, keep: int = 1 << 16) -> bytes:
    """The end of a long answer, which is not kept: everything else in it is looked at on its way."""
    client.send(wire.query(text.encode()))
    tail = b""
    while not re.search(rb"Z\x00\x00\x00\x05[ITE]\Z", tail):
        client.sock.settimeout(60)
        piece = client.sock.recv(1 << 18)
        assert piece, "the session ended"
        assert leaks(tail[-200:] + piece, {"mail": DETECTABLE["a"]["mail"], "ssn": CANARIES["a1.ssn.0"]}) == []
        tail = (tail + piece)[-keep:]
    return tail


@pytest.mark.parametrize("count", [70_001, pytest.param(1_000_001, marks=pytest.mark.campaign)])
def test_no_row_is_too_late(client: RawClient, count: int) -> None:
    """MK-16: the last of very many rows is masked like the first, whether a label or a detector says so."""
    mail = f"select case when i = {count} then body else 'x' end from generate_series(1, {count}) i, free where id = 3"
    assert b"[email]" in last(client, mail)
    assert b"[email]" in last(client, f"copy ({mail}) to stdout")
    labelled = f"select case when i = {count} then ssn else name end from generate_series(1, {count}) i, people where id = 1"
    assert b"[ssn]" in last(client, labelled)


@pytest.mark.parametrize("form", ["simple", "binary", "copy", "copy csv"])
@pytest.mark.parametrize("size", [8_150, 65_500, 1_000_000])
def test_no_value_is_too_long(client: RawClient, size: int, form: str) -> None:
    """MK-16: what spans many reads is masked: before, behind and across every boundary."""
    text = f"select repeat('. ', {size // 2}) || body || repeat(' .', {size // 2}) from free where id < 4"
    if form == "binary":
        reply = client.run(text, results=[1])
    elif form == "simple":
        reply = client.query(text)
    else:
        reply = client.query(f"copy ({text}) to stdout" + (" with csv" if form == "copy csv" else ""))
    assert not reply.errors
    assert leaks(bytes(client.received), DETECTABLE["a"]) == []
    assert sum(client.received.count(label) for label in (b"[ssn]", b"[card]", b"[email]")) == 3


@pytest.mark.parametrize("form", ["simple", "copy"])
def test_a_value_longer_than_may_be_held_ends_its_result(client: RawClient, form: str) -> None:
    """MK-16: a row that is wider than limits.row_bytes is an error, and nothing of it comes through."""
    text = "select repeat('x', 9000000) || body || repeat('y', 9000000) from free where id = 3"
    reply = client.query(text if form == "simple" else f"copy ({text}) to stdout", seconds=60)
    assert reply.errors or reply.closed
    assert leaks(bytes(client.received), DETECTABLE["a"]) == []
    assert len(client.received) < 20_000_000


@pytest.mark.parametrize("results", [0, 1], ids=["text", "binary"])
@pytest.mark.parametrize("said", [True, False], ids=["described again", "not described again"])
def test_what_was_prepared_is_masked_by_what_it_means_now(arena: Arena, client: RawClient, said: bool, results: int) -> None:
    """MK-17: a named statement over a view that is replaced by one of the same shape over labelled columns."""
    try:
        for text in (
            "create view scrap.v as select id, name as a from people",
            "create function scrap.f() returns text language sql as 'select ''x''::text'",
        ):
            assert not client.query(text).errors
        client.send(
            wire.parse(b"s", b"select a from scrap.v"), wire.describe("S", b"s"), wire.bind(b"p", b"s", (), (), (results,)),
            wire.execute(b"p", 1), wire.SYNC,
        )  # fmt: skip
        assert client.ready().values == ["name1"]
        assert not client.query("create or replace view scrap.v as select id, ssn || '' as a from people").errors
        client.send(
            wire.describe("S", b"s") if said else b"", wire.bind(b"p", b"s", (), (), (results,)), wire.execute(b"p", 0),
            wire.SYNC,
        )  # fmt: skip
        assert set(client.ready().values) <= {"[ssn]"}
        assert leaks(bytes(client.received), CANARIES) == []
    finally:
        arena.restore(["create"])


def test_portals_side_by_side_keep_their_own_masks(client: RawClient) -> None:
    """MK-17: rows of two portals, taken in turns, are each masked as their own statement says."""
    open_, closed = b"select name, ssn from people", b"select ssn, name from people"
    client.send(
        wire.parse(b"", open_), wire.bind(b"a", b"", (), (), ()), wire.parse(b"", closed),
        wire.bind(b"b", b"", (), (), ()),
        *(wire.execute(name, 1) for name in (b"a", b"b", b"a", b"b", b"a")), wire.SYNC,
    )  # fmt: skip
    rows = client.ready().rows
    assert len(rows) == 5
    for place, row in enumerate(rows):
        assert row[1 - place % 2] == b"[ssn]"
        assert (row[place % 2] or b"").startswith(b"name")
    client.send(extended("select ssn from people", rows=1), wire.SYNC)
    assert client.ready().values == ["[ssn]"]
    assert leaks(bytes(client.received), CANARIES) == []


@pytest.mark.parametrize("size", [2_000, 9_000, 40_000, 70_000, 300_000])
def test_a_line_of_any_length_that_is_copied_in_is_kept_masked(arena: Arena, client: RawClient, size: int) -> None:
    """MK-16: what a client sends by COPY is on record masked, or as its length, wherever the values in it are cut: what was
    kept is searched when the arena closes. The target has it as it was sent."""
    values = " ".join(DETECTABLE["a"].values()).encode()
    line = (b". " * (size // 4) + values + b" ." * (size // 4)) + b"\n"
    try:
        assert not client.query("create table scrap.lines (line text)").errors
        client.send(wire.query(b"copy scrap.lines from stdin")).until("G")
        for _ in range(3):
            client.send(wire.copy_data(line[: size // 2]), wire.copy_data(line[size // 2 :]))
        client.send(wire.COPY_DONE)
        assert client.ready().tags == ["COPY 3"]
        assert client.query("select sum(length(line)) from scrap.lines").values == [str(3 * (len(line) - 1))]
    finally:
        arena.restore(["create"])
