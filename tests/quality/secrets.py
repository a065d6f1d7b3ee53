"""Made-up credentials, addresses and telephone numbers, in the forms that issuers publish and people write."""

from __future__ import annotations

import base64
import json
import string
from random import Random

ALNUM = string.ascii_letters + string.digits
URLSAFE = ALNUM + "-_"
HEX = "0123456789abcdef"


def chars(draw: Random, pool: str, count: int) -> str:
    """Random characters."""
    return "".join(draw.choices(pool, k=count))


def encoded(value: bytes) -> str:
    """Base 64 for URLs, without padding (RFC 7515 section 2)."""
    return base64.urlsafe_b64encode(value).rstrip(b"=").decode("ascii")


def jwt(draw: Random) -> str:
    head = {"alg": draw.choice(["RS256", "HS256", "ES256", "EdDSA"]), "typ": "JWT"}
    if draw.random() < 0.3:
        head = {"typ": "at+jwt", "kid": chars(draw, ALNUM, 12), **head}
    body = {"sub": chars(draw, ALNUM, 8), "exp": draw.randint(1_700_000_000, 1_800_000_000)}
    parts = [json.dumps(head, separators=(",", ":")).encode(), json.dumps(body).encode(), draw.randbytes(32)]
    return ".".join(encoded(part) for part in parts)


def private_key(draw: Random) -> str:
    kind = draw.choice(["", "RSA ", "EC ", "OPENSSH ", "ENCRYPTED ", "PGP"])
    name = "PGP PRIVATE KEY BLOCK" if kind == "PGP" else f"{kind}PRIVATE KEY"
    body = base64.b64encode(draw.randbytes(draw.randint(48, 600))).decode()
    newline = draw.choice(["\n", "\r\n", "\\n"])
    lines = newline.join(body[start : start + 64] for start in range(0, len(body), 64))
    return newline.join((f"-----BEGIN {name}-----", lines, f"-----END {name}-----"))


# issuer: what a key is made of: literal text, or (characters, how many)
KEYS: dict[str, tuple[str | tuple[str, int], ...]] = {
    "AWS": ("AKIA", (string.ascii_uppercase + "234567", 16)),
    "AWS temporary": ("ASIA", (string.ascii_uppercase + "234567", 16)),
    "Google": ("AIza", (URLSAFE, 35)),
    "Google client": ("GOCSPX-", (URLSAFE, 28)),
    "Google token": ("ya29.", (URLSAFE, 120)),
    "Azure storage": ("AccountKey=", (ALNUM + "+/", 86), "=="),
    "Alibaba": ("LTAI", (ALNUM, 20)),
    "DigitalOcean": ("dop_v1_", (HEX, 64)),
    "Databricks": ("dapi", (HEX, 32)),
    "GitHub": ("ghp_", (ALNUM, 36)),
    "GitHub app": ("ghs_", (ALNUM, 36)),
    "GitHub fine-grained": ("github_pat_", (ALNUM, 22), "_", (ALNUM, 59)),
    "GitLab": ("glpat-", (URLSAFE, 20)),
    "Bitbucket": ("ATBB", (ALNUM, 32)),
    "npm": ("npm_", (ALNUM, 36)),
    "PyPI": ("pypi-AgEIcHlwaS5vcmc", (URLSAFE, 150)),
    "RubyGems": ("rubygems_", (HEX, 48)),
    "Docker": ("dckr_pat_", (URLSAFE, 27)),
    "Pulumi": ("pul-", (HEX, 40)),
    "Terraform": ((ALNUM, 14), ".atlasv1.", (URLSAFE, 67)),
    "Vault": ("hvs.", (URLSAFE, 90)),
    "Doppler": ("dp.pt.", (ALNUM, 43)),
    "age": ("AGE-SECRET-KEY-1", ("QPZRY9X8GF2TVDW0S3JN54KHCE6MUA7L", 58)),
    "Tailscale": ("tskey-auth-", (ALNUM, 17), "-", (ALNUM, 32)),
    "SonarQube": ("sqp_", (HEX, 40)),
    "OpenAI": ("sk-proj-", (ALNUM, 74), "T3BlbkFJ", (ALNUM, 74)),
    "Anthropic": ("sk-ant-api03-", (URLSAFE, 93), "AA"),
    "Groq": ("gsk_", (ALNUM, 52)),
    "Hugging Face": ("hf_", (ALNUM, 34)),
    "Replicate": ("r8_", (ALNUM, 37)),
    "Slack": ("xoxb-", (string.digits, 12), "-", (string.digits, 13), "-", (ALNUM, 24)),
    "Slack user": ("xoxp-", (string.digits, 12), "-", (string.digits, 12), "-", (HEX, 32)),
    "Discord": ("M", (ALNUM, 25), ".", (URLSAFE, 6), ".", (URLSAFE, 38)),
    "Telegram": ((string.digits[1:], 9), ":AA", (URLSAFE, 33)),
    "Stripe": ("sk_live_", (ALNUM, 24)),
    "Stripe restricted": ("rk_live_", (ALNUM, 99)),
    "Square": ("sq0atp-", (URLSAFE, 22)),
    "Shopify": ("shpat_", (HEX, 32)),
    "Twilio": ("SK", (HEX, 32)),
    "SendGrid": ("SG.", (URLSAFE, 22), ".", (URLSAFE, 43)),
    "Mailgun": ("key-", (HEX, 32)),
    "Mailchimp": ((HEX, 32), "-us", (string.digits[1:], 1)),
    "Linear": ("lin_api_", (ALNUM, 40)),
    "Notion": ("ntn_", (ALNUM, 46)),
    "Airtable": ("pat", (ALNUM, 14), ".", (HEX, 64)),
    "Figma": ("figd_", (URLSAFE, 40)),
    "Postman": ("PMAK-", (HEX, 24), "-", (HEX, 34)),
    "New Relic": ("NRAK-", (string.ascii_uppercase + string.digits, 27)),
    "Grafana": ("glsa_", (ALNUM, 32), "_", (HEX, 8)),
    "Sentry": ("sntryu_", (HEX, 64)),
}


