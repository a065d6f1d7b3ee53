"""Who has the log's key, and all others but an approver's, signs a pack that says more than people said, or the log has.

RC-12, RC-13 and RC-16 in docs/bypasses.md; see test_evidence_attacks.py.
"""

from __future__ import annotations

import base64
import hmac
import json
from collections.abc import Callable
from hashlib import sha256
from typing import Any

import pytest
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec

from doorward.ledger.encoding import canonical
from tests.bypass.evidence import (
    EARLIER,
    LEAVES,
    PACK,
    PASSKEY,
    RECORD,
    SIGNER,
    chained,
    event,
    forged,
    found_in_pack,
    nth,
    signed,
)
from tests.rig.signers import ssh
from tests.rig.specpack import Evidence, Files, seal_pack, write_pack
from tests.rig.verifier import VERIFIER, Folder
from tests.unit.guard.test_guard import ADA, DEAN, DORA, EVE


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Folder:
    return Folder(tmp_path_factory.mktemp("evidence"))


# -- RC-12 to RC-15: votes -----------------------------------------------------------------------------------


def resigned(said: dict[str, Any], signer: str = DORA.id, **changes: Any) -> dict[str, Any]:
    """A vote whose request is changed, and signed by somebody's SSH key."""
    request = canonical({**json.loads(said["body"]["request"]), **changes})
    return {
        **said,
        "body": {**said["body"], "request": request.decode(), "signature": ssh(signer).vote(request, LEAVES[0]["gw"])},
    }


VOTE, REQUEST, SPENT, RAN = (
    nth(each) for each in ("approval.voted", "approval.requested", "approval.spent", "operation.permitted")
)
PASSKEY_VOTE = nth("approval.voted", 1)
NO = nth("approval.voted", 2)
GRANT_RAN = nth("operation.permitted", 2)
BROKE = nth("approval.voted", 4)


def body(said: dict[str, Any], **changes: Any) -> dict[str, Any]:
    return {**said, "body": {**said["body"], **changes}}


def _bent(said: dict[str, Any], **client: Any) -> dict[str, Any]:
    """The passkey's vote with other client data, rightly signed by the passkey."""
    request = said["body"]["request"].encode()
    return body(said, signature=PASSKEY.vote(request, **client))


def _doubled(said: dict[str, Any]) -> dict[str, Any]:
    """Client data with a member twice, rightly signed."""
    credential = json.loads(json.dumps(said["body"]["signature"]["credential"]))
    client = VERIFIER.unbase64url(credential["response"]["clientDataJSON"])[:-1] + b', "type": "webauthn.get"}'
    authenticator = VERIFIER.unbase64url(credential["response"]["authenticatorData"])
    made = PASSKEY._private.sign(authenticator + sha256(client).digest(), ec.ECDSA(hashes.SHA256()))
    for name, octets in (("clientDataJSON", client), ("signature", made)):
        credential["response"][name] = base64.urlsafe_b64encode(octets).decode().rstrip("=")
    return body(said, signature={"method": "webauthn", "credential": credential})


