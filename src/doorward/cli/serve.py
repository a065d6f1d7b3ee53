"""`doorward serve`: run the gateway in the foreground."""

from __future__ import annotations

import gc
from pathlib import Path

import uvloop

from doorward import config as configuration
from doorward.app import Gateway


def serve(*, config: Path = Path("doorward.toml")) -> int:
    """Run the gateway until SIGTERM (which drains) or SIGINT. SIGHUP reads the policies again.

    Parameters
    ----------
    config
        The configuration file; `doorward init` writes a first one.
    """
    settings = configuration.load(config)
    uvloop.run(Gateway(settings).run(_settle_memory))
    return 0


def _settle_memory(_: Gateway) -> None:
    """What exists now lives as long as the process: the collector need not look at it again, nor at every short burst."""
    gc.collect()
    gc.freeze()
    gc.set_threshold(20_000, 20, 50)
