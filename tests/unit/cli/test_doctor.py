"""`doorward doctor`: finds what is wrong with real parts, and says what to do about it."""

from __future__ import annotations

import asyncio
import json
import os
import shutil
import time
from collections.abc import Callable
from email.utils import formatdate
from itertools import count
from pathlib import Path
from typing import Any

import pytest

from doorward.adapters.identity.settings import IssuerSettings
from doorward.adapters.secrets.vault import Vault
from doorward.cli import diagnosis, diagnosis_remote, doctor
from doorward.cli.diagnosis import Finding, Verdict
from tests.rig.certificates import Authority
from tests.rig.gateway import Gateway, prepare, target_of
from tests.rig.issuer import LocalIssuer
from tests.rig.postgres import PostgresServer


@pytest.fixture
def door(tmp_path: Path, postgres: PostgresServer, local_issuer: LocalIssuer) -> Callable[..., Gateway]:
    """A factory of folders with a configuration that is sound but for what `target` and the sections change."""

    made = count()

    def make(target: dict[str, Any] | None = None, **sections: Any) -> Gateway:
        folder = tmp_path / f"gateway{next(made)}"
        wanted = target_of(postgres, tmp_path, user="app_scram", labels={"public.customers.ssn": "ssn"})
        secret = tmp_path / "role"
        secret.unlink(missing_ok=True)
        with os.fdopen(os.open(secret, os.O_WRONLY | os.O_CREAT, 0o600), "w") as file:
            file.write("scram-Passw0rd")
        return prepare(folder, local_issuer, [{**wanted, "secret": f"file:{secret}", **(target or {})}], **sections)

    return make


def examine(path: Path) -> list[Finding]:
    return asyncio.run(doctor.examine(path))


def found(findings: list[Finding], verdict: Verdict) -> str:
    return "\n".join(f"{f.part}: {f.text} -> {f.hint}" for f in findings if f.verdict is verdict)


def test_a_sound_configuration_has_nothing_to_mend(
    door: Callable[..., Gateway], capsys: pytest.CaptureFixture[str]
) -> None:
    """Nothing fails, the exit code is 0, and every part was tried."""
    path = door().config
    assert doctor.doctor(config=path, as_json=True) == 0
    findings = json.loads(capsys.readouterr().out)
    assert [finding for finding in findings if finding["verdict"] == "fail"] == []
    parts = {finding["part"].split()[0] for finding in findings}
    assert parts >= {"configuration", "policy", "data", "listen.postgres", "listen.http", "issuer", "target"}


def test_it_prints_one_line_for_each_and_a_hint_below(
    door: Callable[..., Gateway], capsys: pytest.CaptureFixture[str]
) -> None:
    """People see verdict, part and text in a line, the hint under it, and no colour where there is no terminal."""
    path = door({"labels": {"public.customers.nope": "ssn"}}).config
    assert doctor.doctor(config=path) == 1
    out = capsys.readouterr().out
    assert "\x1b" not in out
    line = next(line for line in out.splitlines() if "public.customers.nope" in line)
    assert line.startswith("fail")
    assert "1 thing(s) to mend." in out
    assert "→" in out


@pytest.mark.parametrize(
    ("target", "words"),
    [
        ({"port": 1}, "cannot connect"),
        ({"user": "app_md5"}, "md5"),
        ({"secret": "env:DOORWARD_NO_SUCH"}, "DOORWARD_NO_SUCH"),
        ({"secret": "vault:shop"}, "not in the vault"),
        ({"database": "no_such_database"}, "no_such_database"),
        ({"host": "localhost.localdomain.invalid"}, "cannot connect"),
        ({"labels": {"public.customers.ssm": "ssn"}}, "there is no column public.customers.ssm"),
    ],
)
def test_a_fault_of_a_target_is_found(door: Callable[..., Gateway], target: dict[str, Any], words: str) -> None:
    """A target that is down, asks for another login, lacks its secret, its database or a labelled column."""
    assert words in found(examine(door(target).config), Verdict.FAIL)


