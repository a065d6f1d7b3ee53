"""What a plain value holds, told in one pass over its bytes: the short way, for what detectors find most.

Contract: `look` answers for one value exactly as the detectors would that the prefilter named (`wanted`), or says UNSURE,
and then they must be asked. It is sure only where one rule is enough: there is one candidate, it is nothing but what it
is, and nothing else stands in the value that could turn into something once the candidate is replaced. Values with two
candidates, with letters beside the digits, in other scripts, of other groupings are all UNSURE.

`wanted` says which prefilters matched in bytes that hold the value. A pattern that is not in PATTERNS has no bit: where
it matched, nobody may come here. So nothing that this module does not know can be missed by it.

Compiled by mypyc where there is a C compiler; a nanosecond a byte. Tests hold it to the detectors' own answers.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from doorward.masking.detectors import GROUPED_NINE, LONG_NUMBER, Detector, card, email, iban, national_id, phone, ssn

if TYPE_CHECKING:
    from mypy_extensions import i64

# Bits of `wanted`, and what `look` says it found.
CARD: Final = 1
SSN: Final = 2
EMAIL: Final = 4
IBAN: Final = 8
PLUS: Final = 16  # a telephone number with a plus sign
TEN: Final = 32  # one of North America without
EIGHT: Final = 128  # eight digits and a letter
NINE: Final = 256  # a letter and nine digits
NOTHING: Final = 0
PHONE: Final = 48  # what it is, if it exists: only phonenumbers knows
UNSURE: Final = 64

# Which prefilter is which bit, and whose it must be: a prefilter may serve several detectors, that one among them.
PATTERNS: Final[dict[str, tuple[int, str]]] = {
    LONG_NUMBER: (CARD, card.DETECTOR.name),
    GROUPED_NINE: (SSN, ssn.DETECTOR.name),
    email.DETECTOR.prefilter[0]: (EMAIL, email.DETECTOR.name),
    iban.DETECTOR.prefilter[0]: (IBAN, iban.DETECTOR.name),
    national_id.EIGHT_AND_A_LETTER: (EIGHT, national_id.DETECTOR.name),
    national_id.A_LETTER_AND_NINE: (NINE, national_id.DETECTOR.name),
    phone.INTERNATIONAL_PREFILTER: (PLUS, phone.DETECTOR.name),
    phone.NORTH_AMERICAN_PREFILTER: (TEN, phone.DETECTOR.name),
}
LABELS: Final[dict[int, str]] = {CARD: "card", SSN: "ssn", EMAIL: "email", IBAN: "iban", PHONE: "phone"}
# Whose answers are known here. A detector of one's own that has one of these patterns makes it unknown.
OWNERS: Final = frozenset({"card", "ssn", "email", "iban", "phone", "national_id"})

_LONGEST: Final = 1 << 20  # bytes of a value that is looked at here
_TOKEN: Final = 32  # letters and digits together that could be a key, once something names it
_OTHER: Final = 0
_DIGIT: Final = 1
_LETTER: Final = 2
_UPPER: Final = 3
_GAP: Final = 4
_AT: Final = 5
_HIGH: Final = 6
_SLASH: Final = 7  # a gap, too


def _kind(byte: int) -> int:
    character = chr(byte)
    if byte >= 0x80:
        return _HIGH
    if character.isdigit():
        return _DIGIT
    if character.isalpha():
        return _UPPER if character.isupper() else _LETTER
    return {"@": _AT, "/": _SLASH}.get(character, _GAP if character in " .()-_" else _OTHER)


_KINDS: Final = bytes([_kind(byte) for byte in range(256)])
# What a byte can be a part of: 1 a digit, 2 a gap between digits, 3 an upper-case letter of an account number, 0 neither.
_RUNS: Final = bytes([{_DIGIT: 1, _GAP: 2, _SLASH: 2, _UPPER: 3}.get(kind, 0) for kind in _KINDS])
_LOCAL: Final = bytes([int(chr(byte) in "._%+-" or (byte < 0x80 and chr(byte).isalnum())) for byte in range(256)])
_DOMAIN: Final = bytes([int(chr(byte) in ".-" or (byte < 0x80 and chr(byte).isalnum())) for byte in range(256)])
_WORD: Final = bytes([int(byte < 0x80 and (chr(byte).isalnum() or chr(byte) == "_")) for byte in range(256)])

# Sizes of groups of digits, five bits each.
_3_2_4: Final = (3 << 10) | (2 << 5) | 4
_3_3_4: Final = (3 << 10) | (3 << 5) | 4
_1_3_3_4: Final = (1 << 15) | _3_3_4
_MANY: Final = 1 << 50  # at least eleven groups: nobody writes anything so


def _shape(sizes: tuple[int, ...]) -> int:
    shape = 0
    for size in sizes:
        shape = (shape << 5) | size
    return shape


_CARDS: Final = frozenset([_shape(sizes) for sizes in card.LAYOUTS])


_SCHEMES: Final[bytes] = card.SCHEMES
# By country: what stands in each place behind the check digits, n a digit, a a letter, c either.
_ACCOUNTS: Final[dict[bytes, bytes]] = {country.encode(): iban.structure(country).encode() for country in iban.LENGTHS}


def look(data: bytes, first: i64, stop: i64, wanted: i64) -> i64:
    """What is in the value data[first:stop]: NOTHING, UNSURE, or `kind | start << 8 | end << 36`, in bytes from first.

    CARD, SSN, EMAIL and IBAN are found. PHONE is a number that would be masked if it exists."""
    if stop - first > _LONGEST:
        return UNSURE
    kinds: bytes = _KINDS
    i: i64 = first
    digits: i64 = 0  # of the run at hand: digits with at most two gaps in between
    start: i64 = 0
    ended: i64 = 0
    group: i64 = 0
    gap: i64 = 0
    shape: i64 = 0
    runs: i64 = 0  # of seven digits and more
    due: i64 = 0  # of those that can be something
    run_start: i64 = 0
    run_end: i64 = 0
    run_digits: i64 = 0
    run_shape: i64 = 0
    ats: i64 = 0
    at: i64 = 0
    slash: i64 = 0
    high: i64 = 0
    token: i64 = 0
    longest: i64 = 0
    while True:
        kind: i64 = kinds[data[i]] if i < stop else _OTHER
        if kind == _DIGIT:
            if digits == 0:
                start = i
                shape = 0
                group = 0
            elif gap != 0:
                if shape < _MANY:  # or it would lose the first of them
                    shape = (shape << 5) | (group if group < 31 else 31)
                group = 0
            gap = 0
            digits += 1
            group += 1
            token += 1
            i += 1
            continue
        if digits != 0:
            if gap == 0:
                ended = i
            if (kind in (_GAP, _SLASH)) and gap < 2:
                gap += 1
            else:
                if group == 8 and kind == _UPPER and (wanted & EIGHT) != 0:
                    return UNSURE
                if digits >= 7:
                    runs += 1
                    able: bool = digits >= 9 or (start > first and data[start - 1] == 43)
                    if able or due == 0:
                        run_start = start
                        run_end = ended
                        run_digits = digits
                        run_shape = (shape << 5) | (group if group < 31 else 31)
                    if able:
                        due += 1
                digits = 0
        if i >= stop:
            break
        if kind in (_LETTER, _UPPER):
            token += 1
        else:
            if kind == _SLASH:
                slash = 1
                token += 1
            elif data[i] == 43:
                token += 1
            else:
                if token > longest:
                    longest = token
                token = 0
                if kind == _AT:
                    ats += 1
                    at = i
                elif kind == _HIGH:
                    high = 1
        i += 1
    if token > longest:
        longest = token
    answer: i64 = NOTHING
    if ats != 0 and (wanted & EMAIL) != 0:
        if ats != 1 or high != 0 or slash != 0:
            return UNSURE
        answer = _email(data, first, stop, at)
        if answer == UNSURE:
            return UNSURE
    if answer == NOTHING and (wanted & IBAN) != 0:
        answer = _iban(data, first, stop)
        if answer == UNSURE:
            return UNSURE
    elif answer != NOTHING and (wanted & IBAN) != 0 and _iban(data, first, stop) != NOTHING:
        return UNSURE
    if answer != NOTHING:
        # Numbers within it are a part of it.
        if runs > 1 or longest >= _TOKEN:
            return UNSURE
        if runs == 1 and (run_start < first + ((answer >> 8) & 0xFFFFFFF) or run_end > first + (answer >> 36)):
            return UNSURE
        if answer & 0xFF == IBAN and ats != 0:
            return UNSURE
        return answer
    if due == 0:
        return NOTHING
    if due > 1:
        return UNSURE
    answer = _number(data, first, stop, wanted, run_start, run_end, run_digits, run_shape)
    if answer != NOTHING and (runs > 1 or ats != 0 or high != 0 or longest >= _TOKEN):
        return UNSURE
    return answer


def quiet(data: bytes, first: i64, stop: i64, wanted: i64) -> bool:
    """Whether `look` would say NOTHING of the value data[first:stop], in which there is no `@`; told from every seventh byte,
    so that most values cost next to nothing. False: ask `look`.

    All that it finds has nine digits with at most two gaps between any two (seven behind a plus sign, eight before a letter),
    or fifteen bytes of an account number: there is no room for the one without a seventh byte that may be a part of it, nor for
    the other without two of them."""
    if stop - first > _LONGEST:
        return False
    runs: bytes = _RUNS
    accounts: i64 = 0  # of the bytes in a row that could be a part of an account number
    asked: i64 = 0  # whether there is one, of the whole value
    p: i64 = first + 6
    while p < stop:
        kind: i64 = runs[data[p]]
        if kind == 0:
            accounts = 0
        else:
            accounts += 1
            if accounts == 2 and asked == 0 and (wanted & IBAN) != 0:
                asked = 1
                if _iban(data, first, stop) != NOTHING:
                    return False
            if kind != 3:
                digits: i64 = 0
                gap: i64 = 0
                start: i64 = p  # of the first digit
                i: i64 = p
                while i < stop:
                    kind = runs[data[i]]
                    if kind == 1:
                        if digits == 0:
                            start = i
                        digits += 1
                        gap = 0
                    elif kind == 2 and gap < 2:
                        gap += 1
                    else:
                        break
                    i += 1
                behind: i64 = i
                gap = 0
                i = p - 1
                while i >= first:
                    kind = runs[data[i]]
                    if kind == 1:
                        start = i
                        digits += 1
                        gap = 0
                    elif kind == 2 and gap < 2:
                        gap += 1
                    else:
                        break
                    i -= 1
                if digits >= 7:  # a date is no candidate
                    if digits > 8 or (start > first and data[start - 1] == 43):
                        return False
                    if (wanted & EIGHT) != 0 and behind < stop and runs[data[behind]] == 3:
                        return False
        p += 7
    return True


def _place(kind: i64, start: i64, end: i64) -> i64:
    return kind | (start << 8) | (end << 36)


def _number(
    data: bytes, first: i64, stop: i64, wanted: i64, start: i64, end: i64, digits: i64, shape: i64
) -> i64:
    """What one run of digits is, of nine or more, or of seven or more behind a plus sign."""
    word: bytes = _WORD
    letters: bytes = _KINDS
    before: i64 = data[start - 1] if start > first else 0
    after: i64 = data[end] if end < stop else 0
    if (wanted & NINE) != 0 and letters[before] == _UPPER:
        return UNSURE
    # What else begins or ends with a letter has prefilters of its own, but for 17 digits and an X.
    if shape < 32 and before != 43 and (digits < 13 or word[before] != 0):
        return NOTHING
    if letters[after] == _LETTER or letters[after] == _UPPER or letters[after] == _HIGH:
        return UNSURE
    if letters[before] == _LETTER or letters[before] == _UPPER or letters[before] == _HIGH:
        return UNSURE
    if word[before] != 0 or word[after] != 0:
        return UNSURE
    if (before == 45 or before == 46) and (before == 46 or (start - 1 > first and word[data[start - 2]] != 0)):
        return UNSURE  # it goes on behind a point or hyphen
    if (after == 45 or after == 46) and end + 1 < stop and word[data[end + 1]] != 0:
        return UNSURE
    if shape >= _MANY:
        return UNSURE
    nine: i64 = 0  # whether there are three, two and four digits in a row somewhere, or three, three and four
    ten: i64 = 0
    rest: i64 = shape
    while rest != 0:
        if (rest & 0x7FFF) == _3_2_4:
            nine = 1
        elif (rest & 0x7FFF) == _3_3_4:
            ten = 1
        rest >>= 5
    if before == 43:
        if (wanted & PLUS) == 0 or digits > 12 or nine != 0 or data[start] == 48 or _odd(data, start, end):
            return UNSURE
        if start - 2 >= first and not _ends(data[start - 2]):
            return UNSURE
        return _place(PHONE, start - 1 - first, end - first)
    if shape < 32:  # together
        if digits < 13:
            return NOTHING
        if (wanted & CARD) != 0 and _is_card(data, start, end, digits):
            return _place(CARD, start - first, end - first)
        if digits == 13:
            return UNSURE if data[start] == 55 else NOTHING
        return UNSURE if digits == 15 or digits == 17 or digits == 18 else NOTHING
    if digits >= 13:
        if (wanted & CARD) == 0:
            return UNSURE if (wanted & (SSN | TEN)) != 0 else NOTHING
        if shape not in _CARDS or end - start != digits + _groups(shape) - 1:
            return UNSURE
        if not _separated(data, start, end):
            return UNSURE
        return _place(CARD, start - first, end - first) if _is_card(data, start, end, digits) else UNSURE
    if nine != 0 and (wanted & SSN) != 0:
        if shape != _3_2_4 or end - start != 11 or ((wanted & TEN) != 0 and ten != 0):
            return UNSURE
        separator: i64 = data[start + 3]
        if separator != data[start + 6] or (separator != 45 and separator != 46 and separator != 32):
            return UNSURE
        if not _is_ssn(data, start):
            return UNSURE
        return _place(SSN, start - first, end - first)
    if ten != 0 and (wanted & TEN) != 0:
        if shape != _3_3_4 or data[start] < 50:
            return UNSURE
        opened: i64 = 1 if before == 40 else 0
        middle: i64 = start + 3
        if opened != 0:
            if data[middle] != 41:
                return UNSURE
            if data[middle + 1] == 32:
                middle += 1
            # Behind a word, a point or a hyphen it does not stand alone.
            if start - 2 >= first and not _ends(data[start - 2]):
                return UNSURE
        elif not _dotted(data[middle]):
            return UNSURE
        if end - middle != 9 or not _dotted(data[middle + 4]) or data[middle + 1] < 50:
            return UNSURE
        return _place(PHONE, start - opened - first, end - first)
    return NOTHING


def _is_card(data: bytes, start: i64, end: i64, digits: i64) -> bool:
    """`card.is_card` of the digits in data[start:end]."""
    if digits < 13 or digits > 19:
        return False
    scheme: i64 = 0
    total: i64 = 0
    seen: i64 = 0
    same: bool = True
    i: i64 = start
    while i < end:
        digit: i64 = data[i] - 48
        i += 1
        if digit < 0 or digit > 9:
            continue
        if seen < 4:
            scheme = scheme * 10 + digit
        if digit != data[start] - 48:
            same = False
        seen += 1
        if ((digits - seen) & 1) != 0:
            total += digit * 2 - 9 if digit > 4 else digit * 2
        else:
            total += digit
    lengths: i64 = _SCHEMES[scheme]
    if (lengths >> (digits - 13)) & 1 == 0 or total % 10 != 0 or same:
        return False
    # Of 13 digits there is more to say, and there are few.
    return digits > 13 or card.is_card(data[start:end].translate(None, b" ._/-").decode("ascii"))


def _is_ssn(data: bytes, start: i64) -> bool:
    """`ssn.is_ssn` of three, two and four digits with a character in between."""
    area: i64 = (data[start] - 48) * 100 + (data[start + 1] - 48) * 10 + data[start + 2] - 48
    if area == 0 or area == 666 or area >= 900:
        return False
    if data[start + 4] == 48 and data[start + 5] == 48:
        return False
    return data[start + 7] != 48 or data[start + 8] != 48 or data[start + 9] != 48 or data[start + 10] != 48


def _is_iban(data: bytes, start: i64, end: i64, account: bytes) -> bool:
    """`iban.is_iban` of the letters and digits in data[start:end]; `account`: what the country has behind the check."""
    kinds: bytes = _KINDS
    rest: i64 = 0  # modulo 97, of the account
    place: i64 = 0
    i: i64 = start + 4
    while i < end:
        byte: i64 = data[i]
        kind: i64 = kinds[byte]
        i += 1
        if kind == _DIGIT:
            if account[place] == 97:
                return False
            rest = (rest * 10 + byte - 48) % 97
        elif kind == _UPPER:
            if account[place] == 110:
                return False
            rest = (rest * 100 + byte - 55) % 97
        else:
            continue
        place += 1
    rest = (rest * 100 + data[start] - 55) % 97
    rest = (rest * 100 + data[start + 1] - 55) % 97
    return (rest * 100 + (data[start + 2] - 48) * 10 + data[start + 3] - 48) % 97 == 1


def _ends(byte: i64) -> bool:
    """Whether a number may begin behind this byte, whatever stands before it."""
    return byte != 45 and byte != 46 and _WORD[byte] == 0


def _dotted(byte: i64) -> bool:
    return byte == 32 or byte == 45 or byte == 46


def _odd(data: bytes, start: i64, end: i64) -> bool:
    """Whether an underscore is among the separators, which no telephone number has."""
    i: i64 = start
    while i < end:
        if data[i] == 95:
            return True
        i += 1
    return False


def _separated(data: bytes, start: i64, end: i64) -> bool:
    """Whether the groups are separated as a card's may be: no parentheses."""
    i: i64 = start
    while i < end:
        if data[i] == 40 or data[i] == 41:
            return False
        i += 1
    return True


