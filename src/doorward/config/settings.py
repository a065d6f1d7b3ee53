"""Every setting that there is, with its kind, its default and a sentence about it.

`docs/guides/configuration.md` is made from this file and a test says so. What one setting cannot know of another is
checked in `doorward.config`.
"""
# ruff: noqa: RUF009  # setting() is dataclasses.field() with a kind and a sentence

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from doorward.adapters.export.settings import FORMATS
from doorward.adapters.export.settings import TYPES as EXPORT_TYPES
from doorward.adapters.identity.settings import ALGORITHMS, DEFAULT_ALGORITHMS, DEFAULT_CLAIMS
from doorward.adapters.identity.workloads import PLATFORMS
from doorward.adapters.notify.settings import IMPLICIT, STARTTLS, TYPES
from doorward.config.reading import (
    address,
    column,
    directory,
    duration,
    file,
    flag,
    list_of,
    new_file,
    one_of,
    one_or_list,
    secret,
    section,
    sections,
    setting,
    size,
    table_of,
    text,
    whole,
)
from doorward.guard.notices import BREAK_GLASS, KINDS, REQUESTS, REVIEWS
from doorward.ledger.retention import CONTROL, RECORDS
from doorward.masking.detect import DEFAULT, DETECTORS
from doorward.masking.transforms import NAMES as TRANSFORMS
from doorward.model import Kind, SecretRef

CLASS_PATTERN = r"(?=.{1,32}\Z)[a-z0-9]+(-[a-z0-9]+)*-[1-9][0-9]{0,2}[my]"
CLASS = text("a retention class that ends in its period, as in std-13m or phi-6y", CLASS_PATTERN)
NAME = text("letters, digits, - and _, at most 63", r"[A-Za-z0-9][A-Za-z0-9_-]{0,62}")
LABEL = text("a label: lower-case letters, digits, - and _", r"[a-z][a-z0-9_-]{0,31}")
COLUMN = column()
TENANT = text("letters, digits, - and _, at most 63, or nothing", r"([A-Za-z0-9][A-Za-z0-9_-]{0,62})?")
EXAMPLE = text("text", r"[^\x00]{1,1024}")
MAIL = text("an address of e-mail", r"[A-Za-z0-9.!#$%&'*+/=?^_`{|}~-]{1,64}@[A-Za-z0-9.-]{1,253}")
HOST = text("a host name or an IP address", r"[A-Za-z0-9]([A-Za-z0-9._-]{0,252}[A-Za-z0-9])?|[0-9A-Fa-f:.]{2,45}")
PORT = whole(1, 65535)
LISTENING_PORT = whole(0, 65535)
PROTOCOLS = ("postgres",)
AUTHENTICATION = ("scram-sha-256", "md5", "cleartext")


@dataclass(frozen=True)
class Gateway:
    """This gateway."""

    data: Path = setting(directory(), "Where records, keys and the store are. Only the gateway's user may open it.")
    name: str = setting(NAME, "The gateway's name: the origin of its log, and what people see.", "doorward")
    owner_absence: int = setting(
        duration("1d", "365d"), "How long an agent goes on after its owner was seen last: their newest accepted token.",
        90 * 86400,
    )  # fmt: skip
    processes: int = setting(
        whole(1, 16), "How many gateways may share this data directory at once, each with ports of its own: one record, one "
        "set of requests and identities.", 1,
    )  # fmt: skip
    drain: int = setting(duration("0s", "1h"), "How long running statements may take to end after SIGTERM.", 30)


@dataclass(frozen=True)
class PostgresListener:
    """Where PostgreSQL clients connect."""

    address: str = setting(address(), "The address to listen on.", "127.0.0.1")
    port: int = setting(LISTENING_PORT, "The port to listen on; 0 takes any free one.", 7432)
    tls_cert: Path | None = setting(file(), "Certificate chain (PEM) that is shown to clients.", None)
    tls_key: Path | None = setting(file(), "Its private key (PEM).", None)
    plaintext: bool = setting(
        flag(), "Let clients connect without TLS, tokens in the clear. Only on a loopback address.", False
    )


