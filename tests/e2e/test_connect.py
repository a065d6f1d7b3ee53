"""`doorward connect` and `run`: a client without a password, as whoever runs the command."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import psycopg
import pytest

from doorward.adapters.identity.device import Tokens
from doorward.cli.bound import new_key
from doorward.cli.gateway import http
from doorward.cli.logins import Logins, first
from tests.rig.approvers import call
from tests.rig.gateway import Gateway, launch
from tests.rig.issuer import LocalIssuer
from tests.rig.postgres import PostgresServer

POLICY = """
@id("in") permit (principal, action in [Action::"connect", Action::"read"], resource)
    unless { principal in Group::"strangers" };
"""


@pytest.fixture(scope="module")
def door(tmp_path_factory: pytest.TempPathFactory, postgres: PostgresServer) -> Iterator[Gateway]:
    """One gateway for all of these tests."""
    issuer = LocalIssuer()
    with launch(tmp_path_factory.mktemp("connect") / "gateway", issuer, postgres, policy=POLICY) as door:
        yield door
    issuer.down()


def arguments(door: Gateway, *words: str | Path, own: tuple[str | Path, ...] = ()) -> list[str]:
    """A command line that reaches the gateway."""
    where = ("--gateway", f"http://127.0.0.1:{door.http_port}", "--ca", door.ca)
    return [sys.executable, "-m", "doorward", *map(str, (*words, *where, *own))]


def around(door: Gateway, **claims: Any) -> dict[str, str]:
    """The environment of somebody who has a token."""
    return {**door.environment, "DOORWARD_TOKEN": door.token(**claims), "PGPASSWORD": "left over", "PATH": os.environ["PATH"]}


def run(door: Gateway, *command: str, options: tuple[str, ...] = (), **claims: Any) -> subprocess.CompletedProcess[str]:
    """`doorward run -- COMMAND`."""
    return subprocess.run(
        arguments(door, "run", *options, own=("--", *command)), env=around(door, **claims), capture_output=True, text=True,
        timeout=60, check=False, stdin=subprocess.DEVNULL,
    )  # fmt: skip


@contextmanager
def connected(door: Gateway, *options: str | Path, **claims: Any) -> Iterator[dict[str, Any]]:
    """A running `doorward connect shop`, and what it printed."""
    process = subprocess.Popen(
        arguments(door, "connect", "shop", "--json", *options), env=around(door, **claims), stdout=subprocess.PIPE,
        stderr=subprocess.PIPE, text=True,
    )  # fmt: skip
    assert process.stdout is not None
    assert process.stderr is not None
    try:
        text = ""
        while not text.rstrip().endswith("}"):
            line = process.stdout.readline()
            assert line, process.stderr.read()
            text += line
        yield json.loads(text)
    finally:
        process.terminate()
        process.communicate(timeout=20)
        assert process.returncode == 0


def test_a_command_finds_its_target_and_no_credential(door: Gateway) -> None:
    """psql without a word about Doorward; the environment says where, and not who."""
    done = run(door, "psql", "-Atc", "select 40 + 2", sub="runner")
    assert (done.stdout, done.returncode) == ("42\n", 0), done.stderr
    done = run(door, sys.executable, "-c", "import json, os; print(json.dumps(dict(os.environ)))", sub="runner")
    found = json.loads(done.stdout)
    assert not {"DOORWARD_TOKEN", "PGPASSWORD"} & found.keys()
    assert found["DOORWARD_URL_SHOP"] == found["DATABASE_URL"]
    assert found["PGDATABASE"] == "shop"
    assert "eyJ" not in done.stdout  # as every token begins


@pytest.mark.parametrize("code", [0, 7])
def test_the_exit_code_is_the_commands(door: Gateway, code: int) -> None:
    """And a signal's is 128 more, as a shell has it."""
    assert run(door, "sh", "-c", f"exit {code}").returncode == code
    assert run(door, "sh", "-c", "kill -9 $$").returncode == 137


def test_what_cannot_be_run_or_reached_is_said(door: Gateway) -> None:
    """A command that is not there; a target that is not there, or not for this person."""
    missing = run(door, "no-such-program")
    assert (missing.returncode, "no-such-program cannot be run" in missing.stderr) == (127, True)
    nowhere = run(door, "true", options=("--target", "nowhere"))
    assert (nowhere.returncode, "no target nowhere" in nowhere.stderr, "connect to: shop" in nowhere.stderr) == (1, True, True)
    refused = run(door, "true", sub="eve", groups=["strangers"])
    assert (refused.returncode, "no target for you" in refused.stderr) == (1, True)


