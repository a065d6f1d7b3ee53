"""A secret in memory that does not show itself by accident.

Contract: a `Secret` is bytes to whoever uses it, and `[secret]` to whoever prints, formats, logs or inspects it, also
as a local variable in a traceback that shows them. It cannot be pickled or copied to another process.

Deliberately not here: wiping memory. Python copies bytes at will, and a promise to have wiped them all would be false.
What is derived from a Secret (a slice, decoded text) is an ordinary value: derive it where it is used, in one line.
"""

from __future__ import annotations

from typing import NoReturn


class Secret(bytes):
    """Bytes whose every printed form is `[secret]`."""

    __slots__ = ()

    def __repr__(self) -> str:
        return "[secret]"

    __str__ = __repr__

    def __format__(self, spec: str) -> str:
        return format("[secret]", spec)

    def __reduce_ex__(self, protocol: object) -> NoReturn:
        raise TypeError("a secret is not to be serialized")
