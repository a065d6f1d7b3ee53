"""Writing a pack: what `evidence` computes, into the folder and the zip of docs/spec/pack.md.

Nothing is computed here, and nothing is written into the record.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from hashlib import sha256
from pathlib import Path
from typing import Any, Final

import msgspec

from doorward import __version__
from doorward.adapters.blobs.packs import PackFolder, PackStream, write_zip
from doorward.adapters.blobs.paper import pdf
from doorward.cli.evidence.gather import Gathered
from doorward.errors import ConfigError
from doorward.evidence.controls import CONTROLS, of_table
from doorward.evidence.examination import EXCEPTIONS, Examination
from doorward.evidence.logcopy import LogCopy
from doorward.evidence.manifest import manifest, note_text, pack_name
from doorward.evidence.oscal import assessment_results
from doorward.evidence.outward import facts
from doorward.evidence.outward.ocsf import ocsf
from doorward.evidence.prose import methodology, readme
from doorward.evidence.record import Record, Ref, Row, csv, csv_header, jsonl
from doorward.evidence.sample import Sampler, seed
from doorward.evidence.summary import summary
from doorward.evidence.table import Table
from doorward.evidence.trust import Trust, policy
from doorward.guard.evidence import examine, openings_of
from doorward.ledger import tiles
from doorward.ledger.checkpoint import NoteVerifier, open_checkpoint
from doorward.ledger.encoding import canonical
from doorward.ledger.proof import encode_proof
from doorward.ledger.tree import inclusion_proof
from doorward.ledger.votes import VoteTrail
from doorward.model import Checkpoint

Progress = Callable[[str, int, int], None]

_VOTES: Final = frozenset(VoteTrail.TYPES)
_INSIDE: Final = "openings.partial"


@dataclass(frozen=True, slots=True)
class Wanted:
    """What somebody asked for. `since` and `until` are Unix ms, `[since, until)`."""

    since: int
    until: int
    auditor: str = ""
    sample: int = 25
    recordings: bool = False
    start: bytes = b""  # an earlier checkpoint that was kept
    # Configuration and policies in force, by path below `snapshots/`.
    snapshots: Mapping[str, bytes] = field(default_factory=dict)
    trust: bytes = b""  # the gateway's own trust policy; "": its log's key alone
    summaries: bool = True


@dataclass(slots=True)
class Made:
    """What came of it."""

    folder: Path
    zip: Path | None
    examination: Examination
    checkpoint: Checkpoint
    files: int
    manifest: bytes = b""


class _Tables:
    """Each table as its two files, which are opened when it has its first row, and are there without any too."""

    def __init__(self, pack: PackFolder) -> None:
        self._pack = pack
        self._streams: dict[str, tuple[PackStream, PackStream, Table]] = {}

    def _open(self, table: Table, where: str) -> tuple[PackStream, PackStream, Table]:
        found = self._streams[table.name] = (
            self._pack.stream(f"{where}{table.name}.csv"), self._pack.stream(f"{where}{table.name}.jsonl"), table
        )  # fmt: skip
        found[0].write(csv_header(table.columns))
        return found

    def row(self, table: Table, row: Row) -> None:
        rows, lines, _ = self._streams.get(table.name) or self._open(table, "tables/")
        rows.write(csv(row), rows=1)
        lines.write(jsonl(table.columns, row), rows=1)

    def end(self, tables: Sequence[Table]) -> None:
        for table in tables:
            for stream in (self._streams.get(table.name) or self._open(table, "tables/"))[:2]:
                stream.close()
        self._streams.clear()


@dataclass(slots=True)
class _Openings:
    """The log and the openings, as they come. Those outside the period are few: written afterwards, once it is known which."""

    pack: PackFolder
    origin: str
    trust: Trust = field(default_factory=Trust)
    outside: set[int] = field(default_factory=set)
    lost: list[bytes] = field(default_factory=list)
    log: LogCopy = field(default_factory=LogCopy)
    inside: PackStream = field(init=False)
    ocsf: PackStream = field(init=False)
    # How the sessions that are open were opened, for events that name only the session.
    sessions: dict[str, Mapping[str, Any]] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self.inside = self.pack.stream(_INSIDE)
        self.ocsf = self.pack.stream("ocsf/events.jsonl")

    def bundle(self, entries: Sequence[bytes], hashes: Sequence[bytes]) -> None:
        for path, octets in self.log.bundle(entries, hashes):
            self.pack.file(f"log/{path}", octets)

    def opened(self, ref: Ref, record: Record, exact: bytes, salt: bytes, *, inside: bool) -> None:
        session = record.ref.session
        if ref.type == "session.opened":
            self.sessions[session] = record.body
        if inside:
            self.inside.write(_opening(ref.leaf, salt, exact), rows=1)
            told = ocsf(facts.read(record, self.sessions.get(session)), self.origin)
            self.ocsf.write(msgspec.json.encode(told) + b"\n", rows=1)
        elif ref.type in _VOTES and (ref.type != "operation.permitted" or record.body.get("approval")):
            self.outside.add(ref.leaf)
        if ref.type.startswith("approver_key."):
            self.trust.add(record)
        elif ref.type in ("session.closed", "session.recovered"):
            self.sessions.pop(session, None)

    def unopened(self, ref: Ref, why: str, *, inside: bool) -> None:
        self.lost.append(canonical({"leaf": ref.leaf, "session": ref.session, "type": ref.type, "why": why}) + b"\n")


def _opening(leaf: int, salt: bytes, exact: bytes) -> bytes:
    encoded = msgspec.json.encode(salt)  # base64 in quotes
    return b'{"leaf":%d,"record":%b,"salt":%b}\n' % (leaf, exact, encoded)


async def write_pack(gathered: Gathered, out: Path, wanted: Wanted, *, zipped: bool = True, progress: Progress) -> Made:
    """Write the pack below `out`. Raises ConfigError, IntegrityError, OSError; then there is none."""
    checkpoint = gathered.checkpoint
    pack = PackFolder(out / pack_name(checkpoint, wanted.since, wanted.until))
    try:
        made = await _fill(pack, gathered, wanted, progress)
    except BaseException:
        pack.abandon()
        raise
    if zipped:
        made.zip = pack.target.with_name(pack.target.name + ".zip")
        progress("zip", 0, 1)
        write_zip(pack.target, sorted(pack.files), made.zip)
        progress("zip", 1, 1)
    return made


async def _fill(pack: PackFolder, gathered: Gathered, wanted: Wanted, progress: Progress) -> Made:
    checkpoint, note = gathered.checkpoint, gathered.note
    stamps = {path.name: path.read_bytes() for path in sorted((gathered.data / "log" / "tsr").glob("*.tsr"))}
    # Only what this checkpoint covers: a stamp of a later one says nothing here.
    stamps = {n: octets for n, octets in stamps.items() if _size_of(n) <= checkpoint.size}
    over = [name for name in stamps if _size_of(name) == checkpoint.size]
    stamp = stamps[over[0]] if over else b""
    seed_ = seed(wanted.auditor, note, stamp)
    tables = {table.name: table for control in CONTROLS for table in control.tables}
    samplers = {name: Sampler(seed_, wanted.sample) for name in tables}
    sink, openings = _Tables(pack), _Openings(pack, checkpoint.origin)
    examination = Examination(wanted.since, wanted.until, sink, samplers=samplers)
    await examine(gathered.reader, gathered.source, checkpoint, examination, openings, progress=progress)
    sink.end(list(examination.tables.values()))
    for path, octets in openings.log.end():
        pack.file(f"log/{path}", octets)
    await _write_openings(pack, gathered, openings, examination)
    pack.file("unopened.jsonl", b"".join(openings.lost), rows=len(openings.lost))
    examination.rehearse()
    _write_findings(pack, examination)
    pack.file("log/checkpoint.end", note)
    if wanted.start:
        pack.file("log/checkpoint.start", wanted.start)
    witnessed = _witnessed(gathered)
    if witnessed:
        pack.file("log/kept/witnessed", witnessed)
    for name, octets in stamps.items():
        pack.file(f"log/tsr/{name}", octets)
        stamped = gathered.data / "log" / "tsr" / f"{name.removesuffix('.tsr')}.note"
        if stamped.is_file():
            pack.file(f"log/kept/{stamped.stem}", stamped.read_bytes())
    trusted = wanted.trust or policy(*(verifier.vkey for verifier in gathered.verifiers))
    for path, octets in openings.trust.files(trusted).items():
        pack.file(path, octets)
    await _write_samples(pack, gathered, wanted, samplers, seed_, stamp)
    pack.file("oscal/assessment-results.json", assessment_results(examination, checkpoint, __version__))
    for path, octets in {**wanted.snapshots, **_verifier()}.items():
        pack.file(path, octets)
    if wanted.summaries:
        for number, control in enumerate(examination.controls):
            progress("summaries", number, len(examination.controls))
            pack.file(f"summaries/{control.id}.pdf", pdf(summary(examination, control, checkpoint), examination.at))
        progress("summaries", len(examination.controls), len(examination.controls))
    pack.file("methodology.md", methodology(examination, checkpoint, __version__).encode())
    pack.file("README.md", readme(examination, checkpoint, pack.target.name).encode())
    frame = manifest(
        checkpoint, since=wanted.since, until=wanted.until, from_leaf=examination.from_leaf,
        to_leaf=examination.to_leaf, version=__version__, controls=[control.id for control in examination.controls],
        files=pack.files.values(),
    )  # fmt: skip
    text = note_text(checkpoint, wanted.since, wanted.until, frame)
    pack.finish(frame, (text + "\n" + gathered.signer.sign(text)).encode())
    return Made(pack.target, None, examination, checkpoint, len(pack.files) + 2, frame)


def _witnessed(gathered: Gathered) -> bytes:
    """The newest checkpoint that a quorum of witnesses cosigned, where there is one that this pack's log covers."""
    try:
        note = gathered.source.read("witnessed")
    except FileNotFoundError:
        return b""
    found = open_checkpoint(note, [NoteVerifier(gathered.signer.vkey)])
    return note if found.size <= gathered.checkpoint.size else b""


