"""The published vectors are what the script makes, and hold when computed from the specification alone: hashlib, hmac
and a cipher, none of our own functions."""

from __future__ import annotations

import hashlib
import hmac
import json
import zlib
from base64 import b64decode, urlsafe_b64decode
from typing import Any

import pytest
import zstandard
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.ciphers.aead import AESGCM

from vectors import make

LEDGER: dict[str, Any] = json.loads((make.HERE / "ledger.json").read_text(encoding="ascii"))
RECORDING: dict[str, Any] = json.loads((make.HERE / "recording.json").read_text(encoding="ascii"))
APPROVAL: dict[str, Any] = json.loads((make.HERE / "approval.json").read_text(encoding="ascii"))


def sha256(*parts: bytes) -> bytes:
    return hashlib.sha256(b"".join(parts)).digest()


def expand(key: bytes, info: bytes, length: int) -> bytes:
    """HKDF-Expand of RFC 5869, section 2.3."""
    block, octets, count = b"", b"", 0
    while len(octets) < length:
        count += 1
        block = hmac.digest(key, block + info + bytes([count]), "sha256")
        octets += block
    return octets[:length]


@pytest.mark.parametrize(
    ("name", "remade"),
    [
        ("ledger", make.ledger_vectors()), ("recording", make.recording_vectors()), ("approval", make.approval_vectors()),
        ("webhook", make.webhook_vectors()),
    ],
)
def test_current(name: str, remade: dict[str, Any]) -> None:
    """The files are those that `python vectors/make.py` writes."""
    assert json.loads((make.HERE / f"{name}.json").read_text(encoding="ascii")) == json.loads(json.dumps(remade))


def test_leaves_and_roots() -> None:
    """Leaf hashes, the gateway's chain, and the roots of every prefix."""
    hashes, previous = [], bytes(32)
    for each in LEDGER["leaves"]:
        fields = json.loads(each["entry"])
        assert b64decode(fields["prev"]) == previous
        previous = sha256(b"\0", each["entry"].encode())
        assert previous.hex() == each["hash"]
        hashes.append(previous)

    def root(leaves: list[bytes]) -> bytes:
        if len(leaves) < 2:
            return leaves[0] if leaves else sha256()
        split = 1 << ((len(leaves) - 1).bit_length() - 1)
        return sha256(b"\1", root(leaves[:split]), root(leaves[split:]))

    assert [root(hashes[:count]).hex() for count in range(len(hashes) + 1)] == LEDGER["roots"]
    assert LEDGER["tiles"][f"tile/0/000.p/{len(hashes)}"] == b"".join(hashes).hex()
    bundle = b"".join(len(each["entry"]).to_bytes(2, "big") + each["entry"].encode() for each in LEDGER["leaves"])
    assert LEDGER["tiles"][f"tile/entries/000.p/{len(hashes)}"] == bundle.hex()


def test_checkpoint() -> None:
    """The note is the text, an empty line, and an Ed25519 signature under a key id."""
    text, _, line = LEDGER["checkpoint"]["note"].partition("\n\n")
    text += "\n"
    origin, size, root, _ = text.split("\n")
    assert (int(size), b64decode(root).hex()) == (len(LEDGER["leaves"]), LEDGER["roots"][-1])
    key = Ed25519PrivateKey.from_private_bytes(bytes.fromhex(LEDGER["checkpoint"]["private_key"]))
    public = b"\1" + key.public_key().public_bytes_raw()
    blob = b64decode(line.removeprefix(f"\u2014 {origin} "))
    assert blob == sha256(origin.encode(), b"\n", public)[:4] + key.sign(text.encode())
    name, number, encoded = LEDGER["checkpoint"]["vkey"].split("+", 2)
    assert (name, bytes.fromhex(number), b64decode(encoded)) == (origin, blob[:4], public)


def test_commitment() -> None:
    """HMAC-SHA256 over domain, type, zero and record."""
    case = LEDGER["commitment"]
    message = b"doorward/commit/v1\0" + case["type"].encode() + b"\0" + bytes.fromhex(case["record"])
    assert hmac.digest(bytes.fromhex(case["salt"]), message, "sha256").hex() == case["commitment"]


def test_wal() -> None:
    """Frames open under the file's key, the number as nonce, the predecessor's tag as associated data."""
    header = bytes.fromhex(LEDGER["wal"]["header"])
    last = header[9:]
    extracted = hmac.digest(last, bytes.fromhex(LEDGER["wal"]["key"]), "sha256")  # HKDF-Extract with the id as salt
    cipher = AESGCM(expand(extracted, b"doorward/wal/v1\0", 32))
    for case in LEDGER["wal"]["frames"]:
        frame, number = bytes.fromhex(case["frame"]), case["seq"].to_bytes(8, "big")
        assert (frame[:4], frame[4:8]) == ((len(frame) - 16).to_bytes(4, "big"), zlib.crc32(frame[8:]).to_bytes(4, "big"))
        assert frame[8:16] == number
        assert cipher.decrypt(bytes(4) + number, frame[16:], number + last).hex() == case["plaintext"]
        last = frame[-16:]


