"""Agents, and the people who answer for them.

Contract: each change is on record before it is made, is durable when the call returns, and holds at once in this process
and within a second or two in every other (`standing`). An agent that is disabled, or whose owner is no longer alive, is let
in nowhere, and its sessions end. What is wrong with a request is a ValueError in words for whoever asked; that it may be
asked for is for the caller to find out.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any, Final

from doorward.guard.admission import Admission
from doorward.guard.ports import Clock
from doorward.guard.recorder import Recorder
from doorward.guard.stores import Agent, IdentityStore
from doorward.model import Identity

NAME: Final = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,62}")
MOST_BOUND: Final = 16
MOST_GROUPS: Final = 100
MOST_AGENTS: Final = 10_000


class Agents:
    """The registry. `platforms` are, by issuer, the claims that a registration of an agent there has to bind: every one of a
    platform's ids, or one of those of an ordinary issuer (`any_of`)."""

    def __init__(
        self,
        store: IdentityStore,
        standing: Admission,
        recorder: Recorder,
        clock: Clock,
        *,
        must_bind: Mapping[str, Sequence[str]],
        any_of: Sequence[str] = ("sub", "client_id"),
    ) -> None:
        self._store = store
        self._standing = standing
        self._recorder = recorder
        self._clock = clock
        self._must_bind = must_bind
        self._any_of = tuple(any_of)

    def list(self) -> list[Agent]:
        """All, by name."""
        return [self._standing.agents[name] for name in sorted(self._standing.agents)]

    def get(self, name: str) -> Agent | None:
        return self._standing.agents.get(name)

    def owner_gone(self, agent: Agent) -> str:
        """Why nobody answers for it, or ""."""
        return self._standing.owner_gone(agent.owner)

    def describe(self, agent: Agent) -> dict[str, Any]:
        """As JSON."""
        return {
            "name": agent.name, "id": f"{self._standing.url}|{agent.name}", "owner": agent.owner,
            "owner_gone": self.owner_gone(agent), "issuer": agent.issuer, "bound": dict(agent.bound),
            "groups": list(agent.groups), "enabled": agent.enabled, "registered_at": agent.registered_at,
            "registered_by": agent.registered_by,
        }  # fmt: skip

    async def register(
        self, actor: Identity, name: str, *, owner: str, issuer: str, bound: Mapping[str, str], groups: Sequence[str] = ()
    ) -> Agent:
        """ValueError: it says what is wrong."""
        self._fits(name, issuer, bound, groups)
        await self._alive(owner)
        agent = Agent(
            name, owner, issuer, dict(bound), tuple(sorted(set(groups))), True, self._clock.now(), actor.id
        )
        for other in self._standing.agents.values():
            if other.issuer == issuer and (
                other.bound.items() <= agent.bound.items() or agent.bound.items() <= other.bound.items()
            ):
                raise ValueError(f"the agent {other.name} is bound to the same workload")
        if self.get(name) is not None or len(self._standing.agents) >= MOST_AGENTS:
            raise ValueError(f"there is an agent {name} already" if self.get(name) else "there are too many agents")
        await self._recorder.event("agent.registered", self.describe(agent), actor=actor.id)
        if not await self._store.add_agent(agent):
            raise ValueError(f"there is an agent {name} already")
        await self._standing.changed()
        return agent

    async def enable(self, actor: Identity, name: str, *, enabled: bool) -> Agent:
        """LookupError if there is none of that name."""
        agent = self._found(name)
        what = "agent.enabled" if enabled else "agent.disabled"
        return await self._change(actor, agent, replace(agent, enabled=enabled), what, {"agent": name})

    async def transfer(self, actor: Identity, name: str, owner: str) -> Agent:
        """LookupError; ValueError."""
        agent = self._found(name)
        await self._alive(owner)
        return await self._change(
            actor, agent, replace(agent, owner=owner), "agent.owner_changed",
            {"agent": name, "old": agent.owner, "new": owner},
        )  # fmt: skip

    async def _change(self, actor: Identity, before: Agent, after: Agent, event: str, body: Mapping[str, Any]) -> Agent:
        await self._recorder.event(event, body, actor=actor.id)
        if not await self._store.change_agent(before, after):
            await self._standing.changed()
            raise ValueError(f"somebody else changed the agent {before.name} just now: look again")
        await self._standing.changed()
        return after

    def _found(self, name: str) -> Agent:
        agent = self.get(name)
        if agent is None:
            raise LookupError(f"there is no agent {name}")
        return agent

    async def _alive(self, owner: str) -> None:
        await self._standing.know_owner(owner)
        if why := self._standing.owner_gone(owner):
            raise ValueError(f"{owner} cannot answer for an agent: {why}")

    def _fits(self, name: str, issuer: str, bound: Mapping[str, str], groups: Sequence[str]) -> None:
        if not NAME.fullmatch(name):
            raise ValueError("an agent's name is letters, digits, dot, - and _, at most 63")
        if issuer not in self._must_bind:
            raise ValueError(f"{issuer} is not an issuer that this gateway trusts")
        wanted = self._must_bind[issuer]
        missing = [] if not wanted or set(wanted) & set(self._any_of) else [n for n in wanted if n not in bound]
        if missing:
            raise ValueError(f"it must be bound by {' and '.join(wanted)}, which nobody can choose; {missing[0]} is missing")
        if not wanted or set(wanted) & set(self._any_of):
            wanted = wanted or self._any_of
            if not any(each in bound for each in wanted):
                raise ValueError(f"it must be bound by {' or '.join(wanted)}")
        texts = [*bound, *bound.values(), *groups]
        if len(bound) > MOST_BOUND or len(groups) > MOST_GROUPS:
            raise ValueError(f"at most {MOST_BOUND} claims and {MOST_GROUPS} groups")
        if not all(isinstance(t, str) and 0 < len(t) <= 512 and t.isprintable() for t in texts):
            raise ValueError("claims and groups are printable texts of at most 512 characters")
