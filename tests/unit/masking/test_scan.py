"""The short way says what the detectors say, or that it is not sure."""

from __future__ import annotations

import random
from typing import Any, SupportsIndex

import phonenumbers
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from stdnum import iban as stdnum_iban

from doorward.masking import scan
from doorward.masking.defined import defined
from doorward.masking.detect import DETECTORS, Detectors
from doorward.masking.detectors import phone
from doorward.masking.detectors.iban import LENGTHS, is_iban
from doorward.masking.disguise import COUNTEREXAMPLES, EXAMPLES

ALL = Detectors([detector.name for detector in DETECTORS])
# Every bit: as if the prefilter had seen one of each in the bytes around.
WANTED = sum(bit for bit, _ in scan.PATTERNS.values())
WHOLE = tuple(text for detector in DETECTORS for text, _ in detector.examples)
ORDINARY = (*(text for detector in DETECTORS for text in detector.counterexamples), *COUNTEREXAMPLES)
PARTS = (
    "4111111111111111", "4111 1111 1111 1111", "5555-5555-5555-4444", "378282246310005", "3782 822463 10005", "1732353600000",
    "7569217076985", "295109912611193", "11010519491231002", "123-45-6789", "536 22 8726", "899.45.6789", "912-90-3456",
    "bob@example.org", "o_b.x+y@mail.example.co.uk", "a@b", "git@github.com", "@", "logo@2x.png", "x@y.z1", "e@e.museum",
    "DE89370400440532013000", "DE89 3704 0044 0532 0130 00", "GB82WEST12345698765432", "DE89", "NO9386011117947",
    "+1 202-456-1111", "+442079460958", "(202) 456-1111", "202.456.1111", "212-736-5000", "+49 123 45 6789",
    "1 202 456 1111",
    "2026-11-23 06:30:00", "2026-11-23", "1234567", "123456789",
    "A123456789", "54362315K", "54362315-K", "12345678", "E893704004",
    "12", "7", "AB", "X", "word", "é", "_", "1-2345-45678-78-1",
    "-", ".", "/", "//", ":", "(", ")", " ", "  ", ",", "+", "[", "]", "\"", "\n", "=",
)  # fmt: skip


def held(value: bytes) -> None:
    """The short way's answer, for the value alone and as a part of something longer, is the detectors'."""
    suspects = ALL.suspects(value)
    familiar = ALL.familiar(value)
    if suspects is not None and suspects.plain:
        assert familiar is not None
    if familiar is not None:
        assert suspects is None or suspects.plain
    if suspects is None or not suspects.plain:
        return
    assert familiar is not None
    assert suspects.plain & ~familiar.plain == 0
    exact = ALL.mask_exactly(value, suspects)
    assert ALL.mask_bytes(value) == exact, value
    for wanted in (suspects.plain, WANTED):
        for around in (b"", b"9", b"D"):
            data = around + value + around
            place = ALL.place(data, len(around), len(around) + len(value), wanted)
            if b"@" not in value and scan.quiet(data, len(around), len(around) + len(value), wanted):
                assert place == scan.NOTHING, value
            if place == scan.NOTHING:
                assert exact is None, value
            elif place != scan.UNSURE:
                assert exact is not None, value
                label = scan.LABELS[place & 0xFF]
                shown = value[: place >> 8 & 0xFFFFFFF] + f"[{label}]".encode() + value[place >> 36 :]
                assert (shown, {label: 1}) == exact, value


@pytest.mark.parametrize("text", [*WHOLE, *ORDINARY, *(text for pair in EXAMPLES for text in pair)])
def test_what_detectors_are_held_to(text: str) -> None:
    """Every example and counterexample, alone and between what values have around them."""
    for surrounding in (
        "{}", "{{{}}}", "({},x)", "see {} ,", "a: {}\nb", "x{}", "{}x", "1{}", "{}1", "-{}", "{}-1", "a-{}", "+{}",
    ):  # fmt: skip
        held(surrounding.format(text).encode("utf-8", "surrogatepass"))


