"""Statement text and parameters: what a literal says counts, not how it is written."""

from __future__ import annotations

import base64
import struct
import uuid
from functools import partial

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from doorward.masking import statement
from doorward.masking.detect import Detectors
from doorward.masking.plan import BOOL, DATE, FLOAT8, INT4, INT8, JSONB, TEXT, TIMESTAMP, TIMESTAMPTZ, UUID
from doorward.masking.statement import scan_literals

ALL = Detectors()
mask_statement = partial(statement.mask_statement, detectors=ALL)
mask_params = partial(statement.mask_params, detectors=ALL)
SSN = "123-45-6789"
HEX = SSN.encode().hex()


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        (f"select '{SSN}'", "select '[ssn]'"),
        ("select E'\\x31\\x32\\x33-45-6789', 'ok'", "select '[ssn]', 'ok'"),
        ("select e'\\061\\062\\063-45-6789'", "select '[ssn]'"),
        ("select E'\\u0031\\U00000032\\u0033-45-6789'", "select '[ssn]'"),
        ("select E'it\\'s 123-45-6789'", "select '[ssn]'"),
        ("select U&'\\0031\\0032\\+000033-45-6789'", "select '[ssn]'"),
        ("select u&'!0031!0032!0033-45-6789' UESCAPE '!' as x", "select '[ssn]' as x"),
        ("select '123-'\n  '45-6789'", "select '[ssn]'"),
        ("select '123-' -- and\n  '45-6789'", "select '[ssn]'"),
        ("select '123-' || '45-6789'", "select '[ssn]' || '[ssn]'"),
        ("select '123-'::text || '45-' ||'6789'", "select '[ssn]'::text || '[ssn]' ||'[ssn]'"),
        (f"select $a$ x {SSN} $a$, 1", "select '[ssn]', 1"),
        (f"select $$ {SSN} $$", "select '[ssn]'"),
        (f"select $a$ $b$ {SSN} $b$ $a$", "select '[ssn]'"),
        (f"select N'{SSN}'", "select '[ssn]'"),
        (f"select X'{HEX}'", "select '[ssn]'"),
        ("select B'" + "".join(f"{byte:08b}" for byte in SSN.encode()) + "'", "select '[ssn]'"),
        (f"select '\\x{HEX}'::bytea", "select '[ssn]'::bytea"),
        (f"select decode('{HEX}', 'hex')", "select decode('[ssn]', 'hex')"),
        (f"select decode('{base64.b64encode(SSN.encode()).decode()}','base64')", "select decode('[ssn]','base64')"),
        (f"-- {SSN}\nselect 1", "-- [ssn]\nselect 1"),
        (f"/* {SSN} /* nested */ */ select 1", "/* [ssn] /* nested */ */ select 1"),
        ("select 4111111111111111", "select [card]"),
        (f'select 1 as "{SSN}"', 'select 1 as "[ssn]"'),
        ("create role x password 'a''b'", "create role x password '[password]'"),
        ("alter role x encrypted password E'hun\\'ter'", "alter role x encrypted password '[password]'"),
        ("create user mapping for x server s options (user 'u', password 'pw')",
         "create user mapping for x server s options (user 'u', password '[password]')"),
        ("alter role x password $$hunter2$$", "alter role x password '[password]'"),
        ("select dblink_connect('host=h password=hunter2')", "select dblink_connect('[password]')"),
        (f"select '{SSN}", "select '[ssn]'"),
        ("select '１２３-45-6789'", "select '[ssn]'"),
        ("", ""),
        ("select 1", "select 1"),
        ("select * from t where a = 'it''s' and b = '2024-01-01'",
         "select * from t where a = 'it''s' and b = '2024-01-01'"),
        ("select a$b$c from t where x$1 = $1", "select a$b$c from t where x$1 = $1"),
    ],
)  # fmt: skip
def test_literals_are_judged_by_what_they_say(text: str, shown: str) -> None:
    """A confidential literal is replaced whole however it is spelled; everything else stays as written."""
    masked, counts = mask_statement(text)
    assert masked == shown
    assert bool(counts) == (text != shown)


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("'a''b'", ["a'b"]),
        ("E'a\\nb' 'c'", ["a\nb", "c"]),
        ("'a'\n'b'", ["ab"]),
        ("U&'d\\0061t\\+000061'", ["data"]),
        ("U&'a\\\\b'", ["a\\b"]),
        ("$x$a'b$x$", ["a'b"]),
        ("/* 'no' */ 'yes' -- 'no'", ["yes"]),
        ('"no\'s" \'yes\'', ["yes"]),
        ("typeE'x'", ["x"]),
        ("'open", ["open"]),
        ("E'open\\", ["open"]),
        ("$$open", ["open"]),
        ("/* open 'x'", []),
    ],
)
def test_the_scanner_reads_as_postgresql_does(text: str, said: list[str]) -> None:
    """Strings, comments and quoted names end where PostgreSQL ends them."""
    assert [what for _, _, what in scan_literals(text)] == said


def test_given_positions_are_judged_too() -> None:
    """A literal that the parser saw is judged whole, besides those the scanner finds."""
    text = f"select {SSN}x"
    start = text.index(SSN)
    assert mask_statement(text)[0] == text
    assert mask_statement(text, [(start, start + len(SSN))])[0] == "select '[ssn]'x"


