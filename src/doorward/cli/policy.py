"""`doorward policy`: check policies before they are in force, and ask why a decision is what it is.

Contract: `check` and `explain` need no running gateway or connection to anything, and change nothing. `check` says
everything that is wrong, each with file and line; `explain` puts its question to the code that decides. `reload` asks a
running gateway to read its files again.

Without a catalogue, `explain` assumes that relations and functions which it does not know exist, in `public` unless
the statement says otherwise, and says what it assumed. A running gateway knows the real catalogue.
"""

from __future__ import annotations

import ipaddress
import json
import re
import sys
import time
from collections.abc import Iterable, Mapping
from datetime import datetime
from pathlib import Path
from typing import Annotated, Any, Literal

from cyclopts import App, Parameter
from rich.console import Console

from doorward.cli.gateway import HERE, Connection, GatewayClient
from doorward.config import Config, load, load_policies, read_policies
from doorward.errors import ConfigError
from doorward.masking.detect import DETECTORS
from doorward.masking.labelling import NONE, labelling
from doorward.masking.names import LABELS
from doorward.masking.transforms import Transforms
from doorward.model import Assurance, Identity, Kind, Operation, Target
from doorward.policy import policies as policy
from doorward.policy.explain import Explanation, explain, explain_action
from doorward.sql.catalogue import Catalogue, Column, Relation
from doorward.sql.classify import Facts, classify

DEFAULT_CONFIG = Path("doorward.toml")
EXPECTED = ("allow", "hold", "deny")
_STYLES = {"ALLOW": "bold green", "HOLD": "bold yellow", "DENY": "bold red"}
_ROUNDS = 8  # of assuming what a statement names; each finds at least one name more
_IDENTIFIER = re.compile(r'"((?:[^"]|"")+)"|([A-Za-z_\u0080-\uffff][\w$]*)')
_MOST_STATEMENT = 1 << 20

app = App(name="policy", help="Check policies, and ask why a decision is what it is.")


@app.command(name="check")
def check_command(
    *files: Path,
    as_json: Annotated[bool, Parameter(name="--json", negative="")] = False,
    config: Path = DEFAULT_CONFIG,
) -> int:
    """Check policies as the gateway would on loading them. Exit code 0: sound. 3: at least one fault.

    Parameters
    ----------
    files
        Policy files to check, by themselves. Without any, those that the configuration names.
    as_json
        Print JSON: ok, errors (file, line, message), warnings, the policies' ids and hash.
    config
        The configuration.
    """
    settings: Config | None = None
    try:
        if files:
            sources = {str(file): _read(file) for file in files}
            settings = load(config) if config.is_file() else None
        else:
            settings = load(config)
            sources = read_policies(settings)
        loaded = load_policies(settings, sources) if settings else policy.load(sources)
    except ConfigError as error:
        if not as_json:
            raise
        print(json.dumps({"ok": False, "errors": [_fault(line) for line in error.message.splitlines()]}, indent=2))
        return error.exit_code
    warnings = list(_warnings(loaded, settings)) if settings else []
    if as_json:
        print(json.dumps({
            "ok": True, "errors": [], "warnings": warnings, "hash": loaded.hash, "policies": list(loaded.ids),
        }, indent=2))  # fmt: skip
        return 0
    for warning in warnings:
        print(f"warning: {warning}", file=sys.stderr)
    print(f"ok: {_count(len(loaded.ids), 'policy', 'policies')} in {_count(len(sources), 'file', 'files')}, {loaded.hash}")
    return 0


@app.command(name="reload")
def reload_command(
    *, as_json: Annotated[bool, Parameter(name="--json", negative="")] = False, connection: Connection = HERE
) -> int:
    """Have a running gateway read its policies again, whole or not at all. Needs `administer` on every target. Exit code
    3: they are broken, and the old ones stay in force.

    Parameters
    ----------
    as_json
        Print JSON.
    """
    with GatewayClient(connection) as gateway:
        found = gateway.post("policy", "reload")
    print(json.dumps(found) if as_json else f"in force: {found['policy']}")
    return 0


