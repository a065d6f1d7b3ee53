"""Sees to the programs of the system that tests and benchmarks need, for `make`.

Contract: `python scripts/system.py test|bench` installs what is missing through apt where it may (as root, or through
sudo that asks no password), and else prints one line that names what is missing and how to get it. It always ends
with 0: a test that needs what is not there fails and says so itself.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
ISSUER = ROOT / "tests/e2e/issuer"


@dataclass(frozen=True, slots=True)
class Need:
    """One program: what for, whether it is there, and Debian's packages that bring it."""

    name: str
    present: Callable[[], bool]
    packages: tuple[str, ...]


def on_path(*programs: str) -> Callable[[], bool]:
    """Whether all of the programs are found, also where Debian keeps those of the administrator."""
    path = os.environ.get("PATH", os.defpath) + ":/usr/sbin:/sbin"
    return lambda: all(shutil.which(program, path=path) for program in programs)


def server_found() -> bool:
    """Whether a PostgreSQL server is there; Debian keeps it off the path."""
    return any(Path("/usr/lib/postgresql").glob("*/bin/initdb")) or on_path("postgres", "initdb")()


POSTGRES = Need("PostgreSQL", lambda: server_found() and on_path("psql", "pg_dump", "pgbench")(), ("postgresql",))
NODE = Need("Node.js with npm", on_path("node", "npm"), ("nodejs", "npm"))
CHROMIUM = Need("Chromium", on_path("chromium"), ("chromium",))
NEEDS = {
    "test": (POSTGRES, NODE, CHROMIUM),
    "bench": (
        POSTGRES,
        Need("pgbouncer", on_path("pgbouncer"), ("pgbouncer",)),
        Need("haproxy", on_path("haproxy"), ("haproxy",)),
    ),
}


def main(purpose: str) -> int:
    """Install or name what `purpose` needs."""
    missing = [need for need in NEEDS[purpose] if not need.present()]
    if missing and (prefix := apt()) is not None:
        install(prefix, [package for need in missing for package in need.packages])
        missing = [need for need in missing if not need.present()]
    if missing:
        names = ", ".join(need.name for need in missing)
        packages = " ".join(package for need in missing for package in need.packages)
        sys.stdout.write(f"missing: {names} (on Debian: apt install {packages}); what needs it will fail\n")
    if purpose == "test" and NODE.present():
        node_modules(ISSUER)
    return 0


def apt() -> list[str] | None:
    """How to call apt-get without asking anybody anything, or None."""
    if shutil.which("apt-get") is None:
        return None
    if os.geteuid() == 0:
        return ["env"]
    if shutil.which("sudo") is None:
        return None
    asked = subprocess.run(["sudo", "-n", "true"], stdin=subprocess.DEVNULL, capture_output=True, check=False)
    return ["sudo", "-n", "env"] if asked.returncode == 0 else None


def install(prefix: list[str], packages: Iterable[str]) -> None:
    """Install Debian packages. A failure is shown and not fatal: the caller looks again at what is there."""
    wanted = list(packages)
    sys.stdout.write(f"installing through apt: {' '.join(wanted)}\n")
    sys.stdout.flush()
    call = [*prefix, "DEBIAN_FRONTEND=noninteractive", "apt-get", "-o", "DPkg::Lock::Timeout=300", "-qq"]
    for command in ([*call, "update"], [*call, "install", "-y", "--no-install-recommends", *wanted]):
        done = subprocess.run(
            command, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, check=False
        )
        if done.returncode:
            sys.stdout.write(done.stdout)


def node_modules(folder: Path) -> None:
    """What package-lock.json pins, unless it is there already."""
    lock, installed = folder / "package-lock.json", folder / "node_modules/.package-lock.json"
    if not lock.exists() or (installed.exists() and installed.stat().st_mtime >= lock.stat().st_mtime):
        return
    sys.stdout.write(f"npm ci in {folder.relative_to(ROOT)}\n")
    sys.stdout.flush()
    done = subprocess.run(
        ["npm", "ci", "--no-audit", "--no-fund", "--ignore-scripts"],
        cwd=folder,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        check=False,
    )
    if done.returncode:
        sys.stdout.write(done.stdout + "npm ci failed: the tests of the OIDC issuer will fail\n")


if __name__ == "__main__":
    sys.exit(main(sys.argv[1]))
