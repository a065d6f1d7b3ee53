"""The test suites of asyncpg and SQLAlchemy, as their authors publish them, made to run against any endpoint.

Contract: `fetch` brings a suite's source distribution through pip into .cache/conformance (never into the repository)
in exactly the version that is installed; `run` runs it against an `Endpoint` in a process of its own and returns
{test id: (outcome, message)}. The suites are not changed: what they need to find their server is passed in their own
settings.
"""

from __future__ import annotations

import importlib.metadata
import json
import os
import re
import shutil
import subprocess
import sys
import tarfile
import time
import urllib.parse
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
CACHE = ROOT / ".cache/conformance"

Outcomes = dict[str, tuple[str, str]]


@dataclass(frozen=True, slots=True)
class Endpoint:
    """Where a PostgreSQL, or what looks like one, is."""

    host: str
    port: int
    user: str
    password: str
    database: str
    ca: str = ""


@dataclass(frozen=True, slots=True)
class Suite:
    """One project's suite: `kept` are the folders of its sources that we unpack, `tests` what of it is run."""

    project: str
    kept: tuple[str, ...]
    tests: tuple[str, ...]
    options: tuple[str, ...]
    database: str
    prepare: tuple[str, ...]  # statements that its documentation asks for, in its database

    @property
    def version(self) -> str:
        """The version that is installed; the suite is of the same."""
        return importlib.metadata.version(self.project)

    @property
    def folder(self) -> Path:
        """Where its sources are unpacked."""
        return CACHE / f"{self.project}-{self.version}"

    def fetch(self) -> None:
        """Download and unpack, unless that has been done."""
        if self.folder.exists():
            return
        downloads = CACHE / "downloads"
        downloads.mkdir(parents=True, exist_ok=True)
        pinned = downloads / f"{self.project}.txt"
        pinned.write_text(_pin(self.project))
        subprocess.run(
            [
                *(sys.executable, "-m", "pip", "download", "--quiet", "--no-deps", "--require-hashes"),
                *("--no-binary", self.project, "-d", downloads, "-r", pinned),
            ],
            check=True,
        )
        (archive,) = downloads.glob(f"{self.project}-{self.version}.tar.gz")
        new = CACHE / "new"
        shutil.rmtree(new, ignore_errors=True)
        with tarfile.open(archive) as source:
            source.extractall(new, filter="data")
        (unpacked,) = new.iterdir()
        for entry in unpacked.iterdir():
            if entry.name not in self.kept:
                shutil.rmtree(entry) if entry.is_dir() else entry.unlink()
        unpacked.rename(self.folder)

    def run(self, endpoint: Endpoint, selection: Sequence[str] = (), *, limit: float = 3600) -> tuple[Outcomes, float]:
        """Outcomes, and seconds taken. `selection`: test ids, else all. RuntimeError after `limit` seconds."""
        answer = CACHE / f"outcomes-{os.getpid()}-{endpoint.port}.json"
        answer.unlink(missing_ok=True)
        command = [sys.executable, "-m", "pytest", "-p", "tests.conformance.outcomes", "-p", "no:cacheprovider", "-q"]
        command += ["--continue-on-collection-errors"]
        command += [*self.options, *(self._uri(endpoint)), *(self.selected(selection) or self.tests)]
        begun = time.monotonic()
        log = CACHE / f"{self.project}-{endpoint.port}.log"
        with log.open("wb") as sink:
            try:
                subprocess.run(
                    command,
                    cwd=self.folder,
                    env={**self._environment(endpoint), "DOORWARD_OUTCOMES": str(answer)},
                    stdin=subprocess.DEVNULL,
                    stdout=sink,
                    stderr=subprocess.STDOUT,
                    timeout=limit,
                    check=False,
                )
            except subprocess.TimeoutExpired:
                pass  # no answer file: told below
        if not answer.exists():
            raise RuntimeError(f"the suite of {self.project} did not finish; see {log.relative_to(ROOT)}")
        found: Mapping[str, Sequence[str]] = json.loads(answer.read_text())
        answer.unlink()
        return {name: (outcome, text) for name, (outcome, text) in found.items()}, time.monotonic() - begun

    def selected(self, selection: Sequence[str]) -> list[str]:
        """Ids as pytest takes them: SQLAlchemy names a class after its database when it has been collected."""
        if self.project != "sqlalchemy":
            return list(selection)
        return list(dict.fromkeys(re.sub(r"_postgresql\+\w+(::\w+).*", r"\1", test) for test in selection))

    def _uri(self, endpoint: Endpoint) -> list[str]:
        if self.project != "sqlalchemy":
            return []
        user, password = urllib.parse.quote(endpoint.user, safe=""), urllib.parse.quote(endpoint.password, safe="")
        place = f"{user}:{password}@{endpoint.host}:{endpoint.port}/{endpoint.database}"
        # asyncpg takes TLS from libpq's environment variables, as psycopg does.
        return [f"--dburi=postgresql+asyncpg://{place}", f"--dburi=postgresql+psycopg://{place}"]

    def _environment(self, endpoint: Endpoint) -> dict[str, str]:
        # safe_path: the folder of the suite must not shadow the installed library with its bare sources
        tls = {"PGSSLMODE": "verify-full", "PGSSLROOTCERT": endpoint.ca} if endpoint.ca else {"PGSSLMODE": "disable"}
        return {
            **{key: value for key, value in os.environ.items() if not key.startswith("PG")},
            "PGHOST": endpoint.host,
            "PGPORT": str(endpoint.port),
            "PGUSER": endpoint.user,
            "PGPASSWORD": endpoint.password,
            "PGDATABASE": endpoint.database,
            **tls,
            "PYTHONPATH": str(ROOT),
            "PYTHONSAFEPATH": "1",
        }


def _pin(project: str) -> str:
    """What requirements/dev.txt says about one project, hashes included."""
    lines = iter((ROOT / "requirements/dev.txt").read_text().splitlines())
    for line in lines:
        name = line.partition("==")[0].partition("[")[0]
        if name == project:
            pinned = [project + "==" + line.partition("==")[2]]
            while pinned[-1].endswith("\\"):
                pinned.append(next(lines))
            return "\n".join(pinned) + "\n"
    raise LookupError(f"requirements/dev.txt does not pin {project}")


ASYNCPG = Suite(
    project="asyncpg",
    kept=("tests", "pyproject.toml"),
    # Left out: test__sourcecode runs linters over asyncpg's own sources.
    tests=("tests", "--ignore=tests/test__sourcecode.py"),
    options=(),
    database="postgres",  # some of its tests connect to it by this name
    prepare=(),
)
SQLALCHEMY = Suite(
    project="sqlalchemy",
    kept=("test", "lib", "setup.cfg", "pyproject.toml"),
    tests=("test/dialect/postgresql", "test/dialect/test_suite.py"),
    options=("--maxfail=100000",),
    database="test",
    prepare=(
        "create schema test_schema",
        "create schema test_schema_2",
        "create extension hstore",
        "create extension citext",
        'create collation "en_US" from "C"',  # some systems have it, by their locales
    ),
)
SUITES = (ASYNCPG, SQLALCHEMY)