@app.command(name="explain")
def explain_command(
    *,
    identity: str,
    target: str,
    statement: str = "",
    action: str = "connect",
    kind: Kind = Kind.AGENT,
    group: Annotated[tuple[str, ...], Parameter(negative="")] = (),
    claim: Annotated[tuple[str, ...], Parameter(negative="")] = (),
    issuer: str = "",
    assurance: Literal["V0", "V1", "V2", "V3"] = "V1",
    on_behalf_of: str = "",
    on_behalf_of_group: Annotated[tuple[str, ...], Parameter(negative="")] = (),
    purpose: str = "",
    client: str = "127.0.0.1",
    application: str = "",
    at: str = "",
    search_path: str = "public",
    catalogue: Path | None = None,
    expect: str = "",
    as_json: Annotated[bool, Parameter(name="--json", negative="")] = False,
    config: Path = DEFAULT_CONFIG,
) -> int:
    """Say what policy makes of a statement, or of connecting, and why. Exit code 0: allowed, or as expected. 1: held
    or denied, or not as expected. 3: a fault in policies or configuration.

    Parameters
    ----------
    identity
        Whose: the `sub` of their token.
    target
        On which target.
    statement
        The statement; - reads it from standard input. Without one, the question is `--action`.
    action
        connect, administer, approve, replay or export.
    kind
        What sort of principal it is.
    group
        A group that the identity is in. May be given more than once, like the other lists.
    claim
        A claim of its token that policies may read, NAME=VALUE.
    issuer
        Its issuer. Default: the first of the configuration.
    assurance
        How well the identity was proved: V1 is a bearer token, V2 one that is bound to a key.
    on_behalf_of
        The person for whom it acts: their `sub`.
    on_behalf_of_group
        A group that this person is in.
    purpose
        What the client gives as its reason.
    client
        The address from which it connects.
    application
        What the client calls itself.
    at
        The time of the question (ISO 8601). Default: now.
    search_path
        The schemas of the session's search_path, separated by commas.
    catalogue
        JSON file of what tables there are, {"schema.table": ["column", ...]}; nothing else is then assumed.
    expect
        allow, hold or deny: exit with 0 if that is the decision, else with 1. For tests of policies.
    as_json
        Print JSON.
    config
        The configuration.
    """
    if expect and expect not in EXPECTED:
        raise ConfigError(f"--expect {expect!r} is none of {', '.join(EXPECTED)}")
    settings = load(config)
    loaded = load_policies(settings)
    place = settings.targets.get(target)
    if place is None:
        raise ConfigError(f"there is no target {target!r}", hint=f"there are: {', '.join(settings.targets) or 'none'}")
    who = _identity(settings, identity, kind, group, claim, issuer, Assurance(assurance), on_behalf_of, on_behalf_of_group)
    extra = {"now": _moment(at), "client": _address(client), "application": application}
    assumed: list[str] = []
    named: dict[str, str] = {}
    if statement:
        text = sys.stdin.read(_MOST_STATEMENT + 1) if statement == "-" else statement
        known = _catalogue(catalogue) if catalogue else None
        operation, forbidden, assumed, named = _operation(text, place, search_path, known, settings.masking.column_names)
        explanation = explain(loaded, who, place, operation, purpose=purpose, extra=extra)
    else:
        explanation, forbidden = explain_action(loaded, who, action, place, purpose=purpose, extra=extra), ""
    outcome = "deny" if forbidden else explanation.findings.decision.outcome.value
    if as_json:
        said = explanation.as_json()
        said.update({"assumed": assumed, "named": named, "forbidden": forbidden})
        if forbidden:
            said.update({"decision": "deny", "reason": f"no policy can allow it: {forbidden}"})
        print(json.dumps(said, indent=2))
    else:
        _print(explanation, forbidden, assumed, named)
    return 0 if outcome == (expect or "allow") else 1


