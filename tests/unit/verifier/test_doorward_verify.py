"""The independent verifier: it agrees with ours on vectors, on real records and packs, and on what it refuses; and it
never raises."""

from __future__ import annotations

import asyncio
import json
import subprocess
import time
import zipfile
from collections.abc import Mapping
from hashlib import sha256
from pathlib import Path
from typing import Any

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from hypothesis import given
from hypothesis import strategies as st

from doorward.cli.main import run
from doorward.errors import DoorwardError
from doorward.ledger import checkpoint, encoding, leaf, tiles
from doorward.ledger.handover import sign_handover
from doorward.ledger.verify import verify
from tests.bypass.evidence import EARLIER, PACK, RECORD, SIGNER, make
from tests.fitness.test_house import ROOT
from tests.rig.specpack import seal_pack, write_pack
from tests.rig.verifier import VERIFIER, Folder
from tests.unit.ledger.conftest import SIGNER as SIGNER_OF_RECORDS
from tests.unit.ledger.conftest import FilesEvidence, Gateway, build_record, publish

VECTORS = {
    name: json.loads((ROOT / "vectors" / f"{name}.json").read_text()) for name in ("ledger", "recording", "approval")
}
LEDGER, APPROVAL = VECTORS["ledger"], VECTORS["approval"]
COSIGNATURE = LEDGER["outside"]["cosignature"]


def bare(text: str) -> bytes:
    return bytes.fromhex(text)


# -- vectors -----------------------------------------------------------------------------------------------------------


def test_canonical_json() -> None:
    """The same bytes for the same value."""
    for each in LEDGER["canonical"]:
        assert VERIFIER.encode(each["json"]) == bare(each["bytes"])
        assert VERIFIER.canonical(bare(each["bytes"])) == each["json"]


def test_trees_proofs_and_paths() -> None:
    """Roots of each size, every inclusion proof, and the names of tiles."""
    entries = [each["entry"].encode() for each in LEDGER["leaves"]]
    hashes = [VERIFIER.sha256(b"\0", entry) for entry in entries]
    for size, root in enumerate(LEDGER["roots"]):
        assert VERIFIER.tree_root(hashes[:size]).hex() == root
    for each in LEDGER["inclusion"]:
        proof = [bare(one) for one in each["proof"]]
        found = VERIFIER.root_by_proof(each["index"], each["size"], hashes[each["index"]], proof)
        assert found.hex() == LEDGER["roots"][each["size"]]
    for place, path in LEDGER["paths"].items():
        assert VERIFIER.tile_path(*map(int, place.split("/"))) == f"log/{path}"


def test_a_log_of_the_vectors(tmp_path: Path) -> None:
    """The vectors' leaves, tiles and checkpoint are a log; its one session has the recording of another file, and
    that is said."""
    files = {f"log/{path}": bare(octets) for path, octets in LEDGER["tiles"].items()}
    files["log/checkpoint"] = LEDGER["checkpoint"]["note"].encode()
    report = Folder(tmp_path).check(files, LEDGER["checkpoint"]["vkey"])
    assert report.counts["leaves"] == 7
    assert {spot.file.partition("/")[0] for spot in report.faults} <= {"recordings"}


def test_cosignatures() -> None:
    """A witness's signature of type 04 is known with its time; the policy asks for it; a wrong one refuses the note."""
    given = COSIGNATURE
    policy = f"log {LEDGER['checkpoint']['vkey']}\nwitness w1 {given['vkey']}\ngroup g all w1\nquorum g\n"
    found = VERIFIER.open_checkpoint(given["note"].encode(), "log/checkpoint", VERIFIER.Trust(policy))
    assert sorted(found.signed.values()) == [0, given["at"]]
    assert VERIFIER.Trust(policy).satisfied(found.signed)
    alone = VERIFIER.open_checkpoint(LEDGER["checkpoint"]["note"].encode(), "log/checkpoint", VERIFIER.Trust(policy))
    assert not VERIFIER.Trust(policy).satisfied(alone.signed)
    with pytest.raises(VERIFIER.Broken):
        VERIFIER.open_checkpoint(given["note"].replace("hXSNN6", "hXSNN7").encode(), "c", VERIFIER.Trust(policy))


