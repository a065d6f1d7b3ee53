"""What a labelled value becomes.

redact             `[label]`.
partial            a card keeps its first six and last four digits, an e-mail address its first character and its domain,
                   an IBAN its country and last four, a telephone number with a plus sign its country code and last
                   two; anything else, and anything that is not a whole well-formed value, is redacted.
null               no value.
hash               32 hexadecimal digits: HMAC-SHA256 under the tenant's key. Equal values are equal wherever they stand.
token              `label_` and 16 characters of base 32: the same, but under the label, too: equal values are equal only
                   within one label.
vault              the same token; the original is kept, sealed, so that people who may can have it back
                   (`guard.token_vault`). A value that is too long to be kept is redacted.
date_shift         a date or time moved by a number of days that is constant for the label and tenant, at most a year and
                   never none: intervals and order hold. What is not a date of ISO 8601 is redacted. Where the label names a
                   subject (`masking.date_shift`), the number is each subject's own, under every label of the tenant.
format_preserving  digits become other digits (NIST SP 800-38G, FF1), separators stay: equal values are equal, different ones
                   different. Only for values of 6 to 36 digits and nothing else but separators; the rest is redacted.

Hash, token and format_preserving let who sees them count, join and compare, and nothing leads back without the key. With
the key, small value spaces can be enumerated, and FF1 is undone: it is a secret of the gateway. Who knows one true date
of a label knows them all. A number in a preserved format may be somebody else's.

`vault` is a transform of its own and not a setting of `token`, so that a policy can say whose tokens lead back.

Contract: pure functions of label, tenant, key and value; what `vault` is to keep, it is told. It deliberately does not know
columns or results (`plan`).
"""

from __future__ import annotations

import hmac
import re
from collections.abc import Callable, Mapping
from datetime import date, timedelta
from typing import Final

import phonenumbers

from doorward.errors import ConfigError
from doorward.masking.detectors import redaction
from doorward.masking.detectors.card import is_card
from doorward.masking.ff1 import Ff1
from doorward.model import TRANSFORMS

NAMES = TRANSFORMS
# Transforms that look at each value; the others do not care what it was.
BY_VALUE = frozenset(NAMES) - {"redact", "null"}
# Transforms that need a key.
KEYED = frozenset({"hash", "token", "vault", "date_shift", "format_preserving"})
# Where a number of the same form would say something untrue: of an account, an address or a person.
_FORM_SAYS_MORE = {
    "card": "the bank and the check digit are in it: use partial",
    "iban": "the country, bank and check digits are in it: use partial",
    "email": "it is not made of digits: use partial or token",
    "name": "it is not made of digits: use token",
    "date_of_birth": "it would not be a date: use date_shift",
}

Keep = Callable[[str, str, str], bool]  # label, token, value: whether it can be kept. Durable before the token is sent


def keep_nothing(label: str, token: str, text: str) -> bool:
    """Where tokens are made that nobody is to reverse."""
    return True


_EMAIL = re.compile(r"([^\s@])[^\s@]*@([A-Za-z0-9-]+(?:\.[A-Za-z0-9-]+)*\.[A-Za-z]{2,24})")
_IBAN = re.compile(r"([A-Za-z]{2})[0-9]{2}[A-Za-z0-9]{11,30}")
_SEPARATORS = re.compile(r"[ ._/-]")
_NUMBER = re.compile(r"[+(]{0,2}[0-9](?:[ ./()-]{0,2}[0-9])*")
_DATE = re.compile(r"([0-9]{4})-([0-9]{2})-([0-9]{2})((?:[ T][0-9:.,+Zz -]{1,40})?)|([0-9]{4})([0-9]{2})([0-9]{2})")
_BASE_32: Final = "abcdefghijklmnopqrstuvwxyz234567"  # RFC 4648, in small letters; base64.b32encode takes three times as long
_PAIRS: Final = [one + other for one in _BASE_32 for other in _BASE_32]
_SHIFTS: Final = range(70, -1, -10)
_DAYS: Final = 365  # the farthest that a date moves
_DAY: Final = 86_400_000_000  # microseconds
_INFINITE: Final = frozenset({b"\x7f\xff\xff\xff", b"\x80\0\0\0", b"\x7f" + b"\xff" * 7, b"\x80" + b"\0" * 7})