@dataclass(frozen=True)
class HttpListener:
    """Where the API for approvals and sessions, health and metrics are."""

    address: str = setting(address(), "The address to listen on.", "127.0.0.1")
    port: int = setting(LISTENING_PORT, "The port to listen on; 0 takes any free one.", 7480)
    tls_cert: Path | None = setting(file(), "Certificate chain (PEM) that is shown to clients.", None)
    tls_key: Path | None = setting(file(), "Its private key (PEM).", None)
    plaintext: bool = setting(flag(), "Answer without TLS. Only on a loopback address.", False)
    url: str = setting(
        text("an https URL without a path; http on loopback", r"(https?://[A-Za-z0-9.\[\]:-]{1,260})?"),
        "What people type to get here: where sign-in comes back to, and the name that passkeys are bound to. By default, the "
        "address and port above, by the name `localhost` where that is what they are.", "",
    )  # fmt: skip


@dataclass(frozen=True)
class Listen:
    """What the gateway listens on."""

    postgres: PostgresListener = setting(section(PostgresListener), "Where PostgreSQL clients connect.")
    http: HttpListener = setting(section(HttpListener), "Where the API, health and metrics are.")


@dataclass(frozen=True)
class KindSettings:
    """A rule that says what sort of principal a token is about. The first that matches decides."""

    claim: str = setting(text("the dotted path of a claim"), "The claim to look at, or a list that is its value.")
    kind: str = setting(one_of(*Kind), "What the principal is if the claim matches.")
    equals: str = setting(text(), "A value, shell patterns allowed (`ci-*`).", "")
    in_: tuple[str, ...] = setting(list_of(text(), least=1), "Several such values, any of which matches.", ())


@dataclass(frozen=True)
class Issuer:
    """An OpenID Connect issuer whose tokens are accepted."""

    url: str = setting(text("an https URL"), "The issuer, exactly as in the tokens' `iss`.")
    audience: tuple[str, ...] = setting(
        one_or_list(text()), "What `aud` of a token must hold to be meant for this gateway."
    )
    algorithms: tuple[str, ...] = setting(
        list_of(one_of(*ALGORITHMS), least=1), "Signature algorithms accepted; asymmetric ones only.",
        DEFAULT_ALGORITHMS,
    )  # fmt: skip
    groups_claim: str = setting(
        text("the dotted path of a claim"), "The claim that lists a principal's groups.", "groups"
    )
    agent_groups: tuple[str, ...] = setting(
        list_of(text()), "Groups of every agent that a token of this issuer names in `act`.", ()
    )
    clock_skew: int = setting(duration("0s", "5m"), "How far the issuer's clock and this one may differ.", 30)
    kinds: tuple[KindSettings, ...] = setting(
        sections(KindSettings), "Who is a human, an agent, a service. The first rule that matches decides.", ()
    )
    default_kind: str = setting(one_of(*Kind), "What a principal is whom no rule and no known shape tells.", "human")
    claims: Mapping[str, str] = setting(
        table_of(text("the dotted path of a claim"), NAME),
        "Claims to keep, by the name that policies and records give them.", dict(DEFAULT_CLAIMS),
    )  # fmt: skip
    workload: str = setting(
        one_of("", *PLATFORMS), "The platform whose jobs its tokens are about: known by ids that nobody can choose.", ""
    )
    agents: str = setting(
        one_of("registered", "issuer"),
        "Which agents of this issuer are let in: those that are registered here, or all that it calls so.", "registered",
    )  # fmt: skip
    client_id: str = setting(
        text(), "This deployment's client at the issuer, for `doorward token` and for signing in to the pages.", ""
    )
    secret: SecretRef | None = setting(
        secret(), "Where the client's secret is, which the pages sign in with. A public client has none.", None
    )
    scopes: tuple[str, ...] = setting(
        list_of(text("a scope", r"[\x21\x23-\x5b\x5d-\x7e]{1,200}"), least=1, most=50),
        "What the pages ask for at sign-in; `offline_access`, where the issuer wants it for a refresh token.",
        ("openid", "profile", "email"),
    )  # fmt: skip
    ca: Path | None = setting(file(), "Authorities (PEM) trusted for the issuer's TLS, instead of the system's.", None)
    keys_max_age: int = setting(
        duration("1m", "7d"), "How long fetched keys are used while the issuer cannot be reached.", 86400
    )
    development: bool = setting(
        flag(), "Allow http on loopback: for the built-in development issuer and for tests, never for real.", False
    )


@dataclass(frozen=True)
class Policy:
    """Where the policies are."""

    files: tuple[str, ...] = setting(
        list_of(text("a path, * and ** allowed"), least=1),
        "Cedar policy files, relative to this configuration. Each pattern must match something.",
    )


