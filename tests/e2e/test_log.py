"""The log from outside: a gateway with a real witness beside it, from the first statement to what an auditor checks alone."""

from __future__ import annotations

import json
import shutil
import socket
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from doorward.adapters.blobs.files import LocalKeyFiles
from doorward.guard.keyring import Keyring
from doorward.ledger.checkpoint import NoteSigner, parse_text, split_note
from tests.rig.faults import until
from tests.rig.gateway import Gateway, prepare, target_of
from tests.rig.issuer import LocalIssuer
from tests.rig.postgres import PostgresServer
from tests.rig.tsa import POLICY, TimeStampAuthority
from tests.rig.witness import WitnessProcess


class Watched:
    """A gateway, its witness, and the trust policy of both."""

    def __init__(self, folder: Path, issuer: LocalIssuer, server: PostgresServer) -> None:
        self.witness = WitnessProcess(folder / "witness")
        with socket.socket() as found:  # the gateway's configuration names it before it runs
            found.bind(("127.0.0.1", 0))
            self.witness.port = found.getsockname()[1]
        self.tsa = TimeStampAuthority(folder / "tsa")
        self.trust = folder / "trust"
        self.trust.write_text(self.witness.line + "quorum w1\n")
        self.data = folder / "gateway" / "data"
        (folder / "gateway").mkdir()
        self.door: Gateway = prepare(
            folder / "gateway", issuer, [target_of(server, folder / "gateway")],
            ledger={
                "witnesses": str(self.trust), "witness_every": "1s",
                "timestamps": {"urls": [self.tsa.url], "ca": str(self.tsa.root), "policy": POLICY},
            },
        )  # fmt: skip
        # The log's key is there before its first start, so that the witness can be told of it.
        self.vkey = NoteSigner("doorward/doorward", Keyring(LocalKeyFiles(self.data)).log).vkey
        self.witness.start(self.vkey)
        self.trust.write_text(f"log {self.vkey}\n{self.witness.line}quorum w1\n")

    def size(self, name: str) -> int:
        path = self.data / "log" / name
        return parse_text(split_note(path.read_bytes())[0])[1] if path.exists() else 0

    def entries(self) -> bytes:
        """All leaves that are published."""
        paths = [path for path in (self.data / "log/tile/entries").rglob("*") if path.is_file() and path.suffix != ".tmp"]
        return b"".join(path.read_bytes() for path in paths)

    def closed_by_then(self, session: str) -> bool:
        """Whether what the witness saw holds all of this session."""
        end = self.entries().find(b'"sid":"%s","t":"session.closed"' % session.encode())
        return end >= 0 and self.entries()[:end].count(b'"v":1}') < self.size("witnessed")

    def witnessed(self) -> bool:
        return 0 < self.size("checkpoint") <= self.size("witnessed")


@pytest.fixture(scope="module")
def watched(tmp_path_factory: pytest.TempPathFactory, postgres: PostgresServer) -> Iterator[Watched]:
    issuer = LocalIssuer()
    found = Watched(tmp_path_factory.mktemp("watched"), issuer, postgres)
    try:
        found.door.start()
        yield found
    finally:
        found.door.kill()
        found.witness.stop()
        found.tsa.down()
        issuer.down()


