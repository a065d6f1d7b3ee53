"""The policy that a new installation begins with: `starter.cedar`, with the installation's own groups in it.

Agents read, masked; what changes anything waits for an approver; execute, control and unknown are denied; people of
the administrators' group administer and replay. `doorward init` writes it to a file that is then the operator's.
"""

from __future__ import annotations

import re
from importlib.resources import files

from doorward.errors import ConfigError

_GROUP = re.compile(r"[A-Za-z0-9][A-Za-z0-9 ._:@/-]{0,127}")


def starter(
    *, agents: str = "agents", people: str = "people", approvers: str = "approvers", admins: str = "admins"
) -> str:
    """The text of the first policy. Each argument is the name of a group, as the issuer writes it. Raises ConfigError
    for a name that would need escaping, which could say something else than it shows."""
    text = files("doorward.policy").joinpath("starter.cedar").read_text(encoding="utf-8")
    for role, group in (("agents", agents), ("people", people), ("approvers", approvers), ("admins", admins)):
        if not _GROUP.fullmatch(group):
            raise ConfigError(
                f"{group[:80]!r} cannot be the group of {role} in a first policy",
                hint="use letters, digits and . _ : @ / - or a space; edit the policy afterwards for other names",
            )
        text = text.replace(f"%{role}%", group)
    return text