def test_a_recording() -> None:
    """Header, segments, their hashes and what is sealed in them, under the data key."""
    told = VECTORS["recording"]
    sid, octets = told["session"], told["header"].encode() + b"".join(bare(each["stored"]) for each in told["segments"])
    session = VERIFIER.Session(VERIFIER.b64(bare(told["header_hash"])))
    session.segments = [VERIFIER.b64(bare(each["hash"])) for each in told["segments"]]
    session.root = session.segments[-1]

    class Source:
        def chunks(self, name: str) -> Any:
            return iter([octets[:100], octets[100:]])

    assert VERIFIER.check_recording(Source(), "r.dwr", sid, session, bare(told["dek"])) == 2
    with pytest.raises(VERIFIER.Broken):
        VERIFIER.check_recording(Source(), "r.dwr", sid, session, bytes(32))


@pytest.mark.parametrize("method", ["sshsig", "webauthn"])
def test_signatures_of_votes(method: str) -> None:
    """By an SSH key and by a passkey, over the request and over nothing else."""
    told, request = APPROVAL[method], APPROVAL["request"].encode()

    def check(message: bytes) -> int:
        if method == "sshsig":
            return VERIFIER.check_ssh(told["signature"], message, told["namespace"], told["public_key"])  # type: ignore[no-any-return]
        key = {**told, "credential": told["credential"]["id"]}
        return VERIFIER.check_passkey(told["credential"], message, key)  # type: ignore[no-any-return]

    assert check(request) == (0 if method == "sshsig" else 5)
    with pytest.raises(VERIFIER.BAD):
        check(request + b" ")


# -- real records and packs ----------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def real(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path, Path]:
    """A data directory with votes, grants and a death; the folder and the zip that `doorward evidence pack` makes of
    it."""
    folder = tmp_path_factory.mktemp("real")
    (folder / "data").mkdir(mode=0o700)
    asyncio.run(make(folder / "data"))
    assert (
        run(["evidence", "pack", str(folder / "data"), "--out", str(folder), "--auditor", "Ms Auditor", "--recordings"])
        == 0
    )
    return folder / "data", next(folder.glob("pack-*[!p]")), next(folder.glob("*.zip"))


def test_what_doorward_writes_is_sound(real: tuple[Path, Path, Path]) -> None:
    """Log, recordings and packs of a real gateway; every signature of a vote in them."""
    vkey = (real[0] / "log" / "vkey").read_text()
    for path in real:
        report = VERIFIER.check(str(path), vkey, [("kept", (real[0] / "log" / "checkpoint").read_bytes())])
        assert (report.code, report.faults, report.gaps) == (0, [], [])
    assert report.counts["signatures of votes"] == 6
    assert report.counts["opened recordings"] >= 1


def test_every_file_of_a_pack_of_doorwards(real: tuple[Path, Path, Path], tmp_path: Path) -> None:
    """A byte of any file of the zip (here, of every fourth) changed: broken, and the file named."""
    vkey = (real[0] / "log" / "vkey").read_text()
    with zipfile.ZipFile(real[2]) as archive:
        files = {name.partition("/")[2]: archive.read(name) for name in archive.namelist()}
    folder = Folder(tmp_path)
    for name, octets in sorted(files.items())[::4]:
        if octets:
            report = folder.check({**files, name: octets[:-1] + bytes([octets[-1] ^ 1])}, vkey)
            assert report.code == 1
            assert report.faults[0].file in (name, "manifest.note")


def test_large_logs(tmp_path: Path) -> None:
    """Full tiles on two levels, and each of them gone."""
    files = build_record(events=600)
    folder = Folder(tmp_path)
    vkey = files["log/vkey"].decode()
    assert folder.check(files, vkey).code == 0
    for path in [each for each in files if each.startswith("log/tile/")]:
        report = folder.check({name: octets for name, octets in files.items() if name != path}, vkey)
        assert (report.code, report.faults[0].file) == (1, path)


# -- the two agree -------------------------------------------------------------------------------------------


def ours(read: Any, *given: Any) -> bool:
    try:
        read(*given)
    except (DoorwardError, ValueError):
        return False
    return True


def theirs(read: Any, *given: Any) -> bool:
    try:
        read(*given)
    except (VERIFIER.Broken, *VERIFIER.BAD):
        return False
    return True


NEAR = st.sampled_from(RECORD.entries) | st.sampled_from([record for record, _ in RECORD.openings.values()])


@st.composite
def nearly(draw: st.DrawFn, source: st.SearchStrategy[bytes]) -> bytes:
    """Bytes that are almost what they should be."""
    octets = bytearray(draw(source))
    for _ in range(draw(st.integers(0, 2))):
        at = draw(st.integers(0, max(0, len(octets) - 1)))
        octets[at : at + draw(st.integers(0, 2))] = draw(
            st.binary(max_size=2) | st.sampled_from([b" ", b'"', b"\\u0041", b"0", b"1.0"])
        )
    return bytes(octets)


