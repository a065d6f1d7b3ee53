"""The file ports in memory: what `tests/suites/files.py` says of the real ones holds for these too."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from uuid import UUID

from doorward.errors import ConfigError


class MemoryKeyFiles:
    def __init__(self) -> None:
        self.keys: dict[str, bytes] = {}

    def get_or_create(self, name: str, fresh: bytes) -> bytes:
        return self.keys.setdefault(name, fresh)

    def get(self, name: str) -> bytes | None:
        return self.keys.get(name)

    def names(self) -> list[str]:
        return sorted(self.keys)

    def delete(self, name: str) -> None:
        self.keys.pop(name, None)


class MemoryWalFile:
    def __init__(self, content: bytearray) -> None:
        self._content = content

    def append(self, frame: bytes) -> None:
        self._content += frame

    def close(self) -> None:
        pass


class MemoryWalFiles:
    folder = "wal"

    def __init__(self) -> None:
        self.files: dict[str, bytearray] = {}
        self.torn: dict[str, bytes] = {}
        self.locked = False

    def lock(self) -> None:
        if self.locked:
            raise ConfigError("another gateway is using this log")
        self.locked = True

    def unlock(self) -> None:
        self.locked = False

    def create(self, name: str) -> MemoryWalFile:
        if "/" in name:
            raise ValueError(name)
        if name in self.files:
            raise FileExistsError(name)
        self.files[name] = bytearray()
        return MemoryWalFile(self.files[name])

    def names(self) -> list[str]:
        return sorted(self.files)

    def read(self, name: str) -> bytes:
        return bytes(self.files[name])

    def delete(self, name: str) -> None:
        self.files.pop(name, None)

    def quarantine(self, name: str, torn: bytes) -> None:
        self.torn[name] = torn


class MemoryRecordingFiles:
    def __init__(self) -> None:
        self.files: dict[str, bytes] = {}

    def write(self, session_id: str, offset: int, octets: bytes) -> None:
        if UUID(session_id).version != 7:
            raise ValueError(session_id)
        before = self.files.get(session_id, b"")
        if len(before) < offset:
            raise OSError("shorter than what was written to it")
        self.files[session_id] = before[:offset] + octets

    def read(self, session_id: str) -> Iterator[bytes]:
        content = self.files.get(session_id, b"")
        for start in range(0, len(content), 1000):
            yield content[start : start + 1000]


    def delete(self, session_id: str) -> None:
        self.files.pop(session_id, None)


class MemoryTurn:
    def __init__(self) -> None:
        self.taken = False

    def take(self) -> bool:
        before, self.taken = self.taken, True
        return not before

    def release(self) -> None:
        self.taken = False


class MemoryLogFiles:
    def __init__(self) -> None:
        self.files: dict[str, bytes] = {}
        self.locked = False

    def lock(self) -> bool:
        taken, self.locked = self.locked, True
        return not taken

    def unlock(self) -> None:
        self.locked = False

    def read(self, path: str) -> bytes | None:
        return self.files.get(_checked(path))

    def write(self, path: str, octets: bytes) -> None:
        self.files[_checked(path)] = octets

    def names(self, folder: str) -> list[str]:
        return sorted(path.removeprefix(f"{folder}/") for path in self.files if path.startswith(f"{folder}/"))

    def staged(self) -> list[str]:
        return sorted(path for path in self.files if path.startswith("staging/"))

    def delete(self, path: str) -> None:
        self.files.pop(_checked(path), None)
        for below in [each for each in self.files if each.startswith(path + "/")]:
            del self.files[below]


def _checked(path: str) -> str:
    if any(part in ("", ".", "..") for part in path.split("/")):
        raise ValueError(path)
    return path


class MemorySearchFiles:
    """Satisfies `SearchFiles`."""

    def __init__(self) -> None:
        self.files: dict[str, dict[str, frozenset[bytes]]] = {}
        self._progress = -1

    def names(self) -> list[str]:
        return sorted(self.files)

    def add(self, epoch: str, sessions: Sequence[tuple[str, Sequence[bytes]]]) -> None:
        for session, tokens in sessions:
            self.files.setdefault(epoch, {}).setdefault(session, frozenset(tokens))

    def find(self, epoch: str, tokens: Sequence[bytes], before: int, limit: int) -> list[tuple[int, str]]:
        there = [
            (number, session) for number, (session, have) in enumerate(self.files.get(epoch, {}).items(), 1)
            if have.issuperset(tokens) and (not before or number < before)
        ]  # fmt: skip
        return there[::-1][:limit]

    def delete(self, epoch: str) -> None:
        self.files.pop(epoch, None)

    def progress(self) -> int:
        return self._progress

    def keep_progress(self, leaf: int) -> None:
        self._progress = leaf
