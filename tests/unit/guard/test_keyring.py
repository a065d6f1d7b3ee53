"""The key ring: an epoch's key opens its epoch, and its destruction takes exactly that."""

from __future__ import annotations

from dataclasses import replace

import pytest
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.kdf.hkdf import HKDFExpand

from doorward.errors import ConfigError, IntegrityError
from doorward.guard.keyring import NO_SESSION, Keyring, epoch_of
from doorward.guard.reader import RecordReader
from doorward.model import Target
from tests.memory.files import MemoryKeyFiles
from tests.suites.lives import Disk, a_session

NOVEMBER, DECEMBER = "std-13m.2026-11", "std-13m.2026-12"
DEK = b"d" * 32


def test_an_epoch_takes_what_it_wrapped_and_nothing_else() -> None:
    """The others' sessions and events still open; what is gone stays gone for who had it in memory, and for who comes later."""
    files = MemoryKeyFiles()
    ring, other = Keyring(files), Keyring(files)
    kept, gone = ring.wrap("s1", DEK, DECEMBER), ring.wrap("s2", DEK, NOVEMBER)
    assert (epoch_of(kept), epoch_of(gone), other.unwrap("s2", gone)) == (DECEMBER, NOVEMBER, DEK)
    record = ring.of_events(DECEMBER)
    assert record not in (None, ring.of_events(NOVEMBER))
    ring.destroy(NOVEMBER)
    other.refresh()
    for each in (ring, other, Keyring(files)):
        assert each.unwrap("s2", gone) is None
        assert each.of_events(NOVEMBER) is None
        assert each.unwrap("s1", kept) == DEK
        assert each.of_events(DECEMBER) == record
    assert NOVEMBER not in " ".join(files.names())


def test_one_process_knows_what_another_has_just_made() -> None:
    """A session opened next door is read here without a restart; and nothing is ever made by looking."""
    files = MemoryKeyFiles()
    ring, other = Keyring(files), Keyring(files)
    assert other.unwrap("s", ring.wrap("s", DEK, NOVEMBER)) == DEK
    assert not other.has(DECEMBER)
    assert (ring.made, other.made) == ([NOVEMBER], [])


@pytest.mark.parametrize("change", ["id", "epoch", "bytes", "length", "short"])
def test_a_wrapped_key_is_its_sessions_and_its_epochs(change: str) -> None:
    """For another session, under another epoch's name, or altered, it does not unwrap."""
    ring = Keyring(MemoryKeyFiles())
    ring.make(DECEMBER)
    wrapped, name = ring.wrap("s", DEK, NOVEMBER), "s"
    if change == "id":
        name = "t"
    elif change == "epoch":
        wrapped = wrapped.replace(NOVEMBER.encode(), DECEMBER.encode())
    elif change == "bytes":
        wrapped = wrapped[:-1] + bytes((wrapped[-1] ^ 1,))
    else:
        wrapped = wrapped + b"x" if change == "length" else wrapped[:1]
    with pytest.raises(IntegrityError):
        ring.unwrap(name, wrapped)


def test_what_was_wrapped_before_there_were_epochs_opens() -> None:
    """By the key that wrapped it then, session's keys and events' records alike."""
    files = MemoryKeyFiles()
    root = files.get_or_create("kek.key", b"r" * 32)
    old = AESGCM(HKDFExpand(SHA256(), 32, b"doorward/wrap/v1\0").derive(root))
    wrapped = b"n" * 12 + old.encrypt(b"n" * 12, DEK, b"doorward/dek/v1\0" + b"s")
    ring = Keyring(files)
    assert (epoch_of(wrapped), ring.unwrap("s", wrapped)) == ("", DEK)
    assert ring.of_events(NO_SESSION) == HKDFExpand(SHA256(), 32, b"doorward/gateway/v1\0").derive(root)
    with pytest.raises(IntegrityError):
        ring.unwrap("t", wrapped)


def test_a_key_file_that_is_none_stops_the_start() -> None:
    """A cut key would seal what nobody can open."""
    files = MemoryKeyFiles()
    files.get_or_create("kek." + NOVEMBER, b"short")
    with pytest.raises(ConfigError, match="2026-11 is not a key"):
        Keyring(files)


async def test_a_session_is_kept_as_its_target_says_and_that_is_in_header_leaf_and_index() -> None:
    """From its opening on; what was decided about it is kept with the control records. Each epoch is on record once."""
    disk = Disk()
    recorder = disk.recorder()
    await recorder.start()
    opened = replace(a_session(), target=Target("clinic", "postgres", "127.0.0.1", 5432, retention="phi-6y"))
    session = await recorder.session(opened)
    session.event("operation.permitted", {"operation": "o", "effect": "read"})
    session.event("approval.requested", {"approval": "a"})
    await session.close({"reason": "done"})
    await recorder.stop()
    row = await disk.store.session(opened.id)
    assert row is not None
    assert (row.retention, row.opened) == ("phi-6y", row.created)
    assert b'"retention":"phi-6y"' in b"".join(disk.recordings.read(opened.id))
    stored = {each.type: each for each in await disk.store.events()}
    reader = RecordReader(disk.store, disk.recordings, Keyring(disk.keys))
    epochs = [found.event.body["epoch"] async for found in reader.events(types=("key_epoch.created",))]
    assert sorted(each.partition(".")[0] for each in epochs) == ["ctl-36m", "phi-6y", "std-13m"]
    assert {stored[t].key_id for t in ("session.opened", "operation.permitted", "session.closed")} == {opened.id}
    assert stored["approval.requested"].key_id.startswith("ctl-36m.")
    leaves = b"".join(content for path, content in disk.log.files.items() if path.startswith("tile/entries/"))
    assert leaves.count(b'"rc":"phi-6y"') == 4  # opened, permitted, sealed, closed
    assert NO_SESSION not in {each.key_id for each in stored.values()}
    # A start that died between making a key and saying so says it next time, and once.
    disk.keys.get_or_create("kek." + "std-13m.2027-01", b"k" * 32)
    for _ in range(2):
        recorder = disk.recorder()
        await recorder.start()
        await recorder.stop()
    epochs = [found.event.body["epoch"] async for found in reader.events(types=("key_epoch.created",))]
    assert epochs.count("std-13m.2027-01") == 1
    assert len(epochs) == 4