@given(octets=nearly(NEAR) | st.binary(max_size=60))
def test_they_agree_on_canonical_json_and_leaves(octets: bytes) -> None:
    """What one reads the other reads."""
    assert ours(encoding.parse, octets) == theirs(VERIFIER.canonical, octets)
    mine = VERIFIER.LEAF.fullmatch(octets.decode("latin-1")) if len(octets) <= 1024 else None
    if mine and max(int(mine[each] or 0) for each in ("at", "n", "seq")) >= 2**53:
        mine = None
    assert ours(leaf.parse, octets) == (mine is not None)


VALUES = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**53) + 1, 2**53 - 1) | st.text(max_size=9),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=4), inner, max_size=4),
    max_leaves=8,
)


@given(value=VALUES)
def test_they_agree_on_the_canonical_form(value: Any) -> None:
    """Of any value."""
    try:
        said = encoding.canonical(value)
    except (DoorwardError, ValueError):
        assert not theirs(VERIFIER.encode, value)
        return
    assert VERIFIER.encode(value) == said
    assert VERIFIER.canonical(said) == value


NOTES = st.sampled_from(
    [RECORD.files["log/checkpoint"], LEDGER["checkpoint"]["note"].encode(), COSIGNATURE["note"].encode()]
)
POLICY = f"log {SIGNER.vkey}\n" + f"log {LEDGER['checkpoint']['vkey']}\nwitness w {COSIGNATURE['vkey']}\nquorum none\n"


@given(octets=nearly(NOTES) | st.binary(max_size=200))
def test_they_agree_on_checkpoints(octets: bytes) -> None:
    """What one opens the other opens, and neither opens what was changed."""
    verifiers = [checkpoint.NoteVerifier(key) for key in (SIGNER.vkey, LEDGER["checkpoint"]["vkey"])]
    if b"witness" not in octets:
        assert ours(checkpoint.open_checkpoint, octets, verifiers) == theirs(
            VERIFIER.open_checkpoint, octets, "c", VERIFIER.Trust(POLICY)
        )


@given(level=st.integers(0, 5), number=st.integers(0, 2**44), width=st.integers(1, 256))
def test_they_agree_on_paths(level: int, number: int, width: int) -> None:
    """Of tiles and bundles."""
    assert VERIFIER.tile_path(level, number, width) == "log/" + tiles.tile_path(level, number, width)
    assert VERIFIER.tile_path("entries", number, width) == "log/" + tiles.bundle_path(number, width)


# -- it never raises -----------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Folder:
    return Folder(tmp_path_factory.mktemp("garbage"))


def reported(folder: Folder, files: Mapping[str, bytes], **more: Any) -> None:
    report = folder.check(files, SIGNER.vkey, RECORD.files["log/checkpoint"], **more)
    assert report.code in (1, 2)
    assert all(isinstance(text, str) for spot in report.faults + report.gaps for text in spot[:2])


@given(name=st.sampled_from(sorted(name.rpartition("/")[2] for name in RECORD.files)), octets=st.binary(max_size=300))
def test_garbage_in_a_record(folder: Folder, name: str, octets: bytes) -> None:
    """Any bytes in place of any file: a report."""
    path = (
        next(path for path in sorted(RECORD.files) if path.endswith(name) and not path.endswith("vkey"))
        if name != "vkey"
        else BUNDLE
    )
    if RECORD.files[path] != octets:
        reported(folder, {**RECORD.files, path: octets})


BUNDLE = next(path for path in RECORD.files if "entries" in path and path.endswith(f".p/{RECORD.size}"))


@given(which=st.integers(0, 1000), octets=st.binary(max_size=300), cut=st.floats(0, 1), where=st.integers(0, 10**6))
def test_garbage_in_a_pack(folder: Folder, which: int, octets: bytes, cut: float, where: int) -> None:
    """The same in a pack, where the manifest does not tell: as whoever signs it could have it."""
    names = [name for name in sorted(PACK) if name not in ("manifest.json", "manifest.note")]
    name = names[which % len(names)]
    old = PACK[name]
    at = where % (len(old) + 1)
    new = {
        0: octets,
        1: old[:at] + octets + old[at:],
        2: old[: int(len(old) * cut)],
        3: old[:at] + octets + old[at + len(octets) :],
    }[where % 4]
    about = {key: value for key, value in json.loads(PACK["manifest.json"]).items() if key in (
        "origin", "size", "root", "from", "to", "from_leaf", "to_leaf")}  # fmt: skip
    report = folder.check(seal_pack({**PACK, name: new}, SIGNER, about), SIGNER.vkey)
    assert report.code in (0, 1, 2)