def _size_of(name: str) -> int:
    size = name.removesuffix(".tsr").partition("-")[0]
    return int(size) if size.isascii() and size.isdigit() else sys.maxsize


def _verifier() -> dict[str, bytes]:
    """The verifier that ships in every pack: from the folder of the sources, or where it was installed. ConfigError."""
    for place in (Path(__file__).parents[4] / "verifier", Path(sys.prefix) / "share" / "doorward" / "verifier"):
        if (place / "doorward_verify.py").is_file():
            return {f"verify/{name}": (place / name).read_bytes() for name in ("doorward_verify.py", "README.md")}
    raise ConfigError("the verifier that belongs in every pack is not installed", hint="install Doorward again")


async def _write_openings(pack: PackFolder, gathered: Gathered, openings: _Openings, examination: Examination) -> None:
    """In leaf order: those before the period, those of it, those after it."""
    openings.inside.close()
    openings.ocsf.close()
    outside = sorted(openings.outside | examination.named)
    before = [leaf for leaf in outside if leaf < examination.from_leaf]
    after = [leaf for leaf in outside if leaf >= examination.to_leaf]
    stream = pack.stream("openings.jsonl")
    async for leaf, salt, exact in openings_of(gathered.reader, before):
        stream.write(_opening(leaf, salt, exact), rows=1)
    for piece in pack.read(_INSIDE):
        stream.write(piece)
    stream.rows += pack.files[_INSIDE].rows or 0
    async for leaf, salt, exact in openings_of(gathered.reader, after):
        stream.write(_opening(leaf, salt, exact), rows=1)
    stream.close()
    pack.delete(_INSIDE)


