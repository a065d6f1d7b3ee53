"""`doorward masking`: show that masking holds at a target, and keep the proof; what tokens stand for; where labels are.

channels   the ways by which a value could come out
client     a PostgreSQL client that keeps every byte it gets
vault      revealing and erasing tokens
labels     where labels have got to, and lifting them

`prove` has the gateway plant marked values in a scratch table, tries every channel through the gateway's front door as the
identity that it is given, and looks for the values, in every reversible spelling, in every byte that comes back. The report
goes on record with its digest. Exit code 0: nothing came out. 1: something did. 2: nothing was shown either way.
"""

from __future__ import annotations

import contextlib
import hashlib
import signal
import sys
import time
from collections import Counter
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from pathlib import Path
from types import FrameType
from typing import Annotated, Any, Final
from urllib.parse import urlsplit

from cyclopts import App, Parameter

from doorward import __version__
from doorward.cli.gateway import HERE, Connection, GatewayClient
from doorward.cli.masking.channels import CHANNELS, Channel
from doorward.cli.masking.client import BINARY, TEXT, Client, Door
from doorward.cli.masking.labels import copied, lift
from doorward.cli.masking.vault import forget, reveal, vault
from doorward.cli.output import RefusedError, console, failed, note, print_json, table, visible
from doorward.errors import ConfigError, DoorwardError, ProtocolError, UpstreamError
from doorward.ledger.encoding import canonical
from doorward.masking.canary import DETECTED, Canaries, marks, plain

EXPECTED: Final = "no labelled or detected value, in any spelling"
_NAMED: Final = 12  # sightings that one line names

app = App(
    name="masking",
    help="Show that masking holds at a target, and keep the proof; what tokens stand for; where labels have got to.",
)
for command in (reveal, forget, vault, copied, lift):
    app.command(command)


@app.command
def prove(
    target: str,
    /,
    *,
    as_token_file: Path | None = None,
    door: str = "",
    out: Path | None = None,
    wide: Annotated[bool, Parameter(negative="")] = False,
    as_json: Annotated[bool, Parameter(name="--json", negative="")] = False,
    connection: Connection = HERE,
) -> int:
    """Plant marked values at a target, try every channel through the gateway, and put the result on record.

    Needs `administer` on the target, and that the gateway's role may make schema doorward_canary there, which is taken away
    at the end; what an interrupted proof left behind, the next one takes away.

    Parameters
    ----------
    target
        The target, as clients name it.
    as_token_file
        A file with the token of the identity that tries, an agent's for example. Default: your own.
    door
        Where the gateway takes PostgreSQL clients, as host:port. Default: the host of its HTTP address, and the port it says.
    out
        Write the report there, as JSON, exactly as its digest is of.
    wide
        A line each, however narrow the terminal is.
    as_json
        Print the report.
    """
    with GatewayClient(connection) as gateway, _trier(connection, as_token_file) as trier:
        identity = trier.get("whoami")["id"]
        with _stoppable():
            began = gateway.post("targets", target, "proofs", body={"identity": identity})
            proof = str(began["proof"])
            try:
                gateway.post("targets", target, "proofs", proof, "plant")
                place = _door(door, gateway.url, began, connection.ca)
                results = _try_all(place, target, trier, proof, detect=bool(began["detect"]))
                report = _report(began, target, identity, results)
            except BaseException:
                with contextlib.suppress(DoorwardError, RefusedError):  # the next proof cleans up otherwise
                    gateway.post("targets", target, "proofs", proof, body={"report": None})
                raise
            answer = gateway.post("targets", target, "proofs", proof, body={"report": report})
    exact = canonical(report)
    if answer["digest"] != hashlib.sha256(exact).hexdigest():
        raise ProtocolError("the gateway put another report on record than the one it was given")
    if out is not None:
        out.write_bytes(exact + b"\n")
    if as_json:
        print_json({**report, "digest": answer["digest"]})
    else:
        _show(report, str(answer["digest"]), wide=wide)
    return _exit_code(report)


@dataclass(frozen=True, slots=True)
class Result:
    """What one channel gave. `delivered`: values that nobody masks came through, so masking was put to the test."""

    channel: str
    effect: str
    expected: str
    observed: str
    delivered: bool
    passed: bool

    def as_json(self) -> dict[str, Any]:
        shown = asdict(self)
        shown["pass"] = shown.pop("passed")
        return shown


def _try_all(door: Door, target: str, trier: GatewayClient, proof: str, *, detect: bool) -> list[Result]:
    values = marks(proof)
    looked_for = {name: value for name, value in values.items() if detect or name not in DETECTED}
    canaries, control = Canaries(looked_for), plain(proof).encode()
    asked: dict[str, str] = {}  # effects that policy holds for approval: asked for once, not again and again
    results: list[Result] = []
    client: Client | None = None
    shown = sys.stderr.isatty()
    try:
        for number, channel in enumerate(CHANNELS, 1):
            if shown:
                sys.stderr.write(f"\r\x1b[K{number} of {len(CHANNELS)}: {channel.name}")
                sys.stderr.flush()
            if channel.effect in asked:
                observed = "not tried: needs approval, like the one before"
                results.append(Result(channel.name, channel.effect, EXPECTED, observed, False, True))
                continue
            if client is None:
                client = Client(door, target, trier.bearer())
            broken = _try(client, channel)
            heard = client.heard
            if heard.held:
                asked[channel.effect] = heard.held
                with contextlib.suppress(DoorwardError, RefusedError):
                    trier.post("approvals", heard.held, "withdraw")
            seen = Counter((s.canary, s.spelling) for s in canaries.find(bytes(heard.received)))
            delivered = control in heard.received
            results.append(Result(
                channel.name, channel.effect, EXPECTED, _observed(seen, heard.errors, heard.held, broken, delivered),
                delivered, not seen,
            ))  # fmt: skip
            if heard.held or broken:
                client.close()
                client = None
    finally:
        if client is not None:
            client.close()
        if shown:
            sys.stderr.write("\r\x1b[K")
            sys.stderr.flush()
    return results


