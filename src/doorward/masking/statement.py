"""Statement text and bound parameters as they may be stored and shown.

Contract: every string literal is decoded as PostgreSQL decodes it (doubled quotes, E'' escapes, U&'' escapes, dollar
quotes, continuation over lines, bit strings), and the detectors look at what it *says*; a literal that says something
confidential is replaced whole. Literals joined by `||` are read together, too. The rest (numbers, comments, quoted
names) is looked at as written. A text over the size limit is cut after masking, and says so.

What it vouches for is this reading, under standard_conforming_strings = on. It deliberately does not evaluate
expressions beyond `||`, and it needs no parse tree: text that does not parse is stored, too, when it is refused. Which
detectors look is the caller's to say, always: those that the configuration has for the record (`Recorder.detectors`).
"""

from __future__ import annotations

import base64
import binascii
import re
import struct
import uuid
from collections import Counter
from collections.abc import Sequence
from datetime import date, datetime, timedelta

from doorward.masking.detect import Detectors
from doorward.masking.detectors import redaction
from doorward.masking.detectors.password import AFTER_NAME
from doorward.masking.plan import (
    BOOL,
    DATE,
    FLOAT4,
    FLOAT8,
    INT2,
    INT4,
    INT8,
    JSONB,
    OID,
    TEXT_TYPES,
    TIMESTAMP,
    TIMESTAMPTZ,
    UUID,
)  # fmt: skip

MAX_STORED = 64 << 10  # characters of one statement that are kept
MAX_READ = 8 << 20  # characters of one statement that are looked at
CLOSELY = 5 << 10  # bytes of parameters that are looked at closely, together
_BEGIN = 8 << 10  # characters of one parameter that are looked at, more than are kept
MAX_PARAMETER = 4 << 10  # characters of one parameter that are kept

# One token per match, leftmost; what no branch takes is code, character by character in the scanner.
_START = re.compile(
    r"(?P<line>--[^\n]*)|(?P<block>/\*)|(?P<dollar>\$(?:[A-Za-z_\x80-\U0010ffff][A-Za-z0-9_\x80-\U0010ffff]*)?\$)"
    r"|(?P<quote>(?:\b[eE]|\b[uU]&|\b[bBxXnN])?')|(?P<name>\")"
)
_WORD_BEFORE = re.compile(r"[A-Za-z0-9_$\x80-\U0010ffff]")
_CONTINUED = re.compile(r"(?:[ \t\f\v]|--[^\n\r]*)*[\n\r](?:\s|--[^\n\r]*[\n\r])*'")
_COMMENT_EDGE = re.compile(r"/\*|\*/")
_UESCAPE = re.compile(r"\s*UESCAPE\s*'([^'])'", re.IGNORECASE)
_ESCAPE = re.compile(
    r"\\(?:x([0-9A-Fa-f]{1,2})|u([0-9A-Fa-f]{4})|U([0-9A-Fa-f]{8})|([0-7]{1,3})|(.))|((?:[^\\])+)|(\\)", re.DOTALL
)
_PLAIN_ESCAPES = {"b": "\b", "f": "\f", "n": "\n", "r": "\r", "t": "\t", "v": "\v"}
_HEX = re.compile(r"\s*(?:\\x|0x)?([0-9A-Fa-f]{8,})\s*")
_BASE64 = re.compile(r"\s*([A-Za-z0-9+/_-]{12,}={0,2})\s*")
_JOIN = re.compile(r"(?:::[a-z ]{1,24})?\s*\|\|\s*", re.IGNORECASE)


