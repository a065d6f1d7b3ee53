"""National identity numbers whose form tells them from other text: letters in fixed places, printed groups, or thirteen
and more digits with a date and a check digit in them.

One row per number: country and name, the form, and what must hold beyond it. Most check digits are `stdnum`'s. Numbers
that are ten or eleven bare digits are in `national_number`, where a word has to say what they are.
"""

from __future__ import annotations

import datetime
import re
from collections.abc import Callable, Iterator

import re2
from stdnum.be import nn as be_nn
from stdnum.br import cpf as br_cpf
from stdnum.ch import ssn as ch_ahv
from stdnum.cl import rut as cl_rut
from stdnum.es import dni as es_dni
from stdnum.es import nie as es_nie
from stdnum.fi import hetu as fi_hetu
from stdnum.fr import nir as fr_nir
from stdnum.it import codicefiscale as it_codice
from stdnum.kr import rrn as kr_rrn
from stdnum.mx import curp as mx_curp
from stdnum.pt import cc as pt_cc
from stdnum.th import pin as th_pin
from stdnum.us import itin as us_itin

from doorward.masking.detectors import GROUPED_NINE, LONG_NUMBER, Detector, Place, continues_number, stands_alone

_SEPARATORS = re.compile(r"[ ./()-]")


def _compact(written: str) -> str:
    return _SEPARATORS.sub("", written)


def _is_date(year: int, month: int, day: int) -> bool:
    try:
        datetime.date(year, month, day)
    except ValueError:
        return False
    return True


def _ar(written: str) -> bool:
    """CUIT and CUIL of a person (AFIP): eleven digits, modulo 11."""
    number = _compact(written)
    total = sum(int(digit) * weight for digit, weight in zip(number, (5, 4, 3, 2, 7, 6, 5, 4, 3, 2), strict=False))
    return number[10] == "012345678990"[11 - total % 11] if total % 11 != 1 else number[10] == "9"


_CN_PROVINCES = frozenset(
    {*range(11, 16), *range(21, 24), *range(31, 38), *range(41, 47), *range(50, 55), *range(61, 66), 71, 81, 82, 83, 91}
)


def _cn(written: str) -> bool:
    """GB 11643: province, date of birth, ISO 7064 MOD 11-2."""
    number = _compact(written)
    if int(number[:2]) not in _CN_PROVINCES or not "1880" <= number[6:10] <= "2099":
        return False
    if not _is_date(int(number[6:10]), int(number[10:12]), int(number[12:14])):
        return False
    total = sum((10 if digit in "Xx" else int(digit)) << (17 - place) for place, digit in enumerate(number))
    return total % 11 == 1


def _fr(written: str) -> bool:
    """NIR (INSEE): sex, month (or 20 to 42 where it is not known) and the key modulo 97."""
    number = _compact(written)
    month = int(number[3:5])
    return (1 <= month <= 12 or 20 <= month <= 42) and bool(fr_nir.is_valid(number))


def _gb(written: str) -> bool:
    """National Insurance number (HMRC NIM39110): it has no check digit, but prefixes that are never used."""
    number = _compact(written)
    return number[:2] not in {"BG", "GB", "KN", "NK", "NT", "TN", "ZZ"}


def _hk(written: str) -> bool:
    """HKID (Immigration Department): letters count from 10, a missing first one is 36; modulo 11."""
    number = _compact(written)
    values = [int(character, 36) for character in number.rjust(9, " ").replace(" ", "")]
    if len(values) == 8:
        values.insert(0, 36)
    return sum(value * (9 - place) for place, value in enumerate(values)) % 11 == 0


def _sg(written: str) -> bool:
    """NRIC and FIN: weighted sum modulo 11, the letter by series."""
    number = _compact(written)
    total = sum(int(digit) * weight for digit, weight in zip(number[1:8], (2, 7, 6, 5, 4, 3, 2), strict=True))
    series = number[0]
    if series in "ST":
        return number[8] == "JZIHGFEDCBA"[(total + (4 if series == "T" else 0)) % 11]
    if series in "FG":
        return number[8] == "XWUTRQPNMLK"[(total + (4 if series == "G" else 0)) % 11]
    return number[8] == "KLJNPQRTUWX"[10 - (total + 3) % 11]


