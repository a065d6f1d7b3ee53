"""Verification names the first bad spot of an altered record, whatever was altered and by whom."""

from __future__ import annotations

from collections.abc import Callable
from itertools import pairwise

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from doorward.ledger import leaf, segment
from doorward.ledger.verify import Report, Status

Files = dict[str, bytes]
Check = Callable[..., Report]
A, B, C, D, E = (f"recordings/2025/02/0194f0e0-0000-7000-8000-00000000000{digit}.dwr" for digit in "abcde")


def flipped(octets: bytes, at: int, bit: int = 0) -> bytes:
    changed = bytearray(octets)
    changed[at] ^= 1 << bit
    return bytes(changed)


def test_sound(record: Files, check: Check) -> None:
    """A record that nobody touched is sound; a session that is still open is counted and is no fault."""
    report = check(record)
    assert (report.status, report.exit_code, report.faults, report.gaps) == (Status.SOUND, 0, [], [])
    assert (report.sessions, report.open_sessions, report.recovered_sessions, report.recordings) == (5, 1, 1, 5)
    assert (report.gateways, report.boots, report.segments) == (2, 3, 7)
    assert report.leaves == sum(report.types.values())


def test_large_sound(large_record: Files, check: Check) -> None:
    """Full tiles of two levels verify too."""
    assert "log/tile/1/000.p/2" in large_record
    assert check(large_record).status is Status.SOUND


def test_every_byte(record: Files, check: Check) -> None:
    """One flipped bit in any byte of any file is found, and the file is named; for a leaf, so is its index, and for a
    recording where in it."""
    for path, octets in record.items():
        if path == "log/vkey":
            continue  # the command line's to compare: tests/unit/cli/test_verify.py
        for at in range(0, len(octets), 3 if len(octets) > 1000 else 1):
            report = check({**record, path: flipped(octets, at, at % 8)})
            assert report.exit_code == 1, f"{path} byte {at}"
            assert report.faults[0].file == path, f"byte {at}: {report.faults[0]}"


