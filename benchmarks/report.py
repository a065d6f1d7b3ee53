"""The page of a benchmark run: medians, spread, and each figure beside that of its neighbours. Pure text."""

from __future__ import annotations

import statistics
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, TypedDict

ROW = Mapping[str, Any]


class Result(TypedDict):
    """What a run writes as JSON."""

    versions: dict[str, str]
    samples: list[dict[str, Any]]
    rounds: int


def page(result: Result) -> str:
    """docs/performance.md."""
    samples = result["samples"]
    names = list(dict.fromkeys(str(sample["contender"]) for sample in samples))
    traffic = [case for case in dict.fromkeys(str(sample["case"]) for sample in samples) if "client" in case]
    parts = [
        _INTRODUCTION.format(rounds=result["rounds"]),
        "## CPU per transaction\n\nMicroseconds of CPU of the process in between, for one `pgbench -S` transaction.\n",
        _table(names, traffic, samples, "cpu_us_per_transaction", "{:.1f}"),
        "## Latency\n\nMilliseconds, the average of a run.\n",
        _table(names, traffic, samples, "latency_ms", "{:.3f}"),
        "## Transactions per second\n",
        _table(names, traffic, samples, "transactions_per_second", "{:,.0f}"),
    ]
    rows = [sample for sample in samples if sample["case"] == "1,000,000 rows"]
    if rows:
        parts += [
            "## A million rows of six columns\n\n"
            "Every Doorward masks one column, looks for confidential values in all text, and records the whole masked answer."
            + "".join(note for name, note in _NOTES.items() if name in names)
            + "\n",
            _bulk(names, rows),
        ]
    if cases := [case for case in dict.fromkeys(str(sample["case"]) for sample in samples) if "cells hit" in case]:
        parts.append(_PEOPLE)
        for case in cases:
            found = [sample for sample in samples if sample["case"] == case]
            parts.append(f"{case[0].upper()}{case[1:]}:\n\n{_bulk(names, found, memory=True)}")
    memory = [sample for sample in samples if "idle" in str(sample["case"])]
    if memory:
        parts += ["## Memory\n", _memory(memory)]
    parts.append("## What was measured\n\n" + "\n".join(f"- {key}: {value}" for key, value in result["versions"].items()))
    return "\n".join(parts) + "\n"


def brief(sample: ROW) -> str:
    """One measurement in one line, while people wait."""
    figures = [f"{key} {value:,.2f}" for key, value in sample.items() if isinstance(value, int | float) and value]
    return f"{sample['case']}: {', '.join(figures)}"


def _spread(values: Iterable[float], form: str) -> str:
    found = sorted(values)
    if not found:
        return ""
    if not any(found):
        return "-"
    middle = form.format(statistics.median(found))
    return middle if len(found) == 1 else f"{middle} ({form.format(found[0])} to {form.format(found[-1])})"


def _table(names: Sequence[str], cases: Sequence[str], samples: Sequence[ROW], key: str, form: str) -> str:
    lines = ["| | " + " | ".join(cases) + " |", "|---|" + "---|" * len(cases)]
    for name in names:
        cells = [
            _spread((each[key] for each in samples if each["contender"] == name and each["case"] == case), form)
            for case in cases
        ]
        lines.append(f"| {name} | " + " | ".join(cells) + " |")
    return "\n".join(lines) + "\n"


def _bulk(names: Sequence[str], rows: Sequence[ROW], *, memory: bool = False) -> str:
    direct = [row["seconds"] for row in rows if row["contender"] == "direct"]
    lines = [
        "| | seconds | speed, direct = 1 | CPU in between, s | MB of answer |" + " MiB over idle |" * memory,
        "|---|---|---|---|---|" + "---|" * memory,
    ]
    for name in names:
        own = [row for row in rows if row["contender"] == name]
        if not own:
            continue
        seconds = [row["seconds"] for row in own]
        speed = f"{statistics.median(direct) / statistics.median(seconds):.2f}" if direct else ""
        used = _spread((row["cpu_seconds"] for row in own), "{:.2f}")
        line = f"| {name} | {_spread(seconds, '{:.2f}')} | {speed} | {used} | {own[0]['bytes'] / 1e6:.0f} |"
        lines.append(line + f" {_spread((row['memory_bytes'] / (1 << 20) for row in own), '{:.0f}')} |" * memory)
    return "\n".join(lines) + "\n"


def _memory(samples: Sequence[ROW]) -> str:
    lines = ["| | resident, MiB | KiB for each idle connection |", "|---|---|---|"]
    for each in samples:
        lines.append(
            f"| {each['contender']}, {each['case']} | {each['memory_bytes'] / (1 << 20):.0f} "
            f"| {each['memory_bytes_per_connection'] / 1024:.1f} |"
        )
    return "\n".join(lines) + "\n"


_NOTES = {
    "Doorward, labels only": " `labels only` looks for nothing.",
    "Doorward, interpreted": " `interpreted` is `batched` without the compiled modules.",
}

_PEOPLE = """## A million rows of text, with every detector on

Six text columns and no label. In so many in a hundred cells, spread evenly, one of the detectors finds something: cards,
e-mail addresses, social security and telephone numbers, IBANs, alone or in a sentence. The client is a bare socket that
reads and looks at nothing, which is the fastest client that direct could have. MiB over idle: the most that the gateway
had resident meanwhile, over what it had before.
"""

_INTRODUCTION = """# Performance

What Doorward costs, beside a connection with nothing in between, a plain TCP relay (haproxy) and a pooler (pgbouncer,
session pooling). Made by `make bench ARGS=--write`, in one run on one machine, {rounds} rounds that alternate between the
contenders; medians, with the least and the most in brackets. Everybody speaks plaintext on loopback and has one worker.

Doorward runs as it would for users: each connection with a verified identity, each statement classified, decided by
policy and recorded, the record sealed and signed. `batched` lets plain allowed reads go ahead of their record by
at most 20 ms or 256 KiB; `record first` is the default, in which nothing does.

While pgbench runs, what stands in between has one core for itself, and clients and server share the others (`direct` has
all of them): so its CPU per transaction, the figure that carries over to another machine, is its own and not its neighbours'.
"""