def test_an_auditor_checks_alone(watched: Watched, tmp_path: Path) -> None:
    """A statement runs; a second later the witness has cosigned it; whoever has the log, the recordings and the trust policy
    finds it sound, and a proof of its session holds with nothing else."""
    door = watched.door
    with door.connect(sub="alice") as connection:
        connection.execute("select 1")
    until(lambda: b'"t":"session.closed"' in watched.entries())
    until(watched.witnessed)
    url = f"http://localhost:{door.http_port}"
    asked = door.cli("log", "stamp", "--gateway", url, "--json", token=door.token(sub="root", groups=["dba"]))
    (stamp,) = json.loads(asked.stdout)
    shown = json.loads(door.cli("log", "status", "--gateway", url, "--json", token=door.token(sub="root")).stdout)
    assert (shown["stamped"], shown["overdue"], shown["keys"]) == (stamp["size"], "", [watched.vkey])
    watched.tsa.broken = True
    failed = door.cli("log", "stamp", "--gateway", url, token=door.token(sub="root"))
    assert (failed.returncode, "not a time stamp" in failed.stderr) == (6, True)
    watched.tsa.broken = False
    turned = door.cli("log", "rotate-key", "--gateway", url, "--json", token=door.token(sub="root"))
    new = json.loads(turned.stdout)["new"]
    until(watched.witnessed)  # by a witness that knows the old key only: both sign for a week
    door.stop()  # the gateway's own session, too, is whole then
    copy = tmp_path / "copy"
    for name in ("log", "recordings"):
        shutil.copytree(watched.data / name, copy / name)
    believed = ("--tsa-ca", watched.tsa.root, "--tsa-policy", POLICY)
    checked = door.cli("verify", copy, "--policy", watched.trust, *believed, "--json")
    report = json.loads(checked.stdout)
    assert (report["faults"], report["gaps"], report["status"]) == ([], [], "sound")
    assert (report["witnessed"]["by"][0]["name"], report["tail"] < 10) == (watched.witness.name, True)
    assert report["keys"] == [new, watched.vkey]  # the policy names the old one
    assert (report["stamps_checked"], report["stamps"] >= 2, report["types"]["log.stamped"]) == (True, True, report["stamps"])
    session = next(path.stem for path in copy.rglob("*.dwr") if watched.closed_by_then(path.stem))
    said = door.cli("verify", copy, "--policy", watched.trust).stdout
    assert "witnessed" in said

    proven = json.loads(door.cli("log", "proof", session, "--data", watched.data, "--out", tmp_path, "--json").stdout)
    assert {"session.opened", "session.closed"} <= {each["type"] for each in proven}
    files = [each["file"] for each in proven if each["cosignatures"]]
    assert len(files) == len(proven)
    checked = subprocess.run(
        [sys.executable, "-m", "doorward", "log", "check-proof", *files, "--policy", str(watched.trust)],
        capture_output=True, text=True, env=door.environment, check=False,
    )  # fmt: skip
    assert (checked.returncode, checked.stdout.count("holds")) == (0, len(files)), checked.stderr
    door.start()


def test_put_back_to_an_older_state(watched: Watched, tmp_path: Path) -> None:
    """A data directory restored from yesterday is whole in itself. Its witness knows better: the gateway does not start, says
    why and what to do, and starts again once the newest state is back."""
    door = watched.door
    door.stop()
    older, newer = tmp_path / "older", tmp_path / "newer"
    shutil.copytree(watched.data, older)
    door.start()
    with door.connect(sub="alice") as connection:
        connection.execute("select 2")
    until(watched.witnessed)
    door.stop()
    watched.data.rename(newer)
    shutil.copytree(older, watched.data)
    with pytest.raises(RuntimeError) as refused:
        door.start()
    # What a start itself records may make up for the entries that are missing: then it is another history of that size.
    assert "older state" in str(refused.value) or "rewritten" in str(refused.value)
    assert "fork-triage" in str(refused.value)
    triage = door.cli("log", "fork-triage", "--json")
    states = {each["place"]: each["state"] for each in json.loads(triage.stdout)["seen"]}
    assert (triage.returncode, states["store"], states["witness w1"] in ("more", "other")) == (1, "fits", True)
    assert door.cli("log", "fork-triage").stdout.splitlines()[-1].startswith(("PUT BACK", "FORK"))
    assert door.cli("verify", watched.data).returncode == 0  # by itself it is sound: only the witness can tell
    shutil.rmtree(watched.data)
    newer.rename(watched.data)
    assert door.cli("log", "fork-triage").returncode == 0
    door.start()
    until(watched.witnessed)
