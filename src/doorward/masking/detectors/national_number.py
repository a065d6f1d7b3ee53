"""National identity numbers that are digits and nothing else: a word in front says what they are, the check digits agree.

One row per number: country, the words (RE2, matched whatever their case), how many digits it has, and its check. Bare
digits without a word are left alone, because one order number in ten or eleven would pass as somebody's identity. A
column of them is found by the column's name (`names`), or labelled.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator

import re2
from stdnum.at import vnr as at_vnr
from stdnum.au import tfn as au_tfn
from stdnum.be import nn as be_nn
from stdnum.bg import egn as bg_egn
from stdnum.br import cpf as br_cpf
from stdnum.ca import sin as ca_sin
from stdnum.cz import rc as cz_rc
from stdnum.de import idnr as de_idnr
from stdnum.ec import ci as ec_ci
from stdnum.ee import ik as ee_ik
from stdnum.gb import nhs as gb_nhs
from stdnum.gr import amka as gr_amka
from stdnum.hr import oib as hr_oib
from stdnum.ie import pps as ie_pps
from stdnum.il import idnr as il_idnr
from stdnum.in_ import aadhaar as in_aadhaar
from stdnum.nl import bsn as nl_bsn
from stdnum.no import fodselsnummer as no_fodselsnummer
from stdnum.nz import ird as nz_ird
from stdnum.pl import pesel as pl_pesel
from stdnum.pt import nif as pt_nif
from stdnum.ro import cnp as ro_cnp
from stdnum.si import emso as si_emso
from stdnum.tr import tckimlik as tr_tckimlik
from stdnum.ua import rntrc as ua_rntrc
from stdnum.za import idnr as za_idnr

from doorward.masking.detectors import Detector, Place, continues_number, stands_alone

Check = Callable[[str], bool]


def _date(day: str, month: str) -> bool:
    return 1 <= int(day) <= 31 and 1 <= int(month) <= 12


def _dk(number: str) -> bool:
    """CPR: a date; numbers given since 2007 need not satisfy the old check digit, so none is asked."""
    return _date(number[:2], number[2:4])


def _jp(number: str) -> bool:
    """My Number (Ministerial Ordinance 85 of 2014, article 5): weights 2 to 7 and 2 to 6, modulo 11."""
    total = sum(
        int(digit) * (place + 1 if place <= 6 else place - 5)
        for place, digit in zip(range(11, 0, -1), number[:11], strict=True)
    )
    rest = total % 11
    return int(number[11]) == (0 if rest <= 1 else 11 - rest)


def _lt(number: str) -> bool:
    return bool(ee_ik.is_valid(number))  # the same construction as Estonia's


def _lv(number: str) -> bool:
    """Personas kods: those given since 2017 begin with 32 and have no date; the others modulo 11."""
    if number.startswith("32"):
        return True
    weights = (1, 6, 3, 7, 9, 10, 5, 8, 4, 2)
    total = sum(int(digit) * weight for digit, weight in zip(number[:10], weights, strict=True))
    return _date(number[:2], number[2:4]) and (1101 - total) % 11 % 10 == int(number[10])


def _se(number: str) -> bool:
    """Personnummer (Skatteverket SKV 704): a date, days from 61 for coordination numbers, and Luhn."""
    ten = number[-10:]
    day = int(ten[4:6])
    if not _date(str(day - 60 if day > 60 else day), ten[2:4]):
        return False
    total = 0
    for place, digit in enumerate(ten):
        doubled = int(digit) * (2 - place % 2)
        total += doubled - 9 if doubled > 9 else doubled
    return total % 10 == 0


# What it is, the words for it, the lengths it has, and its check.
KINDS: tuple[tuple[str, str, tuple[int, ...], Check], ...] = (
    ("AT SVNR", r"svnr|sozialversicherungs(?:nummer|nr)|sv-nummer", (10,), at_vnr.is_valid),
    ("AU TFN", r"tfn|tax file n(?:umber|o)", (8, 9), au_tfn.is_valid),
    ("BE rijksregisternummer", r"rijksregister(?:nummer|nr)|registre national|niss|insz", (11,), be_nn.is_valid),
    ("BG EGN", r"egn|егн", (10,), bg_egn.is_valid),
    ("BR CPF", r"cpf", (11,), br_cpf.is_valid),
    ("CA SIN", r"sin|social insurance", (9,), ca_sin.is_valid),
    ("CZ, SK rodné číslo", r"rodn[eé][ _-]?[cč][ií]slo|rč", (9, 10), cz_rc.is_valid),
    ("DE IdNr", r"steuer-?[ _]?(?:id|idnr|identifikationsnummer)|idnr|tin", (11,), de_idnr.is_valid),
    ("DK CPR", r"cpr|cpr-?(?:nr|nummer)", (10,), _dk),
    ("EC cédula", r"c[eé]dula", (10,), ec_ci.is_valid),
    ("EE isikukood", r"isikukood", (11,), ee_ik.is_valid),
    ("GB NHS", r"nhs", (10,), gb_nhs.is_valid),
    ("GR AMKA", r"amka|αμκα", (11,), gr_amka.is_valid),
    ("HR OIB", r"oib", (11,), hr_oib.is_valid),
    ("IE PPS", r"ppsn?", (7,), ie_pps.is_valid),
    ("IL identity", r"teudat[ _]zehut|mispar[ _]zehut|תעודת זהות|ת\.ז\.", (9,), il_idnr.is_valid),
    ("IN Aadhaar", r"aadhaar|aadhar|uidai", (12,), in_aadhaar.is_valid),
    ("JP My Number", r"my[ _]?number|マイナンバー|個人番号", (12,), _jp),
    ("LT asmens kodas", r"asmens[ _]kodas", (11,), _lt),
    ("LV personas kods", r"personas[ _]kods", (11,), _lv),
    ("NL BSN", r"bsn|burgerservicenummer|sofi-?nummer", (9,), nl_bsn.is_valid),
    ("NO fødselsnummer", r"f[øo]dselsn(?:umme)?r|fnr", (11,), no_fodselsnummer.is_valid),
    ("NZ IRD", r"ird", (8, 9), nz_ird.is_valid),
    ("PL PESEL", r"pesel", (11,), pl_pesel.is_valid),
    ("PT NIF", r"nif|contribuinte", (9,), pt_nif.is_valid),
    ("RO CNP", r"cnp", (13,), ro_cnp.is_valid),
    ("SE personnummer", r"person(?:nummer|nr)|samordningsnummer", (10, 12), _se),
    ("SI, RS, HR, BA EMŠO", r"emšo|emso|jmbg", (13,), si_emso.is_valid),
    ("TR kimlik", r"tckn|t\.?c\.?[ _]?kimlik|kimlik(?:[ _]no)?", (11,), tr_tckimlik.is_valid),
    ("UA RNTRC", r"рнокпп|rnokpp|ідентифікаційний код", (10,), ua_rntrc.is_valid),
    ("ZA identity", r"(?:sa|rsa|za|south african)[ _]id", (13,), za_idnr.is_valid),
    # Whoever writes these may mean any of the others.
    ("unsaid", r"national[ _-]?(?:id|identity|insurance)|identity[ _-](?:number|no)|personal[ _-]?(?:id|code)", (), bool),
)
_WORDS = "|".join(words for _, words, _, _ in KINDS)
_GAP = r"[^0-9\n]{0,24}"
_NUMBER = r"[0-9](?:[ ./-]{0,1}[0-9]){6,12}"
_CANDIDATE = re2.compile(rf"(?i)(?:^|[^A-Za-z])({_WORDS})(?:[^A-Za-z0-9\n][^0-9\n]{{0,23}}?)?({_NUMBER}[A-Z]{{0,2}})")
_EACH = tuple(re2.compile(rf"(?i)(?:{words})") for _, words, _, _ in KINDS)
_SEPARATORS = b" ./-"


def _find(value: bytes) -> Iterator[Place]:
    position = 0
    while (match := _CANDIDATE.search(value, position)) is not None:
        position = match.end(1)
        start, end = match.span(2)
        number = value[start:end].translate(None, _SEPARATORS).decode("ascii").upper()
        digits = number.rstrip("ABCDEFGHIJKLMNOPQRSTUVWXYZ")
        if not stands_alone(value, start, end) or continues_number(value, start, end) or len(set(digits)) < 3:
            continue
        if _is_one(match.group(1), number, len(digits)):
            yield start, end
            position = end


def _is_one(word: bytes, number: str, digits: int) -> bool:
    unsaid = _EACH[-1].fullmatch(word) is not None
    for said, (_, _, sizes, check) in zip(_EACH, KINDS, strict=True):
        if digits not in sizes or not (unsaid or said.fullmatch(word)):
            continue
        if (digits == len(number) or check is ie_pps.is_valid) and check(number):
            return True
    return False


EXAMPLES: tuple[tuple[str, str], ...] = (
    ("SVNR 1237 010180", "1237 010180"),
    ("TFN: 123 456 782", "123 456 782"),
    ("niss=85073003328", "85073003328"),
    ("EGN 7523169263", "7523169263"),
    ('{"cpf":"39053344705"}', "39053344705"),
    ("SIN 123 456 782", "123 456 782"),
    ("rodné číslo: 710319/2745", "710319/2745"),
    ("Steuer-ID 36 574 261 809", "36 574 261 809"),
    ("CPR-nr. 211062-5629", "211062-5629"),
    ("cédula 1714307103", "1714307103"),
    ("isikukood 36805280109", "36805280109"),
    ("NHS number is 943 476 5870", "943 476 5870"),
    ("AMKA 01013099997", "01013099997"),
    ("oib='33392005961'", "33392005961"),
    ("PPS No. 6433435F", "6433435F"),
    ("teudat zehut 039337423", "039337423"),
    ("Aadhaar 2341 2341 2346", "2341 2341 2346"),
    ("my number 6214 9832 0257", "6214 9832 0257"),
    ("asmens kodas 33309240064", "33309240064"),
    ("personas kods 161175-19997", "161175-19997"),
    ("user_bsn: 111222333", "111222333"),
    ("fødselsnummer 151086 95088", "151086 95088"),
    ("IRD 49-091-850", "49-091-850"),
    ("PESEL: 44051401359", "44051401359"),
    ("NIF 501964843", "501964843"),
    ("CNP 1630615123457", "1630615123457"),
    ("personnummer 880320-0016", "880320-0016"),
    ("JMBG 0101006500006", "0101006500006"),
    ("TC kimlik no 17291716060", "17291716060"),
    ("РНОКПП 1759013776", "1759013776"),
    ("SA ID 7503305044089", "7503305044089"),
    ("national id 44051401359", "44051401359"),
)
COUNTEREXAMPLES: tuple[str, ...] = (
    "44051401359",
    "PESEL: 44051401358",
    "bsn: 111222334",
    "order 39053344705",
    "using 123456782",
    "cpf 11111111111",
    "basin 123 456 782",
    "nhs trust, founded 1948, 12000 beds",
    "kimlik 2024-11-23 06:30:00",
    "SIN 123 456 782.5",
    "fnr 20241123063000",
    "my number one choice of 2024",
)
DETECTOR = Detector(
    "national_number",
    "national_id",
    (rf"(?i)(?:{_WORDS}){_GAP}[0-9](?:[ ./-]?[0-9]){{6}}",),
    _find,
    EXAMPLES,
    COUNTEREXAMPLES,
    9,
)
