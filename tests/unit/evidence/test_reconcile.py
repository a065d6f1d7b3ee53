"""A target's account against the record: what explains a connection, and what does not."""

from __future__ import annotations

import pytest

from doorward.evidence.reconcile import DIALLED, LEEWAY, OnRecord, Seen, Verdict, examine

ID = "0194a1b2-0000-7000-8000-000000000001"
OTHER = "0194a1b2-0000-7000-8000-000000000002"
AT = 1_800_000_000_000
RUNS, ENDED, KILLED = OnRecord(ID, 41, AT), OnRecord(ID, 41, AT, AT + 5000), OnRecord(ID, 0, AT, AT + 5000)


@pytest.mark.parametrize(
    ("record", "seen", "verdict"),
    [
        # The process is the session's, whatever it calls itself now.
        (RUNS, Seen(41, AT + 20, applications=("psql",)), Verdict.OURS),
        (ENDED, Seen(41, AT + DIALLED), Verdict.OURS),
        (ENDED, Seen(41, AT - LEEWAY), Verdict.OURS),
        # A process number is used again: time tells.
        (ENDED, Seen(41, AT - LEEWAY - 1), Verdict.BYPASS),
        (RUNS, Seen(41, AT + DIALLED + LEEWAY + 1), Verdict.BYPASS),
        # Of roles whose statistics nobody lets us see there is no time: what runs may be it, what ended is not.
        (RUNS, Seen(41, 0), Verdict.OURS),
        (ENDED, Seen(41, 0), Verdict.BYPASS),
        # The name counts only where no process is known: the gateway died in it, or it runs at another process.
        (KILLED, Seen(99, AT + 20, applications=(f"doorward {ID} psql",)), Verdict.OURS),
        (KILLED, Seen(99, AT + 20, applications=("psql", f"doorward {ID}")), Verdict.OURS),
        (RUNS, Seen(99, AT + 20, applications=(f"doorward {ID} psql",)), Verdict.IMPOSTOR),
        (KILLED, Seen(99, AT + DIALLED + LEEWAY + 1, applications=(f"doorward {ID}",)), Verdict.IMPOSTOR),
        (RUNS, Seen(99, AT, applications=(f"doorward {OTHER}",)), Verdict.IMPOSTOR),
        (RUNS, Seen(99, AT, applications=(f"doorward {ID}0",)), Verdict.BYPASS),
        (KILLED, Seen(0, AT), Verdict.BYPASS),
        # Expected roles explain what nothing else does.
        (RUNS, Seen(99, AT, role="backup"), Verdict.EXPECTED),
        (RUNS, Seen(41, AT, role="backup"), Verdict.OURS),
        (RUNS, Seen(99, AT, role="Backup"), Verdict.BYPASS),
    ],
)  # fmt: skip
def test_what_explains_a_connection(record: OnRecord, seen: Seen, verdict: Verdict) -> None:
    """The target's process, at the session's time; else its name, where no process is known; else an expected role."""
    assert examine([seen], [record], ["backup"]) == [(seen, verdict)]
    assert examine([seen], [], ["backup"])[0][1] is not Verdict.OURS