def _print(explanation: Explanation, forbidden: str, assumed: Iterable[str], named: Mapping[str, str]) -> None:
    console = Console(highlight=False, soft_wrap=True)  # rich respects NO_COLOR, and writes no colour into a pipe
    head, *rest = explanation.as_text().splitlines()
    if forbidden:
        head = f"DENY: no policy can allow it: {forbidden}"
    word, colon, reason = head.partition(":")
    console.print(word, style=_STYLES.get(word, ""), end="")
    console.print(f"{colon}{reason}", markup=False)
    for line in rest:
        console.print(line, markup=False)
    if explanation.operation is not None and explanation.operation.reason:
        console.print(f"not classified: {explanation.operation.reason}", markup=False)
    if explanation.target.mode.value != "enforce":
        console.print(
            f"target {explanation.target.name} is in observe mode: this would be recorded, and NOTHING IS ENFORCED",
            style="bold red", markup=False,
        )  # fmt: skip
    for name in assumed:
        console.print(f"assumed to exist: {name}", style="dim", markup=False)
    for column, label in named.items():
        console.print(f"proposed by its name: {column} = {label}", style="dim", markup=False)


def _operation(
    text: str, target: Target, search_path: str, known: Catalogue | None, by_name: str
) -> tuple[Operation, str, list[str], dict[str, str]]:
    """What the statement would do; why no policy can allow it, or ""; what was assumed to exist; and the labels that
    columns have by their names, as far as the statement says them."""
    path = tuple(part.strip() for part in search_path.split(",") if part.strip())
    words = _words(text)
    named: dict[str, str] = {}

    def facts(catalogue: Catalogue) -> Facts:
        labels = labelling(catalogue, target.labels, Transforms(), by_name=by_name)
        named.update((c, label) for c, label in labels.named.items() if c.rpartition(".")[2] in words or "*" in text)
        return Facts(catalogue, search_path=("pg_catalog", *path), labels=labels.labels)

    assumed: list[str] = []
    found = classify(text, facts(known or Catalogue()))
    for _ in range(_ROUNDS):
        fresh = [name for name in found.misses if name not in assumed] if known is None else []
        if not fresh:
            break
        assumed += fresh
        found = classify(text, facts(_assume(assumed, words, target, path)))
    action = " ".join(dict.fromkeys(statement.tag for statement in found.statements))
    operation = Operation(
        "", "", action, found.effect, text, resources=found.resources, labels=found.labels, inferred=found.inferred,
        reason=found.reason,
        search_path=search_path,
    )  # fmt: skip
    return operation, found.forbidden, assumed, named


def _words(text: str) -> set[str]:
    """Whatever in a statement could be the name of a column."""
    return {quoted.replace('""', '"') or word.lower() for quoted, word in _IDENTIFIER.findall(text)}


def _assume(names: Iterable[str], words: set[str], target: Target, path: tuple[str, ...]) -> Catalogue:
    """A catalogue that has these relations and functions. A relation has the columns that labels name, and whatever
    else the statement says: any of its words could be one."""
    relations: list[Relation] = []
    functions: dict[str, frozenset[str]] = {}
    for name in names:
        schema, _, rest = name.rpartition(".")
        schema = schema or (path[0] if path else "public")
        if rest.endswith("()"):
            functions[rest[:-2]] = functions.get(rest[:-2], frozenset()) | {schema}
            continue
        labelled = [column.rpartition(".")[2] for column in target.labels if column.startswith(f"{schema}.{rest}.")]
        relations.append(_relation(len(relations), schema, rest, [*labelled, *sorted(words - set(labelled))]))
    return Catalogue(
        tuple(relations), functions, schemas=frozenset({"pg_catalog", *path, *(r.schema for r in relations)})
    )


