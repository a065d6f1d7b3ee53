"""What of an answer the client may see: binds the masking plan to PostgreSQL's messages.

One instance a target. It knows the target's labels by column name and, through the catalogue, by what RowDescription says
(table OID and attribute number); the latter can add a mask and never takes one away. Redactors are compiled once for each
template, result shape, set of unmasked labels and transforms that policy says.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Final

from doorward.errors import ProtocolError
from doorward.masking.detect import Detectors
from doorward.masking.plan import Plan, ResultColumn, plan
from doorward.masking.transforms import Transforms
from doorward.protocols.postgres import wire
from doorward.protocols.postgres.judge import CatalogueSource, PgTemplate
from doorward.protocols.postgres.redact import RowRedactor
from doorward.protocols.postgres.redact_copy import MAX_LINE, CopyRedactor
from doorward.protocols.postgres.redact_fields import redact_fields, shown_text
from doorward.protocols.postgres.wire import Column
from doorward.sql.catalogue import Catalogue
from doorward.sql.parse import parse

MAX_SHAPES: Final = 64  # result shapes kept compiled with one template


_TABLES: Final = frozenset("rp")


def _of_one_row(text: bytes, number: int) -> bool:
    """Whether two columns of one table, in a row of this statement's result, are of one row of that table: it is a SELECT
    that names one relation, once, and no WITH. Joined to itself, or by RETURNING of old and new, a table shows two in one."""
    try:
        statement = parse(text.decode("utf-8"))[number]
    except (ValueError, IndexError):
        return False
    if statement.tag != "SelectStmt":
        return False
    relations = 0
    nodes: list[object] = [statement.body]
    while nodes:
        node = nodes.pop()
        if isinstance(node, dict):
            relations += "RangeVar" in node
            if relations > 1 or "withClause" in node or "CommonTableExpr" in node:
                return False
            nodes += node.values()
        elif isinstance(node, list):
            nodes += node
    return relations == 1


class PostgresMasks:
    """See `answers.Masks`."""

    def __init__(
        self,
        source: CatalogueSource,
        transforms: Transforms,
        detectors: Detectors,
        *,
        max_row: int,
        observe: bool = False,
    ) -> None:
        self._source = source
        self._transforms = transforms
        self._detectors = detectors
        self._max_row = max_row
        self._catalogue: Catalogue | None = None
        self._copied: Mapping[str, frozenset[str]] = {}
        self._stored: dict[tuple[int, int], str] = {}
        self._more: dict[tuple[int, int], frozenset[str]] = {}  # labels besides, of what labelled data was copied into
        self.observe = observe

    @property
    def active(self) -> bool:
        """Whether detectors look at every result."""
        return bool(self._detectors.detectors)

    def rows(
        self,
        template: PgTemplate,
        statement: int,
        shape: Sequence[Column],
        unmask: frozenset[str],
        transforms: tuple[tuple[str, str], ...] = (),
    ) -> RowRedactor:
        """A redactor for one result."""
        last = template.last.get((statement, unmask, transforms))
        if last is not None and last[0] is shape:
            assert isinstance(last[1], RowRedactor)
            return last[1]
        key = (statement, unmask, transforms, tuple(shape))
        compiled = template.redactors.get(key)
        if not isinstance(compiled, Plan):
            columns = tuple(
                ResultColumn(c.name.decode("utf-8", "replace"), c.table_oid, c.attnum, c.type_oid, c.format)
                for c in shape
            )
            compiled = self._plan(template, statement, columns, unmask, transforms)
            if len(template.redactors) >= MAX_SHAPES:
                template.redactors.clear()
            template.redactors[key] = compiled
        redactor = RowRedactor(compiled, self._max_row)
        template.last[statement, unmask, transforms] = (shape, redactor)
        return redactor

    def copy(
        self,
        template: PgTemplate,
        statement: int,
        columns: int,
        form: int,
        unmask: frozenset[str],
        transforms: tuple[tuple[str, str], ...] = (),
    ) -> CopyRedactor:
        """A redactor for one COPY OUT. Raises ProtocolError when that COPY cannot be masked."""
        said = template.statements[statement]
        assert said.copy is not None
        outputs = said.outputs
        names = [o.name for o in outputs] if outputs is not None and len(outputs) == columns else [""] * columns
        shape = tuple(ResultColumn(name, 0, 0, 0, form) for name in names)
        copy = said.copy
        try:
            return CopyRedactor(
                self._plan(template, statement, shape, unmask, transforms, bare=copy.stored),
                copy.format,
                delimiter=copy.delimiter or "",
                null=copy.null,
                header=copy.header,
                quote=copy.quote or "",
                escape=copy.escape or "",
                encoding=copy.encoding or "",
                max_line=min(self._max_row, MAX_LINE),
            )
        except ValueError as error:
            raise ProtocolError(str(error)) from error

    def copies(self, template: PgTemplate, unmask: frozenset[str]) -> str:
        """Why a COPY OUT of this text could not be masked, before anything runs; "" if it can."""
        for index, statement in enumerate(template.statements):
            copy = statement.copy
            if copy is not None and copy.direction == "out":
                columns = len(statement.outputs) if statement.outputs is not None else 1
                try:
                    self.copy(template, index, columns, 1 if copy.format == "binary" else 0, unmask)
                except ProtocolError as error:
                    return error.message
        return ""

    def strips(self, template: PgTemplate, unmask: frozenset[str]) -> bool:
        """Whether errors of this text are reduced to their SQLSTATE: they could quote what stays masked."""
        return bool(template.labels - unmask)

    def fields(self, payload: bytes, *, strip: bool) -> bytes:
        """The payload of an ErrorResponse or NoticeResponse as the client may see it."""
        if not strip and not self._detectors.hit(payload):
            return payload
        said = wire.parse_error(payload)
        shown = redact_fields(said, self._detectors, strip)
        return payload if shown == said else wire.error_fields(shown)[5:]

    def text(self, value: str) -> str:
        """Any other text that the target sends."""
        return shown_text(value, self._detectors)

    def _plan(
        self,
        template: PgTemplate,
        statement: int,
        columns: tuple[ResultColumn, ...],
        unmask: frozenset[str],
        transforms: tuple[tuple[str, str], ...],
        *,
        bare: bool = False,
    ) -> Plan:
        statements = template.statements
        if statement < len(statements):
            said = statements[statement]
            outputs = None if said.outputs is None else [output.sources for output in said.outputs]
            touched = said.labels
        else:  # more results than statements: nobody knows what this is
            outputs, touched = None, frozenset(self._source.labels.values()).union(*self._source.copied.values())
        provenance = self._provenance()
        if self._more:
            more = [self._more.get((column.table_oid, column.attnum), frozenset()) for column in columns]
            touched = touched.union(*more)
            if outputs is not None and len(outputs) == len(more):
                outputs = [labels | added for labels, added in zip(outputs, more, strict=True)]
        made = self._transforms.overridden(dict(transforms))
        subjects = self._subject if made.subjects and _of_one_row(template.exact, statement) else None
        return plan(outputs, columns, provenance, touched, unmask, made, self._detectors, bare=bare, subjects=subjects)

    def _subject(self, label: str, table_oid: int) -> int:
        """The attribute number of what says whose the dates of a label are; 0: this is no table, or has no such column."""
        relation = self._source.catalogue.by_oid(table_oid)
        if relation is None or relation.kind not in _TABLES:
            return 0  # a view may show two rows in one
        wanted = self._transforms.subjects.get(label)
        return next((column.attnum for column in relation.columns if column.name == wanted), 0)

    def _provenance(self) -> Callable[[int, int], str | None]:
        """The label of a stored column, by table OID and attribute number."""
        catalogue, copied = self._source.catalogue, self._source.copied
        if catalogue is not self._catalogue or copied is not self._copied:
            self._stored, self._more = {}, {}
            for column, label in self._source.labels.items():
                schema, relation, name = column.split(".", 2)
                found = catalogue.find(schema, relation)
                if found is not None:
                    for known in found.columns:
                        if known.name == name:
                            self._stored[found.oid, known.attnum] = label
            for column, labels in copied.items():
                schema, relation, name = column.split(".", 2)
                found = catalogue.find(schema, relation)
                for known in () if found is None else found.columns:
                    if known.name == name:
                        self._more[found.oid, known.attnum] = labels  # type: ignore[union-attr]  # it has columns
            self._catalogue, self._copied = catalogue, copied
        stored = self._stored
        return lambda oid, attnum: stored.get((oid, attnum))