FORGERIES: dict[str, tuple[int, Callable[[dict[str, Any]], dict[str, Any]], int]] = {
    # what is tried -> the event that is changed, how, and the event where it shows
    "a no becomes a yes": (NO, lambda said: body(said, approve=True), NO),
    "a yes becomes a no": (VOTE, lambda said: body(said, approve=False), VOTE),
    "a no becomes a yes, in the request too": (
        NO,
        lambda said: body(said, approve=True, request=said["body"]["request"].replace('"deny"', '"approve"')),
        NO,
    ),
    "another approver": (VOTE, lambda said: {**said, "actor": EVE.id}, VOTE),
    "another approver's key": (VOTE, lambda said: resigned(said, DEAN.id), VOTE),
    "the requester": (VOTE, lambda said: {**resigned(said, ADA.id, approver=ADA.id), "actor": ADA.id}, VOTE),
    "another statement in what is signed": (VOTE, lambda said: resigned(said, stmt_commit="0" * 64), VOTE),
    "another preview than the terms name": (REQUEST, lambda said: body(said, preview={"rows": 1}), REQUEST),
    "another target in what is signed": (VOTE, lambda said: resigned(said, target="other"), VOTE),
    "a longer time in what is signed": (VOTE, lambda said: resigned(said, exp=2**50), VOTE),
    "other terms than what is signed": (
        REQUEST,
        lambda said: body(said, terms={**said["body"]["terms"], "stmt_commit": "0" * 64}),
        VOTE,
    ),
    "more time than what is signed": (
        REQUEST,
        lambda said: body(said, terms={**said["body"]["terms"], "exp": 2**50}),
        VOTE,
    ),
    "fewer people than what is signed": (
        REQUEST,
        lambda said: body(said, terms={**said["body"]["terms"], "quorum": {"k": 0, "of": [], "seats": {}}}),
        VOTE,
    ),
    "another namespace": (
        VOTE,
        lambda said: body(said, signature=ssh(DORA.id).vote(said["body"]["request"].encode(), "elsewhere")),
        VOTE,
    ),
    "no signature": (VOTE, lambda said: body(said, signature={}), VOTE),
    "a key nobody registered": (VOTE, lambda said: body(said, key="0" * 32), VOTE),
    "a passkey's vote for another request": (
        PASSKEY_VOTE,
        lambda said: body(said, signature=PASSKEY.vote(said["body"]["request"].encode() + b" ")),
        PASSKEY_VOTE,
    ),
    "a passkey at another site": (PASSKEY_VOTE, lambda said: _bent(said, origin="http://evil.test"), PASSKEY_VOTE),
    "a passkey in a frame": (PASSKEY_VOTE, lambda said: _bent(said, crossOrigin=True), PASSKEY_VOTE),
    "a passkey below another page": (
        PASSKEY_VOTE,
        lambda said: _bent(said, topOrigin="http://evil.test"),
        PASSKEY_VOTE,
    ),
    "a passkey that registers": (PASSKEY_VOTE, lambda said: _bent(said, kind="webauthn.create"), PASSKEY_VOTE),
    "a passkey without verification": (PASSKEY_VOTE, lambda said: _bent(said, flags=1), PASSKEY_VOTE),
    "a passkey without presence": (PASSKEY_VOTE, lambda said: _bent(said, flags=4), PASSKEY_VOTE),
    "a passkey of another RP": (PASSKEY_VOTE, lambda said: _bent(said, rp_id="evil.test"), PASSKEY_VOTE),
    "client data with a member twice": (PASSKEY_VOTE, _doubled, PASSKEY_VOTE),
    "spent after its time": (SPENT, lambda said: {**said, "at": 2**50}, SPENT),
    "spent for another operation": (
        SPENT,
        lambda said: body(said, operation=event(nth("operation.refused"))["id"]),
        RAN,
    ),
    "another statement ran": (RAN, lambda said: body(said, text="drop table orders"), RAN),
    "as another role": (RAN, lambda said: body(said, role="postgres"), RAN),
    "under another search_path": (RAN, lambda said: body(said, search_path="evil"), RAN),
    "a grant by other policies": (
        GRANT_RAN,
        lambda said: body(said, decision={**said["body"]["decision"], "policy": "0" * 64}),
        GRANT_RAN,
    ),
    "a grant for something else": (GRANT_RAN, lambda said: body(said, effect="define"), GRANT_RAN),
    "a grant after its time": (
        nth("grant.used"),
        lambda said: {**body(said, counted_at=2**49), "at": 2**50},
        nth("grant.used"),
    ),
    "a grant used by somebody else": (nth("grant.used"), lambda said: {**said, "actor": EVE.id}, nth("grant.used")),
    "more rows than a grant has": (nth("grant.used"), lambda said: body(said, reserved=11), nth("grant.used")),
    "a grant settled for another": (nth("grant.settled"), lambda said: body(said, operation="0"), nth("grant.settled")),
    "glass broken by somebody else": (BROKE, lambda said: {**said, "actor": DEAN.id}, BROKE),
    "glass broken without verification": (
        BROKE,
        lambda said: body(said, signature={"method": "webauthn", "credential": {}}),
        BROKE,
    ),
    "a review that says the contrary": (
        nth("break_glass.reviewed"),
        lambda said: body(said, justified=False),
        nth("break_glass.reviewed"),
    ),
    "a key of another owner": (
        nth("approver_key.registered"),
        lambda said: {**said, "actor": EVE.id},
        nth("approver_key.registered"),
    ),
    "another key under that id": (
        nth("approver_key.registered"),
        lambda said: body(said, public_key=ssh("mallory").public.line),
        nth("approver_key.registered"),
    ),
    "a key whose owner did not prove it": (
        nth("approver_key.registered"),
        lambda said: body(
            said, proof={**said["body"]["proof"], "signature": ssh("mallory").sign(b"{}", "doorward-key@gw-1")}
        ),
        nth("approver_key.registered"),
    ),
    "what has no kind at all": (VOTE, lambda said: body(said, groups=5), VOTE),
}


