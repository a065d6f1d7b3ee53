"""From statement text to Template: classification under this session's facts, kept for as long as the facts hold.

A template is cached under the exact bytes and a *version* that stands for everything else its meaning depends on: the
catalogue, search_path, role, temporary relations, and what this transaction changed. Texts that name a prepared statement
or cursor are judged anew whenever those names change.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Final, Protocol

from doorward.errors import ProtocolError
from doorward.guard.template import Template
from doorward.masking.detect import Detectors
from doorward.masking.statement import mask_statement
from doorward.model import Effect, Resource, identifiers
from doorward.protocols.postgres.normal import is_normal, numbered
from doorward.protocols.postgres.wire import Column
from doorward.sql.catalogue import Catalogue, Relation
from doorward.sql.classification import Classification, Facts, Statement
from doorward.sql.classify import classify
from doorward.sql.parse import fingerprint

MAX_TEMPLATES: Final = 512  # texts a session keeps judged; the rest are judged again when they return
MAX_KEPT: Final = 8 << 20  # bytes of their texts
QUICK_KINDS: Final = frozenset(
    {"SELECT", "INSERT", "UPDATE", "DELETE", "MERGE", "VALUES", "TABLE", "SHOW", "FETCH", "MOVE", "CLOSE"}
)

MAX_DEPTH: Final = 8  # prepared statements that execute prepared statements


def _relation(catalogue: Catalogue, name: str) -> Relation | None:
    """The relation that a Resource names; None as well for one whose schema nobody could tell."""
    try:
        path = identifiers(name)
    except ValueError:
        return None
    return catalogue.find(*path) if len(path) == 2 else None


def _strings(text: str) -> list[str]:
    """A JSON array of strings from the target. ProtocolError for anything else."""
    try:
        found = json.loads(text)
    except (ValueError, RecursionError):
        found = None
    if not isinstance(found, list) or not all(isinstance(name, str) for name in found):
        raise ProtocolError("the target did not say which role and search_path are in force")
    return found


class CatalogueSource(Protocol):
    """Where the current catalogue of the target is found, and the labels of its columns; another session's DDL may replace
    both at any time."""

    @property
    def catalogue(self) -> Catalogue: ...
    @property
    def labels(self) -> Mapping[str, str]: ...

    @property
    def copied(self) -> Mapping[str, frozenset[str]]:
        """What labels other columns have than those that the configuration names (`Facts.copied`)."""


class Names(Protocol):
    """What EXECUTE and FETCH look up; `version` moves when any of them could mean something else."""

    @property
    def version(self) -> int: ...
    def prepared(self, name: str) -> Classification | None: ...
    def cursor(self, name: str) -> Classification | None: ...


class PgTemplate(Template):
    """A judged PostgreSQL statement text."""

    __slots__ = (
        "barrier",
        "classification",
        "copies_in",
        "copies_out",
        "last",
        "listens",
        "misses",
        "named",
        "names_version",
        "opaque",
        "plain",
        "reads",
        "redactors",
        "shapes",
        "sqlstate",
        "statements",
        "version",
    )

    def __init__(
        self,
        classification: Classification,
        exact: bytes,
        shown: str,
        version: int,
        names_version: int,
        role: str,
        search_path: str,
        definitions: str = "",
        *,
        detectors: Detectors,
    ) -> None:
        statements = classification.statements
        forbidden, reason = classification.forbidden, classification.reason
        if reason or forbidden:  # both may quote the text
            if shown.encode("utf-8", "replace") != exact:
                reason = reason.partition(" at or near ")[0]
            forbidden = mask_statement(forbidden, detectors=detectors)[0]
            reason = mask_statement(reason, detectors=detectors)[0]
        super().__init__(
            action="; ".join(statement.tag for statement in statements[:20]) or "EMPTY",
            effect=classification.effect,
            shown=shown,
            exact=exact,
            resources=classification.resources or (Resource("Target", "", classification.effect),),
            labels=classification.labels,
            inferred=classification.inferred,
            reason=reason,
            forbidden=forbidden,
            refused_as="unclassifiable" if classification.effect is Effect.UNKNOWN else "denied",
            role=role,
            search_path=search_path,
            definitions=definitions,
            copies=frozenset().union(*(statement.copies for statement in statements)),
            escapes=tuple(escape for statement in statements for escape in statement.escapes),
        )
        self.classification = classification
        self.statements: tuple[Statement, ...] = statements
        self.version = version
        self.misses: tuple[str, ...] = tuple(classification.misses)
        self.sqlstate = "42601" if classification.position >= 0 else ""
        if classification.misses and not self.sqlstate:
            self.sqlstate = "42883" if reason.startswith("function ") else "42P01"
        self.named = any(s.executes is not None or s.fetches is not None for s in statements)
        self.names_version = names_version
        self.copies_out = any(s.copy is not None and s.copy.direction == "out" for s in statements)
        self.listens = any(s.tag == "LISTEN" for s in statements)
        self.copies_in = any(s.copy is not None and s.copy.direction == "in" for s in statements)
        # It runs code that nobody can follow; it shows what such code may have left in a setting.
        self.opaque = any(s.opaque for s in statements) or bool(reason)
        self.reads = any(s.reads for s in statements)
        # After a barrier nothing is judged until the server has answered: the facts may change with that answer.
        self.barrier = (
            self.copies_in
            or classification.effect not in (Effect.READ, Effect.WRITE)
            or any(
                s.changes_session
                or s.stirs
                or s.prepares is not None
                or s.declares is not None
                or s.deallocates is not None
                or s.closes is not None
                or s.defines
                or s.executes is not None
                for s in statements
            )
        )
        # One query that changes nothing for what comes after it: what may be taken as a whole batch (plain.py).
        self.plain = (
            classification.effect is Effect.READ
            and [s.tag for s in statements] == ["SELECT"]
            and not (self.barrier or self.named or self.misses or reason or forbidden)
            and statements[0].copy is None
            and not statements[0].transaction
            and not (classification.inferred or self.copies or self.escapes)  # these are more than judged
        )
        self.redactors: dict[object, object] = {}
        self.shapes: dict[int, tuple[bytes, tuple[Column, ...]]] = {}  # by statement: RowDescription, and what it says
        # Shape and redactor that served last, by statement and by what the decision says of labels.
        self.last: dict[tuple[int, frozenset[str], tuple[tuple[str, str], ...]], tuple[object, object]] = {}

    def likeness(self) -> str:
        """libpg_query's fingerprint, which people may compare and nothing is decided by."""
        return fingerprint(self.exact.decode("utf-8", "replace"))

    def fixed_by_bind(self, tags: frozenset[str]) -> bool:
        """Whether the server looks its names up at Bind, and not again."""
        return len(self.statements) == 1 and self.statements[0].tag in tags


