"""Tokens of platforms, in the shape that they really have: known by ids that nobody can choose, or refused."""

from __future__ import annotations

import time
from typing import Any

import pytest

from doorward.adapters.identity.oidc import OidcAuthenticator
from doorward.errors import AuthenticationError, ConfigError
from doorward.model import Assurance, Identity, Kind
from tests.rig.issuer import LocalIssuer

NOW = int(time.time())

# GitHub, "OpenID Connect reference": the example token, with the ids that the platform adds.
GITHUB: dict[str, Any] = {
    "sub": "repo:octo-org/octo-repo:environment:prod", "client_id": None, "jti": "example-id", "environment": "prod",
    "ref": "refs/heads/main", "sha": "a" * 40, "repository": "octo-org/octo-repo", "repository_owner": "octo-org",
    "actor_id": "12", "repository_visibility": "private", "repository_id": "74", "repository_owner_id": "65",
    "run_id": "4242", "run_number": "10", "run_attempt": "2", "runner_environment": "github-hosted", "actor": "octocat",
    "workflow": "deploy", "head_ref": "", "base_ref": "", "event_name": "workflow_dispatch", "ref_type": "branch",
    "job_workflow_ref": "octo-org/octo-automation/.github/workflows/oidc.yml@refs/heads/main", "job_workflow_sha": "b" * 40,
    "workflow_ref": "octo-org/octo-repo/.github/workflows/deploy.yml@refs/heads/main", "workflow_sha": "c" * 40,
    "check_run_id": "99", "nbf": NOW - 60, "iat": NOW, "exp": NOW + 300,
}  # fmt: skip
GITLAB: dict[str, Any] = {
    "sub": "project_path:my-group/my-project:ref_type:branch:ref:feature", "client_id": None, "jti": "235b3a54-b797",
    "namespace_id": "72", "namespace_path": "my-group", "project_id": "20", "project_path": "my-group/my-project",
    "user_id": "1", "user_login": "sample-user", "pipeline_id": "574", "job_id": "302", "ref": "feature", "ref_type": "branch",
    "ref_protected": "false", "environment": "prod", "environment_protected": "true", "runner_id": 1,
    "runner_environment": "self-hosted", "sha": "d" * 40, "ci_config_ref_uri": "gitlab.example/x//.gitlab-ci.yml@refs/heads/m",
    "ci_config_sha": "e" * 40, "nbf": NOW - 5, "iat": NOW, "exp": NOW + 3600,
}  # fmt: skip
UID = "14ee3fa4-a7e2-420f-9f9a-dbc4507c3798"
KUBERNETES: dict[str, Any] = {
    "sub": "system:serviceaccount:payments:worker", "client_id": None, "jti": "0d1b", "nbf": NOW, "iat": NOW, "exp": NOW + 3607,
    "kubernetes.io": {
        "namespace": "payments", "serviceaccount": {"name": "worker", "uid": UID},
        "pod": {"name": "worker-0", "uid": "646811c3-0000-4c1d-8b7a-3c6b6b6b6b6b"}, "node": {"name": "n1", "uid": "42aa"},
        "warnafter": NOW + 3000,
    },
}  # fmt: skip
SPIFFE: dict[str, Any] = {
    "sub": "spiffe://acme.example/ns/payments/sa/worker", "client_id": None, "jti": "s1", "iat": NOW, "exp": NOW + 300,
}  # fmt: skip


def fresh(claims: dict[str, Any]) -> dict[str, Any]:
    """The same, with its times as they were meant when this file was read."""
    since = int(time.time()) - NOW
    return {
        name: value + since if name in ("iat", "nbf", "exp") and isinstance(value, int) else value
        for name, value in claims.items()
    }


async def known(issuer: LocalIssuer, workload: str, claims: dict[str, Any], **changes: Any) -> Identity:
    authenticator = OidcAuthenticator([issuer.settings(workload=workload)])
    return await authenticator.authenticate(issuer.mint({"typ": "JWT"}, **fresh({**claims, **changes})))


