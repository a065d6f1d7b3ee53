"""The page that processes share: CancelRequests that were sent to the wrong one."""

from __future__ import annotations

from hashlib import sha256
from pathlib import Path

import pytest

from doorward.adapters.blobs.bulletin import LocalBulletin


@pytest.fixture
def two(tmp_path: Path) -> tuple[LocalBulletin, LocalBulletin]:
    pages = LocalBulletin(tmp_path), LocalBulletin(tmp_path)
    for lane, page in enumerate(pages):
        page.open(lane)
    return pages


def test_what_one_was_sent_the_other_reads_once_and_in_order(two: tuple[LocalBulletin, LocalBulletin]) -> None:
    """Number and hash, after what it has read; neither its own nor anybody's postings are touched."""
    one, other = two
    asked = [(number, sha256(b"%d" % number).digest()) for number in (1, 0x7FFFFFFF, 3)]
    for call in asked:
        one.call(*call)
    assert other.called(0) == 3
    assert other.calls(0, 0) == asked
    assert other.calls(0, 2) == asked[2:]
    assert (other.calls(1, 0), other.called(1), other.posted()[:2]) == ([], 0, [0, 0])


def test_who_reads_too_late_reads_the_last_of_them(two: tuple[LocalBulletin, LocalBulletin]) -> None:
    """There is room for so many, and memory is bounded."""
    one, other = two
    for number in range(100):
        one.call(number, bytes(32))
    assert [number for number, _ in other.calls(0, 0)] == list(range(68, 100))


def test_no_key_is_in_it(two: tuple[LocalBulletin, LocalBulletin], tmp_path: Path) -> None:
    """Who can read the page can cancel nobody's statement."""
    key = b"a key of a session, secret"
    two[0].call(1, sha256(key).digest())
    page = (tmp_path / "bulletin").read_bytes()
    assert sha256(key).digest() in page
    assert key not in page
    assert (tmp_path / "bulletin").stat().st_mode & 0o777 == 0o600
