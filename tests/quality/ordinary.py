"""What is nobody's secret and looks as if it were: the texts that a detector has to leave alone."""

from __future__ import annotations

import base64
import json
import uuid
from collections.abc import Callable
from random import Random

from tests.quality.people import digits, with_luhn
from tests.quality.secrets import ALNUM, HEX, chars

PROSE = (
    "The parcel left the warehouse on Tuesday and should reach you within 3 to 5 working days; no signature is needed.",
    "She said that 12 of the 48 samples were lost, and that chapter 11 of the report (pages 204-219) explains why.",
    "Die Lieferung von 250 Stück zu je 3,75 € erfolgt bis zum 31.12.2026 frei Haus, Rechnung Nr. 2026/0815 folgt.",
    "Le taux est passé de 2,35 % à 2,5 % en 2024 ; voir l'article L. 123-45 du code, paragraphes 6 à 7.",
    "El pedido n.º 2026-000345 contiene 3 unidades del modelo AX-500 y 12 del modelo BZ-750.",
    "Il treno 9641 parte alle 06:30 dal binario 12 e arriva a Milano Centrale alle 09:29, carrozza 7, posto 14A.",
    "Zamówienie nr 45/2026 na kwotę 1 234 567,89 zł zostało przyjęte dnia 23.11.2026 o godz. 14:05.",
    "Заказ № 20261123-77 на сумму 12 345,67 руб. будет доставлен 24 ноября с 10:00 до 18:00.",
    "注文番号20261123は、3個入り12箱で、合計4,980円です。",
    "訂單編號 2026112300017 已於十一月二十三日出貨，共三十六件。",
    "Forgot your password? Choose a new one with at least 12 characters; the secret is to make it long.",
    "Call the method @cached_property on models@v2, not @x.y; the phone app is at version 4.12.0.",
)


def order(draw: Random) -> str:
    return draw.choice(
        [
            f"ORD-{draw.randint(2019, 2026)}-{draw.randint(1, 999999):06d}",
            f"{draw.randint(2019, 2026)}1123-{draw.randint(1, 9999):04d}",
            f"INV{draw.randint(10**6, 10**7)}",
            str(draw.randint(10**8, 10**11)),
            f"PO#{draw.randint(10**5, 10**8)}",
            f"{draw.randint(100, 999)}-{draw.randint(1000000, 9999999)}-{draw.randint(1000000, 9999999)}",
        ]
    )


def identifier(draw: Random) -> str:
    return draw.choice(
        [
            str(uuid.UUID(int=draw.getrandbits(128), version=4)),
            chars(draw, HEX, 24),
            "01" + chars(draw, "0123456789ABCDEFGHJKMNPQRSTVWXYZ", 24),
            str(draw.getrandbits(63)),
            f"cus_{chars(draw, ALNUM, 14)}",
            f"pi_{chars(draw, ALNUM, 24)}",
            chars(draw, ALNUM, 21),
        ]
    )


def moment(draw: Random) -> str:
    date = f"20{draw.randint(10, 29)}-{draw.randint(1, 12):02d}-{draw.randint(1, 28):02d}"
    time = f"{draw.randint(0, 23):02d}:{draw.randint(0, 59):02d}:{draw.randint(0, 59):02d}"
    return draw.choice(
        [
            f"{date} {time}.{draw.randrange(10**6):06d}+00",
            f"{date}T{time}Z",
            f"{date} {time}",
            str(draw.randint(10**9, 2 * 10**9)),
            str(draw.randint(10**12, 2 * 10**12)),
            str(draw.randint(10**15, 2 * 10**15)),
            str(draw.randint(10**18, 2 * 10**18)),
            date.replace("-", "") + time.replace(":", ""),
            f"[{date} 00:00:00+00,{date} 23:59:59+00)",
            ".".join(reversed(date.split("-"))),
        ]
    )