def _drawn(mac: bytes) -> int:
    """A number of days, at most a year and never none."""
    drawn = int.from_bytes(mac[:8], "big") % (2 * _DAYS)
    return drawn - _DAYS if drawn < _DAYS else drawn - _DAYS + 1


def partial(label: str, text: str) -> str:
    """The part of a whole, well-formed card, e-mail address, IBAN or telephone number that may stay; else the redaction."""
    digits = _SEPARATORS.sub("", text)
    if digits.isascii() and digits.isdigit() and is_card(digits):
        # PCI DSS 4.0 requirement 3.4.1: at most BIN and last four when displayed. 13 and 14 digits keep less.
        front = 6 if len(digits) >= 15 else 4
        return digits[:front] + "*" * (len(digits) - front - 4) + digits[-4:]
    if match := _EMAIL.fullmatch(text):
        return f"{match[1]}***@[{match[2]}]"
    if _IBAN.fullmatch(digits):
        return digits[:2].upper() + "*" * (len(digits) - 6) + digits[-4:]
    if label == "phone" and text.startswith("+"):
        return _partial_phone(text) or redaction(label)
    return redaction(label)


def _partial_phone(text: str) -> str:
    try:
        number = phonenumbers.parse(text, None)
    except phonenumbers.NumberParseException:
        return ""
    national = str(number.national_number)
    if len(national) < 7 or not phonenumbers.is_possible_number(number):
        return ""
    return f"+{number.country_code}{'*' * (len(national) - 2)}{national[-2:]}"


