"""Measure detectors and over-masking, and write what comes out.

    python -m tests.quality [--each 500] [--write docs/quality.md]
"""

from __future__ import annotations

import argparse
import tempfile
from collections.abc import Iterator
from pathlib import Path

from tests.quality import benign
from tests.quality.measure import SEED, Figures, all_figures
from tests.rig import postgres, shared
from tests.rig.issuer import LocalIssuer


def page(figures: Figures, over: benign.Figures, each: int) -> Iterator[str]:
    """docs/quality.md."""
    yield "# Quality of masking\n"
    yield (
        "How much is masked that need not be, and how much of what nobody labelled is found. What masking covers, and what it "
        "does not, is in [masking](guides/masking.md).\n"
    )
    yield from benign.section(over)
    yield "# Quality of detection\n"
    texts, others = sum(figures.texts.values()), sum(figures.ordinary.values())
    yield (
        f"Made by `make quality` from a corpus that is generated from a seed ({SEED}, {each} texts of a kind): {texts} texts "
        f"with something confidential in them, {others} without. The generator is in `tests/quality`; it shares no code with "
        "the detectors, and has its own check digits. All detectors ran together, with `ip`, which is off by default.\n"
    )
    yield (
        "The corpus is made up: it says how the detectors do on the forms that are in it, not on your data. What a detector "
        "misses is masked only where its column is labelled ([masking](guides/masking.md)).\n"
    )
    yield "## By detector\n"
    yield (
        "Precision: of what the detector found in all texts, what was confidential. Recall: of the confidential parts that it "
        "is there for, those that were masked wholly, by it or by another.\n"
    )
    yield "| Detector | Confidential texts | Recall | Findings | Precision |\n|---|--:|--:|--:|--:|"
    for detector in dict.fromkeys(owner for owner in figures.detector.values() if owner != "none"):
        kinds = [kind for kind, owner in figures.detector.items() if owner == detector]
        there = sum(figures.texts[kind] for kind in kinds)
        masked = sum(figures.masked[kind] for kind in kinds)
        yield (
            f"| {detector} | {there} | {masked / there:.1%} | {figures.found[detector]} | {figures.precision(detector):.1%} |"
        )
    yield "\n## By kind\n"
    yield "| Kind | Texts | Recall |\n|---|--:|--:|"
    keys = [kind for kind in figures.texts if kind.startswith("key ")]
    for kind in figures.texts:
        if kind not in keys and figures.detector[kind] != "none":
            yield f"| {kind} | {figures.texts[kind]} | {figures.recall(kind):.1%} |"
    whole = [kind for kind in keys if figures.recall(kind) == 1]
    issuers = ", ".join(kind[4:] for kind in whole)
    yield f"| keys of {len(whole)} kinds: {issuers} | {sum(figures.texts[kind] for kind in whole)} | 100.0% |"
    for kind in keys:
        if kind not in whole:
            yield f"| {kind} | {figures.texts[kind]} | {figures.recall(kind):.1%} |"
    yield "\n## What is not covered\n"
    yield "No detector is there for these; what is masked of them is masked by chance. Label the columns that hold them.\n"
    yield "| Kind | Texts | Masked |\n|---|--:|--:|"
    for kind, owner in figures.detector.items():
        if owner == "none":
            yield f"| {kind} | {figures.texts[kind]} | {figures.recall(kind):.1%} |"
    yield ""
    yield "## Ordinary texts\n"
    yield "| Kind | Texts | Changed |\n|---|--:|--:|"
    for kind, texts in figures.ordinary.items():
        yield f"| {kind} | {texts} | {figures.alarms[kind] / texts:.1%} |"
    yield (
        "\nA random number of sixteen digits may have the prefix of a card scheme and the right check digit, and a product "
        "code the form of a British insurance number, which has none: no check can tell those."
    )


def over_masking() -> benign.Figures:
    """All of the benign corpus, on servers of its own."""
    shared.begin()
    issuer = LocalIssuer()
    try:
        servers = []
        for name, binaries in (("system", postgres.system_binaries()), ("embedded", postgres.embedded_binaries())):
            if binaries is None:
                raise SystemExit("missing: PostgreSQL (on Debian: apt install postgresql)")
            own = shared.folder() / name
            own.mkdir(mode=0o711)
            servers.append(postgres.start(name, binaries, own, tls=name == "system", settings={"log_statement": "none"}))
        figures = benign.Figures()
        with (
            tempfile.TemporaryDirectory(prefix="doorward-quality-") as folder,
            benign.stages(Path(folder) / "gateway", issuer, servers, "benign") as stages,
        ):
            for stage in stages:
                figures.faults += stage.faults(benign.cases())
                stage.measure(benign.cases(), figures)
        return figures
    finally:
        issuer.down()
        shared.finish()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else "")
    parser.add_argument("--each", type=int, default=500, help="texts of every kind")
    parser.add_argument("--write", type=Path, help="the page to write")
    parser.add_argument("--show", type=int, default=0, help="how many of the missed and the falsely found to show")
    arguments = parser.parse_args()
    figures, over = all_figures(arguments.each), over_masking()
    text = "\n".join(page(figures, over, arguments.each)) + "\n"
    if arguments.write is not None:
        arguments.write.write_text(text, encoding="utf-8")
    print(text)
    for sample in figures.missed[:: max(1, len(figures.missed) // max(1, arguments.show))][: arguments.show]:
        print("missed", sample)
    for sample, detector in figures.false[:: max(1, len(figures.false) // max(1, arguments.show))][: arguments.show]:
        print("false", detector, sample)
    for fault in over.faults:
        print("fault", fault)


if __name__ == "__main__":
    main()
