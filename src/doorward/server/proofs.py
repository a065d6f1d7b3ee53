"""Proofs of masking: marked values are planted in a scratch table of a target, and taken away again.

Contract. `begin` puts on record that a proof begins; `plant` makes schema `doorward_canary` with what a proof reads, by the
gateway's own credential and statements, and labels its columns for the sessions that the proof's identity opens from then
on; `end` takes all of it away. None touches what somebody else made in a schema of that name. What a proof leaves behind
when its caller or this process dies, the next one at that target takes away first. One proof at a time at each target.

It does not try anything: a client does, through the gateway's front door (`doorward masking prove`).
"""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final, Protocol

from doorward.errors import UpstreamError
from doorward.guard.guard import Guard
from doorward.masking.canary import DETECTED, LABELLED, SCHEMA, TABLE, labels, marks, plain
from doorward.model import Identity, Target
from doorward.server.own import CatalogueHolder, OwnStatements, Secrets

MARK: Final = "planted by `doorward masking prove`; proof "
ROWS: Final = 20  # equal ones, so that statistics hold the values too
LASTS: Final = 600_000  # milliseconds after which somebody else may take a proof's place
_FILLER: Final = 4_000  # characters on either side of the value in the long column

# {0}: the schema. One function tells the value, one says it in a notice and in an error with a context.
_MADE: Final = (
    """CREATE TABLE {0}.canaries (id integer PRIMARY KEY, plain text NOT NULL, text text, number bigint, amount numeric,
       document jsonb, bytes bytea, list text[], uuid uuid, long text, cardlike text, ibanlike text, emaillike text,
       spare text, CONSTRAINT canaries_say CHECK (plain <> 'never'), UNIQUE (plain, text, id))""",
    "CREATE VIEW {0}.seen AS SELECT id AS key, plain AS open, text AS harmless, number + 0 AS more, cardlike FROM {0}.canaries",
    "CREATE MATERIALIZED VIEW {0}.stored AS SELECT id AS key, plain, text AS harmless, long, emaillike FROM {0}.canaries",
    """CREATE FUNCTION {0}.tell() RETURNS text LANGUAGE sql STABLE AS 'SELECT max(text) FROM {0}.canaries'""",
    """CREATE FUNCTION {0}.shout() RETURNS void LANGUAGE plpgsql AS $$
       DECLARE found record; BEGIN SELECT * INTO found FROM {0}.canaries LIMIT 1;
       RAISE NOTICE 'it is %', found.text USING DETAIL = found.cardlike, HINT = found.number;
       RAISE EXCEPTION 'it was %', found.text USING DETAIL = found.document, HINT = found.emaillike; END $$""",
    "ANALYZE {0}.canaries",
)
_PLANT: Final = f"""
INSERT INTO {TABLE} SELECT n, $1, $2, $3::bigint, $4::numeric, pg_catalog.jsonb_build_object('note', $5::text),
       pg_catalog.convert_to($6, 'UTF8'), ARRAY['a', $7], $8::uuid,
       pg_catalog.repeat('x', {_FILLER}) || $9 || pg_catalog.repeat('y', {_FILLER}), $10, $11, $12
  FROM pg_catalog.generate_series(1, {ROWS}) n"""  # noqa: S608 - constants
_THERE: Final = """
SELECT coalesce(pg_catalog.obj_description(n.oid, 'pg_namespace'), ''),
       (SELECT count(*) FROM pg_catalog.pg_class c WHERE c.relnamespace = n.oid)
       + (SELECT count(*) FROM pg_catalog.pg_proc p WHERE p.pronamespace = n.oid)
  FROM pg_catalog.pg_namespace n WHERE n.nspname = $1"""
_TAKEN: Final = (
    "DROP FUNCTION IF EXISTS {0}.tell(), {0}.shout()", "DROP MATERIALIZED VIEW IF EXISTS {0}.stored",
    "DROP VIEW IF EXISTS {0}.seen", "DROP TABLE IF EXISTS {0}.canaries",
)  # fmt: skip


class Place(Protocol):
    """What of `listener.Reach` a proof needs. `planted`: labels by Identity.id, for the sessions that it opens."""

    target: Target
    catalogue: CatalogueHolder
    planted: dict[str, Mapping[str, str]]


@dataclass(frozen=True, slots=True)
class Running:
    """A proof that has begun: `actor` asked for it, `identity` (an Identity.id) tries it."""

    id: str
    target: str
    actor: str
    identity: str
    began: int