class Transforms:
    """Which transform each label has; labels not named are redacted.

    `key`: at least 32 bytes, else ConfigError as soon as a label asks for a transform that needs one. `tenant`: what
    hashes, tokens, shifts and preserved formats are equal within; another tenant's cannot be compared. `keep`: the vault;
    without one, no label may have that transform. `subjects`: the column, by label, that says whose a date is; without it
    in the same row, such a date is not shown at all.
    """

    __slots__ = ("_by_label", "_ff1", "_keep", "_key", "_overridden", "_root", "_shifts", "subjects", "tenant")

    def __init__(
        self,
        by_label: Mapping[str, str] | None = None,
        key: bytes = b"",
        *,
        tenant: str = "",
        keep: Keep | None = None,
        subjects: Mapping[str, str] | None = None,
    ) -> None:
        self._by_label = dict(by_label or {})
        for label, name in self._by_label.items():
            if name not in NAMES:
                raise ConfigError(f"label {label}: no transform is named {name}", hint=f"one of: {', '.join(NAMES)}")
            if name in KEYED and len(key) < 32:
                raise ConfigError(f"label {label}: {name} needs a key of 32 bytes or more", hint="set masking.token_key")
            if name == "vault" and keep is None:
                raise ConfigError(f"label {label}: vault needs keys of its own", hint="set masking.vault.keys")
            if name == "format_preserving" and label in _FORM_SAYS_MORE:
                raise ConfigError(f"label {label}: no format is preserved here; {_FORM_SAYS_MORE[label]}")
        self.tenant = tenant
        self._root = key
        self._key = hmac.digest(key, f"doorward/tenant/v1\0{tenant}".encode(), "sha256") if key else b""
        self._keep = keep
        self.subjects = dict(subjects or {})
        self._ff1: Ff1 | None = None
        self._shifts: dict[str, int] = {}
        self._overridden: dict[frozenset[tuple[str, str]], Transforms] = {}

    def name(self, label: str) -> str:
        """The transform of a label."""
        return self._by_label.get(label, "redact")

    def overridden(self, by_label: Mapping[str, str]) -> Transforms:
        """The same, with other transforms for these labels (a policy's). Raises ConfigError like the constructor."""
        if not by_label:
            return self
        key = frozenset(by_label.items())
        found = self._overridden.get(key)
        if found is None:
            found = Transforms(
                {**self._by_label, **by_label}, self._root, tenant=self.tenant, keep=self._keep, subjects=self.subjects
            )
            if len(self._overridden) < 256:
                self._overridden[key] = found
        return found

    def apply(self, label: str, text: str) -> str | None:
        """What `text` becomes; None is SQL's NULL."""
        name = self.name(label)
        if name == "null":
            return None
        if name == "partial":
            return partial(label, text)
        if name == "token":
            return self.token(label, text)
        if name == "vault":
            token = self.token(label, text)
            return token if self._keep is not None and self._keep(label, token, text) else redaction(label)
        if name == "hash":
            return self._mac("hash", "", text).hex()[:32]
        if name == "date_shift":  # of a subject's, nobody has said here whose it is
            return None if label in self.subjects else self._shifted(text, self.shift(label)) or redaction(label)
        if name == "format_preserving":
            return self._preserved(label, text) or redaction(label)
        return redaction(label)

    def token(self, label: str, text: str) -> str:
        """The token of a value under a label."""
        number = int.from_bytes(self._mac("token", label, text)[:10], "big")
        return f"{label}_{''.join([_PAIRS[number >> shift & 1023] for shift in _SHIFTS])}"

    def shift(self, label: str) -> int:
        """By how many days dates of a label are moved."""
        days = self._shifts.get(label)
        if days is None:
            days = self._shifts[label] = _drawn(self._mac("date_shift", label, ""))
        return days

    def shifted(self, label: str, value: bytes, *, binary: bool, subject: str | None = None) -> bytes | None:
        """A value of type date, timestamp or timestamptz, moved; None (NULL) where that cannot be, or where the label has
        subjects and `subject`, what the row says of whose it is, is missing.

        PostgreSQL's binary forms: days, or microseconds, since 2000-01-01 (`date_send`, `timestamp_send`).
        """
        if label not in self.subjects:
            days = self.shift(label)
        elif subject is None:
            return None
        else:
            days = _drawn(self._mac("date_shift_subject", "", subject))
        if not binary:
            text = value.decode("ascii", "replace")
            if text in ("infinity", "-infinity"):
                return value
            moved = self._shifted(text, days)
            return None if moved is None else moved.encode("ascii")
        if value in _INFINITE:
            return value
        if len(value) not in (4, 8):
            return None
        by = days * (1 if len(value) == 4 else _DAY)
        try:
            return (int.from_bytes(value, "big", signed=True) + by).to_bytes(len(value), "big", signed=True)
        except OverflowError:
            return None

    def _mac(self, purpose: str, label: str, text: str) -> bytes:
        said = f"doorward/{purpose}/v1\0{label}\0{text}".encode("utf-8", "surrogatepass")
        return hmac.digest(self._key, said, "sha256")

    def _shifted(self, text: str, days: int) -> str | None:
        match = _DATE.fullmatch(text)
        if match is None:
            return None
        try:
            day = date(int(match[1] or match[5]), int(match[2] or match[6]), int(match[3] or match[7]))
            moved = day + timedelta(days=days)
        except (ValueError, OverflowError):
            return None
        return f"{moved.isoformat()}{match[4]}" if match[1] else moved.isoformat().replace("-", "")

    def _preserved(self, label: str, text: str) -> str | None:
        if not text.isascii() or not _NUMBER.fullmatch(text):
            return None
        digits = [int(character) for character in text if character.isdigit()]
        if not 6 <= len(digits) <= 36:
            return None
        if self._ff1 is None:
            self._ff1 = Ff1(self._mac("ff1", "", ""))
        becomes = iter(self._ff1.encrypt(digits, label.encode("utf-8")))
        return "".join(str(next(becomes)) if character.isdigit() else character for character in text)
