"""Verdicts are kept for exactly as long as everything that they depend on, and nothing a target says breaks that."""

from __future__ import annotations

import json
from collections.abc import Callable

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from doorward.errors import ProtocolError
from doorward.masking.defined import Choice, Pattern
from doorward.masking.detect import Detectors
from doorward.model import Effect
from doorward.protocols.postgres.judge import MAX_DEPTH, MAX_KEPT, MAX_TEMPLATES, Judge
from doorward.sql.catalogue import Catalogue, Column, Relation
from doorward.sql.classification import Classification
from doorward.sql.classify import classify


def catalogue(*schemas: str) -> Catalogue:
    """Table `t` (id, ssn) in each of these schemas."""
    columns = (Column("id", 1, 23), Column("ssn", 2, 25))
    return Catalogue(
        tuple(Relation(16384 + n, schema, "t", "r", columns) for n, schema in enumerate(schemas)), schemas=frozenset(schemas)
    )


ALL = Detectors()


class Source:
    def __init__(self) -> None:
        self.catalogue = catalogue("public", "other")
        self.labels: dict[str, str] = {"public.t.ssn": "ssn"}
        self.copied: dict[str, frozenset[str]] = {}


EMPLOYEE = Choice((), (Pattern("employee", "employee", "EMP-[0-9]{4,}|staff = [0-9]+", ("EMP-1234",)),)).detectors()


class NoNames:
    """No statement or cursor has a name."""

    def __init__(self) -> None:
        self.version = 0

    def prepared(self, name: str) -> Classification | None:
        return None

    def cursor(self, name: str) -> Classification | None:
        return None


def judge(source: Source | None = None, *, most: int = 1 << 20, detectors: Detectors = ALL) -> Judge:
    made = Judge(source or Source(), max_statement=most, detectors=detectors)
    made.look(role="app", search_path=("pg_catalog", "public"), temporary=frozenset())
    return made


MOVES: dict[str, Callable[[Judge, Source], None]] = {
    "search_path": lambda j, _: j.look(role="app", search_path=("pg_catalog", "other"), temporary=frozenset()),
    "role": lambda j, _: j.look(role="boss", search_path=("pg_catalog", "public"), temporary=frozenset()),
    "a temporary table": lambda j, _: j.look(
        role="app", search_path=("pg_catalog", "public"), temporary=frozenset({"t"})
    ),
    "a definition of this transaction": lambda j, _: j.changed_now(frozenset({("public", "t")})),
    "settings of this transaction": lambda j, _: j.settle(unsettled=True),
    "another session's definition": lambda _, source: setattr(source, "catalogue", catalogue("public")),
}


@pytest.mark.parametrize("text", [b"select ssn from t", b"select ssn from t where id = 7"])
@pytest.mark.parametrize("move", MOVES)
def test_a_verdict_lasts_until_a_fact_moves(move: str, text: bytes) -> None:
    """The same text gives the same verdict, not judged again; whatever it rests on, its change gives a new one. So does
    the verdict that texts share which differ in numbers only."""
    source, names = Source(), NoNames()
    one = judge(source)

    def verdicts() -> tuple[object, object]:
        shared = one.normal(text, names)
        return one.template(text, names), None if shared is None else shared[0]

    before = verdicts()
    one.look(role="app", search_path=("pg_catalog", "public"), temporary=frozenset())
    one.changed_now(frozenset())
    one.settle(unsettled=False)
    assert all(a is b for a, b in zip(verdicts(), before, strict=True))
    assert one.kept(text) is before[0]
    MOVES[move](one, source)
    assert one.kept(text) is None
    after = verdicts()
    assert after[0] is not before[0]
    assert after[1] is None or after[1] is not before[1]


def test_the_verdict_follows_search_path() -> None:
    """The same bytes name another table, and the label goes with the table."""
    one, names = judge(), NoNames()
    assert one.template(b"select ssn from t", names).labels == {"ssn"}
    one.look(role="app", search_path=("pg_catalog", "other"), temporary=frozenset())
    assert one.template(b"select ssn from t", names).labels == frozenset()
    assert {r.name for r in one.template(b"select ssn from t", names).resources if r.kind == "Table"} == {"other.t"}


def test_what_names_a_prepared_statement_is_judged_anew_when_names_move() -> None:
    """EXECUTE means what stands under the name now; what names nothing is not judged again for it."""
    one, names = judge(), NoNames()
    named, plain = one.template(b"execute x", names), one.template(b"select id from t", names)
    names.version += 1
    assert one.template(b"execute x", names) is not named
    assert one.template(b"select id from t", names) is plain


def test_statements_that_execute_each_other_end_as_unknown() -> None:
    """A prepared statement may execute itself: judging stops, and what cannot be told is unknown."""
    one = judge()
    depth = deepest = 0

    class Loop(NoNames):
        def prepared(self, name: str) -> Classification | None:
            nonlocal depth, deepest
            depth += 1
            deepest = max(deepest, depth)
            self.version += 1  # so that no verdict of before will do
            try:
                return one.template(b"execute x", self).classification
            finally:
                depth -= 1

    assert one.template(b"execute x", Loop()).effect is Effect.UNKNOWN
    assert deepest == MAX_DEPTH
    assert one.template(b"select id from t", NoNames()).effect is Effect.READ


def test_texts_that_differ_in_numbers_share_a_verdict_and_keep_their_numbers() -> None:
    """Only where no number can influence it: not where it is a position, a limit of what is not known, or a name."""
    one, names = judge(), NoNames()
    found = [one.normal(b"select ssn from t where id = %d" % n, names) for n in (1, 4711)]
    assert found[0] is not None
    assert found[1] is not None
    assert found[0][0] is found[1][0]
    assert (found[0][1], found[1][1]) == ((b"1",), (b"4711",))
    assert one.normal(b"select id, ssn from t order by 1", names) is None
    assert one.normal(b"select ssn from nowhere where id = 1", names) is None


