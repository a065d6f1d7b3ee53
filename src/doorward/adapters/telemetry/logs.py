"""Structured logs on standard error: JSON for machines, or text for people. One line an event; no value of any data.

Messages may quote what a client or a target said (a name, a setting, an error): every text passes the detectors,
those of the operator's own among them, whatever is looked for in results. That is the last line, not the first: nobody
should log a value.
"""

from __future__ import annotations

import logging
import sys
from collections.abc import MutableMapping
from typing import Any

import structlog

from doorward.masking.detect import Detectors
from doorward.masking.statement import mask_statement


class Masked:
    """A structlog processor: no text of a line shows what a detector knows."""

    def __init__(self, detectors: Detectors) -> None:
        self._detectors = detectors

    def __call__(self, _logger: Any, _method: str, line: MutableMapping[str, Any]) -> MutableMapping[str, Any]:
        return {name: self._masked(value) for name, value in line.items()}

    def _masked(self, value: Any) -> Any:
        if isinstance(value, str):
            return mask_statement(value, detectors=self._detectors)[0]
        if isinstance(value, dict):
            return {name: self._masked(each) for name, each in value.items()}
        if isinstance(value, list | tuple):
            return [self._masked(each) for each in value]
        return value


def configure(level: str, form: str, detectors: Detectors) -> Any:
    """Set logging up for this process, once; returns the root logger. `form` is "json" or "text"; `detectors` look at every
    text."""
    severity = logging.getLevelNamesMapping()[level.upper()]
    renderer: Any = structlog.processors.JSONRenderer()
    if form == "text":
        renderer = structlog.dev.ConsoleRenderer(colors=sys.stderr.isatty())
    structlog.configure(
        processors=[
            structlog.contextvars.merge_contextvars,
            structlog.processors.add_log_level,
            structlog.processors.TimeStamper(fmt="iso", utc=True),
            structlog.processors.format_exc_info,
            Masked(detectors),
            renderer,
        ],
        wrapper_class=structlog.make_filtering_bound_logger(severity),
        logger_factory=structlog.PrintLoggerFactory(file=sys.stderr),
        cache_logger_on_first_use=True,
    )
    # Libraries log exceptions with their arguments, which may hold anything: only their warnings, without tracebacks.
    logging.basicConfig(
        level=max(severity, logging.WARNING), format="%(levelname)s %(name)s %(message)s", stream=sys.stderr
    )
    return structlog.get_logger("doorward")
