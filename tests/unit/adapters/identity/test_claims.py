"""Claims to an Identity: who, what kind, which groups, on whose behalf."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from doorward.adapters.identity.claims import find, identity
from doorward.adapters.identity.settings import IssuerSettings, KindRule
from doorward.errors import AuthenticationError, ConfigError
from doorward.model import Identity, Kind, assurance

ISSUER = "https://issuer.example"


def settings(**changes: Any) -> IssuerSettings:
    return IssuerSettings(**{"url": ISSUER, "audience": ("doorward",), **changes})


def who(claims: dict[str, Any], /, **changes: Any) -> Identity:
    return identity({"sub": "alice", "exp": 2000, "iat": 1000, **claims}, settings(**changes), now=1_000_000, token_id="t")


@pytest.mark.parametrize(
    ("path", "value"),
    [
        ("groups", ["a"]),
        ("realm_access.roles", ["b"]),
        ("kubernetes.io", {"namespace": "shop", "pod": {"name": "p"}}),
        ("kubernetes.io.namespace", "shop"),
        ("kubernetes.io.pod.name", "p"),
        ("https://example.com/groups", ["c"]),
        ("resource_access.door.ward.roles", ["d"]),
        ("realm_access", {"roles": ["b"]}),
        ("nothing", None),
        ("groups.more", None),
        ("realm_access.nothing", None),
        ("", None),
        (".", None),
        (".".join("a" * 2000), None),
    ],
)
def test_dotted_paths(path: str, value: object) -> None:
    """A path walks through objects, and finds names that have dots themselves."""
    claims = {
        "groups": ["a"],
        "realm_access": {"roles": ["b"]},
        "kubernetes.io": {"namespace": "shop", "pod": {"name": "p"}},
        "https://example.com/groups": ["c"],
        "resource_access": {"door.ward": {"roles": ["d"]}},
    }
    assert find(claims, path) == value


@pytest.mark.parametrize(
    "claims",
    [
        {"sub": "system:serviceaccount:shop:worker", "kubernetes.io": {"namespace": "shop"}},
        {"sub": "repo:example/shop:ref:refs/heads/main"},
        {"sub": "repo:example@1/shop@2:environment:production"},
        {"sub": "project_path:example/shop:ref_type:branch:ref:main"},
        {"sub": "spiffe://example.com/worker"},
        {"sub": "robot", "client_id": "robot"},
        {"sub": "robot", "azp": "robot"},
        {"sub": "0oa1", "cid": "0oa1"},
        {"sub": "abc@clients"},
        {"gty": "client-credentials"},
        {"idtyp": "app"},
        {"preferred_username": "service-account-robot"},
    ],
)
def test_machines_are_never_people(claims: dict[str, Any]) -> None:
    """A token of a shape that only machines have is a service although no rule says so: it could not vote."""
    assert who(claims).kind is Kind.SERVICE


def test_default_kind() -> None:
    """Without rule and shape a principal is what the issuer's settings say: by default human."""
    assert who({"client_id": "cli", "azp": "cli"}).kind is Kind.HUMAN
    assert who({}, default_kind=Kind.SERVICE).kind is Kind.SERVICE


@pytest.mark.parametrize(
    ("claims", "kind"),
    [
        ({"roles": ["x", "ai-agent"]}, Kind.AGENT),
        ({"roles": "ai-agent"}, Kind.AGENT),
        ({"bot": True}, Kind.SERVICE),
        ({"bot": False}, Kind.HUMAN),
        ({"level": 7}, Kind.SERVICE),
        ({"sub": "ci-42"}, Kind.SERVICE),
        ({"sub": "CI-42"}, Kind.HUMAN),
        ({"roles": ["ai-agent"], "bot": True}, Kind.AGENT),
        ({"sub": "robot", "client_id": "robot", "roles": ["ai-agent"]}, Kind.AGENT),
        ({"roles": {"ai-agent": 1}}, Kind.HUMAN),
        ({"roles": [["ai-agent"]]}, Kind.HUMAN),
    ],
)
def test_kind_rules(claims: dict[str, Any], kind: Kind) -> None:
    """The first rule that matches decides, before any known shape; patterns match whole values, case and all."""
    rules = (
        KindRule("roles", ("ai-agent",), Kind.AGENT),
        KindRule("bot", ("true",), Kind.SERVICE),
        KindRule("level", ("7",), Kind.SERVICE),
        KindRule("sub", ("ci-*",), Kind.SERVICE),
    )
    assert who(claims, kind_rules=rules).kind is kind


@pytest.mark.parametrize(("claim", "values"), [("", ("x",)), ("x", ())])
def test_a_rule_that_says_nothing_is_refused(claim: str, values: tuple[str, ...]) -> None:
    """A rule without a claim or a value is a mistake."""
    with pytest.raises(ConfigError):
        KindRule(claim, values, Kind.HUMAN)


