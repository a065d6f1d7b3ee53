"""Keys of clouds and services that say by their own form what they are.

One row per format: issuer, the whole key, and an example. `<w36>` stands for 36 letters and digits, `<w36+>` for at
least as many (ALPHABETS has the others), so that the whole key, its prefilter and an example are the same words, and no
text that looks like somebody's key stands in this file. A key without such a form (an AWS secret access key) is found by the
name in front of it. The formats are those that the issuers publish.
"""

from __future__ import annotations

import re
from collections.abc import Iterator

import re2

from doorward.masking.detectors import Detector, Place

ALPHABETS: dict[str, tuple[str, str]] = {  # in a pattern, and an example of it
    "w": ("[A-Za-z0-9]", "aB3dE6gH9jK2mN5pQ8sT"),
    "b": ("[A-Za-z0-9_-]", "aB3d_6gH9jK2mN-pQ8sT"),
    "s": ("[A-Za-z0-9+/]", "aB3d/6gH9jK2mN+pQ8sT"),
    "h": ("[a-f0-9]", "0a1b2c3d4e5f67890fed"),
    "x": ("[a-fA-F0-9]", "0a1b2c3d4e5f67890fed"),
    "u": ("[A-Z0-9]", "A1B2C3D4E5F6G7H8J9K0"),
    "l": ("[a-z0-9]", "a1b2c3d4e5f6g7h8j9k0"),
    "i": ("[A-Z2-7]", "ABCDEFGHIJ2345672345"),
    "d": ("[0-9]", "12345678901357924680"),
}
_OPENED = re.compile(r"(?<!\\)\(")
_CLOSED = re.compile(r"(?<!\\)\)")
_FILL = re.compile(r"<([a-z])([0-9]+)(\+?)>")
_ENOUGH = 16  # characters behind a prefix that make the prefilter look: an automaton of whole keys would be large

