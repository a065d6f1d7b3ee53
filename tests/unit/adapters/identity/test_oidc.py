"""Tokens that must be let in, and every kind that must not be."""

from __future__ import annotations

import asyncio
import hmac
import json
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from joserfc.jwk import ECKey

from doorward.adapters.identity.oidc import IssuerSettings, OidcAuthenticator
from doorward.errors import AuthenticationError, ConfigError, UpstreamError
from doorward.model import Kind
from tests.rig.certificates import Authority
from tests.rig.issuer import LocalIssuer, b64, ec_key, ed_key, local_issuer, rsa_key
from tests.rig.refusals import documented

__all__ = ["local_issuer"]


class Now:
    """A clock that stands still until it is told otherwise."""

    def __init__(self) -> None:
        self.offset = 0.0

    def unix(self) -> int:
        return int((time.time() + self.offset) * 1000)

    def monotonic(self) -> float:
        return 1000.0 + self.offset


@pytest.fixture
def now() -> Now:
    return Now()


def door(issuer: LocalIssuer, now: Now | None = None, **changes: Any) -> OidcAuthenticator:
    now = now or Now()
    return OidcAuthenticator([issuer.settings(**changes)], now=now.unix, monotonic=now.monotonic)


async def refusal(authenticator: OidcAuthenticator, token: str) -> AuthenticationError:
    """The error that a token gets; it is in the guide, has a hint, and holds nothing of the token."""
    with pytest.raises(AuthenticationError) as caught:
        await authenticator.authenticate(token)
    said = f"{caught.value.message} {caught.value.hint}"
    assert caught.value.hint
    assert documented(caught.value.message), caught.value.message
    for part in token.split("."):
        assert len(part) < 8 or part not in said
    return caught.value


async def test_an_access_token_is_an_identity(local_issuer: LocalIssuer, now: Now) -> None:
    """Subject, issuer, groups, claims, times and token id are the token's."""
    exp = int(time.time()) + 600
    identity = await door(local_issuer, now).authenticate(
        local_issuer.mint(groups=["staff", "dba"], email="alice@example.com", exp=exp)
    )
    assert (identity.subject, identity.issuer, identity.kind) == ("alice", local_issuer.url, Kind.HUMAN)
    assert identity.groups == {"staff", "dba"}
    assert identity.claims == {"email": "alice@example.com", "client_id": "cli"}
    assert identity.expires_at == exp * 1000
    assert abs(identity.authenticated_at - now.unix()) < 5000
    assert identity.token_id == "token-1"
    assert identity.on_behalf_of is None


@pytest.mark.parametrize("make", [rsa_key, ec_key, ed_key])
@pytest.mark.parametrize("typ", ["at+jwt", "application/at+jwt", "AT+JWT", "JWT", None])
async def test_key_types_and_token_types(local_issuer: LocalIssuer, make: Any, typ: str | None) -> None:
    """RSA, EC and Ed25519 keys, RFC 9068 access tokens and untyped ID tokens are accepted."""
    local_issuer.keys = [make()]
    assert (await door(local_issuer).authenticate(local_issuer.mint({"typ": typ}))).subject == "alice"


@pytest.mark.parametrize("algorithm", ["PS256", "RS256"])
async def test_rsa_algorithms(local_issuer: LocalIssuer, algorithm: str) -> None:
    """The header chooses among the allowed algorithms of the key's type."""
    local_issuer.keys = [rsa_key()]
    assert await door(local_issuer).authenticate(local_issuer.mint({"alg": algorithm}))


async def test_eddsa_under_its_older_name(local_issuer: LocalIssuer, recwarn: pytest.WarningsRecorder) -> None:
    """Most issuers still say EdDSA for Ed25519; that works, without a warning for each token."""
    local_issuer.keys = [ed_key()]
    assert await door(local_issuer).authenticate(local_issuer.mint({"alg": "EdDSA"}))
    assert not recwarn.list


async def test_a_token_without_jti_is_named_by_a_hash(local_issuer: LocalIssuer) -> None:
    """An ID token without `jti` gets an id that does not depend on how its signature is spelled."""
    token = local_issuer.mint({"typ": "JWT"}, jti=None)
    first = (await door(local_issuer).authenticate(token)).token_id
    assert first.startswith("sha256:")
    assert len(first) == 71


