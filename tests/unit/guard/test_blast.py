"""The blast radius in words."""

from __future__ import annotations

from doorward.guard.blast import facts, size

FOUND = {
    "rows": 2, "estimated_rows": 40, "lock": {"mode": "ROW EXCLUSIVE", "blocks": "changes of the same rows"},
    "tables": [{"name": "public.t\u202e", "rows_about": 90, "bytes": 2 << 20, "used_by": 3}],
    "cascades": [{"from": "public.t", "to": "public.u", "on": "delete", "action": "CASCADE", "rows_about": -1, "key": "k"}],
    "triggers": [{"table": "public.t", "name": "tells", "runs": "public.log", "when": "before each row"}],
    "dry_run": {"rows": 2, "columns": ["id", "note"], "before": [["1", "a"], ["2", None]], "after": [["1", "b"], ["2", None]]},
}  # fmt: skip


def test_everything_is_said_and_nothing_is_hidden() -> None:
    """Each member has its line, and what could deceive is spelt out."""
    assert dict(facts(FOUND)) == {
        "rows": "2, counted; 40, as the planner guesses",
        "writes to": "public.t\\u202e (about 90 rows, 2 MiB, in use by 3 other sessions)",
        "locks": "ROW EXCLUSIVE: blocks changes of the same rows",
        "reaches": "public.u: CASCADE on delete of public.t",
        "triggers": "tells on public.t, before each row: public.log",
        "tried": "2 rows, and taken back\n  id: 1, note: a -> b\n  id: 2, note: NULL",
        "not known": "",
    }


def test_what_is_not_known_says_so() -> None:
    """Nothing found is nothing said."""
    assert all(text == "" for _, text in facts({}))
    told = dict(facts({"not_counted": "it is large", "dry_run": {"not_run": "a trigger"}, "rows_at_least": 10_000}))
    assert told["rows"] == "over 10000, counted; not counted: it is large"
    assert told["tried"] == "no: a trigger"
    assert [size(n) for n in (0, 1023, 1024, 5 << 30, 3 << 40)] == ["0 bytes", "1023 bytes", "1 KiB", "5 GiB", "3.0 TiB"]