def test_a_port_carries_the_identity(door: Gateway) -> None:
    """Two connections at once, each a session of that person's; a statement is cancelled through it."""
    with connected(door, sub="carried") as found:
        url = found["url"]
        with psycopg.connect(url, autocommit=True) as one, psycopg.connect(url, autocommit=True) as other:
            assert one.execute("select 1").fetchone() == other.execute("select 1").fetchone() == (1,)
            one.execute("select 1")
            begun = time.monotonic()
            threading.Timer(0.7, other.cancel).start()  # a CancelRequest, which comes through the same port
            with pytest.raises(psycopg.errors.QueryCanceled):
                other.execute("select count(*) from generate_series(1, 1000000000)")
            assert time.monotonic() - begun < 10
            assert other.execute("select 2").fetchone() == (2,)
        assert {row["identity"].split("|")[1] for row in opened(door, "carried", least=2)} == {"carried"}
        port = int(found["port"])
    with pytest.raises(psycopg.OperationalError):
        psycopg.connect(f"host=127.0.0.1 port={port} dbname=shop connect_timeout=5")


def opened(door: Gateway, sub: str, least: int = 1) -> list[dict[str, Any]]:
    """Somebody's sessions, once the index has so many."""
    limit = time.monotonic() + 10
    while True:
        status, found = call(door, "/api/sessions", sub=sub)
        assert status == 200
        if len(found) >= least:
            return list(found)
        assert time.monotonic() < limit, found
        time.sleep(0.1)


def test_a_token_is_exchanged_for_one_that_is_bound(door: Gateway, tmp_path: Path) -> None:
    """Once, for the targets that are asked for: what runs is V2. The second time the same token is a bearer token, and that is
    said. `exchange --certificate` gives the same to clients that are configured with files."""
    environment = around(door, sub="bound", jti="bound-1")
    command = arguments(door, "run", "--target", "shop", own=("--", "psql", "-Atc", "select 1"))
    for said in (False, True):
        done = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=60, check=False)
        assert (done.stdout, done.returncode) == ("1\n", 0), done.stderr
        assert ("bound to no key: the token was refused: it was exchanged before" in done.stderr) is said
    assert sorted(row["assurance"] for row in opened(door, "bound", least=2)) == ["V1", "V2"]
    folder = tmp_path / "files"
    made = subprocess.run(
        arguments(door, "exchange", "--certificate", folder, "--target", "shop"),
        env=around(door, sub="filed", jti="filed-1"), capture_output=True, text=True, timeout=60, check=False,
    )  # fmt: skip
    assert made.returncode == 0, made.stderr
    assert [(path.name, path.stat().st_mode & 0o777) for path in sorted(folder.iterdir())] == [
        ("doorward.crt", 0o600), ("doorward.key", 0o600)
    ]  # fmt: skip
    keywords = door.keywords(token=made.stdout.strip())
    with pytest.raises(psycopg.OperationalError, match="nothing here proves that you hold it"):
        psycopg.connect(**keywords)  # type: ignore[arg-type]
    files = {"sslcert": str(folder / "doorward.crt"), "sslkey": str(folder / "doorward.key")}
    with psycopg.connect(**{**keywords, **files}) as connection:  # type: ignore[arg-type]
        assert connection.execute("select 1").fetchone() == (1,)
    assert [row["assurance"] for row in opened(door, "filed")] == ["V2"]


