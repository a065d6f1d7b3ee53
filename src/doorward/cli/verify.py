"""`doorward verify`: check a record offline, with a public key and a copy of the data directory.

Prints what was checked and, if something is wrong, the first bad spot. Exit code 0: sound. 1: broken. 2: incomplete,
which is never "sound with warnings". Needs no configuration, no network and no running gateway.
"""

from __future__ import annotations

import json
import sys
import time
from collections.abc import Callable
from dataclasses import asdict
from datetime import UTC, datetime
from pathlib import Path
from typing import Annotated

from cyclopts import Parameter

from doorward.adapters.blobs.evidence import DirectoryEvidence
from doorward.cli.verify_votes import Votes, check_votes
from doorward.config import load
from doorward.errors import ConfigError, IntegrityError
from doorward.ledger import handover
from doorward.ledger.checkpoint import NoteVerifier
from doorward.ledger.stamps import Authorities, authorities
from doorward.ledger.trust import TrustPolicy, Witnessed, parse_policy
from doorward.ledger.verify import Report, Spot, Status, verify


def verify_record(
    data: Path | None = None,
    /,
    *,
    vkey: str | None = None,
    expect_checkpoint: Path | None = None,
    policy: Path | None = None,
    tsa_ca: Path | None = None,
    tsa_policy: str = "",
    as_json: Annotated[bool, Parameter(name="--json", negative="")] = False,
    config: Path | None = None,
) -> int:
    """Check a record offline, with public keys only. Exit code 0: sound. 1: broken. 2: incomplete.

    Parameters
    ----------
    data
        The data directory, or a copy of it that has log/ and recordings/. Default: what the configuration says.
    vkey
        The log's verifier key as its owner published it, or a file that holds it. Without it the key beside the log is
        used, which shows that the record fits together, not whose it is.
    expect_checkpoint
        A checkpoint kept elsewhere, which this log must continue.
    policy
        A trust policy (C2SP tlog-policy): the logs and witnesses that you believe, and how many witnesses it takes.
    tsa_ca
        Roots (PEM) of the time stamp authorities that you believe. Without them stamps are compared with the log, and their
        times are not believed.
    tsa_policy
        The policy (a dotted OID) that they must have stamped under.
    as_json
        Print JSON.
    config
        The configuration whose data directory to check. Default: doorward.toml.
    """
    if data is None:
        data = load(config or Path("doorward.toml")).gateway.data
    return verify_command(data, vkey, as_json, expect_checkpoint, policy, tsa_ca, tsa_policy)


def verify_command(
    data: Path, vkey: str | None, as_json: bool, expect_checkpoint: Path | None, policy: Path | None = None,
    tsa_ca: Path | None = None, tsa_policy: str = "",
) -> int:
    """Verifies the record below `data` and prints the result to standard output; returns the exit code.

    `vkey` is the log's verifier key, as a line or as the path of a file that holds it; without it, the key beside the
    log is used, which shows that the record fits together but not whose it is. `expect_checkpoint` is a checkpoint
    kept elsewhere, which this log must continue; `policy` a trust policy, whose quorum must have cosigned it; `tsa_ca`
    and `tsa_policy` whose time stamps are believed. Raises ConfigError when an argument names nothing usable.
    """
    if not data.is_dir():
        raise ConfigError(f"{data} is not a directory", hint="give the data directory, or a copy with log/ in it")
    trusted = None if vkey is None else log_key(vkey)
    trust = None if policy is None else trust_policy(policy)
    believed = None if tsa_ca is None else _authorities(tsa_ca, tsa_policy)
    kept: list[tuple[str, bytes]] = []
    if expect_checkpoint is not None:
        try:
            kept.append((str(expect_checkpoint), expect_checkpoint.read_bytes()))
        except OSError as error:
            raise ConfigError(
                f"the checkpoint {expect_checkpoint} cannot be read ({error.strerror})",
                hint="give a copy of log/checkpoint that was kept elsewhere",
            ) from None

    votes = Votes(unread="the log does not hold")
    try:
        report, verifier = _verify(DirectoryEvidence(data), trusted, kept, trust, believed)
        if report.status is not Status.BROKEN:
            votes = check_votes(data, report)
    except OSError as error:
        report, verifier = Report(), trusted
        report.gap(str(error.filename or data), "", "a file that can be read", error.strerror or str(error))
    print(_as_json(report, verifier, trusted, votes) if as_json else _as_text(report, verifier, trusted, data, votes, trust))
    return report.exit_code


