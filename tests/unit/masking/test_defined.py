"""Detectors that a configuration defines."""

from __future__ import annotations

import pytest
import re2
from hypothesis import given, settings
from hypothesis import strategies as st

from doorward.errors import ConfigError
from doorward.masking.defined import MOST, defined, unanchored
from doorward.masking.detect import Detectors
from doorward.masking.detectors import Detector
from tests.suites import detector as suite

EMPLOYEE = defined("employee", "employee_no", r"\bEMP-[0-9]{6}\b", ["EMP-123456", "of EMP-123456."], ["TEMP-123456"])
GROUPED = defined("case", "case_no", r"(?i)case\s+([A-Z]{2}[0-9]{4})", ["Case AB1234"], [])


@pytest.mark.parametrize(
    ("detector", "text", "secret"), [(one, *example) for one in (EMPLOYEE, GROUPED) for example in one.examples]
)
def test_it_is_a_detector_like_the_others(detector: Detector, text: str, secret: str) -> None:
    """It does on its examples what every detector does."""
    suite.prefilter_sees(detector, text)
    assert [text.encode()[start:end].decode() for start, end in detector.find(text.encode())] == [secret]


def test_it_runs_with_the_others() -> None:
    """It masks beside them, under its own label, and can be left out for who may see that."""
    together = Detectors(more=[EMPLOYEE, GROUPED])
    assert together.mask("EMP-123456, case AB1234, bob@example.org") == (
        "[employee_no], case [case_no], [email]",
        {"employee_no": 1, "case_no": 1, "email": 1},
    )
    assert together.without(frozenset({"employee_no"})).mask("EMP-123456 bob@example.org") == (
        "EMP-123456 [email]", {"email": 1},
    )  # fmt: skip
    assert together.mask("ＥＭＰ-123456")[1] == {"employee_no": 1}


@pytest.mark.parametrize(
    ("pattern", "label", "examples", "counterexamples", "says"),
    [
        ("(", "x", ["a"], [], "not a regular expression of RE2: missing"),
        ("(?=a)b", "x", ["b"], [], "not a regular expression of RE2"),
        (r"(a)\1", "x", ["aa"], [], "not a regular expression of RE2"),
        ("a{1001}", "x", ["a"], [], "not a regular expression of RE2"),
        ("(?:(?:a{50}){50}){50}", "x", ["a"], [], "not a regular expression of RE2"),
        ("a" * 1001, "x", ["a"], [], "longer than 1000"),
        ("a*", "x", ["a"], [], "matches nothing at all"),
        (r"\b", "x", ["a"], [], "matches nothing at all"),
        (r"\[x", "x", ["[x"], [], "what a masked value becomes"),
        ("a", "X Y", ["a"], [], "label"),
        ("a+", "e", ["bbb"], [], "finds nothing in the example 'bbb'"),
        ("a+", "e", ["a"], ["ba"], "finds something in the counter-example 'ba'"),
        ("a+", "e", [], [], "no example"),
    ],
)
def test_what_cannot_work_is_an_error_when_it_is_read(
    pattern: str, label: str, examples: list[str], counterexamples: list[str], says: str
) -> None:
    """A bad expression, one without bounds, one that hides everything, and one that fails its own examples."""
    with pytest.raises(ConfigError, match=says):
        defined("mine", label, pattern, examples, counterexamples)


@pytest.mark.parametrize(
    ("pattern", "looser"),
    [
        (r"\bEMP\b", "(?:)EMP(?:)"),
        (r"^a$", "(?:)a(?:)"),
        (r"\Aa\z", "(?:)a(?:)"),
        (r"[^$\]^]\^\$", r"[^$\]^]\^\$"),
        (r"[]$^]a", r"[]$^]a"),
        (r"[[:^alpha:]$]b", r"[[:^alpha:]$]b"),
        (r"\Q^b$\E$", r"\Q^b$\E(?:)"),
        (r"\\b", r"\\b"),
    ],
)
def test_what_is_said_of_surroundings_is_dropped(pattern: str, looser: str) -> None:
    """Over raw protocol bytes a value has other neighbours, so the prefilter asks less."""
    assert unanchored(pattern) == looser


@settings(max_examples=150, deadline=None)
@given(st.text("ab^$\\b[]()|.*A", max_size=12), st.text("ab^$ \n", max_size=8))
def test_the_prefilter_never_asks_for_more(pattern: str, text: str) -> None:
    """Wherever an expression matches, what is made of it matches, too."""
    options = re2.Options()
    options.log_errors = False
    try:
        expression = re2.compile(pattern, options)
    except re2.error:
        return
    looser = re2.compile(unanchored(pattern), options)
    if expression.search(text) is not None:
        assert looser.search(f"x{text}x") is not None


def test_many_at_once_still_see() -> None:
    """As many as may be defined, each as large as it may be, and the set still looks."""
    many = [
        defined(f"d{number}", "bulk", rf"K{number:02d}-(?:[a-f0-9]{{8}}-){{20}}[A-Z]{{40}}", [_bulk(number)])
        for number in range(MOST)
    ]
    everything = Detectors(more=many)
    for number in range(MOST):
        assert everything.mask(_bulk(number)) == ("[bulk]", {"bulk": 1})


def _bulk(number: int) -> str:
    return f"K{number:02d}-" + "0123abcd-" * 20 + "Z" * 40
