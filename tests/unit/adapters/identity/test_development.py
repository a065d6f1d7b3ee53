"""The built-in development issuer, over HTTP: what it issues, and what it refuses to be."""

from __future__ import annotations

import re
import socket
import time
from collections.abc import Mapping
from typing import Any
from urllib.parse import parse_qsl, urlsplit

import httpx2
import pytest

from doorward.adapters.identity.code import Begun, SignIn
from doorward.adapters.identity.development import DevelopmentIssuer, serve
from doorward.adapters.identity.device import DEVICE_GRANT
from doorward.adapters.identity.oidc import OidcAuthenticator
from doorward.errors import AuthenticationError, ConfigError
from doorward.model import Kind, SecretRef
from tests.rig.issuer import development_issuer

__all__ = ["development_issuer"]


def post(issuer: DevelopmentIssuer, path: str, form: Mapping[str, str], **more: Any) -> httpx2.Response:
    return httpx2.post(issuer.url + path, data=form, trust_env=False, **more)


@pytest.mark.parametrize("kind", list(Kind))
async def test_issued_tokens_are_accepted(development_issuer: DevelopmentIssuer, kind: Kind) -> None:
    """A token says subject, groups and kind, and a gateway with the issuer's settings believes it."""
    door = OidcAuthenticator([development_issuer.settings()])
    identity = await door.authenticate(development_issuer.issue("alice", ["dba"], kind))
    assert (identity.subject, identity.kind, identity.groups) == ("alice", kind, frozenset({"dba"}))


async def test_an_agent_that_acts_for_a_person(development_issuer: DevelopmentIssuer) -> None:
    """`act` makes the actor the identity, and the subject the one it acts for."""
    door = OidcAuthenticator([development_issuer.settings()])
    token = development_issuer.issue("alice", ["dba"], act={"sub": "robot", "groups": ["agents"]})
    robot = await door.authenticate(token)
    assert (robot.subject, robot.kind, robot.groups) == ("robot", Kind.AGENT, frozenset({"agents"}))
    assert robot.on_behalf_of is not None
    assert (robot.on_behalf_of.subject, robot.on_behalf_of.kind) == ("alice", Kind.HUMAN)
    assert robot.on_behalf_of.groups == {"dba"}


async def test_an_expired_token_can_be_issued(development_issuer: DevelopmentIssuer) -> None:
    """A negative lifetime gives a token that is refused for that reason."""
    door = OidcAuthenticator([development_issuer.settings()])
    with pytest.raises(AuthenticationError, match="expired"):
        await door.authenticate(development_issuer.issue("alice", lifetime=-60))


async def test_client_credentials(development_issuer: DevelopmentIssuer) -> None:
    """A client's secret, in the form or in the header, gets it a token of its own kind and groups."""
    door = OidcAuthenticator([development_issuer.settings()])
    form = {"grant_type": "client_credentials"}
    for answer in (
        post(development_issuer, "/token", form | {"client_id": "robot", "client_secret": "robot-secret"}),
        post(development_issuer, "/token", form, auth=("robot", "robot-secret")),
    ):
        identity = await door.authenticate(answer.json()["access_token"])
        assert (identity.subject, identity.kind, identity.groups) == ("robot", Kind.AGENT, frozenset({"agents"}))


@pytest.mark.parametrize(
    ("path", "form", "status", "error"),
    [
        ("/token", {}, 400, "unsupported_grant_type"),
        ("/token", {"grant_type": "password"}, 400, "unsupported_grant_type"),
        ("/token", {"grant_type": "client_credentials"}, 401, "invalid_client"),
        (
            "/token",
            {"grant_type": "client_credentials", "client_id": "robot", "client_secret": "robot-secreT"},
            401,
            "invalid_client",
        ),
        ("/token", {"grant_type": DEVICE_GRANT, "device_code": "x"}, 400, "expired_token"),
        ("/device_authorization", {}, 400, "invalid_request"),
        ("/nothing", {}, 404, "not_found"),
        ("/token", {"a": "b" * 20000}, 413, "invalid_request"),
    ],
)
def test_bad_requests(
    development_issuer: DevelopmentIssuer, path: str, form: dict[str, str], status: int, error: str
) -> None:
    """Each gets OAuth's own error."""
    answer = post(development_issuer, path, form)
    assert (answer.status_code, answer.json()["error"]) == (status, error)


def test_it_answers_only_under_its_own_name(development_issuer: DevelopmentIssuer) -> None:
    """A page of another site that made its name mean 127.0.0.1 gets nothing, nor does its form."""
    rebound = httpx2.get(development_issuer.url + "/jwks", headers={"host": "evil.example"}, trust_env=False)
    assert rebound.status_code == 403
    form = {"user_code": "X", "subject": "alice", "answer": "yes"}
    assert post(development_issuer, "/device", form, headers={"origin": "https://evil.example"}).status_code == 403


def test_the_key_stays_inside(development_issuer: DevelopmentIssuer) -> None:
    """The published key has no private part, and neither has any printed form of the issuer."""
    assert '"d"' not in httpx2.get(development_issuer.url + "/jwks", trust_env=False).text
    assert "robot-secret" not in repr(vars(development_issuer))


