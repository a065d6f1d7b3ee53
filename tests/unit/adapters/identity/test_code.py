"""Signing people in: only an answer to this very request, by this very issuer, about a person, lets anybody in."""

from __future__ import annotations

import base64
import hashlib
import time
from collections.abc import Callable
from dataclasses import replace
from typing import Any
from urllib.parse import parse_qs, urlsplit

import pytest

from doorward.adapters.identity.code import Begun, SignIn
from doorward.adapters.identity.oidc import OidcAuthenticator
from doorward.errors import AuthenticationError, UpstreamError
from doorward.model import SecretRef
from tests.rig.issuer import LocalIssuer

BACK = "http://localhost:7480/sign-in/callback"


def now() -> int:
    return int(time.time() * 1000)


def signs_in(local: LocalIssuer, *, longest: int = 3600, **changes: Any) -> SignIn:
    local.discovery = {
        "issuer": local.url, "jwks_uri": f"{local.url}/jwks", "authorization_endpoint": f"{local.url}/authorize",
        "token_endpoint": f"{local.url}/token", "end_session_endpoint": f"{local.url}/leave",
        "authorization_response_iss_parameter_supported": True, **changes.pop("metadata", {}),
    }  # fmt: skip
    settings = local.settings(**{"client_id": "web", **changes})

    async def reveal(reference: SecretRef | None) -> bytes:
        return b"" if reference is None else b"open sesame"

    return SignIn(settings, OidcAuthenticator([settings]), reveal, now, longest=longest)


def id_token(local: LocalIssuer, begun: Begun | None, **changes: Any) -> str:
    said = {"aud": "web", "nonce": begun.nonce if begun else None, "client_id": None, "jti": None, "groups": ["dba"],
            "auth_time": int(time.time())}  # fmt: skip
    header = changes.pop("header", {"typ": "JWT"})
    return local.mint(header, **(said | changes))


def answer(local: LocalIssuer, begun: Begun, **changes: Any) -> dict[str, str]:
    found = {"code": "c0de", "state": begun.state, "iss": local.url} | changes
    return {name: value for name, value in found.items() if value is not None}


@pytest.fixture
def tokens(local_issuer: LocalIssuer) -> Callable[..., None]:
    """Say what the token endpoint answers."""

    def say(status: int = 200, **given: Any) -> None:
        local_issuer.token_answer = (status, given)

    return say


async def test_a_person_signs_in(local_issuer: LocalIssuer, tokens: Callable[..., None]) -> None:
    """The request has state, nonce, an S256 challenge and the exact redirect URI; the code goes back with its verifier, and
    what comes of it is who it is. Nothing that the issuer gave is in the printed form."""
    sign_in = signs_in(local_issuer)
    begun = await sign_in.begin(BACK)
    asked = {name: value[0] for name, value in parse_qs(urlsplit(begun.address).query).items()}
    challenge = base64.urlsafe_b64encode(hashlib.sha256(begun.verifier.encode()).digest()).rstrip(b"=").decode()
    assert asked == {
        "response_type": "code", "client_id": "web", "redirect_uri": BACK, "scope": "openid profile email",
        "state": begun.state, "nonce": begun.nonce, "code_challenge": challenge, "code_challenge_method": "S256",
        "max_age": "3600",
    }  # fmt: skip
    assert len({begun.state, begun.nonce, begun.verifier}) == 3
    assert len(begun.verifier) >= 43
    tokens(id_token=id_token(local_issuer, begun), access_token="a" * 30, refresh_token="r3fresh")
    grant = await sign_in.finish(sign_in.recall(sign_in.remember(begun)), answer(local_issuer, begun), BACK)
    assert (grant.identity.id, grant.identity.groups) == (f"{local_issuer.url}|alice", frozenset({"dba"}))
    assert abs(grant.logged_in_at - now()) < 5000
    assert grant.identity.claims["auth_time"].isdigit()
    [form] = local_issuer.forms
    assert form == {
        "grant_type": "authorization_code", "code": "c0de", "redirect_uri": BACK, "code_verifier": begun.verifier,
        "client_id": "web",
    }  # fmt: skip
    assert not any(secret in repr((begun, grant)) for secret in (begun.verifier, begun.nonce, begun.state, "r3fresh"))