def mask_statement(
    text: str,
    literals: Sequence[tuple[int, int]] | None = None,
    *,
    detectors: Detectors,
    limit: int = MAX_STORED,
) -> tuple[str, Counter[str]]:
    """The statement as it may be stored, and what was replaced, by label.

    `literals`: (start, end) of string literals as a parser saw them; each is judged whole, besides those found here.
    """
    size = len(text)
    text = text[:MAX_READ]
    counts: Counter[str] = Counter()
    parts: list[str] = []
    position = 0
    for start, end, label in _findings(text, literals, detectors):
        parts.append(_mask(text[position:start], detectors, counts))
        parts.append(f"'{redaction(label)}'")
        counts[label] += 1
        position = end
    parts.append(_mask(text[position:], detectors, counts))
    # Once more as a whole: what only shows across the pieces.
    masked = _mask("".join(parts), detectors, counts)
    if len(masked) > limit or size > MAX_READ:
        masked = f"{masked[:limit]} /* doorward: the first {min(limit, len(masked))} of {size} characters are kept */"
    return masked, counts


def _mask(text: str, detectors: Detectors, counts: Counter[str]) -> str:
    masked, found = detectors.mask(text)
    counts.update(found)
    return masked


def _findings(
    text: str, given: Sequence[tuple[int, int]] | None, detectors: Detectors
) -> list[tuple[int, int, str]]:
    """The literals to replace, in order, without overlap: start, end, label."""
    literals = scan_literals(text)
    known = {(start, end) for start, end, _ in literals}
    for start, end in given or ():
        if 0 <= start < end <= len(text) and (start, end) not in known:
            inner = scan_literals(text[start:end])
            literals.append((start, end, "".join(said for _, _, said in inner) or text[start:end]))
    literals.sort(key=lambda literal: (literal[0], -literal[1]))
    found: list[tuple[int, int, str]] = []
    run: list[tuple[int, int, str]] = []
    reach = 0
    for literal in literals:
        start, end, said = literal
        if start < reach:
            continue
        reach = end
        if run and not _JOIN.fullmatch(text, run[-1][1], start):
            found += _run_findings(run, detectors)
            run = []
        label = judge(said, detectors)
        if label is None and "password" in detectors.labels and said and _named_password(text, start, said):
            label = "password"
        if label is not None:
            found.append((start, end, label))
        run.append(literal)
    found += _run_findings(run, detectors)
    unique: list[tuple[int, int, str]] = []
    for finding in sorted(found):
        if not unique or finding[0] >= unique[-1][1]:
            unique.append(finding)
    return unique


def _run_findings(run: list[tuple[int, int, str]], detectors: Detectors) -> list[tuple[int, int, str]]:
    """Literals that say something confidential only together."""
    if len(run) < 2:
        return []
    label = judge("".join(said for _, _, said in run), detectors)
    return [] if label is None else [(start, end, label) for start, end, _ in run]


def _named_password(text: str, start: int, said: str) -> bool:
    if said.startswith("[") and said.endswith("]"):
        return False
    return AFTER_NAME.search(text[max(0, start - 96) : start].encode("utf-8", "surrogatepass")) is not None


def judge(said: str, detectors: Detectors) -> str | None:
    """The label of what a value says, in itself or once hexadecimal or base 64 are undone; None: nothing."""
    for reading in _readings(said):
        found = detectors.mask_bytes(reading)
        if found is not None:
            return min(found[1])
    return None


def _readings(said: str) -> list[bytes]:
    readings = [said.encode("utf-8", "surrogatepass")]
    if (match := _HEX.fullmatch(said)) and len(match[1]) % 2 == 0:
        readings.append(bytes.fromhex(match[1]))
    if match := _BASE64.fullmatch(said):
        packed = match[1].rstrip("=").replace("-", "+").replace("_", "/")
        try:
            readings.append(base64.b64decode(packed + "=" * (-len(packed) % 4)))
        except (binascii.Error, ValueError):
            pass  # not base 64 after all
    return readings


