"""The channels by which a value could come out, each as a client would try it: read from `channels.sql`, which says how.

The columns of `masking.canary.DETECTED` are only ever asked for as they are: detectors recognise a value by its form, and do
not claim more (docs/guides/masking.md, What is not covered).
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from importlib.resources import files
from typing import Final

from doorward.masking.canary import DETECTED, LABELLED, PLAIN, TABLE

PROTOCOLS: Final = ("text", "binary", "named", "portions")  # besides "simple"
EFFECTS: Final = ("write", "execute", "control")  # besides "read"
ROWS: Final = f"SELECT {', '.join((PLAIN, *LABELLED, *DETECTED))} FROM {TABLE}"  # noqa: S608 - constants
_HEAD: Final = re.compile(r"-- ([a-z0-9-]+/[a-z0-9-]+)((?: [a-z]+)*)")


@dataclass(frozen=True, slots=True)
class Channel:
    """`statements` run in order, by the protocol `how`; in a transaction that is rolled back if there are several or they
    write, unless `alone`."""

    name: str
    how: str
    effect: str
    alone: bool
    statements: tuple[str, ...]


def read(text: str) -> tuple[Channel, ...]:
    """The channels that a text like `channels.sql` lists. ValueError: it does not say them so."""
    found: list[Channel] = []
    for paragraph in re.split(r"^(?=-- [a-z0-9-]+/)", text, flags=re.MULTILINE)[1:]:
        head, *lines = [line for line in paragraph.splitlines() if line.strip()]
        said = _HEAD.fullmatch(head)
        if said is None or not lines:
            raise ValueError(f"not a channel: {head}")
        words = said[2].split()
        how = [word for word in words if word in PROTOCOLS]
        effect = [word for word in words if word in EFFECTS]
        if len(how) > 1 or len(effect) > 1 or set(words) - {*how, *effect, "alone"}:
            raise ValueError(f"not the head of a channel: {head}")
        statements = tuple(line.replace("@rows", ROWS) for line in lines)
        protocol, seen = "".join(how) or "simple", "".join(effect) or "read"
        found.append(Channel(said[1], protocol, seen, "alone" in words, statements))
    return tuple(found)


CHANNELS: Final = read(files("doorward.cli.masking").joinpath("channels.sql").read_text(encoding="utf-8"))
