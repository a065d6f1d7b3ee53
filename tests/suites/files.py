"""What every adapter of the file ports must do: inherit, and give the fixtures."""

from __future__ import annotations

from typing import Any

import pytest

from doorward.errors import ConfigError

SESSION = "01a20725-1cd6-7084-921f-0dddd3bdb88d"


class FilesSuite:
    @pytest.fixture
    def wal(self) -> Any:
        raise NotImplementedError

    @pytest.fixture
    def recordings(self) -> Any:
        raise NotImplementedError

    @pytest.fixture
    def log(self) -> Any:
        raise NotImplementedError

    @pytest.fixture
    def keys(self) -> Any:
        raise NotImplementedError

    def test_a_key_is_made_once(self, keys: Any) -> None:
        """The first wins; later ones get what is there."""
        assert keys.get_or_create("k", b"first") == b"first"
        assert keys.get_or_create("k", b"second") == b"first"
        assert (keys.get("k"), keys.get("other"), keys.names()) == (b"first", None, ["k"])

    def test_keys_are_listed_and_deleted(self, keys: Any) -> None:
        """By name; what is not there is not missed."""
        assert keys.names() == []
        keys.get_or_create("b.key", b"1")
        keys.get_or_create("a.key", b"2")
        assert keys.names() == ["a.key", "b.key"]
        keys.delete("b.key")
        keys.delete("b.key")
        assert keys.names() == ["a.key"]

    def test_write_ahead_files(self, wal: Any) -> None:
        """Appended bytes are read back, names sort, a name is used once, deleting twice is no error."""
        wal.lock()
        second, first = wal.create("2-b.wal"), wal.create("1-a.wal")
        first.append(b"one")
        first.append(b"two")
        second.append(b"three")
        first.close()
        assert wal.names() == ["1-a.wal", "2-b.wal"]
        assert wal.read("1-a.wal") == b"onetwo"
        with pytest.raises(FileExistsError):
            wal.create("1-a.wal")
        wal.quarantine("1-a.wal", b"torn")
        wal.quarantine("1-a.wal", b"torn")
        wal.delete("1-a.wal")
        wal.delete("1-a.wal")
        assert wal.names() == ["2-b.wal"]
        wal.unlock()

    def test_the_lock_is_one_gateways(self, wal: Any) -> None:
        """Two gateways cannot have one log."""
        wal.lock()
        with pytest.raises(ConfigError):
            type(wal).lock(self.another(wal))
        wal.unlock()
        wal.lock()
        wal.unlock()

    def another(self, wal: Any) -> Any:
        return wal

    def test_a_recording_is_mended_by_writing_again(self, recordings: Any) -> None:
        """`offset` cuts what an earlier try left; writing the same twice is writing it once."""
        recordings.write(SESSION, 0, b"header")
        recordings.write(SESSION, 6, b"torn-torn-torn")
        recordings.write(SESSION, 6, b"segment")
        recordings.write(SESSION, 6, b"segment")
        assert b"".join(recordings.read(SESSION)) == b"headersegment"
        with pytest.raises(OSError, match="shorter"):
            recordings.write(SESSION, 100, b"gap")

    @pytest.mark.parametrize("name", ["../../etc/passwd", "", "01a20725-1cd6-4084-921f-0dddd3bdb88d"])
    def test_only_a_session_id_names_a_recording(self, recordings: Any, name: str) -> None:
        """Anything but a UUIDv7 is refused before it can be a path."""
        with pytest.raises(ValueError):
            recordings.write(name, 0, b"")

    def test_no_recording(self, recordings: Any) -> None:
        """What is not there reads as nothing."""
        assert b"".join(recordings.read(SESSION)) == b""

    def test_log_files(self, log: Any) -> None:
        """Written whole, read back, replaced, listed where staged, deleted with what is below."""
        assert log.read("checkpoint") is None
        log.write("checkpoint", b"1")
        log.write("checkpoint", b"2")
        assert log.read("checkpoint") == b"2"
        assert log.staged() == []
        log.write("staging/9-a", b"x")
        assert log.staged() == ["staging/9-a"]
        log.delete("staging/9-a")
        log.delete("staging/9-a")
        assert log.staged() == []
        log.write("tile/0/000.p/5", b"y")
        log.write("tile/0/000.p/6", b"z")
        log.delete("tile/0/000.p")
        assert log.read("tile/0/000.p/5") is None

    @pytest.mark.parametrize("path", ["../keys/log.key", "tile//0", "/etc/passwd", "."])
    def test_a_path_stays_in_the_log(self, log: Any, path: str) -> None:
        """Nothing leads out."""
        with pytest.raises(ValueError):
            log.write(path, b"")
