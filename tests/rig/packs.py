"""A reader of packs that follows docs/spec/pack.md, section 9, and nothing else of ours but the ledger. For tests that ask
whether what was written is what was specified."""

from __future__ import annotations

import csv
import io
import json
import re
from base64 import b64decode
from collections import Counter
from dataclasses import dataclass, field
from hashlib import sha256
from pathlib import Path
from typing import Any

from doorward.adapters.blobs.evidence import DirectoryEvidence
from doorward.ledger import leaf as leaves
from doorward.ledger import tiles
from doorward.ledger.checkpoint import NoteVerifier, open_checkpoint, open_note
from doorward.ledger.commitment import opens
from doorward.ledger.tree import leaf_hash
from doorward.ledger.verify import verify

OPENING = re.compile(rb'\{"leaf":(0|[1-9][0-9]{0,14}),"record":(.*),"salt":"([A-Za-z0-9+/]{43}=)"\}')
COMMON = ["leaf_index", "leaf_hash", "ts_utc", "gw_id", "boot_id", "gw_seq"]


@dataclass
class Pack:
    """A folder that was checked; what is wrong is in `faults`."""

    folder: Path
    faults: list[str] = field(default_factory=list)
    manifest: dict[str, Any] = field(default_factory=dict)
    tables: dict[str, list[dict[str, Any]]] = field(default_factory=dict)
    openings: dict[int, dict[str, Any]] = field(default_factory=dict)
    leaves: list[tuple[leaves.Leaf, bytes]] = field(default_factory=list)

    def json(self, path: str) -> Any:
        return json.loads((self.folder / path).read_bytes())

    def exceptions(self, test: str = "") -> list[dict[str, Any]]:
        return [row for row in self.tables["exceptions"] if test in ("", row["test_id"])]


def check(folder: Path, vkey: str) -> Pack:
    """Everything that section 9 says, but signatures of votes, stamps and recordings."""
    pack = Pack(folder)
    verifier = NoteVerifier(vkey)
    _frame(pack, verifier)
    _log(pack, verifier)
    _openings(pack)
    _tables(pack)
    _population(pack)
    return pack


def _frame(pack: Pack, verifier: NoteVerifier) -> None:
    octets = (pack.folder / "manifest.json").read_bytes()
    pack.manifest = json.loads(octets)
    text, _, _ = open_note((pack.folder / "manifest.note").read_bytes(), [verifier])
    mark, id_, digest, log = text.rstrip("\n").split("\n")
    manifest = pack.manifest
    if (mark, id_, digest) != ("doorward-evidence-pack/v1", manifest["id"], sha256(octets).hexdigest()):
        pack.faults.append("manifest.note")
    if log != f"{manifest['origin']} {manifest['size']} {manifest['root']}":
        pack.faults.append("manifest.note: another log")
    there = {p.relative_to(pack.folder).as_posix() for p in pack.folder.rglob("*") if p.is_file()}
    named = {each["path"] for each in manifest["files"]}
    if there - named != {"manifest.json", "manifest.note"} or named - there:
        pack.faults.append(f"files: {sorted(there ^ named)[:4]}")
    for each in manifest["files"]:
        found = (pack.folder / each["path"]).read_bytes()
        if (sha256(found).hexdigest(), len(found)) != (each["sha256"], each["size"]):
            pack.faults.append(each["path"])
        if each["path"].endswith(".jsonl") and found.count(b"\n") != each["rows"]:
            pack.faults.append(f"{each['path']}: rows")


