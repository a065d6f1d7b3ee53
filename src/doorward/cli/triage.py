"""`doorward log fork-triage`: what everybody knows of the log, side by side, when the gateway does not start or a witness
objects.

Reads only. Says which state is the newest, whether one continues the other, and between which entries histories part. What to
do about it is for people: docs/guides/log.md, "Incidents".
"""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Final

from doorward.adapters.blobs.evidence import DirectoryEvidence
from doorward.adapters.elsewhere import HttpElsewhere
from doorward.adapters.store.sql import SqlStore
from doorward.cli import output
from doorward.cli.options import Json
from doorward.config import Config, load
from doorward.errors import DoorwardError, IntegrityError, in_words
from doorward.guard.witnessing import LARGEST
from doorward.ledger import handover, stamps, tiles
from doorward.ledger.checkpoint import NoteVerifier, open_checkpoint
from doorward.ledger.tree import EMPTY_ROOT
from doorward.ledger.tree import root_of as tree_root
from doorward.ledger.witness import origin_hash

FITS: Final = "fits"
MORE: Final = "more"
OTHER: Final = "other"
SILENT: Final = "silent"
_WORDS: Final = {
    FITS: "what is here is this, or continues it", MORE: "MORE than is here", OTHER: "ANOTHER HISTORY than what is here",
    SILENT: "says nothing",
}  # fmt: skip


@dataclass(slots=True)
class Seen:
    """What one place knows of the log. `place` names it; `why` says why it knows nothing."""

    place: str
    size: int = 0
    root: str = ""
    state: str = SILENT
    why: str = ""


@dataclass(slots=True)
class Triage:
    """All of it. `agreed` is the largest size at which somebody elsewhere agrees, `parted` the smallest at which one does
    not."""

    here: int
    seen: list[Seen]
    agreed: int = 0
    parted: int | None = None

    @property
    def exit_code(self) -> int:
        if any(each.state in (MORE, OTHER) for each in self.seen):
            return 1
        return 2 if any(each.state == SILENT and each.why for each in self.seen) else 0


def triage_command(*, as_json: Json = False, config: Path = Path("doorward.toml")) -> int:
    """Show what the store, the log's files, its stamps and each witness know of the log, and where they part. Reads only.

    Exit code 0: they agree. 1: somebody knows more than is here, or another history. 2: somebody could not be asked.

    Parameters
    ----------
    config
        The configuration file.
    """
    found = asyncio.run(triage(load(config)))
    if as_json:
        output.print_json(asdict(found))
        return found.exit_code
    output.table(
        ("WHERE", "LEAVES", "ROOT", "WHAT"),
        (
            (each.place, f"{each.size:,}" if each.root else "", each.root[:16], each.why or _WORDS[each.state])
            for each in found.seen
        ),
        fold=1,
    )  # fmt: skip
    print()
    print(advice(found))
    return found.exit_code


def advice(found: Triage) -> str:
    """What it comes to, and what to do."""
    more = max((each.size for each in found.seen if each.state == MORE), default=0)
    if found.parted is not None:
        return (
            f"FORK. Histories part after entry {found.agreed:,}, at or before entry {found.parted:,}. Somebody rewrote "
            "the log, or it went on from an older state. Keep this data directory as it is, do not start the gateway on it, "
            "and change the log's key before anything else is signed."
        )
    if more:
        return (
            f"PUT BACK. {more - found.here:,} entries that were signed and seen are not here: this is an older state. "
            "Put the newest one back (store.sqlite, log/, recordings/, wal/ and keys/, from one moment) and start again. "
            "Nothing is lost by waiting."
        )
    if found.exit_code == 2:
        return "Nothing contradicts what is here, but not everybody could be asked."
    return "Everybody agrees with what is here."