def test_long_statements_say_that_they_are_cut() -> None:
    """What is stored has a bound, and a cut never leaves half a secret."""
    masked, _ = mask_statement("select '" + "x" * 90_000 + f"', '{SSN}'")
    assert len(masked) < 66_000
    assert masked.endswith("characters are kept */")
    for size in range(8, 24):
        masked, _ = mask_statement(f"select '{SSN}', 1", limit=size)
        assert not any(character.isdigit() for character in masked.split("/*")[0].replace("1", ""))


@settings(max_examples=150, deadline=None)
@given(st.text(alphabet="eEuU&xXbB'\"$a\\-/* \n;01|", max_size=60))
def test_any_text_can_be_masked(text: str) -> None:
    """No text makes it fail; literals lie within the text, in order, without overlap."""
    mask_statement(text)
    end = 0
    for start, stop, _ in scan_literals(text):
        assert end <= start < stop <= len(text)
        end = stop


@settings(max_examples=100, deadline=None)
@given(st.text(alphabet="abc '\\$\n1", max_size=12), st.sampled_from(["plain", "escape", "unicode", "dollar"]))
def test_no_spelling_hides_a_value(around: str, spelling: str) -> None:
    """Whatever stands around it in the literal, the value is gone from what is stored."""
    said = f"{around} {SSN} {around}"
    if spelling == "plain":
        text = "select '" + said.replace("'", "''") + "'"
    elif spelling == "escape":
        text = "select E'" + "".join(f"\\x{byte:02x}" for byte in said.encode()) + "'"
    elif spelling == "unicode":
        text = "select U&'" + "".join(f"\\{ord(character):04x}" for character in said) + "'"
    else:
        text = f"select $tag${said}$tag$"
    assert mask_statement(text)[0] == "select '[ssn]'"


@pytest.mark.parametrize(
    ("value", "form", "oid", "shown"),
    [
        (b"Bob", 0, TEXT, "Bob"),
        (SSN.encode(), 0, 0, "[ssn]"),
        (SSN.encode(), 1, TEXT, "[ssn]"),
        (HEX.encode(), 0, TEXT, "[ssn]"),
        (None, 1, TEXT, None),
        (struct.pack(">i", -7), 1, INT4, "-7"),
        (struct.pack(">q", 4111111111111111), 1, INT8, "[card]"),
        (struct.pack(">d", 1.5), 1, FLOAT8, "1.5"),
        (b"\x01", 1, BOOL, "true"),
        (uuid.UUID(int=5).bytes, 1, UUID, "00000000-0000-0000-0000-000000000005"),
        (struct.pack(">i", 366), 1, DATE, "2001-01-01"),
        (struct.pack(">q", 1_000_000), 1, TIMESTAMP, "2000-01-01 00:00:01"),
        (struct.pack(">q", 0), 1, TIMESTAMPTZ, "2000-01-01 00:00:00+00"),
        (struct.pack(">q", 2**63 - 1), 1, TIMESTAMP, "\\x7fffffffffffffff"),
        (b'\x01{"ssn":"123-45-6789"}', 1, JSONB, '{"ssn":"[ssn]"}'),
        (b"\x00\x01", 1, 99999, "\\x0001"),
        (b"\x00" + SSN.encode(), 1, 99999, "[bytes:12]"),
        (b"\x00" * 300, 1, 99999, "[bytes:300]"),
        (b"\x00\x01\x02", 1, INT4, "\\x000102"),
        (b"\xff\xfe", 0, TEXT, "\ufffd\ufffd"),
    ],
)
def test_parameters_are_shown_as_text(value: bytes | None, form: int, oid: int, shown: str | None) -> None:
    """Known binary types are decoded, unknown ones shown as hexadecimal only when nothing is in them."""
    assert mask_params([value], [form], [oid]) == (shown,)


def test_formats_and_types_may_be_few() -> None:
    """As in Bind: no formats mean text, one means all; missing types are not known."""
    assert mask_params([b"a", b"b"], [], []) == ("a", "b")
    assert mask_params([b"\x00\x00\x00\x01", b"\x01"], [1], [INT4]) == ("1", "\\x01")
    long = mask_params([b"x" * 10_000], [0], [TEXT])[0]
    assert long is not None
    assert len(long) < 4_200


def test_what_may_be_seen_stays() -> None:
    """A set of detectors without a label leaves its values."""
    seen = Detectors().without(frozenset({"ssn"}))
    assert mask_statement(f"select '{SSN}'", detectors=seen)[0] == f"select '{SSN}'"
    assert mask_params([SSN.encode()], [0], [TEXT], detectors=seen) == (SSN,)


def test_what_is_looked_at_of_parameters_is_bounded() -> None:
    """Parameters beyond what is looked at closely are withheld if anything may be in them; others are shown as far as they are
    kept, and none shows a part of what is cut at the end of what was looked at."""
    long = f"{SSN} to bob@example.org " * 100
    shown = mask_params([long.encode()] * 4 + [b"x" * 5000, b"plain"], [], [])
    assert shown[0] is not None
    assert shown[0].startswith("[ssn] to [email] ")
    assert shown[3] == f"[{len(long)} characters, withheld]"
    assert shown[4:] == ("x" * 4096 + " [of 5000 characters]", "plain")
    # What is short is not hidden by what is long, wherever it stands.
    assert mask_params([long.encode()] * 4 + [SSN.encode()], [], [])[4] == "[ssn]"
    for place in range(8170, 8200):
        cut = mask_params([b"." * place + b" " + SSN.encode() + b"." * 9000], [], [])[0]
        assert cut is not None
        assert SSN[:5] not in cut
    assert mask_params([SSN.encode() + b"." * 9000], [], []) == (f"[{9000 + len(SSN)} characters, withheld]",)