class Proofs:
    """All proofs of one gateway."""

    def __init__(self, guard: Guard, reach: Mapping[str, Place], secrets: Secrets) -> None:
        self._guard, self._reach, self._secrets = guard, reach, secrets
        self._running: dict[str, Running] = {}
        self._turns: dict[str, asyncio.Lock] = {}

    async def begin(self, target: str, actor: Identity, identity: str) -> Running:
        """Take the target's place for a proof, on record. Raises BlockingIOError when somebody else's proof has it."""
        now = self._guard.clock.now()
        before = self._running.get(target)
        if before is not None and before.actor != actor.id and now - before.began < LASTS:
            raise BlockingIOError(f"a proof of {before.actor} runs at {target}; wait, {LASTS // 60_000} minutes at most")
        running = Running(self._guard.clock.new_id(), target, actor.id, identity, now)
        self._running[target] = running
        # Before anything is planted: if we die then, who looks for what was planted knows where to begin.
        await self._guard.recorder.event(
            "masking.planted",
            {"proof": running.id, "target": target, "schema": SCHEMA, "identity": identity}, actor=actor.id,
        )  # fmt: skip
        return running

    async def plant(self, running: Running) -> bool:
        """Plant, having taken away what an earlier proof left. False: another proof has its place. UpstreamError with a hint:
        the target does not let us, and nothing is left."""
        place = self._reach[running.target]
        async with self._turns.setdefault(running.target, asyncio.Lock()):
            if self._running.get(running.target) is not running:
                return False
            place.planted.clear()
            own = OwnStatements(self._guard, place.target, self._secrets)
            try:
                await self._clear(own)
                try:
                    await self._plant(own, running.id)
                    await place.catalogue.refresh()
                except BaseException:
                    await self._clear(own)
                    raise
            finally:
                await own.close()
            place.planted[running.identity] = labels()
        return True

    def find(self, target: str, proof: str) -> Running | None:
        """The proof of that id, while it runs."""
        running = self._running.get(target)
        return running if running is not None and running.id == proof else None

    async def end(self, running: Running) -> None:
        """Take away what was planted, unless another proof has its place already. UpstreamError: it could not be."""
        place = self._reach[running.target]
        async with self._turns.setdefault(running.target, asyncio.Lock()):
            if self._running.get(running.target) is not running:
                return
            own = OwnStatements(self._guard, place.target, self._secrets)
            try:
                await self._clear(own)
            finally:
                await own.close()
            place.planted.clear()
            del self._running[running.target]

    async def _plant(self, own: OwnStatements, proof: str) -> None:
        if not await own.query("proof: look", _THERE, (SCHEMA,)):
            await self._ask(own, f"CREATE SCHEMA {SCHEMA}")
            await self._ask(own, f"COMMENT ON SCHEMA {SCHEMA} IS '{MARK}{proof}'")
        values = marks(proof)
        first, *rest = _MADE
        await self._ask(own, first.format(SCHEMA))
        given = (plain(proof), *(values[column] for column in (*LABELLED, *DETECTED)))
        await own.query("proof: plant", _PLANT, given, effect="write")
        for text in rest:
            await self._ask(own, text.format(SCHEMA))

    async def _clear(self, own: OwnStatements) -> None:
        found = await own.query("proof: look", _THERE, (SCHEMA,))
        if not found:
            return
        comment, count = found[0]
        if (comment or "").startswith(MARK):
            await self._ask(own, f"DROP SCHEMA {SCHEMA} CASCADE")
        elif count != "0":  # made for us, or by a stranger: only what has our names is taken away
            for text in _TAKEN:
                await self._ask(own, text.format(SCHEMA))
            if (await own.query("proof: look", _THERE, (SCHEMA,)))[0][1] != "0":
                raise UpstreamError(
                    f"the target has a schema {SCHEMA} with something in it that is not a proof's",
                    hint="rename that schema, or look at what is in it and drop it",
                )

    async def _ask(self, own: OwnStatements, text: str) -> None:
        try:
            await own.query("proof: define", text, effect="define")
        except UpstreamError as error:
            if error.message.startswith("42501"):
                raise UpstreamError(
                    f"the gateway's role may not make a scratch table at the target: {error.message}",
                    hint=f"have the target's owner run: CREATE SCHEMA {SCHEMA} AUTHORIZATION <the gateway's role>",
                ) from None
            raise
