"""Makes the test vectors of the ledger, recording, approval and webhook specifications, from fixed keys.

    python vectors/make.py            write the vectors/*.json again

A test compares the files with what this makes. `write_record` writes a whole small record to verify.
The keys here are public and protect nothing.
"""

from __future__ import annotations

import json
from base64 import b64encode
from hashlib import sha256
from pathlib import Path
from typing import Any, Final

import cbor2
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from doorward.adapters.notify import webhook
from doorward.guard.notices import Notice
from doorward.ledger import (
    checkpoint,
    commitment,
    cosignature,
    encoding,
    handover,
    leaf,
    proof,
    seal,
    segment,
    sshsig,
    tiles,
    tree,
    votes,
    webauthn,
    witness,
)
from doorward.ledger import request as requests

HERE: Final = Path(__file__).parent
ORIGIN: Final = "audit.example.com/doorward/vectors"
KEY: Final = bytes(range(32))
SIGNER: Final = checkpoint.NoteSigner(ORIGIN, Ed25519PrivateKey.from_private_bytes(KEY))
VKEY: Final = SIGNER.vkey
OTHER_VKEY: Final = checkpoint.NoteSigner(ORIGIN, Ed25519PrivateKey.from_private_bytes(bytes(32))).vkey
NEXT_KEY: Final = sha256(b"doorward vectors: the log's next key").digest()
NEXT: Final = checkpoint.NoteSigner(ORIGIN, Ed25519PrivateKey.from_private_bytes(NEXT_KEY))
WITNESS_KEY: Final = sha256(b"doorward vectors: a witness's key").digest()
WITNESS: Final = cosignature.Cosigner("witness.example.com/w1", Ed25519PrivateKey.from_private_bytes(WITNESS_KEY))
TRUST: Final = f"""# whom to believe
log {VKEY}
witness w1 {WITNESS.vkey} https://witness.example.com/w1
quorum w1
"""
SESSION: Final = "0194f0e0-0000-7000-8000-00000000000a"
AT: Final = 1_800_000_000_000
DEK: Final = sha256(b"doorward vectors: a session's key").digest()
SALT: Final = sha256(b"doorward vectors: a salt").digest()
BOOT: Final = "00000000000000a1"

Files = dict[str, bytes]


def _none(path: str) -> bytes:
    raise FileNotFoundError(path)


def recording() -> tuple[bytes, list[tuple[bytes, bytes, bytes]]]:
    """A recording's header, and its segments as (payload, stored bytes, hash)."""
    head = segment.header(SESSION, AT, "std")
    sealer = segment.SegmentSealer(SESSION, DEK, segment.header_hash(head))
    event = encoding.canonical({"action": "SELECT", "text": "select 1"})
    payloads = [
        segment.encode_record(segment.TEMPLATE, AT, (0).to_bytes(4, "big") + event)
        + segment.encode_record(segment.RUN, AT + 1, (0).to_bytes(4, "big") + b"\0"),
        segment.encode_record(segment.RESPONSE, AT + 2, b"D\0\0\0\x0b\0\1\0\0\0\x011"),
    ]
    return head, [(payload, *sealer.seal(payload)) for payload in payloads]


def leaves() -> list[bytes]:
    """The leaves of a log with one session, complete."""
    head, segments = recording()
    steps: list[tuple[str, str | None, int | None, bytes | None]] = [
        ("gateway.started", None, None, None),
        ("session.opened", SESSION, None, segment.header_hash(head)),
        ("operation.refused", SESSION, None, None),
        *(("session.sealed", SESSION, number, hash_) for number, (_, _, hash_) in enumerate(segments)),
        ("session.closed", SESSION, len(segments), segments[-1][2]),
        ("log.beat", None, None, None),
    ]
    entries: list[bytes] = []
    for seq, (kind, session, number, hash_) in enumerate(steps):
        record = encoding.canonical({"seq": seq})
        entries.append(
            leaf.build(
                kind, gateway="gw-1", boot=BOOT, seq=seq, prev=tree.leaf_hash(entries[-1]) if entries else leaf.FIRST,
                at=AT + seq, commitment=commitment.commit(SALT, kind, record), segment_hash=hash_, session=session,
                number=number,
            )
        )  # fmt: skip
    return entries


