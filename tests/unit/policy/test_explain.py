"""Explanations say what decisions do."""

from __future__ import annotations

import json

from doorward.model import Effect, Identity, Kind, Operation, Resource, Target
from doorward.policy.decide import decide
from doorward.policy.explain import explain
from doorward.policy.policies import load

SHOP = Target("shop", "postgres", "db", 5432)
BOB = Identity("bob", Kind.HUMAN, "https://id", frozenset({"people"}))
BOT = Identity("bot", Kind.AGENT, "https://id", frozenset({"agents"}), on_behalf_of=BOB)
POLICIES = load({
    "p.cedar": """
@id("all") permit (principal, action == Action::"read", resource);
@id("held") @quorum("2") @expires("90s") @approvers("dba")
permit (principal, action == Action::"write", resource) when { context.approved };
@id("no-pay") @reason("Ask finance") forbid (principal is Agent, action, resource == Table::"shop.pay.slips");
@id("cards") permit (principal, action == Action::"unmask", resource == Label::"card");
"""
})


def operation(*resources: Resource, labels: frozenset[str] = frozenset()) -> Operation:
    return Operation("o", "s", "SELECT", resources[0].access, "select", resources=resources, labels=labels)


def test_a_denial_names_the_link_the_resource_and_the_policy_with_its_place() -> None:
    """Everything that somebody needs to find the line to discuss."""
    asked = operation(Resource("Table", "pay.slips", Effect.READ), Resource("Table", "pub.a", Effect.READ))
    explanation = explain(POLICIES, BOT, SHOP, asked)
    text, said = explanation.as_text(), explanation.as_json()
    first = "DENY: agent bot may not read table pay.slips on shop: forbidden by no-pay (Ask finance)"
    assert text.splitlines()[0] == first
    assert "allow  user bob may read table pay.slips on shop: all" in text
    assert "no-pay  p.cedar:5" in text
    assert said["rules"] == [{"id": "no-pay", "effect": "forbid", "file": "p.cedar", "line": 5}]
    assert [(r["identity"], r["name"], r["decision"]) for r in said["resources"]] == [
        ("https://id|bot", "pay.slips", "deny"), ("https://id|bot", "pub.a", "allow"),
        ("https://id|bob", "pay.slips", "allow"), ("https://id|bob", "pub.a", "allow"),
    ]  # fmt: skip


def test_a_hold_says_who_must_agree_and_what_will_be_shown() -> None:
    """Quorum, group, time; labels masked and shown."""
    asked = operation(Resource("Table", "pub.a", Effect.WRITE), labels=frozenset({"card", "ssn"}))
    text = explain(POLICIES, BOT, SHOP, asked).as_text()
    assert text.splitlines()[1] == "  approval: 2 people of dba, within 90s"
    assert "  ssn: masked\n  card: shown\n" in text


ANNOTATED = """
@id("held") @quorum("2") @approvers("dba, leads") @expires("15m") @grantable("1h") @break_glass("30m")
permit (principal, action == Action::"write", resource) when { context.approved };
@id("few") @budget("500") permit (principal, action == Action::"infer", resource);
@id("part") @transform("ssn=partial, card=null") permit (principal, action == Action::"read", resource);
@id("aside") @grantable("2h") permit (principal, action == Action::"define", resource) when { context.approved };
"""


def test_what_the_deciding_policies_say_besides_is_shown_with_each() -> None:
    """Every annotation that means something, in words and as JSON; those of policies that did not decide are not."""
    asked = Operation(
        "o", "s", "UPDATE", Effect.WRITE, "update",
        resources=(Resource("Table", "pub.a", Effect.WRITE), Resource("Table", "pub.b", Effect.READ)),
        labels=frozenset({"ssn"}), inferred=frozenset({"ssn"}),
    )  # fmt: skip
    explanation = explain(load({"p.cedar": ANNOTATED}), BOB, SHOP, asked)
    text = explanation.as_text()
    for line in (
        "    @quorum: 2 people", "    @approvers: dba, leads", "    @expires: a request stands for 15m",
        "    @grantable: people may agree to several statements in advance, for at most 1h",
        "    @break_glass: whoever is held may go on without approvers, for at most 30m",
        "    @budget: 500 answers an hour", "    @transform: card becomes null, ssn becomes partial",
    ):  # fmt: skip
        assert line in text.splitlines(), text
    said = json.loads(json.dumps(explanation.as_json()))
    assert [rule["id"] for rule in said["rules"]] == ["held"]
    assert said["annotations"] == {
        "held": {"quorum": 2, "approvers": ["dba", "leads"], "expires": 900, "grantable": 3600, "break_glass": 1800},
        "few": {"budget": 500}, "part": {"transform": {"ssn": "partial", "card": "null"}},
    }  # fmt: skip


def test_an_explanation_is_the_decision() -> None:
    """Not a second opinion: the same fields, and JSON that json.dumps takes."""
    for access in Effect:
        asked = operation(Resource("Table", "pub.a\x1b[2J\u202e", access), labels=frozenset({"ssn"}))
        explanation = explain(POLICIES, BOT, SHOP, asked)
        said = json.loads(json.dumps(explanation.as_json()))
        assert explanation.findings.decision == decide(POLICIES, BOT, SHOP, asked)
        assert said["decision"] == explanation.findings.decision.outcome
        assert all(line.isprintable() for line in explanation.as_text().splitlines())
