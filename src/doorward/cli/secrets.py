"""`doorward secrets`: what the local vault holds, by name.

Contract: a value comes from standard input or from a prompt that does not show it, never from the command line, where
every process of the machine could read it, and no command prints one.
"""

from __future__ import annotations

import getpass
import json
import sys
from pathlib import Path
from typing import Annotated

from cyclopts import App, Parameter

from doorward.adapters.secrets.vault import MAX_VALUE, Vault
from doorward.config import load
from doorward.errors import ConfigError

DEFAULT_CONFIG = Path("doorward.toml")

app = App(name="secrets", help="Keep secrets in the local encrypted vault; a configuration names them vault:NAME.")


@app.command(name="set")
def set_command(name: str, /, *, config: Path = DEFAULT_CONFIG, data: Path | None = None) -> int:
    """Add or replace a secret. Its value is read from standard input, or asked for without showing it.

    Parameters
    ----------
    name
        The name by which a configuration uses it: vault:NAME.
    config
        The configuration whose data directory has the vault.
    data
        That directory itself.
    """
    vault = _vault(config, data)
    value = _prompted(name) if sys.stdin.isatty() else _piped()
    try:
        vault.set(name, value)
    except ValueError as error:
        raise ConfigError(str(error)) from None
    except OSError as error:
        raise ConfigError(f"the vault cannot be written ({error.strerror})", hint="check the data directory") from None
    print(f"kept; use it as vault:{name}", file=sys.stderr)
    return 0


@app.command(name="list")
def list_command(
    *,
    config: Path = DEFAULT_CONFIG,
    data: Path | None = None,
    as_json: Annotated[bool, Parameter(name="--json", negative="")] = False,
) -> int:
    """Print the names of the secrets in the vault, one a line. Never a value.

    Parameters
    ----------
    config
        The configuration whose data directory has the vault.
    data
        That directory itself.
    as_json
        Print JSON.
    """
    names = _vault(config, data).names()
    print(json.dumps({"secrets": names}) if as_json else "\n".join(names), end="\n" if as_json or names else "")
    return 0


@app.command(name="remove")
def remove_command(name: str, /, *, config: Path = DEFAULT_CONFIG, data: Path | None = None) -> int:
    """Remove a secret from the vault.

    Parameters
    ----------
    name
        The secret's name.
    config
        The configuration whose data directory has the vault.
    data
        That directory itself.
    """
    if not _vault(config, data).remove(name):
        raise ConfigError(f"the vault has no secret {name!r}", hint="`doorward secrets list` shows the names")
    print("removed", file=sys.stderr)
    return 0


def _vault(config: Path, data: Path | None) -> Vault:
    return Vault(data if data is not None else load(config).gateway.data)


def _prompted(name: str) -> bytes:
    value = getpass.getpass(f"Value of {name}: ")
    if getpass.getpass("Once more: ") != value:
        raise ConfigError("the two values differ", hint="try again; nothing was changed")
    return value.encode("utf-8", "surrogateescape")


def _piped() -> bytes:
    """Standard input without one newline at its end, which `echo` adds and nobody means."""
    value = sys.stdin.buffer.read(MAX_VALUE + 2)
    return value.removesuffix(b"\n").removesuffix(b"\r")
