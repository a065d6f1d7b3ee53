"""Secrets from files that only the gateway can read: `file:/path`.

Contract: the file is read each time, so a rotated secret is used from the next connection on. Checks are made on the
opened file, not on its name, so it cannot be swapped in between. It must be a regular file, owned by the gateway's
user or root, closed to group and others, and at most LIMIT bytes. One newline at its end is not part of the secret,
as in Docker's and Kubernetes' secret files. A symbolic link is followed: Kubernetes mounts secrets that way.
"""

from __future__ import annotations

import os
import stat

from doorward.adapters.secrets.secret import Secret
from doorward.errors import ConfigError
from doorward.model import SecretRef

LIMIT = 64 * 1024


class FileSecrets:
    """SecretSource of the scheme `file`."""

    def get(self, ref: SecretRef) -> Secret:
        """The file's content without its last newline. Raises ConfigError."""
        if not os.path.isabs(ref.name):
            raise ConfigError(f"secret {ref}: the path is not absolute", hint="write it from / on")
        value = read_private(ref.name, what=f"secret {ref}", limit=LIMIT)
        value = value.removesuffix(b"\n").removesuffix(b"\r")
        if not value:
            raise ConfigError(f"secret {ref}: the file is empty", hint="write the secret into it")
        return Secret(value)


def read_private(path: str, *, what: str, limit: int) -> bytes:
    """Read a file that nobody else may read. Raises ConfigError, its message beginning with `what`, for any other."""
    try:
        # O_NONBLOCK: opening a FIFO must not wait for its writer
        descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC | os.O_NONBLOCK)
    except OSError as error:
        raise ConfigError(
            f"{what}: {path} cannot be opened ({error.strerror})", hint="check the path and who the gateway runs as"
        ) from None
    try:
        status = os.fstat(descriptor)
        if not stat.S_ISREG(status.st_mode):
            raise ConfigError(f"{what}: {path} is not a regular file", hint="name a file")
        if status.st_mode & 0o077:
            raise ConfigError(
                f"{what}: {path} is open to others than its owner (mode {stat.S_IMODE(status.st_mode):04o})",
                hint=f"chmod 600 {path} (in Kubernetes, `defaultMode: 0400` on the secret's volume)",
            )
        if status.st_uid not in (0, os.geteuid()):
            raise ConfigError(
                f"{what}: {path} belongs to user {status.st_uid}, who could change it",
                hint="chown it to the gateway's user or to root",
            )
        with open(descriptor, "rb", closefd=False) as file:
            value = file.read(limit + 1)
    except OSError as error:
        raise ConfigError(f"{what}: {path} cannot be read ({error.strerror})", hint="check the disk") from None
    finally:
        os.close(descriptor)
    if len(value) > limit:
        raise ConfigError(f"{what}: {path} is longer than {limit // 1024} KiB", hint="is it the right file?")
    return value
