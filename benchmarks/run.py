"""`make bench`: what a transaction, a million rows and an idle connection cost through Doorward, beside what else there is.

Contract: everything is measured in one run on one machine, in rounds that alternate between the contenders, so that a
slow minute of the machine hits all of them; the tables show medians and, in brackets, the spread from the least to the
most. CPU is that of the process in between, all its threads and children, from /proc. Results go to
benchmarks/results/*.json, which keeps every sample, and into docs/performance.md.

What it deliberately does not do: measure a network. On two cores client, server and contender fight for the same CPU,
so throughput says little; CPU per transaction is the figure that carries over to another machine.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import os
import platform
import re
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

from benchmarks import people, processes, report, wire
from benchmarks.contenders import Contender, Doorward, Pooler, Relay
from tests.rig import postgres, shared
from tests.rig.issuer import LocalIssuer

ROOT = Path(__file__).resolve().parent.parent
ROWS = 1_000_000
# Six columns of a kind that people have; `card` is the one that is masked where the contender says so.
SAMPLE = f"""
create table wide as select n as id, 'customer ' || n as name, 'street ' || n % 1000 as street, n % 97 as region,
  '4000' || lpad((n::bigint * 7919 % 100000000000)::text, 12, '0') as card, date '2026-01-01' + n % 365 as day