@pytest.mark.parametrize("how", FORGERIES)
def test_rc_12_votes_are_signed(folder: Folder, how: str) -> None:
    """RC-12: whoever has the log's key and all others but an approver's changes what was asked, signed, spent or run,
    and commits, chains
    and signs everything anew. No other checkpoint is needed: the votes do not hold, and the event is named."""
    index, change, shows = FORGERIES[how]
    pack = write_pack(forged(lambda at, said: change(said) if at == index else None))
    spot = found_in_pack(folder, pack)
    assert (spot.file, spot.place) == ("openings.jsonl", f"leaf {shows}"), spot


@pytest.mark.parametrize(
    "type_", ["approver_key.registered", "approval.requested", "approval.voted", "approval.spent", "grant.used"]
)
def test_rc_13_a_step_of_an_approval_is_left_out(folder: Folder, type_: str) -> None:
    """RC-13: without the key, the question, the vote, or the use, what ran was not approved."""
    index = nth(type_)
    assert found_in_pack(folder, write_pack(forged(lambda at, said: None, drop=(index,)))).file == "openings.jsonl"


@pytest.mark.parametrize("what", ["spent", "ran", "ran under a grant", "a grant is used", "a key is registered"])
def test_rc_13_an_approval_is_used_twice(folder: Folder, what: str) -> None:
    """RC-13: what may happen once is there twice."""
    index = {"spent": SPENT, "ran": RAN, "ran under a grant": GRANT_RAN, "a grant is used": nth("grant.used"),
             "a key is registered": nth("approver_key.registered")}[what]  # fmt: skip
    twice = [*range(RECORD.size), index]
    leaves = [*LEAVES, {**LEAVES[index], "boot": LEAVES[-1]["boot"]}]
    openings = {number: RECORD.openings[at] for number, at in enumerate(twice)}
    pack = write_pack(Evidence(signed(chained(leaves)), openings, RECORD.keys, SIGNER))
    spot = found_in_pack(folder, pack)
    assert (spot.file, spot.place) == ("openings.jsonl", f"leaf {RECORD.size}")


@pytest.mark.parametrize(
    ("first", "second"),
    [
        ("approval.voted", "approval.spent"),
        ("approval.spent", "operation.permitted"),
        ("approval.requested", "approval.voted"),
        ("approver_key.registered", "approval.voted"),
    ],
)
def test_rc_13_in_another_order(folder: Folder, first: str, second: str) -> None:
    """RC-13: the vote comes before the dispatch, the question before the vote, the key before all of them."""
    places = list(range(RECORD.size))
    one, two = nth(first), nth(second)
    places[one], places[two] = two, one
    moved = [{**LEAVES[at]} for at in places]
    openings = {number: RECORD.openings[at] for number, at in enumerate(places)}
    pack = write_pack(Evidence(signed(chained(moved)), openings, RECORD.keys, SIGNER))
    assert found_in_pack(folder, pack).file == "openings.jsonl"


