"""docs/asvs.md out of docs/asvs.toml: `python -m tests.fitness.asvs` writes it."""

from __future__ import annotations

import tomllib
from collections import Counter
from typing import Any

from tests.fitness.test_house import ROOT

CHAPTERS = {
    1: "Encoding and sanitization", 2: "Validation and business logic", 3: "Web frontend", 4: "API and web service",
    5: "Files", 6: "Authentication", 7: "Sessions", 8: "Authorization", 9: "Self-contained tokens",
    10: "OAuth and OpenID Connect", 11: "Cryptography", 12: "Secure communication", 13: "Configuration",
    14: "Data protection", 15: "Secure coding and architecture", 16: "Logging and errors", 17: "WebRTC",
}  # fmt: skip
# How many requirements of level 1 or 2 each section of version 5.0.0 has, where they are not numbered through: which.
SECTIONS: dict[str, int | tuple[int, ...]] = {
    "1.1": 2, "1.2": 9, "1.3": 11, "1.4": 3, "1.5": 2, "2.1": 3, "2.2": 3, "2.3": 4, "2.4": 1, "3.2": 2, "3.3": 4,
    "3.4": 6, "3.5": 5, "3.7": 2, "4.1": 3, "4.2": 1, "4.3": 2, "4.4": 4, "5.1": 1, "5.2": 3, "5.3": 2, "5.4": 3,
    "6.1": 3, "6.2": 12, "6.3": 4, "6.4": 4, "6.5": 5, "6.6": 3, "6.8": 4, "7.1": 3, "7.2": 4, "7.3": 2, "7.4": 5,
    "7.5": 2, "7.6": 2, "8.1": 2, "8.2": 3, "8.3": 1, "8.4": 1, "9.1": 3, "9.2": 4, "10.1": 2, "10.2": 2, "10.3": 4,
    "10.4": 11, "10.5": 5, "10.6": 2, "10.7": 3, "11.1": 2, "11.2": 3, "11.3": 3, "11.4": 4, "11.5": 1, "11.6": 1,
    "12.1": 3, "12.2": 2, "12.3": 4, "13.1": 1, "13.2": 5, "13.3": 2, "13.4": 5, "14.1": 2, "14.2": 4, "14.3": 3,
    "15.1": 3, "15.2": 3, "15.3": 7, "16.1": 1, "16.2": 5, "16.3": 4, "16.4": 3, "16.5": 3, "17.1": 1, "17.2": 4,
    "17.3": 2,
}  # fmt: skip
MEANING = {
    "tested": "the tests named show it", "built": "true by how it is built",
    "elsewhere": "whoever runs Doorward, or their issuer, answers for it", "none": "Doorward has nothing of the kind",
    "open": "not met, or not wholly",
}  # fmt: skip
HEAD = "| No. | About | State | Shown by, or why |\n|---|---|---|---|"
Line = dict[str, Any]


def wanted() -> list[str]:
    """Every requirement of levels 1 and 2, by number."""
    return [
        f"{section}.{number}"
        for section, numbers in SECTIONS.items()
        for number in (range(1, numbers + 1) if isinstance(numbers, int) else numbers)
    ]


def lines() -> list[Line]:
    """What docs/asvs.toml says."""
    return list(tomllib.loads((ROOT / "docs/asvs.toml").read_text())["line"])


def page() -> str:
    """docs/asvs.md."""
    found = lines()
    counts: Counter[str] = Counter()
    for line in found:
        counts[line["state"]] += len(line["ids"])
    parts = [
        "# OWASP ASVS 5.0, levels 1 and 2\n",
        "Each requirement of the [Application Security Verification Standard](https://owasp.org/www-project-application-security-"
        "verification-standard/) 5.0.0, by its number, and what Doorward has of it. The words are ours and short; the "
        "standard's own text counts. This page is made from `docs/asvs.toml`, and a test holds it to the tests it names.\n",
        "| State | Requirements | Meaning |\n|---|---|---|",
        *(f"| {state} | {counts[state]} | {said} |" for state, said in MEANING.items()),
        f"| | {sum(counts.values())} | |",
    ]
    chapter = 0
    for line in found:
        if (first := int(line["ids"][0].partition(".")[0])) != chapter:
            chapter = first
            parts.append(f"\n## V{chapter} {CHAPTERS[chapter]}\n\n{HEAD}")
        shown = [*(f"`{name}`" for name in line.get("tests", ())), *([line["why"]] if line.get("why") else [])]
        parts.append(f"| {', '.join(line['ids'])} | {line['about']} | {line['state']} | {'; '.join(shown)} |")
    return "\n".join(parts) + "\n"


if __name__ == "__main__":
    (ROOT / "docs/asvs.md").write_text(page())