def scan_literals(text: str) -> list[tuple[int, int, str]]:
    """Every string literal of the text: start, end (with its quotes), and what it says.

    PostgreSQL, "4.1.2. Constants". An unterminated literal or comment ends with the text.
    """
    literals: list[tuple[int, int, str]] = []
    position, size = 0, len(text)
    while (match := _START.search(text, position)) is not None:
        kind = match.lastgroup
        start, position = match.span()
        if kind == "block":
            position = _comment_end(text, position)
        elif kind == "name":
            position = _quoted_end(text, position, '"', escapes=False)
        elif kind == "dollar":
            if start and _WORD_BEFORE.match(text[start - 1]):
                position = start + 1
                continue
            close = text.find(match[0], position)
            end = size if close < 0 else close + len(match[0])
            literals.append((start, end, text[position : size if close < 0 else close]))
            position = end
        elif kind == "quote":
            prefix = match[0][:-1].lower()
            end = _quoted_end(text, position, "'", escapes=prefix == "e")
            raw = text[position : end - 1] if text[end - 1 : end] == "'" and end > position else text[position:end]
            while (more := _CONTINUED.match(text, end)) is not None:
                begin = more.end()
                end = _quoted_end(text, begin, "'", escapes=prefix == "e")
                raw += text[begin : end - 1] if text[end - 1 : end] == "'" and end > begin else text[begin:end]
            escape = "\\"
            if prefix == "u&" and (clause := _UESCAPE.match(text, end)) is not None:
                escape, end = clause[1], clause.end()
            literals.append((start, end, _decoded(raw, prefix, escape)))
            position = end
    return literals


def _quoted_end(text: str, position: int, quote: str, *, escapes: bool) -> int:
    """The position behind the closing quote; the end of the text when there is none."""
    size = len(text)
    close = -1
    while True:
        if close < position:  # or many escapes before one far quote would each look for it
            close = text.find(quote, position)
        if close < 0:
            return size
        if escapes:
            slash = text.find("\\", position, close)
            if slash >= 0:
                position = slash + 2
                continue
        if text[close + 1 : close + 2] == quote:
            position = close + 2
            continue
        return close + 1


def _comment_end(text: str, position: int) -> int:
    depth = 1
    while depth and (edge := _COMMENT_EDGE.search(text, position)) is not None:
        depth += 1 if edge[0] == "/*" else -1
        position = edge.end()
    return position if depth == 0 else len(text)


def _decoded(raw: str, prefix: str, escape: str) -> str:
    raw = raw.replace("''", "'")
    if prefix == "e":
        return _unescaped(raw)
    if prefix == "u&":
        return _unicode_unescaped(raw, escape)
    if prefix == "x" and re.fullmatch(r"(?:[0-9A-Fa-f]{2})*", raw):
        return bytes.fromhex(raw).decode("latin-1")
    if prefix == "b" and len(raw) % 8 == 0 and re.fullmatch(r"[01]*", raw):
        return bytes(int(raw[at : at + 8], 2) for at in range(0, len(raw), 8)).decode("latin-1")
    return raw


def _unescaped(raw: str) -> str:
    r"""E'' escapes. `\x` and octal escapes are bytes of the database's encoding, which is UTF-8 here."""
    pieces: list[bytes] = []
    for match in _ESCAPE.finditer(raw):
        hexadecimal, short, long, octal, other, rest, _ = match.groups()
        if rest is not None:
            pieces.append(rest.encode("utf-8", "surrogatepass"))
        elif hexadecimal is not None:
            pieces.append(bytes((int(hexadecimal, 16),)))
        elif short is not None or long is not None:
            code = int(short or long, 16)
            pieces.append(chr(code).encode("utf-8", "surrogatepass") if code < 0x110000 else b"?")
        elif octal is not None:
            pieces.append(bytes((int(octal, 8) & 255,)))
        elif other is not None:
            pieces.append(_PLAIN_ESCAPES.get(other, other).encode("utf-8", "surrogatepass"))
    return b"".join(pieces).decode("utf-8", "replace")


def _unicode_unescaped(raw: str, escape: str) -> str:
    mark = re.escape(escape)

    def character(match: re.Match[str]) -> str:
        if match[1] is None:
            return escape
        code = int(match[1].lstrip("+"), 16)
        return chr(code) if code < 0x110000 else "?"

    return re.sub(rf"{mark}(?:{mark}|([0-9A-Fa-f]{{4}}|\+[0-9A-Fa-f]{{6}}))", character, raw)


