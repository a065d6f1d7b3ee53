"""Verification: whether a record is what its signed checkpoint says, with public keys only.

Checks, in this order: the checkpoint's signature; what witnesses said (anchors.py); every leaf against the tree, every tile,
and the signed root; a checkpoint kept elsewhere against this log's history; the chain of each gateway and the grammar of
each session (trail.py); every recording against the leaves. The first fault is named: which file, where in it, what was
expected and what was found. Stored bytes are hashed as stored and never written again.

BROKEN: something is not what was signed. INCOMPLETE: nothing contradicts the record, but part of it is not under a
signature (yet), or there is no signed checkpoint. SOUND: neither; sessions that are still open are counted, not faults.

Cannot tell: what was never recorded; whether the log was cut back to an older signed state, unless a checkpoint kept
elsewhere is given; what sealed content says.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from enum import StrEnum
from hashlib import sha256
from typing import Final, NamedTuple, Protocol

from doorward.errors import IntegrityError
from doorward.ledger import anchors, handover, stamps, tiles
from doorward.ledger.checkpoint import NoteVerifier, open_checkpoint
from doorward.ledger.segment import Segments, session_bytes
from doorward.ledger.stamps import Authorities
from doorward.ledger.trail import COUNTED, SessionTrail, Trail
from doorward.ledger.tree import EMPTY_ROOT, HASH_SIZE, root_of
from doorward.ledger.trust import TrustPolicy, Witnessed
from doorward.model import Checkpoint

MAX_NAMED: Final = 100  # faults and gaps that a report names; the first is what matters

Progress = Callable[[str, int, int], None]


class StoredRecording(NamedTuple):
    """A recording file as found. `path` is for people; `session_id` is what the file is named after, unchecked."""

    session_id: str
    path: str
    chunks: Iterable[bytes]


class EvidenceSource(Protocol):
    """Where the evidence is. Log paths are relative to the log's directory. Methods may raise OSError."""

    def checkpoint(self) -> bytes:
        """FileNotFoundError if there is none."""
        ...

    def read(self, path: str) -> bytes:
        """A tile or bundle, `witnessed`, or a file of `tsr/` or `keys/`. FileNotFoundError if it is not there."""
        ...

    def paths(self) -> Iterable[str]:
        """Every file below `tile/`, so that leftovers are checked too."""
        ...

    def names(self, folder: str) -> Iterable[str]:
        """Of the files in a folder of the log; none if there is no such folder."""
        ...

    def recordings(self) -> Iterable[StoredRecording]: ...


class Status(StrEnum):
    SOUND = "sound"
    BROKEN = "broken"
    INCOMPLETE = "incomplete"


@dataclass(frozen=True, slots=True)
class Spot:
    """One place that does not fit, or that is not covered."""

    file: str
    place: str
    expected: str
    found: str

    def __str__(self) -> str:
        where = f"{self.file}, {self.place}" if self.place else self.file
        return f"{where}: expected {self.expected}, found {self.found}"


