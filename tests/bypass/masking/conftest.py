"""The arenas: PostgreSQL 15 and 18, each with two worlds, behind one gateway. What the gateway kept is searched at the end.

Who may do what, by group, is the corpus's: `anyone` does everything and sees nothing unmasked, the strongest attacker there
is; `guarded` may not infer; `auditors` look at what was recorded.
"""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.bypass.conftest import POLICY
from tests.bypass.masking.arena import CANARIES, LABELS, WHO, Arena, build
from tests.rig.canaries import leaks
from tests.rig.gateway import launch, target_of
from tests.rig.issuer import LocalIssuer
from tests.rig.postgres import PostgresServer
from tests.rig.records import events, everything, sessions

SUBJECTS = ("corpus-held", *(who.get("act", who)["sub"] for who in WHO.values()))


@pytest.fixture(scope="session")
def arenas(
    tmp_path_factory: pytest.TempPathFactory,
    postgres: PostgresServer,
    postgres18: PostgresServer,
    corpus_issuer: LocalIssuer,
) -> Iterator[dict[int, Arena]]:
    """By version. When they close, no persisted byte may hold a canary."""
    folder = tmp_path_factory.mktemp("arena")
    folder.chmod(0o700)
    worlds = {server.version: build(server, f"v{server.version}") for server in (postgres, postgres18)}
    names = {version: {world: f"arena{world}{version}" for world in "ab"} for version in worlds}
    with launch(
        folder, corpus_issuer, postgres, policy=POLICY,
        targets=[
            target_of(server, folder, name=names[version][world], labels=LABELS)
            for version, both in worlds.items() for world, server in both.items()
        ],
        issuers=[
            {
                "url": corpus_issuer.url, "audience": "doorward", "development": True, "agents": "issuer",
                "agent_groups": ["agents"],
                "kinds": [{"claim": "kind", "equals": "agent", "kind": "agent"}],
            }
        ],
        limits={"connections_per_identity": 200, "approvals_per_identity": 1000, "row_bytes": "16MiB"},
    ) as door:  # fmt: skip
        found = {version: Arena(door, both, names[version]) for version, both in worlds.items()}
        yield found
        for arena in found.values():
            arena.close()
        ids = [row["id"] for who in SUBJECTS for row in sessions(door, who)]
        assert door.stop() == 0
        for recorded in everything(door, ids):
            for kind, _, body in recorded.records:
                assert leaks(body, CANARIES) == [], (kind, body[:300])
        for kind_, record in events(door):
            assert leaks(record, CANARIES) == [], (kind_, record[:300])
        for path in sorted(door.folder.rglob("*")):
            if path.is_file() and path.suffix not in (".cedar", ".toml", ".key", ".crt"):
                assert leaks(path.read_bytes(), CANARIES) == [], path


@pytest.fixture(scope="session")
def arena(arenas: dict[int, Arena]) -> Arena:
    """PostgreSQL 15's."""
    return arenas[15]


@pytest.fixture(scope="session")
def arena18(arenas: dict[int, Arena]) -> Arena:
    """PostgreSQL 18's."""
    return arenas[18]
