"""The blast radius of a held statement, in words (`server/preview.py` says what each member means)."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from doorward.model.visible import moment, visible


def facts(preview: Mapping[str, Any]) -> list[tuple[str, str]]:
    """What people are shown of it, as (heading, text). Whatever a target says is made visible, and nothing else of it is
    believed to be what it should be."""
    lock = preview.get("lock") or {}
    return [
        ("rows", _rows(preview)),
        ("writes to", "\n".join(_table(each) for each in preview.get("tables") or [])),
        ("locks", f"{visible(str(lock.get('mode', '')))}: blocks {visible(str(lock.get('blocks', '')))}" if lock else ""),
        ("reaches", "\n".join(_cascade(each) for each in preview.get("cascades") or [])),
        ("triggers", "\n".join(_trigger(each) for each in preview.get("triggers") or [])),
        ("tried", _tried(preview.get("dry_run") or {})),
        ("not known", visible(str(preview.get("incomplete", "")))),
    ]


def _rows(preview: Mapping[str, Any]) -> str:
    parts = []
    if "rows" in preview:
        parts.append(f"{preview['rows']}, counted")
    elif "rows_at_least" in preview:
        parts.append(f"over {preview['rows_at_least']}, counted")
    elif "rows_at_most" in preview:
        parts.append(f"at most {preview['rows_at_most']}, counted")
    if "estimated_rows" in preview:
        parts.append(f"{preview['estimated_rows']}, as the planner guesses")
    if "not_counted" in preview:
        parts.append(f"not counted: {visible(str(preview['not_counted']))}")
    return "; ".join(parts)


def _table(table: Mapping[str, Any]) -> str:
    about = int(table.get("rows_about", -1))
    parts = [f"about {about} rows" if about >= 0 else "never analysed", size(int(table.get("bytes", 0)))]
    if table.get("used_by"):
        others = table["used_by"]
        parts.append(f"in use by {others} other {'session' if others == 1 else 'sessions'}")
    return f"{visible(str(table.get('name', '')))} ({', '.join(parts)})"


def _cascade(cascade: Mapping[str, Any]) -> str:
    about = int(cascade.get("rows_about", -1))
    return visible(
        f"{cascade.get('to', '')}: {cascade.get('action', '')} on {cascade.get('on', '')} of {cascade.get('from', '')}"
    ) + (f" (about {about} rows in all)" if about >= 0 else "")


def _trigger(trigger: Mapping[str, Any]) -> str:
    return visible(
        f"{trigger.get('name', '')} on {trigger.get('table', '')}, {trigger.get('when', '')}: {trigger.get('runs', '')}"
    )


def _tried(tried: Mapping[str, Any]) -> str:
    if not tried:
        return ""
    if "not_run" in tried:
        return f"no: {visible(str(tried['not_run']))}"
    if "failed" in tried:
        return f"it failed, with {visible(str(tried['failed']))}"
    lines = [f"{tried.get('rows', 0)} rows, and taken back"]
    columns = [visible(str(name)) for name in tried.get("columns") or []]
    after: Sequence[Sequence[Any]] = tried.get("after") or []
    for number, row in enumerate(tried.get("before") or []):
        then = after[number] if number < len(after) else [None] * len(row)
        cells = []
        for name, old, new in zip(columns, row, then, strict=False):
            changed = "after" in tried and old != new
            cells.append(f"{name}: {_cell(old)}" + (f" -> {_cell(new)}" if changed else ""))
        lines.append("  " + ", ".join(cells))
    return "\n".join(lines)


def _cell(value: object) -> str:
    return "NULL" if value is None else visible(str(value))


def size(octets: int) -> str:
    """Bytes as people say them."""
    amount = float(octets)
    for unit in ("bytes", "KiB", "MiB", "GiB"):
        if amount < 1024:
            return f"{amount:.0f} {unit}"
        amount /= 1024
    return f"{amount:.1f} TiB"


def similar(found: Mapping[str, Any]) -> str:
    """What became of earlier requests of the same form, in a line; "" where that is not known."""
    if not isinstance(found.get("asked"), int):
        return ""
    if not found["asked"]:
        return "none: this is the first of its form here"
    said = f"{found['asked']} of the same form: {found.get('allowed', 0)} allowed, {found.get('denied', 0)} denied"
    last = found.get("last") or {}
    if last:
        by = visible(str(last.get("by", ""))).rpartition("|")[2]
        said += f"; last {'allowed' if last.get('allowed') else 'denied'} by {by} at {moment(int(last.get('at', 0)))}"
    return said