@settings(max_examples=500)
@given(st.lists(st.sampled_from(PARTS), min_size=1, max_size=5), st.sampled_from(("", " ", "-", ", ")))
def test_parts_together(parts: list[str], between: str) -> None:
    """Candidates beside, within and across one another."""
    held(between.join(parts).encode())


@settings(max_examples=500)
@given(st.text(st.sampled_from("0123456789999 -./()+@abAB:_,é"), max_size=40))
def test_any_text(text: str) -> None:
    """Text of nothing but what matters."""
    held(text.encode())


@given(st.lists(st.sampled_from(PARTS), min_size=1, max_size=4), st.lists(st.sampled_from(PARTS), min_size=1, max_size=4))
def test_what_the_prefilter_did_not_see_in_a_group(parts: list[str], others: list[str]) -> None:
    """A value among others, under what the prefilter says of all of them with their framing in between, is what it is alone."""
    value, other = " ".join(parts).encode(), "".join(others).encode()
    suspects = ALL.suspects(b"D\0\0\0" + value + b"\0\0\0\x31" + other + b"D\0\0")
    exact = ALL.mask_bytes(value, ALL.suspects(value))
    if suspects is None:
        assert exact is None
    else:
        assert ALL.mask_bytes(value, suspects) == exact


def test_it_is_sure_of_what_is_frequent() -> None:
    """A value that is one of the usual, alone or in a sentence, is not looked at twice."""
    for text in ("4111111111111111", "4111 1111 1111 1111", "123-45-6789", "bob.smith@example.org", "DE89370400440532013000",
                 "(202) 456-1111", "+1 202-456-1111", "+442079460958"):  # fmt: skip
        for sentence in ("{}", "({})", "see {}, please", "{}."):
            value = sentence.format(text).encode()
            suspects = ALL.suspects(value)
            assert suspects is not None
            if suspects.plain:
                assert ALL.place(value, 0, len(value), suspects.plain) not in (scan.NOTHING, scan.UNSURE), value


@settings(max_examples=500)
@given(
    st.text(st.sampled_from("0123456789012345678 -./()+AB:_,éx"), max_size=60), st.sampled_from((*PARTS, "")),
    st.integers(0, 511),
)  # fmt: skip
def test_what_is_quiet_is_nothing(text: str, part: str, wanted: int) -> None:
    """Whatever the prefilter has said, what is told from every seventh byte is what looking at every byte says."""
    value = (text + part + text[:7]).replace("@", "").encode()
    if scan.quiet(value, 0, len(value), wanted):
        assert scan.look(value, 0, len(value), wanted) == scan.NOTHING


def test_what_is_quiet_is_not_looked_at() -> None:
    """Most of what people write is told from every seventh byte; nothing that is found can stand between them."""
    for quiet in ("Customer 104729", "997 Station Road", "paid on 2026-05-11", "31 items, sent by post", "é" * 40, ""):
        value = quiet.encode()
        assert scan.quiet(value, 0, len(value), WANTED), quiet
    for text in ("4111111111111111", "4111 1111 1111 1111", "123-45-6789", "DE89370400440532013000", "(202) 456-1111",
                 "MT84MALT011000012345MTLCAST001S", "54362315K"):  # fmt: skip
        for before in range(15):
            value = b"a" * before + b" " + text.encode() + b" b"
            assert not scan.quiet(value, 0, len(value), WANTED), value


@pytest.mark.parametrize("first", ["12345678", "1234567890", "99999999999999999999", "12"])
@pytest.mark.parametrize("between", range(4, 16))
@pytest.mark.parametrize("last", ["4111 1111 1111 1111", "123-45-6789", "202-456-1111"])
def test_a_number_behind_many_groups_of_digits(first: str, between: int, last: str) -> None:
    """AT-23: however many groups of digits stand before a number, it is found: what is known of them does not wrap around."""
    held(f"{first} {'12 ' * between}{last}".encode())
    held(f"no. {first}-{'12-' * between}{last} x".encode())


class Counted(bytes):
    """Bytes that count how often one of them is looked at: interpreted, that is all the work there is."""

    reads = 0

    def __getitem__(self, key: SupportsIndex | slice) -> Any:
        Counted.reads += 1
        return super().__getitem__(key)