def test_recording() -> None:
    """Segments chain by hash from the header, open under keys from the session's key, and unpack to records."""
    dek, sid = bytes.fromhex(RECORDING["dek"]), bytes.fromhex(RECORDING["session"].replace("-", ""))
    previous = sha256(b"doorward/rechead/v1\0", RECORDING["header"].encode())
    assert previous.hex() == RECORDING["header_hash"]
    mac_key = expand(dek, b"doorward/siv/v1\0" + sid, 32)
    records = []
    for index, case in enumerate(RECORDING["segments"]):
        stored, number = bytes.fromhex(case["stored"]), index.to_bytes(4, "big")
        head, sealed = stored[:76], stored[76:]
        iv = head[56:72]
        assert head == b"DWS1" + sid + number + previous + iv + len(sealed).to_bytes(4, "big")
        derived = expand(dek, b"doorward/seg/v1\0" + sid + number + iv, 44)
        packed = AESGCM(derived[:32]).decrypt(derived[32:], sealed, head)
        assert iv == hmac.digest(mac_key, number + previous + packed, "sha256")[:16]
        payload = zstandard.decompress(packed)
        assert payload.hex() == case["payload"]
        previous = sha256(b"doorward/seghash/v1\0", stored)
        assert previous.hex() == case["hash"]
        while payload:
            end = 13 + int.from_bytes(payload[9:13], "big")
            at = int.from_bytes(payload[1:9], "big")
            records.append({"kind": payload[0], "at": at, "body": payload[13:end].hex()})
            payload = payload[end:]
    assert records == RECORDING["records"]


def test_what_others_say_from_the_specification_alone() -> None:
    """The witness's signature, where it publishes, and a proof from leaf to root."""
    outside = LEDGER["outside"]
    said = outside["cosignature"]
    text, _, lines = said["note"].partition("\n\n")
    assert said["message"] == f"cosignature/v1\ntime {said['at']}\n{text}\n"
    key = Ed25519PrivateKey.from_private_bytes(bytes.fromhex(said["private_key"]))
    public = b"\4" + key.public_key().public_bytes_raw()
    name, number, _ = said["vkey"].split("+", 2)
    blob = b64decode(lines.split("\n")[1].split(" ")[2])
    assert (blob[:4], blob[:4].hex()) == (sha256(name.encode() + b"\n" + public)[:4], number)
    assert int.from_bytes(blob[4:12], "big") == said["at"]
    key.public_key().verify(blob[12:], said["message"].encode())
    assert outside["witness"]["path"] == f"{sha256(text.split(chr(10))[0].encode()).hex()}/checkpoint"

    said = outside["handover"]
    text, _, lines = said["note"].partition("\n\n")
    header, old, new, until = text.split("\n")
    assert (header, int(until), old) == ("doorward/log-key/v1", said["until"], LEDGER["checkpoint"]["vkey"])
    for private, vkey, line in zip(said["private_keys"], (old, new), lines.split("\n"), strict=False):
        key = Ed25519PrivateKey.from_private_bytes(bytes.fromhex(private))
        name, number, public = vkey.split("+", 2)
        assert b64decode(public) == b"\1" + key.public_key().public_bytes_raw()
        blob = b64decode(line.split(" ")[2])
        assert (blob[:4].hex(), line.split(" ")[1]) == (number, name)
        key.public_key().verify(blob[4:], text.encode() + b"\n")

    head, _, note = outside["proof"]["file"].partition("\n\n")
    first, extra, index, *hashes = head.split("\n")
    assert (first, index) == ("c2sp.org/tlog-proof@v1", f"index {outside['proof']['leaf']}")
    assert note == outside["cosignature"]["note"]
    value, at, size = sha256(b"\0", b64decode(extra.removeprefix("extra "))), outside["proof"]["leaf"], 7
    path = [b64decode(each) for each in hashes]
    assert value.hex() == LEDGER["leaves"][at]["hash"]
    for sibling, left in zip(path, (False, False, True), strict=True):  # leaf 4 of 7: 5 and 6 are right of it
        value = sha256(b"\1", sibling, value) if left else sha256(b"\1", value, sibling)
    assert value.hex() == LEDGER["roots"][size]


