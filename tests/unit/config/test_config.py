"""Loading a configuration: what is made of it, and one clear line for each thing that is wrong."""

from __future__ import annotations

from pathlib import Path

import pytest

from doorward.config import load, read_policies
from doorward.errors import ConfigError
from doorward.model import Kind, Mode, SecretRef, Target

GOOD = """
[gateway]
data = "data"

[listen.postgres]
plaintext = true

[listen.http]
plaintext = true

[[issuers]]
url = "https://id.example"
audience = "doorward"
kinds = [
  { claim = "kind", equals = "agent", kind = "agent" },
  { claim = "sub", in = ["ci-*", "job"], kind = "service" },
]

[policy]
files = ["policies/*.cedar"]

[[targets]]
name = "shop"
host = "db.example"
user = "app"
secret = "vault:shop"
auth = ["scram-sha-256", "md5"]
statement_timeout = "30s"
mode = "observe"
labels = { "public.customers.ssn" = "ssn" }
options = { work_mem = "64MB" }
"""


def write(directory: Path, text: str) -> Path:
    path = directory / "doorward.toml"
    path.write_text(text, encoding="utf-8")
    return path


def faults(directory: Path, text: str) -> list[str]:
    path = write(directory, text)
    with pytest.raises(ConfigError) as caught:
        load(path)
    assert caught.value.hint
    lines = caught.value.message.splitlines()
    assert all(line.startswith(f"{path}: ") for line in lines)
    return [line.removeprefix(f"{path}: ") for line in lines]


def test_a_good_configuration_gives_the_nouns(tmp_path: Path) -> None:
    """Targets and issuers come out as what the rest takes; paths are absolute, times seconds, sizes bytes."""
    config = load(write(tmp_path, GOOD))
    assert config.targets == {
        "shop": Target(
            "shop", "postgres", "db.example", 5432, credential=SecretRef("vault", "shop"), user="app",
            database="shop", mode=Mode.OBSERVE, labels={"public.customers.ssn": "ssn"},
            options={"tls": "verify-full", "auth": "scram-sha-256,md5", "statement_timeout": "30000", "reconcile": "900",
                     "set.work_mem": "64MB"},
        )
    }  # fmt: skip
    assert config.gateway.data == tmp_path / "data"
    (issuer,) = config.issuers
    assert (issuer.url, issuer.audience) == ("https://id.example", ("doorward",))
    assert [(rule.values, rule.kind) for rule in issuer.kind_rules] == [
        (("agent",), Kind.AGENT), (("ci-*", "job"), Kind.SERVICE),
    ]  # fmt: skip
    assert (config.limits.session, config.limits.pre_auth_bytes) == (28800, 65536)
    assert config.masking.detectors


PATTERN = """\
[[masking.patterns]]
name = "emp"
label = "employee"
pattern = 'EMP-[0-9]+'
examples = ["EMP-1"]
counterexamples = ["EMP-"]
"""