def test_it_must_be_asked_for_by_name() -> None:
    """Without the flag there is no development issuer; anything but True does not count."""
    with pytest.raises(ConfigError, match="anybody at this machine"):
        DevelopmentIssuer("http://127.0.0.1:1")
    with pytest.raises(ConfigError, match="anybody at this machine"):
        DevelopmentIssuer("http://127.0.0.1:1", i_know_this_is_a_development_issuer="no")  # type: ignore[arg-type]


@pytest.mark.parametrize(
    "url", ["http://192.0.2.1:1", "https://127.0.0.1:1", "http://issuer.example", "http://127.0.0.1:1/path"]
)
def test_it_is_on_loopback_only(url: str) -> None:
    """No other address can even be named."""
    with pytest.raises(ConfigError):
        DevelopmentIssuer(url, i_know_this_is_a_development_issuer=True)


async def test_it_does_not_listen_elsewhere() -> None:
    """A socket that others can reach is refused before anything is served."""
    issuer = DevelopmentIssuer("http://127.0.0.1:1", i_know_this_is_a_development_issuer=True)
    with socket.socket() as listening:
        listening.bind(("0.0.0.0", 0))
        with pytest.raises(ConfigError, match="loopback"):
            await serve(issuer, listening)


async def test_another_start_has_another_key(development_issuer: DevelopmentIssuer) -> None:
    """A token of an earlier start, or of another development issuer of the same address, is worthless."""
    other = DevelopmentIssuer(development_issuer.url, i_know_this_is_a_development_issuer=True)
    door = OidcAuthenticator([development_issuer.settings()])
    with pytest.raises(AuthenticationError, match="no such key"):
        await door.authenticate(other.issue("alice"))


BACK = "http://localhost:7480/sign-in/callback"


async def signed_in(issuer: DevelopmentIssuer, *, say: str = "yes", **changes: str) -> tuple[SignIn, Begun, dict[str, str]]:
    """As far as the issuer's answer to a sign-in: what somebody chose on its page."""
    settings = issuer.settings()

    async def reveal(_: SecretRef | None) -> bytes:
        return b""

    sign_in = SignIn(settings, OidcAuthenticator([settings]), reveal, lambda: int(time.time() * 1000))
    begun = await sign_in.begin(BACK)
    asked = dict(parse_qsl(urlsplit(begun.address).query)) | changes
    page = httpx2.get(f"{issuer.url}/authorize", params=asked, trust_env=False)
    if page.status_code != 200:
        return sign_in, begun, {"refused": str(page.status_code)}
    form = dict(re.findall(r"<input type=hidden name=(\w+) value='([^']*)'>", page.text))
    back = post(issuer, "/authorize", {**form, "subject": "alice", "answer": say})
    assert back.headers["location"].startswith(BACK + "?")
    return sign_in, begun, dict(parse_qsl(urlsplit(back.headers["location"]).query))


async def test_a_person_signs_in_to_the_pages(development_issuer: DevelopmentIssuer) -> None:
    """The code flow with PKCE: the gateway's own client takes the answer, once."""
    sign_in, begun, answer = await signed_in(development_issuer)
    grant = await sign_in.finish(begun, answer, BACK)
    who = grant.identity
    assert (who.subject, who.kind, who.groups) == ("alice", Kind.HUMAN, frozenset({"dba", "staff"}))
    assert grant.logged_in_at > 0
    with pytest.raises(AuthenticationError, match="invalid_grant"):
        await sign_in.finish(begun, answer, BACK)


async def test_a_person_may_say_no(development_issuer: DevelopmentIssuer) -> None:
    """Which the gateway is told."""
    sign_in, begun, answer = await signed_in(development_issuer, say="no")
    with pytest.raises(AuthenticationError, match="access_denied"):
        await sign_in.finish(begun, answer, BACK)


@pytest.mark.parametrize(
    "changes",
    [{"redirect_uri": "https://evil.example/"}, {"redirect_uri": "http://evil.example/"}, {"redirect_uri": "javascript:x"},
     {"code_challenge_method": "plain"}, {"code_challenge": ""}, {"response_type": "token"}, {"client_id": ""}],
)  # fmt: skip
async def test_a_code_is_for_this_machine_and_has_a_challenge(
    development_issuer: DevelopmentIssuer, changes: dict[str, str]
) -> None:
    """Anything else is refused where it is asked for."""
    assert (await signed_in(development_issuer, **changes))[2] == {"refused": "400"}


async def test_a_code_without_its_verifier_is_nothing(development_issuer: DevelopmentIssuer) -> None:
    """Whoever saw the answer has no use for it."""
    _, _, answer = await signed_in(development_issuer)
    form = {"grant_type": "authorization_code", "code": answer["code"], "client_id": "doorward", "redirect_uri": BACK}
    assert post(development_issuer, "/token", {**form, "code_verifier": "guessed"}).json()["error"] == "invalid_grant"
