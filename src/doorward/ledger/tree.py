"""The Merkle tree of RFC 6962 (and RFC 9162): hashes, an append-only tree in bounded memory, and proofs.

`Tree` keeps only the roots of its complete subtrees (at most 64 hashes), whatever its size. Proofs need old nodes: they
ask for them through `node(level, index)`, the root of the complete subtree over leaves index*2^level up to
(index+1)*2^level; tiles.py answers that from files, `nodes` from a list of leaf hashes.

Does not know what a leaf says, nor where tiles are.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from hashlib import sha256
from typing import Final, TypeAlias

from doorward.errors import IntegrityError

EMPTY_ROOT: Final = sha256(b"").digest()
HASH_SIZE: Final = 32
MAX_SIZE: Final = 2**48  # more leaves than any log will have; bounds every recursion and loop below

Node: TypeAlias = Callable[[int, int], bytes]


def leaf_hash(entry: bytes) -> bytes:
    """SHA-256(0x00 || entry): RFC 6962, section 2.1."""
    return sha256(b"\x00" + entry).digest()


def node_hash(left: bytes, right: bytes) -> bytes:
    """SHA-256(0x01 || left || right): the prefix keeps a node from ever passing for a leaf."""
    return sha256(b"\x01" + left + right).digest()


class Tree:
    """An append-only tree of `size` leaves, held as the roots of its complete subtrees, largest first."""

    __slots__ = ("_roots", "_size")

    def __init__(self, size: int = 0, frontier: Sequence[bytes] = ()) -> None:
        """With arguments: a tree as `frontier` exported it. Raises IntegrityError when the two do not fit."""
        if not 0 <= size < MAX_SIZE or len(frontier) != size.bit_count():
            raise IntegrityError(f"a tree of {size} leaves does not have {len(frontier)} complete subtrees")
        if any(len(root) != HASH_SIZE for root in frontier):
            raise IntegrityError("a hash in the tree's frontier is not 32 bytes")
        self._size = size
        self._roots = list(frontier)

    @property
    def size(self) -> int:
        return self._size

    @property
    def frontier(self) -> tuple[bytes, ...]:
        """The roots of the complete subtrees, largest first: one for each one-bit of `size`."""
        return tuple(self._roots)

    def append(self, leaf: bytes) -> int:
        """Adds a leaf's hash; returns its index."""
        index = self._size
        rest = index
        while rest & 1:  # each trailing one-bit is a complete subtree that the new leaf completes further
            leaf = sha256(b"\x01" + self._roots.pop() + leaf).digest()
            rest >>= 1
        self._roots.append(leaf)
        self._size = index + 1
        return index

    def extend(self, leaves: Iterable[bytes]) -> None:
        for leaf in leaves:
            self.append(leaf)

    def root(self) -> bytes:
        """The tree's root hash (MTH of RFC 6962); EMPTY_ROOT for no leaves."""
        if not self._roots:
            return EMPTY_ROOT
        root = self._roots[-1]
        for left in reversed(self._roots[:-1]):
            root = node_hash(left, root)
        return root


def nodes(leaves: Sequence[bytes]) -> Node:
    """A `node` over a list of leaf hashes. Computes as it goes: for small trees and tests."""

    def node(level: int, index: int) -> bytes:
        if level == 0:
            return leaves[index]
        return node_hash(node(level - 1, 2 * index), node(level - 1, 2 * index + 1))

    return node


def range_root(start: int, end: int, node: Node) -> bytes:
    """MTH of leaves start..end, where start is a multiple of the largest power of two below the length (as it is for
    every range that the proofs below ask for)."""
    length = end - start
    if length & (length - 1) == 0:
        level = length.bit_length() - 1
        return node(level, start >> level)
    split = _split(length)
    return node_hash(range_root(start, start + split, node), range_root(start + split, end, node))


def root_of(size: int, node: Node) -> bytes:
    """The root of the tree of the first `size` leaves."""
    return EMPTY_ROOT if size == 0 else range_root(0, size, node)


def inclusion_proof(index: int, size: int, node: Node) -> list[bytes]:
    """The audit path of leaf `index` in the tree of `size` leaves: RFC 6962, section 2.1.1. ValueError: no such
    leaf."""
    if not 0 <= index < size < MAX_SIZE:
        raise ValueError(f"no leaf {index} in a tree of {size}")
    path: list[bytes] = []
    start, end = 0, size
    while end - start > 1:
        middle = start + _split(end - start)
        if index < middle:
            path.append(range_root(middle, end, node))
            end = middle
        else:
            path.append(range_root(start, middle, node))
            start = middle
    path.reverse()
    return path


