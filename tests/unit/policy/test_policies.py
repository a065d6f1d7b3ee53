"""Loading policies: what is refused, and where it says that the fault is."""

from __future__ import annotations

import pytest

from doorward.errors import ConfigError
from doorward.policy.policies import load

GOOD = '@id("a")\npermit (principal, action, resource);\n'


@pytest.mark.parametrize(
    ("text", "complaint"),
    [
        ("permit (principal, action, resource);", 'f.cedar:1: the policy has no @id("name")'),
        ('// why\n\n@id("a")\npermit(principal,\naction,\nresorce);', "f.cedar:6: found an invalid variable"),
        ('@id("x")\npermit (principal, action, resource)\nwhen { 1 +\n };\n', "f.cedar:4: unexpected token `}`"),
        (GOOD + '@id("b") permit (principal, action, resource)', "f.cedar:3: the policy ends too early"),
        (GOOD + "nonsense;", "f.cedar:3: "),
        (GOOD + ";", "f.cedar:3: "),
        ('@id("a") permit (principal, action, resource) when { "x };\n', "f.cedar:1: invalid token"),
        (GOOD + GOOD, 'f.cedar:3: @id("a") is taken by the policy at f.cedar:1'),
        ('@id("a")\n@colour("red") permit (principal, action, resource);', "f.cedar:2: unknown annotation @colour"),
        ('@id("") permit (principal, action, resource);', "f.cedar:1: @id must be"),
        ('@id("a b") permit (principal, action, resource);', "f.cedar:1: @id must be"),
        ('@id("a")\n@quorum("2") permit (principal, action, resource);', "f.cedar:2: @quorum on a policy that never"),
        ('@id("a") permit (principal == ?principal, action, resource);', "f.cedar:1: a template"),
        ('@id("a") permit (principal, action == Action::"reed", resource);', "f.cedar:1: policy a: unrecognized"),
        ('@id("a") permit (principal in Grupp::"x", action, resource);', "f.cedar:1: policy a: unrecognized"),
        ('@id("a") permit (principal, action, resource) when { context.foo };', "policy a: attribute `foo` is not in"),
        ('@id("a") permit (principal is Agent, action == Action::"approve", resource);', "f.cedar:1: policy a: "),
        ('@id("a")\n@reason("one\\ntwo") permit (principal, action, resource);', "f.cedar:2: @reason must be"),
        (GOOD + "\x00", "f.cedar:3: a NUL character"),
        ("/" * (1 << 20) + "/", "f.cedar:1: the file is longer than"),
    ],
)
def test_a_fault_is_named_with_file_and_line(text: str, complaint: str) -> None:
    """One line each, `file:line: what`; nothing is loaded."""
    with pytest.raises(ConfigError) as caught:
        load({"f.cedar": text})
    assert complaint in caught.value.message
    assert caught.value.hint


@pytest.mark.parametrize(
    "condition",
    ["(" * 5000 + "true" + ")" * 5000, "[" * 5000, "true && " * 5000 + "true", "context" + ".a" * 5000,
     "if true then " * 5000, "1 + " * 5000 + "1 == 1", "!" * 5000 + "true", "{a:" * 5000],
)  # fmt: skip
def test_a_policy_nested_too_deeply_is_a_fault_and_not_the_end_of_the_process(condition: str) -> None:
    """Cedar's parser recurses without a bound: such a text would end the gateway when policies are reloaded."""
    with pytest.raises(ConfigError, match=r"f\.cedar:2: the policy is nested too deeply"):
        load({"f.cedar": f'@id("a") permit (principal, action, resource)\nwhen {{ {condition} }};'})


def test_a_long_list_is_no_nesting() -> None:
    """A policy may name many things."""
    tables = ", ".join(f'Table::"shop.public.t{n}"' for n in range(2000))
    assert load({"f": f'@id("a") permit (principal, action == Action::"read", resource) when {{ resource in [{tables}] }};'})


@pytest.mark.parametrize(
    ("annotation", "complaint"),
    [
        ('@quorum("0")', "@quorum must be"),
        ('@budget("5")', "@budget is for a permit of"),
        ('@quorum("17")', "@quorum must be"),
        ('@quorum("two")', "@quorum must be"),
        ("@quorum", "@quorum must be"),
        ('@expires("15")', "@expires must be"),
        ('@expires("15 m")', "@expires must be"),
        ('@expires("0m")', "@expires must be"),
        ('@expires("8d")', "@expires must be"),
        ('@approvers("")', "@approvers must be"),
        ('@approvers("dba,,sec")', "@approvers must be"),
    ],
)
def test_an_annotation_must_mean_something(annotation: str, complaint: str) -> None:
    """A hold that nobody can release, or that never ends, is an error and not a default."""
    with pytest.raises(ConfigError, match="f.cedar:1: " + complaint):
        load({"f.cedar": f'@id("a") {annotation} permit (principal, action, resource) when {{ context.approved }};'})


