"""`doorward serve`: run the gateway in the foreground."""

from __future__ import annotations

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
    uvloop.run(Gateway(settings).run())
    return 0
