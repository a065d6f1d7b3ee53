"""MK-16: values of 100 MB, and lines of COPY, are masked like any other; neither one client nor several make the gateway
hold them."""

from __future__ import annotations

import socket
import struct
import threading
import time
from collections.abc import Iterator

import pytest

from benchmarks.processes import forget_peak, peak_bytes
from doorward.protocols.postgres import wire
from tests.rig.gateway import Gateway, launch
from tests.rig.issuer import LocalIssuer
from tests.rig.postgres import PostgresServer
from tests.rig.rawclient import RawClient

CARD = b"4111 1111 1111 1111"
MIB = 1 << 20
# 262,161 bytes and a card, so that a card stands at every boundary there is, and across it, sooner or later.
PIECE = f"repeat('lorem ', 43690) || ' {CARD.decode()} '"
PIECE_SIZE = 43_690 * 6 + len(CARD) + 2


@pytest.fixture(scope="module")
def door(tmp_path_factory: pytest.TempPathFactory, postgres: PostgresServer) -> Iterator[Gateway]:
    """A gateway whose disk holds two of the rows of those who take turns; a larger one has it alone."""
    issuer = LocalIssuer()
    with launch(
        tmp_path_factory.mktemp("wide") / "gateway", issuer, postgres,
        target={"labels": {"public.customers.ssn": "ssn"}}, limits={"spool_bytes": "32MiB"},
    ) as door:  # fmt: skip
        with RawClient.to(door, sub="wide-first") as client:
            drained(client, f"select repeat({PIECE}, 8)")  # the code for it is in memory from here on
        yield door
    issuer.down()


def drained(client: RawClient, text: str, *, pause: float = 0) -> tuple[int, int]:
    """Bytes of the answer, and how many cards were masked in it; none of it is kept. Nothing may be found in it."""
    client.send(wire.query(text.encode()))
    sock: socket.socket = client.sock
    sock.settimeout(120)
    size = masked = 0
    tail = b""
    while True:
        piece = sock.recv(1 << 18)
        assert piece, "the session ended"
        size += len(piece)
        window = tail + piece
        assert CARD not in window
        masked += window.count(b"[card]") - tail.count(b"[card]")
        tail = window[-40:]
        if tail.endswith(b"Z\0\0\0\5I"):
            assert CARD not in window
            return size, masked
        if pause:
            time.sleep(pause)


def expected(rows: int, *values: int) -> int:
    """The size of an answer but for its description: rows of values of these sizes, CommandComplete, ReadyForQuery."""
    return rows * (7 + sum(4 + size for size in values)) + 5 + len(f"SELECT {rows}") + 1 + 6


def test_a_hundred_megabytes_of_text(door: Gateway) -> None:
    """400 cards in one value of 105 MB: each is masked, the value is whole otherwise, and the gateway grows by less than 48."""
    with RawClient.to(door, sub="wide-text") as client:
        client.query("select 1")
        before = forget_peak(door.pid)
        size, masked = drained(client, f"select repeat({PIECE}, 400)")
        grown = peak_bytes(door.pid) - before
        described = len(wire.message(0x54, struct.pack("!H", 1) + b"repeat\0" + bytes(18)))
        assert masked == 400
        assert size == described + expected(1, 400 * (PIECE_SIZE - len(CARD) + len(b"[card]")))
        assert grown < 48 * MIB, f"{grown / MIB:.0f} MiB"
        assert client.query("select 1").values == ["1"]


@pytest.mark.parametrize("column", ["ssn", "name"])
def test_a_wide_column_beside_a_masked_one(door: Gateway, column: str) -> None:
    """A labelled value of 12 MB becomes its constant, and one beside a labelled column passes whole."""
    text = f"select ssn, repeat({column}, 12000000 / length({column})) from customers order by id limit 2"
    with RawClient.to(door, sub="wide-beside") as client:
        before = forget_peak(door.pid)
        size, _ = drained(client, text)
        assert peak_bytes(door.pid) - before < 48 * MIB
        assert (size > 20_000_000) == (column == "name")


def test_several_at_once_take_turns(door: Gateway) -> None:
    """Five clients read 12 MB each at once, one of them slowly: all get all of it, within the disk and memory of two."""
    found: list[tuple[int, int]] = []
    failed: list[BaseException] = []

    def read(number: int) -> None:
        try:
            with RawClient.to(door, sub=f"wide-{number}") as client:
                found.append(drained(client, f"select repeat({PIECE}, 48)", pause=0.002 if number == 0 else 0))
        except BaseException as error:
            failed.append(error)

    with RawClient.to(door, sub="wide-first"):
        before = forget_peak(door.pid)
    threads = [threading.Thread(target=read, args=(number,)) for number in range(5)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(120)
    assert failed == []
    assert len(found) == 5
    assert {masked for _, masked in found} == {48}
    assert len({size for size, _ in found}) == 1
    assert peak_bytes(door.pid) - before < 72 * MIB


def test_a_client_that_leaves_gives_its_room_back(door: Gateway) -> None:
    """Half a value read, and gone: the next one does not wait for it."""
    for _ in range(3):
        with RawClient.to(door, sub="wide-gone") as client:
            client.send(wire.query(f"select repeat({PIECE}, 160)".encode()))
            client.sock.settimeout(60)
            assert client.sock.recv(1 << 16)
            time.sleep(0.5)
            client.vanish()
    with RawClient.to(door, sub="wide-after") as client:
        assert drained(client, f"select repeat({PIECE}, 8)")[1] == 8


@pytest.mark.parametrize("style", ["text", "csv", "binary"])
def test_a_line_of_copy_of_many_megabytes(door: Gateway, style: str) -> None:
    """72 cards in a line of 19 MB: each is masked, the line is whole otherwise, and is not held. COPY in binary says no types:
    a long value in which something is found becomes NULL."""
    columns = f"repeat({PIECE}, 72)" + (", ssn" if style != "binary" else ", name")
    with RawClient.to(door, sub="wide-copy") as client:
        client.query("select 1")
        before = forget_peak(door.pid)
        text = f"copy (select {columns} from customers where id = 1) to stdout (format {style})"
        size, masked = drained(client, text)
        grown = peak_bytes(door.pid) - before
        assert grown < 48 * MIB, f"{grown / MIB:.0f} MiB"
        if style != "binary":
            assert masked == 72
            assert size > 72 * (PIECE_SIZE - len(CARD))
        else:
            assert size < 1000
        assert client.query("select 1").values == ["1"]


@pytest.mark.parametrize("end", [b"\n", b""], ids=["whole", "cut"])
def test_a_line_of_copy_goes_in_whatever_its_length(door: Gateway, end: bytes) -> None:
    """A line of 25 MB from the client, in one message or in many, is not held either; the target has it as it was sent."""
    value = b"lorem " * 700
    with RawClient.to(door, sub="wide-in") as client:
        assert client.query("create table long_lines (value text)").errors == []
        before = forget_peak(door.pid)
        client.send(wire.query(b"copy long_lines from stdin")).until("G")
        client.send(b"d" + (4 + len(value) * 6000 + len(end)).to_bytes(4, "big"))
        for _ in range(60):
            client.send(value * 100)
        client.send(end, wire.copy_data(value * 100 + b"\n"), wire.COPY_DONE)
        reply = client.ready(seconds=60)
        assert reply.errors == []
        assert peak_bytes(door.pid) - before < 48 * MIB
        expected = len(value) * (6000 if end else 6100)
        assert client.query("select max(length(value)) from long_lines").values == [str(expected)]
        assert client.query("drop table long_lines").errors == []
