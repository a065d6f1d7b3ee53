"""ArcSight Common Event Format, version 0 of the header (CEF Implementation Standard, 2024): one line an event.

Of an event's body the line has what the standard has keys for. Who needs all of it takes another format, or asks for the leaf.
"""

from __future__ import annotations

from typing import Final

from doorward.evidence.outward.facts import Facts, Sort

LONGEST: Final = 1023  # characters of `msg`, as the standard has it
_SEVERITY: Final = {Sort.FINDING: 8, Sort.ENTITY: 4}


def cef(facts: Facts, origin: str, version: str) -> str:
    """One event, without a line's end. `origin` is the log's, `version` the program's."""
    ref, who = facts.record.ref, facts.who
    severity = max(_SEVERITY.get(facts.sort, 3), 6 if facts.refused else 0)
    head = "|".join(
        ("CEF:0", *map(_head, ("Doorward", "Doorward", version, ref.type, ref.type.replace(".", " "))), str(severity))
    )
    pairs = [
        ("rt", str(ref.at)), ("externalId", f"{origin}#{ref.leaf}"), ("suser", who.subject), ("suid", who.issuer),
        ("src", facts.address if ":" not in facts.address else ""), ("c6a2", facts.address if ":" in facts.address else ""),
        ("spt", str(facts.port) if facts.port else ""), ("dhost", facts.target), ("dvchost", ref.gateway),
        ("act", facts.action), ("reason", facts.reason),
        ("outcome", facts.outcome or ("failure" if facts.refused else "success")),
        ("request", facts.text), ("cs1", ", ".join(facts.rules)), ("cs2", ref.session), ("cs3", who.principal),
        ("cs4", ", ".join(facts.resources)), ("cs5", ", ".join(facts.labels)), ("cs6", who.assurance), ("cn1", str(ref.leaf)),
    ]  # fmt: skip
    names = {
        "cs1": "policies", "cs2": "session", "cs3": "onBehalfOf", "cs4": "resources", "cs5": "labels", "cs6": "assurance",
        "cn1": "leaf", "c6a2": "Source IPv6 Address",
    }  # fmt: skip
    shown = [(key, value[:LONGEST]) for key, value in pairs if value]
    shown += [(f"{key}Label", names[key]) for key, _ in shown if key in names]
    return head + "|" + " ".join(f"{key}={_value(value)}" for key, value in shown)


def _head(text: str) -> str:
    return _plain(text).replace("\\", "\\\\").replace("|", "\\|")


def _value(text: str) -> str:
    return text.replace("\\", "\\\\").replace("=", "\\=").replace("\r", "\\r").replace("\n", "\\n")


def _plain(text: str) -> str:
    return text.replace("\r", " ").replace("\n", " ")
