"""Logs: one line of JSON an event, and no text of one that a detector knows, however deep it is in it."""

from __future__ import annotations

import json
import subprocess
import sys
from typing import Any

import pytest

from doorward.adapters.telemetry.logs import Masked
from doorward.masking.detect import Detectors

DETECTORS = Detectors()
SSN, CARD = "457-55-5462", "4539578763621486"


@pytest.mark.parametrize(
    ("line", "shown"),
    [
        ({"event": "login.failed", "reason": f'no target "{SSN}"'}, {"event": "login.failed", "reason": 'no target "[ssn]"'}),
        ({"facts": {"a": [f"x {CARD}", 3], "b": (SSN,)}}, {"facts": {"a": ["x [card]", 3], "b": ["[ssn]"]}}),
        ({"exception": f"Traceback ..\nValueError: {CARD}"}, {"exception": "Traceback ..\nValueError: [card]"}),
        ({"port": 7432, "failed": False, "none": None}, {"port": 7432, "failed": False, "none": None}),
    ],
)
def test_confidential_text_is_masked_wherever_it_stands(line: dict[str, Any], shown: dict[str, Any]) -> None:
    """In messages, nested facts and tracebacks; numbers and the rest stay what they are."""
    assert Masked(DETECTORS)(None, "info", line) == shown


@pytest.mark.parametrize(
    "text",
    [
        "01a20748-05e8-707b-b5cd-49c85c9097bf",
        "127.0.0.1:54321",
        "0f3a91c27e6b54d8a1c09e7f62b3d5480f3a91c27e6b54d8a1c09e7f62b3d548",
        "/var/lib/doorward/recordings/2026/11/01a20748-05e8-707b-b5cd-49c85c9097bf.dwr",
    ],
)
def test_what_operators_look_for_stays_readable(text: str) -> None:
    """Identifiers, addresses, hashes and paths are not taken for anything else."""
    assert Masked(DETECTORS)(None, "info", {"session": text}) == {"session": text}


PROGRAM = """
import logging, sys
from doorward.adapters.telemetry.logs import configure
from doorward.masking.detect import Detectors
log = configure(sys.argv[1], "json", Detectors())
log.debug("too.small")
log.info("listener.opened", port=7432, reason="for 457-55-5462")
log.warning("two", text="a\\nb")
logging.getLogger("some.library").info("chatter")
try:
    raise ValueError("4539578763621486")
except ValueError:
    log.error("task.failed", exc_info=True)
"""


def test_a_line_is_one_json_object_on_standard_error() -> None:
    """With level and UTC time; below the level nothing, from libraries only warnings; a traceback stays on its line, masked."""
    done = subprocess.run([sys.executable, "-c", PROGRAM, "info"], capture_output=True, text=True, check=True, timeout=60)
    lines = [json.loads(line) for line in done.stderr.splitlines()]
    assert [(line["event"], line["level"]) for line in lines] == [
        ("listener.opened", "info"), ("two", "warning"), ("task.failed", "error"),
    ]  # fmt: skip
    assert (lines[0]["port"], lines[0]["reason"], lines[1]["text"]) == (7432, "for [ssn]", "a\nb")
    assert all(line["timestamp"].endswith("Z") for line in lines)
    assert "ValueError: [card]" in lines[2]["exception"]
    assert CARD not in done.stderr
    assert done.stdout == ""
