"""Made-up numbers of people and accounts, each by the rule of who issues them.

Written from those rules and from nothing in `src`: a check digit that the detectors got wrong must not be wrong here in
the same way. Every function takes a random source and gives one number as people write it.
"""

from __future__ import annotations

from collections.abc import Callable
from random import Random

Maker = Callable[[Random], str]


def digits(draw: Random, count: int, first: str = "0123456789") -> str:
    """A number of random digits."""
    return draw.choice(first) + "".join(draw.choices("0123456789", k=count - 1))


def weighted(number: str, weights: tuple[int, ...]) -> int:
    """The sum of digits times weights."""
    return sum(int(digit) * weight for digit, weight in zip(number, weights, strict=True))


def with_luhn(body: str) -> str:
    """A body of digits and its Luhn digit: every second digit from the right of the body is doubled."""
    total = 0
    for place, character in enumerate(body[::-1]):
        digit = int(character)
        if place % 2 == 0:
            digit = sum(map(int, str(2 * digit)))
        total += digit
    return body + str(-total % 10)


def day(draw: Random) -> tuple[str, str, str]:
    """Year of four digits, month and day."""
    return str(draw.randint(1935, 1999)), f"{draw.randint(1, 12):02d}", f"{draw.randint(1, 28):02d}"


def card(draw: Random) -> str:
    """A payment card number: Visa, Mastercard, American Express, Discover, Diners Club, JCB, UnionPay."""
    prefix, size = draw.choice(
        [
            ("4", 16),
            ("4", 16),
            ("51", 16),
            ("55", 16),
            ("2221", 16),
            ("2720", 16),
            ("34", 15),
            ("37", 15),
            ("6011", 16),
            ("65", 16),
            ("36", 14),
            ("3055", 14),
            ("3530", 16),
            ("6212", 16),
            ("4", 13),
            ("4", 19),
        ]
    )
    number = with_luhn(prefix + digits(draw, size - 1 - len(prefix)))
    while size == 13 and is_barcode(number):
        number = with_luhn(prefix + digits(draw, size - 1 - len(prefix)))
    if size == 16 and draw.random() < 0.5:
        separator = draw.choice(" -")
        return separator.join(number[start : start + 4] for start in range(0, 16, 4))
    if size == 15 and draw.random() < 0.5:
        return f"{number[:4]} {number[4:10]} {number[10:]}"
    return number


def is_barcode(number: str) -> bool:
    """Whether the last of 13 digits is that of an EAN-13."""
    odd, even = sum(map(int, number[0:12:2])), sum(map(int, number[1:12:2]))
    return (odd + 3 * even + int(number[12])) % 10 == 0


def old_card(draw: Random) -> str:
    """A card number of 13 digits, as Visa's once were, that is a barcode as well."""
    while not is_barcode(number := with_luhn("4" + digits(draw, 11))):
        pass
    return number


def iban(draw: Random) -> str:
    """An IBAN with its two check digits (ISO 7064, MOD 97-10)."""
    country, form = draw.choice(
        [
            ("DE", "n18"),
            ("GB", "a4n14"),
            ("FR", "n10c11n2"),
            ("ES", "n20"),
            ("IT", "a1n10c12"),
            ("NL", "a4n10"),
            ("BE", "n12"),
            ("CH", "n5c12"),
            ("AT", "n16"),
            ("PL", "n24"),
            ("SE", "n20"),
            ("NO", "n11"),
            ("DK", "n14"),
            ("FI", "n14"),
            ("PT", "n21"),
            ("IE", "a4n14"),
            ("CZ", "n20"),
            ("HU", "n24"),
            ("RO", "a4c16"),
            ("GR", "n7c16"),
            ("TR", "n6c16"),
            ("SA", "n2c18"),
            ("AE", "n19"),
            ("LU", "n3c13"),
            ("BR", "n23a1c1"),
            ("MT", "a4n5c18"),
        ]
    )
    account = ""
    while form:
        kind, rest = form[0], form[1:]
        size = ""
        while rest[:1].isdigit():
            size, rest = size + rest[0], rest[1:]
        letters = "ABCDEFGHIJKLMNOPQRSTUVWXYZ"
        pool = {"n": "0123456789", "a": letters, "c": "0123456789" + letters}[kind]
        account += "".join(draw.choices(pool, k=int(size)))
        form = rest
    number = "".join(str(int(character, 36)) for character in account + country + "00")
    compact = f"{country}{98 - int(number) % 97:02d}{account}"
    if draw.random() < 0.5:
        return " ".join(compact[start : start + 4] for start in range(0, len(compact), 4))
    return compact