async def test_a_token_without_key_id(local_issuer: LocalIssuer) -> None:
    """Without `kid`, an issuer's only key is used; among two, none is guessed."""
    token = local_issuer.mint({"kid": None})
    assert await door(local_issuer).authenticate(token)
    local_issuer.keys.append(ec_key("k2"))
    await refusal(door(local_issuer), token)


def changed(**changes: Any) -> Any:
    """Times near NOW move with the clock: these rows are made long before the last of them is tried."""

    def minted(issuer: LocalIssuer) -> str:
        drift = int(time.time()) - NOW
        moved: dict[str, Any] = {
            name: value + drift if type(value) is int and abs(value - NOW) < 100_000 else value
            for name, value in changes.items()
        }
        return issuer.mint(**moved)

    return minted


def headed(**header: Any) -> Any:
    return lambda issuer: issuer.mint(header)


def confused(issuer: LocalIssuer, spelling: str) -> str:
    """HS256 whose secret is the issuer's public key."""
    public = issuer.keys[0]
    assert isinstance(public, ECKey)
    secret = public.as_pem(private=False) if spelling == "pem" else json.dumps(public.as_dict(private=False)).encode()
    signing_input = f"{b64({'alg': 'HS256', 'typ': 'at+jwt', 'kid': 'k1'})}.{b64(issuer.claims())}"
    return f"{signing_input}.{b64(hmac.digest(secret, signing_input.encode(), 'sha256'))}"


def unsigned(issuer: LocalIssuer, algorithm: str, signature: str = "") -> str:
    return f"{b64({'alg': algorithm, 'typ': 'at+jwt', 'kid': 'k1'})}.{b64(issuer.claims())}.{signature}"


def tampered(issuer: LocalIssuer) -> str:
    header, _, signature = issuer.mint().split(".")
    return f"{header}.{b64(issuer.claims(sub='root', groups=['dba']))}.{signature}"


def respelled(issuer: LocalIssuer) -> str:
    """The same signature with another last letter, whose unused low bits a lax decoder drops."""
    token = issuer.mint()
    letters = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_"
    return token[:-1] + letters[letters.index(token[-1]) ^ 1]


NOW = int(time.time())

