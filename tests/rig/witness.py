"""A real witness, `doorward witness serve`, in a process of its own, and the trust policy that names it."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

from doorward.adapters.blobs.witness import WitnessState
from tests.rig.gateway import ROOT


class WitnessProcess:
    """`start` may be called again: it keeps its folder and, once it has one, its port."""

    def __init__(self, folder: Path, name: str = "witness.example.org/1") -> None:
        self.folder, self.name = folder, name
        self.vkey = WitnessState(folder).cosigner(name).vkey
        self.port = 0
        self._process: subprocess.Popen[str] | None = None

    def start(self, *logs: str) -> WitnessProcess:
        """Witness these logs, by verifier key or file."""
        arguments = [part for log in logs for part in ("--log", log)]
        environment = {**os.environ, "PYTHONPATH": os.pathsep.join([str(ROOT / "src"), str(ROOT)])}
        self._process = subprocess.Popen(
            [sys.executable, "-m", "doorward", "witness", "serve", str(self.folder), "--port", str(self.port), *arguments],
            stdout=subprocess.PIPE, text=True, env=environment,
        )  # fmt: skip
        assert self._process.stdout is not None
        line = self._process.stdout.readline()
        if not line:
            raise RuntimeError("the witness did not start")
        self.port = json.loads(line)["port"]
        return self

    def stop(self) -> None:
        if self._process is not None:
            self._process.terminate()
            self._process.communicate(timeout=20)
            self._process = None

    @property
    def line(self) -> str:
        """Of a trust policy."""
        return f"witness w1 {self.vkey} http://127.0.0.1:{self.port}\n"