def _relation(number: int, schema: str, name: str, columns: Iterable[str]) -> Relation:
    return Relation(
        16384 + number, schema, name, "r", tuple(Column(column, n + 1, 25) for n, column in enumerate(columns))
    )


def _catalogue(file: Path) -> Catalogue:
    try:
        tables = json.loads(_read(file))
        relations = tuple(
            _relation(number, *_two(name), [str(column) for column in columns])
            for number, (name, columns) in enumerate(tables.items())
        )
    except (ValueError, AttributeError, TypeError):
        raise ConfigError(
            f"{file}: this is not a catalogue", hint='write JSON: {"schema.table": ["column", ...], ...}'
        ) from None
    return Catalogue(relations, schemas=frozenset({"pg_catalog", "public", *(r.schema for r in relations)}))


def _two(name: str) -> tuple[str, str]:
    schema, dot, table = name.partition(".")
    if not dot or not schema or not table:
        raise ValueError(name)
    return schema, table


def _identity(
    settings: Config,
    subject: str,
    kind: Kind,
    groups: tuple[str, ...],
    claims: tuple[str, ...],
    issuer: str,
    assurance: Assurance,
    principal: str,
    principal_groups: tuple[str, ...],
) -> Identity:
    issuer = issuer or settings.issuers[0].url
    person = None
    if principal:
        person = Identity(principal, Kind.HUMAN, issuer, frozenset(principal_groups), assurance=assurance)
    if principal_groups and person is None:
        raise ConfigError("--on-behalf-of-group says nothing without --on-behalf-of")
    held: dict[str, str] = {}
    for claim in claims:
        name, equals, value = claim.partition("=")
        if not equals:
            raise ConfigError(f"--claim {claim!r} is not NAME=VALUE")
        held[name] = value
    return Identity(subject, kind, issuer, frozenset(groups), held, on_behalf_of=person, assurance=assurance)


def _moment(at: str) -> int:
    if not at:
        return int(time.time() * 1000)
    try:
        return int(datetime.fromisoformat(at).astimezone().timestamp() * 1000)
    except ValueError:
        raise ConfigError(f"--at {at!r} is no time", hint="write it as 2027-01-31T17:00:00Z") from None


def _address(client: str) -> str:
    try:
        return str(ipaddress.ip_address(client))
    except ValueError:
        raise ConfigError(f"--client {client!r} is no IP address") from None


def _read(file: Path) -> str:
    try:
        return file.read_text(encoding="utf-8")
    except OSError as error:
        raise ConfigError(f"{file}:1: cannot be read ({error.strerror})", hint="check the path") from None
    except UnicodeDecodeError:
        raise ConfigError(f"{file}:1: this is not UTF-8") from None


def _warnings(loaded: policy.PolicySet, settings: Config) -> Iterable[str]:
    """What is allowed, and probably not meant: names that nothing has."""
    labels = {label for target in settings.targets.values() for label in target.labels.values()}
    if settings.masking.column_names == "mask":
        labels |= LABELS
    labels -= {NONE}
    labels |= {detector.label for detector in DETECTORS} | settings.detectors.labels
    named: Mapping[str, Iterable[str]] = {"Target": settings.targets, "Label": labels}
    for kind, there in named.items():
        for name in sorted(loaded.mentions(kind) - set(there)):
            if name:
                yield f'{kind}::"{name}" is in policies, and in nothing that is configured'
    for kind in ("Database", "Schema", "Table", "Function", "Setting"):
        for name in sorted(loaded.mentions(kind)):
            if name.partition(".")[0] not in settings.targets:
                yield f'{kind}::"{name}" is below no target that is configured'


def _fault(line: str) -> dict[str, Any]:
    match = re.match(r"(.+?):(\d+): (.*)", line)
    if match is None:
        return {"file": "", "line": 0, "message": line}
    return {"file": match[1], "line": int(match[2]), "message": match[3]}


def _count(number: int, one: str, more: str) -> str:
    return f"{number} {one if number == 1 else more}"
