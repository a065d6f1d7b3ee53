"""The questions and the laws."""

from __future__ import annotations

import re
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from doorward.model import (
    Approval,
    ApprovalState,
    Decision,
    Effect,
    Identity,
    Kind,
    Operation,
    Outcome,
    Resource,
    Target,
)
from doorward.policy.decide import decide, may, may_vote
from doorward.policy.policies import ACTIONS, SCHEMA_TEXT, PolicySet, load

ISSUER = "https://id.example"
SHOP = Target("shop", "postgresql", "db.example", 5432, database="sales")
CUSTOMERS = Resource("Table", "public.customers", Effect.READ)


def someone(subject: str, kind: Kind, *groups: str, acting_for: Identity | None = None) -> Identity:
    return Identity(subject, kind, ISSUER, frozenset(groups), {"team": "growth"}, on_behalf_of=acting_for)


BOT = someone("bot", Kind.AGENT, "agents")
ANN = someone("ann", Kind.HUMAN, "dba")


def rules(*policies: str) -> PolicySet:
    """Policies without an @id get one by their place."""
    return load({"t.cedar": "\n".join(p if "@id" in p else f'@id("p{n}") {p};' for n, p in enumerate(policies))})


def asks(
    effect: Effect = Effect.READ, *resources: Resource, labels: tuple[str, ...] = (), tag: str = "SELECT",
    infers: tuple[str, ...] = (),
) -> Operation:  # fmt: skip
    return Operation(
        "o", "s", tag, effect, "select", resources=resources, labels=frozenset(labels), inferred=frozenset(infers)
    )


READS = 'permit (principal in Group::"agents", action == Action::"read", resource in Target::"shop")'
WRITES_HELD = (
    'permit (principal in Group::"agents", action == Action::"write", resource in Target::"shop") '
    "when { context.approved }"
)
EVERYTHING = "permit (principal, action, resource)"


def touches(kind: str, name: str, access: Effect = Effect.READ) -> Operation:
    return asks(access, Resource(kind, name, access))


def test_nothing_is_allowed_by_no_policy() -> None:
    """Default deny: an empty set of policies allows nothing, and says why."""
    decision = decide(load({}), BOT, SHOP, asks())
    assert decision.outcome is Outcome.DENY
    assert decision.reason == "agent bot may not read on shop: no policy allows it"


@pytest.mark.parametrize(
    ("scope", "operation", "outcome"),
    [
        ('in Target::"shop"', touches("Table", "public.customers"), Outcome.ALLOW),
        ('in Target::"shop"', touches("Target", ""), Outcome.ALLOW),
        ('in Target::"shop"', touches("Setting", "work_mem"), Outcome.ALLOW),
        ('in Target::"shop"', touches("Function", "pg_catalog.now"), Outcome.ALLOW),
        ('in Target::"other"', touches("Table", "public.customers"), Outcome.DENY),
        ('in Gateway::"doorward"', touches("Table", "public.customers"), Outcome.ALLOW),
        ('in Database::"shop.sales"', touches("Table", "public.customers"), Outcome.ALLOW),
        ('in Database::"shop.other"', touches("Table", "public.customers"), Outcome.DENY),
        ('in Schema::"shop.public"', touches("Table", "public.customers"), Outcome.ALLOW),
        ('in Schema::"shop.public"', touches("Table", "private.customers"), Outcome.DENY),
        ('in Schema::"shop.public"', touches("Table", '"public.x".customers'), Outcome.DENY),
        ('in Schema::"shop.public"', touches("Table", "customers"), Outcome.DENY),
        ('== Table::"shop.public.customers"', touches("Table", "public.customers"), Outcome.ALLOW),
        ('== Table::"shop.public.customers"', touches("Table", "public.Customers"), Outcome.DENY),
        ('== Target::"shop"', touches("Table", "public.customers"), Outcome.DENY),
        ('in Schema::"shop.public"', touches("Table", 'public."say ""x"""'), Outcome.ALLOW),
        ('== Table::"shop.public.\\"a.b\\""', touches("Table", 'public."a.b"'), Outcome.ALLOW),
        ("", touches("Table", "a.b.c"), Outcome.DENY),
        ("", touches("Table", 'a."b'), Outcome.DENY),
        ("", touches("Target", "other"), Outcome.DENY),
        ("", touches("Wormhole", "x"), Outcome.DENY),
    ],
)
def test_a_scope_covers_what_lies_in_it(scope: str, operation: Operation, outcome: Outcome) -> None:
    """Table in Schema in Database in Target in Gateway; what cannot be placed is denied, also by a policy for all."""
    policies = rules(f'permit (principal, action == Action::"read", resource {scope})')
    assert decide(policies, BOT, SHOP, operation).outcome is outcome