def record() -> Files:
    """Every file of a sound record."""
    entries = leaves()
    size, root, written = tiles.grow(0, entries, _none)
    head, segments = recording()
    return {
        "log/vkey": VKEY.encode() + b"\n",
        "log/checkpoint": checkpoint.sign_checkpoint(ORIGIN, size, root, [SIGNER]),
        **{f"log/{path}": octets for path, octets in written.items()},
        f"recordings/2025/02/{SESSION}.dwr": head + b"".join([raw for _, raw, _ in segments]),
    }


def write_record(directory: Path) -> None:
    """Writes `record` below `directory`."""
    for path, octets in record().items():
        (directory / path).parent.mkdir(parents=True, exist_ok=True)
        (directory / path).write_bytes(octets)


def cosigned() -> bytes:
    """The record's checkpoint, as its witness cosigned it."""
    note = record()["log/checkpoint"]
    return note + WITNESS.cosign(checkpoint.split_note(note)[0], AT // 1000 + 1).encode()


def outside_vectors() -> dict[str, Any]:
    """What others say of a log: cosignatures, trust, requests to a witness, proofs."""
    entries = leaves()
    node, size = tree.nodes([tree.leaf_hash(entry) for entry in entries]), len(entries)
    text = checkpoint.split_note(cosigned())[0]
    return {
        "cosignature": {
            "private_key": WITNESS_KEY.hex(), "vkey": WITNESS.vkey, "at": AT // 1000 + 1, "note": cosigned().decode(),
            "message": cosignature.message(text.encode(), AT // 1000 + 1).decode(),
            "mldsa_message": cosignature.subtree_message(WITNESS.name, text.encode(), AT // 1000 + 1).hex(),
        },
        "trust": TRUST,
        "witness": {
            "path": f"{witness.origin_hash(ORIGIN)}/checkpoint",
            "request": witness.request(3, tree.consistency_proof(3, size, node), record()["log/checkpoint"]).decode(),
        },
        "handover": {
            "private_keys": [KEY.hex(), NEXT_KEY.hex()], "until": AT // 1000 + 604_800,
            "note": handover.sign_handover(SIGNER, NEXT, AT // 1000 + 604_800).decode(),
        },
        "proof": {
            "leaf": 4,
            "file": proof.encode_proof(4, tree.inclusion_proof(4, size, node), cosigned(), entries[4]).decode(),
        },
    }  # fmt: skip


def ledger_vectors() -> dict[str, Any]:
    entries = leaves()
    hashes = [tree.leaf_hash(entry) for entry in entries]
    node, size = tree.nodes(hashes), len(entries)
    _, root, written = tiles.grow(0, entries, _none)
    sealer = seal.WalSealer(KEY, bytes(range(16)))
    values: list[Any] = [{"b": [1, -2, None, True], "a": "é\n\u2028\x7f"}, {"\ufb33": 1, "\U0001f600": 2}, [], ""]
    return {
        "spec": "doorward ledger, version 1",
        "outside": outside_vectors(),
        "canonical": [{"json": value, "bytes": encoding.canonical(value).hex()} for value in values],
        "commitment": {
            "salt": SALT.hex(), "type": "log.beat", "record": encoding.canonical({"seq": 6}).hex(),
            "commitment": commitment.commit(SALT, "log.beat", encoding.canonical({"seq": 6})).hex(),
        },
        "leaves": [
            {"entry": entry.decode(), "hash": hash_.hex()} for entry, hash_ in zip(entries, hashes, strict=True)
        ],
        "roots": [tree.root_of(count, node).hex() for count in range(size + 1)],
        "inclusion": [
            {"index": index, "size": size, "proof": [part.hex() for part in tree.inclusion_proof(index, size, node)]}
            for index in range(size)
        ],
        "consistency": [
            {"old": old, "new": size, "proof": [part.hex() for part in tree.consistency_proof(old, size, node)]}
            for old in range(size + 1)
        ],
        "tiles": {path: octets.hex() for path, octets in written.items()},
        "paths": {
            f"{level}/{index}/{width}": tiles.tile_path(level, index, width)
            for level, index, width in ((0, 0, 256), (0, 1234067, 256), (1, 1000, 5), (2, 0, 1))
        },
        "checkpoint": {
            "private_key": KEY.hex(), "vkey": VKEY,
            "note": checkpoint.sign_checkpoint(ORIGIN, size, root, [SIGNER]).decode(),
        },
        "wal": {
            "key": KEY.hex(), "header": sealer.header.hex(),
            "frames": [
                {"seq": seq, "plaintext": text.hex(), "frame": sealer.seal(seq, text).hex()}
                for seq, text in ((0, b"first"), (1, b""), (7, b"third"))
            ],
        },
    }  # fmt: skip


def recording_vectors() -> dict[str, Any]:
    head, segments = recording()
    return {
        "spec": "doorward recording, version 1",
        "session": SESSION,
        "dek": DEK.hex(),
        "header": head.decode(),
        "header_hash": segment.header_hash(head).hex(),
        "segments": [
            {"payload": payload.hex(), "stored": raw.hex(), "hash": hash_.hex()} for payload, raw, hash_ in segments
        ],
        "records": [
            {"kind": kind, "at": at, "body": body.hex()}
            for payload, _, _ in segments
            for kind, at, body in segment.iter_records(payload)
        ],
    }


def approval_vectors() -> dict[str, Any]:
    """A request, its challenge and words, and a vote of each method, with a key made of 32 known bytes."""
    statement, params, digest = b"DELETE FROM orders WHERE id = $1", [b"42", None], sha256(b"digest").digest()
    shown = encoding.canonical({"text": "DELETE FROM orders WHERE id = $1"})
    terms: dict[str, Any] = {
        "act": ["https://idp.example.com|dana"], "exp": AT + 900_000, "limits": {},
        "log": {"origin": ORIGIN, "size": 5, "root": b64encode(sha256(b"root").digest()).decode()}, "nbf": AT,
        "nonce": sha256(b"nonce").hexdigest(), "policy": {"rules": ["agents-write"], "sha256": sha256(b"policy").hexdigest()},
        "preview": "", "quorum": {"k": 2, "of": ["dba", "security"], "seats": {"dba": 1, "security": 1}},
        "requester": "https://idp.example.com|bot", "rid": SESSION, "role": "app", "search_path": '"$user", public',
        "target": "shop", "typ": requests.TYP, "uses": 1, "v": 1,
        "stmt_commit": requests.statement_commitment(SALT, statement),
        "params_commit": requests.parameters_commitment(SALT, params, [0], [23, 25]),
        "operation_commit": requests.operation_commitment(SALT, digest),
        "display_commit": requests.display_commitment(SALT, shown),
    }  # fmt: skip
    private = Ed25519PrivateKey.from_private_bytes(KEY)
    public = private.public_key().public_bytes_raw()
    ssh = sshsig.ed25519(public)
    request = requests.request(terms, "https://idp.example.com|dora", approve=True)
    challenge = requests.challenge(request)
    client = json.dumps({
        "type": "webauthn.get", "challenge": webauthn.base64url(challenge), "origin": "https://door.example.com",
        "crossOrigin": False,
    }).encode()  # fmt: skip
    authenticator = sha256(b"door.example.com").digest() + b"\x05" + bytes(4)
    response = {
        "authenticatorData": authenticator, "clientDataJSON": client,
        "signature": private.sign(authenticator + sha256(client).digest()),
    }  # fmt: skip
    cose = cbor2.dumps({1: 1, 3: -8, -1: 6, -2: public})
    held = {"k": 1, "of": ["dba"], "seats": {}}
    grant: dict[str, Any] = {
        **{name: terms[name] for name in ("act", "display_commit", "exp", "log", "nbf", "nonce", "policy", "requester", "rid",
                                          "target", "v")},
        "actions": ["write"], "kinds": ["agent", "human"], "limits": {"minutes": 30, "rows": 500, "statements": 20},
        "on": [["Table", "public.orders"]], "quorum": held, "session": "", "skips": None, "typ": requests.GRANT,
    }  # fmt: skip
    person: dict[str, Any] = {
        **grant, "act": [], "kinds": ["human"], "on": [], "quorum": {"k": 1, "of": [], "seats": {}},
        "requester": "https://idp.example.com|dora", "skips": held,
    }  # fmt: skip
    granted = requests.request(grant, "https://idp.example.com|dora", approve=True)
    broken = requests.request(person, "https://idp.example.com|dora", approve=True)
    return {
        "grant": {
            "terms": grant, "request": granted.decode(), "challenge": requests.challenge(granted).hex(),
            "words": requests.words(requests.challenge(granted)),
        },
        "break_glass": {
            "terms": person, "request": broken.decode(), "challenge": requests.challenge(broken).hex(),
            "words": requests.words(requests.challenge(broken)),
        },
        "spec": "doorward approval, version 1",
        "private_key": KEY.hex(),
        "salt": SALT.hex(),
        "statement": statement.hex(),
        "parameters": {"values": [v and v.hex() for v in params], "formats": [0], "types": [23, 25]},
        "operation_digest": digest.hex(),
        "rendering": shown.decode(),
        "terms": terms,
        "request": request.decode(),
        "challenge": challenge.hex(),
        "words": requests.words(challenge),
        "sshsig": {
            "public_key": ssh.line, "key": votes.key_id(votes.SSHSIG, ssh.line), "namespace": votes.namespace("doorward"),
            "signature": sshsig.compose(ssh, votes.namespace("doorward"), request, private.sign),
        },
        "webauthn": {
            "public_key": webauthn.base64url(cose), "key": votes.key_id(votes.WEBAUTHN, webauthn.base64url(cose)),
            "rp_id": "door.example.com", "origins": ["https://door.example.com"],
            "credential": {
                "id": "AAEC", "response": {name: webauthn.base64url(octets) for name, octets in response.items()}
            },
        },
    }  # fmt: skip


def webhook_vectors() -> dict[str, Any]:
    """A notification, as it is posted while a key is being changed, and one of a name that is not what it looks like."""
    keys = [webhook.PREFIX + b64encode(sha256(name).digest()).decode() for name in (b"new", b"old")]
    asked = {"action": "UPDATE", "approval": SESSION, "target": "shop"}
    found = []
    for who in ("https://idp.example.com|bot", "https://idp.example.com|b\u043et\u202e"):
        notice = Notice(
            f"{SESSION}.ops", "approval.requested", AT, "UPDATE on shop waits for approval", (),
            f"https://door.example.com/approvals/{SESSION}", {**asked, "requested_by": who},
        )  # fmt: skip
        body = webhook.content(notice)
        opened = [webhook.key_of(key.encode(), "vectors") for key in keys]
        headers = webhook.signed(notice.id, AT // 1000, body, opened)
        found.append({"keys": keys, "headers": headers, "body": body.decode()})
    return {"requests": found}


def main() -> None:
    for name, vectors in (
        ("ledger", ledger_vectors()), ("recording", recording_vectors()), ("approval", approval_vectors()),
        ("webhook", webhook_vectors()),
    ):  # fmt: skip
        text = json.dumps(vectors, indent=1, ensure_ascii=True) + "\n"
        (HERE / f"{name}.json").write_text(text, encoding="ascii")


if __name__ == "__main__":
    main()
