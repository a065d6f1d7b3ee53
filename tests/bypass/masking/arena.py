"""Two databases that differ only in what is confidential, and one gateway before both.

Contract: `Arena.clear` runs statements past the gateway and gives everything a client can see of it, so that a test can
show that they do give the value away. `Arena.tell` runs them through the gateway in one of FORMS and gives a `Told`: what
was told to the client, byte by byte, with what differs between any two sessions (process ids, names of requests) made the
same. If both worlds tell the same, nothing confidential was told, in whatever encoding.

Both worlds are copies of one template, so that OIDs and physical order are the same. One connection for each identity and
world serves all cases; a case that changes something is undone past the gateway.
"""

from __future__ import annotations

import dataclasses
import itertools
import os
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import psycopg
from psycopg import pq
from psycopg.pq.abc import PGconn, PGresult

from doorward.protocols.postgres import wire
from tests.rig.canaries import leaks
from tests.rig.gateway import Gateway
from tests.rig.postgres import PostgresServer
from tests.rig.rawclient import RawClient, Reply, extended

WORLD = Path(__file__).with_name("world.sql").read_text()
FORMS = ("simple", "text", "binary", "portal", "copy", "copy csv", "copy odd", "copy binary", "cursor", "binary cursor")
ROWS = (1, 2, 3, 4)
LABELLED = (
    "ssn", "card", "lone", "dom", "pay", "code", "rate", "born", "seen", "kind", "uid", "ip", "pin", "bits", "tags",
    "home", "span", "doc", "raw", "xm", "word",
)  # fmt: skip  # `twin` is made of one of them
# Who asks, by the name of a group or of a kind: the claims of their tokens.
WHO: dict[str, dict[str, Any]] = {
    "anyone": {"sub": "corpus-anyone", "groups": ["anyone"], "kind": "user"},
    "guarded": {"sub": "corpus-guarded", "groups": ["guarded"], "kind": "user"},
    "agents": {"sub": "corpus-agents", "groups": ["agents"], "kind": "agent"},
    "agent": {"sub": "corpus-agent", "groups": ["anyone"], "kind": "agent"},
    "service": {"sub": "corpus-service", "groups": ["anyone"], "client_id": "corpus-service", "gty": "client-credentials"},
    "for a person": {"sub": "corpus-a", "groups": ["anyone"], "act": {"sub": "corpus-bot", "groups": ["anyone"]}},
    "for one who may see": {
        "sub": "corpus-b", "groups": ["anyone", "fraud"], "act": {"sub": "corpus-bot2", "groups": ["anyone"]},
    },
    "may see, for one who may not": {
        "sub": "corpus-c", "groups": ["anyone"], "act": {"sub": "corpus-bot3", "groups": ["anyone", "fraud"]},
    },
}  # fmt: skip
LABELS = {
    **{f"public.people.{column}": column for column in LABELLED},
    "public.split.ssn": "ssn",
}
# What detectors know, in columns that have no label. The same lengths, so that what surrounds them stays where it is.
DETECTABLE = {
    "a": {"us": "457-55-5462", "card": "4539578763621486", "mail": "canary.bird@example.org"},
    "b": {"us": "219-50-8302", "card": "5105100996030822", "mail": "warble.tern@example.com"},
}
_CHANGES = re.compile(
    r"\b(create|insert|update|delete|merge|alter|drop|setval|nextval|lo_\w+|copy \w+ from|truncate|do|temp|declare|prepare|set"
    r"|call|refresh|cluster|listen|savepoint|begin|rename|get_cursor|into)\b",
    re.I,
)
_SCRAP = re.compile(r"\bscrap\b")
_numbers = itertools.count(1)
_SEVERAL = re.compile(r"\A[^$]*; \w")  # statements in one text
# Rows are changed in a transaction that is rolled back; what is defined is defined for good, as a client would.
_ROWS = re.compile(r"\b(insert|update|delete|merge)\b", re.I)
_DEFINES = re.compile(r"\b(create|alter|begin|commit)\b", re.I)
_TARGET = re.compile(rb"\barena[ab](\d+)")
_REQUEST = re.compile(rb"[0-9a-f]{8}-[0-9a-f]{4}-7[0-9a-f]{3}-[0-9a-f]{4}-[0-9a-f]{12}")


