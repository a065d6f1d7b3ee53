"""What labelled values become."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from doorward.errors import ConfigError
from doorward.masking.detect import DETECTORS, Detectors
from doorward.masking.transforms import NAMES, Transforms, partial

KEY = bytes(range(32))
SECRETS = [(detector.label, secret) for detector in DETECTORS for _, secret in detector.examples]


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize(("label", "secret"), SECRETS)
def test_nothing_leads_back(name: str, label: str, secret: str) -> None:
    """A masked value does not hold the value, and our own detectors find nothing in it."""
    masked = Transforms({label: name}, KEY).apply(label, secret)
    if name == "null":
        assert masked is None
        return
    assert masked is not None
    assert secret not in masked
    assert Detectors().mask(masked) == (masked, {})


@pytest.mark.parametrize(
    ("label", "text", "shown"),
    [
        ("card", "4111111111111111", "411111******1111"),
        ("card", "4111 1111 1111 1111", "411111******1111"),
        ("card", "378282246310005", "378282*****0005"),
        ("card", "30569309025904", "3056******5904"),
        ("card", "4111111111111112", "[card]"),
        ("card", "1111111111111114", "[card]"),
        ("card", "41111111", "[card]"),
        ("email", "bob@example.org", "b***@[example.org]"),
        ("email", "gro.elpmaxe@bob", "[email]"),
        ("email", "bob@example.org, al@example.org", "[email]"),
        ("iban", "DE89370400440532013000", "DE****************3000"),
        ("ssn", "123-45-6789", "[ssn]"),
        ("phone", "+442079460958", "[phone]"),
        ("name", "Bob", "[name]"),
    ],
)
def test_partial_keeps_what_is_stated_and_no_more(label: str, text: str, shown: str) -> None:
    """BIN and last four; first character and domain; country and last four; else nothing."""
    assert partial(label, text) == shown


@settings(max_examples=100, deadline=None)
@given(st.text(max_size=40))
def test_partial_never_keeps_a_digit_too_many(text: str) -> None:
    """At most ten digits of a card stay, whatever comes in."""
    shown = partial("card", text)
    assert sum(character.isdigit() for character in shown) <= 10


def test_tokens_are_deterministic_by_label_and_key() -> None:
    """Equal values of one label have equal tokens; another label or key has others; the form is label_16 characters."""
    transforms = Transforms({"ssn": "token", "card": "token"}, KEY)
    token = transforms.apply("ssn", "123-45-6789")
    assert token is not None
    assert token == transforms.apply("ssn", "123-45-6789")
    assert token != transforms.apply("ssn", "123-45-6780")
    assert token[4:] != (transforms.apply("card", "123-45-6789") or "")[5:]
    assert token != Transforms({"ssn": "token"}, bytes(32)).apply("ssn", "123-45-6789")
    assert token.startswith("ssn_")
    assert len(token) == 20


@pytest.mark.parametrize(
    ("by_label", "key", "says"),
    [({"ssn": "rot13"}, KEY, "no transform is named rot13"), ({"ssn": "token"}, b"short", "32 bytes")],
)
def test_settings_that_cannot_work_are_errors(by_label: dict[str, str], key: bytes, says: str) -> None:
    """An unknown transform and a token without a key are refused when they are set, not when they are used."""
    with pytest.raises(ConfigError, match=says):
        Transforms(by_label, key)


def test_a_label_without_a_transform_is_redacted() -> None:
    """The default hides."""
    assert Transforms().apply("salary", "90000") == "[salary]"
