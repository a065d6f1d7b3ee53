"""Signing as a person: with `ssh-keygen`, so that agents, passphrases and security keys work; else a plain key by ourselves.

Contract: a private key is read only where it is an unencrypted Ed25519 key in OpenSSH's form and there is no `ssh-keygen`;
otherwise this program never sees one. What a person must do meanwhile (touch a key, type a PIN) ssh-keygen asks for itself.
"""

from __future__ import annotations

import os
import shutil
import subprocess
from pathlib import Path

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.serialization import load_ssh_private_key

from doorward.errors import ConfigError, ProtocolError, in_words
from doorward.ledger import sshsig

# Security keys first: what they sign nobody else can have signed.
USUAL = ("id_ed25519_sk", "id_ecdsa_sk", "id_ed25519", "id_ecdsa", "id_rsa")
PATIENCE = 120.0  # seconds to find the security key and touch it


def public_half(key: Path) -> sshsig.PublicKey:
    """The public key beside a private one, or of a `.pub` file. ConfigError if there is none, ProtocolError if it is none."""
    path = key if key.suffix == ".pub" else Path(f"{key}.pub")
    try:
        return sshsig.public_key(path.read_text(encoding="utf-8").strip())
    except (OSError, UnicodeDecodeError) as error:
        raise ConfigError(f"no public key: {in_words(error)}", hint="name the .pub file; make a key with ssh-keygen") from None


def usual() -> list[Path]:
    """The keys that OpenSSH would use, as far as they are there."""
    folder = Path.home() / ".ssh"
    return [folder / f"{name}.pub" for name in USUAL if (folder / f"{name}.pub").is_file()]


def sign(key: Path, namespace: str, message: bytes) -> str:
    """The armored SSHSIG of `message` by the key in a file (or, for a `.pub` file, in the agent or the file beside it).
    ConfigError when that does not work."""
    program = shutil.which("ssh-keygen")
    if program is None:
        return _alone(key, namespace, message)
    private = key.with_suffix("") if key.suffix == ".pub" else key
    # A file that is not there must be the agent's.
    where = private if private.is_file() else key
    try:
        done = subprocess.run(
            [program, "-Y", "sign", "-n", namespace, "-f", str(where)],
            input=message, capture_output=True, timeout=PATIENCE, check=False, env=dict(os.environ),
        )  # fmt: skip
    except (OSError, subprocess.TimeoutExpired) as error:
        raise ConfigError(f"ssh-keygen does not sign ({type(error).__name__})", hint="try again, and touch the key") from None
    if done.returncode != 0:
        said = done.stderr.decode("utf-8", "replace").strip().splitlines()
        raise ConfigError(
            f"ssh-keygen does not sign with {where}: {said[-1] if said else done.returncode}",
            hint="is the key in the agent (ssh-add -l), or its file there?",
        )
    return done.stdout.decode("ascii", "replace")


def _alone(key: Path, namespace: str, message: bytes) -> str:
    path = key.with_suffix("") if key.suffix == ".pub" else key
    try:
        private = load_ssh_private_key(path.read_bytes(), password=None)
    except (OSError, ValueError, TypeError) as error:
        raise ConfigError(
            f"{path} cannot be used without ssh-keygen ({in_words(error)})",
            hint="install OpenSSH: it knows agents, passphrases and security keys",
        ) from None
    if not isinstance(private, Ed25519PrivateKey):
        raise ConfigError(f"{path} is not an Ed25519 key, and there is no ssh-keygen", hint="install OpenSSH")
    return sshsig.compose(sshsig.ed25519(private.public_key().public_bytes_raw()), namespace, message, private.sign)


def chosen(key: Path | None, registered: list[str]) -> tuple[Path, sshsig.PublicKey]:
    """The key to sign with: the one that is named, or the first usual one that is registered (its line). ConfigError."""
    candidates = [key] if key is not None else usual()
    for candidate in candidates:
        try:
            public = public_half(candidate)
        except (ConfigError, ProtocolError):
            if key is not None:
                raise
            continue
        if public.line in registered:
            return candidate, public
    if key is not None:
        raise ConfigError(f"{key} is not registered as yours", hint=f"register it: doorward keys add {key}")
    if not registered:
        raise ConfigError(
            "votes are signed, and no SSH key of yours is registered",
            hint="register one: doorward keys add ~/.ssh/id_ed25519.pub",
        )
    raise ConfigError("none of your registered keys is in ~/.ssh", hint="name it with --key (DOORWARD_KEY)")
