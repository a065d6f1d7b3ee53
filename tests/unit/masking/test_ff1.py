"""FF1 against the examples that NIST publishes, and against what a permutation is."""

from __future__ import annotations

import pytest

from doorward.masking.ff1 import Ff1

KEY = "2B7E151628AED2A6ABF7158809CF4F3C"


@pytest.mark.parametrize(
    ("key", "tweak", "becomes"),
    [
        (KEY, "", "2433477484"),
        (KEY, "39383736353433323130", "6124200773"),
        (KEY + "EF4359D8D580AA4F", "", "2830668132"),
        (KEY + "EF4359D8D580AA4F", "39383736353433323130", "2496655549"),
        (KEY + "EF4359D8D580AA4F7F036D6F04FC6A94", "", "6657667009"),
        (KEY + "EF4359D8D580AA4F7F036D6F04FC6A94", "39383736353433323130", "1001623463"),
    ],
)
def test_the_examples_of_nist(key: str, tweak: str, becomes: str) -> None:
    """The decimal samples 1, 2, 4, 5, 7 and 8 that accompany SP 800-38G."""
    ff1 = Ff1(bytes.fromhex(key))
    assert ff1.encrypt([0, 1, 2, 3, 4, 5, 6, 7, 8, 9], bytes.fromhex(tweak)) == [int(digit) for digit in becomes]


@pytest.mark.parametrize("size", [6, 7, 9, 36])
def test_different_values_stay_different(size: int) -> None:
    """A permutation: no two of many values become one."""
    ff1 = Ff1(bytes(32))
    values = [[int(digit) for digit in f"{number:0{size}d}"] for number in range(0, 2000, 7)]
    shown = {tuple(ff1.encrypt(value)) for value in values}
    assert len(shown) == len(values)
    assert all(len(value) == size for value in shown)


@pytest.mark.parametrize("size", [0, 5, 37])
def test_domains_are_bounded(size: int) -> None:
    """Fewer than a million values could be tried out; more than 36 digits nobody needs."""
    with pytest.raises(ValueError, match="6 to 36"):
        Ff1(bytes(16)).encrypt([0] * size)