async def test_a_confidential_client_proves_itself(local_issuer: LocalIssuer, tokens: Callable[..., None]) -> None:
    """With a secret, it is in the Authorization header and not in the form."""
    sign_in = signs_in(local_issuer, client_secret=SecretRef("vault", "web"))
    begun = await sign_in.begin(BACK)
    tokens(id_token=id_token(local_issuer, begun))
    await sign_in.finish(begun, answer(local_issuer, begun), BACK)
    assert "client_secret" not in local_issuer.forms[0]
    assert local_issuer.authorizations == ["Basic " + base64.b64encode(b"web:open+sesame").decode()]


@pytest.mark.parametrize(
    ("changes", "why"),
    [
        ({"state": "another"}, "another sign-in"), ({"state": None}, "another sign-in"), ({"state": ""}, "another sign-in"),
        ({"iss": None}, "another issuer"), ({"iss": "https://evil.test"}, "another issuer"), ({"iss": ""}, "another issuer"),
        ({"code": None}, "no code"), ({"code": ""}, "no code"), ({"code": "x" * 5000}, "no code"),
        ({"error": "access_denied"}, "access_denied"), ({"error": "<img src=x>"}, r"\(error\)"),
    ],
)  # fmt: skip
async def test_an_answer_that_is_not_to_this_request(
    local_issuer: LocalIssuer, tokens: Callable[..., None], changes: dict[str, Any], why: str
) -> None:
    """Lets nobody in, and no code goes anywhere."""
    sign_in = signs_in(local_issuer)
    begun = await sign_in.begin(BACK)
    tokens(id_token=id_token(local_issuer, begun))
    with pytest.raises(AuthenticationError, match=why) as refused:
        await sign_in.finish(begun, answer(local_issuer, begun, **changes), BACK)
    assert local_issuer.forms == []
    assert "<img" not in str(refused.value)


@pytest.mark.parametrize(
    ("changes", "why"),
    [
        ({"nonce": "another"}, "another sign-in"), ({"nonce": None}, "another sign-in"), ({"aud": "doorward"}, "not for this"),
        ({"aud": ["web", "other"]}, "another client"), ({"azp": "other"}, "another client"),
        ({"iss": "https://evil.test"}, "issuer"), ({"header": {"typ": "at+jwt"}}, "RFC 9068|access"),
        ({"exp": int(time.time()) - 60, "iat": int(time.time()) - 90}, "expired"),
        ({"sub": "repo:a/b"}, "only people"), ({"act": {"sub": "bot"}}, "only people"), ({"sub": "a\nb"}, "printable"),
        ({"auth_time": int(time.time()) - 7200}, "lately"), ({"header": {"alg": "none"}}, "algorithm"),
    ],
)  # fmt: skip
async def test_an_id_token_that_is_not_for_us(
    local_issuer: LocalIssuer, tokens: Callable[..., None], changes: dict[str, Any], why: str
) -> None:
    """Of another sign-in, client, issuer, time or kind: nobody is let in, and the token is not in the message."""
    sign_in = signs_in(local_issuer)
    begun = await sign_in.begin(BACK)
    try:
        token = id_token(local_issuer, begun, **changes)
    except KeyError:  # the rig signs nothing with `none`
        token = id_token(local_issuer, begun)
        token = "eyJhbGciOiJub25lIn0." + token.split(".")[1] + "."
    tokens(id_token=token)
    with pytest.raises(AuthenticationError, match=why) as refused:
        await sign_in.finish(begun, answer(local_issuer, begun), BACK)
    assert token.split(".")[1] not in refused.value.message + refused.value.hint