def test_a_kept_login_is_bound_to_its_key(door: Gateway, tmp_path: Path) -> None:
    """Every command shows its key over HTTP, and `run` its certificate; what is bound is renewed with the login."""
    issuer = door.issuer
    issuer.discovery = {
        "issuer": issuer.url, "jwks_uri": f"{issuer.url}/jwks", "token_endpoint": f"{issuer.url}/token",
    }  # fmt: skip
    here = f"http://127.0.0.1:{door.http_port}"
    kept = Logins(tmp_path / "doorward" / "logins", keyring=False)
    tokens = Tokens(door.token(sub="kim", jti="kim-1"), "", "refresh-1")
    login = replace(first(here, issuer.url, "cli", "", tokens), key=new_key())
    with http(here, None) as client:
        kept.bind(login, client)
    environment = {**door.environment, "XDG_CONFIG_HOME": str(tmp_path), "DOORWARD_KEYRING": "file", "PATH": os.environ["PATH"]}

    def asked(*words: str, own: tuple[str, ...] = ()) -> str:
        done = subprocess.run(
            arguments(door, *words, own=own), env=environment, capture_output=True, text=True, timeout=60, check=False
        )
        assert done.returncode == 0, done.stderr
        return done.stdout

    who = json.loads(asked("whoami", "--json"))
    assert (who["subject"], who["assurance"], who["bound_to"][:4], who["raised_by"]) == ("kim", "V2", "jkt:", "")
    assert asked("run", own=("--", "psql", "-Atc", "select 1")) == "1\n"
    assert [row["assurance"] for row in opened(door, "kim")] == ["V2"]
    old = kept.get(here)
    assert old is not None
    assert (old.spent, len(issuer.forms)) == (True, 0)
    kept.keep(replace(old, bound_until=0.0))
    issuer.token_answer = (200, {"access_token": door.token(sub="kim", jti="kim-2"), "refresh_token": "refresh-2"})
    assert json.loads(asked("whoami", "--json"))["assurance"] == "V2"
    new = kept.get(here)
    assert new is not None
    assert [form["refresh_token"] for form in issuer.forms] == ["refresh-1"]
    assert (new.certificate, new.refresh_token) == (old.certificate, "refresh-2")
    assert new.bound_token != old.bound_token
    issuer.token_answer = (200, {"access_token": door.token(sub="kim", jti="kim-3"), "refresh_token": "refresh-3"})
    assert asked("exchange").count(".") == 2  # of a token that was not exchanged yet
    kept.keep(replace(new, bound_until=0.0, refresh_token="", spent=True))
    assert json.loads(asked("whoami", "--json"))["assurance"] == "V1"  # the issuer's own token is still good
    issuer.discovery = None


def test_a_socket_in_a_folder_of_ones_own(door: Gateway, tmp_path: Path) -> None:
    """For systems that do not say who opened a connection. A folder that others may enter is refused."""
    with connected(door, "--socket", tmp_path / "s", sub="carried") as found:
        assert (tmp_path / "s").stat().st_mode & 0o777 == 0o700
        with psycopg.connect(found["url"]) as connection:
            assert connection.execute("select 3").fetchone() == (3,)
    (tmp_path / "open").mkdir(mode=0o755)
    refused = subprocess.run(
        arguments(door, "connect", "shop", "--socket", tmp_path / "open"), env=around(door), capture_output=True, text=True,
        timeout=30, check=False,
    )  # fmt: skip
    assert (refused.returncode, "others may enter" in refused.stderr) == (3, True)


@pytest.mark.skipif(os.getuid() != 0, reason="only the superuser can be two users at once")
def test_nobody_elses_process_may_use_the_port(door: Gateway) -> None:
    """Another user of the machine connects to the port, and is hung up on without a byte."""
    with connected(door, sub="carried") as found:
        code = (
            "import os, socket, sys; 'x'.encode('idna'); os.setuid(65534);"
            "s = socket.create_connection(('127.0.0.1', int(sys.argv[1])), 10);"
            "s.sendall(bytes.fromhex('0000000804d2162f')); s.settimeout(10);"
            "print('got', s.recv(10))"
        )
        done = subprocess.run(
            [sys.executable, "-c", code, str(found["port"])], capture_output=True, text=True, timeout=30, check=False
        )
        assert "got b''" in done.stdout or "ConnectionReset" in done.stderr, done.stderr
        with psycopg.connect(found["url"]) as connection:
            assert connection.execute("select 3").fetchone() == (3,)


def test_the_database_is_the_target_whatever_is_asked_for(door: Gateway, postgres: PostgresServer) -> None:
    """A port for one target is no door to another."""
    with connected(door, sub="carried") as found:
        connection = psycopg.connect(f"host=127.0.0.1 port={found['port']} dbname=somewhere_else user=x", autocommit=True)
        assert connection.execute("select current_database()").fetchone() == (postgres.database,)
        connection.close()


def test_an_expired_token_is_said_to_the_client(door: Gateway) -> None:
    """In PostgreSQL's own words, with what to do."""
    expired = door.token(sub="late", iat=int(time.time()) - 700, exp=int(time.time()) - 300)
    process = subprocess.run(
        arguments(door, "run", own=("--", "psql", "-c", "select 1")), env={**around(door), "DOORWARD_TOKEN": expired},
        capture_output=True, text=True, timeout=60, check=False,
    )  # fmt: skip
    assert process.returncode == 4
    assert "expired" in process.stderr