@pytest.mark.parametrize(
    ("workload", "claims", "subject", "kept"),
    [
        ("github", GITHUB, "repository:65/74", {"environment": "prod", "job_workflow_sha": "b" * 40, "run_attempt": "2"}),
        # Made or renamed after 15 July 2026, or opted in.
        ("github", {**GITHUB, "sub": "repo:octo-org@65/octo-repo@74:ref:refs/heads/main"}, "repository:65/74", {}),
        ("github", {**GITHUB, "sub": "repo:renamed/again:pull_request"}, "repository:65/74", {"repository_id": "74"}),
        ("github", {**GITHUB, "sub": "repository_owner_id:65"}, "repository:65/74", {}),  # a template of the organisation's
        ("gitlab", GITLAB, "project:72/20", {"pipeline_id": "574", "ref_protected": "false", "runner_id": "1"}),
        (
            "kubernetes", KUBERNETES, f"serviceaccount:payments/worker@{UID}",
            {"serviceaccount_uid": UID, "pod": "worker-0", "node_uid": "42aa"},
        ),
        ("spiffe", SPIFFE, "spiffe://acme.example/ns/payments/sa/worker", {}),
        ("oidc", {"sub": "job-7", "client_id": "job-7"}, "job-7", {"client_id": "job-7"}),
    ],
)  # fmt: skip
async def test_a_job_is_known_by_its_ids(
    local_issuer: LocalIssuer, workload: str, claims: dict[str, Any], subject: str, kept: dict[str, str]
) -> None:
    """Whatever its repository or its branch is called; never a person; by a bearer token."""
    found = await known(local_issuer, workload, claims)
    assert (found.subject, found.kind, found.assurance) == (subject, Kind.SERVICE, Assurance.V1)
    assert {**found.claims, **kept, "workload": workload} == found.claims


@pytest.mark.parametrize(
    ("workload", "claims", "changes", "said"),
    [
        ("github", GITHUB, {"repository_id": None}, "has no 'repository_id'"),
        ("github", GITHUB, {"repository_owner_id": "65; drop"}, "its ids are not numbers"),
        ("github", GITHUB, {"sub": "repo:octo-org@65/octo-repo@75:ref:x"}, "ids in its subject are not those"),
        ("github", GITHUB, {"sub": "repo:octo-org@66/octo-repo@74:ref:x"}, "ids in its subject are not those"),
        ("github", GITHUB, {"exp": NOW + 7200}, "lasts 120 minutes"),
        ("github", SPIFFE, {}, "has no 'repository_id'"),
        ("gitlab", GITLAB, {"project_id": None}, "has no 'project_id'"),
        ("gitlab", GITLAB, {"namespace_id": ["72"]}, "has no 'namespace_id'"),
        ("kubernetes", KUBERNETES, {"kubernetes.io": None}, "has no 'kubernetes.io.namespace'"),
        ("kubernetes", KUBERNETES, {"sub": "system:serviceaccount:payments:root"}, "not the service account"),
        (
            "kubernetes", KUBERNETES,
            {"kubernetes.io": {"namespace": "payments", "serviceaccount": {"name": "worker"}}}, "serviceaccount.uid'",
        ),
        # A legacy token of a secret: it never ends, and it is for anybody.
        (
            "kubernetes",
            {"sub": "system:serviceaccount:payments:worker", "kubernetes.io/serviceaccount/namespace": "payments",
             "kubernetes.io/serviceaccount/service-account.uid": UID},
            {"exp": None, "iat": None, "aud": None, "jti": None}, "it is meant for nobody",
        ),
        ("kubernetes", KUBERNETES, {"exp": None}, "it has no 'exp'"),
        ("kubernetes", KUBERNETES, {"aud": None}, "it is meant for nobody"),
        ("spiffe", SPIFFE, {"exp": NOW + 301}, "a spiffe token may last 5"),
        ("spiffe", SPIFFE, {"exp": None}, "it has no 'exp'"),
        ("spiffe", SPIFFE, {"sub": "spiffe://acme.example"}, "no SPIFFE id"),
        ("spiffe", SPIFFE, {"sub": "spiffe://Acme.example/x"}, "no SPIFFE id"),
        ("spiffe", SPIFFE, {"sub": "spiffe://acme.example/../x y"}, "no SPIFFE id"),
    ],
)  # fmt: skip
async def test_what_is_not_the_platforms_is_refused(
    local_issuer: LocalIssuer, workload: str, claims: dict[str, Any], changes: dict[str, Any], said: str
) -> None:
    """Without its ids, with contradicting ones, without an end, for nobody in particular, or for too long."""
    with pytest.raises(AuthenticationError, match=said):
        await known(local_issuer, workload, claims, **changes)


async def test_no_rule_makes_a_job_a_person(local_issuer: LocalIssuer) -> None:
    """But it may be an agent."""
    from doorward.adapters.identity.oidc import KindRule

    for kind, found in ((Kind.HUMAN, Kind.SERVICE), (Kind.AGENT, Kind.AGENT)):
        rules = (KindRule("sub", ("*",), kind),)
        authenticator = OidcAuthenticator([local_issuer.settings(workload="github", kind_rules=rules)])
        identity = await authenticator.authenticate(local_issuer.mint({"typ": "JWT"}, **fresh(GITHUB)))
        assert identity.kind is found


def test_the_platforms_name_is_the_gateways_own(local_issuer: LocalIssuer) -> None:
    """A claim of an issuer cannot say that a workload is attested."""
    with pytest.raises(ConfigError, match="gateway's own name"):
        local_issuer.settings(claims={"workload": "x"})
