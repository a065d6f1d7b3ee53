"""`doorward masking reveal`, `forget` and `vault`: what tokens stand for."""

from __future__ import annotations

from typing import Any

from doorward.cli.gateway import HERE, Connection, GatewayClient
from doorward.cli.options import Json, TargetName
from doorward.cli.output import console, note, print_json, table, visible
from doorward.errors import ConfigError


def reveal(token: str, /, *, target: str, reason: str, as_json: Json = False, connection: Connection = HERE) -> int:
    """Show what a token stands for. That you asked, and why, is on record before you see it.

    Needs `unmask` on the token's label, by a policy that may look at the reason. People only, and so many an hour.

    Parameters
    ----------
    token
        The token, as in card_mzxw6ytboi2dkmrt.
    target
        The target that showed it.
    reason
        Why you need it. It is what policies see as context.purpose.
    """
    with GatewayClient(connection) as gateway:
        found = gateway.post("targets", target, "reveals", body={"token": token, "reason": reason})
    if as_json:
        print_json(found)
    else:
        console().print(visible(str(found["value"])), markup=False, highlight=False, soft_wrap=True)
    return 0


def forget(
    *tokens: str, target: str, reason: str, label: str = "", as_json: Json = False, connection: Connection = HERE
) -> int:
    """Erase what tokens stand for, from the vault. Needs `administer` on the target; it is on record.

    What the target still holds is kept anew when it is shown again: delete it there first. Backups of the store have what they
    have; without the vault's keys it cannot be read.

    Parameters
    ----------
    tokens
        The tokens.
    target
        The target that showed them.
    reason
        Why, for the record.
    label
        Instead of tokens: all of this label.
    """
    if bool(tokens) == bool(label):
        raise ConfigError("name tokens, or a --label, and not both")
    chosen: dict[str, Any] = {"label": label} if label else {"tokens": list(tokens)}
    with GatewayClient(connection) as gateway:
        done = gateway.post("targets", target, "tokens", "forget", body={**chosen, "reason": reason})
    if as_json:
        print_json(done)
    else:
        console().print(f"{done['forgotten']} erased")
    return 0


def vault(target: TargetName, /, *, as_json: Json = False, connection: Connection = HERE) -> int:
    """Count the tokens that are kept of a target, by label and key. Needs `administer` on the target."""
    with GatewayClient(connection) as gateway:
        found = gateway.get("targets", target, "tokens")
    if as_json:
        print_json(found)
        return 0
    table(
        ("LABEL", "KEY", "TOKENS", "SHOWN FROM", "TO"),
        ((each["label"], each["key"], str(each["tokens"]), each["first"], each["last"]) for each in found["kept"]),
        fold=2, states="",
    )  # fmt: skip
    note(f"key {found['keys'][0]} seals; kept {found['retention_days']} days after they were last shown")
    if gone := sorted({each["key"] for each in found["kept"]} - set(found["keys"])):
        note(f"not in masking.vault.keys, so nobody can reveal what they sealed: {', '.join(gone)}")
    return 0
