"""The HTTP listener."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from doorward.web import serve


async def hello(scope: Any, receive: Any, send: Any) -> None:
    await send({"type": "http.response.start", "status": 200, "headers": [(b"content-length", b"2")]})
    await send({"type": "http.response.body", "body": b"ok"})


async def test_who_says_nothing_is_let_go(monkeypatch: pytest.MonkeyPatch) -> None:
    """A client that sends no request, or only half of its head, loses its connection; one that asks is answered."""
    monkeypatch.setattr(serve, "PATIENCE", 0.3)
    web = serve.WebServer(hello, serve.bound("127.0.0.1", 0), certificate=None, key=None)
    async with asyncio.TaskGroup() as group:
        group.create_task(web.run())
        for said in (b"", b"GET / HTTP/1.1\r\nhost: x\r\n"):
            while True:
                try:
                    reader, writer = await asyncio.open_connection("127.0.0.1", web.port)
                    break
                except OSError:
                    await asyncio.sleep(0.02)
            writer.write(said)
            try:
                assert await asyncio.wait_for(reader.read(), 5) == b""
            except ConnectionResetError:
                pass  # let go all the same
            writer.close()
        reader, writer = await asyncio.open_connection("127.0.0.1", web.port)
        writer.write(b"GET / HTTP/1.1\r\nhost: x\r\nconnection: close\r\n\r\n")
        assert (await asyncio.wait_for(reader.read(), 5)).endswith(b"ok")
        writer.close()
        web.stop()
