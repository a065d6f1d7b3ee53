"""Keys of clouds and services that say by their own form what they are.

One row per issuer: what a key starts with, and the whole key. A key without such a form (an AWS secret access key) is
found by the name in front of it.
"""

from __future__ import annotations

from collections.abc import Iterator

import re2

from doorward.masking.detectors import Detector, Place

# issuer, RE2 pattern of a whole key
FORMS: tuple[tuple[str, str], ...] = (
    ("AWS access key id", r"(?:AKIA|ASIA|ABIA|ACCA)[A-Z2-7]{16}"),
    ("GitHub", r"gh[pousr]_[A-Za-z0-9]{36,255}"),
    ("GitHub fine-grained", r"github_pat_[A-Za-z0-9_]{22,255}"),
    ("GitLab", r"gl(?:pat|dt|rt|ptt|soat|ft|imt|agent|oas|cbt|ffct)-[A-Za-z0-9_=.-]{20,}"),
    ("Slack", r"xox[abeoprs](?:\.xox[bp])?-[A-Za-z0-9-]{10,}|xapp-[0-9]-[A-Za-z0-9-]{10,}"),
    ("Slack webhook", r"hooks\.slack\.com/(?:services|workflows|triggers)/[A-Za-z0-9/_-]{20,}"),
    ("Stripe", r"(?:sk|rk)_(?:live|test)_[A-Za-z0-9]{16,}|whsec_[A-Za-z0-9+/=]{24,}"),
    ("Google", r"AIza[A-Za-z0-9_-]{35}|GOCSPX-[A-Za-z0-9_-]{24,}|ya29\.[A-Za-z0-9_-]{20,}"),
    ("OpenAI, Anthropic", r"sk-[A-Za-z0-9][A-Za-z0-9_-]{30,}"),
    ("npm", r"npm_[A-Za-z0-9]{36}"),
    ("PyPI", r"pypi-AgE[A-Za-z0-9_-]{50,}"),
    ("Docker", r"dckr_(?:pat|oat)_[A-Za-z0-9_-]{20,}"),
    ("Hugging Face", r"hf_[A-Za-z0-9]{30,}"),
    ("SendGrid", r"SG\.[A-Za-z0-9_-]{16,32}\.[A-Za-z0-9_-]{32,64}"),
    ("DigitalOcean", r"do[opr]_v1_[a-f0-9]{64}"),
    ("HashiCorp Vault", r"hv[sbr]\.[A-Za-z0-9_-]{24,}"),
    ("Databricks", r"dapi[a-f0-9]{32}"),
    ("Shopify", r"shp(?:at|ca|pa|ss)_[a-fA-F0-9]{32}"),
    ("Azure storage", r"AccountKey=([A-Za-z0-9+/]{60,90}={0,2})"),
    ("AWS secret access key", r"(?i:aws.{0,20}secret.{0,20}?['\"=: ]{1,6})([A-Za-z0-9/+]{40})"),
)
_FORM = re2.compile("|".join(form for _, form in FORMS))
# What may not stand in front of a key: it would then be a part of something longer.
_BEFORE = frozenset(b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789")


def _find(value: bytes) -> Iterator[Place]:
    for match in _FORM.finditer(value):
        start, end = match.span()
        if start > 0 and value[start - 1] in _BEFORE:
            continue
        for group in range(1, _FORM.groups + 1):
            if match.start(group) >= 0:
                start, end = match.span(group)
        if match.group()[:3] == b"sk-" and not _mixed(match.group()):
            continue
        yield start, end


def _mixed(word: bytes) -> bool:
    """Random keys have digits and letters; `sk-some-long-kebab-case-name-of-a-thing` has no digit or no capital."""
    return any(0x30 <= byte <= 0x39 for byte in word) and any(0x41 <= byte <= 0x5A for byte in word)


EXAMPLES: tuple[tuple[str, str], ...] = (
    ("AKIAIOSFODNN7EXAMPLE", "AKIAIOSFODNN7EXAMPLE"),
    (
        "aws_secret_access_key = wJalrXUtnFEMI/K7MDENG/bPxRfiCYEXAMPLEKEY",
        "wJalrXUtnFEMI/K7MDENG/bPxRfiCYEXAMPLEKEY",
    ),
    ("token ghp_" + "a1B2c3D4e5F6g7H8i9J0" * 2, "ghp_" + "a1B2c3D4e5F6g7H8i9J0" * 2),
    ("github_pat_" + "11ABCDEFG0abcdefghijkl_Z9", "github_pat_" + "11ABCDEFG0abcdefghijkl_Z9"),
    ("glpat-" + "aB3dE6gH9jK2mN5pQ8sT", "glpat-" + "aB3dE6gH9jK2mN5pQ8sT"),
    ("xoxb-" + "123456789012-abcdefABCDEF", "xoxb-" + "123456789012-abcdefABCDEF"),
    ("sk_" + "live_4eC39HqLyjWDarjtT1zdp7dc", "sk_" + "live_4eC39HqLyjWDarjtT1zdp7dc"),
    ("AIza" + "SyA1234567890abcdefghijklmnopqrstuv", "AIza" + "SyA1234567890abcdefghijklmnopqrstuv"),
    ("sk-" + "proj-Ab1Cd2Ef3Gh4Ij5Kl6Mn7Op8Qr9St0Uv", "sk-" + "proj-Ab1Cd2Ef3Gh4Ij5Kl6Mn7Op8Qr9St0Uv"),
    ("sk-" + "ant-api03-Ab1Cd2Ef3Gh4Ij5Kl6Mn7Op8Qr9", "sk-" + "ant-api03-Ab1Cd2Ef3Gh4Ij5Kl6Mn7Op8Qr9"),
    ("npm_" + "a1B2c3D4e5F6g7H8i9J0a1B2c3D4e5F6g7H8", "npm_" + "a1B2c3D4e5F6g7H8i9J0a1B2c3D4e5F6g7H8"),
    ("pypi-" + "AgEIcHlwaS5vcmc" + "aB3" * 15, "pypi-" + "AgEIcHlwaS5vcmc" + "aB3" * 15),
    ("hvs." + "CAESIJ1234567890abcdefghijkl", "hvs." + "CAESIJ1234567890abcdefghijkl"),
)
COUNTEREXAMPLES: tuple[str, ...] = (
    "AKIA",
    "ghp_short",
    "sk-learn",
    "sk-a-very-long-name-of-a-branch-in-kebab-case-without-end",
    "task_live_in_the_moment_always_and_ever",
    "3f786850e387550fdab836ed7e6dc881de23001b",
    "npm_config_registry",
    "risk-0123456789012345678901234567890ABC",
    "6ba7b810-9dad-11d1-80b4-00c04fd430c8",
)
DETECTOR = Detector(
    "secret_key",
    "secret",
    (
        r"A(?:KIA|SIA|BIA|CCA)[A-Z2-7]{16}",
        r"gh[pousr]_[A-Za-z0-9]{36}|github_pat_[A-Za-z0-9_]{22}|gl[a-z]{2,5}-[A-Za-z0-9_=.-]{20}",
        r"xox[abeoprs][.-]|xapp-[0-9]-|hooks\.slack\.com/",
        r"[sr]k_(?:live|test)_[A-Za-z0-9]{16}|whsec_[A-Za-z0-9+/=]{24}|sk-[A-Za-z0-9][A-Za-z0-9_-]{30}",
        r"AIza[A-Za-z0-9_-]{35}|GOCSPX-|ya29\.|SG\.[A-Za-z0-9_-]{16}|hv[sbr]\.[A-Za-z0-9_-]{24}",
        r"npm_[A-Za-z0-9]{36}|pypi-AgE|dckr_[po]at_|hf_[A-Za-z0-9]{30}|do[opr]_v1_|dapi[a-f0-9]{32}|shp(?:at|ca|pa|ss)_",
        r"AccountKey=|(?i:aws.{0,20}secret)",
    ),
    _find,
    EXAMPLES,
    COUNTEREXAMPLES,
    12,
)