def ssn(draw: Random) -> str:
    """A US social security number that can have been issued."""
    area = draw.choice([number for number in range(1, 900) if number != 666])
    separator = draw.choice("--- .")
    return f"{area:03d}{separator}{draw.randint(1, 99):02d}{separator}{draw.randint(1, 9999):04d}"


# -- national identity numbers whose form tells them


def ar_cuit(draw: Random) -> str:
    while True:
        body = draw.choice(["20", "23", "24", "27"]) + digits(draw, 8)
        check = 11 - weighted(body, (5, 4, 3, 2, 7, 6, 5, 4, 3, 2)) % 11
        if check != 10:
            return f"{body[:2]}-{body[2:]}-{0 if check == 11 else check}"


def be_nn(draw: Random) -> str:
    year, month, date = day(draw)
    serial = f"{draw.randint(1, 997):03d}"
    check = 97 - int(year[2:] + month + date + serial) % 97
    return f"{year[2:]}.{month}.{date}-{serial}.{check:02d}"


def br_cpf_digits(draw: Random) -> str:
    body = digits(draw, 9)
    for size in (9, 10):
        rest = weighted(body, tuple(range(size + 1, 1, -1))) * 10 % 11
        body += str(0 if rest == 10 else rest)
    return body


def br_cpf(draw: Random) -> str:
    number = br_cpf_digits(draw)
    return f"{number[:3]}.{number[3:6]}.{number[6:9]}-{number[9:]}"


def ch_ahv(draw: Random) -> str:
    body = "756" + digits(draw, 9)
    number = body + str(-weighted(body, (1, 3) * 6) % 10)
    return draw.choice([number, f"{number[:3]}.{number[3:7]}.{number[7:11]}.{number[11:]}"])


def cl_rut(draw: Random) -> str:
    body = str(draw.randint(1_000_000, 26_000_000))
    rest = 11 - sum(int(digit) * (2 + place % 6) for place, digit in enumerate(body[::-1])) % 11
    check = {10: "K", 11: "0"}.get(rest, str(rest))
    return f"{int(body):,}".replace(",", ".") + "-" + check


def cn_ric(draw: Random) -> str:
    body = draw.choice(["110105", "310104", "440305", "510107", "330106"]) + "".join(day(draw)) + digits(draw, 3)
    return body + "10X98765432"[weighted(body, (7, 9, 10, 5, 8, 4, 2, 1, 6, 3, 7, 9, 10, 5, 8, 4, 2)) % 11]


def es_dni(draw: Random) -> str:
    number = draw.randint(1_000_000, 79_999_999)
    return f"{number:08d}{draw.choice(['', '-'])}{'TRWAGMYFPDXBNJZSQVHLCKE'[number % 23]}"


def es_nie(draw: Random) -> str:
    prefix, body = draw.randint(0, 2), digits(draw, 7)
    return f"{'XYZ'[prefix]}{body}{'TRWAGMYFPDXBNJZSQVHLCKE'[int(str(prefix) + body) % 23]}"


def fi_hetu(draw: Random) -> str:
    year, month, date = day(draw)
    serial = f"{draw.randint(2, 899):03d}"
    check = "0123456789ABCDEFHJKLMNPRSTUVWXY"[int(date + month + year[2:] + serial) % 31]
    return f"{date}{month}{year[2:]}-{serial}{check}"