JSON = st.recursive(
    st.none() | st.booleans() | st.integers(-10, 2**53 - 1) | st.text(max_size=5),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(st.sampled_from(["k", "of", "seats", "method", "typ", "v", "skips"]), inner, max_size=4)
    ),
    max_leaves=6,
)


@given(which=st.integers(0, 10**6), path=st.integers(0, 10**6), value=JSON)
def test_any_json_in_an_event_of_votes(which: int, path: int, value: Any) -> None:
    """Any value in place of any member of an event that speaks of votes: it fits, or it is told; never anything
    else."""
    events = [json.loads(record) for _, (record, _) in sorted(RECORD.openings.items())]
    spoken = [event for event in events if event["type"].startswith(VERIFIER.VOTING) or event["body"].get("approval")]
    event = spoken[which % len(spoken)]
    inside = event["body"]
    while True:
        names = sorted(inside)
        name = names[path % len(names)]
        path //= len(names)
        if not isinstance(inside[name], dict) or not inside[name] or path % 3 == 0:
            break
        inside = inside[name]
    inside[name] = value
    votes = VERIFIER.Votes()
    try:
        for each in events:
            votes.add("gw-1", each["type"], each["actor"], each["at"], each["body"])
    except VERIFIER.BAD:
        return


@given(octets=st.binary(max_size=200) | nearly(st.just(b"0\x82\x00\x0f0\x03\x02\x01\x00")))
def test_garbage_stamps(octets: bytes) -> None:
    """DER that is none."""
    with pytest.raises(VERIFIER.BAD):
        VERIFIER.check_stamp(octets, [])


# -- changes of the log's key ----------------------------------------------------------------------------------------


def test_a_change_of_key(tmp_path: Path) -> None:
    """Who believes the old key believes the new one by the note that both signed; not by another, nor by one that no leaf
    names, and what the old key alone signed afterwards is not believed."""
    old = SIGNER_OF_RECORDS
    new = checkpoint.NoteSigner(old.name, Ed25519PrivateKey.from_private_bytes(b"n" * 32))
    entries: list[bytes] = []
    one = Gateway("gw-1", entries)
    one.start("00000000000000a1")
    note = sign_handover(old, new, 1_900_000_000)
    one.say("log.key_rotated", hash_=sha256(note).digest())
    files = publish(entries)
    text = files["log/checkpoint"].decode().partition("\n\n")[0] + "\n"

    def signed(*signers: checkpoint.NoteSigner, **more: bytes) -> dict[str, bytes]:
        lines = "".join([signer.sign(text) for signer in signers])
        return {**files, "log/keys/1": note, "log/checkpoint": f"{text}\n{lines}".encode(), **more}

    thief = checkpoint.NoteSigner(old.name, Ed25519PrivateKey.from_private_bytes(b"t" * 32))
    for code, tried in (
        (0, signed(new, old)),
        (1, signed(old)),
        (1, signed(thief)),
        (1, signed(new, old, **{"log/keys/1": sign_handover(old, new, 1_900_000_001)})),
        (1, signed(new, old, **{"log/keys/1": sign_handover(thief, new, 1_900_000_000)})),
        (1, signed(new, old, **{"log/keys/0": note})),
        (1, {path: octets for path, octets in signed(new, old).items() if "keys" not in path}),
    ):
        report = Folder(tmp_path / str(len(list(tmp_path.iterdir())))).check(tried, old.vkey)
        assert report.code == code, (report.faults, report.gaps)
        if code == 0 or "log/keys/0" not in tried:
            assert verify(FilesEvidence(tried), [checkpoint.NoteVerifier(old.vkey)]).exit_code == code


# -- time stamps ---------------------------------------------------------------------------------------------


def openssl(folder: Path, *command: str, **files: bytes) -> None:
    for name, octets in files.items():
        (folder / name).write_bytes(octets)
    subprocess.run(["openssl", *command], cwd=folder, check=True, capture_output=True)


