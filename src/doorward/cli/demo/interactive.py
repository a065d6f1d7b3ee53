"""What to paste while the demonstration is left running."""

from __future__ import annotations

import shutil
import sys
from pathlib import Path

from doorward.cli.demo.shown import Screen
from doorward.cli.demo.stage import AGENT, APPROVER, KEY, Stage


def lines(stage: Stage, screen: Screen) -> None:
    """Print them."""
    doorward = Path(sys.executable).with_name("doorward")
    keywords = " ".join(f"{name}={value}" for name, value in stage.connection().items())
    screen.line()
    screen.line(f"In another terminal, as the agent {AGENT}: its password is its identity token", "bold")
    screen.line()
    screen.line(f"cd {stage.folder}")
    if shutil.which("psql"):
        screen.line(f'PGPASSWORD=$(cat tokens/{AGENT}) psql "{keywords}"')
        screen.line("    select * from customers limit 3;", "dim")
        screen.line("    delete from orders where state = 'cancelled';    -- waits until somebody approves", "dim")
    else:
        code = f"import psycopg; c = psycopg.connect('{keywords}', autocommit=True)"
        screen.line(f'PGPASSWORD=$(cat tokens/{AGENT}) {sys.executable} -i -c "{code}"')
        screen.line("    c.execute('select * from customers limit 3').fetchall()", "dim")
        screen.line("    c.execute(\"delete from orders where state = 'cancelled'\")", "dim")
    screen.line()
    screen.line(f"In a browser, as {APPROVER}, who may approve: choose that name where it asks", "bold")
    screen.line()
    screen.line(f"http://localhost:{stage.http_port}/")
    screen.line()
    screen.line("Or in a third terminal", "bold")
    screen.line()
    screen.line(f"cd {stage.folder}")
    screen.line(f"alias doorward={doorward}")
    screen.line(f"export DOORWARD_TOKEN_FILE=tokens/{APPROVER}")
    screen.line("doorward approvals list")
    screen.line("doorward approvals show ID")
    screen.line(f"doorward keys add {KEY}")
    screen.line(f"doorward approvals approve ID --key {KEY}")
    screen.line()
    screen.line("# What happened", "dim")
    screen.line("doorward sessions list")
    screen.line("doorward sessions replay ID")
    screen.line("doorward verify data")
    screen.line(f"curl http://127.0.0.1:{stage.http_port}/metrics")
    screen.line()
    screen.line("Ctrl-C here ends everything and cleans up.", "bold")
