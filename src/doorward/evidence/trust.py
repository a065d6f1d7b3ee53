"""Trust files: what a verifier needs besides the log (docs/spec/pack.md, section 3). A convenience in the pack; the root
of trust is what the verifier has from elsewhere."""

from __future__ import annotations

from typing import Any

from doorward.evidence.record import Record
from doorward.ledger.encoding import canonical
from doorward.ledger.votes import SSHSIG, namespace


class Trust:
    """Fed with the opened events about approvers' keys, in order."""

    def __init__(self) -> None:
        self._keys: dict[str, dict[str, Any]] = {}
        self._gateway = ""

    def add(self, record: Record) -> None:
        body = record.body
        if record.ref.type == "approver_key.registered":
            self._gateway = self._gateway or record.ref.gateway
            self._keys[str(body["key"])] = {
                **{name: body[name] for name in ("key", "owner", "name", "method", "public_key", "tier")},
                "rp_id": body.get("rp_id", ""), "origins": body.get("origins", []),
                "registered": record.ref.leaf, "revoked": -1,
            }  # fmt: skip
        elif record.ref.type == "approver_key.revoked" and body["key"] in self._keys:
            self._keys[str(body["key"])]["revoked"] = record.ref.leaf

    def files(self, policy: bytes) -> dict[str, bytes]:
        """By path below the pack. `policy` is the tlog-policy."""
        keys = [{n: v for n, v in key.items() if n not in ("rp_id", "origins")} for key in self._keys.values()]
        places = sorted({(key["rp_id"], tuple(key["origins"])) for key in self._keys.values() if key["rp_id"]})
        rps = [{"rp_id": rp_id, "origins": list(origins)} for rp_id, origins in places]
        signers = "".join(
            f'"{_plain(key["owner"])}" namespaces="{namespace(self._gateway)}" {key["public_key"]}\n'
            for key in self._keys.values() if key["method"] == SSHSIG
        )  # fmt: skip
        return {
            "trust/policy.txt": policy, "trust/keys.json": canonical({"keys": keys}),
            "trust/rp.json": canonical({"rps": rps}), "trust/allowed_signers": signers.encode(),
        }  # fmt: skip


def _plain(owner: str) -> str:
    """An identity as a principal of ALLOWED SIGNERS, where quotes and patterns mean something."""
    return "".join(letter if letter.isprintable() and letter not in '"*?!,\\' else "_" for letter in owner)


def policy(*vkeys: str) -> bytes:
    """A C2SP tlog-policy that asks for the log's own signature alone, by any of its keys."""
    return "".join([*(f"log {vkey}\n" for vkey in vkeys), "quorum none\n"]).encode()
