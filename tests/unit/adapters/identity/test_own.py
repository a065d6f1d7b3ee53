"""Gateway tokens: what is made is read back whole, and nothing else is."""

from __future__ import annotations

import base64
import json
from dataclasses import replace
from typing import Any

import pytest
from joserfc import jwt as joserfc_jwt
from joserfc.jwk import ECKey, KeySet, OKPKey

from doorward.adapters.identity.oidc import OidcAuthenticator
from doorward.adapters.identity.own import PERIOD, OwnIssuer
from doorward.errors import AuthenticationError, ConfigError
from doorward.model import Assurance, Identity, Kind
from tests.memory.files import MemoryKeyFiles
from tests.rig.issuer import LocalIssuer

URL = "https://door.test"
NOW = 1_800_000_000
ANN = Identity(
    "ann", Kind.HUMAN, "https://idp.test", frozenset({"dba", "staff"}), {"email": "ann@x"}, issued_at=(NOW - 5) * 1000
)
BOT = Identity("bot", Kind.AGENT, URL, frozenset({"agents"}), {"workload": "github"}, issued_at=(NOW - 9) * 1000)


class Time:
    seconds = NOW

    def now(self) -> int:
        return self.seconds * 1000


def own(files: MemoryKeyFiles | None = None, time: Time | None = None) -> OwnIssuer:
    return OwnIssuer(URL, ("shop", "ware"), files or MemoryKeyFiles(), (time or Time()).now)


def made(issuer: OwnIssuer, identity: Identity, **more: Any) -> str:
    return issuer.make(
        identity, jti="j-1", issued=NOW, expires=NOW + 600, more={"client_id": "cli", "azp": "cli", "txn": "t", **more}
    )


def authenticator(issuer: OwnIssuer, local: LocalIssuer) -> OidcAuthenticator:
    return OidcAuthenticator([local.settings()], own=issuer, now=lambda: NOW * 1000)


@pytest.mark.parametrize(
    "identity",
    [
        ANN,
        BOT,
        replace(BOT, on_behalf_of=ANN),
        replace(BOT, subject="sub", on_behalf_of=replace(BOT, on_behalf_of=ANN)),
        replace(ANN, audience=("shop",)),
        replace(BOT, audience=("shop", "ware"), on_behalf_of=replace(ANN, audience=("shop", "ware"))),
        replace(ANN, subject="a|b|c"),
    ],
)
async def test_an_identity_comes_back_as_it_went(local_issuer: LocalIssuer, identity: Identity) -> None:
    """With its chain, groups, claims and narrowing; by a bearer token of ten minutes."""
    issuer = own()
    found = await authenticator(issuer, local_issuer).authenticate(made(issuer, identity))
    expected: Identity | None = None
    for link in reversed(identity.chain()):
        expected = replace(
            link, on_behalf_of=expected, authenticated_at=NOW * 1000, expires_at=(NOW + 600) * 1000,
            assurance=Assurance.V1, token_id="j-1", audience=identity.audience,  # an id
        )  # fmt: skip
    assert found == expected


def test_what_it_says() -> None:
    """RFC 9068 and RFC 8693: who acts now is outermost, for whom is `sub`."""
    issuer = own()
    chain = replace(BOT, subject="sub", on_behalf_of=replace(BOT, on_behalf_of=ANN), audience=("shop",))
    header, payload, _ = made(issuer, chain, amr=["pwd"]).split(".")
    assert json.loads(base64.urlsafe_b64decode(header + "==")) == {
        "alg": "Ed25519", "typ": "at+jwt", "kid": issuer.jwks()["keys"][0]["kid"],
    }  # fmt: skip
    said = json.loads(base64.urlsafe_b64decode(payload + "=="))
    assert said["sub"] == ANN.id
    assert (said["act"]["sub"], said["act"]["act"]["sub"]) == (f"{URL}|sub", BOT.id)
    assert said["aud"] == f"{URL}/targets/shop"
    assert (said["iss"], said["jti"], said["txn"], said["amr"], said["exp"] - said["iat"]) == (URL, "j-1", "t", ["pwd"], 600)
    assert said["kind"] == "human"


