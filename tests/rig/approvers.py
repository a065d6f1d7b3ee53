"""People who answer requests for approval, over the gateway's HTTP API."""

from __future__ import annotations

import json
import urllib.error
import urllib.request
from typing import Any

from tests.rig.gateway import Gateway


def call(gateway: Gateway, path: str, body: object = None, *, token: str = "", **claims: Any) -> tuple[int, Any]:
    """Status and JSON (or text) of one request by somebody with these claims; POST when there is a body."""
    request = urllib.request.Request(
        f"http://127.0.0.1:{gateway.http_port}{path}",
        data=None if body is None else json.dumps(body).encode(),
        headers={"authorization": f"Bearer {token or gateway.token(**claims)}", "content-type": "application/json"},
    )
    try:
        with urllib.request.urlopen(request, timeout=30) as answer:  # noqa: S310  loopback only
            status, raw = answer.status, answer.read()
    except urllib.error.HTTPError as refused:
        status, raw = refused.code, refused.read()
    try:
        return status, json.loads(raw)
    except ValueError:
        return status, raw.decode("utf-8", "replace")


def vote(gateway: Gateway, request: str, *, approve: bool = True, sub: str = "dora", **claims: Any) -> tuple[int, Any]:
    """A vote; by dora of group dba unless somebody else is named."""
    said = {"sub": sub, "groups": ["dba"], **claims}
    return call(gateway, f"/api/approvals/{request}/votes", {"approve": approve}, **said)


def show(gateway: Gateway, request: str, *, sub: str = "dora", **claims: Any) -> Any:
    """A request as the gateway renders it for dora."""
    return call(gateway, f"/api/approvals/{request}", **{"sub": sub, "groups": ["dba"], **claims})[1]
