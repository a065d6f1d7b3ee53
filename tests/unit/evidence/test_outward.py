"""Events in the words of others: each format has what its standard requires, and breaks for nothing that an event may hold."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from doorward.evidence.outward.cef import cef
from doorward.evidence.outward.ecs import ecs
from doorward.evidence.outward.facts import Facts, Sort, Who, read, sort_of
from doorward.evidence.outward.ocsf import ocsf
from doorward.evidence.record import Record, Ref
from tests.fitness.test_house import ROOT

ORIGIN = "doorward/gw"
SESSION = "0194a1b2-0000-7000-8000-000000000001"
OPENED = {
    "identity": "https://idp|bot", "issuer": "https://idp", "subject": "bot", "kind": "agent", "assurance": "V2",
    "on_behalf_of": ["https://idp|ada"], "target": "shop", "client": "10.0.0.9:5114",
}  # fmt: skip
DECISION = {"outcome": "hold", "rules": ["writes-wait", "all"], "reason": "", "policy": "ab" * 32}
OPERATION = {
    "operation": "0194a1b2-0000-7000-8000-00000000000a", "action": "UPDATE", "effect": "write",
    "text": "UPDATE a SET b = c|d\\e",
    "resources": [["Table", "public.a", "write"]], "labels": ["email"], "decision": DECISION,
}  # fmt: skip

# Of OCSF 1.8.0, what each class requires beyond the base event, and the values of its activity_id.
REQUIRED = {
    6005: ({"actor", "src_endpoint", "database", "query_info"}, {0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 99}),
    6003: ({"actor", "src_endpoint", "api"}, {0, 1, 2, 3, 4, 99}),
    3002: ({"user", "service"}, {0, 1, 2, 3, 4, 5, 6, 7, 99}),
    3004: ({"entity"}, {0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 99}),
    2004: ({"finding_info"}, {0, 1, 2, 3, 99}),
}
BASE = {"activity_id", "category_uid", "class_uid", "type_uid", "severity_id", "time", "metadata"}
TYPES = sorted(set(re.findall(r"^\| `([a-z_]+\.[a-z_]+)`", (ROOT / "docs/spec/event.md").read_text(), re.MULTILINE)))


def record(kind: str, body: Mapping[str, Any], actor: str = "", session: str = "") -> Record:
    return Record(Ref(41, bytes(range(32)), 1_798_761_601_003, "gw", "0" * 16, 7, kind, session), actor, body)


HELD = read(record("operation.held", OPERATION, "https://idp|bot", SESSION), OPENED)


@pytest.mark.parametrize(
    ("kind", "body", "actor", "opened", "who"),
    [
        ("session.opened", OPENED, "https://idp|bot", None, Who("https://idp", "bot", "agent", "ada", "V2")),
        ("operation.held", OPERATION, "https://idp|bot", OPENED, Who("https://idp", "bot", "agent", "ada", "V2")),
        ("session.ended", {}, "https://idp|adam", OPENED, Who("https://idp", "adam")),
        ("log.beat", {}, "", None, Who(subject="doorward", kind="service")),
        (
            "token.exchanged",
            {"identity": {"subject": "ci", "issuer": "https://idp", "kind": "workload", "assurance": "V1",
                          "on_behalf_of": {"subject": "x", "on_behalf_of": {"subject": "ada"}}}},
            "", None, Who("https://idp", "ci", "workload", "ada", "V1"),
        ),
    ],
)  # fmt: skip
def test_who_it_was(kind: str, body: dict[str, Any], actor: str, opened: dict[str, Any] | None, who: Who) -> None:
    """The identity that an event shows; else whoever opened its session, if it was they who did it; else its actor."""
    assert read(record(kind, body, actor, SESSION if opened else ""), opened).who == who


@pytest.mark.parametrize("kind", [*TYPES, "noun.never_seen"])
def test_every_event_is_a_valid_one_of_ocsf(kind: str) -> None:
    """Of every type in docs/spec/event.md and of one that nobody knows, with an empty body and with a full one: what the base
    event and its class require is there, and numbers are of their enumerations."""
    for body in ({}, {**OPERATION, "target": "shop", "agent": "bot"}):
        event = ocsf(read(record(kind, body, session=SESSION), OPENED), ORIGIN)
        more, activities = REQUIRED[event["class_uid"]]
        assert set(event) >= BASE | more
        assert event["activity_id"] in activities
        assert event["type_uid"] == event["class_uid"] * 100 + event["activity_id"]
        assert event["category_uid"] == event["class_uid"] // 1000
        assert event["metadata"]["labels"][1] == "tlog_index:41"
        json.dumps(event)


def test_a_statement_that_waits() -> None:
    """What people will search for: who, for whom, where, what, and that it did not run yet."""
    event = ocsf(HELD, ORIGIN)
    assert (event["class_uid"], event["activity_id"], event["action_id"], event["disposition_id"]) == (6005, 2, 2, 14)
    assert event["actor"]["user"] == {"uid": "bot", "name": "bot", "type_id": 99, "type": "agent"}
    assert event["actor"]["invoked_by"] == "ada"
    assert event["query_info"]["query_string"] == OPERATION["text"]
    assert event["table"] == {"name": "public.a"}
    document = ecs(HELD, ORIGIN)
    assert document["@timestamp"] == "2027-01-01T00:00:01.003Z"
    assert document["user"] == {"id": "https://idp|bot", "name": "bot", "effective": {"name": "ada"}}
    assert document["client"] == {"ip": "10.0.0.9", "port": 5114}
    assert document["rule"] == {"id": "writes-wait, all", "version": "ab" * 32}
    assert document["event"]["category"] == ["database"]
    assert cef(HELD, ORIGIN, "0.1").startswith("CEF:0|Doorward|Doorward|0.1|operation.held|operation held|3|rt=1798761601003 ")


def test_each_sort_is_used() -> None:
    """No sort is without a type of event."""
    assert {sort_of(kind) for kind in TYPES} == set(Sort)


def unescaped(line: str) -> tuple[list[str], dict[str, str]]:
    """A line of CEF as a receiver reads it: seven fields of the header, and the extension."""
    head = re.match(r"((?:[^|\\]|\\.)*\|){7}", line)
    assert head
    fields = [re.sub(r"\\(.)", r"\1", field) for field in re.split(r"(?<!\\)\|", head[0])[:7]]
    found = {}
    for key, value in re.findall(r"(?:^| )(\w+)=((?:[^\\=]|\\.)*?)(?= \w+=|$)", line[head.end() :], re.S):
        found[key] = re.sub(r"\\(.)", lambda m: {"n": "\n", "r": "\r"}.get(m[1], m[1]), value)
    return fields, found


TEXT = st.text(max_size=30)


@given(TEXT, TEXT, TEXT, st.sampled_from(TYPES))
def test_no_text_breaks_a_line(subject: str, text: str, reason: str, kind: str) -> None:
    """Whatever a name, a statement or a reason holds: CEF stays one line whose fields are what they were, and all formats are
    JSON or text that can be encoded."""
    hostile = {**OPERATION, "text": text, "reason": reason, "identity": {"subject": subject, "issuer": "i"}}
    facts = read(record(kind, hostile))
    line = cef(facts, ORIGIN, "0.1|2")
    assert "\n" not in line
    assert "\r" not in line
    fields, found = unescaped(line)
    assert fields[3] == "0.1|2"
    if text.strip() == text and text and "=" not in text:
        assert found["request"] == text
    json.dumps([ocsf(facts, ORIGIN), ecs(facts, ORIGIN)])


@given(st.dictionaries(st.sampled_from([*OPERATION, *OPENED, "peer", "why", "rules"]), st.one_of(
    st.none(), st.integers(), st.text(max_size=5), st.lists(st.one_of(st.text(max_size=3), st.none(), st.dictionaries(
        st.sampled_from(["kind", "name"]), st.text(max_size=3)))), st.dictionaries(st.text(max_size=3), st.text(max_size=3)),
)))  # fmt: skip
def test_a_body_of_any_shape_is_read(body: dict[str, Any]) -> None:
    """An event whose members are of other kinds than they should be gives empty facts, and no exception."""
    for facts in (read(record("operation.held", body), body), read(record("session.opened", body))):
        assert isinstance(facts, Facts)
        json.dumps([ocsf(facts, ORIGIN), ecs(facts, ORIGIN), cef(facts, ORIGIN, "0")])
