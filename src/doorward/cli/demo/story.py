"""The demonstration's story, each step of which looks for itself whether what it says came true.

Contract: `tell` runs every step against the stage and raises UntrueError at the first that did not do what it says. Real
clients do what an agent and a person would do: psql and psycopg through the gateway, and the `doorward` command. Only what
is compared with the truth is asked of the database directly.
"""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import threading
import time
import zipfile
from collections.abc import Callable

import psycopg

from doorward.cli.demo.shown import Screen, UntrueError
from doorward.cli.demo.stage import AGENT, APPROVER, KEY, Stage

SELECT = "select id, name, email, card, ssn, reverse(ssn) as trick from customers order by id limit 3"
DELETE = "delete from orders where state = %s"
STATE = "cancelled"
_PATIENCE = 30.0


def tell(stage: Stage, screen: Screen) -> None:
    """The whole story."""
    screen.step("An agent reads, and does not see what it must not")
    _read(stage, screen)
    screen.step("The agent wants to delete: that waits for a person")
    deletion = Deletion(stage)
    request = _ask(stage, screen, deletion)
    screen.step(f"A person decides: {APPROVER} looks at exactly what would run, and approves")
    _approve(stage, screen, request)
    screen.step("Only now does it run, once")
    _done(stage, screen, deletion)
    screen.step("Anybody can check the record, offline, with the public key")
    _verify(stage, screen)
    screen.step("And nobody can change it unnoticed: one bit of one byte is flipped, in a copy")
    _tamper(stage, screen)
    screen.step("An auditor gets a pack of all that, and checks it alone: without Doorward, with the public key")
    _pack(stage, screen)


def _read(stage: Stage, screen: Screen) -> None:
    answer = _psql(stage, screen) if shutil.which("psql") else _psycopg(stage, screen)
    truth = stage.shop.query("select name, email, card, ssn, reverse(ssn) from customers order by id limit 3")
    screen.check(all(row[0] in answer for row in truth), "the three names came through", answer)
    leaked = [value for row in truth for value in row[1:] if value in answer]
    screen.check(
        not leaked, f"not one of the {len(truth) * 4} addresses, cards and numbers did, backwards or forwards", answer
    )


def _psql(stage: Stage, screen: Screen) -> str:
    keywords = " ".join(f"{name}={value}" for name, value in stage.connection().items())
    screen.ran(AGENT, f'PGPASSWORD=$(cat tokens/{AGENT}) psql "{keywords}" -c "{SELECT}"')
    done = subprocess.run(
        ["psql", "-X", keywords, "-P", "pager=off", "-c", SELECT], cwd=stage.folder, stdin=subprocess.DEVNULL,
        capture_output=True, text=True, timeout=_PATIENCE, check=False,
        env={**_plain(), "PGPASSWORD": stage.token(AGENT)},
    )  # fmt: skip
    screen.output(done.stdout + done.stderr)
    screen.check(done.returncode == 0, "psql, unmodified, over verified TLS, its password an identity token")
    return done.stdout


def _psycopg(stage: Stage, screen: Screen) -> str:
    screen.ran(AGENT, f'python: connection.execute("{SELECT}")')
    with connect(stage) as connection:
        rows = connection.execute(SELECT).fetchall()
    answer = "\n".join("  ".join(str(value) for value in row) for row in rows)
    screen.output(answer)
    screen.check(len(rows) == 3, "psycopg, unmodified, over verified TLS, its password an identity token")
    return answer


def _ask(stage: Stage, screen: Screen, deletion: Deletion) -> str:
    before = _orders(stage)
    screen.ran(AGENT, f'python: connection.execute("{DELETE}", ["{STATE}"])')
    deletion.start()
    request = wait_for(deletion.request, "the gateway's notice that the statement is held")
    screen.output("\n".join(deletion.notices), "yellow")
    screen.check(deletion.running, "the agent's driver waits as it would for a slow statement", deletion.said())
    screen.check(_orders(stage) == before, f"all {before} orders are still there: nothing has reached the database")
    own = stage.doorward("approvals", "approve", request, as_=AGENT)
    screen.ran(AGENT, f"doorward approvals approve {request}")
    screen.output(own.stdout + own.stderr)
    screen.check(own.returncode == 1 and deletion.running, "the agent cannot approve its own request")
    return request


def _approve(stage: Stage, screen: Screen, request: str) -> None:
    shown = _doorward(stage, screen, "approvals", "show", request)
    touched = int(stage.shop.query("select count(*) from orders where state = 'cancelled'")[0][0])
    request_as_json = json.loads(stage.doorward("approvals", "show", request, "--json", as_=APPROVER).stdout)
    expected = (request_as_json.get("preview") or {}).get("rows")
    screen.check(expected == touched, f"it would delete {touched} rows, and the request says so", shown)
    screen.says("A vote is signed. Dana registers her SSH key first, with proof that she has it.")
    _doorward(stage, screen, "keys", "add", KEY)
    signed = ("--key", KEY, "--comment", "agreed with support")
    said = _doorward(stage, screen, "approvals", "approve", request, *signed)
    screen.check("you sign" in said, "what is signed is this request and no other; six words say which", said)


def _done(stage: Stage, screen: Screen, deletion: Deletion) -> None:
    wait_for(lambda: not deletion.running, "the end of the agent's statement")
    screen.output(deletion.said())
    gone = int(stage.shop.query("select count(*) from orders where state = 'cancelled'")[0][0])
    screen.check(deletion.rows > 0 and not deletion.error, f"{deletion.rows} rows deleted", deletion.said())
    screen.check(gone == 0, f"the database has {_orders(stage)} orders left, and no cancelled one")


