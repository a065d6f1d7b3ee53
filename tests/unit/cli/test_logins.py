"""Kept logins."""

from __future__ import annotations

import json
import stat
import time
from dataclasses import replace
from pathlib import Path

import pytest

from doorward.adapters.identity.device import TokenClient, Tokens
from doorward.cli import logins as module
from doorward.cli.logins import Login, Logins
from doorward.errors import AuthenticationError, ConfigError
from tests.rig.issuer import b64

HERE = "https://gateway.example:7480"


def token(lasts: float, word: str = "one") -> str:
    """Something of a token's form."""
    return f"{b64({'alg': 'ES256'})}.{b64({'exp': int(time.time() + lasts), 'sub': word})}.c2ln"


@pytest.fixture
def kept(tmp_path: Path) -> Logins:
    """Files only."""
    return Logins(tmp_path / "logins", keyring=False)


def login(lasts: float) -> Login:
    made = Login(HERE, "https://issuer.example", "cli", refresh_token="r1", token=token(lasts))
    return replace(made, expires_at=time.time() + lasts)


def test_a_login_is_in_a_file_that_nobody_else_reads(kept: Logins, tmp_path: Path) -> None:
    """0600 in 0700; another gateway's is another; forgotten is gone."""
    kept.keep(login(600))
    [file] = (tmp_path / "logins").glob("*.json")
    assert stat.S_IMODE(file.stat().st_mode) == 0o600
    assert stat.S_IMODE(file.parent.stat().st_mode) == 0o700
    assert "gateway.example" not in file.name
    assert kept.token(HERE) == kept.get(HERE).token  # type: ignore[union-attr]
    assert kept.token("https://other.example") == ""
    assert kept.forget(HERE)
    assert not kept.forget(HERE)
    assert kept.token(HERE) == ""
    file.write_text("{}")
    file.chmod(0o644)
    with pytest.raises(ConfigError, match="can be read by others"):
        kept.get(HERE)


def test_a_token_is_renewed_before_it_ends(kept: Logins, monkeypatch: pytest.MonkeyPatch) -> None:
    """With the refresh token that came last, once; what comes back is kept."""
    asked: list[str] = []

    async def refresh(self: TokenClient, refresh_token: str) -> Tokens:
        asked.append(refresh_token)
        return Tokens(token(900, f"after {refresh_token}"), "", f"r{len(asked) + 1}")

    monkeypatch.setattr(TokenClient, "refresh", refresh)
    kept.keep(login(30))
    first = kept.token(HERE)
    assert kept.token(HERE) == first
    assert asked == ["r1"]
    found = kept.get(HERE)
    assert found is not None
    kept.keep(replace(found, expires_at=0.0))
    assert kept.token(HERE) != first
    assert asked == ["r1", "r2"]


def test_a_login_that_the_issuer_ended_says_so(kept: Logins, monkeypatch: pytest.MonkeyPatch) -> None:
    """And what to do. Without a refresh token there is no question to ask."""

    async def refresh(self: TokenClient, refresh_token: str) -> Tokens:
        raise AuthenticationError("the issuer gave no token (invalid_grant)")

    monkeypatch.setattr(TokenClient, "refresh", refresh)
    kept.keep(login(-5))
    with pytest.raises(AuthenticationError, match="login has ended: the issuer gave no token") as refused:
        kept.token(HERE)
    assert "doorward login" in refused.value.hint
    kept.keep(replace(login(-5), refresh_token=""))
    with pytest.raises(AuthenticationError, match="login has ended, and the issuer gave nothing to renew it with"):
        kept.token(HERE)
    kept.keep(replace(login(600), refresh_token="", spent=True))  # it stands, and may not be exchanged again
    with pytest.raises(AuthenticationError, match="was exchanged already") as refused:
        kept.token(HERE, unspent=True)
    assert "doorward connect" in refused.value.hint


@pytest.mark.parametrize("text", ["", "[]", "not json", '{"gateway": 1, "more": 2}', '{"gateway": "x"}'])
def test_what_is_damaged_is_no_login(kept: Logins, tmp_path: Path, text: str) -> None:
    """A new login mends it."""
    kept.keep(login(600))
    [file] = (tmp_path / "logins").glob("*.json")
    file.write_text(text)
    assert kept.get(HERE) is None


class Ring:
    """A keyring as the library's backends are; `broken` ones raise."""

    def __init__(self, *, broken: bool = False) -> None:
        self.held: dict[tuple[str, str], str] = {}
        self.broken = broken

    def set_password(self, service: str, name: str, text: str) -> None:
        if self.broken:
            raise RuntimeError("locked")
        self.held[service, name] = text

    def get_password(self, service: str, name: str) -> str | None:
        if self.broken:
            raise RuntimeError("locked")
        return self.held.get((service, name))

    def delete_password(self, service: str, name: str) -> None:
        del self.held[service, name]


@pytest.mark.parametrize("broken", [False, True])
def test_a_keyring_is_used_where_it_works(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, *, broken: bool) -> None:
    """Then there is no file; a locked one is no reason to lose a login."""
    ring = Ring(broken=broken)
    monkeypatch.setattr(module, "_keyring", lambda: ring)
    kept = Logins(tmp_path / "logins", keyring=True)
    kept.keep(login(600))
    assert bool(list((tmp_path / "logins").glob("*.json"))) is broken
    if not broken:
        assert json.loads(ring.held["doorward", HERE])["refresh_token"] == "r1"
    assert kept.token(HERE)
    assert kept.forget(HERE)
    assert not ring.held


def test_nothing_printable_holds_a_secret() -> None:
    """A login in a traceback is no leak."""
    shown = repr(login(600))
    assert "r1" not in shown
    assert "eyJ" not in shown
