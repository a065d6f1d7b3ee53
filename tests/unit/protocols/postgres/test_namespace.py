"""Names and what stands behind them: every change can be taken back, and nothing a client names is kept without bound."""

from __future__ import annotations

from collections.abc import Callable

import pytest
from hypothesis import given
from hypothesis import strategies as st

from doorward.masking.detect import Detectors
from doorward.model import Effect
from doorward.protocols.postgres.judge import PgTemplate
from doorward.protocols.postgres.namespace import MAX_BYTES, MAX_NAMES, Entry, Namespace, Portal
from doorward.sql.classification import Classification


def entry(text: bytes = b"select 1") -> Entry:
    return Entry(text, PgTemplate(Classification(effect=Effect.READ), text, "", 0, 0, "", "", detectors=Detectors(())))


def portal(*params: bytes | None, hold: bool = False, young: bool = False) -> Portal:
    made = Portal(entry(), params, hold=hold)
    made.young = young
    return made


def held(names: Namespace) -> tuple[int, int]:
    """The bytes that it says it holds, having checked that it does."""
    assert names._texts == sum(len(each.text) for each in names.statements.values())
    assert names._values == sum(each.size for each in names.portals.values())
    return names._texts, names._values


NAMES = st.sampled_from([b"", b"a", b"b"])
TEXTS = st.none() | st.binary(max_size=8)
CHANGES = st.lists(st.tuples(st.booleans(), NAMES, TEXTS), max_size=12)


@given(CHANGES, CHANGES)
def test_taking_back_newest_first_restores_everything(first: list, then: list) -> None:  # type: ignore[type-arg]
    """Whatever a batch defined, replaced and forgot: after the server has skipped it, it is as if it had never been."""
    names = Namespace()

    def change(statements: bool, name: bytes, text: bytes | None) -> Callable[[], object]:
        if statements:
            before = names.set_statement(name, None if text is None else entry(text))
            return lambda: names.set_statement(name, before)
        earlier = names.set_portal(name, None if text is None else portal(text, None))
        return lambda: names.set_portal(name, earlier)

    for each in first:
        change(*each)
    found, bytes_held = (dict(names.statements), dict(names.portals)), held(names)
    for undo in reversed([change(*each) for each in then]):
        held(names)
        undo()
    assert (names.statements, names.portals) == found
    assert held(names) == bytes_held


@pytest.mark.parametrize("kind", ["statement", "portal"])
def test_the_version_moves_with_every_name_that_text_can_use(kind: str) -> None:
    """EXECUTE and FETCH name things: defining, replacing, forgetting and taking back each make earlier verdicts stale. The
    unnamed ones cannot be named, and change with every statement of a driver: they move nothing."""
    names = Namespace()
    for name, moves in ((b"x", True), (b"", False)):
        for value in (True, True, False):
            version = names.version
            if kind == "statement":
                names.set_statement(name, entry() if value else None)
            else:
                names.set_portal(name, portal() if value else None)
            assert (names.version != version) is moves


def test_a_session_holds_so_many_names_and_no_more() -> None:
    """One more is refused and changes nothing; replacing one of them is not one more."""
    names, statement, bound = Namespace(), entry(), portal(b"1")
    for number in [*range(MAX_NAMES), 0, 1]:
        names.set_statement(b"%d" % number, statement)
        names.set_portal(b"%d" % number, bound)
    before = held(names)
    with pytest.raises(OverflowError):
        names.set_statement(b"more", statement)
    with pytest.raises(OverflowError):
        names.set_portal(b"more", bound)
    assert (len(names.statements), len(names.portals), held(names)) == (MAX_NAMES, MAX_NAMES, before)
    names.set_statement(b"0", None)
    names.set_statement(b"more", statement)


def test_a_session_holds_so_many_bytes_and_no_more() -> None:
    """Of texts and of parameters, each; what is replaced is not counted twice, and NULL weighs nothing."""
    names, most = Namespace(), bytes(MAX_BYTES)
    large = most[: MAX_BYTES - 5]
    names.set_statement(b"a", entry(large))
    names.set_portal(b"a", portal(large, None))
    with pytest.raises(OverflowError):
        names.set_statement(b"b", entry(bytes(6)))
    with pytest.raises(OverflowError):
        names.set_portal(b"b", portal(b"xxx", None, b"xxx"))
    names.set_statement(b"a", entry(most))
    names.set_portal(b"a", portal(most))
    assert held(names) == (MAX_BYTES, MAX_BYTES)
    names.forget_statements()
    assert (held(names), names.statements) == ((0, MAX_BYTES), {})


def test_portals_end_with_their_transaction() -> None:
    """All but cursors WITH HOLD, which are then nobody's young any more: a later rollback does not take them."""
    names = Namespace()
    names.set_portal(b"", portal(b"12345"))
    names.set_portal(b"kept", portal(hold=True, young=True))
    names.set_portal(b"gone", portal(young=True))
    version = names.version
    names.end_transaction()
    assert set(names.portals) == {b"kept"}
    assert names.version != version
    names.forget_young()
    assert set(names.portals) == {b"kept"}
    assert held(names) == (0, 0)


def test_a_rollback_takes_the_cursors_that_its_transaction_declared() -> None:
    """WITH HOLD or not; those of earlier transactions stay, and with nothing to take verdicts stay good."""
    names = Namespace()
    names.set_portal(b"old", portal(hold=True))
    names.set_portal(b"new", portal(hold=True, young=True))
    version = names.version
    names.forget_young()
    assert set(names.portals) == {b"old"}
    assert names.version != version
    version = names.version
    names.forget_young()
    names.end_transaction()
    assert names.version == version


def test_the_end_of_an_unnamed_portal_moves_nothing() -> None:
    """Every extended statement ends with one: a cached verdict must survive it."""
    names = Namespace()
    names.set_portal(b"", portal())
    version = names.version
    names.end_transaction()
    assert (names.portals, names.version) == ({}, version)


def test_a_portal_keeps_the_verdict_of_its_bind() -> None:
    """The server resolved its names then: judging the statement again does not change what the portal runs."""
    statement = entry()
    bound = Portal(statement)
    verdict = statement.template
    statement.template = entry().template
    assert bound.template is verdict
