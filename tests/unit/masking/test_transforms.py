"""What labelled values become."""

from __future__ import annotations

from datetime import date, timedelta

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from doorward.errors import ConfigError
from doorward.masking.detect import DETECTORS, Detectors
from doorward.masking.transforms import NAMES, Transforms, keep_nothing, partial

ALL = Detectors()
KEY = bytes(range(32))
SECRETS = [(detector.label, secret) for detector in DETECTORS for _, secret in detector.examples]


@pytest.mark.parametrize("name", [name for name in NAMES if name != "format_preserving"])
@pytest.mark.parametrize(("label", "secret"), SECRETS)
def test_nothing_leads_back(name: str, label: str, secret: str) -> None:
    """A masked value does not hold the value, and our own detectors find nothing in it."""
    masked = Transforms({label: name}, KEY, keep=keep_nothing).apply(label, secret)
    if name == "null":
        assert masked is None
        return
    assert masked is not None
    assert secret not in masked
    assert ALL.mask(masked) == (masked, {})


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
        ("phone", "+442079460958", "+44********58"),
        ("phone", "+44 20 7946 0958", "+44********58"),
        ("phone", "020 7946 0958", "[phone]"),
        ("phone", "+1", "[phone]"),
        ("note", "+442079460958", "[note]"),
        ("name", "Bob", "[name]"),
    ],
)
def test_partial_keeps_what_is_stated_and_no_more(label: str, text: str, shown: str) -> None:
    """BIN and last four; first character and domain; country and last four; else nothing."""
    assert partial(label, text) == shown


ALL_KEYED = Transforms(
    {"id": "hash", "no": "hash", "dob": "date_shift", "seen": "date_shift", "ssn": "format_preserving"}, KEY, tenant="a"
)


def test_hashes_are_equal_across_labels_and_not_across_tenants() -> None:
    """A hash is of the value alone, so that columns with different labels join; another tenant's says nothing here."""
    hashed = ALL_KEYED.apply("id", "4711")
    assert hashed is not None
    assert len(hashed) == 32
    assert hashed == ALL_KEYED.apply("no", "4711")
    assert hashed != ALL_KEYED.apply("id", "4712")
    assert hashed != Transforms({"id": "hash"}, KEY, tenant="b").apply("id", "4711")


@pytest.mark.parametrize("name", ["token", "hash", "format_preserving", "date_shift"])
def test_tenants_have_their_own(name: str) -> None:
    """What is keyed differs from tenant to tenant under one key."""
    value = "1984-02-29" if name == "date_shift" else "123-45-6789"
    shown = {Transforms({"x": name}, KEY, tenant=tenant).apply("x", value) for tenant in ("", "a", "b", "c")}
    assert len(shown) == 4


@settings(max_examples=100, deadline=None)
@given(st.dates(date(1800, 1, 1), date(2200, 1, 1)), st.dates(date(1800, 1, 1), date(2200, 1, 1)))
def test_shifted_dates_keep_their_distance(one: date, other: date) -> None:
    """Every date of a label moves by the same number of days, and moves."""
    shown = [date.fromisoformat(ALL_KEYED.apply("dob", day.isoformat()) or "") for day in (one, other)]
    assert shown[1] - shown[0] == other - one
    assert 0 < abs((shown[0] - one).days) <= 365
    assert (shown[0] - one).days == ALL_KEYED.shift("dob") != ALL_KEYED.shift("seen")


@pytest.mark.parametrize(
    "text", ["1984-02-30", "29.02.1984", "02/29/84", "yesterday", "infinity", "0001-01-01 BC", "9999-12-31x", "", "19840230"]
)
def test_what_is_no_date_is_redacted(text: str) -> None:
    """date_shift moves dates of ISO 8601 and shows nothing else."""
    assert ALL_KEYED.apply("dob", text) == "[dob]"


def test_dates_move_in_every_form() -> None:
    """A date is moved the same way as text, with a time behind it, compact, and in PostgreSQL's binary forms."""
    days = ALL_KEYED.shift("dob")
    moved = date(1984, 2, 29) + timedelta(days=days)
    assert ALL_KEYED.apply("dob", "1984-02-29 06:30:00.5+00") == f"{moved} 06:30:00.5+00"
    assert ALL_KEYED.apply("dob", "19840229") == f"{moved:%Y%m%d}"
    assert ALL_KEYED.shifted("dob", b"1984-02-29", binary=False) == str(moved).encode()
    since = (date(1984, 2, 29) - date(2000, 1, 1)).days
    assert ALL_KEYED.shifted("dob", since.to_bytes(4, "big", signed=True), binary=True) == (since + days).to_bytes(
        4, "big", signed=True
    )
    day = 86_400_000_000
    assert ALL_KEYED.shifted("dob", (since * day + 17).to_bytes(8, "big", signed=True), binary=True) == (
        (since + days) * day + 17
    ).to_bytes(8, "big", signed=True)


@pytest.mark.parametrize(
    ("value", "binary", "becomes"),
    [
        (b"infinity", False, b"infinity"),
        (b"\x7f\xff\xff\xff", True, b"\x7f\xff\xff\xff"),
        (b"\x80" + bytes(7), True, b"\x80" + bytes(7)),
        (b"29/02/1984", False, None),
        (b"\xff\xfe", False, None),
        (b"\0\0", True, None),
    ],
)
def test_dates_that_cannot_move_become_null_or_stay_infinite(value: bytes, binary: bool, becomes: bytes | None) -> None:
    """Infinity says nothing of anybody; whatever else is not understood is not shown."""
    assert ALL_KEYED.shifted("dob", value, binary=binary) == becomes


