"""Each way out, against a real receiver: what has arrived when `send` returns, and what it says when it cannot."""

from __future__ import annotations

import asyncio
import json
import ssl
import stat
import subprocess
import sysconfig
import time
from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import pytest
from standardwebhooks import Webhook

from doorward.adapters.export.file import FileDestination
from doorward.adapters.export.nats import NatsDestination
from doorward.adapters.export.syslog import SyslogDestination
from doorward.adapters.export.webhook import WebhookDestination
from doorward.guard.notifications import UndeliveredError
from doorward.model import SecretRef
from tests.rig import shared
from tests.rig.certificates import Authority, Pair
from tests.rig.receiver import Receiver

EVENTS = [(7, b'{"a":1}'), (8, '{"name":"Łódź"}'.encode())]
KEY = "whsec_" + "MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw"


@pytest.fixture(scope="module")
def authority(tmp_path_factory: pytest.TempPathFactory) -> Authority:
    return Authority(tmp_path_factory.mktemp("authority"))


@pytest.fixture(scope="module")
def pair(authority: Authority) -> Pair:
    return authority.issue("receiver")


async def revealed(reference: SecretRef | None) -> bytes:
    assert reference is not None
    return {"key": KEY, "token": "s3cr3t-of-nats"}[reference.name].encode()


async def test_a_file_holds_whole_lines(tmp_path: Path) -> None:
    """What was cut short by a crash is ended before the next line; moved away, another is begun; a link is not followed."""
    path = tmp_path / "events.jsonl"
    destination = FileDestination(path)
    await destination.send(EVENTS[:1])
    with path.open("ab") as file:
        file.write(b'{"a":2,"cut')
    await destination.send(EVENTS[1:])
    assert path.read_bytes() == b'{"a":1}\n{"a":2,"cut\n' + EVENTS[1][1] + b"\n"
    assert stat.S_IMODE(path.stat().st_mode) & 0o027 == 0
    path.rename(tmp_path / "old")
    await destination.send(EVENTS[:1])
    assert path.read_bytes() == b'{"a":1}\n'
    path.unlink()
    path.symlink_to(tmp_path / "old")
    with pytest.raises(OSError, match="symbolic link"):
        await destination.send(EVENTS)


class Collector:
    """A receiver of syslog over TLS: counts octets as RFC 5425 says, and keeps messages. `deaf`: it closes before it reads."""

    def __init__(self) -> None:
        self.got: list[bytes] = []
        self.deaf = False
        self.connections = 0

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.connections += 1
        try:
            while not self.deaf:
                count = await reader.readuntil(b" ")
                self.got.append(await reader.readexactly(int(count)))
        except (asyncio.IncompleteReadError, OSError):
            pass
        finally:
            writer.transport.abort()


@pytest.fixture
async def collector(pair: Pair) -> AsyncIterator[tuple[Collector, int]]:
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    context.load_cert_chain(pair.certificate, pair.key)
    collector = Collector()
    server = await asyncio.start_server(collector.serve, "127.0.0.1", 0, ssl=context)
    async with server:
        yield collector, server.sockets[0].getsockname()[1]


async def test_syslog(collector: tuple[Collector, int], authority: Authority) -> None:
    """Messages of RFC 5424, each with its leaf, over one connection; when the receiver goes away, an error, and then another
    connection."""
    received, port = collector
    destination = SyslogDestination("localhost", port, host_name="doorward/gw", ca=str(authority.ca))
    await destination.send(EVENTS)
    await destination.send([(9, b"x" * 100_000)])
    assert received.connections == 1
    while len(received.got) < 3:
        await asyncio.sleep(0.01)
    head, _, body = received.got[1].partition(b" - \xef\xbb\xbf")
    assert head.startswith(b"<109>1 20")
    assert head.endswith(b"Z doorward/gw doorward - leaf-8")
    assert body == EVENTS[1][1]
    received.deaf = True

    async def until_it_notices() -> None:
        while True:  # the first may reach a kernel whose process is about to close
            await destination.send(EVENTS)
            await asyncio.sleep(0.01)

    with pytest.raises(UndeliveredError):
        await asyncio.wait_for(until_it_notices(), 10)
    received.deaf = False
    await destination.send(EVENTS)
    await destination.close()


async def test_syslog_tells_nobody_else(collector: tuple[Collector, int]) -> None:
    """A receiver whose certificate does not hold, or who is not there, gets nothing."""
    received, port = collector
    for place in (port, 1):
        with pytest.raises(UndeliveredError, match=f"localhost:{place}"):
            await SyslogDestination("localhost", place, host_name="gw").send(EVENTS)
    assert received.got == []


async def test_webhook(authority: Authority, pair: Pair) -> None:
    """A batch is one signed POST, an event a line; other people's code verifies it; what is no 2xx is not taken."""
    with Receiver(pair) as receiver:

        def towards(path: str) -> WebhookDestination:
            key = SecretRef("env", "key")
            return WebhookDestination(
                "siem", receiver.url(path), [key], revealed, lambda: int(time.time() * 1000), ca=str(authority.ca)
            )

        await towards("/ok").send(EVENTS)
        (got,) = receiver.got
        assert got.body == b'{"a":1}\n' + EVENTS[1][1] + b"\n"
        assert got.headers["webhook-id"] == "siem-7-8"
        with pytest.raises(json.JSONDecodeError):  # the signature held; it is lines, and not one document
            Webhook(KEY).verify(got.body, got.headers)
        for path in ("/status/500", "/redirect/1"):
            with pytest.raises(UndeliveredError):
                await towards(path).send(EVENTS)


@pytest.fixture(scope="module")
def nats(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """A real server with JetStream."""
    port = shared.free_port()
    program = Path(sysconfig.get_path("scripts")) / "nats-server"
    folder = tmp_path_factory.mktemp("nats")
    command = [str(program), "-a", "127.0.0.1", "-p", str(port), "-js", "-sd", str(folder), "--auth", "s3cr3t-of-nats"]
    server = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    try:
        yield f"nats://127.0.0.1:{port}"
    finally:
        server.kill()
        server.wait()


async def test_nats(nats: str) -> None:
    """What the stream has acknowledged has arrived; sent again, it is there once; without a stream, or with another token, it
    is not taken."""
    import nats as client

    destination = NatsDestination(nats, "audit.events", "doorward/gw", reveal=revealed, token=SecretRef("env", "token"))
    deadline = time.monotonic() + 20
    while True:  # it is starting; and then there is no stream
        with pytest.raises(UndeliveredError) as caught:
            await destination.send(EVENTS)
        if "refused" not in str(caught.value).lower() and "no servers" not in str(caught.value).lower():
            break
        assert time.monotonic() < deadline, caught.value
        await asyncio.sleep(0.1)
    connection = await client.connect(nats, token="s3cr3t-of-nats")
    stream = connection.jetstream()
    await stream.add_stream(name="audit", subjects=["audit.>"])
    await destination.send(EVENTS)
    await destination.send(EVENTS)
    await destination.close()
    subscription = await stream.pull_subscribe("audit.events", "reader")
    messages = await subscription.fetch(10, timeout=1)
    assert [message.data for message in messages] == [line for _, line in EVENTS]
    await connection.close()
    stranger = NatsDestination(nats, "audit.events", "gw", reveal=revealed, token=SecretRef("env", "key"))
    with pytest.raises(UndeliveredError, match="uthorization"):
        await stranger.send(EVENTS)
