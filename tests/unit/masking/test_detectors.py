"""Every detector, held to the suite; and all of them together, on what they must leave alone."""

from __future__ import annotations

import time
from random import Random

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from doorward.errors import ConfigError
from doorward.masking.detect import DETECTORS, Detectors
from doorward.masking.detectors import Detector, phone
from tests.suites import detector as suite

ALL = Detectors()
EXAMPLES = [
    pytest.param(detector, text, secret, id=f"{detector.name}-{number}")
    for detector in DETECTORS
    for number, (text, secret) in enumerate(detector.examples)
]
COUNTEREXAMPLES = [
    pytest.param(detector, text, id=f"{detector.name}-{number}")
    for detector in DETECTORS
    for number, text in enumerate(detector.counterexamples)
]


@pytest.mark.parametrize(("detector", "text", "secret"), EXAMPLES)
def test_examples(detector: Detector, text: str, secret: str) -> None:
    """Each example is found exactly, by search, prefilter and in any surroundings."""
    suite.finds_its_examples(detector, text, secret)
    suite.prefilter_sees(detector, text)
    suite.finds_in_surroundings(detector, text, secret)


@pytest.mark.parametrize(("detector", "text"), COUNTEREXAMPLES)
def test_counterexamples(detector: Detector, text: str) -> None:
    """Nothing is found in what only looks alike."""
    suite.leaves_counterexamples(detector, text)


@pytest.mark.parametrize("detector", DETECTORS, ids=lambda detector: detector.name)
def test_each_file_has_enough_data(detector: Detector) -> None:
    """A detector without examples and counterexamples is not one."""
    assert len(detector.examples) >= 3
    assert len(detector.counterexamples) >= 3


@pytest.mark.parametrize(
    "text",
    [
        "2024-11-23 06:30:00.123456+00",
        "2024-11-23T06:30:00.123456789Z",
        "[2024-01-01 00:00:00+00,2024-12-31 23:59:59+00)",
        "1732353600000",
        "1732353600123456",
        "20241123063000",
        "a0eebc99-9c0b-4ef8-bb6d-6bb9bd380a11",
        "00000000-0000-4000-8000-000000000000",
        "41111111-1111-1111-1111-111111111111",
        "3f786850e387550fdab836ed7e6dc881de23001b",
        "da39a3ee5e6b4b0d3255bfef95601890afd80709",
        "sha256:e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855",
        "3.14159265358979323846",
        "-1.7976931348623157e+308",
        "0.30000000000000004",
        "16385",
        "9223372036854775807",
        "192.168.100.101",
        "2001:db8:85a3::8a2e:370:7334",
        "00:1b:44:11:3a:b7",
        "PostgreSQL 15.18 on x86_64-pc-linux-gnu, compiled by gcc (Debian 12.2.0-14) 12.2.0, 64-bit",
        "{1,2,3,4,5,6,7,8,9,10,11,12,13,14,15,16}",
        "SELECT oid, relname FROM pg_class WHERE relnamespace = 2200 AND relkind = 'r'",
        "nextval('customers_id_seq'::regclass)",
        "12,345,678.90",
        "978-3-16-148410-0",
        "1.2.840.113549.1.1.11",
        "(1.5,2.5),(3.5,4.5)",
        "ISO_8859-1 utf-8 x@ @y a @ b",
        "100% of 20% is 5%",
        "日本語、テキスト。",
        "naïve café — “quoted” … m² ½",
        "x = 10 - 20 - 3000",
    ],
)
def test_ordinary_values_pass(text: str) -> None:
    """Timestamps, identifiers, numbers, addresses of machines, hashes and prose are nobody's secret."""
    assert ALL.mask(text) == (text, {})
    assert ALL.spans(text) == []


@pytest.mark.parametrize(
    ("text", "label"),
    [
        ("ssn １２３-45-6789", "ssn"),
        ("１２３４５６789 １２３-４５-６７８９", "ssn"),
        ("٤١١١١١١١١١١١١١١١", "card"),
        ("4111\u00a01111\u00a01111\u00a01111", "card"),
        ("4111\u20101111\u20101111\u20101111", "card"),
        ("4111\u200b1111\u200b1111\u200b1111", "card"),
        ("123\u00ad-45-67\u206089", "ssn"),
        ("4111 - 1111 - 1111 - 1111", "card"),
        ("4111  1111  1111  1111", "card"),
        (r'{"a":"\u0031\u0032\u0033-45-6789"}', "ssn"),
        (r'{"a":"bob\u0040example.org"}', "email"),
        ("u=bob%40example.org", "email"),
        ("bob&#64;example.org", "email"),
        ("bob&commat;example.org", "email"),
        ("bob＠example.org", "email"),
        ("ＢＯＢ@ＥＸＡＭＰＬＥ.ＯＲＧ", "email"),
        ("𝟏𝟐𝟑-𝟒𝟓-𝟔𝟕𝟖𝟗", "ssn"),
    ],
)
def test_disguises_are_seen_through(text: str, label: str) -> None:
    """What says something confidential only in its plain reading is masked whole, or where it shows."""
    assert ALL.hit(text.encode())
    masked, counts = ALL.mask(text)
    assert counts[label] >= 1
    assert f"[{label}]" in masked
    assert ALL.mask(masked) == (masked, {})
    assert ALL.spans(text)