async def test_a_key_signs_for_a_month_and_verifies_for_two(local_issuer: LocalIssuer) -> None:
    """The set holds two keys; after a rotation the older still verifies, after the next it is gone. No key is private."""
    files, time = MemoryKeyFiles(), Time()
    issuer = own(files, time)
    token = made(issuer, ANN)
    first = [key["kid"] for key in issuer.jwks()["keys"]]
    assert len(set(first)) == 2
    time.seconds += PERIOD
    second = [key["kid"] for key in issuer.jwks()["keys"]]
    assert second[1] == first[0]
    assert second[0] not in first
    keys = KeySet.import_key_set(issuer.jwks())  # type: ignore[arg-type]  # as it is on the wire
    joserfc_jwt.decode(token, keys, algorithms=["Ed25519"])
    await authenticator(issuer, local_issuer).authenticate(token)
    assert [key["kid"] for key in own(files, time).jwks()["keys"]] == second  # another process, or after a restart
    time.seconds += PERIOD
    with pytest.raises(AuthenticationError, match="no such key"):
        await authenticator(issuer, local_issuer).authenticate(token)
    assert all("d" not in key for key in issuer.jwks()["keys"])


def test_keys_that_nothing_valid_is_signed_with_are_removed() -> None:
    """Of every kind of file only those, after a rotation and after a start that skipped some."""
    files, time = MemoryKeyFiles(), Time()
    files.get_or_create("token-3.key", bytes(32))
    files.get_or_create("wal.key", bytes(32))
    issuer = own(files, time)
    period = NOW // PERIOD
    issuer.jwks()
    assert files.names() == [f"token-{period - 1}.key", f"token-{period}.key", "wal.key"]
    time.seconds += PERIOD
    issuer.jwks()
    assert files.names() == [f"token-{period}.key", f"token-{period + 1}.key", "wal.key"]


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"aud": "https://other.test"}, "meant for"),
        ({"aud": f"{URL}/targets/other"}, "meant for"),
        ({"exp": NOW - 60, "iat": NOW - 660}, "expired"),
        ({"kind": "god"}, "not one that this gateway makes"),
        ({"sub": "ann"}, "not one that this gateway makes"),
        ({"groups": None}, "not one that this gateway makes"),
        ({"act": []}, "not one that this gateway makes"),
        ({"cnf": {"jkt": "x"}}, "bound to a key"),
        ({"jti": None}, "no 'jti'"),
    ],
)
async def test_what_this_gateway_does_not_make_is_refused(
    local_issuer: LocalIssuer, changes: dict[str, Any], said: str
) -> None:
    """Though its own key signed it."""
    issuer = own()
    body = {
        "iss": URL, "aud": URL, "sub": ANN.id, "kind": "human", "groups": [], "claims": {}, "said_at": 0, "client_id": "x",
        "jti": "j", "iat": NOW, "exp": NOW + 600, **changes,
    }  # fmt: skip
    body = {name: value for name, value in body.items() if value is not None}
    key = issuer._current()[0]
    token = joserfc_jwt.encode({"alg": "Ed25519", "typ": "at+jwt", "kid": key.kid}, body, key, algorithms=["Ed25519"])
    with pytest.raises(AuthenticationError, match=said):
        await authenticator(issuer, local_issuer).authenticate(token)


async def test_nobody_else_signs_them(local_issuer: LocalIssuer) -> None:
    """Not another key under this one's id, not another gateway, not an issuer that is trusted itself."""
    issuer = own()
    body: dict[str, Any] = {
        "iss": URL, "aud": URL, "sub": ANN.id, "kind": "human", "groups": ["admins"], "claims": {}, "said_at": 0,
        "client_id": "x", "jti": "j", "iat": NOW, "exp": NOW + 600,
    }  # fmt: skip
    kid = issuer.jwks()["keys"][0]["kid"]
    forged = OKPKey.generate_key("Ed25519", parameters={"kid": kid})
    token = joserfc_jwt.encode({"alg": "Ed25519", "typ": "at+jwt", "kid": kid}, body, forged, algorithms=["Ed25519"])
    verifier = authenticator(issuer, local_issuer)
    with pytest.raises(AuthenticationError, match="signature is not"):
        await verifier.authenticate(token)
    with pytest.raises(AuthenticationError, match="no such key"):
        await verifier.authenticate(made(own(), ANN))
    with pytest.raises(AuthenticationError, match="configured for Ed25519"):
        await verifier.authenticate(local_issuer.mint(key=ECKey.generate_key("P-256", parameters={"kid": kid}), **body))


def test_groups_that_do_not_fit_are_no_token() -> None:
    """It says so, and does not drop some."""
    with pytest.raises(AuthenticationError, match="too long"):
        made(own(), replace(ANN, groups=frozenset(f"group-{n:0100}" for n in range(200))))


def test_the_gateway_is_no_issuer_of_its_own_configuration(local_issuer: LocalIssuer) -> None:
    """Two would speak under one name."""
    issuer = OwnIssuer(local_issuer.url, (), MemoryKeyFiles(), Time().now)
    with pytest.raises(ConfigError, match="this gateway itself"):
        OidcAuthenticator([local_issuer.settings()], own=issuer)
