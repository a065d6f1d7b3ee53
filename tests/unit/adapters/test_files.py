"""The file ports' adapters, memory and local files, against one suite; and what only files have."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from doorward.adapters.blobs.files import LocalKeyFiles, LocalLogFiles, LocalRecordingFiles, LocalWalFiles
from doorward.errors import ConfigError
from tests.memory.files import MemoryKeyFiles, MemoryLogFiles, MemoryRecordingFiles, MemoryWalFiles
from tests.suites.files import SESSION, FilesSuite


class TestMemory(FilesSuite):
    @pytest.fixture
    def wal(self) -> Any:
        return MemoryWalFiles()

    @pytest.fixture
    def recordings(self) -> Any:
        return MemoryRecordingFiles()

    @pytest.fixture
    def log(self) -> Any:
        return MemoryLogFiles()

    @pytest.fixture
    def keys(self) -> Any:
        return MemoryKeyFiles()


class TestLocal(FilesSuite):
    @pytest.fixture
    def wal(self, tmp_path: Path) -> Any:
        self.directory = tmp_path
        return LocalWalFiles(tmp_path)

    def another(self, wal: Any) -> Any:
        return LocalWalFiles(self.directory)

    @pytest.fixture
    def recordings(self, tmp_path: Path) -> Any:
        return LocalRecordingFiles(tmp_path)

    @pytest.fixture
    def log(self, tmp_path: Path) -> Any:
        return LocalLogFiles(tmp_path)

    @pytest.fixture
    def keys(self, tmp_path: Path) -> Any:
        return LocalKeyFiles(tmp_path)

    def test_nobody_else_may_read_them(self, wal: Any, recordings: Any, log: Any, keys: Any, tmp_path: Path) -> None:
        """Files are 0600 in directories of 0700."""
        wal.lock()
        wal.create("1-a.wal").close()
        recordings.write(SESSION, 0, b"x")
        log.write("tile/0/000.p/1", b"x")
        keys.get_or_create("k", b"x")
        for path in tmp_path.rglob("*"):
            assert path.stat().st_mode & 0o777 == (0o700 if path.is_dir() else 0o600), path
        wal.unlock()

    def test_a_key_that_others_can_read_is_refused(self, keys: Any, tmp_path: Path) -> None:
        """It has to be thought of as known."""
        keys.get_or_create("k", b"x")
        (tmp_path / "keys/k").chmod(0o644)
        with pytest.raises(ConfigError, match="can be read by others"):
            keys.get_or_create("k", b"x")
