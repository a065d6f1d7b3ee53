"""Whoever changes a record is found out, by two verifiers that share no code, and the spot is named. RC-nn in
docs/bypasses.md.

The record is real (evidence.py); the packs are written from docs/spec/pack.md. A verifier receives the files, one
verifier key, and at
most one checkpoint that was kept elsewhere. Where the attacker has the log's own key, everything is chained, hashed
and signed anew.
"""

from __future__ import annotations

import base64
import dataclasses
import hmac
import io
import json
import random
import stat
import struct
import subprocess
import sys
import tempfile
import zipfile
from collections.abc import Callable, Iterator
from datetime import UTC, datetime
from hashlib import sha256
from pathlib import Path
from typing import Any

import pytest
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from doorward.ledger import checkpoint, tiles, tree
from doorward.ledger.checkpoint import NoteSigner, NoteVerifier
from doorward.ledger.encoding import canonical
from doorward.ledger.verify import Report, verify
from tests.bypass.evidence import PASSKEY, evidence
from tests.rig.signers import ssh
from tests.rig.specpack import Evidence, Files, seal_pack, write_pack
from tests.rig.verifier import PROGRAM, VERIFIER, Folder, spots
from tests.unit.guard.test_guard import ADA, DEAN, DORA, EVE
from tests.unit.ledger.conftest import FilesEvidence

RECORD, EARLIER = evidence()
assert RECORD.signer is not None
SIGNER: NoteSigner = RECORD.signer
NOW = RECORD.files["log/checkpoint"]
PACK = write_pack(RECORD)
ENTRIES = RECORD.entries
LEAVES = [json.loads(entry) for entry in ENTRIES]
BUNDLE = f"log/tile/entries/000.p/{RECORD.size}"
RECORDINGS = sorted(path for path in RECORD.files if path.startswith("recordings/"))


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Folder:
    return Folder(tmp_path_factory.mktemp("evidence"))


def ours(files: Files, *kept: bytes) -> Report:
    """What Doorward's own verifier says of a data directory."""
    notes = [(f"kept-{number}", note) for number, note in enumerate(kept)]
    return verify(FilesEvidence(files), [NoteVerifier(SIGNER.vkey)], kept=notes)


def found(folder: Folder, files: Files, *kept: bytes) -> tuple[Any, Any]:
    """The first spot that each verifier names; both must find something, and say the same of whether it is broken."""
    first, second = ours(files, *kept), folder.check(files, SIGNER.vkey, *kept)
    assert first.exit_code == second.code, (first.faults, first.gaps, second.faults, second.gaps)
    assert second.code, "nobody noticed"
    return (first.faults or first.gaps)[0], spots(second)[0]


def found_in_pack(folder: Folder, files: Files, *kept: bytes) -> Any:
    """The first spot that is named in a pack; it must be broken."""
    report = folder.check(files, SIGNER.vkey, *kept)
    assert report.code == 1, (report.faults, report.gaps)
    return report.faults[0]


def flipped(octets: bytes, at: int, bit: int = 0) -> bytes:
    changed = bytearray(octets)
    changed[at] ^= 1 << bit
    return bytes(changed)


def bundle(entries: list[bytes]) -> bytes:
    return b"".join([len(entry).to_bytes(2) + entry for entry in entries])


def chained(leaves: list[dict[str, Any]]) -> list[bytes]:
    """Leaves in this order as entries, each gateway's chain made good: what only who can sign could pass off."""
    entries: list[bytes] = []
    last: dict[str, bytes] = {}
    numbers: dict[tuple[str, str], int] = {}
    for each in leaves:
        at = each["gw"], each["boot"]
        number = numbers[at] = numbers.get(at, -1) + 1
        prev = base64.b64encode(last.get(each["gw"], bytes(32))).decode()
        entries.append(canonical({**each, "seq": number, "prev": prev}))
        last[each["gw"]] = tree.leaf_hash(entries[-1])
    return entries


def signed(entries: list[bytes], rest: Files | None = None) -> Files:
    """A log of these entries under the real key, and the recordings."""

    def read(path: str) -> bytes:
        raise FileNotFoundError(path)

    size, root, written = tiles.grow(0, entries, read)
    files = {
        path: octets for path, octets in (RECORD.files if rest is None else rest).items() if not path.startswith("log/")
    }
    files["log/checkpoint"] = checkpoint.sign_checkpoint(SIGNER.name, size, root, [SIGNER])
    return {**files, **{f"log/{path}": octets for path, octets in written.items()}}


def forged(change: Callable[[int, dict[str, Any]], dict[str, Any] | None], *, drop: tuple[int, ...] = ()) -> Evidence:
    """The record as its owner could have it who changes what events say, or drops them, and commits to it anew.
    `change` gets
    index and event, and returns another event or None."""
    leaves: list[dict[str, Any]] = []
    openings: dict[int, tuple[bytes, bytes]] = {}
    for index, each in enumerate(LEAVES):
        if index in drop:
            continue
        record, salt = RECORD.openings[index]
        event = change(index, json.loads(record))
        if event is not None:
            record = canonical(event)
            text = b"doorward/commit/v1\0" + each["t"].encode() + b"\0" + record
            each = {**each, "at": event["at"], "c": base64.b64encode(hmac.digest(salt, text, "sha256")).decode()}
        openings[len(leaves)] = (record, salt)
        leaves.append(each)
    return Evidence(signed(chained(leaves)), openings, RECORD.keys, SIGNER)


def nth(type_: str, number: int = 0) -> int:
    """The index of the n-th leaf of a type."""
    return [index for index, each in enumerate(LEAVES) if each["t"] == type_][number]


def event(index: int) -> dict[str, Any]:
    return json.loads(RECORD.openings[index][0])  # type: ignore[no-any-return]


# -- RC-01 to RC-06: files -----------------------------------------------------------------------------------


def test_rc_00_what_nobody_touched_is_sound(folder: Folder) -> None:
    """RC-00: the record and the pack are sound, in a folder and in a zip, to both verifiers. (So what follows can
    fail.)"""
    assert ours(RECORD.files, EARLIER).exit_code == 0
    for files in (RECORD.files, PACK):
        report = folder.check(files, SIGNER.vkey, EARLIER)
        assert (report.code, report.faults, report.gaps) == (0, [], [])
    assert report.counts["opened records"] == RECORD.size
    assert report.counts["signatures of votes"] == 6
    assert report.counts["opened recordings"] == 2
    whole = folder.path.parent / "pack.zip"
    whole.write_bytes(zipped(PACK))
    assert VERIFIER.check(str(whole), SIGNER.vkey, [("kept", EARLIER)]).code == 0


