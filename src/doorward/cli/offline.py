"""A recording straight from a data directory, without a gateway: only the gateway's own user can open its keys."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from doorward.adapters.blobs.files import LocalKeyFiles, LocalRecordingFiles
from doorward.adapters.store.sql import SqlStore
from doorward.cli.output import RefusedError
from doorward.errors import ConfigError
from doorward.guard.keyring import Keyring
from doorward.guard.reader import RecordReader
from doorward.guard.stores import SessionRow


def recorded(data: Path, session: str) -> tuple[dict[str, Any], Iterator[tuple[int, int, bytes]]]:
    """The session's line of the index and its records, as (kind, Unix ms, body). Reads only, but for the key files that must
    be there already. ConfigError, RefusedError."""
    if not (data / "store.sqlite").is_file() or not (data / "keys" / "kek.key").is_file():
        raise ConfigError(
            f"{data} is no data directory with its keys",
            hint="give the directory that [gateway] data names, as the user that the gateway runs as",
        )
    row, key = asyncio.run(_looked_up(data, session))
    if row is None:
        raise RefusedError(f"there is no session {session} in {data}")
    if key is None:
        raise RefusedError(f"the key of session {session} is not there (any more), so its recording cannot be read")
    records = RecordReader.with_key(LocalRecordingFiles(data), session, key)
    shown = {
        "id": row.id, "state": row.state, "identity": row.identity, "kind": row.kind, "target": row.target,
        "client": row.client, "purpose": row.purpose, "opened_at": row.opened, "closed_at": row.closed,
    }  # fmt: skip
    return shown, records


async def _looked_up(data: Path, session: str) -> tuple[SessionRow | None, bytes | None]:
    store = SqlStore(data / "store.sqlite")
    await store.open()
    try:
        reader = RecordReader(store, LocalRecordingFiles(data), Keyring(LocalKeyFiles(data)))
        return await store.session(session), await reader.key(session)
    finally:
        await store.close()