@dataclass(frozen=True)
class TargetSettings:
    """A system that is reached through the gateway. Clients choose it by its name, as their database."""

    name: str = setting(NAME, "Its name: the database that clients ask for, and Target in policies.")
    host: str = setting(HOST, "Where it is.")
    user: str = setting(text(), "The role to log in as.")
    secret: SecretRef | None = setting(secret(), "Where its password is. Without one, none is sent.", None)
    protocol: str = setting(one_of(*PROTOCOLS), "What it speaks.", "postgres")
    port: int = setting(PORT, "The port it listens on.", 5432)
    database: str = setting(text(), "The database to connect to. By default, the target's name.", "")
    tls: str = setting(
        one_of("disable", "require", "verify-full"),
        "verify-full proves who answers; require only encrypts; disable does neither.", "verify-full",
    )  # fmt: skip
    tls_ca: Path | None = setting(file(), "Authorities (PEM) trusted for its TLS, instead of the system's.", None)
    auth: tuple[str, ...] = setting(
        list_of(one_of(*AUTHENTICATION), least=1),
        "Ways of logging in that the target may ask for. cleartext needs verify-full.", ("scram-sha-256",),
    )  # fmt: skip
    mode: str = setting(
        one_of("enforce", "observe"), "observe records what would have happened, and ENFORCES NOTHING.", "enforce"
    )
    durability: str = setting(
        one_of("before-forward", "batched"),
        "batched lets plain allowed reads go ahead of their record by at most 20 ms or 256 KiB.", "before-forward",
    )  # fmt: skip
    record: str = setting(
        one_of("full", "sample", "shape"), "How much of each response is recorded: all, the first rows, or no rows.",
        "full",
    )  # fmt: skip
    retention: str = setting(
        text("a retention class, as in retention.records, or nothing", rf"({CLASS_PATTERN})?"),
        "The class of its sessions' recordings. By default, retention.records.", "",
    )  # fmt: skip
    detect: bool = setting(flag(), "Look for confidential values in all text, labelled or not.", True)
    statement_timeout: int = setting(
        duration("0s", "1d"), "statement_timeout of its sessions, which clients cannot lift; 0s: the target's own.", 0
    )
    labels: Mapping[str, str] = setting(
        table_of(LABEL, COLUMN),
        'What confidential data is where: "public.customers.ssn" = "ssn". "none": nothing is, whatever the name says.', {},
    )  # fmt: skip
    tenant: str = setting(
        TENANT, "Whose data it holds: equal values have equal tokens and hashes within one tenant. By default, masking.tenant.",
        "",
    )  # fmt: skip
    dry_run: bool = setting(
        flag(), "Try an UPDATE or DELETE that waits for approval in a transaction that is rolled back, to show its approvers "
        "what it does. It takes the same locks, for two seconds at most.", False,
    )  # fmt: skip
    reconcile: int = setting(
        duration("0s", "1d"), "How often to ask it who is connected, and to put on record who did not come through here; 0s: "
        "only when somebody says `doorward reconcile`.", 900,
    )  # fmt: skip
    expected_roles: tuple[str, ...] = setting(
        list_of(text("a role, without a comma", r"[^,\x00]{1,63}"), most=100),
        "Roles that are expected to come another way: replication, monitoring, backups.", (),
    )  # fmt: skip
    options: Mapping[str, str] = setting(
        table_of(text(), NAME), "Settings of the target's sessions at their start, as in work_mem.", {}
    )


@dataclass(frozen=True)
class PatternSettings:
    """A detector of your own: a regular expression of RE2, tried on its examples when this file is read."""

    name: str = setting(NAME, "Its name, as records give it.")
    label: str = setting(LABEL, "The label of what it finds.")
    pattern: str = setting(
        text("a regular expression of RE2"), "What it finds: its first group, or all of it. One value is looked at at a time."
    )
    examples: tuple[str, ...] = setting(
        list_of(EXAMPLE, least=1, most=100), "Made-up texts in each of which it finds something."
    )
    counterexamples: tuple[str, ...] = setting(
        list_of(EXAMPLE, most=100), "Texts in which it finds nothing.", ()
    )


