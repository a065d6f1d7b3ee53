"""The policy that a new installation begins with: `starter.cedar`, with the installation's own groups in it.

Agents read, masked; what changes anything waits for an approver; execute, control and unknown are denied; people of
the administrators' group administer and replay. A token that is bound to no key reads, and no more: whoever copies it could
do the same. `doorward init` writes it to a file that is then the operator's.

With a development issuer, which binds no token to anything, nobody could ever try a change. So there what such a token
changes waits until somebody has agreed: a copied token still changes nothing by itself.
"""

from __future__ import annotations

import re
from importlib.resources import files

from doorward.errors import ConfigError

# What is read of a file that people edit should say one thing, so only one of these is written.
_BEARER = """\
// Whoever holds a token that is not bound to a key is let in, so such a token reads and no more. Bound tokens (assurance 2
// and 3) come from clients that can show their key: docs/guides/identity.md.
@id("bearer-tokens-read-only")
@reason("the token is not bound to a key, and whoever holds one may only read with it")
forbid (
    principal,
    action in [Action::"write", Action::"define", Action::"execute", Action::"control", Action::"unknown"],
    resource
)
when { context.assurance < 2 };
"""
_BEARER_IN_DEVELOPMENT = """\
// FOR DEVELOPMENT: the development issuer's tokens are bound to no key, and whoever holds one is let in. What such a token
// changes waits for somebody to agree; for real, take `unless` away, and it reads only.
@id("bearer-tokens-change-approved")
@quorum("1")
@expires("15m")
@approvers("%approvers%")
@reason("the token is not bound to a key, so what it changes waits until somebody agrees")
forbid (
    principal,
    action in [Action::"write", Action::"define", Action::"execute", Action::"control", Action::"unknown"],
    resource
)
when { context.assurance < 2 }
unless { context.approved };
"""
_GROUP = re.compile(r"[A-Za-z0-9][A-Za-z0-9 ._:@/-]{0,127}")


def starter(
    *, agents: str = "agents", people: str = "people", approvers: str = "approvers", admins: str = "admins",
    development: bool = False,
) -> str:  # fmt: skip
    """The text of the first policy. Each argument is the name of a group, as the issuer writes it. Raises ConfigError
    for a name that would need escaping, which could say something else than it shows."""
    text = files("doorward.policy").joinpath("starter.cedar").read_text(encoding="utf-8")
    text = text.replace("%bearer%\n", _BEARER_IN_DEVELOPMENT if development else _BEARER)
    for role, group in (("agents", agents), ("people", people), ("approvers", approvers), ("admins", admins)):
        if not _GROUP.fullmatch(group):
            raise ConfigError(
                f"{group[:80]!r} cannot be the group of {role} in a first policy",
                hint="use letters, digits and . _ : @ / - or a space; edit the policy afterwards for other names",
            )
        text = text.replace(f"%{role}%", group)
    return text