def test_every_resource_must_be_allowed() -> None:
    """One table out of many that policy does not allow denies the whole, and is named."""
    policies = rules('permit (principal, action == Action::"read", resource in Schema::"shop.public")')
    operation = asks(Effect.READ, CUSTOMERS, Resource("Table", "secret.keys", Effect.READ))
    decision = decide(policies, BOT, SHOP, operation)
    assert (decision.outcome, decision.rules) == (Outcome.DENY, ())
    assert "read table secret.keys on shop" in decision.reason


def test_an_effect_that_no_resource_carries_is_asked_of_the_target() -> None:
    """A classification that says `write` but lists only reads is not let through as a read."""
    assert decide(rules(READS), BOT, SHOP, asks(Effect.WRITE, CUSTOMERS)).outcome is Outcome.DENY


@pytest.mark.parametrize(
    ("policy", "outcome"),
    [
        (EVERYTHING, Outcome.DENY),
        ('permit (principal, action == Action::"unknown", resource)', Outcome.ALLOW),
        ('permit (principal, action in [Action::"read", Action::"unknown"], resource)', Outcome.ALLOW),
        ('permit (principal, action == Action::"unknown", resource) when { context.approved }', Outcome.HOLD),
        ('permit (principal, action, resource) when { action == Action::"unknown" }', Outcome.DENY),
    ],
)
def test_unknown_is_allowed_only_where_a_scope_names_it(policy: str, outcome: Outcome) -> None:
    """A permit for every action does not reach what could not be classified."""
    assert decide(rules(policy), BOT, SHOP, asks(Effect.UNKNOWN)).outcome is outcome


def test_a_forbid_reaches_unknown() -> None:
    """Forbids need not name it."""
    policies = rules(
        'permit (principal, action == Action::"unknown", resource)', "forbid (principal, action, resource)"
    )
    assert decide(policies, BOT, SHOP, asks(Effect.UNKNOWN)).outcome is Outcome.DENY


def test_what_only_approval_allows_is_held_with_its_obligations() -> None:
    """Hold: denied unapproved, allowed approved; the annotations of the deciding policies say what it takes."""
    policies = load({"t": f'@id("w") @quorum("2") @expires("1h") @approvers("dba, security") {WRITES_HELD};'})
    decision = decide(policies, BOT, SHOP, touches("Table", "public.orders", Effect.WRITE))
    assert decision == Decision(
        Outcome.HOLD, ("w",), "agent bot needs approval to write table public.orders on shop",
        approvers=("dba", "security"), quorum=2, expires=3600, policy_hash=policies.hash,
    )  # fmt: skip


INFERS = 'permit (principal in Group::"agents", action == Action::"infer", resource == Label::"ssn")'
A_HUNDRED = f'@id("hundred") @budget("100") {INFERS};'
FIFTY = f'@id("fifty") @budget("50") {INFERS};'
SEES = 'permit (principal, action == Action::"unmask", resource == Label::"ssn")'