def digest(draw: Random) -> str:
    return draw.choice(
        [
            chars(draw, HEX, 32),
            chars(draw, HEX, 40),
            chars(draw, HEX, 64),
            "sha256:" + chars(draw, HEX, 64),
            chars(draw, HEX, 128),
            "$2b$12$" + chars(draw, ALNUM + "./", 53),
            base64.b64encode(draw.randbytes(draw.randint(20, 90))).decode(),
            chars(draw, HEX.upper(), 40),
            "\\x" + chars(draw, HEX, 48),
            "#" + chars(draw, HEX, 6),
        ]
    )


def version(draw: Random) -> str:
    def part() -> int:
        return draw.randint(0, 40)

    return draw.choice(
        [
            f"v{part()}.{part()}.{part()}",
            f"{part()}.{part()}.{part()}-rc.{part()}+build.{part()}",
            f"Chrome/{draw.randint(90, 140)}.0.{draw.randint(4000, 7000)}.{part()}",
            f"left-pad@{part()}.{part()}.{part()}",
            f"PostgreSQL {part()}.{part()} on x86_64-pc-linux-gnu, compiled by gcc 12.2.0, 64-bit",
            f"version {part()}.{part()}.{draw.randint(10000, 20000)}.{part()}",
            f"1.2.840.113549.1.1.{part()}",
        ]
    )


def product(draw: Random) -> str:
    body = digits(draw, 12)
    ean = body + str(-sum(int(digit) * (1 if place % 2 == 0 else 3) for place, digit in enumerate(body)) % 10)
    isbn = "978" + digits(draw, 9)
    isbn += str(-sum(int(digit) * (1 if place % 2 == 0 else 3) for place, digit in enumerate(isbn)) % 10)
    letters = "ABCDEFGHJKLMNPQRSTUVWXYZ"
    return draw.choice(
        [
            ean,
            isbn,
            f"{isbn[:3]}-{isbn[3]}-{isbn[4:6]}-{isbn[6:12]}-{isbn[12]}",
            "1Z" + chars(draw, letters + "0123456789", 16),
            digits(draw, 12),
            f"{chars(draw, letters, 3)}-{digits(draw, 4)}-{chars(draw, letters, 1)}",
            f"{chars(draw, letters, 2)}{digits(draw, 6)}{chars(draw, letters, 1)}",
            with_luhn("35" + digits(draw, 12)),
            "89" + digits(draw, 17),
            f"{digits(draw, 8)}{chars(draw, letters, 1)}",
            f"RR{digits(draw, 9)}DE",
            f"{chars(draw, letters, 1)}{digits(draw, 9)}",
            digits(draw, 16, "123456789"),
        ]
    )


def number(draw: Random) -> str:
    return draw.choice(
        [
            repr(draw.random()),
            repr(draw.uniform(-1e9, 1e9)),
            f"{draw.uniform(0, 1e6):,.2f}",
            f"{draw.random():.18f}",
            repr(draw.uniform(1e100, 1e300)),
            "{" + ",".join(str(draw.randint(0, 999)) for _ in range(12)) + "}",
            f"({draw.uniform(-90, 90):.6f},{draw.uniform(-180, 180):.6f})",
            " ".join(str(draw.randint(1000, 9999)) for _ in range(3)),
            f"{draw.randint(1, 99)} x {draw.randint(1, 99)} = {draw.randint(100, 9999)}",
            str(draw.randint(100000000, 999999999)),
            f"{draw.randint(1, 31):02d}.{draw.randint(1, 12):02d}.{draw.randint(1950, 2026)}",
        ]
    )


