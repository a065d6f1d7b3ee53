"""`make soak`: a gateway under mixed load for a while; nothing may drift.

Contract: clients connect, read, write, are refused, drop dead in the middle, and come back, for `--seconds`. At the end the
gateway must have no more descriptors and threads than after the warm-up, must not have grown beyond `--growth` MiB, must have
answered every client, must end on SIGTERM, and its record must verify. Exit code 1 and one line for each that is not so.
"""

from __future__ import annotations

import argparse
import random
import sys
import tempfile
import threading
import time
from collections import Counter
from collections.abc import Callable, Sequence
from pathlib import Path

import psycopg

from benchmarks import processes
from tests.rig import gateway, postgres, shared
from tests.rig.issuer import LocalIssuer

READ_AND_WRITE = """
@id("most") permit (principal, action in [Action::"connect", Action::"read", Action::"write", Action::"execute"], resource);
@id("settings") permit (principal, action == Action::"control", resource);
"""
LABELS = {"public.customers.ssn": "ssn", "public.customers.card": "card"}
CLIENTS = 12


def read(connection: psycopg.Connection) -> None:
    """A read whose labelled columns come back masked."""
    rows = connection.execute("select name, ssn, card from customers limit 20").fetchall()
    if any(ssn != "[ssn]" for _name, ssn, _card in rows):
        raise AssertionError(f"a value came through unmasked: {rows}")


def write(connection: psycopg.Connection) -> None:
    """A transaction that is rolled back half of the time."""
    with connection.transaction(force_rollback=random.random() < 0.5):  # noqa: S311  not a secret
        connection.execute("update products set stock = stock + 1 where id = %s", (random.randint(1, 8),))  # noqa: S311


def forbidden(connection: psycopg.Connection) -> None:
    """A statement that policy refuses; the connection works afterwards."""
    try:
        connection.execute("create table never (a int)")
    except psycopg.Error:
        connection.execute("select 1")
        return
    raise AssertionError("a statement that no policy allows went through")


def copy(connection: psycopg.Connection) -> None:
    """COPY out of the server."""
    with connection.cursor() as cursor, cursor.copy("copy (select * from orders) to stdout") as rows:
        for _ in rows:
            pass


def vanish(connection: psycopg.Connection) -> None:
    """Go away in mid-statement, without a word."""
    connection.pgconn.send_query(b"select pg_sleep(0.2), * from orders")
    connection.close()


WORK: tuple[Callable[[psycopg.Connection], None], ...] = (read, read, read, write, forbidden, copy, vanish)


def client(door: gateway.Gateway, until: float, done: Counter[str], faults: list[str]) -> None:
    """One client: some statements in one connection, then another connection."""
    while time.monotonic() < until and not faults:
        try:
            with door.connect(sub=f"client-{random.randint(1, 5)}", groups=["agents"]) as connection:  # noqa: S311
                for _ in range(random.randint(1, 30)):  # noqa: S311
                    work = random.choice(WORK)  # noqa: S311
                    work(connection)
                    done[work.__name__] += 1
                    if connection.closed:
                        break
        except Exception as error:  # whatever it is, the run reports it and fails
            faults.append(f"{type(error).__name__}: {error}")


def footprint(pid: int) -> tuple[int, int, int]:
    """Descriptors, threads, resident bytes."""
    folder = Path(f"/proc/{pid}")
    descriptors = len(list((folder / "fd").iterdir()))
    return descriptors, len(list((folder / "task").iterdir())), processes.resident_bytes(pid)


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the load and say what drifted."""
    options = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    options.add_argument("--seconds", type=float, default=600)
    options.add_argument("--growth", type=float, default=64, help="MiB that it may grow after the warm-up")
    chosen = options.parse_args(arguments)
    binaries = postgres.system_binaries()
    if binaries is None:
        raise SystemExit("missing: PostgreSQL (on Debian: apt install postgresql)")
    shared.begin()
    issuer = LocalIssuer()
    faults: list[str] = []
    done: Counter[str] = Counter()
    try:
        own = shared.folder() / "soak"
        own.mkdir(mode=0o711)
        server = postgres.start("soak", binaries, own, tls=True, settings={"log_statement": "none"})
        with tempfile.TemporaryDirectory(prefix="doorward-soak-") as temporary, gateway.launch(
            Path(temporary) / "gateway", issuer, server, policy=READ_AND_WRITE, target={"labels": LABELS}
        ) as door:
            warm = _load(door, chosen.seconds / 5, done, faults)
            after = _load(door, chosen.seconds * 4 / 5, done, faults)
            for name, before, now in zip(("descriptors", "threads"), warm, after, strict=False):
                if now > before + 4:
                    faults.append(f"{name}: {before} after the warm-up, {now} at the end")
            grown = (after[2] - warm[2]) / (1 << 20)
            if grown > chosen.growth:
                faults.append(f"memory: it has grown by {grown:.0f} MiB after the warm-up")
            if (code := door.stop()) != 0:
                faults.append(f"it ended with {code}")
            if (verified := door.cli("verify")).returncode != 0:
                faults.append(f"verify: {verified.stdout}{verified.stderr}")
            sys.stdout.write(f"{dict(done)}; {warm[2] >> 20} MiB, then {after[2] >> 20} MiB\n")
    finally:
        issuer.down()
        shared.finish()
    sys.stdout.writelines(fault + "\n" for fault in faults[:20])
    return 1 if faults else 0


def _load(door: gateway.Gateway, seconds: float, done: Counter[str], faults: list[str]) -> tuple[int, int, int]:
    until = time.monotonic() + seconds
    clients = [threading.Thread(target=client, args=(door, until, done, faults)) for _ in range(CLIENTS)]
    for thread in clients:
        thread.start()
    for thread in clients:
        thread.join()
    time.sleep(2)  # what vanished has been noticed by then
    return footprint(door.pid)


if __name__ == "__main__":
    sys.exit(main())
