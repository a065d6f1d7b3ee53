"""Which statement text stands behind each name, at the server, right now.

Prepared statements share one namespace between the protocol (Parse) and SQL (PREPARE), and so do portals and cursors.
The gateway's picture is *projected*: it includes what was forwarded and not yet answered, and each such change can be
undone, because the server discards everything between an error and the next Sync. A verdict that followed the wrong
definition would be a bypass, so nothing here is ever guessed: what is not known here is refused, not forwarded.
"""

from __future__ import annotations

from typing import Final

from doorward.protocols.postgres.judge import PgTemplate
from doorward.protocols.postgres.wire import Column

MAX_NAMES: Final = 10_000  # prepared statements or portals a session may hold at once
MAX_BYTES: Final = 64 << 20  # of texts, and of parameters, that they may hold


class Entry:
    """A prepared statement. `shape` is its RowDescription once the server has sent it (formats are all text there)."""

    __slots__ = ("described", "formatted", "inside", "oids", "payload", "shape", "shown", "template", "text")

    def __init__(self, text: bytes, template: PgTemplate, oids: tuple[int, ...] = (), *, inside: int = -1) -> None:
        self.text = text
        self.inside = inside  # of a SQL-level PREPARE or DECLARE: which statement of `text` it is
        self.template = template
        self.oids = oids
        self.shape: tuple[Column, ...] | None = None
        self.payload = b""  # the RowDescription that `shape` was read from
        self.shown = False  # whether clients see that as it is
        self.formatted: tuple[tuple[Column, ...], tuple[int, ...], tuple[Column, ...]] | None = None
        self.described = False  # a Describe is on its way, so the shape will be known before the rows


class Portal:
    """A bound statement, or a cursor made in SQL (then it has no parameters of its own).

    `template` is the verdict at the time of the Bind: the server resolves names then, and executing the portal later,
    under another search_path, still runs what was bound.
    """

    __slots__ = ("entry", "formats", "hold", "params", "results", "size", "started", "template", "young")

    def __init__(
        self,
        entry: Entry,
        params: tuple[bytes | None, ...] = (),
        formats: tuple[int, ...] = (),
        results: tuple[int, ...] = (),
        *,
        hold: bool = False,
    ) -> None:
        self.entry = entry
        self.template = entry.template
        self.params = params
        self.size = sum(len(value) for value in params if value is not None)
        self.formats = formats
        self.results = results
        self.hold = hold  # a cursor WITH HOLD outlives its transaction
        self.young = False  # a cursor that was declared in the open transaction
        self.started = False  # it was executed and suspended: more rows need no second approval


class Namespace:
    """The projected names of one session."""

    def __init__(self) -> None:
        self.statements: dict[bytes, Entry] = {}
        self.portals: dict[bytes, Portal] = {}
        self._texts = 0  # bytes held by `statements`
        self._values = 0  # bytes held by `portals`
        self.version = 0  # changes whenever an EXECUTE or FETCH by name could mean something else

    def set_statement(self, name: bytes, entry: Entry | None) -> Entry | None:
        """Define or forget a statement; returns what stood there, for undoing. Raises OverflowError at the cap."""
        before = self.statements.get(name)
        if entry is None:
            self.statements.pop(name, None)
        else:
            if before is None and len(self.statements) >= MAX_NAMES:
                raise OverflowError(f"more than {MAX_NAMES} prepared statements in one session")
            if self._texts + len(entry.text) > MAX_BYTES + (0 if before is None else len(before.text)):
                raise OverflowError(f"more than {MAX_BYTES} bytes of prepared statements in one session")
            self.statements[name] = entry
            self._texts += len(entry.text)
        if before is not None:
            self._texts -= len(before.text)
        if name:
            self.version += 1
        return before

    def set_portal(self, name: bytes, portal: Portal | None) -> Portal | None:
        """The same for a portal or cursor."""
        before = self.portals.get(name)
        if portal is None:
            self.portals.pop(name, None)
        else:
            if before is None and len(self.portals) >= MAX_NAMES:
                raise OverflowError(f"more than {MAX_NAMES} portals in one session")
            if self._values + portal.size > MAX_BYTES + (0 if before is None else before.size):
                raise OverflowError(f"more than {MAX_BYTES} bytes of parameters bound in one session")
            self.portals[name] = portal
            self._values += portal.size
        if before is not None:
            self._values -= before.size
        if name:
            self.version += 1
        return before

    def forget_statements(self) -> None:
        self.statements.clear()
        self._texts = 0
        self.version += 1

    def keep_portals(self, kept: dict[bytes, Portal]) -> None:
        """Forget all portals but these."""
        self.portals = kept
        self._values = sum(portal.size for portal in kept.values())

    def forget_young(self) -> None:
        """The transaction is undone, and with it the cursors declared in it, WITH HOLD too."""
        if any(portal.young for portal in self.portals.values()):
            self.keep_portals({name: portal for name, portal in self.portals.items() if not portal.young})
            self.version += 1

    def end_transaction(self) -> None:
        """Portals die with their transaction; cursors WITH HOLD do not."""
        if self.portals:
            for portal in self.portals.values():
                portal.young = False
            kept = {name: portal for name, portal in self.portals.items() if portal.hold}
            if len(kept) != len(self.portals):
                if any(self.portals):  # a named one went
                    self.version += 1
                self.keep_portals(kept)
