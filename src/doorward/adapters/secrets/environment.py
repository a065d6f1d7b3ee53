"""Secrets from the gateway's own environment: `env:NAME`.

Contract: the variable is read each time, so nothing is kept here. A variable that is not set, or empty, is a
ConfigError that names it.
"""

from __future__ import annotations

import os

from doorward.adapters.secrets.secret import Secret
from doorward.errors import ConfigError
from doorward.model import SecretRef


class EnvironmentSecrets:
    """SecretSource of the scheme `env`."""

    def get(self, ref: SecretRef) -> Secret:
        """The variable's bytes, as they are. Raises ConfigError."""
        value = os.environb.get(ref.name.encode("utf-8", "surrogateescape"), b"")
        if not value:
            raise ConfigError(
                f"secret {ref}: the environment variable is not set, or empty",
                hint=f"set {ref.name} for the gateway's process, or use file: or vault: instead",
            )
        return Secret(value)
