"""The five errors that Doorward adds to Python's own.

Each carries a message that says what happened and why, a `hint` that says what to do next, and an exit code that
scripts can use. A refusal is not an error: it is a value (`model.Refusal`).
"""

from __future__ import annotations

from typing import ClassVar


def in_words(error: BaseException) -> str:
    """What an error says to people: without the number that an OSError puts first, with the file that it is about."""
    if isinstance(error, OSError) and error.strerror:
        return f"{error.strerror}: {error.filename}" if error.filename else error.strerror
    return str(error) or type(error).__name__


class DoorwardError(Exception):
    """What the five have in common: a message, a hint and an exit code. Never raised itself."""

    exit_code: ClassVar[int] = 1

    def __init__(self, message: str, *, hint: str = "") -> None:
        super().__init__(message)
        self.message = message
        self.hint = hint


class ConfigError(DoorwardError):
    """A setting is unknown, missing or contradicts another. Raised at start and at reload, never on the data path."""

    exit_code = 3


class AuthenticationError(DoorwardError):
    """Somebody could not show who they are. The message is safe to send to them; it never holds the token.

    `code` says why in one word, as in the event `authentication.refused`. `issuer` is set once the token named one that is
    trusted, `token` then to its id, or a hash where it has none.
    """

    exit_code = 4

    def __init__(self, message: str, *, hint: str = "", code: str = "refused") -> None:
        super().__init__(message, hint=hint)
        self.code = code
        self.issuer = ""
        self.token = ""


class ProtocolError(DoorwardError):
    """A peer, client or target, broke the rules of its protocol. The connection ends; the process does not."""

    exit_code = 5


class UpstreamError(DoorwardError):
    """Something Doorward depends on (target, issuer, store) is not there or answers wrongly."""

    exit_code = 6


class IntegrityError(DoorwardError):
    """A record is not what its checkpoint says it is. `spot` names the first place that does not fit."""

    exit_code = 1

    def __init__(self, message: str, *, spot: str = "", hint: str = "") -> None:
        super().__init__(message, hint=hint)
        self.spot = spot
