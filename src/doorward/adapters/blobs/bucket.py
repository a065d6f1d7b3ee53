"""Copies of the evidence in an S3 bucket, by obstore: each made once, and compared where there is one already.

Objects have the paths of the data directory, below the prefix: `recordings/<yyyy>/<mm>/<session>.dwr`, `log/tile/...`,
`log/checkpoints/<size>`. What is small is put on condition that there is nothing (`If-None-Match: *`); what is large in parts,
after a look. Nothing is ever deleted or written over here: whoever owns the bucket says how long it is locked.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from datetime import timedelta
from hashlib import sha256
from pathlib import Path
from typing import Any, Final
from urllib.parse import urlsplit

from doorward.adapters.blobs.files import recording_path, write_atomically
from doorward.errors import ConfigError, IntegrityError

AT_ONCE: Final = 32 << 20  # bytes of an object that is put in one request, and so in memory
PART: Final = 8 << 20


class S3Bucket:
    """Satisfies `Bucket`. `url` is `s3://bucket/prefix`; without keys, they are found where Amazon's own tools look."""

    def __init__(self, url: str, *, endpoint: str = "", region: str = "", access_key: str = "", secret_key: str = "") -> None:
        from obstore.store import S3Store  # 30 MB that only this needs

        parts = urlsplit(url)
        if parts.scheme != "s3" or not parts.netloc:
            raise ConfigError(f"archive.url: {url} is no bucket", hint="write it as in s3://bucket/prefix")
        config: dict[str, Any] = {"checksum_algorithm": "sha256"}  # which a bucket with Object Lock asks for
        config |= {"region": region} if region else {}
        config |= {"endpoint": endpoint} if endpoint else {}
        config |= {"access_key_id": access_key, "secret_access_key": secret_key} if access_key else {}
        self._store = S3Store(
            parts.netloc, prefix=parts.path.strip("/") or None,
            client_options={"allow_http": endpoint.startswith("http://"), "timeout": "60s", "connect_timeout": "5s"},
            retry_config={"max_retries": 2, "retry_timeout": timedelta(seconds=60)}, **config,
        )  # fmt: skip

    def put_recording(self, session_id: str, octets: Iterator[bytes]) -> None:
        path = recording_path(Path("recordings"), session_id).as_posix()
        start = bytearray()
        for piece in octets:
            start += piece
            if len(start) > AT_ONCE:
                self._put_large(path, bytes(start), octets)
                return
        if start:  # none: it was due, and is deleted
            self._put(path, bytes(start))

    def put_log(self, path: str, octets: bytes) -> None:
        self._put(f"log/{path}", octets)

    def _put(self, path: str, octets: bytes) -> None:
        import obstore
        from obstore.exceptions import AlreadyExistsError, BaseError

        try:
            obstore.put(self._store, path, octets, mode="create", use_multipart=False)
        except AlreadyExistsError:
            self._compare(path, len(octets), sha256(octets).digest())
        except BaseError as error:
            raise _refused(path, error) from None

    def _put_large(self, path: str, start: bytes, rest: Iterator[bytes]) -> None:
        import obstore
        from obstore.exceptions import BaseError

        try:
            obstore.head(self._store, path)
        except FileNotFoundError:  # which is what its NotFoundError is
            pass
        except BaseError as error:
            raise _refused(path, error) from None
        else:
            digest, size = sha256(start), len(start)
            for piece in rest:
                digest.update(piece)
                size += len(piece)
            self._compare(path, size, digest.digest())
            return

        def pieces() -> Iterator[bytes]:
            yield start
            yield from rest

        try:
            obstore.put(self._store, path, pieces(), use_multipart=True, chunk_size=PART, max_concurrency=2)
        except BaseError as error:
            raise _refused(path, error) from None

    def _compare(self, path: str, size: int, digest: bytes) -> None:
        """IntegrityError unless what is there is the same."""
        import obstore
        from obstore.exceptions import BaseError

        try:
            found = obstore.get(self._store, path)
            there, length = sha256(), 0
            for piece in found.stream(min_chunk_size=PART):
                there.update(piece)
                length += len(piece)
        except BaseError as error:
            raise _refused(path, error) from None
        if (length, there.digest()) != (size, digest):
            raise IntegrityError(
                f"the archive has something else as {path}: another history, or a recording that was altered", spot=path,
                hint="compare the two before anything goes on; use an empty bucket or another prefix for a new log",
            )


def _refused(path: str, error: Exception) -> OSError:
    first = str(error).splitlines()[0][:300]
    return OSError(f"the bucket does not take {path}: {first}")


class LocalCursor:
    """Satisfies `Cursor` at `<data>/archived.json`."""

    def __init__(self, directory: Path) -> None:
        self._path = directory / "archived.json"

    def get(self) -> tuple[int, int]:
        try:
            said = json.loads(self._path.read_bytes())
            return int(said["leaf"]), int(said["size"])
        except FileNotFoundError:
            return -1, 0
        except (ValueError, KeyError, TypeError):
            return -1, 0  # everything is looked at again

    def put(self, leaf: int, size: int) -> None:
        write_atomically(self._path, json.dumps({"leaf": leaf, "size": size}).encode())
