"""Policy text in, a checked and pre-parsed set of policies out.

`load` is all or nothing: a set exists only if every policy in every file parses, fits `schema.cedarschema`, carries a
unique `@id` and carries no annotation that Doorward does not know. Each complaint is one line,
`file:line: what is wrong`, and all are reported at once. Cedar's parser gives no positions, so the text is first cut
into policies at each `;` (outside strings and comments) and each is parsed alone; afterwards the whole is compared with
the pieces, so that a disagreement about where a policy ends is an error and never a policy that was not looked at.

Annotations: `@id("name")` names the policy in every record. `@reason("text")` is shown to those whom it stops.
`@quorum("2")` or `@quorum("dba:1, security:1")`, `@expires("15m")` and `@approvers("dba,security")` say what it takes to
release a hold, `@grantable("1h")` that people may agree to more than one statement in advance, for so long at most, and
`@break_glass("30m")` that whoever is held may go on without them, for so long at most. These are errors on a policy that
does not read `context.approved`, where they would promise a hold that never happens. `@budget("500")` on a permit for
`infer` says how many answers an hour that is; anywhere else it would bound nothing, and is an error.
`@transform("ssn=partial, card=null")` says what becomes of confidential values under what the policy permits; it is an
error on a policy that permits no operation.

Deliberately not here: reading files (the caller does), deciding (`decide`). Cedar's templates are refused: a policy
whose principal is filled in from elsewhere cannot be reviewed where it stands.
Source: Cedar policy language, https://docs.cedarpolicy.com/policies/syntax-policy.html.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from dataclasses import fields as fields_of
from importlib.resources import files
from typing import Any

import cedarpy
from cedarpy import pst

from doorward.errors import ConfigError
from doorward.model import TRANSFORMS, Effect

SCHEMA_TEXT = files("doorward.policy").joinpath("schema.cedarschema").read_text(encoding="utf-8")
SCHEMA = cedarpy.Schema.from_str(SCHEMA_TEXT)

_IN_TARGET = ("Target", "Database", "Schema", "Table", "Function", "Setting")
# What each action is about, as in schema.cedarschema.
ACTIONS: Mapping[str, tuple[str, ...]] = {
    "connect": ("Target",),
    **{effect.value: _IN_TARGET for effect in Effect},
    "unmask": ("Label",),
    "infer": ("Label",),
    "approve": ("Approval",),
    "replay": ("Recording",),
    "export": ("Recording",),
    "administer": ("Target", "Gateway"),
}
DEFAULT_EXPIRY = 900
ANNOTATIONS = ("id", "reason", "quorum", "expires", "approvers", "grantable", "break_glass", "budget", "transform")
_HOLDING = ("quorum", "expires", "approvers", "grantable", "break_glass")
LONGEST_GRANT = 24 * 3600  # seconds
LONGEST_BREAK_GLASS = 3600
_MOST_BYTES = 1 << 20  # of one file
_MOST_POLICIES = 10_000
# Cedar's parser recurses, and a text nested some hundred deep ends the whole process with SIGSEGV (cedarpy 4.12). A
# chain of operators nests as brackets do. Cedar itself takes no more than 100 levels once it has parsed.
_DEEPEST = 50
_MOST_JOINTS = 600
_JOINTS = frozenset({".", "&", "|", "+", "-", "*", "!", "<", ">", "if", "else"})

_TOKEN = re.compile(r'\s+|//[^\r\n]*|"(?:\\.|[^"\\])*"|\w+|.', re.DOTALL)
_ID = re.compile(r"[A-Za-z0-9][A-Za-z0-9._:/-]{0,63}")
_EXPIRES = re.compile(r"([1-9][0-9]{0,5})([smhd])")
_TRANSFORM = re.compile(r"\s*([a-z][a-z0-9_-]{0,31})\s*=\s*(\w+)\s*")
_SECONDS = {"s": 1, "m": 60, "h": 3600, "d": 86400}
_LONGEST_EXPIRY = 7 * 86400
_MOST_VOTES = 16
_SEAT = re.compile(r"\s*([^\s:,][^:,]{0,255}?)\s*:\s*([1-9][0-9]?)\s*")
_BUDGET = re.compile(r"[1-9][0-9]{0,8}")


@dataclass(frozen=True, slots=True)
class Rule:
    """One policy, as its annotations and its text say.

    `effect` is permit or forbid. `expires`, `grantable` and `break_glass` are seconds, `budget` answers an hour. These and
    `quorum` are None, and `approvers` is empty, where the annotation is absent.
    `reads` are the attributes of `context` that the policy reads; `"*"` stands for all.
    """

    id: str
    file: str
    line: int
    effect: str
    text: str
    reason: str = ""
    quorum: int | None = None
    expires: int | None = None
    approvers: tuple[str, ...] = ()
    seats: Mapping[str, int] = field(default_factory=dict)  # by group, how many of `quorum` must be of it
    budget: int | None = None
    grantable: int | None = None
    break_glass: int | None = None
    reads: frozenset[str] = frozenset()
    transforms: Mapping[str, str] = field(default_factory=dict)  # by label
    template: Any = field(default=None, repr=False, compare=False)  # Cedar's own tree of it


@dataclass(frozen=True, slots=True)
class Compiled:
    """A set of policies that Cedar has parsed, and their ids in the order in which Cedar numbers them."""

    handle: Any
    ids: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class PolicySet:
    """Every policy in force. `hash` (hex SHA-256) covers the texts, the schema and `expiry`; decisions and records
    carry it. `expiry` is how many seconds a request for approval waits where no policy says `@expires`; `transforms` is what
    becomes of each label where no policy says `@transform`; `overriding`: whether some policy does."""

    rules: Mapping[str, Rule]
    hash: str
    expiry: int
    every: Compiled
    naming_unknown: Compiled  # all forbids, and of the permits only those whose scope names the action `unknown`
    transforms: Mapping[str, str]
    overriding: bool
    read: Mapping[str, frozenset[str]]  # by action, the attributes of `context` that policies read; "*" stands for all

    @property
    def ids(self) -> tuple[str, ...]:
        """The ids of all policies, in the order of the files and of the text."""
        return self.every.ids

    def reads(self, attribute: str, action: str) -> bool:
        """Whether any policy about an action reads `context.<attribute>`."""
        read = self.read.get(action, frozenset())
        return attribute in read or "*" in read

    def mentions(self, kind: str) -> frozenset[str]:
        """The ids of every entity of one type that any policy names: `mentions("Target")`."""
        return frozenset(
            uid.id
            for rule in self.rules.values()
            for uid in pst.entity_uids(rule.template)
            if uid.type.basename == kind and not uid.type.namespace
        )

    def approvers(self, target: str) -> tuple[str, ...]:
        """The groups whose members may `approve` on a target, for people to read. Empty: no group says it all, because
        some policy lets people approve by name or by condition alone. `decide.may_vote` checks a vote, not this."""
        groups: set[str] = set()
        for rule in self.rules.values():
            template = rule.template
            if rule.effect != "permit" or not (
                _covers_action(template.action, "approve") and _covers_target(template.resource, target)
            ):
                continue
            principal = template.principal
            if isinstance(principal, pst.ScopeIn | pst.ScopeIsIn) and isinstance(principal.entity, pst.EntityUid) and (
                principal.entity.type.basename == "Group"
            ):
                groups.add(principal.entity.id)
            else:
                return ()
        return tuple(sorted(groups))


@dataclass(frozen=True, slots=True)
class _Piece:
    """The text of one policy and where it stands. `offset` is of its first token that is no comment."""

    file: str
    source: str
    start: int
    end: int

    @property
    def text(self) -> str:
        return self.source[self.start : self.end]

    def line(self, offset: int) -> int:
        """The 1-based line of an offset into `text`."""
        return self.source.count("\n", 0, self.start + offset) + 1


def load(
    sources: Mapping[str, str],
    *,
    expiry: int = DEFAULT_EXPIRY,
    transforms: Mapping[str, str] = {},
    objection: Callable[[str, str], str] = lambda label, transform: "",
) -> PolicySet:
    """Parse and check policies. `sources` maps a file's name (for messages) to its text; `expiry` is in seconds;
    `transforms` are the configured ones; `objection` says why a label cannot have a transform, or "".

    No policies at all is a valid set, which denies everything. Raises ConfigError, one line for each fault.
    """
    wrong: list[str] = []
    rules: dict[str, Rule] = {}
    for name in sorted(sources):
        text = sources[name]
        if len(text) > _MOST_BYTES:
            wrong.append(f"{name}:1: the file is longer than {_MOST_BYTES} characters")
            continue
        if "\x00" in text:
            wrong.append(f"{name}:{text.count(chr(10), 0, text.index(chr(0))) + 1}: a NUL character")
            continue
        for piece in _pieces(name, text):
            try:
                rule = _rule(piece, objection)
            except _FaultyPolicyError as fault:
                wrong.extend(fault.lines)
                continue
            if rule.id in rules:
                first = rules[rule.id]
                taken = f"{first.file}:{first.line}"
                wrong.append(f'{name}:{rule.line}: @id("{rule.id}") is taken by the policy at {taken}')
                continue
            rules[rule.id] = rule
    if len(rules) > _MOST_POLICIES:
        wrong.append(f"{max(sources)}:1: more than {_MOST_POLICIES} policies")
    wrong.extend(_misfits(rules))
    if wrong:
        raise ConfigError(
            "\n".join(wrong), hint="nothing was changed; mend the lines named, then try `doorward policy check`"
        )
    naming = [r for r in rules.values() if r.effect == "forbid" or _names_action(r.template.action, "unknown")]
    return PolicySet(
        rules=rules,
        hash=_hash(sources, expiry, transforms),
        expiry=expiry,
        transforms=dict(transforms),
        overriding=any(rule.transforms for rule in rules.values()),
        every=_compile(list(rules.values())),
        naming_unknown=_compile(naming),
        read={
            action: frozenset().union(*(r.reads for r in rules.values() if _covers_action(r.template.action, action)))
            for action in ACTIONS
        },
    )


def _hash(sources: Mapping[str, str], expiry: int, transforms: Mapping[str, str]) -> str:
    digest = hashlib.sha256(b"doorward/policy/v1\x00")
    configured = ",".join(f"{label}={name}" for label, name in sorted(transforms.items()))
    for text in (SCHEMA_TEXT, str(expiry), configured, *(sources[name] for name in sorted(sources))):
        raw = text.encode("utf-8", "surrogatepass")
        digest.update(len(raw).to_bytes(8, "big"))
        digest.update(raw)
    return digest.hexdigest()


def _compile(rules: list[Rule]) -> Compiled:
    """One handle for many policies. Cedar numbers policies by their place in the text; if its numbering is not ours,
    then it cut the text elsewhere, and no set is made."""
    handle = cedarpy.PolicySet.from_str("\n".join(rule.text for rule in rules))
    ids = tuple(rule.id for rule in rules)
    theirs = handle.to_pst()
    if theirs.templates or {key: t.annotations.get("id") for key, t in theirs.static_policies.items()} != {
        f"policy{n}": name for n, name in enumerate(ids)
    }:
        raise ConfigError("the policies read differently together than one by one", hint="look for an odd character")
    return Compiled(handle, ids)


class _FaultyPolicyError(Exception):
    def __init__(self, *lines: str) -> None:
        super().__init__(*lines)
        self.lines = lines


def _pieces(name: str, text: str) -> Iterator[_Piece]:
    start: int | None = None
    for token in _TOKEN.finditer(text):
        said = token.group()
        if start is None:
            if said.isspace() or said.startswith("//"):
                continue
            start = token.start()
        if said == ";":
            yield _Piece(name, text, start, token.end())
            start = None
    if start is not None:
        yield _Piece(name, text, start, len(text))


def _rule(piece: _Piece, objection: Callable[[str, str], str]) -> Rule:
    at = f"{piece.file}:{piece.line(0)}"
    _check_depth(piece)
    try:
        handle = cedarpy.PolicySet.from_str(piece.text)
        tree = handle.to_pst()
    except ValueError as error:
        raise _FaultyPolicyError(_syntax(piece, str(error))) from None
    if tree.templates:
        raise _FaultyPolicyError(f"{at}: a template (?principal, ?resource) is not allowed: write the policy out")
    if len(tree.static_policies) != 1:
        raise _FaultyPolicyError(f"{at}: expected one policy up to the `;`")
    (template,) = tree.static_policies.values()
    notes: Mapping[str, str] = template.annotations
    reads = frozenset(_reads(template.clauses))
    wrong: list[str] = []

    def complain(key: str, what: str) -> None:
        found = re.search(rf"@\s*{re.escape(key)}\b", piece.text)
        wrong.append(f"{piece.file}:{piece.line(found.start() if found else 0)}: {what}")

    for key in notes:
        if key not in ANNOTATIONS:
            complain(key, f"unknown annotation @{key}; known are {', '.join('@' + a for a in ANNOTATIONS)}")
    for key in _HOLDING:
        if key in notes and not reads & {"approved", "*"}:
            complain(key, f"@{key} on a policy that never holds: add `when {{ context.approved }}`, or drop @{key}")
    name = notes.get("id", "")
    if "id" not in notes:
        wrong.append(f'{at}: the policy has no @id("name"); records name policies by it')
    elif not _ID.fullmatch(name):
        complain("id", "@id must be 1 to 64 letters, digits and ._:/- and begin with a letter or digit")
    quorum = budget = None
    approvers: tuple[str, ...] = ()
    seats: dict[str, int] = {}
    if "quorum" in notes:
        for part in notes["quorum"].split(",") if ":" in notes["quorum"] else ():
            seat = _SEAT.fullmatch(part)
            if seat is not None:
                seats[seat[1]] = seats.get(seat[1], 0) + int(seat[2])
            else:
                seats = {"": _MOST_VOTES + 1}
                break
        if seats and sum(seats.values()) <= _MOST_VOTES:
            quorum = sum(seats.values())
        elif re.fullmatch(r"[1-9][0-9]?", notes["quorum"]) and int(notes["quorum"]) <= _MOST_VOTES:
            quorum = int(notes["quorum"])
        else:
            complain(
                "quorum",
                f'@quorum must be a number of people from 1 to {_MOST_VOTES}, as in @quorum("2"), or say how many of which '
                'group, as in @quorum("dba:1, security:1")',
            )

    def lasting(key: str, longest: int, said: str) -> int | None:
        if key not in notes:
            return None
        match = _EXPIRES.fullmatch(notes[key])
        seconds = int(match[1]) * _SECONDS[match[2]] if match else 0
        if not 0 < seconds <= longest:
            complain(key, f"@{key} must be a time of at most {said}")
        return seconds

    expires = lasting("expires", _LONGEST_EXPIRY, '7 days, as in @expires("15m"), "90s" or "1h"')
    grantable = lasting("grantable", LONGEST_GRANT, '24 hours, as in @grantable("1h")')
    break_glass = lasting("break_glass", LONGEST_BREAK_GLASS, '60 minutes, as in @break_glass("30m")')
    if "approvers" in notes:
        approvers = tuple(sorted({group.strip() for group in notes["approvers"].split(",")}))
        if "" in approvers:
            complain("approvers", '@approvers must be names of groups, as in @approvers("dba,security")')
    if seats and not approvers:
        approvers = tuple(sorted(seats))
    elif seats and not set(seats) <= set(approvers):
        complain("quorum", "@quorum asks for people of a group that @approvers leaves out")
    if "budget" in notes:
        if template.effect != "permit" or not (
            isinstance(template.action, pst.ActionEq) and _names_action(template.action, "infer")
        ):
            complain("budget", '@budget is for a permit of Action::"infer" alone: nothing else is counted')
        elif _BUDGET.fullmatch(notes["budget"]):
            budget = int(notes["budget"])
        else:
            complain("budget", '@budget must be a number of answers an hour, as in @budget("500")')
    transforms: dict[str, str] = {}
    if "transform" in notes:
        if template.effect != "permit" or not any(_covers_action(template.action, effect.value) for effect in Effect):
            complain("transform", "@transform on a policy that permits no operation: nothing would be masked by it")
        for part in notes["transform"].split(","):
            pair = _TRANSFORM.fullmatch(part)
            if pair is None or pair[1] in transforms:
                complain("transform", '@transform must name each label once, as in @transform("ssn=partial, card=null")')
            elif pair[2] not in TRANSFORMS:
                complain("transform", f"@transform: no transform is named {pair[2]}; there are {', '.join(TRANSFORMS)}")
            elif why := objection(pair[1], pair[2]):
                complain("transform", f"@transform: {why}")
            else:
                transforms[pair[1]] = pair[2]
    if len(notes.get("reason", "")) > 200 or not notes.get("reason", "").isprintable():
        complain("reason", "@reason must be one printable line of at most 200 characters")
    if wrong:
        raise _FaultyPolicyError(*wrong)
    return Rule(
        id=name, file=piece.file, line=piece.line(0), effect=template.effect, text=piece.text,
        reason=notes.get("reason", ""), quorum=quorum, expires=expires, approvers=approvers, seats=seats, budget=budget,
        grantable=grantable, break_glass=break_glass, reads=reads, transforms=transforms,
        template=template,
    )  # fmt: skip


def _check_depth(piece: _Piece) -> None:
    depth = joints = 0
    for token in _TOKEN.finditer(piece.text):
        said = token.group()
        depth += (said in "([{") - (said in ")]}")
        joints += said in _JOINTS
        if depth > _DEEPEST or joints > _MOST_JOINTS:
            raise _FaultyPolicyError(
                f"{piece.file}:{piece.line(token.start())}: the policy is nested too deeply or too long; cut it into several"
            )


def _syntax(piece: _Piece, said: str) -> str:
    """Where the parser stopped. It does not say; so look for the shortest beginning of the policy that it gives up on
    for another reason than that the text ends."""
    ends = [token.end() for token in _TOKEN.finditer(piece.text)]
    low, high = 0, len(ends) - 1
    while low < high:
        middle = (low + high) // 2
        try:
            cedarpy.PolicySet.from_str(piece.text[: ends[middle]])
            viable = True
        except ValueError as error:
            viable = "end of input" in str(error)
        low, high = (middle + 1, high) if viable else (low, middle)
    spot = ends[low] - 1
    named = re.search(r"`([^`]+)`|: (\S+)$", said)
    if named:  # the parser may look one token further than the one that it names
        spot = max(piece.text.rfind(named[1] or named[2], 0, ends[low]), 0) or spot
    if "end of input" in said:
        said = "the policy ends too early; is there a `;` after it?"
    return f"{piece.file}:{piece.line(spot)}: {said}"


def _misfits(rules: Mapping[str, Rule]) -> list[str]:
    """What the schema has against policies that parse."""
    listed = list(rules.values())
    result = cedarpy.validate_policies("\n".join(rule.text for rule in listed), SCHEMA)
    lines: list[str] = []
    for error in result.errors:
        number = error.policy_id.removeprefix("policy")
        if number.isdigit() and int(number) < len(listed):
            rule = listed[int(number)]
            said = error.error.removeprefix(f"for policy `{error.policy_id}`, ")
            said = re.sub(r" in context for Action::\".*?\" not found", " is not in context", said)  # not per action
            line = f"{rule.file}:{rule.line}: policy {rule.id}: {said}"
        else:
            line = f"policies: {error.error}"
        if line not in lines:
            lines.append(line)
    if not result.validation_passed and not lines:
        lines.append("policies: refused by the schema without a reason")
    return lines


def _reads(clauses: Any) -> Iterator[str]:
    """The attributes of `context` that an expression reads; "*" where it takes the context whole."""
    stack: list[Any] = [clauses]
    while stack:
        node = stack.pop()
        if isinstance(node, pst.GetAttr) and node.base == pst.Var("context"):
            yield node.attr
        elif isinstance(node, pst.HasAttr) and node.base == pst.Var("context"):
            yield node.attrs[0]
        elif node == pst.Var("context"):
            yield "*"
        elif isinstance(node, tuple):
            stack.extend(node)
        elif isinstance(node, Mapping):
            stack.extend(node.values())
        elif hasattr(node, "__dataclass_fields__"):
            stack.extend(getattr(node, f.name) for f in fields_of(node))


def _names_action(scope: Any, action: str) -> bool:
    if isinstance(scope, pst.ActionEq):
        return bool(scope.entity.id == action)
    return isinstance(scope, pst.ActionIn) and any(entity.id == action for entity in scope.entities)


def _covers_action(scope: Any, action: str) -> bool:
    return isinstance(scope, pst.ScopeAny) or _names_action(scope, action)


def _covers_target(scope: Any, target: str) -> bool:
    """Whether a resource scope can hold an Approval of a target."""
    if isinstance(scope, pst.ScopeIn | pst.ScopeIsIn) and isinstance(scope.entity, pst.EntityUid):
        return scope.entity.type.basename == "Gateway" or (
            scope.entity.type.basename == "Target" and scope.entity.id == target
        )
    if isinstance(scope, pst.ScopeIs):
        return bool(scope.entity_type.basename == "Approval")
    return isinstance(scope, pst.ScopeAny)