def zipped(files: Files, top: str = "pack/") -> bytes:
    octets = io.BytesIO()
    with zipfile.ZipFile(octets, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, content in files.items():
            archive.writestr(top + name, content)
    return octets.getvalue()


def test_rc_01_any_byte_of_any_file(folder: Folder) -> None:
    """RC-01: a bit flipped at the start, in the middle and at the end of any file; its file is named by both."""
    for path, octets in RECORD.files.items():
        for at in {0, len(octets) // 2, len(octets) - 1} if path != "log/vkey" else ():
            first, second = found(folder, {**RECORD.files, path: flipped(octets, at, at % 8)})
            assert {first.file, second.file} == {path}


def test_rc_01_any_byte_of_a_pack(folder: Folder) -> None:
    """RC-01: the same for every file of a pack."""
    for number, (path, octets) in enumerate(PACK.items()):
        for at in ({0, len(octets) // 2, len(octets) - 1} if number % 8 == 0 else {len(octets) // 3}) if octets else ():
            assert found_in_pack(folder, {**PACK, path: flipped(octets, at, at % 8)}).file in (path, "manifest.note")


@pytest.mark.parametrize("how", ["delete", "insert", "duplicate", "reorder"])
def test_rc_01_a_leaf(folder: Folder, how: str) -> None:
    """RC-01: leaves deleted, inserted, doubled and reordered in their bundle; and the same signed anew with the log's
    key, where
    the chain of the gateway gives it away without any other checkpoint."""
    at = RECORD.size // 2
    changed = {
        "delete": [*ENTRIES[:at], *ENTRIES[at + 1 :]],
        "insert": [*ENTRIES[:at], ENTRIES[3], *ENTRIES[at:]],
        "duplicate": [*ENTRIES[: at + 1], ENTRIES[at], *ENTRIES[at + 1 :]],
        "reorder": [*ENTRIES[:at], ENTRIES[at + 1], ENTRIES[at], *ENTRIES[at + 2 :]],
    }[how]
    for spot in found(folder, {**RECORD.files, BUNDLE: bundle(changed)}):
        assert spot.file == BUNDLE
    for spot in found(folder, signed(changed)):
        assert spot.place == f"leaf {at + (how == 'duplicate')}"


def test_rc_02_a_file_is_gone(folder: Folder) -> None:
    """RC-02: a deleted file is named; without the checkpoint there is no log of which one was kept elsewhere."""
    for path in set(RECORD.files) - set(NOT_EVIDENCE):
        for spot in found(folder, {name: octets for name, octets in RECORD.files.items() if name != path}, NOW):
            assert spot.file.rpartition("/")[2] in (path.rpartition("/")[2], "kept-0")


def test_rc_02_a_file_of_a_pack_is_gone_or_another_is_there(folder: Folder) -> None:
    """RC-02: every file of a pack is named by its manifest, and no other. Without a manifest it is no pack, and no
    log either."""
    for path in PACK:
        report = folder.check({name: octets for name, octets in PACK.items() if name != path}, SIGNER.vkey, EARLIER)
        assert report.code == 1, path
        assert spots(report)[0].file in (path, "manifest.json", "log/checkpoint")
    assert found_in_pack(folder, {**PACK, "more.txt": b""}).file == "manifest.json"


def test_rc_02_a_tail_is_cut(folder: Folder) -> None:
    """RC-02: a file cut anywhere is named."""
    for path in (BUNDLE, f"log/tile/0/000.p/{RECORD.size}", *RECORDINGS):
        for size in (0, len(RECORD.files[path]) // 2, len(RECORD.files[path]) - 1):
            for spot in found(folder, {**RECORD.files, path: RECORD.files[path][:size]}):
                assert spot.file == path


def test_rc_02_an_older_state_is_put_back(folder: Folder) -> None:
    """RC-02: a log rolled back to an earlier signed state fits together, and is no continuation of a later
    checkpoint."""
    size = int(EARLIER.split(b"\n")[1])
    files = signed(ENTRIES[:size])
    files["log/checkpoint"] = EARLIER
    files = {path: octets for path, octets in files.items() if LEAVES[-3]["sid"] not in path}
    _, second = found(folder, files, NOW)
    assert second.file == "kept-0"


@pytest.mark.parametrize("index", [1, 20, -1])
def test_rc_03_everything_is_rewritten_with_the_real_key(folder: Folder, index: int) -> None:
    """RC-03: a leaf is left out and all after it chained, hashed and signed anew with the log's own key. The result
    fits together,
    and a checkpoint kept elsewhere tells."""
    index %= RECORD.size
    files = signed(
        chained([each for at, each in enumerate(LEAVES) if at != index and each["t"] not in leaf_types(index)])
    )
    _, second = found(folder, files, NOW)
    assert second.file == "kept-0"


def leaf_types(index: int) -> tuple[str, ...]:
    """Leaves of sessions hang together: who takes one of them out takes care of that."""
    return (
        ("session.opened", "session.sealed", "session.closed", "session.recovered") if LEAVES[index].get("sid") else ()
    )


@pytest.mark.parametrize("member", ["seq", "prev", "boot"])
def test_rc_04_two_writers(folder: Folder, member: str) -> None:
    """RC-04: two leaves of one gateway with the same number, the same predecessor, or a start that was there
    already."""
    at = RECORD.size - 1
    changed = {**LEAVES[at], member: LEAVES[at - 2][member]}
    if member == "boot":
        changed = {**changed, "boot": LEAVES[0]["boot"], "seq": 0}
    for spot in found(folder, signed([*ENTRIES[:at], canonical(changed)])):
        assert spot.place == f"leaf {at}"


GRAMMAR: dict[str, Callable[[list[dict[str, Any]], int], list[dict[str, Any]]]] = {
    "a session without an opening": lambda leaves, at: [each for n, each in enumerate(leaves) if n != at],
    "opened twice": lambda leaves, at: [*leaves, leaves[at]],
    "a segment after the end": lambda leaves, at: [*leaves, {**leaves[nth("session.sealed")]}],
    "a segment too many": lambda leaves, at: [
        {**each, "n": 7} if n == nth("session.sealed") else each for n, each in enumerate(leaves)
    ],
    "an end with another root": lambda leaves, at: [
        {**each, "sh": leaves[at]["sh"]} if n == nth("session.closed") else each for n, each in enumerate(leaves)
    ],
    "the records of two sessions merged": lambda leaves, at: [
        {**each, "sid": leaves[at]["sid"]} if each.get("sid") == leaves[nth("session.opened", 1)]["sid"] else each
        for each in leaves
    ],
}


@pytest.mark.parametrize("how", GRAMMAR)
def test_rc_05_the_grammar_of_sessions(folder: Folder, how: str) -> None:
    """RC-05: sessions merged, opened twice, going on after their end, or without one of their parts: broken, whoever
    signed it."""
    for spot in found(folder, signed(chained(GRAMMAR[how](LEAVES, nth("session.opened"))))):
        assert spot.place.startswith("leaf ")


def test_rc_05_a_session_without_an_end_is_open(folder: Folder) -> None:
    """RC-05: a session whose gateway never came back has segments that no leaf covers: incomplete, never sound."""
    sid = LEAVES[nth("session.recovered")]["sid"]
    leaves = [each for each in LEAVES if each.get("sid") != sid or each["t"] == "session.opened"]
    first, second = found(folder, signed(chained(leaves)))
    assert first.file.endswith(f"{sid}.dwr")
    assert second.file.endswith(f"{sid}.dwr")


@pytest.mark.parametrize("other", [1, 2])
def test_rc_11_recordings_swapped(folder: Folder, other: int) -> None:
    """RC-11: the recordings of two sessions swapped, whole, with each other's header, or a segment of one in the
    other."""
    one, two = RECORDINGS[0], RECORDINGS[other]
    a, b = RECORD.files[one], RECORD.files[two]
    head, tail = a.index(b"DWS1"), b.index(b"DWS1")
    for changed in ({one: b, two: a}, {one: b[:tail] + a[head:]}, {one: a[:head] + b[tail:]}):
        for spot in found(folder, {**RECORD.files, **changed}):
            assert spot.file == one


def test_rc_06_a_separate_program_with_the_public_key_only(folder: Folder, tmp_path: Path) -> None:
    """RC-06: one file, alone in an empty folder, isolated from everything installed but `cryptography`, gives the
    answer and the
    exit code; with another key, or none of a pack's, it does not."""
    program = tmp_path / "doorward_verify.py"
    program.write_bytes(PROGRAM.read_bytes())
    (tmp_path / "policy").write_text(f"# the owner's\nlog {SIGNER.vkey}\nquorum none\n")
    (tmp_path / "other").write_text(NoteSigner(SIGNER.name, _other_key()).vkey)
    (tmp_path / "kept").write_bytes(EARLIER)
    folder.hold(PACK)
    for policy, code, word in (("policy", 0, "SOUND"), ("other", 1, "BROKEN")):
        command = [sys.executable, "-I", str(program), str(folder.path), "--trust", policy, "--kept", "kept"]
        done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, check=False, timeout=60)
        assert (done.returncode, done.stdout.splitlines()[-1], done.stderr) == (code, word, "")


def _other_key() -> Any:
    return Ed25519PrivateKey.from_private_bytes(bytes(32))


# -- RC-07: hostile files ------------------------------------------------------------------------------------


def hostile_zips() -> Iterator[tuple[str, bytes]]:
    """Zips that no pack is."""
    with_path = {
        "climbs out": "pack/../../etc/passwd", "absolute": "/etc/passwd", "a drive": "pack/C:\\x", "empty part": "pack//x",
        "control characters": "pack/a\x1b[2J", "a dot": "pack/./x",
    }  # fmt: skip
    for how, name in with_path.items():
        yield how, zipped({**{f"pack/{each}": octets for each, octets in PACK.items()}, name: b"x"}, "")
    octets = io.BytesIO()
    with zipfile.ZipFile(octets, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("pack/manifest.json", bytes(2**26))
    yield "a bomb", octets.getvalue()
    octets = io.BytesIO()
    with zipfile.ZipFile(octets, "w") as archive:
        archive.writestr("pack/manifest.json", b"{}")
        archive.writestr("pack/manifest.json", b"{}")
    yield "one name twice", octets.getvalue()
    octets = io.BytesIO()
    with zipfile.ZipFile(octets, "w") as archive:
        link = zipfile.ZipInfo("pack/manifest.json")
        link.external_attr = (stat.S_IFLNK | 0o777) << 16
        archive.writestr(link, "/etc/passwd")
    yield "a link", octets.getvalue()
    octets = io.BytesIO()
    with zipfile.ZipFile(octets, "w", zipfile.ZIP_LZMA) as archive:
        archive.writestr("pack/manifest.json", b"{}")
    yield "another compression", octets.getvalue()
    whole = zipped(PACK)
    yield "cut", whole[: len(whole) // 2]
    yield "no zip", b"PK\3\4" + bytes(100)
    directory = whole.index(b"PK\1\2")
    yield "a size that is a lie", whole[: directory + 24] + struct.pack("<I", 2**31) + whole[directory + 28 :]


@pytest.mark.filterwarnings("ignore:Duplicate name")
def test_rc_07_hostile_zips(tmp_path: Path) -> None:
    """RC-07: paths that lead out, links, doubled names, bombs, lies about sizes: refused, and nothing is unpacked
    anywhere."""
    for how, octets in hostile_zips():
        (tmp_path / "pack.zip").write_bytes(octets)
        report = VERIFIER.check(str(tmp_path / "pack.zip"), SIGNER.vkey)
        assert report.code == 1, how
        assert [each.name for each in tmp_path.iterdir()] == ["pack.zip"]


@pytest.mark.parametrize("where", ["log/checkpoint", "log/tile", "recordings", "recordings/stray.dwr"])
def test_rc_07_links_in_a_folder(tmp_path: Path, where: str) -> None:
    """RC-07: a link is not followed, wherever it points and whatever it stands for."""
    real, copy = Folder(tmp_path / "real"), tmp_path / "copy"
    real.hold(RECORD.files)
    Folder(copy).hold(RECORD.files)
    Folder(copy / "recordings").hold({})
    target = copy / where
    if target.is_dir():
        target.rename(tmp_path / "moved")
    else:
        target.unlink(missing_ok=True)
    target.symlink_to(real.path / where)
    report = VERIFIER.check(str(copy), SIGNER.vkey)
    assert (report.code, report.faults[0].file, report.faults[0].found) == (1, where, "a link or a device")


def hostile_files() -> Iterator[tuple[str, str, bytes]]:
    """Data directories: what is tried, in which file, with which bytes."""
    text = NOW.decode()
    line = text.splitlines(keepends=True)[-1]
    bad = (
        "\u2014 "
        + SIGNER.name
        + " "
        + base64.b64encode(base64.b64decode(line.split(" ")[2])[:4] + bytes(64)).decode()
        + "\n"
    )
    yield (
        "a note of more than 64 KiB",
        "log/checkpoint",
        text.encode() + b"\xe2\x80\x94 x " + base64.b64encode(bytes(65536)) + b"\n",
    )
    yield "more than 100 signatures", "log/checkpoint", (text + line * 100).encode()
    yield "no signature", "log/checkpoint", text.removesuffix(line).encode()
    yield "a wrong signature behind the right one", "log/checkpoint", (text + bad).encode()
    yield (
        "a size with a zero before it",
        "log/checkpoint",
        text.replace(f"\n{RECORD.size}\n", f"\n0{RECORD.size}\n").encode(),
    )
    yield (
        "a size beyond all bounds",
        "log/checkpoint",
        _noted(f"{SIGNER.name}\n{'9' * 30}\n{base64.b64encode(bytes(32)).decode()}\n"),
    )
    yield (
        "a size of a million million",
        "log/checkpoint",
        _noted(f"{SIGNER.name}\n{10**12}\n{base64.b64encode(bytes(32)).decode()}\n"),
    )
    yield "an extension line", "log/checkpoint", _noted("\n".join(text.split("\n")[:3]) + "\nmore\n")
    yield "another log's origin", "log/checkpoint", _noted("other\n" + "\n".join(text.split("\n")[1:3]) + "\n")
    yield "lengths beyond the bundle", BUNDLE, b"\xff\xff" + RECORD.files[BUNDLE][2:]
    yield "a bundle of a megabyte", BUNDLE, RECORD.files[BUNDLE] + bytes(2**20 + 2**19)
    yield "a header without an end", RECORDINGS[0], b"DOORREC1\n" + b"{" * 2**20
    yield "a segment of 4 GiB", RECORDINGS[0], _lengthened(RECORD.files[RECORDINGS[0]])


def _noted(text: str) -> bytes:
    return f"{text}\n{SIGNER.sign(text)}".encode()


def _lengthened(octets: bytes) -> bytes:
    at = octets.index(b"DWS1") + 72
    return octets[:at] + b"\xff\xff\xff\xff" + octets[at + 4 :]


def test_rc_07_hostile_files(folder: Folder) -> None:
    """RC-07: notes, bundles and recordings that are too large, too long, or lie about it are refused before they are
    read."""
    for how, path, octets in hostile_files():
        for spot in found(folder, {**RECORD.files, path: octets}):
            assert spot.file == path or "a size of a million" in how, (how, spot)


def test_rc_07_an_unknown_signature_is_ignored(folder: Folder) -> None:
    """RC-07: signatures of types and keys that nobody knows say nothing, for and against."""
    lines = (("other.example", bytes(2424)), (SIGNER.name, bytes(9)))
    unknown = "".join([f"\u2014 {name} {base64.b64encode(octets).decode()}\n" for name, octets in lines])
    files = {**RECORD.files, "log/checkpoint": NOW + unknown.encode()}
    assert ours(files).exit_code == folder.check(files, SIGNER.vkey).code == 0


def test_rc_07_an_entry_of_more_than_65535_bytes(folder: Folder) -> None:
    """RC-07: the length of an entry wraps: what would then be read as leaves is not what is in the tree. Neither are
    entries of more
    than a leaf may have."""
    with pytest.raises(Exception, match=r"\w"):
        tiles.encode_bundle([bytes(65536)])
    long = b"x" * 5000
    for spot in found(folder, {**RECORD.files, BUNDLE: bundle([*ENTRIES[:-1], long])}):
        assert spot.file == BUNDLE
    large = canonical({**LEAVES[-1], "rc": "s" * 1024})
    for spot in found(folder, signed([*ENTRIES[:-1], large])):
        assert spot.place == f"leaf {RECORD.size - 1}"


def test_rc_07_a_leaf_that_is_a_node(folder: Folder) -> None:
    """RC-07: two hashes passed off as a leaf, so that a smaller tree has the same root: leaves and nodes are hashed
    apart, and 64 or 65
    bytes are no leaf."""
    pair = [tree.leaf_hash(entry) for entry in ENTRIES[:2]]
    for entry in (b"".join(pair), b"\1" + b"".join(pair)):
        assert tree.leaf_hash(entry) != tree.node_hash(*pair)
        assert VERIFIER.sha256(b"\0", entry) != VERIFIER.node(*pair)
        for spot in found(folder, signed([entry, *ENTRIES[1:]])):
            assert spot.place == "leaf 0"


# -- RC-08 to RC-10: canonical forms, commitments, clocks ----------------------------------------------------

LEAF = ENTRIES[0]
FORMS = {
    "white space": LEAF.replace(b'"v":1', b'"v": 1'),
    "a doubled name": LEAF.replace(b'"v":1', b'"v":1,"v":1'),
    "another order": b'{"v":1,' + LEAF[1:].replace(b',"v":1', b""),
    "a fraction": LEAF.replace(b'"seq":0', b'"seq":0.0'),
    "an exponent": LEAF.replace(b'"seq":0', b'"seq":0e0'),
    "minus zero": LEAF.replace(b'"seq":0', b'"seq":-0'),
    "a leading zero": LEAF.replace(b'"seq":0', b'"seq":00'),
    "2^53": LEAF.replace(b'"seq":0', b'"seq":9007199254740992'),
    "an escape": LEAF.replace(b'"gw":"gw-1"', b'"gw":"gw\\u002d1"'),
    "another alphabet": LEAF.replace(b"gw-1", "g\u0456-1".encode()),
    "a byte order mark": b"\xef\xbb\xbf" + LEAF,
    "a line feed": LEAF + b"\n",
    "a member too many": LEAF.replace(b'"v":1', b'"v":1,"w":1'),
    "a version to come": LEAF.replace(b'"v":1', b'"v":2'),
    "spare bits": LEAF.replace(b'AAAA="', b'AAAB="'),
    "a type in capitals": LEAF.replace(b"log.started", b"log.Started"),
}


@pytest.mark.parametrize("how", FORMS)
def test_rc_08_one_leaf_one_text(folder: Folder, how: str) -> None:
    """RC-08: any other spelling of a leaf is no leaf, though it is in a tree that is rightly signed."""
    assert FORMS[how] != LEAF
    for spot in found(folder, signed([FORMS[how], *ENTRIES[1:]])):
        assert spot.place == "leaf 0"


@pytest.mark.parametrize(
    "text",
    [
        '{"a":1,"a":1}',
        '{"b":1,"a":1}',
        '{"a":1.0}',
        '{"a":1e3}',
        '{"a":NaN}',
        '{"a":9007199254740992}',
        '{"a":-0}',
        '{ "a":1}',
        "\ufeff{}",
        '{"a":"\\u00e9"}',
        '{"a":"\\/"}',
        '{"a":"\\ud800"}',
        '{"\U0001f600":1,"\ufb33":2}'[::1],
        "[" * 65 + "]" * 65,
        "[" * 100_000,
        "",
        "{}x",
        '{"a":"\x7f\\u000A"}',
        "1" * 5000,
    ],
)
def test_rc_08_records_have_one_text_too(text: str) -> None:
    """RC-08: doubled names, other orders, fractions, large numbers, escapes, lone surrogates, and nesting without
    end, in what leaves
    commit to."""
    if text.startswith('{"\U0001f600'):
        assert VERIFIER.canonical(text.encode()) == {"\U0001f600": 1, "\ufb33": 2}
        return
    with pytest.raises(VERIFIER.BAD):
        VERIFIER.canonical(text.encode())


@pytest.mark.parametrize("how", ["salt", "short salt", "record", "type", "a plain hash"])
def test_rc_09_a_commitment_binds_and_hides(how: str) -> None:
    """RC-09: another salt, a shorter one that HMAC would pad, another record and another type open nothing; and who
    guesses the record
    cannot tell without the salt."""
    index = nth("approval.voted")
    record, salt = RECORD.openings[index]
    assert salt not in b"".join(RECORD.files.values())
    changed: dict[str, tuple[bytes, bytes]] = {
        "salt": (record, flipped(salt, 0)), "short salt": (record, salt[:31]),
        "record": (flipped(record, 9), salt),
        "type": (record.replace(b"approval.voted", b"approval.asked"), salt), "a plain hash": (record, bytes(32)),
    }  # fmt: skip
    opened = dataclasses.replace(RECORD, openings={**RECORD.openings, index: changed[how]})
    lines = {**PACK, "openings.jsonl": write_openings(opened)}
    report = _resealed(lines)
    assert report.code == 1
    assert report.faults[0].file == "openings.jsonl"
    assert str(index - 1) in report.faults[0].place or str(index) in report.faults[0].place


def write_openings(opened: Evidence) -> bytes:
    return b"".join([
        b'{"leaf":%d,"record":%s,"salt":"%s"}\n' % (index, record, base64.b64encode(salt))
        for index, (record, salt) in sorted(opened.openings.items())
    ])  # fmt: skip


def _resealed(files: Files, *kept: bytes) -> Any:
    """What the verifier says of a pack whose manifest is signed anew, with the real key."""
    about = {name: value for name, value in json.loads(PACK["manifest.json"]).items() if name in (
        "origin", "size", "root", "from", "to", "from_leaf", "to_leaf")}  # fmt: skip
    with tempfile.TemporaryDirectory() as path:
        return Folder(Path(path)).check(seal_pack(files, SIGNER, about), SIGNER.vkey, *kept)


def test_rc_10_a_clock_that_goes_back_reorders_nothing(folder: Folder) -> None:
    """RC-10: sequence numbers say what came first. Leaves whose time steps back stay where they are, and are sound;
    leaves sorted by time
    instead are not."""
    leaves = [{**each, "at": each["at"] - (10_000 if index > 20 else 0)} for index, each in enumerate(LEAVES)]
    files = signed(chained(leaves))
    assert ours(files).exit_code == folder.check(files, SIGNER.vkey).code == 0
    entries = sorted(chained(leaves), key=lambda entry: json.loads(entry)["at"])
    found(folder, signed(entries))


# -- RC-12 to RC-15: votes -----------------------------------------------------------------------------------


def resigned(said: dict[str, Any], signer: str = DORA.id, **changes: Any) -> dict[str, Any]:
    """A vote whose request is changed, and signed by somebody's SSH key."""
    request = canonical({**json.loads(said["body"]["request"]), **changes})
    return {
        **said,
        "body": {**said["body"], "request": request.decode(), "signature": ssh(signer).vote(request, LEAVES[0]["gw"])},
    }


VOTE, REQUEST, SPENT, RAN = (
    nth(each) for each in ("approval.voted", "approval.requested", "approval.spent", "operation.permitted")
)
PASSKEY_VOTE = nth("approval.voted", 1)
NO = nth("approval.voted", 2)
GRANT_RAN = nth("operation.permitted", 2)
BROKE = nth("approval.voted", 4)


def body(said: dict[str, Any], **changes: Any) -> dict[str, Any]:
    return {**said, "body": {**said["body"], **changes}}


def _bent(said: dict[str, Any], **client: Any) -> dict[str, Any]:
    """The passkey's vote with other client data, rightly signed by the passkey."""
    request = said["body"]["request"].encode()
    return body(said, signature=PASSKEY.vote(request, **client))


def _doubled(said: dict[str, Any]) -> dict[str, Any]:
    """Client data with a member twice, rightly signed."""
    credential = json.loads(json.dumps(said["body"]["signature"]["credential"]))
    client = VERIFIER.unbase64url(credential["response"]["clientDataJSON"])[:-1] + b', "type": "webauthn.get"}'
    authenticator = VERIFIER.unbase64url(credential["response"]["authenticatorData"])
    made = PASSKEY._private.sign(authenticator + sha256(client).digest(), ec.ECDSA(hashes.SHA256()))
    for name, octets in (("clientDataJSON", client), ("signature", made)):
        credential["response"][name] = base64.urlsafe_b64encode(octets).decode().rstrip("=")
    return body(said, signature={"method": "webauthn", "credential": credential})


FORGERIES: dict[str, tuple[int, Callable[[dict[str, Any]], dict[str, Any]], int]] = {
    # what is tried -> the event that is changed, how, and the event where it shows
    "a no becomes a yes": (NO, lambda said: body(said, approve=True), NO),
    "a yes becomes a no": (VOTE, lambda said: body(said, approve=False), VOTE),
    "a no becomes a yes, in the request too": (
        NO,
        lambda said: body(said, approve=True, request=said["body"]["request"].replace('"deny"', '"approve"')),
        NO,
    ),
    "another approver": (VOTE, lambda said: {**said, "actor": EVE.id}, VOTE),
    "another approver's key": (VOTE, lambda said: resigned(said, DEAN.id), VOTE),
    "the requester": (VOTE, lambda said: {**resigned(said, ADA.id, approver=ADA.id), "actor": ADA.id}, VOTE),
    "another statement in what is signed": (VOTE, lambda said: resigned(said, stmt_commit="0" * 64), VOTE),
    "another preview than the terms name": (REQUEST, lambda said: body(said, preview={"rows": 1}), REQUEST),
    "another target in what is signed": (VOTE, lambda said: resigned(said, target="other"), VOTE),
    "a longer time in what is signed": (VOTE, lambda said: resigned(said, exp=2**50), VOTE),
    "other terms than what is signed": (
        REQUEST,
        lambda said: body(said, terms={**said["body"]["terms"], "stmt_commit": "0" * 64}),
        VOTE,
    ),
    "more time than what is signed": (
        REQUEST,
        lambda said: body(said, terms={**said["body"]["terms"], "exp": 2**50}),
        VOTE,
    ),
    "fewer people than what is signed": (
        REQUEST,
        lambda said: body(said, terms={**said["body"]["terms"], "quorum": {"k": 0, "of": [], "seats": {}}}),
        VOTE,
    ),
    "another namespace": (
        VOTE,
        lambda said: body(said, signature=ssh(DORA.id).vote(said["body"]["request"].encode(), "elsewhere")),
        VOTE,
    ),
    "no signature": (VOTE, lambda said: body(said, signature={}), VOTE),
    "a key nobody registered": (VOTE, lambda said: body(said, key="0" * 32), VOTE),
    "a passkey's vote for another request": (
        PASSKEY_VOTE,
        lambda said: body(said, signature=PASSKEY.vote(said["body"]["request"].encode() + b" ")),
        PASSKEY_VOTE,
    ),
    "a passkey at another site": (PASSKEY_VOTE, lambda said: _bent(said, origin="http://evil.test"), PASSKEY_VOTE),
    "a passkey in a frame": (PASSKEY_VOTE, lambda said: _bent(said, crossOrigin=True), PASSKEY_VOTE),
    "a passkey below another page": (
        PASSKEY_VOTE,
        lambda said: _bent(said, topOrigin="http://evil.test"),
        PASSKEY_VOTE,
    ),
    "a passkey that registers": (PASSKEY_VOTE, lambda said: _bent(said, kind="webauthn.create"), PASSKEY_VOTE),
    "a passkey without verification": (PASSKEY_VOTE, lambda said: _bent(said, flags=1), PASSKEY_VOTE),
    "a passkey without presence": (PASSKEY_VOTE, lambda said: _bent(said, flags=4), PASSKEY_VOTE),
    "a passkey of another RP": (PASSKEY_VOTE, lambda said: _bent(said, rp_id="evil.test"), PASSKEY_VOTE),
    "client data with a member twice": (PASSKEY_VOTE, _doubled, PASSKEY_VOTE),
    "spent after its time": (SPENT, lambda said: {**said, "at": 2**50}, SPENT),
    "spent for another operation": (
        SPENT,
        lambda said: body(said, operation=event(nth("operation.refused"))["id"]),
        RAN,
    ),
    "another statement ran": (RAN, lambda said: body(said, text="drop table orders"), RAN),
    "as another role": (RAN, lambda said: body(said, role="postgres"), RAN),
    "under another search_path": (RAN, lambda said: body(said, search_path="evil"), RAN),
    "a grant by other policies": (
        GRANT_RAN,
        lambda said: body(said, decision={**said["body"]["decision"], "policy": "0" * 64}),
        GRANT_RAN,
    ),
    "a grant for something else": (GRANT_RAN, lambda said: body(said, effect="define"), GRANT_RAN),
    "a grant after its time": (
        nth("grant.used"),
        lambda said: {**body(said, counted_at=2**49), "at": 2**50},
        nth("grant.used"),
    ),
    "a grant used by somebody else": (nth("grant.used"), lambda said: {**said, "actor": EVE.id}, nth("grant.used")),
    "more rows than a grant has": (nth("grant.used"), lambda said: body(said, reserved=11), nth("grant.used")),
    "a grant settled for another": (nth("grant.settled"), lambda said: body(said, operation="0"), nth("grant.settled")),
    "glass broken by somebody else": (BROKE, lambda said: {**said, "actor": DEAN.id}, BROKE),
    "glass broken without verification": (
        BROKE,
        lambda said: body(said, signature={"method": "webauthn", "credential": {}}),
        BROKE,
    ),
    "a review that says the contrary": (
        nth("break_glass.reviewed"),
        lambda said: body(said, justified=False),
        nth("break_glass.reviewed"),
    ),
    "a key of another owner": (
        nth("approver_key.registered"),
        lambda said: {**said, "actor": EVE.id},
        nth("approver_key.registered"),
    ),
    "another key under that id": (
        nth("approver_key.registered"),
        lambda said: body(said, public_key=ssh("mallory").public.line),
        nth("approver_key.registered"),
    ),
    "a key whose owner did not prove it": (
        nth("approver_key.registered"),
        lambda said: body(
            said, proof={**said["body"]["proof"], "signature": ssh("mallory").sign(b"{}", "doorward-key@gw-1")}
        ),
        nth("approver_key.registered"),
    ),
    "what has no kind at all": (VOTE, lambda said: body(said, groups=5), VOTE),
}


@pytest.mark.parametrize("how", FORGERIES)
def test_rc_12_votes_are_signed(folder: Folder, how: str) -> None:
    """RC-12: whoever has the log's key and all others but an approver's changes what was asked, signed, spent or run,
    and commits, chains
    and signs everything anew. No other checkpoint is needed: the votes do not hold, and the event is named."""
    index, change, shows = FORGERIES[how]
    pack = write_pack(forged(lambda at, said: change(said) if at == index else None))
    spot = found_in_pack(folder, pack)
    assert (spot.file, spot.place) == ("openings.jsonl", f"leaf {shows}"), spot


@pytest.mark.parametrize(
    "type_", ["approver_key.registered", "approval.requested", "approval.voted", "approval.spent", "grant.used"]
)
def test_rc_13_a_step_of_an_approval_is_left_out(folder: Folder, type_: str) -> None:
    """RC-13: without the key, the question, the vote, or the use, what ran was not approved."""
    index = nth(type_)
    assert found_in_pack(folder, write_pack(forged(lambda at, said: None, drop=(index,)))).file == "openings.jsonl"


@pytest.mark.parametrize("what", ["spent", "ran", "ran under a grant", "a grant is used", "a key is registered"])
def test_rc_13_an_approval_is_used_twice(folder: Folder, what: str) -> None:
    """RC-13: what may happen once is there twice."""
    index = {"spent": SPENT, "ran": RAN, "ran under a grant": GRANT_RAN, "a grant is used": nth("grant.used"),
             "a key is registered": nth("approver_key.registered")}[what]  # fmt: skip
    twice = [*range(RECORD.size), index]
    leaves = [*LEAVES, {**LEAVES[index], "boot": LEAVES[-1]["boot"]}]
    openings = {number: RECORD.openings[at] for number, at in enumerate(twice)}
    pack = write_pack(Evidence(signed(chained(leaves)), openings, RECORD.keys, SIGNER))
    spot = found_in_pack(folder, pack)
    assert (spot.file, spot.place) == ("openings.jsonl", f"leaf {RECORD.size}")


@pytest.mark.parametrize(
    ("first", "second"),
    [
        ("approval.voted", "approval.spent"),
        ("approval.spent", "operation.permitted"),
        ("approval.requested", "approval.voted"),
        ("approver_key.registered", "approval.voted"),
    ],
)
def test_rc_13_in_another_order(folder: Folder, first: str, second: str) -> None:
    """RC-13: the vote comes before the dispatch, the question before the vote, the key before all of them."""
    places = list(range(RECORD.size))
    one, two = nth(first), nth(second)
    places[one], places[two] = two, one
    moved = [{**LEAVES[at]} for at in places]
    openings = {number: RECORD.openings[at] for number, at in enumerate(places)}
    pack = write_pack(Evidence(signed(chained(moved)), openings, RECORD.keys, SIGNER))
    assert found_in_pack(folder, pack).file == "openings.jsonl"


@pytest.mark.parametrize("who", ["a people's", "an agent's"])
def test_rc_13_a_key_that_was_revoked(folder: Folder, who: str) -> None:
    """RC-13: a vote by a key that had been revoked, or that is revoked between vote and use, lets nothing run."""
    at = VOTE if who == "a people's" else SPENT
    revoked = event(nth("approver_key.registered"))
    record = canonical(
        {**revoked, "type": "approver_key.revoked", "at": LEAVES[at]["at"], "body": {"key": revoked["body"]["key"]}}
    )
    salt = bytes(32)
    text = b"doorward/commit/v1\0approver_key.revoked\0" + record
    new = {**LEAVES[at], "t": "approver_key.revoked", "c": base64.b64encode(hmac.digest(salt, text, "sha256")).decode()}
    leaves = [*LEAVES[:at], new, *LEAVES[at:]]
    openings = {n + (n >= at): opening for n, opening in RECORD.openings.items()} | {at: (record, salt)}
    pack = write_pack(Evidence(signed(chained(leaves)), openings, RECORD.keys, SIGNER))
    spot = found_in_pack(folder, pack)
    assert (spot.file, spot.place) == ("openings.jsonl", f"leaf {at + 1}")


# -- RC-14: deletion and holds ------------------------------------------------------------------------

SID = LEAVES[nth("session.opened")]["sid"]
MONTH = datetime.fromtimestamp(LEAVES[0]["at"] // 1000, UTC)


def deletion(*more: dict[str, Any], at: int = 0) -> Files:
    """The record in a class of 13 months, with the first session's recording deleted."""
    month = (MONTH.year * 12 + MONTH.month - 1 + 1 + 13) % 12, (MONTH.year * 12 + MONTH.month + 13) // 12
    due = int(datetime(month[1], month[0] + 1, 1, tzinfo=UTC).timestamp() * 1000)
    tail = [{**LEAVES[-1], "at": due + at, **each} for each in more]
    leaves = [{**each, "rc": "std-13m"} for each in LEAVES] + [
        {name: value for name, value in each.items() if value is not None} for each in tail
    ]
    files = signed(chained(leaves), RECORD.files)
    return {path: octets for path, octets in files.items() if SID not in path}


def deleted_epoch(class_: str = "std-13m") -> dict[str, Any]:
    said = f"{class_}.{MONTH:%Y-%m}".encode()
    sh = base64.b64encode(sha256(b"doorward/epoch/v1\0" + said).digest()).decode()
    return {"t": "retention.deleted", "n": MONTH.year * 100 + MONTH.month, "sh": sh}


GONE = {"t": "recording.deleted", "sid": SID}


def test_rc_14_what_is_due_may_be_deleted(folder: Folder) -> None:
    """RC-14: a recording that is due, said to be deleted, and gone: sound. While it is there still it is incomplete.
    (So what
    follows can fail.)"""
    files = deletion(GONE, deleted_epoch())
    assert ours(files).exit_code == folder.check(files, SIGNER.vkey).code == 0
    path = next(path for path in RECORDINGS if SID in path)
    assert ours({**files, path: RECORD.files[path]}).exit_code == 2
    assert folder.check({**files, path: RECORD.files[path]}, SIGNER.vkey).code == 2


DELETIONS: dict[str, Callable[[], Files]] = {
    "without a word": deletion,
    "a millisecond early": lambda: deletion(GONE, at=-1),
    "a class that is kept for ever": lambda: signed(chained([*LEAVES, {**LEAVES[-1], **GONE, "at": 2**50}])),
    "held": lambda: deletion({"t": "recording.held", "sid": SID}, GONE),
    "released, and held again": lambda: deletion(
        {"t": "recording.held", "sid": SID},
        {"t": "recording.released", "sid": SID},
        {"t": "recording.held", "sid": SID},
        GONE,
    ),
    "of another session": lambda: deletion({**GONE, "sid": LEAVES[nth("session.opened", 1)]["sid"]}),
    "of no session": lambda: deletion({**GONE, "sid": SID[:-4] + "0000"}),
    "a month of no session, early": lambda: deletion(GONE, {**deleted_epoch(), "at": 0}),
    "a month of a class that there is not": lambda: deletion(GONE, deleted_epoch("std-1m")),
    "a month for ever": lambda: deletion(GONE, deleted_epoch("std")),
}


@pytest.mark.parametrize("how", DELETIONS)
def test_rc_14_nothing_is_deleted_early_or_held_or_silently(folder: Folder, how: str) -> None:
    """RC-14: a deletion without a leaf, before it is due, of what is held, or of what is not there: broken, whoever
    signed it."""
    files = DELETIONS[how]()
    for spot in found(folder, files):
        assert spot.place.startswith("leaf ") or SID in spot.file, spot


# -- RC-16: packs --------------------------------------------------------------------------------------------


def _lines(name: str, change: Callable[[list[bytes]], list[bytes]]) -> Callable[[Files], Files]:
    return lambda files: {**files, name: b"".join(change(files[name].splitlines(keepends=True)))}


def _json(name: str, change: Callable[[Any], Any]) -> Callable[[Files], Files]:
    def made(files: Files) -> Files:
        said = json.loads(files[name])
        change(said)
        return {**files, name: canonical(said)}

    return made


def _proof(change: Callable[[list[bytes]], list[bytes]]) -> Callable[[Files], Files]:
    name = next(path for path in sorted(PACK) if path.endswith(".tlog-proof"))
    return lambda files: {**files, name: b"\n".join(change(files[name].split(b"\n")))}


def _recording_of(number: int) -> str:
    return f"samples/A.8.2/sessions-{number}/recording.dwr"


BENT: dict[str, tuple[Callable[[Files], Files], str]] = {
    "an opening is left out": (
        _lines("openings.jsonl", lambda lines: [each for n, each in enumerate(lines) if n != nth("session.opened")]),
        "tables/",
    ),
    "a vote's opening is left out": (
        _lines("openings.jsonl", lambda lines: lines[:VOTE] + lines[VOTE + 1 :]),
        "openings.jsonl",
    ),
    "an opening twice": (_lines("openings.jsonl", lambda lines: [lines[0], *lines]), "openings.jsonl"),
    "openings in another order": (_lines("openings.jsonl", lambda lines: lines[::-1]), "openings.jsonl"),
    "an opening of a leaf that is not there": (
        _lines(
            "openings.jsonl",
            lambda lines: [*lines, lines[-1].replace(b'{"leaf":%d' % (RECORD.size - 1), b'{"leaf":999')],
        ),
        "log/checkpoint.end",
    ),
    "records of two leaves swapped": (
        _lines(
            "openings.jsonl",
            lambda lines: [
                lines[1].replace(b'"leaf":1', b'"leaf":0'),
                lines[0].replace(b'"leaf":0', b'"leaf":1'),
                *lines[2:],
            ],
        ),
        "openings.jsonl",
    ),
    "a row is left out": (_lines("tables/approvals.jsonl", lambda lines: lines[1:]), "tables/approvals.csv"),
    "a row is left out of both forms": (
        lambda files: _lines("tables/approvals.csv", lambda lines: [lines[0], *lines[2:]])(
            _lines("tables/approvals.jsonl", lambda lines: lines[1:])(files)
        ),
        "population.json",
    ),
    "a row says another leaf": (
        _lines("tables/approvals.jsonl", lambda lines: [lines[0].replace(b'"gw_seq":', b'"gw_seq":1'), *lines[1:]]),
        "tables/approvals.jsonl",
    ),
    "a row at another time": (
        _lines("tables/approvals.jsonl", lambda lines: [lines[0].replace(b'Z"', b'0Z"'), *lines[1:]]),
        "tables/approvals.jsonl",
    ),
    "a cell differs between the two forms": (
        _lines("tables/approvals.csv", lambda lines: [lines[0], lines[1].replace(b"true", b"false"), *lines[2:]]),
        "tables/approvals.csv",
    ),
    "a formula in a cell": (
        _lines("tables/approvals.csv", lambda lines: [each.replace(b"'=", b"=") for each in lines]),
        "tables/approvals.csv",
    ),
    "a row that rests on what is not opened": (
        _lines("openings.jsonl", lambda lines: lines[: nth("session.closed")] + lines[nth("session.closed") + 1 :]),
        "tables/sessions.jsonl",
    ),
    "counts that are too small": (
        _json("population.json", lambda said: said["tables"][0].update(rows=1)),
        "population.json",
    ),
    "counts that hide a row": (
        _json("population.json", lambda said: said["tables"][0]["reconcile"]["approval.voted"].update(leaves=4)),
        "population.json",
    ),
    "counts of leaves that are not there": (
        _json("population.json", lambda said: said["leaves"].update({"log.beat": 1})),
        "population.json",
    ),
    "a seed that somebody chose": (
        _json("samples/sample.json", lambda said: said.update(seed="0" * 64)),
        "samples/sample.json",
    ),
    "another auditor": (
        _json("samples/sample.json", lambda said: said.update(auditor="a friend")),
        "samples/sample.json",
    ),
    "rows that somebody chose": (
        _json("samples/sample.json", lambda said: said["samples"][0].update(leaves=said["samples"][0]["leaves"][::-1])),
        "samples/sample.json",
    ),
    "a proof too short": (_proof(lambda lines: lines[:3] + lines[4:]), "tlog-proof"),
    "a proof too long": (_proof(lambda lines: lines[:4] + lines[3:]), "tlog-proof"),
    "a proof of 64 hashes": (
        _proof(lambda lines: lines[:3] + [lines[3]] * 64 + lines[lines.index(b"") :]),
        "tlog-proof",
    ),
    "a proof of another leaf": (_proof(lambda lines: [*lines[:2], b"index 0", *lines[3:]]), "tlog-proof"),
    "a proof of a leaf beyond the tree": (_proof(lambda lines: [*lines[:2], b"index 47000", *lines[3:]]), "tlog-proof"),
    "a proof under another checkpoint": (
        _proof(lambda lines: lines[: lines.index(b"") + 1] + EARLIER.split(b"\n")),
        "tlog-proof",
    ),
    "recordings swapped": (
        lambda files: {**files, _recording_of(1): files[_recording_of(2)], _recording_of(2): files[_recording_of(1)]},
        "recording.dwr",
    ),
    "another key for a recording": (
        lambda files: {**files, _recording_of(1).replace(".dwr", ".key"): bytes(32).hex().encode() + b"\n"},
        "recording.dwr",
    ),
    "a period that hides leaves": (lambda files: files, "manifest.json"),
}


@pytest.mark.parametrize("how", BENT)
def test_rc_16_a_pack_that_says_more_than_the_log(folder: Folder, how: str) -> None:
    """RC-16: whoever made the pack leaves out, adds or changes what it says, and signs the manifest with the log's
    key."""
    change, where = BENT[how]
    about = json.loads(PACK["manifest.json"])
    if how == "a period that hides leaves":
        about["from"] += 1
    about = {name: about[name] for name in ("origin", "size", "root", "from", "to", "from_leaf", "to_leaf")}
    spot = found_in_pack(folder, seal_pack(change(dict(PACK)), SIGNER, about))
    assert where in spot.file, spot


# -- RC-17: proofs -------------------------------------------------------------------------------------------


@pytest.mark.parametrize("size", [0, 1, 2, 3, 4, 7, 8, 9, 16, 31, 32, 33])
def test_rc_17_proofs_of_every_size(size: int) -> None:
    """RC-17: of trees of no, one and 2^k leaves both verifiers take the right proof of each leaf, and none that is
    longer, shorter, of
    another leaf, of another tree, or has a hash changed."""
    hashed = [sha256(b"%d" % number).digest() for number in range(size)]
    node = tree.nodes(hashed)
    root = VERIFIER.tree_root(hashed)
    assert root == (tree.root_of(size, node) if size else tree.EMPTY_ROOT)
    with pytest.raises(VERIFIER.BAD):
        VERIFIER.root_by_proof(size, size, bytes(32), [])
    for index in range(size):
        proof = tree.inclusion_proof(index, size, node)
        assert VERIFIER.root_by_proof(index, size, hashed[index], proof) == root
        bent = (
            [[*proof, bytes(32)], proof[:-1], [bytes(32), *proof], [*proof] * 64]
            if proof
            else [[bytes(32)], [bytes(32)] * 64]
        )
        bent += [[*proof[:at], flipped(proof[at], 3), *proof[at + 1 :]] for at in range(len(proof))]
        for each in bent:
            try:
                assert VERIFIER.root_by_proof(index, size, hashed[index], each) != root
            except ValueError:
                pass
            with pytest.raises(Exception, match=r"\w"):
                tree.verify_inclusion(hashed[index], index, size, each, root)
        if size > 1 and proof:
            try:
                assert VERIFIER.root_by_proof((index + 1) % size, size, hashed[index], proof) != root
            except ValueError:
                pass


# -- RC-20: a thousand mutations -----------------------------------------------------------------------------

NOT_EVIDENCE = {
    "log/vkey": "a convenience, never a root of trust: a verifier has its key from elsewhere (ledger.md, 1)",
    **{
        path: "a narrower tile from before; it may be deleted once a wider one is published (ledger.md, 5)"
        for path in RECORD.files
        if ".p/" in path and not path.endswith(f".p/{RECORD.size}")
    },
}
# Deleting these changes nothing that is evidence. Nor does, in a pack whose maker signs it anew, what is said in words
# (methodology, summaries, snapshots, the rule of a table), which rests on the maker's word anyway; and an opening that
# no row and no vote rests on.

KINDS = (
    *(
        "flip",
        "delete",
        "truncate",
        "append",
        "reorder",
        "swap",
        "roll back",
        "fork with the real key",
        "a session is deleted",
    ),
    *(
        "flip in a pack",
        "delete in a pack",
        "truncate in a pack",
        "swap in a pack",
        "a pack is sealed anew",
        "a forked pack",
    ),
)


def mutated(dice: random.Random, kind: str) -> tuple[Files, tuple[bytes, ...], tuple[str, ...]]:
    """Files with one thing wrong; checkpoints kept elsewhere; the files of which one must be named ((): any)."""
    files = dict(PACK if "pack" in kind else RECORD.files)
    names = sorted(name for name in files if name != "log/vkey" and files[name])
    path = dice.choice(names)
    octets = files[path]
    match kind:
        case "flip" | "flip in a pack":
            return (
                {**files, path: flipped(octets, dice.randrange(len(octets)), dice.randrange(8))},
                (),
                (path, "manifest.note"),
            )
        case "delete" | "delete in a pack":
            path = dice.choice([name for name in names if name not in NOT_EVIDENCE])
            del files[path]
            return files, (NOW,), (path, "manifest.json", "log/checkpoint", "kept-0")
        case "truncate" | "truncate in a pack":
            return {**files, path: octets[: dice.randrange(len(octets))]}, (), (path, "manifest.note")
        case "append":
            return {**files, path: octets + dice.randbytes(dice.randrange(1, 90))}, (), (path,)
        case "swap" | "swap in a pack":
            one, two = dice.sample([name for name in names if "pack" in kind or name in RECORDINGS], 2)
            return {**files, one: files[two], two: files[one]}, (), (one, two, "manifest.json", "manifest.note")
        case "reorder":
            at, to = dice.sample(range(RECORD.size), 2)
            entries = list(ENTRIES)
            entries[at], entries[to] = entries[to], entries[at]
            if dice.random() < 0.5:
                return {**files, BUNDLE: bundle(entries)}, (), (BUNDLE,)
            return signed(entries), (), ()
        case "roll back":
            files = signed(ENTRIES[: dice.randrange(1, RECORD.size)])
            return files, (NOW,), ()
        case "fork with the real key" | "a forked pack":
            leaves = [dict(each) for each in LEAVES]
            at = dice.randrange(RECORD.size)
            if dice.random() < 0.5:
                leaves[at]["at"] += dice.randrange(1, 10**6)
            else:
                leaves[at]["rc"] = "other"
            made = signed(chained(leaves))
            return (
                (write_pack(Evidence(made, RECORD.openings, RECORD.keys, SIGNER)) if "pack" in kind else made),
                (NOW,),
                (),
            )
        case "a session is deleted":
            sid = dice.choice([each["sid"] for each in LEAVES if each.get("sid")])
            files = signed(chained([each for each in LEAVES if each.get("sid") != sid]))
            return {name: content for name, content in files.items() if sid not in name}, (NOW,), ()
        case _:  # a pack is sealed anew: its maker changes a file that is not the log, and signs that
            path = dice.choice(["openings.jsonl", "population.json", *[name for name in names if is_table(name)]])
            about = json.loads(PACK["manifest.json"])
            about = {name: about[name] for name in ("origin", "size", "root", "from", "to", "from_leaf", "to_leaf")}
            return seal_pack({**PACK, path: b"".join(_bent_lines(dice, path))}, SIGNER, about), (), ()


def _bent_lines(dice: random.Random, path: str) -> list[bytes]:
    """The lines of a file of the pack, with a bit flipped, one gone that something rests on, or another count."""
    lines = PACK[path].splitlines(keepends=True)
    if path == "population.json":
        said = json.loads(PACK[path])
        counts = [
            said["leaves"],
            *said["tables"],
            *[one for each in said["tables"] for one in each["reconcile"].values()],
        ]
        chosen = dice.choice(counts)
        name = dice.choice([name for name, value in sorted(chosen.items()) if type(value) is int and name != "version"])
        chosen[name] += dice.choice((-1, 1, 100))
        return [canonical(said)]
    number = dice.randrange(len(lines))
    if dice.random() < 0.5:
        at = dice.randrange(len(lines[number]))
        return [*lines[:number], flipped(lines[number], at, dice.randrange(8)), *lines[number + 1 :]]
    if path == "openings.jsonl":
        number = dice.choice([index for index, each in enumerate(LEAVES) if each["t"].startswith(VERIFIER.VOTING)])
    return lines[:number] + lines[number + 1 :]


def base(name: str) -> str:
    return name.rpartition("/")[2]


def is_table(name: str) -> bool:
    return name.startswith("tables/")


def judge(folder: Folder, seed: int) -> str:
    """One mutation: both verifiers find it, and say where."""
    dice = random.Random(seed)  # noqa: S311
    kind = KINDS[seed % len(KINDS)]
    files, kept, where = mutated(dice, kind)
    if "pack" in kind:
        report = folder.check(files, SIGNER.vkey, *kept)
    else:
        first, report = ours(files, *kept), folder.check(files, SIGNER.vkey, *kept)
        assert first.exit_code == report.code, (seed, kind, first.faults, first.gaps, report.faults, report.gaps)
        spot = (first.faults or first.gaps)[0]
        assert base(spot.file) in map(base, where) or not where, (seed, kind, where, spot)
    assert report.code, (seed, kind)
    assert spots(report)[0].file in where or not where, (seed, kind, where, spots(report)[0])
    return kind


@pytest.mark.parametrize("seed", range(60))
def test_rc_20_a_random_mutation_is_found(folder: Folder, seed: int) -> None:
    """RC-20: flips, deletions, cuts, swaps, other orders, older states and forks with the real key, of log,
    recordings and packs."""
    judge(folder, seed)


@pytest.mark.campaign
def test_rc_20_thousands_of_random_mutations_are_found(folder: Folder) -> None:
    """RC-20: the same, three thousand times."""
    kinds = [judge(folder, seed) for seed in range(60, 3060)]
    assert set(kinds) == set(KINDS)