def _verify(
    source: DirectoryEvidence, trusted: NoteVerifier | None, kept: list[tuple[str, bytes]], policy: TrustPolicy | None,
    believed: Authorities | None,
) -> tuple[Report, NoteVerifier | None]:
    beside = source.vkey()
    if trusted is not None and beside not in (None, trusted.vkey):
        report = Report()
        followed, _ = handover.followed(source.names(handover.FOLDER), source.read, [trusted], report.fault)
        if beside not in [each.vkey for each in followed]:
            report.fault("log/vkey", "", trusted.vkey, str(beside)[:200])
        if report.faults:
            return report, trusted
    verifier = trusted
    if verifier is None and policy is not None and policy.logs:
        verifier = next((log.verifier for log in policy.logs if log.verifier.vkey == beside), policy.logs[0].verifier)
    if verifier is None:
        if beside is None:
            report = Report()
            report.gap("log/vkey", "", "a verifier key here or with --vkey", "none")
            return report, None
        try:
            verifier = NoteVerifier(beside)
        except IntegrityError as error:
            report = Report()
            report.fault("log/vkey", "", "a verifier key", error.message)
            return report, None
    for _ in range(3):
        before = _checkpoint(source)
        report = verify(source, [verifier], kept=kept, policy=policy, trusted=believed, progress=_progress())
        # A running gateway replaces partial tiles as it publishes; a fault counts only if nothing moved meanwhile.
        if report.status is not Status.BROKEN or _checkpoint(source) == before:
            break
    return report, verifier


def trust_policy(path: Path) -> TrustPolicy:
    """The trust policy in a file. ConfigError when it cannot be read, or is none."""
    try:
        return parse_policy(path.read_bytes())
    except OSError as error:
        raise ConfigError(
            f"the trust policy {path} cannot be read ({error.strerror})", hint="docs/guides/log.md shows how to write one"
        ) from None
    except IntegrityError as error:
        raise ConfigError(f"{path}: {error.message}", hint=error.hint or "docs/guides/log.md shows how to write one") from None


def _authorities(path: Path, policy: str) -> Authorities:
    try:
        return authorities(path.read_bytes(), policy)
    except (OSError, IntegrityError) as error:
        why = error.message if isinstance(error, IntegrityError) else error.strerror
        raise ConfigError(f"--tsa-ca {path}: {why}", hint="give a file of certificates in PEM") from None


def _checkpoint(source: DirectoryEvidence) -> bytes:
    try:
        return source.checkpoint()
    except FileNotFoundError:
        return b""


def log_key(vkey: str) -> NoteVerifier:
    """The verifier key of a line, or of the file that holds it. ConfigError."""
    line = vkey.strip()
    try:
        return NoteVerifier(line)
    except IntegrityError as first:
        path = Path(vkey)
        try:
            return NoteVerifier(path.read_text(encoding="utf-8").strip())
        except (OSError, ValueError, IntegrityError) as second:
            if isinstance(second, IntegrityError):
                why = second.message
            else:  # every key has a "+", and few paths do
                why = first.message if "+" in line else f"{vkey} is neither a verifier key nor a file that can be read"
            raise ConfigError(
                f"--vkey: {why}", hint="give the line in log/vkey as its owner published it, or a file that holds it"
            ) from None


def _progress() -> Callable[[str, int, int], None]:
    """Shows how far we are on a terminal's standard error, ten times a second at most; nothing elsewhere."""
    if not sys.stderr.isatty():
        return lambda stage, done, total: None
    last = time.monotonic()

    def show(stage: str, done: int, total: int) -> None:
        nonlocal last
        now = time.monotonic()
        if done >= total:
            sys.stderr.write("\r\x1b[K")
        elif now - last >= 0.1:
            last = now
            sys.stderr.write(f"\r\x1b[K{stage}: {done:,} of {total:,}")
        sys.stderr.flush()

    return show


def _as_json(report: Report, verifier: NoteVerifier | None, trusted: NoteVerifier | None, votes: Votes) -> str:
    checkpoint = report.checkpoint
    shown = {
        "status": str(report.status),
        "key": None if verifier is None else verifier.vkey,
        "key_given": trusted is not None,
        "origin": None if checkpoint is None else checkpoint.origin,
        "size": None if checkpoint is None else checkpoint.size,
        "root": None if checkpoint is None else checkpoint.root.hex(),
        "faults": [asdict(spot) for spot in report.faults],
        "gaps": [asdict(spot) for spot in report.gaps],
        "leaves": report.leaves,
        "gateways": report.gateways,
        "boots": report.boots,
        "sessions": report.sessions,
        "open_sessions": report.open_sessions,
        "recovered_sessions": report.recovered_sessions,
        "recordings": report.recordings,
        "deleted": report.deleted,
        "deleted_epochs": report.deleted_epochs,
        "segments": report.segments,
        "sealed_bytes": report.sealed_bytes,
        "first_at": report.first_at,
        "last_at": report.last_at,
        "types": report.types,
        "keys": report.keys,
        "continues": report.kept,
        "witnessed": None if report.witnessed is None else {
            "size": report.witnessed.checkpoint.size,
            "by": [{"name": each.witness.name, "at": each.at} for each in report.witnessed.cosignatures],
        },
        "tail": report.tail,
        "stamps": report.stamps,
        "stamps_checked": report.stamps_checked,
        "votes": asdict(votes),
    }
    return json.dumps(shown, indent=2)