@pytest.mark.parametrize(
    ("policies", "labels", "outcome", "budgets"),
    [
        ((READS,), ("ssn",), Outcome.DENY, []),
        ((READS, INFERS), ("ssn",), Outcome.ALLOW, []),
        ((READS, INFERS), ("ssn", "card"), Outcome.DENY, []),
        ((READS, A_HUNDRED), ("ssn",), Outcome.ALLOW, [("ssn", 100, "hundred")]),
        ((READS, A_HUNDRED, FIFTY), ("ssn",), Outcome.ALLOW, [("ssn", 100, "hundred")]),
        ((READS, A_HUNDRED, INFERS), ("ssn",), Outcome.ALLOW, []),
        ((READS, A_HUNDRED), (), Outcome.ALLOW, []),
        ((READS, SEES), ("ssn",), Outcome.ALLOW, []),
        ((READS, SEES, A_HUNDRED), ("ssn",), Outcome.ALLOW, []),
        ((READS, INFERS + " when { context.approved }"), ("ssn",), Outcome.HOLD, []),
        ((READS, A_HUNDRED, 'forbid (principal is Agent, action == Action::"infer", resource)'), ("ssn",), Outcome.DENY, []),
        ((READS, INFERS, 'forbid (principal, action == Action::"read", resource) when { context.inferred.contains("ssn") }'),
         ("ssn",), Outcome.DENY, []),
        ((INFERS,), ("ssn",), Outcome.DENY, []),
    ],
)  # fmt: skip
def test_inference_is_asked_for_each_label_that_stays_masked(
    policies: tuple[str, ...], labels: tuple[str, ...], outcome: Outcome, budgets: list[tuple[str, int, str]]
) -> None:
    """Besides reading; not of who sees the label; the largest budget of those that permit it holds."""
    decision = decide(rules(*policies), BOT, SHOP, asks(Effect.READ, CUSTOMERS, labels=labels, infers=labels))
    assert decision.outcome is outcome
    assert [(b.label, b.answers, b.rule) for b in decision.budgets] == budgets
    assert all(b.identity == BOT.id and b.rule in decision.rules for b in decision.budgets)


def test_each_link_of_a_chain_spends_its_own_budget() -> None:
    """Who acts for another spends what both have."""
    ann = '@id("ann") @budget("7") permit (principal is User, action == Action::"infer", resource);'
    policies = rules(READS, 'permit (principal is User, action == Action::"read", resource)', A_HUNDRED, ann)
    bot = someone("bot", Kind.AGENT, "agents", acting_for=ANN)
    decision = decide(policies, bot, SHOP, asks(labels=("ssn",), infers=("ssn",)))
    assert [(b.identity, b.answers) for b in decision.budgets] == [(bot.id, 100), (ANN.id, 7)]


def test_a_denied_inference_says_what_to_do() -> None:
    """What, by whom, to which label, and how to do without."""
    decision = decide(rules(READS), BOT, SHOP, asks(labels=("ssn",), infers=("ssn",)))
    assert decision.reason == (
        "agent bot may not filter, join, sort, group or compute by data labelled ssn on shop: no policy allows it"
    )
    assert "they come back masked" in decision.hint
    assert decide(rules(INFERS), BOT, SHOP, asks(labels=("ssn",), infers=("ssn",))).hint == ""


def test_a_forbid_that_approval_lifts_holds_and_its_annotations_count() -> None:
    """`forbid .. unless { context.approved }` turns an allow into a hold under its own quorum."""
    policies = load({
        "t": f'@id("all") {EVERYTHING}; @id("care") @quorum("2") @reason("Payments need two people") '
        'forbid (principal, action, resource == Table::"shop.public.payments") unless { context.approved };'
    })
    decision = decide(policies, BOT, SHOP, touches("Table", "public.payments"))
    assert (decision.outcome, decision.quorum, decision.rules) == (Outcome.HOLD, 2, ("all", "care"))
    assert decision.reason == "Payments need two people"


