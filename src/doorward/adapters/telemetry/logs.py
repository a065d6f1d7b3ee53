"""Structured logs on standard error: JSON for machines, or text for people. One line an event; no value of any data.

Messages may quote what a client or a target said (a name, a setting, an error): every text passes the detectors, whatever
the configuration says of results. That is the last line, not the first: nobody should log a value.
"""

from __future__ import annotations

import logging
import sys
from collections.abc import MutableMapping
from typing import Any

import structlog

from doorward.masking.statement import mask_statement


def masked(_logger: Any, _method: str, line: MutableMapping[str, Any]) -> MutableMapping[str, Any]:
    """A structlog processor: no text of a line shows what a detector knows."""
    return {name: _masked(value) for name, value in line.items()}


def _masked(value: Any) -> Any:
    if isinstance(value, str):
        return mask_statement(value)[0]
    if isinstance(value, dict):
        return {name: _masked(each) for name, each in value.items()}
    if isinstance(value, list | tuple):
        return [_masked(each) for each in value]
    return value


def configure(level: str, form: str) -> Any:
    """Set logging up for this process, once; returns the root logger. `form` is "json" or "text"."""
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
            masked,
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
