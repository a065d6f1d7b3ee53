"""`doorward retention` and `doorward holds`: what they show of what the gateway says, and their exit codes."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import asdict, replace
from typing import Any

import pytest

from doorward.cli import holds, retention
from doorward.cli.main import run
from doorward.guard.holds import Hold
from doorward.guard.retention import Epoch
from doorward.web.retention import shown

DUE = 1_830_297_600_000  # 2028-01-01
EPOCHS = [
    Epoch("ctl-36m.2026-11", "ctl-36m", DUE, "kept"),
    Epoch("std-13m.2026-11", "std-13m", DUE, "late", sessions=3, held=1, events=7),
    Epoch("std-13m.2026-12", "std-13m", DUE, "lost", sessions=1, key=False),
    Epoch("std.2026-01", "std", 0, "forever", sessions=1, key=False),
]
HOLD = Hold("h1", "case-1", target="shop", reason="a\u202ecase", applied_by="https://idp|ada", applied_at=DUE)


class Asked:
    """What a gateway would answer, and what it was asked."""

    def __init__(self, answers: dict[str, Any]) -> None:
        self.answers = answers
        self.posted: list[tuple[tuple[str, ...], Any]] = []

    def __call__(self, _connection: Any) -> Asked:
        return self

    def __enter__(self) -> Asked:
        return self

    def __exit__(self, *_: object) -> None:
        pass

    def get(self, *path: str) -> Any:
        return self.answers["/".join(path)]

    def post(self, *path: str, body: Any = None) -> Any:
        self.posted.append((path, body))
        return self.answers["/".join(path)]


def answering(monkeypatch: pytest.MonkeyPatch, **answers: Any) -> Asked:
    asked = Asked({name.replace("_", "/"): answer for name, answer in answers.items()})
    for module in (retention, holds):
        monkeypatch.setattr(module, "GatewayClient", asked)
    return asked


@pytest.mark.parametrize(
    ("command", "names", "code"),
    [("list", [each.name for each in EPOCHS], 0), ("plan", ["std-13m.2026-11", "std-13m.2026-12"], 1)],
)
def test_what_is_kept_until_when(
    command: str, names: Sequence[str], code: int, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """All of it, or what calls for somebody: then the exit code says so, too, and lost keys are named."""
    answering(monkeypatch, retention={"epochs": [asdict(each) for each in EPOCHS], "last": {}})
    assert run(["retention", command]) == code
    found = capsys.readouterr()
    for each in EPOCHS:
        assert (each.name in found.out) is (each.name in names)
    assert "2028-01-01" in found.out
    assert "restore std-13m.2026-12 from a backup" in found.err
    assert run(["retention", command, "--json"]) == code
    assert [each["name"] for each in json.loads(capsys.readouterr().out)] == list(names)


def test_nothing_is_due(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    """That is a good answer."""
    answering(monkeypatch, retention={"epochs": [], "last": {}}, retention_run={"deleted": [], "refused": [], "finished": 0})
    assert [run(["retention", command]) for command in ("list", "plan", "run")] == [0, 0, 0]
    assert capsys.readouterr().err.count("nothing is due") == 2


def test_a_run_says_what_went_and_what_was_refused(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """Its exit code is that of a refusal, if there was one."""
    deleted = {"epoch": "std-13m.2026-11", "due": DUE, "late": True, "recordings": 2000, "held": 1, "events": 7}
    done = {
        "deleted": [deleted], "refused": [{"epoch": "std-13m.2026-12", "why": why, "due": DUE, "sessions": 1} for why in
        ("open", "held")], "finished": 0,
    }  # fmt: skip
    answering(monkeypatch, retention_run=done)
    assert run(["retention", "run"]) == 1
    said = capsys.readouterr().out
    assert "deleted std-13m.2026-11: 2,000 recordings, 7 other records" in said
    assert "late" in said
    assert "1 are held" in said
    assert said.count("refused") == 2
    answering(monkeypatch, retention_run={**done, "refused": []})
    assert run(["retention", "run", "--json"]) == 0


def test_holds(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    """What is chosen is sent, days as times; what others wrote is shown harmless; a release is asked for, then done."""
    asked = answering(monkeypatch, holds=shown(HOLD, 12))
    chosen = ["--target", "shop", "--from", "2026-11-01", "--to", "2026-12-01"]
    assert run(["holds", "apply", "case-1", "--reason", "why", *chosen]) == 0
    ((path, body),) = asked.posted
    assert path == ("holds",)
    assert body == {
        "case": "case-1", "reason": "why", "target": "shop", "since": 1_793_491_200_000, "until": 1_796_083_200_000,
    }  # fmt: skip
    assert "12 recordings are held" in capsys.readouterr().out
    assert run(["holds", "apply", "case-1", "--reason", "why", "--from", "yesterday"]) == 3
    requested = replace(HOLD, requested_by="https://idp|bea", requested_at=DUE)
    answering(monkeypatch, holds=[shown(HOLD, 12), shown(requested, 1)])
    assert run(["holds", "list"]) == 0
    said = capsys.readouterr().out
    assert "release requested" in said
    assert "\u202e" not in said
    for hold, answer in ((requested, "until a second person"), (replace(requested, released_at=DUE), "is released")):
        asked = answering(monkeypatch)
        asked.answers["holds/case-1/release"] = shown(hold, 0)
        assert run(["holds", "release", "case-1"]) == 0
        assert answer in capsys.readouterr().out
