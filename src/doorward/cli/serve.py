"""`doorward serve`: run the gateway in the foreground."""

from __future__ import annotations

import ctypes
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
    _keep_freed_memory()
    uvloop.run(Gateway(settings).run(_settle_memory))
    return 0


# mallopt(3), glibc. The chunks of a bulk read are as large as what glibc gives back to the kernel at once: a sixth of the CPU
# of such a read was page faults.
_M_TRIM_THRESHOLD, _M_MMAP_THRESHOLD = -1, -3
_KEPT = 32 << 20  # bytes
_APART = 4 << 20


def _keep_freed_memory() -> None:
    """Let the allocator keep a bounded amount of freed memory for the next chunk."""
    mallopt = getattr(ctypes.CDLL(None), "mallopt", None)
    if mallopt is not None:  # another libc has no need of it
        mallopt(_M_TRIM_THRESHOLD, _KEPT)
        mallopt(_M_MMAP_THRESHOLD, _APART)


def _settle_memory(_: Gateway) -> None:
    """What exists now lives as long as the process: the collector need not look at it again, nor at every short burst."""
    gc.collect()
    gc.freeze()
    gc.set_threshold(20_000, 20, 50)
