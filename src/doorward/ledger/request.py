"""The canonical request: the exact bytes that an approver signs, and nothing else is a vote.

`terms` are what the gateway fixed when it asked: what would run, for whom, where, under which policy, until when, and how
far its log had got. A request is the terms with two members more: who decides (`approver`) and what they say (`decision`),
so that a yes cannot be turned into a no, or given by another. It is one canonical JSON text (encoding.py); its bytes are
re-derived and compared, never re-read and guessed. docs/spec/approval.md is the specification.

There are two types: for one statement (`doorward.approval`), and for what one identity does on one target for some minutes,
within limits (`doorward.grant`).

Does not sign, does not verify, makes no salts and knows no clock.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from hashlib import sha256
from typing import Any, Final

from doorward.errors import IntegrityError
from doorward.ledger.commitment import commit
from doorward.ledger.encoding import canonical
from doorward.ledger.encoding import parse as parse_json

TYP: Final = "doorward.approval"
GRANT: Final = "doorward.grant"
VERSION: Final = 1
MAX_REQUEST: Final = 32 * 1024
DOMAIN: Final = b"doorward/approval/v1\0"
APPROVE: Final = "approve"
DENY: Final = "deny"
JUSTIFIED: Final = "justified"  # what a second person says afterwards of broken glass
UNJUSTIFIED: Final = "unjustified"

_HEX: Final = re.compile(r"[0-9a-f]{64}")
_TEXTS: Final = ("approver", "preview", "requester", "rid", "role", "search_path", "target")
_HASHES: Final = ("display_commit", "nonce", "operation_commit", "params_commit", "stmt_commit")
_MEMBERS: Final = frozenset((
    *_TEXTS, *_HASHES, "act", "decision", "exp", "limits", "log", "nbf", "policy", "quorum", "typ", "uses", "v",
))
_GRANT_TEXTS: Final = ("approver", "requester", "rid", "session", "target")
_GRANT_HASHES: Final = ("display_commit", "nonce")
_GRANT_MEMBERS: Final = frozenset((
    *_GRANT_TEXTS, *_GRANT_HASHES, "act", "actions", "decision", "exp", "kinds", "limits", "log", "nbf", "on", "policy",
    "quorum", "skips", "typ", "v",
))
LIMITS: Final = ("minutes", "rows", "statements")


def statement_commitment(salt: bytes, exact: bytes) -> str:
    """To the exact bytes of the statement, as the target will get them."""
    return commit(salt, "approval.statement", exact).hex()


def parameters_commitment(
    salt: bytes, values: Sequence[bytes | None], formats: Sequence[int], types: Sequence[int]
) -> str:
    """To the parameters bound to it, as sent: bytes or NULL, with the formats and type numbers they came with."""
    record = {
        "formats": list(formats), "types": list(types), "values": [None if v is None else v.hex() for v in values],
    }  # fmt: skip
    return commit(salt, "approval.parameters", canonical(record)).hex()


def operation_commitment(salt: bytes, digest: bytes) -> str:
    """To the digest of everything that the verdict depends on (`Operation.digest`)."""
    return commit(salt, "approval.operation", digest).hex()


def display_commitment(salt: bytes, rendering: bytes) -> str:
    """To what the approver is shown: the gateway's own rendering."""
    return commit(salt, "approval.display", rendering).hex()


def request(terms: Mapping[str, Any], approver: str, *, approve: bool, review: bool = False) -> bytes:
    """What `approver` (an Identity.id) signs to say yes or no to these terms; or, as a review, that breaking glass under them
    was justified, or not."""
    yes, no = (JUSTIFIED, UNJUSTIFIED) if review else (APPROVE, DENY)
    return canonical({**terms, "approver": approver, "decision": yes if approve else no})


def challenge(request: bytes) -> bytes:
    """SHA-256("doorward/approval/v1" 00 || request): what WebAuthn signs, and what the six words say."""
    return sha256(DOMAIN + request).digest()


def words(challenge: bytes) -> str:
    """The first 96 bits of a challenge in six words that people can read to each other: two screens, the same words.

    Each word is 16 bits in the alphabet of proquints (arXiv:0901.4016): consonant, vowel, consonant, vowel, consonant."""
    return " ".join(_word(int.from_bytes(challenge[at : at + 2])) for at in range(0, 12, 2))


