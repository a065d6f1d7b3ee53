"""Time stamps by a real authority (`openssl ts`): over the note, to a root that we name, and the log held to their times."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from hashlib import sha256
from pathlib import Path

import pytest
from cryptography.hazmat.primitives.serialization import Encoding

from doorward.errors import IntegrityError
from doorward.ledger import leaf
from doorward.ledger.checkpoint import NoteVerifier
from doorward.ledger.stamps import Authorities, ask, authorities, open_stamp
from doorward.ledger.verify import Report, Status, verify
from tests.rig.tsa import POLICY, TimeStampAuthority
from tests.rig.verifier import agreed
from tests.unit.ledger.conftest import SIGNER, FilesEvidence, Gateway, publish

Files = dict[str, bytes]


@pytest.fixture(scope="module")
def tsa(tmp_path_factory: pytest.TempPathFactory) -> Iterator[TimeStampAuthority]:
    made = TimeStampAuthority(tmp_path_factory.mktemp("tsa"))
    yield made
    made.down()


@pytest.fixture(scope="module")
def trusted(tsa: TimeStampAuthority) -> Authorities:
    return authorities(tsa.root.read_bytes(), POLICY)


def check(files: Files, trusted: Authorities | None) -> Report:
    report = verify(FilesEvidence(files), [NoteVerifier(SIGNER.vkey)], trusted=trusted)
    roots = b"" if trusted is None else b"".join([root.public_bytes(Encoding.PEM) for root in trusted.roots])
    agreed(files, report, SIGNER.vkey, roots=roots)
    return report


def test_a_stamp(tsa: TimeStampAuthority, trusted: Authorities, tmp_path: Path) -> None:
    """It holds over just these bytes, with its nonce, under its policy, up to its root; and any changed byte is found, or
    changes nothing that is said."""
    note = b"a note\n\n\xe2\x80\x94 x AAAA\n"
    request = ask(note)
    tsr = tsa.stamp(request.as_bytes())
    stamp = open_stamp(tsr, note, trusted, request.nonce)
    assert stamp.policy == POLICY
    with pytest.raises(IntegrityError, match="other bytes"):
        open_stamp(tsr, note + b"x", trusted)
    with pytest.raises(IntegrityError, match="Nonce"):
        open_stamp(tsr, note, trusted, (request.nonce or 0) + 1)
    with pytest.raises(IntegrityError, match="Policy"):
        open_stamp(tsr, note, authorities(tsa.root.read_bytes(), "1.2.3"))
    stranger = TimeStampAuthority(tmp_path / "stranger")
    stranger.down()
    with pytest.raises(IntegrityError, match="does not hold"):
        open_stamp(tsr, note, authorities(stranger.root.read_bytes()))
    for at in range(0, len(tsr), 7):
        changed = tsr[:at] + bytes([tsr[at] ^ 1]) + tsr[at + 1 :]
        try:
            assert open_stamp(changed, note, trusted, request.nonce)[:2] == stamp[:2]
        except IntegrityError:
            pass
    for wrong in (b"", b"no stamp", tsr[:-1], b"x" * 100_000):
        with pytest.raises(IntegrityError):
            open_stamp(wrong, note, trusted)


def test_roots_that_are_none() -> None:
    """Files that hold no certificates, and policies that are no OID."""
    with pytest.raises(IntegrityError):
        authorities(b"nothing")


@pytest.fixture(scope="module")
def stamped(tsa: TimeStampAuthority) -> Files:
    """A log of which a checkpoint was stamped, with the leaf that says so; its leaves are of before the stamp."""
    entries: list[bytes] = []
    one = Gateway("gw-1", entries)
    one.at = 1_700_000_000_000
    one.start("00000000000000a1")
    one.say("log.beat")
    note = publish(entries)["log/checkpoint"]
    tsr = tsa.stamp(ask(note).as_bytes())
    one.at = open_stamp(tsr, note, None).at
    one.say("log.stamped", number=2, hash_=sha256(tsr).digest())
    return {**publish(entries), "log/tsr/2-0.tsr": tsr, "log/tsr/2-0.note": note}


def test_stamped(stamped: Files, trusted: Authorities) -> None:
    """Sound, and how often it was stamped; whose stamps are believed is said."""
    report = check(stamped, trusted)
    assert (report.status, report.stamps, report.stamps_checked) == (Status.SOUND, 1, True)
    assert check(stamped, None).stamps_checked is False


def test_altered(stamped: Files, trusted: Authorities, tmp_path: Path, log_of: Callable[[list[bytes]], Files],
                 entries_of: Callable[[Files], list[bytes]]) -> None:
    """A stamp or its note missing, swapped or changed; a stamp of another authority, of another tree, of another time."""
    tsr, note = "log/tsr/2-0.tsr", "log/tsr/2-0.note"
    for gone in (tsr, note):
        report = check({path: octets for path, octets in stamped.items() if path != gone}, trusted)
        assert (report.status, report.faults[0].file.startswith("log/tsr")) == (Status.BROKEN, True)
    other = TimeStampAuthority(tmp_path / "other")
    other.down()
    again = other.stamp(ask(stamped[note]).as_bytes())
    assert check({**stamped, tsr: again}, trusted).faults[0].file == tsr
    assert check({**stamped, tsr: again}, None).faults[0].file == "log/tsr"  # the leaf names another
    report = check({**stamped, note: stamped["log/checkpoint"]}, trusted)
    assert report.faults[0].file == tsr
    entries = entries_of(stamped)
    kept = {path: octets for path, octets in stamped.items() if path.startswith("log/tsr/")}
    forked = {**kept, **log_of([entries[0], entries[1].replace(b'"rc":"std"', b'"rc":"abc"')])}
    report = check(forked, trusted)
    assert report.status is Status.BROKEN
    assert "rewritten" in report.faults[0].found
    late = Gateway("gw-1", [])
    late.at = leaf.parse(entries[-1]).at + 3_600_000
    late.start("00000000000000a1")
    late.say("log.beat")
    files = publish(late.entries)
    files["log/tsr/2-0.note"] = files["log/checkpoint"]
    files["log/tsr/2-0.tsr"] = other.stamp(ask(files["log/checkpoint"]).as_bytes())
    report = check(files, authorities(other.root.read_bytes()))
    assert report.status is Status.BROKEN
    assert "was seen" in report.faults[0].expected