def test_obligations_of_several_resources_merge_to_the_strictest() -> None:
    """The largest quorum, the shortest expiry, and only groups that may approve all of it."""
    held = 'permit (principal, action, resource == Table::"shop.public.{0}") when {{ context.approved }}'
    policies = load({
        "t": f'@id("a") @quorum("1") @expires("1h") @approvers("dba,security") {held.format("a")};'
        f'@id("b") @quorum("3") @expires("90s") @approvers("security,audit") {held.format("b")};'
        f'@id("c") @approvers("nobody") {held.format("c")};'
    })
    table = {name: Resource("Table", f"public.{name}", Effect.WRITE) for name in "abc"}
    both = decide(policies, BOT, SHOP, asks(Effect.WRITE, table["a"], table["b"]))
    assert (both.outcome, both.quorum, both.expires, both.approvers) == (Outcome.HOLD, 3, 90, ("security",))
    disjoint = decide(policies, BOT, SHOP, asks(Effect.WRITE, table["a"], table["c"]))
    assert disjoint.outcome is Outcome.DENY
    assert "no one group may approve all of this" in disjoint.reason


@pytest.mark.parametrize(
    ("approve", "approvers"),
    [
        ('permit (principal in Group::"dba", action == Action::"approve", resource in Target::"shop")', ("dba",)),
        ('permit (principal in Group::"dba", action == Action::"approve", resource in Target::"other")', ()),
        ('permit (principal in Group::"dba", action == Action::"approve", resource in Gateway::"doorward")', ("dba",)),
        ('permit (principal is User in Group::"dba", action in [Action::"approve"], resource is Approval)', ("dba",)),
        (f'permit (principal == User::"{ISSUER}|ann", action == Action::"approve", resource)', ()),
    ],
)
def test_without_the_annotation_those_approve_whom_policy_lets(approve: str, approvers: tuple[str, ...]) -> None:
    """The groups are read off the policies for `approve`; none where no group tells the whole story."""
    decision = decide(rules(WRITES_HELD, approve), BOT, SHOP, touches("Table", "public.a", Effect.WRITE))
    assert (decision.outcome, decision.approvers) == (Outcome.HOLD, approvers)


@pytest.mark.parametrize(
    ("agents", "people", "outcome"),
    [
        ("permit", "permit", Outcome.ALLOW),
        ("permit", "", Outcome.DENY),
        ("", "permit", Outcome.DENY),
        ("permit", "held", Outcome.HOLD),
        ("held", "permit", Outcome.HOLD),
        ("held", "", Outcome.DENY),
        ("held", "held", Outcome.HOLD),
    ],
)
def test_who_acts_for_another_has_what_both_have(agents: str, people: str, outcome: Outcome) -> None:
    """Each link of the chain is asked, and the strictest answer wins."""
    grants = [
        f'permit (principal in Group::"{group}", action, resource)'
        + (" when { context.approved }" if how == "held" else "")
        for group, how in (("agents", agents), ("people", people))
        if how
    ]
    bot = someone("bot", Kind.AGENT, "agents", acting_for=someone("bob", Kind.HUMAN, "people"))
    assert decide(rules(*grants), bot, SHOP, asks(Effect.READ, CUSTOMERS)).outcome is outcome
    assert may(rules(*grants), bot, "connect", SHOP).outcome is outcome


def test_a_chain_longer_than_is_looked_at_is_denied() -> None:
    """What lies beyond the last link that is asked could be anyone."""
    link = someone("p0", Kind.HUMAN)
    for n in range(9):
        link = someone(f"a{n}", Kind.AGENT, acting_for=link)
    assert decide(rules(EVERYTHING), link, SHOP, asks()).outcome is Outcome.DENY


def test_an_evaluation_error_denies() -> None:
    """Cedar skips a forbid that errs, which would allow; here it denies and names the policy."""
    policies = rules(
        EVERYTHING,
        'forbid (principal, action, resource) when { context.purpose == "x" && 9223372036854775807 + 1 > 0 }',
    )
    assert decide(policies, BOT, SHOP, asks()).outcome is Outcome.ALLOW
    decision = decide(policies, BOT, SHOP, asks(), purpose="x")
    assert decision.outcome is Outcome.DENY
    assert "p1" in decision.reason
    assert "overflow" in decision.reason