def key(draw: Random, issuer: str) -> tuple[str, str]:
    """A key as it stands in text, and the part of it that is confidential."""
    text = "".join(part if isinstance(part, str) else chars(draw, *part) for part in KEYS[issuer])
    return text, text.removeprefix("AccountKey=")


def email(draw: Random) -> str:
    first, last = draw.choice(FIRST).lower(), draw.choice(LAST).lower()
    local = draw.choice(
        [f"{first}.{last}", f"{first[0]}{last}", first, f"{first}+{draw.randint(1, 99)}", f"{last}_{first}"]
    )
    domain = draw.choice(
        ["example.org", "mail.example.com", "firma.example.de", "example.co.uk", "big-corp.io", "xn--bcher-kva.example"]
    )
    return f"{local}@{domain}"


def phone_international(draw: Random) -> str:
    """Numbering plans as national regulators publish them; the last digits are free."""
    plan = draw.choice(
        [
            ("+1 ", "212 555 ", 4),
            ("+44 ", "20 79", 6),
            ("+44 ", "7911 1", 5),
            ("+49 ", "30 9018", 4),
            ("+49 ", "151 2345", 4),
            ("+33 ", "1 42 68 ", 4),
            ("+33 ", "6 12 34 ", 4),
            ("+34 ", "91 234 ", 4),
            ("+34 ", "612 34", 4),
            ("+39 ", "06 6982 ", 4),
            ("+48 ", "22 621 ", 4),
            ("+31 ", "20 624 ", 4),
            ("+41 ", "44 668 ", 4),
            ("+46 ", "8 123 4", 4),
            ("+55 ", "11 98765-", 4),
            ("+91 ", "98765 4", 4),
            ("+81 ", "3-1234-", 4),
            ("+61 ", "2 9876 ", 4),
            ("+7 ", "916 123 ", 4),
            ("+86 ", "138 1234 ", 4),
        ]
    )
    number = plan[0] + plan[1] + chars(draw, string.digits, plan[2])
    return number if draw.random() < 0.6 else "+" + "".join(character for character in number if character.isdigit())


def phone_american(draw: Random) -> str:
    area = draw.choice(["212", "415", "202", "312", "617", "702"])
    exchange, line = f"{draw.randint(2, 9)}{draw.randint(20, 99)}", chars(draw, string.digits, 4)
    if exchange.endswith("11"):
        exchange = "736"
    return draw.choice(["({}) {}-{}", "{}-{}-{}", "{}.{}.{}", "1-{}-{}-{}"]).format(area, exchange, line)


def ip(draw: Random) -> str:
    if draw.random() < 0.3:
        return f"2a02:{draw.randrange(1 << 16):x}:{draw.randrange(1 << 16):x}::{draw.randint(1, 65535):x}"
    return (
        f"{draw.choice([10, 172, 82, 91, 185, 8])}.{draw.randint(0, 255)}.{draw.randint(0, 255)}.{draw.randint(1, 254)}"
    )


PASSWORDS = ("hunter2", "S3cret!pw", "correct-horse", "Tr0ub4dor&3", "zaq1@WSX", "pä55wort", "a.b/c_d", "P4$$w0rd")
FIRST = ("Anna", "Bob", "Carla", "Dimitri", "Eva", "Grace", "Hugo", "Ines", "Jan", "Kim", "Lars", "Mia")
LAST = ("Smith", "Rossi", "Novak", "Garcia", "Jansen", "Dubois", "Meyer", "Silva", "Tanaka", "Nowak")

# A text with a password in it. {} is the password.
PASSWORD_TEXTS = (
    "CREATE ROLE app LOGIN PASSWORD '{}'",
    "ALTER USER app WITH ENCRYPTED PASSWORD '{}'",
    "host=db.example.org user=app password={} dbname=shop",
    '{{"user": "app", "password": "{}"}}',
    "Server=db;Database=shop;Uid=app;Pwd={};",
    "jdbc:mysql://db.example.org/shop?user=app&password={}",
    "export PGPASSWORD={}",
    "client_secret='{}'",
)
URL_TEXTS = (
    "postgres://app:{}@db.example.org:5432/shop",
    "mongodb+srv://app:{}@cluster0.example.net/?retryWrites=true",
    "redis://:{}@cache.example.org:6379/0",
    "amqps://svc:{}@mq.example.org/vhost",
    "https://bot:{}@git.example.org/team/repository.git",
    "app:{}@tcp(db.example.org:3306)/shop?parseTime=true",
)