@dataclass(slots=True)
class Report:
    """What verification found. `faults[0]` is the first bad spot; `gaps` are what no signature covers."""

    checkpoint: Checkpoint | None = None
    faults: list[Spot] = field(default_factory=list)
    gaps: list[Spot] = field(default_factory=list)
    leaves: int = 0
    gateways: int = 0
    boots: int = 0
    sessions: int = 0
    open_sessions: int = 0
    recovered_sessions: int = 0
    recordings: int = 0
    deleted: int = 0  # recordings that are not there because they were due
    segments: int = 0
    sealed_bytes: int = 0
    deleted_epochs: list[str] = field(default_factory=list)
    deleted_records: dict[str, int] = field(default_factory=dict)  # of these types, leaves whose records went with them
    first_at: int = 0
    last_at: int = 0
    types: dict[str, int] = field(default_factory=dict)
    kept: list[int] = field(default_factory=list)  # sizes of the checkpoints kept elsewhere that this log continues
    keys: list[str] = field(default_factory=list)  # verifier keys that were believed; the one that signs now is first
    stamps: int = 0  # time stamps over checkpoints of this log
    stamps_checked: bool = False  # whether their authorities are among those whom the verifier trusts
    witnessed: Witnessed | None = None  # the largest checkpoint that the quorum of the trust policy cosigned

    @property
    def tail(self) -> int | None:
        """Leaves that the log alone has signed so far; None where nobody asked for witnesses."""
        if self.checkpoint is None or self.witnessed is None:
            return None
        return max(0, self.checkpoint.size - self.witnessed.checkpoint.size)

    @property
    def status(self) -> Status:
        if self.faults:
            return Status.BROKEN
        return Status.INCOMPLETE if self.gaps else Status.SOUND

    @property
    def exit_code(self) -> int:
        return {Status.SOUND: 0, Status.BROKEN: 1, Status.INCOMPLETE: 2}[self.status]

    def fault(self, file: str, place: str, expected: str, found: str) -> None:
        if len(self.faults) < MAX_NAMED:
            self.faults.append(Spot(file, place, expected, found))

    def gap(self, file: str, place: str, expected: str, found: str) -> None:
        if len(self.gaps) < MAX_NAMED:
            self.gaps.append(Spot(file, place, expected, found))


def verify(
    source: EvidenceSource,
    verifiers: Sequence[NoteVerifier],
    *,
    kept: Sequence[tuple[str, bytes]] = (),
    policy: TrustPolicy | None = None,
    trusted: Authorities | None = None,
    progress: Progress = lambda stage, done, total: None,
) -> Report:
    """Verifies everything that `source` has against keys that the caller trusts.

    `kept` are checkpoints kept elsewhere, as (name, note): this log must continue each of them, or be exactly it. With a
    `policy`, its logs are trusted too, and a quorum of its witnesses must have cosigned what this log is or continues. With
    `trusted`, time stamps must lead to one of these authorities, and hold the leaves to their times.
    `progress` is told (stage, done, total) now and then. Raises OSError when something cannot be read; whatever the
    bytes are, the answer is a Report.
    """
    report = Report()
    if policy is not None:
        verifiers = [*verifiers, *(log.verifier for log in policy.logs)]
    verifiers, handed = handover.followed(source.names(handover.FOLDER), source.read, verifiers, report.fault)
    earlier = _open_kept(kept, verifiers, report)
    try:
        note = source.checkpoint()
    except FileNotFoundError:
        report.gap("log/checkpoint", "", "a signed checkpoint", "no such file")
        for name, checkpoint in earlier:
            report.fault("log/checkpoint", "", f"a log of at least {checkpoint.size} leaves, as in {name}", "no log")
        return report
    try:
        report.checkpoint = checkpoint = open_checkpoint(note, verifiers)
        if handed and checkpoint.size > handed[-1].place:  # who has an old key signs nothing new with it alone
            open_checkpoint(note, [handed[-1].new])
    except IntegrityError as error:
        report.fault("log/checkpoint", error.spot, "a checkpoint signed by a key you trust", error.message)
        return report
    report.witnessed, outside = anchors.witnessed(source.read, note, verifiers, policy, report.fault)
    found, hashes = stamps.stamped(source.names(stamps.FOLDER), source.read, verifiers, trusted, report.fault)
    if report.faults:
        return report
    outside += found
    report.stamps, report.stamps_checked = len(found), trusted is not None

    trail = _LogCheck(source, checkpoint, report, progress, anchors.Times(outside)).run(
        [*earlier, *((anchor.file, anchor.checkpoint) for anchor in outside)]
    )
    if report.faults:
        return report  # what the leaves say of recordings is not to be relied on
    report.keys = [verifier.vkey for verifier in verifiers]
    notes = handover.digests(source.names(handover.FOLDER), source.read)
    for index in sorted(notes.keys() | trail.rotated.keys()):
        if index < checkpoint.size and notes.get(index) != trail.rotated.get(index):
            expected = trail.rotated[index].hex() if index in trail.rotated else "no such file: the leaf is another"
            found_ = notes[index].hex() if index in notes else "no such file"
            report.fault(f"log/{handover.FOLDER}/{index}", f"leaf {index}", expected, found_)
            return report
    for index, size, digest in trail.stamped:
        if hashes.get(digest) != size:
            expected = f"a stamp over {size} leaves with hash {digest.hex()}"
            other = "no such file" if digest not in hashes else f"one over {hashes[digest]} leaves"
            report.fault(f"log/{stamps.FOLDER}", f"leaf {index}", expected, other)
            return report
    report.gateways, report.boots = trail.gateways, len(trail.boots)
    report.first_at, report.last_at = trail.first_at, trail.last_at
    report.types = dict(sorted(trail.types.items()))
    report.deleted_epochs = sorted(trail.deleted_epochs)
    report.deleted_records = {each: gone for each in sorted(COUNTED) if (gone := trail.gone(each))}
    report.sessions = len(trail.sessions)
    report.open_sessions = sum(not session.ended for session in trail.sessions.values())
    report.recovered_sessions = trail.types["session.recovered"]
    _check_recordings(source, trail.sessions, report, progress)
    return report


