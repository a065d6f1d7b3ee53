"""What a labelled value becomes.

redact    `[label]`.
partial   a card keeps its first six and last four digits, an e-mail address its first character and its domain, an
          IBAN its country and last four; anything else, and anything that is not a whole well-formed value, is
          redacted.
null      no value.
token     `label_` and 16 characters of base 32: HMAC-SHA256 under the deployment's key. The same label and value give
          the same token, so that joins and counts still work; without the key nothing leads back. (With the key, small
          value spaces can be enumerated: the key is a secret of the gateway.)

Contract: pure functions of label, key and text. It deliberately does not know columns or results (`plan`).
"""

from __future__ import annotations

import base64
import hmac
import re
from collections.abc import Mapping

from doorward.errors import ConfigError
from doorward.masking.detectors import redaction
from doorward.masking.detectors.card import is_card

NAMES = ("redact", "partial", "null", "token")

_EMAIL = re.compile(r"([^\s@])[^\s@]*@([A-Za-z0-9-]+(?:\.[A-Za-z0-9-]+)*\.[A-Za-z]{2,24})")
_IBAN = re.compile(r"([A-Za-z]{2})[0-9]{2}[A-Za-z0-9]{11,30}")
_SEPARATORS = re.compile(r"[ ._/-]")


def partial(label: str, text: str) -> str:
    """The part of a whole, well-formed card, e-mail address or IBAN that may stay; else the redaction."""
    digits = _SEPARATORS.sub("", text)
    if digits.isascii() and digits.isdigit() and is_card(digits):
        # PCI DSS 4.0 requirement 3.4.1: at most BIN and last four when displayed. 13 and 14 digits keep less.
        front = 6 if len(digits) >= 15 else 4
        return digits[:front] + "*" * (len(digits) - front - 4) + digits[-4:]
    if match := _EMAIL.fullmatch(text):
        return f"{match[1]}***@[{match[2]}]"
    if _IBAN.fullmatch(digits):
        return digits[:2].upper() + "*" * (len(digits) - 6) + digits[-4:]
    return redaction(label)


class Transforms:
    """Which transform each label has; labels not named are redacted. `key` is for tokens: at least 32 bytes, else
    ConfigError as soon as a label asks for tokens."""

    __slots__ = ("_by_label", "_key")

    def __init__(self, by_label: Mapping[str, str] | None = None, key: bytes = b"") -> None:
        self._by_label = dict(by_label or {})
        for label, name in self._by_label.items():
            if name not in NAMES:
                raise ConfigError(f"label {label}: no transform is named {name}", hint=f"one of: {', '.join(NAMES)}")
            if name == "token" and len(key) < 32:
                raise ConfigError(f"label {label}: tokens need a key of 32 bytes or more", hint="set masking.token_key")
        self._key = key

    def name(self, label: str) -> str:
        """The transform of a label."""
        return self._by_label.get(label, "redact")

    def token(self, label: str, text: str) -> str:
        """The token of a value under a label."""
        mac = hmac.digest(self._key, f"doorward/token/v1\0{label}\0{text}".encode("utf-8", "surrogatepass"), "sha256")
        return f"{label}_{base64.b32encode(mac[:10]).decode('ascii').lower()}"

    def apply(self, label: str, text: str) -> str | None:
        """What `text` becomes; None is SQL's NULL."""
        name = self.name(label)
        if name == "null":
            return None
        if name == "partial":
            return partial(label, text)
        if name == "token":
            return self.token(label, text)
        return redaction(label)