REFUSED = {
    "empty": (lambda issuer: "", "no token"),
    "a password": (lambda issuer: "hunter2-hunter2", "not a signed JWT"),
    "five parts, encrypted": (lambda issuer: "a.b.c.d.e", "not a signed JWT"),
    "oversized": (changed(groups=["g" * 100] * 200), "longer than 16 KiB"),
    "newline at the end": (lambda issuer: issuer.mint() + "\n", "not a signed JWT"),
    "padded": (lambda issuer: issuer.mint() + "=", "not a signed JWT"),
    "not base64": (lambda issuer: "A." + issuer.mint().split(".", 1)[1], "base64url"),
    "signature in another spelling": (respelled, "only spelling"),
    "alg none": (lambda issuer: unsigned(issuer, "none"), "algorithm"),
    "alg None": (lambda issuer: unsigned(issuer, "None"), "algorithm"),
    "alg nOnE with bytes": (lambda issuer: unsigned(issuer, "nOnE", "AAAA"), "algorithm"),
    "signature cut off": (lambda issuer: unsigned(issuer, "ES256"), "not signed"),
    "empty header": (lambda issuer: f"{b64({})}.{b64(issuer.claims())}.AAAA", "algorithm"),
    "alg a list": (lambda issuer: f"{b64({'alg': ['ES256']})}.{b64(issuer.claims())}.AAAA", "algorithm"),
    "HS256 with the public key, PEM": (lambda issuer: confused(issuer, "pem"), "algorithm"),
    "HS256 with the public key, JWK": (lambda issuer: confused(issuer, "jwk"), "algorithm"),
    "foreign key, same kid": (lambda issuer: issuer.mint(key=ec_key("k1")), "signature"),
    "foreign key of another type, same kid": (lambda issuer: issuer.mint(key=rsa_key("k1")), "no such key"),
    "foreign key, own kid": (lambda issuer: issuer.mint(key=ec_key("mine")), "no such key"),
    "kid is a path": (headed(kid="../../../../dev/null"), "no such key"),
    "kid is SQL": (headed(kid="x' UNION SELECT 'AA"), "no such key"),
    "kid has a NUL": (headed(kid="k1\x00"), "key id"),
    "kid is long": (headed(kid="k" * 257), "key id"),
    "jku": (headed(jku="https://evil.example/jwks"), "'jku'"),
    "x5u": (headed(x5u="https://evil.example/cert"), "'x5u'"),
    "jwk": (lambda issuer: issuer.mint({"jwk": (key := ec_key("k1")).as_dict(private=False)}, key=key), "'jwk'"),
    "crit": (headed(crit=["exp"], exp=1), "'crit'"),
    "unencoded payload": (headed(b64=False), "'b64'"),
    "tampered payload": (tampered, "signature"),
    "signature of zeros": (lambda issuer: issuer.mint().rsplit(".", 1)[0] + "." + b64(bytes(64)), "signature"),
    "signature too short": (lambda issuer: issuer.mint().rsplit(".", 1)[0] + ".AAAA", "signature"),
    "wrong issuer": (changed(iss="https://other.example"), "issuer is not one"),
    "issuer with a slash": (lambda issuer: issuer.mint(iss=issuer.url + "/"), "issuer is not one"),
    "issuer missing": (changed(iss=""), "issuer is not one"),
    "issuer a list": (lambda issuer: issuer.mint(iss=[issuer.url]), "issuer is not one"),
    "wrong audience": (changed(aud="doorwar"), "meant for 'doorwar', not for this gateway"),
    "audience a prefix": (changed(aud="doorward.evil.example"), "meant for"),
    "audience in another case": (changed(aud="Doorward"), "meant for"),
    "audience missing": (changed(aud=None), "meant for nobody"),
    "audience an object": (changed(aud={"doorward": 1}), "meant for nobody"),
    "audience list without ours": (changed(aud=["a", "b"]), "meant for 'a', 'b'"),
    "expired": (changed(exp=NOW - 120, iat=NOW - 600), "it expired"),
    "expires in the future, as text": (changed(exp=str(NOW + 600)), "'exp'"),
    "exp true": (changed(exp=True), "'exp'"),
    "exp missing": (changed(exp=None), "no 'exp'"),
    "exp huge": (changed(exp=10**30), "'exp' is not a time"),
    "exp of 4000 digits": (changed(exp=10**4000), "'exp' is not a time"),
    "exp of 5000 digits": (lambda issuer: issuer.mint(raw=b'{"exp":' + b"9" * 5000 + b"}"), "not JSON"),
    "sub with half a character": (changed(sub="a\ud800"), "'sub'"),
    "exp negative": (changed(exp=-1), "'exp' is not a time"),
    "future nbf": (changed(nbf=NOW + 600), "not valid before"),
    "nbf an object": (changed(nbf={}), "'nbf'"),
    "iat missing": (changed(iat=None), "no 'iat'"),
    "future iat": (changed(iat=NOW + 300), "in the future"),
    "exp before iat": (changed(iat=NOW, exp=NOW - 10), "expires before"),
    "logout token": (headed(typ="logout+jwt"), "type"),
    "DPoP proof": (headed(typ="dpop+jwt"), "type"),
    "type a number": (headed(typ=1), "type"),
    "security event": (changed(events={"http://schemas.openid.net/event/backchannel-logout": {}}), "security event"),
    "bound to a key": (changed(cnf={"jkt": "x"}), "bound to a key"),
    "access token without client_id": (changed(client_id=None), "'client_id'"),
    "access token without jti": (changed(jti=None), "'jti'"),
    "access token without sub": (changed(sub=None), "'sub'"),
    "ID token without sub": (lambda issuer: issuer.mint({"typ": None}, sub=None), "'sub'"),
    "sub empty": (changed(sub=""), "'sub'"),
    "sub a number": (changed(sub=7), "'sub'"),
    "sub with a newline": (changed(sub="alice\nroot"), "'sub'"),
    "groups an object": (changed(groups={"dba": True}), "'groups'"),
    "groups with a number": (changed(groups=["a", 1]), "'groups'"),
    "groups elsewhere": (changed(_claim_names={"groups": "src1"}), "too many groups"),
    "payload a list": (lambda issuer: issuer.mint(raw=b"[]"), "not a JSON object"),
    "payload not JSON": (lambda issuer: issuer.mint(raw=b"{"), "not JSON"),
    "payload not UTF-8": (lambda issuer: issuer.mint(raw=b'{"sub":"\xff"}'), "not JSON"),
    "payload with NaN": (lambda issuer: issuer.mint(raw=b'{"exp":NaN}'), "not JSON"),
    "payload with infinity by overflow": (
        lambda issuer: issuer.mint(raw=json.dumps(issuer.claims(exp=0)).replace('"exp": 0', '"exp": 1e999').encode()),
        "'exp'",
    ),
    "payload nested deep": (lambda issuer: issuer.mint(raw=b"[" * 12000), "not JSON"),
    "payload with a name twice": (
        lambda issuer: issuer.mint(raw=json.dumps(issuer.claims()).replace("{", '{"sub": "root", ', 1).encode()),
        "each name once",
    ),
    "act not an object": (changed(act="agent"), "'act'"),
    "act null": (lambda issuer: issuer.mint(raw=json.dumps(issuer.claims() | {"act": None}).encode()), "'act'"),
    "act without sub": (changed(act={"client_id": "x"}), "'act.sub'"),
    "act of another issuer": (changed(act={"iss": "https://other.example", "sub": "x"}), "another issuer"),
    "act five deep": (
        changed(act={"sub": "1", "act": {"sub": "2", "act": {"sub": "3", "act": {"sub": "4", "act": {"sub": "5"}}}}}),
        "more than 4 actors",
    ),
}