def verify_inclusion(leaf: bytes, index: int, size: int, proof: Sequence[bytes], root: bytes) -> None:
    """Returns when `proof` shows that leaf hash `leaf` is at `index` in the tree (RFC 9162, section 2.1.3.2).
    Raises IntegrityError otherwise."""
    if not 0 <= index < size < MAX_SIZE:
        raise IntegrityError(f"no leaf {index} in a tree of {size}")
    _check_hashes(proof, leaf, root)
    position, last, value = index, size - 1, leaf
    for sibling in proof:
        if last == 0:
            raise IntegrityError("the inclusion proof is too long")
        if position & 1 or position == last:
            value = node_hash(sibling, value)
            while position & 1 == 0 and position:
                position >>= 1
                last >>= 1
        else:
            value = node_hash(value, sibling)
        position >>= 1
        last >>= 1
    if last != 0:
        raise IntegrityError("the inclusion proof is too short")
    if value != root:
        raise IntegrityError(f"leaf {index} is not in the tree of {size} leaves with this root")


def consistency_proof(old: int, new: int, node: Node) -> list[bytes]:
    """That the first `old` leaves of the tree of `new` are the old tree: RFC 6962, section 2.1.2. Empty for old == 0
    and old == new. ValueError: old > new."""
    if not 0 <= old <= new < MAX_SIZE:
        raise ValueError(f"a tree of {new} has no earlier tree of {old}")
    if old in (0, new):
        return []
    proof: list[bytes] = []
    start, end, whole = 0, new, True  # whole: the old tree's root is not yet cut, so the verifier has it already
    while old != end - start:
        split = _split(end - start)
        if old <= split:
            proof.append(range_root(start + split, end, node))
            end = start + split
        else:
            proof.append(range_root(start, start + split, node))
            start, old, whole = start + split, old - split, False
    if not whole:
        proof.append(range_root(start, end, node))
    proof.reverse()
    return proof


def verify_consistency(old: int, new: int, old_root: bytes, new_root: bytes, proof: Sequence[bytes]) -> None:
    """Returns when the new tree is the old one with leaves added (RFC 9162, section 2.1.4.2). Raises IntegrityError
    otherwise, also for a tree that shrank."""
    if not 0 <= old < MAX_SIZE or not 0 <= new < MAX_SIZE:
        raise IntegrityError("a tree size out of range")
    if old > new:
        raise IntegrityError(f"the log shrank from {old} to {new} leaves")
    _check_hashes(proof, old_root, new_root)
    if old in (0, new):
        if proof:
            raise IntegrityError("a consistency proof where none is needed")
        if (old == 0 and old_root != EMPTY_ROOT) or (old == new and old_root != new_root):
            raise IntegrityError(f"two different trees of {old} leaves")
        return
    if not proof:
        raise IntegrityError("the consistency proof is empty")
    path = list(proof)
    if old & (old - 1) == 0:  # the old root is itself a node of the new tree
        path.insert(0, old_root)
    position, last = old - 1, new - 1
    while position & 1:
        position >>= 1
        last >>= 1
    first = second = path[0]
    for value in path[1:]:
        if last == 0:
            raise IntegrityError("the consistency proof is too long")
        if position & 1 or position == last:
            first = node_hash(value, first)
            second = node_hash(value, second)
            while position & 1 == 0 and position:
                position >>= 1
                last >>= 1
        else:
            second = node_hash(second, value)
        position >>= 1
        last >>= 1
    if last != 0:
        raise IntegrityError("the consistency proof is too short")
    if first != old_root or second != new_root:
        raise IntegrityError(f"the tree of {new} leaves does not continue the tree of {old}")


def _split(length: int) -> int:
    """The largest power of two below `length` (length >= 2)."""
    return 1 << ((length - 1).bit_length() - 1)


def _check_hashes(proof: Sequence[bytes], *roots: bytes) -> None:
    if len(proof) > 63:
        raise IntegrityError("a proof of more than 63 hashes")
    if any(len(value) != HASH_SIZE for value in (*proof, *roots)):
        raise IntegrityError("a hash that is not 32 bytes")