def test_the_wrong_password_is_found_and_never_shown(door: Callable[..., Gateway], tmp_path: Path) -> None:
    """A wrong password fails, and no finding holds it."""
    door_ = door()
    (tmp_path / "role").write_text("wrong-password-1234")
    findings = examine(door_.config)
    assert "password authentication failed" in found(findings, Verdict.FAIL)
    assert "wrong-password-1234" not in json.dumps([finding.as_json() for finding in findings])


def test_a_superuser_is_warned_of(door: Callable[..., Gateway], postgres: PostgresServer, tmp_path: Path) -> None:
    """A target whose role is a superuser works, with a warning; an ordinary role has none."""
    path = door({"user": "postgres", "secret": f"file:{tmp_path / f'password-{postgres.port}'}"}).config
    assert "superuser" in found(examine(path), Verdict.WARN)
    assert "app_scram is an ordinary role" in found(examine(door().config), Verdict.OK)


def test_observe_mode_and_no_labels_are_said(door: Callable[..., Gateway]) -> None:
    """What enforces nothing, or masks little, is warned of."""
    said = found(examine(door({"mode": "observe", "labels": {}}).config), Verdict.WARN)
    assert "OBSERVE MODE" in said
    assert "no column is labelled" in said


def test_an_issuer_that_is_down_is_found(door: Callable[..., Gateway], local_issuer: LocalIssuer) -> None:
    """An issuer that does not answer fails, with what to check."""
    path = door().config
    local_issuer.down()
    try:
        assert "cannot be reached" in found(examine(path), Verdict.FAIL)
    finally:
        local_issuer.up()


@pytest.mark.parametrize(("skew", "verdict"), [(0, Verdict.OK), (-25, Verdict.WARN), (400, Verdict.FAIL)])
def test_a_clock_that_is_off_is_found(skew: int, verdict: Verdict) -> None:
    """A clock beyond what tokens may differ by fails; one on its way there is warned of."""
    finding = diagnosis_remote._clock("issuer", float(skew), 30.0)
    assert finding.verdict is verdict
    assert (str(abs(skew)) in finding.text) is bool(skew)


async def test_the_issuers_date_is_read() -> None:
    """The clock of an issuer is what its Date header says, here one hour ahead."""

    async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        date = formatdate(time.time() + 3600, usegmt=True)
        writer.write(f"HTTP/1.1 200 OK\r\ndate: {date}\r\ncontent-length: 2\r\nconnection: close\r\n\r\n{{}}".encode())
        await writer.drain()
        writer.close()

    server = await asyncio.start_server(answer, "127.0.0.1", 0)
    async with server:
        url = f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}"
        settings = IssuerSettings(url=url, audience=("doorward",), development=True)
        skew = await diagnosis_remote._issuer_skew(settings)
    assert skew is not None
    assert abs(skew - 3600) < 5


def test_permissions_and_keys_are_looked_at(tmp_path: Path) -> None:
    """A data directory or a key that others may read fails, with the chmod; a record without keys fails as well."""
    data = tmp_path / "data"
    (data / "keys").mkdir(parents=True)
    data.chmod(0o755)
    (data / "keys").chmod(0o700)
    (data / "keys" / "log").write_bytes(b"k")
    (data / "keys" / "log").chmod(0o644)
    said = found(diagnosis.data_directory(data), Verdict.FAIL)
    assert f"chmod 700 {data}" in said
    assert f"chmod 600 {data / 'keys' / 'log'}" in said
    data.chmod(0o700)
    (data / "keys" / "log").unlink()
    (data / "log").mkdir()
    (data / "log" / "checkpoint").touch()
    assert "no key" in found(diagnosis.data_directory(data), Verdict.FAIL)
    assert list(data.glob(".doctor*")) == []