def _try(client: Client, channel: Channel) -> str:
    """Run a channel's statements. Returns why the connection broke, or ""."""
    client.begin()
    together = not channel.alone and (len(channel.statements) > 1 or channel.effect == "write")
    try:
        if together:
            client.simple("BEGIN")
        for number, text in enumerate(channel.statements):
            match channel.how:
                case "simple":
                    client.simple(text)
                case "portions":
                    client.extended(text, portions=3)
                case "named":
                    client.extended(text, name=f"named{number}", again=2)
                case how:
                    client.extended(text, form=BINARY if how == "binary" else TEXT)
            if client.heard.held or client.heard.errors:
                break
        if not client.heard.held and together:
            client.simple("ROLLBACK")
    except (UpstreamError, ProtocolError) as error:
        return error.message
    return ""


def _observed(seen: Counter[tuple[str, str]], errors: list[str], held: str, broken: str, delivered: bool) -> str:
    if seen:
        named = ", ".join(f"{canary} {spelling} x{count}" for (canary, spelling), count in sorted(seen.items())[:_NAMED])
        return f"LEAK: {named}" + (", ..." if len(seen) > _NAMED else "")
    if held:
        return "held for approval; the request is withdrawn"
    if broken:
        return f"ended: {broken[:200]}"
    if errors:
        return f"error {', '.join(sorted(set(errors)))}"
    return "masked; the rest came through" if delivered else "nothing of it"


def _report(began: dict[str, Any], target: str, identity: str, results: list[Result]) -> dict[str, Any]:
    return {
        "v": 1, "proof": str(began["proof"]), "target": target, "mode": str(began["mode"]), "detect": bool(began["detect"]),
        "identity": identity, "at": int(time.time() * 1000), "doorward": __version__,
        "channels": [result.as_json() for result in results],
        "delivered": sum(result.delivered for result in results),
        "leaks": sum(not result.passed for result in results),
    }  # fmt: skip


def _exit_code(report: dict[str, Any]) -> int:
    return 1 if report["leaks"] else 0 if report["delivered"] else 2


def _show(report: dict[str, Any], digest: str, *, wide: bool) -> None:
    table(
        ("PASS", "CHANNEL", "OBSERVED"),
        (("ok" if each["pass"] else "LEAK", each["channel"], each["observed"]) for each in report["channels"]),
        fold=2,
        wide=wide,
        states="PASS",
    )
    out = console()
    out.print()
    if not report["detect"]:
        note("the target has detect = false: what only detectors would find was not looked for")
    if report["mode"] != "enforce":
        note("the target is in observe mode, which enforces nothing")
    out.print(f"proof   {visible(report['proof'])} at {visible(report['target'])}, tried by {visible(report['identity'])}")
    out.print(f"digest  {digest} (on record as masking.proved)")
    out.print()
    count = len(report["channels"])
    if report["leaks"]:
        failed(
            f"{report['leaks']} of {count} channels gave a value away",
            "look at the lines LEAK; may this identity `unmask`, is the target in observe mode, is a detector off?",
        )
    elif not report["delivered"]:
        failed(
            "nothing came through at all, so this shows nothing about masking",
            "policy must let the identity read doorward_canary.canaries: name another with --as-token-file",
        )
    else:
        said = f"{report['delivered']} of {count} channels delivered what is not confidential, and none what is"
        out.print(f"HOLDS. {said}.")
        out.print("Whether anything of it is kept: doorward scan")


def _trier(connection: Connection, token_file: Path | None) -> GatewayClient:
    """The gateway's API as the identity that tries."""
    if token_file is None:
        return GatewayClient(connection)
    return GatewayClient(Connection(
        gateway=connection.gateway, token_file=token_file, ca=connection.ca, config=connection.config
    ))  # fmt: skip


def _door(said: str, url: str, began: dict[str, Any], ca: Path | None) -> Door:
    host, port = urlsplit(url).hostname or "localhost", int(began["port"])
    if said:
        name, colon, number = said.rpartition(":")
        if not colon or not name or not number.isdigit() or not 0 < int(number) < 65536:
            raise ConfigError(f"--door {said} is not host:port")
        host, port = name.strip("[]"), int(number)
    return Door(host, port, bool(began["tls"]), ca)


@contextlib.contextmanager
def _stoppable() -> Iterator[None]:
    """SIGTERM and SIGHUP end a proof as Ctrl-C does: it cleans up first."""

    def stop(_number: int, _frame: FrameType | None) -> None:
        raise KeyboardInterrupt

    before = {}
    with contextlib.suppress(ValueError):  # only the main thread may, and tests have others
        before = {number: signal.signal(number, stop) for number in (signal.SIGTERM, signal.SIGHUP)}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