@pytest.mark.parametrize("auth_time", [None, 0, "now", -400, True])
async def test_a_fresh_login_is_one_of_the_last_minutes(
    local_issuer: LocalIssuer, tokens: Callable[..., None], auth_time: Any
) -> None:
    """It is asked for with prompt and max_age, and the issuer must say that it was so."""
    if auth_time == -400:
        auth_time = int(time.time()) - 400
    sign_in = signs_in(local_issuer)
    begun = await sign_in.begin(BACK, fresh=True)
    assert {"prompt=login", "max_age=0"} <= set(urlsplit(begun.address).query.split("&"))
    if auth_time == -400:  # seconds ago; not in the table, where each worker would have another moment
        auth_time = int(time.time()) - 400
    tokens(id_token=id_token(local_issuer, begun, auth_time=auth_time))
    with pytest.raises(AuthenticationError, match="lately"):
        await sign_in.finish(begun, answer(local_issuer, begun), BACK)
    tokens(id_token=id_token(local_issuer, begun))
    assert (await sign_in.finish(begun, answer(local_issuer, begun), BACK)).logged_in_at


async def test_refreshing_asks_who_it_is_now(local_issuer: LocalIssuer, tokens: Callable[..., None]) -> None:
    """Groups are those of the newest ID token; a rotated refresh token replaces the old one; somebody else, or a no, ends it;
    without an ID token nothing holds longer than it did."""
    sign_in = signs_in(local_issuer)
    begun = await sign_in.begin(BACK)
    tokens(id_token=id_token(local_issuer, begun), refresh_token="one")
    first = await sign_in.finish(begun, answer(local_issuer, begun), BACK)
    tokens(id_token=id_token(local_issuer, None, groups=["staff"]), refresh_token="two")
    second = await sign_in.refresh(first)
    assert (second.identity.groups, second.refresh_token) == (frozenset({"staff"}), "two")
    assert second.logged_in_at == first.logged_in_at
    assert local_issuer.forms[-1] == {"grant_type": "refresh_token", "refresh_token": "one", "client_id": "web"}
    tokens(access_token="a")
    third = await sign_in.refresh(second)
    assert (third.refresh_token, third.until) == ("two", second.until)
    with pytest.raises(AuthenticationError, match="no longer"):
        await sign_in.refresh(replace(second, until=now() - 1))
    tokens(id_token=id_token(local_issuer, None, sub="mallory"))
    with pytest.raises(AuthenticationError, match="somebody else"):
        await sign_in.refresh(second)
    tokens(400, error="invalid_grant", error_description="two is revoked")
    with pytest.raises(AuthenticationError, match="invalid_grant"):
        await sign_in.refresh(second)
    tokens(503, error="server_error")
    with pytest.raises(UpstreamError):
        await sign_in.refresh(second)


async def test_where_to_sign_out(local_issuer: LocalIssuer) -> None:
    """At the issuer's own place, without a token in the address; nowhere, if it has none."""
    assert await signs_in(local_issuer).sign_out("http://localhost:7480/signed-out") == (
        f"{local_issuer.url}/leave?client_id=web&post_logout_redirect_uri=http%3A%2F%2Flocalhost%3A7480%2Fsigned-out"
    )
    assert await signs_in(local_issuer, metadata={"end_session_endpoint": None}).sign_out("x") == ""


@pytest.mark.parametrize("where", [None, 5, "javascript:alert(1)", "http://evil.test/a", "https://a b/", "//evil.test"])
async def test_a_browser_is_sent_to_addresses_of_the_web_only(local_issuer: LocalIssuer, where: Any) -> None:
    """Whatever the issuer's document says."""
    with pytest.raises(UpstreamError):
        await signs_in(local_issuer, metadata={"authorization_endpoint": where}).begin(BACK)