def planted(world: str, row: int, *, xml: bool = True) -> dict[str, str]:
    """The labelled values of a row, as literals of SQL. In world b everything sorts the other way round."""
    first = world == "a"
    n = row if first else 9 - row
    word = "CANARY" if first else "WARBLE"
    digits = "078051120" if first else "912837465"

    def text(column: str) -> str:
        return f"{word}{n}-{digits}-{column}x"

    number = f"{'70451238' if first else '91283746'}{n}"
    return {
        "ssn": f"'{text('ssn')}'",
        "card": f"'{text('card')}'",
        "lone": f"'{text('lone')}'",
        "dom": f"'{text('dom')}'",
        "pay": f"{number}.5{n}25",
        "code": f"{number}",
        "rate": f"{number}.25",
        "born": f"date '{'1957-03' if first else '1981-11'}-1{n}'",
        "seen": f"timestamptz '{'1957-03' if first else '1981-11'}-1{n} 03:04:05+00'",
        "kind": f"'{('red', 'amber')[row % 2] if first else ('green', 'blue')[row % 2]}'",
        "uid": f"'{number}-0000-4000-8000-{number}{'abc' if first else 'def'}'".replace(number, f"{number}"[:8], 1),
        "ip": f"'{'10.77.91' if first else '172.19.4'}.{n}'",
        "pin": f"convert_to('{text('pin')}', 'UTF8')",
        "bits": f"B'{int(number):032b}'",
        "tags": f"array['{text('tags')}', 't{n}']",
        "home": f"row('{text('home')}', {number})::home",
        "span": f"int8range({number}, {number} + 7)",
        "doc": f"""'{{"k": "{text("doc")}", "n": {number}}}'""",
        "raw": f"""'{{"k": "{text("raw")}", "n": {number}}}'""",
        "xm": f"'<a>{text('xm')}</a>'" if xml else "null",
        "word": f"to_tsvector('simple', '{word.lower()}{n} {digits}')",
    }


def canaries() -> dict[str, str]:
    """What is looked for as bytes in all that is kept: name -> text."""
    found: dict[str, str] = {}
    for world in "ab":
        for row in ROWS:
            for column, literal in planted(world, row).items():
                texts = re.findall(r"(?:CANARY|WARBLE)\d-\d+-\w+|\b(?:70451238|91283746)\d\b", literal)
                found |= {f"{world}{row}.{column}.{place}": text for place, text in enumerate(texts)}
    return found


CANARIES = canaries()


@dataclass
class Told:
    """What the client was told in answer to a case, in one form."""

    form: str
    replies: list[Reply] = field(default_factory=list)
    received: bytes = b""

    @property
    def messages(self) -> list[tuple[str, bytes]]:
        """Every message, with what must differ between two sessions made the same."""
        found = []
        for reply in self.replies:
            for kind, payload in reply.messages:
                if kind == "A":
                    payload = b"pid." + payload[4:]
                elif kind == "T":
                    payload = repr([_numberless(column) for column in wire.parse_row_description(payload)]).encode()
                found.append((kind, _TARGET.sub(rb"arena\1", _REQUEST.sub(b"<request>", payload))))
        return found

    @property
    def outcome(self) -> str:
        """One word: refused (by the gateway), held, stripped (an error of the target of which only its kind is left),
        failed (any other error), masked (an answer), lost (the session ended)."""
        errors = [error for reply in self.replies for error in reply.errors]
        if any(reply.held for reply in self.replies):
            return "held"
        if any("R" not in error and "withheld" not in error.get("M", "") for error in errors):
            return "refused"
        if any(reply.closed or reply.silent for reply in self.replies):
            return "lost"
        if any("withheld" in error.get("M", "") for error in errors):
            return "stripped"
        return "failed" if errors else "masked"

    @property
    def said(self) -> str:
        """The first error, for people."""
        return next((str(error) for reply in self.replies for error in reply.errors), "")

    @property
    def leaks(self) -> list[str]:
        return leaks(self.received, CANARIES)


def _numberless(column: wire.Column) -> wire.Column:
    """A column without the OIDs of what was made in the course of a case: no two worlds give the same."""
    made = 16384  # the first that is not PostgreSQL's own
    return column._replace(table_oid=min(column.table_oid, made), type_oid=min(column.type_oid, made))


