"""Telephone numbers: international with a plus sign (E.164), and those of one region as people there write them.

The shape only makes a candidate; `phonenumbers` then says whether such a number can exist. Bare digits are too often
something else: without a plus sign, a number needs a separator or a word in front that says what it is.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from functools import cache
from typing import TYPE_CHECKING

import phonenumbers

from doorward.errors import ConfigError
from doorward.masking.detectors import WORD, Detector, Place

if TYPE_CHECKING:
    from mypy_extensions import i64

_INTERNATIONAL = rb"\+[1-9](?:[ ./()-]{0,2}[0-9]){6,14}"
# North America writes 3-3-4. Elsewhere a number begins with the trunk prefix 0, or is written in groups.
_NORTH_AMERICA = rb"(?:1[ .-])?(?:\([2-9][0-9]{2}\) ?|[2-9][0-9]{2}[ .-])[2-9][0-9]{2}[ .-][0-9]{4}"
_TRUNK = rb"\(?0[1-9](?:[ ./()-]{0,2}[0-9]){6,12}"
_GROUPS = rb"[2-9][0-9]{1,3}(?:[ .][0-9]{2,4}){2,4}"
_NAMED = rb"(?i)(?<![A-Za-z])(?:phone|mobile|mobil|tel|tel[e\xc3\xa9]+fono?|fax|handy|cell)[^A-Za-z0-9\n+][^0-9\n+]{0,12}"
INTERNATIONAL_PREFILTER = r"\+[1-9](?:[ ./()-]{0,2}[0-9]){6}"
NORTH_AMERICAN_PREFILTER = r"[0-9]{3}[ .)-] ?[0-9]{3}[ .-][0-9]{4}"
_GROUPED = re.compile(rb"[ ./()-]")
_CHECKED = 128  # candidates of one value that are looked up in the numbering plans; what has the form of further ones is one


def detector(region: str = "US") -> Detector:
    """The detector for a region (ISO 3166 alpha-2). Raises ConfigError for one that has no numbering plan."""
    if region not in phonenumbers.SUPPORTED_REGIONS:
        raise ConfigError(f"no telephone region is named {region}", hint="ISO 3166 alpha-2, as in DE")
    if phonenumbers.country_code_for_region(region) == 1:
        own, prefilter = _NORTH_AMERICA, NORTH_AMERICAN_PREFILTER
    else:
        own, prefilter = _TRUNK + b"|" + _GROUPS, r"0[1-9](?:[ ./()-]{0,2}[0-9]){6}|[0-9]{2}(?:[ .][0-9]{2,4}){2}"
    candidates = re.compile(_INTERNATIONAL + b"|" + own)
    named = re.compile(_NAMED + rb"(\(?[0-9](?:[ ./()-]{0,2}[0-9]){6,13})")

    def find(value: bytes) -> Iterator[Place]:
        found = checked = 0
        for match in candidates.finditer(value):
            start, end = match.span()
            written = match.group()
            if written[0] != 0x2B and _GROUPED.search(written) is None:
                continue
            if not _alone(value, start, end):
                continue
            checked += 1
            if checked > _CHECKED or _exists(written, region):
                found += 1
                yield start, end
        if found == 0:
            for match in named.finditer(value):
                start, end = match.span(1)
                if not _alone(value, start, end):
                    continue
                checked += 1
                if checked > _CHECKED or _exists(match.group(1), region):
                    yield start, end

    return Detector(
        "phone", "phone", (INTERNATIONAL_PREFILTER, prefilter, _NAMED_PREFILTER), find,
        EXAMPLES if region == "US" else INTERNATIONAL, COUNTEREXAMPLES, 8, confirms=lambda written: _exists(written, region),
    )  # fmt: skip


_NAMED_PREFILTER = (
    r"(?i)(?:phone|mobile|mobil|tel|tel[eé]fono?|fax|handy|cell)[^A-Za-z0-9\n+][^0-9\n+]{0,12}[0-9](?:[ ./()-]{0,2}[0-9]){6}"
)


def _exists(written: bytes, region: str) -> bool:
    """Whether such a number can exist: what `phonenumbers.is_valid_number` says, at a hundredth of its cost."""
    number: i64 = 0
    digits: i64 = 0
    end: i64 = len(written)
    i: i64 = 0
    while i < end:
        digit: i64 = written[i] - 48
        i += 1
        if 0 <= digit <= 9:
            digits += 1
            if digits < 12:
                number = number * 10 + digit
    plus = end > 0 and written[0] == 0x2B
    if digits == 11 if plus else digits == 10 and region in _NORTH_AMERICAN:
        national = number - 10_000_000_000 if plus else number
        if 2_000_000_000 <= national < 10_000_000_000:
            prefix: int = national // 10_000
            verdict: int = _verdicts[prefix]
            if verdict == _UNKNOWN:
                verdict = _verdict(prefix)
                _verdicts[prefix] = verdict
            return verdict == _ALL if verdict != _SOME else _matches(str(national))
    try:
        parsed = phonenumbers.parse(written.decode("ascii"), region)
    except phonenumbers.NumberParseException:
        return False
    return bool(phonenumbers.is_valid_number(parsed))


# North America's numbers are the most frequent by far, and have one form of ten digits: the same tables, asked directly.
_NORTH_AMERICAN = tuple(phonenumbers.COUNTRY_CODE_TO_REGION_CODE[1])
_SERVICES = (
    "fixed_line", "mobile", "toll_free", "premium_rate", "shared_cost", "voip", "personal_number", "pager", "uan", "voicemail",
)  # fmt: skip
# By area code and exchange: of their numbers none exists, or all, or it depends on what follows. Filled as they are met.
_UNKNOWN, _NONE, _ALL, _SOME = 0, 1, 2, 3
_verdicts = bytearray(1_000_000)
_PART = re.compile(r"\\d|\[[^\]]*\]|\{[^}]*\}|[0-9]")


def _verdict(prefix: int) -> int:
    area, six = f"{prefix // 1000:03}", f"{prefix:06}"
    plans = _plans(area)
    if not any(plan(six + "????") is not None for plan in plans):
        return _NONE
    return _ALL if any(plan(six + "XXXX") is not None for plan in plans) else _SOME


def _matches(national: str) -> bool:
    return any(plan(national) is not None for plan in _plans(national[:3]))


@cache
def _plans(area: str) -> tuple[Callable[[str], object], ...]:
    """What tells whether a number of an area code exists, in any of the regions that it may be of. As
    `phonenumbers.is_valid_number`: a region that claims the area has the last word, the others may all have it."""
    plans: list[Callable[[str], object]] = []
    for region in _NORTH_AMERICAN:
        metadata = phonenumbers.PhoneMetadata.metadata_for_region(region)
        assert metadata is not None
        claims = metadata.leading_digits is not None and re.match(metadata.leading_digits, area) is not None
        if claims or metadata.leading_digits is None:
            plans.append(_numbers(region))
        if claims:
            break
    return tuple(plans)


@cache
def _numbers(region: str) -> Callable[[str], object]:
    """Matches the national numbers of ten digits of a region. An X in one stands for every digit: it matches only where
    any digit does; a question mark for some digit: it matches wherever a digit can."""
    metadata = phonenumbers.PhoneMetadata.metadata_for_region(region)
    assert metadata is not None
    assert metadata.general_desc is not None
    kinds = [getattr(metadata, service) for service in _SERVICES]
    patterns = {
        kind.national_number_pattern
        for kind in kinds
        if kind is not None and kind.national_number_pattern and (not kind.possible_length or 10 in kind.possible_length)
    }
    general = metadata.general_desc.national_number_pattern
    return re.compile(_PART.sub(_wider, f"(?=(?:{general})$)(?:{'|'.join(sorted(patterns))})")).fullmatch


def _wider(part: re.Match[str]) -> str:
    said = part[0]
    if said[0] == "{":
        return said
    return r"[\dX?]" if said[0] == "\\" else f"{said[:-1]}?]" if said[0] == "[" else f"[{said}?]"


def _alone(value: bytes, start: int, end: int) -> bool:
    if start > 0 and value[start - 1] in WORD:
        return False
    if start > 1 and value[start - 1] in b".-" and value[start - 2] in WORD:
        return False
    if end < len(value) and value[end] in WORD:
        return False
    return not (end + 1 < len(value) and value[end] in b".-" and value[end + 1] in WORD)


INTERNATIONAL: tuple[tuple[str, str], ...] = (
    ("+442079460958", "+442079460958"),
    ("call +44 20 7946 0958 today", "+44 20 7946 0958"),
    ("+49 (0)30 901820", "+49 (0)30 901820"),
    ("tel:+1-202-456-1111", "+1-202-456-1111"),
    ("{+33142685300,x}", "+33142685300"),
)
EXAMPLES: tuple[tuple[str, str], ...] = (
    *INTERNATIONAL,
    ("(202) 456-1111", "(202) 456-1111"),
    ("202-456-1111", "202-456-1111"),
    ("212.736.5000, please", "212.736.5000"),
    ('{"phone":"2024561111"}', "2024561111"),
    ("mobile: 2024561111", "2024561111"),
)
COUNTEREXAMPLES: tuple[str, ...] = (
    "2024-11-23 06:30:00+00",
    "2024-11-23T06:30:00.123+05:30",
    "2079460958",
    "1.5e+100",
    "+1",
    "+99999999999",
    "192.168.100.1000",
    "000-000-0000",
    "a+442079460958x",
    "3 + 4207946095",
    "tel aviv 1948",
    "phone booth 0000000000",
    "hotel 2024561111",
)
DETECTOR: Detector = detector()
