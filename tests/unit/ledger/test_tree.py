"""The tree against RFC 6962's own vectors and a second, naive reading of its definition."""

from __future__ import annotations

from hashlib import sha256

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from doorward.errors import IntegrityError
from doorward.ledger.tree import (
    EMPTY_ROOT,
    Tree,
    consistency_proof,
    inclusion_proof,
    leaf_hash,
    node_hash,
    nodes,
    root_of,
    verify_consistency,
    verify_inclusion,
)

# Certificate Transparency's test leaves and the roots of the trees of the first 1 to 8 of them.
ENTRIES = [
    bytes.fromhex(text)
    for text in ("", "00", "10", "2021", "3031", "40414243", "5051525354555657", "606162636465666768696a6b6c6d6e6f")
]
ROOTS = [
    "6e340b9cffb37a989ca544e6bb780a2c78901d3fb33738768511a30617afa01d",
    "fac54203e7cc696cf0dfcb42c92a1d9dbaf70ad9e621f4bd8d98662f00e3c125",
    "aeb6bcfe274b70a14fb067a5e5578264db0fa9b51af5e0ba159158f329e06e77",
    "d37ee418976dd95753c1c73862b9398fa2a2cf9b4ff0fdfe8b30cd95209614b7",
    "4e3bbb1f7b478dcfe71fb631631519a3bca12c9aefca1612bfce4c13a86264d4",
    "76e67dadbcdf1e10e1b74ddc608abd2f98dfb16fbce75277b5232a127f2087ef",
    "ddb89be403809e325750d3d263cd78929c2942b7942a34b77e122c9594a74c8c",
    "5dc9da79a70659a9ad559cb701ded9a2ab9d823aad2f4960cfe370eff4604328",
]
LEAVES = [leaf_hash(b"%d" % number) for number in range(70)]
NODE = nodes(LEAVES)


def naive(leaves: list[bytes]) -> bytes:
    """MTH, word for word from RFC 6962, section 2.1."""
    if len(leaves) < 2:
        return leaves[0] if leaves else sha256(b"").digest()
    split = 1
    while split * 2 < len(leaves):
        split *= 2
    return sha256(b"\x01" + naive(leaves[:split]) + naive(leaves[split:])).digest()


@pytest.mark.parametrize("size", range(9))
def test_vectors(size: int) -> None:
    """The published roots."""
    tree = Tree()
    tree.extend(leaf_hash(entry) for entry in ENTRIES[:size])
    assert tree.root().hex() == (ROOTS[size - 1] if size else EMPTY_ROOT.hex())


@pytest.mark.parametrize("size", range(len(LEAVES) + 1))
def test_root(size: int) -> None:
    """Incremental, exported and computed roots are the definition's."""
    tree = Tree()
    tree.extend(LEAVES[:size])
    again = Tree(tree.size, tree.frontier)
    assert tree.root() == again.root() == root_of(size, NODE) == naive(LEAVES[:size])
    assert tree.append(LEAVES[0]) == again.append(LEAVES[0]) == size
    assert tree.root() == again.root()


def test_leaf_is_no_node() -> None:
    """The bytes of a node's children, as an entry, hash to something else than the node."""
    assert leaf_hash(LEAVES[0] + LEAVES[1]) != node_hash(LEAVES[0], LEAVES[1])


@pytest.mark.parametrize("size", [1, 2, 3, 7, 8, 9, 31, 33, 64, 70])
def test_inclusion(size: int) -> None:
    """Every leaf has a proof; it is for that leaf at that place in that tree only."""
    root = root_of(size, NODE)
    for index in range(size):
        proof = inclusion_proof(index, size, NODE)
        verify_inclusion(LEAVES[index], index, size, proof, root)
        wrong = [
            (LEAVES[index - 1], index, size, proof, root) if size > 1 else (root[::-1], index, size, proof, root),
            (LEAVES[index], (index + 1) % size, size, proof, root) if size > 1 else (LEAVES[0], 1, 1, proof, root),
            (LEAVES[index], index, size, [*proof, root], root),
            (LEAVES[index], index, size, proof, root[::-1]),
            (LEAVES[index], index, size, [hash_[::-1] for hash_ in proof], root) if proof else (root, 0, 0, [], root),
            (LEAVES[index], index, size, [b"short"], root),
            (LEAVES[index], -1, size, proof, root),
        ]
        if proof:
            wrong.append((LEAVES[index], index, size, proof[:-1], root))
        for case in wrong:
            with pytest.raises(IntegrityError):
                verify_inclusion(*case)


def test_consistency() -> None:
    """Every earlier tree is proven to be continued, and no other."""
    for new in range(1, 41):
        new_root = root_of(new, NODE)
        for old in range(new + 1):
            old_root, proof = root_of(old, NODE), consistency_proof(old, new, NODE)
            verify_consistency(old, new, old_root, new_root, proof)
            for other in ([*proof, new_root], proof[:-1] if proof else [old_root]):
                with pytest.raises(IntegrityError):
                    verify_consistency(old, new, old_root, new_root, other)
            with pytest.raises(IntegrityError):
                verify_consistency(old, new, old_root[::-1], new_root, proof)
            if old:
                with pytest.raises(IntegrityError):
                    verify_consistency(old, new, old_root, new_root[::-1], proof)


def test_out_of_range() -> None:
    """Sizes that cannot be are refused: a log that shrank, no such leaf, a proof of 64 hashes."""
    with pytest.raises(ValueError):
        inclusion_proof(3, 3, NODE)
    with pytest.raises(ValueError):
        consistency_proof(4, 3, NODE)
    with pytest.raises(IntegrityError):
        verify_consistency(2, 1, LEAVES[0], LEAVES[0], [])
    with pytest.raises(IntegrityError):
        verify_inclusion(LEAVES[0], 0, 2**60, LEAVES[:64], LEAVES[0])
    for size, frontier in ((1, []), (0, [LEAVES[0]]), (3, [LEAVES[0]]), (1, [b"x"]), (-1, []), (2**60, [LEAVES[0]])):
        with pytest.raises(IntegrityError):
            Tree(size, frontier)


@settings(max_examples=60)
@given(st.integers(-2, 2**50), st.integers(-2, 2**50), st.lists(st.binary(min_size=32, max_size=32), max_size=66))
def test_total(index: int, size: int, proof: list[bytes]) -> None:
    """No made-up proof passes, and none raises anything but IntegrityError."""
    with pytest.raises(IntegrityError):
        verify_inclusion(LEAVES[0], index, size, proof, LEAVES[1])
    with pytest.raises(IntegrityError):
        verify_consistency(index, size, LEAVES[0], LEAVES[1], proof)