def _verify(stage: Stage, screen: Screen) -> None:
    # The last second's events are in the log before it is looked at when the gateway has stopped in good order.
    stage.gateway.stop()
    done = stage.doorward("verify", "data")
    screen.ran("anybody", "doorward verify data")
    screen.output(done.stdout + done.stderr)
    screen.check(done.returncode == 0, "exit code 0: sound", stage.gateway.log_tail())


def _tamper(stage: Stage, screen: Screen) -> None:
    copy = stage.folder / "copy"
    shutil.copytree(stage.data, copy, ignore=shutil.ignore_patterns("keys", "vault*", "store*", "*.lock"))
    recordings = sorted(copy.glob("recordings/**/*.dwr"), key=lambda path: path.stat().st_size)
    victim = recordings[-1]
    octets = bytearray(victim.read_bytes())
    place = len(octets) // 2
    octets[place] ^= 1
    victim.write_bytes(octets)
    name = victim.relative_to(copy)
    screen.says(f"byte {place} of {name}")
    done = stage.doorward("verify", "copy")
    screen.ran("anybody", "doorward verify copy")
    screen.output(done.stdout + done.stderr)
    screen.check(
        done.returncode == 1 and str(name) in done.stdout, "exit code 1: broken, and it says where", done.stdout
    )


def _pack(stage: Stage, screen: Screen) -> None:
    words = ("evidence", "pack", "data", "--no-pdf")  # setting its pages takes longer than the rest of the story
    done = stage.doorward(*words)
    screen.ran("anybody who may read the data directory", f"doorward {' '.join(words)}")
    screen.output(done.stdout + done.stderr)
    packs = sorted(stage.folder.glob("pack-*.zip"))
    screen.check(done.returncode == 0 and len(packs) == 1, "one file holds every population, and what it takes to check them")
    away = stage.folder / "auditor"
    away.mkdir()
    pack = shutil.copy(packs[0], away)
    with zipfile.ZipFile(pack) as archive:
        program = next(name for name in archive.namelist() if name.endswith("/verify/doorward_verify.py"))
        (away / "doorward_verify.py").write_bytes(archive.read(program))
    shutil.copy(stage.data / "log" / "vkey", away / "vkey")
    screen.ran("the auditor", f"python doorward_verify.py {packs[0].name} --trust vkey")
    found = subprocess.run(
        [sys.executable, "-I", "doorward_verify.py", packs[0].name, "--trust", "vkey"], cwd=away, stdin=subprocess.DEVNULL,
        capture_output=True, text=True, timeout=_PATIENCE, check=False,
    )  # fmt: skip
    screen.output(found.stdout + found.stderr)
    screen.check(
        found.returncode == 0, "exit code 0: sound, says a program that shares nothing with Doorward but its specification",
        found.stdout + found.stderr,
    )  # fmt: skip


def _doorward(stage: Stage, screen: Screen, *arguments: str) -> str:
    screen.ran(APPROVER, "doorward " + " ".join(f'"{a}"' if " " in a else a for a in arguments))
    done = stage.doorward(*arguments, as_=APPROVER)
    screen.output(done.stdout + done.stderr)
    if done.returncode != 0:
        raise UntrueError(f"doorward {arguments[0]} {arguments[1]} ended with {done.returncode}")
    return done.stdout


def _orders(stage: Stage) -> int:
    return int(stage.shop.query("select count(*) from orders")[0][0])


class Deletion:
    """The agent's DELETE, in a thread, for it waits."""

    def __init__(self, stage: Stage) -> None:
        self._stage = stage
        self._thread = threading.Thread(target=self._run, name=AGENT, daemon=True)
        self.notices: list[str] = []
        self.error = ""
        self.rows = -1

    def start(self) -> None:
        """Send it."""
        self._thread.start()

    @property
    def running(self) -> bool:
        """Whether it still waits."""
        return self._thread.is_alive()

    def request(self) -> str:
        """The id of the request for approval, once the gateway has said it. Raises UntrueError if it ended first."""
        for notice in self.notices:
            words = notice.split()
            if "request" in words:
                return words[words.index("request") + 1]
        if not self.running:
            raise UntrueError(f"the statement was not held: {self.said()}")
        return ""

    def said(self) -> str:
        """How it ended."""
        return self.error or f"DELETE {self.rows}"

    def _run(self) -> None:
        try:
            with connect(self._stage) as connection:
                connection.add_notice_handler(self._notice)
                self.rows = connection.execute(DELETE, [STATE]).rowcount
        except psycopg.Error as error:
            self.error = str(error)

    def _notice(self, notice: psycopg.errors.Diagnostic) -> None:
        self.notices.append(f"{notice.severity}: {notice.message_primary}")


def connect(stage: Stage) -> psycopg.Connection:
    """The agent, through the gateway."""
    keywords = {**stage.connection(), "sslrootcert": str(stage.folder / stage.connection()["sslrootcert"])}
    return psycopg.connect(**keywords, password=stage.token(AGENT), autocommit=True)  # type: ignore[arg-type]


def wait_for(what: Callable[[], object], name: str) -> str:
    """The first true answer of `what`, as text. Raises UntrueError when none comes."""
    limit = time.monotonic() + _PATIENCE
    while True:
        if found := what():
            return str(found)
        if time.monotonic() > limit:
            raise UntrueError(f"waited {_PATIENCE:.0f} s for {name}")
        time.sleep(0.05)


def _plain() -> dict[str, str]:
    """The environment without what would tell libpq to go elsewhere."""
    return {name: value for name, value in os.environ.items() if not name.startswith("PG")}