class Arena:
    """One server's two worlds, behind `door`."""

    def __init__(self, door: Gateway, worlds: dict[str, PostgresServer], targets: dict[str, str]) -> None:
        self.door = door
        self.worlds = worlds
        self.targets = targets
        self.version = worlds["a"].version
        self._clients: dict[tuple[str, str], RawClient] = {}
        self._direct: dict[str, psycopg.Connection] = {}

    def close(self) -> None:
        for client in self._clients.values():
            client.send(wire.TERMINATE)
            client.until(seconds=0.2)
            client.close()
        for connection in self._direct.values():
            connection.close()
        self._clients.clear()
        self._direct.clear()

    # -- past the gateway

    def direct(self, world: str) -> psycopg.Connection:
        if world not in self._direct:
            self._direct[world] = self.worlds[world].connect(application_name="rig")
        return self._direct[world]

    def clear(self, world: str, steps: Sequence[str]) -> list[object]:
        """Everything that a client sees of these statements past the gateway; undone afterwards."""
        seen: list[object] = []
        with self.worlds[world].connect() as connection:
            raw = connection.pgconn
            if _undone(steps):
                connection.execute("begin")
            raw.notice_handler = lambda result: seen.append(_fields(result))
            for step in steps:
                raw.send_query(step.encode())
                for name in (b"application_name", b"TimeZone", b"scram_iterations"):
                    seen.append(raw.parameter_status(name))
                while (result := raw.get_result()) is not None:
                    seen += _results(raw, result)
                seen += [raw.parameter_status(name) for name in (b"application_name", b"TimeZone", b"scram_iterations")]
                raw.consume_input()
                while (note := raw.notifies()) is not None:
                    seen.append((note.relname, note.extra))
            connection.rollback()
        self.restore(steps, (world,))
        return seen

    def restore(self, steps: Sequence[str], worlds: Sequence[str] = ("a", "b")) -> None:
        """Undo what a case changed."""
        if not any(_CHANGES.search(step) for step in steps):
            return
        for world in worlds:
            self.direct(world).execute(RESTORE)

    # -- through it

    def client(self, world: str, group: str) -> RawClient:
        known = self._clients.get((world, group))
        if known is None or known._ended:
            known = self._clients[world, group] = RawClient.to(self.door, self.targets[world], **WHO[group])
        return known

    def tell(self, world: str, steps: Sequence[str], form: str, group: str = "anyone") -> Told | None:
        """A case in one form; None when it cannot be said in that form. The last step is the attack."""
        *given, last = steps
        if form not in ("simple", "text", "binary") and not queries(last):
            return None
        if form != "simple" and _SEVERAL.search(last):
            return None
        client = self.client(world, group)
        client.received.clear()
        told = Told(form)
        if _undone(steps):
            client.query("begin")
        for step in given:
            told.replies.append(client.query(step))
        told.replies += attack(client, last, form)
        told.received = bytes(client.received)
        if told.replies[-1].closed or told.replies[-1].silent or told.outcome == "held":
            client.close()
            del self._clients[world, group]
        else:
            if told.replies[-1].status != "I":
                client.query("rollback")
            if any(_CHANGES.search(step) for step in steps) and client.query("discard all").errors:
                client.close()
                del self._clients[world, group]
        self.restore(steps, (world,))
        return told

    def both(self, steps: Sequence[str], form: str, group: str = "anyone") -> tuple[Told, Told] | None:
        """The same in both worlds. What is made, is made under names of its own each time: a label that follows data stays with
        the name that it was copied to, and would be there before the next case needs it."""
        fresh = f"scrap{next(_numbers)}"
        steps = [_SCRAP.sub(fresh, step) for step in steps]
        made = any(fresh in step for step in steps)
        try:
            if made:
                for world in "ab":
                    self.direct(world).execute(f"create schema {fresh}")
            first = self.tell("a", steps, form, group)
            second = self.tell("b", steps, form, group)
            return None if first is None or second is None else (first, second)
        finally:
            if made:
                for world in "ab":
                    self.direct(world).execute(f"drop schema {fresh} cascade")


def _undone(steps: Sequence[str]) -> bool:
    """Whether a case is tried in a transaction of its own."""
    return any(map(_ROWS.search, steps)) and not any(map(_DEFINES.search, steps))


def queries(text: str) -> bool:
    """Whether a statement can stand in COPY and DECLARE."""
    return re.match(r"(select|with|table|values|\()", text, re.I) is not None and not re.search(
        r"\binto\b|^with.*\b(insert|update|delete|merge)\b", text, re.I
    )


