"""What the platforms of workloads put into their tokens, and which of it nobody can choose.

Contract: `read` gives a workload's subject and claims by immutable ids, or an AuthenticationError. Names of repositories,
projects and accounts can be given up and taken by somebody else; they are recorded and identify nobody. `must_bind` says
what an agent's registration has to name at least.

Sources: GitHub, "OpenID Connect reference"; GitLab, "ID token payload"; Kubernetes, "Managing Service Accounts" (bound
tokens); the SPIFFE JWT-SVID specification.

Deliberately not here: whether the pod, the job or the account still exists (the token is short instead).
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

from doorward.adapters.identity.jwt import refused
from doorward.errors import AuthenticationError
from doorward.model import LONGEST_BEARER

Find = Callable[[object, str], object]

MOST = 512  # characters of a claim that is kept


@dataclass(frozen=True, slots=True)
class Platform:
    """One kind of issuer. `ids` and `recorded` are claims by the names that policies and records give them; without all of
    `ids` a token is refused. `longest` is how many seconds a token may last. `attested`: the platform vouches for the
    workload itself, and not only for whoever has its client's secret."""

    must_bind: tuple[str, ...]
    ids: Mapping[str, str] = field(default_factory=dict)
    recorded: Mapping[str, str] = field(default_factory=dict)
    longest: int = LONGEST_BEARER
    attested: bool = True


def _same(*names: str) -> dict[str, str]:
    return {name: name for name in names}


PLATFORMS: Mapping[str, Platform] = {
    "github": Platform(
        must_bind=("repository_id", "repository_owner_id"),
        ids=_same("repository_id", "repository_owner_id"),
        recorded=_same(
            "environment", "ref", "ref_type", "event_name", "workflow_ref", "workflow_sha", "job_workflow_ref",
            "job_workflow_sha", "run_id", "run_attempt", "check_run_id", "actor_id", "runner_environment", "repository", "sha",
        ),
    ),
    "gitlab": Platform(
        must_bind=("project_id", "namespace_id"),
        ids=_same("project_id", "namespace_id"),
        recorded=_same(
            "pipeline_id", "job_id", "ref", "ref_protected", "environment", "environment_protected", "user_id", "runner_id",
            "runner_environment", "sha", "ci_config_ref_uri", "ci_config_sha", "project_path", "namespace_path",
        ),
    ),
    "kubernetes": Platform(
        must_bind=("namespace", "serviceaccount_uid"),
        ids={
            "namespace": "kubernetes.io.namespace",
            "serviceaccount": "kubernetes.io.serviceaccount.name",
            "serviceaccount_uid": "kubernetes.io.serviceaccount.uid",
        },
        recorded={
            "pod": "kubernetes.io.pod.name", "pod_uid": "kubernetes.io.pod.uid",
            "node": "kubernetes.io.node.name", "node_uid": "kubernetes.io.node.uid",
        },
    ),
    "spiffe": Platform(must_bind=("sub",), longest=300),
    "oidc": Platform(must_bind=("sub", "client_id"), attested=False),
}  # fmt: skip

ATTESTED = frozenset(name for name, platform in PLATFORMS.items() if platform.attested)

_NUMBER = re.compile(r"[0-9]{1,20}\Z")
_UID = re.compile(r"[0-9a-fA-F-]{8,64}\Z")
# A repository that was created or renamed after 15 July 2026 has its ids in the subject; older ones may opt in.
_GITHUB_SUB = re.compile(r"repo:[^/:@]+(?:@(\d+))?/[^/:@]+(?:@(\d+))?(?::|\Z)")
_SPIFFE = re.compile(r"spiffe://[a-z0-9._-]{1,255}(?:/[A-Za-z0-9._-]+)+\Z")


def read(name: str, claims: Mapping[str, Any], find: Find) -> tuple[str, dict[str, str]]:
    """The subject and the claims that a verified token of this platform gives its workload."""
    platform = PLATFORMS[name]
    kept: dict[str, str] = {}
    for named, path in {**platform.ids, **platform.recorded}.items():
        value = find(claims, path)
        text = "true" if value is True else "false" if value is False else str(value)
        if isinstance(value, str | int) and 0 < len(text) <= MOST and text.isprintable():
            kept[named] = text
        elif named in platform.ids:
            raise _unlike(name, f"it has no {path!r}")
    if claims["exp"] - claims["iat"] > platform.longest:
        raise refused(
            f"it lasts {(claims['exp'] - claims['iat']) // 60:.0f} minutes, and a {name} token may last "
            f"{platform.longest // 60}", "ask the platform for one that is shorter", "too_long",
        )  # fmt: skip
    kept["workload"] = name
    return _SUBJECTS[name](claims, kept), kept


def _unlike(name: str, why: str) -> AuthenticationError:
    return refused(
        f"it is not what {name} issues: {why}",
        "check the issuer's `workload`, and that the token is one for workloads", "claims",
    )  # fmt: skip


def _github(claims: Mapping[str, Any], kept: Mapping[str, str]) -> str:
    owner, repository = kept["repository_owner_id"], kept["repository_id"]
    if not (_NUMBER.match(owner) and _NUMBER.match(repository)):
        raise _unlike("github", "its ids are not numbers")
    match = _GITHUB_SUB.match(str(claims.get("sub", "")))
    if match and (match[1] not in (None, owner) or match[2] not in (None, repository)):
        raise _unlike("github", "the ids in its subject are not those of its claims")
    return f"repository:{owner}/{repository}"


def _gitlab(_claims: Mapping[str, Any], kept: Mapping[str, str]) -> str:
    if not (_NUMBER.match(kept["namespace_id"]) and _NUMBER.match(kept["project_id"])):
        raise _unlike("gitlab", "its ids are not numbers")
    return f"project:{kept['namespace_id']}/{kept['project_id']}"


def _kubernetes(claims: Mapping[str, Any], kept: Mapping[str, str]) -> str:
    # Legacy tokens of secrets have neither `kubernetes.io` nor a time at which they end, and got no further than this.
    namespace, account, uid = kept["namespace"], kept["serviceaccount"], kept["serviceaccount_uid"]
    if claims.get("sub") != f"system:serviceaccount:{namespace}:{account}" or not _UID.match(uid):
        raise _unlike("kubernetes", "its subject is not the service account that its claims name")
    return f"serviceaccount:{namespace}/{account}@{uid}"


def _spiffe(claims: Mapping[str, Any], _kept: Mapping[str, str]) -> str:
    subject = claims.get("sub")
    if not isinstance(subject, str) or len(subject) > MOST or not _SPIFFE.match(subject):
        raise _unlike("spiffe", "its subject is no SPIFFE id of a workload")
    return subject


def _oidc(claims: Mapping[str, Any], _kept: Mapping[str, str]) -> str:
    return str(claims["sub"])


_SUBJECTS: Mapping[str, Callable[[Mapping[str, Any], Mapping[str, str]], str]] = {
    "github": _github, "gitlab": _gitlab, "kubernetes": _kubernetes, "spiffe": _spiffe, "oidc": _oidc,
}  # fmt: skip