def _tw(written: str) -> bool:
    """National identification number (ROC): the letter is a place, its two digits and the rest weighted modulo 10."""
    number = _compact(written)
    place = "ABCDEFGHJKLMNPQRSTUVXYWZIO".index(number[0]) + 10
    digits = [place // 10, place % 10, *(int(digit) for digit in number[1:])]
    return sum(d * w for d, w in zip(digits, (1, 9, 8, 7, 6, 5, 4, 3, 2, 1, 1), strict=True)) % 10 == 0


def _ru(written: str) -> bool:
    """SNILS (Pension Fund): weighted sum modulo 101."""
    number = _compact(written)
    total = sum(int(digit) * (9 - place) for place, digit in enumerate(number[:9]))
    return total % 101 % 100 == int(number[9:])


def _pan(written: str) -> bool:
    """A person's PAN (Income Tax Department): its check letter is not published; the digits are never 0000."""
    number = _compact(written)
    return number[5:9] != "0000"


# What it is, its form, and what must hold of it as written.
FORMS: tuple[tuple[str, str, Callable[[str], bool]], ...] = (
    ("AR CUIT", r"2[0-7]-[0-9]{8}-[0-9]", _ar),
    ("BE rijksregisternummer", r"[0-9]{2}\.[0-9]{2}\.[0-9]{2}-[0-9]{3}\.[0-9]{2}", be_nn.is_valid),
    ("BR CPF", r"[0-9]{3}\.[0-9]{3}\.[0-9]{3}-[0-9]{2}", br_cpf.is_valid),
    ("CH AHV", r"756(?:\.[0-9]{4}\.[0-9]{4}\.[0-9]{2}|[0-9]{10})", ch_ahv.is_valid),
    ("CL RUT", r"[1-9][0-9]?\.[0-9]{3}\.[0-9]{3}-[0-9Kk]", cl_rut.is_valid),
    ("CN resident identity", r"[1-9][0-9]{16}[0-9Xx]", _cn),
    ("ES DNI", r"[0-9]{8}-?[A-HJ-NP-TV-Z]", es_dni.is_valid),
    ("ES NIE", r"[XYZ]-?[0-9]{7}-?[A-HJ-NP-TV-Z]", es_nie.is_valid),
    ("FI henkilötunnus", r"[0-3][0-9][01][0-9]{3}[-+A-FU-Y][0-9]{3}[0-9A-FHJ-NPR-Y]", fi_hetu.is_valid),
    (
        "FR NIR",
        r"[1-478] ?[0-9]{2} ?[0-9]{2} ?(?:[0-9]{2}|2[AB]) ?[0-9]{3} ?[0-9]{3} ?[0-9]{2}",
        _fr,
    ),
    ("GB NINO", r"[A-CEGHJ-PR-TW-Z][A-CEGHJ-NPR-TW-Z] ?[0-9]{2} ?[0-9]{2} ?[0-9]{2} ?[A-D]", _gb),
    ("HK identity card", r"[A-Z]{1,2}[0-9]{6}\([0-9A]\)", _hk),
    ("IN PAN", r"[A-Z]{3}P[A-Z][0-9]{4}[A-Z]", _pan),
    (
        "IT codice fiscale",
        r"[A-Z]{6}[0-9LMNP-V]{2}[A-EHLMPRST][0-9LMNP-V]{2}[A-Z][0-9LMNP-V]{3}[A-Z]",
        it_codice.is_valid,
    ),
    ("KR resident registration", r"[0-9]{6}-[1-8][0-9]{6}", kr_rrn.is_valid),
    ("MX CURP", r"[A-Z]{4}[0-9]{6}[HMX][A-Z]{5}[0-9A-Z][0-9]", mx_curp.is_valid),
    ("PT cartão de cidadão", r"[0-9]{8} ?[0-9] ?[A-Z]{2}[0-9]", pt_cc.is_valid),
    ("RU SNILS", r"[0-9]{3}-[0-9]{3}-[0-9]{3}[ -][0-9]{2}", _ru),
    ("SG NRIC", r"[STFGM][0-9]{7}[A-Z]", _sg),
    ("TH personal number", r"[1-8]-[0-9]{4}-[0-9]{5}-[0-9]{2}-[0-9]", th_pin.is_valid),
    ("TW national identification", r"[A-Z][1289][0-9]{8}", _tw),
    ("US ITIN", r"9[0-9]{2}-[0-9]{2}-[0-9]{4}", us_itin.is_valid),
)
# Tried at every word by `re`, two dozen forms take twenty times as long as by an automaton.
_ANY = re2.compile("|".join(form for _, form, _ in FORMS).encode("ascii"))
_WORD = re.compile(rb"[A-Za-z0-9_]*")
_CHECKS = tuple(check for _, _, check in FORMS)
_EACH = tuple(re.compile(form.encode("ascii")) for _, form, _ in FORMS)


def _find(value: bytes) -> Iterator[Place]:
    position = 0
    while (match := _ANY.search(value, position)) is not None:
        start = match.start()
        word = _WORD.match(value, start)
        if start and _WORD.fullmatch(value, start - 1, start) and word is not None:
            position = word.end()  # behind a letter or digit no number stands alone: none begins before the word ends
            continue
        position = start + 1
        for form, check in zip(_EACH, _CHECKS, strict=True):
            one = form.match(value, start)
            if one is None:
                continue
            end = one.end()
            if (
                stands_alone(value, start, end)
                and not continues_number(value, start, end)
                and len(set(one.group())) > 2
                and check(one.group().decode("ascii"))
            ):
                yield start, end
                position = end
                break


EXAMPLES: tuple[tuple[str, str], ...] = (
    ("20-05536168-2", "20-05536168-2"),
    ("85.07.30-033.28", "85.07.30-033.28"),
    ("CPF 390.533.447-05.", "390.533.447-05"),
    ("756.9217.0769.85", "756.9217.0769.85"),
    ("7569217076985", "7569217076985"),
    ("12.531.909-2", "12.531.909-2"),
    ("11010519491231002X", "11010519491231002X"),
    ("DNI 54362315K", "54362315K"),
    ("X-2482300W", "X-2482300W"),
    ("131052-308T", "131052-308T"),
    ("2 95 10 99 126 111 93", "2 95 10 99 126 111 93"),
    ("295109912611193", "295109912611193"),
    ("AB 12 34 56 C", "AB 12 34 56 C"),
    ("AB123456C", "AB123456C"),
    ("A123456(3)", "A123456(3)"),
    ("AAAPL1234C", "AAAPL1234C"),
    ("RCCMNL83S18D969H", "RCCMNL83S18D969H"),
    ("900101-1234568", "900101-1234568"),
    ("BOXW310820HNERXN09", "BOXW310820HNERXN09"),
    ("00000000 0 ZZ4", "00000000 0 ZZ4"),
    ("112-233-445 95", "112-233-445 95"),
    ("S1234567D", "S1234567D"),
    ("1-2345-45678-78-1", "1-2345-45678-78-1"),
    ("A123456789", "A123456789"),
    ("912-90-3456", "912-90-3456"),
)
COUNTEREXAMPLES: tuple[str, ...] = (
    "390.533.447-06",
    "39053344705",
    "756.9217.0769.84",
    "11010519491331002X",
    "54362315A",
    "A54362315K",
    "131052-308U",
    "ORD-2026-000123",
    "295109912611194",
    "GB123456C",
    "AB123456E",
    "A123456(4)",
    "AAACL1234C",
    "RCCMNL83S18D969A",
    "1732353600000123",
    "20241123-0001",
    "S1234567A",
    "912-60-3456",
    "12.531.909-2.1",
    "6ba7b810-9dad-11d1-80b4-00c04fd430c8",
    "SKU-12345678-B",
)
# By themselves, because account numbers hold the one, and rows the other: a number at the end, and the next row's `D`.
EIGHT_AND_A_LETTER = r"[0-9]{8}-?[A-HJ-NP-TV-Z]"
A_LETTER_AND_NINE = r"[A-Z][1289][0-9]{8}"
DETECTOR = Detector(
    "national_id",
    "national_id",
    (
        # Only the ends of what is written in groups: a pattern that begins with a separator costs the automaton less.
        LONG_NUMBER,
        GROUPED_NINE,
        r"\.[0-9]{3}-[0-9Kk]|-[0-9]{3}\.[0-9]{2}|-[0-9]{3}-[0-9]{3}[ -][0-9]{2}|-[0-9]{8}-[0-9]",
        EIGHT_AND_A_LETTER,
        A_LETTER_AND_NINE,
        r"[0-9]{8} ?[0-9] ?[A-Z]{2}[0-9]|[XYZ]-?[0-9]{7}-?[A-Z]|[STFGM][0-9]{7}[A-Z]",
        r"[0-9]{6}[-+A-FU-Y][0-9]{3}[0-9A-FHJ-NPR-Y]|[AB] ?[0-9]{3} ?[0-9]{3} ?[0-9]{2}",
        r"[A-Z]{2} ?[0-9]{2} ?[0-9]{2} ?[0-9]{2} ?[A-D]|[A-Z][0-9]{6}\([0-9A]\)",
        r"[A-Z]{3}P[A-Z][0-9]{4}[A-Z]|[A-Z]{4}[0-9]{6}[HMX][A-Z]{5}|[A-Z]{6}[0-9LMNP-V]{2}[A-EHLMPRST][0-9LMNP-V]{2}[A-Z]",
    ),
    _find,
    EXAMPLES,
    COUNTEREXAMPLES,
    9,
)
