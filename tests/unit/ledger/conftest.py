"""A small but complete record, built as a gateway would, and the means to check altered copies of it."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from hashlib import sha256

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from doorward.ledger import checkpoint, leaf, segment, tiles, tree
from doorward.ledger.verify import Report, StoredRecording, verify

ORIGIN = "audit.example.com/doorward/test"
SIGNER = checkpoint.NoteSigner(ORIGIN, Ed25519PrivateKey.from_private_bytes(bytes(range(32))))
SESSIONS = tuple(f"0194f0e0-0000-7000-8000-00000000000{digit}" for digit in "abcde")

Files = dict[str, bytes]


class Gateway:
    """Makes one gateway's leaves, in order, into a shared log."""

    def __init__(self, name: str, entries: list[bytes]) -> None:
        self.name = name
        self.entries = entries
        self.boot = ""
        self.seq = 0
        self.last = leaf.FIRST
        self.at = 1_800_000_000_000

    def start(self, boot: str) -> None:
        self.boot, self.seq = boot, 0
        self.say("gateway.started")

    def say(
        self, type_: str, session: str | None = None, number: int | None = None, hash_: bytes | None = None
    ) -> None:
        self.at += 1000
        entry = leaf.build(
            type_, gateway=self.name, boot=self.boot, seq=self.seq, prev=self.last, at=self.at,
            commitment=sha256(b"%d" % self.at).digest(), segment_hash=hash_, session=session, number=number,
        )
        self.entries.append(entry)
        self.seq += 1
        self.last = tree.leaf_hash(entry)


class Recorded:
    """One session: its leaves and its recording."""

    def __init__(self, gateway: Gateway, session: str) -> None:
        self.gateway, self.session = gateway, session
        self.file = segment.header(session, gateway.at)
        self.sealer = segment.SegmentSealer(session, sha256(session.encode()).digest(), segment.header_hash(self.file))
        gateway.say("session.opened", session, hash_=self.sealer.hash)

    def seal(self, *, leaf_too: bool = True) -> None:
        number = self.sealer.number
        raw, hash_ = self.sealer.seal(segment.encode_record(segment.RESPONSE, self.gateway.at, b"row %d " % number * 9))
        self.file += raw
        if leaf_too:
            self.gateway.say("session.sealed", self.session, number, hash_)

    def end(self, type_: str = "session.closed") -> None:
        self.gateway.say(type_, self.session, self.sealer.number, self.sealer.hash)


def publish(entries: list[bytes]) -> Files:
    """The files of a log of `entries`, signed."""
    files: Files = {"log/vkey": SIGNER.vkey.encode() + b"\n"}

    def read(path: str) -> bytes:
        raise FileNotFoundError(path)

    size, root, written = tiles.grow(0, entries, read)
    files["log/checkpoint"] = checkpoint.sign_checkpoint(ORIGIN, size, root, [SIGNER])
    files.update({f"log/{path}": octets for path, octets in written.items()})
    return files


def build_record(events: int = 3) -> Files:
    """Two gateways, one restarted; five sessions: closed with three, two and no segments, recovered, and still open."""
    entries: list[bytes] = []
    one, two = Gateway("gw-1", entries), Gateway("gw-2", entries)
    one.start("00000000000000a1")
    two.start("00000000000000b1")
    a, b, c = Recorded(one, SESSIONS[0]), Recorded(two, SESSIONS[1]), Recorded(one, SESSIONS[2])
    for turn in range(events):
        one.say("operation.refused", a.session)
        if turn < 2:
            b.seal()
    for _ in range(3):
        a.seal()
    a.end()
    b.end()
    c.end()
    d = Recorded(one, SESSIONS[3])
    d.seal()
    one.start("00000000000000a2")
    d.end("session.recovered")
    e = Recorded(two, SESSIONS[4])
    e.seal()
    files = publish(entries)
    files.update({f"recordings/2025/02/{s.session}.dwr": s.file for s in (a, b, c, d, e)})
    return files


class FilesEvidence:
    """An EvidenceSource over files in memory."""

    def __init__(self, files: Mapping[str, bytes]) -> None:
        self.files = files

    def checkpoint(self) -> bytes:
        return self.read("checkpoint")

    def read(self, path: str) -> bytes:
        try:
            return self.files["log/" + path]
        except KeyError:
            raise FileNotFoundError(path) from None

    def paths(self) -> Iterable[str]:
        return [path.removeprefix("log/") for path in self.files if path.startswith("log/tile/")]

    def names(self, folder: str) -> Iterable[str]:
        prefix = f"log/{folder}/"
        return [path.removeprefix(prefix) for path in self.files if path.startswith(prefix)]

    def recordings(self) -> Iterable[StoredRecording]:
        for path, octets in sorted(self.files.items()):
            if path.startswith("recordings/"):
                name = path.rpartition("/")[2].removesuffix(".dwr")
                yield StoredRecording(name, path, [octets[at : at + 100] for at in range(0, len(octets), 100)])


@pytest.fixture(scope="session")
def record() -> Files:
    """A sound record. Copy before altering."""
    return build_record()


@pytest.fixture(scope="session")
def large_record() -> Files:
    """A sound record whose log has full tiles on two levels."""
    return build_record(events=600)


@pytest.fixture(scope="session")
def log_of() -> Callable[[list[bytes]], Files]:
    """Signs a log of any entries, as somebody with the key could."""
    return publish


@pytest.fixture(scope="session")
def entries_of() -> Callable[[Files], list[bytes]]:
    """The leaves of a record, in order."""

    def entries(files: Files) -> list[bytes]:
        size = int(files["log/checkpoint"].split(b"\n")[1])
        read = FilesEvidence(files).read
        return [entry for number in range((size + 255) // 256) for entry in tiles.read_bundle(number, size, read)]

    return entries


@pytest.fixture(scope="session")
def check() -> Callable[..., Report]:
    """Verifies a record in memory with the right key, against checkpoints kept elsewhere if given."""

    def run(files: Mapping[str, bytes], *kept: bytes) -> Report:
        notes = [(f"kept-{number}", note) for number, note in enumerate(kept)]
        return verify(FilesEvidence(files), [checkpoint.NoteVerifier(SIGNER.vkey)], kept=notes)

    return run


@pytest.fixture(scope="session")
def more_leaves() -> Callable[[Files, int], list[bytes]]:
    """A record's leaves and then some beats of gw-2."""

    def more(files: Files, count: int) -> list[bytes]:
        size = int(files["log/checkpoint"].split(b"\n")[1])
        read = FilesEvidence(files).read
        entries = [entry for number in range((size + 255) // 256) for entry in tiles.read_bundle(number, size, read)]
        mine = [entry for entry in entries if leaf.parse(entry).gateway == "gw-2"]
        gateway = Gateway("gw-2", entries)
        gateway.boot, gateway.seq, gateway.last = "00000000000000b1", len(mine), tree.leaf_hash(mine[-1])
        for _ in range(count):
            gateway.say("log.beat")
        return entries

    return more