def _groups(shape: i64) -> i64:
    number: i64 = 0
    rest: i64 = shape
    while rest != 0:
        number += 1
        rest >>= 5
    return number


def _email(data: bytes, first: i64, stop: i64, at: i64) -> i64:
    """The address around the only `@`."""
    local: bytes = _LOCAL
    domain: bytes = _DOMAIN
    kinds: bytes = _KINDS
    if at == first or at + 1 >= stop:
        return NOTHING
    byte: i64 = data[at - 1]
    if local[byte] == 0 or byte == 46:
        return NOTHING
    byte = data[at + 1]
    kind: i64 = kinds[byte]
    if kind != _LETTER and kind != _UPPER and kind != _DIGIT:
        return NOTHING
    if kind == _DIGIT:
        return UNSURE  # logo@2x.png, package@1.2.3
    start: i64 = at
    while start > first and local[data[start - 1]] != 0:
        start -= 1
    while data[start] == 46:
        start += 1
    if at - start > 300 or (at - start == 3 and data[start : at] == b"git"):
        return UNSURE
    end: i64 = at + 1
    while end < stop and domain[data[end]] != 0:
        end += 1
    while data[end - 1] == 46:
        end -= 1
    label: i64 = at + 1  # where the label at hand begins
    labels: i64 = 0
    letters: i64 = 1  # whether it is nothing but letters
    i: i64 = at + 1
    while i < end:
        byte = data[i]
        if byte == 46:
            if i == label or i - label > 63:
                return UNSURE
            labels += 1
            label = i + 1
            letters = 1
        elif byte == 45:
            if i == label:
                return UNSURE
            letters = 0
        elif kinds[byte] == _DIGIT:
            letters = 0
        i += 1
    if labels == 0:
        return NOTHING
    if labels > 40 or letters == 0 or end - label < 2 or end - label > 24:
        return UNSURE
    return _place(EMAIL, start - first, end - first)


