"""The pack's frame: what it is called, which files it has, and the text that is signed (docs/spec/pack.md, section 2)."""

from __future__ import annotations

import re
from base64 import b64encode
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from hashlib import sha256
from typing import Any, Final
from uuid import NAMESPACE_URL, UUID, uuid5

from doorward.evidence.record import day
from doorward.ledger.encoding import canonical
from doorward.model import Checkpoint

MARK: Final = "doorward-evidence-pack/v1"
MANIFEST: Final = "manifest.json"
NOTE: Final = "manifest.note"
_DAY: Final = 86_400_000


@dataclass(frozen=True, slots=True)
class PackFile:
    """A file of the pack. `rows` is None where it has none to count."""

    path: str
    sha256: str
    size: int
    rows: int | None = None


def pack_id(checkpoint: Checkpoint, since: int, until: int) -> UUID:
    """The same for the same log, checkpoint and period."""
    return uuid5(
        NAMESPACE_URL, f"doorward-pack:{checkpoint.origin}/{checkpoint.size}/{checkpoint.root.hex()}/{since}/{until}"
    )


def pack_name(checkpoint: Checkpoint, since: int, until: int) -> str:
    """What folder and zip are called: origin, first and last day, and the size of the log."""
    origin = re.sub(r"[^a-z0-9.]+", "-", checkpoint.origin.lower()).strip("-.")[:60]
    return f"pack-{origin}-{day(since)}-{day(max(until - 1, since))}-{checkpoint.size}"


def manifest(
    checkpoint: Checkpoint,
    *,
    since: int,
    until: int,
    from_leaf: int,
    to_leaf: int,
    version: str,
    controls: Iterable[str],
    files: Iterable[PackFile],
) -> bytes:
    """`manifest.json`."""
    return canonical({
        "v": 1, "typ": "doorward.pack", "id": str(pack_id(checkpoint, since, until)), "name": pack_name(checkpoint,
        since, until),
        "made_by": f"doorward {version}", "origin": checkpoint.origin, "size": checkpoint.size,
        "root": b64encode(checkpoint.root).decode(), "from": since, "to": until, "from_leaf": from_leaf, "to_leaf": to_leaf,
        "controls": list(controls), "files": [_file(each) for each in sorted(files, key=lambda each: each.path)],
    })  # fmt: skip


def _file(each: PackFile) -> Mapping[str, Any]:
    shown = {"path": each.path, "sha256": each.sha256, "size": each.size}
    return shown if each.rows is None else {**shown, "rows": each.rows}


def note_text(checkpoint: Checkpoint, since: int, until: int, manifest_: bytes) -> str:
    """What is signed. It is no checkpoint: its first line is no origin of a log, and it has four lines."""
    return (
        f"{MARK}\n{pack_id(checkpoint, since, until)}\n{sha256(manifest_).hexdigest()}\n"
        f"{checkpoint.origin} {checkpoint.size} {b64encode(checkpoint.root).decode()}\n"
    )
