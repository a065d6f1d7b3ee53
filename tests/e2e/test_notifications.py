"""People are told by the real program: before and after kill -9, and what nobody takes waits."""

from __future__ import annotations

import json
import sqlite3
import threading
import time
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Any

import psycopg
import standardwebhooks

from tests.rig.certificates import Authority
from tests.rig.gateway import Gateway
from tests.rig.receiver import Receiver

POLICY = """
@id("connect") permit (principal, action == Action::"connect", resource);
@id("agents-read") permit (principal in Group::"agents", action == Action::"read", resource);
@id("agents-write") @quorum("1") @approvers("dba") @expires("10m")
permit (principal in Group::"agents", action == Action::"write", resource) when { context.approved };
@id("dbas") permit (principal in Group::"dba", action == Action::"approve", resource);
@id("admins") permit (principal in Group::"admins", action == Action::"administer", resource);
"""
KEY = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw"


def ask(door: Gateway) -> None:
    """Have a statement held, by a client that does not wait for long."""

    def run() -> None:
        with suppress(psycopg.Error), door.connect(sub="bot", groups=["agents"]) as connection:
            connection.execute("DELETE FROM customers WHERE name = 'hush-hush'")

    threading.Thread(target=run, daemon=True).start()


def seen(found: Callable[[], Any], patience: float = 120.0) -> Any:
    limit = time.monotonic() + patience
    while not (value := found()):
        assert time.monotonic() < limit
        time.sleep(0.05)
    return value


def test_what_waits_is_told_even_after_a_kill(
    gateway: Callable[..., Gateway], tmp_path: Path
) -> None:
    """A receiver that is down when a statement is held, and a gateway that is killed then: the next life tells, with a
    signature that other people's code verifies; `notify test` and `notify list` say how it is."""
    authority = Authority(tmp_path)
    with Receiver(authority.issue("receiver")) as receiver:
        channel = {
            "name": "ops", "kind": "webhook", "url": receiver.url("/by/ops"), "secret": "env:HOOK", "groups": ["dba"],
            "ca": str(authority.ca),
        }  # fmt: skip
        other = {**channel, "name": "security", "groups": ["security"]}
        door = gateway(policy=POLICY, notify=[channel, other], environment={"HOOK": KEY})

        def command(*arguments: str) -> Any:
            token = door.token(sub="adam", groups=["admins"])
            return door.cli(*arguments, "--json", "--gateway", f"http://127.0.0.1:{door.http_port}", token=token)

        ask(door)
        [first] = seen(lambda: receiver.got)  # and got 503
        [ops, security] = json.loads(command("notify", "list").stdout)
        assert (ops["waiting"], ops["sent"], ops["failed"]) == (1, 0, 1)
        assert "503" in ops["error"]
        assert security["waiting"] == 0
        door.kill()
        with sqlite3.connect(door.data / "store.sqlite") as store:  # the time of the next attempt has come
            assert store.execute("UPDATE outbox SET next_at = 0").rowcount == 1
        store.close()
        receiver.let.add("ops")
        door.start()
        got = seen(lambda: [each for each in receiver.got if "DELETE on shop" in each.body.decode() and each != first])[0]
        told = standardwebhooks.Webhook(KEY).verify(got.body, got.headers)
        assert got.headers["webhook-id"] == first.headers["webhook-id"]
        assert told["data"]["requested_by"].endswith("|bot")
        assert told["data"]["url"].endswith(f"/approvals/{told['data']['approval']}")
        assert "hush-hush" not in got.body.decode()
        assert json.loads(command("notify", "test", "ops").stdout)["answer"] == "200 ok"
