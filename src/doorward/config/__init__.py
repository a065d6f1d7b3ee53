"""Configuration: one TOML file in, a Config out that is safe to run, or every reason why not.

`load` reads and checks; `read_policies` reads the policy files that a Config names (again at each reload). A
ConfigError has one line for each fault: `file: key.path: what is wrong and what is allowed`. No secret is in the file
and none is read here: a Config holds SecretRefs.

settings    every setting, with its kind, default and documentation
reading     TOML tables into those, with complaints
reference   the reference in docs/guides/configuration.md

Deliberately not here: environment variables that override settings (one place to look), reaching any of what is
configured (`doorward doctor` does).
"""

from __future__ import annotations

import re
import tomllib
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from doorward.adapters.export.settings import ExportSettings as WayOut
from doorward.adapters.identity.settings import IssuerSettings, KindRule, check_url, is_loopback
from doorward.adapters.notify.settings import EMAIL, SLACK, TEAMS, WEBHOOK, ChannelSettings, checked
from doorward.config.outward import ways_out
from doorward.config.reading import no_more, read
from doorward.config.settings import (
    Archive,
    Gateway,
    HttpListener,
    Issuer,
    Ledger,
    Limits,
    Listen,
    Log,
    Masking,
    NotifySettings,
    PostgresListener,
    Retention,
    Settings,
    TargetSettings,
)
from doorward.errors import ConfigError, IntegrityError, in_words
from doorward.guard.notices import DECISIONS, Channel
from doorward.ledger.stamps import Authorities, authorities
from doorward.ledger.trust import TrustPolicy, parse_policy
from doorward.masking.defined import MOST as MOST_PATTERNS
from doorward.masking.defined import Choice, Pattern, defined
from doorward.masking.detect import DEFAULT, Detectors
from doorward.masking.detectors import Detector
from doorward.masking.labelling import NONE
from doorward.masking.names import LABELS
from doorward.masking.transforms import KEYED, Transforms, keep_nothing
from doorward.model import Kind, Mode, Target
from doorward.policy import policies
from doorward.policy.policies import PolicySet

__all__ = [
    "Config", "Gateway", "HttpListener", "Ledger", "Limits", "Listen", "Log", "Masking", "PostgresListener", "Retention",
    "load", "load_policies", "read_policies",
]  # fmt: skip

_MOST_BYTES = 1 << 20
_PATTERN_HEADER = re.compile(r"^[ \t]*\[\[[ \t]*masking[ \t]*\.[ \t]*patterns[ \t]*\]\]", re.MULTILINE)
_MOST_POLICY_FILES = 1000
_MOST_POLICY_BYTES = 4 << 20


@dataclass(frozen=True)
class Config:
    """A configuration that has been checked. Paths are absolute; times are seconds; sizes are bytes.

    `Target.options` hold, for PostgreSQL: `tls` (disable, require, verify-full), `tls_ca` (a path, or absent), `auth`
    (names joined by a comma), `statement_timeout` (milliseconds, or absent), `dry_run` (yes, or absent), and `set.<name>`
    for each setting of a session's start.
    """

    path: Path
    gateway: Gateway
    listen: Listen
    issuers: tuple[IssuerSettings, ...]
    policy_files: tuple[str, ...]
    targets: Mapping[str, Target]
    masking: Masking
    choice: Choice  # `masking.detectors`, `masking.patterns` and `masking.phone_region`
    detectors: Detectors  # the same, made: what looks at results
    channels: tuple[Channel, ...]  # `notify`: what each tells
    senders: tuple[ChannelSettings, ...]  # and how it gets there, in the same order
    exports: tuple[WayOut, ...]
    retention: Retention
    archive: Archive
    limits: Limits
    ledger: Ledger
    trust: TrustPolicy | None  # `ledger.witnesses`, read
    authorities: Authorities | None  # `ledger.timestamps.ca` and `policy`, read
    log: Log


def load(path: Path | str) -> Config:
    """Read and check a configuration file. Raises ConfigError."""
    path = Path(path).absolute()
    try:
        with path.open("rb") as opened:
            raw = opened.read(_MOST_BYTES + 1)
    except OSError as error:
        raise ConfigError(
            f"{path}: cannot be read ({error.strerror})", hint="name another with --config, or run `doorward init`"
        ) from None
    if len(raw) > _MOST_BYTES:
        raise ConfigError(f"{path}: it is longer than {_MOST_BYTES} bytes")
    try:
        table = tomllib.loads(raw.decode("utf-8"))
    except (UnicodeDecodeError, tomllib.TOMLDecodeError, RecursionError) as error:
        raise ConfigError(f"{path}: this is not TOML: {str(error)[:200]}", hint="see https://toml.io") from None
    wrong: list[str] = []
    settings = read(Settings, table, path.parent, "", wrong)
    config = _checked(path, settings, wrong, raw.decode("utf-8")) if settings is not None else None
    if config is None or wrong:
        raise ConfigError(
            "\n".join(f"{path}: {line}" for line in no_more(wrong)),
            hint="every setting is in docs/guides/configuration.md",
        )
    return config


