"""How the demonstration looks: a heading for each step, commands and their output behind a bar, and what was checked.

Colours only on a terminal and never with NO_COLOR; the words are the same without.
"""

from __future__ import annotations

import sys
import time

from rich.console import Console
from rich.rule import Rule
from rich.text import Text

from doorward.cli.output import visible


class UntrueError(Exception):
    """A step of the story did not do what it says."""


class Screen:
    """Standard output, told as a story."""

    def __init__(self) -> None:
        # A terminal without UTF-8 shows question marks instead of ending the story.
        sys.stdout.reconfigure(errors="replace")  # type: ignore[union-attr]  # it is a TextIOWrapper, or has the method
        self._console = Console(highlight=False, markup=False, emoji=False, soft_wrap=True)
        self._step = 0
        self._began = time.monotonic()

    def title(self, text: str) -> None:
        """The first line."""
        self._console.print(Rule(Text(text, style="bold"), style="dim", align="left"), width=self._width())

    def step(self, title: str) -> None:
        """Begin a step."""
        self._step += 1
        self._console.print()
        self._console.print(Text.assemble((f" {self._step} ", "bold reverse"), "  ", (title, "bold")))

    def says(self, text: str) -> None:
        """A sentence of the story."""
        self._console.print(Text(f"    {text}"))

    def fact(self, name: str, value: str) -> None:
        """A name and what is so."""
        self._console.print(Text.assemble("    ", (f"{name:<12}", "dim"), value))

    def ran(self, who: str, command: str) -> None:
        """A command, as somebody would type it."""
        self._console.print(Text.assemble("    ", (f"{who} $ ", "cyan"), (visible(command), "bold")))

    def output(self, text: str, style: str = "") -> None:
        """What a program printed."""
        for line in text.rstrip("\n").splitlines():
            self._console.print(Text.assemble(("    │ ", "dim"), (visible(line), style)))

    def check(self, holds: bool, claim: str, found: str = "") -> None:
        """Say that `claim` holds, having looked. Raises UntrueError if it does not."""
        if not holds:
            self._console.print(Text.assemble("    ", ("✗ " + claim, "bold red")))
            if found:
                self.output(found, "red")
            raise UntrueError(claim)
        self._console.print(Text.assemble("    ", ("✓ ", "bold green"), claim))

    def line(self, text: str = "", style: str = "") -> None:
        """Something to copy."""
        self._console.print(Text(text, style=style))

    def seconds(self) -> int:
        """Since the beginning."""
        return round(time.monotonic() - self._began)

    def _width(self) -> int:
        return min(self._console.width, 100)