def _write_findings(pack: PackFolder, examination: Examination) -> None:
    pack.file("population.json", canonical(examination.population()))
    pack.file("tests.json", canonical(examination.tests()))
    rows = examination.exception_rows()
    pack.file("exceptions.csv", csv_header(EXCEPTIONS) + b"".join(map(csv, rows)), rows=len(rows))
    pack.file("exceptions.jsonl", b"".join([jsonl(EXCEPTIONS, row) for row in rows]), rows=len(rows))


async def _write_samples(
    pack: PackFolder, gathered: Gathered, wanted: Wanted, samplers: dict[str, Sampler], seed_: bytes, stamp: bytes
) -> None:
    size, read = gathered.checkpoint.size, gathered.source.read
    node = tiles.TileNodes(size, read)
    shown = []
    for name, sampler in sorted(samplers.items()):
        control = of_table(name)[0]
        table = next(table for table in control.tables if table.name == name)
        shown.append({
            "control": control.id, "table": name, "k": wanted.sample, "population": sampler.population,
            "leaves": [drawn.leaf for drawn in sampler.drawn],
        })  # fmt: skip
        for place, drawn in enumerate(sampler.drawn, 1):
            folder = f"samples/{control.id}/{name}-{place}"
            pack.file(f"{folder}/row.json", jsonl(table.columns, drawn.row))
            for leaf in sorted({drawn.leaf, *(each for each in drawn.row.leaves if isinstance(each, int))}):
                entry = tiles.read_bundle(leaf // tiles.WIDTH, size, read)[leaf % tiles.WIDTH]
                proof = encode_proof(leaf, inclusion_proof(leaf, size, node), gathered.note, entry)
                pack.file(f"{folder}/{leaf}.tlog-proof", proof)
            if wanted.recordings and name == "sessions":
                await _write_recording(pack, gathered, folder, drawn.row.ref.session)
    said = {
        "auditor": wanted.auditor, "seed": seed_.hex(), "checkpoint_sha256": _sha256(gathered.note),
        "stamp_sha256": _sha256(stamp), "samples": shown,
    }  # fmt: skip
    pack.file("samples/sample.json", canonical(said))


async def _write_recording(pack: PackFolder, gathered: Gathered, folder: str, session: str) -> None:
    key = await gathered.reader.key(session)
    if key is None:
        return  # destroyed; the row says which session it is, and the log that it was
    chunks = gathered.recordings.read(session)
    first = next(chunks, b"")
    if not first:
        return  # nothing was sealed: there is no recording
    stream = pack.stream(f"{folder}/recording.dwr")
    stream.write(first)
    for chunk in chunks:
        stream.write(chunk)
    stream.close(counted=False)
    pack.file(f"{folder}/recording.key", key.hex().encode() + b"\n")


def _sha256(octets: bytes) -> str:
    return sha256(octets).hexdigest()
