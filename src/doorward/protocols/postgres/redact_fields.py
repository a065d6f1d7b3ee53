"""Errors, notices, notifications and parameter reports, as the client may see them.

Contract: with `strip`, which is for statements that touch a label their reader may not see, nothing remains that the
target's data could have a say in: severity, a standard SQLSTATE (of data exceptions, class 22, which a value chooses among, the
general one) and a fixed text. Otherwise the detectors look at
every field. Never raises for the sake of a field's content.

`said_by_code` knows an error or a notice that came about within a function, whose code may have read any table, though the
statement names none of them: a trigger's, a default's, a check's, a policy's.

A function can put data into any field of an error: message, detail, hint, column name, even a SQLSTATE of its own. A
choice between standard SQLSTATEs remains a narrow channel; it is an inference, and policy's to deny.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

from doorward.masking.detect import Detectors

# PostgreSQL 18 documentation, appendix A "PostgreSQL Error Codes": class, then the subclasses in it.
_TABLE: Final = """
00 000
01 000 003 004 006 007 008 00C P01
02 000 001
03 000
08 000 001 003 004 006 007 P01
09 000
0A 000
0B 000
0F 000 001
0L 000 P01
0P 000
0Z 000 002
10 608
20 000
21 000
22 000 001 002 003 004 005 007 008 009 00B 00C 00D 00F 00G 00H 010 011 012 013 014 015 016 018 019 01B 01E 01F 01G
22 00L 00M 00N 00S 00T 01W 01X 02E 021 022 023 024 025 026 027 02G 02H 030 031 032 033 034
22 035 036 037 038 039 03A 03B 03C 03D 03E 03F 03G
22 P01 P02 P03 P04 P05 P06
23 000 001 502 503 505 514 P01
24 000
25 000 001 002 003 004 005 006 007 008 P01 P02 P03 P04
26 000
27 000
28 000 P01
2B 000 P01
2D 000
2F 000 002 003 004 005
34 000
38 000 001 002 003 004
39 000 001 004 P01 P02 P03
3B 000 001
3D 000
3F 000
40 000 001 002 003 P01
42 000 501 601 602 611 622 701 702 703 704 710 712 723 725 803 804 809 830 846 883 8C9 939
42 P01 P02 P03 P04 P05 P06 P07 P08 P09 P10 P11 P12 P13 P14 P15 P16 P17 P18 P19 P20 P21 P22
44 000
53 000 100 200 300 400
54 000 001 011 023
55 000 006 P02 P03 P04
57 000 014 P01 P02 P03 P04 P05
72 000
58 000 030 P01 P02 P03
F0 000 001
HV 000 001 002 004 005 006 007 008 009 00A 00B 00C 00D 00J 00K 00L 00M 00N 00P 00Q 00R 010 014 021 024 090 091
P0 000 001 002 003 004
XX 000 001 002
"""
LONG_TEXT: Final = 8 << 10  # characters of a message that are looked at exactly
STANDARD: Final[frozenset[str]] = frozenset(
    words[0] + subclass for line in _TABLE.strip().splitlines() if (words := line.split()) for subclass in words[1:]
)
_CLASSES: Final[frozenset[str]] = frozenset(state[:2] for state in STANDARD)
# How lines of context begin that no function has a say in.
_OWN: Final = ("COPY ", "JSON data, ", "portal ", "unnamed portal ", "while ", "parallel worker")
_SEVERITIES: Final = frozenset({"ERROR", "FATAL", "PANIC", "WARNING", "NOTICE", "DEBUG", "INFO", "LOG"})

_TEXTS: Final[dict[str, str]] = {
    "22": "a value does not fit the operation",
    "23": "a constraint is violated",
    "40": "the transaction was rolled back",
    "42": "the statement cannot be run as written",
    "53": "the target lacks resources",
    "57": "the target stopped the statement",
}


def standard_sqlstate(state: str) -> str:
    """The SQLSTATE, if PostgreSQL defines it; else its class's general one; else P0001 (raised by a function)."""
    if state in STANDARD:
        return state
    if len(state) == 5 and state[:2] in _CLASSES and state[:2] + "000" in STANDARD:
        return state[:2] + "000"
    return "P0001" if len(state) == 5 else "XX000"


def said_by_code(fields: Mapping[str, str]) -> bool:
    """Whether an error's context names more than the client's own COPY data, portal or JSON: every call of a function
    that runs adds a line to it (PostgreSQL's error_context_stack)."""
    lines = fields.get("W", "").splitlines()
    return any(line and not line.startswith(_OWN) for line in lines)


def shown_text(text: str, detectors: Detectors) -> str:
    """A text that is no value, as it may be shown. A long one is not looked at for long: if anything may be in it, it goes."""
    if len(text) > LONG_TEXT and detectors.hit(text.encode("utf-8", "surrogatepass")):
        return f"[{len(text)} characters, withheld]"
    return detectors.mask(text)[0]


def redact_fields(fields: dict[str, str], detectors: Detectors, strip: bool) -> dict[str, str]:
    """The fields of an ErrorResponse or NoticeResponse (by type byte), or any other texts by name, made safe."""
    if not strip:
        shown = {name: shown_text(text, detectors) for name, text in fields.items()}
        for name in ("S", "V", "C"):
            if name in fields and fields[name].isascii() and fields[name].isalnum():
                shown[name] = fields[name]  # one word of letters and digits, at most: no detector's business
        return shown
    severity = fields.get("V", fields.get("S", "ERROR"))
    if severity not in _SEVERITIES:
        severity = "ERROR"
    state = standard_sqlstate(fields.get("C", ""))
    if state.startswith("22"):  # how a cast fails depends on the value
        state = "22000"
    text = _TEXTS.get(state[:2], "the target reported something")
    return {
        "S": severity,
        "V": severity,
        "C": state,
        "M": f"{text} (details are withheld: the statement touches masked columns)",
    }