def attack(client: RawClient, text: str, form: str) -> Iterator[Reply]:
    """A statement in one form, and everything that comes back."""
    if form == "simple":
        yield client.query(text)
    elif form == "text":
        yield client.run(text)
    elif form == "binary":
        yield client.run(text, results=[1])
    elif form == "portal":  # row by row, and only then the rest
        client.send(extended(text, rows=1), wire.execute(b"", 1), wire.execute(b"", 0), wire.SYNC)
        yield client.ready()
    elif form.startswith("copy"):
        options = {
            "copy": "",
            "copy csv": " with (format csv, header, force_quote *)",
            "copy odd": " with (format csv, delimiter 'C', quote '~', escape '!', null 'W')",
            "copy binary": " with (format binary)",
        }[form]
        yield client.query(f"copy ({text}) to stdout{options}")
    else:
        yield client.query("begin")
        yield client.query(f"declare c {'binary ' if form.startswith('binary') else ''}cursor for {text}")
        yield client.query("fetch 1 from c")
        yield client.run("fetch all from c", results=[1])
        yield client.query("rollback")


def _fields(result: PGresult) -> list[object]:
    return [
        result.error_field(each)
        for each in pq.DiagnosticField
        if each not in (pq.DiagnosticField.SOURCE_LINE, pq.DiagnosticField.STATEMENT_POSITION)
    ]


def _results(raw: PGconn, result: PGresult) -> Iterator[object]:
    if result.status == pq.ExecStatus.COPY_OUT:
        while (chunk := raw.get_copy_data(0))[0] > 0:
            yield bytes(chunk[1])
        return
    if result.status == pq.ExecStatus.COPY_IN:
        raw.put_copy_end(None)
        return
    if result.error_message:
        yield _fields(result)
    columns = range(result.nfields)
    yield [result.fname(column) for column in columns]
    for row in range(result.ntuples):
        yield [result.get_value(row, column) for column in columns]


RESTORE = """
drop schema scrap cascade; create schema scrap;
alter table plain disable trigger user; truncate plain; insert into plain values (1, 'one', 1), (2, 'two', 2);
alter table plain enable trigger user; truncate wall; insert into wall values (1, 'first', 'x'), (2, 'second', 'y');
truncate ruled; truncate muttering; select setval('counter', 1);
select lo_unlink(oid) from pg_largeobject_metadata
"""


def build(server: PostgresServer, mark: str) -> dict[str, PostgresServer]:
    """The two worlds of a server."""
    template = f"masking_{mark}_{os.getpid()}"
    with server.connect(dbname="postgres") as connection:
        connection.execute(f"create database {template} template template0")
        with server.connect(dbname=template) as inside:
            inside.execute(WORLD)
        for world in "ab":
            connection.execute(f"create database {template}_{world} template {template}")
        connection.execute(f"drop database {template}")
    worlds = {world: dataclasses.replace(server, database=f"{template}_{world}") for world in "ab"}
    xml = server.version < 18  # the wheel's server is built without libxml
    for world, place in worlds.items():
        with place.connect() as connection:
            for row in ROWS:
                columns = planted(world, row, xml=xml)
                connection.execute(
                    f"insert into people (id, name, {', '.join(columns)}) values ({row}, 'name{row}', "
                    f"{', '.join(columns.values())})"
                )
                connection.execute(f"insert into split values ({row}, {columns['ssn']})")
            columns = planted(world, 5, xml=xml)
            connection.execute(
                f"insert into child (id, name, {', '.join(columns)}) values (5, 'name5', {', '.join(columns.values())})"
            )
            seen = DETECTABLE[world]
            for row, text in enumerate((*seen.values(), " ".join(seen.values())), 1):
                connection.execute(
                    "insert into free values (%(id)s, %(text)s, jsonb_build_object('k', %(text)s::text),"
                    f" json_build_object('k', %(text)s::text), array['x', %(text)s],"
                    f" {'xmlelement(name a, %(text)s::text)' if xml else 'null'}, %(id)s)",
                    {"id": row, "text": text},
                )
            connection.execute(RESTORE)
            connection.execute("refresh materialized view m_all")
            connection.execute("refresh materialized view m_made")
            connection.execute("analyze")
    return worlds