@pytest.mark.parametrize("unit", [
    b"NO9386011117947 ", b"NO9386011117947", b"AB12", b"DE89", b"DE89370400440532013001 ", b"4111 1111 1111 1112 ",
    b"1 1 1 1-1 ", b"AB12CD34EF56GH 7, no ", b"12345678", b"+1.1.1.1.1.1.1", b"a@b", b"a.", b"123-45-6789 ", b"1-", b"9",
])  # fmt: skip
def test_hostile_values_are_read_a_few_times(unit: bytes) -> None:
    """AT-24: no value costs more than its length, whatever it is made of; nor more stack."""
    value = Counted(unit * (20_000 // len(unit)))
    for told in (scan.look, scan.quiet):
        Counted.reads = 0
        told(value, 0, len(value), WANTED)
        assert Counted.reads < 40 * len(value), told


def test_unknown_patterns_and_owners_have_no_bit() -> None:
    """A detector of one's own is never decided here, nor is one that shares a prefilter with it."""
    pattern = next(iter(scan.PATTERNS))
    own = defined("mine", "mine", pattern, ["1234567890123"])
    both = Detectors(["card"], more=[own])
    suspects = both.suspects(b"4111111111111111")
    assert suspects is not None
    assert suspects.plain == 0
    assert both.mask_bytes(b"4111111111111111, 1234567890123") == (b"[card], [mine]", {"card": 1, "mine": 1})
    without = Detectors(["national_id"]).suspects(b"4111111111111111")
    assert without is not None
    assert without.plain == 0


def test_a_long_value_is_not_looked_at_here() -> None:
    """Places are 28 bits: beyond a mebibyte the detectors look."""
    value = b" " * (1 << 20) + b" bob@example.org"
    assert scan.look(value, 0, len(value), WANTED) == scan.UNSURE
    assert ALL.mask_bytes(value) == (b" " * (1 << 20) + b" [email]", {"email": 1})


def test_account_numbers_are_those_of_stdnum() -> None:
    """The same answer as stdnum's, over accounts of all its countries, their neighbours, and countries that are none."""
    chosen = random.Random(5)  # noqa: S311  a sample, not a secret
    valid = 0
    for country in (*LENGTHS, "ZZ", "US"):
        for _ in range(40):
            account = "".join(chosen.choice("0123456789") for _ in range(LENGTHS.get(country, 22) - 4))
            letters = chosen.choice(("", "", "WEST", "ABNA", "A"))
            account = letters + account[len(letters) :]
            check = 98 - int("".join(str(int(c, 36)) for c in account + country + "00")) % 97
            written = f"{country}{check if chosen.random() < 0.9 else 42:02}{account}"
            expected = stdnum_iban.is_valid(written, check_country=False)
            valid += expected
            assert is_iban(written) == expected, written
    assert valid > 500


@pytest.mark.parametrize("region", ["US", "CA", "PR", "JM", "AG", "DE"])
def test_north_american_numbers_are_those_of_phonenumbers(region: str) -> None:
    """The same answer as phonenumbers', for every area code, and for its own examples."""
    confirms = phone.detector(region).confirms
    assert confirms is not None
    chosen = random.Random(7)  # noqa: S311  a sample, not a secret
    written = [
        f"{plus}{area}{chosen.randint(2, 9)}{chosen.randint(0, 999999):06}" for area in range(200, 1000) for plus in ("+1", "")
    ]
    for other in phonenumbers.COUNTRY_CODE_TO_REGION_CODE[1]:
        for kind in (0, 1, 3, 4, 5, 6, 7, 8, 9, 10):
            example = phonenumbers.example_number_for_type(other, kind)
            if example is not None:
                number = str(example.national_number)
                written += [f"+1{number}", number]
                written += [f"+1{number[:-1]}{chosen.randint(0, 9)}", f"+1{number[:4]}{chosen.randint(0, 999999):06}"]
    exist = 0
    for each in written:
        try:
            expected = phonenumbers.is_valid_number(phonenumbers.parse(each, region))
        except phonenumbers.NumberParseException:
            expected = False
        exist += expected
        assert confirms(each.encode()) == expected, each
    assert exist > 100