@pytest.mark.parametrize(
    ("amr", "kept"),
    [
        (["pwd", "otp"], "otp pwd"), (["hwk", "hwk"], "hwk"), ([], None), ("pwd", None), (["a b"], None), (["\n"], None),
        ([1], None),
    ],
)
def test_how_somebody_signed_in_is_kept(amr: Any, kept: str | None) -> None:
    """`amr`, whichever claims are configured: methods in order, a space between two; what is none is left out."""
    assert who({"amr": amr}, claims={}).claims.get("amr") == kept


def test_claims_are_kept_as_configured() -> None:
    """Text, numbers and yes or no are kept under the configured names; anything else is not."""
    kept = who(
        {"email": "a@b.c", "repository_id": 42, "email_verified": True, "name": ["x"], "azp": "a\nb", "other": "y"},
        claims={"email": "email", "repository": "repository_id", "ok": "email_verified", "name": "name", "azp": "azp"},
    ).claims
    assert kept == {"email": "a@b.c", "repository": "42", "ok": "true"}


def test_an_actor_comes_first() -> None:
    """The actor is the identity, an agent, with groups of its own; the subject is whom it acts for."""
    robot = who(
        {"groups": ["dba"], "email": "a@b.c", "act": {"sub": "robot", "iss": ISSUER, "groups": ["g"], "client_id": "r"}},
        agent_groups=("agents",),
    )
    assert (robot.subject, robot.kind, robot.groups) == ("robot", Kind.AGENT, frozenset({"g", "agents"}))
    assert robot.claims == {"client_id": "r"}
    alice = robot.on_behalf_of
    assert alice is not None
    assert (alice.subject, alice.kind, alice.groups) == ("alice", Kind.HUMAN, frozenset({"dba"}))
    assert alice.claims == {"email": "a@b.c"}
    assert [link.subject for link in robot.chain()] == ["robot", "alice"]
    assert (robot.token_id, robot.expires_at, robot.authenticated_at) == ("t", 2_000_000, 1_000_000)


def test_earlier_actors_are_for_the_record_only() -> None:
    """RFC 8693 section 4.1: only the current actor and the subject count; the others are kept as a claim."""
    robot = who({"act": {"sub": "robot", "act": {"sub": "planner", "act": {"sub": "broker"}}}})
    assert [link.subject for link in robot.chain()] == ["robot", "alice"]
    assert robot.claims["prior_actors"] == "planner < broker"


@pytest.mark.parametrize(
    ("kind", "result"), [(Kind.HUMAN, Kind.AGENT), (Kind.AGENT, Kind.AGENT), (Kind.SERVICE, Kind.SERVICE)]
)
def test_an_actor_is_never_human(kind: Kind, result: Kind) -> None:
    """A rule may make an actor a service; none makes it a person who could vote, nor does the issuer's default."""
    rules = (KindRule("sub", ("robot",), kind),)
    assert who({"act": {"sub": "robot"}}, kind_rules=rules, default_kind=Kind.HUMAN).kind is result


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(max_size=6),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=6), inner, max_size=3),
    max_leaves=10,
)
NAMES = st.sampled_from(["sub", "act", "groups", "email", "roles", "kubernetes.io", "_claim_names", "iss", "client_id"])
CLAIMS = st.dictionaries(NAMES, JSON | st.dictionaries(NAMES, JSON, max_size=4), max_size=6)


@given(claims=CLAIMS)
def test_any_claims_give_an_identity_or_a_refusal(claims: dict[str, Any]) -> None:
    """Total over JSON: an Identity whose every text is bounded and printable, or AuthenticationError."""
    rules = (KindRule("roles", ("a*",), Kind.AGENT),)
    try:
        found = identity({**claims, "exp": 5, "iat": 1}, settings(kind_rules=rules), now=1, token_id="t")
    except AuthenticationError:
        return
    for link in found.chain():
        texts = [link.subject, *link.groups, *link.claims.values()]
        assert all(text.isprintable() and len(text) <= 2100 for text in texts)
        assert link.subject
    assert ("act" in claims) is (found.on_behalf_of is not None)
    assert found.on_behalf_of is None or found.kind is not Kind.HUMAN


@pytest.mark.parametrize(
    ("lifetime", "bound", "attested", "human", "level"),
    [
        (300, False, False, True, "V1"), (3600, False, True, True, "V1"), (3701, False, True, True, "V0"),
        (300, True, False, True, "V2"), (300, True, True, False, "V2"), (86400, True, False, False, "V2"),
        (300, True, True, True, "V3"),
    ],
)  # fmt: skip
def test_how_well_somebody_has_shown_who_they_are(
    lifetime: int, bound: bool, attested: bool, human: bool, level: str
) -> None:
    """A bearer token is V1, a long one V0, whatever it says of its bearer; only a key makes more of it."""
    assert assurance(lifetime=lifetime, bound=bound, attested=attested, human=human) == level
    assert assurance(lifetime=lifetime, bound=bound, attested=attested, human=human).level == int(level[1])