def _word(number: int) -> str:
    consonants, vowels = "bdfghjklmnprstvz", "aiou"
    return (
        consonants[number >> 12] + vowels[number >> 10 & 3] + consonants[number >> 6 & 15]
        + vowels[number >> 4 & 3] + consonants[number & 15]
    )  # fmt: skip


def parse(text: bytes) -> dict[str, Any]:
    """The members of a request. IntegrityError unless it is a whole one of this version, in its one form."""
    found = parse_json(text, limit=MAX_REQUEST)
    grant = isinstance(found, dict) and found.get("typ") == GRANT
    if not isinstance(found, dict) or found.keys() != (_GRANT_MEMBERS if grant else _MEMBERS):
        raise IntegrityError("not a request for approval: other members")
    numbers = [found["nbf"], found["exp"], found["v"]]
    log, policy = found["log"], found["policy"]
    sound = (
        all(type(number) is int and number >= 0 for number in numbers)
        and found["v"] == VERSION
        and found["decision"] in (APPROVE, DENY, *((JUSTIFIED, UNJUSTIFIED) if grant and found["skips"] is not None else ()))
        and all(isinstance(found[name], str) for name in (_GRANT_TEXTS if grant else _TEXTS))
        and all(
            isinstance(found[name], str) and _HEX.fullmatch(found[name]) for name in (_GRANT_HASHES if grant else _HASHES)
        )
        and _strings(found["act"])
        and _counts(found["limits"])
        and isinstance(log, dict)
        and log.keys() == {"origin", "size", "root"}
        and isinstance(policy, dict)
        and policy.keys() == {"rules", "sha256"}
        and _strings(policy["rules"])
        and _quorum(found["quorum"])
        and (_of_a_grant(found) if grant else found["typ"] == TYP and type(found["uses"]) is int and found["uses"] >= 0)
    )
    if not sound:
        raise IntegrityError("not a request for approval: a member of another kind")
    return found


def _of_a_grant(found: Mapping[str, Any]) -> bool:
    return (
        _strings(found["actions"])
        and bool(found["actions"])
        and _strings(found["kinds"])
        and len(found["kinds"]) == len(found["act"]) + 1
        and isinstance(found["on"], list)
        and all(_strings(each) and len(each) == 2 for each in found["on"])
        and found["limits"].keys() == set(LIMITS)
        and (found["skips"] is None or _quorum(found["skips"]))
    )


def _quorum(value: object) -> bool:
    return (
        isinstance(value, dict)
        and value.keys() == {"k", "of", "seats"}
        and type(value["k"]) is int
        and value["k"] > 0
        and _strings(value["of"])
        and _counts(value["seats"])
    )


def _strings(value: object) -> bool:
    return isinstance(value, list) and all(isinstance(each, str) for each in value)


def _counts(value: object) -> bool:
    return isinstance(value, dict) and all(type(each) is int and each > 0 for each in value.values())


def difference(ours: bytes, theirs: bytes) -> str:
    """ "" if they are the same bytes; else what to call the first difference: a member's name, or its form."""
    if ours == theirs:
        return ""
    try:
        found = parse_json(theirs, limit=MAX_REQUEST)
    except IntegrityError:
        found = None
    if not isinstance(found, dict):
        return "form"
    mine = parse_json(ours, limit=MAX_REQUEST)
    assert isinstance(mine, dict)
    return next(
        (name for name in sorted(mine.keys() | found.keys())
         if name not in mine or name not in found or canonical(mine[name]) != canonical(found[name])),
        "form",
    )  # fmt: skip


def seats_met(people: Sequence[frozenset[str]], needed: int, seats: Mapping[str, int]) -> bool:
    """Whether these different people, each by their groups, are enough: `needed` in all, and every named seat taken.

    A person takes one seat, whichever groups they are in; whether all seats can be taken is a matching, not a count: with
    seats dba and security, somebody of both and somebody of dba are enough, in whatever order they came."""
    if len(people) < needed:
        return False
    places = [group for group, count in sorted(seats.items()) for _ in range(count)]
    if len(places) > len(people):
        return False
    taken: dict[int, int] = {}  # person -> place

    def seat(place: int, tried: set[int]) -> bool:
        for person, groups in enumerate(people):
            if places[place] in groups and person not in tried:
                tried.add(person)
                if person not in taken or seat(taken[person], tried):  # at most as deep as there are seats
                    taken[person] = place
                    return True
        return False

    return all(seat(place, set()) for place in range(len(places)))