@pytest.mark.parametrize("case", REFUSED)
async def test_refused(local_issuer: LocalIssuer, case: str) -> None:
    """Each of these is refused, with words that say which it is and a hint, and without the token in them."""
    make, message = REFUSED[case]
    error = await refusal(door(local_issuer), make(local_issuer))
    assert message in error.message


async def test_an_algorithm_that_is_not_configured_is_refused(local_issuer: LocalIssuer) -> None:
    """The issuer's own list counts, not only what Doorward could verify."""
    error = await refusal(door(local_issuer, algorithms=("RS256",)), local_issuer.mint())
    assert "signed with ES256" in error.message


async def test_the_audience_may_be_one_of_several(local_issuer: LocalIssuer) -> None:
    """One exact match among the token's audiences is enough."""
    assert await door(local_issuer).authenticate(local_issuer.mint(aud=["other", "doorward"]))


@pytest.mark.parametrize(("skew", "accepted"), [(0, False), (60, True)])
async def test_skew_is_as_configured(local_issuer: LocalIssuer, skew: int, accepted: bool) -> None:
    """Times may be off by the configured seconds and no more."""
    soon = int(time.time())
    cases: list[dict[str, Any]] = [{"exp": soon - 20, "iat": soon - 100}, {"nbf": soon + 20}, {"iat": soon + 20}]
    for claims in cases:
        token = local_issuer.mint(**claims)
        if accepted:
            assert await door(local_issuer, skew_seconds=skew).authenticate(token)
        else:
            await refusal(door(local_issuer, skew_seconds=skew), token)


async def test_the_moment_of_expiry(local_issuer: LocalIssuer, now: Now) -> None:
    """`exp` itself is too late (RFC 7519 section 4.1.4: on or after)."""
    token = local_issuer.mint(exp=int(time.time()) + 100)
    authenticator = door(local_issuer, now, skew_seconds=0)
    now.offset = 95
    assert await authenticator.authenticate(token)
    now.offset = 101
    assert "expired" in (await refusal(authenticator, token)).message


async def test_one_issuer_cannot_speak_for_another(local_issuer: LocalIssuer) -> None:
    """A token that names the second issuer but is signed by the first one's key, with the same kid, is refused."""
    other = LocalIssuer()
    try:
        authenticator = OidcAuthenticator([local_issuer.settings(), other.settings(audience=("elsewhere",))])
        assert await authenticator.authenticate(local_issuer.mint())
        forged = local_issuer.mint(iss=other.url, aud="elsewhere")
        assert "signature" in (await refusal(authenticator, forged)).message
        assert (await authenticator.authenticate(other.mint(aud="elsewhere"))).issuer == other.url
        await refusal(authenticator, other.mint(aud="doorward"))
    finally:
        other.down()