def test_a_label_that_may_be_seen_is_not_looked_for() -> None:
    """`without` drops the detectors of a label, and only those."""
    seen = ALL.without(frozenset({"card", "no such label"}))
    assert seen.mask("4111111111111111 bob@example.org") == ("4111111111111111 [email]", {"email": 1})
    assert ALL.without(frozenset()) is ALL
    assert ALL.without(frozenset({"card"})) is seen.without(frozenset()) or "card" not in seen.labels


def test_no_detectors_see_nothing() -> None:
    """An empty set is quiet, and an unknown name is an error that says which there are."""
    assert not Detectors(()).hit(b"4111111111111111")
    assert Detectors(()).mask("4111111111111111") == ("4111111111111111", {})
    with pytest.raises(ConfigError, match="no detector is named nonsense"):
        Detectors(["nonsense"])


def test_spans_count_characters() -> None:
    """Positions are those of the text, not of its bytes."""
    text = "grüße an bob@example.org und 123-45-6789 für é"
    assert [(text[span.start : span.end], span.label) for span in ALL.spans(text)] == [
        ("bob@example.org", "email"),
        ("123-45-6789", "ssn"),
    ]


PIECES = st.sampled_from(
    [text for detector in DETECTORS for text, _ in detector.examples]
    + [text for detector in DETECTORS for text in detector.counterexamples]
    + [" ", ",", "'", "@", "-", "4", "x", "\n", "é", "１", "\u200b", "%40", "://"]
)


@settings(max_examples=150, deadline=None)
@given(st.lists(PIECES, max_size=6).map("".join))
def test_what_comes_out_holds_nothing(text: str) -> None:
    """Masking is idempotent: the detectors find nothing in what masking leaves."""
    masked, _ = ALL.mask(text)
    assert ALL.mask(masked) == (masked, {})


@settings(max_examples=100, deadline=None)
@given(st.binary(max_size=200), st.sampled_from([text for d in ALL.detectors for text, _ in d.examples]), st.binary(max_size=9))
def test_the_prefilter_never_says_no_to_an_example(before: bytes, text: str, after: bytes) -> None:
    """Whatever bytes stand around a value, `hit` sees it."""
    assert ALL.hit(before + text.encode() + after)


@settings(max_examples=100, deadline=None)
@given(st.binary(max_size=400))
def test_any_bytes_can_be_looked_at(value: bytes) -> None:
    """No bytes make the detectors fail, UTF-8 or not."""
    result = ALL.mask_bytes(value)
    assert result is None or isinstance(result[0], bytes)


@pytest.mark.parametrize("alphabet", ["0123456789 -.", "abcdefghijklmnopqrstuvwxyz0123456789 -.@:/+%\\_'=&#;é１\u00a0"])
def test_the_prefilter_stays_awake(alphabet: str) -> None:
    """An automaton that ran out of memory would match nothing: after megabytes of near misses it still sees."""
    draw = Random(1)  # noqa: S311 - the same near misses every time
    for _ in range(12):
        chunk = "".join(draw.choices(alphabet, k=65_536)).encode()
        suspects = ALL.suspects(chunk + b"\0-----BEGIN PRIVATE KEY-----\0")
        assert suspects is not None
        assert "private_key" in {detector.name for detector in suspects.detectors}


@pytest.mark.parametrize(
    "unit", [b"4", b"4 ", b"1-", b"a", b"a@", b"a@b.", b"://a:", b"ey", b"eyJ", b"DE12", b"+1", b"password='", b"%40",
             b"-----BEGIN PRIVATE KEY-----", b"sk-", b"123-45-6789", "１".encode()]
)  # fmt: skip
def test_hostile_values_cost_linear_time(unit: bytes) -> None:
    """A quarter of a megabyte of near misses is looked at in seconds, not hours: nothing backtracks."""
    value = unit * (262_144 // len(unit)) + b"@a.bc 4111111111111111"
    began = time.process_time()
    ALL.mask_bytes(value)
    assert time.process_time() - began < 6


def test_telephone_numbers_are_looked_up_a_few_times(monkeypatch: pytest.MonkeyPatch) -> None:
    """AT-24: of a value with thousands of look-alikes 128 are looked up in the plans; the rest are taken for numbers."""
    asked = 0

    def exists(written: bytes, region: str) -> bool:
        nonlocal asked
        asked += 1
        return False

    monkeypatch.setattr(phone, "_exists", exists)
    detector = phone.detector()
    assert len(list(detector.find(b"+999999999 " * 1000))) == 1000 - 128
    assert asked == 128
    assert len(list(detector.find(b"tel: 1234567 " * 1000))) == 1000 - 128
    assert asked == 256