def test_only_labels_that_every_link_may_see_are_unmasked() -> None:
    """Purpose counts, and so does the person behind the agent."""
    policies = rules(
        EVERYTHING.replace("action", 'action == Action::"read"'),
        'permit (principal in Group::"agents", action == Action::"unmask", resource)',
        'permit (principal in Group::"fraud", action == Action::"unmask", resource == Label::"card") '
        'when { context.purpose like "chargeback*" && context.target == Target::"shop" }',
    )
    operation = asks(Effect.READ, CUSTOMERS, labels=("card", "ssn"))
    bob = someone("bot", Kind.AGENT, "agents", acting_for=someone("bob", Kind.HUMAN, "fraud"))
    assert decide(policies, BOT, SHOP, operation).unmask == {"card", "ssn"}
    assert decide(policies, bob, SHOP, operation).unmask == frozenset()
    assert decide(policies, bob, SHOP, operation, purpose="chargeback 17").unmask == {"card"}


def test_a_hold_says_what_will_be_shown_once_approved() -> None:
    """`unmask` under a hold is asked with approval given, and without one not."""
    policies = rules(
        'permit (principal, action in [Action::"write", Action::"unmask"], resource) when { context.approved }', READS
    )
    assert decide(policies, BOT, SHOP, asks(Effect.READ, CUSTOMERS, labels=("ssn",))).unmask == frozenset()
    held = decide(policies, BOT, SHOP, asks(Effect.WRITE, labels=("ssn",)))
    assert (held.outcome, held.unmask) == (Outcome.HOLD, frozenset({"ssn"}))


def test_circumstances_reach_the_policies() -> None:
    """Labels touched, the statement's kind, claims as tags, delegation."""
    policies = rules(
        EVERYTHING,
        'forbid (principal, action, resource) when { context.labels.contains("ssn") }',
        'forbid (principal, action, resource) when { context.statement == "DROP TABLE" }',
        'forbid (principal, action, resource) when { principal.hasTag("team") && principal.getTag("team") == "sales" }',
        'forbid (principal is Agent, action == Action::"define", resource) unless { context.delegated }',
    )
    assert decide(policies, BOT, SHOP, asks()).outcome is Outcome.ALLOW
    assert decide(policies, BOT, SHOP, asks(labels=("ssn",))).rules == ("p1",)
    assert decide(policies, BOT, SHOP, asks(tag="DROP TABLE")).rules == ("p2",)
    seller = Identity("bot", Kind.AGENT, ISSUER, claims={"team": "sales"})
    assert decide(policies, seller, SHOP, asks()).rules == ("p3",)
    assert decide(policies, BOT, SHOP, asks(Effect.DEFINE)).rules == ("p4",)


def test_time_and_client_are_asked_of_the_caller_and_missing_ones_deny() -> None:
    """A policy that reads the time is not cached, and one that cannot know it does not stay silent."""
    policies = rules(
        EVERYTHING,
        'forbid (principal, action, resource) when { context has now && context.now.toTime() >= duration("18h") }',
        "forbid (principal, action, resource) "
        'when { context has client && !context.client.isInRange(ip("10.0.0.0/8")) }',
    )
    midday = 1_700_000_000_000 // 86_400_000 * 86_400_000 + 12 * 3_600_000
    noon: dict[str, Any] = {"now": midday, "client": "10.1.2.3"}
    decision = decide(policies, BOT, SHOP, asks(), extra=noon)
    assert (decision.outcome, decision.cacheable) == (Outcome.ALLOW, False)
    assert decide(policies, BOT, SHOP, asks(), extra={**noon, "now": midday + 7 * 3_600_000}).rules == ("p1",)
    assert decide(policies, BOT, SHOP, asks(), extra={**noon, "client": "192.0.2.1"}).rules == ("p2",)
    for missing in ("now", "client"):
        some = {key: value for key, value in noon.items() if key != missing}
        assert f"context.{missing}" in decide(policies, BOT, SHOP, asks(), extra=some).reason
    assert decide(rules(READS), BOT, SHOP, asks()).cacheable
    assert not decide(
        rules(READS, "forbid (principal, action, resource) when { context.in_transaction }"), BOT, SHOP, asks()
    ).cacheable