@dataclass(frozen=True)
class TokenVault:
    """What tokens stand for, kept sealed in the store, so that people who may `unmask` can have it back."""

    keys: tuple[SecretRef, ...] = setting(
        list_of(secret(), most=8), "Keys of at least 32 bytes. The first seals, all of them open; none: there is no vault.", ()
    )
    retention: int = setting(
        duration("1d", "3650d"), "How long a token is kept after it was last shown, in whole days.", 90 * 86400
    )
    entries: int = setting(
        whole(1, 1_000_000_000), "Tokens that are kept; results with more to keep end with an error.", 10_000_000
    )
    reveals_per_hour: int = setting(whole(1, 100_000), "Tokens that one person may ask for in an hour.", 20)


@dataclass(frozen=True)
class Masking:
    """What becomes of confidential values."""

    # A column called `ssn` that nobody labelled is shown, and nobody notices; one that is masked and need not be is
    # noticed at once, and takes one line of configuration. So what a name says holds until somebody says otherwise.
    column_names: str = setting(
        one_of("mask", "propose", "off"),
        "What a column's name says of it, as in first_name, street or ssn: mask it like a labelled one, only propose that, "
        "or nothing.", "mask",
    )  # fmt: skip
    transforms: Mapping[str, str] = setting(
        table_of(one_of(*TRANSFORMS), LABEL), "How each label is masked. A label not named here is redacted.", {}
    )
    date_shift: Mapping[str, str] = setting(
        table_of(text("a column's name"), LABEL),
        "By label: the column of the same table that says whose a date is, so that all dates of one subject move alike.", {},
    )  # fmt: skip
    detectors: tuple[str, ...] = setting(
        list_of(one_of(*(detector.name for detector in DETECTORS))), "The detectors that run.", DEFAULT
    )
    patterns: tuple[PatternSettings, ...] = setting(sections(PatternSettings), "Detectors of your own.", ())
    phone_region: str = setting(
        text("a country, as in DE (ISO 3166)", "[A-Z]{2}"), "Where telephone numbers without a plus sign are of.", "US"
    )
    tenant: str = setting(TENANT, "The tenant of every target that names no other.", "")
    token_key: SecretRef | None = setting(
        secret(), "The key for hash, token, vault, date_shift and format_preserving, at least 32 bytes.", None
    )
    vault: TokenVault = setting(section(TokenVault), "What tokens stand for, kept for people who may know.", TokenVault())


@dataclass(frozen=True)
class Limits:
    """What one client, and all of them together, may use. Everything is bounded."""

    pre_auth: int = setting(duration("1s", "1m"), "How long a client may take to log in.", 10)
    pre_auth_bytes: int = setting(
        size("4KiB", "1MiB"), "How many bytes a client may send before it is logged in.", 65536
    )
    statement_bytes: int = setting(size("1KiB", "1MiB"), "The longest statement; longer ones are refused.", 1 << 20)
    message_bytes: int = setting(
        size("64KiB", "256MiB"), "The longest message of a client: a statement's parameters, COPY data.", 16 << 20
    )
    row_bytes: int = setting(size("64KiB", "1GiB"), "The widest row of a masked result; wider ones end it.", 256 << 20)
    spool_bytes: int = setting(
        size("1MiB", "1024GiB"), "Disk for rows of over 1 MiB while they are masked, encrypted; further ones wait.", 1 << 30
    )
    connections: int = setting(whole(1, 100_000), "Connections to the gateway.", 1000)
    connections_per_target: int = setting(whole(1, 100_000), "Connections to one target.", 500)
    connections_per_identity: int = setting(whole(1, 100_000), "Connections of one identity.", 100)
    session: int = setting(duration("1m", "30d"), "How long a session may last.", 8 * 3600)
    idle: int = setting(duration("0s", "30d"), "How long a session may be idle; 0s: no limit of its own.", 0)
    statement: int = setting(duration("0s", "30d"), "How long a statement may run; 0s: no limit of its own.", 0)
    masking: int = setting(
        duration("1s", "1d"), "How long masking one result may take, waiting aside; then it ends with an error.", 3600,
    )  # fmt: skip
    hold: int = setting(
        duration("10s", "7d"), "How long a request for approval waits, where no policy says `@expires`.", 900
    )
    hold_in_transaction: int = setting(
        duration("1s", "5m"), "The same within an open transaction, which holds locks: at most this.", 300
    )
    approvals_per_identity: int = setting(
        whole(1, 10_000), "Requests for approval of one identity that wait at once.", 20
    )
    sign_in: int = setting(
        duration("1m", "7d"),
        "How long a browser stays signed in at most; a person's client certificate as well, but no more than 12 hours.",
        12 * 3600,
    )
    sign_in_idle: int = setting(duration("1m", "1d"), "How long it stays signed in without being used.", 3600)