def _log(pack: Pack, verifier: NoteVerifier) -> None:
    note = (pack.folder / "log/checkpoint.end").read_bytes()
    checkpoint = open_checkpoint(note, [verifier])
    source = DirectoryEvidence(pack.folder)
    source.checkpoint = lambda: note  # type: ignore[method-assign]
    source.recordings = lambda: iter(())  # type: ignore[method-assign]
    report = verify(source, [verifier])
    pack.faults += [str(spot) for spot in report.faults if not spot.file.startswith("recordings/")]
    for number in range((checkpoint.size + 255) // 256):
        pack.leaves += [
            (leaves.parse(e), leaf_hash(e)) for e in tiles.read_bundle(number, checkpoint.size, source.read)
        ]
    since, until = pack.manifest["from"], pack.manifest["to"]
    size = checkpoint.size
    first = next((i for i, (leaf, _) in enumerate(pack.leaves) if leaf.at >= since), size)
    end = next((i for i in range(first, size) if pack.leaves[i][0].at >= until), size)
    if (first, end) != (pack.manifest["from_leaf"], pack.manifest["to_leaf"]):
        pack.faults.append("from_leaf, to_leaf")


def _openings(pack: Pack) -> None:
    last = -1
    for line in (pack.folder / "openings.jsonl").read_bytes().splitlines():
        match = OPENING.fullmatch(line)
        if match is None:
            pack.faults.append(f"openings: {line[:80]!r}")
            continue
        index, record, salt = int(match[1]), match[2], b64decode(match[3])
        leaf = pack.leaves[index][0]
        event = json.loads(record)
        if not opens(leaf.commitment or b"", salt, leaf.type, record) or index <= last:
            pack.faults.append(f"opening of leaf {index}")
        if (
            event["type"] != leaf.type
            or (leaf.session or event["session"]) != event["session"]
            or event["at"] != leaf.at
        ):
            pack.faults.append(f"opening of leaf {index}: another event")
        pack.openings[index] = event
        last = index


def _tables(pack: Pack) -> None:
    lost = {json.loads(line)["leaf"] for line in (pack.folder / "unopened.jsonl").read_bytes().splitlines()}
    places = [*(pack.folder / "tables").glob("*.jsonl"), pack.folder / "exceptions.jsonl"]
    for path in places:
        rows = [json.loads(line) for line in path.read_bytes().splitlines()]
        pack.tables[path.stem] = rows
        for row in rows:
            leaf, hash_ = pack.leaves[row["leaf_index"]]
            if (row["leaf_hash"], row["gw_id"], row["boot_id"], row["gw_seq"]) != (
                hash_.hex(), leaf.gateway, leaf.boot, leaf.seq
            ):  # fmt: skip
                pack.faults.append(f"{path.name}: leaf {row['leaf_index']}")
            for index in [row["leaf_index"], *(each for each in row["leaves"] if isinstance(each, int))]:
                whole = any(isinstance(each, str) for each in row["leaves"])
                bound = leaf.commitment is not None
                if bound and not whole and index not in pack.openings and index not in lost:
                    pack.faults.append(f"{path.name}: leaf {index} is not opened")
        twin = path.with_suffix(".csv").read_bytes().decode()
        cells = list(csv.reader(io.StringIO(twin, newline="")))
        if [_cells(row) for row in rows] != cells[1:] or (rows and list(rows[0]) != cells[0]) or cells[0][:6] != COMMON:
            pack.faults.append(f"{path.stem}: the two forms differ")


def _cells(row: dict[str, Any]) -> list[str]:
    def one(value: object) -> str:
        if isinstance(value, bool):
            return str(value).lower()
        if isinstance(value, list):
            return json.dumps(value, separators=(",", ":"), ensure_ascii=False)
        shown = "" if value is None else str(value)
        return (
            "'" + shown if isinstance(value, str) and shown[:1] in ("=", "+", "-", "@", "\t", "\r") and shown else shown
        )

    return [one(value) for value in row.values()]


def _population(pack: Pack) -> None:
    first, end = pack.manifest["from_leaf"], pack.manifest["to_leaf"]
    counted = Counter(leaf.type for leaf, _ in pack.leaves[first:end])
    population = pack.json("population.json")
    if population["leaves"] != dict(counted):
        pack.faults.append("population: leaves")
    lost = [json.loads(line) for line in (pack.folder / "unopened.jsonl").read_bytes().splitlines()]
    for table in population["tables"]:
        rows = pack.tables[table["table"]]
        if len(rows) != table["rows"]:
            pack.faults.append(f"population: {table['table']}")
        for type_, said in table["reconcile"].items():
            found = {r["leaf_index"] for r in rows if first <= r["leaf_index"] < end
                     and pack.leaves[r["leaf_index"]][0].type == type_}  # fmt: skip
            gone = sum(first <= each["leaf"] < end and each["type"] == type_ for each in lost)
            if counted[type_] != len(found) + gone or not said["ok"]:
                pack.faults.append(f"population: {table['table']}, {type_}: {counted[type_]} leaves, {len(found)} rows")