# issuer, the whole key (a group, if there is one, is what is confidential in it), an example
FORMS: tuple[tuple[str, str, str], ...] = (
    ("AWS access key id", r"(?:AKIA|ASIA|ABIA|ACCA)<i16>", "AKIA<i16>"),
    ("AWS Bedrock", r"ABSK<s109+>={0,2}", "ABSK<s109>="),
    ("Google API key", r"AIza<b35>", "AIza<b35>"),
    ("Google OAuth client", r"GOCSPX-<b24+>", "GOCSPX-<b28>"),
    ("Google OAuth access token", r"ya29\.<b20+>", "ya29.<b40>"),
    ("Google OAuth refresh token", r"1//0<b40+>", "1//0<b60>"),
    ("Azure storage or Cosmos DB", r"AccountKey=(<s60+>={0,2})", "AccountKey=(<s86>==)"),
    ("Azure Service Bus, Event Hubs", r"SharedAccessKey=(<s43+>={0,2})", "SharedAccessKey=(<s43>=)"),
    ("Azure shared access signature", r"[?&]sig=([A-Za-z0-9%+/]{40,120}=?)", "?sv=2022-11-02&sig=(<w43>%3D)"),
    ("Azure function", r"azurewebsites\.net/[^\s?]{1,80}\?code=([A-Za-z0-9_=/-]{40,90})", "azurewebsites.net/x?code=(<b54>==)"),
    ("Alibaba Cloud", r"LTAI<w12+>", "LTAI<w20>"),
    ("Tencent Cloud", r"AKID<w32>", "AKID<w32>"),
    ("DigitalOcean", r"do[opr]_v1_<h64>", "dop_v1_<h64>"),
    ("Heroku", r"HRKU-AA<b58>", "HRKU-AA<b58>"),
    ("Fly.io", r"fm[12]r?_<s60+>={0,2}", "fm2_<s80>"),
    ("Cloudflare origin CA", r"v1\.0-<h24>-<h146>", "v1.0-<h24>-<h146>"),
    ("Supabase access token", r"sbp_<h40>", "sbp_<h40>"),
    ("Supabase secret", r"sb_secret_<b31+>", "sb_secret_<b31>"),
    ("PlanetScale", r"pscale_(?:tkn|pw|oauth)_[A-Za-z0-9=._-]{32,64}", "pscale_tkn_<w43>"),
    ("Databricks", r"dapi<h32>", "dapi<h32>"),
    ("GitHub", r"gh[pousr]_<w36+>", "ghp_<w36>"),
    ("GitHub fine-grained", r"github_pat_[A-Za-z0-9_]{22,}", "github_pat_<w22>_<w59>"),
    ("GitLab", r"gl(?:pat|dt|rt|ptt|soat|ft|imt|agent|oas|cbt|ffct)-[A-Za-z0-9_=.-]{20,}", "glpat-<b20>"),
    ("GitLab runner registration", r"GR1348941<b20>", "GR1348941<b20>"),
    ("Bitbucket", r"ATBB<w32>", "ATBB<w32>"),
    ("Atlassian", r"ATATT3[A-Za-z0-9_=-]{150,}", "ATATT3<b186>=<u8>"),
    ("npm", r"npm_<w36>", "npm_<w36>"),
    ("PyPI", r"pypi-AgE<b50+>", "pypi-AgE<b160>"),
    ("RubyGems", r"rubygems_<h48>", "rubygems_<h48>"),
    ("crates.io", r"cio<w32>", "cio<w32>"),
    ("NuGet", r"oy2<l43>", "oy2<l43>"),
    ("Clojars", r"CLOJARS_<l60>", "CLOJARS_<l60>"),
    ("Docker", r"dckr_(?:pat|oat)_<b20+>", "dckr_pat_<b27>"),
    ("JFrog", r"AKCp<w69>", "AKCp<w69>"),
    ("Pulumi", r"pul-<h40>", "pul-<h40>"),
    ("Terraform Cloud", r"<w14>\.atlasv1\.<b60+>", "<w14>.atlasv1.<b67>"),
    ("HashiCorp Vault", r"hv[sbr]\.<b24+>", "hvs.<b90>"),
    ("Doppler", r"dp\.(?:pt|st|ct|sa|scim|audit)\.(?:[a-z0-9_-]{2,35}\.)?<w40+>", "dp.pt.<w43>"),
    ("1Password service account", r"ops_eyJ<b100+>={0,2}", "ops_eyJ<w200>"),
    ("age", r"AGE-SECRET-KEY-1<u58>", "AGE-SECRET-KEY-1<u58>"),
    ("Tailscale", r"tskey-(?:auth|api|client|scim|webhook)-<w8+>-<w20+>", "tskey-auth-<w17>-<w32>"),
    ("CircleCI", r"CCIP(?:AT|RJ)_<w20+>_<h40>", "CCIPAT_<w22>_<h40>"),
    ("Buildkite", r"bkua_<h40>", "bkua_<h40>"),
    ("SonarQube", r"sq[pua]_<h40>", "sqp_<h40>"),
    ("Prefect", r"pn[ub]_<l36>", "pnu_<l36>"),
    ("OpenAI", r"sk-(?:proj-|svcacct-|admin-|None-)?<b20+>T3BlbkFJ<b20+>", "sk-proj-<w74>T3BlbkFJ<w74>"),
    ("Anthropic", r"sk-ant-(?:api|admin|sid|oat|ort)[0-9]{2}-<b30+>", "sk-ant-api03-<b93>AA"),
    ("OpenRouter", r"sk-or-v1-<h64>", "sk-or-v1-<h64>"),
    ("OpenAI style", r"sk-[A-Za-z0-9][A-Za-z0-9_-]{30,}", "sk-<w48>"),
    ("Groq", r"gsk_<w52>", "gsk_<w52>"),
    ("xAI", r"xai-<w80>", "xai-<w80>"),
    ("Perplexity", r"pplx-<w48+>", "pplx-<w48>"),
    ("Hugging Face", r"hf_<w30+>", "hf_<w34>"),
    ("Replicate", r"r8_<w37>", "r8_<w37>"),
    ("LangSmith", r"lsv2_(?:pt|sk)_<h32>_<h10>", "lsv2_pt_<h32>_<h10>"),
    ("Slack token", r"xox[abeoprs](?:\.xox[bp])?-[A-Za-z0-9-]{10,}", "xoxb-<d12>-<d12>-<w24>"),
    ("Slack app", r"xapp-[0-9]-[A-Za-z0-9-]{10,}", "xapp-1-A<u10>-<d13>-<h64>"),
    ("Slack webhook", r"hooks\.slack\.com/((?:services|workflows|triggers)/[A-Za-z0-9/_-]{20,})", "https://hooks.slack.com/(services/T<u8>/B<u8>/<w24>)"),
    ("Discord bot", r"[MNO][A-Za-z0-9_-]{23,30}\.<b6>\.<b27+>", "M<w25>.<b6>.<b38>"),
    ("Discord webhook", r"discord(?:app)?\.com/api/webhooks/([0-9]{17,20}/<b60+>)", "https://discord.com/api/webhooks/(<d18>/<b68>)"),
    ("Telegram bot", r"[0-9]{8,10}:AA<b33>", "<d9>:AA<b33>"),
    ("Microsoft Entra client", r"[A-Za-z0-9_~.-]{3}[0-9]Q~[A-Za-z0-9_~.-]{31,34}", "aB38Q~<w34>"),
    ("Stripe", r"(?:sk|rk)_(?:live|test)_<w16+>", "sk_live_<w24>"),
    ("Stripe or Svix webhook", r"whsec_[A-Za-z0-9+/=]{24,}", "whsec_<w32>"),
    ("Square", r"sq0(?:atp|csp|idp)-<b22+>", "sq0atp-<b22>"),
    ("Square access token", r"EAAA<b60>", "EAAA<b60>"),
    ("Braintree", r"access_token\$(?:production|sandbox)\$<l16>\$<h32>", "access_token$production$<l16>$<h32>"),
    ("Razorpay", r"rzp_(?:live|test)_<w14>", "rzp_live_<w14>"),
    ("Flutterwave", r"FLWSECK(?:_TEST)?-<l12+>(?:-X)?", "FLWSECK-<l32>-X"),
    ("Shopify", r"shp(?:at|ca|pa|ss)_<x32>", "shpat_<h32>"),
    ("Shippo", r"shippo_(?:live|test)_<h40>", "shippo_live_<h40>"),
    ("EasyPost", r"EZ[AT]K<w54>", "EZAK<w54>"),
    ("Twilio", r"SK<h32>", "SK<h32>"),
    ("SendGrid", r"SG\.[A-Za-z0-9_-]{16,32}\.[A-Za-z0-9_-]{32,64}", "SG.<b22>.<b43>"),
    ("Mailgun", r"key-<h32>", "key-<h32>"),
    ("Mailchimp", r"<h32>-us[0-9]{1,2}", "<h32>-us14"),
    ("Brevo", r"xkeysib-<h64>-<w16>", "xkeysib-<h64>-<w16>"),
    ("Linear", r"lin_(?:api|oauth)_<w40+>", "lin_api_<w40>"),
    ("Notion", r"ntn_<w40+>", "ntn_<w46>"),
    ("Notion until 2024", r"secret_<w43>", "secret_<w43>"),
    ("Airtable", r"pat<w14>\.<h64>", "pat<w14>.<h64>"),
    ("Figma", r"fig[duo]_<b40+>", "figd_<b40>"),
    ("Postman", r"PMAK-<h24>-<h34>", "PMAK-<h24>-<h34>"),
    ("HubSpot", r"pat-(?:na|eu)[0-9]-<h8>-<h4>-<h4>-<h4>-<h12>", "pat-na1-<h8>-<h4>-<h4>-<h4>-<h12>"),
    ("Typeform", r"tfp_<b40+>", "tfp_<b44>"),
    ("Contentful", r"CFPAT-<b43>", "CFPAT-<b43>"),
    ("Mapbox", r"sk\.eyJ<b60+>\.<b20+>", "sk.eyJ<w80>.<b22>"),
    ("New Relic", r"NRAK-<u27>", "NRAK-<u27>"),
    ("Grafana", r"glsa_<w32>_<x8>", "glsa_<w32>_<h8>"),
    ("Grafana Cloud", r"glc_eyJ[A-Za-z0-9+/=]{60,}", "glc_eyJ<s80>="),
    ("Sentry organisation", r"sntrys_eyJ[A-Za-z0-9+/=_-]{100,}", "sntrys_eyJ<s90>_<b43>"),
    ("Sentry user", r"sntryu_<h64>", "sntryu_<h64>"),
    ("Dynatrace", r"dt0[a-z][0-9]{2}\.<u24>\.<u64>", "dt0c01.<u24>.<u64>"),
    ("ReadMe", r"rdme_<l70>", "rdme_<l70>"),
    ("Duffel", r"duffel_(?:live|test)_<b43>", "duffel_live_<b43>"),
)  # fmt: skip
# Said by the name in front.
_NAMED = (
    r"(?i:aws.{0,20}secret.{0,20}?['\"=: ]{1,6})([A-Za-z0-9/+]{40})",
    r"(?i:twilio.{0,20}token.{0,20}?['\"=: ]{1,6})([a-f0-9]{32})",
    r"(?i:authorization['\"]?\s{0,3}[:=]\s{0,3}['\"]?(?:basic|bearer|token)\s{1,3})([A-Za-z0-9+/_.~-]{16,}={0,2})",
    r"(?i:x-api-key['\"]?\s{0,3}[:=]\s{0,3}['\"]?)([A-Za-z0-9+/_.~-]{16,}={0,2})",
)
# What a form's prefilter is, where the form begins with what is everywhere.
_ENDS = {
    "Terraform Cloud": r"\.atlasv1\.",
    "OpenAI": r"T3BlbkFJ",
    "Airtable": r"pat[A-Za-z0-9]{14}\.[a-f0-9]{16}",
    "Azure function": r"\?code=[A-Za-z0-9_=/-]{40}",
    "Azure shared access signature": r"[?&]sig=[A-Za-z0-9%+/]{40}",
    "Atlassian": r"ATATT3",
    "Sentry organisation": r"sntrys_eyJ",
    "Grafana Cloud": r"glc_eyJ",
    "Discord bot": r"\.[A-Za-z0-9_-]{6}\.[A-Za-z0-9_-]{27}",
    "Telegram bot": r"[0-9]:AA[A-Za-z0-9_-]{33}",
    "Microsoft Entra client": r"[0-9]Q~[A-Za-z0-9_~.-]{31}",
    "Mailchimp": r"-us[0-9]",
}


