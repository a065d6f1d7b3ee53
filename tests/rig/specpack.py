"""An evidence pack written straight from docs/spec/pack.md: what a verifier is tried with, whoever writes packs otherwise.

Small and complete: two tables, a sample with proofs and a recording under its key, openings of everything. It shares no code
with what Doorward writes packs with, nor with what checks them.
"""

from __future__ import annotations

import base64
import json
import uuid
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from hashlib import sha256
from typing import Any

from doorward.ledger.checkpoint import NoteSigner
from doorward.ledger.encoding import canonical
from doorward.ledger.tree import leaf_hash, node_hash

Files = dict[str, bytes]
COLUMNS = ("leaf_index", "leaf_hash", "ts_utc", "gw_id", "boot_id", "gw_seq")


@dataclass
class Evidence:
    """A record and what its owner can open of it. `openings` is leaf -> (record, salt), `keys` session -> data key."""

    files: Files
    openings: dict[int, tuple[bytes, bytes]] = field(default_factory=dict)
    keys: dict[str, bytes] = field(default_factory=dict)
    signer: NoteSigner | None = None

    @property
    def size(self) -> int:
        return int(self.files["log/checkpoint"].split(b"\n")[1])

    @property
    def entries(self) -> list[bytes]:
        """The leaves as stored."""
        found: list[bytes] = []
        for number in range(-(-self.size // 256)):
            width = min(256, self.size - number * 256)
            raw = self.files[f"log/tile/entries/{number:03}" + (f".p/{width}" if width < 256 else "")]
            while raw:
                size = int.from_bytes(raw[:2])
                found.append(raw[2 : 2 + size])
                raw = raw[2 + size :]
        return found


def b64(octets: bytes) -> str:
    return base64.b64encode(octets).decode()


def jsonl(rows: Sequence[Mapping[str, Any]]) -> bytes:
    return "".join([json.dumps(row, ensure_ascii=False, separators=(",", ":")) + "\n" for row in rows]).encode()


def cell(value: Any) -> str:
    text = value if isinstance(value, str) else json.dumps(value, ensure_ascii=False, separators=(",", ":"))
    if value is None:
        text = ""
    if isinstance(value, str) and value.startswith(("=", "+", "-", "@", "\t", "\r")):
        text = "'" + text
    return '"' + text.replace('"', '""') + '"' if any(letter in text for letter in '",\r\n') else text


def csv(rows: Sequence[Mapping[str, Any]], columns: Sequence[str]) -> bytes:
    lines = [columns, *[[cell(row[name]) for name in columns] for row in rows]]
    return "".join([",".join(line) + "\r\n" for line in lines]).encode()


def inclusion(index: int, hashes: Sequence[bytes]) -> list[bytes]:
    """RFC 6962, 2.1.1."""
    if len(hashes) == 1:
        return []
    split = 1 << (len(hashes) - 1).bit_length() - 1
    left, right = hashes[:split], hashes[split:]
    return [*inclusion(index, left), root(right)] if index < split else [*inclusion(index - split, right), root(left)]


def root(hashes: Sequence[bytes]) -> bytes:
    if len(hashes) == 1:
        return hashes[0]
    split = 1 << (len(hashes) - 1).bit_length() - 1
    return node_hash(root(hashes[:split]), root(hashes[split:]))


def write_pack(evidence: Evidence, *, auditor: str = "nobody in particular", stamps: Files | None = None) -> Files:
    """The files of a pack over the whole of a record."""
    assert evidence.signer is not None
    entries, files = evidence.entries, dict(stamps or {})
    leaves = [json.loads(entry) for entry in entries]
    note = evidence.files["log/checkpoint"]
    origin, size, tree = note.decode().split("\n")[:3]
    for path, octets in evidence.files.items():
        width = path.rpartition(".p/")[2] if ".p/" in path else ""
        if path.startswith("log/tile/") and (not width or int(width) == _width(path, len(entries))):
            files[path] = octets
    files["log/checkpoint.end"] = note
    files["openings.jsonl"] = b"".join(
        b'{"leaf":%d,"record":%s,"salt":"%s"}\n' % (index, record, b64(salt).encode())
        for index, (record, salt) in sorted(evidence.openings.items())
    )
    files["unopened.jsonl"] = b""

    def row(index: int, more: Mapping[str, Any], rests: Sequence[int | str] = ()) -> dict[str, Any]:
        leaf = leaves[index]
        at = datetime.fromtimestamp(leaf["at"] // 1000, UTC)
        when = f"{at:%Y-%m-%dT%H:%M:%S}.{leaf['at'] % 1000:03}Z"
        common = (index, leaf_hash(entries[index]).hex(), when, leaf["gw"], leaf["boot"], leaf["seq"])
        return {**dict(zip(COLUMNS, common, strict=True)), **more, "leaves": list(rests)}

    def of(type_: str) -> list[int]:
        return [index for index, leaf in enumerate(leaves) if leaf["t"] == type_]

    def said(index: int) -> dict[str, Any]:
        return json.loads(evidence.openings[index][0])  # type: ignore[no-any-return]

    ended = {leaf["sid"]: index for index, leaf in enumerate(leaves) if leaf["t"] == "session.closed"}
    tables = {
        "approvals": [
            row(index, {"subject": said(index)["actor"], "comment": "=2+2, \"quoted\"", "yes": said(index)["body"]["approve"]})
            for index in of("approval.voted")
        ],
        "sessions": [
            row(index, {"sid": leaves[index]["sid"], "closed": leaves[index]["sid"] in ended, "reason": None},
                [ended[leaves[index]["sid"]]] if leaves[index]["sid"] in ended else [])
            for index in of("session.opened")
        ],
    }  # fmt: skip
    types = {"approvals": "approval.voted", "sessions": "session.opened"}
    for name, rows in {**{f"tables/{name}": rows for name, rows in tables.items()}, "exceptions": []}.items():
        files[f"{name}.jsonl"] = jsonl(rows)
        files[f"{name}.csv"] = csv(rows, list(rows[0]) if rows else [*COLUMNS, "status", "leaves"])
    files["population.json"] = canonical({
        "from_leaf": 0, "to_leaf": len(leaves), "leaves": Counter(leaf["t"] for leaf in leaves), "tables": [
            {"table": name, "version": 1, "controls": ["A.8.2"], "rows": len(rows), "carried": 0,
             "rule": "all", "rule_sha256": "",
             "reconcile": {types[name]: {"leaves": len(rows), "rows": len(rows), "unopened": 0, "ok": True}}}
            for name, rows in tables.items()
        ],
    })  # fmt: skip
    stamp = next((files[path] for path in sorted(files) if path.startswith(f"log/tsr/{size}")), b"")
    digests = [sha256(note).digest(), sha256(stamp).digest()]
    seed = sha256(
        b"doorward/sample/v1\0" + len(auditor.encode()).to_bytes(4) + auditor.encode() + b"".join(digests)
    ).digest()
    hashes = [leaf_hash(entry) for entry in entries]
    taken = []
    for name, rows in tables.items():
        ranked = sorted(rows, key=lambda row: (sha256(seed + hashes[row["leaf_index"]]).digest(), row["leaf_index"]))[
            :2
        ]
        taken.append(
            {
                "control": "A.8.2",
                "table": name,
                "k": 2,
                "population": len(rows),
                "leaves": [r["leaf_index"] for r in ranked],
            }
        )
        for number, each in enumerate(ranked, 1):
            folder = f"samples/A.8.2/{name}-{number}"
            files[f"{folder}/row.json"] = jsonl([each])
            for index in [each["leaf_index"], *each["leaves"]]:
                proof = "".join([b64(found) + "\n" for found in inclusion(index, hashes)])
                head = f"c2sp.org/tlog-proof@v1\nextra {b64(entries[index])}\nindex {index}\n{proof}\n"
                files[f"{folder}/{index}.tlog-proof"] = head.encode() + note
            if name == "sessions":
                files[f"{folder}/recording.dwr"] = evidence.files[_recording(evidence, each["sid"])]
                files[f"{folder}/recording.key"] = evidence.keys[each["sid"]].hex().encode() + b"\n"
    files["samples/sample.json"] = canonical({
        "auditor": auditor, "seed": seed.hex(), "checkpoint_sha256": digests[0].hex(), "stamp_sha256": digests[1].hex(),
        "samples": taken,
    })  # fmt: skip
    files["trust/policy.txt"] = f"log {evidence.signer.vkey}\nquorum none\n".encode()
    start, end = leaves[0]["at"], max(leaf["at"] for leaf in leaves) + 1
    return seal_pack(files, evidence.signer, {"origin": origin, "size": int(size), "root": tree, "from": start, "to": end,
                                              "from_leaf": 0, "to_leaf": len(leaves)})  # fmt: skip


def seal_pack(files: Mapping[str, bytes], signer: NoteSigner, about: Mapping[str, Any]) -> Files:
    """Adds the manifest and its signature; with the key that signs the log, as its owner or a thief could."""
    rest = {path: octets for path, octets in files.items() if path not in ("manifest.json", "manifest.note")}
    root = base64.b64decode(about["root"]).hex()
    name = f"doorward-pack:{about['origin']}/{about['size']}/{root}/{about['from']}/{about['to']}"
    id_ = str(uuid.uuid5(uuid.NAMESPACE_URL, name))
    listed = [
        {"path": path, "sha256": sha256(octets).hexdigest(), "size": len(octets),
         **({"rows": octets.count(b"\n")} if path.endswith(".jsonl") else {})}
        for path, octets in sorted(rest.items())
    ]  # fmt: skip
    manifest = canonical({
        **about, "v": 1, "typ": "doorward.pack", "id": id_, "name": "pack", "made_by": "a test", "controls": ["A.8.2"],
        "files": listed,
    })  # fmt: skip
    tree = f"{about['origin']} {about['size']} {about['root']}"
    text = f"doorward-evidence-pack/v1\n{id_}\n{sha256(manifest).hexdigest()}\n{tree}\n"
    note = f"{text}\n{signer.sign(text)}".encode()
    return {**rest, "manifest.json": manifest, "manifest.note": note}


def _width(path: str, size: int) -> int:
    level, _, rest = path.removeprefix("log/tile/").partition("/")
    number = int(rest.partition(".")[0].replace("x", "").replace("/", ""))
    return (size >> 8 * (0 if level == "entries" else int(level))) - number * 256


def _recording(evidence: Evidence, session: str) -> str:
    return next(path for path in evidence.files if path.endswith(f"/{session}.dwr"))