@dataclass(frozen=True)
class Archive:
    """A second copy of the log and of every sealed recording, in an S3 bucket. With Object Lock, nobody can change it."""

    url: str = setting(
        text("s3://bucket/prefix, or nothing", r"(s3://[a-z0-9][a-z0-9.-]{1,62}(/[A-Za-z0-9._/-]{1,200})?)?"),
        "The bucket, and what paths in it begin with. Without one, there is no archive.", "",
    )  # fmt: skip
    endpoint: str = setting(text("a URL"), "Where it is, if not at Amazon.", "")
    region: str = setting(text(), "Its region.", "us-east-1")
    access_key: SecretRef | None = setting(
        secret(), "Where the id of the key is. Without one, it is looked for where Amazon's own tools look.", None
    )
    secret_key: SecretRef | None = setting(secret(), "Where the key is.", None)
    every: int = setting(duration("1s", "1d"), "How often what is new is copied.", 300)
    behind: int = setting(
        duration("0s", "30d"), "How long the bucket may be out of reach before nothing new may run; 0s: for ever.", 0
    )


@dataclass(frozen=True)
class Retention:
    """How long what is recorded is kept. It is fixed when it is recorded: another class holds for what comes after."""

    records: str = setting(CLASS, "The class of recordings, and of what else was done.", RECORDS)
    every: int = setting(
        duration("0s", "31d"), "How often what is due is deleted; 0s: only by `doorward retention run`.", 0
    )
    control: str = setting(CLASS, "The class of approvals, policies, identities, and what became of the record.", CONTROL)


@dataclass(frozen=True)
class NotifySettings:
    """A channel on which people are told of requests that wait, and of what else they should see. It decides nothing."""

    name: str = setting(NAME, "Its name, as commands and records give it.")
    kind: str = setting(one_of(*TYPES), "What it is.")
    secret: tuple[SecretRef, ...] = setting(
        one_or_list(secret()), "Where its secret is. slack and teams: the address to post to. webhook: the key that signs, or "
        "the new and the old one. email: the password.", (),
    )  # fmt: skip
    tell: tuple[str, ...] = setting(
        list_of(one_of(*KINDS), least=1),
        "What it tells: requests that wait, what became of them, break-glass, reviews that are due.",
        (REQUESTS, BREAK_GLASS, REVIEWS),
    )  # fmt: skip
    groups: tuple[str, ...] = setting(
        list_of(text()), "Only of what these groups may answer, or were passed over in. None: of everything.", ()
    )
    about: tuple[str, ...] = setting(
        list_of(text("issuer|subject, shell patterns allowed")),
        "Only decisions on what these, or agents for them, asked for. None: all decisions.", (),
    )  # fmt: skip
    url: str = setting(text("an https URL"), "webhook: where to post.", "")
    host: str = setting(HOST, "email: the mail server.", "")
    port: int = setting(PORT, "email: its port. By default 587, or 465 with implicit TLS.", 0)
    tls: str = setting(
        one_of(STARTTLS, IMPLICIT), "email: when TLS begins; it always does, before anything is said.", STARTTLS
    )
    user: str = setting(text(), "email: whom to log in as. Without one, nobody.", "")
    from_: str = setting(MAIL, "email: the sender's address.", "")
    to: tuple[str, ...] = setting(list_of(MAIL, most=50), "email: the addresses that get it.", ())
    ca: Path | None = setting(file(), "Authorities (PEM) trusted for its TLS, instead of the system's.", None)


