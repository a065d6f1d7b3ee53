"""People who answer requests for approval, over the gateway's HTTP API."""

from __future__ import annotations

import json
import urllib.error
import urllib.request
from typing import Any

from tests.rig.gateway import Gateway
from tests.rig.signers import ssh


def call(
    gateway: Gateway, path: str, body: object = None, *, token: str = "", method: str = "", **claims: Any
) -> tuple[int, Any]:
    """Status and JSON (or text) of one request by somebody with these claims; POST when there is a body, or as said."""
    request = urllib.request.Request(
        f"http://127.0.0.1:{gateway.http_port}{path}",
        data=None if body is None else json.dumps(body).encode(),
        headers={"authorization": f"Bearer {token or gateway.token(**claims)}", "content-type": "application/json"},
        method=method or None,
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


def register(gateway: Gateway, *, token: str = "", **claims: Any) -> None:
    """Register somebody's SSH key, if it is not yet."""
    who = call(gateway, "/api/whoami", token=token, **claims)[1]
    if call(gateway, "/api/keys", token=token, **claims)[1]:
        return
    line = ssh(who["id"]).public.line
    status, asked = call(gateway, "/api/keys/ssh/options", {"public_key": line}, token=token, **claims)
    assert status == 200, asked
    proof = ssh(who["id"]).sign(asked["challenge"].encode(), asked["namespace"])
    status, answer = call(gateway, "/api/keys/ssh", {"public_key": line, "proof": proof}, token=token, **claims)
    assert status == 200, answer


def ballot(gateway: Gateway, request: str, *, approve: bool = True, token: str = "", **claims: Any) -> tuple[int, Any]:
    """What somebody signs to vote."""
    return call(gateway, f"/api/approvals/{request}/ballot", {"approve": approve}, token=token, **claims)


def vote(
    gateway: Gateway, request: str, *, approve: bool = True, sub: str = "dora", token: str = "", **claims: Any
) -> tuple[int, Any]:
    """A signed vote; by dora of group dba, whose key is registered first, unless somebody else is named."""
    said: dict[str, Any] = {"token": token} if token else {"sub": sub, "groups": ["dba"], **claims}
    said.setdefault("token", token or gateway.token(**said))
    status, asked = ballot(gateway, request, approve=approve, **said)
    if status != 200:
        return status, asked
    register(gateway, **said)
    who = call(gateway, "/api/whoami", **said)[1]
    signature = {"method": "sshsig", "signature": ssh(who["id"]).sign(asked["request"].encode(), asked["ssh_namespace"])}
    body = {"approve": approve, "request": asked["request"], "signature": signature}
    return call(gateway, f"/api/approvals/{request}/votes", body, **said)


def show(gateway: Gateway, request: str, *, sub: str = "dora", **claims: Any) -> Any:
    """A request as the gateway renders it for dora."""
    return call(gateway, f"/api/approvals/{request}", **{"sub": sub, "groups": ["dba"], **claims})[1]
