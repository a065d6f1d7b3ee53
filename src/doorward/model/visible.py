"""Text that others wrote, fit to be read by a person who decides by it; and times in words.

Contract: pure and total. `visible` spells every character that is not seen as itself: control characters, which move a
cursor; direction marks, which turn a line; what is drawn as nothing or as a blank. `pieces` does the same for a page, where
what was spelled is set apart, and marks what looks like another letter: a letter of Greek or Cyrillic, of full width or of
mathematics in a word that has Latin letters too, or that stands for one (Unicode UTS 39, section 4 and 5, for the scripts
that imitate Latin). Joining the pieces' texts gives what `visible` gives. `harmless` is for a name in a message that other
programs draw: there nothing can be marked, so what looks like something else is spelled as well, and so is whatever Markdown,
Slack, Teams or a mail program makes formatting, a mention or a link of.

It deliberately does not decide what is allowed: a name in Greek is a name.
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Iterator
from datetime import UTC, datetime
from typing import Final, NamedTuple

_SPELLED: Final = frozenset({"Cc", "Cf", "Cs", "Co", "Cn", "Zl", "Zp"})
# Drawn as nothing or as a blank, whatever their category says.
_BLANK: Final = frozenset("\u00a0\u034f\u115f\u1160\u17b4\u17b5\u1680\u2800\u3000\u3164\uffa0") | {
    chr(code) for code in (*range(0x2000, 0x200B), 0x202F, 0x205F, *range(0x180B, 0x180F), *range(0xFE00, 0xFE10))
}
# Strokes through the character before, and rings around it: what is under them cannot be read.
_OVER: Final = frozenset(map(chr, (*range(0x334, 0x339), *range(0x20D0, 0x20F1), 0x489)))
_WORD: Final = re.compile(r"[^\W_]+(?:_+[^\W_]+)*")
# Punctuation that stands for what SQL is made of: quotes, semicolons, dashes, brackets, signs.
_SIGNS: Final = frozenset(
    "\u037e\u061b\u02b9\u02ba\u02bb\u02bc\u02bd\u2018\u2019\u201a\u201b\u201c\u201d\u201e\u2032\u2033\u2010\u2011\u2012"
    "\u2013\u2014\u2015\u2212\u2044\u2215\u2217\u2236\u2024\u2039\u203a\u3008\u3009\uff07\uff02\uff1b\uff0d\uff0c\uff0e"
    "\uff08\uff09\uff0a\uff0f\uff1d\uff1c\uff1e\uff5c\u2223\u01c3\ua789\u05f3\u05f4\u055d\u00b4\u1ffd\u1fef\u0060"
) - {"`"}


# Emphasis, links, mentions, entities, headings; underscores that are not within a word; a scheme's colon.
_MARKUP: Final = re.compile(r"[\\*~`<>\[\]&#]|(?<![^\W_])_|_(?![^\W_])|:(?=//)|(?<!\w)@")
_DOT: Final = re.compile(r"\.(?=[^\W\d])")  # which makes the name of a host of what is around it
_MAIL: Final = re.compile(r"[\w.+-]+@[\w-]+(\.[\w-]+)+")  # an address that leads to no page


class Piece(NamedTuple):
    """A run of text. `kind` is "" for what is seen as itself, "spelled", or "alike" for what looks like something else."""

    kind: str
    text: str


def visible(text: str, *, lines: bool = False) -> str:
    """`text` with every character that is not seen as itself spelled as \\n, \\x1b, \\u202e. `lines`: newlines and tabs stay,
    for a statement that is shown over several lines."""
    if text.isascii() and text.isprintable():
        return text
    return "".join(_seen(character, lines) for character in text)


def pieces(text: str, *, lines: bool = False) -> Iterator[Piece]:
    """`text` cut where its kind changes."""
    if text.isascii() and text.isprintable():
        if text:
            yield Piece("", text)
        return
    alike = _alike(text)
    kind = ""
    run: list[str] = []
    for place, character in enumerate(text):
        seen = _seen(character, lines)
        now = "spelled" if seen is not character else "alike" if place in alike else ""
        if now != kind and run:
            yield Piece(kind, "".join(run))
            run = []
        kind = now
        run.append(seen)
    if run:
        yield Piece(kind, "".join(run))


def harmless(text: str, most: int = 120) -> str:
    """`text` on one line, every character that means something to whoever draws it spelled as \\x2a; cut after `most`."""
    cut = text[:most]
    drawn = (_MARKUP,) if _MAIL.fullmatch(cut) else (_MARKUP, _DOT)
    spelled = []
    for kind, run in pieces(cut):
        if kind == "alike":
            run = _spell(run)
        elif not kind:
            for pattern in drawn:
                run = pattern.sub(lambda found: _spell(found[0]), run)
        spelled.append(run)
    return "".join(spelled) + ("..." if len(text) > most else "")


def _spell(text: str) -> str:
    return "".join(f"\\x{ord(c):02x}" if ord(c) < 256 else c.encode("unicode_escape").decode("ascii") for c in text)


def named(character: str) -> str:
    """A character's code point and its name, for whoever wonders: `U+0430 CYRILLIC SMALL LETTER A`."""
    return f"U+{ord(character):04X} {unicodedata.name(character, '')}".rstrip()