@pytest.mark.parametrize(("text", "seconds"), [("90s", 90), ("15m", 900), ("1h", 3600), ("7d", 604800)])
def test_expiry_is_read_in_seconds(text: str, seconds: int) -> None:
    """s, m, h and d."""
    loaded = load({
        "f": f'@id("a") @expires("{text}") permit (principal, action, resource) when {{ context.approved }};'
    })
    assert loaded.rules["a"].expires == seconds


def test_all_faults_are_reported_at_once() -> None:
    """Nobody wants to mend a file one error at a time."""
    with pytest.raises(ConfigError) as caught:
        load({"b.cedar": "permit (principal, action, resource);", "a.cedar": GOOD + "x;"})
    assert [line.split(" ")[0] for line in caught.value.message.splitlines()] == ["a.cedar:3:", "b.cedar:1:"]


def test_a_semicolon_in_a_string_or_comment_ends_no_policy() -> None:
    """The cut between policies is where Cedar makes it."""
    text = '@id("a") permit (principal, action, resource) // ;\n when { context.purpose == "; \\"; //" };\n// "\n' + (
        GOOD.replace('"a"', '"b"')
    )
    assert load({"f": text}).ids == ("a", "b")


def test_the_hash_covers_the_text_and_not_the_names_of_files() -> None:
    """Two gateways with the same policies show the same hash; another character shows another."""
    assert load({"x": GOOD}).hash == load({"y": GOOD}).hash
    assert load({"x": GOOD}).hash != load({"x": GOOD + " "}).hash
    assert len(load({}).hash) == 64


def test_what_policies_read_and_mention_is_known() -> None:
    """Callers learn what to supply, and `policy check` can warn of names that exist nowhere."""
    loaded = load({
        "f": '@id("a") permit (principal in Group::"g", action, resource in Target::"shop") '
        'when { context has now && context.purpose == "x" || principal in Group::"h" };'
    })
    assert loaded.reads("now", "read")
    assert loaded.reads("purpose", "connect")
    assert not loaded.reads("approved", "read")
    assert (loaded.mentions("Group"), loaded.mentions("Target")) == (frozenset({"g", "h"}), frozenset({"shop"}))


@pytest.mark.parametrize(
    ("policy", "complaint"),
    [
        ('@transform("ssn") permit (principal, action, resource);', "must name each label once"),
        ('@transform("ssn=null, ssn=hash") permit (principal, action, resource);', "must name each label once"),
        ('@transform("ssn=rot13") permit (principal, action, resource);', "no transform is named rot13; there are null, "),
        ('@transform("ssn=token") permit (principal, action, resource);', "ssn has no token here"),
        ('@transform("ssn=null") forbid (principal, action, resource);', "permits no operation"),
        ('@transform("ssn=null") permit (principal, action == Action::"unmask", resource);', "permits no operation"),
    ],
)
def test_a_transform_that_cannot_be_is_a_fault(policy: str, complaint: str) -> None:
    """With file and line, like every other."""
    with pytest.raises(ConfigError, match=f"f.cedar:2: .*{complaint}"):
        load(
            {"f.cedar": f'@id("a")\n{policy}'},
            objection=lambda label, transform: f"{label} has no {transform} here" if transform == "token" else "",
        )


SEATED = '@id("a") @quorum("{}") {} permit (principal, action == Action::"write", resource) when {{ context.approved }};'


def test_a_quorum_may_say_how_many_of_which_group() -> None:
    """Then it is as many people as there are seats, and whoever has a seat may decide."""
    rule = load({"p.cedar": SEATED.format("dba:1, security: 2", "")}).rules["a"]
    assert (rule.quorum, dict(rule.seats), rule.approvers) == (3, {"dba": 1, "security": 2}, ("dba", "security"))
    both = load({"p.cedar": SEATED.format("dba:1", '@approvers("dba, security")')}).rules["a"]
    assert (both.quorum, dict(both.seats), both.approvers) == (1, {"dba": 1}, ("dba", "security"))


@pytest.mark.parametrize("said", ["dba:0", "dba:", ":1", "dba:1,", "dba:17", "dba:9, security:9", "dba:x", "dba 1", "dba:-1"])
def test_a_quorum_of_no_seats_is_a_fault(said: str) -> None:
    """Counts from 1, groups with names, 16 people at most."""
    with pytest.raises(ConfigError, match="@quorum"):
        load({"p.cedar": SEATED.format(said, "")})


def test_a_seat_that_nobody_may_take_is_a_fault() -> None:
    """@approvers must not leave out a group that @quorum asks for."""
    with pytest.raises(ConfigError, match="leaves out"):
        load({"p.cedar": SEATED.format("dba:1", '@approvers("security")')})