def test_a_data_directory_that_cannot_be_written_is_found(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A disk that does not sync fails: nothing could be recorded, so nothing would run."""

    def fail(_descriptor: int) -> None:
        raise OSError(5, "Input/output error")

    monkeypatch.setattr(os, "fsync", fail)
    assert "Input/output error" in found(diagnosis.data_directory(tmp_path), Verdict.FAIL)


@pytest.mark.parametrize(("free", "verdict"), [(50 << 30, Verdict.OK), (1 << 30, Verdict.WARN), (1, Verdict.FAIL)])
def test_a_full_disk_is_found(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, free: int, verdict: Verdict) -> None:
    """Little room is warned of before it stops everything."""
    monkeypatch.setattr(shutil, "disk_usage", lambda _path: shutil._ntuple_diskusage(100 << 30, 0, free))
    assert [f.verdict for f in diagnosis.data_directory(tmp_path) if f.part == "disk"] == [verdict]


def test_a_vault_that_does_not_open_is_found(door: Callable[..., Gateway]) -> None:
    """A changed vault fails, and says so."""
    place = door({"secret": "vault:shop"})
    Vault(place.data).set("shop", b"value")
    vault = place.data / "vault"
    octets = bytearray(vault.read_bytes())
    octets[-1] ^= 1
    vault.write_bytes(octets)
    assert "the vault does not open" in found(examine(place.config), Verdict.FAIL)


def test_a_port_in_use_is_found_and_a_running_gateway_is_known(
    door: Callable[..., Gateway], gateway: Callable[..., Gateway]
) -> None:
    """A running gateway is asked whether it is ready; a port that somebody else has fails, also where that is another
    gateway."""
    running = gateway()
    limit = time.monotonic() + 20
    while not running.http_port and time.monotonic() < limit:  # it opens after the other
        time.sleep(0.02)
    text = running.config.read_text()
    assert '"port" = 0' in text
    path = running.folder / "with-ports.toml"
    for port in (running.port, running.http_port):
        text = text.replace('"port" = 0', f'"port" = {port}', 1)
    path.write_text(text)
    while "it runs and is ready" not in (said := found(examine(path), Verdict.OK)):
        assert time.monotonic() < limit, said  # it has its port before it answers there
    path.write_text(text.replace('"data" = "data"', '"data" = "elsewhere"'))
    assert "another gateway answers" in found(examine(path), Verdict.FAIL)
    taken = door(listen={"postgres": {"port": running.port, "plaintext": True}, "http": {"port": 0, "plaintext": True}})
    assert f"cannot listen on 127.0.0.1:{running.port}" in found(examine(taken.config), Verdict.FAIL)


@pytest.mark.parametrize(
    ("days", "verdict", "words"),
    [(-1, Verdict.FAIL, "expired"), (5, Verdict.WARN, "ends in"), (300, Verdict.OK, "localhost")],
)
def test_a_certificate_that_ends_is_found(tmp_path: Path, days: int, verdict: Verdict, words: str) -> None:
    """An expired certificate fails, one that ends soon is warned of, and the names of a good one are shown."""
    pair = Authority(tmp_path).issue("gateway", days=days)
    finding = diagnosis_remote._certificate("listen.postgres", pair.certificate, pair.key)
    assert finding.verdict is verdict
    assert words in finding.text


def test_faults_of_the_configuration_are_one_line_each(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Without a configuration that loads nothing else is tried, and each fault is a finding."""
    path = tmp_path / "doorward.toml"
    path.write_text('[gateway]\ndata = "data"\nnope = 1\n')
    assert doctor.doctor(config=path, as_json=True) == 1
    findings = json.loads(capsys.readouterr().out)
    assert len(findings) > 1
    assert any("nope" in finding["text"] for finding in findings)


def test_policies_that_do_not_load_are_found(door: Callable[..., Gateway]) -> None:
    """A broken policy fails with its file and line; one that allows nobody anything is warned of."""
    assert "policy.cedar:1" in found(examine(door(policy="permit (nonsense").config), Verdict.FAIL)
    assert "everything is denied" in found(examine(door(policy="// nothing").config), Verdict.WARN)