@pytest.mark.parametrize("who", ["a people's", "an agent's"])
def test_rc_13_a_key_that_was_revoked(folder: Folder, who: str) -> None:
    """RC-13: a vote by a key that had been revoked, or that is revoked between vote and use, lets nothing run."""
    at = VOTE if who == "a people's" else SPENT
    revoked = event(nth("approver_key.registered"))
    record = canonical(
        {**revoked, "type": "approver_key.revoked", "at": LEAVES[at]["at"], "body": {"key": revoked["body"]["key"]}}
    )
    salt = bytes(32)
    text = b"doorward/commit/v1\0approver_key.revoked\0" + record
    new = {**LEAVES[at], "t": "approver_key.revoked", "c": base64.b64encode(hmac.digest(salt, text, "sha256")).decode()}
    leaves = [*LEAVES[:at], new, *LEAVES[at:]]
    openings = {n + (n >= at): opening for n, opening in RECORD.openings.items()} | {at: (record, salt)}
    pack = write_pack(Evidence(signed(chained(leaves)), openings, RECORD.keys, SIGNER))
    spot = found_in_pack(folder, pack)
    assert (spot.file, spot.place) == ("openings.jsonl", f"leaf {at + 1}")


# -- RC-16: packs --------------------------------------------------------------------------------------------


def _lines(name: str, change: Callable[[list[bytes]], list[bytes]]) -> Callable[[Files], Files]:
    return lambda files: {**files, name: b"".join(change(files[name].splitlines(keepends=True)))}


def _json(name: str, change: Callable[[Any], Any]) -> Callable[[Files], Files]:
    def made(files: Files) -> Files:
        said = json.loads(files[name])
        change(said)
        return {**files, name: canonical(said)}

    return made


def _proof(change: Callable[[list[bytes]], list[bytes]]) -> Callable[[Files], Files]:
    name = next(path for path in sorted(PACK) if path.endswith(".tlog-proof"))
    return lambda files: {**files, name: b"\n".join(change(files[name].split(b"\n")))}


def _recording_of(number: int) -> str:
    return f"samples/A.8.2/sessions-{number}/recording.dwr"