def _iban(data: bytes, first: i64, stop: i64) -> i64:
    """The only account number; UNSURE as soon as something begins like one and is none, or is another."""
    kinds: bytes = _KINDS
    answer: i64 = NOTHING
    i: i64 = first
    while i + 15 <= stop:
        if (
            kinds[data[i]] == _UPPER
            and kinds[data[i + 1]] == _UPPER
            and kinds[data[i + 2]] == _DIGIT
            and kinds[data[i + 3]] == _DIGIT
        ):
            account = _ACCOUNTS.get(data[i : i + 2])
            needed: i64 = 0 if account is None else len(account)
            seen: i64 = 0
            p: i64 = i + 4
            while p < stop and seen < needed:
                kind: i64 = kinds[data[p]]
                if kind in (_DIGIT, _UPPER):
                    seen += 1
                    p += 1
                elif (
                    (data[p] == 32 or data[p] == 45)
                    and p + 1 < stop
                    and (kinds[data[p + 1]] == _DIGIT or kinds[data[p + 1]] == _UPPER)
                ):
                    p += 1
                else:
                    break
            if seen >= 11 and account is not None:
                if answer != NOTHING or seen < needed:
                    return UNSURE
                if (p < stop and _WORD[data[p]] != 0) or (i > first and _WORD[data[i - 1]] != 0):
                    return UNSURE
                if not _is_iban(data, i, p, account):
                    return UNSURE
                answer = _place(IBAN, i - first, p - first)
                i = p
                continue
        i += 1
    return answer


def known(pattern: str, owners: list[Detector | None]) -> int:
    """The bit of a prefilter's pattern; 0: where it matches, the detectors must look."""
    found = PATTERNS.get(pattern)
    if found is None:
        return 0
    names = {owner.name if owner is not None else "" for owner in owners}
    return found[0] if found[1] in names and names <= OWNERS else 0
