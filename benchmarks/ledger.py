"""The ledger's figures: how fast events are folded into the log, and how long a large log takes to verify.

    python -m benchmarks.ledger seal --seconds 20            events folded a second, alone on this machine
    python -m benchmarks.ledger verify --leaves 1000000      seconds and memory that `doorward verify` takes

`seal` is the whole path: write-ahead log on a real disk, tree, tiles, checkpoint, store. docs/performance.md has the results.
"""

from __future__ import annotations

import argparse
import asyncio
import resource
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from hashlib import sha256
from pathlib import Path

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from doorward.adapters.blobs.files import LocalKeyFiles, LocalLogFiles, LocalRecordingFiles, LocalWalFiles
from doorward.adapters.clock import SystemClock
from doorward.adapters.store.sql import SqlStore
from doorward.errors import UpstreamError
from doorward.guard.recorder import Recorder
from doorward.ledger import leaf, tiles
from doorward.ledger.checkpoint import NoteSigner, sign_checkpoint
from doorward.ledger.tree import leaf_hash
from doorward.masking.detect import Detectors

SIGNER = NoteSigner("doorward.example/log", Ed25519PrivateKey.from_private_bytes(bytes(range(32))))
STEP = 65_536
MINUTE = 60_000


def write_log(directory: Path, leaves: int, told: Callable[[int], None] = lambda done: None) -> None:
    """A log of a gateway that did nothing but beat, below `directory`."""
    log, boot, last, size = directory / "log", "00000000000000a1", leaf.FIRST, 0
    log.mkdir(parents=True)

    def read(path: str) -> bytes:
        return (log / path).read_bytes()

    while size < leaves:
        entries = []
        for seq in range(size, min(size + STEP, leaves)):
            commitment = sha256(b"%d" % seq).digest()
            entry = leaf.build(
                "log.beat",
                gateway="gw-1",
                boot=boot,
                seq=seq,
                prev=last,
                at=1_800_000_000_000 + seq,
                commitment=commitment,
            )
            last = leaf_hash(entry)
            entries.append(entry)
        size, root, written = tiles.grow(size, entries, read)
        for path, octets in written.items():
            (log / path).parent.mkdir(parents=True, exist_ok=True)
            (log / path).write_bytes(octets)
        told(size)
    (log / "checkpoint").write_bytes(sign_checkpoint(SIGNER.name, size, root, [SIGNER]))
    (log / "vkey").write_text(SIGNER.vkey + "\n")


def verify(leaves: int) -> None:
    with tempfile.TemporaryDirectory() as folder:
        write_log(Path(folder), leaves, lambda done: print(f"\r{done:,} leaves written", end="", file=sys.stderr))
        print(file=sys.stderr)
        began = time.monotonic()
        done = subprocess.run(
            [sys.executable, "-m", "doorward", "verify", folder, "--vkey", SIGNER.vkey],
            check=False,
            capture_output=True,
            text=True,
        )
        took = time.monotonic() - began
        used = resource.getrusage(resource.RUSAGE_CHILDREN)
        print(done.stdout.splitlines()[-1] if done.stdout else done.stderr)
        print(
            f"{leaves:,} leaves: {took:.1f} s, {used.ru_utime + used.ru_stime:.1f} s of CPU, {used.ru_maxrss / 1024:.0f} MiB"
        )


async def seal(seconds: float, rate: int) -> None:
    with tempfile.TemporaryDirectory() as folder:
        data = Path(folder)
        store = SqlStore(data / "store.sqlite")
        await store.open()
        recorder = Recorder(
            clock=SystemClock(), store=store, wal=[LocalWalFiles(data)], recordings=LocalRecordingFiles(data),
            log=LocalLogFiles(data), keys=LocalKeyFiles(data), detectors=Detectors(), gateway="gw-1", origin=SIGNER.name,
        )  # fmt: skip
        await recorder.start()
        body = {
            "operation": "01a20748-05e8-707b-b5cd-49c85c9097bf",
            "text": "UPDATE orders SET state = $1 WHERE id = $2",
            "rows": 1,
        }
        said = 0
        async with asyncio.TaskGroup() as group:
            running = group.create_task(recorder.run())
            began = time.monotonic()
            while (now := time.monotonic() - began) < seconds:
                while said < now * rate:
                    try:
                        recorder.append_event("operation.permitted", {**body, "effect": "read"})
                    except UpstreamError:
                        break
                    said += 1
                await asyncio.sleep(0.005)
            running.cancel()
        folded, took, backlog = recorder.sequencer.folded, time.monotonic() - began, recorder.backlog
        await recorder.stop()
        await store.close()
        used = resource.getrusage(resource.RUSAGE_SELF)
        print(
            f"{said / took:,.0f} events/s offered, {folded / took:,.0f}/s folded over {took:.0f} s; {backlog / 1024:,.0f} KiB "
            f"waited at the end; {(used.ru_utime + used.ru_stime) / took:.2f} cores, {used.ru_maxrss / 1024:.0f} MiB"
        )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    commands = parser.add_subparsers(dest="command", required=True)
    sealing = commands.add_parser("seal")
    sealing.add_argument("--seconds", type=float, default=20)
    sealing.add_argument("--rate", type=int, default=5000)
    verifying = commands.add_parser("verify")
    verifying.add_argument("--leaves", type=int, default=1_000_000)
    said = parser.parse_args()
    if said.command == "seal":
        asyncio.run(seal(said.seconds, said.rate))
    else:
        verify(said.leaves)


if __name__ == "__main__":
    main()