@dataclass(frozen=True)
class ExportSettings:
    """Where events go that leave the gateway, each with its leaf in the log: at least once, in order, none left out."""

    name: str = setting(NAME, "Its name, as commands give it. Where it has got to is kept under it.")
    kind: str = setting(one_of(*EXPORT_TYPES), "What it is.")
    format: str = setting(
        one_of(*FORMATS), "How an event is written: OCSF 1.8, Elastic Common Schema, CEF, or as it is recorded.", "ocsf"
    )
    events: tuple[str, ...] = setting(
        list_of(text("an event's type, as in operation.refused", r"[a-z][a-z_]{0,31}\.[a-z][a-z_]{0,31}"), most=200),
        "Only events of these types. None: all.", (),
    )  # fmt: skip
    path: Path | None = setting(new_file(), "file: to which lines are added.", None)
    host: str = setting(HOST, "syslog: the receiver.", "")
    port: int = setting(PORT, "syslog: its port.", 6514)
    url: str = setting(text("a URL"), "webhook: where to post, an https URL. nats: tls://host:port; nats:// on loopback.", "")
    subject: str = setting(
        text("a subject of NATS", r"([A-Za-z0-9_-]+(\.[A-Za-z0-9_-]+)*)?"), "nats: where to publish, in a stream of JetStream.",
        "",
    )  # fmt: skip
    secret: tuple[SecretRef, ...] = setting(
        one_or_list(secret()), "Where its secret is. webhook: the key that signs, or the new and the old one. nats: the token.",
        (),
    )  # fmt: skip
    ca: Path | None = setting(file(), "Authorities (PEM) trusted for its TLS, instead of the system's.", None)
    tls_cert: Path | None = setting(file(), "syslog: the certificate (PEM) to show to it.", None)
    tls_key: Path | None = setting(file(), "syslog: its private key (PEM).", None)


@dataclass(frozen=True)
class Log:
    """What the gateway says of itself on standard error. Records are elsewhere (`gateway.data`)."""

    level: str = setting(one_of("debug", "info", "warning", "error"), "The least important lines to write.", "info")
    format: str = setting(one_of("json", "text"), "For machines, or for people.", "json")


@dataclass(frozen=True)
class Timestamps:
    """Authorities (RFC 3161) that say when the log was there."""

    urls: tuple[str, ...] = setting(
        list_of(text("an http or https URL", r"https?://[\x21-\x7e]{1,500}"), most=5),
        "Where to ask. None: nobody is asked.", (),
    )  # fmt: skip
    ca: Path | None = setting(file(), "The roots (PEM) that their stamps lead to: not those of TLS.", None)
    policy: str = setting(
        text("a dotted OID, or nothing", r"([0-2](\.[0-9]{1,10}){1,20})?"),
        "The policy that they must stamp under. None: any.", "",
    )  # fmt: skip
    every: int = setting(duration("1m", "1d"), "How often.", 3600)


@dataclass(frozen=True)
class Ledger:
    """Who watches the record from elsewhere (docs/guides/log.md)."""

    witnesses: Path | None = setting(
        file(), "A trust policy (C2SP tlog-policy) with the witnesses to ask, their URLs, and the quorum that it takes.", None
    )
    witness_every: int = setting(duration("1s", "1m"), "How often they are asked at most.", 5)
    overdue: str = setting(
        one_of("refuse", "warn"),
        "What happens to statements that need a person's yes while the newest entries have been without a quorum for 120 s.",
        "refuse",
    )  # fmt: skip
    ca: Path | None = setting(file(), "Authorities (PEM) trusted for their TLS, instead of the system's.", None)
    timestamps: Timestamps = setting(section(Timestamps), "Who says when it was there.", Timestamps())


@dataclass(frozen=True, kw_only=True)
class Settings:
    """The whole file."""

    gateway: Gateway = setting(section(Gateway), "This gateway.")
    listen: Listen = setting(section(Listen), "What it listens on.")
    issuers: tuple[Issuer, ...] = setting(sections(Issuer), "Whose tokens are accepted.")
    policy: Policy = setting(section(Policy), "Where the policies are.")
    targets: tuple[TargetSettings, ...] = setting(sections(TargetSettings), "What is reached through the gateway.", ())
    masking: Masking = setting(section(Masking), "What becomes of confidential values.")
    notify: tuple[NotifySettings, ...] = setting(sections(NotifySettings), "Whom to tell that something waits.", ())
    export: tuple[ExportSettings, ...] = setting(sections(ExportSettings), "Where events go that leave the gateway.", ())
    retention: Retention = setting(section(Retention), "How long what is recorded is kept.")
    archive: Archive = setting(section(Archive), "A second copy of the record, elsewhere.")
    limits: Limits = setting(section(Limits), "What clients may use.")
    ledger: Ledger = setting(section(Ledger), "Who watches the record from elsewhere.", Ledger())
    log: Log = setting(section(Log), "What the gateway says of itself.")