async def triage(config: Config) -> Triage:
    """What everybody knows. DoorwardError when there is no log here that could be compared."""
    data = config.gateway.data
    source = DirectoryEvidence(data)
    beside = source.vkey()
    if beside is None:
        raise IntegrityError(
            f"there is no log/vkey in {data}", hint="name the configuration of the gateway with --config"
        )
    verifiers = [NoteVerifier(beside), *(log.verifier for log in (config.trust.logs if config.trust else ()))]
    wrong: list[str] = []
    verifiers, _ = handover.followed(
        source.names(handover.FOLDER),
        source.read,
        verifiers,
        lambda file, place, expected, found: wrong.append(f"{file}: {found}"),
    )
    local = _Local(source, verifiers)
    found = Triage(
        local.size, [Seen("log/checkpoint", local.size, local.root.hex(), FITS if local.whole else OTHER, local.why)]
    )
    found.seen += [Seen("log/keys", why=why) for why in wrong]
    found.seen.append(await _store(data, local))
    found.seen += _files(source, local)
    if config.trust is not None:
        elsewhere = HttpElsewhere(str(config.ledger.ca or ""))
        try:
            for witness in config.trust.witnesses.values():
                if witness.url:
                    url = f"{witness.url}/{origin_hash(verifiers[0].name)}/checkpoint"
                    found.seen.append(await _asked(elsewhere, f"witness {witness.name}", url, local))
        finally:
            await elsewhere.close()
    elsewhere_seen = [each for each in found.seen if not each.place.startswith(("log/checkpoint", "store"))]
    found.agreed = max((each.size for each in elsewhere_seen if each.state == FITS), default=0)
    found.parted = min((each.size for each in found.seen if each.state == OTHER), default=None)
    return found


class _Local:
    """The log that is here: its published checkpoint, and whether its tiles have that root."""

    def __init__(self, source: DirectoryEvidence, verifiers: list[NoteVerifier]) -> None:
        self._source, self.verifiers = source, verifiers
        self.size, self.root, self.why, self.whole = 0, EMPTY_ROOT, "", True
        try:
            checkpoint = open_checkpoint(source.checkpoint(), verifiers)
            self.size, self.root = checkpoint.size, checkpoint.root
            if self.root_at(self.size) != self.root:
                self.whole, self.why = (
                    False,
                    "its tiles do not have its root: doorward verify names the first that does not fit",
                )
        except FileNotFoundError:
            self.why = "there is none"
        except (IntegrityError, OSError) as error:
            self.whole, self.why = False, _why(error)

    def root_at(self, size: int) -> bytes:
        return tree_root(size, tiles.TileNodes(self.size, self._source.read))

    def compared(self, place: str, size: int, root: bytes) -> Seen:
        """What somebody knows, held to this log."""
        if size > self.size:
            state = MORE
        else:
            state = FITS if self.root_at(size) == root else OTHER
        return Seen(place, size, root.hex(), state)

    def note(self, place: str, note: bytes) -> Seen:
        """The same for a checkpoint that our key signed; else it says nothing."""
        try:
            checkpoint = open_checkpoint(note, self.verifiers)
            return self.compared(place, checkpoint.size, checkpoint.root)
        except (IntegrityError, OSError) as error:
            return Seen(place, why=f"not signed by this log's key, or unreadable: {_why(error)}")


async def _store(data: Path, local: _Local) -> Seen:
    store = SqlStore(data / "store.sqlite")
    try:
        await store.open_to_read()
        head = await store.head()
    except (DoorwardError, OSError) as error:
        return Seen("store", why=_why(error))
    finally:
        await store.close()
    return Seen("store", why="it has no log") if head is None else local.compared("store", head.size, head.root)


def _files(source: DirectoryEvidence, local: _Local) -> Iterator[Seen]:
    """What others said, and is kept beside the log: the witnessed checkpoint, and the newest stamped one."""
    try:
        yield local.note("log/witnessed", source.read("witnessed"))
    except FileNotFoundError:
        pass
    names = [
        name
        for name in source.names(stamps.FOLDER)
        if (match := stamps.NAME.fullmatch(name)) and match.group(3) == "note"
    ]
    if names:
        newest = max(names, key=lambda name: int(name.partition("-")[0]))
        yield local.note(f"log/{stamps.FOLDER}/{newest}", source.read(f"{stamps.FOLDER}/{newest}"))


async def _asked(elsewhere: HttpElsewhere, place: str, url: str, local: _Local) -> Seen:
    try:
        said = await elsewhere.get(url, most=LARGEST)
    except DoorwardError as error:
        return Seen(place, why=error.message)
    if said.status == 404:
        return Seen(place, 0, EMPTY_ROOT.hex(), FITS, "it has not seen this log")
    return local.note(place, said.body) if said.status == 200 else Seen(place, why=f"it answered {said.status}")


def _why(error: BaseException) -> str:
    return error.message if isinstance(error, DoorwardError) else in_words(error)
