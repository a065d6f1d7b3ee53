"""A recording shown as statements: which ones, how much of each, on record first, and hostile text as text."""

from __future__ import annotations

import struct
from collections.abc import Iterator
from itertools import pairwise
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from doorward.ledger.encoding import canonical
from doorward.ledger.segment import RESPONSE, RUN, SETTLED, TEMPLATE
from doorward.protocols.postgres import wire
from doorward.web import recordings
from doorward.web.pages.render import render
from doorward.web.recordings import LAST, window
from tests.unit.web.test_api import ISSUER, PEOPLE, Served, ask, served
from tests.unit.web.test_pages import HOSTILE, KNOWN, Elements

__all__ = ["served"]


def recorded(rows: list[int], *, value: str = "v", own: frozenset[int] = frozenset()) -> Iterator[tuple[int, int, bytes]]:
    """A recording of reads, one a second, with so many rows each; those of `own` are the gateway's."""
    for number, count in enumerate(rows):
        body: dict[str, Any] = {
            "action": "SELECT", "effect": "read", "text": f"select {number}", "decision": {"outcome": "allow", "rules": ["r"]},
        }  # fmt: skip
        if number in own:
            body["by"] = "doorward"
        at = 1000 * (number + 1)
        yield TEMPLATE, at, struct.pack(">I", number) + canonical(body)
        yield RUN, at, struct.pack(">IB", number, 0) + b"\0\0"
        if number in own:
            continue
        yield SETTLED, at + 5, canonical({"outcome": "completed", "rows": count, "tags": [f"SELECT {count}"]})
        answer = wire.row_description([wire.Column(b"c", 0, 0, 25, -1, -1, 0)])
        answer += b"".join(wire.data_row([f"{value}{n}".encode()]) for n in range(count))
        yield RESPONSE, at + 5, answer + wire.command_complete(f"SELECT {count}") + wire.ready_for_query(wire.IDLE)


def numbers(found: dict[str, Any]) -> list[int]:
    return [statement["number"] for statement in found["statements"]]


@given(st.integers(0, 30), st.integers(1, 9), st.frozensets(st.integers(0, 29), max_size=9))
def test_its_pages_are_the_recording(count: int, limit: int, own: frozenset[int]) -> None:
    """From the beginning, page by page: each statement of the client's once, in order, with the pause before it; and from the
    end, the last ones."""
    wanted = [n + 1 for n in range(count) if n not in own]
    seen: list[int] = []
    gaps: list[int] = []
    first = 1
    while first:
        found = window(recorded([1] * count, own=own), first, limit)
        assert len(found["statements"]) <= limit
        assert found["before"] == bool(seen)
        seen += numbers(found)
        gaps += [statement["gap_ms"] for statement in found["statements"]]
        first = found["next"]
    assert seen == wanted
    assert gaps == [0, *(1000 * (b - a) for a, b in pairwise(wanted))][: len(wanted)]
    last = window(recorded([1] * count, own=own), LAST, limit)
    assert (numbers(last), last["next"], last["before"]) == (wanted[-limit:], 0, len(wanted) > limit)


@pytest.mark.parametrize("rows", [1, 7, 20, 500])
def test_its_rows_are_shown_by_parts(rows: int) -> None:
    """Every row once, however few at a time."""
    seen: list[str] = []
    row = 0
    while True:
        [statement] = window(recorded([3, 41, 2]), 2, 1, rows, row)["statements"]
        [answer] = statement["answers"]
        seen += [value for (value,) in answer["rows"]]
        assert answer["rows_recorded"] == 41
        row = statement["more_rows"]
        if not row:
            break
        assert row == len(seen)
    assert seen == [f"v{n}" for n in range(41)]


def test_one_answer_is_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    """However wide rows and however many statements: the page is cut where it is large, and says where to go on; a row that is
    too large is stepped over, and no later one is shown as if it were it."""
    monkeypatch.setattr(recordings, "MOST_TEXT", 5000)
    found = window(recorded([9] * 40, value="x" * 300), 1, 40)
    assert sum(len(str(statement)) for statement in found["statements"]) < 3 * 5000
    assert numbers(found) == list(range(1, found["next"]))
    last = window(recorded([9] * 40, value="x" * 300), LAST, 40)
    assert numbers(last)[-1] == 40
    assert len(last["statements"]) <= len(found["statements"])
    [wide] = window(recorded([50], value="x" * 300), 1, 1, 50)["statements"]
    assert 0 < len(wide["answers"][0]["rows"]) == wide["more_rows"] < 50
    monkeypatch.setattr(recordings, "MOST_OF_AN_ANSWER", 100)
    [wide] = window(recorded([50], value="x" * 300), 1, 1, 50)["statements"]
    assert (wide["answers"][0].get("rows"), wide["more_rows"]) == (None, 1)


