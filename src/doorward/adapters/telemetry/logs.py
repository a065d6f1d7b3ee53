"""Structured logs on standard error: JSON for machines, or text for people. One line an event; no value of any data."""

from __future__ import annotations

import logging
import sys
from typing import Any

import structlog


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