def _pattern(form: str) -> str:
    return _FILL.sub(
        lambda match: f"{ALPHABETS[match[1]][0]}{{{match[2]}{',' if match[3] else ''}}}", form
    )


def _beginning(form: str) -> str:
    """What every key of a form begins with, no longer than needed."""
    first = _FILL.search(form)
    if first is None:
        return form
    number = min(int(first[2]), _ENOUGH)
    begins = f"{form[: first.start()]}{ALPHABETS[first[1]][0]}{{{number}}}"
    return begins + ")" * (len(_OPENED.findall(begins)) - len(_CLOSED.findall(begins)))


def _example(form: str) -> str:
    return _FILL.sub(lambda match: (ALPHABETS[match[1]][1] * 10)[: int(match[2])], form)


_OPTIONS = re2.Options()
_OPTIONS.max_mem = 64 << 20  # of an automaton that grows as it is used; past it the search is slower, and as right
_OPTIONS.log_errors = False  # of which the library would tell stderr each time
_FORM = re2.compile("|".join((*(_pattern(form) for _, form, _ in FORMS), *_NAMED)), _OPTIONS)
_GROUPS = range(1, _FORM.groups + 1)
# What may not stand in front of a key: it would then be a part of something longer.
_BEFORE = frozenset(b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789")


def _find(value: bytes) -> Iterator[Place]:
    for match in _FORM.finditer(value):
        start, end = match.span()
        if start > 0 and value[start - 1] in _BEFORE and value[start] in _BEFORE:
            continue
        for group in _GROUPS:
            if match.start(group) >= 0:
                start, end = match.span(group)
                break
        if match.group()[:3] in (b"sk-", b"key") and not _mixed(match.group()):
            continue
        yield start, end


def _mixed(word: bytes) -> bool:
    """Random keys have digits and letters, a hexadecimal one nothing else; `sk-some-long-kebab-case-name` is neither."""
    digits = sum(0x30 <= byte <= 0x39 for byte in word)
    return digits > 0 and (digits > 5 or any(0x41 <= byte <= 0x5A for byte in word))


EXAMPLES: tuple[tuple[str, str], ...] = (
    *(
        (_example(example).replace("(", "").replace(")", ""), _example(re.sub(r"^.*\(|\).*$", "", example)))
        for _, _, example in FORMS
    ),
    ("AKIAIOSFODNN7EXAMPLE", "AKIAIOSFODNN7EXAMPLE"),
    (
        "aws_secret_access_key = wJalrXUtnFEMI/K7MDENG/bPxRfiCYEXAMPLEKEY",
        "wJalrXUtnFEMI/K7MDENG/bPxRfiCYEXAMPLEKEY",
    ),
    (f"TWILIO_AUTH_TOKEN={_example('<h32>')}", _example("<h32>")),
    (f"Authorization: Basic {_example('<w24>')}==", f"{_example('<w24>')}=="),
    (f'{{"authorization": "Bearer {_example("<b40>")}"}}', _example("<b40>")),
    (f"curl -H 'X-Api-Key: {_example('<w32>')}'", _example("<w32>")),
    (f"sk-{_example('<h32>')}", f"sk-{_example('<h32>')}"),
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
    "key-value store",
    "secret_santa",
    "authorization: bearer token required",
    "v1.0-rc1",
    "pat-a-cake",
    "https://discord.com/api/webhooks",
    "MASK00000000000000000000000000000000",
)
DETECTOR = Detector(
    "secret_key",
    "secret",
    (
        "|".join(_beginning(form) for issuer, form, _ in FORMS if issuer not in _ENDS),
        "|".join(_ENDS.values()),
        r"(?i:aws.{0,20}secret|twilio.{0,20}token|authorization['\"]?\s{0,3}[:=]|x-api-key['\"]?\s{0,3}[:=])",
    ),
    _find,
    EXAMPLES,
    COUNTEREXAMPLES,
    12,
)
