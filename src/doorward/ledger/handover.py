"""How a log's key passes to the next: a note that both keys signed, and the leaf that binds it.

    doorward/log-key/v1
    <verifier key that signed until then>
    <verifier key that signs from then on>
    <Unix seconds until which the old one signs as well>

It is the file `keys/<leaf index>`; the leaf there is `log.key_rotated`, with the file's SHA-256 as `sh`. Whoever believes one
of the keys follows from note to note to the others. A stolen key can be followed to a thief's: against that there are
witnesses.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Sequence
from hashlib import sha256
from typing import Final, NamedTuple

from doorward.errors import IntegrityError
from doorward.ledger.anchors import Fault
from doorward.ledger.checkpoint import NoteSigner, NoteVerifier, open_note
from doorward.ledger.trail import ROTATED as ROTATED

HEADER: Final = "doorward/log-key/v1"
FOLDER: Final = "keys"
NAME: Final = re.compile(r"0|[1-9][0-9]{0,15}")
MAX_KEYS: Final = 1000
_DECIMAL: Final = re.compile(r"[1-9][0-9]{0,11}")


class Handover(NamedTuple):
    """From one key to the next. `until` is Unix seconds; `place` the leaf's index, -1 where it is not known yet."""

    old: NoteVerifier
    new: NoteVerifier
    until: int
    place: int = -1
    digest: bytes = b""


def sign_handover(old: NoteSigner, new: NoteSigner, until: int) -> bytes:
    """The note. ValueError: they are the same key, or of two logs."""
    if old.vkey == new.vkey or old.name != new.name:
        raise ValueError("a key hands over to another key of the same log")
    text = f"{HEADER}\n{old.vkey}\n{new.vkey}\n{until:d}\n"
    return (text + "\n" + old.sign(text) + new.sign(text)).encode()


def open_handover(note: bytes, current: NoteVerifier, place: int = -1) -> Handover:
    """What a note says. IntegrityError unless `current` hands over in it, and both keys signed."""
    text, _, _ = open_note(note, [current])
    lines = text.split("\n")
    if len(lines) != 5 or lines[0] != HEADER or not _DECIMAL.fullmatch(lines[3]):
        raise IntegrityError(f"not a note of {HEADER}")
    if lines[1] != current.vkey:
        raise IntegrityError(f"another key than {current.vkey} hands over")
    new = NoteVerifier(lines[2])
    if new.name != current.name or new.vkey == current.vkey:
        raise IntegrityError("the key hands over to itself, or to another log's")
    open_note(note, [new])
    return Handover(current, new, int(lines[3]), place, sha256(note).digest())


def handovers(names: Iterable[str], read: Callable[[str], bytes], believed: Sequence[NoteVerifier]) -> list[Handover]:
    """Those of a log, in order; none, where none of its keys is among `believed`. Every key vouches for the one before and the
    one after it, so that any of them will do. IntegrityError, with the file as `spot`, for one that does not hold, or does not
    continue the one before. OSError."""
    places = sorted(int(name) for name in names if NAME.fullmatch(name))
    if len(places) > MAX_KEYS:
        raise IntegrityError(f"more than {MAX_KEYS} keys", spot=f"log/{FOLDER}")
    found: list[Handover] = []
    for place in places:
        note = read(f"{FOLDER}/{place}")
        try:
            current = found[-1].new if found else NoteVerifier(note.split(b"\n", 2)[1].decode() if b"\n" in note else "")
            found.append(open_handover(note, current, place))
        except (IntegrityError, ValueError) as error:
            raise IntegrityError(str(error), spot=f"log/{FOLDER}/{place}") from None
    chain = {found[0].old.vkey, *(each.new.vkey for each in found)} if found else set()
    return found if chain & {verifier.vkey for verifier in believed} else []


def digests(names: Iterable[str], read: Callable[[str], bytes]) -> dict[int, bytes]:
    """The SHA-256 of each note, by the leaf that it is named after. OSError."""
    return {int(name): sha256(read(f"{FOLDER}/{name}")).digest() for name in names if NAME.fullmatch(name)}


def followed(
    names: Iterable[str], read: Callable[[str], bytes], verifiers: Sequence[NoteVerifier], fault: Fault
) -> tuple[list[NoteVerifier], list[Handover]]:
    """The keys to believe, with those that the log's own lead to; the one that signs now is first. Faults: a note that does not
    hold. OSError."""
    try:
        found = handovers(names, read, verifiers)
    except IntegrityError as error:
        fault(error.spot, "", "a note by which the log's key hands over to the next", error.message)
        return list(verifiers), []
    except FileNotFoundError:
        return list(verifiers), []
    if not found:
        return list(verifiers), []
    chain = [*(each.new for each in reversed(found)), found[0].old]
    known = {each.vkey for each in chain}
    return [*chain, *(each for each in verifiers if each.vkey not in known)], found
