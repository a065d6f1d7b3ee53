"""Doorward's nouns as Cedar entities: who asks, what is touched, and what that lies in.

The ids are part of what people write in policies and must not change: a principal is `issuer|subject`; a target is its
name; everything below a target begins with the target's name and a dot. Parents go up from Table, Function and Setting
over Schema and Database to Target and Gateway.

A name that cannot be placed for certain (`a.b.c` for a table: schema `a.b` or table `b.c`?) raises ValueError, which
`decide` turns into a denial. An identifier that holds a dot or a double quote is written in double quotes, as in SQL:
`"a.b".c`.
"""

from __future__ import annotations

from typing import Any

from doorward.model import Identity, Kind, Target, dotted, identifiers

GATEWAY = "doorward"
PRINCIPALS = {Kind.HUMAN: "User", Kind.AGENT: "Agent", Kind.SERVICE: "Service"}
MOST_GROUPS = 1000  # that one identity may be in

Entity = dict[str, Any]


def uid(kind: str, name: str) -> dict[str, str]:
    """Cedar's JSON form of an entity's id, which unlike its text form takes any character."""
    return {"type": kind, "id": name}


def principal(identity: Identity) -> tuple[dict[str, str], list[Entity]]:
    """The id of an identity, and the entities that describe it. Groups beyond MOST_GROUPS raise ValueError: dropping
    one could drop what a forbid looks for."""
    if len(identity.groups) > MOST_GROUPS:
        raise ValueError(f"{len(identity.groups)} groups; at most {MOST_GROUPS} are considered")
    who = uid(PRINCIPALS[identity.kind], identity.id)
    entity: Entity = {
        "uid": who,
        "attrs": {
            "id": identity.id,
            "subject": identity.subject,
            "issuer": identity.issuer,
            "assurance": identity.assurance.level,
        },
        "parents": [uid("Group", group) for group in sorted(identity.groups)],
        "tags": {key: value for key, value in sorted(identity.claims.items()) if isinstance(value, str)},
    }
    return who, [entity]


def target(place: Target) -> list[Entity]:
    """A target and its database, if one is configured."""
    entities: list[Entity] = [
        {"uid": uid("Target", place.name), "attrs": {"protocol": place.protocol}, "parents": [uid("Gateway", GATEWAY)]}
    ]
    if place.database:
        entities.append(_entity("Database", f"{place.name}.{place.database}", uid("Target", place.name)))
    return entities


def resource(kind: str, name: str, place: Target | None) -> tuple[dict[str, str], list[Entity]]:
    """The id of something that is touched, and the entities above it up to (not with) the target's own.

    Raises ValueError for a kind that policies cannot name, or a name that cannot be placed.
    """
    if kind == "Label":
        return uid("Label", name), [_entity("Label", name)]
    if place is None:
        if kind == "Gateway":
            return uid("Gateway", GATEWAY), []
        if kind in ("Recording", "Approval"):
            return uid(kind, name), [_entity(kind, name, uid("Gateway", GATEWAY))]
        raise ValueError(f"{kind} {name[:80]!r} without a target")
    top = uid("Target", place.name)
    if kind == "Target":
        if name not in ("", place.name):
            raise ValueError(f"{name[:80]!r} is another target than {place.name!r}")
        return top, []
    if kind in ("Recording", "Approval"):
        return uid(kind, name), [_entity(kind, name, top)]
    if kind == "Setting":  # a name may hold dots: myapp.tenant
        return uid(kind, f"{place.name}.{name}"), [_entity(kind, f"{place.name}.{name}", top)]
    if kind == "Database":
        if name == place.database:
            return uid(kind, f"{place.name}.{name}"), []
        return uid(kind, f"{place.name}.{name}"), [_entity(kind, f"{place.name}.{name}", top)]
    database = uid("Database", f"{place.name}.{place.database}") if place.database else top
    if kind == "Schema" and len(identifiers(name)) == 1:
        return uid(kind, f"{place.name}.{name}"), [_entity(kind, f"{place.name}.{name}", database)]
    if kind in ("Table", "Function"):
        path = identifiers(name)
        if len(path) == 1:  # in no schema that is known: in the database, so that no policy about a schema covers it
            return uid(kind, f"{place.name}.{name}"), [_entity(kind, f"{place.name}.{name}", database)]
        if len(path) == 2:
            schema = f"{place.name}.{dotted(path[0])}"
            return uid(kind, f"{place.name}.{name}"), [
                _entity(kind, f"{place.name}.{name}", uid("Schema", schema)),
                _entity("Schema", schema, database),
            ]
    raise ValueError(f"{kind} {name[:80]!r} cannot be placed below a target")


def _entity(kind: str, name: str, *parents: dict[str, str]) -> Entity:
    return {"uid": uid(kind, name), "attrs": {}, "parents": list(parents)}
