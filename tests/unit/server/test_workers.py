"""The worker that judges long statements."""

from __future__ import annotations

from dataclasses import fields

from doorward.masking.defined import Choice, Pattern
from doorward.model import Effect
from doorward.server import workers
from doorward.server.workers import Worker
from doorward.sql.catalogue import Catalogue, Column, Relation
from doorward.sql.classification import Facts
from doorward.sql.classify import classify

CATALOGUE = Catalogue(
    (Relation(1, "public", "customers", "r", (Column("id", 1, 23), Column("ssn", 2, 25))),),
    {"mine": frozenset({"public"})}, {}, frozenset({"public", "pg_catalog"}),
)  # fmt: skip
EMPLOYEE = Pattern("employee", "employee_no", "EMP-[0-9]{6}", ("EMP-123456",))
CHOICE = Choice((), (EMPLOYEE,))
FACTS = Facts(catalogue=CATALOGUE, labels={"public.customers.ssn": "ssn"}, changed=frozenset({("public", "x")}))


async def test_the_worker_judges_as_the_gateway_does() -> None:
    """Same text, same facts, same classification; a secret in the text is masked in what is shown, and what
    a pattern of the operator's own finds."""
    worker = Worker(CHOICE)
    try:
        for text in (
            "select id, reverse(ssn) from customers where id in (" + ",".join(map(str, range(5000))) + ")",
            "delete from customers; select mine(1)",
            "select 'mail bob@example.com, badge EMP-471147'",
            "this is no statement",
        ):
            found, shown = await worker.judge(text, FACTS)
            assert found == classify(text, FACTS)
            assert "bob@example.com" not in shown
            assert "EMP-471147" not in shown
    finally:
        await worker.close()


def test_a_question_carries_every_fact() -> None:
    """Whatever the gateway judges a text by, the worker does: none of the facts is left at what it is by default."""
    catalogue = Catalogue(
        CATALOGUE.relations, CATALOGUE.functions, {"+": frozenset({("a", "b", "c")})}, frozenset({"x"}), "", frozenset({"code"})
    )
    facts = Facts(
        catalogue=catalogue, search_path=("x",), labels={"public.customers.ssn": "ssn"}, copied={"x.y.*": frozenset({"ssn"})},
        temporary=frozenset({"t"}), changed=frozenset({("a", "b")}), pinned=frozenset({"role"}), unsettled=True, opaque=True,
        max_bytes=1, max_statements=2,
    )  # fmt: skip
    plain = Facts(CATALOGUE)
    same = {one.name for one in fields(Facts) if getattr(facts, one.name) == getattr(plain, one.name)}
    assert same == {"namespace"}  # which stays behind
    assert workers._Question.of("select 1", facts).facts() == facts


async def test_what_takes_too_long_is_unknown() -> None:
    """The worker is killed, the text refused, and the next text judged by a new worker."""
    worker = Worker(CHOICE)
    before = workers.SECONDS
    try:
        workers.SECONDS = 0.0  # type: ignore[misc]
        found, shown = await worker.judge("select 1", FACTS)
        assert found.effect is Effect.UNKNOWN
        assert "longer" in found.reason
        assert "select" not in shown
        workers.SECONDS = before  # type: ignore[misc]
        assert (await worker.judge("select 1", FACTS))[0].effect is Effect.READ
    finally:
        workers.SECONDS = before  # type: ignore[misc]
        await worker.close()