async def test_statements_are_for_who_may_replay_and_on_record(served: Served) -> None:
    """The owner and who may end it are refused, and shown nothing; an auditor's look is an event, of which part it was; a key
    that is gone is said."""
    session = await served.session()
    session.record.response(b"masked answer")
    await session.close("done")
    await served.events()
    place = f"/api/sessions/{session.session.id}/statements"
    page = f"/sessions/{session.session.id}/statements"
    for name in ("ada", "adam"):
        assert (await ask(served, place, who=name)).status_code == 403
        assert (await ask(served, page, who=name)).status_code == 403
    for wrong in ("from=-1", "row=-1", "rows=-1", "limit=0", f"from={1 << 60}", "from=x"):
        assert (await ask(served, f"{place}?{wrong}", who="audi")).status_code == 400
        assert (await ask(served, f"{page}?from=x", who="audi")).status_code == 400
    assert not [event for event in await served.events() if event.type == "recording.viewed"]
    assert (await ask(served, f"{place}?from=7", who="audi")).json()["statements"] == []
    shown = await ask(served, f"{page}?statement=3&row=40", who="audi")
    assert (shown.status_code, shown.headers["content-type"]) == (200, "text/html; charset=utf-8")
    found = [event for event in await served.events() if event.type == "recording.viewed"]
    what = session.session.id
    assert [(event.actor, event.body) for event in found] == [
        (f"{ISSUER}|audi", {"session": what, "statement": 7, "row": 0}),
        (f"{ISSUER}|audi", {"session": what, "statement": 3, "row": 40}),
    ]


async def test_nothing_is_shown_that_is_not_on_record(served: Served, monkeypatch: pytest.MonkeyPatch) -> None:
    """Where the event cannot be written the recording is not read, and the answer is an error."""
    session = await served.session()
    await session.close("done")
    await served.events()

    async def refuse(*_args: Any, **_more: Any) -> None:
        raise OSError("no space left")

    def read(*_args: Any) -> Iterator[bytes]:
        raise AssertionError("it was read")

    monkeypatch.setattr(served.guard.recorder, "event", refuse)
    monkeypatch.setattr(served.disk.recordings, "read", read)
    for place in ("api/", ""):
        answer = await ask(served, f"/{place}sessions/{session.session.id}/statements", who="audi")
        assert answer.status_code == 500


def statement(text: str, number: int = 1) -> dict[str, Any]:
    """One that has this text wherever there is text."""
    answer = {
        "kind": text, "tag": text, "rows_recorded": 9, "columns": [{"name": text, "type": 25}], "rows": [[text], [None]],
        "notices": [text], "error": {"S": text, "M": text, "D": text, "H": text, "W": text},
        "copy": {"direction": text, "bytes": 5, "text": text},
    }  # fmt: skip
    bare = {"kind": "rows", "tag": "", "rows_recorded": 1, "rows": [[text]]}
    return {
        "number": number, "at": 5, "verdict": "observed", "text": text, "params": [text, None], "decision": {
            "rules": [text], "outcome": text}, "outcome": text, "rows": 3, "sqlstate": text, "masked": {text: 3},
        "in_transaction": True, "duration_ms": 5, "answers": [answer, bare], "approval": text, "approved_by": [text],
        "held_ms": 5, "code": text, "reason": text, "note": text, "gap_ms": 90_000, "more_rows": 2,
    }  # fmt: skip


@pytest.mark.parametrize("only", [0, 1])
@pytest.mark.parametrize("text", [*HOSTILE, "long " * 300 + "\x1b]0;x\x07" + "<b>" * 3000])
def test_what_others_wrote_is_text_on_a_timeline(text: str, only: int) -> None:
    """Statements, values, columns, cells, notices, errors, COPY data, rules, labels, approvers: nothing of it is markup,
    nothing leads elsewhere, and nothing that is not seen as itself is left."""
    row = {
        "id": "01a2", "state": "open", "identity": text, "target": text, "opened_at": 1, "closed_at": 2, "statements": 1,
        "refused": 1, "held": 1, "segments": 4,
    }  # fmt: skip
    found = {
        "statements": [statement(text, n) for n in ((1,) if only else (1, 2))], "next": 9, "before": True, "trouble": text,
        "record": "sample", "mode": "observe", "row": 4,
    }  # fmt: skip
    page = render(
        "replay.html", who=PEOPLE["dora"], session=None, here="/", nav=(), now=0, s=row, may_end=True, only=only, found=found,
        live=not only,
    )  # fmt: skip
    elements = Elements()
    elements.feed(page)
    assert set(elements.tags) <= KNOWN | {"pre", "br"}
    assert elements.tags.count("script") == 1
    assert not [name for name, _ in elements.attributes if name.startswith("on") or name == "style"]
    assert all(value.startswith(("/", "#")) for name, value in elements.attributes if name in ("href", "src", "action"))
    assert not [value for name, value in elements.attributes if name == "href" and value.startswith("//")]
    assert not set(elements.text + "".join(value for _, value in elements.attributes)) & set("\x1b\x07\r\u202e\u2066")
    ids = [value for name, value in elements.attributes if name == "id"]
    assert len(ids) == len(set(ids))
