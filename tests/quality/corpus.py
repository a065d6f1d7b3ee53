"""A labelled corpus, made from a seed: texts, and where in them something confidential is.

Nothing here or in its sources uses code of `src`: the corpus says what is true, the detectors are asked.
"""

from __future__ import annotations

import base64
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from random import Random

from tests.quality import ordinary, people, secrets

AROUND = (
    "{}",
    "{}",
    "{}",
    "{}",
    "Please look at {} again, thanks.",
    "Bitte {} noch einmal prüfen.",
    "voir {} (en pièce jointe)",
    "см. {}, спасибо",
    "{}をご確認ください。",
    '{{"id": 17, "value": "{}", "ok": true}}',
    '[1, "{}", null]',
    "17;{};2026-11-23",
    'x,"{}",y',
    "{{{},b}}",
    "({},7)",
    "2026-11-23T06:30:00Z INFO handled {} in 3.2 ms",
    "where value = '{}'",
    "note: {}\nnext line",
    "\t{}\t",
)


@dataclass(frozen=True, slots=True)
class Sample:
    """A text of one kind; where its confidential part is, and the detector that should find it. Nothing: ordinary."""

    kind: str
    text: str
    start: int = 0
    end: int = 0
    detector: str = ""


def _placed(kind: str, detector: str, text: str, secret: str) -> Sample:
    start = text.index(secret)
    return Sample(kind, text, start, start + len(secret), detector)


def confidential(seed: int, each: int) -> Iterator[Sample]:
    """`each` texts of every kind."""
    plain: dict[str, tuple[str, Callable[[Random], str]]] = {
        "payment card": ("card", people.card),
        "IBAN": ("iban", people.iban),
        "US SSN": ("ssn", people.ssn),
        "e-mail address": ("email", secrets.email),
        "telephone, international": ("phone", secrets.phone_international),
        "telephone, North America": ("phone", secrets.phone_american),
        "IP address": ("ip", secrets.ip),
        "JWT": ("jwt", secrets.jwt),
        "private key": ("private_key", secrets.private_key),
    }
    for kind, (detector, make) in plain.items():
        draw = Random(f"{seed} {kind}")  # noqa: S311 - the same corpus every time
        for _ in range(each):
            value = make(draw)
            yield _placed(kind, detector, draw.choice(AROUND).format(value), value)
    draw = Random(f"{seed} national")  # noqa: S311
    for country, make in people.FORMED.items():
        for _ in range(max(1, each // 10)):
            value = make(draw)
            yield _placed(f"national id {country}", "national_id", draw.choice(AROUND).format(value), value)
    for country, (word, make) in people.SAID.items():
        for _ in range(max(1, each // 10)):
            value = make(draw)
            said = draw.choice(["{}: {}", "{} {}", '{{"{}": "{}"}}', "{} = '{}'"]).format(word, value)
            yield _placed(f"national id {country}, said", "national_number", said, value)
    draw = Random(f"{seed} secrets")  # noqa: S311
    for issuer in secrets.KEYS:
        for _ in range(max(1, each // 20)):
            text, secret = secrets.key(draw, issuer)
            yield _placed(f"key {issuer}", "secret_key", draw.choice(AROUND).format(text), secret)
    for kind, detector, texts in (
        ("password, named", "password", secrets.PASSWORD_TEXTS),
        ("password in a URL", "url_password", secrets.URL_TEXTS),
    ):
        for _ in range(each):
            value = draw.choice(
                [word for word in secrets.PASSWORDS if detector == "password" or not set(word) & set("/@")]
            )
            if "&" in value or "/" in value:
                value = "S3cret!pw"
            yield _placed(kind, detector, draw.choice(texts).format(value), value)


def uncovered(seed: int, each: int) -> Iterator[Sample]:
    """What no detector is there for, so that it is known how much of it is missed."""
    draw = Random(f"{seed} uncovered")  # noqa: S311
    for _ in range(each):
        value = draw.choice(list(people.SAID.values()))[1](draw)
        yield _placed("national number without a word", "none", value, value)
    for _ in range(each):
        value = secrets.phone_american(draw).translate({ord(character): None for character in "()-. "})
        yield _placed("telephone number, digits alone", "none", value, value)
    for _ in range(each):
        value = draw.choice(["030 901820{}", "01 42 68 53 {}", "020 7946 09{}", "06 6982 12{}"]).format(
            draw.randint(10, 99)
        )
        yield _placed("telephone number of another region than the one that is set", "none", value, value)
    for _ in range(each):
        value = f"{draw.choice(secrets.FIRST)} {draw.choice(secrets.LAST)}"
        yield _placed("name of a person in prose", "none", f"Please call {value} back on Monday.", value)
    for _ in range(each):
        value = f"{draw.randint(1, 99)} {draw.choice(['High Street', 'Hauptstraße', 'rue de Rivoli', 'via Roma'])}"
        yield _placed("postal address in prose", "none", f"Send it to {value}, second floor.", value)
    for _ in range(each):
        value = draw.choice(["hunter", "correct horse battery", "letmein"])
        yield _placed("password without a name in front", "none", f"use {value} to get in", value)
    for _ in range(each):
        value = people.card(draw)
        packed = base64.b64encode(value.encode()).decode()
        yield _placed("payment card in base 64", "none", packed, packed)
    for _ in range(each):
        value = people.old_card(draw)
        yield _placed("payment card of 13 digits that is a barcode, too", "none", value, value)


def ordinary_texts(seed: int, each: int) -> Iterator[Sample]:
    """`each` texts of every kind in which nothing is confidential."""
    for kind, make in ordinary.KINDS.items():
        draw = Random(f"{seed} {kind}")  # noqa: S311
        for _ in range(each):
            text = make(draw)
            yield Sample(kind, text if draw.random() < 0.5 else draw.choice(AROUND).format(text))