def near(draw: Random) -> str:
    """One digit or letter away from what is looked for."""
    wrong_card = with_luhn("4" + digits(draw, 14))
    wrong_card = wrong_card[:-1] + str((int(wrong_card[-1]) + draw.randint(1, 9)) % 10)
    return draw.choice(
        [
            wrong_card,
            f"{wrong_card[:4]} {wrong_card[4:8]} {wrong_card[8:12]} {wrong_card[12:]}",
            f"000-{digits(draw, 2)}-{digits(draw, 4)}",
            f"{draw.randint(900, 999)}-{draw.randint(10, 49)}-{digits(draw, 4)}",
            f"{digits(draw, 3)}-00-{digits(draw, 4)}",
            "DE00" + digits(draw, 18),
            f"{digits(draw, 3)}-{digits(draw, 3)}-{digits(draw, 3)}",
            f"+{digits(draw, 3, '0')}{digits(draw, 5)}",
            f"555-{digits(draw, 4)}",
            "ghp_" + chars(draw, ALNUM, 12),
            "AKIA" + chars(draw, "abcdef", 16),
            "sk-" + "-".join(["some", "feature", "branch", "name", "or", "other"]),
            "eyJ" + chars(draw, ALNUM, 30),
            "user@localhost",
            "git@github.com:org/repository.git",
            "@scope/package",
            "logo@2x.png",
            "password",
            "PASSWORD NULL",
            "password = $1",
            "postgres://app@db.example.org/shop",
            "-----BEGIN CERTIFICATE-----",
            "-----BEGIN PUBLIC KEY-----",
            f"tel {draw.randint(1, 99)}",
            f"{digits(draw, 11, '123456789')}",
        ]
    )


def code(draw: Random) -> str:
    return draw.choice(
        [
            f"SELECT oid, relname FROM pg_class WHERE relnamespace = {draw.randint(1000, 99999)} AND relkind = 'r'",
            "UPDATE accounts SET password_hash = crypt($1, gen_salt('bf')) WHERE id = $2",
            f"for (let i = 0; i < {draw.randint(2, 99)}; i++) {{ total += rows[i].amount; }}",
            "std::vector<std::pair<int, std::string>> a::b::c;",
            f"nextval('orders_{draw.randint(1, 99)}_seq'::regclass)",
            "https://example.org/a/b?page=2&size=50#section-4",
            "C:\\Users\\app\\AppData\\Local\\Temp\\x1",
            "/var/log/app/2026/11/23/out.log",
            "import os; token = os.environ['API_TOKEN']",
            "Authorization: required",
            "aws s3 cp s3://bucket/key ./file --region eu-west-1",
        ]
    )


def log_line(draw: Random) -> str:
    spent = f"{draw.random() * 100:.3f}"
    seconds = f"{draw.randint(10**9, 2 * 10**9)}.{draw.randint(100, 999)}"
    return draw.choice(
        [
            f"{moment(draw)} INFO worker-{draw.randint(1, 9)} request id={identifier(draw)} took {spent} ms status=200",
            f'level=warn ts={seconds} caller=main.go:{draw.randint(1, 999)} msg="retry {draw.randint(1, 9)}"',
            f"pid {draw.randint(1, 99999)}: checkpoint complete: wrote {draw.randint(1, 9999)} buffers (0.3%)",
        ]
    )


def document(draw: Random) -> str:
    return draw.choice(
        [
            json.dumps(
                {"id": identifier(draw), "at": moment(draw), "sku": product(draw), "total": draw.random(), "ok": True}
            ),
            json.dumps({"items": [order(draw), order(draw)], "hash": digest(draw)}),
            f"{order(draw)},{moment(draw)},{draw.random():.4f},{version(draw)},open",
            f"{draw.randint(1, 999)}\t{identifier(draw)}\t{moment(draw)}",
        ]
    )


def prose(draw: Random) -> str:
    return draw.choice(PROSE)


KINDS: dict[str, Callable[[Random], str]] = {
    "order numbers": order,
    "identifiers": identifier,
    "moments": moment,
    "digests and blobs": digest,
    "versions": version,
    "product and parcel numbers": product,
    "numbers": number,
    "near misses": near,
    "code": code,
    "log lines": log_line,
    "JSON, CSV, TSV": document,
    "prose": prose,
}