from generate_series(1, {ROWS}) as n
"""
READ = "select * from wide"
# Of so many in a hundred cells of six text columns a detector finds something.
HITS = (0, 1, 50)


@dataclass(frozen=True, slots=True)
class Sample:
    """One measurement. `case` names what was done; a figure that does not apply is 0."""

    contender: str
    case: str
    round: int
    transactions_per_second: float = 0
    latency_ms: float = 0
    cpu_us_per_transaction: float = 0
    seconds: float = 0
    bytes: int = 0
    cpu_seconds: float = 0
    memory_bytes: int = 0
    memory_bytes_per_connection: float = 0


def pgbench(contender: Contender, mode: str, clients: int, seconds: int, number: int, postmaster: int) -> Sample:
    """pgbench -S for some seconds, with a core for the contender alone."""
    contender.refresh()
    before = processes.cpu_seconds(contender.pid) if contender.pid else 0.0
    with processes.apart(contender.pid, postmaster):
        done = subprocess.run(
            [
                *("pgbench", "-n", "-S", "-M", mode, "-c", str(clients), "-j", "1", "-T", str(seconds)),
                *("-h", "127.0.0.1", "-p", str(contender.port), "-U", contender.user, contender.database),
            ],
            env={**os.environ, "PGPASSWORD": contender.password, "PGSSLMODE": "disable", "PGGSSENCMODE": "disable"},
            capture_output=True,
            text=True,
            check=False,
        )
    if done.returncode or "number of failed transactions: 0 " not in done.stdout:
        raise RuntimeError(f"pgbench through {contender.name}: {done.stdout}{done.stderr}")
    used = processes.cpu_seconds(contender.pid) - before if contender.pid else 0.0
    count = int(_figure(r"transactions actually processed: (\d+)", done.stdout))
    return Sample(
        contender.name,
        f"{mode}, {clients} client{'s' * (clients > 1)}",
        number,
        transactions_per_second=_figure(r"tps = ([\d.]+)", done.stdout),
        latency_ms=_figure(r"latency average = ([\d.]+) ms", done.stdout),
        cpu_us_per_transaction=used / count * 1e6,
        memory_bytes=processes.resident_bytes(contender.pid) if contender.pid else 0,
    )


def _figure(pattern: str, text: str) -> float:
    found = re.search(pattern, text)
    if found is None:
        raise RuntimeError(f"pgbench said nothing like {pattern}: {text}")
    return float(found[1])


def bulk(contender: Contender, number: int, case: str = "1,000,000 rows", query: str = READ) -> Sample:
    """Read a million rows. Memory: the most that was resident meanwhile, over what was before."""
    contender.refresh()
    client = wire.connect(contender.port, contender.user, contender.password, contender.database)
    with client:
        before = processes.cpu_seconds(contender.pid) if contender.pid else 0.0
        idle = processes.forget_peak(contender.pid) if contender.pid else 0
        seconds, size = wire.drain(client, query)
        used = processes.cpu_seconds(contender.pid) - before if contender.pid else 0.0
    memory = processes.peak_bytes(contender.pid) - idle if contender.pid else 0
    return Sample(contender.name, case, number, seconds=seconds, bytes=size, cpu_seconds=used, memory_bytes=memory)


def idle(contender: Contender, count: int) -> Sample:
    """Open `count` connections, run one statement in each, and let them be."""
    contender.refresh()
    before = processes.resident_bytes(contender.pid)
    clients = []
    try:
        for _ in range(count):
            clients.append(wire.connect(contender.port, contender.user, contender.password, contender.database))
            wire.drain(clients[-1], "select 1")
        time.sleep(1)
        after = processes.resident_bytes(contender.pid)
    finally:
        for client in clients:
            client.close()
    each = (after - before) / count
    return Sample(
        contender.name, f"{count} idle connections", 0, memory_bytes=after, memory_bytes_per_connection=each
    )


def versions(server: postgres.PostgresServer, compiled: Path | None) -> dict[str, str]:
    """What was measured, on what."""
    model = re.search(r"model name\s*: (.*)", Path("/proc/cpuinfo").read_text())
    modules = sorted(path.name.partition(".")[0] for path in compiled.glob("doorward/**/*.so")) if compiled else []
    with server.connect(dbname="postgres") as connection:
        row = connection.execute("show server_version").fetchone()
    return {
        "machine": f"{os.cpu_count()} x {model[1] if model else platform.machine()}, Linux {platform.release()}",
        "Python": platform.python_version(),
        "PostgreSQL": str(row[0]) if row else "",
        "pgbouncer": _first_line("pgbouncer", "-V"),
        "haproxy": _first_line("haproxy", "-v"),
        "compiled by mypyc": ", ".join(modules) or "nothing",
        "commit": _first_line("git", "rev-parse", "--short", "HEAD"),
    }


def _first_line(*command: str) -> str:
    path = os.environ.get("PATH", os.defpath) + ":/usr/sbin"
    done = subprocess.run(command, cwd=ROOT, env={**os.environ, "PATH": path}, capture_output=True, text=True, check=False)
    return (done.stdout.splitlines() or ["?"])[0].strip()


def compiled_copy() -> Path | None:
    """A copy of the package with its hot modules compiled, made anew; None without a C compiler."""
    into = ROOT / ".cache/compiled"
    into.mkdir(parents=True, exist_ok=True)
    done = subprocess.run([sys.executable, "scripts/compile.py", "--into", into], cwd=ROOT, stdout=sys.stderr, check=False)
    return into if done.returncode == 0 else None


def contenders(
    server: postgres.PostgresServer, folder: Path, issuer: LocalIssuer, compiled: Path | None
) -> list[Contender]:
    """Everything that is measured, in the order of the tables."""
    # Labelled on every target: that a statement must be traced is part of the price, also where it touches no label.
    labels = {"public.wide.card": "card"}
    return [
        Contender("direct", server, folder / "direct"),
        Relay("haproxy", server, folder / "haproxy"),
        Pooler("pgbouncer", server, folder / "pgbouncer"),
        Doorward(
            "Doorward, batched", server, folder / "batched", issuer=issuer, compiled=compiled,
            target={"durability": "batched", "labels": labels},
        ),
        Doorward(
            "Doorward, record first", server, folder / "first", issuer=issuer, compiled=compiled, target={"labels": labels},
        ),
        Doorward(
            "Doorward, labels only", server, folder / "labels", issuer=issuer, compiled=compiled,
            target={"durability": "batched", "labels": labels, "detect": False},
        ),
        Doorward(
            "Doorward, interpreted", server, folder / "interpreted", issuer=issuer,
            target={"durability": "batched", "labels": labels},
        ),
    ]  # fmt: skip


def main(arguments: Sequence[str] | None = None) -> int:
    """Measure and write. Exit code 0 when everything could be measured."""
    options = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    options.add_argument("--seconds", type=int, default=5, help="of each pgbench run")
    options.add_argument("--rounds", type=int, default=3)
    options.add_argument("--clients", type=int, nargs="+", default=[1, 8, 32])
    options.add_argument("--idle", type=int, default=500, help="idle connections")
    options.add_argument("--only", nargs="+", help="names of contenders, or the beginnings of names")
    options.add_argument("--no-bulk", action="store_true")
    options.add_argument("--interpreted", action="store_true", help="do not compile the hot modules")
    options.add_argument("--write", action="store_true", help="also into docs/performance.md")
    chosen = options.parse_args(arguments)
    shared.begin()
    issuer = LocalIssuer()
    try:
        with tempfile.TemporaryDirectory(prefix="doorward-bench-") as temporary:
            os.chmod(temporary, 0o755)  # noqa: S103  pgbouncer runs as another user and reads its file there
            result = measure(chosen, Path(temporary), issuer)
    finally:
        issuer.down()
        shared.finish()
    folder = ROOT / "benchmarks/results"
    folder.mkdir(exist_ok=True)
    path = folder / f"{time.strftime('%Y-%m-%d-%H%M', time.gmtime())}.json"
    path.write_text(json.dumps(result, indent=1) + "\n")
    page = report.page(result)
    if chosen.write:
        (ROOT / "docs/performance.md").write_text(page)
    sys.stdout.write(page + f"\n{path.relative_to(ROOT)}\n")
    return 0


def measure(chosen: argparse.Namespace, folder: Path, issuer: LocalIssuer) -> report.Result:
    """Run all rounds."""
    binaries = postgres.system_binaries()
    if binaries is None:
        raise SystemExit("missing: PostgreSQL (on Debian: apt install postgresql)")
    own = shared.folder() / "bench"
    own.mkdir(mode=0o711)
    settings = {"log_statement": "none", "shared_buffers": "256MB", "max_connections": str(2 * chosen.idle + 100)}
    server = postgres.start("bench", binaries, own, tls=False, settings=settings)
    with server.connect(dbname="postgres") as connection:
        connection.execute("create database bench")
        postmaster = processes.parent(connection.info.backend_pid)
    subprocess.run(["pgbench", "-i", "-q", "-s", "10", server.dsn(dbname="bench")], check=True, capture_output=True)
    with server.connect(dbname="bench") as connection:
        if not chosen.no_bulk:
            connection.execute(SAMPLE)
            connection.execute("vacuum analyze wide")
            people.plant(connection, ROWS, HITS)
    compiled = None if chosen.interpreted else compiled_copy()
    wanted = contenders(server, folder, issuer, compiled)
    if chosen.only:
        wanted = [each for each in wanted if any(each.name.startswith(name) for name in chosen.only)]
    samples: list[Sample] = []

    def take(sample: Sample) -> None:
        samples.append(sample)
        sys.stderr.write(f"{sample.contender}: {report.brief(asdict(sample))}\n")

    with contextlib.ExitStack() as stack:
        for each in wanted:
            stack.enter_context(each.running())
        for number in range(chosen.rounds):
            order = wanted if number % 2 == 0 else wanted[::-1]  # nobody always runs after the same neighbour
            for mode in ("simple", "prepared"):
                for clients in chosen.clients:
                    for each in order:
                        take(pgbench(each, mode, clients, chosen.seconds, number, postmaster))
            for each in order if not chosen.no_bulk else ():
                take(bulk(each, number))
            for rate in HITS if not chosen.no_bulk else ():
                for each in order:
                    take(bulk(each, number, people.case(rate), people.query(rate)))
        for each in wanted:
            if each.pid and chosen.idle:
                take(idle(each, chosen.idle))
    return {"versions": versions(server, compiled), "samples": [asdict(sample) for sample in samples], "rounds": chosen.rounds}


if __name__ == "__main__":
    sys.exit(main())