@settings(max_examples=200, deadline=None)
@given(st.from_regex(r"[+(]?[0-9](?:[ ./()-]?[0-9]){5,19}", fullmatch=True))
def test_a_preserved_format_is_preserved(text: str) -> None:
    """Separators stay where they are, digits become digits, and the same again."""
    shown = ALL_KEYED.apply("ssn", text)
    assert shown is not None
    assert [c if not c.isdigit() else "0" for c in shown] == [c if not c.isdigit() else "0" for c in text]
    assert shown == ALL_KEYED.apply("ssn", text)


@pytest.mark.parametrize("text", ["12345", "AB123456C", "1" * 37, "１２３４５６７", "123-45-6789 ", "-123456", ""])
def test_a_format_that_is_not_digits_is_redacted(text: str) -> None:
    """Too few digits to hide in, letters, and what the detectors would have to read twice are redacted."""
    assert ALL_KEYED.apply("ssn", text) == "[ssn]"


def test_a_policy_may_choose_another_transform() -> None:
    """`overridden` changes the labels that it names and no other, under the same key, and checks them alike."""
    base = Transforms({"ssn": "token", "card": "partial"}, KEY)
    other = base.overridden({"ssn": "null"})
    assert (other.name("ssn"), other.name("card"), base.name("ssn")) == ("null", "partial", "token")
    assert base.overridden({}) is base
    assert base.overridden({"ssn": "null"}) is other
    assert base.overridden({"x": "token"}).token("x", "1") == Transforms({"x": "token"}, KEY).token("x", "1")
    with pytest.raises(ConfigError, match="no transform is named rot13"):
        base.overridden({"ssn": "rot13"})


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
    [
        ({"ssn": "rot13"}, KEY, "no transform is named rot13"),
        ({"ssn": "token"}, b"short", "32 bytes"),
        ({"ssn": "hash"}, b"", "32 bytes"),
        ({"ssn": "vault"}, b"", "32 bytes"),
        ({"ssn": "vault"}, KEY, "vault needs keys of its own"),
        ({"dob": "date_shift"}, b"", "32 bytes"),
        ({"ssn": "format_preserving"}, b"", "32 bytes"),
        ({"card": "format_preserving"}, KEY, "use partial"),
        ({"email": "format_preserving"}, KEY, "not made of digits"),
    ],
)
def test_settings_that_cannot_work_are_errors(by_label: dict[str, str], key: bytes, says: str) -> None:
    """An unknown transform and a token without a key are refused when they are set, not when they are used."""
    with pytest.raises(ConfigError, match=says):
        Transforms(by_label, key)


def test_a_vault_shows_the_token_and_is_told_the_value() -> None:
    """The same token as without a vault, under any policy; what cannot be kept is redacted."""
    kept: list[tuple[str, str, str]] = []

    def keep(label: str, token: str, text: str) -> bool:
        kept.append((label, token, text))
        return len(text) < 5

    transforms = Transforms({"ssn": "vault"}, KEY, tenant="a", keep=keep)
    token = Transforms({"ssn": "token"}, KEY, tenant="a").apply("ssn", "4711")
    assert transforms.apply("ssn", "4711") == token == transforms.overridden({"id": "hash"}).apply("ssn", "4711")
    assert kept == [("ssn", token, "4711")] * 2
    assert transforms.apply("ssn", "12345") == "[ssn]"
    assert Transforms({}, KEY, tenant="a", keep=keep).overridden({"ssn": "vault"}).apply("ssn", "4711") == token


def test_a_label_without_a_transform_is_redacted() -> None:
    """The default hides."""
    assert Transforms().apply("salary", "90000") == "[salary]"


SUBJECTS = Transforms({"born": "date_shift", "died": "date_shift", "paid": "date_shift"}, KEY, tenant="a",
                      subjects={"born": "id", "died": "person"})  # fmt: skip


@settings(max_examples=60, deadline=None)
@given(
    one=st.dates(date(1600, 1, 1), date(2400, 1, 1)), other=st.dates(date(1600, 1, 1), date(2400, 1, 1)),
    whose=st.text(max_size=12),
)
def test_all_dates_of_one_subject_move_alike(one: date, other: date, whose: str) -> None:
    """Under every label and in every form: by the same number of days, never by none, at most by a year. Without a subject, no
    date is shown; where a label names none, its own constant holds."""
    since = [(day - date(2000, 1, 1)).days.to_bytes(4, "big", signed=True) for day in (one, other)]
    texts = [SUBJECTS.shifted(label, day.isoformat().encode(), binary=False, subject=whose)
             for label, day in (("born", one), ("died", other))]  # fmt: skip
    binary = [SUBJECTS.shifted("born", day, binary=True, subject=whose) for day in since]
    moved = [date.fromisoformat((text or b"").decode()) for text in texts]
    assert moved[1] - moved[0] == other - one
    assert 0 < abs((moved[0] - one).days) <= 365
    assert [(day - date(2000, 1, 1)).days.to_bytes(4, "big", signed=True) for day in moved] == binary
    assert SUBJECTS.shifted("born", since[0], binary=True) is None
    assert SUBJECTS.shifted("born", one.isoformat().encode(), binary=False) is None
    assert SUBJECTS.apply("born", one.isoformat()) is None
    assert SUBJECTS.apply("paid", one.isoformat()) == str(one + timedelta(days=SUBJECTS.shift("paid")))


def test_subjects_move_by_numbers_of_their_own() -> None:
    """Hardly any two of many alike, and another tenant's otherwise."""
    day = b"2000-06-15"
    moved = [SUBJECTS.shifted("born", day, binary=False, subject=str(n)) for n in range(400)]
    assert len(set(moved)) > 200
    other = Transforms({"born": "date_shift"}, KEY, tenant="b", subjects={"born": "id"})
    assert [other.shifted("born", day, binary=False, subject=str(n)) for n in range(20)] != moved[:20]