def read_policies(config: Config) -> dict[str, str]:
    """The text of every policy file, by its path relative to the configuration. Raises ConfigError, also for a pattern
    that matches nothing: a policy that is not there could be a forbid."""
    base = config.path.parent
    found: dict[str, str] = {}
    total = 0
    for pattern in config.policy_files:
        matches = sorted(p for p in _glob(base, pattern) if p.is_file())
        if not matches:
            raise ConfigError(
                f"{config.path}: policy.files: {pattern!r} matches no file",
                hint="`doorward init` writes a first policy",
            )
        for match in matches:
            name = str(match.relative_to(base) if match.is_relative_to(base) else match)
            try:
                text = match.read_text(encoding="utf-8")
            except (OSError, UnicodeDecodeError) as error:
                raise ConfigError(
                    f"{name}:1: cannot be read: {in_words(error)}", hint="check the path and who owns it"
                ) from None
            total += len(text)
            found[name] = text
            if len(found) > _MOST_POLICY_FILES or total > _MOST_POLICY_BYTES:
                raise ConfigError(
                    f"{config.path}: policy.files: more than {_MOST_POLICY_FILES} files "
                    f"or {_MOST_POLICY_BYTES} characters"
                )
    return found


def load_policies(config: Config, sources: Mapping[str, str] | None = None) -> PolicySet:
    """The policies of a configuration (or these sources) as it would put them in force. Raises ConfigError with file and
    line."""
    labels = {label for target in config.targets.values() for label in target.labels.values()} - {NONE}
    if config.masking.column_names == "mask":
        labels |= LABELS
    key = bytes(32) if config.masking.token_key is not None else b""
    keep = keep_nothing if config.masking.vault.keys else None

    def objection(label: str, transform: str) -> str:
        if label not in labels:
            return f"no column has the label {label}, so nothing would be masked by it"
        try:
            Transforms({label: transform}, key, keep=keep)
        except ConfigError as error:
            return error.message + (f"; {error.hint}" if error.hint else "")
        return ""

    return policies.load(
        read_policies(config) if sources is None else sources,
        expiry=config.limits.hold, transforms=config.masking.transforms, objection=objection,
    )  # fmt: skip


def _glob(base: Path, pattern: str) -> list[Path]:
    path = Path(pattern)
    try:
        return list(Path(path.anchor).glob(str(path.relative_to(path.anchor))) if path.anchor else base.glob(pattern))
    except (ValueError, NotImplementedError):
        return []


def _checked(path: Path, settings: Settings, wrong: list[str], written: str) -> Config | None:
    """What one setting says about another."""
    for name, listener in (("postgres", settings.listen.postgres), ("http", settings.listen.http)):
        _check_listener(f"listen.{name}", listener, wrong)
    if (url := settings.listen.http.url) and not _fit_for_browsers(url):
        wrong.append(
            f"listen.http.url: {url} is neither https nor http on loopback, so that browsers would neither keep a sign-in "
            "safe nor use a passkey there"
        )
    issuers: list[IssuerSettings] = []
    for number, issuer in enumerate(settings.issuers):
        try:
            issuers.append(_issuer(issuer))
        except ConfigError as error:
            wrong.append(f"issuers[{number}]: {error.message}{f'; {error.hint}' if error.hint else ''}")
    urls = [issuer.url for issuer in settings.issuers]
    wrong += [f"issuers: {url} is there twice" for url in sorted({u for u in urls if urls.count(u) > 1})]
    if not settings.issuers:
        wrong.append("issuers: there is none, so nobody could log in; write at least one [[issuers]]")
    targets: dict[str, Target] = {}
    for target in settings.targets:
        where = f"targets.{target.name}"
        if target.name in targets:
            wrong.append(f"{where}: there is another target of that name")
        if "cleartext" in target.auth and target.tls != "verify-full":
            wrong.append(f'{where}.auth: "cleartext" shows the password to whoever answers; set tls = "verify-full"')
        if target.tls == "disable" and target.tls_ca is not None:
            wrong.append(f'{where}.tls_ca: it means nothing with tls = "disable"')
        tenant = target.tenant or settings.masking.tenant
        if target.tenant and settings.masking.token_key is None:
            wrong.append(f"{where}.tenant: it means nothing without masking.token_key")
        targets[target.name] = _target(target, tenant)
    labels = {label for target in settings.targets for label in target.labels.values()}
    if settings.masking.column_names == "mask":
        labels |= LABELS
    for label, name in settings.masking.transforms.items():
        if label == NONE:
            wrong.append(f"masking.transforms.{NONE}: that label says that nothing is confidential")
        elif label not in labels:
            wrong.append(f"masking.transforms.{label}: no column has this label, so nothing would be masked by it")
        try:
            Transforms({label: name}, bytes(32), keep=keep_nothing)
        except ConfigError as error:
            wrong.append(f"masking.transforms: {error.message}")
        if name in KEYED and settings.masking.token_key is None:
            wrong.append(f"masking.token_key: it is missing, and {name} (of {label}) needs it")
        if name == "vault" and not settings.masking.vault.keys:
            wrong.append(f"masking.vault.keys: there is none, and vault (of {label}) needs one")
    wrong += [
        f"masking.date_shift.{label}: no column has this label, so nothing would move by it"
        for label in settings.masking.date_shift if label not in labels
    ]  # fmt: skip
    channels, senders = _notify(settings.notify, wrong)
    trust, stamped_by = _trust(settings.ledger, wrong), _authorities(settings.ledger, wrong)
    exports = ways_out(settings.export, wrong)
    detectors = _detectors(settings.masking, written, wrong)
    if detectors is None:
        return None
    return Config(
        path=path, gateway=settings.gateway, listen=settings.listen, issuers=tuple(issuers),
        policy_files=settings.policy.files, targets=targets, masking=settings.masking,
        choice=_choice(settings.masking), detectors=detectors,
        retention=settings.retention, archive=settings.archive, limits=settings.limits, ledger=settings.ledger,
        trust=trust, authorities=stamped_by,
        log=settings.log, channels=channels, senders=senders, exports=exports,
    )  # fmt: skip