def test_leaf_named(record: Files, check: Check) -> None:
    """A changed leaf is named by its index."""
    (bundle,) = [path for path in record if path.startswith("log/tile/entries/")]
    octets, index, at = record[bundle], 0, 0
    while at < len(octets):
        length = int.from_bytes(octets[at : at + 2], "big")
        report = check({**record, bundle: flipped(octets, at + 2 + length // 2)})
        assert report.faults[0].place == f"leaf {index}"
        index, at = index + 1, at + 2 + length


@settings(max_examples=60, deadline=None)
@given(where=st.integers(0, 10**9), bit=st.integers(0, 7))
def test_large_every_byte(large_record: Files, check: Check, where: int, bit: int) -> None:
    """The same where tiles are full and stand on each other."""
    paths = sorted(path for path in large_record if path.startswith("log/tile/"))
    path = paths[where % len(paths)]
    report = check({**large_record, path: flipped(large_record[path], where // 7 % len(large_record[path]), bit)})
    assert report.exit_code == 1
    assert report.faults[0].file == path


@pytest.mark.parametrize("level", [0, 1])
def test_leaf_and_tile_changed_together(large_record: Files, check: Check, level: int) -> None:
    """Who changes leaves and the tile over them is given away by the tile above."""
    from hashlib import sha256

    from doorward.ledger.tiles import encode_bundle, parse_bundle, tile_root

    entries = parse_bundle(large_record["log/tile/entries/001"])
    entries[7] = entries[7].replace(b'"rc":"std"', b'"rc":"xxx"')
    tile = b"".join([sha256(b"\0" + entry).digest() for entry in entries])
    changed = {**large_record, "log/tile/entries/001": encode_bundle(entries), "log/tile/0/001": tile}
    expected = "log/tile/0/001"
    if level == 1:
        above = large_record["log/tile/1/000.p/2"]
        changed["log/tile/1/000.p/2"] = above[:32] + tile_root(tile)
        expected = "log/checkpoint"  # everything fits together, and is not what was signed
    report = check(changed)
    assert (report.exit_code, report.faults[0].file) == (1, expected)


@pytest.mark.parametrize("path", ["log/tile/entries/001", "log/tile/0/000", "log/tile/1/000.p/2", A, B, C, D, E])
def test_deleted(large_record: Files, check: Check, path: str) -> None:
    """A deleted file is a fault that names it."""
    files = {name: octets for name, octets in large_record.items() if name != path}
    report = check(files)
    assert report.exit_code == 1
    assert report.faults[0].file.rpartition("/")[2] == path.rpartition("/")[2]


def test_no_checkpoint(record: Files, check: Check) -> None:
    """Without a signed checkpoint nothing is proven either way; unless one kept elsewhere says there was a log."""
    files = {name: octets for name, octets in record.items() if name != "log/checkpoint"}
    assert check(files).exit_code == 2
    assert check(files, record["log/checkpoint"]).exit_code == 1


def test_empty(check: Check, log_of: Callable[[list[bytes]], Files]) -> None:
    """An empty log is sound."""
    assert check(log_of([])).exit_code == 0


def test_dropped_leaf(record: Files, check: Check, log_of: Callable[[list[bytes]], Files],
                      entries_of: Callable[[Files], list[bytes]]) -> None:
    """Even who holds the log's key cannot leave a leaf out: its gateway's chain has a hole, named by the next leaf."""
    entries = entries_of(record)
    last = {leaf.parse(entry).gateway: index for index, entry in enumerate(entries)}
    for index in range(len(entries)):
        report = check({**record, **log_of(entries[:index] + entries[index + 1 :])})
        if index in last.values():
            continue  # the tail: only a checkpoint kept elsewhere shows it (test_rollback)
        assert report.exit_code == 1
        assert report.faults[0].file.startswith("log/tile/entries/")
        gateway = leaf.parse(entries[index]).gateway
        follower = next(i for i in range(index + 1, len(entries)) if leaf.parse(entries[i]).gateway == gateway)
        assert report.faults[0].place == f"leaf {follower - 1}"


def test_reordered_leaves(record: Files, check: Check, log_of: Callable[[list[bytes]], Files],
                          entries_of: Callable[[Files], list[bytes]]) -> None:
    """Nor swap two leaves of one gateway."""
    entries = entries_of(record)
    mine = [index for index, entry in enumerate(entries) if leaf.parse(entry).gateway == "gw-1"]
    for first, second in pairwise(mine):
        swapped = list(entries)
        swapped[first], swapped[second] = swapped[second], swapped[first]
        report = check({**record, **log_of(swapped)})
        assert (report.exit_code, report.faults[0].place) == (1, f"leaf {first}")


def segments_of(octets: bytes) -> tuple[bytes, list[bytes]]:
    found = list(segment.iter_segments(octets))
    return octets[: found[0].offset], [piece.raw for piece in found]


@pytest.mark.parametrize("order", [(1, 2), (0, 2), (0, 1), (0, 2, 1), (2, 1, 0), (0, 1, 1, 2), (0, 1, 2, 2), ()])
def test_segments_dropped_or_moved(record: Files, check: Check, order: tuple[int, ...]) -> None:
    """A recording with a segment missing, repeated or out of place is broken where the first one is wrong."""
    head, pieces = segments_of(record[A])
    report = check({**record, A: head + b"".join([pieces[number] for number in order])})
    assert (report.exit_code, report.faults[0].file) == (1, A)
    wrong = next((at for at, number in enumerate(order) if at != number), len(order))
    assert f"segment {wrong}" in str(report.faults[0]) or f"after {wrong} segments" in str(report.faults[0])


@settings(max_examples=40, deadline=None)
@given(st.integers(0, 10**9), st.sampled_from([A, B, C, D, E]))
def test_truncated_recording(record: Files, check: Check, where: int, path: str) -> None:
    """A recording cut anywhere is broken, also that of a session that is still open: its leaf says there was more."""
    octets = record[path][: where % len(record[path])]
    report = check({**record, path: octets})
    assert (report.exit_code, report.faults[0].file) == (1, path)


@settings(max_examples=30, deadline=None)
@given(st.binary(min_size=1, max_size=200), st.sampled_from([A, B, C, D]))
def test_longer_recording(record: Files, check: Check, more: bytes, path: str) -> None:
    """So is one of an ended session with anything after its end."""
    report = check({**record, path: record[path] + more})
    assert (report.exit_code, report.faults[0].file) == (1, path)


def test_swapped_recordings(record: Files, check: Check) -> None:
    """Two recordings under each other's names are both named."""
    report = check({**record, A: record[B], B: record[A]})
    assert [spot.file for spot in report.faults] == [A, B]


def test_foreign_names(record: Files, check: Check) -> None:
    """A recording twice, or under a name that is no session id, is broken; one that no leaf knows is incomplete."""
    assert check({**record, "recordings/2025/03/" + A.rpartition("/")[2]: record[A]}).exit_code == 1
    for name in ("..%2f..%2fetc", "", "0194F0E0-0000-7000-8000-00000000000A", "x" * 500):
        assert check({**record, f"recordings/2025/02/{name}.dwr": record[A]}).exit_code == 1
    unknown = "recordings/2025/02/0194f0e0-0000-7000-8000-00000000000f.dwr"
    report = check({**record, unknown: b"anything"})
    assert (report.exit_code, report.gaps[0].file) == (2, unknown)


def test_open_session_ahead_of_the_log(record: Files, check: Check) -> None:
    """Segments of an open session that have no leaf yet, whole or torn, are incomplete and not broken."""
    head, pieces = segments_of(record[E])
    again = segment.SegmentSealer(
        "0194f0e0-0000-7000-8000-00000000000e", bytes(32), segment.segment_hash(pieces[0]), number=1
    )
    more, _ = again.seal(b"x" * 50)
    for tail in (more, more[:-1], more[:10], b"DWS1", b"\0" * 200):
        report = check({**record, E: head + pieces[0] + tail})
        assert (report.exit_code, report.gaps[0].file) == (2, E)
    without = {name: octets for name, octets in record.items() if name != E}
    assert check(without).exit_code == 1


def test_rollback(record: Files, check: Check, log_of: Callable[[list[bytes]], Files],
                  more_leaves: Callable[[Files, int], list[bytes]]) -> None:
    """A log cut back to an older, rightly signed state is shown up by a checkpoint kept elsewhere, and only by that;
    a log that grew continues the older checkpoint."""
    older, newer = record, {**record, **log_of(more_leaves(record, 300))}
    assert check(older).exit_code == 0
    report = check(older, newer["log/checkpoint"])
    assert (report.exit_code, report.faults[0].file) == (1, "log/checkpoint")
    report = check(newer, older["log/checkpoint"], newer["log/checkpoint"])
    assert report.exit_code == 0
    assert report.kept == [len(more_leaves(record, 0)), len(more_leaves(record, 300))]


def test_rewritten_history(record: Files, check: Check, log_of: Callable[[list[bytes]], Files],
                           more_leaves: Callable[[Files, int], list[bytes]]) -> None:
    """A log that was rewritten whole, key and all, does not continue the checkpoint kept elsewhere."""
    kept = log_of([entry.replace(b'"rc":"std"', b'"rc":"old"') for entry in more_leaves(record, 0)])["log/checkpoint"]
    for count in (0, 300):
        report = check({**record, **log_of(more_leaves(record, count))}, kept)
        assert (report.exit_code, report.faults[0].file) == (1, "log/checkpoint")
    report = check(record, record["log/checkpoint"].replace(b"audit", b"other"))
    assert (report.exit_code, report.faults[0].file) == (1, "kept-0")


@pytest.mark.parametrize("path", ["log/tile/entries/000.p/2", "log/tile/0/000.p/2"])
def test_leftover_partial_tiles(record: Files, check: Check, log_of: Callable[[list[bytes]], Files],
                                entries_of: Callable[[Files], list[bytes]], path: str) -> None:
    """Partial tiles of earlier sizes may stay behind, and are checked as well."""
    earlier = log_of(entries_of(record)[:2])
    assert check({**record, path: earlier[path]}).exit_code == 0
    for at in range(len(earlier[path])):
        report = check({**record, path: flipped(earlier[path], at)})
        assert (report.exit_code, report.faults[0].file) == (1, path)
    assert check({**record, "log/tile/0/000.p/2.tmp": b"half"}).exit_code == 0


def test_full_tile_in_the_place_of_a_partial(record: Files, check: Check, log_of: Callable[[list[bytes]], Files],
                                             more_leaves: Callable[[Files, int], list[bytes]]) -> None:
    """A log that has grown past its published checkpoint, and tidied its partial tiles away, still verifies."""
    grown = log_of(more_leaves(record, 300))
    files = {name: octets for name, octets in record.items() if "/tile/" not in name}
    files |= {name: octets for name, octets in grown.items() if "/tile/" in name}
    assert check(files).exit_code == 0


@settings(max_examples=150, deadline=None)
@given(st.integers(0, 10**9), st.binary(max_size=80), st.integers(0, 40))
def test_anything(record: Files, check: Check, where: int, garbage: bytes, cut: int) -> None:
    """Whatever is written over any part of any file, the answer is a report: never an exception, never `sound` unless
    nothing changed."""
    paths = sorted(set(record) - {"log/vkey"})
    path = paths[where % len(paths)]
    octets = record[path]
    at = where // 11 % (len(octets) + 1)
    changed = octets[:at] + garbage + octets[at + cut :]
    report = check({**record, path: changed})
    if changed == octets:
        assert report.exit_code == 0
    elif path == E and changed.startswith(octets):
        assert report.exit_code == 2
    else:
        assert (report.exit_code, report.faults[0].file) == (1, path)
