"""Whom a verifier believes: a trust policy file in the format of C2SP tlog-policy.

    log <vkey> [<url>]
    witness <name> <vkey> [<url>]
    group <name> all|any|<k> <name>...
    quorum <name>|none

A checkpoint is good when one of the logs signed it and the quorum of witnesses cosigned it. The same file tells a gateway whom
to ask (a witness's url is its submission prefix) and anybody else whom to believe; it is the only thing that has to come from
somewhere else than the record.

Bounds: 64 KiB, 100 logs, 100 witnesses, 100 groups. Stricter than the document in one thing: urls are ASCII.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Final, NamedTuple

from doorward.errors import IntegrityError
from doorward.ledger.checkpoint import NoteVerifier, open_checkpoint, parse_vkey
from doorward.ledger.cosignature import Cosignature, CosignatureVerifier, cosignatures
from doorward.model import Checkpoint

MAX_FILE: Final = 64 * 1024
MAX_LINES: Final = 100  # of a kind
NONE: Final = "none"


class Log(NamedTuple):
    """A log that is believed: its key is named as its origin."""

    verifier: NoteVerifier
    url: str


class Witness(NamedTuple):
    """A witness, by the name that the file gives it. `url` is its submission prefix, without a slash at its end, or ""."""

    name: str
    verifier: CosignatureVerifier
    url: str


class Group(NamedTuple):
    """Has witnessed what at least `least` of its members have."""

    least: int
    members: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Witnessed:
    """A checkpoint that a log of the policy signed, and what witnesses of the policy said of it."""

    checkpoint: Checkpoint
    cosignatures: tuple[Cosignature, ...]
    quorum: bool

    @property
    def at(self) -> int:
        """The earliest time that a cosignature names, in Unix seconds; 0 without one. What the checkpoint covers was there
        then, by that witness's clock."""
        return min((each.at for each in self.cosignatures), default=0)


@dataclass(frozen=True, slots=True)
class TrustPolicy:
    """A parsed file. `quorum` names a witness or a group, or is NONE."""

    logs: tuple[Log, ...]
    witnesses: Mapping[str, Witness]
    groups: Mapping[str, Group]
    quorum: str

    def met(self, witnessed: Iterable[str]) -> bool:
        """Whether these witnesses, by the file's names, are a quorum."""
        there = set(witnessed)
        for name, group in self.groups.items():  # members come before their group, in the file and so here
            if sum(member in there for member in group.members) >= group.least:
                there.add(name)
        return self.quorum == NONE or self.quorum in there

    def cosigned(self, note: bytes) -> tuple[Cosignature, ...]:
        """What its witnesses said of a note. IntegrityError: malformed, or one of them signed wrongly."""
        return tuple(cosignatures(note, [witness.verifier for witness in self.witnesses.values()]))

    def enough(self, found: Iterable[Cosignature]) -> bool:
        """Whether these cosignatures are by a quorum."""
        keys = {each.witness.vkey for each in found}
        return self.met(name for name, witness in self.witnesses.items() if witness.verifier.vkey in keys)

    def open(self, note: bytes, more: Iterable[NoteVerifier] = ()) -> Witnessed:
        """A checkpoint, and what its witnesses said. `more` are keys of logs that are believed besides. IntegrityError unless a
        log that is believed signed it; whether there is a quorum is in the answer."""
        checkpoint = open_checkpoint(note, [*(log.verifier for log in self.logs), *more])
        found = self.cosigned(note)
        return Witnessed(checkpoint, found, self.enough(found))


def parse_policy(octets: bytes) -> TrustPolicy:
    """The policy of a file's bytes. IntegrityError, which names the line, for anything that tlog-policy does not allow."""
    if len(octets) > MAX_FILE:
        raise IntegrityError(f"a trust policy of more than {MAX_FILE} bytes")
    if any(octet < 0x20 and octet not in (0x09, 0x0A) for octet in octets) or b"\x7f" in octets:
        raise IntegrityError("a trust policy has no control characters but tab and newline")
    reader = _Reader()
    for number, line in enumerate(octets.split(b"\n"), 1):
        # Names are octets to the format; surrogates keep apart what is apart.
        words = line.decode("utf-8", "surrogateescape").replace("\t", " ").split(" ")
        words = [word for word in words if word]
        if not words or words[0].startswith("#"):
            continue
        try:
            reader.take(words)
        except IntegrityError as error:
            raise IntegrityError(f"line {number}: {error.message}", spot=f"line {number}") from None
    if reader.quorum is None:
        raise IntegrityError("there is no quorum line", hint="add: quorum none, or the name of a witness or a group")
    return TrustPolicy(tuple(reader.logs), reader.witnesses, reader.groups, reader.quorum)


class _Reader:
    def __init__(self) -> None:
        self.logs: list[Log] = []
        self.witnesses: dict[str, Witness] = {}
        self.groups: dict[str, Group] = {}
        self.quorum: str | None = None
        self._keys: set[tuple[str, bytes]] = set()
        self._members: set[str] = set()

    def take(self, words: list[str]) -> None:
        match words:
            case ["log", vkey, *url] if len(url) <= 1:
                self._once("log", vkey)
                self.logs.append(Log(NoteVerifier(vkey), _url(url)))
            case ["witness", name, vkey, *url] if len(url) <= 1:
                self._new(name)
                self._once("witness", vkey)
                self.witnesses[name] = Witness(name, CosignatureVerifier(vkey), _url(url))
            case ["group", name, least, *members] if members:
                self._new(name)
                self.groups[name] = Group(_least(least, len(members)), tuple(map(self._member, members)))
            case ["quorum", name]:
                if self.quorum is not None:
                    raise IntegrityError("a second quorum line")
                if name != NONE and name not in self.witnesses and name not in self.groups:
                    raise IntegrityError(f"quorum {_shown(name)}: no witness or group before this line has that name")
                self.quorum = name
            case _:
                raise IntegrityError(
                    "neither `log VKEY [URL]`, `witness NAME VKEY [URL]`, `group NAME all|any|K NAME...` nor `quorum NAME`"
                )
        if max(len(self.logs), len(self.witnesses), len(self.groups)) > MAX_LINES:
            raise IntegrityError(f"more than {MAX_LINES} logs, witnesses or groups")

    def _new(self, name: str) -> None:
        if name == NONE or name in self.witnesses or name in self.groups:
            raise IntegrityError(f"the name {_shown(name)} is taken")

    def _once(self, kind: str, vkey: str) -> None:
        key = (kind, parse_vkey(vkey)[2][1:])
        if key in self._keys:
            raise IntegrityError(f"the key of this {kind} is in the file already")
        self._keys.add(key)

    def _member(self, name: str) -> str:
        if name not in self.witnesses and name not in self.groups:
            raise IntegrityError(f"no witness or group before this line is called {_shown(name)}")
        if name in self._members:
            raise IntegrityError(f"{_shown(name)} is a member of a group already, and would count twice")
        self._members.add(name)
        return name


def _least(word: str, members: int) -> int:
    if word in ("all", "any"):
        return members if word == "all" else 1
    if not word.isascii() or not word.isdecimal() or len(word) > 3 or not 1 <= int(word) <= members:
        raise IntegrityError(f"of {members} members, {_shown(word)} cannot be what is needed: all, any, or 1 to {members}")
    return int(word)


def _url(words: list[str]) -> str:
    if not words:
        return ""
    if not words[0].isascii() or not words[0].startswith(("https://", "http://")):
        raise IntegrityError(f"{_shown(words[0])} is not an https URL")
    return words[0].rstrip("/")


def _shown(name: str) -> str:
    return ascii(name[:80])