def test_what_a_policy_about_another_action_reads_is_not_asked_for() -> None:
    """Office hours for writes need no clock for connecting."""
    policies = rules(
        EVERYTHING, 'forbid (principal, action == Action::"write", resource) when { context has now && context.own }'
    )
    assert may(policies, BOT, "connect", SHOP).outcome is Outcome.ALLOW
    read = decide(policies, BOT, SHOP, asks())
    assert (read.outcome, read.cacheable) == (Outcome.ALLOW, True)
    assert decide(policies, BOT, SHOP, asks(Effect.WRITE)).outcome is Outcome.DENY


def request(by: Identity, *approvers: str, target: str = "shop") -> Approval:
    return Approval(
        "a1", b"d", by.id, tuple(i.id for i in by.chain()[1:]), target, approvers, 1, ApprovalState.WAITING, 0, 9
    )


BOB = someone("bob", Kind.HUMAN, "dba")
FOR_BOB = someone("bot", Kind.AGENT, "agents", acting_for=BOB)


@pytest.mark.parametrize(
    ("voter", "approval", "policy", "allowed"),
    [
        (ANN, request(BOT), 'principal in Group::"dba"', True),
        (ANN, request(FOR_BOB), 'principal in Group::"dba"', True),
        (ANN, request(BOT, "dba", "security"), "principal", True),
        (ANN, request(BOT, "security"), "principal", False),
        (ANN, request(BOT), 'principal in Group::"security"', False),
        (ANN, request(BOT, target="other"), "principal", False),
        (BOB, request(BOB), "principal", False),
        (BOB, request(FOR_BOB), "principal", False),
        (BOT, request(ANN), "principal", False),
        (someone("job", Kind.SERVICE, "dba"), request(BOT), "principal", False),
        (someone("bot", Kind.AGENT, "dba", acting_for=ANN), request(BOB), "principal", False),
        (someone("ann", Kind.HUMAN, "dba", acting_for=BOB), request(BOB), "principal", False),
    ],
)
def test_a_vote_is_a_persons_and_never_on_their_own_request(
    voter: Identity, approval: Approval, policy: str, allowed: bool
) -> None:
    """Not their own, nor what an agent acting for them asked; no agent, no service; and policy must let them."""
    policies = rules(f'permit ({policy}, action == Action::"approve", resource)')
    decision = may_vote(policies, voter, approval, SHOP)
    assert (decision.outcome is Outcome.ALLOW) is allowed
    assert allowed or decision.reason


def test_a_vote_cannot_wait_for_a_vote() -> None:
    """A policy that lets people approve only when approved would never end."""
    policies = rules('permit (principal, action == Action::"approve", resource) when { context.approved }')
    assert may_vote(policies, ANN, request(BOT), SHOP).outcome is Outcome.DENY


@pytest.mark.parametrize(
    ("action", "target", "owners", "outcome"),
    [
        ("administer", None, (), Outcome.ALLOW),
        ("administer", SHOP, (), Outcome.ALLOW),
        ("replay", SHOP, (), Outcome.DENY),
        ("replay", SHOP, (f"{ISSUER}|ann",), Outcome.ALLOW),
        ("replay", SHOP, (f"{ISSUER}|bot", f"{ISSUER}|ann"), Outcome.ALLOW),
        ("replay", SHOP, (f"{ISSUER}|annabel",), Outcome.DENY),
        ("export", SHOP, (f"{ISSUER}|ann",), Outcome.DENY),
        ("connect", SHOP, (), Outcome.ALLOW),
        ("connect", None, (), Outcome.DENY),
        ("fly", SHOP, (), Outcome.DENY),
    ],
)
def test_may_answers_for_what_is_no_operation(
    action: str, target: Target | None, owners: tuple[str, ...], outcome: Outcome
) -> None:
    """Connecting, administering, replaying one's own; anything else is denied and never raises."""
    policies = rules(
        'permit (principal, action == Action::"administer", resource in Gateway::"doorward")',
        'permit (principal, action == Action::"connect", resource == Target::"shop")',
        'permit (principal, action == Action::"replay", resource) when { context.own }',
    )
    assert may(policies, ANN, action, target, owners=owners).outcome is outcome


