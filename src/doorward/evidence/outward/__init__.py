"""Events in the words of others: OCSF, Elastic Common Schema, CEF. One file a format; what they have in common is `facts`."""

from __future__ import annotations

from collections.abc import Callable

import msgspec

from doorward.evidence.outward.cef import cef
from doorward.evidence.outward.ecs import ecs
from doorward.evidence.outward.facts import Facts
from doorward.evidence.outward.ocsf import ocsf

_JSON = msgspec.json.Encoder(order="deterministic")


def writer(form: str, origin: str, version: str) -> Callable[[Facts], bytes]:
    """What writes an event as one line, without its end: `form` is ocsf, ecs, cef or doorward. `origin` is the log's, `version`
    the program's."""
    if form == "cef":
        return lambda facts: cef(facts, origin, version).encode("utf-8", "replace")
    written = {"ocsf": ocsf, "ecs": ecs, "doorward": _as_recorded}[form]
    return lambda facts: _JSON.encode(written(facts, origin))


def _as_recorded(facts: Facts, origin: str) -> dict[str, object]:
    ref = facts.record.ref
    return {
        "log": origin, "leaf": ref.leaf, "leaf_hash": ref.hash.hex(), "at": ref.at, "gateway": ref.gateway, "type": ref.type,
        "session": ref.session, "actor": facts.record.actor, "body": facts.record.body,
    }  # fmt: skip
