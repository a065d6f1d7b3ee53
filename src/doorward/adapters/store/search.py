"""`SearchFiles` in SQLite: one full-text index (FTS5) for each key epoch, below `<data>/search/`.

A session is a number and its id; its words are tokens in hexadecimal, of which FTS5 keeps lists of numbers and nothing else
(`content=''`, `detail=none`). Every connection is for one call: files are deleted while others look.
"""

from __future__ import annotations

import contextlib
import os
import sqlite3
from collections.abc import Iterator, Sequence
from pathlib import Path
from uuid import UUID

from doorward.ledger.retention import is_epoch

_SCHEMA = """
begin;
create table if not exists sessions (number integer primary key, id blob not null unique);
create virtual table if not exists words using fts5(tokens, content='', columnsize=0, detail=none, tokenize='ascii');
commit;
"""
_FIND = """
select words.rowid, sessions.id from words join sessions on sessions.number = words.rowid
where words match ? and words.rowid < ? order by words.rowid desc limit ?
"""
_SUFFIX = ".sqlite"


class SqliteSearch:
    """Satisfies `SearchFiles`."""

    def __init__(self, data: Path) -> None:
        self._folder = data / "search"

    def names(self) -> list[str]:
        if not self._folder.is_dir():
            return []
        found = (path.name.removesuffix(_SUFFIX) for path in self._folder.iterdir() if path.name.endswith(_SUFFIX))
        return sorted(name for name in found if is_epoch(name))

    def _path(self, epoch: str) -> Path:
        if not is_epoch(epoch):
            raise ValueError(f"not an epoch: {epoch!r}")
        return self._folder / f"{epoch}{_SUFFIX}"

    @contextlib.contextmanager
    def _opened(self, epoch: str, *, write: bool) -> Iterator[sqlite3.Connection]:
        path = self._path(epoch)
        if write:
            self._folder.mkdir(mode=0o700, parents=True, exist_ok=True)
            os.close(os.open(path, os.O_RDWR | os.O_CREAT, 0o600))
        try:
            mode = "rwc" if write else "ro"
            with contextlib.closing(sqlite3.connect(f"{path.as_uri()}?mode={mode}", uri=True, timeout=10)) as opened:
                yield opened
        except sqlite3.Error as error:
            raise OSError(f"{path}: {error}") from error

    def add(self, epoch: str, sessions: Sequence[tuple[str, Sequence[bytes]]]) -> None:
        with self._opened(epoch, write=True) as opened, opened:
            opened.executescript(_SCHEMA)
            for session, tokens in sessions:
                done = opened.execute("insert or ignore into sessions (id) values (?)", (UUID(session).bytes,))
                if done.rowcount == 1:
                    opened.execute(
                        "insert into words (rowid, tokens) values (?, ?)",
                        (done.lastrowid, " ".join(token.hex() for token in tokens)),
                    )

    def find(self, epoch: str, tokens: Sequence[bytes], before: int, limit: int) -> list[tuple[int, str]]:
        with contextlib.suppress(FileNotFoundError):
            if not self._path(epoch).stat().st_size:  # whoever made it died, or is at it
                return []
        match = " AND ".join(f'"{token.hex()}"' for token in tokens)
        try:
            with self._opened(epoch, write=False) as opened:
                found = opened.execute(_FIND, (match, before or (1 << 62), limit)).fetchall()
        except OSError:
            if not self._path(epoch).exists():  # deleted just now
                return []
            raise
        return [(number, str(UUID(bytes=octets))) for number, octets in found]

    def delete(self, epoch: str) -> None:
        for suffix in ("", "-journal", "-wal", "-shm"):
            path = self._path(epoch)
            path.with_name(path.name + suffix).unlink(missing_ok=True)

    def progress(self) -> int:
        try:
            return int((self._folder / "progress").read_text())
        except (FileNotFoundError, ValueError):
            return -1

    def keep_progress(self, leaf: int) -> None:
        self._folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        fresh = self._folder / "progress.new"
        fresh.write_text(f"{leaf}\n")
        fresh.replace(self._folder / "progress")