@pytest.mark.parametrize("action", ACTIONS)
def test_whatever_policies_may_read_is_there(action: str) -> None:
    """Every attribute that the schema promises: a policy may read all of them, or the context whole."""
    names = re.findall(r"^  (\w+\??): ", SCHEMA_TEXT.split("type Circumstances")[1].split("};")[0], re.MULTILINE)
    assert len(names) == 15
    everything = " || ".join(f"context.{name} == context.{name}" for name in names if not name.endswith("?"))
    named = rules(
        f'permit (principal, action == Action::"{action}", resource) when {{ ({everything}) '
        "&& context has now && context has client && context has application }"
    )
    extra = {"now": 1_700_000_000_000, "client": "::1", "application": "psql"}
    decision = may(named, ANN, action, SHOP, resource=(ACTIONS[action][0], ""), extra=extra)
    assert decision.outcome is Outcome.ALLOW, decision.reason
    whole = rules(f'permit (principal, action == Action::"{action}", resource) when {{ context == context }}')
    assert may(whole, ANN, action, SHOP, resource=(ACTIONS[action][0], ""), extra=extra).outcome is Outcome.ALLOW
    assert may(whole, ANN, action, SHOP, resource=(ACTIONS[action][0], "")).outcome is Outcome.DENY


TEXTS = st.text(max_size=12) | st.sampled_from(["public.customers", "public.orders", "pg_catalog.now", ""])
KINDS = st.sampled_from(["Target", "Database", "Schema", "Table", "Function", "Setting", "Nothing"])
RESOURCES = st.lists(st.builds(Resource, KINDS, TEXTS, st.sampled_from(Effect)), max_size=4)
SOMEONE = st.builds(
    someone, TEXTS, st.sampled_from(Kind), st.sampled_from(["agents", "dba", "people"]),
    acting_for=st.none() | st.just(BOB),
)  # fmt: skip
OPERATIONS = st.builds(
    Operation, id=st.just("o"), session_id=st.just("s"), action=TEXTS, effect=st.sampled_from(Effect), text=TEXTS,
    resources=RESOURCES.map(tuple), labels=st.frozensets(st.sampled_from(["ssn", "card"]), max_size=2), role=TEXTS,
    in_transaction=st.booleans(),
)  # fmt: skip
CONDITIONS = st.sampled_from([
    "", "when { context.approved }", "unless { context.approved }", 'when { context.labels.contains("ssn") }',
    'when { context.purpose like "a*" }', "when { context.delegated }", "when { 9223372036854775807 + 1 > 0 }",
    "when { context has now }", "when { context.in_transaction }",
])  # fmt: skip
SCOPES = st.tuples(
    st.sampled_from(["principal", 'principal in Group::"agents"', "principal is User"]),
    st.sampled_from(["action", *(f'action == Action::"{a}"' for a in ("read", "write", "unknown"))]),
    st.sampled_from(["resource", 'resource in Target::"shop"', 'resource in Schema::"shop.public"']),
).map(", ".join)
SET = st.lists(st.tuples(st.sampled_from(["permit", "permit", "forbid"]), SCOPES, CONDITIONS), max_size=4)
RANK = {Outcome.DENY: 0, Outcome.HOLD: 1, Outcome.ALLOW: 2}


def written(policies: list[tuple[str, str, str]]) -> PolicySet:
    return rules(*(f"{effect} ({scope}) {condition}" for effect, scope, condition in policies))


@settings(max_examples=60, deadline=None)
@given(SOMEONE, OPERATIONS, SET, TEXTS, st.dictionaries(st.sampled_from(["now", "client", "x"]), st.integers() | TEXTS))
def test_decide_is_total_and_deterministic(
    identity: Identity, operation: Operation, policies: list[tuple[str, str, str]], purpose: str, extra: dict[str, Any]
) -> None:
    """Any input gives a Decision, and the same input, with policies parsed anew, the same one."""
    first = decide(written(policies), identity, SHOP, operation, purpose=purpose, extra=extra)
    assert isinstance(first, Decision)
    assert first == decide(written(policies), identity, SHOP, operation, purpose=purpose, extra=extra)
    assert first.unmask <= operation.labels
    for action in ACTIONS:
        assert isinstance(may(written(policies), identity, action, SHOP, purpose=purpose, extra=extra), Decision)