def fr_nir(draw: Random) -> str:
    year, month, _ = day(draw)
    body = draw.choice("12") + year[2:] + month + f"{draw.randint(1, 95):02d}" + digits(draw, 6)
    number = f"{body}{97 - int(body) % 97:02d}"
    if draw.random() < 0.5:
        return number
    return " ".join((number[:1], number[1:3], number[3:5], number[5:7], number[7:10], number[10:13], number[13:]))


def gb_nino(draw: Random) -> str:
    while True:
        prefix = draw.choice("ABCEGHJKLMNOPRSTWXYZ") + draw.choice("ABCEGHJKLMNPRSTWXYZ")
        if prefix not in ("BG", "GB", "NK", "KN", "TN", "NT", "ZZ"):
            break
    pairs = [digits(draw, 2) for _ in range(3)]
    return draw.choice(["", " "]).join((prefix, *pairs, draw.choice("ABCD")))


def in_pan(draw: Random) -> str:
    letters = "ABCDEFGHIJKLMNOPQRSTUVWXYZ"
    return (
        "".join(draw.choices(letters, k=3))
        + "P"
        + draw.choice(letters)
        + f"{draw.randint(1, 9999):04d}"
        + draw.choice(letters)
    )


_CF_ODD = (1, 0, 5, 7, 9, 13, 15, 17, 19, 21, 2, 4, 18, 20, 11, 3, 6, 8, 12, 14, 16, 10, 22, 25, 24, 23)


def it_codice(draw: Random) -> str:
    year, month, date = day(draw)
    consonants = "BCDFGLMNPRSTVZ"
    body = "".join(draw.choices(consonants, k=6)) + year[2:] + "ABCDEHLMPRST"[int(month) - 1]
    body += f"{int(date) + draw.choice([0, 40]):02d}" + draw.choice(["F205", "H501", "L219", "D612", "A944"])
    total = 0
    for place, character in enumerate(body):
        value = int(character) if character.isdigit() else ord(character) - ord("A")
        total += _CF_ODD[value] if place % 2 == 0 else value
    return body + chr(ord("A") + total % 26)


def kr_rrn(draw: Random) -> str:
    year, month, date = day(draw)
    body = year[2:] + month + date + draw.choice("12") + f"{draw.randint(0, 95):02d}" + digits(draw, 3)
    return f"{body[:6]}-{body[6:]}{(11 - weighted(body, (2, 3, 4, 5, 6, 7, 8, 9, 2, 3, 4, 5)) % 11) % 10}"


def ru_snils(draw: Random) -> str:
    body = f"{draw.randint(1_001_999, 199_999_999):09d}"
    check = weighted(body, (9, 8, 7, 6, 5, 4, 3, 2, 1)) % 101
    return f"{body[:3]}-{body[3:6]}-{body[6:]} {0 if check == 100 else check:02d}"


def sg_nric(draw: Random) -> str:
    body, prefix = digits(draw, 7), draw.choice("STFG")
    total = weighted(body, (2, 7, 6, 5, 4, 3, 2)) + (4 if prefix in "TG" else 0)
    return prefix + body + ("JZIHGFEDCBA" if prefix in "ST" else "XWUTRQPNMLK")[total % 11]


def th_pin(draw: Random) -> str:
    body = digits(draw, 12, "12345678")
    check = (11 - weighted(body, tuple(range(13, 1, -1))) % 11) % 10
    return f"{body[0]}-{body[1:5]}-{body[5:10]}-{body[10:]}-{check}"


def tw_id(draw: Random) -> str:
    letter = draw.choice("ABCDEFGH")
    code = ord(letter) - ord("A") + 10
    body = draw.choice("12") + digits(draw, 7)
    total = code // 10 + code % 10 * 9 + weighted(body, (8, 7, 6, 5, 4, 3, 2, 1))
    return f"{letter}{body}{-total % 10}"