_EPOCH = datetime(2000, 1, 1)  # PostgreSQL's, in UTC where there is a zone  # noqa: DTZ001


def mask_params(
    values: Sequence[bytes | None],
    formats: Sequence[int],
    type_oids: Sequence[int],
    *,
    detectors: Detectors,
) -> tuple[str | None, ...]:
    """Bound parameters as they may be stored and shown. None is NULL.

    `formats`: none (all text), one (for all) or one each, as in Bind. `type_oids` may be shorter than `values`: not
    known. A binary value of a known type is shown as its text; of any other type in hexadecimal, unless something in
    it is confidential or it is long: then as its size. What is looked at for long is bounded: beyond CLOSELY bytes in all, a
    value in which anything may be is withheld; the shortest are looked at first, so that long ones hide none of them.
    """
    shown: list[str | None] = [None] * len(values)
    left = CLOSELY
    for index in sorted(range(len(values)), key=lambda index: len(values[index] or b"")):
        value = values[index]
        if value is None:
            continue
        form = 0 if not formats else formats[0] if len(formats) == 1 else formats[index] if index < len(formats) else 1
        oid = type_oids[index] if index < len(type_oids) else 0
        text = value.decode("utf-8", "replace") if form == 0 else _binary_text(value, oid)
        if text is None:
            readable = value.decode("utf-8", "replace")
            hidden = len(value) > 256 or judge(readable, detectors) or judge(value.decode("latin-1"), detectors)
            shown[index] = f"[bytes:{len(value)}]" if hidden else "\\x" + value.hex()
            continue
        begin = text[:_BEGIN]
        if detectors.hit(begin.encode("utf-8", "surrogatepass")):
            if len(text) > left:
                shown[index] = f"[{len(text)} characters, withheld]"
                continue
            left -= len(text)
        masked, _ = detectors.mask(begin)
        if masked == begin and (label := judge(begin, detectors)) is not None:
            masked = redaction(label)
        if len(masked) > MAX_PARAMETER or len(text) > _BEGIN:
            masked = f"{masked[:MAX_PARAMETER]} [of {len(text)} characters]"
        shown[index] = masked
    return tuple(shown)


_FIXED: dict[int, str] = {INT2: ">h", INT4: ">i", INT8: ">q", OID: ">I", FLOAT4: ">f", FLOAT8: ">d"}


def _binary_text(value: bytes, oid: int) -> str | None:
    """A binary value of a known type as text; None: the type is not known, or the value does not fit it."""
    form = _FIXED.get(oid)
    if form is not None:
        return str(struct.unpack(form, value)[0]) if struct.calcsize(form) == len(value) else None
    if oid == BOOL and len(value) == 1:
        return "true" if value[0] else "false"
    if oid == UUID and len(value) == 16:
        return str(uuid.UUID(bytes=value))
    if oid == DATE and len(value) == 4:
        return _moment(struct.unpack(">i", value)[0] * 86_400_000_000, day=True)
    if oid in (TIMESTAMP, TIMESTAMPTZ) and len(value) == 8:
        moment = _moment(struct.unpack(">q", value)[0], day=False)
        return moment if moment is None or oid == TIMESTAMP else moment + "+00"
    if oid == JSONB and value[:1] == b"\x01":
        value = value[1:]
    elif oid not in TEXT_TYPES or oid == JSONB:
        return None
    try:
        return value.decode("utf-8")
    except UnicodeDecodeError:
        return None


def _moment(microseconds: int, *, day: bool) -> str | None:
    try:
        moment = _EPOCH + timedelta(microseconds=microseconds)
    except OverflowError:
        return None  # infinity, or a year beyond what Python counts
    return str(date(moment.year, moment.month, moment.day)) if day else moment.isoformat(" ")

