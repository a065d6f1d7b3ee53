"""Evidence over the memory adapters, for `ledger.verify`."""

from __future__ import annotations

from collections.abc import Iterable

from doorward.ledger.verify import StoredRecording
from tests.memory.files import MemoryLogFiles, MemoryRecordingFiles


class MemoryEvidence:
    def __init__(self, log: MemoryLogFiles, recordings: MemoryRecordingFiles) -> None:
        self._log, self._recordings = log, recordings

    def checkpoint(self) -> bytes:
        return self.read("checkpoint")

    def read(self, path: str) -> bytes:
        found = self._log.read(path)
        if found is None:
            raise FileNotFoundError(path)
        return found

    def paths(self) -> Iterable[str]:
        return [path for path in self._log.files if path.startswith("tile/")]

    def names(self, folder: str) -> Iterable[str]:
        return self._log.names(folder)

    def recordings(self) -> Iterable[StoredRecording]:
        return [StoredRecording(name, name, self._recordings.read(name)) for name in self._recordings.files]
