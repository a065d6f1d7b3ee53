"""Whoever changes a record is found out, by two verifiers that share no code, and the spot is named.

RC-nn in docs/bypasses.md. The record is real (evidence.py); the packs are written from docs/spec/pack.md. A verifier
receives the files, one verifier key, and at most one checkpoint that was kept elsewhere. Where the attacker has the
log's own key, everything is chained, hashed and signed anew.
"""

from __future__ import annotations

import base64
import dataclasses
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
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from doorward.ledger import tiles, tree
from doorward.ledger.checkpoint import NoteSigner
from doorward.ledger.encoding import canonical
from tests.bypass.evidence import (
    BUNDLE,
    EARLIER,
    ENTRIES,
    LEAVES,
    NOW,
    PACK,
    RECORD,
    RECORDINGS,
    SIGNER,
    bundle,
    chained,
    flipped,
    found,
    found_in_pack,
    nth,
    ours,
    signed,
)
from tests.rig.specpack import Evidence, Files, seal_pack, write_pack
from tests.rig.verifier import PROGRAM, VERIFIER, Folder, spots


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Folder:
    return Folder(tmp_path_factory.mktemp("evidence"))


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