BENT: dict[str, tuple[Callable[[Files], Files], str]] = {
    "an opening is left out": (
        _lines("openings.jsonl", lambda lines: [each for n, each in enumerate(lines) if n != nth("session.opened")]),
        "tables/",
    ),
    "a vote's opening is left out": (
        _lines("openings.jsonl", lambda lines: lines[:VOTE] + lines[VOTE + 1 :]),
        "openings.jsonl",
    ),
    "an opening twice": (_lines("openings.jsonl", lambda lines: [lines[0], *lines]), "openings.jsonl"),
    "openings in another order": (_lines("openings.jsonl", lambda lines: lines[::-1]), "openings.jsonl"),
    "an opening of a leaf that is not there": (
        _lines(
            "openings.jsonl",
            lambda lines: [*lines, lines[-1].replace(b'{"leaf":%d' % (RECORD.size - 1), b'{"leaf":999')],
        ),
        "log/checkpoint.end",
    ),
    "records of two leaves swapped": (
        _lines(
            "openings.jsonl",
            lambda lines: [
                lines[1].replace(b'"leaf":1', b'"leaf":0'),
                lines[0].replace(b'"leaf":0', b'"leaf":1'),
                *lines[2:],
            ],
        ),
        "openings.jsonl",
    ),
    "a row is left out": (_lines("tables/approvals.jsonl", lambda lines: lines[1:]), "tables/approvals.csv"),
    "a row is left out of both forms": (
        lambda files: _lines("tables/approvals.csv", lambda lines: [lines[0], *lines[2:]])(
            _lines("tables/approvals.jsonl", lambda lines: lines[1:])(files)
        ),
        "population.json",
    ),
    "a row says another leaf": (
        _lines("tables/approvals.jsonl", lambda lines: [lines[0].replace(b'"gw_seq":', b'"gw_seq":1'), *lines[1:]]),
        "tables/approvals.jsonl",
    ),
    "a row at another time": (
        _lines("tables/approvals.jsonl", lambda lines: [lines[0].replace(b'Z"', b'0Z"'), *lines[1:]]),
        "tables/approvals.jsonl",
    ),
    "a cell differs between the two forms": (
        _lines("tables/approvals.csv", lambda lines: [lines[0], lines[1].replace(b"true", b"false"), *lines[2:]]),
        "tables/approvals.csv",
    ),
    "a formula in a cell": (
        _lines("tables/approvals.csv", lambda lines: [each.replace(b"'=", b"=") for each in lines]),
        "tables/approvals.csv",
    ),
    "a row that rests on what is not opened": (
        _lines("openings.jsonl", lambda lines: lines[: nth("session.closed")] + lines[nth("session.closed") + 1 :]),
        "tables/sessions.jsonl",
    ),
    "counts that are too small": (
        _json("population.json", lambda said: said["tables"][0].update(rows=1)),
        "population.json",
    ),
    "counts that hide a row": (
        _json("population.json", lambda said: said["tables"][0]["reconcile"]["approval.voted"].update(leaves=4)),
        "population.json",
    ),
    "counts of leaves that are not there": (
        _json("population.json", lambda said: said["leaves"].update({"log.beat": 1})),
        "population.json",
    ),
    "a seed that somebody chose": (
        _json("samples/sample.json", lambda said: said.update(seed="0" * 64)),
        "samples/sample.json",
    ),
    "another auditor": (
        _json("samples/sample.json", lambda said: said.update(auditor="a friend")),
        "samples/sample.json",
    ),
    "rows that somebody chose": (
        _json("samples/sample.json", lambda said: said["samples"][0].update(leaves=said["samples"][0]["leaves"][::-1])),
        "samples/sample.json",
    ),
    "a proof too short": (_proof(lambda lines: lines[:3] + lines[4:]), "tlog-proof"),
    "a proof too long": (_proof(lambda lines: lines[:4] + lines[3:]), "tlog-proof"),
    "a proof of 64 hashes": (
        _proof(lambda lines: lines[:3] + [lines[3]] * 64 + lines[lines.index(b"") :]),
        "tlog-proof",
    ),
    "a proof of another leaf": (_proof(lambda lines: [*lines[:2], b"index 0", *lines[3:]]), "tlog-proof"),
    "a proof of a leaf beyond the tree": (_proof(lambda lines: [*lines[:2], b"index 47000", *lines[3:]]), "tlog-proof"),
    "a proof under another checkpoint": (
        _proof(lambda lines: lines[: lines.index(b"") + 1] + EARLIER.split(b"\n")),
        "tlog-proof",
    ),
    "recordings swapped": (
        lambda files: {**files, _recording_of(1): files[_recording_of(2)], _recording_of(2): files[_recording_of(1)]},
        "recording.dwr",
    ),
    "another key for a recording": (
        lambda files: {**files, _recording_of(1).replace(".dwr", ".key"): bytes(32).hex().encode() + b"\n"},
        "recording.dwr",
    ),
    "a period that hides leaves": (lambda files: files, "manifest.json"),
}


@pytest.mark.parametrize("how", BENT)
def test_rc_16_a_pack_that_says_more_than_the_log(folder: Folder, how: str) -> None:
    """RC-16: whoever made the pack leaves out, adds or changes what it says, and signs the manifest with the log's
    key."""
    change, where = BENT[how]
    about = json.loads(PACK["manifest.json"])
    if how == "a period that hides leaves":
        about["from"] += 1
    about = {name: about[name] for name in ("origin", "size", "root", "from", "to", "from_leaf", "to_leaf")}
    spot = found_in_pack(folder, seal_pack(change(dict(PACK)), SIGNER, about))
    assert where in spot.file, spot