class Judge:
    """Templates for one session. `role` and `search_path` are what the server last said they are."""

    def __init__(
        self,
        source: CatalogueSource,
        *,
        max_statement: int,
        detectors: Detectors,
        pinned: frozenset[str] = frozenset(),
    ) -> None:
        self.detectors = detectors  # what masks the texts that are kept
        self._source = source
        self._pinned = pinned
        self._labels = source.labels
        self.labels = frozenset(self._labels.values())  # every label of this target
        self.most = max_statement
        self._catalogue = source.catalogue
        self._copied = source.copied
        self._templates: dict[bytes, PgTemplate] = {}
        self._kept = 0  # bytes of the texts in there, or more
        self._normal: dict[bytes, PgTemplate] = {}
        self.version = 0
        self._depth = 0
        self.unsettled = False  # the end of the open transaction may change search_path
        self.stirred = 0  # the version since which settings may hold what code has put there; 0: they do not
        self.role = ""
        self.search_path: tuple[str, ...] = ("pg_catalog", "public")
        self.temporary: frozenset[str] = frozenset()
        self.changed: frozenset[tuple[str, str]] = frozenset()

    @property
    def has_functions(self) -> bool:
        """Whether this target has functions of its own, or may have since its open transaction began."""
        return bool(self._source.catalogue.functions or self.changed)

    def look(self, *, role: str, search_path: tuple[str, ...], temporary: frozenset[str]) -> None:
        """Take over what the server said of this session; judged texts stay good only if nothing moved."""
        if (role, search_path, temporary) != (self.role, self.search_path, self.temporary):
            self.role, self.search_path, self.temporary = role, search_path, temporary
            self.version += 1

    def learn(self, rows: Sequence[Sequence[bytes | None]]) -> None:
        """Take over the server's answer to the conversation's look at the session.

        Raises ProtocolError when the answer is not one, or when the session's role is no longer the one that the gateway
        logged in with: a function that was permitted may have changed it, and everything judged so far judged another.
        """
        if len(rows) != 1 or len(rows[0]) != 6:
            raise ProtocolError("the target did not say which role and search_path are in force")
        role, login, path, temporary, _, _ = ((value or b"").decode("utf-8", "replace") for value in rows[0])
        schemas, names = _strings(path), _strings(temporary or "[]")
        if role != login or (self.role and role != self.role):
            raise ProtocolError("the role of this session changed at the target; it cannot go on under another one")
        self.look(role=role, search_path=tuple(schemas), temporary=frozenset(names))

    def settle(self, *, unsettled: bool) -> None:
        """Whether settings were changed in the open transaction."""
        if unsettled != self.unsettled:
            self.unsettled = unsettled
            self.version += 1

    def stir(self) -> None:
        """Code runs that nobody can follow. From now on a setting may hold anything that the target has."""
        if not self.stirred:
            self.version += 1
            self.stirred = self.version

    def clear(self) -> None:
        """Every setting is what it was when the session began."""
        if self.stirred:
            self.stirred = 0
            self.version += 1

    def outdated(self, template: PgTemplate) -> bool:
        """Whether a text was judged when settings held what the client had said, and now they may hold anything."""
        return template.reads and not template.opaque and template.version < self.stirred

    def inner(self, outer: PgTemplate, classification: Classification) -> PgTemplate:
        """The template behind a name that SQL itself made (PREPARE, DECLARE): judged as part of `outer`."""
        return PgTemplate(
            classification,
            outer.exact,
            outer.shown,
            self.version,
            outer.names_version,
            self.role,
            ",".join(self.search_path),
            self.definitions(classification.resources),
            detectors=self.detectors,
        )

    def definitions(self, resources: Sequence[Resource]) -> str:
        """What stands behind these names now, as far as the newest catalogue knows: a hash over all functions, views and
        triggers, and the identity of each relation. An approval is bound to it."""
        catalogue = self._source.catalogue
        parts = [catalogue.definitions]
        for resource in resources:
            if resource.kind == "Table":
                found = _relation(catalogue, resource.name)
                parts.append(f"{resource.name}={found.oid if found is not None else '-'}")
        return ";".join(parts)

    def changed_now(self, names: frozenset[tuple[str, str]]) -> None:
        """These relations were made or altered in the open transaction; the catalogue cannot know them yet."""
        if names != self.changed:
            self.changed = names
            self.version += 1

    def _renew(self) -> None:
        """There is another catalogue: everything is judged anew."""
        self._catalogue, self._labels, self._copied = self._source.catalogue, self._source.labels, self._source.copied
        self.labels = frozenset(self._labels.values())
        self.version += 1

    def template(self, text: bytes, names: Names) -> PgTemplate:
        """The judged template of `text`, from the cache if everything it depends on still holds."""
        if self._moved():
            self._renew()
        found = self._templates.get(text)
        if (
            found is not None
            and found.version == self.version
            and (not found.named or found.names_version == names.version)
        ):
            return found
        made = self._judge(text, names)
        self._store(text, made)
        return made

    def kept(self, text: bytes) -> PgTemplate | None:
        """The template of `text`, if there is one and the facts it was judged under still hold. Nothing is judged."""
        found = self._templates.get(text)
        if found is None or found.version != self.version or self._moved():
            return None
        return found

    def normal(self, text: bytes, names: Names) -> tuple[PgTemplate, tuple[bytes, ...]] | None:
        """The template that this text shares with others that differ only in numbers, and its numbers; None: there is
        none yet, or the text is not of that kind."""
        found = numbered(text)
        # What is confidential may show only in the whole: `ssn = 457555462`, `457-55-5462`.
        if found is None or self.detectors.hit(text):
            return None
        key, numbers = found
        if self._moved():
            self._renew()
        template = self._normal.get(key)
        if template is None or template.version != self.version:
            if not is_normal(text):
                return None
            exact = self._judge(text, names)
            if (
                exact.misses or exact.named or exact.barrier or exact.reason or exact.forbidden
                or exact.classification.fixed
            ):  # fmt: skip
                return None
            template = PgTemplate(
                exact.classification,
                key,
                mask_statement(key.decode(), detectors=self.detectors)[0],
                self.version,
                exact.names_version,
                exact.role,
                exact.search_path,
                exact.definitions,
                detectors=self.detectors,
            )
            if len(self._normal) >= MAX_TEMPLATES:
                self._normal.clear()
            self._normal[key] = template
        return template, numbers

    def asked(self, text: bytes, names: Names) -> tuple[str, Facts] | None:
        """What somebody else needs to judge a text in our place; None if it is no text at all."""
        if self._moved():  # or what is said by the old catalogue would be asked about for ever
            self._renew()
        try:
            return text.decode("utf-8"), self._facts(names)
        except UnicodeDecodeError:
            return None

    def keep(self, text: bytes, facts: Facts, classification: Classification, shown: str, names: Names) -> None:
        """Take over a verdict that was made elsewhere under `facts`, if they still hold."""
        if replace(facts, namespace=None) == replace(self._facts(names), namespace=None):
            self._store(text, self._made(classification, text, shown, names))

    def _moved(self) -> bool:
        """Whether the target's catalogue, or where labelled data is, is another than what was judged by."""
        return self._source.catalogue is not self._catalogue or self._source.copied is not self._copied

    def _facts(self, names: Names) -> Facts:
        return Facts(
            catalogue=self._catalogue,
            search_path=self.search_path,
            labels=self._labels,
            copied=self._copied,
            namespace=names,
            temporary=self.temporary,
            changed=self.changed,
            unsettled=self.unsettled,
            opaque=bool(self.stirred),
            max_bytes=self.most,
            pinned=self._pinned,
        )

    def _judge(self, text: bytes, names: Names) -> PgTemplate:
        try:
            decoded = text.decode("utf-8")
        except UnicodeDecodeError:
            decoded = text.decode("utf-8", "replace")
            classification = Classification(effect=Effect.UNKNOWN, reason="the statement is not valid UTF-8")
        else:
            # A prepared statement may EXECUTE a prepared statement, itself included.
            self._depth += 1
            try:
                if self._depth > MAX_DEPTH:
                    classification = Classification(
                        effect=Effect.UNKNOWN, reason="prepared statements call each other too deeply"
                    )
                else:
                    classification = classify(decoded, self._facts(names))
            finally:
                self._depth -= 1
        return self._made(classification, text, mask_statement(decoded, detectors=self.detectors)[0], names)

    def _made(self, classification: Classification, text: bytes, shown: str, names: Names) -> PgTemplate:
        return PgTemplate(
            classification, text, shown, self.version, names.version, self.role, ",".join(self.search_path),
            self.definitions(classification.resources), detectors=self.detectors,
        )  # fmt: skip

    def _store(self, text: bytes, template: PgTemplate) -> None:
        if len(self._templates) >= MAX_TEMPLATES or self._kept + len(text) > MAX_KEPT:
            self._templates.clear()
            self._kept = 0
        self._templates[text] = template
        self._kept += len(text)