def _as_text(
    report: Report, verifier: NoteVerifier | None, trusted: NoteVerifier | None, data: Path, votes: Votes,
    policy: TrustPolicy | None,
) -> str:
    lines = [f"Record in {_shown(str(data))}"]
    if verifier is not None:
        whose = "found beside the log: give --vkey to check whose record this is"
        if trusted is not None or policy is not None:
            whose = "as given"
        lines.append(f"  key         {_shown(verifier.vkey)} ({whose})")
    if report.checkpoint is not None:
        checkpoint = report.checkpoint
        lines.append(f"  checkpoint  {_shown(checkpoint.origin)}, {checkpoint.size:,} leaves, {checkpoint.root.hex()}")
    if report.types:
        since, until = _time(report.first_at), _time(report.last_at)
        lines.append(f"  log         {report.gateways} gateway(s), {report.boots} start(s), {since} to {until}")
        closed = report.sessions - report.open_sessions - report.recovered_sessions
        crashed = f"{report.recovered_sessions:,} recovered after a crash"
        states = f"{closed:,} closed, {crashed}, {report.open_sessions:,} open"
        lines.append(f"  sessions    {report.sessions:,}: {states}")
        sealed = f"{report.segments:,} segments, {report.sealed_bytes:,} bytes"
        if report.status is Status.BROKEN:  # a recording is not read on behind its first bad spot
            lines.append(f"  recordings  {report.recordings:,} looked at; {sealed} in them are as they were sealed")
        else:
            lines.append(f"  recordings  {report.recordings:,} with {sealed} sealed")
        if report.deleted or report.deleted_epochs:
            months = f"; and the records of {', '.join(report.deleted_epochs)}" if report.deleted_epochs else ""
            lines.append(f"  deleted     {report.deleted:,} recordings that were due and not held{months}")
    if report.witnessed is not None:
        since = f"{report.tail or 0:,} leaves since are signed by the log alone"
        lines.append(f"  witnessed   {_witnessed(report.witnessed)}; {since}")
    if report.stamps:
        checked = "by authorities that you trust" if report.stamps_checked else "give --tsa-ca to believe their times"
        lines.append(f"  stamped     {report.stamps:,} times ({checked})")
    if report.types.get("approval.voted"):
        lines.append(f"  votes       {votes}")
    for size in report.kept:
        lines.append(f"  continues   the checkpoint of {size:,} leaves that was kept elsewhere")
    lines.append("")
    if report.status is Status.SOUND:
        lines.append("SOUND. Every leaf, tile and segment is what the checkpoint was signed over.")
    elif report.status is Status.BROKEN:
        lines += ["BROKEN. The first bad spot:", *_spot(report.faults[0])]
        lines += [f"Also bad: {_shown(str(spot))}" for spot in report.faults[1:]]
    else:
        lines += ["INCOMPLETE. Nothing contradicts the record, but no signature covers:", *_spot(report.gaps[0])]
        lines += [f"Nor: {_shown(str(spot))}" for spot in report.gaps[1:]]
    return "\n".join(lines)


def _witnessed(found: Witnessed) -> str:
    who = ", ".join(f"{_shown(each.witness.name)} at {_time(each.at * 1000)}" for each in found.cosignatures)
    return f"{found.checkpoint.size:,} leaves, by {who or 'nobody, and the policy asks for nobody'}"


def _spot(spot: Spot) -> list[str]:
    rows = (("file", spot.file), ("where", spot.place), ("expected", spot.expected), ("found", spot.found))
    return [f"  {name:<9} {_shown(value)}" for name, value in rows if value]


def _shown(text: str) -> str:
    """Text from the evidence, safe on a terminal."""
    return "".join([letter if letter.isprintable() else ascii(letter)[1:-1] for letter in text])


def _time(at: int) -> str:
    try:
        return datetime.fromtimestamp(at / 1000, UTC).strftime("%Y-%m-%d %H:%M:%SZ")
    except (OverflowError, ValueError, OSError):
        return f"{at} ms"