FORMED: dict[str, Maker] = {
    "AR": ar_cuit,
    "BE": be_nn,
    "BR": br_cpf,
    "CH": ch_ahv,
    "CL": cl_rut,
    "CN": cn_ric,
    "ES": es_dni,
    "ES NIE": es_nie,
    "FI": fi_hetu,
    "FR": fr_nir,
    "GB": gb_nino,
    "IN": in_pan,
    "IT": it_codice,
    "KR": kr_rrn,
    "RU": ru_snils,
    "SG": sg_nric,
    "TH": th_pin,
    "TW": tw_id,
}

# -- national identity numbers that are digits and nothing else


def bg_egn(draw: Random) -> str:
    year, month, date = day(draw)
    body = year[2:] + month + date + digits(draw, 3)
    return body + str(weighted(body, (2, 4, 8, 5, 10, 9, 7, 3, 6)) % 11 % 10)


def ca_sin(draw: Random) -> str:
    number = with_luhn(digits(draw, 8, "1234567"))
    return draw.choice([number, f"{number[:3]} {number[3:6]} {number[6:]}", f"{number[:3]}-{number[3:6]}-{number[6:]}"])


def mod_11_10(body: str) -> str:
    """ISO 7064 MOD 11,10: Croatia's OIB, Germany's IdNr."""
    rest = 10
    for character in body:
        rest = (rest + int(character)) % 10 or 10
        rest = rest * 2 % 11
    return body + str((11 - rest) % 10)


def hr_oib(draw: Random) -> str:
    return mod_11_10(digits(draw, 10))


def de_idnr(draw: Random) -> str:
    chosen = draw.sample("0123456789", 9)
    chosen.append(chosen[0])  # exactly one digit comes twice
    while True:
        draw.shuffle(chosen)
        if chosen[0] != "0":
            return mod_11_10("".join(chosen))


def ee_ik(draw: Random) -> str:
    year, month, date = day(draw)
    body = draw.choice("34") + year[2:] + month + date + digits(draw, 3)
    check = weighted(body, (1, 2, 3, 4, 5, 6, 7, 8, 9, 1)) % 11
    if check == 10:
        check = weighted(body, (3, 4, 5, 6, 7, 8, 9, 1, 2, 3)) % 11 % 10
    return body + str(check)


def gb_nhs(draw: Random) -> str:
    while True:
        body = digits(draw, 9, "4569")
        check = 11 - weighted(body, (10, 9, 8, 7, 6, 5, 4, 3, 2)) % 11
        if check != 10:
            number = body + str(0 if check == 11 else check)
            return draw.choice([number, f"{number[:3]} {number[3:6]} {number[6:]}"])


def nl_bsn(draw: Random) -> str:
    while True:
        body = digits(draw, 8, "12345678")
        check = weighted(body, (9, 8, 7, 6, 5, 4, 3, 2)) % 11
        if check < 10:
            return body + str(check)


def no_fnr(draw: Random) -> str:
    while True:
        year, month, date = day(draw)
        body = date + month + year[2:] + f"{draw.randint(0, 499):03d}"
        one = (11 - weighted(body, (3, 7, 6, 1, 8, 9, 4, 5, 2)) % 11) % 11
        if one == 10:
            continue
        two = (11 - weighted(body + str(one), (5, 4, 3, 2, 7, 6, 5, 4, 3, 2)) % 11) % 11
        if two < 10:
            return f"{body}{one}{two}"


def pl_pesel(draw: Random) -> str:
    year, month, date = day(draw)
    body = year[2:] + month + date + digits(draw, 4)
    return body + str(-weighted(body, (1, 3, 7, 9, 1, 3, 7, 9, 1, 3)) % 10)


def pt_nif(draw: Random) -> str:
    body = digits(draw, 8, "12")
    check = 11 - weighted(body, (9, 8, 7, 6, 5, 4, 3, 2)) % 11
    return body + str(0 if check >= 10 else check)