@pytest.mark.parametrize(
    ("old", "new", "complaint"),
    [
        ('data = "data"', "", "gateway.data: it is missing"),
        ('data = "data"', 'data = "data"\nnaem = "x"', "gateway.naem: there is no such setting; did you mean 'name'?"),
        ('data = "data"', 'data = "data"\nxyzzy = "x"', "gateway.xyzzy: there is no such setting; known here: data"),
        ('data = "data"', "data = 3", "gateway.data: 3 is not allowed; it must be the path of a directory"),
        ('data = "data"', 'data = "doorward.toml"', "doorward.toml is not a directory"),
        ("[gateway]", "[gatewya]\n[gateway]", "gatewya: there is no such setting; did you mean 'gateway'?"),
        ("[listen.http]\nplaintext = true", "[listen.http]", "listen.http.tls_cert: it is missing"),
        ("[listen.http]", '[listen.http]\ntls_cert = "no.pem"', "listen.http.tls_cert: there is no file"),
        ("[listen.http]", '[listen.http]\ntls_cert = "doorward.toml"', "listen.http.tls_key: it is missing"),
        ("[listen.http]", '[listen.http]\naddress = "0.0.0.0"', "listen.http.plaintext: 0.0.0.0 can be reached"),
        ("[listen.http]", '[listen.http]\naddress = "::"', "listen.http.plaintext: :: can be reached"),
        ("[listen.http]", '[listen.http]\nurl = "http://door.example"', "listen.http.url: http://door.example is neither"),
        ("[listen.http]", '[listen.http]\nurl = "https://door.example/pages"', "it must be an https URL without a path"),
        ('url = "https://id.example"', 'url = "https://id.example"\nscopes = ["groups"]', 'scopes has no "openid"'),
        ("[listen.http]", '[listen.http]\naddress = "example.org"', "it must be an IP address"),
        ("[listen.http]", "[listen.http]\nport = 65536", "it must be a whole number from 0 to 65535"),
        ("[listen.http]", "[listen.http]\nport = true", "True is not allowed; it must be a whole number"),
        ("plaintext = true", 'plaintext = "yes"', "listen.postgres.plaintext: 'yes' is not allowed; it must be true"),
        ("[[issuers]]", "[issuers]", "issuers: write it as [[issuers]], with two brackets"),
        ('url = "https:', 'url = "http:', "issuers[0]: issuer url 'http://id.example' is not https"),
        ('audience = "doorward"', "", "issuers[0].audience: it is missing"),
        ('audience = "doorward"', "audience = []", "issuers[0].audience: a list is not allowed"),
        ('audience = "doorward"', 'audience = "d"\nalgorithms = ["HS256"]', "algorithms: 'HS256' is not allowed"),
        ('audience = "doorward"', 'audience = "d"\nalgorithms = ["none"]', "algorithms: 'none' is not allowed"),
        ('audience = "doorward"', 'audience = "d"\nclock_skew = "6m"', "clock_skew: '6m' is not allowed"),
        ('equals = "agent", ', "", "issuers[0]: kinds[0]: write either equals or in"),
        ('kind = "agent" }', 'kind = "robot" }', "issuers[0].kinds[0].kind: 'robot' is not allowed; it must be one of"),
        ('host = "db.example"', "", "targets.shop.host: it is missing"),
        ('host = "db.example"', 'host = "a/b"', "targets.shop.host: 'a/b' is not allowed"),
        ('mode = "observe"', 'mode = "watch"', "targets.shop.mode: 'watch' is not allowed; it must be one of"),
        ('"30s"', '"30"', "targets.shop.statement_timeout: '30' is not allowed; it must be a time"),
        ('"30s"', "30", "targets.shop.statement_timeout: 30 is not allowed; it must be a time"),
        ('"md5"]', '"cleartext"]\ntls = "require"', 'targets.shop.auth: "cleartext" shows the password'),
        ('"public.customers.ssn"', '"customers.ssn"', "targets.shop.labels: 'customers.ssn' is not allowed"),
        ('"public.customers.ssn"', "public.customers.ssn", "targets.shop.labels: 'public' is a table; a key with"),
        ('= "ssn"', '= "S S N"', "targets.shop.labels: 'public.customers.ssn': 'S S N' is not allowed"),
        ("[policy]", '[masking]\ntransforms = { ssn = "rot13" }\n[policy]', "masking.transforms: 'ssn': 'rot13'"),
        ("[policy]", '[masking]\ndetectors = ["soul"]\n[policy]', "masking.detectors: 'soul' is not allowed"),
        ("[policy]", '[masking]\ntransforms = { ssn = "token" }\n[policy]', "masking.token_key: it is missing, and token"),
        ("[policy]", '[masking]\ntransforms = { ssn = "vault" }\n[policy]', "masking.vault.keys: there is none, and vault"),
        ("[policy]", '[masking.vault]\nretention = "1h"\n[policy]', "masking.vault.retention: '1h' is not allowed"),
        ("[policy]", '[masking]\ntransforms = { card = "format_preserving" }\n[policy]', "masking.transforms: label card"),
        ("[policy]", '[masking]\nphone_region = "XX"\n[policy]', "masking: no telephone region is named XX"),
        ("[policy]", PATTERN.replace("EMP", "(EMP") + "[policy]", "masking.patterns.emp (line {}): the pattern is not"),
        ("[policy]", PATTERN.replace('"EMP-1"', '"x"') + "[policy]", "patterns.emp (line {}): the pattern finds nothing"),
        ("[policy]", PATTERN.replace('"emp"', '"card"') + "[policy]", "masking.patterns.card (line {}): there is another"),
        ("[policy]", PATTERN.replace("[0-9]+", "") + "[policy]", "finds something in the counter-example 'EMP-'"),
        ("[policy]", PATTERN.replace('["EMP-1"]', "[]") + "[policy]", "masking.patterns.emp.examples: a list is not"),
        ("[policy]", '[limits]\nhold_in_transaction = "6m"\n[policy]', "limits.hold_in_transaction: '6m'"),
        ("[policy]", '[limits]\nrow_bytes = "12 parsecs"\n[policy]', "limits.row_bytes: '12 parsecs' is not allowed"),
        ("[policy]", '[log]\nlevel = "loud"\n[policy]', "log.level: 'loud' is not allowed; it must be one of"),
        ("[policy]", "[policy", "this is not TOML: "),
    ],
)  # fmt: skip
def test_a_fault_is_one_line_that_names_the_key_and_what_is_allowed(
    tmp_path: Path, old: str, new: str, complaint: str
) -> None:
    """Unknown keys, wrong types, missing files, and settings that contradict each other."""
    assert old in GOOD
    lines = faults(tmp_path, GOOD.replace(old, new, 1) if "listen.http" not in old else GOOD.replace(old, new))
    complaint = complaint.format(GOOD[: GOOD.index("[policy]")].count("\n") + 1)
    assert any(complaint in line for line in lines), lines


