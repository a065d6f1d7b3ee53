"""Detectors that a configuration defines: a name, a label and a regular expression, with examples that are tried at once.

Contract: `defined` returns a Detector like those of the package, or raises ConfigError that says what is wrong with it.
The expression is RE2's: it takes linear time whatever the input, and has neither look-around nor back-references. It
sees one value at a time, as UTF-8. If it has a group, what the first group matches is confidential, else the whole
match. It is bounded: in length, in what it compiles to, and it may not match nothing at all.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import re2

from doorward.errors import ConfigError
from doorward.masking.detect import Detectors
from doorward.masking.detectors import Detector, Place, redaction

MOST = 64  # detectors of one's own
_MOST_CHARACTERS = 1000
_MEMORY = 256 << 10  # bytes that an expression may compile to
_ASSERTIONS = "bBAzZ"
_LABEL = re.compile(r"[a-z][a-z0-9_-]{0,31}")


@dataclass(frozen=True, slots=True)
class Pattern:
    """What `defined` makes a detector of."""

    name: str
    label: str
    pattern: str
    examples: tuple[str, ...]
    counterexamples: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Choice:
    """Which detectors are to look, in words: another process can be told, and makes the same ones."""

    names: tuple[str, ...]
    patterns: tuple[Pattern, ...] = ()
    region: str = "US"

    def detectors(self) -> Detectors:
        """Those detectors. Raises ConfigError."""
        more = [defined(p.name, p.label, p.pattern, p.examples, p.counterexamples) for p in self.patterns]
        return Detectors(self.names, more=more, region=self.region)


def defined(
    name: str, label: str, pattern: str, examples: Sequence[str], counterexamples: Sequence[str] = ()
) -> Detector:
    """A detector for one regular expression. Something is found in every example, of which there must be one, and
    nothing in any counter-example."""
    if not examples:
        raise ConfigError("it has no example of what it finds", hint="examples are tried when the configuration is read")
    if not _LABEL.fullmatch(label):
        raise ConfigError(f"the label {label!r} is not lower-case letters, digits, - and _")
    if len(pattern) > _MOST_CHARACTERS:
        raise ConfigError(f"the pattern is longer than {_MOST_CHARACTERS} characters")
    options = re2.Options()
    options.max_mem = _MEMORY
    options.log_errors = False
    try:
        expression = re2.compile(pattern, options)
        looser = unanchored(pattern)
        re2.compile(looser, options)
    except re2.error as error:
        raise ConfigError(
            f"the pattern is not a regular expression of RE2: {_said(error)}",
            hint="https://github.com/google/re2/wiki/Syntax; look-around and back-references do not exist",
        ) from None
    if expression.search("") is not None or re2.search(looser, "", options) is not None:
        raise ConfigError("the pattern matches nothing at all, so it would match everywhere")
    if expression.search(redaction(label)) is not None:
        raise ConfigError(f"the pattern matches {redaction(label)!r}, which is what a masked value becomes")
    group = 1 if expression.groups else 0

    def find(value: bytes) -> Iterator[Place]:
        for match in expression.finditer(value):
            start, end = match.span(group)
            if end > start:
                yield start, end

    held: list[tuple[str, str]] = []
    for example in examples:
        value = example.encode("utf-8", "surrogatepass")
        places = list(find(value))
        if not places:
            raise ConfigError(f"the pattern finds nothing in the example {example!r}")
        held.append((example, value[places[0][0] : places[0][1]].decode("utf-8", "replace")))
    for example in counterexamples:
        if any(True for _ in find(example.encode("utf-8", "surrogatepass"))):
            raise ConfigError(f"the pattern finds something in the counter-example {example!r}")
    return Detector(name, label, (looser,), find, tuple(held), tuple(counterexamples))


def unanchored(pattern: str) -> str:
    r"""The pattern without what it asserts about its surroundings (`^`, `$`, `\b` and their like): it matches wherever
    the pattern does, and in raw protocol bytes, too, where other bytes stand next to a value."""
    out: list[str] = []
    place = 0
    while place < len(pattern):
        character = pattern[place]
        following = pattern[place + 1 : place + 2]
        if character == "\\" and following == "Q":
            end = pattern.find("\\E", place)
            end = len(pattern) if end < 0 else end + 2
            out.append(pattern[place:end])
            place = end
        elif character == "\\":
            out.append("(?:)" if following in _ASSERTIONS and following else character + following)
            place += 2
        elif character == "[":
            end = _class_end(pattern, place)
            out.append(pattern[place:end])
            place = end
        else:
            out.append("(?:)" if character in "^$" else character)
            place += 1
    return "".join(out)


def _class_end(pattern: str, start: int) -> int:
    """The position behind the bracket that closes the class at `start`."""
    place = start + 1
    if pattern[place : place + 1] == "^":
        place += 1
    first = place
    while place < len(pattern):
        if pattern[place] == "\\":
            place += 2
        elif pattern.startswith("[:", place):
            end = pattern.find(":]", place)
            place = place + 1 if end < 0 else end + 2
        elif pattern[place] == "]" and place > first:
            return place + 1
        else:
            place += 1
    return len(pattern)


def _said(error: Exception) -> str:
    said = error.args[0] if error.args else ""
    return said.decode("utf-8", "replace") if isinstance(said, bytes) else str(said)
