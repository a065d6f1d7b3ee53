"""Listings for people: within the terminal, ids whole, nothing that a stranger wrote acts on it."""

from __future__ import annotations

import pytest

from doorward.cli import output

ID = "01a20748-05e8-707b-b5cd-49c85c9097bf"
HEADS = ("ID", "STATE", "TARGET", "WHO", "STATEMENT")
ROWS = [
    (ID, "waiting", "shop", "bot (https://login.example.org/realms/agents-of-the-shop)", "DELETE FROM customers " * 5),
    (ID[::-1], "open", "a-target-of-some-length", "eve (https://idp.example)", "SELECT '\x1b[2J\u202e'"),
]


def listed(capsys: pytest.CaptureFixture[str], *, wide: bool = False) -> list[str]:
    output.table(HEADS, ROWS, fold=3, wide=wide)
    return capsys.readouterr().out.splitlines()


@pytest.mark.parametrize("columns", [80, 100, 132])
def test_a_listing_fits_the_terminal(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, columns: int
) -> None:
    """Two lines an entry when one is too long: the first columns whole, the rest below, and what is cut says so."""
    monkeypatch.setenv("COLUMNS", str(columns))
    lines = listed(capsys)
    assert max(len(line) for line in lines) <= columns
    assert [line.split()[0] for line in lines] == ["ID", "WHO", ID, "bot", ID[::-1], "eve"]
    assert lines[3].startswith("  bot (https://login.exam…  DELETE FROM")
    assert lines[3].endswith("…")
    assert lines[4].split()[-1] == "a-target-of-some-length"
    assert "\\x1b[2J\\u202e" in lines[5]


@pytest.mark.parametrize("columns", ["", "80", "1000"])
def test_wide_a_wide_terminal_and_no_terminal_give_one_whole_line_each(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, columns: str
) -> None:
    """A program that reads a listing gets a line an entry, with nothing cut."""
    monkeypatch.setenv("COLUMNS", columns)
    lines = listed(capsys, wide=columns == "80")
    assert len(lines) == 3
    assert all(part.strip() in lines[1] for part in ROWS[0])
    assert "\x1b" not in "".join(lines)