# Keys ---------------------------------------------------------------------------------------------------------------


async def test_keys_are_cached(local_issuer: LocalIssuer) -> None:
    """Many tokens, one fetch."""
    authenticator = door(local_issuer)
    for _ in range(5):
        await authenticator.authenticate(local_issuer.mint())
    assert local_issuer.fetches == 1


async def test_rotation(local_issuer: LocalIssuer, now: Now) -> None:
    """A new key is found by one refetch; a withdrawn one stops working at the next."""
    authenticator = door(local_issuer, now)
    old = local_issuer.mint()
    assert await authenticator.authenticate(old)
    local_issuer.keys = [ec_key("k2")]
    now.offset = 11
    assert await authenticator.authenticate(local_issuer.mint())
    assert "no such key" in (await refusal(authenticator, old)).message


async def test_unknown_keys_do_not_hammer_the_issuer(local_issuer: LocalIssuer, now: Now) -> None:
    """A hundred tokens with made-up key ids, at once and in turn, cost one fetch in ten seconds."""
    authenticator = door(local_issuer, now)
    await authenticator.authenticate(local_issuer.mint())
    now.offset = 11
    forged = [local_issuer.mint({"kid": f"x{number}"}) for number in range(50)]
    await asyncio.gather(*(refusal(authenticator, token) for token in forged))
    for token in forged:
        await refusal(authenticator, token)
    assert local_issuer.fetches == 2


async def test_a_withdrawn_key_stops_working(local_issuer: LocalIssuer, now: Now) -> None:
    """Keys are read again after five minutes, also when no token asks for it."""
    authenticator = door(local_issuer, now)
    token = local_issuer.mint(exp=int(time.time()) + 3600)
    await authenticator.authenticate(token)
    local_issuer.keys = [ec_key("k2")]
    now.offset = 299
    assert await authenticator.authenticate(token)
    now.offset = 301
    assert "no such key" in (await refusal(authenticator, token)).message


async def test_an_issuer_that_is_down(local_issuer: LocalIssuer, now: Now) -> None:
    """Known keys go on working up to their maximum age, unknown ones do not, and it heals by itself."""
    authenticator = door(local_issuer, now, jwks_max_age=3600)
    late = int(time.time()) + 90000
    token = local_issuer.mint(exp=late)
    await authenticator.authenticate(token)
    local_issuer.down()
    now.offset = 3500
    assert await authenticator.authenticate(token)
    assert "cannot be reached" in authenticator.trouble()[local_issuer.url]
    assert "no such key" in (await refusal(authenticator, local_issuer.mint(key=ec_key("k2"), exp=late))).message
    now.offset = 3601
    assert "not available" in (await refusal(authenticator, token)).message
    local_issuer.up()
    now.offset = 3615
    assert await authenticator.authenticate(token)
    assert authenticator.trouble() == {}


async def test_an_issuer_that_was_never_up(local_issuer: LocalIssuer) -> None:
    """Nobody gets in, the error says why, and `refresh` raises it for start-up."""
    authenticator = door(local_issuer)
    local_issuer.down()
    error = await refusal(authenticator, local_issuer.mint())
    assert "could not be checked" in error.message
    with pytest.raises(UpstreamError, match="cannot be reached"):
        await authenticator.refresh()


