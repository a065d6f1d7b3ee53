"""`doorward witness`: a small process for another account, which cosigns a log as long as it only grows.

It needs nothing of a gateway but its log's verifier key: no configuration, no access, no secrets. What it keeps is in one
directory. Whoever runs it should be somebody whom the gateway's operators do not command.
"""

from __future__ import annotations

import asyncio
import json
import signal
import sys
import time
from pathlib import Path

from cyclopts import App

from doorward.adapters.blobs.witness import WitnessState
from doorward.cli.options import Json
from doorward.errors import ConfigError, IntegrityError
from doorward.ledger.checkpoint import NoteVerifier, parse_text, split_note
from doorward.ledger.trust import parse_policy
from doorward.web.serve import WebServer, bound
from doorward.web.witness import WitnessService, witness_application

app = App(name="witness", help="Run a witness, which cosigns a log as long as it only grows.")


@app.command(name="serve")
def serve_command(
    state: Path, /, *, log: list[str], name: str = "", address: str = "127.0.0.1", port: int = 7490,
    tls_cert: Path | None = None, tls_key: Path | None = None,
) -> int:  # fmt: skip
    """Run a witness until SIGTERM or SIGINT. On standard output, one JSON line for each answer that it gives.

    Parameters
    ----------
    state
        The directory that it keeps its key and the last checkpoints in. It is made, if it is not there.
    log
        Verifier keys of the logs to witness, as `doorward log status` shows them; a file of them, or a trust policy. May be
        given several times.
    name
        Its name, the first time: a URL without a scheme, as in witness.example.org/w1.
    address
        The address to listen on.
    port
        The port to listen on; 0 takes any free one.
    tls_cert
        Certificate chain (PEM) that is shown to clients. Without one it answers without TLS, which gives nothing away: all
        that is said is signed.
    tls_key
        Its private key (PEM).
    """
    logs = [verifier for each in log for verifier in _logs(each)]
    if (tls_cert is None) != (tls_key is None):
        raise ConfigError("--tls-cert and --tls-key come together", hint="give both, or neither")
    kept = WitnessState(state)
    kept.lock()
    try:
        cosigner = kept.cosigner(name)
        service = WitnessService(kept, cosigner, logs, lambda: time.time_ns() // 1_000_000, _say)
        web = WebServer(witness_application(service), bound(address, port), certificate=tls_cert, key=tls_key)
        _print(event="witness.started", vkey=cosigner.vkey, port=web.port, logs=[verifier.vkey for verifier in logs])
        asyncio.run(_run(web))
    finally:
        kept.unlock()
    return 0


@app.command(name="show")
def show_command(state: Path, /, *, name: str = "", as_json: Json = False) -> int:
    """Show a witness's verifier key, and what it cosigned last.

    Parameters
    ----------
    state
        The directory that it keeps its key and the last checkpoints in.
    name
        Its name, if it has none yet: its key is made then.
    """
    kept = WitnessState(state)
    cosigner = kept.cosigner(name)
    logs = []
    for path in sorted(state.glob("*/checkpoint")):
        note = kept.published(path.parent.name)
        if note is not None:
            try:
                origin, size, root = parse_text(split_note(note)[0])
            except IntegrityError as error:
                raise IntegrityError(f"{path}: {error.message}", spot=str(path)) from None
            logs.append({"origin": origin, "size": size, "root": root.hex()})
    if as_json:
        _print(name=cosigner.name, vkey=cosigner.vkey, logs=logs)
        return 0
    print(cosigner.vkey)
    for found in logs:
        print(f"  {found['origin']}: {found['size']:,} leaves, {found['root']}")
    return 0


async def _run(web: WebServer) -> None:
    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, web.stop)
    await web.run()


def _logs(said: str) -> list[NoteVerifier]:
    """The keys in a verifier key, a file of them, or a trust policy. ConfigError."""
    text = said
    if "+" not in said or Path(said).is_file():
        try:
            text = Path(said).read_text("utf-8")
        except (OSError, ValueError):
            raise ConfigError(
                f"--log: {said} is neither a verifier key nor a file of them",
                hint="give the line in log/vkey of the gateway",
            ) from None
    lines = [line for line in (line.strip() for line in text.splitlines()) if line and not line.startswith("#")]
    try:
        if any(line.startswith("quorum") for line in lines):
            found = [log.verifier for log in parse_policy(text.encode()).logs]
        else:
            found = [NoteVerifier(line) for line in lines]
    except IntegrityError as error:
        raise ConfigError(
            f"--log {said[:200]}: {error.message}", hint="give the line in log/vkey of the gateway"
        ) from None
    if not found:
        raise ConfigError(f"--log {said}: there is no log in it", hint="give the line in log/vkey of the gateway")
    return found


def _say(status: int, origin: str, said: str) -> None:
    if origin:  # what strangers send is not worth a line
        _print(
            event="checkpoint.cosigned" if status == 200 else "checkpoint.refused",
            status=status,
            origin=origin,
            said=said,
        )


def _print(**members: object) -> None:
    print(json.dumps(members), flush=True, file=sys.stdout)
