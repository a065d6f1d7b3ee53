"""Verification against a trust policy: the quorum, the tail, the clock; with attackers who hold the log's key."""

from __future__ import annotations

from collections.abc import Callable

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from doorward.ledger import leaf
from doorward.ledger.checkpoint import NoteSigner, sign_checkpoint, split_note
from doorward.ledger.cosignature import Cosigner
from doorward.ledger.trust import parse_policy
from doorward.ledger.verify import Report, Status, verify
from tests.rig.verifier import agreed
from tests.unit.ledger.conftest import SIGNER, FilesEvidence

Files = dict[str, bytes]
W = [Cosigner(f"w{n}.example.org", Ed25519PrivateKey.from_private_bytes(bytes([n]) * 32)) for n in range(3)]
POLICY = f"log {SIGNER.vkey}\nwitness a {W[0].vkey}\nwitness b {W[1].vkey}\ngroup both all a b\nquorum both\n"


def check(files: Files, policy_text: str = POLICY) -> Report:
    report = verify(FilesEvidence(files), [], policy=parse_policy(policy_text.encode()))
    agreed(files, report, policy_text)
    return report


def last_at(files: Files, entries: list[bytes]) -> int:
    return leaf.parse(entries[int(files["log/checkpoint"].split(b"\n")[1]) - 1]).at // 1000


def cosigned(files: Files, at: int, witnesses: list[Cosigner] = W[:2]) -> Files:
    """The record as these witnesses cosigned it."""
    note = files["log/checkpoint"]
    text = split_note(note)[0]
    return {**files, "log/witnessed": note + b"".join([each.cosign(text, at).encode() for each in witnesses])}


Entries = Callable[[Files], list[bytes]]
LogOf = Callable[[list[bytes]], Files]
More = Callable[[Files, int], list[bytes]]


def test_witnessed(record: Files, entries_of: Entries) -> None:
    """A record that the quorum cosigned is sound, with no tail."""
    report = check(cosigned(record, last_at(record, entries_of(record))))
    assert (report.status, report.tail, report.faults, report.gaps) == (Status.SOUND, 0, [], [])
    assert report.witnessed is not None
    assert [each.witness.name for each in report.witnessed.cosignatures] == ["w0.example.org", "w1.example.org"]


@pytest.mark.parametrize("witnesses", [[], W[:1], [W[0], W[2]]], ids=["none", "one of two", "a stranger"])
def test_no_quorum(record: Files, entries_of: Entries, witnesses: list[Cosigner]) -> None:
    """Fewer witnesses than the policy asks for: broken, and said who is there."""
    report = check(cosigned(record, last_at(record, entries_of(record)), witnesses))
    assert (report.status, report.faults[0].file) == (Status.BROKEN, "log/witnessed")
    assert "quorum 'both'" in report.faults[0].expected
    report = check(record)
    assert (report.status, report.faults[0].file) == (Status.BROKEN, "log/checkpoint")
    assert check(record, f"log {SIGNER.vkey}\nquorum none").status is Status.SOUND


def test_a_wrong_cosignature(record: Files, entries_of: Entries) -> None:
    """A witness's signature that is wrong breaks the note, wherever it is."""
    files = cosigned(record, last_at(record, entries_of(record)))
    note = files["log/witnessed"]
    start = note.index("\u2014 w1".encode()) + 30
    for at in (start, start + 20, start + 60):
        files["log/witnessed"] = note[:at] + (b"A" if note[at : at + 1] != b"A" else b"B") + note[at + 1 :]
        report = check(files)
        assert (report.status, report.faults[0].file) == (Status.BROKEN, "log/witnessed")


def test_fork_with_the_real_key(record: Files, entries_of: Entries, log_of: LogOf) -> None:
    """History rewritten and signed with the log's own key does not continue what was witnessed."""
    at = last_at(record, entries_of(record))
    entries = entries_of(record)
    entries[2] = entries[2].replace(b'"rc":"std"', b'"rc":"abc"')
    forked = {**record, **log_of(entries), "log/witnessed": cosigned(record, at)["log/witnessed"]}
    assert check(forked).status is Status.BROKEN
    entries = entries_of(record)[:-1]  # the last leaf replaced: no chain breaks, only the witnesses know
    other = {**record, **log_of([*entries, entries_of(record)[-1].replace(b'"rc":"std"', b'"rc":"abc"')])}
    assert check(other, f"log {SIGNER.vkey}\nquorum none").faults[:1] == []
    report = check({**other, "log/witnessed": cosigned(record, at)["log/witnessed"]})
    assert report.status is Status.BROKEN
    assert "log/witnessed" in report.faults[0].expected
    assert "rewritten" in report.faults[0].found


def test_rolled_back(record: Files, entries_of: Entries, log_of: LogOf) -> None:
    """A log cut back with its own key is smaller than what its witnesses saw."""
    witnessed = cosigned(record, last_at(record, entries_of(record)))["log/witnessed"]
    report = check({**record, **log_of(entries_of(record)[:-3]), "log/witnessed": witnessed})
    assert report.status is Status.BROKEN
    assert "cut back" in report.faults[0].found


def test_tail(record: Files, entries_of: Entries, log_of: LogOf, more_leaves: More) -> None:
    """Leaves since the last cosignature are counted; once they wait for over two minutes the record is incomplete."""
    witnessed = cosigned(record, last_at(record, entries_of(record)))["log/witnessed"]
    for more, status in ((60, Status.SOUND), (200, Status.INCOMPLETE)):  # a second each
        report = check({**record, **log_of(more_leaves(record, more)), "log/witnessed": witnessed})
        assert (report.status, report.tail) == (status, more)
    assert report.gaps[0].place == f"leaf {len(entries_of(record))}"


def test_clock(record: Files, entries_of: Entries, log_of: LogOf, more_leaves: More) -> None:
    """Leaves dated after a witness saw them are broken; leaves dated long before what stood in the log are a gap."""
    at = last_at(record, entries_of(record))
    report = check(cosigned(record, at - 3600))
    assert (report.status, report.faults[0].file.startswith("log/tile/entries/")) == (Status.BROKEN, True)
    late = cosigned(record, at + 3600)["log/witnessed"]
    report = check({**record, **log_of(more_leaves(record, 1)), "log/witnessed": late})
    assert report.status is Status.INCOMPLETE
    assert "back-dated" in report.gaps[0].found


def test_witnessed_by_another_log(record: Files, log_of: LogOf) -> None:
    """Another log's checkpoint beside this one is a fault, also for those who ask for no witnesses."""
    other = NoteSigner("another.example.com", Ed25519PrivateKey.from_private_bytes(b"o" * 32))
    files = {**record, "log/witnessed": sign_checkpoint(other.name, 1, bytes(32), [other])}
    assert check(files, f"log {SIGNER.vkey}\nquorum none").faults[0].file == "log/witnessed"
    both = f"log {SIGNER.vkey}\nlog {other.vkey}\nquorum none"
    assert check(files, both).faults[0].file == "log/witnessed"
