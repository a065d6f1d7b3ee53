"""Canaries are found in every spelling that they claim to know, and nowhere else."""

from __future__ import annotations

import base64
import json
import os
import struct
import urllib.parse
from uuid import UUID

import pytest
from hypothesis import given
from hypothesis import strategies as st

from doorward.errors import ConfigError
from doorward.masking.canary import DETECTED, LABELLED, LEAST, LONGEST, MOST, SPELLINGS, Canaries, marks
from doorward.masking.detect import Detectors
from doorward.masking.names import suggest

VALUE = "CANARY-078051120/Zoë+x"
NUMBER = "4539578763621486"
FACES = {
    "raw": [VALUE, VALUE.lower().replace("ë", "ë")],
    "escaped": [
        json.dumps(VALUE), json.dumps(json.dumps(VALUE)), urllib.parse.quote(VALUE, safe=""), VALUE.replace("A", "&#65;"),
        VALUE.replace("N", "&#x4e;"), VALUE.replace("0", r"\x30"), VALUE.replace("/", r"\/"), VALUE.replace("1", r"\\u0031"),
        "".join(f"\\u{ord(letter):04x}" for letter in VALUE), "".join(f"%{octet:02X}" for octet in VALUE.encode()),
        VALUE.replace("ë", r"\303\253"),
    ],
    "hex": [VALUE.encode().hex(), VALUE.encode().hex(" ").upper(), VALUE.encode().hex(":"),
            VALUE.encode().hex(" ").replace(" ", ", 0x")],
    "base64": [
        *(base64.b64encode(b"?" * skip + VALUE.encode() + b"!" * more).decode() for skip in range(4) for more in range(3)),
        base64.urlsafe_b64encode(b"x" + VALUE.encode()).decode().rstrip("="),
        base64.encodebytes(b"some words in front of it, to make a second line: " + VALUE.encode()).decode(),
    ],
    "reversed": [VALUE[::-1]],
    "separated": [" ".join(VALUE), VALUE.replace("-", "").replace("/", " - "), "CANARY078051120Zoëx"],
}  # fmt: skip


@pytest.mark.parametrize(("spelling", "text"), [(name, text) for name, texts in FACES.items() for text in texts])
def test_every_spelling_is_found_where_it_stands(spelling: str, text: str) -> None:
    """Each reversible spelling is found, under its name, alone and amid other bytes, at the place where it is."""
    canaries = Canaries({"v": VALUE, "other": "nothing-of-it"})
    raw = text.encode()
    for before, after in ((b"", b""), (b"\0\xff row: \x1f", b"\x80\0"), (os.urandom(64).hex().encode() + b"|", b"|")):
        found = list(canaries.find(before + raw + after))
        assert [sighting.canary for sighting in found] == ["v"]
        assert found[0].spelling == spelling
        assert len(before) <= found[0].start < found[0].end <= len(before + raw)
        assert found[0].end - found[0].start <= canaries.reach


@pytest.mark.parametrize("code", ["utf-16-le", "utf-16-be", "utf-32-le", "utf-32-be"])
def test_wide_characters_are_found(code: str) -> None:
    """UTF-16 and UTF-32, in both byte orders."""
    assert [s.spelling for s in Canaries({"v": VALUE}).find(b"x" + VALUE.encode(code) + b"y")] == ["utf-16"]


@pytest.mark.parametrize(
    ("value", "octets"),
    [
        (NUMBER, struct.pack(">q", int(NUMBER))),
        (NUMBER, struct.pack(">hhhhhhhh", 4, 3, 0, 0, 4539, 5787, 6362, 1486)),
        ("53957876362148", struct.pack(">hhhh", 53, 9578, 7636, 2148)),
        ("457-55-5462", struct.pack(">q", 457555462)),
        ("0123e4567-0123-4f01-8123-4567890abcde"[1:], UUID("0123e4567-0123-4f01-8123-4567890abcde"[1:]).bytes),
    ],
)
def test_binary_forms_are_found(value: str, octets: bytes) -> None:
    """Numbers and UUIDs as PostgreSQL's binary format has them."""
    assert [s.spelling for s in Canaries({"v": value}).find(b"\0\0\0\x10" + octets + b"\xff")] == ["binary"]


@given(st.text(st.characters(exclude_categories=["Cs"]), min_size=LEAST, max_size=60), st.binary(max_size=40))
def test_any_value_is_found_as_it_is(value: str, around: bytes) -> None:
    """Whatever a canary is made of, it is found as it is, as a URL, in JSON, in hexadecimal and in base 64."""
    if sum(letter.isalnum() for letter in value) < LEAST:
        return
    canaries = Canaries({"v": value})
    raw = value.encode()
    for form in (raw, urllib.parse.quote(value, safe="").encode(), json.dumps(value).encode(), raw.hex().encode(),
                 base64.b64encode(around + raw + around)):  # fmt: skip
        assert any(s.canary == "v" for s in canaries.find(around + form + around)), form


def test_nothing_is_found_where_nothing_is() -> None:
    """Random bytes, and texts that resemble a canary, hold none."""
    canaries = Canaries({"v": VALUE, "n": NUMBER, **marks("01a20748-05e8-707b-b5cd-49c85c9097bf")})
    near = b"CANARY-078051121/Zoe CANARY 4539578763621487 canary.x@example.org 453957876362148"
    assert not list(canaries.find(os.urandom(1 << 20) + near))


@pytest.mark.parametrize("value", ["", "tiny0", "1-2-3-4-5", "x" * (LONGEST + 1)])
def test_what_cannot_be_looked_for_is_refused_without_being_shown(value: str) -> None:
    """A value that is too short or too long is an error that names it and does not say it."""
    with pytest.raises(ConfigError, match="canary second") as refused:
        Canaries({"first": VALUE, "second": value})
    assert not value or value not in f"{refused.value.message} {refused.value.hint}"
    with pytest.raises(ConfigError, match="at most"):
        Canaries({str(number): VALUE for number in range(MOST + 1)})


def test_the_marks_of_a_proof_follow_from_its_id() -> None:
    """The same id gives the same values, another id others; each is one of its own, and detectors know those meant for them."""
    one, other = marks("01a20748-05e8-707b-b5cd-49c85c9097bf"), marks("01a20748-05e8-707b-b5cd-49c85c9097c0")
    assert one == marks("01a20748-05e8-707b-b5cd-49c85c9097bf")
    assert not set(one.values()) & set(other.values())
    assert set(one) == {*LABELLED, *DETECTED}
    detectors = Detectors()
    assert {name: [span.label for span in detectors.spans(f"a {value} b")] for name, value in one.items()
            if name in DETECTED} == {name: [name.removesuffix("like")] for name in DETECTED}  # fmt: skip
    assert not [name for name in one if suggest(name)]
    for name, value in one.items():
        assert [s.canary for s in Canaries(one).find(value.encode())] == [name]
    assert set(SPELLINGS) >= {s.spelling for s in Canaries(one).find(str(one).encode())}