def test_a_pattern_of_your_own_is_a_detector(tmp_path: Path) -> None:
    """It looks at results beside the others, or instead of them, and at what is recorded always beside them."""
    config = load(write(tmp_path, GOOD.replace("[policy]", PATTERN + "[policy]")))
    assert config.detectors.mask("EMP-4711 bob@example.org")[1] == {"employee": 1, "email": 1}
    alone = PATTERN.replace("[[", '[masking]\ndetectors = ["card"]\n[[', 1)
    config = load(write(tmp_path, GOOD.replace("[policy]", alone + "[policy]")))
    assert config.detectors.mask("EMP-4711 bob@example.org")[1] == {"employee": 1}
    assert config.detectors.with_defaults().mask("EMP-4711 bob@example.org")[1] == {"employee": 1, "email": 1}


def test_all_faults_are_reported_at_once(tmp_path: Path) -> None:
    """Not one by one."""
    text = GOOD.replace('host = "db.example"', "").replace('data = "data"', "").replace('"observe"', '"x"')
    named = [line.split(":")[0] for line in faults(tmp_path, text)]
    assert named == ["gateway.data", "targets.shop.host", "targets.shop.mode"]


@pytest.mark.parametrize(
    "line",
    ['password = "hunter2hunter2"', 'secret = "hunter2hunter2"', 'token = "hunter2hunter2"', 'dsn = "hunter2hunter2"',
     'secret = ["hunter2hunter2"]', 'Password = "hunter2hunter2"', 'secret = "hunter2:hunter2hunter2"',
     'options = { password = "hunter2hunter2" }', 'client_secret = { a = "hunter2hunter2" }'],
)  # fmt: skip
def test_a_secret_in_the_configuration_is_refused_and_not_repeated(tmp_path: Path, line: str) -> None:
    """The complaint says where secrets belong, and does not carry the secret into a log."""
    text = GOOD.replace('secret = "vault:shop"', line).replace('options = { work_mem = "64MB" }', "")
    (fault,) = faults(tmp_path, text)
    assert "hunter2" not in fault
    assert "vault:" in fault
    assert "doorward secrets set" in fault


def test_a_quoted_column_is_the_column_that_it_means(tmp_path: Path) -> None:
    """Quotes are SQL's way to write a name; kept, they would label no column at all."""
    text = GOOD.replace('"public.customers.ssn" =', "'public.\"Big One\".ssn' =")
    assert load(write(tmp_path, text)).targets["shop"].labels == {"public.Big One.ssn": "ssn"}
    twice = GOOD.replace('{ "public.customers.ssn"', "{ 'public.\"customers\".ssn' = \"x\", \"public.customers.ssn\"")
    assert "is there twice" in faults(tmp_path, twice)[0]


def test_a_relative_secret_file_is_beside_the_configuration(tmp_path: Path) -> None:
    """Like every path in the file."""
    config = load(write(tmp_path, GOOD.replace("vault:shop", "file:shop.secret")))
    assert config.targets["shop"].credential == SecretRef("file", str(tmp_path / "shop.secret"))


def test_a_configuration_that_is_not_there_says_what_to_do(tmp_path: Path) -> None:
    """The first thing a newcomer meets."""
    with pytest.raises(ConfigError, match="cannot be read") as caught:
        load(tmp_path / "none.toml")
    assert "doorward init" in caught.value.hint