@pytest.mark.parametrize("text", [b"select '\xff'", b"\xc3(", "select 1".encode("utf-16")])
def test_what_is_not_utf8_is_unknown(text: bytes) -> None:
    """It is never decoded some other way and judged as that."""
    made = judge().template(text, NoNames())
    assert made.effect is Effect.UNKNOWN
    assert made.exact == text
    assert judge().asked(text, NoNames()) is None


def test_reasons_quote_nothing_confidential() -> None:
    """A parser quotes the text that it does not understand; the verdict, which is stored and shown, does not."""
    for text in (b"selec '457-55-5462'", b"select 1 from \"457-55-5462\"", b"set x to '4539578763621486' '"):
        made = judge().template(text, NoNames())
        said = f"{made.reason} {made.forbidden} {made.shown}"
        assert "457-55-5462" not in said
        assert "4539578763621486" not in said


def test_a_verdict_that_was_made_elsewhere_counts_only_under_the_same_facts() -> None:
    """While a worker judged a long text another session may have changed what it means."""
    one, names, text = judge(), NoNames(), b"select ssn from t"
    asked = one.asked(text, names)
    assert asked is not None
    said, facts = asked
    verdict = classify(said, facts)
    one.look(role="app", search_path=("pg_catalog", "other"), temporary=frozenset())
    one.keep(text, facts, verdict, said, names)
    assert one.kept(text) is None
    asked = one.asked(text, names)
    assert asked is not None
    one.keep(text, asked[1], classify(*asked), said, names)
    assert one.kept(text) is not None
    assert one.template(text, names).labels == frozenset()


def test_what_is_kept_is_bounded() -> None:
    """By number and by bytes, whatever a client sends; what was dropped is judged again."""
    one, names = judge(), NoNames()
    most = 0
    for n in range(MAX_TEMPLATES + 50):
        one.template(b"select %d" % n, names)
        one.normal(b"select id + %d as a%d from t" % (n, n), names)
        most = max(most, len(one._templates), len(one._normal))
    assert most == MAX_TEMPLATES
    for n in range(18):
        one.template(b"select %d -- " % n + b" " * (MAX_KEPT // 16), names)
        assert sum(map(len, one._templates)) <= MAX_KEPT
    assert one.template(b"select 1", names).effect is Effect.READ


DEEP = b"[" * 100_000


@given(st.lists(st.lists(st.none() | st.binary(max_size=20), max_size=6), max_size=2))
@example([[b"app", b"app", DEEP, None, b"UTC", None]])
@example([[b"app", b"app", b"[]", DEEP, b"UTC", None]])
@example([[b"app", b"app", b"5", None, b"UTC", None]])
@example([[b"app", b"app", b'{"public": 1}', None, b"UTC", None]])
@example([[b"app", b"app", b"[1, null]", None, b"UTC", None]])
@example([[b"app", b"app", b'["public"]', b'"t"', b"UTC", None]])
@example([[b"", b"", b"[]", None, b"UTC", None]])
def test_a_hostile_answer_about_the_session_is_an_error_and_moves_nothing(rows: list[list[bytes | None]]) -> None:
    """Whatever a target answers to the gateway's look: ProtocolError, nothing else, and no fact is taken over."""
    one = judge()
    before = (one.role, one.search_path, one.temporary, one.version)
    with pytest.raises(ProtocolError):
        one.learn(rows)
    assert (one.role, one.search_path, one.temporary, one.version) == before


@pytest.mark.parametrize(
    ("role", "login", "good"), [("app", "app", True), ("boss", "app", False), ("boss", "boss", False), ("", "app", False)]
)
def test_the_role_cannot_change(role: str, login: str, good: bool) -> None:
    """A function that was permitted may have changed it: then everything judged so far was judged for another."""
    one = judge()
    row = [[role.encode(), login.encode(), json.dumps(["pg_catalog", "public"]).encode(), b'["temp"]', b"UTC", None]]
    if good:
        one.learn(row)
        assert one.temporary == {"temp"}
    else:
        with pytest.raises(ProtocolError):
            one.learn(row)


@pytest.mark.parametrize(
    ("text", "shared"),
    [
        (b"select id from t where id = 4711", True),
        (b"select id from t where ssn = 457555462", False),
        (b"select 457-55-5462", False),
        (b"insert into t (id, ssn) values (1, 4539578763621486)", False),
    ],
)
def test_a_number_that_says_something_only_in_its_place_is_not_taken_out(text: bytes, shared: bool) -> None:
    """The record shows a statement's numbers each for itself, where no detector could tell what they are: a text in
    which something may be confidential is kept whole, and masked whole."""
    assert (judge().normal(text, NoNames()) is not None) is shared
    if not shared:
        assert "[" in judge().template(text, NoNames()).shown


def test_patterns_of_the_operators_own_mask_the_texts_that_are_kept() -> None:
    """In strings, names, comments and numbers, also where the text is refused with its reason."""
    made = judge(detectors=EMPLOYEE)
    for text in ("select 'EMP-4711'", 'select id "EMP-4711" from t', "selec EMP-4711", "select 1 from t where staff = 4711",
                 "select id from nobody.\"EMP-4711\""):
        template = made.template(text.encode(), NoNames())
        assert "4711" not in template.shown + template.reason + template.forbidden, text
    assert made.normal(b"select id from t where staff = 4711", NoNames()) is None