def ro_cnp(draw: Random) -> str:
    year, month, date = day(draw)
    body = draw.choice("12") + year[2:] + month + date + f"{draw.randint(1, 46):02d}" + f"{draw.randint(1, 999):03d}"
    check = weighted(body, (2, 7, 9, 1, 4, 6, 3, 5, 8, 2, 7, 9)) % 11
    return body + str(1 if check == 10 else check)


def se_personnummer(draw: Random) -> str:
    year, month, date = day(draw)
    number = with_luhn(year[2:] + month + date + digits(draw, 3))
    return draw.choice([f"{number[:6]}-{number[6:]}", year[:2] + number])


def tr_kimlik(draw: Random) -> str:
    body = digits(draw, 9, "123456789")
    tenth = (sum(map(int, body[0::2])) * 7 - sum(map(int, body[1::2]))) % 10
    return f"{body}{tenth}{(sum(map(int, body)) + tenth) % 10}"


_VERHOEFF = (
    "0123456789",
    "1234067895",
    "2340178956",
    "3401289567",
    "4012395678",
    "5987604321",
    "6598710432",
    "7659821043",
    "8765932104",
    "9876543210",
)
_PERMUTED = (
    "0123456789",
    "1576283094",
    "5803796142",
    "8916043527",
    "9453126870",
    "4286573901",
    "2793806415",
    "7046913258",
)


def in_aadhaar(draw: Random) -> str:
    body = digits(draw, 11, "23456789")
    state = 0
    for place, character in enumerate(body[::-1], 1):
        state = int(_VERHOEFF[state][int(_PERMUTED[place % 8][int(character)])])
    check = next(digit for digit in range(10) if _VERHOEFF[state][digit] == "0")
    number = f"{body}{check}"
    return draw.choice([number, f"{number[:4]} {number[4:8]} {number[8:]}"])


def za_id(draw: Random) -> str:
    year, month, date = day(draw)
    return with_luhn(year[2:] + month + date + digits(draw, 4) + draw.choice("01") + "8")


def au_tfn(draw: Random) -> str:
    while True:
        number = digits(draw, 9, "123456789")
        if weighted(number, (1, 4, 3, 7, 5, 8, 6, 9, 10)) % 11 == 0:
            return draw.choice([number, f"{number[:3]} {number[3:6]} {number[6:]}"])


def jp_my_number(draw: Random) -> str:
    body = digits(draw, 11)
    rest = weighted(body, (6, 5, 4, 3, 2, 7, 6, 5, 4, 3, 2)) % 11
    return body + str(0 if rest <= 1 else 11 - rest)


def dk_cpr(draw: Random) -> str:
    year, month, date = day(draw)
    return f"{date}{month}{year[2:]}-{digits(draw, 4)}"


# The words that stand before such a number, and the number.
SAID: dict[str, tuple[str, Maker]] = {
    "AU": ("TFN", au_tfn),
    "BG": ("ЕГН", bg_egn),
    "BR": ("CPF", br_cpf_digits),
    "CA": ("SIN", ca_sin),
    "DE": ("Steuer-ID", de_idnr),
    "DK": ("CPR-nr.", dk_cpr),
    "EE": ("isikukood", ee_ik),
    "GB": ("NHS number", gb_nhs),
    "HR": ("OIB", hr_oib),
    "IN": ("Aadhaar no", in_aadhaar),
    "JP": ("マイナンバー", jp_my_number),
    "NL": ("BSN", nl_bsn),
    "NO": ("fødselsnummer", no_fnr),
    "PL": ("PESEL", pl_pesel),
    "PT": ("NIF", pt_nif),
    "RO": ("CNP", ro_cnp),
    "SE": ("personnummer", se_personnummer),
    "TR": ("TC kimlik no", tr_kimlik),
    "ZA": ("SA ID", za_id),
}