def test_two_targets_of_one_name_and_two_entries_of_one_issuer_are_faults(tmp_path: Path) -> None:
    """Which of them would be meant?"""
    target, issuer = GOOD[GOOD.index("[[targets]]") :], '[[issuers]]\nurl = "https://id.example"\naudience = "x"\n'
    lines = faults(tmp_path, GOOD + target + issuer)
    assert any("another target of that name" in line for line in lines)
    assert any("https://id.example is there twice" in line for line in lines)


def test_policies_are_read_by_pattern_and_a_pattern_must_match(tmp_path: Path) -> None:
    """A policy file that is missing could have held a forbid."""
    config = load(write(tmp_path, GOOD))
    with pytest.raises(ConfigError, match=r"policies/\*.cedar' matches no file"):
        read_policies(config)
    (tmp_path / "policies").mkdir()
    (tmp_path / "policies" / "b.cedar").write_text("// b\n")
    (tmp_path / "policies" / "a.cedar").write_text("// a\n")
    assert read_policies(config) == {"policies/a.cedar": "// a\n", "policies/b.cedar": "// b\n"}
    absolute = GOOD.replace("policies/*.cedar", f"{tmp_path}/policies/b.cedar")
    assert read_policies(load(write(tmp_path, absolute))) == {"policies/b.cedar": "// b\n"}


MAIL = 'kind = "email"\nhost = "m.example"\nfrom = "a@b.example"\nto = ["c@d.example"]'
CHANNELS = [
    (MAIL, ""), (f'{MAIL}\nuser = "u"\nsecret = "vault:m"', ""), (f'{MAIL}\nuser = "u"', "notify.c.secret: the password"),
    (MAIL.replace('d.example"', 'd.example\\nBcc: e@f.example"'), "an address of e-mail"),
    (MAIL.replace('from = "a@b.example"', ""), "notify.c.from: it is missing"),
    ('kind = "slack"\nsecret = "vault:a"', ""),
    ('kind = "teams"\nsecret = ["vault:a"]\ntell = ["break-glass"]\ngroups = ["dba"]', ""),
    ('kind = "webhook"\nurl = "https://ci.example/hook"\nsecret = ["vault:new", "vault:old"]', ""),
    ('kind = "webhook"\nurl = "https://ci.example"\nsecret = "vault:a"\ntell = ["decisions"]\nabout = ["https://i|*"]', ""),
    ('kind = "slack"', "notify.c.secret: write one, where slack's address"),
    ('kind = "slack"\nsecret = "https://hooks.slack.com/services/hush"', "notify.c.secret: this is not a place"),
    ('kind = "slack"\nsecret = "vault:a"\nurl = "https://x.example"', "notify.c.url: it means nothing to slack"),
    ('kind = "slack"\nsecret = "vault:a"\nhost = "x.example"', "notify.c.host: it means nothing to slack"),
    ('kind = "webhook"\nsecret = "vault:a"', "notify.c.url: it is not an https URL"),
    ('kind = "webhook"\nsecret = "vault:a"\nurl = "http://127.0.0.1/x"', "notify.c.url: it is not an https URL"),
    ('kind = "webhook"\nsecret = "vault:a"\nurl = "https://u:p@x.example"', "notify.c.url: it is not an https URL"),
    ('kind = "webhook"\nurl = "https://x.example"', "notify.c.secret: write the key that signs"),
    ('kind = "email"', "notify.c.host: it is missing"),
    ('kind = "slack"\nsecret = "vault:a"\nabout = ["x"]', "notify.c.about: it means nothing unless"),
    ('kind = "pager"\nsecret = "vault:a"', 'it must be one of "slack", "teams"'),
    (f'kind = "slack"\nsecret = "vault:a"\n[[notify]]\nname = "c"\n{MAIL}', "another channel of that name"),
]  # fmt: skip


@pytest.mark.parametrize(("channel", "complaint"), CHANNELS)
def test_a_channel_has_what_its_kind_needs_and_nothing_else(tmp_path: Path, channel: str, complaint: str) -> None:
    """And goes over TLS only; a secret that is written in place of its place is not repeated."""
    text = f'{GOOD}\n[[notify]]\nname = "c"\n{channel}\n'
    if not complaint:
        assert load(write(tmp_path, text)).channels[0].name == "c"
        return
    said = faults(tmp_path, text)
    assert any(complaint in line for line in said), said
    assert "hush" not in "".join(said)
