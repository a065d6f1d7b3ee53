"""Non-interference: two databases that differ only in labelled values tell a client without the right the same bytes.

Statements are made from a small grammar of queries over labelled and other columns: functions, casts (also those that fail),
sub-queries, set operations, joins, windows and aggregates. What is compared is everything: rows, their number, column
names, types, errors, notices, and what is recorded of it all.
"""

from __future__ import annotations

import json
from collections import Counter

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tests.bypass.masking.arena import FORMS, Arena, Told, attack, queries
from tests.rig.rawclient import RawClient
from tests.rig.records import RESPONSE, Recorded, newest

LABELLED = st.sampled_from(["p.ssn", "p.card", "p.dom", "p.lone::text", "p.twin", "p.doc ->> 'k'", "p.tags[1]",
                            "(p.home).street", "convert_from(p.pin, 'UTF8')", "p.pay::text", "p.code::text", "p.born::text",
                            "get_ssn(p.id)", "v.harmless", "w.a"])  # fmt: skip
OPEN = st.sampled_from(["p.name", "q.note", "p.id::text", "q.n::text", "'x'", "null::text", "v.id::text"])
NUMBERS = st.sampled_from(["p.id", "q.n", "1", "p.code", "p.id + 1"])


def one(texts: st.SearchStrategy[str]) -> st.SearchStrategy[str]:
    """Functions of one or more texts that give a text."""
    number = NUMBERS | texts.flatmap(
        lambda x: st.sampled_from([f"length({x})", f"ascii({x})", f"strpos({x}, '8')", f"hashtext({x})"])
    )
    return st.one_of(
        texts.flatmap(
            lambda x: st.sampled_from(
                [f"upper({x})", f"reverse({x})", f"left({x}, 3)", f"md5({x})", f"quote_literal({x})", f"({x})::varchar(9)",
                 f"to_json({x})::text", f"regexp_replace({x}, '[0-9]', 'N', 'g')", f"encode(({x})::bytea, 'hex')",
                 f"array_to_string(string_to_array({x}, '-'), '+')", f"(row({x})).f1", f"coalesce({x}, 'none')",
                 f"(select {x})", f"max({x}) over (partition by p.id)", f"({x})::int::text", f"({x})::date::text"]
            )
        ),
        st.tuples(texts, texts).map(lambda pair: f"({pair[0]} || {pair[1]})"),
        st.tuples(texts, texts).map(lambda pair: f"nullif({pair[0]}, {pair[1]})"),
        st.tuples(texts, texts).map(lambda pair: f"concat({pair[0]}, {pair[1]})"),
        st.tuples(texts, texts).map(lambda pair: f"case when p.id < 3 then {pair[0]} else {pair[1]} end"),
        number.map(lambda n: f"({n})::text"),
        number.map(lambda n: f"to_char({n}, 'FM999999999999')"),
    )  # fmt: skip


TEXTS = st.recursive(LABELLED | OPEN, one, max_leaves=5)
VALUES = st.one_of(
    TEXTS, OPEN, LABELLED, NUMBERS,
    st.lists(TEXTS, min_size=1, max_size=3).map(lambda texts: f"array[{', '.join(texts)}]"),
    st.lists(TEXTS, min_size=1, max_size=3).map(lambda texts: f"row({', '.join(texts)})"),
    TEXTS.map(lambda x: f"json_build_object('k', {x})"),
    TEXTS.map(lambda x: f"jsonb_build_array({x})"),
    st.sampled_from(["p", "to_jsonb(p)", "p.span", "p.seen", "p.kind", "p.uid", "p.bits", "p.rate", "p.raw", "q"]),
)  # fmt: skip
FROM = "from people p join plain q on q.id <= p.id join v_renamed v on v.id = p.id join v_reversed w on w.id = p.id"


@st.composite
def statements(draw: st.DrawFn) -> str:
    """A query of one of a few shapes."""
    values = draw(st.lists(VALUES, min_size=1, max_size=4))
    names = [f"c{place}" for place in range(len(values))]
    listed = ", ".join(f"{value} as {name}" for value, name in zip(values, names, strict=True))
    where = draw(
        st.sampled_from(["", " where p.id > 1", " where q.note = 'one'", " where p.name like 'name%'", " where false"])
    )
    order = draw(st.sampled_from([" order by p.id, q.id", " order by p.id desc, q.id limit 3", ""]))
    core = f"select {listed} {FROM}{where}{order}"
    kept = draw(st.permutations(names))[: draw(st.integers(1, len(names)))]
    text = draw(TEXTS)
    return draw(
        st.sampled_from(
            [
                core,
                core,
                f"select {', '.join(kept)} from ({core}) s",
                f"with s as ({core}) select {', '.join(kept)} from s",
                f"with s as materialized ({core}) select count(*) from s",
                f"select s.* from plain z, lateral (select {text} as t {FROM} where p.id = z.id limit 1) s",
                f"select {text} as t {FROM}{where} union all select note from plain",
                f"select string_agg({text}, ',' order by p.id), count(*), max(p.name), min(q.n) {FROM}{where}",
                f"select p.id, array_agg({text} order by q.id) {FROM}{where} group by p.id",
                f"values (({'select ' + text + ' ' + FROM + ' limit 1'}), 'x')",
                f"select exists(select {text} {FROM}{where}), (select count({draw(OPEN)}) {FROM}{where})",
            ]
        )
    )


def settled(record: Recorded) -> list[dict[str, object]]:
    """What a recording says of each statement, without times and sizes in bytes that compression makes."""
    return [
        {key: found.get(key) for key in ("outcome", "rows", "masked", "sqlstate", "tag", "tags")} for found in record.settled
    ]


@pytest.mark.parametrize("version", [15, 18])
def test_what_is_told_does_not_depend_on_what_is_labelled(arenas: dict[int, Arena], version: int) -> None:
    """MK-20: over generated statements, both worlds tell the same bytes, in every form, and record the same."""
    arena = arenas[version]
    count = settings.default.max_examples if settings.default is not None else 50
    subjects = {world: f"twin-{world}{version}-{count}" for world in "ab"}
    clients = {
        world: RawClient.to(arena.door, arena.targets[world], sub=subjects[world], groups=["readers", "callers"])
        for world in "ab"
    }
    outcomes: Counter[str] = Counter()

    @settings(suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large, HealthCheck.filter_too_much])
    @given(text=statements(), form=st.sampled_from(FORMS))
    def same(text: str, form: str) -> None:
        assert queries(text)
        told = {}
        for world, client in clients.items():
            client.received.clear()
            told[world] = Told(form, list(attack(client, text, form)), bytes(client.received))
            if told[world].replies[-1].status != "I":
                client.query("rollback")
        assert told["a"].messages == told["b"].messages, (form, text)
        outcomes[told["a"].outcome] += 1

    same()
    for client in clients.values():
        client.close()
    assert outcomes["masked"] > sum(outcomes.values()) / 2, outcomes  # and not because nothing ran
    assert outcomes["failed"] == 0, outcomes
    kept = {world: newest(arena.door, subjects[world]) for world in "ab"}
    assert settled(kept["a"]) == settled(kept["b"])
    assert b"".join(kept["a"].bodies(RESPONSE)) == b"".join(kept["b"].bodies(RESPONSE))
    assert json.dumps(settled(kept["a"])).count("ssn") > 0
