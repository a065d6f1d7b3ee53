"""A real OpenID provider, from `doorward token` to an Identity."""

from __future__ import annotations

import asyncio
import base64
import dataclasses
import hmac
import html
import json
import os
import re
import subprocess
import sys
import threading
import time
from pathlib import Path
from urllib.parse import urljoin

import httpx2
import pytest
from joserfc.jwk import RSAKey

from doorward.adapters.identity.oidc import KindRule, OidcAuthenticator
from doorward.cli.gateway import http
from doorward.cli.logins import Logins
from doorward.errors import AuthenticationError
from doorward.model import Kind
from tests.rig.issuer import AUDIENCE, RealIssuer, b64, issuer

__all__ = ["issuer"]

TOKEN = [sys.executable, "-c", "import sys; from doorward.cli.token import app; app(sys.argv[1:])"]


def client_token(issuer: RealIssuer, *arguments: str, client: str = "agent") -> str:
    """A token through the command, as a program would get one."""
    done = subprocess.run(
        [*TOKEN, "--issuer", issuer.url, "--client-id", client, "--client-credentials", *arguments],
        env=os.environ | {"DOORWARD_CLIENT_SECRET": issuer.AGENT_SECRET},
        capture_output=True,
        text=True,
        timeout=60,
        check=True,
    )
    assert done.stderr == ""
    return done.stdout.strip()


async def test_client_credentials(issuer: RealIssuer) -> None:
    """A program's RFC 9068 access token is accepted: a service, in the groups that the issuer says."""
    token = await asyncio.to_thread(client_token, issuer)
    identity = await OidcAuthenticator([issuer.settings()]).authenticate(token)
    assert (identity.subject, identity.kind, identity.issuer) == ("agent", Kind.SERVICE, issuer.url)
    assert identity.groups == {"agents"}
    assert identity.claims["client_id"] == "agent"
    assert len(identity.token_id) > 20
    assert identity.expires_at - identity.authenticated_at > 500_000


async def test_kind_by_configuration(issuer: RealIssuer) -> None:
    """A rule makes the same client an agent."""
    token = await asyncio.to_thread(client_token, issuer)
    rules = (KindRule("groups", ("agent*",), Kind.AGENT),)
    assert (await OidcAuthenticator([issuer.settings(kind_rules=rules)]).authenticate(token)).kind is Kind.AGENT


async def test_wrong_audience(issuer: RealIssuer) -> None:
    """A sound token of the same issuer for another audience is refused."""
    token = await asyncio.to_thread(client_token, issuer, "--resource", "urn:other")
    with pytest.raises(AuthenticationError, match="meant for 'other', not for this gateway"):
        await OidcAuthenticator([issuer.settings()]).authenticate(token)


async def test_expired(issuer: RealIssuer) -> None:
    """A token that lived one second is accepted in it and refused after it."""
    token = await asyncio.to_thread(client_token, issuer, client="short")
    await asyncio.sleep(1.5)
    with pytest.raises(AuthenticationError, match="expired"):
        await OidcAuthenticator([issuer.settings(skew_seconds=0)]).authenticate(token)
    assert await OidcAuthenticator([issuer.settings(skew_seconds=60)]).authenticate(token)


async def test_wrong_issuer(issuer: RealIssuer) -> None:
    """A gateway that trusts another issuer, or this one under another spelling, refuses."""
    token = await asyncio.to_thread(client_token, issuer)
    for url in (issuer.url + "/", issuer.url.replace("127.0.0.1", "localhost"), "https://issuer.example"):
        with pytest.raises(AuthenticationError, match="issuer is not one that this gateway trusts"):
            await OidcAuthenticator([issuer.settings(url=url)]).authenticate(token)


async def test_a_wrong_secret(issuer: RealIssuer) -> None:
    """The command says what the issuer said, and neither prints nor says the secret."""
    with pytest.raises(subprocess.CalledProcessError) as caught:
        await asyncio.to_thread(client_token, issuer, client="nobody")
    assert "invalid_client" in caught.value.stderr
    assert issuer.AGENT_SECRET not in caught.value.stderr
    assert caught.value.stdout == ""


def login(address: str, name: str) -> str:
    """What a person does in a browser: confirm the code, log in, consent. Returns the last page."""
    with httpx2.Client(follow_redirects=True, trust_env=False, timeout=20) as browser:
        page = browser.get(address)
        for _ in range(8):
            form = re.search(r"<form[^>]*?>.*?</form>", page.text, re.S)
            if form is None:
                return page.text
            action = re.search(r'action="([^"]*)"', form[0])
            fields = {
                field[1]: html.unescape((re.search(r'value="([^"]*)"', field[0]) or ["", ""])[1])
                for field in re.finditer(r'<input[^>]*?name="([^"]*)"[^>]*?>', form[0])
            }
            fields |= {known: name for known in ("login", "password") if known in fields}
            page = browser.post(urljoin(str(page.url), html.unescape(action[1]) if action else ""), data=fields)
        raise AssertionError(f"the login did not end: {page.text[:500]}")


async def let_in(process: subprocess.Popen[str]) -> tuple[str, str]:
    """What a command printed that shows an address on standard error and waits until alice has logged in there."""
    assert process.stderr is not None
    watchdog = threading.Timer(60, process.kill)
    watchdog.start()
    try:
        said = ""
        while "Waiting" not in said:
            line = await asyncio.to_thread(process.stderr.readline)
            assert line, said
            said += line
        complete = re.search(r"or open (\S+) and", said)
        assert complete, said
        assert "Sign-in Success" in await asyncio.to_thread(login, complete[1], "alice")
        out, err = await asyncio.to_thread(process.communicate)
    finally:
        watchdog.cancel()
        process.kill()
        process.wait()
    return out, err


