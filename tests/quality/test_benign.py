"""Masking is not done by masking everything: ordinary queries over labelled tables come back as they are, cell by cell."""

from __future__ import annotations

import re
import secrets
from collections.abc import Iterator
from pathlib import Path
from random import Random

import pytest

from tests.quality import benign
from tests.rig.issuer import LocalIssuer
from tests.rig.postgres import PostgresServer

PAGE = Path(__file__).parents[2] / "docs/quality.md"
GUIDE = PAGE.parent / "guides/masking.md"
SAMPLE = 48


@pytest.fixture(scope="module")
def stages(
    tmp_path_factory: pytest.TempPathFactory, postgres: PostgresServer, postgres18: PostgresServer
) -> Iterator[list[benign.Stage]]:
    """The corpus on PostgreSQL 15 and 18, behind one gateway."""
    folder, issuer = tmp_path_factory.mktemp("benign") / "gateway", LocalIssuer()
    with benign.stages(folder, issuer, [postgres, postgres18], f"benign_{secrets.token_hex(4)}") as found:
        yield found
    issuer.down()


def test_the_corpus_is_large_enough() -> None:
    """At least 300 queries besides those that are masked for a known reason, each there once."""
    ordinary = [case for case in benign.cases() if not case.known]
    assert len(ordinary) >= 300
    assert len({(case.before, case.text) for case in benign.cases()}) == len(benign.cases())
    assert sum(any(case.dependent) for case in ordinary) >= 80  # beside confidential columns, too


def test_what_depends_on_a_label_is_what_differs(stages: list[benign.Stage]) -> None:
    """Every column of every query that differs between two databases with other labelled values is marked by hand as
    dependent, and no other is."""
    assert [fault for stage in stages for fault in stage.faults(benign.cases())] == []


def test_cells_that_need_not_be_masked_are_not(stages: list[benign.Stage]) -> None:
    """A seeded sample, some of it on each server, in text, in binary and by COPY: every cell as it is directly."""
    chosen = Random(20261123).sample(benign.cases(), SAMPLE)  # noqa: S311 - the same queries every time
    figures = benign.Figures()
    for number, stage in enumerate(stages):
        stage.measure(chosen[number :: len(stages)], figures)
    assert figures.faults == []


@pytest.mark.campaign
@pytest.mark.parametrize("family", sorted({case.family for case in benign.cases()}))
def test_no_cell_of_a_family_is_masked_needlessly(stages: list[benign.Stage], family: str) -> None:
    """All of a family, on each server."""
    figures = benign.Figures()
    for stage in stages:
        stage.measure([case for case in benign.cases() if case.family == family], figures)
    assert figures.faults == []


def test_what_is_published_is_of_this_corpus() -> None:
    """docs/quality.md is about as many queries as there are (`make quality` writes it), and the guide says what it says."""
    page, guide = PAGE.read_text(encoding="utf-8"), GUIDE.read_text(encoding="utf-8")
    told = re.search(r"Over-masking rate: ([0-9.]+%)", page)
    assert f"{len(benign.cases())} ordinary queries over labelled tables" in page
    assert f"{len(benign.cases())} ordinary queries over labelled tables" in guide
    assert told
    assert f"**{told[1]}** are masked" in guide
