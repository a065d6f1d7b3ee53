"""FF1, format-preserving encryption of decimal digits (NIST SP 800-38G, algorithm 7), with AES.

Contract: `encrypt` is a permutation of all digit strings of one length, under a key and a tweak. The domain is bounded
from below as SP 800-38G revision 1 asks (a million values), and above by what anybody has a use for. It deliberately
does not decrypt: nothing here gives a value back.
"""

from __future__ import annotations

from collections.abc import Sequence

from cryptography.hazmat.primitives.ciphers import Cipher, algorithms, modes

_LEAST, _MOST = 6, 36
_ROUNDS = 10


class Ff1:
    """One key: 16, 24 or 32 bytes. ValueError for another size."""

    __slots__ = ("_block",)

    def __init__(self, key: bytes) -> None:
        # Each block is chained by hand (CBC-MAC, as the PRF of the standard is), so one encryptor serves all values.
        self._block = Cipher(algorithms.AES(key), modes.ECB()).encryptor().update  # noqa: S305

    def encrypt(self, digits: Sequence[int], tweak: bytes = b"") -> list[int]:
        """Other digits, as many. ValueError for fewer than 6 or more than 36."""
        size = len(digits)
        if not _LEAST <= size <= _MOST:
            raise ValueError(f"FF1 is used for {_LEAST} to {_MOST} digits")
        front = size // 2
        back = size - front
        left, right = _number(digits[:front]), _number(digits[front:])
        width = ((10**back - 1).bit_length() + 7) // 8
        taken = 4 * ((width + 3) // 4) + 4
        head = self._block(
            b"\x01\x02\x01\x00\x00\x0a\x0a" + bytes((front % 256,)) + size.to_bytes(4, "big") + len(tweak).to_bytes(4, "big")
        )
        filled = tweak + bytes((-len(tweak) - width - 1) % 16)
        for turn in range(_ROUNDS):
            state = head
            message = filled + bytes((turn,)) + right.to_bytes(width, "big")
            for place in range(0, len(message), 16):
                state = self._block(_xor(state, message[place : place + 16]))
            stream = state
            count = 1
            while len(stream) < taken:
                stream += self._block(_xor(state, count.to_bytes(16, "big")))
                count += 1
            modulus = 10 ** (front if turn % 2 == 0 else back)
            left, right = right, (left + int.from_bytes(stream[:taken], "big")) % modulus
        return [int(digit) for digit in f"{left:0{front}d}{right:0{back}d}"]


def _xor(one: bytes, other: bytes) -> bytes:
    return (int.from_bytes(one, "big") ^ int.from_bytes(other, "big")).to_bytes(16, "big")


def _number(digits: Sequence[int]) -> int:
    number = 0
    for digit in digits:
        number = number * 10 + digit
    return number
