"""`doorward log proof` and `check-proof`, over a directory and without one."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from doorward.cli.log import check_proof_command, proof_command
from doorward.cli.output import RefusedError
from doorward.errors import ConfigError
from doorward.ledger.proof import encode_proof, parse_proof
from vectors.make import OTHER_VKEY, TRUST, VKEY, cosigned, write_record


@pytest.fixture
def data(tmp_path: Path) -> Path:
    write_record(tmp_path / "data")
    return tmp_path / "data"


@pytest.fixture
def policy(tmp_path: Path) -> Path:
    path = tmp_path / "trust"
    path.write_text(TRUST)
    return path


def test_witnessed(data: Path, policy: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """A proof from a cosigned log holds against the policy, says what it is about and who saw it; without the log."""
    (data / "log/witnessed").write_bytes(cosigned())
    assert proof_command("4", data=data, out=tmp_path / "out") == 0
    assert "1 cosignatures" in capsys.readouterr().out
    path = tmp_path / "out" / "4.tlog-proof"
    assert check_proof_command(path, policy=policy, as_json=True) == 0
    (found,) = json.loads(capsys.readouterr().out)
    assert (found["holds"], found["leaf"], found["type"], found["witnesses"][0]["name"]) == (
        True, 4, "session.sealed", "witness.example.com/w1",
    )  # fmt: skip
    assert check_proof_command(path, vkey=VKEY) == 0
    assert "holds" in capsys.readouterr().out


def test_not_proven(data: Path, policy: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """No quorum, another key, another leaf, another place, a changed hash: not proven, and why."""
    assert proof_command("2", data=data, out=tmp_path) == 0
    path = tmp_path / "2.tlog-proof"
    assert "not witnessed" in capsys.readouterr().out
    assert check_proof_command(path, policy=policy) == 1
    assert "not the quorum 'w1'" in capsys.readouterr().out
    assert check_proof_command(path, vkey=OTHER_VKEY) == 1
    proof = parse_proof(path.read_bytes())
    assert proof.extra is not None
    for leaf, hashes, extra in (
        (3, proof.hashes, proof.extra), (2, proof.hashes[:-1], proof.extra), (2, proof.hashes[::-1], proof.extra),
        (2, proof.hashes, proof.extra.replace(b"std", b"stx")), (2, proof.hashes, b"no leaf"), (2, proof.hashes, None),
        (10**9, proof.hashes, proof.extra),
    ):  # fmt: skip
        path.write_bytes(encode_proof(leaf, hashes, proof.note, extra))
        assert check_proof_command(path, vkey=VKEY) == 1
        assert "NOT PROVEN" in capsys.readouterr().out


def test_arguments(data: Path, policy: Path, tmp_path: Path) -> None:
    """What names nothing is said so."""
    with pytest.raises(RefusedError, match="no leaf"):
        proof_command("7", data=data, out=tmp_path)
    with pytest.raises(RefusedError, match="no log"):
        proof_command("7", data=tmp_path / "none")
    with pytest.raises(ConfigError, match="neither"):
        proof_command("seven", data=data)
    with pytest.raises(ConfigError, match="no store"):
        proof_command("0194f0e0-0000-7000-8000-00000000000a", data=data)
    for arguments in ({}, {"policy": policy, "vkey": VKEY}, {"vkey": VKEY}):
        with pytest.raises(ConfigError):
            check_proof_command(tmp_path / "none", **arguments)
