"""OSCAL 1.2 assessment results: a result for each control, an observation for each test, a finding for each objective.

No assessment plan exists: evidence is collected by the gateway all the time, so `import-ap` points at a resource that says so.
There is no `partially satisfied`, and a control without a source has no finding: what is not evidenced is neither satisfied
nor not.
Identifiers are UUIDv5 of the pack's, so that the same pack has the same document, byte for byte.
"""

from __future__ import annotations

from typing import Any, Final
from uuid import UUID, uuid5

from doorward.evidence.examination import Examination, Result
from doorward.evidence.manifest import pack_id
from doorward.evidence.prose import NOT_EVIDENCED, state
from doorward.evidence.record import moment
from doorward.evidence.table import Control
from doorward.ledger.encoding import canonical
from doorward.model import Checkpoint

VERSION: Final = "1.2.0"
NAMESPACE: Final = "urn:doorward:oscal"


def assessment_results(examination: Examination, checkpoint: Checkpoint, version: str) -> bytes:
    """The document, as canonical JSON."""
    pack = pack_id(checkpoint, examination.since, examination.until)
    made = moment(examination.at)  # the newest leaf: what it says, it says as of then
    plan = _id(pack, "plan")
    return canonical({
        "assessment-results": {
            "uuid": _id(pack, "assessment-results"),
            "metadata": {
                "title": f"Evidence from {checkpoint.origin}", "last-modified": made, "version": version,
                "oscal-version": VERSION,
            },
            "import-ap": {"href": f"#{plan}"},
            "results": [_result(pack, control, examination, checkpoint, made) for control in examination.controls],
            "back-matter": {
                "resources": [
                    {
                        "uuid": plan, "title": "No assessment plan",
                        "description": "Evidence is collected continuously; methodology.md says how it is computed.",
                        "rlinks": [{"href": "../methodology.md"}],
                    },
                    {
                        "uuid": _id(pack, "manifest"), "title": "Manifest of the evidence pack",
                        "description": "Every file with its hash, signed by the log's key.",
                        "rlinks": [{"href": "../manifest.json"}],
                    },
                ],
            },
        },
    })  # fmt: skip


def _result(pack: UUID, control: Control, examination: Examination, checkpoint: Checkpoint, made: str) -> dict[str, Any]:
    tests = [examination.results[test.id] for test in control.tests]
    found = state(examination, control)
    result: dict[str, Any] = {
        "uuid": _id(pack, f"result {control.id}"), "title": f"{control.id} {control.title}",
        "description": f"Tests over the whole population. State: {found}. Outside the log: {control.outside}",
        "start": moment(examination.since), "end": moment(examination.until),
        "props": [
            _prop("log-origin", checkpoint.origin), _prop("log-size", str(checkpoint.size)),
            _prop("log-root", checkpoint.root.hex()), _prop("from-leaf", str(examination.from_leaf)),
            _prop("to-leaf", str(examination.to_leaf)), _prop("state", found.replace(" ", "-")),
        ],
        "reviewed-controls": {"control-selections": [{"include-controls": [{"control-id": _control(control)}]}]},
    }  # fmt: skip
    if tests:
        result["observations"] = [_observation(pack, each, made) for each in tests]
    if found != NOT_EVIDENCED and tests:
        result["findings"] = [_finding(pack, control, tests)]
    return result


def _observation(pack: UUID, result: Result, made: str) -> dict[str, Any]:
    test = result.test
    said = (
        f"{result.population} items, {result.failed} exceptions." if result.population else "No item in the period: not tested."
    )
    return {
        "uuid": _id(pack, f"observation {test.id}"), "title": test.expected, "description": said, "methods": ["TEST"],
        "types": ["control-objective"],
        "relevant-evidence": [
            {"href": f"../tables/{test.table}.csv", "description": "The population; hash and rows are in manifest.json"},
            {"href": "../exceptions.csv", "description": f"Exceptions with test_id {test.id}"},
        ],
        "collected": made,
        "props": [
            _prop("test", test.id), _prop("test-version", str(test.version)), _prop("severity", test.severity),
            _prop("population", str(result.population)), _prop("exceptions", str(result.failed)),
            _prop("ever-failed", str(result.ever_failed)),
        ],
    }  # fmt: skip


def _finding(pack: UUID, control: Control, tests: list[Result]) -> dict[str, Any]:
    failed = [each for each in tests if each.failed]
    status = {"state": "not-satisfied", "reason": "fail"} if failed else {"state": "satisfied", "reason": "pass"}
    said = f"{sum(each.failed for each in failed)} exceptions in {len(failed)} of {len(tests)} tests."
    return {
        "uuid": _id(pack, f"finding {control.id}"), "title": f"{control.id} {control.title}",
        "description": said if failed else f"No exception in {len(tests)} tests over the period's population.",
        "target": {"type": "objective-id", "target-id": f"{_control(control)}_obj", "status": status},
        "related-observations": [{"observation-uuid": _id(pack, f"observation {each.test.id}")} for each in tests],
    }  # fmt: skip


def _control(control: Control) -> str:
    return f"iso27001-{control.id.lower()}"


def _prop(name: str, value: str) -> dict[str, str]:
    return {"name": name, "ns": NAMESPACE, "value": " ".join(value.split()) or "-"}


def _id(pack: UUID, name: str) -> str:
    return str(uuid5(pack, name))
