"""Every secret source behind one door: a SecretRef in, its bytes out.

Contract: a reference of a scheme that is not known is a ConfigError that lists those that are. Nothing is cached.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Protocol

from doorward.adapters.secrets.environment import EnvironmentSecrets
from doorward.adapters.secrets.file import FileSecrets
from doorward.adapters.secrets.secret import Secret
from doorward.adapters.secrets.vault import Vault
from doorward.errors import ConfigError
from doorward.model import SecretRef


class _Source(Protocol):
    def get(self, ref: SecretRef) -> Secret: ...


class SecretSources:
    """SecretSource over `env:`, `file:` and `vault:`."""

    def __init__(self, data_directory: Path) -> None:
        self._sources: Mapping[str, _Source] = {
            "env": EnvironmentSecrets(),
            "file": FileSecrets(),
            "vault": Vault(data_directory),
        }

    def get(self, ref: SecretRef) -> Secret:
        """Raises ConfigError when it is not there, IntegrityError when the vault was tampered with."""
        source = self._sources.get(ref.scheme)
        if source is None:
            raise ConfigError(
                f"secret {ref}: {ref.scheme!r} is not a place that Doorward knows",
                hint=f"write one of {', '.join(f'{scheme}:' for scheme in self._sources)}",
            )
        return source.get(ref)
