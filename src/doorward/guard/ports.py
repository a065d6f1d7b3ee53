"""What the guard needs from the world: time, files, and whoever knows identities. What it keeps is `guard.stores`.

Each port is a Protocol that an adapter satisfies (`adapters/`) and an in-memory adapter satisfies for tests
(`tests/memory/`); `tests/suites/` holds what both must pass. The contract common to all of them: a method that
returns has done what it says durably, a method that raises may or may not have done it, and calling it again with the
same arguments is then safe.

File ports block and are called from threads of the recorder, never on the event loop; stores are coroutines.

What ports deliberately do not do: decide anything. Order, exactly-once and recovery are the recorder's and the
sequencer's.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any, Final, Protocol

from doorward.model import Identity


class Clock(Protocol):
    """Time and identifiers. The only source of either, so that tests are deterministic."""

    def now(self) -> int:
        """Unix milliseconds."""
        ...

    def monotonic(self) -> float:
        """Seconds since some moment, never backwards."""
        ...

    def new_id(self) -> str:
        """A UUIDv7 (RFC 9562), lower case with hyphens; later ones sort later within one process."""
        ...


# Files --------------------------------------------------------------------------------------------------------------


class KeyFiles(Protocol):
    """Small secrets that are made once and read at start: `<data>/keys/<name>`, mode 0600."""

    def get_or_create(self, name: str, fresh: bytes) -> bytes:
        """What is stored under `name`; `fresh` is stored first if there is nothing. OSError when neither works."""
        ...

    def get(self, name: str) -> bytes | None:
        """What is stored under `name`; None if there is nothing. OSError."""
        ...

    def names(self) -> list[str]:
        """Of all that are stored, in order."""
        ...

    def delete(self, name: str) -> None:
        """Durably. No error if it is not there."""
        ...


class WalFile(Protocol):
    """One open file of the write-ahead log. After one OSError it must not be written again."""

    def append(self, frame: bytes) -> None:
        """Write all of `frame`, durably. OSError (also for a short write): some, all or none of it is there."""
        ...

    def close(self) -> None: ...


class WalFiles(Protocol):
    """The files of one lane of the write-ahead log, which sort by name in the order they were made. A process has a lane of
    its own; a lane that nobody has is of a process that died, or of none. `folder` is where it is, for people."""

    folder: str

    def lock(self) -> None:
        """Keep every other process from this lane until `unlock`. ConfigError if one has it."""
        ...

    def unlock(self) -> None: ...
    def create(self, name: str) -> WalFile:
        """A new empty file, durable in its directory. FileExistsError if there is one."""
        ...

    def names(self) -> list[str]: ...
    def read(self, name: str) -> bytes: ...
    def delete(self, name: str) -> None:
        """No error if it is not there."""
        ...

    def quarantine(self, name: str, torn: bytes) -> None:
        """Keep bytes that could not be read for people to look at. Replaces what an earlier try kept."""
        ...


class Turn(Protocol):
    """Something that one process at a time may be at."""

    def take(self) -> bool:
        """False if somebody else is. The death of a process lets go."""
        ...

    def release(self) -> None: ...


class RecordingFiles(Protocol):
    """One append-only file a session. `session_id` is a UUIDv7; anything else is a ValueError."""

    def write(self, session_id: str, offset: int, octets: bytes) -> None:
        """Cut the file to `offset` bytes (made, if 0), append `octets`, fdatasync. OSError: the file holds the first
        `offset` bytes and perhaps some of `octets`; the same call again mends it."""
        ...

    def read(self, session_id: str) -> Iterator[bytes]:
        """The file's bytes in pieces; nothing if there is no file."""
        ...

    def delete(self, session_id: str) -> None:
        """Durably. No error if it is not there."""
        ...


class LogFiles(Protocol):
    """The public log's files below `<data>/log`: `checkpoint`, `vkey`, `tile/...`, `staging/...`, which only who has the lock
    changes; `witnessed` and `tsr/...`, which have turns of their own."""

    def lock(self) -> bool:
        """Keep everybody else from this log until `unlock`, or the process dies. False: somebody has it now."""
        ...

    def unlock(self) -> None: ...

    def read(self, path: str) -> bytes | None: ...
    def write(self, path: str, octets: bytes) -> None:
        """Whole or not at all: written beside, fsynced, renamed, directory fsynced."""
        ...

    def staged(self) -> list[str]:
        """Paths below `staging/`, sorted."""
        ...

    def names(self, folder: str) -> list[str]:
        """Of the files in a folder of the log, sorted; none if there is no such folder."""
        ...

    def delete(self, path: str) -> None:
        """A file or a whole directory of partial tiles. No error if it is not there."""
        ...


# Identities ----------------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class ClientCertificate:
    """A certificate of the gateway's own. `id` is its serial number, as a UUID; `identity` an Identity.id; `thumbprint` the
    SHA-256 of its DER in base64url (RFC 8705 section 3.1); `expires` in Unix seconds."""

    id: str
    identity: str
    thumbprint: str
    expires: int


@dataclass(frozen=True, slots=True)
class Shown:
    """The keys of which whoever presents a token has shown possession: the thumbprint (RFC 7638) of the one that signed a
    DPoP proof, and the certificate of the TLS connection."""

    key: str = ""
    certificate: ClientCertificate | None = None


NOTHING: Final = Shown()


@dataclass(frozen=True, slots=True)
class Verified:
    """A token that is sound, and whom it is about. `jti` is its own id, "" if it has none; times are Unix seconds; `claims` are
    the token's own, which only the exchange looks at. `attested`: a platform vouches for the workload that acts."""

    identity: Identity
    issuer: str
    jti: str
    issued: int
    expires: int
    claims: Mapping[str, Any]
    attested: bool = False


class Verifier(Protocol):
    """Tells sound tokens from others."""

    async def verify(self, token: str, shown: Shown = NOTHING) -> Verified:
        """Raises AuthenticationError, and nothing else, unless the token is sound, and what it is bound to was shown."""
        ...

    async def logout(self, token: str) -> Verified | None:
        """An issuer's logout token: whom it is about, by `sub` and `sid` of its claims; None where it is about nobody that
        could be known. Raises AuthenticationError."""
        ...


class TokenMaker(Protocol):
    """Makes gateway tokens. `url` is the issuer that they name."""

    url: str

    def make(
        self, identity: Identity, *, jti: str, issued: int, expires: int, more: Mapping[str, Any]
    ) -> str:
        """A token that `Verifier.verify` turns into this identity. Times are Unix seconds; `more` are claims for the record.
        Raises AuthenticationError when it would be longer than a token may be."""
        ...


class CertificateMaker(Protocol):
    """Makes client certificates, and knows its own again."""

    def issue(self, request: str, identity: str, *, id: str, issued: int, expires: int) -> tuple[str, ClientCertificate]:  # noqa: A002
        """A certificate (PEM) for the key of a request (PKCS#10, PEM) and this Identity.id; `id` is a UUID, times are Unix
        seconds. AuthenticationError for a request that its key has not signed, or of a key that is none to rely on."""
        ...

    def read(self, der: bytes) -> ClientCertificate:
        """One that a client has shown. AuthenticationError unless it is of this gateway, for clients, and valid now."""
        ...