def compact(value: object) -> bytes:
    return json.dumps(value, sort_keys=True, separators=(",", ":"), ensure_ascii=False).encode()


def test_an_approval_from_the_specification_alone() -> None:
    """Commitments, the request, its challenge and words, and both signatures."""
    salt = bytes.fromhex(APPROVAL["salt"])
    terms = APPROVAL["terms"]

    def commitment(kind: str, record: bytes) -> str:
        return hmac.digest(salt, b"doorward/commit/v1\0" + kind.encode() + b"\0" + record, "sha256").hex()

    assert terms["stmt_commit"] == commitment("approval.statement", bytes.fromhex(APPROVAL["statement"]))
    assert terms["params_commit"] == commitment("approval.parameters", compact(APPROVAL["parameters"]))
    assert terms["operation_commit"] == commitment("approval.operation", bytes.fromhex(APPROVAL["operation_digest"]))
    assert terms["display_commit"] == commitment("approval.display", APPROVAL["rendering"].encode())
    request = compact({**terms, "approver": "https://idp.example.com|dora", "decision": "approve"})
    assert request.decode() == APPROVAL["request"]
    challenge = sha256(b"doorward/approval/v1\0", request)
    assert challenge.hex() == APPROVAL["challenge"]
    letters = "bdfghjklmnprstvz", "aiou"
    words = []
    for at in range(0, 12, 2):
        bits = f"{int.from_bytes(challenge[at : at + 2]):016b}"
        cut = (bits[:4], bits[4:6], bits[6:10], bits[10:12], bits[12:])
        words.append("".join(letters[n % 2][int(part, 2)] for n, part in enumerate(cut)))
    assert " ".join(words) == APPROVAL["words"]

    key = Ed25519PrivateKey.from_private_bytes(bytes.fromhex(APPROVAL["private_key"])).public_key()
    ssh = APPROVAL["sshsig"]
    blob = b64decode("".join(ssh["signature"].splitlines()[1:-1]))
    parts: list[bytes] = []
    rest = blob[10:]
    while rest:
        size = int.from_bytes(rest[:4])
        parts.append(rest[4 : 4 + size])
        rest = rest[4 + size :]
    public, namespace, reserved, hash_, signature = parts
    assert (blob[:10], namespace.decode(), reserved, hash_) == (b"SSHSIG\0\0\0\1", ssh["namespace"], b"", b"sha512")
    assert public == b64decode(ssh["public_key"].split()[1])
    fields = (namespace, b"", hash_, hashlib.sha512(request).digest())
    signed = b"SSHSIG" + b"".join(len(f).to_bytes(4) + f for f in fields)
    key.verify(signature[-64:], signed)
    assert ssh["key"] == sha256(b"doorward/key/v1\0sshsig\0", ssh["public_key"].encode()).hex()[:32]

    passkey = {
        name: urlsafe_b64decode(text + "=" * (-len(text) % 4))
        for name, text in APPROVAL["webauthn"]["credential"]["response"].items()
    }
    key.verify(passkey["signature"], passkey["authenticatorData"] + sha256(passkey["clientDataJSON"]))
    said = json.loads(passkey["clientDataJSON"])["challenge"]
    assert urlsafe_b64decode(said + "=") == challenge
    assert passkey["authenticatorData"][:32] == sha256(APPROVAL["webauthn"]["rp_id"].encode())


def test_webhooks() -> None:
    """Each key's HMAC over id, time and body, and the body in ASCII."""
    for each in json.loads((make.HERE / "webhook.json").read_text(encoding="ascii"))["requests"]:
        headers = each["headers"]
        signing = f"{headers['webhook-id']}.{headers['webhook-timestamp']}.{each['body']}".encode("ascii")
        marks = [mark.partition(",") for mark in headers["webhook-signature"].split(" ")]
        assert [version for version, _, _ in marks] == ["v1"] * len(each["keys"])
        for key, (_, _, mark) in zip(each["keys"], marks, strict=True):
            octets = b64decode(key.removeprefix("whsec_"))
            assert hmac.digest(octets, signing, "sha256") == b64decode(mark)


@pytest.mark.parametrize("kind", ["grant", "break_glass"])
def test_a_grant_from_the_specification_alone(kind: str) -> None:
    """What is signed is the terms with approver and decision, in the canonical form; the challenge is of that."""
    vector = APPROVAL[kind]
    said = {**vector["terms"], "approver": "https://idp.example.com|dora", "decision": "approve"}
    request = compact(said)
    assert request.decode() == vector["request"]
    assert sha256(b"doorward/approval/v1\0", request).hex() == vector["challenge"]
    assert (said["skips"] is None) == (kind == "grant")