DOCUMENTS: dict[str, tuple[Any, Any, str]] = {
    "issuer of another name": ({"issuer": "https://x.example", "jwks_uri": "https://x.example/"}, None, "says its"),
    "no issuer": ({"jwks_uri": "http://127.0.0.1/"}, None, "says its issuer"),
    "no jwks_uri": ("own", None, "no jwks_uri"),
    "jwks_uri off loopback in the clear": ("http://192.0.2.1/jwks", None, "loopback only"),
    "jwks_uri a file": ("file:///etc/passwd", None, "not a plain URL"),
    "discovery too long": (b"{" + b" " * 300_000 + b"}", None, "more than 256 KiB"),
    "discovery not JSON": (b"<html>", None, "not JSON"),
    "discovery a list": (b"[]", None, "not an object"),
    "discovery deep": (b"[" * 100_000, None, "not JSON"),
    "no keys": (None, {"keys": []}, "no key for signatures"),
    "keys not a list": (None, {"keys": {}}, "not a JWK Set"),
    "too many keys": (None, {"keys": [{}] * 65}, "not a JWK Set"),
    "only a symmetric key": (None, {"keys": [{"kty": "oct", "k": "AAAA", "kid": "k1"}]}, "no key for signatures"),
    "only a private key": (None, {"keys": [ec_key().as_dict(private=True)]}, "no key for signatures"),
    "only a short RSA key": (None, {"keys": [{"kty": "RSA", "kid": "k1", "e": "AQAB", "n": "q" * 171}]}, "no key for"),
    "only an encryption key": (None, {"keys": [ec_key().as_dict(private=False) | {"use": "enc"}]}, "no key for"),
    "a point that is not on the curve": (
        None,
        {"keys": [{"kty": "EC", "crv": "P-256", "kid": "k1", "x": b64(b"\1" * 32), "y": b64(b"\2" * 32)}]},
        "no key for signatures",
    ),
    "keys that are not objects": (None, {"keys": [1, None, "x", [], {"kty": 7}, {"kty": "EC"}]}, "no key for"),
}


@pytest.mark.parametrize("case", DOCUMENTS)
async def test_hostile_documents(local_issuer: LocalIssuer, case: str) -> None:
    """Whatever an issuer serves, the gateway says what is wrong with it and lets nobody in."""
    discovery, jwks, message = DOCUMENTS[case]
    if isinstance(discovery, str):
        discovery = {"issuer": local_issuer.url} | ({} if discovery == "own" else {"jwks_uri": discovery})
    local_issuer.discovery, local_issuer.jwks = discovery, jwks
    authenticator = door(local_issuer)
    with pytest.raises(UpstreamError, match=message):
        await authenticator.refresh()
    await refusal(authenticator, local_issuer.mint())


@pytest.mark.parametrize("status", [302, 404, 500])
async def test_only_200_counts(local_issuer: LocalIssuer, status: int) -> None:
    """No redirect is followed, and no error page is parsed."""
    local_issuer.status = status
    with pytest.raises(UpstreamError, match=str(status)):
        await door(local_issuer).refresh()
    assert local_issuer.fetches == 0


async def test_a_slow_issuer(local_issuer: LocalIssuer, monkeypatch: pytest.MonkeyPatch) -> None:
    """An issuer that does not answer costs a bounded time."""
    monkeypatch.setattr("doorward.adapters.identity.documents.TIMEOUT", 0.1)
    local_issuer.delay = 0.5
    with pytest.raises(UpstreamError, match=r"did not answer|ReadTimeout"):
        await door(local_issuer).refresh()


async def test_a_key_that_says_its_algorithm(local_issuer: LocalIssuer) -> None:
    """A key marked for RS256 does not verify PS256 (RFC 8725 section 3.1)."""
    key = rsa_key()
    local_issuer.keys = [key]
    local_issuer.jwks = {"keys": [key.as_dict(private=False) | {"alg": "RS256", "use": "sig"}]}
    assert await door(local_issuer).authenticate(local_issuer.mint())
    assert "no such key" in (await refusal(door(local_issuer), local_issuer.mint({"alg": "PS256"}))).message


async def test_a_ca_file_that_cannot_be_read(local_issuer: LocalIssuer) -> None:
    """A wrong `ca_file` is a ConfigError at start-up, and a refusal, not a crash, at a login."""
    authenticator = door(local_issuer, ca_file="/nowhere/ca.pem")
    with pytest.raises(ConfigError, match="ca_file"):
        await authenticator.refresh()
    await refusal(authenticator, local_issuer.mint())


