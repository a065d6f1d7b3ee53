"""Compile the modules that touch every byte, in place, where there is a C compiler.

    python scripts/compile.py [--into DIRECTORY] [--quick] [--remove]

mypyc compiles them together, into extensions next to their sources (git-ignored), which Python then prefers. Without
this, or without a compiler, the same sources run interpreted, and the same tests pass over both. `--into` compiles a
copy of the package in another directory and leaves this one alone; `--quick` lets the C compiler optimise nothing, which
is enough for tests; `--remove` deletes the extensions. Exit status 2: no compiler, or it failed; nothing is left half
done.

A compiled module does not see later edits of its source: compile again, or remove.
"""

from __future__ import annotations

import argparse
import os
import shutil
import subprocess
import sys
import sysconfig
import tempfile
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
SUFFIX: str = sysconfig.get_config_var("EXT_SUFFIX")
# What a plain read passes through, in both directions; measured in docs/performance.md.
MODULES = (
    "doorward/adapters/clock.py",
    "doorward/guard/guard.py",
    "doorward/guard/recorder.py",
    "doorward/guard/session_recorder.py",
    "doorward/guard/template.py",
    "doorward/guard/turn.py",
    "doorward/guard/wal.py",
    "doorward/ledger/segment.py",
    "doorward/masking/detect.py",
    "doorward/masking/detectors/phone.py",
    "doorward/masking/plan.py",
    "doorward/masking/scan.py",
    "doorward/model/approval.py",
    "doorward/model/identity.py",
    "doorward/model/operation.py",
    "doorward/model/session.py",
    "doorward/model/target.py",
    "doorward/protocols/conversation.py",
    "doorward/protocols/postgres/answers.py",
    "doorward/protocols/postgres/cells.py",
    "doorward/protocols/postgres/conversation.py",
    "doorward/protocols/postgres/judge.py",
    "doorward/protocols/postgres/masks.py",
    "doorward/protocols/postgres/namespace.py",
    "doorward/protocols/postgres/normal.py",
    "doorward/protocols/postgres/pending.py",
    "doorward/protocols/postgres/plain.py",
    "doorward/protocols/postgres/redact.py",
    "doorward/protocols/postgres/wire.py",
    "doorward/server/door.py",
    "doorward/server/listener.py",
    "doorward/server/relay.py",
)


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.split("\n", 1)[0])
    parser.add_argument("--into", type=Path, help="compile a copy of the package below this directory")
    parser.add_argument("--quick", action="store_true", help="compile without optimisation, in half the time")
    parser.add_argument("--remove", action="store_true", help="delete the compiled modules")
    arguments = parser.parse_args()
    source = ROOT / "src"
    if arguments.into is not None:
        into: Path = arguments.into.resolve()
        shutil.rmtree(into / "doorward", ignore_errors=True)
        shutil.copytree(source / "doorward", into / "doorward", ignore=shutil.ignore_patterns("*.so", "__pycache__"))
        source = into
    remove(source)
    if arguments.remove:
        return 0
    with tempfile.TemporaryDirectory() as scratch:
        library = Path(scratch)
        if not build(source, library, quick=arguments.quick):
            return 2
        for extension in sorted(library.rglob(f"*{SUFFIX}")):
            place = source / extension.relative_to(library)
            shutil.copyfile(extension, place.with_suffix(".new"))
            place.with_suffix(".new").replace(place)
            sys.stdout.write(f"compiled {place.relative_to(source)}\n")
    return 0


def remove(source: Path) -> None:
    """Delete the extensions of an earlier build: each module's, and the library behind them."""
    for module in MODULES:
        (source / module).with_suffix("").with_name(Path(module).stem + SUFFIX).unlink(missing_ok=True)
    for shared in source.glob(f"*__mypyc{SUFFIX}"):
        shared.unlink()


def build(source: Path, library: Path, *, quick: bool = False) -> bool:
    """Build all modules into a library directory; mypyc wants to run where their import paths begin."""
    setup = library / "setup.py"
    options = [*MODULES, "--config-file", str(ROOT / "pyproject.toml")]
    # Looking for what to warn of in C that a program wrote takes gcc twice as long as compiling it.
    more = ["-Wno-all", "-Wno-sign-compare", *(["-g0"] if quick else [])]
    setup.write_text(
        "from mypyc.build import mypycify\n"
        "from setuptools import setup\n"
        f"modules = mypycify({options!r}, opt_level='{0 if quick else 3}', target_dir={str(library / 'c')!r})\n"
        "for module in modules:\n"
        f"    module.extra_compile_args += {more!r}\n"
        "setup(name='compiled', packages=[], ext_modules=modules)\n"
    )
    done = subprocess.run(
        [sys.executable, str(setup), "-q", "build_ext", "--build-lib", str(library), "--build-temp", str(library / "o")],
        cwd=source,
        env={**os.environ, "MYPYPATH": str(source)},
        capture_output=True,
        text=True,
        check=False,
    )
    if done.returncode or not list(library.rglob(f"*{SUFFIX}")):
        sys.stderr.write(f"nothing was compiled:\n{done.stdout[-2000:]}{done.stderr[-2000:]}\n")
        return False
    return True


if __name__ == "__main__":
    raise SystemExit(main())
