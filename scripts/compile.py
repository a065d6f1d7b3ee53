"""Compile the modules that touch every byte, in place, where there is a C compiler.

    python scripts/compile.py [--into DIRECTORY] [--remove]

Each module is compiled on its own by mypyc into an extension next to its source (git-ignored), which Python then
prefers. Without this, or without a compiler, the same sources run interpreted. `--into` compiles a copy of the package
in another directory and leaves this one alone; `--remove` deletes the extensions. Exit status 2: no compiler, or it
failed; nothing is left half done.

A compiled module does not see later edits of its source: compile again, or remove.
"""

from __future__ import annotations

import argparse
import shutil
import subprocess
import sys
import sysconfig
import tempfile
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
SUFFIX: str = sysconfig.get_config_var("EXT_SUFFIX")
MODULES = ("doorward/protocols/postgres/redact.py",)


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.split("\n", 1)[0])
    parser.add_argument("--into", type=Path, help="compile a copy of the package below this directory")
    parser.add_argument("--remove", action="store_true", help="delete the compiled modules")
    arguments = parser.parse_args()
    source = ROOT / "src"
    if arguments.into is not None:
        into: Path = arguments.into.resolve()
        shutil.rmtree(into / "doorward", ignore_errors=True)
        shutil.copytree(source / "doorward", into / "doorward", ignore=shutil.ignore_patterns("*.so", "__pycache__"))
        source = into
    if arguments.remove:
        for module in MODULES:
            for extension in _extensions(source, module):
                extension.unlink()
        return 0
    with tempfile.TemporaryDirectory() as scratch:
        built: list[tuple[Path, Path]] = []
        for module in MODULES:
            library = Path(scratch) / Path(module).stem
            if not _compile(source, module, library):
                return 2
            built += [(extension, source / extension.relative_to(library)) for extension in library.rglob("*.so")]
        for extension, place in built:
            shutil.copyfile(extension, place.with_suffix(".new"))
            place.with_suffix(".new").replace(place)
            sys.stdout.write(f"compiled {place.relative_to(source)}\n")
    return 0


def _extensions(source: Path, module: str) -> list[Path]:
    """A module's extensions: itself, and mypyc's library behind it."""
    stem = Path(module).stem
    return [*(source / module).parent.glob(f"{stem}{SUFFIX}"), *(source / module).parent.glob(f"{stem}__mypyc{SUFFIX}")]


def _compile(source: Path, module: str, library: Path) -> bool:
    """Build one module into a library directory; mypyc wants to run where its import path begins."""
    library.mkdir()
    setup = library / "setup.py"
    options = [module, "--config-file", str(ROOT / "pyproject.toml")]
    setup.write_text(
        "from mypyc.build import mypycify\n"
        "from setuptools import setup\n"
        f"setup(name='compiled', packages=[], ext_modules=mypycify({options!r}, opt_level='3', target_dir={str(library)!r}))\n"
    )
    done = subprocess.run(
        [sys.executable, str(setup), "-q", "build_ext", "--build-lib", str(library), "--build-temp", str(library / "o")],
        cwd=source,
        capture_output=True,
        text=True,
        check=False,
    )
    extensions = list(library.rglob("*.so"))
    if done.returncode or not extensions:
        sys.stderr.write(f"{module} was not compiled:\n{done.stdout[-2000:]}{done.stderr[-2000:]}\n")
        return False
    return True


if __name__ == "__main__":
    raise SystemExit(main())