def _open_kept(
    kept: Sequence[tuple[str, bytes]], verifiers: Sequence[NoteVerifier], report: Report
) -> list[tuple[str, Checkpoint]]:
    opened: list[tuple[str, Checkpoint]] = []
    for name, note in kept:
        try:
            opened.append((name, open_checkpoint(note, verifiers)))
        except IntegrityError as error:
            report.fault(name, error.spot, "a checkpoint signed by a key you trust", error.message)
    return opened


class _LogCheck:
    """One pass over the log: leaves into hashes, hashes into tiles, tiles into the root."""

    def __init__(
        self, source: EvidenceSource, checkpoint: Checkpoint, report: Report, progress: Progress, times: anchors.Times
    ) -> None:
        self._source = source
        self._times = times
        self._size = checkpoint.size
        self._root = checkpoint.root
        self._origin = checkpoint.origin
        self._report = report
        self._progress = progress
        # What the leaves hash to, level by level: _levels[1] has one hash for each full tile of leaves, and so on.
        self._levels: list[bytearray] = [bytearray() for _ in range(tiles.MAX_LEVEL + 1)]
        self._edge = b""  # leaf hashes of the last, partial tile
        self._leaf_fault: Spot | None = None  # a leaf that says something wrong, if the tree turns out right
        self._differs: tuple[int, bytes, bytes] | None = None  # the first leaf whose hash is not the tile's
        self._tile_fault: Spot | None = None

    def run(self, earlier: Sequence[tuple[str, Checkpoint]]) -> Trail:
        trail = Trail()
        try:
            self._read_leaves(trail)
        except IntegrityError as error:
            self._report.fault(f"log/{error.spot}", "", "a bundle of leaves as the tree has it", error.message)
            return trail
        self._report.leaves = self._size
        if self._computed_root(self._size) != self._root:
            self._report.faults.append(self._locate())
            return trail
        # The leaves are what was signed. Whatever differs from them now is itself wrong.
        spot = self._tile_fault or self._tile_differs() or self._leaf_fault
        if spot is not None:
            self._report.faults.append(spot)
            return trail
        self._check_leftovers()
        for name, checkpoint in earlier:
            self._check_kept(name, checkpoint)
        for gap in self._times.gaps(self._report.tail):
            self._report.gap("log", *gap)
        return trail

    def _read_leaves(self, trail: Trail) -> None:
        digest, size, read = sha256, self._size, self._source.read
        for number in range((size + tiles.WIDTH - 1) // tiles.WIDTH):
            entries = tiles.read_bundle(number, size, read)
            hashes = [digest(b"\x00" + entry).digest() for entry in entries]
            joined = b"".join(hashes)
            first = number * tiles.WIDTH
            if self._differs is None and self._tile_fault is None:
                self._compare(number, joined, first)
            if self._leaf_fault is None:
                self._follow(trail, number, first, entries, hashes)
            if len(hashes) == tiles.WIDTH:
                self._levels[1] += tiles.tile_root(joined)
            else:
                self._edge = joined
            if number % 16 == 0:
                self._progress("leaves", first, size)
        for level in range(2, tiles.MAX_LEVEL + 1):
            below = self._levels[level - 1]
            step = tiles.WIDTH * HASH_SIZE
            for start in range(0, len(below) - step + 1, step):
                self._levels[level] += tiles.tile_root(bytes(below[start : start + step]))
        self._progress("leaves", size, size)

    def _compare(self, number: int, joined: bytes, first: int) -> None:
        """Leaves against their tile. Which of the two is wrong is known only once the root is."""
        try:
            tile = tiles.read_tile(0, number, self._size, self._source.read)
        except IntegrityError as error:
            self._tile_fault = Spot(f"log/{error.spot}", "", "a tile", error.message)
            return
        if tile != joined:
            for at in range(0, len(joined), HASH_SIZE):
                computed, stored = joined[at : at + HASH_SIZE], tile[at : at + HASH_SIZE]
                if computed != stored:
                    self._differs = (first + at // HASH_SIZE, computed, stored)
                    return

    def _follow(self, trail: Trail, number: int, first: int, entries: list[bytes], hashes: list[bytes]) -> None:
        add, pass_ = trail.add, self._times.pass_
        index = first
        try:
            for entry, hash_ in zip(entries, hashes, strict=True):
                pass_(add(index, entry, hash_).at)
                index += 1
        except IntegrityError as error:
            expected, _, found = error.message.removeprefix("expected ").rpartition(", found ")
            if not expected:
                expected, found = "a leaf", error.message
            self._leaf_fault = Spot(self._bundle(index), f"leaf {index}", expected, found)

    def _bundle(self, index: int) -> str:
        number = index // tiles.WIDTH
        return "log/" + tiles.bundle_path(number, tiles.width_at(0, number, self._size))

    def _tile(self, level: int, number: int) -> str:
        return "log/" + tiles.tile_path(level, number, tiles.width_at(level, number, self._size))

    def _node(self, level: int, index: int) -> bytes:
        """A node of the tree over the stored leaves. Below a full tile: only asked for at the edge, or for `kept`."""
        tile_level, height = divmod(level, 8)
        start, count = (index << height) * HASH_SIZE, HASH_SIZE << height
        if tile_level:
            return tiles.tile_root(bytes(self._levels[tile_level][start : start + count]))
        edge = self._size // tiles.WIDTH * tiles.WIDTH * HASH_SIZE
        if start >= edge:
            return tiles.tile_root(self._edge[start - edge : start - edge + count])
        number, first = divmod(index << height, tiles.WIDTH)
        entries = tiles.read_bundle(number, self._size, self._source.read)[first : first + (1 << height)]
        return tiles.tile_root(b"".join([sha256(b"\x00" + entry).digest() for entry in entries]))

    def _computed_root(self, size: int) -> bytes:
        return EMPTY_ROOT if size == 0 else root_of(size, self._node)

    def _locate(self) -> Spot:
        """The root of the stored leaves is not the signed one: which file is it? The tiles know, if they are right."""
        read, size = self._source.read, self._size
        try:
            nodes = tiles.TileNodes(size, read)
            if size and root_of(size, nodes) == self._root:
                spot = self._misfit()
                if spot is not None:
                    return spot
        except IntegrityError as error:
            return Spot(f"log/{error.spot}", "", "a tile", error.message)
        if self._differs is not None:
            index, computed, stored = self._differs
            return Spot(self._bundle(index), f"leaf {index}", f"leaf hash {stored.hex()}", computed.hex())
        computed = self._computed_root(size)
        return Spot("log/checkpoint", f"size {size}", f"root {self._root.hex()}", f"{computed.hex()}, the leaves' root")

    def _misfit(self) -> Spot | None:
        """The tiles have the signed root, so each tile can be judged by its entry in the one above: the first that
        does not fit."""
        read, size = self._source.read, self._size
        for level in range(tiles.MAX_LEVEL, 0, -1):
            for number in range((tiles.WIDTH - 1 + (size >> 8 * level)) // tiles.WIDTH):
                above = tiles.read_tile(level, number, size, read)
                for at in range(0, len(above), HASH_SIZE):
                    child = number * tiles.WIDTH + at // HASH_SIZE
                    expected = above[at : at + HASH_SIZE]
                    found = tiles.tile_root(tiles.read_tile(level - 1, child, size, read))
                    if found != expected:
                        return Spot(self._tile(level - 1, child), "", f"root {expected.hex()}", found.hex())
        return None

    def _tile_differs(self) -> Spot | None:
        if self._differs is not None:
            index, computed, stored = self._differs
            tile, at = divmod(index, tiles.WIDTH)
            return Spot(self._tile(0, tile), f"byte {at * HASH_SIZE}", computed.hex(), stored.hex())
        for level in range(1, tiles.MAX_LEVEL + 1):
            computed_level = self._levels[level]
            for number in range((len(computed_level) // HASH_SIZE + tiles.WIDTH - 1) // tiles.WIDTH):
                try:
                    stored = tiles.read_tile(level, number, self._size, self._source.read)
                except IntegrityError as error:
                    return Spot(f"log/{error.spot}", "", "a tile", error.message)
                start = number * tiles.WIDTH * HASH_SIZE
                computed = bytes(computed_level[start : start + len(stored)])
                if stored != computed:
                    at = next(at for at in range(len(stored)) if stored[at] != computed[at]) // HASH_SIZE * HASH_SIZE
                    right, wrong = computed[at : at + HASH_SIZE], stored[at : at + HASH_SIZE]
                    return Spot(self._tile(level, number), f"byte {at}", right.hex(), wrong.hex())
        return None

    def _check_leftovers(self) -> None:
        """Partial tiles of earlier sizes may remain; they must agree with what grew from them."""
        read, size = self._source.read, self._size
        for path in self._source.paths():
            try:
                level, number, width = tiles.parse_path(path)
            except IntegrityError:
                continue  # nothing that the log names: a file that was being written, perhaps
            current = tiles.width_at(max(level, 0), number, size)
            if current in (0, width):
                continue  # checked already; or ahead of the checkpoint, and no evidence yet
            common = min(current, width)
            try:
                if level < 0:
                    same = tiles.parse_bundle(read(path))[:common] == tiles.read_bundle(number, size, read)[:common]
                else:
                    stored = read(path)
                    same = (
                        stored[: common * HASH_SIZE] == tiles.read_tile(level, number, size, read)[: common * HASH_SIZE]
                        and len(stored) == width * HASH_SIZE
                    )
            except IntegrityError as error:
                self._report.fault(f"log/{path}", error.spot, "a file of an earlier size of this log", error.message)
                continue
            except FileNotFoundError:
                continue  # tidied away while we looked
            if not same:
                self._report.fault(f"log/{path}", "", "the same leaves as in the log", "others")

    def _check_kept(self, name: str, checkpoint: Checkpoint) -> None:
        if checkpoint.origin != self._origin:
            self._report.fault(name, "", f"a checkpoint of {self._origin}", f"one of {checkpoint.origin}")
        elif checkpoint.size > self._size:
            self._report.fault(
                "log/checkpoint", "", f"at least {checkpoint.size} leaves, as in {name}",
                f"{self._size}: the log was cut back, or this copy is older",
            )
        else:
            root = self._computed_root(checkpoint.size)
            if root != checkpoint.root:
                self._report.fault(
                    "log/checkpoint", f"size {checkpoint.size}", f"root {checkpoint.root.hex()}, as in {name}",
                    f"{root.hex()}: history was rewritten",
                )
            elif not name.startswith("log/"):
                self._report.kept.append(checkpoint.size)


def _check_recordings(
    source: EvidenceSource, sessions: dict[str, SessionTrail], report: Report, progress: Progress
) -> None:
    seen: set[str] = set()
    for recording in source.recordings():
        name = recording.session_id
        try:
            session_bytes(name)
        except IntegrityError as error:
            report.fault(recording.path, "", "a recording named after its session", error.message)
            continue
        if name in seen:
            report.fault(recording.path, "", f"one recording of session {name}", "a second one")
            continue
        seen.add(name)
        report.recordings += 1
        session = sessions.get(name)
        if session is None:
            report.gap(recording.path, "", f"a leaf that opens session {name}", "none in the log (yet)")
            continue
        if session.deleted >= 0:
            expected = f"no such file: leaf {session.deleted} says that it is deleted"
            report.gap(recording.path, "", expected, "the recording of a deletion that is not finished")
        _check_recording(recording, session, report)
        progress("recordings", len(seen), len(sessions))
    for name, session in sessions.items():
        if name in seen:
            continue
        file = f"recordings/*/*/{name}.dwr"
        if session.deleted >= 0:
            report.deleted += 1
        elif session.segments or session.ended:
            report.fault(file, "", f"the recording of session {name}, {session.segments} segments", "no such file")
        else:
            report.gap(file, "", f"the recording of open session {name}", "no such file (yet)")


def _check_recording(recording: StoredRecording, session: SessionTrail, report: Report) -> None:
    """One recording against its leaves. Faults and gaps go into the report, with the file's path and the offset."""
    file, covered = recording.path, session.segments
    # While a session is open, what follows its last leaf is not covered: odd bytes there are a gap, not a fault.
    number, end = 0, 0
    try:
        segments = Segments(recording.chunks)
        end = segments.end
        if segments.header.session_id != recording.session_id:
            found = f"that of session {segments.header.session_id}"
            report.fault(file, "byte 0", f"the recording of session {recording.session_id}", found)
            return
        if session.header not in (None, segments.hash):
            assert session.header is not None
            expected = f"a header with hash {session.header.hex()}, as in leaf {session.opened_leaf}"
            report.fault(file, "byte 0", expected, segments.hash.hex())
            return
        for segment in segments:
            place = f"segment {segment.number}, bytes {segment.offset} to {segment.offset + len(segment.raw)}"
            if segment.number < covered:
                if segment.hash != session.hash(segment.number):
                    leaf = session.leaves[segment.number]
                    expected = f"hash {session.hash(segment.number).hex()}, as in leaf {leaf}"
                    report.fault(file, place, expected, segment.hash.hex())
                    return
                report.segments += 1
                report.sealed_bytes += len(segment.raw)
            elif session.ended:
                report.fault(file, place, f"the recording to end after {covered} segments", "one more")
                return
            number, end = segment.number + 1, segments.end
    except IntegrityError as error:
        place = error.spot or f"byte {end}"
        if number < covered or session.ended:
            report.fault(file, place, f"segment {number}" if number or end else "a recording's header", error.message)
        else:
            report.gap(file, place, "a segment", f"{error.message}; no leaf covers it")
        return
    if number < covered:
        leaf = session.leaves[number]
        report.fault(file, f"byte {end}", f"segment {number}, as in leaf {leaf}", f"the end, after {number} segments")
    elif session.ended and segments.torn:
        expected = f"the recording to end after {covered} segments"
        report.fault(file, f"byte {end}", expected, f"{segments.torn} bytes more")
    elif session.ended and segments.hash != session.root:
        assert session.root is not None
        report.fault(file, "byte 0", f"hash {session.root.hex()}, as in {session.ended}", segments.hash.hex())
    elif number > covered or segments.torn:
        place = f"after segment {covered - 1}" if covered else "after its header"
        found = f"{number - covered} segments and {segments.torn} bytes that no leaf covers (yet)"
        report.gap(file, place, "leaves for all of it", found)