CONFIG = b"""
[req]
distinguished_name = name
[name]
[root]
basicConstraints = critical, CA:TRUE
[stamps]
extendedKeyUsage = critical, timeStamping
[tsa]
default_tsa = here
[here]
serial = ./serial
crypto_device = builtin
signer_digest = sha256
default_policy = 1.2.3.4
digests = sha256, sha512
tsa_name = no
ess_cert_id_chain = no
ess_cert_id_alg = sha256
"""


@pytest.fixture(scope="module")
def authority(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A time stamp authority of OpenSSL's: a root, a signer, and another root of the same name."""
    folder = tmp_path_factory.mktemp("tsa")
    openssl(folder, "version", config=CONFIG, serial=b"01\n")
    key = ("-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes", "-config", "config", "-days", "30")
    for root in ("root", "other"):
        openssl(
            folder,
            "req",
            "-x509",
            *key,
            "-subj",
            "/CN=root",
            "-extensions",
            "root",
            "-keyout",
            f"{root}.key",
            "-out",
            f"{root}.pem",
        )
    for name in ("stamps",):
        openssl(folder, "req", *key[:-2], "-subj", f"/CN={name}", "-keyout", f"{name}.key", "-out", f"{name}.csr")
        signed = (
            "-CA",
            "root.pem",
            "-CAkey",
            "root.key",
            "-CAcreateserial",
            "-extfile",
            "config",
            "-extensions",
            name,
            "-days",
            "30",
        )
        openssl(folder, "x509", "-req", "-in", f"{name}.csr", *signed, "-out", f"{name}.pem")
    return folder


def stamp(authority: Path, octets: bytes, signer: str = "stamps") -> bytes:
    openssl(authority, "ts", "-query", "-data", "message", "-sha256", "-cert", "-out", "query", message=octets)
    openssl(
        authority, *("ts", "-reply", "-config", "config", "-section", "here", "-queryfile", "query", "-out", "reply"),
        *("-signer", f"{signer}.pem", "-inkey", f"{signer}.key"),
    )  # fmt: skip
    return (authority / "reply").read_bytes()


def test_stamps(authority: Path, tmp_path: Path) -> None:
    """A stamp over the checkpoint of a pack holds under its root, and says when; without a root that is said."""
    note, roots = RECORD.files["log/checkpoint"], (authority / "root.pem").read_bytes()
    made = stamp(authority, note)
    pack = write_pack(RECORD, stamps={f"log/tsr/{RECORD.size}-0.tsr": made})
    folder = Folder(tmp_path)
    report = folder.check(pack, SIGNER.vkey, roots=roots)
    assert (report.code, report.faults, report.gaps, report.counts["time stamps"]) == (0, [], [], 1)
    assert [count for name, count in folder.check(pack, SIGNER.vkey).counts.items() if "vouches" in name] == [1]
    when, digest = VERIFIER.check_stamp(made, VERIFIER.x509.load_pem_x509_certificates(roots))
    assert abs(when - time.time()) < 600
    assert digest == sha256(note).digest()


def test_stamps_that_do_not_hold(authority: Path, tmp_path: Path) -> None:
    """Over another checkpoint, from another root of the same name, cut, or with any byte changed."""
    note, roots = RECORD.files["log/checkpoint"], (authority / "root.pem").read_bytes()
    good, name = stamp(authority, note), f"log/tsr/{RECORD.size}-0.tsr"
    folder = Folder(tmp_path)
    tried = [
        (stamp(authority, EARLIER), roots), (good, (authority / "other.pem").read_bytes()),
        (good[:-1], roots), (b"", roots),
    ]  # fmt: skip
    for made, trusted in tried:
        report = folder.check({**RECORD.files, name: made}, SIGNER.vkey, roots=trusted)
        assert (report.code, report.faults[0].file) == (1, name)
    chain = VERIFIER.x509.load_pem_x509_certificates(roots)
    for at in range(0, len(good), 7):
        try:
            found = VERIFIER.check_stamp(good[:at] + bytes([good[at] ^ 1]) + good[at + 1 :], chain)
        except VERIFIER.BAD:
            continue
        assert found == VERIFIER.check_stamp(good, chain)


@given(octets=st.binary(max_size=400))
def test_garbage_zips(tmp_path_factory: pytest.TempPathFactory, octets: bytes) -> None:
    """A file that is no zip."""
    path = tmp_path_factory.getbasetemp() / "garbage.zip"
    path.write_bytes(octets)
    assert VERIFIER.check(str(path), SIGNER.vkey).code == 1