@pytest.mark.parametrize(
    ("names", "days", "trusted", "message"),
    [
        (("127.0.0.1",), 1, True, ""),
        (("127.0.0.1",), 1, False, "certificate verify failed"),
        (("issuer.example",), 1, True, "certificate verify failed"),
        (("127.0.0.1",), -1, True, "certificate has expired"),
    ],
)
async def test_tls(tmp_path: Path, names: tuple[str, ...], days: int, trusted: bool, message: str) -> None:
    """An issuer is believed only if an authority of `ca_file` vouches for its name, now."""
    authority = Authority(tmp_path)
    (tmp_path / "other").mkdir()
    ca = authority.ca if trusted else Authority(tmp_path / "other").ca
    issuer = LocalIssuer(authority.issue("issuer", names, days=days))
    try:
        authenticator = OidcAuthenticator([issuer.settings(ca_file=str(ca), development=False)])
        if message:
            with pytest.raises(UpstreamError, match=message):
                await authenticator.refresh()
            await refusal(authenticator, issuer.mint())
        else:
            assert await authenticator.authenticate(issuer.mint())
    finally:
        issuer.down()


# Settings -----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"url": "http://issuer.example"}, "not https"),
        ({"url": "http://issuer.example", "development": True}, "loopback only"),
        ({"url": "http://127.0.0.1:1"}, "not https"),
        ({"url": "ftp://issuer.example"}, "neither https nor http"),
        ({"url": "issuer.example"}, "not a plain URL"),
        ({"url": "https://user@issuer.example"}, "not a plain URL"),
        ({"url": "https://issuer.example/?a=b"}, "not a plain URL"),
        ({"url": "https://issuer.example:99999"}, "not a URL"),
        ({"url": "https://issuer.example/a|b"}, "separates"),
        ({"audience": ()}, "no audience"),
        ({"audience": ("",)}, "no audience"),
        ({"algorithms": ()}, "no algorithms"),
        ({"algorithms": ("none",)}, "'none' is not accepted"),
        ({"algorithms": ("RS256", "HS256")}, "'HS256' is not accepted"),
        ({"skew_seconds": 301}, "skew_seconds"),
        ({"jwks_max_age": 10**9}, "jwks_max_age"),
    ],
)
def test_settings_that_would_weaken_are_refused(changes: dict[str, Any], message: str) -> None:
    """Each is a ConfigError that names the setting."""
    with pytest.raises(ConfigError, match=message):
        IssuerSettings(**{"url": "https://issuer.example", "audience": ("doorward",), **changes})


def test_no_issuer_or_one_twice_is_refused() -> None:
    """An authenticator without issuers, or with two opinions of one, does not exist."""
    one = IssuerSettings(url="https://issuer.example", audience=("doorward",))
    with pytest.raises(ConfigError, match="no issuer"):
        OidcAuthenticator([])
    with pytest.raises(ConfigError, match="twice"):
        OidcAuthenticator([one, one])


# Properties ---------------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def shared() -> Iterator[LocalIssuer]:
    issuer = LocalIssuer()
    yield issuer
    issuer.down()


SEGMENT = st.one_of(
    st.text(max_size=40),
    st.binary(max_size=60).map(b64),
    st.recursive(
        st.none() | st.booleans() | st.integers() | st.text(max_size=5) | st.floats(allow_nan=False),
        lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3),
        max_leaves=8,
    ).map(b64),
    st.sampled_from([b64({"alg": "ES256", "kid": "k1"}), b64({"alg": "none"})]),
)


@settings(max_examples=150, deadline=None)
@given(parts=st.lists(SEGMENT, min_size=1, max_size=4))
def test_garbage_is_refused_and_nothing_else_happens(shared: LocalIssuer, parts: list[str]) -> None:
    """Whatever is presented, the only outcome without a sound token is AuthenticationError."""
    with pytest.raises(AuthenticationError):
        asyncio.run(door(shared).authenticate(".".join(parts)))


@settings(max_examples=60, deadline=None)
@given(at=st.integers(min_value=0), to=st.sampled_from("AQgw_-.=aZ09 "))
def test_any_changed_character_is_refused(shared: LocalIssuer, at: int, to: str) -> None:
    """A sound token with one character replaced is never accepted."""
    token = shared.mint()
    at %= len(token)
    if token[at] == to:
        return
    with pytest.raises(AuthenticationError):
        asyncio.run(door(shared).authenticate(token[:at] + to + token[at + 1 :]))