def _trust(ledger: Ledger, wrong: list[str]) -> TrustPolicy | None:
    """The witnesses' file. Whoever is to be asked has an url there."""
    if ledger.witnesses is None:
        return None
    try:
        trust = parse_policy(ledger.witnesses.read_bytes())
    except (OSError, IntegrityError) as error:
        wrong.append(f"ledger.witnesses: {error.message if isinstance(error, IntegrityError) else in_words(error)}")
        return None
    asked = [witness.name for witness in trust.witnesses.values() if witness.url]
    if not trust.met(asked) or not asked:
        wrong.append(
            "ledger.witnesses: those of its witnesses that have a URL are no quorum; write `witness NAME VKEY URL` for each"
        )
    return trust


def _authorities(ledger: Ledger, wrong: list[str]) -> Authorities | None:
    """The time stamp authorities' roots. They are needed: a stamp that nobody checked would be found wrong years later."""
    said = ledger.timestamps
    if not said.urls:
        return None
    if said.ca is None:
        wrong.append("ledger.timestamps.ca: it is missing, and without it no stamp can be checked")
        return None
    try:
        return authorities(said.ca.read_bytes(), said.policy)
    except (OSError, IntegrityError) as error:
        wrong.append(f"ledger.timestamps: {error.message if isinstance(error, IntegrityError) else in_words(error)}")
        return None


def _choice(masking: Masking) -> Choice:
    patterns = tuple(Pattern(p.name, p.label, p.pattern, p.examples, p.counterexamples) for p in masking.patterns)
    return Choice(masking.detectors or DEFAULT, patterns, masking.phone_region)


def _detectors(masking: Masking, written: str, wrong: list[str]) -> Detectors | None:
    """What looks at results: the detectors named, and those defined here."""
    more: list[Detector] = []
    lines = [written.count("\n", 0, match.start()) + 1 for match in _PATTERN_HEADER.finditer(written)]
    names = set(masking.detectors)
    for number, own in enumerate(masking.patterns):
        line = f" (line {lines[number]})" if len(lines) == len(masking.patterns) else ""
        where = f"masking.patterns.{own.name}{line}"
        if own.name in names:
            wrong.append(f"{where}: there is another detector of that name")
        names.add(own.name)
        try:
            more.append(defined(own.name, own.label, own.pattern, own.examples, own.counterexamples))
        except ConfigError as error:
            wrong.append(f"{where}: {error.message}{f'; {error.hint}' if error.hint else ''}")
    if len(masking.patterns) > MOST_PATTERNS:
        wrong.append(f"masking.patterns: there are more than {MOST_PATTERNS}")
        return None
    try:
        return Detectors(masking.detectors or None, more=more, region=masking.phone_region)
    except ConfigError as error:
        wrong.append(f"masking: {error.message}{f'; {error.hint}' if error.hint else ''}")
        return None


_OF_MAIL = ("host", "user", "from_", "to", "port")