@pytest.mark.parametrize(("arguments", "claim"), [([], "client_id"), (["--id-token"], None)])
async def test_device_flow(issuer: RealIssuer, arguments: list[str], claim: str | None) -> None:
    """`doorward token` shows address and code on standard error, waits for the person, and prints a token that the
    gateway accepts: by default the access token, with --id-token the ID token."""
    process = subprocess.Popen(
        [*TOKEN, "--issuer", issuer.url, "--client-id", "cli", "--scope", "openid groups", "--json", *arguments],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    out, err = await let_in(process)
    assert process.returncode == 0, err
    printed = json.loads(out)
    assert printed["subject"] == "alice"
    audience = ("doorward",) if claim else ("cli",)
    identity = await OidcAuthenticator([issuer.settings(audience=audience)]).authenticate(printed["token"])
    assert (identity.subject, identity.kind) == ("alice", Kind.HUMAN)
    assert identity.groups == {"dba", "staff"}
    assert ("client_id" in identity.claims) is bool(claim)


@pytest.mark.parametrize("there", [False, True])
async def test_a_login_lasts(
    issuer: RealIssuer, tmp_path: Path, request: pytest.FixtureRequest, *, there: bool
) -> None:
    """`doorward login` once; later a new token comes by itself, for the same person, until the login is forgotten. Where the
    gateway answers, the login is bound to a key, and its certificate is written for clients that want files."""
    settings = {"url": issuer.url, "audience": AUDIENCE, "development": True, "client_id": "cli"}
    door = request.getfixturevalue("gateway")(issuers=[settings]) if there else None
    gateway = "http://127.0.0.1:1" if door is None else f"http://127.0.0.1:{door.http_port}"
    process = subprocess.Popen(
        [sys.executable, "-m", "doorward", "login", "--issuer", issuer.url, "--client-id", "cli", "--scope", "openid groups",
         "--resource", f"urn:{AUDIENCE}", "--gateway", gateway, "--certificate", tmp_path / "files"],
        stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, cwd=tmp_path,
        env={**os.environ, "DOORWARD_KEYRING": "file", "XDG_CONFIG_HOME": str(tmp_path)},
    )  # fmt: skip
    out, err = await let_in(process)
    assert (process.returncode, "and stay so" in out) == (0, True), err
    assert ("bound to no key" in err, (tmp_path / "files").exists()) == (not there, there)
    kept = Logins(tmp_path / "doorward" / "logins", keyring=False)
    first = kept.get(gateway)
    assert first is not None
    assert await asyncio.to_thread(kept.token, gateway) == first.token
    if door is not None:
        assert (tmp_path / "files" / "doorward.crt").read_text() == first.certificate
        assert 11 * 3600 < first.certificate_until - time.time() <= 12 * 3600
        with http(gateway, None) as client:
            renewed = kept.bound(gateway, client)
            assert renewed is not None
            assert renewed.token == first.bound_token
            kept.keep(dataclasses.replace(first, bound_until=0.0))
            renewed = await asyncio.to_thread(kept.bound, gateway, client)
            assert renewed is not None
            assert renewed.token != first.bound_token
        found = kept.get(gateway)
        assert found is not None
        first = found
    kept.keep(dataclasses.replace(first, expires_at=0.0))
    fresh = await asyncio.to_thread(kept.token, gateway)
    assert fresh != first.token
    identity = await OidcAuthenticator([issuer.settings()]).authenticate(fresh)
    assert (identity.subject, identity.kind) == ("alice", Kind.HUMAN)
    assert kept.forget(gateway)
    assert kept.token(gateway) == ""


@pytest.mark.parametrize("case", ["alg none", "HS256 under the public key", "tampered", "cut"])
async def test_a_forged_token_of_a_real_issuer(issuer: RealIssuer, case: str) -> None:
    """What an attacker makes of a real token and the issuer's published key is refused; the token itself is not."""
    token = await asyncio.to_thread(client_token, issuer)
    header, payload, signature = token.split(".")
    claims = json.loads(base64.urlsafe_b64decode(payload + "=="))
    assert claims["sub"] == "agent"
    keys = (await asyncio.to_thread(httpx2.get, issuer.url + "/jwks", trust_env=False)).json()["keys"]
    if case == "alg none":
        forged = f"{b64({'alg': 'none', 'typ': 'at+jwt'})}.{payload}."
    elif case == "tampered":
        forged = f"{header}.{b64(claims | {'sub': 'alice', 'groups': ['dba']})}.{signature}"
    elif case == "cut":
        forged = f"{header}.{payload}."
    else:
        key = next(key for key in keys if key["alg"] == "RS256")
        secret = RSAKey.import_key(key).as_pem(private=False)
        signing_input = f"{b64({'alg': 'HS256', 'typ': 'at+jwt', 'kid': key['kid']})}.{payload}"
        forged = f"{signing_input}.{b64(hmac.digest(secret, signing_input.encode(), 'sha256'))}"
    authenticator = OidcAuthenticator([issuer.settings()])
    with pytest.raises(AuthenticationError):
        await authenticator.authenticate(forged)
    assert (await authenticator.authenticate(token)).subject == "agent"