def moment(at: int) -> str:
    """Unix ms as UTC, to the second; empty for never."""
    if not at:
        return ""
    return datetime.fromtimestamp(at / 1000, UTC).strftime("%Y-%m-%d %H:%M:%SZ")


def lasting(milliseconds: int) -> str:
    """A length of time, to two units."""
    if milliseconds < 1000:
        return f"{max(0, milliseconds)} ms"
    seconds = milliseconds // 1000
    if seconds < 60:
        return f"{seconds} s"
    if seconds < 3600:
        return f"{seconds // 60} min {seconds % 60} s"
    return f"{seconds // 3600} h {seconds // 60 % 60} min"


def _seen(character: str, lines: bool) -> str:
    if character in "\n\t" and lines:
        return character
    if (
        character not in _BLANK
        and character not in _OVER
        and unicodedata.category(character) not in _SPELLED
        and not 0xE0000 <= ord(character) <= 0xE0FFF  # tags
    ):
        return character
    return character.encode("unicode_escape").decode("ascii")


def _alike(text: str) -> frozenset[int]:
    """The places of what looks like something else."""
    if text.isascii():
        return frozenset()
    found = {place for place, character in enumerate(text) if character in _SIGNS}
    for match in _WORD.finditer(text):
        word = match[0]
        if word.isascii():
            continue
        strange = [place for place, character in enumerate(word, match.start()) if _strange(character)]
        if strange and (len(strange) < len(word) or all(_imitates(text[place]) for place in strange)):
            found.update(strange)
    return frozenset(found)


def _strange(character: str) -> bool:
    """Whether a letter or digit is of a script, or of a style, that imitates Latin."""
    if character.isascii():
        return False
    code = ord(character)
    if 0xFF10 <= code <= 0xFF5A or 0x1D400 <= code <= 0x1D7FF or 0x2100 <= code <= 0x218F or 0x2460 <= code <= 0x24FF:
        return True
    script = unicodedata.name(character, "").partition(" ")[0]
    return script in ("CYRILLIC", "GREEK", "ARMENIAN", "CHEROKEE", "COPTIC", "LISU")


# Letters whose shape is that of a Latin one in usual fonts.
_TWINS: Final = frozenset(
    "аеорсухіјѕԁһӏԛԝгкмтвнАВЕЅІЈКМНОРСТУХѴԌαινορτυχγκΑΒΕΖΗΙΚΜΝΟΡΤΥΧϲϳհոսցօքՕ"
)


def _imitates(character: str) -> bool:
    return character in _TWINS or unicodedata.normalize("NFKC", character).isascii()