def _notify(
    said: Sequence[NotifySettings], wrong: list[str]
) -> tuple[tuple[Channel, ...], tuple[ChannelSettings, ...]]:
    """What each channel tells, and how it gets there."""
    names = [each.name for each in said]
    twice = sorted({name for name in names if names.count(name) > 1})
    wrong += [f"notify.{name}: there is another channel of that name" for name in twice]
    for each in said:
        wrong += [f"notify.{each.name}.{fault}" for fault in _unfit(each)]
    channels = tuple(Channel(e.name, frozenset(e.tell), frozenset(e.groups), e.about) for e in said)
    return channels, tuple(
        ChannelSettings(
            e.name, e.kind, e.secret, url=e.url, host=e.host, port=e.port, tls=e.tls, user=e.user, sender=e.from_, to=e.to,
            ca=str(e.ca) if e.ca else "",
        )
        for e in said
    )  # fmt: skip


def _unfit(said: NotifySettings) -> Iterator[str]:
    """What a channel of this kind lacks, or has and does not use."""
    if said.kind in (SLACK, TEAMS) and len(said.secret) != 1:
        yield f"secret: write one, where {said.kind}'s address to post to is: it is a secret, whoever has it can write there"
    if said.kind == WEBHOOK:
        if not 1 <= len(said.secret) <= 2:
            yield "secret: write the key that signs, or two while you change it"
        try:
            checked(said.url, "it")
        except ConfigError as error:
            yield f"url: {error.message}"
    elif said.url:
        yield f"url: it means nothing to {said.kind}"
    if said.kind == EMAIL:
        yield from (f"{name.rstrip('_')}: it is missing" for name in ("host", "from_", "to") if not getattr(said, name))
        if len(said.secret) > 1 or bool(said.secret) != bool(said.user):
            yield "secret: the password goes with user, one with the other"
    else:
        yield from (f"{name.rstrip('_')}: it means nothing to {said.kind}" for name in _OF_MAIL if getattr(said, name))
    if said.about and DECISIONS not in said.tell:
        yield f'about: it means nothing unless it tells "{DECISIONS}"'


def _check_listener(where: str, listener: PostgresListener | HttpListener, wrong: list[str]) -> None:
    if (listener.tls_cert is None) != (listener.tls_key is None):
        missing = "tls_key" if listener.tls_key is None else "tls_cert"
        wrong.append(f"{where}.{missing}: it is missing; a certificate and its key go together")
    elif listener.tls_cert is None and not listener.plaintext:
        wrong.append(
            f"{where}.tls_cert: it is missing; write tls_cert and tls_key, or, on a loopback address, plaintext = true"
        )
    if listener.plaintext and not is_loopback(listener.address):
        wrong.append(
            f"{where}.plaintext: {listener.address} can be reached from other machines, and tokens would be readable "
            "on the way; set tls_cert and tls_key, or listen on 127.0.0.1"
        )


def _fit_for_browsers(url: str) -> bool:
    try:
        check_url(url, development=True, what="listen.http.url")
    except ConfigError:
        return False
    return True


def _issuer(issuer: Issuer) -> IssuerSettings:
    rules: list[KindRule] = []
    for number, rule in enumerate(issuer.kinds):
        values = (*((rule.equals,) if rule.equals else ()), *rule.in_)
        if bool(rule.equals) == bool(rule.in_):
            raise ConfigError(f"kinds[{number}]: write either equals or in")
        rules.append(KindRule(rule.claim, values, Kind(rule.kind)))
    return IssuerSettings(
        url=issuer.url, audience=issuer.audience, algorithms=issuer.algorithms, groups_claim=issuer.groups_claim,
        agent_groups=issuer.agent_groups, skew_seconds=issuer.clock_skew, kind_rules=tuple(rules),
        default_kind=Kind(issuer.default_kind), claims=issuer.claims, ca_file=str(issuer.ca) if issuer.ca else "",
        client_id=issuer.client_id, client_secret=issuer.secret, scopes=issuer.scopes,
        development=issuer.development, jwks_max_age=issuer.keys_max_age, workload=issuer.workload, agents=issuer.agents,
    )  # fmt: skip


def _target(target: TargetSettings, tenant: str) -> Target:
    options = {"tls": target.tls, "auth": ",".join(target.auth)}
    if target.tls_ca is not None:
        options["tls_ca"] = str(target.tls_ca)
    if target.statement_timeout:
        options["statement_timeout"] = str(target.statement_timeout * 1000)
    if target.dry_run:
        options["dry_run"] = "yes"
    if target.reconcile:
        options["reconcile"] = str(target.reconcile)
    if target.expected_roles:
        options["expected_roles"] = ",".join(target.expected_roles)
    options.update({f"set.{name}": value for name, value in target.options.items()})
    return Target(
        name=target.name, protocol=target.protocol, host=target.host, port=target.port, credential=target.secret,
        user=target.user, database=target.database or target.name, mode=Mode(target.mode),
        durability=target.durability, record=target.record, retention=target.retention, detect=target.detect, tenant=tenant,
        labels=dict(target.labels), options=options,
    )  # fmt: skip