@settings(max_examples=100, deadline=None)
@given(SOMEONE, OPERATIONS, SET, SCOPES, CONDITIONS, TEXTS)
def test_adding_a_forbid_never_allows_more(
    identity: Identity, operation: Operation, policies: list[tuple[str, str, str]], scope: str, when: str, purpose: str
) -> None:
    """deny < hold < allow only ever goes down, and under the same outcome no label more is shown."""
    before = decide(written(policies), identity, SHOP, operation, purpose=purpose)
    after = decide(written([*policies, ("forbid", scope, when)]), identity, SHOP, operation, purpose=purpose)
    assert RANK[after.outcome] <= RANK[before.outcome]
    if after.outcome is before.outcome:
        assert after.unmask <= before.unmask


PARTLY = '@id("partly") @transform("ssn=partial, card=null") permit (principal in Group::"agents", action == Action::"read", '
TRANSFORMING = {
    "one that says so": ((), {"ssn": "partial", "card": "null"}),
    "beside one that does not": (
        ('@id("too") permit (principal in Group::"agents", action, resource)',), {"ssn": "partial", "card": "null"}
    ),
    "two that differ": (
        ('@id("x") @transform("ssn=token, card=partial") permit (principal is Agent, action, resource)',),
        {"ssn": "token", "card": "null"},
    ),
}  # fmt: skip


def transforming(*more: str) -> PolicySet:
    text = "\n".join(f"{policy};" for policy in (PARTLY + 'resource in Target::"shop")', *more))
    return load({"t.cedar": text}, transforms={"card": "hash"})


@pytest.mark.parametrize("case", TRANSFORMING)
def test_a_policy_says_what_becomes_of_what_it_lets_out(case: str) -> None:
    """The strictest of those that say so; one that says nothing has no say."""
    more, becomes = TRANSFORMING[case]
    decision = decide(transforming(*more), BOT, SHOP, asks(Effect.READ, CUSTOMERS))
    assert decision.outcome is Outcome.ALLOW
    assert dict(decision.transforms) == becomes


def test_everything_that_is_needed_must_let_more_of_it_out() -> None:
    """A table, or a principal, whose policies do not name a label keeps what the configuration says of it: `partial` was
    given for another table, or for somebody else. What is stricter than the configuration holds for all."""
    staff = Resource("Table", "public.staff", Effect.READ)
    narrow = PARTLY + 'resource == Table::"shop.public.customers")'
    other = '@id("other") permit (principal in Group::"agents", action == Action::"read", resource)'
    policies = load({"t.cedar": f"{narrow};{other} unless {{ resource == Table::\"shop.public.customers\" }};"})
    assert dict(decide(policies, BOT, SHOP, asks(Effect.READ, CUSTOMERS)).transforms)["ssn"] == "partial"
    assert dict(decide(policies, BOT, SHOP, asks(Effect.READ, CUSTOMERS, staff)).transforms) == {"card": "null"}
    people = '@id("people") permit (principal is User, action, resource)'
    acting = someone("bot", Kind.AGENT, "agents", acting_for=ANN)
    decision = decide(transforming(people), acting, SHOP, asks(Effect.READ, CUSTOMERS))
    assert (decision.outcome, dict(decision.transforms)) == (Outcome.ALLOW, {"card": "null"})


def test_what_is_held_says_what_becomes_of_it() -> None:
    """As it will be once it is approved."""
    held = PARTLY + "resource) when { context.approved }"
    decision = decide(load({"t.cedar": held + ";"}), BOT, SHOP, asks(Effect.READ, CUSTOMERS))
    assert (decision.outcome, dict(decision.transforms)) == (Outcome.HOLD, {"ssn": "partial", "card": "null"})
